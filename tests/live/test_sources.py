"""Other ways in: pipes, files that grow, folders in which files rotate, and TLS whose keys come while it is captured."""

import shutil
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

import pytest

import analyzer

SAMPLES = Path(__file__).resolve().parents[2] / "sample_pcaps"

TLS = """
import datetime, http.client, http.server, ssl, sys, threading
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
folder = sys.argv[1]
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
day = datetime.datetime(2026, 1, 1)
certificate = (
    x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    .not_valid_before(day).not_valid_after(day.replace(year=2100)).sign(key, hashes.SHA256())
)
with open(folder + "/pem", "wb") as file:
    file.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    file.write(certificate.public_bytes(serialization.Encoding.PEM))
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder + "/pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = ssl._create_unverified_context()
client.keylog_filename = folder + "/keys"
connection = http.client.HTTPSConnection("127.0.0.1", server.server_port, context=client)
connection.request("GET", "/secret")
connection.getresponse().read()
connection.close()
"""


def test_keys_that_are_written_during_the_capture_decrypt_it(live, network, query, until, tmp_path):
    folder = f"{tmp_path}/live/"
    running = live("lo", "-o", folder, "--keylog", tmp_path / "keys", "-w", tmp_path / "saved.pcapng")
    network.run(sys.executable, "-c", TLS, tmp_path)
    sql = "SELECT right(target, 7) AS target, status FROM exchanges"
    assert until(lambda: query(folder, sql)) == [{"target": "/secret", "status": "404"}]
    running.end()
    (handshake,) = query(folder, "SELECT is_decrypted, version FROM tls_handshakes")
    assert handshake["is_decrypted"] is True
    with analyzer.analyze(tmp_path / "saved.pcapng", key_logs=[tmp_path / "keys"]) as store:
        assert store.sql("SELECT status FROM exchanges").fetchall() == [("404",)]


def test_keys_that_are_written_while_nothing_is_sent_decrypt_what_was(live, network, query, until, tmp_path):
    folder = f"{tmp_path}/live/"
    running = live("lo", "-o", folder, "--keylog", tmp_path / "late")
    asks = "import http.server; http.server.SimpleHTTPRequestHandler.protocol_version = 'HTTP/1.1'" + TLS.replace(
        "connection.close()", "print('asked', flush=True); sys.stdin.read()"
    ).replace("/secret", "/?secret")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with network.start(sys.executable, "-c", asks, tmp_path, **pipes) as asking:
        assert asking.stdout.readline() == b"asked\n"
        assert until(lambda: query(folder, "SELECT protocol FROM connections WHERE bytes_to_client > 0")) == [{"protocol": "tls"}]
        assert query(folder, "SELECT status FROM exchanges") == []
        shutil.copy(tmp_path / "keys", tmp_path / "late")
        sql = "SELECT right(target, 8) AS target, status FROM exchanges"
        assert until(lambda: query(folder, sql)) == [{"target": "/?secret", "status": "200"}]
        asking.stdin.close()
    running.end()


@pytest.fixture
def tcpdump(network):
    """Starts tcpdump in the network; it captures when this returns."""
    if shutil.which("tcpdump") is None:
        pytest.skip("tcpdump is not there")
    started = []

    def start(*arguments, **options):
        process = network.start("tcpdump", "-i", "lo", "-U", *arguments, stderr=subprocess.PIPE, **options)
        assert b"listening on" in b"".join(iter(lambda: process.stderr.read(1), b",")) + b","
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        process.stderr.close()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_a_pipe_from_tcpdump(live, tcpdump, talk):
    dumping = tcpdump("-w", "-", stdout=subprocess.PIPE)
    running = live("-", inside=False, waits=False, stdin=dumping.stdout)
    talk(requests=3, messages=0)
    line = running.process.stdout.readline()  # while the capture goes on
    assert "  200  " in line
    dumping.terminate()
    status, out, errors = running.end(None)
    assert status == 0, errors
    assert (line + out).count("  200  ") == 3


def test_a_file_that_tcpdump_writes(live, tcpdump, talk, tmp_path):
    tcpdump("-w", str(tmp_path / "growing.pcap"))
    running = live("--follow", tmp_path / "growing.pcap", inside=False, waits=False)
    talk(requests=3, messages=0)
    assert "  200  " in running.process.stdout.readline()
    assert running.end()[0] == 130


def test_files_that_rotate(live, tcpdump, talk, query, until, tmp_path):
    rotating = tmp_path / "rotating"
    rotating.mkdir()
    rotating.chmod(0o777)
    tcpdump("-w", str(rotating / "part"), "-C", "1", "-Z", "root")
    store = f"{tmp_path}/live/"
    running = live("--follow", rotating, "-o", store, "--format", "none", inside=False, waits=False)
    for _ in range(3):
        talk(requests=10, messages=0, size=80_000)
    until(lambda: query(store, "SELECT count(*) AS n FROM http_exchanges") == [{"n": 30}])
    assert running.end()[0] == 130
    (captures,) = query(store, "SELECT count(*) AS n FROM captures")
    assert captures["n"] == len(list(rotating.iterdir())) >= 3
    assert query(store, "SELECT count(*) AS n FROM connections") == [{"n": 3}]


def test_a_whole_file_through_a_pipe_gives_what_analyze_gives(live, tmp_path):
    with (SAMPLES / "demo.pcapng").open("rb") as demo:
        running = live("-", "-o", f"{tmp_path}/live/", "--mask-key", "k", inside=False, waits=False, stdin=demo)
        status, out, errors = running.end(None)
    assert status == 0, errors
    assert len(out.splitlines()) == 41
    with analyzer.analyze(SAMPLES / "demo.pcapng", mask_key=b"k") as expected, analyzer.open_store(f"{tmp_path}/live/") as found:
        for table in ("connections", "streams", "http_exchanges", "http_fields", "websocket_messages", "anomalies"):
            rows = [sorted(map(repr, store.sql(f"FROM {table}").fetchall())) for store in (expected, found)]
            assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], "there is no interface of that name"),
        ([], "name an interface"),
        (["lo", "--duration", "soon"], "--duration takes a duration"),
        (["lo", "--keep", "1h"], "-o FOLDER/"),
        (["lo", "--keep", "1h", "-o", "x.duckdb"], "-o FOLDER/"),
        (["lo", "-o", "x/", "--ring", "much"], "--ring takes an amount"),
        pytest.param(
            ["lo", "-f", "tcp prot 80"],
            "-f tcp prot 80",
            marks=pytest.mark.skipif(find_library("pcap") is None, reason="no libpcap to compile filters"),
        ),
        (["-", "-f", "tcp"], "are for interfaces"),
        (["--follow", "/nosuch/file.pcap"], "/nosuch/file.pcap"),
        (["lo", "--format", "screen"], "needs a terminal"),
        (["lo", "--user", "no-such-user"], "no-such-user"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(live, arguments, said, tmp_path):
    running = live(*arguments, waits=False, cwd=tmp_path)
    status, out, errors = running.end(None)
    (line,) = [line for line in errors.splitlines() if "plain Python" not in line]
    assert status in (1, 2)
    assert said in line
    assert out == ""
    assert not (tmp_path / "x").exists()
