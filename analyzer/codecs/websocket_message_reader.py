"""One direction of a WebSocket connection: from the payloads of frames to messages (RFC 6455 section 5.4, RFC 7692 section 6)."""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.payload import Payload
from analyzer.codecs.permessage_deflate import Agreement, Inflater
from analyzer.codecs.utf8 import TextReader
from analyzer.codecs.websocket_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FINAL_BIT,
    OPCODE_BITS,
    RESERVED_BITS,
    RSV1,
    TEXT,
    check_first_octet,
    unmask,
)
from analyzer.codecs.websocket_messages import NOT_TEXT, MessageReceiver, OpenMessage, Wanted

# Where a direction stands.
UNALIGNED: Final = 0  # its beginning was not captured; the bytes do not yet show where frames begin
IN_HEADER: Final = 1  # at or in a frame's header
IN_PAYLOAD: Final = 2  # in a frame's payload
CLOSED: Final = 3  # after its close frame
LOST: Final = 4  # for good
SEARCHING: Final = 5  # after a hole
PASSING: Final = 6  # in a frame whose header was not kept, up to one that was found


class MessageReader:
    """Puts the frames of one direction together to messages, decodes them, and hands them to a receiver."""

    def __init__(
        self, direction: i64, from_client: bool, receiver: MessageReceiver, wanted: Wanted, agreement: Agreement
    ) -> None:
        self.direction = direction
        self.from_client = from_client
        self.state: i64 = IN_HEADER
        self.is_midway = False  # a message may be open whose beginning was not captured
        self._is_regular = True  # it has broken no rule by which frames are sought after a hole
        self._receiver = receiver
        self._wanted = wanted
        self._may_deflate = agreement.has_deflate or not agreement.is_known
        self._has_others = agreement.has_others
        takeover = agreement.client_takeover if from_client else agreement.server_takeover
        self._inflater = Inflater(takeover, wanted.budget)
        self._header = b""  # the part of a header that has come
        self._first: i64 = 0  # first octet of the current frame
        self._remaining: i64 = 0  # payload of the current frame still to come
        self._position: i64 = 0  # how much of it came
        self._is_masked = False
        self._key: i64 = 0
        self._message: OpenMessage | None = None  # the data message that is open
        self._current: OpenMessage | None = None  # that or a control frame: to which the current frame belongs

    def open_messages(self) -> list[OpenMessage]:
        """The data message that is not over, and the control frame between its frames, once a header of each has come."""
        found: list[OpenMessage] = []
        message = self._message
        if message is not None and message.frame_count > 0:
            found.append(message)
        current = self._current
        if current is not None and current is not message and current.frame_count > 0:
            found.append(current)
        return found

    def _begin_frame(self, first: i64, timestamp: i64, packet: i64) -> None:
        """Judge a frame's first octet and find or open the message it belongs to (RFC 6455 sections 5.2 and 5.4)."""
        check_first_octet(first, self._may_deflate, self._has_others)
        opcode = first & OPCODE_BITS
        self._first = first
        message = self._message
        if opcode == CONTINUATION and message is not None:
            self._current = message
            return
        if opcode == CONTINUATION and not self.is_midway:
            required = "a message's first frame before its others"
            self._object_to_frame(timestamp, packet, required, "a continuation frame", "RFC 6455 section 5.4")
        elif opcode < CLOSE and message is not None:
            required = "the rest of the message before another"
            self._object_to_frame(timestamp, packet, required, f"opcode {opcode:#x}", "RFC 6455 section 5.4")
            self._cut(True)
        if self._begin_message(first, timestamp, packet).is_compressed:
            self._inflater.begin()
            self._tell_limit(timestamp, packet)

    def _begin_message(self, first: i64, timestamp: i64, packet: i64) -> OpenMessage:
        """Open a message, or a control frame, whose first frame that is there begins with the octet ``first``."""
        opcode = first & OPCODE_BITS
        reserved = first & RESERVED_BITS
        is_deflated = reserved == RSV1 and self._may_deflate
        opened = OpenMessage(self._receiver.begin(self.direction), opcode, timestamp, packet)
        opened.is_opaque = opcode == CONTINUATION or (reserved != 0 and not is_deflated)
        opened.is_compressed = is_deflated and not opened.is_opaque
        self._current = opened
        if opcode < CLOSE:
            self._message = opened
            self.is_midway = False
        wanted = self._wanted
        if not opened.is_opaque and (opcode != BINARY or opened.is_compressed or not wanted.is_plain):
            reader = TextReader(wanted.characters) if opcode == TEXT else None
            keep: i64 = limits.TEXT_BYTES if opcode == CLOSE or (wanted.stores and opcode != TEXT) else 0
            budget = wanted.budget if wanted.stores and opcode < CLOSE else None
            opened.payload = Payload(reader, wanted.hashes, keep, budget)
        return opened

    def _take_payload(self, data: bytes, at: i64, end: i64, timestamp: i64, released: i64, packet: i64) -> i64:
        """Take payload of the current frame; returns where to go on."""
        current = self._current
        assert current is not None
        stop = end
        if self._remaining < end - at:  # lengths near 2^63 must not be added to
            stop = at + self._remaining
        current.touch(timestamp, released, packet, self._receiver.stall_index())
        position = self._position
        self._count_payload(current, stop - at)
        if current.payload is not None and not current.is_holed:
            piece = unmask(data, at, stop, self._key, position) if self._is_masked else data[at:stop]
            if current.is_compressed:
                self._inflate(current, piece, self._remaining == 0 and self._first & FINAL_BIT != 0)
            else:
                self._write(current, piece)
        if self._remaining == 0:
            self._end_frame(current)
        return stop

    def _miss_payload(self, current: OpenMessage, length: i64) -> None:
        """Note a hole that lies inside the payload of the current frame."""
        current.is_holed = True
        if current.is_compressed:
            self._inflater.lose()
        self._count_payload(current, length)
        if self._remaining == 0:
            self._end_frame(current)

    def _count_payload(self, message: OpenMessage, length: i64) -> None:
        """Note that payload of the current frame has gone by."""
        self._remaining -= length
        self._position += length
        message.wire_bytes += length
        message.payload_bytes += length

    def _inflate(self, message: OpenMessage, data: bytes, is_last: bool) -> None:
        """Decompress payload; where that fails the message is not known (RFC 7692 section 7.2.2)."""
        inflater = self._inflater
        earlier = inflater.fault
        if earlier is not None:
            message.has_failed = True
            self._tell_limit(message.ended_at, message.last_packet)
            return
        is_certain = inflater.is_certain
        inflater.write(data, is_last)
        self._take_inflated(message, inflater.read(), is_certain)

    def _take_inflated(self, message: OpenMessage, output: bytes, is_certain: bool) -> None:
        """Take decompressed payload and all that there is beside it. ``is_certain``: a failure is the sender's."""
        inflater = self._inflater
        while output:
            known = inflater.known
            if known == len(output):
                self._write(message, output)
            else:
                self._write_known(message, output, known)
            output = inflater.read()
        fault = inflater.fault
        if fault is None:
            return
        message.has_failed = True
        if inflater.limit is not None:
            self._tell_limit(message.ended_at, message.last_packet)
        elif inflater.is_limit:
            required = "a message that inflates within limits"
            self._receiver.object_to(self.direction, "limit", message.ended_at, message.last_packet, required, fault, "")
        elif is_certain:
            section = "RFC 7692 section 7.2.2"
            self._object_to(message.ended_at, message.last_packet, "a message that inflates", fault, section)

    def _tell_limit(self, timestamp: i64, packet: i64) -> None:
        """Report memory that the inflater did not get or had to give up."""
        limit = self._inflater.limit
        if limit is not None:
            self._inflater.limit = None
            self._receiver.object_to(self.direction, "limit", timestamp, packet, limit, "more", "")

    def _write(self, message: OpenMessage, data: bytes) -> None:
        """Take decoded payload."""
        payload = message.payload
        assert payload is not None
        payload.write(data)
        text = payload.text
        if text is not None and not text.is_valid and message.not_text_at < 0:
            message.not_text_at = message.ended_at
            message.not_text_packet = message.last_packet
        if self._wanted.is_tapped:
            message.tapped.append(data)
            message.tapped_bytes += len(data)
            if message.tapped_bytes >= limits.TAPPED_MESSAGE_BYTES:
                self._receiver.pass_on(self.direction, message)

    def _write_known(self, message: OpenMessage, data: bytes, known: i64) -> None:
        """Take decompressed payload of which only the first ``known`` bytes are known."""
        payload = message.payload
        assert payload is not None
        if known > 0:
            self._write(message, data[:known])
        payload.miss(len(data) - known)

    def _end_frame(self, current: OpenMessage) -> None:
        """Go on to the next frame; hand out the message when this was its last."""
        self.state = IN_HEADER
        self._current = None
        if not self._first & FINAL_BIT:
            return
        if current is self._message:
            self._message = None
        if current.is_compressed:
            if self._position == 0 and not current.is_holed:
                self._inflate(current, b"", True)
            self._inflater.end()
        self._check_text(current)
        self._receiver.end(self.direction, current, not current.is_holed, True)
        if current.opcode == CLOSE:
            self.state = CLOSED
            self._inflater.close()
            self._receiver.end_side(self.direction)

    def _check_text(self, message: OpenMessage) -> None:
        """Report a text message that is not UTF-8 (RFC 6455 section 8.1)."""
        payload = message.payload
        if payload is None or payload.text is None or not message.is_decoded() or not payload.is_known:
            return
        payload.text.finish()
        if payload.text.is_valid:
            return
        if message.not_text_at < 0:
            message.not_text_at = message.ended_at
            message.not_text_packet = message.last_packet
        self._object_to(message.not_text_at, message.not_text_packet, "text in UTF-8", NOT_TEXT, "RFC 6455 section 8.1")

    def _cut(self, is_measured: bool) -> None:
        """Hand out what is open, since nothing more of it will come."""
        message = self._message
        current = self._current
        self._message = None
        self._current = None
        if current is not None:
            current.wire_bytes += len(self._header)
        if message is not None:
            self._receiver.end(self.direction, message, False, is_measured)
            if message.is_compressed:
                self._inflater.lose()
        if current is not None and current is not message:
            self._receiver.end(self.direction, current, False, is_measured)
        self._header = b""

    def _object_to(self, timestamp: i64, packet: i64, required: str, found: str, section: str) -> None:
        """Report what peers must fail the connection for and a capture can go on after."""
        self._receiver.object_to(self.direction, "protocol_error", timestamp, packet, required, found, section)

    def _object_to_frame(self, timestamp: i64, packet: i64, required: str, found: str, section: str) -> None:
        """Report a frame that an endpoint may not send, though it can be followed."""
        self._is_regular = False
        self._object_to(timestamp, packet, required, found, section)
