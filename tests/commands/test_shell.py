"""What the shell answers, statement by statement."""

import re

import pytest

READY = b"\x1b[?2004h"  # bracketed paste goes on when the prompt listens


@pytest.fixture
def say(process, store_path):
    def run(text):
        child = process("shell", store_path, stdin=-1)
        out, err = child.communicate(text)
        return child.returncode, out, err

    return run


def test_statements_end_with_a_semicolon_and_take_several_lines(say):
    status, out, err = say(".mode csv\nSELECT 1\n  AS a;\nSELECT 'x;\ny' AS b; SELECT 3 AS c;\nSELECT 4 AS d")
    assert (status, err) == (0, "")
    assert out == 'a\n1\nb\n"x;\ny"\nc\n3\nd\n4\n'


def test_an_error_is_told_and_the_shell_goes_on(say):
    status, out, err = say("SELECT nope;\nFROM nowhere;\n.schema nowhere\n.report nowhere\n.mode csv\nSELECT 1 AS a;\n")
    assert status == 1
    assert out == "a\n1\n"
    assert len(re.findall(r"^Binder Error|^Catalog Error|^no table is called|^no report is called", err, re.M)) == 4
    assert "Traceback" not in err


def test_dot_commands_tell_tables_columns_and_reports(say):
    status, out, _ = say(".tables\n.schema stalls\n.reports\n.report websocket\n.help\n.quit\nSELECT 1;")
    assert status == 0
    assert re.search(r"^http_exchanges +request/response of any HTTP version$", out, re.M)
    assert re.search(r"^waiting_bytes +BIGINT +bytes that waited behind the hole", out, re.M)
    assert re.search(r"^multiplexing +streams open", out, re.M)
    assert "Conversations" in out
    assert out.endswith("Ctrl-C stops a query or drops a line\n")


def test_every_column_of_every_table_is_listed(say):
    _, out, err = say(".mode csv\n.schema\n")
    assert err == ""
    assert out.startswith("table,column,type\nanomalies,capture_index,BIGINT\n")
    assert "\nexchanges,duration_ns,BIGINT\n" in out


def test_one_result_goes_to_a_file(say, tmp_path):
    file = tmp_path / "result.csv"
    status, out, err = say(f".mode csv\n\\o {file}\nSELECT 1 AS a;\nSELECT 2 AS b;\n\\o {file}\n")
    assert (status, out, file.read_text()) == (1, "b\n2\n", "a\n1\n")
    assert re.fullmatch(r"unmux: wrote .*result\.csv\n-o .*result\.csv: exists already; .*\n", err)


@pytest.mark.parametrize("word", ["exit", "quit;", "\\q", ".exit", "QUIT"])
def test_what_other_shells_leave_by_leaves(say, word):
    assert say(f"{word}\nSELECT 1 AS a;\n") == (0, "", "")


def test_what_other_shells_describe_tables_by_works(say):
    assert say("\\d\n")[1] == say("\\dt\n")[1] == say(".tables\n")[1] != ""
    assert say("\\d stalls\n")[1] == say(".schema stalls;\n")[1] != ""


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (".foo", ".foo: no such command; .help lists them"),
        ("\\x", "\\x: no such command"),
        (".mode parquet", ".mode takes table, csv, json, jsonl or markdown; it is table"),
        (".mode", ".mode takes table"),
        (".report", ".report takes a name: anomalies, "),
    ],
)
def test_a_wrong_command_is_explained(say, said, words):
    status, out, err = say(f"{said}\n")
    assert (status, out) == (1, "")
    assert err.startswith(words)


def test_on_a_terminal_it_has_pages_and_history_and_shows_a_thousand_rows(process, store_path, tmp_path):
    pty = pytest.importorskip("pty")
    import os

    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho a page of; sed -n '1001,$p'\n")
    pager.chmod(0o755)
    ours, theirs = pty.openpty()
    child = process(
        "shell",
        store_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        text=False,
        env={"XDG_STATE_HOME": str(tmp_path), "TERM": "xterm", "PAGER": str(pager)},
    )
    os.close(theirs)
    said = b""

    def until(*words):
        nonlocal said
        for word in words:
            while word not in said:
                said += os.read(ours, 65536)
            said = said.partition(word)[2]

    until(READY)
    os.write(ours, b"FROM range(1001);\r")
    until(b"a page of", b"the first 1,000 rows", READY)
    os.write(ours, b"SELECT nope;\r")
    until(b"Binder Error", READY)
    os.write(ours, b"\x04")
    while True:
        try:
            if not os.read(ours, 65536):
                break
        except OSError:  # the terminal is closed
            break
    assert child.wait() == 0
    os.close(ours)
    history = tmp_path / "unmux" / "history"
    assert "+FROM range(1001);" in history.read_text()
    assert history.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("pager", ["less '", "{folder}/no_program"])
def test_on_a_terminal_without_a_pager_and_without_a_history_it_answers_as_well(process, store_path, tmp_path, pager):
    pty = pytest.importorskip("pty")
    import os

    (tmp_path / "no_program").write_text("neither")
    (tmp_path / "no_program").chmod(0o755)
    (tmp_path / "unmux" / "history").mkdir(parents=True)
    ours, theirs = pty.openpty()
    environment = {"XDG_STATE_HOME": str(tmp_path), "TERM": "xterm", "PAGER": pager.format(folder=tmp_path)}
    child = process("shell", store_path, stdin=theirs, stdout=theirs, stderr=theirs, text=False, env=environment)
    os.close(theirs)
    said = b""

    def until(*words):
        nonlocal said
        at = len(said)
        for word in words:
            while word not in said[at:]:
                said += os.read(ours, 65536)
            at = said.index(word, at) + len(word)

    until(READY)
    os.write(ours, b"SELECT 'an ' || 'answer';\r")
    until(b"an answer", READY)
    os.write(ours, b"\x04")
    while True:
        try:
            said += os.read(ours, 65536)
        except OSError:  # the terminal is closed
            break
    assert child.wait() == 0
    os.close(ours)
    assert b"exception" not in said
    assert b"Traceback" not in said
