"""6. Records -> Arrow -> DuckDB: the store keeps the tables, and answers SQL over them.

A store is a DuckDB file, a folder of Parquet files, or a temporary file that goes when the store is closed
(``places``). Its tables and views come from the declarations (``definitions``); rows reach it in columns (``columns``);
secrets are masked on the way (``masking``).
"""

import os
from collections.abc import Mapping, Sequence
from threading import Thread
from types import TracebackType
from typing import Final, Self

import arro3.core as arrow
import duckdb

from analyzer import build, limits
from analyzer.errors import UnmuxError
from analyzer.records import AnomalyRecord, FieldLineRecord, Rows, StoreMetadataRecord, by_class
from analyzer.schema import table_of
from analyzer.store.columns import FieldLines, TableWriter, is_wide
from analyzer.store.definitions import (
    SCHEMA_VERSION,
    check_tables,
    comment_tables,
    create_tables,
    create_views,
    declared_tables,
    views,
)
from analyzer.store.masking import Masker
from analyzer.store.places import Place, first_line, is_store, keep_row_groups, open_existing, place_for

__all__ = ["Store", "declared_tables", "is_store", "open_store"]

_HIGHEST: Final = """
    SELECT
        greatest((SELECT max(capture_index) FROM captures), (SELECT max(capture_index) FROM connections), -1),
        coalesce((SELECT max(line_id) FROM field_lines), -1)
"""


class _Loader:
    """What a store needs until it is finished."""

    def __init__(
        self,
        path: str | None,
        append: bool,
        force: bool,
        masker: Masker | None,
        options: Mapping[str, str],
        records: Sequence[type],
    ) -> None:
        self.tables = declared_tables(records)
        self.options = options
        self.place = place_for(path, append=append, force=force)
        self.connection = self.place.connection
        self.next_capture_index = 0
        self.added_rows = False
        self.metadata: set[tuple[str, str]] = set()  # facts that are stored already
        try:
            first_line_id = self._continue()
            self.connection.execute("BEGIN")
            create_tables(self.connection, self.tables)
            comment_tables(self.connection, self.tables)
            create_views(self.connection, views(self.tables))
            self.connection.execute("COMMIT")
        except BaseException:
            self.place.discard()
            self.place.close()
            raise
        self.lines = FieldLines(self.connection, masker, first_line_id)
        self.writers: dict[type, TableWriter] = {
            table.record: TableWriter(self.connection, table, masker, self.lines) for table in self.tables.values()
        }
        self.writers[FieldLineRecord] = self.lines.writer
        self._waiting: Rows = []
        self._inserting: Thread | None = None
        self.failure: BaseException | None = None  # to insert: what was inserted before stays

    def _continue(self) -> int:
        """Look at the store that is appended to; returns the first line_id that is free."""
        existing = self.place.existing()
        if existing is None:
            return 0
        where = self.place.description
        try:
            self.metadata = set(existing.execute("SELECT key, value FROM store_metadata").fetchall())
            versions = {value for key, value in self.metadata if key == "schema_version"}
            if versions != {SCHEMA_VERSION}:
                raise UnmuxError(f"{where}: its tables have version {', '.join(sorted(versions))}, not {SCHEMA_VERSION}")
            check_tables(existing, self.tables, where)
            highest_index, highest_line = existing.execute(_HIGHEST).fetchall()[0]
        except duckdb.Error as error:
            raise UnmuxError(f"{where}: is no store of unmux: {first_line(error)}") from error
        finally:
            if existing is not self.connection:
                existing.close()
        self.next_capture_index = int(highest_index) + 1
        return int(highest_line) + 1

    def is_worth_keeping(self) -> bool:
        """Whether rows were added to a store that has a name."""
        return self.place.is_named and (self.added_rows or bool(self._waiting))

    def give_up(self) -> None:
        """End without finishing: nothing stays of a store without rows, and what a failed one has stays where it is."""
        if self._inserting is not None:
            self._inserting.join()
        if self.is_worth_keeping():
            self.connection.close()
        else:
            self.place.discard()

    def add(self, rows: Rows) -> None:
        self._waiting += rows
        if len(self._waiting) >= limits.WAITING_ROWS:
            self.sort()

    def sort(self) -> None:
        """Hand the waiting rows to their tables."""
        if not self._waiting:
            return
        self.added_rows = True
        waiting = self._waiting
        self._waiting = []
        for kind, rows in by_class(waiting).items():
            if kind not in self.writers:
                raise TypeError(f"{kind.__name__} is not among the records that the store was made with")
            writer = self.writers[kind]
            for columns in writer.slices(rows):
                writer.add_columns(columns)
                if sum(each.waiting_bytes for each in self.writers.values()) >= limits.INSERT_BYTES:
                    self._insert()

    def flush(self) -> None:
        """Insert everything that was added."""
        self.sort()
        self._insert()
        self._wait()

    def _insert(self) -> None:
        """Hand all batches to a thread that inserts them, while the next ones are collected here."""
        self._wait()
        batches = [(writer, writer.take()) for writer in self.writers.values()]
        self._inserting = Thread(target=self._write, args=(batches,))
        self._inserting.start()

    def _write(self, batches: list[tuple[TableWriter, list[arrow.RecordBatch]]]) -> None:
        """Insert all in one transaction: DuckDB writes its tables out once for each."""
        try:
            if any(taken and is_wide(taken) for _, taken in batches):
                keep_row_groups(self.connection)
            self.connection.execute("BEGIN")
            for writer, taken in batches:
                writer.insert(taken)
            self.connection.execute("COMMIT")
            if any(writer.wide_bytes >= limits.WIDE_BYTES for writer, _ in batches):
                self.connection.execute("CHECKPOINT")
                for writer, _ in batches:
                    writer.wide_bytes = 0
        except BaseException as error:  # noqa: BLE001  # raised where the thread is waited for; a panic of Arrow is no Exception
            self.failure = error

    def _wait(self) -> None:
        """Wait until what was handed over is inserted; raises what went wrong there."""
        if self._inserting is not None:
            self._inserting.join()
            self._inserting = None
        if self.failure is not None:
            raise self.failure

    def finish(self, complete: bool) -> duckdb.DuckDBPyConnection:
        self.sort()  # tells what does not fit
        self.add(self._not_stored())
        self.add(self._facts(complete))
        self.flush()
        return self.place.finish(self.tables, views(self.tables))

    def _not_stored(self) -> Rows:
        """Faults of dissectors that gave a column values of another type."""
        return [
            AnomalyRecord(
                kind="not_stored",
                required=f"a value of the type of {table_of(kind).name}.{column}",
                found="values that do not fit it",
                occurrences=values,
            )
            for kind, writer in self.writers.items()
            for column, values in writer.not_stored.items()
        ]

    def _facts(self, complete: bool) -> Rows:
        facts = {
            "schema_version": SCHEMA_VERSION,
            "unmux_version": build.version(),
            "duckdb_version": duckdb.__version__,
            "build": "compiled" if build.is_compiled() else "interpreted",
            "is_complete": str(complete).lower(),
        }
        facts.update({f"option_{name}": value for name, value in self.options.items()})
        return [StoreMetadataRecord(key, value) for key, value in facts.items() if (key, value) not in self.metadata]


class Store:
    """The tables of one or more captures. A context manager; :meth:`close` is to be called once."""

    def __init__(
        self,
        path: str | None = None,
        *,
        append: bool = False,
        force: bool = False,
        show_secrets: bool = False,
        mask_key: bytes | None = None,
        options: Mapping[str, str] | None = None,
        records: Sequence[type] = (),
        read_only: bool = False,
    ) -> None:
        """Make a store, add to one (``append``), or open one (``read_only``).

        ``path`` is a DuckDB file, or a folder for Parquet files when it ends with a separator or is one already; None
        is a temporary store. ``force`` replaces a store. ``records`` are the record classes of the dissectors, beside
        those every store has. ``mask_key`` makes masked secrets comparable between stores and after appending; without
        it each run has a random key. ``options`` are written to ``store_metadata``.

        Raises ``UnmuxError`` when the path is taken, cannot be written, or holds something else or another version.
        """
        self._loader: _Loader | None = None
        self._place: Place | None = None
        if read_only:
            if path is None:
                raise UnmuxError("there is no temporary store to open")
            self._connection = open_existing(path)
            return
        masker = None if show_secrets else Masker(mask_key)
        self._loader = _Loader(path, append, force, masker, options or {}, records)
        self._connection = self._loader.connection
        self._place = self._loader.place

    def next_capture_index(self) -> int:
        """The capture_index of the first capture to be added: 0, or past those of the store that is appended to."""
        return self._loading().next_capture_index

    def add(self, rows: Rows) -> None:
        """Take rows, which must not change any more. UnmuxError when they cannot be written."""
        try:
            self._loading().add(rows)
        except duckdb.Error as error:
            raise self._unwritten(error) from error

    def finish(self, *, complete: bool = True) -> None:
        """Store everything added so far for good; nothing can be added afterwards.

        ``complete`` False says in ``store_metadata`` that reading stopped early. UnmuxError when it cannot be written.
        """
        loader = self._loading()
        try:
            self._connection = loader.finish(complete)
        except (duckdb.Error, OSError) as error:
            raise self._unwritten(error) from error
        self._loader = None

    def sql(self, query: str, params: Sequence[object] | Mapping[str, object] | None = None) -> duckdb.DuckDBPyRelation:
        """The relation of a SELECT (``.df()``, ``.arrow()``, ``.fetchall()``); ``params`` fill its ``?`` or ``$name``.

        While rows are still added it sees those added so far. Like DuckDB's it gives None, whatever its type says, for a
        statement without a result. Raises ``duckdb.Error``, whose text may quote what was captured.
        """
        if self._loader is not None:
            self._loader.flush()
        return self._connection.sql(query, params=params)

    def tables(self) -> list[str]:
        """The names of the tables and views."""
        names = "SELECT table_name FROM duckdb_tables() UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal"
        return [name for (name,) in self._connection.execute(f"{names} ORDER BY 1").fetchall()]

    def interrupt(self) -> None:
        """Stop the query that another thread runs; it raises ``duckdb.InterruptException``."""
        self._connection.interrupt()

    def export_parquet(self, query: str, path: str | os.PathLike[str]) -> None:
        """Write the result of a SELECT, or ``FROM table``, to a Parquet file. Raises ``duckdb.Error``."""
        self.sql(query).write_parquet(os.fspath(path), compression="zstd")

    def close(self) -> None:
        """Close it. A store that was not finished keeps what was added; when nothing was, no trace of it stays."""
        try:
            if self._loader is not None and self._loader.is_worth_keeping() and self._loader.failure is None:
                self.finish(complete=False)
        finally:
            if self._loader is not None:
                self._loader.give_up()
                self._loader = None
            self._connection.close()
            if self._place is not None:
                self._place.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _loading(self) -> _Loader:
        if self._loader is None:
            raise UnmuxError("the store is finished: nothing can be added")
        return self._loader

    def _unwritten(self, error: BaseException) -> UnmuxError:
        return UnmuxError(f"{self._loading().place.loaded_into}: cannot be written: {first_line(error)}")


def open_store(path: str) -> Store:
    """Open a store that was made before, a DuckDB file or a Parquet folder, for reading. UnmuxError when it is none."""
    return Store(path, read_only=True)
