"""Addresses as text."""

from ipaddress import IPv4Address, IPv6Address
from typing import Final

IPV4_MAPPED: Final = b"\0" * 10 + b"\xff\xff"


def address_text(address: bytes) -> str:
    """The text of 4 or 16 bytes of address, IPv6 as RFC 5952 recommends. ValueError for another length."""
    if len(address) == 4:
        return str(IPv4Address(address))
    if address[:12] == IPV4_MAPPED:  # RFC 5952 section 5; Python did not write it so before 3.13
        return "::ffff:" + str(IPv4Address(address[12:]))
    return str(IPv6Address(address))
