"""Phases drawn on a time axis."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

import analyzer
from analyzer import reports
from analyzer.http.semantics import HttpExchangeRecord
from analyzer.protocols.http1 import Http1Dissector
from analyzer.records import CaptureRecord, ConnectionRecord, StreamRecord
from analyzer.reports import render, timeline
from analyzer.reports.timeline import drawn
from analyzer.store import Store, open_store
from analyzer.text import place

HTTP = Http1Dissector.records


def bar(lasts, *phases):
    return {"lasts_ns": lasts, "phases": [{"kind": kind, "from_ns": begin, "until_ns": end} for kind, begin, end in phases]}


def test_phases_take_the_cells_of_their_time():
    phases = ("sending", 0, 10), ("waiting", 10, 50), ("receiving", 50, 100)
    assert drawn(bar(100, *phases), 10) == "▒────█████"
    assert drawn(bar(200, *phases), 20) == "▒────█████          "
    assert drawn(bar(100, ("queued", 0, 30), ("carrying", 30, 60), ("stalled", 60, 100)), 10) == "┄┄┄═══░░░░"


def test_every_phase_and_mark_has_a_cell_however_short_it_is():
    phases = ("sending", 0, 0), ("waiting", 0, 999), ("receiving", 999, 999), ("missing", 500, 500), ("reset", 999, 1000)
    assert drawn(bar(1000, *phases), 10) == "▒────?───✕"


def test_the_axis_tells_its_times_where_there_is_room():
    axis = bar(28_500_000, ("axis", 0, 28_500_000))
    assert drawn(axis, 20) == "├ 0 ─────── 28.5 ms┤"
    assert drawn(axis, 40) == "├ 0 ────────────────┼ 14.2 ms ─ 28.5 ms┤"


def test_no_bar_is_nothing():
    assert drawn(None, 40) == ""


@given(
    st.integers(1, 1 << 62),
    st.lists(
        st.tuples(st.sampled_from([*timeline._LOOKS, "axis"]), st.integers(-5, 1 << 62), st.integers(-5, 1 << 62)), max_size=6
    ),
    st.integers(timeline.LEAST, 200),
)
def test_a_bar_is_as_wide_as_it_should_be(lasts, phases, width):
    shown = drawn(bar(lasts, *phases), width)
    assert len(shown) == cell_len(shown) == width
    assert timeline.coloured(shown).plain == shown


@pytest.fixture
def waterfall(tmp_path):
    """Draws the waterfall of a capture."""

    def run(path, width=80, connection=None):
        chosen = reports.load("waterfall")
        chosen.variables["connection"] = connection
        file = io.StringIO()
        with analyzer.analyze([str(path)]) as store:
            render.report(store, chosen, Console(file=file, width=width, highlight=False))
        return [line.rstrip() for line in file.getvalue().splitlines()]

    return run


@pytest.fixture
def samples(request):
    return request.config.rootpath / "sample_pcaps"


def test_pipelined_requests_are_queued_behind_the_first(waterfall, samples):
    lines = waterfall(samples / "http1" / "pipelining.pcap", 100)
    assert lines[:2] == [
        "When each exchange was sent, waited and was received",
        "                                           status  time                                     duration",
    ]
    bars = [line.split("200", 1)[1].strip() for line in lines if line.startswith("1:0")]
    assert [set(bar.split("  ")[0]) for bar in bars[:5]] == [set("▒─█"), *[set("▒┄█")] * 4]


def without_packet(data, number):
    """A little-endian pcap without one packet."""
    packets, at = [], 24
    while at < len(data):
        end = at + 16 + int.from_bytes(data[at + 8 : at + 12], "little")
        packets.append(data[at:end])
        at = end
    del packets[number - 1]
    return data[:24] + b"".join(packets)


def test_a_stall_a_reset_and_a_hole_are_told(waterfall, samples, tmp_path):
    stalled = waterfall(samples / "demo.pcapng", 80, 123)
    assert len([line for line in stalled if line.startswith("123:") and "░" in line]) == 6
    assert any("█✕" in line for line in waterfall(samples / "demo.pcapng", 80, 226))
    holed = tmp_path / "holed.pcap"
    holed.write_bytes(without_packet((samples / "http1" / "content_codings.pcap").read_bytes(), 37))
    (line,) = (line for line in waterfall(holed) if line.startswith("1:0") and "?" in line)
    assert "GET /plain/text" in line


def test_how_long_it_waited_is_not_told_where_the_answer_is_not_known(waterfall, samples, tmp_path):
    holed = tmp_path / "holed.pcap"
    holed.write_bytes(without_packet((samples / "http1" / "content_codings.pcap").read_bytes(), 6))
    lines = [line for line in waterfall(holed) if line.startswith("1:0")]
    assert len(lines) == 6
    assert not any("─" in line or "┄" in line for line in lines)


def test_a_websocket_is_drawn_as_what_it_carries(waterfall, samples):
    lines = waterfall(samples / "demo.pcapng", 80, 1)
    assert any(line.startswith("1:1  websocket, 64 messages") and "════" in line for line in lines)


def test_what_is_left_out_is_said(waterfall, samples):
    lines = waterfall(samples / "demo.pcapng")
    assert any(line.startswith("… and 4 more that took less time") for line in lines)
    assert "the connections with most exchanges, 5 of 6, and what lasted longest on each;" in lines


def of_connection(number, capture=0, **other):
    return ConnectionRecord(number, capture, "tcp", "10.0.0.1", number, "10.0.0.2", 80, "handshake", started_at=0, **other)


def exchange(number, stream, sent=None, answered=None, **other):
    times = {"request_started_at": 10, "request_ended_at": sent, "response_started_at": answered}
    return HttpExchangeRecord(number, stream, 0, request_method=b"GET", target=b"/", **times, **other)


def phases(section, store, named):
    """The phases of an exchange, and how long the axis is."""
    for row in section(store, "waterfall", "When each"):
        if row["exchange"].startswith(f"{named} "):
            found = {each["kind"]: (each["from_ns"] + 10, each["until_ns"] + 10) for each in row["time_bar"]["phases"]}
            return found, row["time_bar"]["lasts_ns"] + 10, row["duration_ns"]
    raise AssertionError(named)


def test_what_is_under_way_lasts_until_the_latest_moment_known(store_of, section):
    rows = [CaptureRecord(0, "eth0", "live", first_packet_at=0, last_packet_at=900), of_connection(1, ended_at=30)]
    rows += [StreamRecord(1, stream, started_at=10) for stream in range(1, 4)]
    rows += [exchange(1, 1), exchange(1, 2, sent=20), exchange(1, 3, sent=20, answered=110)]
    rows += [of_connection(2, ended_at=1000), StreamRecord(2, 0, started_at=10, ended_at=20)]
    store = store_of(rows)
    assert phases(section, store, "1:1") == ({"sending": (10, 10), "waiting": (10, 1000)}, 1000, None)
    assert phases(section, store, "1:2") == ({"sending": (10, 20), "waiting": (20, 1000)}, 1000, None)
    assert phases(section, store, "1:3") == ({"sending": (10, 20), "waiting": (20, 110), "receiving": (110, 1000)}, 1000, None)
    assert phases(section, store, "2:0")[0] == {"carrying": (10, 1000)}


def test_what_a_killed_run_left_under_way_ends_with_that_run(store_of, section, tmp_path):
    for index, last in ((0, 500), (1, 1_000_000)):
        with Store(f"{tmp_path}/a/", append=True, records=HTTP) as store:
            name = CaptureRecord(index, "eth0", "live", first_packet_at=0, last_packet_at=last)
            store.add([name, of_connection((index << 40) + 1, index, ended_at=30), exchange((index << 40) + 1, 0, sent=20)])
            store.finish(complete=False)
    with open_store(f"{tmp_path}/a/", HTTP) as store:
        assert phases(section, store, "1:0")[1] == 500
        assert phases(section, store, place((1 << 40) + 1, 0))[1] == 1_000_000


def test_a_reset_connection_waited_until_then_and_a_reset_stream_no_longer(store_of, section):
    rows = [of_connection(1, ended_at=1000, close_reason="reset")]
    rows += [StreamRecord(1, stream, 0, started_at=10, ended_at=20, end_reason="reset") for stream in (1, 2)]
    rows += [exchange(1, 1, sent=20, end_reason="reset"), exchange(1, 2, sent=15, end_reason="reset", reset_code="CANCEL")]
    store = store_of(rows)
    assert phases(section, store, "1:1")[0] == {"sending": (10, 20), "waiting": (20, 1000), "reset": (1000, 1000)}
    assert phases(section, store, "1:2")[0] == {"sending": (10, 15), "waiting": (15, 20), "reset": (20, 20)}
