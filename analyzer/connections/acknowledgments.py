"""The handshake and the acknowledgments of a TCP connection (RFC 9293, RFC 7323, RFC 2018).

They tell who opened the connection, how long the path is, what a receiver has, and how long it waited for bytes that
were lost beyond the capture point, where no hole is to be seen.
"""

from typing import Final

from mypy_extensions import i64

from analyzer.connections import history
from analyzer.connections.connection import HANDSHAKE
from analyzer.connections.delivery import Delivery
from analyzer.connections.half import LARGEST_SCALE, Half
from analyzer.connections.reassembly import FARTHEST_BEHIND, SEQUENCE_MASK, SEQUENCE_NUMBERS, extended
from analyzer.dissector import DIRECTION_NAMES, Context
from analyzer.packets.segment import Segment
from analyzer.records import Rows, StallRecord

FIN: Final = 1
SYN: Final = 2
RST: Final = 4
ACK: Final = 16
UNSEEN: Final = -1
AMBIGUOUS: Final = -2  # sent more than once, or out of order: nobody knows which one was answered
DUPLICATE_ACKNOWLEDGMENTS: Final = 3  # RFC 5681 section 3.2


class Acknowledgments(Delivery):
    """A TCP connection as far as its ends tell each other what they have."""

    def __init__(
        self, context: Context, segment: Segment, timestamp: i64, frame: i64, capture_index: i64, interface: str | None
    ) -> None:
        super().__init__(context, segment, timestamp, frame, capture_index, interface)
        self.syn_at: i64 = UNSEEN
        self.syn_ack_at: i64 = UNSEEN
        self.server_rtt: i64 = UNSEEN
        self.client_rtt: i64 = UNSEEN

    # --- the handshake ---

    def synchronize(self, half: Half, segment: Segment, timestamp: i64) -> None:
        """Take a SYN, or a SYN that answers one (RFC 9293 section 3.5)."""
        peer = half.peer
        is_answer = segment.flags & ACK != 0
        self.history.note(half.side, history.SYN_ACK if is_answer else history.SYN)
        if half.isn >= 0:
            if is_answer:
                if self.syn_ack_at >= 0:
                    self.syn_ack_at = AMBIGUOUS
                if half.isn != segment.sequence and half.delivered == 0 and not half.has_backlog():
                    half.isn = segment.sequence
                    half.acked = UNSEEN
                    half.begin_at_syn(segment.sequence)
            elif self.syn_at >= 0:
                self.syn_at = AMBIGUOUS
        else:
            half.isn = segment.sequence
            half.is_summed = segment.checksum_is_valid() is True
            half.scale = segment.window_scale
            if half.delivered == 0 and not half.has_backlog():
                half.begin_at_syn(segment.sequence)
                half.starts_unknown = False
            if is_answer:
                is_late = self.history.noted >> (8 * peer.side) & (history.ACK | history.DATA)
                self.syn_ack_at = AMBIGUOUS if is_late else timestamp
                if self.syn_at >= 0 and timestamp >= self.syn_at:
                    self.server_rtt = timestamp - self.syn_at
            else:
                self.syn_at = timestamp
            self._agree_on_scales()
            if self.stream is None and peer.state != history.SYN_SENT:
                self.role_evidence = HANDSHAKE
                self.client_side = peer.side if is_answer else half.side
        if is_answer and peer.next < 0:
            peer.begin(segment.acknowledgment)
            peer.starts_unknown = False
        if peer.state == history.SYN_SENT if is_answer else peer.state == history.SYN_ACK_SENT:
            half.state = history.ESTABLISHED
            peer.state = history.ESTABLISHED
        elif half.state <= history.PARTIAL:
            half.state = history.SYN_ACK_SENT if is_answer else history.SYN_SENT

    def _agree_on_scales(self) -> None:
        """Work out the window scales: they hold only where both SYNs offer one (RFC 7323 section 2.2)."""
        for half in self.halves():
            peer = half.peer
            if half.isn < 0:
                half.shift = 0 if peer.isn >= 0 and peer.scale < 0 else LARGEST_SCALE
            elif half.scale < 0 or (peer.isn >= 0 and peer.scale < 0):
                half.shift = 0
            else:
                half.shift = half.scale if half.scale < LARGEST_SCALE else LARGEST_SCALE

    # --- acknowledgments ---

    def acknowledge(self, half: Half, segment: Segment, window_before: i64, timestamp: i64, frame: i64) -> Rows:
        """Take an acknowledgment, if the peer can have been sent what it acknowledges."""
        peer = half.peer
        if self.syn_ack_at >= 0 and self.client_rtt < 0 and half.side == self.client_side and not segment.flags & SYN:
            self._time_handshake(peer, segment, timestamp)
        known = peer.acked
        if known < 0:
            near = segment.acknowledgment + SEQUENCE_NUMBERS if peer.next < 0 else peer.next
            position = extended(segment.acknowledgment, near)
            if peer.next >= 0 and position > peer.highest + FARTHEST_BEHIND:
                peer.is_acked_exact = False
                return []
            peer.first_acked = position
            known = position - 1
        else:
            position = extended(segment.acknowledgment, known)
            is_possible = position <= peer.highest or position <= peer.edge
            if peer.edge < 0 and position - known <= FARTHEST_BEHIND:
                is_possible = True
            if position < known or not is_possible:
                peer.is_acked_exact = peer.is_acked_exact and position < known
                return []
        shift: i64 = 0 if segment.flags & SYN else half.shift
        edge = position + (segment.window << shift)
        if edge > peer.edge:
            peer.edge = edge
        if segment.window == 0 or peer.is_watched:
            self._note_window(peer, segment, timestamp, frame)
        if position == known:
            if segment.original_payload_length == 0 and not segment.flags & (SYN | FIN) and segment.window == window_before:
                self._count_repetition(peer, segment, position, timestamp, frame)
            return []
        peer.acked = position
        if position > peer.highest:
            peer.highest = position
        return self._end_sender_stall(peer, timestamp, frame)

    def acknowledged(self, direction: i64) -> i64:
        """How many bytes of a direction its receiver can have had by now at most (a FIN counts as one); -1: not known.

        What a receiver has said since was said after it had what it acknowledges; of a packet that is taken the
        acknowledgment is taken first, and acknowledgments are never taken back.
        """
        stream = self.stream
        halves = self.halves()
        if not halves:
            return UNSEEN
        half = halves[direction if stream is None or not stream.reversed else 1 - direction]
        if half.next < 0 or half.acked < 0 or not half.is_acked_exact:
            return UNSEEN
        return half.acked - (half.next - half.delivered - half.missing)

    def _time_handshake(self, server: Half, segment: Segment, timestamp: i64) -> None:
        """Time the ACK that ends the handshake."""
        is_bare = segment.original_payload_length == 0  # else the ACK may be missing: bytes come when there are some
        if is_bare and segment.acknowledgment == (server.isn + 1) & SEQUENCE_MASK and timestamp >= self.syn_ack_at:
            self.client_rtt = timestamp - self.syn_ack_at
            if self.server_rtt >= 0:
                self.round_trip = self.server_rtt + self.client_rtt
        else:
            self.syn_ack_at = AMBIGUOUS

    def _note_window(self, sender: Half, segment: Segment, timestamp: i64, frame: i64) -> None:
        """See whether the window that an end may send into was closed, or opened again (RFC 9293 section 3.8.6)."""
        if segment.window == 0:
            if segment.flags & SYN:
                return
            disorder = sender.in_disorder()
            disorder.opened_at = UNSEEN
            if disorder.closed_at < 0:
                disorder.closed_at = timestamp
                disorder.closed_packet = frame
            sender.is_watched = True
            sender.is_smooth = False
            return
        known = sender.disorder
        if known is not None and known.closed_at >= 0 and known.opened_at < 0:
            known.opened_at = timestamp
            known.opened_packet = frame

    def end_window_stall(self, half: Half, end: i64) -> Rows:
        """Tell how long bytes that follow, up to ``end``, had to wait because their receiver's window was at zero."""
        disorder = half.disorder
        if disorder is None or disorder.opened_at < 0 or end <= half.highest:
            return []
        started_at = disorder.closed_at
        ended_at = disorder.opened_at
        disorder.closed_at = UNSEEN
        disorder.opened_at = UNSEEN
        half.is_watched = half.needs_watch()
        if ended_at <= started_at:
            return []
        stall = StallRecord(
            connection_id=self.connection_id,
            stall_index=self.need_scope().new_stall_index(),
            direction=DIRECTION_NAMES[half.side ^ self.client_side],
            kind="tcp_window",
            started_at=started_at,
            ended_at=ended_at,
            duration_ns=ended_at - started_at,
            evidence="data_after_update",
            first_packet=disorder.closed_packet,
            last_packet=disorder.opened_packet,
        )
        return self.when_roles_are_known([stall])

    def open_stalls(self) -> Rows:
        """The rows of receive windows that are at zero: whether anything waits for them is not known before they are opened."""
        rows: Rows = []
        for half in self.halves():
            disorder = half.disorder
            if disorder is None or disorder.closed_at < 0 or disorder.opened_at >= 0 or half.fin >= 0 or half.ended is not None:
                continue
            rows.append(
                StallRecord(
                    connection_id=self.connection_id,
                    stall_index=None,
                    direction=DIRECTION_NAMES[half.side ^ self.client_side],
                    kind="tcp_window",
                    started_at=disorder.closed_at,
                    first_packet=disorder.closed_packet,
                )
            )
        return rows

    def _count_repetition(self, sender: Half, segment: Segment, position: i64, timestamp: i64, frame: i64) -> None:
        """Count acknowledgments that repeat the one before: the receiver misses something (RFC 5681 section 2)."""
        if sender.highest <= position:
            return
        disorder = sender.in_disorder()
        if disorder.repeated != position:
            disorder.repeated = position
            disorder.repetitions = 0
            disorder.repeated_at = timestamp
            disorder.repeated_packet = frame
            disorder.selective_bytes = 0
        disorder.repetitions += 1
        size: i64 = 0
        for left, right in segment.sack_blocks():
            start = extended(left, position)
            if start > position:  # else a duplicate that is reported (RFC 2883)
                size += extended(right, start) - start
        if size > disorder.selective_bytes:
            disorder.selective_bytes = size

    def begin_sender_stall(self, half: Half, position: i64) -> None:
        """Note that an end sends again what its peer has been asking for: the loss was beyond the capture point."""
        disorder = half.disorder
        if disorder is None or position != half.acked or disorder.repeated != position or disorder.stalled_at >= 0:
            return
        if disorder.repetitions >= DUPLICATE_ACKNOWLEDGMENTS or disorder.selective_bytes > 0:
            disorder.stalled_at = position
            half.is_watched = True

    def _end_sender_stall(self, half: Half, timestamp: i64, frame: i64) -> Rows:
        """Tell how long the receiver waited for bytes that were lost beyond the capture point."""
        disorder = half.disorder
        if disorder is None or disorder.stalled_at < 0:
            return []
        disorder.stalled_at = UNSEEN
        half.is_watched = half.needs_watch()
        if timestamp < disorder.repeated_at:
            return []
        stall = StallRecord(
            connection_id=self.connection_id,
            stall_index=self.need_scope().new_stall_index(),
            direction=DIRECTION_NAMES[half.side ^ self.client_side],
            kind="tcp_hole",
            started_at=disorder.repeated_at,
            ended_at=timestamp,
            duration_ns=timestamp - disorder.repeated_at,
            waiting_bytes=disorder.selective_bytes or None,
            evidence="duplicate_acknowledgments",
            first_packet=disorder.repeated_packet,
            last_packet=frame,
        )
        return self.when_roles_are_known([stall])
