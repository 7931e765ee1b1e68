"""Bytes kept until it is decided what they are."""

from hypothesis import given
from hypothesis import strategies as st

from analyzer.codecs.undecided import Undecided

PIECES = st.lists(st.binary(min_size=1, max_size=5), min_size=1, max_size=6)


def kept(pieces: list[bytes]) -> Undecided:
    undecided = Undecided()
    for number, piece in enumerate(pieces):
        undecided.add(piece, 10 * number, 10 * number + 1, number)
    return undecided


@given(PIECES, st.integers(0, 30))
def test_what_follows_a_place_keeps_its_times_and_packets(pieces: list[bytes], passed: int) -> None:
    owners = [number for number, piece in enumerate(pieces) for _ in piece]
    undecided = kept(pieces)
    rest = undecided.take_after(passed)
    assert b"".join(chunk.data for chunk in rest) == b"".join(pieces)[passed:]
    assert [chunk.packet for chunk in rest for _ in chunk.data] == owners[passed:]
    assert all((chunk.timestamp, chunk.released) == (10 * chunk.packet, 10 * chunk.packet + 1) for chunk in rest)
    assert (undecided.chunks, undecided.size) == ([], 0)


@given(PIECES, st.integers(0, 30))
def test_what_lies_before_a_place_is_taken_out_and_the_rest_stays(pieces: list[bytes], end: int) -> None:
    whole = b"".join(pieces)
    owners = [number for number, piece in enumerate(pieces) for _ in piece]
    undecided = kept(pieces)
    taken = undecided.take_before(end)
    for chunks, there, numbers in ((taken, whole[:end], owners[:end]), (undecided.chunks, whole[end:], owners[end:])):
        assert b"".join(chunk.data for chunk in chunks) == there
        assert [chunk.packet for chunk in chunks for _ in chunk.data] == numbers
        assert all((chunk.timestamp, chunk.released) == (10 * chunk.packet, 10 * chunk.packet + 1) for chunk in chunks)
    assert undecided.size == len(whole[end:])


@given(PIECES, st.integers(0, 30))
def test_whole_chunks_that_nobody_needs_any_more_are_dropped(pieces: list[bytes], keep: int) -> None:
    whole = b"".join(pieces)
    undecided = kept(pieces)
    chunks = undecided.shorten(keep)
    dropped = sum(len(chunk.data) for chunk in chunks)
    assert b"".join(chunk.data for chunk in chunks) == whole[:dropped]
    assert undecided.size == len(whole) - dropped >= min(keep, len(whole))
    assert b"".join(chunk.data for chunk in undecided.chunks) == whole[dropped:]
    assert not undecided.chunks or undecided.size - len(undecided.chunks[0].data) < keep
