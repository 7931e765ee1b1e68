"""How fast live capture keeps up, and how soon rows are visible: ``python bench/live.py [--unmux PATH] [NAME...]`` (as root).

In a network namespace, tcpreplay sends the beginning of captures of make_captures.py over a pair of virtual interfaces,
again and again with other addresses, at rising rates for some seconds each, while ``unmux live`` stores the rows in a folder.
The highest rate without a packet that the kernel dropped is told, with the screen off and on, and how much of a core
either side took. Then requests are made to a server, and the time from the end of each to its row in the folder is taken.
"""

import argparse
import http.client
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sample_pcaps" / "make"))

from lab import Namespace  # noqa: E402  # the laboratory of the samples

CAPTURES = HERE / "captures"
NAMES = ("http2", "websocket")
PACKETS = 100_000  # of a capture, sent in so many rounds
ROUNDS = 15
ADDRESSES = 26  # where IPv4 addresses are in an Ethernet frame
SECONDS = 5  # at each rate
STEP = 1.25
TOLD = re.compile(r"unmux: ([\d,]+) packets in [\d.]+ s(?:, ([\d,]+) more dropped)?")
PROBES = 40


def rounds(path: Path, folder: Path) -> Path:
    """The first packets of a capture on loopback, again and again with other addresses, as a capture."""
    records = []
    with path.open("rb") as whole:
        header = whole.read(24)
        while len(records) < PACKETS and len(head := whole.read(16)) == 16:
            records.append((head, whole.read(int.from_bytes(head[8:12], "little"))))
    made = folder / path.name
    with made.open("wb") as file:
        file.write(header)
        for number in range(ROUNDS):
            addresses = bytes((10, 9, number, 1)) * 2
            for head, data in records:
                file.write(head + data[:ADDRESSES] + addresses + data[ADDRESSES + 8 :])
    return made


class Live:
    """`unmux live` on the receiving end."""

    def __init__(self, host: Namespace, unmux: list[str], interface: str, folder: Path, form: str) -> None:
        command = [*unmux, "live", interface, "-o", f"{folder}/live/", "--force", "--format", form]
        self.errors = folder / "errors"
        leader, follower = pty.openpty()
        with self.errors.open("w") as errors, host.inside():
            self.process = subprocess.Popen(
                command, stdin=follower, stdout=follower, stderr=errors, env={**os.environ, "TERM": "xterm-256color"}
            )
        os.close(follower)
        self._leader = leader
        threading.Thread(target=self._read, daemon=True).start()
        time.sleep(3)

    def _read(self) -> None:
        try:
            while os.read(self._leader, 65536):
                pass
        except OSError:
            pass

    def end(self) -> tuple[int, int, float]:
        """Packets read, packets dropped, and CPU seconds."""
        self.process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        os.close(self._leader)
        found = TOLD.search(self.errors.read_text())
        if found is None:
            raise RuntimeError(self.errors.read_text())
        packets, dropped = (int((number or "0").replace(",", "")) for number in found.groups())
        return packets, dropped, usage.ru_utime + usage.ru_stime


def at_rate(
    host: Namespace, unmux: list[str], capture: Path, rate: float, form: str, folder: Path
) -> tuple[float, int, float, float]:
    """The rate that was reached, packets dropped, and the cores that unmux and tcpreplay took."""
    live = Live(host, unmux, "right", folder, form)
    count = min(int(rate * SECONDS), PACKETS * ROUNDS)
    limits = ["--limit", str(count), "--pps", f"{rate:.0f}"]
    command = ["tcpreplay", "--intf1", "left", "--preload-pcap", *limits, str(capture)]
    before = os.times()
    with host.inside():
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = os.times()
    found = re.search(r"Actual: (\d+) packets .* sent in ([\d.]+) seconds", said)
    if found is None:
        raise RuntimeError(said)
    sent, lasted = int(found[1]), float(found[2])
    time.sleep(1)
    packets, dropped, cpu = live.end()
    missing = sent - packets - dropped
    sender = after.children_user + after.children_system - before.children_user - before.children_system
    return sent / lasted, dropped + max(missing, 0), cpu / lasted, sender / lasted


def highest(host: Namespace, unmux: list[str], capture: Path, form: str, folder: Path, start: float) -> float:
    """Raise the rate until packets are dropped, twice at the same rate."""
    rate, best, failures = start, 0.0, 0
    while failures < 2:
        reached, dropped, cpu, sender = at_rate(host, unmux, capture, rate, form, folder)
        print(
            f"  {capture.stem:10} {form:6} {rate:>9,.0f}/s asked {reached:>9,.0f}/s sent {dropped:>9,} dropped "
            f"  {cpu:.2f} cores, the sender {sender:.2f}",
            flush=True,
        )
        if dropped:
            failures += 1
            continue
        failures = 0
        best = max(best, reached)
        if reached < rate * 0.9:
            print("  the sender is not faster", flush=True)
            break
        rate *= STEP
    return best


def latency(host: Namespace, unmux: list[str], folder: Path) -> list[float]:
    """Seconds from the end of a response to its row in the folder."""
    import analyzer

    with host.inside():
        server = subprocess.Popen(
            [sys.executable, "-m", "http.server", "8000", "--bind", "127.0.0.1", "-d", str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    live = Live(host, unmux, "lo", folder, "none")
    waits = []
    try:
        with analyzer.open_store(f"{folder}/live/") as store:
            for number in range(PROBES):
                time.sleep(0.137)
                with host.inside():
                    connection = http.client.HTTPConnection("127.0.0.1", 8000)
                    connection.request("GET", f"/?{number}")
                    connection.getresponse().read()
                ended = time.monotonic()
                connection.close()
                sql = f"SELECT count(*) FROM exchanges WHERE target LIKE '%/?{number}' AND end_reason = 'complete'"
                while store.sql(sql).fetchall() == [(0,)]:
                    time.sleep(0.01)
                waits.append(time.monotonic() - ended)
    finally:
        live.end()
        server.terminate()
        server.wait()
    return waits


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--unmux", default="unmux")
    parser.add_argument("--from", dest="start", type=float, default=20_000.0, help="packets a second to begin with")
    parser.add_argument("names", nargs="*", default=NAMES)
    arguments = parser.parse_args()
    unmux = arguments.unmux.split()
    host = Namespace("unmux-bench")
    try:
        host.ip("link", "set", "lo", "up")
        host.ip("link", "add", "left", "mtu", "9000", "type", "veth", "peer", "name", "right", "mtu", "9000")
        for end in ("left", "right"):
            host.ip("link", "set", end, "up")
        with tempfile.TemporaryDirectory(dir=CAPTURES) as name:
            folder = Path(name)
            for capture in arguments.names:
                part = rounds(CAPTURES / f"{capture}.pcap", folder)
                for form in ("none", "screen"):
                    best = highest(host, unmux, part, form, folder, arguments.start)
                    print(f"{capture}, {'screen on' if form == 'screen' else 'screen off'}: {best:,.0f} packets/s", flush=True)
            waits = latency(host, unmux, folder)
            print(f"visible after {median(waits):.2f} s (median of {len(waits)}), {max(waits):.2f} s at most", flush=True)
    finally:
        host.close()


if __name__ == "__main__":
    main()
