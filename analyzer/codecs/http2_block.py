"""A field block that is spread over HEADERS or PUSH_PROMISE and CONTINUATION frames (RFC 9113 section 4.3)."""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.http2_frames import END_STREAM, HEADERS

CLOSED: Final = -1  # in place of a frame type: no field block is open


class FieldBlock:
    """The fragments of one field block, until its last one."""

    def __init__(self) -> None:
        self.kind: i64 = CLOSED  # HEADERS or PUSH_PROMISE while CONTINUATION must follow
        self.stream_id: i64 = 0
        self.promised_id: i64 = 0
        self.ends_stream = False
        self.is_damaged = False  # bytes of it are missing, or it is too large
        self.started_at: i64 = -1  # first byte of its first frame
        self.started_packet: i64 = -1
        self.size: i64 = 0
        self.frames: i64 = 0
        self._fragments: list[bytes] = []

    def begin(self, kind: i64, flags: i64, stream_id: i64, promised_id: i64, started_at: i64, started_packet: i64) -> None:
        """Its first frame has come."""
        self.kind = kind
        self.stream_id = stream_id
        self.promised_id = promised_id
        self.ends_stream = kind == HEADERS and flags & END_STREAM != 0
        self.is_damaged = False
        self.started_at = started_at
        self.started_packet = started_packet
        self.size = 0
        self.frames = 0
        self._fragments = []

    def add(self, data: bytes, begin: i64, end: i64) -> bool:
        """Add a fragment; False where the block is too large by now."""
        self.size += end - begin
        self.frames += 1
        if self.size > limits.HTTP2_FIELD_BLOCK_BYTES or self.frames > limits.HTTP2_CONTINUATION_FRAMES:
            return False
        self._fragments.append(data[begin:end])
        return True

    def memory(self) -> i64:
        """How many bytes of memory the fragments take."""
        return self.size + len(self._fragments) * limits.HTTP2_PIECE_BYTES if self._fragments else 0

    def damage(self) -> None:
        """It cannot be decoded any more, whatever it goes on with."""
        self.is_damaged = True
        self._fragments = []

    def finish(self) -> bytes | None:
        """Close it; returns its bytes, None where it is damaged."""
        self.kind = CLOSED
        whole = None if self.is_damaged else b"".join(self._fragments)
        self._fragments = []
        return whole
