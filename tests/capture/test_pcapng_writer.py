"""What is written, read back by this reader, by dpkt's, and by Wireshark's programs where they are installed."""

import io
import shutil
import struct
import subprocess

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.capture.pcapng_writer import PcapngWriter
from analyzer.capture.reader import Interface

SECOND = 1_000_000_000
FRAME = bytes.fromhex("ffffffffffff0200000000010800") + bytes(46)
KEYS = b"CLIENT_RANDOM " + b"ab" * 32 + b" " + b"cd" * 48 + b"\n"


def written(scratch, write):
    with scratch.open("wb") as file:
        write(PcapngWriter(file))
    return scratch


def test_packets_interfaces_secrets_and_drops_are_read_back_as_written(files, scratch):
    def write(writer):
        first = writer.interface(1, 262_144, "eth0")
        second = writer.interface(113, 0, None)
        assert (first, second) == (0, 1)
        assert writer.interface(1, 262_144, "eth0") == first
        writer.secrets(KEYS)
        writer.packet(first, 1_700_000_000 * SECOND + 123_456_789, FRAME, 1500)
        writer.packet(second, 1_700_000_001 * SECOND, b"12345", 5)
        assert writer.interface(1, 96, "eth0") == 2
        writer.packet(2, (1 << 62) - 1, b"", 0, 3)
        writer.secrets(KEYS)
        writer.statistics(first, 1_700_000_002 * SECOND, 20, 7)
        writer.statistics(second, 1_700_000_002 * SECOND, 1, None)

    packets, reader = files.read(written(scratch, write))
    assert packets == [
        files.Packet(1, 1_700_000_000_123_456_789, FRAME, 1500, 1, 0),
        files.Packet(2, 1_700_000_001 * SECOND, b"12345", 5, 113, 1),
        files.Packet(3, (1 << 62) - 1, b"", 0, 1, 2),
    ]
    assert (reader.truncation, reader.secrets) == (None, [KEYS, KEYS])
    assert [row.kind for row in reader.anomalies] == ["clock_leap"]
    assert [interface_of(each) for each in reader.interfaces] == [(1, "eth0", 7), (113, None, None), (1, "eth0", 3)]


def test_what_is_said_of_an_interface_twice_adds_up(files, scratch):
    def write(writer):
        interface = writer.interface(1, 0, "eth0")
        writer.packet(interface, SECOND, FRAME, 60)
        writer.statistics(interface, SECOND, 20, 5)
        writer.statistics(writer.interface(1, 0, "eth0"), 2 * SECOND, 30, None)
        writer.statistics(interface, 2 * SECOND, None, 7)

    _, reader = files.read(written(scratch, write))
    assert [each.dropped for each in reader.interfaces] == [12]


def interface_of(interface: Interface):
    return interface.link_type, interface.name, interface.dropped


PACKETS = st.lists(st.tuples(st.integers(0, (1 << 62) - 1), st.binary(max_size=70), st.integers(0, 1000)), max_size=8)


@given(PACKETS)
@settings(max_examples=60, deadline=None)
def test_dpkt_reads_the_same_packets(packets):
    file = io.BytesIO()
    writer = PcapngWriter(file)
    number = writer.interface(1, 65_535, "any name")
    for timestamp, data, more in packets:
        writer.packet(number, timestamp, data, len(data) + more)
    file.seek(0)
    reader = dpkt.pcapng.Reader(file)
    read = list(reader)
    assert (reader.datalink(), reader.snaplen) == (1, 65_535)
    assert [data for _, data in read] == [data for _, data, _ in packets]
    # dpkt gives times as floats of some 200 ns at best
    assert all(
        abs(float(time) - timestamp / SECOND) <= 1e-6 * max(1, timestamp / SECOND / 1e9)
        for (time, _), (timestamp, _, _) in zip(read, packets, strict=True)
    )


def test_a_file_that_ends_after_any_block_is_whole(files, scratch):
    file = io.BytesIO()
    writer = PcapngWriter(file)
    ends = [file.tell()]
    for step in (
        lambda: writer.interface(1, 0, "lo"),
        lambda: writer.secrets(KEYS),
        lambda: writer.packet(0, SECOND, b"abc", 3),
        lambda: writer.packet(0, 2 * SECOND, b"abcde", 9),
        lambda: writer.statistics(0, 2 * SECOND, 2, 0),
    ):
        step()
        ends.append(file.tell())
    for end, count in zip(ends, (0, 0, 0, 1, 2, 2), strict=True):
        assert end % 4 == 0
        scratch.write_bytes(file.getvalue()[:end])
        packets, reader = files.read(scratch)
        assert (len(packets), reader.truncation) == (count, None)


def test_blocks_are_as_the_draft_draws_them():
    file = io.BytesIO()
    writer = PcapngWriter(file)
    before = file.tell()
    writer.packet(3, 0x0123456789ABCDEF, b"abcde", 9)
    fixed = struct.pack("<7I", 6, 40, 3, 0x01234567, 0x89ABCDEF, 5, 9)
    assert file.getvalue()[before:] == fixed + b"abcde\0\0\0" + struct.pack("<I", 40)
    before = file.tell()
    writer.packet(3, 0x0123456789ABCDEF, b"abcde", 9, 7)
    fixed = struct.pack("<7I", 6, 56, 3, 0x01234567, 0x89ABCDEF, 5, 9)
    options = struct.pack("<HHQHH", 4, 8, 7, 0, 0)
    assert file.getvalue()[before:] == fixed + b"abcde\0\0\0" + options + struct.pack("<I", 56)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_wireshark_reads_packets_interfaces_and_drops(scratch):
    def write(writer):
        number = writer.interface(1, 262_144, "eth0")
        writer.secrets(KEYS)
        writer.packet(number, 1_700_000_000 * SECOND + 123_456_789, FRAME, 1500, 7)
        writer.packet(writer.interface(1, 96, "wlan0"), 1_700_000_001 * SECOND, FRAME, 60)
        writer.statistics(number, 1_700_000_002 * SECOND, 20, 7)

    path = str(written(scratch, write))
    fields = ("frame.time_epoch", "frame.cap_len", "frame.len", "frame.interface_name", "frame.drop_count")
    asked = [word for field in fields for word in ("-e", field)]
    shown = subprocess.run(["tshark", "-n", "-r", path, "-T", "fields", *asked], check=True, capture_output=True, text=True)
    assert shown.stdout.splitlines() == ["1700000000.123456789\t60\t1500\teth0\t7", "1700000001.000000000\t60\t60\twlan0\t"]
    told = subprocess.run(["capinfos", path], check=True, capture_output=True, text=True).stdout
    words = " ".join(told.split())
    for line in (
        "Number of decryption secrets in file: 1",
        "Capture length = 96 Time precision = nanoseconds (9)",
        "Number of stat entries = 1",
    ):
        assert line in words
