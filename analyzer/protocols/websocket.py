"""WebSocket (RFC 6455), with permessage-deflate (RFC 7692), over HTTP/1.1 or an HTTP/2 stream (RFC 8441).

A peer must fail the connection at every fault; a capture says so and goes on where it still knows where frames begin.
Only reserved opcodes and bits, and control frames that cannot be, end it: after them nothing tells frames from noise.
"""

from typing import Annotated, ClassVar, Final

from mypy_extensions import i64, mypyc_attr

from analyzer import limits
from analyzer.codecs.payload import Payload
from analyzer.codecs.permessage_deflate import Agreement, Inflater
from analyzer.codecs.utf8 import TextReader
from analyzer.codecs.websocket_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    CONTROL_PAYLOAD,
    FINAL_BIT,
    LONGEST_HEADER,
    OPCODE_BITS,
    PING,
    PONG,
    RESERVED_BITS,
    RSV1,
    TEXT,
    FrameHeader,
    check_first_octet,
    check_length,
    count_frames,
    unmask,
)
from analyzer.codecs.websocket_messages import (
    CLOSED,
    IN_HEADER,
    IN_PAYLOAD,
    LOST,
    NOT_TEXT,
    UNALIGNED,
    CloseStatus,
    HeldBytes,
    OpenMessage,
    Side,
)
from analyzer.dissector import DIRECTION_NAMES, TO_SERVER, CloseReason, Dissector, Facts, Match
from analyzer.records import Rows
from analyzer.schema import Record, capture, conversation, record, time
from analyzer.stream import EVERYTHING, Stream


@mypyc_attr(native_class=False)
@record(
    "websocket_messages",
    "WebSocket message or control frame",
    message={
        "message_index": "message_index",
        "protocol": "'websocket'",
        "direction": "direction",
        "operation": "opcode",
        "started_at": "started_at",
        "ended_at": "ended_at",
        "payload_bytes": "payload_bytes",
        "text": "text",
        "is_complete": "is_complete",
        "first_packet": "first_packet",
        "last_packet": "last_packet",
    },
)
class WebSocketMessageRecord(Record):
    """A message, or a control frame, of a WebSocket connection."""

    connection_id: "Annotated[int, capture('the connection')]"
    stream_index: "Annotated[int, capture('the stream')]"
    message_index: "Annotated[int, capture('number within the stream, both ways, from 0, in order of the first byte')]"
    direction: "Annotated[str, conversation('to_server or to_client')]"
    opcode: "Annotated[str | None, conversation('text, binary, close, ping or pong; NULL where its first frame is missing')]"
    started_at: "Annotated[int | None, time('first byte')]"
    ended_at: "Annotated[int | None, time('last byte; of those captured where it is not complete')]"
    frame_count: "Annotated[int | None, conversation('frames')]"
    wire_bytes: "Annotated[int | None, conversation('frame headers and payload as sent')]"
    payload_bytes: "Annotated[int | None, conversation('payload, decompressed; NULL where it cannot be known')]"
    is_compressed: "Annotated[bool | None, conversation('compressed with permessage-deflate')]"
    text: "Annotated[str | None, conversation('text of a text message: its first 256 characters, whole (within a limit) with --content store; up to the first fault where it is not UTF-8')]"
    payload_sha256: "Annotated[str | None, conversation('SHA-256 of the payload, decompressed, with --content hash or store')]"
    close_code: "Annotated[int | None, conversation('status code of a close frame, NULL without one')]"
    close_reason: "Annotated[str | None, conversation('reason of a close frame, NULL where it is not UTF-8')]"
    is_complete: "Annotated[bool, capture('all its bytes were captured')]"
    stalled_ns: "Annotated[int, capture('time in which its bytes had arrived and waited behind a hole')]"
    first_packet: "Annotated[int | None, capture('frame number of the packet with its first byte')]"
    last_packet: "Annotated[int | None, capture('frame number of the packet with its last byte')]"
    payload: "Annotated[bytes | None, conversation('payload of a binary message, ping or pong with --content store, within a limit')]" = None


OPCODE_NAMES: Final = (None, "text", "binary", None, None, None, None, None, "close", "ping", "pong")


class WebSocketDissector:
    """Follows both directions of a WebSocket connection from after its handshake."""

    name: ClassVar[str] = "websocket"
    ports: ClassVar[tuple[int, ...]] = ()
    transports: ClassVar[tuple[str, ...]] = ("tcp",)
    records: ClassVar[tuple[type, ...]] = (WebSocketMessageRecord,)

    def __init__(self, stream: Stream, facts: Facts) -> None:
        """``facts`` may hold ``sec-websocket-extensions``, the field of the response; empty where it had none."""
        self._stream = stream
        content = stream.context.content
        self._characters: i64 = limits.PREVIEW_CHARACTERS
        if content in ("none", "store"):
            self._characters = limits.TEXT_BYTES if content == "store" else 0
        self._hashes = content in ("hash", "store")
        self._stores = content == "store"
        self._tapped = stream.scope.tap is not None
        self._is_plain = not self._hashes and not self._tapped  # binary payloads are not wanted
        agreement = Agreement(facts.get("sec-websocket-extensions"))
        self._agreement: Agreement = agreement
        self._may_deflate = agreement.has_deflate or not agreement.is_known
        self._agreement_fault: str | None = agreement.fault
        self._header = FrameHeader()
        self._messages: i64 = 0
        self._rows: Rows = []  # those of the call under way; kept for close where it raises
        self._to_server = Side(TO_SERVER, Inflater(agreement.client_takeover))
        self._to_client = Side(1 - TO_SERVER, Inflater(agreement.server_takeover))

    @staticmethod
    def probe(first: bytes, second: bytes) -> Match:
        """Recognise a connection whose handshake was not seen: masked frames one way, unmasked ones the other."""
        frames = count_frames(first, True)
        others = count_frames(second, False)
        if frames < 0 or others < 0:
            return Match.NO
        return Match.YES if frames >= limits.ALIGNING_FRAMES and others >= limits.ALIGNING_FRAMES else Match.MAYBE

    # --- what Stream calls ---

    def feed(self, direction: i64, data: bytes, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Take bytes in order."""
        side = self._to_server if direction == TO_SERVER else self._to_client
        if not side.is_begun:
            side.is_begun = True
            if self._agreement_fault is not None:
                self._fault(
                    side, timestamp, packet, "a parameter of permessage-deflate", self._agreement_fault, "RFC 7692 section 7.1"
                )
                self._agreement_fault = None
        if side.state == UNALIGNED:
            self._align(side, data, timestamp, released, packet)
        else:
            self._take(side, data, timestamp, released, packet)
        return self._flush()

    def skipped(self, direction: i64, length: i64, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Count bytes of a payload that nobody wanted."""
        side = self._to_server if direction == TO_SERVER else self._to_client
        current = side.current
        if side.state == IN_PAYLOAD and current is not None:
            current.touch(timestamp, released, packet, self._stream.scope.stall_index)
            side.count_payload(current, length)
            if side.remaining == 0:
                self._end_frame(side, current)
        return self._flush()

    def gap(self, direction: i64, length: int | None, at_most: int | None, timestamp: i64, packet: i64) -> Rows:
        """Go on where the hole lies inside one payload; else it is no longer known where frames begin."""
        side = self._to_server if direction == TO_SERVER else self._to_client
        if not side.is_begun or side.state == UNALIGNED:
            side.is_begun = True
            side.is_midway = True
            side.state = UNALIGNED
            side.waiting = []
            side.inflater.lose()
            return []
        current = side.current
        if side.state == IN_PAYLOAD and current is not None and length is not None and length <= side.remaining:
            current.is_holed = True
            if current.is_compressed:
                side.inflater.lose()
            side.count_payload(current, length)
            if side.remaining == 0:
                self._end_frame(side, current)
        elif side.state in (IN_HEADER, IN_PAYLOAD):
            self._lose(side, timestamp, packet, "missing bytes" if length is None else f"{length} missing bytes")
        return self._flush()

    def close(self, direction: i64, reason: CloseReason, timestamp: i64, packet: i64) -> Rows:
        """Hand out what is left unfinished."""
        side = self._to_server if direction == TO_SERVER else self._to_client
        if side.state == UNALIGNED and side.waiting:
            self._lose(
                side, timestamp, packet, f"the end of the stream after {sum(len(held.data) for held in side.waiting)} bytes"
            )
        elif side.state in (IN_HEADER, IN_PAYLOAD):
            self._cut(side, reason is CloseReason.FIN)
        side.state = LOST
        return self._flush()

    def tick(self, now: i64) -> Rows:
        """Nothing: a message is known when it ends."""
        return []

    def _flush(self) -> Rows:
        rows = self._rows
        self._rows = []
        return rows

    # --- frames ---

    def _take(self, side: Side, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Take the frames, or parts of them, in ``data``."""
        at: i64 = 0
        end: i64 = len(data)
        header = self._header
        while at < end:
            if side.state == IN_HEADER:
                if not side.header and released == timestamp:
                    size = header.read(data, at, end)
                    if size > 0 and header.payload_length <= end - at - size and self._is_ordinary(side):
                        stop = at + size + header.payload_length
                        self._take_whole(side, data, at + size, stop, stop - at, timestamp, packet)
                        at = stop
                        continue
                at = self._take_header(side, data, at, end, timestamp, released, packet)
            elif side.state == IN_PAYLOAD:
                at = self._take_payload(side, data, at, end, timestamp, released, packet)
            else:
                if side.state == CLOSED:
                    self._fault(side, timestamp, packet, "nothing after the close frame", "more bytes", "RFC 6455 section 5.5.1")
                    side.state = LOST
                self._stream.decline(side.direction, EVERYTHING)
                return
        current = side.current
        if side.state == IN_PAYLOAD and current is not None and current.payload is None:
            self._stream.decline(side.direction, side.remaining)

    def _is_ordinary(self, side: Side) -> bool:
        """Whether the header just read is of a message in one frame, or a ping or pong, without a fault or anything to decode."""
        header = self._header
        opcode = header.first & OPCODE_BITS
        if header.first & (FINAL_BIT | RESERVED_BITS) != FINAL_BIT or not header.is_minimal or header.payload_length < 0:
            return False
        if header.is_masked != (side.direction == TO_SERVER) or not self._is_plain:
            return False
        if TEXT <= opcode <= BINARY:
            return side.message is None
        return PING <= opcode <= PONG and header.payload_length <= CONTROL_PAYLOAD

    def _take_whole(self, side: Side, data: bytes, start: i64, end: i64, wire_bytes: i64, timestamp: i64, packet: i64) -> None:
        """Take an ordinary frame whose payload is ``data[start:end]``: most of all traffic, and nothing of it has to be kept."""
        header = self._header
        opcode = header.first & OPCODE_BITS
        text: str | None = None
        if opcode == TEXT:
            payload = unmask(data, start, end, header.key, 0) if header.is_masked else data[start:end]
            try:
                text = payload.decode()
            except UnicodeDecodeError as error:
                text = payload[: error.start].decode()
                self._fault(side, timestamp, packet, "text in UTF-8", NOT_TEXT, "RFC 6455 section 8.1")
            if self._characters == 0:
                text = None
            elif len(text) > self._characters:
                text = text[: self._characters]
        if opcode < CLOSE:
            side.is_midway = False
        index = self._number(side)
        self._rows.append(
            WebSocketMessageRecord(
                self._stream.connection_id,
                self._stream.stream_index,
                index,
                DIRECTION_NAMES[side.direction],
                OPCODE_NAMES[opcode],
                timestamp,
                timestamp,
                1,
                wire_bytes,
                end - start,
                False,
                text,
                None,
                None,
                None,
                True,
                0,
                packet,
                packet,
            )
        )

    def _take_header(self, side: Side, data: bytes, at: i64, end: i64, timestamp: i64, released: i64, packet: i64) -> i64:
        """Take a frame's header, or the part that is there; returns where to go on."""
        known: i64 = len(side.header)
        if known == 0:
            self._begin_frame(side, data[at], timestamp, packet)
        current = side.current
        assert current is not None
        current.touch(timestamp, released, packet, self._stream.scope.stall_index)
        upto = at + LONGEST_HEADER - known
        if upto > end:
            upto = end
        held = side.header + data[at:upto]
        header = self._header
        size = header.read(held, 0, len(held))
        if size == 0:
            side.header = held
            return upto
        side.header = b""
        self._check_header(side, timestamp, packet)
        current.frame_count += 1
        current.wire_bytes += size
        side.remaining = header.payload_length
        side.position = 0
        side.is_masked = header.is_masked
        side.key = header.key
        side.state = IN_PAYLOAD
        if side.remaining == 0:
            self._end_frame(side, current)
        return at + size - known

    def _begin_frame(self, side: Side, first: i64, timestamp: i64, packet: i64) -> None:
        """Judge a frame's first octet and find or open the message it belongs to (RFC 6455 sections 5.2 and 5.4)."""
        agreement = self._agreement
        check_first_octet(first, self._may_deflate, agreement.has_others)
        opcode = first & OPCODE_BITS
        reserved = first & RESERVED_BITS
        is_deflated = reserved == RSV1 and self._may_deflate
        side.first = first
        message = side.message
        if opcode == CONTINUATION and message is not None:
            side.current = message
            return
        if opcode == CONTINUATION and not side.is_midway:
            self._fault(
                side,
                timestamp,
                packet,
                "a message's first frame before its others",
                "a continuation frame",
                "RFC 6455 section 5.4",
            )
        elif opcode < CLOSE and message is not None:
            self._fault(
                side, timestamp, packet, "the rest of the message before another", f"opcode {opcode:#x}", "RFC 6455 section 5.4"
            )
            self._cut(side, True)
        opened = OpenMessage(self._number(side), opcode, timestamp, packet)
        opened.is_opaque = opcode == CONTINUATION or (reserved != 0 and not is_deflated)
        opened.is_compressed = is_deflated and not opened.is_opaque
        side.current = opened
        if opcode < CLOSE:
            side.message = opened
            side.is_midway = False
        if opened.is_compressed:
            side.inflater.begin()
        if not opened.is_opaque and (opcode != BINARY or opened.is_compressed or not self._is_plain):
            reader = TextReader(self._characters) if opcode == TEXT else None
            keep: i64 = limits.TEXT_BYTES if opcode == CLOSE or (self._stores and opcode != TEXT) else 0
            opened.payload = Payload(reader, self._hashes, keep)

    def _check_header(self, side: Side, timestamp: i64, packet: i64) -> None:
        """Judge the rest of a header (RFC 6455 sections 5.1, 5.2 and 5.5)."""
        header = self._header
        check_length(header)
        if header.is_masked != (side.direction == TO_SERVER):
            required = "masked frames towards the server" if side.direction == TO_SERVER else "unmasked frames towards the client"
            self._fault(side, timestamp, packet, required, "masked" if header.is_masked else "unmasked", "RFC 6455 section 5.1")
        if not header.is_minimal:
            self._fault(
                side,
                timestamp,
                packet,
                "the shortest encoding of a payload length",
                f"a longer one of {header.payload_length}",
                "RFC 6455 section 5.2",
            )

    def _take_payload(self, side: Side, data: bytes, at: i64, end: i64, timestamp: i64, released: i64, packet: i64) -> i64:
        """Take payload of the current frame; returns where to go on."""
        current = side.current
        assert current is not None
        stop = end
        if side.remaining < end - at:  # lengths near 2^63 must not be added to
            stop = at + side.remaining
        current.touch(timestamp, released, packet, self._stream.scope.stall_index)
        position = side.position
        side.count_payload(current, stop - at)
        if current.payload is not None and not current.is_holed:
            piece = unmask(data, at, stop, side.key, position) if side.is_masked else data[at:stop]
            if current.is_compressed:
                self._inflate(side, current, piece, side.remaining == 0 and side.first & FINAL_BIT != 0)
            else:
                self._write(side.direction, current, piece)
        if side.remaining == 0:
            self._end_frame(side, current)
        return stop

    def _inflate(self, side: Side, message: OpenMessage, data: bytes, is_last: bool) -> None:
        """Decompress payload; where that fails the message is not known (RFC 7692 section 7.2.2)."""
        inflater = side.inflater
        failed = inflater.fault
        if failed is not None:
            return
        is_certain = inflater.is_certain
        inflater.write(data, is_last)
        while output := inflater.read():
            self._write(side.direction, message, output)
        if inflater.fault is None:
            return
        if inflater.is_limit:
            self._rows += self._stream.anomaly(
                "limit",
                side.direction,
                message.ended_at,
                message.last_packet,
                "a message that inflates within limits",
                inflater.fault,
            )
        elif is_certain:
            self._fault(
                side, message.ended_at, message.last_packet, "a message that inflates", inflater.fault, "RFC 7692 section 7.2.2"
            )

    def _write(self, direction: i64, message: OpenMessage, data: bytes) -> None:
        """Take decoded payload."""
        payload = message.payload
        assert payload is not None
        payload.write(data)
        text = payload.text
        if text is not None and not text.is_valid and message.not_text_at < 0:
            message.not_text_at = message.ended_at
            message.not_text_packet = message.last_packet
        if self._tapped and message.opcode < CLOSE:
            message.tapped.append(data)
            message.tapped_bytes += len(data)
            if message.tapped_bytes >= limits.TAPPED_MESSAGE_BYTES:
                self._pass_on(message, direction)

    def _end_frame(self, side: Side, current: OpenMessage) -> None:
        """Go on to the next frame; hand out the message when this was its last."""
        side.state = IN_HEADER
        side.current = None
        if not side.first & FINAL_BIT:
            return
        if current is side.message:
            side.message = None
        if current.is_compressed:
            if side.position == 0 and not current.is_holed:
                self._inflate(side, current, b"", True)
            side.inflater.end()
        self._check_text(side, current)
        self._emit(side, current, not current.is_holed, True)
        if current.opcode == CLOSE:
            side.state = CLOSED
            side.has_closed = True
            if self._to_server.has_closed and self._to_client.has_closed:
                self._stream.end_reason = "complete"

    # --- messages ---

    def _number(self, side: Side) -> i64:
        """The index of a message that begins."""
        index = self._messages
        self._messages += 1
        if side.direction == TO_SERVER:
            self._stream.messages_to_server += 1
        else:
            self._stream.messages_to_client += 1
        return index

    def _check_text(self, side: Side, message: OpenMessage) -> None:
        """Report a text message that is not UTF-8 (RFC 6455 section 8.1)."""
        payload = message.payload
        if payload is None or payload.text is None or not side.is_decoded(message):
            return
        payload.text.finish()
        if payload.text.is_valid:
            return
        if message.not_text_at < 0:
            message.not_text_at = message.ended_at
            message.not_text_packet = message.last_packet
        self._fault(side, message.not_text_at, message.not_text_packet, "text in UTF-8", NOT_TEXT, "RFC 6455 section 8.1")

    def _emit(self, side: Side, message: OpenMessage, is_whole: bool, is_measured: bool) -> None:
        """Hand out a message's row. ``is_measured``: as long as it ever got, though bytes may be missing."""
        payload = message.payload
        is_decoded = is_measured and side.is_decoded(message) and (is_whole or not message.is_compressed)
        row = WebSocketMessageRecord(
            self._stream.connection_id,
            self._stream.stream_index,
            message.index,
            DIRECTION_NAMES[side.direction],
            OPCODE_NAMES[message.opcode],
            message.started_at,
            message.ended_at,
            message.frame_count if is_measured and message.has_beginning() else None,
            message.wire_bytes if is_measured and message.has_beginning() else None,
            None,
            message.is_compressed if message.has_beginning() else None,
            None,
            None,
            None,
            None,
            is_whole and message.has_beginning(),
            message.stalled_ns,
            message.first_packet,
            message.last_packet,
        )
        if is_measured and not message.is_opaque and not message.is_compressed:
            row.payload_bytes = message.payload_bytes
        if payload is not None:
            if is_decoded and message.is_compressed:
                row.payload_bytes = payload.size
            reader = payload.text
            if reader is not None and self._characters > 0 and (is_decoded or (reader.is_full and not message.is_compressed)):
                row.text = self._within_limit(reader.text())
            if is_decoded and is_whole:
                row.payload_sha256 = payload.sha256()
                if message.opcode == CLOSE:
                    status = CloseStatus(payload.kept())
                    row.close_code = status.code
                    row.close_reason = status.reason
                    if status.required:
                        self._fault(side, message.ended_at, message.last_packet, status.required, status.found, status.section)
                elif self._stores and message.opcode != TEXT:
                    row.payload = payload.kept()
        self._pass_on(message, side.direction)
        self._rows.append(row)

    def _within_limit(self, text: str) -> str:
        """Text of at most ``limits.TEXT_BYTES``; it has no more characters than that."""
        if not self._stores or text.isascii():
            return text
        return text.encode()[: limits.TEXT_BYTES].decode("utf-8", "ignore")

    def _pass_on(self, message: OpenMessage, direction: i64) -> None:
        """Give the tap what was decoded."""
        tap = self._stream.scope.tap
        if tap is not None and message.tapped:
            tap.write(self._stream.stream_index, direction, message.started_at, "message", b"".join(message.tapped))
            message.tapped = []
            message.tapped_bytes = 0

    def _cut(self, side: Side, is_measured: bool) -> None:
        """Hand out what is open, since nothing more of it will come."""
        message = side.message
        current = side.current
        side.message = None
        side.current = None
        if current is not None:
            current.wire_bytes += len(side.header)
        if message is not None:
            self._emit(side, message, False, is_measured)
            if message.is_compressed:
                side.inflater.lose()
        if current is not None and current is not message:
            self._emit(side, current, False, is_measured)
        side.header = b""

    # --- faults, and finding frames ---

    def _fault(self, side: Side, timestamp: i64, packet: i64, required: str, found: str, section: str) -> None:
        """Report what peers must fail the connection for and a capture can go on after."""
        self._rows += self._stream.anomaly("protocol_error", side.direction, timestamp, packet, required, found, section)

    def _lose(self, side: Side, timestamp: i64, packet: i64, found: str) -> None:
        """Give a direction up: it is not known where its frames begin."""
        self._cut(side, False)
        side.state = LOST
        side.waiting = []
        self._rows += self._stream.anomaly(
            "framing_lost", side.direction, timestamp, packet, "to know where a frame begins", found
        )
        self._stream.decline(side.direction, EVERYTHING)

    def _align(self, side: Side, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Hold the first bytes of a direction whose beginning is missing until they show that a frame begins there."""
        waiting = side.waiting
        last = waiting[-1] if waiting else None
        if last is not None and last.packet == packet and last.timestamp == timestamp and last.released == released:
            last.data += data
        else:
            waiting.append(HeldBytes(data, timestamp, released, packet))
        held = b"".join([piece.data for piece in waiting])
        frames = count_frames(held, side.direction == TO_SERVER)
        if frames >= limits.ALIGNING_FRAMES:
            side.state = IN_HEADER
            side.waiting = []
            for piece in waiting:
                self._take(side, piece.data, piece.timestamp, piece.released, piece.packet)
        elif frames < 0 or len(held) >= limits.PROBE_BYTES or len(waiting) >= limits.PROBE_HELD_EVENTS:
            self._lose(side, timestamp, packet, "bytes that are no frames after a beginning that is missing")


DISSECTORS: Final[list[type[Dissector]]] = [WebSocketDissector]
