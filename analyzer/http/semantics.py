"""What all versions of HTTP share (RFC 9110): the exchange, its fields and its content. HTTP/1, 2 and 3 fill these records."""

from typing import Annotated

from mypy_extensions import i64, mypyc_attr

from analyzer.records import FieldLine
from analyzer.schema import Masking, Record, capture, conversation, record, time


@mypyc_attr(native_class=False)
@record(
    "http_exchanges",
    "request/response of any HTTP version",
    key=("connection_id", "stream_index", "exchange_index"),
    exchange={
        "exchange_index": "exchange_index",
        "protocol": "'http/' || http_version",
        "operation": "request_method",
        "target": "nullif(coalesce(authority, '') || coalesce(target, ''), '')",
        "status": "status_code::VARCHAR",
        "error_type": "error_type",
        "started_at": "coalesce(request_started_at, response_started_at)",
        "ended_at": "coalesce(response_ended_at, request_ended_at)",
        "duration_ns": "duration_ns",
        "time_to_first_byte_ns": "time_to_first_byte_ns",
        "stalled_ns": "stalled_ns",
        "request_bytes": "request_content_bytes",
        "response_bytes": "response_content_bytes",
        "is_complete": "end_reason = 'complete'",
        "end_reason": "end_reason",
        "first_packet": "first_packet",
        "last_packet": "last_packet",
    },
    exchange_where="end_reason IS DISTINCT FROM 'upgraded'",
)
class HttpExchangeRecord(Record):
    """An HTTP request and its response."""

    connection_id: "Annotated[int, capture('the connection')]"
    stream_index: "Annotated[int, capture('the stream that HTTP/1 is spoken on, 0 or one inside TLS or a tunnel; of HTTP/2 the stream that the exchange is')]"
    exchange_index: "Annotated[int, capture('number within the stream, from 0, in order of the requests')]" = 0
    http_version: "Annotated[str | None, conversation('1.0, 1.1, 2 or 3')]" = None
    request_method: "Annotated[bytes | None, conversation('method')]" = None
    scheme: "Annotated[bytes | None, conversation('scheme, where the request says it')]" = None
    authority: "Annotated[bytes | None, conversation('Host or :authority', Masking.AUTHORITY)]" = None
    target: "Annotated[bytes | None, conversation('path and query', Masking.TARGET)]" = None
    status_code: "Annotated[int | None, conversation('status of the final response')]" = None
    request_started_at: "Annotated[int | None, time('first byte of the request')]" = None
    request_ended_at: "Annotated[int | None, time('last byte of the request')]" = None
    response_started_at: "Annotated[int | None, time('first byte of the final response')]" = None
    response_ended_at: "Annotated[int | None, time('last byte of the final response')]" = None
    duration_ns: "Annotated[int | None, time('first byte of the request to last of the response')]" = None
    time_to_first_byte_ns: "Annotated[int | None, time('first byte of the request to first of the final response')]" = None
    stalled_ns: "Annotated[int | None, capture('time in which its bytes had arrived and waited behind a hole, or for a flow-control window of HTTP/2; NULL where such windows could not be followed')]" = 0
    request_missing_bytes: "Annotated[int, capture('bytes of the request that the capture lacks')]" = 0
    response_missing_bytes: "Annotated[int, capture('bytes of the response that the capture lacks')]" = 0
    request_content_bytes: "Annotated[int | None, conversation('request content without transfer coding, as sent')]" = None
    response_content_bytes: "Annotated[int | None, conversation('response content without transfer coding, as sent')]" = None
    content_encoding: "Annotated[bytes | None, conversation('content-encoding of the response')]" = None
    content_type: "Annotated[bytes | None, conversation('content-type of the response')]" = None
    request_content_sha256: "Annotated[str | None, conversation('SHA-256 of the decoded request content, with --content hash or store')]" = None
    response_content_sha256: "Annotated[str | None, conversation('SHA-256 of the decoded response content, with --content hash or store')]" = None
    fields_complete: "Annotated[bool | None, capture('every field name and value of it is certain')]" = None
    end_reason: "Annotated[str | None, capture('how it ended: complete, reset, no response, no request, cut, unmatched (both may be there, which belongs to which is not known), malformed (a request that cannot be read), upgraded (answered in HTTP/2, where it has a row too: the view exchanges shows that one)')]" = None
    reset_code: "Annotated[str | None, conversation('error code of RST_STREAM or GOAWAY, by its name in RFC 9113 section 7')]" = (
        None
    )
    error_type: "Annotated[str | None, conversation('status from 400, or the reset code, NULL when it went well')]" = None
    first_packet: "Annotated[int | None, capture('frame number of its first packet')]" = None
    last_packet: "Annotated[int | None, capture('frame number of its last packet')]" = None


@mypyc_attr(native_class=False)
@record("http_field_sections", "header, trailer, informational or push section; the view http_fields joins it with its lines")
class HttpFieldSectionRecord(Record):
    """The field lines of one section of one message, in order (RFC 9110 section 5)."""

    connection_id: "Annotated[int, capture('the connection')]"
    stream_index: "Annotated[int, capture('the stream')]"
    exchange_index: "Annotated[int, capture('the exchange')]"
    side: "Annotated[str, conversation('request or response')]"
    section: "Annotated[str, conversation('header, trailer, informational or push')]"
    fields: "Annotated[list[FieldLine], conversation('name, value and provenance of each line, in order; the first of an informational section is :status, in HTTP/1 too', Masking.FIELDS)]"


@mypyc_attr(native_class=False)
@record(
    "http_contents",
    "HTTP content kept with --content store",
    key=("connection_id", "stream_index", "exchange_index", "side"),
)
class HttpContentRecord(Record):
    """The decoded content of a request or response."""

    connection_id: "Annotated[int, capture('the connection')]"
    stream_index: "Annotated[int, capture('the stream')]"
    exchange_index: "Annotated[int, capture('the exchange')]"
    side: "Annotated[str, conversation('request or response')]"
    content: "Annotated[bytes, capture('the content, as far as it was captured without a hole; its content codings undone where they are known and could be', is_content=True)]"
    is_decoded: "Annotated[bool, capture('all its content codings are known and were undone')]"
    is_complete: "Annotated[bool, capture('all of it is there')]"


def duration(begin: i64, end: i64) -> int | None:
    """Nanoseconds between two times, None where one is not known (-1) or they are in disorder."""
    if begin < 0 or end < begin:
        return None
    return end - begin
