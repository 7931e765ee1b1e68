"""The tables and views of a store in DuckDB's SQL, all of it derived from the declarations and ``views/*.sql``.

Nothing that a capture holds ever becomes part of a statement: names come from declarations, values are parameters.
"""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import duckdb

from analyzer import records as core
from analyzer.errors import UnmuxError
from analyzer.schema import EXCHANGE_COLUMNS, MESSAGE_COLUMNS, Column, Table, table_of
from analyzer.text import CAPTURE_BITS

# connections and streams as people name them, in text.place and in SQL: place(connection_id), place(connection_id, stream_index)
_FRAMES: Final = 1 << CAPTURE_BITS
_PLACE: Final = f"if(c >= {_FRAMES}, c // {_FRAMES} || '/', '') || c % {_FRAMES}"
MACROS: Final = {
    "place": f"(c) AS {_PLACE}, (c, s) AS {_PLACE} || ':' || s, (c, s, e) AS {_PLACE} || ':' || s || coalesce('.' || e, '')",
    # an exchange of the view exchanges as people name it, also where its request cannot be read
    "exchange_name": """(o, t, e) AS coalesce(nullif(concat_ws(' ', o, t), ''),
        CASE e WHEN 'no request' THEN '(request not captured)' WHEN 'unmatched' THEN '(request not matched)'
        ELSE '(request not readable)' END)""",
}

_VIEWS: Final = Path(__file__).parent.parent / "views"  # importlib.resources takes longer to import than all of them to read
SCHEMA_VERSION: Final = "1"  # changes when a table that exists changes its columns or their meaning


def identifier(name: str) -> str:
    """Quote a declared name for SQL. ValueError unless it is lower-case letters, digits and underscores."""
    if not (name.isascii() and name.isidentifier() and name == name.lower()):
        raise ValueError(f"{name!r} cannot name a table or column: lower-case letters, digits and underscores only")
    return f'"{name}"'


def literal(text: str) -> str:
    """Quote a text for the statements that take no parameters: COMMENT, COPY, CREATE VIEW."""
    return "'" + text.replace("'", "''") + "'"


def declared_tables(records: Sequence[type]) -> dict[str, Table]:
    """The tables by name: those every store has, then those of ``records``. ValueError when two claim one name."""
    own = [cls for _, cls in inspect.getmembers(core, inspect.isclass) if "__table__" in vars(cls)]
    own.sort(key=lambda cls: table_of(cls).name)
    tables: dict[str, Table] = {}
    for cls in [*own, *records]:
        table = table_of(cls)
        if tables.setdefault(table.name, table).record is not cls:
            raise ValueError(f"{cls.__name__} and {tables[table.name].record.__name__} both declare the table {table.name}")
    return tables


def check_database(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Table], where: str) -> None:
    """UnmuxError, naming ``where``, unless a database holds a store of this version, with those of the tables that it has."""
    required = f"{where}: required a store of unmux with schema version {SCHEMA_VERSION}"
    there = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if "store_metadata" not in there:
        raise UnmuxError(f"{required}, found no table store_metadata")
    try:
        rows = connection.execute("SELECT DISTINCT value FROM store_metadata WHERE key = 'schema_version' ORDER BY 1").fetchall()
    except duckdb.Error as error:
        raise UnmuxError(f"{required}, found another table store_metadata") from error
    if rows != [(SCHEMA_VERSION,)]:
        raise UnmuxError(f"{required}, found {', '.join(repr(version) for (version,) in rows) or 'none'}")
    for (view,) in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall():
        if view in tables:
            raise UnmuxError(f"{required}, found a view {view} instead of the table")
    check_tables(connection, tables, where)


def has_only_ours(connection: duckdb.DuckDBPyConnection, selects: Mapping[str, str]) -> bool:
    """Whether a database holds no views and macros but those of these names: others may read any file when a query names them."""
    views_there = "SELECT view_name FROM duckdb_views() WHERE NOT internal"
    macros_there = "SELECT function_name FROM duckdb_functions() WHERE NOT internal"
    found = {name for (name,) in connection.execute(f"{views_there} UNION ALL {macros_there}").fetchall()}
    return found <= {*selects, *MACROS}


def check_tables(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Table], where: str) -> None:
    """UnmuxError, naming ``where``, when one of the tables is there with other columns."""
    found: dict[str, list[tuple[str, str]]] = {}
    query = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY column_index"
    for name, column, sql_type in connection.execute(query).fetchall():
        found.setdefault(name, []).append((column, sql_type))
    for table in tables.values():
        if found.get(table.name, _columns(table)) != _columns(table):
            raise UnmuxError(f"{where}: table {table.name} has other columns: it was made by another version")


def declare(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Table]) -> None:
    """Create in one transaction the tables that are not there, and the views."""
    _execute(connection, ["BEGIN", *_tables(tables), *_views(views(tables), ""), "COMMIT"])


def create_tables(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Table]) -> None:
    """Create the tables that are not there."""
    _execute(connection, _tables(tables))


def _execute(connection: duckdb.DuckDBPyConnection, statements: Sequence[str]) -> None:
    connection.execute("\n;\n".join(statements))


def _tables(tables: Mapping[str, Table]) -> list[str]:
    statements = []
    for table in tables.values():
        columns = ", ".join(f"{identifier(name)} {sql_type}" for name, sql_type in _columns(table))
        statements.append(f"CREATE TABLE IF NOT EXISTS {identifier(table.name)} ({columns})")
    return statements


def comment_tables(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Table]) -> None:
    """Write what each table and column means into the database.

    Behind each statement DuckDB looks for signals, and waits until no other thread of Python runs: while a capture is taken apart
    that takes ten times as long.
    """
    statements = [statement for table in tables.values() for statement in comments(table, "TABLE")]
    _execute(connection, ["BEGIN", *statements, "COMMIT"])


def comments(table: Table, kind: str) -> list[str]:
    """The statements that write what a table and its columns mean; ``kind`` is what the table is in the database, TABLE or VIEW."""
    statements = [f"COMMENT ON {kind} {identifier(table.name)} IS {literal('one row per ' + table.row)}"]
    for column in table.columns:
        path = f"{identifier(table.name)}.{identifier(column.name)}"
        statements.append(f"COMMENT ON COLUMN {path} IS {literal(column.doc)}")
    return statements


def views(tables: Mapping[str, Table]) -> dict[str, str]:
    """The SELECT of each view over these tables: the generated ones, and those of ``views/*.sql`` whose tables exist."""
    found = {
        "exchanges": _union(
            tables,
            EXCHANGE_COLUMNS,
            {table.name: table.exchange for table in tables.values()},
            {table.name: table.exchange_where for table in tables.values()},
        ),
        "messages": _union(tables, MESSAGE_COLUMNS, {table.name: table.message for table in tables.values()}, {}),
    }
    for entry in sorted(_VIEWS.glob("*.sql")):
        sql = entry.read_text(encoding="utf-8")
        over = sql.partition("\n")[0].removeprefix("-- over ").split(", ")
        if all(name.strip() in tables for name in over):
            found[entry.stem] = sql
    return found


def create_views(connection: duckdb.DuckDBPyConnection, selects: Mapping[str, str], *, temporary: bool = False) -> None:
    """Create the views and macros, or create them again; ``temporary`` ones stand before those of the same names in a file."""
    _execute(connection, _views(selects, "TEMP " if temporary else ""))


def _views(selects: Mapping[str, str], kind: str) -> list[str]:
    statements = [f"CREATE OR REPLACE {kind}MACRO {identifier(name)}{definition}" for name, definition in MACROS.items()]
    return statements + [f"CREATE OR REPLACE {kind}VIEW {identifier(name)} AS {sql}" for name, sql in selects.items()]


def _union(
    tables: Mapping[str, Table],
    columns: Mapping[str, str],
    mappings: Mapping[str, Mapping[str, str]],
    conditions: Mapping[str, str],
) -> str:
    """UNION ALL of the tables that map at least one of ``columns``; NULL for those a table does not map."""
    selects = []
    for name, mapping in mappings.items():
        if not mapping:
            continue
        unknown = mapping.keys() - columns.keys()
        if unknown:
            raise ValueError(f"table {name} maps {sorted(unknown)}, which the view has not")
        # rows of every table say their connection and stream
        mapped = {column.name: identifier(column.name) for column in tables[name].columns if _is_place(column)} | dict(mapping)
        parts = [f"({mapped.get(column, 'NULL')})::{kind} AS {identifier(column)}" for column, kind in columns.items()]
        where = f" WHERE {conditions[name]}" if conditions.get(name) else ""
        selects.append(f"SELECT {', '.join(parts)} FROM {identifier(name)}{where}")  # noqa: S608  # declarations only
    if not selects:
        parts = [f"NULL::{kind} AS {identifier(column)}" for column, kind in columns.items()]
        selects.append(f"SELECT {', '.join(parts)} WHERE false")
    return "\nUNION ALL\n".join(selects)


def _columns(table: Table) -> list[tuple[str, str]]:
    return [(column.name, column.sql_type) for column in table.columns]


def _is_place(column: Column) -> bool:
    return column.name in ("connection_id", "stream_index")
