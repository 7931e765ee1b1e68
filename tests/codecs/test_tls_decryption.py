"""Keys through all their changes, of records made with the standard's own words."""

import gc

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from analyzer.codecs.tls_ciphers import Tls13Protection, find_suite
from analyzer.codecs.tls_decryption import HANDSHAKE_KEYS, TRAFFIC, Decryptor, Trials
from analyzer.codecs.tls_keys import expand_label, next_traffic_secret

HANDSHAKE_SECRET = b"h" * 32
TRAFFIC_SECRET = b"t" * 32
KEY_UPDATE = b"\x18\0\0\1\0"


def record(secret: bytes, number: int, content: bytes) -> bytes:
    nonce = (int.from_bytes(expand_label(secret, b"iv", b"", 12, "sha256"), "big") ^ number).to_bytes(12, "big")
    header = b"\x17\x03\x03" + (len(content) + 17).to_bytes(2, "big")
    return AESGCM(expand_label(secret, b"key", b"", 16, "sha256")).encrypt(nonce, content + b"\x16", header)


def decryptor(epoch: int) -> Decryptor:
    suite = find_suite(0x1301)
    assert suite is not None
    made = Decryptor(Trials(), epoch, True)
    made.use_secrets(suite, [b"", HANDSHAKE_SECRET, TRAFFIC_SECRET])
    return made


def protections_in_memory() -> int:
    return sum(isinstance(found, Tls13Protection) for found in gc.get_objects())


def test_keys_that_are_over_do_not_stay_in_memory() -> None:
    before = protections_in_memory()
    tested = decryptor(TRAFFIC)
    secret = TRAFFIC_SECRET
    for _ in range(300):
        assert tested.open(23, 0x303, record(secret, 0, KEY_UPDATE)) == KEY_UPDATE + b"\x16"
        tested.advance()
        secret = next_traffic_secret(secret, "sha256")
    assert tested.epoch == TRAFFIC + 300
    assert protections_in_memory() - before <= 3


def test_a_hole_may_hide_two_changes_of_keys_and_no_more() -> None:
    secrets = [TRAFFIC_SECRET]
    for _ in range(4):
        secrets.append(next_traffic_secret(secrets[-1], "sha256"))
    tested = decryptor(HANDSHAKE_KEYS)
    assert tested.open(23, 0x303, record(HANDSHAKE_SECRET, 0, b"first")) == b"first\x16"
    tested.miss(100)
    assert tested.open(23, 0x303, record(secrets[1], 2, b"second")) == b"second\x16"
    tested.miss(100)
    assert tested.open(23, 0x303, record(secrets[0], 3, b"never")) is None
    assert tested.open(23, 0x303, record(secrets[4], 0, b"never")) is None
    assert tested.open(23, 0x303, record(secrets[3], 0, b"third")) == b"third\x16"
    assert tested.epoch == TRAFFIC + 3
