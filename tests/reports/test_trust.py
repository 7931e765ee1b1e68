"""The report ``trust``: what share of each connection is witnessed."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import analyzer
from analyzer import protocols, reports
from analyzer.http.semantics import HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.protocols.http2 import Http2ConnectionRecord
from analyzer.protocols.tls import TlsHandshakeRecord
from analyzer.protocols.websocket import WebSocketMessageRecord
from analyzer.records import AnomalyRecord, CaptureRecord, ConnectionRecord, FieldLine, StreamRecord
from analyzer.reports import render
from analyzer.store import Store

SAMPLES = Path(__file__).resolve().parents[2] / "sample_pcaps"
SECOND = 1_000_000_000


def sections(store: Store) -> dict[str, list[dict[str, Any]]]:
    """The rows of each section, by the first words of its heading."""
    return {
        part.heading.partition(" of ")[0]: [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
        for part, relation in reports.answers(store, reports.load("trust"))
    }


def said(store: Store) -> str:
    """What the report says in sentences."""
    return " ".join(row["line"] for row in sections(store)["In short"])


def reasons(store: Store) -> list[tuple[str, int, int | None]]:
    return [tuple(row.values())[:3] for row in sections(store)["What is not witnessed"]]


def store_of(rows: list[Any]) -> Store:
    store = Store(records=[record for dissector in protocols.dissectors() for record in dissector.records])
    store.add(rows)
    store.finish()
    return store


def connection(number: int, there: int, missing: int) -> ConnectionRecord:
    return ConnectionRecord(
        number, 0, "tcp", "a", 1, "b", 80, "handshake", protocol="http2", bytes_to_server=there // 2,
        bytes_to_client=there - there // 2, missing_bytes_to_client=missing, started_at=0, ended_at=SECOND,
        packets_to_server=1, packets_to_client=1, close_reason="fin",
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
        StreamRecord(2, 0, None, 0, "http2", bytes_to_server=450, bytes_to_client=450),
        Http2ConnectionRecord(2, 0, unread_to_client_bytes=400),
        connection(3, 999, 1), exchange(3, 1, "complete", True),
    ]  # fmt: skip
    with store_of(rows) as store:
        found = sections(store)
    (total,), one_by_one = found["All connections"], found["Connections"]
    assert [row["connection"] for row in one_by_one] == [2, 3]
    assert {name: one_by_one[0][name] for name in ("said", "witnessed_percent", "fields_percent", "bytes_percent", "why")} == {
        "said": 2,
        "witnessed_percent": None,
        "fields_percent": 60.0,
        "bytes_percent": 50.0,
        "why": "not read: its place was lost, not captured",
    }
    assert one_by_one[1]["bytes_percent"] == 99.9
    assert (total["connections"], total["said"], total["whole"], total["witnessed_percent"]) == ("3", 5, 4, None)
    assert (total["lost_to_server_bytes"], total["lost_to_client_bytes"], total["not_read_bytes"]) == (0, 101, 400)


def test_a_capture_that_lacks_nothing_says_so_in_a_line() -> None:
    with analyzer.analyze([str(SAMPLES / "http1" / "keep_alive.pcap")]) as store:
        found = sections(store)
        file = io.StringIO()
        console = Console(file=file, width=80, highlight=False, markup=False, emoji=False)
        render.report(store, reports.load("trust"), console, None)
    (total,) = found["All connections"]
    assert [total[f"{name}_percent"] for name in ("witnessed", "fields", "bytes")] == [100.0, 100.0, 100.0]
    assert found["Connections"] == found["What is not witnessed"] == []
    assert "All that was said is there and was understood, from beginning to end." in file.getvalue()


def test_of_no_connection_nothing_is_said() -> None:
    with store_of([]) as store:
        assert said(store) == ""


def test_a_connection_joined_in_its_middle_is_not_there_from_its_beginning() -> None:
    rows = [connection(1, 100, 0), exchange(1, 1, "complete", True)]
    rows[0].role_evidence = "protocol"
    with store_of(rows) as store:
        assert reasons(store) == [("its beginning was not captured", 1, None)]
        assert said(store) == "Of 0 of 1 connection everything that was said is there and was understood."


def test_one_that_is_open_where_the_capture_ends_is_there_up_to_that() -> None:
    rows = [connection(1, 100, 0), exchange(1, 1, "complete", True)]
    rows[0].close_reason = "capture_end"
    with store_of(rows) as store:
        assert said(store).endswith("up to where the capture ends: 1 connection was still open.")


def test_bytes_that_nobody_understands_or_decrypts_are_not_witnessed_and_may_hold_any_number_of_exchanges() -> None:
    rows = [
        connection(1, 1000, 0), StreamRecord(1, 0, None, 0, None, bytes_to_server=500, bytes_to_client=500),
        connection(2, 600, 0), StreamRecord(2, 0, None, 0, "tls", bytes_to_server=300, bytes_to_client=300),
        TlsHandshakeRecord(2, 0, not_decrypted_reason="no keys given"),
        connection(3, 400, 0), exchange(3, 1, "complete", True),
    ]  # fmt: skip
    with store_of(rows) as store:
        found = sections(store)
        assert reasons(store) == [("no known protocol", 1, 1000), ("not decrypted", 1, 600)]
        assert said(store).startswith("Of 1 of 3 connections everything")
        assert "How many exchanges and messages 2 connections carried is not known" in said(store)
    (total,) = found["All connections"]
    assert (total["said"], total["whole"], total["witnessed_percent"], total["bytes_percent"]) == (1, 1, None, 20.0)


def test_of_a_websocket_only_the_messages_that_were_read_are_witnessed() -> None:
    rows = [
        connection(1, 1000, 10), StreamRecord(1, 0, None, 0, "http1", bytes_to_server=500, bytes_to_client=500),
        StreamRecord(1, 1, 0, 1, "websocket", bytes_to_server=300, bytes_to_client=200, missing_bytes=10),
        WebSocketMessageRecord(1, 1, 0, "to_server", "text", 0, 1, 1, 100, 94, False, "a", None, None, None, True, 0, 1, 1),
        WebSocketMessageRecord(1, 1, 1, "to_client", "text", 0, 1, 1, 200, 198, False, "b", None, None, None, True, 0, 1, 1),
        AnomalyRecord(connection_id=1, stream_index=1, direction="to_server", kind="framing_lost", required="a", found="b"),
    ]  # fmt: skip
    with store_of(rows) as store:
        (row,) = sections(store)["Connections"]
    assert (row["said"], row["witnessed_percent"], row["why"]) == (2, None, "not read: its place was lost, not captured")
    assert row["bytes_percent"] == pytest.approx(100 * 800 / 1010)


def test_bytes_before_a_protocol_was_recognised_were_not_read() -> None:
    rows = [
        connection(1, 1000, 0), StreamRecord(1, 0, None, 0, "http1", bytes_to_server=500, bytes_to_client=500),
        exchange(1, 0, "complete", True),
        AnomalyRecord(connection_id=1, stream_index=0, direction="to_client", kind="recognised_late", missing_bytes=300),
    ]  # fmt: skip
    with store_of(rows) as store:
        assert reasons(store) == [("not read: it came before its protocol was known", 1, 300)]
        ((row,),) = [sections(store)["Connections"]]
    assert (row["witnessed_percent"], row["bytes_percent"]) == (None, 70.0)


def test_exchanges_whose_response_is_not_certain_are_not_witnessed() -> None:
    rows = [connection(1, 100, 0), exchange(1, 1, "unmatched", True), exchange(1, 3, "complete", True)]
    with store_of(rows) as store:
        assert reasons(store) == [("which response belongs to which request is not known", 1, None)]
        ((row,),) = [sections(store)["Connections"]]
    assert row["witnessed_percent"] == 50.0


def test_a_drop_leaves_tcp_that_is_whole_trusted_and_udp_not() -> None:
    flow = ConnectionRecord(2, 0, "udp", "a", 1, "b", 53, "port", bytes_to_server=10, packets_to_server=1, dropped_packets=7)
    stream = StreamRecord(1, 0, protocol="http1", bytes_to_client=100)
    whole = connection(1, 100, 0)
    whole.dropped_packets = 7
    rows = [CaptureRecord(0, "first.pcapng", dropped_packets=7), whole, stream, exchange(1, 0, "complete", True), flow]
    with store_of(rows) as store:
        assert [row["connection"] for row in sections(store)["Connections"]] == [2]
        assert ("packets were dropped while it was open", 1, None) in reasons(store)
        assert said(store) == (
            "Of 1 of 2 connections everything that was said is there and was understood. "
            "How many exchanges and messages 1 connection carried is not known: what was not read or not captured may hold more. "
            "7 packets were dropped when capturing, says the capture first.pcapng. "
            "2 connections were open then: of TCP it is known what is missing, of UDP (1) it is not."
        )


def test_a_drop_of_which_it_is_not_said_when_may_have_hit_any_connection() -> None:
    with store_of([CaptureRecord(0, "first.pcapng", dropped_packets=7), connection(1, 0, 0)]) as store:
        assert said(store).endswith("7 packets were dropped when capturing, says the capture first.pcapng, but not when.")
