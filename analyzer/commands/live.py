"""Live capture: open what is read, give up rights that are not needed any more, analyze until it ends, tell what came."""

import os
import re
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from analyzer.commands import source
from analyzer.commands.signals import Interrupted, handle, restore
from analyzer.errors import UnmuxError, UsageError

if TYPE_CHECKING:
    import duckdb

    from analyzer.capture.capture_set import CaptureSet
    from analyzer.capture.live_reader import LiveReader
    from analyzer.live.outlet import Outlet
    from analyzer.live.running import Running
    from analyzer.live.screen import Screen
    from analyzer.store.segments import Observer, Retention

STANDARD_INPUT: Final = "-"
FORMATS: Final = ("screen", "lines", "jsonl", "none")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|min|h|d)?")
_SECONDS: Final = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_AMOUNT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]?)(B|rows?)?")
_POWERS: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass
class Request:
    """What the user asked for, beside the options of every analysis."""

    interface: str | None
    follow: str | None
    expression: str | None
    output: str | None
    append: bool
    force: bool
    save: str | None
    duration: str | None
    count: int | None
    keep: str | None
    ring: str | None
    form: str | None
    snap_length: int | None
    promiscuous: bool
    portable: bool
    user: str | None


def seconds(option: str, said: str) -> float:
    """A duration such as 90, 60s, 5m or 1h in seconds. UsageError when it is none."""
    match = _DURATION.fullmatch(said)
    if match is None or float(match[1]) == 0:
        raise UsageError(f"{option} takes a duration such as 60s, 5m or 1h, not {said!r}")
    return float(match[1]) * _SECONDS[match[2]]


def _retention(request: Request) -> "Retention | None":
    """What is to be kept, None where everything is. UsageError when it is not said well."""
    from analyzer.store.segments import Retention

    if request.keep is None and request.ring is None:
        return None
    if request.output is None or not source.is_folder(request.output):
        raise UsageError("--keep and --ring give up rows of a folder: -o FOLDER/")
    size = rows = None
    if request.ring is not None:
        match = _AMOUNT.fullmatch(request.ring)
        if match is None or float(match[1]) == 0:
            raise UsageError(f"--ring takes an amount such as 500MB or 1Mrows, not {request.ring!r}")
        amount = int(float(match[1]) * _POWERS[match[2]])
        size, rows = (None, amount) if (match[3] or "B").startswith("row") else (amount, None)
    return Retention(None if request.keep is None else seconds("--keep", request.keep), size, rows)


def _checked_form(request: Request) -> str:
    form = request.form or ("screen" if sys.stdout.isatty() else "lines")
    if form not in FORMATS:
        raise UsageError(f"--format takes one of {', '.join(FORMATS)}, not {form!r}")
    if form == "screen" and not sys.stdout.isatty():
        raise UsageError("--format screen needs a terminal")
    return form


class _Ears:
    """Signals: the first one ends the capture, the second one everything."""

    def __init__(self, running: "Running") -> None:
        self._running = running
        self._before = handle(self._heard)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if self._running.signal is not None:
            raise Interrupted(number)
        self._running.signal = number

    def close(self) -> None:
        restore(self._before)


def run(request: Request, options: source.Options) -> int:
    """Capture, analyze, print and store; returns the exit status: 130 after Ctrl-C, else 0."""
    from analyzer.live.running import Running

    form = _checked_form(request)
    retention = _retention(request)
    duration = None if request.duration is None else seconds("--duration", request.duration)
    if (request.interface is None) == (request.follow is None):
        raise UsageError("name an interface, or - for standard input, or what to --follow; `unmux interfaces` lists them")
    source.prepare()
    screen: Screen | None = None
    if form == "screen":
        from analyzer.live.screen import Screen as Shown

        screen = Shown(request.interface or request.follow or "", request.output)
    running = Running(duration, None if screen is None else screen.show)
    ears = _Ears(running)
    try:
        reader = _opened(request, running.idle)
        observe = screen.observe if screen is not None else _observer(form)
        with _segment_folder(request, screen) as folder:
            if screen is not None and folder is not None:
                from analyzer.commands import live_prompt

                screen.prompt_command = live_prompt.command(folder, options.memory.size)
            outlet = _outlet(request, options, retention, observe, folder)
            try:
                return _captured(request, options, running, reader, outlet, screen)
            finally:
                outlet.close()
    finally:
        ears.close()


@contextmanager
def _segment_folder(request: Request, screen: "Screen | None") -> Iterator[str | None]:
    """The folder of the segments: the output, or a temporary one where the screen has a prompt; None where nobody reads it."""
    if request.output is not None and source.is_folder(request.output):
        yield request.output
        return
    temporary = None
    if screen is not None and screen.has_keys:
        with suppress(OSError):  # the capture goes on without a prompt
            temporary = tempfile.TemporaryDirectory(prefix="unmux-live-", ignore_cleanup_errors=True)
    if temporary is None:
        yield None
        return
    with temporary as folder:
        yield folder


def _captured(
    request: Request,
    options: source.Options,
    running: "Running",
    reader: "LiveReader | None",
    outlet: "Outlet",
    screen: "Screen | None",
) -> int:
    from analyzer import protocols
    from analyzer.capture.saving import Saver
    from analyzer.dissector import Context
    from analyzer.pipeline import ALL

    context = Context(protocols.dissectors(), options.content, options.frames, options.decode_as, memory=options.memory)
    captures = _captures(request, running.idle, reader, outlet)
    saver = None if request.save is None else Saver(request.save, force=request.force)
    begun = time.monotonic()
    try:
        if screen is not None:
            screen.begin()
        running.run(captures, context, outlet, options.key_logs, saver, request.count or ALL)
    finally:
        if screen is not None:
            screen.end()
    for fault in [*captures.unreadable, *(one.truncation for one in captures.readers if one.truncation is not None)]:
        source.remark(fault)
    print(_summary(request, running, outlet, time.monotonic() - begun), file=sys.stderr)
    return 128 + signal.SIGINT if running.signal == signal.SIGINT else 0


def _opened(request: Request, idle: Callable[[], bool]) -> "LiveReader | None":
    """The interface, with rights given up that only opening it needed; None where a file or pipe is read."""
    from analyzer.live import privileges

    if request.interface in (None, STANDARD_INPUT):
        if request.expression or request.promiscuous or request.snap_length or request.portable:
            raise UsageError("-f, --promiscuous, --snap-length and --portable are for interfaces")
        privileges.drop(request.user)
        return None
    try:
        reader = _interface(request, request.interface or "", idle)
    except PermissionError:
        how = privileges.HOW_TO_GRANT.format(python=os.path.realpath(sys.executable))
        raise UnmuxError(f"{request.interface}: not allowed to read from the network; {how}") from None
    privileges.drop(request.user)
    return reader


def _interface(request: Request, name: str, idle: Callable[[], bool]) -> "LiveReader":
    from analyzer import limits
    from analyzer.capture import ring

    if ring.is_available() and not request.portable:
        program = None
        link_type = ring.link_type_of(name)
        if request.expression:
            from analyzer.live import scapy_parts

            program = scapy_parts.program(request.expression, link_type)
        return ring.RingReader(name, idle, program, request.snap_length or limits.PACKET_BYTES, request.promiscuous)
    from analyzer.capture.portable import PortableReader
    from analyzer.live import scapy_parts

    if request.snap_length:
        raise UsageError("--snap-length needs a packet ring")
    if not request.portable:
        source.remark("this system has no packet ring: packets come through scapy's socket, and are lost sooner")
    if request.expression:
        scapy_parts.program(request.expression, 1)  # says what is wrong with it
    heard = scapy_parts.listen(name, request.expression, request.promiscuous)
    return PortableReader(name, idle, heard, scapy_parts.link_type_of)


def _captures(request: Request, idle: Callable[[], bool], reader: "LiveReader | None", outlet: "Outlet") -> "CaptureSet":
    from analyzer.capture.capture_set import CaptureSet
    from analyzer.capture.following import FollowedFolder, open_growing

    first = outlet.next_capture_index()
    if reader is not None:
        return CaptureSet([], first, readers=[reader])
    if request.follow is not None and Path(request.follow).is_dir():
        return FollowedFolder(request.follow, idle, first)
    captures = CaptureSet([], first, readers=[open_growing(request.follow or STANDARD_INPUT, idle)])
    captures.has_pipes = True  # keys may come with the packets
    return captures


def _outlet(
    request: Request,
    options: source.Options,
    retention: "Retention | None",
    observe: "Observer | None",
    folder: str | None,
) -> "Outlet":
    """``folder`` is that of the segments, which need not be the output."""
    from analyzer import limits, protocols
    from analyzer.live.outlet import Outlet
    from analyzer.store import Store
    from analyzer.store.segments import Retention, SegmentStore

    records = [record for dissector in protocols.dissectors() for record in dissector.records]
    is_output = folder is not None and folder == request.output
    key = options.mask_key or secrets.token_bytes(32)
    said = {"content": options.content, "frames": str(options.frames).lower()}
    said["show_secrets"] = str(options.show_secrets).lower()
    if request.expression:
        said["filter"] = request.expression
    store = None
    if request.output is not None and not is_output:
        store = Store(
            request.output,
            append=request.append,
            force=request.force,
            show_secrets=options.show_secrets,
            mask_key=key,
            options=said,
            records=records,
            memory=options.memory,
        )
    segments = SegmentStore(
        folder,
        append=request.append and is_output,
        force=request.force and is_output,
        show_secrets=options.show_secrets,
        mask_key=key,
        options=said,
        records=records,
        retention=retention if is_output else Retention(size=limits.PROMPT_BYTES),
        observe=observe,
        memory=options.memory,
        first_capture_index=0 if store is None else store.next_capture_index(),
        is_spare=not is_output,
    )
    return Outlet(segments, store)


def _observer(form: str) -> "Observer | None":
    if form == "none":
        return None
    return _print_json_lines if form == "jsonl" else _print_lines


_LINES: Final = """
    SELECT
        strftime(coalesce(ended_at, started_at), '%H:%M:%S.%g'), protocol, coalesce(error_type, status, end_reason), duration_ns,
        exchange_name(operation, target, end_reason), place(connection_id, stream_index, if(protocol = 'http/2', NULL, exchange_index))
    FROM exchanges ORDER BY coalesce(ended_at, started_at)
"""


def _print_lines(finished: "duckdb.DuckDBPyConnection", _unfinished: "duckdb.DuckDBPyConnection") -> None:
    """One line for each exchange that ended."""
    from analyzer.reports.values import NOTHING, duration
    from analyzer.text import escape_for_terminal

    lines = []
    for ended, protocol, status, lasted, name, where in finished.execute(_LINES).fetchall():
        took = NOTHING if lasted is None else duration(lasted)
        line = f"{ended}  {protocol or NOTHING:<8}  {status or NOTHING:>4}  {took:>8}  {where:<8}  {name}"
        lines.append(escape_for_terminal(line) + "\n")
    if lines:
        sys.stdout.write("".join(lines))
        sys.stdout.flush()


def _print_json_lines(finished: "duckdb.DuckDBPyConnection", _unfinished: "duckdb.DuckDBPyConnection") -> None:
    """One JSON object for each exchange that ended."""
    from analyzer.commands import output as printing

    if finished.execute("SELECT count(*) FROM exchanges").fetchall() == [(0,)]:
        return
    ended = finished.sql("FROM exchanges ORDER BY coalesce(ended_at, started_at)")
    printing.write(printing.Result(finished, ended), "jsonl")
    sys.stdout.flush()


def _summary(request: Request, running: "Running", outlet: "Outlet", lasted: float) -> str:
    """One line that says what came, and where it is."""
    added = outlet.segments.added_rows()
    counts = []
    for table, one, many in (
        ("connections", "connection", "connections"),
        ("exchanges", "exchange", "exchanges"),
        ("messages", "message", "messages"),
        ("anomalies", "anomaly", "anomalies"),
    ):
        counts.append(f"{added[table]:,} {one if added[table] == 1 else many}")
    dropped = f", {running.dropped:,} more dropped by the kernel" if running.dropped else ""
    said = f"unmux: {running.packets():,} packets in {lasted:.1f} s{dropped}: {', '.join(counts)}"
    if request.output is not None:
        said += f"; wrote {request.output}: `unmux report overview {request.output}` tells more"
    return said
