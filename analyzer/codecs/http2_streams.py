"""What HTTP/2 counts for each stream: its number (RFC 9113 section 5.1.1) and its flow-control windows (section 5.2)."""

from typing import Final

from mypy_extensions import i64

from analyzer import limits

DEFAULT_WINDOW: Final = 65_535
_ALL_SKIPPED: Final = (1 << limits.HTTP2_TOMBSTONES + 1) - 2


class StreamNumbers:
    """Tells numbers of streams that are new from those of streams that are over; one side opens all of these."""

    def __init__(self, first: i64) -> None:
        """``first`` is 1 for streams that clients open, 2 for those that servers promise."""
        self.highest: i64 = first - 2  # opened so far
        self._lowest: i64 = first  # of those that opened while the capture ran
        self._skipped: int = 0  # bit n: the n-th number below the highest was not opened; it may have been in a hole
        self._ended_early: set[int] = set()  # below the lowest, opened before the capture began, and over

    def memory(self) -> i64:
        """How many bytes of memory they take."""
        return len(self._ended_early) * limits.NUMBER_BYTES

    def begin_late(self) -> None:
        """The capture began when streams were open already."""
        self._lowest = -1

    def is_unopened(self, stream_id: i64) -> bool:
        """Whether a frame on this stream, which is not known to be open, can be its first one seen."""
        if stream_id > self.highest or self._was_skipped(stream_id):
            return True
        if stream_id >= self._lowest:
            return False
        return stream_id not in self._ended_early and len(self._ended_early) < limits.HTTP2_TOMBSTONES

    def _was_skipped(self, stream_id: i64) -> bool:
        if not self._skipped:
            return False
        below: int = (self.highest - stream_id) >> 1
        return below <= limits.HTTP2_TOMBSTONES and self._skipped >> below & 1 == 1

    def open(self, stream_id: i64) -> None:
        """The stream is opened by the side that may."""
        if stream_id <= self.highest:
            self._fill(stream_id)
            return
        if self._lowest < 0:
            self._lowest = stream_id
        else:
            self._skip((stream_id - self.highest) >> 1)
        self.highest = stream_id

    def _skip(self, step: i64) -> None:
        """The highest number rises by so many numbers: those between were skipped."""
        if step == 1 and not self._skipped:
            return
        if step > limits.HTTP2_TOMBSTONES:
            self._skipped = _ALL_SKIPPED
            return
        size: int = step
        self._skipped = (self._skipped << size | (1 << size) - 2) & _ALL_SKIPPED

    def _fill(self, stream_id: i64) -> None:
        """A number below the highest is not one that was skipped, from now on."""
        if self._was_skipped(stream_id):
            below: int = (self.highest - stream_id) >> 1
            self._skipped ^= 1 << below

    def end(self, stream_id: i64) -> None:
        """The stream is over."""
        if stream_id > self.highest:
            self.open(stream_id)
        self._fill(stream_id)
        if stream_id < self._lowest:
            self._ended_early.add(stream_id)


class Window:
    """A flow-control window, as the sender of DATA sees it, or a little later: it is never larger for the sender.

    ``spare`` is counted from a base that SETTINGS can move for all streams at once; a connection's base stays 0.
    """

    def __init__(self, spare: i64) -> None:
        self.spare = spare
        self.closed_at: i64 = -1  # when DATA used it up; -1 while it is open
        self.closed_packet: i64 = -1
        self.opened_at: i64 = -1  # when it was opened again; -1 while it is closed, or was not closed before
        self.opened_packet: i64 = -1

    def use(self, length: i64, base: i64, timestamp: i64, packet: i64) -> None:
        """DATA of ``length`` bytes goes out."""
        self.spare -= length
        if self.spare + base <= 0:
            # below zero the view of the window is not the sender's: nothing is said about it
            self.closed_at = timestamp if self.spare + base == 0 else -1
            self.closed_packet = packet
            self.opened_at = -1

    def credit(self, increment: i64, base: i64, timestamp: i64, packet: i64) -> None:
        """A WINDOW_UPDATE reaches the sender."""
        self.spare += increment
        if self.closed_at >= 0 and self.opened_at < 0 and self.spare + base > 0:
            self.opened_at = timestamp
            self.opened_packet = packet

    def close(self, timestamp: i64, packet: i64) -> None:
        """Its sender has learned that it is closed, by what it may send rather than by what it sent."""
        self.closed_at = timestamp
        self.closed_packet = packet
        self.opened_at = -1

    def is_shut(self, base: i64) -> bool:
        """Whether it was used up, or shut, and is not opened yet."""
        return self.closed_at >= 0 and self.opened_at < 0 and self.spare + base <= 0

    def forget(self) -> None:
        """The time it was closed has been told."""
        self.closed_at = -1
        self.opened_at = -1
