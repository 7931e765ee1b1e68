"""Real captures that others made, against what their projects say is in them (Zeek's http.log)."""

import struct
from pathlib import Path
from typing import Any

import pytest

from analyzer import pipeline, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.dissector import Context
from analyzer.http.semantics import HttpExchangeRecord
from analyzer.records import ConnectionRecord, Rows

TRACES = "zeek+zeek/testing/btest/Traces/http"
BASELINES = "_oracle/zeek+zeek/testing/btest/Baseline"


class Kept:
    """Keeps all rows."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def add(self, rows: Rows) -> None:
        self.rows += rows


def exchanges(capture: Path) -> list[tuple[int, HttpExchangeRecord]]:
    """The HTTP/1 exchanges of a capture with their client's port."""
    kept = Kept()
    captures = CaptureSet([str(capture)])
    pipeline.run(captures, Context(protocols.dissectors(), "hash"), kept)
    captures.close()
    ports = {row.connection_id: row.client_port for row in kept.rows if isinstance(row, ConnectionRecord)}
    return [(ports[row.connection_id], row) for row in kept.rows if isinstance(row, HttpExchangeRecord)]


def zeek_log(folder: Path) -> list[dict[str, str]]:
    names: list[str] = []
    rows: list[dict[str, str]] = []
    for line in (folder / "http.log").read_text().splitlines():
        if line.startswith("#fields"):
            names = line.split("\t")[1:]
        elif not line.startswith("#"):
            rows.append(dict(zip(names, line.split("\t"), strict=True)))
    return rows


@pytest.mark.parametrize(
    ("capture", "baseline"),
    [
        ("100-continue", "scripts.base.protocols.http.100-continue"),
        ("multipart", "scripts.base.protocols.http.multipart-extract"),
        ("multipart-form-data", "scripts.base.protocols.http.multipart-body-length"),
        ("basic-auth-with-colon", "scripts.base.protocols.http.http-basic-auth-colon"),
    ],
)
def test_exchanges_are_those_of_zeek(shared_captures: Path, capture: str, baseline: str) -> None:
    found = [
        (
            str(port),
            row.request_method.decode() if row.request_method else "-",
            row.authority.decode() if row.authority else "-",
            row.target.decode() if row.target else "-",
            str(row.status_code or "-"),
            str(row.request_content_bytes or 0),
            str(row.response_content_bytes or 0),
        )
        for port, row in exchanges(shared_captures / TRACES / f"{capture}.pcap")
    ]
    columns = ("id.orig_p", "method", "host", "uri", "status_code", "request_body_len", "response_body_len")
    assert found == [tuple(row[column] for column in columns) for row in zeek_log(shared_captures / BASELINES / baseline)]


def test_responses_to_doubtful_requests_are_those_of_zeek(shared_captures: Path) -> None:
    """Zeek reads some of these requests as HTTP/0.9, so that it takes the response's head for content; those do not count."""
    logged = {
        row["id.orig_p"]: (row["status_code"], row["response_body_len"])
        for row in zeek_log(shared_captures / BASELINES / "scripts.base.protocols.http.http-methods")
        if row["version"] != "0.9"
    }
    found = {
        str(port): (str(row.status_code), str(row.response_content_bytes))
        for port, row in exchanges(shared_captures / TRACES / "methods.pcap")
        if str(port) in logged and row.response_content_bytes is not None  # one request was HEAD, its version unreadable
    }
    assert len(found) > 30
    assert found == {port: logged[port] for port in found}


def test_content_of_a_gzip_response_is_hashed_decoded(shared_captures: Path) -> None:
    ((_, row),) = exchanges(shared_captures / TRACES / "x-gzip.pcap")
    (logged,) = zeek_log(shared_captures / BASELINES / "scripts.base.protocols.http.x-gzip")
    assert row.content_encoding == b"x-gzip"
    assert row.response_content_sha256 is not None
    assert (logged["response_body_len"], row.response_content_bytes) == ("19", 39)  # Zeek counts decoded bytes


def packet(is_answer: bool, sequence: int, acknowledgment: int, flags: int, payload: bytes = b"") -> bytes:
    ports = (80, 4000) if is_answer else (4000, 80)
    tcp = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledgment, 0x50, flags, 65535, 0, 0) + payload
    ends = [bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0)
    return head + ends[is_answer] + ends[not is_answer] + tcp


@pytest.mark.parametrize("had", [0, 1], ids=["before it had the request", "after it had the request's first byte"])
def test_a_response_sent_before_the_server_had_the_request_is_not_its_response(tmp_path: Path, had: int) -> None:
    """Captured a millisecond before the request either way, as captures with several queues may have it."""
    request = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
    early = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    late = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    packets = [
        packet(False, 99, 0, 2),
        packet(True, 499, 100, 18),
        packet(False, 100, 500, 16),
        packet(True, 500, 100 + had, 24, early),
        packet(False, 100, 500, 24, request),
        packet(True, 500 + len(early), 100 + len(request), 24, late),
    ]
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101)
    for number, each in enumerate(packets):
        data += struct.pack("<IIII", 1, 1000 * number, len(each), len(each)) + each
    path = tmp_path / "early.pcap"
    path.write_bytes(data)
    found = [(row.target, row.status_code) for _, row in exchanges(path)]
    assert found == ([(b"/x", 408), (None, 200)] if had else [(None, 408), (b"/x", 200)])
