"""What is to be looked at again later, in a queue that does not keep connections whose rows are written."""

from collections import deque

from mypy_extensions import i64

from analyzer import limits
from analyzer.connections.connection import Connection
from analyzer.connections.half import Half


class Due:
    """Something to look at again at a time and packet count of the table's clock."""

    def __init__(self, clock: i64, count: i64, connection: Connection, half: Half | None) -> None:
        self.clock = clock
        self.count = count
        self.connection = connection
        self.half = half


class DueQueue:
    """A queue of what is due, the first to come first.

    The clock may stand still while connections come and go. So whenever the queue has doubled, it is cleared of what
    finished connections have left in it: it stays as small as the number of open ones.
    """

    def __init__(self) -> None:
        self._queue: deque[Due] = deque()
        self._most: i64 = limits.FINISHED_WAITING

    def add(self, due: Due) -> None:
        """Put something at the end."""
        self._queue.append(due)
        if len(self._queue) > self._most:
            self._forget_finished()

    def first(self) -> Due | None:
        """What is due first, None when nothing waits."""
        return self._queue[0] if self._queue else None

    def count(self) -> i64:
        """How much waits, with what finished connections have left."""
        return len(self._queue)

    def drop_first(self) -> None:
        """Take away what is due first."""
        self._queue.popleft()

    def clear(self) -> None:
        """Take everything away."""
        self._queue.clear()

    def _forget_finished(self) -> None:
        kept: deque[Due] = deque()
        for due in self._queue:
            if not due.connection.is_finished:
                kept.append(due)
        self._queue = kept
        self._most = 2 * len(kept) + limits.FINISHED_WAITING
