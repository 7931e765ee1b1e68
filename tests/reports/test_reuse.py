"""What connection reuse saved, and why connections were not reused: reports ``multiplexing``, ``pools`` and ``overview``."""

import pytest

from analyzer.http.semantics import HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.protocols.tls import TlsHandshakeRecord
from analyzer.records import ConnectionRecord, FieldLine, StreamRecord

SECOND = 1_000_000_000


def connection(number, client="a", port=80, handshake=1000, **more):
    facts = {"protocol": "http1", "state": "SF", "close_reason": "fin", "closed_by": "client", **more}
    times = {"started_at": number * SECOND, "ended_at": (number + 1) * SECOND, "duration_ns": SECOND}
    return ConnectionRecord(
        number, 0, "tcp", client, number, "b", port, "handshake", handshake_rtt_ns=handshake, **times, **facts
    )


def exchanges(number, count, version="1.1"):
    return [
        HttpExchangeRecord(
            number, 0, index, version, b"GET", None, b"b", b"/", 200, number * SECOND, number * SECOND, number * SECOND + 5,
            number * SECOND + 9, 9, 5, end_reason="complete",
        )
        for index in range(count)
    ]  # fmt: skip


def pools(section, store):
    return {(row["client"], row["server"]): row for row in section(store, "pools", "Connections by client")}


def test_every_report_tells_the_same_savings_by_the_usual_handshake_of_each_server(store_of, section):
    rows = [
        *(connection(number, client, 80, cost) for number, client, cost in ((1, "a", 1000), (2, "a", 3000), (3, "c", 2000))),
        connection(4, "a", 443, 500, protocol="tls"),
        connection(5, "a", 443, 700, protocol="tls"),
        TlsHandshakeRecord(4, 0, handshake_ns=10_000, is_decrypted=True),
        TlsHandshakeRecord(5, 0, handshake_ns=30_000, is_decrypted=True),
        *exchanges(1, 3), *exchanges(2, 1), *exchanges(3, 2), *exchanges(4, 2), *exchanges(5, 1),
    ]  # fmt: skip
    store = store_of(rows)
    saved = {row["server"]: row for row in section(store, "multiplexing", "What reuse saved")}
    assert (saved["b:80"]["handshake_ns"], saved["b:80"]["tls_handshake_ns"], saved["b:80"]["saved_ns"]) == (2000, None, 6000)
    assert (saved["b:443"]["handshake_ns"], saved["b:443"]["tls_handshake_ns"], saved["b:443"]["saved_ns"]) == (
        600,
        20_000,
        20_600,
    )
    found = pools(section, store)
    assert {ends: row["saved_ns"] for ends, row in found.items()} == {
        ("a", "b:80"): 4000,
        ("c", "b:80"): 2000,
        ("a", "b:443"): 20_600,
    }
    assert found["a", "b:443"]["handshakes_ns"] == 41_200
    lines = [row["line"] for row in section(store, "overview", "Multiplexing")]
    assert lines[1].endswith("reuse saved 4 TCP handshakes and 1 of TLS, 26.6 µs in all")


def header(number, side, value, name=b"Connection"):
    return HttpFieldSectionRecord(number, 0, 0, side, "header", [FieldLine(name, value, "witnessed")])


def test_a_pool_says_who_closed_and_what_was_said_about_closing(store_of, section):
    rows = [
        connection(1), *exchanges(1, 1), header(1, "request", b"close"),
        connection(2, closed_by="server"), *exchanges(2, 1), header(2, "response", b"TE, Close", b"connection"),
        connection(3, closed_by="server"), *exchanges(3, 1, "1.0"),
        connection(4, closed_by="server"), *exchanges(4, 1, "1.0"), header(4, "request", b"keep-alive"),
        connection(5, closed_by=None, close_reason="capture_end"), *exchanges(5, 1),
    ]  # fmt: skip
    ((line,),) = [tuple(row.values()) for row in section(store_of(rows), "pools", "Why so many")]
    assert line == (
        "a → b:80: 5 connections: 5 carried one exchange or message only, then closed: 3 by the server, 1 by the client, "
        "1 not at all (1 with Connection: close in the request, 1 with Connection: close in the response, "
        "1 of HTTP/1.0 without keep-alive); up to 2 were open, but never more than one busy"
    )


@pytest.mark.parametrize("reason", ["no keys given", None])
def test_a_connection_that_nobody_could_read_did_not_carry_nothing(store_of, section, reason):
    rows = [
        *(connection(number, protocol="tls") for number in (1, 2)),
        *(StreamRecord(number, 0, None, 0, "tls", bytes_to_server=10) for number in (1, 2)),
        *(TlsHandshakeRecord(number, 0, not_decrypted_reason=reason) for number in (1, 2)),
    ]
    store = store_of(rows)
    (fate,) = section(store, "pools", "What became")
    assert (fate["not_read"], fate["unused"]) == ((2, None) if reason else (None, 2))
