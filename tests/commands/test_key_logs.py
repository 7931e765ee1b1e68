"""Keys for TLS: named, taken from the environment, inside the capture, and nowhere in what is said or stored."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

import analyzer

VECTORS = Path(__file__).parent.parent / "vectors" / "tls"
ASK = "SELECT is_decrypted, not_decrypted_reason FROM tls_handshakes"


def packets(said):
    """The raw IPv4 packets of a connection that says this in turns."""
    ends = ((b"\x0a\0\0\x01", 40_000), (b"\x0a\0\0\x02", 443))
    numbers = [1000, 5000]
    found = []

    def send(side, flags, data=b""):
        (source, source_port), (destination, destination_port) = ends[side], ends[1 - side]
        head = struct.pack("!BBHHHBBH", 0x45, 0, 40 + len(data), 0, 0x4000, 64, 6, 0) + source + destination
        values = (source_port, destination_port, numbers[side], numbers[1 - side], 0x50, flags, 65535, 0, 0)
        found.append(head + struct.pack("!HHIIBBHHH", *values) + data)
        numbers[side] += len(data) + (flags & 3 != 0)

    for side, flags in ((0, 2), (1, 18), (0, 16)):
        send(side, flags)
    for way, data in said:
        for start in range(0, len(data), 1400):
            send(0 if way == ">" else 1, 24, data[start : start + 1400])
    for side, flags in ((0, 17), (1, 17), (0, 16)):
        send(side, flags)
    return found


def block(number, body):
    body += bytes(-len(body) % 4)
    return struct.pack("<II", number, len(body) + 12) + body + struct.pack("<I", len(body) + 12)


def pcapng(found, secrets, *, secrets_last):
    start = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)) + block(1, struct.pack("<HHI", 101, 0, 0))
    held = block(10, struct.pack("<II", 0x544C534B, len(secrets)) + secrets) if secrets else b""
    rest = b""
    for number, packet in enumerate(found):
        rest += block(6, struct.pack("<IIIII", 0, 0, 1_000_000 + number, len(packet), len(packet)) + packet)
    return start + rest + held if secrets_last else start + held + rest


@pytest.fixture(scope="module", params=["tls13_http2_retry", "tls12_gcm"])
def dialogue(request):
    """Key log, packets and the number of exchanges of a conversation."""
    lines = [line.partition(" ") for line in (VECTORS / f"{request.param}.txt").read_text().splitlines()]
    keys = "".join(f"{value}\n" for mark, _, value in lines if mark == "key").encode()
    said = [(mark, bytes.fromhex(value)) for mark, _, value in lines if mark != "key"]
    return keys, packets(said), 4


@pytest.fixture
def without_keys(dialogue, tmp_path):
    path = tmp_path / "bare.pcapng"
    path.write_bytes(pcapng(dialogue[1], b"", secrets_last=False))
    return str(path)


def test_keys_are_named_or_found_where_the_environment_says(unmux, dialogue, without_keys, tmp_path, monkeypatch):
    log = tmp_path / "keys.log"
    log.write_bytes(dialogue[0])
    monkeypatch.delenv("SSLKEYLOGFILE", raising=False)
    assert unmux("query", without_keys, ASK, "--format", "csv").out.splitlines()[1:] == ["false,no keys given"]
    assert unmux("query", without_keys, ASK, "--keylog", str(log), "--format", "csv").out.splitlines()[1:] == ["true,"]
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    assert unmux("query", without_keys, ASK, "--format", "csv").out.splitlines()[1:] == ["true,"]
    log.write_bytes(b"")
    assert unmux("query", without_keys, ASK, "--format", "csv").out.splitlines()[1:] == ["false,no key for this client random"]
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "not there"))
    assert unmux("query", without_keys, ASK, "--format", "csv").out.splitlines()[1:] == ["false,no keys given"]


def test_a_key_log_that_cannot_be_read_is_an_error_and_one_for_a_store_is_wrong_usage(unmux, without_keys, store_path, tmp_path):
    outcome = unmux("query", without_keys, ASK, "--keylog", str(tmp_path / "missing"))
    assert (outcome.status, outcome.err.splitlines()[-1]) == (
        1,
        f"unmux: {tmp_path / 'missing'}: required a key log that can be read, found: No such file or directory",
    )
    assert unmux("query", store_path, ASK, "--keylog", str(tmp_path / "missing")).status == 2


@pytest.mark.parametrize("secrets_last", [False, True])
def test_keys_inside_the_capture_serve_wherever_they_stand(dialogue, tmp_path, secrets_last):
    path = tmp_path / "with.pcapng"
    path.write_bytes(pcapng(dialogue[1], dialogue[0], secrets_last=secrets_last))
    with analyzer.analyze(path) as store:
        assert store.sql(ASK).fetchall() == [(True, None)]
        assert store.sql("SELECT count(*) FROM exchanges WHERE is_complete").fetchall() == [(dialogue[2],)]
        assert store.sql("SELECT count(*) FROM anomalies").fetchall() == [(0,)]


def test_on_a_pipe_ciphertext_waits_for_the_keys_behind_it(dialogue, tmp_path):
    keys, found, exchanges = dialogue
    whole = pcapng(found, keys, secrets_last=False)
    secrets = block(10, struct.pack("<II", 0x544C534B, len(keys)) + keys)
    assert secrets in whole
    bare = whole.replace(secrets, b"")
    end = bare.index(found[-4]) - 28  # before the last data: nobody has closed yet
    path = tmp_path / "late.pcapng"
    path.write_bytes(bare[:end] + secrets + bare[end:])
    program = "import analyzer; print(analyzer.analyze('-').sql('SELECT count(*) FROM exchanges').fetchall())"
    with path.open("rb") as piped:
        done = subprocess.run([sys.executable, "-c", program], stdin=piped, capture_output=True, text=True, check=True)
    assert done.stdout == f"[({exchanges},)]\n"


def test_bad_lines_are_a_row_and_no_secret_is_stored(dialogue, without_keys, tmp_path):
    log = tmp_path / "keys.log"
    log.write_bytes(dialogue[0] + b"CLIENT_RANDOM misspelt\nnonsense\n")
    output = tmp_path / "kept.duckdb"
    with analyzer.analyze(without_keys, key_logs=[log], output=str(output)) as store:
        found = store.sql("SELECT found, occurrences FROM anomalies WHERE kind = 'key_log'").fetchall()
        assert found == [("other lines, or contradicting ones", 2)]
        names = [name for (name,) in store.sql("SELECT table_name FROM duckdb_tables()").fetchall()]
        text = "".join(str(store.sql(f'SELECT * FROM "{name}"').fetchall()) for name in names)
    secrets = [line.split()[2].decode() for line in dialogue[0].splitlines()]
    assert secrets
    for secret in secrets:
        assert secret not in text
        assert secret.encode() not in output.read_bytes()
