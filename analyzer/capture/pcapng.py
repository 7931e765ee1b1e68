"""pcapng: a file of blocks (draft-ietf-opsawg-pcapng), in sections that each have their byte order and interfaces.

Enhanced, Simple and (obsolete) Packet Blocks are packets; Interface Description and Statistics Blocks and Decryption
Secrets are taken in; every other block is skipped without being held.
"""

from typing import Final, Literal

from librt.strings import read_i32_be, read_i32_le, read_i64_be, read_i64_le
from mypy_extensions import i64

from analyzer import limits
from analyzer.capture.compression import Source
from analyzer.capture.reader import CaptureReader, Interface, Losses

SECTION_HEADER: Final = 0x0A0D0D0A  # a palindrome: the same in either byte order
SECTION_MAGIC: Final = b"\x0a\x0d\x0d\x0a"
BYTE_ORDERS: Final = (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d")  # little, big
FIRST_BYTES: Final = 12  # type, length and byte order of the first block
SECTION_HEADER_BYTES: Final = 28  # without options

INTERFACE_DESCRIPTION: Final = 1
_OBSOLETE_PACKET: Final = 2
_SIMPLE_PACKET: Final = 3
INTERFACE_STATISTICS: Final = 5
ENHANCED_PACKET: Final = 6
DECRYPTION_SECRETS: Final = 10
_PACKETS: Final = frozenset((_OBSOLETE_PACKET, _SIMPLE_PACKET, ENHANCED_PACKET))
# Bytes of a block without what varies, both lengths included.
_SMALLEST_BLOCK_BYTES: Final = 12
_SIMPLE_PACKET_BYTES: Final = 16
ENHANCED_PACKET_BYTES: Final = 32
# Blocks that are no packets and yet have a frame number in Wireshark: systemd journal entries, custom blocks, system calls.
_NUMBERED: Final = frozenset((0x9, 0xBAD, 0x40000BAD, 0x204, 0x208, 0x216, 0x217, 0x221, 0x222, 0x223))

TLS_KEY_LOG: Final = 0x544C534B
_NO_DROP_COUNT: Final = 0xFFFF
_WORD: Final = 0xFFFFFFFF
_MICROSECONDS: Final = 6  # 10^-6 s, where an interface does not say

# Option codes, by block.
IF_NAME: Final = 2
_IF_DESCRIPTION: Final = 3
IF_TSRESOL: Final = 9
_IF_TSOFFSET: Final = 14
EPB_DROPCOUNT: Final = 4
ISB_IFDROP: Final = 5
_ISB_OSDROP: Final = 7


class _PcapngInterface(Interface):
    """An interface with what its packets are measured in."""

    def __init__(self, link_type: i64, name: str | None, snap_length: i64, resolution: int, offset: int) -> None:
        """``resolution`` is if_tsresol's byte; ``offset`` is if_tsoffset in seconds."""
        super().__init__(link_type, name, snap_length)
        self.is_telling = False  # from its first packet on, what was lost before which
        self.has_statistics = False  # then they, and not the packets' options, say what was dropped
        # A time is units * multiplier // divisor + offset, in ns.
        self.multiplier: int = 1_000_000_000
        self.divisor: int = 1 << (resolution & 0x7F) if resolution & 0x80 else 10**resolution
        self.offset: int = offset * 1_000_000_000
        # The usual case in native integers: divided exactly, no offset. Zero: not the usual case.
        self.unit: i64 = 0
        self.largest: i64 = 0
        if offset == 0 and self.multiplier % self.divisor == 0:
            unit: int = self.multiplier // self.divisor
            self.unit = unit
            self.largest = (limits.TIMESTAMP_NANOSECONDS - 1) // unit

    def exact(self, high: int, low: int) -> i64:
        """Nanoseconds since the epoch of a 64-bit time in two halves; -1 where that is outside of the range that is believed."""
        units: int = (high << 32) | low
        nanoseconds: int = units * self.multiplier // self.divisor + self.offset
        return nanoseconds if 0 <= nanoseconds < limits.TIMESTAMP_NANOSECONDS else -1

    def lost(self, packets: int) -> None:
        """Take in a number of packets that were lost before one packet, which is not counted yet."""
        if self.packets == 0:
            self.is_telling = True
        if not self.has_statistics:
            self.dropped = min((self.dropped or 0) + packets, limits.DROPPED_PACKETS)


class PcapngReader(CaptureReader):
    """The packets of a pcapng file."""

    def __init__(self, name: str, source: Source, size: int | None) -> None:
        """``source`` stands at the beginning, where the opener has seen a section header's type and byte order."""
        super().__init__(name, source, "pcapng", size)
        self._is_little = True
        self._section: list[_PcapngInterface] = []  # interfaces of the current section
        self._first_interface: i64 = 0  # of the current section, among those of the file
        self._secrets_bytes: i64 = 0
        self._told_drops: int = 0  # by packets
        self._block_type: i64 = 0
        self._block_length: i64 = 0  # as written
        self._block_bytes: i64 = 0  # with padding

    def next(self) -> bool:
        """Advance to the next packet; False at the end. Bad content ends it and is told in ``truncation``."""
        while self._header():
            block_type = self._block_type
            if block_type in (ENHANCED_PACKET, _OBSOLETE_PACKET):
                return self._whole(ENHANCED_PACKET_BYTES) and self._packet()
            if block_type == _SIMPLE_PACKET:
                return self._whole(_SIMPLE_PACKET_BYTES) and self._simple_packet()
            if not self._other():
                return False
        self._lose_rest()
        return False

    def read_secrets(self) -> None:
        """Read to the end for decryption secrets alone: ``secrets`` has them, and nothing else is known afterwards."""
        while self._header():
            if self._block_type == DECRYPTION_SECRETS:
                if not self._whole(20):
                    return
                self._decryption_secrets()
                self._position += self._block_bytes
            elif not self._skip_block():
                return

    def _header(self) -> bool:
        """Read the next block's type and length; False at the end."""
        if self._end - self._position < 8 and not self._have(8):
            if self._end == self._position:
                return self._finish()
            return self._stop_here("a block header of 8 bytes", str(self._end - self._position))
        self._read_header()
        if self._block_type == SECTION_HEADER:
            if not self._have(FIRST_BYTES):
                return self._stop_here(f"{FIRST_BYTES} bytes of a section header", str(self._end - self._position))
            byte_order = self.data[self._position + 8 : self._position + 12]
            if byte_order not in BYTE_ORDERS:
                return self._stop_here("a section header's byte order 1a 2b 3c 4d, either way round", byte_order.hex(" "))
            self._is_little = byte_order == BYTE_ORDERS[0]
            self._read_header()
        if self._block_length < _SMALLEST_BLOCK_BYTES:
            return self._stop_here(f"a block length of at least {_SMALLEST_BLOCK_BYTES}", str(self._block_length))
        # Some writers do not count the padding; it is there all the same.
        self._block_bytes = (self._block_length + 3) & ~3
        return True

    def _read_header(self) -> None:
        if self._is_little:
            word = read_i64_le(self.data, self._position)
            self._block_type = word & _WORD
            self._block_length = (word >> 32) & _WORD
        else:
            word = read_i64_be(self.data, self._position)
            self._block_type = (word >> 32) & _WORD
            self._block_length = word & _WORD

    def _whole(self, smallest: i64) -> bool:
        """Bring the block into ``data``; False where it is shorter than ``smallest``, too long, cut or not ended as begun."""
        length = self._block_bytes
        if length < smallest:
            return self._stop_here(f"a block length of at least {smallest}", str(length))
        if self._end - self._position < length:
            if length > limits.PCAPNG_BLOCK_BYTES:
                return self._stop_here(f"a block length of at most {limits.PCAPNG_BLOCK_BYTES}", str(length))
            if not self._have(length):
                return self._stop_here(f"a block of {length} bytes", str(self._end - self._position))
        return self._is_closed(self._position + length - 4, self._in_file())

    def _is_closed(self, position: i64, at: i64) -> bool:
        """Whether the block's length is repeated at ``position`` of ``data``, where the block that begins ``at`` ends."""
        again = self._word(position)
        if again in (self._block_length, self._block_bytes):
            return True
        return self._stop(self._what(), at, f"the block's length {self._block_length} repeated at its end", str(again))

    def _packet(self) -> bool:
        """Stand on an Enhanced or obsolete Packet Block (sections 4.3 and appendix A), which is in ``data``."""
        position = self._position
        if self._is_little:
            first = read_i64_le(self.data, position + 8)
            second = read_i64_le(self.data, position + 16)
            number: i64 = first & _WORD
            high: i64 = (first >> 32) & _WORD
            low: i64 = second & _WORD
            captured: i64 = (second >> 32) & _WORD
        else:
            first = read_i64_be(self.data, position + 8)
            second = read_i64_be(self.data, position + 16)
            number = (first >> 32) & _WORD
            high = first & _WORD
            low = (second >> 32) & _WORD
            captured = second & _WORD
        drops: i64 = _NO_DROP_COUNT
        if self._block_type == _OBSOLETE_PACKET:  # two 16-bit fields where the enhanced one has a word
            drops = number >> 16 if self._is_little else number & 0xFFFF
            number = number & 0xFFFF if self._is_little else number >> 16
        if number >= len(self._section):
            return self._stop_here(f"an interface number below {len(self._section)}", str(number))
        if captured > limits.PACKET_BYTES or captured > self._block_bytes - ENHANCED_PACKET_BYTES:
            most = min(limits.PACKET_BYTES, self._block_bytes - ENHANCED_PACKET_BYTES)
            return self._stop_here(f"at most {most} captured bytes", f"a length of {captured}")
        interface = self._section[number]
        timestamp: i64 = -1
        if interface.unit and high < 0x80000000:
            units: i64 = (high << 32) | low
            if units <= interface.largest:
                timestamp = units * interface.unit
        else:
            timestamp = interface.exact(high, low)
        options = position + 28 + ((captured + 3) & ~3)
        self._position = position + self._block_bytes
        if drops != _NO_DROP_COUNT:
            self._lose_on(interface, drops)
        elif options + 8 <= self._position:
            self._drop_count(interface, options)
        self._stand(interface, number, position + 28)
        self._count(captured, self._word(position + 24), timestamp)
        return True

    def _simple_packet(self) -> bool:
        """Stand on a Simple Packet Block (section 4.4): no time, and the first interface of the section."""
        position = self._position
        if not self._section:
            return self._stop_here("an interface description before it", "none")
        interface = self._section[0]
        original = self._word(position + 8)
        captured = min(original, self._block_bytes - _SIMPLE_PACKET_BYTES)
        if interface.snap_length:
            captured = min(captured, interface.snap_length)
        if captured > limits.PACKET_BYTES:
            return self._stop_here(f"at most {limits.PACKET_BYTES} captured bytes", f"a length of {captured}")
        self._position = position + self._block_bytes
        self._stand(interface, 0, position + 12)
        self._count(captured, original, -1)
        return True

    def _stand(self, interface: _PcapngInterface, number: i64, offset: i64) -> None:
        if interface.packets == 0 and not interface.is_telling:
            self._hide_losses()
        interface.packets += 1
        self.offset = offset
        self.link_type = interface.link_type
        self.interface = self._first_interface + number

    def _drop_count(self, interface: _PcapngInterface, options: i64) -> None:
        """Take in how many packets were lost before this one, where its options, in ``data`` from there on, say so."""
        count = self._option(options, self._position - 4, EPB_DROPCOUNT)
        if count is not None:
            self._lose_on(interface, int.from_bytes(count, self._order()))

    def _lose_on(self, interface: _PcapngInterface, packets: int) -> None:
        interface.lost(packets)
        self._told_drops += packets
        self._lose(packets)

    def _lose_rest(self) -> None:
        """Take in what was lost behind the last packet: the statistics count it, and packets before told of the rest."""
        for interface in self.interfaces:
            if interface.packets == 0 and interface.dropped:
                self._hide_losses()  # any time it was
        counted = sum([interface.dropped or 0 for interface in self.interfaces])
        if counted >= limits.DROPPED_PACKETS:
            self._hide_losses()
        if self.losses is Losses.TOLD and self._told_drops < counted:
            self._lose(counted - self._told_drops)
            self._told_drops = counted

    def _other(self) -> bool:
        """Take in or skip a block that is no packet; False where reading has to stop."""
        block_type = self._block_type
        if block_type == INTERFACE_DESCRIPTION:
            if not self._whole(20) or not self._interface_description():
                return False
        elif block_type == INTERFACE_STATISTICS:
            if not self._whole(24):
                return False
            self._interface_statistics()
        elif block_type == DECRYPTION_SECRETS:
            if not self._whole(20):
                return False
            self._decryption_secrets()
        else:
            if block_type == SECTION_HEADER and not self._section_header():
                return False
            return self._skip_block()
        self._position += self._block_bytes
        return True

    def _skip_block(self) -> bool:
        """Pass over a block of any length without holding it; False where it is cut or not ended as begun."""
        at = self._in_file()
        if not self._skip(self._block_bytes - 4) or not self._have(4):
            found = self._base + self._end - at
            return self._stop(self._what(), at, f"a block of {self._block_bytes} bytes", str(found))
        if not self._is_closed(self._position, at):
            return False
        self._position += 4
        if self._block_type in _NUMBERED:
            self.frame += 1
        return True

    def _section_header(self) -> bool:
        """Begin a section (section 4.1), whose interfaces are numbered from 0 again."""
        if self._block_bytes < SECTION_HEADER_BYTES:
            return self._stop_here(f"a section header of at least {SECTION_HEADER_BYTES} bytes", str(self._block_bytes))
        if not self._have(SECTION_HEADER_BYTES):
            return self._stop_here(f"{SECTION_HEADER_BYTES} bytes of a section header", str(self._end - self._position))
        major = int.from_bytes(self.data[self._position + 12 : self._position + 14], self._order())
        if major != 1:
            return self._stop_here("pcapng version 1", f"version {major}")
        self._section = []
        self._first_interface = len(self.interfaces)
        return True

    def _interface_description(self) -> bool:
        """Add an interface (section 4.2); False where there are too many."""
        if len(self.interfaces) >= limits.INTERFACES:
            return self._stop_here(f"at most {limits.INTERFACES} interfaces", "another one")
        order = self._order()
        options = self._position + 16
        end = self._position + self._block_bytes - 4
        name = self._option(options, end, IF_NAME) or self._option(options, end, _IF_DESCRIPTION)
        resolution = self._option(options, end, IF_TSRESOL)
        offset = self._option(options, end, _IF_TSOFFSET)
        interface = _PcapngInterface(
            int.from_bytes(self.data[self._position + 8 : self._position + 10], order),
            _text(name),
            self._word(self._position + 12),
            resolution[0] if resolution else _MICROSECONDS,
            int.from_bytes(offset, order, signed=True) if offset is not None and len(offset) == 8 else 0,
        )
        self._section.append(interface)
        self.interfaces.append(interface)
        return True

    def _interface_statistics(self) -> None:
        """Take in an interface's drop counters (section 4.6), which count from the beginning of the capture."""
        number = self._word(self._position + 8)
        if number >= len(self._section):
            self._anomaly("not_understood", f"statistics of an interface below {len(self._section)}", str(number))
            return
        options = self._position + 20
        end = self._position + self._block_bytes - 4
        by_interface = self._option(options, end, ISB_IFDROP)
        by_system = self._option(options, end, _ISB_OSDROP)
        if by_interface is None and by_system is None:
            return
        interface = self._section[number]
        interface.has_statistics = True
        order = self._order()
        dropped = int.from_bytes(by_interface or b"", order) + int.from_bytes(by_system or b"", order)
        interface.dropped = min(dropped, limits.DROPPED_PACKETS)

    def _decryption_secrets(self) -> None:
        """Keep a TLS key log (section 4.7); secrets of other kinds serve no protocol here."""
        length = self._word(self._position + 12)
        if self._word(self._position + 8) != TLS_KEY_LOG:
            return
        if length > self._block_bytes - 20:
            self._anomaly("not_understood", f"secrets of at most {self._block_bytes - 20} bytes", str(length))
        elif self._secrets_bytes + length > limits.SECRETS_BYTES:
            self._anomaly("limit", f"at most {limits.SECRETS_BYTES} bytes of decryption secrets", "more")
        else:
            self._secrets_bytes += length
            self.secrets.append(self.data[self._position + 16 : self._position + 16 + length])

    def _option(self, position: i64, end: i64, wanted: int) -> bytes | None:
        """The value of the first option with code ``wanted`` among those between two places of ``data`` (section 3.5)."""
        while position + 4 <= end:
            word = self._word(position)
            code: i64 = word & 0xFFFF if self._is_little else word >> 16
            length: i64 = word >> 16 if self._is_little else word & 0xFFFF
            if code == 0 or position + 4 + length > end:
                return None
            if code == wanted:
                return self.data[position + 4 : position + 4 + length]
            position += 4 + ((length + 3) & ~3)
        return None

    def _word(self, position: i64) -> i64:
        """The unsigned 32-bit number at a place of ``data``."""
        value: int = read_i32_le(self.data, position) if self._is_little else read_i32_be(self.data, position)
        return value & _WORD

    def _order(self) -> Literal["little", "big"]:
        return "little" if self._is_little else "big"

    def _what(self) -> str:
        """The block that is being read, for the report."""
        if self._block_type in _PACKETS:
            return f"packet {self.frame + 1}"
        return f"block after packet {self.frame}"

    def _stop_here(self, required: str, found: str) -> bool:
        """End reading at the current block. Returns False."""
        return self._stop(self._what(), self._in_file(), required, found)


def _text(name: bytes | None) -> str | None:
    if name is None or len(name) > limits.INTERFACE_NAME_BYTES:
        return None
    # Some writers count a final NUL.
    return name.rstrip(b"\x00").decode("utf-8", "backslashreplace") or None
