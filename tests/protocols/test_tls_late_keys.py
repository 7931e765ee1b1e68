"""Keys that come while a capture is made: what waited for them is understood as if they had been there."""

import re
from pathlib import Path

import pytest

from analyzer import protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.connections.table import ConnectionTable
from analyzer.dissector import Context
from analyzer.packets.decoder import NOTHING, Decoder

SAMPLES = Path(__file__).resolve().parents[2] / "sample_pcaps" / "tls"


def rows_with_keys_after(path, packets):
    """The rows of a capture whose keys are known once so many packets were read."""
    captures = CaptureSet([str(path)])
    keys, known = list(captures.secrets), []
    captures.secrets.clear()
    context = Context(protocols.dissectors())
    context.key_log.follow(known, True)
    table, decoder, rows = ConnectionTable(context), Decoder(), []
    while (reader := captures.next()) is not None:
        if reader.frame == packets + 1:
            known += keys
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
