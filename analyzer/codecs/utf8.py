"""UTF-8 that arrives in pieces: checked whole, kept up to a limit (RFC 3629)."""

import codecs
from typing import Final

from mypy_extensions import i64

_PIECES: Final = 32  # kept apart; a character of its own takes 80 bytes


class TextReader:
    """Validates one text, however it is cut, and keeps its first characters."""

    def __init__(self, characters: i64) -> None:
        """Keep the first ``characters`` of the text."""
        self.is_valid = True
        self.is_full = characters == 0  # as many characters are kept as were asked for
        self._wanted: i64 = characters
        self._characters: i64 = 0  # kept
        self._is_ascii = True
        self._kept: list[str] = []
        self._pending = b""  # a character's first bytes, up to three

    def write(self, data: bytes) -> None:
        """Take the next bytes; ``is_valid`` becomes False when they cannot be text. Bytes after that are ignored."""
        if not self.is_valid:
            return
        if self._pending:
            text = self._decode(self._pending + data)
        else:
            try:
                text = data.decode()  # nearly always whole characters
            except UnicodeDecodeError:
                text = self._decode(data)
        if self._wanted > 0 and text:
            self._keep(text if len(text) <= self._wanted else text[: self._wanted])

    def _keep(self, text: str) -> None:
        self._kept.append(text)
        if len(self._kept) >= _PIECES:
            self._kept = ["".join(self._kept)]
        self._characters += len(text)
        self._wanted -= len(text)
        self.is_full = self._wanted == 0
        if not text.isascii():
            self._is_ascii = False

    def _decode(self, data: bytes) -> str:
        """Decode what may end within a character, or be invalid."""
        try:
            text, used = codecs.utf_8_decode(data, "strict", False)
        except UnicodeDecodeError as error:
            self.is_valid = False
            text = data[: error.start].decode()
            used = len(data)
        self._pending = data[used:]
        return text

    def finish(self) -> None:
        """Say that the text has ended; an unfinished character makes it invalid."""
        if self._pending:
            self.is_valid = False

    def kept_bytes(self) -> i64:
        """The memory that the characters kept take at most."""
        return self._characters if self._is_ascii else 4 * self._characters

    def drop(self) -> None:
        """Keep no characters any more, and only validate."""
        self._kept = []
        self._characters = 0
        self._wanted = 0

    def text(self) -> str:
        """The characters kept; of an invalid text those before its first fault."""
        return self._kept[0] if len(self._kept) == 1 else "".join(self._kept)
