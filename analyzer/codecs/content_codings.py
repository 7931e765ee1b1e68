"""The content codings of HTTP (RFC 9110 section 8.4.1), each undone piece by piece, within a window of its own."""

import sys
import zlib
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from analyzer import limits

if TYPE_CHECKING:
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdDecompressor
    else:
        from backports.zstd import ZstdDecompressor

SUPPORTED: Final = (b"gzip", b"x-gzip", b"deflate", b"br", b"zstd")
_DEFLATE_METHOD: Final = 8  # RFC 1950 section 2.2: the low half of the first byte


class CodingError(Exception):
    """Why a content cannot be decoded further; its text is the fault."""


class Decoder:
    """Undoes one coding: ``put`` takes coded bytes, then ``take`` returns decoded pieces until one is empty."""

    def __init__(self, window: i64) -> None:
        self._window = window  # bytes that its window can still grow by
        self._input = b""
        self._has_begun = False  # the present member has got bytes
        self.members: i64 = 0  # begun behind the first, of which the owner has not taken note

    def put(self, data: bytes) -> None:
        """Take coded bytes."""
        self._input = self._input + data if self._input else data

    def take(self) -> bytes:
        """Return at most about CONTENT_PIECE_BYTES decoded bytes, empty when more input is needed. Raises CodingError."""
        raise NotImplementedError

    def is_finished(self) -> bool:
        """Tell whether the coding may end here."""
        raise NotImplementedError

    def grow(self, decoded: i64) -> i64:
        """Say that so many bytes were decoded; returns by how many bytes of memory the window grew."""
        grown = decoded if decoded < self._window else self._window
        self._window -= grown
        return grown


class _ZlibDecoder(Decoder):
    """gzip of one or several members (RFC 1952), or deflate: zlib format (RFC 1950), or bare as some servers send it."""

    def __init__(self, is_gzip: bool) -> None:
        super().__init__(0)
        self._name = "gzip" if is_gzip else "deflate"
        self._is_gzip = is_gzip
        self._inflater = zlib.decompressobj(31) if is_gzip else None
        self._is_at_end = False  # of a member

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
            raise CodingError(f"{self._name}: {error}") from error
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
            raise CodingError(f"deflate: {len(self._input)} bytes or more after the end")
        self.members += 1
        self._inflater = zlib.decompressobj(31)
        self._is_at_end = False
        self._has_begun = False
        return True


class _BrotliDecoder(Decoder):
    """br (RFC 7932), in windows of at most 16 MB: larger ones are no part of it, and the library refuses them."""

    def __init__(self) -> None:
        import brotli  # by the first content that needs it, as with zstd: few captures do

        super().__init__(limits.CONTENT_BROTLI_WINDOW_BYTES)
        self._decompressor = brotli.Decompressor()
        self._error: type[Exception] = brotli.error

    def take(self) -> bytes:
        data, self._input = self._input, b""
        if data:
            self._has_begun = True
        elif not self._has_begun:
            return b""
        try:  # it may hold output though it says that it takes more input: only an empty piece shows that there is none
            piece: bytes = self._decompressor.process(data, output_buffer_limit=limits.CONTENT_PIECE_BYTES)
        except self._error as error:
            raise CodingError(f"br: {error}") from error
        return piece

    def is_finished(self) -> bool:
        return not self._has_begun or bool(self._decompressor.is_finished())


class _ZstdDecoder(Decoder):
    """zstd, of one or several frames (RFC 8878), in windows of at most 8 MB (RFC 9659)."""

    def __init__(self) -> None:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        super().__init__(1 << limits.CONTENT_ZSTD_WINDOW_LOG)
        self._options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: limits.CONTENT_ZSTD_WINDOW_LOG}
        self._kind = zstd.ZstdDecompressor
        self._error: type[Exception] = zstd.ZstdError
        self._decompressor = self._new()

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
            except self._error as error:
                raise CodingError(f"zstd: {error}") from error
            if piece:
                return piece

    def is_finished(self) -> bool:
        return self._decompressor.eof or not self._has_begun

    def _new(self) -> "ZstdDecompressor":
        return self._kind(options=self._options)


def decoder_of(coding: bytes) -> Decoder:
    """What undoes one of the codings that are supported."""
    if coding == b"br":
        return _BrotliDecoder()
    if coding == b"zstd":
        return _ZstdDecoder()
    return _ZlibDecoder(coding != b"deflate")


def cost_of(coding: bytes) -> i64:
    """The bytes of memory that undoing a supported coding may take, but for what its window grows to."""
    if coding == b"br":
        return limits.CONTENT_BROTLI_BYTES
    if coding == b"zstd":
        return limits.CONTENT_ZSTD_BYTES
    return limits.CONTENT_ZLIB_BYTES
