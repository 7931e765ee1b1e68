"""Captures that are read while they are written."""

import os
import threading
from pathlib import Path

import pytest

from analyzer.capture.capture_set import CaptureSet
from analyzer.capture.following import FollowedFolder, open_growing
from analyzer.capture.key_logs import FollowedKeyLog
from analyzer.errors import CaptureError

SAMPLES = Path(__file__).resolve().parents[2] / "sample_pcaps"


def packets(captures):
    found = []
    while (reader := captures.next()) is not None:
        found.append((reader.timestamp, reader.data[reader.offset : reader.offset + reader.captured_length]))
    return found


@pytest.fixture(params=["http1/keep_alive.pcap", "demo.pcapng"])
def sample(request):
    return SAMPLES / request.param


@pytest.mark.parametrize("step", [7, 1000])
def test_a_file_that_grows_gives_the_packets_of_the_whole_one(sample, step, tmp_path):
    whole = sample.read_bytes()[:20_000]
    path = tmp_path / "growing"
    path.write_bytes(b"")
    (tmp_path / "whole").write_bytes(whole)
    expected = packets(CaptureSet([str(tmp_path / "whole")]))
    written = []

    def idle():
        if len(written) * step >= len(whole):
            written.append(b"")
            return len(written) * step < len(whole) + 3 * step
        with path.open("ab") as file:
            file.write(whole[len(written) * step :][:step])
        written.append(b"")
        return True

    reader = open_growing(str(path), idle)
    assert packets(CaptureSet([], readers=[reader])) == expected


def test_a_pipe_is_read_as_it_comes_to_its_end(sample, tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(sample.read_bytes(),))
    writer.start()
    found = packets(CaptureSet([], readers=[open_growing(str(fifo), lambda: True)]))
    writer.join()
    assert found == packets(CaptureSet([str(sample)]))


def test_a_pipe_that_is_silent_ends_when_that_is_wanted(tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    kept = os.open(fifo, os.O_RDWR)
    os.write(kept, (SAMPLES / "http1/keep_alive.pcap").read_bytes()[:500])
    calls = []

    def idle():
        calls.append(1)
        return len(calls) < 5

    found = packets(CaptureSet([], readers=[open_growing(str(fifo), idle)]))
    os.close(kept)
    assert 0 < len(found) < 10


def test_a_file_that_is_cut_while_it_is_read_ends_there(tmp_path):
    path = tmp_path / "cut.pcap"
    path.write_bytes((SAMPLES / "http1/keep_alive.pcap").read_bytes())

    def idle():
        if captures.readers and captures.readers[0].packets:
            path.write_bytes(b"")
        return True

    captures = CaptureSet([])
    captures = CaptureSet([], readers=[open_growing(str(path), idle)])
    packets(captures)
    assert "cut, or written anew" in captures.readers[0].truncation


def test_files_of_a_folder_are_read_in_the_order_in_which_they_were_written(tmp_path):
    whole = (SAMPLES / "http1/keep_alive.pcap").read_bytes()
    header, rest = whole[:24], whole[24:]
    expected = packets(CaptureSet([str(SAMPLES / "http1/keep_alive.pcap")]))
    records = []
    while rest:
        length = 16 + int.from_bytes(rest[8:12], "little")
        records.append(rest[:length])
        rest = rest[length:]
    third = len(records) // 3
    parts = [records[:third], records[third : 2 * third], records[2 * third :]]
    (tmp_path / "notes.txt").write_bytes(b"no capture at all " * 10)
    names = ["c.pcap", "a.pcap", "b.pcap"]  # not in the order of their names
    for number, (name, part) in enumerate(zip(names[:2], parts[:2], strict=True)):
        (tmp_path / name).write_bytes(header + b"".join(part))
        os.utime(tmp_path / name, (1000 + number, 1000 + number))
    steps = iter(range(1000))

    def idle():
        step = next(steps)
        if step == 20:  # the writer goes on
            (tmp_path / names[2]).write_bytes(header + b"".join(parts[2]))
        return step < 60

    captures = FollowedFolder(str(tmp_path), idle)
    assert packets(captures) == expected
    assert [Path(reader.name).name for reader in captures.readers] == names
    assert [reader.capture_index for reader in captures.readers] == [0, 1, 2]


def test_a_name_that_is_written_again_is_read_again(tmp_path):
    whole = (SAMPLES / "http1/keep_alive.pcap").read_bytes()
    path = tmp_path / "ring0.pcap"
    path.write_bytes(whole)
    steps = iter(range(1000))

    def idle():
        step = next(steps)
        if step == 20:
            later = bytearray(whole)
            later[24:28] = (int.from_bytes(whole[24:28], "little") + 5).to_bytes(4, "little")
            (tmp_path / "ring1.pcap").write_bytes(later)
        if step == 50:
            later = bytearray(whole)
            later[24:28] = (int.from_bytes(whole[24:28], "little") + 9).to_bytes(4, "little")
            path.write_bytes(later)
        return step < 120

    captures = FollowedFolder(str(tmp_path), idle)
    count = len(packets(captures))
    assert [Path(reader.name).name for reader in captures.readers] == ["ring0.pcap", "ring1.pcap", "ring0.pcap"]
    assert count == 3 * len(packets(CaptureSet([str(SAMPLES / "http1/keep_alive.pcap")])))


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(CaptureError, match="required a folder that can be read"):
        FollowedFolder(str(tmp_path / "none"), lambda: True)


def test_keys_are_taken_when_their_line_is_whole_and_the_file_may_come_late(tmp_path):
    blocks = []
    log = FollowedKeyLog(str(tmp_path / "keys"), blocks)
    log.look()
    assert blocks == []
    with (tmp_path / "keys").open("wb") as file:
        for written, expected in ((b"one\ntw", [b"one"]), (b"o\n", [b"one", b"two"]), (b"", [b"one", b"two"])):
            file.write(written)
            file.flush()
            log.look()
            assert blocks == expected
    log.close()
