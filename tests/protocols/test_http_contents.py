"""The memory of HTTP contents: what is told where it is not granted, and that every way a content ends gives it back."""

import gzip
import hashlib
import random
from collections.abc import Sequence
from typing import Any

import pytest

from analyzer.dissector import CloseReason, Context
from analyzer.http.semantics import HttpContentRecord, HttpExchangeRecord
from analyzer.protocols.http1 import Http1Dissector
from analyzer.protocols.http2 import Http2Dissector
from analyzer.protocols.websocket import WebSocketDissector
from analyzer.records import AnomalyRecord, Rows
from analyzer.scope import Scope
from analyzer.stream import Stream

FIN, CAPTURE_END, LIMIT = CloseReason.FIN, CloseReason.CAPTURE_END, CloseReason.LIMIT
NOISE = random.Random(3).randbytes(4000)
CODED = gzip.compress(NOISE)
HALF = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5000\r\n\r\n" + CODED
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
GZIPPED = b"\x88\x0f\x0b\x04gzip"  # :status 200, content-encoding gzip
CONNECT = b"\x02\x07CONNECT\x01\x01x"  # :method and :authority

Step = tuple[int, bytes | int | CloseReason | None]


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def context(content: str, connection_bytes: int = 0) -> Context:
    made = Context([Http1Dissector, Http2Dissector, WebSocketDissector], content)
    if connection_bytes:
        made.contents.connection_bytes = connection_bytes
    return made


def run(steps: Sequence[Step], options: Context, name: str = "http1", chunk: int = 0, *, is_over: bool = True) -> Rows:
    """Feed bytes, holes (their length, None where it is not known) and closes, each in a packet of its own."""
    scope = Scope(options, 1, "tcp", 80, roles_proven=True)
    stream = Stream(scope, name=name)
    rows: Rows = []
    for packet, (direction, what) in enumerate(steps, 1):
        if isinstance(what, bytes):
            size = chunk or len(what)
            for start in range(0, len(what), size):
                rows += stream.feed(direction, what[start : start + size], packet, packet, packet)
        elif isinstance(what, CloseReason):
            rows += stream.close(direction, what, packet, packet)
        else:
            rows += stream.gap(direction, what, what, packet, packet)
    return rows + scope.finish() if is_over else rows


def of(rows: Rows, kind: type) -> list[Any]:
    return [row for row in rows if type(row) is kind]


def limit(required: str, stream_index: int, packet: int, direction: str = "to_client") -> AnomalyRecord:
    return AnomalyRecord(
        connection_id=1,
        stream_index=stream_index,
        direction=direction,
        occurred_at=packet,
        packet=packet,
        kind="limit",
        required=required,
        found="more",
    )


@pytest.mark.parametrize("chunk", [0, 1, 700])
def test_content_beyond_the_memory_of_an_http1_connection_has_no_hash_and_one_row_says_why(chunk: int) -> None:
    options = context("hash", 3000)
    response = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(CODED) + CODED
    small = gzip.compress(b"small")
    second = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(small) + small
    rows = run([(0, GET + GET), (1, response), (1, second), (0, FIN), (1, FIN)], options, chunk=chunk)
    assert [
        (row.end_reason, row.response_content_bytes, row.response_content_sha256) for row in of(rows, HttpExchangeRecord)
    ] == [
        ("complete", len(CODED), None),
        ("complete", len(small), hashlib.sha256(b"small").hexdigest()),
    ]
    assert of(rows, AnomalyRecord) == [limit("at most 3000 bytes for the open contents of a connection", 0, 2)]
    assert options.contents.open_bytes == 0


@pytest.mark.parametrize("chunk", [0, 1, 700])
def test_content_that_is_too_much_to_keep_is_cut_and_hashed(chunk: int) -> None:
    options = context("store", 3000)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n"
    rows = run([(0, GET), (1, head + NOISE[:2000]), (1, NOISE[2000:]), (0, FIN), (1, FIN)], options, chunk=chunk)
    assert of(rows, HttpContentRecord) == [HttpContentRecord(1, 0, 0, "response", NOISE[:3000], True, False)]
    assert of(rows, AnomalyRecord) == [limit("at most 3000 bytes for the open contents of a connection", 0, 3)]
    assert [row.response_content_sha256 for row in of(rows, HttpExchangeRecord)] == [hashlib.sha256(NOISE).hexdigest()]
    assert options.contents.open_bytes == 0


def http2(*frames: tuple[int, bytes], opening: bytes = b"\x83\x86\x84") -> list[Step]:
    """A POST on stream 1, and 3; then ``frames``."""
    steps: list[Step] = [(0, PREFACE + frame(SETTINGS, 0, 0, b"")), (1, frame(SETTINGS, 0, 0, b""))]
    return [*steps, *((0, frame(HEADERS, END_HEADERS, number, opening)) for number in (1, 3)), *frames]


@pytest.mark.parametrize("chunk", [0, 1, 700])
def test_content_beyond_the_memory_of_an_http2_connection_has_no_hash_and_one_row_says_why(chunk: int) -> None:
    options = context("hash", 5000)
    responses = [(1, frame(HEADERS, END_HEADERS, number, GZIPPED)) for number in (1, 3)]
    contents = [(1, frame(DATA, 0, number, CODED[:2500])) for number in (1, 3)]
    ends = [(1, frame(DATA, END_STREAM, number, CODED[2500:])) for number in (1, 3)]
    asked = [(0, frame(DATA, END_STREAM, number, b"ask")) for number in (1, 3)]
    closes: list[Step] = [(0, FIN), (1, FIN)]
    rows = run([*http2(*responses, *contents, *asked, *ends), *closes], options, "http2", chunk)
    asked_sha256 = hashlib.sha256(b"ask").hexdigest()
    found = [(row.stream_index, row.request_content_sha256, row.response_content_sha256) for row in of(rows, HttpExchangeRecord)]
    assert found == [(1, asked_sha256, None), (2, asked_sha256, hashlib.sha256(NOISE).hexdigest())]
    assert of(rows, AnomalyRecord) == [limit("at most 5000 bytes for the open contents of a connection", 1, 11)]
    assert options.contents.open_bytes == 0


UNFINISHED: dict[str, tuple[str, list[Step]]] = {
    "HTTP/1: the capture ends": ("http1", [(0, GET), (1, HALF), (0, CAPTURE_END), (1, CAPTURE_END)]),
    "HTTP/1: the dissector is detached": ("http1", [(0, GET), (1, HALF), (0, LIMIT), (1, LIMIT)]),
    "HTTP/1: bytes that cannot be read": (
        "http1",
        [(0, POST + b"Content-Encoding: gzip\r\nContent-Length: 9000\r\n\r\n" + CODED), (1, b"HTTP/1.1 2\r\n\r\n")],
    ),
    "HTTP/1: a hole": ("http1", [(0, GET), (1, HALF), (1, 10)]),
    "HTTP/1: a hole of unknown length": ("http1", [(0, GET), (1, HALF), (1, None)]),
    "HTTP/1: an expectation that is abandoned": (
        "http1",
        [
            (0, POST + b"Content-Encoding: gzip\r\nContent-Length: 90\r\nExpect: 100-continue\r\n\r\n"),
            (1, b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"),
            (0, GET),
            (1, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ],
    ),
    "HTTP/1: a beginning that nothing proves": (
        "http1",
        [(0, None), (1, None), (1, HALF[:-10]), (0, CAPTURE_END), (1, CAPTURE_END)],
    ),
    "HTTP/1: more responses before anything proves the requests": (
        "http1",
        [
            (0, None),
            (1, None),
            (0, POST + b"Content-Length: 9\r\n\r\n123"),
            *[(1, b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + NOISE[:900])] * 3,
            (0, CAPTURE_END),
            (1, CAPTURE_END),
        ],
    ),
    "HTTP/2: the capture ends": (
        "http2",
        [
            *http2((0, frame(DATA, 0, 1, NOISE)), (1, frame(HEADERS, END_HEADERS, 1, GZIPPED) + frame(DATA, 0, 1, CODED))),
            (0, CAPTURE_END),
            (1, CAPTURE_END),
        ],
    ),
    "HTTP/2: the stream is reset": (
        "http2",
        http2(
            (1, frame(HEADERS, END_HEADERS, 1, GZIPPED) + frame(DATA, 0, 1, CODED)),
            (0, frame(3, 0, 1, bytes(4))),
            (1, frame(3, 0, 1, bytes(4))),
        ),
    ),
    "HTTP/2: the connection breaks the protocol": (
        "http2",
        http2((1, frame(HEADERS, END_HEADERS, 1, GZIPPED) + frame(DATA, 0, 1, CODED)), (1, frame(SETTINGS, 0, 0, b"12345"))),
    ),
    "HTTP/2: it may have been a tunnel": (
        "http2",
        [
            *http2((1, frame(HEADERS, END_HEADERS, 5, GZIPPED) + frame(DATA, 0, 5, CODED))),
            (0, None),
            (1, frame(DATA, END_STREAM, 5, b"x")),
            (0, CAPTURE_END),
            (1, CAPTURE_END),
        ],
    ),
}


@pytest.mark.parametrize("content", ["hash", "store"])
@pytest.mark.parametrize("name", UNFINISHED)
def test_content_that_does_not_end_gives_its_memory_back_at_once(name: str, content: str) -> None:
    protocol, steps = UNFINISHED[name]
    options = context(content)
    rows = run(steps, options, protocol, is_over=False)
    assert options.contents.open_bytes == 0
    assert options.contents.row_bytes == sum(len(row.content) for row in of(rows, HttpContentRecord))


def test_contents_of_messages_that_are_not_proved_take_memory_until_their_rows_are_handed_out() -> None:
    options = context("store")
    steps = UNFINISHED["HTTP/1: more responses before anything proves the requests"][1]
    rows = run(steps[:-2], options, is_over=False)
    assert rows == []
    assert (options.contents.open_bytes, options.contents.row_bytes) == (2703, 0)


def test_a_connection_that_is_over_gives_back_what_its_dissectors_did_not() -> None:
    options = context("store")
    run([(0, GET), (1, HALF)], options)
    assert options.contents.open_bytes == 0
