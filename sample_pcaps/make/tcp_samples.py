"""TCP and UDP as real stacks do them, over a wire that loses, delays and repeats what a rule says.

What a stack did is read from its own counters (TCP_INFO) and from the wire, which knows what it dropped.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab import CLIENT, NOBODY, SERVER, SERVER_IPV6, TO_CLIENT, Frame, Lab, Rule
from samples import Expected, Row, content, curl, nginx, read_all, require, sample, sha256

PORT = 8080
AUTHORITY = f"{SERVER}:{PORT}"
TOTAL_RETRANSMISSIONS = 100  # offset of tcpi_total_retrans in struct tcp_info


def retransmissions(connection: socket.socket) -> int:
    """How many segments this end has sent again, as its kernel counts."""
    information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("<I", information, TOTAL_RETRANSMISSIONS)[0])


def two_responses(path: Path, rule: Rule, at: str, wanted: int) -> tuple[list[Row], Lab]:
    """Two requests on one connection, 14,000 bytes each; ``wanted`` is how many segments the server has to send again."""
    sent_again: list[int] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for number in range(2):
                while b"\r\n\r\n" not in connection.recv(65536):
                    pass
                head = b"HTTP/1.1 200 OK\r\nContent-Length: 14000\r\n\r\n"
                connection.sendall(head + content(14_000, number))
            connection.recv(1)
            sent_again.append(retransmissions(connection))

    for _ in range(10):
        with Lab(rule=rule) as lab, lab.listen(PORT) as listener, lab.capturing(path, at):
            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            rows = curl(lab, f"http://{AUTHORITY}/0", f"http://{AUTHORITY}/1", "-o", "/dev/null")
            thread.join()
        if sent_again.pop() == wanted:
            break
    else:
        raise RuntimeError(f"the server never sent exactly {wanted} segments again")
    for number, row in enumerate(rows):
        row.update(response_content_sha256=sha256(content(14_000, number)), response_missing_bytes=0, end_reason="complete")
    return rows, lab


def lose(*numbers: int) -> Rule:
    """Lose those frames with payload towards the client."""

    def rule(frame: Frame) -> Sequence[float]:
        return () if frame.direction == TO_CLIENT and frame.number in numbers else (0.0,)

    return rule


def expected_of(rows: list[Row], origin: str, **connection: object) -> Expected:
    """Two responses and what is known of their connection."""
    expected = Expected(f"{origin} (port {PORT}); rows from curl's own account, the server's TCP_INFO and the wire")
    expected.add("http_exchanges", *rows)
    expected.add("connections", {"server_port": PORT, "state": "SF", "missing_bytes_to_client": 0, **connection})
    return expected


@sample("tcp/loss_before_capture")
def loss_before_capture(path: Path) -> Expected:
    """Two segments lost on their way to where the capture is made: holes, filled by retransmissions."""
    rows, lab = two_responses(path, lose(4, 16), "client", 2)
    require(len(lab.wire.dropped) == 2, "two frames dropped")
    expected = expected_of(
        rows, "Linux TCP at both ends, captured at the client", out_of_order_packets=2, retransmitted_packets=0
    )
    expected.add("stalls", *[{"kind": "tcp_hole", "direction": TO_CLIENT}] * 2)
    return expected


@sample("tcp/loss_after_capture")
def loss_after_capture(path: Path) -> Expected:
    """The same, captured at the sender: segments that are seen twice."""
    rows, lab = two_responses(path, lose(4, 16), "server", 2)
    require(len(lab.wire.dropped) == 2, "two frames dropped")
    return expected_of(rows, "Linux TCP at both ends, captured at the server", out_of_order_packets=0, retransmitted_packets=2)


@sample("tcp/reordering")
def reordering(path: Path) -> Expected:
    """A segment that arrives late by itself."""

    def rule(frame: Frame) -> Sequence[float]:
        return (0.0004 if frame.direction == TO_CLIENT and frame.number == 9 else 0.0,)

    rows, _ = two_responses(path, rule, "client", 0)
    expected = expected_of(
        rows, "Linux TCP at both ends, captured at the client", out_of_order_packets=1, retransmitted_packets=0
    )
    expected.add("stalls", {"kind": "tcp_hole", "direction": TO_CLIENT})
    return expected


@sample("tcp/duplicated")
def duplicated(path: Path) -> Expected:
    """Two frames that the wire delivers twice."""

    def rule(frame: Frame) -> Sequence[float]:
        return (0.0, 0.0) if frame.direction == TO_CLIENT and frame.number in (3, 12) else (0.0,)

    rows, _ = two_responses(path, rule, "client", 0)
    origin = "Linux TCP at both ends, captured at the client"
    return expected_of(rows, origin, duplicate_packets=2, out_of_order_packets=0, retransmitted_packets=0)


def exchange(
    path: Path,
    server: Callable[[socket.socket], None],
    client: Callable[[socket.socket], None],
    prepare: Callable[[socket.socket], None] | None = None,
) -> None:
    """Capture one connection between two scripted ends."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            server(connection)

    with Lab() as lab, lab.listen(PORT) as listener, lab.capturing(path):
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with lab.client.socket() as connection:
            if prepare:
                prepare(connection)
            connection.connect((SERVER, PORT))
            client(connection)
        thread.join()


def connections(origin: str, *rows: Row) -> Expected:
    """Rows of connections alone."""
    expected = Expected(f"{origin} (port {PORT}); rows from the scripts at both ends; tcpdump at the client")
    expected.add("connections", *[{"transport": "tcp", "server_port": PORT, **row} for row in rows])
    return expected


@sample("tcp/keep_alive")
def keep_alive(path: Path) -> Expected:
    """Keep-alive probes on an idle connection, between two messages."""

    def client(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        connection.sendall(b"before")
        connection.recv(100)
        time.sleep(2.6)
        connection.sendall(b"after it")
        connection.recv(100)

    def server(connection: socket.socket) -> None:
        for answer in (b"first answer", b"second answer"):
            connection.recv(100)
            connection.sendall(answer)
        connection.recv(1)

    exchange(path, server, client)
    row = {
        "bytes_to_server": 14,
        "bytes_to_client": 25,
        "keep_alive_packets": {"at_least": 2},
        "retransmitted_packets": 0,
        "state": "SF",
    }
    return connections("Linux TCP at both ends, SO_KEEPALIVE at the client", row)


@sample("tcp/zero_window")
def zero_window(path: Path) -> Expected:
    """A receiver that does not read for a second: the window closes, is probed and opens."""

    def server(connection: socket.socket) -> None:
        connection.sendall(content(40_000, 1))

    def client(connection: socket.socket) -> None:
        time.sleep(1.2)
        require(len(read_all(connection)) == 40_000, "all bytes read")

    exchange(path, server, client, lambda connection: connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 6_000))
    row = {"bytes_to_server": 0, "bytes_to_client": 40_000, "missing_bytes_to_client": 0, "zero_window_packets": {"at_least": 1}}
    return connections("Linux TCP at both ends, a client with a small receive buffer", row)


def abort(connection: socket.socket) -> None:
    """Close with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@sample("tcp/reset")
def reset(path: Path) -> Expected:
    """Connections that either end gives up."""
    ended = threading.Event()

    def serve() -> None:
        first, _ = listener.accept()
        first.recv(100)
        first.sendall(b"half an ans")
        ended.wait(5)
        first.close()
        second, _ = listener.accept()
        second.recv(100)
        abort(second)

    with Lab() as lab, lab.listen(PORT) as listener, lab.capturing(path):
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with lab.connect(PORT) as connection:
            connection.sendall(b"question")
            connection.recv(100)
            abort(connection)
        ended.set()
        with lab.connect(PORT) as connection:
            connection.sendall(b"another question")
            try:
                connection.recv(100)
            except ConnectionResetError:
                pass
            else:
                raise RuntimeError("no reset")
        thread.join()
    return connections(
        "Linux TCP at both ends, SO_LINGER 0",
        {"state": "RSTO", "close_reason": "reset", "closed_by": "client", "bytes_to_server": 8, "bytes_to_client": 11},
        {"state": "RSTR", "close_reason": "reset", "closed_by": "server", "bytes_to_server": 16, "bytes_to_client": 0},
    )


@sample("tcp/half_close")
def half_close(path: Path) -> Expected:
    """A client that ends its side first and then receives the answer."""

    def server(connection: socket.socket) -> None:
        require(read_all(connection) == content(5_000, 2), "the question")
        time.sleep(0.2)
        for number in range(3):
            connection.sendall(content(2_000, number))
            time.sleep(0.05)

    def client(connection: socket.socket) -> None:
        connection.sendall(content(5_000, 2))
        connection.shutdown(socket.SHUT_WR)
        require(len(read_all(connection)) == 6_000, "the answer")

    exchange(path, server, client)
    row = {"state": "SF", "closed_by": "client", "close_reason": "fin", "bytes_to_server": 5_000, "bytes_to_client": 6_000}
    return connections("Linux TCP at both ends, shutdown(SHUT_WR)", row)


@sample("tcp/simultaneous_open")
def simultaneous_open(path: Path) -> Expected:
    """Both ends connect at the same time (RFC 9293 section 3.5): two SYNs cross, and it is one connection."""

    def open_and_talk(end: socket.socket, peer: tuple[str, int]) -> None:
        end.connect(peer)
        end.sendall(b"hello")
        require(end.recv(100) == b"hello", "the peer's word")
        time.sleep(0.3)
        end.close()

    with Lab(delay=0.1) as lab, lab.capturing(path):
        first, second = lab.client.socket(), lab.server.socket()
        first.bind((CLIENT, 7001))
        second.bind((SERVER, 7002))
        thread = threading.Thread(target=open_and_talk, args=(second, (CLIENT, 7001)), daemon=True)
        thread.start()
        open_and_talk(first, (SERVER, 7002))
        thread.join()
    expected = Expected(
        "Linux TCP at both ends (ports 7001 and 7002), connecting at once over a wire of 0.1 s; rows from the script"
    )
    expected.add("connections", {"transport": "tcp", "bytes_to_server": 5, "bytes_to_client": 5, "retransmitted_packets": 0})
    return expected


@sample("tcp/ipv6")
def ipv6(path: Path) -> Expected:
    """HTTP over IPv6."""
    files = {"index.html": content(4_000, 1)}
    with Lab() as lab, nginx(lab, PORT, "", files), lab.capturing(path):
        rows = curl(lab, "-g", f"http://[{SERVER_IPV6}]:{PORT}/index.html")
    expected = Expected(f"nginx 1.22 and curl 7.88 over IPv6 (port {PORT}); rows from curl's own account; tcpdump at the client")
    expected.add("http_exchanges", *rows)
    expected.add("connections", {"client_address": "fd00::1", "server_address": SERVER_IPV6, "server_port": PORT, "state": "SF"})
    return expected


@sample("tcp/port_reuse")
def port_reuse(path: Path) -> Expected:
    """Three connections in a row between the same two ports: the first ends by RST, the second by FIN."""
    source = 40_000

    def serve() -> None:
        for number in range(3):
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                body = b"answer %d" % number
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                if number == 0:
                    with contextlib.suppress(ConnectionResetError):
                        connection.recv(1)

    def request(number: int) -> None:
        with lab.connect(PORT, source) as connection:
            connection.sendall(b"GET /%d HTTP/1.1\r\nHost: reused\r\n\r\n" % number)
            if number:
                require(read_all(connection).endswith(b"answer %d" % number), "the answer")
            else:
                connection.recv(1000)
                abort(connection)

    with Lab() as lab, lab.listen(PORT) as listener, lab.capturing(path):
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        for number in range(3):
            request(number)
            time.sleep(0.05)
        thread.join()
    expected = connections(
        "Linux TCP at both ends, the client always from port 40000",
        *[{"client_port": source, "state": state} for state in ("RSTO", "SF", "SF")],
    )
    row = {"request_method": "GET", "authority": "reused", "status_code": 200, "response_content_bytes": 8}
    expected.add("http_exchanges", *[{**row, "target": f"/{number}"} for number in range(3)])
    return expected


@sample("tcp/refused")
def refused(path: Path) -> Expected:
    """A port where nobody listens, and a host that does not answer."""
    with Lab() as lab, lab.capturing(path):
        with lab.client.socket() as connection:
            require(connection.connect_ex((SERVER, PORT)) != 0, "a refusal")
        with lab.client.socket() as connection:
            connection.settimeout(1.5)
            require(connection.connect_ex((NOBODY, PORT)) != 0, "no answer")
    return connections(
        "Linux TCP at the client",
        {"server_address": SERVER, "state": "REJ", "bytes_to_server": 0, "bytes_to_client": 0},
        {"server_address": NOBODY, "state": "S0", "packets_to_client": 0},
    )


@sample("udp/datagrams")
def datagrams(path: Path) -> Expected:
    """Two UDP flows; in one of them datagrams larger than the MTU, which travel as fragments."""
    sizes = {9001: (10, 0, 1_400), 9002: (4_000, 20)}
    with Lab() as lab:
        with lab.server.inside():
            servers = {port: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for port in sizes}
        with lab.client.inside():
            clients = {port: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for port in sizes}
        with lab.capturing(path):
            for port, lengths in sizes.items():
                servers[port].bind((SERVER, port))
                clients[port].connect((SERVER, port))
                for length in lengths:
                    clients[port].send(content(length, length))
                    data, source = servers[port].recvfrom(65536)
                    servers[port].sendto(data + b"!", source)
                    require(clients[port].recv(65536) == data + b"!", "the answer")
        for each in (*servers.values(), *clients.values()):
            each.close()
    expected = Expected("Linux UDP at both ends (ports 9001 and 9002), fragmented by the kernels; rows from the script")
    for port, lengths in sizes.items():
        row = {
            "transport": "udp",
            "server_port": port,
            "bytes_to_server": sum(lengths),
            "bytes_to_client": sum(lengths) + len(lengths),
        }
        expected.add("connections", row)
    return expected
