"""6. Records -> Arrow -> DuckDB: the store keeps the tables, and answers SQL over them.

A store is a DuckDB file, a folder of Parquet files, or a temporary file that goes when the store is closed
(``places``). Its tables and views come from the declarations (``definitions``); rows reach it in columns (``columns``);
secrets are masked on the way (``masking``).
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

import duckdb

from analyzer import limits
from analyzer.errors import UnmuxError
from analyzer.memory import Memory
from analyzer.records import FieldLineRecord, Rows, by_class
from analyzer.store.columns import Batch, FieldLines, TableWriter
from analyzer.store.definitions import declare, declared_tables
from analyzer.store.masking import Masker
from analyzer.store.metadata import highest, metadata, not_stored
from analyzer.store.places import FolderViews, Place, first_line, is_store, keep_row_groups, open_existing, place_for, set_merging

__all__ = ["Store", "declared_tables", "is_store", "open_store"]


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
        memory: Memory,
    ) -> None:
        self.tables = declared_tables(records)
        self.options = options
        self._memory = memory
        self.place = place_for(path, memory, append=append, force=force)
        self.next_capture_index = 0
        self._is_begun = False  # a transaction
        self._is_described = False  # by metadata of a run that is not complete
        self._uncommitted_bytes = 0
        self._rows_since_opened = 0
        self._wide_bytes: dict[type, int] = {}  # inserted in wide rows since a table was last written out
        self.failure: BaseException | None = None  # to insert: what was committed before stays
        try:
            first_line_id = self._continue()
        except BaseException:
            self.place.discard()
            self.place.close()
            raise
        # DuckDB takes as long for this as a capture of 10 MB takes to read
        self._background: Thread | None = Thread(target=self._declare)
        self._background.start()
        self.lines = FieldLines(masker, first_line_id, memory.line_bytes)
        self.writers: dict[type, TableWriter] = {
            table.record: TableWriter(table, masker, self.lines) for table in self.tables.values()
        }
        self.writers[FieldLineRecord] = self.lines.writer

    def _continue(self) -> int:
        """Look at the store that is appended to; returns the first line_id that is free."""
        existing = self.place.existing(self.tables)
        if existing is None:
            return 0
        try:
            self.next_capture_index, first_line_id = highest(existing, self.place.description)
        finally:
            if existing is not self.place.connection():
                existing.close()
        return first_line_id

    def _declare(self) -> None:
        """Open the database, unless it is, and create tables and views."""
        try:
            connection = self.place.connection()
            set_merging(connection, is_wanted=False)  # there are few, and merging takes as long as to write a tenth of all rows
            declare(connection, self.tables)
        except BaseException as error:  # noqa: BLE001  # raised where the thread is waited for
            self.failure = error

    def is_worth_keeping(self) -> bool:
        """Whether rows were added to a store that has a name."""
        return self.place.is_named and any(writer.rows for writer in self.writers.values())

    def give_up(self) -> None:
        """End without finishing: nothing stays of a store without rows, and what a failed one has stays where it is."""
        if self._background is not None:
            self._background.join()
        if self.is_worth_keeping():
            self.place.leave()
        else:
            self.place.discard()

    def add(self, rows: Rows) -> None:
        """Hand rows to their tables."""
        for kind, same in by_class(rows).items():
            if kind not in self.writers:
                raise TypeError(f"{kind.__name__} is not among the records that the store was made with")
            writer = self.writers[kind]
            for columns in writer.slices(same):
                writer.add(columns)
                waiting = sum(each.waiting_bytes for each in self.writers.values())
                if waiting >= (limits.COLLECTED_BYTES if self._is_inserting() else limits.INSERT_BYTES):
                    self._insert(False)

    def flush(self) -> None:
        """Insert and commit everything that was added."""
        self._insert(True)
        self.wait()

    def commit(self) -> None:
        """Begin to insert and commit everything that was added; what is there is a store from the first time on."""
        if not self._is_described:
            self._is_described = True
            self.wait()
            set_merging(self.place.connection(), is_wanted=True)
            self.add(metadata(self.options, False, self.next_capture_index))
        self._insert(True)

    def _is_inserting(self) -> bool:
        return self._background is not None and self._background.is_alive()

    def _insert(self, commits: bool) -> None:
        """Hand all batches to a thread that inserts them, while the next ones are collected here."""
        self.wait()
        batches = [(writer, batch) for writer in self.writers.values() if (batch := writer.take()) is not None]
        self._background = Thread(target=self._write, args=(batches, commits))
        self._background.start()

    def _write(self, batches: list[tuple[TableWriter, Batch]], commits: bool) -> None:
        """Insert batches.

        A transaction takes many of them: DuckDB then compresses and writes row groups as soon as they are full, and
        just the last one of each table when it commits.
        """
        try:
            if any(batch.is_wide for _, batch in batches):
                keep_row_groups(self.place.connection(), self._memory)
            if not self._is_begun:
                self.place.connection().execute("BEGIN")
                self._is_begun = True
            for writer, batch in batches:
                writer.insert(self.place.connection(), batch)
                self._uncommitted_bytes += batch.size
                self._rows_since_opened += batch.rows
                if batch.is_wide:
                    kind = writer.table.record
                    self._wide_bytes[kind] = self._wide_bytes.get(kind, 0) + batch.size
            has_wide_groups = any(size >= limits.WIDE_BYTES for size in self._wide_bytes.values())
            if commits or has_wide_groups or self._uncommitted_bytes >= limits.COMMIT_BYTES:
                self.place.connection().execute("COMMIT")
                self._is_begun = False
                self._uncommitted_bytes = 0
            if has_wide_groups:
                self.place.connection().execute("CHECKPOINT")
                self._wide_bytes = {}
            if not self._is_begun and self._rows_since_opened >= limits.REOPEN_ROWS:
                self.place.reopen()
                self._rows_since_opened = 0
        except BaseException as error:  # noqa: BLE001  # raised where the thread is waited for
            self.failure = error

    def wait(self) -> None:
        """Wait until what was handed over is done; raises what went wrong there."""
        if self._background is not None:
            self._background.join()
            self._background = None
        if self.failure is not None:
            raise self.failure

    def finish(self, complete: bool) -> None:
        for kind, writer in self.writers.items():
            self.add(not_stored(kind, writer.not_stored))
        if self._is_described:
            self.flush()
            self.place.connection().execute("DELETE FROM store_metadata WHERE first_capture_index = ?", [self.next_capture_index])
        self.add(metadata(self.options, complete, self.next_capture_index))
        self.flush()
        try:
            self.place.finish(self.tables)
        except BaseException as error:
            self.failure = error
            raise

    def added_rows(self) -> dict[str, int]:
        """How many rows were added to each table, and to the views that all protocols share."""
        added = {writer.table.name: writer.rows for writer in self.writers.values()}
        added["exchanges"] = sum(added[name] for name, table in self.tables.items() if table.exchange)
        added["messages"] = sum(added[name] for name, table in self.tables.items() if table.message)
        return added


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
        memory: Memory | None = None,
    ) -> None:
        """Make a store, add to one (``append``), or open one (``read_only``).

        ``path`` is a DuckDB file, or a folder for Parquet files when it ends with a separator or is one already; None
        is a temporary store. ``force`` replaces a store. ``records`` are the record classes of the dissectors, beside
        those every store has. ``mask_key`` makes masked secrets comparable between stores and after appending; without
        it each run has a random key. ``options`` are written to ``store_metadata``. ``memory`` bounds DuckDB's
        buffers.

        Raises ``UnmuxError`` when the path is taken, cannot be written, or holds something else or another version.
        """
        self._loader: _Loader | None = None
        self._place: Place | None = None
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._views: FolderViews | None = None  # of a folder, which a live capture may still be writing
        self._is_still = False  # what is queried stays as it is though a capture goes on
        memory = Memory() if memory is None else memory
        self.added: dict[str, int] = {}  # table, or view `exchanges` or `messages` -> rows added, when it is finished
        if read_only:
            if path is None:
                raise UnmuxError("there is no temporary store to open")
            tables = declared_tables(records)
            if Path(path).is_dir():
                self._views = FolderViews(Path(path), tables, memory)
                self._connection = self._views.connection
            else:
                self._connection = open_existing(path, tables, memory)
            return
        masker = None if show_secrets else Masker(mask_key)
        self._loader = _Loader(path, append, force, masker, options or {}, records, memory)
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

    def commit(self) -> None:
        """Begin to store what was added so far, so that it stays whatever happens. UnmuxError when it cannot be written."""
        try:
            self._loading().commit()
        except duckdb.Error as error:
            raise self._unwritten(error) from error

    def finish(self, *, complete: bool = True) -> None:
        """Store everything added so far for good; nothing can be added afterwards.

        ``complete`` False says in ``store_metadata`` that reading stopped early. UnmuxError when it cannot be written.
        """
        loader = self._loading()
        try:
            loader.finish(complete)
        except (duckdb.Error, OSError) as error:
            raise self._unwritten(error) from error
        self.added = loader.added_rows()
        self._loader = None

    def sql(self, query: str, params: Sequence[object] | Mapping[str, object] | None = None) -> duckdb.DuckDBPyRelation:
        """The relation of a SELECT (``.df()``, ``.arrow()``, ``.fetchall()``); ``params`` fill its ``?`` or ``$name``.

        While rows are still added it sees those added so far. Like DuckDB's it gives None, whatever its type says, for a
        statement without a result. Raises ``duckdb.Error``, whose text may quote what was captured.
        """
        if self._loader is not None:
            self._loader.flush()
        if self._views is not None and not self._is_still:
            self._views.refresh()
        return self._connected().sql(query, params=params)

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """Within it all queries see the rows of one moment, also those of a capture that goes on."""
        before = self._is_still
        if self._views is not None and not before:
            self._views.refresh()
        self._is_still = True
        try:
            yield
        finally:
            self._is_still = before

    def tables(self) -> list[str]:
        """The names of the tables and views."""
        names = "SELECT table_name FROM duckdb_tables() UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal"
        return [name for (name,) in self._connected().execute(f"{names} ORDER BY 1").fetchall()]

    def interrupt(self) -> None:
        """Stop the query that another thread runs; it raises ``duckdb.InterruptException``."""
        self._connected().interrupt()

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
            if self._connection is not None:
                self._connection.close()
            if self._place is not None:
                self._place.close()
                self._place = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _connected(self) -> duckdb.DuckDBPyConnection:
        if self._loader is not None:
            self._loader.wait()
            return self._loader.place.connection()
        if self._connection is None:
            if self._place is None:
                raise UnmuxError("the store is closed")
            self._connection = self._place.reader()
        return self._connection

    def _loading(self) -> _Loader:
        if self._loader is None:
            raise UnmuxError("the store is finished: nothing can be added")
        return self._loader

    def _unwritten(self, error: BaseException) -> UnmuxError:
        return UnmuxError(f"{self._loading().place.loaded_into}: cannot be written: {first_line(error)}")


def open_store(path: str, records: Sequence[type] = (), memory: Memory | None = None) -> Store:
    """Open a store that was made before, a DuckDB file or a Parquet folder, for reading.

    ``records`` are the record classes of the dissectors, which the views are made from. UnmuxError when it is no store of
    this version.
    """
    return Store(path, read_only=True, records=records, memory=memory)
