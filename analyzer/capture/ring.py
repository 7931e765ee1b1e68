"""Packets of an interface from a ring of blocks that the Linux kernel fills: packet(7), TPACKET_V3, documented in the kernel's
Documentation/networking/packet_mmap.rst.

A block is copied out as bytes and given back to the kernel at once. VLAN tags, which network cards take off, are put back.
Packets that leave through the loopback interface are left out, since they arrive there as well.

The kernel drops packets while all blocks are full. A block that it begins after that says so, until the number of drops is
asked for. That is done when the first such block is read: the drops came before it, and before the others in the ring that say
so, on which they are spread evenly, for the kernel does not count them apart.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import select
import socket
import struct
from typing import Final

from librt.strings import read_i64_le
from mypy_extensions import i64

from analyzer import limits
from analyzer.capture.live_reader import WAIT_MILLISECONDS, Idle, LiveReader
from analyzer.capture.reader import Interface, Losses
from analyzer.errors import CaptureError

ANY: Final = "any"  # all interfaces

Instruction = tuple[int, int, int, int]
"""Of a classic BPF program: code, jump if true, jump if false, constant."""

_ETHERNET: Final = 1  # LINKTYPE_ numbers
_RAW: Final = 101
_LINUX_SLL2: Final = 276
_LINK_TYPES: Final = {1: _ETHERNET, 772: _ETHERNET, 65534: _RAW}  # by ARPHRD_ number; else the kernel takes the header off
_LOOPBACK: Final = "lo"

# linux/if_packet.h and asm-generic/socket.h
_SOL_PACKET: Final = 263
_ADD_MEMBERSHIP: Final = 1
_PROMISCUOUS: Final = 1
_RX_RING: Final = 5
_STATISTICS: Final = 6
_VERSION: Final = 10
_IGNORE_OUTGOING: Final = 23
_TPACKET_V3: Final = 2
_ATTACH_FILTER: Final = 26
_ALL_PROTOCOLS: Final = 3
_OUTGOING: Final = 4

_HARDWARE_ADDRESS: Final = 0x8927  # SIOCGIFHWADDR
_NAME_BYTES: Final = 15  # of an interface
# struct tpacket_block_desc
_BLOCK_STATUS: Final = 8  # and how many packets
_BLOCK_LENGTHS: Final = 16  # where the first packet is, and bytes in use
_BLOCK_HEADER_BYTES: Final = 48
_OF_USER: Final = 1
_LOSING: Final = 4  # packets were dropped since their number was asked for
_OF_KERNEL: Final = bytes(4)
# struct tpacket3_hdr, and the struct sockaddr_ll behind it
_PLACES: Final = 24  # of the link layer's header and the network layer's
_VLAN_TCI: Final = 32  # and 16 bits on, in the upper half, the tag's protocol
_ADDRESS: Final = 48
_HAS_VLAN: Final = 0x10
_HAS_VLAN_TPID: Final = 0x40
_VLAN_TPID: Final = 0x8100
_MAC_ADDRESSES: Final = 12  # bytes before the tag
_WORD: Final = 0xFFFFFFFF
_HALF: Final = 0xFFFF

_RETURN: Final = 6  # BPF instruction: the packet is taken up to so many bytes

FRAME_BYTES: Final = 2048  # only checked by the kernel: in version 3, packets lie in a block one behind the other
RETIRE_MILLISECONDS: Final = 25  # a block with packets is handed over after that, full or not


def is_available() -> bool:
    """Whether the system has such rings, and numbers with the low byte first, as they are read here."""
    return hasattr(socket, "AF_PACKET") and struct.pack("=H", 1) == b"\x01\x00"


def link_type_of(interface: str) -> int:
    """The LINKTYPE_ number of the packets of an interface. CaptureError where there is none of that name."""
    if interface == ANY:
        return _LINUX_SLL2
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:  # /sys may be that of another network namespace
        try:
            request = struct.pack("16s24x", os.fsencode(interface))
            if len(os.fsencode(interface)) > _NAME_BYTES:
                raise OSError
            answer = fcntl.ioctl(any_socket, _HARDWARE_ADDRESS, request)
        except (OSError, ValueError):
            raise CaptureError(f"{interface}: there is no interface of that name; `unmux interfaces` lists them") from None
    return _LINK_TYPES.get(int.from_bytes(answer[16:18], "little"), _LINUX_SLL2)


class RingReader(LiveReader):
    """The packets of an interface, or of all of them."""

    def __init__(
        self,
        name: str,
        idle: Idle,
        program: list[Instruction] | None = None,
        snap_length: int = limits.PACKET_BYTES,
        promiscuous: bool = False,
        ring_bytes: int = limits.RING_BYTES,
    ) -> None:
        """``name`` is an interface's, or ``any``; ``program`` tells which packets are taken.

        Raises ``PermissionError`` without CAP_NET_RAW, and ``CaptureError`` where there is no such interface or ring.
        """
        super().__init__(name, idle)
        self.lost_packets = 0
        self.losses = Losses.TOLD
        self.link_type_of_packets = link_type_of(name)
        self.link_type = self.link_type_of_packets
        self._is_cooked = self.link_type_of_packets == _LINUX_SLL2
        self._snap_length: i64 = snap_length
        self._numbers: dict[int, int] = {}  # kernel's number of an interface -> ours
        self._blocks: i64 = max(ring_bytes // limits.RING_BLOCK_BYTES, 2)
        self._untold: i64 = 0  # drops that came before packets which are not read yet
        self._losing_blocks: i64 = 0  # whose packets they came before, as far as is known
        self._next: i64 = 0  # the block that is read next
        self._block = b""
        self._packet: i64 = 0  # where in it the next packet is
        self._left: i64 = 0  # packets in it
        self._blocks_to_end: i64 = -1  # read at most after ``idle`` was False; -1 before
        self._loopback: i64 = -1  # the number of the loopback interface, where packets come twice
        index = 0 if name == ANY else socket.if_nametoindex(name)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM if self._is_cooked else socket.SOCK_RAW, 0)
        try:
            self._attach(program, snap_length)
            self._ring = self._map()
            if promiscuous and index:
                self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("=iHH8x", index, _PROMISCUOUS, 0))
            if name == ANY:
                self._loopback = _index_of(_LOOPBACK)
            else:
                self._number_of(index)
                if name == _LOOPBACK:
                    self._ignore_outgoing(index)
            _bind(self._socket.fileno(), index)
            self._counts()  # of what came before it was bound: nothing
        except OSError as error:
            self._socket.close()
            raise CaptureError(f"{name}: required a ring for its packets, found: {error.strerror}") from error
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN | select.POLLERR)

    def next(self) -> bool:
        """Advance to the next packet, waiting for it; False when it is over, in ``truncation`` if that was not wanted."""
        while True:
            while self._left == 0:
                if not self._next_block():
                    return False
            block = self._block
            start = self._packet
            first = read_i64_le(block, start)
            second = read_i64_le(block, start + 8)
            third = read_i64_le(block, start + 16)
            self._packet = start + (first & _WORD)
            self._left -= 1
            index = read_i64_le(block, start + _ADDRESS) >> 32
            if index == self._loopback and block[start + _ADDRESS + 10] == _OUTGOING:
                continue
            captured: i64 = (second >> 32) & _WORD
            original: i64 = third & _WORD
            status: i64 = (third >> 32) & _WORD
            self.data = block
            places = read_i64_le(block, start + _PLACES)
            self.offset = start + (((places >> 16) if self._is_cooked else places) & _HALF)
            if self._is_cooked:
                self._put_header(start, index, status, captured)
                added: i64 = len(self.data) - captured
                captured += added
                original += added
            elif status & _HAS_VLAN and captured >= _MAC_ADDRESSES:
                offset = self.offset
                addresses = block[offset : offset + _MAC_ADDRESSES]
                rest = block[offset + _MAC_ADDRESSES : offset + captured]
                self.data = b"".join((addresses, self._tag(start, status), rest))
                self.offset = 0
                captured += 4
                original += 4
            self.interfaces[self.interface].packets += 1
            seconds: i64 = (first >> 32) & _WORD
            self._count(captured, original, seconds * 1_000_000_000 + (second & _WORD))
            return True

    def close(self) -> None:
        """Release the ring and the socket; the counts stay."""
        if not self._is_ended:
            self._lose_here(self._untold + self._counts())
            self._ring.close()
            self._socket.close()
        self._block = b""
        self._left = 0
        super().close()

    def _attach(self, program: list[Instruction] | None, snap_length: int) -> None:
        """Let the kernel take only the packets that a program accepts, cut at the snap length."""
        instructions = [(_RETURN, 0, 0, snap_length)] if program is None else program
        packed = b"".join(
            [
                struct.pack("=HBBI", code, true, false, snap_length if code == _RETURN and constant else constant)
                for code, true, false, constant in instructions
            ]
        )
        self._program = ctypes.create_string_buffer(packed)  # must outlive the call, as a local of compiled code would not
        place = ctypes.addressof(self._program)
        self._socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(instructions), place))

    def _map(self) -> mmap.mmap:
        """Make the ring and bring it into this process' memory."""
        size = limits.RING_BLOCK_BYTES
        blocks = self._blocks
        self._socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
        frames = size * blocks // FRAME_BYTES
        request = struct.pack("=7I", size, blocks, FRAME_BYTES, frames, RETIRE_MILLISECONDS, 0, 0)
        self._socket.setsockopt(_SOL_PACKET, _RX_RING, request)
        return mmap.mmap(self._socket.fileno(), size * blocks, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    def _ignore_outgoing(self, index: i64) -> None:
        """Leave out the packets that leave through the loopback interface; they come back."""
        try:
            self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        except OSError:  # before Linux 4.20
            self._loopback = index

    def _lose_before(self) -> None:
        """Take in what the kernel dropped before the block, of those it says that of, that is read next."""
        if self._losing_blocks == 0:
            self._untold += self._counts()
            self._losing_blocks = self._count_losing_blocks()
        share = (self._untold + self._losing_blocks - 1) // self._losing_blocks
        self._losing_blocks -= 1
        self._untold -= share
        self._lose_here(share)

    def _lose_here(self, packets: i64) -> None:
        if not self.interfaces:  # no packet has come of any: it is told before the first
            self._untold += packets
        elif packets > 0:
            self._lose(packets)
            interface = self.interfaces[self.interface]
            interface.dropped = (interface.dropped or 0) + packets

    def _count_losing_blocks(self) -> i64:
        """How many blocks that wait to be read, from the next one on, say that packets were dropped before them."""
        size: i64 = limits.RING_BLOCK_BYTES
        count: i64 = 0
        for number in range(self._blocks):
            place = (self._next + number) % self._blocks * size + _BLOCK_STATUS
            status: i64 = self._ring[place]
            if status & _OF_USER == 0:
                break
            if status & _LOSING:
                count += 1
        return count

    def _counts(self) -> i64:
        """Packets dropped since the last call."""
        _, dropped, _ = struct.unpack("=3I", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 12))
        return int(dropped)

    def _next_block(self) -> bool:
        """Take the next block with packets, waiting for it; False when reading is over."""
        if self._is_ended:
            return False
        self._block = b""  # not two at a time
        size: i64 = limits.RING_BLOCK_BYTES
        start = self._next * size
        while True:
            header = self._ring[start : start + _BLOCK_HEADER_BYTES]
            status = read_i64_le(header, _BLOCK_STATUS)
            self.is_caught_up = status & _OF_USER == 0
            if self._blocks_to_end < 0 and not self.idle():
                self._blocks_to_end = self._blocks  # what has come is still read
            if status & _OF_USER and self._blocks_to_end != 0:
                break
            events = self._poll.poll(WAIT_MILLISECONDS)
            for _, event in events:
                if event & select.POLLERR and self._is_gone():
                    return False
            if self._blocks_to_end >= 0 and not (self._blocks_to_end and events):
                self.close()
                return False
        if self._blocks_to_end > 0:
            self._blocks_to_end -= 1
        if status & _LOSING:
            self._lose_before()
        lengths = read_i64_le(header, _BLOCK_LENGTHS)
        self._left = (status >> 32) & _WORD
        self._packet = lengths & _WORD
        self._block = self._ring[start : start + ((lengths >> 32) & _WORD)]
        self._ring[start + _BLOCK_STATUS : start + _BLOCK_STATUS + 4] = _OF_KERNEL
        self._next = (self._next + 1) % self._blocks
        return True

    def _is_gone(self) -> bool:
        """Whether the interface is not there any more; one that is down may come up again."""
        fault = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if fault in (0, errno.ENETDOWN) and (self.name == ANY or _index_of(self.name) >= 0):
            return False
        self.truncation = f"after packet {self.frame}: the interface {self.name} is gone" + (
            f" ({os.strerror(fault)})" if fault else ""
        )
        self.close()
        return True

    def _number_of(self, index: i64) -> i64:
        """The number, here, of an interface that the kernel numbers ``index``."""
        known = self._numbers.get(index)
        if known is None:
            known = len(self.interfaces)
            try:
                name = socket.if_indextoname(index)
            except OSError:
                name = str(index)
            if known >= limits.INTERFACES:
                return 0
            interface = Interface(self.link_type_of_packets, name, self._snap_length)
            interface.dropped = 0
            self.interfaces.append(interface)
            self._numbers[index] = known
        return known

    def _put_header(self, start: i64, index: i64, status: i64, captured: i64) -> None:
        """Put the header LINKTYPE_LINUX_SLL2 before a packet whose own header the kernel took off."""
        block = self._block
        self.interface = self._number_of(index)
        address = start + _ADDRESS
        protocol = block[address + 2 : address + 4]
        tag = b""
        if status & _HAS_VLAN:
            vlan = self._tag(start, status)
            tag = vlan[2:] + protocol
            protocol = vlan[:2]
        kinds = block[address + 8 : address + 12]
        place = struct.pack(">HI", 0, index) + kinds[1:2] + kinds[:1]
        rest = block[self.offset : self.offset + captured]
        self.data = b"".join((protocol, place, kinds[2:4], block[address + 12 : address + 20], tag, rest))
        self.offset = 0

    def _tag(self, start: i64, status: i64) -> bytes:
        """The VLAN tag of a packet (IEEE 802.1Q), which the kernel keeps beside it."""
        tag = read_i64_le(self._block, start + _VLAN_TCI)
        protocol: i64 = (tag >> 32) & _HALF if status & _HAS_VLAN_TPID else _VLAN_TPID
        return struct.pack(">HH", protocol, tag & _HALF)


def _bind(descriptor: int, index: int) -> None:
    """Begin to take packets of an interface, 0 being all of them, for which Python's own bind has no word."""
    address = struct.pack("=H", socket.AF_PACKET) + struct.pack(">H", _ALL_PROTOCOLS) + struct.pack("=i12x", index)
    library = ctypes.CDLL(None, use_errno=True)
    if library.bind(descriptor, address, len(address)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _index_of(interface: str) -> int:
    """The kernel's number of an interface, -1 where there is none of that name."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return -1
