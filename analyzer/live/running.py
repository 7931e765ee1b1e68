"""What happens between the packets of a live capture: rows are written twice a second, keys are read, the end is noticed."""

import gc
import time
from collections.abc import Callable, Sequence
from typing import Final

from analyzer.capture.capture_set import CaptureSet
from analyzer.capture.key_logs import FollowedKeyLog
from analyzer.capture.live_reader import LiveReader
from analyzer.capture.saving import Saver
from analyzer.dissector import Context
from analyzer.live.outlet import Outlet
from analyzer.pipeline import ALL, Analysis

SEAL_SECONDS: Final = 0.5  # between two segments; a row is visible within one and the time to write it
TICK_SHARE: Final = 10  # of the time, one part in so many at most goes into rows of what is open
BEHIND_NANOSECONDS: Final = 1_000_000_000  # a packet is read sooner than that after it came
COLLECT_SECONDS: Final = 300.0  # between two runs of the garbage collector

Show = Callable[["Running", float], bool]
"""Called a few times a second with the time of a steady clock; False ends the capture."""


class Running:
    """A live capture while it runs. Its ``idle`` is what readers call while they wait, and between their blocks."""

    def __init__(self, duration: float | None = None, show: Show | None = None) -> None:
        """``duration`` is in seconds from the beginning of the capture."""
        self.signal: int | None = None  # that ended it
        self.analysis: Analysis | None = None
        self._outlet: Outlet | None = None
        self._duration = duration
        self._show = show
        self._end_at: float | None = None
        self._key_logs: list[FollowedKeyLog] = []
        self._seal_at = 0.0
        self._collect_at = time.monotonic() + COLLECT_SECONDS
        self._sealed_packets = -1
        self._saver: Saver | None = None

    def run(
        self,
        captures: CaptureSet,
        context: Context,
        outlet: Outlet,
        key_logs: Sequence[str] = (),
        saver: Saver | None = None,
        most_packets: int = ALL,
    ) -> None:
        """Analyze until the captures end, the duration is over, or somebody wants it to end; then store everything.

        Raises ``UnmuxError`` when something cannot be written.
        """
        self._key_logs = [FollowedKeyLog(path, captures.secrets) for path in key_logs]
        if key_logs:
            context.key_log.is_given = True
        captures.has_pipes = captures.has_pipes or bool(key_logs)
        self._saver = saver
        self._outlet = outlet
        self.analysis = Analysis(captures, context, outlet, saver)
        if self._duration is not None:
            self._end_at = time.monotonic() + self._duration
        collects = gc.isenabled()
        gc.disable()
        try:
            self.analysis.run(self._progress, most_packets)
            outlet.finish(time.monotonic())
            if saver is not None:
                saver.close(captures.readers)
        finally:
            captures.close()
            for key_log in self._key_logs:
                key_log.close()
            if collects:
                gc.enable()

    def idle(self) -> bool:
        """Do what is due; False when the capture is to end."""
        now = time.monotonic()
        if self.signal is not None or (self._end_at is not None and now >= self._end_at):
            return False
        for key_log in self._key_logs:  # each time: keys are written before what they decrypt is sent
            key_log.look()
        analysis, outlet = self.analysis, self._outlet
        if analysis is not None and outlet is not None and (now >= self._seal_at or outlet.segments.is_full):
            self._seal(analysis, outlet, now)
        return self._show is None or self._show(self, now)

    def packets(self) -> int:
        """Packets read so far."""
        return 0 if self.analysis is None else sum(reader.packets for reader in self.analysis.captures.readers)

    @property
    def dropped(self) -> int:
        """Packets that the kernel is known to have dropped."""
        if self.analysis is None:
            return 0
        live = [reader for reader in self.analysis.captures.readers if isinstance(reader, LiveReader)]
        return sum([interface.dropped or 0 for reader in live for interface in reader.interfaces])

    def _progress(self, _bytes_read: int) -> bool:
        return self.idle()

    def _seal(self, analysis: Analysis, outlet: Outlet, now: float) -> None:
        """Write a segment, unless the one before is still being written and there is time."""
        segments = outlet.segments
        if segments.is_busy and not segments.is_full:
            return
        if any(isinstance(reader, LiveReader) and reader.is_caught_up for reader in analysis.captures.readers):
            analysis.advance(time.time_ns() - BEHIND_NANOSECONDS)
        if analysis.wake():
            self._sealed_packets = -1  # what is open may have changed without a packet
        analysis.flush()
        packets = self.packets()
        if packets == self._sealed_packets and not segments.has_rows:
            self._seal_at = now + SEAL_SECONDS
            return
        self._sealed_packets = packets
        outlet.seal(analysis.open_rows(time.time_ns()), now)
        if self._saver is not None:
            self._saver.flush()
        took = time.monotonic() - now
        self._seal_at = now + max(SEAL_SECONDS, took * TICK_SHARE)
        if now >= self._collect_at:
            gc.collect()
            self._collect_at = now + COLLECT_SECONDS
