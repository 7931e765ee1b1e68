"""A TCP connection: what each packet of it means (RFC 9293).

A keep-alive may carry one byte of garbage in the place of the last byte sent (section 3.8.4). Where the capture begins in the
middle of a connection, a single byte may be that: it is not delivered unless its receiver is seen to wait for it.
"""

from mypy_extensions import i64

from analyzer import limits
from analyzer.connections import history
from analyzer.connections.acknowledgments import ACK, FIN, RST, SYN, UNSEEN, Acknowledgments
from analyzer.connections.connection import HANDSHAKE
from analyzer.connections.delivery import ACKNOWLEDGED, ONE_SIDED, OVER_LIMIT
from analyzer.connections.half import Half
from analyzer.connections.reassembly import SEQUENCE_MASK, Piece, extended
from analyzer.dissector import CloseReason, Context
from analyzer.packets.segment import Segment
from analyzer.records import ConnectionRecord, Rows


class Reset:
    """A RST that ends the connection unless what follows shows that its receiver did not take it, or that it was forged."""

    def __init__(self, half: Half, sequence: i64, closed_by: i64) -> None:
        """``half`` sent it, it seems; ``closed_by`` is who had closed the connection before, -1 for nobody."""
        self.half = half
        self.closed_by = closed_by
        self.state = half.state
        position = half.next if half.next < 0 else extended(sequence, half.next)
        self.sent = half.highest if half.highest > position else position
        self.received = half.peer.highest

    def is_refuted(self) -> bool:
        """Whether more was sent and acknowledged by ends that a reset would have silenced (RFC 9293 section 3.10.7.4).

        Who resets a connection sends and acknowledges nothing more; who takes a reset acknowledges nothing more.
        """
        half = self.half
        goes_on = half.next >= 0 and (half.highest > self.sent or half.acked > self.sent)
        return goes_on or 0 <= self.received < half.peer.acked


class TcpConnection(Acknowledgments):
    """A TCP connection."""

    def __init__(
        self, context: Context, segment: Segment, timestamp: i64, frame: i64, capture_index: i64, interface: str | None
    ) -> None:
        super().__init__(context, segment, timestamp, frame, capture_index, interface)
        first = Half(0, segment.flow_key, self)
        second = Half(1, segment.reverse_key(), self)
        first.peer = second
        second.peer = first
        self.first = first
        self.second = second
        self.reset: Reset | None = None
        self.challenger: TcpConnection | None = None  # began with a SYN in the middle of this one, not yet answered
        self.is_settling = False  # the table will end its streams after a reset
        self.is_lingering = False  # the table will write its rows
        self.closed_by: i64 = UNSEEN  # side
        self.retransmitted_packets: i64 = 0
        self.retransmitted_bytes: i64 = 0
        self.out_of_order_packets: i64 = 0
        self.duplicate_packets: i64 = 0
        self.keep_alive_packets: i64 = 0
        self.zero_window_packets: i64 = 0
        flags = segment.flags
        if flags & SYN and not flags & (FIN | RST):
            self.role_evidence = HANDSHAKE
            self.client_side = 1 if flags & ACK else 0
        else:
            self.guess_roles()

    def is_over(self) -> bool:
        """Whether both ends have sent a FIN, or one a RST."""
        first = self.first
        second = self.second
        if first is None or second is None or self.reset_packet >= 0:
            return True
        return first.fin >= 0 and second.fin >= 0

    def take(self, half: Half, segment: Segment, timestamp: i64, frame: i64) -> Rows:
        """Take a packet of this connection, whatever it is. The table knows a short way for the usual ones."""
        half.packets += 1
        self.last_packet = frame
        if timestamp > self.ended_at:
            self.ended_at = timestamp
        if half.packets > 1 and half.is_copy(segment, timestamp):
            half.note_copy()
            self.duplicate_packets += 1
            return []
        window_before = half.window
        half.remember(segment, timestamp)
        flags = segment.flags
        if flags & SYN and flags & (FIN | RST):
            self.history.note(half.side, history.SYN_AND_END)
            return []
        if (
            flags & (FIN | RST)
            and half.is_summed
            and segment.original_payload_length == 0
            and segment.checksum_is_valid() is False
        ):
            return self._damaged_end(half, segment, timestamp, frame)
        if flags & SYN:
            self.synchronize(half, segment, timestamp)
        elif half.state == history.INACTIVE:
            half.state = history.PARTIAL
        if flags & RST:
            self._reset(half, segment, timestamp, frame)
            return []
        if segment.window == 0 and not flags & SYN:
            self.zero_window_packets += 1
            self.history.repeat(half.side, "W")
        rows: Rows = []
        if flags & ACK:
            rows = self.acknowledge(half, segment, window_before, timestamp, frame)
        if segment.original_payload_length > 0:
            rows += self._payload(half, segment, timestamp, frame)
        elif not flags & (SYN | FIN):
            self.history.note(half.side, history.ACK)
            self._look_for_keep_alive(half, segment)
        if flags & FIN:
            rows += self._finish_sending(half, segment, timestamp, frame)
        self._choose_way(half)
        return rows

    def _damaged_end(self, half: Half, segment: Segment, timestamp: i64, frame: i64) -> Rows:
        """Leave out a FIN or RST with a wrong checksum, which its receiver drops (RFC 9293 section 3.1)."""
        self.history.repeat(half.side, "C")
        found = "another one, in a " + ("RST" if segment.flags & RST else "FIN")
        required = "the checksum of the segment"
        return self.anomaly("bad_checksum", half.side, timestamp, frame, required, found, "RFC 9293 section 3.1")

    def _choose_way(self, half: Half) -> None:
        """Say whether the next packets of an end may take the short way."""
        disorder = half.disorder
        is_orderly = disorder is None or (not disorder.backlog.pieces and disorder.marks is None and disorder.closed_at < 0)
        is_timed = self.syn_ack_at < 0 or self.client_rtt >= 0
        noted = self.history.noted >> (8 * half.side)
        is_open = half.next >= 0 and half.fin < 0 and half.ended is None and not half.starts_unknown
        half.is_smooth = is_orderly and is_timed and is_open and self.stream is not None and noted & history.DATA != 0
        half.is_acking = is_orderly and is_timed and noted & history.ACK != 0

    # --- payload ---

    def _payload(self, half: Half, segment: Segment, timestamp: i64, frame: i64) -> Rows:
        """Take payload: deliver what is next, hold what is early, count what came before."""
        sequence = segment.sequence
        if segment.flags & SYN:
            sequence = (sequence + 1) & SEQUENCE_MASK  # data beside a SYN (RFC 7413)
        length = segment.original_payload_length
        self.history.note(half.side, history.DATA)
        if half.next < 0:
            if length == 1 and not segment.flags & FIN and self._may_be_keep_alive(half, sequence):
                return []
            half.begin_late(sequence, length)
            half.starts_unknown = True
        position = extended(sequence, half.next)
        rows = self.end_window_stall(half, position + length)
        if half.fin >= 0 and position + length > half.fin:
            rows += self._beyond_fin(half, position, length, timestamp, frame)
            length = half.fin - position
            if length <= 0:
                return rows
        skip = half.next - position
        if skip >= length:
            self._repeat(half, position, length)
        elif half.ended is not None:  # later than reordering explains
            rows += self.anomaly(
                "data_after_reset",
                half.side,
                timestamp,
                frame,
                "no bytes after a RST that was taken",
                f"{length} bytes from {sequence}",
                "RFC 9293 section 3.10.7.4",
                length - max(skip, 0),
            )
        elif skip < 0 or half.has_backlog():
            rows += self._hold(half, segment, position, length, timestamp, frame)
        else:
            if skip > 0:
                self._count_repeated(half, skip)
            rows += self.deliver_segment(half, segment, skip, length, timestamp, frame)
        return rows

    def _beyond_fin(self, half: Half, position: i64, length: i64, timestamp: i64, frame: i64) -> Rows:
        if position + length <= half.next:
            return []
        rows = self.open_stream()
        return rows + self.anomaly(
            "data_after_fin",
            half.side,
            timestamp,
            frame,
            f"no bytes after the FIN, whose sequence number is {half.fin & SEQUENCE_MASK}",
            f"{length} bytes from {position & SEQUENCE_MASK}",
            "RFC 9293 section 3.6",
        )

    def _repeat(self, half: Half, position: i64, length: i64) -> None:
        """Count a segment whose bytes were all delivered before."""
        is_probe = length == 1 and position == half.next - 1 and half.acked >= half.next and half.peer.window != 0
        if is_probe:
            self.keep_alive_packets += 1
            return
        self.begin_sender_stall(half, position)
        half.expect_copies()
        self._count_repeated(half, length)

    def _count_repeated(self, half: Half, length: i64) -> None:
        self.retransmitted_packets += 1
        self.retransmitted_bytes += length
        self.history.repeat(half.side, "T")

    def _look_for_keep_alive(self, half: Half, segment: Segment) -> None:
        """Count a keep-alive without a byte (RFC 9293 section 3.8.4); where the window is zero it is a probe of that."""
        expected = half.acked if half.next < 0 else half.next
        if expected < 0 or half.acked < expected or half.peer.window == 0 or half.fin >= 0:
            return
        if extended(segment.sequence, expected) == expected - 1:
            self.keep_alive_packets += 1

    def _may_be_keep_alive(self, half: Half, sequence: i64) -> bool:
        """Judge a single byte where nothing before it was captured; the same one comes again, another one is of the stream."""
        if half.acked >= 0:
            if (half.acked - sequence) & SEQUENCE_MASK != 1:
                return False  # the receiver waits for it, or more is missing
            if half.peer.window != 0:
                self.keep_alive_packets += 1
            return True
        if half.lone_byte >= 0 and half.lone_byte != sequence:
            return False
        half.lone_byte = sequence
        return True

    def _hold(self, half: Half, segment: Segment, position: i64, length: i64, timestamp: i64, frame: i64) -> Rows:
        """Keep a segment while there is a hole; deliver, when it fills that, everything up to the next."""
        disorder = half.in_disorder()
        backlog = disorder.backlog
        half.is_smooth = False
        captured = segment.payload_length if segment.payload_length < length else length
        start = segment.payload_offset
        end = position + length
        captured_end = position + captured
        skip = half.next - position if position < half.next else 0
        if captured < skip:
            captured = skip
        validity = segment.checksum_is_valid()
        piece = Piece(
            position + skip,
            end,
            segment.data[start + skip : start + captured],
            timestamp,
            frame,
            validity is True,
            segment.ip_identification,
            segment.tcp_timestamp(),
        )
        known_end = backlog.end()
        if half.highest < end:
            half.highest = end
        held_before = backlog.memory()
        new = backlog.hold(piece, captured_end)
        self.held_bytes += backlog.memory() - held_before
        if new < length:
            half.expect_copies()
            self._count_repeated(half, length - new)
        if new > 0 and position < known_end:
            self.out_of_order_packets += 1
        rows: Rows = []
        if backlog.conflict >= 0:
            rows = self._conflict(half, backlog.conflict, validity, timestamp, frame)
        if backlog.pieces[0].start == half.next:
            rows += self.release_pieces(half)
        while backlog.size > limits.HELD_BYTES or len(backlog.pieces) > limits.HELD_SEGMENTS:
            rows += self.declare(half, OVER_LIMIT, True)
        half.is_watched = half.needs_watch()
        return rows

    def _conflict(self, half: Half, position: i64, validity: bool | None, timestamp: i64, frame: i64) -> Rows:
        if validity is False:
            self.history.repeat(half.side, "C")
        rows = self.open_stream()
        return rows + self.anomaly(
            "conflicting_copies",
            half.side,
            timestamp,
            frame,
            f"the bytes that were seen before from sequence number {position & SEQUENCE_MASK}",
            "other bytes" if validity is None else f"other bytes, checksum {'right' if validity else 'wrong'} as before",
            "RFC 9293 section 3.4",
        )

    # --- the end ---

    def _finish_sending(self, half: Half, segment: Segment, timestamp: i64, frame: i64) -> Rows:
        """Take a FIN (RFC 9293 section 3.6)."""
        self.history.note(half.side, history.FIN)
        sequence = (segment.sequence + segment.original_payload_length) & SEQUENCE_MASK
        if segment.flags & SYN or half.fin >= 0:
            return []
        if half.next < 0:
            half.begin(sequence)
        position = extended(sequence, half.next)
        if position < half.next or (half.edge >= 0 and position > half.edge and position > half.highest):
            return []
        if half.state != history.ABORTED:
            half.state = history.CLOSED
        if self.closed_by < 0:
            self.closed_by = half.side
        half.fin = position
        half.fin_at = timestamp
        half.fin_packet = frame
        if half.highest <= position:
            half.highest = position + 1
        half.is_smooth = False
        rows = self.end_if_complete(half)
        half.is_watched = half.needs_watch()
        return rows

    def _reset(self, half: Half, segment: Segment, timestamp: i64, frame: i64) -> None:
        """Take a RST (RFC 9293 section 3.10.7, RFC 5961 section 3)."""
        self.history.note(half.side, history.FIN_AND_RESET if segment.flags & FIN else history.RESET)
        if not self._is_reset_valid(half, segment):
            return
        if self.reset_packet < 0:
            self.reset = Reset(half, segment.sequence, self.closed_by)
        if half.state != history.CLOSED or half.peer.state != history.CLOSED:
            half.state = history.ABORTED
        if self.closed_by < 0:
            self.closed_by = half.side
        if self.reset_packet < 0:
            self.reset_packet = frame
            self.reset_at = timestamp

    def _is_reset_valid(self, half: Half, segment: Segment) -> bool:
        """Whether the other end would believe a RST: it is in the window, or answers its SYN."""
        if half.next < 0:
            peer = half.peer
            if segment.flags & ACK and peer.next >= 0:
                position = extended(segment.acknowledgment, peer.next)
                return peer.acked <= position <= peer.highest
            return half.acked < 0 or segment.sequence == half.acked & SEQUENCE_MASK
        position = extended(segment.sequence, half.next)
        low = half.acked if 0 <= half.acked < half.next else half.next
        high = half.highest if half.highest > half.edge else half.edge
        return low <= position <= high

    def judge_hole(self, half: Half) -> i64:
        """Up to where the holes of an end can be declared once reordering is ruled out, -1 where they cannot be."""
        hole_end = half.hole_end()
        if hole_end < 0 or half.ended is not None:
            return UNSEEN
        if half.acked >= hole_end:
            return half.acked
        return half.highest if half.peer.packets == 0 and self.is_plausible_hole(half) else UNSEEN

    def declare_ripe(self, half: Half, position: i64) -> Rows:
        """Declare the holes that end at or before ``position``."""
        if half.ended is not None:
            return []
        if half.peer.packets == 0:
            rows = []
            while 0 <= half.hole_end() <= position and self.is_plausible_hole(half):
                rows += self.declare(half, ONE_SIDED, True)
        else:
            rows = self.declare_until(half, position, ACKNOWLEDGED, False)
        half.is_watched = half.needs_watch()
        self._choose_way(half)
        return rows

    def give_up_holes(self) -> Rows:
        """Declare every hole, to hold nothing more."""
        rows: Rows = []
        for half in self.halves():
            while half.ended is None and half.has_backlog():
                rows += self.declare(half, OVER_LIMIT, True)
        return rows

    def settle(self) -> Rows:
        """End both directions after a reset, when late packets are ruled out."""
        rows = self._refute_reset()
        if self.reset_packet < 0:
            return rows
        for half in self.halves():
            rows += self.flush(half, CloseReason.RESET, self.reset_at, self.reset_packet)
        return rows

    def _refute_reset(self) -> Rows:
        """Take a reset back that the connection has survived."""
        reset = self.reset
        if reset is None or not reset.is_refuted():
            return []
        frame = self.reset_packet
        self.reset = None
        self.reset_packet = -1
        self.is_settling = False
        self.closed_by = reset.closed_by
        if reset.half.state == history.ABORTED:
            reset.half.state = reset.state
        return self.anomaly(
            "ignored_reset",
            reset.half.side,
            self.reset_at,
            frame,
            "a RST that ends the connection",
            "both ends went on",
            "RFC 9293 section 3.10.7.4",
        )

    def finish(self, reason: CloseReason) -> Rows:
        """End the connection and write its rows; ``reason`` is why, where its packets do not say."""
        halves = self.halves()
        if len(halves) == 0:
            return []
        rows = self._refute_reset()
        for half in halves:
            if self.reset_packet >= 0:
                rows += self.flush(half, CloseReason.RESET, self.reset_at, self.reset_packet)
            else:
                rows += self.flush(half, reason, self.ended_at, self.last_packet)
        record = self.record(reason)  # now: the last bytes may have turned the sides
        for half in halves:
            half.part()
        self.first = None
        self.second = None
        self.reset = None
        rows += self.release()
        rows.append(record)
        return rows

    def record(self, reason: CloseReason | None) -> ConnectionRecord:
        """The connection's row; ``reason`` is why it ended, where its packets do not say, None while it is open."""
        record = self.base_record()
        halves = self.halves()
        if len(halves) == 0:
            return record
        client, server = halves[0], halves[1]
        record.packets_to_server = client.packets
        record.packets_to_client = server.packets
        record.bytes_to_server = client.delivered
        record.bytes_to_client = server.delivered
        record.missing_bytes_to_server = client.missing
        record.missing_bytes_to_client = server.missing
        record.retransmitted_packets = self.retransmitted_packets
        record.retransmitted_bytes = self.retransmitted_bytes
        record.out_of_order_packets = self.out_of_order_packets
        record.duplicate_packets = self.duplicate_packets
        record.keep_alive_packets = self.keep_alive_packets
        record.zero_window_packets = self.zero_window_packets
        record.server_rtt_ns = self.server_rtt if self.server_rtt >= 0 else None
        record.client_rtt_ns = self.client_rtt if self.client_rtt >= 0 else None
        record.handshake_rtt_ns = self.round_trip if self.round_trip >= 0 else None
        has_bytes = client.delivered + server.delivered > 0
        record.state = history.connection_state(client.state, server.state, has_bytes)
        if self.closed_by >= 0:
            record.closed_by = "client" if self.closed_by == client.side else "server"
        if client.fin >= 0 and server.fin >= 0:
            record.close_reason = CloseReason.FIN.value
        elif self.reset_packet >= 0:
            record.close_reason = CloseReason.RESET.value
        elif reason is not None:
            record.close_reason = reason.value
        return record
