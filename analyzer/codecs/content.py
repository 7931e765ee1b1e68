"""HTTP content: content codings undone within limits, hashed or kept as the options ask (RFC 9110 section 8.4).

Codings are undone while the bytes arrive, the last one applied first; nothing is held but what ``--content store``
keeps. A coding that is broken, cut short or too large stops the decoding, which ``fault`` says; then there is no hash.
"""

import hashlib
import sys
import zlib
from typing import Final

import brotli
from mypy_extensions import i64

from analyzer import limits

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_SUPPORTED: Final = (b"gzip", b"x-gzip", b"deflate", b"br", b"zstd")
_DEFLATE_METHOD: Final = 8  # RFC 1950 section 2.2: the low half of the first byte


class _CodingError(Exception):
    """Why a content cannot be decoded further; its text is the fault."""


class _Decoder:
    """Undoes one coding: ``put`` takes coded bytes, then ``take`` returns decoded pieces until one is empty."""

    def __init__(self) -> None:
        self.members: i64 = 0  # begun behind the first, of which the owner has not taken note

    def put(self, data: bytes) -> None:
        """Take coded bytes."""
        raise NotImplementedError

    def take(self) -> bytes:
        """Return at most about CONTENT_PIECE_BYTES decoded bytes, empty when more input is needed."""
        raise NotImplementedError

    def is_finished(self) -> bool:
        """Tell whether the coding may end here."""
        raise NotImplementedError


class _ZlibDecoder(_Decoder):
    """gzip of one or several members (RFC 1952), or deflate: zlib format (RFC 1950), or bare as some servers send it."""

    def __init__(self, is_gzip: bool) -> None:
        super().__init__()
        self._name = "gzip" if is_gzip else "deflate"
        self._is_gzip = is_gzip
        self._input = b""
        self._inflater = zlib.decompressobj(31) if is_gzip else None
        self._is_at_end = False  # of a member
        self._has_begun = False  # the present member has got bytes

    def put(self, data: bytes) -> None:
        self._input = self._input + data if self._input else data

    def take(self) -> bytes:
        while True:
            if self._is_at_end and not self._begin_next_member():
                return b""
            if self._inflater is None:
                if len(self._input) < 2:
                    return b""
                self._inflater = zlib.decompressobj(self._window_bits())
            if not self._input and not self._has_begun:
                return b""
            self._has_begun = True
            had_input = len(self._input) > 0
            piece = self._inflate(self._inflater)
            if piece or not had_input:
                return piece

    def is_finished(self) -> bool:
        return self._is_at_end or (not self._has_begun and not self._input)

    def _inflate(self, inflater: "zlib._Decompress") -> bytes:
        """Inflate a piece of the input; without input, of what the inflater holds because the piece before was full."""
        try:
            piece = inflater.decompress(self._input, limits.CONTENT_PIECE_BYTES)
        except zlib.error as error:
            raise _CodingError(f"{self._name}: {error}") from error
        self._is_at_end = inflater.eof
        self._input = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
        return piece

    def _window_bits(self) -> int:
        first, second = self._input[0], self._input[1]
        has_zlib_header = first & 15 == _DEFLATE_METHOD and (first << 8 | second) % 31 == 0
        return 15 if has_zlib_header else -15

    def _begin_next_member(self) -> bool:
        """Go on behind the end of a member: zeros may fill up, another member may follow (RFC 1952 section 2.2)."""
        self._input = self._input.lstrip(b"\0")
        if not self._input:
            return False
        if not self._is_gzip:
            raise _CodingError(f"deflate: {len(self._input)} bytes or more after the end")
        self.members += 1
        self._inflater = zlib.decompressobj(31)
        self._is_at_end = False
        self._has_begun = False
        return True


class _BrotliDecoder(_Decoder):
    """br (RFC 7932)."""

    def __init__(self) -> None:
        super().__init__()
        self._input = b""
        self._decompressor = brotli.Decompressor()
        self._has_begun = False

    def put(self, data: bytes) -> None:
        self._input = self._input + data if self._input else data

    def take(self) -> bytes:
        data = b""
        if self._decompressor.can_accept_more_data():
            if not self._input:
                return b""
            data, self._input = self._input, b""
            self._has_begun = True
        try:
            piece: bytes = self._decompressor.process(data, output_buffer_limit=limits.CONTENT_PIECE_BYTES)
        except brotli.error as error:
            raise _CodingError(f"br: {error}") from error
        return piece

    def is_finished(self) -> bool:
        return not self._has_begun or bool(self._decompressor.is_finished())


class _ZstdDecoder(_Decoder):
    """zstd, of one or several frames (RFC 8878), in windows of at most 8 MB (RFC 9659)."""

    def __init__(self) -> None:
        super().__init__()
        self._input = b""
        self._decompressor = self._new()
        self._has_begun = False

    def put(self, data: bytes) -> None:
        self._input = self._input + data if self._input else data

    def take(self) -> bytes:
        while True:
            if self._decompressor.eof:
                self._input = self._decompressor.unused_data + self._input
                if self._input:
                    self.members += 1
                self._decompressor = self._new()
                self._has_begun = False
            if not self._input and (self._decompressor.needs_input or not self._has_begun):
                return b""
            data, self._input = self._input, b""
            self._has_begun = True
            try:
                piece = self._decompressor.decompress(data, limits.CONTENT_PIECE_BYTES)
            except zstd.ZstdError as error:
                raise _CodingError(f"zstd: {error}") from error
            if piece:
                return piece

    def is_finished(self) -> bool:
        return self._decompressor.eof or not self._has_begun

    def _new(self) -> zstd.ZstdDecompressor:
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: limits.CONTENT_ZSTD_WINDOW_LOG})


def _decoder(coding: bytes) -> _Decoder:
    if coding == b"br":
        return _BrotliDecoder()
    if coding == b"zstd":
        return _ZstdDecoder()
    return _ZlibDecoder(coding != b"deflate")


class Content:
    """Takes the content of one message piece by piece, when ``--content`` asks for it."""

    def __init__(self, mode: str, codings: bytes | None, is_coding_known: bool = True) -> None:
        """``mode`` is hash or store; ``codings`` is the content-encoding field's value, None without one.

        Without ``is_coding_known`` some field is unknown, which may have been that one: the content is kept as sent.
        """
        self.sha256: str | None = None  # of the decoded content; None until finished, when incomplete or not decodable
        self.kept: bytes | None = None  # the decoded content in mode store, within the limit
        self.is_decoded = False
        self.is_complete = False
        self.fault: str | None = None  # why it could not be decoded, None when it could
        self._keeps = mode == "store"
        self._pieces: list[bytes] = []
        self._kept_bytes: i64 = 0
        self._is_cut = False  # more was decoded than may be kept
        self._hash = hashlib.sha256()
        self._coded_bytes: i64 = 0
        self._decoded_bytes: i64 = 0
        self._is_raw = not is_coding_known  # the codings are unknown: the bytes are kept as sent
        self._decoders: list[_Decoder] = []
        if codings is not None and is_coding_known:
            self._prepare(codings)

    def write(self, data: bytes) -> None:
        """Take the next bytes of the content as sent."""
        self._coded_bytes += len(data)
        if self._is_raw or not self._decoders:
            self._put_out(data)
        elif self.fault is None:
            try:
                self._decode(data, 0)
            except _CodingError as error:
                self.fault = str(error)

    def take_decoded(self) -> bytes:
        """What was decoded since the last call, with mode store; it is not kept any longer."""
        decoded = b"".join(self._pieces)
        self._pieces = []
        self._kept_bytes = 0
        return decoded

    def finish(self, is_complete: bool) -> None:
        """Say that the content has ended; ``is_complete`` is false where bytes of it are missing."""
        if self.fault is None and is_complete:
            for decoder in self._decoders:
                if not decoder.is_finished():
                    self.fault = "the coded content ends too early"
                    break
        self.is_complete = is_complete and not self._is_cut and (self.fault is None or self._is_raw)
        self.is_decoded = self.fault is None and not self._is_raw
        if is_complete and self.is_decoded:
            self.sha256 = self._hash.hexdigest()
        if self._keeps:
            self.kept = b"".join(self._pieces)
            self._pieces = []
        self._decoders = []

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
            if name not in _SUPPORTED:
                self.fault = f"an unknown content coding of {len(name)} bytes"
                self._is_raw = True
                return
        for name in reversed(names):
            self._decoders.append(_decoder(name))

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
                raise _CodingError(f"more than {limits.CONTENT_DECODED_BYTES} decoded bytes")
            if (
                self._decoded_bytes > limits.CONTENT_DECODED_RATIO_FROM
                and self._decoded_bytes > self._coded_bytes * limits.CONTENT_DECODED_RATIO
            ):
                raise _CodingError(f"more than {limits.CONTENT_DECODED_RATIO} times as many decoded as coded bytes")
            if not piece:
                return
            if is_last:
                self._put_out(piece)
            else:
                self._decode(piece, level + 1)

    def _put_out(self, data: bytes) -> None:
        if not self._is_raw:
            self._hash.update(data)
        if not self._keeps:
            return
        room = limits.CONTENT_KEPT_BYTES - self._kept_bytes
        if len(data) > room:
            self._is_cut = True
            data = data[:room]
        if data:
            self._pieces.append(data)
            self._kept_bytes += len(data)
