"""Where a store lies: a temporary file, a DuckDB file, or a folder of Parquet files with a manifest.

A new DuckDB file is written as ``NAME.partial`` and takes its name when it is finished; a folder's manifest is replaced
when all its files are written. Whoever opens the name therefore finds a whole store or none, and an old store stays
until its successor is there: one that is appended to is copied first. A ``.partial`` file that a killed run left behind
holds, as a DuckDB file, what had been committed: all but the last limits.COMMIT_BYTES.

Links that somebody else may have put there are never written through, nor followed to what is removed: the path named may
be one, or lead through some, but not what is made beside it or inside it.
"""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from weakref import finalize

import duckdb

from analyzer import limits
from analyzer.errors import UnmuxError
from analyzer.memory import Memory
from analyzer.schema import Table
from analyzer.store.definitions import (
    SCHEMA_VERSION,
    check_database,
    check_tables,
    comment_tables,
    comments,
    create_views,
    has_only_ours,
    identifier,
    literal,
    views,
)

MANIFEST: Final = "manifest.json"
_PARQUET: Final = (
    "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE_BYTES '32MB', USE_TMP_FILE false)"  # a row group is held in memory
)
_ATTEMPTS: Final = 5  # to open a folder that changes meanwhile
_PROCESS: Final = secrets.token_hex(8)  # names this process' temporary folders unforeseeably


def is_store(path: str) -> bool:
    """Whether ``path`` is a DuckDB file or a folder that holds a store; never raises."""
    place = Path(path)
    try:
        if place.is_dir():
            return _read_manifest(place) is not None
        with place.open("rb") as file:
            return file.read(12)[8:] == b"DUCK"  # a checksum comes first
    except OSError:
        return False


def is_folder(path: str) -> bool:
    """Whether a store at ``path`` is a folder: the path ends with a separator, or it is one already."""
    return path.endswith(("/", os.sep)) or Path(path).is_dir()


def connect(
    database: Path | None, memory_bytes: int, *, read_only: bool = False, loading: bool = False
) -> duckdb.DuckDBPyConnection:
    """Open a database, or one in memory; UnmuxError when it cannot be opened.

    What does not fit ``memory_bytes`` is spilled to a temporary folder, which DuckDB makes and removes.
    """
    # DuckDB wants the same settings for everyone in a process who opens the same file
    spill = secrets.token_hex(8) if database is None else hashlib.sha256(os.fsencode(database.resolve())).hexdigest()[:16]
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "python_enable_replacements": "false",  # a name in a query or view is never a variable of this program
        "temp_directory": str(Path(tempfile.gettempdir(), f"unmux-spill-{_PROCESS}-{spill}")),
    }
    if loading:
        config["threads"] = 1
        config["preserve_insertion_order"] = "false"  # one thread keeps it, and Parquet row groups may be bounded in bytes
    attaches = loading and database is not None
    try:
        connection = duckdb.connect(
            ":memory:" if database is None or attaches else str(database), read_only=read_only, config=config
        )
        if attaches and database is not None:
            _attach(connection, database)
        set_memory(connection, memory_bytes)
        return connection
    except duckdb.Error as error:
        raise UnmuxError(f"{database}: cannot be opened as a DuckDB file: {first_line(error)}") from error


def _attach(connection: duckdb.DuckDBPyConnection, database: Path) -> None:
    """Work in a database; only so can the size of row groups be chosen."""
    connection.execute(f"ATTACH {literal(str(database))} AS unmux (ROW_GROUP_SIZE {limits.ROW_GROUP_ROWS}); USE unmux")


def set_memory(connection: duckdb.DuckDBPyConnection, size: int) -> None:
    """Say how many bytes DuckDB's buffers may take."""
    connection.execute(f"SET memory_limit = '{size // 1000}kB'")


def keep_row_groups(connection: duckdb.DuckDBPyConnection, memory: Memory) -> None:
    """Prepare for wide rows: DuckDB merges no row groups, as it would read 2,048 rows of any length at once to do so."""
    set_memory(connection, memory.wide_load_bytes)
    set_merging(connection, is_wanted=False)


def set_merging(connection: duckdb.DuckDBPyConnection, *, is_wanted: bool) -> None:
    """Say whether DuckDB merges small row groups, one of which each commit leaves behind."""
    connection.execute("RESET max_vacuum_tasks" if is_wanted else "SET max_vacuum_tasks = 0")


def first_line(error: BaseException) -> str:
    """The first line of an error's text."""
    return str(error).partition("\n")[0]


class Place:
    """A temporary store, and what the other places share: the connection that is loaded through."""

    description = "temporary store"
    loaded_into = description  # what an error of writing names
    is_named = False

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._folder = Path(tempfile.mkdtemp(prefix="unmux-"))
        self._remove = finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._database = self._folder / "store.duckdb"
        self._connection: duckdb.DuckDBPyConnection | None = None

    def connection(self) -> duckdb.DuckDBPyConnection:
        """What is loaded through, opened when it is first asked for: that takes as long as a capture of 10 MB takes to read.

        UnmuxError when it cannot be opened.
        """
        if self._connection is None:
            self._connection = connect(self._database, self._memory.load_bytes, loading=True)
        return self._connection

    def leave(self) -> None:
        """Close what is loaded through, and leave what was loaded as it is."""
        if self._connection is not None:
            self._connection.close()

    def existing(self, tables: Mapping[str, Table]) -> duckdb.DuckDBPyConnection | None:
        """What is appended to; None when there is nothing. UnmuxError when it has other tables than these."""
        return None

    def reopen(self) -> None:
        """Let DuckDB forget what it keeps of every row group that was written, which grows with their number."""
        self.connection().execute("CHECKPOINT; USE memory; DETACH unmux")
        _attach(self.connection(), self._database)

    def finish(self, tables: Mapping[str, Table]) -> None:
        """Make what was loaded permanent."""
        comment_tables(self.connection(), tables)
        self.connection().execute("CHECKPOINT")

    def reader(self) -> duckdb.DuckDBPyConnection:
        """The connection to query it through when it is finished; called once. UnmuxError when it cannot be opened."""
        connection = self.connection()
        set_memory(connection, self._memory.query_bytes)
        connection.execute("RESET threads; RESET preserve_insertion_order")
        return connection

    def discard(self) -> None:
        """Undo it all: nothing was loaded."""
        self.leave()

    def close(self) -> None:
        """Give back what is temporary."""
        self.leave()
        self._remove()


class FilePlace(Place):
    """A DuckDB file."""

    def __init__(self, path: Path, memory: Memory, *, append: bool, force: bool) -> None:
        self._memory = memory
        if path.is_symlink() and not path.exists():
            raise UnmuxError(f"{path}: is a link to what is not there; it is left as it is")
        self._path = path.resolve()  # the file behind a link is replaced, not the link
        self._partial = self._path.with_name(self._path.name + ".partial")
        self._appends = append and path.exists()
        self._replaces = self._appends or force
        self.description = str(path)
        self.loaded_into = str(self._partial)
        self.is_named = True
        if path.exists():
            if not append and not force:
                raise UnmuxError(f"{path}: exists already; --append adds to it, --force replaces it")
            if not is_store(str(path)):
                raise UnmuxError(f"{path}: exists already and is no DuckDB file; it is left as it is")
        if left := [file for file in (self._partial, _wal(self._partial)) if file.exists() or file.is_symlink()]:
            if not force:
                raise UnmuxError(f"{left[0]}: left by a run that was cut off, or by one that is still going; --force replaces it")
            self._remove_partial()
        if not self._path.parent.is_dir():
            raise UnmuxError(f"{path}: there is no folder {self._path.parent}")
        if not os.access(self._path.parent, os.W_OK):
            raise UnmuxError(f"{path}: nothing may be written in {self._path.parent}")
        if self._appends:
            with connect(self._path, memory.load_bytes, read_only=True):  # nobody writes to it meanwhile
                for source, copy in ((self._path, self._partial), (_wal(self._path), _wal(self._partial))):
                    if source.exists():
                        with source.open("rb") as old, copy.open("xb") as new:
                            shutil.copyfileobj(old, new)
        self._database = self._partial
        self._connection = None

    def existing(self, tables: Mapping[str, Table]) -> duckdb.DuckDBPyConnection | None:
        """The copy of the file that is appended to."""
        if not self._appends:
            return None
        connection = self.connection()
        keep_row_groups(connection, self._memory)  # there may be wide rows already
        check_database(connection, tables, self.description)
        return connection

    def finish(self, tables: Mapping[str, Table]) -> None:
        """Give the file its name."""
        connection = self.connection()
        comment_tables(connection, tables)
        connection.execute("CHECKPOINT")
        connection.close()
        if not self._replaces:
            try:
                os.link(self._partial, self._path)
            except FileExistsError:
                raise UnmuxError(
                    f"{self.description}: came into being meanwhile; what was written is in {self._partial}"
                ) from None
            except OSError:  # there are no links here
                self._partial.replace(self._path)
            else:
                self._partial.unlink()
        else:
            self._partial.replace(self._path)

    def reader(self) -> duckdb.DuckDBPyConnection:
        """Open the file read-only."""
        return connect(self._path, self._memory.query_bytes, read_only=True)

    def discard(self) -> None:
        """Remove the new file; one that was to be replaced or appended to is as it was, and one that another run made meanwhile."""
        if self._appends or self._connection is not None:
            self.leave()
            self._remove_partial()

    def close(self) -> None:
        """Nothing of it is temporary."""

    def _remove_partial(self) -> None:
        self._partial.unlink(missing_ok=True)
        _wal(self._partial).unlink(missing_ok=True)


class FolderPlace(Place):
    """A folder with one folder of Parquet files per table, loaded through a temporary store."""

    def __init__(self, path: Path, memory: Memory, *, append: bool, force: bool) -> None:
        self._path = path
        self.description = str(path)
        self.loaded_into = self.description
        self.is_named = True
        self._manifest: dict[str, Any] = {}
        self._declared: Mapping[str, Table] = {}  # what was written
        self._old_files: set[str] = set()  # of the store that is there: no other file is ever removed
        self._is_new = not path.exists()
        manifest = claim_folder(path, append=append, force=force)
        if manifest is not None:
            self._old_files = named_files(manifest)
            self._manifest = manifest if append else {}
        super().__init__(memory)

    def existing(self, tables: Mapping[str, Table]) -> duckdb.DuckDBPyConnection | None:
        """The Parquet files when they are appended to."""
        return open_parquet(self._path, self._manifest, tables, self._memory) if self._manifest else None

    def finish(self, tables: Mapping[str, Table]) -> None:
        """Write a Parquet file per table, then the manifest, then remove those that only the one before it named."""
        listed: dict[str, list[str]] = {name: list(names) for name, names in self._manifest.get("tables", {}).items()}
        for table in tables:
            folder = self._path / table
            folder.mkdir(exist_ok=True)
            numbers = [int(file.stem) for file in folder.glob("*.parquet") if file.stem.isdecimal()]
            file = folder / f"{max(numbers, default=-1) + 1:04}.parquet"
            write_parquet(self.connection(), identifier(table), file)
            listed.setdefault(table, []).append(f"{table}/{file.name}")
        self._manifest = {
            "format": "unmux",
            "schema_version": SCHEMA_VERSION,
            "tables": listed,
        }
        self._declared = tables
        write_manifest(self._path, self._manifest)
        for old in self._old_files - named_files(self._manifest):
            (self._path / old).unlink(missing_ok=True)
        self.leave()

    def reader(self) -> duckdb.DuckDBPyConnection:
        """Open the Parquet files."""
        return open_parquet(self._path, self._manifest, self._declared, self._memory)

    def discard(self) -> None:
        """Remove the folder if it was made for this store."""
        super().discard()
        if self._is_new:
            self._path.rmdir()


def claim_folder(path: Path, *, append: bool, force: bool) -> dict[str, Any] | None:
    """Make the folder of a store; returns the manifest of the one that is there. UnmuxError when it is taken."""
    manifest = None
    if path.exists() and not path.is_dir():
        raise UnmuxError(f"{path}: exists already and is no folder")
    if path.exists() and any(path.iterdir()):
        manifest = _read_manifest(path)
        if manifest is None:
            raise UnmuxError(f"{path}: holds other files than a store; it is left as it is")
        if not append and not force:
            raise UnmuxError(f"{path}: exists already; --append adds to it, --force replaces it")
        for entry in path.iterdir():
            if entry.is_symlink():
                raise UnmuxError(f"{entry}: is a link, through which nothing is written or removed")
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise UnmuxError(f"{path}: {error.strerror}") from error
    return manifest


def write_parquet(connection: duckdb.DuckDBPyConnection, source: str, file: Path) -> None:
    """Write a table, or a query in brackets, to a file, which has its name when it is whole. Raises duckdb.Error and OSError."""
    partial = file.with_suffix(".partial")
    _make_anew(partial)
    connection.execute(f"COPY {source} TO {literal(str(partial))} {_PARQUET}")
    partial.replace(file)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Put a manifest in the place of the one that is there. Raises OSError."""
    partial = folder / (MANIFEST + ".partial")
    _make_anew(partial)
    partial.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    partial.replace(folder / MANIFEST)


def _make_anew(file: Path) -> None:
    """Make an empty file in the place of one that a killed run left, or of a link."""
    file.unlink(missing_ok=True)
    file.touch(exist_ok=False)


def place_for(path: str | None, memory: Memory, *, append: bool, force: bool) -> Place:
    """Choose and open the place; UnmuxError when it is taken, or is no place for a store."""
    if path is None:
        return Place(memory)
    if is_folder(path):
        return FolderPlace(Path(path), memory, append=append, force=force)
    return FilePlace(Path(path), memory, append=append, force=force)


def open_existing(path: str, tables: Mapping[str, Table], memory: Memory) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file for reading; UnmuxError when it is no store of this version.

    Whoever made it, its views are those that this version defines over ``tables``. Where a DuckDB file holds other
    views or macros, queries cannot read or write files: those might.
    """
    place = Path(path)
    if not place.exists():
        raise UnmuxError(f"{path}: there is no such file")
    if not is_store(path):
        raise UnmuxError(f"{path}: required a store of unmux, found no DuckDB file")
    connection = connect(place, memory.query_bytes, read_only=True)
    try:
        check_database(connection, tables, path)
        own = views(_present(connection, tables))
        if not has_only_ours(connection, own):
            connection.execute("SET enable_external_access = false")
        create_views(connection, own, temporary=True)
    except BaseException:
        connection.close()
        raise
    return connection


def _present(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, Table]) -> dict[str, Table]:
    """Those of the tables that are there: a store may have been made without some protocols."""
    found = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    return {name: table for name, table in tables.items() if name in found}


def _wal(path: Path) -> Path:
    return path.with_name(path.name + ".wal")


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the store in ``folder``; None when it has none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("format") == "unmux" else None


def named_files(manifest: Mapping[str, Any]) -> set[str]:
    """The Parquet files that a manifest names, relative to its folder; without what lies outside its tables' folders."""
    tables = manifest.get("tables")
    return {
        name
        for table, names in (tables.items() if isinstance(tables, dict) else ())
        for name in (names if isinstance(names, list) else ())
        if isinstance(name, str) and table.isidentifier() and _is_file_of(table, name)
    }


class FolderViews:
    """A database in memory whose views are the Parquet files of a folder, which a live capture may still be writing."""

    def __init__(self, folder: Path, declared: Mapping[str, Table], memory: Memory) -> None:
        """UnmuxError when the folder holds no store of this version."""
        self._folder = folder
        self._declared = declared
        self._shown: dict[str, Any] = {}
        manifest = self._manifest()
        for _ in range(_ATTEMPTS):
            try:
                self.connection = open_parquet(folder, manifest, declared, memory)
                self._shown = manifest
                return
            except UnmuxError:
                again = self._manifest()  # files it does not name any more go after a while
                if again == manifest:
                    raise
                manifest = again
        raise UnmuxError(f"{folder}: its files change faster than they can be opened")

    def refresh(self) -> None:
        """Show the files that the manifest names now. Raises ``duckdb.Error`` when they are not there."""
        manifest = self._manifest()
        if manifest == self._shown:
            return
        for table, names in manifest["tables"].items():
            if self._shown["tables"].get(table) != names:
                self.connection.execute(_parquet_view(self._folder, table, names, self._declared))
        self._shown = manifest

    def _manifest(self) -> dict[str, Any]:
        manifest = _read_manifest(self._folder)
        if manifest is None:
            raise UnmuxError(f"{self._folder}: required a store of unmux, found a folder without a store's {MANIFEST}")
        return manifest


def open_parquet(
    folder: Path, manifest: Mapping[str, Any], declared: Mapping[str, Table], memory: Memory
) -> duckdb.DuckDBPyConnection:
    """A database in memory whose views are the folder's tables, and the views over those of them that are ``declared``.

    UnmuxError when the manifest is damaged or of another version, or a table has other columns than declared.
    """
    if manifest.get("schema_version") != SCHEMA_VERSION:
        found = f"found {manifest.get('schema_version')!r}"
        raise UnmuxError(f"{folder}: required a store of unmux with schema version {SCHEMA_VERSION}, {found}")
    connection = connect(None, memory.query_bytes)
    try:
        for table, names in manifest["tables"].items():
            connection.execute(_parquet_view(folder, table, names, declared))
        present = {name: table for name, table in declared.items() if name in manifest["tables"]}
        check_tables(connection, present, str(folder))
        create_views(connection, views(present))
    except (KeyError, TypeError, AttributeError, ValueError, duckdb.Error) as error:
        connection.close()
        raise UnmuxError(f"{folder / MANIFEST}: {first_line(error)}") from error
    return connection


def _parquet_view(folder: Path, table: str, names: Sequence[str], declared: Mapping[str, Table]) -> str:
    """The statements that make a view of a table's files, and say what it means."""
    paths = ", ".join([parquet_path(folder, table, name) for name in names])
    view = f"CREATE OR REPLACE VIEW {identifier(table)} AS SELECT * FROM"
    made = f"{view} read_parquet([{paths}])"  # checked, quoted
    return ";".join([made, *(comments(declared[table], "VIEW") if table in declared else [])])


def parquet_path(folder: Path, table: str, name: str) -> str:
    """The SQL literal of a Parquet file, which must lie in its table's folder; characters with a meaning to glob are escaped."""
    if not _is_file_of(table, name):
        raise ValueError(f"{name!r} does not name a file of table {table}")
    path = "".join(f"[{character}]" if character in "*?[" else character for character in str(folder / name))
    return literal(path)


def _is_file_of(table: str, name: str) -> bool:
    """Whether ``name`` is a Parquet file directly in the folder of ``table``."""
    folder, _, file = name.partition("/")
    return folder == table and "/" not in file and "\\" not in file and file.endswith(".parquet")
