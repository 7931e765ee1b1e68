"""5. One file per protocol: its records and its dissector. This module finds them."""

import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator

from analyzer.dissector import Dissector

ENTRY_POINTS = "unmux.dissectors"  # third parties add dissectors under this group


def dissectors() -> list[type[Dissector]]:
    """Every dissector: those of this folder in order of file name, then those that other distributions add.

    A module of this folder lists its dissectors in ``DISSECTORS``; an entry point names one dissector class.
    """
    found: list[type[Dissector]] = []
    for module in pkgutil.iter_modules(__path__):
        found += importlib.import_module(f"{__name__}.{module.name}").DISSECTORS
    if any(ENTRY_POINTS.encode() in text for text in _entry_points_files()):
        from importlib.metadata import entry_points  # takes as long to import as everything above

        for entry_point in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry_point: entry_point.name):
            found.append(entry_point.load())
    return found


def _entry_points_files() -> Iterator[bytes]:
    """What the distributions on the path declare."""
    for folder in sys.path:
        try:
            names = os.listdir(folder or os.curdir)  # noqa: PTH208  # hundreds of them, at every start
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                try:
                    with open(os.path.join(folder, name, "entry_points.txt"), "rb") as file:  # noqa: PTH118, PTH123  # likewise
                        yield file.read()
                except OSError:
                    continue
