"""What becomes of contents while captures are read: parts of files, which rows give their names."""

import base64
import datetime
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from analyzer.commands.contents import HELD_BYTES, Folder, Part, suffix_of, word_of
from analyzer.dissector import DIRECTION_NAMES
from analyzer.http.semantics import HttpExchangeRecord, HttpFieldSectionRecord
from analyzer.protocols.websocket import WebSocketMessageRecord
from analyzer.records import ConnectionRecord, StreamRecord
from analyzer.text import bytes_to_text, place

if TYPE_CHECKING:
    from analyzer.records import Rows
    from analyzer.store.masking import Masker

_SIDES: Final = ("request", "response")
_DATA: Final = ("text", "binary", None)  # opcodes of messages, not of control frames; None where the first frame is missing
_UNKNOWN: Final = -1  # the index of bytes that nobody understands
_MESSAGES: Final = -2  # the index of the file of messages

Wanted = set[tuple[int, int, int]]
Key = tuple[int, int, str]
"""stream_index, exchange_index or message_index, and which part of that."""


class ConnectionTap:
    """The parts of a connection that are being collected."""

    def __init__(self, extraction: "Extraction", connection_id: int) -> None:
        self.parts: dict[Key, Part] = {}
        self.content_types: dict[Key, bytes] = {}  # of parts
        self._extraction = extraction
        self._connection_id = connection_id

    def write(self, stream_index: int, direction: int, timestamp: int, kind: str, data: bytes) -> None:
        """Take bytes that nobody understands."""
        if kind == "unknown" and self._extraction.is_stream_wanted(self._connection_id, stream_index):
            self.part((stream_index, _UNKNOWN, DIRECTION_NAMES[direction])).write(data)

    def turn(self, stream_index: int, direction: int, index: int) -> None:
        """Nothing: contents that are wanted have outlets."""

    def outlet(self, stream_index: int, index: int, part: str) -> Part | None:
        """Where the content of an exchange or message goes."""
        if part in _SIDES:
            is_wanted = self._extraction.is_exchange_wanted(self._connection_id, stream_index, index)
        else:
            is_wanted = self._extraction.is_stream_wanted(self._connection_id, stream_index)
        return self.part((stream_index, index, part)) if is_wanted else None

    def part(self, key: Key) -> Part:
        """The part with this name, a new one if there is none."""
        found = self.parts.get(key)
        if found is None:
            found = self.parts[key] = Part(self._extraction.folder)
        return found

    def discard(self) -> None:
        """Forget the parts that no row has named."""
        for part in self.parts.values():
            part.discard()
        self.parts.clear()


class Extraction:
    """The taps of all connections, and the sink of their rows."""

    def __init__(self, folder: Folder, wanted: Wanted | None, masker: "Masker | None") -> None:
        """``wanted`` are the exchanges whose contents are wanted, None for all."""
        self.folder = folder
        self._wanted = wanted
        self._masker = masker
        self._connections: frozenset[int] | None = None
        self._streams: frozenset[tuple[int, int]] | None = None
        if wanted is not None:
            self._connections = frozenset(connection for connection, _, _ in wanted)
            self._streams = frozenset((connection, stream) for connection, stream, _ in wanted)
        self._taps: dict[int, ConnectionTap] = {}

    def get(self, connection_id: int, /) -> ConnectionTap | None:
        """The tap of a connection that begins."""
        if self._connections is not None and connection_id not in self._connections:
            return None
        return self._taps.setdefault(connection_id, ConnectionTap(self, connection_id))

    def is_exchange_wanted(self, connection_id: int, stream_index: int, exchange_index: int) -> bool:
        """Whether the contents of an exchange are wanted."""
        return self._wanted is None or (connection_id, stream_index, exchange_index) in self._wanted

    def is_stream_wanted(self, connection_id: int, stream_index: int) -> bool:
        """Whether what else a stream carries is wanted: a wanted exchange is on it, or may have opened it on HTTP/1."""
        streams = self._streams
        return streams is None or (connection_id, stream_index) in streams or (connection_id, 0) in streams

    def add(self, rows: "Rows") -> None:
        """Name the parts that rows tell of."""
        for row in rows:
            if isinstance(row, HttpFieldSectionRecord):
                self._note_type(row)
            elif isinstance(row, HttpExchangeRecord):
                self._keep_contents(row)
            elif isinstance(row, WebSocketMessageRecord):
                self._keep_message(row)
            elif isinstance(row, StreamRecord):
                self._keep_stream(row)
            elif isinstance(row, ConnectionRecord):
                tap = self._taps.pop(row.connection_id, None)
                if tap is not None:
                    tap.discard()

    def finish(self) -> None:
        """The captures are read."""
        for tap in self._taps.values():
            tap.discard()
        self._taps.clear()

    def _note_type(self, row: HttpFieldSectionRecord) -> None:
        tap = self._taps.get(row.connection_id)
        key = (row.stream_index, row.exchange_index, row.side)
        if tap is None or row.section != "header" or key not in tap.parts:
            return
        for line in row.fields:
            if line.name is not None and line.value is not None and line.name.lower() == b"content-type":
                tap.content_types[key] = line.value

    def _keep_contents(self, row: HttpExchangeRecord) -> None:
        tap = self._taps.get(row.connection_id)
        if tap is None:
            return
        for side in _SIDES:
            key = (row.stream_index, row.exchange_index, side)
            part = tap.parts.pop(key, None)
            content_type = _text(tap.content_types.pop(key, None))
            if part is None or not part.size:
                continue
            target = None if row.target is None else self._masked(row.target)
            suffix = suffix_of(content_type)
            name = f"{_numbers(*key[:2], connection=row.connection_id)}-{side}{word_of(_text(row.target), suffix)}{suffix}"
            facts = {
                "kind": "content",
                "side": side,
                "method": _text(row.request_method),
                "authority": None if row.authority is None else self._masked_authority(row.authority),
                "target": target,
                "status": row.status_code,
                "content_type": content_type,
                "is_decoded": part.is_decoded,
                "is_complete": part.is_complete,
            }
            self._keep(part, name, row.connection_id, row.stream_index, row.exchange_index, facts)

    def _keep_message(self, row: WebSocketMessageRecord) -> None:
        """Add a message to the file of its stream; a large one is a file of its own."""
        tap = self._taps.get(row.connection_id)
        if tap is None or not self.is_stream_wanted(row.connection_id, row.stream_index):
            return
        line: dict[str, object] = {
            "message_index": row.message_index,
            "direction": row.direction,
            "opcode": row.opcode,
            "started_at": None if row.started_at is None else _time(row.started_at),
            "close_code": row.close_code,
            "close_reason": row.close_reason,
        }
        part = tap.parts.pop((row.stream_index, row.message_index, row.direction), None)
        is_known = row.payload_bytes is not None and row.is_complete is True
        is_complete = is_known and row.payload_bytes == (0 if part is None else part.size)
        if row.opcode in _DATA:
            line["is_complete"] = is_complete
        if part is None:
            if row.opcode in _DATA and is_complete:
                line |= _payload(b"", is_text=row.opcode == "text")
        elif part.size <= HELD_BYTES:
            line |= _payload(self._taken(part), is_text=row.opcode == "text")
        else:
            part.end(True, is_complete)
            suffix = ".txt" if row.opcode == "text" else ".bin"
            name = f"{_numbers(row.stream_index, row.message_index, connection=row.connection_id)}-{row.direction}{suffix}"
            line["file"] = name
            facts = {"kind": "message", "side": row.direction, "is_decoded": True, "is_complete": is_complete}
            self._keep(part, name, row.connection_id, row.stream_index, None, {"message_index": row.message_index, **facts})
        messages = tap.part((row.stream_index, _MESSAGES, ""))
        messages.write(json.dumps({key: value for key, value in line.items() if value is not None}).encode() + b"\n")

    def _keep_stream(self, row: StreamRecord) -> None:
        """The files of a stream that is over."""
        tap = self._taps.get(row.connection_id)
        if tap is None:
            return
        for index, part_name, kind in ((_MESSAGES, "", "messages"), *((_UNKNOWN, each, "bytes") for each in DIRECTION_NAMES)):
            part = tap.parts.pop((row.stream_index, index, part_name), None)
            if part is None or not part.size:
                continue
            name = _numbers(row.stream_index, connection=row.connection_id)
            name += "-messages.jsonl" if kind == "messages" else f"-{part_name}.bin"
            facts = {"kind": kind, "side": part_name or None, "protocol": row.protocol, "is_complete": row.missing_bytes == 0}
            self._keep(part, name, row.connection_id, row.stream_index, None, facts)

    def _keep(
        self,
        part: Part,
        name: str,
        connection_id: int,
        stream_index: int,
        exchange_index: int | None,
        facts: Mapping[str, object],
    ) -> None:
        where = {"connection_id": connection_id, "stream_index": stream_index, "exchange_index": exchange_index}
        self.folder.keep(part, name, {"place": place(connection_id, stream_index), **where, **facts})

    def _taken(self, part: Part) -> bytes:
        try:
            return part.taken()
        except OSError as error:
            self.folder.fail(error)
            return b""

    def _masked(self, target: bytes) -> str:
        return bytes_to_text(target if self._masker is None else self._masker.target(target))

    def _masked_authority(self, authority: bytes) -> str:
        return bytes_to_text(authority if self._masker is None else self._masker.authority(authority))


def _numbers(*indices: int, connection: int) -> str:
    """What begins a file's name."""
    return "-".join([place(connection).replace("/", "_"), *map(str, indices)])


def _text(value: bytes | None) -> str | None:
    return None if value is None else bytes_to_text(value)


def _payload(data: bytes, *, is_text: bool) -> Iterable[tuple[str, str]]:
    """A small payload in a line of JSON."""
    if is_text:
        try:
            return [("text", data.decode())]
        except UnicodeDecodeError:
            pass
    return [("base64", base64.b64encode(data).decode())]


def _time(nanoseconds: int) -> str:
    """A time in UTC (RFC 3339)."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
