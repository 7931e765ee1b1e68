"""What a store says of itself: facts about the run that made it, and where another run goes on."""

from collections.abc import Mapping
from typing import Final

import duckdb

from analyzer import build
from analyzer.errors import UnmuxError
from analyzer.records import AnomalyRecord, Rows, StoreMetadataRecord
from analyzer.schema import table_of
from analyzer.store.definitions import SCHEMA_VERSION

_HIGHEST: Final = """
    SELECT
        greatest((SELECT max(capture_index) FROM captures), (SELECT max(capture_index) FROM connections), -1),
        coalesce((SELECT max(line_id) FROM field_lines), -1)
"""


def highest(existing: duckdb.DuckDBPyConnection, description: str) -> tuple[int, int]:
    """The capture_index and line_id that are free in a store that is appended to. UnmuxError when it is none."""
    try:
        index, line = existing.execute(_HIGHEST).fetchall()[0]
    except duckdb.Error as error:
        told = str(error).partition("\n")[0]
        raise UnmuxError(f"{description}: is no store of unmux: {told}") from error
    return int(index) + 1, int(line) + 1


def metadata(options: Mapping[str, str], complete: bool, first_capture_index: int) -> Rows:
    """The facts about a run: versions, options, and whether it read everything."""
    facts = {
        "schema_version": SCHEMA_VERSION,
        "unmux_version": build.VERSION,
        "duckdb_version": duckdb.__version__,
        "build": "compiled" if build.is_compiled() else "interpreted",
        "is_complete": str(complete).lower(),
    }
    facts.update({f"option_{name}": value for name, value in options.items()})
    return [StoreMetadataRecord(key, value, first_capture_index) for key, value in facts.items()]


def not_stored(kind: type, columns: Mapping[str, int]) -> Rows:
    """Faults of a dissector that gave columns of ``kind`` so many values of another type."""
    return [
        AnomalyRecord(
            kind="not_stored",
            required=f"a value of the type of {table_of(kind).name}.{column}",
            found="values that do not fit it",
            occurrences=values,
        )
        for column, values in columns.items()
    ]
