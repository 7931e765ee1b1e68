"""TLS: scripted ends whose every record is made here with the standard's words, and captures that others made."""

import hashlib
import zlib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

from analyzer import pipeline, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.codecs.key_log import KeyLog
from analyzer.codecs.tls_keys import expand_label, next_traffic_secret
from analyzer.dissector import DIRECTION_NAMES, TO_CLIENT, TO_SERVER, CloseReason, Context, Facts, Match
from analyzer.http.semantics import HttpExchangeRecord
from analyzer.protocols.tls import TlsDissector
from analyzer.records import AnomalyRecord, ConnectionRecord, Rows, StreamRecord
from analyzer.schema import Record, Stability, capture, record, table_of
from analyzer.scope import Scope
from analyzer.stream import Stream
from analyzer.tls.tls_rows import TlsAlertRecord, TlsHandshakeRecord

VECTORS = Path(__file__).parent.parent / "vectors" / "tls"
RFC8448 = dict(line.split(" ") for line in (VECTORS / "rfc8448.txt").read_text().splitlines() if not line.startswith("#"))
RANDOM, SERVER_RANDOM = bytes(range(32)), bytes(range(32, 64))


@record("heard", "event")
class Heard(Record):
    """What the dissector inside was told."""

    what: "Annotated[tuple[object, ...], capture('the event')]"


class Inside:
    """Stands for the protocol inside, and says what it is told."""

    name: ClassVar[str] = "http2"
    ports: ClassVar[tuple[int, ...]] = ()
    transports: ClassVar[tuple[str, ...]] = ("tcp",)
    records: ClassVar[tuple[type, ...]] = (Heard,)

    def __init__(self, stream: Stream, facts: Facts) -> None:
        self._facts = facts

    @staticmethod
    def probe(first: bytes, second: bytes) -> Match:
        return Match.NO

    def feed(self, direction: int, data: bytes, timestamp: int, released: int, packet: int) -> Rows:
        return [Heard((DIRECTION_NAMES[direction], data, packet))]

    def gap(self, direction: int, length: int | None, at_most: int | None, timestamp: int, packet: int) -> Rows:
        return [Heard((DIRECTION_NAMES[direction], length, at_most))]

    def close(self, direction: int, reason: CloseReason, timestamp: int, packet: int) -> Rows:
        return [Heard((DIRECTION_NAMES[direction], reason.value))]

    def tick(self, now: int) -> Rows:
        return []


def prefixed(data: bytes, size: int) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(number: int, data: bytes = b"") -> bytes:
    return number.to_bytes(2, "big") + prefixed(data, 2)


def message(kind: int, body: bytes = b"") -> bytes:
    return bytes([kind]) + prefixed(body, 3)


def plain(kind: int, content: bytes) -> bytes:
    return bytes([kind, 3, 3]) + prefixed(content, 2)


def client_hello(*extensions: bytes, session_id: bytes = b"", random: bytes = RANDOM) -> bytes:
    suites = bytes.fromhex("130113021303c02f")
    body = b"\x03\x03" + random + prefixed(session_id, 1) + prefixed(suites, 2) + b"\x01\0" + prefixed(b"".join(extensions), 2)
    return plain(22, message(1, body))


def server_hello(suite: int, *extensions: bytes, session_id: bytes = b"", random: bytes = SERVER_RANDOM) -> bytes:
    body = b"\x03\x03" + random + prefixed(session_id, 1) + suite.to_bytes(2, "big") + b"\0" + prefixed(b"".join(extensions), 2)
    return plain(22, message(2, body))


TLS13 = extension(43, b"\x03\x04")
OFFERS_TLS13 = extension(43, b"\x02\x03\x04")
H2 = extension(16, prefixed(prefixed(b"h2", 1), 2))
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
SUITES = {0x1301: (AESGCM, 16, "sha256"), 0x1302: (AESGCM, 32, "sha384"), 0x1303: (ChaCha20Poly1305, 32, "sha256")}
SUITES |= {0x1304: (AESCCM, 16, "sha256"), 0x1305: (lambda key: AESCCM(key, 8), 16, "sha256")}


class Sealer:
    """Protects the records of one direction under one traffic secret (RFC 8446 section 5.2)."""

    def __init__(self, secret: bytes, suite: int = 0x1301) -> None:
        self.secret = secret
        self.suite = suite
        make, key_bytes, self.digest = SUITES[suite]
        self._aead = make(expand_label(secret, b"key", b"", key_bytes, self.digest))
        self._iv = int.from_bytes(expand_label(secret, b"iv", b"", 12, self.digest), "big")
        self.number = 0

    def __call__(self, content: bytes, kind: int = 23, padding: int = 0) -> bytes:
        inner = content + bytes([kind]) + bytes(padding)
        tag = 8 if self.suite == 0x1305 else 16
        header = b"\x17\x03\x03" + (len(inner) + tag).to_bytes(2, "big")
        nonce = (self._iv ^ self.number).to_bytes(12, "big")
        self.number += 1
        return header + self._aead.encrypt(nonce, inner, header)

    def next(self) -> "Sealer":
        return Sealer(next_traffic_secret(self.secret, self.digest), self.suite)


class Tls13:
    """Both ends of a TLS 1.3 connection, with the lines of its key log."""

    def __init__(self, suite: int = 0x1301) -> None:
        size = 48 if SUITES[suite][2] == "sha384" else 32
        labels = {
            "early": "CLIENT_EARLY_TRAFFIC_SECRET",
            "client_handshake": "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            "server_handshake": "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            "client": "CLIENT_TRAFFIC_SECRET_0",
            "server": "SERVER_TRAFFIC_SECRET_0",
        }
        self.lines = {}
        self.sealers: dict[str, Sealer] = {}
        for number, (name, label) in enumerate(labels.items(), 1):
            secret = bytes([number]) * size
            self.lines[name] = f"{label} {RANDOM.hex()} {secret.hex()}\n"
            self.sealers[name] = Sealer(secret, suite)
        self.hello = client_hello(OFFERS_TLS13, H2)
        self.answer = server_hello(suite, TLS13)

    def __getitem__(self, name: str) -> Sealer:
        return self.sealers[name]

    def flight(self, *extensions: bytes) -> bytes:
        """The server's first flight, up to its Finished."""
        said = message(8, prefixed(b"".join(extensions or (H2,)), 2)) + message(20, bytes(32))
        return self.answer + self["server_handshake"](said, 22)

    def start(self) -> list[tuple[int, bytes]]:
        finished = self["client_handshake"](message(20, bytes(32)), 22)
        return [(TO_SERVER, self.hello), (TO_CLIENT, self.flight()), (TO_SERVER, plain(20, b"\x01") + finished)]

    def keys(self, *without: str) -> str:
        return "".join(line for name, line in self.lines.items() if name not in without)


Piece = tuple[int, bytes | int | None]  # a direction with bytes, or with the length of a gap


def rows_of(pieces: list[Piece], keys: str = "", *, closes: bool = True) -> Rows:
    """The rows of a stream whose n-th piece comes in packet n, 10 n ns after the epoch."""
    context = Context([TlsDissector, Inside])
    context.key_log.add(keys.encode())
    stream = Stream(Scope(context, 7, "tcp", 443, True), None, "tls")
    rows: Rows = []
    for number, (direction, data) in enumerate(pieces, 1):
        if isinstance(data, bytes):
            rows += stream.feed(direction, data, number * 10, number * 10, number)
        else:
            rows += stream.gap(direction, data, None, number * 10, number)
    for direction in (TO_SERVER, TO_CLIENT) if closes else ():
        rows += stream.close(direction, CloseReason.FIN, 1000, 100)
    assert not [row for row in rows if isinstance(row, AnomalyRecord) and row.kind == "dissector_error"]
    return rows


def heard(rows: Rows) -> list[tuple[object, ...]]:
    return [row.what for row in rows if isinstance(row, Heard)]


def handshake(rows: Rows) -> TlsHandshakeRecord:
    (row,) = [row for row in rows if isinstance(row, TlsHandshakeRecord)]
    return row


def faults(rows: Rows) -> list[tuple[str, str | None]]:
    return [(row.kind, row.found) for row in rows if isinstance(row, AnomalyRecord)]


ENDS = [("to_server", "fin"), ("to_client", "fin")]


def test_the_conversation_of_rfc_8448_is_read() -> None:
    said = {name: bytes.fromhex(value) for name, value in RFC8448.items()}
    client_random = said["client_hello_record"][11:43]
    labels = [name for name in RFC8448 if name.isupper() and "." not in name]
    names = ["client_hello", "server_hello", "server_flight", "client_finished", "ticket", "client_data", "server_data"]
    ways = [TO_SERVER, TO_CLIENT, TO_CLIENT, TO_SERVER, TO_CLIENT, TO_SERVER, TO_CLIENT, TO_SERVER, TO_CLIENT]
    pieces: list[Piece] = [
        (way, said[f"{name}_record"]) for way, name in zip(ways, [*names, "client_alert", "server_alert"], strict=True)
    ]
    keys = "".join(f"{label} {client_random.hex()} {RFC8448[label]}\n" for label in labels)
    context = Context([TlsDissector, Inside])
    context.key_log.add(keys.encode())
    rows = rows_of(pieces, keys)
    certificate = said["server_flight"][40 + 11 : 40 + 11 + 0x1B0]
    assert handshake(rows) == TlsHandshakeRecord(
        connection_id=7,
        stream_index=0,
        client_random=client_random.hex(),
        server_name="server",
        version="TLS 1.3",
        cipher_suite="TLS_AES_128_GCM_SHA256",
        key_exchange_group="x25519",
        is_resumed=False,
        early_data_offered=False,
        has_hello_retry=False,
        has_encrypted_client_hello=False,
        ja3=handshake(rows).ja3,
        ja4=handshake(rows).ja4,
        certificate_subject="CN=rsa",
        certificate_issuer="CN=rsa",
        certificate_not_before_at=1469841839_000000000,
        certificate_not_after_at=1785374639_000000000,
        certificate_sha256=hashlib.sha256(certificate).hexdigest(),
        client_hello_at=10,
        server_hello_at=20,
        server_finished_at=30,
        client_finished_at=40,
        handshake_ns=30,
        is_decrypted=True,
        records_to_server=4,
        records_to_client=5,
        first_packet=1,
        last_packet=4,
    )
    (inside,) = [row for row in rows if isinstance(row, StreamRecord) and row.stream_index == 1]
    assert (inside.bytes_to_server, inside.bytes_to_client, inside.parent_index, inside.depth) == (50, 50, 0, 1)
    assert [row for row in rows if isinstance(row, TlsAlertRecord)] == [
        TlsAlertRecord(7, 0, "to_server", 80, "warning", "close_notify", True, 8),
        TlsAlertRecord(7, 0, "to_client", 90, "warning", "close_notify", True, 9),
    ]


def test_a_compressed_certificate_tells_as_much_and_is_undone_once() -> None:
    der = bytes.fromhex(RFC8448["server_flight"])[51 : 51 + 0x1B0]
    body = b"\0" + prefixed(prefixed(der, 3) + b"\0\0", 3)
    coded = zlib.compress(body)
    compressed = message(25, b"\0\1" + len(body).to_bytes(3) + prefixed(coded, 3))
    wrong = message(25, b"\0\1" + len(body).to_bytes(3) + prefixed(coded[:-9], 3))
    for said, subject, found in ((compressed + wrong, "CN=rsa", []), (wrong + compressed, None, ["another number"])):
        tls = Tls13()
        flight = tls.answer + tls["server_handshake"](message(8, prefixed(H2, 2)) + said + message(20, bytes(32)), 22)
        pieces: list[Piece] = [(TO_SERVER, tls.hello), (TO_CLIENT, flight), (TO_CLIENT, tls["server"](b"content"))]
        rows = rows_of(pieces, tls.keys())
        row = handshake(rows)
        assert (row.certificate_subject, row.certificate_issuer, row.is_decrypted) == (subject, subject, True)
        assert row.certificate_sha256 == (hashlib.sha256(der).hexdigest() if subject else None)
        assert [fault[1] for fault in faults(rows)] == found
        assert heard(rows)[0] == ("to_client", b"content", 3)


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_of_tls_13_with_padding_and_key_updates(suite: int) -> None:
    tls = Tls13(suite)
    pieces: list[Piece] = [*tls.start()]
    client, server = tls["client"], tls["server"]
    pieces += [(TO_SERVER, client(b"one", padding=100)), (TO_CLIENT, server(b"two"))]
    pieces += [(TO_CLIENT, server(message(4, bytes(40)), 22) + server(message(24, b"\x01"), 22))]
    server = server.next()
    pieces += [(TO_CLIENT, server(b"three")), (TO_SERVER, client(message(24, b"\0"), 22))]
    client = client.next()
    pieces += [(TO_SERVER, client(b"four", padding=1) + client(b"") + client(b"five"))]
    rows = rows_of(pieces, tls.keys("early"))
    assert heard(rows) == [
        ("to_server", b"one", 4),
        ("to_client", b"two", 5),
        ("to_client", b"three", 7),
        ("to_server", b"four", 9),
        ("to_server", b"five", 9),
        *ENDS,
    ]
    assert handshake(rows).undecrypted_records == 0
    assert handshake(rows).alpn == "h2"
    assert faults(rows) == []


def test_a_record_of_padding_alone_is_a_fault_and_not_the_end() -> None:
    tls = Tls13()
    rows = rows_of([*tls.start(), (TO_SERVER, tls["client"](b"", 0) + tls["client"](b"data"))], tls.keys())
    assert heard(rows) == [("to_server", b"data", 4), *ENDS]
    assert faults(rows) == [("protocol_error", "padding alone")]


EARLY = extension(42)


@pytest.mark.parametrize("is_accepted", [True, False])
@pytest.mark.parametrize("has_key", [True, False])
def test_early_data_counts_where_the_server_took_it(*, is_accepted: bool, has_key: bool) -> None:
    tls = Tls13()
    tls.hello = client_hello(OFFERS_TLS13, H2, EARLY)
    pieces: list[Piece] = [(TO_SERVER, tls.hello + plain(20, b"\x01") + tls["early"](b"early"))]
    pieces += [(TO_CLIENT, tls.flight(H2, EARLY) if is_accepted else tls.flight(H2))]
    end = tls["early"](message(5), 22) if is_accepted else b""
    pieces += [(TO_SERVER, end + tls["client_handshake"](message(20, bytes(32)), 22) + tls["client"](b"later"))]
    rows = rows_of(pieces, tls.keys() if has_key else tls.keys("early"))
    early: list[tuple[object, ...]] = []
    if is_accepted:  # without its key: up to as many bytes as the two records can have had
        early = [("to_server", b"early", 1)] if has_key else [("to_server", None, len("early") + len(message(5)))]
    assert heard(rows) == [*early, ("to_server", b"later", 3), *ENDS]
    assert (handshake(rows).early_data_offered, handshake(rows).early_data_accepted) == (True, is_accepted)
    assert faults(rows) == []


def test_a_retry_makes_early_data_void_and_the_second_hello_is_told_as_the_first() -> None:
    tls = Tls13()
    tls.hello = client_hello(OFFERS_TLS13, H2, EARLY)
    pieces: list[Piece] = [(TO_SERVER, tls.hello + tls["early"](b"early"))]
    pieces += [(TO_CLIENT, server_hello(0x1301, TLS13, random=RETRY))]
    pieces += [(TO_SERVER, plain(20, b"\x01") + client_hello(OFFERS_TLS13, H2)), (TO_CLIENT, tls.flight())]
    pieces += [(TO_SERVER, tls["client_handshake"](message(20, bytes(32)), 22) + tls["client"](b"data"))]
    rows = rows_of(pieces, tls.keys())
    assert heard(rows) == [("to_server", b"data", 5), *ENDS]
    found = handshake(rows)
    assert (found.has_hello_retry, found.early_data_offered, found.early_data_accepted) == (True, True, False)
    assert found.is_resumed is False


def test_what_comes_before_the_other_directions_hello_waits_for_it() -> None:
    tls = Tls13()
    start = tls.start()
    rows = rows_of(
        [start[1], (TO_CLIENT, tls["server"](b"hi")), start[0], start[2], (TO_SERVER, tls["client"](b"lo"))], tls.keys()
    )
    assert heard(rows) == [("to_client", b"hi", 2), ("to_server", b"lo", 5), *ENDS]
    rows = rows_of([start[0], start[2], (TO_SERVER, Tls13()["client"](b"lo")), start[1]], tls.keys())
    assert heard(rows) == [("to_server", b"lo", 3), *ENDS]


def test_a_hole_inside_one_record_costs_that_record() -> None:
    tls = Tls13()
    records = [tls["client"](b"x" * 100) for _ in range(3)]
    damaged: list[Piece] = [(TO_SERVER, records[0] + records[1][:50]), (TO_SERVER, 20), (TO_SERVER, records[1][70:] + records[2])]
    rows = rows_of([*tls.start(), *damaged], tls.keys())
    assert heard(rows) == [
        ("to_server", b"x" * 100, 4),
        ("to_server", None, 100),
        ("to_server", b"x" * 100, 6),
        *ENDS,
    ]
    assert faults(rows) == []
    assert (handshake(rows).undecrypted_records, handshake(rows).not_decrypted_reason) == (1, "records missing")


@pytest.mark.parametrize("length", [500, None])
@pytest.mark.parametrize("updates", [0, 1])
def test_records_are_found_again_after_a_hole_with_their_numbers_and_keys(length: int | None, updates: int) -> None:
    tls = Tls13()
    server = tls["server"]
    before = server(b"before")
    for _ in range(4):
        server(b"y" * 60)
    if updates:
        server(message(24, b"\0"), 22)
        server = server.next()
        server(b"y" * 60)
    rest = server(b"y" * 60)[10:]
    after = server(b"after") + server(b"more")
    rows = rows_of([*tls.start(), (TO_CLIENT, before), (TO_CLIENT, length), (TO_CLIENT, rest + after)], tls.keys())
    told = heard(rows)
    assert [told[0], *told[2:]] == [("to_client", b"before", 4), ("to_client", b"after", 6), ("to_client", b"more", 6), *ENDS]
    assert told[1] == ("to_client", None, None if length is None else length + len(rest))


def test_a_loss_is_told_though_the_next_record_is_no_content() -> None:
    tls = Tls13()
    server = tls["server"]
    lost, ticket, data = server(b"x" * 30), server(message(4, bytes(40)), 22), server(b"data")
    rows = rows_of([*tls.start(), (TO_CLIENT, lost[:9]), (TO_CLIENT, 20), (TO_CLIENT, lost[29:] + ticket + data)], tls.keys())
    assert heard(rows) == [("to_client", None, 30), ("to_client", b"data", 6), *ENDS]


def test_a_hole_in_the_handshake_is_none_in_what_is_inside() -> None:
    tls = Tls13()
    start = tls.start()
    flight = start[1][1]
    cut = len(tls.answer) + 20
    pieces: list[Piece] = [start[0], (TO_CLIENT, flight[:cut]), (TO_CLIENT, 30), (TO_CLIENT, flight[cut + 30 :]), start[2]]
    pieces += [(TO_CLIENT, tls["server"](b"first")), (TO_SERVER, tls["client"](b"second"))]
    rows = rows_of(pieces, tls.keys())
    told = [event for event in heard(rows) if event not in ENDS]
    assert told == []  # without EncryptedExtensions nothing says that it is HTTP/2, and nothing else is recognised
    (inside,) = [row for row in rows if isinstance(row, StreamRecord) and row.stream_index == 1]
    assert (inside.bytes_to_client, inside.bytes_to_server, inside.missing_bytes) == (5, 6, 0)
    assert handshake(rows).alpn is None


def test_keys_for_application_data_alone_are_enough_for_it() -> None:
    tls = Tls13()
    pieces: list[Piece] = [*tls.start(), (TO_CLIENT, tls["server"](b"PRI")), (TO_SERVER, tls["client"](b"yes"))]
    rows = rows_of(pieces, tls.keys("early", "client_handshake", "server_handshake"))
    (inside,) = [row for row in rows if isinstance(row, StreamRecord) and row.stream_index == 1]
    assert (inside.bytes_to_client, inside.bytes_to_server) == (3, 3)
    assert handshake(rows).not_decrypted_reason == "not all keys given, or records damaged"


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("", "no keys given"),
        (f"CLIENT_RANDOM {bytes(32).hex()} {'ab' * 48}", "no key for this client random"),
        (f"CLIENT_RANDOM {RANDOM.hex()} {'ab' * 48}", "no key for this client random"),
    ],
)
def test_without_keys_the_handshake_is_told_and_why_there_is_no_more(keys: str, reason: str) -> None:
    tls = Tls13()
    rows = rows_of([*tls.start(), (TO_SERVER, tls["client"](b"data"))], keys)
    found = handshake(rows)
    assert heard(rows) == []
    assert (found.is_decrypted, found.not_decrypted_reason, found.undecrypted_records) == (False, reason, 3)
    assert (found.version, found.alpn_offered, found.alpn) == ("TLS 1.3", "h2", None)
    assert (found.client_finished_at, found.server_finished_at, found.handshake_ns) == (30, None, 20)


def test_wrong_keys_are_noticed_and_given_up() -> None:
    tls, other = Tls13(), Tls13()
    start = tls.start()
    wrong = {name: line[:-3] + "ff\n" for name, line in other.lines.items()}
    pieces: list[Piece] = [*start, *[(TO_CLIENT, tls["server"](b"data")) for _ in range(20)]]
    rows = rows_of(pieces, "".join(wrong.values()))
    assert heard(rows) == []
    assert handshake(rows).not_decrypted_reason == "the keys given do not fit"
    assert faults(rows) == [("protocol_error", "16 that they do not")]


def test_a_damaged_record_is_lost_and_the_next_ones_are_not() -> None:
    tls = Tls13()
    records = [tls["client"](bytes([number]) * 10) for number in range(3)]
    records[1] = records[1][:-1] + bytes([records[1][-1] ^ 1])
    rows = rows_of([*tls.start(), (TO_SERVER, b"".join(records))], tls.keys())
    assert heard(rows) == [("to_server", bytes(10), 4), ("to_server", None, 10), ("to_server", b"\x02" * 10, 4), *ENDS]
    assert faults(rows) == [("protocol_error", "record 1 that they do not")]


def test_a_handshake_that_fails_says_with_which_alert() -> None:
    rows = rows_of([(TO_SERVER, client_hello(OFFERS_TLS13)), (TO_CLIENT, plain(21, b"\x02\x28"))])
    found = handshake(rows)
    assert (found.alert, found.not_decrypted_reason) == ("handshake_failure to_client", "no ServerHello was sent")
    assert [row for row in rows if isinstance(row, TlsAlertRecord)] == [
        TlsAlertRecord(7, 0, "to_client", 20, "fatal", "handshake_failure", False, 2)
    ]


def test_bytes_that_are_no_records_end_what_can_be_followed() -> None:
    rows = rows_of([(TO_SERVER, client_hello(OFFERS_TLS13)), (TO_CLIENT, b"HTTP/1.1 400 Bad Request\r\n\r\n")])
    assert faults(rows) == [("framing_lost", "48 54 54 50 2f")]


def test_a_capture_that_begins_late_says_so() -> None:
    tls = Tls13()
    data = tls["client"](b"data")
    rows = rows_of([(TO_SERVER, None), (TO_CLIENT, None), (TO_SERVER, data * 3), (TO_CLIENT, tls["server"](b"more"))], tls.keys())
    assert heard(rows) == []
    assert handshake(rows).not_decrypted_reason == "ClientHello not captured"


def test_probing_knows_hellos_and_records() -> None:
    tls = Tls13()
    hello, answer, data = tls.hello, tls.answer, tls["client"](b"x" * 50)
    assert [TlsDissector.probe(hello[:size], b"") for size in (1, 5, 10, 11)] == [Match.MAYBE] * 3 + [Match.YES]
    assert TlsDissector.probe(b"", answer) is Match.YES
    assert TlsDissector.probe(answer, hello) is Match.NO
    assert TlsDissector.probe(b"", hello) is Match.NO
    assert TlsDissector.probe(data * 2, b"") is Match.YES
    assert TlsDissector.probe(data, b"") is Match.MAYBE
    assert TlsDissector.probe(answer, b"") is Match.NO
    assert TlsDissector.probe(data, b"under way") is TlsDissector.probe(b"under way", data) is Match.LIKELY
    assert TlsDissector.probe(data[:-1], b"under way") is TlsDissector.probe(b"under way", b"") is Match.MAYBE
    assert TlsDissector.probe(data * 2, b"under way") is Match.YES
    assert TlsDissector.probe(b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n") is Match.NO
    assert TlsDissector.probe(data + b"\x15\x03\x03\x00\x02\x01\x00", b"under way") is Match.NO
    assert TlsDissector.probe(hello, b"\x15\x03\x03\x00\x02\x02\x28") is Match.YES


# captures that others made -------------------------------------------------------------------------------------------


class Kept:
    def __init__(self) -> None:
        self.rows: list[Any] = []

    def add(self, rows: Rows) -> None:
        self.rows += rows


def rows_in(path: Path, *key_logs: Path) -> list[Any]:
    log = KeyLog()
    for each in key_logs:
        log.add(each.read_bytes())
    kept, captures = Kept(), CaptureSet([str(path)])
    pipeline.run(captures, Context(protocols.dissectors(), key_log=log), kept)
    captures.close()
    return kept.rows


def test_each_cipher_suite_of_the_all_ciphers_capture_is_decrypted_but_for_stream_ciphers(shared_captures: Path) -> None:
    folder = "fkie-cad+pcapFS/tests/crypto/all_ciphers_test"
    rows = rows_in(shared_captures / folder / "all_ciphers.pcap", shared_captures / "_keys" / folder / "all_ciphers.key")
    found = [row for row in rows if isinstance(row, TlsHandshakeRecord)]
    assert len(found) == 31
    assert {row.cipher_suite for row in found if not row.is_decrypted} == {
        "TLS_DH_anon_WITH_RC4_128_MD5",
        "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
        "TLS_ECDH_anon_WITH_RC4_128_SHA",
        "TLS_RSA_WITH_RC4_128_MD5",
        "TLS_RSA_WITH_RC4_128_SHA",
    }
    assert {row.not_decrypted_reason for row in found if not row.is_decrypted} == {"cipher suite not supported"}
    assert {row.undecrypted_records for row in found if row.is_decrypted} == {0}


def test_a_browsers_connections_are_decrypted_from_a_key_log_and_from_the_capture_itself(shared_captures: Path) -> None:
    folder = "cisco+mercury/test/data"
    keys = shared_captures / "_keys" / folder / "sslkeylogfile.log"
    outside = rows_in(shared_captures / folder / "test_decrypt.pcap", keys)
    inside = rows_in(shared_captures / "_derived/test_decrypt-dsb.pcapng")
    kinds = Counter(type(row).__name__ for row in outside)
    assert (kinds["HttpExchangeRecord"], kinds["TlsHandshakeRecord"]) == (19, 21)
    assert Counter(type(row).__name__ for row in inside) == kinds
    found = [row for row in outside if isinstance(row, TlsHandshakeRecord)]
    assert Counter((row.is_decrypted, row.not_decrypted_reason) for row in found) == {
        (True, None): 16,
        (False, "no key for this client random"): 4,
        (False, "ClientHello not captured"): 1,
    }


def test_the_same_traffic_in_clear_and_in_tls_gives_the_same_exchanges() -> None:
    rows = rows_in(Path(__file__).parent.parent.parent / "sample_pcaps" / "tls" / "same_in_clear.pcapng")
    ports = {row.connection_id: row.server_port for row in rows if isinstance(row, ConnectionRecord)}
    names = [column.name for column in table_of(HttpExchangeRecord).columns if column.stability is Stability.CONVERSATION]
    said: dict[bool, list[str]] = {True: [], False: []}
    for row in rows:
        if isinstance(row, HttpExchangeRecord):
            values = {name: getattr(row, name) for name in names if name not in ("scheme", "authority")}
            said[ports[row.connection_id] == 8443].append(str(values))
    assert len(said[True]) == 8
    assert sorted(said[True]) == sorted(said[False])
