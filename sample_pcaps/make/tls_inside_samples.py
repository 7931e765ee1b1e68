"""TLS that begins inside something else, and certificates that are compressed: tinyproxy, nghttpx, GnuTLS, scripted ends."""

import os
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

from lab import SERVER, Lab
from samples import EXCHANGE, Expected, nginx_rows, read_all, require, sample
from tls_samples import FILES, NAME, ORIGIN, PORT, Keys, capturing, fetch, secure_nginx

PROXY_PORT, SECURE_PROXY_PORT, UPGRADE_PORT = 3128, 3129, 8080
ALGORITHMS = ("zlib", "brotli", "zstd")


@sample("tls/connect_proxy", ".pcapng")
def connect_proxy(path: Path) -> Expected:
    """TLS through a proxy, by CONNECT: HTTP/1.1, then HTTP/2; then a server that the proxy does not reach."""
    targets = (f"{ORIGIN}/index.html", f"{ORIGIN}/small.json")
    with Lab() as lab:
        keys = Keys(lab.folder)
        configuration = lab.folder / "tinyproxy.conf"
        configuration.write_text(f"Port {PROXY_PORT}\nListen {SERVER}\nConnectPort {PORT}\nMaxClients 9\nDisableViaHeader Yes\n")
        with secure_nginx(lab, keys, "http2") as log:
            process = lab.server.start(["tinyproxy", "-d", "-c", str(configuration)], lab.folder / "tinyproxy.log")
            lab.await_port(PROXY_PORT)
            through = ["-x", f"http://{SERVER}:{PROXY_PORT}", "--connect-to", f"{NAME}:{PORT}:{SERVER}:{PORT}"]
            with capturing(lab, path, keys):
                fetch(lab, keys, *through, "--http1.1", *targets)
                fetch(lab, keys, *through, "--http2", *targets, http_version="2")
                lab.client.run(["curl", "-s", "-x", f"http://{SERVER}:{PROXY_PORT}", f"https://{SERVER}:1/"], check=False)
            lab.server.stop(process)
        rows = nginx_rows(log, *EXCHANGE)
    require(len(rows) == 4, f"{len(rows)} exchanges in the log")
    tunnel = {"request_method": "CONNECT", "http_version": "1.1", "authority": f"{SERVER}:{PORT}", "status_code": 200}
    refused = tunnel | {"authority": f"{SERVER}:1", "status_code": 403}
    expected = Expected(
        f"curl 7.88 through tinyproxy 1.11 (port {PROXY_PORT}) to nginx 1.22; rows inside the tunnels from nginx's access log, "
        "of CONNECT as curl was told and tinyproxy configured"
    )
    expected.add("http_exchanges", tunnel, *rows[:2], tunnel, *rows[2:], refused)
    told = {"server_name": NAME, "version": "TLS 1.3", "is_decrypted": True, "undecrypted_records": 0, "stream_index": 1}
    expected.add("tls_handshakes", told | {"alpn": "http/1.1"}, told | {"alpn": "h2"})
    return expected


@sample("tls/in_tls", ".pcapng")
def in_tls(path: Path) -> Expected:
    """TLS inside TLS: a proxy that is itself asked in TLS, by CONNECT."""
    with Lab() as lab:
        keys, proxy = Keys(lab.folder), Keys(lab.folder, "proxy.test")
        configuration = lab.folder / "tinyproxy.conf"
        configuration.write_text(f"Port {PROXY_PORT}\nListen 127.0.0.1\nConnectPort {PORT}\nDisableViaHeader Yes\n")
        with secure_nginx(lab, keys, "http2") as log:
            behind = lab.server.start(["tinyproxy", "-d", "-c", str(configuration)], lab.folder / "tinyproxy.log")
            lab.await_port(PROXY_PORT)
            command = ["nghttpx", "--http2-proxy", "-f", f"{SERVER},{SECURE_PROXY_PORT}", "-b", f"127.0.0.1,{PROXY_PORT}"]
            process = lab.server.start(
                [*command, "--workers=1", str(proxy.private), str(proxy.certificate)], lab.folder / "nghttpx.log"
            )
            lab.await_port(SECURE_PROXY_PORT)
            through = ["-x", f"https://proxy.test:{SECURE_PROXY_PORT}", "--proxy-cacert", str(proxy.certificate)]
            through += ["--resolve", f"proxy.test:{SECURE_PROXY_PORT}:{SERVER}", "--connect-to", f"{NAME}:{PORT}:{SERVER}:{PORT}"]
            with capturing(lab, path, keys):
                fetch(lab, keys, *through, "--http2", f"{ORIGIN}/index.html", f"{ORIGIN}/small.json", http_version="2")
            lab.server.stop(process)
            lab.server.stop(behind)
        rows = nginx_rows(log, *EXCHANGE)
    require(len(rows) == 2, f"{len(rows)} exchanges in the log")
    expected = Expected(
        f"curl 7.88 through nghttpx 1.52, asked in TLS (port {SECURE_PROXY_PORT}), and tinyproxy 1.11 behind it, to nginx 1.22; "
        "rows inside the tunnel from nginx's access log, of CONNECT as curl was told"
    )
    connect = {"request_method": "CONNECT", "http_version": "1.1", "authority": f"{SERVER}:{PORT}", "status_code": 200}
    expected.add("http_exchanges", connect, *rows)
    told = {"is_decrypted": True, "undecrypted_records": 0}
    expected.add("tls_handshakes", told | {"server_name": "proxy.test"}, told | {"server_name": NAME, "alpn": "h2"})
    return expected


def answer_upgraded(listener: socket.socket, keys: Keys) -> None:
    """A server that is asked to go on in TLS, and answers this request and the next one there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys.certificate, keys.private)
    made, _ = listener.accept()
    require(b"Upgrade: TLS/1.2" in made.recv(4096), "a request for TLS")
    made.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: TLS/1.2, HTTP/1.1\r\nConnection: Upgrade\r\n\r\n")
    secured = context.wrap_socket(made, server_side=True)
    for name, ending in (("small.json", "keep-alive"), ("index.html", "close")):
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(FILES[name])}\r\nConnection: {ending}\r\n\r\n"
        secured.sendall(head.encode() + FILES[name])
        if ending == "keep-alive":
            require(secured.recv(4096).startswith(b"GET /index.html"), "a second request")
    secured.unwrap().close()


@sample("tls/upgrade", ".pcapng")
def upgrade(path: Path) -> Expected:
    """A connection upgraded to TLS within HTTP/1.1 (RFC 2817): the answer to the request that asked for it comes inside."""
    with Lab() as lab, lab.listen(UPGRADE_PORT) as listener:
        keys = Keys(lab.folder)
        server = threading.Thread(target=answer_upgraded, args=(listener, keys), daemon=True)
        server.start()
        context = ssl.create_default_context(cafile=str(keys.certificate))
        context.keylog_filename = str(keys.log)
        with capturing(lab, path, keys):
            made = lab.connect(UPGRADE_PORT)
            made.sendall(f"GET /small.json HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: TLS/1.2\r\nConnection: Upgrade\r\n\r\n".encode())
            require(made.recv(4096).startswith(b"HTTP/1.1 101"), "an upgrade")
            secured = context.wrap_socket(made, server_hostname=NAME)
            require(secured.recv(4096).endswith(FILES["small.json"]), "the first answer")
            secured.sendall(f"GET /index.html HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
            require(read_all(secured).endswith(FILES["index.html"]), "the second answer")
            secured.unwrap().close()
            server.join()
    expected = Expected(f"scripted ends over OpenSSL 3.0 (port {UPGRADE_PORT}); rows from the scripts")
    expected.add(
        "http_exchanges",
        {"request_method": "GET", "target": "/small.json", "status_code": 101},
        {"request_method": None, "status_code": 200, "response_content_bytes": len(FILES["small.json"])},
        {"target": "/index.html", "status_code": 200, "response_content_bytes": len(FILES["index.html"])},
    )
    expected.add("tls_handshakes", {"server_name": NAME, "version": "TLS 1.3", "is_decrypted": True, "stream_index": 1})
    return expected


@sample("tls/compressed_certificate", ".pcapng")
def compressed_certificate(path: Path) -> Expected:
    """Certificates compressed with zlib, brotli and zstd (RFC 8879)."""
    expected = Expected(
        f"gnutls-serv and gnutls-cli 3.7 (port {PORT}), told with what to compress; the certificate as OpenSSL reads it"
    )
    with Lab() as lab:
        keys = Keys(lab.folder)
        shown = subprocess.run(
            ["openssl", "x509", "-in", keys.certificate, "-noout", "-fingerprint", "-sha256"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        fingerprint = shown.strip().rpartition("=")[2].replace(":", "").lower()
        with capturing(lab, path, keys):
            for algorithm in ALGORITHMS:
                compressing = f"--compress-cert={algorithm}"
                serving = ["gnutls-serv", "--http", "-p", str(PORT), "--x509certfile", str(keys.certificate)]
                process = lab.server.start([*serving, "--x509keyfile", str(keys.private), compressing], lab.folder / "server.log")
                lab.await_port(PORT)
                asking = ["gnutls-cli", compressing, "--x509cafile", str(keys.certificate), "--sni-hostname", NAME]
                asking += ["--verify-hostname", NAME, "-p", str(PORT), SERVER]
                environment = {**os.environ, "SSLKEYLOGFILE": str(keys.log)}
                done = lab.client.run(asking, check=False, input="GET / HTTP/1.0\r\n\r\n", env=environment)
                require("Handshake was completed" in done.stdout, done.stdout + done.stderr)
                time.sleep(0.2)
                lab.server.stop(process)
                expected.add(
                    "tls_handshakes",
                    {
                        "version": "TLS 1.3",
                        "certificate_subject": f"CN={NAME},O=unmux samples",
                        "certificate_names": f"{NAME},www.{NAME}",
                        "certificate_sha256": fingerprint,
                        "is_decrypted": True,
                    },
                )
    return expected
