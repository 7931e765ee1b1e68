"""How content is delimited: the cases of RFC 9112 section 6.3."""

import pytest

from analyzer.codecs.http1_framing import after_request, after_response
from analyzer.codecs.http1_heads import HeadReader
from analyzer.codecs.http1_messages import CHUNK_LINE, CONTENT, LOST, START, UNTIL_CLOSE

FIELDS = {
    "none": b"",
    "length": b"Content-Length: 5\r\n",
    "zero": b"Content-Length: 0\r\n",
    "bad": b"Content-Length: x\r\n",
    "chunked": b"Transfer-Encoding: gzip, chunked\r\nContent-Length: 5\r\n",
    "gzip": b"Transfer-Encoding: gzip\r\nContent-Length: 5\r\n",
}


@pytest.mark.parametrize(
    ("method", "fields", "state"),
    [
        (b"GET", "none", START),
        (b"POST", "length", CONTENT),
        (b"POST", "zero", START),
        (b"POST", "bad", LOST),
        (b"POST", "chunked", CHUNK_LINE),
        (b"POST", "gzip", LOST),
        (b"CONNECT", "length", START),
    ],
)
def test_content_of_a_request(method: bytes, fields: str, state: int) -> None:
    head = HeadReader({}).request(method + b" / HTTP/1.1\r\nHost: x\r\n" + FIELDS[fields] + b"\r\n")
    assert head is not None
    assert after_request(head) == state


@pytest.mark.parametrize(
    ("status", "method", "fields", "state"),
    [
        (200, b"GET", "none", UNTIL_CLOSE),
        (200, b"GET", "length", CONTENT),
        (200, b"GET", "zero", START),
        (200, b"GET", "bad", LOST),
        (200, b"GET", "chunked", CHUNK_LINE),
        (200, b"GET", "gzip", UNTIL_CLOSE),
        (200, b"HEAD", "chunked", START),
        (204, b"GET", "length", START),
        (304, None, "length", START),
        (200, None, "length", CONTENT),
    ],
)
def test_content_of_a_response(status: int, method: bytes | None, fields: str, state: int) -> None:
    head = HeadReader({}).response(b"HTTP/1.1 %d Whatever\r\n" % status + FIELDS[fields] + b"\r\n")
    assert head is not None
    assert after_response(head, method) == state
