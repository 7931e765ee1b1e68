"""What readers of a network interface share: packets come when they come."""

import io
from collections.abc import Callable

from mypy_extensions import i64

from analyzer.capture.compression import Source
from analyzer.capture.reader import CaptureReader

Idle = Callable[[], bool]
"""Called whenever a source waits for packets, and for each block between its coming and its being read; False ends reading."""

WAIT_MILLISECONDS = 50  # for packets, before ``Idle`` is called again: how soon a signal or a duration is heard


class LiveReader(CaptureReader):
    """The packets of an interface. :meth:`next` waits for one; it is False when ``idle`` was."""

    def __init__(self, name: str, idle: Idle) -> None:
        super().__init__(name, Source(io.BytesIO(), 1), "live", None)
        self.idle = idle
        self.is_caught_up = False  # no packet waits to be read, as far as is known when ``idle`` is called
        self.link_type_of_packets: i64 = 0  # the LINKTYPE_ number, known before the first packet

    @property
    def bytes_read(self) -> int:
        """Packet bytes read so far."""
        return self.captured_bytes
