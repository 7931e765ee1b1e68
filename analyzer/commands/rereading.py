"""Captures that are read again: those that were named, or those that a store was made from."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analyzer.commands import output, source
from analyzer.errors import UnmuxError, UsageError

if TYPE_CHECKING:
    from analyzer.capture.capture_set import CaptureSet
    from analyzer.store import Store


@dataclass
class Run:
    """Captures that were read together, the number of the first one, and the rules for -d that they were read with."""

    names: list[str]
    first_index: int
    rules: list[str] | None

    def captures(self) -> "CaptureSet":
        """The captures from their beginning. CaptureError when they cannot be read, UsageError when that is possible only once."""
        from analyzer.capture.capture_set import CaptureSet

        captures = CaptureSet(self.names, self.first_index)
        if captures.has_pipes:
            captures.close()
            raise UsageError("captures are read more than once here: required files, found standard input or a pipe")
        return captures


def runs(paths: list[str]) -> list[Run]:
    """What there is to read: one run of the captures named, or each run that added to the store named.

    UsageError for standard input, UnmuxError where a capture that a store was made from is not there.
    """
    if "-" in paths:
        raise UsageError("captures are read more than once here: required files, found standard input")
    if len(paths) > 1 or not source.names_store(paths[0]):
        return [Run(paths, 0, None)]
    from analyzer.pipeline import open_store

    with open_store(paths[0]) as store:
        check_interfaces(paths[0], store)
        found = _runs_of(store)
    check_names(paths[0], [name for run in found for name in run.names])
    return found


def _runs_of(store: "Store") -> list[Run]:
    rules = dict(
        store.sql("SELECT first_capture_index, value FROM store_metadata WHERE key = 'option_decode_as' ORDER BY 1").fetchall()
    )
    found = [Run([], first, said.split(", ") if said else []) for first, said in rules.items()]
    for index, name in store.sql("SELECT capture_index, name FROM captures ORDER BY capture_index").fetchall():
        of_it = [run for run in found if run.first_index <= index]
        if of_it:
            of_it[-1].names.append(str(name))
    return [run for run in found if run.names]


def check_interfaces(path: str, store: "Store") -> None:
    """UnmuxError where the store at ``path`` has rows that were captured from an interface, whatever its name is that of now."""
    for (name,) in store.sql("SELECT name FROM captures WHERE format = 'live' ORDER BY capture_index").fetchall():
        raise UnmuxError(
            f"{path}: was captured from the interface {name}: its packets are not kept; analyze the file that -w wrote"
        )


def check_names(path: str, names: list[str]) -> None:
    """UnmuxError unless the captures that the store at ``path`` was made from can be read again.

    Whoever made the store chose the names: they may be of any files, which are only read, but not of devices or pipes.
    """
    others = [name for name in names if name != "-" and Path(name).exists() and not Path(name).is_file()]
    if others:
        raise UnmuxError(f"{path}: was made from {others[0]}, which is no file and cannot be read again")
    missing = [name for name in names if name != "-" and not Path(name).exists()]
    if missing:
        raise UnmuxError(f"{path}: was made from {missing[0]}, which is not there; names are relative to where it was made")
    if "-" in names:
        raise UnmuxError(f"{path}: was made from standard input, which cannot be read again")


def warn(captures: "CaptureSet") -> None:
    """Say what could not be read."""
    faults = [f"{reader.name}: {reader.truncation}" for reader in captures.readers if reader.truncation is not None]
    for fault in [*captures.unreadable, *faults]:
        source.remark(fault)


def opened(paths: list[str], options: source.Options) -> AbstractContextManager["Store"]:
    """The tables of what is to be read again; ``options`` are for reading captures, so that a store need not refuse them."""
    if source.names_store(paths[0]):
        from analyzer.pipeline import open_store

        return open_store(paths[0], memory=options.memory.size)
    return source.opened(paths, options)


def matching(store: "Store", columns: str, where: str) -> list[tuple[int, ...]]:
    """These columns of the exchanges that a user's condition is true of. UnmuxError where it is no such condition."""
    with output.duckdb_errors():
        found: list[tuple[int, ...]] = output.interruptibly(
            store,
            lambda: store.sql(f"SELECT {columns} FROM exchanges WHERE ({where}\n)").fetchall(),  # noqa: S608  # the user's own
        )
    return found
