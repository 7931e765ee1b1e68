"""The examples in the documentation work, and the table reference is the one the code generates."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import analyzer
from analyzer.capture.capture_set import CaptureSet
from analyzer.commands import reference
from analyzer.dissector import Context
from analyzer.pipeline import run

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "sample_pcaps" / "demo.pcapng"


class Rows:
    """Keeps rows for a look."""

    def __init__(self):
        self.rows = []

    def add(self, rows):
        self.rows += rows


def examples(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)


def test_the_dissector_on_the_page_about_adding_a_protocol_works(tmp_path, monkeypatch):
    source = examples("docs/adding-a-protocol.md", "python")[0]
    (tmp_path / "line_dissector.py").write_text(source)
    spec = importlib.util.spec_from_file_location("line_dissector", tmp_path / "line_dissector.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "line_dissector", module)
    spec.loader.exec_module(module)
    kept = Rows()
    ports = {("tcp", port): "line" for port in range(1, 65536)}
    run(CaptureSet([str(DEMO)]), Context(module.DISSECTORS, decode_as=ports), kept)
    lines = [row for row in kept.rows if isinstance(row, module.LineRecord)]
    assert any(line.text.startswith(b"GET ") for line in lines)
    assert not [row for row in kept.rows if getattr(row, "kind", "") == "dissector_error"]


def test_the_table_reference_is_the_one_the_declarations_give():
    assert (ROOT / "docs" / "tables.md").read_text() == reference.markdown(reference.all_tables())


def test_the_page_about_live_capture_says_of_each_table_what_it_has_of_what_is_open():
    told = re.search(r"^\| table \| while it is open \|\n(.*?)\n\n", (ROOT / "docs/live.md").read_text(), re.M | re.S).group(1)
    named = [name for row in told.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(table.name for table in reference.all_tables())


@pytest.mark.parametrize("example", examples("README.md", "python"))
def test_the_python_examples_of_the_readme_run(example, monkeypatch):
    monkeypatch.chdir(ROOT)
    exec(compile(example, "README.md", "exec"), {})


@pytest.mark.parametrize(
    "command", [line for block in examples("README.md", "sh") for line in block.splitlines() if line.startswith("unmux ")]
)
def test_the_commands_of_the_readme_run(command, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    line = command.replace(
        "unmux ", f"{sys.executable} -c 'import sys; from analyzer.commands import main; sys.exit(main())' ", 1
    )
    line = line.replace("out.duckdb", str(tmp_path / "out.duckdb"))
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout or "-o" in command


def test_the_packages_own_example_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    with analyzer.analyze([str(DEMO)]) as store:
        rows = store.sql("SELECT request_method, target, status_code FROM http_exchanges").fetchall()
    assert rows


def test_the_overview_in_the_readme_is_what_the_demo_prints():
    shown = re.search(r"<!-- overview -->\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.S).group(1)
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from analyzer.commands import main; sys.exit(main())", "sample_pcaps/demo.pcapng"],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "90", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.rstrip() for line in done.stdout.splitlines()] == shown.splitlines()


def test_a_single_path_needs_no_list_and_may_be_a_path():
    for paths in (str(DEMO), DEMO, [DEMO]):
        with analyzer.analyze(paths) as store:
            assert store.sql("SELECT count(*) FROM captures").fetchall() == [(1,)]
