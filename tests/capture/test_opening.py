"""From a path to a reader: files, pipes, standard input, and what is no capture."""

import gzip
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import analyzer
from analyzer.capture.capture_set import CaptureSet
from analyzer.errors import CaptureError

READ_STANDARD_INPUT = """
from analyzer.capture.capture_set import CaptureSet
captures = CaptureSet(["-"])
while (reader := captures.next()) is not None:
    print(reader.frame, reader.timestamp, reader.data[reader.offset : reader.offset + reader.captured_length])
(reader,) = captures.readers
print(reader.name, reader.format, reader.compression, reader.size, reader.bytes_read, captures.size)
"""


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_standard_input_is_read_as_a_pipe(files, kind, compression):
    if kind == "pcap":
        written = files.Pcap().packet(1, 0, b"a").packet(2, 0, b"b").bytes
    else:
        written = files.Pcapng().interface().enhanced(0, 1_000_000, b"a").enhanced(0, 2_000_000, b"b").bytes
    stored = gzip.compress(written) if compression else written
    root = str(Path(analyzer.__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", READ_STANDARD_INPUT], input=stored, capture_output=True, check=True, cwd=root)
    assert done.stdout.decode().splitlines() == [
        "1 1000000000 b'a'",
        "2 2000000000 b'b'",
        f"- {kind} {compression} None {len(stored)} None",
    ]


def test_a_named_pipe_is_read_once_and_piece_by_piece(files, tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    written = files.Pcap().packet(1, 0, b"first").packet(2, 0, b"second").bytes

    def write():
        with path.open("wb", buffering=0) as pipe:
            for start in range(0, len(written), 5):
                pipe.write(written[start : start + 5])

    writer = threading.Thread(target=write)
    writer.start()
    packets, reader = files.read(path)
    writer.join()
    assert [packet.data for packet in packets] == [b"first", b"second"]
    assert (reader.size, reader.bytes_read, reader.truncation) == (None, len(written), None)


REQUIRED = "required a pcap or pcapng file, plain or in gzip, zstd or xz, found"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"x", "78"),
        (b"GET / HTTP/1.1\r\n", "47 45 54 20 2f 20 48 54"),
        (b"BZh91AY&SY", "bzip2 data (42 5a 68 39 31 41 59 26)"),
        (b"PK\x03\x04\x00\x00\x00\x00", "a zip archive (50 4b 03 04 00 00 00 00)"),
        (b"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x00\x00\x00\x00", "0a 0d 0d 0a 1c 00 00 00"),
        (gzip.compress(b"hello", mtime=0), "68 65 6c 6c 6f in gzip data"),
        (gzip.compress(b"", mtime=0), "nothing in gzip data"),
    ],
)
def test_a_file_that_is_no_capture_is_an_error_with_what_was_found(tmp_path, content, found):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(CaptureError) as error:
        CaptureSet([str(path)])
    assert str(error.value) == f"{path}: {REQUIRED} {found}"


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(CaptureError) as error:
        CaptureSet([str(tmp_path / "missing.pcap")])
    assert str(error.value) == f"{tmp_path}/missing.pcap: required a file that can be read, found: No such file or directory"


def test_a_path_that_no_file_can_have_is_an_error():
    with pytest.raises(CaptureError, match="required a file that can be read"):
        CaptureSet(["a\x00b"])
