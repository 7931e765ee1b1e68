"""pcap files, with dpkt's reader as the oracle."""

import io

import dpkt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.errors import CaptureError
from analyzer.records import CaptureRecord

MICROSECONDS = 0xA1B2C3D4
NANOSECONDS = 0xA1B23C4D
MODIFIED = 0xA1B2CD34


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "unit"), [(MICROSECONDS, 1000), (NANOSECONDS, 1), (MODIFIED, 1000)])
def test_every_magic_and_byte_order_gives_the_same_packets(files, scratch, order, magic, unit):
    written = files.Pcap(order, magic, 113).packet(1_700_000_000, 999_999, b"first").packet(0xFFFFFFFF, 0, b"", 1500)
    scratch.write_bytes(written.bytes)
    packets, reader = files.read(scratch)
    assert packets == [
        files.Packet(1, 1_700_000_000_000_000_000 + 999_999 * unit, b"first", 5, 113, 0),
        files.Packet(2, 4_294_967_295_000_000_000, b"", 1500, 113, 0),
    ]
    assert reader.truncation is None


def test_the_record_counts_what_was_read(files, scratch):
    written = files.Pcap().packet(20, 5, b"second").packet(10, 0, b"first", 1000).packet(15, 0, b"x")
    scratch.write_bytes(written.bytes)
    _, reader = files.read(scratch)
    assert reader.record() == CaptureRecord(
        capture_index=0,
        name=str(scratch),
        format="pcap",
        link_types="LINKTYPE_ETHERNET",
        packets=3,
        snapped_packets=1,
        captured_bytes=12,
        original_bytes=1007,
        first_packet_at=10_000_000_000,
        last_packet_at=20_000_005_000,
    )
    assert reader.bytes_read == reader.size == len(written.bytes)


def test_a_captured_length_beyond_the_packets_that_leads_astray_ends_the_file_there(files, scratch):
    written = files.Pcap().packet(100, 0, b"first").packet(101, 0, bytes(300), 60).packet(102, 0, b"lost" * 50).bytes
    scratch.write_bytes(written.replace((300).to_bytes(4, "little"), (340).to_bytes(4, "little")))
    packets, reader = files.read(scratch)
    assert [packet.frame for packet in packets] == [1]
    required = "required at most 60 captured bytes, which is what the packet has, found a length of 340"
    assert reader.truncation == f"packet 2 at byte 45: {required}"


def test_a_captured_length_beyond_the_packets_that_leads_to_the_next_packet_is_an_anomaly(files, scratch):
    scratch.write_bytes(files.Pcap().packet(1, 0, b"first", 3).packet(2, 0, b"", 0).packet(3, 0, b"third", 2).bytes)
    packets, reader = files.read(scratch)
    assert [packet.data for packet in packets] == [b"first", b"", b"third"]
    assert reader.truncation is None
    assert [(row.kind, row.packet, row.required, row.found, row.occurrences) for row in reader.anomalies] == [
        ("invalid_length", 1, "at most as many captured bytes as the packet has", "5 of 3", 2)
    ]


def test_packets_that_are_earlier_than_those_before_them_are_counted_in_one_row(files, scratch):
    written = files.Pcap().packet(20, 0, b"a").packet(19, 990_000, b"reordered a little").packet(18, 0, b"b").packet(15, 0, b"c")
    scratch.write_bytes(written.packet(19, 0, b"d").packet(21, 0, b"e").bytes)
    _, reader = files.read(scratch)
    assert [(row.kind, row.packet, row.occurred_at, row.required, row.found, row.occurrences) for row in reader.anomalies] == [
        (
            "time_order",
            3,
            18_000_000_000,
            "packets in the order of their times",
            "some up to 5,000 ms earlier than one before them",
            3,
        )
    ]


def test_packets_years_after_all_before_them_are_told(files, scratch):
    scratch.write_bytes(files.Pcap().packet(0, 5, b"a").packet(1_700_000_000, 0, b"b").packet(1_700_000_100, 0, b"c").bytes)
    _, reader = files.read(scratch)
    assert [(row.kind, row.packet, row.found, row.occurrences) for row in reader.anomalies] == [
        ("clock_leap", 2, "19675 days after all before it", 1)
    ]


def test_a_file_without_packets_is_a_capture_with_none(files, scratch):
    scratch.write_bytes(files.Pcap().bytes)
    packets, reader = files.read(scratch)
    assert packets == []
    record = reader.record()
    assert (record.packets, record.first_packet_at, record.last_packet_at, record.truncation) == (0, None, None, None)


def test_the_link_type_is_read_without_the_frame_check_sequence_flags(files, scratch):
    scratch.write_bytes(files.Pcap(link_type=0x24000001).packet(1, 0, b"x").bytes)
    packets, _ = files.read(scratch)
    assert packets[0].link_type == 1


def test_a_cut_anywhere_keeps_every_packet_before_it_and_is_reported(files, scratch):
    written = files.Pcap().packet(1, 0, b"one").packet(2, 0, b"twotwo").packet(3, 0, b"").packet(4, 0, b"four", 90)
    scratch.write_bytes(written.bytes)
    whole, _ = files.read(scratch)
    for cut in range(24, len(written.bytes) + 1):
        scratch.write_bytes(written.bytes[:cut])
        packets, reader = files.read(scratch)
        complete = sum(boundary <= cut for boundary in written.boundaries) - 1
        assert packets == whole[:complete], cut
        assert (reader.truncation is None) == (cut in written.boundaries), cut


def test_a_cut_packet_is_reported_with_its_number_place_and_lengths(files, scratch):
    written = files.Pcap().packet(1, 0, b"one").packet(2, 0, b"twotwo").bytes
    scratch.write_bytes(written[:-2])
    _, reader = files.read(scratch)
    assert reader.truncation == "packet 2 at byte 43: required 6 captured bytes, found 4"
    scratch.write_bytes(written[:50])
    _, reader = files.read(scratch)
    assert reader.truncation == "packet 2 at byte 43: required a packet header of 16 bytes, found 7"


@pytest.mark.parametrize("length", [262_145, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_an_absurd_length_ends_the_file_without_taking_memory(files, scratch, length):
    good = files.Pcap().packet(1, 0, b"one")
    bad = good.bytes + bytes(8) + length.to_bytes(4, "little") * 2 + bytes(400_000)
    scratch.write_bytes(bad)
    packets, reader = files.read(scratch)
    assert [packet.data for packet in packets] == [b"one"]
    assert reader.truncation == f"packet 2 at byte 43: required at most 262144 captured bytes, found a length of {length}"
    assert not reader.next(), "the end stays the end"


def test_a_packet_longer_than_a_block_is_read_whole(files, scratch):
    data = bytes(range(256)) * 1024
    scratch.write_bytes(files.Pcap().packet(1, 0, b"a").packet(2, 0, data).packet(3, 0, b"b").bytes)
    packets, reader = files.read(scratch)
    assert [packet.data for packet in packets] == [b"a", data, b"b"]
    assert reader.truncation is None


def test_an_original_length_below_the_captured_one_is_not_believed(files, scratch):
    scratch.write_bytes(files.Pcap().packet(1, 0, b"abc", 0).bytes)
    packets, reader = files.read(scratch)
    assert packets[0].original_length == 3
    assert reader.record().snapped_packets == 0


@pytest.mark.parametrize("length", range(4, 24))
def test_a_file_that_ends_in_its_header_is_an_error(files, scratch, length):
    scratch.write_bytes(files.Pcap().bytes[:length])
    with pytest.raises(CaptureError) as error:
        files.read(scratch)
    assert str(error.value) == f"{scratch}: required a pcap file header of 24 bytes, found {length}"


PACKETS = st.lists(st.tuples(st.integers(0, 0xFFFFFFFF), st.integers(0, 999_999), st.binary(max_size=80)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(PACKETS, st.sampled_from("<>"), st.sampled_from([MICROSECONDS, NANOSECONDS]), st.integers(1, 100))
def test_packets_are_those_that_dpkt_reads_whatever_the_block_size(files, scratch, packets, order, magic, block_bytes):
    written = files.Pcap(order, magic)
    for seconds, fraction, data in packets:
        written.packet(seconds, fraction, data)
    scratch.write_bytes(written.bytes)
    read, reader = files.read(scratch, block_bytes)
    oracle = [bytes(data) for _, data in dpkt.pcap.Reader(io.BytesIO(written.bytes))]
    unit = 1 if magic == NANOSECONDS else 1000
    assert [packet.data for packet in read] == oracle
    assert [packet.timestamp for packet in read] == [s * 1_000_000_000 + f * unit for s, f, _ in packets]
    assert reader.truncation is None


def test_real_captures_have_the_packets_and_times_that_dpkt_reads(files, shared_captures):
    compared = 0
    for line in (shared_captures / "INDEX.tsv").read_text().splitlines()[1:]:
        path = shared_captures / line.split("\t")[0]
        if path.read_bytes()[:4] not in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4") or path.name == "fuzz.pcap":
            continue
        with path.open("rb") as file:
            oracle = [(round(time * 1_000_000) * 1000, bytes(data)) for time, data in dpkt.pcap.Reader(file)]
        packets, reader = files.read(path)
        assert [(packet.timestamp, packet.data) for packet in packets] == oracle, path
        assert reader.truncation is None, path
        compared += 1
    assert compared > 300


def test_a_capture_whose_third_packet_was_overwritten_ends_where_tcpdump_ends(files, shared_captures):
    packets, reader = files.read(shared_captures / "OISF+suricata-verify/tests/bug-6875-01/fuzz.pcap")
    assert [(packet.timestamp, len(packet.data)) for packet in packets] == [(1_508_525_002_992_213_000, 188)]
    assert reader.truncation == "packet 2 at byte 228: required at most 262144 captured bytes, found a length of 1409179648"
