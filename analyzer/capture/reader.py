"""What every source of packets is to the rest of the program: a reader that stands on one packet at a time.

No object is made per packet: a packet is a place in a block of file bytes. A record that crosses the end of a block
is carried over to the next.
"""

import io
from enum import Enum
from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.capture.compression import Source
from analyzer.capture.link_types import link_type_name
from analyzer.records import AnomalyRecord, CaptureRecord

UNTOLD: Final = -1  # nobody counts what was lost

_DAY: Final = 86_400_000_000_000


class Losses(Enum):
    """What a capture says of when it lost packets."""

    UNSAID = 1  # nothing so far
    TOLD = 2  # before which packets, and how many
    HIDDEN = 3  # not of every interface, or what cannot be: so not of any connection


class Interface:
    """A capture interface of a file. ``dropped`` is what the capturing system says it lost there, None where it does not.

    ``snap_length`` is how much of a packet was captured at most, 0 where there was no limit.
    """

    def __init__(self, link_type: i64, name: str | None, snap_length: i64) -> None:
        self.link_type: i64 = link_type
        self.name = name
        self.snap_length: i64 = snap_length
        self.packets: i64 = 0
        self.dropped: int | None = None


class CaptureReader:
    """The packets of one file, in the order of the file.

    After :meth:`next` returned True, ``data``, ``offset``, ``captured_length``, ``original_length``, ``timestamp`` (ns
    since the epoch), ``link_type`` (LINKTYPE_ number), ``interface`` and ``frame`` (from 1, as Wireshark counts)
    describe the current packet. A packet that has no valid time of its own takes that of the packet before it and is
    counted in ``untimed_packets``.

    ``lost_packets`` is how many packets the capturing system says it lost before the one that the reader stands on, or,
    behind the last, after it; ``UNTOLD`` where it says nothing. Who takes the number sets it back to that. ``losses`` is
    whether such numbers are the whole truth; where it turns to ``HIDDEN`` there is a number, if only 0.
    """

    def __init__(self, name: str, source: Source, capture_format: str, size: int | None) -> None:
        self.data = b""
        self.offset: i64 = 0
        self.captured_length: i64 = 0
        self.original_length: i64 = 0
        self.timestamp: i64 = 0
        self.link_type: i64 = 0
        self.interface: i64 = 0
        self.frame: i64 = 0
        self.lost_packets: i64 = UNTOLD
        self.losses = Losses.UNSAID

        self.name = name
        self.format = capture_format
        self.size = size  # bytes of the file as stored, None for a pipe
        self.truncation: str | None = None
        self.capture_index: i64 = 0
        self.interfaces: list[Interface] = []
        self.secrets: list[bytes] = []
        self.anomalies: list[AnomalyRecord] = []  # faults that did not stop reading

        self.packets: i64 = 0
        self.snapped_packets: i64 = 0
        self.untimed_packets: i64 = 0
        self.captured_bytes: i64 = 0
        self.original_bytes: i64 = 0
        self.first_packet_at: i64 = limits.TIMESTAMP_NANOSECONDS
        self.last_packet_at: i64 = -1

        self._farthest_back: i64 = 0
        self._source = source
        self._position: i64 = 0  # in data: the record that is read next
        self._end: i64 = 0  # length of data
        self._is_ended = False  # nothing more is read, though the file may go on
        self._base: i64 = 0  # where data begins in the file, after decompression

    def next(self) -> bool:
        """Advance to the next packet; False at the end. Bad content ends it and is told in ``truncation``."""
        return False

    @property
    def compression(self) -> str | None:
        """``gzip``, ``zstd``, ``xz`` or None."""
        return self._source.compression

    @property
    def bytes_read(self) -> int:
        """Bytes of the file as stored that were read so far."""
        return self._source.bytes_read

    def interface_name(self, interface: i64) -> str | None:
        """The name of an interface by its number, None where the file gives none."""
        if interface >= len(self.interfaces):
            return None
        return self.interfaces[interface].name

    def lost_before(self, *, is_first: bool) -> i64:
        """How many packets a copy of the current one, maybe the first of its interface, should say were lost before; or ``UNTOLD``."""
        if self.lost_packets > 0:
            return self.lost_packets
        if self.losses is Losses.TOLD and is_first:  # readers go by an interface's first packet
            return 0
        return UNTOLD if self.losses is Losses.HIDDEN else self.lost_packets

    def close(self) -> None:
        """Release the file and the block; the counts stay."""
        self._source.close()
        self.data = b""
        self._position = self._end = 0
        self._is_ended = True

    def record(self) -> CaptureRecord:
        """What the reader knows so far of its file."""
        used = [interface for interface in self.interfaces if interface.packets] or self.interfaces
        counts = [interface.dropped for interface in self.interfaces if interface.dropped is not None]
        dropped = sum(counts) if counts else None
        is_timed = self.last_packet_at >= 0
        return CaptureRecord(
            capture_index=self.capture_index,
            name=self.name,
            format=self.format or None,
            compression=self.compression,
            link_types=_joined([link_type_name(interface.link_type) for interface in used]),
            interfaces=_joined([interface.name for interface in self.interfaces if interface.name is not None]),
            packets=self.packets,
            snapped_packets=self.snapped_packets,
            untimed_packets=self.untimed_packets,
            captured_bytes=self.captured_bytes,
            original_bytes=self.original_bytes,
            first_packet_at=self.first_packet_at if is_timed else None,
            last_packet_at=self.last_packet_at if is_timed else None,
            dropped_packets=dropped if dropped is None or dropped < limits.DROPPED_PACKETS else None,
            truncation=self.truncation,
        )

    def _count(self, captured: i64, original: i64, timestamp: i64) -> None:
        """Note the packet that the reader now stands on; a negative time is an unknown one."""
        self.frame += 1
        self.packets += 1
        if original < captured:
            if original > 0:  # some writers leave it zero
                self._anomaly("invalid_length", "at most as many captured bytes as the packet has", f"{captured} of {original}")
            original = captured
        elif original > captured:
            self.snapped_packets += 1
        self.captured_length = captured
        self.original_length = original
        self.captured_bytes += captured
        self.original_bytes += original
        if timestamp < 0:
            self.untimed_packets += 1
            return
        self.timestamp = timestamp
        if timestamp < self.first_packet_at:
            self.first_packet_at = timestamp
        if timestamp > self.last_packet_at:
            if timestamp - self.last_packet_at > limits.CLOCK_LEAP_NANOSECONDS and self.last_packet_at >= 0:
                days = (timestamp - self.last_packet_at) // _DAY
                self._anomaly("clock_leap", "packets of one time", f"{days} days after all before it")
            self.last_packet_at = timestamp
        elif self.last_packet_at - timestamp > limits.REORDER_NANOSECONDS:
            self._go_back(self.last_packet_at - timestamp)

    def _lose(self, packets: int) -> None:
        """Note that packets were lost before the one that the reader will stand on when it has been read."""
        lost: int = 0 if self.lost_packets == UNTOLD else self.lost_packets
        self.lost_packets = min(lost + packets, limits.DROPPED_PACKETS)
        if self.losses is Losses.UNSAID:
            self.losses = Losses.TOLD

    def _hide_losses(self) -> None:
        """Note that it is not known for the whole capture when it lost packets."""
        if self.losses is Losses.TOLD and self.lost_packets == UNTOLD:
            self.lost_packets = 0
        self.losses = Losses.HIDDEN

    def _go_back(self, nanoseconds: i64) -> None:
        """Note a packet with a time so long before that of an earlier one that its order may not be that of the network."""
        self._anomaly("time_order", "packets in the order of their times", "")
        if nanoseconds > self._farthest_back:
            self._farthest_back = nanoseconds
            for row in self.anomalies:
                if row.kind == "time_order":
                    row.found = f"some up to {nanoseconds // 1_000_000:,} ms earlier than one before them"

    def _have(self, count: i64) -> bool:
        """Bring ``count`` bytes from the position on into ``data``; False when the file ends before."""
        held = self._end - self._position
        if held >= count:
            return True
        if not self._is_ended and held and self._source.step_back(held):  # faster than to put the two pieces together
            held = 0
        pieces = [self.data[self._position :]] if held else []
        while held < count and not self._is_ended:
            block = self._source.read()
            if not block:
                break
            pieces.append(block)
            held += len(block)
        self._base += self._position
        self._position = 0
        self.data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._end = len(self.data)
        return self._end >= count

    def _skip(self, count: i64) -> bool:
        """Leave out ``count`` bytes without holding them; False when the file ends before."""
        while count > self._end - self._position:
            count -= self._end - self._position
            self._base += self._end
            self.data = self._source.read()
            self._position = 0
            self._end = len(self.data)
            if not self._end:
                return False
        self._position += count
        return True

    def _stop(self, what: str, at: i64, required: str, found: str) -> bool:
        """End reading at byte ``at`` of the (decompressed) file and say why. Returns False."""
        where = f"{what} at byte {at}" + (" after decompression" if self.compression else "")
        fault = f" ({self._source.fault})" if self._source.fault else ""
        self.truncation = f"{where}: required {required}, found {found}{fault}"
        self._position = self._end
        self._is_ended = True
        return False

    def _finish(self) -> bool:
        """End reading where a record would begin and the bytes are used up. Returns False."""
        if self._source.fault is not None and self.truncation is None:
            self.truncation = f"after packet {self.frame}: {self._source.fault}"
        return False

    def _anomaly(self, kind: str, required: str, found: str) -> None:
        """Note a fault that does not stop reading; its like are counted in one row."""
        for row in self.anomalies:
            if row.kind == kind:
                row.occurrences += 1
                return
        self.anomalies.append(
            AnomalyRecord(
                capture_index=self.capture_index,
                occurred_at=self.timestamp or None,
                packet=self.frame or None,
                kind=kind,
                required=required,
                found=found,
            )
        )

    def _in_file(self) -> i64:
        """Where in the (decompressed) file the position is, in bytes."""
        return self._base + self._position


class UnreadableReader(CaptureReader):
    """Stands for a file that was there when the set was made and could not be opened when its turn came."""

    def __init__(self, name: str, size: int | None, fault: str) -> None:
        super().__init__(name, Source(io.BytesIO(), 1), "", size)
        self.truncation = fault


def _joined(names: list[str]) -> str | None:
    """Each name once, in order, comma-separated; cut at the limit of a text column."""
    text = ""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            continue
        seen.add(name)
        if len(text) + len(name) > limits.TEXT_BYTES:
            break
        text = f"{text},{name}" if text else name
    return text or None
