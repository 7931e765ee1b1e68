"""One direction of an HTTP/1 connection: its messages, the exchange that the one under way belongs to, and what is held."""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.content import Content, Outlet
from analyzer.codecs.content_budget import ContentBudget
from analyzer.codecs.http1_exchange import Exchange
from analyzer.codecs.http1_heads import Head
from analyzer.codecs.http1_messages import HEAD, PEEK, START, MessageReader
from analyzer.codecs.http1_recognition import BEGINNING_BYTES, is_beyond_doubt, is_request_line_start, is_status_line_start

# what shows that the messages begin where they are taken to begin
WITNESSED: Final = 0  # the beginning of the connection, or one that was proved
UNSEEN: Final = 1  # the direction began with a hole: its first bytes need not begin a message
UNPROVED: Final = 2  # its first bytes are a head beyond doubt; what follows has to show that it is no content

_FORGOTTEN: Final = 64  # so many events that wait no more are kept before a list of them is shortened


class Held:
    """Bytes (data), a gap, or a close (reason) of one direction that wait for the other direction."""

    def __init__(self, data: bytes | None, timestamp: i64, released: i64, packet: i64, stall: i64) -> None:
        self.data = data
        self.timestamp = timestamp
        self.released = released
        self.packet = packet
        self.stall = stall
        self.length: int | None = None
        self.at_most: int | None = None
        self.reason: str | None = None


class Side(MessageReader):
    """A direction and the message that is being read."""

    def __init__(self, direction: i64, is_server: bool) -> None:
        super().__init__(is_server)
        self.direction = direction
        self.trust: i64 = WITNESSED
        self.exchange: Exchange | None = None  # whose message is being read, from the end of its head
        self.head: Head | None = None  # of that message
        self.is_fresh = True  # no byte has been seen
        self.started_at: i64 = -1  # of the message
        self.first_packet: i64 = -1  # the lowest of its head
        self.highest_packet: i64 = -1  # of its head
        self.last_at: i64 = -1  # latest byte of a head, or of content until close
        self.last_packet: i64 = -1
        self.content: Content | None = None
        self.is_expecting = False  # content not begun after Expect: 100-continue
        self.close_reason: str | None = None
        self.is_paused = False  # what comes is held until the other side has said more
        self.held: list[Held] = []  # what waits, from ``held_from`` on; empty where nothing does
        self.held_from: i64 = 0
        self.held_bytes: i64 = 0
        self._stall: i64 = -1  # what the bytes of an incomplete head waited
        self._stall_wait: i64 = 0

    def begin_message(self, timestamp: i64, packet: i64) -> None:
        """The first byte of a message has come."""
        self.state = HEAD
        self.started_at = timestamp
        self.first_packet = packet
        self.highest_packet = packet

    def meet(self, timestamp: i64, packet: i64) -> None:
        """Note where bytes of a message, or those that may be content or the next message, are."""
        exchange = self.exchange
        if exchange is not None and self.state != PEEK:
            exchange.saw(timestamp, packet)
        if self.state == HEAD:
            self.last_at = timestamp
            self.last_packet = packet
            if packet < self.first_packet:
                self.first_packet = packet
            if packet > self.highest_packet:
                self.highest_packet = packet
        elif self.state == PEEK and self.size == 0:
            self.started_at = timestamp
            self.first_packet = packet

    def reach(self, timestamp: i64, packet: i64) -> None:
        """Note where the latest byte of a head, or of content until close, is."""
        self.last_at = timestamp
        self.last_packet = packet

    def drop_message(self) -> bytes:
        """Stop reading a message; returns what is held of an incomplete section."""
        self.exchange = None
        self.head = None
        self.drop_content()
        return self.take_pieces()

    def drop_content(self) -> None:
        """Nobody wants the content of the message being read any more."""
        if self.content is not None:
            self.content.discard()
            self.content = None

    def begin_content(
        self, head: Head, state: i64, content_mode: str, budget: ContentBudget | None, outlet: Outlet | None
    ) -> None:
        """The content that ``head`` announces follows.

        ``content_mode`` is what is wanted of it, hash or store or nothing, ``budget`` the memory for that; ``outlet`` takes it.
        """
        self.state = state
        self.has_noted_bare_feed = False
        if content_mode or outlet is not None:
            codings = head.content_encoding
            if head.further_codings is not None:
                codings = head.further_codings if codings is None else codings + b", " + head.further_codings
            self.content = Content(content_mode, codings, True, budget, outlet)

    # --- waiting ---

    def memory(self) -> i64:
        """How many bytes of memory take what waits, and what is incomplete."""
        return self.held_memory() + self.held_bytes + len(self.held) * limits.HTTP1_PIECE_BYTES

    def wait(self, stall: i64, wait: i64) -> None:
        """Note that bytes of the message waited."""
        exchange = self.exchange
        if exchange is not None:
            exchange.wait(stall, wait)
        elif wait > self._stall_wait:
            self._stall = stall
            self._stall_wait = wait

    def pass_on(self, exchange: Exchange) -> None:
        """The head belongs to ``exchange``: its packets, and what it waited."""
        exchange.saw(self.started_at, self.first_packet)
        exchange.saw(self.started_at, self.highest_packet)
        if self._stall_wait > 0:
            exchange.wait(self._stall, self._stall_wait)
            self._stall_wait = 0

    def take_held(self) -> list[Held]:
        """What waits; it does no longer. The first of it is at ``held_from``."""
        events = self.held
        self.held = []
        self.held_bytes = 0
        return events

    def put_back(self, events: list[Held], index: i64, size: i64) -> None:
        """Let ``events`` wait again from ``index`` on, ``size`` bytes, behind what is left of the one before. None is moved."""
        if self.held:
            index -= 1
            events[index] = self.held[0]
        if index > _FORGOTTEN and index > len(events) >> 1:
            del events[:index]
            index = 0
        self.held_from = index
        self.held = events if index < len(events) else []
        self.held_bytes += size

    # --- a beginning that was not captured ---

    def is_no_head(self) -> bool:
        """Whether the first bytes after a missing beginning, an incomplete head so far, cannot begin a message."""
        begun = self.beginning(BEGINNING_BYTES)
        return not (is_status_line_start(begun) if self.is_server else is_request_line_start(begun))

    def believes(self, head: Head) -> bool:
        """Judge a head by what is known of where it begins; one that comes right after the first message proves that."""
        if self.trust == WITNESSED:
            return True
        if not is_beyond_doubt(head):
            return False
        self.trust = UNPROVED if self.trust == UNSEEN else WITNESSED
        return True

    def prove(self) -> None:
        """The other side begins a message, or this one ends: between two messages, that proves the first."""
        if self.trust == UNPROVED and self.state == START:
            self.trust = WITNESSED
