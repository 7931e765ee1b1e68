"""What a certificate says of its owner (RFC 5280), and Certificate messages that were compressed (RFC 8879)."""

import hashlib
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.content_codings import CodingError, decoder_of
from analyzer.errors import ProtocolError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ALGORITHMS: Final = {1: b"deflate", 2: b"br", 3: b"zstd"}  # the first one is the zlib format
_COMPRESSED_HEADER_BYTES: Final = 8
_RFC_8879: Final = "RFC 8879 section 4"


def decompressed(body: bytes) -> bytes:
    """The body of the Certificate message that a CompressedCertificate stands for. Raises ``ProtocolError``."""
    if len(body) < _COMPRESSED_HEADER_BYTES:
        raise ProtocolError(f"{_COMPRESSED_HEADER_BYTES} bytes of CompressedCertificate", str(len(body)), _RFC_8879)
    coding = _ALGORITHMS.get(int.from_bytes(body[:2], "big"))
    length: i64 = int.from_bytes(body[2:5], "big")
    compressed: i64 = int.from_bytes(body[5:8], "big")
    if coding is None or compressed != len(body) - _COMPRESSED_HEADER_BYTES or length > limits.TLS_MESSAGE_BYTES:
        required = f"zlib, brotli or zstd, and at most {limits.TLS_MESSAGE_BYTES} bytes"
        raise ProtocolError(required, f"algorithm {int.from_bytes(body[:2], 'big')}, {length} bytes", _RFC_8879)
    decoder = decoder_of(coding)
    decoder.put(body[_COMPRESSED_HEADER_BYTES:])
    pieces: list[bytes] = []
    size: i64 = 0
    try:
        while size <= length:
            piece = decoder.take()
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
    except CodingError as error:
        raise ProtocolError("a compressed certificate", str(error), _RFC_8879) from error
    if size != length or not decoder.is_finished():
        raise ProtocolError(f"{length} bytes behind a compressed certificate", "another number", _RFC_8879)
    return b"".join(pieces)


class CertificateFacts:
    """Subject, issuer, alternative names (comma-separated), validity in ns since the epoch, SHA-256; None where it cannot be read."""

    def __init__(self, der: bytes) -> None:
        self.sha256: str = hashlib.sha256(der).hexdigest()
        self.subject: str | None = None
        self.issuer: str | None = None
        self.names: str | None = None
        self.not_before: int | None = None
        self.not_after: int | None = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a strict reader will refuse one day
            self._read(der)

    def _read(self, der: bytes) -> None:
        from cryptography import x509  # takes longer to import than a small capture to read

        try:
            self._describe(x509.load_der_x509_certificate(der))
        except Exception:  # noqa: BLE001  # what certificates made to fail raise there has no common base
            return

    def _describe(self, certificate: "Certificate") -> None:
        from cryptography import x509

        self.not_before = _nanoseconds(certificate.not_valid_before_utc)
        self.not_after = _nanoseconds(certificate.not_valid_after_utc)
        self.subject = certificate.subject.rfc4514_string()
        self.issuer = certificate.issuer.rfc4514_string()
        try:
            alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return
        found: list[str] = []
        for name in alternative.value:
            if isinstance(name, (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier)):
                found.append(name.value)
            elif isinstance(name, x509.IPAddress):
                found.append(str(name.value))
        self.names = ",".join(found)[: limits.TEXT_BYTES]


def _nanoseconds(moment: datetime) -> int | None:
    """Nanoseconds since the epoch; None where they do not fit a timestamp."""
    since = moment - _EPOCH
    nanoseconds = (since.days * 86_400 + since.seconds) * 1_000_000_000
    return nanoseconds if abs(nanoseconds) < limits.TIMESTAMP_NANOSECONDS else None
