"""The renderer: any query result as a table that fits the terminal, and a report as its sections."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from analyzer.reports import LINE, OF_ROWS, Report, Section, answers, layout, timeline, values

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

    from analyzer.store import Store

FEWEST_ROWS = 3  # a section keeps them, or one less, however low the terminal is


def columns_of(part: Section, names: Sequence[str], rows: Sequence[Sequence[object]]) -> list[layout.Column]:
    """A report's columns as people read them; those without a value in any row are left out."""
    found = []
    for place, name in enumerate(names):
        cells = [row[place] for row in rows]
        if name == OF_ROWS or all(cell is None for cell in cells):
            continue
        if name.endswith("_bar"):
            bars = [cell if isinstance(cell, dict) else None for cell in cells]
            narrowest = [timeline.drawn(bar, timeline.LEAST) for bar in bars]
            found.append(layout.Column(name, values.heading(name), narrowest, bars=bars))
            continue
        right = values.is_right_aligned(name, cells)
        leaves = part.optional.index(name) + 1 if name in part.optional else 0
        shown = values.texts(name, cells)
        found.append(
            layout.Column(
                name, values.heading(name), shown, right, name in part.flexible and not right, name in part.wrapped, leaves
            )
        )
    return found


def exact_columns(names: Sequence[str], rows: Sequence[Sequence[object]], types: Sequence[object]) -> list[layout.Column]:
    """The columns of a user's query: its names and its values as they are. Only texts may be shortened."""
    found = []
    for place, (name, kind) in enumerate(zip(names, types, strict=True)):
        cells = [values.exact(row[place]) for row in rows]
        is_text = str(kind) == "VARCHAR" or (str(kind).endswith((")", "]")) and not values.is_numeric(kind))
        found.append(layout.Column(name, values.exact(name), cells, values.is_numeric(kind), is_text))
    return found


def lines(columns: Sequence[layout.Column], count: int, width: int) -> list[Text]:
    """A table of ``count`` rows at most ``width`` cells wide, or lists where it cannot be so narrow."""
    shown = layout.fit(columns, width)
    if shown is None:
        return layout.listed(columns, range(count))
    return [*layout.header(shown, Text()), *layout.body(shown, range(count))]


def print_lines(console: Console, printed: Sequence[Text]) -> None:
    """Print lines as they are, however narrow the terminal."""
    for line in printed:
        console.print(line, soft_wrap=True)


@dataclass
class _Block:
    """A section as it is printed: what leads, and its rows, of which some may be left out."""

    section: Section
    columns: list[layout.Column] = field(default_factory=list)
    written: list[Text] = field(default_factory=list)  # lines that a query wrote itself
    rows: int = 0
    of_rows: int = 0

    def lines(self, width: int, rows: int) -> list[Text]:
        """Its lines with so many of its rows."""
        *above, last = [Text().append(line, "bold cyan") for line in values.wrapped(self.section.heading, width)]
        return [*above, *self._below(last, width, rows)]

    def hidden(self, width: int) -> int:
        """How many columns are left out."""
        shown = layout.fit(self.columns, width)
        return 0 if shown is None else len(self.columns) - len(shown)

    def _below(self, title: Text, width: int, rows: int) -> list[Text]:
        if self.written:
            return [title, *self.written]
        if self.of_rows > rows:
            title.append(f"  {rows:,} of {self.of_rows:,}", style="dim")
        shown = layout.fit(self.columns, width)
        if shown is None:
            return [title, *layout.listed(self.columns, range(rows))]
        layout.make_room(shown, title, self.section.untitled, width)
        return [*layout.header(shown, title, self.section.untitled), *layout.body(shown, range(rows))]


def _block(part: Section, relation: "DuckDBPyRelation", width: int) -> _Block | None:
    """A section with its rows; None when it has none and nothing to say of that."""
    rows = relation.fetchall()
    names = relation.columns
    if names == [LINE]:
        rows = [row for row in rows if row[0] is not None]
    if not rows:
        return None if part.empty is None else _Block(part, written=[Text(part.empty, style="dim")])
    if names == [LINE]:
        written = [line for row in rows for line in _sentence(values.text(LINE, row[0]), width)]
        return _Block(part, written=written, rows=len(written))
    of_rows = rows[0][names.index(OF_ROWS)] if OF_ROWS in names else 0
    return _Block(part, columns_of(part, names, rows), [], len(rows), of_rows)


def _sentence(shown: str, width: int) -> list[Text]:
    """A sentence in lines; those after the first are indented."""
    first, *more = values.wrapped(shown, width)
    return [Text(first), *(Text("  " + line) for line in values.wrapped(" ".join(more), width - 2) if line)]


def report(store: "Store", chosen: Report, console: Console, height: int | None = None) -> None:
    """Print a report. Of sections that rank their rows so few are shown that it has ``height`` lines, where that can be."""
    width = console.width
    found = [_block(part, relation, width) for part, relation in answers(store, chosen)]
    blocks = [block for block in found if block is not None]
    if not blocks:
        console.print(f"{chosen.title}: nothing of it in this capture.")
        return
    remark = _hidden(blocks, chosen.name, width)
    texts, between = _arranged(blocks, width, None if height is None else height - len(remark) - bool(remark))
    for place, text in enumerate(texts):
        if place and between:
            console.print()
        print_lines(console, text)
    if remark:
        console.print()
        print_lines(console, remark)


def _hidden(blocks: Sequence[_Block], name: str, width: int) -> list[Text]:
    """What to say of columns that are left out: nothing where there are none."""
    hidden = sum(block.hidden(width) for block in blocks)
    if not hidden:
        return []
    columns = "column is" if hidden == 1 else "columns are"
    said = f"{hidden} {columns} hidden: a wider terminal shows more, `unmux report {name} SOURCE --format json` all"
    return [Text(line, style="dim") for line in values.wrapped(said, width)]


def _arranged(blocks: Sequence[_Block], width: int, height: int | None) -> tuple[list[list[Text]], int]:
    """The lines of the sections, and how many empty ones are between them: all, or so much of them that they fit the height."""
    rows = [block.rows for block in blocks]
    texts = [block.lines(width, count) for block, count in zip(blocks, rows, strict=True)]
    fixed = sum(map(len, texts)) - sum(rows)  # lines that stay; a row may have several, which a terminal so low seldom shows
    if height is None:
        return texts, 1
    for fewest, between in ((FEWEST_ROWS, 1), (FEWEST_ROWS, 0), (FEWEST_ROWS - 1, 0)):
        while fixed + sum(rows) + between * (len(blocks) - 1) > height:
            longer = [place for place, block in enumerate(blocks) if block.of_rows and rows[place] > fewest]
            if not longer:
                break
            rows[max(longer, key=lambda place: rows[place])] -= 1
        else:
            break
    return [block.lines(width, count) for block, count in zip(blocks, rows, strict=True)], between
