"""Fragments become datagrams again, or nothing; attacks with them stay small."""

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet

from analyzer import limits
from analyzer.packets.decoder import Decoder
from analyzer.packets.fragments import Fragments

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
PAYLOAD = bytes(range(256)) * 12
DATAGRAM = bytes(UDP(sport=1000, dport=2000, chksum=0, len=8 + len(PAYLOAD)) / PAYLOAD)
SECOND = 1_000_000_000


def ipv4(data: bytes, start: int, more: bool, identification: int = 7, protocol: int = 17) -> bytes:
    header = IP(src="192.0.2.1", dst="192.0.2.2", id=identification, proto=protocol, frag=start // 8, flags=int(more))
    return bytes(ETHER / header / data)


def ipv6(data: bytes, start: int, more: bool, identification: int = 7) -> bytes:
    fragment = IPv6ExtHdrFragment(nh=17, offset=start // 8, m=int(more), id=identification)
    return bytes(ETHER / IPv6(src="2001:db8::1", dst="2001:db8::2") / fragment / data)


def pieces(make: Callable[..., bytes], data: bytes = DATAGRAM, size: int = 1024, **arguments: int) -> list[bytes]:
    starts = range(0, len(data), size)
    return [make(data[start : start + size], start, start + size < len(data), **arguments) for start in starts]


@pytest.mark.parametrize(("make", "version"), [(ipv4, "ipv4"), (ipv6, "ipv6")])
@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_fragments_in_any_order_become_the_datagram(
    decode: Callable, make: Callable[..., bytes], version: str, order: tuple
) -> None:
    fragments = pieces(make)
    for frame, index in enumerate(order[:-1], 1):
        assert decode(fragments[index], frame=frame).reason == f"{version} fragment, waiting"
    seen = decode(fragments[order[-1]], frame=4)
    assert (seen.kind, seen.source_port, seen.destination_port, seen.payload) == (2, 1000, 2000, PAYLOAD)
    assert seen.original_payload_length == len(PAYLOAD)


def test_the_datagram_is_the_packet_that_completed_it(decode: Callable, decoder: Decoder) -> None:
    segment = TCP(sport=1, dport=2, seq=3, flags="PA") / PAYLOAD
    whole = IP(bytes(IP(src="192.0.2.1", dst="192.0.2.2") / segment))
    data = bytes(whole.payload)
    fragments = pieces(ipv4, data, protocol=6)
    for frame, fragment in enumerate(fragments, 11):
        seen = decode(fragment, frame=frame, timestamp=frame * 1000)
    assert (seen.kind, seen.payload, decoder.sequence) == (1, PAYLOAD, 3)
    assert (decoder.frame, decoder.timestamp, decoder.ip_identification) == (14, 14_000, 7)
    assert decoder.checksum_is_valid() is True
    first = decoder.packet_digest()
    for fragment in fragments:
        seen = decode(fragment, timestamp=60 * SECOND)
    assert decoder.packet_digest() == first


def test_datagrams_with_other_addresses_protocol_identification_or_tunnel_do_not_mix(decode: Callable) -> None:
    first, *rest = pieces(ipv4)
    assert decode(first).kind == 0
    for other in (pieces(ipv4, identification=8), pieces(ipv4, protocol=6), pieces(ipv6)):
        assert [decode(fragment).kind for fragment in other[1:]] == [0, 0, 0]
    for vni in (1, 2):
        assert decode(bytes(ETHER / IP() / UDP(dport=4789) / VXLAN(vni=vni) / rest[0])).kind == 0
    assert [decode(fragment).kind for fragment in rest] == [0, 0, 2]


def test_a_fragmented_tunnel_is_put_together_before_it_is_opened(decode: Callable) -> None:
    inside = ETHER / IP(src="192.0.2.8", dst="192.0.2.9") / TCP(sport=5, dport=6) / PAYLOAD
    carrier = bytes(UDP(sport=9, dport=4789, chksum=0, len=16 + len(inside)) / VXLAN(vni=3) / inside)
    kinds = [decode(fragment).kind for fragment in pieces(ipv4, carrier)[:-1]]
    seen = decode(pieces(ipv4, carrier)[-1])
    assert kinds == [0, 0, 0]
    assert (seen.kind, seen.source, seen.payload, seen.encapsulation) == (1, "192.0.2.8", PAYLOAD, "vxlan:3")


def test_an_exact_copy_of_a_fragment_changes_nothing(decode: Callable, decoder: Decoder) -> None:
    fragments = pieces(ipv4)
    kinds = [decode(fragment).kind for fragment in fragments for _ in range(2)]
    assert kinds == [0, 0, 0, 0, 0, 0, 2, 0]
    assert decoder.not_decoded == {"ipv4 fragment, duplicate": 1}  # the six that waited are in the datagram
    assert decoder.taken_back == 6
    assert decoder.drain_anomalies() == []


def test_a_reused_identification_is_a_new_datagram(decode: Callable) -> None:
    for round_ in range(3):
        kinds = [decode(fragment, timestamp=round_ * SECOND).kind for fragment in pieces(ipv4)]
        assert kinds == [0, 0, 0, 2]


def test_fragments_that_come_too_late_belong_to_no_old_datagram(decode: Callable) -> None:
    first, *rest = pieces(ipv4)
    decode(first)
    assert [decode(fragment, timestamp=limits.FRAGMENT_NANOSECONDS + 1).kind for fragment in rest] == [0, 0, 0]


def test_where_copies_differ_the_first_stays_and_an_anomaly_says_so(decode: Callable, decoder: Decoder) -> None:
    first, second, third, fourth = pieces(ipv4)
    decode(first, frame=1)
    decode(ipv4(b"\xff" * 1032, 1016, True), frame=2)
    decode(third, frame=3)
    decode(second, frame=4)
    seen = decode(fourth, frame=5)
    assert seen.payload[1008 : 1008 + 8] == PAYLOAD[1008:1016]
    assert seen.payload[1016 : 1016 + 1024] == b"\xff" * 1024
    (row,) = decoder.drain_anomalies()
    assert (row.kind, row.packet, row.found, row.occurrences) == ("conflicting_copies", 2, "other bytes at the same place", 1)
    assert decoder.drain_anomalies() == []


def test_a_teardrop_is_an_anomaly_and_nothing_else(decode: Callable, decoder: Decoder) -> None:
    assert decode(ipv4(b"a" * 40, 0, True)).kind == 0
    assert decode(ipv4(b"b" * 8, 24, False)).reason == "ipv4 fragment, damaged"
    assert [row.kind for row in decoder.drain_anomalies()] == ["conflicting_copies"]


def test_a_datagram_larger_than_the_largest_is_refused(decode: Callable, decoder: Decoder) -> None:
    for start in range(0, 65528, 1480):
        decode(ipv4(b"x" * 1480, start, True, protocol=1))
    assert decode(ipv4(b"x" * 1480, 65120, False)).reason == "ipv4 fragment, damaged"
    assert {row.kind for row in decoder.drain_anomalies()} == {"oversized_datagram"}


@pytest.mark.parametrize("fragment", [ipv4(b"x" * 9, 0, True), ipv4(b"", 8, False), ipv4(b"", 0, True)])
def test_a_fragment_that_cannot_be_is_refused(decode: Callable, fragment: bytes) -> None:
    assert decode(fragment).reason == "ipv4 fragment, damaged"


def test_a_snapped_fragment_is_not_put_together(decode: Callable) -> None:
    first, *rest = pieces(ipv4)
    assert decode(first[:200], original_length=len(first)).reason == "ipv4 fragment, snapped"
    assert [decode(fragment).kind for fragment in rest] == [0, 0, 0]


def test_tiny_fragments_of_the_header_are_put_together(decode: Callable) -> None:
    fragments = pieces(ipv4, DATAGRAM[:4] + (40).to_bytes(2, "big") + DATAGRAM[6:40], 8)
    seen = [decode(fragment) for fragment in fragments][-1]
    assert (seen.kind, seen.payload) == (2, PAYLOAD[:32])


def test_a_flood_of_fragments_stays_within_its_limits() -> None:
    fragments = Fragments()
    for number in range(limits.FRAGMENTED_DATAGRAMS * 2):
        fragments.add(number.to_bytes(4, "big"), b"h" * 20, 8, b"12345678", False, number, number)
        assert len(fragments._datagrams) <= limits.FRAGMENTED_DATAGRAMS
    rows = fragments.drain()
    assert [row.kind for row in rows] == ["limit"] * limits.ANOMALIES_PER_KIND
    assert sum(row.occurrences for row in rows) == limits.FRAGMENTED_DATAGRAMS
    for number in range(1200):
        fragments.add(number.to_bytes(5, "big"), b"h" * 20, 8, bytes(60_000), False, number, number)
        assert fragments._cost <= limits.FRAGMENT_BYTES + 70_000
    for number in range(200):
        fragments.add(number.to_bytes(6, "big"), b"h" * 20, 0, bytes(60_000), False, number, number)
        assert fragments.add(number.to_bytes(6, "big"), b"h" * 20, 60_000, b"x", True, number, number) is not None
    assert len(fragments._completed) <= limits.COMPLETED_DATAGRAMS


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_any_cover_of_a_datagram_gives_its_bytes(chance: random.Random, count: int) -> None:
    """Overlapping pieces that agree, in any order, against the model of one byte per position."""
    data = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 200)))
    model: dict[int, int] = {}
    fragments = Fragments()
    length: int | None = None
    for _ in range(count * 4):
        start = chance.randrange(0, len(data), 8)
        stop = min(start + 8 * chance.randrange(1, 8), len(data))
        is_last = stop == len(data)
        payload = fragments.add(b"key", b"h" * 20, start, data[start:stop], is_last, 0, 1)
        model.update(zip(range(start, stop), data[start:stop], strict=True))
        length = len(data) if is_last else length
        assert (payload is not None) == (length is not None and len(model) == length)
        if payload is not None:
            assert payload == data
            break
    assert fragments.drain() == []


def test_mixed_fragments_of_many_datagrams_all_complete(decode: Callable) -> None:
    chance = random.Random(5)
    packets: list[Packet | bytes] = [
        fragment for number in range(50) for fragment in pieces(ipv4 if number % 2 else ipv6, identification=number)
    ]
    chance.shuffle(packets)
    assert sum(decode(packet).kind == 2 for packet in packets) == 50
