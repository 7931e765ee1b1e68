"""What the tables and protocols are, told from their declarations."""

from analyzer import protocols as known_protocols
from analyzer.commands import source
from analyzer.errors import UsageError
from analyzer.schema import Table, table_of
from analyzer.store.definitions import declared_tables

_PREFACE = """\
# Tables

Generated from the declarations by `unmux tables --format markdown`; do not edit.

*Stability* says what loss, reordering or duplication of packets may do to a column: *conversation* columns stay equal or
become NULL, *time* columns too or are flagged, *capture* columns are free to differ. A value that is not known is NULL.
Times are UTC, in nanoseconds; `*_ns` are nanoseconds, `*_bytes` bytes; packets are frame numbers as Wireshark counts.
"""


def all_tables() -> list[Table]:
    """Every table: those each store has, then those of the protocols."""
    return list(declared_tables([record for dissector in known_protocols.dissectors() for record in dissector.records]).values())


def tables(name: str | None, form: str) -> None:
    """Print all tables, or one with its columns. UsageError for an unknown name or format."""
    found = all_tables()
    if name is not None:
        found = [table for table in found if table.name == name]
        if not found:
            raise UsageError(f"no table is called {name!r}; `unmux tables` lists them")
    if form == "markdown":
        print(markdown(found), end="")
    elif form != "table":
        raise UsageError(f"--format takes table or markdown, not {form!r}")
    elif name is None:
        for table in found:
            print(f"{table.name:20} one row per {table.row}")
    else:
        _print_columns(found[0])


def _print_columns(table: Table) -> None:
    from analyzer.reports import render

    where = source.console()
    where.print(f"{table.name}: one row per {table.row}\n")
    rows = [(column.name, column.sql_type, column.stability.value, column.doc) for column in table.columns]
    where.print(
        render.table(["column", "type", "stability", "meaning"], rows, where.width, flexible=["meaning"], optional=["stability"])
    )


def markdown(found: list[Table]) -> str:
    """The table reference of the documentation."""
    parts = [_PREFACE]
    for table in found:
        parts.append(
            f"\n## {table.name}\n\nOne row per {table.row}.\n\n| column | type | stability | meaning |\n| --- | --- | --- | --- |\n"
        )
        for column in table.columns:
            parts.append(
                f"| `{column.name}` | {column.sql_type} | {column.stability.value} | {column.doc.replace('|', chr(92) + '|')} |\n"
            )
    return "".join(parts)


def protocols() -> None:
    """Print the dissectors with their ports and tables."""
    from analyzer.reports import render

    rows = [
        (
            dissector.name,
            ", ".join(dissector.transports),
            ", ".join(map(str, dissector.ports)) or "any",
            ", ".join(table_of(record).name for record in dissector.records),
        )
        for dissector in known_protocols.dissectors()
    ]
    where = source.console()
    where.print(render.table(["protocol", "over", "usual ports", "tables"], rows, where.width, flexible=["tables"]))
