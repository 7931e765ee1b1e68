"""Real captures that others made, against what their projects say is in them (Zeek's http.log)."""

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
