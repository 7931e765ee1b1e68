"""Whatever the bytes, the decoder raises nothing, reads nothing beyond the packet and keeps its word about lengths."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib.geneve import GENEVE
from scapy.contrib.mpls import MPLS
from scapy.layers.dot11 import Dot11, RadioTap
from scapy.layers.inet import IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import GRE, LLC, SNAP, CookedLinux, Dot1Q, Ether
from scapy.layers.ppp import PPP, PPPoE
from scapy.layers.vxlan import VXLAN

from analyzer.packets.decoder import Decoder

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = IP(src="192.0.2.1", dst="192.0.2.2")
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2")
OPTIONS = [("MSS", 1460), ("SAck", (1, 2)), ("Timestamp", (1, 2)), ("WScale", 7)]
TCP_SYN = TCP(sport=1000, dport=2000, flags="S", options=OPTIONS) / b"payload"
UDP_TEXT = UDP(sport=1000, dport=2000) / b"payload"

PACKETS: list[tuple[int, bytes]] = [
    (1, bytes(ETHER / V4 / TCP_SYN)),
    (1, bytes(ETHER / V4 / UDP_TEXT)),
    (1, bytes(ETHER / V6 / TCP_SYN)),
    (1, bytes(ETHER / IP(options=[IPOption_RR(routers=["192.0.2.3"])]) / TCP_SYN)),
    (1, bytes(ETHER / Dot1Q(vlan=5) / V6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP_TEXT)),
    (1, bytes(ETHER / V6 / IPv6ExtHdrFragment(nh=17, m=1, id=3) / bytes(UDP_TEXT)[:8])),
    (1, bytes(ETHER / IP(flags="MF", proto=17, id=3) / bytes(UDP_TEXT)[:8])),
    (1, bytes(ETHER / V4 / UDP(dport=4789) / VXLAN(vni=5) / ETHER / V4 / TCP_SYN)),
    (1, bytes(ETHER / V4 / UDP(dport=6081) / GENEVE(vni=5, proto=0x6558) / ETHER / V6 / UDP_TEXT)),
    (1, bytes(ETHER / V4 / GRE(key_present=1, key=9, chksum_present=1) / V4 / TCP_SYN)),
    (1, bytes(ETHER / MPLS(label=16, s=1) / bytes(4) / ETHER / V4 / TCP_SYN)),
    (1, bytes(ETHER / PPPoE(sessionid=1) / PPP(proto=0x21) / V4 / V6 / TCP_SYN)),
    (0, b"\2\0\0\0" + bytes(V4 / TCP_SYN)),
    (9, b"\xff\x03\x00\x21" + bytes(V4 / TCP_SYN)),
    (101, bytes(V6 / TCP_SYN)),
    (113, bytes(CookedLinux(proto=0x0800) / V4 / TCP_SYN)),
    (276, b"\x08\x00" + bytes(18) + bytes(V4 / TCP_SYN)),
    (127, bytes(RadioTap() / Dot11(type=2, addr1="02:00:00:00:00:01") / LLC() / SNAP() / V4 / TCP_SYN)),
    (239, b"\2\0\0\0\x08\0\1\0abcd\0\0\x09\0" + bytes(V4 / TCP_SYN)),
]


def facts(decoder: Decoder, kind: int) -> tuple[object, ...] | None:
    """Everything that can be asked of a decoder; the payload's place only relative to the packet."""
    if kind == 0:
        return None
    payload = decoder.data[decoder.payload_offset : decoder.payload_offset + decoder.payload_length]
    assert 0 <= decoder.payload_length <= decoder.original_payload_length
    assert len(payload) == decoder.payload_length
    tcp = (decoder.sequence, decoder.acknowledgment, decoder.flags, decoder.window, decoder.tcp_timestamp())
    syn = (decoder.window_scale, decoder.maximum_segment_size, decoder.sack_blocks())
    return (
        kind,
        payload,
        decoder.original_payload_length,
        decoder.flow_key,
        decoder.reverse_key(),
        decoder.source_address(),
        decoder.destination_address(),
        decoder.vlan_id,
        decoder.encapsulation,
        decoder.ip_identification,
        decoder.hop_limit,
        decoder.checksum_is_valid(),
        decoder.packet_digest(),
        *((tcp, syn) if kind == 1 else ()),
    )


def decode_twice(link_type: int, packet: bytes, original_length: int) -> None:
    """Decode in two blocks that differ everywhere but in the packet: all that is said must be equal."""
    seen = []
    for before, after in ((b"", b""), (b"\x45\0\0\x14" * 9, b"\x08\x00\x45\x00\xff" * 20)):
        decoder = Decoder()
        block = before + packet + after
        kind = decoder.decode(block, len(before), len(packet), original_length, link_type, 7, 8, 9)
        assert kind in (0, 1, 2)
        seen.append((facts(decoder, kind), decoder.not_decoded, decoder.drain_anomalies()))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(("link_type", "packet"), PACKETS)
def test_every_truncation_is_safe_and_sees_nothing_behind_the_packet(link_type: int, packet: bytes) -> None:
    for length in range(len(packet)):
        decode_twice(link_type, packet[:length], len(packet))
        decode_twice(link_type, packet[:length], length)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_mutations_are_safe(data: st.DataObject) -> None:
    link_type, packet = data.draw(st.sampled_from(PACKETS))
    changed = bytearray(packet)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.sampled_from([0, 1, 4, 6, 17, 41, 44, 47, 51, 59, 60, 0x45, 0x4F, 0x60, 0x80, 0xFF]))
    length = data.draw(st.integers(0, len(changed)))
    decode_twice(link_type, bytes(changed[: length or None]), data.draw(st.integers(0, 70_000)))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([0, 1, 9, 50, 51, 101, 104, 105, 108, 113, 127, 166, 228, 229, 239, 276, 999]), st.binary(max_size=300))
def test_random_bytes_are_safe(link_type: int, packet: bytes) -> None:
    decode_twice(link_type, packet, len(packet))


@pytest.mark.parametrize("position", range(12))
def test_every_value_of_an_important_byte_is_safe(position: int) -> None:
    """EtherType, version, lengths, fragment field, protocol, data offset: each through all its values."""
    at = (12, 13, 14, 16, 17, 20, 21, 23, 46, 47, 54, 55)[position]
    packet = PACKETS[0][1]
    for value in range(256):
        decode_twice(1, packet[:at] + bytes((value,)) + packet[at + 1 :], len(packet))


addresses = st.binary(min_size=4, max_size=4)
ports = st.integers(0, 65535).filter(lambda port: port not in (4789, 6081, 8472))


@settings(max_examples=100, deadline=None)
@given(st.booleans(), st.booleans(), addresses, addresses, ports, ports, st.sampled_from([None, 0, 5, 0xFFFFFF]))
def test_the_reverse_key_is_the_key_of_the_answer(
    is_ipv6: bool, is_udp: bool, source: bytes, destination: bytes, source_port: int, destination_port: int, vni: int | None
) -> None:
    decoder = Decoder()

    def key(source: bytes, destination: bytes, source_port: int, destination_port: int) -> bytes:
        transport = UDP if is_udp else TCP
        segment = bytes(transport(sport=source_port, dport=destination_port))
        if is_ipv6:
            header = b"\x60\0\0\0" + len(segment).to_bytes(2, "big") + bytes((17 if is_udp else 6, 64))
            packet = b"\x86\xdd" + header + source * 4 + destination * 4 + segment
        else:
            header = b"\x45\0" + (20 + len(segment)).to_bytes(2, "big") + b"\0\1\0\0\x40" + bytes((17 if is_udp else 6, 0, 0))
            packet = b"\x08\x00" + header + source + destination + segment
        packet = bytes(12) + packet
        if vni is not None:
            packet = bytes(ETHER / V4 / UDP(sport=1, dport=4789) / VXLAN(vni=vni) / packet)
        assert decoder.decode(packet, 0, len(packet), len(packet), 1, 0, 1, 0) == (2 if is_udp else 1)
        return decoder.flow_key

    forward = key(source, destination, source_port, destination_port)
    reverse = decoder.reverse_key()
    assert key(destination, source, destination_port, source_port) == reverse
    assert decoder.reverse_key() == forward
