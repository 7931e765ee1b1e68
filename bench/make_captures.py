"""Makes the large captures of the benchmark in bench/captures/: ``python bench/make_captures.py [NAME...]`` (as root).

nghttpd, h2load, openssl, nginx, wrk, Python websockets and tcpdump, on the loopback of a network namespace with MTU 1500 and
without segmentation offload. A capture that the kernel dropped packets of is made again.
"""

import argparse
import asyncio
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "sample_pcaps" / "make"))

from lab import Namespace, tcpdump  # noqa: E402  # the laboratory of the samples

CAPTURES = HERE / "captures"
ADDRESS = "127.0.0.1"
HTTP2_PORT, HTTP1_PORT, WEBSOCKET_PORT, TLS_PORT = 8080, 8081, 8082, 8443
SIZES = {"small.json": 700, "item.json": 2_300, "page.html": 5_800, "list.json": 9_000, "picture.webp": 14_500}
TARGETS = [
    "/small.json",
    "/item.json?id=1&fields=name,price",
    "/page.html",
    "/list.json?page=2&per_page=50&sort=-created",
    "/picture.webp",
]
HTTP1_TARGETS = [*TARGETS, "/small.json?after=1712", "/item.json?id=2"]
HTTP1_REQUESTS, HTTP1_SECONDS = 45_000, 12  # wrk stops asking after so many, and exits after that time
WEBSOCKET_CLIENTS, WEBSOCKET_ROUNDS, WEBSOCKET_BURST = 20, 1_000, 10

Make = Callable[[Namespace, Path], None]


def documents(folder: Path) -> Path:
    """The files that the servers serve."""
    root = folder / "documents"
    root.mkdir(exist_ok=True)
    generator = random.Random(1)
    for name, size in SIZES.items():
        (root / name).write_bytes(generator.randbytes(size))
    return root


def capture(host: Namespace, path: Path, port: int, load: Callable[[], None]) -> None:
    """Capture what ``load`` does on ``port``."""
    with tcpdump(host, "lo", path, f"tcp port {port}", buffer_kib=524288):
        load()
        time.sleep(1)


def http2(host: Namespace, path: Path, requests: int = 60_000) -> None:
    """h2load against nghttpd: 40 connections, 20 streams at a time on each."""
    root = documents(path.parent)
    server = host.start(["nghttpd", "--no-tls", "-a", ADDRESS, "-d", str(root), str(HTTP2_PORT)])
    time.sleep(0.5)
    targets = [f"http://{ADDRESS}:{HTTP2_PORT}{target}" for target in TARGETS]
    command = ["h2load", f"-n{requests}", "-c40", "-m20", *targets]
    capture(host, path, HTTP2_PORT, lambda: print(host.run(command).stdout.split("\n\n")[1]))
    host.stop(server)


def http2_x4(host: Namespace, path: Path) -> None:
    """The same, four times as long."""
    http2(host, path, 240_000)


def http2_tls(host: Namespace, path: Path) -> None:
    """What http2 makes, over TLS 1.3; the keys that h2load logs are beside the capture."""
    root = documents(path.parent)
    log, private, certificate = (path.with_suffix(suffix) for suffix in (".keys", ".key", ".pem"))
    log.unlink(missing_ok=True)
    making = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={ADDRESS}"]
    subprocess.run([*making, "-keyout", private, "-out", certificate], check=True, capture_output=True)
    server = host.start(["nghttpd", "-a", ADDRESS, "-d", str(root), str(TLS_PORT), str(private), str(certificate)])
    time.sleep(0.5)
    targets = [f"https://{ADDRESS}:{TLS_PORT}{target}" for target in TARGETS]
    command = ["h2load", "-n60000", "-c40", "-m20", *targets]
    environment = {**os.environ, "SSLKEYLOGFILE": str(log)}
    capture(host, path, TLS_PORT, lambda: print(host.run(command, env=environment).stdout.split("\n\n")[1]))
    host.stop(server)


def http1(host: Namespace, path: Path) -> None:
    """Keep-alive connections of wrk to nginx: 40 of them."""
    root = documents(path.parent)
    configuration = path.parent / "nginx.conf"
    configuration.write_text(
        f"daemon off; user root; worker_processes 1; pid {path.parent}/nginx.pid; error_log stderr;\n"
        "events { worker_connections 512; }\n"
        "http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n"
        f"server {{ listen {ADDRESS}:{HTTP1_PORT}; root {root}; }} }}\n"
    )
    server = host.start(["nginx", "-c", str(configuration)])
    time.sleep(0.5)
    script = path.parent / "wrk.lua"
    paths = ", ".join(f'"{target}"' for target in HTTP1_TARGETS)
    script.write_text(
        f"local targets = {{{paths}}}\nlocal sent = 0\nlocal received = 0\n"
        "request = function() sent = sent + 1; return wrk.format('GET', targets[sent % #targets + 1]) end\n"
        f"response = function() received = received + 1; if received == {HTTP1_REQUESTS} then wrk.thread:stop() end end\n"
    )
    command = ["wrk", "-t1", "-c40", f"-d{HTTP1_SECONDS}s", "-s", str(script), f"http://{ADDRESS}:{HTTP1_PORT}"]
    capture(host, path, HTTP1_PORT, lambda: print(host.run(command).stdout))
    host.stop(server)


def websocket(host: Namespace, path: Path, compression: str | None = None) -> None:
    """Python websockets at both ends: 20 connections, 400,000 messages in bursts of ten."""
    context = multiprocessing.get_context("fork")
    with host.inside():
        server = context.Process(target=serve_websocket, args=(compression,), daemon=True)
        server.start()
    time.sleep(1)

    def load() -> None:
        with host.inside():
            clients = context.Process(target=run_clients, args=(compression,))
            clients.start()
        clients.join()
        if clients.exitcode:
            raise RuntimeError("the WebSocket clients failed")

    capture(host, path, WEBSOCKET_PORT, load)
    server.terminate()
    server.join()


def websocket_deflate(host: Namespace, path: Path) -> None:
    """The same with permessage-deflate."""
    websocket(host, path, "deflate")


def message(generator: random.Random) -> str:
    """A message as chat and ticker services send them."""
    words = [generator.choice(("price", "volume", "bid", "ask", "trade", "order")) for _ in range(generator.randrange(3, 15))]
    fields = ",".join(f'"{word}":{generator.randrange(100_000)}' for word in words)
    return f'{{"channel":"market.{generator.randrange(50)}",{fields}}}'


def serve_websocket(compression: str | None) -> None:
    """A server that answers each message with one of its own."""
    from websockets.asyncio.server import ServerConnection, serve

    async def handler(connection: ServerConnection) -> None:
        generator = random.Random(2)
        messages = [message(generator) for _ in range(500)]
        count = 0
        async for _ in connection:
            count += 1
            await connection.send(messages[count % 500])

    async def main() -> None:
        async with serve(handler, ADDRESS, WEBSOCKET_PORT, compression=compression) as server:
            await server.serve_forever()

    asyncio.run(main())


def run_clients(compression: str | None) -> None:
    """All clients at the same time."""

    async def main() -> None:
        await asyncio.gather(*(converse(number, compression) for number in range(WEBSOCKET_CLIENTS)))

    asyncio.run(main())


async def converse(number: int, compression: str | None) -> None:
    """One client: bursts of messages, each answered before the next begins."""
    from websockets.asyncio.client import connect

    generator = random.Random(number)
    messages = [message(generator) for _ in range(500)]
    async with connect(f"ws://{ADDRESS}:{WEBSOCKET_PORT}/feed?client={number}", compression=compression) as connection:
        # The kernel may put several messages into a segment, as it does for clients that leave Nagle's algorithm on.
        connection.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        for turn in range(WEBSOCKET_ROUNDS):
            for index in range(WEBSOCKET_BURST):
                await connection.send(messages[(turn * WEBSOCKET_BURST + index) % 500])
            for _ in range(WEBSOCKET_BURST):
                await connection.recv()


MAKERS: dict[str, Make] = {
    "http2": http2,
    "http2_tls": http2_tls,
    "http1": http1,
    "websocket": websocket,
    "websocket_deflate": websocket_deflate,
    "http2_x4": http2_x4,
}


def make(name: str) -> None:
    """Make one capture; again where packets were dropped."""
    CAPTURES.mkdir(exist_ok=True)
    path = CAPTURES / f"{name}.pcap"
    for attempt in range(5):
        host = Namespace(f"unmux-bench-{name}")
        try:
            host.ip("link", "set", "lo", "mtu", "1500")
            host.offloads_off("lo")
            MAKERS[name](host, path)
        except RuntimeError as error:
            print(f"{name}: attempt {attempt + 1}: {error}", file=sys.stderr)
            continue
        finally:
            host.close()
        print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB", file=sys.stderr)
        return
    raise SystemExit(f"{name}: no complete capture in five attempts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MAKERS, []], help="captures to make; all of them otherwise")
    for name in parser.parse_args().names or MAKERS:
        make(name)


if __name__ == "__main__":
    main()
