"""Tunnel headers: where the inside begins, which protocol it is and the tunnel's identity.

Functions that return a step do so as in ``link_layers``: ``offset << 20 | protocol``, or ``SHORT``.
"""

from typing import Final

from mypy_extensions import i64

from analyzer.packets.link_layers import ETHERNET, LLC, LOWEST_ETHERTYPE, OFFSET_SHIFT, PPP, SHORT, read_u16

# kinds of tunnel; those with an identity put kind and identity into the flow key
IP: Final = 1
GRE: Final = 2
VXLAN: Final = 3
GENEVE: Final = 4
MPLS: Final = 5
PPPOE: Final = 6
ERSPAN: Final = 7
NAMES: Final = ("", "ip", "gre", "vxlan", "geneve", "mpls", "pppoe", "erspan")

HAS_IDENTITY: Final = 8  # added to a kind in the list of tunnels around a packet
KIND_BITS: Final = 4  # of each in that list
NO_IDENTITY: Final = -1
IDENTITY_LENGTH: Final = 5  # one byte of kind, four of identity

PORT_VXLAN: Final = 4789
PORT_VXLAN_LINUX: Final = 8472  # Linux's own, from before the assignment
PORT_GENEVE: Final = 6081

ERSPAN_TYPE_2: Final = 0x88BE  # without a GRE sequence number type I, which has no header of its own
ERSPAN_TYPE_3: Final = 0x22EB


def gre_step(data: bytes, offset: i64, end: i64) -> i64:
    """Step over a GRE header (RFC 2784, RFC 2890), over that of PPTP (RFC 2637), and of ERSPAN behind it."""
    if end - offset < 4:
        return SHORT
    flags = read_u16(data, offset)
    protocol = read_u16(data, offset + 2)
    version: i64 = flags & 7
    if version > 1 or flags & 0x4000:  # source routing was withdrawn with RFC 1701
        return SHORT
    length: i64 = 4
    if version == 1:
        length = 8  # the key field is always there
        if flags & 0x80:
            length += 4  # acknowledgment
    else:
        if flags & 0x8000:
            length += 4  # checksum
        if flags & 0x2000:
            length += 4  # key
    if flags & 0x1000:
        length += 4  # sequence
    inside = offset + length
    if protocol == ERSPAN_TYPE_2:
        if flags & 0x1000:
            inside += 8
        protocol = ETHERNET
    elif protocol == ERSPAN_TYPE_3:
        if end - inside < 12:
            return SHORT
        inside += 20 if data[inside + 11] & 1 else 12  # the last bit: a further subheader
        protocol = ETHERNET
    elif protocol < LOWEST_ETHERTYPE:
        protocol = LLC
    if inside > end:
        return SHORT
    return inside << OFFSET_SHIFT | protocol


def gre_kind(data: bytes, offset: i64) -> i64:
    """Whether the GRE header at ``offset`` (which ``gre_step`` accepted) carries ERSPAN."""
    protocol = read_u16(data, offset + 2)
    return ERSPAN if protocol in (ERSPAN_TYPE_2, ERSPAN_TYPE_3) else GRE


def gre_identity(data: bytes, offset: i64) -> i64:
    """The key of the GRE header at ``offset``. PPTP's call number differs between the directions and is no identity."""
    flags = read_u16(data, offset)
    if flags & 0x2000 == 0 or flags & 7 == 1:
        return NO_IDENTITY
    at = offset + 4
    if flags & 0x8000:
        at += 4
    return read_u16(data, at) << 16 | read_u16(data, at + 2)


def udp_tunnel_kind(port: i64) -> i64:
    """The tunnel that a UDP destination port stands for, 0 for none."""
    if port in (PORT_VXLAN, PORT_VXLAN_LINUX):
        return VXLAN
    if port == PORT_GENEVE:
        return GENEVE
    return 0


def udp_tunnel_step(data: bytes, offset: i64, end: i64, kind: i64) -> i64:
    """Step over a VXLAN (RFC 7348 section 5) or Geneve (RFC 8926 section 3.4) header; both keep the VNI at byte 4."""
    if end - offset < 8:
        return SHORT
    if kind == VXLAN:
        if data[offset] & 0x08 == 0:  # no VNI
            return SHORT
        return (offset + 8) << OFFSET_SHIFT | ETHERNET
    if data[offset] & 0xC0:  # version
        return SHORT
    options: i64 = data[offset] & 0x3F
    inside = offset + 8 + options * 4
    if inside > end:
        return SHORT
    return inside << OFFSET_SHIFT | read_u16(data, offset + 2)


def udp_tunnel_identity(data: bytes, offset: i64) -> i64:
    """The VXLAN or Geneve network identifier."""
    return read_u16(data, offset + 4) << 8 | data[offset + 6]


def pppoe_step(data: bytes, offset: i64, end: i64) -> i64:
    """Step over a PPPoE session header (RFC 2516 section 4)."""
    if end - offset < 8 or data[offset] != 0x11 or data[offset + 1] != 0:
        return SHORT
    return (offset + 6) << OFFSET_SHIFT | PPP


def mpls_payload(data: bytes, offset: i64, end: i64) -> i64:
    """Where the MPLS label stack at ``offset`` (RFC 3032 section 2.1) ends, or ``SHORT``."""
    while end - offset >= 4:
        is_bottom = data[offset + 2] & 1
        offset += 4
        if is_bottom:
            return offset if offset < end else SHORT
    return SHORT
