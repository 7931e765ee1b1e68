from collections.abc import Sequence
from typing import Any

import nanoarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoarrow.c_array import c_array_from_buffers

from analyzer.records import FieldLine
from analyzer.store.buffers import Column, ConvertedTexts, Integers, LineLists, Numbers, Texts, Truths, text_bytes

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FLOATS = st.floats(allow_nan=False)


def read(column: Column, kind: nanoarrow.Schema) -> list[Any]:
    """What another implementation of Arrow reads from the buffers."""
    length = column.length
    return list(nanoarrow.Array(c_array_from_buffers(kind, length, column.take())).iter_py())


@pytest.mark.parametrize(
    ("kind", "arrow_type", "values"),
    [
        (Integers, nanoarrow.int64(), INTEGERS),
        (Numbers, nanoarrow.float64(), FLOATS),
        (Truths, nanoarrow.bool_(), st.booleans()),
        (Texts, nanoarrow.large_string(), TEXTS),
    ],
)
def test_arrow_reads_the_values_that_were_appended_however_they_came(
    kind: type[Column], arrow_type: nanoarrow.Schema, values: st.SearchStrategy[Any]
) -> None:
    @given(st.lists(st.lists(values | st.none(), max_size=20), max_size=6))
    def check(parts: Sequence[Sequence[Any]]) -> None:
        column = kind()
        for _ in range(2):  # a column that was taken is as good as new
            for part in parts:
                column.append(tuple(part))
            assert read(column, arrow_type) == [value for part in parts for value in part]

    check()


@pytest.mark.parametrize("kind", [Integers, Truths, Texts])
def test_a_column_may_lack_values_from_any_row_on(kind: type[Column]) -> None:
    value, arrow_type = {
        Integers: (7, nanoarrow.int64()),
        Truths: (True, nanoarrow.bool_()),
        Texts: ("x", nanoarrow.large_string()),
    }[kind]
    for known in range(140):
        column = kind()
        column.append((value,) * known)
        column.append((None, value, None))
        column.append((value,) * known)
        assert read(column, arrow_type) == [value] * known + [None, value, None] + [value] * known


@given(st.lists(st.lists(st.integers(0, 2**40), max_size=5) | st.none(), max_size=30), st.integers(0, 2**40))
def test_lists_of_lines_are_lists_of_their_numbers(sections: list[list[int] | None], shift: int) -> None:
    column = LineLists()
    column.shift = shift
    lines: list[list[FieldLine] | None] = []
    for section in sections:
        if section is None:
            lines.append(None)
            continue
        lines.append([FieldLine(b"n", b"v", "witnessed") for _ in section])
        for line, number in zip(lines[-1] or [], section, strict=True):
            line.number = number
    column.append(tuple(lines))
    length = column.length
    *outer, elements = column.take()
    assert elements is not None
    child = c_array_from_buffers(nanoarrow.int64(), len(elements) // 8, [None, elements])
    made = nanoarrow.Array(c_array_from_buffers(nanoarrow.list_(nanoarrow.int64()), length, outer, children=[child]))
    assert list(made.iter_py()) == [None if section is None else [n - shift for n in section] for section in sections]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Integers, (1, None, 2), (3, 2**63)),
        (Integers, (1,), (3, "x")),
        (Numbers, (1.5,), (2.5, "x")),
        (Truths, (True, None), (False, 1)),
        (Texts, ("a", None), ("b", 5)),
        (Texts, ("ä",), ("b", "\ud800")),
    ],
)
def test_where_a_value_does_not_fit_none_is_added(kind: type[Column], good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    column, other = kind(), kind()
    column.append(good)
    with pytest.raises((TypeError, OverflowError, ValueError)):
        column.append(bad)
    column.append(good)
    other.append(good)
    other.append(good)
    assert column.size() == other.size()
    assert column.take() == other.take()


def test_the_size_of_texts_is_that_of_the_known_ones() -> None:
    assert text_bytes([("ab", None, b"cde", ""), (1, 2, 3, 4)], [0]) == 5


@given(st.lists(st.binary(max_size=3) | st.none() | st.just(b"x" * 5000), max_size=40))
def test_converted_texts_are_what_the_conversion_makes_of_each(values: list[bytes | None]) -> None:
    column = ConvertedTexts(lambda value: repr(value).encode())
    column.append(tuple(values))
    assert read(column, nanoarrow.large_string()) == [None if value is None else repr(value) for value in values]
