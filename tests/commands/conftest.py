"""The command line as tests call it, and a store to ask."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import analyzer
from analyzer.commands import main

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Outcome:
    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def samples():
    return ROOT / "sample_pcaps"


@pytest.fixture(scope="session")
def demo(samples):
    return str(samples / "demo.pcapng")


@pytest.fixture(scope="session")
def store_path(demo, tmp_path_factory):
    """A store made from the demo."""
    path = tmp_path_factory.mktemp("store") / "demo.duckdb"
    analyzer.analyze([demo], output=str(path)).close()
    return str(path)


@pytest.fixture
def unmux(capsys, monkeypatch):
    """Runs a command in this process; ``width`` is that of the terminal."""

    def run(*arguments, width=80):
        monkeypatch.setenv("COLUMNS", str(width))
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Outcome(status, said.out, said.err)

    return run


def hear_signals():
    """A test run in the background ignores Ctrl-C, and so would what it starts."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def process():
    """Starts a command in a process of its own."""
    started = []

    def start(*arguments, **options):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **options.pop("env", {})}
        command = [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": hear_signals, **options}
        child = subprocess.Popen(command, env=environment, **options)
        started.append(child)
        return child

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()
