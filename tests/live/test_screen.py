"""The screen of a live capture, as a terminal of 80 columns and 24 lines shows it."""

import io
import os
import pty
import re
import select
import time
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from analyzer.capture.capture_set import CaptureSet
from analyzer.dissector import Context
from analyzer.live.outlet import Outlet
from analyzer.live.running import Running
from analyzer.live.screen import Screen
from analyzer.protocols import dissectors
from analyzer.records import ConnectionRecord
from analyzer.store.segments import SegmentStore


def drawn(screen, width=80, height=24):
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, highlight=False)
    console.print(screen.drawn(width, height))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.fixture
def demo_screen():
    """The screen after the demo has come."""
    records = [record for dissector in dissectors() for record in dissector.records]
    screen = Screen("eth0", "live/", Console(file=io.StringIO(), width=80, height=24))
    segments = SegmentStore(None, records=records, mask_key=b"k", observe=screen.observe)
    running = Running()
    captures = CaptureSet([str(Path(__file__).resolve().parents[2] / "sample_pcaps" / "demo.pcapng")])
    running.run(captures, Context(dissectors()), Outlet(segments, None))
    segments.close()
    screen.figures.packets = running.packets()
    screen.figures.packet_rates.append(298.0)
    screen.figures.size_rate = 130_000.0
    screen.figures.seconds = 61.5
    return screen


EXPECTED = """\
unmux eth0  00:01:01                                                     → live/
298 packets/s  130 kB/s  298 packets  0 dropped             ···················█
0 connections open, 6 ended   0 streams open   0 exchanges under way
Latest of 41 exchanges
"""


def test_it_fits_80_columns_and_24_lines(demo_screen):
    lines = drawn(demo_screen)
    assert "\n".join(lines[:4]) + "\n" == EXPECTED
    assert len(lines) == 24
    assert max(map(cell_len, lines)) <= 80
    assert lines[-1] == "times are UTC   Ctrl-C ends the capture"  # there is no keyboard
    headings = [line for line in lines if re.match(r"Latest|Slowest", line)]
    assert headings == [
        "Latest of 41 exchanges",
        "Slowest",
        "Latest of 4 errors and exchanges cut short",
        "Latest of 64 messages",
    ]
    slowest = lines[lines.index("Slowest") + 1]
    assert re.match(r"\d\d:\d\d:\d\d       200   760 ms  GET 10\.0\.0\.2:8080/search\?q=slow +44:0\.0$", slowest)


@pytest.mark.parametrize(("width", "height"), [(20, 10), (40, 24), (200, 60)])
def test_it_fits_other_terminals(demo_screen, width, height):
    lines = drawn(demo_screen, width, height)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width


def test_drops_and_open_things_are_shown(demo_screen):
    demo_screen.figures.dropped = 1234
    demo_screen.figures.open_connections = 17
    lines = drawn(demo_screen)
    assert "1,234 dropped" in lines[1]
    assert lines[2].startswith("17 connections open")


def test_what_is_under_way_is_shown_with_how_long_it_has_been(demo_screen):
    demo_screen.figures.waiting = 1
    demo_screen.figures.under_way = [("12:00:00", "waiting", 45_000_000_000, "GET 10.0.0.2:8080/hang", "7:0.3")]
    lines = drawn(demo_screen)
    assert lines[2].endswith("1 exchange under way")
    at = lines.index("Under way, the longest first")
    assert re.fullmatch(r"12:00:00   waiting   45\.0 s  GET 10\.0\.0\.2:8080/hang +7:0\.3", lines[at + 1])
    assert len(lines) == 24


def test_connections_that_are_closed_count_as_ended_though_late_packets_may_come():
    def connection(number, close_reason):
        return ConnectionRecord(
            number, 0, "tcp", "10.0.0.1", number, "10.0.0.2", 80, close_reason=close_reason, role_evidence="handshake"
        )

    records = [record for dissector in dissectors() for record in dissector.records]
    screen = Screen("eth0", "live/", Console(file=io.StringIO(), width=80, height=24))
    segments = SegmentStore(None, records=records, mask_key=b"k", observe=screen.observe)
    segments.add([connection(1, "fin")])
    segments.seal([connection(2, None), connection(3, "fin"), connection(4, "reset")], 1.0)
    segments.wait()
    assert drawn(screen)[2].startswith("1 connection open, 3 ended ")
    segments.close()


@pytest.mark.parametrize("width", [60, 80, 160])
def test_a_long_target_leaves_room_for_its_place(demo_screen, width):
    demo_screen.figures.latest.appendleft(("12:00:00", "404", 5, "GET 10.0.0.2/" + "x" * 200, "1234:5.6"))
    (line,) = [line for line in drawn(demo_screen, width) if line.startswith("12:00:00")]
    assert line.endswith(" 1234:5.6")
    assert cell_len(line) == width


def test_what_was_captured_cannot_steer_the_terminal(demo_screen):
    demo_screen.figures.latest.appendleft(("12:00:00", "200", 5, "GET /\x1b[2J\x07\u202e", "1:0"))
    lines = drawn(demo_screen)
    assert not re.search("[\x00-\x1f\x7f\u202e]", "".join(lines))


def test_the_key_ends_the_capture_and_the_terminal_is_as_before(live, talk, tmp_path):
    leader, follower = pty.openpty()
    environment = {"TERM": "xterm", "LINES": "24"}
    running = live("lo", stdin=follower, stdout=follower, env=environment)
    os.close(follower)
    talk(requests=2, messages=1)
    shown = b""

    def read():
        """What the screen shows from now on; empty when nobody has it open any more."""
        try:
            return os.read(leader, 65536) if select.select([leader], [], [], 0.1)[0] else b" "
        except OSError:
            return b""

    end = time.monotonic() + 40
    while not (b"Latest of 3 exchanges" in shown and b"message 0" in shown) and time.monotonic() < end:
        shown += read()
    assert b"Latest of 3 exchanges" in shown
    assert b"message 0" in shown
    os.write(leader, b"q")
    while (piece := read()) and time.monotonic() < end:
        shown += piece
    assert running.process.wait(10) == 0
    os.close(leader)
    assert b"\x1b[?1049l" in shown  # the screen from before is back
