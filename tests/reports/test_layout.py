"""Tables that fit: whole headings and numbers, or none."""

from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from analyzer.reports import layout
from analyzer.reports.layout import Column


def printed(columns, width, title="", untitled=()):
    shown = layout.fit(columns, width)
    return (
        None
        if shown is None
        else [
            line.plain for line in layout.header(shown, Text(title), untitled) + layout.body(shown, range(len(columns[0].cells)))
        ]
    )


def number(name, *cells, leaves=0):
    return Column(name, name, list(cells), is_right_aligned=True, leaves=leaves)


def text(name, *cells, leaves=0):
    return Column(name, name, list(cells), is_flexible=True, leaves=leaves)


def test_numbers_stand_right_and_texts_left_with_nothing_behind_the_last():
    assert printed([number("n", "1", "20"), text("what", "a", "bc")], 80) == [" n  what", " 1  a", "20  bc"]


def test_optional_columns_leave_in_their_order_before_a_text_is_cut_short():
    columns = [text("what", "x" * 30), number("first", "1", leaves=1), number("second", "2", leaves=2)]
    assert printed(columns, 80)[0].split() == ["what", "first", "second"]
    assert printed(columns, 40)[0].split() == ["what", "second"]
    assert printed(columns, 30)[0].split() == ["what"]


def test_a_text_is_shortened_and_a_number_never_is():
    assert printed([text("what", "x" * 30), number("count", "123456")], 20) == ["what           count", "xxxxxxxxxxx…  123456"]


def test_a_table_that_cannot_be_so_narrow_is_none():
    assert layout.fit([number("count", "123456"), number("other", "123456")], 12) is None


def test_widths_are_those_of_the_terminals_cells():
    assert printed([text("what", "漢字", "abc"), number("n", "1", "2")], 80) == ["what  n", "漢字  1", "abc   2"]


def test_a_title_stands_over_leading_columns_that_need_no_heading():
    columns = [number("connection", "17"), text("ends", "a → b, some ends"), number("exchanges", "3")]
    lines = printed(columns, 80, "Most", ["connection", "ends"])
    assert lines[0].split() == ["Most", "exchanges"]
    assert len(lines) == 2
    assert printed(columns, 80, "A title far too long for it to stand there", ["connection", "ends"])[1].split() == ["exchanges"]


def test_a_wrapped_text_goes_on_below_itself():
    column = Column("fault", "fault", ["one two three four five six"], is_wrapped=True)
    lines = printed([number("n", "1"), column, number("m", "2")], 20)
    assert lines == ["n  fault           m", "1  one two three   2", "   four five six"]


columns = st.lists(
    st.tuples(
        st.sampled_from(["number", "text", "wrapped"]),
        st.text("abc →漢", max_size=40),
        st.text("ab cd", max_size=60),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=6,
)


@given(columns, st.integers(10, 100))
def test_every_line_fits_and_every_heading_and_number_is_whole(described, width):
    made = [
        Column(f"c{place}", heading, [cell], kind == "number", kind == "text", kind == "wrapped", leaves)
        for place, (kind, heading, cell, leaves) in enumerate(described)
    ]
    shown = layout.fit(made, width)
    if shown is None:
        return
    lines = layout.header(shown, Text()) + layout.body(shown, [0])
    assert all(line.cell_len <= width for line in lines)
    for column in shown:
        assert column.width >= layout.cell_len(column.heading)
        if column.is_right_aligned:
            assert column.width >= layout.cell_len(column.cells[0])
    assert {column.name for column in made if not column.leaves} <= {column.name for column in shown}
