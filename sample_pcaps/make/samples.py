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

from lab import Lab

Row = dict[str, Any]
SAMPLES_FOLDER = Path(__file__).resolve().parent.parent


@dataclass
class Expected:
    """What the peers' logs prove: rows of tables in order of time, each with some of the table's columns."""

    origin: str
    tables: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, table: str, *rows: Row) -> None:
        """Append rows; what is None is left out, being not proved, but for a status: None says that no response came."""
        kept = [{key: value for key, value in row.items() if value is not None or key == "status_code"} for row in rows]
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


def read_all(connection: socket.socket) -> bytes:
    """Everything until the peer closes its side."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)
