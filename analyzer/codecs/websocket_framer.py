"""One direction of a WebSocket connection: where its frames begin (RFC 6455 sections 5.1 and 5.2).

A hole inside a payload leaves the framing certain; any other hole loses it.
"""

from mypy_extensions import i64

from analyzer import limits
from analyzer.codecs.permessage_deflate import Agreement
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
    TEXT,
    FrameHeader,
    check_length,
    count_frames,
    unmask,
)
from analyzer.codecs.websocket_message_reader import CLOSED, IN_HEADER, IN_PAYLOAD, LOST, UNALIGNED, MessageReader
from analyzer.codecs.websocket_messages import NOT_TEXT, MessageReceiver, Wanted


class HeldBytes:
    """Bytes held until they show where frames begin."""

    def __init__(self, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        self.data = data
        self.timestamp = timestamp
        self.released = released
        self.packet = packet


class Framer(MessageReader):
    """Follows the frames of one direction."""

    def __init__(
        self, direction: i64, from_client: bool, receiver: MessageReceiver, wanted: Wanted, agreement: Agreement
    ) -> None:
        super().__init__(direction, from_client, receiver, wanted, agreement)
        self._read = FrameHeader()
        self._is_begun = False  # bytes came, or were missing
        self._waiting: list[HeldBytes] = []  # while unaligned

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
        if self.state == IN_PAYLOAD and current is not None:
            current.touch(timestamp, released, packet, self._receiver.stall_index())
            self._count_payload(current, length)
            if self._remaining == 0:
                self._end_frame(current)

    def gap(self, length: i64, timestamp: i64, packet: i64) -> None:
        """Go on where the hole lies inside one payload; else it is no longer known where frames begin. -1: not known how long."""
        if not self._is_begun or self.state == UNALIGNED:
            self._is_begun = True
            self.is_midway = True
            self.state = UNALIGNED
            self._waiting = []
            self._inflater.lose()
            return
        current = self._current
        if self.state == IN_PAYLOAD and current is not None and 0 <= length <= self._remaining:
            self._miss_payload(current, length)
        elif self.state in (IN_HEADER, IN_PAYLOAD):
            self._lose(timestamp, packet, "missing bytes" if length < 0 else f"{length} missing bytes")

    def close(self, is_orderly: bool, timestamp: i64, packet: i64) -> None:
        """Hand out what is left unfinished. ``is_orderly``: its sender ended the direction."""
        if self.state == UNALIGNED and self._waiting:
            size = sum([len(held.data) for held in self._waiting])
            self._lose(timestamp, packet, f"the end of the stream after {size} bytes")
        elif self.state in (IN_HEADER, IN_PAYLOAD):
            self._cut(is_orderly)
        self.state = LOST

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
        """Whether the header just read is of a message in one frame, or a ping or pong, without a fault or anything to decode."""
        header = self._read
        opcode = header.first & OPCODE_BITS
        if header.first & (FINAL_BIT | RESERVED_BITS) != FINAL_BIT or not header.is_minimal or header.payload_length < 0:
            return False
        if header.is_masked != self.from_client or not self._wanted.is_plain:
            return False
        if TEXT <= opcode <= BINARY:
            return self._message is None
        return PING <= opcode <= PONG and header.payload_length <= CONTROL_PAYLOAD

    def _take_whole(self, data: bytes, start: i64, end: i64, wire_bytes: i64, timestamp: i64, packet: i64) -> None:
        """Take an ordinary frame whose payload is ``data[start:end]``: most of all traffic, and nothing of it has to be kept."""
        header = self._read
        opcode = header.first & OPCODE_BITS
        text: str | None = None
        if opcode == TEXT:
            payload = unmask(data, start, end, header.key, 0) if header.is_masked else data[start:end]
            try:
                text = payload.decode()
            except UnicodeDecodeError as error:
                text = payload[: error.start].decode()
                self._object_to(timestamp, packet, "text in UTF-8", NOT_TEXT, "RFC 6455 section 8.1")
            if self._wanted.characters == 0:
                text = None
            elif len(text) > self._wanted.characters:
                text = text[: self._wanted.characters]
        if opcode < CLOSE:
            self.is_midway = False
        self._receiver.take(self.direction, opcode, text, end - start, wire_bytes, timestamp, packet)

    def _take_header(self, data: bytes, at: i64, end: i64, timestamp: i64, released: i64, packet: i64) -> i64:
        """Take a frame's header, or the part that is there; returns where to go on."""
        known: i64 = len(self._header)
        if known == 0:
            self._begin_frame(data[at], timestamp, packet)
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
        self._check_header(timestamp, packet)
        current.frame_count += 1
        current.wire_bytes += size
        self._remaining = header.payload_length
        self._position = 0
        self._is_masked = header.is_masked
        self._key = header.key
        self.state = IN_PAYLOAD
        if self._remaining == 0:
            self._end_frame(current)
        return at + size - known

    def _check_header(self, timestamp: i64, packet: i64) -> None:
        """Judge the rest of a header (RFC 6455 sections 5.1, 5.2 and 5.5)."""
        header = self._read
        check_length(header)
        if header.is_masked != self.from_client:
            required = "masked frames towards the server" if self.from_client else "unmasked frames towards the client"
            found = "masked" if header.is_masked else "unmasked"
            self._object_to(timestamp, packet, required, found, "RFC 6455 section 5.1")
        if not header.is_minimal:
            found = f"a longer one of {header.payload_length}"
            self._object_to(timestamp, packet, "the shortest encoding of a payload length", found, "RFC 6455 section 5.2")

    # --- finding frames

    def _lose(self, timestamp: i64, packet: i64, found: str) -> None:
        """Give the direction up: it is not known where its frames begin."""
        self._cut(False)
        self.state = LOST
        self._waiting = []
        required = "to know where a frame begins"
        self._receiver.object_to(self.direction, "framing_lost", timestamp, packet, required, found, "")
        self._receiver.decline(self.direction, -1)

    def _align(self, data: bytes, timestamp: i64, released: i64, packet: i64) -> None:
        """Hold the first bytes of a direction whose beginning is missing until they show that a frame begins there."""
        waiting = self._waiting
        last = waiting[-1] if waiting else None
        if last is not None and last.packet == packet and last.timestamp == timestamp and last.released == released:
            last.data += data
        else:
            waiting.append(HeldBytes(data, timestamp, released, packet))
        held = b"".join([piece.data for piece in waiting])
        frames = count_frames(held, self.from_client)
        if frames >= limits.ALIGNING_FRAMES:
            self.state = IN_HEADER
            self._waiting = []
            for piece in waiting:
                self._take(piece.data, piece.timestamp, piece.released, piece.packet)
        elif frames < 0 or len(held) >= limits.PROBE_BYTES or len(waiting) >= limits.PROBE_HELD_EVENTS:
            self._lose(timestamp, packet, "bytes that are no frames after a beginning that is missing")
