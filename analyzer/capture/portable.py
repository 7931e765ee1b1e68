"""Packets of an interface from a socket that scapy opened: slower than a ring, and there where no ring is."""

import select
import time
from collections.abc import Callable
from typing import Any, Final

from mypy_extensions import i64

from analyzer.capture.live_reader import WAIT_MILLISECONDS, Idle, LiveReader
from analyzer.capture.reader import Interface

_PACKETS_BETWEEN_IDLE: Final = 64
_PACKETS_AT_THE_END: Final = 10_000  # read at most after ``idle`` was False: they had come before


class PortableReader(LiveReader):
    """The packets of an interface, one system call each. Nobody tells how many were dropped."""

    def __init__(self, name: str, idle: Idle, socket: Any, link_type_of: Callable[[Any], int]) -> None:
        """``socket`` is one of scapy's, ``link_type_of`` tells the LINKTYPE_ number of a class of its packets."""
        super().__init__(name, idle)
        self._socket = socket
        self._link_type_of = link_type_of
        self._until_idle: i64 = 0  # packets
        self._is_ending = False

    def next(self) -> bool:
        """Advance to the next packet, waiting for it; False when it is over, in ``truncation`` if that was not wanted."""
        while not self._is_ended:
            if self._until_idle == 0:
                if self._is_ending:
                    break
                self._is_ending = not self.idle()
                self._until_idle = _PACKETS_AT_THE_END if self._is_ending else _PACKETS_BETWEEN_IDLE
            try:
                readable, _, _ = select.select([self._socket], [], [], WAIT_MILLISECONDS / 1000)
                self.is_caught_up = not readable
                if not readable:
                    self._until_idle = 0
                    continue
                layer, data, stamp = self._socket.recv_raw()
            except OSError as error:
                self.truncation = f"after packet {self.frame}: {error}"
                break
            self._until_idle -= 1
            if data:
                return self._stand(layer, data, stamp)
        self.close()
        return False

    def close(self) -> None:
        """Release the socket; the counts stay."""
        if not self._is_ended:
            self._socket.close()
        super().close()

    def _stand(self, layer: Any, data: bytes, stamp: Any) -> bool:
        if not self.interfaces:
            self.link_type = self._link_type_of(layer)
            self.interfaces.append(Interface(self.link_type, self.name, 0))
        self.interfaces[0].packets += 1
        self.data = data
        self.offset = 0
        timestamp: i64 = time.time_ns() if stamp is None else int(stamp * 1_000_000_000)
        self._count(len(data), len(data), timestamp)
        return True
