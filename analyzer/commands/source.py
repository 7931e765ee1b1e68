"""From what the user named to a store: captures are analyzed, with a progress bar; stores are opened."""

import gc
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from analyzer.commands.signals import Interrupted, handle, restore
from analyzer.errors import UnmuxError, UsageError
from analyzer.memory import memory_of
from analyzer.text import escape_for_terminal, parse_place

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from analyzer.capture.capture_set import CaptureSet
    from analyzer.reports import Report
    from analyzer.store import Store

_DECODE_AS = re.compile(r"(tcp|udp)\.port==(\d{1,5}),([\w-]+)")
_OTHER_FILES = {".csv", ".json", ".jsonl", ".ndjson", ".md", ".parquet", ".txt", ".html", ".pcap", ".pcapng"}
_TOLD_FAULTS = 10  # inputs that cannot be read, one by one
_DESCRIPTORS = 1024  # file descriptors that may be open: the usual limit
PROMPT_LINES = 2  # of the terminal, left for what the shell prints before and after
_SWITCH_SECONDS = 0.00005  # till the thread that inserts gets its turn; DuckDB needs many, and Python's own 5 ms leave it idle
_UNTIL_COLLECTED = 50_000  # objects; importing makes tens of thousands, none of them garbage
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_KEPT_BYTES = 64 << 20  # freed memory that stays with the process
_OF_ONE = 200  # exchanges shown in a report of one connection
_CONTENT_MODES = ("none", "preview", "hash", "store")


class Options:
    """The options of analysis, checked. UsageError when they are wrong."""

    def __init__(
        self,
        decode_as: list[str] | None,
        content: str,
        frames: bool,
        show_secrets: bool,
        mask_key: str | None,
        key_logs: list[str] | None = None,
        memory: str | None = None,
    ) -> None:
        if content not in _CONTENT_MODES:
            raise UsageError(f"--content takes one of {', '.join(_CONTENT_MODES)}, not {content!r}")
        self.memory = memory_of(memory)
        self.decode_as = _decode_as(decode_as or [])
        self.content = content
        self.frames = frames
        self.show_secrets = show_secrets
        self.mask_key = None if mask_key is None else mask_key.encode()
        usual = os.environ.get("SSLKEYLOGFILE", "")  # where browsers, curl and Python write theirs
        self.key_logs = key_logs or ([usual] if usual and Path(usual).is_file() else [])
        chosen = {"-d": decode_as, "--content": content != "preview", "--frames": frames, "--show-secrets": show_secrets}
        chosen["--keylog"] = key_logs
        self._given = [name for name, value in {**chosen, "--mask-key": mask_key is not None}.items() if value]

    def refuse_for_store(self, path: str) -> None:
        """UsageError when options are given that a store cannot follow any more."""
        if self._given:
            raise UsageError(f"{', '.join(self._given)}: {path} is a store; that was decided when it was made from captures")


def _decode_as(rules: list[str]) -> dict[tuple[str, int], str]:
    from analyzer import protocols

    known = {dissector.name: dissector for dissector in protocols.dissectors()} if rules else {}
    found: dict[tuple[str, int], str] = {}
    for rule in rules:
        match = _DECODE_AS.fullmatch(rule)
        if match is None:
            raise UsageError(f"-d takes a rule such as tcp.port==8080,http2, not {rule!r}")
        transport, port, name = match.groups()
        if name not in known:
            raise UsageError(f"-d: no protocol is called {name!r}; there are: {', '.join(sorted(known))}")
        if transport not in known[name].transports:
            raise UsageError(f"-d {rule}: {name} is carried by {', '.join(known[name].transports)}, not {transport}")
        if not 0 < int(port) < 1 << 16:
            raise UsageError(f"-d {rule}: required a port from 1 to 65535, found {port}")
        found[transport, int(port)] = name
    return found


class _Watch:
    """A progress bar with bytes and an estimate on a terminal, and signals heard between packets.

    The first signal ends reading, and what was read is stored; the second one is meant, and ends everything.
    """

    def __init__(self, paths: list[str], stored: set[tuple[str, int]]) -> None:
        """``stored`` are the names and first times of captures that are not to be read again."""
        self.signal: int | None = None
        self._stored = stored
        self._pipes = _pipes(paths)
        self._bar: Progress | None = None
        self.unreadable = 0  # inputs that were left out
        self._captures: CaptureSet | None = None
        self._before: dict[int, Any] = {}

    def opened(self, captures: "CaptureSet") -> None:
        """Begin to show progress. UnmuxError when a capture is in the store already."""
        for path, first_time in captures.beginnings():
            if (Path(path).name, first_time) in self._stored:
                raise UnmuxError(f"{path}: is in the store already: same name, same first packet; --force adds it once more")
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
        """Show how far reading got; False when it should end."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=bytes_read)
        return self.signal is None

    def __enter__(self) -> "_Watch":
        self._before = handle(self._heard)
        return self

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            raise Interrupted(number)
        self.signal = number
        # whoever waits for a pipe to say more finds its end there
        for descriptor in range(_DESCRIPTORS if self._pipes else 0):
            with suppress(OSError):
                status = os.fstat(descriptor)
                if (status.st_dev, status.st_ino) in self._pipes:
                    nothing = os.open(os.devnull, os.O_RDONLY)
                    os.dup2(nothing, descriptor)
                    os.close(nothing)

    def __exit__(self, *_: object) -> None:
        restore(self._before)
        if self._bar is not None:
            self._bar.stop()
        if self._captures is not None:
            self._warn(self._captures)

    def _warn(self, captures: "CaptureSet") -> None:
        """Say what could not be read."""
        self.unreadable = len(captures.unreadable)
        for fault in captures.unreadable[:_TOLD_FAULTS]:
            print(f"unmux: {escape_for_terminal(fault)}", file=sys.stderr)
        if self.unreadable > _TOLD_FAULTS:
            print(f"unmux: … and {self.unreadable - _TOLD_FAULTS:,} more inputs that cannot be read", file=sys.stderr)
        for reader in captures.readers:
            if reader.truncation is not None:
                print(f"unmux: {escape_for_terminal(f'{reader.name}: {reader.truncation}')}", file=sys.stderr)


def _pipes(paths: list[str]) -> set[tuple[int, int]]:
    """What identifies the inputs that can make us wait."""
    found = set()
    for path in paths:
        with suppress(OSError, ValueError):  # whoever opens it will say so
            status = os.fstat(0) if path == "-" else os.stat(path)  # noqa: PTH116  # as fstat
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                found.add((status.st_dev, status.st_ino))
    return found


def names_store(path: str) -> bool:
    """Whether a path is a store, or should be one by its suffix. Nothing is read from a pipe to find out."""
    from analyzer.store import is_store

    place = Path(path)
    if path == "-" or not (place.is_file() or place.is_dir()):
        return place.suffix == ".duckdb"
    return is_store(path)


def is_there(path: str) -> bool:
    """Whether a path is a store that exists."""
    return names_store(path) and Path(path).exists()


def _beginnings(output: str) -> set[tuple[str, int]]:
    """The names and first times, in ns, of the captures that a store was made from; none when it is not there."""
    from analyzer.pipeline import open_store

    if not is_there(output):
        return set()
    with open_store(output) as store:
        rows = store.sql("SELECT name, epoch_ns(first_packet_at) FROM captures WHERE first_packet_at IS NOT NULL").fetchall()
    return {(Path(name).name, first_time) for name, first_time in rows}


def _keep_freed_memory() -> None:
    """Ask the C library to reuse what is freed between batches: pages that were given back cost a fifth of the time."""
    import ctypes

    try:
        adjust = ctypes.CDLL(None).mallopt  # of glibc
    except (AttributeError, OSError):
        return
    adjust(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    adjust(_M_MMAP_THRESHOLD, _KEPT_BYTES)


def prepare() -> None:
    """Make ready for an analysis. Says so where it will be slow."""
    from analyzer import build

    gc.set_threshold(_UNTIL_COLLECTED)
    sys.setswitchinterval(_SWITCH_SECONDS)
    _keep_freed_memory()
    if not build.is_compiled():
        print("unmux: running in plain Python, several times slower than compiled: install with a C compiler", file=sys.stderr)


def check_output(output: str) -> None:
    """UsageError where an output for tables is called like a file of another kind."""
    suffix = Path(output).suffix.lower()
    if suffix in _OTHER_FILES and not is_folder(output):
        raise UsageError(
            f"-o {output}: keeps the tables, in a .duckdb file or a folder/; `unmux report` and `unmux query` write results to files"
        )


def is_folder(output: str) -> bool:
    """Whether an output is a folder for Parquet files."""
    from analyzer.store.places import is_folder as is_one

    return is_one(output)


def summary(store: "Store", output: str) -> str:
    """One line that says what was written."""
    counts = []
    for table, one, many in (
        ("connections", "connection", "connections"),
        ("exchanges", "exchange", "exchanges"),
        ("messages", "message", "messages"),
        ("anomalies", "anomaly", "anomalies"),
    ):
        count = store.added[table]
        counts.append(f"{count:,} {one if count == 1 else many}")
    return f"unmux: wrote {output}: {', '.join(counts)}; `unmux report overview {output}` tells more"


def analyzed(
    paths: list[str], options: Options, *, output: str | None = None, append: bool = False, force: bool = False
) -> tuple["Store", "Ending"]:
    """The store of these captures, and how reading them ended."""
    import analyzer

    for path in paths:
        if is_there(path):
            raise UsageError(f"{path}: is a store, which cannot be read together with captures or into another store")
    prepare()
    stored = _beginnings(output) if append and not force and output is not None else set()
    with _Watch(paths, stored) as watch:
        store = analyzer.analyze(
            paths,
            output=output,
            append=append,
            force=force,
            content=options.content,
            frames=options.frames,
            decode_as=options.decode_as,
            key_logs=options.key_logs,
            show_secrets=options.show_secrets,
            mask_key=options.mask_key,
            memory=options.memory.size,
            skips_unreadable=True,
            progress=watch.progress,
            opened=watch.opened,
        )
    if watch.signal is not None:
        print("unmux: interrupted; this is what was read so far", file=sys.stderr)
    _judge_keys(store, options)
    return store, Ending(watch.signal, watch.unreadable)


@dataclass
class Ending:
    """How reading captures ended: the signal that ended it early, if one did, and how many inputs were left out."""

    signal: int | None
    unreadable: int

    def finish(self) -> None:
        """Called when all is done with what was read. Interrupted where reading was, UnmuxError where something was left out."""
        if self.signal is not None:
            raise Interrupted(self.signal)
        if self.unreadable:
            inputs = "an input" if self.unreadable == 1 else f"{self.unreadable:,} inputs"
            raise UnmuxError(f"{inputs} could not be read; the others were")


def _judge_keys(store: "Store", options: Options) -> None:
    """Say where the keys that were given are of no use."""
    from analyzer.pipeline import read_key_logs

    for path in options.key_logs:
        if read_key_logs([path]).is_empty():
            remark(f"{path}: there is no TLS key in it")
            return
    if options.key_logs:
        ((sealed, decrypted),) = store.sql(
            "SELECT count(not_decrypted_reason), count(*) FILTER (is_decrypted) FROM tls_handshakes"
        ).fetchall()
        if sealed and not decrypted:
            remark(f"no key in {', '.join(options.key_logs)} is of a connection in the capture")


@contextmanager
def opened(paths: list[str], options: Options) -> Iterator["Store"]:
    """The store that the user named, or that of the captures they named. Raises Interrupted in the end if reading was."""
    from analyzer.pipeline import open_store

    if len(paths) == 1 and names_store(paths[0]):
        options.refuse_for_store(paths[0])
        with open_store(paths[0], memory=options.memory.size) as store:
            yield store
        return
    store, ending = analyzed(paths, options)
    with store:
        yield store
    ending.finish()


def remark(line: str) -> None:
    """Say something beside the answer, on standard error."""
    sys.stdout.flush()
    print(f"unmux: {escape_for_terminal(line)}", file=sys.stderr)


def console() -> "Console":
    """The console of standard output; its width is COLUMNS or the terminal's, 160 where there is none."""
    from rich.console import Console

    class PipeConsole(Console):
        """One that leaves it to main() that nobody reads any more."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    return PipeConsole(width=width, highlight=False, markup=False, emoji=False)


def print_report(store: "Store", name: str) -> None:
    """Print a report to the terminal, fitted to its height, or to wherever standard output goes."""
    from analyzer import reports

    _print(store, reports.load(name))


def _print(store: "Store", chosen: "Report") -> None:
    from analyzer.commands.output import duckdb_errors
    from analyzer.reports import render

    where = console()
    with duckdb_errors():  # the tables of a file that another program made
        render.report(store, chosen, where, where.height - PROMPT_LINES if where.is_terminal else None)


def choose_connection(chosen: "Report", said: str | None) -> None:
    """Have a report be of one connection only. UsageError where it never is, or none is named like that."""
    if said is None:
        return
    if not chosen.takes("connection"):
        raise UsageError(f"--connection: the report {chosen.name} is of all connections")
    found = parse_place(said)
    if found is None or found[1] is not None:
        raise UsageError(f"--connection takes a connection's number, such as 17, not {said!r}")
    chosen.variables |= {"connection": found[0], "most_units": _OF_ONE}


def write_report(store: "Store", chosen: "Report", form: str, output: str | None) -> None:
    """Write a report in a format for programs, or to a file."""
    from analyzer import reports
    from analyzer.commands import output as printing

    if form == "table":
        if output is None:
            _print(store, chosen)
        else:
            printing.write_page(store, chosen, output)
    else:
        sections = (
            (part.heading, printing.Result(store, reports.plain(relation))) for part, relation in reports.answers(store, chosen)
        )
        printing.write_sections(sections, form, output)
