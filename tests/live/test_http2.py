"""Live capture of a real HTTP/2 server (nghttpd) and clients (h2load, curl), beside what they say themselves."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import analyzer

TABLES = (
    "connections",
    "streams",
    "http_exchanges",
    "http_fields",
    "http2_connections",
    "tls_handshakes",
    "stalls",
    "stalled_streams",
    "anomalies",
)
CONTENTS = {"small": 10, "large": 200_000}  # bytes

# What nghttpd -v writes of each request, in colours.
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
REQUEST = re.compile(r"^\[id=(\d+)\] .* recv \(stream_id=(\d+)\) :path: (.*)$", re.MULTILINE)


def rows_of(store):
    return {table: sorted(map(repr, store.sql(f"FROM {table}").fetchall())) for table in TABLES}


class Server:
    """nghttpd with a folder of files; ``log`` is what it says."""

    def __init__(self, network, folder, name, words):
        self.log_file = folder / f"{name}.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        with self.log_file.open("w") as log:
            command = ("nghttpd", "-v", "-d", folder / "files", *words, self.port, *(["key", "certificate"] if not words else []))
            self.process = network.start(*command, stdout=log, stderr=log, cwd=folder)
        check = f"import socket; socket.create_connection(('127.0.0.1', {self.port}))"
        end = time.monotonic() + 20
        while network.run(sys.executable, "-c", check, check=False).returncode and time.monotonic() < end:
            time.sleep(0.1)

    def requests(self):
        """The path and stream number of each request, connection by connection."""
        self.process.terminate()
        self.process.wait()
        found = {}
        for connection, stream, path in REQUEST.findall(ESCAPE.sub("", self.log_file.read_text())):
            found.setdefault(connection, []).append((int(stream), path))
        return sorted(map(sorted, found.values()))


@pytest.fixture
def http2_server(network, tmp_path):
    """Starts nghttpd, over TLS or in clear."""
    for tool in ("nghttpd", "h2load", "curl", "openssl"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not there")
    (tmp_path / "files").mkdir()
    for name, size in CONTENTS.items():
        (tmp_path / "files" / name).write_bytes(b"x" * size)
    started = []

    def start(*words):
        if not words:
            make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out certificate -subj /CN=localhost"
            subprocess.run(make.split(), check=True, capture_output=True, cwd=tmp_path)
        started.append(Server(network, tmp_path, f"server{len(started)}", words))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.wait()


def seen_requests(store):
    """The stream number and target of each request, connection by connection."""
    rows = store.sql(
        "SELECT list((protocol_stream_id::BIGINT, target) ORDER BY protocol_stream_id::BIGINT)"
        " FROM http_exchanges JOIN streams USING (connection_id, stream_index) GROUP BY connection_id"
    ).fetchall()
    return sorted(requests for (requests,) in rows)


def test_streams_of_a_loaded_server_are_those_that_server_and_client_tell_of(live, http2_server, network, tmp_path):
    server = http2_server("--no-tls")
    running = live("lo", "-o", f"{tmp_path}/live/", "-w", tmp_path / "saved.pcapng", "--mask-key", "k", "--format", "none")
    log = tmp_path / "requests"
    addresses = [f"http://127.0.0.1:{server.port}/{name}" for name in ("small", "large", "missing")]
    said = network.run("h2load", "-n", 120, "-c", 4, "-m", 10, f"--log-file={log}", *addresses).stdout
    status, _, errors = running.end()
    assert status == 130, errors
    with (
        analyzer.open_store(f"{tmp_path}/live/") as store,
        analyzer.analyze(tmp_path / "saved.pcapng", mask_key=b"k") as saved,
    ):
        assert rows_of(store) == rows_of(saved)
        assert seen_requests(store) == server.requests()
        of_client = sorted(line.split("\t")[1] for line in log.read_text().splitlines())
        exchanges = store.sql("SELECT status_code::VARCHAR FROM http_exchanges ORDER BY 1").fetchall()
        assert [code for (code,) in exchanges] == of_client
        content_bytes = int(re.search(r"\((\d+)\) data", said)[1])
        assert store.sql("SELECT sum(response_content_bytes)::BIGINT FROM http_exchanges").fetchall() == [(content_bytes,)]
        # the client's clock starts before its request is on the wire and stops after the response has come off it
        longest = max(int(line.split("\t")[2]) for line in log.read_text().splitlines())
        assert store.sql("SELECT max(duration_ns) // 1000 FROM http_exchanges").fetchall()[0][0] <= longest
        quality = "SELECT DISTINCT protocol, dropped_packets, missing_bytes_to_client, close_reason FROM connections"
        assert store.sql(f"{quality} WHERE streams > 0").fetchall() == [("http2", 0, 0, "fin")]
        assert store.sql("SELECT DISTINCT end_reason, fields_complete FROM http_exchanges").fetchall() == [("complete", True)]


def test_keys_that_curl_writes_decrypt_http2_while_it_is_captured(live, http2_server, network, query, until, tmp_path):
    server = http2_server()
    folder = f"{tmp_path}/live/"
    keys = tmp_path / "keys"
    running = live("lo", "-o", folder, "--keylog", keys, "-w", tmp_path / "saved.pcapng", "--mask-key", "k", "--format", "none")
    told = []
    for names in (["small", "large"], ["missing"]):
        address = f"https://127.0.0.1:{server.port}/{{{','.join(names)}}}"
        command = (
            "curl",
            "--silent",
            "--insecure",
            "--parallel",
            "--http2",
            "-w",
            "%{json}\n",
            address,
            "-o",
            tmp_path / "got_#1",
        )
        done = network.run("env", f"SSLKEYLOGFILE={keys}", *command)
        told += [json.loads(line) for line in done.stdout.splitlines()]
    sql = "SELECT count(*) AS n FROM http_exchanges WHERE end_reason = 'complete'"
    until(lambda: query(folder, sql) == [{"n": 3}])
    status, _, errors = running.end()
    assert status == 130, errors
    with (
        analyzer.open_store(folder) as store,
        analyzer.analyze(tmp_path / "saved.pcapng", mask_key=b"k", key_logs=[keys]) as saved,
    ):
        assert rows_of(store) == rows_of(saved)
        assert seen_requests(store) == server.requests()
        rows = store.sql(
            "SELECT target, status_code, response_content_bytes, client_port FROM http_exchanges JOIN connections USING (connection_id)"
        )
        of_client = [("/" + Path(one["url"]).name, one["http_code"], one["size_download"], one["local_port"]) for one in told]
        assert sorted(rows.fetchall()) == sorted(of_client)
        handshakes = store.sql("SELECT DISTINCT version, alpn, is_decrypted FROM tls_handshakes").fetchall()
        assert handshakes == [("TLS 1.3", "h2", True)]
