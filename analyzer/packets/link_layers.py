"""Link layers: where the network layer begins in a frame, and which it is.

Each function returns one number, a *step*: ``offset << 20 | protocol``, or ``SHORT`` when the header does not fit into
the packet. ``protocol`` is an EtherType below 2^16, else one of the spaces declared here.
"""

from typing import Final

from mypy_extensions import i64

SHORT: Final = -1
OFFSET_SHIFT: Final = 20
PROTOCOL_MASK: Final = 0xFFFFF

# EtherTypes
IPV4: Final = 0x0800
IPV6: Final = 0x86DD
ETHERNET: Final = 0x6558  # transparent Ethernet bridging
PPP: Final = 0x880B
PPPOE_SESSION: Final = 0x8864
MPLS: Final = 0x8847
MPLS_MULTICAST: Final = 0x8848
VLAN: Final = 0x8100
VLAN_SERVICE: Final = 0x88A8
VLAN_OLD: Final = 0x9100
LOWEST_ETHERTYPE: Final = 0x0600  # below it the field is a length (IEEE 802.3 section 3.2.6)

# further spaces of protocols
PPP_SPACE: Final = 0x10000
FAMILY_SPACE: Final = 0x20000  # address families of BSD loopback
RAW_IP: Final = 0x30000  # IPv4 or IPv6 by its version
LLC: Final = 0x30001
LLC_OTHER: Final = 0x30002
WIFI_NOT_DATA: Final = 0x30003
WIFI_ENCRYPTED: Final = 0x30004
WIFI_PIECE: Final = 0x30005
NETLINK: Final = 0x30006
LINK_TYPE_OTHER: Final = 0x30007
SNAP_OTHER: Final = 0x30008
SPANNING_TREE: Final = 0x30009

# LINKTYPE_ numbers
LINK_NULL: Final = 0
LINK_ETHERNET: Final = 1
LINK_PPP: Final = 9
LINK_PPP_HDLC: Final = 50
LINK_PPP_ETHER: Final = 51
LINK_CISCO_HDLC: Final = 104
LINK_WIFI: Final = 105
LINK_LOOP: Final = 108
LINK_LINUX_COOKED: Final = 113
LINK_RADIOTAP: Final = 127
LINK_PPP_PPPD: Final = 166
LINK_IPV4: Final = 228
LINK_IPV6: Final = 229
LINK_NFLOG: Final = 239
LINK_LINUX_COOKED_2: Final = 276

ARPHRD_NETLINK: Final = 824
AF_INET: Final = 2
NFLOG_PAYLOAD: Final = 9

_NAMES: Final = {
    0x0806: "arp",
    0x0842: "wake-on-lan",
    0x8035: "rarp",
    0x8809: "slow protocols",
    0x8863: "pppoe discovery",
    0x888E: "eapol",
    0x88CC: "lldp",
    0x88E5: "macsec",
    0x88F7: "ptp",
    0x9000: "loopback test",
    PPP_SPACE + 0x8021: "ipcp",
    PPP_SPACE + 0x8057: "ipv6cp",
    PPP_SPACE + 0xC021: "lcp",
    PPP_SPACE + 0xC023: "pap",
    PPP_SPACE + 0xC223: "chap",
    SNAP_OTHER: "snap of another organization",
    SPANNING_TREE: "spanning tree",
    WIFI_NOT_DATA: "802.11 without data",
    WIFI_ENCRYPTED: "802.11 encrypted",
    WIFI_PIECE: "802.11 fragment or aggregate",
    NETLINK: "netlink",
}


def read_u16(data: bytes, offset: i64) -> i64:
    """The unsigned 16-bit number at ``offset``, network order."""
    return data[offset] << 8 | data[offset + 1]


def is_known(protocol: int) -> bool:
    """Whether ``protocol`` carries no IP but is one we can name."""
    return protocol in _NAMES


def protocol_name(protocol: int) -> str:
    """The name of a protocol that carries no IP, or its number in words."""
    name = _NAMES.get(protocol)
    if name is not None:
        return name
    if protocol == LLC_OTHER:
        return "llc"
    if protocol < PPP_SPACE:
        return f"ethertype 0x{protocol:04x}"
    if protocol < FAMILY_SPACE:
        return f"ppp protocol 0x{protocol - PPP_SPACE:04x}"
    return f"address family {protocol - FAMILY_SPACE}"


def link_step(data: bytes, offset: i64, end: i64, link_type: i64) -> i64:
    """Step over the link-layer header of ``link_type`` (a LINKTYPE_ number)."""
    if link_type == LINK_ETHERNET:
        return ethernet_step(data, offset, end)
    if link_type == LINK_LINUX_COOKED:
        return _cooked_step(data, offset, end, 16, 14, 2)
    if link_type == LINK_LINUX_COOKED_2:
        return _cooked_step(data, offset, end, 20, 0, 8)
    if link_type in (LINK_NULL, LINK_LOOP):
        return _loopback_step(data, offset, end)
    if link_type == 101 or link_type == 12 or link_type == 14:  # LINKTYPE_RAW and what it is called in old files
        return offset << OFFSET_SHIFT | RAW_IP
    if link_type == LINK_IPV4:
        return offset << OFFSET_SHIFT | IPV4
    if link_type == LINK_IPV6:
        return offset << OFFSET_SHIFT | IPV6
    if link_type in (LINK_PPP, LINK_PPP_HDLC, LINK_PPP_PPPD, LINK_CISCO_HDLC):
        return _serial_step(data, offset, end)
    if link_type == LINK_PPP_ETHER:
        return offset << OFFSET_SHIFT | PPPOE_SESSION
    if link_type == LINK_WIFI:
        return wifi_step(data, offset, end, False)
    if link_type == LINK_RADIOTAP:
        return _radiotap_step(data, offset, end)
    if link_type == LINK_NFLOG:
        return _nflog_step(data, offset, end)
    return offset << OFFSET_SHIFT | LINK_TYPE_OTHER


def ethernet_step(data: bytes, offset: i64, end: i64) -> i64:
    """Step over an Ethernet header, whose type field may be a length."""
    if end - offset < 14:
        return SHORT
    protocol = read_u16(data, offset + 12)
    if protocol < LOWEST_ETHERTYPE:
        protocol = LLC
    return (offset + 14) << OFFSET_SHIFT | protocol


def llc_step(data: bytes, offset: i64, end: i64) -> i64:
    """Step over an IEEE 802.2 LLC header, with SNAP where there is one."""
    if end - offset < 3:
        return SHORT
    if data[offset] == 0x06 and data[offset + 1] == 0x06 and data[offset + 2] == 0x03:  # the service access point of IP
        return (offset + 3) << OFFSET_SHIFT | IPV4
    if data[offset] != 0xAA or data[offset + 1] != 0xAA or data[offset + 2] != 0x03:
        is_tree = data[offset] == 0x42 and data[offset + 1] == 0x42
        return offset << OFFSET_SHIFT | (SPANNING_TREE if is_tree else LLC_OTHER)
    if end - offset < 8:
        return SHORT
    organization = data[offset + 3 : offset + 6]
    if organization != b"\0\0\0" and organization != b"\0\0\xf8":  # 00-00-f8: bridges (IEEE 802.1H)
        return offset << OFFSET_SHIFT | SNAP_OTHER
    return (offset + 8) << OFFSET_SHIFT | read_u16(data, offset + 6)


def ppp_step(data: bytes, offset: i64, end: i64) -> i64:
    """Step over a PPP header (RFC 1661, RFC 1662): address and control may be absent, the protocol may be one byte."""
    if end - offset >= 2 and data[offset] == 0xFF and data[offset + 1] == 0x03:
        offset += 2
    if end - offset < 2:
        return SHORT
    protocol: i64 = data[offset]
    if protocol & 1:
        offset += 1
    else:
        protocol = protocol << 8 | data[offset + 1]
        offset += 2
    if protocol == 0x21:
        protocol = IPV4
    elif protocol == 0x57:
        protocol = IPV6
    elif protocol == 0x281 or protocol == 0x283:
        protocol = MPLS
    else:
        protocol += PPP_SPACE
    return offset << OFFSET_SHIFT | protocol


def _serial_step(data: bytes, offset: i64, end: i64) -> i64:
    """PPP, PPP with a direction for an address, and Cisco HDLC share link types in practice; their first bytes differ."""
    if end - offset < 4:
        return SHORT
    if data[offset] == 0x0F or data[offset] == 0x8F:
        return (offset + 4) << OFFSET_SHIFT | read_u16(data, offset + 2)
    if data[offset] <= 1 and data[offset + 1] == 0x03:
        offset += 2
    return ppp_step(data, offset, end)


def _cooked_step(data: bytes, offset: i64, end: i64, length: i64, protocol_at: i64, hardware_at: i64) -> i64:
    """Linux cooked capture, versions 1 and 2: the same fields in other places."""
    if end - offset < length:
        return SHORT
    protocol = read_u16(data, offset + protocol_at)
    if read_u16(data, offset + hardware_at) == ARPHRD_NETLINK:
        protocol = NETLINK
    elif protocol == 4:  # LINUX_SLL_P_802_2
        protocol = LLC
    return (offset + length) << OFFSET_SHIFT | protocol


def _loopback_step(data: bytes, offset: i64, end: i64) -> i64:
    """BSD loopback: the address family of the capturing system, in its byte order (NULL) or network order (LOOP)."""
    if end - offset < 4:
        return SHORT
    family = read_u16(data, offset + 2)
    if family == 0:
        family = data[offset] | data[offset + 1] << 8
    protocol: i64 = FAMILY_SPACE | family
    if family >= LOWEST_ETHERTYPE:
        protocol = family  # some tools write the EtherType
    if family == AF_INET:
        protocol = IPV4
    elif family == 10 or family == 23 or family == 24 or family == 28 or family == 30:  # Linux, Windows, three BSDs
        protocol = IPV6
    return (offset + 4) << OFFSET_SHIFT | protocol


def wifi_step(data: bytes, offset: i64, end: i64, is_padded: bool) -> i64:
    """Step over an IEEE 802.11 header (section 9.2.4.1); ``is_padded``: to four bytes, as radiotap may say."""
    if end - offset < 2:
        return SHORT
    control: i64 = data[offset]
    flags: i64 = data[offset + 1]
    if control & 0x0C != 0x08 or control & 0x40:  # not a data frame, or one of the types without data
        return offset << OFFSET_SHIFT | WIFI_NOT_DATA
    if flags & 0x40:
        return offset << OFFSET_SHIFT | WIFI_ENCRYPTED
    length: i64 = 24
    if flags & 3 == 3:
        length += 6  # a fourth address
    quality_at: i64 = length
    if control & 0x80:
        length += 2  # quality of service
        if flags & 0x80:
            length += 4  # high throughput
    if end - offset < length:
        return SHORT
    if flags & 4 or data[offset + 22] & 15 or (control & 0x80 and data[offset + quality_at] & 0x80):
        return offset << OFFSET_SHIFT | WIFI_PIECE
    if is_padded:
        length = (length + 3) & -4
    return (offset + length) << OFFSET_SHIFT | LLC


def _radiotap_step(data: bytes, offset: i64, end: i64) -> i64:
    """Radiotap: of its fields only the flags matter, which say whether the 802.11 header is padded."""
    if end - offset < 8:
        return SHORT
    length: i64 = data[offset + 2] | data[offset + 3] << 8
    if length < 8 or end - offset < length:
        return SHORT
    present: i64 = data[offset + 4]
    field: i64 = offset + 4
    while data[field + 3] & 0x80:  # further words of the same kind
        field += 4
        if field + 4 > offset + length:
            return SHORT
    field += 4
    if present & 1:  # a time stamp of 8 bytes, aligned
        field = offset + ((field - offset + 7) & -8) + 8
    is_padded = bool(present & 2) and field < offset + length and bool(data[field] & 0x20)
    return wifi_step(data, offset + length, end, is_padded)


def _nflog_step(data: bytes, offset: i64, end: i64) -> i64:
    """Linux netfilter log: fields of (length, type, value), little-endian as the capturing system is; one is the packet."""
    if end - offset < 4:
        return SHORT
    family: i64 = data[offset]
    offset += 4
    while end - offset >= 4:
        length: i64 = data[offset] | data[offset + 1] << 8
        if data[offset + 2] == NFLOG_PAYLOAD and data[offset + 3] & 0x7F == 0:
            return (offset + 4) << OFFSET_SHIFT | (IPV4 if family == AF_INET else RAW_IP)
        if length < 4:
            return SHORT
        offset += (length + 3) & -4
    return SHORT
