"""From a path to the reader that fits, told by the first bytes."""

import os
import stat
import sys
from pathlib import Path
from typing import Any, Final

from analyzer.capture.compression import Source, described, expanded
from analyzer.capture.pcap import FILE_HEADER_BYTES, MAGICS, PcapReader
from analyzer.capture.pcapng import BYTE_ORDERS, FIRST_BYTES, SECTION_MAGIC, PcapngReader
from analyzer.capture.reader import CaptureReader
from analyzer.errors import CaptureError

STANDARD_INPUT: Final = "-"
_REQUIRED: Final = "a pcap or pcapng file, plain or in gzip, zstd or xz"
_SHOWN_BYTES: Final = 8  # of a file that is no capture


class NoCaptureError(CaptureError):
    """The file can be read and is no capture."""


def open_capture(path: str, block_bytes: int) -> CaptureReader:
    """A reader that stands before the first packet of a file, pipe or (``-``) standard input.

    Raises ``CaptureError`` where it cannot be read and ``NoCaptureError`` where it is no capture.
    """
    size: int | None = None
    if path == STANDARD_INPUT:
        if sys.stdin is None or sys.stdin.closed:
            raise CaptureError("-: required standard input, found it closed")
        standard_input: Any = sys.stdin.buffer  # declared as what it is not, BinaryIO
        source = Source(standard_input, block_bytes, keep_open=True)
    else:
        try:
            file = Path(path).open("rb")  # noqa: SIM115  # the reader closes it
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise CaptureError(f"{path}: required a file that can be read, found: {reason}") from error
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            size = status.st_size
            source = Source(file, block_bytes, seek=file.seek)
        else:
            source = Source(file, block_bytes)
    return open_source(path, source, size, block_bytes)


def open_source(path: str, source: Source, size: int | None, block_bytes: int) -> CaptureReader:
    """A reader for the bytes of a source, which ``path`` names. Raises as :func:`open_capture`; then the source is closed."""
    try:
        return _reader(path, source, size, block_bytes)
    except BaseException:
        source.close()
        raise


def secrets_in(path: str, block_bytes: int) -> list[bytes]:
    """The decryption secrets of a file, wherever in it they are; none where it cannot be read."""
    try:
        reader = open_capture(path, block_bytes)
    except CaptureError:
        return []
    try:
        if isinstance(reader, PcapngReader):
            reader.read_secrets()
        return reader.secrets
    finally:
        reader.close()


def _reader(path: str, stored: Source, size: int | None, block_bytes: int) -> CaptureReader:
    source = expanded(stored, path, block_bytes)
    first = source.first(FILE_HEADER_BYTES)
    inside = f" in {source.compression} data" if source.compression else ""
    fault = f" ({source.fault})" if source.fault else ""
    if first[:4] in MAGICS:
        if len(first) == FILE_HEADER_BYTES:
            return PcapReader(path, source, size)
        required = f"a pcap file header of {FILE_HEADER_BYTES} bytes"
        raise CaptureError(f"{path}: required {required}, found {len(first)}{inside}{fault}")
    if first[:4] == SECTION_MAGIC and first[8:FIRST_BYTES] in BYTE_ORDERS:
        return PcapngReader(path, source, size)
    if first:
        found = described(first[:_SHOWN_BYTES])
    else:
        found = "nothing" if source.compression or source.fault else "an empty file"
    raise NoCaptureError(f"{path}: required {_REQUIRED}, found {found}{inside}{fault}")
