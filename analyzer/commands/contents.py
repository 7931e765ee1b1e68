"""A folder that contents are written to, however many are open at a time and however large they are.

Nothing that was captured decides where a file lies: names are made of numbers and letters here, and no link is followed.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

from analyzer.errors import UnmuxError, UsageError

HELD_BYTES: Final = 1 << 14  # of a content in memory; larger ones are written as they come
ALL_HELD_BYTES: Final = 32 << 20  # of all contents in memory
_OPEN_FILES: Final = 64  # at a time; processes may usually have 1,024
_NOT_NAMED: Final = re.compile(r"[^A-Za-z0-9_-]+")
_NAMED_CHARACTERS: Final = 40  # of a target in a file's name


class Part:
    """A content that is being collected."""

    def __init__(self, folder: "Folder") -> None:
        self.size = 0
        self.is_decoded = True
        self.is_complete = False
        self._folder = folder
        self._digest = hashlib.sha256()
        self._held = bytearray()
        self._path: Path | None = None  # of what is not held

    def write(self, data: bytes) -> None:
        """Take the next bytes. That they cannot be written the folder's ``failure`` says: dissectors must not see it."""
        folder = self._folder
        if folder.failure is not None:
            return
        self.size += len(data)
        self._digest.update(data)
        try:
            if self._path is None and len(self._held) + len(data) <= HELD_BYTES and folder.may_hold(len(data)):
                self._held += data
                return
            if self._path is None:
                self._path = folder.new_path()
                folder.append(self._path, self._release())
            folder.append(self._path, data)
        except OSError as error:
            folder.fail(error)

    def end(self, is_decoded: bool, is_complete: bool) -> None:
        """Learn that no more will come."""
        self.is_decoded = is_decoded
        self.is_complete = is_complete

    def sha256(self) -> str:
        """The SHA-256 of all that came, in hexadecimal."""
        return self._digest.hexdigest()

    def taken(self) -> bytes:
        """All that came, which is kept no longer; for small ones."""
        if self._path is None:
            return self._release()
        self._folder.close(self._path)
        data = self._path.read_bytes()
        self._path.unlink()
        return data

    def discard(self) -> None:
        """Nobody wants it."""
        self._release()
        if self._path is not None:
            self._folder.close(self._path)
            self._path.unlink(missing_ok=True)

    def move_to(self, target: Path) -> None:
        """Give what came its name in the folder."""
        if self._path is None:
            self._path = self._folder.new_path()
            self._path.write_bytes(self._release())
        self._folder.close(self._path)
        self._path.replace(target)  # replaces a link, and does not follow it

    def _release(self) -> bytes:
        held = bytes(self._held)
        self._held = bytearray()
        self._folder.may_hold(-len(held))
        return held


class Folder:
    """The folder, and the index of what is written to it: a line of JSON for each file."""

    INDEX: Final = "index.jsonl"

    def __init__(self, path: str, *, force: bool) -> None:
        """UsageError where ``path`` is a file, UnmuxError where it is a folder with something in it and not ``force``."""
        self.files = 0
        self.bytes = 0
        self.failure: UnmuxError | None = None
        self._path = Path(path)
        self._held = 0
        self._numbers = 0
        self._open: OrderedDict[Path, BinaryIO] = OrderedDict()
        if self._path.exists() and not self._path.is_dir():
            raise UsageError(f"--to {path}: is a file; name a folder")
        try:
            if self._path.is_dir() and any(self._path.iterdir()) and not force:
                raise UnmuxError(f"--to {path}: has something in it; --force adds to it and replaces files of the same name")
            self._is_new = not self._path.exists()
            self._path.mkdir(parents=True, exist_ok=True)
            self._collecting = Path(tempfile.mkdtemp(prefix=".unmux-", dir=self._path))
            self._index = (self._collecting / self.INDEX).open("w", encoding="ascii")
        except OSError as error:
            raise UnmuxError(f"--to {path}: {error.strerror}") from None

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for file in self._open.values():
            file.close()
        self._index.close()
        shutil.rmtree(self._collecting, ignore_errors=True)
        if self._is_new and kind is not None:
            with suppress(OSError):  # it has something in it
                self._path.rmdir()

    def keep(self, part: Part, name: str, facts: Mapping[str, object]) -> None:
        """Give a content its name, and note in the index what it is."""
        if self.failure is not None:
            return
        try:
            part.move_to(self._path / name)
            line = {"file": name, **facts, "bytes": part.size, "sha256": part.sha256()}
            self._index.write(json.dumps({key: value for key, value in line.items() if value is not None}) + "\n")
        except OSError as error:
            self.fail(error)
        self.files += 1
        self.bytes += part.size

    def finish(self) -> None:
        """Write the index. UnmuxError where that fails."""
        try:
            self._index.close()
            (self._collecting / self.INDEX).replace(self._path / self.INDEX)
        except OSError as error:
            self.fail(error)
        if self.failure is not None:
            raise self.failure

    def fail(self, error: OSError) -> None:
        """Nothing more can be written."""
        self.failure = self.failure or UnmuxError(f"--to {self._path}: {error.strerror or error}")

    # --- for parts ---

    def may_hold(self, size: int) -> bool:
        """Whether so many bytes more may be held in memory; then they are counted."""
        if size > 0 and self._held + size > ALL_HELD_BYTES:
            return False
        self._held += size
        return True

    def new_path(self) -> Path:
        """A name for a file that has none yet."""
        self._numbers += 1
        return self._collecting / str(self._numbers)

    def append(self, path: Path, data: bytes) -> None:
        """Write to the end of a file. OSError where that fails."""
        file = self._open.get(path)
        if file is None:
            if len(self._open) >= _OPEN_FILES:
                self._open.popitem(last=False)[1].close()
            file = path.open("ab")
            self._open[path] = file
        self._open.move_to_end(path)
        file.write(data)

    def close(self, path: Path) -> None:
        """Close a file if it is open."""
        file = self._open.pop(path, None)
        if file is not None:
            file.close()


# by media type (https://www.iana.org/assignments/media-types), without parameters; and by structured suffix
_SUFFIXES: Final = {
    "application/dns-message": ".dns",
    "application/gzip": ".gz",
    "application/java-archive": ".jar",
    "application/javascript": ".js",
    "application/json": ".json",
    "application/ld+json": ".json",
    "application/manifest+json": ".json",
    "application/msword": ".doc",
    "application/octet-stream": ".bin",
    "application/pdf": ".pdf",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/wasm": ".wasm",
    "application/x-7z-compressed": ".7z",
    "application/x-gzip": ".gz",
    "application/x-javascript": ".js",
    "application/x-ndjson": ".jsonl",
    "application/x-tar": ".tar",
    "application/x-www-form-urlencoded": ".form",
    "application/x-yaml": ".yaml",
    "application/xhtml+xml": ".xhtml",
    "application/xml": ".xml",
    "application/yaml": ".yaml",
    "application/zip": ".zip",
    "application/zstd": ".zst",
    "audio/aac": ".aac",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/wav": ".wav",
    "font/ttf": ".ttf",
    "font/woff": ".woff",
    "font/woff2": ".woff2",
    "image/avif": ".avif",
    "image/bmp": ".bmp",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/svg+xml": ".svg",
    "image/vnd.microsoft.icon": ".ico",
    "image/webp": ".webp",
    "image/x-icon": ".ico",
    "text/css": ".css",
    "text/csv": ".csv",
    "text/event-stream": ".events",
    "text/html": ".html",
    "text/javascript": ".js",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/xml": ".xml",
    "video/mp2t": ".ts",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
}
_STRUCTURED: Final = {"json": ".json", "xml": ".xml", "yaml": ".yaml", "zip": ".zip", "gzip": ".gz"}


def suffix_of(content_type: str | None) -> str:
    """How the name of a file with content of this type ends; ``.bin`` where that is not known."""
    media_type = (content_type or "").partition(";")[0].strip().lower()
    known = _SUFFIXES.get(media_type) or _STRUCTURED.get(media_type.rpartition("+")[2] if "+" in media_type else "")
    return known or (".txt" if media_type.startswith("text/") else ".bin")


def word_of(target: str | None, suffix: str) -> str:
    """What of a target may stand in a file's name, after a hyphen: letters and digits of its last part; may be empty."""
    path = (target or "").partition("?")[0].partition("#")[0].rstrip("/")
    word = path.rpartition("/")[2]
    if suffix and word.lower().endswith(suffix):
        word = word[: -len(suffix)]
    named = _NOT_NAMED.sub("_", word).strip("_-")[:_NAMED_CHARACTERS]
    return f"-{named}" if named else ""
