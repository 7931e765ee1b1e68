"""One direction of an HTTP/2 connection: bytes to frames, and field blocks put together (RFC 9113 sections 3.4 and 4).

The payload of DATA is passed on piece by piece, or not at all where nobody wants it; other frames are held until they are
whole. A hole inside a frame whose header was seen leaves the framing certain; any other hole loses it, until
:class:`FrameSearch` finds a frame again. What a hole may have done to the field compression is told with it: it certainly held no
field block if less than 10 bytes of it lie outside frames whose header was seen, or all of it in DATA.
"""

from typing import Final

from librt.strings import read_i64_be
from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.http2_frames import (
    CONTINUATION,
    DATA,
    DEFAULT_FRAME_SIZE,
    END_HEADERS,
    END_STREAM,
    HEADER_BYTES,
    HEADERS,
    PADDED,
    PREFACE,
    PRIORITY_FLAG,
    PUSH_PROMISE,
    HeaderRule,
    broken_rule,
    frame_name,
    number32,
    payload_length,
)
from analyzer.codecs.http2_receiver import FrameReceiver
from analyzer.codecs.http2_search import SOME_FRAME, START, UNKNOWN_PLACE, WAIT, FrameSearch, first_bytes
from analyzer.errors import ProtocolError

BEGINNING: Final = 0  # what the first bytes are is not decided
FRAMES: Final = 1
SEARCHING: Final = 2  # after a hole
LOST: Final = 3  # for good

UNFRAMED: Final = -1  # in place of a frame type: bytes before the first frame after a hole

SMALLEST_BLOCK_FRAME: Final = HEADER_BYTES + 1  # a hole with less room than this held no field block


class Chunk:
    """Bytes with the time and packet that brought them, kept until it is decided what they are."""

    def __init__(self, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        self.data = data
        self.timestamp = timestamp
        self.released = released
        self.packet = packet


class Framer:
    """Follows the frames of one direction."""

    def __init__(self, direction: i64, from_server: bool) -> None:
        self.direction = direction
        self.from_server = from_server
        self.state: i64 = BEGINNING
        self.timestamp: i64 = -1  # of the bytes being taken
        self.released: i64 = -1
        self.packet: i64 = -1
        self.started_at: i64 = -1  # of the first byte of the present frame, or of its field block
        self.started_packet: i64 = -1
        self.waited: i64 = 0  # ns that bytes of the present frame waited behind a hole, at most
        self.frames: i64 = 0
        self.payload_left: i64 = 0  # of a frame that is passed on or over
        self.is_wanted = False  # whether that payload is of use to anybody
        self.largest_allowed: i64 = DEFAULT_FRAME_SIZE  # by the other side, in any SETTINGS so far
        self.is_largest_known = False  # no SETTINGS of the other side can be missing
        self._parts: list[bytes] = []  # of a frame that is not whole yet
        self._held: i64 = 0
        self._needed: i64 = 0
        self._held_wait: i64 = 0
        self._content_left: i64 = 0
        self._kind: i64 = DATA  # of the frame whose payload is passed on or over
        self._flags: i64 = 0
        self._stream_id: i64 = 0
        self._length: i64 = 0
        self._block: list[bytes] = []  # field block fragments
        self._block_started_at: i64 = -1
        self._block_started_packet: i64 = -1
        self._block_kind: i64 = -1  # HEADERS or PUSH_PROMISE while CONTINUATION must follow
        self._block_stream: i64 = 0
        self._block_promised: i64 = 0
        self._block_ends_stream = False
        self._block_is_damaged = False
        self._block_bytes: i64 = 0
        self._block_frames: i64 = 0
        self._undecided: list[Chunk] = []
        self._undecided_bytes: i64 = 0
        self._begins_with_gap = False
        self._search: FrameSearch | None = None
        self._uncertain_bytes: i64 = 0  # missing or passed over since the framing was certain; -1: not known
        self._may_be_continuation = False  # the first frame found again may continue a field block

    def is_lost(self) -> bool:
        """Whether frames may be going by unseen."""
        return self.state >= SEARCHING or (self.state == BEGINNING and self._begins_with_gap)

    # --- bytes

    def feed(self, receiver: FrameReceiver, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Take the next bytes. Raises ProtocolError for faults that end the connection."""
        if self.state == FRAMES:
            self._take(receiver, data, timestamp, released, packet)
        elif self.state != LOST:
            self._undecided.append(Chunk(data, timestamp, released, packet))
            self._undecided_bytes += len(data)
            if self.state == SEARCHING:
                self._search_in(receiver, data)
            else:
                self._decide(receiver, False)

    def skip(self, receiver: FrameReceiver, length: i64, timestamp: i64, released: i64, packet: i64) -> None:
        """Let bytes of a payload that is not wanted go by."""
        self._stamp(timestamp, released, packet)
        self.waited = released - timestamp
        self._pass(receiver, b"", 0, length)

    def gap(self, receiver: FrameReceiver, length: i64, timestamp: i64, packet: i64) -> None:
        """Learn of missing bytes, -1 where their number is not known."""
        if self.state == BEGINNING:
            if not self._undecided:
                self._begins_with_gap = True
                return
            self._decide(receiver, True)
        self._stamp(timestamp, timestamp, packet)
        if self.state == FRAMES:
            left = length
            if length >= 0 and self.payload_left > 0:
                left = self._miss_payload(receiver, length)
            elif length >= 0 and self._held >= HEADER_BYTES:
                left = self._miss_held(receiver, length)
            if left != 0:
                self._lose(receiver, left)
        elif self.state == SEARCHING:
            self._extend(length)
            self._extend(self._undecided_bytes)
            self._begin_search()

    def close(self, receiver: FrameReceiver) -> None:
        """Learn that nothing follows."""
        if self.state == BEGINNING and self._undecided:
            self._decide(receiver, True)

    def _stamp(self, timestamp: i64, released: i64, packet: i64) -> None:
        self.timestamp = timestamp
        self.released = released
        self.packet = packet

    def _take(self, receiver: FrameReceiver, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Take bytes whose place in the framing is known."""
        self.timestamp = timestamp
        self.released = released
        self.packet = packet
        self.waited = released - timestamp
        size: i64 = len(data)
        position: i64 = 0
        if self._held:
            self._held += size
            self._parts.append(data)
            if self.waited > self._held_wait:
                self._held_wait = self.waited
            if self._held < self._needed:
                return
            data = b"".join(self._parts)
            size = self._held
            self._parts = []
            self._held = 0
            self.waited = self._held_wait
        elif self.payload_left == 0:
            self.started_at = timestamp
            self.started_packet = packet
        while position < size:
            if self.payload_left > 0:
                step = size - position
                if step > self.payload_left:
                    step = self.payload_left
                self._pass(receiver, data, position, step)
                position += step
            else:
                needed = self._take_frame(receiver, data, position, size)
                if needed < 0:
                    self._hold(data, position, size, -needed)
                    return
                position += needed
            if position < size and self.payload_left == 0:
                self.started_at = timestamp
                self.started_packet = packet
                self.waited = released - timestamp

    def _hold(self, data: bytes, position: i64, size: i64, needed: i64) -> None:
        """Keep the beginning of a frame until ``needed`` bytes of it are there."""
        self._parts = [data[position:] if position else data]
        self._held = size - position
        self._needed = needed
        self._held_wait = self.waited

    # --- frames

    def _take_frame(self, receiver: FrameReceiver, data: bytes, position: i64, size: i64) -> i64:
        """Take a frame, or the header of one that is passed on; returns how many bytes, or minus how many it needs."""
        if size - position < HEADER_BYTES:
            return -HEADER_BYTES
        word: i64 = read_i64_be(data, position)
        length = word >> 40 & 0xFFFFFF
        kind = word >> 32 & 0xFF
        flags = word >> 24 & 0xFF
        stream_id: i64 = (word & 0x7FFFFF) << 8 | data[position + 8]
        rule = broken_rule(kind, length, flags, stream_id, self.from_server)
        if rule is not None or length > DEFAULT_FRAME_SIZE or self._block_kind >= 0:
            self._check(receiver, rule, kind, length, flags, stream_id)
        if kind == DATA:
            padding: i64 = 0
            head: i64 = HEADER_BYTES
            if flags & PADDED:
                if size - position <= HEADER_BYTES:
                    return -HEADER_BYTES - 1
                padding = data[position + HEADER_BYTES]
                head += 1
                if padding >= length:
                    raise ProtocolError(
                        "padding shorter than the payload", f"{padding} of {length} bytes", "RFC 9113 section 6.1"
                    )
            self._begin_payload(kind, flags, stream_id, length)
            self.payload_left = length + HEADER_BYTES - head
            self._content_left = self.payload_left - padding
            self.is_wanted = receiver.begin_data(self.direction, stream_id, length, self._content_left, flags)
            if self.waited > 0:
                receiver.note_wait(self.direction)
            if self.payload_left == 0:
                self._end_payload(receiver, True)
            return head
        if kind > CONTINUATION or length > limits.HTTP2_FRAME_BYTES or rule is not None:
            self._begin_payload(kind, flags, stream_id, length)
            self._pass_over(receiver, length, rule is None and kind <= CONTINUATION)
            return HEADER_BYTES
        end = position + HEADER_BYTES + length
        if size < end:
            return -HEADER_BYTES - length
        self.frames += 1
        if kind in (HEADERS, PUSH_PROMISE, CONTINUATION):
            self._take_fragment(receiver, kind, flags, stream_id, data, position + HEADER_BYTES, end)
        else:
            receiver.take_frame(self.direction, kind, flags, stream_id, data[position + HEADER_BYTES : end])
        receiver.end_frame(self.direction, kind, flags, stream_id, length)
        return HEADER_BYTES + length

    def _check(
        self, receiver: FrameReceiver, rule: HeaderRule | None, kind: i64, length: i64, flags: i64, stream_id: i64
    ) -> None:
        """Object to a frame header that is not allowed, here or anywhere."""
        found = f"{frame_name(kind)} of {length} bytes with flags 0x{flags:02x} on stream {stream_id}"
        if rule is not None:
            if rule.is_fatal:
                raise ProtocolError(rule.required, found, rule.section)
            receiver.object_to(self.direction, "stream_error", stream_id, rule.required, found, rule.section)
        if length > self.largest_allowed and self.is_largest_known:
            raise ProtocolError(f"frames of at most {self.largest_allowed} bytes", found, "RFC 9113 section 4.2")
        if self._block_kind >= 0 and (kind != CONTINUATION or stream_id != self._block_stream):
            raise ProtocolError(f"CONTINUATION on stream {self._block_stream}", found, "RFC 9113 section 6.10")

    def _begin_payload(self, kind: i64, flags: i64, stream_id: i64, length: i64) -> None:
        self.frames += 1
        self._kind = kind
        self._flags = flags
        self._stream_id = stream_id
        self._length = length
        self._content_left = 0
        self.is_wanted = False

    def _pass_over(self, receiver: FrameReceiver, left: i64, is_missed: bool) -> None:
        """Let the rest of a frame's payload go by unseen."""
        self.payload_left = left
        self._content_left = 0
        self.is_wanted = False
        if is_missed:
            kind = self._kind
            if kind in (HEADERS, PUSH_PROMISE, CONTINUATION):
                self._miss_fragment(receiver)
            else:
                receiver.miss_frame(self.direction, kind, self._stream_id)
        if left == 0:
            self._end_payload(receiver, True)

    def _pass(self, receiver: FrameReceiver, data: bytes, position: i64, length: i64) -> None:
        """Pass payload on, or over."""
        if self.waited > 0:
            receiver.note_wait(self.direction)
        content = self._content_left
        if content > 0:
            if content > length:
                content = length
            self._content_left -= content
            if self.is_wanted:
                receiver.take_data(self.direction, data, position, content)
        self.payload_left -= length
        if self.payload_left == 0:
            self._end_payload(receiver, True)

    def _end_payload(self, receiver: FrameReceiver, is_timed: bool) -> None:
        kind = self._kind
        flags = self._flags
        if kind == UNFRAMED:
            return
        if kind == DATA:
            receiver.end_data(self.direction, flags & END_STREAM != 0, is_timed)
        elif self._block_kind >= 0 and flags & END_HEADERS:
            self._end_block(receiver)
        receiver.end_frame(self.direction, kind, flags, self._stream_id, self._length)

    # --- field blocks

    def _take_fragment(
        self, receiver: FrameReceiver, kind: i64, flags: i64, stream_id: i64, data: bytes, begin: i64, end: i64
    ) -> None:
        """Take the fragment of a field block that a whole frame holds."""
        promised_id: i64 = 0
        if kind != CONTINUATION:
            if flags & PADDED:
                end -= data[begin]
                begin += 1
            if kind == PUSH_PROMISE:
                promised_id = number32(data, begin) & 0x7FFFFFFF
                begin += 4
                if promised_id == 0 or promised_id & 1:
                    raise ProtocolError(
                        "a promised stream with an even number", f"stream {promised_id}", "RFC 9113 section 5.1.1"
                    )
            elif flags & PRIORITY_FLAG:
                begin += 5
            if begin > end:
                raise ProtocolError("padding shorter than the payload", "more padding", "RFC 9113 section 6.2")
            if flags & END_HEADERS:
                receiver.take_block(
                    self.direction, kind, stream_id, promised_id, kind == HEADERS and flags & END_STREAM != 0, data[begin:end]
                )
                return
            self._begin_block(kind, flags, stream_id, promised_id)
        elif self._block_kind < 0:
            self._continue_unseen(receiver, flags, stream_id)
            return
        self._block_bytes += end - begin
        self._block_frames += 1
        if self._block_bytes > limits.HTTP2_FIELD_BLOCK_BYTES or self._block_frames > limits.HTTP2_CONTINUATION_FRAMES:
            self._limit_block(receiver)
        else:
            self._block.append(data[begin:end])
        if flags & END_HEADERS:
            self._end_block(receiver)

    def _begin_block(self, kind: i64, flags: i64, stream_id: i64, promised_id: i64) -> None:
        self._block = []
        self._block_kind = kind
        self._block_stream = stream_id
        self._block_promised = promised_id
        self._block_ends_stream = kind == HEADERS and flags & END_STREAM != 0
        self._block_is_damaged = False
        self._block_bytes = 0
        self._block_frames = 0
        self._block_started_at = self.started_at
        self._block_started_packet = self.started_packet

    def _end_block(self, receiver: FrameReceiver) -> None:
        """The field block is whole, or as whole as it gets."""
        kind = self._block_kind
        self._block_kind = -1
        self.started_at = self._block_started_at
        self.started_packet = self._block_started_packet
        block = None if self._block_is_damaged else b"".join(self._block)
        self._block = []
        receiver.take_block(self.direction, kind, self._block_stream, self._block_promised, self._block_ends_stream, block)

    def _limit_block(self, receiver: FrameReceiver) -> None:
        """Give a field block up that is too large, whatever it goes on with."""
        if not self._block_is_damaged:
            receiver.object_to(
                self.direction,
                "limit",
                self._block_stream,
                f"a field block of at most {limits.HTTP2_FIELD_BLOCK_BYTES} bytes in {limits.HTTP2_CONTINUATION_FRAMES} frames",
                f"{self._block_bytes} bytes in {self._block_frames} frames, and more",
                "",
            )
        self._block_is_damaged = True
        self._block = []

    def _miss_fragment(self, receiver: FrameReceiver) -> None:
        """Bytes of the present frame, which holds a fragment of a field block, are missing."""
        if self._kind == CONTINUATION:
            if self._block_kind < 0:
                self._continue_unseen(receiver, self._flags, self._stream_id)
                return
        else:
            self._begin_block(self._kind, self._flags, self._stream_id, 0)
        self._block_is_damaged = True
        self._block = []

    def _continue_unseen(self, receiver: FrameReceiver, flags: i64, stream_id: i64) -> None:
        """A CONTINUATION of a field block whose beginning was not seen; only a hole allows it."""
        if not self._may_be_continuation:
            raise ProtocolError(
                "CONTINUATION only after a field block began", f"one on stream {stream_id}", "RFC 9113 section 6.10"
            )
        receiver.lose_blocks(self.direction)
        if flags & END_HEADERS:
            self._may_be_continuation = False

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

    def _lose(self, receiver: FrameReceiver, length: i64) -> None:
        """The framing is lost, by a hole that goes ``length`` bytes beyond what is certain (-1: not known)."""
        self._uncertain_bytes = self._held
        self._extend(length)
        if self._block_kind >= 0:  # the hole may hold the rest of it, and more
            self._uncertain_bytes = -1
            self._block_is_damaged = True
            self._end_block(receiver)
        self._parts = []
        self._held = 0
        self.payload_left = 0
        self.state = SEARCHING
        self._begin_search()
        receiver.lose(self.direction, length)

    def _extend(self, length: i64) -> None:
        if length < 0 or self._uncertain_bytes < 0:
            self._uncertain_bytes = -1
        else:
            self._uncertain_bytes += length

    def _begin_search(self) -> None:
        self._undecided = []
        self._undecided_bytes = 0
        largest = self.largest_allowed
        self._search = FrameSearch(self.from_server, largest, not self.is_largest_known)

    def _search_in(self, receiver: FrameReceiver, data: bytes) -> None:
        """Look for a frame in the bytes after the hole; go on with it when it is certain."""
        search = self._search
        assert search is not None
        found = search.search(data)
        if search.is_hopeless:
            self._give_up()
            return
        chunks = self._undecided
        if found < 0:
            keep = search.unsettled()
            while chunks and self._undecided_bytes - len(chunks[0].data) >= keep:
                self._undecided_bytes -= len(chunks[0].data)
                self._extend(len(chunks[0].data))
                del chunks[0]
            return
        self._resume(receiver, found - search.taken)

    def _resume(self, receiver: FrameReceiver, ahead: i64) -> None:
        """Frames are certain from ``ahead`` bytes after those taken, or so many before their end (negative)."""
        chunks = self._undecided
        passed = self._undecided_bytes + ahead
        self._extend(passed)
        self._undecided = []
        self._undecided_bytes = 0
        self._search = None
        self.state = FRAMES
        self._may_be_continuation = True
        if self._uncertain_bytes < 0 or self._uncertain_bytes >= SMALLEST_BLOCK_FRAME:
            receiver.lose_blocks(self.direction)
        if ahead > 0:
            self._kind = UNFRAMED
            self.is_wanted = False
            self.payload_left = ahead
            return
        for chunk in chunks:
            size: i64 = len(chunk.data)
            if passed >= size:
                passed -= size
                continue
            self.feed(receiver, chunk.data[passed:] if passed else chunk.data, chunk.timestamp, chunk.released, chunk.packet)
            passed = 0

    def _give_up(self) -> None:
        self.state = LOST
        self._undecided = []
        self._search = None

    # --- the beginning

    def _decide(self, receiver: FrameReceiver, is_last_chance: bool) -> None:
        """Tell from the first bytes whether the direction begins here, or was under way."""
        chunks = self._undecided
        data = chunks[0].data if len(chunks) == 1 else b"".join([chunk.data for chunk in chunks])
        verdict = first_bytes(data, self.from_server, self._begins_with_gap, is_last_chance)
        if verdict == WAIT:
            return
        if verdict == UNKNOWN_PLACE:
            self._lose_beginning(receiver)
            return
        is_partial = verdict == SOME_FRAME
        passed: i64 = len(PREFACE) if verdict == START and not self.from_server else 0
        self._undecided = []
        self.state = FRAMES
        receiver.begin(self.direction, is_partial)
        for chunk in chunks:
            length: i64 = len(chunk.data)
            if passed >= length:
                passed -= length
                continue
            self.feed(receiver, chunk.data[passed:] if passed else chunk.data, chunk.timestamp, chunk.released, chunk.packet)
            passed = 0

    def _lose_beginning(self, receiver: FrameReceiver) -> None:
        """The first bytes are no frame, or not certainly: search in them."""
        chunks = self._undecided
        first = chunks[0]
        self._stamp(first.timestamp, first.released, first.packet)
        receiver.begin(self.direction, True)
        self._lose(receiver, -1)
        for chunk in chunks:
            self.feed(receiver, chunk.data, chunk.timestamp, chunk.released, chunk.packet)
