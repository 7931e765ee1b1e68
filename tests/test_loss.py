"""HTTP/2 with packets missing, against an oracle that holds the complete capture: nothing is wrong, and what is provable is told.

But for what the oracle does not know: contents may look like a frame that reaches over the next hole, and two holes towards the
server that are close together are taken for one where the answers that tell them apart come later.
"""

import contextlib
import datetime
import importlib.util
import random
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import dpkt
import hpack
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import analyzer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PORT = 40_000
COLUMNS = {"request_method": "method", "target": "path", "authority": "authority", "status_code": "status"}
QUERY = (
    f"SELECT protocol_stream_id::INT, {', '.join(COLUMNS)} FROM http_exchanges JOIN streams USING (connection_id, stream_index)"
)


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    path = Path(__file__).parent.parent / "bench" / "provable.py"
    spec = importlib.util.spec_from_file_location("provable", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["provable"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


class Capture:
    """An HTTP/2 conversation as packets: requests in small ones, responses in full ones, an acknowledgment of each."""

    def __init__(self, seed: int, is_path_indexed: bool) -> None:
        self.random = random.Random(seed)
        self.is_path_indexed = is_path_indexed
        self.encoders = hpack.Encoder(), hpack.Encoder()
        self.packets: list[bytes] = []
        self.payloads: list[int] = []  # the numbers of those with bytes
        self.sent = [1000, 5000]
        self.add(0, b"", dpkt.tcp.TH_SYN)
        self.add(1, b"", dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK)
        self.add(0, b"")
        self.begin()
        self.add(0, self.sealed(0, PREFACE + frame(4, 0, 0, b"")))
        self.add(1, self.sealed(1, frame(4, 0, 0, b"") + frame(4, 1, 0, b"")))
        self.add(0, self.sealed(0, frame(4, 1, 0, b"")))
        waiting: list[int] = []
        number = 1
        while number < 240:
            for _ in range(self.random.randint(1, 4)):
                waiting += self.ask(range(number, number + 2 * self.random.randint(1, 3), 2))
                number = waiting[-1] + 2
            while len(waiting) > self.random.randint(0, 6):
                self.answer(waiting.pop(self.random.randrange(len(waiting))))
        for number in waiting:
            self.answer(number)
        for side in (0, 1):
            self.add(side, b"", dpkt.tcp.TH_FIN | dpkt.tcp.TH_ACK)
        self.add(0, b"")

    def begin(self) -> None:
        """Nothing comes before the preface."""

    def sealed(self, side: int, data: bytes) -> bytes:
        """The bytes as they are."""
        return data

    def add(self, side: int, payload: bytes, flags: int = dpkt.tcp.TH_ACK) -> None:
        ports = (PORT, 80) if side == 0 else (80, PORT)
        acknowledged = 0 if flags == dpkt.tcp.TH_SYN else self.sent[1 - side]
        segment = dpkt.tcp.TCP(
            sport=ports[0], dport=ports[1], seq=self.sent[side], ack=acknowledged, flags=flags, win=65_535, data=payload
        )
        ends = [socket.inet_aton("10.0.0.1"), socket.inet_aton("10.0.0.2")]
        packet = dpkt.ip.IP(src=ends[side], dst=ends[1 - side], p=6, ttl=64, id=len(self.packets) + 1, data=segment)
        if payload:
            self.payloads.append(len(self.packets))
        self.packets.append(bytes(dpkt.ethernet.Ethernet(src=bytes(6), dst=bytes(6), data=packet)))
        self.sent[side] += len(payload) + bool(flags & (dpkt.tcp.TH_SYN | dpkt.tcp.TH_FIN))

    def ask(self, numbers: range) -> list[int]:
        data = b""
        for number in numbers:
            target = f"/{self.random.choice(['cart', 'item', 'list'])}"
            path = (":path", target) if self.is_path_indexed else hpack.NeverIndexedHeaderTuple(":path", f"{target}/{number}")
            fields = [(":method", "GET"), (":scheme", "http"), (":authority", "example.com"), path]
            data += frame(1, 5, number, self.encoders[0].encode(fields))
        self.add(0, self.sealed(0, data))
        return list(numbers)

    def answer(self, number: int) -> None:
        content = self.random.randbytes(self.random.choice([0, 200, 2_000, 30_000]))
        fields = [(":status", self.random.choice(["200", "404", "201"])), ("x-served-by", self.random.choice("abc"))]
        data = frame(1, 4, number, self.encoders[1].encode(fields))
        for at in range(0, len(content) + 1, 16_384):
            data += frame(0, int(at + 16_384 > len(content)), number, content[at : at + 16_384])
        data = self.sealed(1, data)
        for at in range(0, len(data), 1448):
            self.add(1, data[at : at + 1448])
            self.add(0, b"")

    def write(self, path: Path, missing: set[int]) -> Path:
        with path.open("wb") as file:
            writer = dpkt.pcap.Writer(file)
            for number, packet in enumerate(self.packets):
                if number not in missing:
                    writer.writepkt(packet, 1_700_000_000 + number * 0.002)
        return path


class EncryptedCapture(Capture):
    """The same inside TLS 1.3."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.key_log = folder / "keys.log"
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "example.com")])
        since = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        until = since + datetime.timedelta(days=36_500)
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, since, until)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "server.pem").write_bytes(pem + builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
        client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        client.keylog_filename = str(self.key_log)
        server.load_cert_chain(folder / "server.pem")
        for context in (client, server):
            context.set_alpn_protocols(["h2"])
        self.wires = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ends = client.wrap_bio(self.wires[1], self.wires[0]), server.wrap_bio(self.wires[0], self.wires[1], server_side=True)
        super().__init__(seed, False)

    def begin(self) -> None:
        """The handshake."""
        for side in (0, 1, 0, 1):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.ends[side].do_handshake()
            flight = self.wires[side].read()
            for at in range(0, len(flight), 1448):
                self.add(side, flight[at : at + 1448])
            self.wires[side].write(flight)  # for the other end
        self.wires[1].read()  # tickets, which the client has no use for

    def sealed(self, side: int, data: bytes) -> bytes:
        """The bytes as records; a record holds up to 16 KiB."""
        self.ends[side].write(data)
        return self.wires[side].read()


def told(path: Path, key_logs: Sequence[Path] = ()) -> dict[tuple[int, int], dict[str, str]]:
    """What unmux tells of each stream."""
    with analyzer.analyze([str(path)], key_logs=key_logs) as store:
        rows = store.sql(QUERY).fetchall()
    names = list(COLUMNS.values())
    return {
        (PORT, number): {name: str(value) for name, value in zip(names, values, strict=True) if value is not None}
        for number, *values in rows
    }


@pytest.mark.parametrize("is_path_indexed", [False, True], ids=["paths spelt out", "paths indexed"])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_provable_is_told_and_nothing_is_wrong(
    seed: int, is_path_indexed: bool, oracle: ModuleType, tmp_path: Path
) -> None:
    capture = Capture(seed, is_path_indexed)
    complete = capture.write(tmp_path / "complete.pcap", set())
    whole, _ = oracle.judge(complete, set())
    assert told(complete) == whole
    after_the_beginning = capture.payloads[3:]  # where the first bytes are missing, frames are taken for such that look like it
    provable = short = 0
    for _ in range(4):
        missing = set(capture.random.sample(after_the_beginning, len(after_the_beginning) // 70))
        _, proved = oracle.judge(complete, missing)
        found = told(capture.write(tmp_path / "damaged.pcap", missing))
        assert {key: values for key, values in found.items() if not values.items() <= whole[key].items()} == {}
        provable += sum(map(len, proved.values()))
        short += sum(len(values.keys() - found.get(key, {}).keys()) for key, values in proved.items())
    assert provable > sum(map(len, whole.values()))
    assert short <= provable * 0.02


@pytest.mark.parametrize("seed", range(4))
def test_inside_tls_nothing_is_wrong_and_most_requests_are_told(seed: int, tmp_path: Path) -> None:
    """How long a hole inside TLS 1.3 is nobody can know; of each record that is missing only its number and a bound are certain."""
    capture = EncryptedCapture(seed, tmp_path)
    whole = told(capture.write(tmp_path / "complete.pcap", set()), [capture.key_log])
    assert len(whole) >= 120
    assert all(values.keys() == set(COLUMNS.values()) for values in whole.values())
    after_the_beginning = [number for number in capture.payloads if number > 20]
    methods = 0
    for _ in range(4):
        missing = set(capture.random.sample(after_the_beginning, len(after_the_beginning) // 70))
        found = told(capture.write(tmp_path / "damaged.pcap", missing), [capture.key_log])
        assert {key: values for key, values in found.items() if not values.items() <= whole[key].items()} == {}
        methods += sum("method" in values for values in found.values())
    assert methods > len(whole) * 4 * 0.7
