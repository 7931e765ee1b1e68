"""One value, as a person reads it."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from analyzer.reports import values


@pytest.mark.parametrize(
    ("nanoseconds", "shown"),
    [
        (0, "0 s"),
        (1, "1 ns"),
        (999, "999 ns"),
        (1_000, "1.00 µs"),
        (9_994, "9.99 µs"),
        (9_996, "10.0 µs"),
        (999_499, "999 µs"),
        (999_600, "1.00 ms"),
        (26_648_750, "26.6 ms"),
        (1_490_000_000, "1.49 s"),
        (95_000_000_000, "95.0 s"),
        (300_000_000_000, "5.00 min"),
        (90_000_000_000_000, "25.0 h"),
        (864_000_000_000_000, "10.0 d"),
        (-1_500_000, "-1.50 ms"),
    ],
)
def test_a_duration_has_three_figures_and_a_fitting_unit(nanoseconds, shown):
    assert values.duration(nanoseconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_499, "999 kB"), (999_600, "1.00 MB"), (45 * 10**11, "4.50 TB")],
)
def test_a_size_has_three_figures_in_powers_of_a_thousand(count, shown):
    assert values.size(count) == shown


def test_numbers_are_grouped_and_identifiers_are_not():
    assert values.text("exchanges", 1234567) == "1,234,567"
    assert values.text("connection", 1099511627777) == "1/1"
    assert values.text("first_packet", 123456) == "123456"
    assert values.text("per_connection", 1500.04) == "1,500"
    assert values.text("per_connection", 6.8333) == "6.8"
    assert values.text("saved_share", 0.25) == "██░░░░░░░░  25%"
    assert values.text("target", None) == "-"


def test_times_of_one_day_are_times_and_others_have_their_date():
    morning = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901)
    assert values.texts("started_at", [morning, None]) == ["03:04:05.678901", "-"]
    assert values.texts("started_at", [morning, morning + datetime.timedelta(days=1)]) == [
        "2026-01-02 03:04:05.678",
        "2026-01-03 03:04:05.678",
    ]
    assert values.texts("starts_UTC", [morning]) == ["2026-01-02 03:04:05"]


def test_headings_leave_the_unit_to_the_values():
    assert [
        values.heading(name)
        for name in ("duration_ns", "payload_bytes", "started_at", "idle_share", "open_over_time", "at_a_time")
    ] == [
        "duration",
        "payload",
        "started",
        "idle",
        "open",
        "at a time",
    ]


def test_a_line_of_levels_is_relative_to_its_highest():
    assert values.sparkline([0, 1, 4, 8]) == "·▁▄█"
    assert values.sparkline([1, 1]) == "██"
    assert values.sparkline([0, 0]) == "··"
    assert values.sparkline([]) == ""


@pytest.mark.parametrize(
    ("shown", "width", "shorter"),
    [
        ("GET host.example/a/long/path?query", 30, "GET host.example/a/long/path?…"),
        ("GET host.example/a/long/path?query", 16, "GET…/long/path…"),
        ("GET host.example/a/long/path", 16, "GET h…/long/path"),
    ],
)
def test_of_a_request_the_query_gives_way_first(shown, width, shorter):
    assert values.shortened("exchange", shown, width) == shorter


@pytest.mark.parametrize(
    ("shown", "width", "shorter"),
    [
        ("192.168.100.100:40000 → 10.0.0.2:443", 27, "192.1…:40000 → 10.0.0.2:443"),
        ("192.168.100.100 → 10.0.0.2:443", 26, "192…100.100 → 10.0.0.2:443"),
        ("2001:db8::1234:5678:40000 → 2001:db8::8765:4321:443", 34, "2001:db8:…:40000 → 2001:db8::…:443"),
    ],
)
def test_ports_tell_connections_apart_and_stay(shown, width, shorter):
    assert values.shortened("ends", shown, width) == shorter


def test_a_text_keeps_its_beginning_and_a_name_both_ends():
    assert values.shortened("text", "a message that is long", 10) == "a message…"
    assert values.shortened("name", "captures/monday/first.pcap", 16) == "captu…first.pcap"


def test_a_share_is_all_or_nothing_only_where_it_is():
    assert [values.text("idle_share", share)[-4:] for share in (0.0, 0.001, 0.999, 1.0)] == ["  0%", "  1%", " 99%", "100%"]
    assert [values.text("bytes_percent", percent) for percent in (99.96, 100.0, 31.8, 0.04)] == [
        "99.9 %",
        "100.0 %",
        "31.8 %",
        "0.0 %",
    ]


@given(st.text("ab 漢", max_size=60), st.integers(2, 40))
def test_a_wrapped_text_fits_and_loses_no_word(shown, width):
    lines = values.wrapped(shown, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == shown.replace(" ", "")


@given(
    st.sampled_from(["target", "text", "ends"]),
    st.one_of(st.text(max_size=60), st.text("漢a:?/ →", max_size=60)),
    st.integers(2, 40),
)
def test_what_is_shortened_fits(column, shown, width):
    assert cell_len(values.shortened(column, shown, width)) <= max(width, 0)


def test_nothing_captured_can_steer_the_terminal():
    hostile = "a\x1b]0;x\x07\u202e\x9b"
    for shown in (values.text("target", hostile), values.exact(hostile), values.text("labels", [hostile])):
        assert not set(shown) & set("\x1b\x07\u202e\x9b")
