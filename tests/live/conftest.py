"""A network of its own, with real servers on its loopback interface, where this machine allows that."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Network:
    """A network namespace in which commands run."""

    def __init__(self, holder):
        self._enter = ["nsenter", "--target", str(holder.pid), "--net"]
        if os.geteuid() != 0:
            self._enter += ["--user", "--preserve-credentials"]

    def command(self, *words):
        return [*self._enter, *map(str, words)]

    def run(self, *words, **options):
        options = {"check": True, "capture_output": True, "text": True, **options}
        return subprocess.run(self.command(*words), **options)

    def start(self, *words, **options):
        return subprocess.Popen(self.command(*words), **options)


@pytest.fixture(scope="session")
def holder():
    for tool in ("unshare", "nsenter", "ip"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not there, to make a network namespace")
    new = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--user", "--map-root-user"]
    script = "ip link set lo up && echo up && exec sleep 3600"
    holder = subprocess.Popen([*new, "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if holder.stdout.readline() != "up\n":
        reason = holder.stderr.read().strip()
        holder.kill()
        holder.communicate()
        pytest.skip(f"no network namespace: {reason}")
    yield holder
    holder.kill()
    holder.communicate()


@pytest.fixture(scope="session")
def network(holder):
    """A network in which raw sockets are allowed."""
    network = Network(holder)
    check = "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"
    done = network.run(sys.executable, "-c", check, check=False)
    if done.returncode:
        pytest.skip(f"no raw sockets: {done.stderr.splitlines()[-1]}")
    return network


@pytest.fixture(scope="session")
def servers(network, tmp_path_factory):
    """The port of each server: http and websocket."""
    server = network.start(sys.executable, ROOT / "tests" / "live" / "servers.py", stdout=subprocess.PIPE, text=True)
    ports = json.loads(server.stdout.readline())
    yield ports
    server.terminate()
    server.communicate()


@pytest.fixture
def talk(network, servers):
    """Makes a client talk to the servers: requests, then a WebSocket conversation of so many messages."""

    def run(requests=3, messages=2, size=10, path="/"):
        arguments = (servers["http"], servers["websocket"], requests, messages, size, path)
        network.run(sys.executable, ROOT / "tests" / "live" / "client.py", *arguments)

    return run


class Live:
    """`unmux live` in a process of its own."""

    def __init__(self, network, arguments, tmp_path, options):
        self.errors = tmp_path / f"errors-{time.monotonic_ns()}"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"} | options.pop("env", {})
        self._file = self.errors.open("w")
        command = (
            network.command(sys.executable, ROOT / "cli.py", "live", *arguments)
            if network
            else [sys.executable, str(ROOT / "cli.py"), "live", *map(str, arguments)]
        )
        options = {"stdout": subprocess.PIPE, "text": True, **options}
        self.process = subprocess.Popen(command, stderr=self._file, env=environment, preexec_fn=_hear_signals, **options)

    def end(self, number=signal.SIGINT, timeout=60):
        """Signal it and wait; returns its exit status, its output and what it said on standard error."""
        if number is not None:
            os.kill(self.process.pid, number)
        out = ""
        if self.process.stdout is not None and not self.process.stdout.closed:
            out = self.process.stdout.read()  # what readline has taken in is not lost so
            self.process.stdout.close()
        self.process.wait(timeout)
        self._file.close()
        return self.process.returncode, out, self.errors.read_text()


def _hear_signals():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def until(true, seconds=40):
    """Wait until something is true; what it gave then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = true()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come true")


@pytest.fixture(name="until")
def until_fixture():
    return until


def is_bound(network, process):
    """Whether a process has a packet socket that hears all protocols."""
    sockets = set()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):
            sockets.add(str(entry.readlink()))
    bound = [line.split() for line in network.run("cat", "/proc/net/packet").stdout.splitlines()[1:]]
    return any(words[3] == "0003" and f"socket:[{words[-1]}]" in sockets for words in bound)


@pytest.fixture(name="is_bound")
def is_bound_fixture():
    return is_bound


@pytest.fixture
def live(network, tmp_path):
    """Starts `unmux live` in the network; it has begun to capture when this returns."""
    started = []

    def start(*arguments, waits=True, inside=True, **options):
        running = Live(network if inside else None, arguments, tmp_path, options)
        started.append(running)
        if waits:
            until(lambda: running.process.poll() is not None or is_bound(network, running.process.pid))
        return running

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.end(None)


@pytest.fixture
def query():
    """Asks a store with SQL as another process does; None while it cannot be opened."""

    def ask(where, sql):
        done = subprocess.run(
            [sys.executable, ROOT / "cli.py", "query", str(where), sql, "--format", "json"],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        return json.loads(done.stdout) if done.returncode == 0 else None

    return ask
