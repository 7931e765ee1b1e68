"""IP fragments become datagrams again (RFC 791 section 3.2, RFC 8200 section 4.5).

Where copies of a byte differ the first stays and an anomaly says so; exact copies of fragments are told apart from a
reused identification by time. Nothing is zero-filled: a datagram comes out whole or not at all.
"""

from bisect import bisect_right
from typing import Final, final

from mypy_extensions import i64

from analyzer import limits
from analyzer.records import AnomalyRecord, Rows

WAITING: Final = "waiting"
DAMAGED: Final = "damaged"
DUPLICATE: Final = "duplicate"

PIECE_OVERHEAD: Final = 128  # memory of a piece beside its bytes, so that tiny fragments count for what they cost
FRAME_OVERHEAD: Final = 40  # memory of a frame number
LARGEST: Final = 65_535  # the length fields of IPv4 and IPv6 hold no more


@final
class _Datagram:
    """The pieces of one datagram, in order and without overlap."""

    def __init__(self, timestamp: i64) -> None:
        self.timestamp: i64 = timestamp  # of its first fragment to arrive
        self.starts: list[int] = []
        self.pieces: list[bytes] = []
        self.received: i64 = 0
        self.frames: list[int] = []  # one for each fragment
        self.cost: i64 = PIECE_OVERHEAD
        self.length: i64 = -1  # known from the last fragment
        self.header: bytes = b""  # of the fragment at 0
        self.is_conflicting = False


@final
class _Completed:
    """A datagram that was just completed."""

    def __init__(self, payload: bytes, timestamp: i64) -> None:
        self.payload = payload
        self.timestamp: i64 = timestamp  # of the fragment that completed it


@final
class Fragments:
    """Datagrams that wait for fragments, and for a moment those that were just completed."""

    def __init__(self, most_bytes: i64 = limits.FRAGMENT_BYTES) -> None:
        self._most_bytes = most_bytes  # of memory
        self.verdict: str = WAITING  # what became of the latest fragment that completed nothing
        self.header: bytes = b""  # of the datagram that the latest fragment completed
        self.waited: list[int] = []  # the frames of the fragments that had waited for that one
        self._datagrams: dict[bytes, _Datagram] = {}  # in order of their first fragment
        self._cost: i64 = 0
        self._completed: dict[bytes, _Completed] = {}  # in order of completion
        self._faults: Rows = []
        self._counts: dict[str, int] = {}  # kind -> faults, in all
        self._counting: dict[str, AnomalyRecord] = {}  # kind -> the row that counts further ones until it is drained

    def add(self, key: bytes, header: bytes, start: i64, data: bytes, is_last: bool, timestamp: i64, frame: i64) -> bytes | None:
        """Take the bytes at ``start`` of the datagram named by ``key``; returns its whole payload when that completes it.

        ``header`` is the IP header the fragment came with. None leaves the reason in ``verdict``.
        """
        self.verdict = DAMAGED
        size: i64 = len(data)
        if size == 0 or (not is_last and size & 7 != 0):
            return None  # only the last may end off an 8-byte boundary
        if start + size + len(header) > LARGEST:
            self._fault(
                "oversized_datagram", timestamp, frame, f"at most {LARGEST} bytes", f"a fragment up to byte {start + size}"
            )
            return None
        self._forget(timestamp)
        datagram = self._datagrams.get(key)
        if datagram is None:
            if self._is_copy(key, start, data, timestamp):
                self.verdict = DUPLICATE
                return None
            datagram = _Datagram(timestamp)
            self._datagrams[key] = datagram
            self._cost += datagram.cost
        if not self._fits(datagram, start + size, is_last):
            self._conflict(datagram, timestamp, frame, "another end of the same datagram")
            return None
        if start == 0 and not datagram.header:
            datagram.header = header
        self.verdict = WAITING
        datagram.frames.append(frame)
        datagram.cost += FRAME_OVERHEAD
        self._cost += FRAME_OVERHEAD
        if not self._insert(datagram, start, data):
            self._conflict(datagram, timestamp, frame, "other bytes at the same place")
        if datagram.received != datagram.length:
            return None
        return self._complete(key, datagram, timestamp)

    def _is_copy(self, key: bytes, start: i64, data: bytes, timestamp: i64) -> bool:
        """Whether this is a fragment of a datagram just completed, seen again."""
        completed = self._completed.get(key)
        if completed is None or timestamp - completed.timestamp > limits.FRAGMENT_COPY_NANOSECONDS:
            return False
        return completed.payload[start : start + len(data)] == data

    def _fits(self, datagram: _Datagram, end: i64, is_last: bool) -> bool:
        """Whether a fragment agrees with what is known of the datagram's length; a last fragment sets it."""
        if datagram.length >= 0:
            return end == datagram.length if is_last else end <= datagram.length
        if is_last:
            if datagram.starts and datagram.starts[-1] + len(datagram.pieces[-1]) > end:
                return False
            datagram.length = end
        return True

    def _insert(self, datagram: _Datagram, start: i64, data: bytes) -> bool:
        """Keep the bytes that are new; False when others differ from those already there."""
        agrees = True
        end: i64 = start + len(data)
        at: i64 = start
        index: i64 = bisect_right(datagram.starts, start)
        if index > 0:
            index -= 1  # the piece before may reach into this one
        while at < end:
            piece_start: i64 = end
            piece_end: i64 = end
            if index < len(datagram.starts):
                piece_start = datagram.starts[index]
                piece_end = piece_start + len(datagram.pieces[index])
            if piece_end <= at and piece_start < end:
                index += 1
                continue
            if piece_start > at:  # a hole up to the piece, or to the end
                stop = piece_start if piece_start < end else end
                datagram.starts.insert(index, at)
                datagram.pieces.insert(index, data[at - start : stop - start])
                datagram.received += stop - at
                datagram.cost += stop - at + PIECE_OVERHEAD
                self._cost += stop - at + PIECE_OVERHEAD
                index += 1
                at = stop
                continue
            stop = piece_end if piece_end < end else end
            if datagram.pieces[index][at - piece_start : stop - piece_start] != data[at - start : stop - start]:
                agrees = False
            at = stop
            index += 1
        return agrees

    def _complete(self, key: bytes, datagram: _Datagram, timestamp: i64) -> bytes:
        """Join the pieces, and remember them a moment for exact copies."""
        payload = b"".join(datagram.pieces)
        self._drop(key, datagram)
        self._completed.pop(key, None)
        if len(self._completed) >= limits.COMPLETED_DATAGRAMS:
            del self._completed[next(iter(self._completed))]
        self._completed[key] = _Completed(payload, timestamp)
        self.header = datagram.header
        self.waited = datagram.frames[:-1]
        return payload

    def _drop(self, key: bytes, datagram: _Datagram) -> None:
        del self._datagrams[key]
        self._cost -= datagram.cost

    def _forget(self, timestamp: i64) -> None:
        """Give up datagrams that are too old, and the oldest when there are too many."""
        while self._datagrams:
            key = next(iter(self._datagrams))
            datagram = self._datagrams[key]
            if self._cost > self._most_bytes or len(self._datagrams) >= limits.FRAGMENTED_DATAGRAMS:
                self._fault("limit", datagram.timestamp, None, "room for fragments", "more unfinished datagrams than the limit")
            elif timestamp - datagram.timestamp <= limits.FRAGMENT_NANOSECONDS:
                return
            self._drop(key, datagram)

    def _conflict(self, datagram: _Datagram, timestamp: i64, frame: i64, found: str) -> None:
        if not datagram.is_conflicting:
            datagram.is_conflicting = True
            self._fault("conflicting_copies", timestamp, frame, "fragments that agree where they overlap", found)

    def _fault(self, kind: str, timestamp: i64, frame: int | None, required: str, found: str) -> None:
        """Note a fault; of each kind only so many rows, then one row in each drain that counts."""
        count = self._counts.get(kind, 0) + 1
        self._counts[kind] = count
        last = self._counting.get(kind)
        if last is not None:
            last.occurrences += 1
            return
        row = AnomalyRecord(
            occurred_at=timestamp, packet=frame, kind=kind, required=required, found=found, section="RFC 791 section 3.2"
        )
        self._faults.append(row)
        if count >= limits.ANOMALIES_PER_KIND:
            self._counting[kind] = row

    def drain(self) -> Rows:
        """Hand over the faults found since the last call."""
        rows = self._faults
        self._faults = []
        self._counting = {}
        return rows
