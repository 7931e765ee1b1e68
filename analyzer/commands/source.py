"""From what the user named to a store: captures are analyzed, with a progress bar; stores are opened."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from analyzer.errors import UnmuxError, UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from analyzer.capture.capture_set import CaptureSet
    from analyzer.store import Store

_DECODE_AS = re.compile(r"(tcp|udp)\.port==(\d{1,5}),([\w-]+)")
_CONTENT_MODES = ("none", "preview", "hash", "store")


class Options:
    """The options of analysis, checked. UsageError when they are wrong."""

    def __init__(self, decode_as: list[str] | None, content: str, frames: bool, show_secrets: bool, mask_key: str | None) -> None:
        if content not in _CONTENT_MODES:
            raise UsageError(f"--content takes one of {', '.join(_CONTENT_MODES)}, not {content!r}")
        self.decode_as = _decode_as(decode_as or [])
        self.content = content
        self.frames = frames
        self.show_secrets = show_secrets
        self.mask_key = None if mask_key is None else mask_key.encode()


def _decode_as(rules: list[str]) -> dict[tuple[str, int], str]:
    from analyzer import protocols

    names = {dissector.name for dissector in protocols.dissectors()} if rules else set()
    found: dict[tuple[str, int], str] = {}
    for rule in rules:
        match = _DECODE_AS.fullmatch(rule)
        if match is None:
            raise UsageError(f"-d takes a rule such as tcp.port==8080,http2, not {rule!r}")
        transport, port, name = match.groups()
        if name not in names:
            raise UsageError(f"-d: no protocol is called {name!r}; there are: {', '.join(sorted(names))}")
        found[transport, int(port)] = name
    return found


class _Watch:
    """A progress bar with bytes and an estimate on a terminal, and Ctrl-C heard between packets."""

    def __init__(self) -> None:
        self.interrupted = False
        self._bar: Progress | None = None
        self._captures: CaptureSet | None = None

    def opened(self, captures: "CaptureSet") -> None:
        self._captures = captures
        if not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        columns = (TextColumn("reading"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar.add_task("reading", total=captures.size)
        self._bar.start()

    def progress(self, bytes_read: int) -> bool:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=bytes_read)
        return not self.interrupted

    def __enter__(self) -> "_Watch":
        self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self.interrupted:  # the second time is meant
            raise KeyboardInterrupt
        self.interrupted = True

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)
        if self._bar is not None:
            self._bar.stop()
        if self._captures is not None:
            self._warn(self._captures)

    def _warn(self, captures: "CaptureSet") -> None:
        """Say what could not be read."""
        from analyzer.text import escape_for_terminal

        faults = [f"{reader.name}: {reader.truncation}" for reader in captures.readers if reader.truncation is not None]
        for fault in [*captures.unreadable, *faults]:
            print(f"unmux: {escape_for_terminal(fault)}", file=sys.stderr)


def analyzed(
    paths: list[str], options: Options, *, output: str | None = None, append: bool = False, force: bool = False
) -> tuple["Store", bool]:
    """The store of these captures, and whether reading was interrupted."""
    import analyzer
    from analyzer import build

    if not build.is_compiled():
        print("unmux: running in plain Python, several times slower than compiled: install with a C compiler", file=sys.stderr)
    with _Watch() as watch:
        store = analyzer.analyze(
            paths,
            output=output,
            append=append,
            force=force,
            content=options.content,
            frames=options.frames,
            decode_as=options.decode_as,
            show_secrets=options.show_secrets,
            mask_key=options.mask_key,
            progress=watch.progress,
            opened=watch.opened,
        )
    if watch.interrupted:
        print("unmux: interrupted; what was read so far is stored", file=sys.stderr)
    return store, watch.interrupted


@contextmanager
def opened(paths: list[str], options: Options) -> Iterator["Store"]:
    """The store that the user named, or that of the captures they named."""
    from analyzer.store import is_store, open_store

    if len(paths) == 1 and is_store(paths[0]):
        with open_store(paths[0]) as store:
            yield store
        return
    for path in paths:
        if is_store(path):
            raise UsageError(f"{path} is a store; it cannot be read together with captures")
    store, interrupted = analyzed(paths, options)
    with store:
        yield store
    if interrupted:
        raise KeyboardInterrupt


def run_sql(store: "Store", sql: str) -> Any:
    """The relation of a user's query. UnmuxError with DuckDB's message when it is wrong."""
    import duckdb

    try:
        relation = store.sql(sql)
    except duckdb.Error as error:
        raise UnmuxError(str(error)) from None
    if relation is None:
        raise UsageError("the statement returns no rows; write a SELECT")
    return relation


def console() -> "Console":
    """The console of standard output; its width is COLUMNS or the terminal's, 160 where there is none."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    return Console(width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def print_report(store: "Store", name: str) -> None:
    """Print a report to the terminal."""
    from analyzer import reports
    from analyzer.reports import render

    render.report(store, reports.load(name), console())


def check_report(name: str) -> None:
    """UsageError when no report has the name, before any capture is read."""
    from analyzer import reports

    reports.load(name)


def write_report(store: "Store", name: str, form: str, output: str | None) -> None:
    """Write a report's sections in another format; several sections need a folder for output when it is a binary one."""
    from analyzer import reports
    from analyzer.commands import output as printing

    chosen = reports.load(name)
    for place, part in enumerate(chosen.sections):
        target = output
        if output is not None and len(chosen.sections) > 1:
            path = Path(output)
            target = str(path.with_name(f"{path.stem}-{place + 1}{path.suffix}"))
        if form == "markdown" and target is None:
            print(f"## {part.heading}\n")
        printing.write(run_sql(store, part.sql), form, target)
        if form == "markdown" and target is None:
            print()
