"""What two ends say to each other in TLS records: their handshakes, alerts, and the content, which is a stream of its own.

What protects records always authenticates them, so that what was opened was said by one of the ends, at that place.

The stream inside opens with the first content, or with the first hole that content can have been in. ALPN says what it is.
"""

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.tls_decryption import EARLY, TRAFFIC
from analyzer.codecs.tls_names import alert_name
from analyzer.codecs.tls_records import ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE
from analyzer.codecs.tls_session import LOST, NEVER_ANSWERED, NO_SERVER_HELLO, WRONG_KEYS
from analyzer.codecs.tls_side import UNKNOWN_LENGTH, Phase, Record, Side
from analyzer.dissector import DIRECTION_NAMES, TO_CLIENT, TO_SERVER, CloseReason, Facts
from analyzer.errors import ProtocolError
from analyzer.records import Rows
from analyzer.scope import Carrier
from analyzer.stream import Stream
from analyzer.tls.tls_negotiation import Negotiation
from analyzer.tls.tls_rows import TlsAlertRecord, TlsHandshakeRecord

_CHILDREN = {"h2": "http2", "http/1.1": "http1", "http/1.0": "http1"}  # dissectors by ALPN protocol
_LEVELS = (None, "warning", "fatal")
_CLOSE_NOTIFY = 0


class TlsConversation(Carrier):
    """Takes the records of both directions in order, and carries the stream inside."""

    def __init__(self, stream: Stream) -> None:
        self.to_server = Side(TO_SERVER)
        self.to_client = Side(TO_CLIENT)
        self.negotiation = Negotiation(stream, self.to_server, self.to_client)
        self.rows: Rows = []
        self._stream = stream
        self._facts = self.negotiation.facts
        self._child: Stream | None = None
        self._is_finished = False

    def side(self, direction: i64) -> Side:
        """The state of a direction."""
        return self.to_server if direction == TO_SERVER else self.to_client

    def is_closing(self) -> bool:
        """Whether nothing more comes."""
        return self.to_server.is_closing and self.to_client.is_closing

    def acknowledged(self, direction: i64) -> i64:
        """How many bytes of content the receiver of a direction can have had by now at most; -1: not known.

        A record has more bytes than its content.
        """
        carrier = self._stream.carrier
        known: i64 = -1 if carrier is None else carrier.acknowledged(direction)
        if known < 0:
            return -1
        side = self.side(direction)
        ahead = known - side.given_position
        return side.given + (ahead if ahead > 0 else 0)

    # --- records ---

    def take(self, side: Side, record: Record) -> None:
        """Take a record."""
        side.records += 1
        if side.direction == TO_SERVER:
            self._stream.messages_to_server += 1
        else:
            self._stream.messages_to_client += 1
        if record.kind == APPLICATION_DATA and side.phase is Phase.PLAIN:
            self._first_protected(side, record)
        elif record.kind == CHANGE_CIPHER_SPEC:
            self._change_cipher_spec(side)
            return
        body = record.body
        if side.phase is Phase.OPAQUE:
            self._opaque(side, record)
        elif body is None:
            self.lose_record(side, record)
        elif side.phase is Phase.PROTECTED:
            self._protected(side, record, body)
        elif record.kind == HANDSHAKE:
            self._handshake(side, record, body)
        elif record.kind == ALERT and len(body) == 2:
            self._alert(side, record, body, False)

    def _first_protected(self, side: Side, record: Record) -> None:
        """The first record of type application_data: in TLS 1.3 whatever is protected looks like it."""
        if side.direction == TO_SERVER and self.negotiation.is_retried:
            return  # early data that the server did not want
        if self._facts.is_tls13 or not self.negotiation.is_settled:
            side.messages.begin()
            if side.decryptor is None:
                self.negotiation.give_up(side, LOST)
            else:
                side.phase = Phase.PROTECTED
        else:  # the change of keys is missing
            self.negotiation.change_keys(side)
        if side.protected_at < 0:
            side.protected_at = record.timestamp
            side.protected_packet = record.packet

    def _change_cipher_spec(self, side: Side) -> None:
        """In TLS 1.3 it means nothing (RFC 8446 section 5); after the first one of a capture without hellos neither."""
        if self._facts.is_tls13:
            return
        if not self.negotiation.is_settled:
            self.negotiation.give_up(side, LOST)
            return
        if (
            side.direction == TO_CLIENT
            and side.changes == 0
            and self._facts.row.is_resumed is None
            and side.is_whole
            and not side.messages.is_lost
        ):
            self._facts.row.is_resumed = True  # no key exchange: RFC 5077 section 3.4
        self.negotiation.change_keys(side)

    def _opaque(self, side: Side, record: Record) -> None:
        """A protected record that cannot be opened; in TLS 1.2 its type can be seen."""
        side.undecrypted += 1
        if self._facts.is_tls13 or not self.negotiation.is_settled:
            return
        if record.kind == HANDSHAKE and side.finished_at < 0 and side.is_whole:
            side.finished_at = record.timestamp
            side.finished_packet = record.packet
        elif record.kind == ALERT:
            self._alert(side, record, b"", True)

    def _protected(self, side: Side, record: Record, body: bytes) -> None:
        """Open a record and take what is in it."""
        decryptor = side.decryptor
        assert decryptor is not None
        epoch = decryptor.epoch
        content = decryptor.open(record.kind, record.version, body)
        if content is None:
            self._not_opened(side, record)
            return
        if side.has_lost and not decryptor.has_lost_content(self.negotiation.accepts_early_data):
            side.forget_lost()
        kind = record.kind
        end: i64 = len(content)
        if decryptor.is_tls13:
            while end > 0 and content[end - 1] == 0:  # padding: RFC 8446 section 5.4
                end = len(content.rstrip(b"\0"))
            if end == 0:
                self._fault(side, record, "a content type in a record", "padding alone", "RFC 8446 section 5.4")
                return
            end -= 1
            kind = content[end]
        if decryptor.epoch != epoch:
            side.messages.begin()
            if side.direction == TO_CLIENT and decryptor.epoch >= TRAFFIC:
                self.negotiation.miss_extensions()
        if kind == APPLICATION_DATA:
            if decryptor.is_tls13 and decryptor.epoch == EARLY and not self.negotiation.accepts_early_data:
                return
            self._content(side, record, content, end)
        elif kind == HANDSHAKE:
            self._handshake(side, record, content[:end])
        elif kind == ALERT and end == 2:
            self._alert(side, record, content, True)

    def _not_opened(self, side: Side, record: Record) -> None:
        """Count a record that does not authenticate; keys that never fitted are wrong."""
        decryptor = side.decryptor
        assert decryptor is not None
        has_keys = decryptor.has_keys()
        self.lose_record(side, record)
        if not has_keys or decryptor.is_proven:
            if has_keys and side.is_whole:
                self._fault(
                    side, record, "a record that the keys authenticate", f"record {decryptor.number - 1} that they do not", ""
                )
            return
        side.failures += 1
        if side.failures >= limits.TLS_WRONG_RECORDS:
            self._fault(side, record, "records that the keys authenticate", f"{side.failures} that they do not", "")
            self.negotiation.give_up(side, WRONG_KEYS)

    def _handshake(self, side: Side, record: Record, content: bytes) -> None:
        for message in side.messages.read(content, record.started_at, record.first_packet):
            try:
                self.negotiation.message(side, message, record)
            except ProtocolError as error:
                self._fault(side, record, error.required, error.found, error.section)
                self.negotiation.miss_hello(side)

    def _alert(self, side: Side, record: Record, body: bytes, is_protected: bool) -> None:
        level: str | None = None
        description: str | None = None
        if body:
            level = _LEVELS[body[0]] if body[0] < len(_LEVELS) else None
            description = alert_name(body[1])
            if body[1] != _CLOSE_NOTIFY:
                self._facts.row.alert = f"{description} {DIRECTION_NAMES[side.direction]}"
        self.rows.append(
            TlsAlertRecord(
                self._stream.connection_id,
                self._stream.stream_index,
                DIRECTION_NAMES[side.direction],
                record.timestamp,
                level,
                description,
                is_protected,
                record.packet,
            )
        )
        if body and body[1] == _CLOSE_NOTIFY and is_protected:
            side.has_closed = True
            side.end_reason = CloseReason.FIN.value
            side.ended_at = record.timestamp
            side.ended_packet = record.packet
            if self._child is not None:
                self._tell_lost(side, self._child)
                self.rows += self._child.close(side.direction, CloseReason.FIN, record.timestamp, record.packet)
            if self.to_server.has_closed and self.to_client.has_closed:
                self._stream.end_reason = "complete"

    # --- what is missing ---

    def lose_record(self, side: Side, record: Record) -> None:
        """A record could not be read, though where the next one begins is known."""
        if side.phase is Phase.PLAIN:
            if record.kind == HANDSHAKE:
                side.messages.lose()
                self.negotiation.miss_hello(side)
            return
        side.undecrypted += 1
        decryptor = side.decryptor
        if decryptor is None:
            return
        is_exact = decryptor.is_exact()
        decryptor.miss_record()
        side.messages.lose()
        if side.direction == TO_CLIENT:
            self.negotiation.miss_extensions()
        if record.kind == APPLICATION_DATA:
            length = record.length - decryptor.least_expansion()
            if length > 0:
                side.note_lost(length if is_exact else UNKNOWN_LENGTH, length, record.timestamp, record.packet)

    def lose_framing(self, side: Side, missing: i64, timestamp: i64, packet: i64) -> bool:
        """So many bytes are missing (UNKNOWN_LENGTH), and records begin anywhere after them; whether they can be found again."""
        side.messages.lose()
        self.negotiation.miss_hello(side)
        if self.negotiation.is_settled and not self._facts.is_tls13:
            self.negotiation.prepare(side)
        decryptor = side.decryptor
        side.note_lost(UNKNOWN_LENGTH, missing, timestamp, packet)
        if decryptor is None:
            if side.phase is Phase.PLAIN:
                self.negotiation.give_up(side, LOST)
            return False
        decryptor.miss(missing)
        return True

    def found_again(self, side: Side) -> None:
        """A record was found that authenticates."""
        decryptor = side.decryptor
        assert decryptor is not None
        if not decryptor.is_tls13:
            side.changes = max(side.changes, decryptor.epoch + 1)
        if side.phase is Phase.PLAIN:
            side.phase = Phase.PROTECTED
            side.messages.begin()

    # --- the stream inside ---

    def _content(self, side: Side, record: Record, content: bytes, length: i64) -> None:
        if length == 0 or side.has_closed:
            return
        child = self._open_child()
        if side.has_lost:
            self._tell_lost(side, child)
        side.given += length
        side.given_position = record.position
        self.rows += child.deliver(side.direction, content, 0, length, record.timestamp, record.released, record.packet)

    def _open_child(self) -> Stream:
        child = self._child
        if child is None:
            facts: Facts = {}
            if "response_awaited" in self._stream.facts:  # TLS by an upgrade of HTTP/1
                facts["response_awaited"] = self._stream.facts["response_awaited"]
            if self.negotiation.alpn is not None:
                facts["alpn"] = self.negotiation.alpn
            name = _CHILDREN.get(self.negotiation.alpn) if self.negotiation.alpn is not None else None
            child = self._stream.child(name, None, facts, carrier=self)
            self._child = child
            self._facts.row.is_decrypted = True
            for side in (self.to_server, self.to_client):
                if side.end_reason is not None:
                    self.rows += child.close(side.direction, CloseReason(side.end_reason), side.ended_at, side.ended_packet)
        return child

    def _tell_lost(self, side: Side, child: Stream) -> None:
        """Tell the stream inside of the content that is missing before what comes next."""
        if not side.has_lost:
            return
        side.forget_lost()
        length: int | None = None
        if side.lost_exactly != UNKNOWN_LENGTH:
            length = side.lost_exactly
            side.given += side.lost_exactly
        at_most = None if side.lost_at_most == UNKNOWN_LENGTH else side.lost_at_most
        self.rows += child.gap(side.direction, length, at_most, side.lost_at, side.lost_packet)

    def memory(self) -> i64:
        """How many bytes of memory the connection takes, without the stream inside."""
        return self.to_server.memory() + self.to_client.memory() + self.negotiation.memory

    def open_rows(self, now: i64) -> Rows:
        """The rows, as they stand, of the handshake and of the stream inside."""
        if self._is_finished:
            return []
        rows: Rows = [self._row()]
        return rows if self._child is None else rows + self._child.tick(now)

    def end(self, side: Side, reason: CloseReason, timestamp: i64, packet: i64) -> None:
        """A direction has ended."""
        side.is_ended = True
        side.end_reason = reason.value
        side.ended_at = timestamp
        side.ended_packet = packet
        self.negotiation.nothing_more(side)
        child = self._child
        if child is not None:
            self._tell_lost(side, child)
            self.rows += child.close(side.direction, reason, timestamp, packet)
        if self.to_server.is_ended and self.to_client.is_ended and not self._is_finished:
            self._is_finished = True
            if self.negotiation.reason == NO_SERVER_HELLO and self.to_client.is_whole:
                self.negotiation.reason = NEVER_ANSWERED
            self.rows.append(self._row())
            self._child = None

    def _row(self) -> TlsHandshakeRecord:
        """The connection's own row."""
        return self._facts.as_it_stands(self.to_server, self.to_client, self.negotiation.reason)

    def _fault(self, side: Side, record: Record, required: str, found: str, section: str) -> None:
        """Report what an end must not send, and after which the connection can still be followed."""
        self.rows += self._stream.anomaly(
            "protocol_error", side.direction, record.timestamp, record.packet, required, found, section
        )
