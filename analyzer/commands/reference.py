"""What the tables and protocols are, told from their declarations."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence

from analyzer import protocols as known_protocols
from analyzer import reports as known_reports
from analyzer.commands import output, source
from analyzer.errors import UsageError
from analyzer.schema import Table, table_of
from analyzer.store import Store, definitions

_NARROWEST = 16  # of a wrapped column
_PREFACE = """\
# Tables

Generated from the declarations by `unmux tables --format markdown`; do not edit.

*Stability* says what loss, reordering or duplication of packets may do to a column: *conversation* columns stay equal or
become NULL, *time* columns too or are flagged, *capture* columns are free to differ. A value that is not known is NULL.
Names of fields are as they were sent: in HTTP/1 any mixture of capital and small letters, in HTTP/2 small ones. Compare them
in small letters: `FROM http_fields WHERE lower(name) = 'content-type'`.
Times are UTC, in nanoseconds; `*_ns` are nanoseconds, `*_bytes` bytes; packets are frame numbers as Wireshark counts.
"""


def all_tables() -> list[Table]:
    """Every table: those each store has, then those of the protocols."""
    return list(
        definitions.declared_tables(
            [record for dissector in known_protocols.dissectors() for record in dissector.records]
        ).values()
    )


def tables(name: str | None, form: str, path: str | None) -> None:
    """Print all tables and views, or one with its columns; as Markdown, tables with all columns. UsageError for an unknown name."""
    found = {table.name: table for table in all_tables()}
    told = views(found)
    if name is not None and name not in found and name not in told:
        raise UsageError(f"no table is called {name!r}; `unmux tables` lists them")
    is_for_people = form == "table" and path is None
    if form == "markdown" and path is None and name not in told:
        print(markdown(list(found.values()) if name is None else [found[name]]), end="")
    elif name is None and is_for_people:
        _print([("table", "one row per"), *((table.name, table.row) for table in found.values())])
        print()
        _print([("view", "one row per"), *told.items()])
    elif name is None:
        rows = [(table.name, "table", table.row) for table in found.values()]
        _show(("name", "kind", "one row per"), rows + [(view, "view", row) for view, row in told.items()], form, path)
    elif name in told:
        if is_for_people:
            source.console().print(f"{name}: a view, one row per {told[name]}\n")
        _show(("column", "type"), _view_columns(name), form, path)
    elif is_for_people:
        source.console().print(f"{name}: one row per {found[name].row}\n")
        _print([("column", "type", "meaning"), *((column.name, column.sql_type, column.doc) for column in found[name].columns)])
    else:
        columns = [(column.name, column.sql_type, column.stability.value, column.doc) for column in found[name].columns]
        _show(("column", "type", "stability", "meaning"), columns, form, path)


def views(found: Mapping[str, Table]) -> dict[str, str]:
    """What a row of each view is: the generated ones say it here, the others in the second line of their file."""
    told = {"exchanges": "request/response of any protocol", "messages": "message of any protocol that has messages"}
    return {name: told.get(name) or sql.split("\n")[1].removeprefix("-- ") for name, sql in definitions.views(found).items()}


def _view_columns(name: str) -> list[tuple[str, str]]:
    """Names and types of a view's columns, as a store has them."""
    with Store(records=[record for dissector in known_protocols.dissectors() for record in dissector.records]) as store:
        relation = store.sql(f"FROM {definitions.identifier(name)}")
        return [(column, str(kind)) for column, kind in zip(relation.columns, relation.types, strict=True)]


def _show(names: tuple[str, ...], rows: Sequence[tuple[str, ...]], form: str, path: str | None) -> None:
    """Print a list, or write it in the format that was asked for."""
    if form == "table" and path is None:
        _print([names, *rows])
    else:
        output.write(output.listing([name.replace(" ", "_") for name in names], rows), form, path)


def _print(rows: Sequence[tuple[str, ...]]) -> None:
    """Columns under the headings in the first row, wrapped where the terminal is narrow."""
    where = source.console()
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > where.width and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    for number, row in enumerate(rows):
        cells = [textwrap.wrap(cell, width, break_long_words=False) for cell, width in zip(row, widths, strict=True)]
        for parts in itertools.zip_longest(*cells, fillvalue=""):
            line = "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()
            where.print(line, style="bold" if number == 0 else "", soft_wrap=True)


def markdown(found: list[Table]) -> str:
    """The table reference of the documentation."""
    parts = [_PREFACE]
    for table in found:
        key = f" Key: {', '.join(f'`{name}`' for name in table.key)}." if table.key else ""
        parts.append(
            f"\n## {table.name}\n\nOne row per {table.row}.{key}\n\n| column | type | stability | meaning |\n| --- | --- | --- | --- |\n"
        )
        for column in table.columns:
            parts.append(
                f"| `{column.name}` | {column.sql_type} | {column.stability.value} | {column.doc.replace('|', chr(92) + '|')} |\n"
            )
    return "".join(parts)


def protocols(form: str, path: str | None) -> None:
    """Print the dissectors with the ports where they are usual, and their tables."""
    rows = [
        (
            dissector.name,
            ", ".join(dissector.transports),
            ", ".join(map(str, dissector.ports)) or "-",
            ", ".join(dict.fromkeys(table_of(record).name for record in dissector.records)),
        )
        for dissector in known_protocols.dissectors()
    ]
    _show(("protocol", "over", "usual ports", "tables"), rows, form, path)
    if form == "table" and path is None:
        source.console().print(
            "\nA protocol is known by its bytes, on any port; -d tcp.port==PORT,PROTOCOL takes a port for one.", style="dim"
        )


def reports(form: str, path: str | None) -> None:
    """Print the names of the reports and what they answer."""
    _show(("report", "tells"), [(name, known_reports.load(name).about) for name in known_reports.names()], form, path)
