"""Finding WebSocket frames: in the first bytes of a late capture, and after a hole."""

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer import limits
from analyzer.codecs.websocket_search import FrameSearch, count_frames

RSV1 = 0x40


def frame(payload: bytes, first: int, key: bytes = b"") -> bytes:
    length = len(payload)
    mask = 0x80 if key else 0
    if length < 126:
        head = bytes([first, mask | length])
    elif length < 65_536:
        head = bytes([first, mask | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first, mask | 127]) + length.to_bytes(8, "big")
    if not key:
        return head + payload
    repeated = int.from_bytes(key * (length // 4 + 1), "big") >> 8 * (4 - length % 4)
    return head + key + (int.from_bytes(payload, "big") ^ repeated).to_bytes(length, "big")


def chatter(randomness: random.Random, size: int, masked: bool, lengths: list[int]) -> tuple[bytes, set[int]]:
    """Frames as an endpoint sends them, and where each begins; some contents are WebSocket themselves, or repetitive."""
    data = b""
    starts: set[int] = set()
    is_open = False
    while len(data) < size:
        starts.add(len(data))
        opcode = randomness.choice([0, 0, 9, 10] if is_open else [1, 2, 2, 9, 10])
        length = randomness.randrange(126) if opcode > 2 else randomness.choice(lengths)
        kind = randomness.randrange(7)
        if kind == 0:
            payload = bytes(length)
        elif kind == 1:
            payload = randomness.choice([b"\x82\x00", b"\x00\x00\x01\x00", b"\x82\x02\x01\x00", b"\x89\x7e\x00\x80"]) * (
                length // 4 + 1
            )
        elif kind == 2:
            payload = b"".join(
                frame(b'{"inner":1}', 0x81, randomness.randbytes(4) if masked else b"") for _ in range(length // 13 + 1)
            )
        elif kind < 5:
            payload = (b'{"price":%d,"A":"B"},' % randomness.randrange(9999)) * (length // 20 + 1)
        else:
            payload = randomness.randbytes(length)
        is_final = opcode > 2 or randomness.random() < 0.8
        data += frame(payload[:length], opcode | (0x80 if is_final else 0), randomness.randbytes(4) if masked else b"")
        if opcode < 3:
            is_open = not is_final
    starts.add(len(data))
    return data, starts


def find(search: FrameSearch, data: bytes, step: int) -> int:
    for at in range(0, len(data), step):
        held = search.unsettled()
        found = search.search(data[at : at + step])
        if found >= 0:
            assert found >= at - held
            return found
    return -1


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("step", [1 << 20, 1448, 7])
def test_a_frame_found_after_a_hole_is_always_a_true_one(masked: bool, step: int) -> None:
    window = 3000
    found_some = 0
    for seed in range(60 if step > 7 else 15):
        randomness = random.Random(seed)
        data, starts = chatter(randomness, 20_000, masked, [0, 1, 20, 60, 200, 900, 2900])
        begin = randomness.randrange(4000)
        found = find(FrameSearch(masked, window, RSV1), data[begin:], step)
        if found >= 0:
            assert begin + found in starts
            found_some += 1
    assert found_some >= 10


def test_cutting_does_not_change_where_frames_are_found() -> None:
    for seed in range(8):
        randomness = random.Random(seed)
        data, _ = chatter(randomness, 20_000, seed % 2 == 0, [0, 1, 20, 200, 1900])
        data = data[randomness.randrange(3000) :]
        places = {find(FrameSearch(seed % 2 == 0, 2000, RSV1), data, step) for step in (1 << 20, 1448, 97, 5, 1)}
        assert len(places) == 1


def test_contents_that_are_websocket_themselves_are_not_believed() -> None:
    inner = frame(b"inner message", 0x82) * 3000
    outer = b"".join(frame(inner[at : at + 15 * 400], 0x82) for at in range(0, len(inner), 15 * 400))
    assert find(FrameSearch(False, limits.WEBSOCKET_SEARCH_BYTES, 0), outer[100:], 1448) == -1  # both fit, wherever one looks
    outer = b"".join(frame(inner[at : at + 7001], 0x82) for at in range(0, len(inner), 7001))
    found = find(FrameSearch(False, limits.WEBSOCKET_SEARCH_BYTES, 0), (outer * 4)[100:], 1448)
    assert found >= 0  # contents that are cut anywhere do not fit for long
    assert (found + 100) % len(outer) in {min(at, len(outer)) for at in range(0, len(outer) + 7005, 7005)}


@pytest.mark.parametrize("masked", [True, False])
def test_contents_of_a_frame_that_goes_on_for_longer_than_expected_are_not_taken_for_frames(masked: bool) -> None:
    randomness = random.Random(1)
    text = b'{"price":17,"A":"B","C":"\xc3\xa9"},' * 10_000
    key = randomness.randbytes(4) if masked else b""
    for payload in (randomness.randbytes(300_000), text, zlib.compress(randomness.randbytes(1000) * 300, 0), bytes(300_000)):
        search = FrameSearch(masked, 4096, RSV1)
        data = frame(payload, 0x82, key)[20:]
        after, starts = chatter(randomness, 30_000, masked, [10, 100, 500])
        found = find(search, data + after, 1448)
        assert found == -1 or found - len(data) in starts


def test_a_key_that_repeats_is_no_evidence() -> None:
    key = bytes.fromhex("82820101")
    zeros = frame(bytes(60_000), 0x82, key)
    assert zeros[8:].startswith(key * 100)  # a frame of 2 bytes each, as it looks
    assert find(FrameSearch(True, 4096, 0), zeros[12:], 1448) == -1


def test_random_contents_do_not_begin_too_many_chains_and_too_many_are_given_up() -> None:
    search = FrameSearch(False, 1 << 16, RSV1)
    assert search.search(random.Random(2).randbytes(1 << 19)) == -1
    assert not search.is_hopeless
    for endless in (b"\x82\x7e" * 30_000, bytes(limits.WEBSOCKET_SEARCH_HEADERS + 5)):
        search = FrameSearch(False, 1 << 16, RSV1)
        assert search.search(endless) == -1
        assert search.is_hopeless


@given(st.binary(max_size=300), st.booleans(), st.integers(0, 100))
def test_searching_takes_any_bytes(data: bytes, is_masked: bool, window: int) -> None:
    search = FrameSearch(is_masked, window, RSV1)
    for at in range(0, len(data), 9):
        found = search.search(data[at : at + 9])
        assert 0 <= search.unsettled() <= search.taken
        if found >= 0:
            break


MASKED = bytes.fromhex("818537fa213d7f9f4d5158")
UNMASKED = bytes.fromhex("810548656c6c6f")


def test_whole_frames_are_counted_and_a_last_one_may_be_cut_anywhere() -> None:
    for frame, is_masked in ((MASKED, True), (UNMASKED, False)):
        for cut in range(len(frame)):
            assert count_frames(frame * 3 + frame[:cut], is_masked) == 3
        assert count_frames(frame * 3, not is_masked) == -1


@pytest.mark.parametrize(
    "bad",
    [
        "00" * 8,  # a continuation of nothing
        "8102ffff",  # not text
        "010161 8101 62",  # a message within a message
        "8901 61 00",  # a continuation of nothing after a ping
        "827e 0001 00",  # a longer length than needed
        "8801 00",  # a close frame with half a status code
        "8800 8900",  # a frame after a close frame
        "474554202f20485454502f312e31",
    ],
)
def test_bytes_that_break_a_rule_are_no_run_of_frames(bad: str) -> None:
    assert count_frames(bytes.fromhex(bad), False) == -1


def test_data_frames_without_content_are_not_counted_and_what_follows_enough_frames_is_not_looked_at() -> None:
    assert count_frames(bytes.fromhex("0200 8000 8200"), False) == 0
    assert count_frames(UNMASKED * 3 + b"noise", False) == -1
    assert count_frames(UNMASKED * 3 + b"noise", False, 3) == 3


def test_fragments_and_control_frames_between_them_are_a_run() -> None:
    assert count_frames(bytes.fromhex("010348656c 8900 80026c6f 8a00"), False) == 4


@given(st.binary(max_size=40))
def test_counting_frames_takes_any_bytes(data: bytes) -> None:
    assert -1 <= count_frames(data, True) <= len(data)
    assert -1 <= count_frames(data, False) <= len(data)
