"""Which unmux this is."""

from importlib.util import find_spec
from typing import Final

VERSION: Final = "0.1.0"


def is_compiled() -> bool:
    """Whether the hot modules run compiled."""
    found = find_spec("analyzer.records")
    return found is not None and found.origin is not None and not found.origin.endswith(".py")
