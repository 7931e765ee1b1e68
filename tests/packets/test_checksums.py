"""The Internet checksum and the text of addresses, against independent implementations."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.packets.addresses import address_text
from analyzer.packets.checksums import checksum_verdict, ones_sum


def slow_sum(data: bytes) -> int:
    total = 0
    for index, value in enumerate(data):
        total += value << 8 if index % 2 == 0 else value
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(max_size=100))
def test_the_sum_is_that_of_16_bit_words(data: bytes) -> None:
    assert ones_sum(data) == slow_sum(data) % 0xFFFF


@given(st.binary(min_size=20, max_size=60), st.integers(1, 1 << 64))
def test_a_checksum_put_in_place_is_valid_and_one_off_is_not(segment: bytes, pseudo_header: int) -> None:
    length = len(segment)
    blank = segment[:16] + b"\0\0" + segment[18:]
    field = 0xFFFF - (pseudo_header + length + slow_sum(blank)) % 0xFFFF
    whole = blank[:16] + field.to_bytes(2, "big") + blank[18:]
    assert checksum_verdict(pseudo_header, length, whole, field) is True
    wrong = (field + 1) & 0xFFFF
    other = blank[:16] + wrong.to_bytes(2, "big") + blank[18:]
    assert checksum_verdict(pseudo_header, length, other, wrong) is not True or wrong == 0


@pytest.mark.parametrize("text", ["192.0.2.1", "0.0.0.0", "255.255.255.255"])
def test_ipv4_addresses_have_four_numbers(text: str) -> None:
    assert address_text(socket.inet_aton(text)) == text


@pytest.mark.parametrize(
    "text", ["2001:db8::1", "::", "::1", "2001:db8:0:1:1:1:1:1", "2001:0:0:1::1", "fe80::1", "::ffff:192.0.2.1"]
)
def test_ipv6_addresses_are_as_rfc_5952_has_them(text: str) -> None:
    assert address_text(socket.inet_pton(socket.AF_INET6, text)) == text


@given(st.binary(min_size=16, max_size=16))
def test_the_text_of_an_address_reads_back_as_it(address: bytes) -> None:
    assert ipaddress.IPv6Address(address_text(address)).packed == address
