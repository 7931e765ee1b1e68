"""Handshake messages of TLS (RFC 8446 section 4, RFC 5246 section 7.4): put together from records, and taken apart."""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.tls_names import TLS_1_2, TLS_1_3
from analyzer.errors import ProtocolError

HELLO_REQUEST: Final = 0
CLIENT_HELLO: Final = 1
SERVER_HELLO: Final = 2
NEW_SESSION_TICKET: Final = 4
END_OF_EARLY_DATA: Final = 5
ENCRYPTED_EXTENSIONS: Final = 8
CERTIFICATE: Final = 11
SERVER_KEY_EXCHANGE: Final = 12
SERVER_HELLO_DONE: Final = 14
CLIENT_KEY_EXCHANGE: Final = 16
FINISHED: Final = 20
KEY_UPDATE: Final = 24
COMPRESSED_CERTIFICATE: Final = 25

SERVER_NAME: Final = 0
SUPPORTED_GROUPS: Final = 10
EC_POINT_FORMATS: Final = 11
SIGNATURE_ALGORITHMS: Final = 13
ALPN: Final = 16
ENCRYPT_THEN_MAC: Final = 22
EXTENDED_MASTER_SECRET: Final = 23
PRE_SHARED_KEY: Final = 41
EARLY_DATA: Final = 42
SUPPORTED_VERSIONS: Final = 43
KEY_SHARE: Final = 51
ENCRYPTED_CLIENT_HELLO: Final = 0xFE0D

# SHA-256 of "HelloRetryRequest" stands where the random would (RFC 8446 section 4.1.3).
RETRY_RANDOM: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
_MESSAGE_HEADER_BYTES: Final = 4
_NAMED_CURVE: Final = 3


class Message:
    """A handshake message, from its first to its last byte."""

    def __init__(self, kind: i64, started_at: i64, first_packet: i64) -> None:
        self.kind = kind
        self.body = b""
        self.started_at = started_at
        self.first_packet = first_packet


class MessageReader:
    """Puts the handshake messages of one direction together, which may share records or span them."""

    def __init__(self) -> None:
        self._held = b""
        self._started_at: i64 = 0
        self._first_packet: i64 = 0
        self.is_lost = False  # where messages begin is not known

    def memory(self) -> i64:
        """How many bytes of memory an incomplete message takes."""
        return len(self._held)

    def lose(self) -> None:
        """Give up until :meth:`begin`: bytes are missing, or a message is too long."""
        self._held = b""
        self.is_lost = True

    def begin(self) -> None:
        """A message begins with the next byte, as it does where keys change."""
        self._held = b""
        self.is_lost = False

    def read(self, content: bytes, started_at: i64, packet: i64) -> list[Message]:
        """The messages that are complete with the content of one more record, which began then."""
        if self.is_lost:
            return []
        if not self._held:
            self._started_at = started_at
            self._first_packet = packet
            held = content
        else:
            held = self._held + content
        messages: list[Message] = []
        at: i64 = 0
        size: i64 = len(held)
        while size - at >= _MESSAGE_HEADER_BYTES:
            length: i64 = (held[at + 1] << 16) | (held[at + 2] << 8) | held[at + 3]
            if length > limits.TLS_MESSAGE_BYTES:
                self.lose()
                return messages
            if size - at - _MESSAGE_HEADER_BYTES < length:
                break
            message = Message(held[at], self._started_at, self._first_packet)
            at += _MESSAGE_HEADER_BYTES
            message.body = held[at : at + length]
            messages.append(message)
            at += length
            self._started_at = started_at
            self._first_packet = packet
        self._held = held[at:]
        return messages


class _Fields:
    """Reads the fields of a message one after the other. Raises ``ProtocolError`` where it is too short."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at: i64 = 0
        self._what = what

    def left(self) -> i64:
        return len(self._data) - self._at

    def number(self, size: i64) -> i64:
        """An integer of up to four bytes."""
        value: i64 = 0
        for byte in self.take(size):
            value = (value << 8) | byte
        return value

    def take(self, size: i64) -> bytes:
        if size > self.left():
            raise ProtocolError(f"{size} more bytes of {self._what}", str(self.left()), "RFC 8446 section 4")
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    def vector(self, size: i64) -> bytes:
        """Bytes behind their length, which takes ``size`` bytes."""
        return self.take(self.number(size))


def _numbers(data: bytes) -> list[int]:
    """A list of 16-bit numbers."""
    return [(data[at] << 8) | data[at + 1] for at in range(0, len(data) - 1, 2)]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _extensions(fields: _Fields) -> list[tuple[int, bytes]]:
    """Extensions in their order; none where the message ends without."""
    found: list[tuple[int, bytes]] = []
    if fields.left() == 0:
        return found
    inner = _Fields(fields.vector(2), "extensions")
    while inner.left():
        number: int = inner.number(2)
        found.append((number, inner.vector(2)))
        if len(found) > limits.TLS_EXTENSIONS:
            raise ProtocolError(f"at most {limits.TLS_EXTENSIONS} extensions", "more", "RFC 8446 section 4.2")
    return found


def _protocols(data: bytes) -> list[bytes]:
    """The names of an ALPN extension (RFC 7301 section 3.1)."""
    names: list[bytes] = []
    fields = _Fields(_Fields(data, "ALPN").vector(2), "ALPN")
    while fields.left():
        names.append(fields.vector(1))
    return names


def _chosen(data: bytes) -> str | None:
    """The one name of a server's ALPN extension."""
    names = _protocols(data)
    return _text(names[0]) if names else None


class ClientHello:
    """What a client offers (RFC 8446 section 4.1.2). Raises ``ProtocolError``."""

    def __init__(self, body: bytes) -> None:
        fields = _Fields(body, "ClientHello")
        self.legacy_version: i64 = fields.number(2)
        self.random = fields.take(32)
        self.session_id = fields.vector(1)
        self.cipher_suites = _numbers(fields.vector(2))
        fields.vector(1)  # compression methods
        self.extensions: list[int] = []
        self.server_name: str | None = None
        self.alpn: list[str] = []
        self.first_protocol: bytes = b""  # of ALPN
        self.versions: list[int] = []
        self.groups: list[int] = []
        self.point_formats: bytes = b""
        self.signature_algorithms: list[int] = []
        for number, data in _extensions(fields):
            self.extensions.append(number)
            self._take(number, _Fields(data, "ClientHello"), data)

    def has(self, extension: i64) -> bool:
        """Whether an extension was sent."""
        return extension in self.extensions

    def _take(self, number: int, fields: _Fields, data: bytes) -> None:
        if number == SERVER_NAME:
            hosts = _Fields(fields.vector(2), "server_name") if data else fields
            if hosts.left() and hosts.number(1) == 0:  # host_name
                self.server_name = _text(hosts.vector(2))
        elif number == ALPN:
            names = _protocols(data)
            self.alpn = [_text(name) for name in names]
            self.first_protocol = names[0] if names else b""
        elif number == SUPPORTED_VERSIONS:
            self.versions = _numbers(fields.vector(1))
        elif number == SUPPORTED_GROUPS:
            self.groups = _numbers(fields.vector(2))
        elif number == EC_POINT_FORMATS:
            self.point_formats = fields.vector(1)
        elif number == SIGNATURE_ALGORITHMS:
            self.signature_algorithms = _numbers(fields.vector(2))


class ServerHello:
    """What a server chose (RFC 8446 section 4.1.3, RFC 5246 section 7.4.1.3). Raises ``ProtocolError``."""

    def __init__(self, body: bytes) -> None:
        fields = _Fields(body, "ServerHello")
        self.version: i64 = fields.number(2)
        self.random = fields.take(32)
        self.session_id = fields.vector(1)
        self.cipher_suite: i64 = fields.number(2)
        fields.number(1)  # compression method
        self.extensions: list[int] = []
        self.alpn: str | None = None
        self.group: i64 = -1
        for number, data in _extensions(fields):
            self.extensions.append(number)
            inner = _Fields(data, "ServerHello")
            if number == SUPPORTED_VERSIONS:
                self.version = inner.number(2)
            elif number == KEY_SHARE:
                self.group = inner.number(2)
            elif number == ALPN:
                self.alpn = _chosen(data)
        self.is_retry = self.random == RETRY_RANDOM

    def is_tls13(self) -> bool:
        """Whether the connection goes on as TLS 1.3."""
        return self.version == TLS_1_3

    def is_tls12(self) -> bool:
        """Whether the connection goes on as TLS 1.2."""
        return self.version == TLS_1_2

    def has(self, extension: i64) -> bool:
        """Whether an extension was sent."""
        return extension in self.extensions


class EncryptedExtensions:
    """The rest of what a TLS 1.3 server chose (RFC 8446 section 4.3.1). Raises ``ProtocolError``."""

    def __init__(self, body: bytes) -> None:
        self.alpn: str | None = None
        self.accepts_early_data = False
        for number, data in _extensions(_Fields(body, "EncryptedExtensions")):
            if number == ALPN:
                self.alpn = _chosen(data)
            elif number == EARLY_DATA:
                self.accepts_early_data = True


def certificates(body: bytes, is_tls13: bool) -> list[bytes]:
    """The certificates of a Certificate message, the end's own first, as DER (RFC 8446 section 4.4.2, RFC 5246 section 7.4.2).

    Raises ``ProtocolError``.
    """
    fields = _Fields(body, "Certificate")
    if is_tls13:
        fields.vector(1)  # certificate_request_context
    entries = _Fields(fields.vector(3), "Certificate")
    found: list[bytes] = []
    while entries.left() and len(found) < limits.TLS_CERTIFICATES:
        found.append(entries.vector(3))
        if is_tls13:
            entries.vector(2)  # extensions
    return found


def key_exchange_group(body: bytes) -> i64:
    """The named curve of a ServerKeyExchange with ECDHE (RFC 8422 section 5.4), -1 where it is another kind."""
    if len(body) < 4 or body[0] != _NAMED_CURVE:
        return -1
    return (body[1] << 8) | body[2]
