"""Packets as bytes, through the real decoder into the real table, and a dissector that writes down what it is told."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from analyzer.connections.table import ConnectionTable
from analyzer.dissector import CloseReason, Context, Facts, Match
from analyzer.packets.decoder import NOTHING, Decoder
from analyzer.records import AnomalyRecord, ConnectionRecord, Rows, StalledStreamRecord, StallRecord, StreamRecord
from analyzer.stream import Stream

RAW_IP = 101  # LINKTYPE_RAW
MILLISECOND = 1_000_000
CLIENT = ("10.0.0.1", 40000)
SERVER = ("10.0.0.2", 80)
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32}
End = tuple[str, int]


def internet_checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4_packet(protocol: int, source: str, destination: str, payload: bytes, identification: int) -> bytes:
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(payload),
        identification,
        0x4000,
        64,
        protocol,
        0,
        address(source),
        address(destination),
    )
    return header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:] + payload


def address(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))


@dataclass
class Heard:
    """What the dissector of one connection was told."""

    events: list[tuple[object, ...]] = field(default_factory=list)

    def content(self, direction: int) -> bytes:
        return b"".join(event[2] for event in self.events if event[0] == "feed" and event[1] == direction)  # type: ignore[misc]

    def shape(self, direction: int) -> list[tuple[str, object]]:
        """Runs of bytes, gaps and the end of a direction."""
        told: list[tuple[str, object]] = []
        for event in self.events:
            if event[1] != direction:
                continue
            if event[0] == "feed" and told and told[-1][0] == "feed":
                told[-1] = ("feed", told[-1][1] + event[2])  # type: ignore[operator]
            elif event[0] == "gap" and told and told[-1][0] == "gap" and event[2] is not None and told[-1][1] is not None:
                told[-1] = ("gap", told[-1][1] + event[2])  # type: ignore[operator]
            else:
                told.append((str(event[0]), event[2]))
        return told


class Recorder:
    """Writes down what it is told."""

    name: ClassVar[str] = "recorder"
    ports: ClassVar[tuple[int, ...]] = ()
    transports: ClassVar[tuple[str, ...]] = ("tcp", "udp")
    records: ClassVar[tuple[type, ...]] = ()
    heard: ClassVar[dict[int, Heard]] = {}
    declines: ClassVar[int] = 0  # bytes of every direction, from its start
    begins_with: ClassVar[bytes] = b""  # what a client says first, where the probe is to tell

    def __init__(self, stream: Stream, facts: Facts) -> None:
        self.told = self.heard.setdefault(stream.connection_id, Heard()).events
        if self.declines:
            stream.decline(0, self.declines)
            stream.decline(1, self.declines)

    @classmethod
    def probe(cls, first: bytes, second: bytes) -> Match:
        if first.startswith(cls.begins_with):
            return Match.YES
        return Match.NO if first else Match.MAYBE

    def feed(self, direction: int, data: bytes, timestamp: int, released: int, packet: int) -> Rows:
        self.told.append(("feed", direction, data, timestamp, released, packet))
        return []

    def skipped(self, direction: int, length: int, timestamp: int, released: int, packet: int) -> Rows:
        self.told.append(("skipped", direction, length, timestamp, released, packet))
        return []

    def gap(self, direction: int, length: int | None, at_most: int | None, timestamp: int, packet: int) -> Rows:
        self.told.append(("gap", direction, length, at_most, timestamp, packet))
        return []

    def close(self, direction: int, reason: CloseReason, timestamp: int, packet: int) -> Rows:
        self.told.append(("close", direction, reason.value, timestamp, packet))
        return []

    def tick(self, now: int) -> Rows:
        return []


class Wire:
    """A capture in the making. Times are milliseconds."""

    def __init__(self, **recorder: object) -> None:
        self.recorder = type("Recorder", (Recorder,), {"heard": {}, **recorder})
        self.table = ConnectionTable(Context([self.recorder]))
        self.decoder = Decoder()
        self.rows: Rows = []
        self.frame = 0
        self.identification = 0
        self.now = 0.0

    def tcp(
        self,
        source: End,
        destination: End,
        flags: str,
        sequence: int,
        acknowledgment: int = 0,
        data: bytes = b"",
        *,
        at: float | None = None,
        window: int = 60000,
        scale: int | None = None,
        options: bytes = b"",
        identification: int | None = None,
        captured: int | None = None,
        is_damaged: bool = False,
        is_bare: bool = False,
        copies: int = 1,
    ) -> Rows:
        """A segment; ``captured`` payload bytes of it are in the capture, ``is_bare`` leaves the IP identification 0."""
        if scale is not None:
            options += bytes((3, 3, scale, 1))
        bits = sum(FLAGS[letter] for letter in flags)
        header = struct.pack(
            "!HHIIBBHHH",
            source[1],
            destination[1],
            sequence % 2**32,
            acknowledgment % 2**32,
            (20 + len(options)) << 2,
            bits,
            window,
            0,
            0,
        )
        segment = header + options + data
        pseudo = address(source[0]) + address(destination[0]) + struct.pack("!HH", 6, len(segment))
        checksum = internet_checksum(pseudo + segment) ^ (0x1234 if is_damaged else 0)
        segment = segment[:16] + struct.pack("!H", checksum) + segment[18:]
        return self._packet(6, source, destination, segment, len(data), at, identification, captured, is_bare, copies)

    def udp(self, source: End, destination: End, data: bytes, *, at: float | None = None, captured: int | None = None) -> Rows:
        datagram = struct.pack("!HHHH", source[1], destination[1], 8 + len(data), 0) + data
        return self._packet(17, source, destination, datagram, len(data), at, None, captured, False, 1)

    def _packet(
        self,
        protocol: int,
        source: End,
        destination: End,
        content: bytes,
        payload_length: int,
        at: float | None,
        identification: int | None,
        captured: int | None,
        is_bare: bool,
        copies: int,
    ) -> Rows:
        self.identification += 1
        number = self.identification if identification is None else identification
        packet = ipv4_packet(protocol, source[0], destination[0], content, 0 if is_bare else number & 0xFFFF)
        if at is None:
            self.now += 1
        else:
            self.now = at
        timestamp = round(self.now * MILLISECOND)
        kept = len(packet) if captured is None else len(packet) - payload_length + captured
        made: Rows = []
        for _ in range(copies):
            self.frame += 1
            kind = self.decoder.decode(packet[:kept], 0, kept, len(packet), RAW_IP, timestamp, self.frame, 0)
            assert kind != NOTHING
            made += self.table.packet(self.decoder, kind, timestamp, self.frame, 0, None)
        self.rows += made
        return made

    def handshake(
        self, client: End = CLIENT, server: End = SERVER, isn: int = 1000, server_isn: int = 5000, scale: int = 7
    ) -> None:
        """SYN, SYN-ACK, ACK; the client's bytes begin at isn + 1."""
        self.tcp(client, server, "S", isn, scale=scale)
        self.tcp(server, client, "SA", server_isn, isn + 1, scale=scale)
        self.tcp(client, server, "A", isn + 1, server_isn + 1)

    def elsewhere(self, packets: int = 70, milliseconds: float = 60) -> None:
        """Let time and packets pass in another connection."""
        for _ in range(packets):
            self.tcp(("10.9.9.9", 9), ("10.9.9.8", 9), "A", 1, 1, at=self.now + milliseconds / packets)

    def finish(self) -> Rows:
        made: Rows = []
        for connection in reversed(self.table.close()):
            made += self.table.end(connection)
        self.rows += made
        return made

    def of(self, kind: type) -> list[object]:
        return [row for row in self.rows if isinstance(row, kind) and getattr(row, "client_address", "") != "10.9.9.9"]

    @property
    def connections(self) -> list[ConnectionRecord]:
        return sorted(self.of(ConnectionRecord), key=lambda row: row.connection_id)  # type: ignore[attr-defined,arg-type,return-value]

    @property
    def connection(self) -> ConnectionRecord:
        (only,) = self.connections
        return only

    @property
    def anomalies(self) -> list[AnomalyRecord]:
        return self.of(AnomalyRecord)  # type: ignore[return-value]

    @property
    def stalls(self) -> list[StallRecord]:
        return self.of(StallRecord)  # type: ignore[return-value]

    @property
    def stalled_streams(self) -> list[StalledStreamRecord]:
        return self.of(StalledStreamRecord)  # type: ignore[return-value]

    @property
    def streams(self) -> list[StreamRecord]:
        return self.of(StreamRecord)  # type: ignore[return-value]

    def heard(self, connection_id: int = 1) -> Heard:
        heard: dict[int, Heard] = self.recorder.heard  # type: ignore[attr-defined]
        return heard.setdefault(connection_id, Heard())


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture(scope="session")
def wire_class() -> type[Wire]:
    return Wire


@pytest.fixture
def make_wire() -> Callable[..., Wire]:
    return Wire


@pytest.fixture(scope="session")
def client() -> End:
    return CLIENT


@pytest.fixture(scope="session")
def server() -> End:
    return SERVER
