"""Rows become columns: records -> Arrow batches -> INSERT into DuckDB.

One object per row is made by the dissectors and no further one here: ``astuple`` and ``zip`` transpose a
batch of records in C, Arrow takes the tuples, and DuckDB reads the Arrow memory as it is.
"""

import struct
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, count
from typing import Any, Final

import arro3.core as arrow
import duckdb
from msgspec.structs import astuple

from analyzer import limits
from analyzer.records import FieldLine, FieldLineRecord, LineNumbers, Rows, line_numbers
from analyzer.schema import Column, Masking, Table, table_of
from analyzer.store.definitions import identifier
from analyzer.store.masking import Masker
from analyzer.text import bytes_to_text

Values = Sequence[Any]  # one column of a batch
Convert = Callable[[Values], Values]
Mask = Callable[[bytes], bytes]

_INCOMING: Final = "unmux_incoming"
_ARROW_TYPES: Final = {
    int: arrow.DataType.int64(),
    bool: arrow.DataType.bool(),
    float: arrow.DataType.float64(),
    str: arrow.DataType.utf8(),
    bytes: arrow.DataType.utf8(),
}
# Each epoch of each store numbers its lines in a range of its own, so that a number left in a FieldLine by another store
# or an earlier epoch is told by one comparison.
_EPOCH_LINES: Final = 1 << 32
_epochs: Final = count()


class TableWriter:
    """Collects the records of one table and inserts them."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, table: Table, masker: Masker | None, lines: "FieldLines | None"
    ) -> None:
        """``masker`` None stores secrets as they are; ``lines`` numbers the field lines of columns that hold them."""
        columns = table.columns
        self.table = table
        self.waiting_bytes = 0  # of the batches not inserted yet
        self.wide_bytes = 0  # inserted in wide rows since they were last written out
        self.not_stored: dict[str, int] = {}  # column -> values that did not fit its type
        self._connection = connection
        self._names = [column.name for column in columns]
        self._columns = columns
        self._converts = [_converter(column, masker) for column in columns]
        self._texts = [i for i, column in enumerate(columns) if column.python_type in (str, bytes)]
        self._lines = lines
        self._batches: list[arrow.RecordBatch] = []
        selected = ", ".join(
            f"make_timestamp_ns({identifier(column.name)})" if column.sql_type == "TIMESTAMP_NS" else identifier(column.name)
            for column in columns
        )
        self._insert = f"INSERT INTO {identifier(table.name)} SELECT {selected} FROM {_INCOMING}"  # noqa: S608  # declared names only

    def slices(self, rows: Rows) -> Iterator[Sequence[Values]]:
        """The columns of rows, which must not change any more, in parts of bounded bytes for :meth:`add_columns`."""
        return self._sliced(list(zip(*map(astuple, rows), strict=True)))

    def add_columns(self, columns: Sequence[Values]) -> None:
        """Take rows as columns, in the order of declaration."""
        for part in self._sliced(columns):
            self._add_part(part)

    def _sliced(self, columns: Sequence[Values]) -> Iterator[Sequence[Values]]:
        rows = len(columns[0])
        if rows > 1 and sum(sum(map(len, filter(None, columns[i]))) for i in self._texts) > limits.SLICE_BYTES:
            yield from self._sliced([values[: rows // 2] for values in columns])
            yield from self._sliced([values[rows // 2 :] for values in columns])
        else:
            yield columns

    def _add_part(self, columns: Sequence[Values]) -> None:
        arrays = [
            self._array(column, values if convert is None else convert(values))
            for column, convert, values in zip(self._columns, self._converts, columns, strict=True)
        ]
        batch = arrow.RecordBatch.from_arrays(arrays, names=self._names)
        self._batches.append(batch)
        self.waiting_bytes += batch.nbytes

    def take(self) -> list[arrow.RecordBatch]:
        """Take the batches that are not inserted yet."""
        batches = self._batches
        self._batches = []
        self.waiting_bytes = 0
        return batches

    def insert(self, batches: list[arrow.RecordBatch]) -> None:
        """Insert batches."""
        if batches:
            if is_wide(batches):
                self.wide_bytes += sum(batch.nbytes for batch in batches)
            self._connection.register(_INCOMING, arrow.Table.from_batches(batches))
            self._connection.execute(self._insert)
            self._connection.unregister(_INCOMING)

    def _array(self, column: Column, values: Values) -> arrow.Array:
        if column.python_type is list:
            assert self._lines is not None
            return self._lines.lists(values)
        kind = _ARROW_TYPES[column.python_type]
        try:
            if column.python_type is int and None not in values:
                return _integers(array("q", struct.pack(f"{len(values)}q", *values)))
            return arrow.Array(values, kind)
        except (OverflowError, TypeError, UnicodeEncodeError, struct.error):  # rare: look for the values that do not fit
            return arrow.Array([self._fitting(column, value, kind) for value in values], kind)

    def _fitting(self, column: Column, value: Any, kind: arrow.DataType) -> Any:
        """The value, or what can be stored of it: None where it is of another type, which is counted."""
        if isinstance(value, str) and column.python_type is str:
            return value.encode("utf-8", "backslashreplace").decode("utf-8")  # lone surrogates
        try:
            arrow.Array([value], kind)
        except (OverflowError, TypeError):
            self.not_stored[column.name] = self.not_stored.get(column.name, 0) + 1
            return None
        return value


def is_wide(batches: list[arrow.RecordBatch]) -> bool:
    """Whether the rows of a table's batches are so long that DuckDB cannot hold many of them at once."""
    return sum(batch.nbytes for batch in batches) > limits.WIDE_ROW_BYTES * sum(batch.num_rows for batch in batches)


class FieldLines:
    """Numbers the distinct field lines, and writes each to the table ``field_lines`` when it gets its number."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, masker: Masker | None, first_line: int) -> None:
        """``first_line`` is the line_id of the first new line: not 0 when a store is appended to."""
        self.writer = TableWriter(connection, table_of(FieldLineRecord), None, None)
        self._masker = masker
        self._next_line = first_line
        self._begin_epoch()

    def lists(self, sections: Sequence[list[FieldLine] | None]) -> arrow.Array:
        """Make the Arrow array of the lists of line_ids, one for each section."""
        numbers = self._numbers
        if len(numbers.known) >= limits.DISTINCT_LINES or numbers.known_bytes >= limits.DISTINCT_LINE_BYTES:
            numbers = self._begin_epoch()
        filled = [section or [] for section in sections]
        numbers.number(filled)
        if numbers.new:
            self._write(numbers.new)
            numbers.new = []
        line_ids = array("q", line_numbers(filled, self._shift))
        if sys.byteorder == "big":
            line_ids.byteswap()
        offsets = array("i", accumulate(map(len, filled), initial=0))
        lists = arrow.list_array(arrow.Array.from_buffer(offsets), _integers(line_ids))
        if None not in sections:
            return lists
        known = [None if section is None else i for i, section in enumerate(sections)]
        return arrow.Array.from_arrow(lists.take(arrow.Array(known, _ARROW_TYPES[int])))

    def _begin_epoch(self) -> LineNumbers:
        base = next(_epochs) * _EPOCH_LINES
        self._shift = base - self._next_line  # number - line_id
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
        self.writer.add_columns([line_ids, names, values, [line.provenance for line in lines]])


def _integers(values: "array[int]") -> arrow.Array:
    """Native integers of 64 bits as they are in memory; Arrow takes no empty buffer."""
    return arrow.Array.from_buffer(values) if values else arrow.Array([], _ARROW_TYPES[int])


def _converter(column: Column, masker: Masker | None) -> Convert | None:
    """What the values of a column go through before Arrow takes them; None when nothing."""
    mask = None
    if masker is not None and column.python_type is not list and column.masking is not Masking.NONE:
        masks = {Masking.TARGET: masker.target, Masking.AUTHORITY: masker.authority, Masking.WHOLE: masker.value}
        mask = masks[column.masking]
    if column.python_type is bytes:
        return _texts(sys.maxsize if column.is_content else limits.TEXT_BYTES, mask)
    return None if mask is None else _masked_strings(mask)


def _texts(limit: int, mask: Mask | None) -> Convert:
    def convert(values: Values) -> Values:
        texts: dict[bytes | None, str | None] = {None: None}  # most values of a batch repeat
        for value in set(values):
            if value is not None:
                texts[value] = bytes_to_text(value if mask is None else mask(value), limit)
        return [texts[value] for value in values]

    return convert


def _masked_strings(mask: Mask) -> Convert:
    def convert(values: Values) -> Values:
        return [
            None if value is None else mask(value.encode("utf-8", "surrogatepass")).decode("utf-8", "replace") for value in values
        ]

    return convert
