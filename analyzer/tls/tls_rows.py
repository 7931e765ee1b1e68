"""The rows of TLS."""

from typing import Annotated

from mypy_extensions import mypyc_attr

from analyzer.schema import Record, capture, conversation, record, time


@mypyc_attr(native_class=False)
@record("tls_handshakes", "TLS connection", key=("connection_id", "stream_index"))
class TlsHandshakeRecord(Record):
    """A TLS connection: what its first handshake settled, and what became of its records."""

    connection_id: "Annotated[int, capture('the connection')]"
    stream_index: "Annotated[int, capture('the stream')]"
    client_random: "Annotated[str | None, conversation('random of the ClientHello, in hexadecimal: key logs name connections by it')]" = None
    server_name: "Annotated[str | None, conversation('server name that the client asked for (SNI)')]" = None
    alpn_offered: "Annotated[str | None, conversation('protocols that the client offered (ALPN), comma-separated')]" = None
    alpn: "Annotated[str | None, conversation('protocol that the server chose; in TLS 1.3 known only with keys')]" = None
    version: "Annotated[str | None, conversation('version that the server chose, such as TLS 1.3')]" = None
    cipher_suite: "Annotated[str | None, conversation('cipher suite that the server chose')]" = None
    key_exchange_group: "Annotated[str | None, conversation('group of the key exchange, such as x25519')]" = None
    is_resumed: "Annotated[bool | None, conversation('an earlier session was resumed')]" = None
    early_data_offered: "Annotated[bool | None, conversation('the client announced early data')]" = None
    early_data_accepted: "Annotated[bool | None, conversation('the server took the early data')]" = None
    has_hello_retry: "Annotated[bool | None, conversation('the server asked for another ClientHello')]" = None
    has_encrypted_client_hello: "Annotated[bool | None, conversation('the extension encrypted_client_hello was there; clients without a use for it send it as well')]" = None
    ja3: "Annotated[str | None, conversation('JA3 fingerprint of the ClientHello')]" = None
    ja4: "Annotated[str | None, conversation('JA4 fingerprint of the ClientHello')]" = None
    certificate_subject: "Annotated[str | None, conversation('subject of the server certificate; in TLS 1.3 it and what follows are known only with keys')]" = None
    certificate_issuer: "Annotated[str | None, conversation('issuer of the server certificate')]" = None
    certificate_names: "Annotated[str | None, conversation('alternative names of the server certificate, comma-separated')]" = (
        None
    )
    certificate_not_before_at: "Annotated[int | None, conversation('beginning of its validity')]" = None
    certificate_not_after_at: "Annotated[int | None, conversation('end of its validity; NULL beyond the year 2115')]" = None
    certificate_sha256: "Annotated[str | None, conversation('SHA-256 of the server certificate')]" = None
    client_certificate_subject: "Annotated[str | None, conversation('subject of the client certificate')]" = None
    client_certificate_issuer: "Annotated[str | None, conversation('issuer of the client certificate')]" = None
    client_certificate_sha256: "Annotated[str | None, conversation('SHA-256 of the client certificate')]" = None
    client_hello_at: "Annotated[int | None, time('first byte of the first ClientHello')]" = None
    server_hello_at: "Annotated[int | None, time('last byte of the ServerHello')]" = None
    server_finished_at: "Annotated[int | None, time('last byte of the Finished of the server; in TLS 1.3 known only with keys')]" = None
    client_finished_at: "Annotated[int | None, time('last byte of the Finished of the client; in TLS 1.3 without keys, of its first protected record after the ServerHello')]" = None
    handshake_ns: "Annotated[int | None, time('client_hello_at to the later Finished; in TLS 1.3 to that of the client')]" = None
    alert: "Annotated[str | None, capture('the last alert that could be read and is no close_notify')]" = None
    renegotiations: "Annotated[int, capture('further handshakes inside the connection that were seen')]" = 0
    is_decrypted: "Annotated[bool, capture('application data was decrypted')]" = False
    not_decrypted_reason: "Annotated[str | None, capture('why not, or not all')]" = None
    records_to_server: "Annotated[int, capture('records towards the server')]" = 0
    records_to_client: "Annotated[int, capture('records towards the client')]" = 0
    undecrypted_records: "Annotated[int, capture('protected records, both ways, that were not decrypted, as far as they were counted')]" = 0
    first_packet: "Annotated[int | None, capture('frame number of the packet with the first byte of the ClientHello')]" = None
    last_packet: "Annotated[int | None, capture('frame number of the packet that ended the handshake')]" = None


@mypyc_attr(native_class=False)
@record("tls_alerts", "TLS alert")
class TlsAlertRecord(Record):
    """An alert (RFC 8446 section 6)."""

    connection_id: "Annotated[int, capture('the connection')]"
    stream_index: "Annotated[int, capture('the stream')]"
    direction: "Annotated[str, conversation('to_server or to_client')]"
    occurred_at: "Annotated[int, time('its last byte')]"
    level: "Annotated[str | None, conversation('warning or fatal; NULL where it was not decrypted')]"
    description: "Annotated[str | None, conversation('what it says, such as handshake_failure or close_notify; NULL where it was not decrypted')]"
    is_protected: "Annotated[bool, conversation('it was sent encrypted')]"
    packet: "Annotated[int, capture('frame number of the packet with its last byte')]"
