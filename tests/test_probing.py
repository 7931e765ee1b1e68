"""How a stream finds its dissector where one side says nothing that tells, or nothing at all for long."""

import csv
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hpack
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from analyzer import limits, pipeline, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Context
from analyzer.http.semantics import HttpExchangeRecord
from analyzer.records import AnomalyRecord, ConnectionRecord, Rows, StreamRecord
from analyzer.scope import Scope
from analyzer.stream import Stream
from analyzer.tls.tls_rows import TlsHandshakeRecord

CONTENT = random.Random(7).randbytes(30_000)  # the same each time
SETTINGS = bytes.fromhex("000006040000000000 000300000064")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Paper:
    """A tap that takes what it is given."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, str, bytes]] = []

    def write(self, stream_index: int, direction: int, timestamp: int, kind: str, data: bytes) -> None:
        self.pieces.append((direction, kind, data))

    def turn(self, stream_index: int, direction: int, index: int) -> None:
        """Whose it is does not matter."""

    def outlet(self, stream_index: int, index: int, part: str) -> None:
        """Contents are not wanted on their own."""


@dataclass
class Played:
    """A stream that was fed, and its rows."""

    stream: Stream
    rows: list[Any]
    tap: Paper

    def exchanges(self) -> list[tuple[object, ...]]:
        return [
            (row.request_method, row.target, row.status_code, row.end_reason)
            for row in self.rows
            if type(row) is HttpExchangeRecord
        ]

    def faults(self) -> list[tuple[str, str | None, str | None]]:
        return [(row.kind, row.direction, row.found) for row in self.rows if type(row) is AnomalyRecord]

    def row(self) -> StreamRecord:
        (row,) = [row for row in self.rows if type(row) is StreamRecord and row.stream_index == 0]
        return row


def play(
    *steps: tuple[int, bytes | None],
    chunk: int = 1 << 20,
    roles_proven: bool = True,
    is_tapped: bool = False,
    first: int = TO_SERVER,
) -> Played:
    """Feed bytes and gaps of unknown length (None), each step 10 ns after the one before, and end with FIN on both sides."""
    context = Context(protocols.dissectors())
    tap = Paper()
    if is_tapped:
        context.taps = {1: tap}
    scope = Scope(context, 1, "tcp", 7777, roles_proven=roles_proven)
    stream = Stream(scope)
    rows: list[Any] = []
    for at, (direction, what) in enumerate(steps, 1):
        direction ^= first ^ int(stream.reversed)
        if what is None:
            rows += stream.gap(direction, None, None, at * 10, at)
        else:
            for start in range(0, len(what), chunk):
                rows += stream.feed(direction, what[start : start + chunk], at * 10, at * 10, at)
    for direction in (TO_SERVER, TO_CLIENT):
        rows += stream.close(direction, CloseReason.FIN, len(steps) * 10 + 10, len(steps) + 1)
    return Played(stream, rows + scope.finish(), tap)


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def request(stream_id: int, path: str) -> bytes:
    block = hpack.Encoder().encode([(":method", "GET"), (":scheme", "http"), (":path", path)], huffman=False)
    return frame(1, 5, stream_id, block)


def answer(stream_id: int) -> bytes:
    return frame(1, 4, stream_id, b"\x88") + frame(0, 1, stream_id, b"hi")


def test_an_http1_request_to_a_server_that_speaks_http2_first_is_an_exchange_without_response() -> None:
    asks = (
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    )
    leaves = frame(7, 0, 0, bytes(7) + b"\1")
    played = play((TO_CLIENT, SETTINGS), (TO_SERVER, asks), (TO_CLIENT, leaves))
    assert played.stream.protocol == "http1"
    assert played.exchanges() == [(b"GET", b"/a", None, "no response")]
    assert played.faults() == [("protocol_error", "to_client", "00 00 06 04")]


def test_a_server_that_speaks_http2_to_a_client_that_says_nothing_is_http2() -> None:
    played = play((TO_CLIENT, SETTINGS))
    assert (played.stream.protocol, played.faults()) == ("http2", [])


def test_decoded_as_http2_a_request_of_http1_is_no_hole() -> None:
    context = Context(protocols.dissectors(), decode_as={("tcp", 80): "http2"})
    stream = Stream(Scope(context, 1, "tcp", 80, roles_proven=True))
    rows = stream.feed(TO_SERVER, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 10, 10, 1)
    assert [(row.kind, row.required, row.found, row.section) for row in rows] == [
        ("framing_lost", "the connection preface", "other bytes", "RFC 9113 section 3.4")
    ]


@pytest.mark.parametrize("first", [TO_SERVER, TO_CLIENT], ids=["sides as they are", "sides turned around"])
@pytest.mark.parametrize("chunk", [100, 1448, 1 << 20])
def test_http2_joined_in_a_long_answer_is_known_by_the_next_request(chunk: int, first: int) -> None:
    played = play(
        (TO_CLIENT, None),
        (TO_CLIENT, CONTENT),
        (TO_SERVER, None),
        (TO_SERVER, request(9, "/nine") + request(11, "/eleven")),
        (TO_CLIENT, answer(9) + answer(11)),
        chunk=chunk,
        roles_proven=False,
        first=first,
    )
    row = played.row()
    assert (row.protocol, row.bytes_to_client, row.missing_bytes) == ("http2", len(CONTENT + answer(9) * 2), 0)
    assert played.stream.reversed == bool(first)
    assert played.stream.tells_roles
    assert played.exchanges() == [(b"GET", b"/nine", 200, "complete"), (b"GET", b"/eleven", 200, "complete")]
    assert played.faults() == [("recognised_late", "to_client", f"{len(CONTENT)} bytes before it was")]


def test_http1_joined_in_a_long_answer_is_known_by_the_next_request() -> None:
    played = play(
        (TO_CLIENT, None),
        (TO_CLIENT, CONTENT),
        (TO_SERVER, None),
        (TO_SERVER, b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"),
        (TO_CLIENT, OK),
    )
    assert played.exchanges() == [(b"GET", b"/next", 200, "complete")]
    assert played.faults() == [("recognised_late", "to_client", f"{len(CONTENT)} bytes before it was")]
    (late,) = [row for row in played.rows if type(row) is AnomalyRecord]
    assert late.missing_bytes == len(CONTENT)


def test_a_hole_in_what_was_let_pass_is_counted_once() -> None:
    context = Context(protocols.dissectors())
    stream = Stream(Scope(context, 1, "tcp", 80, roles_proven=True))
    rows: list[Any] = []
    for start in (0, 10_000, 20_000):
        rows += stream.feed(TO_CLIENT, CONTENT[start : start + 10_000], 10, 10, 1)
        rows += stream.gap(TO_CLIENT, 500, 500, 10, 1)
    rows += stream.feed(TO_SERVER, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 20, 20, 2)
    assert (stream.protocol, stream.missing_bytes, stream.bytes_to_client) == ("http1", 1500, 30_000)
    assert [row.found for row in rows if type(row) is AnomalyRecord] == ["30000 bytes before it was"]


def test_what_is_behind_a_hole_is_not_held_without_end() -> None:
    context = Context(protocols.dissectors())
    stream = Stream(Scope(context, 1, "tcp", 80, roles_proven=True))
    rows = stream.feed(TO_CLIENT, CONTENT[:100], 10, 10, 1) + stream.gap(TO_CLIENT, 500, 500, 10, 1)
    for _ in range(20):
        rows += stream.feed(TO_CLIENT, CONTENT, 20, 20, 2)
        assert stream.scope.held_bytes < 2 * limits.PROBE_HELD_BYTES
    rows += stream.feed(TO_SERVER, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 30, 30, 3)
    rows += stream.feed(TO_CLIENT, OK, 40, 40, 4)
    assert (stream.protocol, stream.missing_bytes, stream.bytes_to_client) == ("http1", 500, 100 + 20 * 30_000 + len(OK))
    assert [(row.target, row.status_code) for row in rows if type(row) is HttpExchangeRecord] == [(b"/", 200)]


def test_tls_joined_in_a_record_is_known_by_one_of_the_other_side() -> None:
    alert = b"\x15\x03\x03\x00\x1a" + CONTENT[:26]
    for said in (b"\x17\x03\x03\x00\x2e" + CONTENT[:46], alert):
        played = play((TO_CLIENT, None), (TO_CLIENT, CONTENT), (TO_SERVER, None), (TO_SERVER, said))
        assert played.stream.protocol == "tls"
        (row,) = [row for row in played.rows if type(row) is TlsHandshakeRecord]
        assert (row.is_decrypted, row.not_decrypted_reason) == (False, "ClientHello not captured")


def test_what_nobody_understands_is_let_pass_and_told_at_the_end() -> None:
    played = play((TO_CLIENT, CONTENT), (TO_SERVER, b"\1\2\3\4\5"), (TO_CLIENT, CONTENT), is_tapped=True)
    assert played.faults() == [("not_understood", None, f"to server 01 02 03 04, to client {CONTENT[:4].hex(' ')}")]
    unknown = b"".join(data for direction, kind, data in played.tap.pieces if kind == "unknown" and direction == TO_CLIENT)
    assert unknown == CONTENT * 2
    assert b"".join(data for direction, kind, data in played.tap.pieces if (direction, kind) == (TO_SERVER, "unknown")) == bytes(
        [1, 2, 3, 4, 5]
    )


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300))
def test_random_bytes_are_no_protocol(first: bytes, second: bytes, third: bytes) -> None:
    said = first * 2 + second + third
    assume(b"HTTP/1." not in said and b"PRI * HTTP/2.0" not in said)  # Hypothesis knows them from the code
    played = play((TO_CLIENT, first * 30), (TO_SERVER, second), (TO_CLIENT, third), (TO_SERVER, first), roles_proven=False)
    assert played.stream.protocol is None


SAMPLES = Path(__file__).resolve().parent.parent.parent / "shared" / "captures"
NAMES = {"http": "http1", "http2": "http2", "tls": "tls", "websocket": "websocket"}  # tshark's names and ours
UNKNOWN = {  # what tshark finds when it is told the port
    "grpc-server-stream.pcap": {"http2"},
    "grpc-service-name.pcap": {"http2"},
    "http-single-conn-22.pcap": {"http1"},
}
LARGEST = 2 << 20


class Protocols:
    """Keeps which protocols were recognised."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def add(self, rows: Rows) -> None:
        self.found.update(row.protocol for row in rows if type(row) is ConnectionRecord and row.protocol is not None)


def foreign() -> list[tuple[Path, set[str]]]:
    """pcap files that others made, and what tshark finds in the whole of each."""
    index = SAMPLES / "INDEX.tsv"
    if not index.is_file():
        return []
    with index.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    paths = [(SAMPLES / row["file"], row) for row in rows if int(row["size"]) < LARGEST]
    return [
        (path, {NAMES[name] for name in row["link_and_protocols"].split(",") if name in NAMES})
        for path, row in paths
        if path.is_file() and path.read_bytes()[:4] == b"\xd4\xc3\xb2\xa1"
    ]


def places(data: bytes) -> list[int]:
    """Where the packets of a pcap file begin."""
    found = []
    at = 24
    while at + 16 <= len(data):
        found.append(at)
        at += 16 + int.from_bytes(data[at + 8 : at + 12], "little")
    return found


@pytest.mark.parametrize("part", [0.1, 0.4, 0.7])
def test_no_capture_that_begins_late_holds_what_the_whole_of_it_does_not(part: float, tmp_path: Path) -> None:
    wrong = []
    for path, known in foreign():
        data = path.read_bytes()
        begins = places(data)
        if len(begins) < 3:
            continue
        late = tmp_path / "late.pcap"
        late.write_bytes(data[:24] + data[begins[int(len(begins) * part)] :])
        captures = CaptureSet([str(late)])
        kept = Protocols()
        assert pipeline.run(captures, Context(protocols.dissectors()), kept)
        captures.close()
        found = kept.found - known - UNKNOWN.get(path.name, set())
        if found:
            wrong.append((path.name, sorted(found)))
    assert wrong == []
