"""Captures that were made to take memory, and what analyzing them takes: ``python bench/memory.py [--unmux FILE] [SHAPE...]``.

Each shape is piped into ``unmux analyze - -o STORE --memory SIZE``; the largest resident set of the process must stay below
SIZE, all of it: interpreter, DuckDB and rows included.
"""

import argparse
import os
import random
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

SIZES = ("256MB", "512MB", "2GB")
FILE_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101)  # raw IP packets
SYN, SYN_ACK, ACK, PUSH_ACK = 2, 18, 16, 24
CLIENT, SERVER = 0, 1
START = 1_700_000_000_000_000  # microseconds
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Wire:
    """Writes packets of TCP connections as a pcap file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._file.write(FILE_HEADER)
        self._packets = 0
        self._connections = 0

    def send(self, ends: tuple[bytes, bytes], ports: bytes, number: int, acknowledged: int, flags: int, data: bytes) -> None:
        """One packet."""
        self._packets += 1
        seconds, micros = divmod(START + self._packets // 1000, 1_000_000)  # so slowly that nothing is over
        size = 40 + len(data)
        head = struct.pack("<IIII", seconds, micros, size, size)
        head += struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0x4000, 64, 6, 0) + ends[0] + ends[1] + ports
        head += struct.pack("!IIBBHHH", number & 0xFFFFFFFF, acknowledged & 0xFFFFFFFF, 0x50, flags, 65535, 0, 0)
        self._file.write(head + data)

    def connection(self, port: int = 80, established: bool = True) -> "Connection":
        """A new connection, with its handshake or only its SYN."""
        self._connections += 1
        return Connection(self, self._connections, port, established)


class Connection:
    """One TCP connection."""

    def __init__(self, wire: Wire, number: int, port: int, established: bool) -> None:
        client = (0x0A000000 + number // 50_000).to_bytes(4, "big")
        client_port = 1024 + number % 50_000
        self._wire = wire
        self._ends = ((client, b"\xc0\0\2\1"), (b"\xc0\0\2\1", client))
        self._ports = struct.pack("!HH", client_port, port), struct.pack("!HH", port, client_port)
        self._next = [1001, 5001]
        wire.send(self._ends[0], self._ports[0], 1000, 0, SYN, b"")
        if established:
            wire.send(self._ends[1], self._ports[1], 5000, 1001, SYN_ACK, b"")
            wire.send(self._ends[0], self._ports[0], 1001, 5001, ACK, b"")

    def say(self, side: int, data: bytes) -> None:
        """Send bytes."""
        for start in range(0, len(data), 60_000):
            piece = data[start : start + 60_000]
            self._wire.send(self._ends[side], self._ports[side], self._next[side], self._next[1 - side], PUSH_ACK, piece)
            self._next[side] += len(piece)

    def skip(self, side: int, length: int) -> None:
        """Leave a hole."""
        self._next[side] += length


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """A frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def http2(wire: Wire) -> Connection:
    """A connection with HTTP/2 begun."""
    connection = wire.connection()
    connection.say(CLIENT, PREFACE + frame(4, 0, 0, b""))
    connection.say(SERVER, frame(4, 0, 0, b"") + frame(4, 1, 0, b""))
    return connection


def syn_flood(wire: Wire) -> None:
    """SYN packets that nobody answers."""
    for _ in range(2_000_000):
        wire.connection(established=False)


def holes(wire: Wire) -> None:
    """Connections with a hole, and 64 KB behind it."""
    connections = [wire.connection() for _ in range(10_000)]
    data = bytes(16_000)
    for connection in connections:
        connection.say(SERVER, b"x")
        connection.skip(SERVER, 100)
        for _ in range(4):
            connection.say(SERVER, data)


def small_holes(wire: Wire) -> None:
    """Connections with a hole, and segments of one byte behind it."""
    connections = [wire.connection() for _ in range(5_000)]
    for connection in connections:
        connection.say(SERVER, b"x")
        for _ in range(400):
            connection.skip(SERVER, 2)
            connection.say(SERVER, b"x")


def open_contents(wire: Wire) -> None:
    """Responses with compressed content that does not end."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    sent = compressor.compress(bytes(250_000)) + compressor.flush()
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000000\r\n\r\n"
    for _ in range(20_000):
        connection = wire.connection()
        connection.say(CLIENT, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.say(SERVER, head + sent)


def web_sockets(wire: Wire) -> None:
    """Compressed WebSocket messages that do not end."""
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    request += b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    response = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n"
    response += b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    payload = (compressor.compress(bytes(70_000)) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    sent = b"\x41" + length + payload
    masked = b"\x41" + bytes([length[0] | 0x80]) + length[1:] + bytes(4) + payload
    for _ in range(20_000):
        connection = wire.connection()
        connection.say(CLIENT, request)
        connection.say(SERVER, response + sent)
        connection.say(CLIENT, masked)


def header_tables(wire: Wire) -> None:
    """HTTP/2 connections whose header compression tables are full of tiny entries."""
    size = b"\x3f\xe1\xff\x0f"  # a dynamic table of 256 KiB
    for number in range(2_000):
        lines = b"".join(b"\x5d\x02%c%c" % (97 + i % 26, 97 + (i // 26 + number) % 26) for i in range(7_000))
        blocks = [lines[i : i + 15_000] for i in range(0, len(lines), 15_000)]
        connection = http2(wire)
        for side in (CLIENT, SERVER):
            connection.say(1 - side, frame(4, 0, 0, b"\0\1\0\4\0\0"))
            connection.say(side, frame(4, 1, 0, b""))
        for i, block in enumerate(blocks):
            connection.say(CLIENT, frame(1, 5, 2 * i + 1, (size if i == 0 else b"") + b"\x82\x86\x84" + block))
        for i, block in enumerate(blocks):
            connection.say(SERVER, frame(1, 5, 2 * i + 1, (size if i == 0 else b"") + b"\x88" + block))


def streams(wire: Wire) -> None:
    """HTTP/2 connections with 10,000 open streams each."""
    asked = b"".join(frame(1, 5, number, b"\x82\x86\x84") for number in range(1, 20_000, 2))
    for _ in range(250):
        http2(wire).say(CLIENT, asked)


def long_targets(wire: Wire) -> None:
    """HTTP/2 connections with open streams, each with a target of its own of 4 KB."""
    for number in range(200):
        connection = http2(wire)
        for stream_id in range(1, 2_000, 2):
            target = b"/%d/%d/" % (number, stream_id)
            block = b"\x82\x86\x04" + b"\x7f\x81\x1f" + target.ljust(127 + 0xF81 - 0, b"x")
            connection.say(CLIENT, frame(1, 5, stream_id, block))


def heads(wire: Wire) -> None:
    """HTTP/1 requests whose heads do not end."""
    for _ in range(4_000):
        connection = wire.connection()
        connection.say(CLIENT, b"GET / HTTP/1.1\r\nHost: x\r\n")
        connection.say(CLIENT, (b"x: " + b"y" * 1000 + b"\r\n") * 200)


def pipelines(wire: Wire) -> None:
    """HTTP/1 requests that nobody answers."""
    for _ in range(1_000):
        wire.connection().say(CLIENT, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 4_000)


def idle_http1(wire: Wire) -> None:
    """Connections that have had an exchange and wait for the next."""
    for number in range(200_000):
        connection = wire.connection()
        connection.say(CLIENT, b"GET /%d HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n" % number)
        connection.say(SERVER, b"HTTP/1.1 204 No Content\r\nX-Number: %d\r\n\r\n" % number)


def various_heads(wire: Wire) -> None:
    """Connections on which 32 different heads went each way, which are remembered."""
    for number in range(4_000):
        connection = wire.connection()
        for i in range(32):
            tail = b"x: %s\r\n\r\n" % (b"%d-%d-" % (number, i)).ljust(1_900, b"z")
            connection.say(CLIENT, b"GET / HTTP/1.1\r\nHost: x\r\n" + tail)
            connection.say(SERVER, b"HTTP/1.1 204 No\r\n" + tail)


def long_sections(wire: Wire) -> None:
    """HTTP/2 responses with 200 KB of fields each."""
    for number in range(40):
        connection = http2(wire)
        connection.say(CLIENT, b"".join(frame(1, 5, i, b"\x82\x86\x84") for i in range(1, 200, 2)))
        for i in range(1, 200, 2):
            value = (b"%d-%d-" % (number, i)).ljust(127 + 0x3F01, b"v")
            line = b"\x00\x01x" + b"\x7f\x81\x7e" + value
            parts = [line] * 12
            connection.say(SERVER, frame(1, 1, i, b"\x88"))
            for part in parts[:-1]:
                connection.say(SERVER, frame(9, 0, i, part))
            connection.say(SERVER, frame(9, 4, i, parts[-1]))


def probes(wire: Wire) -> None:
    """Connections whose first bytes do not decide what they carry."""
    for _ in range(50_000):
        connection = wire.connection(port=4444)
        for _ in range(3):
            connection.say(CLIENT, b"A" * 1 + b"\x15")


def hellos(wire: Wire) -> None:
    """TLS connections of which only the client's side is seen, and that wait for the server's."""
    randomness = random.Random(1)
    for _ in range(1_000):
        hello = b"\x03\x03" + randomness.randbytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0" + b"\0\7\0\x2b\0\3\2\3\4"
        hello = b"\1" + len(hello).to_bytes(3, "big") + hello
        connection = wire.connection(port=443)
        connection.say(CLIENT, b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello)
        for _ in range(60):
            connection.say(CLIENT, b"\x17\x03\x03" + (16_000).to_bytes(2, "big") + bytes(16_000))


SHAPES: dict[str, Callable[[Wire], None]] = {
    shape.__name__: shape
    for shape in (
        syn_flood,
        holes,
        small_holes,
        open_contents,
        web_sockets,
        header_tables,
        streams,
        long_targets,
        heads,
        pipelines,
        idle_http1,
        various_heads,
        long_sections,
        probes,
        hellos,
    )
}


def measured(unmux: list[str], shape: str, size: str, content: str) -> tuple[int, int, float, str]:
    """Bytes written, largest resident set in bytes, processor seconds, and the last line of what went wrong."""
    with tempfile.TemporaryDirectory(prefix="unmux-memory-") as folder:
        memory = ["--memory", size] if size else []
        command = [*unmux, "analyze", "-", "-o", str(Path(folder, "out.duckdb")), "--content", content, *memory]
        errors = Path(folder, "errors")
        with errors.open("wb") as to:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=to, stderr=to)
        assert process.stdin is not None
        try:
            SHAPES[shape](Wire(process.stdin))
            process.stdin.close()
        except BrokenPipeError:
            pass
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        lines = errors.read_text().splitlines() or [""]
        told = lines[-1] if process.returncode == 0 else f"exit status {process.returncode}: {lines[-1]}"
        return process.returncode, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime, told


def bytes_of(size: str) -> int:
    """A size such as 256MB in bytes."""
    return int(float(size[:-2]) * {"MB": 10**6, "GB": 10**9}[size[-2:]])


def main() -> int:
    """Measure; 1 when a shape took more than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unmux", default="unmux", help="the command, by default the one on PATH")
    parser.add_argument("--sizes", default=",".join(SIZES), help="of --memory; - leaves it out")
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=", ".join(SHAPES))
    options = parser.parse_args()
    failed = 0
    for shape in options.shapes or SHAPES:
        for size in options.sizes.split(","):
            limit = 0 if size == "-" else bytes_of(size)
            content = "hash" if shape in ("open_contents", "web_sockets") else "preview"
            status, peak, seconds, told = measured(options.unmux.split(), shape, "" if size == "-" else size, content)
            is_bad = status != 0 or 0 < limit < peak
            failed += is_bad
            verdict = "FAILED" if is_bad else ""
            print(f"{shape:14} {size:>6} {peak / 1e6:8.0f} MB {seconds:6.1f} s  {verdict} {told}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
