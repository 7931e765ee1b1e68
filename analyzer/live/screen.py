"""The terminal screen of a live capture: what comes, how fast, and what stands out. 80 columns and 24 lines are enough."""

import os
import select
import sys
import termios
import time
import tty
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import duckdb
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from analyzer.live.prompt import Prompt
from analyzer.live.running import Running
from analyzer.reports.values import NOTHING, duration, shortened, size, sparkline
from analyzer.text import escape_for_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

REFRESH_SECONDS: Final = 0.5
KEY_SECONDS: Final = 0.1  # between two looks at the keys
KEPT: Final = 40  # rows of each kind, for tall terminals
RATES: Final = 60  # refreshes that the drawing of the rate goes back
FIXED_LINES: Final = 8  # that hold no rows: totals, headings, the last one

_COLUMNS: Final = """
    SELECT strftime(coalesce(ended_at, started_at), '%H:%M:%S'), coalesce(error_type, status, end_reason, ''), duration_ns,
    exchange_name(operation, target, end_reason), place(connection_id, stream_index, if(protocol = 'http/2', NULL, exchange_index))
"""
_LATEST: Final = f"{_COLUMNS} FROM exchanges ORDER BY coalesce(ended_at, started_at) DESC LIMIT {KEPT}"
_SLOWEST: Final = f"{_COLUMNS} FROM exchanges WHERE duration_ns IS NOT NULL ORDER BY duration_ns DESC LIMIT {KEPT}"
_FAILED: Final = f"""{_COLUMNS} FROM exchanges WHERE error_type IS NOT NULL OR NOT is_complete
    ORDER BY coalesce(ended_at, started_at) DESC LIMIT {KEPT}
"""
_MESSAGES: Final = """
    SELECT strftime(ended_at, '%H:%M:%S'), if(direction = 'to_server', '→', '←'), payload_bytes, coalesce(text, operation, ''),
        place(connection_id, stream_index)
    FROM messages ORDER BY ended_at DESC LIMIT 40
"""
_TOTALS: Final = """
    SELECT (SELECT count(*) FROM exchanges), (SELECT count(*) FROM exchanges WHERE error_type IS NOT NULL OR NOT is_complete),
        (SELECT count(*) FROM messages), (SELECT count(*) FROM connections)
"""
# a connection that is closed is kept for a while, for packets that come late
_OPEN: Final = """
    SELECT (SELECT count(*) FROM exchanges WHERE end_reason IS NULL), (SELECT count(*) FROM connections WHERE close_reason IS NULL),
        (SELECT count(*) FROM connections WHERE close_reason IS NOT NULL), (SELECT count(*) FROM streams WHERE end_reason IS NULL)
"""
_UNDER_WAY: Final = """
    SELECT strftime(started_at, '%H:%M:%S'), 'waiting', greatest($now - epoch_ns(started_at), 0),
    exchange_name(operation, target, ''), place(connection_id, stream_index, if(protocol = 'http/2', NULL, exchange_index))
    FROM exchanges WHERE end_reason IS NULL AND started_at IS NOT NULL ORDER BY started_at LIMIT $most
"""

Row = tuple[Any, ...]


@dataclass
class Figures:
    """What the screen shows."""

    packets: int = 0
    dropped: int = 0
    size: int = 0  # bytes
    exchanges: int = 0
    failures: int = 0
    messages: int = 0
    connections: int = 0  # that have ended, and get no more packets
    closed_connections: int = 0  # that may still get some
    open_connections: int = 0
    open_streams: int = 0
    waiting: int = 0  # exchanges under way
    latest: deque[Row] = field(default_factory=lambda: deque(maxlen=KEPT))
    failed: deque[Row] = field(default_factory=lambda: deque(maxlen=KEPT))
    said: deque[Row] = field(default_factory=lambda: deque(maxlen=KEPT))
    slowest: list[Row] = field(default_factory=list)
    under_way: list[Row] = field(default_factory=list)  # the longest
    packet_rates: deque[float] = field(default_factory=lambda: deque([0.0] * RATES, maxlen=RATES))  # per second
    size_rate: float = 0.0
    exchange_rate: float = 0.0
    seconds: float = 0.0


class Screen:
    """Draws the figures of a live capture, and hears the keys: one ends it, one opens a prompt, which has the terminal then."""

    def __init__(self, source: str, output: str | None, console: Console | None = None) -> None:
        """``source`` is what is captured, ``output`` where it is kept."""
        self.figures = Figures()
        self.prompt_command: Sequence[str] | None = None  # None where there is no prompt
        self._source = source
        self._output = output
        self._console = console or Console(highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._begun_at = time.monotonic()
        self._shown_at = self._begun_at
        self._heard_at = self._begun_at
        self._terminal: list[Any] | None = None  # as it was
        self._prompt: Prompt | None = None  # while it is open

    @property
    def has_keys(self) -> bool:
        """Whether there is a keyboard."""
        return sys.stdin is not None and sys.stdin.isatty()

    def begin(self) -> None:
        """Take the terminal."""
        self._begun_at = self._shown_at = self._heard_at = time.monotonic()
        if self.has_keys:
            self._terminal = termios.tcgetattr(sys.stdin)
        self._take_terminal()

    def end(self) -> None:
        """Give the terminal back, whoever has it."""
        if self._prompt is not None:
            self._prompt.close()
            self._prompt = None
            print()  # behind what was being typed
        else:
            self._live.stop()
        self._restore_modes()

    def _take_terminal(self) -> None:
        if self._terminal is not None:
            tty.setcbreak(sys.stdin)
        self._live.start()

    def _restore_modes(self) -> None:
        if self._terminal is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._terminal)

    def observe(self, finished: duckdb.DuckDBPyConnection, unfinished: duckdb.DuckDBPyConnection) -> None:
        """Take in the rows of a segment, and those of what is open."""
        figures = self.figures
        exchanges, failures, messages, connections = finished.execute(_TOTALS).fetchall()[0]
        if exchanges:
            figures.exchanges += exchanges
            figures.latest.extendleft(reversed(finished.execute(_LATEST).fetchall()))
            slowest = figures.slowest + finished.execute(_SLOWEST).fetchall()
            figures.slowest = sorted(slowest, key=_duration_of, reverse=True)[:KEPT]
        if failures:
            figures.failures += failures
            figures.failed.extendleft(reversed(finished.execute(_FAILED).fetchall()))
        if messages:
            figures.messages += messages
            figures.said.extendleft(reversed(finished.execute(_MESSAGES).fetchall()))
        figures.connections += connections
        (counts,) = unfinished.execute(_OPEN).fetchall()
        figures.waiting, figures.open_connections, figures.closed_connections, figures.open_streams = counts
        figures.under_way = (
            unfinished.execute(_UNDER_WAY, {"now": time.time_ns(), "most": KEPT}).fetchall() if figures.waiting else []
        )

    def show(self, running: Running, now: float) -> bool:
        """Draw and hear keys, when it is time; False when the key that ends the capture was pressed."""
        if now - self._heard_at >= KEY_SECONDS:
            self._heard_at = now
            if self._prompt is None and not self._hear():
                return False
            if self._prompt is not None and not self._prompt.is_open():
                self._prompt.close()
                self._prompt = None
                self._take_terminal()
        passed = now - self._shown_at
        if passed < REFRESH_SECONDS or self._prompt is not None:
            return True
        self._shown_at = now
        figures = self.figures
        before = figures.packets, figures.size
        figures.packets = running.packets()
        if running.analysis is not None:
            figures.size = sum(reader.original_bytes for reader in running.analysis.captures.readers)
        figures.packet_rates.append((figures.packets - before[0]) / passed)
        figures.size_rate = (figures.size - before[1]) / passed
        figures.dropped = running.dropped
        figures.seconds = now - self._begun_at
        self._live.update(self.drawn(self._console.width, self._console.height), refresh=True)
        return True

    def drawn(self, width: int, height: int) -> Group:
        """The screen, ``height`` lines of at most ``width`` cells."""
        figures = self.figures
        rows = max(height - FIXED_LINES, 8)
        slow = fails = messages = rows // 5
        waiting = min(len(figures.under_way), slow)
        latest = rows - slow - fails - messages - (waiting + 1 if waiting else 0)
        lines = [
            _between(
                Text.assemble(("unmux ", "bold"), (self._source, "bold cyan"), f"  {_clock(figures.seconds)}"),
                Text(f"→ {self._output}" if self._output else "", "dim"),
                width,
            ),
            _between(
                Text.assemble(
                    (f"{figures.packet_rates[-1]:,.0f}", "bold"),
                    " packets/s  ",
                    (f"{size(round(figures.size_rate))}/s", "bold"),
                    f"  {figures.packets:,} packets  ",
                    (f"{figures.dropped:,} dropped", "bold red" if figures.dropped else "green"),
                ),
                Text(sparkline(list(figures.packet_rates)[-20:]), "cyan"),
                width,
            ),
            Text(
                f"{_counted(figures.open_connections, 'connection')} open, "
                f"{figures.connections + figures.closed_connections:,} ended   "
                f"{_counted(figures.open_streams, 'stream')} open   {_counted(figures.waiting, 'exchange')} under way"
            ),
        ]
        if waiting:
            lines += self._section("Under way, the longest first", figures.under_way, waiting, width)
        lines += self._section(f"Latest of {figures.exchanges:,} exchanges", list(figures.latest), latest, width)
        lines += self._section("Slowest", figures.slowest, slow, width)
        lines += self._section(
            f"Latest of {figures.failures:,} errors and exchanges cut short", list(figures.failed), fails, width
        )
        lines += self._section(f"Latest of {figures.messages:,} messages", list(figures.said), messages, width)
        lines.append(Text(f"times are UTC   {self._keys()}", "dim"))
        for line in lines:
            line.truncate(width, overflow="ellipsis")
            line.no_wrap = True
        return Group(*lines[:height])

    def _section(self, heading: str, rows: "Sequence[Row]", count: int, width: int) -> list[Text]:
        """A heading and ``count`` lines."""
        lines = [Text(heading, "bold")]
        lines += [_line(row, width) for row in rows[:count]]
        return lines + [Text("")] * (count + 1 - len(lines))

    def _keys(self) -> str:
        """What the keys do."""
        if not self.has_keys:
            return "Ctrl-C ends the capture"
        return "q ends the capture" if self.prompt_command is None else "s opens an SQL prompt   q ends the capture"

    def _hear(self) -> bool:
        """Do what the keys say; False when one ends the capture."""
        if self._terminal is None:
            return True
        while select.select([sys.stdin], [], [], 0)[0]:
            key = os.read(sys.stdin.fileno(), 1)  # what is typed after it is for the prompt
            if key in (b"q", b"Q", b""):
                return False
            if key in (b"s", b":") and self.prompt_command is not None:
                self._open_prompt(self.prompt_command)
                return True
        return True

    def _open_prompt(self, command: "Sequence[str]") -> None:
        self._live.stop()
        self._restore_modes()
        try:
            self._prompt = Prompt(command, sys.stdin.fileno())
        except OSError:  # no process can be started now; the capture goes on
            self._take_terminal()


def _duration_of(row: Row) -> int:
    return int(row[2])


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def _between(left: Text, right: Text, width: int) -> Text:
    """Two texts at the ends of a line; the right one goes where there is no room."""
    gap = width - left.cell_len - right.cell_len
    return left if gap < 1 or not right.plain else Text.assemble(left, " " * gap, right)


def _line(row: Row, width: int) -> Text:
    """A line for an exchange or a message; where both ends of its name matter, the middle goes."""
    ended, status, amount, name, where = row
    is_message = status in ("→", "←")
    shown = NOTHING if amount is None else size(amount) if is_message else duration(amount)
    head = f"{ended or '':<8} {shortened('status', status or NOTHING, 9):>9} {shown:>8}  "
    room = max(width - len(head) - len(where) - 2, 10)
    fitted = shortened("target", escape_for_terminal(name or ""), room)
    is_bad = not is_message and not (status or "").startswith(("1", "2", "3", "complete", "waiting"))
    return _between(Text.assemble((head, "red" if is_bad else ""), fitted), Text(where, "dim"), width)
