"""Streams inside HTTP/2 streams: what CONNECT opens (RFC 9113 section 8.5), WebSockets among it (RFC 8441)."""

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.http2_exchange import Exchange, HeldPiece, joined_values
from analyzer.codecs.http2_side import Side
from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Facts
from analyzer.http.http2_rows import Http2Rows
from analyzer.records import FieldLine, Rows
from analyzer.stream import Stream


class Tunnels:
    """The open tunnels of a connection."""

    def __init__(self, stream: Stream, rows: Http2Rows) -> None:
        self._stream = stream
        self._rows = rows
        self._open: dict[int, Stream] = {}  # by number of the HTTP/2 stream
        self.memory: i64 = 0  # bytes of it that take what is held on all streams

    def request(self, side: Side, exchange: Exchange) -> None:
        """A CONNECT request: the stream becomes a tunnel if the response says so."""
        exchange.is_connect = True
        if exchange.status >= 0:  # the response was delivered first
            lines = exchange.early_response
            self.answer(side, exchange, lines or [], lines is not None)

    def hold(self, side: Side, exchange: Exchange, piece: bytes) -> None:
        """Keep what the client sends before the response tells whether there is a tunnel."""
        if not exchange.is_held_whole:
            return
        framer = side.framer
        held = exchange.held
        cost: i64 = len(piece)
        is_new = not held or held[-1].packet != framer.packet
        if is_new:
            cost += limits.HTTP2_TUNNEL_PIECE_BYTES
        of_connection = self.memory + cost > limits.HTTP2_TUNNELS_HELD_BYTES
        if of_connection or exchange.held_bytes + len(piece) > limits.HTTP2_TUNNEL_HELD_BYTES:
            exchange.is_held_whole = False
            limit = limits.HTTP2_TUNNELS_HELD_BYTES if of_connection else limits.HTTP2_TUNNEL_HELD_BYTES
            where = "all streams" if of_connection else "a stream"
            required = f"at most {limit} bytes on {where} before CONNECT is answered"
            self._rows.object_to(side, exchange, "limit", required, "more", "")
            return
        if is_new:
            held.append(HeldPiece(framer.timestamp, framer.packet))
        held[-1].data += piece
        exchange.held_bytes += len(piece)
        exchange.held_cost += cost
        self.memory += cost

    def _release(self, exchange: Exchange) -> list[HeldPiece]:
        """Give up what is held of a stream."""
        held = exchange.held
        exchange.held = []
        self.memory -= exchange.held_cost
        exchange.held_cost = 0
        return held

    def forget(self, exchange: Exchange) -> None:
        """A stream is over that did not become a tunnel."""
        self._release(exchange)

    def answer(self, side: Side, exchange: Exchange, lines: list[FieldLine], is_known: bool) -> None:
        """The response to CONNECT: with a 2xx status, what follows belongs to another protocol."""
        exchange.is_connect = False
        held = self._release(exchange)
        if exchange.status < 0 or exchange.status >= 300:
            return
        name: str | None = None
        facts: Facts = {}
        if exchange.protocol == b"websocket":
            name = "websocket"
            if is_known:
                facts["sec-websocket-extensions"] = joined_values(lines, b"sec-websocket-extensions")
                facts["sec-websocket-protocol"] = joined_values(lines, b"sec-websocket-protocol")
        framer = side.framer
        tunnel = self._stream.child(name, None, facts, within=exchange.index)
        exchange.has_tunnel = True
        self._open[exchange.number] = tunnel
        rows = self._rows.made
        for piece in held:
            # its wait belonged to a stall that is over, and is counted where the bytes are: in the HTTP/2 stream
            rows += tunnel.feed(TO_SERVER, bytes(piece.data), piece.timestamp, piece.timestamp, piece.packet)
        missed = exchange.request.content_bytes - exchange.held_bytes
        if not exchange.request.is_certain:
            rows += tunnel.gap(TO_SERVER, None, None, framer.timestamp, framer.packet)
        elif missed > 0:
            rows += tunnel.gap(TO_SERVER, missed, None, framer.timestamp, framer.packet)
        if exchange.response.content_bytes > 0:
            rows += tunnel.gap(TO_CLIENT, exchange.response.content_bytes, None, framer.timestamp, framer.packet)
        if exchange.request.is_ended:
            rows += tunnel.close(TO_SERVER, CloseReason.FIN, framer.timestamp, framer.packet)

    def deliver(self, side: Side, exchange: Exchange, data: bytes, position: i64, length: i64) -> None:
        """Content of a stream that is a tunnel."""
        framer = side.framer
        self._rows.made += self._open[exchange.number].deliver(
            side.direction, data, position, length, framer.timestamp, framer.released, framer.packet
        )

    def miss(self, side: Side, exchange: Exchange, length: int | None, at_most: int | None) -> None:
        """Content of a stream that is a tunnel is missing."""
        framer = side.framer
        tunnel = self._open[exchange.number]
        self._rows.made += tunnel.gap(side.direction, length, at_most, framer.timestamp, framer.packet)

    def end_side(self, side: Side, exchange: Exchange) -> None:
        """One side of a stream that is a tunnel has said everything."""
        framer = side.framer
        tunnel = self._open[exchange.number]
        self._rows.made += tunnel.close(side.direction, CloseReason.FIN, framer.timestamp, framer.packet)

    def end(self, exchange: Exchange, reason: CloseReason | None) -> None:
        """A stream that is a tunnel is over, or the connection is (``reason``)."""
        tunnel = self._open.pop(exchange.number)
        closing = CloseReason.RESET if exchange.reset_code >= 0 else CloseReason.FIN if reason is None else reason
        for direction in (TO_SERVER, TO_CLIENT):
            self._rows.made += tunnel.close(direction, closing, exchange.ended_at, exchange.last_packet)

    def open_rows(self, now: i64) -> Rows:
        """The rows, as they stand, of the streams that are tunnels."""
        rows: Rows = []
        for tunnel in self._open.values():
            rows += tunnel.tick(now)
        return rows

    def close(self, direction: i64, reason: CloseReason, timestamp: i64, packet: i64) -> None:
        """A direction of the connection has ended."""
        for tunnel in self._open.values():
            self._rows.made += tunnel.close(direction, reason, timestamp, packet)
