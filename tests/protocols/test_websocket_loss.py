"""WebSocket with bytes missing: whatever is lost, no value is wrong, and what can be known of the rest is there."""

import random
import zlib
from collections import Counter
from pathlib import Path

import dpkt
import pytest

from analyzer import limits
from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Context
from analyzer.protocols.websocket import WebSocketDissector, WebSocketMessageRecord
from analyzer.records import AnomalyRecord, Rows
from analyzer.schema import Stability, table_of
from analyzer.scope import Scope
from analyzer.stream import Stream

Given = list[tuple[int, bytes, int]]  # direction, bytes, packet number
Damaged = list[tuple[int, bytes | int | None, int]]  # or the length of a gap, None where it is not known

COMPARED = [column.name for column in table_of(WebSocketMessageRecord).columns if column.stability is Stability.CONVERSATION]
WINDOWS = (limits.WEBSOCKET_SEARCH_MASKED_BYTES, limits.WEBSOCKET_SEARCH_BYTES)  # by direction
LONGEST_CHANCE = 70_000  # how far what looks like a frame with a length of 16 bits delays certainty
PLAIN = ""
DEFLATE = "permessage-deflate"
NO_TAKEOVER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def frame(payload: bytes, first: int, key: bytes = b"") -> bytes:
    length = len(payload)
    mask = 0x80 if key else 0
    head = bytes([first, mask | length]) if length < 126 else bytes([first, mask | 126]) + length.to_bytes(2, "big")
    if not key:
        return head + payload
    repeated = (key * (length // 4 + 1))[:length]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")
    return head + key + masked


class Peer:
    """One end that sends messages of all kinds."""

    def __init__(self, randomness: random.Random, direction: int, extensions: str) -> None:
        self.random = randomness
        self.direction = direction
        self.extensions = extensions
        self.compressor = zlib.compressobj(wbits=-15)
        self.words = ["".join(randomness.choices("abcdefghij", k=randomness.randint(3, 9))) for _ in range(60)]

    def frame(self, payload: bytes, first: int) -> bytes:
        return frame(payload, first, b"" if self.direction == TO_CLIENT else self.random.randbytes(4))

    def payload(self) -> tuple[int, bytes]:
        kind = self.random.randrange(8)
        if kind == 0:
            return 2, self.random.randbytes(self.random.choice([3, 300, 2000]))
        if kind == 1:  # WebSocket inside
            return 2, b"".join(self.frame(b"inner %d" % number, 0x82) for number in range(self.random.randint(1, 60)))
        text = ",".join(
            f'"{self.random.choice(self.words)}":{self.random.randrange(999)}' for _ in range(self.random.randint(1, 25))
        )
        return 1, f"{{{text}}}".encode()

    def message(self) -> bytes:
        if self.random.random() < 0.1:
            return self.frame(self.random.randbytes(self.random.randrange(20)), self.random.choice([0x89, 0x8A]))
        opcode, payload = self.payload()
        rsv1 = 0
        if self.extensions and self.random.random() < 0.9:
            rsv1 = 0x40
            if self.extensions == NO_TAKEOVER:
                self.compressor = zlib.compressobj(wbits=-15)
            payload = (self.compressor.compress(payload) + self.compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        if self.random.random() < 0.7:
            return self.frame(payload, 0x80 | rsv1 | opcode)
        at = self.random.randint(0, len(payload))
        wire = self.frame(payload[:at], rsv1 | opcode)
        if self.random.random() < 0.3:
            wire += self.frame(b"?", 0x89)
        return wire + self.frame(payload[at:], 0x80)


def conversation(seed: int, extensions: str, sizes: tuple[int, int]) -> Given:
    """What a capture between two ends sees: so many bytes each way, in packets of any size."""
    randomness = random.Random(seed)
    packets: Given = []
    for direction in (TO_SERVER, TO_CLIENT):
        peer = Peer(randomness, direction, extensions)
        sent = 0
        while sent < sizes[direction]:
            data = b"".join(peer.message() for _ in range(randomness.choice([1, 1, 1, 4])))
            sent += len(data)
            packets += [(direction, data[at : at + 1448], 0) for at in range(0, len(data), 1448)]
    randomness.shuffle(order := [direction for direction, _, _ in packets])
    ways = [iter([data for way, data, _ in packets if way == direction]) for direction in (TO_SERVER, TO_CLIENT)]
    return [(direction, next(ways[direction]), number) for number, direction in enumerate(order, 1)]


def analyzed(given: Damaged | Given, extensions: str, *, content: str = "store", cut: random.Random | None = None) -> Rows:
    stream = Stream(Scope(Context([WebSocketDissector], content), 1, "tcp", 80, True), None, "websocket", None, {})
    if extensions != "?":
        stream = Stream(stream.scope, None, "websocket", None, {"sec-websocket-extensions": extensions})
    rows: Rows = []
    for direction, data, number in given:
        if not isinstance(data, bytes):
            rows += stream.gap(direction, data, 1 << 20 if data is None else None, number * 1000, number)
            continue
        while data:
            size = len(data) if cut is None else cut.randint(1, len(data))
            rows += stream.feed(direction, data[:size], number * 1000, number * 1000, number)
            data = data[size:]
    for direction in (TO_SERVER, TO_CLIENT):
        rows += stream.close(direction, CloseReason.CAPTURE_END, 10**9, 10**6)
    return rows + stream.scope.finish()


def messages(rows: Rows) -> list[WebSocketMessageRecord]:
    return [row for row in rows if isinstance(row, WebSocketMessageRecord)]


def kinds(rows: Rows) -> set[str]:
    return {row.kind for row in rows if isinstance(row, AnomalyRecord)}


def check(rows: Rows, whole: Rows) -> list[WebSocketMessageRecord]:
    """Every value is that of the undamaged conversation, or NULL; returns the messages that are complete."""
    assert kinds(rows) <= {"framing_lost"}
    by_place: dict[tuple[str, int], list[WebSocketMessageRecord]] = {}
    for row in messages(whole):
        assert row.first_packet is not None
        assert row.last_packet is not None
        for packet in range(row.first_packet, row.last_packet + 1):
            by_place.setdefault((row.direction, packet), []).append(row)
    for row in messages(rows):
        assert row.first_packet is not None
        candidates = by_place.get((row.direction, row.first_packet), [])
        if row.is_complete:
            candidates = [other for other in candidates if other.last_packet == row.last_packet]
        assert any(all(getattr(row, name) in (None, getattr(other, name)) for name in COMPARED) for other in candidates), row
    return [row for row in messages(rows) if row.is_complete]


def without_packets(given: Given, randomness: random.Random, direction: int) -> Damaged:
    own = [number for way, _, number in given if way == direction]
    start = randomness.randrange(len(own))
    dropped = set(own[start : start + randomness.choice([1, 1, 2, 30])])
    is_known = randomness.random() < 0.8
    return [(way, (len(data) if is_known else None) if number in dropped else data, number) for way, data, number in given]


def without_bytes(given: Given, randomness: random.Random, direction: int) -> Damaged:
    chosen = set(randomness.choices([number for way, _, number in given if way == direction], k=2))
    damaged: Damaged = []
    for way, data, number in given:
        if number not in chosen:
            damaged.append((way, data, number))
            continue
        start = randomness.randrange(len(data))
        end = min(len(data), start + randomness.choice([1, 2, 5, 50, 1448]))
        pieces: list[bytes | int] = [data[:start], end - start, data[end:]]
        damaged += [(way, piece, number) for piece in pieces if piece]
    return damaged


def begun_late(given: Given, randomness: random.Random, direction: int) -> Damaged:
    first = randomness.randrange(len(given))
    cut = randomness.choice([0, 0, 1, 7])
    damaged: Damaged = [(way, None, given[first][2]) for way in (TO_SERVER, TO_CLIENT)]
    damaged += [(way, data[cut:] if at == 0 else data, number) for at, (way, data, number) in enumerate(given[first:])]
    return [piece for piece in damaged if piece[1] != b""]


@pytest.mark.parametrize("damage", [without_packets, without_bytes, begun_late], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("extensions", [PLAIN, DEFLATE, NO_TAKEOVER, "?"])
@pytest.mark.parametrize("seed", range(4))
def test_no_value_is_wrong(seed: int, extensions: str, damage: object) -> None:
    assert callable(damage)
    given = conversation(seed, DEFLATE if extensions == "?" else extensions, (20_000, 160_000))
    content = ("store", "preview")[seed % 2]
    whole = analyzed(given, DEFLATE if extensions == "?" else extensions, content=content)
    assert kinds(whole) == set()
    for variant in range(3):
        randomness = random.Random(100 * seed + variant)
        damaged = damage(given, randomness, variant % 2)
        rows = analyzed(damaged, extensions, content=content)
        check(rows, whole)
        again = analyzed(damaged, extensions, content=content, cut=randomness)
        assert sorted(map(repr, rows)) == sorted(map(repr, again))


@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT], ids=["to_server", "to_client"])
@pytest.mark.parametrize("extensions", [PLAIN, DEFLATE, NO_TAKEOVER])
def test_one_window_after_a_hole_nearly_all_messages_are_complete_again(direction: int, extensions: str) -> None:
    later = complete = texts = 0
    for seed in range(3):
        sizes = (200_000, 10_000) if direction == TO_SERVER else (10_000, 400_000)
        given = conversation(seed, extensions, sizes)
        whole = analyzed(given, extensions)
        own = [number for way, _, number in given if way == direction]
        rows: Rows = []
        lost = 0
        for lost in own[len(own) // 10 :]:
            rows = analyzed([(way, len(data) if number == lost else data, number) for way, data, number in given], extensions)
            if kinds(rows) == {"framing_lost"}:
                break
        found = check(rows, whole)
        wires = Counter((row.first_packet, row.opcode, row.wire_bytes) for row in found)
        contents = Counter((row.first_packet, row.opcode, row.payload_bytes, row.text) for row in found)
        passed = 0
        places = {}
        for way, data, number in given:
            if way == direction and number > lost:
                passed += len(data)
            places[number] = passed
        for row in messages(whole):
            is_later = places[row.first_packet or 0] > WINDOWS[direction] + LONGEST_CHANCE
            if row.is_complete and row.direction == ("to_server", "to_client")[direction] and is_later:
                later += 1
                complete += wires[row.first_packet, row.opcode, row.wire_bytes] > 0
                texts += contents[row.first_packet, row.opcode, row.payload_bytes, row.text] > 0
    assert later > 1000
    assert complete > later * 0.99
    assert texts > complete * (0.3 if extensions == DEFLATE else 0.999)


SAMPLES = ["fragmented", "fragmented_deflate", "permessage_deflate_no_takeover", "permessage_deflate_takeover"]
SAMPLES += ["permessage_deflate_one_sided", "text_binary_ping_close", "window_bits", "large_message"]


def sampled(path: Path) -> list[tuple[str, Given]]:
    """The WebSocket connections of a capture in order, each with its extensions, after their handshakes."""
    found: dict[frozenset[tuple[bytes, int]], Given] = {}
    servers: dict[frozenset[tuple[bytes, int]], int] = {}
    with path.open("rb") as file:
        for number, (_, packet) in enumerate(dpkt.pcap.UniversalReader(file), 1):
            internet = dpkt.ethernet.Ethernet(packet).data
            segment = internet.data
            ends = frozenset([(internet.src, segment.sport), (internet.dst, segment.dport)])
            servers.setdefault(ends, segment.dport)
            if segment.data:
                direction = TO_SERVER if segment.dport == servers[ends] else TO_CLIENT
                found.setdefault(ends, []).append((direction, bytes(segment.data), number))
    result = []
    for packets in found.values():
        heads = [b"", b""]
        rest: Given = []
        for direction, data, number in packets:
            if b"\r\n\r\n" not in heads[direction]:
                heads[direction] += data
                data = heads[direction].partition(b"\r\n\r\n")[2]
            if data:
                rest.append((direction, data, number))
        lines = heads[TO_CLIENT].decode().lower().split("\r\n")
        extensions = [line.partition(":")[2].strip() for line in lines if line.startswith("sec-websocket-extensions:")]
        result.append((", ".join(extensions), rest))
    return result


@pytest.mark.parametrize("name", SAMPLES)
def test_no_value_of_a_real_conversation_is_wrong(name: str) -> None:
    path = Path(__file__).parent.parent.parent / "sample_pcaps" / "websocket" / f"{name}.pcap"
    for extensions, given in sampled(path):
        whole = analyzed(given, extensions)
        assert messages(whole)
        for variant in range(60):
            randomness = random.Random(variant)
            damage = (without_packets, without_bytes, begun_late)[variant % 3]
            direction = randomness.choice([way for way, _, _ in given])
            check(analyzed(damage(given, randomness, direction), extensions), whole)


def test_what_is_declined_while_held_bytes_are_taken_is_not_declined_of_what_follows() -> None:
    """A binary message is in the first two packets, which are held until the third shows that frames begin there."""
    wire = frame(b"\x01" * 2000, 0x82) + frame(b"one", 0x81) + frame(b"two", 0x81)
    given: Damaged = [(TO_CLIENT, None, 1), (TO_CLIENT, wire[:1500], 1), (TO_CLIENT, wire[1500:], 2)]
    rows = analyzed([*given, (TO_CLIENT, frame(b"3" * 600, 0x81), 3)], PLAIN, content="preview")
    assert [(row.opcode, row.payload_bytes) for row in messages(rows)] == [
        ("binary", 2000),
        ("text", 3),
        ("text", 3),
        ("text", 600),
    ]


def test_frames_in_a_row_are_believed_where_the_capture_begins_and_not_after_a_hole() -> None:
    three = b"".join(frame(b"%d" % number, 0x81) for number in range(3))
    late: Damaged = [(TO_CLIENT, None, 1), (TO_CLIENT, three, 1)]
    assert len(messages(analyzed(late, PLAIN))) == 3
    assert len(messages(analyzed([late[0], (TO_CLIENT, 7, 1), late[1]], PLAIN))) == 3
    first_lost: Damaged = [(TO_CLIENT, 7, 1), (TO_CLIENT, three, 1)]
    assert messages(analyzed(first_lost, PLAIN)) == []
    assert messages(analyzed([late[0], (TO_CLIENT, three[:5], 1), (TO_CLIENT, 1, 1), (TO_CLIENT, three, 1)], PLAIN)) == []


def test_a_message_open_across_a_hole_is_told_in_parts_that_claim_nothing() -> None:
    """The first part says what it is, the second that it is a message; what lies between is not told."""
    padding = b"".join(frame(b"%05d" % number, 0x81) for number in range(20_000))
    before, after = frame(b"one", 0x81) + frame(b"begun", 0x01), frame(b"continued", 0x00) + frame(b"ended", 0x80)
    many = b"".join(frame(b"x" * 100, 0x00) for _ in range(2000))
    rows = analyzed([(TO_CLIENT, before, 1), (TO_CLIENT, 50, 2), (TO_CLIENT, many + after + padding, 2)], PLAIN)
    first, cut, rest, *others = messages(rows)
    assert (first.text, first.is_complete) == ("one", True)
    assert (cut.opcode, cut.is_complete, cut.payload_bytes, cut.text, cut.frame_count) == ("text", False, None, None, None)
    assert (rest.opcode, rest.is_complete, rest.payload_bytes, rest.text, rest.frame_count) == (None, False, None, None, None)
    assert [row.text for row in others] == [f"{number:05d}" for number in range(20_000)]
    assert [row.message_index for row in messages(rows)] == list(range(20_003))


def test_a_hole_in_a_masking_key_leaves_the_framing_certain() -> None:
    key = bytes.fromhex("37fa213d")
    wire = frame(b"x" * 200, 0x81, key)
    for start, end in ((4, 8), (5, 8), (7, 100), (6, len(wire))):
        given: Damaged = [(TO_SERVER, wire[:start], 1), (TO_SERVER, end - start, 2)]
        rows = analyzed([*given, (TO_SERVER, wire[end:] + frame(b"next", 0x81, key), 2)], PLAIN)
        assert [(row.text, row.payload_bytes, row.wire_bytes, row.is_complete) for row in messages(rows)] == [
            (None, 200, 208, False),
            ("next", 4, 10, True),
        ]
        assert kinds(rows) == set()
    assert kinds(analyzed([(TO_SERVER, wire[:4], 1), (TO_SERVER, 3, 2), (TO_SERVER, wire[7:], 2)], PLAIN)) == {"framing_lost"}


def test_after_a_frame_that_no_endpoint_may_send_frames_are_not_sought() -> None:
    wrong = frame(b"not masked", 0x81)
    rest = b"".join(frame(b"%05d" % number, 0x81, bytes([number % 255 + 1, 2, 3, 4])) for number in range(3_000))
    for beginning, count in ((wrong, 1), (frame(b"masked", 0x81, b"1234"), 2_000)):
        rows = analyzed([(TO_SERVER, beginning, 1), (TO_SERVER, 50, 2), (TO_SERVER, rest, 2)], PLAIN)
        assert len(messages(rows)) == 1 if count == 1 else len(messages(rows)) > count
