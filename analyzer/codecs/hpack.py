"""HPACK, the header compression of HTTP/2 (RFC 7541), for an observer that may have missed bytes.

The dynamic table is state that both peers build up over a connection, so an observer who missed a field block, or came
late, does not have it. The newest entry has index 62; each insertion moves the others up by one. What was inserted
before a hole therefore has an unknown index after it, and index *i* is certain only if *i* - 62 is smaller than the number
of insertions witnessed since. The decoder keeps only those, and calls everything above them unknown.

Its table may hold entries that the peers have already evicted, where a maximum size or an entry's size is not known; no
valid encoder refers to those. It never lacks a witnessed entry that the peers still have without saying so
(``is_partial``). So what it returns is right or unknown, never wrong.
"""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs import huffman
from analyzer.errors import ProtocolError
from analyzer.records import FieldLine

DEFAULT_TABLE_SIZE: Final = 4096  # RFC 9113 section 6.5.2
ENTRY_OVERHEAD: Final = 32  # RFC 7541 section 4.1
UNLIMITED: Final = 1 << 32  # above every size a SETTINGS frame can allow
STATIC_ENTRIES: Final = 61

WITNESSED: Final = "witnessed"
STATIC: Final = "static"
UNKNOWN: Final = "unknown"

# RFC 7541 appendix A, with index 0 left empty
# fmt: off
STATIC_TABLE: Final[list[FieldLine]] = [
    FieldLine(None, None, UNKNOWN),
    FieldLine(b":authority", b"", STATIC),
    FieldLine(b":method", b"GET", STATIC),
    FieldLine(b":method", b"POST", STATIC),
    FieldLine(b":path", b"/", STATIC),
    FieldLine(b":path", b"/index.html", STATIC),
    FieldLine(b":scheme", b"http", STATIC),
    FieldLine(b":scheme", b"https", STATIC),
    FieldLine(b":status", b"200", STATIC),
    FieldLine(b":status", b"204", STATIC),
    FieldLine(b":status", b"206", STATIC),
    FieldLine(b":status", b"304", STATIC),
    FieldLine(b":status", b"400", STATIC),
    FieldLine(b":status", b"404", STATIC),
    FieldLine(b":status", b"500", STATIC),
    FieldLine(b"accept-charset", b"", STATIC),
    FieldLine(b"accept-encoding", b"gzip, deflate", STATIC),
    FieldLine(b"accept-language", b"", STATIC),
    FieldLine(b"accept-ranges", b"", STATIC),
    FieldLine(b"accept", b"", STATIC),
    FieldLine(b"access-control-allow-origin", b"", STATIC),
    FieldLine(b"age", b"", STATIC),
    FieldLine(b"allow", b"", STATIC),
    FieldLine(b"authorization", b"", STATIC),
    FieldLine(b"cache-control", b"", STATIC),
    FieldLine(b"content-disposition", b"", STATIC),
    FieldLine(b"content-encoding", b"", STATIC),
    FieldLine(b"content-language", b"", STATIC),
    FieldLine(b"content-length", b"", STATIC),
    FieldLine(b"content-location", b"", STATIC),
    FieldLine(b"content-range", b"", STATIC),
    FieldLine(b"content-type", b"", STATIC),
    FieldLine(b"cookie", b"", STATIC),
    FieldLine(b"date", b"", STATIC),
    FieldLine(b"etag", b"", STATIC),
    FieldLine(b"expect", b"", STATIC),
    FieldLine(b"expires", b"", STATIC),
    FieldLine(b"from", b"", STATIC),
    FieldLine(b"host", b"", STATIC),
    FieldLine(b"if-match", b"", STATIC),
    FieldLine(b"if-modified-since", b"", STATIC),
    FieldLine(b"if-none-match", b"", STATIC),
    FieldLine(b"if-range", b"", STATIC),
    FieldLine(b"if-unmodified-since", b"", STATIC),
    FieldLine(b"last-modified", b"", STATIC),
    FieldLine(b"link", b"", STATIC),
    FieldLine(b"location", b"", STATIC),
    FieldLine(b"max-forwards", b"", STATIC),
    FieldLine(b"proxy-authenticate", b"", STATIC),
    FieldLine(b"proxy-authorization", b"", STATIC),
    FieldLine(b"range", b"", STATIC),
    FieldLine(b"referer", b"", STATIC),
    FieldLine(b"refresh", b"", STATIC),
    FieldLine(b"retry-after", b"", STATIC),
    FieldLine(b"server", b"", STATIC),
    FieldLine(b"set-cookie", b"", STATIC),
    FieldLine(b"strict-transport-security", b"", STATIC),
    FieldLine(b"transfer-encoding", b"", STATIC),
    FieldLine(b"user-agent", b"", STATIC),
    FieldLine(b"vary", b"", STATIC),
    FieldLine(b"via", b"", STATIC),
    FieldLine(b"www-authenticate", b"", STATIC),
]
# fmt: on
UNKNOWN_LINE: Final = FieldLine(None, None, UNKNOWN)


class HpackDecoder:
    """Decodes the field blocks that one peer sends, in the order they were sent."""

    def __init__(self) -> None:
        self.is_partial = False  # the peers' table holds, or may hold, entries that this one lacks
        self.unknown_lines: i64 = 0  # of the block decoded last: lines with an unknown name or value
        self.is_cut = False  # the block decoded last had more lines or bytes than the limits allow
        self.uppercase_name: bytes | None = None  # a name of the block decoded last that is not in lower case
        self._allowed: i64 = DEFAULT_TABLE_SIZE  # what the other peer allows the maximum size to be
        self._maximum: i64 = DEFAULT_TABLE_SIZE  # at least the maximum size that the peers use
        self._size: i64 = 0  # at most what the entries count in the peers' table
        self._entries: list[FieldLine] = []  # the newest last; those before _first are evicted
        self._first: i64 = 0
        self._position: i64 = 0

    def allow(self, size: i64) -> None:
        """The peer that decodes allows this table size (SETTINGS_HEADER_TABLE_SIZE, acknowledged by the encoder)."""
        self._allowed = size

    def lose(self) -> None:
        """Field blocks may have been missed: forget what only they can tell."""
        self._clear()
        self.is_partial = True
        self._allowed = UNLIMITED
        self._maximum = UNLIMITED

    def memory(self) -> i64:
        """How many bytes of memory the dynamic table takes."""
        return self._size + len(self._entries) * limits.HTTP2_ENTRY_BYTES

    def copy(self) -> "HpackDecoder":
        """Another decoder with the same state."""
        other = HpackDecoder()
        other.is_partial = self.is_partial
        other._allowed = self._allowed
        other._maximum = self._maximum
        other._size = self._size
        other._entries = self._entries.copy()
        other._first = self._first
        return other

    def decode(self, block: bytes, lines: list[FieldLine]) -> None:
        """Append the field lines of a whole field block. Raises ProtocolError where the block is not valid."""
        end: i64 = len(block)
        room: i64 = limits.FIELD_SECTION_BYTES
        self.unknown_lines = 0
        self.is_cut = False
        self.uppercase_name = None
        self._position = 0
        has_lines = False
        while self._position < end:
            first: i64 = block[self._position]
            if first & 0x80:
                line = self._line(self._integer(block, 0x7F))
            elif first & 0x40:
                line = self._literal(block, 0x3F)
                self._insert(line)
            elif first & 0x20:
                if has_lines:
                    raise ProtocolError(
                        "a dynamic table size update only at the start of a field block",
                        "one after a field line",
                        "RFC 7541 section 4.2",
                    )
                self._resize(self._integer(block, 0x1F))
                continue
            else:
                line = self._literal(block, 0x0F)
            has_lines = True
            name = line.name
            value = line.value
            if name is None or value is None:
                self.unknown_lines += 1
            if name is not None:
                room -= len(name)
            if value is not None:
                room -= len(value)
            room -= ENTRY_OVERHEAD
            if room < 0:
                self.is_cut = True
            else:
                lines.append(line)

    def _line(self, index: i64) -> FieldLine:
        """The entry at an index of the common index space (RFC 7541 section 2.3.3)."""
        if index <= STATIC_ENTRIES:
            if index == 0:
                raise ProtocolError("an index from 1", "index 0", "RFC 7541 section 6.1")
            return STATIC_TABLE[index]
        entries = self._entries
        at: i64 = len(entries) + STATIC_ENTRIES - index
        if at >= self._first:
            return entries[at]
        if self.is_partial:
            return UNKNOWN_LINE
        raise ProtocolError(
            f"an index up to {len(entries) - self._first + STATIC_ENTRIES}", f"index {index}", "RFC 7541 section 2.3.3"
        )

    def _literal(self, block: bytes, prefix: i64) -> FieldLine:
        """A literal field line (RFC 7541 section 6.2)."""
        index = self._integer(block, prefix)
        name: bytes | None
        if index == 0:
            name = self._string(block)
            if name != name.lower():
                self.uppercase_name = name
        else:
            name = self._line(index).name
        value = self._string(block)
        return FieldLine(name, value, UNKNOWN if name is None else WITNESSED)

    def _integer(self, block: bytes, prefix: i64) -> i64:
        """An integer whose first byte holds it in the bits of ``prefix``, or begins it (RFC 7541 section 5.1)."""
        position = self._position
        end: i64 = len(block)
        if position >= end:
            raise ProtocolError("a whole field line", "the end of the field block", "RFC 7541 section 5.1")
        value: i64 = block[position] & prefix
        position += 1
        if value == prefix:
            shift: i64 = 0
            while True:
                if position >= end:
                    raise ProtocolError("a whole integer", "the end of the field block", "RFC 7541 section 5.1")
                byte: i64 = block[position]
                position += 1
                if shift > 28:
                    raise ProtocolError("an integer below 2^35", "a longer one", "RFC 7541 section 5.1")
                value += (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
        self._position = position
        return value

    def _string(self, block: bytes) -> bytes:
        """A string literal (RFC 7541 section 5.2)."""
        start = self._position
        length = self._integer(block, 0x7F)
        begin = self._position
        end = begin + length
        if end > len(block):
            raise ProtocolError(f"a string of {length} bytes", f"{len(block) - begin} bytes left", "RFC 7541 section 5.2")
        self._position = end
        if block[start] & 0x80:
            return huffman.decode(block, begin, end)
        return block[begin:end]

    def _insert(self, line: FieldLine) -> None:
        """Insert the newest entry (RFC 7541 section 4.4)."""
        size = _size(line)
        if size > self._maximum:
            self._clear()
            return
        self._entries.append(line)
        self._size += size
        if self._size > self._maximum:
            self._evict(self._maximum)
        if self._size > limits.HPACK_TABLE_BYTES:
            self.is_partial = True
            self._evict(limits.HPACK_TABLE_BYTES)

    def _resize(self, size: i64) -> None:
        """Follow a dynamic table size update (RFC 7541 section 6.3)."""
        if size > self._allowed:
            raise ProtocolError(f"a table size up to {self._allowed}", f"an update to {size}", "RFC 7541 section 6.3")
        self._maximum = size
        self._evict(size)
        if size < ENTRY_OVERHEAD:  # no entry fits: the peers' table is empty
            self._clear()
            self.is_partial = False

    def _evict(self, size: i64) -> None:
        """Drop the oldest entries until the rest counts at most ``size`` (RFC 7541 section 4.3)."""
        entries = self._entries
        first = self._first
        while self._size > size:
            self._size -= _size(entries[first])
            first += 1
        if first > 64 and first * 2 > len(entries):
            del entries[:first]
            first = 0
        self._first = first

    def _clear(self) -> None:
        self._entries = []
        self._first = 0
        self._size = 0


def _size(line: FieldLine) -> i64:
    """What an entry counts, at least (RFC 7541 section 4.1)."""
    size: i64 = ENTRY_OVERHEAD
    name = line.name
    if name is not None:
        size += len(name)
    value = line.value
    if value is not None:
        size += len(value)
    return size
