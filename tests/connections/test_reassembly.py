"""Against a model that is slow and obviously right, and what is done with copies that differ."""

from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.connections.reassembly import Backlog, Piece, extended


def piece(start: int, data: bytes, *, length: int | None = None, is_valid: bool = True, timestamp: int = 0) -> Piece:
    return Piece(start, start + (len(data) if length is None else length), data, timestamp, 1, is_valid, -1, -1)


def content(backlog: Backlog) -> dict[int, int | None]:
    """Position -> byte, None where a snapped packet left none; also checks order and the count of bytes."""
    found: dict[int, int | None] = {}
    end = -1
    for held in backlog.pieces:
        assert held.start >= end
        assert held.end > held.start
        end = held.end
        for position in range(held.start, held.end):
            found[position] = None if held.data is None else held.data[position - held.start]
        assert held.data is None or len(held.data) == held.end - held.start
    assert backlog.size == sum(byte is not None for byte in found.values())
    return found


@given(st.integers(0, 2**40), st.integers(-(2**30), 2**31))
def test_a_position_is_found_again_from_its_32_bits(near, ahead):
    assert extended((near + ahead) % 2**32, near) == near + ahead


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12), st.integers(0, 12), st.booleans(), st.integers(0, 2)), max_size=14)
)
def test_what_is_held_is_what_a_dictionary_of_positions_holds(segments):
    backlog = Backlog()
    model: dict[int, tuple[int | None, bool]] = {}
    for start, length, captured, is_valid, variant in segments:
        captured = min(captured, length)
        data = bytes((start + k + variant // 2 * 100) % 256 for k in range(captured))
        expected_new = 0
        must_differ = False
        # a copy is chosen piece by piece, so the model is told which bytes one piece holds
        pieces = [(held.start, held.end) for held in backlog.pieces]
        for position in range(start, start + length):
            byte = data[position - start] if position - start < captured else None
            if position not in model:
                model[position] = (byte, is_valid)
                expected_new += 1
        for held_start, held_end in pieces:
            overlap = range(max(start, held_start), min(start + captured, held_end))
            if not overlap:
                continue
            old = [model[p] for p in overlap]
            mine = [data[p - start] for p in overlap]
            if old[0][0] is None or ([byte for byte, _ in old] != mine and is_valid and not old[0][1]):
                for p, byte in zip(overlap, mine, strict=True):
                    model[p] = (byte, is_valid)
            elif [byte for byte, _ in old] != mine and is_valid == old[0][1]:
                must_differ = True
        assert backlog.hold(piece(start, data, length=length, is_valid=is_valid), start + captured) == expected_new
        assert (backlog.conflict >= 0) == must_differ
        assert content(backlog) == {position: byte for position, (byte, _) in model.items()}


def test_of_two_copies_the_one_with_a_valid_checksum_stays():
    backlog = Backlog()
    backlog.hold(piece(10, b"wrong", is_valid=False), 15)
    backlog.hold(piece(10, b"right"), 15)
    backlog.hold(piece(10, b"worse", is_valid=False), 15)
    assert backlog.pieces[0].data == b"right"
    assert backlog.conflict < 0


def test_of_two_copies_as_good_as_each_other_the_first_stays_and_the_place_is_told():
    backlog = Backlog()
    backlog.hold(piece(10, b"abcdef"), 16)
    backlog.hold(piece(8, b"xxabXX"), 14)
    assert content(backlog) == dict(enumerate(b"xxabcdef", start=8))
    assert backlog.conflict == 10


def test_a_later_copy_fills_in_what_a_snapped_one_left_out():
    backlog = Backlog()
    backlog.hold(piece(10, b"ab", length=6), 12)
    assert backlog.hold(piece(10, b"abcdef"), 16) == 0
    assert content(backlog) == dict(enumerate(b"abcdef", start=10))


def test_pieces_that_nothing_allowed_are_dropped_from_the_end():
    backlog = Backlog()
    for start in (10, 20, 30):
        backlog.hold(piece(start, b"abc"), start + 3)
    dropped = backlog.drop_from(20)
    assert dropped is not None
    assert (dropped.start, backlog.size, len(backlog.pieces)) == (20, 3, 1)
    assert backlog.drop_from(20) is None
