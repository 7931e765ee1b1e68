"""The bytes of a file, pipe or compressed file, block by block, so that memory stays the same however far they expand.

gzip (RFC 1952), zstd (RFC 8878) and xz are told by their first bytes, never by the file's name; concatenated members,
frames and streams are read as one, as their own tools do.
"""

import os
import sys
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from mypy_extensions import i64

from analyzer import limits
from analyzer.errors import CaptureError

GZIP_MAGIC: Final = b"\x1f\x8b"
XZ_MAGIC: Final = b"\xfd7zXZ\x00"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
MAGIC_BYTES: Final = 6  # the longest of them

# Formats that are recognised only to be named in the error.
_UNREADABLE: Final = {
    b"BZh": "bzip2 data",
    b"PK\x03\x04": "a zip archive",
    b"\x04\x22\x4d\x18": "lz4 data",
    b"snoop\x00": "a snoop capture",
}


class _File(Protocol):
    def read1(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class _Decompressor(Protocol):
    """What lzma and zstd offer; :class:`_GzipMember` has the same face."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class Source:
    """The bytes of a file as it is stored.

    ``bytes_read`` counts stored bytes, for progress. ``fault`` says why :meth:`read` gave no more, where that was not
    the end of the file.
    """

    def __init__(
        self, file: _File, block_bytes: int, keep_open: bool = False, seek: Callable[[int, int], int] | None = None
    ) -> None:
        """``seek`` is that of a file in which it costs nothing."""
        self.compression: str | None = None
        self.fault: str | None = None
        self.bytes_read: i64 = 0
        self.block_bytes = block_bytes
        self._file = file
        self._keep_open = keep_open
        self._seek = seek
        self._pushed = b""

    def read(self) -> bytes:
        """The next bytes, at most a block and as few as a pipe has ready; empty at the end."""
        if self._pushed:
            block = self._pushed
            self._pushed = b""
            return block
        try:
            block = self._file.read1(self.block_bytes)
        except (OSError, ValueError) as error:  # ValueError: closed meanwhile
            self.fault = f"reading failed: {error}"
            return b""
        self.bytes_read += len(block)
        return block

    def step_back(self, count: i64) -> bool:
        """Read the last ``count`` bytes once more next time; False where that cannot be."""
        if self._seek is None or self._pushed:
            return False
        try:
            self._seek(-count, os.SEEK_CUR)
        except (OSError, ValueError):  # ValueError: closed meanwhile
            return False
        self.bytes_read -= count
        return True

    def push(self, block: bytes) -> None:
        """Give back bytes that were looked at, to be read next."""
        self._pushed = block

    def first(self, count: int) -> bytes:
        """The first ``count`` bytes or as many as there are, without taking them."""
        block = self.read()
        while len(block) < count:
            more = self.read()
            if not more:
                break
            block += more
        self.push(block)
        return block[:count]

    def close(self) -> None:
        """Release the file, unless it was to be kept open."""
        if not self._keep_open:
            self._file.close()


class CompressedSource(Source):
    """What the bytes of another source expand to."""

    def __init__(self, stored: Source, compression: str, block_bytes: int) -> None:
        super().__init__(stored._file, block_bytes, stored._keep_open)
        self.compression = compression
        self._kind = compression
        self._stored = stored
        self._input = b""  # compressed bytes not handed over yet
        self._decompressor: _Decompressor | None = None  # of the current member, None between members
        self._is_ended = False
        stored.block_bytes = min(block_bytes, limits.COMPRESSED_BLOCK_BYTES)

    def read(self) -> bytes:
        """The next expanded bytes, at most a block; empty at the end."""
        if self._pushed:
            block = self._pushed
            self._pushed = b""
            return block
        block = b""
        while not block and not self._is_ended:
            if self._decompressor is None and not self._next_member():
                self._is_ended = True
            else:
                block = self._expand()
        self.bytes_read = self._stored.bytes_read
        return block

    def _next_member(self) -> bool:
        """Begin the next member; False when there is none."""
        # Zeros between and after members are padding: of tapes, and xz file format section 2.2.
        self._input = self._input.lstrip(b"\x00")
        while len(self._input) < MAGIC_BYTES:
            more = self._stored.read()
            if not more:
                break
            self._input = (self._input + more).lstrip(b"\x00")
        if not self._input:
            self.fault = self._stored.fault
            return False
        if compression_of(self._input) != self._kind:
            self.fault = (
                f"{self._kind} data at byte {self._stored.bytes_read - len(self._input)} of the file: "
                f"required another member or the end, found {self._input[:4].hex(' ')}"
            )
            return False
        self._decompressor = _decompressor(self._kind)
        return True

    def _expand(self) -> bytes:
        decompressor = self._decompressor
        assert decompressor is not None
        if decompressor.needs_input and not self._input:
            self._input = self._stored.read()
            if not self._input:
                self._is_ended = True
                self.fault = self._stored.fault or (
                    f"{self._kind} data at byte {self._stored.bytes_read} of the file: required more, found its end"
                )
                return b""
        data = self._input if decompressor.needs_input else b""
        try:
            block = decompressor.decompress(data, self.block_bytes)
        except Exception as error:  # noqa: BLE001  # zlib.error, LZMAError or ZstdError, of modules that are loaded on demand
            self._is_ended = True
            self.fault = f"{self._kind} data damaged before byte {self._stored.bytes_read} of the file: {error}"
            return b""
        if data:
            self._input = b""
        if decompressor.eof:
            self._input = decompressor.unused_data + self._input
            self._decompressor = None
        return block


class _GzipMember:
    """One gzip member, with the face that lzma's and zstd's decompressors have. zlib checks its CRC and length."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)
        self._may_hold_output = False

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._may_hold_output and not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """``data`` is empty unless ``needs_input``. Raises ``zlib.error``."""
        block = self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)
        self._may_hold_output = len(block) == max_length
        return block


def compression_of(first: bytes) -> str | None:
    """The compression that a file's first bytes show: ``gzip``, ``zstd``, ``xz`` or None."""
    if first.startswith(GZIP_MAGIC):
        return "gzip"
    if first.startswith(XZ_MAGIC):
        return "xz"
    if first.startswith(ZSTD_MAGIC) or (first[1:4] == b"\x2a\x4d\x18" and first[0] & 0xF0 == 0x50):  # or a skippable frame
        return "zstd"
    return None


def described(first: bytes) -> str:
    """What a file that is no capture begins with, for an error: its first bytes in hexadecimal and what they are."""
    for magic, name in _UNREADABLE.items():
        if first.startswith(magic):
            return f"{name} ({first.hex(' ')})"
    return first.hex(" ")


def expanded(stored: Source, name: str, block_bytes: int) -> Source:
    """``stored`` itself or what it expands to. Raises ``CaptureError`` where this Python lacks the decompressor."""
    compression = compression_of(stored.first(MAGIC_BYTES))
    if compression is None:
        return stored
    try:
        _decompressor(compression)
    except ImportError as error:
        raise CaptureError(f"{name}: required the means to read {compression}, found a Python without them ({error})") from error
    return CompressedSource(stored, compression, block_bytes)


def _decompressor(compression: str) -> _Decompressor:
    """A decompressor for one member. The modules are loaded by the first file that needs them."""
    if compression == "gzip":
        return _GzipMember()
    if compression == "xz":
        import lzma

        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=limits.DECOMPRESSION_BYTES)
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.ZstdDecompressor()
