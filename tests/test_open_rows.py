"""What is still open can be looked at between any two packets, and that changes nothing."""

import itertools
import os
from pathlib import Path
from threading import Thread

import pytest
from msgspec.structs import astuple

from analyzer import protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.capture.following import open_growing
from analyzer.dissector import Context
from analyzer.pipeline import Analysis, run
from analyzer.records import CaptureRecord, ConnectionRecord, StreamRecord

SAMPLES = Path(__file__).parent.parent / "sample_pcaps"
CAPTURES = sorted(
    itertools.chain(
        *(SAMPLES.glob(pattern) for pattern in ("http1/*.pcap*", "http2/*.pcap*", "websocket/*.pcap*", "tls/*.pcap*"))
    )
)


class Kept:
    def __init__(self):
        self.rows = []

    def add(self, rows):
        self.rows += rows


def plain(rows):
    """Rows that can be compared: field lines by what they say."""
    return [
        (
            type(row).__name__,
            *(tuple((line.name, line.value) for line in value) if isinstance(value, list) else value for value in astuple(row)),
        )
        for row in rows
        if not isinstance(row, CaptureRecord)
    ]


def watched(path, tmp_path, block_bytes):
    """The rows of a capture that comes through a pipe, and those of what was open whenever a block was read."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = Thread(target=fifo.write_bytes, args=(path.read_bytes(),))
    writer.start()
    looked = []
    analyses = []

    def idle():
        looked.extend([analysis.open_rows(0) for analysis in analyses])
        return True

    captures = CaptureSet([], readers=[open_growing(str(fifo), idle, block_bytes)])
    kept = Kept()
    analyses.append(Analysis(captures, Context(protocols.dissectors()), kept))
    analyses[0].run()
    writer.join()
    return kept.rows, looked


def name_of(row):
    if isinstance(row, ConnectionRecord):
        return type(row), row.connection_id
    if isinstance(row, StreamRecord):
        return type(row), row.connection_id, row.stream_index
    return (
        type(row),
        getattr(row, "connection_id", None),
        getattr(row, "stream_index", None),
        getattr(row, "exchange_index", None),
    )


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_looking_at_what_is_open_changes_no_row(path, tmp_path):
    kept = Kept()
    run(CaptureSet([str(path)]), Context(protocols.dissectors()), kept)
    rows, looked = watched(path, tmp_path, 100)
    assert plain(rows) == plain(kept.rows)
    assert looked


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_is_open_has_one_row_each_and_a_final_one_in_the_end(path, tmp_path):
    rows, looked = watched(path, tmp_path, 50)
    final = {name_of(row) for row in rows}
    for open_rows in looked:
        names = [name_of(row) for row in open_rows]
        assert len(set(names)) == len(names)
        assert set(names) <= final


def test_open_connections_streams_and_exchanges_are_told_as_they_stand(tmp_path):
    _, looked = watched(SAMPLES / "demo.pcapng", tmp_path, 200)
    seen = [row for rows in looked for row in rows]
    assert any(isinstance(row, ConnectionRecord) and row.close_reason is None and row.packets_to_server for row in seen)
    sockets = [row for row in seen if isinstance(row, StreamRecord) and row.protocol == "websocket"]
    assert sockets[-1].messages_to_server > 0
    assert sockets[0].end_reason is None
    waiting = [row for row in seen if type(row).__name__ == "HttpExchangeRecord" and row.end_reason is None]
    assert {row.http_version for row in waiting} == {"1.1", "2"}
    assert any(row.status_code is None and row.target is not None for row in waiting)
