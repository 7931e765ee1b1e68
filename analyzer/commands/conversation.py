"""What flowed through a connection, printed: text as text, anything else as a hex dump, contents without their coding."""

import re
from typing import Final

from rich.console import Console
from rich.text import Text

from analyzer import limits
from analyzer.codecs.content import Content
from analyzer.codecs.content_budget import AllContents, ContentBudget
from analyzer.dissector import TO_SERVER
from analyzer.reports.values import duration
from analyzer.text import escape_for_terminal

HELD_BYTES: Final = 1 << 20  # of a stream until something in it is understood; every protocol tells something before
WAYS: Final = 2 * limits.HTTP2_OPEN_STREAMS  # directions of streams that are remembered: of those that may be open
_BYTES_A_LINE: Final = 16
_STYLES: Final = ("red", "blue")  # towards the server, towards the client, as Wireshark colours them
_CONTROL: Final = ("ping", "pong", "close")  # kinds whose data may be empty
_WHOLE: Final = ("fields", "message", *_CONTROL)  # kinds that come in one piece
_LONGEST_CHARACTER: Final = 4  # bytes of UTF-8
_START: Final = re.compile(
    rb"(?:HTTP/1\.[01] (\d{3})|:status: (\d{3})\n|[!-~]+ \S+ HTTP/1\.[01]\r?\n|:method: )"
)  # not a trailer's
_CODINGS: Final = re.compile(rb"^content-encoding:(.*)$", re.IGNORECASE | re.MULTILINE)


class _Way:
    """One direction of one stream: what is carried over from one piece of it to the next."""

    def __init__(self) -> None:
        self.cut = b""  # the beginning of a character at the end of a piece
        self.offset = 0  # bytes dumped or printed of this kind
        self.kind = ""
        self.codings: bytes | None = None  # of the content that follows
        self.content: Content | None = None  # undoes them

    def drop_content(self) -> None:
        """No more of the content comes, or it is not decoded any more."""
        if self.content is not None:
            self.content.discard()
            self.content = None


class Printer:
    """The tap that prints a connection, or one stream of it.

    What was understood is printed decoded. Bytes are printed where ``is_raw`` asks for them, and of a stream of which
    nothing else can be told: one that only carries others, or is encrypted.
    """

    def __init__(self, console: Console, stream_index: int | None, index: int | None = None, *, is_raw: bool = False) -> None:
        """``stream_index`` is None for everything on the connection, ``index`` for everything in the stream."""
        self.pieces = 0
        self.failure: OSError | None = None  # to print: raised by whoever reads, since dissectors must not see it
        self.shows_bytes = is_raw
        self._is_raw = is_raw
        self._console = console
        self._wanted = stream_index
        self._index = index
        self._turns = [0, 0]  # of each direction of the stream, the exchange or message that is told
        self._held: list[tuple[int, int, str, bytes]] = []  # direction, time, kind and bytes, until something is understood
        self._held_bytes = 0
        self._has_told = False  # something was understood
        self._first: int | None = None  # time of the first piece
        self._shown = (-1, -1, "")  # stream, direction and kind of what was printed last
        self._is_in_line = False  # the last text ended without a line feed
        self._ways: dict[tuple[int, int], _Way] = {}  # by stream and direction, the latest used last
        self._budget = ContentBudget(AllContents())

    def write(self, stream_index: int, direction: int, timestamp: int, kind: str, data: bytes) -> None:
        """Print a piece, if it is of what is followed. A failure to print ends it quietly: ``failure`` says so."""
        if self.failure is not None or (self._wanted is not None and stream_index != self._wanted):
            return
        if kind == "unread":
            if self._wanted is not None:
                return  # a stream that carries others is printed as its bytes
            kind = "unknown"
        try:
            if kind == "missing":
                self._miss(stream_index, direction, timestamp, data)
            elif (data or kind in _CONTROL) and (self._index is None or self._index == self._turns[direction]):
                self._take(stream_index, direction, timestamp, kind, data)
        except OSError as error:
            self.failure = error

    def turn(self, stream_index: int, direction: int, index: int) -> None:
        """Note which exchange or message is told next."""
        if stream_index == self._wanted:
            self._turns[direction] = index

    def outlet(self, stream_index: int, index: int, part: str) -> None:
        """Nothing: contents are printed as they come."""

    def finish(self) -> None:
        """Print what is left: bytes of which nothing was understood, and characters whose end never came."""
        if self.failure is not None:
            return
        try:
            self._print_held()
            for (_, direction), way in self._ways.items():
                if way.cut:
                    rest, way.cut = way.cut, b""
                    self._end_line()
                    self._dump(direction, way, rest)
            self._end_line()
        except OSError as error:
            self.failure = error

    def _take(self, stream_index: int, direction: int, timestamp: int, kind: str, data: bytes) -> None:
        if kind == "bytes":
            if stream_index != (self._wanted or 0) or self._index is not None:
                return  # what is inside it
            if self.shows_bytes:
                self._has_told = True
                self._print(stream_index, direction, timestamp, kind, data)
            elif not self._has_told:
                self._hold(direction, timestamp, data)
        elif self._is_raw:
            if not self._has_told:  # else its bytes were printed
                self._print(stream_index, direction, timestamp, kind, data)
        elif not self.shows_bytes:
            self._has_told = True
            held, self._held = self._held, []
            for way, when, what, length in held:
                if what == "missing":
                    self._print_missing(way, when, length)
            self._print(stream_index, direction, timestamp, kind, data)

    def _miss(self, stream_index: int, direction: int, timestamp: int, length: bytes) -> None:
        """Take note of bytes that are missing, in their place; those of a connection are those of all in it."""
        if stream_index != (self._wanted or 0):
            return
        if self._index is not None and not (self._has_told and self._turns[direction] == self._index):
            return
        if self._has_told or self.shows_bytes:
            self._print_missing(direction, timestamp, length)
        else:
            self._held.append((direction, timestamp, "missing", length))

    def _print_missing(self, direction: int, timestamp: int, length: bytes) -> None:
        self._end_line()
        self._head(self._wanted or 0, direction, timestamp, "missing")
        number = f"{int(length):,} byte{'' if length == b'1' else 's'}" if length else "an unknown number of bytes"
        self._console.print(Text(f"({number}, not captured)", style="dim"), soft_wrap=True)
        self._shown = (-1, -1, "")

    def _hold(self, direction: int, timestamp: int, data: bytes) -> None:
        self._held.append((direction, timestamp, "bytes", data))
        self._held_bytes += len(data)
        if self._held_bytes > HELD_BYTES:
            self._print_held()

    def _print_held(self) -> None:
        self.shows_bytes |= any(kind == "bytes" for _, _, kind, _ in self._held)
        for direction, timestamp, kind, data in self._held:
            if kind == "missing":
                self._print_missing(direction, timestamp, data)
            else:
                self._print(self._wanted or 0, direction, timestamp, kind, data)
        self._held.clear()

    def _print(self, stream_index: int, direction: int, timestamp: int, kind: str, data: bytes) -> None:
        way = self._ways.pop((stream_index, direction), None) or _Way()
        self._ways[stream_index, direction] = way
        if len(self._ways) > WAYS:
            self._ways.pop(next(iter(self._ways))).drop_content()
        data = self._decoded(way, kind, data)
        if not data and kind not in _CONTROL:
            return
        self.pieces += 1
        if (stream_index, direction, kind) != self._shown or kind in _WHOLE:
            self._end_line()
            self._head(stream_index, direction, timestamp, kind)
        self._shown = (stream_index, direction, kind)
        if kind in _WHOLE or kind != way.kind:
            way.cut = b""
            way.offset = 0
        way.kind = kind
        self._body(direction, way, way.cut + data)

    def _decoded(self, way: _Way, kind: str, data: bytes) -> bytes:
        """A piece without its content coding; as sent where that is broken."""
        if self._is_raw:
            return data
        if kind == "fields" and _START.match(data) is not None:
            way.codings = b", ".join([codings.strip() for codings in _CODINGS.findall(data)]) or None
            way.drop_content()
        if kind != "content" or way.codings is None:
            return data
        if way.content is None:
            way.content = Content("store", way.codings, budget=self._budget)
        way.content.write(data)
        decoded = way.content.take_decoded()
        problem = way.content.fault or way.content.limit
        if problem is None:
            return decoded
        self._end_line()
        self._console.print(Text(f"({escape_for_terminal(problem)}: from here on as sent)", style="dim"), soft_wrap=True)
        way.codings = None
        way.drop_content()
        return decoded or data

    def _head(self, stream_index: int, direction: int, timestamp: int, kind: str) -> None:
        if self._first is None:
            self._first = timestamp
        way = "→ to server" if direction == TO_SERVER else "← to client"
        stream = f"  :{stream_index}" if stream_index and self._wanted is None else ""
        named = "" if kind == "bytes" else f"  {kind}"
        line = f"{way}{stream}  {_clock(timestamp)}  +{duration(timestamp - self._first)}{named}"
        self._console.print(Text(line, style=f"bold {_STYLES[direction]}"), soft_wrap=True)

    def _body(self, direction: int, way: _Way, data: bytes) -> None:
        whole = _whole_characters(data)
        text = _text(data[:whole])
        way.cut = b"" if text is None else data[whole:]
        if text is None:
            self._end_line()
            self._dump(direction, way, data)
            return
        way.offset += whole
        shown = escape_for_terminal(text.replace("\r\n", "\n").replace("\t", "    "), lines=True)
        self._console.print(Text(shown, style=_STYLES[direction]), end="", soft_wrap=True)
        if shown:
            self._is_in_line = not shown.endswith("\n")

    def _dump(self, direction: int, way: _Way, data: bytes) -> None:
        for start in range(0, len(data), _BYTES_A_LINE):
            part = data[start : start + _BYTES_A_LINE]
            printable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
            line = f"{way.offset + start:08x}  {part.hex(' '):<{_BYTES_A_LINE * 3}} {printable}"
            self._console.print(Text(line, style=_STYLES[direction]), soft_wrap=True)
        way.offset += len(data)
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
