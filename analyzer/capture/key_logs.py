"""Key log files (RFC 9850), read in blocks of whole lines."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from analyzer import limits
from analyzer.errors import CaptureError

_BLOCK_BYTES: Final = 1 << 20


def key_log_blocks(path: str) -> Iterator[bytes]:
    """The lines of a key log. Raises ``CaptureError`` where it cannot be read; its text is in no message."""
    left = limits.KEY_LOG_FILE_BYTES
    try:
        with Path(path).open("rb") as file:
            rest = b""
            while block := file.read(_BLOCK_BYTES):
                left -= len(block)
                if left < 0:
                    raise CaptureError(f"{path}: required a key log of at most {limits.KEY_LOG_FILE_BYTES} bytes, found more")
                lines, end, last = (rest + block).rpartition(b"\n")
                if not end and len(last) > _BLOCK_BYTES:
                    raise CaptureError(f"{path}: required a key log, found a line of more than {_BLOCK_BYTES} bytes")
                rest = last
                if lines:
                    yield lines
            yield rest
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CaptureError(f"{path}: required a key log that can be read, found: {reason}") from error
