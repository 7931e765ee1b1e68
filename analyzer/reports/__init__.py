"""7. Answers: one .sql file per question, rendered by one renderer.

A report file begins with comment lines ``-- title: …`` and ``-- about: …``; each of its queries follows a line
``-- section: heading`` and may be followed by ``-- optional: column, column`` (left out first when the terminal is
narrow), ``-- flexible: column`` (shortened when it is narrow) and ``-- empty: text`` (said when there is no row; without
it an empty section is left out).
"""

import re
from dataclasses import dataclass, field
from importlib.resources import files

from analyzer.errors import UsageError

_DIRECTIVE = re.compile(r"--\s*(title|about|section|optional|flexible|empty):\s*(.*)")


@dataclass
class Section:
    """One query of a report."""

    heading: str
    sql: str = ""
    optional: list[str] = field(default_factory=list)
    flexible: list[str] = field(default_factory=list)
    empty: str | None = None


@dataclass
class Report:
    """A question and the queries that answer it."""

    name: str
    title: str
    about: str
    sections: list[Section]


def names() -> list[str]:
    """The names of all reports, sorted."""
    return sorted(entry.name.removesuffix(".sql") for entry in files(__name__).iterdir() if entry.name.endswith(".sql"))


def load(name: str) -> Report:
    """The report called ``name``. UsageError when there is none."""
    if name not in names():
        raise UsageError(f"no report is called {name!r}; there are: {', '.join(names())}")
    return parse(name, files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8"))


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
        elif word == "empty":
            report.sections[-1].empty = value
        else:
            getattr(report.sections[-1], word).extend(column.strip() for column in value.split(","))
    return report
