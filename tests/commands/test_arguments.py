"""Arguments that are missing, misspelt or not what they should be."""

import pytest

from analyzer.commands import output


@pytest.mark.parametrize(
    ("command", "missing"), [("query", "SQL"), ("follow", "CONNECTION[:STREAM[.EXCHANGE]]"), ("report", "NAME"), ("tree", None)]
)
def test_beside_a_capture_it_is_the_other_argument_that_is_missing(unmux, demo, command, missing):
    said = unmux(command, demo)
    if missing is None:
        assert said.status == 0
    else:
        assert (said.status, said.err) == (2, f"unmux: {missing} is missing beside {demo}; `unmux {command} --help` tells more\n")
        assert "SOURCE" in unmux(command, "nothing-there").err


def test_a_report_that_is_misspelt_is_guessed(unmux, store_path):
    said = unmux("report", "pool", store_path)
    assert said.status == 2
    assert said.err.startswith("unmux: no report is called 'pool'; did you mean pools? there are: ")


def test_one_query_is_answered_after_statements_that_answer_nothing(unmux, store_path):
    sql = "SET threads = 1; CREATE TEMP TABLE found AS SELECT 5 AS five; FROM found"
    assert unmux("query", store_path, sql, "-f", "csv").out == "five\n5\n"
    said = unmux("query", store_path, "SELECT 1; SELECT 2")
    assert (said.status, said.out) == (2, "")
    assert "required one query, found 2; `unmux shell SOURCE` answers several" in said.err


def test_a_store_is_not_changed_by_a_query(unmux, store_path):
    for sql in ("DELETE FROM connections", "CREATE TABLE more AS SELECT 1", "UPDATE connections SET protocol = 'x'"):
        said = unmux("query", store_path, sql)
        assert (said.status, "read-only" in said.err) == (1, True)


@pytest.mark.parametrize("name", ["out.csv", "out.JSON", "out.parquet", "out.txt"])
def test_tables_are_not_kept_in_a_file_that_is_called_like_another_kind(unmux, demo, tmp_path, name):
    said = unmux(demo, "-o", tmp_path / name)
    assert (said.status, (tmp_path / name).exists()) == (2, False)
    assert "in a .duckdb file or a folder/" in said.err


def test_the_files_that_a_report_was_written_to_are_named(unmux, store_path, tmp_path):
    said = unmux("report", "pools", store_path, "-o", tmp_path / "p.parquet")
    written = [line.removeprefix("unmux: wrote ") for line in said.err.splitlines()]
    assert sorted(written) == sorted(str(path) for path in tmp_path.iterdir())
    assert str(output.section_file(str(tmp_path / "p.parquet"), "Why so many")) in written
