"""Some connections of a capture as a capture of its own."""

from pathlib import Path

import dpkt
import pytest

import analyzer
from analyzer.capture.opening import secrets_in
from analyzer.records import CaptureRecord
from analyzer.store import Store

KEYED = "tls/http1_and_http2.pcapng"


def rows(path, sql):
    with analyzer.analyze([str(path)]) as store:
        return store.sql(sql).fetchall()


def packets(path):
    with Path(path).open("rb") as file:
        return [(round(time * 1e9), data) for time, data in dpkt.pcapng.Reader(file)]


EXCHANGES = """
    SELECT e.* EXCLUDE (connection_id, first_packet, last_packet), client_port FROM exchanges e JOIN connections c USING (connection_id)
    ORDER BY e.started_at, e.stream_index, e.exchange_index
"""


def test_the_connections_of_matching_exchanges_are_written_whole(unmux, demo, tmp_path):
    said = unmux("slice", demo, "--where", "status = '502'", "-w", tmp_path / "part.pcapng")
    assert (said.status, said.out) == (0, "")
    assert said.err.endswith(f"unmux: wrote {tmp_path / 'part.pcapng'}: 19 packets of 1 connection\n")
    ports = rows(tmp_path / "part.pcapng", "SELECT client_port FROM connections")
    expected = [row for row in rows(demo, EXCHANGES) if row[-1:] == ports[0]]
    assert rows(tmp_path / "part.pcapng", EXCHANGES) == expected
    assert len(expected) == 4


def test_packets_keep_their_bytes_and_times_and_the_interface_its_name(unmux, demo, tmp_path):
    unmux("slice", demo, "--where", "true", "-w", tmp_path / "part.pcapng")
    assert packets(tmp_path / "part.pcapng") == packets(demo)
    described = "SELECT packets, captured_bytes, original_bytes, link_types, interfaces, first_packet_at FROM captures"
    assert rows(tmp_path / "part.pcapng", described) == rows(demo, described)


def test_a_store_is_sliced_by_the_captures_it_was_made_from_each_run_with_its_own(unmux, demo, samples, tmp_path):
    store = tmp_path / "out.duckdb"
    unmux("analyze", demo, "-qo", store)
    unmux("analyze", samples / KEYED, "-q", "--append", "-o", store)
    where = "status = '502' OR target LIKE '%/missing'"
    said = unmux("slice", store, "--where", where, "-w", tmp_path / "part.pcapng")
    assert "of 3 connections, 8 TLS secrets" in said.err
    both = rows(demo, EXCHANGES.replace("ORDER", f"WHERE {where} ORDER")) + rows(
        samples / KEYED, EXCHANGES.replace("ORDER", f"WHERE {where} ORDER")
    )
    assert sorted(rows(tmp_path / "part.pcapng", EXCHANGES.replace("ORDER", f"WHERE {where} ORDER"))) == sorted(both)


def test_a_connection_can_be_named(unmux, demo, tmp_path):
    said = unmux("slice", demo, "--connection", "44", "--connection", "1", "-w", tmp_path / "part.pcapng")
    assert "of 2 connections" in said.err
    assert rows(tmp_path / "part.pcapng", "SELECT count(*) FROM connections") == [(2,)]


def test_tls_keys_come_along_and_no_others(unmux, samples, tmp_path):
    first, second, *_ = (number for (number,) in rows(samples / KEYED, "SELECT connection_id FROM connections ORDER BY 1"))
    unmux("slice", samples / KEYED, "--connection", first, "-w", tmp_path / "first.pcapng")
    assert rows(tmp_path / "first.pcapng", "SELECT is_decrypted, not_decrypted_reason FROM tls_handshakes") == [(True, None)]
    assert (tmp_path / "first.pcapng").stat().st_mode & 0o077 == 0
    unmux("slice", samples / KEYED, "--connection", second, "-w", tmp_path / "second.pcapng", "--no-keys")
    assert rows(tmp_path / "second.pcapng", "SELECT is_decrypted FROM tls_handshakes") == [(False,)]
    keys = [
        {line.split()[1] for line in block.splitlines()}
        for block in (secrets(tmp_path / "first.pcapng"), secrets(tmp_path / "second.pcapng"), secrets(samples / KEYED))
    ]
    assert [len(each) for each in keys] == [1, 0, 3]
    assert keys[0] < keys[2]


def secrets(path):
    return b"".join(secrets_in(str(path), 1 << 16))


def test_a_slice_goes_through_a_pipe(process, demo, tmp_path):
    child = process("slice", demo, "--where", "status = '502'", "-w", "-", text=False)
    out, err = child.communicate()
    (tmp_path / "part.pcapng").write_bytes(out)
    assert child.returncode == 0
    assert b"19 packets" in err
    assert len(packets(tmp_path / "part.pcapng")) == 19


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--where", "status = 'none'"], 1, "no exchange is like that"),
        (["--where", "colour = 'red'"], 1, "Binder Error"),
        (["--where", "true) OR (true"], 0, "298 packets"),
        (["--where", "true; DROP TABLE streams"], 1, "Parser Error"),
        (["--connection", "7"], 1, "there is no connection 7"),
        (["--connection", "44:1"], 2, "--connection takes a connection's number"),
        ([], 2, "say which connections"),
    ],
)
def test_what_cannot_be_chosen_is_told(unmux, demo, tmp_path, arguments, status, told):
    said = unmux("slice", demo, *arguments, "-w", tmp_path / "part.pcapng")
    assert said.status == status
    assert told in said.err
    assert (tmp_path / "part.pcapng").exists() is (status == 0)
    assert [path.name for path in tmp_path.iterdir()] == (["part.pcapng"] if status == 0 else [])


def test_what_is_there_stays_unless_it_is_to_be_replaced(unmux, demo, tmp_path):
    there = tmp_path / "part.pcapng"
    there.write_text("mine")
    assert unmux("slice", demo, "--where", "true", "-w", there).status == 1
    assert there.read_text() == "mine"
    assert unmux("slice", demo, "--where", "true", "-w", there, "--force").status == 0
    before = there.read_bytes()
    assert unmux("slice", there, "--where", "true", "-w", there, "--force").status == 2
    unmux("analyze", there, "-qo", tmp_path / "out.duckdb")
    assert unmux("slice", tmp_path / "out.duckdb", "--where", "true", "-w", there, "--force").status == 2
    assert there.read_bytes() == before


def test_what_can_be_read_only_once_is_refused(unmux, tmp_path):
    said = unmux("slice", "-", "--where", "true", "-w", tmp_path / "part.pcapng")
    assert said.status == 2
    assert "required files, found standard input" in said.err


@pytest.fixture
def of_an_interface(tmp_path, monkeypatch):
    """A folder with what was captured from an interface, beside a file that is called like it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSLKEYLOGFILE", "")
    (tmp_path / "s9v0").write_text("no capture")
    with Store("live/") as store:
        store.add([CaptureRecord(0, "s9v0", "live", packets=3)])
        store.finish()
    return "live/"


@pytest.mark.parametrize(
    "arguments",
    [
        ("slice", "live/", "--where", "true", "-w", "part.pcapng"),
        ("follow", "live/", "11:2"),
        ("extract", "live/", "--to", "contents/"),
        ("extract", "live/", "--where", "true", "--to", "contents/"),
    ],
)
def test_what_was_captured_from_an_interface_cannot_be_read_again(unmux, of_an_interface, tmp_path, arguments):
    said = unmux(*arguments)
    told = "live/: was captured from the interface s9v0: its packets are not kept; analyze the file that -w wrote"
    assert (said.status, said.out, said.err) == (1, "", f"unmux: {told}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live", "s9v0"]
