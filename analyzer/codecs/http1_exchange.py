"""A request of HTTP/1 and its response, while they last."""

from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.http1_heads import Head

UNMATCHED: Final = "unmatched"  # both may have been seen, but not which belongs to which


class Exchange:
    """A request and its response while they last."""

    def __init__(self, index: i64, first_packet: i64) -> None:
        self.index = index
        self.first_packet = first_packet
        self.last_packet = first_packet
        self.has_request = False
        self.request: Head | None = None  # also None where its start line was not seen
        self.unread_method: bytes | None = None  # of a start line that cannot be read beyond it
        self.response: Head | None = None
        self.request_started_at: i64 = -1
        self.request_ended_at: i64 = -1
        self.response_started_at: i64 = -1
        self.response_ended_at: i64 = -1
        self.request_missing: i64 = 0
        self.response_missing: i64 = 0
        self.request_content: i64 = -1
        self.response_content: i64 = -1
        self.request_sha256: str | None = None
        self.response_sha256: str | None = None
        self.is_request_over = False
        self.is_response_over = False
        self.has_continued = False  # 100 (Continue) came
        self.fields_complete = True
        self.end_reason: str | None = None  # the first that is not "complete"
        self.is_unmatched = False  # a response whose request may be among those that were seen
        self.stalled_ns: i64 = 0
        self._stall: i64 = -1  # the latest that made it wait, and how long so far
        self._stall_wait: i64 = 0

    def memory(self) -> i64:
        """How many bytes of memory its request takes."""
        request = self.request
        return limits.HTTP1_EXCHANGE_BYTES + (0 if request is None else request.memory)

    def wait(self, stall: i64, wait: i64) -> None:
        """Note that bytes of it waited."""
        if stall != self._stall:
            self._stall = stall
            self._stall_wait = 0
        if wait > self._stall_wait:
            self.stalled_ns += wait - self._stall_wait
            self._stall_wait = wait

    def saw(self, timestamp: i64, packet: i64) -> None:
        """Note a packet of it, unless its bytes were not captured (``timestamp`` is -1)."""
        if timestamp < 0:
            return
        if packet < self.first_packet:
            self.first_packet = packet
        if packet > self.last_packet:
            self.last_packet = packet

    def end_response(self, end_reason: str) -> None:
        """No response to it comes any more."""
        self.is_response_over = True
        if self.end_reason is None:
            self.end_reason = end_reason
        if end_reason in ("cut", UNMATCHED):
            self.fields_complete = False

    def end_request(self, timestamp: i64, content_bytes: i64) -> None:
        """Its request is complete; ``timestamp`` is -1 where the last byte was not captured, so are bytes that are not known."""
        self.request_ended_at = timestamp
        self.request_content = content_bytes
        self.is_request_over = True

    def complete_response(self, timestamp: i64, content_bytes: i64) -> None:
        """Its response is complete; ``timestamp`` is -1 where the last byte was not captured, so are bytes that are not known."""
        self.response_ended_at = timestamp
        self.response_content = content_bytes
        self.is_response_over = True

    def is_over(self) -> bool:
        """Tell whether nothing of it is to come."""
        return self.is_request_over and self.is_response_over

    def switches(self) -> bool:
        """Tell whether its request may end HTTP/1 on this connection."""
        request = self.request
        return request is not None and (request.upgrade is not None or request.method == b"CONNECT")
