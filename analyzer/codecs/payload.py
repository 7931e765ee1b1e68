"""What is wanted of a payload that comes in pieces: its size, its text, its hash, its first bytes."""

import hashlib

from mypy_extensions import i64

from analyzer.codecs.utf8 import TextReader


class Payload:
    """Takes one decoded payload piece by piece and keeps what the options ask for."""

    def __init__(self, text: TextReader | None, hashes: bool, keep_bytes: i64) -> None:
        """``text`` reads it as text, ``hashes`` asks for its SHA-256, and its first ``keep_bytes`` are kept."""
        self.size: i64 = 0
        self.is_known = True  # all bytes that came
        self.text = text
        self._digest = hashlib.sha256() if hashes else None
        self._wanted: i64 = keep_bytes
        self._kept: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size += len(data)
        if self.text is not None:
            self.text.write(data)
        if self._digest is not None:
            self._digest.update(data)
        if self._wanted > 0:
            piece = data if len(data) <= self._wanted else data[: self._wanted]
            self._kept.append(piece)
            self._wanted -= len(piece)

    def miss(self, length: i64) -> None:
        """Count bytes that came but are not known, and all that follow: none may be written any more."""
        self.size += length
        self.is_known = False

    def sha256(self) -> str | None:
        """The SHA-256 of what came, in hexadecimal; None where it was not asked for or is not known."""
        return None if self._digest is None or not self.is_known else self._digest.hexdigest()

    def kept(self) -> bytes:
        """The first bytes."""
        return b"".join(self._kept)
