"""Columns as Arrow lays them out in memory (Arrow Columnar Format, "Physical Memory Layout"), filled value by value.

A column is a buffer of values, little-endian, and a bit per value that says whether it is known; texts and lists have
their elements one after the other, and the offset at which each begins. Only compiled is this fast.
"""

from collections.abc import Callable
from typing import Any, Final

from librt.strings import BytesWriter, write_f64_le, write_i32_le, write_i64_le
from mypy_extensions import i32, i64

from analyzer import limits
from analyzer.records import FieldLine

_WORD_BITS: Final = 32
_WORD_END: Final = 1 << _WORD_BITS

Values = tuple[Any, ...]
"""The values of a column of some rows; None where one is not known."""


class Column:
    """A column of values of one size; its subclasses say of what."""

    def __init__(self) -> None:
        self.length: i64 = 0
        self._nulls: i64 = 0
        self._known = BytesWriter()  # stays empty until a value is not known
        self._known_bits: i64 = 0  # of the values since the last whole word
        self._bit: i64 = 1  # of the next value
        self._values = BytesWriter()
        self._offsets = BytesWriter()  # stays empty but for texts and lists

    def append(self, values: Values) -> None:
        """Add values. TypeError, OverflowError or ValueError, and none is added, where one does not fit."""
        before = len(self._values)
        offsets_before = len(self._offsets)
        try:
            self._put(values)
        except (TypeError, OverflowError, ValueError):
            self._values.truncate(before)
            self._offsets.truncate(offsets_before)
            raise
        self._note(values)

    def size(self) -> i64:
        """Bytes in its buffers."""
        return len(self._values) + len(self._offsets)

    def take(self) -> list[bytes | None]:
        """Take the buffers in Arrow's order; the column is empty afterwards."""
        if self._bit > 1:
            _write_word(self._known, self._known_bits)
        known = self._known.getvalue() if self._nulls else None
        values = self._values.getvalue()
        self._known = BytesWriter()
        self._values = BytesWriter()
        self._known_bits = 0
        self._bit = 1
        self.length = 0
        self._nulls = 0
        return [known, values]

    def _put(self, values: Values) -> None:
        raise NotImplementedError

    def _note(self, values: Values) -> None:
        """Note which values are known."""
        nulls: i64 = 0
        for value in values:
            if value is None:
                nulls += 1
        if self._nulls == 0:
            if nulls == 0:
                self.length += len(values)
                return
            self._known.write(b"\xff" * (self.length // _WORD_BITS * 4))
            bit: i64 = 1  # a literal would be shifted as a number of 32 bits
            self._bit = bit << self.length % _WORD_BITS
            self._known_bits = self._bit - 1
        self.length += len(values)
        self._nulls += nulls
        bits = self._known_bits
        bit = self._bit
        for value in values:
            if value is not None:
                bits |= bit
            bit <<= 1
            if bit == _WORD_END:
                _write_word(self._known, bits)
                bits = 0
                bit = 1
        self._known_bits = bits
        self._bit = bit


def _write_word(writer: BytesWriter, bits: i64) -> None:
    """Write 32 bits, the first lowest."""
    if bits >= _WORD_END >> 1:
        bits -= _WORD_END  # as the signed number that has these bits
    write_i32_le(writer, i32(bits))


class Integers(Column):
    """Integers of 64 bits."""

    def _put(self, values: Values) -> None:
        writer = self._values
        for value in values:
            if value is None:
                write_i64_le(writer, 0)
            else:
                number: i64 = value
                write_i64_le(writer, number)


class Numbers(Column):
    """Floating-point numbers of 64 bits."""

    def _put(self, values: Values) -> None:
        for value in values:
            write_f64_le(self._values, 0.0 if value is None else value)


class Truths(Column):
    """True or false, a bit each."""

    def __init__(self) -> None:
        super().__init__()
        self._true_bits: i64 = 0  # of the values since the last whole word
        self._true_bit: i64 = 1  # of the next value

    def take(self) -> list[bytes | None]:
        """Take the buffers in Arrow's order; the column is empty afterwards."""
        if self._true_bit > 1:
            _write_word(self._values, self._true_bits)
        self._true_bits = 0
        self._true_bit = 1
        return super().take()

    def _put(self, values: Values) -> None:
        for value in values:
            if value is not None and not isinstance(value, bool):
                raise TypeError(f"{type(value).__name__} is not bool")
        bits = self._true_bits
        bit = self._true_bit
        for value in values:
            if value is True:
                bits |= bit
            bit <<= 1
            if bit == _WORD_END:
                _write_word(self._values, bits)
                bits = 0
                bit = 1
        self._true_bits = bits
        self._true_bit = bit


class Texts(Column):
    """Texts, as UTF-8."""

    def __init__(self) -> None:
        super().__init__()
        write_i64_le(self._offsets, 0)

    def take(self) -> list[bytes | None]:
        """Take the buffers in Arrow's order; the column is empty afterwards."""
        taken = super().take()
        taken.insert(1, self._offsets.getvalue())
        self._offsets = BytesWriter()
        write_i64_le(self._offsets, 0)
        return taken

    def _put(self, values: Values) -> None:
        joined: str = "".join([value for value in values if value is not None])
        encoded = joined.encode()
        offset: i64 = len(self._values)
        offsets = self._offsets
        if len(encoded) == len(joined):
            for value in values:
                if value is not None:
                    text: str = value
                    offset += len(text)
                write_i64_le(offsets, offset)
        else:
            for value in values:
                if value is not None:
                    wide: str = value
                    offset += len(wide.encode())
                write_i64_le(offsets, offset)
        self._values.write(encoded)


class ConvertedTexts(Texts):
    """Texts that ``convert`` makes, as UTF-8, of bytes or of other texts; most values of a capture repeat."""

    def __init__(self, convert: Callable[[Any], bytes]) -> None:
        super().__init__()
        self._convert = convert
        self._converted: dict[Any, bytes] = {}
        self._converted_bytes: i64 = 0

    def _put(self, values: Values) -> None:
        writer = self._values
        offsets = self._offsets
        offset: i64 = len(writer)
        for value in values:
            if value is not None:
                text = self._converted.get(value)
                if text is None:
                    text = self._new(value)
                writer.write(text)
                offset += len(text)
            write_i64_le(offsets, offset)

    def _new(self, value: Any) -> bytes:
        text: bytes = self._convert(value)
        size: i64 = len(value) + len(text)
        if size <= limits.CONVERTED_TEXT_BYTES:
            if self._converted_bytes >= limits.CONVERTED_TEXTS_BYTES:
                self._converted = {}
                self._converted_bytes = 0
            self._converted_bytes += size
            self._converted[value] = text
        return text


class LineLists(Column):
    """Lists of numbered field lines, as their numbers."""

    def __init__(self) -> None:
        super().__init__()
        write_i32_le(self._offsets, 0)
        self.shift: i64 = 0  # number of a line less the number to write

    def take(self) -> list[bytes | None]:
        """Take the buffers in Arrow's order, the numbers last; the column is empty afterwards."""
        taken = super().take()
        taken.insert(1, self._offsets.getvalue())
        self._offsets = BytesWriter()
        write_i32_le(self._offsets, 0)
        return taken

    def _put(self, values: Values) -> None:
        shift = self.shift
        writer = self._values
        offset: i32 = len(writer) >> 3
        for value in values:
            if value is not None:
                section: list[FieldLine] = value
                for line in section:
                    write_i64_le(writer, line.number - shift)
                offset += len(section)
            write_i32_le(self._offsets, offset)


def text_bytes(columns: list[Values], texts: list[int]) -> i64:
    """How long texts, or bytes that become texts, are in those of the columns; unknown ones have no length."""
    total: i64 = 0
    for index in texts:
        for value in columns[index]:
            if value is not None:
                total += len(value)
    return total


def size_of(columns: list[Column]) -> i64:
    """Bytes in the buffers of columns."""
    total: i64 = 0
    for column in columns:
        total += column.size()
    return total
