"""The Internet checksum (RFC 1071) without a loop over bytes.

2^16 is 1 modulo 65535, so the one's complement sum of 16-bit words is the whole read as one big number, modulo 65535.
A header or segment with its checksum in place sums to 0.
"""

from typing import Final

ONES: Final = 65535


def ones_sum(data: bytes) -> int:
    """One's complement sum of the 16-bit words of ``data`` (an odd last byte is padded), in 0..65534."""
    total = int.from_bytes(data, "big")
    if len(data) & 1:
        total <<= 8
    return total % ONES


def checksum_verdict(pseudo_header: int, length: int, segment: bytes, field: int) -> bool | None:
    """Judge the checksum ``field`` of a TCP or UDP ``segment`` of ``length`` bytes.

    ``pseudo_header`` is the sum of addresses and protocol number, without the length. None where the sender left the
    sum to its network card: the field then holds 0 or only the sum of the pseudo-header.
    """
    if (pseudo_header + length + ones_sum(segment)) % ONES == 0:
        return True
    if field in (0, pseudo_header % ONES, (pseudo_header + length) % ONES):
        return None
    return False
