"""How one value is shown to a person: the column's name says what it is."""

import datetime
import math
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from analyzer.text import escape_for_terminal, place

BLOCKS = "▁▂▃▄▅▆▇█"
NOTHING = "-"  # a value that is not known, or that the row has not
_IDENTIFIERS = {"stream", "capture", "packet", "port", "status", "index", "message", "close_code", "status_code"}
_CONNECTIONS = {"connection", "stall"}  # columns of connection_ids
_IDENTIFIER_ENDINGS = ("_id", "_index", "_port", "_packet")
_LEAST_OF_AN_END = 10  # cells
_NARROWEST_END = 8
_NUMBERS = {
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
    *("FLOAT", "DOUBLE"),
}
_CUT_IN_THE_MIDDLE = {"name", "client", "server", "ends"}
_REQUESTS = {"target", "exchange", "such_as"}  # method, host, path and query


def duration(nanoseconds: int) -> str:
    """A duration in three figures, with the unit that leaves at least one of them before the point."""
    value = abs(nanoseconds)
    sign = "-" if nanoseconds < 0 else ""
    for unit, size in (("d", 86_400e9), ("h", 3_600e9), ("min", 60e9), ("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        # two days are 48 h and two hours 120 min still: a few of a larger unit say less
        if value >= size * (2 if size >= 60e9 else 0.9995):
            return f"{sign}{_three_figures(value / size)} {unit}"
    return f"{sign}{value} ns" if value else "0 s"


def size(count: int) -> str:
    """Bytes in three figures, in powers of 1000."""
    if abs(count) < 1000:
        return f"{count} B"
    value, unit = count / 1e3, "kB"
    for larger in ("MB", "GB", "TB"):
        if abs(value) < 999.5:
            break
        value, unit = value / 1e3, larger
    return f"{_three_figures(value)} {unit}"


def _three_figures(value: float) -> str:
    magnitude = abs(value)
    return f"{value:.2f}" if magnitude < 9.995 else f"{value:.1f}" if magnitude < 99.95 else f"{value:,.0f}"


def sparkline(levels: Sequence[float]) -> str:
    """Numbers as a row of blocks; zero is a dot on the base line."""
    top = max(levels, default=0)
    if top <= 0:
        return "·" * len(levels)
    return "".join("·" if level <= 0 else BLOCKS[min(7, int(level / top * 7.999))] for level in levels)


def bar(share: float, width: int = 10) -> str:
    """A share between 0 and 1 as a bar and a percentage."""
    share = min(max(share, 0.0), 1.0)
    filled = round(share * width)
    whole = round(share * 100)
    if 0 < share < 1:
        whole = min(max(whole, 1), 99)  # none and all are said of nothing else
    return "█" * filled + "░" * (width - filled) + f" {whole:3}%"


def percentage(percent: float) -> str:
    """A percentage with one decimal, never rounded up."""
    return f"{math.floor(percent * 10 + 1e-6) / 10:.1f} %"


def texts(column: str, cells: Sequence[object]) -> list[str]:
    """The values of a column as texts that are safe to print."""
    if column.endswith("_at"):
        days = {cell.date() for cell in cells if isinstance(cell, datetime.datetime)}
        if len(days) == 1:  # a day that does not change need not be repeated
            return [cell.strftime("%H:%M:%S.%f") if isinstance(cell, datetime.datetime) else NOTHING for cell in cells]
    return [text(column, cell) for cell in cells]


def is_numeric(kind: object) -> bool:
    """Whether a DuckDB type is of numbers."""
    return str(kind).startswith("DECIMAL") or str(kind) in _NUMBERS


def text(column: str, value: object) -> str:
    """A value of a column as text that is safe to print."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        if column.endswith("_over_time"):
            return sparkline([float(number or 0) for number in value])
        return escape_for_terminal(", ".join(str(part) for part in value))
    if isinstance(value, int):
        if column.endswith("_ns"):
            return duration(value)
        if column.endswith("_bytes"):
            return size(value)
        if column in _CONNECTIONS:
            return place(value)
        if column in _IDENTIFIERS or column.endswith(_IDENTIFIER_ENDINGS):
            return str(value)
        return f"{value:,}"
    if isinstance(value, float):
        if column.endswith("_percent"):
            return percentage(value)
        return bar(value) if column.endswith("_share") else f"{value:,.1f}" if abs(value) < 999.95 else f"{value:,.0f}"
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ", timespec="milliseconds" if column.endswith("_at") else "seconds")
    return escape_for_terminal(str(value))


def exact(value: object) -> str:
    """A value as it is, in SQL's words, safe to print."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape_for_terminal(str(value))


def shortened(column: str, shown: str, width: int) -> str:
    """A text in at most ``width`` cells; where both ends matter, such as address and port, the middle goes."""
    if cell_len(shown) <= width:
        return shown
    if column in _REQUESTS:
        return _shorter_request(shown, width)
    if column not in _CUT_IN_THE_MIDDLE:
        return _begun(shown, width)
    left, arrow, right = shown.partition(" → ")
    room = width - cell_len(arrow)
    if not arrow or room < 2 * _NARROWEST_END:
        return _without_middle(shown, width)
    if cell_len(right) > room - _LEAST_OF_AN_END:  # else the first of two ends gives way
        right = _shorter_end(right, max(room // 2, room - cell_len(left)))
    return _shorter_end(left, room - cell_len(right)) + arrow + right


def _begun(shown: str, width: int) -> str:
    """The beginning of a text."""
    return set_cell_size(shown, width - 1).rstrip(" ") + "…"


def _without_middle(shown: str, width: int) -> str:
    head = (width - 1) // 3
    end = set_cell_size(shown[::-1], width - 1 - head).rstrip(" ")[::-1]
    return set_cell_size(shown, head).rstrip(" ") + "…" + end


def _shorter_end(end: str, width: int) -> str:
    """An address and port, of which the port stays whole."""
    if cell_len(end) <= width:
        return end
    address, colon, port = end.rpartition(":")
    room = width - cell_len(colon + port)
    return _without_middle(end, width) if room < 2 else _begun(address, room) + colon + port


def _shorter_request(shown: str, width: int) -> str:
    """Method, host and path, of which the query gives way first, then what is between host and the path's end."""
    request, mark, _ = shown.partition("?")
    if mark and cell_len(request) < width:
        return _begun(shown, width)
    return _without_middle(request, width - 1) + "…" if mark else _without_middle(request, width)


def wrapped(shown: str, width: int) -> list[str]:
    """A text in lines of at most ``width`` cells that end between words where they can; at least one line."""
    lines = [""]
    for word in shown.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        while cell_len(word) > width:
            part = set_cell_size(word, width).rstrip(" ") or word[0]
            lines[-1] = part
            lines.append("")
            word = word[len(part) :]
        lines[-1] = word
    return lines


def heading(column: str) -> str:
    """A column's name as a heading: the unit is in the values."""
    for ending in ("_ns", "_bytes", "_at", "_share", "_percent", "_over_time", "_bar"):
        if column.endswith(ending) and column != ending:
            column = column.removesuffix(ending)
            break
    return column.replace("_", " ")


def is_right_aligned(column: str, cells: Sequence[object]) -> bool:
    """Whether a column is of numbers, or of the status codes that protocols write as text."""
    if column.endswith(("_share", "_over_time")):
        return False
    sample = next((cell for cell in cells if cell is not None), None)
    return column == "status" or (isinstance(sample, int | float) and not isinstance(sample, bool))
