"""Looks for input that makes unmux fail, hang or grow: ``python fuzz/run.py [--seconds 10] [--seed N] [TARGET...]``.

Targets are ``files``, whole captures with changed bytes; each dissector by its name: the streams of the sample captures that
it understands, changed, cut into pieces anew and with holes; ``http2_framing`` and the like: such streams, which must give the
same rows however they are cut; and single codecs beside their oracles. Whatever an input does, unmux must neither raise nor give
a ``dissector_error``, take longer than SLOW_SECONDS, or need more than MEMORY_BYTES; an input that does is kept in
``fuzz/found/`` with the seed that makes it again, and is to become a test with a name.
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
from functools import partial
from pathlib import Path
from types import FrameType
from typing import ClassVar

import codec_targets
import packet_targets
from changes import LARGEST_FILE, SAMPLES, Misbehaved, Target, capture_files, changed, cut
from msgspec.structs import astuple

from analyzer import pipeline, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.dissector import CloseReason, Context, Dissector, Facts, Match
from analyzer.errors import CaptureError
from analyzer.records import AnomalyRecord, Rows
from analyzer.scope import Scope
from analyzer.stream import Stream

HERE = Path(__file__).resolve().parent
FOUND = HERE / "found"
LARGEST_STREAM = 60_000  # bytes of an input: many small ones find more than few large ones
SLOW_SECONDS = 20  # of the processor
MEMORY_BYTES = 1_500_000_000  # of this process: far above what any input may need
CONTENTS = ("preview", "hash", "store")

Piece = tuple[int, bytes]  # direction, bytes


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


def files() -> Target:
    """Whole captures."""
    corpus = capture_files()
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
    for path in sorted(SAMPLES.rglob("*.pcap*")):
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


def framing(dissector: type[Dissector]) -> Target:
    """The streams that a dissector understands, changed: their rows do not depend on how the bytes are cut."""
    found = protocols.dissectors()
    streams = [pieces for pieces in recorded() if _understands(dissector, pieces)]
    name = dissector.name
    if not streams:  # it is found inside others: what was upgraded to it
        streams = [pieces for pieces in recorded() if b"upgrade: " + name.encode() in pieces[0][1].lower()]
        name = "http1"

    def once(randomness: random.Random) -> bytes:
        pieces = randomness.choice(streams)
        sides = [side for side, _ in pieces]
        kept = 1 + max(sides.index(side) for side in set(sides)) if name != dissector.name else 0
        chosen = pieces[:kept] + [(side, changed(data, randomness)) for side, data in pieces[kept:]]
        chosen = [(side, data) for side, data in chosen if data]
        hole = randomness.randrange(len(chosen) + 1) if randomness.random() < 0.3 else -1
        content = randomness.choice(CONTENTS)
        results = []
        for is_cut in (False, True):
            stream = Stream(Scope(Context(found, content, frames=True), 1, "tcp", 80, True), name=name)
            rows: Rows = []
            for number, (side, data) in enumerate(chosen):
                if number == hole:
                    rows += stream.gap(side, len(data), None, number, number)
                    continue
                for piece in cut(data, randomness) if is_cut else [data]:
                    rows += stream.feed(side, piece, number, number, number)
            for side in (0, 1):
                rows += stream.close(side, CloseReason.FIN, len(chosen), len(chosen))
            results.append(sorted(map(repr, map(_comparable, rows))))
        log = b"".join(b"%d %d %s\n" % (number == hole, side, data.hex().encode()) for number, (side, data) in enumerate(chosen))
        if results[0] != results[1]:
            differing = [row for row in results[0] if row not in results[1]], [row for row in results[1] if row not in results[0]]
            raise Misbehaved(f"differs when it is cut otherwise: {differing[0][:2]} {differing[1][:2]}", log)
        return log

    return once


def _comparable(row: object) -> tuple[object, ...]:
    """A row's values, field lines by what they say."""
    values = []
    for value in astuple(row):
        if isinstance(value, list):
            value = [(line.name, line.value, line.provenance) for line in value]
        values.append(value)
    return type(row).__name__, *values


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
    parser.add_argument("--seconds", type=float, default=10, help="for each target")
    parser.add_argument("--seed", type=int, default=None, help="the first one; by default another one each time")
    targets: dict[str, Callable[[], Target]] = {"files": files}
    for name, dissector in dissectors.items():
        targets[name] = partial(of_dissector, dissector)
        targets[f"{name}_framing"] = partial(framing, dissector)
    targets |= {**codec_targets.TARGETS, **packet_targets.TARGETS}
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(targets))
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    signal.signal(signal.SIGPROF, _too_slow)
    print(f"seeds from {seed}")
    found = 0
    for name in options.targets or targets:
        if name not in targets:
            parser.error(f"there is no target {name}; there are: {', '.join(targets)}")
        found += fuzz(name, targets[name](), options.seconds, seed)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
