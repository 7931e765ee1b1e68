r"""Bytes from the wire as text, and text for a terminal.

One rule turns bytes into text, and it can be turned back: valid UTF-8 stays as it is, a backslash is doubled, and every
other byte is written ``\xNN``. A value longer than its limit ends in ``\+N``, N being the bytes that were cut off;
nothing else in a text has a backslash before a plus.

Control characters are valid UTF-8 and stay in the store, so that queries see what was sent; whoever prints a text
passes it through :func:`escape_for_terminal` first.
"""

import re
from typing import Final

from analyzer import limits

CAPTURE_BITS: Final = 40  # of a connection_id that hold the frame number; the capture_index is above them
_PLACE: Final = re.compile(r"(?:(\d{1,7})/)?(\d{1,19})(?::(\d{1,9})(?:\.(\d{1,9}))?)?", re.ASCII)

_ESCAPE: Final = re.compile(rb"\\(?:\\|x([0-9a-f]{2})|\+[0-9]+$|)")

# What can move the cursor, recolour, retitle, reverse or hide text: C0 and C1 controls, DEL, zero-width characters,
# line and paragraph separators, bidirectional controls (Unicode Standard Annex 9), byte order mark, interlinear
# annotations, tags, and surrogates, which no terminal encoding can carry.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_UNPRINTABLE_IN_LINES: Final = re.compile(_UNPRINTABLE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))


def place(connection_id: int, stream_index: int | None = None) -> str:
    """How people name a connection, or a stream in it: ``14:3``, or ``2/14:3`` where it begins in capture 2, not 0."""
    capture_index, frame = divmod(connection_id, 1 << CAPTURE_BITS)
    number = f"{capture_index}/{frame}" if capture_index else str(frame)
    return number if stream_index is None else f"{number}:{stream_index}"


def parse_place(said: str) -> tuple[int, int | None] | None:
    """The connection_id and stream_index that ``said`` names, as :func:`place` writes them or as numbers; None when it does not."""
    found = parse_part(said)
    return None if found is None or found[2] is not None else found[:2]


def parse_part(said: str) -> tuple[int, int | None, int | None] | None:
    """As :func:`parse_place`, with the number of an exchange or message in the stream: the 2 of ``14:0.2``."""
    match = _PLACE.fullmatch(said)
    if match is None:
        return None
    capture_index, number, stream_index, index = (None if part is None else int(part) for part in match.groups())
    if number is None or (capture_index is not None and number >> CAPTURE_BITS):
        return None
    connection_id = ((capture_index or 0) << CAPTURE_BITS) + number
    return (connection_id, stream_index, index) if connection_id < 1 << 63 else None


def bytes_to_text(data: bytes, limit: int = limits.TEXT_BYTES) -> str:
    """Write bytes as text by the module's rule; of more than ``limit`` bytes only the first are kept, and marked so."""
    if len(data) > limit:
        kept = _whole_characters(data, limit)
        return f"{bytes_to_text(kept, limit)}\\+{len(data) - len(kept)}"
    if b"\\" in data:
        data = data.replace(b"\\", b"\\\\")
    if data.isascii():
        return data.decode("ascii")
    return data.decode("utf-8", "backslashreplace")


def text_to_bytes(text: str) -> bytes:
    """Turn a text written by :func:`bytes_to_text` back into the bytes. ValueError when it was cut or is not such a text."""
    return _ESCAPE.sub(_unescape, text.encode())


def escape_for_terminal(text: str, *, lines: bool = False) -> str:
    r"""Make text safe to print: what is not a visible character becomes ``\x1b`` or ``\u202e``.

    With ``lines``, line feeds and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return (_UNPRINTABLE_IN_LINES if lines else _UNPRINTABLE).sub(_escape, text)


def _whole_characters(data: bytes, limit: int) -> bytes:
    """The first ``limit`` bytes, less the beginning of a UTF-8 character that the limit would split."""
    for cut in range(limit, max(limit - 4, 0), -1):
        if data[cut] & 0xC0 != 0x80:  # not a continuation byte: a character may begin here
            return data[:cut]
    return data[:limit]


def _unescape(match: re.Match[bytes]) -> bytes:
    found = match.group()
    if found == b"\\\\":
        return b"\\"
    if match.group(1) is not None:
        return bytes.fromhex(match.group(1).decode("ascii"))
    raise ValueError("the text was cut" if found.startswith(b"\\+") else "a backslash that escapes nothing")


def _escape(match: re.Match[str]) -> str:
    point = ord(match.group())
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
