"""One end of a TCP connection: what it has sent, how much of it was acknowledged, and what is in disorder."""

from typing import TYPE_CHECKING, ClassVar, Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.connections import history
from analyzer.connections.reassembly import SEQUENCE_MASK, SEQUENCE_NUMBERS, Backlog, extended
from analyzer.dissector import CloseReason
from analyzer.packets.segment import Segment

if TYPE_CHECKING:
    from analyzer.connections.tcp import TcpConnection

UNKNOWN: Final = -1
ACK: Final = 16  # the flag
MARKED_PACKETS: Final = 4 * limits.COPY_PACKETS  # packets that are remembered after one came twice
LARGEST_SCALE: Final = 14  # RFC 7323 section 2.3


class Mark:
    """By what a packet is recognised when an exact copy of it follows."""

    def __init__(self) -> None:
        self.identification: i64 = UNKNOWN
        self.sequence: i64 = UNKNOWN
        self.acknowledgment: i64 = UNKNOWN
        self.window: i64 = UNKNOWN
        self.length: i64 = UNKNOWN
        self.flags: i64 = UNKNOWN
        self.digest: int = 0  # 0: not computed
        self.timestamp: i64 = 0

    def set(self, segment: Segment, timestamp: i64) -> None:
        """Remember a packet."""
        self.identification = segment.ip_identification
        self.sequence = segment.sequence
        self.acknowledgment = segment.acknowledgment
        self.window = segment.window
        self.length = segment.original_payload_length
        self.flags = segment.flags
        self.timestamp = timestamp

    def is_of(self, segment: Segment, timestamp: i64) -> bool:
        """Whether ``segment`` is a copy of this packet.

        An identification of 0, or none, does not tell a copy from a segment sent again: then both the time between
        them and the digest must.
        """
        if (
            self.sequence != segment.sequence
            or self.acknowledgment != segment.acknowledgment
            or self.identification != segment.ip_identification
            or self.length != segment.original_payload_length
            or self.flags != segment.flags
            or self.window != segment.window
        ):
            return False
        apart = timestamp - self.timestamp
        if apart < 0:
            apart = -apart
        if self.identification > 0:
            return apart <= limits.COPY_NANOSECONDS
        if apart > limits.UNNUMBERED_COPY_NANOSECONDS:
            return False
        return self.digest == 0 or self.digest == segment.packet_digest()


class Disorder:
    """What only a direction needs that lost, repeated or reordered something."""

    def __init__(self) -> None:
        self.backlog = Backlog()
        self.marks: list[Mark] | None = None  # the last packets, once one came twice
        self.next_mark: i64 = 0
        self.quiet: i64 = 0  # packets since one came twice
        self.copies: i64 = 0
        self.is_scheduled = False  # the table will look at the hole again
        self.ripe: i64 = UNKNOWN  # what was acknowledged (or held) when it was scheduled
        self.repeated: i64 = UNKNOWN  # the acknowledgment that the peer repeats
        self.repetitions: i64 = 0
        self.repeated_at: i64 = 0
        self.repeated_packet: i64 = 0
        self.selective_bytes: i64 = 0  # acknowledged beyond it (RFC 2018)
        self.stalled_at: i64 = UNKNOWN  # the position the receiver waits for, when the sender has sent it again
        self.closed_at: i64 = UNKNOWN  # when its peer's window reached zero, until it sends into an open one
        self.closed_packet: i64 = 0
        self.opened_at: i64 = UNKNOWN  # when that window was opened
        self.opened_packet: i64 = 0

    def has_to_be_told(self) -> bool:
        """Whether acknowledgments end something."""
        return self.stalled_at >= 0 or self.closed_at >= 0


class Half:
    """One end of a connection; positions are 64-bit sequence numbers, -1 where they are not known."""

    __deletable__: ClassVar[list[str]] = ["connection", "peer"]  # closing takes the cycle apart

    def __init__(self, side: i64, key: bytes, connection: "TcpConnection") -> None:
        self.connection = connection
        self.peer: Half = self
        self.side = side  # 0: its packet was the first of the connection
        self.key = key
        self.next: i64 = UNKNOWN  # position of the byte to deliver next
        self.highest: i64 = UNKNOWN  # one past the last byte sent, as far as is known
        self.acked: i64 = UNKNOWN  # what the peer has acknowledged
        self.first_acked: i64 = UNKNOWN
        self.is_acked_exact = True  # no acknowledgment was refused that its peer may have meant
        self.edge: i64 = UNKNOWN  # how far the peer's window lets it send
        self.shift: i64 = LARGEST_SCALE  # of the windows it announces; the largest where its SYN was not seen
        self.packets: i64 = 0
        self.delivered: i64 = 0
        self.missing: i64 = 0
        self.is_smooth = False  # in order and established: its next segment may take the short way
        self.is_summed = False  # its SYN had a right checksum: they are not left to a network card beyond the capture point
        self.is_acking = False  # its acknowledgments may take the short way
        self.is_watched = False  # acknowledgments of its bytes must not take the short way
        self.lone_byte: i64 = UNKNOWN  # sequence number of the only byte seen, which may be a keep-alive's
        self.starts_unknown = False  # its first bytes were not captured, and that has not been told yet
        self.isn: i64 = UNKNOWN  # sequence number of its SYN
        self.scale: i64 = UNKNOWN  # window scale that its SYN offered
        self.state: i64 = history.INACTIVE
        self.fin: i64 = UNKNOWN  # position of its FIN
        self.fin_at: i64 = 0
        self.fin_packet: i64 = 0
        self.ended: CloseReason | None = None  # the stream was told that this direction has ended
        self.window: i64 = UNKNOWN  # of its latest packet, unscaled
        self.last_sequence: i64 = UNKNOWN  # and the rest by which a copy of that is recognised
        self.last_acknowledgment: i64 = UNKNOWN
        self.last_identification: i64 = UNKNOWN
        self.last_length: i64 = UNKNOWN
        self.last_flags: i64 = UNKNOWN
        self.last_at: i64 = 0
        self.disorder: Disorder | None = None

    def part(self) -> None:
        """Break the cycle with the connection and the other end."""
        del self.peer
        del self.connection

    def begin(self, sequence: i64) -> None:
        """Set where the bytes begin that are to be delivered, ``sequence`` being that of the first."""
        position = sequence + SEQUENCE_NUMBERS  # room for older bytes
        if self.acked >= 0:
            ahead: i64 = (sequence - self.acked) & SEQUENCE_MASK
            position = self.acked + (ahead if ahead < SEQUENCE_NUMBERS >> 1 else ahead - SEQUENCE_NUMBERS)
        self.next = position
        if self.highest < position:
            self.highest = position

    def begin_late(self, sequence: i64, length: i64) -> None:
        """Set where the bytes begin from the first segment seen, or before it: where acknowledgments have shown them to."""
        self.begin(sequence)
        if self.first_acked >= 0 and self.first_acked < self.next and self.next + length <= self.edge:
            self.next = self.first_acked

    def begin_at_syn(self, sequence: i64) -> None:
        """Set where the bytes begin from the sequence number of a SYN."""
        self.begin((sequence + 1) & SEQUENCE_MASK)
        if self.acked < self.next:
            self.acked = self.next - 1
        self.first_acked = self.next

    def may_have_sent(self, acknowledgment: i64) -> bool:
        """Whether an acknowledgment is one of bytes seen of this end, whose SYN was seen."""
        start = self.next - self.delivered - self.missing
        return start <= extended(acknowledgment, self.next) <= self.highest

    def in_disorder(self) -> Disorder:
        """The disorder, made when it is first needed."""
        disorder = self.disorder
        if disorder is None:
            disorder = Disorder()
            self.disorder = disorder
        return disorder

    def has_backlog(self) -> bool:
        """Whether bytes wait behind a hole."""
        disorder = self.disorder
        return disorder is not None and len(disorder.backlog.pieces) > 0

    def needs_watch(self) -> bool:
        """Whether acknowledgments of its bytes decide something."""
        disorder = self.disorder
        return self.hole_end() >= 0 or (disorder is not None and disorder.has_to_be_told())

    def hole_end(self) -> i64:
        """Position where the first hole ends, -1 when there is none."""
        disorder = self.disorder
        if disorder is not None and disorder.backlog.pieces:
            return disorder.backlog.pieces[0].start
        return self.fin if self.fin > self.next and self.next >= 0 else UNKNOWN

    def remember(self, segment: Segment, timestamp: i64) -> None:
        """Remember a packet, to recognise a copy of it."""
        self.window = segment.window
        self.last_sequence = segment.sequence
        self.last_acknowledgment = segment.acknowledgment
        self.last_identification = segment.ip_identification
        self.last_length = segment.original_payload_length
        self.last_flags = segment.flags
        self.last_at = timestamp
        disorder = self.disorder
        if disorder is None:
            return
        marks = disorder.marks
        if marks is None:
            return
        mark = marks[disorder.next_mark]
        mark.set(segment, timestamp)
        mark.digest = 0 if segment.ip_identification > 0 else segment.packet_digest()
        disorder.next_mark = (disorder.next_mark + 1) % limits.COPY_PACKETS
        disorder.quiet += 1
        if disorder.quiet > MARKED_PACKETS:
            disorder.marks = None
            self.connection.own_bytes -= limits.MARKS_BYTES

    def is_copy(self, segment: Segment, timestamp: i64) -> bool:
        """Whether a packet is an exact copy of one shortly before it."""
        disorder = self.disorder
        is_bare = segment.original_payload_length == 0 and segment.flags == ACK and segment.ip_identification <= 0
        if is_bare and (disorder is None or disorder.copies == 0):
            return False  # repeated acknowledgments look like copies; they are taken for them only where others come twice
        if disorder is not None:
            marks = disorder.marks
            if marks is not None:
                for mark in marks:
                    if mark.is_of(segment, timestamp):
                        return True
        if self.last_sequence != segment.sequence or self.last_acknowledgment != segment.acknowledgment:
            return False
        return self._last_mark().is_of(segment, timestamp)

    def note_copy(self) -> None:
        """Note that an exact copy came."""
        self.expect_copies()
        self.in_disorder().copies += 1

    def expect_copies(self) -> None:
        """For a while remember more than the last packet."""
        disorder = self.in_disorder()
        disorder.quiet = 0
        if disorder.marks is None:
            marks = [self._last_mark()]
            while len(marks) < limits.COPY_PACKETS:
                marks.append(Mark())
            disorder.marks = marks
            disorder.next_mark = 1
            self.connection.own_bytes += limits.MARKS_BYTES

    def _last_mark(self) -> Mark:
        mark = Mark()
        mark.identification = self.last_identification
        mark.sequence = self.last_sequence
        mark.acknowledgment = self.last_acknowledgment
        mark.window = self.window
        mark.length = self.last_length
        mark.flags = self.last_flags
        mark.timestamp = self.last_at
        return mark
