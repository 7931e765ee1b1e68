"""A store that others can query while rows are still added to it: a folder of Parquet files that grows by segments.

A segment is what came between two moments, a file per table. The manifest names the files of all segments, and those
with what is open at the moment, which the next one replaces; it is replaced itself when they are all written. Whoever
reads it therefore finds the state of one moment. Files that it does not name any more stay for a while, for those who
have just read it; those for which it is too early at the end are left to whoever adds to the folder next.

Many small files are merged into fewer large ones. Where old rows are to be given up, the segments are of generations,
an eighth each of what is to be kept, and the oldest generation goes as a whole, but for the field sections of exchanges that
go on or ended later. A generation has all the field lines that its rows refer to. One into which a burst brought more than
an eighth goes when half of what is to be kept came after it.
"""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, Final

import duckdb

from analyzer import limits
from analyzer.errors import UnmuxError
from analyzer.memory import Memory
from analyzer.records import FieldLineRecord, Rows, by_class
from analyzer.schema import Table, table_of
from analyzer.store.columns import Batch, FieldLines, TableWriter
from analyzer.store.definitions import SCHEMA_VERSION, create_tables, create_views, declared_tables, identifier, views
from analyzer.store.masking import Masker
from analyzer.store.metadata import highest, metadata, not_stored
from analyzer.store.places import (
    claim_folder,
    connect,
    first_line,
    named_files,
    open_parquet,
    parquet_path,
    write_manifest,
    write_parquet,
)

MERGED_FILES: Final = 16  # of one size become one of the next
MERGED_BYTES: Final = 16 << 20  # of all of them together; more takes so long that new rows wait for it
GENERATIONS: Final = 8  # of what is kept: so much more than asked for may be there
GRACE_SECONDS: Final = 60.0  # that a file stays which the manifest does not name any more
OPEN_GRACE_SECONDS: Final = 10.0  # the same for what was open, which is written anew all the time
_SEGMENT: Final = re.compile(r"(open-)?\d{8}\.parquet")  # as the files are called here
FIELD_LINES: Final = table_of(FieldLineRecord).name

Batches = list[tuple[TableWriter, Batch]]
Observer = Callable[[duckdb.DuckDBPyConnection, duckdb.DuckDBPyConnection], None]
"""Is shown a database with the rows of a segment, and one with those of what is open; called from another thread."""


@dataclass(frozen=True)
class Retention:
    """What is kept at most, of each None where it does not matter."""

    seconds: float | None = None
    size: int | None = None  # bytes of the files
    rows: int | None = None

    def part(self) -> "Retention":
        """What one generation holds."""
        return Retention(
            None if self.seconds is None else self.seconds / GENERATIONS,
            None if self.size is None else self.size // GENERATIONS,
            None if self.rows is None else self.rows // GENERATIONS,
        )


@dataclass
class _Segment:
    """A file of one table."""

    name: str  # relative to the folder
    size: int
    level: int  # how often it was merged; -1 is never merged


@dataclass
class _Generation:
    """Segments that are given up together."""

    begun_at: float | None = None
    ended_at: float = 0.0
    tables: dict[str, list[_Segment]] = field(default_factory=dict)
    rows: int = 0

    def size(self) -> int:
        return sum(segment.size for segments in self.tables.values() for segment in segments)


def _is_too_much(amounts: list[int], kept: int) -> bool:
    """Whether generations that have so much each, the oldest first, are more than is kept, and enough without the oldest."""
    return sum(amounts) > kept and sum(amounts[1:]) * 2 >= kept


def _left_files(folder: Path, manifest: Mapping[str, Any]) -> set[str]:
    """Files of segments, and of what was open, that a manifest does not name, relative to its folder."""
    named = named_files(manifest)
    tables = {name.partition("/")[0] for name in named}
    there = {f"{table}/{file.name}" for table in tables for file in (folder / table).glob("*") if _SEGMENT.fullmatch(file.name)}
    return there - named


def _parts(tables: Mapping[str, Table]) -> list[tuple[Table, Table]]:
    """The tables with field lines, each with that whose rows its rows belong to: field sections with exchanges."""
    found = []
    for part in tables.values():
        names = {column.name for column in part.columns}
        wholes = [table for table in tables.values() if table.exchange and table.key and names.issuperset(table.key)]
        if wholes and any(column.python_type is list for column in part.columns):
            found.append((part, max(wholes, key=lambda table: len(table.key))))
    return found


class _MemoryTables:
    """The tables in memory that rows go through on their way into files."""

    def __init__(self, tables: Mapping[str, Table], masker: Masker | None, first_line_id: int, memory: Memory) -> None:
        self.connection = connect(None, memory.load_bytes, loading=True)
        create_tables(self.connection, tables)
        create_views(self.connection, views(tables))
        self.lines = FieldLines(masker, first_line_id, memory.line_bytes)
        self.writers: dict[type, TableWriter] = {
            table.record: TableWriter(table, masker, self.lines) for table in tables.values()
        }
        self.writers[FieldLineRecord] = self.lines.writer

    def add(self, rows: Rows) -> None:
        for kind, same in by_class(rows).items():
            if kind not in self.writers:
                raise TypeError(f"{kind.__name__} is not among the records that the store was made with")
            writer = self.writers[kind]
            for columns in writer.slices(same):
                writer.add(columns)

    def waiting_bytes(self) -> int:
        return sum(writer.waiting_bytes for writer in self.writers.values())

    def take(self) -> Batches:
        return [(writer, batch) for writer in self.writers.values() if (batch := writer.take()) is not None]

    def load(self, batches: Batches) -> None:
        for writer, batch in batches:
            writer.insert(self.connection, batch)

    def empty(self, batches: Batches) -> None:
        """Remove the rows; a table made anew gives its memory back at once."""
        emptied = {writer.table.name: writer.table for writer, _ in batches}
        for name in emptied:
            self.connection.execute(f"DROP TABLE {identifier(name)}")
        create_tables(self.connection, emptied)


class SegmentStore:
    """Takes rows, and writes them out as segments. :meth:`close` is to be called once."""

    def __init__(
        self,
        path: str | None,
        *,
        append: bool = False,
        force: bool = False,
        show_secrets: bool = False,
        mask_key: bytes | None = None,
        options: Mapping[str, str] | None = None,
        records: Sequence[type] = (),
        retention: Retention | None = None,
        observe: Observer | None = None,
        memory: Memory | None = None,
        first_capture_index: int = 0,
        is_spare: bool = False,
    ) -> None:
        """``path`` is the folder, None where nobody but ``observe`` wants the rows.

        ``first_capture_index`` is that of the first capture where nothing is appended to. A folder that ``is_spare`` goes
        when it cannot be written, and nothing fails.

        Raises ``UnmuxError`` when the path is taken, cannot be written, or holds something else or another version.
        """
        self.written_segments = 0
        self._tables = declared_tables(records)
        self._memory = Memory() if memory is None else memory
        self._folder = None if path is None else Path(path)
        self._options = options or {}
        self._parts = _parts(self._tables)
        self._retention = retention
        self._observe = observe
        self._thread: Thread | None = None
        self._failure: BaseException | None = None
        self._number = 0  # of the last file
        self._generations = [_Generation()]
        self._empty: dict[str, str] = {}  # table -> a file without rows
        self._open: dict[str, _Segment] = {}
        self._trash: list[tuple[float, str]] = []  # when a file may go
        self._old_files: set[str] = set()
        self._left: set[str] = set()  # by those who wrote here before
        self._next_capture_index = first_capture_index
        self._is_spare = is_spare
        first_line_id = 0
        if self._folder is not None:
            first_line_id = self._claim(self._folder, append, force)
        masker = None if show_secrets else Masker(mask_key)
        self._finished = _MemoryTables(self._tables, masker, first_line_id, self._memory)
        self._unfinished = _MemoryTables(self._tables, masker, 0, self._memory)
        if self._folder is not None:
            self._make_folders(self._folder)

    def next_capture_index(self) -> int:
        """The capture_index of the first capture to be added: 0, or past those of the store that is appended to."""
        return self._next_capture_index

    def add(self, rows: Rows) -> None:
        """Take rows, which must not change any more."""
        self._finished.add(rows)

    @property
    def has_rows(self) -> bool:
        """Whether rows wait."""
        return self._finished.waiting_bytes() > 0

    @property
    def is_full(self) -> bool:
        """Whether so many rows wait that no more may come before some are written."""
        return self._finished.waiting_bytes() >= limits.WAITING_BYTES

    @property
    def is_busy(self) -> bool:
        """Whether the segment before is still being written."""
        return self._thread is not None and self._thread.is_alive()

    def seal(self, open_rows: Rows, now: float) -> None:
        """Write what was added since the last call, and in place of the last ``open_rows`` these; after the segment before.

        ``now`` is in seconds of any clock that runs steadily. Raises ``UnmuxError`` when the one before could not be written.
        """
        self.wait()
        self._unfinished.add([*open_rows, *metadata(self._options, False, self._next_capture_index)])
        finished, unfinished = self._finished.take(), self._unfinished.take()
        generation = self._generations[-1]
        generation.ended_at = now
        for one in self._generations:
            if one.begun_at is None:
                one.begun_at = one.ended_at = now  # of rows that are appended to it is not known how old they are
        generation.rows += sum(batch.rows for _, batch in finished)
        if self._is_over(generation, now):
            self._finished.lines.begin_epoch()  # what comes from now on refers to none of its lines
            self._generations.append(_Generation())
        self._thread = Thread(target=self._write, args=(finished, unfinished, generation, now))
        self._thread.start()

    def wait(self) -> None:
        """Wait until the last segment is written. Raises ``UnmuxError`` when it could not be."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if isinstance(self._failure, (duckdb.Error, OSError)) and not isinstance(self._failure, BrokenPipeError):
            raise UnmuxError(f"{self._folder}: cannot be written: {first_line(self._failure)}") from self._failure
        if self._failure is not None:
            raise self._failure

    def finish(self, now: float, *, complete: bool = True) -> None:
        """Write everything; nothing is open any more."""
        for kind, writer in self._finished.writers.items():
            self._finished.add(not_stored(kind, writer.not_stored))
        self._finished.add(metadata(self._options, complete, self._next_capture_index))
        self.wait()
        finished = self._finished.take()
        self._thread = Thread(target=self._write, args=(finished, [], self._generations[-1], now))
        self._thread.start()
        self.wait()

    def added_rows(self) -> dict[str, int]:
        """How many rows were added to each table, and to the views that all protocols share."""
        added = {writer.table.name: writer.rows for writer in self._finished.writers.values()}
        added["exchanges"] = sum(added[name] for name, table in self._tables.items() if table.exchange)
        added["messages"] = sum(added[name] for name, table in self._tables.items() if table.message)
        return added

    def close(self) -> None:
        """Give back what it takes; what was written stays."""
        if self._thread is not None:
            self._thread.join()
        self._finished.connection.close()
        self._unfinished.connection.close()

    # --- beginning ---

    def _claim(self, folder: Path, append: bool, force: bool) -> int:
        """Take the folder; returns the first line_id that is free."""
        manifest = claim_folder(folder, append=append, force=force)
        if manifest is None:
            return 0
        self._old_files = named_files(manifest)
        self._left = _left_files(folder, manifest)
        if not append:
            return 0
        with open_parquet(folder, manifest, self._tables, self._memory) as existing:
            self._next_capture_index, first_line_id = highest(existing, str(folder))
        old = self._generations[0]
        for name in sorted(self._old_files):
            table = name.partition("/")[0]  # files of what was open are there where a run was killed: as it stood, it stays
            old.tables.setdefault(table, []).append(_Segment(name, (folder / name).stat().st_size, -1))
        self._generations.append(_Generation())
        return first_line_id

    def _make_folders(self, folder: Path) -> None:
        """Make a folder and an empty file for each table, so that all of them can be queried from the beginning."""
        try:
            for table in self._tables:
                (folder / table).mkdir(exist_ok=True)
                numbers = [int(stem) for file in (folder / table).glob("*.parquet") if (stem := file.stem[-8:]).isdecimal()]
                self._number = max(self._number, *numbers, 0)
            self._number += 1
            for table in self._tables:
                self._empty[table] = f"{table}/{self._number:08}.parquet"
                self._copy(self._finished.connection, table, self._empty[table])
        except (OSError, duckdb.Error) as error:
            raise UnmuxError(f"{folder}: cannot be written: {first_line(error)}") from error

    # --- in the thread that writes ---

    def _write(self, finished: Batches, unfinished: Batches, generation: _Generation, now: float) -> None:
        try:
            self._finished.load(finished)
            self._unfinished.load(unfinished)
            if self._folder is not None:
                self._keep(finished, unfinished, generation, now)
            if self._observe is not None:
                self._observe(self._finished.connection, self._unfinished.connection)
            self._finished.empty(finished)
            self._unfinished.empty(unfinished)
            self.written_segments += 1
        except BaseException as error:  # noqa: BLE001  # raised where the thread is waited for
            self._failure = error

    def _keep(self, finished: Batches, unfinished: Batches, generation: _Generation, now: float) -> None:
        try:
            self._write_files(finished, unfinished, generation, now)
        except (duckdb.Error, OSError):
            if not self._is_spare or self._folder is None:
                raise
            shutil.rmtree(self._folder, ignore_errors=True)  # room for others
            self._folder = None

    def _write_files(self, finished: Batches, unfinished: Batches, generation: _Generation, now: float) -> None:
        self._number += 1
        for writer, _ in finished:
            table = writer.table.name
            name = f"{table}/{self._number:08}.parquet"
            size = self._copy(self._finished.connection, table, name)
            generation.tables.setdefault(table, []).append(_Segment(name, size, 0))
        before = self._open
        self._open = {}
        for writer, _ in unfinished:
            table = writer.table.name
            name = f"{table}/open-{self._number:08}.parquet"
            self._open[table] = _Segment(name, self._copy(self._unfinished.connection, table, name), 0)
        self._trash += [
            (now + OPEN_GRACE_SECONDS, name) for name in [*self._left, *(segment.name for segment in before.values())]
        ]
        self._left = set()
        self._give_up(generation, now)
        self._write_manifest()
        self._empty_trash(now)
        if self._merge(generation, now):
            self._write_manifest()

    def _copy(self, connection: duckdb.DuckDBPyConnection, table: str, name: str) -> int:
        """Write a table to a file, which has its name when it is whole; returns its size."""
        assert self._folder is not None
        write_parquet(connection, identifier(table), self._folder / name)
        return (self._folder / name).stat().st_size

    def _write_manifest(self) -> None:
        assert self._folder is not None
        listed: dict[str, list[str]] = {}
        for table in self._tables:
            names = [segment.name for generation in self._generations for segment in generation.tables.get(table, [])]
            if table in self._open:
                names.append(self._open[table].name)
            listed[table] = names or [self._empty[table]]
        manifest: dict[str, Any] = {"format": "unmux", "schema_version": SCHEMA_VERSION, "tables": listed}
        write_manifest(self._folder, manifest)
        for old in self._old_files - named_files(manifest):
            self._remove(old)
        self._old_files = set()

    def _remove(self, name: str) -> None:
        if self._folder is not None:
            (self._folder / name).unlink(missing_ok=True)

    def _empty_trash(self, now: float) -> None:
        kept = []
        for until, name in self._trash:
            if until > now:
                kept.append((until, name))
            else:
                self._remove(name)
        self._trash = kept

    def _merge(self, generation: _Generation, now: float) -> bool:
        """Merge files that are many; False when none were."""
        is_changed = False
        for table, segments in generation.tables.items():
            while len(last := segments[-MERGED_FILES:]) == MERGED_FILES and all(
                segment.level == last[0].level >= 0 for segment in last
            ):
                if sum(segment.size for segment in last) > MERGED_BYTES:
                    break
                segments[-MERGED_FILES:] = [self._merged(table, last)]
                self._trash += [(now + GRACE_SECONDS, segment.name) for segment in last]
                is_changed = True
        return is_changed

    def _merged(self, table: str, segments: list[_Segment]) -> _Segment:
        assert self._folder is not None
        self._number += 1
        name = f"{table}/{self._number:08}.parquet"
        write_parquet(self._finished.connection, f"({self._rows_of(segments)})", self._folder / name)
        return _Segment(name, (self._folder / name).stat().st_size, segments[0].level + 1)

    # --- giving up ---

    def _is_over(self, generation: _Generation, now: float) -> bool:
        """Whether a generation has its part of what is kept."""
        if self._retention is None:
            return False
        part = self._retention.part()
        lasted = 0.0 if generation.begun_at is None else now - generation.begun_at
        return (
            (part.seconds is not None and lasted >= part.seconds)
            or (part.size is not None and generation.size() >= part.size)
            or (part.rows is not None and generation.rows >= part.rows)
        )

    def _give_up(self, latest: _Generation, now: float) -> None:
        """Give up the oldest generations, as far as there is more than is to be kept, but not the latest."""
        kept = self._retention
        while kept is not None and (oldest := self._generations[0]) is not latest:
            if not (
                (kept.seconds is not None and now - oldest.ended_at > kept.seconds)
                or (kept.size is not None and _is_too_much([each.size() for each in self._generations], kept.size))
                or (kept.rows is not None and _is_too_much([each.rows for each in self._generations], kept.rows))
            ):
                return
            self._trash += [(now + GRACE_SECONDS, segment.name) for segments in oldest.tables.values() for segment in segments]
            del self._generations[0]
            for part, whole in self._parts:
                self._carry(oldest, self._generations[0], part, whole)

    def _carry(self, oldest: _Generation, heir: _Generation, part: Table, whole: Table) -> None:
        """Hand on those rows of ``part`` with field lines that belong to rows of ``whole`` that are kept, and their lines."""
        sections = oldest.tables.get(part.name, [])
        kept = [segment for generation in self._generations for segment in generation.tables.get(whole.name, [])]
        if whole.name in self._open:
            kept.append(self._open[whole.name])
        if not sections or not kept:
            return
        key = ", ".join(map(identifier, whole.key))
        (lines,) = [identifier(column.name) for column in part.columns if column.python_type is list]
        connection = self._finished.connection
        source = f"{self._rows_of(sections)} SEMI JOIN (SELECT {key} {self._rows_of(kept)}) USING ({key})"
        connection.execute(f"CREATE OR REPLACE TEMP TABLE carried AS {source}")
        heir.rows += self._hand_on(heir, part.name, "(FROM carried)")
        if FIELD_LINES in oldest.tables:
            numbers = f"SELECT unnest({lines}) FROM carried"  # noqa: S608  # our own names
            source = f"({self._rows_of(oldest.tables[FIELD_LINES])} WHERE line_id IN ({numbers}))"
            heir.rows += self._hand_on(heir, FIELD_LINES, source)
        connection.execute("DROP TABLE carried")

    def _hand_on(self, heir: _Generation, table: str, source: str) -> int:
        """Write the rows of a query in brackets as a segment of a generation; returns how many there are."""
        assert self._folder is not None
        ((rows,),) = self._finished.connection.execute(f"SELECT count(*) FROM {source}").fetchall()  # noqa: S608  # our own names
        if not rows:
            return 0
        self._number += 1
        name = f"{table}/{self._number:08}.parquet"
        write_parquet(self._finished.connection, source, self._folder / name)
        heir.tables.setdefault(table, []).append(_Segment(name, (self._folder / name).stat().st_size, 0))
        return int(rows)

    def _rows_of(self, segments: list[_Segment]) -> str:
        """The beginning of a query of what segments hold."""
        assert self._folder is not None
        paths = ", ".join(parquet_path(self._folder, segment.name.partition("/")[0], segment.name) for segment in segments)
        return f"FROM read_parquet([{paths}])"
