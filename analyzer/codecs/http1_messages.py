"""The messages of one direction of HTTP/1: bytes -> sections, content, chunks (RFC 9112 sections 2.2, 6 and 7).

Says what the bytes are, not what they mean: every step takes what one state can take and tells of it by an event. The owner sets
the state that follows a head, since that depends on the request too (``RESPONSE`` to ``HEAD`` has no content).
"""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.http1_heads import chunk_size
from analyzer.codecs.http1_recognition import REQUEST_LINE, REQUEST_PREFIX
from analyzer.errors import ProtocolError

# where a direction stands: one handler each, in ``read``
START: Final = 0  # between messages
HEAD: Final = 1
PEEK: Final = 2  # first content bytes that may not be content
CONTENT: Final = 3  # of known length
CHUNK_DATA: Final = 4
UNTIL_CLOSE: Final = 5
CHUNK_LINE: Final = 6
CHUNK_END: Final = 7  # the CR LF after a chunk
CHUNK_END_LF: Final = 8
TRAILERS: Final = 9
LOST: Final = 10  # framing is not known any more
CLOSED: Final = 11

# what a step found
NOTHING: Final = 0  # more bytes are needed, or the state has changed
HEAD_COMPLETE: Final = 1  # ``section`` is the head
CONTENT_TAKEN: Final = 2  # ``taken`` bytes before ``at`` are content; the owner counts them
CHUNKED_COMPLETE: Final = 3  # ``section`` is the trailer section, empty where there is none
IS_CONTENT: Final = 4  # what was peeked at is content
IS_NEXT_RESPONSE: Final = 5  # what was peeked at may be the next response
IS_NEXT_REQUEST: Final = 6  # what was peeked at is the next request's first line
BARE_FEED: Final = 7  # a line of the chunked coding ends with LF alone, the first in this message
TOO_LONG: Final = 8  # ``limit`` is exceeded

_RESPONSE_START: Final = b"HTTP/1."
_PEEKED_LINE_BYTES: Final = 4096  # a longer line is taken for content


class MessageReader:
    """Where one direction stands, and what it holds of an incomplete section or line."""

    def __init__(self, is_server: bool) -> None:
        """``is_server`` says that its sender is the server."""
        self.is_server = is_server
        self.state: i64 = START
        self.at: i64 = 0  # position reached in the bytes being read
        self.section = b""
        self.taken: i64 = 0
        self.limit = ""
        self.size: i64 = 0  # of the pieces
        self.remaining: i64 = 0  # of the content or chunk
        self.content_bytes: i64 = 0
        self.has_noted_bare_feed = False
        self._pieces: list[bytes] = []  # of an incomplete section, line or peek
        self._tail = b""  # the last bytes of the pieces, where an empty line may begin

    def read(self, data: bytes, position: i64) -> i64:
        """Take bytes from ``position`` up to ``at``; returns what was found. Raises ProtocolError."""
        state = self.state
        if state == HEAD:
            return self._read_head(data, position)
        if CONTENT <= state <= UNTIL_CLOSE:
            return self._read_content(data, position)
        if state == CHUNK_LINE:
            return self._read_chunk_line(data, position)
        if state == CHUNK_END or state == CHUNK_END_LF:
            return self._read_chunk_end(data, position)
        if state == TRAILERS:
            return self._read_trailers(data, position)
        if state == PEEK:
            return self._peek_at_response(data, position) if self.is_server else self._peek_at_request(data, position)
        self.at = len(data)
        return NOTHING

    def count(self, length: i64) -> bool:
        """Count content bytes, seen or known to be missing; says whether they complete content of known length."""
        self.content_bytes += length
        if self.state == UNTIL_CLOSE:
            return False
        self.remaining -= length
        if self.remaining > 0:
            return False
        if self.state == CHUNK_DATA:
            self.state = CHUNK_END
            return False
        return True

    def held_memory(self) -> i64:
        """How many bytes of memory take what is held of an incomplete section, line or peek."""
        return self.size + len(self._pieces) * limits.HTTP1_PIECE_BYTES

    def take_pieces(self) -> bytes:
        """What was held of an incomplete section, line or peek; it is held no longer."""
        pieces = self._pieces
        self._pieces = []
        self.size = 0
        self._tail = b""
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def beginning(self, length: i64) -> bytes:
        """The first ``length`` bytes of what is held."""
        begun = b""
        for piece in self._pieces:
            begun += piece[: length - len(begun)]
            if len(begun) >= length:
                break
        return begun

    # --- sections ---

    def _read_head(self, data: bytes, position: i64) -> i64:
        if self._read_section(data, position):
            return HEAD_COMPLETE
        return TOO_LONG if self.limit else NOTHING

    def _read_trailers(self, data: bytes, position: i64) -> i64:
        if self.size == 0 and data[position : position + 2] == b"\r\n":
            self.at = position + 2
            self.section = b""
            return CHUNKED_COMPLETE
        if self._read_section(data, position):
            return CHUNKED_COMPLETE
        return TOO_LONG if self.limit else NOTHING

    def _read_section(self, data: bytes, position: i64) -> bool:
        """Collect a section up to its empty line; says whether it is complete."""
        piece = data[position:]
        window = piece
        if self.size == 0 and not self._tail:
            stop = section_end(data, position)
            if stop >= 0:
                self.at = stop
                self.section = data[position:stop]
                return True
        else:
            window = self._tail + piece
            stop = section_end(window, 0)
            if stop >= 0:
                taken = stop - len(self._tail)
                self._pieces.append(piece[:taken])
                self.at = position + taken
                self.section = self.take_pieces()
                return True
        self.at = len(data)
        self._pieces.append(piece)
        self.size += len(piece)
        self._tail = window[-2:]
        if self.size > limits.HTTP1_SECTION_BYTES:
            self.limit = f"a section of at most {limits.HTTP1_SECTION_BYTES} bytes"
        return False

    # --- content ---

    def _read_content(self, data: bytes, position: i64) -> i64:
        length: i64 = len(data) - position
        if self.state != UNTIL_CLOSE and length > self.remaining:
            length = self.remaining
        self.taken = length
        self.at = position + length
        return CONTENT_TAKEN

    def _read_chunk_line(self, data: bytes, position: i64) -> i64:
        """The size and extensions of a chunk (RFC 9112 section 7.1)."""
        feed: i64 = data.find(b"\n", position)
        stop = feed if feed >= 0 else len(data)
        if self.size + stop - position > limits.HTTP1_CHUNK_LINE_BYTES:
            self.at = len(data)
            self.limit = f"a chunk size and extensions of at most {limits.HTTP1_CHUNK_LINE_BYTES} bytes"
            return TOO_LONG
        if self.size or feed < 0:
            self._pieces.append(data[position:stop])
            self.size += stop - position
            if feed < 0:
                self.at = stop
                return NOTHING
            line = self.take_pieces()
        else:
            line = data[position:stop]
        self.at = stop + 1
        event: i64 = NOTHING
        if line.endswith(b"\r"):
            line = line[:-1]
        else:
            event = self._bare_feed()
        size: i64 = chunk_size(line)
        if size > 0:
            self.remaining = size
            self.state = CHUNK_DATA
        else:
            self.state = TRAILERS
            self._tail = b"\n"  # that of the last chunk's line: an empty line may follow at once
        return event

    def _read_chunk_end(self, data: bytes, position: i64) -> i64:
        byte = data[position]
        self.at = position + 1
        if byte == 10:
            event = self._bare_feed() if self.state == CHUNK_END else NOTHING
            self.state = CHUNK_LINE
            return event
        if byte == 13 and self.state == CHUNK_END:
            self.state = CHUNK_END_LF
            return NOTHING
        raise ProtocolError("CR LF after a chunk's data", f"byte {byte:#04x}", "RFC 9112 section 7.1")

    def _bare_feed(self) -> i64:
        if self.has_noted_bare_feed:
            return NOTHING
        self.has_noted_bare_feed = True
        return BARE_FEED

    # --- content or not ---

    def _peek_at_response(self, data: bytes, position: i64) -> i64:
        """Where the request is not known: the content, or the next response after one to HEAD."""
        taken: i64 = min(len(data) - position, len(_RESPONSE_START) - self.size)
        seen = self._add_piece(data, position, taken)
        if not _RESPONSE_START.startswith(seen):
            return IS_CONTENT
        return IS_NEXT_RESPONSE if len(seen) == len(_RESPONSE_START) else NOTHING

    def _peek_at_request(self, data: bytes, position: i64) -> i64:
        """After a final answer where 100 was expected: the content, or the next request (RFC 9110 section 10.1.1)."""
        feed: i64 = data.find(b"\n", position)
        taken = (feed + 1 if feed >= 0 else len(data)) - position
        seen = self._add_piece(data, position, taken)
        if seen.endswith(b"\n"):
            return IS_CONTENT if REQUEST_LINE.fullmatch(seen[:-1]) is None else IS_NEXT_REQUEST
        return IS_CONTENT if len(seen) > _PEEKED_LINE_BYTES or REQUEST_PREFIX.fullmatch(seen) is None else NOTHING

    def _add_piece(self, data: bytes, position: i64, length: i64) -> bytes:
        self._pieces.append(data[position : position + length])
        self.size += length
        self.at = position + length
        return b"".join(self._pieces)


def section_end(data: bytes, position: i64) -> i64:
    """Where the section that begins at ``position`` ends, behind its empty line; -1 when that is not there."""
    empty: i64 = data.find(b"\n\r\n", position)
    if empty < 0:
        bare: i64 = data.find(b"\n\n", position)
    else:
        bare = data.find(b"\n\n", position, empty + 1)
    if bare >= 0:
        return bare + 2
    return empty + 3 if empty >= 0 else -1
