"""Frames and field blocks out of bytes whose place in the framing of one direction is certain (RFC 9113 section 4).

The payload of DATA is passed on piece by piece, or not at all where nobody wants it; other frames are held until they are
whole.
"""

from typing import Final

from librt.strings import read_i64_be
from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.http2_block import FieldBlock
from analyzer.codecs.http2_frames import (
    CONTINUATION,
    DATA,
    DEFAULT_FRAME_SIZE,
    END_HEADERS,
    END_STREAM,
    HEADER_BYTES,
    HEADERS,
    PADDED,
    PRIORITY_FLAG,
    PUSH_PROMISE,
    HeaderRule,
    broken_rule,
    frame_name,
    number32,
)
from analyzer.codecs.http2_receiver import FrameReceiver
from analyzer.errors import ProtocolError

UNFRAMED: Final = -1  # in place of a frame type: bytes before the first frame after a hole


class FrameReader:
    """Takes the frames of one direction apart."""

    def __init__(self, direction: i64, from_server: bool) -> None:
        self.direction = direction
        self.from_server = from_server
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
        self._block = FieldBlock()
        self._may_be_continuation = False  # the next frame may continue a field block whose beginning was not seen

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
        if rule is not None or length > DEFAULT_FRAME_SIZE or self._block.kind >= 0:
            self._check(receiver, rule, kind, length, flags, stream_id)
        if kind == DATA:
            return self._take_data_header(receiver, data, position, size, length, flags, stream_id)
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

    def _take_data_header(
        self, receiver: FrameReceiver, data: bytes, position: i64, size: i64, length: i64, flags: i64, stream_id: i64
    ) -> i64:
        """Begin to pass the payload of DATA on; returns as :meth:`_take_frame` does."""
        padding: i64 = 0
        head: i64 = HEADER_BYTES
        if flags & PADDED:
            if size - position <= HEADER_BYTES:
                return -HEADER_BYTES - 1
            padding = data[position + HEADER_BYTES]
            head += 1
            if padding >= length:
                raise ProtocolError("padding shorter than the payload", f"{padding} of {length} bytes", "RFC 9113 section 6.1")
        self._begin_payload(DATA, flags, stream_id, length)
        self.payload_left = length + HEADER_BYTES - head
        self._content_left = self.payload_left - padding
        self.is_wanted = receiver.begin_data(self.direction, stream_id, length, self._content_left, flags)
        if self.waited > 0:
            receiver.note_wait(self.direction)
        if self.payload_left == 0:
            self._end_payload(receiver, True)
        return head

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
        if self._block.kind >= 0 and (kind != CONTINUATION or stream_id != self._block.stream_id):
            raise ProtocolError(f"CONTINUATION on stream {self._block.stream_id}", found, "RFC 9113 section 6.10")

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
        elif self._kind == UNFRAMED:
            receiver.leave(self.direction, data[position : position + length], self.timestamp)
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
        elif self._block.kind >= 0 and flags & END_HEADERS:
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
            self._block.begin(kind, flags, stream_id, promised_id, self.started_at, self.started_packet)
        elif self._block.kind < 0:
            self._continue_unseen(receiver, flags, stream_id)
            return
        if not self._block.add(data, begin, end):
            self._limit_block(receiver)
        if flags & END_HEADERS:
            self._end_block(receiver)

    def _end_block(self, receiver: FrameReceiver) -> None:
        """The field block is whole, or as whole as it gets."""
        block = self._block
        kind = block.kind
        self.started_at = block.started_at
        self.started_packet = block.started_packet
        whole = block.finish()
        receiver.take_block(self.direction, kind, block.stream_id, block.promised_id, block.ends_stream, whole)

    def _limit_block(self, receiver: FrameReceiver) -> None:
        """Give a field block up that is too large, whatever it goes on with."""
        block = self._block
        if not block.is_damaged:
            receiver.object_to(
                self.direction,
                "limit",
                block.stream_id,
                f"a field block of at most {limits.HTTP2_FIELD_BLOCK_BYTES} bytes in {limits.HTTP2_CONTINUATION_FRAMES} frames",
                f"{block.size} bytes in {block.frames} frames, and more",
                "",
            )
        block.damage()

    def _miss_fragment(self, receiver: FrameReceiver) -> None:
        """Bytes of the present frame, which holds a fragment of a field block, are missing."""
        block = self._block
        if self._kind == CONTINUATION:
            if block.kind < 0:
                self._continue_unseen(receiver, self._flags, self._stream_id)
                return
        else:
            block.begin(self._kind, self._flags, self._stream_id, 0, self.started_at, self.started_packet)
        block.damage()

    def _continue_unseen(self, receiver: FrameReceiver, flags: i64, stream_id: i64) -> None:
        """A CONTINUATION of a field block whose beginning was not seen; only a hole allows it."""
        if not self._may_be_continuation:
            raise ProtocolError(
                "CONTINUATION only after a field block began", f"one on stream {stream_id}", "RFC 9113 section 6.10"
            )
        receiver.lose_blocks(self.direction)
        if flags & END_HEADERS:
            self._may_be_continuation = False
