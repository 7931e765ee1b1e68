import hashlib
import json
import zlib
from itertools import pairwise
from pathlib import Path

import dpkt
import pytest
import websockets.client
import websockets.server
import wsproto
import wsproto.events
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import CloseCode
from websockets.protocol import State
from websockets.uri import parse_uri
from wsproto.connection import Connection, ConnectionType

from analyzer import limits
from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Context, Match
from analyzer.protocols.websocket import WebSocketDissector, WebSocketMessageRecord
from analyzer.records import AnomalyRecord, Rows, StreamRecord
from analyzer.scope import Scope
from analyzer.stream import Stream

DEFLATE = {"sec-websocket-extensions": "permessage-deflate"}
NO_TAKEOVER = {
    "sec-websocket-extensions": "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9"
}
KEY = bytes.fromhex("37fa213d")


def open_stream(facts: dict[str, str] | None = None, content: str = "preview") -> Stream:
    scope = Scope(Context([WebSocketDissector], content), 7, "tcp", 80, True)
    return Stream(scope, None, "websocket", None, {"sec-websocket-extensions": ""} if facts is None else facts)


def follow(
    pieces: list[tuple[int, bytes]],
    facts: dict[str, str] | None = None,
    content: str = "preview",
    reason: CloseReason = CloseReason.FIN,
) -> Rows:
    """The rows of a stream whose n-th piece comes in packet n (from 1), 10 n ns after the epoch."""
    stream = open_stream(facts, content)
    rows: Rows = []
    number = 0
    for number, (direction, data) in enumerate(pieces, 1):
        rows += stream.feed(direction, data, number * 10, number * 10, number)
    for direction in (TO_SERVER, TO_CLIENT):
        rows += stream.close(direction, reason, number * 10 + 10, number + 1)
    return rows


def messages(rows: Rows) -> list[WebSocketMessageRecord]:
    return [row for row in rows if isinstance(row, WebSocketMessageRecord)]


def anomalies(rows: Rows) -> list[tuple[str, int | None, str | None]]:
    return [(row.kind, row.packet, row.section) for row in rows if isinstance(row, AnomalyRecord)]


def message(index: int, direction: str, opcode: str | None, packet: int, **columns: object) -> WebSocketMessageRecord:
    """The row of a message in one frame and one packet of ``follow``, but for ``columns``."""
    row = WebSocketMessageRecord(
        connection_id=7,
        stream_index=0,
        message_index=index,
        direction=direction,
        opcode=opcode,
        started_at=packet * 10,
        ended_at=packet * 10,
        frame_count=1,
        wire_bytes=None,
        payload_bytes=None,
        is_compressed=False,
        text=None,
        payload_sha256=None,
        close_code=None,
        close_reason=None,
        is_complete=True,
        stalled_ns=0,
        first_packet=packet,
        last_packet=packet,
    )
    for name, value in columns.items():
        setattr(row, name, value)
    return row


def frame(payload: bytes, opcode: int = 1, *, masked: bool = False, final: bool = True, rsv1: bool = False) -> bytes:
    length = len(payload)
    mask = 0x80 if masked else 0
    head = bytes([(0x80 if final else 0) | (0x40 if rsv1 else 0) | opcode])
    if length < 126:
        head += bytes([mask | length])
    elif length < 65536:
        head += bytes([mask | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + length.to_bytes(8, "big")
    if masked:
        return head + KEY + bytes(octet ^ KEY[at % 4] for at, octet in enumerate(payload))
    return head + payload


def test_the_examples_of_rfc_6455_section_5_7_give_their_messages() -> None:
    rows = follow(
        [
            (TO_CLIENT, bytes.fromhex("810548656c6c6f")),
            (TO_SERVER, bytes.fromhex("818537fa213d7f9f4d5158")),
            (TO_CLIENT, bytes.fromhex("010348656c")),
            (TO_CLIENT, bytes.fromhex("80026c6f")),
            (TO_CLIENT, bytes.fromhex("890548656c6c6f")),
            (TO_SERVER, bytes.fromhex("8a8537fa213d7f9f4d5158")),
            (TO_CLIENT, bytes.fromhex("827e0100") + bytes(256)),
            (TO_CLIENT, bytes.fromhex("827f0000000000010000") + bytes(65536)),
        ]
    )
    assert rows[:-1] == [
        message(0, "to_client", "text", 1, wire_bytes=7, payload_bytes=5, text="Hello"),
        message(1, "to_server", "text", 2, wire_bytes=11, payload_bytes=5, text="Hello"),
        message(
            2, "to_client", "text", 3, ended_at=40, last_packet=4, frame_count=2, wire_bytes=9, payload_bytes=5, text="Hello"
        ),
        message(3, "to_client", "ping", 5, wire_bytes=7, payload_bytes=5),
        message(4, "to_server", "pong", 6, wire_bytes=11, payload_bytes=5),
        message(5, "to_client", "binary", 7, wire_bytes=260, payload_bytes=256),
        message(6, "to_client", "binary", 8, wire_bytes=65546, payload_bytes=65536),
    ]
    assert rows[-1] == StreamRecord(
        connection_id=7,
        stream_index=0,
        parent_index=None,
        depth=0,
        protocol="websocket",
        protocol_stream_id=None,
        started_at=10,
        ended_at=80,
        bytes_to_server=22,
        bytes_to_client=7 + 5 + 4 + 7 + 260 + 65546,
        messages_to_server=2,
        messages_to_client=5,
        missing_bytes=0,
        stalled_ns=0,
        end_reason="fin",
        first_packet=1,
        last_packet=8,
    )


def test_the_examples_of_rfc_7692_section_7_2_3_give_their_messages() -> None:
    wires = [
        "c107f248cdc9c90700",
        "c105f200110000",  # refers to the message before
        "4103f248cd 8004c9c90700",  # in two frames
        "c10b000500faff48656c6c6f00",
        "c108f348cdc9c9070000",
        "c10df24805000000ffffcac9c90700",
    ]
    rows = follow([(TO_CLIENT, bytes.fromhex(wire)) for wire in wires], DEFLATE)
    assert rows[:-1] == [
        message(
            number,
            "to_client",
            "text",
            number + 1,
            frame_count=2 if number == 2 else 1,
            wire_bytes=len(bytes.fromhex(wire)),
            payload_bytes=5,
            is_compressed=True,
            text="Hello",
        )
        for number, wire in enumerate(wires)
    ]


def test_control_frames_between_fragments_are_rows_of_their_own_in_order_of_the_first_byte() -> None:
    rows = follow(
        [(TO_CLIENT, frame("né".encode()[:2], final=False) + frame(b"!", 9)), (TO_CLIENT, frame("né".encode()[2:], 0))],
        content="store",
    )
    digest = hashlib.sha256("né".encode()).hexdigest()
    mark = hashlib.sha256(b"!").hexdigest()
    assert messages(rows) == [
        message(1, "to_client", "ping", 1, wire_bytes=3, payload_bytes=1, payload_sha256=mark, payload=b"!"),
        message(
            0,
            "to_client",
            "text",
            1,
            ended_at=20,
            last_packet=2,
            frame_count=2,
            wire_bytes=7,
            payload_bytes=3,
            text="né",
            payload_sha256=digest,
        ),
    ]


def test_both_close_frames_complete_the_stream() -> None:
    close = (1000).to_bytes(2, "big") + b"bye"
    rows = follow([(TO_SERVER, frame(close, 8, masked=True)), (TO_CLIENT, frame(b"", 8))])
    assert rows[:-1] == [
        message(0, "to_server", "close", 1, wire_bytes=11, payload_bytes=5, close_code=1000, close_reason="bye"),
        message(1, "to_client", "close", 2, wire_bytes=2, payload_bytes=0),
    ]
    assert rows[-1].end_reason == "complete"


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535])
def test_a_status_code_that_may_not_be_sent_is_an_anomaly_and_still_told(code: int) -> None:
    rows = follow([(TO_CLIENT, frame(code.to_bytes(2, "big"), 8))])
    assert anomalies(rows) == [("protocol_error", 1, "RFC 6455 section 7.4")]
    assert messages(rows)[0].close_code == code


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1011, 1014, 3000, 4999])
def test_a_status_code_that_may_be_sent_is_none(code: int) -> None:
    rows = follow([(TO_CLIENT, frame(code.to_bytes(2, "big"), 8))])
    assert anomalies(rows) == []


def test_bytes_after_a_close_frame_are_an_anomaly_and_no_messages() -> None:
    rows = follow([(TO_CLIENT, frame(b"", 8) + frame(b"late")), (TO_CLIENT, frame(b"later"))])
    assert [row.opcode for row in messages(rows)] == ["close"]
    assert anomalies(rows) == [("protocol_error", 1, "RFC 6455 section 5.5.1")]


@pytest.mark.parametrize(
    ("direction", "wire", "section", "text"),
    [
        (TO_SERVER, frame(b"hi"), "RFC 6455 section 5.1", "hi"),
        (TO_CLIENT, frame(b"hi", masked=True), "RFC 6455 section 5.1", "hi"),
        (TO_CLIENT, bytes.fromhex("817e00026869"), "RFC 6455 section 5.2", "hi"),
        (TO_CLIENT, frame(b"hi\xff!"), "RFC 6455 section 8.1", "hi"),
        (TO_CLIENT, frame(b"hi\xc3"), "RFC 6455 section 8.1", "hi"),
        (TO_CLIENT, frame(b"hi", 0), "RFC 6455 section 5.4", None),
        (TO_CLIENT, frame(b"hi", final=False) + frame(b"hi"), "RFC 6455 section 5.4", "hi"),
    ],
)
def test_after_a_fault_that_leaves_frames_certain_the_messages_go_on(
    direction: int, wire: bytes, section: str, text: str | None
) -> None:
    after = frame(b"after", masked=direction == TO_SERVER)
    rows = follow([(direction, wire), (direction, after)])
    assert anomalies(rows) == [("protocol_error", 1, section)]
    assert [row.text for row in messages(rows)] in ([text, "after"], [text, text, "after"])


@pytest.mark.parametrize(
    ("wire", "section"),
    [
        ("8300", "RFC 6455 section 5.2"),
        ("8b00", "RFC 6455 section 5.2"),
        ("c100", "RFC 6455 section 5.2"),
        ("0900", "RFC 6455 section 5.5"),
        ("897e007e", "RFC 6455 section 5.5"),
        ("827f8000000000000000", "RFC 6455 section 5.2"),
    ],
)
def test_a_frame_that_cannot_be_ends_the_stream_and_keeps_what_came_before(wire: str, section: str) -> None:
    rows = follow([(TO_CLIENT, frame(b"before") + bytes.fromhex(wire)), (TO_CLIENT, frame(b"after"))])
    assert [row.text for row in messages(rows) if row.is_complete] == ["before"]
    assert anomalies(rows) == [("protocol_error", 1, section)]
    assert rows[-1].end_reason == "protocol_error"


def test_rsv1_in_a_continuation_frame_ends_the_stream() -> None:
    rows = follow([(TO_CLIENT, frame(b"\x00", rsv1=True, final=False) + frame(b"\x00", 0, rsv1=True))], DEFLATE)
    assert anomalies(rows) == [("protocol_error", 1, "RFC 7692 section 6")]


def test_messages_of_an_extension_we_do_not_know_are_counted_and_not_read() -> None:
    rows = follow(
        [(TO_CLIENT, frame(b"??", rsv1=True) + frame(b"plain"))], {"sec-websocket-extensions": "x-webkit-deflate-frame"}
    )
    assert messages(rows) == [
        message(0, "to_client", "text", 1, wire_bytes=4),
        message(1, "to_client", "text", 1, wire_bytes=7, payload_bytes=5, text="plain"),
    ]


def test_a_parameter_that_cannot_be_is_an_anomaly_once() -> None:
    rows = follow(
        [(TO_CLIENT, frame(b"a")), (TO_SERVER, frame(b"b", masked=True))], {"sec-websocket-extensions": "permessage-deflate; x=1"}
    )
    assert anomalies(rows) == [("protocol_error", 1, "RFC 7692 section 7.1")]


def test_text_is_kept_as_far_as_the_options_ask() -> None:
    text = "aé€" * 30_000
    wire = frame(text.encode(), masked=True)
    kept = {
        content: messages(follow([(TO_SERVER, wire)], content=content))[0].text
        for content in ("none", "preview", "hash", "store")
    }
    assert kept["none"] is None
    assert kept["preview"] == kept["hash"] == text[:256]
    assert kept["store"] == text.encode()[: limits.TEXT_BYTES].decode("utf-8", "ignore")


def test_a_binary_message_is_hashed_and_stored_when_asked_and_declined_when_not() -> None:
    data = bytes(range(256)) * 400
    wire = frame(data, 2)
    pieces = [(TO_CLIENT, wire[:1000]), (TO_CLIENT, wire[1000:])]
    (row,) = messages(follow(pieces, content="store"))
    assert (row.payload_sha256, row.payload) == (hashlib.sha256(data).hexdigest(), data[: limits.TEXT_BYTES])
    assert messages(follow(pieces)) == [
        message(0, "to_client", "binary", 1, ended_at=20, last_packet=2, wire_bytes=len(wire), payload_bytes=len(data))
    ]


def test_a_hole_within_a_payload_leaves_the_frames_certain() -> None:
    stream = open_stream()
    wire = frame(b"x" * 1000)
    rows = stream.feed(TO_CLIENT, wire[:300], 10, 10, 1)
    rows += stream.gap(TO_CLIENT, 500, None, 20, 2)
    rows += stream.feed(TO_CLIENT, wire[800:] + frame(b"next"), 20, 20, 2)
    assert rows == [
        message(
            0,
            "to_client",
            "text",
            1,
            ended_at=20,
            last_packet=2,
            wire_bytes=1004,
            payload_bytes=1000,
            text="x" * 256,
            is_complete=False,
        ),
        message(1, "to_client", "text", 2, wire_bytes=6, payload_bytes=4, text="next"),
    ]


def test_a_hole_in_the_part_of_a_text_that_is_shown_hides_the_text() -> None:
    stream = open_stream()
    wire = frame(b"x" * 100, masked=True)
    rows = stream.feed(TO_SERVER, wire[:50], 10, 10, 1)
    rows += stream.gap(TO_SERVER, len(wire) - 50, None, 20, 2)
    rows += stream.feed(TO_SERVER, frame(b"next", masked=True), 20, 20, 2)
    assert rows == [
        message(0, "to_server", "text", 1, wire_bytes=106, payload_bytes=100, is_complete=False),
        message(1, "to_server", "text", 2, wire_bytes=10, payload_bytes=4, text="next"),
    ]


@pytest.mark.parametrize("hole", [(1, 4), (5, 3), (5, None)])
def test_a_hole_that_may_hold_a_header_loses_the_direction_and_not_the_other(hole: tuple[int, int | None]) -> None:
    stream = open_stream()
    rows = stream.feed(TO_CLIENT, frame(b"last") + frame(b"cut")[: hole[0] - 1], 10, 10, 1)
    rows += stream.gap(TO_CLIENT, hole[1], None, 20, 2)
    rows += stream.feed(TO_CLIENT, frame(b"unknown"), 20, 20, 2)
    rows += stream.feed(TO_SERVER, frame(b"known", masked=True), 30, 30, 3)
    assert [row.text for row in messages(rows) if row.is_complete] == ["last", "known"]
    assert anomalies(rows) == [("framing_lost", 2, "RFC 6455 section 5.2")]


def test_after_a_hole_in_a_compressed_message_later_ones_are_known_as_far_as_they_do_not_refer_to_it() -> None:
    for facts, texts in ((DEFLATE, [None, None, "new words"]), (NO_TAKEOVER, [None, "repeated words", "new words"])):
        compressor = zlib.compressobj(wbits=-9)
        wires = []
        for data in (b"repeated words", b"repeated words", b"new words"):
            wires.append(frame((compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv1=True))
            if facts is NO_TAKEOVER or data == b"repeated words":
                compressor = zlib.compressobj(wbits=-9, zdict=b"repeated words" if facts is DEFLATE and len(wires) < 2 else b"")
        stream = open_stream(facts)
        rows = stream.feed(TO_CLIENT, wires[0][:8], 10, 10, 1)
        rows += stream.gap(TO_CLIENT, len(wires[0]) - 8, None, 20, 2)
        rows += stream.feed(TO_CLIENT, wires[1] + wires[2], 20, 20, 2)
        assert [row.text for row in messages(rows)] == texts
        assert [row.is_complete for row in messages(rows)] == [False, True, True]
        assert [row.payload_bytes for row in messages(rows)] == [None, 14, 9]
        assert anomalies(rows) == []


def test_text_is_told_when_what_is_shown_of_it_does_not_refer_to_a_hole() -> None:
    compressor = zlib.compressobj(wbits=-15)
    texts = ["lost words of some length", "n" * 300 + "lost words of some length"]
    wires = [frame((compressor.compress(text.encode()) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv1=True) for text in texts]
    for content in ("preview", "hash", "store"):
        stream = open_stream(DEFLATE, content)
        rows = stream.feed(TO_CLIENT, wires[0][:8], 10, 10, 1)
        rows += stream.gap(TO_CLIENT, len(wires[0]) - 8, None, 20, 2)
        rows += stream.feed(TO_CLIENT, wires[1], 20, 20, 2)
        row = messages(rows)[1]
        assert row.text == (None if content == "store" else "n" * 256)
        assert (row.payload_bytes, row.payload_sha256, row.is_complete) == (325, None, True)


def test_a_message_that_does_not_inflate_is_an_anomaly_and_null() -> None:
    rows = follow([(TO_CLIENT, frame(b"\xff\xff", rsv1=True)), (TO_CLIENT, frame(b"plain"))], DEFLATE)
    assert messages(rows) == [
        message(0, "to_client", "text", 1, wire_bytes=4, is_compressed=True),
        message(1, "to_client", "text", 2, wire_bytes=7, payload_bytes=5, text="plain"),
    ]
    assert anomalies(rows) == [("protocol_error", 1, "RFC 7692 section 7.2.2")]


def test_a_message_that_inflates_without_end_is_given_up() -> None:
    compressor = zlib.compressobj(wbits=-15)
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(80)) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]
    rows = follow([(TO_CLIENT, frame(bomb, 2, rsv1=True))], DEFLATE, content="store")
    assert messages(rows) == [message(0, "to_client", "binary", 1, wire_bytes=len(bomb) + 10, is_compressed=True)]
    assert anomalies(rows) == [("limit", 1, None)]


def open_two(connection: int, most: int, content: str = "preview") -> list[Stream]:
    """The streams of two connections that may take ``connection`` bytes for contents, and both together ``most``."""
    context = Context([WebSocketDissector], content)
    context.contents.connection_bytes = connection
    context.contents.most_bytes = most
    scopes = [Scope(context, connection_id, "tcp", 80, True) for connection_id in (7, 8)]
    return [Stream(scope, None, "websocket", None, DEFLATE) for scope in scopes]


def limit(packet: int, required: str, occurrences: int = 1) -> AnomalyRecord:
    """The row of a limit reached towards the client."""
    return AnomalyRecord(
        capture_index=None,
        connection_id=7,
        stream_index=0,
        direction="to_client",
        occurred_at=packet * 10,
        packet=packet,
        kind="limit",
        required=required,
        found="more",
        section=None,
        missing_bytes=None,
        occurrences=occurrences,
    )


def test_a_connection_that_gives_its_window_up_for_others_says_so_once_and_tells_no_text_that_refers_to_it() -> None:
    most = 2 * limits.INFLATER_BYTES
    stream, other = open_two(limits.CONTENT_CONNECTION_BYTES, most)
    compressor = zlib.compressobj(wbits=-15)
    texts = [b"words of the window", b"words of the window again", b"0123", b"\x01"]
    wires = [frame((compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv1=True) for text in texts]
    hello = bytes.fromhex("f248cdc9c90700")
    rows = stream.feed(TO_CLIENT, wires[0], 10, 10, 1)
    for direction in (TO_CLIENT, TO_SERVER):
        other.feed(direction, frame(hello, masked=direction == TO_SERVER, rsv1=True), 15, 15, 1)
    for number in (1, 2, 3):
        rows += stream.feed(TO_CLIENT, wires[number], number * 10 + 10, number * 10 + 10, number + 1)
    assert rows == [
        message(
            0, "to_client", "text", 1, wire_bytes=len(wires[0]), payload_bytes=19, is_compressed=True, text=texts[0].decode()
        ),
        limit(2, f"at most {most} bytes for the open contents of all connections"),
        message(1, "to_client", "text", 2, wire_bytes=len(wires[1]), payload_bytes=25, is_compressed=True),
        message(2, "to_client", "text", 3, wire_bytes=len(wires[2]), payload_bytes=4, is_compressed=True, text="0123"),
        message(3, "to_client", "text", 4, wire_bytes=len(wires[3]), payload_bytes=1, is_compressed=True, text="\x01"),
    ]


@pytest.mark.parametrize("content", ["preview", "hash", "store"])
def test_a_compressed_message_that_is_open_when_memory_is_wanted_by_others_is_not_known(content: str) -> None:
    most = 2 * limits.INFLATER_BYTES
    required = f"at most {most} bytes for the open contents of all connections"
    stream, other = open_two(limits.CONTENT_CONNECTION_BYTES, most, content)
    wire = bytes.fromhex("f248cdc9c90700")
    whole = frame(wire, rsv1=True)
    rows = stream.feed(TO_CLIENT, whole[:5], 10, 10, 1)
    for direction in (TO_CLIENT, TO_SERVER):
        other.feed(direction, frame(wire, masked=direction == TO_SERVER, rsv1=True), 15, 15, 1)
    rows += stream.feed(TO_CLIENT, whole[5:] + frame(b"plain", 2), 20, 20, 2)
    plain = message(1, "to_client", "binary", 2, wire_bytes=7, payload_bytes=5)
    if content != "preview":
        plain.payload_sha256 = hashlib.sha256(b"plain").hexdigest()
    if content == "store":
        plain.payload = b"plain"
    assert rows == [
        limit(2, required),
        message(0, "to_client", "text", 1, ended_at=20, last_packet=2, wire_bytes=9, is_compressed=True),
        plain,
    ]
    assert 0 < stream.context.contents.open_bytes <= most
    stream.feed(TO_CLIENT, frame(b"\x02", rsv1=True), 30, 30, 3)  # from here on two windows
    for each in (stream, other):
        for direction in (TO_SERVER, TO_CLIENT):
            each.close(direction, CloseReason.FIN, 40, 4)
    assert stream.context.contents.open_bytes == 0


def test_a_message_that_is_never_finished_says_that_its_memory_was_given_up() -> None:
    most = 2 * limits.INFLATER_BYTES
    stream, other = open_two(limits.CONTENT_CONNECTION_BYTES, most, "store")
    wire = bytes.fromhex("f248cdc9c90700")
    rows = stream.feed(TO_CLIENT, frame(wire, rsv1=True)[:8], 10, 10, 1)
    for direction in (TO_CLIENT, TO_SERVER):
        other.feed(direction, frame(wire, masked=direction == TO_SERVER, rsv1=True), 15, 15, 1)
    rows += stream.close(TO_CLIENT, CloseReason.FIN, 20, 2)
    assert rows == [
        limit(2, f"at most {most} bytes for the open contents of all connections"),
        message(0, "to_client", "text", 1, wire_bytes=8, is_compressed=True, is_complete=False),
    ]


def test_what_is_stored_of_open_messages_is_given_up_beyond_the_share_of_a_connection_and_hashed_all_the_same() -> None:
    required = "at most 10000 bytes for the open contents of a connection"
    for opcode in (1, 2):
        stream, _ = open_two(10_000, 50_000, "store")
        first, second = frame(b"f" * 9_000, opcode), frame(b"s" * 11_000, opcode)
        rows = stream.feed(TO_CLIENT, first[:5_000], 10, 10, 1)
        rows += stream.feed(TO_CLIENT, first[5_000:] + second[:5_000], 20, 20, 2)
        rows += stream.feed(TO_CLIENT, second[5_000:], 30, 30, 3)
        name = "text" if opcode == 1 else "binary"
        kept: dict[str, object] = {"text": "f" * 9_000} if opcode == 1 else {"payload": b"f" * 9_000}
        digests = [hashlib.sha256(data).hexdigest() for data in (b"f" * 9_000, b"s" * 11_000)]
        assert rows == [
            message(
                0,
                "to_client",
                name,
                1,
                ended_at=20,
                last_packet=2,
                wire_bytes=9_004,
                payload_bytes=9_000,
                payload_sha256=digests[0],
                **kept,
            ),
            limit(3, required),
            message(
                1,
                "to_client",
                name,
                2,
                ended_at=30,
                last_packet=3,
                wire_bytes=11_004,
                payload_bytes=11_000,
                payload_sha256=digests[1],
            ),
        ]
        assert (stream.context.contents.open_bytes, stream.context.contents.row_bytes) == (0, 9_000)


def test_a_connection_whose_share_is_too_small_to_inflate_says_so_for_each_message() -> None:
    stream, _ = open_two(1000, 5000)
    hello = frame(bytes.fromhex("f248cdc9c90700"), rsv1=True)
    rows = stream.feed(TO_CLIENT, hello + frame(b"plain") + hello, 10, 10, 1)
    required = "at most 1000 bytes for the open contents of a connection"
    assert rows == [
        limit(1, required),
        message(0, "to_client", "text", 1, wire_bytes=9, is_compressed=True),
        message(1, "to_client", "text", 1, wire_bytes=7, payload_bytes=5, text="plain"),
        limit(1, required),
        message(2, "to_client", "text", 1, wire_bytes=9, is_compressed=True),
    ]


def test_compressed_messages_are_the_same_whether_they_come_whole_or_in_pieces() -> None:
    compressor = zlib.compressobj(wbits=-15)
    texts = [b"words", b"words again", b"\xff no text", b"", b"n" * 70_000]
    wires = [frame((compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv1=True) for text in texts]
    wires += [frame(b"\xff\xff", rsv1=True), frame(b"", rsv1=True)] * (limits.INFLATE_FAILURES + 3)
    pieces = [(TO_CLIENT, b"".join(wires))]
    rows = [replace_packets(follow(given, DEFLATE)[:-1]) for given in (pieces, rechunk(pieces, list(range(400))))]
    assert rows[0] == rows[1]
    assert [row.text for row in messages(rows[0])][:5] == ["words", "words again", "", "", "n" * 256]
    assert [row.payload_bytes for row in messages(rows[0])] == [
        5,
        11,
        9,
        0,
        70_000,
        *[None, 0] * (limits.INFLATE_FAILURES - 1),
        None,
        *[None] * 7,
    ]


def replace_packets(rows: Rows) -> Rows:
    """Rows without what tells in which piece their bytes came."""
    for row in rows:
        for name in ("started_at", "ended_at", "first_packet", "last_packet", "occurred_at", "packet"):
            if hasattr(row, name):
                setattr(row, name, 0)
    return rows


@pytest.mark.parametrize("reason", [CloseReason.FIN, CloseReason.CAPTURE_END])
def test_a_message_cut_by_the_end_is_told_only_as_far_as_its_sender_said_it(reason: CloseReason) -> None:
    rows = follow([(TO_CLIENT, frame(b"unfinished")[:6])], reason=reason)
    known = {"wire_bytes": 6, "payload_bytes": 4, "text": "unfi"} if reason is CloseReason.FIN else {"frame_count": None}
    assert messages(rows) == [message(0, "to_client", "text", 1, is_complete=False, **known)]


def test_bytes_that_waited_make_their_message_stalled_and_no_other() -> None:
    stream = open_stream()
    scope = stream.scope
    rows = stream.feed(TO_CLIENT, frame(b"early"), 10, 10, 1)
    scope.begin_stall()
    rows += stream.feed(TO_CLIENT, frame(b"retransmitted"), 90, 90, 5)
    rows += stream.feed(TO_CLIENT, frame(b"waited, and ", final=False), 20, 90, 2)
    rows += stream.feed(TO_CLIENT, frame(b"waited", 0), 30, 90, 3)
    scope.end_stall()
    assert [(row.text, row.stalled_ns) for row in messages(rows)] == [
        ("early", 0),
        ("retransmitted", 0),
        ("waited, and waited", 70),
    ]


def test_a_conversation_whose_handshake_was_not_seen_is_recognised_by_both_sides_frames() -> None:
    to_server = frame(b"one", masked=True) + frame(b"two", masked=True) + frame(b"", 9, masked=True)
    to_client = frame(b"one") + frame(b"two") + frame(b"", 10)
    assert WebSocketDissector.probe(to_server, to_client) is Match.YES
    assert WebSocketDissector.probe(to_client, to_server) is Match.NO
    assert WebSocketDissector.probe(to_server, b"") is Match.MAYBE
    assert WebSocketDissector.probe(b"GET / HTTP/1.1\r\n", b"") is Match.NO
    stream = Stream(Scope(Context([WebSocketDissector]), 7, "tcp", 4000, False))
    rows: Rows = []
    for direction, data in ((TO_CLIENT, to_server), (TO_SERVER, to_client)):  # the sides the other way round
        rows += stream.gap(direction, None, None, 5, 1)
        rows += stream.feed(direction, data, 10, 10, 1)
    assert stream.reversed
    assert [(row.direction, row.text) for row in messages(rows)] == [
        ("to_server", "one"),
        ("to_server", "two"),
        ("to_server", None),
        ("to_client", "one"),
        ("to_client", "two"),
        ("to_client", None),
    ]


def test_a_direction_whose_beginning_is_missing_waits_for_frames_in_a_row_and_gives_up_on_noise() -> None:
    stream = open_stream()
    rows = stream.gap(TO_SERVER, None, None, 5, 1) + stream.gap(TO_CLIENT, None, None, 5, 1)
    for packet, data in enumerate((frame(b"one"), frame(b"two")[:3], frame(b"two")[3:], frame(b"three")), 2):
        rows += stream.feed(TO_CLIENT, data, packet * 10, packet * 10, packet)
    rows += stream.feed(TO_SERVER, b"noise", 90, 90, 9)
    assert [(row.text, row.first_packet, row.last_packet) for row in messages(rows)] == [
        ("one", 2, 2),
        ("two", 3, 4),
        ("three", 5, 5),
    ]
    assert anomalies(rows) == [("framing_lost", 9, "RFC 6455 section 5.2")]


class Tape:
    """A tap that keeps what it gets."""

    def __init__(self) -> None:
        self.written: list[tuple[int, int, int, str, bytes]] = []

    def write(self, stream_index: int, direction: int, timestamp: int, kind: str, data: bytes) -> None:
        if kind == "message":
            self.written.append((stream_index, direction, timestamp, kind, data))

    def turn(self, stream_index: int, direction: int, index: int) -> None:
        """Whose it is does not matter."""

    def outlet(self, stream_index: int, index: int, part: str) -> None:
        """Contents are not wanted on their own."""


def test_a_followed_stream_gives_its_decoded_messages_to_the_tap() -> None:
    context = Context([WebSocketDissector])
    tape = Tape()
    context.taps = {7: tape}
    stream = Stream(Scope(context, 7, "tcp", 80, True), None, "websocket", None, DEFLATE)
    large = frame(b"\x01" * 3000, 2)
    stream.feed(TO_CLIENT, bytes.fromhex("c107f248cdc9c90700") + large[:50], 10, 10, 1)
    stream.feed(TO_CLIENT, large[50:] + frame(b"", 9), 20, 20, 2)
    stream.feed(TO_SERVER, frame(b"masked", masked=True), 30, 30, 3)
    assert tape.written == [
        (0, TO_CLIENT, 10, "message", b"Hello"),
        (0, TO_CLIENT, 10, "message", b"\x01" * 3000),
        (0, TO_SERVER, 30, "message", b"masked"),
    ]


# --- peers

PAYLOADS = st.lists(st.tuples(st.booleans(), st.one_of(st.text(max_size=80), st.binary(max_size=200))), max_size=8)


def rechunk(pieces: list[tuple[int, bytes]], cuts: list[int]) -> list[tuple[int, bytes]]:
    """The same bytes in other pieces."""
    result = []
    for direction, data in pieces:
        edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
        result += [(direction, data[start:end]) for start, end in pairwise(edges) if end > start]
    return result


def summary(rows: Rows) -> list[tuple[object, ...]]:
    ordered = sorted(messages(rows), key=lambda row: row.message_index)
    return [(row.direction, row.opcode, row.text, row.payload_sha256, row.is_compressed) for row in ordered]


def sent(direction: str, payload: str | bytes, is_compressed: bool) -> tuple[object, ...]:
    data = payload.encode() if isinstance(payload, str) else payload
    text = payload if isinstance(payload, str) else None
    opcode = "binary" if text is None else "text"
    return direction, opcode, text, hashlib.sha256(data).hexdigest(), is_compressed


@settings(max_examples=40, deadline=None)
@given(
    PAYLOADS,
    st.sampled_from([None, (False, False, 15), (True, False, 9), (True, True, 12)]),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_what_the_websockets_library_sends_is_what_we_read(
    payloads: list[tuple[bool, str | bytes]], deflate: tuple[bool, bool, int] | None, cuts: list[int]
) -> None:
    client = websockets.client.ClientProtocol(parse_uri("ws://example.org/"), state=State.OPEN)
    server = websockets.server.ServerProtocol(state=State.OPEN)
    facts = {"sec-websocket-extensions": ""}
    if deflate is not None:
        server_fresh, client_fresh, bits = deflate
        client.extensions = [PerMessageDeflate(server_fresh, client_fresh, bits, bits)]
        server.extensions = [PerMessageDeflate(client_fresh, server_fresh, bits, bits)]
        words = ["permessage-deflate", f"server_max_window_bits={bits}", f"client_max_window_bits={bits}"]
        words += ["server_no_context_takeover"] * server_fresh + ["client_no_context_takeover"] * client_fresh
        facts = {"sec-websocket-extensions": "; ".join(words)}
    pieces = []
    expected: list[tuple[object, ...]] = []
    for is_client, payload in payloads:
        peer = client if is_client else server
        if isinstance(payload, str):
            peer.send_text(payload.encode())
        else:
            peer.send_binary(payload)
        pieces.append((TO_SERVER if is_client else TO_CLIENT, b"".join(peer.data_to_send())))
        expected.append(sent("to_server" if is_client else "to_client", payload, deflate is not None))
    client.send_close(CloseCode.NORMAL_CLOSURE, "done")
    pieces.append((TO_SERVER, b"".join(client.data_to_send())))
    rows = follow(rechunk(pieces, cuts), facts, content="store")
    assert summary(rows)[:-1] == expected
    assert anomalies(rows) == []
    last = max(messages(rows), key=lambda row: row.message_index)
    assert (last.opcode, last.close_code, last.close_reason, last.payload_bytes) == ("close", 1000, "done", 6)


FRAGMENTED = st.lists(st.tuples(st.booleans(), st.lists(st.text(max_size=30), min_size=1, max_size=4)), max_size=5)


@settings(max_examples=40, deadline=None)
@given(FRAGMENTED, st.lists(st.integers(0, 200), max_size=5))
def test_what_wsproto_sends_in_fragments_with_pings_between_is_what_we_read(
    texts: list[tuple[bool, list[str]]], cuts: list[int]
) -> None:
    peers = {True: Connection(ConnectionType.CLIENT), False: Connection(ConnectionType.SERVER)}
    pieces = []
    expected: list[tuple[object, ...]] = []
    for is_client, parts in texts:
        direction = TO_SERVER if is_client else TO_CLIENT
        name = "to_server" if is_client else "to_client"
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            pieces.append((direction, peers[is_client].send(wsproto.events.TextMessage(data=part, message_finished=is_last))))
            if number == 0:
                expected.append(sent(name, "".join(parts), False))
            if not is_last:
                pieces.append((direction, peers[is_client].send(wsproto.events.Ping(payload=b"?"))))
                expected.append((name, "ping", None, hashlib.sha256(b"?").hexdigest(), False))
    rows = follow(rechunk(pieces, cuts), content="store")
    assert summary(rows) == expected
    assert anomalies(rows) == []


# --- real captures


def reassembled(folder: Path, name: str) -> list[tuple[int, bytes, int, int]]:
    """The payloads of a capture whose one connection is in order: direction, data, ns, frame number; checked by the reference's hash."""
    pieces = []
    client_port = None
    with (folder / name).open("rb") as file:
        for number, (_, packet) in enumerate(dpkt.pcap.Reader(file), 1):
            segment = dpkt.ethernet.Ethernet(packet).data.data
            if client_port is None:
                client_port = segment.sport
            if segment.data:
                pieces.append(
                    (TO_SERVER if segment.sport == client_port else TO_CLIENT, bytes(segment.data), number * 1000, number)
                )
    truth = json.loads((folder / "_truth" / f"{name}.truth.json").read_text())
    for direction in (TO_SERVER, TO_CLIENT):
        digest = hashlib.sha1(b"".join(data for way, data, _, _ in pieces if way == direction)).hexdigest()
        assert digest in json.dumps(truth)
    return pieces


def conversation(folder: Path, name: str, facts: dict[str, str]) -> Rows:
    """The rows of a capture's WebSocket connection, from the bytes after its handshake."""
    stream = open_stream(facts)
    rows: Rows = []
    heads = {TO_SERVER: b"", TO_CLIENT: b""}
    for direction, data, timestamp, number in reassembled(folder, name):
        if b"\r\n\r\n" not in heads[direction]:
            heads[direction] += data
            data = heads[direction].partition(b"\r\n\r\n")[2]
        if data:
            rows += stream.feed(direction, data, timestamp, timestamp, number)
    return rows


ZEEK = "zeek+zeek/testing/btest/Traces/"
SURICATA = "OISF+suricata-verify/tests/"


def test_the_capture_of_a_fragmented_message_has_the_rows_its_reference_has(shared_captures: Path) -> None:
    rows = conversation(shared_captures, ZEEK + "websocket/two-binary-fragments.pcap", {})
    assert [(row.first_packet, row.opcode, row.frame_count, row.payload_bytes, row.close_code) for row in messages(rows)] == [
        (8, "ping", 1, 4, None),
        (10, "pong", 1, 4, None),
        (11, "binary", 1, 11, None),
        (13, "binary", 2, 12, None),
        (14, "close", 1, 2, 1000),
        (15, "close", 1, 2, 1000),
    ]
    assert anomalies(rows) == []


def test_the_capture_of_a_notebook_has_the_messages_that_zeek_logged(shared_captures: Path) -> None:
    rows = conversation(shared_captures, ZEEK + "websocket/jupyter-websocket.pcap", {"sec-websocket-extensions": ""})
    baseline = "_oracle/zeek+zeek/testing/btest/Baseline/scripts.base.protocols.websocket.events/out"
    expected = []
    for line in (shared_captures / baseline).read_text().partition("wstunnel")[0].splitlines():
        words = line.split(", ")
        if words[0] == "websocket_frame":
            expected.append(("to_server" if words[2] == "T" else "to_client", words[8], int(words[10])))
    assert [(row.direction, row.opcode, row.payload_bytes) for row in messages(rows)] == expected
    assert len(expected) == 14


def test_the_capture_of_compressed_messages_inflates_to_their_text(shared_captures: Path) -> None:
    facts = {"sec-websocket-extensions": "permessage-deflate; client_max_window_bits=15"}
    rows = conversation(shared_captures, SURICATA + "websocket-compressed/example_websocket.pcap", facts)
    assert [row.wire_bytes for row in messages(rows)] == [size + 2 for size in (38, 23, 18, 18, 20, 19, 20, 20, 15, 20)]
    assert all(row.is_compressed and row.is_complete and row.text for row in messages(rows))
    assert anomalies(rows) == []


def test_the_capture_of_a_test_page_has_the_messages_its_reference_has(shared_captures: Path) -> None:
    rows = conversation(shared_captures, SURICATA + "websocket/basic_websockets.pcap", {})
    assert [row.payload_bytes for row in messages(rows)] == [10, 8, 21, 17, 17, 6] + [24] * 11
    assert {row.opcode for row in messages(rows)} == {"text"}
    assert all(row.text is not None and len(row.text) == row.payload_bytes for row in messages(rows))


def test_a_length_near_the_largest_integer_is_a_message_that_never_ends() -> None:
    rows = follow(
        [
            (TO_CLIENT, bytes.fromhex("827f7fffffffffffffff") + b"abcdefgh"),
            (TO_CLIENT, b"more"),
            (TO_SERVER, bytes.fromhex("81ff7fffffffffffffff00000000") + b"abcdefgh"),
        ]
    )
    found = sorted((row.direction, row.is_complete, row.payload_bytes) for row in messages(rows))
    assert found == [("to_client", False, 12), ("to_server", False, 8)]
    assert [kind for kind, _, _ in anomalies(rows) if kind == "dissector_error"] == []
