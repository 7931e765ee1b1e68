"""The packets of chosen connections, as a capture of their own.

A capture is read twice for it: once to see which connection each packet belongs to, by the same decoder and connection table
that analysis uses, and once to copy. Fragments belong to the connection of the datagram that they make up.
"""

from collections.abc import Callable, Iterable
from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.capture.capture_set import CaptureSet
from analyzer.capture.pcapng_writer import PcapngWriter
from analyzer.capture.reader import UNTOLD, Interface
from analyzer.connections.connection import CAPTURE_SHIFT
from analyzer.connections.table import ConnectionTable
from analyzer.dissector import Context
from analyzer.packets.decoder import NOTHING, Decoder

PACKETS_BETWEEN_REPORTS: Final = 4096
_SECRETS_BYTES: Final = 1 << 20  # of a block of secrets: readers hold one whole
_ROOM: Final = 1 << 16  # bytes by which a capture's marks grow

Progress = Callable[[int], bool]
"""Called with the bytes read so far; False ends reading."""


class Marks:
    """Which packets of several captures are wanted: one bit each."""

    def __init__(self) -> None:
        self.count: i64 = 0
        self._bits: dict[int, bytearray] = {}  # by capture_index

    def add(self, number: i64) -> None:
        """Mark a packet; ``number`` is capture_index * 2^40 + frame, as in a connection_id."""
        frame: i64 = number & ((1 << CAPTURE_SHIFT) - 1)
        bits = self._bits.setdefault(number >> CAPTURE_SHIFT, bytearray())
        at = frame >> 3
        if at >= len(bits):
            bits.extend(bytes(at + _ROOM - len(bits)))
        bit: i64 = 1 << (frame & 7)
        known: i64 = bits[at]
        if known & bit == 0:
            bits[at] = known | bit
            self.count += 1

    def has(self, capture_index: i64, frame: i64) -> bool:
        """Whether a packet is marked."""
        bits = self._bits.get(capture_index)
        if bits is None or frame >> 3 >= len(bits):
            return False
        known: i64 = bits[frame >> 3]
        return known >> (frame & 7) & 1 == 1


def mark(captures: CaptureSet, connections: set[int], progress: Progress) -> Marks:
    """Find the packets of the connections with these connection_ids. What ``progress`` cuts off is not there.

    A connection that was put away for lack of memory, and so has several ids, is one here: from the first wanted one on.
    """
    wanted = set(connections)
    decoder = Decoder()
    table = ConnectionTable(Context([]))  # which connection a packet is of does not depend on what is in it
    marks = Marks()
    inside: dict[int, list[int]] = {}  # a packet that completed a datagram which is a fragment itself -> its other packets
    until_report: i64 = PACKETS_BETWEEN_REPORTS
    while True:
        reader = captures.next()
        if reader is None:
            break
        number: i64 = (reader.capture_index << CAPTURE_SHIFT) + reader.frame
        kind = decoder.decode(
            reader.data,
            reader.offset,
            reader.captured_length,
            reader.original_length,
            reader.link_type,
            reader.timestamp,
            number,
            reader.interface,
        )
        waited: list[int] = []
        if decoder.taken_back:
            waited = decoder.waited_frames()
            decoder.taken_back = 0
        if kind != NOTHING:
            table.packet(decoder, kind, reader.timestamp, reader.frame, reader.capture_index, None)
            if number in connections:
                wanted.add(table.taken_by)
            if table.taken_by in wanted:
                _mark_all(marks, [number, *waited], inside)
        elif waited and len(inside) < limits.FRAGMENTED_DATAGRAMS:
            inside[number] = waited
        until_report -= 1
        if until_report == 0:
            until_report = PACKETS_BETWEEN_REPORTS
            decoder.drain_anomalies()
            if not progress(captures.bytes_read):
                break
    return marks


def _mark_all(marks: Marks, numbers: list[int], inside: dict[int, list[int]]) -> None:
    """Mark packets, and those that were put together before."""
    while numbers:
        number = numbers.pop()
        marks.add(number)
        numbers += inside.pop(number, [])


def write_secrets(writer: PcapngWriter, lines: Iterable[bytes]) -> None:
    """Write whole key log lines, each with its end, as Decryption Secrets Blocks. Raises ``OSError`` as the writer does."""
    held: list[bytes] = []
    size: i64 = 0
    for line in lines:
        if held and size + len(line) > _SECRETS_BYTES:
            writer.secrets(b"".join(held))
            held = []
            size = 0
        held.append(line)
        size += len(line)
    if held:
        writer.secrets(b"".join(held))


def copy(captures: CaptureSet, marks: Marks | None, writer: PcapngWriter, progress: Progress) -> int:
    """Write the marked packets, or all, as they were captured, in order of time; returns their number. Raises ``OSError`` as the writer does."""
    numbers: dict[tuple[int, int], int] = {}  # of interfaces, by capture and number in it
    packets: i64 = 0
    until_report: i64 = PACKETS_BETWEEN_REPORTS
    while True:
        reader = captures.next()
        if reader is None:
            break
        if marks is None or marks.has(reader.capture_index, reader.frame):
            packets += 1
            place = (int(reader.capture_index), int(reader.interface))
            number = numbers.get(place)
            # between the packets of a part others were lost as well, of which the part does not tell
            lost = reader.lost_before(is_first=number is None) if marks is None else UNTOLD
            if number is None:
                number = _describe(writer, reader.interfaces[reader.interface], tells_losses=lost != UNTOLD)
                numbers[place] = number
            data = reader.data[reader.offset : reader.offset + reader.captured_length]
            writer.packet(number, reader.timestamp, data, reader.original_length, lost)
            reader.lost_packets = UNTOLD
        until_report -= 1
        if until_report == 0:
            until_report = PACKETS_BETWEEN_REPORTS
            if not progress(captures.bytes_read):
                break
    if marks is None:
        _describe_the_rest(captures, numbers, writer)
    _write_drops(captures, numbers, writer)
    return packets


def _describe_the_rest(captures: CaptureSet, numbers: dict[tuple[int, int], int], writer: PcapngWriter) -> None:
    """Add to ``numbers`` the interfaces without packets that dropped some, nobody knows when."""
    for reader in captures.readers:
        for index, interface in enumerate(reader.interfaces):
            if interface.packets == 0 and interface.dropped:
                numbers[(int(reader.capture_index), index)] = _describe(writer, interface, tells_losses=False)


def _describe(writer: PcapngWriter, interface: Interface, *, tells_losses: bool) -> int:
    return writer.interface(interface.link_type, interface.snap_length, interface.name, tells_losses=tells_losses)


def _write_drops(captures: CaptureSet, numbers: dict[tuple[int, int], int], writer: PcapngWriter) -> None:
    """Write what interfaces dropped, ``numbers`` being theirs: it may have been of any of the packets' connections."""
    dropped: dict[int, int] = {}
    ended_at: dict[int, int] = {}
    for (capture_index, there), number in numbers.items():
        for reader in captures.readers:
            if reader.capture_index == capture_index:
                lost = reader.interfaces[there].dropped
                if lost is not None:
                    dropped[number] = dropped.get(number, 0) + lost
                    ended_at[number] = max(ended_at.get(number, 0), reader.last_packet_at)
    for number, count in dropped.items():
        writer.statistics(number, ended_at[number], None, count)
