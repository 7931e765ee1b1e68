"""What all fuzzing targets share: where input comes from, how it is changed, and what is to be told of it."""

import random
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
SAMPLES = CHECKOUT / "sample_pcaps"
SHARED = CHECKOUT.parent / "shared"  # captures of other projects, where they are
CORPUS = [SAMPLES, SHARED / "captures"]
LARGEST_FILE = 300_000  # bytes of an input: many small ones find more than few large ones

Target = Callable[[random.Random], bytes]
"""Tries one input and returns it; raises when unmux misbehaves."""


class Misbehaved(Exception):
    """What an input did, and the input."""

    def __init__(self, what: str, data: bytes) -> None:
        super().__init__(what)
        self.data = data


def changed(data: bytes, randomness: random.Random) -> bytes:
    """The bytes with some changes: bits, lengths, parts taken out, put in, repeated and moved."""
    result = bytearray(data)
    for _ in range(randomness.choice([0, 1, 1, 2, 4, 16, 100])):
        if not result:
            break
        at = randomness.randrange(len(result))
        kind = randomness.randrange(7)
        if kind == 0:
            result[at] ^= 1 << randomness.randrange(8)
        elif kind == 1:
            result[at] = randomness.choice([0, 1, 0x0A, 0x0D, 0x20, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            size = randomness.choice([2, 3, 4, 8])
            value = randomness.choice([0, 1, 0x7FFF, 0xFFFF, 1 << 31, (1 << 32) - 1, (1 << 63) - 1, (1 << 64) - 1])
            result[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, randomness.choice(["big", "little"]))
        elif kind == 3:
            del result[at : at + randomness.choice([1, 2, 9, 100, 2000])]
        elif kind == 4:
            result[at:at] = randomness.randbytes(randomness.choice([1, 2, 9, 100]))
        elif kind == 5:
            start = randomness.randrange(len(result))
            result[at:at] = result[start : start + randomness.choice([1, 9, 100, 4000])]
        else:
            del result[at:]
    return bytes(result)


def cut(data: bytes, randomness: random.Random) -> list[bytes]:
    """The bytes in pieces."""
    pieces = []
    size = max(randomness.choice([1, 2, 7, 100, 1448, 1 << 20]), len(data) // 50)  # more would reach limits on pieces
    while data:
        taken = randomness.randint(1, size)
        pieces.append(data[:taken])
        data = data[taken:]
    return pieces


def capture_files() -> list[Path]:
    """The captures that input is made from."""
    return sorted(
        path
        for folder in CORPUS
        if folder.is_dir()
        for path in folder.rglob("*")
        if path.is_file()
        and (".pcap" in path.name or ".cap" in path.name or "captures" in path.parts)
        and 0 < path.stat().st_size < LARGEST_FILE
    )
