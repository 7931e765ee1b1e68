"""Answers that are longer than the terminal, a page at a time."""

import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from types import TracebackType
from typing import IO, Self

_LESS_OPTIONS = "FRX"  # nothing to press where all of it fits; colours as they are; what was shown stays


class Pager(io.TextIOBase):
    """A terminal by way of ``PAGER``, else of less, where there is one. It is started at the first word, and waited for."""

    def __init__(self) -> None:
        self._terminal = sys.stdout
        self._process: subprocess.Popen[str] | None = None
        self._file: IO[str] | None = None

    def isatty(self) -> bool:
        """It is one: what is written has colours, and the terminal's width."""
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str, /) -> int:
        """Pass text on. Raises ``BrokenPipeError`` when its reader has seen enough."""
        if self._file is None:
            self._process = _started()
            self._file = self._process.stdin if self._process is not None and self._process.stdin is not None else self._terminal
        return self._file.write(text)

    def flush(self) -> None:
        """Pass on what waits. Raises ``BrokenPipeError`` as writing does."""
        if self._file is not None:
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is None or self._file is None:
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pager
        try:
            with suppress(BrokenPipeError):
                self._file.close()
            self._process.wait()
        except BaseException:
            self._process.terminate()
            self._process.wait()
            raise
        finally:
            signal.signal(signal.SIGINT, before)


def _started() -> "subprocess.Popen[str] | None":
    """The pager; None where there is none, or none that can be started."""
    environment = {"LESS": _LESS_OPTIONS, **os.environ}
    try:
        words = shlex.split(os.environ.get("PAGER", "less"))
        if not words or shutil.which(words[0]) is None:
            return None
        return subprocess.Popen(words, stdin=subprocess.PIPE, text=True, env=environment, errors="replace")  # noqa: S603  # the user's
    except (OSError, ValueError):  # no program, or a quotation that does not end
        return None
