"""An HTTP/2 stream and the request and response on it (RFC 9113 section 8), as far as they were seen."""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.content import Content
from analyzer.codecs.http2_streams import Window
from analyzer.records import FieldLine

HEADER: Final = 0  # what a field section is, where the capture does not show what came before it
TRAILER: Final = 1
AMBIGUOUS: Final = 2

_METHOD: Final = 1  # pseudo-header fields of a request, as bits
_SCHEME: Final = 2
_PATH: Final = 4
_AUTHORITY: Final = 8
_PROTOCOL: Final = 16
_COLON: Final = 58


class Half(Window):
    """One direction of a stream: what it carried so far, and its sender's window, counted from the initial window size."""

    def __init__(self) -> None:
        super().__init__(0)
        self.has_begun = False  # a field block or DATA of it was seen
        self.has_header = False  # its header section was seen, even if its fields are not known
        self.is_ended = False  # END_STREAM was seen
        self.is_certain = True  # no frame of it can have been missed
        self.started_at: i64 = -1
        self.ended_at: i64 = -1
        self.content_bytes: i64 = 0
        self.carried_bytes: i64 = 0  # field blocks and content
        self.missing_bytes: i64 = 0
        self.told_until: i64 = -1  # up to when its stalls are counted in the exchange
        self.told_stall: i64 = -1  # the connection's stall it was last counted in
        self.content: Content | None = None

    def content_size(self, is_given_up: bool) -> int | None:
        """How much content there is in all, None where that is not certain; ``is_given_up``: its sender reset the stream."""
        if not self.is_certain or not self.has_header or self.content_bytes < 0:
            return None
        return self.content_bytes if self.is_ended or is_given_up else None


class HeldPiece:
    """Content out of one packet."""

    def __init__(self, timestamp: i64, packet: i64) -> None:
        self.data = bytearray()
        self.timestamp = timestamp
        self.packet = packet


class Exchange:
    """A stream from its first frame to its last, and the request and response on it."""

    def __init__(self, number: i64, index: i64, timestamp: i64, packet: i64) -> None:
        self.number = number
        self.index = index
        self.memory: i64 = limits.HTTP2_EXCHANGE_BYTES  # bytes of it that it takes
        self.request = Half()
        self.response = Half()
        self.is_holed = False  # frames of it may have been missed, whichever way they went
        self.is_request_lost = False  # what is missing of the request will not come
        self.method: bytes | None = None
        self.scheme: bytes | None = None
        self.authority: bytes | None = None
        self.target: bytes | None = None
        self.protocol: bytes | None = None  # of an extended CONNECT
        self.status: i64 = -1
        self.content_type: bytes | None = None
        self.content_encoding: bytes | None = None
        self.has_content_length = False  # of the response
        self.early_response: list[FieldLine] | None = None  # the response header where it came before the request
        self.fields_complete = True
        self.pseudo_fault = ""  # what is wrong with the pseudo-header fields of the section read last
        self.reset_code: i64 = -1
        self.reset_direction: i64 = -1
        self.is_reset_by_both = False
        self.stalled: i64 = 0
        self.started_at = timestamp
        self.first_packet = packet
        self.ended_at = timestamp
        self.last_packet = packet
        self.undecided: list[FieldLine] | None = None  # a response section with an unknown status: informational or not
        self.undecided_at: i64 = -1
        self.has_tunnel = False  # its content belongs to another protocol: CONNECT
        self.is_connect = False  # its content is not taken before the response tells whether there is a tunnel
        self.held: list[HeldPiece] = []  # content of a CONNECT request that waits for the response
        self.held_bytes: i64 = 0
        self.held_cost: i64 = 0  # of the limit for the connection
        self.is_held_whole = True  # nothing between what is held was missed, or was too much

    def weigh(self) -> i64:
        """Find out how many bytes of memory it takes by now; returns how many more those are."""
        taken = limits.HTTP2_EXCHANGE_BYTES + _size(self.method) + _size(self.scheme) + _size(self.authority) + _size(self.target)
        taken += _size(self.protocol) + _size(self.content_type) + _size(self.content_encoding)
        taken += _memory(self.early_response) + _memory(self.undecided)
        more = taken - self.memory
        self.memory = taken
        return more

    def half(self, direction: i64) -> Half:
        """The request, or the response, by the direction that it goes (0 is to the server)."""
        return self.response if direction else self.request

    def is_witnessed(self) -> bool:
        """Whether it was seen from its beginning, and no frame of it can have been missed."""
        return self.request.has_header and not self.is_holed

    def may_be_tunnel(self) -> bool:
        """Whether its content may belong to another protocol: a response to CONNECT has no content-length (RFC 9110 section 9.3.6)."""
        if self.has_tunnel or self.is_connect:
            return True
        return self.method is None and self.number & 1 == 1 and self.status < 300 and not self.has_content_length

    def touch(self, started_at: i64, started_packet: i64, timestamp: i64, packet: i64) -> None:
        """Bytes of it were seen."""
        if started_at < self.started_at:
            self.started_at = started_at
        if timestamp >= self.ended_at:
            self.ended_at = timestamp
        self._saw(started_packet)
        self._saw(packet)

    def _saw(self, packet: i64) -> None:
        if packet < self.first_packet:
            self.first_packet = packet
        if packet > self.last_packet:
            self.last_packet = packet

    def read_request(self, lines: list[FieldLine]) -> bytes | None:
        """Take from a request's fields what its row shows (RFC 9113 section 8.3.1); returns the host field."""
        host: bytes | None = None
        is_known = True
        is_regular = False
        seen: i64 = 0
        for line in lines:
            name = line.name
            if name is None:
                is_known = False
            elif name.startswith(b":"):
                if is_regular:
                    self.pseudo_fault = "one after other fields"
                seen = self._read_pseudo(name, line.value, seen)
            else:
                is_regular = True
                if len(name) == 4 and name == b"host":
                    host = line.value
        if is_known and seen & _AUTHORITY == 0:
            self.authority = host
        return host

    def _read_pseudo(self, name: bytes, value: bytes | None, seen: i64) -> i64:
        """Take a pseudo-header field of a request; returns which were ``seen``. A repeated one is unknown where it differs."""
        size = len(name)
        if size == 7:
            if name == b":method":
                self.method = self._only(value, self.method, seen & _METHOD)
                return seen | _METHOD
            if name == b":scheme":
                self.scheme = self._only(value, self.scheme, seen & _SCHEME)
                return seen | _SCHEME
        elif size == 5:
            if name == b":path":
                self.target = self._only(value, self.target, seen & _PATH)
                return seen | _PATH
        elif name == b":authority":
            self.authority = self._only(value, self.authority, seen & _AUTHORITY)
            return seen | _AUTHORITY
        elif name == b":protocol":
            self.protocol = self._only(value, self.protocol, seen & _PROTOCOL)
            return seen | _PROTOCOL
        return seen

    def _only(self, value: bytes | None, known: bytes | None, is_repeated: i64) -> bytes | None:
        if not is_repeated:
            return value
        self.pseudo_fault = "one twice"
        return known if known == value else None

    def read_response(self, lines: list[FieldLine]) -> bool:
        """Take from a response's fields what its row shows; says whether all their names are known."""
        is_known = True
        has_encoding = False
        is_regular = False
        statuses = 0
        for line in lines:
            name = line.name
            if name is None:
                is_known = False
            else:
                size = len(name)
                if size > 0 and name[0] == _COLON:
                    if is_regular:
                        self.pseudo_fault = "one after other fields"
                    if name == b":status":
                        statuses += 1
                    continue
                is_regular = True
                if size == 12:
                    if name == b"content-type":
                        self.content_type = line.value
                elif size == 14 and name == b"content-length":
                    self.has_content_length = True
                elif size == 16 and name == b"content-encoding":
                    has_encoding = True
        if has_encoding and is_known:
            self.content_encoding = content_encoding_of(lines)
        if statuses > 1:
            self.pseudo_fault = "one twice"
            if len({line.value for line in lines if line.name == b":status"}) > 1:
                self.status = -1
        return is_known


def _size(value: bytes | None) -> i64:
    return 0 if value is None else len(value)


def _memory(lines: list[FieldLine] | None) -> i64:
    """How many bytes of memory field lines take."""
    if lines is None:
        return 0
    taken: i64 = len(lines) * limits.HTTP2_ENTRY_BYTES
    for line in lines:
        taken += line.size()
    return taken


def is_same_authority(one: bytes, other: bytes, scheme: bytes | None) -> bool:
    """Whether two authorities name the same host and port (RFC 3986 section 6.2), whatever user information they have."""
    if one == other:
        return True
    one = one[one.rfind(b"@") + 1 :]
    other = other[other.rfind(b"@") + 1 :]
    port = b":443" if scheme == b"https" else b":80" if scheme == b"http" else b":"
    return one.lower().removesuffix(port) == other.lower().removesuffix(port)


def role_of(lines: list[FieldLine], is_stream_end: bool) -> i64:
    """Whether a section is a header or a trailer, where the capture does not show what came before it."""
    for line in lines:
        name = line.name
        if name is not None:
            if name.startswith(b":"):
                return HEADER
            if line is lines[0]:
                return TRAILER
            break
    if is_stream_end or not lines:  # only trailers must end the stream, headers may
        return AMBIGUOUS
    return HEADER


def status_of(lines: list[FieldLine]) -> i64:
    """The status code of a response, -1 where it does not come first, is unknown or no number (RFC 9113 section 8.3.2)."""
    if not lines or lines[0].name != b":status":
        return -1
    return _status_code(lines[0].value)


def misplaced_status_of(lines: list[FieldLine]) -> i64:
    """The status code of a response that comes after other fields, -1 where none does."""
    for line in lines:
        if line.name == b":status":
            return _status_code(line.value)
    return -1


def has_pseudo(lines: list[FieldLine]) -> bool:
    """Whether a section has pseudo-header fields."""
    for line in lines:  # noqa: SIM110  # a generator costs more
        if line.name is not None and line.name.startswith(b":"):
            return True
    return False


def _status_code(value: bytes | None) -> i64:
    if value is None or len(value) != 3:
        return -1
    hundreds: i64 = value[0] - 48  # faster than isdigit() and int()
    tens: i64 = value[1] - 48
    ones: i64 = value[2] - 48
    if 0 <= hundreds <= 9 and 0 <= tens <= 9 and 0 <= ones <= 9:
        return hundreds * 100 + tens * 10 + ones
    return -1


def content_encoding_of(lines: list[FieldLine]) -> bytes | None:
    """The content codings that a header section lists."""
    found: bytes | None = None
    for line in lines:
        if line.name == b"content-encoding" and line.value is not None:
            found = line.value if found is None else found + b", " + line.value
    return found


def joined_values(lines: list[FieldLine], name: bytes) -> str:
    """The values of a field, empty where it is not there."""
    values: list[bytes] = []
    for line in lines:
        if line.name == name and line.value is not None:
            values.append(line.value)
    return b", ".join(values).decode("latin-1")
