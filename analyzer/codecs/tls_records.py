"""The record layer of TLS (RFC 8446 section 5.1): what its headers look like, and the state of one direction's framing."""

from typing import Final

from mypy_extensions import i64

CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
_HEARTBEAT: Final = 24

HEADER_BYTES: Final = 5
MOST_RECORD_BYTES: Final = (1 << 14) + 2048  # of a body: RFC 5246 section 6.2.3; TLS 1.3 allows less
_MAJOR: Final = 3
_MOST_MINOR: Final = 4
_HELLO_BYTES: Final = 11  # record header, message header, version
_ALERT_BYTES: Final = 7
_LEAST_PROTECTED: Final = 9  # bytes of a protected body: a type and the shortest tag


def is_header(data: bytes, at: i64) -> bool:
    """Whether the five bytes at a place can be a record's header."""
    kind: i64 = data[at]
    if kind < CHANGE_CIPHER_SPEC or kind > _HEARTBEAT or data[at + 1] != _MAJOR or data[at + 2] > _MOST_MINOR:
        return False
    length: i64 = (data[at + 3] << 8) | data[at + 4]
    if length > MOST_RECORD_BYTES:
        return False
    return length > 0 or kind == APPLICATION_DATA


def body_length(data: bytes, at: i64) -> i64:
    """The length of the body behind the header at a place."""
    return (data[at + 3] << 8) | data[at + 4]


def is_hello(data: bytes, message: i64) -> bool | None:
    """Whether bytes begin a record that begins with a ClientHello or ServerHello; None where that needs more of them."""
    fixed = b"\x16\x03"
    if data[:2] != fixed[: len(data)]:
        return False
    if len(data) < _HELLO_BYTES:
        return None
    record: i64 = body_length(data, 0)
    length: i64 = (data[6] << 16) | (data[7] << 8) | data[8]
    return is_header(data, 0) and data[5] == message and record >= 4 and length < 1 << 16 and data[9] == _MAJOR and data[10] <= 3


def is_alert(data: bytes) -> bool:
    """Whether bytes are a lone alert without protection."""
    return (
        len(data) == _ALERT_BYTES and is_header(data, 0) and data[0] == ALERT and data[3:5] == b"\x00\x02" and data[5] in (1, 2)
    )


def count_records(data: bytes) -> i64:
    """How many protected records bytes begin with, the last of which may be cut; -1 where there is something else."""
    at: i64 = 0
    count: i64 = 0
    while len(data) - at >= HEADER_BYTES:
        if not is_header(data, at) or data[at + 2] == 0 or not _is_protected(data, at):
            return -1
        count += 1
        at += HEADER_BYTES + body_length(data, at)
    if count == 0 and not data.startswith((b"\x17\x03"[: len(data)], b"\x15\x03"[: len(data)])):
        return -1
    return count


def _is_protected(data: bytes, at: i64) -> bool:
    """Whether the header at a place is of content, or of an alert that is longer than one without protection."""
    return body_length(data, at) >= (1 if data[at] == APPLICATION_DATA else _LEAST_PROTECTED) and data[at] in (
        ALERT,
        APPLICATION_DATA,
    )


def ends_with_record(data: bytes) -> bool:
    """Whether bytes that begin with a record's header end where a record ends."""
    at: i64 = 0
    while len(data) - at >= HEADER_BYTES:
        at += HEADER_BYTES + body_length(data, at)
    return at == len(data)


class RecordSearch:
    """Finds out where records begin after a hole: every place that can be a header is tried once its record is complete.

    What may decide is not framing, which ciphertext can imitate, but that a record can be authenticated. Places are offered in
    the order in which their records end, however the bytes come.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._ends: list[tuple[int, int, int, int]] = []  # end of each piece, with its time, release and packet
        self._size: i64 = 0
        self._scanned: i64 = 0
        self._wanted: i64 = HEADER_BYTES
        self._candidates: list[tuple[int, int]] = []  # end and start, sorted

    def add(self, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Take bytes."""
        self._pieces.append(data)
        self._size += len(data)
        self._ends.append((self._size, timestamp, released, packet))

    def next(self) -> i64:
        """The place of the next record to try, in :attr:`data`; -1 where that needs more bytes."""
        if self._size < self._wanted:
            return -1
        data = self.data()
        last = self._size - HEADER_BYTES
        while self._scanned <= last:
            at = self._scanned
            if is_header(data, at) and data[at] != CHANGE_CIPHER_SPEC and data[at + 2] == _MAJOR:
                length = body_length(data, at)
                if length >= _LEAST_PROTECTED:
                    self._candidates.append((at + HEADER_BYTES + length, at))
            self._scanned += 1
        if not self._candidates:
            self._wanted = self._size + 1
            return -1
        self._candidates.sort()
        end, start = self._candidates[0]
        if end > self._size:
            self._wanted = min(end, self._size + HEADER_BYTES + _LEAST_PROTECTED)
            return -1
        self._candidates.pop(0)
        return start

    def size(self) -> i64:
        """How many bytes are held."""
        return self._size

    def data(self) -> bytes:
        """All bytes held."""
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def pieces_from(self, start: i64) -> list[tuple[bytes, int, int, int]]:
        """What is held from a place on, in pieces with their times, releases and packets."""
        data = self.data()
        found: list[tuple[bytes, int, int, int]] = []
        for end, timestamp, released, packet in self._ends:
            if end > start:
                found.append((data[start:end], timestamp, released, packet))
                start = end
        return found
