"""permessage-deflate: what was negotiated, and one direction's decompression (RFC 7692 section 7)."""

import zlib
from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.content_budget import AllContents, ContentBudget, ContentHolder, OverBudget

EXTENSION: Final = "permessage-deflate"
TAIL: Final = b"\x00\x00\xff\xff"  # what a sender leaves out at the end of a message (RFC 7692 section 7.2.2)
WINDOW_BITS: Final = ("8", "9", "10", "11", "12", "13", "14", "15")
WINDOW: Final = 1 << 15  # the largest, whatever was agreed
_WINDOW: Final = bytes(WINDOW)  # two that differ in every byte, in place of one that is not known
_SHOWN: Final = 80  # characters of a parameter in the text of a fault
_OTHER_WINDOW: Final = b"\xff" * WINDOW


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
            self.fault = parameter if len(parameter) <= _SHOWN else f"a parameter of {len(parameter)} characters"


class _Inflation:
    """A decompressor that outlives final blocks, with its window as it was (RFC 7692 section 7.2.3.5)."""

    def __init__(self, window: bytes) -> None:
        self._recent = [window] if window else []  # output of at least a window's size, for what follows a final block
        self._recent_bytes: i64 = len(window)
        self.decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
        if window:
            self.restart()

    def restart(self) -> None:
        """Begin a new deflate stream after the window."""
        self.decompressor = zlib.decompressobj(-zlib.MAX_WBITS, zdict=b"".join(self._recent)[-WINDOW:])

    def decompress(self, data: bytes) -> bytes:
        """The next output, of at most ``limits.INFLATE_STEP_BYTES``. Raises zlib.error."""
        output = self.decompressor.decompress(data, limits.INFLATE_STEP_BYTES)
        if len(output) >= WINDOW:
            self._recent = [output[-WINDOW:]]
            self._recent_bytes = WINDOW
        elif output:
            self._recent.append(output)
            self._recent_bytes += len(output)
            if self._recent_bytes > WINDOW + WINDOW // 2 or len(self._recent) > 512:
                self._recent = [b"".join(self._recent)[-WINDOW:]]
                self._recent_bytes = len(self._recent[0])
        return output


class Inflater(ContentHolder):
    """Decompresses the messages of one direction, in order.

    For each: ``begin``, then ``write`` for each piece, followed by ``read`` until it returns nothing, then ``end``. When
    ``fault`` is then set the message is not known; the next may still be.

    After a message that is not known, messages may refer to bytes that we lack: the window is not what the peers have.
    Deflate carries nothing else from message to message, and what a block's symbols are, and so where output goes and how
    much there is, does not depend on the window: each output byte is a literal, or the copy of an earlier output byte, or
    of one certain byte of the window. So two decompressors go on from two windows that differ in every byte. Where their
    outputs agree, the byte came from a literal in both, and is the one the sender meant (``known``); where they differ it came
    from the window, and only its place is known. When the last window's worth of output agrees, nothing that is not known
    can be referred to any more, and one decompressor goes on alone. ``is_certain`` says whether it does, and with it whether a
    failure is the sender's.

    The window is always the largest. zlib refuses references beyond a smaller one only where it has not the bytes at hand,
    so that what is refused would depend on how a message is cut; and it compresses with 9 bits where 8 were agreed.

    Decompressors that stay open take memory of a budget. Where it wants that back or refuses it, the window is lost as with
    missing bytes, and so is the message that is open; ``limit`` says so.
    """

    def __init__(self, takeover: bool, budget: ContentBudget | None = None) -> None:
        """``budget`` is that of the connection; without one there is one of its own."""
        super().__init__()
        self.is_certain = True
        self.is_known = True  # all output of this message so far is
        self.known: i64 = 0  # bytes that the output last read begins with and that are known like all before them
        self.fault: str | None = None
        self.is_limit = False  # the fault is a limit of ours
        self.limit: str | None = None  # that on memory for which a window was lost; whoever tells it makes it None
        self._budget = ContentBudget(AllContents()) if budget is None else budget
        self._is_open = False  # between begin and end
        self._takeover = takeover
        self._inflation: _Inflation | None = None
        self._other: _Inflation | None = None  # the one from another window, while not all of it is known
        self._agreed: i64 = 0  # output in which both agreed, up to now and without a break
        self._input = b""
        self._is_last = False  # the input ends the message
        self._is_pending = False  # the decompressor may have more output
        self._final_blocks: i64 = 0
        self._failures: i64 = 0
        self._allowed: i64 = 0  # output that this message may still have
        self._message_bytes: i64 = 0  # compressed bytes of this message
        self._inflated_bytes: i64 = 0  # its output
        self._credit: i64 = limits.INFLATED_MESSAGE_BYTES

    def begin(self, stays_open: bool = True) -> None:
        """Begin a message. Without ``stays_open`` it also ends before anything else happens."""
        self._is_open = True
        self.fault = None
        self.is_limit = False
        self.is_known = True
        self.known = 0
        self._message_bytes = 0
        self._inflated_bytes = 0
        self._final_blocks = 0
        self._input = b""
        self._is_last = False
        self._is_pending = False
        self._allowed = self._credit if self._credit < limits.INFLATED_MESSAGE_BYTES else limits.INFLATED_MESSAGE_BYTES
        if self.has_given_up():
            self.fault = f"no message tried after {limits.INFLATE_FAILURES} failures"
            self.is_limit = True
        elif not self.is_certain and self._inflation is None:
            if self._is_granted(2 * limits.INFLATER_BYTES, stays_open):
                self._inflation = _Inflation(_WINDOW)
                self._other = _Inflation(_OTHER_WINDOW)
                self._agreed = 0
        elif (self._inflation is None or not self._takeover) and self._is_granted(limits.INFLATER_BYTES, stays_open):
            self._inflation = _Inflation(b"")

    def has_given_up(self) -> bool:
        """Whether no further message is tried."""
        return self._failures >= limits.INFLATE_FAILURES

    def write(self, data: bytes, is_last: bool) -> None:
        """Take the next bytes of the message, once the earlier ones have been read out; ``is_last`` ends it."""
        self._budget.was_used = True
        self._message_bytes += len(data)
        self._is_last = is_last
        self._input = data + TAIL if is_last and self._message_bytes > 0 else data
        self._is_pending = len(self._input) > 0

    def read(self) -> bytes:
        """The next output, of at most ``limits.INFLATE_STEP_BYTES``; nothing when all is out or ``fault`` is set.

        Bytes after the first ``known`` ones are not the sender's.
        """
        while self._is_pending and self.fault is None:
            inflation = self._inflation
            if inflation is None:
                break
            if inflation.decompressor.eof and not self._pass_final_block(inflation):
                break
            other = self._other
            data = self._input
            try:
                output = inflation.decompress(data)
                if other is None:
                    self.known = len(output)
                else:
                    self._compare(output, other.decompress(data))
            except zlib.error as error:
                self._fail(str(error).split(": ")[-1])
                break
            decompressor = inflation.decompressor
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
                return output
        return b""

    def has_all(self, output: bytes) -> bool:
        """Whether ``output``, read first, is all that there is of the message, and known."""
        return not self._is_pending and self.fault is None and self.known == len(output)

    def end(self) -> None:
        """Say that the message has been read out."""
        self._is_open = False
        if not self._takeover:
            self._forget()
        if self.fault is None:
            self._credit += limits.INFLATE_RATIO * self._message_bytes - self._inflated_bytes
            most: i64 = limits.INFLATED_MESSAGE_BYTES
            if self._credit > most:
                self._credit = most

    def lose(self) -> None:
        """Say that bytes are missing: this message cannot be known, and of later ones what does not refer to it."""
        self.fault = "missing bytes"
        self._is_open = False
        self._forget()

    def close(self) -> None:
        """Say that no message follows."""
        self._forget()

    def give_up(self, required: str) -> None:
        """Give all memory back, for contents that were used later."""
        self.limit = required
        if self._is_open:
            self.fault = required
            self.is_limit = True
        self._forget()

    def _is_granted(self, size: i64, stays_open: bool) -> bool:
        """Have memory granted for decompressors, unless they close at once; without it the message is not known."""
        if not stays_open and not self._takeover:
            return True
        try:
            self._budget.take(self, size - self.held_memory)
        except OverBudget as refusal:
            self.give_up(str(refusal))
            return False
        return True

    def _pass_final_block(self, inflation: _Inflation) -> bool:
        """Go on after a final block, unless the message ends with it: then the empty block that should follow is not there."""
        if self._is_last and self._input == TAIL:
            self._is_pending = False
            return False
        self._final_blocks += 1
        if self._final_blocks > limits.FINAL_BLOCKS:
            self._fail(f"more than {limits.FINAL_BLOCKS} final blocks", True)
            return False
        inflation.restart()
        if self._other is not None:
            self._other.restart()
        return True

    def _compare(self, output: bytes, other: bytes) -> None:
        """Tell known output from output that came out of the window."""
        self.known = 0
        if output == other:
            if self.is_known:
                self.known = len(output)
            self._agreed += len(output)
        else:
            if self.is_known:
                self.known = _common_start(output, other)
            self.is_known = False
            self._agreed = _common_end(output, other)
        if self._agreed >= WINDOW:
            self._other = None
            self.is_certain = True
            self._budget.give_back(self, limits.INFLATER_BYTES)

    def _fail(self, fault: str, is_limit: bool = False) -> None:
        self.fault = fault
        self.is_limit = is_limit
        self._failures += 1
        self._forget()

    def _forget(self) -> None:
        self._inflation = None
        self._other = None
        self._input = b""
        self._is_pending = False
        if self.held_memory > 0:
            self._budget.give_back(self, self.held_memory)
        if self._takeover:
            self.is_certain = False


def _common_start(one: bytes, other: bytes) -> i64:
    """How many bytes both begin with."""
    low: i64 = 0
    high: i64 = len(one)
    while low < high:
        middle = (low + high + 1) >> 1
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_end(one: bytes, other: bytes) -> i64:
    """How many bytes both end with; they are as long as each other."""
    size: i64 = len(one)
    low: i64 = 0
    high = size
    while low < high:
        middle = (low + high + 1) >> 1
        if one[size - middle : size - low] == other[size - middle : size - low]:
            low = middle
        else:
            high = middle - 1
    return low
