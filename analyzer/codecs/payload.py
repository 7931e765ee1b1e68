"""What is wanted of a payload that comes in pieces: its size, its text, its hash, its first bytes."""

import hashlib

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.content_budget import ContentBudget, ContentHolder, OverBudget
from analyzer.codecs.utf8 import TextReader


class Payload(ContentHolder):
    """Takes one decoded payload piece by piece and keeps what the options ask for. Ends with ``hand_out``."""

    def __init__(self, text: TextReader | None, hashes: bool, keep_bytes: i64, budget: ContentBudget | None = None) -> None:
        """``text`` reads it as text, ``hashes`` asks for its SHA-256, and its first ``keep_bytes`` are kept.

        ``budget`` grants the memory of what is kept, as soon as it is worth counting; without one it never is.
        """
        super().__init__()
        self.size: i64 = 0
        self.is_known = True  # all bytes that came
        self.text = text
        self.limit: str | None = None  # that on memory for which what was kept was given up
        self._budget = budget
        self._digest = hashlib.sha256() if hashes else None
        self._wanted: i64 = keep_bytes
        self._kept = bytearray()

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size += len(data)
        if self.text is not None:
            self.text.write(data)
        if self._digest is not None:
            self._digest.update(data)
        if self._wanted > 0:
            piece = data if len(data) <= self._wanted else data[: self._wanted]
            self._kept += piece
            self._wanted -= len(piece)
        if self._budget is not None:
            self._charge(self._budget)

    def miss(self, length: i64) -> None:
        """Count bytes that came but are not known, and all that follow: none may be written any more."""
        self.size += length
        self.is_known = False

    def sha256(self) -> str | None:
        """The SHA-256 of what came, in hexadecimal; None where it was not asked for or is not known."""
        return None if self._digest is None or not self.is_known else self._digest.hexdigest()

    def kept(self) -> bytes:
        """The first bytes."""
        return bytes(self._kept)

    def hand_out(self) -> None:
        """The row with what is kept is handed out."""
        if self._budget is not None and self.held_memory > 0:
            self._budget.hand_out(self)

    def give_up(self, required: str) -> None:
        """Keep nothing any more; size and hash are still known."""
        self.limit = required
        self._wanted = 0
        self._kept = bytearray()
        if self.text is not None:
            self.text.drop()
        if self._budget is not None and self.held_memory > 0:
            self._budget.give_back(self, self.held_memory)

    def _charge(self, budget: ContentBudget) -> None:
        """Have the budget grant what more is kept, or keep nothing."""
        size: i64 = len(self._kept)
        if self.text is not None:
            size += self.text.kept_bytes()
        if size <= limits.PAYLOAD_UNCOUNTED_BYTES:
            return
        try:
            budget.take(self, size - self.held_memory)
        except OverBudget as refusal:
            self.give_up(str(refusal))
