"""Contents and messages made to take memory do not: many streams or connections, bombs in a row, windows that are used up."""

import json
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
from backports import zstd

CHECKOUT = Path(__file__).resolve().parent.parent
MEBIBYTES = 460  # ALL_CONTENT_BYTES, decoders that are open for a moment, 10,000 connections or 20,000 streams, and Python
STREAMS = 20_000
CONNECTIONS = 10_000

# Counts rows instead of storing them. VmHWM begins anew with the program, which getrusage does not.
COUNT = """
import collections, gc, json, resource, sys
from pathlib import Path
from analyzer import pipeline, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.dissector import Context
found = collections.Counter()
class Counter:
    def add(self, rows):
        for row in rows:
            name = type(row).__name__
            if name == "AnomalyRecord":
                found[row.kind] += row.occurrences
            elif name == "HttpExchangeRecord":
                found["exchanges"] += 1
                found["hashes"] += row.response_content_sha256 is not None
            elif name == "WebSocketMessageRecord":
                found["messages"] += 1
                found["hashes"] += row.payload_sha256 is not None
gc.disable()
context = Context(protocols.dissectors(), sys.argv[2])
captures = CaptureSet([sys.argv[1]])
pipeline.run(captures, context, Counter())
captures.close()
status = Path("/proc/self/status")
if status.exists():
    peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (10 if sys.platform == "darwin" else 0)
found["mebibytes"] = peak >> 10
found["still taken"] = context.contents.open_bytes + context.contents.row_bytes
print(json.dumps(found))
"""


class Wire:
    """TCP connections in a pcap file of raw IP packets."""

    def __init__(self) -> None:
        self.packets = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101)]
        self._connections = 0

    def connect(self) -> "Connection":
        self._connections += 1
        return Connection(self, self._connections)


class Connection:
    def __init__(self, wire: Wire, number: int) -> None:
        self._wire = wire
        self._ends = ((b"\x0a\0\0\x01", 1024 + number), (b"\x0a\0\0\x02", 80))
        self._next = [1000, 5000]
        for side, flags in ((0, 2), (1, 18), (0, 16)):
            self._send(side, flags, b"")

    def _send(self, side: int, flags: int, data: bytes) -> None:
        (source, port), (destination, peer_port) = self._ends[side], self._ends[1 - side]
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + len(data), 0, 0x4000, 64, 6, 0, source, destination)
        head += struct.pack("!HHIIBBHHH", port, peer_port, self._next[side], self._next[1 - side], 0x50, flags, 65535, 0, 0)
        size = len(head) + len(data)
        self._wire.packets.append(struct.pack("<IIII", 1, 0, size, size) + head + data)
        self._next[side] += len(data) + (flags & 3 != 0)

    def say(self, side: int, data: bytes) -> None:
        for start in range(0, len(data), 60_000):
            self._send(side, 24, data[start : start + 60_000])


def gzipped(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    return compressor.compress(data) + compressor.flush()


def zstandard(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.window_log: 23})


def brotlied(data: bytes) -> bytes:
    return bytes(brotli.compress(data, quality=4, lgwin=24))


CODINGS: dict[bytes, Callable[[bytes], bytes]] = {b"gzip": gzipped, b"br": brotlied, b"zstd": zstandard}


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def open_streams(wire: Wire, coding: bytes) -> int:
    """HTTP/2 streams that all stay open after the beginning of a content."""
    sent = CODINGS[coding](bytes(250_000))
    head = b"\x88\x0f\x0b" + bytes([len(coding)]) + coding  # :status 200 and content-encoding
    for _ in range(4):
        numbers = range(1, STREAMS // 2, 2)
        connection = wire.connect()
        connection.say(0, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
        connection.say(1, frame(4, 0, 0, b""))
        connection.say(0, b"".join(frame(1, 5, number, b"\x82\x86\x84") for number in numbers))
        connection.say(1, b"".join(frame(1, 4, number, head) + frame(0, 0, number, sent) for number in numbers))
    return STREAMS


def open_connections(wire: Wire, coding: bytes) -> int:
    """HTTP/1 connections that all stay open inside a content."""
    sent = CODINGS[coding](bytes(250_000))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: 100000\r\n\r\n" % coding
    for _ in range(CONNECTIONS):
        connection = wire.connect()
        connection.say(0, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.say(1, head + sent)
    return CONNECTIONS


def pipelines(wire: Wire, coding: bytes) -> int:
    """Responses of which one packet holds hundreds, each as large as may be."""
    sent = CODINGS[coding](bytes(250_000))
    response = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (coding, len(sent)) + sent
    for _ in range(2):
        connection = wire.connect()
        for _ in range(3):
            connection.say(0, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 700)
            connection.say(1, response * 700)
    return 2 * 3 * 700


def windows(wire: Wire, coding: bytes) -> int:
    """Contents too long to wait for their ends, which then fill their windows."""
    noise = random.Random(1).randbytes(270_000)
    sent = CODINGS[coding](noise + bytes(20 << 20) + noise)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: 10000000\r\n\r\n" % coding
    connections = [wire.connect() for _ in range(40)]
    for connection in connections:
        connection.say(0, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.say(1, head + sent)
    return len(connections)


def analyzed(wire: Wire, content: str, folder: Path) -> dict[str, int]:
    """What was found in another process, whose memory was bounded."""
    path = folder / "hostile.pcap"
    path.write_bytes(b"".join(wire.packets))
    command = [sys.executable, "-c", COUNT, str(path), content]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(ended.stdout)
    assert found["mebibytes"] < MEBIBYTES, (path.stat().st_size, found)
    assert found["still taken"] == 0
    assert "dissector_error" not in found
    return found


@pytest.mark.parametrize(("coding", "content"), [(b"gzip", "hash"), (b"br", "hash"), (b"zstd", "hash"), (b"br", "store")])
@pytest.mark.parametrize("make", [open_streams, open_connections, pipelines, windows])
def test_memory_is_bounded(make: Callable[[Wire, bytes], int], coding: bytes, content: str, tmp_path: Path) -> None:
    wire = Wire()
    exchanges = make(wire, coding)
    found = analyzed(wire, content, tmp_path)
    assert found["exchanges"] == exchanges
    assert found["hashes"] == (exchanges if make is pipelines else 0)


def web_socket(wire: Wire) -> Connection:
    """A connection on which permessage-deflate was agreed."""
    connection = wire.connect()
    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    connection.say(0, head + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    head = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n"
    connection.say(1, head + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    return connection


def compressed(data: bytes, first: int, key: bytes = b"") -> bytes:
    """A frame that begins with the octet ``first``; ``key`` must be zeros."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    payload = (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    mask = 0x80 if key else 0
    length = bytes([mask | len(payload)]) if len(payload) < 126 else bytes([mask | 126]) + len(payload).to_bytes(2, "big")
    return bytes([first]) + length + key + payload


def open_messages(wire: Wire) -> int:
    """Compressed messages that all stay open, both ways."""
    sent = compressed(bytes(70_000), 0x41), compressed(bytes(70_000), 0x41, bytes(4))
    for _ in range(CONNECTIONS):
        connection = web_socket(wire)
        connection.say(1, sent[0])
        connection.say(0, sent[1])
    return 2 * CONNECTIONS


def messages_in_pieces(wire: Wire) -> int:
    """Messages that all stay open, of hundreds of frames of a character each."""
    sent = b"\x01\x04\xf0\x9f\x90\x8b" + b"\x00\x04\xf0\x9f\x90\x8b" * 300
    for _ in range(CONNECTIONS // 2):
        web_socket(wire).say(1, sent)
    return CONNECTIONS // 2


def messages_in_a_row(wire: Wire) -> int:
    """Messages of which one packet holds hundreds, each as large as may be."""
    sent = compressed("🐋".encode() + bytes(70_000), 0xC1)
    for _ in range(4):
        web_socket(wire).say(1, sent * 500)
    return 2000


@pytest.mark.parametrize("content", ["preview", "store"])
@pytest.mark.parametrize("make", [open_messages, messages_in_pieces, messages_in_a_row])
def test_memory_of_messages_is_bounded(make: Callable[[Wire], int], content: str, tmp_path: Path) -> None:
    wire = Wire()
    messages = make(wire)
    found = analyzed(wire, content, tmp_path)
    assert found["messages"] == messages
    assert found["hashes"] == (messages if make is messages_in_a_row and content == "store" else 0)
