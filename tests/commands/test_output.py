"""Query results in every format."""

import csv
import io
import json
import re
import subprocess
import sys

import duckdb
import pytest

ODD = """
SELECT 1 AS a, 2 AS a, 'nan'::DOUBLE AS n, [1, 2] AS l, {'x': started_at} AS s, started_at, true AS t,
    'a|b' || chr(27) || chr(8238) || chr(10) AS u, 1.5::DECIMAL(4,2) AS d, 2::HUGEINT ** 70 AS h, NULL::INTEGER AS z
FROM streams ORDER BY started_at LIMIT 1
"""


@pytest.fixture
def ask(unmux, store_path):
    def run(sql, *arguments, width=80):
        return unmux("query", store_path, sql, *arguments, width=width)

    return run


def test_a_query_ends_when_two_signals_come_at_once(store_path):
    script = (
        "import os, signal, sys, threading, time\n"
        "from analyzer.commands import output, signals\n"
        "from analyzer.store import open_store\n"
        "signals.handle(signals.end)\n"
        "def end():\n"
        "    time.sleep(1)\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Thread(target=end).start()\n"
        "try:\n"
        "    with open_store(sys.argv[1]) as store:\n"
        "        output.ask(store, 'SELECT count(*) FROM range(100000000000) a, range(1000) b', 'table')\n"
        "except signals.Interrupted as error:\n"
        "    print('ended by', error.number)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(store_path)], stdout=subprocess.PIPE, text=True)
    out, _ = child.communicate(timeout=60)
    assert re.fullmatch(r"ended by (1|15)\n", out)


def test_json_has_lists_structs_and_nanoseconds(ask):
    (row,) = json.loads(ask(ODD, "-f", "json").out)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9}", row["started_at"])
    assert row["s"] == {"x": row["started_at"]}
    assert (row["a"], row["a_1"], row["n"], row["l"], row["t"], row["d"], row["z"]) == (1, 2, None, [1, 2], True, 1.5, None)
    assert row["u"] == "a|b\x1b\u202e\n"


def test_json_is_an_array_even_when_empty(ask):
    assert json.loads(ask("FROM streams WHERE false", "-f", "json").out) == []
    assert len(json.loads(ask("FROM streams LIMIT 3", "-f", "json").out)) == 3


def test_json_lines_are_a_row_each_and_have_no_control_characters(ask):
    out = ask(ODD, "-f", "jsonl").out
    assert out.count("\n") == 1
    assert out.isascii()
    assert json.loads(out)["a"] == 1


def test_csv_keeps_both_of_two_columns_with_one_name_and_quotes(ask):
    rows = list(csv.reader(io.StringIO(ask(ODD, "-f", "csv").out)))
    assert rows[0][:2] == ["a", "a"]
    assert rows[1][:4] == ["1", "2", "nan", "[1, 2]"]
    assert rows[1][7] == "a|b\x1b\u202e\n"
    assert rows[1][-1] == ""


def test_markdown_escapes_what_would_be_markup(ask):
    out = ask("SELECT '<b>|*' || chr(27) AS x, 3 AS n", "-f", "markdown").out
    assert out == "| x | n |\n| --- | ---: |\n| \\<b>\\|\\*\\\\x1b | 3 |\n"


def test_a_table_shows_values_as_they_are_under_their_own_names(ask):
    out = ask("SELECT duration_ns, started_at, NULL AS nothing FROM exchanges ORDER BY duration_ns DESC LIMIT 1").out
    assert re.search(r"^duration_ns +started_at +nothing$", out, re.M)
    assert re.search(r"^ +7\d{8}  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9}  NULL$", out, re.M)
    assert out.endswith("(1 row)\n")


def test_a_table_that_is_too_wide_becomes_lists_with_every_value_whole(ask):
    out = ask("FROM http_exchanges LIMIT 2").out
    assert re.search(r"^response_content_sha256 +NULL$", out, re.M)
    assert "…" not in out
    assert out.endswith("(2 rows)\n")


def test_a_table_shortens_texts_and_never_numbers(ask):
    out = ask("SELECT 123456789012345678 AS number, repeat('x', 200) AS text").out
    assert "123456789012345678  " + "x" * 59 + "…" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_no_control_character_reaches_a_table(ask):
    out = ask("SELECT 'a' || chr(27) || '[31m' || chr(10) || 'b' AS x").out
    assert "\\x1b[31m\\x0ab" in out


def test_a_long_table_says_that_it_is_cut(ask):
    out = ask("FROM range(10001)").out
    assert out.count("\n") == 10_002
    assert "(the first 10,000 rows; LIMIT and OFFSET" in out


def test_a_plan_is_drawn(ask):
    assert ask("EXPLAIN SELECT 1").out.startswith("╭")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT * FORM x", 'Parser Error: syntax error at or near "x"\nLINE 1: SELECT * FORM x\n                      ^'),
        ("SELECT nope FROM streams", 'Binder Error: Referenced column "nope" not found'),
        ("SELECT CAST(name AS INTEGER) FROM captures", "Conversion Error: Could not convert string"),
        ("CREATE TABLE x (a INTEGER)", "read-only mode"),
        ("FROM nowhere", "Catalog Error: Table with name nowhere does not exist"),
    ],
)
def test_an_error_of_duckdb_is_told_without_a_traceback(ask, sql, words):
    said = ask(sql)
    assert said.status == 1
    assert said.out == ""
    assert said.err.startswith("unmux: ")
    assert words in said.err
    assert "Traceback" not in said.err


def test_an_error_that_quotes_what_was_captured_is_escaped(ask):
    said = ask("SELECT CAST('x' || chr(27) || '[2J' AS INTEGER) FROM range(1)")
    assert said.status == 1
    assert "\x1b" not in said.err


@pytest.mark.parametrize("sql", ["", "/* nothing */", ";"])
def test_nothing_to_run_is_wrong_usage(ask, sql):
    said = ask(sql)
    assert (said.status, said.err) == (2, "unmux: there is no statement\n")


@pytest.mark.parametrize(
    ("suffix", "begins"), [("csv", "n\n41"), ("json", '[\n{"n": 41}'), ("jsonl", '{"n": 41}'), ("md", "| n |"), ("txt", " n\n41")]
)
def test_the_suffix_of_the_file_chooses_the_format(ask, tmp_path, suffix, begins):
    path = tmp_path / f"out.{suffix}"
    said = ask("SELECT count(*) AS n FROM exchanges", "-o", path)
    assert (said.status, said.out) == (0, "")
    assert path.read_text().startswith(begins)


def test_parquet_is_written_whole_with_its_types(ask, tmp_path):
    path = tmp_path / "out.parquet"
    assert ask("SELECT connection_id, started_at FROM streams", "-o", path).status == 0
    relation = duckdb.connect().read_parquet(str(path))
    assert [str(kind) for kind in relation.types] == ["BIGINT", "TIMESTAMP_NS"]
    assert len(relation.fetchall()) == 40


def test_a_query_that_fails_leaves_the_file_as_it_was(ask, tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("before")
    refused = ask("SELECT 1", "-o", path)
    assert (refused.status, refused.err) == (1, f"unmux: -o {path}: exists already; --force replaces it\n")
    assert path.read_text() == "before"
    assert ask("SELECT CAST(name AS INTEGER) FROM captures", "-o", path, "--force").status == 1
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_file_is_replaced_when_told_and_no_other_is_touched(ask, tmp_path):
    path = tmp_path / "out.csv"
    for name in ("out.csv", "out.csv.partial"):
        (tmp_path / name).write_text("before")
    assert ask("SELECT 1 AS x", "-o", path, "--force").status == 0
    assert path.read_text() == "x\n1\n"
    assert (tmp_path / "out.csv.partial").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 2


def test_output_may_be_a_device(ask):
    assert ask("SELECT 1", "-o", "/dev/null", "-f", "csv").status == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-f", "xml"], "--format takes one of table, csv"),
        (["-f", "parquet"], "--format parquet needs -o FILE"),
        (["-o", "{folder}"], "is a folder"),
        (["-o", "{folder}/no/out.csv"], "there is no folder"),
        (["-o", "{folder}/x.duckdb"], "results are not written as a database"),
        (["-o", "{source}"], "is what is read"),
    ],
)
def test_a_format_or_file_that_cannot_be_is_refused_before_the_capture_is_read(unmux, tmp_path, arguments, words):
    source = tmp_path / "broken.pcap"
    source.write_bytes(b"no capture")
    said = unmux("query", source, "SELECT 1", *(argument.format(folder=tmp_path, source=source) for argument in arguments))
    assert said.status == 2
    assert words in said.err
    assert source.read_bytes() == b"no capture"


def test_a_query_can_come_from_standard_input(process, store_path):
    child = process("query", store_path, "-", "-f", "csv", stdin=-1)
    out, _ = child.communicate("SELECT count(*) AS n FROM exchanges")
    assert out == "n\n41\n"


def test_standard_input_cannot_be_capture_and_query(unmux):
    assert unmux("query", "-", "-").status == 2


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "markdown", "table"])
def test_a_report_of_several_sections_can_be_read_by_programs(unmux, store_path, form):
    out = unmux("report", "overview", store_path, "-f", form).out
    if form == "json":
        found = json.loads(out)
        assert {row["protocol"]: row["connections"] for row in found["Protocols"]} == {
            "http2": 3,
            "http1": 3,
            "http1 > websocket": 1,
        }
        assert "of_rows" not in out
    elif form == "jsonl":
        sections = [json.loads(line)["section"] for line in out.splitlines()]
        assert sections[0] == "Capture"
        assert "Slowest exchanges" in sections
    elif form == "csv":
        assert "\n\n# Protocols\nprotocol,connections,streams," in out
    elif form == "markdown":
        assert "\n\n## Protocols\n\n| protocol | connections |" in out


def test_a_report_is_written_to_files(unmux, store_path, tmp_path):
    assert unmux("report", "overview", store_path, "-o", tmp_path / "o.txt").status == 0
    assert "Multiplexing" in (tmp_path / "o.txt").read_text()
    assert unmux("report", "slow-exchanges", store_path, "-o", tmp_path / "o.parquet").status == 0
    assert {path.name for path in tmp_path.glob("*.parquet")} == {"o-slowest.parquet", "o-by-target.parquet"}
    again = unmux("report", "slow-exchanges", store_path, "-o", tmp_path / "o.parquet")
    assert again.status == 1
    assert "o-slowest.parquet: exists already" in again.err
    assert unmux("report", "slow-exchanges", store_path, "-o", tmp_path / "o.parquet", "--force").status == 0
    assert unmux("report", "slow-exchanges", store_path, "-o", tmp_path / "o.json").status == 0
    assert list(json.loads((tmp_path / "o.json").read_text())) == ["Slowest", "By target, those first that took most time in all"]
