"""What two ends say to each other in TLS records: their handshakes, alerts, and the content, which is a stream of its own.

**Keys.** Both hellos and the key log together give the keys. In TLS 1.3 (RFC 8446) every direction then goes through its epochs: early
data, handshake, traffic, and one more with each KeyUpdate. In TLS 1.2 (RFC 5246) ChangeCipherSpec begins an epoch. What protects
them always authenticates, so that what was opened was said by one of the ends, at that place.

**The stream inside** opens with the first content, or with the first hole that content can have been in. ALPN says what it is.
"""

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.tls_decryption import EARLY, HANDSHAKE_KEYS, TRAFFIC, Decryptor, Trials
from analyzer.codecs.tls_handshake import (
    CERTIFICATE,
    CLIENT_HELLO,
    CLIENT_KEY_EXCHANGE,
    EARLY_DATA,
    ENCRYPTED_EXTENSIONS,
    END_OF_EARLY_DATA,
    FINISHED,
    HELLO_REQUEST,
    KEY_UPDATE,
    SERVER_HELLO,
    SERVER_HELLO_DONE,
    SERVER_KEY_EXCHANGE,
    ClientHello,
    EncryptedExtensions,
    Message,
    ServerHello,
    certificates,
    key_exchange_group,
)
from analyzer.codecs.tls_names import alert_name, group_name
from analyzer.codecs.tls_records import ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE
from analyzer.codecs.tls_session import LOST, NEVER_ANSWERED, NO_SERVER_HELLO, WRONG_KEYS, Knowledge, Session
from analyzer.codecs.tls_side import UNKNOWN_LENGTH, Phase, Record, Side
from analyzer.dissector import DIRECTION_NAMES, TO_CLIENT, TO_SERVER, CloseReason
from analyzer.errors import ProtocolError
from analyzer.records import Rows
from analyzer.stream import Stream
from analyzer.tls.tls_facts import HandshakeFacts
from analyzer.tls.tls_rows import TlsAlertRecord

_CHILDREN = {"h2": "http2", "http/1.1": "http1", "http/1.0": "http1"}  # dissectors by ALPN protocol
_LEVELS = (None, "warning", "fatal")
_CLOSE_NOTIFY = 0


class TlsConversation:
    """Takes the records of both directions in order."""

    def __init__(self, stream: Stream) -> None:
        self.to_server = Side(TO_SERVER)
        self.to_client = Side(TO_CLIENT)
        self.client_hello = Knowledge.AWAITED
        self.server_hello = Knowledge.AWAITED
        self.extensions = Knowledge.AWAITED  # what the server chose beside: ALPN, early data
        self.rows: Rows = []
        self._stream = stream
        self._log = stream.context.key_log
        self._sessions = [Session()]
        self._facts = HandshakeFacts(stream.connection_id, stream.stream_index)
        self._trials = Trials()
        self._awaits_keys = self._log.is_growing
        self._log_version: i64 = -1
        self._is_settled = False
        self._is_retried = False  # the server asked for another ClientHello, which has not come
        self._accepts_early_data = False
        self._alpn: str | None = None
        self._reason: str | None = None  # why records are not decrypted
        self._child: Stream | None = None
        self._is_finished = False

    def side(self, direction: i64) -> Side:
        """The state of a direction."""
        return self.to_server if direction == TO_SERVER else self.to_client

    # --- waiting ---

    def must_wait(self, side: Side, kind: i64) -> bool:
        """Whether a record must wait for what the other direction is about to say."""
        if side.direction == TO_SERVER:
            if self.client_hello is Knowledge.KNOWN and self.server_hello is Knowledge.AWAITED:
                return True
            is_protected = side.phase is Phase.PROTECTED or kind == APPLICATION_DATA
            if is_protected and self.extensions is Knowledge.AWAITED and self.server_hello is Knowledge.KNOWN:
                return True
        elif self.client_hello is Knowledge.AWAITED and kind in (APPLICATION_DATA, CHANGE_CIPHER_SPEC):
            return True
        if self._awaits_keys and side.phase is Phase.PLAIN and kind in (APPLICATION_DATA, CHANGE_CIPHER_SPEC):
            return self._may_get_keys(side)
        return kind == CHANGE_CIPHER_SPEC and self._must_wait_for_hello(side)

    def _may_get_keys(self, side: Side) -> bool:
        """Whether keys may still come, in a capture that is read as it is written."""
        version = self._log.refresh()
        if version != self._log_version:
            self._log_version = version
            self._settle()
        if self._facts.is_tls13 or not self._is_settled:
            return not self._is_settled
        self.prepare(side)
        return side.decryptor is None and self._sessions[0].lacks_key()

    def _must_wait_for_hello(self, side: Side) -> bool:
        """Whether what a change of keys in TLS 1.2 needs may still come."""
        if side.changes >= len(self._sessions) or self._facts.is_tls13:
            return False
        session = self._sessions[side.changes]
        if side.direction == TO_SERVER:
            return session.server_hello is None and session.client_hello is not None and not self.to_client.is_over()
        if self.to_server.is_over():
            return False
        if session.client_hello is None:
            return True
        is_full = self._facts.row.is_resumed is False or side.changes > 0
        return is_full and self._log.has_premasters() and session.needs_key_exchange(self._log)

    def is_closing(self) -> bool:
        """Whether nothing more comes."""
        return self.to_server.is_closing and self.to_client.is_closing

    def await_no_keys(self) -> None:
        """A direction has ended: keys that are not there by now will not come."""
        if self._awaits_keys:
            self._awaits_keys = False
            self._settle()

    def stop_waiting(self, side: Side) -> None:
        """The other direction says nothing for too long, or no more; nor do keys come."""
        self.await_no_keys()
        if side.direction == TO_SERVER:
            if self.server_hello is Knowledge.AWAITED:
                self.server_hello = Knowledge.MISSING
            self._miss_extensions()
        elif self.client_hello is Knowledge.AWAITED:
            self.client_hello = Knowledge.MISSING
        self._settle()

    def nothing_more(self, side: Side) -> None:
        """A direction says nothing more that can be followed."""
        if side.direction == TO_SERVER:
            if self.client_hello is Knowledge.AWAITED:
                self.client_hello = Knowledge.MISSING
        else:
            if self.server_hello is Knowledge.AWAITED:
                self.server_hello = Knowledge.MISSING
            self._miss_extensions()
        self._settle()

    def _miss_extensions(self) -> None:
        if self.extensions is Knowledge.AWAITED:
            self.extensions = Knowledge.MISSING

    # --- keys ---

    def _settle(self) -> None:
        """Find the keys of TLS 1.3 once both hellos are known, and the reason why there are none once one is not."""
        if self._is_settled or self.client_hello is Knowledge.AWAITED or self.server_hello is Knowledge.AWAITED:
            return
        session = self._sessions[0]
        client, hello = session.client_hello, session.server_hello
        suite = session.suite()
        self._reason = session.reason
        if client is None or hello is None:
            self._miss_extensions()
            return
        self._is_settled = True
        if not hello.is_tls13():
            return
        if suite is None:
            self._miss_extensions()
            return
        if self._awaits_keys and not session.traffic_secrets(self._log, True) and session.lacks_key():
            self._is_settled = False
            return
        for side in (self.to_server, self.to_client):
            secrets = session.traffic_secrets(self._log, side.direction == TO_CLIENT)
            if not secrets:
                self._reason = session.reason
                continue
            is_early = side.direction == TO_SERVER and client.has(EARLY_DATA)
            decryptor = Decryptor(self._trials, EARLY if is_early else HANDSHAKE_KEYS, True)
            decryptor.use_secrets(suite, secrets)
            side.decryptor = decryptor
        keys = self.to_client.decryptor
        if keys is None or not keys.has_keys():
            self._miss_extensions()

    def prepare(self, side: Side) -> None:
        """Make the keys of the next epoch of TLS 1.2 ready, where they can be."""
        hello = self._sessions[0].server_hello
        if hello is None or hello.is_tls13() or side.changes >= len(self._sessions):
            return
        decryptor = side.decryptor
        if decryptor is None:
            decryptor = Decryptor(self._trials, -1, False)
        if decryptor.epochs() > side.changes:
            return
        session = self._sessions[side.changes]
        protections = session.protections(self._log)
        if protections:
            decryptor.add(protections[side.direction])
            side.decryptor = decryptor
        elif side.changes == 0:
            self._reason = session.reason

    def change_keys(self, side: Side) -> None:
        """ChangeCipherSpec of TLS 1.2: the next record has other keys."""
        self.prepare(side)
        side.changes += 1
        side.messages.begin()
        decryptor = side.decryptor
        if decryptor is None or decryptor.epochs() < side.changes:
            self._give_up(side, self._sessions[min(side.changes, len(self._sessions)) - 1].reason or LOST)
            return
        decryptor.advance()
        side.phase = Phase.PROTECTED

    def _give_up(self, side: Side, reason: str) -> None:
        """The rest of a direction is not decrypted."""
        side.phase = Phase.OPAQUE
        side.decryptor = None
        if self._reason is None:
            self._reason = reason
        if side.direction == TO_CLIENT:
            self._miss_extensions()

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
        if side.direction == TO_SERVER and self._is_retried:
            return  # early data that the server did not want
        if self._facts.is_tls13 or not self._is_settled:
            side.messages.begin()
            if side.decryptor is None:
                self._give_up(side, LOST)
            else:
                side.phase = Phase.PROTECTED
        else:  # the change of keys is missing
            self.change_keys(side)
        if side.protected_at < 0:
            side.protected_at = record.timestamp
            side.protected_packet = record.packet

    def _change_cipher_spec(self, side: Side) -> None:
        """In TLS 1.3 it means nothing (RFC 8446 section 5); after the first one of a capture without hellos neither."""
        if self._facts.is_tls13:
            return
        if not self._is_settled:
            self._give_up(side, LOST)
            return
        if side.direction == TO_CLIENT and side.changes == 0 and self._facts.row.is_resumed is None and side.is_whole:
            self._facts.row.is_resumed = True  # no key exchange: RFC 5077 section 3.4
        self.change_keys(side)

    def _opaque(self, side: Side, record: Record) -> None:
        """A protected record that cannot be opened; in TLS 1.2 its type can be seen."""
        side.undecrypted += 1
        if self._facts.is_tls13 or not self._is_settled:
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
        if side.has_lost and not decryptor.has_lost_content(self._accepts_early_data):
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
                self._miss_extensions()
        if kind == APPLICATION_DATA:
            if decryptor.is_tls13 and decryptor.epoch == EARLY and not self._accepts_early_data:
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
            self._give_up(side, WRONG_KEYS)

    # --- what is missing ---

    def lose_record(self, side: Side, record: Record) -> None:
        """A record could not be read, though where the next one begins is known."""
        if side.phase is Phase.PLAIN:
            if record.kind == HANDSHAKE:
                side.messages.lose()
                self._miss_hello(side)
            return
        side.undecrypted += 1
        decryptor = side.decryptor
        if decryptor is None:
            return
        is_exact = decryptor.is_exact()
        decryptor.miss_record()
        side.messages.lose()
        if side.direction == TO_CLIENT:
            self._miss_extensions()
        if record.kind == APPLICATION_DATA:
            length = record.length - decryptor.least_expansion()
            if length > 0:
                side.note_lost(length if is_exact else UNKNOWN_LENGTH, length, record.timestamp, record.packet)

    def lose_framing(self, side: Side, missing: i64, timestamp: i64, packet: i64) -> bool:
        """So many bytes are missing (UNKNOWN_LENGTH), and records begin anywhere after them; whether they can be found again."""
        side.messages.lose()
        self._miss_hello(side)
        if self._is_settled and not self._facts.is_tls13:
            self.prepare(side)
        decryptor = side.decryptor
        side.note_lost(UNKNOWN_LENGTH, missing, timestamp, packet)
        if decryptor is None:
            if side.phase is Phase.PLAIN:
                self._give_up(side, LOST)
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

    def _miss_hello(self, side: Side) -> None:
        if side.direction == TO_SERVER:
            self._is_retried = False
            if self.client_hello is Knowledge.AWAITED:
                self.client_hello = Knowledge.MISSING
        else:
            if self.server_hello is Knowledge.AWAITED:
                self.server_hello = Knowledge.MISSING
            self._miss_extensions()
        self._settle()

    # --- handshakes ---

    def _handshake(self, side: Side, record: Record, content: bytes) -> None:
        for message in side.messages.read(content, record.started_at, record.first_packet):
            try:
                self._message(side, message, record)
            except ProtocolError as error:
                self._fault(side, record, error.required, error.found, error.section)
                self._miss_hello(side)

    def _message(self, side: Side, message: Message, record: Record) -> None:
        kind = message.kind
        if kind == CLIENT_HELLO and side.direction == TO_SERVER:
            self._client_hello(side, message)
        elif kind == SERVER_HELLO and side.direction == TO_CLIENT:
            self._server_hello(side, message, record)
        elif kind == ENCRYPTED_EXTENSIONS and side.direction == TO_CLIENT:
            self._encrypted_extensions(message)
        elif kind == CERTIFICATE:
            self._certificate(side, message)
        elif kind == FINISHED:
            self._finished(side, record)
        elif (kind == KEY_UPDATE and side.decryptor is not None and self._facts.is_tls13) or (
            kind == END_OF_EARLY_DATA and side.decryptor is not None and side.decryptor.epoch == EARLY
        ):
            side.decryptor.advance()
        elif not self._facts.is_tls13:
            self._key_exchange(side, message)
        self._remember(side, message)

    def _client_hello(self, side: Side, message: Message) -> None:
        hello = ClientHello(message.body)
        if self._is_retried:
            self._is_retried = False
            if self._sessions[0].server_hello is None and not self.to_client.is_over():
                self.server_hello = Knowledge.AWAITED
            return
        session = self._session(side)
        session.client_hello = hello
        if side.hellos > 1:
            return
        self.client_hello = Knowledge.KNOWN
        self._facts.client_hello(hello, side.is_whole, message.started_at, message.first_packet)
        self._settle()

    def _server_hello(self, side: Side, message: Message, record: Record) -> None:
        hello = ServerHello(message.body)
        if hello.is_retry:
            self._is_retried = True
            self._facts.server_hello(hello, None, True, record.timestamp)
            self.server_hello = Knowledge.KNOWN
            return
        session = self._session(side)
        session.server_hello = hello
        if side.hellos > 1:
            return
        self.server_hello = Knowledge.KNOWN
        is_first = side.is_whole and self._facts.row.has_hello_retry is None
        self._facts.server_hello(hello, session.client_hello, is_first, record.timestamp)
        if not hello.is_tls13():
            self.extensions = Knowledge.KNOWN
            self._alpn = hello.alpn
        self._settle()

    def _session(self, side: Side) -> Session:
        """The session that a direction's next hello belongs to."""
        side.hellos += 1
        if side.hellos > len(self._sessions):
            if len(self._sessions) > limits.TLS_RENEGOTIATIONS:
                raise ProtocolError(f"at most {limits.TLS_RENEGOTIATIONS} renegotiations", "more")
            self._sessions.append(Session())
            self._facts.row.renegotiations += 1
        return self._sessions[side.hellos - 1]

    def _encrypted_extensions(self, message: Message) -> None:
        found = EncryptedExtensions(message.body)
        self._facts.encrypted_extensions(found)
        self.extensions = Knowledge.KNOWN
        self._accepts_early_data = found.accepts_early_data
        self._alpn = found.alpn

    def _certificate(self, side: Side, message: Message) -> None:
        is_server = side.direction == TO_CLIENT
        found = certificates(message.body, self._facts.is_tls13)
        if is_server and side.hellos == 1 and not self._facts.is_tls13 and self._facts.row.is_resumed is None:
            self._facts.row.is_resumed = False
        if found:
            self._facts.certificate(found[0], is_server)

    def _finished(self, side: Side, record: Record) -> None:
        if side.finished_at < 0:
            side.finished_at = record.timestamp
            side.finished_packet = record.packet
        decryptor = side.decryptor
        if decryptor is not None and decryptor.is_tls13 and decryptor.epoch < TRAFFIC:
            decryptor.advance()

    def _key_exchange(self, side: Side, message: Message) -> None:
        """The messages of TLS 1.2 that tell how keys are agreed on (RFC 5246 sections 7.4.3 to 7.4.7)."""
        row = self._facts.row
        if side.direction == TO_CLIENT and message.kind in (SERVER_KEY_EXCHANGE, SERVER_HELLO_DONE) and side.hellos == 1:
            if row.is_resumed is None:
                row.is_resumed = False
            group = key_exchange_group(message.body) if message.kind == SERVER_KEY_EXCHANGE else -1
            if group >= 0 and row.cipher_suite is not None and "_ECDHE_" in row.cipher_suite:
                row.key_exchange_group = group_name(group)
        elif message.kind == CLIENT_KEY_EXCHANGE and side.direction == TO_SERVER and 0 < side.hellos <= len(self._sessions):
            session = self._sessions[side.hellos - 1]
            session.encrypted_premaster = message.body[2:]  # behind its length, with RSA

    def _remember(self, side: Side, message: Message) -> None:
        """Keep what an extended master secret is made from, where a premaster secret was given."""
        if side.hellos == 0 or self._facts.is_tls13 or message.kind in (HELLO_REQUEST, FINISHED):
            return
        session = self._sessions[min(side.hellos, len(self._sessions)) - 1]
        if session.has_key_exchange and side.direction == TO_SERVER:
            return
        if self._log.has_premasters():
            said = bytes([message.kind]) + len(message.body).to_bytes(3, "big") + message.body
            (session.client_messages if side.direction == TO_SERVER else session.server_messages).append(said)
        if message.kind == CLIENT_KEY_EXCHANGE:
            session.has_key_exchange = True

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

    # --- the stream inside ---

    def _content(self, side: Side, record: Record, content: bytes, length: i64) -> None:
        if length == 0 or side.has_closed:
            return
        child = self._open_child()
        if side.has_lost:
            self._tell_lost(side, child)
        self.rows += child.deliver(side.direction, content, 0, length, record.timestamp, record.released, record.packet)

    def _open_child(self) -> Stream:
        child = self._child
        if child is None:
            facts = {} if self._alpn is None else {"alpn": self._alpn}
            name = _CHILDREN.get(self._alpn) if self._alpn is not None else None
            child = self._stream.child(name, None, facts)
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
        length = None if side.lost_exactly == UNKNOWN_LENGTH else side.lost_exactly
        at_most = None if side.lost_at_most == UNKNOWN_LENGTH else side.lost_at_most
        self.rows += child.gap(side.direction, length, at_most, side.lost_at, side.lost_packet)

    def end(self, side: Side, reason: CloseReason, timestamp: i64, packet: i64) -> None:
        """A direction has ended."""
        side.is_ended = True
        side.end_reason = reason.value
        side.ended_at = timestamp
        side.ended_packet = packet
        self.nothing_more(side)
        child = self._child
        if child is not None:
            self._tell_lost(side, child)
            self.rows += child.close(side.direction, reason, timestamp, packet)
        if self.to_server.is_ended and self.to_client.is_ended and not self._is_finished:
            self._is_finished = True
            if self._reason == NO_SERVER_HELLO and self.to_client.is_whole:
                self._reason = NEVER_ANSWERED
            self.rows.append(self._facts.finish(self.to_server, self.to_client, self._reason))
            self._child = None

    def _fault(self, side: Side, record: Record, required: str, found: str, section: str) -> None:
        """Report what an end must not send, and after which the connection can still be followed."""
        self.rows += self._stream.anomaly(
            "protocol_error", side.direction, record.timestamp, record.packet, required, found, section
        )
