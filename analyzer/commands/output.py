"""Results in every format: tables for people, CSV, JSON, Markdown and Parquet for programs and files."""

import csv
import json
import math
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TextIO, TypeVar

from analyzer.commands.signals import Interrupted
from analyzer.errors import UnmuxError, UsageError
from analyzer.reports.values import is_numeric
from analyzer.text import escape_for_terminal

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

    from analyzer.reports import Report
    from analyzer.store import Store

    class Interruptible(Protocol):
        """What runs queries: a store or a connection."""

        def interrupt(self) -> None:
            """Stop the query that runs."""


FORMATS = ("table", "csv", "json", "jsonl", "markdown", "parquet")
TABLE_ROWS = 10_000  # a table is laid out whole, in memory; other formats are written row by row
FILE_WIDTH = 160  # of a table in a file
_SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".md": "markdown", ".parquet": "parquet"}
_INTERRUPTED_SECONDS = 0.1  # between two interrupts: a query that has not begun to run does not hear one
_MARKDOWN = re.compile(r"[\\`*\[\]<|]")

Row = Sequence[object]
T = TypeVar("T")


def checked_format(
    form: str | None, path: str | None, sources: Iterable[str] = (), *, force: bool = False, sections: Sequence[str] = ()
) -> str:
    """The format to write: ``form``, else that of the file's suffix, else a table.

    Raises UsageError for an unknown format, for Parquet without a file, and for a file that is one of the ``sources``;
    UnmuxError, without ``force``, for one that exists. A report's ``sections`` become Parquet files of their own.
    """
    if form is None:
        form = "table" if path is None else _SUFFIXES.get(Path(path).suffix.lower(), "table")
    if form not in FORMATS:
        raise UsageError(f"--format takes one of {', '.join(FORMATS)}, not {form!r}")
    if path is None:
        if form == "parquet":
            raise UsageError("--format parquet needs -o FILE")
        return form
    check_place("-o", path, sources)
    if Path(path).suffix.lower() in {".duckdb", ".db"}:
        raise UsageError(f"-o {path}: results are not written as a database; `unmux analyze CAPTURE -o FILE.duckdb` makes one")
    for file in [section_file(path, heading) for heading in sections] if form == "parquet" and sections else [Path(path)]:
        if file.is_file() and not force:
            raise UnmuxError(f"-o {file}: exists already; --force replaces it")
    return form


def check_place(option: str, path: str, sources: Iterable[str]) -> None:
    """UsageError where no file can be written, or one of the ``sources`` is."""
    if Path(path).is_dir() or not Path(path).name:
        raise UsageError(f"{option} {path}: is a folder; name a file in it")
    if not Path(path).parent.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {Path(path).parent}")
    if any(Path(path).exists() and Path(source).exists() and Path(path).samefile(source) for source in sources):
        raise UsageError(f"{option} {path}: is what is read; name another file")


@contextmanager
def duckdb_errors() -> Iterator[None]:
    """Turn DuckDB's errors into UnmuxError: its message, made safe, with the place it points at."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        told = [line.rstrip() for line in escape_for_terminal(str(error), lines=True).splitlines() if line.strip()]
        raise UnmuxError("\n".join(told[:8])) from None


def interruptibly(store: "Interruptible", work: Callable[[], T]) -> T:
    """Run a query so that Ctrl-C stops it: DuckDB hears of it for certain only from another thread than the query's."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001  # raised again below
            failed.append(error)
        running.release()

    running = (
        threading.Lock()
    )  # a join that is interrupted cannot be repeated, nor can an Event that two signals interrupt at once
    running.acquire()
    threading.Thread(target=run, daemon=True).start()
    try:
        while not running.acquire(timeout=_INTERRUPTED_SECONDS):  # a signal need not wake this thread
            pass
    except Interrupted:
        while True:
            try:
                while not done and not failed:  # the store cannot be closed before
                    store.interrupt()
                    time.sleep(_INTERRUPTED_SECONDS)
                break
            except Interrupted:  # said again
                pass
        raise
    if failed:
        raise failed[0]
    return done[0]


class Result:
    """What a query gives, not run yet."""

    def __init__(self, store: "Interruptible", relation: "DuckDBPyRelation") -> None:
        self.store = store
        self.relation = relation
        self.columns = relation.columns
        self.types = [str(kind) for kind in relation.types]

    def exact(self) -> "DuckDBPyRelation":
        """Its rows with everything but numbers and truth values as text: Python's datetimes lack nanoseconds."""
        return self._projected([f"#{number}" if _is_plain(kind) else _as_text(number) for number, kind in self._numbered()])

    def for_json(self) -> "DuckDBPyRelation":
        """Its rows with lists and structs as JSON, and everything else but numbers and truth values as text."""
        return self._projected(
            [
                f"CAST(to_json(#{number}) AS VARCHAR)"
                if _is_nested(kind)
                else f"#{number}"
                if _is_plain(kind)
                else _as_text(number)
                for number, kind in self._numbered()
            ]
        )

    def rows(self, relation: "DuckDBPyRelation") -> Iterator[Row]:
        """The rows of one of its forms, a batch in memory at a time. Ctrl-C stops the query, and the iteration."""
        rows = relation.iter_rows()
        first = interruptibly(self.store, lambda: next(rows, None))
        if first is not None:
            yield first
            yield from rows

    def _numbered(self) -> Iterable[tuple[int, str]]:
        return enumerate(self.types, 1)

    def _projected(self, expressions: Iterable[str]) -> "DuckDBPyRelation":
        # by number: two columns of a query may have the same name
        names = ['"' + name.replace('"', '""') + '"' for name in self.columns]
        return self.relation.project(
            ", ".join(f"{expression} AS {name}" for expression, name in zip(expressions, names, strict=True))
        )


def _is_plain(kind: str) -> bool:
    return is_numeric(kind) or kind in {"BOOLEAN", "VARCHAR"}


def _is_nested(kind: str) -> bool:
    return kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION", "JSON"))


def _as_text(number: int) -> str:
    return f"CAST(#{number} AS VARCHAR)"


def ask(store: "Store", sql: str, form: str, path: str | None = None, most: int = TABLE_ROWS) -> None:
    """Run a user's query and write its result. Raises UnmuxError when it fails, UsageError when there is none, or several."""
    import duckdb

    with duckdb_errors():
        queries = [
            each
            for each in duckdb.extract_statements(sql)
            if duckdb.ExpectedResultType.QUERY_RESULT in each.expected_result_type[:1]
        ]
        if len(queries) > 1:
            raise UsageError(f"required one query, found {len(queries)}; `unmux shell SOURCE` answers several")
        relation: DuckDBPyRelation | None = interruptibly(store, lambda: store.sql(sql))
        if relation is None:
            raise UsageError("there is no statement")
        write(Result(store, relation), form, path, most)


def listing(columns: Sequence[str], rows: Iterable[Sequence[str | int | None]]) -> Result:
    """Rows that no store holds, as the result of a query; at least one."""
    import duckdb

    values = [list(row) for row in rows]
    places = ", ".join(["(" + ", ".join("?" * len(columns)) + ")"] * len(values))
    names = ", ".join(f'"{name}"' for name in columns)
    connection = duckdb.connect(config={"threads": 1})
    relation = connection.sql(
        f"FROM (VALUES {places}) listed({names})", params=[cell for row in values for cell in row]
    )  # the callers' own names
    return Result(connection, relation)


def write(result: Result, form: str, path: str | None = None, most: int = TABLE_ROWS) -> None:
    """Write a result to ``path``, or to standard output; a table has at most ``most`` rows, and says so.

    Raises UnmuxError when the query fails or the file cannot be written.
    """
    with duckdb_errors():
        if form == "parquet":
            assert path is not None
            with written(path) as partial:
                interruptibly(result.store, lambda: result.relation.write_parquet(str(partial), compression="zstd"))
        elif path is None:
            _WRITERS[form](result, sys.stdout, most)
        else:
            with written(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
                _WRITERS[form](result, file, most)


@contextmanager
def written(path: str) -> Iterator[Path]:
    """A file that takes its name when it is whole; UnmuxError when it cannot be written."""
    target = Path(path)
    try:
        if target.exists() and not target.is_file():  # a device or pipe
            yield target
            return
        partial = target.with_name(f".unmux-{secrets.token_hex(8)}.partial")  # nobody else has a file of that name
        try:
            yield partial
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UnmuxError(f"{path}: {error.strerror or error}") from None


def opened(path: Path, *, is_secret: bool) -> BinaryIO:
    """A file to write; one with secrets nobody but its owner may read."""
    mode = 0o600 if is_secret else 0o666
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode))  # the caller closes it


def write_sections(sections: Iterable[tuple[str, Result]], form: str, path: str | None) -> None:
    """Write several results, each under a heading: as one JSON object, one Markdown page, JSON lines that name their section.

    CSV has a line ``# heading`` and an empty line between them; Parquet a file per section: out.parquet becomes
    out-protocols.parquet.
    """
    with duckdb_errors():
        if form == "parquet":
            assert path is not None
            for heading, result in sections:
                write(result, form, str(section_file(path, heading)))
                print(f"unmux: wrote {section_file(path, heading)}", file=sys.stderr)
        elif path is None:
            _write_sections(sections, form, sys.stdout)
        else:
            with written(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
                _write_sections(sections, form, file)


def write_page(store: "Store", report: "Report", path: str) -> None:
    """Write a report as it is printed to a file."""
    from rich.console import Console

    from analyzer.reports import render

    with duckdb_errors(), written(path) as partial, partial.open("w", encoding="utf-8") as file:
        render.report(store, report, Console(file=file, width=FILE_WIDTH, highlight=False))


def section_file(path: str, heading: str) -> Path:
    """The Parquet file of a report's section: the first words of its heading are in the name."""
    slug = "-".join(re.findall(r"\w+", re.split("[:,]", heading.lower())[0]))
    return Path(path).with_stem(f"{Path(path).stem}-{slug}")


def _write_sections(sections: Iterable[tuple[str, Result]], form: str, file: TextIO) -> None:
    if form == "json":
        found = {heading: list(_objects(result)) for heading, result in sections}
        file.write(json.dumps(found, indent=1) + "\n")
        return
    for place, (heading, result) in enumerate(sections):
        if form == "jsonl":
            for row in _objects(result):
                file.write(json.dumps({"section": heading, **row}) + "\n")
            continue
        file.write(("\n" if place else "") + ("## " if form == "markdown" else "# ") + heading + "\n")
        file.write("\n" if form == "markdown" else "")
        _WRITERS[form](result, file, TABLE_ROWS)


def _write_table(result: Result, file: TextIO, most: int) -> None:
    from rich.console import Console

    from analyzer.commands import source
    from analyzer.reports import render

    where = source.console() if file is sys.stdout else Console(file=file, width=FILE_WIDTH, highlight=False)
    if result.columns == ["explain_key", "explain_value"]:  # a drawing
        for _, drawing in result.rows(result.relation):
            file.write(escape_for_terminal(str(drawing), lines=True))
        return
    rows = list(result.rows(result.exact().limit(most + 1)))
    shown = rows[:most]
    render.print_lines(where, render.lines(render.exact_columns(result.columns, shown, result.types), len(shown), where.width))
    count = f"{len(shown):,} row{'' if len(shown) == 1 else 's'}"
    if len(rows) > most:
        count = f"the first {count}; LIMIT and OFFSET, or another --format, show more"
    where.print(f"({count})", style="dim", soft_wrap=True)


def _safe(file: TextIO, text: str) -> str:
    """Text as it is for a file or pipe; on a terminal its control characters are made visible."""
    return escape_for_terminal(text) if file.isatty() else text


def _write_csv(result: Result, file: TextIO, _most: int) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_safe(file, name) for name in result.columns])
    for row in result.rows(result.exact()):
        writer.writerow(["" if value is None else _safe(file, _plain(value)) for value in row])


def _plain(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _write_markdown(result: Result, file: TextIO, _most: int) -> None:
    rule = ["---:" if is_numeric(kind) else "---" for kind in result.types]
    file.write(f"| {' | '.join(map(_cell, result.columns))} |\n| {' | '.join(rule)} |\n")
    for row in result.rows(result.exact()):
        file.write(f"| {' | '.join(map(_cell, row))} |\n")


def _cell(value: object) -> str:
    """A value in a Markdown table, with a backslash before what Markdown would take for itself."""
    return "" if value is None else _MARKDOWN.sub(r"\\\g<0>", escape_for_terminal(_plain(value)))


def _write_json(result: Result, file: TextIO, _most: int) -> None:
    separator = "[\n"
    for row in _objects(result):
        file.write(separator + json.dumps(row))
        separator = ",\n"
    file.write("[]\n" if separator == "[\n" else "\n]\n")


def _write_json_lines(result: Result, file: TextIO, _most: int) -> None:
    for row in _objects(result):
        file.write(json.dumps(row) + "\n")  # ASCII only, which escapes every control character


def _objects(result: Result) -> Iterator[dict[str, object]]:
    """The rows as JSON has them: lists and structs as such, times as text, no NaN and no infinity."""
    names: list[str] = []
    for name in result.columns:
        again = sum(name == other for other in result.columns[: len(names)])
        names.append(f"{name}_{again}" if again else name)
    readers = [_nested_value if _is_nested(kind) else _json_value for kind in result.types]
    for row in result.rows(result.for_json()):
        yield {name: read(value) for name, read, value in zip(names, readers, row, strict=True)}


def _json_value(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return float(value) if isinstance(value, Decimal) else value


def _nested_value(value: object) -> object:
    return None if value is None else json.loads(str(value), parse_constant=lambda _: None)


_WRITERS: dict[str, Callable[[Result, TextIO, int], None]] = {
    "table": _write_table,
    "csv": _write_csv,
    "json": _write_json,
    "jsonl": _write_json_lines,
    "markdown": _write_markdown,
}
