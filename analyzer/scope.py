"""What all streams of one connection share: numbers, stalls, faults."""

from typing import TYPE_CHECKING

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.content_budget import ContentBudget
from analyzer.dissector import Context, Tap
from analyzer.records import AnomalyRecord, Rows, StalledStreamRecord

if TYPE_CHECKING:
    from analyzer.stream import Stream


class Carrier:
    """What carries the bytes of a stream, as far as the stream may ask."""

    def acknowledged(self, direction: i64) -> i64:
        """How many bytes of a direction, from its first one on, its receiver can have had by now at most; -1: not known.

        Missing bytes count where their number is known.
        """
        return -1


class Scope:
    """What all streams of one connection share."""

    def __init__(
        self,
        context: Context,
        connection_id: i64,
        transport: str,
        server_port: i64,
        roles_proven: bool,
        carrier: Carrier | None = None,
    ) -> None:
        """``roles_proven`` says that the client is known by the handshake, so no probe may turn the sides around."""
        self.carrier = carrier
        self.context = context
        self.connection_id = connection_id
        self.transport = transport
        self.server_port = server_port
        self.roles_proven = roles_proven
        self.tap: Tap | None = context.taps.get(connection_id)
        self.held_bytes: i64 = 0  # of memory that the streams and their dissectors take; contents have a budget of their own
        self.streams: i64 = 0  # opened so far, stream 0 not counted
        self.stalls: i64 = 0  # stall_index of the next stall
        self.stall_index: i64 = -1  # the stall whose bytes are being released
        self.sleeping: "dict[int, Stream]" = {}  # by stream_index, whose dissectors wait for what no packet brings
        self._contents: ContentBudget | None = None
        self._waits: dict[int, int] = {}  # stream_index -> ns waited in this stall
        self._anomalies: dict[str, AnomalyRecord] = {}  # the latest of each kind
        self._anomaly_counts: dict[str, int] = {}

    def wake(self) -> Rows:
        """Tell the streams that wait for keys that some have come; returns the rows that come of it."""
        sleeping = self.sleeping
        self.sleeping = {}
        rows: Rows = []
        for stream in sleeping.values():
            rows += stream.wake()
        return rows

    def new_stream_index(self) -> i64:
        """Number the stream that has just opened."""
        self.streams += 1
        return self.streams

    def new_stall_index(self) -> i64:
        """Number a stall."""
        index = self.stalls
        self.stalls += 1
        return index

    def content_budget(self) -> ContentBudget:
        """The memory that contents of this connection may take."""
        budget = self._contents
        if budget is None:
            budget = ContentBudget(self.context.contents)
            self._contents = budget
        return budget

    def begin_stall(self) -> i64:
        """Say that the bytes delivered next waited for one hole; returns its number."""
        self.stall_index = self.new_stall_index()
        return self.stall_index

    def waited(self, stream_index: i64, timestamp: i64, released: i64) -> i64:
        """Note that bytes of a stream waited; returns by how many ns that lengthens the stream's wait in this stall."""
        wait = released - timestamp
        if wait <= 0:
            return 0
        known: i64 = self._waits.get(stream_index, 0)
        if wait <= known:
            return 0
        self._waits[stream_index] = wait
        return wait - known

    def end_stall(self) -> Rows:
        """Say that the waiting bytes are delivered; returns the streams that waited."""
        rows: Rows = []
        for stream_index, wait in self._waits.items():
            rows.append(
                StalledStreamRecord(
                    connection_id=self.connection_id, stall_index=self.stall_index, stream_index=stream_index, stalled_ns=wait
                )
            )
        self._waits = {}
        self.stall_index = -1
        return rows

    def anomaly(self, found: AnomalyRecord) -> Rows:
        """Return the row of a fault, or nothing when its kind has had its share: then the last row counts it."""
        found.connection_id = self.connection_id
        count = self._anomaly_counts.get(found.kind, 0) + 1
        self._anomaly_counts[found.kind] = count
        if count < limits.ANOMALIES_PER_KIND:
            return [found]
        if count == limits.ANOMALIES_PER_KIND:
            self._anomalies[found.kind] = found
        else:
            last = self._anomalies[found.kind]
            last.occurrences += 1
            if found.missing_bytes is not None:
                last.missing_bytes = (last.missing_bytes or 0) + found.missing_bytes
        return []

    def open_rows(self) -> Rows:
        """The rows that count further faults, as they stand."""
        return [*self._anomalies.values()]

    def finish(self) -> Rows:
        """Return the rows that counted further faults. Called once, when the connection has ended."""
        if self._contents is not None:
            self._contents.close()
            self._contents = None
        rows: Rows = list(self._anomalies.values())
        self._anomalies = {}
        return rows
