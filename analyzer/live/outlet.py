"""Where the rows of a live capture go: segments, which others can query meanwhile, or a DuckDB file, which they cannot."""

from analyzer.records import Rows
from analyzer.store import Store
from analyzer.store.segments import SegmentStore

COMMIT_SECONDS = 1.0  # what a DuckDB file can lose


class Outlet:
    """Takes rows for the segments and, where there is one, for a store."""

    def __init__(self, segments: SegmentStore, store: Store | None) -> None:
        self.segments = segments
        self._store = store
        self._commit_at = 0.0

    def next_capture_index(self) -> int:
        """The capture_index of the first capture to be added."""
        return self.segments.next_capture_index()

    def add(self, rows: Rows) -> None:
        """Take rows, which must not change any more. UnmuxError when they cannot be written."""
        self.segments.add(rows)
        if self._store is not None:
            self._store.add(rows)

    def seal(self, open_rows: Rows, now: float) -> None:
        """Write what was added; ``open_rows`` are those of what is open. UnmuxError when it cannot be written."""
        self.segments.seal(open_rows, now)
        if self._store is not None and now >= self._commit_at:
            self._store.commit()
            self._commit_at = now + COMMIT_SECONDS

    def finish(self, now: float) -> None:
        """Write everything for good. UnmuxError when it cannot be written."""
        self.segments.finish(now)
        if self._store is not None:
            self._store.finish()

    def close(self) -> None:
        """Give back what it takes; what was written stays."""
        try:
            self.segments.close()
        finally:
            if self._store is not None:
                self._store.close()
