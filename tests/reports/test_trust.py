"""The report ``trust``: what share of each connection is witnessed."""

import io
from pathlib import Path
from typing import Any

from rich.console import Console

import analyzer
from analyzer import protocols, reports
from analyzer.http.semantics import HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.protocols.http2 import Http2ConnectionRecord
from analyzer.records import ConnectionRecord, FieldLine
from analyzer.reports import render
from analyzer.store import Store

SAMPLES = Path(__file__).resolve().parents[2] / "sample_pcaps"
SECOND = 1_000_000_000


def sections(store: Store) -> list[list[dict[str, Any]]]:
    """The rows of each section."""
    return [
        [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
        for _, relation in reports.answers(store, reports.load("trust"))
    ]


def connection(number: int, there: int, missing: int) -> ConnectionRecord:
    return ConnectionRecord(
        number, 0, "tcp", "a", 1, "b", 80, "handshake", protocol="http2", bytes_to_server=there // 2,
        bytes_to_client=there - there // 2, missing_bytes_to_client=missing, started_at=0, ended_at=SECOND,
    )  # fmt: skip


def exchange(connection_id: int, stream_index: int, ended: str, complete: bool) -> HttpExchangeRecord:
    return HttpExchangeRecord(
        connection_id, stream_index, 0, "2", b"GET", b"http", b"b", b"/", 200, 0, 1, 2, 3, 3, 2,
        end_reason=ended, fields_complete=complete,
    )  # fmt: skip


def test_shares_are_those_of_what_is_told_and_the_worst_comes_first() -> None:
    known, unknown = FieldLine(b"x", b"y", "witnessed"), FieldLine(None, None, "unknown")
    rows = [
        connection(1, 1000, 0), exchange(1, 1, "complete", True), exchange(1, 2, "reset", True),
        HttpFieldSectionRecord(1, 1, 0, "request", "header", [known, known]),
        connection(2, 900, 100), exchange(2, 1, "complete", False), exchange(2, 2, "reset", False),
        HttpFieldSectionRecord(2, 1, 0, "request", "header", [known, unknown, known, unknown, known]),
        Http2ConnectionRecord(2, 0, unread_to_client_bytes=400),
        connection(3, 999, 1), exchange(3, 1, "complete", True),
    ]  # fmt: skip
    with Store(records=[record for dissector in protocols.dissectors() for record in dissector.records]) as store:
        store.add(rows)
        store.finish()
        (total,), one_by_one = sections(store)
    assert [row["connection"] for row in one_by_one] == [2, 3]
    assert {name: one_by_one[0][name] for name in ("said", "witnessed", "fields", "bytes")} == {
        "said": 2,
        "witnessed": "50.0 %",
        "fields": "60.0 %",
        "bytes": "50.0 %",
    }
    assert one_by_one[1]["bytes"] == "99.9 %"  # never rounded up
    assert (total["connections"], total["said"], total["witnessed"]) == ("3", 5, "80.0 %")
    assert (total["lost_to_server_bytes"], total["lost_to_client_bytes"]) == (0, 101)


def test_a_capture_that_lacks_nothing_says_so_in_a_line() -> None:
    with analyzer.analyze([str(SAMPLES / "http1" / "keep_alive.pcap")]) as store:
        (total,), one_by_one = sections(store)
        file = io.StringIO()
        console = Console(file=file, width=80, highlight=False, markup=False, emoji=False)
        render.report(store, reports.load("trust"), console, None)
    assert (total["witnessed"], total["fields"], total["bytes"], one_by_one) == ("100.0 %", "100.0 %", "100.0 %", [])
    assert "All that was said is there" in file.getvalue()
