"""A laboratory network: two hosts and the wire between them, as network namespaces on one Linux machine.

Each host is a namespace with its own TCP stack and an Ethernet interface of MTU 1500 (a tap device without offloads, so
that packets look as they do on a real network, checksums included). The wire is a thread that carries frames from one to
the other with a delay, and loses, delays or repeats those that a rule picks: loss and reordering happen to real stacks,
which repair them as they do. tcpdump captures at either end. Needs Linux, root, iproute2 and tcpdump.
"""

import contextlib
import ctypes
import fcntl
import heapq
import os
import select
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TO_SERVER = "to_server"
TO_CLIENT = "to_client"
CLIENT = "10.0.0.1"
SERVER = "10.0.0.2"
CLIENT_IPV6 = "fd00::1"
SERVER_IPV6 = "fd00::2"
NOBODY = "10.0.0.3"  # an address with a neighbour entry and no host

_TUNSETIFF = 0x400454CA
_IFF_TAP_NO_PI = 0x1002
_SIOCETHTOOL = 0x8946
_ETHTOOL_STSO, _ETHTOOL_SGSO, _ETHTOOL_SGRO = 0x1F, 0x24, 0x2C
_CLONE_NEWNET = 0x40000000


class Namespace:
    """A network namespace and the processes started in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.processes: list[subprocess.Popen[bytes]] = []
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> None:
        """Run ``ip`` in it."""
        subprocess.run(["ip", "-n", self.name, *arguments], check=True)

    def start(self, command: Sequence[str], log: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a process in it; both its outputs go to ``log``."""
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(log.open("wb")) if log else subprocess.DEVNULL
            process = subprocess.Popen(["ip", "netns", "exec", self.name, *command], stdout=output, stderr=output)
        self.processes.append(process)
        return process

    def run(self, command: Sequence[str], check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a program in it to its end; the output comes back as text."""
        full = ["ip", "netns", "exec", self.name, *command]
        done = subprocess.run(full, capture_output=True, text=True, timeout=600, **options)  # type: ignore[call-overload]
        if check and done.returncode:
            raise RuntimeError(f"{command}: {done.returncode}: {done.stderr[-2000:]}")
        return done  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Put the calling thread into it: a socket made here stays in it."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.name}") as there:  # noqa: PTH123
            if libc.setns(there.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                libc.setns(home.fileno(), _CLONE_NEWNET)

    def socket(self, family: int = socket.AF_INET) -> socket.socket:
        """A TCP socket in it."""
        with self.inside():
            made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.settimeout(20)
        return made

    def offloads_off(self, interface: str) -> None:
        """Turn segmentation and receive offloads off, so that no captured packet is larger than the MTU."""
        with self.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for command in (_ETHTOOL_STSO, _ETHTOOL_SGSO, _ETHTOOL_SGRO):
                value = (ctypes.c_uint32 * 2)(command, 0)
                request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
                with contextlib.suppress(OSError):  # an interface that lacks the feature has nothing to turn off
                    fcntl.ioctl(control, _SIOCETHTOOL, request)

    def stop(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
        """End one of its processes and wait for it."""
        process.send_signal(number)
        process.wait(timeout=20)
        self.processes.remove(process)

    def close(self) -> None:
        """End what still runs in it and remove it."""
        for process in list(self.processes):
            self.stop(process)
        subprocess.run(["ip", "netns", "delete", self.name], check=True)


@dataclass(frozen=True)
class Frame:
    """What a rule of the wire sees of an Ethernet frame."""

    direction: str
    data: bytes
    number: int  # from 1, among the frames of its direction that carry TCP payload; 0 for one without
    flags: int  # TCP flags, 0 when it is not TCP over IPv4


# The extra delays, in seconds, at which the wire delivers copies of a frame: () loses it, (0, 0) duplicates it.
Rule = Callable[[Frame], Sequence[float]]


def deliver(frame: Frame) -> Sequence[float]:
    """The rule of a wire that neither loses nor delays."""
    return (0.0,)


class Wire(threading.Thread):
    """Carries Ethernet frames between two tap devices."""

    def __init__(self, client: int, server: int, delay: float, rule: Rule) -> None:
        super().__init__(daemon=True)
        self.ends = {client: (server, TO_SERVER), server: (client, TO_CLIENT)}
        self.delay = delay
        self.rule = rule
        self.dropped: list[Frame] = []
        self.carrying = True
        self._numbers = {TO_SERVER: 0, TO_CLIENT: 0}

    def run(self) -> None:
        """Carry frames until ``carrying`` is False."""
        waiting: list[tuple[float, int, int, bytes]] = []
        sequence = 0
        while self.carrying:
            pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.05
            for end in select.select(list(self.ends), [], [], min(pause, 0.05))[0]:
                target, direction = self.ends[end]
                frame = self._frame(direction, os.read(end, 65536))
                delays = self.rule(frame)
                if not delays:
                    self.dropped.append(frame)
                for extra in delays:
                    sequence += 1
                    heapq.heappush(waiting, (time.monotonic() + self.delay + extra, sequence, target, frame.data))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, target, data = heapq.heappop(waiting)
                os.write(target, data)

    def _frame(self, direction: str, data: bytes) -> Frame:
        if data[12:14] != b"\x08\x00" or data[23] != socket.IPPROTO_TCP:
            return Frame(direction, data, 0, 0)
        transport = 14 + 4 * (data[14] & 15)
        payload = 14 + int.from_bytes(data[16:18]) - transport - 4 * (data[transport + 12] >> 4)
        number = 0
        if payload:
            self._numbers[direction] += 1
            number = self._numbers[direction]
        return Frame(direction, data, number, data[transport + 13])


class Lab:
    """A client host, a server host and a wire; ``folder`` is for scratch files and goes with the laboratory."""

    def __init__(self, delay: float = 0.001, rule: Rule = deliver) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="unmux-lab-")
        self.folder = Path(self._temporary.name)
        self.folder.chmod(0o755)
        self.client = Namespace(f"unmux-c{os.getpid()}")
        self.server = Namespace(f"unmux-s{os.getpid()}")
        self._taps = [
            self._host(self.client, CLIENT, CLIENT_IPV6, "02:00:00:00:00:01"),
            self._host(self.server, SERVER, SERVER_IPV6, "02:00:00:00:00:02"),
        ]
        for host, address, mac in (
            (self.client, SERVER, "02:00:00:00:00:02"),
            (self.client, SERVER_IPV6, "02:00:00:00:00:02"),
            (self.client, NOBODY, "02:00:00:00:00:03"),
            (self.server, CLIENT, "02:00:00:00:00:01"),
            (self.server, CLIENT_IPV6, "02:00:00:00:00:01"),
        ):
            host.ip("neighbour", "add", address, "lladdr", mac, "dev", "eth0")
        self.wire = Wire(*self._taps, delay, rule)
        self.wire.start()

    @staticmethod
    def _host(host: Namespace, address: str, address_ipv6: str, mac: str) -> int:
        with host.inside():
            tap = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", b"eth0", _IFF_TAP_NO_PI))
        for key in ("accept_dad=0", "router_solicitations=0", "addr_gen_mode=1"):  # no chatter in the samples
            with host.inside():
                name, value = key.split("=")
                Path(f"/proc/sys/net/ipv6/conf/eth0/{name}").write_text(value)
        host.ip("link", "set", "eth0", "address", mac, "mtu", "1500", "up")
        host.ip("address", "add", f"{address}/24", "dev", "eth0")
        host.ip("address", "add", f"{address_ipv6}/64", "dev", "eth0", "nodad")
        host.offloads_off("eth0")
        return tap

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.close()
        self.wire.carrying = False
        self.wire.join()
        for tap in self._taps:
            os.close(tap)
        self._temporary.cleanup()

    @contextlib.contextmanager
    def capturing(self, path: Path, at: str = "client") -> Iterator[None]:
        """Capture at the client's or the server's interface into ``path``; the suffix ``.pcapng`` or ``.pcap`` decides."""
        raw = self.folder / "raw.pcap"
        with tcpdump(self.client if at == "client" else self.server, "eth0", raw, "ip or (ip6 and not ip6 multicast)"):
            yield
            time.sleep(4 * self.wire.delay + 0.15)  # the last acknowledgments
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".pcapng":
            subprocess.run(["editcap", "-F", "pcapng", raw, path], check=True)
        else:
            path.write_bytes(raw.read_bytes())

    def listen(self, port: int, family: int = socket.AF_INET) -> socket.socket:
        """A listening socket at the server."""
        listener = self.server.socket(family)
        listener.bind((SERVER if family == socket.AF_INET else SERVER_IPV6, port))
        listener.listen()
        return listener

    def connect(self, port: int, source_port: int = 0) -> socket.socket:
        """A socket of the client, connected to ``port`` of the server."""
        made = self.client.socket()
        if source_port:
            made.bind((CLIENT, source_port))
        made.connect((SERVER, port))
        return made

    def await_port(self, port: int) -> None:
        """Return when the server listens on ``port`` (looked up at the server, so that no packet shows it)."""
        wanted = f":{port:04X} "
        for _ in range(400):
            with self.server.inside():
                tables = Path("/proc/thread-self/net/tcp").read_text() + Path("/proc/thread-self/net/tcp6").read_text()
            if any(wanted in line and " 0A " in line for line in tables.splitlines()):
                return
            time.sleep(0.025)
        raise RuntimeError(f"nothing listens on port {port}")


@contextlib.contextmanager
def tcpdump(host: Namespace, interface: str, path: Path, expression: str, buffer_kib: int = 32768) -> Iterator[None]:
    """Capture into ``path`` with nanosecond times. RuntimeError when the kernel dropped packets."""
    log = path.with_suffix(".log")
    command = ["tcpdump", "-i", interface, "-n", "-w", str(path), "-B", str(buffer_kib), "-Z", "root"]
    if buffer_kib <= 32768:
        command += ["-U", "--immediate-mode"]
    process = host.start([*command, "--time-stamp-precision=nano", expression], log)
    while "listening on" not in log.read_text():
        if process.poll() is not None:
            raise RuntimeError(log.read_text())
        time.sleep(0.02)
    try:
        yield
    finally:
        host.stop(process, signal.SIGINT)
    summary = log.read_text()
    if "\n0 packets dropped by kernel" not in summary:
        raise RuntimeError(f"the capture is not complete: {summary}")
