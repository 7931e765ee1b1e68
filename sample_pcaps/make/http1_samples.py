"""HTTP/1.0 and 1.1: nginx, Python's http.server and scripted h11 peers; curl, h2load and scripted clients."""

import gzip
import http.server
import socket
import threading
import zlib
from pathlib import Path

import brotli
import h11
from backports import zstd
from lab import SERVER, Lab
from samples import EXCHANGE, Expected, Row, content, curl, nginx, nginx_rows, read_all, require, sample, sha256

PORT = 8080
ORIGIN = f"http://{SERVER}:{PORT}"
AUTHORITY = f"{SERVER}:{PORT}"
FILES = {"index.html": content(3_210, 1), "item.json": content(512, 2), "list.json": content(9_000, 3)}


def exchanges(rows: list[Row], path: Path, origin: str, **extra: str) -> Expected:
    """The rows of one connection to PORT."""
    expected = Expected(f"{origin} (port {PORT}); {path.suffix[1:]} by tcpdump at the client")
    expected.add("http_exchanges", *rows)
    return expected


@sample("http1/keep_alive")
def keep_alive(path: Path) -> Expected:
    """Four requests on one connection, then one on another."""
    with Lab() as lab, nginx(lab, PORT, "", FILES):
        urls = [f"{ORIGIN}/{name}" for name in ("index.html", "item.json", "list.json?page=2", "index.html?again=1")]
        with lab.capturing(path):
            rows = curl(lab, *urls, "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null")
            rows += curl(lab, f"{ORIGIN}/item.json")
    bodies = [FILES[str(row["target"]).split("?")[0][1:]] for row in rows]
    rows = [
        {**row, "response_content_sha256": sha256(body), "end_reason": "complete"} for row, body in zip(rows, bodies, strict=True)
    ]
    expected = exchanges(
        rows, path, "nginx 1.22 and curl 7.88, keep-alive; rows from curl's own account, hashes of the files served"
    )
    connection = {"transport": "tcp", "client_address": "10.0.0.1", "server_address": SERVER, "server_port": PORT, "state": "SF"}
    expected.add("connections", connection, connection)
    return expected


@sample("http1/pipelining")
def pipelining(path: Path) -> Expected:
    """Five requests at a time, then on another connection a client that sends seven in one segment."""
    files = {**FILES, **{f"{number}.txt": content(100 + 37 * number, number) for number in range(7)}}
    with Lab() as lab, nginx(lab, PORT, "", files) as log:
        with lab.capturing(path):
            urls = [f"{ORIGIN}/{name}" for name in ("index.html", "item.json", "6.txt")]
            lab.client.run(["h2load", "-n20", "-c1", "-m5", "-p", "http/1.1", *urls])
            with lab.connect(PORT) as connection:
                last = b"Connection: close\r\n"
                requests = [
                    b"GET /%d.txt HTTP/1.1\r\nHost: files\r\n%s\r\n" % (number, last if number == 6 else b"")
                    for number in range(7)
                ]
                connection.sendall(b"".join(requests))
                read_all(connection)
        rows = nginx_rows(log, *EXCHANGE)
    require(len(rows) == 27, f"{len(rows)} lines in the log")
    expected = exchanges(
        rows, path, "nginx 1.22; h2load 1.52 with five requests in flight, then a socket client with seven; rows from nginx's log"
    )
    expected.add("connections", {"server_port": PORT}, {"server_port": PORT})
    return expected


@sample("http1/chunked_trailers")
def chunked_trailers(path: Path) -> Expected:
    """Chunked content both ways, with trailer fields both ways."""
    rows: list[Row] = []

    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            peer = h11.Connection(h11.SERVER)
            for _ in range(2):
                received = b""
                while not isinstance(event := next_event(peer, connection), h11.EndOfMessage):
                    if isinstance(event, h11.Request):
                        request = event
                    elif isinstance(event, h11.Data):
                        received += event.data
                pieces = [content(size, size) for size in (1, 1_500, 4_000, 17)]
                connection.sendall(
                    peer.send(
                        h11.Response(status_code=200, headers=[("Transfer-Encoding", "chunked"), ("Trailer", "X-Checksum")])
                    )
                )
                for piece in pieces:
                    connection.sendall(peer.send(h11.Data(piece)))
                connection.sendall(peer.send(h11.EndOfMessage(headers=[("X-Checksum", f"{len(rows)}"), ("X-Served-By", "h11")])))
                rows.append(
                    {
                        "request_method": request.method.decode(),
                        "authority": AUTHORITY,
                        "target": request.target.decode(),
                        "status_code": 200,
                        "request_content_bytes": len(received),
                        "response_content_bytes": sum(map(len, pieces)),
                        "request_content_sha256": sha256(received),
                        "response_content_sha256": sha256(b"".join(pieces)),
                        "http_version": "1.1",
                        "end_reason": "complete",
                    }
                )
                peer.start_next_cycle()

    with Lab() as lab, lab.listen(PORT) as listener, lab.capturing(path):
        thread = threading.Thread(target=answer, args=(listener,), daemon=True)
        thread.start()
        with lab.connect(PORT) as connection:
            peer = h11.Connection(h11.CLIENT)
            for number in range(2):
                headers = [("Host", AUTHORITY), ("Transfer-Encoding", "chunked"), ("Trailer", "X-Signature")]
                connection.sendall(peer.send(h11.Request(method="POST", target=f"/upload/{number}", headers=headers)))
                for size in (10, 2_000, 300):
                    connection.sendall(peer.send(h11.Data(content(size, number))))
                connection.sendall(peer.send(h11.EndOfMessage(headers=[("X-Signature", f"signed-{number}")])))
                while not isinstance(next_event(peer, connection), h11.EndOfMessage):
                    pass
                peer.start_next_cycle()
        thread.join()
    expected = exchanges(rows, path, "scripted h11 0.16 server and client; rows from the server's script")
    for number in range(2):
        expected.add("http_fields", {"side": "request", "section": "trailer", "name": "X-Signature", "value": f"signed-{number}"})
        expected.add("http_fields", {"side": "response", "section": "trailer", "name": "X-Checksum", "value": str(number)})
        expected.add("http_fields", {"side": "response", "section": "trailer", "name": "X-Served-By", "value": "h11"})
    return expected


def next_event(peer: h11.Connection, connection: socket.socket) -> object:
    """The next event, reading from the socket as needed."""
    while (event := peer.next_event()) is h11.NEED_DATA:
        peer.receive_data(connection.recv(65536))
    return event


@sample("http1/head_204_304")
def head_204_304(path: Path) -> Expected:
    """Responses without content whose fields may say otherwise, each followed by one with content."""
    with Lab() as lab, nginx(lab, PORT, "if_modified_since before; location /gone { return 204; }", FILES) as log:
        get = ["-o", "/dev/null"]
        with lab.capturing(path):
            curl(
                lab,
                *["-I", f"{ORIGIN}/index.html", "--next", "-s", *get, f"{ORIGIN}/item.json"],
                *["--next", "-s", *get, "-X", "DELETE", f"{ORIGIN}/gone", "--next", "-s", *get, f"{ORIGIN}/item.json?2"],
                *["--next", "-s", *get, "-H", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", f"{ORIGIN}/list.json"],
                *["--next", "-s", *get, f"{ORIGIN}/list.json?full"],
            )
        rows = nginx_rows(log, *EXCHANGE)
    require([row["status_code"] for row in rows] == [200, 200, 204, 200, 304, 200], str(rows))
    expected = exchanges(rows, path, "nginx 1.22 and curl 7.88; rows from nginx's log")
    expected.add("connections", {"server_port": PORT, "state": "SF"})
    return expected


@sample("http1/expect_continue")
def expect_continue(path: Path) -> Expected:
    """100 (Continue) before an upload, and a refusal without it."""
    with Lab() as lab:
        upload = lab.folder / "upload"
        upload.write_bytes(content(7_000, 9))
        locations = "location /upload/ { dav_methods PUT; create_full_put_path on; } location /no { return 403; }"
        with nginx(lab, PORT, locations, {"upload/old": b"old"}), lab.capturing(path):
            ask = ["-H", "Expect: 100-continue", "--expect100-timeout", "5"]
            rows = curl(lab, *ask, "-T", str(upload), f"{ORIGIN}/upload/new")
            rows += curl(lab, *ask, "-X", "POST", "-d", "@" + str(upload), f"{ORIGIN}/no")
    require([row["status_code"] for row in rows] == [201, 403], str(rows))
    rows[0]["request_content_sha256"] = sha256(content(7_000, 9))
    del rows[1]["request_content_bytes"]  # curl may have begun to send
    return exchanges(rows, path, "nginx 1.22 and curl 7.88, Expect: 100-continue; rows from curl's own account")


@sample("http1/until_close")
def until_close(path: Path) -> Expected:
    """HTTP/1.0: content that ends where the connection ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(content(5_000, 4))
            self.wfile.write(content(5_000, 5))

        def log_message(self, *_: object) -> None:
            pass

    with Lab() as lab:
        with lab.server.inside():
            server = http.server.ThreadingHTTPServer((SERVER, PORT), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with lab.capturing(path):
            rows = curl(lab, "--http1.0", f"{ORIGIN}/old/page", http_version="1.0")
            rows += curl(lab, "--http1.0", f"{ORIGIN}/old/other", http_version="1.0")
        server.shutdown()
        thread.join()
        server.server_close()
    for row in rows:
        row.update(response_content_sha256=sha256(content(5_000, 4) + content(5_000, 5)), end_reason="complete")
    return exchanges(rows, path, "Python 3.11 http.server and curl 7.88 --http1.0; rows from curl's own account")


@sample("http1/connect_tunnel")
def connect_tunnel(path: Path) -> Expected:
    """CONNECT through a proxy; two requests inside the tunnel."""
    proxy_port = 3128

    def proxy(listener: socket.socket, lab: Lab) -> None:
        near, _ = listener.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += near.recv(65536)
        far = lab.server.socket()
        far.connect((SERVER, PORT))
        near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        copies = [threading.Thread(target=copy, args=pair, daemon=True) for pair in ((near, far), (far, near))]
        for thread in copies:
            thread.start()
        for thread in copies:
            thread.join()
        near.close()
        far.close()

    def copy(source: socket.socket, target: socket.socket) -> None:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

    with Lab() as lab, nginx(lab, PORT, "", FILES), lab.listen(proxy_port) as listener:
        thread = threading.Thread(target=proxy, args=(listener, lab), daemon=True)
        with lab.capturing(path):
            thread.start()
            arguments = ["--proxytunnel", "-x", f"http://{SERVER}:{proxy_port}", f"{ORIGIN}/index.html", f"{ORIGIN}/item.json"]
            rows = curl(lab, *arguments, "-o", "/dev/null")
            thread.join()
    expected = exchanges(
        [{"request_method": "CONNECT", "status_code": 200, "http_version": "1.1"}, *rows],
        path,
        f"curl 7.88 --proxytunnel through a scripted proxy (port {proxy_port}) to nginx 1.22; rows from curl's own account",
    )
    expected.add("connections", {"server_port": proxy_port})
    return expected


@sample("http1/content_codings")
def content_codings(path: Path) -> Expected:
    """The content codings gzip, deflate, br, zstd, and gzip in chunks."""
    text = content(20_000, 6)
    codings = {
        "gzip": gzip.compress(text),
        "deflate": zlib.compress(text),
        "br": brotli.compress(text),
        "zstd": zstd.compress(text),
    }
    locations = "".join(f"location /{coding}/ {{ add_header Content-Encoding {coding}; }}\n" for coding in codings)
    locations += "location /dynamic/ { gzip on; gzip_types *; gzip_min_length 1; alias DOCUMENTS/plain/; }"
    files = {f"{coding}/text": data for coding, data in codings.items()} | {"plain/text": text}
    with Lab() as lab:
        locations = locations.replace("DOCUMENTS", str(lab.folder / "documents"))
        with nginx(lab, PORT, locations, files), lab.capturing(path):
            urls = [f"{ORIGIN}/{name}/text" for name in (*codings, "dynamic", "plain")]
            rows = curl(lab, "-H", "Accept-Encoding: gzip, deflate, br, zstd", *urls, *["-o", "/dev/null"] * 5)
    for row, coding in zip(rows, (*codings, "gzip", None), strict=True):
        row.update(content_encoding=coding, response_content_sha256=sha256(text))
    require([row["response_content_bytes"] for row in rows[:4]] == [len(data) for data in codings.values()], str(rows))
    return exchanges(rows, path, "nginx 1.22 and curl 7.88; rows from curl's own account, hashes of the text before it was coded")


@sample("http1/slow_response")
def slow_response(path: Path) -> Expected:
    """Responses that let wait: before the first byte, and in the middle."""
    locations = (
        "location /late { echo_sleep 0.6; echo late; }\n"
        "location /dripping { echo -n first; echo_flush; echo_sleep 0.4; echo -n second; }\n"
        "location /quick { echo quick; }\n"
    )
    with Lab() as lab, nginx(lab, PORT, locations, FILES), lab.capturing(path):
        rows = curl(lab, *[f"{ORIGIN}/{name}" for name in ("late", "dripping", "quick")], *["-o", "/dev/null"] * 2)
    rows[0]["time_to_first_byte_ns"] = {"at_least": 600_000_000}
    rows[1]["duration_ns"] = {"at_least": 400_000_000}
    return exchanges(rows, path, "nginx 1.22 with the echo module, and curl 7.88; rows from curl's own account")


@sample("http1/errors")
def errors(path: Path) -> Expected:
    """Client errors, server errors, a gateway without its upstream, and a request that is none."""
    locations = (
        "location /broken { return 500 broken; }\nlocation /down { proxy_pass http://127.0.0.1:1; }\n"
        "location /busy { add_header Retry-After 1 always; return 503; }\nlocation /moved { return 301 /index.html; }\n"
    )
    with Lab() as lab, nginx(lab, PORT, locations, FILES), lab.capturing(path):
        names = ("index.html", "missing", "moved", "broken", "down", "busy")
        rows = curl(lab, *[f"{ORIGIN}/{name}" for name in names], *["-o", "/dev/null"] * 5)
        with lab.connect(PORT) as connection:
            connection.sendall(b"GET /no-host HTTP/1.1\r\n\r\n")
            require(read_all(connection).startswith(b"HTTP/1.1 400 "), "400 for a request without Host")
    rows.append({"request_method": "GET", "target": "/no-host", "status_code": 400, "http_version": "1.1"})
    for row in rows:
        row["error_type"] = str(row["status_code"]) if row["status_code"] >= 400 else None
    require([row["status_code"] for row in rows] == [200, 404, 301, 500, 502, 503, 400], str(rows))
    return exchanges(rows, path, "nginx 1.22 and curl 7.88; rows from curl's own account and the script")
