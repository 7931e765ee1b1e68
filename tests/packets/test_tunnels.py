"""The innermost segment counts, whatever is around it; the flow key keeps the identity of the tunnels."""

import socket
from collections.abc import Callable

import pytest
from scapy.contrib.geneve import GENEVE
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, GRE, Dot1Q, Ether
from scapy.layers.ppp import PPP
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet

from analyzer import limits

SEGMENT = TCP(sport=40000, dport=443, seq=1, ack=2, flags="PA") / b"hello"
INSIDE = IP(src="192.0.2.1", dst="192.0.2.2") / SEGMENT
INSIDE_6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / SEGMENT
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
ETHER_4 = Ether(src="42:00:00:00:00:01", dst="45:00:00:2d:00:02")  # looks like the beginning of an IPv4 header
OUTER = ETHER / IP(src="198.51.100.1", dst="198.51.100.2")
OUTER_GRE = ETHER / IP(src="198.51.100.1", dst="198.51.100.2", proto=47)
OUTER_6 = ETHER / IPv6(src="2001:db8:ffff::1", dst="2001:db8:ffff::2")
UDP_VXLAN = UDP(sport=50000, dport=4789)
ADDRESSES = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2")
KEY = ADDRESSES + (40000).to_bytes(2, "big") + (443).to_bytes(2, "big")

CASES: list[tuple[str, Packet | bytes, str, bytes]] = [
    ("ip in ip", OUTER / INSIDE, "ip", b""),
    ("ip in ipv6", OUTER_6 / INSIDE, "ip", b""),
    ("gre", OUTER / GRE() / INSIDE, "gre", b""),
    ("gre in ipv6", OUTER_6 / GRE() / INSIDE, "gre", b""),
    ("gre with a key", OUTER / GRE(key_present=1, key=77) / INSIDE, "gre:77", b"\2\0\0\0\x4d"),
    (
        "gre with checksum, key and sequence",
        OUTER / GRE(chksum_present=1, key_present=1, key=77, seqnum_present=1, sequence_number=5) / INSIDE,
        "gre:77",
        b"\2\0\0\0\x4d",
    ),
    ("gre with ethernet", OUTER / GRE(proto=0x6558) / ETHER / INSIDE, "gre", b""),
    ("gre with ethernet and vlan", OUTER / GRE(proto=0x6558) / ETHER / Dot1Q(vlan=0) / INSIDE, "gre", b""),
    ("gre with mpls", OUTER / GRE(proto=0x8847) / MPLS(label=16, s=1) / INSIDE, "gre,mpls", b""),
    ("gre of pptp", OUTER_GRE / (b"\x30\x01\x88\x0b\x00\x20\x12\x34\0\0\0\1" + bytes(PPP(proto=0x21) / INSIDE)), "gre", b""),
    ("erspan 1", OUTER_GRE / (b"\0\0\x88\xbe" + bytes(ETHER / INSIDE)), "erspan", b""),
    ("erspan 2", OUTER_GRE / (b"\x10\0\x88\xbe\0\0\0\1" + b"\x10\0\0\x05\0\0\0\0" + bytes(ETHER / INSIDE)), "erspan", b""),
    ("erspan 3", OUTER_GRE / (b"\x10\0\x22\xeb\0\0\0\1" + b"\x20" + bytes(11) + bytes(ETHER / INSIDE)), "erspan", b""),
    (
        "erspan 3 with a subheader",
        OUTER_GRE / (b"\x10\0\x22\xeb\0\0\0\1" + b"\x20" + bytes(10) + b"\1" + bytes(8) + bytes(ETHER / INSIDE)),
        "erspan",
        b"",
    ),
    ("vxlan", OUTER / UDP_VXLAN / VXLAN(vni=42) / ETHER / INSIDE, "vxlan:42", b"\3\0\0\0\x2a"),
    ("vxlan in ipv6", OUTER_6 / UDP_VXLAN / VXLAN(vni=42) / ETHER / INSIDE, "vxlan:42", b"\3\0\0\0\x2a"),
    ("vxlan of linux", OUTER / UDP(sport=50000, dport=8472) / VXLAN(vni=1) / ETHER / INSIDE, "vxlan:1", b"\3\0\0\0\1"),
    ("geneve", OUTER / UDP(sport=50000, dport=6081) / GENEVE(vni=7, proto=0x6558) / ETHER / INSIDE, "geneve:7", b"\4\0\0\0\7"),
    (
        "geneve with options and ip",
        OUTER / UDP(sport=50000, dport=6081) / (b"\x02\0\x08\0\0\0\7\0" + bytes(8) + bytes(INSIDE)),
        "geneve:7",
        b"\4\0\0\0\7",
    ),
    ("mpls", ETHER / MPLS(label=16, s=0) / MPLS(label=17, s=1) / INSIDE, "mpls", b""),
    ("mpls pseudowire with a control word", ETHER / MPLS(label=16, s=1) / (bytes(4) + bytes(ETHER / INSIDE)), "mpls", b""),
    ("mpls pseudowire without", ETHER / MPLS(label=16, s=1) / bytes(ETHER / INSIDE), "mpls", b""),
    ("mpls pseudowire that looks like ip", ETHER / MPLS(label=16, s=1) / bytes(ETHER_4 / INSIDE), "mpls", b""),
    (
        "mpls with a bad ip checksum",
        ETHER / MPLS(label=16, s=1) / bytes(INSIDE.copy()).replace(b"\x40\x06", b"\x3f\x06", 1),
        "mpls",
        b"",
    ),
    (
        "nested",
        OUTER / UDP_VXLAN / VXLAN(vni=42) / ETHER / IP() / GRE(key_present=1, key=9) / INSIDE,
        "vxlan:42,gre:9",
        b"\3\0\0\0\x2a\2\0\0\0\x09",
    ),
    ("gre with and without a key", OUTER / GRE() / IP() / GRE(key_present=1, key=9) / INSIDE, "gre,gre:9", b"\2\0\0\0\x09"),
]


@pytest.mark.parametrize(("packet", "encapsulation", "suffix"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_segment_in_a_tunnel_is_found(decode: Callable, packet: Packet, encapsulation: str, suffix: bytes) -> None:
    seen = decode(bytes(packet))
    expected = type(seen)(1, "192.0.2.1", 40000, "192.0.2.2", 443, b"hello", 5, -1, encapsulation, KEY + suffix)
    assert seen == expected


@pytest.mark.parametrize(
    ("packet", "encapsulation"),
    [
        (OUTER / INSIDE_6, "ip"),
        (OUTER_6 / INSIDE_6, "ip"),
        (OUTER / GRE(proto=0x86DD) / INSIDE_6, "gre"),
        (OUTER / UDP_VXLAN / VXLAN(vni=42) / ETHER / INSIDE_6, "vxlan:42"),
        (ETHER / MPLS(label=16, s=1) / INSIDE_6, "mpls"),
    ],
)
def test_ipv6_in_a_tunnel_is_found(decode: Callable, packet: Packet, encapsulation: str) -> None:
    seen = decode(bytes(packet))
    assert (seen.kind, seen.source, seen.payload, seen.encapsulation) == (1, "2001:db8::1", b"hello", encapsulation)


def test_the_outermost_vlan_is_named_even_when_it_is_inside_a_tunnel(decode: Callable) -> None:
    assert decode(bytes(OUTER / UDP_VXLAN / VXLAN(vni=1) / ETHER / Dot1Q(vlan=5) / INSIDE)).vlan_id == 5
    outer = ETHER / Dot1Q(vlan=4) / IP() / UDP_VXLAN / VXLAN(vni=1) / ETHER / Dot1Q(vlan=5) / INSIDE
    assert decode(bytes(outer)).vlan_id == 4


def test_the_next_packet_knows_nothing_of_the_tunnel_before(decode: Callable) -> None:
    decode(bytes(OUTER / UDP_VXLAN / VXLAN(vni=42) / ETHER / INSIDE))
    seen = decode(bytes(ETHER / INSIDE))
    assert (seen.encapsulation, seen.key) == (None, KEY)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x00\x00\x00\x00\x00\x00\x2a\x00" + bytes(ETHER / INSIDE),  # no VNI
        b"\x08\x00\x00\x00\x00\x00\x2a\x00",  # nothing inside
        b"\x08\x00\x00\x00\x00\x00\x2a\x00" + bytes(ETHER)[:12] + b"\x12\x34" + bytes(40),
        b"\x08\x00\x00\x00\x00\x00\x2a\x00" + bytes(ETHER / INSIDE)[:40],  # an IP header that does not fit
        b"\x08\x00\x00\x00\x00\x00\x2a\x00" + bytes(ETHER / IP() / GRE(key_present=1, key=3) / b"\x45"),
        b"plain text",
        b"",
    ],
)
def test_a_datagram_that_only_uses_the_port_of_a_tunnel_is_a_flow(decode: Callable, payload: bytes) -> None:
    seen = decode(bytes(OUTER / UDP_VXLAN / payload))
    key = socket.inet_aton("198.51.100.1") + socket.inet_aton("198.51.100.2") + b"\xc3\x50\x12\xb5"
    assert seen == type(seen)(2, "198.51.100.1", 50000, "198.51.100.2", 4789, payload, len(payload), -1, None, key)


def test_a_reply_from_the_port_of_a_tunnel_is_a_flow(decode: Callable) -> None:
    seen = decode(bytes(OUTER / UDP(sport=4789, dport=50000) / VXLAN(vni=42) / ETHER / INSIDE))
    assert (seen.kind, seen.destination_port) == (2, 50000)


def test_a_tunnel_that_carries_neither_tcp_nor_udp_is_no_flow(decode: Callable) -> None:
    assert decode(bytes(OUTER / UDP_VXLAN / VXLAN(vni=42) / ETHER / ARP())).reason == "arp"
    assert decode(bytes(OUTER / UDP_VXLAN / VXLAN(vni=42) / ETHER / IP() / ICMP())).reason == "icmp"
    tree = bytes(ETHER)[:12] + b"\x00\x26\x42\x42\x03" + bytes(35)
    assert decode(bytes(OUTER / UDP_VXLAN / VXLAN(vni=42) / tree)).reason == "spanning tree"
    assert decode(bytes(OUTER / GRE() / IP() / ICMP())).reason == "icmp"
    assert decode(bytes(ETHER / MPLS(label=16, s=1) / b"\x10\0\0\x07" / bytes(20))).reason == "mpls associated channel"


def test_tunnels_nest_only_so_deep(decode: Callable) -> None:
    packet: Packet = INSIDE
    for _ in range(limits.TUNNEL_DEPTH):
        packet = IP(src="198.51.100.1", dst="198.51.100.2", proto=4) / packet
    assert decode(bytes(packet), 101).encapsulation == ",".join(["ip"] * limits.TUNNEL_DEPTH)
    assert decode(bytes(IP(proto=4) / packet), 101).reason == "tunnels too deep"


def test_labels_that_open_two_ways_each_do_not_multiply(decode: Callable) -> None:
    label = b"\x00\x01\x01\x40"
    packet = label
    for _ in range(30):
        packet += bytes(12) + b"\x88\x47" + label
    assert decode(bytes(ETHER)[:12] + b"\x88\x47" + packet * 3).kind == 0


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (bytes(OUTER / GRE(version=2) / INSIDE), "short or unknown gre header"),
        (bytes(OUTER / GRE(routing_present=1) / INSIDE), "short or unknown gre header"),
        (bytes(ETHER)[:12] + b"\x88\x47" + b"\0\0\0\0", "short mpls label stack"),
        (bytes(ETHER)[:12] + b"\x88\x64" + b"\x21\0\0\1\0\x20" + bytes(40), "short link-layer header"),
    ],
)
def test_a_damaged_tunnel_is_counted(decode: Callable, packet: bytes, reason: str) -> None:
    assert decode(packet).reason == reason


@pytest.mark.parametrize(
    ("tunnel", "name"),
    [(UDP_VXLAN / VXLAN(vni=42), "vxlan"), (UDP(sport=50000, dport=6081) / GENEVE(vni=42, proto=0x6558), "geneve")],
)
def test_a_tunnel_whose_inner_headers_were_cut_off_is_no_flow(decode: Callable, tunnel: Packet, name: str) -> None:
    packet = bytes(OUTER / tunnel / ETHER / INSIDE)
    headers = len(bytes(OUTER / tunnel / ETHER / IP() / TCP()))
    for captured in range(len(bytes(OUTER / UDP())), headers):
        assert decode(packet[:captured], original_length=len(packet)).reason == f"{name}, snapped"
    assert decode(packet[:headers], original_length=len(packet)).kind == 1
