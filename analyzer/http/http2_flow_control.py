"""HTTP/2 flow control (RFC 9113 section 5.2): DATA that waited for a window to be opened is a stall."""

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.http2_exchange import Exchange, Half
from analyzer.codecs.http2_side import Side
from analyzer.codecs.http2_sides import Sides
from analyzer.dissector import TO_SERVER
from analyzer.http.http2_rows import Http2Rows
from analyzer.records import Rows


class FlowControl:
    """Follows the windows of a connection and of its streams, in both directions."""

    def __init__(self, sides: Sides, rows: Http2Rows) -> None:
        self._sides = sides
        self._rows = rows

    def open_connection(self, side: Side, increment: i64) -> None:
        """A WINDOW_UPDATE from ``side``: the other one may send more, on all streams together."""
        framer = side.framer
        self._sides.opposite(side).window.credit(increment, 0, framer.released, framer.packet)

    def open_stream(self, side: Side, exchange: Exchange, increment: i64) -> None:
        """A WINDOW_UPDATE from ``side``: the other one may send more on this stream."""
        framer = side.framer
        half = exchange.response if side.direction == TO_SERVER else exchange.request
        half.credit(increment, self._sides.opposite(side).initial_window, framer.released, framer.packet)

    def shrink(self, side: Side, before: i64, exchanges: dict[int, Exchange]) -> None:
        """``side`` has acknowledged a smaller initial window than ``before``: that may shut windows (RFC 9113 section 6.9.2)."""
        if not self._sides.windows_certain:
            return
        framer = side.framer
        side.shrinkages += 1
        if side.shrinkages > limits.HTTP2_WINDOW_SHRINKAGES:
            required = f"at most {limits.HTTP2_WINDOW_SHRINKAGES} times that the initial window becomes smaller"
            self._rows.object_to(side, None, "limit", required, "more", "")
            self._sides.windows_certain = False
            return
        for exchange in exchanges.values():
            half = exchange.half(side.direction)
            if half.has_begun and not half.is_ended and half.spare + side.initial_window <= 0 < half.spare + before:
                half.close(framer.timestamp, framer.packet)

    def use(self, side: Side, exchange: Exchange | None, length: i64) -> None:
        """DATA uses up windows; if one was closed until before, that is a stall."""
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
        if half.opened_at > half.closed_at and self._sides.windows_certain:
            stall = self._rows.add_stall(side, "stream_window", half, exchange.index)
            self._stall_stream(exchange, half, stall, half.closed_at, half.opened_at)
        half.forget()

    def _tell_connection_stall(self, side: Side, exchange: Exchange | None, half: Half | None) -> None:
        """DATA follows after the connection's window was closed and opened again: its stream waited, and others may have."""
        window = side.window
        if window.opened_at <= window.closed_at or not self._sides.windows_certain:
            return
        if side.stall_index < 0:
            side.stall_index = self._rows.add_stall(side, "connection_window", window, -1)
        if exchange is None or half is None or half.told_stall == side.stall_index:
            return
        half.told_stall = side.stall_index
        if 0 <= half.started_at < window.opened_at:
            begin = window.closed_at if window.closed_at > half.started_at else half.started_at
            self._stall_stream(exchange, half, side.stall_index, begin, window.opened_at)

    def open_rows(self, exchanges: dict[int, Exchange]) -> Rows:
        """The rows of windows that are shut: whether anything waits for them is not known before they are opened."""
        rows: Rows = []
        if not self._sides.windows_certain:
            return rows
        for side in (self._sides.to_server, self._sides.to_client):
            if side.is_closed:
                continue
            if side.window.is_shut(0):
                rows.append(self._rows.open_stall(side, "connection_window", side.window, -1))
            for exchange in exchanges.values():
                half = exchange.half(side.direction)
                if not half.is_ended and exchange.reset_code < 0 and half.is_shut(side.initial_window):
                    rows.append(self._rows.open_stall(side, "stream_window", half, exchange.index))
        return rows

    def _stall_stream(self, exchange: Exchange, half: Half, stall: i64, begin: i64, end: i64) -> None:
        """A stream waited from ``begin`` to ``end``; its exchange counts what other stalls have not counted."""
        self._rows.add_stalled_stream(exchange, stall, end - begin)
        if begin < half.told_until:
            begin = half.told_until
        if end > begin:
            exchange.stalled += end - begin
            half.told_until = end
