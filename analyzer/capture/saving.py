"""Keeps the packets that are read in a pcapng file, as they were captured."""

from pathlib import Path
from typing import BinaryIO

from analyzer.capture.pcapng_writer import PcapngWriter
from analyzer.capture.reader import UNTOLD, CaptureReader
from analyzer.errors import CaptureError


class Saver:
    """A pcapng file that packets are added to. Raises ``CaptureError`` where it cannot be written."""

    def __init__(self, path: str, force: bool = False) -> None:
        """Make the file; it must not be there, unless ``force`` replaces it."""
        self._path = path
        if Path(path).exists() and not force:
            raise CaptureError(f"{path}: exists already; --force replaces it")
        try:
            self._file: BinaryIO = Path(path).open("wb" if force else "xb")  # noqa: SIM115  # closed by `close`
            self._writer = PcapngWriter(self._file)
        except OSError as error:
            raise self._unwritten(error) from error
        self._numbers: dict[tuple[int, int], int] = {}  # (capture_index, interface) -> interface in the file

    def packet(self, reader: CaptureReader) -> None:
        """Add the packet that a reader stands on, and how many were lost before it."""
        place = (reader.capture_index, reader.interface)
        try:
            number = self._numbers.get(place)
            lost = reader.lost_before(is_first=number is None)
            if number is None:
                number = self._new_interface(reader, tells_losses=lost != UNTOLD)
            data = reader.data[reader.offset : reader.offset + reader.captured_length]
            self._writer.packet(number, reader.timestamp, data, reader.original_length, lost)
        except OSError as error:
            raise self._unwritten(error) from error

    def flush(self) -> None:
        """Let others see what was added so far."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._unwritten(error) from error

    def close(self, readers: list[CaptureReader]) -> None:
        """Add how many packets the readers' interfaces dropped, where they say so, and end the file."""
        try:
            for (capture_index, number), written in self._numbers.items():
                for reader in readers:
                    if reader.capture_index == capture_index:
                        interface = reader.interfaces[number]
                        self._writer.statistics(written, max(reader.last_packet_at, 0), interface.packets, interface.dropped)
            self._file.close()
        except OSError as error:
            raise self._unwritten(error) from error

    def _new_interface(self, reader: CaptureReader, *, tells_losses: bool) -> int:
        interface = reader.interfaces[reader.interface]
        number = self._writer.interface(interface.link_type, interface.snap_length, interface.name, tells_losses=tells_losses)
        self._numbers[(reader.capture_index, reader.interface)] = number
        return number

    def _unwritten(self, error: OSError) -> CaptureError:
        return CaptureError(f"{self._path}: cannot be written: {error.strerror}")
