"""TLS as other programs speak it and log its keys: GnuTLS's suites of old, RSA premaster secrets, session lines, a browser's ClientHello."""

import os
import re
import subprocess
import time
from pathlib import Path

from lab import SERVER, Lab
from samples import EXCHANGE, Expected, Row, nginx_rows, require, sample
from tls_samples import FILES, NAME, ORIGIN, PORT, Keys, capturing, handshake, s_client, s_server, secure_nginx

# How GnuTLS is told to use a cipher, a MAC and a key exchange, and the suite that these are.
GNUTLS_SUITES = (
    ("3DES-CBC", "SHA1", "RSA", "TLS_RSA_WITH_3DES_EDE_CBC_SHA"),
    ("3DES-CBC", "SHA1", "ECDHE-RSA", "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA"),
    ("AES-128-CBC", "SHA256", "DHE-RSA", "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256"),
    ("AES-256-CCM", "AEAD", "RSA", "TLS_RSA_WITH_AES_256_CCM"),
)
ENCRYPT_THEN_MAC, EXTENDED_MASTER_SECRET = "EtM", "extended master secret"
GNUTLS_WITHOUT = {ENCRYPT_THEN_MAC: "%NO_ETM", EXTENDED_MASTER_SECRET: "%NO_SESSION_HASH"}
UNSUPPORTED = ("CAMELLIA-128-CBC", "SHA1", "RSA", "TLS_RSA_WITH_CAMELLIA_128_CBC_SHA")


class RsaKeys(Keys):
    """With a certificate whose key can decrypt a premaster secret."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "7300", "-subj", f"/CN={NAME}"]
        subprocess.run([*command, "-out", self.certificate, "-keyout", self.private], check=True, capture_output=True)


def gnutls_fetch(lab: Lab, keys: Keys, priority: str) -> tuple[str, int]:
    """Ask gnutls-serv for its page; what gnutls-cli printed, and the bytes of the page."""
    command = ["gnutls-cli", "--insecure", "--sni-hostname", NAME, "--priority", priority, "-p", str(PORT), SERVER]
    done = subprocess.run(
        ["ip", "netns", "exec", lab.client.name, *command],
        input=f"GET /page HTTP/1.0\r\nHost: {NAME}\r\n\r\n".encode(),
        capture_output=True,
        check=True,
        timeout=20,
        env=os.environ | {"SSLKEYLOGFILE": str(keys.log)},
    )
    page = done.stdout.partition(b"HTTP/1.0 200 OK")[2].partition(b"\n\n" if b"html\n" in done.stdout else b"\r\n\r\n")[2]
    return done.stdout.decode(), len(page.partition(b"- Peer has closed")[0])


@sample("tls/gnutls_suites_tls12", ".pcapng")
def gnutls_suites_tls12(path: Path) -> Expected:
    """3DES, CBC, CCM, and the key exchanges RSA and DHE, with and without encrypt-then-MAC and an extended master secret; then Camellia."""
    exchange: Row = {"request_method": "GET", "target": "/page", "status_code": 200}
    expected = Expected(
        f"GnuTLS 3.7, both ends (port {PORT}), told which suite and which extensions to use; rows from what gnutls-cli printed"
    )
    with Lab() as lab:
        keys = RsaKeys(lab.folder)
        served = ["--http", "--port", str(PORT), "--x509certfile", str(keys.certificate), "--x509keyfile", str(keys.private)]
        process = lab.server.start(
            ["gnutls-serv", *served, "--priority", "NORMAL:+3DES-CBC:+CAMELLIA-128-CBC:+RSA:+DHE-RSA:+SHA256:+AES-256-CCM"],
            lab.folder / "gnutls-serv.log",
        )
        lab.await_port(PORT)
        with capturing(lab, path, keys):
            for cipher, mac, exchanged, suite in (*GNUTLS_SUITES, UNSUPPORTED):
                base = f"NONE:+VERS-TLS1.2:+{cipher}:+{mac}:+{exchanged}:+SIGN-ALL:+COMP-NULL:+GROUP-ALL:+CTYPE-ALL"
                for without in ((), (EXTENDED_MASTER_SECRET,), (ENCRYPT_THEN_MAC,), tuple(GNUTLS_WITHOUT)):
                    if (suite == UNSUPPORTED[3] and without) or (mac == "AEAD" and ENCRYPT_THEN_MAC in without):
                        continue
                    said, size = gnutls_fetch(lab, keys, ":".join([base, *[GNUTLS_WITHOUT[name] for name in without]]))
                    require(f"-({cipher})" in said, said)
                    options = said.partition("- Options:")[2].partition("\n")[0]
                    for name in GNUTLS_WITHOUT:
                        require(mac == "AEAD" or (name in options) == (name not in without), said)
                    if suite == UNSUPPORTED[3]:
                        expected.add(
                            "tls_handshakes",
                            {"cipher_suite": suite, "is_decrypted": False, "not_decrypted_reason": "cipher suite not supported"},
                        )
                    else:
                        expected.add("tls_handshakes", handshake("TLS 1.2", suite))
                        expected.add("http_exchanges", exchange | {"response_content_bytes": size})
        lab.server.stop(process)
    return expected


def _client_lines(log: Path) -> dict[str, list[str]]:
    """The key log lines of the last connection, as words by their label."""
    return {line.split()[0]: line.split() for line in log.read_text().splitlines() if not line.startswith("#")}


@sample("tls/rsa_key_lines", ".pcapng")
def rsa_key_lines(path: Path) -> Expected:
    """RSA key exchange, with key log lines that name a connection by its encrypted premaster secret, its random, or its session."""
    expected = Expected(
        f"openssl s_server and s_client 3.0 (port {PORT}), told which suite to use; of each key log line the form that is meant was kept"
    )
    lines: list[str] = []
    with Lab() as lab:
        keys = RsaKeys(lab.folder)
        session = str(lab.folder / "session.pem")
        plain = lab.folder / "plain.cnf"  # without extended master secrets
        plain.write_text(
            "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nOptions = -ExtendedMasterSecret\nCipherString = ALL:@SECLEVEL=0\n"
        )
        with s_server(lab, keys, "-WWW", "-tls1_2", "-cipher", "ALL:@SECLEVEL=0") as _, capturing(lab, path, keys):
            for form, suite, options in (
                ("RSA", "AES128-SHA", []),
                ("RSA", "AES256-GCM-SHA384", ["-extended"]),
                ("PMS_CLIENT_RANDOM", "AES128-SHA256", []),
                ("PMS_CLIENT_RANDOM", "AES128-CCM8", ["-extended"]),
                ("Session-ID", "AES256-SHA", ["-no_ticket", "-sess_out", session]),
                ("", "AES256-SHA", ["-no_ticket", "-sess_in", session]),
            ):
                keys.log.unlink(missing_ok=True)
                os.environ["OPENSSL_CONF"] = "/etc/ssl/openssl.cnf" if "-extended" in options else str(plain)
                kept = [option for option in options if option != "-extended"]
                script = [(0.3, "GET /small.json HTTP/1.0\r\n\r\n"), (0.3, "")]
                try:
                    said = s_client(lab, keys, script, "-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0", *kept)
                finally:
                    del os.environ["OPENSSL_CONF"]
                require("HTTP/1.0 200" in said, said)
                require(("Extended master secret: yes" in said) == ("-extended" in options), said)
                require(("Reused" in said) == ("-sess_in" in options), said)
                logged = _client_lines(keys.log)
                if form == "RSA":
                    lines.append(" ".join(logged["RSA"]))
                elif form == "PMS_CLIENT_RANDOM":
                    lines.append(f"PMS_CLIENT_RANDOM {logged['CLIENT_RANDOM'][1]} {logged['RSA'][2]}")
                elif form == "Session-ID":
                    found = [re.search(rf"{name}: (\w+)", said) for name in ("Session-ID", "Master-Key")]
                    lines.append("RSA Session-ID:{} Master-Key:{}".format(*[match[1].lower() for match in found if match]))
                expected.add(
                    "tls_handshakes",
                    {"version": "TLS 1.2", "is_resumed": form == "", "is_decrypted": True, "undecrypted_records": 0},
                )
                expected.add(
                    "http_exchanges",
                    {"target": "/small.json", "status_code": 200, "response_content_bytes": len(FILES["small.json"])},
                )
            keys.log.write_text("\n".join(lines) + "\n")
    return expected


@sample("tls/browser_hello", ".pcapng")
def browser_hello(path: Path) -> Expected:
    """A browser, whose ClientHello holds values that mean nothing (GREASE), one of them for an encrypted ClientHello."""
    with Lab() as lab:
        keys = Keys(lab.folder)
        with secure_nginx(lab, keys, "http2") as log, capturing(lab, path, keys):
            command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            command += ["--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={lab.folder}/profile"]
            command += ["--ignore-certificate-errors", f"--host-resolver-rules=MAP {NAME} {SERVER}", "--dump-dom"]
            full = ["ip", "netns", "exec", lab.client.name, *command, f"{ORIGIN}/small.json"]
            subprocess.run(full, env=os.environ | {"SSLKEYLOGFILE": str(keys.log)}, capture_output=True, timeout=60, check=True)
            time.sleep(0.3)
        rows = nginx_rows(log, *EXCHANGE)
    shown = ["tshark", "-n", "-r", str(path), "-d", f"tcp.port=={PORT},tls", "-Y", "tls.handshake.type == 1", "-T", "fields"]
    prints = subprocess.run([*shown, "-e", "tls.handshake.ja3"], capture_output=True, text=True, check=True).stdout.split()
    require(len(prints) > 0, "no ClientHello")
    expected = Expected(
        f"chromium without a display and nginx 1.22 (port {PORT}); rows from nginx's access log, fingerprints from tshark; "
        "a connection that the browser opened beforehand may carry no request"
    )
    expected.add("http_exchanges", *rows)
    told = {"version": "TLS 1.3", "server_name": NAME, "alpn": "h2", "not_decrypted_reason": None, "undecrypted_records": 0}
    expected.add("tls_handshakes", *[told | {"has_encrypted_client_hello": True, "ja3": found} for found in prints])
    return expected


@sample("tls/padding", ".pcapng")
def padding(path: Path) -> Expected:
    """Records of TLS 1.3 that the server pads to a multiple of 512 bytes."""
    with Lab() as lab:
        keys = Keys(lab.folder)
        with s_server(lab, keys, "-WWW", "-record_padding", "512"), capturing(lab, path, keys):
            said = s_client(lab, keys, [(0.3, "GET /index.html HTTP/1.0\r\n\r\n"), (0.3, "")], "-tls1_3")
            require("HTTP/1.0 200" in said, said)
    expected = Expected(f"openssl s_server 3.0, told to pad, and s_client (port {PORT})")
    expected.add(
        "http_exchanges", {"target": "/index.html", "status_code": 200, "response_content_bytes": len(FILES["index.html"])}
    )
    expected.add("tls_handshakes", handshake("TLS 1.3", "TLS_AES_256_GCM_SHA384"))
    return expected


@sample("tls/pre_shared_key", ".pcapng")
def pre_shared_key(path: Path) -> Expected:
    """A key that both ends were given beforehand, in TLS 1.3 and in suites of TLS 1.2 made for it."""
    secret = ["-psk", "00112233445566778899aabbccddeeff"]
    expected = Expected(f"openssl s_server and s_client 3.0, given the same key (port {PORT})")
    with Lab() as lab:
        keys = Keys(lab.folder)
        with s_server(lab, keys, "-WWW", *secret, "-cipher", "ALL:PSK"), capturing(lab, path, keys):
            for version, options, suite in (
                ("TLS 1.3", ["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], "TLS_AES_128_GCM_SHA256"),
                ("TLS 1.2", ["-tls1_2", "-cipher", "PSK-AES128-GCM-SHA256"], "TLS_PSK_WITH_AES_128_GCM_SHA256"),
                ("TLS 1.2", ["-tls1_2", "-cipher", "ECDHE-PSK-AES128-CBC-SHA256"], "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256"),
            ):
                said = s_client(lab, keys, [(0.3, "GET /small.json HTTP/1.0\r\n\r\n"), (0.3, "")], *secret, *options)
                require("HTTP/1.0 200" in said and "Peer certificate" not in said, said)
                expected.add("tls_handshakes", handshake(version, suite, certificate_subject=None))
                expected.add(
                    "http_exchanges",
                    {"target": "/small.json", "status_code": 200, "response_content_bytes": len(FILES["small.json"])},
                )
    return expected
