"""The signals that end the program, which must not leave its temporary files behind."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], None]
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal that ends the program; ``number`` is the signal's. Nobody below catches it, as Click does KeyboardInterrupt."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def handle(handler: Handler) -> dict[int, Any]:
    """Let ``handler`` hear the ending signals that are not ignored; returns what heard them before, for :func:`restore`."""
    if threading.current_thread() is not threading.main_thread():  # no other thread hears signals
        return {}
    heard = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def restore(before: dict[int, Any]) -> None:
    """Give the signals back to what heard them before."""
    for number, handler in before.items():
        signal.signal(number, handler)


def end(number: int, _frame: FrameType | None) -> None:
    """End the program as Ctrl-C does, with everything on the way out closed and removed."""
    raise Interrupted(number)
