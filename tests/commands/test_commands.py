"""What the command line says to right and wrong arguments."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import analyzer
from analyzer.commands.app import command_names

SECTIONS = ("Capture", "Protocols", "Multiplexing", "Connections that carried most", "Slowest exchanges")


@pytest.mark.parametrize("width", [80, 160])
def test_a_capture_alone_is_analyzed_and_its_overview_fits_the_terminal(unmux, demo, width):
    said = unmux(demo, width=width)
    assert said.status == 0
    assert all(re.search(f"^{section}", said.out, re.M) for section in SECTIONS)
    assert all(len(line) <= width for line in said.out.splitlines())


def test_the_overview_says_what_was_multiplexed_slow_and_failed(unmux, demo):
    out = unmux(demo).out
    assert "http1 > websocket" in out
    assert re.search(r"41 exchanges over 6 connections: 6\.8 on average, 24 at most; 5 carried several", out)
    assert "up to 8 at a time on one connection; reuse saved 35 TCP handshakes" in out
    assert re.search(r"^\d+:0\.0 +GET .*/search\?q=slow +200 +\d+ ms", out, re.M)
    assert re.search(r"^502 .*GET 10\.0\.0\.2:8080/cart$", out, re.M)
    assert "reset, CANCEL" in out


@pytest.mark.parametrize(
    "arguments", [["-r", "{}"], ["-q", "-r", "{}"], ["--quiet", "{}"], ["analyze", "{}"], ["-d", "tcp.port==9,http2", "{}"]]
)
def test_options_may_come_before_the_capture(unmux, demo, arguments):
    assert unmux(*(argument.format(demo) for argument in arguments)).status == 0


def test_a_file_named_like_a_command_is_read_with_r_or_as_a_path(unmux, demo, tmp_path, monkeypatch):
    (tmp_path / "reports").symlink_to(demo)
    monkeypatch.chdir(tmp_path)
    assert "Multiplexing" in unmux("-r", "reports").out
    assert "Multiplexing" in unmux("./reports").out
    assert "slow-exchanges" in unmux("reports").out


def test_several_captures_and_folders_are_read_as_one(unmux, samples):
    said = unmux(samples / "http1", samples / "websocket" / "*.pcap", "-r", samples / "demo.pcapng")
    assert said.status == 0
    assert re.search(r"^\d+ captures \(report captures\) ", said.out, re.M)


def test_connections_of_later_captures_have_names_that_can_be_typed_back(unmux, samples, demo):
    both = (samples / "http1" / "keep_alive.pcap", demo)
    out = unmux(*both).out
    assert re.search(r"^ +0  keep_alive\.pcap ", out, re.M)
    assert re.search(r"^ +1  demo\.pcapng ", out, re.M)
    stream, target = re.search(r"^(1/\d+:\d+\.\d+) +GET \S+?/(search\S*)", out, re.M).groups()
    assert f"GET /{target} HTTP/1.1" in unmux("follow", *both, stream).out
    connection = stream.partition(":")[0]
    assert f"/{target}" in unmux("tree", *both, connection).out
    assert unmux("tree", *both, stream).status == 2
    sql = f"SELECT count(*) AS n FROM exchanges WHERE place(connection_id, stream_index, exchange_index) = '{stream}'"
    assert int(unmux("query", *both, sql, "-f", "csv").out.split()[1]) > 0
    assert re.search(rf"^ +{connection}  ", unmux("report", "multiplexing", *both).out, re.M)


def test_several_captures_need_no_option(unmux, samples, demo):
    both = (samples / "http1" / "keep_alive.pcap", demo)
    assert unmux("query", *both, "SELECT count(*) AS n FROM captures", "-f", "csv").out == "n\n2\n"
    assert unmux("report", "captures", *both, "-f", "csv").out.count("\n") == 4
    assert unmux("tree", *both).out == unmux("tree", both[0], "-r", both[1]).out


def test_a_capture_is_not_added_twice_unless_told(unmux, demo, samples, tmp_path, monkeypatch):
    path = tmp_path / "out.duckdb"
    other = samples / "http1" / "keep_alive.pcap"
    assert unmux(demo, "-qo", path).status == 0
    before = path.read_bytes()
    monkeypatch.chdir(samples)
    refused = unmux(other, "demo.pcapng", "-qo", path, "--append")
    assert (refused.status, path.read_bytes()) == (1, before)
    assert "demo.pcapng: is in the store already: same name, same first packet; --force adds it once more" in refused.err
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.duckdb"]
    assert unmux(other, "-qo", path, "--append").status == 0


@pytest.mark.parametrize(
    "command", [["{path}"], ["query", "{path}", "FROM captures"], ["report", "overview", "{path}"], ["shell", "{path}"]]
)
@pytest.mark.parametrize("option", [["--content", "hash"], ["-d", "tcp.port==9,http2"], ["--frames"]])
def test_options_of_analysis_are_refused_where_nothing_is_analyzed(unmux, store_path, command, option):
    said = unmux(*(part.format(path=store_path) for part in command), *option)
    assert (said.status, said.out) == (2, "")
    assert f"unmux: {option[0]}: {store_path} is a store; that was decided when it was made" in said.err


def test_quiet_prints_nothing_but_what_went_wrong(unmux, demo, store_path, tmp_path):
    assert unmux("-q", demo).out == unmux("-q", store_path).out == ""
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(Path(demo).read_bytes()[:5000])
    said = unmux("-q", cut)
    assert (said.status, said.out) == (0, "")
    assert "cut.pcapng: " in said.err


def test_a_store_is_made_once_and_replaced_or_added_to_only_when_told(unmux, demo, tmp_path):
    path = tmp_path / "out.duckdb"
    assert unmux(demo, "-qo", path).status == 0
    refused = unmux(demo, "-qo", path)
    assert refused.status == 1
    assert "--append adds to it, --force replaces it" in refused.err
    assert unmux(demo, "-qo", path, "--force").status == 0
    assert unmux(demo, "-qo", path, "--append").status == 1
    assert unmux(demo, "-qo", path, "--append", "--force").status == 0
    with analyzer.open_store(str(path)) as store:
        assert store.sql("SELECT count(*), max(capture_index) FROM captures").fetchall() == [(2, 1)]


def test_a_store_alone_gives_its_overview(unmux, store_path, demo):
    assert unmux(store_path).out == unmux(demo).out


def test_a_folder_keeps_parquet_and_can_be_asked(unmux, demo, tmp_path):
    folder = f"{tmp_path}/out/"
    assert unmux(demo, "-qo", folder).status == 0
    assert unmux("query", folder, "SELECT count(*) AS n FROM exchanges", "-f", "csv").out == "n\n41\n"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nowhere.pcap"], 1, r"nowhere\.pcap: required a file that can be read, found: No such file"),
        (["pyproject.toml"], 1, r"pyproject\.toml: required a pcap or pcapng file.* found 5b"),
        (["nowhere.duckdb"], 1, r"nowhere\.duckdb: required a file that can be read"),
        (["query", "nowhere.duckdb", "SELECT 1"], 1, r"nowhere\.duckdb: there is no such file"),
        (["query", "nowhere.pcap", "SELECT 1"], 1, r"nowhere\.pcap: required a file"),
        (["anlyze"], 2, r"anlyze: neither a command nor a file; did you mean analyze\?"),
        (["zzzzz"], 2, r"neither a command nor a file; `unmux --help`"),
        (["analyze"], 2, r"name a capture"),
        (["{demo}", "--content", "all"], 2, r"--content takes one of none, preview, hash, store, not 'all'"),
        (["{demo}", "-d", "80,http2"], 2, r"-d takes a rule such as tcp\.port==8080,http2"),
        (["{demo}", "-d", "tcp.port==80,gopher"], 2, r"no protocol is called 'gopher'; there are: http1, http2"),
        (["{demo}", "-d", "udp.port==53,http1"], 2, r"-d udp\.port==53,http1: http1 is carried by tcp, not udp"),
        (["{demo}", "-d", "tcp.port==65536,http1"], 2, r"required a port from 1 to 65535, found 65536"),
        (["query", "{demo}", "{store}"], 2, r"is a file; the query comes last"),
        (["{demo}", "{store}"], 2, r"is a store, which cannot be read together"),
        (["report", "nope", "{demo}"], 2, r"no report is called 'nope'; there are: anomalies, captures, connections"),
        (["tables", "nope"], 2, r"no table is called 'nope'"),
        (["tables", "-f", "xml"], 2, r"--format takes one of table, csv"),
        (["follow", "{demo}", "x"], 2, r"follow takes a connection, a stream in it or an exchange in that"),
        (["tree", "{demo}", "999"], 1, r"there is no connection 999"),
    ],
)
def test_an_error_is_one_line_that_names_what_is_wrong(unmux, demo, store_path, monkeypatch, samples, arguments, status, words):
    monkeypatch.chdir(samples.parent)
    said = unmux(*(argument.format(demo=demo, store=store_path) for argument in arguments))
    told = [line for line in said.err.splitlines() if "plain Python" not in line]
    assert said.status == status
    assert said.out == ""
    assert len(told) == 1
    assert re.search(f"^unmux: .*{words}", told[0])


def test_an_unknown_option_is_wrong_usage(unmux, demo):
    said = unmux(demo, "--frobnicate")
    assert said.status == 2
    assert "No such option" in said.err


def test_control_characters_in_a_file_name_do_not_reach_the_terminal(unmux, tmp_path):
    said = unmux(tmp_path / "\x1b[31m.pcap")
    assert said.status == 1
    assert "\x1b" not in said.err
    assert "\\x1b[31m.pcap" in said.err


def test_plain_python_is_told_once_in_one_line_on_standard_error(unmux, demo):
    from analyzer import build

    said = unmux(demo)
    assert said.err.count("plain Python") == (0 if build.is_compiled() else 1)
    assert "plain Python" not in said.out


def test_help_lists_every_command_and_fits_eighty_columns(unmux):
    said = unmux("--help")
    assert said.status == 0
    assert all(re.search(f"^  {name} ", said.out, re.M) for name in command_names())
    assert all(len(line) <= 80 for line in said.out.splitlines())
    assert "Examples:\n    unmux capture.pcapng " in said.out


@pytest.mark.parametrize("command", sorted(command_names()))
def test_every_command_explains_itself_in_eighty_columns(unmux, command):
    said = unmux(command, "--help")
    assert said.status == 0
    assert all(len(line) <= 80 for line in said.out.splitlines())


def test_no_arguments_give_the_help(unmux):
    said = unmux()
    assert said.status == 2
    assert "Usage: unmux" in said.out + said.err


def test_the_version_says_what_is_running(unmux):
    assert re.fullmatch(r"unmux \S+ \((compiled|plain Python)\)\n", unmux("--version").out)


def test_the_help_needs_none_of_the_slow_imports():
    code = (
        "import sys; from analyzer.commands import main; main(['--help']);"
        "print([name for name in ('duckdb', 'rich', 'prompt_toolkit', 'scapy', 'asyncio') if name in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.endswith("\n[]\n")


def test_no_colour_is_written_to_a_pipe_nor_with_no_color(process, demo):
    out, _ = process(demo, env={"NO_COLOR": "1", "FORCE_COLOR": ""}).communicate()
    assert "\x1b" not in out


def test_standard_input_is_a_capture(process, demo):
    with Path(demo).open("rb") as file:
        out, _ = process("-", stdin=file).communicate()
    assert "41 exchanges over 6 connections" in out


@pytest.mark.parametrize(
    "arguments", [["tables"], ["{demo}"], ["query", "{demo}", "FROM range(2000000)", "-f", "csv"], ["tree", "{demo}"]]
)
def test_a_pipe_that_is_closed_ends_it_quietly(process, demo, arguments):
    child = process(*(argument.format(demo=demo) for argument in arguments))
    child.stdout.readline()
    child.stdout.close()
    told = [line for line in child.stderr.read().splitlines() if "plain Python" not in line]
    assert child.wait() == 0
    assert told == []
