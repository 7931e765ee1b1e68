"""One figure bounds the memory of a run: what is open beyond it is written as it stands, the longest unused first."""

import struct
from pathlib import Path

import pytest

from analyzer import limits, pipeline, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.commands import main
from analyzer.dissector import Context
from analyzer.errors import UsageError
from analyzer.memory import Memory, memory_of
from analyzer.protocols.http2 import Http2ConnectionRecord
from analyzer.records import ConnectionRecord, Rows

CHECKOUT = Path(__file__).resolve().parent.parent
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes(3) + b"\x04" + bytes(5)


class Rowing:
    """Keeps rows."""

    def __init__(self) -> None:
        self.rows: Rows = []

    def add(self, rows: Rows) -> None:
        self.rows += rows


def packet(port: int, sequence: int, flags: int, data: bytes) -> bytes:
    size = 40 + len(data)
    head = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0x4000, 64, 6, 0) + b"\x0a\0\0\1\x0a\0\0\2"
    head += struct.pack("!HHIIBBHHH", port, 80, sequence, 0, 0x50, flags, 65535, 0, 0)
    return struct.pack("<IIII", 1, 0, size, size) + head + data


def analyzed(path: Path, packets: list[bytes], memory: Memory) -> Rows:
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101) + b"".join(packets))
    sink = Rowing()
    captures = CaptureSet([str(path)])
    pipeline.run(captures, Context(protocols.dissectors(), memory=memory), sink)
    captures.close()
    return sink.rows


def open_streams(port: int, number: int) -> list[bytes]:
    frames = b"".join(b"\0\0\x03\x01\x05" + (2 * i + 1).to_bytes(4, "big") + b"\x82\x86\x84" for i in range(number))
    return [packet(port, 1, 2, b""), packet(port, 2, 24, PREFACE + SETTINGS + frames)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("256MB", 256_000_000), ("1.5GB", 1_500_000_000), ("2 GiB", 2 << 30), ("1TiB", 1 << 40), ("999999999999TB", 1 << 50)],
)
def test_sizes_are_read_as_duckdb_reads_them(text: str, expected: int) -> None:
    assert memory_of(text).size == expected


def test_without_a_figure_there_is_a_usual_one() -> None:
    assert memory_of(None).size == limits.MEMORY_BYTES


@pytest.mark.parametrize("text", ["", "much", "1", "1GB2", "-1GB", "0x1GB", "1gb", "255MB", "1kB", 1000])
def test_what_is_no_size_or_too_little_is_refused(text: str | int) -> None:
    with pytest.raises(UsageError):
        memory_of(text)


def test_the_command_refuses_too_little_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    sample = str(CHECKOUT / "sample_pcaps" / "demo.pcapng")
    assert main([sample, "--memory", "64MB"]) == 2
    assert capsys.readouterr().err == "unmux: --memory: required at least 256MB, found 64MB\n"


@pytest.mark.parametrize("size", ["256MB", "700MB", "2GB", "64GiB"])
def test_the_shares_do_not_add_up_to_more_than_there_is(size: str) -> None:
    memory = memory_of(size)
    loading = memory.held_bytes + memory.content_bytes + memory.connection_bytes + memory.key_bytes
    loading += memory.fragment_bytes + memory.line_bytes + memory.wide_load_bytes
    assert loading + limits.MEMORY_FIXED_BYTES <= memory.size
    assert memory.query_bytes + limits.MEMORY_FIXED_BYTES // 2 <= memory.size


def test_of_connections_with_many_open_streams_those_used_longest_ago_are_put_away(tmp_path: Path) -> None:
    memory = Memory()
    memory.connection_bytes = 8_000_000
    packets = [each for port in range(1000, 1005) for each in open_streams(port, 3000)]
    rows = analyzed(tmp_path / "streams.pcap", packets, memory)
    reasons = [(row.client_port, row.close_reason) for row in rows if isinstance(row, ConnectionRecord)]
    assert reasons == [(1000, "limit"), (1001, "limit"), (1002, "capture_end"), (1003, "capture_end"), (1004, "capture_end")]
    assert [row.streams_opened_by_client for row in rows if isinstance(row, Http2ConnectionRecord)] == [3000] * 5


def test_a_connection_that_goes_on_is_not_put_away_for_those_that_rest(tmp_path: Path) -> None:
    memory = Memory()
    memory.connection_bytes = 10 * limits.CONNECTION_BYTES
    packets = [packet(9, 1, 2, b"")]
    for port in range(1000, 1040):
        later = packet(port, 1, 2, b"")
        packets += [struct.pack("<I", port) + later[4:], struct.pack("<I", port) + packet(9, 2, 16, b"")[4:]]
    rows = [row for row in analyzed(tmp_path / "syn.pcap", packets, memory) if isinstance(row, ConnectionRecord)]
    assert [row.close_reason for row in rows if row.client_port == 9] == ["capture_end"]
    assert sum(row.close_reason == "limit" for row in rows) > 25


def test_what_dissectors_hold_is_given_back_when_a_connection_is_over(tmp_path: Path) -> None:
    samples = [path for path in sorted((CHECKOUT / "sample_pcaps").rglob("*.pcap*")) if path.stat().st_size < 60_000]
    assert samples
    for sample in samples:
        captures = CaptureSet([str(sample)])
        analysis = pipeline.Analysis(captures, Context(protocols.dissectors(), "store"), Rowing())
        analysis.run()
        captures.close()
        assert analysis.connections.memory() == 0, sample
