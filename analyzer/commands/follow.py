"""Both sides of one stream, in order, in colour."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from analyzer.commands import source
from analyzer.dissector import TO_SERVER
from analyzer.errors import UnmuxError, UsageError
from analyzer.records import ConnectionRecord, StreamRecord
from analyzer.reports.values import duration
from analyzer.text import escape_for_terminal

if TYPE_CHECKING:
    from analyzer.records import Rows

_STREAM = re.compile(r"(\d{1,18})(?::(\d{1,9}))?")
_CAPTURE_BITS = 40  # of a connection_id that hold the frame number; the capture_index is above them
_BYTES_A_LINE = 16
_STYLES = ("red", "blue")  # towards the server, towards the client, as Wireshark colours them
_WHOLE = ("fields", "message")  # kinds that come in one piece
_LONGEST_CHARACTER = 4  # bytes of UTF-8


class Printer:
    """The tap that prints what flows through the stream: text as text, anything else as a hex dump."""

    def __init__(self, console: Console, stream_index: int) -> None:
        self.pieces = 0
        self._console = console
        self._stream_index = stream_index
        self._first: int | None = None  # time of the first piece
        self._shown = (-1, "")  # direction and kind of what was printed last
        self._is_in_line = False  # the last text ended without a line feed
        self._cut = [b"", b""]  # the beginning of a character at the end of a piece, of each direction
        self._offsets: dict[tuple[int, str], int] = {}  # bytes printed so far, by direction and kind

    def write(self, stream_index: int, direction: int, timestamp: int, kind: str, data: bytes) -> None:
        """Print a piece of the stream that is followed."""
        if stream_index != self._stream_index or not data:
            return
        self.pieces += 1
        if (direction, kind) != self._shown or kind in _WHOLE:
            self._end_line()
            self._head(direction, timestamp, kind)
        self._shown = (direction, kind)
        if kind in _WHOLE:
            self._cut[direction] = b""
            self._offsets[direction, kind] = 0
        self._body(direction, kind, self._cut[direction] + data)

    def finish(self) -> None:
        """Print what is left: characters whose end never came."""
        for direction, rest in enumerate(self._cut):
            if rest:
                self._cut[direction] = b""
                self._dump(direction, self._shown[1], rest)
        self._end_line()

    def _head(self, direction: int, timestamp: int, kind: str) -> None:
        if self._first is None:
            self._first = timestamp
        way = "→ to server" if direction == TO_SERVER else "← to client"
        named = "" if kind == "bytes" else f"  {kind}"
        line = f"{way}  {_clock(timestamp)}  +{duration(timestamp - self._first)}{named}"
        self._console.print(Text(line, style=f"bold {_STYLES[direction]}"), soft_wrap=True)

    def _body(self, direction: int, kind: str, data: bytes) -> None:
        whole = _whole_characters(data)
        text = _text(data[:whole])
        self._cut[direction] = b"" if text is None else data[whole:]
        if text is None:
            self._end_line()
            self._dump(direction, kind, data)
            return
        self._offsets[direction, kind] = self._offsets.get((direction, kind), 0) + whole
        shown = escape_for_terminal(text.replace("\r\n", "\n").replace("\t", "    "), lines=True)
        self._console.print(Text(shown, style=_STYLES[direction]), end="", soft_wrap=True)
        self._is_in_line = not shown.endswith("\n")

    def _dump(self, direction: int, kind: str, data: bytes) -> None:
        offset = self._offsets.get((direction, kind), 0)
        for start in range(0, len(data), _BYTES_A_LINE):
            part = data[start : start + _BYTES_A_LINE]
            printable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
            line = f"{offset + start:08x}  {part.hex(' '):<{_BYTES_A_LINE * 3}} {printable}"
            self._console.print(Text(line, style=_STYLES[direction]), soft_wrap=True)
        self._offsets[direction, kind] = offset + len(data)
        self._is_in_line = False

    def _end_line(self) -> None:
        if self._is_in_line:
            self._console.print()
            self._is_in_line = False


def _clock(timestamp: int) -> str:
    seconds, nanoseconds = divmod(timestamp, 1_000_000_000)
    return f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{nanoseconds:09}"


def _whole_characters(data: bytes) -> int:
    """How many bytes there are before the beginning of a character whose rest is yet to come."""
    for back in range(1, min(_LONGEST_CHARACTER, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return len(data) - back if length > back else len(data)
    return len(data)


def _text(data: bytes) -> str | None:
    """The text that the bytes are; None where they are not UTF-8, or have zeros or many control characters."""
    if b"\0" in data:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    unprintable = sum(not (character.isprintable() or character in "\r\n\t") for character in text)
    return text if unprintable * 20 <= len(text) else None


class _Found:
    """Takes the rows and remembers what there was of the connection."""

    def __init__(self, connection_id: int) -> None:
        self._connection_id = connection_id
        self.is_there = False
        self.streams: set[int] = set()

    def add(self, rows: "Rows") -> None:
        """Look at rows."""
        for row in rows:
            if isinstance(row, ConnectionRecord):
                self.is_there |= row.connection_id == self._connection_id
            elif isinstance(row, StreamRecord) and row.connection_id == self._connection_id:
                self.streams.add(row.stream_index)


def run(paths: list[str], wanted: str, decode_as: list[str] | None) -> None:
    """Read the captures again and print one stream. Raises UsageError or UnmuxError."""
    from analyzer import pipeline, protocols
    from analyzer.capture.capture_set import CaptureSet
    from analyzer.dissector import Context

    match = _STREAM.fullmatch(wanted)
    if match is None:
        raise UsageError(f"follow takes CONNECTION or CONNECTION:STREAM, such as 17 or 17:3, not {wanted!r}")
    connection, stream = int(match.group(1)), int(match.group(2) or 0)
    paths, first_index = _captures(paths, connection >> _CAPTURE_BITS)
    context = Context(protocols.dissectors(), decode_as=source.Options(decode_as, "preview", False, False, None).decode_as)
    printer = Printer(source.console(), stream)
    context.tap = printer
    context.tapped_connection = connection
    found = _Found(connection)
    captures = CaptureSet(paths, first_index)
    try:
        pipeline.run(captures, context, found, lambda _: not found.is_there)  # what follows its row is of others
    finally:
        captures.close()
    printer.finish()
    if printer.pieces == 0:
        raise UnmuxError(_nothing(found, connection, stream))


def _captures(paths: list[str], capture_index: int) -> tuple[list[str], int]:
    """The captures to read for a connection that begins in the one with this number, and that number's beginning.

    A store names its captures. Those before cannot hold anything of the connection; those after may continue it, unless
    they were appended to the store and are older.
    """
    from analyzer.store import open_store

    if len(paths) > 1 or not source.names_store(paths[0]):
        return paths, 0
    with open_store(paths[0]) as store:
        rows = store.sql(
            """
            SELECT name FROM captures
            WHERE capture_index = $index OR capture_index > $index
                AND first_packet_at >= (SELECT first_packet_at FROM captures WHERE capture_index = $index)
            ORDER BY capture_index
        """,
            {"index": capture_index},
        ).fetchall()
    names = [str(name) for (name,) in rows]
    if not names:
        raise UnmuxError(
            f"{paths[0]}: has no capture {capture_index}, in which that connection would begin; `unmux tree` lists connections"
        )
    missing = [name for name in names if name != "-" and not Path(name).exists()]
    if missing:
        raise UnmuxError(f"{paths[0]}: was made from {missing[0]}, which is not there; names are relative to where it was made")
    if "-" in names:
        raise UnmuxError(f"{paths[0]}: was made from standard input, which cannot be read again")
    return names, capture_index


def _nothing(found: _Found, connection: int, stream: int) -> str:
    """Why there was nothing to print."""
    if not found.is_there:
        return f"there is no connection {connection}; `unmux tree` lists connections and streams"
    if stream and stream not in found.streams:
        last = max(found.streams, default=0)
        there = f"its streams are 0 to {last}" if last else "it has no streams inside, only its own bytes, stream 0"
        return f"connection {connection} has no stream {stream}; {there}; `unmux tree SOURCE {connection}` lists them"
    return f"stream {stream} of connection {connection} carried nothing; `unmux tree SOURCE {connection}` lists its streams"
