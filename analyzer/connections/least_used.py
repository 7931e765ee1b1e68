"""Which connections were used longest ago, for when memory runs out."""

from collections.abc import Iterable

from analyzer.connections.connection import Connection


class LeastUsed:
    """Hands out open connections, the one used longest ago first.

    They are sorted when one is asked for, and again when all of those were handed out, used or finished since: each
    connection that is sorted stands for one of these events, so that they cost little however many connections there are.
    """

    def __init__(self) -> None:
        self._sorted: list[Connection] = []  # the one used longest ago at the end
        self._used_at: list[int] = []  # as it was when they were sorted

    def take(self) -> Connection | None:
        """The connection that was used longest ago; None when the sorted ones are used up."""
        while self._sorted:
            connection = self._sorted.pop()
            used_at = self._used_at.pop()
            if not connection.is_finished and connection.ended_at == used_at:
                return connection
        return None

    def sort(self, connections: Iterable[Connection]) -> None:
        """Begin anew with these, all that are open."""
        ordered = sorted(
            [(connection.ended_at, connection.connection_id, connection) for connection in connections], reverse=True
        )
        self._sorted = [connection for _, _, connection in ordered]
        self._used_at = [used_at for used_at, _, _ in ordered]

    def clear(self) -> None:
        """Forget them."""
        self._sorted = []
        self._used_at = []
