"""Phases on a time axis, drawn with characters."""

from collections.abc import Mapping
from typing import Any, Final

from rich.text import Text

from analyzer.reports.values import duration

LEAST: Final = 20  # cells below which nothing can be told apart
_AXIS: Final = "axis"
# how each kind of phase looks; later ones are drawn over earlier ones, and each has at least one cell
_LOOKS: Final = {
    "carrying": ("═", "blue"),
    "waiting": ("─", "dim"),
    "queued": ("┄", "yellow"),
    "sending": ("▒", "cyan"),
    "receiving": ("█", "green"),
    "stalled": ("░", "yellow"),
    "missing": ("?", "bold red"),
    "reset": ("✕", "bold red"),
}
_STYLES: Final = dict(_LOOKS.values())


def drawn(bar: Mapping[str, Any] | None, width: int) -> str:
    """A bar in ``width`` cells: ``lasts_ns`` is the length of the axis, ``phases`` have a ``kind``, ``from_ns`` and ``until_ns``."""
    if bar is None:
        return ""
    lasts = bar["lasts_ns"]
    phases = bar["phases"]
    if any(phase["kind"] == _AXIS for phase in phases):
        return _axis(lasts, width)
    cells = [" "] * width
    for kind in _LOOKS:
        for phase in phases:
            if phase["kind"] == kind:
                first, last = _cells(phase["from_ns"], phase["until_ns"], lasts, width)
                cells[first : last + 1] = _LOOKS[kind][0] * (last + 1 - first)
    return "".join(cells)


def coloured(bar: str) -> Text:
    """A drawn bar in colour."""
    text = Text()
    for character in bar:
        text.append(character, _STYLES.get(character, ""))
    return text


def _cells(begin: int, end: int, lasts: int, width: int) -> tuple[int, int]:
    """The first and last cell that a span touches; one that ends where a cell begins does not touch it."""
    first = min(max(begin * width // lasts, 0), width - 1)
    last = min(max(-(-end * width // lasts) - 1, first), width - 1)
    return first, last


def _axis(lasts: int, width: int) -> str:
    """The axis with the times at its beginning, middle and end, as far as there is room."""
    end = f" {duration(lasts)}┤"
    middle = f"┼ {duration(lasts // 2)} "
    cells = ["─"] * width
    cells[: len("├ 0 ")] = "├ 0 "
    if width >= len("├ 0 ") + len(middle) + len(end) + 4 and width // 2 + len(middle) < width - len(end):
        cells[width // 2 : width // 2 + len(middle)] = middle
    cells[width - len(end) :] = end
    return "".join(cells)
