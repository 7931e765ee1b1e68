"""Captures that others made, against what their own projects and tshark expect of HTTP and WebSocket in them, row by row.

Every expectation that the rows do not meet is listed in ``foreign/differences.tsv`` with both values, the packet and the
reason; what is not listed fails, and so does an entry that no longer differs.
"""

import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from analyzer import pipeline, protocols
from analyzer.capture.capture_set import CaptureSet
from analyzer.dissector import Context
from analyzer.http.semantics import HttpContentRecord, HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.protocols.http2 import Http2ConnectionRecord, Http2FrameRecord
from analyzer.protocols.websocket import WebSocketMessageRecord
from analyzer.records import AnomalyRecord, ConnectionRecord, Rows, StreamRecord

Difference = tuple[str, str, str, str, str, str]  # oracle, capture, packet, what, theirs, ours

DIFFERENCES = Path(__file__).parent / "foreign" / "differences.tsv"
HTTP2_TYPES = ("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE")
OPCODES = {"1": "text", "2": "binary", "8": "close", "9": "ping", "10": "pong"}


@dataclass
class Found:
    """The rows of a capture, and the differences met so far."""

    oracle: str
    capture: str
    rows: list[Any]
    differences: set[Difference] = field(default_factory=set)

    def of(self, record: type, connection_id: int | None = None) -> list[Any]:
        return [row for row in self.rows if type(row) is record and connection_id in (None, row.connection_id)]

    def expect(self, packet: int | str, what: str, theirs: object, ours: object) -> None:
        """Note a difference unless both are the same, written as text; None is nothing."""
        sides = text(theirs), text(ours)
        if sides[0] != sides[1]:
            self.differences.add((self.oracle, self.capture, str(packet), what, *sides))

    def connection(self, row: dict[str, str]) -> tuple[ConnectionRecord, bool]:
        """The connection that the packet of a row belongs to, and whether the packet is for its server."""
        source = row["ip.src"].split(",")[-1] or row["ipv6.src"].split(",")[-1]
        ports = int(row["tcp.srcport"]), int(row["tcp.dstport"])
        packet = int(row["frame.number"])
        for connection in self.of(ConnectionRecord):
            if connection.first_packet <= packet <= connection.last_packet and connection.transport == "tcp":
                if (connection.client_port, connection.server_port) == ports and connection.client_address == source:
                    return connection, True
                if (connection.server_port, connection.client_port) == ports and connection.server_address == source:
                    return connection, False
        raise AssertionError(f"{self.capture}: no connection has packet {packet}")

    def exchanges(self, connection_id: int) -> list[HttpExchangeRecord]:
        """The HTTP/1 exchanges of a connection, in order."""
        rows = [row for row in self.of(HttpExchangeRecord, connection_id) if row.http_version != "2"]
        return sorted(rows, key=lambda row: (row.stream_index, row.exchange_index))

    def messages(self, connection_id: int, *, is_request: bool) -> list[HttpExchangeRecord]:
        """The exchanges whose request, or final response, is known, in the order in which these began."""
        if is_request:
            rows = [row for row in self.exchanges(connection_id) if row.request_method is not None]
            return sorted(rows, key=lambda row: row.request_started_at or 0)
        rows = [row for row in self.exchanges(connection_id) if row.status_code is not None]
        return sorted(rows, key=lambda row: row.response_started_at or 0)

    def values(self, exchange: HttpExchangeRecord, side: str, name: bytes, section: str = "header") -> str:
        """The values of a field of one section, in order."""
        return ",".join(
            text(line.value)
            for row in self.of(HttpFieldSectionRecord, exchange.connection_id)
            if (row.stream_index, row.exchange_index) == (exchange.stream_index, exchange.exchange_index)
            if (row.side, row.section) == (side, section)
            for line in row.fields
            if line.name is not None and line.name.lower() == name
        )


class Kept:
    """Keeps all rows."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def add(self, rows: Rows) -> None:
        self.rows += rows


@cache
def rows_of(path: Path) -> list[Any]:
    kept = Kept()
    captures = CaptureSet([str(path)])
    pipeline.run(captures, Context(protocols.dissectors(), content="store", frames=True), kept)
    captures.close()
    return kept.rows


def text(value: object) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def tab_separated(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def check(oracle: str, results: list[Found]) -> None:
    """The differences are those that are listed, and each of them has a packet and a reason."""
    rows = [row for row in tab_separated(DIFFERENCES) if row["oracle"] == oracle]
    assert all(int(row["packet"]) > 0 and row["reason"] for row in rows)
    listed = {(oracle, row["capture"], row["packet"], row["what"], row["theirs"], row["ours"]) for row in rows}
    assert len(listed) == len(rows)
    found = {difference for result in results for difference in result.differences}
    assert sorted(found - listed) == []
    assert sorted(listed - found) == []


def with_oracle(folder: Path, *, start: str = "_oracle/", end: str = "") -> list[tuple[str, Path]]:
    """The captures whose project says something of them, and where it says it."""
    return [
        (row["file"], folder / oracle)
        for row in tab_separated(folder / "INDEX.tsv")
        for oracle in row["oracle"].split("; ")
        if oracle.startswith(start) and oracle.endswith(end)
    ]


# tshark ----------------------------------------------------------------------------------------------------------------


def compare_http1(found: Found, rows: list[dict[str, str]]) -> int:
    """Requests and responses in the order of their packets, message by message; returns how many."""
    taken: dict[tuple[int, bool], int] = defaultdict(int)
    interim: dict[int, list[tuple[str, str]]] = defaultdict(list)  # packet and status of informational responses
    compared = 0
    for row in rows:
        codes = [code for code in row["http.response.code"].split(",") if code]
        methods = [method for method in row["http.request.method"].split(",") if method]
        if not codes and not methods:
            continue
        packet = row["frame.number"]
        connection, _ = found.connection(row)
        for is_request, count in ((True, len(methods)), (False, sum(is_final(code) for code in codes))):
            if not count:
                continue
            ours = found.messages(connection.connection_id, is_request=is_request)
            begin = taken[connection.connection_id, is_request]
            taken[connection.connection_id, is_request] += count
            messages = ours[begin : begin + count]
            side = "request" if is_request else "response"
            if is_request:
                theirs = f"{row['http.request.method']} {row['http.host']} {row['http.request.uri']}"
                said = [joined(messages, name) for name in ("request_method", "authority", "target")]
                found.expect(packet, "request", theirs, " ".join(said).strip())
            else:
                found.expect(packet, "status", ",".join(filter(is_final, codes)), joined(messages, "status_code"))
                if messages:
                    found.expect(packet, "last packet", packet, messages[-1].last_packet)
            lengths = ",".join(filter(None, (found.values(e, side, b"content-length") for e in messages)))
            if messages:
                found.expect(packet, "content-length", row["http.content_length"], lengths)
            if row["http.chunk_size"]:
                size = sum(int(chunk, 0) for chunk in row["http.chunk_size"].split(","))
                found.expect(packet, "chunked content", size, joined(messages, f"{side}_content_bytes"))
            compared += count
        interim[connection.connection_id] += [(packet, code) for code in codes if not is_final(code)]
    for connection in found.of(ConnectionRecord):
        told = [found.values(e, "response", b":status", "informational") for e in found.exchanges(connection.connection_id)]
        statuses = [status for value in told if value for status in value.split(",")]
        theirs = interim[connection.connection_id]
        theirs += [(str(connection.first_packet), "")] * (len(statuses) - len(theirs))
        for (packet, code), status in zip_longest(theirs, statuses):
            found.expect(packet, "informational status", code, status)
        for is_request in (True, False):
            ours = found.messages(connection.connection_id, is_request=is_request)
            for e in ours[taken[connection.connection_id, is_request] :]:
                what = "another request" if is_request else "another response"
                found.expect(e.first_packet or 0, what, None, f"{text(e.request_method)} {text(e.target)} {e.status_code}")
    return compared


def is_final(code: str) -> bool:
    return code == "101" or int(code) >= 200


def joined(messages: list[Any], attribute: str) -> str:
    return ",".join(text(getattr(message, attribute)) for message in messages)


def http2_columns(found: Found, connection_id: int) -> dict[tuple[int, str], dict[str, list[str]]]:
    """What the rows say of each packet's frames, in the words of the reference."""
    sections: dict[tuple[str, str], list[HttpFieldSectionRecord]] = defaultdict(list)
    numbers = {row.stream_index: row.protocol_stream_id for row in found.of(StreamRecord, connection_id)}
    for section in found.of(HttpFieldSectionRecord, connection_id):
        if section.stream_index in numbers:
            sections[text(numbers[section.stream_index]), section.side].append(section)
    packets: dict[tuple[int, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for frame in found.of(Http2FrameRecord, connection_id):
        columns = packets[frame.last_packet, frame.direction]
        columns["http2.type"].append(str(HTTP2_TYPES.index(frame.frame_type)))
        columns["http2.streamid"].append(str(frame.protocol_stream_id))
        columns["http2.length"].append(str(frame.payload_bytes))
        if frame.frame_type in ("DATA", "HEADERS"):
            columns["http2.flags.end_stream"].append(str(frame.flags & 1))
        if frame.frame_type == "HEADERS":
            side = "request" if frame.direction == "to_server" else "response"
            waiting = sections[str(frame.protocol_stream_id), side]
            for line in waiting.pop(0).fields if waiting else []:
                if line.name in (b":method", b":authority", b":path", b":status"):
                    columns["http2.headers." + line.name[1:].decode()].append(text(line.value))
    return packets


def compare_http2(found: Found, rows: list[dict[str, str]]) -> int:
    """Every packet's frames and pseudo-header fields; returns how many packets."""
    names = ["type", "streamid", "length", "flags.end_stream"]
    names += ["headers.method", "headers.authority", "headers.path", "headers.status"]
    columns: dict[int, dict[tuple[int, str], dict[str, list[str]]]] = {}
    resets: dict[int, int] = defaultdict(int)
    compared = 0
    for row in rows:
        if not row.get("http2.type"):
            continue
        connection, is_to_server = found.connection(row)
        connection_id = connection.connection_id
        ours = columns.setdefault(connection_id, http2_columns(found, connection_id))
        packet = int(row["frame.number"])
        frames = ours.pop((packet, "to_server" if is_to_server else "to_client"), {})
        for name in names:
            found.expect(packet, name, row["http2." + name], ",".join(frames.get("http2." + name, [])))
        resets[connection_id] += len([code for code in row["http2.rst_stream.error"].split(",") if code])
        compared += 1
    for connection_id, left in columns.items():
        about = found.of(Http2ConnectionRecord, connection_id)
        found.expect(connection_id, "resets", resets[connection_id], sum(a.resets_to_server + a.resets_to_client for a in about))
        for (packet, direction), frames in left.items():
            found.expect(packet, f"frames {direction}", None, ",".join(frames["http2.type"]))
    return compared


def compare_websocket(found: Found, rows: list[dict[str, str]]) -> int:
    """The messages that the reference's frames make; its payload length is the 7-bit field. Returns how many frames."""
    taken: dict[int, dict[str, list[WebSocketMessageRecord]]] = {}
    begun: dict[tuple[int, str], list[tuple[str, str, str, str]]] = defaultdict(list)
    compared = 0
    for row in rows:
        if not row.get("websocket.opcode"):
            continue
        connection, is_to_server = found.connection(row)
        direction = "to_server" if is_to_server else "to_client"
        if connection.connection_id not in taken:
            waiting: dict[str, list[WebSocketMessageRecord]] = {"to_server": [], "to_client": []}
            for message in found.of(WebSocketMessageRecord, connection.connection_id):
                waiting[message.direction].append(message)
            taken[connection.connection_id] = waiting
        columns = [row["websocket." + name].split(",") for name in ("fin", "rsv", "opcode", "mask", "payload_length")]
        for fin, reserved, opcode, mask, size in zip(*columns, strict=True):
            compared += 1
            frames = begun[connection.connection_id, direction] if int(opcode) < 8 else []
            frames.append((opcode, reserved, mask, size))
            if fin == "0":
                continue
            packet = int(row["frame.number"])
            waiting = taken[connection.connection_id]
            ours = waiting[direction].pop(0) if waiting[direction] else None
            found.expect(packet, "opcode", OPCODES[frames[0][0]], ours and ours.opcode)
            found.expect(packet, "frames", len(frames), ours and ours.frame_count)
            found.expect(packet, "compressed", frames[0][1] == "0x04", ours and ours.is_compressed)
            found.expect(packet, "last packet", packet, ours and ours.last_packet)
            expect_size(found, packet, frames, ours)
            frames.clear()
    for waiting in taken.values():
        for message in waiting["to_server"] + waiting["to_client"]:
            found.expect(message.first_packet or 0, "another message", None, message.opcode)
    return compared


def expect_size(found: Found, packet: int, frames: list[tuple[str, str, str, str]], ours: WebSocketMessageRecord | None) -> None:
    heads = sum(2 + {"126": 2, "127": 8}.get(size, 0) + 4 * int(mask) for _, _, mask, size in frames)
    payload = (ours.wire_bytes or 0) - heads if ours is not None else -1
    if all(int(size) < 126 for *_, size in frames):
        found.expect(packet, "payload on the wire", sum(int(size) for *_, size in frames), payload)
    else:
        found.expect(packet, "payload over 125", True, payload > 125)
    if ours is not None and not ours.is_compressed:
        found.expect(packet, "payload", payload, ours.payload_bytes)


def test_messages_are_those_of_tshark(shared_captures: Path) -> None:
    results = []
    compared: dict[str, int] = defaultdict(int)
    for row in tab_separated(shared_captures / "INDEX.tsv"):
        fields = shared_captures / "_truth" / (row["file"] + ".fields.tsv")
        if not fields.is_file():
            continue
        reference = tab_separated(fields)
        found = Found("tshark", row["file"], rows_of(shared_captures / row["file"]))
        inside_tls = {entry["tcp.stream"] for entry in reference if entry.get("tls.handshake.type")}
        if encrypted := [
            entry
            for entry in reference
            if entry["tcp.stream"] in inside_tls and (entry.get("http.request.method") or entry.get("http2.type"))
        ]:
            found.expect(encrypted[0]["frame.number"], "inside TLS", f"{len(encrypted)} packets", None)
        reference = [entry for entry in reference if entry["tcp.stream"] not in inside_tls]
        if "http.request.method" in (reference or [{}])[0]:
            compared["http1"] += compare_http1(found, reference)
        compared["http2"] += compare_http2(found, reference)
        compared["websocket"] += compare_websocket(found, reference)
        results.append(found)
    check("tshark", results)
    assert compared == {"http1": 307, "http2": 105, "websocket": 72}


# Zeek ------------------------------------------------------------------------------------------------------------------

ZEEK = "_oracle/zeek+zeek/testing/btest/Baseline"
FRAME = re.compile(r"websocket_frame, \w+, ([TF]), fin, ([TF]), rsv, (\d), opcode, (\w+), payload_len, (\d+)")
DATA = re.compile(r"websocket_frame_data, \w+, [TF], len, \d+, data, (.*)")
CLOSE = re.compile(r"websocket_close, \w+, [TF], status, (\d+), reason, (.*)")
FILE = re.compile(r"^file #\d+, (\d+), 0\n\[orig_h=[^,]+, orig_p=(\d+)/tcp.*?^SHA256: (\w+)$", re.MULTILINE | re.DOTALL)


def zeek_rows(path: Path) -> list[dict[str, str]]:
    lines = path.read_text().splitlines()
    names = next((line.split("\t")[1:] for line in lines if line.startswith("#fields")), None)
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    if names is None:  # only columns that were cut out, and their names above them
        names = rows.pop(0)
    return [dict(zip(names, ("" if value in ("-", "(empty)") else value for value in row), strict=True)) for row in rows]


def by_port(found: Found, port: str) -> tuple[int, list[HttpExchangeRecord]]:
    """The connection from a client's port and its exchanges."""
    (connection,) = [row for row in found.of(ConnectionRecord) if str(row.client_port) == port]
    return connection.connection_id, found.exchanges(connection.connection_id)


def compare_http_log(found: Found, rows: list[dict[str, str]]) -> int:
    for row in rows:
        connection_id, exchanges = by_port(found, row["id.orig_p"])
        index = int(row["trans_depth"]) - 1
        ours = exchanges[index] if index < len(exchanges) else None
        packet = ours.first_packet if ours is not None and ours.first_packet is not None else connection_id
        request = f"{row['method']} {row['host']} {row['uri']}".strip()
        response = f"{row['status_code']} {row['response_body_len']}"
        if ours is None:
            found.expect(packet, "exchange", f"{request} {response}".strip(), None)
            continue
        said = " ".join(text(value) for value in (ours.request_method, ours.authority, ours.target)).strip()
        found.expect(packet, "request", request, said)
        found.expect(packet, "request content", row["request_body_len"], ours.request_content_bytes or 0)
        found.expect(packet, "response", response, f"{text(ours.status_code)} {ours.response_content_bytes or 0}")
        for column, name in (("referrer", b"referer"), ("user_agent", b"user-agent"), ("origin", b"origin")):
            found.expect(packet, column, row[column], found.values(ours, "request", name))
    for connection in found.of(ConnectionRecord):
        logged = sum(row["id.orig_p"] == str(connection.client_port) for row in rows)
        for ours in found.exchanges(connection.connection_id)[logged:]:
            found.expect(ours.first_packet or 0, "another exchange", None, f"{text(ours.request_method)} {ours.status_code}")
    return len(rows)


def compare_websocket_log(found: Found, rows: list[dict[str, str]]) -> int:
    """The handshake of a WebSocket connection."""
    columns = {
        "host": ("request", b"host"),
        "user_agent": ("request", b"user-agent"),
        "client_protocols": ("request", b"sec-websocket-protocol"),
        "client_extensions": ("request", b"sec-websocket-extensions"),
        "subprotocol": ("response", b"sec-websocket-protocol"),
        "server_extensions": ("response", b"sec-websocket-extensions"),
    }
    for row in rows:
        connection_id, (ours,) = by_port(found, row["id.orig_p"])
        packet = ours.first_packet or 0
        found.expect(packet, "uri", row["uri"], ours.target)
        found.expect(packet, "status", 101, ours.status_code)
        for column, (side, name) in columns.items():
            if column == "host":  # here without its port
                found.expect(packet, column, row[column].split(":")[0], found.values(ours, side, name).split(":")[0])
            else:
                found.expect(packet, column, row[column], found.values(ours, side, name))
        assert found.of(WebSocketMessageRecord, connection_id)
    return len(rows)


def websocket_events(lines: list[str]) -> list[dict[str, Any]]:
    """The messages that the events of frames make."""
    messages: list[dict[str, Any]] = []
    open_messages: dict[str, dict[str, Any]] = {}
    current: dict[str, Any] = {}
    for line in lines:
        if frame := FRAME.match(line):
            is_to_server, is_final, reserved, opcode, size = frame.groups()
            direction = "to_server" if is_to_server == "T" else "to_client"
            current = {"direction": direction, "opcode": opcode, "compressed": reserved != "0", "frames": 0, "payload": 0}
            current |= {"data": "", "close code": None, "close reason": None}
            if opcode == "continuation":
                current = open_messages.pop(direction)
            else:
                messages.append(current)
            if is_final == "F":
                open_messages[direction] = current
            current["frames"] += 1
            current["payload"] += int(size)
        elif data := DATA.match(line):
            current["data"] += data[1]
        elif close := CLOSE.match(line):
            current["close code"] = int(close[1]) or None
            current["close reason"] = close[2]
    return messages


def compare_websocket_events(found: Found, lines: list[str]) -> int:
    events = websocket_events(lines)
    for said, message in zip_longest(events, found.of(WebSocketMessageRecord)):
        assert said is not None, message
        assert message is not None, said
        ours = {
            "direction": message.direction,
            "opcode": message.opcode,
            "compressed": message.is_compressed,
            "frames": message.frame_count,
            "payload": message.payload_bytes,
            "close code": message.close_code,
            "close reason": message.close_reason,
            "data": (message.text if message.opcode == "text" else escaped(message.payload or b"")) or "",
        }
        if message.opcode == "close":
            said["data"] = None  # said as code and reason
            ours["data"] = None
        elif message.payload_bytes > 120:  # only its beginning is written
            ours["data"] = ours["data"][: len(said["data"])]
        for what, theirs in said.items():
            found.expect(message.first_packet or 0, what, theirs, ours[what])
    return len(events)


def escaped(data: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in data)


def compare_files(found: Found, report: str) -> int:
    """Contents, decoded: each file that was found in a message has the size and the hash of one content."""
    hashes = {}
    for e in found.of(HttpExchangeRecord):
        key = e.connection_id, e.stream_index, e.exchange_index
        hashes[(*key, "request")] = e.request_content_sha256
        hashes[(*key, "response")] = e.response_content_sha256
    contents = {
        (str(len(row.content)), hashes[row.connection_id, row.stream_index, row.exchange_index, row.side])
        for row in found.of(HttpContentRecord)
    }
    files = FILE.findall(report)
    for size, port, digest in files:
        connection_id, _ = by_port(found, port)
        if (size, digest) not in contents:
            found.expect(connection_id, f"content {digest[:8]}", f"{size} bytes", None)
    return len(files)


def test_exchanges_and_messages_are_those_of_zeek(shared_captures: Path) -> None:
    results = []
    compared: dict[str, int] = defaultdict(int)
    for name, folder in with_oracle(shared_captures, start=ZEEK):
        found = Found("zeek", name, rows_of(shared_captures / name))
        if (folder / "http.log").is_file():
            if "ssl" in folder.name:
                found.expect(1, "inside TLS", f"{len(zeek_rows(folder / 'http.log'))} exchanges", None)
            else:
                compared["http.log"] += compare_http_log(found, zeek_rows(folder / "http.log"))
        if (folder / "websocket.log").is_file():
            compared["websocket.log"] += compare_websocket_log(found, zeek_rows(folder / "websocket.log"))
        results.append(found)
    events = shared_captures / ZEEK / "scripts.base.protocols.websocket.events" / "out"
    sections = re.split(r"^([\w-]+\.pcap)$", events.read_text(), flags=re.MULTILINE)
    spoken = dict(zip(sections[1::2], sections[2::2], strict=True))
    separate = shared_captures / ZEEK / "scripts.base.protocols.websocket.coalesced-reply-ping" / "out-separate"
    spoken["reply-ping-separate.pcap"] = separate.read_text()
    for file, said in spoken.items():
        name = f"zeek+zeek/testing/btest/Traces/websocket/{file}"
        if (shared_captures / name).is_file():
            found = Found("zeek", name, rows_of(shared_captures / name))
            compared["websocket events"] += compare_websocket_events(found, said.splitlines())
            results.append(found)
    analysis = "scripts.base.frameworks.file-analysis.http"
    for file, report in (
        ("get", "get/get.out"),
        ("get-gzip", "get/get-gzip.out"),
        ("multipart", "multipart/out"),
        ("pipelined-requests", "pipeline/out"),
        ("post", "post/out"),
    ):
        name = f"zeek+zeek/testing/btest/Traces/http/{file}.pcap"
        found = Found("zeek", name, rows_of(shared_captures / name))
        compared["files"] += compare_files(found, (shared_captures / ZEEK / f"{analysis}.{report}").read_text())
        results.append(found)
    check("zeek", results)
    assert compared == {"http.log": 63, "websocket.log": 3, "websocket events": 35, "files": 13}


# DeepFlow --------------------------------------------------------------------------------------------------------------

INFO = re.compile(r"(\w+): (?:Some\((.*?)\)|\"(.*?)\"|([^,{}]*?))(?:,| })")


def deepflow_messages(path: Path) -> list[dict[str, str]]:
    """What the agent read, packet by packet; values that it has none for are empty."""
    messages = []
    for line in path.read_text().splitlines():
        values = {name: some or quoted or plain for name, some, quoted, plain in INFO.findall(line)}
        if line.endswith("is_http: true"):
            messages.append({name: "" if value == "None" else value.strip('"') for name, value in values.items()})
    return messages


def test_exchanges_are_those_of_deepflow(shared_captures: Path) -> None:
    """It reads packets one by one: what it says of one stream is put together here."""
    results = []
    compared = 0
    for name, path in with_oracle(shared_captures, end=".result"):
        if "/http/" not in name:
            continue
        found = Found("deepflow", name, rows_of(shared_captures / name))
        results.append(found)
        numbers = {(row.connection_id, row.stream_index): text(row.protocol_stream_id) for row in found.of(StreamRecord)}
        exchanges = sorted(found.of(HttpExchangeRecord), key=lambda e: (e.connection_id, e.first_packet, e.exchange_index))
        theirs: dict[str, list[dict[str, str]]] = defaultdict(list)
        requests = 0
        for message in deepflow_messages(path):
            requests += message["msg_type"] == "Request"
            theirs[message["stream_id"] or f"request {requests}"].append(message)
        for index, (stream, messages) in enumerate(theirs.items()):
            ours = [e for e in exchanges if numbers[e.connection_id, e.stream_index] == stream] or exchanges[index : index + 1]
            said = {
                key: "".join(m[key] for m in messages if m[key]) for key in ("path", "host", "status_code", "grpc_status_code")
            }
            method = next((m["method"].upper() for m in messages if m["method"] and m["method"][0] != "_"), "POST")
            sums = {
                key: sum(int(m[key]) for m in messages if m[key]) if any(m[key] for m in messages) else ""
                for key in ("req_content_length", "resp_content_length")
            }
            e = ours[0]
            packet = e.first_packet or 0
            found.expect(packet, "method", method, e.request_method)
            found.expect(packet, "path", said["path"], e.target)
            found.expect(packet, "host", said["host"], e.authority)
            found.expect(packet, "status", said["status_code"], e.status_code)
            found.expect(packet, "version", messages[0]["version"], {"1.1": "V1_1", "2": "V2"}[e.http_version or ""])
            found.expect(packet, "request content", sums["req_content_length"], e.request_content_bytes)
            found.expect(packet, "response content", sums["resp_content_length"], e.response_content_bytes)
            found.expect(packet, "grpc-status", said["grpc_status_code"], found.values(e, "response", b"grpc-status", "trailer"))
            compared += 1
        found.expect(1, "exchanges", len(theirs), len(exchanges))
    check("deepflow", results)
    assert compared == 11


# Suricata --------------------------------------------------------------------------------------------------------------

SURICATA = "_oracle/OISF+suricata-verify/tests/"
NOT_ABOUT_ROWS = {
    "dns-over-http2": "20 21 22 23 40 50 51 60 61 event_type:dns event_type:flow",  # of the DNS messages in the contents
    "http2-keywords2": "32 33 34 35 36 37 38 39 40",  # what they ask is said nowhere beside the captures
    "websocket": "event_type:websocket",  # of the masking key
}


def suricata_checks(path: Path) -> list[tuple[int, dict[str, str]]]:
    """How many events of which values are expected, as far as these files use YAML."""
    checks = []
    for block in path.read_text().split("- filter:")[1:]:
        values = dict(re.findall(r"^ +([\w.\[\]-]+) ?: *(\S.*?) *$", block, re.MULTILINE))
        checks.append((int(values.pop("count")), values))
    return checks


def requests_of(found: Found, version: str = "") -> list[HttpExchangeRecord]:
    rows = [row for row in found.of(HttpExchangeRecord) if row.request_method is not None]
    return [row for row in rows if (row.http_version or "").startswith(version)]


def frames_of(found: Found, direction: str, opcode: str | None = None) -> list[WebSocketMessageRecord]:
    """Messages, which are of one frame in these captures."""
    rows = [row for row in found.of(WebSocketMessageRecord) if row.direction == direction]
    assert all(row.frame_count == 1 for row in rows)
    return [row for row in rows if opcode in (None, row.opcode)]


def of_ranges(found: Found) -> int:
    """The size of what the parts that were sent make together."""
    known: dict[int, int] = {}
    for e in found.of(HttpExchangeRecord):
        if e.status_code == 206:
            first = int(found.values(e, "response", b"content-range").removeprefix("bytes ").split("-")[0])
            (content,) = [
                row.content
                for row in found.of(HttpContentRecord, e.connection_id)
                if (row.stream_index, row.exchange_index, row.side) == (e.stream_index, e.exchange_index, "response")
            ]
            for offset, byte in enumerate(content, first):
                assert known.setdefault(offset, byte) == byte
    assert sorted(known) == list(range(len(known)))
    return len(known)


# What each signature asks, in words of the rows: an alert comes once for each exchange that it matches.
SIGNATURES: dict[tuple[str, str], Callable[[Found], int]] = {
    ("bug-5929-02", "3"): lambda found: sum(
        len(e.target) < 70 and re.search(rb"dog/.{8}\.exe", e.target) is not None for e in requests_of(found)
    ),
    ("dns-over-http2", "10"): lambda found: sum(b"/dns" in e.target for e in requests_of(found, "2")),
    ("dns-over-http2", "11"): lambda found: sum(b"/dns" in e.target for e in requests_of(found, "2")),
    ("dns-over-http2", "30"): lambda found: sum(row.frame_type == "PING" for row in found.of(Http2FrameRecord)),
    ("dns-over-http2", "31"): lambda found: sum(row.frame_type == "PING" for row in found.of(Http2FrameRecord)),
    ("http2-keywords2", "10"): lambda found: sum(e.target == b"/robots.txt" for e in requests_of(found, "1")),
    ("http2-keywords2", "11"): lambda found: sum(e.target == b"/robots.txt" for e in requests_of(found, "2")),
    ("http2-keywords2", "12"): lambda found: sum(e.target == b"/robots.txt" for e in requests_of(found)),
    ("http2-keywords2", "20"): lambda found: sum(
        "curl" in found.values(e, "request", b"user-agent") for e in requests_of(found, "2")
    ),
    ("http2-keywords2", "21"): lambda found: sum(e.status_code == 404 for e in requests_of(found, "2")),
    ("http2-keywords2", "30"): lambda found: sum(
        "nghttpx" in found.values(e, "response", b"server") for e in requests_of(found, "2")
    ),
    ("http2-keywords2", "31"): lambda found: sum(e.request_method == b"GET" for e in requests_of(found, "2")),
    ("http2-authority-mismatch", "2290013"): lambda found: sum(
        found.values(e, "request", b"host") not in ("", text(e.authority)) for e in requests_of(found, "2")
    ),
    ("http2-userinfo-authority", "1"): lambda found: sum(b"@" in (e.authority or b"") for e in requests_of(found, "2")),
    ("http2-userinfo-authority", "2"): lambda found: sum(b"@" in (e.authority or b"") for e in requests_of(found, "2")),
    ("websocket", "1"): lambda found: sum(row.wire_bytes == 2 + 4 + 8 for row in frames_of(found, "to_server", "text")),
    ("websocket", "2"): lambda found: sum(row.text == "version,hybi-draft-13" for row in frames_of(found, "to_client", "text")),
    ("websocket", "21"): lambda found: sum(row.text == "version,hybi-draft-13" for row in frames_of(found, "to_client", "text")),
    ("websocket", "3"): lambda found: len(frames_of(found, "to_client", "text")),
    ("websocket", "4"): lambda found: sum(row.wire_bytes == 2 + 4 + row.payload_bytes for row in frames_of(found, "to_server")),
    ("websocket", "5"): lambda found: sum(row.is_complete for row in frames_of(found, "to_server")),
    ("websocket", "6"): lambda found: sum("version," in (row.text or "") for row in frames_of(found, "to_server")),
    ("websocket-compressed", "1"): lambda found: sum(
        row.text == "TOGGLE=5659131662f54334" and row.is_compressed for row in found.of(WebSocketMessageRecord)
    ),
    ("http2-deflate", "event_type:fileinfo"): lambda found: sum(
        (e.response_content_bytes, e.http_version, len(content.content)) == (30, "2", 20)
        for e in found.of(HttpExchangeRecord)
        for content in found.of(HttpContentRecord)
        if content.stream_index == e.stream_index
    ),
    ("http2-deflate", "event_type:anomaly"): lambda found: len(found.of(AnomalyRecord)),
    ("http2-range", "event_type:fileinfo"): lambda found: of_ranges(found) == 69,
    ("http2-range", "event_type:http"): lambda found: sum(
        found.values(e, "response", b"content-range") == "bytes 10-20/69" for e in requests_of(found)
    ),
    ("http2-range", "event_type:anomaly"): lambda found: len(found.of(AnomalyRecord)),
}


def test_alerts_and_events_are_those_of_suricata(shared_captures: Path) -> None:
    results = []
    asked = set()
    for name, path in with_oracle(shared_captures, start=SURICATA, end="test.yaml"):
        test = path.parent.name
        if not re.search("http|websocket|5929", test):
            continue
        found = Found("suricata", name, rows_of(shared_captures / name))
        for count, values in suricata_checks(path):
            signature = values.get("alert.signature_id") or f"event_type:{values['event_type']}"
            if signature not in NOT_ABOUT_ROWS.get(test, "").split():
                asked.add((test, signature))
                faults = [row.packet for row in found.of(AnomalyRecord)] if signature == "event_type:anomaly" else []
                found.expect((faults or [1])[0], signature, count, int(SIGNATURES[test, signature](found)))
        results.append(found)
    check("suricata", results)
    assert asked == set(SIGNATURES)


# Arkime ----------------------------------------------------------------------------------------------------------------


def test_the_session_is_that_of_arkime(shared_captures: Path) -> None:
    """The one capture of Arkime's is of another protocol; its session says how the connection is to be counted."""
    results = []
    for name, path in with_oracle(shared_captures, start="_oracle/arkime+arkime"):
        found = Found("arkime", name, rows_of(shared_captures / name))
        for session in json.loads(path.read_text())["sessions3"]:
            body = session["body"]
            (row,) = [row for row in found.of(ConnectionRecord) if row.client_port == body["source"]["port"]]
            theirs = {
                "client": body["source"]["ip"],
                "server": f"{body['destination']['ip']}:{body['destination']['port']}",
                "packets to the server": body["source"]["packets"],
                "packets to the client": body["destination"]["packets"],
                "bytes to the server": body["client"]["bytes"],
                "bytes to the client": body["server"]["bytes"],
                "VLAN": body["network"]["vlan"]["id"][0],
                "Community ID": body["network"]["community_id"],
            }
            ours = {
                "client": row.client_address,
                "server": f"{row.server_address}:{row.server_port}",
                "packets to the server": row.packets_to_server,
                "packets to the client": row.packets_to_client,
                "bytes to the server": row.bytes_to_server,
                "bytes to the client": row.bytes_to_client,
                "VLAN": row.vlan_id,
                "Community ID": row.community_id,
            }
            for what, value in theirs.items():
                found.expect(row.first_packet or 0, what, value, ours[what])
        results.append(found)
    assert len(results) == 1
    check("arkime", results)
