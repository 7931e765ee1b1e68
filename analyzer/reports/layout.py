"""Tables that fit: every heading, number and time whole, or the column not there; texts shortened.

Narrowing goes in steps until the table fits: columns that are optional are left out, the last one first; texts are
shortened, the widest first; and where even that does not do, each row becomes a list of its values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from analyzer.reports import timeline, values

BETWEEN = "  "
COMFORTABLE = 32  # optional columns go before a text is shortened to less
NARROWEST = 8  # of a shortened text
_SHARE_OF_BARS = 0.35  # of the width, at least
_UNKNOWN = {values.NOTHING, "NULL"}
_STYLES = {"error_type": "red", "problem": "red", "end_reason": "yellow", "ended": "yellow", "kind": "yellow"}


@dataclass
class Column:
    """A column of a table: its cells as they are printed."""

    name: str
    heading: str
    cells: list[str]
    is_right_aligned: bool = False
    is_flexible: bool = False
    is_wrapped: bool = False  # goes on in further lines instead of being shortened
    leaves: int = 0  # 0 stays; of the others the lowest is left out first
    bars: Sequence[Mapping[str, Any] | None] | None = None  # drawn as wide as there is room; the cells are their narrowest
    width: int = 0  # of the widest cell and the heading; less when texts are shortened

    def __post_init__(self) -> None:
        self.width = max(map(cell_len, [self.heading, *self.cells]))

    def least(self, narrowest: int) -> int:
        """The width below which it is not shortened."""
        return min(self.width, max(narrowest, cell_len(self.heading))) if self.is_flexible or self.is_wrapped else self.width

    def padded(self, shown: str, *, is_last: bool) -> str:
        """A cell in the column's width; nothing follows the last one."""
        shown = values.shortened(self.name, shown, self.width)
        blanks = " " * (self.width - cell_len(shown))
        if self.is_right_aligned:
            return blanks + shown
        return shown if is_last else shown + blanks


def fit(columns: Sequence[Column], width: int) -> list[Column] | None:
    """The columns that are shown, in their widths; None when no table of them is so narrow."""
    shown = [replace(column) for column in columns]
    for column in shown:
        if column.bars is not None:
            column.width = max(column.width, int(width * _SHARE_OF_BARS))
    fitted = _narrowed(shown, width)
    for column in fitted or []:
        if column.bars is not None:
            _draw(column, width - _total([each.width for each in shown]))
    return fitted


def _draw(column: Column, room: int) -> None:
    """Draw bars, ``room`` cells wider than they need be."""
    column.width += room
    column.cells = [timeline.drawn(bar, column.width) for bar in column.bars or []]


def _narrowed(shown: list[Column], width: int) -> list[Column] | None:
    """Leave out columns and shorten texts until they fit; None where they cannot."""
    for column in sorted([column for column in shown if column.leaves], key=lambda column: column.leaves):
        if _total([each.least(COMFORTABLE) for each in shown]) <= width:
            break
        shown.remove(column)
    excess = _total([column.width for column in shown]) - width
    if excess <= 0:
        return shown
    least = COMFORTABLE if _total([column.least(COMFORTABLE) for column in shown]) <= width else NARROWEST
    while excess > 0:
        wide = [column for column in shown if column.width > column.least(least)]
        if not wide:
            return None
        max(wide, key=lambda column: column.width).width -= 1
        excess -= 1
    return shown


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(BETWEEN) * max(len(widths) - 1, 0)


def make_room(shown: Sequence[Column], title: Text, untitled: Sequence[str], width: int) -> None:
    """Widen the last of the ``untitled`` leading columns where their headings' place is too narrow for the title."""
    leading = [column for column in shown if column.name in untitled and not column.is_right_aligned]
    if not leading or len(leading) == len(shown):
        return
    place = shown.index(leading[-1]) + 1
    blanks = _total([column.width for column in shown[:place]])
    if shown[place].is_right_aligned:
        blanks += len(BETWEEN) + shown[place].width - cell_len(shown[place].heading) - len(BETWEEN)
    lacking = cell_len(title.plain) - blanks
    if 0 < lacking <= width - _total([column.width for column in shown]):
        leading[-1].width += lacking


def header(shown: Sequence[Column], title: Text, untitled: Sequence[str] = ()) -> list[Text]:
    """The line of headings. The title stands in it where the leading columns are ``untitled`` and leave it room, else above."""
    texts = ["" if column.name in untitled else column.heading for column in shown]
    line = BETWEEN.join(column.padded(text, is_last=False) for column, text in zip(shown, texts, strict=True)).rstrip()
    room = len(line) - len(line.lstrip())
    if title and (cell_len(title.plain) + len(BETWEEN) <= room or not line):
        return [Text().append_text(title).append(line[cell_len(title.plain) :], "bold")]
    return [*([title] if title else []), *([Text(line, style="bold")] if line else [])]


def body(shown: Sequence[Column], places: Sequence[int]) -> list[Text]:
    """The rows at these places as lines."""
    lines = []
    for place in places:
        cells = [values.wrapped(column.cells[place], column.width) if column.is_wrapped else [] for column in shown]
        for number in range(max([1, *map(len, cells)])):
            lines.append(
                _line(shown, [_part(column, place, wrapped, number) for column, wrapped in zip(shown, cells, strict=True)])
            )
    return lines


def _part(column: Column, place: int, wrapped: Sequence[str], number: int) -> str:
    """What a cell has in its line with this number."""
    if column.is_wrapped:
        return wrapped[number] if number < len(wrapped) else ""
    return "" if number else column.cells[place]


def _line(shown: Sequence[Column], cells: Sequence[str]) -> Text:
    line = Text()
    last = len(shown) - 1
    for position, (column, cell) in enumerate(zip(shown, cells, strict=True)):
        if column.bars is not None:
            line.append_text(timeline.coloured(column.padded(cell, is_last=position == last)))
        else:
            line.append(
                column.padded(cell, is_last=position == last), "dim" if cell in _UNKNOWN else _STYLES.get(column.name, "")
            )
        if position < last:
            line.append(BETWEEN)
    line.rstrip()
    return line


def listed(columns: Sequence[Column], places: Sequence[int]) -> list[Text]:
    """The rows at these places as lists of name and value, every value whole, for tables that are wider than the terminal."""
    names = max(cell_len(column.heading) for column in columns)
    lines: list[Text] = []
    for place in places:
        if lines:
            lines.append(Text())
        for column in columns:
            line = Text().append(column.heading + " " * (names - cell_len(column.heading)) + BETWEEN, "bold")
            line.append(column.cells[place])
            line.rstrip()
            lines.append(line)
    return lines
