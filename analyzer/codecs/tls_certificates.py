"""What a certificate says of its owner (RFC 5280)."""

import hashlib
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from analyzer import limits

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


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
