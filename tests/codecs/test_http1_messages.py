"""Sections, content and chunks of one direction, however its bytes are cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer import limits
from analyzer.codecs.http1_messages import (
    BARE_FEED,
    CHUNK_LINE,
    CHUNKED_COMPLETE,
    CONTENT,
    CONTENT_TAKEN,
    HEAD,
    HEAD_COMPLETE,
    IS_CONTENT,
    IS_NEXT_REQUEST,
    IS_NEXT_RESPONSE,
    NOTHING,
    PEEK,
    TOO_LONG,
    UNTIL_CLOSE,
    MessageReader,
    section_end,
)
from analyzer.errors import ProtocolError

CHUNKED = b"5\r\nhello\r\n00a;x=y\r\n, goodbye!\r\n0\r\n"


def read(reader: MessageReader, pieces: list[bytes]) -> tuple[bytes, list[int], bytes]:
    """Read up to the end of the chunked content: what was content, what else was found, and what is left over."""
    content = b""
    events = []
    for index, piece in enumerate(pieces):
        position = 0
        while position < len(piece):
            event = reader.read(piece, position)
            position = reader.at
            if event == CONTENT_TAKEN:
                content += piece[position - reader.taken : position]
                assert not reader.count(reader.taken)
            elif event != NOTHING:
                events.append(event)
            if event in (CHUNKED_COMPLETE, TOO_LONG):
                return content, events, piece[position:] + b"".join(pieces[index + 1 :])
    return content, events, b""


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 20), max_size=20), st.sampled_from([b"", b"Checksum: 1\r\n", b"A: b\r\nC: d\r\n"]))
def test_chunked_content_is_read_however_it_is_cut(sizes: list[int], trailers: bytes) -> None:
    whole = CHUNKED + trailers + b"\r\nHTTP/1.1 200 OK\r\n"
    pieces = []
    at = 0
    for size in [*sizes, len(whole)]:
        pieces.append(whole[at : at + size])
        at += size
    reader = MessageReader(True)
    reader.state = CHUNK_LINE
    assert read(reader, pieces) == (b"hello, goodbye!", [CHUNKED_COMPLETE], b"HTTP/1.1 200 OK\r\n")
    assert reader.section in ((b"", b"\r\n") if not trailers else (trailers + b"\r\n",))
    assert reader.content_bytes == 15


def test_line_feeds_alone_are_told_once() -> None:
    reader = MessageReader(True)
    reader.state = CHUNK_LINE
    assert read(reader, [CHUNKED.replace(b"\r\n", b"\n") + b"\n"]) == (b"hello, goodbye!", [BARE_FEED, CHUNKED_COMPLETE], b"")


@pytest.mark.parametrize("data", [b"x\r\n", b"\r\n", b"-1\r\n", b"1\r\nab", b"1\r\na\rb", b"1000000000000000\r\n"])
def test_what_is_no_chunk_is_an_error(data: bytes) -> None:
    reader = MessageReader(True)
    reader.state = CHUNK_LINE
    with pytest.raises(ProtocolError):
        read(reader, [data])


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"a\r\nb\r\n\r\nc", 8),
        (b"a\nb\n\nc", 5),
        (b"a\n\r\nb\n\n", 4),
        (b"a\n\nb\n\r\n", 3),
        (b"a\r\n\r", -1),
        (b"\r\n\r\n", 4),
        (b"", -1),
    ],
)
def test_a_section_ends_behind_its_empty_line(data: bytes, end: int) -> None:
    assert section_end(data, 0) == end
    reader = MessageReader(False)
    reader.state = HEAD
    for at in range(len(data)):
        event = reader.read(data[at : at + 1], 0)
        assert event == (HEAD_COMPLETE if at + 1 == end else NOTHING)
        if event == HEAD_COMPLETE:
            assert reader.section == data[:end]
            break


@pytest.mark.parametrize(
    ("state", "pattern", "limit"),
    [(HEAD, b"a", limits.HTTP1_SECTION_BYTES), (CHUNK_LINE, b"1", limits.HTTP1_CHUNK_LINE_BYTES)],
)
def test_a_section_or_line_without_end_reaches_its_limit(state: int, pattern: bytes, limit: int) -> None:
    reader = MessageReader(False)
    reader.state = state
    events = [reader.read(pattern * 1000, 0) for _ in range(limit // 1000 + 1)]
    assert (events.index(TOO_LONG), len(events) - 1) == (limit // 1000, limit // 1000)
    assert str(limit) in reader.limit


def test_content_of_known_length_is_complete_with_its_last_byte() -> None:
    reader = MessageReader(True)
    reader.state = CONTENT
    reader.remaining = 5
    assert (reader.read(b"..abc", 2), reader.taken, reader.count(3)) == (CONTENT_TAKEN, 3, False)
    assert (reader.read(b"defg", 0), reader.taken, reader.at, reader.count(2)) == (CONTENT_TAKEN, 2, 2, True)
    reader.state = UNTIL_CLOSE
    assert (reader.read(b"abc", 0), reader.taken, reader.count(3)) == (CONTENT_TAKEN, 3, False)


@pytest.mark.parametrize(
    ("is_server", "data", "event"),
    [
        (True, b"HTTP/1.", IS_NEXT_RESPONSE),
        (True, b"HTTP/2", IS_CONTENT),
        (True, b"HTT", NOTHING),
        (False, b"GET / HTTP/1.1\r\n", IS_NEXT_REQUEST),
        (False, b"GET / HTTP/2\r\n", IS_CONTENT),
        (False, b"GET /", NOTHING),
        (False, b"\x00", IS_CONTENT),
    ],
)
@pytest.mark.parametrize("size", [1, 100])
def test_what_may_be_content_or_the_next_message_is_told_by_its_bytes(
    is_server: bool, data: bytes, event: int, size: int
) -> None:
    reader = MessageReader(is_server)
    reader.state = PEEK
    events = [reader.read(data[at : at + size], 0) for at in range(0, len(data), size)]
    told = [one for one in events if one != NOTHING]
    assert told[:1] == ([event] if event != NOTHING else [])
