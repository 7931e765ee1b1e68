"""HTTP/1 heads and trailer sections: lines -> fields, and what they say about framing (RFC 9112 sections 2 to 6).

What breaks the standard but can be read is a ``Fault`` of the head; what cannot be read is a ``ProtocolError``. Neither has
values in its text, which may be secrets, but field names, methods and sizes: rows of faults are not masked. Lines and heads
that repeat byte for byte are parsed once and share their objects, in the whole run.
"""

import re
from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.errors import ProtocolError
from analyzer.records import FieldLine

NO_LENGTH: Final = -1  # of content_length: the head gives none
INVALID_LENGTH: Final = -2  # the head gives one that cannot be used

_TOKEN_CHARACTERS: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BAD_IN_VALUE: Final = re.compile(rb"[\0\r]")
_VERSION: Final = re.compile(rb"HTTP/1\.[0-9]")
_STATUS_LINE: Final = re.compile(rb"HTTP/(1\.[0-9]) +([0-9]{3})(?: .*)?", re.DOTALL)
_AUTHORITY_FORM: Final = re.compile(rb"(?:\[[0-9A-Fa-fvV:.]+\]|[^\0- /?#@:\[\]*]+):[0-9]+")
_AUTHORITY: Final = re.compile(
    rb"(?:[^\0- /?#@]*@)?(?:\[[^\0- /?#@\[\]]+\]|[^\0- /?#@:\[\]*]+)(?::[0-9]*)?"
)  # RFC 3986 section 3.2
_SHOWN_BYTES: Final = 80  # of a field name or method in the text of a fault
_LENGTH_DIGITS: Final = 18  # any number of so many digits fits 64 bits

_COMMON_METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"))

_REQUEST: Final = 0
_RESPONSE: Final = 1
_TRAILERS: Final = 2

# what a field says about framing, by its name
_OTHER: Final = 0
_CONTENT_LENGTH: Final = 1
_TRANSFER_ENCODING: Final = 2
_HOST: Final = 3
_UPGRADE: Final = 4
_EXPECT: Final = 5
_CONTENT_ENCODING: Final = 6
_CONTENT_TYPE: Final = 7
_WEBSOCKET_EXTENSIONS: Final = 8
_WEBSOCKET_PROTOCOL: Final = 9
_HTTP2_SETTINGS: Final = 10
_ROLES: Final[dict[bytes, int]] = {
    b"content-length": _CONTENT_LENGTH,
    b"transfer-encoding": _TRANSFER_ENCODING,
    b"host": _HOST,
    b"upgrade": _UPGRADE,
    b"expect": _EXPECT,
    b"content-encoding": _CONTENT_ENCODING,
    b"content-type": _CONTENT_TYPE,
    b"sec-websocket-extensions": _WEBSOCKET_EXTENSIONS,
    b"sec-websocket-protocol": _WEBSOCKET_PROTOCOL,
    b"http2-settings": _HTTP2_SETTINGS,
}


class Fault:
    """What breaks the standard in a head that can be read all the same."""

    def __init__(self, kind: str, required: str, found: str, section: str) -> None:
        self.kind = kind
        self.required = required
        self.found = found
        self.section = section


class Head:
    """A message head as parsed: not changed afterwards, since messages with the same bytes share it."""

    def __init__(self) -> None:
        self.memory: i64 = 0  # bytes of it that it takes
        self.fields: list[FieldLine] = []
        self.faults: list[Fault] = []
        self.http_version: str | None = None  # 1.0, 1.1 …
        # a request's
        self.method: bytes | None = None
        self.scheme: bytes | None = None
        self.authority: bytes | None = None
        self.target: bytes | None = None
        self.expects_continue = False
        self.hosts: i64 = 0
        # a response's
        self.status_code: i64 = -1
        # framing
        self.content_length: i64 = NO_LENGTH
        self.transfer_encoding: bytes | None = None  # its values joined, None without one
        self.is_chunked = False  # chunked is the final transfer coding
        self.further_codings: bytes | None = None  # transfer codings below chunked
        # what an upgrade and the content need
        self.upgrade: bytes | None = None
        self.content_encoding: bytes | None = None
        self.content_type: bytes | None = None
        self.websocket_extensions: bytes | None = None
        self.websocket_protocol: bytes | None = None
        self.http2_settings: bytes | None = None

    def fault(self, kind: str, required: str, found: str, section: str) -> None:
        """Note a fault."""
        self.faults.append(Fault(kind, required, found, section))


class _KnownLine(FieldLine):
    """A field line and what it says about framing."""

    def __init__(self, name: bytes | None, value: bytes | None, role: i64) -> None:
        super().__init__(name, value, "witnessed")
        self.role = role


def _sized(data: bytes) -> str:
    return f"{len(data)} bytes"


def _named(name: bytes, value: bytes) -> str:
    """A field line for a message: its name as far as that is a token, and sizes."""
    end: i64 = 0
    while end < len(name) and end < _SHOWN_BYTES and name[end] in _TOKEN_CHARACTERS:
        end += 1
    return f"{name[:end].decode('ascii')}: a name of {len(name)} bytes, a value of {len(value)} bytes"


class HeadReader:
    """Parses heads, of any connection."""

    def __init__(self, known_lines: dict[bytes, FieldLine]) -> None:
        """``known_lines`` are lines that were read before, on any connection; what is worth it is added."""
        self._lines = known_lines
        self._requests: dict[bytes, Head] = {}
        self._responses: dict[bytes, Head] = {}

    def request(self, raw: bytes) -> Head | None:
        """Parse a request head that ends with its empty line; None above a limit. Raises ProtocolError."""
        head = self._requests.get(raw)
        if head is None:
            head = self._parse(raw, _REQUEST)
            if head is None:
                return None
            _judge_host(head)
            if len(raw) <= limits.HTTP1_CACHED_HEAD_BYTES:
                if len(self._requests) >= limits.HTTP1_CACHED_HEADS:
                    self._requests.clear()
                self._requests[raw] = head
        return head

    def response(self, raw: bytes) -> Head | None:
        """Parse a response head that ends with its empty line; None above a limit. Raises ProtocolError."""
        head = self._responses.get(raw)
        if head is None:
            head = self._parse(raw, _RESPONSE)
            if head is not None and len(raw) <= limits.HTTP1_CACHED_HEAD_BYTES:
                if len(self._responses) >= limits.HTTP1_CACHED_HEADS:
                    self._responses.clear()
                self._responses[raw] = head
        return head

    def trailers(self, raw: bytes) -> Head | None:
        """Parse a trailer section that ends with its empty line (RFC 9112 section 7.1.2); None above a limit."""
        return self._parse(raw, _TRAILERS)

    def _parse(self, raw: bytes, kind: i64) -> Head | None:
        lines = raw.split(b"\r\n")
        head = Head()
        if raw.count(b"\n") != len(lines) - 1:  # RFC 9112 section 2.2 allows to take line feeds alone for line ends
            lines = [line[:-1] if line.endswith(b"\r") else line for line in raw.split(b"\n")]
            head.fault("bare_line_feed", "lines that end with CR LF", "LF alone", "RFC 9112 section 2.2")
        if (
            len(raw) > limits.HTTP1_SECTION_BYTES
            or len(lines) > limits.HTTP1_SECTION_LINES
            or len(lines[0]) > limits.HTTP1_START_LINE_BYTES
        ):
            return None
        before_fields: i64 = 0 if kind == _TRAILERS else 1
        if b"\n " in raw or b"\n\t" in raw:
            lines = _unfold(lines, head, before_fields)
        if kind == _REQUEST:
            parse_request_line(lines[0], head)
        elif kind == _RESPONSE:
            _parse_status_line(lines[0], head)
        self._read_fields(lines, before_fields, head)
        if head.transfer_encoding is not None:
            _judge_transfer_encoding(head, head.transfer_encoding)
        head.memory = limits.HTTP1_HEAD_COST + 2 * len(raw) + len(head.fields) * limits.HTTP1_LINE_COST
        return head

    def _read_fields(self, lines: list[bytes], start: i64, head: Head) -> None:
        known_lines = self._lines
        fields = head.fields
        index = start
        count: i64 = len(lines)
        while index < count:
            line = lines[index]
            index += 1
            if not line:
                continue
            field = known_lines.get(line)
            known = field if isinstance(field, _KnownLine) else self._read_line(line, head)
            fields.append(known)
            if known.role != _OTHER:
                value = known.value
                if value is not None:
                    _take_field(head, known.role, value)

    def _read_line(self, line: bytes, head: Head) -> _KnownLine:
        """Parse a field line (RFC 9112 section 5.1) not met before."""
        faults = len(head.faults)
        colon = line.find(b":")
        if colon < 0:
            head.fault("invalid_field_line", "a field line with a colon", _sized(line), "RFC 9112 section 5")
            return _KnownLine(None, line, _OTHER)
        name = line[:colon]
        value = line[colon + 1 :].strip(b" \t")
        if name[-1:] in (b" ", b"\t"):
            head.fault("whitespace_before_colon", "no whitespace before the colon", _named(name, value), "RFC 9112 section 5.1")
            name = name.rstrip(b" \t")
        if not name or name.translate(None, _TOKEN_CHARACTERS):
            head.fault("invalid_field_name", "a field name that is a token", _named(name, value), "RFC 9110 section 5.1")
        if _BAD_IN_VALUE.search(value) is not None:
            head.fault("invalid_field_value", "no NUL or CR in a field value", _named(name, value), "RFC 9110 section 5.5")
        known = _KnownLine(name, value, _ROLES.get(name.lower(), _OTHER))
        if len(head.faults) == faults and len(line) <= limits.HTTP1_CACHED_LINE_BYTES:
            if len(self._lines) >= limits.HTTP1_CACHED_LINES:
                self._lines.clear()
            self._lines[line] = known
        return known


def _unfold(lines: list[bytes], head: Head, before_fields: i64) -> list[bytes]:
    """Join folded lines to the field lines they continue, which come after ``before_fields`` other lines; drop the rest."""
    unfolded: list[bytes] = []
    is_told = False
    for index, line in enumerate(lines):
        if line[:1] not in (b" ", b"\t"):
            unfolded.append(line)
        elif index < before_fields:
            unfolded.append(line)  # no start line at all
        elif len(unfolded) == before_fields:
            head.fault("whitespace_before_first_field", "a field name first", _sized(line), "RFC 9112 section 2.2")
        else:
            unfolded[-1] = unfolded[-1].rstrip(b" \t") + b" " + line.strip(b" \t")
            if not is_told:
                is_told = True
                name, _, value = unfolded[-1].partition(b":")
                found = _named(name, value.strip(b" \t"))
                head.fault("obsolete_line_folding", "field lines that are not folded", found, "RFC 9112 section 5.2")
    return unfolded


def _request_line(line: bytes) -> str:
    """A request line for a message: its method, and its size; of what may be no request line at all only common methods."""
    method = line.partition(b" ")[0]
    return f"{method.decode('ascii')}, {len(line)} bytes" if method in _COMMON_METHODS else _sized(line)


def parse_request_line(line: bytes, head: Head) -> None:
    """Take method, target and version from a request line (RFC 9112 section 3). Raises ProtocolError."""
    parts = line.split(b" ")
    if len(parts) == 3 and parts[2] == b"HTTP/1.1" and parts[1][:1] == b"/" and parts[0] in _COMMON_METHODS:
        head.method = parts[0]
        head.target = parts[1]
        head.http_version = "1.1"
        return
    method, _, rest = line.partition(b" ")
    rest, _, version = rest.strip(b" \t").rpartition(b" ")
    if not method or method.translate(None, _TOKEN_CHARACTERS) or not rest or _VERSION.fullmatch(version) is None:
        raise ProtocolError("a request line: method, target, HTTP/1.x", _request_line(line), "RFC 9112 section 3")
    target = rest.strip(b" \t")
    if line != method + b" " + target + b" " + version or b" " in target or b"\t" in target:
        head.fault(
            "invalid_request_line", "single spaces around a target without spaces", _request_line(line), "RFC 9112 section 3"
        )
    head.method = method
    head.http_version = version[5:].decode("ascii")
    if method == b"CONNECT":
        _take_authority_form(target, head)
    elif target.startswith(b"/") or target == b"*":
        head.target = target
    else:
        scheme, mark, rest = target.partition(b"://")
        if mark and scheme.translate(None, _TOKEN_CHARACTERS) == b"":
            _take_absolute_form(scheme, rest, head)
        else:
            head.target = target
            head.fault("invalid_request_target", "origin-form, absolute-form or *", _sized(target), "RFC 9112 section 3.2")


def _take_authority_form(target: bytes, head: Head) -> None:
    """RFC 9112 section 3.2.3: host and port. What names no host, or has a path, is no authority of any kind."""
    if _AUTHORITY_FORM.fullmatch(target) is None:
        head.fault("invalid_request_target", "authority-form: host and port", _sized(target), "RFC 9112 section 3.2.3")
        if _AUTHORITY.fullmatch(target) is None:
            head.target = target
            return
    head.authority = target


def _take_absolute_form(scheme: bytes, rest: bytes, head: Head) -> None:
    """RFC 9112 section 3.2.2; without a path the target is / or, for OPTIONS, * (section 3.2.4)."""
    head.scheme = scheme
    end = len(rest)
    for mark in (b"/", b"?", b"#"):
        found = rest.find(mark, 0, end)
        if found >= 0:
            end = found
    head.authority = rest[:end]
    target = rest[end:]
    if not target:
        target = b"*" if head.method == b"OPTIONS" else b"/"
    elif not target.startswith(b"/"):
        target = b"/" + target
    head.target = target


def _parse_status_line(line: bytes, head: Head) -> None:
    """Take version and status from a status line (RFC 9112 section 4). Raises ProtocolError."""
    if line[:9] == b"HTTP/1.1 " and line[9:12] == b"200" and line[12:13] in (b" ", b""):
        head.http_version = "1.1"
        head.status_code = 200
        return
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise ProtocolError("a status line: HTTP/1.x and three digits", _sized(line), "RFC 9112 section 4")
    version, status = match.groups()
    head.http_version = version.decode("ascii")
    head.status_code = int(status)
    if not 100 <= head.status_code <= 599:
        head.fault("invalid_status", "a status from 100 to 599", f"{head.status_code}", "RFC 9110 section 15")


def _take_field(head: Head, role: i64, value: bytes) -> None:
    """Note what a field says about framing or content."""
    if role == _CONTENT_LENGTH:
        _take_content_length(head, value)
    elif role == _HOST:
        head.hosts += 1
        if head.scheme is None and head.method != b"CONNECT":  # the target itself names the authority there
            if head.hosts == 1:
                head.authority = value
            elif head.authority != value:
                head.authority = None
    elif role == _CONTENT_TYPE:
        if head.content_type is None:
            head.content_type = value
    elif role == _CONTENT_ENCODING:
        head.content_encoding = _joined(head.content_encoding, value)
    elif role == _TRANSFER_ENCODING:
        head.transfer_encoding = _joined(head.transfer_encoding, value)
    elif role == _UPGRADE:
        head.upgrade = _joined(head.upgrade, value)
    elif role == _EXPECT:
        if value.lower() == b"100-continue":
            head.expects_continue = True
    elif role == _WEBSOCKET_EXTENSIONS:
        head.websocket_extensions = _joined(head.websocket_extensions, value)
    elif role == _WEBSOCKET_PROTOCOL:
        head.websocket_protocol = _joined(head.websocket_protocol, value)
    elif role == _HTTP2_SETTINGS:
        head.http2_settings = value


def _joined(before: bytes | None, value: bytes) -> bytes:
    """Field lines of one name make a list (RFC 9110 section 5.3)."""
    return value if before is None else before + b", " + value


def _take_content_length(head: Head, value: bytes) -> None:
    """RFC 9112 section 6.3, case 5: valid, or a list of the same valid value."""
    for part in value.split(b","):
        digits = part.strip(b" \t")
        if not digits.isdigit() or len(digits) > _LENGTH_DIGITS:
            head.content_length = INVALID_LENGTH
            head.fault("invalid_content_length", "a decimal number of bytes", _sized(value), "RFC 9112 section 6.3")
            return
        length = int(digits)
        if head.content_length == NO_LENGTH:
            head.content_length = length
        elif head.content_length == INVALID_LENGTH:
            return
        elif head.content_length != length:
            found = f"{head.content_length} and {length}"
            head.content_length = INVALID_LENGTH
            head.fault("conflicting_content_length", "one value of Content-Length", found, "RFC 9112 section 6.3")
            return
        else:
            head.fault("repeated_content_length", "Content-Length once", f"{length} twice", "RFC 9110 section 8.6")


def _judge_host(head: Head) -> None:
    """RFC 9112 section 3.2: exactly one Host field from HTTP/1.1 on."""
    if head.hosts > 1:
        head.fault("repeated_host", "one Host field", f"{head.hosts}", "RFC 9112 section 3.2")
    elif head.hosts == 0 and head.http_version != "1.0":
        head.fault("missing_host", "a Host field", "none", "RFC 9112 section 3.2")


def _judge_transfer_encoding(head: Head, value: bytes) -> None:
    """Tell whether the message is chunked (RFC 9112 sections 6.1 and 6.3)."""
    codings: list[bytes] = []
    for part in value.split(b","):
        coding = part.partition(b";")[0].strip(b" \t").lower()
        if coding and coding != b"identity":  # RFC 2616 had it; it says nothing
            codings.append(coding)
    if not codings:
        head.transfer_encoding = None
        return
    head.is_chunked = codings[-1] == b"chunked"
    further = [coding for coding in codings if coding != b"chunked"]
    if further:
        head.further_codings = b", ".join(further)
    order = f"{len(codings)} codings, chunked {codings.count(b'chunked')} times"
    if codings.count(b"chunked") > 1 or (b"chunked" in codings and not head.is_chunked):
        head.fault("invalid_transfer_encoding", "chunked once, and last", order, "RFC 9112 section 6.1")
    if head.http_version == "1.0":
        head.fault("transfer_encoding_in_http_1_0", "no Transfer-Encoding in HTTP/1.0", order, "RFC 9112 section 6.1")
    if head.content_length != NO_LENGTH:
        head.fault(
            "content_length_with_transfer_encoding",
            "no Content-Length beside Transfer-Encoding",
            order,
            "RFC 9112 section 6.3",
        )


def chunk_size(line: bytes) -> int:
    """The size in a chunk's first line, without its line end (RFC 9112 section 7.1). Raises ProtocolError."""
    digits = line.partition(b";")[0].rstrip(b" \t")
    if not 1 <= len(digits) <= 15 or digits.translate(None, b"0123456789abcdefABCDEF"):
        significant = digits.lstrip(b"0") or digits[-1:]
        if not 1 <= len(significant) <= 15 or significant.translate(None, b"0123456789abcdefABCDEF"):
            raise ProtocolError("a chunk size in hexadecimal", _sized(line), "RFC 9112 section 7.1")
        digits = significant
    return int(digits, 16)
