"""7. Answers: one .sql file per question, rendered by one renderer.

A report file begins with comment lines ``-- title: …`` and ``-- about: …``; each of its queries follows a line
``-- section: heading`` and may be followed by

- ``-- optional: column, column``: left out in this order when the terminal is narrow;
- ``-- flexible: column``: texts, shortened when it is narrow; every other column is shown whole or not at all;
- ``-- wrapped: column``: texts that go on in further lines instead;
- ``-- untitled: column``: leading columns that need no heading of their own: the section's stands there;
- ``-- empty: text``: said when there is no row; without it an empty section is left out.

The name of a column says how its values are shown: ``*_ns`` is a duration, ``*_bytes`` a size, ``*_at`` a time,
``*_share`` a share of 1, ``*_over_time`` a list of levels, ``*_bar`` phases on a time axis; ``connection`` holds connection_ids, which are shown as
``place()`` writes them; ``capture``, ``packet``, ``status`` and the like are numbers that are not counted. A column that is NULL in every row is left out. A column ``of_rows`` is not shown: it
says how many rows there were before the LIMIT, and that the section may be shortened to fit a low terminal. A query
whose only column is ``line`` writes its own sentences. A query after a line ``-- table: name`` is kept as a temporary
table for the sections that follow. Queries may ask for variables, ``getvariable('connection')`` being the connection_id of the
one connection that is wanted, or NULL.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING

from analyzer.errors import UsageError

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

    from analyzer.store import Store

OF_ROWS = "of_rows"
LINE = "line"
VARIABLES = ("connection", "most_connections", "most_units")  # a connection_id, and how much is shown
_DIRECTIVE = re.compile(r"--\s*(title|about|table|section|optional|flexible|wrapped|untitled|empty):\s*(.*)")


@dataclass
class Section:
    """One query of a report; one with a ``table`` is not shown, but kept under that name for those that follow."""

    heading: str
    table: str | None = None
    sql: str = ""
    optional: list[str] = field(default_factory=list)
    flexible: list[str] = field(default_factory=list)
    wrapped: list[str] = field(default_factory=list)
    untitled: list[str] = field(default_factory=list)
    empty: str | None = None


@dataclass
class Report:
    """A question and the queries that answer it."""

    name: str
    title: str
    about: str
    sections: list[Section]
    variables: dict[str, int | None] = field(default_factory=dict)  # what getvariable() gives its queries

    def takes(self, variable: str) -> bool:
        """Whether a query of it asks for a variable."""
        return any(f"getvariable('{variable}')" in part.sql for part in self.sections)

    def shown(self) -> list[Section]:
        """The sections that are shown, not kept as tables for those that follow."""
        return [part for part in self.sections if part.table is None]


def names() -> list[str]:
    """The names of all reports, sorted."""
    return sorted(entry.name.removesuffix(".sql") for entry in files(__name__).iterdir() if entry.name.endswith(".sql"))


def load(name: str) -> Report:
    """The report called ``name``. UsageError when there is none."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1, 0.5)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"no report is called {name!r}; {meant}there are: {', '.join(names())}")
    return parse(name, files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8"))


def prepare(store: "Store", report: Report) -> None:
    """Make the tables of a report, for whoever shows them in a way of its own."""
    _set_variables(store, report)
    for section in report.sections:
        if section.table is not None:
            _make(store, section)


def _set_variables(store: "Store", report: Report) -> None:
    for variable in VARIABLES:
        value = report.variables.get(variable)
        store.sql(f"SET VARIABLE {variable} = {'NULL' if value is None else value}")


def _make(store: "Store", section: Section) -> None:
    store.sql(f"CREATE OR REPLACE TEMP TABLE {section.table} AS {section.sql}")  # a report's own text


def answers(store: "Store", report: Report) -> "Iterator[tuple[Section, DuckDBPyRelation]]":
    """Run a report: each section that is shown, with its rows to be fetched before the next; all are of one moment."""
    with store.at_one_moment():
        _set_variables(store, report)
        for section in report.sections:
            if section.table is None:
                yield section, store.sql(section.sql)
            else:
                _make(store, section)


def plain(relation: "DuckDBPyRelation") -> "DuckDBPyRelation":
    """A section's rows without what is meant for the renderer."""
    return relation.project(f"* EXCLUDE ({OF_ROWS})") if OF_ROWS in relation.columns else relation


def parse(name: str, text: str) -> Report:
    """Read a report file's text."""
    report = Report(name, name, "", [])
    for line in text.splitlines():
        directive = _DIRECTIVE.match(line)
        if directive is None:
            if report.sections:
                report.sections[-1].sql += line + "\n"
            continue
        word, value = directive.groups()
        if word == "title":
            report.title = value
        elif word == "about":
            report.about = value
        elif word == "section":
            report.sections.append(Section(value))
        elif word == "table":
            report.sections.append(Section("", value))
        elif word == "empty":
            report.sections[-1].empty = value
        else:
            getattr(report.sections[-1], word).extend(column.strip() for column in value.split(","))
    return report
