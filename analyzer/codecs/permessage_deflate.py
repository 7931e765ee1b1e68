"""permessage-deflate: what was negotiated, and one direction's decompression (RFC 7692 section 7)."""

import zlib
from typing import Final

from mypy_extensions import i64

from analyzer import limits

EXTENSION: Final = "permessage-deflate"
TAIL: Final = b"\x00\x00\xff\xff"  # what a sender leaves out at the end of a message (RFC 7692 section 7.2.2)
WINDOW_BITS: Final = ("8", "9", "10", "11", "12", "13", "14", "15")
WINDOW: Final = 1 << 15  # the largest, whatever was agreed


class Agreement:
    """The extensions that the server's handshake accepted."""

    def __init__(self, extensions: str | None) -> None:
        """Parse a ``Sec-WebSocket-Extensions`` value of a response; None where the handshake is not known."""
        self.is_known = extensions is not None
        self.has_deflate = False
        self.has_others = False  # extensions that give reserved bits and payloads a meaning we do not know
        self.server_takeover = True  # a message towards the client may refer to earlier ones
        self.client_takeover = True
        self.fault: str | None = None  # the parameter that cannot be; it is then as if it were not there
        for extension in (extensions or "").split(","):
            name, *parameters = (part.strip() for part in extension.split(";"))
            if name.lower() == EXTENSION and not self.has_deflate:
                self.has_deflate = True
                for parameter in parameters:
                    self._parameter(parameter)
            elif name:
                self.has_others = True

    def _parameter(self, parameter: str) -> None:
        """Take a parameter of the response (RFC 7692 section 7.1)."""
        name, _, value = (part.strip() for part in parameter.partition("="))
        value = value.strip('"')
        if name == "server_no_context_takeover" and not value:
            self.server_takeover = False
        elif name == "client_no_context_takeover" and not value:
            self.client_takeover = False
        elif name not in ("server_max_window_bits", "client_max_window_bits") or value not in WINDOW_BITS:
            self.fault = parameter


class Inflater:
    """Decompresses the messages of one direction, in order.

    For each: ``begin``, then ``write`` for each piece, followed by ``read`` until it returns nothing, then ``end``. When
    ``fault`` is then set the message is not known; the next may still be.

    After a message that is not known, messages may refer to bytes that we lack. zlib refuses each such reference, so
    that what does inflate from a new window is right, and ``is_certain`` only says whether a failure is the sender's.

    The window is always the largest. zlib refuses references beyond a smaller one only where it has not the bytes at hand,
    so that what is refused would depend on how a message is cut; and it compresses with 9 bits where 8 were agreed.
    """

    def __init__(self, takeover: bool) -> None:
        self.is_certain = True
        self.fault: str | None = None
        self.is_limit = False  # the fault is a limit of ours
        self._takeover = takeover
        self._decompressor: zlib._Decompress | None = None
        self._input = b""
        self._is_last = False  # the input ends the message
        self._is_pending = False  # the decompressor may have more output
        self._recent: list[bytes] = []  # output of at least a window's size, for what follows a final block
        self._recent_bytes: i64 = 0
        self._final_blocks: i64 = 0
        self._failures: i64 = 0
        self._allowed: i64 = 0  # output that this message may still have
        self._message_bytes: i64 = 0  # compressed bytes of this message
        self._inflated_bytes: i64 = 0  # its output
        self._credit: i64 = limits.INFLATED_MESSAGE_BYTES

    def begin(self) -> None:
        """Begin a message."""
        self.fault = None
        self.is_limit = False
        self._message_bytes = 0
        self._inflated_bytes = 0
        self._final_blocks = 0
        self._input = b""
        self._is_last = False
        self._is_pending = False
        self._allowed = self._credit if self._credit < limits.INFLATED_MESSAGE_BYTES else limits.INFLATED_MESSAGE_BYTES
        if self._failures >= limits.INFLATE_FAILURES:
            self.fault = f"no message tried after {limits.INFLATE_FAILURES} failures"
            self.is_limit = True
        elif self._decompressor is None or not self._takeover:
            self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
            self._recent = []
            self._recent_bytes = 0

    def write(self, data: bytes, is_last: bool) -> None:
        """Take the next bytes of the message, once the earlier ones have been read out; ``is_last`` ends it."""
        self._message_bytes += len(data)
        self._is_last = is_last
        self._input = data + TAIL if is_last and self._message_bytes > 0 else data
        self._is_pending = len(self._input) > 0

    def read(self) -> bytes:
        """The next output, of at most ``limits.INFLATE_STEP_BYTES``; nothing when all is out or ``fault`` is set."""
        while self._is_pending and self.fault is None:
            decompressor = self._decompressor
            if decompressor is None:
                break
            if decompressor.eof:
                if self._is_last and self._input == TAIL:
                    self._is_pending = False  # a final block without the empty one that should follow it
                    break
                decompressor = self._after_final_block()
                if decompressor is None:
                    break
            try:
                output = decompressor.decompress(self._input, limits.INFLATE_STEP_BYTES)
            except zlib.error as error:
                self._fail(str(error).split(": ")[-1])
                break
            if decompressor.eof:
                self._input = decompressor.unused_data
                self._is_pending = len(self._input) > 0
            else:
                self._input = decompressor.unconsumed_tail
                self._is_pending = len(output) == limits.INFLATE_STEP_BYTES or len(self._input) > 0
            self._inflated_bytes += len(output)
            if self._inflated_bytes > self._allowed:
                self._fail(f"more than {self._allowed} bytes", True)
                break
            if output:
                self._remember(output)
                return output
        return b""

    def end(self) -> None:
        """Say that the message has been read out."""
        if self.fault is None:
            self._credit += limits.INFLATE_RATIO * self._message_bytes - self._inflated_bytes
            most: i64 = limits.INFLATED_MESSAGE_BYTES
            if self._credit > most:
                self._credit = most

    def lose(self) -> None:
        """Say that bytes are missing: this message cannot be known, and later ones only where they stand alone."""
        self.fault = "missing bytes"
        self._forget()

    def _after_final_block(self) -> "zlib._Decompress | None":
        """Go on after a final block, with the window as it was (RFC 7692 section 7.2.3.5)."""
        self._final_blocks += 1
        if self._final_blocks > limits.FINAL_BLOCKS:
            self._fail(f"more than {limits.FINAL_BLOCKS} final blocks", True)
            return None
        self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS, zdict=b"".join(self._recent)[-WINDOW:])
        return self._decompressor

    def _remember(self, output: bytes) -> None:
        """Keep the last window's worth of output."""
        if len(output) >= WINDOW:
            self._recent = [output]
            self._recent_bytes = len(output)
            return
        self._recent.append(output)
        self._recent_bytes += len(output)
        if self._recent_bytes > 2 * WINDOW or len(self._recent) > 512:
            self._recent = [b"".join(self._recent)[-WINDOW:]]
            self._recent_bytes = len(self._recent[0])

    def _fail(self, fault: str, is_limit: bool = False) -> None:
        self.fault = fault
        self.is_limit = is_limit
        self._failures += 1
        self._forget()

    def _forget(self) -> None:
        self._decompressor = None
        self._input = b""
        self._is_pending = False
        if self._takeover:
            self.is_certain = False
