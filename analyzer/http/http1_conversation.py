"""What the two sides of an HTTP/1 connection say to each other: messages, exchanges, upgrades, and what a hole does to them.

Knows no bytes but heads; ``protocols/http1.py`` has the rules, reads the bytes and calls this.
"""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.http1_exchange import Exchange
from analyzer.codecs.http1_framing import after_request, after_response, has_content
from analyzer.codecs.http1_heads import Head, parse_request_line
from analyzer.codecs.http1_matching import Matching
from analyzer.codecs.http1_messages import CHUNK_DATA, CHUNK_LINE, CLOSED, CONTENT, HEAD, LOST, PEEK, START, UNTIL_CLOSE
from analyzer.codecs.http1_recognition import registered_method
from analyzer.codecs.http1_side import UNPROVED, UNSEEN, WITNESSED, Side
from analyzer.codecs.http1_upgrade import goes_on_in_http2, next_protocol
from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason
from analyzer.errors import ProtocolError
from analyzer.http.http1_rows import Http1Rows
from analyzer.records import Rows
from analyzer.stream import EVERYTHING, Stream

UNDER_WAY: Final = "a message already under way"  # where a direction begins

_SHOWN: Final = 4  # bytes of what is no response
_END_REASONS: Final = {CloseReason.FIN: "no response", CloseReason.RESET: "reset"}


class Http1Conversation:
    """The messages of both sides and the exchanges they make."""

    def __init__(self, stream: Stream) -> None:
        self.rows = Http1Rows(stream)
        self.requests = Side(TO_SERVER, False)
        self.responses = Side(TO_CLIENT, True)
        self.matching = Matching()
        self.switching: Exchange | None = None  # 101 has come before its request's end
        self.child: Stream | None = None  # what the connection carries since then
        self._stream = stream
        mode = stream.context.content
        self._content_mode = mode if mode in ("hash", "store") else ""
        self._content_budget = stream.scope.content_budget() if self._content_mode or stream.scope.tap is not None else None
        self._context = stream.context
        self._reader = stream.context.http1_heads
        self._exchanges: i64 = 0  # begun so far
        self._unproved_from: i64 = 0  # the first of them that is not told before a beginning is proved
        self.matching.is_answer_awaited = "response_awaited" in stream.facts

    def memory(self) -> i64:
        """How many bytes of memory the messages take that are not over."""
        return self.requests.memory() + self.responses.memory() + self.matching.memory

    def decline(self, side: Side) -> None:
        """Say which of the next bytes nobody needs."""
        state = side.state
        if state == LOST:
            self._stream.decline(side.direction, EVERYTHING)
        elif side.content is None and not side.is_expecting:
            if CONTENT <= state <= CHUNK_DATA:
                self._stream.decline(side.direction, side.remaining)
            elif state == UNTIL_CLOSE:
                self._stream.decline(side.direction, EVERYTHING)

    def tell_ended(self) -> None:
        """Make the rows of the exchanges that matching ended."""
        ended = self.matching.ended
        self.matching.ended = []
        for exchange in ended:
            self.rows.add_exchange(exchange)

    def open_rows(self) -> Rows:
        """The rows, as they stand, of the exchanges that are not over; none while a beginning is not proved."""
        if self.requests.trust == UNPROVED or self.responses.trust == UNPROVED:
            return []
        under_way = list(self.matching.waiting)
        for exchange in (self.matching.orphan, self.responses.exchange, self.requests.exchange):
            if exchange is not None and exchange not in under_way:
                under_way.append(exchange)
        return [self.rows.exchange_row(exchange, None) for exchange in under_way]

    def _believes(self, side: Side, head: Head) -> bool:
        if side.trust == UNSEEN and self.requests.trust != UNPROVED and self.responses.trust != UNPROVED:
            self._unproved_from = self._exchanges
        return side.believes(head)

    # --- requests ---

    def _new_exchange(self, side: Side) -> Exchange:
        exchange = Exchange(self._exchanges, side.first_packet)
        self._exchanges += 1
        return exchange

    def begin_request(self, raw: bytes, timestamp: i64, packet: i64) -> None:
        """A request's head is complete."""
        side = self.requests
        try:
            head = self._reader.request(raw)
        except ProtocolError as error:
            if side.trust != WITNESSED:
                raise
            # the response to it may well be readable
            self.rows.show(TO_SERVER, side.started_at, "unknown", raw)
            self.rows.note(TO_SERVER, timestamp, packet, "protocol_error", error.required, error.found, error.section)
            self._cut_message(side, "malformed", timestamp, packet, raw)
            self.lose(side, timestamp, packet, "")
            return
        if head is None:
            self.exceed(side, timestamp, packet, f"a head of at most {limits.HTTP1_SECTION_LINES} lines")
            return
        if not self._believes(side, head):
            self.lose(side, timestamp, packet, UNDER_WAY)
            return
        exchange = self._new_exchange(side)
        self.rows.show_head(TO_SERVER, side.started_at, exchange, raw)
        exchange.has_request = True
        exchange.request = head
        exchange.request_started_at = side.started_at
        side.exchange = exchange
        side.head = head
        self._stream.messages_to_server += 1
        side.pass_on(exchange)
        self._context.section_bytes += head.memory
        self.rows.add_section(TO_SERVER, exchange, "header", head, timestamp, packet)
        self._await_response(exchange, timestamp, packet)
        if side.state != LOST:  # too many are waiting
            self._begin_request_content(side, exchange, head, timestamp, packet)

    def _begin_request_content(self, side: Side, exchange: Exchange, head: Head, timestamp: i64, packet: i64) -> None:
        side.content_bytes = 0
        side.reach(timestamp, packet)
        state = after_request(head)
        if state == START:
            if head.method == b"CONNECT" and has_content(head):
                side.content_bytes = -1
            self.end_message(side, exchange, timestamp, packet)
        elif state == LOST:
            is_coded = head.transfer_encoding is not None
            why = "a request whose final transfer coding is not chunked" if is_coded else "content of a length that is not known"
            self.lose(side, timestamp, packet, why)
        else:
            side.remaining = head.content_length
            outlet = self.rows.outlet(TO_SERVER, exchange)
            side.begin_content(head, state, self._content_mode, self._content_budget, outlet)
            side.is_expecting = head.expects_continue

    def _await_response(self, exchange: Exchange, timestamp: i64, packet: i64) -> None:
        matching = self.matching
        matching.add(exchange, self.responses.state != START)
        if len(matching.waiting) > limits.HTTP1_OUTSTANDING:
            self.exceed(self.requests, timestamp, packet, f"at most {limits.HTTP1_OUTSTANDING} requests waiting for responses")

    # --- responses ---

    def _take_exchange(self, side: Side, is_final: bool) -> Exchange:
        """The exchange that the response being read belongs to."""
        exchange = self.matching.answered(side.started_at, is_final)
        if exchange is None:
            exchange = self._new_exchange(side)
            exchange.is_request_over = True
            exchange.fields_complete = False
            exchange.is_unmatched = self.matching.has_unmatched
            if not is_final:
                self.matching.orphan = exchange
        elif exchange.has_request and self.requests.trust == WITNESSED:
            side.trust = WITNESSED  # it is what the request waits for
        return exchange

    def begin_response(self, raw: bytes, timestamp: i64, packet: i64) -> None:
        """A response's head is complete. Raises ProtocolError."""
        side = self.responses
        head = self._reader.response(raw)
        if head is None:
            self.exceed(side, timestamp, packet, f"a head of at most {limits.HTTP1_SECTION_LINES} lines")
            return
        if not self._believes(side, head):
            self.lose(side, timestamp, packet, UNDER_WAY)
            return
        status = head.status_code
        self._stream.messages_to_client += 1
        self._context.section_bytes += head.memory
        is_final = status >= 200 or status == 101 or status < 100
        exchange = self._take_exchange(side, is_final)
        self.rows.show_head(TO_CLIENT, side.started_at, exchange, raw)
        side.pass_on(exchange)
        if not is_final:
            if status == 100:
                exchange.has_continued = True
            self.rows.add_section(TO_CLIENT, exchange, "informational", head, timestamp, packet)
            side.state = START
            return
        exchange.response = head
        exchange.response_started_at = side.started_at
        side.exchange = exchange
        side.head = head
        self.rows.add_section(TO_CLIENT, exchange, "header", head, timestamp, packet)
        request = exchange.request
        method = None if request is None else request.method
        if status == 101 or (method == b"CONNECT" and 200 <= status <= 299):
            if status == 101 and request is not None and request.upgrade is None:
                required = "an Upgrade field in a request that is answered with 101"
                section = "RFC 9110 section 7.8"
                self.rows.note(TO_CLIENT, timestamp, packet, "unrequested_upgrade", required, "none", section)
            self._switch(side, exchange, timestamp, packet)
            return
        if exchange.switches():
            self.requests.is_paused = False
            if method == b"CONNECT" and exchange.request_content < 0:
                self.lose(self.requests, timestamp, packet, "what may be content of a CONNECT that was refused")
        self._begin_response_content(side, exchange, head, method, timestamp, packet)

    def _begin_response_content(
        self, side: Side, exchange: Exchange, head: Head, method: bytes | None, timestamp: i64, packet: i64
    ) -> None:
        side.content_bytes = 0
        state = after_response(head, method)
        if state == START:
            self.end_message(side, exchange, timestamp, packet)
        elif state == LOST:
            self.lose(side, timestamp, packet, "content of a length that is not known")
        elif state == UNTIL_CLOSE and method is None and 200 <= head.status_code <= 299:
            self.lose(side, timestamp, packet, "content, or a tunnel")
        else:
            side.reach(timestamp, packet)
            side.remaining = head.content_length if state == CONTENT else 0
            outlet = self.rows.outlet(TO_CLIENT, exchange)
            side.begin_content(head, state, self._content_mode, self._content_budget, outlet)
            if method is None and state != CHUNK_LINE:
                side.state = PEEK

    # --- ends of messages ---

    def advance(self, side: Side, exchange: Exchange, length: i64, timestamp: i64, packet: i64) -> None:
        """Count content bytes; end the message when they complete it."""
        exchange.saw(timestamp, packet)
        if side.state == UNTIL_CLOSE:
            side.reach(timestamp, packet)
        if side.count(length):
            self.end_message(side, exchange, timestamp, packet)

    def end_chunked(self, side: Side, raw: bytes, timestamp: i64, packet: i64) -> None:
        """Chunked content is complete, with its trailer section."""
        exchange = side.exchange
        assert exchange is not None
        if len(raw) > 2:
            trailers = self._reader.trailers(raw)
            if trailers is None:
                self.exceed(side, timestamp, packet, f"a trailer section of at most {limits.HTTP1_SECTION_LINES} lines")
                return
            self.rows.show(side.direction, timestamp, "fields", raw)
            self.rows.add_section(side.direction, exchange, "trailer", trailers, timestamp, packet)
        self.end_message(side, exchange, timestamp, packet)

    def end_message(self, side: Side, exchange: Exchange, timestamp: i64, packet: i64) -> None:
        """A message is complete; ``timestamp`` is -1 where its last byte was not captured."""
        head = side.head
        content_bytes: i64 = side.content_bytes if head is None or head.further_codings is None else -1
        side.state = START
        side.exchange = None
        side.head = None
        if side.content is not None:
            self._end_content(side, exchange, True, timestamp, packet)
        exchange.saw(timestamp, packet)
        if side.direction == TO_SERVER:
            exchange.end_request(timestamp, content_bytes)
            if self.switching is exchange:
                self._note_upgrade(exchange)
                self._hand_over(exchange, timestamp, packet)
            elif exchange.switches():
                self._pause_requests(exchange, timestamp, packet)
        else:
            exchange.complete_response(timestamp, content_bytes)
            self.matching.is_response_due = False
            self.matching.saw_response(timestamp)
        if exchange.is_over():
            self.rows.add_exchange(exchange)

    def _end_content(self, side: Side, exchange: Exchange, is_complete: bool, timestamp: i64, packet: i64) -> None:
        """Finish the content that --content asks for."""
        content = side.content
        assert content is not None
        side.content = None
        content.finish(is_complete)
        if side.direction == TO_SERVER:
            exchange.request_sha256 = content.sha256
        else:
            exchange.response_sha256 = content.sha256
        is_unproved = self.requests.trust == UNPROVED or self.responses.trust == UNPROVED
        self.rows.add_content(side.direction, exchange, content, is_unproved)
        if content.limit is not None:
            self.rows.note(side.direction, timestamp, packet, "limit", content.limit, "more")
        if content.fault is not None:
            required = "content that its codings can be undone of"
            self.rows.note(side.direction, timestamp, packet, "content_coding", required, content.fault, "RFC 9110 section 8.4")

    # --- upgrades and tunnels ---

    def _pause_requests(self, exchange: Exchange, timestamp: i64, packet: i64) -> None:
        """What the client sends after a request to switch depends on the answer."""
        if not exchange.is_response_over and exchange.response is None:
            self.requests.is_paused = True
        elif exchange.response is None:
            self.lose(self.requests, timestamp, packet, "")

    def _switch(self, side: Side, exchange: Exchange, timestamp: i64, packet: i64) -> None:
        """The response ends HTTP/1 on this connection: as soon as the request is complete, hand over."""
        if side.trust != WITNESSED:  # nothing follows that could prove it
            self.lose(side, timestamp, packet, UNDER_WAY)
            return
        side.content_bytes = 0
        if exchange.is_request_over:
            self._note_upgrade(exchange)
        self.end_message(side, exchange, timestamp, packet)
        if exchange.is_request_over:
            self._hand_over(exchange, timestamp, packet)
        else:
            self.switching = exchange
            side.is_paused = True

    def _note_upgrade(self, exchange: Exchange) -> None:
        """HTTP/1 ends with this exchange; if its response comes in HTTP/2, it is an exchange there."""
        if exchange.end_reason is None and goes_on_in_http2(exchange):
            exchange.end_reason = "upgraded"

    def _hand_over(self, exchange: Exchange, timestamp: i64, packet: i64) -> None:
        """Open the stream that the connection carries from now on (RFC 9110 sections 7.8 and 9.3.6)."""
        name, facts = next_protocol(exchange)
        child = self._stream.child(name, None, facts)
        self.child = child
        self.switching = None
        self._stream.hand_over(child)
        requests = self.requests
        self.matching.end("cut")  # pipelined behind it
        if requests.state != START:
            self._cut_message(requests, "cut", timestamp, packet)
            self.rows.made += child.gap(TO_SERVER, None, None, timestamp, packet)
        if requests.close_reason is not None:
            self.rows.made += child.close(TO_SERVER, CloseReason(requests.close_reason), timestamp, packet)
        self.requests.is_paused = False
        self.responses.is_paused = False

    # --- loss and ends ---

    def miss(self, side: Side, length: int | None, timestamp: i64, packet: i64) -> None:
        """A hole: step over it where its end is certain."""
        state = side.state
        if state >= LOST:
            return
        if side.is_fresh or (side.trust == UNSEEN and state == START):
            side.trust = UNSEEN
            self.matching.is_in_doubt = True
            if length is not None:  # else it was before the capture
                self._miss_beginning(side, timestamp, packet)
            elif side.direction == TO_CLIENT:
                self.matching.begin_late()
            return
        exchange = side.exchange
        missing: i64 = 0 if length is None else length
        if side.direction == TO_CLIENT:
            self.matching.saw_response(timestamp)
        if exchange is not None and side.content is not None:
            self._end_content(side, exchange, False, timestamp, packet)
        side.is_expecting = False
        if exchange is not None:
            known = side.remaining if state == CONTENT and (length is None or missing > side.remaining) else missing
            if side.direction == TO_SERVER:
                exchange.request_missing += known
            else:
                exchange.response_missing += known
            if state == UNTIL_CLOSE and length is None:
                side.content_bytes = -EVERYTHING  # never known again
                return
            is_counted = CONTENT <= state <= CHUNK_DATA and missing <= side.remaining
            if state == UNTIL_CLOSE or (is_counted and length is not None):
                self.advance(side, exchange, missing, -1, packet)
                return
        self.lose(side, timestamp, packet, f"a hole of {length} bytes" if length is not None else "a hole of unknown length")

    def _miss_beginning(self, side: Side, timestamp: i64, packet: i64) -> None:
        """A hole before the first message: it may hold requests, or the responses to those that wait."""
        if side.direction == TO_SERVER:
            self.matching.is_response_due = True
        elif not self.matching.miss_responses(timestamp):
            self.lose(side, timestamp, packet, "a hole where a request to switch protocols was answered")

    def lose(self, side: Side, timestamp: i64, packet: i64, why: str) -> None:
        """The framing of a direction is not known any more; ``why`` is empty where a row has said so."""
        if side.state >= LOST:
            return
        if side.trust == UNPROVED:
            self.withdraw(side, timestamp, packet)
            return
        if why:
            self.rows.note_loss(side.direction, timestamp, packet, why)
        self._cut_message(side, "cut", timestamp, packet)
        side.state = LOST
        side.is_paused = False
        if side.direction == TO_CLIENT:
            self._end_responses("cut", timestamp, packet)
        else:
            self.decline(side)

    def exceed(self, side: Side, timestamp: i64, packet: i64, required: str) -> None:
        """A limit is reached."""
        self.rows.note(side.direction, timestamp, packet, "limit", required, "more")
        self.lose(side, timestamp, packet, "")

    def withdraw(self, side: Side, timestamp: i64, packet: i64) -> None:
        """What was believed to be a message is not proved: nothing that leaned on it is told."""
        begun = self._begun_for_certain(self.responses if side is self.requests else self.requests)
        self.rows.drop()
        self.matching.forget()
        self.switching = None
        for one in (self.requests, self.responses):
            one.drop_message()
            one.trust = WITNESSED
            one.is_expecting = False
            one.is_paused = False
            if one.state < LOST:
                one.state = LOST
            self.decline(one)
        self.rows.note_loss(side.direction, timestamp, packet, "a beginning that nothing proves")
        for exchange in begun:
            if exchange.index >= self._unproved_from:  # those before it that are withdrawn leave no numbers out
                exchange.index = self._unproved_from
                self._unproved_from += 1
            exchange.is_request_over = True
            exchange.end_response("cut")
            self.rows.add_exchange(exchange)

    def _begun_for_certain(self, side: Side) -> list[Exchange]:
        """The exchanges that a witnessed direction has begun and that have no row yet: a section of theirs may have one."""
        if side.trust != WITNESSED:
            return []
        is_server = side is self.responses
        found = [] if is_server else list(self.matching.waiting)
        for exchange in (side.exchange, self.matching.orphan):
            if exchange is not None and exchange not in found and exchange.has_request != is_server:
                found.append(exchange)
        return found

    def _cut_message(self, side: Side, end_reason: str, timestamp: i64, packet: i64, raw: bytes = b"") -> None:
        """End the message being read, which is not complete, or (``raw``) whose head cannot be read."""
        exchange = side.exchange
        if exchange is None:
            if side.state != HEAD or side.trust == UNSEEN:
                side.take_pieces()
                return
            exchange = self._exchange_of_cut_head(side, raw)
        elif side.head is not None and side.head.is_chunked:
            exchange.fields_complete = False  # trailers may be missing
        if side.content is not None:
            self._end_content(side, exchange, False, timestamp, packet)
        side.drop_message()
        if exchange.end_reason is None:
            exchange.end_reason = end_reason
        if side.direction == TO_SERVER:
            exchange.is_request_over = True
            if self.switching is exchange:
                self.switching = None
                self.lose(self.responses, timestamp, packet, "")
        else:
            exchange.is_response_over = True
        if exchange.is_over():
            self.rows.add_exchange(exchange)

    def _exchange_of_cut_head(self, side: Side, raw: bytes) -> Exchange:
        """The exchange of a message whose head is not complete; a whole start line of a request still counts."""
        seen = side.take_pieces() or raw
        timestamp = side.last_at
        packet = side.last_packet
        side.state = START
        if side.direction == TO_CLIENT:
            exchange = self._take_exchange(side, True)
            exchange.response_started_at = side.started_at
        else:
            exchange = self._new_exchange(side)
            exchange.has_request = True
            exchange.request_started_at = side.started_at
            line, feed, _ = seen.partition(b"\n")
            if feed:
                head = Head()
                try:
                    parse_request_line(line.removesuffix(b"\r"), head)
                    exchange.request = head
                except ProtocolError:
                    exchange.unread_method = registered_method(line)
            self._await_response(exchange, timestamp, packet)
        exchange.fields_complete = False
        side.pass_on(exchange)
        return exchange

    def _end_responses(self, end_reason: str, timestamp: i64, packet: i64) -> None:
        """No response comes any more."""
        self.matching.end(end_reason)
        requests = self.requests
        if requests.is_paused:
            has_data = requests.held_bytes > 0
            self.lose(requests, timestamp, packet, "bytes after a request to switch protocols" if has_data else "")

    def end_side(self, side: Side, reason: CloseReason, timestamp: i64, packet: i64) -> None:
        """A direction carries nothing more."""
        if side.state == CLOSED:
            return
        side.prove()
        state = side.state
        exchange = side.exchange
        if side.trust == UNPROVED:
            self.withdraw(side, timestamp, packet)
        elif state == UNTIL_CLOSE and reason is CloseReason.FIN and exchange is not None:
            if side.content_bytes < 0 or exchange.request is None:  # a hole of unknown length, or perhaps a tunnel
                side.content_bytes = -1
            self.end_message(side, exchange, side.last_at, side.last_packet)
        elif state == HEAD and side.is_server and side.trust == WITNESSED and side.is_no_head():
            found = side.take_pieces()[:_SHOWN].hex(" ")
            self.rows.note(TO_CLIENT, timestamp, packet, "protocol_error", "a status line", found, "RFC 9112 section 4")
        elif state != START and state < LOST:
            is_certain = side.trust == WITNESSED and (exchange is None or exchange.request is not None)
            if reason is CloseReason.FIN and is_certain:
                required = "the rest of the message"
                found = "the end of the connection"
                section = "RFC 9112 section 8"
                self.rows.note(side.direction, timestamp, packet, "incomplete_message", required, found, section)
            self._cut_message(side, "reset" if reason is CloseReason.RESET else "cut", timestamp, packet)
        side.state = CLOSED
        side.close_reason = reason.value
        if side.direction == TO_CLIENT and self.matching.over is None:
            self._end_responses(_END_REASONS.get(reason, "cut"), timestamp, packet)
