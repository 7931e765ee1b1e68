"""The report ``websocket``: what was said, and that something of it is missing."""

from analyzer.protocols.websocket import WebSocketMessageRecord
from analyzer.records import ConnectionRecord, StreamRecord

MILLISECOND = 1_000_000


def message(index, direction, started, wire_bytes, is_complete=True):
    return WebSocketMessageRecord(
        1, 1, index, direction, "text", started, started, 1, wire_bytes, wire_bytes - 2, False, "a", None, None, None, is_complete, 0, 5, 5
    )  # fmt: skip


def streams(bytes_to_client, missing):
    return [
        ConnectionRecord(1, 0, "tcp", "a", 1, "b", 80, "handshake", protocol="http1"),
        StreamRecord(1, 0, None, 0, "http1"),
        StreamRecord(
            1, 1, 0, 1, "websocket", None, 0, 9, bytes_to_server=0, bytes_to_client=bytes_to_client, missing_bytes=missing
        ),
    ]


def test_what_was_not_captured_and_what_was_not_read_after_it_is_missing(store_of, section):
    rows = [*streams(500, 35), message(0, "to_client", 0, 100), message(1, "to_client", MILLISECOND, 200)]
    (row,) = section(store_of(rows), "websocket", "Conversations")
    assert (row["to_client"], row["incomplete"], row["missing_bytes"]) == (2, None, 235)


def test_of_a_message_with_a_hole_only_the_hole_is_missing(store_of, section):
    rows = [*streams(265, 35), message(0, "to_client", 0, 100), message(1, "to_client", MILLISECOND, 200, is_complete=False)]
    (row,) = section(store_of(rows), "websocket", "Conversations")
    assert (row["incomplete"], row["missing_bytes"]) == (1, 35)


def test_of_a_message_that_goes_on_nothing_is_missing(store_of, section):
    going_on = message(1, "to_client", MILLISECOND, 200)
    going_on.ended_at = going_on.frame_count = going_on.wire_bytes = going_on.payload_bytes = going_on.is_complete = None
    store = store_of([*streams(265, 0), message(0, "to_client", 0, 100), going_on])
    (row,) = section(store, "websocket", "Conversations")
    assert (row["to_client"], row["incomplete"], row["missing_bytes"]) == (2, None, None)
    assert [row["whole"] for row in section(store, "trust", "All connections")] == [1]
    assert section(store, "trust", "What is not witnessed") == []


def test_a_conversation_that_was_read_whole_misses_nothing_and_its_messages_tell_their_time(store_of, section):
    store = store_of([*streams(300, 0), message(0, "to_client", 0, 100), message(1, "to_client", MILLISECOND, 200)])
    (row,) = section(store, "websocket", "Conversations")
    assert row["missing_bytes"] is None
    assert [row["after_ns"] for row in section(store, "websocket", "Messages")] == [0, MILLISECOND]
