"""One direction of an HTTP/2 connection: where its frames begin (RFC 9113 sections 3.4 and 4).

A hole inside a frame whose header was seen leaves the framing certain; any other hole loses it, until
:class:`FrameSearch` finds a frame again. What a hole may have done to the field compression is told with it: it certainly held no
field block if less than 10 bytes of it lie outside frames whose header was seen, or all of it in DATA.
"""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.http1_recognition import status_line
from analyzer.codecs.http2_answers import Answers, streams_refuting
from analyzer.codecs.http2_frame_reader import UNFRAMED, FrameReader
from analyzer.codecs.http2_frames import DATA, HEADER_BYTES, PREFACE, number32, payload_length
from analyzer.codecs.http2_receiver import FrameReceiver
from analyzer.codecs.http2_search import SOME_FRAME, START, UNKNOWN_PLACE, WAIT, FrameSearch, first_bytes
from analyzer.codecs.undecided import Chunk, Undecided
from analyzer.text import bytes_to_text

BEGINNING: Final = 0  # what the first bytes are is not decided
FRAMES: Final = 1
SEARCHING: Final = 2  # after a hole
LOST: Final = 3  # for good

STATUS_LINE_SHOWN_BYTES: Final = 64
BYTES_AN_ANSWER: Final = 4096  # looked at for each answer, so that many answers do not cost their number times the bytes held
SMALLEST_BLOCK_FRAME: Final = HEADER_BYTES + 1  # a hole with less room than this held no field block


class Framer(FrameReader):
    """Follows the frames of one direction from its first byte, or from the first that is certain, over holes."""

    def __init__(self, direction: i64, from_server: bool) -> None:
        super().__init__(direction, from_server)
        self.state: i64 = BEGINNING
        self._undecided = Undecided()
        self._begins_with_gap = False
        self._search: FrameSearch | None = None
        self._uncertain_bytes: i64 = 0  # missing or passed over since the framing was certain, at most; -1: not known
        self.unread_bytes: i64 = 0  # that were there, and of which it was never certain what they are
        self.position: i64 = 0  # bytes so far, with those missing ones whose number is known
        self.hole_bytes: i64 = -1  # while searching: of the hole, beyond what is certain, at most; -1 where it is not known
        self.hole_end: i64 = 0  # while searching: the position where it ends
        self._answers: Answers | None = None
        self._asked: i64 = -1
        self._has_heard = False  # the search knows of answers
        self._certain: i64 = -1  # where frames are certain, counted from the hole's end, while answers may show an earlier place
        self._next_count: i64 = 0  # of answers, which it takes to look again
        self.is_begun = False  # its first byte was seen
        self.false_start: str | None = None  # what there is instead of its preface, until that is told

    def is_lost(self) -> bool:
        """Whether frames may be going by unseen."""
        return self.state >= SEARCHING or (self.state == BEGINNING and self._begins_with_gap)

    def memory(self) -> i64:
        """How many bytes of memory take what is incomplete, and what is not decided."""
        taken = self._held + len(self._parts) * limits.HTTP2_PIECE_BYTES + self._block.memory() + self._undecided.memory()
        search = self._search
        return taken if search is None else taken + search.memory()

    # --- bytes

    def feed(self, receiver: FrameReceiver, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Take the next bytes. Raises ProtocolError for faults that end the connection."""
        self.position += len(data)
        self._follow(receiver, data, timestamp, released, packet)

    def _follow(self, receiver: FrameReceiver, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        if self.state == FRAMES:
            self._take(receiver, data, timestamp, released, packet)
        elif self.state != LOST:
            self._undecided.add(data, timestamp, released, packet)
            if self.state == SEARCHING:
                self._stamp(timestamp, released, packet)
                self._search_in(receiver, data)
            else:
                self._decide(receiver, False)
        else:
            self.unread_bytes += len(data)
            receiver.leave(self.direction, data, timestamp)

    def skip(self, receiver: FrameReceiver, length: i64, timestamp: i64, released: i64, packet: i64) -> None:
        """Let bytes of a payload that is not wanted go by."""
        self.position += length
        self._stamp(timestamp, released, packet)
        self.waited = released - timestamp
        self._pass(receiver, b"", 0, length)

    def gap(self, receiver: FrameReceiver, length: i64, at_most: i64, timestamp: i64, packet: i64) -> None:
        """Learn of missing bytes: ``length`` of them, or (-1) an unknown number, ``at_most`` so many (-1: no bound)."""
        if length >= 0:
            self.position += length
        if self.state == BEGINNING:
            if not self._undecided.chunks:
                self._begins_with_gap = True
                return
            self._decide(receiver, True)
        self._wait_no_longer(receiver)
        self._stamp(timestamp, timestamp, packet)
        if self.state == FRAMES:
            left = length
            if length >= 0 and self.payload_left > 0:
                left = self._miss_payload(receiver, length)
            elif length >= 0 and self._held >= HEADER_BYTES:
                left = self._miss_held(receiver, length)
            if left != 0:
                self._lose(receiver, left, left if left > 0 else at_most)
        elif self.state == SEARCHING:
            self._extend(length if length >= 0 else at_most)
            self._leave(receiver, self._undecided.take_after(0))
            self._begin_search(receiver)

    def close(self, receiver: FrameReceiver) -> None:
        """Learn that nothing follows."""
        if self.state == BEGINNING and self._undecided.chunks:
            self._decide(receiver, True)
        self._wait_no_longer(receiver)
        if self.state == SEARCHING:
            self._give_up(receiver)

    # --- holes

    def _miss_payload(self, receiver: FrameReceiver, length: i64) -> i64:
        """A hole in a payload that is passed on or over; returns how much of it lies beyond."""
        missing = length if length < self.payload_left else self.payload_left
        content = missing if missing < self._content_left else self._content_left
        self._content_left -= content
        self.payload_left -= missing
        if self._kind == DATA:
            receiver.miss_data(self.direction, content)
        if self.payload_left == 0:
            self._end_payload(receiver, False)
        return length - missing

    def _miss_held(self, receiver: FrameReceiver, length: i64) -> i64:
        """A hole in a frame whose header was seen; returns how much of it lies beyond."""
        data = b"".join(self._parts)
        payload = payload_length(data, 0)
        kind: i64 = data[3]
        flags: i64 = data[4]
        stream_id = number32(data, 5) & 0x7FFFFFFF
        rest = payload + HEADER_BYTES - self._held
        self._parts = []
        self._held = 0
        self.waited = self._held_wait
        missing = length if length < rest else rest
        self._begin_payload(kind, flags, stream_id, payload)
        if kind == DATA:  # padded, and how much is not known: the content cannot be told from the padding
            receiver.begin_data(self.direction, stream_id, payload, -1, flags)
            self.payload_left = rest - missing
            if self.payload_left == 0:
                self._end_payload(receiver, False)
        else:
            self._pass_over(receiver, rest - missing, True)
        return length - missing

    def _lose(self, receiver: FrameReceiver, length: i64, at_most: i64) -> None:
        """The framing is lost, by a hole that goes ``length`` bytes beyond what is certain (-1: not known), ``at_most`` so many."""
        self._uncertain_bytes = self._held
        self._extend(at_most)
        if self._block.kind >= 0:  # the hole may hold the rest of it, and more
            self._uncertain_bytes = -1
            self._block.damage()
            self._end_block(receiver)
        self._parts = []
        self._held = 0
        self.payload_left = 0
        self.state = SEARCHING
        self._begin_search(receiver)
        receiver.lose(self.direction, length)

    def _extend(self, at_most: i64) -> None:
        """The hole is longer, by an unknown number where ``at_most`` is -1."""
        if at_most < 0 or self._uncertain_bytes < 0:
            self._uncertain_bytes = -1
        else:
            self._uncertain_bytes += at_most

    def _pass_by(self, length: i64) -> None:
        """Give bytes up that were there."""
        self.unread_bytes += length
        self._extend(length)

    def _leave(self, receiver: FrameReceiver, chunks: list[Chunk]) -> None:
        """Give up bytes that were kept."""
        for chunk in chunks:
            self._pass_by(len(chunk.data))
            receiver.leave(self.direction, chunk.data, chunk.timestamp)

    def _begin_search(self, receiver: FrameReceiver) -> None:
        self._undecided.clear()
        self.hole_bytes = self._uncertain_bytes
        self.hole_end = self.position
        self._has_heard = False
        self._certain = -1
        self._search = self._new_search()

    def _new_search(self) -> FrameSearch:
        return FrameSearch(self.from_server, self.largest_allowed, not self.is_largest_known)

    def is_open_to_answers(self) -> bool:
        """Whether all bytes since the hole, whose size is known, are kept until a frame is found."""
        search = self._search
        if self.state != SEARCHING or self.hole_bytes < 0 or search is None:
            return False
        return self._certain >= 0 or search.taken == self._undecided.size

    def hear(self, receiver: FrameReceiver, answers: Answers, asked: i64) -> None:
        """Learn of streams that were answered; ``asked`` is the number of the last one that was seen to be opened.

        To be told while the framer ``is_open_to_answers``.
        """
        self._answers = answers
        self._asked = asked
        if self._certain >= 0:
            if answers.count() >= self._next_count:
                self._look_again(receiver, answers, self._certain)
            return
        search = self._search
        read = answers.read_after(self.hole_end)
        refuting = streams_refuting(self.hole_bytes)
        if search is not None and self._has_heard:
            if search.hear(read, refuting):
                self._search_in(receiver, b"")
            return
        search = self._new_search()
        if search.hear(read, refuting):
            self._has_heard = True
            self._search = search
            if self._undecided.size > 0:
                self._search_in(receiver, self._undecided.joined())

    def _search_in(self, receiver: FrameReceiver, data: bytes) -> None:
        """Look for a frame in the bytes after the hole; go on with it when it is certain."""
        search = self._search
        assert search is not None
        if self._certain >= 0:
            if self._undecided.size > limits.HTTP2_ANSWERS_WAIT_BYTES:
                self._wait_no_longer(receiver)
            return
        found = search.search(data)
        if search.is_hopeless:
            if search.limit is not None:
                receiver.object_to(self.direction, "limit", 0, search.limit, "more", "")
            self._give_up(receiver)
            return
        if found < 0:
            if self._undecided.size > limits.HTTP2_SEARCH_HELD_BYTES:
                self._leave(receiver, self._undecided.shorten(limits.HTTP2_SEARCH_HELD_BYTES))
            return
        answers = self._answers
        if found < search.taken - self._undecided.size:  # not kept
            found = search.next
        elif answers is not None and self._has_heard and self.is_open_to_answers():
            self._look_again(receiver, answers, found)
            return
        self._resume(receiver, found - search.taken)

    def _look_again(self, receiver: FrameReceiver, answers: Answers, found: i64) -> None:
        """Frames are certain from ``found`` on; go on before it where answers show that, and wait for those that may yet."""
        data = self._undecided.joined()
        stories = answers.stories(data, self.largest_allowed, self._asked, self.hole_end)
        refuting = streams_refuting(self.hole_bytes)
        self._certain = stories.first_certain(found, refuting)
        self._next_count = answers.count() + 1 + self._undecided.size // BYTES_AN_ANSWER
        if stories.first_at_best(self._certain, refuting) == self._certain:
            self._wait_no_longer(receiver)

    def _wait_no_longer(self, receiver: FrameReceiver) -> None:
        """Go on where frames are certain, if they are."""
        if self._certain >= 0:
            self._resume(receiver, self._certain - self._undecided.size)

    def _resume(self, receiver: FrameReceiver, ahead: i64) -> None:
        """Frames are certain from ``ahead`` bytes after those taken, or so many before their end (negative)."""
        self._leave(receiver, self._undecided.take_before(self._undecided.size + ahead))
        chunks = self._undecided.take_after(0)
        self._search = None
        self._certain = -1
        self.state = FRAMES
        self._may_be_continuation = True
        if self._uncertain_bytes < 0 or self._uncertain_bytes >= SMALLEST_BLOCK_FRAME:
            receiver.doubt_blocks(self.direction)
        if ahead > 0:
            self._pass_by(ahead)
            self._kind = UNFRAMED
            self.is_wanted = False
            self.payload_left = ahead
            return
        for chunk in chunks:
            self._follow(receiver, chunk.data, chunk.timestamp, chunk.released, chunk.packet)

    def _give_up(self, receiver: FrameReceiver) -> None:
        self.state = LOST
        self._leave(receiver, self._undecided.take_after(0))
        self._search = None
        receiver.give_up(self.direction)

    # --- the beginning

    def _decide(self, receiver: FrameReceiver, is_last_chance: bool) -> None:
        """Tell from the first bytes whether the direction begins here, or was under way."""
        verdict = first_bytes(self._undecided.joined(), self.from_server, self._begins_with_gap, is_last_chance)
        if verdict == WAIT:
            return
        if verdict == UNKNOWN_PLACE:
            self._lose_beginning(receiver)
            return
        is_partial = verdict == SOME_FRAME
        passed: i64 = len(PREFACE) if verdict == START and not self.from_server else 0
        chunks = self._undecided.take_after(passed)
        self.state = FRAMES
        self.is_begun = not is_partial
        receiver.begin(self.direction, is_partial)
        for chunk in chunks:
            self._follow(receiver, chunk.data, chunk.timestamp, chunk.released, chunk.packet)

    def _lose_beginning(self, receiver: FrameReceiver) -> None:
        """The first bytes are no frame, or not certainly: search in them."""
        chunks = self._undecided.take_after(0)
        first = chunks[0]
        self._stamp(first.timestamp, first.released, first.packet)
        self.false_start = "a beginning that was not captured" if self._begins_with_gap else _described(chunks, self.from_server)
        receiver.begin(self.direction, True)
        self._lose(receiver, -1, -1)
        for chunk in chunks:
            self._follow(receiver, chunk.data, chunk.timestamp, chunk.released, chunk.packet)


def _described(chunks: list[Chunk], from_server: bool) -> str:
    """What there is instead of a preface."""
    line = status_line(b"".join([chunk.data for chunk in chunks])) if from_server else b""
    return f"an HTTP/1 response: {bytes_to_text(line, STATUS_LINE_SHOWN_BYTES)}" if line else "other bytes"
