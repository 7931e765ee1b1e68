"""What streams carried, as files."""

import base64
import hashlib
import json
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import analyzer
from analyzer.commands import contents
from analyzer.commands.contents import HELD_BYTES, Folder, Part, suffix_of, word_of
from analyzer.text import text_to_bytes

CAPTURES = [
    *("http1/chunked_trailers.pcap", "http1/connect_tunnel.pcap", "http1/content_codings.pcap", "http1/expect_continue.pcap"),
    *("http2/h2c_upgrade.pcap", "http2/joined_late.pcap", "http2/rst_stream.pcap", "http2/server_push.pcap"),
    *("tcp/loss_after_capture.pcap", "tls/http1_and_http2.pcapng", "websocket/over_http2.pcap"),
]


@pytest.fixture
def extract(unmux, tmp_path):
    """Extracts, and returns the folder and its index."""

    def run(*arguments):
        folder = tmp_path / "contents"
        said = unmux("extract", *arguments, "--to", folder)
        assert (said.status, said.out) == (0, "")
        index = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
        assert {path.name for path in folder.iterdir()} == {"index.jsonl", *(line["file"] for line in index)}
        for line in index:
            data = (folder / line["file"]).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (line["bytes"], line["sha256"])
        return folder, index

    return run


@pytest.mark.parametrize("name", CAPTURES)
def test_contents_are_those_that_are_stored(extract, samples, name):
    path = samples / name
    folder, index = extract(path)
    found = {
        (line["connection_id"], line["stream_index"], line["exchange_index"], line["side"]): (
            (folder / line["file"]).read_bytes(),
            line["is_decoded"],
            line["is_complete"],
        )
        for line in index
        if line["kind"] == "content"
    }
    with analyzer.analyze(path, content="store") as store:
        rows = store.sql("FROM http_contents WHERE content <> ''").fetchall()
    assert found == {row[:4]: (text_to_bytes(row[4]), *row[5:]) for row in rows}


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("name", ["keep_alive", "chunked_trailers", "pipelining", "until_close"])
def test_contents_are_those_that_tshark_exports(extract, samples, tmp_path, name):
    path = samples / "http1" / f"{name}.pcap"
    subprocess.run(["tshark", "-r", path, "--export-objects", f"http,{tmp_path / 'theirs'}"], capture_output=True, check=True)
    theirs = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in (tmp_path / "theirs").iterdir())
    assert sorted(line["sha256"] for line in extract(path)[1]) == theirs


def test_contents_are_called_after_their_place_and_target(extract, samples):
    _, index = extract(samples / "http1" / "keep_alive.pcap")
    assert [(line["file"], line["target"], line["content_type"]) for line in index][:2] == [
        ("1-0-0-response-index.html", "/index.html", "text/html"),
        ("1-0-1-response-item_json.txt", "/item.json", "text/plain"),
    ]
    assert all(line["is_complete"] and line["is_decoded"] and line["status"] == 200 for line in index)


def test_messages_are_lines_and_large_ones_files_of_their_own(extract, samples):
    folder, index = extract(samples / "websocket" / "large_message.pcap")
    large, lines = sorted(index, key=lambda line: line["kind"])
    assert (large["kind"], large["message_index"], large["side"], large["bytes"]) == ("message", 0, "to_client", 70_000)
    messages = [json.loads(line) for line in (folder / lines["file"]).read_text().splitlines()]
    assert messages[0]["file"] == large["file"]
    assert [message["opcode"] for message in messages][-2:] == ["close", "close"]


def test_messages_are_those_of_the_table(extract, samples):
    path = samples / "websocket" / "text_binary_ping_close.pcap"
    folder, index = extract(path)
    messages = []
    for line in index:
        if line["kind"] == "messages":
            for each in (folder / line["file"]).read_text().splitlines():
                messages.append(((line["connection_id"], line["stream_index"]), json.loads(each)))
    with analyzer.analyze(path, content="store") as store:
        rows = store.sql(
            "SELECT connection_id, stream_index, message_index, direction, opcode, text, payload, close_code FROM websocket_messages"
        ).fetchall()
    assert len(messages) == len(rows) > 10
    told = {(*stream, message["message_index"]): message for stream, message in messages}
    for connection, stream, index_of, direction, opcode, text, payload, close_code in rows:
        message = told[connection, stream, index_of]
        assert (message["direction"], message["opcode"], message.get("close_code")) == (direction, opcode, close_code)
        whole = (folder / message["file"]).read_bytes() if "file" in message else None
        if opcode == "text":
            assert text == (message["text"] if whole is None else whole.decode())
        if opcode == "binary" and payload is not None:
            assert text_to_bytes(payload) == (base64.b64decode(message["base64"]) if whole is None else whole)


def test_bytes_that_nobody_understands_are_a_file_each_way(extract, samples):
    _, index = extract(samples / "tcp" / "half_close.pcap")
    assert [(line["file"], line["kind"], line["bytes"]) for line in index] == [
        ("1-0-to_server.bin", "bytes", 5000),
        ("1-0-to_client.bin", "bytes", 6000),
    ]


def test_only_what_is_asked_for_is_written(extract, demo):
    _, index = extract(demo, "--where", "target LIKE '%/cart'")
    assert [(line["target"], line["status"]) for line in index] == [("/cart", 502)]


def test_the_messages_of_a_wanted_handshake_are_wanted(extract, demo):
    _, index = extract(demo, "--where", "status = '101'")
    assert [line["kind"] for line in index] == ["messages"]


def test_a_store_is_extracted_from_its_captures(unmux, extract, samples, demo, tmp_path):
    store = tmp_path / "out.duckdb"
    unmux("analyze", demo, "-qo", store)
    unmux("analyze", samples / "http1" / "keep_alive.pcap", "-q", "--append", "-o", store)
    _, index = extract(store, "--where", "target LIKE '%/index.html'")
    assert [line["file"] for line in index] == ["16-0-0-response-index.html", "1_1-0-0-response-index.html"]


def test_standard_input_will_do_without_a_condition(process, demo, tmp_path):
    with Path(demo).open("rb") as file:
        child = process("extract", "-", "--to", tmp_path / "contents", stdin=file)
        _, err = child.communicate()
    assert child.returncode == 0, err
    assert (tmp_path / "contents" / "44-0-2-response-cart.html").is_file()


def test_secrets_of_targets_are_masked_in_the_index_and_in_no_name(extract, http_capture, tmp_path):
    path = tmp_path / "a.pcap"
    path.write_bytes(http_capture(b"/a/b?access_token=s3cret"))
    _, index = extract(path)
    assert index[0]["file"] == "1-0-0-response-b.bin"
    assert index[0]["target"].startswith("/a/b?access_token=<masked:")
    _, index = extract(path, "--show-secrets", "--force")
    assert index[0]["target"] == "/a/b?access_token=s3cret"


@pytest.mark.parametrize(
    "target",
    [
        b"/../../../etc/passwd",
        b"/..%2f..%2fetc/passwd",
        b"/a/..",
        b"/C:\\windows\\system.ini",
        b"/\xff\xfe\x01\x1b[2J",
        b"/" + b"x" * 5000,
        b"/.ssh",
        b"/-rf",
        b"/index.jsonl",
    ],
)
def test_no_target_leads_out_of_the_folder(extract, http_capture, tmp_path, target):
    path = tmp_path / "a.pcap"
    path.write_bytes(http_capture(target))
    folder, index = extract(path)
    (line,) = index
    assert line["file"].startswith("1-0-0-response")
    assert len(line["file"]) < 80
    assert (folder / line["file"]).read_bytes() == b"content"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.pcap", "contents"]


def test_links_are_replaced_and_not_followed(unmux, samples, tmp_path):
    folder, outside = tmp_path / "contents", tmp_path / "outside"
    folder.mkdir()
    outside.write_text("mine")
    for name in ("1-0-0-response-index.html", "index.jsonl"):
        (folder / name).symlink_to(outside)
    path = samples / "http1" / "keep_alive.pcap"
    refused = unmux("extract", path, "--to", folder)
    assert refused.status == 1
    assert "has something in it" in refused.err
    assert len(list(folder.iterdir())) == 2
    assert unmux("extract", path, "--to", folder, "--force").status == 0
    assert outside.read_text() == "mine"
    assert not any(entry.is_symlink() for entry in folder.iterdir())


def test_a_file_is_no_folder(unmux, demo, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert unmux("extract", demo, "--to", tmp_path / "file").status == 2
    assert unmux("extract", demo, "--to", tmp_path / "file" / "inside").status == 1


def test_a_disk_that_is_full_ends_it_and_leaves_no_half_files(process, demo, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    (tmp_path / "contents").mkdir()
    child = process("extract", demo, "--to", tmp_path / "contents", preexec_fn=limit)
    _, err = child.communicate()
    assert child.returncode == 1
    assert "File too large" in err
    assert "dissector" not in err
    assert all(path.stat().st_size <= 4096 and not path.name.startswith(".") for path in (tmp_path / "contents").iterdir())


def test_nothing_that_matches_leaves_no_folder(unmux, demo, tmp_path):
    said = unmux("extract", demo, "--to", tmp_path / "contents", "--where", "status = 'none'")
    assert (said.status, list(tmp_path.iterdir())) == (1, [])


def test_what_is_no_capture_leaves_no_folder(unmux, tmp_path):
    (tmp_path / "a.pcap").write_text("no capture")
    assert unmux("extract", tmp_path / "a.pcap", "--to", tmp_path / "contents").status == 1
    assert not (tmp_path / "contents").exists()


def test_a_capture_that_is_cut_off_is_extracted_up_to_there_with_a_warning(unmux, demo, tmp_path):
    (tmp_path / "a.pcapng").write_bytes(Path(demo).read_bytes()[:60_000])
    said = unmux("extract", tmp_path / "a.pcapng", "--to", tmp_path / "contents")
    assert said.status == 0
    assert "a.pcapng: packet" in said.err
    index = [json.loads(line) for line in (tmp_path / "contents" / "index.jsonl").read_text().splitlines()]
    assert any(line["is_complete"] for line in index)


def test_bytes_that_are_encrypted_are_left_out(extract, samples, tmp_path):
    encrypted = (samples / "tls" / "nghttpd.pcapng").read_bytes()
    block = encrypted.index((10).to_bytes(4, "little"), 28)
    size = int.from_bytes(encrypted[block + 4 : block + 8], "little")
    path = tmp_path / "a.pcapng"
    path.write_bytes(encrypted[:block] + encrypted[block + size :])
    assert extract(path)[1] == []


def test_parts_come_together_from_memory_and_files_however_many_are_open(tmp_path):
    with Folder(str(tmp_path / "to"), force=False) as folder:
        parts = [Part(folder) for _ in range(200)]
        for step in range(5):
            for number, part in enumerate(parts):
                part.write(bytes([step]) * (number * 50))
        for number, part in enumerate(parts):
            folder.keep(part, f"{number}", {})
        folder.finish()
    assert max(range(200)) * 250 > HELD_BYTES
    for number in range(200):
        assert (tmp_path / "to" / str(number)).read_bytes() == b"".join(bytes([step]) * (number * 50) for step in range(5))


def test_memory_for_small_parts_is_bounded_in_all(tmp_path):
    with Folder(str(tmp_path / "to"), force=False) as folder:
        room = contents.ALL_HELD_BYTES // HELD_BYTES
        parts = [Part(folder) for _ in range(room + 3)]
        for part in parts:
            part.write(bytes(HELD_BYTES))
        assert len(list((tmp_path / "to").glob(".unmux-*/[0-9]*"))) == 3
        assert [part.taken() for part in parts[-2:]] == [bytes(HELD_BYTES)] * 2
        for part in parts[:-2]:
            part.discard()
        assert folder.may_hold(contents.ALL_HELD_BYTES)
    assert list((tmp_path / "to").iterdir()) == []


@given(st.text(max_size=80), st.sampled_from(["", ".html", ".json"]))
def test_a_word_of_a_target_is_letters_digits_and_hyphens(target, suffix):
    word = word_of(target, suffix)
    assert len(word) <= 41
    assert word == "" or word[0] == "-"
    assert all(character.isascii() and (character.isalnum() or character in "_-") for character in word)


@pytest.mark.parametrize(
    ("content_type", "suffix"),
    [
        (None, ".bin"),
        ("", ".bin"),
        ("text/html; charset=utf-8", ".html"),
        ("Application/JSON", ".json"),
        ("application/problem+json", ".json"),
        ("text/x-unheard-of", ".txt"),
        ("../../etc", ".bin"),
        ("application/x+../evil", ".bin"),
    ],
)
def test_the_content_type_gives_the_suffix(content_type, suffix):
    assert suffix_of(content_type) == suffix
