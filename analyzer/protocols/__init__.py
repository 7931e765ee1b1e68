"""5. One file per protocol: its records and its dissector. This module finds them."""

import importlib
import pkgutil
from importlib.metadata import entry_points

from analyzer.dissector import Dissector

ENTRY_POINTS = "unmux.dissectors"  # third parties add dissectors under this group


def dissectors() -> list[type[Dissector]]:
    """Every dissector: those of this folder in order of file name, then those that other distributions add.

    A module of this folder lists its dissectors in ``DISSECTORS``; an entry point names one dissector class.
    """
    found: list[type[Dissector]] = []
    for module in pkgutil.iter_modules(__path__):
        found += importlib.import_module(f"{__name__}.{module.name}").DISSECTORS
    for entry_point in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry_point: entry_point.name):
        found.append(entry_point.load())
    return found
