"""Which request a response belongs to."""

from analyzer.codecs.http1_exchange import Exchange
from analyzer.codecs.http1_heads import HeadReader
from analyzer.codecs.http1_matching import Matching


def request(index: int, started_at: int, raw: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") -> Exchange:
    """A complete request."""
    exchange = Exchange(index, index)
    exchange.has_request = True
    exchange.request = HeadReader({}).request(raw)
    exchange.request_started_at = started_at
    exchange.is_request_over = True
    return exchange


def test_responses_come_in_the_order_of_the_requests_and_an_informational_one_leaves_its_request_waiting() -> None:
    matching = Matching()
    first, second = request(0, 100), request(1, 110)
    matching.add(first, False)
    matching.add(second, True)
    assert matching.answered(120, False) is first
    assert matching.answered(130, True) is first
    assert matching.answered(140, True) is second
    assert matching.answered(150, True) is None
    assert matching.ended == []


def test_in_doubt_a_request_is_matched_only_when_nothing_else_is_under_way() -> None:
    matching = Matching()
    matching.is_in_doubt = True
    matching.saw_response(90)
    first = request(0, 100)
    matching.add(first, False)
    assert matching.answered(110, True) is first
    second, third = request(1, 200), request(2, 210)
    matching.add(second, False)
    matching.add(third, False)  # the client pipelines
    assert matching.ended == [second]
    assert [one.end_reason for one in (second, third)] == ["unmatched", "unmatched"]
    assert matching.answered(220, True) is None


def test_requests_that_cannot_be_matched_are_cut_where_no_response_was_seen() -> None:
    matching = Matching()
    matching.is_in_doubt = True
    first, second = request(0, 100), request(1, 110)
    matching.add(first, False)
    matching.add(second, False)
    assert ([one.end_reason for one in (first, second)], matching.has_unmatched) == (["cut", "cut"], True)


def test_in_doubt_a_response_that_began_before_the_request_is_not_its() -> None:
    matching = Matching()
    matching.is_in_doubt = True
    exchange = request(0, 100)
    matching.add(exchange, False)
    assert matching.answered(100, True) is None
    assert matching.ended == [exchange]


def test_a_hole_before_the_first_response_takes_those_of_the_requests_sent_before_it() -> None:
    matching = Matching()
    matching.is_in_doubt = True
    exchange = request(0, 100)
    matching.add(exchange, False)
    assert matching.miss_responses(150)
    assert (matching.ended, exchange.end_reason, matching.waiting) == ([exchange], "cut", [])
    connect = request(1, 200, b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
    matching.add(connect, False)
    assert not matching.miss_responses(250)


def test_the_end_says_why_there_is_no_response() -> None:
    matching = Matching()
    waiting, late = request(0, 100), request(1, 200)
    matching.add(waiting, False)
    matching.end("reset")
    matching.add(late, False)
    assert (matching.ended, waiting.end_reason, late.end_reason) == ([waiting], "reset", "reset")
    assert late.fields_complete
    matching.forget()
    assert (matching.ended, matching.over) == ([], "cut")


def test_a_response_that_was_asked_for_elsewhere_is_none_to_the_first_request() -> None:
    matching = Matching()
    matching.is_answer_awaited = True
    assert matching.knows_next()
    first = request(0, 100)
    matching.add(first, False)
    assert matching.answered(90, True) is None
    assert matching.answered(200, True) is first
