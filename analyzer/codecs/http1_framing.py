"""How the content of a message is delimited (RFC 9112 section 6.3): the state that follows its head."""

from mypy_extensions import i64

from analyzer.codecs.http1_heads import INVALID_LENGTH, NO_LENGTH, Head
from analyzer.codecs.http1_messages import CHUNK_LINE, CONTENT, LOST, START, UNTIL_CLOSE


def has_content(head: Head) -> bool:
    """Whether a request's head announces content."""
    return head.transfer_encoding is not None or (head.content_length != NO_LENGTH and head.content_length != 0)


def after_request(head: Head) -> i64:
    """The state after a request's head: ``START`` without content, ``LOST`` where its end is not known."""
    if (
        head.method == b"CONNECT"
    ):  # it has no content: RFC 9110 section 9.3.6; by RFC 9112 section 6.3 it may, where it is refused
        return START
    if head.is_chunked:
        return CHUNK_LINE
    if head.transfer_encoding is not None or head.content_length == INVALID_LENGTH:
        return LOST
    return CONTENT if head.content_length > 0 else START


def after_response(head: Head, method: bytes | None) -> i64:
    """The state after a final response's head, by the request's method if that is known; ``LOST`` where its end is not known."""
    status = head.status_code
    if status == 204 or status == 304 or method == b"HEAD":
        return START
    if head.is_chunked:
        return CHUNK_LINE
    if head.transfer_encoding is not None or head.content_length == NO_LENGTH:
        return UNTIL_CLOSE
    if head.content_length == INVALID_LENGTH:
        return LOST
    return CONTENT if head.content_length > 0 else START
