"""One direction of a WebSocket connection: where its frames begin (RFC 6455 sections 5.1 and 5.2).

A hole inside a frame whose length was seen leaves the framing certain; any other hole loses it, until :class:`FrameSearch`
finds a frame again. Whether a message is open then is not known until its next frame, or the first frame of another, shows it.
"""

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.permessage_deflate import Agreement
from analyzer.codecs.undecided import Chunk, Undecided
from analyzer.codecs.websocket_frames import (
    BINARY,
    CLOSE,
    CONTROL_PAYLOAD,
    FINAL_BIT,
    LONGEST_HEADER,
    OPCODE_BITS,
    PING,
    PONG,
    RESERVED_BITS,
    RSV1,
    TEXT,
    FrameHeader,
    check_length,
    header_size,
    unmask,
)
from analyzer.codecs.websocket_message_reader import (
    CLOSED,
    IN_HEADER,
    IN_PAYLOAD,
    LOST,
    PASSING,
    SEARCHING,
    UNALIGNED,
    MessageReader,
)
from analyzer.codecs.websocket_messages import NOT_TEXT, MessageReceiver, OpenMessage, Wanted
from analyzer.codecs.websocket_search import FrameSearch, count_frames
from analyzer.errors import ProtocolError


class Framer(MessageReader):
    """Follows the frames of one direction."""

    def __init__(
        self, direction: i64, from_client: bool, receiver: MessageReceiver, wanted: Wanted, agreement: Agreement
    ) -> None:
        super().__init__(direction, from_client, receiver, wanted, agreement)
        self._read = FrameHeader()
        self._is_begun = False  # bytes came, or were missing
        self._is_found = False  # frames were found, not followed from the direction's beginning
        self._undecided = Undecided()  # while unaligned or searching
        self._search: FrameSearch | None = None
        self._reserved_bits: i64 = RESERVED_BITS if agreement.has_others else RSV1 if self._may_deflate else 0

    def memory(self) -> i64:
        """How many bytes of memory takes what is not decided."""
        search = self._search
        return self._undecided.memory() + (0 if search is None else search.memory())

    # --- bytes

    def feed(self, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Take the next bytes. Raises ProtocolError where a frame cannot be."""
        self._is_begun = True
        if self.state == UNALIGNED:
            self._align(data, timestamp, released, packet)
        else:
            self._take(data, timestamp, released, packet)

    def skip(self, length: i64, timestamp: i64, released: i64, packet: i64) -> None:
        """Count bytes of a payload that nobody wanted."""
        current = self._current
        if self.state == PASSING:
            self._pass(length)
        elif self.state == IN_PAYLOAD and current is not None:
            current.touch(timestamp, released, packet, self._receiver.stall_index())
            self._count_payload(current, length)
            if self._remaining == 0:
                self._end_frame(current)

    def gap(self, length: i64, timestamp: i64, packet: i64) -> None:
        """Learn of missing bytes, -1 where their number is not known."""
        current = self._current
        if not self._is_begun and (length < 0 or self.state == UNALIGNED):  # the capture begins later than the direction
            self.is_midway = True
            self.state = UNALIGNED
            self._inflater.lose()
            return
        self._is_begun = True
        if self.state == SEARCHING:
            self._begin_search()
        elif self.state == PASSING and 0 <= length <= self._remaining:
            self._pass(length)
        elif self.state == IN_PAYLOAD and current is not None and 0 <= length <= self._remaining:
            self._miss_payload(current, length)
        elif self.state == IN_HEADER and current is not None and self._miss_key(current, length):
            return
        elif self.state != CLOSED and self.state != LOST:
            self._lose(timestamp, packet, "missing bytes" if length < 0 else f"{length} missing bytes")

    def close(self, is_orderly: bool, timestamp: i64, packet: i64) -> None:
        """Hand out what is left unfinished. ``is_orderly``: its sender ended the direction."""
        if self.state == UNALIGNED and self._undecided.size > 0:
            self._lose(timestamp, packet, f"the end of the stream after {self._undecided.size} bytes")
        elif self.state in (IN_HEADER, IN_PAYLOAD):
            message = self._message
            if message is not None and message.is_compressed and self._inflater.limit is not None:
                message.has_failed = True
                self._tell_limit(timestamp, packet)
            self._cut(is_orderly)
        self._give_up()

    # --- frames

    def _take(self, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Take the frames, or parts of them, in ``data``."""
        at: i64 = 0
        end: i64 = len(data)
        header = self._read
        while at < end:
            if self.state == IN_HEADER:
                if released == timestamp and not self._header:
                    size = header.read(data, at, end)
                    if size > 0 and header.payload_length <= end - at - size and self._is_ordinary():
                        stop = at + size + header.payload_length
                        self._take_whole(data, at + size, stop, stop - at, timestamp, packet)
                        at = stop
                        continue
                at = self._take_header(data, at, end, timestamp, released, packet)
            elif self.state == IN_PAYLOAD:
                at = self._take_payload(data, at, end, timestamp, released, packet)
            elif self.state == PASSING:
                passed = self._remaining if self._remaining < end - at else end - at
                self._pass(passed)
                at += passed
            elif self.state == SEARCHING:
                self._search_in(data[at:], timestamp, released, packet)
                return
            else:
                if self.state == CLOSED:
                    required = "nothing after the close frame"
                    self._object_to(timestamp, packet, required, "more bytes", "RFC 6455 section 5.5.1")
                    self.state = LOST
                self._receiver.decline(self.direction, -1)
                return
        current = self._current
        if self.state == IN_PAYLOAD and current is not None and current.payload is None:
            self._receiver.decline(self.direction, self._remaining)

    def _is_ordinary(self) -> bool:
        """Whether the header just read is of a message in one frame, or a ping or pong, without a fault or anything to keep."""
        header = self._read
        opcode = header.first & OPCODE_BITS
        reserved = header.first & RESERVED_BITS
        if not header.first & FINAL_BIT or not header.is_minimal or header.payload_length < 0:
            return False
        if header.is_masked != self.from_client or not self._wanted.is_plain:
            return False
        if TEXT <= opcode <= BINARY:
            if self._message is not None:
                return False
            return reserved == 0 or (reserved == RSV1 and self._may_deflate and not self._inflater.has_given_up())
        return PING <= opcode <= PONG and header.payload_length <= CONTROL_PAYLOAD and reserved == 0

    def _take_whole(self, data: bytes, start: i64, end: i64, wire_bytes: i64, timestamp: i64, packet: i64) -> None:
        """Take an ordinary frame whose payload is ``data[start:end]``: most of all traffic, and nothing of it has to be kept."""
        header = self._read
        opcode = header.first & OPCODE_BITS
        if opcode < CLOSE:
            self.is_midway = False
        text: str | None = None
        size = end - start
        is_compressed = header.first & RSV1 != 0
        if opcode == TEXT or is_compressed:
            payload = unmask(data, start, end, header.key, 0) if header.is_masked else data[start:end]
            if is_compressed:
                is_certain = self._inflater.is_certain
                self._inflater.begin(False)
                if not is_certain and self._inflater.fault is None:
                    self._tell_limit(timestamp, packet)
                self._inflater.write(payload, True)
                payload = self._inflater.read()
                if not self._inflater.has_all(payload):
                    self._take_deflated(payload, size, wire_bytes, is_certain, timestamp, packet)
                    return
                self._inflater.end()
                size = len(payload)
            if opcode == TEXT:
                text = self._text(payload, timestamp, packet)
        self._receiver.take(self.direction, opcode, text, size, is_compressed, wire_bytes, timestamp, packet)

    def _text(self, payload: bytes, timestamp: i64, packet: i64) -> str | None:
        """What is wanted of a text message."""
        try:
            text = payload.decode()
        except UnicodeDecodeError as error:
            text = payload[: error.start].decode()
            self._object_to(timestamp, packet, "text in UTF-8", NOT_TEXT, "RFC 6455 section 8.1")
        if self._wanted.characters == 0:
            return None
        return text if len(text) <= self._wanted.characters else text[: self._wanted.characters]

    def _take_deflated(self, output: bytes, length: i64, wire_bytes: i64, is_certain: bool, timestamp: i64, packet: i64) -> None:
        """Take a frame of ``length`` bytes that does not inflate to a known message at once, but first to ``output``."""
        self._first = self._read.first
        self._position = length
        message = self._begin_message(self._first, timestamp, packet)
        message.frame_count = 1
        message.wire_bytes = wire_bytes
        message.payload_bytes = length
        self._take_inflated(message, output, is_certain)
        self._end_frame(message)

    def _take_header(self, data: bytes, at: i64, end: i64, timestamp: i64, released: i64, packet: i64) -> i64:
        """Take a frame's header, or the part that is there; returns where to go on."""
        known: i64 = len(self._header)
        if known == 0:
            try:
                self._begin_frame(data[at], timestamp, packet)
            except ProtocolError as error:
                self._doubt(error, timestamp, packet)
                return at + 1
        current = self._current
        assert current is not None
        current.touch(timestamp, released, packet, self._receiver.stall_index())
        upto = at + LONGEST_HEADER - known
        if upto > end:
            upto = end
        held = self._header + data[at:upto]
        header = self._read
        size = header.read(held, 0, len(held))
        if size == 0:
            self._header = held
            return upto
        self._header = b""
        try:
            self._check_header(timestamp, packet)
        except ProtocolError as error:
            self._doubt(error, timestamp, packet)
            return at + size - known
        self._begin_payload(current, size)
        if self._remaining == 0:
            self._end_frame(current)
        return at + size - known

    def _begin_payload(self, current: OpenMessage, size: i64) -> None:
        """Expect the payload of the header just read, which has ``size`` bytes."""
        header = self._read
        current.frame_count += 1
        current.wire_bytes += size
        self._remaining = header.payload_length
        self._position = 0
        self._is_masked = header.is_masked
        self._key = header.key
        self.state = IN_PAYLOAD

    def _check_header(self, timestamp: i64, packet: i64) -> None:
        """Judge the rest of a header (RFC 6455 sections 5.1, 5.2 and 5.5)."""
        header = self._read
        check_length(header)
        if header.is_masked != self.from_client:
            required = "masked frames towards the server" if self.from_client else "unmasked frames towards the client"
            found = "masked" if header.is_masked else "unmasked"
            self._object_to_frame(timestamp, packet, required, found, "RFC 6455 section 5.1")
        if not header.is_minimal:
            found = f"a longer one of {header.payload_length}"
            required = "the shortest encoding of a payload length"
            self._object_to_frame(timestamp, packet, required, found, "RFC 6455 section 5.2")

    def _miss_key(self, current: OpenMessage, length: i64) -> bool:
        """Go on over a hole that the rest of a header without the payload length begins; False where it is another."""
        size = header_size(self._header)
        missing = size - len(self._header)
        header = self._read
        if size == 0 or length < missing or header.read(self._header + bytes(missing), 0, size) == 0:
            return False
        if header.payload_length < length - missing:
            return False
        try:
            self._check_header(current.ended_at, current.last_packet)
        except ProtocolError:
            return False
        self._header = b""
        self._begin_payload(current, size)
        self._miss_payload(current, length - missing)
        return True

    # --- finding frames

    def _doubt(self, error: ProtocolError, timestamp: i64, packet: i64) -> None:
        """A frame cannot be: raises the error, unless it only shows that frames were not found where they seemed to be."""
        if not self._is_found:
            raise error
        current = self._current
        if current is not None and current.frame_count == 0:
            self._current = None
            if current is self._message:
                self._message = None
        self._lose(timestamp, packet, error.found)

    def _lose(self, timestamp: i64, packet: i64, found: str) -> None:
        """It is not known where frames begin: hand out what is open, and search."""
        self._cut(False)
        self._inflater.lose()
        required = "to know where a frame begins"
        self._receiver.object_to(self.direction, "framing_lost", timestamp, packet, required, found, "RFC 6455 section 5.2")
        self._begin_search()

    def _begin_search(self) -> None:
        self.state = SEARCHING
        self._undecided.clear()
        if not self._is_regular:
            self._give_up()
            return
        is_hidden = self.from_client and self._read.key != 0
        window: i64 = limits.WEBSOCKET_SEARCH_MASKED_BYTES if is_hidden else limits.WEBSOCKET_SEARCH_BYTES
        self._search = FrameSearch(self.from_client, window, self._reserved_bits)

    def _search_in(self, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Look for a frame in the bytes after the hole; go on with it when it is certain."""
        search = self._search
        assert search is not None
        undecided = self._undecided
        undecided.add(data, timestamp, released, packet)
        found = search.search(data)
        if search.is_hopeless:
            required = f"at most {limits.WEBSOCKET_SEARCH_CHAINS} chains of frames, and {limits.WEBSOCKET_SEARCH_HEADERS} headers in them"
            self._receiver.object_to(self.direction, "limit", timestamp, packet, required, "more", "")
            self._give_up()
        elif found < 0:
            undecided.shorten(search.unsettled())
        else:
            self._resume(found - search.taken)

    def _resume(self, ahead: i64) -> None:
        """Frames are certain from ``ahead`` bytes after those taken, or so many before their end (negative)."""
        chunks = self._undecided.take_after(self._undecided.size + ahead)
        self._search = None
        self._is_found = True
        self.is_midway = True
        self.state = IN_HEADER
        if ahead > 0:
            self.state = PASSING
            self._remaining = ahead
            self._receiver.decline(self.direction, ahead)
        self._take_again(chunks)

    def _pass(self, length: i64) -> None:
        """Let bytes of a frame go by whose header was not kept."""
        self._remaining -= length
        if self._remaining == 0:
            self.state = IN_HEADER

    def _give_up(self) -> None:
        """Nothing more of the direction is wanted."""
        self.state = LOST
        self._undecided.clear()
        self._search = None
        self._inflater.close()
        self._receiver.decline(self.direction, -1)

    def _align(self, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Hold the first bytes of a direction whose beginning is missing until they show that a frame begins there."""
        undecided = self._undecided
        undecided.add(data, timestamp, released, packet)
        frames = count_frames(undecided.joined()[: limits.PROBE_BYTES], self.from_client, limits.ALIGNING_FRAMES)
        if 0 <= frames < limits.ALIGNING_FRAMES and undecided.size < limits.PROBE_BYTES:
            return
        self._is_found = True
        chunks = undecided.take_after(0)
        if frames >= limits.ALIGNING_FRAMES:
            self.state = IN_HEADER
        else:
            self._lose(chunks[0].timestamp, chunks[0].packet, "bytes that are no frames after a beginning that is missing")
        self._take_again(chunks)

    def _take_again(self, chunks: list[Chunk]) -> None:
        """Take bytes that had to wait for what comes after them."""
        for chunk in chunks:
            self._receiver.decline(self.direction, 0)  # what a chunk declined may be in the next
            self._take(chunk.data, chunk.timestamp, chunk.released, chunk.packet)
