"""Rows become columns: records -> Arrow memory -> INSERT into DuckDB.

``astuple`` and ``zip`` transpose records in C, the columns' buffers (``buffers``) take the values, and DuckDB reads the
buffers as they are.
"""

import sys
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

import duckdb
import nanoarrow
from msgspec.structs import astuple
from nanoarrow.c_array import c_array_from_buffers

from analyzer import limits
from analyzer.records import FieldLine, FieldLineRecord, LineNumbers, Rows
from analyzer.schema import Column, Masking, Table, table_of
from analyzer.store import buffers
from analyzer.store.buffers import Values
from analyzer.store.definitions import identifier
from analyzer.store.masking import Masker
from analyzer.text import bytes_to_text

Mask = Callable[[bytes], bytes]

_INCOMING: Final = "unmux_incoming"
_BUFFERS: Final[dict[type, type[buffers.Column]]] = {
    int: buffers.Integers,
    bool: buffers.Truths,
    float: buffers.Numbers,
    str: buffers.Texts,
    list: buffers.LineLists,
}
_ARROW_TYPES: Final = {
    int: nanoarrow.int64(),
    bool: nanoarrow.bool_(),
    float: nanoarrow.float64(),
    str: nanoarrow.large_string(),
    bytes: nanoarrow.large_string(),
    list: nanoarrow.list_(nanoarrow.int64()),
}
_TIME: Final = nanoarrow.timestamp("ns")
# Each epoch of each store numbers its lines in a range of its own, so that a number left in a FieldLine by another store
# or an earlier epoch is told by one comparison.
_EPOCH_LINES: Final = 1 << 32
_epochs: Final = count()


class Batch:
    """Rows of one table in Arrow's memory."""

    def __init__(self, arrays: nanoarrow.Array, rows: int, size: int) -> None:
        """``size`` in bytes."""
        self.arrays = arrays
        self.rows = rows
        self.size = size

    @property
    def is_wide(self) -> bool:
        """Whether the rows are so long that DuckDB cannot hold many of them at once."""
        return self.size > limits.WIDE_ROW_BYTES * self.rows


class TableWriter:
    """Collects the rows of one table and inserts them."""

    def __init__(self, table: Table, masker: Masker | None, lines: "FieldLines | None") -> None:
        """``masker`` None stores secrets as they are; ``lines`` numbers the field lines of columns that hold them."""
        columns = table.columns
        self.table = table
        self.rows = 0  # that were added
        self.waiting_bytes = 0  # of rows not inserted yet
        self.not_stored: dict[str, int] = {}  # column -> values that did not fit its type
        self._columns = columns
        self._texts = [i for i, column in enumerate(columns) if column.python_type in (str, bytes)]
        self._lines = lines
        self._buffers = [_buffer(column, masker) for column in columns]
        types = {
            column.name: _TIME if column.sql_type == "TIMESTAMP_NS" else _ARROW_TYPES[column.python_type] for column in columns
        }
        self._types = list(types.values())
        self._row_type = nanoarrow.struct(types)
        self._insert = f"INSERT INTO {identifier(table.name)} FROM {_INCOMING}"

    def slices(self, rows: Rows) -> Iterator[list[Values]]:
        """The columns of rows, which must not change any more, in parts of bounded bytes for :meth:`add`."""
        return self._sliced(list(zip(*map(astuple, rows), strict=True)))

    def _sliced(self, columns: list[Values]) -> Iterator[list[Values]]:
        rows = len(columns[0])
        if rows > 1 and buffers.text_bytes(columns, self._texts) > limits.SLICE_BYTES:
            yield from self._sliced([values[: rows // 2] for values in columns])
            yield from self._sliced([values[rows // 2 :] for values in columns])
        else:
            yield columns

    def add(self, columns: list[Values]) -> None:
        """Take rows as columns, in the order of declaration."""
        self.rows += len(columns[0])
        for column, buffer, values in zip(self._columns, self._buffers, columns, strict=True):
            if column.python_type is list:
                assert self._lines is not None
                assert isinstance(buffer, buffers.LineLists)
                buffer.shift = self._lines.number(values)
            try:
                buffer.append(values)
            except (OverflowError, TypeError, ValueError):  # rare: look for the values that do not fit
                buffer.append(tuple([self._fitting(column, value) for value in values]))
        self.waiting_bytes = buffers.size_of(self._buffers)

    def take(self) -> Batch | None:
        """Take the rows that are not inserted yet; None when there are none."""
        rows = self._buffers[0].length
        if not rows:
            return None
        arrays = [_array(kind, buffer, rows) for kind, buffer in zip(self._types, self._buffers, strict=True)]
        batch = Batch(
            nanoarrow.Array(c_array_from_buffers(self._row_type, rows, [None], children=arrays)), rows, self.waiting_bytes
        )
        self.waiting_bytes = 0
        return batch

    def insert(self, connection: duckdb.DuckDBPyConnection, batch: Batch) -> None:
        """Insert rows that were taken."""
        connection.register(_INCOMING, batch.arrays)
        connection.execute(self._insert)
        connection.unregister(_INCOMING)

    def _fitting(self, column: Column, value: Any) -> Any:
        """The value, or what can be stored of it: None where it is of another type, which is counted."""
        if isinstance(value, str) and column.python_type is str:
            return value.encode("utf-8", "backslashreplace").decode("utf-8")  # lone surrogates
        try:
            _buffer(column, None).append((value,))
        except (OverflowError, TypeError, ValueError):
            self.not_stored[column.name] = self.not_stored.get(column.name, 0) + 1
            return None
        return value


class FieldLines:
    """Numbers the distinct field lines, and writes each to the table ``field_lines`` when it gets its number."""

    def __init__(self, masker: Masker | None, first_line: int, most_bytes: int = limits.DISTINCT_LINE_BYTES) -> None:
        """``first_line`` is the line_id of the first new line: not 0 when a store is appended to.

        ``most_bytes`` are remembered of names and values, and lines for as many bytes of memory.
        """
        self._most_bytes = most_bytes
        self._most_lines = min(limits.DISTINCT_LINES, most_bytes // limits.DISTINCT_LINE_COST)
        self.writer = TableWriter(table_of(FieldLineRecord), None, None)
        self._masker = masker
        self._next_line = first_line
        self.begin_epoch()

    def number(self, sections: Values) -> int:
        """Number the lines of sections; returns by how much their numbers are above their line_ids."""
        numbers = self._numbers
        if len(numbers.known) >= self._most_lines or numbers.known_bytes >= self._most_bytes:
            numbers = self.begin_epoch()
        numbers.number([section for section in sections if section])
        if numbers.new:
            self._write(numbers.new)
            numbers.new = []
        return self._shift

    def begin_epoch(self) -> LineNumbers:
        """Number and write all lines afresh from now on."""
        base = next(_epochs) * _EPOCH_LINES
        self._shift = base - self._next_line
        self._numbers = LineNumbers(base, base + _EPOCH_LINES)
        return self._numbers

    def _write(self, lines: list[FieldLine]) -> None:
        """Write lines that have just been numbered."""
        line_ids = range(self._next_line, self._next_line + len(lines))
        self._next_line += len(lines)
        names = [line.name for line in lines]
        values = [line.value for line in lines]
        if self._masker is not None:
            values = list(map(self._masker.field, names, values))
        self.writer.add([tuple(line_ids), tuple(names), tuple(values), tuple([line.provenance for line in lines])])


def _array(kind: nanoarrow.Schema, buffer: buffers.Column, rows: int) -> Any:
    """The Arrow array of a column, whose buffers are taken."""
    taken = buffer.take()
    if isinstance(buffer, buffers.LineLists):
        elements = taken.pop() or b""
        children = [c_array_from_buffers(nanoarrow.int64(), len(elements) // 8, [None, elements])]
        return c_array_from_buffers(kind, rows, taken, children=children)
    return c_array_from_buffers(kind, rows, taken)


def _buffer(column: Column, masker: Masker | None) -> buffers.Column:
    """The buffers for the values of a column; secrets are masked on their way into them."""
    mask = None
    if masker is not None and column.python_type is not list and column.masking is not Masking.NONE:
        masks = {Masking.TARGET: masker.target, Masking.AUTHORITY: masker.authority, Masking.WHOLE: masker.value}
        mask = masks[column.masking]
    if column.python_type is bytes:
        return buffers.ConvertedTexts(_from_bytes(sys.maxsize if column.is_content else limits.TEXT_BYTES, mask))
    if mask is not None:
        return buffers.ConvertedTexts(_masked(mask))
    return _BUFFERS[column.python_type]()


def _from_bytes(limit: int, mask: Mask | None) -> Mask:
    def convert(value: bytes) -> bytes:
        return bytes_to_text(value if mask is None else mask(value), limit).encode()

    return convert


def _masked(mask: Mask) -> Callable[[str], bytes]:
    def convert(value: str) -> bytes:
        return mask(str.encode(value, "utf-8", "surrogatepass")).decode("utf-8", "replace").encode()

    return convert
