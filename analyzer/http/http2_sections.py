"""What field sections of HTTP/2 say (RFC 9113 section 8): which of them are headers, trailers or informational, and what follows.

Where the capture does not show what came before a section, only what is in it and after it can tell.
"""

from typing import Final

from mypy_extensions import i64

from analyzer.codecs.content import Content
from analyzer.codecs.content_budget import ContentBudget
from analyzer.codecs.http2_exchange import (
    HEADER,
    TRAILER,
    Exchange,
    Half,
    content_encoding_of,
    has_pseudo,
    is_same_authority,
    misplaced_status_of,
    role_of,
    status_of,
)
from analyzer.codecs.http2_side import Side
from analyzer.codecs.http2_sides import Sides
from analyzer.dissector import TO_CLIENT, TO_SERVER
from analyzer.http.http2_rows import Http2Rows
from analyzer.http.http2_tunnels import Tunnels
from analyzer.records import FieldLine

_AT: Final = 64


class Sections:
    """Takes decoded field sections; their block is None where it could not be decoded."""

    def __init__(self, content_mode: str, budget: ContentBudget | None, sides: Sides, rows: Http2Rows, tunnels: Tunnels) -> None:
        """``content_mode`` is what is wanted of contents, hash or store or nothing, ``budget`` the memory for that."""
        self._content_mode = content_mode
        self._content_budget = budget
        self._sides = sides
        self._rows = rows
        self._tunnels = tunnels

    def _begin_half(self, side: Side, half: Half, block: bytes | None) -> None:
        """A field section of one side of a stream was seen."""
        half.has_begun = True
        if block is not None:
            half.carried_bytes += len(block)
        if half.closed_at < 0 and half.spare + side.initial_window == 0:  # closed from the beginning
            half.closed_at = side.framer.timestamp
            half.closed_packet = side.framer.packet

    # --- requests ---

    def take_promise(self, side: Side, exchange: Exchange, lines: list[FieldLine], block: bytes | None) -> None:
        """The server promises a response to a request that it makes up (RFC 9113 section 8.4)."""
        framer = side.framer
        request = exchange.request
        request.has_begun = True
        request.has_header = True
        request.is_ended = True
        request.started_at = framer.started_at
        request.ended_at = framer.timestamp
        if block is not None:
            self._check_authority(side, exchange, exchange.read_request(lines))
            self._check_pseudo(side, exchange)
            self._rows.add_section(side, exchange, "request", "push", lines)

    def take_request(
        self, side: Side, exchange: Exchange, lines: list[FieldLine], block: bytes | None, is_stream_end: bool
    ) -> None:
        """A field section towards the server: header or trailer."""
        half = exchange.request
        role = HEADER if not half.has_begun else TRAILER
        if side.is_damaged and not half.has_header:
            role = role_of(lines, is_stream_end)
        self._begin_half(side, half, block)
        if role == HEADER:
            half.has_header = True
            half.is_certain = True
            half.started_at = side.framer.started_at
            if block is not None:
                self._take_request_header(side, exchange, lines, is_stream_end)
            return
        if not half.has_header:
            half.is_certain = False
            exchange.fields_complete = False
        if role == TRAILER and block is not None:
            self._take_trailer(side, exchange, "request", lines, is_stream_end)

    def _take_request_header(self, side: Side, exchange: Exchange, lines: list[FieldLine], is_stream_end: bool) -> None:
        self._check_authority(side, exchange, exchange.read_request(lines))
        is_known = side.decoder.unknown_lines == 0
        if not self._check_pseudo(side, exchange) and exchange.method is None and is_known:
            self._rows.object_to_section(side, exchange, "a request with :method")
        if exchange.method == b"CONNECT":
            self._tunnels.request(side, exchange)
        elif not is_stream_end:
            exchange.request.content = self._content(exchange, TO_SERVER, content_encoding_of(lines), is_known)
        self._rows.add_section(side, exchange, "request", "header", lines)

    def _check_authority(self, side: Side, exchange: Exchange, host: bytes | None) -> None:
        """Object to what RFC 9113 section 8.3.1 forbids; the values may hold passwords, and are not repeated."""
        authority = exchange.authority
        if authority is None:
            return
        if _AT in authority:
            found = f"user information on stream {exchange.number}"
            self._rows.object_to(
                side, exchange, "stream_error", "an authority without user information", found, "RFC 9113 section 8.3.1"
            )
        if host is not None and not is_same_authority(authority, host, exchange.scheme):
            found = f"another one on stream {exchange.number}"
            self._rows.object_to(
                side, exchange, "stream_error", "a host field that is the same as :authority", found, "RFC 9113 section 8.3.1"
            )

    def _check_pseudo(self, side: Side, exchange: Exchange) -> bool:
        """Object to pseudo-header fields that are repeated or misplaced; says whether there are such."""
        if not exchange.pseudo_fault:
            return False
        required = "each pseudo-header field once, before all other fields"
        found = f"{exchange.pseudo_fault} on stream {exchange.number}"
        exchange.pseudo_fault = ""
        self._rows.object_to(side, exchange, "stream_error", required, found, "RFC 9113 section 8.3")
        return True

    def _take_trailer(self, side: Side, exchange: Exchange, name: str, lines: list[FieldLine], is_stream_end: bool) -> None:
        if not is_stream_end:
            self._rows.object_to_section(side, exchange, "END_STREAM with a trailer section")
        if has_pseudo(lines):
            required = "a trailer section without pseudo-header fields"
            found = f"some on stream {exchange.number}"
            self._rows.object_to(side, exchange, "stream_error", required, found, "RFC 9113 section 8.1")
        self._rows.add_section(side, exchange, name, "trailer", lines)

    # --- responses ---

    def take_response(
        self, side: Side, exchange: Exchange, lines: list[FieldLine], block: bytes | None, is_stream_end: bool
    ) -> None:
        """A field section towards the client: informational, header or trailer."""
        half = exchange.response
        if exchange.undecided is not None and not self._decide_by_next(exchange, lines, is_stream_end):
            self._begin_half(side, half, block)
            return
        status = status_of(lines)
        is_trailer = half.has_header or (side.is_damaged and status < 0 and role_of(lines, is_stream_end) == TRAILER)
        if status < 0 and not is_trailer and block is not None and side.decoder.unknown_lines == 0:
            status = misplaced_status_of(lines)
        self._begin_half(side, half, block)
        if is_trailer:
            if not half.has_header:
                half.is_certain = False
                exchange.fields_complete = False
            if block is not None:
                self._take_trailer(side, exchange, "response", lines, is_stream_end)
        elif 100 <= status < 200:
            if is_stream_end:
                required = "an informational response without END_STREAM"
                found = f"one with it on stream {exchange.number}"
                self._rows.object_to(side, exchange, "stream_error", required, found, "RFC 9113 section 8.1")
            self._rows.add_section(side, exchange, "response", "informational", lines)
        elif status >= 0:
            half.started_at = side.framer.started_at
            self._take_response_header(side, exchange, lines, status, is_stream_end)
        else:
            self._take_unknown_response(side, exchange, lines, block, is_stream_end)

    def _take_response_header(
        self, side: Side, exchange: Exchange, lines: list[FieldLine], status: i64, is_stream_end: bool
    ) -> None:
        """The header of the final response."""
        half = exchange.response
        half.has_header = True
        half.is_certain = True
        exchange.status = status
        is_known = exchange.read_response(lines)
        self._check_pseudo(side, exchange)
        self._rows.add_section(side, exchange, "response", "header", lines)
        if not exchange.request.has_header:
            exchange.early_response = lines if is_known else None
        if exchange.is_connect:
            self._tunnels.answer(side, exchange, lines, is_known)
        if not is_stream_end and not exchange.has_tunnel:
            half.content = self._content(exchange, TO_CLIENT, exchange.content_encoding, is_known)

    def _content(self, exchange: Exchange, direction: i64, codings: bytes | None, is_coding_known: bool) -> Content | None:
        """What takes the content of a message, None where nobody wants it."""
        outlet = self._rows.outlet(exchange, direction)
        if not self._content_mode and outlet is None:
            return None
        return Content(self._content_mode, codings, is_coding_known, self._content_budget, outlet)

    # --- responses with an unknown status ---

    def _take_unknown_response(
        self, side: Side, exchange: Exchange, lines: list[FieldLine], block: bytes | None, is_stream_end: bool
    ) -> None:
        """A section that shows no status, and is not certainly a trailer."""
        half = exchange.response
        started_at = side.framer.started_at
        if block is not None and side.decoder.unknown_lines == 0:
            half.has_header = True
            half.started_at = started_at
            self._rows.object_to_section(side, exchange, "a response with :status")
            self._rows.add_section(side, exchange, "response", "header", lines)
        elif is_stream_end:  # a final response, or the trailer of one that was missed
            if not side.is_damaged:
                half.has_header = True
                half.started_at = started_at
        else:
            exchange.undecided = lines if block is not None else []
            exchange.undecided_at = started_at

    def _decide_by_next(self, exchange: Exchange, lines: list[FieldLine], is_stream_end: bool) -> bool:
        """The next section tells what the one before it was; False where nothing can be said of either."""
        first = lines[0].name if lines else None
        if first == b":status" or not is_stream_end:
            self.decide_response(exchange, False)
        elif first is not None:
            self.decide_response(exchange, True)
        else:  # a header and its trailer, or an informational response and a final one
            exchange.undecided = None
            exchange.response.has_header = True
            return False
        return True

    def decide_response(self, exchange: Exchange, is_final: bool) -> None:
        """What followed tells whether a response section with an unknown status was the final one."""
        lines = exchange.undecided
        exchange.undecided = None
        half = exchange.response
        if is_final:
            half.has_header = True
            half.started_at = exchange.undecided_at
        if lines:
            if is_final:
                exchange.read_response(lines)
                self._check_pseudo(self._sides.to_client, exchange)
            section = "header" if is_final else "informational"
            self._rows.add_section(self._sides.to_client, exchange, "response", section, lines)
