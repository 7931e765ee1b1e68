import contextlib
import hashlib
import sys
import zlib
from datetime import UTC, datetime

import brotli
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from analyzer import limits
from analyzer.codecs.tls_certificates import CertificateFacts, decompressed
from analyzer.errors import ProtocolError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

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


ALGORITHMS = {1: zlib.compress, 2: brotli.compress, 3: zstd.compress}
MESSAGE = b"\0\0\x03\x21" + DER * 3


def compressed(algorithm, content, length=None):
    """A CompressedCertificate (RFC 8879 section 4)."""
    coded = ALGORITHMS.get(algorithm, bytes)(content)
    return algorithm.to_bytes(2) + (len(content) if length is None else length).to_bytes(3) + len(coded).to_bytes(3) + coded


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_compressed_certificate_is_what_it_was(algorithm):
    assert decompressed(compressed(algorithm, MESSAGE)) == MESSAGE
    most = bytes(limits.TLS_MESSAGE_BYTES)
    assert decompressed(compressed(algorithm, most)) == most


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_compressed_certificate_of_another_length_than_it_says_is_a_fault(algorithm):
    for length in (0, len(MESSAGE) - 1, len(MESSAGE) + 1, limits.TLS_MESSAGE_BYTES, limits.TLS_MESSAGE_BYTES + 1):
        with pytest.raises(ProtocolError) as caught:
            decompressed(compressed(algorithm, MESSAGE, length))
        assert caught.value.section == "RFC 8879 section 4"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_compressed_certificate_that_is_cut_or_has_a_tail_is_a_fault(algorithm):
    whole = compressed(algorithm, MESSAGE)
    for wrong in (whole[:-1], whole + b"x", whole[:7], b""):
        with pytest.raises(ProtocolError):
            decompressed(wrong)
    coded = whole[8:-4]
    with pytest.raises(ProtocolError):
        decompressed(whole[:5] + len(coded).to_bytes(3) + coded)


def test_an_unknown_algorithm_is_a_fault():
    with pytest.raises(ProtocolError, match="algorithm 4"):
        decompressed(compressed(4, MESSAGE))


@given(st.sampled_from([1, 2, 3]), st.integers(0, 1 << 24), st.binary(max_size=200))
def test_noise_for_a_compressed_certificate_is_a_fault_or_has_the_length_it_says(algorithm, length, noise):
    body = algorithm.to_bytes(2) + (length & 0xFFFFFF).to_bytes(3) + len(noise).to_bytes(3) + noise
    with contextlib.suppress(ProtocolError):
        assert len(decompressed(body)) == length & 0xFFFFFF
