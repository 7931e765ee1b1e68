"""Known dialogues, and that neither chunking, nor order of delivery, nor following them changes their rows."""

import dataclasses
import gzip
import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from analyzer import limits
from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Context, Match
from analyzer.http.semantics import HttpContentRecord, HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.protocols.http1 import Http1Dissector
from analyzer.records import AnomalyRecord, StalledStreamRecord, StreamRecord
from analyzer.scope import Scope
from analyzer.stream import Stream

FIN, RESET, CAPTURE_END = CloseReason.FIN, CloseReason.RESET, CloseReason.CAPTURE_END
BOTH = (TO_SERVER, TO_CLIENT)


Happening: TypeAlias = bytes | int | CloseReason | None


@dataclass(frozen=True)
class Event:
    """Bytes, a hole of so many bytes (None: unknown), or a close; in one packet."""

    direction: int
    what: Happening
    timestamp: int
    packet: int
    waited: int = 0


def dialogue(*steps: "tuple[int, Happening]") -> list[Event]:
    """Number the packets from 1; packet n is at 100 n."""
    return [Event(direction, what, 100 * number, number) for number, (direction, what) in enumerate(steps, 1)]


def client(what: Happening) -> "tuple[int, Happening]":
    return (TO_SERVER, what)


def server(what: Happening) -> "tuple[int, Happening]":
    return (TO_CLIENT, what)


CLOSING = (client(FIN), server(FIN))


class Ear:
    """A dissector for what comes after HTTP/1: keeps the bytes of each side."""

    ports = ()
    transports = ("tcp",)
    records = ()
    heard: "ClassVar[dict[str, Ear]]"

    def __init__(self, stream: Stream, facts: dict[str, str]) -> None:
        self.facts = facts
        self.sides = [b"", b""]
        self.gaps: list[int] = []
        self.closed: list[int] = []
        type(self).heard["ear"] = self

    @staticmethod
    def probe(first: bytes, second: bytes) -> Match:
        return Match.NO

    def feed(self, direction: int, data: bytes, timestamp: int, released: int, packet: int) -> list[object]:
        self.sides[direction] += data
        return []

    def gap(self, direction: int, length: int | None, at_most: int | None, timestamp: int, packet: int) -> list[object]:
        self.gaps.append(direction)
        return []

    def close(self, direction: int, reason: CloseReason, timestamp: int, packet: int) -> list[object]:
        self.closed.append(direction)
        return []

    def tick(self, now: int) -> list[object]:
        return []


class WebSocketEar(Ear):
    name = "websocket"
    heard: ClassVar[dict[str, Ear]] = {}


class Http2Ear(Ear):
    name = "http2"
    heard: ClassVar[dict[str, Ear]] = {}


class TunnelEar(Ear):
    name = "tunnel"
    heard: ClassVar[dict[str, Ear]] = {}

    @staticmethod
    def probe(first: bytes, second: bytes) -> Match:
        return Match.YES if first.startswith(b"TUNNEL") else Match.MAYBE if b"TUNNEL".startswith(first) else Match.NO


class Paper:
    """A tap that takes what it is given."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, int, int, str, bytes]] = []

    def write(self, stream_index: int, direction: int, timestamp: int, kind: str, data: bytes) -> None:
        self.pieces.append((stream_index, direction, timestamp, kind, data))

    def turn(self, stream_index: int, direction: int, index: int) -> None:
        """Whose it is does not matter."""

    def outlet(self, stream_index: int, index: int, part: str) -> None:
        """Contents are not wanted on their own."""


def run(
    events: Sequence[Event], content: str = "preview", chunk: int = 0, is_tapped: bool = False, name: str | None = "http1"
) -> list[Any]:
    context = Context([Http1Dissector, WebSocketEar, Http2Ear, TunnelEar], content=content)
    if is_tapped:
        context.taps = {1: Paper()}
    scope = Scope(context, 1, "tcp", 80, roles_proven=True)
    stream = Stream(scope, name=name)
    rows: list[Any] = []
    for event in events:
        if isinstance(event.what, bytes):
            if event.waited:
                scope.begin_stall()
            size = chunk or len(event.what) or 1
            for start in range(0, len(event.what), size):
                piece = event.what[start : start + size]
                rows += stream.feed(event.direction, piece, event.timestamp, event.timestamp + event.waited, event.packet)
            if event.waited:
                rows += scope.end_stall()
        elif isinstance(event.what, CloseReason):
            rows += stream.close(event.direction, event.what, event.timestamp, event.packet)
        else:
            rows += stream.gap(event.direction, event.what, event.what, event.timestamp, event.packet)
    return rows + scope.finish()


def exchanges(rows: list[Any]) -> list[HttpExchangeRecord]:
    return sorted((row for row in rows if isinstance(row, HttpExchangeRecord)), key=lambda row: row.exchange_index)


def anomalies(rows: list[Any]) -> list[str]:
    return [row.kind for row in rows if isinstance(row, AnomalyRecord)]


def sections(rows: list[Any]) -> list[tuple[int, str, str, list[tuple[bytes | None, bytes | None]]]]:
    return [
        (row.exchange_index, row.side, row.section, [(line.name, line.value) for line in row.fields])
        for row in rows
        if isinstance(row, HttpFieldSectionRecord)
    ]


def comparable(rows: list[Any]) -> list[str]:
    """Rows as text, without their order, their field lines spelled out."""
    texts = [str(row) for row in rows if not isinstance(row, HttpFieldSectionRecord | AnomalyRecord)]
    for row in rows:
        if isinstance(row, AnomalyRecord):  # what is not understood is told by the bytes of one piece
            texts.append(str(replace(row, found=None) if row.kind == "not_understood" else row))
    return sorted(texts + [str(section) for section in sections(rows)])


def exchange(index: int, **values: Any) -> HttpExchangeRecord:
    """A whole GET / answered with 200 and no content, and what differs from it."""
    row = HttpExchangeRecord(
        connection_id=1,
        stream_index=0,
        exchange_index=index,
        http_version="1.1",
        request_method=b"GET",
        authority=b"x",
        target=b"/",
        status_code=200,
        request_content_bytes=0,
        response_content_bytes=0,
        fields_complete=True,
        end_reason="complete",
    )
    row = replace(row, **values)
    if row.request_started_at is not None and row.response_started_at is not None:
        row.time_to_first_byte_ns = row.response_started_at - row.request_started_at
    if row.request_started_at is not None and row.response_ended_at is not None:
        row.duration_ns = row.response_ended_at - row.request_started_at
    return row


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def times(request: int, response: int) -> dict[str, int]:
    """The times and packets of a request in one packet answered by another."""
    return {
        "request_started_at": 100 * request,
        "request_ended_at": 100 * request,
        "response_started_at": 100 * response,
        "response_ended_at": 100 * response,
        "first_packet": request,
        "last_packet": response,
    }


DIALOGUES: dict[str, tuple[list[Event], list[HttpExchangeRecord], list[str]]] = {
    "keep-alive gives one row per request": (
        dialogue(client(GET), server(HELLO), client(GET.replace(b"/ ", b"/two?q=1 ")), server(OK), *CLOSING),
        [exchange(0, **times(1, 2), response_content_bytes=5), exchange(1, **times(3, 4), target=b"/two?q=1")],
        [],
    ),
    "pipelined requests are matched in order, and one of them is HEAD": (
        dialogue(
            client(GET + GET.replace(b"GET", b"HEAD") + GET[:10]),
            client(GET[10:]),
            server(HELLO + HELLO[:-5] + HELLO[:20]),
            server(HELLO[20:]),
            *CLOSING,
        ),
        [
            exchange(0, **times(1, 3), response_content_bytes=5),
            exchange(1, **times(1, 3), request_method=b"HEAD"),
            exchange(
                2,
                **{**times(1, 3), "request_ended_at": 200, "response_ended_at": 400, "last_packet": 4},
                response_content_bytes=5,
            ),
        ],
        [],
    ),
    "204 and 304 have no content whatever they say": (
        dialogue(
            client(GET + GET + GET),
            server(
                b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n"
                b"Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n" + HELLO
            ),
            *CLOSING,
        ),
        [
            exchange(0, **times(1, 2), status_code=204),
            exchange(1, **times(1, 2), status_code=304),
            exchange(2, **times(1, 2), response_content_bytes=5),
        ],
        ["repeated_content_length", "content_length_with_transfer_encoding"],
    ),
    "chunked content both ways, with extensions and trailers": (
        dialogue(
            client(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n"),
            client(b'0006 ; c="d"\r\n world\r\n0\r\nDigest: 1\r\n\r\n'),
            server(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n"),
            *CLOSING,
        ),
        [
            exchange(
                0,
                **{**times(1, 3), "request_ended_at": 200},
                request_method=b"POST",
                status_code=404,
                error_type="404",
                request_content_bytes=11,
                response_content_bytes=10,
            )
        ],
        [],
    ),
    "informational responses come before the final one": (
        dialogue(
            client(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"),
            server(b"HTTP/1.1 100 Continue\r\n\r\n"),
            client(b"body"),
            server(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"),
            server(OK),
            *CLOSING,
        ),
        [exchange(0, **{**times(1, 5), "request_ended_at": 300}, request_method=b"PUT", request_content_bytes=4)],
        [],
    ),
    "a client that expected 100 and was refused goes on with the next request": (
        dialogue(
            client(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 400\r\n\r\n"),
            server(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"),
            client(GET),
            server(OK),
            *CLOSING,
        ),
        [
            exchange(0, **times(1, 2), request_method=b"PUT", status_code=417, error_type="417"),
            exchange(1, **times(3, 4)),
        ],
        ["expectation_abandoned"],
    ),
    "a client that expected 100 and was refused may still send the content": (
        dialogue(
            client(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n"),
            server(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
            client(b"GET it\n!" + GET),
            server(OK),
            *CLOSING,
        ),
        [
            exchange(
                0,
                **{**times(1, 2), "request_ended_at": 300, "last_packet": 3},
                request_method=b"PUT",
                status_code=401,
                error_type="401",
                request_content_bytes=8,
            ),
            exchange(1, **times(3, 4)),
        ],
        [],
    ),
    "content lasts until close where nothing says its length": (
        dialogue(
            client(GET.replace(b"1.1", b"1.0")), server(b"HTTP/1.0 200 OK\r\n\r\nabc"), server(b"def"), server(FIN), client(FIN)
        ),
        [
            exchange(
                0,
                **{**times(1, 2), "response_ended_at": 300, "last_packet": 3},
                http_version="1.0",
                response_content_bytes=6,
            )
        ],
        [],
    ),
    "a reset cuts content until close": (
        dialogue(client(GET), server(b"HTTP/1.1 200 OK\r\n\r\nabc"), server(RESET), client(RESET)),
        [
            exchange(
                0,
                **{**times(1, 2), "response_ended_at": None},
                response_content_bytes=None,
                end_reason="reset",
            )
        ],
        [],
    ),
    "requests without response": (
        dialogue(client(GET + GET), server(OK), *CLOSING),
        [
            exchange(0, **times(1, 2)),
            exchange(
                1,
                **{**times(1, 1), "response_started_at": None, "response_ended_at": None},
                status_code=None,
                response_content_bytes=None,
                end_reason="no response",
            ),
        ],
        [],
    ),
    "a response without request": (
        dialogue(server(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"), server(FIN), client(FIN)),
        [
            exchange(
                0,
                **{**times(1, 1), "request_started_at": None, "request_ended_at": None},
                http_version=None,
                request_method=None,
                authority=None,
                target=None,
                request_content_bytes=None,
                status_code=408,
                error_type="408",
                fields_complete=False,
                end_reason="no request",
            )
        ],
        [],
    ),
    "a response that ends too early is cut": (
        dialogue(client(GET), server(HELLO[:-2]), server(FIN), client(FIN)),
        [
            exchange(
                0,
                **{**times(1, 2), "response_ended_at": None},
                response_content_bytes=None,
                end_reason="cut",
            )
        ],
        ["incomplete_message"],
    ),
    "the capture ends in a head": (
        dialogue(client(GET), server(OK[:20]), client(GET[:18]), client(CAPTURE_END), server(CAPTURE_END)),
        [
            exchange(
                0,
                **{**times(1, 2), "response_ended_at": None},
                status_code=None,
                response_content_bytes=None,
                end_reason="cut",
                fields_complete=False,
            ),
            exchange(
                1,
                **{**times(3, 3), "request_ended_at": None, "response_started_at": None, "response_ended_at": None},
                authority=None,
                status_code=None,
                request_content_bytes=None,
                response_content_bytes=None,
                end_reason="cut",
                fields_complete=False,
            ),
        ],
        [],
    ),
    "an early response is matched while the request goes on": (
        dialogue(
            client(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc"),
            server(HELLO),
            client(b"def" + GET),
            server(OK),
            *CLOSING,
        ),
        [
            exchange(
                0,
                **{**times(1, 2), "request_ended_at": 300, "last_packet": 3},
                request_method=b"POST",
                request_content_bytes=6,
                response_content_bytes=5,
            ),
            exchange(1, **times(3, 4)),
        ],
        [],
    ),
    "request targets in all forms": (
        dialogue(
            client(
                b"GET http://a.example:81/p?q HTTP/1.1\r\nHost: x\r\n\r\nOPTIONS http://b.example HTTP/1.1\r\nHost: x\r\n\r\n"
                b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\nGET https://c.example?q HTTP/1.1\r\nHost: x\r\n\r\n"
            ),
            server(OK * 4),
            *CLOSING,
        ),
        [
            exchange(0, **times(1, 2), scheme=b"http", authority=b"a.example:81", target=b"/p?q"),
            exchange(1, **times(1, 2), request_method=b"OPTIONS", scheme=b"http", authority=b"b.example", target=b"*"),
            exchange(2, **times(1, 2), request_method=b"OPTIONS", target=b"*"),
            exchange(3, **times(1, 2), scheme=b"https", authority=b"c.example", target=b"/?q"),
        ],
        [],
    ),
    "empty lines before messages and line feeds alone are tolerated": (
        dialogue(
            client(b"\r\n\r\n\nGET / HTTP/1.1\nHost: x\n\r\n\r\n" + GET),
            server(b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello" + OK),
            *CLOSING,
        ),
        [exchange(0, **times(1, 2), response_content_bytes=5), exchange(1, **times(1, 2))],
        ["bare_line_feed", "bare_line_feed"],
    ),
    "folded lines, whitespace and doubtful names are read and told": (
        dialogue(
            client(b"GET /a b HTTP/1.1\r\n junk: 1\r\nHost : x\r\nA: b\r\n\t c\r\nB@d: 1\r\nno colon\r\nNul: a\0b\r\n\r\n"),
            server(OK),
            *CLOSING,
        ),
        [exchange(0, **times(1, 2), target=b"/a b")],
        [
            "whitespace_before_first_field",
            "obsolete_line_folding",
            "invalid_request_line",
            "whitespace_before_colon",
            "invalid_field_name",
            "invalid_field_line",
            "invalid_field_value",
        ],
    ),
    "transfer-encoding wins over content-length": (
        dialogue(
            client(GET),
            server(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"),
            *CLOSING,
        ),
        [exchange(0, **times(1, 2), response_content_bytes=4)],
        ["content_length_with_transfer_encoding"],
    ),
    "a response whose last transfer coding is not chunked lasts until close": (
        dialogue(
            client(GET), server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nabc"), server(FIN), client(FIN)
        ),
        [exchange(0, **times(1, 2), response_content_bytes=None)],
        ["invalid_transfer_encoding"],
    ),
    "conflicting lengths lose the framing of their direction only": (
        dialogue(
            client(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc" + GET),
            server(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
            *CLOSING,
        ),
        [
            exchange(
                0,
                **{**times(1, 2), "request_ended_at": None},
                request_method=b"POST",
                status_code=400,
                error_type="400",
                request_content_bytes=None,
                end_reason="cut",
            )
        ],
        ["conflicting_content_length", "framing_lost"],
    ),
    "the same length twice is one length": (
        dialogue(client(GET), server(b"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc"), *CLOSING),
        [exchange(0, **times(1, 2), response_content_bytes=3)],
        ["repeated_content_length"],
    ),
    "HTTP/1.1 without Host": (
        dialogue(client(b"GET / HTTP/1.1\r\n\r\n"), server(OK), *CLOSING),
        [exchange(0, **times(1, 2), authority=None)],
        ["missing_host"],
    ),
    "a refused upgrade leaves HTTP/1": (
        dialogue(
            client(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
            server(OK),
            client(GET),
            server(OK),
            *CLOSING,
        ),
        [exchange(0, **times(1, 2)), exchange(1, **times(3, 4))],
        [],
    ),
    "a refused tunnel leaves HTTP/1": (
        dialogue(
            client(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"),
            server(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno"),
            client(GET),
            server(OK),
            *CLOSING,
        ),
        [
            exchange(
                0,
                **times(1, 2),
                request_method=b"CONNECT",
                authority=b"h:443",
                target=None,
                status_code=407,
                error_type="407",
                response_content_bytes=2,
            ),
            exchange(1, **times(3, 4)),
        ],
        [],
    ),
    "an upgrade to WebSocket is handed over with the bytes that follow": (
        dialogue(
            client(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"),
            server(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\nabc"
            ),
            client(b"def"),
            server(b"ghi"),
            *CLOSING,
        ),
        [exchange(0, **times(1, 2), status_code=101)],
        [],
    ),
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogue(name: str) -> None:
    events, expected, faults = DIALOGUES[name]
    rows = run(events)
    assert exchanges(rows) == expected
    assert anomalies(rows) == faults


@pytest.mark.parametrize("name", DIALOGUES)
def test_one_byte_at_a_time_and_following_change_no_row(name: str) -> None:
    events = DIALOGUES[name][0]
    whole = comparable(run(events))
    for chunk in (1, 2, 7):
        assert comparable(run(events, chunk=chunk)) == whole
        assert comparable(run(events, chunk=chunk, is_tapped=True)) == whole
    assert comparable(run(events, is_tapped=True)) == whole


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(DIALOGUES)), st.integers(1, 60), st.sampled_from(["hash", "store", "none"]), st.booleans())
def test_any_chunking_gives_the_same_rows(name: str, chunk: int, content: str, is_tapped: bool) -> None:
    events = DIALOGUES[name][0]
    assert comparable(run(events, content, chunk, is_tapped)) == comparable(run(events, content))


@pytest.mark.parametrize("name", [name for name in DIALOGUES if "expected 100" not in name and "refused" not in name])
def test_responses_delivered_before_their_requests_wait_for_them(name: str) -> None:
    events = DIALOGUES[name][0]
    late = [event for event in events if event.direction == TO_CLIENT] + [e for e in events if e.direction == TO_SERVER]
    early = [event for event in events if event.direction == TO_SERVER] + [e for e in events if e.direction == TO_CLIENT]
    expected = [replace(row, last_packet=None) for row in DIALOGUES[name][1]]
    assert [replace(row, last_packet=None) for row in exchanges(run(late))] == expected
    assert [replace(row, last_packet=None) for row in exchanges(run(early))] == expected


def calls_of(function: Callable[[], object]) -> int:
    """How many functions a call calls."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


def test_responses_that_wait_in_small_pieces_cost_no_more_with_every_request() -> None:
    response = b"HTTP/1.1 204 \r\n\r\n"

    def conversation(count: int) -> list[Any]:
        pieces = [server(response[start : start + 2]) for _ in range(count) for start in range(0, len(response), 2)]
        return run(dialogue(*pieces, *[client(GET)] * count, *CLOSING))

    rows = conversation(120)
    assert [row.end_reason for row in exchanges(rows)] == ["complete"] * 120
    assert anomalies(rows) == []
    assert calls_of(lambda: conversation(240)) < 3 * calls_of(lambda: conversation(120))


def test_too_many_pieces_that_wait_are_a_limit() -> None:
    pieces = [server(b"."[:1])] * (limits.HTTP1_HELD_PIECES + 1)
    rows = run(dialogue(server(HELLO.replace(b"5", b"9999")), *pieces, client(GET), *CLOSING))
    assert "limit" in anomalies(rows)


def test_a_response_captured_before_its_request_has_no_duration() -> None:
    events = [
        Event(TO_CLIENT, OK, 80, 1),
        Event(TO_SERVER, GET, 100, 2),
        Event(TO_SERVER, FIN, 300, 3),
        Event(TO_CLIENT, FIN, 400, 4),
    ]
    (row,) = exchanges(run(events))
    assert (row.request_started_at, row.response_ended_at, row.end_reason) == (100, 80, "complete")
    assert (row.duration_ns, row.time_to_first_byte_ns) == (None, None)


def test_sections_keep_names_as_sent_and_lines_share_objects() -> None:
    rows = run(DIALOGUES["informational responses come before the final one"][0])
    assert sections(rows) == [
        (0, "request", "header", [(b"Host", b"x"), (b"Expect", b"100-continue"), (b"Content-Length", b"4")]),
        (0, "response", "informational", [(b":status", b"100")]),
        (0, "response", "informational", [(b":status", b"103"), (b"Link", b"</a.css>")]),
        (0, "response", "header", [(b"Content-Length", b"0")]),
    ]
    rows = run(dialogue(client(GET + GET.replace(b"/ ", b"/two ")), server(OK + HELLO)))
    lines = [row.fields[0] for row in rows if isinstance(row, HttpFieldSectionRecord)]
    assert lines[0] is lines[1]


def test_trailers_are_a_section() -> None:
    rows = run(DIALOGUES["chunked content both ways, with extensions and trailers"][0])
    assert (0, "request", "trailer", [(b"Digest", b"1")]) in sections(rows)


def test_the_stream_counts_messages() -> None:
    rows = run(DIALOGUES["informational responses come before the final one"][0])
    (row,) = [row for row in rows if isinstance(row, StreamRecord)]
    assert (row.protocol, row.messages_to_server, row.messages_to_client, row.end_reason) == ("http1", 1, 3, "fin")


# --- switching protocols ---


def test_websocket_gets_what_was_negotiated_and_its_bytes() -> None:
    for chunk in (0, 1):
        rows = run(DIALOGUES["an upgrade to WebSocket is handed over with the bytes that follow"][0], chunk=chunk)
        ear = WebSocketEar.heard["ear"]
        assert ear.sides == [b"def", b"abcghi"]
        assert ear.facts == {"sec-websocket-extensions": "permessage-deflate", "sec-websocket-protocol": ""}
        child, root = [row for row in rows if isinstance(row, StreamRecord)]
        assert (child.stream_index, child.parent_index, child.protocol) == (1, 0, "websocket")
        assert (root.stream_index, root.protocol) == (0, "http1")


def test_an_upgrade_to_h2c_tells_the_request() -> None:
    request = b"POST /up?x HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 3\r\n\r\nab"
    rows = run(
        dialogue(
            client(request),
            server(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\nSETTINGS"),
            client(b"cPRI * HTTP/2.0"),
            *CLOSING,
        )
    )
    ear = Http2Ear.heard["ear"]
    assert ear.facts == {
        "upgrade_request_method": "POST",
        "upgrade_request_authority": "x",
        "upgrade_request_target": "/up?x",
        "upgrade_request_started_at": "100",
        "upgrade_request_ended_at": "300",
        "upgrade_request_content_bytes": "3",
        "upgrade_request_packet": "1",
        "http2-settings": "AAMAAABk",
    }
    assert ear.sides == [b"PRI * HTTP/2.0", b"SETTINGS"]
    assert sorted(ear.closed) == [TO_SERVER, TO_CLIENT]
    (row,) = exchanges(rows)
    assert (row.status_code, row.end_reason, row.request_content_bytes) == (101, "upgraded", 3)


def test_bytes_sent_into_a_tunnel_before_its_answer_belong_to_the_tunnel() -> None:
    rows = run(
        dialogue(
            client(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\nTUNNEL of "),
            client(b"love"),
            server(b"HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\nback"),
            *CLOSING,
        )
    )
    assert TunnelEar.heard["ear"].sides == [b"TUNNEL of love", b"back"]
    assert exchanges(rows) == [
        exchange(
            0,
            **times(1, 3),
            request_method=b"CONNECT",
            authority=b"h:443",
            target=None,
        )
    ]


def test_half_closed_before_the_upgrade_still_closes_the_child() -> None:
    rows = run(
        dialogue(
            client(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"),
            client(FIN),
            server(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
            server(FIN),
        )
    )
    assert WebSocketEar.heard["ear"].closed == [TO_SERVER, TO_CLIENT]
    assert len([row for row in rows if isinstance(row, StreamRecord)]) == 2


def test_requests_pipelined_behind_one_that_ended_http1_are_cut() -> None:
    upgrade = b"GET /b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"
    rows = run(
        dialogue(
            client(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" + upgrade + b"POST /c HTTP/1.1\r\n"),
            server(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nhello"),
            *CLOSING,
        )
    )
    assert [(row.target, row.status_code, row.end_reason) for row in exchanges(rows)] == [
        (b"/a", 101, "complete"),
        (b"/b", None, "cut"),
    ]
    assert anomalies(rows) == ["unrequested_upgrade"]
    assert WebSocketEar.heard["ear"].sides == [b"POST /c HTTP/1.1\r\n", b"hello"]


def test_what_is_pipelined_and_incomplete_when_http1_ends_is_cut() -> None:
    rows = run(
        dialogue(
            client(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPUT /b HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"),
            server(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
            *CLOSING,
        )
    )
    found = [(row.target, row.status_code, row.request_content_bytes, row.end_reason) for row in exchanges(rows)]
    assert found == [(b"/a", 101, 0, "complete"), (b"/b", None, None, "cut")]


@pytest.mark.parametrize(
    ("request_content", "required"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "a chunk size in hexadecimal"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc", "CR LF after a chunk's data"),
    ],
    ids=["chunk size", "chunk end"],
)
def test_the_answer_to_a_request_with_a_bad_chunk_is_read(request_content: bytes, required: str) -> None:
    rows = run(
        dialogue(
            client(b"POST /a HTTP/1.1\r\nHost: x\r\n" + request_content),
            server(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"),
            client(b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"),
            server(OK),
            *CLOSING,
        )
    )
    found = [(row.target, row.status_code, row.request_content_bytes, row.end_reason) for row in exchanges(rows)]
    assert found == [(b"/a", 400, None, "cut"), (None, 200, None, "no request")]
    (fault,) = [row for row in rows if isinstance(row, AnomalyRecord)]
    assert (fault.kind, fault.required, fault.direction) == ("protocol_error", required, "to_server")


def test_a_follower_sees_the_chunk_that_cannot_be_read() -> None:
    context = Context([Http1Dissector])
    paper = Paper()
    context.taps = {1: paper}
    stream = Stream(Scope(context, 1, "tcp", 80, roles_proven=True), name="http1")
    stream.feed(TO_SERVER, b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n", 1, 1, 1)
    shown = [(kind, data) for _, _, _, kind, data in paper.pieces if kind in ("content", "unknown")]
    assert shown == [("content", b"ab"), ("unknown", b"zz\r\n")]


@pytest.mark.parametrize("content", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"])
def test_what_follows_a_refused_connect_with_content_is_not_guessed(content: bytes) -> None:
    rows = run(
        dialogue(
            client(b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n" + content),
            server(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno"),
            client(b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"),
            server(OK),
            *CLOSING,
        )
    )
    found = [(row.request_method, row.status_code, row.request_content_bytes, row.end_reason) for row in exchanges(rows)]
    assert found == [(b"CONNECT", 407, None, "complete"), (None, 200, None, "no request")]
    assert anomalies(rows) == ["framing_lost"]


# --- holes ---

LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


def test_a_hole_in_content_of_known_length_is_stepped_over_exactly() -> None:
    for content in ("none", "hash"):
        rows = run(
            dialogue(
                client(GET),
                server(LONG + bytes(300)),
                server(400),
                server(bytes(300) + b"HTTP"),
                client(GET),
                server(OK[4:]),
                *CLOSING,
            ),
            content,
        )
        first, second = exchanges(rows)
        assert first == exchange(
            0,
            **{**times(1, 2), "response_ended_at": 400, "last_packet": 4},
            response_content_bytes=1000,
            response_missing_bytes=400,
        )
        assert second.end_reason == "complete"
        assert anomalies(rows) == []


def test_a_hole_up_to_the_end_of_content_leaves_its_time_unknown() -> None:
    rows = run(dialogue(client(GET), server(LONG), server(1000), client(GET), server(OK), *CLOSING))
    first, second = exchanges(rows)
    assert (first.end_reason, first.response_ended_at, first.duration_ns, first.response_content_bytes) == (
        "complete",
        None,
        None,
        1000,
    )
    assert second == exchange(1, **times(4, 5))


def test_a_hole_beyond_the_content_loses_the_framing() -> None:
    rows = run(dialogue(client(GET + GET), server(LONG), server(1001), server(OK), client(GET), *CLOSING))
    assert [(row.end_reason, row.status_code) for row in exchanges(rows)] == [("cut", 200), ("cut", None), ("cut", None)]
    assert exchanges(rows)[0].response_missing_bytes == 1000
    assert anomalies(rows) == ["framing_lost"]


def test_a_hole_in_chunk_data_is_stepped_over_and_one_elsewhere_is_not() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    rows = run(dialogue(client(GET), server(head + b"64\r\n" + bytes(50)), server(50), server(b"\r\n0\r\n\r\n"), *CLOSING))
    (row,) = exchanges(rows)
    assert (row.end_reason, row.response_content_bytes, row.response_missing_bytes) == ("complete", 100, 50)
    rows = run(dialogue(client(GET), server(head + b"64\r\n" + bytes(100)), server(2), server(b"0\r\n\r\n"), *CLOSING))
    (row,) = exchanges(rows)
    assert (row.end_reason, row.response_content_bytes, row.fields_complete) == ("cut", None, False)


def test_a_hole_in_content_until_close_is_counted_where_its_length_is_known() -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\nabc"
    for hole, size, missing in ((10, 16, 10), (None, None, 0)):
        rows = run(dialogue(client(GET), server(head), server(hole), server(b"def"), server(FIN), client(FIN)))
        (row,) = exchanges(rows)
        assert (row.end_reason, row.response_content_bytes, row.response_missing_bytes) == ("complete", size, missing)


def test_after_a_hole_in_the_requests_those_before_it_still_get_their_responses() -> None:
    rows = run(dialogue(client(GET + GET[:20]), client(30), client(GET), server(OK + OK + HELLO), *CLOSING))
    first, second, third = exchanges(rows)
    assert first == exchange(0, **times(1, 4))
    assert (second.target, second.status_code, second.end_reason, second.fields_complete) == (b"/", 200, "cut", False)
    assert (third.request_method, third.status_code, third.response_content_bytes, third.end_reason) == (
        None,
        200,
        5,
        "no request",
    )


def test_a_hole_between_requests_matches_no_later_response() -> None:
    rows = run(dialogue(client(GET), server(OK), client(len(GET)), client(GET), server(OK), server(HELLO), *CLOSING))
    assert [(row.request_method, row.end_reason) for row in exchanges(rows)] == [
        (b"GET", "complete"),
        (None, "no request"),
        (None, "no request"),
    ]


def test_a_response_to_an_unknown_request_may_be_one_to_head() -> None:
    rows = run(dialogue(client(None), server(None), server(HELLO[:-5] + OK), *CLOSING))
    (row,) = exchanges(rows)
    assert (row.end_reason, row.response_content_bytes, row.response_ended_at) == ("no request", None, None)
    assert anomalies(rows) == ["framing_lost"]


# --- starts in the middle ---


def test_a_response_before_the_first_witnessed_request_has_none() -> None:
    rows = run(dialogue(client(None), server(None), server(HELLO), client(GET), server(OK), *CLOSING))
    first, second = exchanges(rows)
    assert (first.end_reason, first.status_code, first.response_content_bytes) == ("no request", 200, 5)
    assert second == exchange(1, **times(4, 5))


def test_a_request_during_an_unseen_request_s_response_is_not_matched() -> None:
    rows = run(
        dialogue(
            client(None),
            server(None),
            server(HELLO[:-3]),
            client(GET),
            server(HELLO[-3:] + OK),
            client(GET),
            server(OK),
            *CLOSING,
        )
    )
    assert [(row.request_method, row.status_code, row.end_reason) for row in exchanges(rows)] == [
        (None, 200, "no request"),
        (b"GET", None, "unmatched"),
        (None, 200, "unmatched"),
        (b"GET", None, "unmatched"),
        (None, 200, "unmatched"),
    ]


def test_a_client_seen_to_pipeline_after_a_start_in_the_middle_is_not_matched() -> None:
    rows = run(dialogue(client(None), server(None), client(GET), client(GET), server(OK + OK + OK), *CLOSING))
    assert [(row.request_method, row.end_reason) for row in exchanges(rows)] == [
        (b"GET", "cut"),
        (b"GET", "cut"),
        (None, "unmatched"),
        (None, "unmatched"),
        (None, "unmatched"),
    ]


def test_a_response_behind_those_that_were_not_captured_is_matched_with_no_request_that_may_have_had_its_own() -> None:
    """As where packets are out of order: the client is there from its first byte on, the server from its second answer on."""
    rows = run(dialogue(client(GET), client(GET), server(None), server(OK), *CLOSING))
    assert [(row.request_method, row.status_code, row.end_reason) for row in exchanges(rows)] == [
        (b"GET", None, "cut"),
        (b"GET", None, "cut"),
        (None, 200, "unmatched"),
    ]
    (one,) = exchanges(run(dialogue(client(GET), server(None), server(OK), *CLOSING)))
    assert (one.request_method, one.status_code, one.end_reason) == (b"GET", 200, "complete")


def test_bytes_that_are_no_response_are_none_at_the_end_either() -> None:
    for chunk in (0, 1):
        rows = run(dialogue(client(GET), server(b"\0\0\6\4\0"), *CLOSING), chunk=chunk)
        assert [(row.status_code, row.response_started_at, row.end_reason) for row in exchanges(rows)] == [
            (None, None, "no response")
        ]
        (anomaly,) = [row for row in rows if isinstance(row, AnomalyRecord)]
        assert (anomaly.kind, anomaly.required, anomaly.found) == ("protocol_error", "a status line", "00 00 06 04")


def test_a_start_inside_content_is_not_read() -> None:
    rows = run(dialogue(client(None), server(None), server(b"some content\r\n\r\n" + OK), client(GET), server(OK), *CLOSING))
    assert [(row.request_method, row.end_reason) for row in exchanges(rows)] == [(b"GET", "cut")]
    assert anomalies(rows) == ["framing_lost"]


# --- waiting behind a hole ---


def test_bytes_that_waited_stall_their_exchange() -> None:
    steps = dialogue(client(GET), server(LONG + bytes(500)), server(bytes(500)), *CLOSING)
    steps[2] = dataclasses.replace(steps[2], waited=70)
    for content in ("none", "hash"):
        for chunk in (0, 10):
            rows = run(steps, content, chunk)
            assert exchanges(rows)[0].stalled_ns == 70
            assert [row.stalled_ns for row in rows if isinstance(row, StalledStreamRecord)] == [70]


def test_a_head_that_waited_stalls_its_exchange() -> None:
    steps = dialogue(client(GET), server(OK), *CLOSING)
    steps[1] = dataclasses.replace(steps[1], waited=30)
    for chunk in (0, 1):
        assert exchanges(run(steps, chunk=chunk))[0].stalled_ns == 30


# --- contents ---


def test_contents_are_decoded_hashed_and_kept_when_asked() -> None:
    coded = gzip.compress(b"hello world")
    response = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    response += b"%x\r\n%s\r\n0\r\n\r\n" % (len(coded), coded)
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
    events = dialogue(client(request), server(response), *CLOSING)
    for chunk in (0, 1, 5):
        rows = run(events, "store", chunk)
        (row,) = exchanges(rows)
        assert row.request_content_sha256 == hashlib.sha256(b"body").hexdigest()
        assert row.response_content_sha256 == hashlib.sha256(b"hello world").hexdigest()
        assert (row.content_encoding, row.content_type, row.response_content_bytes) == (b"gzip", b"text/plain", len(coded))
        assert [record for record in rows if isinstance(record, HttpContentRecord)] == [
            HttpContentRecord(1, 0, 0, "request", b"body", True, True),
            HttpContentRecord(1, 0, 0, "response", b"hello world", True, True),
        ]
    assert not [record for record in run(events, "hash") if isinstance(record, HttpContentRecord)]


def test_transfer_codings_below_chunked_are_undone_too() -> None:
    coded = gzip.compress(b"hello")
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(coded), coded)
    (row,) = exchanges(run(dialogue(client(GET), server(response), *CLOSING), "hash"))
    assert row.response_content_sha256 == hashlib.sha256(b"hello").hexdigest()
    assert row.response_content_bytes is None


def test_a_broken_coding_is_told() -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    rows = run(dialogue(client(GET), server(response), *CLOSING), "hash")
    assert anomalies(rows) == ["content_coding"]
    assert exchanges(rows)[0].response_content_sha256 is None


# --- faults and limits ---


@pytest.mark.parametrize(
    ("to_server", "to_client", "section"),
    [
        (b"GET /\r\n\r\n", b"", "RFC 9112 section 3"),
        (b"G@T / HTTP/1.1\r\n\r\n", b"", "RFC 9112 section 3"),
        (GET, b"HTTP/2.0 200 OK\r\n\r\n", "RFC 9112 section 4"),
        (GET, b"HTTP/1.1 20 OK\r\n\r\n", "RFC 9112 section 4"),
        (GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "RFC 9112 section 7.1"),
        (GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000000\r\n", "RFC 9112 section 7.1"),
        (GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "RFC 9112 section 7.1"),
    ],
)
def test_bytes_that_cannot_be_read_are_a_protocol_error(to_server: bytes, to_client: bytes, section: str) -> None:
    for chunk in (0, 1):
        rows = run(dialogue(client(to_server), server(to_client), *CLOSING), chunk=chunk)
        (anomaly,) = [row for row in rows if isinstance(row, AnomalyRecord)]
        assert (anomaly.kind, anomaly.section) == ("protocol_error", section)
        assert [row.end_reason for row in exchanges(rows)] == ["cut" if to_client else "malformed"]


@pytest.mark.parametrize(
    ("to_server", "to_client", "said"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer SECRET\r\n\r\n", OK, "Authorization: a name of 14 bytes"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nCookie\0SECRET: SECRET\r\n\r\n", OK, "Cookie: a name of 13 bytes, a value of 6 bytes"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Api-Key: \0SECRET\r\n\r\n", OK, "X-Api-Key: a name of 9 bytes, a value of 7 bytes"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Api-Key:\r\n SECRET\r\n\r\n", OK, "X-Api-Key: a name of 9 bytes, a value of 6 bytes"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nProxy-Authorization Basic SECRET\r\n\r\n", OK, "32 bytes"),
        (b"GET / HTTP/1.1\r\n SECRET\r\nHost: x\r\n\r\n", OK, "7 bytes"),
        (b"GET  /?key=SECRET HTTP/1.1\r\nHost: x\r\n\r\n", OK, "GET, 26 bytes"),
        (b"GET SECRET HTTP/1.1\r\nHost: x\r\n\r\n", OK, "6 bytes"),
        (b"CONNECT /SECRET HTTP/1.1\r\nHost: x\r\n\r\n", OK, "7 bytes"),
        (b"GET /SECRET\r\n\r\n", OK, "GET, 11 bytes"),
        (b"SECRET GET /\r\n\r\n", OK, "12 bytes"),
        (GET, b"SECRET\r\n\r\n", "6 bytes"),
        (GET, b"HTTP/1.1 200 OK\r\nContent-Length: SECRET\r\n\r\n", "6 bytes"),
        (GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, SECRET\r\n\r\n", "2 codings, chunked 1 times"),
        (GET, b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: SECRET\r\n\r\n", "1 codings, chunked 0 times"),
        (GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nSECRET\r\n", "6 bytes"),
        (GET, b"HTTP/1.1 200 OK\r\nContent-Encoding: SECRET\r\nContent-Length: 1\r\n\r\n.", "an unknown content coding"),
    ],
)
def test_the_text_of_a_fault_has_sizes_and_no_value(to_server: bytes, to_client: bytes, said: str) -> None:
    rows = run(dialogue(client(to_server), server(to_client), *CLOSING), "hash")
    texts = [f"{row.required} {row.found}" for row in rows if isinstance(row, AnomalyRecord)]
    assert any(said in text for text in texts), texts
    assert "SECRET" not in "".join(texts).upper()


def test_a_request_that_cannot_be_read_still_gets_its_response() -> None:
    bad_request = b"HTTP/1.0 400 Bad Request\r\nContent-Length: 5\r\n\r\nwhat?"
    rows = run(dialogue(client(b"GET /x\r\n\r\n"), server(bad_request), *CLOSING))
    assert exchanges(rows) == [
        exchange(
            0,
            **{**times(1, 2), "request_ended_at": None},
            http_version=None,
            request_method=b"GET",
            authority=None,
            target=None,
            status_code=400,
            error_type="400",
            request_content_bytes=None,
            response_content_bytes=5,
            fields_complete=False,
            end_reason="malformed",
        )
    ]
    assert anomalies(rows) == ["protocol_error"]


@pytest.mark.parametrize("first", [b"CCM_POST / HTTP/1.\nHost: x\n\n", b"\xc3\x83/HTTP/1.1\n\n", b"\x16\x03\x01\n\n"])
def test_what_no_protocol_begins_with_is_http_where_the_server_says_so(first: bytes) -> None:
    bad_request = b"HTTP/1.0 400 Bad Request\r\nContent-Length: 5\r\n\r\nwhat?"
    events = dialogue(client(first), server(bad_request), *CLOSING)
    for chunk in (0, 1):
        rows = run(events, chunk=chunk, name=None)
        assert [(row.status_code, row.request_method, row.end_reason) for row in exchanges(rows)] == [(400, None, "malformed")]
        assert anomalies(rows) == ["protocol_error"]
    assert anomalies(run(dialogue(client(first), server(b"?" * 20), *CLOSING), name=None)) == ["not_understood"]


@pytest.mark.parametrize(
    ("target", "authority", "is_fault"),
    [
        (b"h:443", b"h:443", False),
        (b"[::1]:443", b"[::1]:443", False),
        (b"h", b"h", True),
        (b"h:", b"h:", True),
        (b"user:secret@h:443", b"user:secret@h:443", True),
        (b"/", None, True),
        (b"*", None, True),
        (b":443", None, True),
        (b"::1", None, True),
        (b"h:https", None, True),
        (b"https://h:443/", None, True),
    ],
)
def test_the_target_of_connect_is_an_authority_or_a_fault(target: bytes, authority: bytes | None, is_fault: bool) -> None:
    rows = run(dialogue(client(b"CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n" % target), server(OK.replace(b"200", b"400")), *CLOSING))
    (row,) = exchanges(rows)
    assert (row.authority, row.target) == (authority, None if authority else target)
    found = [(row.kind, row.section) for row in rows if isinstance(row, AnomalyRecord)]
    assert found == ([("invalid_request_target", "RFC 9112 section 3.2.3")] if is_fault else [])


def test_first_and_last_packet_are_the_lowest_and_highest_of_the_exchange() -> None:
    """The request was recorded after its response, the middle of a head and of chunked content after what follows it."""
    get = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    found = []
    for packets in ((9, 4, 5), (4, 9, 5), (6, 9, 4), (5, 4, 9)):
        cuts = [get[:30], get[30:70], get[70:]]
        events = [Event(TO_SERVER, cut, 100 * packet, packet) for cut, packet in zip(cuts, packets, strict=True)]
        rows = run([*events, Event(TO_CLIENT, OK, 700, 7), Event(TO_SERVER, FIN, 2000, 20), Event(TO_CLIENT, FIN, 2100, 21)])
        found += [(row.first_packet, row.last_packet) for row in exchanges(rows)]
        found += [(row.first_packet, row.last_packet) for row in rows if isinstance(row, StreamRecord)]
    assert found == [(4, 9)] * 8


def test_endless_heads_lines_and_pipelines_reach_a_limit() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    many_lines = b"A: a\r\n" * (limits.HTTP1_SECTION_LINES + 1) + b"\r\n"
    for to_server, to_client in (
        (b"GET / HTTP/1.1\r\nA: " + b"a" * limits.HTTP1_SECTION_BYTES, b""),
        (b"GET /" + b"a" * limits.HTTP1_START_LINE_BYTES + b" HTTP/1.1\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\n" + many_lines, b""),
        (GET, chunked + b"1;" + b"x" * limits.HTTP1_CHUNK_LINE_BYTES),
        (GET, chunked + b"0\r\n" + many_lines),
        (GET * (limits.HTTP1_OUTSTANDING + 10), b""),
    ):
        for chunk in (0, 100, 1460):
            rows = run(dialogue(client(to_server), server(to_client), *CLOSING), chunk=chunk)
            assert anomalies(rows) == ["limit"]
            assert {row.end_reason for row in exchanges(rows)} <= {"cut", "no response"}


def test_a_side_whose_other_side_is_not_captured_is_read_all_the_same() -> None:
    count = limits.HTTP1_HELD_BYTES // len(HELLO) + 100
    rows = run(dialogue(*[server(HELLO)] * count, *CLOSING))
    assert [(row.end_reason, row.response_content_bytes) for row in exchanges(rows)] == [("no request", 5)] * count
    assert anomalies(rows) == ["limit"]
    upgrade = client(GET.replace(b"Host", b"Upgrade: a\r\nHost"))
    rows = run(dialogue(upgrade, *[client(bytes(1000))] * (limits.HTTP1_HELD_BYTES // 1000 + 1), server(HELLO), *CLOSING))
    assert [(row.end_reason, row.status_code) for row in exchanges(rows)] == [("complete", 200)]
    assert anomalies(rows) == ["limit"]


PIECES: list[Happening] = [
    *(GET, OK, HELLO, LONG, GET[:9], OK[:30], b"\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", None, 1, 5, 400, FIN, RESET),
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 100 C\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nUpgrade: h2c\r\nContent-Length: 9\r\n\r\n",
]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(BOTH),
            st.one_of(
                st.sampled_from(PIECES),
                st.binary(min_size=1, max_size=20),
            ),
        ),
        max_size=12,
    ),
    st.integers(1, 40),
)
def test_any_conversation_ends_in_consistent_rows_whatever_the_chunking(steps: list[Any], chunk: int) -> None:
    closed: set[int] = set()
    allowed = []
    for direction, what in steps:
        if direction not in closed:
            allowed.append((direction, what))
        if isinstance(what, CloseReason):
            closed.add(direction)
    events = dialogue(*allowed, client(CAPTURE_END), server(CAPTURE_END))
    rows = run(events)
    assert "dissector_error" not in anomalies(rows)
    found = [row for row in exchanges(rows) if row.stream_index == 0]
    assert [row.exchange_index for row in found] == list(range(len(found)))
    assert comparable(run(events, chunk=chunk)) == comparable(rows)
    assert comparable(run(events, chunk=chunk, is_tapped=True)) == comparable(rows)


# --- probing ---


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (b"", b"", Match.MAYBE),
        (b"GE", b"", Match.MAYBE),
        (b"GET /index.html HT", b"", Match.MAYBE),
        (GET, b"", Match.YES),
        (b"\r\nFROB /x HTTP/1.0\r\n", b"", Match.YES),
        (b"GET /" + b"a" * 3000, b"", Match.YES),
        (b"", OK, Match.YES),
        (b"", b"HTTP/1.1 2", Match.MAYBE),
        (b"\x00\x01\x02", OK, Match.YES),
        (b"\x16\x03\x01", b"", Match.MAYBE),
        (b"\x16\x03\x01", b"\x16\x03\x03", Match.NO),
        (b"\x16\x03\x01", b"HTTP/1.1 400 Bad Request\r\n", Match.YES),
        (b"OPTIONS rtsp://h/s RTSP/1.0\r\n", b"", Match.MAYBE),
        (b"OPTIONS rtsp://h/s RTSP/1.0\r\n", b"RTSP/1.0 200 OK\r\n", Match.NO),
        (b"REGISTER sip:h SIP/2.0\r\n", b"SIP/2.0 200 OK\r\n", Match.NO),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\4\0\0\0\0\0", Match.NO),
        (b"CCM_POST / HTTP/1.\n", b"", Match.MAYBE),
        (b"CCM_POST / HTTP/1.\n", b"HTTP/1.1 405 Method Not Allowed\r\n", Match.YES),
        (b"CCM_POST / HTTP/1.\n", b"HTTP", Match.MAYBE),
        (b"USER anonymous\r\n", b"220 ready\r\n", Match.NO),
        (b"", b"220 ready\r\n", Match.MAYBE),
        (b"", b"HTTP/2.0 200 OK\r\n", Match.MAYBE),
        (b"", GET, Match.NO),
        (GET, b"220 ready\r\n", Match.YES),
        (GET, b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64", Match.YES),
        (b"GET /\r\n", b"", Match.MAYBE),
        (b"GET /\r\n", b"<html>", Match.NO),
        (b"OPTIONSHTTP/1.1\r\n", b"HTTP/1.0 400 Bad Request\r\n", Match.YES),
        (OK, GET, Match.NO),
    ],
)
def test_probe(first: bytes, second: bytes, verdict: Match) -> None:
    assert Http1Dissector.probe(first, second) is verdict


@pytest.mark.parametrize("waiting", [1, 2])
def test_a_hole_that_may_hold_the_first_responses_leaves_the_requests_before_it_without_one(waiting: int) -> None:
    steps = [client(GET)] * waiting + [server(len(HELLO)), server(HELLO), client(GET), server(HELLO), *CLOSING]
    found = [row for row in run(dialogue(*steps)) if isinstance(row, HttpExchangeRecord)]
    pairs = sorted((row.exchange_index, row.request_started_at, row.response_started_at) for row in found)
    last = 100 * (waiting + 3)
    if waiting == 1:  # the client waits for its responses, so the last one is known
        assert pairs == [(0, 100, None), (1, None, 300), (2, last, last + 100)]
    else:
        assert [pair for pair in pairs if None not in pair] == []


def test_a_request_sent_after_a_hole_that_may_hold_the_first_responses_is_matched() -> None:
    events = dialogue(client(GET), client(GET), server(len(HELLO)), server(HELLO), *CLOSING)
    events[2] = Event(TO_CLIENT, len(HELLO), 150, 3)  # the hole was decided on late
    found = [row for row in run(events) if isinstance(row, HttpExchangeRecord)]
    assert sorted((row.exchange_index, row.status_code) for row in found) == [(0, None), (1, 200)]


def test_a_hole_where_a_request_to_switch_protocols_was_answered_leaves_everything_after_it_unknown() -> None:
    connect = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"
    found = run(dialogue(client(connect), server(40), client(GET), server(HELLO), *CLOSING))
    (row,) = (row for row in found if isinstance(row, HttpExchangeRecord))
    assert (row.request_method, row.status_code, row.end_reason) == (b"CONNECT", None, "cut")


def test_what_follows_a_response_without_its_request_until_the_end_may_be_a_tunnel_and_is_no_content() -> None:
    established = b"HTTP/1.0 200 Connection established\r\n\r\n"
    found = run(dialogue(client(60), server(established), server(b"TUNNEL"), *CLOSING), "store")
    (row,) = (row for row in found if isinstance(row, HttpExchangeRecord) and row.status_code is not None)
    assert (row.status_code, row.response_content_bytes) == (200, None)
    assert [row for row in found if type(row).__name__ == "HttpContentRecord"] == []


def test_a_request_behind_a_hole_that_may_hold_requests_is_matched_only_after_a_response() -> None:
    found = run(dialogue(client(60), client(GET), server(HELLO), server(HELLO), *CLOSING))
    assert [(row.target, row.status_code) for row in found if isinstance(row, HttpExchangeRecord) and row.target] == [
        (b"/", None)
    ]
    found = run(dialogue(client(60), server(HELLO), client(GET), server(HELLO), *CLOSING))
    assert [(row.target, row.status_code) for row in found if isinstance(row, HttpExchangeRecord) and row.target] == [(b"/", 200)]


def test_the_end_of_content_and_the_method_behind_it_are_no_method() -> None:
    found = run(dialogue(client(None), client(b"fff" + GET), server(HELLO), *CLOSING))
    assert [row.request_method for row in found if isinstance(row, HttpExchangeRecord)] == [None]


# --- beginnings that were not captured ---

UNSEEN = (client(None), server(None))
ARCHIVED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\r\n\r\nWARC/1.0\r\nWARC-Type: response\r\n\r\n"


@pytest.mark.parametrize(
    "steps",
    [
        [client(GET + b"--boundary--\r\n"), server(OK)],
        [client(GET), client(b"--boundary--\r\n"), server(OK)],
        [client(GET.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n")), server(OK)],
        [client(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"), client(CAPTURE_END), server(CAPTURE_END)],
        [client(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"), client(10), client(GET), server(OK)],
        [server(ARCHIVED)],
        [server(ARCHIVED), client(GET), server(OK)],
        [server(b"HTTP/1.1 200 OK\r\n\r\nuntil the connection closes")],
        [server(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05hello")],
        [server(LONG + bytes(900)), server(CAPTURE_END)],
    ],
)
@pytest.mark.parametrize("content", ["none", "store"])
def test_http_inside_content_where_the_capture_begins_is_not_told(steps: "list[tuple[int, Happening]]", content: str) -> None:
    closed = [] if any(isinstance(what, CloseReason) for _, what in steps[-2:]) else list(CLOSING)
    for chunk in (0, 1, 7):
        rows = run(dialogue(*UNSEEN, *steps, *closed), content, chunk)
        assert [row for row in rows if not isinstance(row, StreamRecord | AnomalyRecord)] == []
        assert "framing_lost" in anomalies(rows)
        assert [row.stream_index for row in rows if isinstance(row, StreamRecord)] in ([], [0])


@pytest.mark.parametrize(
    "first",
    [
        b"f" * 20 + GET,
        b"f" * 20,
        b"\r\n" + GET,
        b"0\r\n\r\n" + GET,
        GET.replace(b"GET", b"FETCH"),
        GET.replace(b"GET", b"get"),
        GET.replace(b"Host", b"Most"),
        GET.replace(b" HTTP", b"  HTTP"),
    ],
)
def test_a_first_message_that_is_not_beyond_doubt_is_not_read_and_the_other_direction_is(first: bytes) -> None:
    for chunk in (0, 1):
        rows = run(dialogue(*UNSEEN, client(first), client(GET), server(HELLO), client(GET), server(OK), *CLOSING), chunk=chunk)
        assert [(row.request_method, row.status_code) for row in exchanges(rows)] == [(None, 200), (None, 200)]
        assert anomalies(rows) == ["framing_lost"]


def test_a_first_message_is_told_once_what_follows_has_proved_it() -> None:
    context = Context([Http1Dissector])
    stream = Stream(Scope(context, 1, "tcp", 80, roles_proven=True), name="http1")
    for direction in BOTH:
        stream.gap(direction, None, None, 50, 1)
    assert stream.feed(TO_SERVER, GET, 100, 100, 1) == []
    told = stream.feed(TO_CLIENT, HELLO[:1], 200, 200, 2)  # the client had said all it had to say
    assert [row.side for row in told if isinstance(row, HttpFieldSectionRecord)] == ["request"]
    told = stream.feed(TO_CLIENT, HELLO[1:], 200, 200, 2)  # it answers a request that is proved
    assert [row.end_reason for row in told if isinstance(row, HttpExchangeRecord)] == ["complete"]


def test_equal_lines_of_all_connections_are_one_object() -> None:
    context = Context([Http1Dissector])
    lines = []
    for connection_id in (1, 2):
        stream = Stream(Scope(context, connection_id, "tcp", 80, roles_proven=True), name="http1")
        lines += [row.fields[0] for row in stream.feed(TO_SERVER, GET, 100, 100, 1) if isinstance(row, HttpFieldSectionRecord)]
    assert lines[0] is lines[1]
    number = limits.HTTP1_CACHED_LINES + 10
    stream = Stream(Scope(context, 3, "tcp", 80, roles_proven=True), name="http1")
    for at in range(number):
        stream.feed(TO_SERVER, GET.replace(b"x\r\n", b"x%d\r\n" % at), 100, 100, 1)
        stream.feed(TO_CLIENT, OK, 200, 200, 2)
    assert 0 < len(context.field_lines) <= limits.HTTP1_CACHED_LINES


@pytest.mark.parametrize(
    "steps",
    [
        [client(60), server(HELLO[:-2]), client(GET), client(60), server(HELLO[-2:]), *CLOSING],
        [client(GET), client(GET), server(None), server(OK), server(60), *CLOSING],
        [server(None), server(LONG), client(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"), server(None), *CLOSING],
    ],
)
def test_what_a_witnessed_side_has_begun_has_a_row_though_the_other_side_is_not_believed(
    steps: list[tuple[int, Happening]],
) -> None:
    rows = run(dialogue(*steps))
    indices = [row.exchange_index for row in exchanges(rows)]
    assert indices == list(range(len(indices)))
    assert {row.exchange_index for row in rows if isinstance(row, HttpFieldSectionRecord)} <= set(indices)
