"""Compressed captures: told by their first bytes, concatenated, damaged, and expanding without end."""

import gzip
import io
import itertools
import lzma
import os
import struct
import sys
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer import limits
from analyzer.errors import CaptureError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def zstd_with_checksum(data):
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})  # as the command writes it


COMPRESSORS = {"gzip": gzip.compress, "xz": lzma.compress, "zstd": zstd_with_checksum}
ZEROS = bytes(1 << 20)
SKIPPABLE_FRAME = struct.pack("<II", 0x184D2A50, 4) + b"skip"


@pytest.fixture(scope="session")
def written(files):
    capture = files.Pcap()
    for number in range(60):
        capture.packet(number, 0, os.urandom(20) + bytes(30))
    return capture


@pytest.mark.parametrize("compression", sorted(COMPRESSORS))
@pytest.mark.parametrize("name", ["a.pcap", "a.gz", "a"])
def test_compression_is_told_by_the_first_bytes_and_not_by_the_name(files, tmp_path, written, compression, name):
    path = tmp_path / name
    path.write_bytes(written.bytes)
    plain, _ = files.read(path)
    stored = COMPRESSORS[compression](written.bytes)
    path.write_bytes(stored)
    packets, reader = files.read(path)
    assert packets == plain
    assert (reader.record().compression, reader.truncation) == (compression, None)
    assert reader.bytes_read == reader.size == len(stored)


@pytest.mark.parametrize("compression", sorted(COMPRESSORS))
@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 4000), max_size=4), block_bytes=st.integers(1, 300))
def test_concatenated_members_are_one_capture_whatever_the_block_size(files, scratch, written, compression, cuts, block_bytes):
    places = sorted({0, len(written.bytes), *(cut for cut in cuts if cut < len(written.bytes))})
    pieces = [written.bytes[start:end] for start, end in itertools.pairwise(places)]
    scratch.write_bytes(written.bytes)
    plain, _ = files.read(scratch)
    scratch.write_bytes(b"".join(COMPRESSORS[compression](piece) for piece in pieces))
    packets, reader = files.read(scratch, block_bytes)
    assert packets == plain
    assert reader.truncation is None


@pytest.mark.parametrize("compression", sorted(COMPRESSORS))
def test_zeros_after_the_last_member_are_padding(files, scratch, written, compression):
    scratch.write_bytes(COMPRESSORS[compression](written.bytes) + bytes(512))
    for block_bytes in (1, 7, 64, limits.BLOCK_BYTES):
        packets, reader = files.read(scratch, block_bytes)
        assert (len(packets), reader.truncation) == (60, None)


def test_zeros_between_xz_streams_are_padding(files, scratch, written):
    scratch.write_bytes(lzma.compress(written.bytes[:1000]) + bytes(8) + lzma.compress(written.bytes[1000:]))
    for block_bytes in (1, 7, 64, limits.BLOCK_BYTES):
        packets, reader = files.read(scratch, block_bytes)
        assert (len(packets), reader.truncation) == (60, None)


def test_skippable_zstd_frames_are_skipped(files, scratch, written):
    halves = zstd.compress(written.bytes[:1000]), zstd.compress(written.bytes[1000:])
    scratch.write_bytes(SKIPPABLE_FRAME + halves[0] + SKIPPABLE_FRAME + halves[1] + SKIPPABLE_FRAME)
    for block_bytes in (1, 7, 64, limits.BLOCK_BYTES):
        packets, reader = files.read(scratch, block_bytes)
        assert (len(packets), reader.truncation) == (60, None)


@pytest.mark.parametrize("compression", sorted(COMPRESSORS))
def test_a_cut_anywhere_keeps_the_packets_before_it_and_is_reported(files, scratch, written, compression):
    scratch.write_bytes(written.bytes)
    plain, _ = files.read(scratch)
    stored = COMPRESSORS[compression](written.bytes)
    most = 0
    for cut in range(10, len(stored), 7):
        scratch.write_bytes(stored[:cut])
        packets, report = files.outcome(scratch)
        assert packets == plain[: len(packets)]
        assert f"{compression} data at byte {cut} of the file: required more, found its end" in report
        most = max(most, len(packets))
    assert most == 60 or compression == "zstd"  # zstd gives out whole blocks only


@pytest.mark.parametrize("compression", sorted(COMPRESSORS))
def test_damage_costs_no_more_than_the_block_of_compressed_bytes_it_is_in(files, scratch, compression):
    capture = files.Pcap()
    for number in range(300):
        capture.packet(number, 0, os.urandom(1000))
    scratch.write_bytes(capture.bytes)
    plain, _ = files.read(scratch)
    stored = bytearray(COMPRESSORS[compression](capture.bytes))
    stored[-6] ^= 0xFF  # in the check at the end
    scratch.write_bytes(bytes(stored))
    packets, report = files.outcome(scratch)
    assert packets == plain[: len(packets)]
    assert f"{compression} data damaged before byte {len(stored)} of the file" in report
    assert len(packets) >= (290 if compression == "gzip" else 150)  # zstd and xz give out whole blocks of theirs


def test_bytes_after_the_last_member_are_reported_and_everything_before_is_kept(files, scratch, written):
    stored = gzip.compress(written.bytes)
    scratch.write_bytes(stored + b"garbage")
    packets, reader = files.read(scratch)
    assert len(packets) == 60
    assert reader.truncation == (
        f"after packet 60: gzip data at byte {len(stored)} of the file: required another member or the end, found 67 61 72 62"
    )


def test_places_in_a_compressed_capture_are_counted_after_decompression(files, scratch):
    scratch.write_bytes(gzip.compress(files.Pcap().packet(1, 0, b"abc").bytes[:-1]))
    _, reader = files.read(scratch)
    assert reader.truncation == "packet 1 at byte 24 after decompression: required 3 captured bytes, found 2"


@pytest.mark.parametrize("compression", sorted(COMPRESSORS))
def test_a_file_that_expands_a_thousandfold_takes_no_memory(files, scratch, compression):
    capture = files.Pcapng().interface().enhanced(0, 1, b"packet")
    compressor = {
        "gzip": lambda: zlib.compressobj(9, zlib.DEFLATED, 31),
        "xz": lambda: lzma.LZMACompressor(preset=0),
        "zstd": zstd.ZstdCompressor,
    }[compression]()
    stored = io.BytesIO()
    stored.write(compressor.compress(capture.bytes + struct.pack("<II", 0x77, 12 + 100 * len(ZEROS))))
    for _ in range(100):
        stored.write(compressor.compress(ZEROS))
    stored.write(compressor.compress(struct.pack("<I", 12 + 100 * len(ZEROS)) + capture.bytes))
    stored.write(compressor.flush())
    scratch.write_bytes(stored.getvalue())
    tracemalloc.start()
    try:
        packets, reader = files.read(scratch)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ([packet.data for packet in packets], reader.truncation) == ([b"packet", b"packet"], None)
    assert peak < 8_000_000


def test_an_xz_dictionary_above_the_limit_is_refused_without_taking_its_memory(files, scratch, written):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    compressor = lzma.LZMACompressor(format=lzma.FORMAT_XZ, filters=filters)
    stored = compressor.compress(written.bytes) + compressor.flush()
    scratch.write_bytes(stored)
    with pytest.raises(CaptureError, match="Memory usage limit"):
        files.read(scratch)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"]), st.binary(max_size=100))
def test_random_bytes_behind_a_compression_magic_are_an_error(files, scratch, magic, tail):
    scratch.write_bytes(magic + tail)
    with pytest.raises(CaptureError):
        files.read(scratch)
