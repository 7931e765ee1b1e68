import gzip
import hashlib
import random

import brotli
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.codecs.content import Content
from analyzer.codecs.content_budget import AllContents, ContentBudget

NOISE = random.Random(1).randbytes(1 << 20)  # as large coded as not
OF_A_CONNECTION = "at most 1000 bytes for the open contents of a connection"
OF_ALL = "at most 2000 bytes for the open contents of all connections"


def small() -> AllContents:
    """1000 bytes for a connection, 2000 for all."""
    contents = AllContents()
    contents.connection_bytes = 1000
    contents.most_bytes = 2000
    return contents


def ended(content: Content, is_complete: bool = True) -> tuple[bytes | None, bool, str | None, str | None]:
    """What is told of a content: what is kept, whether that is all, the hash, the limit reached."""
    content.finish(is_complete)
    content.hand_out()
    return content.kept, content.is_complete, content.sha256, content.limit


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_contents_that_end_give_their_memory_back_when_their_rows_are_handed_over() -> None:
    contents = small()
    budget = ContentBudget(contents)
    for mode, sent in (("store", b"x" * 300), ("hash", b"y" * 5000)):
        content = Content(mode, None, budget=budget)
        content.write(sent)
        assert ended(content) == (sent if mode == "store" else None, True, digest(sent), None)
    assert (contents.open_bytes, contents.row_bytes) == (0, 300)


def test_a_connection_keeps_no_more_than_its_share_and_hashes_on() -> None:
    contents = small()
    budget = ContentBudget(contents)
    first = Content("store", None, budget=budget)
    second = Content("store", None, budget=budget)
    first.write(b"a" * 600)
    second.write(b"b" * 300)
    second.write(b"c" * 200)
    first.write(b"d" * 100)
    second.write(b"e" * 10)
    assert ended(second) == (b"b" * 300 + b"c" * 100, False, digest(b"b" * 300 + b"c" * 200 + b"e" * 10), OF_A_CONNECTION)
    assert ended(first) == (b"a" * 600, False, digest(b"a" * 600 + b"d" * 100), OF_A_CONNECTION)
    assert (contents.open_bytes, contents.row_bytes) == (0, 1000)


def test_coded_bytes_that_find_no_room_leave_no_hash() -> None:
    contents = small()
    budget = ContentBudget(contents)
    first, second = (Content("hash", b"gzip", budget=budget) for _ in range(2))
    first.write(NOISE[:800])
    sent = gzip.compress(b"small")
    second.write(sent + bytes(200))
    second.write(b"more")
    assert contents.open_bytes == 800
    assert ended(second) == (None, False, None, OF_A_CONNECTION)
    assert second.fault is None
    first.discard()
    assert (contents.open_bytes, contents.row_bytes) == (0, 0)


def test_a_decoder_that_would_stay_open_needs_room_and_one_that_is_closed_at_once_does_not() -> None:
    contents = AllContents()
    contents.connection_bytes = 3 << 20  # less than a decoder of br may take
    budget = ContentBudget(contents)
    content = Content("hash", b"br", budget=budget)
    content.write(brotli.compress(NOISE))
    assert ended(content) == (None, False, None, f"at most {3 << 20} bytes for the open contents of a connection")
    content = Content("hash", b"br", budget=budget)
    content.write(brotli.compress(b"small"))
    assert ended(content) == (None, True, digest(b"small"), None)


def test_a_window_is_counted_as_far_as_it_is_used() -> None:
    contents = AllContents()
    budget = ContentBudget(contents)
    content = Content("hash", b"zstd", budget=budget)
    content.write(zstd.compress(NOISE)[: 1 << 19])
    state = contents.open_bytes
    assert 1 << 19 < state < (1 << 19) + (1 << 20)
    content.finish(False)
    assert contents.open_bytes == 0


def test_the_connection_that_used_its_contents_longest_ago_gives_them_up_for_others() -> None:
    contents = small()
    old, used, new = (ContentBudget(contents) for _ in range(3))
    of_old = [Content("store", codings, budget=old) for codings in (None, b"gzip")]
    of_used = Content("store", None, budget=used)
    of_new = Content("store", None, budget=new)
    of_used.write(b"u" * 600)
    for content in of_old:
        content.write(b"o" * 400)
    of_used.write(b"u" * 100)
    of_new.write(b"n" * 900)
    assert contents.open_bytes == 1600
    assert ended(of_old[0]) == (None, False, digest(b"o" * 400), OF_ALL)
    assert ended(of_old[1]) == (None, False, None, OF_ALL)
    assert ended(of_used) == (b"u" * 700, True, digest(b"u" * 700), None)
    assert ended(of_new) == (b"n" * 900, True, digest(b"n" * 900), None)
    assert (contents.open_bytes, contents.row_bytes) == (0, 1600)


def test_a_connection_that_used_what_it_had_since_keeps_it_once_more() -> None:
    contents = small()
    old, idle, new = (ContentBudget(contents) for _ in range(3))
    made = [Content("store", None, budget=budget) for budget in (old, idle, new)]
    made[0].write(b"o" * 800)
    made[1].write(b"i" * 800)
    old.was_used = True
    made[2].write(b"n" * 800)
    assert [content.limit for content in made] == [None, OF_ALL, None]
    made[1].write(b"i")
    again = Content("store", None, budget=idle)
    again.write(b"a" * 800)
    assert [content.limit for content in made] == [None, OF_ALL, OF_ALL]
    assert contents.open_bytes == 1600


def test_what_is_in_rows_leaves_less_room_until_they_are_handed_over() -> None:
    contents = small()
    contents.row_bytes = 1500
    budget = ContentBudget(contents)
    content = Content("store", None, budget=budget)
    content.write(b"x" * 600)
    assert ended(content) == (b"", False, digest(b"x" * 600), OF_ALL)
    contents.row_bytes = 0
    content = Content("store", None, budget=budget)
    content.write(b"x" * 600)
    assert ended(content) == (b"x" * 600, True, digest(b"x" * 600), None)


def test_a_connection_that_is_over_takes_nothing() -> None:
    contents = small()
    budget = ContentBudget(contents)
    content = Content("store", None, budget=budget)
    content.write(b"x" * 600)
    budget.close()
    assert contents.open_bytes == 0


Step = tuple[int, int, int]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 700)), max_size=60),
    st.sampled_from(["hash", "store"]),
)
def test_no_more_is_ever_taken_than_there_is_and_all_of_it_comes_back(steps: list[Step], mode: str) -> None:
    contents = small()
    budgets = [ContentBudget(contents) for _ in range(3)]
    made: list[Content] = []
    for number in range(6):
        made.append(Content(mode, b"gzip" if number % 2 else None, budget=budgets[number % 3]))
    for number, what, size in steps:
        content = made[number]
        if what < 3:
            content.write(NOISE[:size])
        elif what == 3:
            content.finish(size % 2 == 0)
            content.hand_out()
            made[number] = Content(mode, b"gzip" if size % 3 else None, budget=budgets[number % 3])
        else:
            content.discard()
            made[number] = Content(mode, None, budget=budgets[number % 3])
            contents.row_bytes = 0
        assert contents.open_bytes == sum(each.held_memory for each in made)
        assert contents.open_bytes + contents.row_bytes <= contents.most_bytes
    for content in made:
        content.finish(True)
        content.hand_out()
    assert contents.open_bytes == 0


@pytest.mark.parametrize("size", [1, 50, 700])
def test_pieces_of_any_size_reach_a_limit_alike(size: int) -> None:
    contents = small()
    budget = ContentBudget(contents)
    content = Content("hash", b"gzip", budget=budget)
    sent = gzip.compress(NOISE[:1100])
    for start in range(0, len(sent), size):
        content.write(sent[start : start + size])
    assert ended(content) == (None, False, None, OF_A_CONNECTION)
