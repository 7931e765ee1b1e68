"""What a framer of HTTP/2 tells to whoever follows the conversation."""

from mypy_extensions import i64, mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)  # tests listen to a framer
class FrameReceiver:
    """What a framer tells. ``direction`` is the framer's; times and packets are read from the framer itself."""

    def begin(self, direction: i64, is_partial: bool) -> None:
        """The direction begins with its preface, or (``is_partial``) somewhere in the middle."""
        raise NotImplementedError

    def leave(self, direction: i64, data: bytes, timestamp: i64) -> None:
        """Bytes of which it was never certain what they are."""
        raise NotImplementedError

    def note_wait(self, direction: i64) -> None:
        """Bytes of the payload under way waited behind a hole: the framer's ``waited`` ns, at most."""
        raise NotImplementedError

    def begin_data(self, direction: i64, stream_id: i64, length: i64, content_length: i64, flags: i64) -> bool:
        """A DATA frame begins; says whether its content is wanted."""
        raise NotImplementedError

    def take_data(self, direction: i64, data: bytes, position: i64, length: i64) -> None:
        """Content of the DATA frame, where it is wanted."""
        raise NotImplementedError

    def miss_data(self, direction: i64, length: i64) -> None:
        """Content of the DATA frame that the capture lacks."""
        raise NotImplementedError

    def end_data(self, direction: i64, is_stream_end: bool, is_timed: bool) -> None:
        """The DATA frame ends; its last byte may be missing, then it has no time."""
        raise NotImplementedError

    def take_block(
        self, direction: i64, kind: i64, stream_id: i64, promised_id: i64, is_stream_end: bool, block: bytes | None
    ) -> None:
        """A whole field block of HEADERS or PUSH_PROMISE; None where bytes of it are missing or it is too large."""
        raise NotImplementedError

    def take_frame(self, direction: i64, kind: i64, flags: i64, stream_id: i64, payload: bytes) -> None:
        """A frame of another type, without its header."""
        raise NotImplementedError

    def miss_frame(self, direction: i64, kind: i64, stream_id: i64) -> None:
        """A frame of another type of which bytes are missing."""
        raise NotImplementedError

    def end_frame(self, direction: i64, kind: i64, flags: i64, stream_id: i64, length: i64) -> None:
        """Any frame is over; told after what it held."""
        raise NotImplementedError

    def lose(self, direction: i64, length: i64) -> None:
        """Framing is lost, by a hole of ``length`` bytes (-1: not known)."""
        raise NotImplementedError

    def lose_blocks(self, direction: i64) -> None:
        """A field block was missed, whole or in part."""
        raise NotImplementedError

    def doubt_blocks(self, direction: i64) -> None:
        """Frames are certain again after a hole that may have held field blocks."""
        raise NotImplementedError

    def give_up(self, direction: i64) -> None:
        """Frames will not be certain again."""
        raise NotImplementedError

    def object_to(self, direction: i64, kind: str, stream_id: i64, required: str, found: str, section: str) -> None:
        """A fault that does not end the connection."""
        raise NotImplementedError
