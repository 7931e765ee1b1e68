"""WebSocket frames: headers and masking (RFC 6455 section 5)."""

from typing import Final

from librt.strings import BytesWriter, read_i64_be, read_i64_le, write_i64_le
from mypy_extensions import i64

from analyzer.errors import ProtocolError

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

FINAL_BIT: Final = 0x80
RESERVED_BITS: Final = 0x70
RSV1: Final = 0x40
OPCODE_BITS: Final = 0x0F

LONGEST_HEADER: Final = 14
CONTROL_PAYLOAD: Final = 125  # octets at most in a control frame (RFC 6455 section 5.5)


class FrameHeader:
    """The header of a frame (RFC 6455 section 5.2); one object is read into again and again."""

    def __init__(self) -> None:
        self.first: i64 = 0  # first octet: FIN, RSV1 to RSV3, opcode
        self.is_masked = False
        self.key: i64 = 0  # masking key as a little-endian number
        self.payload_length: i64 = 0  # -1 where the most significant bit of a 64-bit length is set, which is forbidden
        self.is_minimal = True  # the length is encoded in as few octets as it can be

    def read(self, data: bytes, offset: i64, end: i64) -> i64:
        """Read the header at ``offset`` of ``data``, which is good up to ``end``; return its length, 0 when bytes are lacking."""
        if end - offset < 2:
            return 0
        first: i64 = data[offset]
        second: i64 = data[offset + 1]
        length: i64 = second & 0x7F
        size: i64 = 2
        is_minimal = True
        if length == 126:
            size = 4
            if end - offset < size:
                return 0
            upper: i64 = data[offset + 2]
            lower: i64 = data[offset + 3]
            length = upper << 8 | lower
            is_minimal = length > CONTROL_PAYLOAD
        elif length == 127:
            size = 10
            if end - offset < size:
                return 0
            length = read_i64_be(data, offset + 2)
            is_minimal = length < 0 or length > 0xFFFF
            if length < 0:
                length = -1
        if second & 0x80:
            if end - offset < size + 4:
                return 0
            at = offset + size
            byte0: i64 = data[at]
            byte1: i64 = data[at + 1]
            byte2: i64 = data[at + 2]
            byte3: i64 = data[at + 3]
            self.key = byte0 | byte1 << 8 | byte2 << 16 | byte3 << 24
            self.is_masked = True
            size += 4
        else:
            self.is_masked = False
        self.first = first
        self.payload_length = length
        self.is_minimal = is_minimal
        return size


def header_size(begin: bytes) -> i64:
    """The size of the header that begins with ``begin``, once its payload length is there, else 0."""
    if len(begin) < 2:
        return 0
    second: i64 = begin[1]
    length = second & 0x7F
    size: i64 = 2 if length < 126 else 4 if length == 126 else 10
    if len(begin) < size:
        return 0
    return size + 4 if second & 0x80 else size


def check_first_octet(first: i64, has_rsv1: bool, has_others: bool) -> None:
    """Raise ProtocolError where no frame may begin with the octet ``first`` (RFC 6455 sections 5.2 and 5.5).

    ``has_rsv1``: an extension uses RSV1 as RFC 7692 does; ``has_others``: unknown ones may use any reserved bit.
    """
    opcode = first & OPCODE_BITS
    reserved = first & RESERVED_BITS
    if opcode > PONG or BINARY < opcode < CLOSE:
        raise ProtocolError("an opcode that is defined", f"{opcode:#x}", "RFC 6455 section 5.2")
    if opcode >= CLOSE and not first & FINAL_BIT:
        raise ProtocolError("a control frame in one piece", f"a fragment, opcode {opcode:#x}", "RFC 6455 section 5.5")
    if reserved and not has_others:
        if reserved != RSV1 or not has_rsv1:
            raise ProtocolError("reserved bits 0 unless an extension uses them", f"{reserved >> 4:03b}", "RFC 6455 section 5.2")
        if opcode not in (TEXT, BINARY):
            raise ProtocolError("RSV1 only in the first frame of a message", f"opcode {opcode:#x} with it", "RFC 7692 section 6")


def check_length(header: FrameHeader) -> None:
    """Raise ProtocolError where a frame cannot be as long as ``header`` says (RFC 6455 sections 5.2 and 5.5)."""
    length = header.payload_length
    if length < 0:
        raise ProtocolError("a payload length below 2^63", "its most significant bit set", "RFC 6455 section 5.2")
    if header.first & OPCODE_BITS >= CLOSE and length > CONTROL_PAYLOAD:
        raise ProtocolError(f"at most {CONTROL_PAYLOAD} bytes in a control frame", f"{length}", "RFC 6455 section 5.5")


def unmask(data: bytes, start: i64, end: i64, key: i64, position: i64) -> bytes:
    """Unmask ``data[start:end]``, which begins ``position`` octets into a frame's payload (RFC 6455 section 5.3).

    ``key`` is the masking key as a little-endian number. Eight octets at a time: compiled, gigabytes a second.
    """
    turn: i64 = (position & 3) * 8
    turned: i64 = (key >> turn | key << (32 - turn)) & 0xFFFFFFFF
    upper: i64 = turned - (1 << 32) if turned & 0x80000000 else turned
    word: i64 = upper << 32 | turned
    result = BytesWriter()
    at = start
    last = end - 7
    while at < last:
        write_i64_le(result, read_i64_le(data, at) ^ word)
        at += 8
    if at < end and end >= 8:  # the rest is the end of the word before ``end``; single octets take longer than all others
        rest: i64 = read_i64_le(data, end - 8) >> (8 - (end - at)) * 8
        write_i64_le(result, rest ^ word)
        result.truncate(end - start)
        return result.getvalue()
    shift: i64 = 0
    while at < end:
        byte: i64 = data[at]
        masked: i64 = byte ^ (word >> shift & 0xFF)
        result.append(masked)
        shift += 8
        at += 1
    return result.getvalue()
