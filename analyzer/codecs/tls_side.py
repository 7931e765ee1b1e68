"""The state of one direction of a TLS connection."""

from enum import Enum
from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.tls_decryption import Decryptor
from analyzer.codecs.tls_handshake import MessageReader
from analyzer.codecs.tls_records import RecordSearch, body_length, is_header

IN_HEADER: Final = 0
IN_BODY: Final = 1
RESTARTING: Final = 2  # nothing was seen before a hole: a hello may follow it
SEARCHING: Final = 3  # where records begin is sought by authentication
ASTRAY: Final = 4  # where records begin is not known, and will not be

UNKNOWN_LENGTH: Final = -1


class Phase(Enum):
    """What the records of a direction are."""

    PLAIN = 0
    PROTECTED = 1
    OPAQUE = 2  # protected, and there is no key


class Record:
    """A record, a hole or the end of a direction, as it came."""

    def __init__(self, kind: i64, version: i64, length: i64, body: bytes | None) -> None:
        """``body`` is None where bytes of it are missing or unwanted."""
        self.kind = kind
        self.version = version
        self.length = length
        self.body = body
        self.started_at: i64 = 0
        self.timestamp: i64 = 0
        self.released: i64 = 0
        self.first_packet: i64 = 0
        self.packet: i64 = 0
        self.position: i64 = 0  # of its end, in the bytes of its direction
        self.reason: str | None = None  # of the end


A_HOLE: Final = -1  # kinds of what is no record
AN_END: Final = -2


class Side:
    """One direction: its framing, its handshake messages, its keys, and what waits for the other direction."""

    def __init__(self, direction: i64) -> None:
        self.direction = direction
        self.position: i64 = 0  # bytes so far, with those missing ones whose number is known
        self.unread: i64 = 0  # of them, behind the record that has ended
        self.given: i64 = 0  # bytes of content so far, counted likewise
        self.given_position: i64 = 0  # of the end of the record that held the last of them
        self.state: i64 = IN_HEADER
        self.phase = Phase.PLAIN
        self.header = b""  # the part of one that has come
        self.kind: i64 = 0
        self.version: i64 = 0
        self.length: i64 = 0
        self.remaining: i64 = 0  # of the body
        self.pieces: list[bytes] = []
        self.is_wanted = True
        self.is_holed = False
        self.started_at: i64 = 0
        self.first_packet: i64 = 0
        self.is_begun = False  # a byte was seen
        self.is_whole = True  # nothing is missing so far
        self.is_closing = False  # nothing follows what is held
        self.is_ended = False
        self.end_reason: str | None = None  # of what is inside; its last time and packet follow
        self.ended_at: i64 = 0
        self.ended_packet: i64 = 0
        self.messages = MessageReader()
        self.hellos: i64 = 0  # but for retries
        self.changes: i64 = 0  # of keys, by ChangeCipherSpec
        self.has_decompressed = False  # its certificate; once is all that a connection needs
        self.decryptor: Decryptor | None = None
        self.search: RecordSearch | None = None
        self.failures: i64 = 0  # records that did not authenticate, before the first that did
        self.undecrypted: i64 = 0
        self.records: i64 = 0
        self.protected_at: i64 = -1  # the first protected record
        self.protected_packet: i64 = -1
        self.finished_at: i64 = -1
        self.finished_packet: i64 = -1
        self.has_closed = False  # close_notify
        self.held: list[Record] = []
        self.held_bytes: i64 = 0
        self.is_paused = False
        self.has_lost = False  # content that the stream inside has not been told of
        self.lost_exactly: i64 = 0  # UNKNOWN_LENGTH where only a bound is known
        self.lost_at_most: i64 = 0  # UNKNOWN_LENGTH where no bound is
        self.lost_at: i64 = 0
        self.lost_packet: i64 = 0

    def memory(self) -> i64:
        """How many bytes of memory take what waits, what is incomplete, and the keys."""
        taken = self.held_bytes + self.messages.memory()
        if self.pieces:
            taken += self.length - self.remaining + len(self.pieces) * limits.TLS_PIECE_BYTES
        if self.search is not None:
            taken += self.search.size()
        return taken if self.decryptor is None else taken + limits.TLS_DECRYPTOR_BYTES

    def is_over(self) -> bool:
        """Whether nothing more of it can be understood."""
        return self.is_ended or self.state == ASTRAY or self.phase is Phase.OPAQUE

    def begin_record(self, data: bytes, at: i64) -> bool:
        """Take a header; False where it is none."""
        if not is_header(data, at):
            return False
        self.kind = data[at]
        self.version = (data[at + 1] << 8) | data[at + 2]
        self.length = body_length(data, at)
        self.remaining = self.length
        self.is_holed = False
        self.is_wanted = self.phase is not Phase.OPAQUE
        self.state = IN_BODY
        return True

    def end_record(self) -> bytes | None:
        """The body of the record that is complete."""
        self.state = IN_HEADER
        pieces = self.pieces
        if self.is_holed or not self.is_wanted:
            self.pieces = []
            return None
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.pieces = []
        return body

    def hold(self, record: Record) -> None:
        """Keep what came until the other direction has said what it needs."""
        self.is_paused = True
        self.held.append(record)
        self.held_bytes += limits.TLS_HELD_RECORD_BYTES + (0 if record.body is None else len(record.body))

    def take_held(self) -> list[Record]:
        """What was held, which waits no longer."""
        held = self.held
        self.held = []
        self.held_bytes = 0
        self.is_paused = False
        return held

    def note_lost(self, exactly: i64, at_most: i64, timestamp: i64, packet: i64) -> None:
        """Content is missing that the stream inside must hear of."""
        if not self.has_lost:
            self.has_lost = True
            self.lost_exactly = 0
            self.lost_at_most = 0
        if exactly == UNKNOWN_LENGTH or self.lost_exactly == UNKNOWN_LENGTH:
            self.lost_exactly = UNKNOWN_LENGTH
        else:
            self.lost_exactly += exactly
        if at_most == UNKNOWN_LENGTH or self.lost_at_most == UNKNOWN_LENGTH:
            self.lost_at_most = UNKNOWN_LENGTH
        else:
            self.lost_at_most += at_most
        self.lost_at = timestamp
        self.lost_packet = packet

    def forget_lost(self) -> None:
        """What was missing is told, or was no content."""
        self.has_lost = False
