"""The packets of chosen connections as a new capture."""

import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, BinaryIO

from analyzer.commands import output, rereading, source
from analyzer.errors import UnmuxError, UsageError
from analyzer.text import parse_place, place

if TYPE_CHECKING:
    from analyzer.records import Rows
    from analyzer.slicing import Marks

STANDARD_OUTPUT = "-"


def _check(path: str, sources: list[str], runs: list[rereading.Run], *, force: bool) -> None:
    """Raise UsageError or UnmuxError unless a capture can be written to ``path``."""
    if path == STANDARD_OUTPUT:
        if sys.stdout.isatty():
            raise UsageError("-w -: standard output is a terminal; name a file")
        return
    output.check_place("-w", path, [*sources, *(name for run in runs for name in run.names)])
    if Path(path).is_file() and not force:
        raise UnmuxError(f"-w {path}: exists already; --force replaces it")


def run(
    paths: list[str],
    where: str | None,
    connections: list[str] | None,
    target: str,
    options: source.Options,
    *,
    force: bool = False,
    with_keys: bool = True,
) -> None:
    """Write the packets of the connections that ``where`` chooses by their exchanges, or that are named.

    Raises UsageError or UnmuxError, also where nothing is chosen.
    """
    if where is None and not connections:
        raise UsageError('say which connections: --where "SQL over exchanges", or --connection NUMBER')
    runs = rereading.runs(paths)
    _check(target, paths, runs, force=force)
    chosen = _chosen(paths, where, connections or [], options)
    found = [(each, _marks(each, chosen)) for each in runs]
    count = sum(marks.count for _, marks in found)
    if not count:
        raise UnmuxError("the captures have no packet of these connections any more")
    secrets = _secrets(found, options) if with_keys else b""
    if target == STANDARD_OUTPUT:
        _write(sys.stdout.buffer, found, secrets)
        sys.stdout.buffer.flush()
    else:
        with output.written(target) as partial, output.opened(partial, is_secret=bool(secrets)) as file:
            _write(file, found, secrets)
    lines = len(secrets.splitlines())
    keys = f", {lines:,} TLS secret{'' if lines == 1 else 's'}" if lines else ""
    several = "" if len(chosen) == 1 else "s"
    source.remark(f"wrote {target}: {count:,} packet{'' if count == 1 else 's'} of {len(chosen):,} connection{several}{keys}")


def _chosen(paths: list[str], where: str | None, named: list[str], options: source.Options) -> set[int]:
    """The connection_ids that are wanted."""
    chosen = set()
    for said in named:
        found = parse_place(said)
        if found is None or found[1] is not None:
            raise UsageError(f"--connection takes a connection's number, such as 17, not {said!r}")
        chosen.add(found[0])
    with rereading.opened(paths, options) as store:
        for number in chosen:
            if not store.sql("SELECT 1 FROM connections WHERE connection_id = $one", {"one": number}).fetchall():
                raise UnmuxError(f"there is no connection {place(number)}; `unmux report connections` lists them")
        if where is not None:
            chosen |= {row[0] for row in rereading.matching(store, "DISTINCT connection_id", where)}
    if not chosen:
        raise UnmuxError("no exchange is like that; `unmux query SOURCE` shows what there is")
    return chosen


def _marks(each: rereading.Run, chosen: set[int]) -> "Marks":
    from analyzer.slicing import mark

    with closing(each.captures()) as captures:
        return mark(captures, chosen, _go_on)


def _write(file: BinaryIO, found: "list[tuple[rereading.Run, Marks]]", secrets: bytes) -> None:
    from analyzer.capture.pcapng_writer import PcapngWriter
    from analyzer.slicing import copy, write_secrets

    writer = PcapngWriter(file)
    write_secrets(writer, secrets.splitlines(keepends=True))
    for each, marks in found:
        with closing(each.captures()) as captures:
            copy(captures, marks, writer, _go_on)


def _go_on(_bytes_read: int) -> bool:
    return True  # and so Ctrl-C is heard


def _secrets(found: "list[tuple[rereading.Run, Marks]]", options: source.Options) -> bytes:
    """The lines of the key logs that the packets need, each once: those asked for when they are analyzed."""
    from analyzer import pipeline, protocols
    from analyzer.capture.capture_set import CaptureSet
    from analyzer.capture.key_logs import key_log_blocks
    from analyzer.codecs.key_log import KeyLog
    from analyzer.dissector import Context

    blocks = [block for path in options.key_logs for block in key_log_blocks(path)]
    rules = dict(options.decode_as)
    for each, _ in found:
        rules = source.Options(each.rules, "none", False, False, None).decode_as | rules
        with closing(each.captures()) as captures:
            blocks += captures.secrets
    if not blocks:
        return b""
    key_log = KeyLog(options.memory)
    for block in blocks:
        key_log.add(block)
    with TemporaryDirectory(prefix="unmux-") as folder:
        part = Path(folder) / "part.pcapng"
        with part.open("wb") as file:
            _write(file, found, b"")
        with closing(CaptureSet([str(part)])) as captures:
            context = Context(protocols.dissectors(), "none", decode_as=rules, key_log=key_log, memory=options.memory)
            pipeline.run(captures, context, _Nowhere(), _go_on)
    lines = [line.strip() + b"\n" for block in blocks for line in block.splitlines() if key_log.was_found(line)]
    return b"".join(dict.fromkeys(lines))


class _Nowhere:
    """Takes rows that nobody wants."""

    def add(self, rows: "Rows") -> None:
        """Forget them."""
