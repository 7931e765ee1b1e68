"""IPv4, IPv6, TCP and UDP headers, whole and damaged; packets by scapy."""

import socket
from collections.abc import Callable

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from analyzer.packets.decoder import TCP as KIND_TCP
from analyzer.packets.decoder import UDP as KIND_UDP
from analyzer.packets.decoder import Decoder

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
HOST = IP(src="192.0.2.1", dst="192.0.2.2", id=4660, ttl=61)
HOST_6 = IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=61)
SEGMENT = TCP(sport=40000, dport=443, seq=0xFFFFFFF0, ack=0x80000001, flags="PA", window=501) / b"hello"
AUTHENTICATION = b"\x06\x04\0\0" + bytes(20)


def run(decoder: Decoder, packet: Packet | bytes, link_type: int = 1, original_length: int | None = None) -> int:
    data = bytes(packet)
    wire = len(data) if original_length is None else original_length
    return decoder.decode(data, 0, len(data), wire, link_type, 1_700_000_000_123_456_789, 5, 3)


def test_every_field_of_a_tcp_segment_is_there(decoder: Decoder) -> None:
    assert run(decoder, ETHER / HOST / SEGMENT) == KIND_TCP
    assert decoder.flow_key == socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2") + b"\x9c\x40\x01\xbb"
    assert decoder.address_bytes() == (socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.2"))
    assert (decoder.source_address(), decoder.source_port) == ("192.0.2.1", 40000)
    assert (decoder.destination_address(), decoder.destination_port) == ("192.0.2.2", 443)
    assert (decoder.sequence, decoder.acknowledgment) == (0xFFFFFFF0, 0x80000001)
    assert (decoder.flags, decoder.window, decoder.window_scale, decoder.maximum_segment_size) == (8 | 16, 501, -1, -1)
    assert (decoder.payload_offset, decoder.payload_length, decoder.original_payload_length) == (54, 5, 5)
    assert (decoder.vlan_id, decoder.encapsulation) == (-1, None)
    assert (decoder.ip_identification, decoder.hop_limit) == (4660, 61)
    assert (decoder.timestamp, decoder.frame, decoder.interface) == (1_700_000_000_123_456_789, 5, 3)
    assert (decoder.tcp_timestamp(), decoder.sack_blocks(), decoder.checksum_is_valid()) == (-1, [], True)


def test_every_field_of_a_udp_datagram_over_ipv6_is_there(decoder: Decoder) -> None:
    assert run(decoder, ETHER / HOST_6 / UDP(sport=5353, dport=53) / b"question") == KIND_UDP
    addresses = socket.inet_pton(socket.AF_INET6, "2001:db8::1"), socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    assert decoder.flow_key == b"".join(addresses) + b"\x14\xe9\x00\x35"
    assert decoder.reverse_key() == addresses[1] + addresses[0] + b"\x00\x35\x14\xe9"
    assert decoder.address_bytes() == addresses
    assert (decoder.source_address(), decoder.destination_address()) == ("2001:db8::1", "2001:db8::2")
    assert (decoder.payload_offset, decoder.payload_length, decoder.original_payload_length) == (62, 8, 8)
    assert (decoder.ip_identification, decoder.hop_limit) == (-1, 61)
    assert (decoder.tcp_timestamp(), decoder.sack_blocks(), decoder.checksum_is_valid()) == (-1, [], True)


@pytest.mark.parametrize("flags", range(256))
def test_the_eight_flags_of_tcp_are_read(decoder: Decoder, flags: int) -> None:
    run(decoder, ETHER / HOST / TCP(flags=flags))
    assert decoder.flags == flags


def test_the_options_of_a_syn_are_read_and_forgotten(decoder: Decoder) -> None:
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (0xFFFFFFFE, 0)), ("NOP", None), ("WScale", 7)]
    run(decoder, ETHER / HOST / TCP(flags="S", options=options))
    assert (decoder.window_scale, decoder.maximum_segment_size, decoder.tcp_timestamp()) == (7, 1460, 0xFFFFFFFE)
    run(decoder, ETHER / HOST / SEGMENT)
    assert (decoder.window_scale, decoder.maximum_segment_size, decoder.tcp_timestamp()) == (-1, -1, -1)


def test_a_window_scale_above_the_largest_counts_as_the_largest(decoder: Decoder) -> None:
    run(decoder, ETHER / HOST / TCP(flags="S", options=[("WScale", 200)]))
    assert decoder.window_scale == 14


def test_timestamps_and_selective_acknowledgments_are_read(decoder: Decoder) -> None:
    usual = [("NOP", None), ("NOP", None), ("Timestamp", (123456, 1))]
    run(decoder, ETHER / HOST / TCP(flags="A", options=usual))
    assert decoder.tcp_timestamp() == 123456
    blocks = (0xFFFFFF00, 0x10, 0x100, 0x200)
    run(decoder, ETHER / HOST / TCP(flags="A", options=[*usual, ("NOP", None), ("NOP", None), ("SAck", blocks)]))
    assert (decoder.tcp_timestamp(), decoder.sack_blocks()) == (123456, [(0xFFFFFF00, 0x10), (0x100, 0x200)])


@pytest.mark.parametrize(
    "options", [b"\x03\x00\x00\x00", b"\x03\x01\x00\x00", b"\x03\x09\x00\x00", b"\x01\x01\x01\x03", b"\x00\x03\x03\x07"]
)
def test_damaged_options_are_no_options(decoder: Decoder, options: bytes) -> None:
    segment = bytearray(bytes(TCP(flags="S", sport=1, dport=2)) + options)
    segment[12] = 0x60
    assert run(decoder, ETHER / IP(proto=6) / bytes(segment)) == KIND_TCP
    assert (decoder.window_scale, decoder.payload_length) == (-1, 0)


def test_padding_behind_the_packet_is_no_payload(decode: Callable) -> None:
    packet = bytes(ETHER / HOST / TCP(flags="A"))
    assert decode(packet + bytes(60 - len(packet))).payload == b""
    assert decode(bytes(ETHER / HOST / UDP(sport=1, dport=2) / b"x") + bytes(17)).payload == b"x"
    assert decode(bytes(ETHER / HOST_6 / SEGMENT) + b"checksum").payload == b"hello"
    udp = bytes(ETHER / IP(proto=17) / (bytes(UDP(sport=1, dport=2, len=9)) + b"x" + b"beyond the udp length"))
    assert decode(udp).payload == b"x"


def test_a_total_length_of_zero_means_as_long_as_the_packet(decode: Callable) -> None:
    packet = bytes(ETHER / IP(src="192.0.2.1", dst="192.0.2.2", len=0) / TCP() / (b"x" * 3000))
    assert decode(packet).payload == b"x" * 3000
    seen = decode(packet[:100], original_length=len(packet))
    assert (seen.payload, seen.original_payload_length) == (b"x" * 46, 3000)
    big = bytes(ETHER / IPv6(plen=0) / TCP() / (b"x" * 70_000))
    assert decode(big).original_payload_length == 70_000


def test_a_snapped_packet_keeps_its_original_length(decode: Callable, decoder: Decoder) -> None:
    packet = bytes(ETHER / HOST / TCP(sport=1, dport=2) / (b"x" * 1000))
    seen = decode(packet[:96], original_length=len(packet))
    assert (seen.payload, seen.original_payload_length) == (b"x" * 42, 1000)
    assert decoder.checksum_is_valid() is None
    seen = decode(packet[:96])  # cut by a tool that changed the original length too
    assert (seen.payload, seen.original_payload_length) == (b"x" * 42, 1000)
    seen = decode(bytes(ETHER / HOST / UDP(sport=1, dport=2) / (b"x" * 1000))[:42])
    assert (seen.kind, seen.payload, seen.original_payload_length) == (2, b"", 1000)


def test_a_segment_snapped_in_its_options_is_still_a_segment(decode: Callable, decoder: Decoder) -> None:
    packet = bytes(ETHER / HOST / TCP(flags="S", options=[("MSS", 1460), ("WScale", 7)]) / b"early")
    seen = decode(packet[:58], original_length=len(packet))
    assert (seen.kind, seen.payload, seen.original_payload_length) == (1, b"", 5)
    assert (decoder.maximum_segment_size, decoder.window_scale) == (1460, -1)


def test_ipv4_options_are_stepped_over(decode: Callable) -> None:
    packet = (
        ETHER / IP(src="192.0.2.1", dst="192.0.2.2", options=[IPOption_NOP(), IPOption_RR(routers=["0.0.0.0"] * 3)]) / SEGMENT
    )
    seen = decode(bytes(packet))
    assert seen.payload == b"hello"
    assert seen.key == decode(bytes(ETHER / HOST / SEGMENT)).key


@pytest.mark.parametrize(
    "extensions",
    [
        IPv6ExtHdrHopByHop(options=[PadN(optdata=b"1234")]),
        IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(addresses=["2001:db8::3"], segleft=0),
        IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(60))]),
        IPv6ExtHdrFragment(id=7),  # the only one
        IPv6ExtHdrHopByHop(nh=51) / Raw(AUTHENTICATION),
    ],
)
def test_ipv6_extension_headers_are_stepped_over(decode: Callable, extensions: Packet) -> None:
    seen = decode(bytes(ETHER / HOST_6 / extensions / SEGMENT))
    assert (seen.kind, seen.payload) == (1, b"hello")
    assert seen.key == decode(bytes(ETHER / HOST_6 / SEGMENT)).key


def test_an_authentication_header_is_stepped_over(decode: Callable) -> None:
    seen = decode(bytes(ETHER / IP(src="192.0.2.1", dst="192.0.2.2", proto=51) / (AUTHENTICATION + bytes(SEGMENT))))
    assert (seen.kind, seen.payload) == (1, b"hello")


def changed(packet: Packet, at: int, value: int) -> bytes:
    data = bytearray(bytes(packet))
    data[at] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (bytes(ETHER / HOST / SEGMENT)[:33], "short ipv4 header"),
        (changed(ETHER / HOST / SEGMENT / bytes(20), 14, 0x4F)[:70], "short ipv4 header"),
        (changed(ETHER / HOST / SEGMENT, 14, 0x44), "no ipv4 header"),
        (changed(ETHER / HOST / SEGMENT, 14, 0x65), "no ipv4 header"),
        (changed(ETHER / HOST / SEGMENT, 17, 19), "ipv4 total length below its header"),
        (changed(ETHER / HOST / SEGMENT, 17, 39), "short tcp header"),
        (bytes(ETHER / HOST / SEGMENT)[:53], "short tcp header"),
        (changed(ETHER / HOST / SEGMENT, 46, 0x40), "tcp data offset below 20 bytes"),
        (changed(ETHER / HOST / SEGMENT, 46, 0xF0), "tcp header beyond its packet"),
        (bytes(ETHER / HOST / UDP())[:41], "short udp header"),
        (bytes(ETHER / HOST / UDP(len=7) / b"x"), "udp length below 8 bytes"),
        (bytes(ETHER / HOST / UDP(len=0) / b"x"), "udp length below 8 bytes"),
        (bytes(ETHER / HOST / UDP(len=10) / b"x"), "udp length beyond its packet"),
        (bytes(ETHER / HOST_6 / SEGMENT)[:53], "short ipv6 header"),
        (changed(ETHER / HOST_6 / SEGMENT, 14, 0x40), "no ipv6 header"),
        (bytes(ETHER / HOST_6 / IPv6ExtHdrHopByHop())[:60], "short ipv6 extension header"),
        (bytes(ETHER / HOST_6 / IPv6ExtHdrDestOpt(len=200) / SEGMENT), "short ipv6 extension header"),
        (bytes(ETHER / IPv6(nh=44) / b"\6\0\0\0"), "short ipv6 extension header"),
        (bytes(ETHER / IPv6(nh=0) / (b"\0" * 800)), "too many headers"),
        (bytes(ETHER / IP(proto=51) / b"\6\xff"), "short authentication header"),
        (bytes(ETHER / IP(proto=51) / (b"\6\xff" + bytes(20))), "short authentication header"),
        (bytes(ETHER / IPv6(nh=59)), "ipv6 without next header"),
        (bytes(ETHER / IP() / ICMP()), "icmp"),
        (bytes(ETHER / IP(proto=50) / bytes(20)), "esp"),
        (bytes(ETHER / IP(proto=253) / bytes(20)), "ip protocol 253"),
    ],
)
def test_what_is_damaged_or_neither_tcp_nor_udp_gives_a_reason_only(decode: Callable, packet: bytes, reason: str) -> None:
    assert decode(packet).reason == reason


@pytest.mark.parametrize(("offset", "length"), [(-1, 10), (0, -1), (0, 101), (90, 11), (1 << 40, 1)])
def test_a_packet_beyond_its_block_is_not_read(decoder: Decoder, offset: int, length: int) -> None:
    assert decoder.decode(bytes(100), offset, length, length, 1, 0, 1, 0) == 0
    assert decoder.not_decoded == {"packet beyond its block": 1}


def test_reasons_are_counted_and_only_so_many_kept_apart(decoder: Decoder) -> None:
    for ethertype in range(0x9000, 0x9000 + 2000):
        run(decoder, bytes(12) + ethertype.to_bytes(2, "big"))
    run(decoder, bytes(12) + b"\x90\x01")
    assert len(decoder.not_decoded) == 513
    assert (decoder.not_decoded["ethertype 0x9001"], decoder.not_decoded["other"]) == (2, 2000 - 512)


@pytest.mark.parametrize("host", [HOST, HOST_6])
@pytest.mark.parametrize("transport", [SEGMENT, UDP(sport=1, dport=2) / b"odd"])
def test_checksums_are_judged(decoder: Decoder, host: Packet, transport: Packet) -> None:
    packet = ETHER / host / transport
    run(decoder, packet)
    assert decoder.checksum_is_valid() is True
    run(decoder, bytes(packet)[:-1] + b"?")
    assert decoder.checksum_is_valid() is False
    run(decoder, bytes(packet) + bytes(7))
    assert decoder.checksum_is_valid() is True


def test_a_checksum_left_to_the_network_card_is_neither_right_nor_wrong(decoder: Decoder) -> None:
    data = bytearray(bytes(ETHER / HOST / SEGMENT))
    pseudo_header = data[26:34] + b"\x00\x06\x00\x19"
    partial = sum(int.from_bytes(pseudo_header[i : i + 2], "big") for i in range(0, len(pseudo_header), 2))
    partial = (partial & 0xFFFF) + (partial >> 16)
    for field in (partial, partial - 0x19, 0):
        data[50:52] = field.to_bytes(2, "big")
        run(decoder, bytes(data))
        assert decoder.checksum_is_valid() is None
    run(decoder, ETHER / HOST / UDP(chksum=0) / b"x")
    assert decoder.checksum_is_valid() is None


def test_a_checksum_over_an_address_that_the_header_lacks_is_unknown(decoder: Decoder) -> None:
    routed = IPv6ExtHdrRouting(addresses=["2001:db8::3"], segleft=1)
    run(decoder, ETHER / HOST_6 / routed / changed(SEGMENT, 16, 1))
    assert decoder.checksum_is_valid() is None
    routed_4 = IP(src="192.0.2.1", dst="192.0.2.2", options=[IPOption_LSRR(routers=["192.0.2.9"])])
    run(decoder, ETHER / routed_4 / changed(SEGMENT, 16, 1))
    assert decoder.checksum_is_valid() is None


@pytest.mark.parametrize("host", [HOST, HOST_6])
def test_the_digest_is_equal_for_copies_that_a_router_made_and_for_no_others(decoder: Decoder, host: Packet) -> None:
    def digest(packet: Packet | bytes) -> int:
        run(decoder, packet)
        return decoder.packet_digest()

    packet = ETHER / host / SEGMENT
    passed_on = host.copy()
    if host is HOST:
        passed_on.ttl, passed_on.tos = 60, 4
    else:
        passed_on.hlim, passed_on.tc = 60, 4
    assert digest(packet) == digest(Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:08") / passed_on / SEGMENT)
    assert digest(packet) == digest(bytes(packet) + bytes(3))
    assert digest(packet) != digest(ETHER / host / TCP(sport=40000, dport=443, seq=0, flags="PA") / b"hello")
    if host is HOST:
        repeated = HOST.copy()
        repeated.id += 1
        assert digest(packet) != digest(ETHER / repeated / SEGMENT)


def test_a_new_packet_leaves_nothing_of_a_damaged_one(decode: Callable) -> None:
    before = decode(bytes(ETHER / HOST / SEGMENT))
    decode(bytes(ETHER / HOST / SEGMENT)[:50])
    assert decode(bytes(ETHER / HOST / SEGMENT)) == before
