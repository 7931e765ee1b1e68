"""The demo: several protocols at once, with what one looks for in a capture: something slow, something failed, something lost."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import h2.errors
import h2.events
from h2.settings import SettingCodes
from http2_peers import Peer, get, logged_rows, nghttpd
from lab import SERVER, TO_CLIENT, Frame, Lab, Rule
from samples import Expected, Row, content, curl, nginx, require, sample
from websocket_samples import conversation_in
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.sync.client import ClientConnection
from websockets.sync.server import ServerConnection

WEB, API, FEED = 8080, 8081, 8765
PAGES = {"index.html": content(6_100, 21), "style.css": content(2_300, 22), "logo.svg": content(900, 23)}
OBJECTS = {
    "v1/orders/recent": content(24_000, 31),
    "v1/orders/1001": content(1_300, 32),
    "v1/orders/1002": content(1_100, 33),
    "v1/prices": content(15_000, 34),
    "v1/health": b"ok",
    "v1/export": content(60_000, 35),
}
LOST = 12  # of the frames with payload from the API


def losing_one() -> tuple[list[int], Rule]:
    """A rule that loses one segment of an HTTP/2 response; the list says what it lost."""
    seen = [0]

    def rule(frame: Frame) -> Sequence[float]:
        if frame.direction == TO_CLIENT and frame.number and int.from_bytes(frame.data[34:36]) == API:
            seen[0] += 1
            if seen[0] == LOST:
                return ()
        return (0.0,)

    return seen, rule


def browse(lab: Lab) -> list[Row]:
    """A page with its parts on one connection, then a slow search, a missing page and a broken gateway."""
    site = f"http://{SERVER}:{WEB}"
    rows = curl(lab, *[f"{site}/{name}" for name in PAGES], "-o", "/dev/null", "-o", "/dev/null")
    names = ("search?q=slow", "favicon.ico", "cart", "style.css?v=2")
    rows += curl(lab, *[f"{site}/{name}" for name in names], *["-o", "/dev/null"] * 3)
    require([row["status_code"] for row in rows] == [200, 200, 200, 200, 404, 502, 200], str(rows))
    slow = rows[3]
    slow["time_to_first_byte_ns"] = {"at_least": 750_000_000}
    return rows


def call(lab: Lab) -> None:
    """Requests side by side on each of two connections, then an export that the client gives up."""
    api = f"http://{SERVER}:{API}"
    lab.client.run(["nghttp", "-n", "--no-dep", *[f"{api}/{name}" for name in list(OBJECTS)[:5]], f"{api}/v1/orders/9999"])
    lab.client.run(
        ["h2load", "-n24", "-c1", "-m8", *[f"{api}/{name}" for name in list(OBJECTS)[1:3]], f"{api}/v1/health?probe=1"]
    )
    with lab.connect(API) as connection:
        peer = Peer(connection, client=True)
        peer.start({SettingCodes.INITIAL_WINDOW_SIZE: 30_000})  # so that the server cannot have sent it all
        peer.until(h2.events.SettingsAcknowledged)
        peer.headers(1, get("/v1/export", authority=f"{SERVER}:{API}"), end=True)
        peer.headers(3, get("/v1/orders/1001", authority=f"{SERVER}:{API}"), end=True)
        while peer.received.get(1, 0) < 10_000:
            peer.until(h2.events.DataReceived, 1)
        peer.http2.reset_stream(1, h2.errors.ErrorCodes.CANCEL)
        peer.flush()
        peer.until(h2.events.StreamEnded, 3)
        peer.headers(5, get("/v1/health", authority=f"{SERVER}:{API}"), end=True)
        peer.until(h2.events.StreamEnded, 5)


@sample("demo", ".pcapng")
def demo(path: Path) -> Expected:
    """A site over HTTP/1.1, an API over HTTP/2 and a price feed over WebSocket, at the same time; one segment is lost."""
    done = threading.Event()

    def handler(connection: ServerConnection) -> None:
        for number in range(1, 10_000):
            connection.send(
                f'{{"type":"price","sequence":{number},"symbol":"UNMX","bid":{100 + number % 7},"ask":{101 + number % 7}}}'
            )
            if connection.recv() == "stop":
                break
        connection.close(1000, "bye")

    def subscribe(connection: ClientConnection) -> None:
        for number in range(1, 10_000):
            connection.recv()
            connection.send("stop" if done.is_set() else f'{{"type":"received","sequence":{number}}}')
            if number % 10 == 0:
                connection.ping(b"alive?").wait(5)
            if done.is_set():
                break
            time.sleep(0.05)
        for _ in connection:
            pass

    locations = "location /search { echo_sleep 0.75; echo found; }\nlocation /cart { proxy_pass http://127.0.0.1:1; }"
    seen, rule = losing_one()
    with Lab(delay=0.004, rule=rule) as lab:
        with nginx(lab, WEB, locations, PAGES), nghttpd(lab, API, OBJECTS) as log, lab.capturing(path):
            deflate = (ClientPerMessageDeflateFactory(), ServerPerMessageDeflateFactory())
            messages: list[Row] = []
            feed = threading.Thread(
                target=lambda: messages.extend(conversation_in(lab, FEED, "/feed", handler, subscribe, *deflate)), daemon=True
            )
            feed.start()
            time.sleep(0.15)
            pages = browse(lab)
            time.sleep(0.1)
            call(lab)
            time.sleep(0.2)
            done.set()
            feed.join()
        require(seen[0] >= LOST and len(lab.wire.dropped) == 1, "one segment lost")
        calls = logged_rows(log)
    given_up = calls[-3]
    require(given_up["target"] == "/v1/export", str(given_up))
    del given_up["response_content_bytes"]  # the server counts what it sent, not what came before the end
    given_up.update(end_reason="reset", reset_code="CANCEL")
    expected = Expected(
        f"nginx 1.22 and curl (port {WEB}), nghttpd 1.52 with nghttp, h2load and a scripted h2 client (port {API}), Python websockets "
        f"(port {FEED}), over a wire of 4 ms that loses one segment; rows from the logs of curl, nghttpd and websockets; tcpdump at the client"
    )
    handshake = {"request_method": "GET", "target": "/feed", "status_code": 101, "http_version": "1.1"}
    expected.add("http_exchanges", handshake, *pages, *calls)
    expected.add("websocket_messages", *messages)
    expected.add("connections", *[{"server_port": port} for port in (FEED, WEB, WEB, API, API, API)])
    expected.add("stalls", {"kind": "tcp_hole", "direction": TO_CLIENT})
    return expected
