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

**What such a direction begins with** may be the rest of anything: of a head, of content, even of content that is itself HTTP
(``application/http``, an archive of the web). It is read only if its very first byte begins a head beyond doubt: a registered
method or a status line, and no fault in it. A head further on, in the middle of a packet or behind other bytes, is not sought.
Nothing of the connection is told before what follows that first message has proved it, as content that goes on would not:
another head beyond doubt right behind it, or silence, in which the other side begins a message or the direction ends. A
response is proved as well by a proved request that waits for it when its first byte comes. Where other bytes follow, or the
capture ends inside the first message, nothing is told but the anomaly, and neither direction is read further. Not
recognised is only the last part of a content that is cut off where the capture begins and consists of whole messages to its end.

**A response without its request** may answer HEAD or CONNECT: where its first content bytes look like the next response,
its framing is lost; where its content lasts until close, its size is not told.
"""

from typing import ClassVar, Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.http1_messages import (
    BARE_FEED,
    CHUNK_LINE,
    CHUNKED_COMPLETE,
    CONTENT,
    CONTENT_TAKEN,
    HEAD,
    HEAD_COMPLETE,
    IS_CONTENT,
    IS_NEXT_RESPONSE,
    LOST,
    NOTHING,
    PEEK,
    START,
    TOO_LONG,
    UNTIL_CLOSE,
)
from analyzer.codecs.http1_recognition import is_client, is_server
from analyzer.codecs.http1_side import UNPROVED, UNSEEN, WITNESSED, Held, Side
from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Dissector, Facts, Match
from analyzer.errors import ProtocolError
from analyzer.http.http1_conversation import UNDER_WAY, Http1Conversation
from analyzer.http.semantics import HttpContentRecord, HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.records import Rows
from analyzer.stream import Stream


class Http1Dissector:
    """Follows one HTTP/1 connection: reads its bytes, and lets each direction wait for the other where it must."""

    name: ClassVar[str] = "http1"
    ports: ClassVar[tuple[int, ...]] = (80, 8080, 8000, 8008, 8081, 8888, 3000, 3128, 5000, 9200)
    transports: ClassVar[tuple[str, ...]] = ("tcp",)
    records: ClassVar[tuple[type, ...]] = (HttpExchangeRecord, HttpFieldSectionRecord, HttpContentRecord)

    def __init__(self, stream: Stream, facts: Facts) -> None:
        conversation = Http1Conversation(stream)
        self._stream = stream
        self._scope = stream.scope
        self._is_followed = stream.scope.tap is not None
        self._conversation = conversation
        self._requests = conversation.requests
        self._responses = conversation.responses
        self._is_broken = False  # a protocol error ended the reading
        self._carrier = stream.carrier
        self._asked: i64 = 0  # bytes towards the server so far
        self._reached: i64 = 0  # position of the step being read
        self._stall: i64 = -1  # the stall of the bytes being read

    @staticmethod
    def probe(first: bytes, second: bytes) -> Match:
        """A request line towards the server, or a status line towards the client: then the request is one that cannot be read."""
        response = is_server(second) if second else None
        if response is True or is_client(first):
            return Match.YES
        if not first:  # the server speaks first, or its answer is under way
            return Match.NO if is_client(second) else Match.MAYBE
        if response is None and not is_server(first):
            return Match.MAYBE  # whatever it is, what the server makes of it tells
        return Match.NO

    def feed(self, direction: int, data: bytes, timestamp: int, released: int, packet: int) -> Rows:
        """Take bytes in order."""
        side = self._requests if direction == TO_SERVER else self._responses
        side.is_fresh = False
        if direction == TO_SERVER:
            self._asked += len(data)
        self._stall = self._scope.stall_index
        if side.is_paused:
            self._hold(side, Held(data, timestamp, released, packet, self._stall))
        else:
            self._read(side, data, timestamp, released, packet)
            if side.state != START:
                self._conversation.decline(side)
        return self._settled()

    def skipped(self, direction: int, length: int, timestamp: int, released: int, packet: int) -> Rows:
        """Count content that was declined."""
        side = self._requests if direction == TO_SERVER else self._responses
        if direction == TO_SERVER:
            self._asked += length
        exchange = side.exchange
        if exchange is not None and side.state < LOST:
            wait = released - timestamp
            if wait > 0:
                exchange.wait(self._scope.stall_index, wait)
            self._conversation.advance(side, exchange, length, timestamp, packet)
        return self._settled()

    def gap(self, direction: int, length: int | None, at_most: int | None, timestamp: int, packet: int) -> Rows:
        """Step over a hole in content of known length; elsewhere the framing is lost."""
        side = self._requests if direction == TO_SERVER else self._responses
        if direction == TO_SERVER and length is not None:
            self._asked += length
        if side.is_paused:
            held = Held(None, timestamp, timestamp, packet, -1)
            held.length = length
            held.at_most = at_most
            self._hold(side, held)
        else:
            self._conversation.miss(side, length, timestamp, packet)
            self._conversation.decline(side)
        return self._settled()

    def close(self, direction: int, reason: CloseReason, timestamp: int, packet: int) -> Rows:
        """End a direction, and with it what it leaves incomplete."""
        side = self._requests if direction == TO_SERVER else self._responses
        if side.is_paused:
            held = Held(None, timestamp, timestamp, packet, -1)
            held.reason = reason.value
            self._hold(side, held)
        else:
            self._conversation.end_side(side, reason, timestamp, packet)
        return self._settled()

    def tick(self, now: int) -> Rows:
        """Exchanges that are not over, as they stand."""
        return self._conversation.open_rows()

    def _settled(self) -> Rows:
        """Let the directions wait for each other as they must; return the rows made, once nothing they say is unproved."""
        conversation = self._conversation
        if self._requests.held or self._responses.held:
            self._resume()
        if conversation.matching.ended:
            conversation.tell_ended()
        memory = conversation.memory()
        if self._requests.trust == UNPROVED or self._responses.trust == UNPROVED:
            if len(conversation.rows.made) <= limits.HTTP1_UNPROVED_ROWS:
                self._stream.hold(memory + len(conversation.rows.made) * limits.ROW_BYTES)
                return []
            unproved = self._requests if self._requests.trust == UNPROVED else self._responses
            conversation.withdraw(unproved, unproved.started_at, unproved.first_packet)
        self._stream.hold(memory)
        return conversation.rows.taken()

    # --- waiting for the other direction ---

    def _resume(self) -> None:
        """Read what was held and need not wait any more."""
        while self._requests.held or self._responses.held:
            responses = self._responses
            if responses.is_paused and self._conversation.switching is None and not self._must_wait():
                responses.is_paused = False
            if responses.held and not responses.is_paused:
                self._replay(responses)
            elif self._requests.held and not self._requests.is_paused:
                self._replay(self._requests)
            else:
                break

    def _must_wait(self) -> bool:
        """Tell whether a response that begins now must wait for its request."""
        if self._requests.state >= LOST or self._conversation.matching.knows_next():
            return False
        return self._requests.state != START or not self._is_unasked()

    def _is_unasked(self) -> bool:
        """Tell whether a response that begins now, where all requests are answered, was sent before the next one came."""
        carrier = self._carrier
        return carrier is not None and 0 <= carrier.acknowledged(TO_SERVER) <= self._asked

    def _hold(self, side: Side, held: Held) -> None:
        if not side.held:
            side.held_from = 0
        side.held.append(held)
        if held.data is not None:
            side.held_bytes += len(held.data)
        if side.held_bytes > limits.HTTP1_HELD_BYTES:
            self._stop_holding(side, held.timestamp, held.packet, f"{limits.HTTP1_HELD_BYTES} bytes")
        elif len(side.held) - side.held_from > limits.HTTP1_HELD_PIECES:
            self._stop_holding(side, held.timestamp, held.packet, f"{limits.HTTP1_HELD_PIECES} pieces")

    def _stop_holding(self, side: Side, timestamp: i64, packet: i64, most: str) -> None:
        """The other direction says nothing for too long: go on without it."""
        side.held_bytes = 0
        required = f"at most {most} before their request or answer"
        self._conversation.rows.note(side.direction, timestamp, packet, "limit", required, "more")
        if side.direction == TO_SERVER or self._conversation.switching is not None:
            self._conversation.switching = None
            self._conversation.lose(side, timestamp, packet, "")
            side.is_paused = False
        else:
            self._conversation.matching.is_in_doubt = True

    def _replay(self, side: Side) -> None:
        """Read what was held."""
        index = side.held_from
        size = side.held_bytes
        events = side.take_held()
        while index < len(events):
            if side.is_paused:
                side.put_back(events, index, max(size, 0))
                return
            event = events[index]
            index += 1
            if event.data is not None:
                size -= len(event.data)
            if self._conversation.child is not None:
                self._pass_on(self._conversation.child, side.direction, event)
            elif event.data is not None:
                if self._is_broken:
                    continue
                self._stall = event.stall
                self._read(side, event.data, event.timestamp, event.released, event.packet)
            elif event.reason is not None:
                self._conversation.end_side(side, CloseReason(event.reason), event.timestamp, event.packet)
            else:
                self._conversation.miss(side, event.length, event.timestamp, event.packet)
        if not side.is_paused:
            self._conversation.decline(side)

    def _pass_on(self, child: Stream, direction: i64, event: Held) -> None:
        if event.data is not None:  # its wait belonged to a stall that is over
            self._conversation.rows.made += child.feed(direction, event.data, event.timestamp, event.timestamp, event.packet)
        elif event.reason is not None:
            self._conversation.rows.made += child.close(direction, CloseReason(event.reason), event.timestamp, event.packet)
        else:
            self._conversation.rows.made += child.gap(direction, event.length, event.at_most, event.timestamp, event.packet)

    # --- reading bytes ---

    def _read(self, side: Side, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Read bytes; what cannot be read is an error only where a message is known to begin."""
        conversation = self._conversation
        try:
            self._read_messages(side, data, timestamp, released, packet)
        except ProtocolError as error:
            if side.trust != WITNESSED and not self._is_broken:
                conversation.lose(side, timestamp, packet, UNDER_WAY)
                return
            if side.direction == TO_CLIENT:
                self._is_broken = True
                raise
            # the response to it may well be readable
            conversation.rows.show(TO_SERVER, timestamp, "unknown", data[self._reached :])
            conversation.rows.note(TO_SERVER, timestamp, packet, "protocol_error", error.required, error.found, error.section)
            conversation.lose(side, timestamp, packet, "")

    def _read_messages(self, side: Side, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        position: i64 = 0
        end: i64 = len(data)
        wait = released - timestamp
        while position < end:
            if side.state == START:
                byte = data[position]
                if (byte == 13 or byte == 10) and side.trust != UNSEEN:  # empty lines between messages: RFC 9112 section 2.2
                    position += 1
                    continue
                if side.direction == TO_CLIENT and self._must_wait():
                    side.is_paused = True
                    self._hold(side, Held(data[position:], timestamp, released, packet, self._stall))
                    return
                side.begin_message(timestamp, packet)
                (self._responses if side.direction == TO_SERVER else self._requests).prove()
            elif side.is_expecting:
                self._stop_expecting(side)
            if wait > 0:
                side.wait(self._stall, wait)
            side.meet(timestamp, packet)
            self._reached = position
            event = side.read(data, position)
            if self._is_followed:
                self._show(side, event, data, position, timestamp)
            position = side.at
            if event == CONTENT_TAKEN:
                exchange = side.exchange
                assert exchange is not None
                if side.content is not None:
                    side.content.write(data[position - side.taken : position])
                self._conversation.advance(side, exchange, side.taken, timestamp, packet)
            elif event != NOTHING:
                self._take(side, event, timestamp, packet)
            elif side.trust == UNSEEN and side.state == HEAD and side.is_no_head():
                self._conversation.lose(side, timestamp, packet, UNDER_WAY)
            child = self._conversation.child
            if child is not None:
                self._resume()
                if position < end:
                    self._conversation.rows.made += child.deliver(
                        side.direction, data, position, end - position, timestamp, released, packet
                    )
                return
            if side.is_paused and position < end:
                self._hold(side, Held(data[position:], timestamp, released, packet, self._stall))
                return

    def _show(self, side: Side, event: i64, data: bytes, position: i64, timestamp: i64) -> None:
        """Show a follower content, and what is not understood."""
        if event == CONTENT_TAKEN:
            self._conversation.rows.show(side.direction, timestamp, "content", data[side.at - side.taken : side.at])
        elif side.state == LOST:
            self._conversation.rows.show(side.direction, timestamp, "unknown", data[position : side.at])

    def _stop_expecting(self, side: Side) -> None:
        """The bytes after Expect: 100-continue have come; after a final answer they may be another request."""
        side.is_expecting = False
        exchange = side.exchange
        if exchange is not None and exchange.response is not None and not exchange.has_continued:
            side.state = PEEK

    def _take(self, side: Side, event: i64, timestamp: i64, packet: i64) -> None:
        """Do what is to be done about something that was read."""
        if event == HEAD_COMPLETE:
            if side.direction == TO_SERVER:
                self._conversation.begin_request(side.section, timestamp, packet)
            else:
                self._conversation.begin_response(side.section, timestamp, packet)
            if self._requests.held or self._responses.held:  # now, so that chunking makes no difference
                self._resume()
        elif event == CHUNKED_COMPLETE:
            self._conversation.end_chunked(side, side.section, timestamp, packet)
        elif event == BARE_FEED:
            self._conversation.rows.note(
                side.direction,
                timestamp,
                packet,
                "bare_line_feed",
                "lines that end with CR LF",
                "LF alone",
                "RFC 9112 section 7.1",
            )
        elif event == TOO_LONG:
            self._conversation.exceed(side, timestamp, packet, side.limit)
        elif event == IS_CONTENT:
            head = side.head
            assert head is not None
            seen = side.take_pieces()
            side.state = CHUNK_LINE if head.is_chunked else CONTENT if side.remaining > 0 else UNTIL_CLOSE
            self._read_messages(side, seen, timestamp, timestamp, packet)
        elif event == IS_NEXT_RESPONSE:
            side.trust = WITNESSED  # a head right behind a head
            self._conversation.lose(side, timestamp, packet, "content, or the response after one to HEAD")
        else:
            self._abandon_content(side, timestamp, packet)

    def _abandon_content(self, side: Side, timestamp: i64, packet: i64) -> None:
        """The client got a final answer instead of 100 and goes on with a new request (RFC 9110 section 10.1.1)."""
        exchange = side.exchange
        assert exchange is not None
        section = "RFC 9110 section 10.1.1"
        self._conversation.rows.note(
            side.direction, timestamp, packet, "expectation_abandoned", "the content announced", "a request line", section
        )
        line = side.take_pieces()
        side.drop_content()
        self._conversation.end_message(side, exchange, side.last_at, side.last_packet)
        self._read_messages(side, line, side.started_at, side.started_at, side.first_packet)


DISSECTORS: Final[list[type[Dissector]]] = [Http1Dissector]
