"""Writes pcapng (draft-ietf-opsawg-pcapng): one section, little-endian, with times in nanoseconds.

Every block is whole when the call that makes it returns, so that what the file has by then is a capture.
"""

import struct
from typing import BinaryIO, Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.build import VERSION
from analyzer.capture.pcapng import (
    DECRYPTION_SECRETS,
    ENHANCED_PACKET,
    ENHANCED_PACKET_BYTES,
    EPB_DROPCOUNT,
    IF_NAME,
    IF_TSRESOL,
    INTERFACE_DESCRIPTION,
    INTERFACE_STATISTICS,
    ISB_IFDROP,
    SECTION_HEADER,
    TLS_KEY_LOG,
)
from analyzer.capture.reader import UNTOLD

_BYTE_ORDER: Final = 0x1A2B3C4D
_MAJOR_VERSION: Final = 1
_UNKNOWN_LENGTH: Final = -1  # of the section
_BLOCK_BYTES: Final = 12  # of a block beside its body
_NANOSECONDS: Final = b"\x09"  # 10^-9 s
_WORD: Final = 0xFFFFFFFF
_PADDING: Final = (b"", bytes(3), bytes(2), bytes(1))  # by the lowest two bits of a length

# Option codes, by block, that the reader does not need.
_SHB_USERAPPL: Final = 4
_ISB_IFRECV: Final = 4

_PACKET: Final = struct.Struct("<IIIIIII")


class PcapngWriter:
    """Writes blocks to a binary file, which stays the caller's to flush and close. Every method raises ``OSError`` as the file does."""

    def __init__(self, file: BinaryIO) -> None:
        """Begin the section; ``file`` stands where the capture begins."""
        self._write = file.write
        self._interfaces: dict[tuple[int, str | None, int, bool], int] = {}
        self._received: dict[int, int] = {}  # interface -> packets
        self._dropped: dict[int, int] = {}
        fixed = struct.pack("<IHHq", _BYTE_ORDER, _MAJOR_VERSION, 0, _UNKNOWN_LENGTH)
        self._block(SECTION_HEADER, fixed + _options([(_SHB_USERAPPL, f"unmux {VERSION}".encode())]))

    def interface(self, link_type: int, snap_length: int, name: str | None, *, tells_losses: bool = False) -> int:
        """The number of the interface with this LINKTYPE_ number, snapshot length (0: no limit) and name, which is described when it is new.

        One whose packets tell what was lost before them, ``tells_losses``, is another than one whose packets do not.
        """
        key = (link_type, name, snap_length, tells_losses)
        known = self._interfaces.get(key)
        if known is not None:
            return known
        number = len(self._interfaces)
        self._interfaces[key] = number
        options = [(IF_TSRESOL, _NANOSECONDS)]
        if name is not None:
            options.append((IF_NAME, name.encode("utf-8", "replace")))
        self._block(INTERFACE_DESCRIPTION, struct.pack("<HHI", link_type, 0, snap_length) + _options(options))
        return number

    def secrets(self, data: bytes) -> None:
        """Add lines of a TLS key log (section 4.7), which are good for packets that follow."""
        self._block(DECRYPTION_SECRETS, struct.pack("<II", TLS_KEY_LOG, len(data)) + data)

    def packet(self, interface: i64, timestamp: i64, data: bytes, original_length: i64, lost_packets: i64 = UNTOLD) -> None:
        """Add a packet (section 4.3); ``timestamp`` is in nanoseconds since the epoch, ``data`` what of ``original_length`` bytes was captured.

        ``lost_packets`` were lost between the packet before and this one, where that is told.
        """
        captured: i64 = len(data)
        length: i64 = ENHANCED_PACKET_BYTES + ((captured + 3) & ~3)
        if lost_packets != UNTOLD:
            options = _options([(EPB_DROPCOUNT, struct.pack("<Q", lost_packets))])
            length += len(options)
            fixed = _PACKET.pack(
                ENHANCED_PACKET, length, interface, timestamp >> 32, timestamp & _WORD, captured, original_length
            )
            self._write(b"".join((fixed, data, _PADDING[captured & 3], options, fixed[4:8])))
            return
        fixed = _PACKET.pack(ENHANCED_PACKET, length, interface, timestamp >> 32, timestamp & _WORD, captured, original_length)
        self._write(b"".join((fixed, data, _PADDING[captured & 3], fixed[4:8])))

    def statistics(self, interface: int, timestamp: int, received: int | None, dropped: int | None) -> None:
        """Say how many packets an interface received and dropped up to a time (section 4.6), None where that is not known.

        They are added to those that were said of it before: readers take the last of such blocks.
        """
        options: list[tuple[int, bytes]] = []
        if received is not None:
            self._received[interface] = received = self._received.get(interface, 0) + received
            options.append((_ISB_IFRECV, received.to_bytes(8, "little")))
        if dropped is not None:
            dropped = min(self._dropped.get(interface, 0) + dropped, limits.DROPPED_PACKETS)
            self._dropped[interface] = dropped
            options.append((ISB_IFDROP, dropped.to_bytes(8, "little")))
        fixed = struct.pack("<III", interface, timestamp >> 32, timestamp & _WORD)
        self._block(INTERFACE_STATISTICS, fixed + _options(options))

    def _block(self, block_type: int, body: bytes) -> None:
        """Write a block (section 3.1)."""
        body += _PADDING[len(body) & 3]
        length = struct.pack("<I", len(body) + _BLOCK_BYTES)
        self._write(b"".join((struct.pack("<I", block_type), length, body, length)))


def _options(options: list[tuple[int, bytes]]) -> bytes:
    """Options of a block, and the one that ends them (section 3.5)."""
    written = b""
    for code, value in options:
        written += struct.pack("<HH", code, len(value)) + value + _PADDING[len(value) & 3]
    return written + bytes(4) if written else b""
