import re
from typing import Annotated

import pytest

from analyzer import records
from analyzer.http import semantics
from analyzer.records import FieldLine
from analyzer.schema import Masking, Record, Stability, Table, capture, conversation, record, table_of, time
from analyzer.store.definitions import declared_tables, views

HTTP = [semantics.HttpExchangeRecord, semantics.HttpFieldSectionRecord, semantics.HttpContentRecord]
TABLES = list(declared_tables(HTTP).values())


@record("samples", "sample")
class SampleRecord(Record):
    """A column of every type."""

    connection_id: "Annotated[int, capture('the connection')]"
    seen_at: "Annotated[int | None, time('when')]" = None
    ratio: "Annotated[float | None, conversation('a ratio')]" = None
    name: "Annotated[str | None, conversation('a name')]" = None
    secret: "Annotated[bytes | None, conversation('a secret', Masking.WHOLE)]" = None
    content: "Annotated[bytes, conversation('a content', is_content=True)]" = b""
    is_good: "Annotated[bool, capture('good')]" = False
    lines: "Annotated[list[FieldLine] | None, conversation('lines', Masking.FIELDS)]" = None


def test_types_come_from_the_annotation_and_the_name() -> None:
    columns = {column.name: column for column in table_of(SampleRecord).columns}
    assert [(name, column.sql_type) for name, column in columns.items()] == [
        ("connection_id", "BIGINT"),
        ("seen_at", "TIMESTAMP_NS"),
        ("ratio", "DOUBLE"),
        ("name", "VARCHAR"),
        ("secret", "VARCHAR"),
        ("content", "VARCHAR"),
        ("is_good", "BOOLEAN"),
        ("lines", "BIGINT[]"),
    ]
    assert columns["secret"].masking is Masking.WHOLE
    assert columns["seen_at"].stability is Stability.TIME
    assert columns["content"].is_content
    assert columns["lines"].python_type is list


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_is_named_and_described_by_the_rules(table: Table) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", table.name)
    assert table.row
    assert set(table.key) <= {column.name for column in table.columns if column.python_type is not bytes}
    for column in table.columns:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", column.name)
        assert column.doc
        assert not column.doc.endswith(".")
        if column.name.endswith(("_at", "_ns", "_bytes")):
            assert column.python_type is int
        if column.python_type is bool:
            assert column.name.startswith(("is_", "has_", "fields_complete"))


def test_every_store_has_the_tables_of_the_core() -> None:
    assert list(declared_tables([])) == [
        "anomalies",
        "captures",
        "connections",
        "field_lines",
        "stalled_streams",
        "stalls",
        "store_metadata",
        "streams",
    ]
    assert table_of(records.CaptureRecord).columns[0].name == "capture_index"


def test_a_record_that_two_dissectors_share_is_one_table_and_two_records_cannot_share_a_name() -> None:
    assert list(declared_tables([SampleRecord, SampleRecord]))[-1] == "samples"

    @record("samples", "impostor")
    class OtherRecord(Record):
        """Claims the name again."""

        connection_id: "Annotated[int, capture('the connection')]"

    with pytest.raises(ValueError, match="both declare the table samples"):
        declared_tables([SampleRecord, OtherRecord])


def test_the_views_follow_the_declarations() -> None:
    assert list(views(declared_tables([])))[:2] == ["exchanges", "messages"]
    assert "http_fields" not in views(declared_tables([]))  # its tables are not there
    assert "http_fields" in views(declared_tables(HTTP))
    assert 'FROM "http_exchanges"' in views(declared_tables(HTTP))["exchanges"]


def test_a_mapping_to_a_column_that_the_view_lacks_is_refused() -> None:
    @record("mapped", "row", exchange={"colour": "'red'"})
    class MappedRecord(Record):
        """Maps what is not there."""

        connection_id: "Annotated[int, capture('the connection')]"

    with pytest.raises(ValueError, match="colour"):
        views(declared_tables([MappedRecord]))
