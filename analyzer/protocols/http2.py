"""HTTP/2 (RFC 9113): streams told apart, requests matched with responses by stream, flow control and settings followed.

The two directions arrive here separately, and one may be behind the other: a response can come before its request. What
one side says is therefore never called wrong because of what the other has not said yet. Framing and field
compression are in ``codecs``; here is what each frame, and each hole, means for the connection and its streams.
"""

import base64
import binascii
from typing import Annotated, ClassVar, Final

from mypy_extensions import i64, mypyc_attr

from analyzer import limits
from analyzer.codecs.hpack import UNLIMITED
from analyzer.codecs.http2_exchange import Exchange
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
from analyzer.codecs.http2_sides import Sides
from analyzer.errors import ProtocolError
from analyzer.http2_flow_control import FlowControl
from analyzer.http2_open_streams import OpenStreams
from analyzer.http2_rows import Http2Rows
from analyzer.http2_sections import Sections
from analyzer.http2_tunnels import Tunnels
from analyzer.http_semantics import HttpContentRecord, HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.records import FieldLine, Rows
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
        sides = Sides(Side(TO_SERVER, False), Side(TO_CLIENT, True))
        rows = Http2Rows(stream, sides)
        tunnels = Tunnels(stream, rows)
        self._stream = stream
        self._sides = sides
        self._rows = rows
        self._tunnels = tunnels
        self._streams = OpenStreams(stream.scope, sides, rows, tunnels)
        self._flow_control = FlowControl(sides, rows)
        self._sections = Sections(stream.context.content, sides, rows, tunnels)
        self._tap = stream.scope.tap
        self._keeps_frames = stream.context.frames
        self._frame_index: i64 = 0
        self._is_over = False
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
        framer = self._sides.to_server.framer if direction == TO_SERVER else self._sides.to_client.framer
        framer.feed(self, data, timestamp, released, packet)
        if framer.payload_left > 0 and not framer.is_wanted:
            self._stream.decline(direction, framer.payload_left)
        return self._rows.taken()

    def skipped(self, direction: i64, length: i64, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Let payload that nobody wants go by."""
        framer = self._sides.to_server.framer if direction == TO_SERVER else self._sides.to_client.framer
        framer.skip(self, length, timestamp, released, packet)
        return self._rows.taken()

    def gap(self, direction: i64, length: int | None, at_most: int | None, timestamp: i64, packet: i64) -> Rows:
        """Go on where the hole lies inside one frame; else search for the next one."""
        framer = self._sides.to_server.framer if direction == TO_SERVER else self._sides.to_client.framer
        framer.gap(self, -1 if length is None else length, timestamp, packet)
        return self._rows.taken()

    def close(self, direction: i64, reason: CloseReason, timestamp: i64, packet: i64) -> Rows:
        """End a direction; after both, hand out what is left."""
        if self._is_over:
            return []
        sides = self._sides
        side = self._side(direction)
        side.is_closed = True
        if reason is not CloseReason.LIMIT:
            side.framer.close(self)
        if direction == TO_SERVER:
            self._streams.give_requests_up()
        self._tunnels.close(direction, reason, timestamp, packet)
        if sides.to_server.is_closed and sides.to_client.is_closed:
            self._is_over = True
            self._streams.close(reason)
            self._rows.made.append(self._row())
        return self._rows.taken()

    def tick(self, now: i64) -> Rows:
        """Nothing: a stream is known when it ends."""
        return []

    def _side(self, direction: i64) -> Side:
        return self._sides.to_server if direction == TO_SERVER else self._sides.to_client

    # --- the connection ---

    def begin(self, direction: i64, is_partial: bool) -> None:
        """A direction begins; where that was not seen, its compression state and the windows are not known."""
        if is_partial:
            side = self._side(direction)
            side.decoder.lose()
            self._sides.damage(side)
            numbers = self._streams.client_numbers if direction == TO_SERVER else self._streams.server_numbers
            numbers.begin_late()

    def _begin_upgraded(self, facts: Facts) -> None:
        """Stream 1 is the request that asked for HTTP/2 (RFC 7540 section 3.2), and its settings are in force."""
        started_at: i64 = int(facts.get("upgrade_request_started_at", "-1"))
        packet: i64 = int(facts.get("upgrade_request_packet", "-1"))
        self._streams.client_numbers.open(1)
        exchange = self._streams.open(1, started_at, packet)
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
        request.ended_at = int(facts.get("upgrade_request_ended_at", "-1"))
        text = facts.get("http2-settings")
        if text is None:
            self._sides.windows_certain = False
            return
        try:
            payload = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
            self._announce(self._sides.to_server, parse_settings(payload))
        except (binascii.Error, ValueError, ProtocolError):
            required = "the payload of SETTINGS in base64url"
            self._rows.note(TO_SERVER, started_at, packet, "stream_error", required, text[:64], "RFC 7540 section 3.2.1")
            self._sides.windows_certain = False
            return
        self._sides.acknowledge(self._sides.to_client)

    def lose(self, direction: i64, length: i64) -> None:
        """Framing is lost: whatever was in the hole, and who it belonged to, stays unknown."""
        side = self._side(direction)
        self._sides.damage(side)
        side.exchange = None
        missing = None if length < 0 else length
        self._rows.note(
            direction,
            side.framer.timestamp,
            side.framer.packet,
            "framing_lost",
            "HTTP/2 frames without a hole between them",
            "a hole of unknown length" if length < 0 else f"a hole of {length} bytes beyond the frame it began in",
            "RFC 9113 section 4.1",
            missing,
        )
        for exchange in list(self._streams.exchanges.values()):
            exchange.is_holed = True
            half = exchange.request if direction == TO_SERVER else exchange.response
            if half.is_ended:
                continue
            half.is_certain = False
            exchange.fields_complete = False
            if exchange.has_tunnel:
                self._tunnels.miss(side, exchange, None, missing)
            if direction == TO_SERVER:
                exchange.is_request_lost = True
                self._streams.settle(exchange)
            else:
                exchange.undecided = None

    def lose_blocks(self, direction: i64) -> None:
        """Field blocks may have been missed."""
        self._side(direction).decoder.lose()

    def object_to(self, direction: i64, kind: str, stream_id: i64, required: str, found: str, section: str) -> None:
        """Describe a fault that does not end the connection."""
        exchange = self._streams.exchanges.get(stream_id)
        self._rows.object_to(self._side(direction), exchange, kind, required, found, section)

    # --- frames of the connection ---

    def take_frame(self, direction: i64, kind: i64, flags: i64, stream_id: i64, payload: bytes) -> None:
        """Take a frame that carries neither content nor fields."""
        side = self._side(direction)
        if kind == WINDOW_UPDATE:
            self._take_window_update(side, stream_id, number32(payload, 0) & LARGEST_WINDOW)
        elif kind == RST_STREAM:
            self._streams.reset(side, stream_id, number32(payload, 0))
        elif kind == SETTINGS:
            if flags & ACK:
                self._sides.acknowledge(side)
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
            self._sides.damage(self._side(direction))
        elif kind == WINDOW_UPDATE:
            self._sides.windows_certain = False
        elif kind == RST_STREAM:
            exchange = self._streams.exchanges.get(stream_id)
            if exchange is not None:
                exchange.reset_direction = direction
                exchange.reset_code = UNLIMITED
                self._streams.settle(exchange)

    def end_frame(self, direction: i64, kind: i64, flags: i64, stream_id: i64, length: i64) -> None:
        """Write the frame down, when frames are asked for."""
        if self._keeps_frames:
            framer = self._side(direction).framer
            self._rows.made.append(
                Http2FrameRecord(
                    self._stream.connection_id,
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
        """A side announces settings."""
        if not self._sides.announce(side, settings):
            required = f"at most {limits.HTTP2_SETTINGS_WAITING} SETTINGS frames before an acknowledgment"
            self._rows.object_to(side, None, "limit", required, "more", "")
            self._sides.damage(side)

    def _take_window_update(self, side: Side, stream_id: i64, increment: i64) -> None:
        """The other side may send more (RFC 9113 section 6.9)."""
        if increment == 0:
            required, section = "a window increment from 1", "RFC 9113 section 6.9"
            if stream_id == 0:
                raise ProtocolError(required, "0", section)
            self.object_to(side.direction, "stream_error", stream_id, required, "0", section)
        elif stream_id == 0:
            self._flow_control.open_connection(side, increment)
        elif self._sides.windows_certain:
            exchange = self._streams.find_or_open(side, stream_id)
            if exchange is not None:
                self._flow_control.open_stream(side, exchange, increment)

    # --- content ---

    def note_wait(self, direction: i64) -> None:
        """Bytes of the DATA frame under way waited behind a hole in TCP."""
        side = self._side(direction)
        exchange = side.exchange
        if exchange is not None and not exchange.has_tunnel:
            self._streams.wait(side, exchange)

    def begin_data(self, direction: i64, stream_id: i64, length: i64, content_length: i64, flags: i64) -> bool:
        """A DATA frame begins; its content is wanted by a tunnel, a hash, a store or a follower."""
        side = self._side(direction)
        exchange = self._streams.find_or_open(side, stream_id)
        side.exchange = exchange
        if length > 0 and self._sides.windows_certain:
            self._flow_control.use(side, exchange, length)
        if exchange is None:
            return False
        if direction == TO_SERVER:
            half = exchange.request
        else:
            half = exchange.response
            if exchange.undecided is not None:
                self._sections.decide_response(exchange, True)
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
        if exchange.has_tunnel:
            self._tunnels.deliver(side, exchange, data, position, length)
            return
        piece = data[position : position + length]
        if exchange.is_connect and direction == TO_SERVER:
            self._tunnels.hold(side, exchange, piece)
        half = exchange.request if direction == TO_SERVER else exchange.response
        content = half.content
        if content is not None and half.missing_bytes == 0 and half.is_certain:
            content.write(piece)
        tap = self._tap
        if tap is not None:
            tap.write(exchange.index, direction, side.framer.timestamp, "content", piece)

    def miss_data(self, direction: i64, length: i64) -> None:
        """Content is missing; how much is known, as the frame says it."""
        side = self._side(direction)
        exchange = side.exchange
        if exchange is None:
            return
        half = exchange.request if direction == TO_SERVER else exchange.response
        half.missing_bytes += length
        if exchange.has_tunnel and length > 0:
            self._tunnels.miss(side, exchange, length, None)

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
            self._streams.end_half(side, exchange, is_timed)

    # --- field sections ---

    def take_block(
        self, direction: i64, kind: i64, stream_id: i64, promised_id: i64, is_stream_end: bool, block: bytes | None
    ) -> None:
        """Decode a field block, for the sake of the compression state even where its stream is over."""
        side = self._side(direction)
        lines = self._decode(side, stream_id, block)
        if kind == PUSH_PROMISE:
            exchange = self._streams.promise(side, promised_id)
        else:
            exchange = self._streams.find_or_open(side, stream_id)
        if exchange is None:
            return
        framer = side.framer
        decoder = side.decoder
        exchange.touch(framer.started_at, framer.started_packet, framer.timestamp, framer.packet)
        self._streams.wait(side, exchange)
        if block is None or decoder.unknown_lines or decoder.is_cut:
            exchange.fields_complete = False
        if kind == PUSH_PROMISE:
            self._sections.take_promise(side, exchange, lines, block)
            return
        if decoder.uppercase_name is not None and block is not None:
            self._object_to_name(side, exchange, decoder.uppercase_name)
        if direction == TO_SERVER:
            self._streams.saw_request(exchange)
            self._sections.take_request(side, exchange, lines, block, is_stream_end)
        else:
            self._sections.take_response(side, exchange, lines, block, is_stream_end)
        if is_stream_end:
            self._streams.end_half(side, exchange, True)

    def _decode(self, side: Side, stream_id: i64, block: bytes | None) -> list[FieldLine]:
        """The lines of a field block, as far as they are known; None is one that could not be put together."""
        lines: list[FieldLine] = []
        if block is None:
            side.decoder.lose()
            return lines
        side.decoder.decode(block, lines)
        if side.decoder.is_cut:
            required = f"a field section of at most {limits.FIELD_SECTION_BYTES} bytes"
            self.object_to(side.direction, "limit", stream_id, required, "a larger one", "RFC 9113 section 10.5.1")
        return lines

    def _object_to_name(self, side: Side, exchange: Exchange, name: bytes) -> None:
        found = name[:64].decode("latin-1")
        self._rows.object_to(side, exchange, "stream_error", "field names in lower case", found, "RFC 9113 section 8.2.1")

    # --- the end ---

    def _row(self) -> Http2ConnectionRecord:
        """The connection's own row."""
        client = self._sides.to_server
        server = self._sides.to_client
        windows = self._sides.windows_certain and self._sides.is_complete
        return Http2ConnectionRecord(
            connection_id=self._stream.connection_id,
            stream_index=self._stream.stream_index,
            is_complete=self._sides.is_complete and client.framer.state == FRAMES and server.framer.state == FRAMES,
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
            streams_opened_by_client=self._streams.opened_by_client,
            streams_opened_by_server=self._streams.opened_by_server,
            max_open_streams=self._streams.most_open,
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
