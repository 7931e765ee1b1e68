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


CODECS = ["hpack", "huffman", "http1_heads", "permessage_deflate", "content_codings", "key_log", "tls_handshake"]


def test_codecs_agree_with_their_oracles_in_a_short_run() -> None:
    command = [sys.executable, CHECKOUT / "fuzz" / "run.py", "--seconds", "0.4", "--seed", "1", *CODECS]
    ran = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line.partition(":")[0] for line in ran.stdout.splitlines()] == ["seeds from 1", *CODECS]


def test_a_target_that_is_not_there_is_refused() -> None:
    ran = subprocess.run([sys.executable, CHECKOUT / "fuzz" / "run.py", "nothing"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "there is no target nothing; there are: files, " in ran.stderr
