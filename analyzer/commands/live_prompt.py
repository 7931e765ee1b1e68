"""The process behind the SQL prompt of a live screen: the shell, on the folder that the capture writes.

The capture comes first where both want the processor.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Final

from analyzer.commands import shell, signals
from analyzer.errors import UnmuxError
from analyzer.live.prompt import GRACE_SECONDS
from analyzer.pipeline import open_store
from analyzer.text import escape_for_terminal

NICENESS: Final = 19  # the most: a query has what the capture leaves
BANNER: Final = "SQL while the capture goes on; .help tells what can be said, \\q goes back"
_START: Final = (
    "import os, sys; sys.path[:] = sys.argv.pop(1).split(os.pathsep); from analyzer.commands.live_prompt import main; main()"
)


def command(folder: str, memory_bytes: int) -> list[str]:
    """The words that start this process on a folder; the number of a descriptor that ends with the capture is to follow."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return [sys.executable, "-P", "-c", _START, paths, folder, str(memory_bytes)]


def main() -> None:
    """Be the prompt, and end the process."""
    folder, memory_bytes, lifeline = sys.argv[1:]
    Thread(target=_end_with, args=(int(lifeline),), daemon=True).start()
    signals.handle(signals.end)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # nobody would wake it
    os.environ["LESSSECURE"] = "1"  # nor a pager; and rights that were lent to the capture are not for other commands
    with suppress(OSError):
        os.nice(NICENESS)
    try:
        with suppress(signals.Interrupted, OSError):  # the capture has ended, or the terminal is gone
            _talk(folder, int(memory_bytes))
        with suppress(OSError):
            sys.stdout.flush()
    finally:
        os._exit(0)  # whatever still runs, or was raised: two signals at a time, of a terminal that goes with the capture


def _talk(folder: str, memory_bytes: int) -> None:
    try:
        if not Path(folder).is_dir():
            raise UnmuxError("there was no room for the rows that a prompt reads; the capture goes on")
        with open_store(folder, memory=memory_bytes) as store:
            shell.run(store, BANNER)
    except UnmuxError as error:
        print(f"unmux: {escape_for_terminal(str(error), lines=True)}", file=sys.stderr)
        with suppress(EOFError):
            input("Enter returns to the screen ")


def _end_with(lifeline: int) -> None:
    """End as SIGTERM does when nobody holds the other end of a pipe any more: the capture was killed."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(0)
