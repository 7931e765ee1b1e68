"""What both ends settle before content flows: their hellos, the keys that follow from them with a key log, and later changes.

Both hellos and the key log together give the keys. In TLS 1.3 (RFC 8446) every direction then goes through its epochs: early data,
handshake, traffic, and one more with each KeyUpdate. In TLS 1.2 (RFC 5246) ChangeCipherSpec begins an epoch.
"""

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.key_log import ENCRYPTED_PREMASTER_BYTES
from analyzer.codecs.tls_certificates import decompressed
from analyzer.codecs.tls_decryption import EARLY, HANDSHAKE_KEYS, TRAFFIC, Decryptor, Trials
from analyzer.codecs.tls_handshake import (
    CERTIFICATE,
    CLIENT_HELLO,
    CLIENT_KEY_EXCHANGE,
    COMPRESSED_CERTIFICATE,
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
from analyzer.codecs.tls_names import group_name
from analyzer.codecs.tls_records import APPLICATION_DATA, CHANGE_CIPHER_SPEC
from analyzer.codecs.tls_session import LOST, NO_KEY, NO_KEYS, Knowledge, Session
from analyzer.codecs.tls_side import Phase, Record, Side
from analyzer.dissector import TO_CLIENT, TO_SERVER
from analyzer.errors import ProtocolError
from analyzer.stream import Stream
from analyzer.tls.tls_facts import HandshakeFacts


class Negotiation:
    """Takes the handshake messages of both directions, and makes the keys ready that they lead to."""

    def __init__(self, stream: Stream, to_server: Side, to_client: Side) -> None:
        self.client_hello = Knowledge.AWAITED
        self.server_hello = Knowledge.AWAITED
        self.extensions = Knowledge.AWAITED  # what the server chose beside: ALPN, early data
        self.facts = HandshakeFacts(stream.connection_id, stream.stream_index)
        self.is_settled = False  # both hellos are known
        self.is_retried = False  # the server asked for another ClientHello, which has not come
        self.accepts_early_data = False
        self.alpn: str | None = None
        self.reason: str | None = None  # why records are not decrypted
        self._to_server = to_server
        self._to_client = to_client
        self._log = stream.context.key_log
        self._log_version: i64 = -1
        self.awaits_keys = self._log.is_growing  # others may still write them
        self._sessions = [Session()]
        self.memory: i64 = 0  # bytes of it that hellos take, and what an extended master secret is made from
        self._trials = Trials()

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
        changes_keys = kind == CHANGE_CIPHER_SPEC and not self.facts.is_tls13  # where a second ServerHello may follow it
        if self.awaits_keys and side.phase is Phase.PLAIN and (kind == APPLICATION_DATA or changes_keys):
            return self._may_get_keys(side)
        return kind == CHANGE_CIPHER_SPEC and self._must_wait_for_hello(side)

    def _may_get_keys(self, side: Side) -> bool:
        """Whether keys may still come, in a capture that is read as it is written."""
        version = self._log.refresh()
        if version != self._log_version:
            self._log_version = version
            self._settle()
        if self.facts.is_tls13 or not self.is_settled:
            return not self.is_settled
        self.prepare(side)
        return side.decryptor is None and self._sessions[0].lacks_key()

    def _must_wait_for_hello(self, side: Side) -> bool:
        """Whether what a change of keys in TLS 1.2 needs may still come."""
        if side.changes >= len(self._sessions) or self.facts.is_tls13:
            return False
        session = self._sessions[side.changes]
        if side.direction == TO_SERVER:
            return session.server_hello is None and session.client_hello is not None and not self._to_client.is_over()
        if self._to_server.is_over():
            return False
        if session.client_hello is None:
            return True
        is_full = self.facts.row.is_resumed is False or side.changes > 0
        return is_full and self._log.has_premasters() and session.needs_key_exchange(self._log)

    def await_no_keys(self) -> None:
        """A direction has ended: keys that are not there by now will not come."""
        if self.awaits_keys:
            self.awaits_keys = False
            self._settle()

    def stop_waiting(self, side: Side) -> None:
        """The other direction says nothing for too long, or no more; nor do keys come."""
        self.await_no_keys()
        if side.direction == TO_SERVER:
            if self.server_hello is Knowledge.AWAITED:
                self.server_hello = Knowledge.MISSING
            self.miss_extensions()
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
            self.miss_extensions()
        self._settle()

    def miss_extensions(self) -> None:
        """What the server chose beside its hello will not be known."""
        if self.extensions is Knowledge.AWAITED:
            self.extensions = Knowledge.MISSING

    # --- keys ---

    def _settle(self) -> None:
        """Find the keys of TLS 1.3 once both hellos are known, and the reason why there are none once one is not."""
        if self.is_settled or self.client_hello is Knowledge.AWAITED or self.server_hello is Knowledge.AWAITED:
            return
        session = self._sessions[0]
        client, hello = session.client_hello, session.server_hello
        suite = session.suite()
        self.reason = session.reason
        if client is None or hello is None:
            self.miss_extensions()
            return
        self.is_settled = True
        if not hello.is_tls13():
            return
        if suite is None:
            self.miss_extensions()
            return
        if self.awaits_keys and not session.has_traffic_secrets(self._log):
            self.is_settled = False
            return
        for side in (self._to_server, self._to_client):
            secrets = session.traffic_secrets(self._log, side.direction == TO_CLIENT)
            if not secrets:
                self.reason = session.reason
                continue
            is_early = side.direction == TO_SERVER and client.has(EARLY_DATA)
            decryptor = Decryptor(self._trials, EARLY if is_early else HANDSHAKE_KEYS, True)
            decryptor.use_secrets(suite, secrets)
            side.decryptor = decryptor
        keys = self._to_client.decryptor
        if keys is None or not keys.has_keys():
            self.miss_extensions()

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
            if self.reason in (NO_KEY, NO_KEYS):  # they have come since
                self.reason = None
        elif side.changes == 0:
            self.reason = session.reason

    def change_keys(self, side: Side) -> None:
        """ChangeCipherSpec of TLS 1.2: the next record has other keys."""
        self.prepare(side)
        side.changes += 1
        side.messages.begin()
        decryptor = side.decryptor
        if decryptor is None or decryptor.epochs() < side.changes:
            self.give_up(side, self._sessions[min(side.changes, len(self._sessions)) - 1].reason or LOST)
            return
        decryptor.advance()
        side.phase = Phase.PROTECTED

    def give_up(self, side: Side, reason: str) -> None:
        """The rest of a direction is not decrypted."""
        side.phase = Phase.OPAQUE
        side.decryptor = None
        if self.reason is None:
            self.reason = reason
        if side.direction == TO_CLIENT:
            self.miss_extensions()

    # --- handshake messages ---

    def message(self, side: Side, message: Message, record: Record) -> None:
        """Take a handshake message that ended with this record. Raises ``ProtocolError``."""
        kind = message.kind
        if kind == CLIENT_HELLO and side.direction == TO_SERVER:
            self._client_hello(side, message)
        elif kind == SERVER_HELLO and side.direction == TO_CLIENT:
            self._server_hello(side, message, record)
        elif kind == ENCRYPTED_EXTENSIONS and side.direction == TO_CLIENT:
            self._encrypted_extensions(message)
        elif kind == CERTIFICATE:
            self._certificate(side, message.body)
        elif kind == COMPRESSED_CERTIFICATE and self.facts.is_tls13:
            if not side.has_decompressed:
                side.has_decompressed = True
                self._certificate(side, decompressed(message.body))
        elif kind == FINISHED:
            self._finished(side, record)
        elif (kind == KEY_UPDATE and side.decryptor is not None and self.facts.is_tls13) or (
            kind == END_OF_EARLY_DATA and side.decryptor is not None and side.decryptor.epoch == EARLY
        ):
            side.decryptor.advance()
        elif not self.facts.is_tls13:
            self._key_exchange(side, message)
        self._remember(side, message)

    def _client_hello(self, side: Side, message: Message) -> None:
        hello = ClientHello(message.body)
        if self.is_retried:
            self.is_retried = False
            if self._sessions[0].server_hello is None and not self._to_client.is_over():
                self.server_hello = Knowledge.AWAITED
            return
        session = self._session(side)
        session.client_hello = hello
        self.memory += len(message.body)
        if side.hellos > 1:
            return
        self.client_hello = Knowledge.KNOWN
        self.facts.client_hello(hello, side.is_whole, message.started_at, message.first_packet)
        self._settle()

    def _server_hello(self, side: Side, message: Message, record: Record) -> None:
        hello = ServerHello(message.body)
        if hello.is_retry:
            self.is_retried = True
            self.facts.server_hello(hello, None, True, record.timestamp)
            self.server_hello = Knowledge.KNOWN
            return
        session = self._session(side)
        session.server_hello = hello
        self.memory += len(message.body)
        if side.hellos > 1:
            return
        self.server_hello = Knowledge.KNOWN
        is_first = side.is_whole and self.facts.row.has_hello_retry is None
        self.facts.server_hello(hello, session.client_hello, is_first, record.timestamp)
        if not hello.is_tls13():
            self.extensions = Knowledge.KNOWN
            self.alpn = hello.alpn
        self._settle()

    def _session(self, side: Side) -> Session:
        """The session that a direction's next hello belongs to."""
        side.hellos += 1
        if side.hellos > len(self._sessions):
            if len(self._sessions) > limits.TLS_RENEGOTIATIONS:
                raise ProtocolError(f"at most {limits.TLS_RENEGOTIATIONS} renegotiations", "more")
            self._sessions.append(Session())
            self.facts.row.renegotiations += 1
        return self._sessions[side.hellos - 1]

    def _encrypted_extensions(self, message: Message) -> None:
        found = EncryptedExtensions(message.body)
        self.facts.encrypted_extensions(found)
        self.extensions = Knowledge.KNOWN
        self.accepts_early_data = found.accepts_early_data
        self.alpn = found.alpn

    def _certificate(self, side: Side, body: bytes) -> None:
        is_server = side.direction == TO_CLIENT
        found = certificates(body, self.facts.is_tls13)
        if is_server and side.hellos == 1 and not self.facts.is_tls13 and self.facts.row.is_resumed is None:
            self.facts.row.is_resumed = False
        if found:
            self.facts.certificate(found[0], is_server)

    def _finished(self, side: Side, record: Record) -> None:
        if side.finished_at < 0:
            side.finished_at = record.timestamp
            side.finished_packet = record.packet
        decryptor = side.decryptor
        if decryptor is not None and decryptor.is_tls13 and decryptor.epoch < TRAFFIC:
            decryptor.advance()

    def _key_exchange(self, side: Side, message: Message) -> None:
        """The messages of TLS 1.2 that tell how keys are agreed on (RFC 5246 sections 7.4.3 to 7.4.7)."""
        row = self.facts.row
        if side.direction == TO_CLIENT and message.kind in (SERVER_KEY_EXCHANGE, SERVER_HELLO_DONE) and side.hellos == 1:
            if row.is_resumed is None:
                row.is_resumed = False
            group = key_exchange_group(message.body) if message.kind == SERVER_KEY_EXCHANGE else -1
            if group >= 0 and row.cipher_suite is not None and "_ECDHE_" in row.cipher_suite:
                row.key_exchange_group = group_name(group)
        elif message.kind == CLIENT_KEY_EXCHANGE and side.direction == TO_SERVER and 0 < side.hellos <= len(self._sessions):
            session = self._sessions[side.hellos - 1]
            session.encrypted_premaster = message.body[2 : 2 + ENCRYPTED_PREMASTER_BYTES]  # behind its length, with RSA

    def _remember(self, side: Side, message: Message) -> None:
        """Keep what an extended master secret is made from, where a premaster secret was given."""
        if side.hellos == 0 or self.facts.is_tls13 or message.kind in (HELLO_REQUEST, FINISHED):
            return
        session = self._sessions[min(side.hellos, len(self._sessions)) - 1]
        if session.has_key_exchange and side.direction == TO_SERVER:
            return
        if self._log.has_premasters() and session.said_bytes <= limits.TLS_SAID_BYTES:
            self.memory += len(message.body)
            session.said_bytes += len(message.body)
            said = bytes([message.kind]) + len(message.body).to_bytes(3, "big") + message.body
            (session.client_messages if side.direction == TO_SERVER else session.server_messages).append(said)
        if message.kind == CLIENT_KEY_EXCHANGE:
            session.has_key_exchange = True

    def miss_hello(self, side: Side) -> None:
        """Bytes are missing in which a hello that was awaited can have been."""
        if side.direction == TO_SERVER:
            self.is_retried = False
            if self.client_hello is Knowledge.AWAITED:
                self.client_hello = Knowledge.MISSING
        else:
            if self.server_hello is Knowledge.AWAITED:
                self.server_hello = Knowledge.MISSING
            self.miss_extensions()
        self._settle()
