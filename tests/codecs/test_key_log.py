import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.codecs.key_log import (
    CLIENT_EARLY,
    CLIENT_HANDSHAKE,
    CLIENT_TRAFFIC,
    MASTER,
    PREMASTER,
    SERVER_HANDSHAKE,
    SERVER_TRAFFIC,
    KeyLog,
)

RANDOM = bytes(range(32))
OTHER = bytes(32)


def log(*lines: str) -> KeyLog:
    found = KeyLog()
    found.add("\n".join(lines).encode())
    return found


@pytest.mark.parametrize(
    ("label", "kind", "size"),
    [
        ("CLIENT_RANDOM", MASTER, 48),
        ("PMS_CLIENT_RANDOM", PREMASTER, 66),
        ("CLIENT_EARLY_TRAFFIC_SECRET", CLIENT_EARLY, 32),
        ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", CLIENT_HANDSHAKE, 48),
        ("SERVER_HANDSHAKE_TRAFFIC_SECRET", SERVER_HANDSHAKE, 32),
        ("CLIENT_TRAFFIC_SECRET_0", CLIENT_TRAFFIC, 32),
        ("SERVER_TRAFFIC_SECRET_0", SERVER_TRAFFIC, 48),
    ],
)
def test_every_label_is_found_again(label: str, kind: int, size: int) -> None:
    found = log(f"{label} {RANDOM.hex()} {'ab' * size}", f"{label} {OTHER.hex().upper()} {'CD' * size}\r")
    assert found.bad_lines == 0
    for random, secret in ((RANDOM, b"\xab" * size), (OTHER, b"\xcd" * size)):
        secrets = found.of_random(random)
        assert secrets is not None
        assert secrets.get(kind) == secret
        assert [secrets.get(other) for other in range(7) if other != kind] == [b""] * 6
    assert found.of_random(b"\xff" * 32) is None


def test_lines_for_other_uses_are_no_secrets_and_not_bad() -> None:
    others = ("EXPORTER_SECRET", "EARLY_EXPORTER_SECRET", "CLIENT_TRAFFIC_SECRET_1", "ECH_SECRET", "QUIC_CLIENT_TRAFFIC_SECRET_0")
    found = log("# a comment", "", "  ", *[f"{label} {RANDOM.hex()} {'ab' * 32}" for label in others])
    assert found.bad_lines == 0
    assert found.is_empty()


def test_bad_lines_are_counted_and_good_ones_beside_them_kept() -> None:
    good = f"CLIENT_RANDOM {RANDOM.hex()} {'ab' * 48}"
    found = log(
        good,
        good,
        f"CLIENT_RANDOM {RANDOM.hex()} {'ac' * 48}",  # contradicts
        f"CLIENT_RANDOM {RANDOM.hex()} {'ab' * 47}",
        f"CLIENT_RANDOM {RANDOM.hex()[2:]} {'ab' * 48}",
        f"CLIENT_RANDOM {RANDOM.hex()} {'zz' * 48}",
        f"CLIENT_RANDOM {RANDOM.hex()}",
        f"CLIENT_RANDOM {RANDOM.hex()} {'ab' * 48} more",
        f"CLIENT_TRAFFIC_SECRET_0 {RANDOM.hex()} {'ab' * 33}",
        f"CLIENT_TRAFFIC_SECRET_0 {RANDOM.hex()} {'ab' * 5000}",
        "RSA Session-ID: Master-Key:",
        "RSA 0011 2233",
        "\x00\xff nonsense",
    )
    assert found.bad_lines == 11
    secrets = found.of_random(RANDOM)
    assert secrets is not None
    assert secrets.get(MASTER) == b"\xab" * 48


def test_sessions_and_encrypted_premaster_secrets_are_found_by_what_names_them() -> None:
    found = log(f"RSA Session-ID:{'01' * 32} Master-Key:{'ab' * 48}", f"RSA 0011223344556677 {'cd' * 48}")
    assert found.bad_lines == 0
    assert found.has_premasters()
    assert found.of_session(b"\x01" * 32) == b"\xab" * 48
    assert found.of_session(b"\x02" * 32) == b""
    assert found.of_premaster(bytes.fromhex("00112233445566778899")) == b"\xcd" * 48
    assert found.of_premaster(b"") == b""


def test_what_others_add_later_is_found_when_it_is_looked_for() -> None:
    found = KeyLog()
    blocks: list[bytes] = []
    found.follow(blocks, True)
    assert found.is_empty()
    blocks.append(f"CLIENT_RANDOM {RANDOM.hex()} {'ab' * 48}\n".encode())
    assert found.of_random(RANDOM) is not None
    assert blocks == []


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_text_is_taken(text: bytes) -> None:
    found = KeyLog()
    found.add(text)
    found.add(b"CLIENT_RANDOM " + text)
    assert found.of_random(text[:32]) is None


def test_lines_are_told_apart_by_whether_what_they_identify_was_asked_for():
    random, other, session, premaster = "ab" * 32, "cd" * 32, "ef" * 32, "12" * 8
    lines = [
        f"CLIENT_RANDOM {random} {'01' * 48}",
        f"RSA Session-ID:{session} Master-Key:{'02' * 48}",
        f"RSA {premaster} {'03' * 48}",
        f"SERVER_TRAFFIC_SECRET_1 {random} {'04' * 32}",
        f"EXPORTER_SECRET {random} {'05' * 32}",
        f"CLIENT_RANDOM {other} {'06' * 48}",
        "nonsense",
    ]
    log = KeyLog()
    log.add("\n".join(lines).encode())
    found = lambda: [log.was_found(line.encode()) for line in lines]  # noqa: E731
    assert found() == [False] * 7
    assert log.of_random(bytes.fromhex("99" * 32)) is None
    log.of_random(bytes.fromhex(random))
    assert found() == [True, False, False, True, False, False, False]
    log.of_session(bytes.fromhex(session))
    log.of_premaster(bytes.fromhex(premaster) + bytes(120))
    assert found() == [True, True, True, True, False, False, False]
