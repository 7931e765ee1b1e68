"""A slow oracle: what of the requests and responses in a damaged capture could be proved at most, told from the complete one.

It knows what was sent, and which packets are missing. For every value it asks whether peers that follow RFC 9113 and RFC 7541 could
have said something else and left the same packets; if they could, nothing proves the value. Written to be obvious, with
no code of unmux; it reads complete pcaps of Ethernet and IPv4 in which TCP lost nothing, such as the benchmark makes.

A hole that does not end with the frame it began in, or in it, is followed by a shadow. Its end is the latest frame that may be
the first one after the hole: everything before may be the content of one frame that began in the hole. The shadow ends

- within the largest frame that the receiver allows of the hole's end;
- towards the server, before the hole would have to hold more requests than it has room for (a HEADERS frame with two lines
  has 11 bytes): those of all streams that the server answered, that have smaller numbers than the first stream after the
  shadow, and that no frame before the hole or after the shadow opened.

A hole with its shadow may have changed the compression state, unless it holds no field block and that shows: towards the
server, the first stream opened after it has the next number, and all streams that the client had opened before have certainly
ended before it, or show DATA or trailers after it. A field line is then known if it does not refer to the dynamic table, or
to an entry that was inserted since, by a block that is known.
"""

import struct
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import dpkt
from hpack.hpack import decode_integer
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST, HEADER, SMALLEST_REQUEST = 16_384, 9, 11
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, CONTINUATION = 0, 1, 3, 4, 5, 9
MAX_FRAME_SIZE = 5
END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 4, 8, 0x20
COLUMNS = {b":method": "method", b":path": "path", b":authority": "authority", b":status": "status"}

Key = tuple[int, int]  # the client's port, the stream's number
Values = dict[str, str]  # by the name of the column


@dataclass
class Line:
    """A field line, and the insertions that it takes to know its name and its value: numbers of entries, -1 for none."""

    name: bytes
    value: bytes
    name_entry: int
    value_entry: int
    entry: int  # that it inserts itself


@dataclass
class Frame:
    """A frame, by its place among the bytes of its direction."""

    start: int
    end: int
    kind: int
    flags: int
    stream: int
    lines: list[Line] = field(default_factory=list)


@dataclass
class Direction:
    """All bytes that one end sent, and the places of its packets in them."""

    base: int = -1
    data: bytearray = field(default_factory=bytearray)
    packets: list[tuple[int, int, int]] = field(default_factory=list)  # start, end, number of the packet in the file
    frames: list[Frame] = field(default_factory=list)
    largest: int = LARGEST  # frame that the other end allows

    def add(self, sequence: int, payload: bytes, number: int) -> None:
        """Take a segment."""
        start = (sequence - self.base) & 0xFFFFFFFF
        if start > len(self.data):
            raise ValueError(f"packet {number}: the capture is not complete")
        self.data[start : start + len(payload)] = payload
        self.packets.append((start, start + len(payload), number))

    def holes(self, missing: set[int]) -> list[tuple[int, int]]:
        """The runs of bytes that no packet left in the capture carries."""
        covered = sorted((start, end) for start, end, number in self.packets if number not in missing)
        holes, at = [], 0
        for start, end in [*covered, (len(self.data), len(self.data))]:
            if start > at:
                holes.append((at, start))
            at = max(at, end)
        return holes


class Conversation:
    """A complete HTTP/2 connection."""

    def __init__(self) -> None:
        self.to_server, self.to_client = Direction(), Direction()

    def parse(self) -> None:
        """Take both directions apart."""
        ways = (self.to_server, self.to_client, len(PREFACE)), (self.to_client, self.to_server, 0)
        for way, other, start in ways:
            decoder = Decoder()
            data = bytes(way.data)
            while start + HEADER <= len(data):
                length = int.from_bytes(data[start : start + 3], "big")
                kind, flags, stream = struct.unpack("!BBI", data[start + 3 : start + HEADER])
                frame = Frame(start, start + HEADER + length, kind, flags, stream)
                if kind in (PUSH_PROMISE, CONTINUATION) or (kind == HEADERS and not flags & END_HEADERS):
                    raise ValueError("neither pushes nor CONTINUATION are expected")
                if kind == HEADERS:
                    begin, end = start + HEADER, frame.end
                    if flags & PADDED:
                        begin, end = begin + 1, end - data[begin]
                    if flags & PRIORITY:
                        begin += 5
                    decoder.decode(data[begin:end], frame)
                if kind == SETTINGS:
                    for identifier, value in struct.iter_unpack("!HI", data[start + HEADER : frame.end]):
                        if identifier == MAX_FRAME_SIZE:
                            other.largest = max(other.largest, value)
                way.frames.append(frame)
                start = frame.end


class Decoder:
    """HPACK, with the history of every line."""

    def __init__(self) -> None:
        self.table: list[tuple[bytes, bytes, int]] = []  # name, value, number of the insertion; the newest first
        self.maximum, self.inserted = 4096, 0

    def decode(self, block: bytes, frame: Frame) -> None:
        """Add the lines of a field block to its frame."""
        at = 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, size = decode_integer(block[at:], 7)
                at += size
                name, value, entry = self.entry(index)
                frame.lines.append(Line(name, value, entry, entry, -1))
            elif first & 0xE0 == 0x20:
                self.maximum, size = decode_integer(block[at:], 5)
                at += size
                self.evict()
            else:
                index, size = decode_integer(block[at:], 6 if first & 0x40 else 4)
                at += size
                if index:
                    name, _, entry = self.entry(index)
                else:
                    (name, at), entry = self.string(block, at), -1
                value, at = self.string(block, at)
                line = Line(name, value, entry, -1, -1)
                if first & 0x40:
                    line.entry = self.inserted
                    self.table.insert(0, (name, value, self.inserted))
                    self.inserted += 1
                    self.evict()
                frame.lines.append(line)

    def entry(self, index: int) -> tuple[bytes, bytes, int]:
        """The name and value at an index, and the insertion that put them there."""
        if index <= len(HeaderTable.STATIC_TABLE):
            return (*HeaderTable.STATIC_TABLE[index - 1], -1)
        return self.table[index - len(HeaderTable.STATIC_TABLE) - 1]

    def string(self, block: bytes, at: int) -> tuple[bytes, int]:
        """A string, and where it ends."""
        length, size = decode_integer(block[at:], 7)
        raw = block[at + size : at + size + length]
        return (decode_huffman(raw) if block[at] & 0x80 else raw), at + size + length

    def evict(self) -> None:
        """Drop the oldest entries."""
        while sum(len(name) + len(value) + 32 for name, value, _ in self.table) > self.maximum:
            self.table.pop()


def conversations(path: Path) -> dict[int, Conversation]:
    """The connections of a pcap, by the client's port."""
    found: dict[int, Conversation] = {}
    with path.open("rb") as file:
        for number, (_, frame) in enumerate(dpkt.pcap.Reader(file)):
            segment = dpkt.ethernet.Ethernet(frame).data.data
            if segment.flags & dpkt.tcp.TH_SYN:
                if segment.flags & dpkt.tcp.TH_ACK:
                    found[segment.dport].to_client.base = segment.seq + 1
                else:
                    found[segment.sport] = Conversation()
                    found[segment.sport].to_server.base = segment.seq + 1
            elif segment.data:
                if segment.sport in found:
                    found[segment.sport].to_server.add(segment.seq, segment.data, number)
                else:
                    found[segment.dport].to_client.add(segment.seq, segment.data, number)
    for conversation in found.values():
        conversation.parse()
    return found


@dataclass
class Doubt:
    """Bytes of which it is not certain what they are: a hole with its shadow, whole frames from the first one on."""

    start: int
    end: int
    is_shown_empty: bool = False  # it can be proved that it holds no field block


def doubts(way: Direction, holes: list[tuple[int, int]], answered: set[int] | None) -> list[Doubt]:
    """The holes of a direction with their shadows; ``answered`` are the streams that the server answered, towards the server."""
    found: list[Doubt] = []
    reach = -1  # so far a frame that began in the last hole may reach
    for hole_start, hole_end in holes:
        if hole_start <= reach:
            start = found.pop().start
        else:
            inside = [frame for frame in way.frames if frame.start + HEADER <= hole_start < frame.end]
            start = inside[0].end if inside else max([f.end for f in way.frames if f.end <= hole_start], default=0)
        if hole_end <= start:
            continue
        opened = {frame.stream for frame in way.frames if frame.kind == HEADERS and frame.end <= start}
        reach = farthest(way, start, hole_end, None if answered is None else answered - opened)
        places = [frame.start for frame in way.frames if hole_end <= frame.start <= reach]
        found.append(Doubt(start, len(way.data) if reach >= len(way.data) else max(places, default=hole_end)))
    return found


def farthest(way: Direction, start: int, hole_end: int, hidden: set[int] | None) -> int:
    """The farthest place that a frame may reach which began in the hole; ``hidden`` streams it may have opened."""
    room = hole_end - start
    reach = hole_end + way.largest if room >= 2 * HEADER else start + HEADER + way.largest
    if hidden is not None:
        requests = [frame for frame in way.frames if frame.start >= start and frame.kind == HEADERS and frame.stream in hidden]
        for frame in requests:
            if frame.start >= hole_end and is_refuted(way, frame.end, room, hidden):
                return min(reach, frame.end - 1)
    return reach


def is_refuted(way: Direction, place: int, room: int, answered: set[int]) -> bool:
    """Whether a hole of ``room`` bytes is too small if the first frame after it begins at ``place``."""
    hidden = len({frame.stream for frame in way.frames if frame.kind == HEADERS and frame.start < place} & answered)
    return SMALLEST_REQUEST * (hidden - 1) + 1 > room


def show_empty(way: Direction, found: list[Doubt]) -> None:
    """Find the doubts towards the server of which it can be proved that they hold no field block."""

    def is_certain(frame: Frame) -> bool:
        return not any(doubt.start < frame.end and frame.start < doubt.end for doubt in found)

    certain = [frame for frame in way.frames if is_certain(frame)]
    for doubt in found:
        before = [frame for frame in certain if frame.end <= doubt.start]
        after = [frame for frame in certain if frame.start >= doubt.end]
        highest = max([frame.stream for frame in way.frames if frame.kind == HEADERS and frame.end <= doubt.start], default=-1)
        news = [frame.stream for frame in after if frame.kind == HEADERS and frame.stream > highest]
        ended = {f.stream for f in before if (f.kind in (DATA, HEADERS) and f.flags & END_STREAM) or f.kind == RST_STREAM}
        showing = {frame.stream for frame in after if frame.kind in (DATA, HEADERS)}
        opened = {frame.stream for frame in way.frames if frame.kind == HEADERS and frame.end <= doubt.start}
        is_next = bool(news) and news[0] == highest + 2
        doubt.is_shown_empty = is_next and opened <= ended | showing


def provable(conversation: Conversation, missing: set[int]) -> tuple[dict[int, Values], dict[int, Values]]:
    """What was said on each stream of a connection, and what of it could be proved without the ``missing`` packets."""
    whole: dict[int, Values] = defaultdict(dict)
    proved: dict[int, Values] = defaultdict(dict)
    answered: set[int] = set()
    for way in (conversation.to_client, conversation.to_server):
        is_to_server = way is conversation.to_server
        holes = way.holes(missing)
        found = doubts(way, holes, answered if is_to_server else None)
        if is_to_server:
            show_empty(way, found)
        else:
            gone = [*holes, *((doubt.start, doubt.end) for doubt in found)]
            answers = [frame for frame in way.frames if frame.kind in (DATA, HEADERS)]
            heads = [(frame.stream, frame.start, frame.start + HEADER) for frame in answers]
            answered = {stream for stream, head, end in heads if all(to <= head or end <= since for since, to in gone)}
        doubtful = [doubt for doubt in found if not doubt.is_shown_empty]
        epoch = emptied = 0
        known: dict[int, int] = {}  # insertions whose line is known -> the epoch of the table
        names: dict[int, int] = {}
        for frame in way.frames:
            if frame.kind != HEADERS:
                continue
            epoch = emptied + bisect_right([doubt.end for doubt in doubtful], frame.start)
            is_whole = all(end <= frame.start or frame.end <= start for start, end in holes)
            is_seen = all(doubt.end <= frame.start or frame.end <= doubt.start for doubt in found)
            if not is_whole and is_seen:
                emptied += 1  # as good as a doubt: it has changed the table
            for line in frame.lines:
                has_name = line.name_entry < 0 or names.get(line.name_entry) == epoch
                has_value = line.value_entry < 0 or known.get(line.value_entry) == epoch
                if is_whole and is_seen and line.entry >= 0:
                    known[line.entry] = epoch
                    if has_name:
                        names[line.entry] = epoch
                column = COLUMNS.get(line.name)
                if column is None or column in whole[frame.stream] or (column == "status" and line.value.startswith(b"1")):
                    continue
                whole[frame.stream][column] = line.value.decode()
                if is_whole and is_seen and has_name and has_value:
                    proved[frame.stream][column] = line.value.decode()
    return dict(whole), dict(proved)


def judge(path: Path, missing: set[int]) -> tuple[dict[Key, Values], dict[Key, Values]]:
    """The same for all connections of a pcap, ``missing`` being the numbers of the packets that were deleted, from 0."""
    whole: dict[Key, Values] = {}
    proved: dict[Key, Values] = {}
    for port, conversation in conversations(path).items():
        said, shown = provable(conversation, missing)
        whole |= {(port, stream): values for stream, values in said.items()}
        proved |= {(port, stream): values for stream, values in shown.items()}
    return whole, proved
