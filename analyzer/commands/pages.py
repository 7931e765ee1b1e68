"""Reports as pages for a browser."""

from pathlib import Path
from typing import TYPE_CHECKING

from analyzer.commands import output, source
from analyzer.errors import UnmuxError, UsageError

if TYPE_CHECKING:
    from analyzer.reports import Report
    from analyzer.store import Store

REPORT = "waterfall"  # the one that is a page


def check(chosen: "Report", path: str, sources: list[str], other: str | None, *, force: bool) -> None:
    """Raise UsageError or UnmuxError unless the report can be written to ``path`` as a page."""
    if chosen.name != REPORT:
        raise UsageError(f"--html: only the report {REPORT} is a page for a browser, not {chosen.name}")
    if other is not None:
        raise UsageError("--html is a format of its own, without -o and --format")
    output.check_place("--html", path, sources)
    if Path(path).is_file() and not force:
        raise UnmuxError(f"--html {path}: exists already; --force replaces it")


def write(store: "Store", chosen: "Report", path: str) -> None:
    """Write the page. UnmuxError where it cannot be written, or has nothing to show."""
    from analyzer.reports import html

    with output.duckdb_errors(), store.at_one_moment():
        shown = html.data(store, chosen)
    if not shown["connections"]:
        raise UnmuxError("there is no exchange to show; `unmux tree` lists connections")
    with output.written(path) as partial:
        partial.write_text(html.page(shown), encoding="utf-8")
    source.remark(f"wrote {path}: a page for a browser, which needs nothing else")
