"""Captures of one direction only: requests without responses, and the reverse, are rows that say so."""

from collections import Counter
from pathlib import Path
from typing import Any

import dpkt
import pytest

import analyzer

SAMPLES = Path(__file__).resolve().parent.parent / "sample_pcaps"
HTTP = sorted(path for folder in ("http1", "http2") for path in (SAMPLES / folder).glob("*.pcap"))
# The first is not a whole to compare with; in the second only the client speaks HTTP/2.
WHOLE = {path.name: path for path in HTTP if path.name not in {"joined_late.pcap", "answered_in_http1.pcap"}}
QUERY = "SELECT request_method, authority, target, status_code, end_reason FROM http_exchanges"
# What one direction alone cannot tell
ONLY_WITH_RESPONSES = {
    "connect_tunnel.pcap": "what follows CONNECT is a tunnel if the response says so",
    "h2c_upgrade.pcap": "what follows is HTTP/2 if the response says so",
    "server_push.pcap": "the server sends requests too",
}
ONLY_WITH_REQUESTS = {
    "connect_tunnel.pcap": "a 200 has content unless it answers CONNECT",
    "head_204_304.pcap": "a response has content unless it answers HEAD",
}


def one_way(path: Path, target: Path, *, is_to_server: bool) -> Path:
    """The packets of the ends that open the connections, or those of the others."""
    with path.open("rb") as file:
        packets = list(dpkt.pcap.Reader(file))
    parsed = [dpkt.ethernet.Ethernet(data).data for _, data in packets]
    pairs = [(packet, data) for packet, data in zip(packets, parsed, strict=True) if isinstance(data.data, dpkt.tcp.TCP)]
    packets, parsed = [packet for packet, _ in pairs], [data for _, data in pairs]
    ends = [(packet.src, packet.data.sport) for packet in parsed]
    flags = dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK
    clients = {end for end, packet in zip(ends, parsed, strict=True) if packet.data.flags & flags == dpkt.tcp.TH_SYN}
    with target.open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for (timestamp, data), end in zip(packets, ends, strict=True):
            if (end in clients) == is_to_server:
                writer.writepkt(data, timestamp)
    return target


def exchanges(path: Path) -> list[tuple[Any, ...]]:
    with analyzer.analyze([str(path)]) as store:
        return store.sql(QUERY).fetchall()


@pytest.mark.parametrize("name", sorted(set(WHOLE) - set(ONLY_WITH_RESPONSES)))
def test_requests_alone_are_rows_that_were_cut(name: str, tmp_path: Path) -> None:
    found = exchanges(one_way(WHOLE[name], tmp_path / "alone.pcap", is_to_server=True))
    assert Counter(row[:3] for row in found) == Counter(row[:3] for row in exchanges(WHOLE[name]))
    assert {row[3] for row in found} == {None}
    assert {row[4] for row in found} <= {"cut", "reset"}


@pytest.mark.parametrize("name", sorted(set(WHOLE) - set(ONLY_WITH_REQUESTS)))
def test_responses_alone_are_rows_without_a_request(name: str, tmp_path: Path) -> None:
    found = exchanges(one_way(WHOLE[name], tmp_path / "alone.pcap", is_to_server=False))
    statuses = Counter(row[3] for row in exchanges(WHOLE[name]) if row[3] is not None)
    assert Counter(row[3] for row in found) == statuses
    promised = [row for row in found if row[0] is not None]
    assert bool(promised) == (name == "server_push.pcap")
    assert {row[4] for row in found if row not in promised} <= {"no request", "reset"}
