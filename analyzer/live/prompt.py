"""The SQL prompt of the screen: a shell in a process of its own, which the capture never waits for.

A query takes neither the capture's interpreter nor its memory, and whatever it does ends with it. While the prompt is open
the terminal is its own: its process group is the one in the foreground, which Ctrl-C and changes of size go to, as a shell
hands the terminal to what it runs.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

GRACE_SECONDS: Final = 2.0  # to stop a query and leave
_PASTES_OFF: Final = b"\x1b[?2004l"  # bracketed paste, which a prompt that was killed leaves on


class Prompt:
    """A prompt that is open, from the moment it is made."""

    def __init__(self, command: Sequence[str], terminal: int) -> None:
        """Run ``command``, followed by the number of a descriptor that ends when this process does.

        ``terminal`` is the descriptor of the terminal that it gets. Raises ``OSError`` when no process can be started.
        """
        self._terminal = terminal
        ending, self._lifeline = os.pipe()
        try:
            self._process = subprocess.Popen([*command, str(ending)], pass_fds=(ending,), process_group=0)  # noqa: S603  # our own
        except OSError:
            os.close(self._lifeline)
            raise
        finally:
            os.close(ending)
        self._bring_forward(self._process.pid)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGCONT)  # it stops when it needs the terminal sooner than it has it

    def is_open(self) -> bool:
        """Whether somebody still talks to it."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it if it is open, and take the terminal back; its modes are for the caller to set."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)  # a pager is in the group as well
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._lifeline)
        self._bring_forward(os.getpgrp())
        with suppress(OSError):
            os.write(sys.stdout.fileno(), _PASTES_OFF)

    def _bring_forward(self, group: int) -> None:
        """Make a process group that of the foreground, where the terminal is the one that controls this process."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})  # which stops those who are in the background
        try:
            with suppress(OSError):
                os.tcsetpgrp(self._terminal, group)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
