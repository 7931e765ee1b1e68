"""Both sides of one stream, whole and in order."""

import re

import pytest

import analyzer
from analyzer.commands import source
from analyzer.commands.follow import Printer
from analyzer.dissector import TO_CLIENT, TO_SERVER


@pytest.fixture
def find(store_path):
    """A connection and stream of the demo, by a query."""

    def run(sql):
        with analyzer.open_store(store_path) as store:
            return store.sql(sql).fetchall()[0]

    return run


def test_the_bytes_of_a_connection_are_shown_as_text(unmux, demo, find):
    (number,) = find("SELECT connection_id FROM exchanges WHERE target LIKE '%/cart'")
    out = unmux("follow", demo, number).out
    assert re.search(r"^→ to server  \d\d:\d\d:\d\d\.\d{9}  \+0 s\nGET /search\?q=slow HTTP/1\.1\nHost: ", out)
    assert re.search(r"\n\n← to client  \S+  \+\d+ ms\nHTTP/1\.1 200 OK\n", out)
    assert out.index("GET /favicon.ico") < out.index("404 Not Found") < out.index("GET /cart") < out.index("502 Bad Gateway")


def test_an_http2_stream_is_its_fields_and_content(unmux, demo, find):
    number, stream = find("SELECT connection_id, stream_index FROM exchanges WHERE target LIKE '%/v1/health' AND status = '200'")
    out = unmux("follow", demo, f"{number}:{stream}").out
    assert re.search(r"^→ to server .* fields\n:method: GET\n:path: /v1/health\n", out)
    assert re.search(r"\n← to client .* fields\n:status: 200\n", out)
    assert re.search(r"\n← to client .* content\nok$", out.rstrip("\n"))


def test_binary_streams_are_dumped_with_offsets_that_go_on(unmux, demo, find):
    (number,) = find("SELECT connection_id FROM streams WHERE protocol = 'http2' AND depth = 0 LIMIT 1")
    lines = unmux("follow", demo, number).out.splitlines()
    assert lines[1].startswith("00000000  50 52 49 20 2a 20 48 54 54 50 2f 32 2e 30 0d 0a  PRI * HTTP/2.0..")
    sent = 0
    way = None
    for line in lines:
        if line[0] in "→←":
            way = line[0]
        elif way == "→":
            assert int(line[:8], 16) == sent
            sent += len(bytes.fromhex(line[10:57]))


def test_every_websocket_message_has_its_time(unmux, demo, find):
    number, stream, count = find(
        "SELECT connection_id, stream_index, count(*) FROM websocket_messages WHERE opcode = 'text' GROUP BY ALL"
    )
    out = unmux("follow", demo, f"{number}:{stream}").out
    assert len(re.findall(r"^[→←] to \w+  \S+  \+\S+ \S+  message$", out, re.M)) == count


def test_a_store_is_followed_by_its_captures_names(unmux, demo, store_path, find):
    (number,) = find("SELECT min(connection_id) FROM connections")
    assert unmux("follow", store_path, f"{number}:1").out == unmux("follow", demo, f"{number}:1").out


def test_a_connection_of_an_appended_capture_is_found_by_its_number(unmux, samples, tmp_path):
    path = tmp_path / "both.duckdb"
    older, newer = sorted(
        (samples / "http1" / "keep_alive.pcap", samples / "demo.pcapng"),
        key=lambda capture: analyzer.analyze([str(capture)]).sql("SELECT min(first_packet_at) FROM captures").fetchall(),
    )
    unmux(newer, "-qo", path)
    unmux(older, "-qo", path, "--append")
    with analyzer.open_store(str(path)) as store:
        ((number,),) = store.sql("SELECT min(connection_id) FROM connections WHERE capture_index = 1").fetchall()
    assert unmux("follow", path, number).out == unmux("follow", older, number - (1 << 40)).out != ""


def test_a_store_whose_capture_is_gone_says_which(unmux, demo, tmp_path, monkeypatch):
    (tmp_path / "copy.pcapng").symlink_to(demo)
    monkeypatch.chdir(tmp_path)
    unmux("copy.pcapng", "-qo", "out.duckdb")
    (tmp_path / "copy.pcapng").unlink()
    said = unmux("follow", "out.duckdb", 1)
    assert said.status == 1
    assert "was made from copy.pcapng, which is not there" in said.err


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("2", "there is no connection 2; `unmux tree` lists"),
        ("1:7", "connection 1 has no stream 7; its streams are 0 to 1"),
        ("1099511627777", "there is no connection 1099511627777"),
    ],
)
def test_what_is_not_there_is_said(unmux, demo, wanted, words):
    said = unmux("follow", demo, wanted)
    assert (said.status, said.out) == (1, "")
    assert words in said.err


def test_characters_and_lines_that_pieces_cut_are_printed_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    printer = Printer(source.console(), 3)
    text = "naïve → 漢字\nand 🎈 more".encode()
    for place in range(len(text)):
        printer.write(3, TO_CLIENT, 5, "content", text[place : place + 1])
    printer.write(3, TO_SERVER, 6, "content", b"\xf0\x9f\x8e")
    printer.finish()
    out = capsys.readouterr().out
    assert out.startswith("← to client  00:00:00.000000005  +0 s  content\nnaïve → 漢字\nand 🎈 more\n→ to server")
    assert out.endswith("00000000  f0 9f 8e                                         ...\n")


def test_escape_sequences_do_not_reach_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    printer = Printer(source.console(), 0)
    printer.write(
        0, TO_SERVER, 0, "bytes", b"GET / HTTP/1.1\r\nUser-Agent: \x1b]0;title\x07 and so on, for a long, long time\r\n\r\n"
    )
    printer.finish()
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b]0;title\\x07" in out
