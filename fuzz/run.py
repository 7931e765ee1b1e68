"""Looks for input that makes unmux fail, hang or grow: ``python fuzz/run.py [--seconds 60] [--seed N] [TARGET...]``.

Targets are ``files``, whole captures with changed bytes, and each dissector by its name: the streams of the sample
captures that it understands, changed, cut into pieces anew and with holes. Whatever an input does, unmux must neither
raise nor give a ``dissector_error``, take longer than SLOW_SECONDS, or need more than MEMORY_BYTES; an input that does is
kept in ``fuzz/found/`` with the seed that makes it again, and is to become a test with a name.
"""

import argparse
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import ClassVar

from analyzer import pipeline, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.dissector import CloseReason, Context, Dissector, Facts, Match
from analyzer.errors import CaptureError
from analyzer.records import AnomalyRecord, Rows
from analyzer.scope import Scope
from analyzer.stream import Stream

HERE = Path(__file__).resolve().parent
CORPUS = [HERE.parent / "sample_pcaps", HERE.parent.parent / "shared" / "captures"]
FOUND = HERE / "found"
LARGEST_FILE, LARGEST_STREAM = 300_000, 60_000  # bytes of an input: many small ones find more than few large ones
SLOW_SECONDS = 20  # of the processor
MEMORY_BYTES = 1_500_000_000  # of this process: far above what any input may need
CONTENTS = ("preview", "hash", "store")

Piece = tuple[int, bytes]  # direction, bytes
Target = Callable[[random.Random], bytes]
"""Tries one input and returns it; raises when unmux misbehaves."""


class Misbehaved(Exception):
    """What an input did, and the input."""

    def __init__(self, what: str, data: bytes) -> None:
        super().__init__(what)
        self.data = data


class Faults:
    """A sink that keeps the rows that tell of a bug."""

    def __init__(self) -> None:
        self.found: Rows = []

    def add(self, rows: Rows) -> None:
        """Look at the rows."""
        self.found += [row for row in rows if isinstance(row, AnomalyRecord) and row.kind in ("dissector_error", "not_stored")]


class Recorder:
    """A dissector that keeps the bytes of every stream."""

    name: ClassVar[str] = "recorder"
    ports: ClassVar[tuple[int, ...]] = ()
    transports: ClassVar[tuple[str, ...]] = ("tcp",)
    records: ClassVar[tuple[type, ...]] = ()
    streams: ClassVar[list[list[Piece]]] = []

    def __init__(self, stream: Stream, facts: Facts) -> None:
        self._pieces: list[Piece] = []
        self.streams.append(self._pieces)

    @staticmethod
    def probe(first: bytes, second: bytes) -> Match:
        """Everything is welcome."""
        return Match.YES

    def feed(self, direction: int, data: bytes, timestamp: int, released: int, packet: int) -> Rows:
        """Keep the bytes."""
        self._pieces.append((direction, data))
        return []

    def skipped(self, direction: int, length: int, timestamp: int, released: int, packet: int) -> Rows:
        """Nothing is declined."""
        return []

    def gap(self, direction: int, length: int | None, at_most: int | None, timestamp: int, packet: int) -> Rows:
        """What is missing is no part of the corpus."""
        return []

    def close(self, direction: int, reason: CloseReason, timestamp: int, packet: int) -> Rows:
        """Nothing is left to tell."""
        return []

    def tick(self, now: int) -> Rows:
        """Nothing is open."""
        return []


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


def files() -> Target:
    """Whole captures."""
    corpus = sorted(
        path
        for folder in CORPUS
        if folder.is_dir()
        for path in folder.rglob("*")
        if path.is_file()
        and (".pcap" in path.name or ".cap" in path.name or "captures" in path.parts)
        and 0 < path.stat().st_size < LARGEST_FILE
    )
    folder = Path(tempfile.mkdtemp(prefix="unmux-fuzz-"))

    def once(randomness: random.Random) -> bytes:
        data = changed(randomness.choice(corpus).read_bytes(), randomness)
        path = folder / "input"
        path.write_bytes(data)
        faults = Faults()
        try:
            captures = CaptureSet([str(path)])
        except CaptureError:
            return data
        context = Context(protocols.dissectors(), randomness.choice(CONTENTS), frames=randomness.random() < 0.5)
        pipeline.run(captures, context, faults)
        captures.close()
        if faults.found:
            raise Misbehaved(repr(faults.found[0]), data)
        return data

    return once


def recorded() -> list[list[Piece]]:
    """The streams of the sample captures, as pieces."""
    Recorder.streams.clear()
    for path in sorted(CORPUS[0].rglob("*.pcap*")):
        if path.stat().st_size < LARGEST_FILE:
            captures = CaptureSet([str(path)])
            pipeline.run(captures, Context([Recorder]), Faults())
            captures.close()
    return [pieces for pieces in Recorder.streams if 0 < sum(len(data) for _, data in pieces) < LARGEST_STREAM]


def of_dissector(dissector: type[Dissector]) -> Target:
    """The streams that a dissector understands, and some others."""
    found = protocols.dissectors()
    streams = recorded()
    understood = [pieces for pieces in streams if _understands(dissector, pieces)] or streams

    def once(randomness: random.Random) -> bytes:
        chosen = randomness.choice(understood if randomness.random() < 0.9 else streams)
        context = Context(found, randomness.choice(CONTENTS), frames=randomness.random() < 0.5)
        stream = Stream(Scope(context, 1, "tcp", 80, True), name=dissector.name)
        rows: Rows = []
        log: list[bytes] = []
        packet = 0
        for direction, data in chosen:
            left = changed(data, randomness) if randomness.random() < 0.3 else data
            while left:
                packet += 1
                if randomness.random() < 0.03:
                    missing = randomness.choice([1, 9, 500])
                    length, at_most = (missing, None) if randomness.random() < 0.5 else (None, missing * 2)
                    rows += stream.gap(direction, length, at_most, packet, packet)
                    left = left[missing:]
                    log.append(b"gap %d %d %d\n" % (direction, missing, length is None))
                    continue
                size = randomness.choice([1, 3, 50, 1448, 1 << 16])
                log.append(b"feed %d %s\n" % (direction, left[:size].hex().encode()))
                rows += stream.feed(direction, left[:size], packet, packet + randomness.choice([0, 0, 5]), packet)
                left = left[size:]
        for direction in (0, 1):
            rows += stream.close(direction, randomness.choice(list(CloseReason)), packet + 1, packet + 1)
        faults = Faults()
        faults.add(rows)
        if faults.found:
            raise Misbehaved(repr(faults.found[0]), b"".join(log))
        return b"".join(log)

    return once


def _understands(dissector: type[Dissector], pieces: list[Piece]) -> bool:
    first = b"".join(data for direction, data in pieces if direction == 0)[:4096]
    second = b"".join(data for direction, data in pieces if direction == 1)[:4096]
    return dissector.probe(first, second) is Match.YES


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"took longer than {SLOW_SECONDS} s")


def fuzz(name: str, target: Target, seconds: float, first_seed: int) -> int:
    """Try inputs for so many seconds; returns how many misbehaved."""
    found = 0
    tried = 0
    slowest = 0.0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seed = first_seed + tried
        tried += 1
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SLOW_SECONDS)
        try:
            target(random.Random(seed))
        except Exception as error:  # whatever it is, it is what is looked for
            found += 1
            FOUND.mkdir(exist_ok=True)
            kept = FOUND / f"{name}-{seed}"
            kept.write_bytes(error.data if isinstance(error, Misbehaved) else traceback.format_exc().encode())
            print(f"{name}: seed {seed}: {type(error).__name__}: {error}; {kept}", file=sys.stderr)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - started)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if memory > MEMORY_BYTES:
            print(f"{name}: seed {seed}: {memory:,} bytes of memory", file=sys.stderr)
            return found + 1
    print(f"{name}: {tried:,} inputs, {found} misbehaved, the slowest took {slowest:.2f} s")
    return found


def main() -> int:
    """Run the targets one after the other; 1 when an input misbehaved."""
    dissectors = {dissector.name: dissector for dissector in protocols.dissectors()}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=None, help="the first one; by default another one each time")
    parser.add_argument("targets", nargs="*", choices=["files", *dissectors, []])
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    signal.signal(signal.SIGPROF, _too_slow)
    print(f"seeds from {seed}")
    found = 0
    for name in options.targets or ["files", *dissectors]:
        target = files() if name == "files" else of_dissector(dissectors[name])
        found += fuzz(name, target, options.seconds, seed)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
