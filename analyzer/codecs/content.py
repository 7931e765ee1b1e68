"""HTTP content: content codings undone within limits, hashed or kept as the options ask (RFC 9110 section 8.4).

Coded bytes are held until the content ends, or until there are as many as its decoders would take: most contents end
sooner, so that decoders are rarely open between packets. Codings are undone in steps of that size, the last one applied
first, whatever pieces the bytes come in. A coding that is broken, cut short or too large stops the decoding, which ``fault``
says; then there is no hash. So does memory that the budget of the connection does not grant, which ``limit`` says.
"""

import hashlib
from typing import Protocol

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.content_budget import AllContents, ContentBudget, ContentHolder, OverBudget
from analyzer.codecs.content_codings import SUPPORTED, CodingError, Decoder, cost_of, decoder_of


class Outlet(Protocol):
    """Takes one decoded content piece by piece, however large."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""

    def end(self, is_decoded: bool, is_complete: bool) -> None:
        """Learn that no more will come, and whether codings are undone and nothing is missing."""


class Content(ContentHolder):
    """Takes the content of one message piece by piece, when ``--content`` or somebody who follows asks for it.

    Ends with ``finish`` and, when its row is handed out, ``hand_out``; or with ``discard``.
    """

    def __init__(
        self,
        mode: str,
        codings: bytes | None,
        is_coding_known: bool = True,
        budget: ContentBudget | None = None,
        outlet: Outlet | None = None,
    ) -> None:
        """``mode`` is hash, store or nothing; ``codings`` is the content-encoding field's value, None without one.

        Without ``is_coding_known`` some field is unknown, which may have been that one: the content is kept as sent.
        ``budget`` is that of the connection; without one the content has its own. ``outlet`` takes all that is decoded.
        """
        super().__init__()
        self.sha256: str | None = None  # of the decoded content; None until finished, when incomplete or not decodable
        self.kept: bytes | None = None  # the decoded content in mode store, within the limits
        self.is_decoded = False
        self.is_complete = False
        self.fault: str | None = None  # why it could not be decoded, None when it could
        self.limit: str | None = None  # the limit on memory that it reached
        self._budget = ContentBudget(AllContents()) if budget is None else budget
        self._keeps = mode == "store"
        self._hashes = len(mode) > 0
        self._outlet = outlet
        self._kept = bytearray()
        self._is_cut = False  # more was decoded than may be kept
        self._hash: "hashlib._Hash | None" = None  # from the first byte on
        self._coded_bytes: i64 = 0  # of those that were decoded
        self._decoded_bytes: i64 = 0
        self._is_raw = not is_coding_known  # the codings are unknown: the bytes are kept as sent
        self._codings: list[bytes] = []  # in the order in which they are undone
        self._decoders: list[Decoder] = []  # of these, while they are open
        self._decoders_bytes: i64 = 0  # granted for them; 0 where they are open only until all is decoded
        self._coded = bytearray()  # not decoded yet
        self._step: i64 = 0  # bytes that are decoded at a time
        self._is_lost = False  # what was held was given up
        if codings is not None and is_coding_known:
            self._prepare(codings)

    def write(self, data: bytes) -> None:
        """Take the next bytes of the content as sent."""
        if not self._codings:
            self._put_out(data)
        elif self.fault is None and not self._is_lost:
            try:
                self._budget.take(self, len(data))
                self._coded += data
                while len(self._coded) >= self._step and self.fault is None:
                    self._decode_next(self._step)
            except OverBudget as refusal:
                self._lose(str(refusal))

    def take_decoded(self) -> bytes:
        """What was decoded since the last call, with mode store; it is not kept any longer."""
        if self._coded:
            try:
                self._decode_next(len(self._coded))
            except OverBudget as refusal:
                self._lose(str(refusal))
        decoded = bytes(self._kept)
        self._kept = bytearray()
        self._budget.give_back(self, len(decoded))
        return decoded

    def finish(self, is_complete: bool) -> None:
        """Say that the content has ended; ``is_complete`` is false where bytes of it are missing."""
        if (
            self._codings
            and not self._is_lost
            and self.fault is None
            and (is_complete or self._keeps or self._outlet is not None)
        ):
            self._decode_rest(is_complete)
        self.is_complete = is_complete and not self._is_cut and not self._is_lost and (self.fault is None or self._is_raw)
        self.is_decoded = self.fault is None and not self._is_raw and not self._is_lost
        if is_complete and self.is_decoded and self._hashes:
            self.sha256 = (hashlib.sha256() if self._hash is None else self._hash).hexdigest()
        self._close_decoders()
        if self._keeps:
            self.kept = bytes(self._kept)
            self._kept = bytearray()
        if self._outlet is not None:
            self._outlet.end(self.is_decoded, self.is_complete)
        self._budget.end(self)

    def hand_out(self) -> None:
        """The row of the content, which has ended, is handed out."""
        self._budget.hand_out(self)

    def discard(self) -> None:
        """Nobody wants the content any more, whether it has ended or not."""
        self._close_decoders()
        self._kept = bytearray()
        self._budget.give_back(self, self.held_memory)

    def give_up(self, required: str) -> None:
        """Give all memory back, for contents that were used later."""
        self.discard()
        self._keeps = False
        self._is_cut = True
        self._is_lost = len(self._codings) > 0
        self.limit = required

    # --- codings ---

    def _prepare(self, codings: bytes) -> None:
        names: list[bytes] = []
        for part in codings.split(b","):
            name = part.strip(b" \t").lower()
            if name and name != b"identity":
                names.append(name)
        if len(names) > limits.CONTENT_CODINGS:
            self.fault = f"{len(names)} content codings, at most {limits.CONTENT_CODINGS} are undone"
            self._is_raw = True
            return
        for name in names:
            if name not in SUPPORTED:
                self.fault = f"an unknown content coding of {len(name)} bytes"
                self._is_raw = True
                return
        names.reverse()
        self._codings = names
        for name in names:
            self._step += cost_of(name)
        if self._step > limits.CONTENT_CODED_BYTES:
            self._step = limits.CONTENT_CODED_BYTES

    def _open_decoders(self) -> None:
        for name in self._codings:
            self._decoders.append(decoder_of(name))

    def _close_decoders(self) -> None:
        """Let go of the decoders, and of what is not decoded."""
        self._decoders = []
        self._budget.give_back(self, self._decoders_bytes + len(self._coded))
        self._decoders_bytes = 0
        self._coded = bytearray()

    def _lose(self, required: str) -> None:
        """Memory was refused: what is not decoded yet never will be."""
        self.limit = required
        self._is_lost = True
        self._close_decoders()

    def _grant_decoders(self, size: i64) -> None:
        """Ask for memory of the decoders. Raises OverBudget."""
        self._budget.take(self, size)
        self._decoders_bytes += size

    def _decode_next(self, size: i64) -> None:
        """Decode the next bytes in decoders that stay open. Raises OverBudget."""
        if not self._decoders:
            for name in self._codings:
                self._grant_decoders(cost_of(name))
            self._open_decoders()
        data = bytes(self._coded[:size])
        del self._coded[:size]
        self._budget.give_back(self, len(data))
        self._decode_all(data)

    def _decode_rest(self, is_complete: bool) -> None:
        """Decode what is left; decoders that are opened for that are closed at once, so that nobody needs to grant them."""
        if not self._decoders:
            self._open_decoders()
        try:
            self._decode_all(bytes(self._coded))
        except OverBudget as refusal:
            self._lose(str(refusal))
            return
        if self.fault is None and is_complete:
            for decoder in self._decoders:
                if not decoder.is_finished():
                    self.fault = "the coded content ends too early"
                    return

    def _decode_all(self, data: bytes) -> None:
        self._coded_bytes += len(data)
        try:
            self._decode(data, 0)
        except CodingError as error:
            self.fault = str(error)
            self._close_decoders()

    def _decode(self, data: bytes, level: i64) -> None:
        """Undo the codings from ``level`` on."""
        decoder = self._decoders[level]
        is_last = level + 1 == len(self._decoders)
        decoder.put(data)
        while True:
            piece = decoder.take()
            # of every level: each costs time, and so does a member, even an empty one
            self._decoded_bytes += len(piece) + decoder.members * limits.CONTENT_MEMBER_BYTES
            decoder.members = 0
            if self._decoded_bytes > limits.CONTENT_DECODED_BYTES:
                raise CodingError(f"more than {limits.CONTENT_DECODED_BYTES} decoded bytes")
            if (
                self._decoded_bytes > limits.CONTENT_DECODED_RATIO_FROM
                and self._decoded_bytes > self._coded_bytes * limits.CONTENT_DECODED_RATIO
            ):
                raise CodingError(f"more than {limits.CONTENT_DECODED_RATIO} times as many decoded as coded bytes")
            if not piece:
                return
            if self._decoders_bytes > 0:
                self._grant_decoders(decoder.grow(len(piece)))
            if is_last:
                self._put_out(piece)
            else:
                self._decode(piece, level + 1)

    # --- what is decoded ---

    def _put_out(self, data: bytes) -> None:
        if self._outlet is not None:
            self._outlet.write(data)
        if self._hashes and not self._is_raw:
            digest = self._hash
            if digest is None:
                digest = hashlib.sha256()
                self._hash = digest
            digest.update(data)
        if self._keeps and not self._is_cut:
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        room = limits.CONTENT_KEPT_BYTES - len(self._kept)
        granted = self._budget.room()
        if len(data) > room or len(data) > granted:  # what follows is not kept, but hashed
            self._is_cut = True
            if granted < room:
                self.limit = self._budget.required()
                room = granted
            data = data[:room]
        try:
            self._budget.take(self, len(data))
        except OverBudget as refusal:
            self.limit = str(refusal)
            self._is_cut = True
            return
        self._kept += data
