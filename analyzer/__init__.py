"""unmux takes packet captures apart: one row per stream, exchange and message, in DuckDB.

>>> import analyzer
>>> store = analyzer.analyze(["capture.pcapng"])
>>> store.sql("SELECT request_method, target, status_code FROM http_exchanges")
"""

from typing import Any

__all__ = ["analyze", "open_store"]


def __getattr__(name: str) -> Any:
    """Import the program when it is first used, so that `unmux --help` need not wait for it."""
    if name == "analyze":
        from analyzer.pipeline import analyze

        return analyze
    if name == "open_store":
        from analyzer.pipeline import open_store

        return open_store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
