"""Messages of a WebSocket connection: what is open, what is wanted of them, whom they are told (RFC 6455 sections 5.4 and 5.5)."""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.content_budget import AllContents, ContentBudget
from analyzer.codecs.payload import Payload
from analyzer.codecs.websocket_frames import CONTINUATION

NOT_SENT_CODES: Final = (1004, 1005, 1006)  # reserved for use inside an endpoint (RFC 6455 section 7.4.1)
NOT_TEXT: Final = "bytes that are not"


class Wanted:
    """What the options want of payloads, and the memory that these may take."""

    def __init__(self, content: str, is_tapped: bool, budget: ContentBudget | None = None) -> None:
        """``content`` is none, preview, hash or store; ``is_tapped`` where the connection is followed.

        ``budget`` is that of the connection; without one there is one of its own.
        """
        self.characters: i64 = limits.PREVIEW_CHARACTERS
        if content == "none":
            self.characters = 0
        elif content == "store":
            self.characters = limits.TEXT_BYTES
        self.hashes = content in ("hash", "store")
        self.stores = content == "store"
        self.is_tapped = is_tapped
        self.budget = ContentBudget(AllContents()) if budget is None else budget
        self.is_plain = not self.hashes and not is_tapped  # binary payloads are not wanted


class OpenMessage:
    """A message or control frame that is not complete yet."""

    def __init__(self, index: i64, opcode: i64, timestamp: i64, packet: i64) -> None:
        self.index = index
        self.opcode = opcode
        self.started_at = timestamp
        self.ended_at = timestamp
        self.first_packet = packet
        self.last_packet = packet
        self.frame_count: i64 = 0
        self.wire_bytes: i64 = 0
        self.payload_bytes: i64 = 0  # as sent
        self.is_compressed = False
        self.is_opaque = False  # its payload means what only an unknown extension or its missing beginning could say
        self.is_holed = False  # bytes of it are missing
        self.has_failed = False  # it did not inflate
        self.stalled_ns: i64 = 0
        self.stall_index: i64 = -2  # the stall that made it wait last, and how long
        self.stall_wait: i64 = 0
        self.payload: Payload | None = None  # decoded; None where it is not wanted
        self.not_text_at: i64 = -1  # when and where it was found not to be UTF-8
        self.not_text_packet: i64 = -1
        self.tapped: list[bytes] = []  # decoded, for the tap
        self.tapped_bytes: i64 = 0

    def touch(self, timestamp: i64, released: i64, packet: i64, stall_index: i64) -> None:
        """Note that bytes of it came."""
        self.ended_at = timestamp
        if packet < self.first_packet:
            self.first_packet = packet
        if packet > self.last_packet:
            self.last_packet = packet
        wait = released - timestamp
        if wait <= 0:
            return
        if stall_index != self.stall_index:
            self.stall_index = stall_index
            self.stall_wait = 0
        if wait > self.stall_wait:
            self.stalled_ns += wait - self.stall_wait
            self.stall_wait = wait

    def has_beginning(self) -> bool:
        """Whether its first frame was there."""
        return self.opcode != CONTINUATION

    def is_decoded(self) -> bool:
        """Whether all payload that came is known as the sender meant it."""
        return not (self.is_holed or self.is_opaque or self.has_failed)


class MessageReceiver:
    """What a direction's reader tells to whoever makes rows of its messages."""

    def begin(self, direction: i64) -> i64:
        """A message or control frame begins; returns its number."""
        raise NotImplementedError

    def take(
        self,
        direction: i64,
        opcode: i64,
        text: str | None,
        payload_bytes: i64,
        is_compressed: bool,
        wire_bytes: i64,
        timestamp: i64,
        packet: i64,
    ) -> None:
        """An ordinary message or ping or pong, begun and ended in one packet."""
        raise NotImplementedError

    def end(self, direction: i64, message: OpenMessage, is_whole: bool, is_measured: bool) -> None:
        """A message is over. ``is_measured``: as long as it ever got, though bytes may be missing."""
        raise NotImplementedError

    def end_side(self, direction: i64) -> None:
        """The close frame has come."""
        raise NotImplementedError

    def pass_on(self, direction: i64, message: OpenMessage) -> None:
        """Decoded payload is there for the tap."""
        raise NotImplementedError

    def object_to(self, direction: i64, kind: str, timestamp: i64, packet: i64, required: str, found: str, section: str) -> None:
        """A fault after which the direction goes on."""
        raise NotImplementedError

    def decline(self, direction: i64, length: i64) -> None:
        """The next bytes are not needed, -1: all that follow."""
        raise NotImplementedError

    def stall_index(self) -> i64:
        """The stall whose bytes are being delivered."""
        raise NotImplementedError


class CloseStatus:
    """What a close frame says (RFC 6455 sections 5.5.1 and 7.4)."""

    def __init__(self, payload: bytes) -> None:
        self.code: int | None = None
        self.reason: str | None = None
        self.required = ""  # what the payload breaks, empty where it breaks nothing
        self.found = ""
        self.section = "RFC 6455 section 5.5.1"
        if len(payload) == 1:
            self.required = "a status code of 2 bytes"
            self.found = "1 byte"
        if len(payload) < 2:
            return
        code = int.from_bytes(payload[:2], "big")
        self.code = code
        if not (3000 <= code < 5000 or (1000 <= code < 1015 and code not in NOT_SENT_CODES)):
            self.required = "a status code that may be sent"
            self.found = f"{code}"
            self.section = "RFC 6455 section 7.4"
        try:
            self.reason = payload[2:].decode()
        except UnicodeDecodeError:
            self.required = "a close reason in UTF-8"
            self.found = NOT_TEXT
