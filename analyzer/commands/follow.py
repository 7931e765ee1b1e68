"""Both sides of one stream, in order, in colour."""

import re
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from analyzer.commands import source
from analyzer.errors import UnmuxError, UsageError
from analyzer.stream import TO_SERVER
from analyzer.text import escape_for_terminal

if TYPE_CHECKING:
    from analyzer.records import Rows

_STREAM = re.compile(r"(\d{1,18})(?::(\d{1,9}))?")
_BYTES_A_LINE = 16
_STYLES = ("red", "blue")  # towards the server, towards the client, as Wireshark colours them


class Printer:
    """The tap that prints what flows through the stream."""

    def __init__(self, console: Console, stream_index: int) -> None:
        self._console = console
        self._stream_index = stream_index
        self._direction = -1
        self.pieces = 0

    def write(self, stream_index: int, direction: int, timestamp: int, kind: str, data: bytes) -> None:
        """Print a piece of the stream that is followed."""
        if stream_index != self._stream_index or not data:
            return
        self.pieces += 1
        style = _STYLES[direction]
        if direction != self._direction or kind == "message":
            self._direction = direction
            way = "→ to server" if direction == TO_SERVER else "← to client"
            self._console.print(Text(f"{way}  {_clock(timestamp)}", style=f"bold {style}"))
        for line in shown(data):
            self._console.print(Text(line, style=style), soft_wrap=True)


def _clock(timestamp: int) -> str:
    seconds, nanoseconds = divmod(timestamp, 1_000_000_000)
    return f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{nanoseconds:09}"


def shown(data: bytes) -> list[str]:
    """Text as its lines, escaped for the terminal; anything else as a hex dump."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = ""
    unprintable = sum(not (character.isprintable() or character in "\r\n\t") for character in text)
    if text and unprintable * 20 <= len(text):
        return [
            escape_for_terminal(line.replace("\t", "    ")) for line in text.replace("\r\n", "\n").removesuffix("\n").split("\n")
        ]
    lines = []
    for start in range(0, len(data), _BYTES_A_LINE):
        part = data[start : start + _BYTES_A_LINE]
        printable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:08x}  {part.hex(' '):<{_BYTES_A_LINE * 3}} {printable}")
    return lines


class _Nowhere:
    """Takes the rows, which following does not need."""

    def add(self, rows: "Rows") -> None:
        """Drop them."""


def run(paths: list[str], wanted: str, decode_as: list[str] | None) -> None:
    """Read the captures again and print one stream. Raises UsageError or UnmuxError."""
    from analyzer import pipeline, protocols
    from analyzer.capture.capture_set import CaptureSet
    from analyzer.store import is_store, open_store
    from analyzer.stream import Context

    match = _STREAM.fullmatch(wanted)
    if match is None:
        raise UsageError(f"follow takes CONNECTION or CONNECTION:STREAM, such as 17 or 17:3, not {wanted!r}")
    connection, stream = int(match.group(1)), int(match.group(2) or 0)
    if len(paths) == 1 and is_store(paths[0]):
        with open_store(paths[0]) as store:
            paths = [name for (name,) in store.sql("SELECT name FROM captures ORDER BY capture_index").fetchall()]
    options = source.Options(decode_as, "preview", False, False, None)
    context = Context(protocols.dissectors(), decode_as=options.decode_as)
    printer = Printer(source.console(), stream)
    context.tap = printer
    context.tapped_connection = connection
    pipeline.run(CaptureSet(paths), context, _Nowhere())
    if printer.pieces == 0:
        raise UnmuxError(
            f"nothing to show of stream {stream} of connection {connection}; `unmux tree` lists connections and streams"
        )
