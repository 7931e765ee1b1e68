"""Keys that come while a capture is made: what waited for them is understood as if they had been there."""

import re
from pathlib import Path

import pytest

from analyzer import protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.connections.table import ConnectionTable
from analyzer.dissector import Context
from analyzer.http.semantics import HttpExchangeRecord
from analyzer.packets.decoder import NOTHING, Decoder

SAMPLES = Path(__file__).resolve().parents[2] / "sample_pcaps" / "tls"


def rows_with_keys_after(path, packets, wakes=False, at_a_time=1 << 30):
    """The rows of a capture whose keys come once so many packets were read, all before the next or so many lines before each.

    With ``wakes`` whoever waits for keys is told when there are some, as in a live capture.
    """
    captures = CaptureSet([str(path)])
    keys, known = [line for block in captures.secrets for line in block.splitlines()], []
    captures.secrets.clear()
    context = Context(protocols.dissectors())
    context.key_log.follow(known, True)
    table, decoder, rows = ConnectionTable(context), Decoder(), []
    while (reader := captures.next()) is not None:
        if reader.frame > packets and keys:
            known += keys[:at_a_time]
            del keys[:at_a_time]
            if wakes:
                rows += table.wake()
        frame = (reader.data, reader.offset, reader.captured_length, reader.original_length, reader.link_type)
        kind = decoder.decode(*frame, reader.timestamp, reader.frame, reader.interface)
        if kind != NOTHING:
            rows += table.packet(decoder, kind, reader.timestamp, reader.frame, reader.capture_index, None)
    for connection in reversed(table.close()):
        rows += table.end(connection)
    return sorted(re.sub("<[^>]* object at 0x[^>]*>", "line", repr(row)) for row in rows)


@pytest.mark.parametrize("name", ["nghttpd", "http1_and_http2", "suites_tls12", "hello_retry"])
def test_the_rows_are_those_of_keys_that_were_there_from_the_beginning(name):
    path = SAMPLES / f"{name}.pcapng"
    expected = rows_with_keys_after(path, 0)
    assert any("is_decrypted=True" in row for row in expected)
    captures = CaptureSet([str(path)])
    ends = []  # of connections: later than that keys are too late
    decoder = Decoder()
    while (reader := captures.next()) is not None:
        frame = (reader.data, reader.offset, reader.captured_length, reader.original_length, reader.link_type)
        if decoder.decode(*frame, reader.timestamp, reader.frame, reader.interface) != NOTHING and decoder.flags & 0b101:
            ends.append(reader.frame)
    for packets in range(1, ends[0]):
        assert rows_with_keys_after(path, packets) == expected, packets
        assert rows_with_keys_after(path, packets, wakes=True) == expected, packets


@pytest.mark.parametrize("name", ["nghttpd", "hello_retry"])
def test_keys_that_come_line_by_line_are_those_that_come_at_once(name):
    path = SAMPLES / f"{name}.pcapng"
    expected = rows_with_keys_after(path, 0)
    for packets in range(1, 16):
        assert rows_with_keys_after(path, packets, wakes=True, at_a_time=1) == expected, packets


def test_a_connection_that_is_idle_goes_on_when_its_keys_come():
    captures = CaptureSet([str(SAMPLES / "nghttpd.pcapng")])
    keys, known = list(captures.secrets), []
    captures.secrets.clear()
    context = Context(protocols.dissectors())
    context.key_log.follow(known, True)
    table, decoder, rows = ConnectionTable(context), Decoder(), []
    while (reader := captures.next()) is not None:
        frame = (reader.data, reader.offset, reader.captured_length, reader.original_length, reader.link_type)
        kind = decoder.decode(*frame, reader.timestamp, reader.frame, reader.interface)
        if kind != NOTHING and decoder.flags & 0b101:
            break
        rows += table.packet(decoder, kind, reader.timestamp, reader.frame, reader.capture_index, None)
    captures.close()
    assert not [row for row in rows if isinstance(row, HttpExchangeRecord)]
    assert table.wake() == []
    taken = table.memory()
    known += keys
    done = [row for row in table.wake() if isinstance(row, HttpExchangeRecord)]
    assert {row.status_code for row in done} >= {200}
    assert table.memory() != taken
    assert table.wake() == []
