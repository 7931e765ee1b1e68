"""pcapng files: blocks written by hand, and those of the pcapng test generator with the times that Wireshark shows."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer import limits
from analyzer.capture.capture_set import CaptureSet
from analyzer.capture.reader import UNTOLD, Losses
from analyzer.errors import CaptureError
from analyzer.records import CaptureRecord

SECOND = 1_000_000_000
MICROSECONDS = 1_700_000_000_123_456  # since the epoch

IF_NAME = 2
IF_DESCRIPTION = 3
IF_TSRESOL = 9
IF_TSOFFSET = 14


def interface_options(order, resolution=None, offset=None, name=None):
    options = []
    if name is not None:
        options.append((IF_NAME, name))
    if resolution is not None:
        options.append((IF_TSRESOL, bytes([resolution])))
    if offset is not None:
        options.append((IF_TSOFFSET, struct.pack(order + "q", offset)))
    return options


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_kind_of_packet_block_is_a_packet(files, scratch, order):
    written = files.Pcapng(order).interface(1, 4).interface(101)
    written.enhanced(1, MICROSECONDS, b"enhanced", 900).obsolete(1, 0xFFFF, MICROSECONDS + 1, b"obsolete")
    written.simple(b"simp", 60).enhanced(0, MICROSECONDS + 2, b"")
    scratch.write_bytes(written.bytes)
    packets, reader = files.read(scratch)
    assert packets == [
        files.Packet(1, MICROSECONDS * 1000, b"enhanced", 900, 101, 1),
        files.Packet(2, MICROSECONDS * 1000 + 1000, b"obsolete", 8, 101, 1),
        files.Packet(3, MICROSECONDS * 1000 + 1000, b"simp", 60, 1, 0),
        files.Packet(4, MICROSECONDS * 1000 + 2000, b"", 0, 1, 0),
    ]
    assert reader.record() == CaptureRecord(
        capture_index=0,
        name=str(scratch),
        format="pcapng",
        link_types="LINKTYPE_ETHERNET,LINKTYPE_RAW",
        packets=4,
        snapped_packets=2,
        untimed_packets=1,
        captured_bytes=20,
        original_bytes=968,
        first_packet_at=MICROSECONDS * 1000,
        last_packet_at=MICROSECONDS * 1000 + 2000,
    )


def test_sections_have_their_own_byte_order_and_interfaces(files, scratch):
    written = files.Pcapng("<").interface(1, 0, [(IF_NAME, b"eth0")]).enhanced(0, 1_000_000, b"a")
    written.section(">").interface(101, 0, [(IF_NAME, b"tun0\x00")]).interface(113, 0, [(IF_DESCRIPTION, b"any")])
    written.enhanced(1, 2_000_000, b"b").enhanced(0, 3_000_000, b"c")
    written.section("<").interface(1).enhanced(0, 4_000_000, b"d")
    scratch.write_bytes(written.bytes)
    packets, reader = files.read(scratch)
    assert packets == [
        files.Packet(1, SECOND, b"a", 1, 1, 0),
        files.Packet(2, 2 * SECOND, b"b", 1, 113, 2),
        files.Packet(3, 3 * SECOND, b"c", 1, 101, 1),
        files.Packet(4, 4 * SECOND, b"d", 1, 1, 3),
    ]
    assert [reader.interface_name(number) for number in range(5)] == ["eth0", "tun0", "any", None, None]
    record = reader.record()
    assert record.interfaces == "eth0,tun0,any"
    assert record.link_types == "LINKTYPE_ETHERNET,LINKTYPE_RAW,LINKTYPE_LINUX_SLL"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("resolution", "offset", "units", "nanoseconds"),
    [
        (None, None, 1_500_000, 1_500_000_000),
        (0, None, 7, 7 * SECOND),
        (3, None, 1_500, 1_500_000_000),
        (6, None, 1_500_001, 1_500_001_000),
        (9, None, (1 << 62) - 1, (1 << 62) - 1),
        (12, None, 1_999, 1),
        (127, None, 0xFFFFFFFFFFFFFFFF, 0),
        (0x80, None, 9, 9 * SECOND),
        (0x80 | 9, None, 512 + 1, SECOND + 1_953_125),
        (0x80 | 20, None, (5 << 20) + (1 << 19), 5 * SECOND + 500_000_000),
        (0x80 | 32, None, 0xFFFFFFFFFFFFFFFF, 4_294_967_295_999_999_999),
        (6, 1_700_000_000, 250_000, 1_700_000_000_250_000_000),
        (9, -100, 100 * SECOND + 1, 1),
        (0x80 | 1, 10, 3, 11_500_000_000),
    ],
)
def test_times_follow_the_resolution_and_offset_of_the_interface(files, scratch, order, resolution, offset, units, nanoseconds):
    written = files.Pcapng(order).interface(1, 0, interface_options(order, resolution, offset))
    scratch.write_bytes(written.enhanced(0, units, b"x").bytes)
    packets, reader = files.read(scratch)
    assert packets[0].timestamp == nanoseconds
    assert reader.record().untimed_packets == 0


@pytest.mark.parametrize(
    ("resolution", "offset", "units"),
    [
        (9, None, 1 << 62),
        (9, None, 0xFFFFFFFFFFFFFFFF),
        (6, None, 1 << 63),
        (6, None, (1 << 62) // 1000 + 1),
        (0, None, 0xFFFFFFFFFFFFFFFF),
        (6, 0x7FFFFFFFFFFFFFFF, 1),
        (6, -0x8000000000000000, 1),
        (6, -2, 1_999_999),
    ],
)
def test_a_time_out_of_range_is_no_time(files, scratch, resolution, offset, units):
    written = (
        files.Pcapng().interface(1, 0, interface_options("<", 6)).interface(1, 0, interface_options("<", resolution, offset))
    )
    written.enhanced(0, 3_000_000, b"a").enhanced(1, units, b"b").enhanced(0, 4_000_000, b"c")
    scratch.write_bytes(written.bytes)
    packets, reader = files.read(scratch)
    assert [packet.timestamp for packet in packets] == [3 * SECOND, 3 * SECOND, 4 * SECOND]
    record = reader.record()
    assert (record.untimed_packets, record.first_packet_at, record.last_packet_at) == (1, 3 * SECOND, 4 * SECOND)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.sampled_from([6, 9]), st.integers(0, 255)),
    st.sampled_from([0, 0, 1, -1, 1 << 40]),
    st.integers(0, 0xFFFFFFFFFFFFFFFF),
)
def test_times_are_those_of_exact_arithmetic(files, scratch, resolution, offset, units):
    divisor = 2 ** (resolution - 128) if resolution >= 128 else 10**resolution
    exact = units * SECOND // divisor + offset * SECOND
    written = files.Pcapng().interface(1, 0, interface_options("<", resolution, offset)).enhanced(0, units, b"")
    scratch.write_bytes(written.bytes)
    packets, reader = files.read(scratch)
    if 0 <= exact < limits.TIMESTAMP_NANOSECONDS:
        assert (packets[0].timestamp, reader.record().untimed_packets) == (exact, 0)
    else:
        assert (packets[0].timestamp, reader.record().untimed_packets) == (0, 1)


def test_unknown_blocks_are_skipped_however_long(files, scratch):
    written = files.Pcapng().interface().block(4, b"names").enhanced(0, 1, b"a")
    written.block(0x12345678, bytes(300_000)).enhanced(0, 2, b"b").block(0x80000001, b"")
    scratch.write_bytes(written.bytes)
    packets, reader = files.read(scratch)
    assert [(packet.frame, packet.data) for packet in packets] == [(1, b"a"), (2, b"b")]
    assert reader.truncation is None


def test_custom_and_journal_blocks_have_frame_numbers_as_in_wireshark(files, scratch):
    written = files.Pcapng().interface().block(0xBAD, bytes(8)).enhanced(0, 1, b"a")
    written.block(0x40000BAD, bytes(8)).block(9, b"MESSAGE=x\n").enhanced(0, 2, b"b")
    scratch.write_bytes(written.bytes)
    packets, reader = files.read(scratch)
    assert [(packet.frame, packet.data) for packet in packets] == [(2, b"a"), (5, b"b")]
    assert reader.record().packets == 2


def test_tls_secrets_are_kept_and_others_are_not(files, scratch):
    written = files.Pcapng(">").secrets(b"CLIENT_RANDOM 00 11\n").secrets(b"wireguard", 0x57474B4C).secrets(b"second")
    scratch.write_bytes(written.bytes)
    _, reader = files.read(scratch)
    assert reader.secrets == [b"CLIENT_RANDOM 00 11\n", b"second"]
    assert reader.anomalies == []


def test_secrets_longer_than_their_block_are_a_fault_that_does_not_stop_reading(files, scratch):
    written = files.Pcapng().interface().block(10, struct.pack("<II", 0x544C534B, 100) + b"abcd").enhanced(0, 1, b"a")
    scratch.write_bytes(written.bytes)
    packets, reader = files.read(scratch)
    assert [packet.data for packet in packets] == [b"a"]
    assert [(row.kind, row.required, row.found) for row in reader.anomalies] == [
        ("not_understood", "secrets of at most 4 bytes", "100")
    ]


@pytest.mark.parametrize("order", ["<", ">"])
def test_dropped_packets_are_those_of_the_last_statistics_of_each_interface(files, scratch, order):
    def counter(code, value):
        return code, struct.pack(order + "Q", value)

    written = files.Pcapng(order).interface().interface().interface()
    written.enhanced(0, 1, b"abc", None, [(1, b"note"), counter(4, 50)])
    written.statistics(0, [counter(5, 7)]).statistics(0, [counter(4, 99), counter(5, 10), counter(7, 3)])
    written.enhanced(1, 2, b"a", None, [counter(4, 2)]).obsolete(1, 5, 3, b"b").obsolete(1, 0xFFFF, 4, b"c")
    written.statistics(2, [])
    scratch.write_bytes(written.bytes)
    _, reader = files.read(scratch)
    assert reader.record().dropped_packets == 13 + 7


@pytest.mark.parametrize("order", ["<", ">"])
def test_packets_say_what_was_lost_before_them_and_statistics_what_was_lost_behind_the_last(files, scratch, order):
    def counter(code, value):
        return code, struct.pack(order + "Q", value)

    written = files.Pcapng(order).interface().interface()
    written.enhanced(0, 1, b"a", None, [counter(4, 0)]).enhanced(0, 2, b"b").enhanced(1, 3, b"c", None, [counter(4, 4)])
    written.obsolete(1, 5, 4, b"d").obsolete(0, 0xFFFF, 5, b"e").enhanced(0, 6, b"f", None, [(1, b"note"), counter(4, 2)])
    written.statistics(0, [counter(5, 9)])
    scratch.write_bytes(written.bytes)
    assert lost_before(scratch) == ([0, UNTOLD, 4, 5, UNTOLD, 2], 9 - 2, Losses.TOLD)
    written.statistics(1, [counter(5, 10)])
    scratch.write_bytes(written.bytes)
    assert lost_before(scratch)[1] == 9 + 10 - 4 - 5 - 2


@pytest.mark.parametrize("order", ["<", ">"])
def test_counts_that_no_capture_can_have_end_at_the_limit_and_hide_what_statistics_say(files, scratch, order):
    def counter(code, value):
        return code, struct.pack(order + "Q", value)

    written = files.Pcapng(order).interface()
    for value in (1 << 62, (1 << 64) - 1, 3):
        written.enhanced(0, 1, b"a", None, [counter(4, value)])
    scratch.write_bytes(written.bytes)
    most = limits.DROPPED_PACKETS
    assert lost_before(scratch) == ([most, most, 3], 0, Losses.HIDDEN)
    written.statistics(0, [counter(5, (1 << 64) - 1), counter(7, (1 << 64) - 1)])
    scratch.write_bytes(written.bytes)
    assert lost_before(scratch) == ([most, most, 3], 0, Losses.HIDDEN)
    _, reader = files.read(scratch)
    assert [each.dropped for each in reader.interfaces] == [most]


def test_an_interface_that_does_not_tell_from_its_first_packet_on_hides_when_packets_were_lost(files, scratch):
    told = [(4, struct.pack("<Q", 0))]
    lost = [(4, struct.pack("<Q", 6))]
    written = files.Pcapng().interface().interface()
    written.enhanced(0, 1, b"a", None, told).enhanced(1, 2, b"b").enhanced(1, 3, b"c", None, lost).enhanced(
        0, 4, b"d", None, told
    )
    written.statistics(0, [(5, struct.pack("<Q", 9))]).statistics(1, [(5, struct.pack("<Q", 1000))])
    scratch.write_bytes(written.bytes)
    assert lost_before(scratch) == ([0, 0, 6, 0], UNTOLD, Losses.HIDDEN)
    written = files.Pcapng().interface().simple(b"a").interface().enhanced(1, 2, b"b", None, lost)
    scratch.write_bytes(written.bytes)
    assert lost_before(scratch) == ([UNTOLD, 6], UNTOLD, Losses.HIDDEN)


def test_an_interface_without_packets_that_dropped_some_hides_when_at_the_end(files, scratch):
    written = files.Pcapng().interface().interface().enhanced(0, 1, b"a", None, [(4, struct.pack("<Q", 0))])
    scratch.write_bytes(written.statistics(1, [(5, struct.pack("<Q", 0))]).bytes)
    assert lost_before(scratch) == ([0], UNTOLD, Losses.TOLD)
    scratch.write_bytes(written.statistics(1, [(5, struct.pack("<Q", 7))]).bytes)
    assert lost_before(scratch) == ([0], 0, Losses.HIDDEN)


def test_statistics_alone_do_not_say_when_packets_were_lost(files, scratch):
    written = files.Pcapng().interface().enhanced(0, 1, b"a").statistics(0, [(5, struct.pack("<Q", 7))])
    scratch.write_bytes(written.bytes)
    assert lost_before(scratch) == ([UNTOLD], UNTOLD, Losses.HIDDEN)


def lost_before(path):
    """What a capture says it lost before each packet, and behind the last; and what that is worth."""
    captures = CaptureSet([str(path)])
    lost = []
    while (reader := captures.next()) is not None:
        lost.append(reader.lost_packets)
        reader.lost_packets = UNTOLD
    (reader,) = captures.readers
    return lost, reader.lost_packets, reader.losses


def test_dropped_packets_are_unknown_where_nothing_counts_them(files, scratch):
    written = files.Pcapng().interface().enhanced(0, 1, b"a").statistics(0, [])
    scratch.write_bytes(written.bytes)
    _, reader = files.read(scratch)
    assert reader.record().dropped_packets is None


def test_statistics_of_an_interface_that_is_not_there_are_a_fault_that_does_not_stop_reading(files, scratch):
    written = files.Pcapng().interface().statistics(7, []).statistics(8, []).enhanced(0, 1, b"a")
    scratch.write_bytes(written.bytes)
    packets, reader = files.read(scratch)
    assert [packet.data for packet in packets] == [b"a"]
    assert [(row.kind, row.found, row.occurrences) for row in reader.anomalies] == [("not_understood", "7", 2)]


def test_a_block_length_that_leaves_out_the_padding_is_read(files, scratch):
    body = struct.pack("<IIIII", 0, 0, 5, 2, 2) + b"ab"
    unpadded = struct.pack("<II", 6, 34) + body + b"\x00\x00" + struct.pack("<I", 34)
    written = files.Pcapng().interface().bytes + unpadded + unpadded
    scratch.write_bytes(written)
    packets, reader = files.read(scratch)
    assert [packet.data for packet in packets] == [b"ab", b"ab"]
    assert reader.truncation is None


def small_capture(files):
    written = files.Pcapng(">").interface(1, 0, [(IF_NAME, b"eth0")]).enhanced(0, 1, b"one", None, [(1, b"comment")])
    written.simple(b"two").block(0x99, bytes(20)).secrets(b"key").section("<").interface()
    return written.enhanced(0, 2, b"three").statistics(0, [(5, bytes(8))]).obsolete(0, 0, 3, b"four")


def test_a_cut_anywhere_keeps_every_packet_before_it_and_is_reported(files, scratch):
    written = small_capture(files)
    scratch.write_bytes(written.bytes)
    whole, _ = files.read(scratch)
    assert [packet.data for packet in whole] == [b"one", b"two", b"three", b"four"]
    ends = [written.boundaries[number] for number in (2, 3, 8, 10)]  # of the packets, among all blocks
    for cut in range(12, len(written.bytes) + 1):
        scratch.write_bytes(written.bytes[:cut])
        packets, reader = files.read(scratch)
        assert packets == whole[: sum(end <= cut for end in ends)], cut
        assert (reader.truncation is None) == (cut in written.boundaries), cut


def test_the_size_of_the_blocks_that_are_read_changes_nothing(files, scratch):
    written = small_capture(files)
    scratch.write_bytes(written.bytes)
    whole, reader = files.read(scratch)
    record = reader.record()
    for block_bytes in range(1, 120):
        packets, reader = files.read(scratch, block_bytes)
        assert (packets, reader.record()) == (whole, record)


@pytest.mark.parametrize(
    ("block", "report"),
    [
        (struct.pack("<II", 6, 8), "packet 2 at byte 84: required a block length of at least 12, found 8"),
        (struct.pack("<II", 7, 0), "block after packet 1 at byte 84: required a block length of at least 12, found 0"),
        (struct.pack("<III", 6, 12, 12), "packet 2 at byte 84: required a block length of at least 32, found 12"),
        (
            struct.pack("<II", 6, 0x7FFFFFFC) + bytes(100),
            "packet 2 at byte 84: required a block length of at most 16777216, found 2147483644",
        ),
        (
            struct.pack("<II", 0x77, 0xFFFFFFFC) + bytes(100),
            "block after packet 1 at byte 84: required a block of 4294967292 bytes, found 108",
        ),
        (
            struct.pack("<IIIIIIII", 6, 32, 0, 0, 0, 1, 1, 32),
            "packet 2 at byte 84: required at most 0 captured bytes, found a length of 1",
        ),
        (
            struct.pack("<IIIIIIII", 6, 32, 9, 0, 0, 0, 0, 32),
            "packet 2 at byte 84: required an interface number below 1, found 9",
        ),
        (
            struct.pack("<IIIIIIII", 6, 32, 0, 0, 0, 0, 0, 36),
            "packet 2 at byte 84: required the block's length 32 repeated at its end, found 36",
        ),
        (
            struct.pack("<IIII", 0x77, 16, 0, 20),
            "block after packet 1 at byte 84: required the block's length 16 repeated at its end, found 20",
        ),
        (
            struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 2, 0, -1, 28),
            "block after packet 1 at byte 84: required pcapng version 1, found version 2",
        ),
        (
            struct.pack("<III", 0x0A0D0D0A, 28, 0) + bytes(16),
            "block after packet 1 at byte 84: required a section header's byte order 1a 2b 3c 4d, either way round, found 00 00 00 00",
        ),
        (
            struct.pack("<II", 6, 0x40020 + 4) + struct.pack("<IIIII", 0, 0, 0, 0x40001, 0x40001) + bytes(0x40004)
            + struct.pack("<I", 0x40024),
            "packet 2 at byte 84: required at most 262144 captured bytes, found a length of 262145",
        ),
    ],
)  # fmt: skip
def test_a_damaged_block_ends_the_file_with_what_was_required_and_found(files, scratch, block, report):
    good = files.Pcapng().interface().enhanced(0, 1, b"one!").bytes
    assert len(good) == 84
    scratch.write_bytes(good + block)
    packets, reader = files.read(scratch)
    assert [packet.data for packet in packets] == [b"one!"]
    assert reader.truncation == report
    assert not reader.next(), "the end stays the end"


def test_a_simple_packet_without_an_interface_ends_the_file(files, scratch):
    scratch.write_bytes(files.Pcapng().simple(b"abc").bytes)
    packets, reader = files.read(scratch)
    assert packets == []
    assert reader.truncation == "packet 1 at byte 28: required an interface description before it, found none"


def test_more_interfaces_than_the_limit_end_the_file(files, scratch):
    written = files.Pcapng().interface()
    description = written.bytes[28:]
    scratch.write_bytes(written.bytes + description * limits.INTERFACES)
    _, reader = files.read(scratch)
    assert reader.truncation is not None
    assert "required at most 65536 interfaces, found another one" in reader.truncation


def test_an_interface_name_longer_than_the_limit_is_left_out(files, scratch):
    scratch.write_bytes(files.Pcapng().interface(1, 0, [(IF_NAME, b"x" * 256)]).bytes)
    _, reader = files.read(scratch)
    assert reader.interface_name(0) is None


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_overwritten_bytes_never_raise_and_never_lose_what_is_before_them(files, scratch, data):
    written = small_capture(files)
    scratch.write_bytes(written.bytes)
    whole, _ = files.read(scratch)
    at = data.draw(st.integers(12, len(written.bytes) - 1))
    damaged = bytearray(written.bytes)
    new = data.draw(st.binary(min_size=1, max_size=8))
    damaged[at : at + len(new)] = new
    scratch.write_bytes(bytes(damaged))
    packets, _ = files.read(scratch, data.draw(st.integers(1, 400)))
    before = [number for number, index in enumerate((2, 3, 8, 10)) if written.boundaries[index] <= at]
    assert packets[: len(before)] == whole[: len(before)]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_behind_a_section_header_never_raise(files, scratch, tail):
    scratch.write_bytes(files.Pcapng().interface().bytes + tail)
    files.read(scratch)


@pytest.mark.parametrize("length", range(4, 12))
def test_a_file_that_ends_before_its_byte_order_is_an_error(files, scratch, length):
    scratch.write_bytes(files.Pcapng().bytes[:length])
    with pytest.raises(CaptureError):
        files.read(scratch)


# frame number, time (None: without one), original length, captured length, interface; frames that are missing are
# custom blocks. tshark 4.0.17 shows the same.
GENERATED = {
    "test001": [(1, 0, 314, 314, 0), (2, 0, 342, 342, 0), (3, 0, 314, 314, 0), (4, 0, 342, 342, 0)],
    "test002": [],
    "test003": [],
    "test004": [
        (1, 1340954905298858000, 314, 96, 0),
        (2, 1340954905299858000, 342, 128, 1),
        (3, 1340954905300858000, 314, 96, 0),
        (4, 1340954905301858000, 342, 128, 1),
    ],
    "test006": [
        (1, 1340954905298858000, 314, 96, 0),
        (2, 1340954905299858000, 168, 168, 1),
        (3, 1340954905300858000, 342, 96, 0),
        (4, 1340954905301858000, 314, 96, 0),
        (5, 1340954905302858000, 342, 96, 0),
    ],
    "test007": [(1, 1340954905298858000, 314, 96, 0)],
    "test008": [
        (1, 1340954905298858, 314, 96, 0),
        (2, 1340954905299858, 342, 128, 1),
        (3, 1340954905300858, 314, 96, 0),
        (4, 1340954905301858, 342, 128, 1),
    ],
    "test009": [(1, 1340954905298858000, 314, 314, 0), (2, 1340954905299858000, 342, 342, 0)],
    "test010": [(1, None, 314, 314, 0), (2, None, 342, 342, 0), (3, None, 314, 314, 0), (4, None, 342, 342, 0)],
    "test011": [
        (1, None, 314, 314, 0),
        (2, 1340954905298858000, 342, 342, 0),
        (3, None, 314, 314, 0),
        (4, 1340954905300858000, 342, 342, 0),
    ],
    "test012": [(1, None, 314, 314, 0), (2, None, 342, 315, 0), (3, 0, 314, 314, 0), (4, 0, 342, 315, 0)],
    "test013": [],
    "test014": [],
    "test015": [],
    "test017": [],
    "test018": [
        (2, None, 314, 314, 0),
        (3, 1340954905298858000, 342, 342, 0),
        (5, None, 314, 314, 0),
        (7, 1340954905300858000, 342, 342, 0),
    ],
}
GENERATED["test005"] = GENERATED["test004"]
GENERATED["test016"] = GENERATED["test011"]


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_generated_files_have_the_packets_that_wireshark_shows(files, shared_captures, name):
    path = shared_captures / "hadrielk+pcapng-test-generator/output_le/basic" / f"{name}.pcapng"
    packets, reader = files.read(path)
    expected = GENERATED[name]
    latest = 0
    for packet, (frame, time, original, captured, interface) in zip(packets, expected, strict=True):
        latest = latest if time is None else time
        assert (packet.frame, packet.timestamp) == (frame, latest)
        assert (packet.original_length, len(packet.data), packet.interface) == (original, captured, interface)
    assert reader.record().untimed_packets == sum(time is None for _, time, _, _, _ in expected)
    assert (reader.truncation, reader.anomalies) == (None, [])


def test_every_real_capture_has_the_packets_that_its_index_says(files, shared_captures):
    with_custom_blocks = {"test017.pcapng": 4, "test018.pcapng": 4}  # Wireshark counts them as packets
    for line in (shared_captures / "INDEX.tsv").read_text().splitlines()[1:]:
        name, count = line.split("\t")[0], line.split("\t")[7]
        if not count:
            continue  # the index leaves it out where tshark failed
        packets, reader = files.read(shared_captures / name)
        custom = with_custom_blocks.get(name.rsplit("/", 1)[-1], 0)
        assert len(packets) == int(count) - custom, name
        assert reader.truncation is None, name


def test_the_key_log_of_a_real_capture_is_kept(files, shared_captures):
    _, reader = files.read(shared_captures / "_derived/test_decrypt-dsb.pcapng")
    (secrets,) = reader.secrets
    assert secrets == (shared_captures / "_keys/cisco+mercury/test/data/sslkeylogfile.log").read_bytes()
