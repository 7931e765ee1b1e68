"""Nothing in a file can make unmux fail, grow, execute anything, write elsewhere or disturb a terminal."""

import os
import pty
import random
import struct
import subprocess
import sys
import tracemalloc
import unicodedata
from collections.abc import Callable
from pathlib import Path

import h2.config
import h2.connection
import pytest

import analyzer
from analyzer import pipeline, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.commands import main
from analyzer.dissector import Context
from analyzer.errors import CaptureError
from analyzer.records import AnomalyRecord, Rows
from analyzer.reports import names
from analyzer.text import text_to_bytes

CHECKOUT = Path(__file__).resolve().parent.parent
SAMPLES = CHECKOUT / "sample_pcaps"
SMALL = sorted(path for path in SAMPLES.rglob("*.pcap*") if path.stat().st_size < 30_000)
MEMORY = 24 << 20  # of Python objects, for files of at most 200 KB

# --- damaged files


class Faults:
    """Keeps the rows that tell of a bug."""

    def __init__(self) -> None:
        self.found: Rows = []
        self.error = ""  # the one line of a file that is no capture

    def add(self, rows: Rows) -> None:
        self.found += [row for row in rows if isinstance(row, AnomalyRecord) and row.kind in ("dissector_error", "not_stored")]


def take_apart(path: Path) -> Faults:
    """Analyze without a store; a file that is no capture has no rows."""
    faults = Faults()
    try:
        captures = CaptureSet([str(path)])
    except CaptureError as error:
        faults.error = str(error)
        return faults
    pipeline.run(captures, Context(protocols.dissectors(), "store", frames=True), faults)
    captures.close()
    return faults


def mutated(data: bytes, randomness: random.Random) -> bytes:
    """The same file with a few changes of every kind."""
    changed = bytearray(data)
    for _ in range(randomness.choice([1, 3, 20, 200])):
        at = randomness.randrange(len(changed))
        kind = randomness.randrange(7)
        if kind == 0:
            changed[at] ^= 1 << randomness.randrange(8)
        elif kind == 1:
            changed[at] = randomness.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 2:  # a length, or a number
            size = randomness.choice([2, 4, 8])
            value = randomness.choice([0, 1, 0x7FFF, 0xFFFF, 1 << 31, (1 << 32) - 1, (1 << 64) - 1, randomness.getrandbits(16)])
            changed[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, randomness.choice(["big", "little"]))
        elif kind == 3:
            del changed[at : at + randomness.randint(1, 40)]
        elif kind == 4:
            changed[at:at] = randomness.randbytes(randomness.randint(1, 40))
        elif kind == 5:  # a part once more
            start = randomness.randrange(len(changed))
            changed[at:at] = changed[start : start + randomness.randint(1, 2000)]
        else:  # the rest is missing
            del changed[max(at, 24) :]
        if not changed:
            return b"\0"
    return bytes(changed)


@pytest.mark.parametrize(
    "start", [b"", b"\xa1\xb2\xc3\xd4\0\2\0\4", b"\x4d\x3c\xb2\xa1\2\0\4\0", b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a"]
)
def test_random_bytes_are_no_capture_or_one_that_ends(start: bytes, tmp_path: Path) -> None:
    path = tmp_path / "random"
    for seed in range(25):
        randomness = random.Random(seed)
        path.write_bytes(start + randomness.randbytes(randomness.choice([0, 1, 30, 500, 20_000])))
        faults = take_apart(path)
        assert faults.found == []
        assert "\n" not in faults.error
    for link_type in (0, 1, 101, 113, 276):
        for seed in range(5):
            randomness = random.Random(seed)
            head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type)
            noise = [randomness.randbytes(randomness.randint(0, 200)) for _ in range(50)]
            path.write_bytes(head + b"".join(struct.pack("<IIII", 1, 2, len(one), len(one)) + one for one in noise))
            assert take_apart(path).found == []


@pytest.mark.parametrize("sample", SMALL, ids=[str(path.relative_to(SAMPLES)) for path in SMALL])
def test_a_capture_changed_anywhere_is_taken_apart_as_far_as_it_goes(sample: Path, tmp_path: Path) -> None:
    data = sample.read_bytes()
    path = tmp_path / "changed"
    for seed in range(8):
        path.write_bytes(mutated(data, random.Random(f"{sample.name} {seed}")))
        assert take_apart(path).found == [], seed


def test_changed_captures_are_stored_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "changed"
    for seed in range(8):
        randomness = random.Random(seed)
        sample = randomness.choice(SMALL)
        path.write_bytes(mutated(sample.read_bytes(), randomness))
        tracemalloc.start()
        try:
            with analyzer.analyze([str(path)], content="store", frames=True) as store:
                kinds = {kind for (kind,) in store.sql("SELECT DISTINCT kind FROM anomalies").fetchall()}
                assert not kinds & {"dissector_error", "not_stored"}
        except CaptureError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MEMORY, (seed, sample.name)


# --- hostile text

HOSTILE = [
    b"\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\x1b[H \x9b31m",
    "\u202egnp.exe\u202c \u2066\u200b\ufeff \x85 \u2028 \u00ad".encode(),
    b"nul\x00 bell\x07 back\x08 tab\t delete\x7f",
    b"'; DROP TABLE connections; COPY (SELECT 1) TO 'written.csv'; --",
    b"\"; INSTALL httpfs; ATTACH 'written.duckdb'; \"",
    b"[red]markup[/red] [link=file:///etc/passwd]x[/link] :smile: {0} %s $(touch written) `touch written`",
    b"| cell | <script>alert(1)</script> \\| \\x1b",
    b"\xff\xfe not UTF-8 \xc3\x28 \xed\xa0\x80",
    b"../../../../written.txt",
    b"a" * 40_000,
]


class Conversation:
    """A TCP connection in the making, as raw IP packets."""

    def __init__(self, port: int) -> None:
        self.ends = (("10.0.0.1", port), ("10.0.0.2", 80))
        self.next = [1000, 5000]
        self.packets: list[bytes] = []
        for side, flags in ((0, 2), (1, 18), (0, 16)):
            self._send(side, flags, b"")

    def _send(self, side: int, flags: int, data: bytes) -> None:
        (source, source_port), (destination, destination_port) = self.ends[side], self.ends[1 - side]
        addresses = bytes(map(int, f"{source}.{destination}".split(".")))
        head = struct.pack("!BBHHHBBH", 0x45, 0, 40 + len(data), 0, 0x4000, 64, 6, 0) + addresses
        numbers = (source_port, destination_port, self.next[side], self.next[1 - side], 0x50, flags, 65535, 0, 0)
        self.packets.append(head + struct.pack("!HHIIBBHHH", *numbers) + data)
        self.next[side] += len(data) + (flags & 3 != 0)

    def say(self, side: int, data: bytes) -> None:
        for start in range(0, len(data), 1400):
            self._send(side, 24, data[start : start + 1400])

    def end(self) -> list[bytes]:
        for side, flags in ((0, 17), (1, 17), (0, 16)):
            self._send(side, flags, b"")
        return self.packets


def http1(port: int, text: bytes) -> list[bytes]:
    """The text where a field value, a method, a target and a reason may be."""
    conversation = Conversation(port)
    line = text.replace(b"\n", b" ").replace(b"\r", b" ").replace(b"\0", b"")
    target = b"/" + line.replace(b" ", b"+").replace(b"\t", b"+")
    conversation.say(
        0, b"GET " + target + b" HTTP/1.1\r\nHost: " + line + b"\r\nX-Hostile: " + line + b"\r\nx" + target + b": 1\r\n\r\n"
    )
    conversation.say(1, b"HTTP/1.1 200 " + line + b"\r\nContent-Type: " + line + b"\r\nContent-Length: 2\r\n\r\nok")
    conversation.say(0, line + b"\r\n\r\n")
    return conversation.end()


def websocket(port: int, text: bytes) -> list[bytes]:
    """The text as a message, and as the reason of a close."""
    conversation = Conversation(port)
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    conversation.say(0, b"GET /chat HTTP/1.1\r\nHost: example.org\r\nSec-WebSocket-Version: 13\r\n" + upgrade + b"\r\n")
    conversation.say(1, b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade + b"\r\n")
    for first, payload in ((0x81, text), (0x82, text), (0x88, b"\x03\xe8" + text[:120])):
        size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack("!H", len(payload))
        conversation.say(1, bytes([first]) + size + payload)
        conversation.say(0, bytes([first, size[0] | 0x80]) + size[1:] + bytes(4) + payload)
    return conversation.end()


def http2(port: int, text: bytes) -> list[bytes]:
    """The text as names and values of fields, and as debug data."""
    conversation = Conversation(port)
    ends = [
        h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=is_client,
                validate_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        for is_client in (True, False)
    ]
    client, server = ends
    client.initiate_connection()
    fields = [
        (b":method", b"GET"),
        (b":scheme", text[:9000]),
        (b":authority", text[:9000]),
        (b":path", b"/" + text[:9000]),
        (text[:200] or b"x", b"1"),
        (b"x-hostile", text[:9000]),
    ]
    client.send_headers(1, fields, end_stream=True)
    conversation.say(0, client.data_to_send())
    server.initiate_connection()
    conversation.say(1, server.data_to_send())
    status = b"\x88" + b"\0" + b"\x0ccontent-type" + bytes([min(len(text), 100)]) + text[:100]
    conversation.say(1, struct.pack("!I", len(status))[1:] + b"\x01\x05\0\0\0\x01" + status)
    goaway = bytes(7) + b"\x02" + text[:500]
    conversation.say(1, struct.pack("!I", len(goaway))[1:] + b"\x07\0\0\0\0\0" + goaway)
    return conversation.end()


def pcapng(packets: list[bytes], interface: bytes) -> bytes:
    def block(number: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        return struct.pack("<II", number, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    name = struct.pack("<HH", 2, len(interface)) + interface + bytes(-len(interface) % 4)
    file = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + struct.pack("<HH", 1, 4) + b"\x1b[1m" + bytes(4))
    file += block(1, struct.pack("<HHI", 101, 0, 0) + name + bytes(4))
    for number, packet in enumerate(packets):
        file += block(6, struct.pack("<IIIII", 0, 0, 1_000_000 + number, len(packet), len(packet)) + packet)
    return file


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture whose every text is hostile."""
    packets = []
    for number, text in enumerate(HOSTILE):
        packets += http1(20_000 + number, text) + websocket(30_000 + number, text) + http2(40_000 + number, text)
    path = tmp_path_factory.mktemp("hostile") / "hostile.pcapng"
    path.write_bytes(pcapng(packets, HOSTILE[0] + b"\x00" + HOSTILE[5][:80]))
    return path


def test_hostile_text_reaches_the_store_as_it_was_sent(hostile: Path) -> None:
    with analyzer.analyze([str(hostile)], content="store", show_secrets=True) as store:
        values = {
            text_to_bytes(value)
            for (value,) in store.sql("SELECT value FROM http_fields WHERE name IN ('x-hostile', 'X-Hostile')").fetchall()
        }
        texts = [row[0] for row in store.sql("SELECT text FROM websocket_messages WHERE opcode = 'text'").fetchall()]
        kinds = {kind for (kind,) in store.sql("SELECT DISTINCT kind FROM anomalies").fetchall()}
    lines = [text.replace(b"\0", b"").strip() for text in HOSTILE]
    assert [line for line in lines if line not in values] == []
    assert [text for text in HOSTILE if text[:9000] not in values] == []
    utf_8 = [text for text in HOSTILE if is_utf_8(text)]
    assert [text for text in utf_8 if texts.count(text.decode()) != 2] == []
    assert not kinds & {"dissector_error", "not_stored"}


def is_utf_8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def disturbing(output: str) -> set[str]:
    """What in an output is neither printable nor the end of a line."""
    return {
        character
        for character in output
        if character != "\n" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co")
    }


QUERIES = [
    "SELECT * FROM http_fields",
    "SELECT * FROM websocket_messages",
    "SELECT * FROM http_exchanges",
    "SELECT * FROM captures",
    "SELECT * FROM anomalies",
    "SELECT * FROM http2_connections",
    'SELECT name AS "\x1b[31m" FROM captures',
]


@pytest.mark.parametrize("width", ["40", "200"])
def test_no_command_prints_what_could_disturb_a_terminal(
    hostile: Path, width: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("NO_COLOR", "1")
    kept = str(hostile.with_name(f"{width}.duckdb"))
    commands = [["analyze", str(hostile), "--content", "store", "--show-secrets", "-o", kept], ["tree", kept]]
    commands += [["report", name, kept] for name in names()] + [["query", kept, sql] for sql in QUERIES]
    monkeypatch.chdir(tmp_path)
    for arguments in commands:
        main(arguments)
        output = capsys.readouterr()
        assert disturbing(output.out + output.err) == set(), arguments
        assert output.out or "-o" in arguments, arguments
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [http1, websocket, http2])
def test_following_a_stream_prints_nothing_that_could_disturb_a_terminal(
    make: Callable[[int, bytes], list[bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    path = tmp_path / "hostile.pcapng"
    for text in HOSTILE:
        path.write_bytes(pcapng(make(20_000, text), b"eth0"))
        for stream in ("1", "1:1") if make is not http1 else ("1",):
            main(["follow", str(path), stream])
            output = capsys.readouterr()
            assert disturbing(output.out + output.err) == set(), (text, stream)
            assert "to server" in output.out


def printed_on_a_terminal(arguments: list[str], folder: Path) -> str:
    """What a command writes to a terminal, in an environment whose folders are all inside ``folder``."""
    places = {name: str(folder / name.lower()) for name in ("HOME", "TMPDIR", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
    for place in places.values():
        Path(place).mkdir(exist_ok=True)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        **places,
        "TERM": "dumb",
        "NO_COLOR": "1",
        "COLUMNS": "120",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-P", "-c", "import sys; from analyzer.commands import main; sys.exit(main())", *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.STDOUT, cwd=work, env=environment):
        os.close(theirs)
        output = b""
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:  # how the other end of a terminal ends
                break
            if not block:
                break
            output += block
    os.close(ours)
    return output.decode().replace("\r\n", "\n")


def test_every_format_is_safe_on_a_terminal_and_nothing_is_written_elsewhere(hostile: Path, tmp_path: Path) -> None:
    output = printed_on_a_terminal(["analyze", str(hostile), "-o", "kept.duckdb"], tmp_path)
    assert disturbing(output) == set()
    assert "kept.duckdb" in output
    sql = "SELECT value, name FROM http_fields"
    for form in ("table", "csv", "json", "jsonl", "markdown"):
        output = printed_on_a_terminal(["query", "kept.duckdb", sql, "--format", form], tmp_path)
        assert disturbing(output) == set(), form
        assert "red" in output
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert written == ["work/kept.duckdb"]
