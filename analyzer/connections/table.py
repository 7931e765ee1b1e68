"""The connection table: from packets to connections, and the moments at which something is due without a packet.

A hole is declared when an acknowledgment that its sender's peer could send has passed it and the capture has advanced
by a reordering window of time and packets since, for captures from several queues record acknowledgments before the
data they cover. Where the other direction is not captured at all, the window alone decides, and the row says that it is
assumed. A connection that was closed collects late packets for a while before its rows are written.
"""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.connections import history
from analyzer.connections.acknowledgments import ACK, FIN, RST, SYN
from analyzer.connections.connection import Connection
from analyzer.connections.due import Due, DueQueue
from analyzer.connections.half import Half
from analyzer.connections.least_used import LeastUsed
from analyzer.connections.reassembly import SEQUENCE_MASK
from analyzer.connections.tcp import TcpConnection
from analyzer.connections.udp import UdpFlow
from analyzer.dissector import CloseReason, Context
from analyzer.packets.decoder import TCP
from analyzer.packets.segment import Segment
from analyzer.records import Rows

NEVER: Final = 1 << 62
URGENT: Final = 32
PUT_AWAY_PART: Final = 16  # of what connections may take is made free at a time


class ConnectionTable:
    """Every connection that is open, by the flow key of each of its ends."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.taken_by: i64 = -1  # the connection_id of the packet that was taken last
        self.most_bytes = context.memory.connection_bytes
        self.most_held_bytes = context.memory.held_bytes
        self.most_lingering: i64 = limits.LINGERING_CONNECTIONS
        self._halves: dict[bytes, Half] = {}
        self._latest_half: Half | None = None  # found last
        self._latest_key: bytes = b""  # of it
        self._flows: dict[bytes, UdpFlow] = {}
        self._bytes: i64 = 0  # of memory that open connections take
        self._held_bytes: i64 = 0  # the same behind holes
        self._least_used = LeastUsed()
        self._clock: i64 = 0  # capture time that never runs backwards
        self._offset: i64 = 0  # from timestamps to the clock
        self._packets_behind: i64 = 0  # in a row
        self._count: i64 = 0  # packets of the capture
        self._capture_index: i64 = -1
        self._frame: i64 = 0
        self._lost: i64 = 0  # packets of the captures; the limit where there were more, or what cannot be
        self._telling: set[int] = set()  # captures that say when they lost packets
        self._next_due: i64 = NEVER
        self._holes = DueQueue()  # holes that may be the capture's, and resets
        self._closed = DueQueue()
        self._idle = DueQueue()
        self._dissects_udp = False
        for dissector in context.dissectors:
            if "udp" in dissector.transports:
                self._dissects_udp = True

    def packet(
        self, segment: Segment, kind: i64, timestamp: i64, frame: i64, capture_index: i64, interface_name: str | None
    ) -> Rows:
        """Take what was decoded from a packet: ``kind`` is TCP or UDP. Returns the rows it completes."""
        clock = timestamp + self._offset
        if capture_index == self._capture_index and frame > self._frame:
            self._count += frame - self._frame
        else:
            self._count += 1
        self._frame = frame
        self._capture_index = capture_index
        if clock > self._clock:
            self._clock = clock
            self._packets_behind = 0
        elif self._clock - clock > limits.CLOCK_STEP_NANOSECONDS:
            self._packets_behind += 1
            if self._packets_behind > limits.CLOCK_STEP_PACKETS:  # not strays: the capturing clock was set back
                self._offset += self._clock - clock
                self._packets_behind = 0
        else:
            self._packets_behind = 0
        if self._next_due <= self._clock:
            rows = self._look_at_due()
            rows += self._take(segment, kind, timestamp, frame, capture_index, interface_name)
            return rows
        return self._take(segment, kind, timestamp, frame, capture_index, interface_name)

    def _take(
        self, segment: Segment, kind: i64, timestamp: i64, frame: i64, capture_index: i64, interface_name: str | None
    ) -> Rows:
        if kind != TCP:
            return self._take_datagram(segment, timestamp, frame, capture_index, interface_name)
        half = self._latest_half
        if half is None or segment.flow_key is not self._latest_key:  # else of the burst of the packet before
            half = self._halves.get(segment.flow_key)
            if half is None:
                return self._open_connection(segment, timestamp, frame, capture_index, interface_name)
            self._latest_half = half
            self._latest_key = segment.flow_key
        peer = half.peer
        if peer.is_watched or segment.flags & (SYN | FIN | RST | ACK | URGENT) != ACK or segment.window == 0:
            return self._take_slowly(half, segment, timestamp, frame, capture_index, interface_name)
        length = segment.payload_length
        advance: i64 = (segment.acknowledgment - peer.acked) & 0xFFFF_FFFF
        if advance > peer.highest - peer.acked or length != segment.original_payload_length:
            return self._take_slowly(half, segment, timestamp, frame, capture_index, interface_name)
        if length == 0:
            if not half.is_acking or advance == 0:
                return self._take_slowly(half, segment, timestamp, frame, capture_index, interface_name)
        elif not half.is_smooth or segment.sequence != half.next & 0xFFFF_FFFF:
            return self._take_slowly(half, segment, timestamp, frame, capture_index, interface_name)
        # the short way: an acknowledgment, or a segment that is next, of an established connection without holes
        connection = half.connection
        self.taken_by = connection.connection_id
        half.packets += 1
        connection.last_packet = frame
        if timestamp > connection.ended_at:
            connection.ended_at = timestamp
        half.window = segment.window
        half.last_sequence = segment.sequence
        half.last_acknowledgment = segment.acknowledgment
        half.last_identification = segment.ip_identification
        half.last_length = length
        half.last_flags = segment.flags
        half.last_at = timestamp
        peer.acked += advance
        edge = peer.acked + (segment.window << half.shift)
        if edge > peer.edge:
            peer.edge = edge
        if length == 0:
            return []
        half.next += length
        half.delivered += length
        if half.highest < half.next:
            half.highest = half.next
        stream = connection.stream
        assert stream is not None  # it was made before `is_smooth` was set
        rows = stream.deliver(
            half.side ^ connection.client_side, segment.data, segment.payload_offset, length, timestamp, timestamp, frame
        )
        if stream.reversed:
            connection.follow_roles()
        if connection.own_bytes + stream.scope.held_bytes != connection.counted_bytes:
            self._count_memory(connection)
            if self._bytes > self.most_bytes:
                rows += self._make_room()
        return rows

    def close(self) -> list[Connection]:
        """The capture is over; returns what is open, each to be ended, by connection_id, the highest first."""
        self._holes.clear()
        self._closed.clear()
        self._idle.clear()
        self._least_used.clear()
        self._next_due = NEVER
        found = self._by_id()
        return [found[connection_id] for connection_id in sorted(found, reverse=True)]

    def end(self, connection: Connection) -> Rows:
        """End a connection that the capture leaves open; returns its rows."""
        return self._finish(connection, CloseReason.CAPTURE_END)

    def advance(self, timestamp: i64) -> Rows:
        """Do what is due at a time before which no packet will come any more."""
        clock = timestamp + self._offset
        if clock > self._clock:
            self._clock = clock
        return self._look_at_due() if self._next_due <= self._clock else []

    def lose(self, packets: i64, timestamp: i64, capture_index: i64, *, is_told: bool) -> Rows:
        """Note that a capture lost so many packets, 0 too, before the one of this time, which is taken next; or behind its last.

        ``is_told`` is whether it says so each time; where it does not, nothing is known of its connections.
        """
        rows = self.advance(timestamp)
        if packets >= limits.DROPPED_PACKETS - self._lost:
            self._lost = limits.DROPPED_PACKETS
        else:
            self._lost += packets
        if is_told:
            self._telling.add(capture_index)
        else:
            self._telling.discard(capture_index)
        return rows

    def _tell_lost(self, connection: Connection) -> None:
        """Tell a connection how many packets were lost while it was open, None where that is not known."""
        connection.lost_packets = None
        if connection.capture_index in self._telling and self._lost < limits.DROPPED_PACKETS:
            until = self._lost if connection.lost_until < 0 else connection.lost_until
            connection.lost_packets = until - connection.lost_before

    def open_rows(self, timestamp: i64) -> Rows:
        """The rows of what is open as they stand."""
        rows: Rows = []
        for connection in self._by_id().values():
            self._tell_lost(connection)
            rows += connection.open_rows(timestamp)
        return rows

    def wake(self) -> Rows:
        """Keys have come: let what waits for them go on. Returns the rows that come of it."""
        rows: Rows = []
        for connection in self._by_id().values():
            scope = connection.scope
            if scope is not None and scope.sleeping:
                rows += scope.wake()
                self._count_memory(connection)
        return rows + self._make_room() if self._bytes > self.most_bytes else rows

    def _by_id(self) -> dict[int, Connection]:
        """The open connections."""
        found: dict[int, Connection] = {}
        for half in self._halves.values():
            found[half.connection.connection_id] = half.connection
        for flow in self._flows.values():
            found[flow.connection_id] = flow
        return found

    # --- opening and closing ---

    def _open_connection(
        self, segment: Segment, timestamp: i64, frame: i64, capture_index: i64, interface_name: str | None
    ) -> Rows:
        connection = TcpConnection(self.context, segment, timestamp, frame, capture_index, interface_name)
        connection.lost_before = self._lost
        self.taken_by = connection.connection_id
        first = self._register(connection)
        rows = connection.take(first, segment, timestamp, frame)
        return rows + self._settle(connection, first)

    def _register(self, connection: TcpConnection) -> Half:
        """Make a connection the one that its flow keys name; returns its first end."""
        first = connection.first
        second = connection.second
        assert first is not None
        assert second is not None
        self._latest_half = None
        self._halves[second.key] = second
        self._halves[first.key] = first  # the one that stays where a socket is connected to itself
        return first

    def _finish(self, connection: Connection, reason: CloseReason) -> Rows:
        """Write a connection's rows and forget it."""
        if connection.is_finished:
            return []
        self._bytes -= connection.counted_bytes
        connection.counted_bytes = 0
        self._tell_lost(connection)
        if isinstance(connection, UdpFlow):
            self._forget_flow(connection)
            return connection.finish(reason)
        assert isinstance(connection, TcpConnection)
        rows: Rows = []
        self._latest_half = None
        for half in connection.halves():
            if self._halves.get(half.key) is half:
                del self._halves[half.key]
        self._held_bytes -= connection.held_bytes
        challenger = connection.challenger
        connection.challenger = None
        rows += connection.finish(reason)
        if challenger is not None:
            if reason is CloseReason.TIMEOUT:
                self._register(challenger)
            else:
                rows += self._finish(challenger, reason)
        return rows

    def _forget_flow(self, flow: UdpFlow) -> None:
        for key in (flow.key, flow.reverse_key):
            if self._flows.get(key) is flow:
                del self._flows[key]

    # --- memory ---

    def memory(self) -> i64:
        """How many bytes of memory the open connections take, those behind holes included."""
        return self._bytes + self._held_bytes

    def _count_memory(self, connection: Connection) -> None:
        """See what a connection takes by now."""
        taken = connection.memory()
        self._bytes += taken - connection.counted_bytes
        connection.counted_bytes = taken

    def _make_room(self) -> Rows:
        """Put the least recently used connections away where all together take too much."""
        enough = self.most_bytes - self.most_bytes // PUT_AWAY_PART
        rows: Rows = []
        while self._bytes > enough:
            connection = self._least_used.take()
            if connection is None:
                found = self._by_id()
                if not found:
                    break
                self._least_used.sort(found.values())
            else:
                rows += self._finish(connection, CloseReason.LIMIT)
        return rows

    # --- TCP off the short way ---

    def _take_slowly(
        self, half: Half, segment: Segment, timestamp: i64, frame: i64, capture_index: i64, interface_name: str | None
    ) -> Rows:
        connection = half.connection
        if connection.challenger is not None and self._is_of_challenger(connection, half, segment):
            return self._take_for_challenger(connection, segment, timestamp, frame)
        if segment.flags & SYN and not segment.flags & (FIN | RST) and self._is_other(connection, half, segment):
            if connection.is_over() or half.peer.packets == 0:
                rows = self._finish(connection, CloseReason.TIMEOUT)  # a challenger may have taken its place
                return rows + self._take(segment, TCP, timestamp, frame, capture_index, interface_name)
            if not segment.flags & ACK or half.peer.isn >= 0:
                return self._challenge(connection, segment, timestamp, frame, capture_index, interface_name)
        return self._take_here(connection, half, segment, timestamp, frame)

    def _take_here(self, connection: TcpConnection, half: Half, segment: Segment, timestamp: i64, frame: i64) -> Rows:
        self.taken_by = connection.connection_id
        held_before = connection.held_bytes
        rows = connection.take(half, segment, timestamp, frame)
        self._held_bytes += connection.held_bytes - held_before
        if self._held_bytes > self.most_held_bytes and connection.held_bytes > held_before:
            self._held_bytes -= connection.held_bytes
            rows += connection.give_up_holes()
            self._held_bytes += connection.held_bytes
        return rows + self._settle(connection, half)

    def _settle(self, connection: TcpConnection, half: Half) -> Rows:
        """See what a packet has left to be done, and whether it took too much memory."""
        self._schedule(connection, half)
        self._count_memory(connection)
        return self._make_room() if self._bytes > self.most_bytes else []

    def _is_other(self, connection: TcpConnection, half: Half, segment: Segment) -> bool:
        """Whether a SYN is not that of the connection whose addresses and ports it has."""
        peer = half.peer
        if half.isn == segment.sequence:
            return False
        if segment.flags & ACK:
            if peer.isn >= 0 and segment.acknowledgment == (peer.isn + 1) & SEQUENCE_MASK:
                return False
            return connection.is_over() or (peer.isn >= 0 and not peer.may_have_sent(segment.acknowledgment))
        if half.isn >= 0:
            return True
        if half.next >= 0:  # its bytes were seen first: from several queues packets come out of order
            start = half.next - half.delivered - half.missing
            return start & SEQUENCE_MASK != (segment.sequence + 1) & SEQUENCE_MASK
        if half.packets > 0:  # acknowledgments
            return half.last_sequence != (segment.sequence + 1) & SEQUENCE_MASK
        if half.first_acked >= 0:
            return half.first_acked & SEQUENCE_MASK != (segment.sequence + 1) & SEQUENCE_MASK
        return peer.state != history.SYN_SENT  # else both open at the same time

    def _challenge(
        self,
        connection: TcpConnection,
        segment: Segment,
        timestamp: i64,
        frame: i64,
        capture_index: i64,
        interface_name: str | None,
    ) -> Rows:
        """Open a connection beside one that is alive; whether it takes its place the other end decides."""
        rows: Rows = []
        if connection.challenger is not None:
            rows = self._finish(connection.challenger, CloseReason.TIMEOUT)
        challenger = TcpConnection(self.context, segment, timestamp, frame, capture_index, interface_name)
        challenger.lost_before = self._lost
        connection.challenger = challenger
        self.taken_by = challenger.connection_id
        first = challenger.first
        assert first is not None
        rows += challenger.take(first, segment, timestamp, frame)
        self._count_memory(challenger)
        return rows

    def _is_of_challenger(self, connection: TcpConnection, half: Half, segment: Segment) -> bool:
        challenger = connection.challenger
        if challenger is None or challenger.first is None:
            return False
        first = challenger.first
        after_syn = (first.isn + 1) & SEQUENCE_MASK
        if first.key != segment.flow_key:
            return segment.flags & ACK != 0 and segment.acknowledgment == after_syn
        if segment.flags & SYN:
            return segment.sequence == first.isn
        return segment.sequence == after_syn and half.next & SEQUENCE_MASK != after_syn

    def _take_for_challenger(self, connection: TcpConnection, segment: Segment, timestamp: i64, frame: i64) -> Rows:
        """Take a packet for the connection that began in the middle of another; an answered SYN ends the other."""
        challenger = connection.challenger
        assert challenger is not None
        rows: Rows = []
        first = challenger.first
        second = challenger.second
        assert first is not None
        assert second is not None
        half = first if first.key == segment.flow_key else second
        if not segment.flags & SYN or half is second or connection.is_over():
            rows = self._finish(connection, CloseReason.TIMEOUT)  # the challenger takes its place
        return rows + self._take_here(challenger, half, segment, timestamp, frame)

    # --- UDP ---

    def _take_datagram(
        self, segment: Segment, timestamp: i64, frame: i64, capture_index: i64, interface_name: str | None
    ) -> Rows:
        rows: Rows = []
        flow = self._flows.get(segment.flow_key)
        if flow is not None and self._clock - flow.used_at > limits.FLOW_NANOSECONDS:
            rows = self._finish(flow, CloseReason.TIMEOUT)
            flow = None
        if flow is None:
            flow = UdpFlow(self.context, segment, timestamp, frame, capture_index, interface_name)
            flow.lost_before = self._lost
            self._flows[flow.reverse_key] = flow
            self._flows[flow.key] = flow
            self._wait(self._idle, limits.FLOW_NANOSECONDS, 0, flow, None)
        flow.used_at = self._clock
        self.taken_by = flow.connection_id
        taken = flow.take(segment, timestamp, frame, self._dissects_udp)
        self._count_memory(flow)
        if self._bytes > self.most_bytes:
            taken += self._make_room()
        return rows + taken if rows else taken

    # --- what is due without a packet ---

    def _wait(self, queue: DueQueue, nanoseconds: i64, packets: i64, connection: Connection, half: Half | None) -> None:
        clock = self._clock + nanoseconds
        queue.add(Due(clock, self._count + packets, connection, half))
        if clock < self._next_due:
            self._next_due = clock

    def _schedule(self, connection: TcpConnection, half: Half) -> None:
        """See what a packet has left to be done later."""
        for side in (half, half.peer):
            ripe = connection.judge_hole(side)
            if ripe >= 0:
                disorder = side.in_disorder()
                if not disorder.is_scheduled:
                    disorder.is_scheduled = True
                    disorder.ripe = ripe
                    self._wait(self._holes, limits.REORDER_NANOSECONDS, limits.REORDER_PACKETS, connection, side)
        if connection.reset_packet >= 0 and not connection.is_settling:
            connection.is_settling = True
            self._wait(self._holes, limits.REORDER_NANOSECONDS, limits.REORDER_PACKETS, connection, None)
        if not connection.is_lingering and connection.is_over():
            connection.is_lingering = True
            connection.lost_until = self._lost
            self._wait(self._closed, limits.LINGER_NANOSECONDS, 0, connection, None)
            if self._closed.count() > self.most_lingering:
                self._next_due = self._clock  # where time stands still, they must not gather

    def _look_at_due(self) -> Rows:
        """Do what has become due."""
        rows: Rows = []
        due = self._holes.first()
        while due is not None and due.clock <= self._clock and due.count <= self._count:
            self._holes.drop_first()
            connection = due.connection
            if not connection.is_finished and isinstance(connection, TcpConnection):
                rows += self._look_at_hole(connection, due.half)
            due = self._holes.first()
        due = self._closed.first()
        while due is not None and (due.clock <= self._clock or self._closed.count() > self.most_lingering):
            self._closed.drop_first()
            closed = due.connection
            if isinstance(closed, TcpConnection) and not closed.is_over():  # its reset was taken back
                closed.is_lingering = False
                closed.lost_until = -1
            else:
                rows += self._finish(closed, CloseReason.TIMEOUT)
            due = self._closed.first()
        due = self._idle.first()
        while due is not None and due.clock <= self._clock:
            self._idle.drop_first()
            flow = due.connection
            quiet = self._clock - flow.used_at
            if quiet > limits.FLOW_NANOSECONDS:
                rows += self._finish(flow, CloseReason.TIMEOUT)
            elif not flow.is_finished:
                self._wait(self._idle, limits.FLOW_NANOSECONDS - quiet + 1, 0, flow, None)
            due = self._idle.first()
        self._next_due = NEVER
        for queue in (self._holes, self._closed, self._idle):
            due = queue.first()
            if due is not None and due.clock < self._next_due:
                self._next_due = due.clock
        return rows

    def _look_at_hole(self, connection: TcpConnection, half: Half | None) -> Rows:
        """Declare holes that were acknowledged a reordering window ago, or end the streams of a reset connection."""
        held_before = connection.held_bytes
        if half is None:
            rows = connection.settle()
        else:
            disorder = half.in_disorder()
            disorder.is_scheduled = False
            rows = connection.declare_ripe(half, disorder.ripe)
            self._schedule(connection, half)
        self._held_bytes += connection.held_bytes - held_before
        return rows
