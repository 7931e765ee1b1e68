"""HTTP/1.0 and 1.1 (RFC 9112): messages framed, requests matched with responses in order, upgrades handed over.

**Matching.** Every request has one final response, and they come in the order of the requests. A response therefore belongs
to the oldest request that waits. As one direction may be delivered before the other (a hole that is not decided yet, a
capture with several queues), a response whose request has not come waits for it, within ``limits.HTTP1_HELD_BYTES``.

**After a hole** that takes the framing of the requests, those witnessed before it still get their responses; the
responses after them have no known request. After a hole that takes the framing of the responses, nothing is matched any
more. A hole inside content of known length is stepped over exactly. Where framing is lost, the direction is not read further.

**A start in the middle** of the connection, or a beginning that is missing: a response that began before the first
witnessed request has none. A request is matched only if no other request waits and no response is under way when it
begins; then nothing can be outstanding unless the client pipelines. One that pipelines visibly is never matched on such a
connection. Invisible is only a client that has kept a constant number of requests outstanding since before the capture.

**A response without its request** may answer HEAD or CONNECT: where its first content bytes look like the next response,
its framing is lost; where its content lasts until close, its size is not told.
"""

import re
from typing import ClassVar, Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.content import Content
from analyzer.codecs.http1_heads import INVALID_LENGTH, NO_LENGTH, Head, HeadReader, chunk_size, parse_request_line
from analyzer.errors import ProtocolError
from analyzer.http_semantics import HttpContentRecord, HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.records import Rows
from analyzer.stream import EVERYTHING, TO_CLIENT, TO_SERVER, CloseReason, Dissector, Facts, Match, Stream

# where a direction stands
_START: Final = 0  # between messages
_HEAD: Final = 1
_PEEK: Final = 2  # first content bytes that may not be content
_CONTENT: Final = 3  # of known length
_CHUNK_DATA: Final = 4
_UNTIL_CLOSE: Final = 5
_CHUNK_LINE: Final = 6
_CHUNK_END: Final = 7  # the CR LF after a chunk
_CHUNK_END_LF: Final = 8
_TRAILERS: Final = 9
_LOST: Final = 10  # framing is not known any more
_CLOSED: Final = 11

_SIDES: Final = ("request", "response")
_RESPONSE_START: Final = b"HTTP/1."
_REQUEST_LINE: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} +[^\s].* HTTP/1\.[0-9][ \t]*\r?")
_REQUEST_PREFIX: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}(?: +[^\0-\x1f\x7f]*\r?)?")
_METHOD_PREFIX: Final = re.compile(
    rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|TRACE|PROPFIND|REPORT|SEARCH) (?:/|https?://)[^\0-\x20\x7f]*"
)
_NEARLY_REQUEST: Final = re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|TRACE|CONNECT)(?:HTTP/|[^A-Za-z]|$)")
_USUAL_METHOD: Final = re.compile(  # RFC 9110 section 9, RFC 5789, RFC 4918, RFC 3253, RFC 5323
    rb"GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|TRACE|CONNECT|PROPFIND|PROPPATCH|MKCOL|COPY|MOVE|LOCK|UNLOCK|REPORT|SEARCH"
)
_OTHER_VERSION: Final = re.compile(rb" (?!HTTP/1)[A-Z]+/[0-9][.0-9]*[ \t]*\r?$")  # RTSP, SIP …
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] [1-9][0-9][0-9][ \r\n]")
_STATUS_SAMPLE: Final = b"HTTP/1.1 200 "
_LONG_TARGET: Final = 1024  # bytes of a request line without its end that are convincing
_END_REASONS: Final = {CloseReason.FIN: "no response", CloseReason.RESET: "reset"}


class _Held:
    """Bytes (data), a gap, or a close (reason) of one direction that wait for the other direction."""

    def __init__(self, data: bytes | None, timestamp: i64, released: i64, packet: i64, stall: i64) -> None:
        self.data = data
        self.timestamp = timestamp
        self.released = released
        self.packet = packet
        self.stall = stall
        self.length: int | None = None
        self.at_most: int | None = None
        self.reason: CloseReason | None = None


class _Exchange:
    """A request and its response while they last."""

    def __init__(self, index: i64, first_packet: i64) -> None:
        self.index = index
        self.first_packet = first_packet
        self.last_packet = first_packet
        self.has_request = False
        self.request: Head | None = None  # also None where its start line was not seen
        self.response: Head | None = None
        self.request_started_at: i64 = -1
        self.request_ended_at: i64 = -1
        self.response_started_at: i64 = -1
        self.response_ended_at: i64 = -1
        self.last_at: i64 = -1  # time of last_packet
        self.request_missing: i64 = 0
        self.response_missing: i64 = 0
        self.request_content: i64 = -1
        self.response_content: i64 = -1
        self.request_sha256: str | None = None
        self.response_sha256: str | None = None
        self.is_request_over = False
        self.is_response_over = False
        self.has_continued = False  # 100 (Continue) came
        self.fields_complete = True
        self.end_reason: str | None = None  # the first that is not "complete"
        self.stalled_ns: i64 = 0
        self.stall: i64 = -1  # the latest that made it wait, and how long so far
        self.stall_wait: i64 = 0

    def wait(self, stall: i64, wait: i64) -> None:
        """Note that bytes of it waited."""
        if stall != self.stall:
            self.stall = stall
            self.stall_wait = 0
        if wait > self.stall_wait:
            self.stalled_ns += wait - self.stall_wait
            self.stall_wait = wait

    def saw(self, timestamp: i64, packet: i64) -> None:
        """Note its last packet; declined bytes are told late, so the order of calls says nothing."""
        if timestamp > self.last_at or (timestamp == self.last_at and packet > self.last_packet):
            self.last_at = timestamp
            self.last_packet = packet

    def switches(self) -> bool:
        """Tell whether its request may end HTTP/1 on this connection."""
        request = self.request
        return request is not None and (request.upgrade is not None or request.method == b"CONNECT")


class _Side:
    """Where one direction stands."""

    def __init__(self, direction: i64) -> None:
        self.direction = direction
        self.state: i64 = _START
        self.exchange: _Exchange | None = None  # whose message is being read, from the end of its head
        self.head: Head | None = None  # of that message
        self.is_fresh = True  # no byte has been seen
        self.is_unaligned = False  # it began with a hole: the first bytes need not be a start line
        self.started_at: i64 = -1  # of the message
        self.first_packet: i64 = -1
        self.pieces: list[bytes] = []  # of an incomplete section, line or peek
        self.size: i64 = 0
        self.tail = b""  # the last bytes of the pieces, where an empty line may begin
        self.remaining: i64 = 0  # of the content or chunk
        self.content_bytes: i64 = 0
        self.content: Content | None = None
        self.is_expecting = False  # content not begun after Expect: 100-continue
        self.has_noted_bare_feed = False
        self.last_at: i64 = -1  # latest byte of a head, or of content until close
        self.last_packet: i64 = -1
        self.stall: i64 = -1  # what the bytes of an incomplete head waited
        self.stall_wait: i64 = 0
        self.close_reason: CloseReason | None = None
        self.is_paused = False  # what comes waits for the other direction
        self.held: list[_Held] = []
        self.held_bytes: i64 = 0


class Http1Dissector:
    """Follows one HTTP/1 connection."""

    name: ClassVar[str] = "http1"
    ports: ClassVar[tuple[int, ...]] = (80, 8080, 8000, 8008, 8081, 8888, 3000, 3128, 5000, 9200)
    transports: ClassVar[tuple[str, ...]] = ("tcp",)
    records: ClassVar[tuple[type, ...]] = (HttpExchangeRecord, HttpFieldSectionRecord, HttpContentRecord)

    def __init__(self, stream: Stream, facts: Facts) -> None:
        self._stream = stream
        self._scope = stream.scope
        self._connection_id = stream.connection_id
        self._stream_index = stream.stream_index
        mode = stream.context.content
        self._content_mode = mode if mode in ("hash", "store") else ""
        self._reader = HeadReader()
        self._requests = _Side(TO_SERVER)
        self._responses = _Side(TO_CLIENT)
        self._exchanges: i64 = 0  # begun so far
        self._waiting: list[_Exchange] = []  # for their final response, oldest first
        self._orphan: _Exchange | None = None  # a response without request whose final part is still to come
        self._switching: _Exchange | None = None  # 101 has come before its request's end
        self._responses_over: str | None = None  # why no request gets a response any more
        self._is_in_doubt = False  # requests before the capture may be outstanding
        self._is_pipelined = False  # … and the client pipelines: nothing can be matched
        self._is_response_due = False  # … and no response has come since a hole that may hold requests
        self._last_response_at: i64 = -1  # end of the latest response, kept while in doubt
        self._child: Stream | None = None
        self._is_broken = False  # a protocol error ended the reading
        self._stall: i64 = -1  # the stall of the bytes being read
        self._at: i64 = -1  # position reached in the bytes being read
        self._rows: Rows = []

    @staticmethod
    def probe(first: bytes, second: bytes) -> Match:
        """A request line towards the server, or a status line towards the client."""
        request = _judge_request(first) if first else None
        response = _judge_response(second) if second else None
        if request is Match.YES or response is Match.YES:
            return Match.YES
        if response is not None:
            return response
        return Match.MAYBE if request is None else request

    def feed(self, direction: int, data: bytes, timestamp: int, released: int, packet: int) -> Rows:
        """Take bytes in order."""
        side = self._requests if direction == TO_SERVER else self._responses
        side.is_fresh = False
        self._stall = self._scope.stall_index
        if side.is_paused:
            self._hold(side, _Held(data, timestamp, released, packet, self._stall))
        else:
            try:
                self._read(side, data, timestamp, released, packet)
            except ProtocolError:
                self._is_broken = True
                raise
            self._decline(side)
        return self._settled()

    def skipped(self, direction: int, length: int, timestamp: int, released: int, packet: int) -> Rows:
        """Count content that was declined."""
        side = self._requests if direction == TO_SERVER else self._responses
        exchange = side.exchange
        if exchange is not None and side.state < _LOST:
            wait = released - timestamp
            if wait > 0:
                exchange.wait(self._scope.stall_index, wait)
            self._advance(side, exchange, length, timestamp, packet)
        return self._settled()

    def gap(self, direction: int, length: int | None, at_most: int | None, timestamp: int, packet: int) -> Rows:
        """Step over a hole in content of known length; elsewhere the framing is lost."""
        side = self._requests if direction == TO_SERVER else self._responses
        if side.is_paused:
            held = _Held(None, timestamp, timestamp, packet, -1)
            held.length = length
            held.at_most = at_most
            self._hold(side, held)
        else:
            self._miss(side, length, timestamp, packet)
            self._decline(side)
        return self._settled()

    def close(self, direction: int, reason: CloseReason, timestamp: int, packet: int) -> Rows:
        """End a direction, and with it what it leaves incomplete."""
        side = self._requests if direction == TO_SERVER else self._responses
        if side.is_paused:
            held = _Held(None, timestamp, timestamp, packet, -1)
            held.reason = reason
            side.held.append(held)
        else:
            self._end_side(side, reason, timestamp, packet)
        return self._settled()

    def tick(self, now: int) -> Rows:
        """Exchanges are handed out when they have ended."""
        return []

    # --- waiting for the other direction ---

    def _settled(self) -> Rows:
        """Let the directions wait for each other as they must; return the rows made."""
        if self._requests.held or self._responses.held:
            self._resume()
        rows = self._rows
        self._rows = []  # always a new one: the caller adds to what it gets
        return rows

    def _resume(self) -> None:
        """Read what was held and need not wait any more."""
        while self._requests.held or self._responses.held:
            responses = self._responses
            if responses.is_paused and self._switching is None and not self._must_wait():
                responses.is_paused = False
            if responses.held and not responses.is_paused:
                self._replay(responses)
            elif self._requests.held and not self._requests.is_paused:
                self._replay(self._requests)
            else:
                break

    def _must_wait(self) -> bool:
        """Tell whether a response that begins now must wait for its request."""
        return not (self._waiting or self._is_in_doubt or self._orphan is not None or self._requests.state >= _LOST)

    def _hold(self, side: _Side, held: _Held) -> None:
        side.held.append(held)
        if held.data is not None:
            side.held_bytes += len(held.data)
            if side.held_bytes > limits.HTTP1_HELD_BYTES:
                self._stop_holding(side, held.timestamp, held.packet)

    def _stop_holding(self, side: _Side, timestamp: i64, packet: i64) -> None:
        """The other direction says nothing for too long: go on without it."""
        side.held_bytes = 0
        self._note(
            side, timestamp, packet, "limit", f"at most {limits.HTTP1_HELD_BYTES} bytes before their request or answer", "more"
        )
        if side.direction == TO_SERVER or self._switching is not None:
            self._switching = None
            self._lose(side, timestamp, packet, "")
            side.is_paused = False
        else:
            self._is_in_doubt = True

    def _replay(self, side: _Side) -> None:
        """Read what was held."""
        events = side.held
        side.held = []
        side.held_bytes = 0
        for event in events:
            if side.is_paused:
                self._hold(side, event)
            elif self._child is not None:
                self._pass_on(self._child, side.direction, event)
            elif event.data is not None:
                if self._is_broken:
                    continue
                self._stall = event.stall
                self._read(side, event.data, event.timestamp, event.released, event.packet)
            elif event.reason is not None:
                self._end_side(side, event.reason, event.timestamp, event.packet)
            else:
                self._miss(side, event.length, event.timestamp, event.packet)
        if not side.is_paused:
            self._decline(side)

    def _pass_on(self, child: Stream, direction: i64, event: _Held) -> None:
        if event.data is not None:  # its wait belonged to a stall that is over
            self._rows += child.feed(direction, event.data, event.timestamp, event.timestamp, event.packet)
        elif event.reason is not None:
            self._rows += child.close(direction, event.reason, event.timestamp, event.packet)
        else:
            self._rows += child.gap(direction, event.length, event.at_most, event.timestamp, event.packet)

    def _decline(self, side: _Side) -> None:
        """Say which of the next bytes nobody needs."""
        state = side.state
        if state == _LOST:
            self._stream.decline(side.direction, EVERYTHING)
        elif side.content is None and not side.is_expecting:
            if _CONTENT <= state <= _CHUNK_DATA:
                self._stream.decline(side.direction, side.remaining)
            elif state == _UNTIL_CLOSE:
                self._stream.decline(side.direction, EVERYTHING)

    # --- reading bytes ---

    def _read(self, side: _Side, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        position: i64 = 0
        end: i64 = len(data)
        wait = released - timestamp
        while position < end:
            state = side.state
            if state == _START:
                byte = data[position]
                if byte == 13 or byte == 10:  # empty lines between messages: RFC 9112 section 2.2
                    position += 1
                    continue
                if side.direction == TO_CLIENT and self._must_wait():
                    side.is_paused = True
                    self._hold(side, _Held(data[position:], timestamp, released, packet, self._stall))
                    return
                side.state = state = _HEAD
                side.started_at = timestamp
                side.first_packet = packet
            exchange = side.exchange
            if side.is_expecting:
                side.is_expecting = False
                if exchange is not None and exchange.response is not None and not exchange.has_continued:
                    side.state = state = _PEEK
            self._at = position
            if wait > 0:
                if exchange is not None:
                    exchange.wait(self._stall, wait)
                elif wait > side.stall_wait:
                    side.stall = self._stall
                    side.stall_wait = wait
            if state == _HEAD:
                raw = self._section(side, data, timestamp, packet)
                if raw is not None:
                    if side.direction == TO_SERVER:
                        self._begin_request(side, raw, timestamp, packet)
                    else:
                        self._begin_response(side, raw, timestamp, packet)
                    if self._requests.held or self._responses.held:  # now, so that chunking makes no difference
                        position = self._at
                        self._resume()
                        self._at = position
            elif _CONTENT <= state <= _UNTIL_CLOSE:
                self._read_content(side, data, timestamp, packet)
            elif state >= _LOST:
                return
            elif state == _PEEK:
                self._peek(side, data, timestamp, packet)
            else:
                self._read_chunked(side, state, data, timestamp, packet)
            position = self._at
            child = self._child
            if child is not None:
                self._resume()
                if position < end:
                    self._rows += child.deliver(side.direction, data, position, end - position, timestamp, released, packet)
                return
            if side.is_paused and position < end:
                self._hold(side, _Held(data[position:], timestamp, released, packet, self._stall))
                return

    def _section(self, side: _Side, data: bytes, timestamp: i64, packet: i64) -> bytes | None:
        """Collect a section up to its empty line and return it; None while it is incomplete."""
        position = self._at
        side.last_at = timestamp
        side.last_packet = packet
        if side.size == 0 and not side.tail:
            stop = _section_end(data, position)
            if stop >= 0:
                self._at = stop
                return data[position:stop]
            piece = data[position:]
            window = piece
        else:
            piece = data[position:]
            window = side.tail + piece
            stop = _section_end(window, 0)
            if stop >= 0:
                taken = stop - len(side.tail)
                side.pieces.append(piece[:taken])
                self._at = position + taken
                return self._taken_pieces(side)
        self._at = len(data)
        side.pieces.append(piece)
        side.size += len(piece)
        side.tail = window[-2:]
        if side.size > limits.HTTP1_SECTION_BYTES:
            self._exceed(side, timestamp, packet, f"a section of at most {limits.HTTP1_SECTION_BYTES} bytes")
        return None

    def _taken_pieces(self, side: _Side) -> bytes:
        pieces = side.pieces
        side.pieces = []
        side.size = 0
        side.tail = b""
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_content(self, side: _Side, data: bytes, timestamp: i64, packet: i64) -> None:
        position = self._at
        length: i64 = len(data) - position
        exchange = side.exchange
        assert exchange is not None
        if side.state != _UNTIL_CLOSE and length > side.remaining:
            length = side.remaining
        if side.content is not None:
            side.content.write(data[position : position + length])
        self._at = position + length
        self._advance(side, exchange, length, timestamp, packet)

    def _advance(self, side: _Side, exchange: _Exchange, length: i64, timestamp: i64, packet: i64) -> None:
        """Count content bytes; end the message or chunk when they are complete."""
        side.content_bytes += length
        exchange.saw(timestamp, packet)
        if side.state == _UNTIL_CLOSE:
            side.last_at = timestamp
            side.last_packet = packet
            return
        side.remaining -= length
        if side.remaining == 0:
            if side.state == _CHUNK_DATA:
                side.state = _CHUNK_END
            else:
                self._end_message(side, exchange, timestamp, packet)

    def _read_chunked(self, side: _Side, state: i64, data: bytes, timestamp: i64, packet: i64) -> None:
        """Read what is between the chunks' data (RFC 9112 section 7.1)."""
        if state == _CHUNK_LINE:
            self._read_chunk_line(side, data, timestamp, packet)
        elif state == _TRAILERS and side.size == 0 and data[self._at : self._at + 2] == b"\r\n":
            self._at += 2
            self._end_chunked(side, b"", timestamp, packet)
        elif state == _TRAILERS:
            raw = self._section(side, data, timestamp, packet)
            if raw is not None:
                self._end_chunked(side, raw, timestamp, packet)
        else:
            byte = data[self._at]
            self._at += 1
            if byte == 10:
                if state == _CHUNK_END:
                    self._note_bare_feed(side, timestamp, packet)
                side.state = _CHUNK_LINE
            elif byte == 13 and state == _CHUNK_END:
                side.state = _CHUNK_END_LF
            else:
                raise ProtocolError("CR LF after a chunk's data", f"byte {byte:#04x}", "RFC 9112 section 7.1")

    def _read_chunk_line(self, side: _Side, data: bytes, timestamp: i64, packet: i64) -> None:
        position = self._at
        feed: i64 = data.find(b"\n", position)
        stop = feed if feed >= 0 else len(data)
        if side.size + stop - position > limits.HTTP1_CHUNK_LINE_BYTES:
            self._at = len(data)
            self._exceed(side, timestamp, packet, f"a chunk size and extensions of at most {limits.HTTP1_CHUNK_LINE_BYTES} bytes")
            return
        if side.size or feed < 0:
            side.pieces.append(data[position:stop])
            side.size += stop - position
            if feed < 0:
                self._at = stop
                return
            line = self._taken_pieces(side)
        else:
            line = data[position:stop]
        self._at = stop + 1
        if line.endswith(b"\r"):
            line = line[:-1]
        else:
            self._note_bare_feed(side, timestamp, packet)
        size: i64 = chunk_size(line)
        if size > 0:
            side.remaining = size
            side.state = _CHUNK_DATA
        else:
            side.state = _TRAILERS
            side.tail = b"\n"  # that of the last chunk's line: an empty line may follow at once

    def _end_chunked(self, side: _Side, raw: bytes, timestamp: i64, packet: i64) -> None:
        exchange = side.exchange
        assert exchange is not None
        if len(raw) > 2:
            trailers = self._reader.trailers(raw)
            if trailers is None:
                self._exceed(side, timestamp, packet, f"a trailer section of at most {limits.HTTP1_SECTION_LINES} lines")
                return
            self._section_row(side, exchange, "trailer", trailers, timestamp, packet)
        self._end_message(side, exchange, timestamp, packet)

    def _peek(self, side: _Side, data: bytes, timestamp: i64, packet: i64) -> None:
        """Decide whether what follows a head is its content, by bytes that are collected until they tell."""
        position = self._at
        if side.direction == TO_CLIENT:
            taken: i64 = min(len(data) - position, len(_RESPONSE_START) - side.size)
        else:
            feed: i64 = data.find(b"\n", position)
            taken = (feed + 1 if feed >= 0 else len(data)) - position
        if side.size == 0:
            side.started_at = timestamp
            side.first_packet = packet
        side.pieces.append(data[position : position + taken])
        side.size += taken
        self._at = position + taken
        seen = b"".join(side.pieces)
        if side.direction == TO_CLIENT:
            if not _RESPONSE_START.startswith(seen):
                self._take_peeked(side, timestamp, packet)
            elif len(seen) == len(_RESPONSE_START):
                self._lose(side, timestamp, packet, "content, or the response after one to HEAD")
        elif seen.endswith(b"\n"):
            if _REQUEST_LINE.fullmatch(seen[:-1]) is None:
                self._take_peeked(side, timestamp, packet)
            else:
                self._abandon_content(side, timestamp, packet)
        elif len(seen) > 4096 or _REQUEST_PREFIX.fullmatch(seen) is None:
            self._take_peeked(side, timestamp, packet)

    def _take_peeked(self, side: _Side, timestamp: i64, packet: i64) -> None:
        """They are content: read them as such."""
        seen = self._taken_pieces(side)
        head = side.head
        assert head is not None
        side.state = _CHUNK_LINE if head.is_chunked else _CONTENT if side.remaining > 0 else _UNTIL_CLOSE
        position = self._at
        self._read(side, seen, timestamp, timestamp, packet)
        self._at = position

    def _abandon_content(self, side: _Side, timestamp: i64, packet: i64) -> None:
        """The client got a final answer instead of 100 and goes on with a new request (RFC 9110 section 10.1.1)."""
        exchange = side.exchange
        assert exchange is not None
        self._note(
            side, timestamp, packet, "expectation_abandoned", "the content announced", "a request line", "RFC 9110 section 10.1.1"
        )
        line = self._taken_pieces(side)
        side.content = None
        self._end_message(side, exchange, side.last_at, side.last_packet)
        position = self._at
        self._read(side, line, side.started_at, side.started_at, side.first_packet)
        self._at = position

    # --- messages ---

    def _new_exchange(self, side: _Side, timestamp: i64, packet: i64) -> _Exchange:
        exchange = _Exchange(self._exchanges, side.first_packet)
        self._exchanges += 1
        exchange.last_packet = packet
        exchange.last_at = timestamp
        return exchange

    def _take_waits(self, side: _Side, exchange: _Exchange) -> None:
        if side.stall_wait > 0:
            exchange.wait(side.stall, side.stall_wait)
            side.stall_wait = 0

    def _begin_request(self, side: _Side, raw: bytes, timestamp: i64, packet: i64) -> None:
        try:
            head = self._reader.request(raw)
        except ProtocolError as error:
            if side.is_unaligned:
                self._lose(side, timestamp, packet, "a message already under way")
            else:  # the response to it may well be readable
                self._note(side, timestamp, packet, "protocol_error", error.required, error.found, error.section)
                self._lose(side, timestamp, packet, "")
            return
        if head is None:
            self._exceed(side, timestamp, packet, f"a head of at most {limits.HTTP1_SECTION_LINES} lines")
            return
        if side.is_unaligned and (head.method is None or _USUAL_METHOD.fullmatch(head.method) is None):
            # the end of content with a method behind it looks like one
            self._lose(side, timestamp, packet, "a message already under way")
            return
        side.is_unaligned = False
        exchange = self._new_exchange(side, timestamp, packet)
        exchange.has_request = True
        exchange.request = head
        exchange.request_started_at = side.started_at
        side.exchange = exchange
        side.head = head
        self._stream.messages_to_server += 1
        self._take_waits(side, exchange)
        self._section_row(side, exchange, "header", head, timestamp, packet)
        self._await_response(exchange, timestamp, packet)
        if side.state == _LOST:  # too many are waiting
            return
        side.content_bytes = 0
        side.last_at = timestamp
        side.last_packet = packet
        if head.method == b"CONNECT":  # it has no content: RFC 9110 section 9.3.6
            self._end_message(side, exchange, timestamp, packet)
        elif head.transfer_encoding is not None:
            if head.is_chunked:
                self._begin_content(side, head, _CHUNK_LINE)
            else:
                self._lose(side, timestamp, packet, "a request whose final transfer coding is not chunked")
        elif head.content_length == INVALID_LENGTH:
            self._lose(side, timestamp, packet, "content of a length that is not known")
        elif head.content_length > 0:
            side.remaining = head.content_length
            self._begin_content(side, head, _CONTENT)
        else:
            self._end_message(side, exchange, timestamp, packet)
        side.is_expecting = head.expects_continue and (side.state == _CONTENT or side.state == _CHUNK_LINE)

    def _await_response(self, exchange: _Exchange, timestamp: i64, packet: i64) -> None:
        """Put a request in the queue for responses, where there can be one."""
        over = self._responses_over
        if over is not None:
            exchange.is_response_over = True
            exchange.end_reason = over
            exchange.fields_complete = over == "no response" or over == "reset"
            return
        if self._is_in_doubt:
            if (
                self._waiting
                or self._orphan is not None
                or self._responses.state != _START
                or self._is_response_due
                or self._last_response_at >= exchange.request_started_at
            ):
                self._stop_matching()
            if self._is_pipelined:
                exchange.is_response_over = True
                exchange.end_reason = "cut"
                exchange.fields_complete = False
                return
        self._waiting.append(exchange)
        if len(self._waiting) > limits.HTTP1_OUTSTANDING:
            self._exceed(self._requests, timestamp, packet, f"at most {limits.HTTP1_OUTSTANDING} requests waiting for responses")

    def _stop_matching(self) -> None:
        """Requests that nobody saw may be outstanding, and the client pipelines: no response can be matched."""
        self._is_pipelined = True
        waiting = self._waiting
        self._waiting = []
        for exchange in waiting:
            self._end_response_as(exchange, "cut")

    def _take_exchange(self, side: _Side, is_final: bool, timestamp: i64, packet: i64) -> _Exchange:
        """The exchange that the response being read belongs to."""
        waiting = self._waiting
        if self._orphan is None and waiting:
            exchange = waiting[0]
            if not self._is_in_doubt or side.started_at > exchange.request_started_at:
                if is_final:
                    waiting.pop(0)
                return exchange
            self._stop_matching()
        orphan = self._orphan
        if orphan is None:
            orphan = self._new_exchange(side, timestamp, packet)
            orphan.is_request_over = True
            orphan.fields_complete = False
        self._orphan = None if is_final else orphan
        return orphan

    def _begin_response(self, side: _Side, raw: bytes, timestamp: i64, packet: i64) -> None:
        try:
            head = self._reader.response(raw)
        except ProtocolError:
            if side.is_unaligned:
                self._lose(side, timestamp, packet, "a message already under way")
                return
            raise
        if head is None:
            self._exceed(side, timestamp, packet, f"a head of at most {limits.HTTP1_SECTION_LINES} lines")
            return
        side.is_unaligned = False
        status = head.status_code
        self._stream.messages_to_client += 1
        is_final = status >= 200 or status == 101 or status < 100
        exchange = self._take_exchange(side, is_final, timestamp, packet)
        self._take_waits(side, exchange)
        if not is_final:
            if status == 100:
                exchange.has_continued = True
            self._section_row(side, exchange, "informational", head, timestamp, packet)
            side.state = _START
            return
        exchange.response = head
        exchange.response_started_at = side.started_at
        exchange.saw(timestamp, packet)
        side.exchange = exchange
        side.head = head
        self._section_row(side, exchange, "header", head, timestamp, packet)
        request = exchange.request
        method = None if request is None else request.method
        if status == 101 or (method == b"CONNECT" and 200 <= status <= 299):
            self._switch(side, exchange, timestamp, packet)
            return
        if exchange.switches():
            self._requests.is_paused = False
        self._begin_response_content(side, exchange, head, method, timestamp, packet)

    def _begin_response_content(
        self, side: _Side, exchange: _Exchange, head: Head, method: bytes | None, timestamp: i64, packet: i64
    ) -> None:
        """RFC 9112 section 6.3."""
        status = head.status_code
        side.content_bytes = 0
        if status == 204 or status == 304 or method == b"HEAD":
            self._end_message(side, exchange, timestamp, packet)
        elif head.is_chunked:
            self._begin_content(side, head, _CHUNK_LINE)
        elif head.transfer_encoding is None and head.content_length == 0:
            self._end_message(side, exchange, timestamp, packet)
        elif head.transfer_encoding is None and head.content_length == INVALID_LENGTH:
            self._lose(side, timestamp, packet, "content of a length that is not known")
        else:
            state: i64 = _UNTIL_CLOSE
            side.remaining = 0
            side.last_at = timestamp
            side.last_packet = packet
            if head.transfer_encoding is None and head.content_length != NO_LENGTH:
                side.remaining = head.content_length
                state = _CONTENT
            self._begin_content(side, head, state)
            if method is None:
                side.state = _PEEK

    def _begin_content(self, side: _Side, head: Head, state: i64) -> None:
        side.state = state
        side.has_noted_bare_feed = False
        if self._content_mode:
            codings = head.content_encoding
            if head.further_codings is not None:
                codings = head.further_codings if codings is None else codings + b", " + head.further_codings
            side.content = Content(self._content_mode, codings)

    def _end_message(self, side: _Side, exchange: _Exchange, timestamp: i64, packet: i64) -> None:
        """A message is complete; ``timestamp`` is -1 where its last byte was not captured."""
        head = side.head
        content_bytes: i64 = side.content_bytes if head is None or head.further_codings is None else -1
        side.state = _START
        side.exchange = None
        side.head = None
        if side.content is not None:
            self._end_content(side, exchange, True, timestamp, packet)
        exchange.saw(timestamp, packet)
        if side.direction == TO_SERVER:
            exchange.request_ended_at = timestamp
            exchange.request_content = content_bytes
            exchange.is_request_over = True
            if self._switching is exchange:
                self._hand_over(exchange, timestamp, packet)
            elif exchange.switches():
                self._pause_requests(exchange, timestamp, packet)
        else:
            exchange.response_ended_at = timestamp
            exchange.response_content = content_bytes
            exchange.is_response_over = True
            self._is_response_due = False
            if timestamp > self._last_response_at:
                self._last_response_at = timestamp
        if exchange.is_request_over and exchange.is_response_over:
            self._rows.append(self._record(exchange))

    def _end_content(self, side: _Side, exchange: _Exchange, is_complete: bool, timestamp: i64, packet: i64) -> None:
        """Finish the content that --content asks for."""
        content = side.content
        assert content is not None
        side.content = None
        content.finish(is_complete)
        if side.direction == TO_SERVER:
            exchange.request_sha256 = content.sha256
        else:
            exchange.response_sha256 = content.sha256
        if content.kept is not None and (content.kept or content.is_complete):
            self._rows.append(
                HttpContentRecord(
                    connection_id=self._connection_id,
                    stream_index=self._stream_index,
                    exchange_index=exchange.index,
                    side=_SIDES[side.direction],
                    content=content.kept,
                    is_decoded=content.is_decoded,
                    is_complete=content.is_complete,
                )
            )
        if content.fault is not None and is_complete:
            self._note(
                side,
                timestamp,
                packet,
                "content_coding",
                "content that its codings can be undone of",
                content.fault,
                "RFC 9110 section 8.4",
            )

    # --- upgrades and tunnels ---

    def _pause_requests(self, exchange: _Exchange, timestamp: i64, packet: i64) -> None:
        """What the client sends after a request to switch depends on the answer."""
        if not exchange.is_response_over and exchange.response is None:
            self._requests.is_paused = True
        elif exchange.response is None:
            self._lose(self._requests, timestamp, packet, "")

    def _switch(self, side: _Side, exchange: _Exchange, timestamp: i64, packet: i64) -> None:
        """The response ends HTTP/1 on this connection: as soon as the request is complete, hand over."""
        side.content_bytes = 0
        self._end_message(side, exchange, timestamp, packet)
        if exchange.is_request_over:
            self._hand_over(exchange, timestamp, packet)
        else:
            self._switching = exchange
            side.is_paused = True

    def _hand_over(self, exchange: _Exchange, timestamp: i64, packet: i64) -> None:
        """Open the stream that the connection carries from now on (RFC 9110 sections 7.8 and 9.3.6)."""
        request = exchange.request
        response = exchange.response
        assert response is not None
        name: str | None = None
        facts: Facts = {}
        if response.status_code == 101:
            upgrade = response.upgrade
            if upgrade is None and request is not None:
                upgrade = request.upgrade
            protocol = b"" if upgrade is None else upgrade.partition(b",")[0].strip(b" \t").lower()
            if protocol == b"websocket":
                name = "websocket"
                _add_fact(facts, "sec-websocket-extensions", response.websocket_extensions or b"")  # none were agreed on
                _add_fact(facts, "sec-websocket-protocol", response.websocket_protocol or b"")
            elif protocol == b"h2c":
                name = "http2"
                self._add_upgrade_facts(facts, exchange)
        child = self._stream.child(name, None, facts)
        self._child = child
        self._switching = None
        self._stream.hand_over(child)
        requests = self._requests
        if requests.state != _START:
            self._cut_message(requests, "cut", timestamp, packet)
            self._rows += child.gap(TO_SERVER, None, None, timestamp, packet)
        if requests.close_reason is not None:
            self._rows += child.close(TO_SERVER, requests.close_reason, timestamp, packet)
        self._requests.is_paused = False
        self._responses.is_paused = False

    def _add_upgrade_facts(self, facts: Facts, exchange: _Exchange) -> None:
        """What HTTP/2 must know of the request it answers on stream 1 (RFC 7540 section 3.2)."""
        request = exchange.request
        if request is None:
            return
        _add_fact(facts, "upgrade_request_method", request.method)
        _add_fact(facts, "upgrade_request_authority", request.authority)
        _add_fact(facts, "upgrade_request_target", request.target)
        _add_fact(facts, "http2-settings", request.http2_settings)
        facts["upgrade_request_started_at"] = str(exchange.request_started_at)
        if exchange.request_ended_at >= 0:
            facts["upgrade_request_ended_at"] = str(exchange.request_ended_at)
        facts["upgrade_request_packet"] = str(exchange.first_packet)

    # --- loss and ends ---

    def _miss(self, side: _Side, length: int | None, timestamp: i64, packet: i64) -> None:
        """A hole: step over it where its end is certain."""
        state = side.state
        if state >= _LOST:
            return
        if side.is_fresh or (side.is_unaligned and state == _START):
            side.is_unaligned = True
            self._is_in_doubt = True
            if length is not None:  # else it was before the capture
                self._miss_beginning(side, timestamp, packet)
            return
        exchange = side.exchange
        missing: i64 = 0 if length is None else length
        if side.direction == TO_CLIENT and timestamp > self._last_response_at:
            self._last_response_at = timestamp
        if exchange is not None and side.content is not None:
            self._end_content(side, exchange, False, timestamp, packet)
        is_counted = _CONTENT <= state <= _CHUNK_DATA
        side.is_expecting = False
        if exchange is not None:
            known = side.remaining if state == _CONTENT and (length is None or missing > side.remaining) else missing
            if side.direction == TO_SERVER:
                exchange.request_missing += known
            else:
                exchange.response_missing += known
            if state == _UNTIL_CLOSE:
                if length is None:
                    side.content_bytes = -EVERYTHING  # never known again
                else:
                    self._advance(side, exchange, missing, -1, packet)
                return
            if is_counted and length is not None and missing <= side.remaining:
                self._advance(side, exchange, missing, -1, packet)
                return
        self._lose(side, timestamp, packet, f"a hole of {length} bytes" if length is not None else "a hole of unknown length")

    def _miss_beginning(self, side: _Side, timestamp: i64, packet: i64) -> None:
        """A hole before the first message: it may hold requests, or the responses to those that wait."""
        if side.direction == TO_SERVER:
            self._is_response_due = True
            return
        if timestamp > self._last_response_at:
            self._last_response_at = timestamp
        before = [exchange for exchange in self._waiting if exchange.request_started_at <= timestamp]
        if before and before[-1].switches():  # the answer may have ended HTTP/1
            self._lose(side, timestamp, packet, "a hole where a request to switch protocols was answered")
        elif len(before) > 1:
            self._stop_matching()
        elif before:
            self._waiting.pop(0)
            self._end_response_as(before[0], "cut")

    def _lose(self, side: _Side, timestamp: i64, packet: i64, why: str) -> None:
        """The framing of a direction is not known any more; ``why`` is empty where a row has said so."""
        if side.state >= _LOST:
            return
        if why:
            self._note(
                side, timestamp, packet, "framing_lost", "to know where the next message begins", why, "RFC 9112 section 6.3"
            )
        self._cut_message(side, "cut", timestamp, packet)
        side.state = _LOST
        side.is_paused = False
        if side.direction == TO_CLIENT:
            self._end_responses("cut", timestamp, packet)
        else:
            self._decline(side)

    def _cut_message(self, side: _Side, end_reason: str, timestamp: i64, packet: i64) -> None:
        """End the message being read, which is not complete."""
        exchange = side.exchange
        state = side.state
        if exchange is None:
            if state != _HEAD or side.is_unaligned:
                self._taken_pieces(side)
                return
            exchange = self._exchange_of_cut_head(side)
        elif side.head is not None and side.head.is_chunked:
            exchange.fields_complete = False  # trailers may be missing
        if side.content is not None:
            self._end_content(side, exchange, False, timestamp, packet)
        self._taken_pieces(side)
        side.exchange = None
        side.head = None
        if exchange.end_reason is None:
            exchange.end_reason = end_reason
        if side.direction == TO_SERVER:
            exchange.is_request_over = True
            if self._switching is exchange:
                self._switching = None
                self._lose(self._responses, timestamp, packet, "")
        else:
            exchange.is_response_over = True
        if exchange.is_request_over and exchange.is_response_over:
            self._rows.append(self._record(exchange))

    def _exchange_of_cut_head(self, side: _Side) -> _Exchange:
        """The exchange of a message whose head is not complete; a whole start line of a request still counts."""
        seen = self._taken_pieces(side)
        timestamp = side.last_at
        packet = side.last_packet
        side.state = _START
        if side.direction == TO_CLIENT:
            exchange = self._take_exchange(side, True, timestamp, packet)
            exchange.response_started_at = side.started_at
            exchange.saw(timestamp, packet)
        else:
            exchange = self._new_exchange(side, timestamp, packet)
            exchange.has_request = True
            exchange.request_started_at = side.started_at
            line, feed, _ = seen.partition(b"\n")
            if feed:
                head = Head()
                try:
                    parse_request_line(line.removesuffix(b"\r"), head)
                    exchange.request = head
                except ProtocolError:  # then nothing of it is known
                    pass
            self._await_response(exchange, timestamp, packet)
        exchange.fields_complete = False
        self._take_waits(side, exchange)
        return exchange

    def _end_response_as(self, exchange: _Exchange, end_reason: str) -> None:
        """End an exchange whose response cannot come any more."""
        exchange.is_response_over = True
        if exchange.end_reason is None:
            exchange.end_reason = end_reason
        if end_reason == "cut":
            exchange.fields_complete = False
        if exchange.is_request_over:
            self._rows.append(self._record(exchange))

    def _end_responses(self, end_reason: str, timestamp: i64, packet: i64) -> None:
        """No response comes any more."""
        self._responses_over = end_reason
        waiting = self._waiting
        self._waiting = []
        for exchange in waiting:
            self._end_response_as(exchange, end_reason)
        orphan = self._orphan
        if orphan is not None:
            self._orphan = None
            self._end_response_as(orphan, "cut")
        requests = self._requests
        if requests.is_paused:
            has_data = requests.held_bytes > 0
            self._lose(requests, timestamp, packet, "bytes after a request to switch protocols" if has_data else "")

    def _end_side(self, side: _Side, reason: CloseReason, timestamp: i64, packet: i64) -> None:
        state = side.state
        if state == _CLOSED:
            return
        exchange = side.exchange
        if state == _UNTIL_CLOSE and reason is CloseReason.FIN and exchange is not None:
            request = exchange.request
            if side.content_bytes < 0 or request is None:  # a hole of unknown length, or perhaps a tunnel
                side.content_bytes = -1
            self._end_message(side, exchange, side.last_at, side.last_packet)
        elif state != _START and state < _LOST:
            is_certain = not side.is_unaligned and (exchange is None or exchange.request is not None)
            if reason is CloseReason.FIN and is_certain:
                self._note(
                    side,
                    timestamp,
                    packet,
                    "incomplete_message",
                    "the rest of the message",
                    "the end of the connection",
                    "RFC 9112 section 8",
                )
            self._cut_message(side, "reset" if reason is CloseReason.RESET else "cut", timestamp, packet)
        side.state = _CLOSED
        side.close_reason = reason
        if side.direction == TO_CLIENT and self._responses_over is None:
            self._end_responses(_END_REASONS.get(reason, "cut"), timestamp, packet)

    # --- rows ---

    def _exceed(self, side: _Side, timestamp: i64, packet: i64, required: str) -> None:
        self._note(side, timestamp, packet, "limit", required, "more")
        self._lose(side, timestamp, packet, "")

    def _note_bare_feed(self, side: _Side, timestamp: i64, packet: i64) -> None:
        if not side.has_noted_bare_feed:
            side.has_noted_bare_feed = True
            self._note(side, timestamp, packet, "bare_line_feed", "lines that end with CR LF", "LF alone", "RFC 9112 section 7.1")

    def _note(self, side: _Side, timestamp: i64, packet: i64, kind: str, required: str, found: str, section: str = "") -> None:
        self._rows += self._stream.anomaly(kind, side.direction, timestamp, packet, required, found, section)

    def _section_row(self, side: _Side, exchange: _Exchange, section: str, head: Head, timestamp: i64, packet: i64) -> None:
        if head.fields:
            self._rows.append(
                HttpFieldSectionRecord(
                    self._connection_id, self._stream_index, exchange.index, _SIDES[side.direction], section, head.fields
                )
            )
        if head.faults:
            for fault in head.faults:
                self._note(side, timestamp, packet, fault.kind, fault.required, fault.found, fault.section)

    def _record(self, exchange: _Exchange) -> HttpExchangeRecord:
        request = exchange.request
        response = exchange.response
        started = exchange.request_started_at
        answered = exchange.response_started_at
        ended = exchange.response_ended_at
        status: i64 = -1 if response is None else response.status_code
        end_reason = exchange.end_reason
        if not exchange.has_request:
            end_reason = "no request"
        elif end_reason is None:
            end_reason = "complete"
        return HttpExchangeRecord(  # by position, which is faster
            self._connection_id,
            self._stream_index,
            exchange.index,
            None if request is None else request.http_version,  # a response says what its server speaks (RFC 9110 section 6.2)
            None if request is None else request.method,
            None if request is None else request.scheme,
            None if request is None else request.authority,
            None if request is None else request.target,
            None if status < 0 else status,
            None if started < 0 else started,
            None if exchange.request_ended_at < 0 else exchange.request_ended_at,
            None if answered < 0 else answered,
            None if ended < 0 else ended,
            None if started < 0 or ended < 0 else ended - started,
            None if started < 0 or answered < 0 else answered - started,
            exchange.stalled_ns,
            exchange.request_missing,
            exchange.response_missing,
            None if exchange.request_content < 0 else exchange.request_content,
            None if exchange.response_content < 0 else exchange.response_content,
            None if response is None else response.content_encoding,
            None if response is None else response.content_type,
            exchange.request_sha256,
            exchange.response_sha256,
            exchange.fields_complete,
            end_reason,
            None,
            str(status) if status >= 400 else None,
            exchange.first_packet,
            exchange.last_packet,
        )


def _add_fact(facts: Facts, name: str, value: bytes | None) -> None:
    if value is not None:
        facts[name] = value.decode("latin-1")


def _section_end(data: bytes, position: i64) -> i64:
    """Where the section that begins at ``position`` ends, behind its empty line; -1 when that is not there."""
    empty: i64 = data.find(b"\n\r\n", position)
    if empty < 0:
        bare: i64 = data.find(b"\n\n", position)
    else:
        bare = data.find(b"\n\n", position, empty + 1)
    if bare >= 0:
        return bare + 2
    return empty + 3 if empty >= 0 else -1


def _judge_request(data: bytes) -> Match:
    data = data.lstrip(b"\r\n")
    line, feed, _ = data.partition(b"\n")
    if feed:
        if _REQUEST_LINE.fullmatch(line) is not None:
            return Match.YES
        is_close = _NEARLY_REQUEST.match(line) is not None and _OTHER_VERSION.search(line) is None
        return Match.MAYBE if is_close else Match.NO  # the response tells
    if len(line) >= _LONG_TARGET and _METHOD_PREFIX.fullmatch(line) is not None:
        return Match.YES
    return Match.MAYBE if not line or _REQUEST_PREFIX.fullmatch(line) is not None else Match.NO


def _judge_response(data: bytes) -> Match:
    data = data.lstrip(b"\r\n")
    if _STATUS_LINE.match(data) is not None:
        return Match.YES
    sample = data + _STATUS_SAMPLE[len(data) :]  # could it become a status line?
    return Match.MAYBE if len(data) < len(_STATUS_SAMPLE) and _STATUS_LINE.match(sample) is not None else Match.NO


DISSECTORS: Final[list[type[Dissector]]] = [Http1Dissector]
