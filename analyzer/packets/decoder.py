"""The way from a frame to the TCP segment or UDP datagram in it.

The common path, IPv4 in Ethernet, is straight-line: two or three wide reads a header, one slice for the flow key.
Anything else takes steps from header to header until IP is found; only the innermost TCP or UDP counts. A packet's
bounds are its own, not those of the block it lies in: what a header promises beyond them is not read, and damaged
headers yield nothing but a reason in ``not_decoded``.

Two ends are carried along: ``end``, where the captured bytes end, and ``wire_end``, where the packet ended on the wire;
each IP header narrows both to its own length, so that trailing padding is no payload.
"""

from typing import Final, final

from librt.strings import read_i64_be
from mypy_extensions import i64

from analyzer import limits
from analyzer.packets import link_layers, tunnels
from analyzer.packets.checksums import ones_sum
from analyzer.packets.fragments import Fragments
from analyzer.packets.link_layers import ETHERNET, IPV4, IPV6, LINK_ETHERNET, OFFSET_SHIFT, PROTOCOL_MASK, protocol_name, read_u16
from analyzer.packets.segment import DAMAGED, NOTHING, TCP, TCP_PROTOCOL, UDP, UDP_PROTOCOL, Segment
from analyzer.records import Rows

__all__ = ["NOTHING", "TCP", "UDP", "Decoder"]

# IP protocol numbers
_HOP_BY_HOP: Final = 0
_IPV4_INSIDE: Final = 4
_IPV6_INSIDE: Final = 41
_ROUTING: Final = 43
_FRAGMENT: Final = 44
_GRE: Final = 47
_AUTHENTICATION: Final = 51
_NO_NEXT_HEADER: Final = 59
_DESTINATION_OPTIONS: Final = 60
_MPLS: Final = 137

_PROTOCOLS: Final = {
    1: "icmp",
    2: "igmp",
    33: "dccp",
    46: "rsvp",
    50: "esp",
    58: "icmpv6",
    _NO_NEXT_HEADER: "ipv6 without next header",
    88: "eigrp",
    89: "ospf",
    103: "pim",
    112: "vrrp",
    132: "sctp",
}
_SOURCE_ROUTES: Final = (131, 137)  # IPv4 options (RFC 791 section 3.1)


@final
class Decoder(Segment):
    """Decodes one packet after the other; the attributes of ``Segment`` describe the last that gave TCP or UDP."""

    def __init__(self, fragment_bytes: i64 = limits.FRAGMENT_BYTES) -> None:
        """``fragment_bytes`` is what datagrams that wait for fragments may take of memory."""
        super().__init__()
        self.not_decoded: dict[str, int] = {}  # reason -> packets that gave NOTHING
        self.taken_back: i64 = 0  # packets that gave NOTHING and a part of a datagram later; the caller sets it to 0
        self._fragments = Fragments(fragment_bytes)
        self._waited: list[int] = []
        self._headers: i64 = 0  # stepped over in this packet

    def decode(
        self,
        data: bytes,
        offset: i64,
        captured_length: i64,
        original_length: i64,
        link_type: i64,
        timestamp: i64,
        frame: i64,
        interface: i64,
    ) -> i64:
        """Decode the packet of ``captured_length`` bytes at ``offset``; returns NOTHING, TCP or UDP. Never raises.

        ``original_length`` is its length on the wire, ``link_type`` a LINKTYPE_ number, ``timestamp`` in nanoseconds.
        """
        self.timestamp = timestamp
        self.frame = frame
        self.interface = interface
        self.vlan_id = -1
        self._headers = 0
        self._is_rerouted = False
        if self._tunnel_depth != 0:
            self._tunnel_depth = 0
            self._tunnel_kinds = 0
            self._tunnel = b""
        end = offset + captured_length
        if offset < 0 or captured_length < 0 or end > len(data):
            return self._count("packet beyond its block")
        wire_end = offset + original_length
        if wire_end < end:
            wire_end = end  # some writers know no better
        if link_type == LINK_ETHERNET and captured_length >= 34 and data[offset + 12] == 8 and data[offset + 13] == 0:
            kind = self._ipv4(data, offset + 14, end, wire_end)
        else:
            kind = self._link(data, offset, end, wire_end, link_type & 0xFFFF)  # above: how long its check sequence is
        if kind > 0:
            return kind
        return self._count(self._reason)

    def drain_anomalies(self) -> Rows:
        """Hand over the faults found since the last call: fragments that contradict each other, limits."""
        return self._fragments.drain()

    def _count(self, reason: str) -> i64:
        """Note why a packet gave nothing."""
        counts = self.not_decoded
        if reason not in counts and len(counts) >= limits.NOT_DECODED_REASONS:
            reason = "other"
        counts[reason] = counts.get(reason, 0) + 1
        return NOTHING

    def waited_frames(self) -> list[int]:
        """The frames of the other fragments of the datagram that was just completed; asked for while ``taken_back`` is not 0."""
        return self._waited

    def _take_back(self, reason: str, frames: list[int]) -> None:
        """Packets that were counted as waiting have given a datagram after all."""
        packets: i64 = len(frames)
        self._waited = frames if self.taken_back == 0 else self._waited + frames  # a tunnel may be fragmented inside and out
        left: i64 = self.not_decoded.pop(reason, 0)
        left -= packets
        if left > 0:
            self.not_decoded[reason] = left
        self.taken_back += packets

    def _nothing(self, reason: str) -> i64:
        self._reason = reason
        return NOTHING

    # --- below and between IP headers

    def _link(self, data: bytes, offset: i64, end: i64, wire_end: i64, link_type: i64) -> i64:
        """Begin at a link-layer header."""
        step = link_layers.link_step(data, offset, end, link_type)
        if step < 0:
            return self._damaged("short link-layer header")
        protocol = step & PROTOCOL_MASK
        if protocol == link_layers.LINK_TYPE_OTHER:
            return self._nothing(f"link type {link_type}")
        return self._network(data, protocol, step >> OFFSET_SHIFT, end, wire_end)

    def _network(self, data: bytes, protocol: i64, offset: i64, end: i64, wire_end: i64) -> i64:
        """Step over tags, PPP and the like until IP begins. ``protocol`` is one of ``link_layers``."""
        while True:
            self._headers += 1
            if self._headers > limits.PACKET_HEADERS:
                return self._damaged("too many headers")
            if protocol == link_layers.RAW_IP and offset < end:
                protocol = IPV6 if data[offset] >> 4 == 6 else IPV4
            if protocol == IPV4:
                return self._ipv4(data, offset, end, wire_end)
            if protocol == IPV6:
                return self._ipv6(data, offset, end, wire_end)
            if protocol == link_layers.MPLS or protocol == link_layers.MPLS_MULTICAST:
                return self._labels(data, offset, end, wire_end)
            if protocol == link_layers.VLAN or protocol == link_layers.VLAN_SERVICE or protocol == link_layers.VLAN_OLD:
                step = self._vlan(data, offset, end)
            elif protocol == ETHERNET:
                step = link_layers.ethernet_step(data, offset, end)
            elif protocol == link_layers.LLC:
                step = link_layers.llc_step(data, offset, end)
            elif protocol == link_layers.PPP:
                step = link_layers.ppp_step(data, offset, end)
            elif protocol == link_layers.PPPOE_SESSION:
                step = tunnels.pppoe_step(data, offset, end)
                if step >= 0 and not self._enter(tunnels.PPPOE, tunnels.NO_IDENTITY):
                    return self._damaged("tunnels too deep")
            elif link_layers.is_known(protocol):
                return self._nothing(protocol_name(protocol))
            else:
                return self._damaged(protocol_name(protocol))
            if step < 0:
                return self._damaged("short link-layer header")
            offset = step >> OFFSET_SHIFT
            protocol = step & PROTOCOL_MASK

    def _vlan(self, data: bytes, offset: i64, end: i64) -> i64:
        """Step over what follows the EtherType of a VLAN tag (IEEE 802.1Q section 9.6)."""
        if end - offset < 4:
            return link_layers.SHORT
        vlan_id = read_u16(data, offset) & 0xFFF
        if self.vlan_id < 0 and vlan_id != 0:  # 0 is a priority without a VLAN
            self.vlan_id = vlan_id
        protocol = read_u16(data, offset + 2)
        if protocol < link_layers.LOWEST_ETHERTYPE:
            protocol = link_layers.LLC
        return (offset + 4) << OFFSET_SHIFT | protocol

    def _enter(self, kind: i64, identity: i64) -> bool:
        """Note a tunnel around what follows; False when there are too many."""
        if self._tunnel_depth >= limits.TUNNEL_DEPTH:
            return False
        if identity != tunnels.NO_IDENTITY:
            number: int = kind << 32 | identity
            self._tunnel += number.to_bytes(tunnels.IDENTITY_LENGTH, "big")
            kind |= tunnels.HAS_IDENTITY
        self._tunnel_kinds |= kind << (self._tunnel_depth * tunnels.KIND_BITS)
        self._tunnel_depth += 1
        return True

    def _labels(self, data: bytes, offset: i64, end: i64, wire_end: i64) -> i64:
        """MPLS says nothing about what it carries: IP by its version, else Ethernet with a control word or without."""
        inside = tunnels.mpls_payload(data, offset, end)
        if inside < 0:
            return self._damaged("short mpls label stack")
        if not self._enter(tunnels.MPLS, tunnels.NO_IDENTITY):
            return self._damaged("tunnels too deep")
        nibble: i64 = data[inside] >> 4
        if nibble == 1:
            return self._nothing("mpls associated channel")  # RFC 4385 section 5
        first = ETHERNET
        start = inside
        if nibble == 4 and _has_valid_checksum(data, inside, end):
            first = IPV4
        elif nibble == 6:
            first = IPV6
        elif nibble == 0:
            start += 4  # the control word (RFC 4385 section 3)
        kind = self._attempt(data, first, start, end, wire_end)
        if kind == DAMAGED and (start != inside or first != ETHERNET):
            kind = self._attempt(data, ETHERNET, inside, end, wire_end)
        if kind == DAMAGED and nibble == 4 and first != IPV4:
            kind = self._attempt(data, IPV4, inside, end, wire_end)
        return kind

    def _attempt(self, data: bytes, protocol: i64, offset: i64, end: i64, wire_end: i64) -> i64:
        """Decode what may be ``protocol``; when it is not, nothing of the attempt is left but the headers counted."""
        vlan_id = self.vlan_id
        tunnel = self._tunnel
        tunnel_kinds = self._tunnel_kinds
        tunnel_depth = self._tunnel_depth
        is_rerouted = self._is_rerouted
        kind = self._network(data, protocol, offset, end, wire_end)
        if kind == DAMAGED:
            self.vlan_id = vlan_id
            self._tunnel = tunnel
            self._tunnel_kinds = tunnel_kinds
            self._tunnel_depth = tunnel_depth
            self._is_rerouted = is_rerouted
        return kind

    # --- IP

    def _ipv4(self, data: bytes, ip: i64, end: i64, wire_end: i64) -> i64:
        """The IPv4 header (RFC 791 section 3.1)."""
        if end - ip < 20:
            return self._damaged("short ipv4 header")
        word = read_i64_be(data, ip)  # version, header length, type of service, total length, identification, fragment
        header_length = (word >> 54) & 0x3C
        total_length = (word >> 32) & 0xFFFF
        if (word >> 60) & 15 != 4 or header_length < 20:
            return self._damaged("no ipv4 header")
        if total_length != 0:  # 0 where the network card cuts the segment: then it is as long as captured
            if total_length < header_length:
                return self._damaged("ipv4 total length below its header")
            wire_end = ip + total_length
            if wire_end < end:
                end = wire_end
        transport = ip + header_length
        if transport > end:
            return self._damaged("short ipv4 header")
        if word & 0x3FFF != 0:  # more fragments, or not the first
            return self._ipv4_fragment(data, ip, transport, end, wire_end)
        if header_length > 20 and _is_source_routed(data, ip + 20, transport):
            self._is_rerouted = True
        protocol: i64 = data[ip + 9]
        if protocol == TCP_PROTOCOL:
            return self._tcp(data, ip, transport, end, wire_end)
        return self._inside(data, ip, protocol, transport, end, wire_end)

    def _ipv4_fragment(self, data: bytes, ip: i64, transport: i64, end: i64, wire_end: i64) -> i64:
        """Collect a fragment; the one that completes its datagram is decoded as the datagram."""
        if end < wire_end:
            return self._nothing("ipv4 fragment, snapped")
        field = read_u16(data, ip + 6)
        header = data[ip:transport]
        key = header[12:20] + header[9:10] + header[4:6] + self._tunnel
        payload = self._fragments.add(
            key, header, (field & 0x1FFF) * 8, data[transport:end], field & 0x2000 == 0, self.timestamp, self.frame
        )
        if payload is None:
            return self._nothing("ipv4 fragment, " + self._fragments.verdict)
        self._take_back("ipv4 fragment, waiting", self._fragments.waited)
        header = self._fragments.header
        length = len(header) + len(payload)
        datagram = header[:2] + length.to_bytes(2, "big") + header[4:6] + b"\0\0" + header[8:] + payload
        return self._ipv4(datagram, 0, length, length)

    def _ipv6(self, data: bytes, ip: i64, end: i64, wire_end: i64) -> i64:
        """The IPv6 header and its extension headers (RFC 8200 sections 3 and 4)."""
        if end - ip < 40:
            return self._damaged("short ipv6 header")
        if data[ip] >> 4 != 6:
            return self._damaged("no ipv6 header")
        payload_length = read_u16(data, ip + 4)
        if payload_length != 0:  # 0 in a jumbogram, and where the network card cuts the segment
            wire_end = ip + 40 + payload_length
            if wire_end < end:
                end = wire_end
        protocol: i64 = data[ip + 6]
        offset = ip + 40
        while True:
            length: i64 = 8
            if protocol == _FRAGMENT:
                if end - offset < 8:
                    return self._damaged("short ipv6 extension header")
                if read_u16(data, offset + 2) & 0xFFF9 != 0:
                    return self._ipv6_fragment(data, ip, offset, end, wire_end)
            elif protocol in (_HOP_BY_HOP, _ROUTING, _DESTINATION_OPTIONS):
                if end - offset < 8:
                    return self._damaged("short ipv6 extension header")
                length = (data[offset + 1] + 1) * 8
                if protocol == _DESTINATION_OPTIONS or (protocol == _ROUTING and data[offset + 3] > 0):
                    self._is_rerouted = True  # a home address option (RFC 6275 section 6.3) or segments left
            else:
                return self._inside(data, ip, protocol, offset, end, wire_end)
            self._headers += 1
            if self._headers > limits.PACKET_HEADERS:
                return self._damaged("too many headers")
            protocol = data[offset]
            offset += length
            if offset > end:
                return self._damaged("short ipv6 extension header")

    def _ipv6_fragment(self, data: bytes, ip: i64, offset: i64, end: i64, wire_end: i64) -> i64:
        """Collect a fragment; a completed datagram is decoded with an IPv6 header and no extension before the fragment."""
        if end < wire_end:
            return self._nothing("ipv6 fragment, snapped")
        field = read_u16(data, offset + 2)
        header = data[ip : ip + 6] + data[offset : offset + 1] + data[ip + 7 : ip + 40]
        key = header[8:40] + data[offset + 4 : offset + 8] + self._tunnel
        payload = self._fragments.add(
            key, header, field & 0xFFF8, data[offset + 8 : end], field & 1 == 0, self.timestamp, self.frame
        )
        if payload is None:
            return self._nothing("ipv6 fragment, " + self._fragments.verdict)
        self._take_back("ipv6 fragment, waiting", self._fragments.waited)
        header = self._fragments.header
        datagram = header[:4] + len(payload).to_bytes(2, "big") + header[6:] + payload
        return self._ipv6(datagram, 0, len(datagram), len(datagram))

    def _inside(self, data: bytes, ip: i64, protocol: i64, offset: i64, end: i64, wire_end: i64) -> i64:
        """What the IP header at ``ip`` carries."""
        while protocol == _AUTHENTICATION:  # RFC 4302 section 2
            self._headers += 1
            if end - offset < 12 or self._headers > limits.PACKET_HEADERS:
                return self._damaged("short authentication header")
            protocol = data[offset]
            offset += (data[offset + 1] + 2) * 4
            if offset > end:
                return self._damaged("short authentication header")
        if protocol == TCP_PROTOCOL:
            return self._tcp(data, ip, offset, end, wire_end)
        if protocol == UDP_PROTOCOL:
            return self._udp(data, ip, offset, end, wire_end)
        if protocol == _GRE:
            return self._gre(data, offset, end, wire_end)
        if protocol in (_IPV4_INSIDE, _IPV6_INSIDE):
            if not self._enter(tunnels.IP, tunnels.NO_IDENTITY):
                return self._damaged("tunnels too deep")
            return self._network(data, IPV4 if protocol == _IPV4_INSIDE else IPV6, offset, end, wire_end)
        if protocol == _MPLS:
            return self._network(data, link_layers.MPLS, offset, end, wire_end)
        return self._nothing(_PROTOCOLS.get(protocol) or f"ip protocol {protocol}")

    def _gre(self, data: bytes, offset: i64, end: i64, wire_end: i64) -> i64:
        """A GRE header and what is in it."""
        step = tunnels.gre_step(data, offset, end)
        if step < 0:
            return self._damaged("short or unknown gre header")
        if not self._enter(tunnels.gre_kind(data, offset), tunnels.gre_identity(data, offset)):
            return self._damaged("tunnels too deep")
        return self._network(data, step & PROTOCOL_MASK, step >> OFFSET_SHIFT, end, wire_end)

    # --- transport

    def _udp(self, data: bytes, ip: i64, transport: i64, end: i64, wire_end: i64) -> i64:
        """The UDP header (RFC 768), or the tunnel behind it."""
        if end - transport < 8:
            return self._damaged("short udp header")
        length = read_u16(data, transport + 4)
        if length != 0 or wire_end - transport <= 0xFFFF:  # 0 in a jumbogram (RFC 2675 section 4)
            if length < 8:
                return self._damaged("udp length below 8 bytes")
            if transport + length > wire_end:
                return self._damaged("udp length beyond its packet")
            wire_end = transport + length
            if wire_end < end:
                end = wire_end
        payload = transport + 8
        tunnel_kind = tunnels.udp_tunnel_kind(read_u16(data, transport + 2))
        if tunnel_kind != 0:
            kind = self._udp_tunnel(data, payload, end, wire_end, tunnel_kind)
            if kind != DAMAGED:
                return kind
        self._place(data, ip, transport, end, wire_end)
        self._protocol = UDP_PROTOCOL
        self.flags = 0
        self.payload_offset = payload
        self.payload_length = end - payload
        self.original_payload_length = wire_end - payload
        return UDP

    def _udp_tunnel(self, data: bytes, offset: i64, end: i64, wire_end: i64, tunnel_kind: i64) -> i64:
        """What is inside VXLAN or Geneve; DAMAGED when it is not that, but a datagram that happens to use its port."""
        step = tunnels.udp_tunnel_step(data, offset, end, tunnel_kind)
        if step < 0:
            if end < wire_end and end - offset < 8:
                return self._nothing(f"{tunnels.NAMES[tunnel_kind]}, snapped")
            return DAMAGED
        tunnel = self._tunnel
        tunnel_kinds = self._tunnel_kinds
        tunnel_depth = self._tunnel_depth
        if not self._enter(tunnel_kind, tunnels.udp_tunnel_identity(data, offset)):
            return DAMAGED
        kind = self._attempt(data, step & PROTOCOL_MASK, step >> OFFSET_SHIFT, end, wire_end)
        if kind == DAMAGED:
            if end < wire_end:  # perhaps only cut
                return self._nothing(f"{tunnels.NAMES[tunnel_kind]}, snapped")
            self._tunnel = tunnel
            self._tunnel_kinds = tunnel_kinds
            self._tunnel_depth = tunnel_depth
        return kind


def _has_valid_checksum(data: bytes, ip: i64, end: i64) -> bool:
    """Whether what looks like an IPv4 header has a valid checksum: an Ethernet address may begin with a 4 as well."""
    length: i64 = (data[ip] & 15) * 4
    return length >= 20 and end - ip >= length and ones_sum(data[ip : ip + length]) == 0


def _is_source_routed(data: bytes, at: i64, stop: i64) -> bool:
    """Whether IPv4 options name a route that is not yet at its end: then the header's destination is not the final one."""
    while at + 2 < stop:
        option: i64 = data[at]
        if option == 0:
            return False
        if option == 1:
            at += 1
            continue
        length: i64 = data[at + 1]
        if option in _SOURCE_ROUTES:
            return data[at + 2] <= length
        if length < 2:
            return False
        at += length
    return False
