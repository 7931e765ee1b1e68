import hashlib
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from analyzer.codecs.tls_certificates import CertificateFacts

KEY = ec.derive_private_key(1, ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.org")])
DER = (
    x509.CertificateBuilder()
    .subject_name(NAME)
    .issuer_name(NAME)
    .public_key(KEY.public_key())
    .serial_number(1)
    .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
    .add_extension(x509.SubjectAlternativeName([x509.DNSName("example.org"), x509.DNSName("*.example.org")]), critical=False)
    .sign(KEY, hashes.SHA256())
    .public_bytes(Encoding.DER)
)


def test_a_certificate_says_whose_it_is_and_how_long() -> None:
    facts = CertificateFacts(DER)
    assert (facts.subject, facts.issuer, facts.names) == ("CN=example.org", "CN=example.org", "example.org,*.example.org")
    assert facts.not_before == 1_767_225_600_000_000_000
    assert facts.not_after == 1_798_761_600_000_000_000
    assert facts.sha256 == hashlib.sha256(DER).hexdigest()


@pytest.mark.parametrize("version", [1, 3, 6, 127])
def test_a_certificate_of_no_known_version_has_a_fingerprint_only(version: int) -> None:
    facts = CertificateFacts(DER.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01" + bytes([version]), 1))
    assert facts.sha256 is not None
    if version > 2:
        assert (facts.subject, facts.names, facts.not_before) == (None, None, None)


@given(st.lists(st.tuples(st.integers(0, len(DER) - 1), st.integers(0, 255)), max_size=6))
def test_a_damaged_certificate_never_fails(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(DER)
    for at, value in changes:
        damaged[at] = value
    assert CertificateFacts(bytes(damaged)).sha256 == hashlib.sha256(damaged).hexdigest()
