"""What a connection's handshake tells, gathered into its row."""

from msgspec.structs import replace
from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.tls_certificates import CertificateFacts
from analyzer.codecs.tls_fingerprints import ja3, ja4
from analyzer.codecs.tls_handshake import (
    EARLY_DATA,
    ENCRYPTED_CLIENT_HELLO,
    PRE_SHARED_KEY,
    ClientHello,
    EncryptedExtensions,
    ServerHello,
)
from analyzer.codecs.tls_names import group_name, suite_name, version_name
from analyzer.codecs.tls_session import LOST, NOT_ALL
from analyzer.codecs.tls_side import Side
from analyzer.tls.tls_rows import TlsHandshakeRecord


class HandshakeFacts:
    """The row of a connection in the making."""

    def __init__(self, connection_id: i64, stream_index: i64) -> None:
        self.row = TlsHandshakeRecord(connection_id, stream_index)
        self.is_tls13 = False

    def client_hello(self, hello: ClientHello, is_first: bool, started_at: i64, packet: i64) -> None:
        """Take the first ClientHello; ``is_first`` says that none came before it, which a server asked to repeat."""
        row = self.row
        row.client_random = hello.random.hex()
        row.server_name = None if hello.server_name is None else hello.server_name[: limits.TEXT_BYTES]
        row.alpn_offered = ",".join(hello.alpn) if hello.alpn else None
        row.has_encrypted_client_hello = hello.has(ENCRYPTED_CLIENT_HELLO)
        if is_first:  # a repeated one differs in these
            row.early_data_offered = hello.has(EARLY_DATA)
            row.ja3 = ja3(hello)
            row.ja4 = ja4(hello)
            row.client_hello_at = started_at
            row.first_packet = packet

    def server_hello(self, hello: ServerHello, client: ClientHello | None, is_first: bool, timestamp: i64) -> None:
        """Take a ServerHello; ``is_first`` says that none came before it."""
        row = self.row
        self.is_tls13 = hello.is_tls13()
        if hello.is_retry:
            row.has_hello_retry = True
            return
        if is_first:
            row.has_hello_retry = False
        row.version = version_name(hello.version)
        row.cipher_suite = suite_name(hello.cipher_suite)
        row.server_hello_at = timestamp
        if hello.group >= 0:
            row.key_exchange_group = group_name(hello.group)
        if self.is_tls13:
            row.is_resumed = hello.has(PRE_SHARED_KEY)
        else:
            row.alpn = hello.alpn
            if client is not None and client.session_id and client.session_id == hello.session_id:
                row.is_resumed = True  # RFC 5246 section 7.4.1.3

    def encrypted_extensions(self, message: EncryptedExtensions) -> None:
        """Take what a server of TLS 1.3 chose."""
        self.row.alpn = message.alpn
        if self.row.early_data_offered:
            self.row.early_data_accepted = message.accepts_early_data

    def certificate(self, der: bytes, is_server: bool) -> None:
        """Take an end's own certificate, the first one of it."""
        row = self.row
        if (row.certificate_sha256 if is_server else row.client_certificate_sha256) is not None:
            return
        facts = CertificateFacts(der)
        if is_server:
            row.certificate_subject = facts.subject
            row.certificate_issuer = facts.issuer
            row.certificate_names = facts.names
            row.certificate_not_before_at = facts.not_before
            row.certificate_not_after_at = facts.not_after
            row.certificate_sha256 = facts.sha256
        else:
            row.client_certificate_subject = facts.subject
            row.client_certificate_issuer = facts.issuer
            row.client_certificate_sha256 = facts.sha256

    def as_it_stands(self, to_server: Side, to_client: Side, reason: str | None) -> TlsHandshakeRecord:
        """The row with what is known by now; ``reason`` says why nothing is decrypted."""
        row = replace(self.row)  # more may come
        self._end_of_handshake(row, to_server, to_client)
        row.records_to_server = to_server.records
        row.records_to_client = to_client.records
        row.undecrypted_records = to_server.undecrypted + to_client.undecrypted
        row.not_decrypted_reason = reason
        if reason is None and not (to_server.is_whole and to_client.is_whole):
            row.not_decrypted_reason = LOST
        elif reason is None and row.undecrypted_records:
            row.not_decrypted_reason = NOT_ALL
        return row

    def _end_of_handshake(self, row: TlsHandshakeRecord, to_server: Side, to_client: Side) -> None:
        client_at, client_packet = to_server.finished_at, to_server.finished_packet
        if client_at < 0 and self.is_tls13 and to_server.decryptor is None and to_server.is_whole and not row.early_data_offered:
            client_at, client_packet = to_server.protected_at, to_server.protected_packet
        if client_at >= 0:
            row.client_finished_at = client_at
        if to_client.finished_at >= 0:
            row.server_finished_at = to_client.finished_at
        if client_at < 0 or (to_client.finished_at < 0 and not self.is_tls13):
            return
        row.last_packet = client_packet
        ended_at = client_at
        if not self.is_tls13 and to_client.finished_at > client_at:
            ended_at = to_client.finished_at
            row.last_packet = to_client.finished_packet
        if row.client_hello_at is not None:
            row.handshake_ns = ended_at - row.client_hello_at
