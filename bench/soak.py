"""An endless capture through standard input, with flat memory: ``python bench/soak.py [--minutes 5] [--packets N] [--unmux FILE]``.

The streams of the sample captures are repeated with new addresses and ports while time goes on; one connection in a hundred is
left open. The resident set of ``unmux analyze - --memory 256MB`` is printed every so often: the highest of the last third must not exceed that of
the first third, without its beginning, by more than GROWTH.
"""

import argparse
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from analyzer.capture.capture_set import CaptureSet
from analyzer.errors import CaptureError
from analyzer.packets.decoder import NOTHING, TCP, Decoder

SAMPLES = Path(__file__).resolve().parent.parent / "sample_pcaps"
FILE_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, 101)  # raw IP packets, nanoseconds
LARGEST_SAMPLE = 400_000  # bytes
GROWTH = 1.10
MEMORY = "256MB"  # so that open connections soon take what they may
LEFT_OPEN = 100  # one connection in so many
WARMING = 0.1  # of the run: tables and caches fill
BESIDE = 16  # connections that take turns
FIN, RST = 1, 4


@dataclass
class Packet:
    """A packet of a sample: who sent it, when after the first, and TCP behind the ports."""

    side: int
    after: int
    flags: int
    rest: bytes


def recorded() -> list[list[Packet]]:
    """The TCP connections of the samples."""
    found: list[list[Packet]] = []
    for path in sorted(SAMPLES.rglob("*.pcap*")):
        if path.stat().st_size > LARGEST_SAMPLE:
            continue
        try:
            captures = CaptureSet([str(path)])
        except CaptureError:
            continue
        decoder = Decoder()
        flows: dict[bytes, tuple[int, bytes, list[Packet]]] = {}
        while (reader := captures.next()) is not None:
            kind = decoder.decode(
                reader.data, reader.offset, reader.captured_length, reader.original_length,
                reader.link_type, reader.timestamp, reader.frame, reader.interface,
            )  # fmt: skip
            if kind == NOTHING or kind != TCP or decoder.payload_length != decoder.original_payload_length:
                continue
            key = min(decoder.flow_key, decoder.reverse_key())
            first, sender, packets = flows.setdefault(key, (reader.timestamp, decoder.flow_key, []))
            payload = decoder.data[decoder.payload_offset : decoder.payload_offset + decoder.payload_length]
            head = struct.pack(
                "!IIBBHHH", decoder.sequence, decoder.acknowledgment, 0x50, decoder.flags & 0xFF, decoder.window, 0, 0
            )
            side = 0 if decoder.flow_key == sender else 1
            packets.append(Packet(side, max(reader.timestamp - first, 0), decoder.flags, head + payload))
        captures.close()
        found += [packets for _, _, packets in flows.values()]
    return found


class Endless:
    """Packets without end: connections of the samples take turns, each with ends of its own."""

    def __init__(self, seed: int) -> None:
        self.packets = 0
        self.connections = 0
        self._randomness = random.Random(seed)
        self._recorded = recorded()
        self._now = 1_700_000_000_000_000_000
        self._open = [self._new() for _ in range(BESIDE)]

    def block(self) -> bytes:
        """The next packets."""
        written = []
        for _ in range(500):
            turn = self._randomness.randrange(BESIDE)
            ends, ports, waiting = self._open[turn]
            if not waiting:
                self._open[turn] = ends, ports, waiting = self._new()
            packet = waiting.pop()
            self._now += 20_000
            size = 20 + 4 + len(packet.rest)
            if size > 65_535:
                continue
            head = struct.pack("<IIII", self._now // 10**9, self._now % 10**9, size, size)
            head += struct.pack("!BBHHHBBH", 0x45, 0, size, self.packets & 0xFFFF, 0x4000, 64, 6, 0)
            head += ends[packet.side] + ends[1 - packet.side] + ports[packet.side] + ports[1 - packet.side]
            written.append(head + packet.rest)
            self.packets += 1
        return b"".join(written)

    def _new(self) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes], list[Packet]]:
        self.connections += 1
        number = self.connections
        packets = self._randomness.choice(self._recorded)
        if number % LEFT_OPEN == 0:
            packets = [packet for packet in packets if not packet.flags & (FIN | RST)] or packets
        ends = ((0x0A000000 + number // 30_000 % (1 << 24)).to_bytes(4, "big"), b"\xc0\0\2\1")
        client = 1024 + number % 30_000
        return ends, (struct.pack("!H", client), struct.pack("!H", 80)), packets[::-1]


def resident(process: int) -> int:
    """The resident set of a process in bytes, as Linux tells it."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def soaked(command: list[str], minutes: float, most_packets: int, every: float) -> list[int]:
    """Feed a process; returns its resident set, taken every second."""
    endless = Endless(1)
    taken: list[int] = []
    begun = time.monotonic()
    told = begun
    with tempfile.TemporaryDirectory(prefix="unmux-soak-") as folder:
        arguments = [*command, "analyze", "-", "-q", "--memory", MEMORY, "-o", str(Path(folder, "out.duckdb"))]
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(FILE_HEADER)
        while (now := time.monotonic()) - begun < 60 * minutes and endless.packets < most_packets:
            process.stdin.write(endless.block())
            if now - begun >= len(taken):
                taken.append(resident(process.pid))
            if now - told >= every:
                told = now
                store = sum(path.stat().st_size for path in Path(folder).iterdir())
                print(
                    f"{now - begun:6.0f} s {endless.packets:12,} packets {endless.connections:9,} connections "
                    f"{taken[-1] / 1e6:6.0f} MB resident {store / 1e6:7.0f} MB stored",
                    flush=True,
                )
        process.stdin.close()
        if process.wait() != 0:
            raise SystemExit(f"unmux ended with status {process.returncode}")
    return taken


def main() -> int:
    """Soak; 1 when memory grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unmux", default="unmux", help="the command, by default the one on PATH")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--packets", type=int, default=1 << 60, help="at most")
    parser.add_argument("--every", type=float, default=15, help="seconds between lines")
    options = parser.parse_args()
    taken = soaked(options.unmux.split(), options.minutes, options.packets, options.every)
    warm = taken[int(len(taken) * WARMING) :]
    third = len(warm) // 3
    if not third:
        print("too short to tell")
        return 1
    first, last = max(warm[:third]), max(warm[-third:])
    print(f"first third {first / 1e6:.0f} MB, last third {last / 1e6:.0f} MB: {last / first:.3f}, at most {GROWTH}")
    return 1 if last > first * GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
