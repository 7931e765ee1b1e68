"""The SQL prompt of the screen, on a terminal of its own, over a capture that grows."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

import analyzer
from analyzer.capture.capture_set import CaptureSet
from analyzer.dissector import Context
from analyzer.live.outlet import Outlet
from analyzer.live.running import Running
from analyzer.protocols import dissectors
from analyzer.store.segments import SegmentStore

ROOT = Path(__file__).resolve().parents[2]
LISTENING = b"\x1b[?2004h"  # bracketed paste goes on when the prompt listens
SCREEN, NO_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"
COUNT = "SELECT 'counted ' || count(*) FROM exchanges WHERE is_complete;"


class Terminal:
    """`unmux live` on a terminal that is its own, as a terminal emulator sees it."""

    def __init__(self, arguments, environment):
        self.leader, self.follower = pty.openpty()
        fcntl.ioctl(self.follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.modes = termios.tcgetattr(self.follower)
        self.said = b""  # and not looked at yet
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "cli.py"), "live", *map(str, arguments)],
            stdin=self.follower,
            stdout=self.follower,
            stderr=self.follower,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **environment},
            start_new_session=True,
            preexec_fn=self._control,
        )

    def _control(self):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)

    def type(self, keys):
        os.write(self.leader, keys.encode())

    def until(self, *words):
        """Read until these came, one after the other; what came before the last of them."""
        end = time.monotonic() + 60
        before = b""
        for word in words:
            while word not in self.said:
                assert time.monotonic() < end, (word, self.said)
                assert self.process.poll() is None, (word, self.said)
                if select.select([self.leader], [], [], 0.1)[0]:
                    self.said += os.read(self.leader, 65536)
            before, _, self.said = self.said.partition(word)
        return before.decode(errors="replace")

    def open_prompt(self):
        self.until(SCREEN, b"s opens an SQL prompt")
        self.type("s")
        self.until(NO_SCREEN, LISTENING)

    def ask(self, said):
        self.type(f"{said}\r")
        return self.until(b"\x1b[?2004l", LISTENING)

    def counts(self, expected):
        """Ask until so many exchanges are counted; the numbers on the way there."""
        found = []
        end = time.monotonic() + 60
        while not found or found[-1] != expected:
            assert time.monotonic() < end, found
            found.append(int(re.search(r"counted (\d+)", self.ask(COUNT))[1]))
        return found

    def foreground(self):
        """The process group that Ctrl-C goes to."""
        return struct.unpack("i", fcntl.ioctl(self.leader, termios.TIOCGPGRP, bytes(4)))[0]

    def ended(self):
        """Wait for the end; the exit status, and what was said since."""
        while self.process.poll() is None:
            if select.select([self.leader], [], [], 0.1)[0]:
                self.said += os.read(self.leader, 65536)
        while select.select([self.leader], [], [], 0)[0]:
            self.said += os.read(self.leader, 65536)
        return self.process.returncode, self.said.decode(errors="replace")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.leader)
        os.close(self.follower)


@pytest.fixture
def capture(http_capture, tmp_path):
    """A capture of forty exchanges, of which the first part has been written: ten of them; and the rest."""
    whole, part = (http_capture(*(b"/%d" % number for number in range(count))) for count in (40, 10))
    path = tmp_path / "growing.pcap"
    path.write_bytes(part)
    return path, whole[len(part) :]


@pytest.fixture
def more(capture):
    """Writes the rest of the capture."""
    path, rest = capture

    def write():
        with path.open("ab") as file:
            file.write(rest)

    return write


@pytest.fixture
def terminal(capture, tmp_path):
    """Starts `unmux live` on the capture that grows."""
    (tmp_path / "temporary").mkdir()
    started = []

    def start(*arguments):
        environment = {"TMPDIR": str(tmp_path / "temporary"), "XDG_STATE_HOME": str(tmp_path / "state"), "PAGER": "cat"}
        started.append(Terminal(["--follow", capture[0], *arguments], environment))
        return started[-1]

    yield start
    for each in started:
        each.close()


def stored(path):
    with analyzer.open_store(path) as store:
        return store.sql("SELECT count(*) FROM exchanges").fetchall()[0][0]


@pytest.mark.parametrize("output", [None, "live/", "live.duckdb"])
def test_rows_are_asked_for_while_more_come(terminal, more, output, tmp_path):
    arguments = [] if output is None else ["-o", f"{tmp_path}/{output}"]
    running = terminal(*arguments)
    running.open_prompt()
    assert running.counts(10)[-1] == 10
    more()
    assert running.counts(40)[-1] == 40
    assert "http_exchanges" in running.ask("\\d")
    assert running.foreground() != running.process.pid
    running.type("\\q\r")
    running.until(SCREEN, b"Latest of 40 exchanges", b"s opens an SQL prompt")
    assert running.foreground() == running.process.pid
    running.type(":")  # the same
    running.until(NO_SCREEN, LISTENING)
    running.type("\x04")
    running.until(SCREEN, b"Latest of 40 exchanges")
    running.type("q")
    status, said = running.ended()
    assert status == 0
    assert "40 exchanges" in said
    assert termios.tcgetattr(running.follower) == running.modes
    assert list((tmp_path / "temporary").iterdir()) == []
    if output is not None:
        assert stored(f"{tmp_path}/{output}") == 40


def test_rows_of_what_is_open_are_there(terminal):
    running = terminal()
    running.open_prompt()
    running.counts(10)
    assert "is open" in running.ask("SELECT 'is ' || 'open' FROM connections WHERE close_reason IS NULL;")


def test_control_c_stops_a_query_or_drops_a_line_and_never_the_capture(terminal, more):
    running = terminal()
    running.open_prompt()
    running.type("SELECT sum(sin(a.range * b.range)) FROM range(10000000000) a, range(1000) b;\r")
    running.until(b"\x1b[?2004l")
    more()
    time.sleep(0.5)
    running.type("\x03")
    running.until(b"stopped", LISTENING)
    running.type("never said\x03")
    running.until(LISTENING)
    running.counts(40)
    running.type("\\q\r")
    running.until(SCREEN, b"Latest of 40 exchanges")
    running.type("\x03")
    assert running.ended()[0] == 130
    assert termios.tcgetattr(running.follower) == running.modes


@pytest.mark.parametrize("output", ["live/", "live.duckdb"])
@pytest.mark.parametrize("is_asking", [False, True])
def test_a_signal_ends_the_capture_and_the_prompt(terminal, more, output, is_asking, tmp_path):
    running = terminal("-o", f"{tmp_path}/{output}")
    running.open_prompt()
    if is_asking:
        running.type("SELECT sum(sin(a.range * b.range)) FROM range(10000000000) a, range(1000) b;\r")
        running.until(b"\x1b[?2004l")
    else:
        more()
        running.counts(40)
        running.type("half a li")
    running.process.terminate()
    status, said = running.ended()
    assert status == 0, said
    assert re.search(r"\nunmux: [\d,]+ packets in .* s: .*; wrote ", said)
    assert "Traceback" not in said
    assert termios.tcgetattr(running.follower) == running.modes
    assert stored(f"{tmp_path}/{output}") == (10 if is_asking else 40)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_capture_ends_at_its_count_while_the_prompt_is_open(terminal, more):
    running = terminal("--count", 60)
    running.open_prompt()
    running.counts(10)
    more()
    status, said = running.ended()
    assert status == 0
    assert "unmux: 60 packets in" in said
    assert termios.tcgetattr(running.follower) == running.modes


def test_a_prompt_that_is_killed_gives_the_terminal_back(terminal):
    running = terminal()
    running.open_prompt()
    os.kill(running.foreground(), signal.SIGKILL)
    running.until(SCREEN, b"s opens an SQL prompt")
    assert running.foreground() == running.process.pid
    running.type("q")
    assert running.ended()[0] == 0
    assert termios.tcgetattr(running.follower) == running.modes


def test_a_capture_that_is_killed_takes_the_prompt_with_it(terminal, until):
    running = terminal()
    running.open_prompt()
    prompt = Path(f"/proc/{running.foreground()}/stat")
    running.process.kill()
    until(lambda: not prompt.exists() or prompt.read_text().rpartition(")")[2].split()[0] == "Z")


def test_what_cannot_be_kept_for_the_prompt_goes_and_the_capture_does_not(tmp_path):
    folder = tmp_path / "rows"
    seen = []
    records = [record for dissector in dissectors() for record in dissector.records]
    segments = SegmentStore(
        str(folder),
        records=records,
        is_spare=True,
        observe=lambda finished, _: seen.extend(finished.execute("SELECT count(*) FROM exchanges").fetchall()),
    )
    for table in folder.iterdir():
        for file in table.iterdir():
            file.unlink()
        table.rmdir()
        table.touch()  # nothing can be written in it
    captures = CaptureSet([str(ROOT / "sample_pcaps" / "demo.pcapng")])
    Running().run(captures, Context(dissectors()), Outlet(segments, None))
    segments.close()
    assert sum(count for (count,) in seen) == 41
    assert not folder.exists()
