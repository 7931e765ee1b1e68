"""The memory of contents: what those of one connection may take, and those of all connections.

A connection that wants more than its share is refused, so that what its rows say does not depend on what else the capture
holds. Only where all connections together want more than there is must the one that used its contents longest ago give
them up. Contents of finished messages count until their rows are handed over.
"""

from collections import OrderedDict

from mypy_extensions import i64

from analyzer.memory import Memory


class OverBudget(Exception):
    """No more memory is granted; its text is what is required."""


class ContentHolder:
    """A content that takes memory of a budget."""

    def __init__(self) -> None:
        self.held_memory: i64 = 0  # bytes; the budget counts them

    def give_up(self, required: str) -> None:
        """Give all memory back at once: ``required`` is the limit that was reached."""
        raise NotImplementedError


class AllContents:
    """What the contents of all connections take together, and the rows that carry them away."""

    def __init__(self, memory: Memory | None = None) -> None:
        memory = Memory() if memory is None else memory
        self.most_bytes = memory.content_bytes
        self.connection_bytes = memory.connection_content_bytes  # what one connection may take
        self.open_bytes: i64 = 0
        self.row_bytes: i64 = 0  # in rows that were made and are not handed over; whoever hands them over makes it 0
        self._connections: OrderedDict[ContentBudget, None] = OrderedDict()  # those that take memory, by last use
        self._latest: ContentBudget | None = None

    def take(self, budget: "ContentBudget", size: i64) -> None:
        """Grant memory to a connection. Raises OverBudget."""
        if self._latest is not budget:
            self._connections[budget] = None
            self._connections.move_to_end(budget)
            self._latest = budget
        if self.open_bytes + self.row_bytes + size > self.most_bytes:
            self._make_room(budget, size)
        self.open_bytes += size

    def forget(self, budget: "ContentBudget") -> None:
        """A connection takes nothing more."""
        self._connections.pop(budget, None)
        if self._latest is budget:
            self._latest = None

    def _make_room(self, budget: "ContentBudget", size: i64) -> None:
        """Let those that used their contents longest ago give them up."""
        required = f"at most {self.most_bytes} bytes for the open contents of all connections"
        while self.open_bytes + self.row_bytes + size > self.most_bytes:
            if len(self._connections) == 1:
                raise OverBudget(required)
            oldest = next(iter(self._connections))
            if oldest is budget or oldest.was_used:
                oldest.was_used = False
                self._connections.move_to_end(oldest)
                self._latest = oldest
            else:
                self._connections.popitem(last=False)
                oldest.give_up(required)


class ContentBudget:
    """What the contents of one connection take."""

    def __init__(self, contents: AllContents) -> None:
        self.was_used = False  # what was granted was used since; whoever takes nothing for long says so here
        self._all = contents
        self._bytes: i64 = 0
        self._open: dict[ContentHolder, None] = {}  # those that could give memory back

    def room(self) -> i64:
        """How many bytes more the connection may take."""
        return self._all.connection_bytes - self._bytes

    def required(self) -> str:
        """What is required of the connection."""
        return f"at most {self._all.connection_bytes} bytes for the open contents of a connection"

    def take(self, holder: ContentHolder, size: i64) -> None:
        """Grant memory to an open content. Raises OverBudget."""
        if size == 0:
            return
        if size > self.room():
            raise OverBudget(self.required())
        self._all.take(self, size)
        self._bytes += size
        if holder.held_memory == 0:
            self._open[holder] = None
        holder.held_memory += size

    def give_back(self, holder: ContentHolder, size: i64) -> None:
        """Take memory back."""
        self._bytes -= size
        self._all.open_bytes -= size
        holder.held_memory -= size
        if holder.held_memory == 0:
            self._open.pop(holder, None)
        if self._bytes == 0:
            self._all.forget(self)

    def end(self, holder: ContentHolder) -> None:
        """The content has ended; what it still takes is in its row, and cannot be given up."""
        self._open.pop(holder, None)

    def hand_out(self, holder: ContentHolder) -> None:
        """The row of a content is handed out with what it takes."""
        size = holder.held_memory
        self.give_back(holder, size)
        self._all.row_bytes += size

    def give_up(self, required: str) -> None:
        """Let all open contents give their memory back."""
        for holder in list(self._open):
            holder.give_up(required)

    def close(self) -> None:
        """The connection is over: whatever was not given back is."""
        for holder in self._open:
            holder.held_memory = 0
        self._open = {}
        self._all.open_bytes -= self._bytes
        self._bytes = 0
        self._all.forget(self)
