"""Peers that speak HTTP/2: nghttpd with its verbose log as rows, and the h2 library over a socket."""

import contextlib
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import h2.config
import h2.connection
import h2.events
from h2.settings import Settings
from lab import SERVER, Lab
from samples import Row, require

E = TypeVar("E", bound=h2.events.Event)
Headers = list[tuple[str, str]]


@contextlib.contextmanager
def nghttpd(lab: Lab, port: int, files: dict[str, bytes], *options: str) -> Iterator[Path]:
    """The server nghttpd without TLS; its verbose log, whose path is yielded, is complete when the block is left."""
    root = lab.folder / "documents"
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    log = lab.folder / f"nghttpd-{port}.log"
    command = ["nghttpd", "-v", "--no-tls", "-a", SERVER, "-d", str(root), *options, str(port)]
    process = lab.server.start(command, log)
    lab.await_port(port)
    yield log
    lab.server.stop(process)


@dataclass
class LoggedStream:
    """A stream as a verbose log tells it; ``request`` and ``response`` are the fields by name."""

    request: dict[str, str] = field(default_factory=dict)
    response: dict[str, str] = field(default_factory=dict)
    request_bytes: int = 0
    response_bytes: int = 0

    def row(self, number: int) -> Row:
        """Its row of http_exchanges."""
        return {
            "protocol_stream_id": str(number),
            "request_method": self.request.get(":method"),
            "authority": self.request.get(":authority"),
            "target": self.request.get(":path"),
            "status_code": int(self.response[":status"]) if ":status" in self.response else None,
            "request_content_bytes": self.request_bytes or None,
            "response_content_bytes": self.response_bytes,
            "http_version": "2",
        }


class VerboseLog:
    """Reads what nghttpd -v (or the client, nghttp -v) prints: every frame and field, sent and received."""

    def __init__(self, server: bool) -> None:
        self.request_way = "recv" if server else "send"
        self.streams: dict[int, LoggedStream] = {}
        self.way = ""
        self.kind = ""
        self.number = 0
        self.promised = 0
        self.length = 0

    def read(self, line: str) -> None:
        """Take in one line."""
        if found := re.search(r"(recv|send) \(stream_id=(\d+)(?:, sensitive)?\) (:?[^ :]+): (.*)$", line):
            self._field(found[1], int(found[2]), found[3], found[4])
        elif found := re.search(r"(recv|send) (\w+) frame <length=(\d+), flags=0x\w+, stream_id=(\d+)>", line):
            self.way, self.kind, self.length, self.number = found[1], found[2], int(found[3]), int(found[4])
            if self.kind == "DATA":
                self._content(self.length)
        elif found := re.match(r"\s+\(padlen=(\d+)(?:, promised_stream_id=(\d+))?", line):
            if self.kind == "DATA":
                self._content(-int(found[1]))
            self.promised = int(found[2] or 0)
        elif self.way == "send" and (found := re.match(r"\s{10}(:?[\w-]+): (.*)$", line)):
            if self.kind == "PUSH_PROMISE":
                self.streams.setdefault(self.promised, LoggedStream()).request[found[1]] = found[2]
            elif self.kind == "HEADERS":
                self._field("send", self.number, found[1], found[2])

    def _field(self, way: str, number: int, name: str, value: str) -> None:
        stream = self.streams.setdefault(number, LoggedStream())
        (stream.request if way == self.request_way else stream.response)[name] = value

    def _content(self, length: int) -> None:
        stream = self.streams.setdefault(self.number, LoggedStream())
        if self.way == self.request_way:
            stream.request_bytes += length
        else:
            stream.response_bytes += length


def logged_rows(log: Path, server: bool = True) -> list[Row]:
    """The exchanges of a verbose log, connection by connection, in the order in which their requests came."""
    connections: dict[str, VerboseLog] = {}
    current = connections.setdefault("", VerboseLog(server))
    for line in log.read_text().splitlines():
        plain = re.sub(r"\x1b\[[0-9;]*m", "", line)
        if found := re.match(r"\[id=(\d+)\]", plain):
            current = connections.setdefault(found[1], VerboseLog(server))
        current.read(plain)
    return [
        stream.row(number)
        for connection in connections.values()
        for number, stream in connection.streams.items()
        if stream.request
    ]


class Peer:
    """The h2 library and a socket: a peer that does exactly what a script says."""

    def __init__(self, connection: socket.socket, client: bool, **options: bool) -> None:
        self.socket = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client = client
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding="utf-8", **options))
        self.waiting: list[h2.events.Event] = []
        self.received: dict[int, int] = {}  # bytes of content by stream

    def start(self, settings: dict[int, int] | None = None) -> None:
        """Send the connection preface, with these settings instead of the library's own."""
        if settings is not None:
            self.http2.local_settings = Settings(client=self.client, initial_values=settings)
        self.http2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Send what the library has to say."""
        self.socket.sendall(self.http2.data_to_send())

    def next(self) -> h2.events.Event:
        """The next event; acknowledgments go out by themselves."""
        while not self.waiting:
            data = self.socket.recv(65536)
            require(bool(data), "the peer closed the connection")
            self.waiting = self.http2.receive_data(data)
            self.flush()
        event = self.waiting.pop(0)
        if isinstance(event, h2.events.DataReceived):
            self.received[event.stream_id] = self.received.get(event.stream_id, 0) + len(event.data)
        return event

    def until(self, kind: type[E], stream: int = 0) -> E:
        """The next event of a kind, on ``stream`` where one is named; those before it are passed over."""
        while True:
            event = self.next()
            if isinstance(event, kind) and stream in (0, getattr(event, "stream_id", 0)):
                return event

    def headers(self, stream: int, fields: Headers, end: bool = False) -> None:
        """Send a field section."""
        self.http2.send_headers(stream, fields, end_stream=end)
        self.flush()

    def data(self, stream: int, content: bytes, end: bool = False) -> None:
        """Send content, within the windows, in frames as large as allowed."""
        while content or end:
            size = min(len(content), self.http2.local_flow_control_window(stream), self.http2.max_outbound_frame_size)
            if content and not size:
                self.waiting.extend(self.http2.receive_data(self.socket.recv(65536)))
                continue
            last = end and size == len(content)
            self.http2.send_data(stream, content[:size], end_stream=last)
            self.flush()
            content = content[size:]
            if last:
                return


def get(target: str, *extra: tuple[str, str], authority: str = f"{SERVER}:8080", method: str = "GET") -> Headers:
    """The fields of a request."""
    return [(":method", method), (":scheme", "http"), (":authority", authority), (":path", target), *extra]


def ok(status: int = 200, *extra: tuple[str, str]) -> Headers:
    """The fields of a response."""
    return [(":status", str(status)), *extra]
