"""HTTP/2 without TLS: nghttpd, nghttpx and scripted h2 servers; nghttp, h2load, curl and scripted h2 clients."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import h2.errors
import h2.events
from h2.settings import SettingCodes
from http2_peers import Peer, get, logged_rows, nghttpd, ok
from lab import SERVER, Lab
from samples import Expected, Row, content, curl, nginx, nginx_rows, require, sample, sha256

PORT = 8080
ORIGIN = f"http://{SERVER}:{PORT}"
FILES = {
    "index.html": content(6_000, 11),
    "small.json": content(90, 12),
    "large.bin": content(30_000, 13),
    "style.css": content(2_500, 14),
    "script.js": content(17_000, 15),
}


def exchanges(rows: list[Row], path: Path, origin: str) -> Expected:
    """The rows of connections to PORT."""
    expected = Expected(f"{origin} (port {PORT}); {path.suffix[1:]} by tcpdump at the client")
    expected.add("http_exchanges", *rows)
    return expected


def scripted(path: Path, server: Callable[[Peer], None], client: Callable[[Peer], None], **options: bool) -> None:
    """Capture a conversation of two scripted h2 peers."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            server(Peer(connection, client=False, **options))
            while connection.recv(65536):
                pass

    with Lab() as lab, lab.listen(PORT) as listener, lab.capturing(path):
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with lab.connect(PORT) as connection:
            client(Peer(connection, client=True, **options))
        thread.join()


def row(stream: int, target: str, status: int | None, **columns: object) -> Row:
    """A row that a script proves."""
    first = {"protocol_stream_id": str(stream), "request_method": "GET", "authority": f"{SERVER}:{PORT}", "target": target}
    return {**first, "status_code": status, "http_version": "2", **columns}


@sample("http2/prior_knowledge_multiplexed", ".pcapng")
def prior_knowledge_multiplexed(path: Path) -> Expected:
    """Six streams at once on one connection, eight on another, interleaved as nghttpd does it."""
    with Lab() as lab:
        with nghttpd(lab, PORT, FILES) as log, lab.capturing(path):
            urls = [f"{ORIGIN}/{name}" for name in (*FILES, "missing?why=404")]
            lab.client.run(["nghttp", "-n", *urls])
            small = [f"{ORIGIN}/{name}" for name in ("small.json?n=1", "style.css", "small.json?n=2")]
            lab.client.run(["h2load", "-n8", "-c1", "-m8", *small])
        rows = logged_rows(log)
    require(len(rows) == 14, f"{len(rows)} exchanges in the log")
    expected = exchanges(rows, path, "nghttpd 1.52 with nghttp and h2load; rows from nghttpd's verbose log")
    expected.add("connections", *[{"transport": "tcp", "server_port": PORT, "protocol": "http2"}] * 2)
    return expected


@sample("http2/h2c_upgrade")
def h2c_upgrade(path: Path) -> Expected:
    """HTTP/1.1 Upgrade to h2c; the upgraded request is stream 1."""
    behind = 8090
    with Lab() as lab, nghttpd(lab, behind, FILES):
        command = ["nghttpx", f"-f*,{PORT};no-tls", f"-b{SERVER},{behind};;proto=h2", "--conf=/dev/null"]
        proxy = lab.server.start(command, lab.folder / "nghttpx.log")
        lab.await_port(PORT)
        log = lab.folder / "nghttp.log"
        with lab.capturing(path):
            log.write_text(lab.client.run(["nghttp", "-n", "-v", "-u", *[f"{ORIGIN}/{name}" for name in FILES]]).stdout)
            upgraded = curl(lab, "--http2", f"{ORIGIN}/style.css", http_version="2")
        lab.server.stop(proxy)
        logged = logged_rows(log, server=False)
    first = next(iter(FILES))
    switch = {"request_method": "GET", "authority": f"{SERVER}:{PORT}", "status_code": 101, "http_version": "1.1"}
    rows = [{**switch, "target": f"/{first}", "protocol_stream_id": None}]
    rows += [row(1, f"/{first}", 200, response_content_bytes=len(FILES[first])), *logged]
    rows += [{**switch, "target": "/style.css"}, {"protocol_stream_id": "1", **upgraded[0]}]
    require(len(rows) == 3 + len(FILES), f"{len(rows)} rows")
    return exchanges(
        rows, path, "nghttpx 1.52 in front of nghttpd; nghttp --upgrade (its verbose log) and curl --http2 (its own account)"
    )


@sample("http2/answered_in_http1")
def answered_in_http1(path: Path) -> Expected:
    """HTTP/2 with prior knowledge to a server that speaks HTTP/1 alone."""
    with Lab() as lab:
        with nginx(lab, PORT, "", FILES) as log, lab.capturing(path):
            lab.client.run(["curl", "-s", "--http2-prior-knowledge", f"{ORIGIN}/small.json"], check=False)
        (logged,) = nginx_rows(log, "status_code")
    require(logged["status_code"] == 400, str(logged))
    expected = exchanges(
        [row(1, "/small.json", None)], path, "nginx 1.22 without HTTP/2 and curl 7.88; the 400 is in nginx's log"
    )
    line = f"HTTP/1.1 {logged['status_code']} Bad Request"
    expected.add("anomalies", {"kind": "framing_lost", "direction": "to_client", "found": f"an HTTP/1 response: {line}"})
    return expected


@sample("http2/continuation")
def continuation(path: Path) -> Expected:
    """Field sections of several frames: a request of nghttp, and requests and responses of scripted peers."""
    large = [(f"x-large-{number}", content(900, number).decode().replace(" ", "")) for number in range(30)]

    def server(peer: Peer) -> None:
        peer.start()
        for stream in (1, 3):
            peer.until(h2.events.StreamEnded, stream)
            peer.headers(stream, ok(200, *large[: 10 * stream]))
            peer.data(stream, b"after the fields", end=True)

    def client(peer: Peer) -> None:
        peer.start()
        peer.headers(1, get("/large-response"), end=True)
        peer.until(h2.events.StreamEnded, 1)
        peer.headers(3, get("/large-both", *large[:20]), end=True)
        peer.until(h2.events.StreamEnded, 3)

    scripted(path, server, client)
    rows = [row(1, "/large-response", 200), row(3, "/large-both", 200)]
    for each in rows:
        each["response_content_bytes"] = len(b"after the fields")
    expected = exchanges(rows, path, "scripted h2 4.4 peers; rows from their scripts")
    for side, count in (("response", 30), ("request", 20)):
        for name, value in (large[0], large[count - 1]):
            expected.add("http_fields", {"side": side, "section": "header", "name": name, "value": value})
    return expected


@sample("http2/continuation_nghttp")
def continuation_nghttp(path: Path) -> Expected:
    """The large request that nghttp sends to test CONTINUATION."""
    with Lab() as lab:
        with nghttpd(lab, PORT, FILES) as log, lab.capturing(path):
            lab.client.run(["nghttp", "-n", "--continuation", f"{ORIGIN}/index.html", f"{ORIGIN}/small.json"])
        rows = logged_rows(log)
    require(len(rows) == 2, f"{len(rows)} exchanges in the log")
    return exchanges(rows, path, "nghttpd 1.52 and nghttp --continuation; rows from nghttpd's verbose log")


@sample("http2/padding")
def padding(path: Path) -> Expected:
    """HEADERS and DATA with padding, both ways."""
    with Lab() as lab:
        upload = lab.folder / "upload"
        upload.write_bytes(content(4_000, 16))
        with nghttpd(lab, PORT, FILES, "-b", "200", "--echo-upload") as log, lab.capturing(path):
            lab.client.run(["nghttp", "-n", "-b", "255", *[f"{ORIGIN}/{name}" for name in FILES]])
            lab.client.run(["nghttp", "-n", "-b", "17", "-d", str(upload), f"{ORIGIN}/echo"])
        rows = logged_rows(log)
    sizes = [len(data) for data in FILES.values()] + [4_000]
    require([each["response_content_bytes"] for each in rows] == sizes, str(rows))
    return exchanges(rows, path, "nghttpd 1.52 and nghttp with padding; rows from nghttpd's verbose log")


@sample("http2/trailers")
def trailers(path: Path) -> Expected:
    """Trailer fields both ways."""
    with Lab() as lab:
        upload = lab.folder / "upload"
        upload.write_bytes(content(3_000, 17))
        options = ["--trailer", "x-checksum: abc", "--echo-upload"]
        with nghttpd(lab, PORT, FILES, *options) as log, lab.capturing(path):
            urls = [f"{ORIGIN}/echo/{number}" for number in range(2)]
            lab.client.run(["nghttp", "-n", "--trailer", "x-signature: signed", "-d", str(upload), *urls])
        rows = logged_rows(log)
    for each in rows:
        each.update(request_content_sha256=sha256(content(3_000, 17)), response_content_sha256=sha256(content(3_000, 17)))
    expected = exchanges(rows, path, "nghttpd 1.52 --trailer --echo-upload and nghttp --trailer; rows from nghttpd's verbose log")
    expected.add("http_fields", {"side": "request", "section": "trailer", "name": "x-signature", "value": "signed"})
    expected.add("http_fields", {"side": "response", "section": "trailer", "name": "x-checksum", "value": "abc"})
    return expected


@sample("http2/informational")
def informational(path: Path) -> Expected:
    """103 (Early Hints), twice, before the final response."""

    def server(peer: Peer) -> None:
        peer.start()
        for stream in (1, 3):
            peer.until(h2.events.StreamEnded, stream)
            for hint in ("</style.css>; rel=preload", "</script.js>; rel=preload")[: 3 - stream]:
                peer.headers(stream, ok(103, ("link", hint)))
            time.sleep(0.05)
            peer.headers(stream, ok(200, ("content-type", "text/html")))
            peer.data(stream, content(700, 18), end=True)

    def client(peer: Peer) -> None:
        peer.start()
        for stream in (1, 3):
            peer.headers(stream, get(f"/page/{stream}"), end=True)
            peer.until(h2.events.StreamEnded, stream)

    scripted(path, server, client)
    hash_of = sha256(content(700, 18))
    rows = [
        row(stream, f"/page/{stream}", 200, response_content_bytes=700, content_type="text/html", response_content_sha256=hash_of)
        for stream in (1, 3)
    ]
    expected = exchanges(rows, path, "scripted h2 4.4 peers; rows from their scripts")
    for hint in ("</style.css>; rel=preload", "</script.js>; rel=preload"):
        expected.add("http_fields", {"side": "response", "section": "informational", "name": "link", "value": hint})
    return expected


@sample("http2/server_push")
def server_push(path: Path) -> Expected:
    """Two resources pushed with a page."""
    with Lab() as lab:
        with nghttpd(lab, PORT, FILES, "-p", "/index.html=/style.css,/script.js") as log, lab.capturing(path):
            lab.client.run(["nghttp", "-n", f"{ORIGIN}/index.html", f"{ORIGIN}/small.json"])
        rows = logged_rows(log)
    require(sorted(int(each["protocol_stream_id"]) for each in rows) == [2, 4, 13, 15], str(rows))
    return exchanges(rows, path, "nghttpd 1.52 --push and nghttp; rows from nghttpd's verbose log")


@sample("http2/rst_stream")
def rst_stream(path: Path) -> Expected:
    """Streams given up by either side, between streams that complete."""

    def server(peer: Peer) -> None:
        peer.start()
        peer.until(h2.events.StreamEnded, 1)
        peer.headers(1, ok())
        peer.data(1, content(1_000, 1), end=True)
        peer.until(h2.events.StreamEnded, 3)
        peer.headers(3, ok())
        peer.data(3, content(2_000, 3))
        peer.until(h2.events.StreamReset, 3)
        peer.until(h2.events.StreamEnded, 5)
        peer.http2.reset_stream(5, h2.errors.ErrorCodes.REFUSED_STREAM)
        peer.flush()
        peer.until(h2.events.StreamEnded, 7)
        peer.headers(7, ok())
        peer.data(7, content(3_000, 7))
        time.sleep(0.05)
        peer.http2.reset_stream(7, h2.errors.ErrorCodes.INTERNAL_ERROR)
        peer.flush()
        peer.until(h2.events.StreamEnded, 9)
        peer.headers(9, ok(204), end=True)

    def client(peer: Peer) -> None:
        peer.start()
        peer.headers(1, get("/complete"), end=True)
        peer.until(h2.events.StreamEnded, 1)
        peer.headers(3, get("/cancelled"), end=True)
        while peer.received.get(3, 0) < 2_000:
            peer.until(h2.events.DataReceived, 3)
        peer.http2.reset_stream(3, h2.errors.ErrorCodes.CANCEL)
        peer.flush()
        peer.headers(5, get("/refused"), end=True)
        peer.until(h2.events.StreamReset, 5)
        peer.headers(7, get("/broken"), end=True)
        peer.until(h2.events.StreamReset, 7)
        peer.headers(9, get("/last"), end=True)
        peer.until(h2.events.StreamEnded, 9)

    scripted(path, server, client)
    rows = [
        row(1, "/complete", 200, response_content_bytes=1_000, end_reason="complete"),
        row(3, "/cancelled", 200, end_reason="reset", reset_code="CANCEL", error_type="CANCEL"),
        row(5, "/refused", None, end_reason="reset", reset_code="REFUSED_STREAM", error_type="REFUSED_STREAM"),
        row(7, "/broken", 200, end_reason="reset", reset_code="INTERNAL_ERROR"),
        row(9, "/last", 204, response_content_bytes=0, end_reason="complete"),
    ]
    return exchanges(rows, path, "scripted h2 4.4 peers; rows from their scripts")


@sample("http2/goaway")
def goaway(path: Path) -> Expected:
    """GOAWAY while streams are open: one is answered after it, two were never looked at."""

    def server(peer: Peer) -> None:
        peer.start()
        peer.until(h2.events.StreamEnded, 9)
        peer.headers(1, ok())
        peer.data(1, content(500, 1), end=True)
        peer.headers(3, ok())
        # The library forbids anything after its own GOAWAY, so the frame is written out: last stream 5, ENHANCE_YOUR_CALM.
        peer.socket.sendall(b"\x00\x00\x11\x07\x00" + bytes(4) + b"\x00\x00\x00\x05\x00\x00\x00\x0btoo many!")
        peer.data(3, content(4_000, 3), end=True)
        peer.headers(5, ok(503), end=True)

    def client(peer: Peer) -> None:
        peer.start()
        for stream in (1, 3, 5, 7, 9):
            peer.headers(stream, get(f"/work/{stream}"), end=True)
        time.sleep(0.3)  # the library takes GOAWAY for the end, so nothing more is given to it
        peer.socket.recv(65536)

    scripted(path, server, client)
    rows = [
        row(1, "/work/1", 200, response_content_bytes=500, end_reason="complete"),
        row(3, "/work/3", 200, response_content_bytes=4_000, end_reason="complete"),
        row(5, "/work/5", 503, response_content_bytes=0, end_reason="complete", error_type="503"),
        row(7, "/work/7", None),
        row(9, "/work/9", None),
    ]
    return exchanges(rows, path, "scripted h2 4.4 peers; rows from their scripts")


@sample("http2/flow_control_stall")
def flow_control_stall(path: Path) -> Expected:
    """Windows at zero: twice a stream's, once the connection's, for 0.3 seconds each."""
    wait = 0.3
    with Lab() as lab:
        files = {"a": content(30_000, 1), "b": content(500, 2), "c": content(45_000, 3)}
        with nghttpd(lab, PORT, files) as log, lab.capturing(path), lab.connect(PORT) as connection:
            peer = Peer(connection, client=True)
            peer.start({SettingCodes.INITIAL_WINDOW_SIZE: 10_000})
            peer.until(h2.events.SettingsAcknowledged)
            peer.headers(1, get("/a"), end=True)
            peer.headers(3, get("/b"), end=True)
            for received in (10_000, 20_000):
                while peer.received.get(1, 0) < received:
                    peer.until(h2.events.DataReceived)
                time.sleep(wait)
                peer.http2.increment_flow_control_window(10_000, 1)
                peer.flush()
            peer.until(h2.events.StreamEnded, 1)
            peer.http2.send_headers(5, get("/c"), end_stream=True)
            peer.http2.increment_flow_control_window(50_000, 5)
            peer.flush()
            while peer.received.get(5, 0) < 65_535 - 30_500:
                peer.until(h2.events.DataReceived, 5)
            time.sleep(wait)
            peer.http2.increment_flow_control_window(60_000)
            peer.flush()
            peer.until(h2.events.StreamEnded, 5)
        rows = logged_rows(log)
    require([each["response_content_bytes"] for each in rows] == [30_000, 500, 45_000], str(rows))
    expected = exchanges(rows, path, "nghttpd 1.52 (its verbose log) and a scripted h2 4.4 client that withholds WINDOW_UPDATE")
    waited = {"direction": "to_client", "duration_ns": {"at_least": int(wait * 1e9)}}
    expected.add("stalls", *[{**waited, "kind": kind} for kind in ("stream_window", "stream_window", "connection_window")])
    return expected


@sample("http2/priority")
def priority(path: Path) -> Expected:
    """PRIORITY frames, priorities in HEADERS, weights."""
    with Lab() as lab:
        with nghttpd(lab, PORT, FILES) as log, lab.capturing(path):
            weights = ["-p", "256", "-p", "1", "-p", "17"]
            lab.client.run(["nghttp", "-n", *weights, "-H", "priority: u=1, i", *[f"{ORIGIN}/{name}" for name in FILES]])
        rows = logged_rows(log)
    require(len(rows) == len(FILES), f"{len(rows)} exchanges in the log")
    return exchanges(rows, path, "nghttpd 1.52 and nghttp with weights; rows from nghttpd's verbose log")


@sample("http2/settings")
def settings(path: Path) -> Expected:
    """Settings that change in mid-connection: header table size 0 and back, windows, frame size."""
    changes = [
        {SettingCodes.HEADER_TABLE_SIZE: 0},
        {SettingCodes.HEADER_TABLE_SIZE: 64, SettingCodes.INITIAL_WINDOW_SIZE: 3_000},
        {SettingCodes.HEADER_TABLE_SIZE: 8_192, SettingCodes.INITIAL_WINDOW_SIZE: 70_000, SettingCodes.MAX_FRAME_SIZE: 32_768},
    ]
    with Lab() as lab:
        with nghttpd(lab, PORT, FILES) as log, lab.capturing(path), lab.connect(PORT) as connection:
            peer = Peer(connection, client=True)
            peer.start()
            stream = 1
            for change in [None, *changes]:
                if change:
                    peer.http2.update_settings(change)
                    peer.flush()
                for name in ("small.json", "style.css", "small.json"):
                    peer.headers(stream, get(f"/{name}?{stream}", ("x-repeated", "the same each time")), end=True)
                    peer.until(h2.events.StreamEnded, stream)
                    stream += 2
        rows = logged_rows(log)
    require(len(rows) == 12, f"{len(rows)} exchanges in the log")
    return exchanges(rows, path, "nghttpd 1.52 (its verbose log) and a scripted h2 4.4 client that changes its settings")


@sample("http2/joined_late")
def joined_late(path: Path) -> Expected:
    """A capture that begins in mid-connection: what only the unseen dynamic table tells is NULL, never wrong."""
    with Lab() as lab:
        with nghttpd(lab, PORT, FILES) as log, lab.connect(PORT) as connection:
            peer = Peer(connection, client=True)
            peer.start()
            names = ("index.html", "style.css", "small.json", "index.html", "script.js", "style.css", "missing")
            for number, name in enumerate(names):
                if number == 3:
                    time.sleep(0.1)
                    capturing = lab.capturing(path)
                    capturing.__enter__()
                peer.headers(2 * number + 1, get(f"/{name}"), end=True)
                peer.until(h2.events.StreamEnded, 2 * number + 1)
            capturing.__exit__(None, None, None)
        rows = logged_rows(log)[3:]
    for each in rows:
        for column in ("authority", "target", "status_code", "response_content_bytes"):
            each[column] = {"or_null": each[column]}
    require(len(rows) == 4, str(rows))
    return exchanges(
        rows, path, "nghttpd 1.52 (its verbose log) and a scripted h2 4.4 client; the capture lacks the first three streams"
    )
