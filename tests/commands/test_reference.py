"""The tables, protocols and reports as the command line tells them."""

import csv
import io
import json
import re

import duckdb
import pytest

from analyzer.commands import reference


def test_tables_and_views_are_listed_with_what_a_row_is(unmux):
    out = unmux("tables").out
    assert re.search(r"^http_exchanges +request/response of any HTTP version$", out, re.M)
    assert re.search(r"^exchanges +request/response of any protocol$", out, re.M)
    assert all(len(line) <= 80 for line in out.splitlines())


def test_every_table_and_view_tells_its_columns_in_eighty_columns(unmux):
    found = {table.name: table for table in reference.all_tables()}
    for name in [*found, *reference.views(found)]:
        said = unmux("tables", name)
        assert said.status == 0
        assert all(len(line) <= 80 for line in said.out.splitlines())
        columns = [column.name for column in found[name].columns] if name in found else ["connection_id"]
        assert all(re.search(f"^{column} ", said.out, re.M) for column in columns)


@pytest.mark.parametrize("what", [["tables"], ["tables", "stalls"], ["tables", "exchanges"], ["reports"], ["protocols"]])
def test_every_list_can_be_read_by_programs(unmux, tmp_path, what):
    rows = json.loads(unmux(*what, "-f", "json").out)
    assert [json.loads(line) for line in unmux(*what, "-f", "jsonl").out.splitlines()] == rows
    assert list(csv.DictReader(io.StringIO(unmux(*what, "-f", "csv").out))) == rows
    assert unmux(*what, "-f", "markdown").out.count("\n") > len(rows)
    for name in ("list.parquet", "list.json", "list.txt"):
        assert unmux(*what, "-o", tmp_path / name).status == 0
    assert json.loads((tmp_path / "list.json").read_text()) == rows
    assert duckdb.connect().read_parquet(str(tmp_path / "list.parquet")).fetchall() == [tuple(row.values()) for row in rows]
    assert unmux(*what, "-o", tmp_path / "list.txt").status == 1
    assert unmux(*what, "-f", "parquet").status == 2


def test_one_table_in_markdown_is_a_part_of_the_reference(unmux):
    whole = unmux("tables", "-f", "markdown").out
    part = unmux("tables", "stalls", "-f", "markdown").out
    assert part.split("\n## ")[1] in whole


def test_protocols_are_told_with_their_tables(unmux):
    out = unmux("protocols").out
    assert re.search(r"^websocket +tcp +- +websocket_messages$", out, re.M)
    assert all(len(line) <= 80 for line in out.splitlines())


def test_reports_are_listed(unmux):
    out = unmux("reports").out
    assert re.search(r"^multiplexing +streams open at a time over time", out, re.M)
    assert all(len(line) <= 80 for line in out.splitlines())
