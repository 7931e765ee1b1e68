"""Both sides of one stream, whole and in order."""

import gzip
import os
import re

import pytest

import analyzer
from analyzer.commands import source
from analyzer.commands.conversation import HELD_BYTES, Printer
from analyzer.dissector import TO_CLIENT, TO_SERVER


@pytest.fixture
def find(store_path):
    """A connection and stream of the demo, by a query."""

    def run(sql):
        with analyzer.open_store(store_path) as store:
            return store.sql(sql).fetchall()[0]

    return run


def test_the_messages_of_an_http1_connection_are_shown_in_order(unmux, demo, find):
    (number,) = find("SELECT connection_id FROM exchanges WHERE target LIKE '%/cart'")
    out = unmux("follow", demo, number).out
    assert re.search(r"^→ to server  \d\d:\d\d:\d\d\.\d{9}  \+0 s  fields\nGET /search\?q=slow HTTP/1\.1\nHost: ", out)
    assert re.search(r"\n\n← to client  \S+  \+\d+ ms  fields\nHTTP/1\.1 200 OK\n", out)
    assert out.index("GET /favicon.ico") < out.index("404 Not Found") < out.index("GET /cart") < out.index("502 Bad Gateway")


def test_an_http2_stream_is_its_fields_and_content(unmux, demo, find):
    number, stream = find("SELECT connection_id, stream_index FROM exchanges WHERE target LIKE '%/v1/health' AND status = '200'")
    out = unmux("follow", demo, f"{number}:{stream}").out
    assert re.search(r"^→ to server .* fields\n:method: GET\n:path: /v1/health\n", out)
    assert re.search(r"\n← to client .* fields\n:status: 200\n", out)
    assert re.search(r"\n← to client .* content\nok$", out.rstrip("\n"))


def test_binary_streams_are_dumped_with_offsets_that_go_on(unmux, demo, find):
    (number,) = find("SELECT connection_id FROM streams WHERE protocol = 'http2' AND depth = 0 LIMIT 1")
    lines = unmux("follow", demo, number, "--raw").out.splitlines()
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
    whole = unmux("follow", demo, number).out
    assert "  :1  " in whole
    assert whole.startswith("→ to server")
    assert "Switching Protocols" in whole
    assert len(re.findall(r"^[→←] to \w+  :1  \S+  \+\S+ \S+  message$", whole, re.M)) == count
    assert len(re.findall(r"^[→←] to \w+  \S+  \+\S+ \S+  message$", out, re.M)) == count


def test_a_store_is_followed_by_its_captures_names(unmux, demo, store_path, find):
    (number,) = find("SELECT min(connection_id) FROM connections")
    assert unmux("follow", store_path, f"{number}:1").out == unmux("follow", demo, f"{number}:1").out


def test_a_store_is_followed_with_the_rules_it_was_made_with(unmux, demo, tmp_path, find):
    (number,) = find("SELECT connection_id FROM connections WHERE server_port = 8080")
    rule = ("-d", "tcp.port==8080,websocket")
    for arguments in ([demo], [demo, "-d", "tcp.port==1,http1", *rule]):
        path = tmp_path / f"{len(arguments)}.duckdb"
        unmux(*arguments, "-qo", path)
        assert unmux("follow", path, number).out == unmux("follow", demo, number, *arguments[1:]).out != ""
    assert unmux("follow", path, number).out != unmux("follow", demo, number).out


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


def test_of_what_a_store_was_made_from_only_files_are_read_again(unmux, demo, tmp_path, monkeypatch):
    (tmp_path / "copy.pcapng").symlink_to(demo)
    monkeypatch.chdir(tmp_path)
    unmux("copy.pcapng", "-qo", "out.duckdb")
    (tmp_path / "copy.pcapng").unlink()
    os.mkfifo("copy.pcapng")
    said = unmux("follow", "out.duckdb", 1)
    assert (said.status, said.out) == (1, "")
    assert "was made from copy.pcapng, which is no file" in said.err


def test_codings_of_contents_are_undone_unless_raw_bytes_are_asked_for(unmux, samples):
    capture = samples / "http1" / "content_codings.pcap"
    out = unmux("follow", capture, 1).out
    shown = re.findall(r"^Content-Encoding: (\w+)\n.*?^← to client [^\n]* content\n(\w+ \w+ \w+) ", out, re.M | re.S)
    assert {coding for coding, _ in shown} == {"gzip", "deflate", "br", "zstd"}
    assert {text for _, text in shown[:4]} == {"packet packet window"}
    dumped = re.findall(r"^[0-9a-f]{8}  ((?:[0-9a-f]{2} )+) ", unmux("follow", capture, 1, "--raw").out, re.M)
    assert b"\r\n\r\n\x1f\x8b\x08" in bytes.fromhex("".join(dumped))


def test_chunks_are_put_together_and_trailers_are_fields(unmux, samples):
    capture = samples / "http1" / "chunked_trailers.pcap"
    with analyzer.analyze([str(capture)]) as store:
        names = {row[0] for row in store.sql("SELECT DISTINCT name FROM http_fields WHERE section = 'trailer'").fetchall()}
        (number,) = store.sql("SELECT connection_id FROM http_fields WHERE section = 'trailer'").fetchall()[0]
    out = unmux("follow", capture, f"{number}:0").out
    for name in names:
        assert re.search(rf"  fields\n(\S+: .*\n)*{name}: ", out, re.I)
    assert "\r" not in out


def test_every_stream_that_the_tree_lists_can_be_followed(unmux, samples):
    for capture in (samples / "http2" / "h2c_upgrade.pcap", samples / "http1" / "connect_tunnel.pcap"):
        for number in re.findall(r"── :(\d+)  ", unmux("tree", capture, 1, width=160).out):
            said = unmux("follow", capture, f"1:{number}")
            assert (said.status, said.out != "") == (0, True)


def test_a_stream_that_carries_others_names_them(unmux, demo, samples, find):
    (number,) = find("SELECT connection_id FROM streams WHERE protocol = 'http2' AND stream_index = 24")
    said = unmux("follow", demo, f"{number}:0")
    assert said.out.splitlines()[1].startswith("00000000  50 52 49 20")
    assert f"inside it is 24 streams: follow {number}:1 to {number}:24, or {number} for everything" in said.err
    carrier = unmux("follow", samples / "http2" / "h2c_upgrade.pcap", "1:1")
    assert "inside it is 5 streams: follow 1:2 to 1:6, or 1 for" in carrier.err


def test_bytes_that_nobody_understands_are_shown_and_said(unmux, tmp_path):
    scapy = pytest.importorskip("scapy.all")
    path = tmp_path / "odd.pcap"
    ends = scapy.Ether() / scapy.IP(src="10.0.0.1", dst="10.0.0.2")
    there, back = {"sport": 1024, "dport": 80}, {"sport": 80, "dport": 1024}
    scapy.wrpcap(
        str(path),
        [
            ends / scapy.TCP(**there, flags="S", seq=0),
            scapy.Ether() / scapy.IP(src="10.0.0.2", dst="10.0.0.1") / scapy.TCP(**back, flags="SA", seq=0, ack=1),
            ends / scapy.TCP(**there, flags="A", seq=1, ack=1) / b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            ends / scapy.TCP(**there, flags="A", seq=28, ack=1) / b"no request\r\n\r\nand no more\r\n",
        ],
    )
    said = unmux("follow", path, 1)
    assert "fields\nGET / HTTP/1.1\nHost: x\n" in said.out
    assert "unknown\nno request\n\nand no more\n" in said.out
    assert "unmux: protocol error to server: required " in said.err


def test_an_answer_in_http1_to_a_client_that_speaks_http2_is_shown(unmux, samples):
    capture = samples / "http2" / "answered_in_http1.pcap"
    said = unmux("follow", capture, 1)
    assert ":path: /small.json\n" in said.out
    assert "unknown\nHTTP/1.1 400 Bad Request\nServer: nginx\n" in said.out
    assert said.out.endswith("</html>\n")
    assert "found an HTTP/1 response: HTTP/1.1 400 Bad Request" in said.err
    assert unmux("follow", capture, "1:0").out.startswith("→ to server")
    assert unmux("follow", capture, "1:0").out.splitlines()[1].startswith("00000000  50 52 49 20")


def test_bytes_are_held_only_so_long_before_something_in_them_is_understood(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    printer = Printer(source.console(), None)
    for _ in range(HELD_BYTES // 1000):
        printer.write(0, TO_SERVER, 0, "bytes", b"x" * 1000)
    assert capsys.readouterr().out == ""
    printer.write(0, TO_SERVER, 0, "bytes", b"y" * 1000)
    printer.write(1, TO_SERVER, 0, "fields", b"GET / HTTP/1.1\r\n\r\n")
    printer.write(0, TO_SERVER, 0, "bytes", b"z")
    printer.finish()
    out = capsys.readouterr().out
    assert out.count("x") == HELD_BYTES // 1000 * 1000
    assert out.endswith("yz\n")
    assert "GET" not in out


def test_a_broken_content_coding_is_said_and_what_follows_is_shown_as_sent(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    printer = Printer(source.console(), 1)
    printer.write(1, TO_CLIENT, 0, "fields", b":status: 200\ncontent-encoding: gzip\n")
    printer.write(1, TO_CLIENT, 0, "content", b"no gzip at all")
    printer.write(1, TO_CLIENT, 0, "content", b", more")
    printer.write(1, TO_CLIENT, 0, "fields", b"grpc-status: 0\n")
    printer.finish()
    out = capsys.readouterr().out
    assert re.search(r"\n\(gzip: .*: from here on as sent\)\n← to client .* content\nno gzip at all, more\n←", out)


def test_the_codings_of_a_content_are_found_whatever_blanks_surround_them(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    printer = Printer(source.console(), 1)
    blanks = b" \t" * 100_000
    fields = b"HTTP/1.1 200 OK\r\nContent-Encoding:" + blanks + b"gzip" + blanks + b"\r\nContent-Encoding:" + blanks + b"x\r\n"
    printer.write(1, TO_CLIENT, 0, "fields", fields.replace(b"x\r\n", b"identity \r\n"))
    printer.write(1, TO_CLIENT, 0, "content", gzip.compress(b"what was sent"))
    printer.finish()
    assert capsys.readouterr().out.endswith("content\nwhat was sent\n")


def test_a_pipe_that_is_closed_ends_following_quietly(process, samples):
    child = process("follow", samples / "http1" / "until_close.pcap", "1")
    child.stdout.readline()
    child.stdout.close()
    told = [line for line in child.stderr.read().splitlines() if "plain Python" not in line]
    assert (child.wait(), told) == (0, [])


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("2", "there is no connection 2; `unmux tree` lists"),
        ("1:7", "connection 1 has no stream 7; its streams are 0 to 1"),
        ("1099511627777", "there is no connection 1/1"),
        ("1/1", "there is no connection 1/1"),
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
