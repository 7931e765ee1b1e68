"""Several captures as one: order of time, what is open when, folders and globs."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.capture.capture_set import CaptureSet
from analyzer.errors import CaptureError

SECOND = 1_000_000_000


def write(files, path, times):
    """A pcap whose packets come at these seconds, each with its path and place as data."""
    written = files.Pcap()
    for number, time in enumerate(times):
        written.packet(time, 0, f"{path.name}:{number}".encode())
    path.write_bytes(written.bytes)
    return path


def model(inputs):
    """The order that a merge must give, slowly: of the inputs' next packets, the earliest, of the lowest input."""
    order = sorted(range(len(inputs)), key=lambda number: inputs[number][0] if inputs[number] else 1 << 62)
    left = [list(enumerate(inputs[number])) for number in order]
    merged = []
    while any(left):
        index = min((number for number in range(len(left)) if left[number]), key=lambda number: left[number][0][1])
        place, time = left[index].pop(0)
        merged.append((index, order[index], place, time))
    return merged


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.integers(0, 12), max_size=6), min_size=1, max_size=5))
def test_packets_of_several_files_come_in_the_order_of_the_model(files, tmp_path_factory, inputs):
    folder = tmp_path_factory.mktemp("set")
    paths = [write(files, folder / f"{number}", times) for number, times in enumerate(inputs)]
    merged, captures = files.merged(paths)
    assert [(index, packet.data, packet.timestamp) for index, packet in merged] == [
        (index, f"{number}:{place}".encode(), time * SECOND) for index, number, place, time in model(inputs)
    ]
    assert [reader.capture_index for reader in captures.readers] == list(range(len(inputs)))
    assert captures.bytes_read == captures.size == sum(path.stat().st_size for path in paths)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 100), min_size=1, max_size=5), min_size=2, max_size=4), st.randoms())
def test_the_order_in_which_files_with_different_beginnings_are_named_does_not_matter(files, tmp_path_factory, inputs, random):
    inputs = [[1000 * number, *(1000 * number + time for time in times)] for number, times in enumerate(inputs)]
    folder = tmp_path_factory.mktemp("set")
    paths = [write(files, folder / f"{number}", times) for number, times in enumerate(inputs)]
    merged, _ = files.merged(paths)
    random.shuffle(paths)
    assert files.merged(paths)[0] == merged


def test_numbers_continue_where_a_store_left_off(files, tmp_path):
    paths = [write(files, tmp_path / name, [time]) for name, time in (("b", 2), ("a", 1))]
    merged, captures = files.merged(paths, 7)
    assert [(index, packet.data) for index, packet in merged] == [(7, b"a:0"), (8, b"b:0")]
    assert [reader.record().capture_index for reader in captures.readers] == [7, 8]


def open_files():
    return len(os.listdir("/dev/fd"))  # noqa: PTH208


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="the system does not list open files")
def test_of_a_rotated_set_only_the_files_that_overlap_are_open(files, tmp_path):
    paths = [write(files, tmp_path / f"{number:02}", [number * 10, number * 10 + 11]) for number in range(30)]
    before = open_files()
    captures = CaptureSet([str(path) for path in paths])
    assert open_files() == before
    most = 0
    times = []
    while (reader := captures.next()) is not None:
        times.append(reader.timestamp)
        most = max(most, open_files() - before)
    assert len(times) == 60
    assert times == sorted(times)
    assert most == 2
    assert open_files() == before


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="the system does not list open files")
def test_closing_a_set_early_releases_its_files(files, tmp_path):
    paths = [write(files, tmp_path / f"{number}", [1, 2, 3]) for number in range(3)]
    before = open_files()
    captures = CaptureSet([str(path) for path in paths])
    assert captures.next() is not None
    assert captures.next() is not None
    captures.close()
    assert open_files() == before
    assert captures.next() is None
    assert [reader.truncation for reader in captures.readers] == [None] * len(captures.readers)


def test_a_folder_is_searched_for_captures_and_everything_else_in_it_is_left_out(files, tmp_path):
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    write(files, tmp_path / "z.pcap", [1])
    write(files, tmp_path / "deep/er/no-suffix", [2])
    write(files, tmp_path / "deep/.partial.pcap", [3])
    write(files, tmp_path / ".hidden/a.pcap", [4])
    (tmp_path / "notes.pcap").write_text("not a capture")
    (tmp_path / "empty").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    merged, captures = files.merged([tmp_path])
    assert [packet.data for _, packet in merged] == [b"z.pcap:0", b"no-suffix:0"]
    assert [reader.name for reader in captures.readers] == [f"{tmp_path}/z.pcap", f"{tmp_path}/deep/er/no-suffix"]
    assert captures.unreadable == [
        f"{tmp_path}/notes.pcap: required a pcap or pcapng file, plain or in gzip, zstd or xz, found 6e 6f 74 20 61 20 63 61"
    ]


def test_a_link_that_leads_nowhere_and_is_named_like_a_capture_is_taken_down(files, tmp_path):
    write(files, tmp_path / "good", [1])
    (tmp_path / "gone.pcapng.gz").symlink_to("nowhere")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    merged, captures = files.merged([tmp_path])
    assert len(merged) == 1
    assert captures.unreadable == [
        f"{tmp_path}/gone.pcapng.gz: required a file that can be read, found: No such file or directory"
    ]


def test_of_several_inputs_those_that_cannot_be_read_may_be_left_out_as_long_as_one_can(files, tmp_path):
    good = str(write(files, tmp_path / "good", [1]))
    (tmp_path / "bad").write_text("no capture")
    bad, gone, matches = str(tmp_path / "bad"), str(tmp_path / "gone"), str(tmp_path / "*.none")
    captures = CaptureSet([bad, gone, matches, good], skips_unreadable=True)
    assert captures.next() is not None
    captures.close()
    assert [line.partition(": required")[0] for line in captures.unreadable] == [bad, gone, matches]
    with pytest.raises(CaptureError) as error:
        CaptureSet([bad, gone], skips_unreadable=True)
    assert [line.partition(": required")[0] for line in str(error.value).splitlines()] == [bad, gone]
    with pytest.raises(CaptureError):
        CaptureSet([bad, good])


def test_a_capture_with_a_broken_header_in_a_folder_is_named_and_the_others_are_read(files, tmp_path):
    write(files, tmp_path / "good", [1])
    (tmp_path / "cut").write_bytes(files.Pcap().bytes[:20])
    merged, captures = files.merged([tmp_path])
    assert len(merged) == 1
    assert captures.unreadable == [f"{tmp_path}/cut: required a pcap file header of 24 bytes, found 20"]


def test_a_folder_without_captures_is_an_error(tmp_path):
    (tmp_path / "notes").write_text("nothing")
    with pytest.raises(CaptureError) as error:
        CaptureSet([str(tmp_path)])
    assert str(error.value) == f"{tmp_path}: required a folder with captures, found none in 1 files"


def test_globs_are_expanded_in_order_and_folders_they_match_are_searched(files, tmp_path):
    for name in ("b.pcap", "a.pcap", "c.other", "[x].pcap"):
        write(files, tmp_path / name, [1])
    (tmp_path / "d.pcap").mkdir()
    write(files, tmp_path / "d.pcap/inside", [1])
    merged, _ = files.merged([tmp_path / "?.pcap"])
    assert [packet.data for _, packet in merged] == [b"a.pcap:0", b"b.pcap:0", b"inside:0"]
    merged, _ = files.merged([f"{tmp_path}/**/ins*"])
    assert [packet.data for _, packet in merged] == [b"inside:0"]
    merged, _ = files.merged([tmp_path / "[x].pcap"])
    assert [packet.data for _, packet in merged] == [b"[x].pcap:0"], "a file of that very name comes first"


def test_a_glob_that_matches_nothing_is_an_error(tmp_path):
    with pytest.raises(CaptureError) as error:
        CaptureSet([f"{tmp_path}/*.pcap"])
    assert str(error.value) == f"{tmp_path}/*.pcap: required a file that matches, found none"


def test_a_file_that_is_named_twice_is_read_once(files, tmp_path):
    path = write(files, tmp_path / "a", [1])
    (tmp_path / "link").symlink_to(path)
    merged, _ = files.merged([path, tmp_path, tmp_path / "link"])
    assert len(merged) == 1


def test_one_bad_file_among_good_ones_is_an_error_before_anything_is_read(files, tmp_path):
    good = write(files, tmp_path / "good", [1])
    (tmp_path / "bad").write_text("not a capture")
    with pytest.raises(CaptureError, match=r"bad: required a pcap or pcapng file"):
        CaptureSet([str(good), str(tmp_path / "bad")])


def test_a_file_that_vanishes_before_its_turn_is_reported_and_the_others_are_read(files, tmp_path):
    paths = [write(files, tmp_path / f"{number}", [number]) for number in range(3)]
    captures = CaptureSet([str(path) for path in paths])
    paths[1].unlink()
    times = []
    while (reader := captures.next()) is not None:
        times.append(reader.timestamp)
    assert times == [0, 2 * SECOND]
    record = captures.readers[1].record()
    assert (record.name, record.packets, record.format) == (str(paths[1]), 0, None)
    assert record.truncation == f"{paths[1]}: required a file that can be read, found: No such file or directory"


def test_damage_in_one_file_does_not_end_the_others(files, tmp_path):
    whole = write(files, tmp_path / "whole", [1, 3, 5])
    cut = write(files, tmp_path / "cut", [2, 4])
    cut.write_bytes(cut.read_bytes()[:-1])
    merged, captures = files.merged([whole, cut])
    assert [packet.timestamp // SECOND for _, packet in merged] == [1, 2, 3, 5]
    assert [reader.truncation is None for reader in captures.readers] == [True, False]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_in_a_folder_is_named_and_the_rest_is_read(files, tmp_path):
    write(files, tmp_path / "good", [1])
    write(files, tmp_path / "secret", [2]).chmod(0)
    (tmp_path / "closed").mkdir(mode=0)
    merged, captures = files.merged([tmp_path])
    assert len(merged) == 1
    assert sorted(captures.unreadable) == [
        f"{tmp_path}/closed: required a folder that can be read, found: Permission denied",
        f"{tmp_path}/secret: required a file that can be read, found: Permission denied",
    ]
