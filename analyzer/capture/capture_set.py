"""Several captures as one: files, folders, globs and standard input, packet by packet in order of time.

A file is opened when the time of its first packet is reached and closed behind its last, so that of a rotated set only
the files that overlap are open. The order inside a file is never changed.
"""

import glob
import heapq
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.capture.opening import STANDARD_INPUT, NoCaptureError, open_capture, secrets_in
from analyzer.capture.pcapng import PcapngReader
from analyzer.capture.reader import CaptureReader, UnreadableReader
from analyzer.errors import CaptureError

_AT_ONCE: Final = -1  # first time of an input that can be read only once
_NEVER: Final = limits.TIMESTAMP_NANOSECONDS  # later than every packet
_NAMED_LIKE_ONE: Final = re.compile(r"\.(pcap|pcapng|cap)[0-9]*(\.(gz|zst|xz))?$", re.IGNORECASE)
_TOLD: Final = 5  # faults in a message
_PEEK_BYTES: Final = 1 << 14  # enough for a file's headers and first packet


class _Waiting:
    """An input whose first packet is not due yet; ``reader`` is there when it cannot be opened a second time."""

    def __init__(self, first_time: int, path: str, size: int | None, reader: CaptureReader | None) -> None:
        self.first_time = first_time
        self.path = path
        self.size = size
        self.reader = reader


class CaptureSet:
    """The packets of all inputs in order of time; of equal times, the input that was numbered first comes first.

    ``readers`` are those of the inputs that were opened so far, in order of their numbers, which follow the times of
    their first packets. ``unreadable`` has a line for each file or folder that could not be looked into, and was left out.
    ``secrets`` are the key logs inside the files (pcapng Decryption Secrets Blocks): those of files are all there from the beginning,
    those of pipes come as they are read; whoever uses them takes them out.
    """

    def __init__(
        self,
        paths: Sequence[str],
        first_capture_index: int = 0,
        block_bytes: int = limits.BLOCK_BYTES,
        readers: Sequence[CaptureReader] = (),
        *,
        skips_unreadable: bool = False,
    ) -> None:
        """Look at the beginning of every file. ``readers`` are inputs that are open already, such as interfaces.

        Raises ``CaptureError`` where a path is not there, is no capture, or is a folder without one; with
        ``skips_unreadable`` only where that is so of all of them.
        """
        self._skips_unreadable = skips_unreadable
        self.readers: list[CaptureReader] = []
        self.unreadable: list[str] = []
        self.secrets: list[bytes] = []
        self.has_pipes = False
        self.size: int | None = None  # bytes of all files as stored, None where one of them is a pipe
        self._first_capture_index = first_capture_index
        self._block_bytes = block_bytes
        self._waiting: list[_Waiting] = []  # the next one last
        self._heap: list[tuple[int, int]] = []  # (time of the packet it stands on, position in readers), without the current
        self._current: CaptureReader | None = None
        self._until: i64 = _AT_ONCE  # last time at which the current reader's packet is the next of all
        self._current_position = 0
        for reader in readers:
            self._waiting.append(_Waiting(_AT_ONCE, reader.name, None, reader))
        self._find(paths)

    @property
    def bytes_read(self) -> int:
        """Bytes of all files as stored that were read so far."""
        return sum([reader.bytes_read for reader in self.readers])

    def beginnings(self) -> list[tuple[str, int]]:
        """The path and the time of the first packet of each input not opened yet, but for those that can be read only once."""
        return [(waiting.path, waiting.first_time) for waiting in self._waiting if waiting.first_time >= 0]

    def next(self) -> CaptureReader | None:
        """The reader that stands on the next packet of all inputs; None at the end. It moves with the following call."""
        current = self._current
        if current is not None:
            if current.next():
                if current.timestamp <= self._until:
                    return current
                heapq.heappush(self._heap, (current.timestamp, self._current_position))
            else:
                current.close()
            self._current = None
        return self._change()

    def close(self) -> None:
        """Release all files; for when reading is given up."""
        for reader in self.readers:
            reader.close()
        for waiting in self._waiting:
            if waiting.reader is not None:
                waiting.reader.close()
        self._waiting.clear()
        self._heap.clear()
        self._current = None

    def _change(self) -> CaptureReader | None:
        """Make the reader with the next packet the current one, after opening the files whose time has come."""
        while self._waiting and (not self._heap or self._waiting[-1].first_time < self._heap[0][0]):
            self._join(self._waiting.pop())
        while not self._heap:
            reader = self._further()
            if reader is None:
                return None
            self._join(_Waiting(_AT_ONCE, reader.name, None, reader))
        _, position = heapq.heappop(self._heap)
        self._current_position = position
        until: i64 = _NEVER
        if self._heap:
            other_time, other_position = self._heap[0]
            until = other_time if position < other_position else other_time - 1
        if self._waiting:
            # Those waiting have higher numbers.
            until = min(until, self._waiting[-1].first_time)
        self._until = until
        self._current = self.readers[position]
        return self._current

    def _further(self) -> CaptureReader | None:
        """The next input of a set that grows, behind the last one; None where there is none."""
        return None

    def _join(self, waiting: _Waiting) -> None:
        """Open an input and stand on its first packet."""
        reader = waiting.reader
        if reader is None:
            try:
                reader = open_capture(waiting.path, self._block_bytes)
            except CaptureError as error:
                reader = UnreadableReader(waiting.path, waiting.size, str(error))
        if waiting.reader is not None:  # a pipe: its secrets come with its packets
            self.secrets += reader.secrets
            reader.secrets = self.secrets
        reader.capture_index = self._first_capture_index + len(self.readers)
        self.readers.append(reader)
        if reader.next():
            heapq.heappush(self._heap, (reader.timestamp, len(self.readers) - 1))
        else:
            reader.close()

    def _find(self, paths: Sequence[str]) -> None:
        """Fill ``_waiting`` from what the user named."""
        seen: set[tuple[int, int]] = set()  # a file that is named twice is read once
        try:
            for path in paths:
                try:
                    several = _expand(path)
                except CaptureError as error:
                    self._leave_out(error)
                    continue
                for expanded in several:
                    try:
                        if Path(expanded).is_dir():
                            self._look_through(expanded, seen)
                        else:
                            self._look_at(expanded, seen)
                    except CaptureError as error:
                        self._leave_out(error)
            if paths and not self._waiting:
                raise CaptureError("\n".join(self.unreadable[:_TOLD]))
        except BaseException:
            self.close()
            raise
        if all(waiting.size is not None for waiting in self._waiting):
            self.size = sum(waiting.size or 0 for waiting in self._waiting)
        self._waiting.sort(key=_first_time)  # stable: of equal times, the order in which they were named
        self._waiting.reverse()

    def _leave_out(self, error: CaptureError) -> None:
        """Take down what was named and cannot be read. Raises the error where nothing may be left out."""
        if not self._skips_unreadable:
            raise error
        self.unreadable.append(str(error))

    def _look_through(self, folder: str, seen: set[tuple[int, int]]) -> None:
        """Take the captures in a folder and the folders in it, leaving out hidden ones and files that are no captures.

        Those that are named like captures and are none are taken down.
        """
        files = captures = 0
        noted = len(self.unreadable)
        for where, folders, names in os.walk(folder, onerror=self._note):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = os.path.join(where, name)  # noqa: PTH118  # the spelling of the user's path is kept
                is_named_like_one = _NAMED_LIKE_ONE.search(name) is not None
                is_broken_link = is_named_like_one and not Path(path).exists()
                if name.startswith(".") or not (Path(path).is_file() or is_broken_link):
                    continue
                files += 1
                try:
                    self._look_at(path, seen)
                    captures += 1
                except CaptureError as error:
                    if is_named_like_one or not isinstance(error, NoCaptureError):
                        self.unreadable.append(str(error))
        if not captures:
            last = f" ({self.unreadable[-1]})" if len(self.unreadable) > noted else ""
            raise CaptureError(f"{folder}: required a folder with captures, found none in {files} files{last}")

    def _note(self, error: OSError) -> None:
        """Take down a folder that cannot be listed."""
        self.unreadable.append(f"{error.filename}: required a folder that can be read, found: {error.strerror}")

    def _look_at(self, path: str, seen: set[tuple[int, int]]) -> None:
        """Find out when a capture begins. Raises ``CaptureError``."""
        identity = _identity(path)
        if identity in seen:
            return
        is_regular = path != STANDARD_INPUT and Path(path).is_file()
        reader = open_capture(path, _PEEK_BYTES if is_regular else self._block_bytes)
        if identity is not None:
            seen.add(identity)
        if not is_regular:
            self.has_pipes = True
            self._waiting.append(_Waiting(_AT_ONCE, path, None, reader))
            return
        first_time: int = reader.timestamp if reader.next() else _NEVER
        reader.close()
        if isinstance(reader, PcapngReader):
            self.secrets += secrets_in(path, self._block_bytes)
        self._waiting.append(_Waiting(first_time, path, reader.size, None))


def _first_time(waiting: _Waiting) -> int:
    return waiting.first_time


def _identity(path: str) -> tuple[int, int] | None:
    """What tells whether two paths are the same file; None where there is none."""
    try:
        status = os.fstat(0) if path == STANDARD_INPUT else os.stat(path)  # noqa: PTH116  # as fstat
    except (OSError, ValueError):  # ValueError: a NUL in the path; opening it will say so
        return None
    return status.st_dev, status.st_ino


def _expand(path: str) -> list[str]:
    """The paths that a glob stands for, sorted; any other path itself. Raises ``CaptureError`` where none is there."""
    if path == STANDARD_INPUT or os.path.lexists(path) or not glob.has_magic(path):
        return [path]
    found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207  # Path.glob cannot take absolute patterns
    if not found:
        raise CaptureError(f"{path}: required a file that matches, found none")
    return found
