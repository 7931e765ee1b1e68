"""What shows that bytes are HTTP/1: the first bytes of a connection, and those after a beginning that was not captured.

On a whole connection any token is a method, as RFC 9110 section 9.1 has it. After a missing beginning only what nobody writes by
accident begins a message: a registered method or a status line, and a head without a fault.
"""

import re
from typing import Final

from analyzer.codecs.http1_heads import Head

REQUEST_LINE: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} +[^\s].* HTTP/1\.[0-9][ \t]*\r?")
REQUEST_PREFIX: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}(?: [^\0-\x1f\x7f]*\r?)?")

_METHOD_PREFIX: Final = re.compile(
    rb"(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|TRACE|PROPFIND|REPORT|SEARCH) (?:/|https?://)[^\0-\x20\x7f]*"
)
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] [1-9][0-9][0-9][ \r\n]")
_STATUS_SAMPLE: Final = b"HTTP/1.1 200 "
_LONG_TARGET: Final = 1024  # bytes of a request line without its end that are convincing

REGISTERED_METHODS: Final = frozenset(
    (
        b"ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL "
        b"MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH PUT QUERY REBIND REPORT SEARCH TRACE "
        b"UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL"
    ).split()
)
"""The HTTP Method Registry (RFC 9110 section 18.2), but for PRI, which begins HTTP/2, and ``*``."""

STATUS_LINE_BYTES: Final = 256  # of one that is shown; reason phrases are a few words
BEGINNING_BYTES: Final = 20  # the longest registered method and the space behind it, and more than a status
_METHOD_STARTS: Final = frozenset(method[:length] for method in REGISTERED_METHODS for length in range(len(method) + 1))


def is_client(data: bytes) -> bool:
    """Whether the first bytes of a direction are a request. Others may be one that cannot be read: the response tells."""
    data = data.lstrip(b"\r\n")
    line, feed, _ = data.partition(b"\n")
    if feed:
        return REQUEST_LINE.fullmatch(line) is not None
    return len(line) >= _LONG_TARGET and _METHOD_PREFIX.fullmatch(line) is not None


def is_server(data: bytes) -> bool | None:
    """Whether the first bytes of a direction are a response; None where more may tell."""
    data = data.lstrip(b"\r\n")
    if _STATUS_LINE.match(data) is not None:
        return True
    return None if len(data) < len(_STATUS_SAMPLE) and is_status_line_start(data) else False


def is_status_line_start(data: bytes) -> bool:
    """Whether bytes are a status line as far as they go."""
    return _STATUS_LINE.match(data + _STATUS_SAMPLE[len(data) :]) is not None


def status_line(data: bytes) -> bytes:
    """The status line that bytes begin with, as far as it is looked at; empty where they begin with none."""
    if _STATUS_LINE.match(data) is None:
        return b""
    return data[:STATUS_LINE_BYTES].partition(b"\n")[0].rstrip(b"\r")


def is_request_line_start(data: bytes) -> bool:
    """Whether bytes are a registered method and the space behind it, as far as they go."""
    method, space, _ = data.partition(b" ")
    return method in REGISTERED_METHODS if space else method in _METHOD_STARTS


def registered_method(line: bytes) -> bytes | None:
    """The registered method and the space behind it that a line begins with, without the space."""
    method, space, _ = line.partition(b" ")
    return method if space and method in REGISTERED_METHODS else None


def is_beyond_doubt(head: Head) -> bool:
    """Whether a head may begin a direction whose beginning is missing: a registered method or a status, and no fault."""
    return not head.faults and (head.method is None or head.method in REGISTERED_METHODS)
