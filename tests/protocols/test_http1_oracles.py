"""The same bytes given to h11 and httptools: what they read and what the rows say must agree."""

from dataclasses import dataclass
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Context
from analyzer.http.semantics import HttpContentRecord, HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.protocols.http1 import Http1Dissector
from analyzer.records import AnomalyRecord
from analyzer.scope import Scope
from analyzer.stream import Stream

Fields = list[tuple[bytes, bytes]]


@dataclass
class Message:
    """What an oracle read: its start line's parts, fields, content and trailers."""

    start: tuple[bytes, ...]
    fields: Fields
    content: bytes
    trailers: Fields


TOKENS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ-_0123456789", min_size=1, max_size=12).map(
    lambda text: b"X-" + text.encode()
)
VALUES = st.text("abc XYZ;=,\"'()/0123456789\t", max_size=30).map(lambda text: text.strip(" \t").encode())
FIELDS = st.lists(st.tuples(TOKENS, VALUES), max_size=6)
CONTENTS = st.one_of(st.just(b""), st.binary(max_size=200), st.just(b"HTTP/1.1 200 OK\r\n\r\nGET / HTTP/1.1\r\n\r\n"))


def lines(fields: Fields) -> bytes:
    return b"".join(name + b": " + value + b"\r\n" for name, value in fields)


@st.composite
def framed(draw: st.DrawFn) -> tuple[Fields, bytes]:
    """The framing fields and the bytes of a content."""
    content = draw(CONTENTS)
    if draw(st.booleans()):
        return [(b"Content-Length", b"%d" % len(content))], content
    size = draw(st.integers(1, 100))
    sent = b"".join(
        b"%x;e=1\r\n%s\r\n" % (len(piece), piece) for piece in (content[i : i + size] for i in range(0, len(content), size))
    )
    return [(b"Transfer-Encoding", b"chunked")], sent + b"0\r\n" + lines(draw(FIELDS)) + b"\r\n"


@st.composite
def exchange(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A request and its response, as bytes."""
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"FROB"]))
    target = draw(st.sampled_from([b"/", b"/a/b?c=d", b"*", b"/%20x"]))
    framing, content = draw(framed()) if draw(st.booleans()) else ([], b"")
    request = method + b" " + target + b" HTTP/1.1\r\n" + lines([(b"Host", b"h"), *draw(FIELDS), *framing]) + b"\r\n" + content
    response = b""
    for status in draw(st.lists(st.sampled_from([b"100", b"102", b"103"]), max_size=2)):
        response += b"HTTP/1.1 " + status + b" Wait\r\n" + lines(draw(FIELDS)) + b"\r\n"
    status = draw(st.sampled_from([b"200", b"201", b"204", b"304", b"404", b"500"]))
    framing, content = draw(framed())
    if status in (b"204", b"304") or method == b"HEAD":
        content = b""
    response += b"HTTP/1.1 " + status + b" Reason\r\n" + lines([*draw(FIELDS), *framing]) + b"\r\n" + content
    return request, response


def rows_of(to_server: bytes, to_client: bytes) -> list[Any]:
    stream = Stream(Scope(Context([Http1Dissector], content="store"), 1, "tcp", 80, roles_proven=True), name="http1")
    rows: list[Any] = stream.feed(TO_SERVER, to_server, 1, 1, 1)
    rows += stream.feed(TO_CLIENT, to_client, 2, 2, 2)
    for direction in (TO_SERVER, TO_CLIENT):
        rows += stream.close(direction, CloseReason.FIN, 3, 3)
    return rows


def read_message(connection: h11.Connection, data: bytes) -> tuple[Message, list[int]]:
    """Read one message with h11; the statuses are those of informational responses before it."""
    connection.receive_data(data)
    message: Message | None = None
    statuses: list[int] = []
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            message = Message((event.method, event.target), list(event.headers.raw_items()), b"", [])
        elif isinstance(event, h11.InformationalResponse):
            statuses.append(event.status_code)
        elif isinstance(event, h11.Response):
            message = Message((b"%d" % event.status_code,), list(event.headers.raw_items()), b"", [])
        elif isinstance(event, h11.Data):
            assert message is not None
            message.content += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert message is not None
            message.trailers = list(event.headers.raw_items())
            return message, statuses
        else:
            raise AssertionError(event)


def fields_of(rows: list[Any], index: int, side: str, section: str) -> list[Fields]:
    return [
        [(line.name, line.value) for line in row.fields]
        for row in rows
        if isinstance(row, HttpFieldSectionRecord) and (row.exchange_index, row.side, row.section) == (index, side, section)
    ]


def content_of(rows: list[Any], index: int, side: str) -> bytes:
    contents = [row for row in rows if isinstance(row, HttpContentRecord) and (row.exchange_index, row.side) == (index, side)]
    return b"".join(row.content for row in contents)


@settings(max_examples=80, deadline=None)
@given(st.lists(exchange(), min_size=1, max_size=5))
def test_pipelined_exchanges_are_read_as_h11_reads_them(conversation: list[tuple[bytes, bytes]]) -> None:
    rows = rows_of(b"".join(request for request, _ in conversation), b"".join(response for _, response in conversation))
    assert not [row for row in rows if isinstance(row, AnomalyRecord)]
    found = [row for row in rows if isinstance(row, HttpExchangeRecord)]
    assert len(found) == len(conversation)
    for row, (request_bytes, response_bytes) in zip(found, conversation, strict=True):
        request, _ = read_message(h11.Connection(h11.SERVER), request_bytes)
        asking = h11.Connection(h11.CLIENT)
        asking.send(h11.Request(method=request.start[0], target=request.start[1], headers=[("Host", "h")]))
        asking.send(h11.EndOfMessage())
        response, statuses = read_message(asking, response_bytes)
        index = row.exchange_index
        assert row.end_reason == "complete"
        assert (row.request_method, row.target) == request.start
        assert (b"%d" % (row.status_code or 0),) == response.start
        for side, message in (("request", request), ("response", response)):
            assert fields_of(rows, index, side, "header") == ([message.fields] if message.fields else [])
            assert fields_of(rows, index, side, "trailer") == ([message.trailers] if message.trailers else [])
            assert content_of(rows, index, side) == message.content
        assert row.request_content_bytes == len(request.content)
        assert row.response_content_bytes == len(response.content)
        informational = fields_of(rows, index, "response", "informational")
        assert [lines[0] for lines in informational] == [(b":status", b"%d" % status) for status in statuses]


class Protocol:
    """Collects what httptools calls back."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def on_message_begin(self) -> None:
        self.messages.append(Message((), [], b"", []))

    def on_url(self, url: bytes) -> None:
        self.messages[-1].start += (url,)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.messages[-1].fields.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.messages[-1].content += body


@settings(max_examples=80, deadline=None)
@given(st.lists(exchange(), min_size=1, max_size=5))
def test_requests_are_read_as_httptools_reads_them(conversation: list[tuple[bytes, bytes]]) -> None:
    httptools = pytest.importorskip("httptools")
    sent = b"".join(request for request, _ in conversation if not request.startswith(b"FROB"))
    protocol = Protocol()
    httptools.HttpRequestParser(protocol).feed_data(sent)
    rows = rows_of(sent, b"")
    found = [row for row in rows if isinstance(row, HttpExchangeRecord)]
    assert [(row.target, row.request_content_bytes, row.end_reason) for row in found] == [
        (b"".join(message.start), len(message.content), "no response") for message in protocol.messages
    ]
    for row, message in zip(found, protocol.messages, strict=True):
        assert content_of(rows, row.exchange_index, "request") == message.content
        sections = fields_of(rows, row.exchange_index, "request", "header") + fields_of(
            rows, row.exchange_index, "request", "trailer"
        )
        assert [field for section in sections for field in section] == message.fields


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_h11_refuses_is_an_error_or_a_fault(data: st.DataObject) -> None:
    request, _ = data.draw(exchange())
    position = data.draw(st.integers(0, len(request) - 1))
    mutated = request[:position] + data.draw(st.binary(max_size=3)) + request[position + data.draw(st.integers(0, 2)) :]
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(mutated)
    is_refused = False
    try:
        while connection.next_event() not in (h11.NEED_DATA, h11.PAUSED):
            pass
    except h11.RemoteProtocolError:
        is_refused = True
    rows = rows_of(mutated, b"")
    assert all(row.kind != "dissector_error" for row in rows if isinstance(row, AnomalyRecord))
    if not is_refused and connection.their_state is h11.DONE and not connection.trailing_data[0]:
        (row,) = [row for row in rows if isinstance(row, HttpExchangeRecord)]
        assert row.request_ended_at is not None
