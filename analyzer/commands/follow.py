"""Both sides of a connection or of one stream in it, in order, in colour."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from analyzer.commands import rereading, source
from analyzer.commands.conversation import Printer
from analyzer.errors import UnmuxError, UsageError
from analyzer.records import AnomalyRecord, ConnectionRecord, StreamRecord
from analyzer.text import CAPTURE_BITS, parse_part, place
from analyzer.tls.tls_rows import TlsHandshakeRecord

if TYPE_CHECKING:
    from analyzer.records import Rows

_TOLD_FAULTS = 5  # of a followed stream; `unmux report anomalies` has them all
_KEYS_AGAIN = "it was decrypted when the store was made, which keeps no keys; give them again with --keylog FILE"


@dataclass
class _Again:
    """What is read for a connection: captures, the number of the first one, and rules for -d."""

    names: list[str]
    first_index: int = 0
    rules: list[str] | None = None
    was_decrypted: bool = False  # when the store was made


class _Found:
    """Takes the rows and remembers what there was of the connection."""

    def __init__(self, connection_id: int) -> None:
        self._connection_id = connection_id
        self.is_there = False
        self.is_decrypted = False
        self.streams: dict[int, StreamRecord] = {}
        self.faults: list[AnomalyRecord] = []

    def add(self, rows: "Rows") -> None:
        """Look at rows."""
        for row in rows:
            if isinstance(row, ConnectionRecord):
                self.is_there |= row.connection_id == self._connection_id
            elif isinstance(row, StreamRecord) and row.connection_id == self._connection_id:
                self.streams[row.stream_index] = row
            elif isinstance(row, TlsHandshakeRecord) and row.connection_id == self._connection_id:
                self.is_decrypted |= row.is_decrypted
            elif isinstance(row, AnomalyRecord) and row.connection_id == self._connection_id:
                self.faults.append(row)

    def inside(self, stream: int) -> list[int]:
        """The streams directly inside a stream."""
        return sorted(index for index, row in self.streams.items() if row.parent_index == stream)


def run(
    paths: list[str],
    wanted: str,
    decode_as: list[str] | None,
    key_logs: list[str] | None = None,
    memory: str | None = None,
    *,
    raw: bool = False,
) -> None:
    """Read the captures again and print a connection or one stream. Raises UsageError or UnmuxError."""
    from analyzer import pipeline, protocols
    from analyzer.capture.capture_set import CaptureSet
    from analyzer.dissector import Context

    named = parse_part(wanted)
    if named is None:
        raise UsageError(
            f"follow takes a connection, a stream in it or an exchange in that, as 17, 17:3 or 17:0.2, not {wanted!r}"
        )
    connection, stream, index = named
    if raw and index is not None:
        raise UsageError(f"--raw: bytes are those of a stream, {place(connection, stream)}, not of one exchange in it")
    again = _captures(paths, connection)
    options = source.Options(decode_as or again.rules, "preview", False, False, None, key_logs, memory)
    key_log = pipeline.read_key_logs(options.key_logs, options.memory)
    context = Context(protocols.dissectors(), decode_as=options.decode_as, key_log=key_log, memory=options.memory)
    printer = Printer(source.console(), stream, index, is_raw=raw)
    context.taps = {connection: printer}
    found = _Found(connection)
    captures = CaptureSet(again.names, again.first_index)
    try:
        # what follows its row is of others
        pipeline.run(captures, context, found, lambda _: not found.is_there and printer.failure is None)
    finally:
        captures.close()
    printer.finish()
    if printer.failure is not None:
        raise printer.failure
    lacks_keys = again.was_decrypted and not found.is_decrypted
    if printer.pieces == 0:
        if lacks_keys and stream not in found.streams:
            raise UnmuxError(f"stream {stream} of connection {place(connection)} is inside TLS: {_KEYS_AGAIN}")
        raise UnmuxError(_nothing(found, connection, stream, index))
    if lacks_keys:
        source.remark(f"this is TLS: {_KEYS_AGAIN}")
    for line in _remarks(found, printer, connection, stream):
        source.remark(line)


def _captures(paths: list[str], connection: int) -> _Again:
    """The captures to read for a connection.

    A store names its captures. Those before cannot hold anything of the connection; those after may continue it, unless
    they were appended to the store and are older.
    """
    from analyzer.pipeline import open_store

    if len(paths) > 1 or not source.names_store(paths[0]):
        return _Again(paths)
    capture_index = connection >> CAPTURE_BITS
    with open_store(paths[0]) as store:
        rereading.check_interfaces(paths[0], store)
        rows = store.sql(
            """
            SELECT name FROM captures
            WHERE capture_index = $index OR capture_index > $index
                AND first_packet_at >= (SELECT first_packet_at FROM captures WHERE capture_index = $index)
            ORDER BY capture_index
        """,
            {"index": capture_index},
        ).fetchall()
        rules = store.sql(
            """
            SELECT value FROM store_metadata WHERE key = 'option_decode_as' AND first_capture_index <= $index
            ORDER BY first_capture_index DESC LIMIT 1
        """,
            {"index": capture_index},
        ).fetchall()
        tls = "SELECT bool_or(is_decrypted) FROM tls_handshakes WHERE connection_id = $connection"
        decrypted = store.sql(tls, {"connection": connection}).fetchall() if "tls_handshakes" in store.tables() else []
    names = [str(name) for (name,) in rows]
    if not names:
        raise UnmuxError(
            f"{paths[0]}: has no capture {capture_index}, in which that connection would begin; `unmux tree` lists connections"
        )
    rereading.check_names(paths[0], names)
    return _Again(names, capture_index, rules[0][0].split(", ") if rules and rules[0][0] else [], decrypted == [(True,)])


def _remarks(found: _Found, printer: Printer, connection: int, stream: int | None) -> list[str]:
    """What there is besides what was printed: the streams inside, and what the capture lacks or nobody understood."""
    lines = []
    inside = found.inside(stream) if stream is not None else []
    if inside:
        several = f"{place(connection, inside[0])} to {place(connection, inside[-1])}" if len(inside) > 1 else "it"
        streams = f"{len(inside):,} streams" if len(inside) > 1 else f"stream {place(connection, inside[0])}"
        lines.append(f"inside it is {streams}: follow {several}, or {place(connection)} for everything on the connection")
    elif stream is None and printer.shows_bytes and len(found.streams) > 1:
        lines.append(f"these are its bytes; `unmux tree SOURCE {place(connection)}` lists the streams inside")
    row = None if stream is None else found.streams.get(stream)
    if row is not None and row.protocol_stream_id is not None and row.missing_bytes:
        lines.append(f"{row.missing_bytes:,} bytes of it were not captured")
    faults = [fault for fault in found.faults if stream is None or fault.stream_index in {None, stream}]
    for fault in faults[:_TOLD_FAULTS]:
        said = ", ".join(
            f"{word} {value}" for word, value in (("required", fault.required), ("found", fault.found)) if value is not None
        )
        lines.append(f"{fault.kind.replace('_', ' ')} {(fault.direction or '').replace('_', ' ')}".rstrip() + f": {said}")
    if len(faults) > _TOLD_FAULTS:
        lines.append(f"… and {len(faults) - _TOLD_FAULTS:,} more faults: `unmux report anomalies` lists them")
    return lines


def _nothing(found: _Found, connection: int, stream: int | None, index: int | None) -> str:
    """Why there was nothing to print."""
    if not found.is_there:
        return f"there is no connection {place(connection)}; `unmux tree` lists connections and streams"
    if stream and stream not in found.streams:
        last = max(found.streams, default=0)
        there = f"its streams are 0 to {last}" if last else "it has no streams inside, only its own bytes, stream 0"
        listed = f"`unmux tree SOURCE {place(connection)}` lists them"
        return f"connection {place(connection)} has no stream {stream}; {there}; {listed}"
    if index is not None:
        return f"there is nothing of an exchange or message {index} in stream {place(connection, stream)}"
    what = f"connection {place(connection)}" if stream is None else f"stream {stream} of connection {place(connection)}"
    return f"{what} carried nothing; `unmux tree SOURCE {place(connection)}` lists its streams"
