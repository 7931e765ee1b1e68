"""What arrived too early: pieces of one direction that wait behind a hole, and how sequence numbers are compared.

Sequence numbers are extended to 64 bits, so that they never wrap around inside unmux. Nothing here fills a hole: a
piece without bytes stands for what a snapped packet carried, and is delivered as a gap.
"""

from typing import Final

from mypy_extensions import i64

from analyzer import limits

SEQUENCE_NUMBERS: Final = 0x1_0000_0000
SEQUENCE_MASK: Final = 0xFFFF_FFFF
FARTHEST_BEHIND: Final = 0x4000_0000  # the largest receive window (RFC 7323 section 2.3): older bytes cannot come again


def extended(sequence: i64, near: i64) -> i64:
    """The 64-bit position of a 32-bit sequence number: at most a window behind ``near``, else ahead of it."""
    ahead: i64 = (sequence - near) & 0xFFFF_FFFF
    if ahead >= SEQUENCE_NUMBERS - FARTHEST_BEHIND:
        ahead -= SEQUENCE_NUMBERS
    return near + ahead


class Piece:
    """Bytes that wait: a copy of them, or None where the capture cut them off, and the packet they came in."""

    def __init__(
        self,
        start: i64,
        end: i64,
        data: bytes | None,
        timestamp: i64,
        packet: i64,
        is_valid: bool,
        identification: i64,
        sent_at: i64,
    ) -> None:
        self.start = start
        self.end = end
        self.data = data
        self.timestamp = timestamp
        self.packet = packet
        self.is_valid = is_valid  # the packet's checksum is known to be right
        self.identification = identification  # of the IP packet, -1 without
        self.sent_at = sent_at  # TSval, the sender's clock, -1 without


class Backlog:
    """The pieces of one direction that wait behind a hole, in order and without overlap."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.size: i64 = 0  # bytes held
        self.conflict: i64 = -1  # position of the first byte of the last piece that nobody could choose a copy of

    def hold(self, piece: Piece, captured_end: i64) -> i64:
        """Keep what is new of a segment; of bytes that are held already keep the better copy.

        ``piece`` is the whole segment, its data reaching to ``captured_end``. Returns how many of its bytes were new.
        """
        self.conflict = -1
        position = piece.start
        new: i64 = 0
        index = self._first_after(position)
        while position < piece.end:
            if index < len(self.pieces) and self.pieces[index].start <= position:
                held = self.pieces[index]
                stop = held.end if held.end < piece.end else piece.end
                index += self._choose(index, piece, position, stop, captured_end)
            else:
                stop = piece.end
                if index < len(self.pieces) and self.pieces[index].start < stop:
                    stop = self.pieces[index].start
                index += self._insert(index, piece, position, stop, captured_end)
                new += stop - position
            position = stop
        return new

    def memory(self) -> i64:
        """How many bytes of memory the pieces take."""
        return self.size + len(self.pieces) * limits.HELD_SEGMENT_BYTES

    def end(self) -> i64:
        """One past the last byte held, -1 when nothing is."""
        return self.pieces[-1].end if self.pieces else -1

    def drop(self, count: i64) -> None:
        """Forget the first ``count`` pieces."""
        for index in range(count):
            data = self.pieces[index].data
            if data is not None:
                self.size -= len(data)
        del self.pieces[:count]

    def drop_from(self, position: i64) -> Piece | None:
        """Forget the pieces that begin at or after ``position``; returns the first of them."""
        index: i64 = len(self.pieces)
        while index > 0 and self.pieces[index - 1].start >= position:
            index -= 1
        if index == len(self.pieces):
            return None
        first = self.pieces[index]
        for piece in self.pieces[index:]:
            if piece.data is not None:
                self.size -= len(piece.data)
        del self.pieces[index:]
        return first

    def _first_after(self, position: i64) -> i64:
        """The index of the first piece that ends after ``position``."""
        low: i64 = 0
        high: i64 = len(self.pieces)
        if high and self.pieces[high - 1].end <= position:
            return high  # the usual case
        while low < high:
            middle = (low + high) >> 1
            if self.pieces[middle].end <= position:
                low = middle + 1
            else:
                high = middle
        return low

    def _insert(self, index: i64, piece: Piece, start: i64, stop: i64, captured_end: i64) -> i64:
        """Put ``start`` to ``stop`` of a segment before the piece at ``index``; returns how many pieces that made."""
        count: i64 = 0
        cut = stop if stop < captured_end else captured_end
        if cut > start:
            data = piece.data
            assert data is not None
            self._place(index, piece, start, cut, data[start - piece.start : cut - piece.start])
            start = cut
            count = 1
        if stop > start:
            self._place(index + count, piece, start, stop, None)
            count += 1
        return count

    def _place(self, index: i64, piece: Piece, start: i64, stop: i64, data: bytes | None) -> None:
        placed = Piece(start, stop, data, piece.timestamp, piece.packet, piece.is_valid, piece.identification, piece.sent_at)
        if data is not None:
            self.size += stop - start
        self.pieces.insert(index, placed)

    def _choose(self, index: i64, piece: Piece, start: i64, stop: i64, captured_end: i64) -> i64:
        """Settle which copy of ``start`` to ``stop`` stays; returns how many pieces to step over."""
        held = self.pieces[index]
        if stop > captured_end:
            if captured_end <= start:
                return 1
            stop = captured_end
        new_data = piece.data
        assert new_data is not None
        mine = new_data[start - piece.start : stop - piece.start]
        old = held.data
        if old is None:
            return self._replace(index, piece, start, stop, mine)
        if old[start - held.start : stop - held.start] == mine:
            return 1
        if piece.is_valid and not held.is_valid:
            return self._replace(index, piece, start, stop, mine)
        if piece.is_valid == held.is_valid and self.conflict < 0:
            self.conflict = start
        return 1

    def _replace(self, index: i64, piece: Piece, start: i64, stop: i64, mine: bytes) -> i64:
        """Put another packet's bytes in the place of a part of a piece; returns how many pieces the place now has."""
        held = self.pieces.pop(index)
        old = held.data
        if old is not None:
            self.size -= len(old)
        count: i64 = 0
        if held.start < start:
            self._place(index, held, held.start, start, None if old is None else old[: start - held.start])
            count += 1
        self._place(index + count, piece, start, stop, mine)
        count += 1
        if stop < held.end:
            self._place(index + count, held, stop, held.end, None if old is None else old[stop - held.start :])
            count += 1
        return count
