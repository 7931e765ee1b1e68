"""HTTP/2: dialogues of frames, and the rows they must give."""

import hashlib
import json
import re
import zlib
from pathlib import Path

import hpack
import pytest

import analyzer
from analyzer import limits
from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Context, Facts, Match
from analyzer.http.semantics import HttpContentRecord, HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.protocols.http1 import Http1Dissector
from analyzer.protocols.http2 import Http2ConnectionRecord, Http2Dissector, Http2FrameRecord
from analyzer.protocols.websocket import WebSocketDissector, WebSocketMessageRecord
from analyzer.records import AnomalyRecord, Rows, StalledStreamRecord, StallRecord, StreamRecord
from analyzer.scope import Scope
from analyzer.stream import Stream

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
Fields = list[tuple[str, str]]


def frame(kind: int, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def settings(**values: int) -> bytes:
    numbers = {"table": 1, "push": 2, "streams": 3, "window": 4, "frame": 5, "connect": 8}
    return frame(
        SETTINGS, payload=b"".join(numbers[name].to_bytes(2, "big") + n.to_bytes(4, "big") for name, n in values.items())
    )


def update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, stream_id=stream_id, payload=increment.to_bytes(4, "big"))


def reset(stream_id: int, code: int) -> bytes:
    return frame(RST_STREAM, stream_id=stream_id, payload=code.to_bytes(4, "big"))


class Conversation:
    """A stream that is fed frame by frame; each call is a packet of its own, 10 ns after the one before."""

    def __init__(self, content: str = "preview", facts: Facts | None = None, *, frames: bool = False, start: bool = True) -> None:
        context = Context([Http2Dissector, WebSocketDissector, Http1Dissector], content, frames)
        self.heard: list[tuple[int, int, str, bytes]] = []
        self.stream = Stream(Scope(context, 7, "tcp", 80, True), None, "http2", None, facts)
        self.encoders = (hpack.Encoder(), hpack.Encoder())
        self.rows: Rows = []
        self.now = 0
        self.packet = 0
        if start:
            self.send(TO_SERVER, PREFACE + settings() + frame(SETTINGS, ACK))
            self.send(TO_CLIENT, settings() + frame(SETTINGS, ACK))

    def send(self, direction: int, data: bytes, wait: int = 0) -> None:
        self.packet += 1
        self.now += 10
        self.rows += self.stream.feed(direction, data, self.now, self.now + wait, self.packet)

    def miss(self, direction: int, length: int | None) -> None:
        self.packet += 1
        self.now += 10
        self.rows += self.stream.gap(direction, length, None, self.now, self.packet)

    def fields(
        self, direction: int, stream_id: int, fields: Fields, *, end: bool = False, kind: int = HEADERS, promised: int = 0
    ) -> bytes:
        block = self.encoders[direction].encode(fields)
        head = promised.to_bytes(4, "big") if kind == PUSH_PROMISE else b""
        return frame(kind, END_HEADERS | (END_STREAM if end else 0), stream_id, head + block)

    def request(
        self, stream_id: int, path: str = "/", method: str = "GET", more: Fields | None = None, *, end: bool = True
    ) -> bytes:
        base = [(":method", method), (":scheme", "http"), (":authority", "x"), (":path", path)]
        return self.fields(TO_SERVER, stream_id, base + (more or []), end=end)

    def response(self, stream_id: int, status: int = 200, more: Fields | None = None, *, end: bool = False) -> bytes:
        return self.fields(TO_CLIENT, stream_id, [(":status", str(status)), *(more or [])], end=end)

    def finish(self, reason: CloseReason = CloseReason.FIN) -> Rows:
        for direction in (TO_SERVER, TO_CLIENT):
            self.rows += self.stream.close(direction, reason, self.now, self.packet)
        self.rows += self.stream.scope.finish()
        return self.rows

    def of(self, kind: type) -> list[object]:
        return [row for row in self.rows if type(row) is kind]

    def exchange(self, stream_index: int) -> HttpExchangeRecord:
        (row,) = [row for row in self.rows if isinstance(row, HttpExchangeRecord) and row.stream_index == stream_index]
        return row

    def sections(self) -> list[tuple[int, str, str, list[tuple[str | None, str | None]]]]:
        return [
            (
                row.stream_index,
                row.side,
                row.section,
                [(line.name and line.name.decode(), line.value and line.value.decode()) for line in row.fields],
            )
            for row in self.rows
            if isinstance(row, HttpFieldSectionRecord)
        ]

    def faults(self) -> list[tuple[str, str | None]]:
        return [(row.kind, row.section) for row in self.rows if isinstance(row, AnomalyRecord)]


def test_a_request_and_its_response_give_whole_rows() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1, "/form?a=b", "POST", [("content-type", "text/plain")], end=False))
    it.send(TO_SERVER, frame(DATA, END_STREAM | PADDED, 1, b"\x03hello\0\0\0"))
    it.send(TO_CLIENT, it.response(1, 103, [("link", "</style.css>")]))
    it.send(TO_CLIENT, it.response(1, 404, [("content-type", "text/html"), ("content-encoding", "br")]))
    it.send(TO_CLIENT, frame(DATA, 0, 1, b"not ") + frame(DATA, 0, 1, b"here"))
    it.send(TO_CLIENT, it.fields(TO_CLIENT, 1, [("checksum", "1")], end=True))
    it.finish()
    assert it.exchange(1) == HttpExchangeRecord(
        connection_id=7,
        stream_index=1,
        exchange_index=0,
        http_version="2",
        request_method=b"POST",
        scheme=b"http",
        authority=b"x",
        target=b"/form?a=b",
        status_code=404,
        request_started_at=30,
        request_ended_at=40,
        response_started_at=60,
        response_ended_at=80,
        duration_ns=50,
        time_to_first_byte_ns=30,
        stalled_ns=0,
        request_missing_bytes=0,
        response_missing_bytes=0,
        request_content_bytes=5,
        response_content_bytes=8,
        content_encoding=b"br",
        content_type=b"text/html",
        request_content_sha256=None,
        response_content_sha256=None,
        fields_complete=True,
        end_reason="complete",
        reset_code=None,
        error_type="404",
        first_packet=3,
        last_packet=8,
    )
    stream = next(row for row in it.rows if isinstance(row, StreamRecord) and row.stream_index == 1)
    assert (stream.parent_index, stream.depth, stream.protocol, stream.protocol_stream_id) == (0, 1, "http2", "1")
    assert (stream.started_at, stream.ended_at, stream.messages_to_server, stream.messages_to_client) == (30, 80, 1, 1)
    assert (stream.end_reason, stream.first_packet, stream.last_packet) == ("complete", 3, 8)
    assert it.sections() == [
        (
            1,
            "request",
            "header",
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "x"),
                (":path", "/form?a=b"),
                ("content-type", "text/plain"),
            ],
        ),
        (1, "response", "informational", [(":status", "103"), ("link", "</style.css>")]),
        (1, "response", "header", [(":status", "404"), ("content-type", "text/html"), ("content-encoding", "br")]),
        (1, "response", "trailer", [("checksum", "1")]),
    ]
    assert it.faults() == []


def test_lines_of_the_tables_are_shared_and_say_where_they_come_from() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1, "/a") + it.request(3, "/a"))
    it.finish()
    first, second = [row.fields for row in it.rows if isinstance(row, HttpFieldSectionRecord)]
    assert [line.provenance for line in first] == ["static", "static", "witnessed", "witnessed"]
    assert all(one is other for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("step", [1, 8, 13, 100, 1000])
@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP/1.1 400 Bad Request"),
        (b"HTTP/1.0 505 \n", "HTTP/1.0 505 "),
        (b"HTTP/1.1 400 " + b"x" * 300 + b"\r\n", "HTTP/1.1 400 " + "x" * 51 + "\\+192"),
    ],
    ids=["usual", "without a reason", "long"],
)
def test_a_server_that_answers_in_http1_is_quoted_however_its_bytes_come(line: bytes, said: str, step: int) -> None:
    told = Conversation(start=False)
    told.send(TO_SERVER, PREFACE + settings() + told.request(1))
    answer = line + b"Connection: close\r\n\r\n<html>no</html>"
    for begin in range(0, len(answer), step):
        told.send(TO_CLIENT, answer[begin : begin + step])
    told.finish()
    (fault,) = (row for row in told.rows if isinstance(row, AnomalyRecord))
    assert (fault.kind, fault.direction, fault.packet, fault.required) == (
        "framing_lost",
        "to_client",
        2,
        "the connection preface",
    )
    assert fault.found == f"an HTTP/1 response: {said}"
    (connection,) = told.of(Http2ConnectionRecord)
    assert isinstance(connection, Http2ConnectionRecord)
    assert connection.unread_to_client_bytes == len(answer)


def test_interleaved_responses_are_matched_by_stream() -> None:
    it = Conversation()
    it.send(TO_SERVER, b"".join(it.request(number, f"/{number}") for number in (1, 3, 5)))
    it.send(TO_CLIENT, it.response(5) + it.response(1, 201) + frame(DATA, 0, 5, b"55"))
    it.send(TO_CLIENT, frame(DATA, END_STREAM, 1, b"1") + it.response(3, 202, end=True) + frame(DATA, END_STREAM, 5, b"5"))
    it.finish()
    assert [(row.target, row.status_code, row.response_content_bytes) for row in map(it.exchange, (1, 2, 3))] == [
        (b"/1", 201, 1),
        (b"/3", 202, 0),
        (b"/5", 200, 3),
    ]


def test_a_response_that_is_delivered_before_its_request_is_matched_with_it() -> None:
    it = Conversation()
    it.send(TO_CLIENT, it.response(1, end=True) + it.response(3, 201, end=True))
    it.send(TO_SERVER, it.request(1, "/1") + it.request(3, "/3"))
    assert it.exchange(1).target == b"/1"
    assert (it.exchange(2).target, it.exchange(2).status_code, it.exchange(2).end_reason) == (b"/3", 201, "complete")


def test_a_pushed_response_has_an_exchange_of_its_own() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1))
    promise = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/style.css")]
    it.send(TO_CLIENT, it.fields(TO_CLIENT, 1, promise, kind=PUSH_PROMISE, promised=2))
    it.send(TO_CLIENT, it.response(1, end=True) + it.response(2, 304, end=True))
    it.finish()
    pushed = it.exchange(2)
    assert (pushed.target, pushed.status_code, pushed.request_started_at, pushed.response_started_at) == (
        b"/style.css",
        304,
        40,
        50,
    )
    assert it.sections()[1] == (2, "request", "push", promise)
    (connection,) = it.of(Http2ConnectionRecord)
    assert isinstance(connection, Http2ConnectionRecord)
    assert (connection.streams_opened_by_client, connection.streams_opened_by_server, connection.max_open_streams) == (1, 1, 2)


def test_a_reset_says_its_code_by_name_and_what_crossed_it_still_counts() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1) + it.request(3) + it.request(5))
    it.send(TO_SERVER, reset(1, 8))
    it.send(TO_CLIENT, it.response(1) + frame(DATA, 0, 1, b"too late"))
    it.send(TO_CLIENT, it.response(3) + reset(3, 2) + reset(5, 7))
    it.finish()
    rows = [it.exchange(index) for index in (1, 2, 3)]
    assert [(row.end_reason, row.reset_code, row.error_type, row.status_code) for row in rows] == [
        ("reset", "CANCEL", "CANCEL", 200),
        ("reset", "INTERNAL_ERROR", "INTERNAL_ERROR", 200),
        ("reset", "REFUSED_STREAM", "REFUSED_STREAM", None),
    ]


def test_a_response_that_crosses_a_reset_is_complete_and_the_code_is_kept() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1) + it.request(3, end=False) + it.request(5) + reset(1, 8))
    it.send(TO_CLIENT, it.response(1) + frame(DATA, END_STREAM, 1, b"too late"))
    it.send(TO_CLIENT, it.response(3, 413, end=True) + reset(3, 0) + it.response(5, end=True))
    it.finish()
    rows = [it.exchange(index) for index in (1, 2, 3)]
    assert [(row.end_reason, row.reset_code, row.error_type) for row in rows] == [
        ("complete", "CANCEL", None),
        ("complete", "NO_ERROR", "413"),
        ("complete", None, None),
    ]


def test_goaway_ends_the_streams_it_does_not_process() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1) + it.request(3))
    it.send(TO_CLIENT, frame(GOAWAY, payload=b"\0\0\0\x01\0\0\0\x0bcalm down"))
    it.send(TO_CLIENT, it.response(1, end=True))
    it.finish()
    assert (it.exchange(1).end_reason, it.exchange(1).reset_code) == ("complete", None)
    assert (it.exchange(2).end_reason, it.exchange(2).reset_code) == ("reset", "ENHANCE_YOUR_CALM")
    (connection,) = it.of(Http2ConnectionRecord)
    assert isinstance(connection, Http2ConnectionRecord)
    assert connection.goaway_to_client_code == "ENHANCE_YOUR_CALM"
    assert (connection.goaway_to_client_last_stream_id, connection.goaway_to_client_debug) == (1, b"calm down")
    assert connection.goaway_to_server_code is None


def test_where_a_reset_may_have_been_missed_no_other_code_is_given() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1))
    it.send(TO_CLIENT, it.response(1))
    it.miss(TO_SERVER, len(reset(1, 8)))
    it.send(TO_CLIENT, frame(GOAWAY, payload=b"\0\0\0\x01\0\0\0\x01"))
    it.finish()
    row = it.exchange(1)
    assert (row.status_code, row.end_reason, row.reset_code, row.error_type) == (200, "cut", None, None)


@pytest.mark.parametrize(
    ("reason", "ends"),
    [
        (CloseReason.FIN, ("no response", "cut", "cut")),
        (CloseReason.RESET, ("reset", "reset", "reset")),
        (CloseReason.CAPTURE_END, ("cut", "cut", "cut")),
    ],
)
def test_the_end_of_the_connection_ends_what_is_open(reason: CloseReason, ends: tuple[str, ...]) -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1) + it.request(3) + it.request(5, end=False))
    it.send(TO_CLIENT, it.response(3) + it.response(5, end=True))
    it.finish(reason)
    assert tuple(it.exchange(index).end_reason for index in (1, 2, 3)) == ends
    assert [it.exchange(index).response_content_bytes for index in (1, 2, 3)] == [None, None, 0]


def test_an_upgraded_request_is_stream_1_under_its_settings() -> None:
    facts = {
        "upgrade_request_method": "GET",
        "upgrade_request_authority": "x",
        "upgrade_request_target": "/up",
        "upgrade_request_started_at": "1",
        "upgrade_request_ended_at": "2",
        "upgrade_request_packet": "0",
        "http2-settings": "AAQAAAAK",  # INITIAL_WINDOW_SIZE 10
    }
    it = Conversation(facts=facts, start=False)
    it.send(TO_CLIENT, settings() + it.response(1) + frame(DATA, 0, 1, bytes(10)))
    it.send(TO_SERVER, PREFACE + settings(window=10) + update(1, 10))
    it.send(TO_CLIENT, frame(DATA, END_STREAM, 1, b"x"))
    it.finish()
    row = it.exchange(1)
    assert (row.request_method, row.scheme, row.authority, row.target) == (b"GET", b"http", b"x", b"/up")
    assert (row.request_started_at, row.request_ended_at, row.status_code, row.duration_ns) == (1, 2, 200, 29)
    assert (row.request_content_bytes, row.response_content_bytes, row.first_packet, row.end_reason) == (None, 11, 0, "complete")
    assert [(stall.started_at, stall.ended_at) for stall in it.of(StallRecord) if isinstance(stall, StallRecord)] == [(10, 20)]


def test_a_closed_stream_window_that_data_waited_for_is_a_stall() -> None:
    it = Conversation(start=False)
    it.send(TO_SERVER, PREFACE + settings(window=1000))
    it.send(TO_CLIENT, settings() + frame(SETTINGS, ACK))
    it.send(TO_SERVER, it.request(1) + it.request(3))
    it.send(TO_CLIENT, it.response(1) + frame(DATA, 0, 1, bytes(1000)))
    it.send(TO_CLIENT, it.response(3) + frame(DATA, END_STREAM, 3, bytes(1000)))
    it.send(TO_SERVER, update(1, 500) + update(3, 500))
    it.send(TO_CLIENT, frame(DATA, END_STREAM, 1, b"rest"))
    it.finish()
    assert it.of(StallRecord) == [
        StallRecord(
            connection_id=7,
            stall_index=0,
            direction="to_client",
            kind="stream_window",
            stream_index=1,
            started_at=40,
            ended_at=60,
            duration_ns=20,
            waiting_bytes=None,
            evidence="data_after_update",
            first_packet=4,
            last_packet=6,
        )
    ]
    assert it.of(StalledStreamRecord) == [StalledStreamRecord(7, 0, 1, 20)]
    assert [it.exchange(index).stalled_ns for index in (1, 2)] == [20, 0]


def test_a_closed_connection_window_makes_every_open_stream_wait() -> None:
    it = Conversation(start=False)
    it.send(TO_SERVER, PREFACE + settings(window=1 << 20))
    it.send(TO_CLIENT, settings() + frame(SETTINGS, ACK))
    it.send(TO_SERVER, it.request(1) + it.request(3))
    it.send(TO_CLIENT, it.response(1) + b"".join(frame(DATA, 0, 1, bytes(n)) for n in (16384, 16384, 16384, 16383)))
    it.send(TO_CLIENT, it.response(3))
    it.send(TO_SERVER, update(0, 100_000))
    it.send(TO_CLIENT, frame(DATA, END_STREAM, 3, b"x") + frame(DATA, END_STREAM, 1, b"x"))
    it.finish()
    (stall,) = it.of(StallRecord)
    assert isinstance(stall, StallRecord)
    assert (stall.kind, stall.started_at, stall.ended_at, stall.stream_index) == ("connection_window", 40, 60, None)
    assert it.of(StalledStreamRecord) == [StalledStreamRecord(7, 0, 2, 10), StalledStreamRecord(7, 0, 1, 20)]
    (connection,) = it.of(Http2ConnectionRecord)
    assert isinstance(connection, Http2ConnectionRecord)
    assert connection.smallest_window_to_client_bytes == 0


def test_two_windows_closed_at_a_time_are_not_counted_twice_in_an_exchange() -> None:
    it = Conversation(start=False)
    it.send(TO_SERVER, PREFACE + settings())
    it.send(TO_CLIENT, settings() + frame(SETTINGS, ACK))
    it.send(TO_SERVER, it.request(1))
    it.send(TO_CLIENT, it.response(1) + b"".join(frame(DATA, 0, 1, bytes(n)) for n in (16384, 16384, 16384, 16383)))
    it.send(TO_SERVER, update(0, 100_000))
    it.send(TO_SERVER, update(1, 100_000))
    it.send(TO_CLIENT, frame(DATA, END_STREAM, 1, b"x"))
    it.finish()
    assert sorted(stall.duration_ns or 0 for stall in it.of(StallRecord) if isinstance(stall, StallRecord)) == [10, 20]
    assert it.exchange(1).stalled_ns == 20


def test_settings_can_open_a_window_that_was_closed() -> None:
    it = Conversation(start=False)
    it.send(TO_SERVER, PREFACE + settings(window=10))
    it.send(TO_CLIENT, settings() + frame(SETTINGS, ACK))
    it.send(TO_SERVER, it.request(1))
    it.send(TO_CLIENT, it.response(1) + frame(DATA, 0, 1, bytes(10)))
    it.send(TO_SERVER, settings(window=30))
    it.send(TO_CLIENT, frame(SETTINGS, ACK))
    it.send(TO_CLIENT, frame(DATA, END_STREAM, 1, bytes(20)))
    it.finish()
    assert [(one.started_at, one.ended_at) for one in it.of(StallRecord) if isinstance(one, StallRecord)] == [(40, 60)]


def test_where_windows_could_not_be_followed_nobody_knows_how_long_content_waited() -> None:
    it = Conversation(start=False)
    it.send(TO_SERVER, PREFACE + settings())
    it.send(TO_CLIENT, settings() + frame(SETTINGS, ACK))
    it.send(TO_SERVER, it.request(1) + it.request(3) + it.request(5))
    it.send(TO_CLIENT, it.response(1) + frame(DATA, END_STREAM, 1, b"x"))
    it.miss(TO_SERVER, 13)
    it.send(TO_CLIENT, it.response(3) + frame(DATA, END_STREAM, 3, b"x"))
    it.finish()
    assert [it.exchange(index).stalled_ns for index in (1, 2, 3)] == [0, None, None]


def test_bytes_that_waited_behind_a_hole_in_tcp_count_for_their_stream() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1) + it.request(3))
    it.stream.scope.begin_stall()
    it.send(TO_CLIENT, it.response(1) + frame(DATA, 0, 1, bytes(100)), 500)
    it.send(TO_CLIENT, frame(DATA, END_STREAM, 1, bytes(100)) + it.response(3, end=True), 400)
    it.rows += it.stream.scope.end_stall()
    it.finish()
    waits = {row.stream_index: row.stalled_ns for row in it.of(StalledStreamRecord) if isinstance(row, StalledStreamRecord)}
    assert waits == {0: 500, 1: 500, 2: 400}
    assert [it.exchange(index).stalled_ns for index in (1, 2)] == [500, 400]


def masked(payload: bytes) -> bytes:
    return bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload


@pytest.mark.parametrize("early", [False, True], ids=["after the response", "before the response"])
def test_a_websocket_over_http2_is_a_stream_inside(early: bool) -> None:
    it = Conversation()
    connect = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat"), (":authority", "x")]
    it.send(TO_SERVER, it.fields(TO_SERVER, 1, connect))
    if early:
        it.send(TO_SERVER, frame(DATA, 0, 1, masked(b"hello")))
    it.send(TO_CLIENT, it.response(1, more=[("sec-websocket-extensions", "permessage-deflate")]))
    if not early:
        it.send(TO_SERVER, frame(DATA, 0, 1, masked(b"hello")[:4]) + frame(DATA, 0, 1, masked(b"hello")[4:]))
    it.send(TO_CLIENT, frame(DATA, END_STREAM, 1, bytes.fromhex("c107f248cdc9c90700")))
    it.send(TO_SERVER, frame(DATA, END_STREAM, 1))
    it.finish()
    messages = [row for row in it.rows if isinstance(row, WebSocketMessageRecord)]
    assert [(row.stream_index, row.direction, row.text) for row in messages] == [
        (2, "to_server", "hello"),
        (2, "to_client", "Hello"),
    ]
    streams = [row for row in it.rows if isinstance(row, StreamRecord) and row.stream_index > 0]
    assert [(row.protocol, row.protocol_stream_id, row.parent_index, row.depth, row.end_reason) for row in streams] == [
        ("websocket", None, 1, 2, "fin"),
        ("http2", "1", 0, 1, "complete"),
    ]
    row = it.exchange(1)
    assert (row.request_method, row.target, row.status_code, row.end_reason) == (b"CONNECT", b"/chat", 200, "complete")
    assert (row.request_content_bytes, row.response_content_bytes) == (11, 9)


def test_data_and_headers_after_end_stream_are_faults_and_no_content() -> None:
    it = Conversation("hash")
    it.send(TO_SERVER, it.request(1, method="POST", end=False) + frame(DATA, END_STREAM, 1, b"sent"))
    it.send(TO_SERVER, frame(DATA, END_STREAM, 1, b"late") + it.request(1, "/again") + it.request(3))
    it.send(TO_CLIENT, it.response(1, end=True) + it.response(3, end=True))
    it.finish()
    assert it.exchange(1).request_content_bytes == 4
    assert it.exchange(1).request_content_sha256 == hashlib.sha256(b"sent").hexdigest()
    assert it.exchange(1).target == b"/"
    assert it.faults() == [("stream_error", "RFC 9113 section 5.1")] * 2
    assert it.exchange(2).target == b"/"


@pytest.mark.parametrize(
    ("fields", "row", "is_fault"),
    [
        ([(":method", "GET"), (":path", "/one"), ("a", "b"), (":path", "/two")], (b"GET", None, None), True),
        ([(":method", "GET"), (":path", "/one"), (":path", "/one")], (b"GET", None, b"/one"), True),
        ([(":method", "GET"), (":path", "/"), ("a", "b"), (":authority", "x")], (b"GET", b"x", b"/"), True),
        ([(":method", "GET"), (":method", "PUT"), (":path", "/")], (None, None, b"/"), True),
        (
            [(":method", "GET"), (":authority", "x"), (":authority", "y"), (":path", "/"), ("host", "z")],
            (b"GET", None, b"/"),
            True,
        ),
        ([(":method", "GET"), (":path", "/"), ("host", "z")], (b"GET", b"z", b"/"), False),
    ],
)
def test_pseudo_header_fields_that_contradict_each_other_are_unknown(
    fields: Fields, row: tuple[bytes | None, ...], is_fault: bool
) -> None:
    it = Conversation()
    it.send(TO_SERVER, it.fields(TO_SERVER, 1, fields, end=True))
    it.send(TO_CLIENT, it.response(1, end=True))
    it.finish()
    found = it.exchange(1)
    assert (found.request_method, found.authority, found.target) == row
    assert it.faults() == [("stream_error", "RFC 9113 section 8.3")] * is_fault


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(":status", "200"), (":status", "404")], None),
        ([(":status", "200"), ("a", "b"), (":status", "200")], 200),
        ([("a", "b"), (":status", "404")], 404),
    ],
)
def test_a_repeated_or_misplaced_status_is_a_fault(fields: Fields, status: int | None) -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1))
    it.send(TO_CLIENT, it.fields(TO_CLIENT, 1, fields, end=True))
    it.finish()
    assert (it.exchange(1).status_code, it.exchange(1).end_reason) == (status, "complete")
    assert it.faults() == [("stream_error", "RFC 9113 section 8.3")]


def test_an_answer_to_connect_that_contradicts_itself_opens_no_tunnel() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.fields(TO_SERVER, 1, CONNECT))
    it.send(
        TO_CLIENT, it.fields(TO_CLIENT, 1, [(":status", "200"), (":status", "403")]) + frame(DATA, END_STREAM, 1, b"\x81\x00")
    )
    it.finish()
    assert it.exchange(1).status_code is None
    assert it.of(WebSocketMessageRecord) == []


def test_a_header_section_in_the_place_of_trailers_is_a_fault() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1, "/a", end=False) + it.request(1, "/b"))
    it.send(TO_CLIENT, it.response(1) + it.response(1, 404, end=True))
    it.finish()
    assert (it.exchange(1).target, it.exchange(1).status_code) == (b"/a", 200)
    assert it.faults() == [("stream_error", "RFC 9113 section 8.1")] * 2


def test_an_informational_response_that_ends_its_stream_is_no_response() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1))
    it.send(TO_CLIENT, it.response(1, 103, end=True))
    it.finish()
    row = it.exchange(1)
    assert (row.status_code, row.response_content_bytes, row.response_ended_at, row.end_reason) == (
        None,
        None,
        None,
        "no response",
    )
    assert ("response", "informational") in [(side, section) for _, side, section, _ in it.sections()]
    assert it.faults() == [("stream_error", "RFC 9113 section 8.1")]


@pytest.mark.parametrize("sent", [update(7, 1), reset(7, 8), frame(DATA, 0, 7, b"x")], ids=["window", "reset", "data"])
def test_a_frame_of_the_client_on_an_idle_stream_opens_none(sent: bytes) -> None:
    it = Conversation()
    it.send(TO_SERVER, frame(PRIORITY, 0, 11, bytes(5)) + sent + it.request(9))
    it.send(TO_CLIENT, it.response(9, end=True))
    it.finish()
    assert [row.protocol_stream_id for row in it.of(StreamRecord)] == ["9", None]
    assert it.exchange(1).status_code == 200
    assert it.faults() == [("connection_error", "RFC 9113 section 5.1")]


@pytest.mark.parametrize("sent", [update(2, 1), reset(2, 8), frame(DATA, 0, 2, b"x")], ids=["window", "reset", "data"])
def test_a_frame_of_the_server_on_a_stream_that_it_has_not_promised_opens_none(sent: bytes) -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1))
    it.send(TO_CLIENT, sent + it.response(1, end=True))
    it.finish()
    assert [row.protocol_stream_id for row in it.of(StreamRecord)] == ["1", None]
    assert it.faults() == [("connection_error", "RFC 9113 section 5.1")]


def test_a_frame_of_the_server_may_come_before_the_request_but_not_without_one() -> None:
    it = Conversation()
    it.send(TO_CLIENT, update(1, 1) + update(3, 1))
    it.send(TO_SERVER, it.request(3))
    it.send(TO_CLIENT, it.response(3, end=True))
    it.finish()
    assert [(row.kind, row.direction, row.stream_index) for row in it.of(AnomalyRecord)] == [("connection_error", "to_client", 1)]
    assert [row.stream_index for row in it.of(HttpExchangeRecord)] == [2]


def test_a_client_whose_stream_numbers_fall_is_objected_to() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(5) + it.request(3))
    it.send(TO_CLIENT, it.response(5, end=True) + it.response(3, end=True))
    it.finish()
    assert it.faults() == [("connection_error", "RFC 9113 section 5.1.1")]


@pytest.mark.parametrize("is_opened_by_settings", [False, True])
def test_a_window_that_settings_shut_is_a_stall(is_opened_by_settings: bool) -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1))  # at 30
    it.send(TO_CLIENT, it.response(1) + frame(DATA, 0, 1, bytes(10_000)))
    it.send(TO_SERVER, settings(window=100))
    it.send(TO_CLIENT, frame(SETTINGS, ACK))  # at 60
    if is_opened_by_settings:
        it.send(TO_SERVER, settings(window=50_000))
        it.send(TO_CLIENT, frame(SETTINGS, ACK))  # at 80
    else:
        it.send(TO_SERVER, frame(PING, 0, 0, bytes(8)))
        it.send(TO_SERVER, update(1, 20_000))  # at 80
    it.send(TO_CLIENT, frame(DATA, END_STREAM, 1, b"the rest"))
    it.finish()
    (stall,) = [row for row in it.rows if isinstance(row, StallRecord)]
    assert (stall.kind, stall.stream_index, stall.started_at, stall.ended_at) == ("stream_window", 1, 60, 80)
    assert it.exchange(1).stalled_ns == 20


def test_a_window_that_settings_shut_once_more_was_not_shut_all_the_time() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1))
    it.send(TO_CLIENT, it.response(1) + frame(DATA, 0, 1, bytes(10_000)))
    for window in (100, 50_000, 200):
        it.send(TO_SERVER, settings(window=window))
        it.send(TO_CLIENT, frame(SETTINGS, ACK))  # the last at 100
    it.send(TO_SERVER, update(1, 20_000))  # at 110
    it.send(TO_CLIENT, frame(DATA, END_STREAM, 1, b"the rest"))
    it.finish()
    assert [(row.started_at, row.ended_at) for row in it.of(StallRecord)] == [(100, 110)]


def test_windows_that_settings_make_smaller_again_and_again_are_not_followed() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1))
    for at in range(limits.HTTP2_WINDOW_SHRINKAGES + 1):
        it.send(TO_SERVER, settings(window=60_000 - at))
        it.send(TO_CLIENT, frame(SETTINGS, ACK))
    it.send(TO_CLIENT, it.response(1) + frame(DATA, END_STREAM, 1, b"x"))
    it.finish()
    assert it.faults() == [("limit", None)]
    assert it.exchange(1).stalled_ns is None


def test_exchanges_inside_a_tunnel_are_not_mixed_with_the_one_that_opened_it() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.fields(TO_SERVER, 1, [(":method", "CONNECT"), (":authority", "x:80"), ("proxy", "outer")]))
    it.send(TO_CLIENT, it.response(1, more=[("via", "outer")]))
    it.send(TO_SERVER, frame(DATA, 0, 1, b"GET /in HTTP/1.1\r\nHost: y\r\n\r\n"))
    it.send(TO_CLIENT, frame(DATA, END_STREAM, 1, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
    it.send(TO_SERVER, frame(DATA, END_STREAM, 1))
    it.finish()
    assert [(row.stream_index, row.exchange_index, row.authority, row.status_code) for row in it.of(HttpExchangeRecord)] == [
        (2, 0, b"y", 404),
        (1, 0, b"x:80", 200),
    ]
    sections = [(row.stream_index, row.side, [line.name for line in row.fields]) for row in it.of(HttpFieldSectionRecord)]
    assert sections == [
        (1, "request", [b":method", b":authority", b"proxy"]),
        (1, "response", [b":status", b"via"]),
        (2, "request", [b"Host"]),
        (2, "response", [b"Content-Length"]),
    ]
    streams = [(row.stream_index, row.parent_index, row.depth, row.protocol, row.end_reason) for row in it.of(StreamRecord)]
    assert streams == [(2, 1, 2, "http1", "fin"), (1, 0, 1, "http2", "complete"), (0, None, 0, "http2", "fin")]


CONNECT = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/chat"), (":authority", "x")]


def test_what_waits_for_a_tunnel_is_held_by_packet_not_by_frame() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.fields(TO_SERVER, 1, CONNECT))
    message = b"\x81\xfe\x27\x10" + bytes(4) + b"x" * 10_000
    it.send(TO_SERVER, b"".join(frame(DATA, 0, 1, bytes([byte])) for byte in message))
    it.send(TO_CLIENT, it.response(1))
    it.finish()
    messages = [row for row in it.rows if isinstance(row, WebSocketMessageRecord)]
    assert [(row.payload_bytes, row.is_complete, row.first_packet) for row in messages] == [(10_000, True, 4)]
    assert it.faults() == []


def test_what_all_streams_hold_for_tunnels_is_limited_and_freed_again() -> None:
    it = Conversation()
    held = limits.HTTP2_TUNNELS_HELD_BYTES // (limits.HTTP2_TUNNEL_PIECE_BYTES + 8)
    for at in range(held + 3):
        it.send(TO_SERVER, it.fields(TO_SERVER, 2 * at + 1, CONNECT))
        it.send(TO_SERVER, frame(DATA, 0, 2 * at + 1, masked(b"hi")))
    for at in range(held + 3):
        it.send(TO_CLIENT, it.response(2 * at + 1))
    last = 2 * held + 7
    it.send(TO_SERVER, it.fields(TO_SERVER, last, CONNECT))
    it.send(TO_SERVER, frame(DATA, 0, last, masked(b"again")))
    it.send(TO_SERVER, it.fields(TO_SERVER, last + 2, CONNECT))
    it.send(TO_SERVER, frame(DATA, 0, last + 2, masked(b"never")) + reset(last + 2, 8) + it.request(last + 4))
    it.send(TO_CLIENT, it.response(last))
    it.finish()
    messages = [row for row in it.rows if isinstance(row, WebSocketMessageRecord)]
    assert [row.text for row in messages] == ["hi"] * held + ["again"]
    assert sum(row.occurrences for row in it.rows if isinstance(row, AnomalyRecord) and row.kind == "limit") == 3


def test_what_follows_a_hole_in_what_waits_for_a_tunnel_is_not_joined_to_what_precedes_it() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.fields(TO_SERVER, 1, CONNECT))
    it.send(TO_SERVER, frame(DATA, 0, 1, masked(b"hello"))[: 9 + 7])
    it.miss(TO_SERVER, 2)
    it.send(TO_SERVER, b"lo" + frame(DATA, 0, 1, masked(b"world")))
    it.send(TO_CLIENT, it.response(1))
    it.finish()
    assert [row.text for row in it.rows if isinstance(row, WebSocketMessageRecord) if row.text not in (None, "h")] == []
    assert it.exchange(1).request_missing_bytes == 2


def test_content_is_decoded_hashed_and_stored_when_asked_for() -> None:
    it = Conversation("store")
    coded = zlib.compress(b"the content" * 100)
    it.send(TO_SERVER, it.request(1, method="PUT", end=False) + frame(DATA, END_STREAM, 1, b"sent"))
    it.send(TO_CLIENT, it.response(1, more=[("content-encoding", "deflate")]) + frame(DATA, 0, 1, coded[:10]))
    it.send(TO_CLIENT, frame(DATA, END_STREAM | PADDED, 1, b"\x02" + coded[10:] + b"\0\0"))
    it.finish()
    row = it.exchange(1)
    assert row.request_content_sha256 == hashlib.sha256(b"sent").hexdigest()
    assert row.response_content_sha256 == hashlib.sha256(b"the content" * 100).hexdigest()
    assert it.of(HttpContentRecord) == [
        HttpContentRecord(7, 1, 0, "request", b"sent", True, True),
        HttpContentRecord(7, 1, 0, "response", b"the content" * 100, True, True),
    ]


class Tap:
    """Remembers what it gets."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int, str, bytes]] = []

    def write(self, stream_index: int, direction: int, timestamp: int, kind: str, data: bytes) -> None:
        self.heard.append((stream_index, direction, kind, data))

    def turn(self, stream_index: int, direction: int, index: int) -> None:
        """Whose it is does not matter."""

    def outlet(self, stream_index: int, index: int, part: str) -> None:
        """Contents are not wanted on their own."""


def test_a_follower_gets_fields_and_content_of_each_stream() -> None:
    context = Context([Http2Dissector])
    tap = Tap()
    context.taps = {7: tap}
    it = Conversation(start=False)
    it.stream = Stream(Scope(context, 7, "tcp", 80, True), None, "http2")
    it.send(TO_SERVER, PREFACE + settings() + it.request(1, "/a"))
    it.send(TO_CLIENT, settings() + it.response(1) + frame(DATA, END_STREAM, 1, b"hello"))
    assert [one for one in tap.heard if one[2] != "bytes"] == [
        (1, TO_SERVER, "fields", b":method: GET\n:scheme: http\n:authority: x\n:path: /a\n"),
        (1, TO_CLIENT, "fields", b":status: 200\n"),
        (1, TO_CLIENT, "content", b"hello"),
    ]


def test_every_frame_is_a_row_when_frames_are_asked_for() -> None:
    it = Conversation(frames=True)
    it.send(TO_SERVER, frame(PING, payload=bytes(8)) + it.request(1) + frame(0x21, 3, 1, b"unknown"))
    it.send(TO_CLIENT, frame(DATA, 0, 1, bytes(2000))[:1000])
    it.send(TO_CLIENT, frame(DATA, 0, 1, bytes(2000))[1000:])
    frames = [row for row in it.rows if isinstance(row, Http2FrameRecord)]
    assert [(one.frame_type, one.protocol_stream_id, one.payload_bytes) for one in frames[4:]] == [
        ("PING", 0, 8),
        ("HEADERS", 1, 6),
        ("0x21", 1, 7),
        ("DATA", 1, 2000),
    ]
    assert frames[-1] == Http2FrameRecord(7, 1, 7, "to_client", "DATA", 0, 1, 2000, 40, 50, 4, 5)


def test_every_frame_says_which_stream_it_belongs_to() -> None:
    it = Conversation(frames=True)
    it.send(TO_SERVER, it.request(1) + it.request(3) + frame(PRIORITY, 0, 9, bytes(5)))
    it.send(TO_CLIENT, it.response(3, end=True) + it.response(1, end=True) + frame(PING, payload=bytes(8)))
    it.send(TO_CLIENT, frame(DATA, END_STREAM, 3))
    frames = [row for row in it.rows if isinstance(row, Http2FrameRecord)]
    assert [(one.frame_type, one.protocol_stream_id, one.stream_index) for one in frames[4:]] == [
        ("HEADERS", 1, 1),
        ("HEADERS", 3, 2),
        ("PRIORITY", 9, None),
        ("HEADERS", 3, 2),
        ("HEADERS", 1, 1),
        ("PING", 0, 0),
        ("DATA", 3, None),
    ]


def test_a_hole_in_content_is_counted_and_loses_nothing_else() -> None:
    it = Conversation("hash")
    it.send(TO_SERVER, it.request(1))
    data = it.response(1, more=[("x", "1")]) + frame(DATA, END_STREAM, 1, bytes(5000))
    it.send(TO_CLIENT, data[:1000])
    it.miss(TO_CLIENT, 3000)
    it.send(TO_CLIENT, data[4000:] + it.response(3, more=[("x", "1")]))
    it.send(TO_SERVER, it.request(3))
    it.finish()
    row = it.exchange(1)
    assert (row.response_missing_bytes, row.response_content_bytes, row.response_ended_at) == (3000, 5000, 60)
    assert (row.fields_complete, row.end_reason, row.response_content_sha256) == (True, "complete", None)
    assert it.sections()[-2] == (2, "response", "header", [(":status", "200"), ("x", "1")])
    assert it.faults() == []


def test_a_hole_at_the_end_of_content_leaves_the_end_without_a_time() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1))
    data = it.response(1) + frame(DATA, END_STREAM, 1, bytes(5000))
    it.send(TO_CLIENT, data[:1000])
    it.miss(TO_CLIENT, len(data) - 1000)
    it.finish()
    row = it.exchange(1)
    assert (row.end_reason, row.response_ended_at, row.duration_ns) == ("complete", None, None)
    assert (row.response_content_bytes, row.response_missing_bytes) == (5000, len(data) - 1000)


def test_a_hole_in_a_field_block_makes_later_lines_unknown_not_wrong() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1, "/1", more=[("x-a", "a")]))
    data = it.request(3, "/3", more=[("x-b", "b")])
    it.send(TO_SERVER, data[:12])
    it.miss(TO_SERVER, 3)
    it.send(
        TO_SERVER, data[15:] + it.request(5, "/3", more=[("x-a", "a"), ("x-c", "c")]) + it.request(7, "/7", more=[("x-c", "c")])
    )
    it.finish()
    lost, after, last = (it.exchange(index) for index in (2, 3, 4))
    assert (lost.request_method, lost.target, lost.request_started_at, lost.fields_complete) == (None, None, 40, False)
    assert (after.request_method, after.authority, after.target, after.fields_complete) == (b"GET", None, None, False)
    assert (last.request_method, last.authority, last.target) == (b"GET", None, b"/7")
    assert it.sections()[1][3] == [
        (":method", "GET"),
        (":scheme", "http"),
        (None, None),
        (None, None),
        (None, None),
        ("x-c", "c"),
    ]
    assert it.sections()[2][3] == [(":method", "GET"), (":scheme", "http"), (None, None), (":path", "/7"), ("x-c", "c")]


def test_after_a_hole_between_frames_no_frame_is_guessed() -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1))
    it.miss(TO_SERVER, 100)
    it.send(TO_SERVER, it.request(5))
    it.send(TO_CLIENT, it.response(1, end=True) + it.response(3, 201, end=True))
    it.finish()
    rows = [row for row in it.rows if isinstance(row, HttpExchangeRecord)]
    assert [(row.target, row.status_code, row.end_reason) for row in rows] == [(b"/", 200, "complete"), (None, 201, "no request")]
    assert it.faults() == [("framing_lost", "RFC 9113 section 4.1")]


@pytest.mark.parametrize(
    ("direction", "data", "section"),
    [
        pytest.param(TO_SERVER, frame(DATA, 0, 0, b"x"), "RFC 9113 section 6", id="DATA on stream 0"),
        pytest.param(TO_SERVER, frame(SETTINGS, 0, 1), "RFC 9113 section 6", id="SETTINGS on a stream"),
        pytest.param(TO_SERVER, frame(PUSH_PROMISE, 4, 1, b"\0\0\0\x02"), "RFC 9113 section 8.4", id="a push by a client"),
        pytest.param(TO_CLIENT, update(0, 0), "RFC 9113 section 6.9", id="no increment"),
        pytest.param(TO_CLIENT, settings(window=1 << 31), "RFC 9113 section 6.5.2", id="a window too large"),
        pytest.param(TO_CLIENT, frame(HEADERS, 4, 1, b"\xbe"), "RFC 7541 section 2.3.3", id="an index beyond the table"),
        pytest.param(TO_SERVER, frame(HEADERS, 4, 1, b"\x3f\xe2\x1f"), "RFC 7541 section 6.3", id="a table too large"),
        pytest.param(TO_CLIENT, frame(DATA, 0, 1, bytes(16_385)), "RFC 9113 section 4.2", id="a frame too large"),
    ],
)
def test_an_error_of_the_connection_ends_it_and_keeps_what_came_before(direction: int, data: bytes, section: str) -> None:
    it = Conversation()
    it.send(TO_SERVER, it.request(1))
    it.send(TO_CLIENT, it.response(1, end=True))
    it.send(TO_SERVER, it.request(3, "/3"))
    it.send(direction, data)
    it.send(TO_SERVER, b"whatever")
    it.finish()
    assert it.faults() == [("protocol_error", section)]
    assert (it.exchange(1).end_reason, it.exchange(2).target) == ("complete", b"/3")
    assert len(it.of(Http2ConnectionRecord)) == 1
    assert [row.end_reason for row in it.rows if isinstance(row, StreamRecord)] == [
        "complete",
        "protocol_error",
        "protocol_error",
    ]


def test_where_too_many_frames_may_follow_a_hole_none_is_sought_and_the_row_says_so() -> None:
    it = Conversation()
    it.send(TO_CLIENT, settings(frame=1 << 20))
    it.miss(TO_SERVER, 5000)
    for _ in range(20):
        it.send(TO_SERVER, b"\x0a\x0b\x0c\x0f\x0d\x0a\x0e" * 5000)
    it.finish()
    assert [kind for kind, _ in it.faults()] == ["framing_lost", "limit"]


def test_an_error_of_a_stream_is_a_row_and_the_connection_goes_on() -> None:
    it = Conversation()
    it.send(TO_SERVER, frame(PRIORITY, 0, 1, b"1234") + it.request(1, more=[("Upper", "x")]) + update(1, 0))
    it.send(TO_CLIENT, it.response(1, end=True))
    it.finish()
    assert it.faults() == [
        ("stream_error", "RFC 9113 section 6.3"),
        ("stream_error", "RFC 9113 section 8.2.1"),
        ("stream_error", "RFC 9113 section 6.9"),
    ]
    assert it.exchange(1).end_reason == "complete"


@pytest.mark.parametrize(
    ("authority", "host", "faults"),
    [
        pytest.param("example.com", "example.com", [], id="the same host"),
        pytest.param("example.com:80", "Example.COM", [], id="the same host, written in another way"),
        pytest.param(None, "example.com", [], id="a host alone"),
        pytest.param("example.com", None, [], id="an authority alone"),
        pytest.param("example.com", "other.com", ["another one on stream 1"], id="another host"),
        pytest.param("example.com:8080", "example.com", ["another one on stream 1"], id="another port"),
        pytest.param("me:secret@x", None, ["user information on stream 1"], id="user information"),
        pytest.param("secret@x", "x", ["user information on stream 1"], id="user information, and the same host"),
        pytest.param("secret@x", "y", ["user information on stream 1", "another one on stream 1"], id="both"),
    ],
)
def test_an_authority_is_the_host_without_user_information(authority: str | None, host: str | None, faults: list[str]) -> None:
    it = Conversation()
    fields = [(":method", "GET"), (":scheme", "http"), (":path", "/")]
    if authority is not None:
        fields.append((":authority", authority))
    if host is not None:
        fields.append(("host", host))
    it.send(TO_SERVER, it.fields(TO_SERVER, 1, fields, end=True))
    rows = [row for row in it.finish() if isinstance(row, AnomalyRecord)]
    assert [row.found for row in rows] == faults
    assert {(row.kind, row.section) for row in rows} <= {("stream_error", "RFC 9113 section 8.3.1")}
    assert not any("secret" in repr(row) for row in rows)
    assert it.exchange(1).target == b"/"


def test_a_table_size_holds_from_its_acknowledgment() -> None:
    it = Conversation(start=False)
    it.send(TO_SERVER, PREFACE + settings())
    it.send(TO_CLIENT, settings(table=8192) + frame(SETTINGS, ACK))
    it.encoders[TO_SERVER].header_table_size = 8192
    it.send(TO_SERVER, frame(SETTINGS, ACK) + it.request(1))
    it.send(TO_CLIENT, settings(table=0))
    it.encoders[TO_SERVER].header_table_size = 0
    it.send(TO_SERVER, frame(SETTINGS, ACK) + it.request(3, "/3") + it.request(5, "/3"))
    it.finish()
    assert it.faults() == []
    assert [it.exchange(index).target for index in (1, 2, 3)] == [b"/", b"/3", b"/3"]


def test_settings_that_repeat_a_table_size_wait_and_are_acknowledged_in_one_step() -> None:
    it = Conversation(start=False)
    many = frame(SETTINGS, payload=(b"\0\1" + (8192).to_bytes(4, "big") + b"\0\1" + bytes(4)) * 1365)
    it.send(TO_SERVER, PREFACE + settings())
    for _ in range(limits.HTTP2_SETTINGS_WAITING):
        it.send(TO_CLIENT, many)
    it.encoders[TO_SERVER].header_table_size = 8192
    it.send(TO_SERVER, frame(SETTINGS, ACK) * (limits.HTTP2_SETTINGS_WAITING - 1) + it.request(1))
    it.encoders[TO_SERVER].header_table_size = 0
    it.send(TO_SERVER, frame(SETTINGS, ACK) + it.request(3, "/3"))
    it.send(TO_SERVER, frame(HEADERS, END_HEADERS, 5, b"\x21\x82"))  # a table of one byte
    it.finish()
    assert [it.exchange(index).target for index in (1, 2)] == [b"/", b"/3"]
    assert it.faults() == [("protocol_error", "RFC 7541 section 6.3")]


def test_an_acknowledgment_may_be_delivered_before_what_it_acknowledges() -> None:
    it = Conversation(start=False)
    it.encoders[TO_SERVER].header_table_size = 8192
    it.send(TO_SERVER, PREFACE + settings() + frame(SETTINGS, ACK) + it.request(1))
    it.send(TO_CLIENT, settings(table=8192) + frame(SETTINGS, ACK) + it.response(1, end=True))
    it.finish()
    assert it.faults() == []
    assert it.exchange(1).end_reason == "complete"


def test_a_capture_that_begins_late_shows_what_is_certain() -> None:
    it = Conversation()
    it.request(1, "/secret", more=[("x-a", "a")])
    it.response(1, more=[("x-b", "b")])
    late = Conversation(start=False)
    for direction in (TO_SERVER, TO_CLIENT):
        late.miss(direction, None)
    late.send(
        TO_SERVER, it.request(3, "/secret", more=[("x-a", "a"), ("x-new", "n")]) + it.request(5, "/5", more=[("x-new", "n")])
    )
    late.send(TO_CLIENT, it.response(3, end=True) + it.response(5, 404, [("x-b", "b")], end=True) + frame(PING, ACK, 0, bytes(8)))
    late.finish()
    rows = [row for row in late.rows if isinstance(row, HttpExchangeRecord)]
    assert [(row.request_method, row.target, row.status_code, row.fields_complete, row.end_reason) for row in rows] == [
        (b"GET", None, 200, False, "complete"),
        (b"GET", b"/5", 404, False, "complete"),
    ]
    assert late.sections()[1][3][-1] == ("x-new", "n")
    (connection,) = late.of(Http2ConnectionRecord)
    assert isinstance(connection, Http2ConnectionRecord)
    assert (connection.is_complete, connection.smallest_window_to_client_bytes) == (False, None)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        pytest.param(PREFACE, b"", Match.YES, id="the preface"),
        pytest.param(PREFACE[:9], b"", Match.MAYBE, id="a part of the preface"),
        pytest.param(b"", settings(window=5), Match.LIKELY, id="a server's settings"),
        pytest.param(settings(window=5), b"", Match.NO, id="the sides turned around"),
        pytest.param(settings(window=5), PREFACE, Match.NO, id="both sides turned around"),
        pytest.param(b"", settings(), Match.MAYBE, id="empty settings"),
        pytest.param(b"POST / HTTP/1.1\r\n", b"", Match.NO, id="HTTP/1.1"),
        pytest.param(b"GET / HTTP/1.1\r\n", settings(window=5), Match.NO, id="HTTP/1.1 to a server that speaks first"),
        pytest.param(b"", b"between frames", Match.MAYBE, id="a server under way in a frame"),
        pytest.param(b"between frames", b"", Match.MAYBE, id="a client under way in a frame"),
        pytest.param(update(0, 5), b"between frames", Match.MAYBE, id="one frame that says little"),
        pytest.param(update(0, 5) * 4, b"between frames", Match.YES, id="a client's frames alone"),
        pytest.param(b"no HTTP", settings(window=5) + update(0, 5), Match.MAYBE, id="what a server says to whoever comes"),
        pytest.param(b"no HTTP", settings(window=5) + update(0, 5) * 4, Match.YES, id="more than that"),
        pytest.param(b"no HTTP", b"nor this", Match.NO, id="neither"),
        pytest.param(b"P", b"HTTP/1.1 200", Match.NO, id="a part of the preface, but HTTP/1.1 from the server"),
    ],
)
def test_probing(first: bytes, second: bytes, verdict: Match) -> None:
    assert Http2Dissector.probe(first, second) is verdict


def test_too_many_open_streams_put_the_oldest_away() -> None:
    it = Conversation()
    block = it.encoders[TO_SERVER].encode([(":method", "GET"), (":path", "/")])
    for at in range(limits.HTTP2_OPEN_STREAMS + 30):
        it.send(TO_SERVER, frame(HEADERS, 5, 2 * at + 1, block))
    exchanges = it.of(HttpExchangeRecord)
    assert len(exchanges) == 30
    assert it.exchange(1).end_reason == "cut"
    faults = [row for row in it.finish() if isinstance(row, AnomalyRecord) and row.kind == "limit"]
    assert sum(row.occurrences for row in faults) == 30


def test_a_flood_of_continuations_is_given_up() -> None:
    it = Conversation()
    it.send(TO_SERVER, frame(HEADERS, 1, 1, b"\x82") + frame(CONTINUATION, 0, 1) * (limits.HTTP2_CONTINUATION_FRAMES + 5))
    it.send(TO_SERVER, frame(CONTINUATION, 4, 1) + it.request(3, "/3"))
    it.finish()
    assert it.faults() == [("limit", None)]
    assert [it.exchange(index).target for index in (1, 2)] == [None, b"/3"]


def test_resets_do_not_pile_up() -> None:
    it = Conversation()
    for at in range(limits.HTTP2_LINGERING_STREAMS + 10):
        it.send(TO_SERVER, it.request(2 * at + 1) + reset(2 * at + 1, 8))
    assert len(it.of(HttpExchangeRecord)) == 10


# --- captures of other projects, with what those expect


@pytest.mark.parametrize("name", ["h2c_ascii", "grpc-service-name", "grpc-unary"])
def test_requests_that_deepflow_expects_are_found(shared_captures: Path, name: str) -> None:
    folder = "deepflowio+deepflow/agent/resources/test/flow_generator/http"
    text = (shared_captures / "_oracle" / folder / f"{name}.result").read_text()
    expected = re.findall(r'host: "?([^",]+)"?,.*?endpoint: Some\("([^"]+)"\)', text)
    assert expected
    with analyzer.analyze([str(shared_captures / folder / f"{name}.pcap")]) as store:
        found = store.sql("SELECT authority, target FROM http_exchanges").fetchall()
    assert set(expected) <= set(found)


def test_an_upgrade_of_the_wiki_is_followed(shared_captures: Path) -> None:
    with analyzer.analyze([str(shared_captures / "OISF+suricata-verify/tests/http2-keywords2/input.pcap")]) as store:
        found = store.sql(
            "SELECT http_version, target, status_code, response_content_bytes, end_reason FROM http_exchanges ORDER BY stream_index"
        ).fetchall()
    assert found == [
        ("1.1", "/robots.txt", 101, 0, "upgraded"),
        ("2", "/robots.txt", 200, 62, "complete"),
        ("2", "/humans.txt", 404, 9, "complete"),
    ]


def test_names_of_frames_and_errors_are_those_of_the_public_vectors() -> None:
    vectors = Path(__file__).parent.parent / "vectors" / "http2-frames"
    goaway = json.loads((vectors / "goaway" / "normal.json").read_text())
    it = Conversation()
    it.send(TO_CLIENT, bytes.fromhex(goaway["wire"]))
    it.finish()
    (connection,) = it.of(Http2ConnectionRecord)
    assert isinstance(connection, Http2ConnectionRecord)
    payload = goaway["frame"]["frame_payload"]
    assert connection.goaway_to_client_last_stream_id == payload["last_stream_id"]
    assert connection.goaway_to_client_debug == payload["additional_debug_data"].encode()


def test_a_request_that_was_upgraded_to_http2_is_one_exchange() -> None:
    capture = Path(__file__).resolve().parent.parent.parent / "sample_pcaps" / "http2" / "h2c_upgrade.pcap"
    with analyzer.analyze([str(capture)]) as store:
        both = store.sql(
            "SELECT http_version, status_code, end_reason FROM http_exchanges WHERE target = '/index.html' ORDER BY ALL"
        )
        assert both.fetchall() == [("1.1", 101, "upgraded"), ("2", 200, "complete")]
        one = store.sql("SELECT protocol, status, request_bytes, end_reason FROM exchanges WHERE target LIKE '%/index.html'")
        assert one.fetchall() == [("http/2", "200", 0, "complete")]
