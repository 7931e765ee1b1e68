"""`make fuzz` runs; it is to be run for longer than a test may take."""

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def test_no_input_of_a_short_run_makes_unmux_misbehave() -> None:
    command = [sys.executable, CHECKOUT / "fuzz" / "run.py", "--seconds", "2", "--seed", "1", "files", "websocket", "tls"]
    ran = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line.partition(":")[0] for line in ran.stdout.splitlines()] == ["seeds from 1", "files", "websocket", "tls"]
