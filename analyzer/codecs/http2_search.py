"""Where HTTP/2 frames begin when that is not known: in a capture that starts late, and after a hole.

A frame header has few fixed bits, so a chain of plausible headers is a guess: contents can look like frames, and can be
HTTP/2 themselves. :func:`judge` says how convincing a chain from the very first byte is, which is good enough to recognise
the protocol. :class:`FrameSearch` is for what must be certain: among all places where a frame can begin within one frame of the
hole's end is the true one, and its chain never breaks; once all unbroken chains have merged, they have merged with it.
What lies before that place stays unknown, even where frames are to be seen there: they may all be the content of a frame
that began in the hole.
"""

import heapq
from bisect import bisect_right
from typing import Final

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.hpack import HpackDecoder
from analyzer.codecs.http1_recognition import STATUS_LINE_BYTES, is_status_line_start
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


CHAINS_AN_ANSWER: Final = 1024  # looked at for each answer, so that many answers do not cost their number times that of chains
SEARCH_LIMIT: Final = f"frames of at most {limits.HTTP2_SEARCH_BYTES} bytes, to find one after a hole"

_FLAGS: Final = (0x09, 0x2D, 0x00, 0x00, 0x01, 0x0C, 0x01, 0x00, 0x00, 0x04)  # defined for each frame type


def judge(data: bytes, from_server: bool, enough: i64 = limits.PROBE_BYTES) -> i64:
    """The points of a chain of frames from the first byte on, BROKEN when there is none; stricter than the standard.

    What follows after ``enough`` points is not looked at.
    """
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
        if points >= enough:
            return points
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


def begins(data: bytes) -> bool:
    """Whether bytes of a server begin as its connection does: with SETTINGS, which it may send before the client speaks."""
    return len(data) >= HEADER_BYTES and data[3] == SETTINGS and data[4] == 0 and judge(data[:HEADER_BYTES], True) != BROKEN


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
        if begins(data):
            return START
        if not is_last_chance and is_status_line_start(data) and not _has_line(data):
            return WAIT  # to say what it is, however it comes
    points = judge(data[: limits.PROBE_BYTES], from_server, CONVINCING)  # so that it does not matter how the bytes come
    if points >= CONVINCING or (is_last_chance and points > 0):
        return SOME_FRAME
    if points == BROKEN or is_last_chance or size >= limits.PROBE_BYTES:
        return UNKNOWN_PLACE
    return WAIT


def _has_line(data: bytes) -> bool:
    """Whether the end of a status line was seen, or is sought no longer."""
    return len(data) >= STATUS_LINE_BYTES or b"\n" in data


class FrameSearch:
    """Finds, in the bytes after a hole, a place where a frame certainly begins.

    Chains begin wherever the first frame after the hole may. Once those that are unbroken have merged, the last place that
    all of them pass is certain. What the other side has answered can refute chains: see :mod:`analyzer.codecs.http2_answers`.
    """

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
        # of unbroken chains: the offset ahead where the next frame begins -> the last place that all those chains pass before it,
        # -1 if there is none
        self._ends: dict[int, int] = {}
        self._opened: dict[int, int] = {}  # the same offsets -> HEADERS frames since the hole, at most
        self._read: list[int] = []  # when each stream was answered that the hole may have opened, in rising order
        self._refuting: i64 = 0  # so many answers, beyond those to frames of a chain, refute it
        self._order: list[int] = []  # the offsets ahead as a heap, once no further chain can begin
        self._found: i64 = -1  # certain, if the chain goes on to hold
        self.next: i64 = -1  # where the first frame begins whose header was not looked at, once a place is found
        self.is_hopeless = False
        self.limit: str | None = None  # the limit that makes it hopeless
        self._hearing: i64 = 0  # how many answers it takes to look at the chains again
        if largest > limits.HTTP2_SEARCH_BYTES and from_server:  # towards the server answers may help
            self._give_up(SEARCH_LIMIT)

    def memory(self) -> i64:
        """How many bytes of memory the chains take."""
        return len(self._ends) * limits.SEARCH_CHAIN_BYTES

    def hear(self, read: list[int], refuting: i64) -> bool:
        """Learn how far the other side can have read, as offsets in rising order, when it answered streams.

        ``refuting`` of them, beyond those that a chain of frames opens, refute the chain. To be told before the first bytes;
        later, more of them may follow. Returns whether they tell anything.
        """
        if len(read) < refuting:
            return False
        farthest: i64 = read[refuting - 1] - 1
        if farthest < 0:
            return False  # not the hole and all chains: this was not said by valid peers
        self._read = read
        self._refuting = refuting
        if farthest < self._starts:
            self._starts = farthest
        if len(read) < self._hearing:
            return True
        self._hearing = len(read) + 1 + len(self._ends) // CHAINS_AN_ANSWER
        for end in list(self._ends):
            if self._is_refuted(end, self._opened[end]):
                del self._ends[end]
                del self._opened[end]
        if self._order:
            self._order = sorted(self._ends)
        return True

    def _is_refuted(self, end: i64, opened: i64) -> bool:
        return self._refuting > 0 and bisect_right(self._read, end) - opened >= self._refuting

    def search(self, data: bytes) -> i64:
        """Take the next bytes; returns the offset from the hole's end where a frame begins, -1 while that is not certain.

        That offset may lie ahead of the bytes ``taken``.
        """
        if self.is_hopeless:
            return -1
        begin = self.taken - len(self._rest)
        if self._rest:
            data = self._rest + data
        end = begin + len(data)
        self.taken = end
        position = self._position
        while True:
            if position > self._starts:
                if not self._ends:
                    self.is_hopeless = True
                    return -1
                position = self._order[0]
                if len(self._ends) == 1:
                    if self._found < 0:
                        before: i64 = self._ends[position]
                        self._found = position if before < 0 else before
                    if self._confirmations == 0:
                        self.next = position
                        return self._found
            if position + HEADER_BYTES > end:
                break
            if position > limits.HTTP2_SEARCH_BYTES + HEADER_BYTES and position <= self._starts:
                self._give_up(SEARCH_LIMIT)
                return -1
            if self._found >= 0:
                self._confirmations -= 1
            at = position - begin
            length: i64 = -1
            if is_possible(data, at, self._from_server, self._largest):
                length = payload_length(data, at)
            self._settle(position, length, data[at + 3] == HEADERS)
            if len(self._ends) > limits.HTTP2_SEARCH_CHAINS:
                self._give_up(f"at most {limits.HTTP2_SEARCH_CHAINS} places where a frame may follow a hole")
                return -1
            position += 1
        self._position = position
        self._rest = data[position - begin :] if position < end else b""
        return -1

    def _give_up(self, limit: str) -> None:
        self.is_hopeless = True
        self.limit = limit
        self._ends = {}
        self._order = []

    def _settle(self, position: i64, length: i64, is_headers: bool) -> None:
        """Note that no header is at ``position`` (length -1), or one of a frame with ``length`` bytes of payload."""
        ends = self._ends
        opened: i64 = 0
        common: i64 = -1
        if position in ends:
            opened = self._opened.pop(position)
            common = ends.pop(position)
        if position > self._starts:
            heapq.heappop(self._order)
        if position <= self._starts or common < 0:
            common = position  # where a chain may begin, or several have met
        if length >= 0:
            if is_headers:
                opened += 1
            end = position + HEADER_BYTES + length
            if end in ends:
                ends[end] = -1
                if opened > self._opened[end]:
                    self._opened[end] = opened
            elif not self._is_refuted(end, opened):
                ends[end] = common
                self._opened[end] = opened
                if position > self._starts:
                    heapq.heappush(self._order, end)
        if position == self._starts:  # no further chain can begin
            self._order = sorted(ends)
