"""Which request of an HTTP/1 connection a response belongs to: the oldest that waits, where that is certain (RFC 9112 section 9.2).

A connection is in doubt where requests before the first witnessed byte may be outstanding. There a request is matched only if no
other waits and no response is under way when it begins; a client that pipelines visibly is never matched again.

A response that came before the request, by more than captures were seen to change the order, is none to it.
"""

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.http1_exchange import UNMATCHED, Exchange


class Matching:
    """The exchanges whose response is still to come."""

    def __init__(self) -> None:
        self.waiting: list[Exchange] = []  # for their final response, oldest first
        self.memory: i64 = 0  # bytes of it that they take
        self.orphan: Exchange | None = None  # a response without request whose final part is still to come
        self.is_answer_awaited = False  # the next response answers a request that was made outside of this stream
        self.over: str | None = None  # why no request gets a response any more
        self.is_in_doubt = False  # requests before the capture may be outstanding
        self.is_response_due = False  # … and no response has come since a hole that may hold requests
        self.last_response_at: i64 = -1  # end of the latest response
        self.ended: list[Exchange] = []  # over since the owner last looked
        self.has_unmatched = False  # requests were seen whose responses cannot be told from others
        self._has_responses = False  # some were seen
        self._is_pipelined = False  # in doubt, and the client pipelines: nothing can be matched

    def knows_next(self) -> bool:
        """Tell whether it is settled what a response that begins now belongs to, even if that is no known request."""
        return self.is_in_doubt or self.is_answer_awaited or self.orphan is not None or len(self.waiting) > 0

    def add(self, exchange: Exchange, is_response_under_way: bool) -> None:
        """Put a request in the queue, where there can be a response to it."""
        if self.over is not None:
            exchange.end_response(self.over)
            return
        if self.is_in_doubt:
            if (
                self.waiting
                or self.orphan is not None
                or is_response_under_way
                or self.is_response_due
                or self.last_response_at >= exchange.request_started_at
            ):
                self._stop()
            if self._is_pipelined:
                exchange.end_response(self._leave_unmatched())
                return
        self.waiting.append(exchange)
        self.memory += exchange.memory()

    def answered(self, started_at: i64, is_final: bool) -> Exchange | None:
        """The exchange of the response that began at ``started_at``; None where that is a new one without request."""
        self._has_responses = True
        if self.is_answer_awaited:
            self.is_answer_awaited = False
            return None
        orphan = self.orphan
        if orphan is None and self.waiting:
            exchange = self.waiting[0]
            early = exchange.request_started_at - started_at
            if early < 0 or (early <= limits.REORDER_NANOSECONDS and not self.is_in_doubt):
                if is_final:
                    self._take_first()
                return exchange
            if self.is_in_doubt or len(self.waiting) > 1:
                self._stop()
            self.is_in_doubt = True  # nobody asked for it: a server that gives up, or a request that was not captured
        if is_final:
            self.orphan = None
        return orphan

    def saw_response(self, timestamp: i64) -> None:
        """Note that a response, or a part of one that is missing, ended."""
        if timestamp > self.last_response_at:
            self.last_response_at = timestamp

    def begin_late(self) -> None:
        """Responses before the first that is there were not captured; of several requests any may be the one it answers."""
        if len(self.waiting) > 1:
            self._stop()

    def miss_responses(self, timestamp: i64) -> bool:
        """A hole may hold the first responses; False where one of them may have ended HTTP/1."""
        self.saw_response(timestamp)
        before = [exchange for exchange in self.waiting if exchange.request_started_at <= timestamp]
        if before and before[-1].switches():
            return False
        if len(before) > 1:
            self._stop()
        elif before:
            self._take_first()
            self._end(before[0], "cut")
        return True

    def end(self, end_reason: str) -> None:
        """No response comes any more."""
        self.over = end_reason
        for exchange in self._take_all():
            self._end(exchange, end_reason)
        orphan = self.orphan
        if orphan is not None:
            self.orphan = None
            self._end(orphan, "cut")

    def forget(self) -> None:
        """Nothing that waits was a request, or a response."""
        self.over = "cut"
        self._take_all()
        self.orphan = None
        self.ended = []

    def _stop(self) -> None:
        """Requests that nobody saw may be outstanding, and the client pipelines: no response can be matched."""
        self._is_pipelined = True
        for exchange in self._take_all():
            self._end(exchange, self._leave_unmatched())

    def _leave_unmatched(self) -> str:
        """How a request ends whose response cannot be told from others: where none is there, it is cut."""
        self.has_unmatched = True
        return UNMATCHED if self._has_responses else "cut"

    def _take_first(self) -> None:
        self.memory -= self.waiting.pop(0).memory()

    def _take_all(self) -> list[Exchange]:
        waiting = self.waiting
        self.waiting = []
        self.memory = 0
        return waiting

    def _end(self, exchange: Exchange, end_reason: str) -> None:
        exchange.end_response(end_reason)
        if exchange.is_request_over:
            self.ended.append(exchange)
