"""Every link layer yields the same segment: packets made by scapy or written by hand, around one TCP segment."""

import socket
from collections.abc import Callable

import pytest
from scapy.layers.dot11 import Dot11, Dot11QoS, RadioTap
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import LLC, SNAP, CookedLinux, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.ppp import PPP, PPPoE
from scapy.packet import Packet

SEGMENT = TCP(sport=40000, dport=443, seq=1, ack=2, flags="PA") / b"hello"
INSIDE = IP(src="192.0.2.1", dst="192.0.2.2") / SEGMENT
INSIDE_6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / SEGMENT
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
KEY = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2") + (40000).to_bytes(2, "big") + (443).to_bytes(2, "big")
KEY_6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    + (40000).to_bytes(2, "big")
    + (443).to_bytes(2, "big")
)
WIFI = Dot11(type=2, subtype=0, addr1="02:00:00:00:00:01", addr2="02:00:00:00:00:02", addr3="02:00:00:00:00:03")
WIFI_QOS = Dot11(type=2, subtype=8, addr1="02:00:00:00:00:01", addr2="02:00:00:00:00:02", addr3="02:00:00:00:00:03") / Dot11QoS()
NFLOG_FIELD = b"\x08\x00\x01\x00\x08\x00\x00\x01"

CASES: list[tuple[str, int, Packet | bytes, int, str | None]] = [
    ("ethernet", 1, ETHER / INSIDE, -1, None),
    ("ethernet with its check sequence announced", 0x04000001, ETHER / INSIDE, -1, None),
    ("vlan", 1, ETHER / Dot1Q(vlan=100) / INSIDE, 100, None),
    ("vlan in vlan", 1, ETHER / Dot1AD(vlan=200) / Dot1Q(vlan=100) / INSIDE, 200, None),
    ("vlan, old number", 1, bytes(ETHER)[:12] + b"\x91\x00\x00\x07\x08\x00" + bytes(INSIDE), 7, None),
    ("priority without vlan", 1, ETHER / Dot1Q(vlan=0, prio=5) / INSIDE, -1, None),
    ("802.3 with snap", 1, Dot3(src=ETHER.src, dst=ETHER.dst) / LLC() / SNAP() / INSIDE, -1, None),
    ("802.3 with ip in llc", 1, Dot3(src=ETHER.src, dst=ETHER.dst) / b"\x06\x06\x03" / INSIDE, -1, None),
    ("vlan with snap", 1, bytes(ETHER)[:12] + b"\x81\x00\x00\x07\x00\x40" + bytes(LLC() / SNAP() / INSIDE), 7, None),
    ("linux cooked", 113, CookedLinux(proto=0x0800) / INSIDE, -1, None),
    ("linux cooked with vlan", 113, CookedLinux(proto=0x8100) / Dot1Q(vlan=3) / INSIDE, 3, None),
    ("linux cooked 2", 276, b"\x08\x00\0\0\0\0\0\x02\x00\x01\x00\x06" + b"\2\0\0\0\0\1\0\0" + bytes(INSIDE), -1, None),
    ("raw", 101, INSIDE, -1, None),
    ("raw as 12", 12, INSIDE, -1, None),
    ("raw as 14", 14, INSIDE, -1, None),
    ("raw ipv4", 228, INSIDE, -1, None),
    ("loopback little-endian", 0, b"\2\0\0\0" + bytes(INSIDE), -1, None),
    ("loopback big-endian", 0, b"\0\0\0\2" + bytes(INSIDE), -1, None),
    ("loopback with an ethertype", 0, b"\0\0\x08\0" + bytes(INSIDE), -1, None),
    ("loopback openbsd", 108, b"\0\0\0\2" + bytes(INSIDE), -1, None),
    ("ppp", 9, PPP(proto=0x21) / INSIDE, -1, None),
    ("ppp with address and control", 9, b"\xff\x03\x00\x21" + bytes(INSIDE), -1, None),
    ("ppp with a short protocol", 9, b"\x21" + bytes(INSIDE), -1, None),
    ("ppp of pppd", 166, b"\x01\x03\x00\x21" + bytes(INSIDE), -1, None),
    ("cisco hdlc", 104, b"\x0f\x00\x08\x00" + bytes(INSIDE), -1, None),
    ("pppoe", 1, ETHER / PPPoE(sessionid=9) / PPP(proto=0x21) / INSIDE, -1, "pppoe"),
    ("pppoe as link type", 51, PPPoE(sessionid=9) / PPP(proto=0x21) / INSIDE, -1, "pppoe"),
    ("802.11", 105, WIFI / LLC() / SNAP() / INSIDE, -1, None),
    ("802.11 with quality of service", 105, WIFI_QOS / LLC() / SNAP() / INSIDE, -1, None),
    ("radiotap", 127, RadioTap() / WIFI / LLC() / SNAP() / INSIDE, -1, None),
    (
        "radiotap, padded after the 802.11 header",
        127,
        b"\0\0\x09\0\x02\0\0\0\x20" + bytes(WIFI_QOS)[:26] + b"\0\0" + bytes(LLC() / SNAP() / INSIDE),
        -1,
        None,
    ),
    ("netfilter log", 239, b"\2\0\0\0" + NFLOG_FIELD + b"\0\0\x09\0" + bytes(INSIDE), -1, None),
]


@pytest.mark.parametrize(
    ("link_type", "packet", "vlan_id", "encapsulation"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_link_layer_leads_to_the_segment(
    decode: Callable, link_type: int, packet: Packet | bytes, vlan_id: int, encapsulation: str | None
) -> None:
    seen = decode(bytes(packet), link_type)
    expected = type(seen)(1, "192.0.2.1", 40000, "192.0.2.2", 443, b"hello", 5, vlan_id, encapsulation, KEY)
    assert seen == expected


@pytest.mark.parametrize(
    ("link_type", "header"),
    [
        (1, bytes(ETHER)[:12] + b"\x86\xdd"),
        (113, bytes(CookedLinux(proto=0x86DD))),
        (276, b"\x86\xdd" + bytes(18)),
        (101, b""),
        (229, b""),
        (0, b"\x0a\0\0\0"),
        (0, b"\x17\0\0\0"),
        (0, b"\x18\0\0\0"),
        (0, b"\0\0\0\x1c"),
        (0, b"\x1e\0\0\0"),
        (9, b"\xff\x03\x00\x57"),
        (105, bytes(WIFI / LLC() / SNAP(code=0x86DD))),
        (239, b"\x0a\0\0\0\0\0\x09\0"),
    ],
)
def test_a_link_layer_leads_to_ipv6(decode: Callable, link_type: int, header: bytes) -> None:
    seen = decode(header + bytes(INSIDE_6), link_type)
    assert seen == type(seen)(1, "2001:db8::1", 40000, "2001:db8::2", 443, b"hello", 5, -1, None, KEY_6)


@pytest.mark.parametrize(
    ("link_type", "packet", "reason"),
    [
        (1, bytes(ETHER)[:12] + b"\x08\x06" + bytes(46), "arp"),
        (1, bytes(ETHER)[:12] + b"\x12\x34" + bytes(46), "ethertype 0x1234"),
        (1, bytes(ETHER)[:12] + b"\x00\x26\x42\x42\x03" + bytes(35), "spanning tree"),
        (1, bytes(ETHER)[:12] + b"\x00\x26\xe0\xe0\x03" + bytes(35), "llc"),
        (1, bytes(ETHER)[:12] + b"\x00\x26\xaa\xaa\x03\x00\x00\x0c\x20\x00" + bytes(30), "snap of another organization"),
        (1, bytes(ETHER)[:13], "short link-layer header"),
        (1, b"", "short link-layer header"),
        (1, bytes(ETHER)[:12] + b"\x81\x00\x00", "short link-layer header"),
        (1, bytes(ETHER)[:12] + b"\x81\x00\x00\x07" * 60 + b"\x08\x00" + bytes(INSIDE), "too many headers"),
        (0, b"\x07\0\0\0" + bytes(INSIDE), "address family 7"),
        (9, b"\xff\x03\xc0\x21\x01\x01\x00\x04", "lcp"),
        (9, b"\xff\x03\x00\xfd" + bytes(20), "ppp protocol 0x00fd"),
        (105, bytes(Dot11(type=0, subtype=8)), "802.11 without data"),
        (105, bytes(WIFI)[:1] + b"\x40" + bytes(40), "802.11 encrypted"),
        (105, bytes(WIFI)[:1] + b"\x04" + bytes(40), "802.11 fragment or aggregate"),
        (113, b"\x00\x00\x03\x38" + bytes(10) + b"\x00\x00" + bytes(40), "netlink"),
        (147, bytes(60), "link type 147"),
        (101, b"\x12" + bytes(60), "no ipv4 header"),
        (239, b"\2\0\0\0\0\0\x01\0", "short link-layer header"),
    ],
)
def test_what_is_no_ip_is_counted_by_its_name(decode: Callable, link_type: int, packet: bytes, reason: str) -> None:
    seen = decode(packet, link_type)
    assert seen == type(seen)(0, reason=reason)
