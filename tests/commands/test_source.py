"""Signals and pipes: what was read is kept, and nothing is left behind."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

import analyzer


def stored(path):
    with analyzer.open_store(str(path)) as store:
        ((count,),) = store.sql("SELECT count(*) FROM exchanges").fetchall()
        ((complete,),) = store.sql("SELECT value FROM store_metadata WHERE key = 'is_complete'").fetchall()
    return count, complete


def wait_for(condition):
    while not condition():
        time.sleep(0.02)


def fed(pipe, demo):
    """Write the demo into a pipe that stays open, and wait until it was read."""
    os.write(pipe, Path(demo).read_bytes())  # more than a pipe holds: when this returns, most of it was read
    time.sleep(0.5)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_wait_for_standard_input_and_what_was_read_is_stored(process, demo, tmp_path, number, status):
    path = tmp_path / "out.duckdb"
    theirs, ours = os.pipe()
    child = process("-", "-o", path, stdin=theirs)
    os.close(theirs)
    fed(ours, demo)
    child.send_signal(number)
    _, err = child.communicate()
    os.close(ours)
    assert child.returncode == status
    assert "interrupted; this is what was read so far" in err
    assert f"wrote {path}: 6 connections, 41 exchanges" in err
    assert stored(path) == (41, "false")


def test_a_signal_ends_a_wait_for_a_named_pipe(process, demo, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    child = process(pipe, "-q")
    ours = os.open(pipe, os.O_WRONLY)
    fed(ours, demo)
    child.send_signal(signal.SIGINT)
    child.communicate()
    os.close(ours)
    assert child.returncode == 130


def test_a_signal_between_packets_of_a_long_capture_ends_it(process, samples, tmp_path):
    path = tmp_path / "out.duckdb"
    capture = (samples / "http1" / "keep_alive.pcap").read_bytes()
    theirs, ours = os.pipe()
    child = process("-", "-qo", path, stdin=theirs)
    os.close(theirs)

    def write():
        os.write(ours, capture[:24])
        try:
            while True:
                os.write(ours, capture[24:])
        except BrokenPipeError:
            os.close(ours)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(2)
    child.send_signal(signal.SIGINT)
    child.communicate()
    writer.join()
    assert child.returncode == 130
    count, complete = stored(path)
    assert count > 0
    assert complete == "false"


def test_a_signal_stops_a_query_and_leaves_no_temporary_store(process, demo, tmp_path):
    endless = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
    child = process("query", demo, endless, env={"TMPDIR": str(tmp_path)})
    wait_for(lambda: list(tmp_path.glob("unmux-*/store.duckdb")))
    time.sleep(1)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate()
    assert child.returncode == 130
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_named_as_a_file_is_read_once(process, demo, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    child = process("query", pipe, "SELECT count(*) AS n FROM exchanges", "-f", "csv")
    pipe.write_bytes(Path(demo).read_bytes())
    assert child.communicate()[0] == "n\n41\n"


def test_there_is_a_progress_bar_only_on_a_terminal(process, demo):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    child = process(demo, "-q", stderr=theirs, env={"TERM": "xterm"})
    os.close(theirs)
    said = b""
    while True:
        try:
            said += os.read(ours, 65536)
        except OSError:  # closed at its end
            break
    assert child.wait() == 0
    os.close(ours)
    assert b"reading" in said
    assert process(demo, "-q").communicate()[1].count("reading") == 0


def test_a_report_on_a_database_of_another_program_fails_in_a_line(tmp_path, capsys):
    import duckdb

    from analyzer.commands import main

    duckdb.connect(str(tmp_path / "other.duckdb")).close()
    assert main(["report", "overview", str(tmp_path / "other.duckdb")]) == 1
    err = capsys.readouterr().err
    assert "other.duckdb: required a store of unmux with schema version 1, found no table store_metadata" in err
    assert "Traceback" not in err


def test_a_full_disk_behind_standard_output_is_told_in_a_line():
    import subprocess
    import sys
    from pathlib import Path

    demo = Path(__file__).parents[2] / "sample_pcaps" / "demo.pcapng"
    command = [sys.executable, "-c", "import sys; from analyzer.commands import main; sys.exit(main())", str(demo)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
