"""The rows of an HTTP/2 connection: streams, exchanges, field sections, contents, stalls and faults, until they are handed out."""

from typing import Final

from mypy_extensions import i64

from analyzer.codecs.content import Outlet
from analyzer.codecs.http2_exchange import Exchange, Half
from analyzer.codecs.http2_side import Side
from analyzer.codecs.http2_sides import Sides
from analyzer.codecs.http2_streams import Window
from analyzer.dissector import DIRECTION_NAMES, TO_CLIENT, TO_SERVER, CloseReason
from analyzer.http.semantics import HttpContentRecord, HttpExchangeRecord, HttpFieldSectionRecord, duration
from analyzer.records import FieldLine, Rows, StalledStreamRecord, StallRecord, StreamRecord
from analyzer.stream import Stream

_SIDES: Final = ("request", "response")  # by direction


class Http2Rows:
    """Makes rows and keeps them."""

    def __init__(self, stream: Stream, sides: Sides) -> None:
        self.made: Rows = []
        self._stream = stream
        self._sides = sides
        self._connection_id = stream.connection_id
        self._tap = stream.scope.tap

    def taken(self) -> Rows:
        """What was made since the last call."""
        made = self.made
        self.made = []  # always a new one: the caller adds to what it gets
        return made

    # --- faults ---

    def note(
        self,
        direction: i64,
        timestamp: i64,
        packet: i64,
        kind: str,
        required: str,
        found: str,
        section: str = "",
        missing: int | None = None,
        stream_index: i64 = -1,
    ) -> None:
        """Make the row of a fault."""
        self.made += self._stream.anomaly(kind, direction, timestamp, packet, required, found, section, missing, stream_index)

    def object_to(self, side: Side, exchange: Exchange | None, kind: str, required: str, found: str, section: str) -> None:
        """Make the row of a fault in the frame under way, on a stream or on the connection."""
        framer = side.framer
        index: i64 = -1 if exchange is None else exchange.index
        self.note(side.direction, framer.timestamp, framer.packet, kind, required, found, section, None, index)

    def object_to_section(self, side: Side, exchange: Exchange, required: str) -> None:
        """Make the row of a field section that is not as it must be."""
        found = f"none on stream {exchange.number}"
        self.object_to(side, exchange, "stream_error", required, found, "RFC 9113 section 8.1")

    # --- what was said ---

    def add_section(self, side: Side, exchange: Exchange, name: str, section: str, lines: list[FieldLine]) -> None:
        """Make the row of a field section of a request or response (``name``), and show it to a follower."""
        self.made.append(HttpFieldSectionRecord(self._connection_id, exchange.index, 0, name, section, lines))
        tap = self._tap
        if tap is not None:
            text = bytearray()
            for line in lines:
                text += (b"?" if line.name is None else line.name) + b": " + (b"?" if line.value is None else line.value) + b"\n"
            tap.write(exchange.index, side.direction, side.framer.timestamp, "fields", bytes(text))

    def outlet(self, exchange: Exchange, direction: i64) -> Outlet | None:
        """Where a follower wants the content of a message."""
        tap = self._tap
        return None if tap is None else tap.outlet(exchange.index, 0, _SIDES[direction])

    def _end_content(self, exchange: Exchange, half: Half, direction: i64) -> str | None:
        """End the content of a message; returns its hash."""
        content = half.content
        if content is None:
            return None
        half.content = None
        if exchange.may_be_tunnel():
            content.discard()
            return None
        content.finish(half.is_ended and half.is_certain and half.missing_bytes == 0)
        if content.limit is not None:
            self._object_to_content(exchange, direction, "limit", content.limit, "more", "")
        if content.fault is not None:
            required = "content in its content coding"
            self._object_to_content(exchange, direction, "content_coding", required, content.fault, "RFC 9110 section 8.4")
        if content.kept is not None and half.content_bytes > 0:
            self.made.append(
                HttpContentRecord(
                    connection_id=self._connection_id,
                    stream_index=exchange.index,
                    exchange_index=0,
                    side=_SIDES[direction],
                    content=content.kept,
                    is_decoded=content.is_decoded,
                    is_complete=content.is_complete,
                )
            )
        content.hand_out()
        return content.sha256

    def _object_to_content(self, exchange: Exchange, direction: i64, kind: str, required: str, found: str, section: str) -> None:
        """Make the row of a fault in content that has ended."""
        self.note(direction, exchange.ended_at, exchange.last_packet, kind, required, found, section, None, exchange.index)

    # --- streams that are over ---

    def end_exchange(self, exchange: Exchange, reason: CloseReason | None) -> str:
        """Make an exchange's rows: it is over, or the connection is (``reason``); returns how it ended."""
        is_connection_over = reason is not None and (reason is CloseReason.FIN or reason is CloseReason.RESET)
        ended = self._end_reason(exchange, reason, is_connection_over)
        request = exchange.request
        response = exchange.response
        if exchange.number & 1 and not request.has_header:
            exchange.fields_complete = False
        request_sha256 = self._end_content(exchange, request, TO_SERVER)
        response_sha256 = self._end_content(exchange, response, TO_CLIENT)
        if request.has_header:
            self._stream.messages_to_server += 1
        if response.has_header:
            self._stream.messages_to_client += 1
        if request.has_begun or response.has_begun:
            is_reset = ended == "reset" or exchange.reset_code >= 0  # the response may have crossed RST_STREAM, and be complete
            code = self._sides.reset_name(exchange, is_connection_over) if is_reset else None
            self._add_exchange(exchange, ended, code, request_sha256, response_sha256)
        return ended

    def _end_reason(self, exchange: Exchange, reason: CloseReason | None, is_connection_over: bool) -> str:
        """How an exchange ended, in the words of its row."""
        response = exchange.response
        if response.is_ended and not response.has_header and response.content_bytes == 0 and self._sides.is_complete:
            return "no response"  # informational ones, and no other
        if response.is_ended and (exchange.request.is_ended or exchange.is_request_lost or exchange.reset_code == 0):
            return "complete" if exchange.request.has_begun else "no request"
        if exchange.reset_code >= 0 or reason is CloseReason.RESET or self._sides.goaway_code(exchange, is_connection_over) >= 0:
            return "reset"
        if not exchange.request.has_begun:
            return "no request"
        if not response.has_begun and reason is CloseReason.FIN:
            return "no response"
        return "cut"

    def open_rows(self, exchange: Exchange) -> Rows:
        """The rows, as they stand, of an exchange that is not over, and of its stream."""
        made = self.made
        self.made = []
        if exchange.request.has_begun or exchange.response.has_begun:
            self._add_exchange(exchange, None, None, None, None)
        self.add_stream(exchange, None, None)
        rows = self.made
        self.made = made
        return rows

    def _add_exchange(
        self, exchange: Exchange, ended: str | None, code: str | None, request_sha256: str | None, response_sha256: str | None
    ) -> None:
        request = exchange.request
        response = exchange.response
        status = exchange.status
        started = request.started_at
        response_ended_at: i64 = -1 if ended == "no response" else response.ended_at
        error: str | None = None
        if status >= 400:
            error = str(status)
        elif ended == "reset" and (status >= 0 or (response.is_certain and not response.has_begun)):
            error = code
        self.made.append(
            HttpExchangeRecord(  # by position, which is faster
                self._connection_id,
                exchange.index,
                0,
                "2",
                exchange.method,
                exchange.scheme,
                exchange.authority,
                exchange.target,
                None if status < 0 else status,
                None if started < 0 else started,
                None if request.ended_at < 0 else request.ended_at,
                None if response.started_at < 0 else response.started_at,
                None if response_ended_at < 0 else response_ended_at,
                duration(started, response_ended_at),
                duration(started, response.started_at),
                self._stalled(exchange),
                request.missing_bytes,
                response.missing_bytes,
                request.content_size(exchange.reset_direction == TO_SERVER),
                response.content_size(exchange.reset_direction == TO_CLIENT),
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

    def add_stream(self, exchange: Exchange, reason: CloseReason | None, ended: str | None) -> None:
        """Make the row of the stream of an exchange, which ``ended``; None while it has not."""
        request = exchange.request
        response = exchange.response
        end_reason = self._stream.end_reason
        if ended is None or ended == "complete" or ended == "reset":
            end_reason = ended
        elif end_reason is None:
            end_reason = "complete" if reason is None else reason.value
        self.made.append(
            StreamRecord(
                self._connection_id,
                exchange.index,
                self._stream.stream_index,
                self._stream.depth + 1,
                "http2",
                str(exchange.number),
                exchange.started_at,
                exchange.ended_at,
                request.carried_bytes,
                response.carried_bytes,
                1 if request.has_header and exchange.number & 1 else 0,
                1 if response.has_header else 0,
                request.missing_bytes + response.missing_bytes,
                self._stalled(exchange),
                end_reason,
                None if exchange.first_packet < 0 else exchange.first_packet,
                None if exchange.last_packet < 0 else exchange.last_packet,
            )
        )

    # --- closed windows ---

    def _stalled(self, exchange: Exchange) -> int | None:
        """How long a stream waited; None where its content may have waited for a window that could not be followed."""
        sides = self._sides
        if sides.windows_certain and sides.is_complete:
            return exchange.stalled
        has_content = exchange.request.content_bytes != 0 or exchange.response.content_bytes != 0
        is_over = exchange.request.is_ended and exchange.response.is_ended
        return None if has_content or not is_over or not exchange.is_witnessed() else exchange.stalled

    def add_stall(self, side: Side, kind: str, window: Window, stream_index: i64) -> i64:
        """Make the row of a window that was closed and opened again, -1 being the connection's; returns the stall's number."""
        stall = self._stream.scope.new_stall_index()
        self.made.append(
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

    def open_stall(self, side: Side, kind: str, window: Window, stream_index: i64) -> StallRecord:
        """The row of a window that is shut, -1 being the connection's."""
        return StallRecord(
            connection_id=self._connection_id,
            stall_index=None,
            direction=DIRECTION_NAMES[side.direction],
            kind=kind,
            stream_index=None if stream_index < 0 else stream_index,
            started_at=window.closed_at,
            first_packet=window.closed_packet,
        )

    def add_stalled_stream(self, exchange: Exchange, stall: i64, wait: i64) -> None:
        """Make the row of a stream that waited ``wait`` ns in a stall."""
        self.made.append(
            StalledStreamRecord(
                connection_id=self._connection_id, stall_index=stall, stream_index=exchange.index, stalled_ns=wait
            )
        )
