"""HTTP/2 with packets missing: whatever is lost, no value is wrong, and what does not depend on it is still there."""

import random
import string

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import pytest

from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Context
from analyzer.http.semantics import HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.protocols.http2 import Http2Dissector
from analyzer.records import AnomalyRecord, FieldLine, Rows, StreamRecord
from analyzer.schema import Stability, table_of
from analyzer.scope import Scope
from analyzer.stream import Stream

Packet = tuple[int, bytes | int | None]  # direction, and its bytes or the length of a gap
Given = list[tuple[int, bytes, int]]  # direction, bytes, packet number

COMPARED = [column.name for column in table_of(HttpExchangeRecord).columns if column.stability is not Stability.CAPTURE]


class Peers:
    """Two ends of the h2 library that talk at random; ``packets`` is what a capture between them sees."""

    def __init__(self, seed: int, rounds: int) -> None:
        self.random = random.Random(seed)
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.packets: Given = []
        self.values = ["".join(self.random.choices(string.ascii_letters, k=self.random.randint(1, 60))) for _ in range(40)]
        self.names = ["x-" + "".join(self.random.choices(string.ascii_lowercase, k=6)) for _ in range(20)]
        self.answered: dict[int, bool] = {}  # open streams, and whether their response has begun
        self.next_stream = 1
        self.next_push = 2
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.exchange()
        for _ in range(rounds):
            try:
                self.go_on()
            except h2.exceptions.ProtocolError:  # the library refuses what crossed a reset
                return

    def go_on(self) -> None:
        self.ask()
        self.exchange()
        for stream_id in list(self.answered):
            try:
                self.answer(stream_id)
            except (h2.exceptions.ProtocolError, KeyError):
                self.answered.pop(stream_id, None)
        self.exchange()

    def exchange(self) -> None:
        """Carry what both have to say, in packets of any size."""
        while True:
            idle = True
            for sender, receiver, direction in ((self.client, self.server, TO_SERVER), (self.server, self.client, TO_CLIENT)):
                data = sender.data_to_send()
                idle = idle and not data
                at = 0
                while at < len(data):
                    size = self.random.choice([1448, 1448, self.random.randint(1, 1448)])
                    self.packets.append((direction, data[at : at + size], len(self.packets) + 1))
                    at += size
                for event in receiver.receive_data(data) if data else []:
                    if isinstance(event, h2.events.DataReceived) and receiver is self.client:
                        self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if idle:
                return

    def more(self) -> list[tuple[str, str]]:
        return [(self.random.choice(self.names), self.random.choice(self.values)) for _ in range(self.random.randint(0, 5))]

    def ask(self) -> None:
        for _ in range(self.random.randint(1, 5)):
            number = self.next_stream
            self.next_stream += 2
            has_content = self.random.random() < 0.3
            method = self.random.choice(["GET", "POST", "PUT", "DELETE"])
            base = [
                (":method", method),
                (":scheme", "http"),
                (":authority", self.random.choice(self.values)),
                (":path", f"/{number}"),
            ]
            self.client.send_headers(number, base + self.more(), end_stream=not has_content)
            if has_content:
                self.client.send_data(
                    number, self.random.randbytes(self.random.randint(0, 800)), pad_length=self.random.choice([None, 5])
                )
                if self.random.random() < 0.5:
                    self.client.send_headers(number, [("x-checksum", self.random.choice(self.values))], end_stream=True)
                else:
                    self.client.end_stream(number)
            self.answered[number] = False
        if self.random.random() < 0.1:
            size = self.random.choice([0, 100, 4096])
            self.random.choice([self.client, self.server]).update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: size})

    def answer(self, number: int) -> None:
        chance = self.random.random
        if chance() < 0.5 and len(self.answered) < 12:
            return
        if number % 2 and chance() < 0.05:
            base = [(":method", "GET"), (":scheme", "http"), (":authority", "p"), (":path", f"/pushed/{self.next_push}")]
            self.server.push_stream(number, self.next_push, base)
            self.answered[self.next_push] = False
            self.next_push += 2
        if not self.answered[number]:
            if chance() < 0.1 and number % 2:
                self.server.send_headers(number, [(":status", self.random.choice(["103", "100"])), *self.more()])
            ends = chance() < 0.15
            status = self.random.choice(["200", "201", "404", "418", "503", "204"])
            base = [(":status", status), ("content-type", self.random.choice(self.values))]
            self.server.send_headers(number, base + self.more(), end_stream=ends)
            self.answered[number] = True
            if ends:
                del self.answered[number]
                return
        if chance() < 0.05:
            self.random.choice([self.client, self.server]).reset_stream(number, self.random.randrange(14))
            del self.answered[number]
            return
        room = min(self.server.local_flow_control_window(number), 4000)
        self.server.send_data(number, self.random.randbytes(self.random.randint(0, room)))
        if chance() < 0.5:
            if chance() < 0.3:
                self.server.send_headers(number, [("grpc-status", self.random.choice(self.values))], end_stream=True)
            else:
                self.server.end_stream(number)
            del self.answered[number]


def analyzed(given: list[tuple[int, bytes | int | None, int]], *, probed: bool = True) -> Rows:
    context = Context([Http2Dissector], frames=True)
    stream = Stream(Scope(context, 1, "tcp", 80, True), None, None if probed else "http2")
    rows: Rows = []
    for direction, data, number in given:
        if isinstance(data, bytes):
            rows += stream.feed(direction, data, number * 1000, number * 1000, number)
        else:
            rows += stream.gap(direction, data, 1 << 16 if data is None else None, number * 1000, number)
    for direction in (TO_SERVER, TO_CLIENT):
        rows += stream.close(direction, CloseReason.FIN, 10**9, 10**6)
    return rows + stream.scope.finish()


def by_number(rows: Rows) -> tuple[dict[str, HttpExchangeRecord], dict[str, list[HttpFieldSectionRecord]]]:
    """Exchanges and sections by the number of their HTTP/2 stream."""
    numbers = {row.stream_index: str(row.protocol_stream_id) for row in rows if isinstance(row, StreamRecord)}
    exchanges = {numbers[row.stream_index]: row for row in rows if isinstance(row, HttpExchangeRecord)}
    sections: dict[str, list[HttpFieldSectionRecord]] = {}
    for row in rows:
        if isinstance(row, HttpFieldSectionRecord):
            sections.setdefault(numbers[row.stream_index], []).append(row)
    return exchanges, sections


def is_line_of(line: FieldLine, other: FieldLine) -> bool:
    return line.name in (None, other.name) and line.value in (None, other.value)


def is_section_of(row: HttpFieldSectionRecord, other: HttpFieldSectionRecord) -> bool:
    return (
        (row.side, row.section) == (other.side, other.section)
        and len(row.fields) == len(other.fields)
        and all(is_line_of(*pair) for pair in zip(row.fields, other.fields, strict=True))
    )


def check(rows: Rows, whole: Rows) -> None:
    """Every value is that of the undamaged conversation, or NULL."""
    assert [row for row in rows if isinstance(row, AnomalyRecord) and row.kind.endswith("_error")] == []
    exchanges, sections = by_number(rows)
    true_exchanges, true_sections = by_number(whole)
    for number, row in exchanges.items():
        other = true_exchanges[number]
        wrong = {name: getattr(row, name) for name in COMPARED if getattr(row, name) not in (None, getattr(other, name))}
        assert wrong == {}, (number, other)
        if row.fields_complete and row.end_reason == "complete":
            assert len(sections.get(number, [])) == len(true_sections[number])
    for number, found in sections.items():
        for section in found:
            assert any(is_section_of(section, other) for other in true_sections[number]), (number, section)


def without_packets(given: Given, randomness: random.Random, direction: int) -> list[tuple[int, bytes | int | None, int]]:
    own = [number for way, _, number in given if way == direction]
    dropped = set(randomness.sample(own, min(len(own), randomness.randint(1, 3))))
    is_known = randomness.random() < 0.9
    return [(way, (len(data) if is_known else None) if number in dropped else data, number) for way, data, number in given]


def without_bytes(given: Given, randomness: random.Random, direction: int) -> list[tuple[int, bytes | int | None, int]]:
    chosen = randomness.choice([number for way, _, number in given if way == direction])
    damaged: list[tuple[int, bytes | int | None, int]] = []
    for way, data, number in given:
        if number != chosen:
            damaged.append((way, data, number))
            continue
        start = randomness.randrange(len(data))
        end = randomness.randint(start + 1, len(data))
        pieces: list[bytes | int] = [data[:start], end - start, data[end:]]
        damaged += [(way, piece, number) for piece in pieces if piece]
    return damaged


def begun_late(given: Given, randomness: random.Random, direction: int) -> list[tuple[int, bytes | int | None, int]]:
    first = randomness.randrange(len(given))
    number = given[first][2]
    return [(TO_SERVER, None, number), (TO_CLIENT, None, number), *given[first:]]


@pytest.mark.parametrize("damage", [without_packets, without_bytes, begun_late], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT], ids=["to_server", "to_client"])
@pytest.mark.parametrize("seed", range(8))
def test_no_value_is_wrong(seed: int, direction: int, damage: object) -> None:
    assert callable(damage)
    given = Peers(seed, (6, 20, 40)[seed % 3]).packets
    whole = analyzed([*given])
    assert [row for row in whole if isinstance(row, AnomalyRecord)] == []
    for variant in range(3):
        randomness = random.Random(100 * seed + variant)
        check(analyzed(damage(given, randomness, direction), probed=damage is not begun_late), whole)


def test_frames_are_found_again_and_what_follows_is_complete_but_for_old_compression_state() -> None:
    peers = Peers(1, 60)
    given = peers.packets
    whole = analyzed([*given])
    own = [number for way, _, number in given if way == TO_CLIENT]
    rows: Rows = []
    for lost in own[len(own) // 10 :]:
        rows = analyzed([(way, len(data) if number == lost else data, number) for way, data, number in given])
        if any(isinstance(row, AnomalyRecord) for row in rows):
            break
    assert [row.kind for row in rows if isinstance(row, AnomalyRecord)] == ["framing_lost"]
    check(rows, whole)
    exchanges, _ = by_number(rows)
    true_exchanges, _ = by_number(whole)
    later = [
        number
        for number, row in true_exchanges.items()
        if (row.response_started_at or 0) > given[-1][2] * 500 and row.end_reason == "complete"
    ]
    assert len(later) > 20
    assert sum(exchanges[number].end_reason == "complete" for number in later) == len(later)
    assert sum(exchanges[number].status_code == true_exchanges[number].status_code for number in later) > len(later) // 2


def test_a_lost_packet_of_content_loses_nothing_but_its_bytes() -> None:
    given = Peers(3, 40).packets
    whole = analyzed([*given])
    true_exchanges, true_sections = by_number(whole)
    inside = [number for number, (way, data, _) in enumerate(given) if way == TO_CLIENT and len(data) == 1448]
    kept = 0
    for at in inside[:: max(1, len(inside) // 15)]:
        rows = analyzed([(way, len(data) if number == at else data, packet) for number, (way, data, packet) in enumerate(given)])
        if any(isinstance(row, AnomalyRecord) for row in rows):
            continue
        kept += 1
        exchanges, sections = by_number(rows)
        assert {number: len(found) for number, found in sections.items()} == {n: len(found) for n, found in true_sections.items()}
        assert all(row.status_code == true_exchanges[number].status_code for number, row in exchanges.items())
        assert sum(row.response_missing_bytes for row in exchanges.values()) in range(1, 1449)
    assert kept >= 3


@pytest.mark.parametrize("seed", range(4))
def test_a_direction_that_comes_later_changes_nothing_that_was_said(seed: int) -> None:
    given = Peers(seed, 10).packets
    _, expected = by_number(analyzed([*given]))
    for first in (TO_SERVER, TO_CLIENT):
        turned = [piece for piece in given if piece[0] == first] + [piece for piece in given if piece[0] != first]
        rows = analyzed([*turned])
        assert [row for row in rows if isinstance(row, AnomalyRecord)] == []
        _, sections = by_number(rows)
        for number, found in sections.items():
            assert all(any(is_section_of(section, other) for other in expected[number]) for section in found)
