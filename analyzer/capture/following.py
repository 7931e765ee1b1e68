"""Captures that others are still writing: pipes, a file that grows, a folder in which files follow one another.

Behind the last byte there is so far, reading waits. The writer of a folder has gone on to its next file when there is one
that was changed later; then the file that is read is at its end.
"""

import os
import select
import stat
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.capture.capture_set import CaptureSet
from analyzer.capture.compression import Source
from analyzer.capture.live_reader import WAIT_MILLISECONDS, Idle
from analyzer.capture.opening import STANDARD_INPUT, NoCaptureError, open_source
from analyzer.capture.reader import CaptureReader
from analyzer.errors import CaptureError

_HEAD_BYTES: Final = (
    64  # of a file, which tell it from another one that is written in its place: the first packet's time is there
)


class PipeFile:
    """A pipe, read as soon as it has anything; ``idle`` is called meanwhile, and ends it."""

    def __init__(self, descriptor: int, idle: Idle) -> None:
        self._descriptor = descriptor
        self._idle = idle
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def read1(self, size: int, /) -> bytes:
        """The next bytes; empty at the end, or when ``idle`` ended it."""
        while self._idle():
            if self._poll.poll(WAIT_MILLISECONDS):
                block = os.read(self._descriptor, size)
                self._idle()  # keys of what was read may have come since
                return block
        return b""

    def close(self) -> None:
        """Close it, unless it is standard input."""
        if self._descriptor > 0:
            os.close(self._descriptor)
            self._descriptor = -1


class GrowingFile:
    """A file that is written meanwhile; a follower's ``has_next`` tells that its writer has gone on to another one."""

    def __init__(self, file: BinaryIO, idle: Idle, follower: "Follower | None" = None) -> None:
        self._file = file
        self._idle = idle
        self._follower = follower

    def read1(self, size: int, /) -> bytes:
        """The next bytes; empty at the end, or when ``idle`` ended it."""
        is_last = False
        while self._idle():
            block = self._file.read(size)
            if block:
                self._idle()  # keys of what was read may have come since
                return block
            if is_last:
                return b""
            if os.fstat(self._file.fileno()).st_size < self._file.tell():
                raise OSError("it was cut, or written anew")
            if self._follower is not None and self._follower.has_next():
                is_last = True  # but for what was written since
            else:
                time.sleep(WAIT_MILLISECONDS / 1000)
        return b""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_growing(path: str, idle: Idle, block_bytes: int = limits.BLOCK_BYTES) -> CaptureReader:
    """A reader that waits for more behind the end of a file, pipe or (``-``) standard input.

    Raises ``CaptureError`` where it cannot be read, and ``NoCaptureError`` where it is no capture.
    """
    if path == STANDARD_INPUT:
        if sys.stdin is None or sys.stdin.closed:
            raise CaptureError("-: required standard input, found it closed")
        return open_source(path, Source(PipeFile(sys.stdin.fileno(), idle), block_bytes), None, block_bytes)
    return open_source(path, Source(_growing(path, idle, None), block_bytes), None, block_bytes)


def _growing(path: str, idle: Idle, follower: "Follower | None") -> Any:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return PipeFile(descriptor, idle)
        return GrowingFile(os.fdopen(descriptor, "rb", buffering=0), idle, follower)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CaptureError(f"{path}: required a file that can be read, found: {reason}") from error


class Follower:
    """The files of a folder, in the order in which they were written."""

    def __init__(self, folder: str, idle: Idle) -> None:
        """Raises ``CaptureError`` where the folder cannot be listed."""
        self._folder = folder
        self._idle = idle
        self._seen: set[tuple[str, int, bytes]] = set()  # name, inode and head of the files that were read, or are no captures
        self._next: str | None = None
        self._looked_at: float = 0.0
        try:
            os.listdir(folder)  # noqa: PTH208  # as it is spelled
        except OSError as error:
            raise CaptureError(f"{folder}: required a folder that can be read, found: {error.strerror}") from error

    def has_next(self) -> bool:
        """Whether there is a file that was not read yet."""
        if self._next is None and time.monotonic() - self._looked_at > WAIT_MILLISECONDS / 1000:
            self._next = self._look()
            self._looked_at = time.monotonic()
        return self._next is not None

    def take(self) -> str | None:
        """The path of the next file, waiting for it; None when ``idle`` ended that."""
        while not self.has_next():
            if not self._idle():
                return None
            time.sleep(WAIT_MILLISECONDS / 1000)
        path = self._next
        self._next = None
        return path

    def _look(self) -> str | None:
        """The oldest file with a head that was not seen yet, from now on seen; None where there is none."""
        found: list[tuple[int, str]] = []
        for entry in os.scandir(self._folder):
            if not entry.name.startswith(".") and entry.is_file():
                found.append((entry.stat().st_mtime_ns, entry.path))
        present: set[tuple[str, int, bytes]] = set()
        chosen: str | None = None
        for _, path in sorted(found):
            identity = _identity(path)
            if identity is None:
                continue
            present.add(identity)
            if chosen is None and identity not in self._seen:
                chosen = path
                self._seen.add(identity)
        self._seen &= present  # those that are gone take no memory
        return chosen


def _identity(path: str) -> tuple[str, int, bytes] | None:
    """What tells a file, and another one written in its place; None while too little of it is there."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD_BYTES)
            return (path, os.fstat(file.fileno()).st_ino, head) if len(head) == _HEAD_BYTES else None
    except OSError:
        return None


class FollowedFolder(CaptureSet):
    """The captures that are written into a folder one after the other."""

    def __init__(self, folder: str, idle: Idle, first_capture_index: int = 0) -> None:
        """Raises ``CaptureError`` where the folder cannot be read."""
        self._idle = idle
        self._follower = Follower(folder, idle)
        super().__init__([], first_capture_index)
        self.has_pipes = True  # keys come with the packets

    def _further(self) -> CaptureReader | None:
        """The next file that is a capture."""
        while True:
            path = self._follower.take()
            if path is None:
                return None
            try:
                block_bytes: i64 = limits.BLOCK_BYTES
                return open_source(path, Source(_growing(path, self._idle, self._follower), block_bytes), None, block_bytes)
            except NoCaptureError:
                continue
            except CaptureError as error:
                self.unreadable.append(str(error))
