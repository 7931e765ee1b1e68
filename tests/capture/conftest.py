"""Writers of small captures, byte by byte from the formats' descriptions, and a reader of everything."""

import struct
from typing import NamedTuple

import pytest

from analyzer import limits
from analyzer.capture.capture_set import CaptureSet
from analyzer.errors import CaptureError


class Packet(NamedTuple):
    """What a reader says of a packet."""

    frame: int
    timestamp: int
    data: bytes
    original_length: int
    link_type: int
    interface: int


class Pcap:
    """Writes a pcap; ``order`` is ``<`` or ``>``."""

    def __init__(self, order="<", magic=0xA1B2C3D4, link_type=1):
        self.order = order
        self.is_modified = magic == 0xA1B2CD34
        self.boundaries = [24]  # where the file may end
        self.bytes = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link_type)

    def packet(self, seconds, fraction, data, original=None):
        original = len(data) if original is None else original
        self.bytes += struct.pack(self.order + "IIII", seconds, fraction, len(data), original)
        self.bytes += bytes(8 if self.is_modified else 0) + data
        self.boundaries.append(len(self.bytes))
        return self


class Pcapng:
    """Writes a pcapng, block by block; ``order`` is ``<`` or ``>``."""

    def __init__(self, order="<"):
        self.order = order
        self.boundaries = []
        self.bytes = b""
        self.section(order)

    def block(self, number, body):
        body += bytes(-len(body) % 4)
        length = struct.pack(self.order + "I", len(body) + 12)
        self.bytes += struct.pack(self.order + "I", number) + length + body + length
        self.boundaries.append(len(self.bytes))
        return self

    def options(self, options):
        written = b""
        for code, value in options:
            written += struct.pack(self.order + "HH", code, len(value)) + value + bytes(-len(value) % 4)
        return written + (struct.pack(self.order + "HH", 0, 0) if options else b"")

    def section(self, order, major=1, options=()):
        self.order = order
        return self.block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, major, 0, -1) + self.options(options))

    def interface(self, link_type=1, snap_length=0, options=()):
        return self.block(1, struct.pack(self.order + "HHI", link_type, 0, snap_length) + self.options(options))

    def enhanced(self, interface, units, data, original=None, options=()):
        original = len(data) if original is None else original
        fixed = struct.pack(self.order + "IIIII", interface, units >> 32, units & 0xFFFFFFFF, len(data), original)
        return self.block(6, fixed + data + bytes(-len(data) % 4) + self.options(options))

    def obsolete(self, interface, drops, units, data):
        fixed = struct.pack(self.order + "HHIIII", interface, drops, units >> 32, units & 0xFFFFFFFF, len(data), len(data))
        return self.block(2, fixed + data)

    def simple(self, data, original=None):
        return self.block(3, struct.pack(self.order + "I", len(data) if original is None else original) + data)

    def statistics(self, interface, options):
        return self.block(5, struct.pack(self.order + "III", interface, 0, 0) + self.options(options))

    def secrets(self, data, kind=0x544C534B):
        return self.block(10, struct.pack(self.order + "II", kind, len(data)) + data)


class Files:
    """Reads captures to the end."""

    Packet = Packet
    Pcap = Pcap
    Pcapng = Pcapng

    @staticmethod
    def packet(reader):
        data = reader.data[reader.offset : reader.offset + reader.captured_length]
        return Packet(reader.frame, reader.timestamp, data, reader.original_length, reader.link_type, reader.interface)

    @staticmethod
    def read(path, block_bytes=limits.BLOCK_BYTES):
        """The packets of one capture and its reader."""
        captures = CaptureSet([str(path)], 0, block_bytes)
        packets = []
        while (reader := captures.next()) is not None:
            packets.append(Files.packet(reader))
        (reader,) = captures.readers
        return packets, reader

    @staticmethod
    def outcome(path, block_bytes=limits.BLOCK_BYTES):
        """The packets of one capture and the report of why there are no more, from the reader or the error."""
        try:
            packets, reader = Files.read(path, block_bytes)
        except CaptureError as error:
            return [], str(error)
        return packets, reader.truncation

    @staticmethod
    def merged(paths, first_capture_index=0):
        """(capture_index, packet) of several captures, and the set."""
        captures = CaptureSet([str(path) for path in paths], first_capture_index)
        packets = []
        while (reader := captures.next()) is not None:
            packets.append((reader.capture_index, Files.packet(reader)))
        return packets, captures


@pytest.fixture(scope="session")
def files():
    return Files


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    """A file that a test may write again and again."""
    return tmp_path_factory.mktemp("capture") / "capture"
