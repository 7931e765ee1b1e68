"""Every sample gives the rows that its peers' own logs (or, for hand-made packets, their construction) prove.

Beside each capture in sample_pcaps/ lies NAME.expected.json: per table the rows in order of time, each with the columns
that are proved. A value ``{"at_least": n}`` is a lower bound; ``{"or_null": value}`` may be unknown. Of ``http_fields`` the rows named have to be there, in any
order; of every other table there have to be exactly the rows named.
"""

import json
from pathlib import Path
from typing import Any

import pytest

import analyzer
from analyzer.commands import reference

SAMPLES = Path(__file__).resolve().parent.parent / "sample_pcaps"
CAPTURES = sorted(SAMPLES.rglob("*.pcap*"))
EXPECTED = sorted(SAMPLES.rglob("*.expected.json"))
ORDER = {
    "connections": "started_at, connection_id",
    "http_exchanges": "coalesce(request_started_at, response_started_at), connection_id, stream_index, exchange_index",
    "websocket_messages": "started_at, connection_id, stream_index, message_index",
    "stalls": "started_at, connection_id, stall_index",
    "tls_handshakes": "client_hello_at, connection_id",
}
# the number of the HTTP/2 stream that a row is on, or that a stream of its own is in
STREAMED = """(SELECT t.*, coalesce(s.protocol_stream_id, p.protocol_stream_id) AS protocol_stream_id
    FROM {} t JOIN streams s USING (connection_id, stream_index)
    LEFT JOIN streams p ON p.connection_id = s.connection_id AND p.stream_index = s.parent_index)"""


def is_satisfied(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, dict):
        if "or_null" in wanted:
            return found is None or found == wanted["or_null"]
        return found is not None and found >= wanted["at_least"]
    return bool(wanted == found)


def rows_like(store: Any, table: str, expected: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of ``table``, with those columns that the expected rows name."""
    columns = sorted({column for row in expected for column in row})
    source = STREAMED.format(table) if "protocol_stream_id" in columns else table
    found = store.sql(f"SELECT {', '.join(columns) or '*'} FROM {source} ORDER BY {ORDER.get(table, 'ALL')}")
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


@pytest.mark.parametrize(
    "path", EXPECTED, ids=[str(path.relative_to(SAMPLES)).removesuffix(".expected.json") for path in EXPECTED]
)
def test_a_sample_gives_the_rows_that_its_peers_logged(path: Path) -> None:
    (capture,) = (found for found in path.parent.glob(f"{path.name.removesuffix('.expected.json')}.pcap*"))
    expected = json.loads(path.read_text())
    assert expected.pop("origin")
    store = analyzer.analyze([str(capture)], content="hash")
    try:
        for table, wanted in expected.items():
            found = rows_like(store, table, wanted)
            if table == "http_fields":
                assert [row for row in wanted if row not in found] == []
                continue
            # Only what a row names is compared; the whole lists are shown where they differ.
            kept = [
                {column: value if is_satisfied(value, row[column]) else row[column] for column, value in names.items()}
                for row, names in zip(found, wanted, strict=False)
            ]
            assert [*kept, *found[len(wanted) :]] == wanted
    finally:
        store.close()


@pytest.mark.parametrize("capture", CAPTURES, ids=[str(path.relative_to(SAMPLES)) for path in CAPTURES])
def test_the_rows_of_every_table_are_told_apart_by_its_key(capture: Path) -> None:
    with analyzer.analyze([str(capture)], content="store") as store:
        for table in reference.all_tables():
            if table.key:
                repeated = store.sql(
                    f"SELECT {', '.join(table.key)}, count(*) FROM {table.name} GROUP BY ALL HAVING count(*) > 1"
                )
                assert (table.name, repeated.fetchall()) == (table.name, [])


def test_every_sample_says_what_is_expected_of_it() -> None:
    assert CAPTURES
    assert [path.name for path in CAPTURES if not path.with_name(f"{path.name.split('.')[0]}.expected.json").exists()] == []
