"""The tree shows each stream inside what carried it."""

import re

import analyzer


def labels(out):
    """Depth and label of each line of a tree."""
    return [(len(match[1]) // 4, match[2]) for match in re.finditer(r"^((?:│   |    |├── |└── )*)(.*)$", out, re.M) if match[2]]


def test_http1_exchanges_and_the_websocket_are_inside_their_connection(unmux, demo):
    out = unmux("tree", demo).out
    assert re.search(r"^1  10\.0\.0\.1:\d+ → 10\.0\.0\.2:8765  http1 ", out, re.M)
    assert re.search(r"^├── :0.0  GET 10\.0\.0\.2:8765/feed  → 101 ", out, re.M)
    assert re.search(r"^└── :1  websocket  32 messages →, 32 ←  846 B", out, re.M)


def test_http2_streams_say_their_number_target_status_and_end(unmux, demo):
    out = unmux("tree", demo, width=120).out
    assert re.search(r"^├── :2  stream 3  GET 10\.0\.0\.2:8081/v1/orders/1001  → 200  1\.33 kB  18\.3 ms$", out, re.M)
    assert re.search(r"/v1/export  → 200  30\.1 kB  \(reset CANCEL\)$", out, re.M)


def test_streams_of_an_upgraded_connection_are_a_level_deeper(unmux, samples):
    found = labels(unmux("tree", samples / "http2" / "h2c_upgrade.pcap").out)
    assert found[0][0] == 0
    assert any(depth == 1 and re.match(r":1  http2 ", label) for depth, label in found)
    assert any(depth == 2 and re.match(r":2  stream 1  GET ", label) for depth, label in found)


def test_a_websocket_over_http2_says_so(unmux, samples):
    out = unmux("tree", samples / "websocket" / "over_http2.pcap", width=120).out
    assert re.search(r"^├── :1  stream 1  CONNECT .* → 200 .*\n│   └── :2  websocket  \d+ messages →, \d+ ← ", out, re.M)


def test_targets_give_way_and_lines_stay_in_the_terminal(unmux, samples):
    for folder in ("websocket/over_http2.pcap", "http2/h2c_upgrade.pcap", "http1/connect_tunnel.pcap", "demo.pcapng"):
        for line in unmux("tree", samples / folder).out.splitlines():
            assert len(line) <= 80 or line[0].isdigit()
            assert not line.endswith(" ")


def test_what_is_left_out_is_said_and_one_connection_is_shown_whole(unmux, store_path):
    out = unmux("tree", store_path, "-n", 4, "--streams", 2).out
    number = int(re.search(r"^(\d+) .*http2", out, re.M)[1])
    with analyzer.open_store(store_path) as store:
        ((streams, total),) = store.sql(
            "SELECT count(*), (SELECT count(*) FROM connections) FROM streams WHERE depth = 1 AND connection_id = ?", [number]
        ).fetchall()
    assert f"└── … and {streams - 2} more: unmux tree SOURCE {number} shows them all\n" in out
    assert out.endswith(f"… and {total - 4} more connections: --connections {total} shows them all\n")
    whole = unmux("tree", store_path, number).out
    assert "more" not in whole
    assert sum("  stream " in line for line in whole.splitlines()) == streams


def test_a_tunnel_and_what_went_through_it(unmux, samples):
    found = labels(unmux("tree", samples / "http1" / "connect_tunnel.pcap").out)
    assert [(depth, label.split()[0]) for depth, label in found] == [(0, "1"), (1, ":0.0"), (1, ":1"), (2, ":1.0"), (2, ":1.1")]


def test_a_connection_without_data_is_a_line(unmux, samples):
    assert re.search(r"tcp, no data  0 B .*REJ$", unmux("tree", samples / "tcp" / "refused.pcap").out, re.M)
