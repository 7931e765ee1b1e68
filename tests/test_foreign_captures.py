"""Every capture that others made is taken apart to its end: nothing raises, no dissector fails, and the store takes all rows."""

import csv
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from analyzer import analyze, pipeline, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.dissector import Context
from analyzer.http.semantics import HttpContentRecord, HttpExchangeRecord
from analyzer.records import AnomalyRecord, CaptureRecord, ConnectionRecord, Rows, StreamRecord, by_class
from analyzer.schema import table_of

CAPTURES = 381
INDEX = Path(__file__).resolve().parent.parent.parent / "shared" / "captures" / "INDEX.tsv"
CUSTOM_BLOCKS = {"test017.pcapng": 4, "test018.pcapng": 4}  # the index counts them as packets
CAPTURES_AT_A_TIME = 60  # into one store: making a store takes longer than a small capture does


class Kept:
    """Keeps all rows."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def add(self, rows: Rows) -> None:
        self.rows += rows


@cache
def index() -> dict[str, list[dict[str, str]]]:
    """The lines of the index by the repository they come from."""
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    if INDEX.is_file():
        with INDEX.open(newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                found[row["source_repo"]].append(row)
    return found


each_repository = pytest.mark.parametrize("repository", sorted(index()) or ["none"])


def rows_of(path: Path) -> list[Any]:
    kept = Kept()
    captures = CaptureSet([str(path)])
    try:
        assert pipeline.run(captures, Context(protocols.dissectors(), content="store", frames=True), kept)
    finally:
        captures.close()
    return kept.rows


def repeated_keys(rows: list[Any]) -> list[str]:
    """The tables and keys of more than one row."""
    keyed = ((table_of(type(row)), row) for row in rows)
    keys = Counter((table.name, tuple(getattr(row, name) for name in table.key)) for table, row in keyed if table.key)
    return [f"{name} {key}" for (name, key), count in keys.items() if count > 1]


def faults_of(rows: list[Any], line: dict[str, str]) -> list[str]:
    """What is wrong with the rows of a capture, whatever it holds."""
    faults = [
        f"{row.kind} in packet {row.packet}: {row.found}"
        for row in rows
        if isinstance(row, AnomalyRecord) and row.kind == "dissector_error"
    ]
    (capture,) = [row for row in rows if isinstance(row, CaptureRecord)]
    packets = capture.packets + CUSTOM_BLOCKS.get(Path(line["file"]).name, 0)
    if line["packets"] not in ("", str(packets)) and capture.truncation is None:
        faults.append(f"{packets} packets where the index has {line['packets']}")
    connections = {row.connection_id for row in rows if isinstance(row, ConnectionRecord)}
    streams = {(row.connection_id, row.stream_index) for row in rows if isinstance(row, StreamRecord)}
    for row in rows:
        connection_id = getattr(row, "connection_id", None)
        if connection_id is not None and connection_id not in connections:
            faults.append(f"{type(row).__name__} of no connection: {connection_id}")
        stream_index = getattr(row, "stream_index", None)
        if isinstance(row, AnomalyRecord) or connection_id is None or stream_index is None:
            continue  # an anomaly may be of a stream that nothing was delivered to
        if (connection_id, stream_index) not in streams:
            faults.append(f"{type(row).__name__} of no stream: {connection_id}, {stream_index}")
    return faults + [f"{name} twice" for name in repeated_keys(rows)]


def test_the_index_has_all_captures(shared_captures: Path) -> None:
    assert sum(len(lines) for lines in index().values()) == CAPTURES
    assert all((shared_captures / line["file"]).is_file() for lines in index().values() for line in lines)


@each_repository
def test_every_capture_is_taken_apart_to_its_end(shared_captures: Path, repository: str) -> None:
    faults = []
    for line in index()[repository]:
        try:
            found = faults_of(rows_of(shared_captures / line["file"]), line)
        except Exception as error:  # noqa: BLE001  # the names of all captures that fail, not of the first alone
            found = [f"{type(error).__name__}: {error}"]
        faults += [f"{line['file']}: {fault}" for fault in found]
    assert faults == []


@each_repository
def test_the_store_has_the_rows_of_every_capture(shared_captures: Path, repository: str) -> None:
    names = [str(shared_captures / line["file"]) for line in index()[repository]]
    for first in range(0, len(names), CAPTURES_AT_A_TIME):
        paths = names[first : first + CAPTURES_AT_A_TIME]
        captures = CaptureSet(paths)
        kept = Kept()
        pipeline.run(captures, Context(protocols.dissectors(), content="store", frames=True), kept)
        captures.close()
        with analyze(paths, content="store", frames=True) as store:
            for record, rows in by_class(kept.rows).items():
                name = table_of(record).name
                counted = store.sql(f'SELECT count(*) FROM "{name}"').fetchall()
                assert counted == [(len(rows),)], f"{name} of {paths}"


def test_a_response_that_nobody_asked_for_is_not_given_to_the_next_request(shared_captures: Path) -> None:
    """The server answers half a second before it is asked; the client's request then gets the answer that follows it."""
    rows = rows_of(shared_captures / "urso+beats/packetbeat/tests/system/pcaps/http_unmatched.pcap")
    found = [
        (row.target, row.status_code, row.first_packet, row.end_reason) for row in rows if isinstance(row, HttpExchangeRecord)
    ]
    assert sorted(found, key=lambda row: row[2]) == [
        (b"/something", None, 5, "reset"),
        (None, 404, 12, "no request"),
        (b"/someotherthing", 200, 14, "complete"),
    ]


def test_content_is_kept_as_sent_where_fields_are_unknown_and_may_name_a_coding(shared_captures: Path) -> None:
    """The capture begins in the middle of the connection: its fields refer to a table that nobody saw."""
    rows = rows_of(shared_captures / "deepflowio+deepflow/agent/resources/test/flow_generator/http/http2-multi.pcap")
    found = [(row.side, len(row.content), row.is_decoded) for row in rows if isinstance(row, HttpContentRecord)]
    assert sorted(found) == [
        ("request", 17, False),
        ("request", 17, False),
        ("response", 148, False),
        ("response", 150, False),
    ]
