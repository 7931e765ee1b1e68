"""Targets for what reads capture files and packets."""

import gzip
import random
import tempfile
from contextlib import suppress
from pathlib import Path

from changes import Misbehaved, Target, capture_files, changed

from analyzer.capture.capture_set import CaptureSet
from analyzer.errors import CaptureError
from analyzer.packets.decoder import NOTHING, TCP, Decoder

HEADERS = 400  # bytes at a file's beginning where most of its headers are
Packet = tuple[int, int, int, int, int, bytes]


def _packets(path: Path, block_bytes: int) -> tuple[list[Packet], list[str | None]]:
    """The packets of a file, and why reading ended early. Raises CaptureError where it is no capture."""
    captures = CaptureSet([str(path)], 0, block_bytes)
    found = []
    while (reader := captures.next()) is not None:
        data = reader.data[reader.offset : reader.offset + reader.captured_length]
        found.append((reader.timestamp, reader.link_type, reader.interface, reader.captured_length, reader.original_length, data))
    captures.close()
    return found, [None if reader.truncation is None else reader.truncation for reader in captures.readers]


def _format(is_next_generation: bool) -> Target:
    """Files of one format: the same packets in blocks of any size."""
    corpus = []
    for path in capture_files():
        data = path.read_bytes()
        if len(data) < 60_000 and (data[:4] == b"\n\r\r\n") == is_next_generation and data[:2] != b"\x1f\x8b":
            corpus.append(data)
    path = Path(tempfile.mkdtemp(prefix="unmux-fuzz-")) / "input"

    def once(randomness: random.Random) -> bytes:
        data = randomness.choice(corpus)
        data = changed(data[:HEADERS], randomness) + data[HEADERS:] if randomness.random() < 0.6 else changed(data, randomness)
        path.write_bytes(data)
        results: list[object] = []
        for block_bytes in (1 << 16, randomness.choice([1, 3, 24, 100, 4096])):
            try:
                results.append(_packets(path, block_bytes))
            except CaptureError as error:
                results.append(str(error))
        if results[0] != results[1]:
            raise Misbehaved(f"{results[0]!r:.200} or, in other blocks, {results[1]!r:.200}", data)
        return data

    return once


def pcap() -> Target:
    """Files in the pcap format."""
    return _format(False)


def pcapng() -> Target:
    """Files in the pcapng format."""
    return _format(True)


def compressed() -> Target:
    """Compressed files with changed bytes are read up to there."""
    corpus = [gzip.compress(path.read_bytes()) for path in capture_files() if path.stat().st_size < 30_000]
    path = Path(tempfile.mkdtemp(prefix="unmux-fuzz-")) / "input.gz"

    def once(randomness: random.Random) -> bytes:
        data = changed(randomness.choice(corpus), randomness)
        path.write_bytes(data)
        with suppress(CaptureError):
            _packets(path, 1 << 16)
        return data

    return once


def _facts(decoder: Decoder, kind: int) -> tuple[object, ...]:
    """What is said of a packet, whatever lies around it."""
    if kind == NOTHING:
        return ()
    payload = decoder.data[decoder.payload_offset : decoder.payload_offset + decoder.payload_length]
    facts: tuple[object, ...] = (
        kind,
        payload,
        decoder.original_payload_length,
        decoder.flow_key,
        decoder.reverse_key(),
        decoder.vlan_id,
        decoder.encapsulation,
        decoder.ip_identification,
        decoder.checksum_is_valid(),
        decoder.packet_digest(),
    )
    if kind == TCP:
        facts += (decoder.sequence, decoder.acknowledgment, decoder.flags, decoder.window, decoder.tcp_timestamp())
        facts += (decoder.window_scale, decoder.maximum_segment_size, tuple(decoder.sack_blocks()))
    if len(payload) != decoder.payload_length or not 0 <= decoder.payload_length <= decoder.original_payload_length:
        raise ValueError(f"a payload of {len(payload)} bytes where {decoder.payload_length} were told")
    return facts


def decoder() -> Target:
    """Packets of every link type: what is said of one depends on nothing but its bytes."""
    corpus: dict[int, list[tuple[bytes, int]]] = {}
    for path in capture_files():
        try:
            packets, _ = _packets(path, 1 << 16)
        except CaptureError:
            continue
        for _, link_type, _, captured, original, data in packets[:200]:
            if captured:
                corpus.setdefault(link_type, []).append((data, original))
    link_types = sorted(corpus)

    def once(randomness: random.Random) -> bytes:
        link_type = randomness.choice(link_types)
        data, original = randomness.choice(corpus[link_type])
        data = changed(data[:100], randomness) + data[100:]
        original = max(len(data), original) if randomness.random() < 0.9 else randomness.randrange(1 << 32)
        if randomness.random() < 0.05:
            link_type = randomness.choice([*link_types, randomness.randrange(1 << 16)])
        seen = []
        for before, after in ((b"", b""), (b"\x45\0\0\x14" * 9, b"\x08\x00\x45\x00\xff" * 20)):
            decoder = Decoder()
            block = before + data + after
            kind = decoder.decode(block, len(before), len(data), original, link_type, 7, 8, 9)
            seen.append(_facts(decoder, kind))
        if seen[0] != seen[1]:
            raise Misbehaved(f"link type {link_type}: {seen[0]} or, with other bytes around it, {seen[1]}", data)
        return data

    return once


TARGETS = {"pcap": pcap, "pcapng": pcapng, "compressed": compressed, "decoder": decoder}
