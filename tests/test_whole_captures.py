"""Properties of whole captures: what the peers said does not depend on how it was captured.

Every sample is rewritten packet by packet. Where nothing is lost (copies, reordering, other boundaries of segments) every
conversation column of every table stays. Where something is lost (packets, the ends of packets, the beginning or the
end) every conversation column is what it was, or NULL, and nothing is added.
"""

import random
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from analyzer import limits, pipeline, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.dissector import Context
from analyzer.packets.decoder import TCP, Decoder
from analyzer.records import AnomalyRecord, ConnectionRecord, FieldLine, Rows, StreamRecord
from analyzer.schema import Stability, table_of

SAMPLES = Path(__file__).resolve().parent.parent / "sample_pcaps"
CAPTURES = sorted(SAMPLES.rglob("*.pcap*"))
NAMES = [str(path.relative_to(SAMPLES)) for path in CAPTURES]

# --- captures as lists of packets


@dataclass(frozen=True)
class Packet:
    """A packet of a capture; ``length`` is its length on the wire, ``timestamp`` in ns since the epoch."""

    timestamp: int
    data: bytes
    length: int
    link_type: int


def packets_of(path: Path) -> list[Packet]:
    captures = CaptureSet([str(path)])
    packets = []
    while (reader := captures.next()) is not None:
        data = reader.data[reader.offset : reader.offset + reader.captured_length]
        packets.append(Packet(reader.timestamp, data, reader.original_length, reader.link_type))
    return packets


def write(path: Path, packets: Sequence[Packet]) -> Path:
    """Write a pcap with nanoseconds."""
    (link_type,) = {packet.link_type for packet in packets} or {1}
    parts = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, limits.PACKET_BYTES, link_type)]
    for packet in packets:
        seconds, nanoseconds = divmod(packet.timestamp, 1_000_000_000)
        parts += [struct.pack("<IIII", seconds, nanoseconds, len(packet.data), packet.length), packet.data]
    path.write_bytes(b"".join(parts))
    return path


class Segment(NamedTuple):
    """Where in a packet its IP and TCP headers and its payload are."""

    ip: int
    tcp: int
    payload: int
    end: int

    def flow(self, data: bytes) -> bytes:
        """The addresses and ports, as sent."""
        addresses = data[self.ip + 12 : self.ip + 20] if data[self.ip] >> 4 == 4 else data[self.ip + 8 : self.ip + 40]
        return addresses + data[self.tcp : self.tcp + 4]

    def sequence(self, data: bytes) -> int:
        return int.from_bytes(data[self.tcp + 4 : self.tcp + 8], "big")


def segment_of(packet: Packet) -> Segment | None:
    """The TCP segment in a whole packet, but for fragments and tunnels."""
    data = packet.data
    if packet.link_type == 101:
        ip, kind = 0, {4: 0x0800, 6: 0x86DD}.get(data[0] >> 4)
    elif packet.link_type == 1 and len(data) > 18:
        ip, kind = 14, int.from_bytes(data[12:14], "big")
        while kind in (0x8100, 0x88A8):
            ip, kind = ip + 4, int.from_bytes(data[ip + 2 : ip + 4], "big")
    else:
        return None
    if packet.length != len(data):
        return None
    if kind == 0x0800 and data[ip + 9] == 6 and not int.from_bytes(data[ip + 6 : ip + 8], "big") & 0x3FFF:
        tcp, end = ip + (data[ip] & 15) * 4, ip + int.from_bytes(data[ip + 2 : ip + 4], "big")
    elif kind == 0x86DD and data[ip + 6] == 6:
        tcp, end = ip + 40, ip + 40 + int.from_bytes(data[ip + 4 : ip + 6], "big")
    else:
        return None
    payload = tcp + (data[tcp + 12] >> 4) * 4
    return Segment(ip, tcp, payload, end) if payload <= end <= len(data) else None


def checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def resent(packet: Packet, where: Segment, sequence: int, payload: bytes, flags: int, identification: int) -> Packet:
    """The packet with another payload, its lengths and checksums made right."""
    data = bytearray(packet.data[: where.payload])
    ip, tcp = where.ip, where.tcp
    length = len(data) - tcp + len(payload)
    data[tcp + 4 : tcp + 8] = (sequence & 0xFFFF_FFFF).to_bytes(4, "big")
    data[tcp + 13] = flags
    data[tcp + 16 : tcp + 18] = bytes(2)
    if data[ip] >> 4 == 4:
        data[ip + 2 : ip + 4] = (tcp - ip + length).to_bytes(2, "big")
        data[ip + 4 : ip + 6] = (identification & 0xFFFF).to_bytes(2, "big")
        data[ip + 10 : ip + 12] = bytes(2)
        data[ip + 10 : ip + 12] = checksum(bytes(data[ip:tcp])).to_bytes(2, "big")
        pseudo = bytes(data[ip + 12 : ip + 20]) + struct.pack("!HH", 6, length)
    else:
        data[ip + 4 : ip + 6] = length.to_bytes(2, "big")
        pseudo = bytes(data[ip + 8 : ip + 40]) + struct.pack("!II", length, 6)
    data[tcp + 16 : tcp + 18] = checksum(pseudo + bytes(data[tcp:]) + payload).to_bytes(2, "big")
    whole = bytes(data) + payload
    return replace(packet, data=whole, length=len(whole))


# --- ways to capture the same conversation

Rewriting = Callable[[list[Packet], random.Random], list[Packet]]


def with_copies(packets: list[Packet], randomness: random.Random) -> list[Packet]:
    """Exact copies of some packets, a little later, as mirror ports make them."""
    share = randomness.choice([0.05, 0.3, 1.0])
    later: list[tuple[int, Packet]] = []
    result: list[Packet] = []
    for number, packet in enumerate(packets):
        soon = packet.timestamp - limits.UNNUMBERED_COPY_NANOSECONDS // 2
        result += [copy for _, copy in later if copy.timestamp < soon]
        later = [(due, copy) for due, copy in later if copy.timestamp >= soon]
        result.append(packet)
        if randomness.random() < share:
            later.append((number + randomness.choice([0, 0, 1, 3]), packet))
        result += [replace(copy, timestamp=packet.timestamp) for due, copy in later if due <= number]
        later = [(due, copy) for due, copy in later if due > number]
    return result + [copy for _, copy in later]


def opens(packet: Packet) -> bool:
    """Whether the packet, whatever is around it, opens a TCP connection."""
    decoder = Decoder()
    length = len(packet.data)
    kind = decoder.decode(packet.data, 0, length, packet.length, packet.link_type, packet.timestamp, 1, 0)
    return kind == TCP and bool(decoder.flags & 2)


def delayed(packets: list[Packet], randomness: random.Random) -> list[Packet]:
    """Some packets recorded later than they came, as from several queues, by less than the reordering window.

    A connection's first packets stay first: what came before them would be the middle of another one.
    """
    share = randomness.choice([0.02, 0.1, 0.5])
    farthest = randomness.choice([1, 3, 10, limits.REORDER_PACKETS // 2 - 1])
    places: list[float] = []
    for number, packet in enumerate(packets):
        place = number
        if randomness.random() < share and not opens(packet):
            place = min(number + randomness.randint(1, farthest), len(packets) - 1)
            while packets[place].timestamp - packet.timestamp >= limits.REORDER_NANOSECONDS // 2:
                place -= 1
        places.append(place + 0.5 if place > number else number)
    return [packet for _, packet in sorted(zip(places, packets, strict=True), key=lambda one: one[0])]


def shaken(packets: list[Packet], randomness: random.Random) -> list[Packet]:
    """The same with the times of their places, as after a network that changes the order."""
    times = [packet.timestamp for packet in packets]
    return [replace(packet, timestamp=time) for packet, time in zip(delayed(packets, randomness), times, strict=True)]


def split(packets: list[Packet], randomness: random.Random) -> list[Packet]:
    """Segments cut into several."""
    share = randomness.choice([0.1, 0.5, 1.0])
    result: list[Packet] = []
    for packet in packets:
        where = segment_of(packet)
        if where is None or where.end - where.payload < 2 or packet.data[where.tcp + 13] & 2 or randomness.random() > share:
            result.append(packet)
            continue
        payload = packet.data[where.payload : where.end]
        most = randomness.choice([2, 3, 8])
        cuts = sorted({randomness.randint(1, len(payload) - 1) for _ in range(most - 1)})
        flags = packet.data[where.tcp + 13]
        for start, end in zip([0, *cuts], [*cuts, len(payload)], strict=True):
            own = flags if end == len(payload) else flags & ~9  # FIN and PSH come with the last
            result.append(
                resent(packet, where, where.sequence(packet.data) + start, payload[start:end], own, randomness.getrandbits(16))
            )
    return result


def merged(packets: list[Packet], randomness: random.Random) -> list[Packet]:
    """Neighbouring segments of one direction made into one."""
    result: list[Packet] = []
    for packet in packets:
        where = segment_of(packet)
        before = segment_of(result[-1]) if result else None
        if where is not None and before is not None and randomness.random() < 0.8:
            last = result[-1]
            size = before.end - before.payload
            follows = where.sequence(packet.data) == (before.sequence(last.data) + size) & 0xFFFF_FFFF
            flags = packet.data[where.tcp + 13] | last.data[before.tcp + 13]
            is_small = 0 < size < 30_000 and where.end > where.payload
            if before.flow(last.data) == where.flow(packet.data) and follows and is_small and not flags & 6:
                payload = last.data[before.payload : before.end] + packet.data[where.payload : where.end]
                result[-1] = resent(packet, where, before.sequence(last.data), payload, flags, randomness.getrandbits(16))
                continue
        result.append(packet)
    return result


def repeated(packets: list[Packet], randomness: random.Random) -> list[Packet]:
    """Retransmissions with other boundaries: some of the last bytes of a direction once more, a little later."""
    share = randomness.choice([0.05, 0.3])
    sent: dict[bytes, bytes] = {}  # flow -> its latest bytes
    following: dict[bytes, int] = {}  # flow -> the sequence number after them
    result: list[Packet] = []
    later: list[tuple[int, Packet]] = []
    for number, packet in enumerate(packets):
        result.append(packet)
        where = segment_of(packet)
        if where is not None and where.end > where.payload and not packet.data[where.tcp + 13] & 2:
            flow, sequence = where.flow(packet.data), where.sequence(packet.data)
            payload = packet.data[where.payload : where.end]
            recent = sent.get(flow, b"") if following.get(flow) == sequence else b""
            sent[flow] = (recent + payload)[-9000:]
            following[flow] = (sequence + len(payload)) & 0xFFFF_FFFF
            if randomness.random() < share:
                start = randomness.randrange(len(sent[flow]))
                again = sent[flow][start : start + randomness.randint(1, 3000)]
                copy = resent(packet, where, following[flow] - len(sent[flow]) + start, again, 24, randomness.getrandbits(16))
                later.append((number + randomness.choice([0, 1, 2, 20]), copy))
        result += [replace(copy, timestamp=packet.timestamp) for due, copy in later if due <= number]
        later = [(due, copy) for due, copy in later if due > number]
    return result + [replace(copy, timestamp=packets[-1].timestamp) for _, copy in later]


def some(*ways: Rewriting) -> Rewriting:
    def rewrite(packets: list[Packet], randomness: random.Random) -> list[Packet]:
        for way in ways:
            if packets and randomness.random() < 0.5:
                packets = way(packets, randomness)
        return packets

    return rewrite


LOSSLESS: dict[str, Rewriting] = {
    "copies": with_copies,
    "delayed": delayed,
    "shaken": shaken,
    "split": split,
    "merged": merged,
    "repeated": repeated,
    "several": some(merged, split, repeated, with_copies, delayed),
}


def thinned(packets: list[Packet], randomness: random.Random) -> list[Packet]:
    """Without some packets, as a capture that cannot keep up."""
    share = randomness.choice([0.01, 0.05, 0.2, 0.5])
    return [packet for packet in packets if randomness.random() >= share]


def with_holes(packets: list[Packet], randomness: random.Random) -> list[Packet]:
    """Without some runs of packets."""
    result = list(packets)
    for _ in range(randomness.randint(1, 3)):
        start = randomness.randrange(len(packets))
        del result[start : start + randomness.randint(1, 12)]
    return result


def one_sided(packets: list[Packet], randomness: random.Random) -> list[Packet]:
    """With few packets of one end, or none."""
    senders = {sender(packet) for packet in packets}
    chosen = randomness.choice(sorted(senders))
    share = randomness.choice([0.5, 1.0])
    return [packet for packet in packets if sender(packet) != chosen or randomness.random() >= share]


def sender(packet: Packet) -> bytes:
    return packet.data[6:12] if packet.link_type == 1 else packet.data[12:16]


def without_answers(packets: list[Packet], randomness: random.Random) -> list[Packet]:
    """Only what one end sent: the one whose packet came first."""
    return [packet for packet in packets if sender(packet) == sender(packets[0])]


def without_questions(packets: list[Packet], randomness: random.Random) -> list[Packet]:
    """Only what the others sent."""
    return [packet for packet in packets if sender(packet) != sender(packets[0])]


def snapped(packets: list[Packet], randomness: random.Random) -> list[Packet]:
    """Packets cut at a snap length, all of them or some."""
    length = randomness.choice([54, 66, 67, 80, 96, 128, 256, 512, 1000])
    share = randomness.choice([1.0, 0.3, 0.05])
    return [replace(packet, data=packet.data[:length]) if randomness.random() < share else packet for packet in packets]


def begun_late(packets: list[Packet], randomness: random.Random) -> list[Packet]:
    return packets[randomness.randrange(len(packets)) :]


def ended_early(packets: list[Packet], randomness: random.Random) -> list[Packet]:
    return packets[: randomness.randint(1, len(packets))]


LOSSY: dict[str, Rewriting] = {
    "thinned": thinned,
    "with holes": with_holes,
    "one-sided": one_sided,
    "without answers": without_answers,
    "without questions": without_questions,
    "snapped": snapped,
    "begun late": begun_late,
    "ended early": ended_early,
    "several": some(merged, split, repeated, begun_late, ended_early, thinned, with_holes, snapped, with_copies, delayed),
}

# --- what was said

Values = dict[str, Any]
Pair = frozenset[tuple[str, int]]
LINES = 0  # in a section: (name, value) of each line


@dataclass
class Told:
    """What the rows of one connection say: its ends, and in groups, in order, what was said."""

    record: ConnectionRecord
    groups: dict[tuple[object, ...], list[Values]] = field(default_factory=lambda: defaultdict(list))


class Kept:
    """Keeps all rows."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def add(self, rows: Rows) -> None:
        self.rows += rows


def analyzed(paths: Iterable[Path], content: str = "store", *, frames: bool = True) -> list[Any]:
    """All rows of these captures."""
    kept = Kept()
    captures = CaptureSet([str(path) for path in paths])
    pipeline.run(captures, Context(protocols.dissectors(), content, frames), kept)
    captures.close()
    assert [row for row in kept.rows if isinstance(row, AnomalyRecord) and row.kind == "dissector_error"] == []
    return kept.rows


@dataclass(frozen=True)
class Part:
    """Contents that are not whole: without their end, or in content codings that are not known."""

    content: bytes
    is_decoded: bool


def said(row: Any) -> Values:
    """The conversation columns of a row, and its contents."""
    values: Values = {}
    for column in table_of(type(row)).columns:
        value = getattr(row, column.name)
        if column.is_content and isinstance(value, bytes):
            is_whole = row.is_complete and row.is_decoded
            values[column.name] = value if is_whole else Part(value, row.is_decoded)
        elif column.stability is Stability.CONVERSATION:
            is_section = isinstance(value, list)
            values[column.name] = (
                [(line.name, line.value) for line in value if isinstance(line, FieldLine)] if is_section else value
            )
    return values


def told(rows: list[Any]) -> dict[Pair, list[Told]]:
    """What was said, by the two ends of the connection; connections of the same ends in order of time."""
    connections: dict[int, Told] = {row.connection_id: Told(row) for row in rows if isinstance(row, ConnectionRecord)}
    streams = {(row.connection_id, row.stream_index): row for row in rows if isinstance(row, StreamRecord)}

    def path(connection_id: int, stream_index: int | None) -> tuple[str, ...]:
        """The names of the streams that a stream is in. One that took its parent's bytes over is where that was."""
        found: list[str] = []
        while stream_index is not None:
            stream = streams[connection_id, stream_index]
            if stream.protocol_stream_id is not None:
                found.insert(0, stream.protocol_stream_id)
            stream_index = stream.parent_index
        return tuple(found)

    exchanges: dict[tuple[int, int, int], Values] = {}
    others: list[Any] = []
    for row in rows:
        table = table_of(type(row))
        if getattr(row, "connection_id", None) is None or isinstance(row, ConnectionRecord):
            continue
        if table.exchange:
            exchanges[row.connection_id, row.stream_index, row.exchange_index] = said(row)
        else:
            others.append(row)
    for number, values in sorted(exchanges.items()):
        connections[number[0]].groups["exchanges", path(*number[:2])].append(values)
    others.sort(key=lambda row: getattr(row, "message_index", 0))
    for row in others:
        values = said(row)
        if not values:
            continue
        name = table_of(type(row)).name
        if hasattr(row, "exchange_index"):
            part = (name, *(values.pop(key) for key in ("side", "section") if key in values))
            exchanges[row.connection_id, row.stream_index, row.exchange_index].setdefault(" ".join(part), []).append(values)
            continue
        is_placed = isinstance(row, StreamRecord) or "protocol_stream_id" not in values  # else it says itself where it is
        place = path(row.connection_id, row.stream_index) if is_placed else ()
        group = (name, place, values.get("direction"))
        connections[row.connection_id].groups[group].append(values)
    result: dict[Pair, list[Told]] = defaultdict(list)
    for one in sorted(connections.values(), key=lambda one: one.record.connection_id):
        record = one.record
        ends = (
            (f"{record.transport} {record.client_address}", record.client_port),
            (
                f"{record.transport} {record.server_address}",
                record.server_port,
            ),
        )
        result[frozenset(ends)].append(one)
    return dict(result)


def may_be(damaged: object, whole: object) -> bool:
    """Whether damage may have left the one of the other: the same, or less, or NULL."""
    if damaged is None or damaged == whole:
        return True
    if isinstance(damaged, Part) and isinstance(whole, bytes | Part):
        content = whole.content if isinstance(whole, Part) else whole
        return content.startswith(damaged.content) or not damaged.is_decoded
    if isinstance(damaged, tuple) and isinstance(whole, tuple):
        return len(damaged) == len(whole) and all(map(may_be, damaged, whole))
    return False


def is_exchange_of(damaged: Values, whole: Values) -> bool:
    """The same for an exchange with its sections and contents."""
    for name, value in damaged.items():
        if isinstance(value, list):  # rows that belong to the exchange
            if not are_among(value, whole.get(name, []), are_same_lines):
                return False
        elif not may_be(value, whole.get(name)):
            return False
    return True


def are_same_lines(damaged: Values, whole: Values) -> bool:
    return all(
        len(value) == len(whole[name]) and all(map(may_be, value, whole[name]))
        if isinstance(value, list)
        else may_be(value, whole[name])
        for name, value in damaged.items()
    )


def are_among(damaged: Sequence[Values], whole: Sequence[Values], fits: Callable[[Values, Values], bool]) -> bool:
    """Whether each of the rows is another one of ``whole``, in the same order."""
    left = iter(whole)
    return all(any(fits(one, other) for other in left) for one in damaged)


def half(exchange: Values, side: str) -> Values:
    """What an exchange says of its request or of its response."""
    of_request = ("request", "scheme", "authority", "target")
    return {
        name: value
        for name, value in exchange.items()
        if value is not None and (name.startswith(of_request) or " request" in name) == (side == "request")
    }


def is_nothing(values: Values) -> bool:
    return all(value is None for name, value in values.items() if name != "http_version")


def is_turned(record: ConnectionRecord, others: list[ConnectionRecord]) -> bool:
    """Whether its server is the client of all the others."""
    return all((record.server_address, record.server_port) == (other.client_address, other.client_port) for other in others)


def wrong(damaged: list[Any], whole: list[Any]) -> str | None:
    """The first thing that the rows of a damaged capture say and those of the whole one do not."""
    known = told(whole)
    for pair, connections in told(damaged).items():
        if pair not in known:
            return f"connection {connections[0].record} of nobody"
        others = known[pair]
        groups: dict[tuple[object, ...], list[Values]] = defaultdict(list)
        for other in others:
            for group, rows in other.groups.items():
                groups[group] += rows
        found: dict[tuple[object, ...], list[Values]] = defaultdict(list)
        for one in connections:
            if is_turned(one.record, [other.record for other in others]):
                if one.record.role_evidence == "handshake":
                    return f"client {one.record}"
                continue  # the sides are a guess, and the row says so
            for group, rows in one.groups.items():
                found[group] += rows
        for group, rows in found.items():
            fault = wrong_rows(group, rows, groups)
            if fault is not None:
                return f"{group}: {fault}"
    return None


def wrong_rows(group: tuple[object, ...], rows: list[Values], groups: dict[tuple[object, ...], list[Values]]) -> str | None:
    others = groups.get(group, [])
    if group[0] == "streams":
        for row in rows:
            if not any(may_be(row["protocol"], other["protocol"]) for other in others):
                return f"{row} is none of {others}"
        return None
    if group[0] == "exchanges":
        for row in rows:
            if not is_nothing(row) and not any(is_exchange_of(row, other) for other in others):
                return nearest(row, others)
        for side in ("request", "response"):
            halves = [half(row, side) for row in rows]
            if not are_among([one for one in halves if not is_nothing(one)], others, is_exchange_of):
                return f"{side}s in another order, or more: {halves} of {others}"
        return None
    telling = [row for row in rows if any(value is not None for name, value in row.items() if name != "direction")]
    if not are_among(telling, others, are_same_lines):
        return f"{telling} are not among {others}"
    return None


def nearest(row: Values, others: list[Values]) -> str:
    """What of an exchange is wrong, measured by the one that it resembles most."""
    faults = [
        {name: (value, other.get(name)) for name, value in row.items() if not is_exchange_of({name: value}, other)}
        for other in others
    ]
    return str(min(faults, key=len, default=row))


def different(rewritten: list[Any], whole: list[Any]) -> str | None:
    """The first thing that the rows of a rewritten capture do not say as those of the whole one do."""
    known, found = told(whole), told(rewritten)
    if set(known) != set(found):
        return f"connections {set(known) ^ set(found)}"
    for pair, connections in known.items():
        if len(found[pair]) != len(connections):
            return f"{len(found[pair])} connections instead of {len(connections)} of {set(pair)}"
        for one, other in zip(found[pair], connections, strict=True):
            if said(one.record) != said(other.record):
                if one.record.protocol is not None or not is_turned(one.record, [other.record]):
                    return f"{one.record} instead of {other.record}"
                continue  # nothing tells the sides but who is seen first
            for group in {**other.groups, **one.groups}:
                if one.groups.get(group) != other.groups.get(group):
                    return f"{group}: {one.groups.get(group)} instead of {other.groups.get(group)}"
    return None


# --- the properties

WHOLE: dict[str, tuple[list[Packet], list[Any]]] = {}
# What a rewriting takes from these is more than what it takes from others, or their whole says less.
LEFT_OUT = {
    ("tcp/simultaneous_open.pcap", "shaken"): "both ends open it: the SYN that is seen first makes the client",
    ("tcp/simultaneous_open.pcap", "delayed"): "as above",
    ("tcp/simultaneous_open.pcap", "several"): "as above",
    ("http2/answered_in_http1.pcap", "several"): "the answer is HTTP/1: where it is seen first, so is the connection",
}
LEFT_OUT_OF_LOSSES = {
    "http2/answered_in_http1.pcap": "without the request the answer is a response of HTTP/1",
    "http2/joined_late.pcap": "parts of it may show more than the whole, where it is not certain where frames begin",
    "tcp/simultaneous_open.pcap": "both ends open it: the SYN that is seen makes the client",
    "http1/pipelining.pcap": "a client that pipelines from before the capture cannot be told from one that waits",
}


def whole(name: str, scratch: Path) -> tuple[list[Packet], list[Any]]:
    """The packets of a sample, and its rows."""
    if name not in WHOLE:
        packets = packets_of(SAMPLES / name)
        WHOLE[name] = packets, analyzed([write(scratch, packets)])
    return WHOLE[name]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "http2/joined_late.pcap"])
def test_copies_order_and_boundaries_of_packets_change_nothing_of_what_was_said(name: str, tmp_path: Path) -> None:
    """Of a capture that begins in the middle the first packets decide what can be known; that one is left out."""
    packets, rows = whole(name, tmp_path / "whole.pcap")
    for way, rewrite in LOSSLESS.items():
        if (name, way) in LEFT_OUT:
            continue
        rewritten = write(tmp_path / "rewritten.pcap", rewrite(packets, random.Random(f"{name} {way}")))
        assert (way, different(analyzed([rewritten]), rows)) == (way, None)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LEFT_OUT_OF_LOSSES])
def test_nothing_that_is_missing_makes_a_value_wrong_or_adds_one(name: str, tmp_path: Path) -> None:
    packets, rows = whole(name, tmp_path / "whole.pcap")
    for way, rewrite in LOSSY.items():
        damaged = rewrite(packets, random.Random(f"{name} {way}"))
        if damaged:
            rewritten = write(tmp_path / "damaged.pcap", damaged)
            assert (way, wrong(analyzed([rewritten]), rows)) == (way, None)
