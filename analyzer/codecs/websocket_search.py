"""Where WebSocket frames begin when that is not known: in a capture that starts late, and after a hole (RFC 6455 section 5).

:func:`count_frames` says how many frames in a row the very first bytes are, which is good enough to recognise the protocol.
:class:`FrameSearch` is for what must be certain. A frame header has few fixed bits, and contents can be WebSocket themselves, so
a chain of plausible headers is a guess. But wherever the hole ended, the next true frame begins at some place after it, and
since true frames are always plausible the chain from there never breaks. So a chain is begun at every place where that
frame may begin; once all unbroken chains have merged, they have merged with the true one, and the last place that all of
them pass is certain. What lies before it stays unknown, even where frames are to be seen there: they may all be the
content of a frame that began in the hole.

That is proved under these assumptions, without which nothing could be: a frame's length has no bound, and contents that
are whole frames themselves differ in nothing from frames of which the hole took none.

- The frame that the hole ended in goes on for at most ``limits.WEBSOCKET_SEARCH_BYTES``. Towards the server
  ``limits.WEBSOCKET_SEARCH_MASKED_BYTES`` are enough, because contents are sent under a key that nobody can foresee (RFC 6455
  section 10.3), so that not even contents that are WebSocket look like it; unless the key seen last was 0, which hides nothing.
- Where the frame goes on for longer, chains that begin in its contents break: one in about 50 random contents goes on as a
  chain for one more frame. So the last chain must have ``limits.WEBSOCKET_SEARCH_FRAMES`` frames with content in a row, towards
  the server each with another key than the one before, which repetitive contents cannot have.
- The sender keeps to RFC 6455, as a peer would else have failed the connection, and sends no frame longer than
  ``limits.WEBSOCKET_SEARCH_FRAME_BYTES``.
"""

import heapq
from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.websocket_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    CONTROL_PAYLOAD,
    FINAL_BIT,
    OPCODE_BITS,
    PING,
    PONG,
    RESERVED_BITS,
    RSV1,
    TEXT,
    FrameHeader,
)

# What may be open where a chain has come to, as bits: several may be possible.
NOTHING_OPEN: Final = 1  # a message may begin
MESSAGE_OPEN: Final = 2  # it must be continued
_ENDED: Final = 0  # a close frame was the last


def count_frames(data: bytes, is_masked: bool, enough: i64 = limits.PROBE_BYTES) -> i64:
    """Count the frames that ``data`` begins with, or return -1 where it cannot be a run of whole frames from its start.

    Of the frames an endpoint sends, masked or not. Strict, because nothing else tells WebSocket from other bytes when
    its handshake was not seen: reserved bits, lengths, the order of fragments and unmasked text are all checked, and data
    frames without content are not counted. What follows after ``enough`` frames is not looked at.
    """
    header = FrameHeader()
    frames: i64 = 0
    at: i64 = 0
    end: i64 = len(data)
    states: i64 = NOTHING_OPEN
    while at < end and frames < enough:
        states = follow(data[at], states, RSV1)
        size = header.read(data, at, end)
        if states < 0:
            return -1
        if size == 0:
            return -1 if end - at >= 2 and (data[at + 1] >= 0x80) != is_masked else frames
        if not is_plausible(header, is_masked):
            return -1
        length = header.payload_length
        if length > end - at - size:
            return frames
        if header.first == FINAL_BIT | TEXT and not is_masked and not _is_text(data[at + size : at + size + length]):
            return -1
        at += size + length
        if length > 0 or header.first & OPCODE_BITS >= CLOSE:
            frames += 1  # a data frame without content is what zeros look like
        if states == _ENDED:
            return frames if at == end else -1
    return frames


def follow(first: i64, states: i64, reserved_bits: i64) -> i64:
    """What may be open after a frame that begins with the octet ``first``; -1 where none may (RFC 6455 sections 5.2 and 5.4).

    ``states`` is what may be open before it. The first frame of a message may have ``reserved_bits``.
    """
    opcode = first & OPCODE_BITS
    reserved = first & RESERVED_BITS
    if opcode == CONTINUATION:
        if reserved or not states & MESSAGE_OPEN:
            return -1
    elif opcode == TEXT or opcode == BINARY:
        if reserved & ~reserved_bits or not states & NOTHING_OPEN:
            return -1
    elif opcode == CLOSE or opcode == PING or opcode == PONG:
        if reserved or not first & FINAL_BIT or states == _ENDED:
            return -1
        return _ENDED if opcode == CLOSE else states
    else:
        return -1
    return NOTHING_OPEN if first & FINAL_BIT else MESSAGE_OPEN


def is_plausible(header: FrameHeader, is_masked: bool) -> bool:
    """Whether an endpoint may send a frame with the masking and length that ``header`` has (RFC 6455 sections 5.1, 5.2, 5.5)."""
    length = header.payload_length
    if header.is_masked != is_masked or not header.is_minimal or length < 0:
        return False
    opcode = header.first & OPCODE_BITS
    return opcode < CLOSE or (length <= CONTROL_PAYLOAD and (opcode != CLOSE or length != 1))


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Chain:
    """Unbroken frames, or several such chains, that have come to the same place."""

    def __init__(self, states: i64, frames: i64, key: i64) -> None:
        self.states = states  # what may be open there
        self.frames = frames  # that count, in the longest chain
        self.key = key  # masking key of the last of them


class FrameSearch:
    """Finds, in the bytes after a hole, a place where a frame certainly begins."""

    def __init__(self, is_masked: bool, window: i64, reserved_bits: i64) -> None:
        """Search for one where the frame that the hole ended in goes on for at most ``window`` bytes.

        ``is_masked`` says which way; messages may begin with any of ``reserved_bits``.
        """
        self._is_masked = is_masked
        self._window = window
        self._reserved_bits = reserved_bits
        self._may_begin = bytes([follow(first, NOTHING_OPEN | MESSAGE_OPEN, reserved_bits) >= _ENDED for first in range(256)])
        self._header = FrameHeader()
        self._starts = window  # the first frame begins at or before this offset from the hole's end
        self._position: i64 = 0  # next offset to look at
        self.taken: i64 = 0  # bytes so far
        self._rest = b""  # those from _position on, too few to be a header
        self._ends: dict[int, _Chain] = {}  # unbroken chains by the offset ahead where their next frames begin
        self._order: list[int] = []  # these offsets as a heap, once no further chain can begin
        self._alone: i64 = -1  # where all unbroken chains had merged, -1 while they have not
        self._followed: i64 = 0  # headers
        self.is_hopeless = False  # a limit is reached

    def memory(self) -> i64:
        """How many bytes of memory the chains take."""
        return len(self._ends) * limits.SEARCH_CHAIN_BYTES

    def search(self, data: bytes) -> i64:
        """Take the next bytes; returns the offset from the hole's end where a frame begins, -1 while that is not certain.

        That offset may lie ahead of the bytes ``taken``; it is never before those that ``unsettled`` counted.
        """
        begin = self.taken - len(self._rest)
        if self._rest:
            data = self._rest + data
        end = begin + len(data)
        self.taken = end
        position = self._position
        found: i64 = -1
        while not self.is_hopeless:
            if position > self._starts:
                if not self._ends:
                    self._starts = position + self._window  # the frame goes on for longer: as if the hole ended here
                else:
                    position = self._order[0]
                    if self._alone >= 0 and self._ends[position].frames >= limits.WEBSOCKET_SEARCH_FRAMES:
                        found = self._alone
                        break
            if position >= end:
                break
            at = position - begin
            size: i64 = 0
            if self._may_begin[data[at]]:
                size = self._header.read(data, at, end - begin)
                if size == 0:
                    break
            self._settle(position, size)
            position += 1
        self._position = position
        self._rest = data[position - begin :] if position < end else b""
        return found

    def unsettled(self) -> i64:
        """How many of the bytes taken may still be where a frame is found to begin."""
        rest: i64 = len(self._rest)
        return rest if self._alone < 0 or self.taken - self._alone < rest else self.taken - self._alone

    def _settle(self, position: i64, size: i64) -> None:
        """Note that no header is at ``position`` (size 0), or the one just read, which has ``size`` bytes."""
        chain: _Chain | None = None
        if self._ends:
            chain = self._ends.pop(position, None)
        may_start = position <= self._starts
        if not may_start:
            heapq.heappop(self._order)
        if size > 0:
            self._go_on(position, size, chain, may_start)
        if position == self._starts:  # no further chain can begin
            self._order = sorted(self._ends)
        if position >= self._starts:
            self._note_merging()

    def _note_merging(self) -> None:
        """See whether all unbroken chains have come to one place, and since when."""
        if len(self._ends) != 1:
            self._alone = -1
        elif self._alone < 0 or self._order[0] - self._alone > limits.WEBSOCKET_SEARCH_HELD_BYTES:
            self._alone = self._order[0]

    def _go_on(self, position: i64, size: i64, chain: _Chain | None, may_start: bool) -> None:
        """Follow the header just read, at ``position``, as part of ``chain`` or as the start of a new one."""
        self._followed += 1
        if self._followed > limits.WEBSOCKET_SEARCH_HEADERS:
            self.is_hopeless = True
        header = self._header
        length = header.payload_length
        if not is_plausible(header, self._is_masked) or length > limits.WEBSOCKET_SEARCH_FRAME_BYTES:
            return
        states: i64 = -1
        frames: i64 = 0
        key: i64 = -1
        if chain is not None:
            states = follow(header.first, chain.states, self._reserved_bits)
            if states >= 0:
                frames = chain.frames
                key = chain.key
        if may_start:
            states = follow(header.first, NOTHING_OPEN | MESSAGE_OPEN, self._reserved_bits)
        if states < 0:
            return
        if length > 0 and (not self._is_masked or header.key != key):
            frames += 1
            key = header.key if self._is_masked else 0
        end: int = position + size + length
        other = self._ends.get(end)
        if other is None:
            if len(self._ends) >= limits.WEBSOCKET_SEARCH_CHAINS:
                self.is_hopeless = True
                return
            self._ends[end] = _Chain(states, frames, key)
            if not may_start:
                heapq.heappush(self._order, end)
            return
        other.states |= states
        if frames > other.frames:
            other.frames = frames
            other.key = key
