"""What the frames of an HTTP/2 connection, and the holes between them, mean for the connection and its streams (RFC 9113).

The two directions arrive here separately, and one may be behind the other: a response can come before its request. What
one side says is therefore never called wrong because of what the other has not said yet.
"""

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.hpack import UNLIMITED, HpackDecoder
from analyzer.codecs.http2_exchange import Exchange
from analyzer.codecs.http2_frames import (
    ACK,
    GOAWAY,
    LARGEST_WINDOW,
    PING,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Setting,
    number32,
    parse_settings,
)
from analyzer.codecs.http2_receiver import FrameReceiver
from analyzer.codecs.http2_side import Side
from analyzer.codecs.http2_sides import Sides
from analyzer.dissector import TO_CLIENT, TO_SERVER
from analyzer.errors import ProtocolError
from analyzer.http.http2_flow_control import FlowControl
from analyzer.http.http2_open_streams import OpenStreams
from analyzer.http.http2_rows import Http2Rows
from analyzer.http.http2_sections import Sections
from analyzer.http.http2_tunnels import Tunnels
from analyzer.http.http2_unseen import begins_header
from analyzer.records import FieldLine
from analyzer.stream import Stream


class Http2Conversation(FrameReceiver):
    """Takes what the framers of both directions tell; what comes of it are rows."""

    def __init__(self, stream: Stream) -> None:
        sides = Sides(Side(TO_SERVER, False), Side(TO_CLIENT, True))
        rows = Http2Rows(stream, sides)
        tunnels = Tunnels(stream, rows)
        self._sides = sides
        self._rows = rows
        self._tunnels = tunnels
        self._streams = OpenStreams(stream.scope, stream.carrier, sides, rows, tunnels)
        self._flow_control = FlowControl(sides, rows)
        mode = stream.context.content if stream.context.content in ("hash", "store") else ""
        self._sections = Sections(
            mode, stream.scope.content_budget() if mode or stream.scope.tap is not None else None, sides, rows, tunnels
        )
        self._tap = stream.scope.tap
        self._context = stream.context
        self._stream_index = stream.stream_index

    def memory(self) -> i64:
        """How many bytes of memory the connection takes, without contents and the streams inside."""
        return self._streams.memory() + self._tunnels.memory + self._sides.to_server.memory() + self._sides.to_client.memory()

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
            if direction == TO_SERVER:
                self._streams.forget_streams()

    def leave(self, direction: i64, data: bytes, timestamp: i64) -> None:
        """Show a follower bytes of which it is not certain what they are."""
        tap = self._tap
        if tap is not None and data:
            tap.write(self._stream_index, direction, timestamp, "unread", data)

    def lose(self, direction: i64, length: i64) -> None:
        """Framing is lost: whatever was in the hole, and who it belonged to, stays unknown."""
        side = self._side(direction)
        self._sides.damage(side)
        side.exchange = None
        missing = None if length < 0 else length
        self._note_loss(side, length)
        # one walk over the streams in 16 KiB at least, which the search takes: less than one step for a byte
        for exchange in list(self._streams.exchanges.values()):
            if direction == TO_SERVER and self._streams.may_be_asked(exchange.number):
                continue
            exchange.is_holed = True
            half = exchange.half(direction)
            if half.is_ended:
                continue
            half.is_certain = False
            exchange.fields_complete = False
            if exchange.has_tunnel:
                self._tunnels.miss(side, exchange, None, missing)
            if direction == TO_SERVER:
                exchange.is_held_whole = False
                exchange.is_request_lost = True
                self._streams.settle(exchange)
            else:
                exchange.undecided = None

    def _note_loss(self, side: Side, length: i64) -> None:
        """Say why framing is lost; the bytes are those of the hole, which has a row of its own."""
        framer = side.framer
        required, section = "HTTP/2 frames without a hole between them", "4.1"
        found = "a hole of unknown length" if length < 0 else f"a hole of {length} bytes beyond the frame it began in"
        if framer.false_start is not None:
            required, section, found = "the connection preface", "3.4", framer.false_start
            framer.false_start = None
        self._rows.note(
            side.direction, framer.timestamp, framer.packet, "framing_lost", required, found, "RFC 9113 section " + section
        )

    def lose_blocks(self, direction: i64) -> None:
        """A field block was missed."""
        self._side(direction).decoder.lose()
        if direction == TO_SERVER:
            self._streams.unseen.miss(0, 0, False)

    def doubt_blocks(self, direction: i64) -> None:
        """Field blocks may have been missed; towards the server, what follows may show that none was."""
        decoder = self._side(direction).decoder
        if direction == TO_SERVER:
            streams = self._streams
            streams.answers.is_believed = False
            streams.unseen.doubt(decoder, streams.asked, streams.exchanges)
        decoder.lose()

    def give_up(self, direction: i64) -> None:
        """Nothing more will be known of a direction."""
        if direction == TO_SERVER:
            self._streams.give_requests_up()

    def hear_answers(self) -> None:
        """Let the server's answers show where frames towards it begin again after a hole."""
        framer = self._sides.to_server.framer
        if framer.is_open_to_answers():
            framer.hear(self, self._streams.answers, self._streams.asked)

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
                before = side.initial_window
                self._sides.acknowledge(side)
                if side.initial_window < before:
                    self._flow_control.shrink(side, before, self._streams.exchanges)
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
            exchange = self._streams.find(side, stream_id, "WINDOW_UPDATE")
            if exchange is not None:
                self._flow_control.open_stream(side, exchange, increment)

    # --- content ---

    def note_wait(self, direction: i64) -> None:
        """Bytes of the DATA frame under way waited behind a hole in TCP."""
        side = self._side(direction)
        exchange = side.exchange
        if exchange is not None:
            self._streams.wait(side, exchange)

    def begin_data(self, direction: i64, stream_id: i64, length: i64, content_length: i64, flags: i64) -> bool:
        """A DATA frame begins; its content is wanted by a tunnel, a hash, a store or a follower."""
        side = self._side(direction)
        exchange = self._streams.find(side, stream_id, "DATA")
        if exchange is not None and exchange.half(direction).is_ended:
            self._object_to_late(side, exchange, "DATA")
            exchange = None
        side.exchange = exchange
        if direction == TO_SERVER and self._streams.unseen.is_watching:
            self._believe(self._streams.unseen.show(stream_id, self._streams.asked))
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
        half = exchange.half(direction)
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
        half = exchange.half(direction)
        half.missing_bytes += length
        if exchange.has_tunnel and length > 0:
            self._tunnels.miss(side, exchange, length, None)
        elif direction == TO_SERVER:
            exchange.is_held_whole = False

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
        lines = self._decode(side, stream_id, is_stream_end, block)
        if kind == PUSH_PROMISE:
            exchange = self._streams.promise(side, promised_id)
        else:
            exchange = self._streams.find_or_open(side, stream_id)
        if exchange is None:
            return
        if kind != PUSH_PROMISE and exchange.half(direction).is_ended:
            self._object_to_late(side, exchange, "HEADERS")
            return
        framer = side.framer
        decoder = side.decoder
        exchange.touch(framer.started_at, framer.started_packet, framer.timestamp, framer.packet)
        self._streams.wait(side, exchange)
        if block is None or decoder.unknown_lines or decoder.is_cut:
            exchange.fields_complete = False
        if kind == PUSH_PROMISE:
            self._sections.take_promise(side, exchange, lines, block)
            self._streams.weigh(exchange)
            return
        if decoder.uppercase_name is not None and block is not None:
            self._object_to_name(side, exchange, decoder.uppercase_name)
        if direction == TO_SERVER:
            self._streams.ask(exchange, not is_stream_end or begins_header(lines))
            self._sections.take_request(side, exchange, lines, block, is_stream_end)
        else:
            self._sections.take_response(side, exchange, lines, block, is_stream_end)
        self._streams.weigh(exchange)
        if is_stream_end:
            self._streams.end_half(side, exchange, True)

    def _decode(self, side: Side, stream_id: i64, is_stream_end: bool, block: bytes | None) -> list[FieldLine]:
        """The lines of a field block, as far as they are known; None is one that could not be put together."""
        lines: list[FieldLine] = []
        if block is None:
            side.decoder.lose()
            if side.direction == TO_SERVER:
                self._streams.unseen.miss(stream_id, self._streams.asked, is_stream_end)
            return lines
        side.decoder.decode(block, lines)
        self._context.section_bytes += len(block) * limits.FIELD_BLOCK_COST
        streams = self._streams
        if streams.unseen.is_watching and side.direction == TO_SERVER:
            is_header = not is_stream_end or begins_header(lines)  # a trailer section ends its stream
            further: list[FieldLine] = []
            if self._believe(streams.unseen.take(block, stream_id, streams.asked, is_header, further)):
                lines = further
        if side.decoder.is_cut:
            required = f"a field section of at most {limits.FIELD_SECTION_BYTES} bytes"
            self.object_to(side.direction, "limit", stream_id, required, "a larger one", "RFC 9113 section 10.5.1")
        return lines

    def _believe(self, proved: HpackDecoder | None) -> bool:
        """Take the compression state that is proved because the last holes towards the server held no field block."""
        if proved is not None:
            self._sides.to_server.decoder = proved
        return proved is not None

    def _object_to_late(self, side: Side, exchange: Exchange, frame_type: str) -> None:
        found = f"{frame_type} on stream {exchange.number}"
        self._rows.object_to(side, exchange, "stream_error", "nothing after END_STREAM", found, "RFC 9113 section 5.1")

    def _object_to_name(self, side: Side, exchange: Exchange, name: bytes) -> None:
        found = name[:64].decode("latin-1")
        self._rows.object_to(side, exchange, "stream_error", "field names in lower case", found, "RFC 9113 section 8.2.1")
