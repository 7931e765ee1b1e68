"""What a server's answers prove of the client's frames in and after a hole (RFC 9113 sections 5.1.1 and 8.1).

After a hole of *u* bytes the first frame may begin at any place *s* of the bytes that follow: everything before *s* is then
the content of one frame that began in the hole, whatever it looks like. Not every such story has room for all streams:

- A server answers only on a stream that the client has opened, and what it says was written after it had read the HEADERS
  that opened the stream. The acknowledgments seen until the answer was seen cover everything that the server had read.
- So a stream that was answered, and that was not opened before the hole, was opened before what was acknowledged then: by a
  frame in the hole, by the one that reaches from there to *s*, or by one of those that follow.
- The header section of a request has two lines at least, of a byte each at least, so that a HEADERS frame which opens a stream
  has 11 bytes at least. The frame that reaches to *s* began in the hole with one byte at least, and opens one stream at most.

So the hole and the frame that reaches beyond it opened fewer than :func:`streams_refuting` streams. A story with *k* HEADERS
frames from *s* to some place is refuted if so many more than *k* of the answered streams must have been opened before that
place: those answered when nothing beyond it was acknowledged and, where a frame on a new stream begins there, those with
smaller numbers, since a client opens its streams in rising order.
"""

from bisect import bisect_left, bisect_right
from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.http2_frames import HEADER_BYTES, HEADERS, is_possible, number32, payload_length

SMALLEST_REQUEST: Final = HEADER_BYTES + 2  # the HEADERS frame of a request


class Answers:
    """The streams that were answered before they were seen to be opened, and how far the server can have read by then."""

    def __init__(self) -> None:
        self.is_newer = False  # one was added since a bound was asked for
        self.is_believed = True  # no hole before the present one can have opened them
        self._numbers: list[int] = []
        self._read: list[int] = []

    def memory(self) -> i64:
        """How many bytes of memory they take."""
        return 2 * len(self._numbers) * limits.NUMBER_BYTES

    def add(self, stream_id: i64, read: i64) -> None:
        """Add a stream; ``read`` bytes towards the server were acknowledged by now, -1 where that is not known."""
        if read >= 0 and len(self._numbers) < limits.HTTP2_ANSWERS:
            self._numbers.append(stream_id)
            self._read.append(read)
            self.is_newer = True

    def open(self, stream_id: i64, is_header: bool) -> None:
        """The client is seen to use a stream: those below it were opened in the bytes before, or never.

        So were those above it, perhaps, unless it ``is_header``, which opens the stream.
        """
        if is_header:
            self.is_believed = True
        if not self._numbers:
            return
        numbers: list[int] = []
        read: list[int] = []
        for at, number in enumerate(self._numbers):
            if number > stream_id:
                numbers.append(number)
                read.append(self._read[at])
        self._numbers = numbers
        self._read = read

    def read_after(self, hole_end: i64) -> list[int]:
        """How far the server can have read beyond the end of a hole when it answered each stream, in rising order.

        Empty where that proves nothing.
        """
        self.is_newer = False
        return sorted([read - hole_end for read in self._read]) if self.is_believed else []

    def count(self) -> i64:
        """How many streams there are."""
        return len(self._numbers)

    def stories(self, data: bytes, largest: i64, asked: i64, hole_end: i64) -> "Stories":
        """What can have happened after a hole that ``data`` follows.

        Frames have at most ``largest`` bytes; ``asked`` is the number of the last stream opened before.
        """
        return Stories(data, largest, asked, sorted(self._numbers), self.read_after(hole_end))


class Stories:
    """What can have happened after a hole: each story is a chain of frames, and begins at another place."""

    def __init__(self, data: bytes, largest: i64, asked: i64, numbers: list[int], read: list[int]) -> None:
        self._data = data
        self._largest = largest
        self._asked = asked
        self._numbers = numbers
        self._read = read
        self._next: dict[int, int] = {}  # where a frame begins -> where the next one does
        self._hidden: dict[int, int] = {}  # the same -> streams that a story which begins there must have in the hole

    def first_certain(self, found: i64, refuting: i64) -> i64:
        """The first place that all stories pass which are not refuted by so many streams, where all of them pass ``found``."""
        self._next = {}
        self._hidden = {}
        chain: list[int] = []
        position = found
        while self._length(position) >= 0:
            chain.append(position)
            position += HEADER_BYTES + self._length(position)
        for place in reversed(chain):
            self._tell(place, self._length(place))
        certain: i64 = -1  # the last place where a story begins that is not refuted
        for place in range(found, -1, -1):
            if place < found:
                length = self._length(place)
                if length < 0 or place + HEADER_BYTES + length not in self._next:
                    continue
                self._tell(place, length)
            if certain < 0 and self._hidden.get(place, 0) < refuting:
                certain = place
        while 0 <= certain < found and not self._do_all_pass(certain, refuting):
            certain = self._next[certain]
        return certain if 0 <= certain < found else found

    def first_at_best(self, found: i64, refuting: i64) -> i64:
        """The same if all streams were answered that the frames from ``found`` on open, and those with smaller numbers."""
        highest = self._asked
        for place in self._next:
            if place >= found and self._data[place + 3] == HEADERS:
                number = number32(self._data, place + 5) & 0x7FFFFFFF
                if number > highest:
                    highest = number
        if (highest - self._asked) // 2 > limits.HTTP2_ANSWERS:
            return found
        numbers = list(range(self._asked + 2, highest + 1, 2))
        return Stories(self._data, self._largest, self._asked, numbers, self._read).first_certain(found, refuting)

    def _length(self, position: i64) -> i64:
        """The payload length of the frame at ``position``, -1 where none can be."""
        if position + HEADER_BYTES > len(self._data) or not is_possible(self._data, position, False, self._largest):
            return -1
        return payload_length(self._data, position)

    def _tell(self, place: i64, length: i64) -> None:
        """Note what a story has to explain that begins here, where all that follows is noted."""
        end = place + HEADER_BYTES + length
        hidden: i64 = self._hidden.get(end, 0)
        after: i64 = bisect_right(self._read, end)
        if after > hidden:
            hidden = after
        number = number32(self._data, place + 5) & 0x7FFFFFFF
        if self._data[place + 3] == HEADERS and number > self._asked:
            hidden -= 1  # a frame of the story opens it
            before: i64 = bisect_left(self._numbers, number)
            if before > hidden:
                hidden = before
        self._next[place] = end
        self._hidden[place] = hidden

    def _do_all_pass(self, certain: i64, refuting: i64) -> bool:
        """Whether all stories that are not refuted and begin before a place pass it."""
        passing: set[int] = {certain}
        for place in range(certain - 1, -1, -1):
            if place in self._next:
                if self._next[place] in passing:
                    passing.add(place)
                elif self._hidden[place] < refuting:
                    return False
        return True


def streams_refuting(hole_bytes: i64) -> i64:
    """So many streams cannot have been opened by a hole, and the frame that reaches beyond it, together."""
    return (hole_bytes - 1) // SMALLEST_REQUEST + 2
