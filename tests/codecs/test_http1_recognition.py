"""What shows that bytes are HTTP/1."""

import pytest

from analyzer.codecs.http1_heads import HeadReader
from analyzer.codecs.http1_recognition import (
    BEGINNING_BYTES,
    REGISTERED_METHODS,
    REQUEST_LINE,
    REQUEST_PREFIX,
    is_beyond_doubt,
    is_request_line_start,
    is_status_line_start,
)


def test_blanks_cost_no_more_time_than_other_bytes() -> None:
    blanks = b" " * 100_000
    assert REQUEST_PREFIX.fullmatch(b"GET" + blanks) is not None
    assert REQUEST_PREFIX.fullmatch(b"GET" + blanks + b"/ HTTP/1.1\r") is not None
    assert REQUEST_PREFIX.fullmatch(b"GET" + blanks + b"\0") is None
    assert REQUEST_LINE.fullmatch(b"GET" + blanks + b"/ HTTP/1.1" + blanks) is not None
    assert REQUEST_LINE.fullmatch(b"GET" + blanks + b" HTTP/1.1" * 10_000 + blanks + b"\0") is None


def test_every_beginning_of_a_registered_method_may_begin_a_request() -> None:
    assert len(REGISTERED_METHODS) == 39
    assert max(map(len, REGISTERED_METHODS)) < BEGINNING_BYTES
    for method in REGISTERED_METHODS:
        line = method + b" / HTTP/1.1"
        for length in range(len(line) + 1):
            assert is_request_line_start(line[:length])


@pytest.mark.parametrize(
    "line", [b"get /", b"FETCH /", b"GETS /", b" GET /", b"\r\nGET /", b"ffffGET /", b"PRI * HTTP/2.0", b"* /"]
)
def test_what_is_no_registered_method_may_not(line: bytes) -> None:
    assert not is_request_line_start(line)


def test_every_beginning_of_a_status_line_may_begin_a_response() -> None:
    line = b"HTTP/1.0 404 Not Found"
    for length in range(len(line) + 1):
        assert is_status_line_start(line[:length])
    for other in (b"HTTP/2", b"HTTP/1.1 0", b"HTTP/1.1 2000", b"http/1.1", b"\r\nHTTP/1.1 200 OK", b"ICY 200"):
        assert not is_status_line_start(other)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"FETCH / HTTP/1.1\r\nHost: x\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\n\r\n", False),  # no Host
        (b"GET / HTTP/1.1\nHost: x\n\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno field\r\n\r\n", False),
    ],
)
def test_a_head_without_fault_and_with_a_registered_method_is_beyond_doubt(head: bytes, expected: bool) -> None:
    request = HeadReader({}).request(head)
    assert request is not None
    assert is_beyond_doubt(request) is expected
    response = HeadReader({}).response(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
    assert response is not None
    assert is_beyond_doubt(response)
