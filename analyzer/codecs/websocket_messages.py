"""What is open in one direction of a WebSocket connection, and what a close frame says (RFC 6455 sections 5.4 and 5.5)."""

from typing import Final

from mypy_extensions import i64

from analyzer.codecs.payload import Payload
from analyzer.codecs.permessage_deflate import Inflater
from analyzer.codecs.websocket_frames import CONTINUATION

# Where a direction stands.
UNALIGNED: Final = 0  # its beginning was not captured; the bytes do not yet show where frames begin
IN_HEADER: Final = 1  # at or in a frame's header
IN_PAYLOAD: Final = 2  # in a frame's payload
CLOSED: Final = 3  # after its close frame
LOST: Final = 4  # it is not known where frames begin

NOT_SENT_CODES: Final = (1004, 1005, 1006)  # reserved for use inside an endpoint (RFC 6455 section 7.4.1)
NOT_TEXT: Final = "bytes that are not"


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


class HeldBytes:
    """Bytes held until they show where frames begin."""

    def __init__(self, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        self.data = data
        self.timestamp = timestamp
        self.released = released
        self.packet = packet


class Side:
    """One direction."""

    def __init__(self, direction: i64, inflater: Inflater) -> None:
        self.direction = direction
        self.inflater = inflater
        self.state: i64 = IN_HEADER
        self.is_begun = False  # bytes came, or were missing
        self.is_midway = False  # its beginning was not captured, and no message has begun since
        self.has_closed = False  # it sent its close frame
        self.waiting: list[HeldBytes] = []  # while unaligned
        self.header = b""  # the part of a header that has come
        self.first: i64 = 0  # first octet of the current frame
        self.remaining: i64 = 0  # payload of the current frame still to come
        self.position: i64 = 0  # how much of it came
        self.is_masked = False
        self.key: i64 = 0
        self.message: OpenMessage | None = None  # the data message that is open
        self.current: OpenMessage | None = None  # that or a control frame: to which the current frame belongs

    def count_payload(self, message: OpenMessage, length: i64) -> None:
        """Note that payload of the current frame has gone by."""
        self.remaining -= length
        self.position += length
        message.wire_bytes += length
        message.payload_bytes += length

    def is_decoded(self, message: OpenMessage) -> bool:
        """Whether all payload that came is known as the sender meant it."""
        return not (message.is_holed or message.is_opaque or (message.is_compressed and self.inflater.fault is not None))


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
