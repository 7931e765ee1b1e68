"""Finding HTTP/2 frames: in the first bytes of a late capture, and after a hole."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.codecs.http2_search import BROKEN, CONVINCING, WAIT, FrameSearch, first_bytes, judge


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def frames(randomness: random.Random, size: int) -> tuple[bytes, set[int]]:
    """Frames as a server sends them, and where each begins; some contents are HTTP/2 themselves."""
    data = b""
    starts: set[int] = set()
    while len(data) < size:
        starts.add(len(data))
        kind = randomness.choice([0, 0, 0, 1, 8, 6])
        length = {8: 4, 6: 8}.get(kind, randomness.choice([0, 1, 30, 500, 1400, 9000, 16_384]))
        payload = randomness.randbytes(length)
        content = randomness.random()
        if kind == 0 and content < 0.3:
            payload = (frame(0, 0, 7, bytes(40)) + frame(8, 0, 7, b"\x00\x00\x10\x00")) * (length // 62) + bytes(length % 62)
        elif kind == 0 and content < 0.4:
            payload = bytes(length)
        stream_id = 0 if kind == 6 else randomness.randrange(1, 999, 2)
        data += frame(kind, 4 if kind == 1 else 0, stream_id, payload)
    starts.add(len(data))
    return data, starts


@pytest.mark.parametrize("step", [1 << 20, 1448, 7, 1])
def test_a_frame_found_after_a_hole_is_always_a_true_one(step: int) -> None:
    found_some = 0
    for seed in range(12 if step > 7 else 3):
        randomness = random.Random(seed)
        data, starts = frames(randomness, 70_000)
        begin = randomness.randrange(20_000)
        search = FrameSearch(True, 16_384, False)
        for at in range(begin, len(data), step):
            found = search.search(data[at : at + step])
            assert not search.is_hopeless
            if found >= 0:
                assert begin + found in starts
                assert found > 0
                found_some += 1
                break
    assert found_some > 0


def test_cutting_does_not_change_where_frames_are_found() -> None:
    for seed in range(5):
        randomness = random.Random(seed)
        data, _ = frames(randomness, 70_000)
        data = data[randomness.randrange(9000) :]
        places = set()
        for step in (1 << 20, 5000, 997, 100):
            search = FrameSearch(True, 16_384, seed % 2 == 0)
            places.add(
                next((found for at in range(0, len(data), step) if (found := search.search(data[at : at + step])) >= 0), -1)
            )
        assert len(places) == 1


def test_contents_that_are_http2_themselves_are_not_believed() -> None:
    inner = (frame(0, 0, 7, bytes(40)) + frame(8, 0, 7, b"\x00\x00\x10\x00")) * 400
    outer = b"".join(frame(0, 0, 1, inner[at : at + 16_384]) for at in range(0, len(inner), 16_384))
    search = FrameSearch(True, 16_384, False)
    assert search.search(outer[100:]) == -1


def test_without_any_chain_there_is_nothing_to_find() -> None:
    search = FrameSearch(True, 16_384, False)
    assert search.search(b"\xff" * 40_000) == -1
    assert search.is_hopeless
    assert search.limit is None


def test_an_assumed_frame_size_needs_confirmation() -> None:
    big = random.Random(3).randbytes(60_000)
    data = frame(0, 0, 1, big)[5000:] + frame(0, 0, 1, bytes(100)) * 200
    search = FrameSearch(True, 16_384, True)
    found = search.search(data)
    assert search.is_hopeless or found == -1 or (found - (len(data) - 109 * 200)) % 109 == 0


def test_a_search_over_too_much_is_not_begun() -> None:
    search = FrameSearch(True, 0xFFFFFF, False)
    assert search.is_hopeless
    assert search.limit is not None


def test_random_contents_do_not_begin_too_many_chains() -> None:
    data = random.Random(2).randbytes(1 << 20)
    search = FrameSearch(False, 1 << 20, False)
    assert search.search(data) == -1
    assert not search.is_hopeless


def test_a_search_with_too_many_chains_is_given_up() -> None:
    randomness = random.Random(1)
    search = FrameSearch(False, 1 << 20, False)
    data = bytes(randomness.choice(b"\x0a\x0b\x0c\x0d\x0e\x0f") for _ in range(200_000))
    assert search.search(data) == -1
    assert search.is_hopeless
    assert search.limit is not None
    assert search.taken == len(data)


GET = frame(1, 5, 1, bytes.fromhex("828684410f7777772e6578616d706c652e636f6d"))
OK = frame(1, 4, 1, b"\x88\x5f\x0atext/plain")


@pytest.mark.parametrize(
    ("data", "from_server", "is_convincing"),
    [
        pytest.param(GET, False, True, id="a request"),
        pytest.param(OK + frame(0, 1, 1, b"hello"), True, True, id="a response"),
        pytest.param(frame(4, 0, 0, bytes.fromhex("000300000064")), True, True, id="a server's settings"),
        pytest.param(frame(8, 0, 1, b"\x00\x00\x10\x00") * 3, True, True, id="window updates"),
        pytest.param(frame(8, 0, 1, b"\x00\x00\x10\x00"), True, False, id="one window update"),
        pytest.param(frame(0, 0, 1, bytes(9000))[:4000], True, False, id="the beginning of DATA"),
    ],
)
def test_a_chain_is_convincing_when_it_makes_sense(data: bytes, from_server: bool, is_convincing: bool) -> None:
    assert (judge(data, from_server) >= CONVINCING) == is_convincing
    assert all(judge(data[:length], from_server) != BROKEN for length in range(len(data)))


@pytest.mark.parametrize(
    ("data", "from_server"),
    [
        pytest.param(GET, True, id="a request from a server"),
        pytest.param(OK, False, id="a response from a client"),
        pytest.param(b"GET / HTTP/1.1\r\n", False, id="HTTP/1.1"),
        pytest.param(bytes.fromhex("1603010200010001fc0303"), False, id="TLS"),
        pytest.param(b"\x00\x00\x00\x2d\x00\x12\x00\x03\x00\x00\x00\x01\x00\x09", False, id="Kafka"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", True, id="SSH"),
        pytest.param(frame(4, 0, 0, bytes.fromhex("000300000064")), False, id="settings of a client without preface"),
        pytest.param(bytes(9), True, id="zeros"),
    ],
)
def test_what_cannot_be_a_chain_is_broken(data: bytes, from_server: bool) -> None:
    assert judge(data, from_server) == BROKEN


def test_random_bytes_do_not_convince() -> None:
    randomness = random.Random(1)
    for _ in range(3000):
        data = randomness.randbytes(randomness.randint(1, 300))
        assert judge(data, False) < CONVINCING
        assert judge(b"\x00\x00" + data, True) < CONVINCING


FIRST_PIECES = [
    bytes.fromhex("0000040105000000078286c0e0"),  # HEADERS, with a reference that nothing explains
    bytes.fromhex("000004010500000001828684be"),
    bytes.fromhex("00000401050000000188c0c1c2"),  # a response
    bytes.fromhex("000000040100000000"),
    bytes.fromhex("00000c040000000000000300000064000400100000"),
    bytes.fromhex("00000408000000000000010000"),
    bytes.fromhex("000005000100000001") + b"hello",
    b"\0\0\x04\x63broken",
    b"\xff",
    b"\0\0",
    bytes.fromhex("000fa0000000000003") + bytes(4000),
]


@given(st.lists(st.sampled_from(FIRST_PIECES), max_size=6), st.booleans())
def test_what_the_first_bytes_are_does_not_depend_on_how_they_come(pieces: list[bytes], from_server: bool) -> None:
    data = b"".join(pieces)
    verdict = WAIT
    for size in range(1, len(data) + 1):
        verdict = first_bytes(data[:size], from_server, True, False)
        if verdict != WAIT:
            break
    assert first_bytes(data, from_server, True, False) == verdict
