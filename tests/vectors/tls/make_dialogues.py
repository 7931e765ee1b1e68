"""Makes the dialogues beside it: OpenSSL's two ends in one process, talking through memory.

``python tests/vectors/tls/make_dialogues.py``. Each file has the lines of the key log (``key …``) and what the ends said in turns, as
hexadecimal octets: ``>`` towards the server, ``<`` towards the client.
"""

import contextlib
import datetime
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

import h2.config
import h2.connection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

FOLDER = Path(__file__).parent
NAME = "example.org"
GET = b"GET /a HTTP/1.1\r\nHost: example.org\r\n\r\n"
POST = b"POST /form HTTP/1.1\r\nHost: example.org\r\nContent-Length: 3000\r\n\r\n" + b"f" * 3000
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"large " * 3333 + b"xx"


class Ends:
    """Both ends; ``said`` is what went between them."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        self.said: list[tuple[str, bytes]] = []
        boxes = [ssl.MemoryBIO() for _ in range(4)]
        self._ends = {
            ">": client.wrap_bio(boxes[0], boxes[1], server_hostname=NAME),
            "<": server.wrap_bio(boxes[2], boxes[3], server_side=True),
        }
        self._wires = {">": (boxes[1], boxes[2]), "<": (boxes[3], boxes[0])}

    def _carry(self, way: str) -> None:
        out, into = self._wires[way]
        data = out.read()
        if data:
            self.said.append((way, data))
            into.write(data)

    def shake_hands(self) -> None:
        done: set[str] = set()
        while len(done) < 2:
            for way, end in self._ends.items():
                try:
                    end.do_handshake()
                    done.add(way)
                except ssl.SSLWantReadError:
                    pass
                self._carry(way)

    def say(self, way: str, data: bytes) -> bytes:
        """One end writes, the other one reads; returns what it read."""
        self._ends[way].write(data)
        self._carry(way)
        other = "<" if way == ">" else ">"
        read = b""
        while len(read) < len(data):
            read += self._ends[other].read(1 << 20)
        self._carry(other)
        return read

    def close(self) -> None:
        for way, end in self._ends.items():
            with contextlib.suppress(ssl.SSLWantReadError):
                end.unwrap()
            self._carry(way)


def http1(ends: Ends) -> None:
    for request, response in ((GET, OK), (POST, LARGE), (GET + GET, OK + OK)):
        ends.say(">", request)
        ends.say("<", response)


def http2(ends: Ends) -> None:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))

    def exchange() -> None:
        for way, sender, receiver in ((">", client, server), ("<", server, client)):
            data = sender.data_to_send()
            if data:
                receiver.receive_data(ends.say(way, data))

    client.initiate_connection()
    server.initiate_connection()
    exchange()
    exchange()
    for stream in (1, 3, 5):
        fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", NAME),
            (":path", f"/{stream}"),
            ("x-number", str(stream)),
        ]
        client.send_headers(stream, fields, end_stream=True)
        exchange()
    for stream in (3, 1, 5):
        server.send_headers(stream, [(":status", "200"), ("x-number", str(stream))])
        server.send_data(stream, b"d" * 900 * stream, end_stream=True)
    exchange()
    client.send_headers(7, [(":method", "GET"), (":scheme", "https"), (":authority", NAME), (":path", "/7")], end_stream=True)
    exchange()
    server.send_headers(7, [(":status", "404")], end_stream=True)
    exchange()


def certificate(folder: Path, name: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), start, start.replace(year=2045))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name), x509.DNSName(f"www.{name}")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


def make(folder: Path, name: str, talk: Callable[[Ends], None], protocol: str, **options: object) -> None:
    own = certificate(folder, NAME)
    log = folder / f"{name}.keys"
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.keylog_filename = str(log)
    client.load_verify_locations(own)
    server.load_cert_chain(own)
    version = options.get("version", ssl.TLSVersion.TLSv1_3)
    for context in (client, server):
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols([protocol] if context is server else ["h2", "http/1.1"])
    if "suites" in options:
        client.set_ciphers(options["suites"])
    if "group" in options:
        server.set_ecdh_curve(options["group"])
    if options.get("client_certificate"):
        other = certificate(folder, "client.example.org")
        client.load_cert_chain(other)
        server.load_verify_locations(other)
        server.verify_mode = ssl.CERT_REQUIRED
    ends = Ends(client, server)
    ends.shake_hands()
    talk(ends)
    ends.close()
    keys = [f"key {line}" for line in log.read_text().splitlines() if not line.startswith("#")]
    said = [f"{way} {data.hex()}" for way, data in ends.said]
    (FOLDER / f"{name}.txt").write_text("\n".join([*keys, *said]) + "\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make(folder, "tls13_http2_retry", http2, "h2", group="secp384r1")
        make(folder, "tls13_client_certificate", http1, "http/1.1", client_certificate=True)
        make(folder, "tls12_gcm", http1, "http/1.1", version=ssl.TLSVersion.TLSv1_2, suites="ECDHE-ECDSA-AES128-GCM-SHA256")
        make(folder, "tls12_cbc", http1, "http/1.1", version=ssl.TLSVersion.TLSv1_2, suites="ECDHE-ECDSA-AES256-SHA384")


if __name__ == "__main__":
    main()
