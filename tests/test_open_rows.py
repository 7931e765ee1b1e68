"""What is still open can be looked at between any two packets, and that changes nothing."""

import itertools
import os
from copy import copy
from pathlib import Path
from threading import Thread

import pytest
from msgspec.structs import astuple

import analyzer
from analyzer import limits, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.capture.following import open_growing
from analyzer.dissector import TO_CLIENT, TO_SERVER, CloseReason, Context
from analyzer.http.semantics import HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.pipeline import Analysis, run
from analyzer.protocols.http2 import Http2ConnectionRecord
from analyzer.protocols.websocket import WebSocketMessageRecord
from analyzer.records import AnomalyRecord, CaptureRecord, ConnectionRecord, StallRecord, StreamRecord
from analyzer.schema import Stability, table_of
from analyzer.scope import Scope
from analyzer.store import open_store
from analyzer.store.segments import SegmentStore
from analyzer.stream import Stream
from analyzer.tls.tls_rows import TlsHandshakeRecord

SAMPLES = Path(__file__).parent.parent / "sample_pcaps"
CAPTURES = sorted(
    itertools.chain(
        *(SAMPLES.glob(pattern) for pattern in ("http1/*.pcap*", "http2/*.pcap*", "websocket/*.pcap*", "tls/*.pcap*"))
    )
)
GUESSED = ("port", "first_sender")  # who is the client


class Kept:
    def __init__(self):
        self.rows = []

    def add(self, rows):
        self.rows += rows


class Look:
    """The rows of what was open at a moment, and how many others there were by then."""

    def __init__(self, rows, finished):
        self.rows = rows
        self.finished = finished

    def of(self, kind):
        return [row for row in self.rows if isinstance(row, kind)]


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


def watched(data, tmp_path, block_bytes):
    """The rows of a capture that comes through a pipe, and a look at what was open whenever a block was read."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = Thread(target=fifo.write_bytes, args=(data,))
    writer.start()
    looks = []
    analyses = []
    kept = Kept()

    def idle():
        for analysis in analyses:
            analysis.flush()
            looks.append(Look([copy(row) for row in analysis.open_rows(0)], len(kept.rows)))
        return True

    captures = CaptureSet([], readers=[open_growing(str(fifo), idle, block_bytes)])
    analyses.append(Analysis(captures, Context(protocols.dissectors()), kept))
    analyses[0].run()
    writer.join()
    return kept.rows, looks


def segmented(path, tmp_path, block_bytes, look):
    """The tables of a capture that comes through a pipe, into a folder at which ``look`` looks whenever a block was read."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = Thread(target=fifo.write_bytes, args=(path.read_bytes(),))
    writer.start()
    found = protocols.dissectors()
    records = [record for dissector in found for record in dissector.records]
    store = SegmentStore(f"{tmp_path}/live/", records=records, mask_key=b"k")
    analyses = []
    times = itertools.count()

    def idle():
        for analysis in analyses:
            analysis.flush()
            store.seal(analysis.open_rows(0), float(next(times)))
            store.wait()
            with open_store(f"{tmp_path}/live/", records) as seen:
                look(seen)
        return True

    analyses.append(Analysis(CaptureSet([], readers=[open_growing(str(fifo), idle, block_bytes)]), Context(found), store))
    analyses[0].run()
    writer.join()
    store.finish(float(next(times)))
    store.close()
    with open_store(f"{tmp_path}/live/", records) as seen:
        return tables_of(seen)


def tables_of(store):
    """All rows of a store, field lines by what they say."""
    names = {
        name
        for (name,) in store.sql("SELECT table_name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views()").fetchall()
    }
    wanted = {table_of(record).name for dissector in protocols.dissectors() for record in dissector.records}
    wanted |= {"connections", "streams", "stalls", "stalled_streams", "anomalies", "http_fields"}
    assert wanted <= names
    return {name: sorted(map(repr, store.sql(f"FROM {name}").fetchall())) for name in wanted - {"http_field_sections"}}


def without_first(path, packets):
    """A pcap without its first packets."""
    data = path.read_bytes()
    position = 24
    for _ in range(packets):
        position += 16 + int.from_bytes(data[position + 8 : position + 12], "little")
    return data[:24] + data[position:]


def name_of(row):
    table = table_of(type(row))
    return (table.name, *(getattr(row, column) for column in table.key))


def said(row):
    """What the peers said, as far as a row knows it."""
    if isinstance(row, ConnectionRecord) and row.role_evidence in GUESSED:
        return {}
    columns = [column.name for column in table_of(type(row)).columns if column.stability is Stability.CONVERSATION]
    return {name: value for name in columns if (value := getattr(row, name)) is not None}


def headers(rows):
    """The header sections, by exchange and side."""
    return {
        (row.connection_id, row.stream_index, row.exchange_index, row.side)
        for row in rows
        if isinstance(row, HttpFieldSectionRecord) and row.section == "header"
    }


def assert_told_before(look, rows):
    """No row of what is open is there twice, or says what the final one does not; its field sections are there."""
    final = {name_of(row): row for row in rows}
    told = [row for row in look.rows if table_of(type(row)).key and not isinstance(row, StallRecord)]
    names = [name_of(row) for row in told]
    assert len(set(names)) == len(names)
    assert not {name_of(row) for row in rows[: look.finished] if table_of(type(row)).key} & set(names)
    for row, name in zip(told, names, strict=True):
        assert said(row).items() <= said(final[name]).items()
    there = headers(rows[: look.finished])
    for exchange in look.of(HttpExchangeRecord):
        name = exchange.connection_id, exchange.stream_index, exchange.exchange_index
        if exchange.request_method is not None and (*name, "request") in headers(rows):
            assert (*name, "request") in there
        if exchange.status_code is not None and (*name, "response") in headers(rows):
            assert (*name, "response") in there


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_looking_at_what_is_open_changes_no_row(path, tmp_path):
    kept = Kept()
    run(CaptureSet([str(path)]), Context(protocols.dissectors()), kept)
    rows, looks = watched(path.read_bytes(), tmp_path, 100)
    assert plain(rows) == plain(kept.rows)
    assert looks


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_is_open_has_one_row_each_that_says_nothing_but_what_the_final_one_says(path, tmp_path):
    rows, looks = watched(path.read_bytes(), tmp_path, 50)
    for look in looks:
        assert_told_before(look, rows)


@pytest.mark.parametrize("packets", [2, 5, 9])
@pytest.mark.parametrize("name", ["http1/keep_alive", "http1/pipelining", "http2/trailers", "websocket/fragmented"])
def test_where_the_capture_begins_late_too(name, packets, tmp_path):
    rows, looks = watched(without_first(SAMPLES / f"{name}.pcap", packets), tmp_path, 50)
    assert looks
    for look in looks:
        assert_told_before(look, rows)


def test_open_connections_streams_and_exchanges_are_told_as_they_stand(tmp_path):
    _, looks = watched((SAMPLES / "demo.pcapng").read_bytes(), tmp_path, 200)
    seen = [row for look in looks for row in look.rows]
    assert any(isinstance(row, ConnectionRecord) and row.close_reason is None and row.packets_to_server for row in seen)
    sockets = [row for row in seen if isinstance(row, StreamRecord) and row.protocol == "websocket"]
    assert sockets[-1].messages_to_server > 0
    assert sockets[0].end_reason is None
    waiting = [row for row in seen if isinstance(row, HttpExchangeRecord) and row.end_reason is None]
    assert {row.http_version for row in waiting} == {"1.1", "2"}
    assert any(row.status_code is None and row.target is not None for row in waiting)


def test_a_request_that_waits_is_told_on_a_connection_that_was_there_before_the_capture(tmp_path):
    rows, looks = watched(without_first(SAMPLES / "http1/keep_alive.pcap", 5), tmp_path, 50)
    waiting = {row.target for look in looks for row in look.of(HttpExchangeRecord) if row.status_code is None}
    assert waiting
    assert waiting <= {row.target for row in rows if isinstance(row, HttpExchangeRecord)}


def test_a_handshake_is_told_while_its_connection_lasts(tmp_path):
    rows, looks = watched((SAMPLES / "tls/http1_and_http2.pcapng").read_bytes(), tmp_path, 200)
    final = {name_of(row): row for row in rows if isinstance(row, TlsHandshakeRecord)}
    seen = [row for look in looks for row in look.of(TlsHandshakeRecord)]
    assert {row.server_name for row in seen} - {None} == {row.server_name for row in final.values()}
    assert any(row.version is None and row.client_random is not None for row in seen)  # between the hellos
    assert any(row.handshake_ns is not None and row.handshake_ns == final[name_of(row)].handshake_ns for row in seen)
    assert any(row.records_to_client < final[name_of(row)].records_to_client for row in seen)


def test_settings_are_told_while_their_connection_lasts(tmp_path):
    rows, looks = watched((SAMPLES / "http2/settings.pcap").read_bytes(), tmp_path, 100)
    (final,) = [row for row in rows if isinstance(row, Http2ConnectionRecord)]
    seen = [row for look in looks for row in look.of(Http2ConnectionRecord)]
    assert seen[0].frames_to_server < seen[-1].frames_to_server <= final.frames_to_server
    assert seen[-1].server_max_concurrent_streams == final.server_max_concurrent_streams


def test_a_message_whose_fragments_still_come_is_told_without_what_they_may_change(tmp_path):
    rows, looks = watched((SAMPLES / "websocket/fragmented.pcap").read_bytes(), tmp_path, 100)
    final = {name_of(row): row for row in rows if isinstance(row, WebSocketMessageRecord)}
    seen = [row for look in looks for row in look.of(WebSocketMessageRecord)]
    assert seen
    assert {(row.is_complete, row.ended_at, row.frame_count, row.wire_bytes, row.payload_bytes) for row in seen} == {(None,) * 5}
    assert {(row.opcode, row.started_at) for row in seen} == {
        (final[name].opcode, final[name].started_at) for name in {name_of(row) for row in seen}
    }


def test_a_flow_control_window_that_is_shut_is_told_until_it_is_opened(tmp_path):
    rows, looks = watched((SAMPLES / "http2/flow_control_stall.pcap").read_bytes(), tmp_path, 100)
    over = {(row.kind, row.stream_index, row.started_at) for row in rows if isinstance(row, StallRecord)}
    shut = [row for look in looks for row in look.of(StallRecord)]
    assert {(row.kind, row.stream_index, row.started_at) for row in shut} >= over
    assert {(row.stall_index, row.ended_at, row.duration_ns, row.evidence) for row in shut} == {(None,) * 4}
    assert not looks[-1].of(StallRecord)


ONCE = """
    SELECT count(*), count(DISTINCT (connection_id, stream_index, exchange_index)) FROM http_exchanges
    UNION ALL SELECT count(*), count(DISTINCT (connection_id, stream_index)) FROM tls_handshakes
    UNION ALL SELECT count(*), count(DISTINCT (connection_id, stream_index)) FROM http2_connections
    UNION ALL SELECT count(*), count(DISTINCT (connection_id, stream_index, message_index)) FROM websocket_messages
    UNION ALL SELECT count(*), count(DISTINCT (connection_id, stream_index)) FROM streams
    UNION ALL SELECT count(*), count(DISTINCT connection_id) FROM connections
"""
WITHOUT_LINE = """
    SELECT count(*) FROM (SELECT unnest(fields) AS line_id FROM http_field_sections) ANTI JOIN field_lines USING (line_id)
"""
WAITING = """
    SELECT DISTINCT value FROM http_exchanges JOIN http_fields USING (connection_id, stream_index, exchange_index)
    WHERE end_reason IS NULL AND status_code IS NULL AND lower(name) = 'user-agent'
"""


def test_queries_see_each_row_once_with_the_field_lines_of_requests_that_wait(tmp_path):
    waiting = set()

    def look(seen):
        for rows, keys in seen.sql(ONCE).fetchall():
            assert rows == keys
        assert seen.sql(WITHOUT_LINE).fetchall() == [(0,)]
        waiting.update(seen.sql(WAITING).fetchall())

    path = SAMPLES / "demo.pcapng"
    stored = segmented(path, tmp_path, path.stat().st_size // 12, look)
    assert waiting
    with analyzer.analyze(path, mask_key=b"k") as store:
        assert stored == tables_of(store)


def open_stream(connection_id=7):
    return Stream(Scope(Context(protocols.dissectors()), connection_id, "tcp", 9, True))


def test_what_nobody_understands_is_told_while_it_lasts():
    stream = open_stream()
    stream.feed(TO_SERVER, b"SSH-2.0-a\r\n", 10, 10, 1)
    stream.feed(TO_CLIENT, b"SSH-2.0-b\r\n", 20, 20, 2)
    (told,) = [row for row in stream.tick(30) if isinstance(row, AnomalyRecord)]
    assert stream.tick(30) == stream.tick(40)
    rows = stream.close(TO_SERVER, CloseReason.FIN, 50, 3)
    assert [row for row in stream.tick(60) if isinstance(row, AnomalyRecord)] == [told]
    rows += stream.close(TO_CLIENT, CloseReason.FIN, 70, 4)
    assert [row for row in rows if isinstance(row, AnomalyRecord)] == [told]
    assert told.kind == "not_understood"
    assert stream.tick(80) == []


def test_faults_that_are_only_counted_any_more_are_told_while_their_connection_lasts():
    scope = open_stream().scope
    for number in range(limits.ANOMALIES_PER_KIND + 5):
        scope.anomaly(AnomalyRecord(kind="fault", packet=number))
    (told,) = scope.open_rows()
    assert (told.packet, told.occurrences) == (limits.ANOMALIES_PER_KIND - 1, 6)
    assert scope.finish() == [told]
    assert scope.open_rows() == []
