"""What the tests of packets share: decoding in a block full of other bytes, and a record of what was decoded."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from analyzer.packets.decoder import Decoder

BEFORE = b"\xee" * 13
AFTER = b"\x45\x00\x00\x28" * 32


@dataclass
class Seen:
    """What a decoder says of one packet."""

    kind: int
    source: str = ""
    source_port: int = 0
    destination: str = ""
    destination_port: int = 0
    payload: bytes = b""
    original_payload_length: int = 0
    vlan_id: int = -1
    encapsulation: str | None = None
    key: bytes = b""
    reason: str = ""


Decode = Callable[..., Seen]


def _but_waiting(counts: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if not reason.endswith("waiting")}


@pytest.fixture
def decoder() -> Decoder:
    return Decoder()


@pytest.fixture
def decode(decoder: Decoder) -> Decode:
    """Decode a packet that lies in the middle of a block."""

    def run(packet: bytes, link_type: int = 1, original_length: int | None = None, timestamp: int = 0, frame: int = 1) -> Seen:
        counts = dict(decoder.not_decoded)
        wire = len(packet) if original_length is None else original_length
        kind = decoder.decode(BEFORE + packet + AFTER, len(BEFORE), len(packet), wire, link_type, timestamp, frame, 0)
        if kind == 0:
            (reason,) = [reason for reason, count in decoder.not_decoded.items() if counts.get(reason, 0) != count]
            return Seen(0, reason=reason)
        assert _but_waiting(decoder.not_decoded) == _but_waiting(counts)  # those may have found their datagram
        start = decoder.payload_offset
        return Seen(
            kind,
            decoder.source_address(),
            decoder.source_port,
            decoder.destination_address(),
            decoder.destination_port,
            decoder.data[start : start + decoder.payload_length],
            decoder.original_payload_length,
            decoder.vlan_id,
            decoder.encapsulation,
            decoder.flow_key,
        )

    return run
