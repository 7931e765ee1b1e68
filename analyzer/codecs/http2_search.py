"""Where HTTP/2 frames begin when that is not known: in a capture that starts late, and after a hole.

A frame header has few fixed bits, so a chain of plausible headers is a guess: contents can look like frames, and can be
HTTP/2 themselves. :func:`judge` says how convincing a chain from the very first byte is, which is good enough to recognise
the protocol. :class:`FrameSearch` is for what must be certain: among all places where a frame can begin within one frame of the
hole's end is the true one, and its chain never breaks; once all unbroken chains have merged, they have merged with it.
"""

import heapq
from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.hpack import HpackDecoder
from analyzer.codecs.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME_SIZE,
    END_HEADERS,
    FRAME_NAMES,
    HEADER_BYTES,
    HEADERS,
    PADDED,
    PREFACE,
    PRIORITY_FLAG,
    PUSH_PROMISE,
    SETTING_NAMES,
    SETTINGS,
    WINDOW_UPDATE,
    is_possible,
    parse_settings,
    payload_length,
)
from analyzer.errors import ProtocolError
from analyzer.records import FieldLine

BROKEN: Final = -1
CONVINCING: Final = 3  # points of a chain; a frame is one, a field block or settings that make sense are more
ASSUMED_CONFIRMATIONS: Final = 4  # frames; contents break one in about 2,000 of them
CONVINCING_ALONE: Final = 4  # the same where the other side speaks against it

START: Final = 0  # what a direction begins with: its preface
SOME_FRAME: Final = 1  # a later frame
UNKNOWN_PLACE: Final = 2
WAIT: Final = 3  # not decided

_FLAGS: Final = (0x09, 0x2D, 0x00, 0x00, 0x01, 0x0C, 0x01, 0x00, 0x00, 0x04)  # defined for each frame type


def judge(data: bytes, from_server: bool) -> i64:
    """The points of a chain of frames from the first byte on, BROKEN when there is none; stricter than the standard."""
    points: i64 = 0
    position: i64 = 0
    size: i64 = len(data)
    while size - position >= HEADER_BYTES:
        if not is_possible(data, position, from_server, DEFAULT_FRAME_SIZE):
            return BROKEN
        kind: i64 = data[position + 3]
        flags: i64 = data[position + 4]
        begin = position + HEADER_BYTES
        position = begin + payload_length(data, position)
        if kind > CONTINUATION:
            if kind not in FRAME_NAMES or flags:
                return BROKEN
        elif flags & ~_FLAGS[kind]:
            return BROKEN
        if position > size:
            return points
        gained = _points(kind, flags, data[begin:position], from_server, begin == HEADER_BYTES)
        if gained == BROKEN:
            return BROKEN
        points += gained
    if position < size and (data[position] != 0 or (position + 1 < size and data[position + 1] > DEFAULT_FRAME_SIZE >> 8)):
        return BROKEN
    return points


def _points(kind: i64, flags: i64, payload: bytes, from_server: bool, is_first: bool) -> i64:
    """How much a whole frame speaks for HTTP/2."""
    if kind == SETTINGS and flags & ACK == 0:
        if is_first and not from_server:
            return BROKEN  # that is how a server begins; a client says its preface first
        return _settings_points(payload)
    if kind == HEADERS and flags & END_HEADERS:
        return _block_points(flags, payload, from_server)
    if kind == WINDOW_UPDATE:
        return 1 if payload[0] < 0x80 and payload != b"\x00\x00\x00\x00" else BROKEN
    if kind in (PUSH_PROMISE, DATA, HEADERS, CONTINUATION):
        return 1 if payload else 0
    return 1


def _settings_points(payload: bytes) -> i64:
    try:
        for setting in parse_settings(payload):
            if setting.identifier not in SETTING_NAMES:
                return 0
    except ProtocolError:
        return BROKEN
    return CONVINCING if payload else 1


def _block_points(flags: i64, payload: bytes, from_server: bool) -> i64:
    """A field block makes sense when it can be decoded and its pseudo-header fields are those of this side."""
    begin: i64 = 0
    end: i64 = len(payload)
    if flags & PADDED:
        begin = 1
        end -= payload[0]
    if flags & PRIORITY_FLAG:
        begin += 5
    if begin > end:
        return BROKEN
    decoder = HpackDecoder()
    decoder.lose()
    lines: list[FieldLine] = []
    try:
        decoder.decode(payload[begin:end], lines)
    except ProtocolError:
        return BROKEN
    pseudo: i64 = 0
    for line in lines:
        name = line.name
        if name is not None and name.startswith(b":"):
            if (name == b":status") != from_server:
                return BROKEN
            pseudo += 1
    return 1 + (2 if pseudo > 2 else pseudo)


def first_bytes(data: bytes, from_server: bool, follows_gap: bool, is_last_chance: bool) -> i64:
    """What the first bytes are: START, SOME_FRAME, UNKNOWN_PLACE, or WAIT for more."""
    size: i64 = len(data)
    if not from_server:
        if data.startswith(PREFACE):
            return START
        if PREFACE.startswith(data) and not is_last_chance:
            return WAIT
    elif not follows_gap:
        if size < HEADER_BYTES and not is_last_chance:
            return WAIT
        if size >= HEADER_BYTES and data[3] == SETTINGS and data[4] == 0 and judge(data[:HEADER_BYTES], True) != BROKEN:
            return START
    points = judge(data, from_server)
    if points >= CONVINCING or (is_last_chance and points > 0):
        return SOME_FRAME
    if points == BROKEN or is_last_chance or size >= limits.PROBE_BYTES:
        return UNKNOWN_PLACE
    return WAIT


class FrameSearch:
    """Finds, in the bytes after a hole, a place where a frame certainly begins."""

    def __init__(self, from_server: bool, largest: i64, is_assumed: bool) -> None:
        """``largest`` is the largest frame size that the sender may use; ``is_assumed`` where that is not witnessed.

        Then the true chain might break, so the last one has to hold for some more frames.
        """
        self._confirmations: i64 = ASSUMED_CONFIRMATIONS if is_assumed else 0
        self._from_server = from_server
        self._largest = largest
        self._starts: i64 = largest + HEADER_BYTES  # a frame begins at or before this offset from the hole's end
        self._position: i64 = 0  # next offset to look at
        self.taken: i64 = 0  # bytes so far
        self._rest = b""  # those from _position on, too few to be a header
        self._ends: set[int] = set()  # of unbroken chains: offsets ahead where their next frames begin
        self._order: list[int] = []  # the same as a heap, once no further chain can begin
        self.is_hopeless = False
        self.limit: str | None = None  # the limit that makes it hopeless
        if largest > limits.HTTP2_SEARCH_BYTES:
            self._give_up(f"frames of at most {limits.HTTP2_SEARCH_BYTES} bytes, to find one after a hole")

    def search(self, data: bytes) -> i64:
        """Take the next bytes; returns the offset from the hole's end where a frame begins, -1 while that is not certain.

        That offset may lie ahead of the bytes ``taken``; it is never before those that ``unsettled`` counts.
        """
        if self.is_hopeless:
            return -1
        begin = self.taken - len(self._rest)
        if self._rest:
            data = self._rest + data
        end = begin + len(data)
        self.taken = end
        position = self._position
        found: i64 = -1
        while True:
            if position > self._starts:
                if not self._ends:
                    self.is_hopeless = True
                    break
                position = self._order[0]
                if len(self._ends) == 1 and self._confirmations == 0:
                    found = position
                    break
            if position + HEADER_BYTES > end:
                break
            if position > self._starts and len(self._ends) == 1:
                self._confirmations -= 1
            at = position - begin
            length: i64 = -1
            if is_possible(data, at, self._from_server, self._largest):
                length = payload_length(data, at)
            self._settle(position, length)
            if len(self._ends) > limits.HTTP2_SEARCH_CHAINS:
                self._give_up(f"at most {limits.HTTP2_SEARCH_CHAINS} places where a frame may follow a hole")
                return -1
            position += 1
        self._position = position
        self._rest = data[position - begin :] if position < end else b""
        return found

    def unsettled(self) -> i64:
        """How many of the bytes taken may still be where a frame is found to begin."""
        return len(self._rest)

    def _give_up(self, limit: str) -> None:
        self.is_hopeless = True
        self.limit = limit
        self._ends = set()
        self._order = []

    def _settle(self, position: i64, length: i64) -> None:
        """Note that no header is at ``position`` (length -1), or one of a frame with ``length`` bytes of payload."""
        ends = self._ends
        ends.discard(position)
        if position > self._starts:
            heapq.heappop(self._order)
        if length >= 0:
            end: int = position + HEADER_BYTES + length
            if end not in ends:
                ends.add(end)
                if position > self._starts:
                    heapq.heappush(self._order, end)
        if position == self._starts:  # no further chain can begin
            self._order = sorted(ends)
