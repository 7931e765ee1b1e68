"""What a capture that is made of several, or of a hostile one, says of packets they lost."""

import pytest

import analyzer
from analyzer import limits
from analyzer.capture.opening import open_capture
from analyzer.capture.pcapng_writer import PcapngWriter
from analyzer.capture.saving import Saver

RAW_IP = 101
SECOND = 1_000_000_000
COUNT = 0x0123_4567_89AB_CDEF  # stands for one that the writer does not write
KEY = b"CLIENT_RANDOM " + b"5e" * 32 + b" " + b"c7" * 48 + b"\n"  # without any there is nothing to join for


def datagram(port):
    ends = bytes((10, 0, 0, 1, 10, 0, 0, 2))
    return bytes.fromhex("4500001d 00004000 40110000") + ends + port.to_bytes(2, "big") + bytes.fromhex("0035 0009 0000 61")


def lost(paths):
    with analyzer.analyze(paths) as store:
        return dict(store.sql("SELECT client_port, dropped_packets FROM connections").fetchall())


@pytest.fixture
def join(unmux, tmp_path):
    """Makes one capture of several."""

    def run(*paths):
        joined = tmp_path / "joined.pcapng"
        assert unmux("keys", *paths, "-w", joined).status == 0
        return joined

    return run


def capture(path, packets, dropped, name="eth0", idle=0):
    """Write a capture of one interface, and another that lost ``idle`` packets and has none."""
    with path.open("wb") as file:
        writer = PcapngWriter(file)
        writer.secrets(KEY)
        number = writer.interface(RAW_IP, 0, name)
        for second, port, before in packets:
            writer.packet(number, second * SECOND, datagram(port), 29, before)
        writer.statistics(number, 300 * SECOND, None, dropped)
        if idle:
            writer.statistics(writer.interface(RAW_IP, 0, "eth1"), 300 * SECOND, None, idle)
    return path


@pytest.mark.parametrize("first", ["telling", "silent"])
def test_captures_of_which_one_does_not_tell_say_nothing_when_they_are_one(join, tmp_path, first):
    begin, other = (1, 2) if first == "telling" else (2, 1)
    telling = capture(tmp_path / "telling.pcapng", [(begin, 1, 0), (begin + 300, 2, 0)], 0)
    silent = capture(tmp_path / "silent.pcapng", [(other, 3, -1), (other + 300, 4, -1)], 1000)
    assert lost([telling, silent]) == {1: 0, 2: 0, 3: None, 4: None}
    assert lost(join(telling, silent)) == {1: None, 2: None, 3: None, 4: None}


def test_captures_that_all_tell_do_so_when_they_are_one(join, tmp_path):
    one = capture(tmp_path / "one.pcapng", [(1, 1, 0), (3, 2, 5)], 5)
    two = capture(tmp_path / "two.pcapng", [(2, 3, 1), (4, 4, -1)], 1, name="eth1")
    expected = {1: 6, 2: 0, 3: 5, 4: 0}
    assert lost([one, two]) == expected
    assert lost(join(one, two)) == expected


def test_an_interface_without_packets_keeps_what_it_dropped(join, tmp_path):
    path = capture(tmp_path / "captured.pcapng", [(1, 1, 0)], 0, idle=9)
    assert lost(path) == {1: None}
    assert lost(join(path)) == {1: None}


def test_counts_that_no_capture_can_have_are_kept_as_the_limit(unmux, join, tmp_path):
    path = capture(tmp_path / "captured.pcapng", [(1, 1, COUNT), (2, 1, COUNT)], COUNT)
    path.write_bytes(path.read_bytes().replace(COUNT.to_bytes(8, "little"), b"\xff" * 8))
    joined = join(path)
    assert unmux("slice", path, "--connection", 1, "-w", tmp_path / "slice.pcapng").status == 0
    reader = open_capture(str(path), limits.BLOCK_BYTES)
    saver = Saver(str(tmp_path / "saved.pcapng"))
    while reader.next():
        saver.packet(reader)
    saver.close([reader])
    reader.close()
    for each in (joined, tmp_path / "slice.pcapng", tmp_path / "saved.pcapng"):
        with analyzer.analyze(each) as store:
            assert store.sql("SELECT packets, dropped_packets FROM captures").fetchall() == [(2, None)]
            assert store.sql("SELECT dropped_packets FROM connections").fetchall() == [(None,)]
