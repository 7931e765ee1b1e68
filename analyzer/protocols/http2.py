"""HTTP/2 (RFC 9113): streams told apart, requests matched with responses by stream, flow control and settings followed.

The two directions arrive here separately, and one may be behind the other: a response can come before its request. What
one side says is therefore never called wrong because of what the other has not said yet. Framing and field
compression are in ``codecs``; here is the conversation.
"""

import base64
import binascii
from typing import Annotated, ClassVar, Final

from mypy_extensions import i64, mypyc_attr

from analyzer import limits
from analyzer.codecs.content import Content
from analyzer.codecs.hpack import UNLIMITED
from analyzer.codecs.http2_exchange import (
    HEADER,
    TRAILER,
    Exchange,
    Half,
    HeldContent,
    content_encoding_of,
    duration,
    joined_values,
    role_of,
    status_of,
)
from analyzer.codecs.http2_framer import FRAMES
from analyzer.codecs.http2_frames import (
    ACK,
    ENABLE_CONNECT_PROTOCOL,
    ENABLE_PUSH,
    GOAWAY,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    PING,
    PREFACE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Setting,
    error_name,
    frame_name,
    number32,
    parse_settings,
)
from analyzer.codecs.http2_receiver import FrameReceiver
from analyzer.codecs.http2_search import BROKEN, CONVINCING, CONVINCING_ALONE, judge
from analyzer.codecs.http2_side import Side
from analyzer.codecs.http2_streams import StreamNumbers, Window
from analyzer.errors import ProtocolError
from analyzer.http_semantics import HttpContentRecord, HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.records import FieldLine, Rows, StalledStreamRecord, StallRecord, StreamRecord
from analyzer.schema import Record, capture, conversation, record, time
from analyzer.stream import DIRECTION_NAMES, TO_CLIENT, TO_SERVER, CloseReason, Facts, Match, Stream


@mypyc_attr(native_class=False)
@record("http2_connections", "HTTP/2 connection")
class Http2ConnectionRecord(Record):
    """An HTTP/2 connection: what each side allowed, and how it ended. Settings are those announced last, as far as seen."""

    connection_id: "Annotated[int, capture('the connection')]"
    stream_index: "Annotated[int, capture('the stream that HTTP/2 is spoken on: 0, or one inside TLS or after an upgrade')]"
    is_complete: "Annotated[bool, capture('both directions were seen from their first byte, and their framing never lost')]" = (
        False
    )
    client_header_table_size: "Annotated[int | None, capture('SETTINGS_HEADER_TABLE_SIZE of the client, NULL where it sent none')]" = None
    client_enable_push: "Annotated[int | None, capture('SETTINGS_ENABLE_PUSH of the client')]" = None
    client_max_concurrent_streams: "Annotated[int | None, capture('SETTINGS_MAX_CONCURRENT_STREAMS of the client')]" = None
    client_initial_window_bytes: "Annotated[int | None, capture('SETTINGS_INITIAL_WINDOW_SIZE of the client')]" = None
    client_max_frame_bytes: "Annotated[int | None, capture('SETTINGS_MAX_FRAME_SIZE of the client')]" = None
    client_max_header_list_bytes: "Annotated[int | None, capture('SETTINGS_MAX_HEADER_LIST_SIZE of the client')]" = None
    server_header_table_size: "Annotated[int | None, capture('SETTINGS_HEADER_TABLE_SIZE of the server')]" = None
    server_max_concurrent_streams: "Annotated[int | None, capture('SETTINGS_MAX_CONCURRENT_STREAMS of the server')]" = None
    server_initial_window_bytes: "Annotated[int | None, capture('SETTINGS_INITIAL_WINDOW_SIZE of the server')]" = None
    server_max_frame_bytes: "Annotated[int | None, capture('SETTINGS_MAX_FRAME_SIZE of the server')]" = None
    server_max_header_list_bytes: "Annotated[int | None, capture('SETTINGS_MAX_HEADER_LIST_SIZE of the server')]" = None
    server_enable_connect_protocol: "Annotated[int | None, capture('SETTINGS_ENABLE_CONNECT_PROTOCOL of the server (RFC 8441)')]" = None
    streams_opened_by_client: "Annotated[int, capture('streams seen with odd numbers')]" = 0
    streams_opened_by_server: "Annotated[int, capture('streams seen with even numbers: pushes')]" = 0
    max_open_streams: "Annotated[int, capture('most streams open at a time')]" = 0
    frames_to_server: "Annotated[int, capture('frames towards the server')]" = 0
    frames_to_client: "Annotated[int, capture('frames towards the client')]" = 0
    pings_to_server: "Annotated[int, capture('PING frames towards the server, answers not counted')]" = 0
    pings_to_client: "Annotated[int, capture('PING frames towards the client, answers not counted')]" = 0
    resets_to_server: "Annotated[int, capture('RST_STREAM frames towards the server')]" = 0
    resets_to_client: "Annotated[int, capture('RST_STREAM frames towards the client')]" = 0
    smallest_window_to_server_bytes: "Annotated[int | None, capture('smallest flow-control window of the connection for the client, NULL where it is not certain')]" = None
    smallest_window_to_client_bytes: "Annotated[int | None, capture('smallest flow-control window of the connection for the server, NULL where it is not certain')]" = None
    goaway_to_server_code: "Annotated[str | None, capture('error code of the last GOAWAY towards the server, by its name')]" = (
        None
    )
    goaway_to_server_last_stream_id: "Annotated[int | None, capture('last stream that GOAWAY says was or may be processed')]" = (
        None
    )
    goaway_to_server_debug: "Annotated[bytes | None, capture('its debug data, the first 1,024 bytes')]" = None
    goaway_to_client_code: "Annotated[str | None, capture('error code of the last GOAWAY towards the client, by its name')]" = (
        None
    )
    goaway_to_client_last_stream_id: "Annotated[int | None, capture('last stream that GOAWAY says was or may be processed')]" = (
        None
    )
    goaway_to_client_debug: "Annotated[bytes | None, capture('its debug data, the first 1,024 bytes')]" = None


@mypyc_attr(native_class=False)
@record("http2_frames", "HTTP/2 frame, with --frames")
class Http2FrameRecord(Record):
    """An HTTP/2 frame."""

    connection_id: "Annotated[int, capture('the connection')]"
    frame_index: "Annotated[int, capture('number within the connection, in order of the last byte')]"
    direction: "Annotated[str, conversation('to_server or to_client')]"
    frame_type: "Annotated[str, conversation('type by its name, or in hexadecimal')]"
    flags: "Annotated[int, conversation('flags')]"
    protocol_stream_id: "Annotated[int, conversation('number of the stream, 0 for the connection')]"
    payload_bytes: "Annotated[int, conversation('length of the payload, padding included')]"
    started_at: "Annotated[int | None, time('first byte')]"
    ended_at: "Annotated[int | None, time('last byte')]"
    first_packet: "Annotated[int | None, capture('frame number of the packet with its first byte')]"
    last_packet: "Annotated[int | None, capture('frame number of the packet with its last byte')]"


class Http2Dissector(FrameReceiver):
    """Follows an HTTP/2 connection."""

    name: ClassVar[str] = "http2"
    ports: ClassVar[tuple[int, ...]] = ()
    transports: ClassVar[tuple[str, ...]] = ("tcp",)
    records: ClassVar[tuple[type, ...]] = (
        HttpExchangeRecord,
        HttpFieldSectionRecord,
        HttpContentRecord,
        Http2ConnectionRecord,
        Http2FrameRecord,
    )

    def __init__(self, stream: Stream, facts: Facts) -> None:
        """``facts`` may tell of a request that was upgraded to HTTP/2 (``upgrade_request_*``, ``http2-settings``)."""
        self._stream = stream
        self._scope = stream.scope
        self._connection_id = stream.connection_id
        context = stream.context
        self._content_mode = context.content
        self._keeps_content = context.content in ("hash", "store")
        self._keeps_frames = context.frames
        self._tap = stream.scope.tap
        self._rows: Rows = []  # those of the call under way; kept for close where it raises
        self._to_server = Side(TO_SERVER, False)
        self._to_client = Side(TO_CLIENT, True)
        self._exchanges: dict[int, Exchange] = {}
        self._responses_first: dict[int, Exchange] = {}  # open ones whose request was not seen yet
        self._lingering: dict[int, Exchange] = {}  # open ones that one side has reset
        self._tunnels: dict[int, Stream] = {}  # what CONNECT streams carry
        self._client_numbers = StreamNumbers(1)
        self._server_numbers = StreamNumbers(2)
        self._windows_certain = True
        self._settings_certain = True
        self._is_complete = True
        self._is_over = False
        self._opened_by_client: i64 = 0
        self._opened_by_server: i64 = 0
        self._most_open: i64 = 0
        self._frame_index: i64 = 0
        if "upgrade_request_method" in facts or "http2-settings" in facts:
            self._begin_upgraded(facts)

    @staticmethod
    def probe(first: bytes, second: bytes) -> Match:
        """Recognise the client's preface; else a chain of frames from the first byte of a side on, strictly judged."""
        if first.startswith(PREFACE):
            return Match.YES
        server = judge(second, True)
        if first and PREFACE.startswith(first):
            return Match.NO if server == BROKEN else Match.MAYBE
        client = judge(first, False)
        if client == BROKEN or server == BROKEN:
            return Match.YES if client >= CONVINCING_ALONE or server >= CONVINCING_ALONE else Match.NO
        return Match.YES if client + server >= CONVINCING else Match.MAYBE

    # --- what Stream calls ---

    def feed(self, direction: i64, data: bytes, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Take bytes in order."""
        framer = self._to_server.framer if direction == TO_SERVER else self._to_client.framer
        framer.feed(self, data, timestamp, released, packet)
        if framer.payload_left > 0 and not framer.is_wanted:
            self._stream.decline(direction, framer.payload_left)
        return self._flush()

    def skipped(self, direction: i64, length: i64, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Let payload that nobody wants go by."""
        framer = self._to_server.framer if direction == TO_SERVER else self._to_client.framer
        framer.skip(self, length, timestamp, released, packet)
        return self._flush()

    def gap(self, direction: i64, length: int | None, at_most: int | None, timestamp: i64, packet: i64) -> Rows:
        """Go on where the hole lies inside one frame; else search for the next one."""
        framer = self._to_server.framer if direction == TO_SERVER else self._to_client.framer
        framer.gap(self, -1 if length is None else length, timestamp, packet)
        return self._flush()

    def close(self, direction: i64, reason: CloseReason, timestamp: i64, packet: i64) -> Rows:
        """End a direction; after both, hand out what is left."""
        if self._is_over:
            return []
        side = self._side(direction)
        side.is_closed = True
        if reason is not CloseReason.LIMIT:
            side.framer.close(self)
        if direction == TO_SERVER and self._responses_first:
            self._give_requests_up(LARGEST_WINDOW)
        for tunnel in self._tunnels.values():
            self._rows += tunnel.close(direction, reason, timestamp, packet)
        if self._to_server.is_closed and self._to_client.is_closed:
            self._is_over = True
            exchanges = list(self._exchanges.values())
            self._exchanges = {}
            self._responses_first = {}
            self._lingering = {}
            self._to_server.exchange = None
            self._to_client.exchange = None
            for exchange in exchanges:
                self._write(exchange, reason)
            self._rows.append(self._row())
        return self._flush()

    def tick(self, now: i64) -> Rows:
        """Nothing: a stream is known when it ends."""
        return []

    def _flush(self) -> Rows:
        rows = self._rows
        self._rows = []
        return rows

    def _side(self, direction: i64) -> Side:
        return self._to_server if direction == TO_SERVER else self._to_client

    # --- the connection ---

    def begin(self, direction: i64, is_partial: bool) -> None:
        """A direction begins; where that was not seen, its compression state and the windows are not known."""
        if is_partial:
            self._side(direction).decoder.lose()
            self._damage(self._side(direction))
            numbers = self._client_numbers if direction == TO_SERVER else self._server_numbers
            numbers.begin_late()

    def lose(self, direction: i64, length: i64) -> None:
        """Framing is lost: whatever was in the hole, and who it belonged to, stays unknown."""
        side = self._side(direction)
        self._damage(side)
        framer = side.framer
        side.exchange = None
        self._rows += self._stream.anomaly(
            "framing_lost",
            direction,
            framer.timestamp,
            framer.packet,
            "HTTP/2 frames without a hole between them",
            "a hole of unknown length" if length < 0 else f"a hole of {length} bytes beyond the frame it began in",
            "RFC 9113 section 4.1",
            None if length < 0 else length,
        )
        for exchange in list(self._exchanges.values()):
            exchange.is_holed = True
            half = exchange.request if direction == TO_SERVER else exchange.response
            if half.is_ended:
                continue
            half.is_certain = False
            exchange.fields_complete = False
            if exchange.has_tunnel:
                tunnel = self._tunnels[exchange.number]
                self._rows += tunnel.gap(direction, None, None if length < 0 else length, framer.timestamp, framer.packet)
            if direction == TO_SERVER:
                exchange.is_request_lost = True
                self._settle(exchange)
            else:
                exchange.undecided = None

    def lose_blocks(self, direction: i64) -> None:
        """Field blocks may have been missed."""
        self._side(direction).decoder.lose()

    def object_to(self, direction: i64, kind: str, stream_id: i64, required: str, found: str, section: str) -> None:
        """Describe a fault that does not end the connection."""
        framer = self._side(direction).framer
        exchange = self._exchanges.get(stream_id)
        self._rows += self._stream.anomaly(
            kind,
            direction,
            framer.timestamp,
            framer.packet,
            required,
            found,
            section,
            None,
            -1 if exchange is None else exchange.index,
        )

    def _damage(self, side: Side) -> None:
        """Frames of a direction may have been missed: SETTINGS, acknowledgments, DATA, WINDOW_UPDATE among them."""
        side.is_damaged = True
        self._is_complete = False
        self._windows_certain = False
        self._settings_certain = False
        for each in (self._to_server, self._to_client):
            each.decoder.allow(UNLIMITED)
            each.framer.is_largest_known = False
            each.waiting = []

    def _begin_upgraded(self, facts: Facts) -> None:
        """Stream 1 is the request that asked for HTTP/2 (RFC 7540 section 3.2), and its settings are in force."""
        started_at: i64 = int(facts.get("upgrade_request_started_at", "-1"))
        ended_at: i64 = int(facts.get("upgrade_request_ended_at", "-1"))
        packet: i64 = int(facts.get("upgrade_request_packet", "-1"))
        self._client_numbers.open(1)
        exchange = self._new_exchange(1, started_at, packet)
        exchange.method = _fact(facts, "upgrade_request_method")
        exchange.authority = _fact(facts, "upgrade_request_authority")
        exchange.target = _fact(facts, "upgrade_request_target")
        exchange.scheme = b"http"
        request = exchange.request
        request.has_begun = True
        request.has_header = True
        request.content_bytes = -1  # its content went by in HTTP/1
        request.is_ended = True
        request.started_at = started_at
        request.ended_at = ended_at
        text = facts.get("http2-settings")
        if text is None:
            self._windows_certain = False
            return
        try:
            payload = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
            self._announce(self._to_server, parse_settings(payload))
        except (binascii.Error, ValueError, ProtocolError):
            self._rows += self._stream.anomaly(
                "stream_error",
                TO_SERVER,
                started_at,
                packet,
                "the payload of SETTINGS in base64url",
                text[:64],
                "RFC 7540 section 3.2.1",
            )
            self._windows_certain = False
            return
        self._acknowledge(self._to_client)

    # --- frames of the connection ---

    def take_frame(self, direction: i64, kind: i64, flags: i64, stream_id: i64, payload: bytes) -> None:
        """Take a frame that carries neither content nor fields."""
        side = self._side(direction)
        if kind == WINDOW_UPDATE:
            self._take_window_update(side, stream_id, number32(payload, 0) & LARGEST_WINDOW)
        elif kind == RST_STREAM:
            self._take_reset(side, stream_id, number32(payload, 0))
        elif kind == SETTINGS:
            if flags & ACK:
                self._acknowledge(side)
            else:
                self._announce(side, parse_settings(payload))
        elif kind == PING:
            if flags & ACK == 0:
                side.pings += 1
        elif kind == GOAWAY:
            side.goaway_last = number32(payload, 0) & LARGEST_WINDOW
            side.goaway_code = number32(payload, 4)
            side.goaway_debug = payload[8 : 8 + limits.HTTP2_DEBUG_BYTES]

    def miss_frame(self, direction: i64, kind: i64, stream_id: i64) -> None:
        """A frame with missing bytes: what it may have changed is not known any more."""
        if kind == SETTINGS:
            self._damage(self._side(direction))
        elif kind == WINDOW_UPDATE:
            self._windows_certain = False
        elif kind == RST_STREAM:
            exchange = self._exchanges.get(stream_id)
            if exchange is not None:
                exchange.reset_direction = direction
                exchange.reset_code = UNLIMITED
                self._settle(exchange)

    def end_frame(self, direction: i64, kind: i64, flags: i64, stream_id: i64, length: i64) -> None:
        """Write the frame down, when frames are asked for."""
        if self._keeps_frames:
            framer = self._side(direction).framer
            self._rows.append(
                Http2FrameRecord(
                    self._connection_id,
                    self._frame_index,
                    DIRECTION_NAMES[direction],
                    frame_name(kind),
                    flags,
                    stream_id,
                    length,
                    framer.started_at,
                    framer.timestamp,
                    framer.started_packet,
                    framer.packet,
                )
            )
            self._frame_index += 1

    def _announce(self, side: Side, settings: list[Setting]) -> None:
        """A side announces settings; most apply to the other one when it acknowledges them (RFC 9113 section 6.5.3)."""
        other = self._to_client if side.direction == TO_SERVER else self._to_server
        for setting in settings:
            if setting.identifier <= ENABLE_CONNECT_PROTOCOL:
                side.settings[setting.identifier] = setting.value
            if setting.identifier == MAX_FRAME_SIZE and setting.value > other.framer.largest_allowed:
                other.framer.largest_allowed = setting.value
        if not self._settings_certain:
            return
        other.framer.is_largest_known = True
        other.waiting.append(settings)
        other.allow_table()
        if other.early_acknowledgments > 0:
            other.early_acknowledgments -= 1
            self._acknowledge(other)
        elif len(other.waiting) > limits.HTTP2_SETTINGS_WAITING:
            self._rows += self._stream.anomaly(
                "limit",
                side.direction,
                side.framer.timestamp,
                side.framer.packet,
                f"at most {limits.HTTP2_SETTINGS_WAITING} SETTINGS frames before an acknowledgment",
                "more",
            )
            self._damage(side)

    def _acknowledge(self, side: Side) -> None:
        """A side has taken the other's oldest settings that it had not acknowledged."""
        if not self._settings_certain:
            return
        if not side.waiting:
            side.early_acknowledgments += 1
            side.framer.is_largest_known = False
            side.decoder.allow(UNLIMITED)
            return
        for setting in side.waiting.pop(0):
            if setting.identifier == HEADER_TABLE_SIZE:
                side.table_size = setting.value
                side.allow_table()
            elif setting.identifier == INITIAL_WINDOW_SIZE:
                side.initial_window = setting.value
                side.initial_window_at = side.framer.timestamp

    # --- flow control ---

    def _take_window_update(self, side: Side, stream_id: i64, increment: i64) -> None:
        """The sender of the other direction may send more (RFC 9113 section 6.9)."""
        sender = self._to_client if side.direction == TO_SERVER else self._to_server
        framer = side.framer
        if increment == 0:
            if stream_id == 0:
                raise ProtocolError("a window increment from 1", "0", "RFC 9113 section 6.9")
            self.object_to(side.direction, "stream_error", stream_id, "a window increment from 1", "0", "RFC 9113 section 6.9")
            return
        if stream_id == 0:
            sender.window.credit(increment, 0, framer.released, framer.packet)
            return
        if not self._windows_certain:
            return
        exchange = self._find_or_open(side, stream_id)
        if exchange is None:
            return
        half = exchange.response if side.direction == TO_SERVER else exchange.request
        half.credit(increment, sender.initial_window, framer.released, framer.packet)

    def _use_windows(self, side: Side, exchange: Exchange | None, length: i64) -> None:
        """DATA uses up windows; if one was closed until before, that is a stall (RFC 9113 section 5.2)."""
        framer = side.framer
        window = side.window
        half: Half | None = None
        if exchange is not None:
            half = exchange.request if side.direction == TO_SERVER else exchange.response
            if half.opened_at < 0 <= half.closed_at < side.initial_window_at and half.spare + side.initial_window > 0:
                half.opened_at = side.initial_window_at  # SETTINGS opened it
                half.opened_packet = framer.packet
        stream_stalled = half is not None and half.opened_at >= 0
        if stream_stalled and half is not None and window.opened_at >= 0 and half.closed_at < window.closed_at:
            self._tell_stream_stall(side, exchange, half)
            stream_stalled = False
        if window.opened_at >= 0:
            self._tell_connection_stall(side, exchange, half)
        if stream_stalled:
            self._tell_stream_stall(side, exchange, half)
        window.use(length, 0, framer.timestamp, framer.packet)
        if window.spare < side.smallest_window:
            side.smallest_window = window.spare
        if window.opened_at < 0:
            side.stall_index = -1
        if half is not None:
            half.use(length, side.initial_window, framer.timestamp, framer.packet)

    def _tell_stream_stall(self, side: Side, exchange: Exchange | None, half: Half | None) -> None:
        """DATA follows after a stream's window was closed and opened again."""
        if exchange is None or half is None:
            return
        if half.opened_at > half.closed_at and self._windows_certain:
            stall = self._stall(side, "stream_window", half, exchange.index)
            self._stall_stream(exchange, half, stall, half.closed_at, half.opened_at)
        half.forget()

    def _tell_connection_stall(self, side: Side, exchange: Exchange | None, half: Half | None) -> None:
        """DATA follows after the connection's window was closed and opened again: its stream waited, and others may have."""
        window = side.window
        if window.opened_at <= window.closed_at or not self._windows_certain:
            return
        if side.stall_index < 0:
            side.stall_index = self._stall(side, "connection_window", window, -1)
        if exchange is None or half is None or half.told_stall == side.stall_index:
            return
        half.told_stall = side.stall_index
        if 0 <= half.started_at < window.opened_at:
            begin = window.closed_at if window.closed_at > half.started_at else half.started_at
            self._stall_stream(exchange, half, side.stall_index, begin, window.opened_at)

    def _stall(self, side: Side, kind: str, window: Window, stream_index: i64) -> i64:
        """Write a stall down; returns its number."""
        stall = self._scope.new_stall_index()
        self._rows.append(
            StallRecord(
                connection_id=self._connection_id,
                stall_index=stall,
                direction=DIRECTION_NAMES[side.direction],
                kind=kind,
                stream_index=None if stream_index < 0 else stream_index,
                started_at=window.closed_at,
                ended_at=window.opened_at,
                duration_ns=window.opened_at - window.closed_at,
                evidence="data_after_update",
                first_packet=window.closed_packet,
                last_packet=window.opened_packet,
            )
        )
        return stall

    def _stall_stream(self, exchange: Exchange, half: Half, stall: i64, begin: i64, end: i64) -> None:
        """A stream waited from ``begin`` to ``end``; its exchange counts what other stalls have not counted."""
        self._rows.append(
            StalledStreamRecord(
                connection_id=self._connection_id, stall_index=stall, stream_index=exchange.index, stalled_ns=end - begin
            )
        )
        if begin < half.told_until:
            begin = half.told_until
        if end > begin:
            exchange.stalled += end - begin
            half.told_until = end

    def note_wait(self, direction: i64) -> None:
        """Bytes of the DATA frame under way waited behind a hole in TCP."""
        side = self._side(direction)
        exchange = side.exchange
        if exchange is not None and not exchange.has_tunnel:
            self._wait(side, exchange)

    def _wait(self, side: Side, exchange: Exchange) -> None:
        """Count how long bytes of a stream waited behind a hole in TCP."""
        wait = side.framer.waited
        if wait > 0:
            scope = self._scope
            if scope.stall_index >= 0 or side.framer.released > side.framer.timestamp:
                exchange.stalled += scope.waited(exchange.index, 0, wait)

    # --- streams ---

    def _new_exchange(self, stream_id: i64, timestamp: i64, packet: i64) -> Exchange:
        """Open a stream."""
        exchanges = self._exchanges
        if len(exchanges) >= limits.HTTP2_OPEN_STREAMS:
            self._drop_oldest()
        exchange = Exchange(stream_id, self._scope.new_stream_index(), timestamp, packet)
        exchanges[stream_id] = exchange
        if self._to_server.framer.is_lost():
            exchange.is_holed = True
            exchange.request.is_certain = False
            exchange.fields_complete = False
        if self._to_client.framer.is_lost():
            exchange.is_holed = True
            exchange.response.is_certain = False
            exchange.fields_complete = False
        open_streams = len(exchanges) - len(self._lingering)
        if open_streams > self._most_open:
            self._most_open = open_streams
        if stream_id & 1:
            self._opened_by_client += 1
        else:
            self._opened_by_server += 1
        return exchange

    def _drop_oldest(self) -> None:
        """Too many streams are open: the oldest is written as it stands."""
        for exchange in self._exchanges.values():
            self._rows += self._stream.anomaly(
                "limit",
                -1,
                exchange.ended_at,
                exchange.last_packet,
                f"at most {limits.HTTP2_OPEN_STREAMS} streams open at a time",
                "more",
                "RFC 9113 section 5.1.2",
                None,
                exchange.index,
            )
            self._forget(exchange)
            self._write(exchange, CloseReason.LIMIT)
            return

    def _find_or_open(self, side: Side, stream_id: i64) -> Exchange | None:
        """The stream of a frame; None where it is over: such a frame comes late, or is wrong."""
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            return exchange
        framer = side.framer
        if stream_id & 1 == 0:
            if side.direction == TO_SERVER or not self._server_numbers.is_unopened(stream_id):
                return None
            self._server_numbers.open(stream_id)
            exchange = self._new_exchange(stream_id, framer.started_at, framer.started_packet)
            exchange.is_request_lost = True
            return exchange
        numbers = self._client_numbers
        if not numbers.is_unopened(stream_id):
            return None
        exchange = self._new_exchange(stream_id, framer.started_at, framer.started_packet)
        if side.direction == TO_SERVER:
            if self._responses_first:
                self._give_requests_up(stream_id)
            numbers.open(stream_id)
            return exchange
        if stream_id < numbers.highest or self._to_server.framer.is_lost() or self._to_server.is_closed:
            exchange.is_request_lost = True
        else:
            self._responses_first[stream_id] = exchange
            if len(self._responses_first) > limits.HTTP2_RESPONSES_FIRST:
                self._give_requests_up(-1)
        return exchange

    def _give_requests_up(self, below: i64) -> None:
        """Requests on streams below a number that was now opened will not come; -1: neither will the oldest."""
        for exchange in list(self._responses_first.values()):
            if below < 0 or exchange.number < below:
                exchange.is_request_lost = True
                del self._responses_first[exchange.number]
                self._settle(exchange)
                if below < 0:
                    return

    def _take_reset(self, side: Side, stream_id: i64, code: i64) -> None:
        """A stream is given up (RFC 9113 section 6.4)."""
        side.resets += 1
        exchange = self._exchanges.get(stream_id)
        if exchange is None and self._is_complete and side.direction == TO_CLIENT:
            exchange = self._find_or_open(side, stream_id)  # its request may be on the way here
        if exchange is None:
            return
        if exchange.reset_code >= 0:
            if exchange.reset_direction != side.direction:
                exchange.is_reset_by_both = True
                self._settle(exchange)
            return
        framer = side.framer
        exchange.touch(framer.started_at, framer.started_packet, framer.timestamp, framer.packet)
        exchange.reset_code = code
        exchange.reset_direction = side.direction
        self._wait(side, exchange)
        self._settle(exchange)

    def _settle(self, exchange: Exchange) -> None:
        """Write the stream down when it is over."""
        is_request_over = exchange.request.is_ended or exchange.is_request_lost
        if exchange.reset_code >= 0:
            is_over = exchange.response.is_ended if exchange.reset_direction == TO_SERVER else is_request_over
            if not is_over and not exchange.is_reset_by_both:
                self._linger(exchange)
                return
        elif not exchange.response.is_ended or not is_request_over:
            return
        self._forget(exchange)
        self._write(exchange, None)

    def _linger(self, exchange: Exchange) -> None:
        """A stream was reset by one side: what the other sent before it knew still belongs to it."""
        lingering = self._lingering
        lingering[exchange.number] = exchange
        if len(lingering) > limits.HTTP2_LINGERING_STREAMS:
            for oldest in lingering.values():
                self._forget(oldest)
                self._write(oldest, None)
                return

    def _forget(self, exchange: Exchange) -> None:
        stream_id = exchange.number
        del self._exchanges[stream_id]
        if self._responses_first:
            self._responses_first.pop(stream_id, None)
        if self._lingering:
            self._lingering.pop(stream_id, None)
        if stream_id & 1:
            self._client_numbers.end(stream_id)
        else:
            self._server_numbers.end(stream_id)
        if self._to_server.exchange is exchange:
            self._to_server.exchange = None
        if self._to_client.exchange is exchange:
            self._to_client.exchange = None

    # --- content ---

    def begin_data(self, direction: i64, stream_id: i64, length: i64, content_length: i64, flags: i64) -> bool:
        """A DATA frame begins; its content is wanted by a tunnel, a hash, a store or a follower."""
        side = self._side(direction)
        exchange = self._exchanges.get(stream_id)
        if exchange is None:
            exchange = self._find_or_open(side, stream_id)
        side.exchange = exchange
        if length > 0 and self._windows_certain:
            self._use_windows(side, exchange, length)
        if exchange is None:
            return False
        if direction == TO_SERVER:
            half = exchange.request
        else:
            half = exchange.response
            if exchange.undecided is not None:
                self._decide_response(exchange, True)
        if not half.has_header:
            half.is_certain = False
            if not half.has_begun:
                exchange.fields_complete = False
        half.has_begun = True
        if content_length < 0:
            half.is_certain = False
        else:
            half.content_bytes += content_length
            half.carried_bytes += content_length
        return half.content is not None or exchange.has_tunnel or exchange.is_connect or self._tap is not None

    def take_data(self, direction: i64, data: bytes, position: i64, length: i64) -> None:
        """Give content to whoever wants it."""
        side = self._side(direction)
        exchange = side.exchange
        if exchange is None:
            return
        framer = side.framer
        if exchange.has_tunnel:
            tunnel = self._tunnels[exchange.number]
            before = tunnel.stalled_ns
            self._rows += tunnel.deliver(direction, data, position, length, framer.timestamp, framer.released, framer.packet)
            exchange.stalled += tunnel.stalled_ns - before
            return
        piece = data[position : position + length]
        if exchange.is_connect and direction == TO_SERVER and exchange.held_bytes < limits.HTTP2_TUNNEL_HELD_BYTES:
            exchange.held.append(HeldContent(piece, framer.timestamp, framer.released, framer.packet))
            exchange.held_bytes += length
        half = exchange.request if direction == TO_SERVER else exchange.response
        content = half.content
        if content is not None and half.missing_bytes == 0 and half.is_certain:
            content.write(piece)
        tap = self._tap
        if tap is not None:
            tap.write(exchange.index, direction, framer.timestamp, "content", piece)

    def miss_data(self, direction: i64, length: i64) -> None:
        """Content is missing; how much is known, as the frame says it."""
        side = self._side(direction)
        exchange = side.exchange
        if exchange is None:
            return
        half = exchange.request if direction == TO_SERVER else exchange.response
        half.missing_bytes += length
        if exchange.has_tunnel and length > 0:
            self._rows += self._tunnels[exchange.number].gap(direction, length, None, side.framer.timestamp, side.framer.packet)

    def end_data(self, direction: i64, is_stream_end: bool, is_timed: bool) -> None:
        """A DATA frame ends, and with END_STREAM its side of the stream."""
        side = self._side(direction)
        exchange = side.exchange
        if exchange is None:
            return
        side.exchange = None
        framer = side.framer
        exchange.touch(framer.started_at, framer.started_packet, framer.timestamp, framer.packet)
        if is_stream_end:
            self._end_half(side, exchange, is_timed)

    def _end_half(self, side: Side, exchange: Exchange, is_timed: bool) -> None:
        """One side of a stream has said everything."""
        half = exchange.request if side.direction == TO_SERVER else exchange.response
        if half.is_ended:
            self.object_to(
                side.direction,
                "stream_error",
                exchange.number,
                "nothing after END_STREAM",
                f"END_STREAM again on stream {exchange.number}",
                "RFC 9113 section 5.1",
            )
            return
        half.is_ended = True
        framer = side.framer
        if is_timed:
            half.ended_at = framer.timestamp
        if exchange.has_tunnel:
            self._rows += self._tunnels[exchange.number].close(side.direction, CloseReason.FIN, framer.timestamp, framer.packet)
        self._settle(exchange)

    # --- field sections ---

    def take_block(
        self, direction: i64, kind: i64, stream_id: i64, promised_id: i64, is_stream_end: bool, block: bytes | None
    ) -> None:
        """Decode a field block, for the sake of the compression state even where its stream is over."""
        side = self._side(direction)
        decoder = side.decoder
        lines: list[FieldLine] = []
        if block is None:
            decoder.lose()
        else:
            decoder.decode(block, lines)
            if decoder.is_cut:
                self.object_to(
                    direction,
                    "limit",
                    stream_id,
                    f"a field section of at most {limits.FIELD_SECTION_BYTES} bytes",
                    "a larger one",
                    "RFC 9113 section 10.5.1",
                )
        if kind == PUSH_PROMISE:
            self._take_promise(side, promised_id, lines, block)
            return
        exchange = self._find_or_open(side, stream_id)
        if exchange is None:
            return
        framer = side.framer
        exchange.touch(framer.started_at, framer.started_packet, framer.timestamp, framer.packet)
        self._wait(side, exchange)
        if block is None or decoder.unknown_lines or decoder.is_cut:
            exchange.fields_complete = False
        if decoder.uppercase_name is not None and block is not None:
            self._object_to_name(side, exchange, decoder.uppercase_name)
        if direction == TO_SERVER:
            self._take_request_section(side, exchange, lines, block, is_stream_end)
        else:
            self._take_response_section(side, exchange, lines, block, is_stream_end)
        if is_stream_end:
            self._end_half(side, exchange, True)

    def _object_to_name(self, side: Side, exchange: Exchange, name: bytes) -> None:
        self.object_to(
            side.direction,
            "stream_error",
            exchange.number,
            "field names in lower case",
            name[:64].decode("latin-1"),
            "RFC 9113 section 8.2.1",
        )

    def _begin_half(self, side: Side, half: Half, block: bytes | None) -> None:
        """A field section of one side of a stream was seen."""
        half.has_begun = True
        if block is not None:
            half.carried_bytes += len(block)
        if half.closed_at < 0 and half.spare + side.initial_window == 0:  # closed from the beginning
            half.closed_at = side.framer.timestamp
            half.closed_packet = side.framer.packet

    def _take_promise(self, side: Side, promised_id: i64, lines: list[FieldLine], block: bytes | None) -> None:
        """The server promises a response to a request that it makes up (RFC 9113 section 8.4)."""
        if promised_id == 0 or promised_id in self._exchanges or not self._server_numbers.is_unopened(promised_id):
            return
        framer = side.framer
        self._server_numbers.open(promised_id)
        exchange = self._new_exchange(promised_id, framer.started_at, framer.started_packet)
        exchange.touch(framer.started_at, framer.started_packet, framer.timestamp, framer.packet)
        self._wait(side, exchange)
        request = exchange.request
        request.has_begun = True
        request.has_header = True
        request.is_ended = True
        request.started_at = framer.started_at
        request.ended_at = framer.timestamp
        if block is None or side.decoder.unknown_lines or side.decoder.is_cut:
            exchange.fields_complete = False
        if block is not None:
            exchange.read_request(lines)
            self._write_section(side, exchange, "request", "push", lines)

    def _take_request_section(
        self, side: Side, exchange: Exchange, lines: list[FieldLine], block: bytes | None, is_stream_end: bool
    ) -> None:
        """A field section towards the server."""
        half = exchange.request
        if self._responses_first:
            self._responses_first.pop(exchange.number, None)
        role = HEADER if not half.has_begun else TRAILER
        if side.is_damaged and not half.has_header:
            role = role_of(lines, is_stream_end)
        self._begin_half(side, half, block)
        if role == HEADER:
            half.has_header = True
            half.is_certain = True
            half.started_at = side.framer.started_at
            if block is None:
                return
            exchange.read_request(lines)
            if exchange.method is None and side.decoder.unknown_lines == 0:
                self._object_to_section(side, exchange, "a request with :method")
            if exchange.method == b"CONNECT":
                self._take_connect(side, exchange)
            elif self._keeps_content and not is_stream_end and side.decoder.unknown_lines == 0:
                half.content = Content(self._content_mode, content_encoding_of(lines))
            self._write_section(side, exchange, "request", "header", lines)
            return
        if not half.has_header:
            half.is_certain = False
            exchange.fields_complete = False
        if role == TRAILER and block is not None:
            self._take_trailer(side, exchange, "request", lines, is_stream_end)

    def _take_response_section(
        self, side: Side, exchange: Exchange, lines: list[FieldLine], block: bytes | None, is_stream_end: bool
    ) -> None:
        """A field section towards the client: informational, header or trailer."""
        half = exchange.response
        if exchange.undecided is not None:
            first = lines[0].name if lines else None
            if first == b":status" or not is_stream_end:
                self._decide_response(exchange, False)
            elif first is not None:
                self._decide_response(exchange, True)
            else:  # a header and its trailer, or an informational response and a final one
                exchange.undecided = None
                half.has_header = True
                self._begin_half(side, half, block)
                return
        started_at = side.framer.started_at
        status = status_of(lines)
        if half.has_header or (side.is_damaged and status < 0 and role_of(lines, is_stream_end) == TRAILER):
            self._begin_half(side, half, block)
            if not half.has_header:
                half.is_certain = False
                exchange.fields_complete = False
            if block is not None:
                self._take_trailer(side, exchange, "response", lines, is_stream_end)
            return
        self._begin_half(side, half, block)
        if 100 <= status < 200 and not is_stream_end:
            self._write_section(side, exchange, "response", "informational", lines)
        elif status >= 0:
            half.started_at = started_at
            self._take_response_header(side, exchange, lines, status, is_stream_end)
        elif block is not None and side.decoder.unknown_lines == 0:
            half.has_header = True
            half.started_at = started_at
            self._object_to_section(side, exchange, "a response with :status")
            self._write_section(side, exchange, "response", "header", lines)
        elif is_stream_end:  # a final response, or the trailer of one that was missed
            if not side.is_damaged:
                half.has_header = True
                half.started_at = started_at
        else:
            exchange.undecided = lines if block is not None else []
            exchange.undecided_at = started_at

    def _decide_response(self, exchange: Exchange, is_final: bool) -> None:
        """What followed tells whether a response section with an unknown status was the final one."""
        lines = exchange.undecided
        exchange.undecided = None
        half = exchange.response
        if is_final:
            half.has_header = True
            half.started_at = exchange.undecided_at
        if lines:
            if is_final:
                exchange.read_response(lines)
            self._write_section(self._to_client, exchange, "response", "header" if is_final else "informational", lines)

    def _take_response_header(
        self, side: Side, exchange: Exchange, lines: list[FieldLine], status: i64, is_stream_end: bool
    ) -> None:
        """The header of the final response."""
        half = exchange.response
        half.has_header = True
        half.is_certain = True
        exchange.status = status
        is_known = exchange.read_response(lines)
        self._write_section(side, exchange, "response", "header", lines)
        if not exchange.request.has_header:
            exchange.early_response = lines if is_known else None
        if exchange.is_connect:
            self._answer_connect(side, exchange, lines, is_known)
        if self._keeps_content and not is_stream_end and is_known and not exchange.has_tunnel:
            half.content = Content(self._content_mode, exchange.content_encoding)

    def _take_trailer(self, side: Side, exchange: Exchange, name: str, lines: list[FieldLine], is_stream_end: bool) -> None:
        if not is_stream_end:
            self._object_to_section(side, exchange, "END_STREAM with a trailer section")
        self._write_section(side, exchange, name, "trailer", lines)

    def _object_to_section(self, side: Side, exchange: Exchange, required: str) -> None:
        self.object_to(
            side.direction, "stream_error", exchange.number, required, f"none on stream {exchange.number}", "RFC 9113 section 8.1"
        )

    def _write_section(self, side: Side, exchange: Exchange, name: str, section: str, lines: list[FieldLine]) -> None:
        self._rows.append(HttpFieldSectionRecord(self._connection_id, exchange.index, 0, name, section, lines))
        tap = self._tap
        if tap is not None:
            text = bytearray()
            for line in lines:
                text += (b"?" if line.name is None else line.name) + b": " + (b"?" if line.value is None else line.value) + b"\n"
            tap.write(exchange.index, side.direction, side.framer.timestamp, "fields", bytes(text))

    # --- tunnels ---

    def _take_connect(self, side: Side, exchange: Exchange) -> None:
        """A CONNECT request (RFC 9113 section 8.5, RFC 8441): the stream becomes a tunnel if the response says so."""
        exchange.is_connect = True
        if exchange.status >= 0:  # the response was delivered first
            lines = exchange.early_response
            self._answer_connect(side, exchange, lines or [], lines is not None)

    def _answer_connect(self, side: Side, exchange: Exchange, lines: list[FieldLine], is_known: bool) -> None:
        """The response to CONNECT: with a 2xx status, what follows belongs to another protocol."""
        exchange.is_connect = False
        held = exchange.held
        exchange.held = []
        if exchange.status >= 300:
            return
        name: str | None = None
        facts: Facts = {}
        if exchange.protocol == b"websocket":
            name = "websocket"
            if is_known:
                facts["sec-websocket-extensions"] = joined_values(lines, b"sec-websocket-extensions")
                facts["sec-websocket-protocol"] = joined_values(lines, b"sec-websocket-protocol")
        framer = side.framer
        tunnel = self._stream.child(name, str(exchange.number), facts, exchange.index)
        exchange.has_tunnel = True
        self._tunnels[exchange.number] = tunnel
        rows = self._rows
        for piece in held:
            rows += tunnel.feed(TO_SERVER, piece.data, piece.timestamp, piece.released, piece.packet)
        missed = exchange.request.content_bytes - exchange.held_bytes
        if missed > 0:
            rows += tunnel.gap(TO_SERVER, missed, None, framer.timestamp, framer.packet)
        if exchange.response.content_bytes > 0:
            rows += tunnel.gap(TO_CLIENT, exchange.response.content_bytes, None, framer.timestamp, framer.packet)
        if exchange.request.is_ended:
            rows += tunnel.close(TO_SERVER, CloseReason.FIN, framer.timestamp, framer.packet)

    # --- rows ---

    def _write(self, exchange: Exchange, reason: CloseReason | None) -> None:
        """Write a stream's rows: it is over, or the connection is (``reason``)."""
        ended = self._end_reason(exchange, reason)
        request = exchange.request
        response = exchange.response
        if exchange.number & 1 and not request.has_header:
            exchange.fields_complete = False
        request_sha256 = self._finish_content(exchange, request, "request")
        response_sha256 = self._finish_content(exchange, response, "response")
        code = self._reset_name(exchange, reason, ended)
        error: str | None = None
        if exchange.status >= 400:
            error = str(exchange.status)
        elif ended == "reset" and (exchange.status >= 0 or (response.is_certain and not response.has_begun)):
            error = code
        started = request.started_at
        if request.has_header:
            self._stream.messages_to_server += 1
        if response.has_header:
            self._stream.messages_to_client += 1
        if request.has_begun or response.has_begun:
            self._rows.append(
                HttpExchangeRecord(
                    self._connection_id,
                    exchange.index,
                    0,
                    "2",
                    exchange.method,
                    exchange.scheme,
                    exchange.authority,
                    exchange.target,
                    None if exchange.status < 0 else exchange.status,
                    None if started < 0 else started,
                    None if request.ended_at < 0 else request.ended_at,
                    None if response.started_at < 0 else response.started_at,
                    None if response.ended_at < 0 else response.ended_at,
                    duration(started, response.ended_at),
                    duration(started, response.started_at),
                    exchange.stalled,
                    request.missing_bytes,
                    response.missing_bytes,
                    self._content_bytes(exchange, request, TO_SERVER),
                    self._content_bytes(exchange, response, TO_CLIENT),
                    exchange.content_encoding,
                    exchange.content_type,
                    request_sha256,
                    response_sha256,
                    exchange.fields_complete,
                    ended,
                    code,
                    error,
                    None if exchange.first_packet < 0 else exchange.first_packet,
                    None if exchange.last_packet < 0 else exchange.last_packet,
                )
            )
        self._write_stream(exchange, reason, ended)

    def _write_stream(self, exchange: Exchange, reason: CloseReason | None, ended: str) -> None:
        """Write the row of the stream itself; a stream inside it writes its own."""
        if exchange.has_tunnel:
            tunnel = self._tunnels.pop(exchange.number)
            closing = CloseReason.RESET if exchange.reset_code >= 0 else CloseReason.FIN if reason is None else reason
            for direction in (TO_SERVER, TO_CLIENT):
                self._rows += tunnel.close(direction, closing, exchange.ended_at, exchange.last_packet)
            return
        request = exchange.request
        response = exchange.response
        end_reason = self._stream.end_reason
        if ended == "complete" or ended == "reset":
            end_reason = ended
        elif end_reason is None:
            end_reason = "complete" if reason is None else reason.value
        self._rows.append(
            StreamRecord(
                self._connection_id,
                exchange.index,
                self._stream.stream_index,
                self._stream.depth + 1,
                None if exchange.may_be_tunnel() else "http2",
                str(exchange.number),
                exchange.started_at,
                exchange.ended_at,
                request.carried_bytes,
                response.carried_bytes,
                1 if request.has_header and exchange.number & 1 else 0,
                1 if response.has_header else 0,
                request.missing_bytes + response.missing_bytes,
                exchange.stalled,
                end_reason,
                None if exchange.first_packet < 0 else exchange.first_packet,
                None if exchange.last_packet < 0 else exchange.last_packet,
            )
        )

    def _end_reason(self, exchange: Exchange, reason: CloseReason | None) -> str:
        """How an exchange ended, in the words of its row."""
        if exchange.response.is_ended and (exchange.request.is_ended or exchange.is_request_lost or exchange.reset_code == 0):
            return "complete" if exchange.request.has_begun else "no request"
        if exchange.reset_code >= 0 or reason is CloseReason.RESET or self._goaway_code(exchange, reason) >= 0:
            return "reset"
        if not exchange.request.has_begun:
            return "no request"
        if not exchange.response.has_begun and reason is CloseReason.FIN:
            return "no response"
        return "cut"

    def _goaway_code(self, exchange: Exchange, reason: CloseReason | None) -> i64:
        """The error code of a GOAWAY that ended a stream, -1 where none did (RFC 9113 section 6.8)."""
        if not exchange.is_witnessed():
            return -1  # it may have ended, or been reset, before
        refused = self._to_client if exchange.number & 1 else self._to_server
        if refused.goaway_code >= 0 and exchange.number > refused.goaway_last:
            return refused.goaway_code
        if reason is not CloseReason.FIN and reason is not CloseReason.RESET:
            return -1  # it may have gone on after the capture
        for side in (self._to_client, self._to_server):
            if side.goaway_code > 0:
                return side.goaway_code
        return -1

    def _reset_name(self, exchange: Exchange, reason: CloseReason | None, ended: str) -> str | None:
        """The name of the error code that ended a stream."""
        if ended != "reset":
            return None
        code = exchange.reset_code
        if code < 0:
            code = self._goaway_code(exchange, reason)
        elif not exchange.is_witnessed():
            return None  # it may have ended, or been reset, before
        return None if code < 0 or code == UNLIMITED else error_name(code)

    def _content_bytes(self, exchange: Exchange, half: Half, direction: i64) -> int | None:
        """How much content one side sent, None where that is not certain."""
        if not half.is_certain or not half.has_header or half.content_bytes < 0:
            return None
        return half.content_bytes if half.is_ended or exchange.reset_direction == direction else None

    def _finish_content(self, exchange: Exchange, half: Half, name: str) -> str | None:
        """End the content of a message; returns its hash."""
        content = half.content
        if content is None:
            return None
        half.content = None
        if exchange.may_be_tunnel():
            return None
        content.finish(half.is_ended and half.is_certain and half.missing_bytes == 0)
        if content.fault is not None:
            self._rows += self._stream.anomaly(
                "content_coding",
                TO_SERVER if name == "request" else TO_CLIENT,
                exchange.ended_at,
                exchange.last_packet,
                "content in its content coding",
                content.fault,
                "RFC 9110 section 8.4",
                None,
                exchange.index,
            )
        if content.kept is not None and half.content_bytes > 0:
            self._rows.append(
                HttpContentRecord(
                    self._connection_id, exchange.index, 0, name, content.kept, content.is_decoded, content.is_complete
                )
            )
        return content.sha256

    def _row(self) -> Http2ConnectionRecord:
        """The connection's own row."""
        client = self._to_server
        server = self._to_client
        windows = self._windows_certain and self._is_complete
        return Http2ConnectionRecord(
            connection_id=self._connection_id,
            stream_index=self._stream.stream_index,
            is_complete=self._is_complete and client.framer.state == FRAMES and server.framer.state == FRAMES,
            client_header_table_size=client.settings.get(HEADER_TABLE_SIZE),
            client_enable_push=client.settings.get(ENABLE_PUSH),
            client_max_concurrent_streams=client.settings.get(MAX_CONCURRENT_STREAMS),
            client_initial_window_bytes=client.settings.get(INITIAL_WINDOW_SIZE),
            client_max_frame_bytes=client.settings.get(MAX_FRAME_SIZE),
            client_max_header_list_bytes=client.settings.get(MAX_HEADER_LIST_SIZE),
            server_header_table_size=server.settings.get(HEADER_TABLE_SIZE),
            server_max_concurrent_streams=server.settings.get(MAX_CONCURRENT_STREAMS),
            server_initial_window_bytes=server.settings.get(INITIAL_WINDOW_SIZE),
            server_max_frame_bytes=server.settings.get(MAX_FRAME_SIZE),
            server_max_header_list_bytes=server.settings.get(MAX_HEADER_LIST_SIZE),
            server_enable_connect_protocol=server.settings.get(ENABLE_CONNECT_PROTOCOL),
            streams_opened_by_client=self._opened_by_client,
            streams_opened_by_server=self._opened_by_server,
            max_open_streams=self._most_open,
            frames_to_server=client.framer.frames,
            frames_to_client=server.framer.frames,
            pings_to_server=client.pings,
            pings_to_client=server.pings,
            resets_to_server=client.resets,
            resets_to_client=server.resets,
            smallest_window_to_server_bytes=client.smallest_window if windows else None,
            smallest_window_to_client_bytes=server.smallest_window if windows else None,
            goaway_to_server_code=None if client.goaway_code < 0 else error_name(client.goaway_code),
            goaway_to_server_last_stream_id=None if client.goaway_code < 0 else client.goaway_last,
            goaway_to_server_debug=client.goaway_debug or None,
            goaway_to_client_code=None if server.goaway_code < 0 else error_name(server.goaway_code),
            goaway_to_client_last_stream_id=None if server.goaway_code < 0 else server.goaway_last,
            goaway_to_client_debug=server.goaway_debug or None,
        )


def _fact(facts: Facts, name: str) -> bytes | None:
    value = facts.get(name)
    return None if value is None else value.encode("latin-1", "replace")


DISSECTORS: Final = [Http2Dissector]
