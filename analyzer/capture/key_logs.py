"""Key log files (RFC 9850), read in blocks of whole lines."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from analyzer import limits
from analyzer.errors import CaptureError

_BLOCK_BYTES: Final = 1 << 20


class FollowedKeyLog:
    """A key log that others are still writing, which need not be there yet."""

    def __init__(self, path: str, blocks: list[bytes]) -> None:
        """Lines are put into ``blocks`` as they come."""
        self._path = path
        self._blocks = blocks
        self._file: BinaryIO | None = None
        self._rest = b""  # of a line that is not whole

    def look(self) -> None:
        """Take what was written since the last call. Raises ``CaptureError`` where the file is there and cannot be read."""
        try:
            if self._file is None:
                self._file = Path(self._path).open("rb")  # noqa: SIM115  # it stays open
            while block := self._file.read(_BLOCK_BYTES):
                lines, end, self._rest = (self._rest + block).rpartition(b"\n")
                if end:
                    self._blocks.append(lines)
                elif len(self._rest) > _BLOCK_BYTES:
                    raise CaptureError(f"{self._path}: required a key log, found a line of more than {_BLOCK_BYTES} bytes")
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise CaptureError(f"{self._path}: required a key log that can be read, found: {reason}") from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


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
