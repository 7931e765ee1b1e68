"""Fixtures that several parts share."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_captures() -> Path:
    """The folder of real captures beside the checkout; tests that need it are skipped where it is missing."""
    folder = Path(__file__).resolve().parent.parent.parent / "shared" / "captures"
    if not (folder / "INDEX.tsv").is_file():
        pytest.skip(f"no captures in {folder}")
    return folder


@pytest.fixture(scope="session")
def http_capture() -> Callable[..., bytes]:
    """Makes a pcap with exchanges on one connection, each side of each in a packet of its own, a millisecond apart."""

    def packet(source: int, destination: int, sequence: int, acknowledgment: int, flags: int, payload: bytes = b"") -> bytes:
        tcp = struct.pack("!HHIIBBHHH", source, destination, sequence, acknowledgment, 0x50, flags, 65535, 0, 0) + payload
        ends = bytes([10, 0, 0, 1, 10, 0, 0, 2]) if destination == 80 else bytes([10, 0, 0, 2, 10, 0, 0, 1])
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + ends + tcp

    def capture(*targets: bytes) -> bytes:
        packets = [packet(4000, 80, 99, 0, 2), packet(80, 4000, 499, 100, 18)]
        sent, received = 100, 500
        for target in targets:
            request = b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"
            response = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ncontent"
            packets.append(packet(4000, 80, sent, received, 24, request))
            sent += len(request)
            packets.append(packet(80, 4000, received, sent, 24, response))
            received += len(response)
        data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101)
        for number, each in enumerate(packets):
            data += struct.pack("<IIII", 1, 1000 * number, len(each), len(each)) + each
        return data

    return capture
