"""How one value is shown to a person: the column's name says what it is."""

import datetime

from analyzer.text import escape_for_terminal

BLOCKS = "▁▂▃▄▅▆▇█"
_IDENTIFIERS = {
    "connection",
    "stream",
    "packet",
    "port",
    "status",
    "index",
    "first_packet",
    "last_packet",
    "close_code",
    "status_code",
}


def duration(nanoseconds: int) -> str:
    """A duration with the unit that gives it up to three figures before the point."""
    value = float(nanoseconds)
    if abs(value) >= 3_600e9:
        return f"{value / 3_600e9:.1f} h"
    if abs(value) >= 60e9:
        return f"{value / 60e9:.1f} min"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}" if abs(value) < 100 * size else f"{value / size:.0f} {unit}"
    return f"{nanoseconds:d} ns"


def size(count: int) -> str:
    """Bytes, in powers of 1000."""
    if abs(count) < 1000:
        return f"{count} B"
    value, unit = count / 1e3, "kB"
    for larger in ("MB", "GB", "TB"):
        if abs(value) < 999.5:
            break
        value, unit = value / 1e3, larger
    return f"{value:.3g} {unit}" if abs(value) < 100 else f"{value:.0f} {unit}"


def sparkline(values: list[float]) -> str:
    """Numbers as a row of blocks; zero is a dot on the base line."""
    top = max(values, default=0)
    if top <= 0:
        return "·" * len(values)
    return "".join("·" if value <= 0 else BLOCKS[min(7, int(value / top * 7.999))] for value in values)


def bar(share: float, width: int = 12) -> str:
    """A share between 0 and 1 as a bar and a percentage."""
    share = min(max(share, 0.0), 1.0)
    filled = round(share * width)
    return "█" * filled + "░" * (width - filled) + f" {share:4.0%}"


def text(column: str, value: object) -> str:
    """A value of a column as text that is safe to print."""
    if value is None:
        return "-"
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
        if column in _IDENTIFIERS or column.endswith(("_id", "_index", "_port")):
            return str(value)
        return f"{value:,}"
    if isinstance(value, float):
        return bar(value) if column.endswith("_share") else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
    if isinstance(value, datetime.datetime):
        return value.strftime("%H:%M:%S.%f") if column.endswith("_at") else value.isoformat(sep=" ")
    return escape_for_terminal(str(value))


def heading(column: str) -> str:
    """A column's name as a heading: the unit is in the values."""
    for ending in ("_ns", "_bytes", "_at", "_share", "_over_time"):
        if column.endswith(ending) and column != ending:
            column = column.removesuffix(ending)
            break
    return column.replace("_", " ")


def is_right_aligned(column: str, value: object) -> bool:
    """Whether a column is of numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not column.endswith("_share")
