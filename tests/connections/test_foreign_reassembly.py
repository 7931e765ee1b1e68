"""Captures that nobody here made: bytes of each direction against the reference beside them, states against Zeek's.

The reference writes a text into its bytes where some are missing; the same is done here, so that the place and length
of every gap is compared too. Differences are listed in ``foreign_differences.tsv``, each with what is right and why.
"""

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest

from analyzer.capture.capture_set import CaptureSet
from analyzer.connections.table import ConnectionTable
from analyzer.dissector import Context, Match
from analyzer.packets.decoder import NOTHING, Decoder
from analyzer.records import ConnectionRecord

EMPTY = hashlib.sha1(b"").hexdigest()
Direction = tuple[str, str, int, str]  # sender, receiver, bytes, SHA-1


class Hasher:
    name: ClassVar[str] = "hasher"
    ports: ClassVar[tuple[int, ...]] = ()
    transports: ClassVar[tuple[str, ...]] = ("tcp",)
    records: ClassVar[tuple[type, ...]] = ()
    content: ClassVar[dict[int, list[list[bytes | int]]]] = {}

    def __init__(self, stream, facts):
        self.sides = self.content.setdefault(stream.connection_id, [[], []])

    @staticmethod
    def probe(first, second):
        return Match.YES

    def feed(self, direction, data, timestamp, released, packet):
        self.sides[direction].append(data)
        return []

    def gap(self, direction, length, at_most, timestamp, packet):
        if length is not None:
            self.sides[direction].append(length)
        return []

    def close(self, direction, reason, timestamp, packet):
        return []

    def tick(self, now):
        return []


def connections(path: Path) -> tuple[list[ConnectionRecord], dict[int, list[list[bytes | int]]]]:
    """The TCP connections of a capture, and what each side sent: bytes, and for gaps their length."""
    hasher = type("Hasher", (Hasher,), {"content": {}})
    captures = CaptureSet([str(path)])
    decoder = Decoder()
    table = ConnectionTable(Context([hasher]))
    rows = []
    while (reader := captures.next()) is not None:
        kind = decoder.decode(
            reader.data,
            reader.offset,
            reader.captured_length,
            reader.original_length,
            reader.link_type,
            reader.timestamp,
            reader.frame,
            reader.interface,
        )
        if kind != NOTHING:
            rows += table.packet(decoder, kind, reader.timestamp, reader.frame, reader.capture_index, None)
    for connection in reversed(table.close()):
        rows += table.end(connection)
    return [row for row in rows if isinstance(row, ConnectionRecord) and row.transport == "tcp"], hasher.content


def directions(path: Path, *, has_filler: bool) -> Counter[Direction]:
    found: Counter[Direction] = Counter()
    rows, content = connections(path)
    for row in rows:
        client = f"{row.client_address}:{row.client_port}"
        server = f"{row.server_address}:{row.server_port}"
        sides = content.get(row.connection_id, [[], []])
        for sender, receiver, pieces in ((client, server, sides[0]), (server, client, sides[1])):
            while pieces and isinstance(pieces[-1], int):
                pieces.pop()  # the reference does not tell of a gap that no byte follows
            parts = []
            for piece in pieces:
                if isinstance(piece, bytes):
                    parts.append(piece)
                elif has_filler:
                    parts.append(b"[%d bytes missing in capture file]\0" % piece)
            data = b"".join(parts)
            found[sender, receiver, len(data), hashlib.sha1(data).hexdigest()] += 1
    return found


def reference(truth: dict[str, object], *, with_gaps: bool) -> Counter[Direction]:
    found: Counter[Direction] = Counter()
    for stream in truth["streams"]:
        if bool(stream["gap"]) != with_gaps:
            continue
        ends = stream["node0"].replace("[", "").replace("]", ""), stream["node1"].replace("[", "").replace("]", "")
        found[*ends, stream["bytes0"], stream["sha1_0"] or EMPTY] += 1
        found[*ends[::-1], stream["bytes1"], stream["sha1_1"] or EMPTY] += 1
    return found


def known_differences() -> dict[str, dict[tuple[str, str], tuple[int, str] | None]]:
    known: dict[str, dict[tuple[str, str], tuple[int, str] | None]] = {}
    with (Path(__file__).parent / "foreign_differences.tsv").open(newline="") as file:
        for name, sender, receiver, size, digest, packet, reason in csv.reader(file, delimiter="\t"):
            if name.startswith("#"):
                continue
            assert int(packet) > 0
            assert reason
            known.setdefault(name, {})[sender, receiver] = None if size == "-" else (int(size), digest)
    return known


def apply(differences: dict[tuple[str, str], tuple[int, str] | None], expected: Counter[Direction]) -> None:
    """Put what is right in the place of what the reference has."""
    for ends, right in differences.items():
        (wrong,) = [direction for direction in expected if direction[:2] == ends]
        del expected[wrong]
        if right is not None:
            expected[*ends, *right] += 1


def test_every_direction_has_the_bytes_of_the_reference(shared_captures):
    known = known_differences()
    compared = 0
    wrong = []
    for path in sorted((shared_captures / "_truth").rglob("*.truth.json")):
        truth = json.loads(path.read_text())
        name = truth["file"]
        if not truth.get("streams"):
            continue
        plain = reference(truth, with_gaps=False)
        gapped = reference(truth, with_gaps=True)
        expected = plain + gapped
        apply(known.pop(name, {}), expected)
        found = directions(shared_captures / name, has_filler=bool(gapped))
        compared += expected.total()
        if found != expected:
            wrong.append((name, expected - found, found - expected))
    assert wrong == []
    assert known == {}
    assert compared > 800


ZEEK = "_oracle/zeek+zeek/testing/btest/Baseline"
TRACES = "zeek+zeek/testing/btest/Traces"


def zeek_rows(path: Path) -> list[dict[str, str]]:
    lines = path.read_text().splitlines()
    fields = next((line.split("\t")[1:] for line in lines if line.startswith("#fields")), None)
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    if fields is None:
        fields = rows.pop(0)
    return [dict(zip(fields, row, strict=True)) for row in rows]


@pytest.mark.parametrize(
    ("log", "trace"),
    [
        ("scripts.base.protocols.mysql.encrypted/conn.log", "mysql/encrypted.pcap"),
        ("scripts.base.protocols.ssh.http-port-22/conn.log", "http/http-single-conn-22.pcap"),
        ("scripts.base.protocols.websocket.broker-websocket/conn.log", "websocket/broker-websocket.pcap"),
        ("scripts.base.protocols.websocket.jupyter-websocket/conn.log", "websocket/jupyter-websocket.pcap"),
        ("scripts.policy.frameworks.analyzer.detect-protocols/conn.log", "http/http-single-conn-22.pcap"),
    ],
)
def test_states_histories_and_counts_are_those_that_zeek_logged(shared_captures, log, trace):
    rows, _ = connections(shared_captures / TRACES / trace)
    expected = zeek_rows(shared_captures / ZEEK / log)
    assert len(rows) == len(expected)
    ours = {
        "id.orig_h": lambda row: row.client_address,
        "id.orig_p": lambda row: str(row.client_port),
        "id.resp_h": lambda row: row.server_address,
        "id.resp_p": lambda row: str(row.server_port),
        "orig_bytes": lambda row: str(row.bytes_to_server),
        "resp_bytes": lambda row: str(row.bytes_to_client),
        "conn_state": lambda row: row.state,
        "missed_bytes": lambda row: str(row.missing_bytes_to_server + row.missing_bytes_to_client),
        "history": lambda row: row.history,
        "orig_pkts": lambda row: str(row.packets_to_server),
        "resp_pkts": lambda row: str(row.packets_to_client),
    }  # not the duration: Zeek's ends before the last ACK
    for row, logged in zip(rows, expected, strict=True):
        assert {name: read(row) for name, read in ours.items() if name in logged} == {
            name: value for name, value in logged.items() if name in ours
        }
