"""The renderer: any query result as a table that fits the terminal, and a report as its sections."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analyzer.reports import Report, Section, values
from analyzer.store import Store

NARROWEST = 16  # a flexible column is not shortened below this
BETWEEN = 2  # blanks between columns, one of them the divider
_STYLES = {"error_type": "red", "end_reason": "yellow", "kind": "yellow"}


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    width: int,
    optional: Sequence[str] = (),
    flexible: Sequence[str] = (),
) -> Table:
    """Rows as a table at most ``width`` cells wide: flexible columns are shortened, then optional ones left out."""
    shown = list(columns)
    cells = {name: [values.text(name, row[place]) for row in rows] for place, name in enumerate(columns)}
    widths = {name: max([cell_len(values.heading(name))] + [cell_len(cell) for cell in cells[name]]) for name in columns}

    def least() -> int:
        return sum(min(widths[name], NARROWEST) if name in flexible else widths[name] for name in shown) + BETWEEN * len(shown)

    for name in reversed(list(optional)):
        if least() <= width:
            break
        if name in shown:
            shown.remove(name)
    _share_out(shown, widths, flexible, width)
    result = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, BETWEEN - 1, 0, 0), header_style="bold")
    for name in shown:
        place = list(columns).index(name)
        sample = next((row[place] for row in rows if row[place] is not None), None)
        result.add_column(
            values.heading(name),
            justify="right" if values.is_right_aligned(name, sample) else "left",
            no_wrap=True,
            overflow="ellipsis",
            max_width=widths[name],
            style=_STYLES.get(name, ""),
        )
    for place in range(len(rows)):
        result.add_row(*(Text(cells[name][place]) for name in shown))
    return result


def _share_out(shown: list[str], widths: dict[str, int], flexible: Sequence[str], width: int) -> None:
    """Shorten the widest flexible column, again and again, until the table fits."""
    while sum(widths[name] for name in shown) + BETWEEN * len(shown) > width:
        wide = [name for name in shown if name in flexible and widths[name] > NARROWEST]
        if not wide:
            break
        widest = max(wide, key=lambda name: widths[name])
        widths[widest] -= 1


def section(store: Store, part: Section, width: int) -> RenderableType | None:
    """One section of a report; None when it is empty and has nothing to say of that."""
    relation = store.sql(part.sql)
    rows = relation.fetchall()
    if not rows:
        return None if part.empty is None else Group(Text(part.heading, style="bold cyan"), Text(part.empty, style="dim"), Text())
    columns = relation.columns
    body: RenderableType
    if columns == ["line"]:  # a sentence or drawing made by the query itself
        body = Group(*(Text(values.text("line", row[0])) for row in rows))
    else:
        body = table(columns, rows, width, part.optional, part.flexible)
    return Group(Text(part.heading, style="bold cyan"), Padding(body, 0), Text())


def report(store: Store, chosen: Report, console: Console) -> None:
    """Print a report."""
    shown = False
    for part in chosen.sections:
        body = section(store, part, console.width)
        if body is not None:
            console.print(body)
            shown = True
    if not shown:
        console.print(f"{chosen.title}: nothing of it in this capture.", highlight=False)
