"""Which packets belong to which connection, as tshark sees it."""

import shutil
import struct
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

import analyzer
from analyzer.capture.capture_set import CaptureSet
from analyzer.capture.pcapng_writer import PcapngWriter
from analyzer.slicing import Marks, mark, write_secrets

SAMPLES = Path(__file__).resolve().parent.parent / "sample_pcaps"
CAPTURES = [
    SAMPLES / "demo.pcapng",
    *(path for of in ("tcp", "udp", "encapsulation") for path in sorted((SAMPLES / of).glob("*.pcap"))),
]
FIELDS = ("frame.number", "tcp.stream", "udp.stream", "ip.flags.mf", "ip.frag_offset", "ipv6.fraghdr.nxt")


def connections_of(path):
    with analyzer.analyze(path, content="none") as store:
        return [number for (number,) in store.sql("SELECT connection_id FROM connections ORDER BY 1").fetchall()]


def frames_of(path, connection):
    with closing(CaptureSet([str(path)])) as captures:
        marks = mark(captures, {connection}, lambda _: True)
        frames = {frame for frame in range(captures.readers[0].frame + 1) if marks.has(0, frame)}
    assert len(frames) == marks.count
    return frames


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_each_connection_has_the_packets_that_tshark_gives_it_and_their_fragments(path):
    listed = [argument for field in FIELDS for argument in ("-e", field)]
    done = subprocess.run(["tshark", "-r", path, "-T", "fields", *listed], capture_output=True, text=True, check=True)
    streams, fragments = {}, set()
    for line in done.stdout.splitlines():
        frame, tcp, udp, more, offset, inside = line.split("\t")
        if "1" in more or offset.strip("0,") or inside:
            fragments.add(int(frame))
        stream = ("tcp", tcp.split(",")[-1]) if tcp else ("udp", udp.split(",")[-1])  # the innermost
        if stream[1]:
            streams.setdefault(stream, set()).add(int(frame))
    ours = [frames_of(path, connection) for connection in connections_of(path)]
    assert sorted(map(sorted, (frames - fragments for frames in ours))) == sorted(
        sorted(frames - fragments) for frames in streams.values()
    )
    if fragments:
        assert fragments <= set().union(*ours)
    assert sum(map(len, ours)) == len(set().union(*ours))


def test_an_id_that_begins_within_a_connection_is_the_rest_of_it():
    path = SAMPLES / "tcp" / "port_reuse.pcap"
    first, second, *_ = connections_of(path)
    whole = sorted(frames_of(path, first))
    assert frames_of(path, whole[4]) == set(whole[4:])
    assert not frames_of(path, second) & set(whole)


def test_marks_are_kept_for_each_capture():
    marks = Marks()
    numbers = [1, 2, 9, 1 << 20, (1 << 40) + 3, (7 << 40) + 1_000_000]
    for number in [*numbers, *numbers]:
        marks.add(number)
    assert marks.count == len(numbers)
    assert all(marks.has(number >> 40, number & (1 << 40) - 1) for number in numbers)
    assert not any(marks.has(*place) for place in [(0, 0), (0, 3), (1, 1), (1, 1 << 30), (2, 1)])


def ipv4(protocol, payload, offset=0, is_last=True, identification=7):
    fragment = offset >> 3 | (0 if is_last else 0x2000)
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), identification, fragment, 64, protocol, 0) + addresses + payload


def udp(payload, source=5000, destination=6000):
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


def capture(path, packets):
    """A pcap of raw IP, a packet each millisecond."""
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    for number, packet in enumerate(packets):
        data += struct.pack("<IIII", 1, 1000 * number, len(packet), len(packet)) + packet
    path.write_bytes(data)
    return path


def test_fragments_of_what_is_neither_tcp_nor_udp_belong_to_nobody(tmp_path):
    ping = ipv4(1, bytes(16), 0, False), ipv4(1, bytes(8), 16)
    path = capture(tmp_path / "a.pcap", [*ping, ipv4(17, udp(b"first")), ipv4(17, udp(b"next"))])
    assert frames_of(path, 3) == {3, 4}


def test_fragments_inside_fragments_belong_to_the_datagram_inside(tmp_path):
    datagram = udp(bytes(100))
    inner = ipv4(17, datagram[:48], 0, False, 1), ipv4(17, datagram[48:], 48, True, 1)
    outer = [piece for packet in inner for piece in (ipv4(4, packet[:32], 0, False), ipv4(4, packet[32:], 32))]
    path = capture(tmp_path / "a.pcap", [ipv4(17, udp(b"", 1, 2)), *outer])
    assert connections_of(path) == [1, 5]
    assert frames_of(path, 5) == {2, 3, 4, 5}
    assert frames_of(path, 1) == {1}


@pytest.mark.parametrize("sizes", [[], [3], [1 << 20], [5, (1 << 20) - 5, 7], [(1 << 20) + 9, 2 << 20]])
def test_key_log_lines_are_written_whole_in_blocks_that_readers_hold(tmp_path, sizes):
    lines = [bytes([65 + number]) * (size - 1) + b"\n" for number, size in enumerate(sizes)]
    path = tmp_path / "keys.pcapng"
    with path.open("wb") as file:
        write_secrets(PcapngWriter(file), lines)
    with closing(CaptureSet([str(path)])) as captures:
        blocks = list(captures.secrets)
    assert b"".join(blocks) == b"".join(lines)
    assert all(block.endswith(b"\n") and (len(block) <= 1 << 20 or block.count(b"\n") == 1) for block in blocks)
    assert len(blocks) == len([size for size in sizes if size > 5 or len(sizes) == 1])
