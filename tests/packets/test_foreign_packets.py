"""Real captures that nobody here made: packet by packet against dpkt, and counts against tshark's."""

import json
from collections.abc import Iterator
from pathlib import Path

import dpkt
import pytest

from analyzer.packets.decoder import NOTHING, TCP, UDP, Decoder

DIFFERENCES = Path(__file__).with_name("foreign_differences.tsv")
Transport = tuple[int, ...]


def captures(folder: Path) -> list[str]:
    lines = (folder / "INDEX.tsv").read_text().splitlines()[1:]
    return [line.split("\t")[0] for line in lines if line]


def packets(path: Path) -> Iterator[tuple[int, bytes]]:
    """Link type and bytes of each packet, read by dpkt; nothing where dpkt cannot read the file (any further)."""
    with path.open("rb") as file:
        try:
            reader = dpkt.pcap.UniversalReader(file)
            for _, data in reader:
                yield reader.datalink(), bytes(data)
        except (ValueError, dpkt.Error, EOFError):
            return


def frame_of(link_type: int, data: bytes) -> dpkt.Packet | None:
    """dpkt's idea of a frame, None where it has none."""
    raw = dpkt.ip6.IP6 if data[:1] >= b"\x60" else dpkt.ip.IP
    layers = {
        0: dpkt.loopback.Loopback,
        1: dpkt.ethernet.Ethernet,
        9: dpkt.ppp.PPP,
        12: raw,
        101: raw,
        108: dpkt.loopback.Loopback,
        113: dpkt.sll.SLL,
        228: dpkt.ip.IP,
        229: dpkt.ip6.IP6,
        276: dpkt.sll2.SLL2,
    }
    try:
        return layers[link_type](data)
    except Exception:  # noqa: BLE001  # dpkt raises many kinds on damaged packets
        return None


def innermost(packet: object) -> Transport | None:
    """(kind, ports, sequence, acknowledgment, flags, payload) of the innermost TCP or UDP, None without or in fragments."""
    found: Transport | None = None
    while isinstance(packet, dpkt.Packet):
        if isinstance(packet, dpkt.ip.IP) and (packet.mf or packet.offset):
            return None
        if isinstance(packet, dpkt.ip6.IP6) and dpkt.ip.IP_PROTO_FRAGMENT in packet.extension_hdrs:
            return None
        if isinstance(packet, dpkt.icmp.ICMP | dpkt.icmp6.ICMP6):
            return None
        if isinstance(packet, dpkt.tcp.TCP):
            found = (TCP, packet.sport, packet.dport, packet.seq, packet.ack, packet.flags & 0xFF, len(packet.data))
        elif isinstance(packet, dpkt.udp.UDP):
            found = (UDP, packet.sport, packet.dport, min(packet.ulen - 8, len(packet.data)))
        packet = packet.data
    return found


def decoded(decoder: Decoder, kind: int) -> Transport | None:
    if kind == NOTHING:
        return None
    if kind == UDP:
        return UDP, decoder.source_port, decoder.destination_port, decoder.payload_length
    return (
        TCP,
        decoder.source_port,
        decoder.destination_port,
        decoder.sequence,
        decoder.acknowledgment,
        decoder.flags,
        decoder.payload_length,
    )


def test_every_packet_that_dpkt_decodes_is_decoded_the_same(shared_captures: Path) -> None:
    different = []
    compared = 0
    for name in captures(shared_captures):
        decoder = Decoder()
        for frame, (link_type, data) in enumerate(packets(shared_captures / name), 1):
            kind = decoder.decode(data, 0, len(data), len(data), link_type, 0, frame, 0)
            theirs = innermost(frame_of(link_type, data))
            if theirs is None or decoder.encapsulation is not None:
                continue  # dpkt opens few tunnels
            compared += 1
            if decoded(decoder, kind) != theirs:
                different.append((name, str(frame), decoded(decoder, kind), theirs, decoder._reason))
    listed = known("dpkt")
    assert [found for found in different if found[:2] not in listed] == []
    assert {found[:2] for found in different} == set(listed)
    assert compared > 6000


def known(oracle: str) -> dict[tuple[str, str], str]:
    """(capture, what) -> reason, for the differences to one oracle that are understood."""
    rows = [line.split("\t") for line in DIFFERENCES.read_text().splitlines() if line and not line.startswith("#")]
    return {(name, what): reason for who, name, what, reason in rows if who == oracle}


def test_as_many_tcp_and_udp_packets_are_found_as_tshark_finds(shared_captures: Path) -> None:
    different = {}
    compared = 0
    for name in captures(shared_captures):
        truth = shared_captures / "_truth" / f"{name}.truth.json"
        if not truth.is_file():
            continue
        expected = json.loads(truth.read_text())
        decoder = Decoder()
        counts = {NOTHING: 0, TCP: 0, UDP: 0}
        for frame, (link_type, data) in enumerate(packets(shared_captures / name), 1):
            counts[decoder.decode(data, 0, len(data), len(data), link_type, 0, frame, 0)] += 1
        if sum(counts.values()) != expected["packets"]:
            continue  # dpkt does not read this file whole
        compared += 1
        theirs = expected["protocol_packets"]
        if "tcp" in theirs and counts[TCP] != theirs["tcp"]:
            different[name, "tcp"] = (counts[TCP], theirs["tcp"])
        if "tcp" not in theirs and counts[UDP] != theirs.get("udp", 0):
            different[name, "udp"] = (counts[UDP], theirs.get("udp", 0))
    listed = known("tshark")
    assert {found: numbers for found, numbers in different.items() if found not in listed} == {}
    assert set(different) == set(listed)
    assert compared > 200


@pytest.mark.parametrize("step", [1, 3])
def test_no_cut_of_a_foreign_packet_raises(shared_captures: Path, step: int) -> None:
    decoder = Decoder()
    for name in captures(shared_captures)[step::40]:
        for link_type, data in list(packets(shared_captures / name))[:20]:
            for length in range(0, min(len(data), 200), step):
                kind = decoder.decode(data[:length], 0, length, len(data), link_type, 0, 1, 0)
                assert kind == NOTHING or decoder.payload_offset + decoder.payload_length <= max(length, 66_000)
