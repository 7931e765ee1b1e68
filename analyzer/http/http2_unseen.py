"""Whether a hole towards the server held field blocks: what the frames after it prove (RFC 9113 sections 5.1.1 and 8.1).

Only a client's field blocks change the compression state of its direction. Each of them is the header section of a stream
that it opens, or the trailer section of one that it has opened; a client promises nothing. The hole, and what was passed
over behind it, held

- no header section, if the first stream that is opened after it has the number that follows the highest one before, since
  numbers only rise, and if what opens it is itself no trailer section: trailers end their stream, and have no pseudo-header;
- no trailer section, if every stream that the client had opened was ended by the client before, or shows DATA or a field
  block of the client after it, since nothing follows a trailer section.

A stream that the server has reset counts as open: the client may not have known. Until both are shown, blocks are decoded
twice: by what is certain, and by what would be if the hole held none; the latter is believed from the block on that shows it.
"""

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.hpack import UNLIMITED, HpackDecoder
from analyzer.codecs.http2_exchange import Exchange
from analyzer.dissector import TO_SERVER
from analyzer.errors import ProtocolError
from analyzer.records import FieldLine


def may_be_asked_further(exchange: Exchange) -> bool:
    """Whether the client may say more on a stream that it has opened."""
    is_reset = exchange.is_reset_by_both or (exchange.reset_code >= 0 and exchange.reset_direction == TO_SERVER)
    return not exchange.request.is_ended and not is_reset


class UnseenBlocks:
    """Follows what would be known of a client's compression state if the last holes held none of its field blocks."""

    def __init__(self) -> None:
        self.is_watching = False  # something is to be proved or disproved
        self._decoder: HpackDecoder | None = None  # None: a block was missed
        self._next_number: i64 = -1  # of the first stream opened after the hole; -1: it was seen
        self._waiting: set[int] = set()  # open streams that showed nothing since the hole
        self._are_streams_known = True  # no stream that is open towards the server was missed or forgotten

    def memory(self) -> i64:
        """How many bytes of memory it takes."""
        taken = len(self._waiting) * limits.NUMBER_BYTES
        decoder = self._decoder
        return taken if decoder is None else taken + decoder.memory()

    def forget_streams(self) -> None:
        """Streams may be open towards the server that nobody knows of: nothing can be proved any more."""
        self._are_streams_known = False
        self.is_watching = False
        self._decoder = None

    def doubt(self, decoder: HpackDecoder, highest: i64, exchanges: dict[int, Exchange]) -> None:
        """A hole may have held blocks; ``highest`` is the number opened last, ``decoder`` what was certain until now."""
        if not self._are_streams_known:
            return
        if not self.is_watching:
            self._decoder = decoder.copy()
            self._decoder.allow(UNLIMITED)
            self._waiting = set()
            self.is_watching = True
        self._next_number = highest + 2
        for number, exchange in exchanges.items():
            if number & 1 and number <= highest and may_be_asked_further(exchange):
                self._waiting.add(number)

    def miss(self, stream_id: i64, highest: i64, is_stream_end: bool) -> None:
        """A client's field block is seen after the hole, but not whole; stream 0 where its stream is not known."""
        self._decoder = None
        self._note(stream_id, highest, not is_stream_end)

    def show(self, stream_id: i64, highest: i64) -> HpackDecoder | None:
        """A client's DATA is seen after the hole; returns the compression state if that proves it."""
        if stream_id > highest:
            self.forget_streams()  # opened in the hole
        self._waiting.discard(stream_id)
        return self._proved()

    def take(self, block: bytes, stream_id: i64, highest: i64, is_header: bool, lines: list[FieldLine]) -> HpackDecoder | None:
        """A client's field block is seen after the hole, ``is_header`` if it certainly is a header section.

        Returns the compression state if that proves it, and the ``lines`` of the block by it.
        """
        if self._decoder is not None:
            try:
                self._decoder.decode(block, lines)
            except ProtocolError:
                self._decoder = None  # it refers to what the hole has inserted
        self._note(stream_id, highest, is_header)
        return self._proved()

    def _note(self, stream_id: i64, highest: i64, is_header: bool) -> None:
        if stream_id > highest and self._next_number >= 0:
            if stream_id != self._next_number or not is_header:
                self.forget_streams()  # opened in the hole, or others were
                return
            self._next_number = -1
        self._waiting.discard(stream_id)
        if self._next_number < 0 and self._decoder is None:
            self.is_watching = False

    def _proved(self) -> HpackDecoder | None:
        if self._next_number >= 0 or self._waiting:
            return None
        proved = self._decoder
        self._decoder = None
        self.is_watching = False
        return proved


def begins_header(lines: list[FieldLine]) -> bool:
    """Whether a section begins with a pseudo-header field, as no trailer section does (RFC 9113 section 8.1)."""
    name = lines[0].name if lines else None
    return name is not None and name.startswith(b":")
