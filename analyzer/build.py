"""Which unmux this is."""

from importlib.util import find_spec


def version() -> str:
    """The version that is installed; 0+checkout when it runs from a checkout that is not installed."""
    from importlib import metadata  # slow to import, and rarely asked

    try:
        return metadata.version("unmux")
    except metadata.PackageNotFoundError:
        return "0+checkout"


def is_compiled() -> bool:
    """Whether the hot modules run compiled."""
    found = find_spec("analyzer.records")
    return found is not None and found.origin is not None and not found.origin.endswith(".py")
