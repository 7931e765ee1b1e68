"""What is known of the TCP segment or UDP datagram that was decoded last.

One object is filled again and again. The fields that every packet needs are attributes; what few need is worked out
from the packet when it is asked for, and only until the next packet is decoded.
"""

from typing import Final

from librt.strings import read_i32_be, read_i64_be
from mypy_extensions import i64

from analyzer.packets.addresses import address_text
from analyzer.packets.checksums import checksum_verdict
from analyzer.packets.link_layers import read_u16
from analyzer.packets.tunnels import HAS_IDENTITY, IDENTITY_LENGTH, KIND_BITS, NAMES

NOTHING: Final = 0
TCP: Final = 1
UDP: Final = 2
DAMAGED: Final = -1  # headers that contradict themselves or the packet's bounds: perhaps it is no such protocol at all

TCP_PROTOCOL: Final = 6  # IP protocol numbers
UDP_PROTOCOL: Final = 17

_SYN: Final = 2
_LARGEST_WINDOW_SCALE: Final = 14  # RFC 7323 section 2.3
_NO_PORTS: Final = -(1 << 32)  # two ports and a sign are 32 bits
_TIMESTAMPS_ONLY: Final = 0x0101080A  # two no-operations and the timestamps option, as nearly every segment has them


class Segment:
    """A TCP segment or UDP datagram: where its payload lies and what its headers say.

    The lengths are in bytes; ``sequence`` and ``acknowledgment`` are 0 to 2^32 - 1; ``flags`` are FIN 1, SYN 2, RST 4,
    PSH 8, ACK 16, URG 32, ECE 64 and CWR 128. The TCP fields mean nothing for UDP.
    """

    def __init__(self) -> None:
        self.data: bytes = b""  # the block in which the payload lies
        self.payload_offset: i64 = 0
        self.payload_length: i64 = 0  # as captured
        self.original_payload_length: i64 = 0  # as sent
        self.flow_key: bytes = b""  # addresses and ports as seen, source first; then the tunnels' identities
        self.source_port: i64 = 0
        self.destination_port: i64 = 0
        self.sequence: i64 = 0
        self.acknowledgment: i64 = 0
        self.flags: i64 = 0
        self.window: i64 = 0  # unscaled
        self.window_scale: i64 = -1  # of a SYN; -1 where there is none
        self.maximum_segment_size: i64 = -1  # of a SYN; -1 where there is none
        self.vlan_id: i64 = -1  # the outermost; -1 without
        self.ip_identification: i64 = -1  # -1 for IPv6
        self.hop_limit: i64 = 0
        self.timestamp: i64 = 0  # nanoseconds since the epoch, of the packet that completed the datagram
        self.frame: i64 = 0  # its number
        self.interface: i64 = 0
        self._ip: i64 = 0  # where the innermost IP header begins
        self._addresses: i64 = 0  # where its source address begins
        self._address_length: i64 = 4
        self._transport: i64 = 0  # where the TCP or UDP header begins
        self._protocol: i64 = 0  # its IP protocol number
        self._end: i64 = 0  # where what was captured of the segment ends
        self._wire_end: i64 = 0  # where the segment ended on the wire
        self._is_rerouted = False  # the header's destination is not the one in the checksum
        self._reason: str = ""  # why the latest packet gave nothing
        self._usual_key: bytes = b""  # the latest of IPv4 without the tunnels' identities, and what it consists of
        self._usual_addresses: i64 = 0
        self._usual_ports: i64 = _NO_PORTS
        self._tunnel: bytes = b""  # the identities of the tunnels around it, as the flow key has them
        self._tunnel_kinds: i64 = 0  # KIND_BITS each, the outermost lowest
        self._tunnel_depth: i64 = 0

    def reverse_key(self) -> bytes:
        """The flow key of packets in the other direction."""
        key = self.flow_key
        n = self._address_length
        ports = 2 * n
        return key[n:ports] + key[:n] + key[ports + 2 : ports + 4] + key[ports : ports + 2] + key[ports + 4 :]

    def address_bytes(self) -> tuple[bytes, bytes]:
        """Source and destination address, 4 or 16 bytes each."""
        n = self._address_length
        return self.flow_key[:n], self.flow_key[n : 2 * n]

    def source_address(self) -> str:
        """The source address as text."""
        return address_text(self.flow_key[: self._address_length])

    def destination_address(self) -> str:
        """The destination address as text."""
        return address_text(self.flow_key[self._address_length : 2 * self._address_length])

    @property
    def encapsulation(self) -> str | None:
        """The tunnels around the packet, outermost first, such as ``mpls,vxlan:42``; None without."""
        if self._tunnel_depth == 0:
            return None
        names: list[str] = []
        kinds: int = self._tunnel_kinds
        at = 0
        while kinds:
            name = NAMES[kinds & (HAS_IDENTITY - 1)]
            has_identity = kinds & HAS_IDENTITY
            kinds >>= KIND_BITS
            if has_identity:
                name += f":{int.from_bytes(self._tunnel[at + 1 : at + IDENTITY_LENGTH], 'big')}"
                at += IDENTITY_LENGTH
            names.append(name)
        return ",".join(names)

    def checksum_is_valid(self) -> bool | None:
        """Whether the TCP or UDP checksum is right.

        None where that cannot be known: the packet was snapped, the sender left the sum to its network card or (UDP)
        sent none, or a routing header hides the address that was summed.
        """
        if self._end < self._wire_end or self._is_rerouted:
            return None
        data = self.data
        start = self._transport
        field: int = read_u16(data, start + (16 if self._protocol == TCP_PROTOCOL else 6))
        if field == 0 and self._protocol == UDP_PROTOCOL:
            return None
        protocol: int = self._protocol  # int, not native: the addresses of IPv6 are added to it
        length: int = self._end - start
        pseudo_header = int.from_bytes(data[self._addresses : self._addresses + 2 * self._address_length], "big") + protocol
        return checksum_verdict(pseudo_header, length, data[start : self._end], field)

    def packet_digest(self) -> int:
        """A hash of the IP packet without what routers change (traffic class, hop limit, header checksum).

        Equal for exact copies of a packet within one run of the program; it is not meant to be stored.
        """
        data = self.data
        ip = self._ip
        tail = hash(data[self._addresses : self._end])
        if self._address_length == 16:
            return tail
        return tail ^ hash(data[ip + 2 : ip + 8])  # length, identification, fragment field

    def tcp_timestamp(self) -> i64:
        """TSval of the timestamps option (RFC 7323 section 3), -1 when it is absent."""
        start = self._transport + 20
        if self.payload_offset - start >= 12 and start + 12 <= self._end:
            data = self.data
            if read_i32_be(data, start) == _TIMESTAMPS_ONLY:
                return read_u16(data, start + 4) << 16 | read_u16(data, start + 6)
        at = self._option(8, 10)
        if at < 0:
            return -1
        return read_u16(self.data, at + 2) << 16 | read_u16(self.data, at + 4)

    def sack_blocks(self) -> list[tuple[int, int]]:
        """The blocks of the selective acknowledgment option (RFC 2018 section 3): first sequence number, one past the last."""
        blocks: list[tuple[int, int]] = []
        at = self._option(5, 10)
        if at < 0:
            return blocks
        data = self.data
        stop = at + data[at + 1]
        at += 2
        while at + 8 <= stop:
            left = int.from_bytes(data[at : at + 4], "big")
            blocks.append((left, int.from_bytes(data[at + 4 : at + 8], "big")))
            at += 8
        return blocks

    def _damaged(self, reason: str) -> i64:
        self._reason = reason
        return DAMAGED

    def _place(self, data: bytes, ip: i64, transport: i64, end: i64, wire_end: i64) -> None:
        """Fill what TCP and UDP have in common, but for the payload."""
        self.data = data
        self._ip = ip
        self._transport = transport
        self._end = end
        self._wire_end = wire_end
        ports = read_i64_be(data, transport)  # a UDP header is 8 bytes long, a TCP header longer
        self.source_port = (ports >> 48) & 0xFFFF
        self.destination_port = (ports >> 32) & 0xFFFF
        word = read_i64_be(data, ip)
        if (word >> 60) & 15 == 4:
            self._address_length = 4
            self._addresses = ip + 12
            self.ip_identification = (word >> 16) & 0xFFFF
            self.hop_limit = data[ip + 8]
            addresses = read_i64_be(data, ip + 12)
            if addresses == self._usual_addresses and ports >> 32 == self._usual_ports:
                self.flow_key = self._usual_key  # packets come in bursts
            else:
                self.flow_key = data[ip + 12 : ip + 20] + data[transport : transport + 4]
                self._usual_key = self.flow_key
                self._usual_addresses = addresses
                self._usual_ports = ports >> 32
        else:
            self._address_length = 16
            self._addresses = ip + 8
            self.ip_identification = -1
            self.hop_limit = data[ip + 7]
            if transport - ip == 40:
                self.flow_key = data[ip + 8 : ip + 44]
            else:
                self.flow_key = data[ip + 8 : ip + 40] + data[transport : transport + 4]
        if self._tunnel_depth != 0 and len(self._tunnel) != 0:
            self.flow_key += self._tunnel

    def _tcp(self, data: bytes, ip: i64, transport: i64, end: i64, wire_end: i64) -> i64:
        """The TCP header (RFC 9293 section 3.1)."""
        if end - transport < 20:
            return self._damaged("short tcp header")
        word = read_i64_be(data, transport + 8)  # acknowledgment, data offset, flags, window
        payload = transport + ((word >> 26) & 0x3C)
        if payload - transport < 20:
            return self._damaged("tcp data offset below 20 bytes")
        if payload > wire_end:
            return self._damaged("tcp header beyond its packet")
        self._place(data, ip, transport, end, wire_end)
        self._protocol = TCP_PROTOCOL
        self.sequence = read_i64_be(data, transport) & 0xFFFFFFFF
        self.acknowledgment = (word >> 32) & 0xFFFFFFFF
        flags = (word >> 16) & 0xFF
        self.flags = flags
        self.window = word & 0xFFFF
        self.payload_offset = payload
        self.original_payload_length = wire_end - payload
        self.payload_length = end - payload if end > payload else 0
        if flags & _SYN != 0:
            self._syn_options()
        else:
            self.window_scale = -1
            self.maximum_segment_size = -1
        return TCP

    def _syn_options(self) -> None:
        """The options that only a SYN may carry (RFC 7323 section 2.2, RFC 9293 section 3.7.1)."""
        data = self.data
        self.window_scale = -1
        self.maximum_segment_size = -1
        at = self._option(3, 3)
        if at >= 0:
            scale: i64 = data[at + 2]
            self.window_scale = scale if scale < _LARGEST_WINDOW_SCALE else _LARGEST_WINDOW_SCALE
        at = self._option(2, 4)
        if at >= 0:
            self.maximum_segment_size = read_u16(data, at + 2)

    def _option(self, kind: i64, smallest: i64) -> i64:
        """Where the first TCP option of ``kind`` begins (RFC 9293 section 3.1), -1 without one of at least ``smallest`` bytes."""
        if self._protocol != TCP_PROTOCOL:
            return -1
        data = self.data
        at = self._transport + 20
        stop = self.payload_offset if self.payload_offset < self._end else self._end
        while at + 1 < stop:
            found: i64 = data[at]
            if found == 0:
                return -1
            if found == 1:
                at += 1
                continue
            length: i64 = data[at + 1]
            if length < 2 or at + length > stop:
                return -1
            if found == kind and length >= smallest:
                return at
            at += length
        return -1
