"""Compares the rows that unmux stored with what tshark prints for the same capture.

tshark prints a line a packet, with the values of several frames in it joined. Its ``tcp.stream`` numbers connections in
order of their first packets, as ``connection_id`` does.
"""

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb

JOINED = "|"  # unlike a comma, not in any value of these captures
OPCODES = {"text": 1, "binary": 2, "close": 8, "ping": 9, "pong": 10}
Rows = Counter[tuple[object, ...]]


def tshark(path: Path, shown: str, *fields: str, options: tuple[str, ...] = ()) -> Iterator[list[list[str]]]:
    """The values of ``fields``, a list for each, packet by packet."""
    command = ["tshark", "-r", str(path), *options, "-Y", shown, "-T", "fields", "-E", f"aggregator={JOINED}"]
    for field in fields:
        command += ["-e", field]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield [value.split(JOINED) if value else [] for value in line.rstrip("\n").split("\t")]


def stored(database: Path, query: str) -> Rows:
    """The rows of a query in which ``c`` is connections with ``number``, the order of their first packets."""
    numbered = "(SELECT *, row_number() OVER (ORDER BY connection_id) - 1 AS number FROM connections WHERE transport = 'tcp')"
    with duckdb.connect(str(database), read_only=True) as connection:
        return Counter(connection.sql(query.replace("numbered", numbered)).fetchall())


def http2(path: Path, database: Path) -> tuple[Rows, Rows]:
    """Connection, stream, and path or status of every exchange."""
    theirs: Rows = Counter()
    fields = ("tcp.stream", "http2.type", "http2.streamid", "http2.headers.path", "http2.headers.status")
    keys = path.with_suffix(".keys")
    options: tuple[str, ...] = ("-d", "tcp.port==8080,http2")
    if keys.exists():
        options = ("-d", "tcp.port==8443,tls", "-o", f"tls.keylog_file:{keys}")
    for (stream,), kinds, numbers, paths, statuses in tshark(path, "http2.headers", *fields, options=options):
        sections = [number for kind, number in zip(kinds, numbers, strict=True) if kind == "1"]
        for number, value in zip(sections, paths or statuses, strict=True):
            theirs[int(stream), number, value] += 1
    joined = "http_exchanges e JOIN numbered c USING (connection_id) JOIN streams s USING (connection_id, stream_index)"
    ours = stored(database, f"SELECT c.number, s.protocol_stream_id, e.target FROM {joined} WHERE e.target IS NOT NULL")
    ours += stored(
        database, f"SELECT c.number, s.protocol_stream_id, e.status_code::VARCHAR FROM {joined} WHERE status_code IS NOT NULL"
    )
    return ours, theirs


def http1(path: Path, database: Path) -> tuple[Rows, Rows]:
    """Connection, and target or status, of every exchange that was not cut by the end of the load."""
    theirs: Rows = Counter()
    for (stream,), targets, statuses in tshark(path, "http", "tcp.stream", "http.request.uri", "http.response.code"):
        for value in targets or statuses:
            theirs[int(stream), value] += 1
    joined = "http_exchanges e JOIN numbered c USING (connection_id)"
    ours = stored(database, f"SELECT c.number, e.target FROM {joined} WHERE e.target IS NOT NULL")
    ours += stored(database, f"SELECT c.number, e.status_code::VARCHAR FROM {joined} WHERE e.status_code IS NOT NULL")
    # A response that the end of the load cut off is a row here; tshark shows it or not, as its parts fell into packets.
    cut = stored(
        database,
        f"SELECT c.number, e.status_code::VARCHAR FROM {joined} WHERE e.end_reason <> 'complete' AND status_code IS NOT NULL",
    )
    for row in cut:
        ours[row] -= min(max(ours[row] - theirs[row], 0), cut[row])
    return +ours, theirs


def websocket(path: Path, database: Path) -> tuple[Rows, Rows]:
    """Connection, opcode and bytes on the wire, frame header included, of every message (none is fragmented)."""
    theirs: Rows = Counter()
    lengths = ("websocket.payload_length", "websocket.payload_length_ext_16", "websocket.payload_length_ext_64")
    fields = ("tcp.stream", "websocket.opcode", "websocket.mask", *lengths)
    for (stream,), opcodes, masks, short, middle, long in tshark(path, "websocket", *fields):
        middles, longs = iter(middle), iter(long)
        for opcode, mask, length in zip(opcodes, masks, short, strict=True):
            size = 2 + (4 if mask in ("1", "True") else 0)
            if length == "126":
                size += 2 + int(next(middles))
            elif length == "127":
                size += 8 + int(next(longs))
            else:
                size += int(length)
            theirs[int(stream), int(opcode), size] += 1
    cases = " ".join(f"WHEN '{name}' THEN {number}" for name, number in OPCODES.items())
    joined = "websocket_messages m JOIN numbered c USING (connection_id)"
    return stored(database, f"SELECT c.number, CASE m.opcode {cases} END, m.wire_bytes FROM {joined}"), theirs


def compare(name: str, path: Path, database: Path) -> str:
    """Say how many rows are the same. SystemExit, with the first differences, when some are not."""
    ours, theirs = {"http2": http2, "http2_tls": http2, "http1": http1}.get(name, websocket)(path, database)
    if ours != theirs:
        only_ours, only_theirs = ours - theirs, theirs - ours
        raise SystemExit(
            f"{name}: the rows differ: {only_ours.total()} only in unmux, such as {list(only_ours.items())[:5]}; "
            f"{only_theirs.total()} only in tshark, such as {list(only_theirs.items())[:5]}"
        )
    return f"{ours.total():,} equal to tshark's"
