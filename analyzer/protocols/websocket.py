"""WebSocket (RFC 6455), with permessage-deflate (RFC 7692), over HTTP/1.1 or an HTTP/2 stream (RFC 8441).

A peer must fail the connection at every fault; a capture says so and goes on where it still knows where frames begin.
Only reserved opcodes and bits, and control frames that cannot be, end it: after them nothing tells frames from noise.
"""

from typing import Annotated, Any, ClassVar, Final

from mypy_extensions import i64, mypyc_attr

from analyzer import limits
from analyzer.codecs.permessage_deflate import Agreement
from analyzer.codecs.utf8 import TextReader
from analyzer.codecs.websocket_framer import Framer
from analyzer.codecs.websocket_frames import CLOSE, TEXT
from analyzer.codecs.websocket_messages import CloseStatus, MessageReceiver, OpenMessage, Wanted
from analyzer.codecs.websocket_search import count_frames
from analyzer.dissector import DIRECTION_NAMES, TO_CLIENT, TO_SERVER, CloseReason, Dissector, Facts, Match
from analyzer.records import Rows
from analyzer.schema import Record, capture, conversation, record, time
from analyzer.stream import EVERYTHING, Stream


@mypyc_attr(native_class=False)
@record(
    "websocket_messages",
    "WebSocket message or control frame",
    key=("connection_id", "stream_index", "message_index"),
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
    ended_at: "Annotated[int | None, time('last byte; of those captured where it is not complete; NULL while it is open')]"
    frame_count: "Annotated[int | None, conversation('frames')]"
    wire_bytes: "Annotated[int | None, conversation('frame headers and payload as sent')]"
    payload_bytes: "Annotated[int | None, conversation('payload, decompressed; NULL where it cannot be known')]"
    is_compressed: "Annotated[bool | None, conversation('compressed with permessage-deflate')]"
    text: "Annotated[str | None, conversation('text of a text message: its first 256 characters, whole (within a limit) with --content store; up to the first fault where it is not UTF-8')]"
    payload_sha256: "Annotated[str | None, conversation('SHA-256 of the payload, decompressed, with --content hash or store')]"
    close_code: "Annotated[int | None, conversation('status code of a close frame, NULL without one')]"
    close_reason: "Annotated[str | None, conversation('reason of a close frame, NULL where it is not UTF-8')]"
    is_complete: "Annotated[bool | None, capture('all its bytes were captured; NULL while it is open')]"
    stalled_ns: "Annotated[int, capture('time in which its bytes had arrived and waited behind a hole')]"
    first_packet: "Annotated[int | None, capture('frame number of the packet with its first byte')]"
    last_packet: "Annotated[int | None, capture('frame number of the packet with its last byte')]"
    payload: "Annotated[bytes | None, conversation('payload of a binary message, ping or pong with --content store, within a limit')]" = None


OPCODE_NAMES: Final = (None, "text", "binary", None, None, None, None, None, "close", "ping", "pong")


class MessageRows(MessageReceiver):
    """Makes rows of messages and faults."""

    def __init__(self, stream: Stream, wanted: Wanted) -> None:
        self.made: Rows = []  # those of the call under way; kept for close where it raises
        self._stream = stream
        self._connection_id: Any = stream.connection_id
        self._stream_index: Any = stream.stream_index
        self._wanted = wanted
        self._messages: i64 = 0
        self._closed: i64 = 0  # directions that sent their close frame

    def taken(self) -> Rows:
        """What was made since the last call."""
        made = self.made
        self.made = []  # always a new one: the caller adds to what it gets
        return made

    def begin(self, direction: i64) -> i64:
        """Number a message that begins."""
        index = self._messages
        self._messages += 1
        if direction == TO_SERVER:
            self._stream.messages_to_server += 1
        else:
            self._stream.messages_to_client += 1
        return index

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
        """Make the row of an ordinary message."""
        moment: Any = timestamp  # one object each, where an integer would be made anew for every column
        number: Any = packet
        self.made.append(
            WebSocketMessageRecord(
                self._connection_id,
                self._stream_index,
                self.begin(direction),
                DIRECTION_NAMES[direction],
                OPCODE_NAMES[opcode],
                moment,
                moment,
                1,
                wire_bytes,
                payload_bytes,
                is_compressed,
                text,
                None,
                None,
                None,
                True,
                0,
                number,
                number,
            )
        )

    def end(self, direction: i64, message: OpenMessage, is_whole: bool, is_measured: bool) -> None:
        """Make the row of a message that is over."""
        row = self._begun_row(direction, message)
        row.ended_at = message.ended_at
        row.is_complete = is_whole and message.has_beginning()
        if is_measured and message.has_beginning():
            row.frame_count = message.frame_count
            row.wire_bytes = message.wire_bytes
        if is_measured and not message.is_opaque and not message.is_compressed:
            row.payload_bytes = message.payload_bytes
        self._tell_payload(direction, row, message, is_whole, is_measured)
        self.pass_on(direction, message)
        self.made.append(row)

    def open_rows(self, direction: i64, messages: list[OpenMessage]) -> Rows:
        """The rows, as they stand, of messages that are not over: without what more of them may change."""
        rows: Rows = []
        for message in messages:
            row = self._begun_row(direction, message)
            payload = message.payload
            if payload is not None and payload.limit is None and not message.is_compressed:
                reader = payload.text
                if reader is not None and reader.is_full:
                    row.text = self._shown(reader)
            rows.append(row)
        return rows

    def _begun_row(self, direction: i64, message: OpenMessage) -> WebSocketMessageRecord:
        """The row of a message of which only the beginning is known."""
        return WebSocketMessageRecord(
            self._stream.connection_id,
            self._stream.stream_index,
            message.index,
            DIRECTION_NAMES[direction],
            OPCODE_NAMES[message.opcode],
            message.started_at,
            None,
            None,
            None,
            None,
            message.is_compressed if message.has_beginning() else None,
            None,
            None,
            None,
            None,
            None,
            message.stalled_ns,
            message.first_packet,
            message.last_packet,
        )

    def _tell_payload(
        self, direction: i64, row: WebSocketMessageRecord, message: OpenMessage, is_whole: bool, is_measured: bool
    ) -> None:
        """Add to a row what is known of the payload."""
        payload = message.payload
        if payload is None:
            return
        payload.hand_out()
        if payload.limit is not None and not message.has_failed:
            self.object_to(direction, "limit", message.ended_at, message.last_packet, payload.limit, "more", "")
        is_decoded = is_measured and message.is_decoded() and (is_whole or not message.is_compressed)
        if is_decoded and message.is_compressed:
            row.payload_bytes = payload.size
        is_known = is_decoded and payload.is_known
        reader = payload.text
        if (
            reader is not None
            and payload.limit is None
            and (is_known or (reader.is_full and (is_decoded or not message.is_compressed)))
        ):
            row.text = self._shown(reader)
        if not is_known or not is_whole:
            return
        row.payload_sha256 = payload.sha256()
        if message.opcode == CLOSE:
            status = CloseStatus(payload.kept())
            row.close_code = status.code
            row.close_reason = status.reason
            if status.required:
                self.made += self._stream.anomaly(
                    "protocol_error",
                    direction,
                    message.ended_at,
                    message.last_packet,
                    status.required,
                    status.found,
                    status.section,
                )
        elif self._wanted.stores and message.opcode != TEXT and payload.limit is None:
            row.payload = payload.kept()

    def _shown(self, reader: TextReader) -> str | None:
        """What is wanted of a text: at most ``limits.TEXT_BYTES``; it has no more characters than that."""
        if self._wanted.characters == 0:
            return None
        text = reader.text()
        if not self._wanted.stores or text.isascii():
            return text
        return text.encode()[: limits.TEXT_BYTES].decode("utf-8", "ignore")

    def end_side(self, direction: i64) -> None:
        """Both close frames complete the stream."""
        self._closed |= 1 << direction
        if self._closed == 1 << TO_SERVER | 1 << TO_CLIENT:
            self._stream.end_reason = "complete"

    def pass_on(self, direction: i64, message: OpenMessage) -> None:
        """Give the tap what was decoded."""
        tap = self._stream.scope.tap
        if tap is None:
            return
        name = OPCODE_NAMES[message.opcode]
        if message.opcode >= CLOSE and name is not None:
            piece = b"".join(message.tapped)
            if message.opcode == CLOSE:
                status = CloseStatus(piece)
                piece = b"" if status.code is None else b"%d " % status.code + piece[2:]
            tap.turn(self._stream.stream_index, direction, message.index)
            tap.write(self._stream.stream_index, direction, message.started_at, name, piece)
        elif message.tapped:
            piece = b"".join(message.tapped)
            tap.turn(self._stream.stream_index, direction, message.index)
            tap.write(self._stream.stream_index, direction, message.started_at, "message", piece)
            outlet = tap.outlet(self._stream.stream_index, message.index, DIRECTION_NAMES[direction])
            if outlet is not None:
                outlet.write(piece)
            message.tapped = []
            message.tapped_bytes = 0

    def object_to(self, direction: i64, kind: str, timestamp: i64, packet: i64, required: str, found: str, section: str) -> None:
        """Make the row of a fault."""
        self.made += self._stream.anomaly(kind, direction, timestamp, packet, required, found, section)

    def decline(self, direction: i64, length: i64) -> None:
        """Tell the stream what is not needed."""
        self._stream.decline(direction, EVERYTHING if length < 0 else length)

    def stall_index(self) -> i64:
        """The stall whose bytes are being delivered."""
        return self._stream.scope.stall_index


class WebSocketDissector:
    """Follows both directions of a WebSocket connection from after its handshake."""

    name: ClassVar[str] = "websocket"
    ports: ClassVar[tuple[int, ...]] = ()
    transports: ClassVar[tuple[str, ...]] = ("tcp",)
    records: ClassVar[tuple[type, ...]] = (WebSocketMessageRecord,)

    def __init__(self, stream: Stream, facts: Facts) -> None:
        """``facts`` may hold ``sec-websocket-extensions``, the field of the response; empty where it had none."""
        self._stream = stream
        wanted = Wanted(stream.context.content, stream.scope.tap is not None, stream.scope.content_budget())
        agreement = Agreement(facts.get("sec-websocket-extensions"))
        self._agreement_fault: str | None = agreement.fault
        self._rows = MessageRows(stream, wanted)
        self._to_server = Framer(TO_SERVER, True, self._rows, wanted, agreement)
        self._to_client = Framer(TO_CLIENT, False, self._rows, wanted, agreement)

    @staticmethod
    def probe(first: bytes, second: bytes) -> Match:
        """Recognise a connection whose handshake was not seen: masked frames one way, unmasked ones the other."""
        frames = count_frames(first, True)
        others = count_frames(second, False)
        if frames < 0 or others < 0:
            return Match.NO
        return Match.YES if frames >= limits.ALIGNING_FRAMES and others >= limits.ALIGNING_FRAMES else Match.MAYBE

    def feed(self, direction: i64, data: bytes, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Take bytes in order."""
        fault = self._agreement_fault
        if fault is not None:
            self._agreement_fault = None
            required = "a parameter of permessage-deflate"
            section = "RFC 7692 section 7.1"
            self._rows.object_to(direction, "protocol_error", timestamp, packet, required, fault, section)
        side = self._to_server if direction == TO_SERVER else self._to_client
        side.feed(data, timestamp, released, packet)
        self._stream.hold(self._to_server.memory() + self._to_client.memory())
        return self._rows.taken()

    def skipped(self, direction: i64, length: i64, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Count bytes of a payload that nobody wanted."""
        side = self._to_server if direction == TO_SERVER else self._to_client
        side.skip(length, timestamp, released, packet)
        return self._rows.taken()

    def gap(self, direction: i64, length: int | None, at_most: int | None, timestamp: i64, packet: i64) -> Rows:
        """Go on where the hole lies inside one payload; else it is no longer known where frames begin."""
        side = self._to_server if direction == TO_SERVER else self._to_client
        side.gap(-1 if length is None else length, timestamp, packet)
        self._stream.hold(self._to_server.memory() + self._to_client.memory())
        return self._rows.taken()

    def close(self, direction: i64, reason: CloseReason, timestamp: i64, packet: i64) -> Rows:
        """Hand out what is left unfinished."""
        side = self._to_server if direction == TO_SERVER else self._to_client
        side.close(reason is CloseReason.FIN, timestamp, packet)
        return self._rows.taken()

    def tick(self, now: i64) -> Rows:
        """The messages of which more is to come, as they stand."""
        rows = self._rows.open_rows(TO_SERVER, self._to_server.open_messages())
        return rows + self._rows.open_rows(TO_CLIENT, self._to_client.open_messages())


DISSECTORS: Final[list[type[Dissector]]] = [WebSocketDissector]
