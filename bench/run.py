"""Runs unmux and its peers in turn on the captures of make_captures.py: ``python bench/run.py [--rounds 5] [NAME...]``.

Every command is a process of its own, measured whole, with start-up: wall time, CPU time (user and system) and peak
resident memory of the process, as the kernel accounts for them. A round runs each command once, one after the other, so
that what disturbs the machine disturbs all of them; ratios are taken round by round and their median is given. Before
that the rows of unmux are compared with those of tshark: speed counts for nothing where the rows differ.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table
from rows import compare

HERE = Path(__file__).resolve().parent
CAPTURES = HERE / "captures"
HTTP2_FIELDS = ["-Y", "http2.headers", "-T", "fields", "-e", "tcp.stream", "-e", "http2.streamid"]
HTTP2_FIELDS += ["-e", "http2.headers.path", "-e", "http2.headers.status"]
HTTP2 = ["-d", "tcp.port==8080,http2", *HTTP2_FIELDS]
KEYS = str(CAPTURES / "http2_tls.keys")
HTTP2_TLS = ["-d", "tcp.port==8443,tls", "-o", f"tls.keylog_file:{KEYS}", *HTTP2_FIELDS]
HTTP1 = ["-Y", "http", "-T", "fields", "-e", "tcp.stream", "-e", "http.request.uri", "-e", "http.response.code"]
WEBSOCKET = ["-Y", "websocket", "-T", "fields", "-e", "tcp.stream", "-e", "websocket.opcode", "-e", "websocket.payload_length"]
TSHARK = {"http2": HTTP2, "http2_tls": HTTP2_TLS, "http1": HTTP1, "websocket": WEBSOCKET, "websocket_deflate": WEBSOCKET}
BARS = {"http2": 15.0, "http2_tls": 10.0, "http1": 12.0, "websocket": 12.0, "websocket_deflate": 12.0}  # times faster than tshark
OPTIONS = {"http2_tls": ["--keylog", KEYS]}
LARGEST_MEMORY, LARGEST_GROWTH, LONGEST_HELP = 300e6, 1.2, 0.25  # bytes, ratio on four times the capture, seconds


@dataclass(frozen=True)
class Cost:
    """What a process cost: seconds and bytes."""

    wall: float
    cpu: float
    memory: int


def measure(command: list[str]) -> Cost:
    """Run a command to its end, its output thrown away. RuntimeError when it fails."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}: {errors.read()[-2000:].decode()}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def commands(name: str, unmux: str, folder: Path) -> dict[str, list[str]]:
    """The command of each tool for a capture."""
    path = str(CAPTURES / f"{name}.pcap")
    found = {"unmux": [unmux, "analyze", path, "-o", str(folder / "out.duckdb"), *OPTIONS.get(name, [])]}
    if name in TSHARK and shutil.which("tshark"):
        found["tshark"] = ["tshark", "-r", path, *TSHARK[name]]
    if name in TSHARK and shutil.which("tcpflow"):
        found["tcpflow"] = ["tcpflow", "-r", path, "-o", str(folder / "flows")]
    return found


def once(command: list[str], folder: Path) -> Cost:
    """Measure a command in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    cost = measure(command)
    shutil.rmtree(folder)
    return cost


def rounds_of(name: str, unmux: str, rounds: int, folder: Path) -> dict[str, list[Cost]]:
    """The costs of every tool, round by round."""
    todo = commands(name, unmux, folder)
    costs: dict[str, list[Cost]] = {tool: [] for tool in todo}
    warm(CAPTURES / f"{name}.pcap")
    for number in range(rounds):
        for tool, command in todo.items():
            costs[tool].append(once(command, folder))
        walls = ", ".join(f"{tool} {values[-1].wall:.2f} s" for tool, values in costs.items())
        print(f"{name}, round {number + 1}: {walls}", file=sys.stderr)
    return costs


def warm(path: Path) -> None:
    """Read a file once, so that every tool finds it in memory."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def show(name: str, costs: dict[str, list[Cost]], verdict: str, console: Console) -> list[str]:
    """Print the table of a capture; the bars that unmux misses are returned."""
    table = Table(
        title=f"{name}: {(CAPTURES / f'{name}.pcap').stat().st_size / 1e6:.0f} MB; rows: {verdict}", title_justify="left"
    )
    for heading in ("tool", "wall s", "CPU s", "peak MB", "wall: times unmux", "CPU: times unmux"):
        table.add_column(heading, justify="left" if heading == "tool" else "right")
    missed = []
    own = costs["unmux"]
    for tool, values in costs.items():
        wall = median(each.wall / mine.wall for each, mine in zip(values, own, strict=True))
        cpu = median(each.cpu / mine.cpu for each, mine in zip(values, own, strict=True))
        memory = max(each.memory for each in values)
        numbers = [median(each.wall for each in values), median(each.cpu for each in values), memory / 1e6, wall, cpu]
        table.add_row(tool, *[f"{number:.2f}" if index != 2 else f"{number:.0f}" for index, number in enumerate(numbers)])
        if tool == "tshark" and min(wall, cpu) < BARS[name]:
            missed.append(
                f"{name}: {wall:.1f} times (wall) and {cpu:.1f} times (CPU) faster than tshark; the bar is {BARS[name]:.0f}"
            )
    memory = max(each.memory for each in own)
    if memory >= LARGEST_MEMORY:
        missed.append(f"{name}: peak memory {memory / 1e6:.0f} MB; the bar is {LARGEST_MEMORY / 1e6:.0f} MB")
    console.print(table)
    return missed


def check_rows(name: str, unmux: str, folder: Path) -> str:
    """Compare the rows with tshark's; RuntimeError when they differ."""
    if name not in TSHARK or not shutil.which("tshark"):
        return "not compared"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    measure(commands(name, unmux, folder)["unmux"])
    verdict = compare(name, CAPTURES / f"{name}.pcap", folder / "out.duckdb")
    shutil.rmtree(folder)
    return verdict


def arguments() -> argparse.Namespace:
    """The arguments of the command line."""
    beside = Path(sys.executable).with_name("unmux")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"captures: {', '.join([*TSHARK, 'http2_x4'])}; those that are there otherwise")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--unmux", default=str(beside) if beside.exists() else shutil.which("unmux"), help="the installed command"
    )
    parser.add_argument("--no-check", action="store_true", help="do not compare the rows first")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if not options.unmux:
        raise SystemExit("unmux is not installed beside this Python; name it with --unmux")
    version = subprocess.run([options.unmux, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    names = options.names or [name for name in [*TSHARK, "http2_x4"] if (CAPTURES / f"{name}.pcap").exists()]
    console = Console(width=110)
    console.print(f"{version}; {os.cpu_count()} processors; {options.rounds} rounds")
    if "compiled" not in version:
        console.print("[bold]this build is not compiled: these figures say nothing about the compiled one")
    results: dict[str, object] = {"version": version, "rounds": options.rounds}
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="unmux-bench-") as temporary:
        folder = Path(temporary) / "run"
        memory: dict[str, int] = {}
        for name in names:
            verdict = "not compared" if options.no_check else check_rows(name, options.unmux, folder)
            costs = rounds_of(name, options.unmux, 1 if name == "http2_x4" else options.rounds, folder)
            memory[name] = max(each.memory for each in costs["unmux"])
            missed += show(name, costs, verdict, console)
            results[name] = {tool: [asdict(each) for each in values] for tool, values in costs.items()}
    missed += extras(options.unmux, memory, results, console)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    for line in missed:
        console.print(f"[bold]not reached:[/] {line}")
    if missed:
        raise SystemExit(1)


def extras(unmux: str, memory: dict[str, int], results: dict[str, object], console: Console) -> list[str]:
    """The time of --help, and how memory grows with the capture."""
    missed = []
    help_wall = median(measure([unmux, "--help"]).wall for _ in range(11))
    results["help_wall"] = help_wall
    console.print(f"unmux --help: {help_wall:.3f} s")
    if help_wall >= LONGEST_HELP:
        missed.append(f"--help takes {help_wall:.3f} s; the bar is {LONGEST_HELP} s")
    if "http2" in memory and "http2_x4" in memory:
        growth = memory["http2_x4"] / memory["http2"]
        results["memory_growth"] = growth
        console.print(f"peak memory on four times the capture: {growth:.2f} times")
        if growth > LARGEST_GROWTH:
            missed.append(f"memory grows {growth:.2f} times on four times the capture; the bar is {LARGEST_GROWTH}")
    return missed


if __name__ == "__main__":
    main()
