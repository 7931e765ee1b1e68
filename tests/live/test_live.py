"""Live capture of real servers on loopback, in a network of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

import pytest

import analyzer

EXCHANGES = "SELECT target, status FROM exchanges ORDER BY started_at"
WITHOUT_CAPTURES = ("connections", "streams", "http_exchanges", "http_fields", "websocket_messages", "stalls", "anomalies")


def rows_of(store):
    found = {}
    for table in WITHOUT_CAPTURES:
        rows = store.sql(f"FROM {table}").fetchall()
        found[table] = sorted(map(repr, rows))
    return found


def test_live_and_offline_analysis_of_the_same_packets_give_the_same_rows(live, talk, tmp_path):
    running = live("lo", "-o", f"{tmp_path}/live/", "-w", tmp_path / "saved.pcapng", "--mask-key", "k")
    talk(requests=5, messages=5, size=100_000)
    status, out, errors = running.end()
    assert status == 130, errors
    assert "5 messages" not in out
    assert out.count("  200  ") == 5
    assert out.count("  101  ") == 1
    with (
        analyzer.open_store(f"{tmp_path}/live/") as seen,
        analyzer.analyze(tmp_path / "saved.pcapng", mask_key=b"k") as saved,
    ):
        assert rows_of(seen) == rows_of(saved)
        (interface,) = seen.sql("SELECT name, format, packets, dropped_packets FROM captures").fetchall()
        assert interface[0:2] == ("lo", "live")
        assert [interface[2:]] == saved.sql("SELECT packets, dropped_packets FROM captures").fetchall()
        assert seen.sql("SELECT count(*) FROM http_exchanges").fetchall() == [(6,)]
        assert seen.sql("SELECT value FROM store_metadata WHERE key = 'is_complete'").fetchall() == [("true",)]


def test_rows_are_visible_to_other_processes_while_the_capture_goes_on(live, talk, query, until, tmp_path):
    folder = f"{tmp_path}/live/"
    running = live("lo", "-o", folder)
    talk(requests=2, messages=0, path="/early")
    expected = [{"target": target, "status": "200"} for target in ("/early0?size=10", "/early1?size=10")]
    sql = "SELECT regexp_replace(target, '^[^/]*', '') AS target, status FROM exchanges ORDER BY started_at"
    assert until(lambda: query(folder, sql)) == expected
    assert query(folder, "SELECT name FROM captures") == [{"name": "lo"}]
    assert running.process.poll() is None
    assert running.end(signal.SIGTERM)[0] == 0
    assert query(folder, sql) == expected


def test_what_is_open_has_rows_that_are_replaced(live, network, servers, query, until, tmp_path):
    folder = f"{tmp_path}/live/"
    running = live("lo", "-o", folder)
    script = """
import sys
from websockets.sync.client import connect
with connect(f"ws://127.0.0.1:{sys.argv[1]}/") as socket:
    for line in sys.stdin:
        socket.send(line)
        socket.recv()
"""
    client = network.start(sys.executable, "-c", script, servers["websocket"], stdin=subprocess.PIPE, text=True)
    sql = "SELECT protocol, messages_to_server, end_reason FROM streams WHERE stream_index = 1"
    for number in range(1, 3):
        client.stdin.write("hello\n")
        client.stdin.flush()
        expected = [{"protocol": "websocket", "messages_to_server": number, "end_reason": None}]
        until(lambda expected=expected: query(folder, sql) == expected)
    (connection,) = query(folder, "SELECT close_reason, protocol FROM connections")
    assert connection == {"close_reason": None, "protocol": "http1"}
    client.communicate()
    until(lambda: query(folder, sql) == [{"protocol": "websocket", "messages_to_server": 3, "end_reason": "complete"}])
    running.end()
    assert query(folder, "SELECT close_reason FROM connections") == [{"close_reason": "fin"}]


def test_the_fields_of_a_request_that_waits_and_a_handshake_under_way_are_visible(live, network, query, until, tmp_path):
    folder = f"{tmp_path}/live/"
    running = live("lo", "-o", folder)
    script = """
import socket, ssl, sys
server = socket.create_server(("127.0.0.1", 0))
ends = [(socket.create_connection(server.getsockname()), server.accept()) for _ in range(2)]
ends[0][0].send(b"GET /slow HTTP/1.1\\r\\nHost: a\\r\\nX-Wanted: yes\\r\\n\\r\\n")
said = ssl.MemoryBIO()
client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), said, server_hostname="waits.example")
try:
    client.do_handshake()
except ssl.SSLWantReadError:
    ends[1][0].send(said.read())
sys.stdin.read()
"""
    client = network.start(sys.executable, "-c", script, stdin=subprocess.PIPE, text=True)
    fields = """
        SELECT target, value, end_reason FROM http_exchanges JOIN http_fields USING (connection_id, stream_index, exchange_index)
        WHERE name = 'X-Wanted'
    """
    handshakes = "SELECT server_name, version FROM tls_handshakes"
    until(lambda: query(folder, fields) == [{"target": "/slow", "value": "yes", "end_reason": None}])
    until(lambda: query(folder, handshakes) == [{"server_name": "waits.example", "version": None}])
    client.communicate()
    running.end()
    assert query(folder, fields) == [{"target": "/slow", "value": "yes", "end_reason": "reset"}]
    assert query(folder, handshakes) == [{"server_name": "waits.example", "version": None}]


def test_a_capture_that_is_killed_leaves_what_was_visible(live, talk, query, until, tmp_path):
    folder = f"{tmp_path}/live/"
    running = live("lo", "-o", folder)
    talk(requests=3, messages=1)
    until(lambda: query(folder, "SELECT count(*) AS n FROM http_exchanges") == [{"n": 4}])
    running.end(signal.SIGKILL)
    assert query(folder, "SELECT count(*) AS n FROM http_exchanges") == [{"n": 4}]
    assert query(folder, "SELECT value FROM store_metadata WHERE key = 'is_complete'") == [{"value": "false"}]
    again = live("lo", "-o", folder, "--append")
    talk(requests=1, messages=0)
    again.end()
    assert query(folder, "SELECT count(*) AS n FROM http_exchanges") == [{"n": 5}]


def test_a_duckdb_file_whose_capture_is_killed_opens_under_its_provisional_name(live, talk, query, until, tmp_path):
    running = live("lo", "-o", tmp_path / "live.duckdb")
    talk(requests=3, messages=0)
    assert "  200  " in running.process.stdout.readline()
    log = tmp_path / "live.duckdb.partial.wal"
    for _ in range(3):  # commits
        size = log.stat().st_size
        talk(requests=1, messages=0)
        until(lambda size=size: log.stat().st_size > size)
    running.end(signal.SIGKILL)
    assert query(tmp_path / "live.duckdb.partial", "SELECT count(*) > 2 AS some FROM exchanges") == [{"some": True}]


def test_a_full_disk_is_told_and_leaves_what_was_visible(live, talk, query, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=False).returncode:
        pytest.skip("a small disk cannot be mounted")
    try:
        running = live("lo", "-o", f"{disk}/live/", "--content", "store", "--format", "none")
        talk(requests=2, messages=0)
        (disk / "filler").write_bytes(os.urandom((shutil.disk_usage(disk).free // 4096 - 20) * 4096))
        for _ in range(40):
            talk(requests=20, messages=0)
            if running.process.poll() is not None:
                break
        status, _, errors = running.end(None)
        assert status == 1
        assert "cannot be written" in errors
        assert "No space left" in errors
        (disk / "filler").unlink()
        assert query(f"{disk}/live/", "SELECT count(*) > 0 AS some FROM captures") == [{"some": True}]
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(find_library("pcap") is None, reason="no libpcap to compile filters")
def test_a_filter_and_a_number_of_packets_are_kept_to(live, talk, servers, tmp_path):
    running = live(
        "lo", "-f", f"tcp port {servers['http']}", "--count", "10", "-w", tmp_path / "saved.pcapng", "--format", "none"
    )
    talk(requests=5, messages=3)
    status, out, errors = running.end(None)
    assert (status, out) == (0, "")
    assert " 10 packets in " in errors
    with analyzer.analyze(tmp_path / "saved.pcapng") as store:
        ports = store.sql("SELECT DISTINCT server_port, packets_to_server + packets_to_client FROM connections").fetchall()
    assert ports == [(servers["http"], 10)]


def test_json_lines_and_a_duckdb_file_and_a_duration(live, talk, tmp_path):
    running = live("lo", "-o", tmp_path / "live.duckdb", "--format", "jsonl", "--duration", "4s")
    talk(requests=2, messages=0, path="/missing")
    status, out, errors = running.end(None)
    assert status == 0, errors
    printed = [json.loads(line) for line in out.splitlines()]
    assert [(row["status"], row["error_type"], row["is_complete"]) for row in printed] == [("404", "404", True)] * 2
    with analyzer.open_store(tmp_path / "live.duckdb") as store:
        assert store.sql("SELECT count(*) FROM http_exchanges").fetchall() == [(2,)]
        assert store.sql("SELECT count(*) FROM captures").fetchall() == [(1,)]


def test_all_interfaces_at_once_and_scapys_socket_give_the_same_exchanges(live, talk):
    for arguments in (["any"], ["lo", "--portable"]):
        running = live(*arguments)
        talk(requests=3, messages=0)
        status, out, errors = running.end()
        assert status == 130
        assert out.count("  200  ") == 3, errors


def test_where_nobody_counts_drops_none_are_known_and_the_rows_are_the_same_again(live, talk, tmp_path):
    saved_file = tmp_path / "saved.pcapng"
    running = live("lo", "--portable", "-o", f"{tmp_path}/live/", "-w", saved_file, "--mask-key", "k")
    talk(requests=3, messages=1)
    assert running.end()[0] == 130
    with analyzer.open_store(f"{tmp_path}/live/") as seen, analyzer.analyze(saved_file, mask_key=b"k") as saved:
        assert rows_of(seen) == rows_of(saved)
        for store in (seen, saved):
            assert store.sql("SELECT DISTINCT dropped_packets FROM connections").fetchall() == [(None,)]
            assert store.sql("SELECT dropped_packets FROM captures").fetchall() == [(None,)]


@pytest.mark.parametrize("name", ["right", "any"])
def test_vlan_tags_that_the_kernel_keeps_beside_packets_are_put_back(live, network, tmp_path, name):
    saved_file = tmp_path / "saved.pcapng"
    network.run("ip", "link", "add", "left", "type", "veth", "peer", "name", "right")
    try:
        for end in ("left", "right"):
            network.run("ip", "link", "set", end, "up")
        running = live(name, "-o", f"{tmp_path}/live/", "-w", saved_file, "--mask-key", "k", "--format", "none")
        network.run(sys.executable, "-c", TAGGED)
        running.end()
    finally:
        network.run("ip", "link", "delete", "left")
    with analyzer.open_store(f"{tmp_path}/live/") as seen, analyzer.analyze(saved_file, mask_key=b"k") as saved:
        assert rows_of(seen) == rows_of(saved)
        flows = saved.sql("SELECT DISTINCT vlan_id FROM connections WHERE server_port = 9").fetchall()
        assert flows == [(7,)]
    if shutil.which("tshark"):
        fields = ("-T", "fields", "-e", "vlan.id", "-e", "udp.dstport")
        command = ("tshark", "-n", "-r", saved_file, "-Y", "vlan", *fields)
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        assert set(shown) == {"7\t9"}


TAGGED = """
import socket
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
packet = Ether(dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=7) / IP(src="10.9.0.1", dst="10.9.0.2") / UDP(sport=40000, dport=9) / b"x"
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
    wire.bind(("left", 0))
    wire.send(bytes(packet))
"""


def test_root_becomes_the_user_who_called_sudo_once_the_interface_is_open(live, talk, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    folder = tmp_path / "theirs"
    folder.mkdir()
    folder.chmod(0o777)
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:  # pytest's are for their owner alone
            parent.chmod(0o711)
    running = live("lo", "-o", f"{folder}/live/", "--user", "nobody")
    talk(requests=1, messages=0)
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1]
    assert set(uids) != {"0"}
    assert int(effective, 16) == 0
    assert running.end()[0] == 130
    assert {file.owner() for file in folder.rglob("*.parquet")} == {"nobody"}


def test_without_the_right_one_line_says_how_to_get_it(network, live):
    if os.geteuid() != 0:
        pytest.skip("only root can give up the right")
    command = ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw", sys.executable, "cli.py", "live", "lo"]
    done = network.run(*command, check=False, cwd=Path(__file__).resolve().parents[2])
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "plain Python" not in line]
    assert "not allowed to read from the network" in line
    assert "setcap cap_net_raw" in line


def test_an_interface_that_goes_away_ends_the_capture_and_is_told(live, network):
    network.run("ip", "link", "add", "going", "type", "veth", "peer", "name", "other")
    network.run("ip", "link", "set", "going", "up")
    running = live("going")
    network.run("ip", "link", "delete", "going")
    status, _, errors = running.end(None)
    assert status == 0
    assert "the interface going is gone" in errors


OVERLOAD = """
import socket, sys
from analyzer import open_store, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.capture.ring import RingReader
from analyzer.dissector import Context
from analyzer.live.outlet import Outlet
from analyzer.live.running import Running
from analyzer.store.segments import SegmentStore

running = Running(1.0)
reader = RingReader("lo", running.idle, ring_bytes=1 << 19)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.connect(("127.0.0.1", 9))
    for _ in range(2000):
        try:
            sender.send(bytes(1400))
        except ConnectionRefusedError:
            sender.send(bytes(1400))
found = protocols.dissectors()
segments = SegmentStore(sys.argv[1], records=[record for dissector in found for record in dissector.records])
running.run(CaptureSet([], readers=[reader]), Context(found), Outlet(segments, None))
segments.close()
"""


def test_packets_that_the_kernel_drops_are_counted_and_told(network, tmp_path):
    root = Path(__file__).resolve().parents[2]
    network.run(sys.executable, "-c", OVERLOAD, f"{tmp_path}/live/", env={**os.environ, "PYTHONPATH": str(root)})
    with analyzer.open_store(f"{tmp_path}/live/") as store:
        ((packets, dropped),) = store.sql("SELECT packets, dropped_packets FROM captures").fetchall()
        told = store.sql("SELECT sum(occurrences) FROM anomalies WHERE kind = 'dropped_packets'").fetchall()
    assert packets > 0
    assert dropped > 0
    assert packets + dropped >= 2000  # and what is said of the port that nobody listens on
    assert told == [(dropped,)]
