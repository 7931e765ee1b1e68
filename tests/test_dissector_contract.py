"""What every dissector must hold to, whatever its protocol: run on each one that is found.

A new dissector adds a dialogue to ``DIALOGUES``. A dialogue is a list of rounds; within a round the two directions do not
depend on each other, so they may be interleaved in any way.
"""

import gc
import random
import tracemalloc
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Context, Facts, Match
from analyzer.protocols import dissectors
from analyzer.records import AnomalyRecord, FieldLine, Rows, StalledStreamRecord, StallRecord, StreamRecord
from analyzer.schema import Stability, table_of
from analyzer.scope import Scope
from analyzer.stream import Stream

Piece = tuple[int, bytes]
Delivery = tuple[int, bytes | int | None, int]  # direction, bytes or the length of a gap (None: unknown), packet number

FOUND = {dissector.name: dissector for dissector in dissectors()}


@dataclass
class Dialogue:
    """What two peers say to each other."""

    dissector: str
    name: str
    rounds: list[list[Piece]]
    facts: Facts = field(default_factory=dict)
    is_probed: bool = True  # its first bytes show what it is
    again: int | None = None  # the round from which it could be said again and again
    key_log: bytes = b""


def frame(payload: bytes, first: int, key: bytes = b"") -> bytes:
    """A WebSocket frame."""
    length = len(payload)
    head = bytes([first, (0x80 if key else 0) | (length if length < 126 else 126)])
    head += b"" if length < 126 else length.to_bytes(2, "big")
    return head + key + (bytes(octet ^ key[at % 4] for at, octet in enumerate(payload)) if key else payload)


KEY = bytes.fromhex("37fa213d")
HELLO = bytes.fromhex("f248cdc9c90700")
WEBSOCKET_ROUNDS: list[list[Piece]] = [
    [(TO_SERVER, frame("héllo".encode(), 0x81, KEY)), (TO_CLIENT, frame(b"x" * 300, 0x81)), (TO_CLIENT, frame(b"", 0x89))],
    [(TO_CLIENT, frame(b"a" * 40, 0x01) + frame(b"ping", 0x89) + frame(b"b" * 4, 0x00)), (TO_CLIENT, frame(b"c", 0x80))],
    [(TO_SERVER, frame(bytes(range(256)) * 9, 0x82, KEY)), (TO_CLIENT, frame(bytes(2000), 0x82) + frame(b"after", 0x81))],
    [(TO_SERVER, frame(b"not \xff text", 0x81, KEY)), (TO_CLIENT, frame(b"masked", 0x81, KEY))],
    [(TO_SERVER, frame(b"\x03\xe8bye", 0x88, KEY))],
    [(TO_CLIENT, frame(b"\x03\xe8", 0x88))],
]
DEFLATED_ROUNDS: list[list[Piece]] = [
    [(TO_SERVER, frame(HELLO, 0xC1, KEY)), (TO_CLIENT, frame(HELLO, 0xC1))],
    [
        (TO_CLIENT, frame(bytes.fromhex("f200110000"), 0xC1)),
        (TO_SERVER, frame(HELLO[:3], 0x41, KEY) + frame(HELLO[3:], 0x80, KEY)),
    ],
    [(TO_CLIENT, frame(bytes.fromhex("f348cdc9c9070000"), 0xC2)), (TO_CLIENT, frame(bytes.fromhex("f200110000"), 0xC1))],
    [(TO_CLIENT, frame(b"\xff\xff\xff", 0xC1)), (TO_SERVER, frame(b"plain", 0x81, KEY))],
]


def lines(*parts: str) -> bytes:
    """HTTP/1 lines."""
    return "".join(part + "\r\n" for part in parts).encode()


GET = lines("GET /a?b=c HTTP/1.1", "Host: example.org", "Accept: */*", "")
OK = lines("HTTP/1.1 200 OK", "Content-Type: text/plain", "Content-Length: 5", "") + b"hello"
CHUNKED = lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "", "5", "hello", "3;x=y", "abc", "0", "Checksum: 1", "")
UPGRADE = lines(
    "GET /chat HTTP/1.1", "Host: example.org", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", ""
)
SWITCHING = lines(
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Extensions: permessage-deflate",
    "",
)
HTTP1_ROUNDS: list[list[Piece]] = [
    [(TO_SERVER, GET)],
    [(TO_CLIENT, OK)],
    [(TO_SERVER, lines("POST /form HTTP/1.1", "Host: example.org", "Expect: 100-continue", "Content-Length: 3000", ""))],
    [(TO_CLIENT, lines("HTTP/1.1 100 Continue", ""))],
    [(TO_SERVER, b"f" * 1400), (TO_SERVER, b"f" * 1600)],
    [(TO_CLIENT, CHUNKED)],
    [(TO_SERVER, GET + lines("HEAD / HTTP/1.1", "Host: example.org", "")), (TO_SERVER, GET)],
    [(TO_CLIENT, OK), (TO_CLIENT, lines("HTTP/1.1 404 Not Found", "Content-Length: 99", "") + OK)],
    [(TO_SERVER, GET)],
    [(TO_CLIENT, lines("HTTP/1.0 200 OK", "") + b"until the connection closes"), (TO_CLIENT, b", really")],
]


def http2_rounds() -> list[list[Piece]]:
    """A conversation between two ends of the h2 library: several streams at a time, trailers, a reset, a push, a ping."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    rounds: list[list[Piece]] = []

    def exchange() -> None:
        for sender, receiver, direction in ((client, server, TO_SERVER), (server, client, TO_CLIENT)):
            data = sender.data_to_send()
            if data:
                rounds.append([(direction, data[at : at + 1400]) for at in range(0, len(data), 1400)])
                receiver.receive_data(data)

    def request(stream_id: int, path: str, *, end_stream: bool) -> None:
        fields = [
            (":method", "GET" if end_stream else "POST"),
            (":scheme", "http"),
            (":authority", "example.org"),
            (":path", path),
        ]
        client.send_headers(stream_id, [*fields, ("user-agent", "test"), ("x-number", str(stream_id))], end_stream=end_stream)

    client.initiate_connection()
    server.initiate_connection()
    exchange()
    exchange()
    for stream_id in (1, 3, 5):
        request(stream_id, f"/{stream_id}", end_stream=stream_id != 3)
    client.send_data(3, b"u" * 2000)
    exchange()
    client.send_headers(3, [("checksum", "1")], end_stream=True)
    exchange()
    server.push_stream(1, 2, [(":method", "GET"), (":scheme", "http"), (":authority", "example.org"), (":path", "/pushed")])
    server.send_headers(3, [(":status", "200"), ("content-type", "text/plain")])
    server.send_headers(1, [(":status", "404"), ("content-length", "4")])
    server.send_data(3, b"d" * 3000)
    server.send_data(1, b"gone", end_stream=True)
    server.send_data(3, b"d" * 100)
    server.send_headers(3, [("checksum", "2")], end_stream=True)
    server.send_headers(2, [(":status", "200")], end_stream=True)
    server.ping(b"01234567")
    exchange()
    client.reset_stream(5, 8)
    client.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: 100})
    exchange()
    request(7, "/7", end_stream=True)
    exchange()
    server.send_headers(7, [(":status", "200"), ("x-number", "7")], end_stream=True)
    exchange()
    client.close_connection()
    exchange()
    return rounds


def tls_dialogue(name: str, *, with_keys: bool = True) -> Dialogue:
    """A conversation between two ends of OpenSSL, each turn a round."""
    rounds: list[list[Piece]] = []
    keys = b""
    for line in (Path(__file__).parent / "vectors" / "tls" / f"{name}.txt").read_text().splitlines():
        mark, _, value = line.partition(" ")
        if mark == "key":
            keys += value.encode() + b"\n"
        else:
            data = bytes.fromhex(value)
            way = TO_SERVER if mark == ">" else TO_CLIENT
            rounds.append([(way, data[at : at + 1400]) for at in range(0, len(data), 1400)])
    return Dialogue("tls", name if with_keys else f"{name} without keys", rounds, key_log=keys if with_keys else b"")


DIALOGUES = [
    Dialogue("websocket", "messages", WEBSOCKET_ROUNDS, {"sec-websocket-extensions": ""}, False),
    Dialogue("websocket", "compressed", DEFLATED_ROUNDS, {"sec-websocket-extensions": "permessage-deflate"}, False, 0),
    Dialogue(
        "websocket",
        "compressed anew",
        [DEFLATED_ROUNDS[0], DEFLATED_ROUNDS[3], DEFLATED_ROUNDS[0]],
        {"sec-websocket-extensions": "permessage-deflate; server_no_context_takeover; client_no_context_takeover"},
        False,
    ),
    Dialogue("websocket", "unknown handshake", WEBSOCKET_ROUNDS[:3], {}, False, 0),
    Dialogue("http1", "exchanges", HTTP1_ROUNDS, {}),
    Dialogue("http1", "keep-alive", [[(TO_SERVER, GET)], [(TO_CLIENT, OK)]], {}, True, 0),
    Dialogue("http1", "upgrade", [[(TO_SERVER, UPGRADE)], [(TO_CLIENT, SWITCHING)], *DEFLATED_ROUNDS[:3]]),
    Dialogue("http2", "streams", http2_rounds()),
    tls_dialogue("tls13_http2_retry"),
    tls_dialogue("tls13_client_certificate"),
    tls_dialogue("tls12_gcm"),
    tls_dialogue("tls12_cbc"),
    tls_dialogue("tls12_gcm", with_keys=False),
    tls_dialogue("tls13_client_certificate", with_keys=False),
]
PRESENT = [dialogue for dialogue in DIALOGUES if dialogue.dissector in FOUND]


def each(*chosen: Dialogue) -> pytest.MarkDecorator:
    """Run a test on each of these dialogues."""
    return pytest.mark.parametrize("dialogue", chosen, ids=[f"{one.dissector}, {one.name}" for one in chosen])


each_dialogue = each(*PRESENT)
each_probed_dialogue = each(*[one for one in PRESENT if one.is_probed])
each_endless_dialogue = each(*[one for one in PRESENT if one.again is not None])


class Silent:
    """A tap that drops what it gets: with one, nothing is declined."""

    def write(self, stream_index: int, direction: int, timestamp: int, kind: str, data: bytes) -> None:
        """Drop it."""

    def turn(self, stream_index: int, direction: int, index: int) -> None:
        """Whose it is does not matter."""

    def outlet(self, stream_index: int, index: int, part: str) -> None:
        """Contents are not wanted on their own."""


def deliveries(dialogue: Dialogue) -> list[Delivery]:
    """Its pieces, each in a packet of its own."""
    pieces = [piece for one in dialogue.rounds for piece in one]
    return [(direction, data, number) for number, (direction, data) in enumerate(pieces, 1)]


def opened(dialogue: Dialogue, content: str = "preview", *, tapped: bool = False, probed: bool = False) -> Stream:
    context = Context(list(FOUND.values()), content, frames=True)
    context.key_log.add(dialogue.key_log)
    if tapped:
        context.taps = {5: Silent()}
    scope = Scope(context, 5, "tcp", 4000, True)
    return Stream(scope, None, None if probed else dialogue.dissector, None, dict(dialogue.facts))


def deliver(stream: Stream, given: list[Delivery]) -> Rows:
    """Deliver, each packet a microsecond after the one before."""
    rows: Rows = []
    for direction, data, number in given:
        if isinstance(data, bytes):
            rows += stream.feed(direction, data, number * 1000, number * 1000, number)
        else:
            rows += stream.gap(direction, data, None if data is not None else 1 << 20, number * 1000, number)
    return rows


def finish(stream: Stream, reason: CloseReason = CloseReason.FIN) -> Rows:
    rows: Rows = []
    for direction in (TO_SERVER, TO_CLIENT):
        rows += stream.close(direction, reason, 10**9, 10**6)
    return rows + stream.scope.finish()


def plain(value: object) -> object:
    """A column's value, comparable."""
    if isinstance(value, list):
        return [(line.name, line.value, line.provenance) for line in value if isinstance(line, FieldLine)]
    return value


def columns(row: object, *stabilities: Stability) -> dict[str, object]:
    wanted = [column.name for column in table_of(type(row)).columns if column.stability in (stabilities or tuple(Stability))]
    return {name: plain(getattr(row, name)) for name in wanted}


def written(rows: Rows, *stabilities: Stability, leave_out: tuple[str, ...] = ()) -> list[str]:
    """Rows, in an order that does not depend on when they were handed out."""
    texts = []
    for row in rows:
        values = {name: value for name, value in columns(row, *stabilities).items() if name not in leave_out}
        if isinstance(row, AnomalyRecord) and row.kind == "not_understood":
            values.pop("found", None)  # as many of the first bytes as it took to know that no protocol fits
        texts.append(f"{table_of(type(row)).name} {values}")
    return sorted(texts)


def reference(dialogue: Dialogue, content: str = "preview") -> Rows:
    stream = opened(dialogue, content)
    return deliver(stream, deliveries(dialogue)) + finish(stream)


def assert_sound(rows: Rows) -> None:
    """No dissector failed, and every stream has one row."""
    errors = [row for row in rows if isinstance(row, AnomalyRecord) and row.kind == "dissector_error"]
    assert errors == []
    indices = [row.stream_index for row in rows if isinstance(row, StreamRecord)]
    assert sorted(indices) == sorted(set(indices))
    assert 0 in indices


def may_be(damaged: object, whole: object) -> bool:
    """Whether a value of a conversation column may be what damage left of another: equal, or NULL."""
    if isinstance(damaged, list) and isinstance(whole, list):
        return len(damaged) == len(whole) and all(
            may_be(one[0], other[0]) and may_be(one[1], other[1]) for one, other in zip(damaged, whole, strict=True)
        )
    return damaged is None or damaged == whole


def assert_nothing_wrong(rows: Rows, whole: Rows) -> None:
    """Every row is one of the undamaged conversation, but for what is NULL."""
    assert_sound(rows)
    for row in rows:
        if isinstance(row, AnomalyRecord):
            continue
        values = columns(row, Stability.CONVERSATION)
        others = [columns(other, Stability.CONVERSATION) for other in whole if type(other) is type(row)]
        assert any(all(may_be(value, other[name]) for name, value in values.items()) for other in others), row


def cut(given: list[Delivery], randomness: random.Random | None) -> list[Delivery]:
    """The same bytes of the same packets in other pieces: single bytes, or random ones."""
    result: list[Delivery] = []
    for direction, data, number in given:
        assert isinstance(data, bytes)
        at = 0
        while at < len(data):
            size = 1 if randomness is None else randomness.randint(1, max(1, len(data) // randomness.randint(1, 5)))
            result.append((direction, data[at : at + size], number))
            at += size
    return result


def with_gap(given: list[Delivery], direction: int, start: int, length: int, *, is_known: bool) -> list[Delivery]:
    """The same without ``length`` bytes of a direction."""
    result: list[Delivery] = []
    at = 0
    missing = 0
    for way, data, number in given:
        assert isinstance(data, bytes)
        if way != direction:
            result.append((way, data, number))
            continue
        before = data[: max(0, start - at)]
        after = data[max(0, start + length - at) :]
        at += len(data)
        if before:
            result.append((way, before, number))
        missing += len(data) - len(before) - len(after)
        if missing and after:
            result.append((way, missing if is_known else None, number))
            missing = 0
        if after and at > start:
            result.append((way, after, number))
    if missing:
        result.append((direction, missing if is_known else None, given[-1][2]))
    return result


def interleaved(dialogue: Dialogue, randomness: random.Random) -> list[Delivery]:
    """Its pieces with the directions of each round merged in another order."""
    result: list[Delivery] = []
    number = 0
    for one in dialogue.rounds:
        numbered = [(direction, data, number + at) for at, (direction, data) in enumerate(one, 1)]
        number += len(one)
        ways = [[piece for piece in numbered if piece[0] == way] for way in (TO_SERVER, TO_CLIENT)]
        while ways[0] or ways[1]:
            way = randomness.choice([way for way in ways if way])
            result.append(way.pop(0))
    return result


def total(given: list[Delivery], direction: int) -> int:
    return sum(len(data) for way, data, _ in given if way == direction and isinstance(data, bytes))


def test_every_dissector_has_a_dialogue_and_says_what_it_is() -> None:
    assert set(FOUND) == {dialogue.dissector for dialogue in PRESENT}
    for name, dissector in FOUND.items():
        assert dissector.name == name
        assert set(dissector.transports) <= {"tcp", "udp"}
        assert all(table_of(one).columns for one in dissector.records)


@each_dialogue
def test_a_dialogue_gives_rows_of_the_tables_that_its_dissectors_declare(dialogue: Dialogue) -> None:
    rows = reference(dialogue)
    assert_sound(rows)
    declared = {one for dissector in FOUND.values() for one in dissector.records}
    kinds = {type(row) for row in rows}
    assert kinds & set(FOUND[dialogue.dissector].records)
    assert kinds <= declared | {StreamRecord, AnomalyRecord}


@each_probed_dialogue
def test_the_first_bytes_show_the_protocol(dialogue: Dialogue) -> None:
    stream = opened(dialogue, probed=True)
    rows = deliver(stream, deliveries(dialogue)) + finish(stream)
    assert written(rows) == written(reference(dialogue))


@each_dialogue
@pytest.mark.parametrize("content", ["none", "preview", "hash", "store"])
def test_any_cutting_of_the_bytes_gives_the_same_rows(dialogue: Dialogue, content: str) -> None:
    expected = written(reference(dialogue, content))
    for randomness in (None, random.Random(1), random.Random(2), random.Random(3)):
        stream = opened(dialogue, content)
        assert written(deliver(stream, cut(deliveries(dialogue), randomness)) + finish(stream)) == expected


@each_dialogue
def test_any_interleaving_of_independent_directions_keeps_what_was_said(dialogue: Dialogue) -> None:
    expected = written(reference(dialogue), Stability.CONVERSATION)
    for seed in range(10):
        stream = opened(dialogue)
        rows = deliver(stream, interleaved(dialogue, random.Random(seed))) + finish(stream)
        assert written(rows, Stability.CONVERSATION) == expected


@each_dialogue
@pytest.mark.parametrize("is_known", [True, False])
def test_a_gap_anywhere_makes_no_value_wrong(dialogue: Dialogue, is_known: bool) -> None:
    whole = reference(dialogue)
    given = deliveries(dialogue)
    randomness = random.Random(4)
    for _ in range(60):
        direction = randomness.choice([TO_SERVER, TO_CLIENT])
        size = total(given, direction)
        start = randomness.randrange(size)
        length = min(size - start, randomness.choice([1, 2, 5, 20, 100, 1000, size]))
        stream = opened(dialogue)
        damaged = with_gap(given, direction, start, length, is_known=is_known)
        rows = deliver(stream, damaged) + finish(stream)
        assert_nothing_wrong(rows, whole)


@each_dialogue
def test_a_conversation_that_the_capture_leaves_early_has_no_value_wrong(dialogue: Dialogue) -> None:
    whole = reference(dialogue)
    given = deliveries(dialogue)
    randomness = random.Random(5)
    for _ in range(40):
        last = randomness.randrange(len(given))
        direction, data, number = given[last]
        assert isinstance(data, bytes)
        stream = opened(dialogue)
        rows = deliver(stream, [*given[:last], (direction, data[: randomness.randint(0, len(data))], number)])
        rows += finish(stream, randomness.choice([CloseReason.CAPTURE_END, CloseReason.TIMEOUT, CloseReason.LIMIT]))
        assert_nothing_wrong(rows, whole)


@each_dialogue
@pytest.mark.parametrize("has_gap", [False, True])
def test_what_is_told_of_what_is_open_is_told_once_and_said_by_the_last_rows_too(dialogue: Dialogue, has_gap: bool) -> None:
    randomness = random.Random(3)
    given = cut(deliveries(dialogue), randomness)
    for _ in range(10):
        direction = randomness.randrange(2)
        length = total(given, direction)
        if has_gap and length:
            start = randomness.randrange(length)
            damaged = with_gap(given, direction, start, min(randomness.randint(1, 300), length - start), is_known=True)
        else:
            damaged = given
        undisturbed = opened(dialogue, "store")
        expected = deliver(undisturbed, damaged) + finish(undisturbed)
        stream = opened(dialogue, "store")
        rows: Rows = []
        told: list[tuple[int, Rows]] = []
        for one in damaged:
            rows += deliver(stream, [one])
            told.append((len(rows), [copy(row) for row in stream.tick(one[2] * 1000)]))
        rows += finish(stream)
        assert stream.tick(10**9) == []
        assert written(rows) == written(expected)
        assert_replaced(told, rows)


def assert_replaced(told: list[tuple[int, Rows]], rows: Rows) -> None:
    """Each row of what is open has a key that none has yet, and a last row that says what it says, or nothing."""
    final = {named: row for row in rows if (named := key_of(row))}
    for finished, open_rows in told:
        keys = [named for row in open_rows if (named := key_of(row)) and not isinstance(row, StallRecord)]
        assert len(set(keys)) == len(keys)
        assert not set(keys) & {key_of(row) for row in rows[:finished]}
        for row in open_rows:
            named = key_of(row)
            if named and not isinstance(row, StallRecord):
                last = columns(final[named], Stability.CONVERSATION)
                for name, value in columns(row, Stability.CONVERSATION).items():
                    assert value is None or may_be(last[name], value), (name, value, last[name])


def key_of(row: object) -> tuple[object, ...]:
    """What tells the row apart; empty where nothing does."""
    table = table_of(type(row))
    return (table.name, *[getattr(row, column) for column in table.key]) if table.key else ()


@each_dialogue
@pytest.mark.parametrize("reason", list(CloseReason))
def test_an_end_anywhere_is_sound_and_nothing_follows_it(dialogue: Dialogue, reason: CloseReason) -> None:
    given = deliveries(dialogue)
    for last in range(len(given) + 1):
        stream = opened(dialogue)
        assert_sound(deliver(stream, given[:last]) + finish(stream, reason))
        assert finish(stream, reason) == []


@each_dialogue
def test_bytes_changed_anywhere_never_make_a_dissector_fail_and_any_cutting_of_them_gives_the_same_rows(
    dialogue: Dialogue,
) -> None:
    given = deliveries(dialogue)
    for seed in range(40):
        randomness = random.Random(seed)
        changed = list(given)
        for _ in range(randomness.randint(1, 4)):
            at = randomness.randrange(len(changed))
            direction, data, number = changed[at]
            assert isinstance(data, bytes)
            if data:
                position = randomness.randrange(len(data))
                new = bytes([randomness.randrange(256)]) if randomness.random() < 0.7 else b""
                changed[at] = direction, data[:position] + new + data[position + 1 :], number
        expected: list[str] | None = None
        for cutting in (False, True):
            stream = opened(dialogue)
            rows = deliver(stream, cut(changed, random.Random(seed)) if cutting else changed) + finish(stream)
            assert_sound(rows)
            assert expected is None or written(rows) == expected
            expected = written(rows)


@each_dialogue
def test_random_bytes_never_make_a_dissector_fail(dialogue: Dialogue) -> None:
    for seed in range(40):
        randomness = random.Random(seed)
        start = deliveries(dialogue)[: randomness.randint(0, 3)]
        stream = opened(dialogue)
        rows = deliver(stream, start)
        noise = [(randomness.randrange(2), randomness.randbytes(randomness.randint(1, 400)), number) for number in range(50, 60)]
        assert_sound(rows + deliver(stream, noise) + finish(stream))


@each_dialogue
def test_declined_bytes_give_the_same_rows_when_they_are_delivered_all_the_same(dialogue: Dialogue) -> None:
    for content in ("none", "preview"):
        stream = opened(dialogue, content, tapped=True)
        rows = deliver(stream, deliveries(dialogue)) + finish(stream)
        assert written(rows) == written(reference(dialogue, content))


@each_dialogue
def test_bytes_that_waited_change_nothing_but_the_time_waited(dialogue: Dialogue) -> None:
    expected = written(reference(dialogue), leave_out=("stalled_ns",))
    for seed in range(5):
        randomness = random.Random(seed)
        stream = opened(dialogue)
        rows: Rows = []
        for direction, data, number in cut(deliveries(dialogue), randomness):
            assert isinstance(data, bytes)
            waits = randomness.random() < 0.5
            if waits:
                stream.scope.begin_stall()
            rows += stream.feed(direction, data, number * 1000, number * 1000 + (500 if waits else 0), number)
            if waits:
                stream.scope.end_stall()
        rows += finish(stream)
        assert written([row for row in rows if not isinstance(row, StalledStreamRecord)], leave_out=("stalled_ns",)) == expected
        assert stream.stalled_ns > 0


# What comes without end, how much of it, and how much of that may be held: least where each byte or two is a unit of its own.
ENDLESS = [
    (b"a", 2 << 20, 1 << 20),
    (b"a: b\r\n", 2 << 20, 1 << 20),
    (b"\xff", 2 << 20, 1 << 20),
    (b"1\r\n", 1 << 16, 1 << 17),
    (b"\x00", 1 << 15, 1 << 16),
    (b"\x00\x00\x01\x00", 1 << 15, 1 << 16),
    (random.Random(6).randbytes(1 << 18), 2 << 20, 1 << 20),
]


@each_dialogue
@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_input_without_end_stays_under_the_memory_limit(dialogue: Dialogue, direction: int) -> None:
    randomness = random.Random(7)
    given = deliveries(dialogue)
    for pattern, size, limit in ENDLESS:
        last = randomness.randrange(len(given))
        way, data, number = given[last]
        assert isinstance(data, bytes)
        stream = opened(dialogue)
        deliver(stream, [*given[:last], (way, data[: randomness.randint(0, len(data))], number)])
        block = (pattern * (16_384 // len(pattern) + 1))[:16_384]
        tracemalloc.start()
        try:
            for number in range(size // len(block)):
                if len(pattern) > len(block):
                    block = pattern[number * 16_384 % len(pattern) :][:16_384]
                stream.feed(direction, block, 10**6 + number, 10**6 + number, 1000 + number)
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        finish(stream)
        assert held < limit, pattern[:10]


@each_endless_dialogue
def test_a_conversation_without_end_does_not_grow(dialogue: Dialogue) -> None:
    again = [piece for one in dialogue.rounds[dialogue.again :] for piece in one]
    stream = opened(dialogue)
    for times in (20, 200):
        if times == 200:
            tracemalloc.start()
        for number in range(times):
            for direction, data in again:
                stream.feed(direction, data, number, number, number)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    finish(stream)
    assert held < 300_000


@each_dialogue
def test_an_ended_stream_leaves_nothing_behind_with_the_collector_off(dialogue: Dialogue) -> None:
    reference(dialogue)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(3):
            reference(dialogue)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            reference(dialogue)
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        gc.enable()
    assert held < 20_000


@pytest.mark.parametrize("name", FOUND)
def test_probing_takes_any_bytes(name: str) -> None:
    beginnings = [b"".join(data for way, data, _ in deliveries(one) if way == 0 and isinstance(data, bytes)) for one in PRESENT]

    @settings(max_examples=60, deadline=None)
    @given(st.one_of(st.binary(), st.sampled_from(beginnings)), st.binary(), st.integers(0, 100))
    def probe(first: bytes, second: bytes, length: int) -> None:
        for one, other in ((first, second), (second, first), (first[:length], b""), (b"", first[:length])):
            assert FOUND[name].probe(one, other) in Match

    probe()


@each_dialogue
def test_a_beginning_that_was_not_captured_makes_no_value_wrong(dialogue: Dialogue) -> None:
    whole = reference(dialogue)
    given = deliveries(dialogue)
    for first in range(1, len(given)):
        for probed in (False, True):
            stream = opened(dialogue, probed=probed)
            rows: Rows = []
            for direction in (TO_SERVER, TO_CLIENT):
                rows += stream.gap(direction, None, None, given[first][2] * 1000, given[first][2])
            assert_nothing_wrong(
                [row for row in rows + deliver(stream, given[first:]) + finish(stream) if not isinstance(row, StreamRecord)]
                + [row for row in whole if isinstance(row, StreamRecord)],
                whole,
            )
