"""HTTP/2 frames (RFC 9113 sections 4 and 6): names, what a frame header must satisfy, the payload of SETTINGS."""

from typing import Final

from librt.strings import read_i64_be
from mypy_extensions import i64

from analyzer.errors import ProtocolError

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES: Final = 9
DEFAULT_FRAME_SIZE: Final = 16_384
LARGEST_WINDOW: Final = 0x7FFFFFFF

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6
ENABLE_CONNECT_PROTOCOL: Final = 8  # RFC 8441
NO_RFC7540_PRIORITIES: Final = 9  # RFC 9218

FRAME_NAMES: Final = {
    DATA: "DATA",
    HEADERS: "HEADERS",
    PRIORITY: "PRIORITY",
    RST_STREAM: "RST_STREAM",
    SETTINGS: "SETTINGS",
    PUSH_PROMISE: "PUSH_PROMISE",
    PING: "PING",
    GOAWAY: "GOAWAY",
    WINDOW_UPDATE: "WINDOW_UPDATE",
    CONTINUATION: "CONTINUATION",
    0x0A: "ALTSVC",  # RFC 7838
    0x0C: "ORIGIN",  # RFC 8336
    0x10: "PRIORITY_UPDATE",  # RFC 9218
}
SETTING_NAMES: Final = {
    HEADER_TABLE_SIZE: "HEADER_TABLE_SIZE",
    ENABLE_PUSH: "ENABLE_PUSH",
    MAX_CONCURRENT_STREAMS: "MAX_CONCURRENT_STREAMS",
    INITIAL_WINDOW_SIZE: "INITIAL_WINDOW_SIZE",
    MAX_FRAME_SIZE: "MAX_FRAME_SIZE",
    MAX_HEADER_LIST_SIZE: "MAX_HEADER_LIST_SIZE",
    ENABLE_CONNECT_PROTOCOL: "ENABLE_CONNECT_PROTOCOL",
    NO_RFC7540_PRIORITIES: "NO_RFC7540_PRIORITIES",
}
ERROR_NAMES: Final = (  # RFC 9113 section 7
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)


def frame_name(kind: i64) -> str:
    """A frame type by its name, as a number where it has none here."""
    return FRAME_NAMES.get(kind) or f"0x{kind:02x}"


def error_name(code: i64) -> str:
    """An error code by its name, as a number where it has none."""
    return ERROR_NAMES[code] if code < len(ERROR_NAMES) else f"0x{code:x}"


class HeaderRule:
    """What a frame header must satisfy, and where the standard says so."""

    def __init__(self, required: str, section: str, is_fatal: bool = True) -> None:
        self.required = required
        self.section = "RFC 9113 section " + section
        self.is_fatal = is_fatal  # breaking it ends the connection, not only the stream


_ON_A_STREAM: Final = HeaderRule("a frame of this type on a stream", "6")
_ON_NO_STREAM: Final = HeaderRule("a frame of this type on stream 0", "6")
_CLIENT_STREAM: Final = HeaderRule("a stream with an odd number", "5.1.1")
_PADDED: Final = HeaderRule("room for the pad length", "6.1")
_HEADERS_SIZE: Final = HeaderRule("room for the priority fields", "6.2")
_PRIORITY_SIZE: Final = HeaderRule("a PRIORITY frame of 5 bytes", "6.3", False)
_RST_STREAM_SIZE: Final = HeaderRule("a RST_STREAM frame of 4 bytes", "6.4")
_SETTINGS_SIZE: Final = HeaderRule("a SETTINGS frame of a multiple of 6 bytes", "6.5")
_SETTINGS_ACK: Final = HeaderRule("a SETTINGS acknowledgment of 0 bytes", "6.5")
_PUSH_BY_CLIENT: Final = HeaderRule("PUSH_PROMISE from servers only", "8.4")
_PUSH_SIZE: Final = HeaderRule("room for the promised stream", "6.6")
_PING_SIZE: Final = HeaderRule("a PING frame of 8 bytes", "6.7")
_GOAWAY_SIZE: Final = HeaderRule("a GOAWAY frame of at least 8 bytes", "6.8")
_WINDOW_UPDATE_SIZE: Final = HeaderRule("a WINDOW_UPDATE frame of 4 bytes", "6.9")


def broken_rule(kind: i64, length: i64, flags: i64, stream_id: i64, from_server: bool) -> HeaderRule | None:
    """The rule that a frame header breaks, None when it breaks none. Unknown types break none."""
    if kind <= HEADERS:
        if stream_id == 0:
            return _ON_A_STREAM
        if stream_id & 1 == 0 and not from_server:
            return _CLIENT_STREAM
        if flags & PADDED and length == 0:
            return _PADDED
        if kind == HEADERS and flags & PRIORITY_FLAG and length < (6 if flags & PADDED else 5):
            return _HEADERS_SIZE
        return None
    if kind == WINDOW_UPDATE:
        return None if length == 4 else _WINDOW_UPDATE_SIZE
    return _broken_rule_of_rare(kind, length, flags, stream_id, from_server)


def _broken_rule_of_rare(kind: i64, length: i64, flags: i64, stream_id: i64, from_server: bool) -> HeaderRule | None:
    if kind > CONTINUATION:
        return None
    if kind in (SETTINGS, PING, GOAWAY):
        if stream_id != 0:
            return _ON_NO_STREAM
    elif stream_id == 0:
        return _ON_A_STREAM
    if kind == SETTINGS:
        if flags & ACK:
            return None if length == 0 else _SETTINGS_ACK
        return None if length % 6 == 0 else _SETTINGS_SIZE
    if kind == PRIORITY:
        return None if length == 5 else _PRIORITY_SIZE
    if kind == RST_STREAM:
        return None if length == 4 else _RST_STREAM_SIZE
    if kind == PING:
        return None if length == 8 else _PING_SIZE
    if kind == GOAWAY:
        return None if length >= 8 else _GOAWAY_SIZE
    if kind == PUSH_PROMISE:
        if not from_server:
            return _PUSH_BY_CLIENT
        return None if length >= (5 if flags & PADDED else 4) else _PUSH_SIZE
    return None


def number32(data: bytes, position: i64) -> i64:
    """The unsigned 32-bit number at ``position``. Raises IndexError beyond the end."""
    return data[position] << 24 | data[position + 1] << 16 | data[position + 2] << 8 | data[position + 3]


def payload_length(data: bytes, position: i64) -> i64:
    """The length that the frame header at ``position`` gives. Raises IndexError beyond the end."""
    return data[position] << 16 | data[position + 1] << 8 | data[position + 2]


def is_possible(data: bytes, position: i64, from_server: bool, largest: i64) -> bool:
    """Whether 9 bytes can be the header of a frame that a valid peer sends; never false for one that is."""
    word: i64 = read_i64_be(data, position)
    length = word >> 40 & 0xFFFFFF
    if length > largest or word & 0x800000:  # the reserved bit before the stream's number
        return False
    stream_id: i64 = (word & 0x7FFFFF) << 8 | data[position + 8]
    return broken_rule(word >> 32 & 0xFF, length, word >> 24 & 0xFF, stream_id, from_server) is None


class Setting:
    """A parameter of a SETTINGS frame."""

    def __init__(self, identifier: i64, value: i64) -> None:
        self.identifier = identifier
        self.value = value


def parse_settings(payload: bytes) -> list[Setting]:
    """The parameters of a SETTINGS frame in order. Raises ProtocolError for values that are not allowed."""
    settings: list[Setting] = []
    position: i64 = 0
    while position + 6 <= len(payload):
        identifier: i64 = payload[position] << 8 | payload[position + 1]
        value = number32(payload, position + 2)
        if identifier in (ENABLE_PUSH, ENABLE_CONNECT_PROTOCOL) and value > 1:
            raise ProtocolError("0 or 1", f"{SETTING_NAMES[identifier]} = {value}", "RFC 9113 section 6.5.2")
        if identifier == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ProtocolError("at most 2^31 - 1", f"INITIAL_WINDOW_SIZE = {value}", "RFC 9113 section 6.5.2")
        if identifier == MAX_FRAME_SIZE and not DEFAULT_FRAME_SIZE <= value <= 0xFFFFFF:
            raise ProtocolError("2^14 to 2^24 - 1", f"MAX_FRAME_SIZE = {value}", "RFC 9113 section 6.5.2")
        settings.append(Setting(identifier, value))
        position += 6
    return settings
