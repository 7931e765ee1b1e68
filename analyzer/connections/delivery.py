"""Bytes of a TCP connection on their way to its stream: in order, around holes, to the end of each direction.

A hole that is filled makes the bytes behind it wait, as they waited in the receiver: they are released at the time of
the packet that filled it, and a ``stalls`` row tells of it. A hole of the capture is declared: a gap for the stream, an
anomaly, and nobody waited. Whether a hole is one of the capture is decided by the table, by the rule in its docstring.
"""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.connections.connection import Connection
from analyzer.connections.half import Half
from analyzer.connections.reassembly import SEQUENCE_MASK, Piece
from analyzer.dissector import DIRECTION_NAMES, CloseReason, Context
from analyzer.packets.segment import Segment
from analyzer.records import Rows, StallRecord

SECTION: Final = "RFC 9293 section 3.4"
ACKNOWLEDGED: Final = "an acknowledgment that covers them, but no packet"
ONE_SIDED: Final = "later bytes; the capture lacks the other direction"
OVER_LIMIT: Final = "more later bytes than are held"
AT_END: Final = "the end of the connection or of the capture"
SNAPPED: Final = "a packet that was cut at the snap length"
IDENTIFICATIONS_APART: Final = 1024  # closer ones come from a counter, which tells the order of sending


class Delivery(Connection):
    """A TCP connection as far as its bytes go; what its packets mean is decided in ``tcp``."""

    def __init__(
        self, context: Context, segment: Segment, timestamp: i64, frame: i64, capture_index: i64, interface: str | None
    ) -> None:
        super().__init__(context, "tcp", segment, timestamp, frame, capture_index, interface)
        self.first: Half | None = None
        self.second: Half | None = None
        self.round_trip: i64 = -1  # of the handshake, -1 where it was not seen
        self.reset_at: i64 = 0
        self.reset_packet: i64 = -1  # -1: no reset
        self.held_bytes: i64 = 0  # of memory behind holes, both directions

    def halves(self) -> list[Half]:
        """Both ends, the one towards the server first; none once the connection is finished."""
        first = self.first
        second = self.second
        if first is None or second is None:
            return []
        return [first, second] if self.client_side == 0 else [second, first]

    def open_stream(self) -> Rows:
        """Make the stream of the connection's bytes, and close in it what ended before it was needed."""
        rows: Rows = []
        if self.stream is None:
            stream = self.need_stream()
            for half in self.halves():
                if half.ended is not None:
                    rows += stream.close(half.side ^ self.client_side, half.ended, half.fin_at, half.fin_packet)
        return rows

    def deliver(self, half: Half, data: bytes, offset: i64, length: i64, timestamp: i64, released: i64, packet: i64) -> Rows:
        """Hand the next ``length`` bytes of an end to the stream."""
        stream = self.stream
        rows: Rows = []
        if stream is None:
            rows = self.open_stream()
            stream = self.need_stream()
        if half.starts_unknown:
            half.starts_unknown = False
            rows += stream.gap(half.side ^ self.client_side, None, None, timestamp, packet)
            self.follow_roles()
        rows += stream.deliver(half.side ^ self.client_side, data, offset, length, timestamp, released, packet)
        half.next += length
        half.delivered += length
        if half.highest < half.next:
            half.highest = half.next
        self.follow_roles()
        return rows

    def lack(self, half: Half, length: i64, timestamp: i64, packet: i64, found: str, is_assumed: bool) -> Rows:
        """Tell the stream that the next ``length`` bytes of an end are missing, and write the anomaly."""
        self.history.repeat(half.side, "G")
        rows = self.open_stream()
        rows += self.anomaly(
            "missing_bytes",
            half.side,
            timestamp,
            packet,
            f"{length} bytes from sequence number {half.next & SEQUENCE_MASK}",
            found,
            SECTION,
            length,
            is_assumed,
        )
        stream = self.need_stream()
        if half.starts_unknown:
            half.starts_unknown = False
            rows += stream.gap(half.side ^ self.client_side, None, None, timestamp, packet)
            self.follow_roles()
        rows += stream.gap(half.side ^ self.client_side, length, None, timestamp, packet)
        half.next += length
        half.missing += length
        if half.highest < half.next:
            half.highest = half.next
        self.follow_roles()
        return rows

    def deliver_segment(self, half: Half, segment: Segment, skip: i64, length: i64, timestamp: i64, frame: i64) -> Rows:
        """Hand over a segment that is next, without its first ``skip`` bytes; of ``length`` some may be cut off."""
        rows: Rows = []
        captured = segment.payload_length
        if captured > length:
            captured = length
        if captured > skip:
            rows = self.deliver(half, segment.data, segment.payload_offset + skip, captured - skip, timestamp, timestamp, frame)
            skip = captured
        if length > skip:
            rows += self.lack(half, length - skip, timestamp, frame, SNAPPED, False)
        return rows + self.end_if_complete(half)

    def release_pieces(self, half: Half) -> Rows:
        """Deliver what no longer waits: the pieces from the next byte to the next hole.

        A piece waited for the latest packet among those before it, since only then the receiver could read it.
        """
        disorder = half.disorder
        if disorder is None:
            return []
        backlog = disorder.backlog
        rows: Rows = []
        latest: Piece | None = None
        stall: StallRecord | None = None
        held_before = backlog.memory()
        count: i64 = 0
        for piece in backlog.pieces:
            if piece.start != half.next:
                break
            count += 1
            if latest is None or piece.timestamp >= latest.timestamp:
                rows += self._end_stall(stall)
                stall = None
                latest = piece
            elif stall is None:
                stall = self._begin_stall(half, latest, piece)
            elif stall.started_at is not None and piece.timestamp < stall.started_at:
                stall.started_at = piece.timestamp
                stall.first_packet = piece.packet
            length = piece.end - piece.start
            data = piece.data
            if data is None:
                rows += self.lack(half, length, piece.timestamp, piece.packet, SNAPPED, False)
                continue
            if stall is not None:
                stall.waiting_bytes = (stall.waiting_bytes or 0) + length
            rows += self.deliver(half, data, 0, length, piece.timestamp, latest.timestamp, piece.packet)
        rows += self._end_stall(stall)
        backlog.drop(count)
        self.held_bytes -= held_before - backlog.memory()
        return rows + self.end_if_complete(half)

    def _begin_stall(self, half: Half, filler: Piece, waiting: Piece) -> StallRecord:
        return StallRecord(
            connection_id=self.connection_id,
            stall_index=self.need_scope().begin_stall(),
            direction=DIRECTION_NAMES[half.side ^ self.client_side],
            kind="tcp_hole",
            started_at=waiting.timestamp,
            ended_at=filler.timestamp,
            waiting_bytes=0,
            evidence=self._evidence(filler, waiting),
            first_packet=waiting.packet,
            last_packet=filler.packet,
        )

    def _end_stall(self, stall: StallRecord | None) -> Rows:
        if stall is None:
            return []
        if stall.started_at is not None and stall.ended_at is not None:
            stall.duration_ns = stall.ended_at - stall.started_at
        return self.when_roles_are_known([stall]) + self.need_scope().end_stall()

    def _evidence(self, filler: Piece, waiting: Piece) -> str:
        """Whether the packet that filled a hole was sent before the one that waited, or again after it.

        The sender's own clock and counter tell; else the time: nobody sends again before a round trip.
        """
        if filler.sent_at >= 0 and waiting.sent_at >= 0 and filler.sent_at != waiting.sent_at:
            return "late" if (filler.sent_at - waiting.sent_at) & 0x8000_0000 else "retransmission"
        if filler.identification > 0 and waiting.identification > 0:
            apart = (filler.identification - waiting.identification) & 0xFFFF
            if 0 < apart < IDENTIFICATIONS_APART:
                return "retransmission"
            if apart > 0x1_0000 - IDENTIFICATIONS_APART:
                return "late"
        soon = limits.LATE_NANOSECONDS if self.round_trip < 0 else self.round_trip * 4 // 5
        return "late" if filler.timestamp - waiting.timestamp < soon else "retransmission"

    def declare(self, half: Half, found: str, is_assumed: bool) -> Rows:
        """Give the first hole of an end up as missing from the capture; deliver what waited behind it."""
        disorder = half.disorder
        if disorder is not None and disorder.backlog.pieces:
            piece = disorder.backlog.pieces[0]
            length = piece.start - half.next
            rows = self.lack(half, length, piece.timestamp, piece.packet, found, is_assumed) if length > 0 else []
            return rows + self.release_pieces(half)
        if half.fin > half.next:
            rows = self.lack(half, half.fin - half.next, half.fin_at, half.fin_packet, found, is_assumed)
            return rows + self.end_if_complete(half)
        return []

    def declare_until(self, half: Half, position: i64, found: str, is_assumed: bool) -> Rows:
        """Give up the holes that end at or before ``position``."""
        rows: Rows = []
        while half.hole_end() >= 0 and half.hole_end() <= position:
            rows += self.declare(half, found, is_assumed)
        return rows

    def end_if_complete(self, half: Half) -> Rows:
        """End a direction whose FIN is next."""
        if half.fin >= 0 and half.next >= half.fin:
            return self.end(half, CloseReason.FIN, half.fin_at, half.fin_packet)
        return []

    def end(self, half: Half, reason: CloseReason, timestamp: i64, packet: i64) -> Rows:
        """Tell the stream that a direction has ended."""
        if half.ended is not None:
            return []
        half.ended = reason
        half.fin_at = timestamp
        half.fin_packet = packet
        half.is_smooth = False
        stream = self.stream
        if stream is None:
            return []
        rows = stream.close(half.side ^ self.client_side, reason, timestamp, packet)
        self.follow_roles()
        return rows

    def flush(self, half: Half, reason: CloseReason, timestamp: i64, packet: i64) -> Rows:
        """Deliver what an end has left, holes declared, and end it: no packet will come that could fill them."""
        rows: Rows = []
        if half.ended is None and half.next >= 0:
            if half.edge >= 0 and half.packets > 0:
                rows += self._drop_beyond(half, half.edge if half.edge > half.acked else half.acked)
            while half.hole_end() >= 0:
                if half.edge < 0 and half.has_backlog() and not self.is_plausible_hole(half):
                    rows += self._drop_beyond(half, half.next + limits.ONE_SIDED_HOLE_BYTES)
                    continue
                found = ACKNOWLEDGED if half.acked >= half.hole_end() else AT_END
                rows += self.declare(half, found, False)
        if half.ended is None:
            rows += self._lack_tail(half, timestamp, packet)
            rows += self.end(half, reason, timestamp, packet)
        return rows

    def is_plausible_hole(self, half: Half) -> bool:
        """Whether the first hole can be one where the other direction is not captured, so that nothing says what may be sent."""
        return half.hole_end() - half.next <= limits.ONE_SIDED_HOLE_BYTES

    def _drop_beyond(self, half: Half, edge: i64) -> Rows:
        """Drop bytes from ``edge`` on, that no window allowed and nobody acknowledged: they were not of this connection."""
        disorder = half.disorder
        if disorder is None:
            return []
        backlog = disorder.backlog
        held_before = backlog.memory()
        dropped = backlog.drop_from(edge)
        self.held_bytes -= held_before - backlog.memory()
        if dropped is None:
            return []
        return self.anomaly(
            "out_of_window",
            half.side,
            dropped.timestamp,
            dropped.packet,
            f"sequence numbers below {edge & SEQUENCE_MASK}",
            f"{dropped.start & SEQUENCE_MASK}, which nobody acknowledged",
            "RFC 9293 section 3.10.7.4",
        )

    def _lack_tail(self, half: Half, timestamp: i64, packet: i64) -> Rows:
        """Tell of acknowledged bytes that no packet carried. One of them may be the number of a FIN."""
        start = half.next if half.next >= 0 else half.first_acked
        missing = half.acked - start
        if start < 0 or missing <= 1 or half.fin >= 0:
            return []
        half.missing += missing
        self.history.repeat(half.side, "G")
        rows = self.anomaly(
            "missing_bytes",
            half.side,
            timestamp,
            packet,
            f"{missing} bytes from sequence number {start & SEQUENCE_MASK}",
            ACKNOWLEDGED,
            SECTION,
            missing,
        )
        stream = self.stream
        if stream is not None:
            rows += stream.gap(half.side ^ self.client_side, None, missing, timestamp, packet)
            self.follow_roles()
        return rows
