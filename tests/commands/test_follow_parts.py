"""Following one exchange or message, control frames, what is missing, and TLS of which the store keeps no keys."""

import random
import re
import struct

import pytest

import analyzer
from analyzer import protocols
from analyzer.dissector import TO_CLIENT, TO_SERVER, Context
from analyzer.http.semantics import HttpExchangeRecord
from analyzer.scope import Scope
from analyzer.stream import Stream


@pytest.fixture
def without_packet(tmp_path):
    """A copy of a pcap without the frames of these numbers."""

    def make(path, *frames):
        data = path.read_bytes()
        order = "<" if data[:4] in {b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"} else ">"
        kept, position, number = data[:24], 24, 0
        while position < len(data):
            end = position + 16 + struct.unpack_from(order + "I", data, position + 8)[0]
            number += 1
            if number not in frames:
                kept += data[position:end]
            position = end
        copy = tmp_path / path.name
        copy.write_bytes(kept)
        return copy

    return make


def ask(path, sql):
    with analyzer.analyze(path) as store:
        return store.sql(sql).fetchall()


def test_one_of_many_exchanges_is_followed_alone(unmux, samples):
    capture = samples / "http1" / "pipelining.pcap"
    first = ask(capture, "SELECT connection_id, target, status_code, exchange_index FROM http_exchanges ORDER BY ALL")
    for connection, target, status, index in first[:4]:
        out = unmux("follow", capture, f"{connection}:0.{index}").out
        assert re.findall(r"^(?:[A-Z]+) (\S+) HTTP/1\.1$", out, re.M) == [target]
        assert re.findall(r"^HTTP/1\.1 (\d+)", out, re.M) == [str(status)]
    said = unmux("follow", capture, f"{connection}:0.999")
    assert (said.status, said.err.splitlines()[-1]) == (
        1,
        f"unmux: there is nothing of an exchange or message 999 in stream {connection}:0",
    )
    assert unmux("follow", capture, f"{connection}:0.1", "--raw").status == 2


def test_reports_and_the_tree_name_exchanges_as_follow_takes_them(unmux, samples):
    capture = samples / "http1" / "pipelining.pcap"
    named = re.findall(r"^(\d+:0\.\d+) +GET ", unmux("report", "slow-exchanges", capture).out, re.M)
    assert len(set(named)) == len(named) > 2
    assert all(unmux("follow", capture, name).out.count(" fields\n") == 2 for name in named[:3])
    assert re.search(r"^├── :0\.1  GET ", unmux("tree", capture).out, re.M)


def test_control_frames_are_part_of_the_conversation_and_one_message_can_be_followed(unmux, samples):
    capture = samples / "websocket" / "text_binary_ping_close.pcap"
    rows = ask(capture, "SELECT place(connection_id, stream_index), message_index, opcode FROM websocket_messages ORDER BY ALL")
    for stream in {stream for stream, _, _ in rows}:
        opcodes = sorted(opcode for each, _, opcode in rows if each == stream)
        kinds = re.findall(
            r"^[→←] to \w+  \S+  \+\S+ \S+  (message|ping|pong|close)$", unmux("follow", capture, stream).out, re.M
        )
        assert sorted(kind for kind in kinds if kind != "message") == [each for each in opcodes if each not in {"text", "binary"}]
    stream, index, _ = next(row for row in rows if row[2] == "close")
    assert re.fullmatch(r"[→←] to .*  close\n(\d{4}.*\n)?", unmux("follow", capture, f"{stream}.{index}").out)


def test_bytes_that_were_not_captured_are_told_in_their_place(unmux, samples, without_packet):
    capture = samples / "http1" / "keep_alive.pcap"
    lacking = without_packet(capture, 16)  # of the larger response's content
    with analyzer.analyze(lacking) as store:
        ((missing,),) = store.sql("SELECT missing_bytes FROM streams WHERE connection_id = 1").fetchall()
    assert missing > 0
    assert f"  missing\n({missing:,} bytes, not captured)\n" in unmux("follow", lacking, "1").out
    assert re.search(r"^├── [\d.]+ k?B not captured", unmux("tree", lacking, "1").out, re.M)


def test_a_store_made_with_keys_says_that_they_are_needed_again(unmux, samples, tmp_path, monkeypatch):
    monkeypatch.delenv("SSLKEYLOGFILE", raising=False)
    log, bare, store = tmp_path / "keys.log", tmp_path / "bare.pcapng", tmp_path / "kept.duckdb"
    data = (samples / "tls" / "http1_and_http2.pcapng").read_bytes()
    keys, position = b"", 0
    kept = b""
    while position < len(data):  # the blocks, without the decryption secrets (type 10)
        kind, length = struct.unpack_from("<II", data, position)
        if kind == 10:
            keys += data[position + 20 : position + 20 + struct.unpack_from("<I", data, position + 16)[0]]
        else:
            kept += data[position : position + length]
        position += length
    log.write_bytes(keys)
    bare.write_bytes(kept)
    assert unmux(bare, "--keylog", log, "-qo", store).status == 0
    with analyzer.open_store(store) as opened:
        ((stream, connection),) = opened.sql(
            "SELECT place(connection_id, stream_index), connection_id FROM exchanges WHERE stream_index > 0 LIMIT 1"
        ).fetchall()
    said = unmux("follow", store, stream)
    assert (said.status, said.out) == (1, "")
    assert (
        "is inside TLS: it was decrypted when the store was made, which keeps no keys; give them again with --keylog" in said.err
    )
    assert "give them again with --keylog FILE" in unmux("follow", store, connection).err
    assert unmux("follow", store, stream, "--keylog", log).status == 0
    assert unmux("tree", store).out.endswith(
        "the store keeps no keys: `unmux follow` shows what is inside TLS with --keylog FILE\n"
    )
    assert "keeps no keys" not in unmux("tree", bare, "--keylog", log).out
    (tmp_path / "wrong.log").write_text("CLIENT_RANDOM misspelt\n")
    assert "wrong.log: there is no TLS key in it" in unmux(bare, "--keylog", tmp_path / "wrong.log", "-q").err
    (tmp_path / "other.log").write_text(f"CLIENT_RANDOM {'00' * 32} {'11' * 48}\n")
    assert "is of a connection in the capture" in unmux(bare, "--keylog", tmp_path / "other.log", "-q").err


def test_inputs_that_cannot_be_read_are_named_the_others_read_and_the_status_is_1(unmux, samples, tmp_path):
    good = samples / "http1" / "keep_alive.pcap"
    (tmp_path / "first.pcap").write_text("no capture")
    said = unmux("query", tmp_path / "first.pcap", good, tmp_path / "gone", "SELECT count(*) AS n FROM captures", "-f", "csv")
    assert (said.status, said.out) == (1, "n\n1\n")
    assert [line.partition(": required")[0] for line in said.err.splitlines()[-3:]] == [
        f"unmux: {tmp_path / 'first.pcap'}",
        f"unmux: {tmp_path / 'gone'}",
        "unmux: 2 inputs could not be read; the others were",
    ]
    kept = unmux(tmp_path / "first.pcap", good, "-qo", tmp_path / "out.duckdb")
    assert kept.status == 1
    rows = unmux("query", tmp_path / "out.duckdb", "SELECT kind FROM anomalies WHERE connection_id IS NULL", "-f", "csv")
    assert rows.out.splitlines() == ["kind", "unreadable_capture"]


def test_bytes_that_went_by_before_their_protocol_was_known_are_not_told_to_be_missing():
    context = Context(protocols.dissectors())
    told = []

    class Listener:
        def write(self, stream_index, direction, timestamp, kind, data):
            told.append((kind, data))

        def turn(self, stream_index, direction, index):
            """Whose it is does not matter."""

        def outlet(self, stream_index, index, part):
            """Contents are not wanted on their own."""

    context.taps = {1: Listener()}
    stream = Stream(Scope(context, 1, "tcp", 80, roles_proven=True))
    stream.gap(TO_CLIENT, 500, 500, 5, 1)
    for packet in range(40):
        stream.feed(TO_CLIENT, random.Random(packet).randbytes(5_000), 10, 10, packet)
    stream.feed(TO_SERVER, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 30, 30, 50)
    rows = stream.feed(TO_CLIENT, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 40, 40, 51)
    assert stream.protocol == "http1"
    assert [row.status_code for row in rows if isinstance(row, HttpExchangeRecord)] == [200]
    assert [data for kind, data in told if kind == "missing"] == [b"500"]
