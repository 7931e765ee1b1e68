"""WebSocket: Python websockets at both ends (rows from the client's own log of frames), wsproto inside HTTP/2, raw frames."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h2.events
import wsproto.connection
import wsproto.events
from h2.settings import SettingCodes
from http2_peers import Peer, get, ok
from lab import SERVER, TO_CLIENT, TO_SERVER, Lab
from samples import Expected, Row, content, require, sample, sha256
from websockets.exceptions import InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.frames import Close, Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve
from wsproto.extensions import PerMessageDeflate

PORT = 8765
PREVIEW = 256  # characters of text that unmux keeps


def message_row(direction: str, opcode: str, payload: bytes, **columns: Any) -> Row:
    """The row of a message; a text longer than the preview is known by its hash alone."""
    text = payload.decode() if opcode == "text" and len(payload) <= PREVIEW else None
    row = {"direction": direction, "opcode": opcode, "payload_bytes": len(payload), "text": text}
    return {**row, "payload_sha256": sha256(payload) if opcode in ("text", "binary") else None, **columns}


class FrameLog(logging.Handler):
    """The log of a websockets connection: it names every frame that is sent and received, before and after compression."""

    def __init__(self, compressed: bool) -> None:
        super().__init__()
        self.compressed = compressed
        self.rows: list[Row] = []
        self._open: dict[str, tuple[int, bytes]] = {}  # by direction: the row and the payload so far

    def emit(self, record: logging.LogRecord) -> None:
        """Take in a frame."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        if record.msg not in ("> %s", "< %s") or not arguments or not isinstance(arguments[0], Frame):
            return
        frame = arguments[0]
        direction = TO_SERVER if record.msg.startswith(">") else TO_CLIENT
        if frame.opcode in (Opcode.CLOSE, Opcode.PING, Opcode.PONG):
            close = Close.parse(bytes(frame.data)) if frame.opcode is Opcode.CLOSE else None
            columns = {"close_code": close.code, "close_reason": close.reason or None} if close else {}
            opcode = frame.opcode.name.lower()
            self.rows.append(message_row(direction, opcode, bytes(frame.data), is_compressed=False, frame_count=1, **columns))
            return
        if frame.opcode is not Opcode.CONT:
            self._open[direction] = (len(self.rows), b"")
            self.rows.append({"opcode": frame.opcode.name.lower(), "frame_count": 0})
        index, payload = self._open[direction]
        payload += bytes(frame.data)
        self._open[direction] = (index, payload)
        count = self.rows[index]["frame_count"] + 1
        opcode = self.rows[index]["opcode"]
        self.rows[index]["frame_count"] = count
        if frame.fin:
            complete = {"is_compressed": self.compressed, "frame_count": count, "is_complete": True}
            self.rows[index] = message_row(direction, opcode, payload, **complete)


Handler = Callable[[ServerConnection], None]
Client = Callable[[ClientConnection], None]


def conversation_in(
    lab: Lab,
    port: int,
    target: str,
    handler: Handler,
    client: Client,
    offered: ClientPerMessageDeflateFactory | None = None,
    accepted: ServerPerMessageDeflateFactory | None = None,
) -> list[Row]:
    """Let a server and a client of websockets talk; the rows are the client's log."""
    log = FrameLog(offered is not None)
    logger = logging.getLogger("websockets.client")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.handlers = [log]
    server = serve(handler, sock=lab.listen(port), compression=None, extensions=[accepted] if accepted else None)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    options: dict[str, Any] = {"compression": None, "extensions": [offered] if offered else None, "ping_interval": None}
    with connect(f"ws://{SERVER}:{port}{target}", sock=lab.connect(port), **options) as connection:
        client(connection)
    server.shutdown()
    thread.join()
    require(bool(log.rows), "no frame in the log")
    return log.rows


def conversation(
    path: Path,
    handler: Handler,
    client: Client,
    offered: ClientPerMessageDeflateFactory | None = None,
    accepted: ServerPerMessageDeflateFactory | None = None,
) -> Expected:
    """Capture a conversation between a server and a client of websockets."""
    with Lab() as lab, lab.capturing(path):
        rows = conversation_in(lab, PORT, "/chat?room=1", handler, client, offered, accepted)
    expected = Expected(
        f"Python websockets, server (port {PORT}) and client; rows from the client's log of frames; tcpdump at the client"
    )
    expected.add("http_exchanges", {"request_method": "GET", "target": "/chat?room=1", "status_code": 101, "http_version": "1.1"})
    expected.add("websocket_messages", *rows)
    return expected


def echo(connection: ServerConnection) -> None:
    """Send back every message."""
    for message in connection:
        connection.send(message)


@sample("websocket/text_binary_ping_close")
def text_binary_ping_close(path: Path) -> Expected:
    """Texts and binaries whose lengths take 7 and 16 bits, pings from both ends, and a close with a reason."""

    def handler(connection: ServerConnection) -> None:
        connection.ping(b"from the server").wait(5)
        echo(connection)

    def client(connection: ClientConnection) -> None:
        for message in (
            "hello",
            "",
            "Grüße, 世界 🌍",
            content(125, 1).decode(),
            content(126, 2).decode(),
            bytes(range(256)),
            b"",
            content(66_000 // 2, 3),
        ):
            connection.send(message)
            require(connection.recv() == message, "an echo")
        connection.ping(b"from the client").wait(5)
        connection.close(1000, "that is all")

    return conversation(path, handler, client)


@sample("websocket/large_message")
def large_message(path: Path) -> Expected:
    """A message whose length takes 64 bits."""

    def handler(connection: ServerConnection) -> None:
        connection.send(content(70_000, 4).decode())
        connection.close(1001, "going away")

    def client(connection: ClientConnection) -> None:
        require(len(connection.recv()) == 70_000, "the message")
        for _ in connection:
            pass

    return conversation(path, handler, client)


def pieces(connection: ClientConnection | ServerConnection, parts: list[Any], ping: bytes) -> Iterator[Any]:
    """The parts of a fragmented message, with a ping after the first."""
    yield parts[0]
    connection.ping(ping).wait(5)
    yield from parts[1:]


@sample("websocket/fragmented")
def fragmented(path: Path) -> Expected:
    """Fragmented messages both ways, with control frames between the fragments, and characters cut in two."""

    def handler(connection: ServerConnection) -> None:
        require(connection.recv() == "one two three", "the first message")
        connection.send(pieces(connection, ["vier ", "fünf ", "sechs"], b"between server fragments"))
        connection.recv()
        connection.send(iter([content(3_000, 5), content(10, 6), b""]))
        connection.recv()

    def client(connection: ClientConnection) -> None:
        connection.send(pieces(connection, ["one ", "two ", "three"], b"between client fragments"))
        require(connection.recv() == "vier fünf sechs", "the answer")
        cut = "half a character: é".encode()
        connection.send(iter([cut[:-1], cut[-1:]]), text=True)
        connection.recv()
        connection.send("not fragmented")
        connection.close()

    return conversation(path, handler, client)


def tickers(connection: ClientConnection) -> None:
    """Messages that compress well against each other."""
    for number in range(12):
        message = json.dumps(
            {"channel": "ticker", "sequence": number, "bid": 100 + number, "ask": 101 + number, "text": "again " * number}
        )
        connection.send(message)
        require(connection.recv() == message, "an echo")
    connection.send(content(5_000, 7))
    connection.recv()
    connection.send("")
    connection.recv()
    connection.close(1000, "done")


@sample("websocket/permessage_deflate_takeover")
def permessage_deflate_takeover(path: Path) -> Expected:
    """permessage-deflate whose compressor goes on from message to message."""
    return conversation(path, echo, tickers, ClientPerMessageDeflateFactory(), ServerPerMessageDeflateFactory())


@sample("websocket/permessage_deflate_no_takeover")
def permessage_deflate_no_takeover(path: Path) -> Expected:
    """permessage-deflate with server_no_context_takeover and client_no_context_takeover."""
    offered = ClientPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
    return conversation(path, echo, tickers, offered, ServerPerMessageDeflateFactory())


@sample("websocket/permessage_deflate_one_sided")
def permessage_deflate_one_sided(path: Path) -> Expected:
    """permessage-deflate with takeover towards the server only."""
    offered = ClientPerMessageDeflateFactory(server_no_context_takeover=True)
    return conversation(path, echo, tickers, offered, ServerPerMessageDeflateFactory())


@sample("websocket/window_bits")
def window_bits(path: Path) -> Expected:
    """permessage-deflate with windows of 512 and 1,024 bytes."""
    offered = ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=10)
    return conversation(path, echo, tickers, offered, ServerPerMessageDeflateFactory())


@sample("websocket/fragmented_deflate")
def fragmented_deflate(path: Path) -> Expected:
    """Compressed messages in fragments, with control frames between them."""

    def handler(connection: ServerConnection) -> None:
        for number in range(3):
            connection.recv()
            connection.send(pieces(connection, ["compressed ", "in ", f"fragments {number} " * 20], b"ping %d" % number))
        connection.recv()

    def client(connection: ClientConnection) -> None:
        for number in range(3):
            connection.send(pieces(connection, [content(400, number), content(500, 8), b"end"], b"client %d" % number))
            connection.recv()
        connection.send("last")
        connection.close(4000, "a private code")

    return conversation(path, handler, client, ClientPerMessageDeflateFactory(), ServerPerMessageDeflateFactory())


@sample("websocket/refused")
def refused(path: Path) -> Expected:
    """A handshake that the server answers with 403."""
    with Lab() as lab:
        server = serve(
            echo, sock=lab.listen(PORT), process_request=lambda connection, request: connection.respond(403, "no entry\n")
        )
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with lab.capturing(path):
            try:
                with connect(f"ws://{SERVER}:{PORT}/private", sock=lab.connect(PORT)):
                    raise RuntimeError("the server let the client in")
            except InvalidStatus as refusal:
                status, body = refusal.response.status_code, refusal.response.body or b""
        server.shutdown()
        thread.join()
    expected = Expected(
        f"Python websockets, server (port {PORT}) and client; rows from what the client was told; tcpdump at the client"
    )
    row = {"request_method": "GET", "target": "/private", "http_version": "1.1", "status_code": status}
    expected.add("http_exchanges", {**row, "response_content_bytes": len(body)})
    expected.add("websocket_messages")
    return expected


@sample("websocket/invalid_close")
def invalid_close(path: Path) -> Expected:
    """A close frame with a code that must not be sent, and text that is not UTF-8, from a server that writes raw frames."""
    sent = {b"/close": b"\x81\x02ok\x88\x02\x03\xe7", b"/text": b"\x81\x02ok\x81\x04\xff\xfebc"}

    def handler(lab: Lab) -> None:
        for _ in sent:
            connection, _ = listener.accept()
            with connection:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(65536)
                connection.sendall(SWITCH + sent[request.split(b" ")[1]])
                while connection.recv(65536):
                    pass

    with Lab() as lab, lab.listen(PORT) as listener, lab.capturing(path):
        thread = threading.Thread(target=handler, args=(lab,), daemon=True)
        thread.start()
        for target in sent:
            with lab.connect(PORT) as connection:
                connection.sendall(b"GET " + target + HANDSHAKE)
                received = b""
                while not received.endswith(sent[target]):
                    received += connection.recv(65536)
        thread.join()
    expected = Expected(
        f"raw frames from a scripted server (port {PORT}), handshake of RFC 6455 section 1.3; rows from the script"
    )
    requests = [{"request_method": "GET", "target": target.decode(), "status_code": 101} for target in sent]
    expected.add("http_exchanges", *requests)
    messages = [message_row(TO_CLIENT, "text", b"ok"), {"direction": TO_CLIENT, "opcode": "close", "payload_bytes": 2}]
    messages += [message_row(TO_CLIENT, "text", b"ok"), {"direction": TO_CLIENT, "opcode": "text", "payload_bytes": 4}]
    expected.add("websocket_messages", *messages)
    return expected


HANDSHAKE = (
    b" HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class Channel:
    """A WebSocket on an HTTP/2 stream: wsproto makes the frames, h2 carries them."""

    def __init__(self, peer: Peer, stream: int, client: bool, deflate: bool) -> None:
        kind = wsproto.connection.ConnectionType.CLIENT if client else wsproto.connection.ConnectionType.SERVER
        extension = PerMessageDeflate()
        if client:
            extension.offer()
            extension.finalize("permessage-deflate")
        else:
            extension.accept("permessage-deflate")
        self.websocket = wsproto.connection.Connection(kind, [extension] if deflate else [])
        self.peer, self.stream, self.client, self.deflate = peer, stream, client, deflate

    def send(self, event: wsproto.events.Event, rows: list[Row]) -> None:
        """Send an event, and write down what was sent."""
        self.peer.data(self.stream, self.websocket.send(event))
        direction = TO_SERVER if self.client else TO_CLIENT
        if isinstance(event, wsproto.events.CloseConnection):
            payload = event.code.to_bytes(2) + (event.reason or "").encode()
            row = message_row(
                direction, "close", payload, close_code=int(event.code), close_reason=event.reason, is_compressed=False
            )
        elif isinstance(event, wsproto.events.Ping | wsproto.events.Pong):
            row = message_row(direction, type(event).__name__.lower(), bytes(event.payload), is_compressed=False)
        else:
            assert isinstance(event, wsproto.events.Message)
            payload = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
            opcode = "text" if isinstance(event.data, str) else "binary"
            row = message_row(direction, opcode, payload, is_compressed=self.deflate)
        rows.append({**row, "protocol_stream_id": str(self.stream)})

    def receive(self) -> wsproto.events.Event:
        """The next whole event of this stream."""
        while True:
            for event in self.websocket.events():
                if not isinstance(event, wsproto.events.Message) or event.message_finished:
                    return event
            self.websocket.receive_data(self.peer.until(h2.events.DataReceived, self.stream).data)


@sample("websocket/over_http2")
def over_http2(path: Path) -> Expected:
    """Two WebSockets (RFC 8441), one of them compressed, and an ordinary request on one HTTP/2 connection."""
    rows: list[Row] = []
    streams = {1: False, 3: True}  # stream: compressed
    text = wsproto.events.TextMessage

    def server(peer: Peer) -> None:
        peer.start({SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
        channels = {}
        for stream, deflate in streams.items():
            peer.until(h2.events.RequestReceived, stream)
            extra = [("sec-websocket-extensions", "permessage-deflate")] if deflate else []
            peer.headers(stream, ok(200, *extra))
            channels[stream] = Channel(peer, stream, False, deflate)
        peer.until(h2.events.StreamEnded, 5)
        peer.headers(5, ok())
        peer.data(5, content(1_200, 9), end=True)
        for number in range(3):
            for stream, channel in channels.items():
                channel.receive()
                channel.send(text(data=f"answer {number} on {stream} " * 5), rows)
        for stream, channel in channels.items():
            ping = channel.receive()
            assert isinstance(ping, wsproto.events.Ping)
            channel.send(ping.response(), rows)
            channel.receive()
            channel.send(wsproto.events.CloseConnection(code=1000, reason="bye"), rows)
            peer.http2.end_stream(stream)
            peer.flush()

    def client(peer: Peer) -> None:
        peer.start()
        peer.until(h2.events.RemoteSettingsChanged)
        channels = {}
        for stream, deflate in streams.items():
            extra = [("sec-websocket-version", "13")]
            if deflate:
                extra.append(("sec-websocket-extensions", "permessage-deflate"))
            fields = get(f"/socket/{stream}", *extra, authority=f"{SERVER}:{PORT}", method="CONNECT")
            peer.headers(stream, [fields[0], (":protocol", "websocket"), *fields[1:]])
            peer.until(h2.events.ResponseReceived, stream)
            channels[stream] = Channel(peer, stream, True, deflate)
        peer.headers(5, get("/ordinary", authority=f"{SERVER}:{PORT}"), end=True)
        peer.until(h2.events.StreamEnded, 5)
        for number in range(3):
            for stream, channel in channels.items():
                payload = f"question {number} on {stream}"
                channel.send(text(data=payload) if number % 2 == 0 else wsproto.events.BytesMessage(data=payload.encode()), rows)
                channel.receive()
        for stream, channel in channels.items():
            channel.send(wsproto.events.Ping(payload=b"still there?"), rows)
            channel.receive()
            channel.send(wsproto.events.CloseConnection(code=1000, reason="bye"), rows)
            channel.receive()
            peer.http2.end_stream(stream)
            peer.flush()

    scripted_http2(path, server, client)
    expected = Expected(
        f"scripted h2 4.4 peers carrying wsproto 1.3 (port {PORT}); rows from their scripts; tcpdump at the client"
    )
    for stream in streams:
        row = {"protocol_stream_id": str(stream), "request_method": "CONNECT", "target": f"/socket/{stream}", "status_code": 200}
        expected.add("http_exchanges", {**row, "http_version": "2"})
    ordinary = {"protocol_stream_id": "5", "request_method": "GET", "target": "/ordinary", "status_code": 200}
    expected.add("http_exchanges", {**ordinary, "response_content_bytes": 1_200, "http_version": "2"})
    expected.add("websocket_messages", *rows)
    return expected


def scripted_http2(path: Path, server: Callable[[Peer], None], client: Callable[[Peer], None]) -> None:
    """Capture a conversation of two scripted h2 peers."""

    def serve_one() -> None:
        connection, _ = listener.accept()
        with connection:
            server(Peer(connection, client=False))
            while connection.recv(65536):
                pass

    with Lab() as lab, lab.listen(PORT) as listener, lab.capturing(path):
        thread = threading.Thread(target=serve_one, daemon=True)
        thread.start()
        with lab.connect(PORT) as connection:
            client(Peer(connection, client=True))
        thread.join()
