"""Query results in every format: for people, for programs, for files."""

import csv
import json
import sys
from pathlib import Path
from typing import Any, TextIO

from analyzer.errors import UnmuxError, UsageError

FORMATS = ("table", "csv", "json", "jsonl", "markdown", "parquet")


def write(relation: Any, form: str, path: str | None) -> None:
    """Write a DuckDB relation to ``path``, or to standard output. A suffix such as .csv decides when ``form`` is table.

    Raises UsageError for an unknown format, UnmuxError when the file cannot be written.
    """
    if form == "table" and path is not None and Path(path).suffix.lstrip(".") in FORMATS:
        form = Path(path).suffix.lstrip(".")
    if form not in FORMATS:
        raise UsageError(f"--format takes one of {', '.join(FORMATS)}, not {form!r}")
    if form == "parquet":
        if path is None:
            raise UsageError("--format parquet needs -o FILE")
        relation.write_parquet(path)
        return
    if path is None:
        _write_text(relation, form, sys.stdout)
        return
    try:
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            _write_text(relation, form, file)
    except OSError as error:
        raise UnmuxError(f"{path}: {error.strerror}") from None


def _write_text(relation: Any, form: str, file: TextIO) -> None:
    columns = relation.columns
    if form == "table":
        from rich.console import Console

        from analyzer.commands import source
        from analyzer.reports import render

        where = source.console() if file is sys.stdout else Console(file=file, width=240, highlight=False)
        rows = relation.fetchall()
        where.print(render.table(columns, rows, where.width, flexible=columns))
        where.print(f"{len(rows):,} row{'' if len(rows) == 1 else 's'}", style="dim")
        return
    rows = _exact(relation)
    if form == "csv":
        _write_csv(columns, rows, file)
    elif form == "markdown":
        _write_markdown(columns, rows, file)
    else:
        _write_json(columns, rows, file, is_array=form == "json")


def _exact(relation: Any) -> Any:
    """The relation with times as text, since Python's datetimes lack nanoseconds."""
    chosen = []
    for name, kind in zip(relation.columns, relation.types, strict=True):
        quoted = '"' + name.replace('"', '""') + '"'
        plain = str(kind) in {
            "BIGINT",
            "INTEGER",
            "SMALLINT",
            "TINYINT",
            "HUGEINT",
            "UBIGINT",
            "UINTEGER",
            "DOUBLE",
            "FLOAT",
            "BOOLEAN",
            "VARCHAR",
        }
        chosen.append(quoted if plain or str(kind).endswith("[]") else f"CAST({quoted} AS VARCHAR) AS {quoted}")
    return relation.project(", ".join(chosen))


def _safe(file: TextIO, text: str) -> str:
    """Text as it is for a file or pipe; on a terminal its control characters are made visible."""
    if not file.isatty():
        return text
    from analyzer.text import escape_for_terminal

    return escape_for_terminal(text)


def _write_csv(columns: list[str], relation: Any, file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in relation.iter_rows():
        writer.writerow(["" if value is None else _safe(file, _plain(value)) for value in row])


def _plain(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _write_markdown(columns: list[str], relation: Any, file: TextIO) -> None:
    from analyzer.text import escape_for_terminal

    file.write("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns) + "\n")
    for row in relation.iter_rows():
        cells = [
            "" if value is None else escape_for_terminal(_plain(value)).replace("|", "\\|").replace("<", "&lt;") for value in row
        ]
        file.write("| " + " | ".join(cells) + " |\n")


def _write_json(columns: list[str], relation: Any, file: TextIO, *, is_array: bool) -> None:
    first = True
    file.write("[\n" if is_array else "")
    for row in relation.iter_rows():
        if is_array and not first:
            file.write(",\n")
        first = False
        # ASCII only: escapes every control character, and is valid everywhere
        file.write(json.dumps(dict(zip(columns, row, strict=True)), default=str) + ("" if is_array else "\n"))
    file.write("\n]\n" if is_array else "")
