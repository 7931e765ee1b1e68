"""The open streams of an HTTP/2 connection (RFC 9113 section 5.1): how they open, and when they are over.

A stream is over when both sides have ended, or when it was reset and the other side can say nothing more.
"""

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.http2_answers import Answers
from analyzer.codecs.http2_exchange import Exchange
from analyzer.codecs.http2_frames import LARGEST_WINDOW
from analyzer.codecs.http2_side import Side
from analyzer.codecs.http2_sides import Sides
from analyzer.codecs.http2_streams import StreamNumbers
from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason
from analyzer.http.http2_rows import Http2Rows
from analyzer.http.http2_tunnels import Tunnels
from analyzer.http.http2_unseen import UnseenBlocks, may_be_asked_further
from analyzer.scope import Carrier, Scope


class OpenStreams:
    """Finds streams by their numbers, opens and ends them."""

    def __init__(self, scope: Scope, carrier: Carrier | None, sides: Sides, rows: Http2Rows, tunnels: Tunnels) -> None:
        self.asked: i64 = -1  # the highest number of a stream that the client was seen to open
        self.answers = Answers()
        self.unseen = UnseenBlocks()
        self._carrier = carrier
        self.exchanges: dict[int, Exchange] = {}
        self._exchange_bytes: i64 = 0  # of memory
        self.client_numbers = StreamNumbers(1)
        self.server_numbers = StreamNumbers(2)
        self.opened_by_client: i64 = 0
        self.opened_by_server: i64 = 0
        self.most_open: i64 = 0
        self._scope = scope
        self._sides = sides
        self._rows = rows
        self._tunnels = tunnels
        self._ended_number: i64 = -1  # of the stream that ended last
        self._ended_index: i64 = -1
        self._responses_first: dict[int, Exchange] = {}  # open ones whose request was not seen yet
        self._lingering: dict[int, Exchange] = {}  # open ones that one side has reset

    def weigh(self, exchange: Exchange) -> None:
        """Take into account what an open stream has added to what it keeps."""
        if self.exchanges.get(exchange.number) is exchange:
            self._exchange_bytes += exchange.weigh()

    def memory(self) -> i64:
        """How many bytes of memory the open streams take, and what is kept of others."""
        numbers = self.client_numbers.memory() + self.server_numbers.memory()
        return self._exchange_bytes + numbers + self.answers.memory() + self.unseen.memory()

    # --- the beginning ---

    def find_or_open(self, side: Side, stream_id: i64) -> Exchange | None:
        """The stream of a frame; None where it is over: such a frame comes late, or is wrong."""
        exchange = self.exchanges.get(stream_id)
        if exchange is not None:
            return exchange
        if stream_id & 1 == 0:
            if side.direction == TO_SERVER or not self.server_numbers.is_unopened(stream_id):
                return None
            self.server_numbers.open(stream_id)
            exchange = self._open(side, stream_id)
            exchange.is_request_lost = True
            return exchange
        if not self.client_numbers.is_unopened(stream_id):
            return None
        exchange = self._open(side, stream_id)
        if side.direction == TO_SERVER:
            if stream_id < self.client_numbers.highest and self._sides.is_complete:
                found = f"stream {stream_id} after stream {self.client_numbers.highest}"
                section = "RFC 9113 section 5.1.1"
                self._rows.object_to(side, exchange, "connection_error", "numbers of new streams that rise", found, section)
            self.give_requests_up(stream_id)
            self.client_numbers.open(stream_id)
        else:
            self._await_request(exchange)
        return exchange

    def find(self, side: Side, stream_id: i64, frame_type: str) -> Exchange | None:
        """The stream of a frame that opens none (RFC 9113 section 5.1), unless what opens it may be on the way here."""
        exchange = self.exchanges.get(stream_id)
        if exchange is not None:
            return exchange
        if self._is_idle(side, stream_id):
            required = "a stream that was opened, but for HEADERS, PUSH_PROMISE and PRIORITY"
            found = f"{frame_type} on stream {stream_id}"
            self._rows.object_to(side, None, "connection_error", required, found, "RFC 9113 section 5.1")
            return None
        return self.find_or_open(side, stream_id)

    def _is_idle(self, side: Side, stream_id: i64) -> bool:
        """Whether a stream that is not open is one that this side would have to open, and has not."""
        if not self._sides.is_complete:
            return False
        if side.direction == TO_SERVER:
            return stream_id & 1 == 1 and self.client_numbers.is_unopened(stream_id)
        return stream_id & 1 == 0 and self.server_numbers.is_unopened(stream_id)

    def promise(self, side: Side, stream_id: i64) -> Exchange | None:
        """Open the stream that the server promises; None where it has been open."""
        if stream_id == 0 or stream_id in self.exchanges or not self.server_numbers.is_unopened(stream_id):
            return None
        self.server_numbers.open(stream_id)
        return self._open(side, stream_id)

    def index_of(self, stream_id: i64) -> int | None:
        """The stream_index of a stream that is open, or that the present frame ended."""
        exchange = self.exchanges.get(stream_id)
        if exchange is not None:
            return exchange.index
        return self._ended_index if stream_id == self._ended_number else None

    def _open(self, side: Side, stream_id: i64) -> Exchange:
        return self.open(stream_id, side.framer.started_at, side.framer.started_packet)

    def open(self, stream_id: i64, timestamp: i64, packet: i64) -> Exchange:
        """Open a stream."""
        exchanges = self.exchanges
        if len(exchanges) >= limits.HTTP2_OPEN_STREAMS:
            self._drop_oldest()
        exchange = Exchange(stream_id, self._scope.new_stream_index(), timestamp, packet)
        exchanges[stream_id] = exchange
        self._exchange_bytes += exchange.memory
        if self._sides.to_server.framer.is_lost() and not self.may_be_asked(stream_id):
            exchange.is_holed = True
            exchange.request.is_certain = False
            exchange.fields_complete = False
        if self._sides.to_client.framer.is_lost():
            exchange.is_holed = True
            exchange.response.is_certain = False
            exchange.fields_complete = False
        open_streams = len(exchanges) - len(self._lingering)
        if open_streams > self.most_open:
            self.most_open = open_streams
        if stream_id & 1:
            self.opened_by_client += 1
        else:
            self.opened_by_server += 1
        return exchange

    def _drop_oldest(self) -> None:
        """Too many streams are open: the oldest is written as it stands."""
        for exchange in self.exchanges.values():
            self._rows.note(
                -1,
                exchange.ended_at,
                exchange.last_packet,
                "limit",
                f"at most {limits.HTTP2_OPEN_STREAMS} streams open at a time",
                "more",
                "RFC 9113 section 5.1.2",
                None,
                exchange.index,
            )
            self._end(exchange, CloseReason.LIMIT)
            return

    # --- responses that come before their requests ---

    def _await_request(self, exchange: Exchange) -> None:
        """A response has come first: its request is on the way here, or was missed."""
        number = exchange.number
        to_server = self._sides.to_server
        carrier = self._carrier
        if number > self.asked and carrier is not None and self._sides.to_client.framer.is_begun:
            self.answers.add(number, carrier.acknowledged(TO_SERVER))
        is_lost = to_server.framer.is_lost() and not self.may_be_asked(number)
        if number < self.client_numbers.highest or is_lost or to_server.is_closed:
            exchange.is_request_lost = True
        else:
            self._responses_first[exchange.number] = exchange
            if len(self._responses_first) > limits.HTTP2_RESPONSES_FIRST:
                self.give_requests_up(-1)

    def may_be_asked(self, stream_id: i64) -> bool:
        """Whether the request of a stream may be among bytes, kept after a hole, of which it is not known what they are."""
        return stream_id & 1 == 1 and stream_id > self.asked and self._sides.to_server.framer.is_open_to_answers()

    def forget_streams(self) -> None:
        """The client had opened streams before the capture began."""
        self.unseen.forget_streams()
        self.answers.is_believed = False

    def ask(self, exchange: Exchange, is_header: bool) -> None:
        """A field section of a request is seen, ``is_header`` if it certainly is its header section."""
        if exchange.number > self.asked:
            self.asked = exchange.number
            self.answers.open(exchange.number, is_header)
        self._stop_waiting(exchange)

    def _stop_waiting(self, exchange: Exchange) -> None:
        if self._responses_first:
            self._responses_first.pop(exchange.number, None)

    def give_requests_up(self, below: i64 = LARGEST_WINDOW) -> None:
        """Requests on streams below a number that was now opened will not come; -1: neither will the oldest."""
        if not self._responses_first:
            return
        for exchange in list(self._responses_first.values()):
            if below < 0 or exchange.number < below:
                exchange.is_request_lost = True
                del self._responses_first[exchange.number]
                self.settle(exchange)
                if below < 0:
                    return

    # --- waiting ---

    def wait(self, side: Side, exchange: Exchange) -> None:
        """Count how long bytes of a stream waited behind a hole in TCP."""
        framer = side.framer
        wait = framer.waited
        if wait > 0:
            scope = self._scope
            if scope.stall_index >= 0 or framer.released > framer.timestamp:
                exchange.stalled += scope.waited(exchange.index, 0, wait)

    # --- the end ---

    def end_half(self, side: Side, exchange: Exchange, is_timed: bool) -> None:
        """One side of a stream has said everything; its last byte may be missing, then it has no time."""
        half = exchange.request if side.direction == TO_SERVER else exchange.response
        half.is_ended = True
        if is_timed:
            half.ended_at = side.framer.timestamp
        if exchange.has_tunnel:
            self._tunnels.end_side(side, exchange)
        self.settle(exchange)

    def reset(self, side: Side, stream_id: i64, code: i64) -> None:
        """A stream is given up (RFC 9113 section 6.4)."""
        side.resets += 1
        exchange = self.exchanges.get(stream_id)
        if exchange is None and self._sides.is_complete:
            exchange = self.find(side, stream_id, "RST_STREAM")  # its request may be on the way here
        if exchange is None:
            return
        if exchange.reset_code >= 0:
            if exchange.reset_direction != side.direction:
                exchange.is_reset_by_both = True
                self.settle(exchange)
            return
        framer = side.framer
        exchange.touch(framer.started_at, framer.started_packet, framer.timestamp, framer.packet)
        exchange.reset_code = code
        exchange.reset_direction = side.direction
        self.wait(side, exchange)
        self.settle(exchange)

    def settle(self, exchange: Exchange) -> None:
        """Write the stream down when it is over."""
        is_request_over = exchange.request.is_ended or exchange.is_request_lost
        if exchange.reset_code >= 0:
            is_over = exchange.response.is_ended if exchange.reset_direction == TO_SERVER else is_request_over
            if not is_over and not exchange.is_reset_by_both:
                self._linger(exchange)
                return
        elif not exchange.response.is_ended or not is_request_over:
            return
        self._end(exchange, None)

    def _linger(self, exchange: Exchange) -> None:
        """A stream was reset by one side: what the other sent before it knew still belongs to it."""
        lingering = self._lingering
        lingering[exchange.number] = exchange
        if len(lingering) > limits.HTTP2_LINGERING_STREAMS:
            for oldest in lingering.values():
                self._end(oldest, None)
                return

    def _end(self, exchange: Exchange, reason: CloseReason | None) -> None:
        """A stream is over, or the limit (``reason``) is reached."""
        self._forget(exchange)
        self._write(exchange, reason)

    def _forget(self, exchange: Exchange) -> None:
        stream_id = exchange.number
        del self.exchanges[stream_id]
        self._exchange_bytes -= exchange.memory
        self._ended_number = stream_id
        self._ended_index = exchange.index
        self._stop_waiting(exchange)
        if not exchange.request.is_ended and stream_id & 1 and stream_id <= self.asked and may_be_asked_further(exchange):
            self.unseen.forget_streams()
        if self._lingering:
            self._lingering.pop(stream_id, None)
        if stream_id & 1:
            self.client_numbers.end(stream_id)
        else:
            self.server_numbers.end(stream_id)
        sides = self._sides
        if sides.to_server.exchange is exchange:
            sides.to_server.exchange = None
        if sides.to_client.exchange is exchange:
            sides.to_client.exchange = None

    def close(self, reason: CloseReason) -> None:
        """The connection is over, and with it every stream."""
        exchanges = list(self.exchanges.values())
        self.exchanges = {}
        self._exchange_bytes = 0
        self._responses_first = {}
        self._lingering = {}
        self._sides.to_server.exchange = None
        self._sides.to_client.exchange = None
        for exchange in exchanges:
            self._write(exchange, reason)

    def _write(self, exchange: Exchange, reason: CloseReason | None) -> None:
        """Make a stream's rows, and end what is in it."""
        has_begun = exchange.request.has_begun or exchange.response.has_begun
        if not has_begun and self._sides.is_complete and exchange.number < self.client_numbers.highest:
            required = "WINDOW_UPDATE and RST_STREAM on streams that were opened"
            found = f"stream {exchange.number}, which the client has passed over"
            section = "RFC 9113 section 5.1"
            at, packet, index = exchange.ended_at, exchange.last_packet, exchange.index
            self._rows.note(TO_CLIENT, at, packet, "connection_error", required, found, section, None, index)
        ended = self._rows.end_exchange(exchange, reason)
        if exchange.has_tunnel:
            self._tunnels.end(exchange, reason)
        else:
            self._tunnels.forget(exchange)
        self._rows.add_stream(exchange, reason, ended)
