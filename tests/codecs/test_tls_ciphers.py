"""RFC 8448's worked example, byte for byte; each cipher of both versions against records made with the standard's own words."""

import hashlib
import hmac
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.codecs.tls_ciphers import Protection, Suite, Tls13Protection, find_suite, tls12_protections
from analyzer.codecs.tls_keys import (
    expand_label,
    extended_master_secret,
    key_block,
    master_secret,
    next_traffic_secret,
    pseudorandom,
)
from analyzer.codecs.tls_names import SUITE_NAMES

VECTORS = Path(__file__).parent.parent / "vectors" / "tls"
RFC8448 = {
    name: bytes.fromhex(value)
    for name, value in (
        line.split(" ") for line in (VECTORS / "rfc8448.txt").read_text().splitlines() if not line.startswith("#")
    )
}
NUMBERS = {name: number for number, name in SUITE_NAMES.items()}


def suite(name: str) -> Suite:
    found = find_suite(NUMBERS[name])
    assert found is not None
    return found


def test_the_key_schedule_gives_the_secrets_and_keys_of_rfc_8448() -> None:
    nothing = hashlib.sha256(b"").digest()
    early = hmac.digest(b"", bytes(32), "sha256")
    assert early == RFC8448["early_secret"]
    derived = expand_label(early, b"derived", nothing, 32, "sha256")
    assert derived == RFC8448["derived_for_handshake"]
    handshake = hmac.digest(derived, RFC8448["shared_secret"], "sha256")
    assert handshake == RFC8448["handshake_secret"]
    hellos = RFC8448["client_hello_record"][5:] + RFC8448["server_hello_record"][5:]
    assert hashlib.sha256(hellos).digest() == RFC8448["hello_hash"]
    for label, name in (
        (b"c hs traffic", "CLIENT_HANDSHAKE_TRAFFIC_SECRET"),
        (b"s hs traffic", "SERVER_HANDSHAKE_TRAFFIC_SECRET"),
    ):
        assert expand_label(handshake, label, RFC8448["hello_hash"], 32, "sha256") == RFC8448[name]
    master = hmac.digest(expand_label(handshake, b"derived", nothing, 32, "sha256"), bytes(32), "sha256")
    assert master == RFC8448["master_secret"]
    transcript = hashlib.sha256(hellos + RFC8448["server_flight"]).digest()
    for label, name in ((b"c ap traffic", "CLIENT_TRAFFIC_SECRET_0"), (b"s ap traffic", "SERVER_TRAFFIC_SECRET_0")):
        assert expand_label(master, label, transcript, 32, "sha256") == RFC8448[name]
    for name in list(RFC8448):
        if name.endswith(".key"):
            secret = RFC8448[name.removesuffix(".key")]
            assert expand_label(secret, b"key", b"", 16, "sha256") == RFC8448[name]
            assert expand_label(secret, b"iv", b"", 12, "sha256") == RFC8448[f"{name.removesuffix('.key')}.iv"]


@pytest.mark.parametrize(
    ("secret", "number", "record", "content", "kind"),
    [
        ("SERVER_HANDSHAKE_TRAFFIC_SECRET", 0, "server_flight_record", "server_flight", 22),
        ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 0, "client_finished_record", "client_finished", 22),
        ("SERVER_TRAFFIC_SECRET_0", 0, "ticket_record", "ticket", 22),
        ("CLIENT_TRAFFIC_SECRET_0", 0, "client_data_record", "data", 23),
        ("SERVER_TRAFFIC_SECRET_0", 1, "server_data_record", "data", 23),
        ("CLIENT_TRAFFIC_SECRET_0", 1, "client_alert_record", "alert", 21),
        ("SERVER_TRAFFIC_SECRET_0", 2, "server_alert_record", "alert", 21),
    ],
)
def test_the_records_of_rfc_8448_open_to_their_contents(secret: str, number: int, record: str, content: str, kind: int) -> None:
    protection = Tls13Protection(suite("TLS_AES_128_GCM_SHA256"), RFC8448[secret])
    opened = RFC8448[content] + bytes([kind])
    assert protection.open(number, 23, 0x0303, RFC8448[record][5:]) == opened
    assert protection.open(number + 1, 23, 0x0303, RFC8448[record][5:]) is None
    assert protection.open(number, 23, 0x0301, RFC8448[record][5:]) is None


def test_the_pseudorandom_function_gives_the_published_vector() -> None:
    """The test vector for P_SHA256 of TLS 1.2 that was published on the TLS working group's list."""
    secret = bytes.fromhex("9bbe436ba940f017b17652849a71db35")
    seed = bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c")
    expected = (
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17abfd3797"
        "c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66"
    )
    assert pseudorandom(secret, b"test label", seed, 100, "sha256").hex() == expected


def test_secrets_of_both_kinds_are_48_bytes_and_follow_from_what_the_standards_name() -> None:
    plain = master_secret(b"p" * 48, b"c" * 32, b"s" * 32, "sha384")
    assert plain == pseudorandom(b"p" * 48, b"master secret", b"c" * 32 + b"s" * 32, 48, "sha384")
    extended = extended_master_secret(b"p" * 48, b"h" * 32, "sha256")
    assert extended == pseudorandom(b"p" * 48, b"extended master secret", b"h" * 32, 48, "sha256")
    assert next_traffic_secret(b"s" * 48, "sha384") == expand_label(b"s" * 48, b"traffic upd", b"", 48, "sha384")


def test_a_suite_says_what_its_name_says() -> None:
    def said(name: str) -> tuple[str, str, int, int, str] | None:
        found = find_suite(NUMBERS[name])
        return None if found is None else (found.bulk, found.digest, found.key_bytes, found.tag_bytes, found.mac)

    assert said("TLS_AES_256_GCM_SHA384") == ("AES_256_GCM", "sha384", 32, 16, "")
    assert said("TLS_AES_128_CCM_8_SHA256") == ("AES_128_CCM_8", "sha256", 16, 8, "")
    assert said("TLS_ECDHE_ECDSA_WITH_AES_256_CCM") == ("AES_256_CCM", "sha256", 32, 16, "")
    assert said("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256") == ("CHACHA20_POLY1305", "sha256", 32, 16, "")
    assert said("TLS_RSA_WITH_AES_128_CBC_SHA") == ("AES_128_CBC", "sha256", 16, 0, "sha1")
    assert said("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384") == ("AES_256_CBC", "sha384", 32, 0, "sha384")
    assert said("TLS_RSA_WITH_3DES_EDE_CBC_SHA") == ("3DES_EDE_CBC", "sha256", 24, 0, "sha1")
    assert [
        said(name) for name in ("TLS_RSA_WITH_RC4_128_SHA", "TLS_RSA_WITH_NULL_SHA", "TLS_EMPTY_RENEGOTIATION_INFO_SCSV")
    ] == [
        None,
        None,
        None,
    ]
    assert find_suite(0xFFFE) is None


MASTER, CLIENT_RANDOM, SERVER_RANDOM = b"m" * 48, b"c" * 32, b"s" * 32


def protections(name: str, *, encrypts_first: bool = False) -> list[Protection]:
    return tls12_protections(suite(name), MASTER, CLIENT_RANDOM, SERVER_RANDOM, encrypts_first)


def parts(digest: str, *sizes: int) -> list[bytes]:
    """The key block cut as RFC 5246 section 6.3 says: each size once for the client and once for the server."""
    block = key_block(MASTER, CLIENT_RANDOM, SERVER_RANDOM, 2 * sum(sizes), digest)
    found = []
    for size in sizes:
        for _ in range(2):
            found.append(block[:size])
            block = block[size:]
    return found


def header(number: int, kind: int, length: int) -> bytes:
    return number.to_bytes(8, "big") + bytes([kind, 3, 3]) + length.to_bytes(2, "big")


@pytest.mark.parametrize(
    ("name", "digest", "key_bytes", "tag_bytes"),
    [
        ("TLS_RSA_WITH_AES_128_GCM_SHA256", "sha256", 16, 16),
        ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "sha384", 32, 16),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CCM", "sha256", 16, 16),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8", "sha256", 32, 8),
    ],
)
def test_ciphers_with_an_explicit_nonce_open_what_they_sealed(name: str, digest: str, key_bytes: int, tag_bytes: int) -> None:
    keys = parts(digest, key_bytes, 4)
    for direction in (0, 1):
        key, salt = keys[direction], keys[2 + direction]
        sealer = AESGCM(key) if "GCM" in name else AESCCM(key, tag_bytes)
        sealed = b"explicit" + sealer.encrypt(salt + b"explicit", b"content", header(7, 23, 7))
        protection = protections(name)[direction]
        assert protection.open(7, 23, 0x0303, sealed) == b"content"
        assert [protection.open(6, 23, 0x0303, sealed), protection.open(7, 22, 0x0303, sealed)] == [None, None]
        assert protection.open(7, 23, 0x0303, sealed[:20]) is None
        assert len(sealed) - protection.least_expansion == len(sealed) - protection.most_expansion == 7


def test_chacha20_poly1305_of_tls_12_opens_what_it_sealed() -> None:
    keys = parts("sha256", 32, 12)
    nonce = (int.from_bytes(keys[3], "big") ^ 5).to_bytes(12, "big")
    sealed = ChaCha20Poly1305(keys[1]).encrypt(nonce, b"content", header(5, 23, 7))
    protection = protections("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256")[1]
    assert protection.open(5, 23, 0x0303, sealed) == b"content"
    assert protection.open(4, 23, 0x0303, sealed) is None
    assert protection.open(5, 23, 0x0303, b"short") is None


@pytest.mark.parametrize("encrypts_first", [False, True])
@pytest.mark.parametrize(
    ("name", "mac"), [("TLS_RSA_WITH_AES_128_CBC_SHA", "sha1"), ("TLS_RSA_WITH_AES_256_CBC_SHA256", "sha256")]
)
def test_cbc_opens_what_it_sealed_whether_the_mac_or_the_cipher_came_first(name: str, mac: str, *, encrypts_first: bool) -> None:
    mac_bytes = hashlib.new(mac).digest_size
    key_bytes = 16 if "128" in name else 32
    keys = parts("sha256", mac_bytes, key_bytes)
    mac_key, key = keys[0], keys[2]
    protection = protections(name, encrypts_first=encrypts_first)[0]

    def seal(content: bytes, padding: int, number: int, *, spoil: int = 0) -> bytes:
        encryptor = Cipher(AES(key), modes.CBC(b"0123456789abcdef")).encryptor()
        if not encrypts_first:
            content += hmac.digest(mac_key, header(number, 23, len(content)) + content, mac)
        padded = content + bytes([padding ^ spoil]) * padding + bytes([padding])
        sealed = b"0123456789abcdef" + encryptor.update(padded) + encryptor.finalize()
        return sealed + hmac.digest(mac_key, header(number, 23, len(sealed)) + sealed, mac) if encrypts_first else sealed

    for size in (0, 1, 15, 16, 100):
        least = -(size + (0 if encrypts_first else mac_bytes) + 1) % 16
        for padding in (least, least + 16 * ((255 - least) // 16)):
            sealed = seal(b"x" * size, padding, 3)
            assert protection.open(3, 23, 0x0303, sealed) == b"x" * size
            assert protection.open(2, 23, 0x0303, sealed) is None
            assert len(sealed) - protection.most_expansion <= size <= len(sealed) - protection.least_expansion
    assert protection.open(3, 23, 0x0303, seal(b"", -((0 if encrypts_first else mac_bytes) + 1) % 16 + 16, 3, spoil=1)) is None


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=120), st.sampled_from(sorted(NUMBERS)), st.booleans())
def test_noise_never_opens_and_never_raises(noise: bytes, name: str, encrypts_first: bool) -> None:
    found = find_suite(NUMBERS[name])
    if found is None:
        return
    for protection in tls12_protections(found, MASTER, CLIENT_RANDOM, SERVER_RANDOM, encrypts_first):
        assert protection.open(0, 23, 0x0303, noise) is None
    if not found.mac:
        assert Tls13Protection(found, b"s" * 32).open(0, 23, 0x0303, noise) is None
