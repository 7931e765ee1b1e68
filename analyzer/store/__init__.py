"""6. Records become tables: by columns into Arrow, from there into DuckDB or Parquet, secrets masked."""

from analyzer.store.places import is_store
from analyzer.store.store import Store, open_store

__all__ = ["Store", "is_store", "open_store"]
