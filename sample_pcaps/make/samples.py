"""The registry of samples, and the servers and clients that several of them use, with their logs turned into rows."""

import contextlib
import hashlib
import json
import random
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import SERVER, Lab

Row = dict[str, Any]
SAMPLES_FOLDER = Path(__file__).resolve().parent.parent


@dataclass
class Expected:
    """What the peers' logs prove: rows of tables in order of time, each with some of the table's columns."""

    origin: str
    tables: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, table: str, *rows: Row) -> None:
        """Append rows; what is None is left out, being not proved."""
        kept = [{key: value for key, value in row.items() if value is not None} for row in rows]
        self.tables.setdefault(table, []).extend(kept)

    def write(self, path: Path) -> None:
        """Write it as JSON, a row a line."""
        lines = [f'{{\n"origin": {json.dumps(self.origin)}']
        for table, rows in self.tables.items():
            lines.append(f'"{table}": [\n' + ",\n".join("  " + json.dumps(row) for row in rows) + "\n]")
        path.write_text(",\n".join(lines) + "\n}\n")


Make = Callable[[Path], Expected]
REGISTRY: dict[str, tuple[str, Make]] = {}


def sample(name: str, suffix: str = ".pcap") -> Callable[[Make], Make]:
    """Declare the decorated function as the maker of the sample ``name`` (protocol/behaviour)."""

    def declare(make: Make) -> Make:
        REGISTRY[name] = (suffix, make)
        return make

    return declare


def note(text: str) -> None:
    """Say something while samples are made."""
    print(text, file=sys.stderr)


def content(size: int, seed: int = 0) -> bytes:
    """Text of ``size`` bytes that is always the same."""
    words = random.Random(seed).choices(("stream", "frame", "window", "segment", "packet", "field"), k=size // 5 + 1)
    return " ".join(words).encode()[:size]


def sha256(data: bytes) -> str:
    """The SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def require(condition: bool, what: str) -> None:
    """RuntimeError when a sample did not come out as it is meant to."""
    if not condition:
        raise RuntimeError(f"the sample does not show what it should: {what}")


@contextlib.contextmanager
def nginx(lab: Lab, port: int, locations: str, files: dict[str, bytes], listen: str = "") -> Iterator[Path]:
    """Nginx at the server, with an access log of JSON lines, whose path is yielded."""
    root = lab.folder / "documents"
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    log = lab.folder / "access.log"
    configuration = lab.folder / "nginx.conf"
    fields = {
        "request_method": "$request_method",
        "authority": "$http_host",
        "target": "$request_uri",
        "status_code": "$status",
        "version": "$server_protocol",
        "sent": "$body_bytes_sent",
        "connection": "$connection",
        "seconds": "$request_time",
    }
    configuration.write_text(
        "load_module modules/ngx_http_echo_module.so;\n"
        f"daemon off; user root; worker_processes 1; pid {lab.folder}/nginx.pid; error_log {lab.folder}/error.log;\n"
        "events { worker_connections 64; }\n"
        f"http {{ log_format rows escape=json '{json.dumps(fields)}';\n"
        f"access_log {log} rows; default_type text/plain; client_body_temp_path {lab.folder}/body;\n"
        f"server {{ listen {port}; listen [::]:{port}; server_tokens off; root {root};\n{listen}\n{locations}\n}} }}\n"
    )
    process = lab.server.start(["nginx", "-c", str(configuration)], lab.folder / "nginx.out")
    lab.await_port(port)
    yield log
    lab.server.stop(process, signal.SIGQUIT)


def nginx_rows(log: Path, *columns: str) -> list[Row]:
    """The rows of an access log, in the order in which requests ended; ``columns`` are those wanted."""
    rows = []
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        entry["status_code"] = int(entry["status_code"])
        entry["response_content_bytes"] = int(entry["sent"])
        entry["http_version"] = entry["version"].removeprefix("HTTP/").removesuffix(".0") if "2" in entry["version"] else None
        if entry["http_version"] is None and entry["version"]:
            entry["http_version"] = entry["version"].removeprefix("HTTP/")
        rows.append({column: entry[column] for column in columns})
    return rows


EXCHANGE = ("request_method", "authority", "target", "status_code", "http_version", "response_content_bytes")


def curl(lab: Lab, *arguments: str, http_version: str | None = "1.1", agent: bool = True) -> list[Row]:
    """Run curl at the client; its own account of each transfer as rows of http_exchanges."""
    form = "\n%{stderr}{%{method} %{response_code} %{size_download} %{size_upload} %{url_effective}}\n"
    command = ["curl", "-s", "-o", "/dev/null", "-w", form, *arguments]
    done = lab.client.run(command, check=False)
    rows = []
    for line in re.findall(r"^\{(.*)\}$", done.stderr, re.MULTILINE):
        method, status, received, sent, url = line.split(" ", 4)
        _, _, authority, target = url.split("/", 3)
        rows.append(
            {
                "request_method": method,
                "authority": authority,
                "target": "/" + target,
                "status_code": int(status),
                "response_content_bytes": int(received),
                "request_content_bytes": int(sent) or None,
                "http_version": http_version,
            }
        )
    require(bool(rows), f"curl {arguments}: {done.stderr}")
    return rows


@dataclass
class Http2Stream:
    """A stream as a verbose log of nghttp or nghttpd tells it."""

    fields: dict[str, dict[str, str]] = field(default_factory=dict)  # by direction of the log: recv, send
    data: dict[str, int] = field(default_factory=dict)
    order: int = 0


@contextlib.contextmanager
def nghttpd(lab: Lab, port: int, files: dict[str, bytes], *options: str) -> Iterator[Path]:
    """The server nghttpd without TLS; its verbose log, whose path is yielded, is complete when the block is left."""
    root = lab.folder / "documents"
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    log = lab.folder / f"nghttpd-{port}.log"
    command = ["stdbuf", "-oL", "nghttpd", "-v", "--no-tls", "-a", SERVER, "-d", str(root), *options, str(port)]
    process = lab.server.start(command, log)
    lab.await_port(port)
    yield log
    lab.server.stop(process)


def http2_rows(log: str, server: bool = True, connection: str = "") -> list[Row]:
    """The exchanges that a verbose log of nghttpd (or of the client nghttp) tells, in the order of the requests."""
    request, response = ("recv", "send") if server else ("send", "recv")
    streams: dict[int, Http2Stream] = {}
    last = None
    for line in log.splitlines():
        if connection and line.startswith("[id=") and not line.startswith(f"[id={connection}]"):
            last = None
            continue
        if found := re.search(r"(recv|send) \(stream_id=(\d+)(?:, sensitive)?\) ([^ ]+): (.*)$", line):
            way, number, name, value = found.groups()
            stream = streams.setdefault(int(number), Http2Stream(order=len(streams)))
            stream.fields.setdefault(way, {})[name] = value
        elif found := re.search(r"(recv|send) (\w+) frame <length=(\d+), flags=0x(\w+), stream_id=(\d+)>", line):
            way, kind, length, _, number = found.groups()
            last = (way, kind, int(number))
            if int(number) and kind in ("HEADERS", "DATA", "PUSH_PROMISE"):
                stream = streams.setdefault(int(number), Http2Stream(order=len(streams)))
                if kind == "DATA":
                    stream.data[way] = stream.data.get(way, 0) + int(length)
        elif (found := re.match(r"\s+; END_STREAM|\s+\(padlen=(\d+)", line)) and last and found.group(1) and last[1] == "DATA":
            way, _, number = last
            streams[number].data[way] -= int(found.group(1))
        elif last and last[1] == "HEADERS" and last[0] == "send" and (found := re.match(r"\s{10,}(:?[\w-]+): (.*)$", line)):
            streams[last[2]].fields.setdefault("send", {})[found.group(1)] = found.group(2)
    return [
        _http2_row(number, stream, request, response)
        for number, stream in sorted(streams.items(), key=lambda item: item[1].order)
        if stream.fields
    ]


def _http2_row(number: int, stream: Http2Stream, request: str, response: str) -> Row:
    asked, answered = stream.fields.get(request, {}), stream.fields.get(response, {})
    return {
        "protocol_stream_id": str(number),
        "request_method": asked.get(":method"),
        "authority": asked.get(":authority"),
        "target": asked.get(":path"),
        "status_code": int(answered[":status"]) if ":status" in answered else None,
        "request_content_bytes": stream.data.get(request),
        "response_content_bytes": stream.data.get(response, 0),
        "http_version": "2",
    }


def read_all(connection: socket.socket) -> bytes:
    """Everything until the peer closes its side."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)
