"""What is left of HTTP/2 when packets are missing: ``python bench/loss.py [--seeds 3] [NAME...]`` (captures are made as root).

Three kinds of traffic, in bench/captures/: h2load against nghttpd with 100 streams a connection, all at a time or ten, whose
client does not index ``:path``, and gRPC calls, 100 a connection, whose client does (``pip install grpcio``). One packet in a
hundred is deleted, and the exchanges in what is left are compared with those in the complete capture: a value is right, wrong
or missing. Beside unmux stands tshark on the same file, and what the complete capture proves at most (provable.py). Ends
with an error where a value of unmux is wrong, or where fewer of h2load's exchanges keep method, path and status than 95 %, or
than all that is provable if that is less, but for half a percent: contents that look like a frame by chance the oracle leaves
out. unmux may tell more than is provable where the first bytes of a direction are missing: there it believes frames that look
like it.
"""

import argparse
import json
import os
import random
import struct
import subprocess
import sys
import time
from collections import Counter
from concurrent import futures
from pathlib import Path
from typing import Any

from make_captures import ADDRESS, CAPTURES, HTTP2_PORT, TARGETS, capture, documents
from provable import Key, Values, judge
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "sample_pcaps" / "make"))

from lab import Namespace  # the laboratory of the samples

Exchanges = dict[Key, Values]

LOST, KEPT, SHORT = 0.01, 0.95, 0.005  # of the packets, of the exchanges of h2load, of what is provable
GRPC_PORT, CONNECTIONS, CALLS, AT_A_TIME = 50051, 100, 100, 10
METHODS = ["/shop.Catalogue/Get", "/shop.Catalogue/List", "/shop.Basket/Add", "/shop.Basket/Remove", "/shop.Orders/Place"]
COLUMNS = ("method", "path", "authority", "status")
QUERY = """
SELECT client_port, protocol_stream_id::INT, request_method, target, authority, status_code::VARCHAR
FROM http_exchanges JOIN connections USING (connection_id) JOIN streams USING (connection_id, stream_index)
"""


# --- captures


def h2load(host: Namespace, path: Path, at_a_time: int) -> None:
    """100 connections with 100 streams each."""
    root = documents(path.parent)
    server = host.start(["nghttpd", "--no-tls", "-a", ADDRESS, "-d", str(root), str(HTTP2_PORT)])
    time.sleep(0.5)
    targets = [f"http://{ADDRESS}:{HTTP2_PORT}{target}" for target in TARGETS]
    command = ["h2load", f"-n{100 * CONNECTIONS}", f"-c{CONNECTIONS}", f"-m{at_a_time}", *targets]
    capture(host, path, HTTP2_PORT, lambda: print(host.run(command).stdout.split("\n\n")[1], file=sys.stderr))
    host.stop(server)


def h2load_100(host: Namespace, path: Path) -> None:
    """All streams of a connection at a time."""
    h2load(host, path, 100)


def h2load_10(host: Namespace, path: Path) -> None:
    """Ten streams of a connection at a time."""
    h2load(host, path, 10)


def grpc(host: Namespace, path: Path) -> None:
    """Unary calls, ten at a time on each connection."""
    server = host.start([sys.executable, __file__, "--serve-grpc"])
    time.sleep(2)
    capture(host, path, GRPC_PORT, lambda: print(host.run([sys.executable, __file__, "--call-grpc"]).stdout, file=sys.stderr))
    host.stop(server)


def serve_grpc() -> None:
    """A server that answers every call with some bytes."""
    import grpc

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            size = 100 + 700 * METHODS.index(details.method)
            return grpc.unary_unary_rpc_method_handler(lambda request, context: bytes(size))

    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[Handler()])
    server.add_insecure_port(f"{ADDRESS}:{GRPC_PORT}")
    server.start()
    server.wait_for_termination()


def call_grpc() -> None:
    """Clients that call, one connection after the other."""
    import grpc

    generator = random.Random(3)
    for _ in range(CONNECTIONS):
        with grpc.insecure_channel(f"{ADDRESS}:{GRPC_PORT}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            calls = [channel.unary_unary(method) for method in METHODS]
            for _ in range(CALLS // AT_A_TIME):
                waiting = [
                    generator.choice(calls).future(generator.randbytes(generator.randrange(20, 400))) for _ in range(AT_A_TIME)
                ]
                for call in waiting:
                    call.result(timeout=20)
    print(f"{CONNECTIONS * CALLS} calls")


MAKERS = {"h2load, 100 at a time": h2load_100, "h2load, 10 at a time": h2load_10, "gRPC, 10 at a time": grpc}
PORTS = {"gRPC, 10 at a time": GRPC_PORT}


def made(name: str) -> Path:
    """The capture of that name, made where it is not there."""
    CAPTURES.mkdir(exist_ok=True)
    path = CAPTURES / f"loss {name}.pcap".replace(", ", "_").replace(" ", "_")
    if not path.exists():
        host = Namespace(f"unmux-loss-{os.getpid()}")
        try:
            host.ip("link", "set", "lo", "mtu", "1500")
            host.offloads_off("lo")
            MAKERS[name](host, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            host.close()
    return path


def damage(path: Path, target: Path, seed: int) -> set[int]:
    """Write a pcap without some of its packets; returns their numbers, from 0."""
    data = path.read_bytes()
    generator = random.Random(seed)
    parts, missing = [data[:24]], set()
    at, number = 24, 0
    while at < len(data):
        end = at + 16 + struct.unpack_from("<I", data, at + 8)[0]
        if generator.random() < LOST:
            missing.add(number)
        else:
            parts.append(data[at:end])
        at, number = end, number + 1
    target.write_bytes(b"".join(parts))
    return missing


# --- what the tools say


def unmux(path: Path, command: str) -> Exchanges:
    """The exchanges in a capture."""
    run = subprocess.run([command, "query", str(path), QUERY, "--format", "jsonl"], check=True, capture_output=True, text=True)
    found: Exchanges = {}
    for line in run.stdout.splitlines():
        port, stream, *values = json.loads(line).values()
        found[port, stream] = {name: value for name, value in zip(COLUMNS, values, strict=True) if value is not None}
    return found


def tshark(path: Path, port: int) -> Exchanges:
    """The same as tshark prints them, first value first."""
    shown = ["-d", f"tcp.port=={port},http2", "-Y", "http2.headers", "-T", "json", "-J", "tcp http2", "--no-duplicate-keys"]
    run = subprocess.run(["tshark", "-r", str(path), *shown], check=True, capture_output=True, text=True)
    found: Exchanges = {}
    for packet in json.loads(run.stdout):
        layers = packet["_source"]["layers"]
        client = next(int(value) for value in layers["tcp"]["tcp.port"] if int(value) != port)
        for frame in streams_in(layers.get("http2")):
            values = found.setdefault((client, int(frame["http2.streamid"])), {})
            fields = frame.get("http2.header", [])
            for line in fields if isinstance(fields, list) else [fields]:
                for column in COLUMNS:
                    value = line.get(f"http2.headers.{column}")
                    if value and not (column == "status" and value.startswith("1")):
                        values.setdefault(column, value)
    return found


def streams_in(layer: Any) -> list[dict[str, Any]]:
    """The HEADERS frames in what tshark prints of the HTTP/2 in a packet."""
    if isinstance(layer, list):
        return [frame for part in layer for frame in streams_in(part)]
    if not isinstance(layer, dict):
        return []
    if layer.get("http2.type") == "1":
        return [layer] if "http2.streamid" in layer else []
    return [frame for part in layer.values() for frame in streams_in(part)]


# --- comparison


def count(found: Exchanges, whole: Exchanges) -> Counter[tuple[str, str]]:
    """How many values of each column are right, wrong and missing."""
    counts: Counter[tuple[str, str]] = Counter()
    for key, values in whole.items():
        for column, value in values.items():
            told = found.get(key, {}).get(column)
            counts[column, "missing" if told is None else "right" if told == value else "wrong"] += 1
    for key in found.keys() - whole.keys():
        counts["exchange", "wrong"] += bool(found[key])
    return counts


def kept(found: Exchanges, whole: Exchanges, columns: tuple[str, ...]) -> float:
    """The share of exchanges that keep the values of some columns."""
    same = sum(all(found.get(key, {}).get(name) == values.get(name) for name in columns) for key, values in whole.items())
    return same / len(whole)


def compare(name: str, seeds: int, command: str, table: Table) -> list[str]:
    """Damage a capture with several seeds; add the rows of the table, and return what is not as it must be."""
    path = made(name)
    port = PORTS.get(name, HTTP2_PORT)
    target = path.with_suffix(".damaged.pcap")
    totals: dict[str, Counter[tuple[str, str]]] = {}
    shares: dict[str, list[float]] = {}
    all_shares: dict[str, list[float]] = {}
    faults: list[str] = []
    for seed in range(1, seeds + 1):
        missing = damage(path, target, seed)
        whole, proved = judge(path, missing)
        if seed == 1 and unmux(path, command) != whole:
            faults.append(f"{name}: unmux does not say of the complete capture what was sent")
        found = {"unmux": unmux(target, command), "tshark": tshark(target, port), "provable": proved}
        for tool, exchanges in found.items():
            totals.setdefault(tool, Counter()).update(count(exchanges, whole))
            shares.setdefault(tool, []).append(kept(exchanges, whole, ("method", "path", "status")))
            all_shares.setdefault(tool, []).append(kept(exchanges, whole, COLUMNS))
        short = sum(column not in found["unmux"].get(key, {}) for key, values in proved.items() for column in values)
        totals["unmux"]["short", ""] += short
    target.unlink()
    for tool, counts in totals.items():
        cells = ["/".join(f"{counts[column, state]:,}" for state in ("right", "wrong", "missing")) for column in COLUMNS]
        share, all_share = sum(shares[tool]) / seeds, sum(all_shares[tool]) / seeds
        table.add_row(name if tool == "unmux" else "", tool, *cells, f"{share:.2%}", f"{all_share:.2%}")
    wrong = sum(value for (_, state), value in totals["unmux"].items() if state == "wrong")
    if wrong:
        faults.append(f"{name}: {wrong} values of unmux are wrong")
    if totals["unmux"]["short", ""]:
        Console(stderr=True).print(f"{name}: unmux does not tell {totals['unmux']['short', '']} values that are provable")
    told, provable = (sum(shares[tool]) / seeds for tool in ("unmux", "provable"))
    if name.startswith("h2load") and told < min(KEPT, provable - SHORT):
        faults.append(f"{name}: {told:.2%} of the exchanges keep method, path and status, {provable:.2%} provably do")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MAKERS, []], help="traffic; all of it otherwise")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--unmux", default="unmux", help="the command to measure")
    parser.add_argument("--serve-grpc", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--call-grpc", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_grpc or options.call_grpc:
        serve_grpc() if options.serve_grpc else call_grpc()
        return
    table = Table(
        "traffic", "", *(f"{column}, right/wrong/missing" for column in COLUMNS), "method, path, status kept", "all kept"
    )
    faults: list[str] = []
    for name in options.names or MAKERS:
        faults += compare(name, options.seeds, options.unmux, table)
    Console(width=160).print(table)
    if faults:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main()
