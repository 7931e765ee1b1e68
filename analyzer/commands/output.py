"""Results in every format: tables for people, CSV, JSON, Markdown and Parquet for programs and files."""

import csv
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from analyzer.errors import UnmuxError, UsageError
from analyzer.reports.values import is_numeric
from analyzer.text import escape_for_terminal

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

    from analyzer.reports import Report
    from analyzer.store import Store

FORMATS = ("table", "csv", "json", "jsonl", "markdown", "parquet")
TABLE_ROWS = 10_000  # a table is laid out whole, in memory; other formats are written row by row
FILE_WIDTH = 160  # of a table in a file
_SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".md": "markdown", ".parquet": "parquet"}
_NESTED = ("STRUCT", "MAP", "UNION", "JSON")

Row = Sequence[object]


def checked_format(form: str | None, path: str | None, sources: Iterable[str] = ()) -> str:
    """The format to write: ``form``, else that of the file's suffix, else a table.

    Raises UsageError for an unknown format, for Parquet without a file, and for a file that is one of the ``sources``.
    """
    if form is None:
        form = "table" if path is None else _SUFFIXES.get(Path(path).suffix.lower(), "table")
    if form not in FORMATS:
        raise UsageError(f"--format takes one of {', '.join(FORMATS)}, not {form!r}")
    if path is None:
        if form == "parquet":
            raise UsageError("--format parquet needs -o FILE")
        return form
    if Path(path).is_dir() or not Path(path).name:
        raise UsageError(f"-o {path}: is a folder; name a file in it")
    if not Path(path).parent.is_dir():
        raise UsageError(f"-o {path}: there is no folder {Path(path).parent}")
    if any(Path(path).exists() and Path(source).exists() and Path(path).samefile(source) for source in sources):
        raise UsageError(f"-o {path}: is what is read; name another file")
    if Path(path).suffix.lower() in {".duckdb", ".db"}:
        raise UsageError(f"-o {path}: results are not written as a database; `unmux analyze CAPTURE -o FILE.duckdb` makes one")
    return form


@contextmanager
def duckdb_errors() -> Iterator[None]:
    """Turn DuckDB's errors into UnmuxError: its message, made safe, with the place it points at."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        told = [line.rstrip() for line in escape_for_terminal(str(error), lines=True).splitlines() if line.strip()]
        raise UnmuxError("\n".join(told[:8])) from None


def write(relation: "DuckDBPyRelation", form: str, path: str | None, most: int = TABLE_ROWS) -> None:
    """Write a query's result to ``path``, or to standard output; a table has at most ``most`` rows, and says so.

    Raises UnmuxError when the query fails or the file cannot be written.
    """
    with duckdb_errors():
        if form == "parquet":
            assert path is not None
            with _written(path) as partial:
                relation.write_parquet(str(partial), compression="zstd")
        elif path is None:
            _WRITERS[form](relation, sys.stdout, most)
        else:
            with _written(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
                _WRITERS[form](relation, file, most)


@contextmanager
def _written(path: str) -> Iterator[Path]:
    """A file that takes its name when it is whole; UnmuxError when it cannot be written."""
    target = Path(path)
    try:
        if target.exists() and not target.is_file():  # a device or pipe
            yield target
            return
        partial = target.with_name(target.name + ".partial")
        try:
            yield partial
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UnmuxError(f"{path}: {error.strerror or error}") from None


def write_sections(sections: "Iterable[tuple[str, DuckDBPyRelation]]", form: str, path: str | None) -> None:
    """Write several results, each under a heading: as one JSON object, one Markdown page, JSON lines that name their section.

    CSV has a line ``# heading`` and an empty line between them; Parquet a file per section: out.parquet becomes
    out-protocols.parquet.
    """
    with duckdb_errors():
        if form == "parquet":
            assert path is not None
            for heading, relation in sections:
                write(relation, form, str(Path(path).with_stem(f"{Path(path).stem}-{_slug(heading)}")))
        elif path is None:
            _write_sections(sections, form, sys.stdout)
        else:
            with _written(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
                _write_sections(sections, form, file)


def write_page(store: "Store", report: "Report", path: str) -> None:
    """Write a report as it is printed to a file."""
    from rich.console import Console

    from analyzer.reports import render

    with duckdb_errors(), _written(path) as partial, partial.open("w", encoding="utf-8") as file:
        render.report(store, report, Console(file=file, width=FILE_WIDTH, highlight=False))


def _slug(heading: str) -> str:
    kept = "".join(character if character.isalnum() else " " for character in heading.partition(":")[0].lower())
    return "-".join(kept.split())


def _write_sections(sections: "Iterable[tuple[str, DuckDBPyRelation]]", form: str, file: TextIO) -> None:
    if form == "json":
        found = {heading: list(_objects(relation)) for heading, relation in sections}
        file.write(json.dumps(found, indent=1) + "\n")
        return
    for place, (heading, relation) in enumerate(sections):
        if form == "jsonl":
            for row in _objects(relation):
                file.write(json.dumps({"section": heading, **row}) + "\n")
            continue
        file.write(("\n" if place else "") + ("## " if form == "markdown" else "# ") + heading + "\n")
        file.write("\n" if form == "markdown" else "")
        _WRITERS[form](relation, file, TABLE_ROWS)


def exact(relation: "DuckDBPyRelation") -> "DuckDBPyRelation":
    """The relation with everything but numbers and truth values as text: Python's datetimes lack nanoseconds."""
    chosen = []
    for number, kind in enumerate(map(str, relation.types), 1):
        plain = is_numeric(kind) or kind in {"BOOLEAN", "VARCHAR"}
        chosen.append(_column(relation, number, f"#{number}" if plain else f"CAST(#{number} AS VARCHAR)"))
    return relation.project(", ".join(chosen))


def _column(relation: "DuckDBPyRelation", number: int, expression: str) -> str:
    """An expression over a column by its number, under its name; two columns of a query may have the same name."""
    name = relation.columns[number - 1].replace('"', '""')
    return f'{expression} AS "{name}"'


def _write_table(relation: "DuckDBPyRelation", file: TextIO, most: int) -> None:
    from rich.console import Console

    from analyzer.commands import source
    from analyzer.reports import render

    where = source.console() if file is sys.stdout else Console(file=file, width=FILE_WIDTH, highlight=False)
    names = relation.columns
    if names == ["explain_key", "explain_value"]:  # a drawing
        for _, drawing in relation.fetchall():
            print(escape_for_terminal(drawing, lines=True), file=file)
        return
    rows = exact(relation).limit(most + 1).fetchall()
    shown = rows[:most]
    columns = render.exact_columns(names, shown, relation.types)
    render.print_lines(where, render.lines(columns, len(shown), where.width))
    count = f"{len(shown):,} row{'' if len(shown) == 1 else 's'}"
    more = "the first " if len(rows) > most else ""
    hint = "; there are more, which LIMIT, or a format such as csv, can show" if more else ""
    where.print(f"({more}{count}{hint})", style="dim", soft_wrap=True)


def _safe(file: TextIO, text: str) -> str:
    """Text as it is for a file or pipe; on a terminal its control characters are made visible."""
    return escape_for_terminal(text) if file.isatty() else text


def _write_csv(relation: "DuckDBPyRelation", file: TextIO, _most: int) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([_safe(file, name) for name in relation.columns])
    for row in exact(relation).iter_rows():
        writer.writerow(["" if value is None else _safe(file, _plain(value)) for value in row])


def _plain(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _write_markdown(relation: "DuckDBPyRelation", file: TextIO, _most: int) -> None:
    rule = ["---:" if is_numeric(kind) else "---" for kind in relation.types]
    file.write(f"| {' | '.join(map(_cell, relation.columns))} |\n| {' | '.join(rule)} |\n")
    for row in exact(relation).iter_rows():
        file.write(f"| {' | '.join(map(_cell, row))} |\n")


def _cell(value: object) -> str:
    if value is None:
        return ""
    shown = escape_for_terminal(_plain(value))
    for character in "\\`*[]<|":  # what Markdown would take for itself
        shown = shown.replace(character, f"\\{character}") if isinstance(value, str) else shown
    return shown


def _write_json(relation: "DuckDBPyRelation", file: TextIO, _most: int) -> None:
    separator = "[\n"
    for row in _objects(relation):
        file.write(separator + json.dumps(row))
        separator = ",\n"
    file.write("[]\n" if separator == "[\n" else "\n]\n")


def _write_json_lines(relation: "DuckDBPyRelation", file: TextIO, _most: int) -> None:
    for row in _objects(relation):
        file.write(json.dumps(row) + "\n")  # ASCII only, which escapes every control character


def _objects(relation: "DuckDBPyRelation") -> Iterator[dict[str, object]]:
    """The rows as JSON has them: lists and structs as such, times as text, no NaN and no infinity."""
    chosen = []
    readers: list[Callable[[object], object]] = []
    for number, kind in enumerate(map(str, relation.types), 1):
        is_nested = kind.endswith("]") or kind.startswith(_NESTED)
        readers.append(_nested_value if is_nested else _json_value)
        expression = f"CAST(#{number} AS VARCHAR)"
        if is_nested:
            expression = f"CAST(to_json(#{number}) AS VARCHAR)"
        elif is_numeric(kind) or kind == "BOOLEAN":
            expression = f"#{number}"
        chosen.append(_column(relation, number, expression))
    names: list[str] = []
    for name in relation.columns:
        again = sum(name == other for other in relation.columns[: len(names)])
        names.append(f"{name}_{again}" if again else name)
    for row in relation.project(", ".join(chosen)).iter_rows():
        yield {name: read(value) for name, read, value in zip(names, readers, row, strict=True)}


def _json_value(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return float(value) if isinstance(value, Decimal) else value


def _nested_value(value: object) -> object:
    return None if value is None else json.loads(str(value), parse_constant=lambda _: None)


_WRITERS: dict[str, Callable[["DuckDBPyRelation", TextIO, int], None]] = {
    "table": _write_table,
    "csv": _write_csv,
    "json": _write_json,
    "jsonl": _write_json_lines,
    "markdown": _write_markdown,
}
