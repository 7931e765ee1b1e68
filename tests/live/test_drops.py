"""Packets that the kernel drops, because nobody reads them for a while."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import analyzer

ROOT = Path(__file__).resolve().parents[2]

# Live capture with a ring of few blocks, of 256 KiB each.
CAPTURE = """
import signal, sys
from analyzer import protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.capture.ring import RingReader
from analyzer.capture.saving import Saver
from analyzer.dissector import Context
from analyzer.live.outlet import Outlet
from analyzer.live.running import Running
from analyzer.store.segments import SegmentStore

running = Running()
signal.signal(signal.SIGINT, lambda number, _: setattr(running, "signal", number))
found = protocols.dissectors()
records = [record for dissector in found for record in dissector.records]
segments = SegmentStore(sys.argv[1], records=records, mask_key=b"k")
reader = RingReader(sys.argv[3], running.idle, ring_bytes=int(sys.argv[4]) << 18)
running.run(CaptureSet([], readers=[reader]), Context(found), Outlet(segments, None), saver=Saver(sys.argv[2]))
segments.close()
print(running.dropped)
"""

# A WebSocket conversation and a UDP flow, which go on with each line of standard input.
CLIENT = """
import socket, sys
from websockets.sync.client import connect
with connect(f"ws://127.0.0.1:{sys.argv[1]}/") as web_socket, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flow:
    flow.bind(("127.0.0.1", 7777))
    for line in sys.stdin:
        web_socket.send(line)
        web_socket.recv()
        flow.sendto(b"datagram", ("127.0.0.1", 7778))
        print("done", flush=True)
"""

FLOOD = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flow:
    flow.bind(("127.0.0.1", 7779))
    for _ in range(2000):
        flow.sendto(bytes(1400), ("127.0.0.1", 7780))
"""

TABLES = ("connections", "streams", "http_exchanges", "http_fields", "websocket_messages", "stalls", "anomalies", "captures")


def rows_of(store):
    """All rows, but for what tells a file from an interface."""
    found = {}
    for table in TABLES:
        left_out = " EXCLUDE (name, format)" if table == "captures" else ""
        found[table] = sorted(map(repr, store.sql(f"SELECT *{left_out} FROM {table}").fetchall()))
    return found


@pytest.fixture
def capture(network, tmp_path):
    """Starts a capture with a small ring."""
    started = []

    def start(interface, blocks):
        process = network.start(
            *(sys.executable, "-c", CAPTURE, f"{tmp_path}/live/", tmp_path / "saved.pcapng", interface, blocks),
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("interface", ["lo", "any"])
def test_a_drop_marks_the_connections_that_were_open_then(
    capture, network, servers, talk, query, until, is_bound, tmp_path, interface
):
    folder = f"{tmp_path}/live/"
    capturing = capture(interface, 2)
    until(lambda: is_bound(network, capturing.pid))
    talk(requests=1, messages=0, path="/before")
    command = (sys.executable, "-c", CLIENT, servers["websocket"])
    client = network.start(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        client.stdin.write("one\n")
        client.stdin.flush()
        client.stdout.readline()
        until(lambda: query(folder, "SELECT count(*) AS n FROM websocket_messages") == [{"n": 2}])
        os.kill(capturing.pid, signal.SIGSTOP)
        network.run(sys.executable, "-c", FLOOD)
        os.kill(capturing.pid, signal.SIGCONT)
        until(lambda: query(folder, "SELECT max(packets) > 100 AS some FROM captures") == [{"some": True}])
        client.stdin.write("two\n")
        client.stdin.flush()
        client.stdout.readline()
        until(lambda: query(folder, "SELECT count(*) AS n FROM websocket_messages") == [{"n": 4}])
        talk(requests=1, messages=0, path="/after")
        until(lambda: query(folder, "SELECT count(*) AS n FROM http_exchanges") == [{"n": 3}])
    finally:
        client.communicate()
    capturing.send_signal(signal.SIGINT)
    said, _ = capturing.communicate(timeout=60)
    assert capturing.returncode == 0
    with analyzer.open_store(folder) as store, analyzer.analyze(tmp_path / "saved.pcapng", mask_key=b"k") as saved:
        ((dropped,),) = store.sql("SELECT dropped_packets FROM captures").fetchall()
        assert dropped > 500
        assert json.loads(said) == dropped
        marked = dict(
            store.sql(
                "SELECT coalesce(regexp_extract(target, '/(before|after)', 1), '') || client_port * (transport = 'udp')::INTEGER,"
                " dropped_packets FROM connections LEFT JOIN http_exchanges USING (connection_id)"
            ).fetchall()
        )
        # nothing tells that UDP is complete, and what TCP says is all there
        assert marked == {"before0": 0, "0": dropped, "7777": dropped, "7779": dropped, "after0": 0}
        whole = store.sql("SELECT count(*) FILTER (is_complete), count(*) FROM websocket_messages").fetchall()
        assert whole == [(6, 6)]  # the two closes too
        assert store.sql("SELECT sum(missing_bytes) FROM anomalies WHERE kind = 'missing_bytes'").fetchall() == [(None,)]
        told = store.sql("SELECT packet, occurrences, found FROM anomalies WHERE kind = 'dropped_packets'").fetchall()
        assert [words for _, *words in told] == [[dropped, f"{dropped} lost when capturing"]]
        assert rows_of(store) == rows_of(saved)


# Sends for a while, faster than it is read, and prints how much.
LOAD = """
import socket, time
sent = 0
end = time.monotonic() + 2
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as answered, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flow:
    answered.bind(("127.0.0.1", 7780))
    while time.monotonic() < end:
        for _ in range(100):
            flow.sendto(bytes(1400), ("127.0.0.1", 7780))
        sent += 100
print(sent)
"""


def test_under_a_load_that_lasts_each_drop_is_told_once(capture, network, query, until, is_bound, tmp_path):
    folder = f"{tmp_path}/live/"
    capturing = capture("lo", 8)
    until(lambda: is_bound(network, capturing.pid))
    os.kill(capturing.pid, signal.SIGSTOP)
    load = network.start(sys.executable, "-c", LOAD, stdout=subprocess.PIPE, text=True)
    until(lambda: int(network.run("cat", "/proc/net/snmp").stdout.split("Udp: ")[2].split()[3]) > 10_000)
    os.kill(capturing.pid, signal.SIGCONT)
    sent = int(load.communicate()[0])
    until(lambda: query(folder, f"SELECT count(*) > 0 AS some FROM captures WHERE packets + dropped_packets >= {sent}"))
    capturing.send_signal(signal.SIGINT)
    said, _ = capturing.communicate(timeout=60)
    with analyzer.open_store(folder) as store, analyzer.analyze(tmp_path / "saved.pcapng", mask_key=b"k") as saved:
        ((packets, dropped),) = store.sql("SELECT packets, dropped_packets FROM captures").fetchall()
        assert packets + dropped == sent
        assert json.loads(said) == dropped > 0
        told = store.sql("SELECT sum(occurrences)::BIGINT FROM anomalies WHERE kind = 'dropped_packets'").fetchall()
        assert told == [(dropped,)]
        assert store.sql("SELECT dropped_packets FROM connections").fetchall() == told
        assert rows_of(store) == rows_of(saved)
