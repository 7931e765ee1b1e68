"""What captures that are made of a capture say of packets it lost."""

import analyzer
from analyzer.capture.capture_set import CaptureSet
from analyzer.capture.pcapng_writer import PcapngWriter
from analyzer.slicing import copy, mark

RAW_IP = 101
SECOND = 1_000_000_000


def datagram(port):
    ends = bytes((10, 0, 0, 1, 10, 0, 0, 2))
    return bytes.fromhex("4500001d 00004000 40110000") + ends + port.to_bytes(2, "big") + bytes.fromhex("0035 0009 0000 61")


def lost(path):
    with analyzer.analyze(path) as store:
        return dict(store.sql("SELECT client_port, dropped_packets FROM connections").fetchall())


def going_on(_bytes_read):
    return True


def test_all_packets_copied_keep_what_was_lost_before_them(unmux, tmp_path):
    path = tmp_path / "captured.pcapng"
    with path.open("wb") as file:
        writer = PcapngWriter(file)
        number = writer.interface(RAW_IP, 0, "eth0")
        for second, port, before in ((1, 1, 0), (2, 2, 5), (3, 3, 7), (4, 1, -1), (200, 4, 2), (201, 5, 1), (202, 6, -1)):
            writer.packet(number, second * SECOND, datagram(port), 29, before)
        writer.statistics(number, 202 * SECOND, None, 19)
    expected = {1: 12, 2: 7, 3: 0, 4: 5, 5: 4, 6: 4}
    assert lost(path) == expected
    (tmp_path / "keys.log").write_text("CLIENT_RANDOM " + "5e" * 32 + " " + "c7" * 48)
    assert unmux("keys", path, "--keylog", tmp_path / "keys.log", "-w", tmp_path / "keys.pcapng").status == 0
    assert lost(tmp_path / "keys.pcapng") == expected
    # a part does not say when: what lay between its packets, and what behind a flow's last one, is not known from it
    part = tmp_path / "part.pcapng"
    marks = mark(CaptureSet([str(path)]), {1, 2}, going_on)
    with part.open("wb") as file:
        copy(CaptureSet([str(path)]), marks, PcapngWriter(file), going_on)
    assert lost(part) == {1: None, 2: None}
