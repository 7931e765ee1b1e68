"""Every report on every sample, and what they say about a few of them by hand."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

import analyzer
from analyzer import reports
from analyzer.errors import UsageError
from analyzer.records import AnomalyRecord, ConnectionRecord, StreamRecord
from analyzer.reports import render
from analyzer.store import Store

SAMPLES = Path(__file__).resolve().parents[2] / "sample_pcaps"
SECOND = 1_000_000_000


def printed(store, name, width=80, height=None):
    file = io.StringIO()
    render.report(store, reports.load(name), Console(file=file, width=width, highlight=False, markup=False, emoji=False), height)
    return file.getvalue()


def section(store, name, heading):
    for part, relation in reports.answers(store, reports.load(name)):
        if part.heading.startswith(heading):
            return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    raise AssertionError(heading)


@pytest.fixture(scope="module")
def demo():
    with analyzer.analyze([str(SAMPLES / "demo.pcapng")]) as store:
        yield store


@pytest.fixture(scope="module")
def everything():
    with analyzer.analyze([str(SAMPLES)]) as store:
        yield store


def test_a_report_is_read_with_its_sections_and_directives():
    text = "-- title: T\n-- about: A\n\n-- table: t\nSELECT 1 AS a\n\n-- section: S\n-- optional: b, c\n-- untitled: a\n-- empty: none\nFROM t -- all\n"
    found = reports.parse("r", text)
    assert (found.title, found.about) == ("T", "A")
    table, part = found.sections
    assert (table.table, table.sql.strip()) == ("t", "SELECT 1 AS a")
    assert (part.heading, part.optional, part.untitled, part.empty, part.sql) == (
        "S",
        ["b", "c"],
        ["a"],
        "none",
        "FROM t -- all\n",
    )


def test_there_is_no_report_of_another_name():
    with pytest.raises(UsageError, match="there are: anomalies, captures, connections, http2-streams"):
        reports.load("../secrets")


def test_columns_that_are_hidden_are_said_to_be(everything):
    remark = r"\n\n(\d+) columns? (is|are) hidden: a wider terminal shows more, `unmux\s+report\s+connections\s+SOURCE"
    narrow, wide = printed(everything, "connections", 80), printed(everything, "connections", 400)
    assert int(re.search(remark, narrow).group(1)) > 0
    assert "hidden" not in wide


@pytest.mark.parametrize("width", [60, 80, 120, 160])
@pytest.mark.parametrize("name", reports.names())
def test_every_report_fits_the_terminal(everything, name, width):
    out = printed(everything, name, width)
    assert out
    assert all(len(line) <= width for line in out.splitlines())
    assert not re.search(r" $", out, re.M)


@pytest.mark.parametrize("name", reports.names())
def test_every_directive_names_a_column(everything, name):
    for part, relation in reports.answers(everything, reports.load(name)):
        assert {*part.optional, *part.flexible, *part.wrapped, *part.untitled} <= set(relation.columns), part.heading


@pytest.mark.parametrize("name", reports.names())
def test_every_report_says_something_about_an_empty_store(name):
    with Store(records=[record for dissector in analyzer_dissectors() for record in dissector.records]) as store:
        store.finish()
        assert printed(store, name)


def analyzer_dissectors():
    from analyzer import protocols

    return protocols.dissectors()


def test_the_overview_of_the_demo_fits_a_low_terminal(demo):
    out = printed(demo, "overview", height=24)
    lines = out.splitlines()
    assert len(lines) <= 26
    assert len(printed(demo, "overview", height=40).splitlines()) <= 40
    assert re.search(r"^Slowest exchanges  [23] of 40 ", out, re.M)
    for heading in ("Capture", "Protocols", "Multiplexing", "Connections that carried most", "Errors", "Stalls"):
        assert any(line.startswith(heading) for line in lines)


def test_protocols_are_told_with_what_they_are_in(everything):
    found = {row["protocol"]: row for row in section(everything, "overview", "Protocols")}
    assert {
        "http1",
        "http2",
        "http1 > websocket",
        "http1 > http2",
        "http2 > websocket",
        "udp, not recognised",
        "tcp, refused",
    } <= set(found)
    ((exchanges, messages),) = everything.sql(
        "SELECT (SELECT count(*) FROM exchanges), (SELECT count(*) FROM messages)"
    ).fetchall()
    assert sum(row["exchanges"] or 0 for row in found.values()) == exchanges
    assert sum(row["messages"] or 0 for row in found.values()) == messages


def test_streams_open_at_a_time_are_those_of_the_capture(demo):
    """By hand: six requests in one packet, whose responses end one by one; 24 requests of which eight are open."""
    drawn = {row["at_most"]: row for row in section(demo, "multiplexing", "Open at a time")}
    assert drawn[8]["average"] > 7
    line = drawn[6]["open_over_time"]
    assert len(line) == 30
    assert line == sorted(line, reverse=True)
    assert line[0] == 6
    ends = demo.sql(
        "SELECT epoch_ns(ended_at) - epoch_ns(min(started_at) OVER ()) FROM streams WHERE depth = 1 AND connection_id = ? ORDER BY 1",
        [drawn[6]["connection"]],
    ).fetchall()
    last = ends[-1][0]
    for slot in range(30):
        open_in_slot = sum(end >= last * slot / 30 for (end,) in ends)
        assert line[slot] in {open_in_slot, open_in_slot + 1}  # one that ends on the edge counts on either side
    assert drawn[6]["average"] == pytest.approx(sum(end for (end,) in ends) / last)


def test_levels_are_the_most_that_were_open_in_each_part_of_the_time():
    """Thirty seconds: two streams at first, none from 10 s to 20 s, then one; a third opens when the first ends."""
    rows = [
        ConnectionRecord(
            1, 0, "tcp", "a", 1, "b", 2, "handshake", protocol="http2", streams=4, started_at=0, ended_at=30 * SECOND
        )
    ]
    rows.append(StreamRecord(1, 0, None, 0, "http2", None, 0, 30 * SECOND))
    for index, (start, end) in enumerate([(0, 5), (0, 10), (5, 6), (20, 30)], 1):
        rows.append(StreamRecord(1, index, 0, 1, "http2", str(index), start * SECOND, end * SECOND))
    with Store() as store:
        store.add(rows)
        store.finish()
        moments = store.sql("SELECT epoch_ns(changed_at) // 1000000000, change, open_streams FROM streams_open").fetchall()
    assert sorted(moments) == sorted(
        [(0, 1, 1), (0, 1, 2), (5, 1, 3), (5, -1, 2), (6, -1, 1), (10, -1, 0), (20, 1, 1), (30, -1, 0)]
    )


def test_pipelined_requests_are_open_at_a_time():
    with analyzer.analyze([str(SAMPLES / "http1" / "pipelining.pcap")]) as store:
        assert [row["at_most"] for row in section(store, "multiplexing", "Open at a time")] == [7, 5]


def test_exchanges_one_after_the_other_are_never_open_together():
    with analyzer.analyze([str(SAMPLES / "http1" / "keep_alive.pcap")]) as store:
        assert {row["at_most"] for row in section(store, "multiplexing", "Open at a time")} == {1}
        assert "never more than one at a time" in printed(store, "overview")


def test_the_request_that_upgrades_is_not_open_beside_itself():
    with analyzer.analyze([str(SAMPLES / "http2" / "h2c_upgrade.pcap")]) as store:
        found = {row["connection"]: row["at_most"] for row in section(store, "multiplexing", "Open at a time")}
        limits = dict(store.sql("SELECT connection_id, max_open_streams FROM http2_connections").fetchall())
    assert found == limits


def test_shares_are_shares_and_nothing_saved_is_nothing(everything):
    for row in section(everything, "multiplexing", "What reuse saved"):
        assert 0 <= row["idle_share"] <= 1
        assert row["saved_ns"] is None or (row["saved_ns"] == 0) == (row["exchanges"] == row["connections"])


def exchange(connection, index, start, end):
    from analyzer.http.semantics import HttpExchangeRecord

    started, ended = int(start * SECOND), int(end * SECOND)
    return HttpExchangeRecord(
        connection,
        0,
        index,
        "1.1",
        b"GET",
        None,
        b"b",
        b"/",
        200,
        started,
        started,
        ended,
        ended,
        ended - started,
        ended - started,
    )


def test_a_pool_is_told_by_what_was_open_and_busy_at_a_time():
    """Of three connections two were open together, one of them idle while the other was busy; the third carried nothing."""

    def connection(number, start, end, **more):
        times = {"started_at": start * SECOND, "ended_at": end * SECOND, "duration_ns": (end - start) * SECOND}
        return ConnectionRecord(number, 0, "tcp", "a", number, "b", 80, "handshake", **times, **more)

    http = {"protocol": "http1", "handshake_rtt_ns": 1000, "state": "SF", "close_reason": "fin"}
    rows = [
        connection(1, 0, 10, **http, closed_by="client"),
        connection(2, 1, 9, **http, closed_by="server"),
        connection(3, 10, 13, **http, closed_by="client"),
        connection(4, 20, 20, state="REJ", closed_by="server", close_reason="reset"),
        *(StreamRecord(number, 0, None, 0, "http1") for number in (1, 2, 3)),
        *(exchange(1, 0, 1, 2), exchange(1, 1, 2, 4), exchange(2, 0, 4, 5)),
    ]
    with Store(records=[record for dissector in analyzer_dissectors() for record in dissector.records]) as store:
        store.add(rows)
        store.finish()
        (pool,) = section(store, "pools", "Connections by client")
        (fate,) = section(store, "pools", "What became")
        said = section(store, "pools", "Why so many")
    assert pool == {
        "client": "a",
        "server": "b:80",
        "protocol": "http1",
        "connections": 4,
        "open": 2,
        "busy": 1,
        "per_connection": 1.5,
        "idle_share": pytest.approx(1 - 4 / 18),
        "handshakes_ns": 3000,
        "saved_ns": 1000,
        "shortest_ns": 3 * SECOND,
        "median_ns": 8 * SECOND,
        "longest_ns": 10 * SECOND,
        "of_rows": 1,
    }
    assert fate == {
        "client": "a",
        "server": "b:80",
        "refused": 1,
        "not_read": None,
        "unused": 1,
        "once": 1,
        "reused": 1,
        "closed_by_client": 2,
        "by_server": 1,
        "reset": None,
        "not_closed": None,
        "of_rows": 1,
    }
    assert said == [
        {
            "line": "a → b:80: 4 connections: 1 was refused or not answered; 1 carried nothing; "
            "1 carried one exchange or message only, then the server closed; up to 2 were open, but never more than one busy"
        }
    ]


def test_requests_that_cannot_be_read_have_words_instead_of_blanks():
    from analyzer.http.semantics import HttpExchangeRecord

    rows = [
        HttpExchangeRecord(1, 0, 0, None, status_code=400, duration_ns=5, end_reason="cut", error_type="400"),
        HttpExchangeRecord(1, 0, 1, None, status_code=500, duration_ns=5, end_reason="no request", error_type="500"),
    ]
    with Store(records=[record for dissector in analyzer_dissectors() for record in dissector.records]) as store:
        store.add([ConnectionRecord(1, 0, "tcp", "a", 1, "b", 80, "port", protocol="http1"), *rows])
        store.finish()
        for name in ("overview", "slow-exchanges"):
            out = printed(store, name)
            assert "(request not readable)" in out
            assert "(request not captured)" in out
        assert store.sql("SELECT DISTINCT target FROM exchanges").fetchall() == [(None,)]


def test_the_slowest_exchanges_name_the_streams_that_follow_takes(demo):
    found = section(demo, "overview", "Slowest")
    durations = [row["duration_ns"] for row in found]
    assert durations == sorted(durations, reverse=True)
    ((longest, stream),) = demo.sql(
        "SELECT max(duration_ns), arg_max(connection_id || ':' || stream_index || '.' || exchange_index, duration_ns) FROM exchanges"
    ).fetchall()
    assert (durations[0], found[0]["stream"]) == (longest, stream)


def test_what_was_not_understood_is_told_with_the_reason_and_other_packets_calmly():
    rows = [
        ConnectionRecord(number, 0, "tcp", "a", 1, "b", 443, "port", bytes_to_server=10, started_at=0, ended_at=SECOND)
        for number in (1, 2)
    ]
    rows += [
        AnomalyRecord(
            connection_id=number,
            kind="not_understood",
            required="a protocol",
            found=f"to server 16 03 01 00 a{number} 01, to client nothing",
        )
        for number in (1, 2)
    ]
    rows.append(
        AnomalyRecord(connection_id=1, kind="missing_bytes", required="10 bytes", found="a hole", missing_bytes=10, occurrences=4)
    )
    rows.append(AnomalyRecord(kind="not_decoded", required="a TCP or UDP packet", found="arp", occurrences=14))
    with Store(records=[record for dissector in analyzer_dissectors() for record in dissector.records]) as store:
        store.add(rows)
        store.finish()
        out = printed(store, "overview")
        faults = printed(store, "anomalies")
    assert re.search(r"^tcp port 443 +looks like TLS: encrypted +2 ", out, re.M)
    assert re.search(r"^missing bytes +required 10 bytes, found a hole +1 +10 B +4$", out, re.M)
    assert out.endswith("Packets of other protocols\narp 14\n")
    assert "tcp, not recognised" in out
    assert "not decoded" not in out + faults


def test_hostile_text_is_escaped_in_every_report():
    hostile = b"GET\x1b[2J"
    from analyzer.http.semantics import HttpExchangeRecord

    rows = [
        ConnectionRecord(
            1, 0, "tcp", "a", 1, "b", 80, "port", protocol="http1", bytes_to_server=10, started_at=0, ended_at=SECOND
        ),
        HttpExchangeRecord(
            1, 0, 0, "2", hostile, b"http", hostile, hostile, 500, 0, 1, 2, 3, 3, 2, end_reason="cut", error_type="500"
        ),
    ]
    with Store(records=[record for dissector in analyzer_dissectors() for record in dissector.records]) as store:
        store.add(rows)
        store.finish()
        for name in reports.names():
            assert "\x1b" not in printed(store, name)
