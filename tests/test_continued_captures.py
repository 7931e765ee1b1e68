"""A capture in several files, in a folder, on standard input or compressed says what it says in one file."""

import gzip
import json
import lzma
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analyzer import pipeline, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.dissector import Context
from analyzer.records import CaptureRecord, FieldLine, Rows
from analyzer.schema import Stability, table_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SAMPLES = Path(__file__).resolve().parent.parent / "sample_pcaps"
PCAPS = sorted(SAMPLES.rglob("*.pcap"))
PCAPNGS = sorted(SAMPLES.rglob("*.pcapng"))
each_capture = pytest.mark.parametrize("path", PCAPS + PCAPNGS, ids=[str(path.relative_to(SAMPLES)) for path in PCAPS + PCAPNGS])


class Kept:
    """Keeps all rows."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def add(self, rows: Rows) -> None:
        self.rows += rows


def said(paths: list[str]) -> list[str]:
    """What the rows of these captures say, and when, in an order of its own."""
    kept = Kept()
    captures = CaptureSet(paths)
    pipeline.run(captures, Context(protocols.dissectors(), "store", frames=True), kept)
    captures.close()
    texts = []
    for row in kept.rows:
        columns = [column for column in table_of(type(row)).columns if column.stability is not Stability.CAPTURE]
        if columns and not isinstance(row, CaptureRecord):
            texts.append(f"{table_of(type(row)).name} {[plain(getattr(row, column.name)) for column in columns]}")
    return sorted(texts)


def plain(value: object) -> object:
    return [(line.name, line.value) for line in value if isinstance(line, FieldLine)] if isinstance(value, list) else value


def boundaries(data: bytes) -> tuple[int, list[int]]:
    """Where the packets of a pcap or of a pcapng with one section begin, and where the last one ends; first the header's length."""
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        at, header, found = 0, 0, []
        while at < len(data):
            kind, length = struct.unpack_from("<II", data, at)
            if kind == 6:
                header = header or at
                found.append(at)
            at += length
        return header, [*found, at]
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    at, found = 24, []
    while at < len(data):
        found.append(at)
        at += 16 + struct.unpack_from(order + "I", data, at + 8)[0]
    return 24, [*found, at]


def parts(data: bytes, count: int, randomness: random.Random) -> list[bytes]:
    """The capture in ``count`` files, as tcpdump -C cuts it, or as many as it has packets."""
    header, places = boundaries(data)
    cuts = sorted(randomness.sample(places[1:-1], min(count - 1, len(places) - 2)))
    return [data[:header] + data[start:end] for start, end in zip([header, *cuts], [*cuts, len(data)], strict=True)]


def said_of_standard_input(data: bytes) -> list[str]:
    """What is said of a capture that a pipe brings."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", __file__, "-"]
    ended = subprocess.run(command, input=data, stdout=subprocess.PIPE, env=environment, check=True)
    found: list[str] = json.loads(ended.stdout)
    return found


@each_capture
def test_connections_continue_from_one_file_into_the_next(path: Path, tmp_path: Path) -> None:
    expected = said([str(path)])
    for count in (2, 5):
        folder = tmp_path / str(count)
        folder.mkdir()
        files = []
        for number, part in enumerate(parts(path.read_bytes(), count, random.Random(f"{path.name} {count}"))):
            file = folder / f"part{number}{path.suffix}"
            file.write_bytes(part)
            files.append(str(file))
        assert said(files) == expected
        assert said([str(folder)]) == expected
        assert said([f"{folder}/part*"]) == expected


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstd.compress,
    "xz": lzma.compress,
    "plain": bytes,
}


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize("path", [SAMPLES / "demo.pcapng", SAMPLES / "tcp" / "reordering.pcap"], ids=["pcapng", "pcap"])
def test_compression_and_standard_input_change_nothing(path: Path, suffix: str, tmp_path: Path) -> None:
    expected = said([str(path)])
    file = tmp_path / f"capture.{suffix}"
    file.write_bytes(COMPRESSIONS[suffix](path.read_bytes()))
    assert said([str(file)]) == expected
    assert said_of_standard_input(file.read_bytes()) == expected


def test_parts_may_be_compressed_each_in_its_own_way(tmp_path: Path) -> None:
    path = SAMPLES / "demo.pcapng"
    for number, (part, suffix) in enumerate(zip(parts(path.read_bytes(), 4, random.Random(1)), COMPRESSIONS, strict=True)):
        (tmp_path / f"{number}.{suffix}").write_bytes(COMPRESSIONS[suffix](part))
    assert said([str(tmp_path)]) == said([str(path)])


if __name__ == "__main__":  # standard input needs a process of its own
    print(json.dumps(said(sys.argv[1:])))
