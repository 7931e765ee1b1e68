"""What an HTTP/1 connection carries after it was upgraded (RFC 9110 section 7.8) or became a tunnel (section 9.3.6)."""

from analyzer.codecs.http1_exchange import Exchange


def next_protocol(exchange: Exchange) -> tuple[str | None, dict[str, str]]:
    """The protocol that was agreed on, None where its bytes have to show it, and what was negotiated for it."""
    request = exchange.request
    response = exchange.response
    facts: dict[str, str] = {}
    if response is None or response.status_code != 101:
        return None, facts
    upgrade = response.upgrade
    if upgrade is None and request is not None:
        upgrade = request.upgrade
    protocol = b"" if upgrade is None else upgrade.partition(b",")[0].strip(b" \t").lower()
    if protocol == b"websocket":
        _add(facts, "sec-websocket-extensions", response.websocket_extensions or b"")  # none were agreed on
        _add(facts, "sec-websocket-protocol", response.websocket_protocol or b"")
        return "websocket", facts
    if protocol == b"h2c":
        _add_request(facts, exchange)
        return "http2", facts
    if protocol.startswith(b"tls/"):
        facts["response_awaited"] = "yes"  # to this request, inside TLS: RFC 2817 section 3.3
    return None, facts


def goes_on_in_http2(exchange: Exchange) -> bool:
    """Whether HTTP/2 has the response to a request that is known (RFC 7540 section 3.2)."""
    return exchange.request is not None and next_protocol(exchange)[0] == "http2"


def _add_request(facts: dict[str, str], exchange: Exchange) -> None:
    """What HTTP/2 must know of the request it answers on stream 1 (RFC 7540 section 3.2)."""
    request = exchange.request
    if request is None:
        return
    _add(facts, "upgrade_request_method", request.method)
    _add(facts, "upgrade_request_authority", request.authority)
    _add(facts, "upgrade_request_target", request.target)
    _add(facts, "http2-settings", request.http2_settings)
    facts["upgrade_request_started_at"] = str(exchange.request_started_at)
    if exchange.request_ended_at >= 0:
        facts["upgrade_request_ended_at"] = str(exchange.request_ended_at)
    facts["upgrade_request_content_bytes"] = str(exchange.request_content)
    facts["upgrade_request_packet"] = str(exchange.first_packet)


def _add(facts: dict[str, str], name: str, value: bytes | None) -> None:
    if value is not None:
        facts[name] = value.decode("latin-1")
