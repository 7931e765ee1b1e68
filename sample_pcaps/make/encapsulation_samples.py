"""Encapsulations: real captures, wrapped by hand (scapy) where no kernel at hand makes the tunnel.

Each is http1/keep_alive or tcp/ipv6 again, so those have to be there; the rows are theirs, and what the wrapping adds.
"""

import json
from collections.abc import Callable
from pathlib import Path

from lab import SERVER, SERVER_IPV6, Lab, tcpdump
from samples import SAMPLES_FOLDER, Expected, Row, content, curl, nginx, sample
from scapy.contrib.geneve import GENEVE
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import GRE, Dot1AD, Dot1Q, Ether
from scapy.layers.ppp import PPP, PPPoE
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet
from scapy.utils import RawPcapWriter, rdpcap

LINKTYPE_ETHERNET, LINKTYPE_RAW = 1, 101
LINK = {"src": "02:00:00:00:00:0a", "dst": "02:00:00:00:00:0b"}
OUTER = {"src": "192.0.2.1", "dst": "192.0.2.2"}
Wrap = Callable[[Packet], list[Packet]]


def rewritten(
    path: Path, wrap: Wrap, origin: str, source: str = "http1/keep_alive", link_type: int = LINKTYPE_ETHERNET, **columns: object
) -> Expected:
    """Write a real sample again, each packet changed by ``wrap``; ``columns`` are added to the rows of its connections."""
    original = SAMPLES_FOLDER / f"{source}.pcap"
    with RawPcapWriter(str(path), linktype=link_type, nano=True) as writer:
        writer.write_header(None)
        for packet in rdpcap(str(original)):
            seconds = int(packet.time)
            for made in wrap(packet):
                writer.write_packet(bytes(made), sec=seconds, usec=int((packet.time - seconds) * 10**9))
    tables: dict[str, list[Row]] = json.loads(original.with_suffix(".expected.json").read_text())
    del tables["origin"]
    expected = Expected(f"hand-made from {source}: {origin}; the rows of {source}")
    for table, rows in tables.items():
        expected.add(table, *[{**row, **columns} if table == "connections" else row for row in rows])
    return expected


def inner(packet: Packet) -> Packet:
    """A copy of the packet that scapy will not share fields with."""
    return Ether(bytes(packet))


@sample("encapsulation/vlan")
def vlan(path: Path) -> Expected:
    """An IEEE 802.1Q tag."""

    def wrap(packet: Packet) -> list[Packet]:
        return [Ether(src=packet.src, dst=packet.dst) / Dot1Q(vlan=7) / packet.payload]

    return rewritten(path, wrap, "802.1Q, VLAN 7", vlan_id=7)


@sample("encapsulation/qinq")
def qinq(path: Path) -> Expected:
    """Two tags, IEEE 802.1ad."""

    def wrap(packet: Packet) -> list[Packet]:
        return [Ether(src=packet.src, dst=packet.dst) / Dot1AD(vlan=100) / Dot1Q(vlan=7) / packet.payload]

    return rewritten(path, wrap, "802.1ad, VLAN 100 outside and 7 inside", vlan_id=100)


@sample("encapsulation/vxlan")
def vxlan(path: Path) -> Expected:
    """VXLAN (RFC 7348)."""

    def wrap(packet: Packet) -> list[Packet]:
        return [
            Ether(**LINK)
            / IP(**OUTER)
            / UDP(sport=49_152, dport=4789, chksum=0)
            / VXLAN(vni=42, flags="Instance")
            / inner(packet)
        ]

    return rewritten(path, wrap, "VXLAN, network 42", encapsulation="vxlan:42")


@sample("encapsulation/geneve")
def geneve(path: Path) -> Expected:
    """Geneve (RFC 8926)."""

    def wrap(packet: Packet) -> list[Packet]:
        return [
            Ether(**LINK) / IP(**OUTER) / UDP(sport=49_153, dport=6081, chksum=0) / GENEVE(vni=43, proto=0x6558) / inner(packet)
        ]

    return rewritten(path, wrap, "Geneve, network 43")


@sample("encapsulation/gre")
def gre(path: Path) -> Expected:
    """GRE with a key (RFC 2784, RFC 2890)."""

    def wrap(packet: Packet) -> list[Packet]:
        return [Ether(**LINK) / IP(**OUTER) / GRE(key_present=1, key=44) / packet[IP]]

    return rewritten(path, wrap, "GRE, key 44")


@sample("encapsulation/ip_in_ip")
def ip_in_ip(path: Path) -> Expected:
    """IPv4 in IPv4 (RFC 2003), in IPv6 (RFC 2473)."""

    def wrap(packet: Packet) -> list[Packet]:
        return [Ether(**LINK) / IPv6(src="2001:db8::1", dst="2001:db8::2") / IP(**OUTER) / packet[IP]]

    return rewritten(path, wrap, "IPv4 in IPv4 in IPv6")


@sample("encapsulation/mpls")
def mpls(path: Path) -> Expected:
    """Two MPLS labels (RFC 3032)."""

    def wrap(packet: Packet) -> list[Packet]:
        return [Ether(src=packet.src, dst=packet.dst) / MPLS(label=1_000, s=0) / MPLS(label=2_000, s=1) / packet[IP]]

    return rewritten(path, wrap, "MPLS, two labels")


@sample("encapsulation/pppoe")
def pppoe(path: Path) -> Expected:
    """A PPPoE session (RFC 2516)."""

    def wrap(packet: Packet) -> list[Packet]:
        return [Ether(src=packet.src, dst=packet.dst) / PPPoE(sessionid=9) / PPP(proto=0x0021) / packet[IP]]

    return rewritten(path, wrap, "PPPoE, session 9")


@sample("encapsulation/raw_ip")
def raw_ip(path: Path) -> Expected:
    """No link layer at all."""
    return rewritten(path, lambda packet: [packet[IP]], "link type RAW", link_type=LINKTYPE_RAW)


@sample("encapsulation/fragments")
def fragments(path: Path) -> Expected:
    """IPv4 fragments of 400 bytes, the last one first."""

    def wrap(packet: Packet) -> list[Packet]:
        datagram = packet[IP].copy()
        datagram.flags = 0
        del datagram.chksum
        pieces = fragment(datagram, fragsize=400)
        return [Ether(src=packet.src, dst=packet.dst) / piece for piece in reversed(pieces)]

    return rewritten(path, wrap, "IPv4 fragments, in reverse order")


@sample("encapsulation/fragments_ipv6")
def fragments_ipv6(path: Path) -> Expected:
    """IPv6 fragments of up to 600 bytes."""

    def wrap(packet: Packet) -> list[Packet]:
        header = packet[IPv6]
        datagram = IPv6(src=header.src, dst=header.dst, hlim=header.hlim) / IPv6ExtHdrFragment(
            id=int(packet.time * 1e6) & 0xFFFFFFFF
        )
        return [Ether(src=packet.src, dst=packet.dst) / piece for piece in fragment6(datagram / header.payload, 600)]

    return rewritten(path, wrap, "IPv6 fragments", source="tcp/ipv6")


@sample("encapsulation/mirrored_twice")
def mirrored_twice(path: Path) -> Expected:
    """Every packet twice, as a mirror of two ports of a switch gives it."""
    return rewritten(
        path, lambda packet: [inner(packet), inner(packet)], "every packet twice", retransmitted_packets=0, out_of_order_packets=0
    )


@sample("tcp/sequence_wrap")
def sequence_wrap(path: Path) -> Expected:
    """Sequence numbers that pass 2^32 in the middle of the conversation, in both directions."""
    offsets: dict[tuple[str, int, int], int] = {}

    def wrap(packet: Packet) -> list[Packet]:
        made = inner(packet)
        segment = made[TCP]
        sender, receiver = (made[IP].src, segment.sport, segment.dport), (made[IP].dst, segment.dport, segment.sport)
        if segment.flags.S:
            offsets[sender] = (2**32 - 60 - segment.seq) % 2**32
        segment.seq = (segment.seq + offsets[sender]) % 2**32
        if segment.flags.A:
            segment.ack = (segment.ack + offsets[receiver]) % 2**32
        del segment.chksum
        return [made]

    return rewritten(path, wrap, "initial sequence numbers 60 below 2^32")


@sample("encapsulation/linux_cooked")
def linux_cooked(path: Path) -> Expected:
    """What ``tcpdump -i any`` writes: Linux cooked capture, version 2, of IPv4 and IPv6."""
    files = {"index.html": content(2_000, 1)}
    with Lab() as lab, nginx(lab, 8080, "", files):
        raw = lab.folder / "any.pcap"
        with tcpdump(lab.client, "any", raw, "tcp port 8080"):
            rows = curl(lab, f"http://{SERVER}:8080/index.html") + curl(lab, "-g", f"http://[{SERVER_IPV6}]:8080/index.html")
        path.write_bytes(raw.read_bytes())
    expected = Expected("nginx 1.22 and curl 7.88 (port 8080), tcpdump -i any at the client; rows from curl's own account")
    expected.add("http_exchanges", *rows)
    expected.add("connections", {"server_address": SERVER, "state": "SF"}, {"server_address": SERVER_IPV6, "state": "SF"})
    return expected
