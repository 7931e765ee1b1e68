"""pcap: a file header, then a 16-byte header before each packet (draft-ietf-opsawg-pcap).

Times in microseconds or nanoseconds, either byte order, and the variant with 8 more bytes before each packet that
modified libpcaps of the 1990s wrote (magic a1b2cd34).
"""

from typing import Final, Literal

from librt.strings import read_i64_be, read_i64_le
from mypy_extensions import i64

from analyzer import limits
from analyzer.capture.compression import Source
from analyzer.capture.reader import CaptureReader, Interface

FILE_HEADER_BYTES: Final = 24
_NANOSECONDS: Final = 0xA1B23C4D
_MODIFIED: Final = 0xA1B2CD34
_RECORD_HEADER_BYTES: Final = 16
_MODIFIED_HEADER_BYTES: Final = 24
_WORD: Final = 0xFFFFFFFF

MAGICS: Final = (
    b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4",
    b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d",
    b"\x34\xcd\xb2\xa1", b"\xa1\xb2\xcd\x34",
)  # fmt: skip


class PcapReader(CaptureReader):
    """The packets of a pcap file."""

    def __init__(self, name: str, source: Source, size: int | None) -> None:
        """``source`` stands at the beginning, where the opener has seen a whole file header with one of ``MAGICS``."""
        super().__init__(name, source, "pcap", size)
        self._have(FILE_HEADER_BYTES)
        header = self.data[:FILE_HEADER_BYTES]
        self._position = FILE_HEADER_BYTES
        is_little = header[0] != 0xA1
        order: Literal["little", "big"] = "little" if is_little else "big"
        magic = int.from_bytes(header[:4], order)
        # The upper half of the link type's word tells of frame check sequences.
        link_type = int.from_bytes(header[20:24], order) & 0xFFFF
        self._is_little = is_little
        self._unit: i64 = 1 if magic == _NANOSECONDS else 1000
        self._header_bytes: i64 = _MODIFIED_HEADER_BYTES if magic == _MODIFIED else _RECORD_HEADER_BYTES
        self.interfaces.append(Interface(link_type, None, int.from_bytes(header[16:20], order)))
        self.link_type = link_type

    def next(self) -> bool:
        """Advance to the next packet; False at the end. Bad content ends it and is told in ``truncation``."""
        header_bytes = self._header_bytes
        if self._end - self._position < header_bytes and not self._have(header_bytes):
            return self._cut_header()
        position = self._position
        if self._is_little:
            time = read_i64_le(self.data, position)
            lengths = read_i64_le(self.data, position + 8)
            seconds: i64 = time & _WORD
            fraction: i64 = (time >> 32) & _WORD
            captured: i64 = lengths & _WORD
            original: i64 = (lengths >> 32) & _WORD
        else:
            time = read_i64_be(self.data, position)
            lengths = read_i64_be(self.data, position + 8)
            seconds = (time >> 32) & _WORD
            fraction = time & _WORD
            captured = (lengths >> 32) & _WORD
            original = lengths & _WORD
        if captured > limits.PACKET_BYTES:
            return self._stop(
                f"packet {self.frame + 1}",
                self._in_file(),
                f"at most {limits.PACKET_BYTES} captured bytes",
                f"a length of {captured}",
            )
        if captured > original and original > 0 and not self._is_followed(captured, seconds):
            at_most = f"at most {original} captured bytes, which is what the packet has"
            return self._stop(f"packet {self.frame + 1}", self._in_file(), at_most, f"a length of {captured}")
        position = self._position
        if self._end - position < header_bytes + captured:
            if not self._have(header_bytes + captured):
                found = self._end - header_bytes
                return self._stop(f"packet {self.frame + 1}", self._in_file(), f"{captured} captured bytes", str(found))
            position = self._position
        self.offset = position + header_bytes
        self._position = position + header_bytes + captured
        self._count(captured, original, seconds * 1_000_000_000 + fraction * self._unit)
        return True

    def _is_followed(self, captured: i64, seconds: i64) -> bool:
        """Whether behind so many bytes of a packet the file ends, or a header has lengths that can be and a time that is near."""
        header_bytes = self._header_bytes
        behind = header_bytes + captured
        if not self._have(behind + header_bytes):
            return self._end - self._position == behind
        at = self._position + behind
        order: Literal["little", "big"] = "little" if self._is_little else "big"
        following: i64 = int.from_bytes(self.data[at : at + 4], order)
        captured = int.from_bytes(self.data[at + 8 : at + 12], order)
        original: i64 = int.from_bytes(self.data[at + 12 : at + 16], order)
        is_near = -limits.CLOCK_LEAP_NANOSECONDS < (following - seconds) * 1_000_000_000 < limits.CLOCK_LEAP_NANOSECONDS
        return is_near and captured <= limits.PACKET_BYTES and (captured <= original or original == 0)

    def _cut_header(self) -> bool:
        """End reading: there is no further packet, or not even its header."""
        if self._end == self._position:
            return self._finish()
        required = f"a packet header of {self._header_bytes} bytes"
        return self._stop(f"packet {self.frame + 1}", self._in_file(), required, str(self._end - self._position))
