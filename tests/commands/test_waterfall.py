"""The waterfall for one connection, and as a page for a browser."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

HOSTILE = (
    b"/</script><script>document.title='owned'</script>",
    b"/<img/src=x/onerror=document.title='owned'>",
    b"/<!--<script>",
    b"/%%DATA%%",
    b"/\xe2\x80\xa8document.title='owned'//",
    b"/\"'];document.title='owned';//",
    b"/\xe2\x80\xaetxt.exe\x1b]0;owned\x07",
    b"/&lt;b&gt;",
)


@pytest.fixture
def page(unmux, tmp_path):
    """Makes the page of a capture."""

    def run(capture, *more):
        path = tmp_path / "waterfall.html"
        said = unmux("report", "waterfall", capture, "--html", path, *more)
        assert (said.status, said.out) == (0, "")
        return path

    return run


@pytest.fixture
def hostile(http_capture, tmp_path):
    path = tmp_path / "hostile.pcap"
    path.write_bytes(http_capture(*HOSTILE))
    return path


def data_of(text):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S).group(1))


def browsed(path, tmp_path, fragment=""):
    """What Chromium makes of the page, as HTML."""
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1400,800",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    done = subprocess.run([*command, "--dump-dom", f"{path.as_uri()}{fragment}"], capture_output=True, text=True, check=True)
    return done.stdout


def labels(dom):
    return [
        html.unescape(re.sub("<[^>]*>", "", found))
        for found in re.findall(r'<span class="label" title=".*?">(.*?)</span><svg class="lane"', dom)
    ]


def test_one_connection_can_be_chosen(unmux, demo):
    out = unmux("report", "waterfall", demo, "--connection", "226").out
    assert re.findall(r"^(\d+:\d+) ", out, re.M) == ["226:1", "226:2", "226:3"]


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["waterfall", "--connection", "44:1"], 2, "--connection takes a connection's number"),
        (["pools", "--connection", "44"], 2, "the report pools is of all connections"),
        (["pools", "--html", "x.html"], 2, "only the report waterfall is a page"),
        (["waterfall", "--html", "x.html", "-f", "json"], 2, "--html is a format of its own"),
        (["waterfall", "--html", "missing/x.html"], 2, "there is no folder missing"),
    ],
)
def test_what_cannot_be_is_refused(unmux, demo, monkeypatch, tmp_path, arguments, status, told):
    monkeypatch.chdir(tmp_path)
    name, *options = arguments
    said = unmux("report", name, demo, *options)
    assert (said.status, list(tmp_path.iterdir())) == (status, [])
    assert told in said.err


def test_a_page_that_is_there_stays_unless_it_is_to_be_replaced(unmux, demo, tmp_path):
    path = tmp_path / "a.html"
    path.write_text("mine")
    assert unmux("report", "waterfall", demo, "--html", path).status == 1
    assert path.read_text() == "mine"
    assert unmux("report", "waterfall", demo, "--html", path, "--force").status == 0


def test_a_capture_without_exchanges_gives_no_page(unmux, samples, tmp_path):
    said = unmux("report", "waterfall", samples / "tcp" / "refused.pcap", "--html", tmp_path / "a.html")
    assert (said.status, list(tmp_path.iterdir())) == (1, [])
    assert "no exchange to show" in said.err


def test_the_policy_of_the_page_lets_only_its_own_style_and_script_in(page, demo):
    text = page(demo).read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', text).group(1)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    styles = re.findall(r"<style>(.*?)</style>", text, re.S)
    hashes = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in [*styles, *scripts]]
    assert len(hashes) == 2
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_the_page_has_what_the_tables_have(page, demo):
    shown = data_of(page(demo).read_text())
    assert [(each["place"], each["units"], len(each["rows"])) for each in shown["connections"]] == [
        ("180", 24, 24),
        ("123", 6, 6),
        ("44", 4, 4),
        ("16", 3, 3),
        ("226", 3, 3),
        ("1", 2, 2),
    ]
    reset = shown["connections"][4]["rows"][0]
    assert reset[:7] == ["226:1", 0, "GET /v1/export", "200", "CANCEL", "reset", "http/2"]
    assert [shown["kinds"][kind] for kind, _, _ in reset[-1]] == ["waiting", "sending", "receiving", "reset"]


def test_the_page_of_one_connection_has_that_one(page, demo):
    assert [each["place"] for each in data_of(page(demo, "--connection", "16").read_text())["connections"]] == ["16"]


def test_no_captured_text_can_end_the_element_it_is_in(page, hostile):
    text = page(hostile).read_text()
    assert text.count("</script>") == text.count("<script") == 2
    assert "<img" not in text
    assert "\u2028" not in text
    assert [row[2] for row in data_of(text)["connections"][0]["rows"]] == [
        "GET /</script><script>document.title='owned'</script>",
        "GET /<img/src=x/onerror=document.title='owned'>",
        "GET /<!--<script>",
        "GET /%%DATA%%",
        "GET /\\u2028document.title='owned'//",
        "GET /\"'];document.title='owned';//",
        "GET /\\u202etxt.exe\\x1b]0;owned\\x07",
        "GET /&lt;b&gt;",
    ]


@in_a_browser
def test_a_browser_shows_hostile_texts_as_texts(page, hostile, tmp_path):
    dom = browsed(page(hostile), tmp_path)
    assert "<title>unmux waterfall</title>" in dom
    assert "<img" not in dom
    assert [label.removesuffix(" 200") for label in labels(dom)][:4] == [
        "1:0 GET /</script><script>document.title='owned'</script>",
        "1:0 GET /<img/src=x/onerror=document.title='owned'>",
        "1:0 GET /<!--<script>",
        "1:0 GET /%%DATA%%",
    ]
    assert len(labels(dom)) == len(HOSTILE)


@in_a_browser
def test_a_browser_draws_bars_marks_and_an_axis(page, demo, tmp_path):
    path = page(demo)
    dom = browsed(path, tmp_path)
    assert dom.count('<button type="button" data-number=') == 6
    assert len(labels(dom)) == 24
    assert labels(dom)[0] == "180:1 GET /v1/orders/1001 200"
    lanes = re.findall(r'<svg class="lane">(.*?)</svg>', dom)
    assert all(re.findall(r'class="(\w+)"', lane) == ["waiting", "sending", "receiving"] for lane in lanes)
    assert re.findall(r"<text [^>]*>([^<]+)</text>", dom.split('id="axis"')[1].split("</svg>")[0])[0] == "0 s"
    reset = re.findall(r'<svg class="lane">(.*?)</svg>', browsed(path, tmp_path, "#226"))[0]
    assert 'class="reset"' in reset
    stalled = re.findall(r'<svg class="lane">(.*?)</svg>', browsed(path, tmp_path, "#123"))
    assert all('class="stalled"' in lane for lane in stalled)


@in_a_browser
def test_a_browser_shows_the_part_of_the_time_that_is_asked_for(page, demo, tmp_path):
    path = page(demo)
    whole, part = browsed(path, tmp_path, "#226"), browsed(path, tmp_path, "#226/15-25")
    assert '<span id="range">28.3 ms</span>' in whole
    assert '<span id="range">15.0 ms to 25.0 ms of 28.3 ms</span>' in part
    widths = [
        float(
            re.search(r'class="receiving" x="[^"]*" width="([^"]*)"', re.findall(r'<svg class="lane">(.*?)</svg>', dom)[1]).group(
                1
            )
        )
        for dom in (whole, part)
    ]
    assert widths[1] / widths[0] == pytest.approx(2.83, rel=0.01)


@in_a_browser
def test_nothing_in_the_page_names_another_file(page, demo, tmp_path):
    dom = browsed(page(demo), tmp_path)
    assert not re.search(r"<(link|iframe|object|embed|img|audio|video|base|form)\b", dom)
    assert not re.search(r'\s(src|href|on\w+)="', dom.split("<script id")[0])


def test_the_parts_of_the_page_are_installed(demo):
    from importlib.resources import files

    assert {"page.css", "page.html", "page.js"} <= {Path(str(entry)).name for entry in files("analyzer.reports.html").iterdir()}
