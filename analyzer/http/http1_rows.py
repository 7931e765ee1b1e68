"""The rows of an HTTP/1 connection: exchanges, field sections, contents and faults, kept until they may be handed out."""

from typing import Final

from mypy_extensions import i64

from analyzer.codecs.content import Content, Outlet
from analyzer.codecs.http1_exchange import UNMATCHED, Exchange
from analyzer.codecs.http1_heads import Head
from analyzer.http.semantics import HttpContentRecord, HttpExchangeRecord, HttpFieldSectionRecord, duration
from analyzer.records import FieldLine, Rows
from analyzer.stream import Stream

_SIDES: Final = ("request", "response")  # by direction
_INFORMATIONAL: Final = [FieldLine(b":status", b"%d" % status, "witnessed") for status in range(100, 200)]


class Http1Rows:
    """Makes rows and keeps them."""

    def __init__(self, stream: Stream) -> None:
        self.made: Rows = []
        self._unproved: list[Content] = []  # of what was made: they take memory of the connection until it is handed out
        self._stream = stream
        self._connection_id = stream.connection_id
        self._stream_index = stream.stream_index
        self._tap = stream.scope.tap

    def taken(self) -> Rows:
        """What was made since the last call."""
        made = self.made
        self.made = []  # always a new one: the caller adds to what it gets
        if self._unproved:
            for content in self._unproved:
                content.hand_out()
            self._unproved = []
        return made

    def show(self, direction: i64, timestamp: i64, kind: str, data: bytes) -> None:
        """Show a follower a piece of what was said."""
        tap = self._tap
        if tap is not None:
            tap.write(self._stream_index, direction, timestamp, kind, data)

    def show_head(self, direction: i64, timestamp: i64, exchange: Exchange, data: bytes) -> None:
        """Show a follower the head of a message, and whose it is."""
        tap = self._tap
        if tap is not None:
            tap.turn(self._stream_index, direction, exchange.index)
            tap.write(self._stream_index, direction, timestamp, "fields", data)

    def outlet(self, direction: i64, exchange: Exchange) -> Outlet | None:
        """Where a follower wants the content of a message."""
        tap = self._tap
        return None if tap is None else tap.outlet(self._stream_index, exchange.index, _SIDES[direction])

    def drop(self) -> None:
        """Forget what was made."""
        self.made = []
        for content in self._unproved:
            content.discard()
        self._unproved = []

    def note(self, direction: i64, timestamp: i64, packet: i64, kind: str, required: str, found: str, section: str = "") -> None:
        """Make the row of a fault."""
        self.made += self._stream.anomaly(kind, direction, timestamp, packet, required, found, section)

    def note_loss(self, direction: i64, timestamp: i64, packet: i64, found: str) -> None:
        """Make the row of framing that is lost."""
        required = "to know where the next message begins"
        self.note(direction, timestamp, packet, "framing_lost", required, found, "RFC 9112 section 6.3")

    def add_section(self, direction: i64, exchange: Exchange, section: str, head: Head, timestamp: i64, packet: i64) -> None:
        """Make the row of a field section, and those of its faults. An informational one begins with its status, as in HTTP/2."""
        fields = head.fields
        if section == "informational":
            fields = [_INFORMATIONAL[head.status_code - 100], *fields]
        if fields:
            self.made.append(
                HttpFieldSectionRecord(
                    self._connection_id, self._stream_index, exchange.index, _SIDES[direction], section, fields
                )
            )
        if head.faults:
            for fault in head.faults:
                self.note(direction, timestamp, packet, fault.kind, fault.required, fault.found, fault.section)

    def add_content(self, direction: i64, exchange: Exchange, content: Content, is_unproved: bool) -> None:
        """Make the row of content that is to be kept; ``is_unproved``: it may have to wait, and be dropped."""
        if is_unproved:
            self._unproved.append(content)
        else:
            content.hand_out()
        if content.kept is not None and (content.kept or content.is_complete):
            self.made.append(
                HttpContentRecord(
                    connection_id=self._connection_id,
                    stream_index=self._stream_index,
                    exchange_index=exchange.index,
                    side=_SIDES[direction],
                    content=content.kept,
                    is_decoded=content.is_decoded,
                    is_complete=content.is_complete,
                )
            )

    def add_exchange(self, exchange: Exchange) -> None:
        """Make the row of an exchange that is over."""
        end_reason = exchange.end_reason
        if not exchange.has_request:
            end_reason = UNMATCHED if exchange.is_unmatched else "no request"
        elif end_reason is None:
            end_reason = "complete"
        self.made.append(self.exchange_row(exchange, end_reason))

    def exchange_row(self, exchange: Exchange, end_reason: str | None) -> HttpExchangeRecord:
        """The row of an exchange as it stands; ``end_reason`` None while it is not over."""
        request = exchange.request
        response = exchange.response
        started = exchange.request_started_at
        answered = exchange.response_started_at
        ended = exchange.response_ended_at
        status: i64 = -1 if response is None else response.status_code
        return HttpExchangeRecord(  # by position, which is faster
            self._connection_id,
            self._stream_index,
            exchange.index,
            None if request is None else request.http_version,  # a response says what its server speaks (RFC 9110 section 6.2)
            exchange.unread_method if request is None else request.method,
            None if request is None else request.scheme,
            None if request is None else request.authority,
            None if request is None else request.target,
            None if status < 0 else status,
            None if started < 0 else started,
            None if exchange.request_ended_at < 0 else exchange.request_ended_at,
            None if answered < 0 else answered,
            None if ended < 0 else ended,
            duration(started, ended),
            duration(started, answered),
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
