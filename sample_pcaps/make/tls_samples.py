"""TLS: nginx, nghttpd and openssl s_server; curl, openssl s_client and websockets. The keys that the clients log go into the captures."""

import asyncio
import contextlib
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from http2_peers import logged_rows
from lab import SERVER, Lab
from samples import EXCHANGE, Expected, Row, content, curl, nginx, nginx_rows, require, sample
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

PORT = 8443
NAME = "server.test"
ORIGIN = f"https://{NAME}:{PORT}"
FILES = {"index.html": content(3_000, 61), "small.json": content(90, 62), "large.bin": content(18_000, 63)}
TLS13_SUITES = (
    "AES_128_GCM_SHA256",
    "AES_256_GCM_SHA384",
    "CHACHA20_POLY1305_SHA256",
    "AES_128_CCM_SHA256",
    "AES_128_CCM_8_SHA256",
)
TLS12_SUITES = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES128-CCM": "TLS_ECDHE_ECDSA_WITH_AES_128_CCM",
    "ECDHE-ECDSA-AES256-CCM8": "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8",
    "ECDHE-ECDSA-AES128-SHA": "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "ECDHE-ECDSA-AES256-SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
}


class Keys:
    """A certificate for a name, and the file where clients log their keys."""

    def __init__(self, folder: Path, name: str = NAME) -> None:
        self.certificate, self.private, self.log = folder / f"{name}.pem", folder / f"{name}.key", folder / "keys.log"
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "7300",
        ]
        names = ["-subj", f"/O=unmux samples/CN={name}", "-addext", f"subjectAltName=DNS:{name},DNS:www.{name}"]
        subprocess.run([*command, *names, "-out", self.certificate, "-keyout", self.private], check=True, capture_output=True)


@contextlib.contextmanager
def capturing(lab: Lab, path: Path, keys: Keys) -> Iterator[None]:
    """Capture into ``path``, with the keys logged meanwhile as a Decryption Secrets Block."""
    bare = lab.folder / "bare.pcapng"
    with lab.capturing(bare):
        yield
    path.parent.mkdir(parents=True, exist_ok=True)
    if keys.log.exists():
        subprocess.run(["editcap", "--inject-secrets", f"tls,{keys.log}", bare, path], check=True)
    else:
        path.write_bytes(bare.read_bytes())


def fetch(lab: Lab, keys: Keys, *arguments: str, http_version: str = "1.1", port: int = PORT) -> list[Row]:
    """Run curl with TLS; its own account of each transfer."""
    common = ["--cacert", str(keys.certificate), "--resolve", f"{NAME}:{port}:{SERVER}"]
    before = os.environ.get("SSLKEYLOGFILE")
    os.environ["SSLKEYLOGFILE"] = str(keys.log)
    try:
        return curl(lab, *common, *arguments, http_version=http_version)
    finally:
        if before is None:
            del os.environ["SSLKEYLOGFILE"]


@contextlib.contextmanager
def s_server(lab: Lab, keys: Keys, *options: str) -> Iterator[Path]:
    """Openssl s_server, which serves files over HTTP/1.0, and its log."""
    root = lab.folder / "documents"
    root.mkdir(exist_ok=True)
    for name, data in FILES.items():
        (root / name).write_bytes(data)
    command = ["openssl", "s_server", "-accept", str(PORT), "-cert", str(keys.certificate), "-key", str(keys.private), *options]
    log = lab.folder / "s_server.log"
    process = lab.server.start(["sh", "-c", f'cd {root} && exec "$@"', "sh", *command], log)
    lab.await_port(PORT)
    yield log
    lab.server.stop(process)


@contextlib.contextmanager
def secure_nginx(lab: Lab, keys: Keys, protocols: str, *directives: str, versions: str = "TLSv1.2 TLSv1.3") -> Iterator[Path]:
    """Nginx with TLS on PORT, and in clear on 8080."""
    lines = [
        f"listen {PORT} ssl {protocols};",
        f"ssl_protocols {versions};",
        f"ssl_certificate {keys.certificate};",
        f"ssl_certificate_key {keys.private};",
    ]
    with nginx(lab, 8080, "", FILES, "\n".join([*lines, *directives])) as log:
        yield log


def s_client(lab: Lab, keys: Keys, script: list[tuple[float, str]], *options: str) -> str:
    """Openssl s_client that is told this, each line after a pause in seconds; what it printed."""
    command = ["openssl", "s_client", "-connect", f"{SERVER}:{PORT}", "-servername", NAME, "-keylogfile", str(keys.log), *options]
    full = ["ip", "netns", "exec", lab.client.name, *command]
    process = subprocess.Popen(full, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdin is not None
    for pause, text in script:
        time.sleep(pause)
        process.stdin.write(text.encode())
        process.stdin.flush()
    time.sleep(0.4)
    printed, _ = process.communicate()
    return printed.decode("utf-8", "replace")


def handshake(version: str, suite: str, **columns: object) -> Row:
    """A row of tls_handshakes."""
    return {
        "version": version,
        "cipher_suite": suite,
        "server_name": NAME,
        "is_decrypted": True,
        "undecrypted_records": 0,
        **columns,
    }


@sample("tls/http1_and_http2", ".pcapng")
def http1_and_http2(path: Path) -> Expected:
    """HTTP/1.1 and HTTP/2 inside TLS 1.3 and 1.2, chosen by ALPN."""
    with Lab() as lab:
        keys = Keys(lab.folder)
        with secure_nginx(lab, keys, "http2") as log, capturing(lab, path, keys):
            urls = [f"{ORIGIN}/{name}" for name in (*FILES, "missing")]
            fetch(lab, keys, "--http2", *urls)
            fetch(lab, keys, "--http1.1", *urls)
            fetch(lab, keys, "--tls-max", "1.2", "--http2", urls[0])
        rows = nginx_rows(log, *EXCHANGE)
    require(len(rows) == 9, f"{len(rows)} exchanges in the log")
    expected = Expected(f"nginx 1.22 and curl 7.88 with OpenSSL 3.0 (port {PORT}); rows from nginx's access log")
    expected.add("http_exchanges", *rows)
    certificate = {"certificate_subject": f"CN={NAME},O=unmux samples", "certificate_names": f"{NAME},www.{NAME}"}
    for version, suite, alpn in (
        ("TLS 1.3", "TLS_AES_256_GCM_SHA384", "h2"),
        ("TLS 1.3", "TLS_AES_256_GCM_SHA384", "http/1.1"),
        ("TLS 1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "h2"),
    ):
        expected.add("tls_handshakes", handshake(version, suite, alpn=alpn, is_resumed=False, **certificate))
    return expected


@sample("tls/same_in_clear", ".pcapng")
def same_in_clear(path: Path) -> Expected:
    """The same requests in clear (port 8080) and in TLS, over HTTP/1.1 and over HTTP/2."""
    with Lab() as lab:
        keys = Keys(lab.folder)
        names = ("index.html", "small.json", "index.html?again", "missing?why=404")
        clear = [f"http://{NAME}:8080/{name}" for name in names]
        secure = [f"{ORIGIN}/{name}" for name in names]
        with secure_nginx(lab, keys, "http2", "listen 8081 http2;") as log, capturing(lab, path, keys):
            fetch(lab, keys, "--http1.1", *clear, port=8080)
            for url in clear:
                fetch(lab, keys, "--http2-prior-knowledge", url.replace("8080", "8081"), port=8081)
            for version in ("--http1.1", "--http2"):
                fetch(lab, keys, version, *secure)
        rows = nginx_rows(log, *EXCHANGE)
    require(len(rows) == 16, f"{len(rows)} exchanges in the log")
    expected = Expected("nginx 1.22 and curl 7.88 (ports 8080, 8081, 8443); rows from nginx's access log")
    expected.add("http_exchanges", *rows)
    return expected


def each_suite(path: Path, version: str, suites: list[tuple[str, list[str]]], *options: str) -> Expected:
    """A connection of curl for each suite (its name, and the arguments that choose it)."""
    rows: list[Row] = []
    with Lab() as lab:
        keys = Keys(lab.folder)
        with s_server(lab, keys, "-WWW", *options), capturing(lab, path, keys):
            for number, (_, arguments) in enumerate(suites):
                rows += fetch(lab, keys, *arguments, f"{ORIGIN}/index.html?{number}".replace("?", "#"), http_version="1.0")
    for row in rows:
        row["target"] = "/index.html"
    expected = Expected(
        f"openssl s_server 3.0 and curl 7.88 (port {PORT}), told which suite to use; exchanges from curl's account"
    )
    expected.add("http_exchanges", *[{key: value for key, value in row.items() if key != "http_version"} for row in rows])
    expected.add("tls_handshakes", *[handshake(version, name) for name, _ in suites])
    return expected


@sample("tls/suites_tls13", ".pcapng")
def suites_tls13(path: Path) -> Expected:
    """Each cipher suite of TLS 1.3."""
    names = [f"TLS_{name}" for name in TLS13_SUITES]
    chosen = [(name, ["--tlsv1.3", "--tls13-ciphers", name]) for name in names]
    return each_suite(path, "TLS 1.3", chosen, "-ciphersuites", ":".join(names))


@sample("tls/suites_tls12", ".pcapng")
def suites_tls12(path: Path) -> Expected:
    """AES-GCM, ChaCha20-Poly1305, AES-CCM and CBC (the cipher first) of TLS 1.2."""
    chosen = [(name, ["--tls-max", "1.2", "--ciphers", f"{theirs}:@SECLEVEL=0"]) for theirs, name in TLS12_SUITES.items()]
    return each_suite(path, "TLS 1.2", chosen, "-cipher", "ALL:@SECLEVEL=0")


@sample("tls/cbc_mac_first", ".pcapng")
def cbc_mac_first(path: Path) -> Expected:
    """CBC of TLS 1.2 as it was at first: the MAC before the cipher."""
    chosen = [
        (TLS12_SUITES[name], ["--tls-max", "1.2", "--ciphers", name])
        for name in TLS12_SUITES
        if "-SHA" in name and "GCM" not in name
    ]
    return each_suite(path, "TLS 1.2", chosen, "-cipher", "ALL", "-no_etm")


GET = f"GET /small.json HTTP/1.1\r\nHost: {NAME}\r\n\r\n"
LAST = f"GET /index.html HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n"


@sample("tls/resumption", ".pcapng")
def resumption(path: Path) -> Expected:
    """Sessions resumed by ticket in TLS 1.3, by ticket and by identifier in TLS 1.2."""
    with Lab() as lab:
        keys = Keys(lab.folder)
        with secure_nginx(lab, keys, "", "ssl_session_cache shared:s:1m;") as log, capturing(lab, path, keys):
            for options in (["-tls1_3"], ["-tls1_2"], ["-tls1_2", "-no_ticket"]):
                session = str(lab.folder / "session.pem")
                first = s_client(lab, keys, [(0.3, LAST)], *options, "-sess_out", session)
                again = s_client(lab, keys, [(0.3, LAST)], *options, "-sess_in", session)
                require("New, TLS" in first and "Reused, TLS" in again, again)
        rows = nginx_rows(log, *EXCHANGE)
    expected = Expected(
        f"nginx 1.22 and openssl s_client 3.0 (port {PORT}); rows from nginx's access log and what s_client printed"
    )
    expected.add("http_exchanges", *rows)
    expected.add("tls_handshakes", *[{"is_resumed": number % 2 == 1, "is_decrypted": True} for number in range(6)])
    return expected


@sample("tls/early_data", ".pcapng")
def early_data(path: Path) -> Expected:
    """A request sent as early data: taken, then refused."""
    handshakes: list[Row] = []
    rows: list[Row] = []
    with Lab() as lab:
        keys = Keys(lab.folder)
        request, ticket_key = lab.folder / "request", lab.folder / "ticket.key"
        request.write_text(GET)
        ticket_key.write_bytes(bytes(range(80)))
        session = str(lab.folder / "session.pem")
        with capturing(lab, path, keys):
            for takes_it in (True, False):
                tickets = f"ssl_session_ticket_key {ticket_key}; ssl_early_data {'on' if takes_it else 'off'};"
                with secure_nginx(lab, keys, "", tickets) as log:
                    if takes_it:
                        s_client(lab, keys, [(0.3, LAST)], "-tls1_3", "-sess_out", session)
                        handshakes.append({"early_data_offered": False, "is_resumed": False, "is_decrypted": True})
                    said = s_client(lab, keys, [(0.3, LAST)], "-tls1_3", "-sess_in", session, "-early_data", str(request))
                    require(f"Early data was {'accepted' if takes_it else 'rejected'}" in said, said[-2000:])
                    handshakes.append(
                        {"early_data_offered": True, "early_data_accepted": takes_it, "is_resumed": True, "is_decrypted": True}
                    )
        rows = nginx_rows(log, *EXCHANGE)
    require(len(rows) == 4, f"{len(rows)} exchanges in the log")
    expected = Expected(
        f"nginx 1.22 and openssl s_client 3.0 (port {PORT}); rows from nginx's access log and what s_client printed"
    )
    expected.add("http_exchanges", *rows)
    expected.add("tls_handshakes", *handshakes)
    return expected


@sample("tls/hello_retry", ".pcapng")
def hello_retry(path: Path) -> Expected:
    """A server that asks for another group."""
    with Lab() as lab:
        keys = Keys(lab.folder)
        with secure_nginx(lab, keys, "http2", "ssl_ecdh_curve secp384r1;") as log, capturing(lab, path, keys):
            fetch(lab, keys, "--http2", f"{ORIGIN}/index.html")
        rows = nginx_rows(log, *EXCHANGE)
    expected = Expected(f"nginx 1.22 that knows secp384r1 alone, and curl 7.88 that begins with x25519 (port {PORT})")
    expected.add("http_exchanges", *rows)
    expected.add(
        "tls_handshakes", handshake("TLS 1.3", "TLS_AES_256_GCM_SHA384", has_hello_retry=True, key_exchange_group="secp384r1")
    )
    return expected


@sample("tls/key_update", ".pcapng")
def key_update(path: Path) -> Expected:
    """Keys updated between requests: the client's alone, then both."""
    with Lab() as lab:
        keys = Keys(lab.folder)
        with secure_nginx(lab, keys, "") as log, capturing(lab, path, keys):
            script = [(0.3, GET), (0.3, "k\n"), (0.3, GET), (0.3, "K\n"), (0.3, GET), (0.3, "K\n"), (0.3, LAST)]
            said = s_client(lab, keys, script, "-tls1_3")
            require(said.count("KEYUPDATE") == 3, said[-2000:])
        rows = nginx_rows(log, *EXCHANGE)
    require(len(rows) == 4, f"{len(rows)} exchanges in the log")
    expected = Expected(
        f"nginx 1.22 and openssl s_client 3.0, told to update keys three times (port {PORT}); rows from nginx's access log"
    )
    expected.add("http_exchanges", *rows)
    expected.add("tls_handshakes", handshake("TLS 1.3", "TLS_AES_256_GCM_SHA384"))
    return expected


@sample("tls/client_certificate", ".pcapng")
def client_certificate(path: Path) -> Expected:
    """Clients that show a certificate, in TLS 1.3 and 1.2; then one without, which is refused."""
    with Lab() as lab:
        keys = Keys(lab.folder)
        own = Keys(lab.folder, "client.test")
        verify = f"ssl_client_certificate {own.certificate}; ssl_verify_client on;"
        with secure_nginx(lab, keys, "", verify) as log, capturing(lab, path, keys):
            for version in ("1.3", "1.2"):
                shown = ["--cert", str(own.certificate), "--key", str(own.private)]
                fetch(lab, keys, "--tls-max", version, *shown, f"{ORIGIN}/index.html")
            fetch(lab, keys, f"{ORIGIN}/small.json")
        rows = nginx_rows(log, "request_method", "authority", "target", "status_code")
    expected = Expected(f"nginx 1.22 that wants a certificate, and curl 7.88 (port {PORT}); rows from nginx's access log")
    expected.add("http_exchanges", *rows)
    subject = "CN=client.test,O=unmux samples"
    for version in ("TLS 1.3", "TLS 1.2"):
        expected.add("tls_handshakes", {"version": version, "client_certificate_subject": subject, "is_decrypted": True})
    expected.add("tls_handshakes", {"version": "TLS 1.3", "is_decrypted": True})
    return expected


@sample("tls/renegotiation", ".pcapng")
def renegotiation(path: Path) -> Expected:
    """A second handshake inside a TLS 1.2 connection, between connecting and the request."""
    with Lab() as lab:
        keys = Keys(lab.folder)
        with s_server(lab, keys, "-WWW", "-tls1_2", "-client_renegotiation"), capturing(lab, path, keys):
            said = s_client(lab, keys, [(0.4, "R\n"), (1.0, "GET /index.html HTTP/1.0\r\n\r\n"), (1.0, "")], "-tls1_2")
            require("RENEGOTIATING" in said and "HTTP/1.0 200" in said, said)
    expected = Expected(f"openssl s_server and s_client 3.0, told to renegotiate (port {PORT})")
    expected.add(
        "http_exchanges", {"target": "/index.html", "status_code": 200, "response_content_bytes": len(FILES["index.html"])}
    )
    expected.add("tls_handshakes", {"version": "TLS 1.2", "renegotiations": 1, "is_decrypted": True, "undecrypted_records": 0})
    return expected


@sample("tls/refused")
def refused(path: Path) -> Expected:
    """Handshakes that fail: no version in common, and a certificate that the client does not trust."""
    with Lab() as lab:
        keys = Keys(lab.folder)
        with secure_nginx(lab, keys, "", versions="TLSv1.3"), lab.capturing(path):
            target = ["--resolve", f"{NAME}:{PORT}:{SERVER}", f"{ORIGIN}/"]
            for options, status in ((["--tls-max", "1.2"], 35), ([], 60)):
                done = lab.client.run(["curl", "-s", *options, *target], check=False)
                require(done.returncode == status, f"curl ended with {done.returncode}")
    expected = Expected(
        f"nginx 1.22 and curl 7.88 (port {PORT}), without keys; curl's exit status says which handshake failed why"
    )
    expected.add(
        "tls_handshakes",
        {"server_name": NAME, "alert": "protocol_version to_client", "not_decrypted_reason": "no ServerHello was sent"},
        {"server_name": NAME, "version": "TLS 1.3", "not_decrypted_reason": "no keys given"},
    )
    return expected


@sample("tls/nghttpd", ".pcapng")
def nghttpd_in_tls(path: Path) -> Expected:
    """Several HTTP/2 streams at once inside TLS."""
    with Lab() as lab:
        keys = Keys(lab.folder)
        root = lab.folder / "documents"
        root.mkdir()
        for name, data in FILES.items():
            (root / name).write_bytes(data)
        log = lab.folder / "nghttpd.log"
        command = ["nghttpd", "-v", "-a", SERVER, "-d", str(root), str(PORT), str(keys.private), str(keys.certificate)]
        process = lab.server.start(command, log)
        lab.await_port(PORT)
        with capturing(lab, path, keys):
            fetch(lab, keys, "-Z", "--http2", *[f"{ORIGIN}/{name}" for name in FILES], http_version="2")
        lab.server.stop(process)
        rows = logged_rows(log)
    require(len(rows) == len(FILES), f"{len(rows)} exchanges in the log")
    expected = Expected(f"nghttpd 1.52 and curl --parallel 7.88 (port {PORT}); rows from nghttpd's verbose log")
    expected.add("http_exchanges", *rows)
    return expected


@sample("tls/websocket", ".pcapng")
def websocket(path: Path) -> Expected:
    """A WebSocket inside TLS, compressed."""
    logged: list[Row] = []

    async def echo(connection: object) -> None:
        async for text in connection:  # type: ignore[attr-defined]
            logged.append({"direction": "to_server", "opcode": "text", "text": text})
            logged.append({"direction": "to_client", "opcode": "text", "text": text.upper()})
            await connection.send(text.upper())  # type: ignore[attr-defined]

    def server(lab: Lab, keys: Keys, ready: threading.Event, done: threading.Event) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(keys.certificate, keys.private)

        async def run() -> None:
            async with serve(echo, sock=listener, ssl=context):
                ready.set()
                while not done.is_set():
                    await asyncio.sleep(0.02)

        with lab.listen(PORT) as listener:
            asyncio.run(run())

    async def talk(lab: Lab, keys: Keys) -> None:
        context = ssl.create_default_context(cafile=str(keys.certificate))
        context.keylog_filename = str(keys.log)
        made = lab.connect(PORT)
        async with connect(f"wss://{NAME}:{PORT}/chat", sock=made, ssl=context, server_hostname=NAME) as connection:
            for text in ("hello", "héllo " * 20, "bye"):
                await connection.send(text)
                await connection.recv()

    with Lab() as lab:
        keys = Keys(lab.folder)
        ready, done = threading.Event(), threading.Event()
        thread = threading.Thread(target=server, args=(lab, keys, ready, done))
        thread.start()
        require(ready.wait(10), "the server did not start")
        with capturing(lab, path, keys):
            asyncio.run(talk(lab, keys))
            time.sleep(0.2)
        done.set()
        thread.join()
    close = [{"direction": way, "opcode": "close"} for way in ("to_server", "to_client")]
    expected = Expected(f"websockets, both ends, in TLS 1.3 (port {PORT}); rows from what the server read and wrote")
    expected.add("websocket_messages", *logged, *close)
    return expected
