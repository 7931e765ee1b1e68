"""Numbers and windows of HTTP/2 streams."""

from analyzer import limits
from analyzer.codecs.http2_streams import StreamNumbers, Window


def test_numbers_above_the_highest_are_new_and_those_below_are_over() -> None:
    numbers = StreamNumbers(1)
    assert numbers.is_unopened(1)
    numbers.open(1)
    numbers.open(3)
    assert not numbers.is_unopened(1)
    assert not numbers.is_unopened(3)
    assert numbers.is_unopened(5)


def test_a_skipped_number_may_have_been_opened_in_a_hole() -> None:
    numbers = StreamNumbers(1)
    numbers.open(1)
    numbers.open(7)
    assert [number for number in range(1, 10, 2) if numbers.is_unopened(number)] == [3, 5, 9]
    numbers.open(5)
    numbers.end(3)
    assert [number for number in range(1, 10, 2) if numbers.is_unopened(number)] == [9]


def test_a_number_below_the_first_one_may_be_of_a_stream_that_was_open_before_the_capture() -> None:
    numbers = StreamNumbers(1)
    numbers.begin_late()
    numbers.open(1001)
    assert numbers.is_unopened(17)
    numbers.end(17)
    assert not numbers.is_unopened(17)
    assert numbers.is_unopened(19)


def test_few_numbers_are_remembered() -> None:
    numbers = StreamNumbers(2)
    numbers.open(0x7FFFFFFE)
    assert sum(numbers.is_unopened(0x7FFFFFFE - 2 * at) for at in range(1, 10_000)) == limits.HTTP2_TOMBSTONES
    late = StreamNumbers(1)
    late.begin_late()
    late.open(100_001)
    for number in range(1, 99_999, 2):
        if late.is_unopened(number):
            late.end(number)
    assert not late.is_unopened(99_999)


def test_numbers_that_jump_cost_no_more_than_those_that_do_not() -> None:
    numbers = StreamNumbers(1)
    for at in range(30_000):
        assert numbers.is_unopened(1 + 16_384 * at)
        numbers.open(1 + 16_384 * at)
        numbers.end(1 + 16_384 * at)
        assert numbers.is_unopened(16_384 * at - 1)
    assert not numbers.is_unopened(numbers.highest)
    assert not numbers.is_unopened(numbers.highest - 2 * limits.HTTP2_TOMBSTONES - 2)


def test_skipped_numbers_are_known_while_the_highest_rises() -> None:
    numbers = StreamNumbers(1)
    opened = {1, 9, 11, 25, 27, 29, 1001, 1003, 2 * limits.HTTP2_TOMBSTONES - 1}
    for number in sorted(opened):
        numbers.open(number)
    assert {number for number in range(1, numbers.highest, 2) if not numbers.is_unopened(number)} == opened - {numbers.highest}


def test_a_window_tells_from_when_to_when_it_was_closed() -> None:
    window = Window(100)
    window.use(60, 0, 10, 1)
    window.use(40, 0, 20, 2)
    assert (window.closed_at, window.closed_packet, window.opened_at) == (20, 2, -1)
    window.credit(0, 0, 25, 3)
    assert window.opened_at == -1
    window.credit(50, 0, 30, 4)
    window.credit(50, 0, 40, 5)
    assert (window.closed_at, window.opened_at, window.opened_packet) == (20, 30, 4)
    window.forget()
    window.use(100, 0, 50, 6)
    assert (window.closed_at, window.opened_at) == (50, -1)


def test_a_window_below_zero_is_not_the_senders_and_tells_nothing() -> None:
    window = Window(100)
    window.use(150, 0, 10, 1)
    window.credit(100, 0, 20, 2)
    assert (window.closed_at, window.opened_at) == (-1, -1)
