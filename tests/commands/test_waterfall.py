"""The waterfall for one connection, and as a page for a browser."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.sync.client import connect

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


class Tab:
    """A page in a browser that is driven as its developer tools drive it."""

    def __init__(self, socket):
        self._socket = socket
        self._calls = 0
        self.complaints = []
        self.ask("Runtime.enable")
        self.ask("Log.enable")

    def ask(self, method, **parameters):
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._socket.recv())
            if said.get("id") == self._calls:
                assert "error" not in said, said
                return said["result"]
            if said["method"] in {"Log.entryAdded", "Runtime.exceptionThrown"}:
                self.complaints.append(said["params"])

    def value(self, expression):
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def mouse(self, kind, x, y, **more):
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, identity):
        self.value(f"document.getElementById('{identity}').click()")

    def drag(self, begin, end, y):
        self.mouse("mousePressed", begin, y, button="left", clickCount=1)
        self.mouse("mouseMoved", (begin + end) / 2, y, button="left", buttons=1)
        self.mouse("mouseReleased", end, y, button="left", clickCount=1)

    def page(self):
        """The page as HTML."""
        return self.value("document.documentElement.outerHTML")

    def text(self, identity):
        return self.value(f"document.getElementById('{identity}').textContent")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """The address of a Chromium that runs."""
    profile = tmp_path_factory.mktemp("profile")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,800", "--remote-debugging-port=0"]
    child = subprocess.Popen([CHROMIUM, *options, f"--user-data-dir={profile}"], stderr=subprocess.DEVNULL)
    told = profile / "DevToolsActivePort"
    try:
        while not told.exists() or "\n" not in told.read_text():
            assert child.poll() is None
            time.sleep(0.02)
        yield f"http://127.0.0.1:{told.read_text().splitlines()[0]}"
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def tab(browser):
    """Opens a page in Chromium."""
    with ExitStack() as opened:

        def run(path, fragment=""):
            place = urllib.parse.quote(f"{path.as_uri()}{fragment}", safe="")
            request = urllib.request.Request(f"{browser}/json/new?{place}", method="PUT")
            with urllib.request.urlopen(request) as answer:
                where = json.load(answer)["webSocketDebuggerUrl"]
            found = Tab(opened.enter_context(connect(where, max_size=None, proxy=None)))
            while not found.value("document.readyState === 'complete' && document.getElementById('title')?.textContent"):
                time.sleep(0.02)
            return found

        yield run


def seen(it):
    """What is seen of the time: from, until, of all, in ms."""
    return [float(number) for number in re.findall(r"([\d.]+) ms", it.text("range"))]


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


def test_messages_are_ticks_on_the_bar_of_their_stream(page, demo):
    shown = data_of(page(demo, "--connection", "1").read_text())
    (row,) = (row for row in shown["connections"][0]["rows"] if row[1] < 0)
    kinds = [shown["kinds"][kind] for kind, _, _ in row[-1]]
    assert (row[0], row[2], kinds[0]) == ("1:1", "websocket, 64 messages", "carrying")
    assert (kinds.count("to_server"), kinds.count("to_client"), len(kinds)) == (32, 32, 65)


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
def test_a_browser_shows_hostile_texts_as_texts(page, hostile, tab):
    it = tab(page(hostile))
    assert it.complaints == []
    dom = it.page()
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
def test_a_browser_draws_bars_marks_and_an_axis(page, demo, tab):
    path = page(demo)
    dom = tab(path).page()
    assert dom.count('<button type="button" data-number=') == 6
    assert len(labels(dom)) == 24
    assert labels(dom)[0] == "180:1 GET /v1/orders/1001 200"
    lanes = re.findall(r'<svg class="lane">(.*?)</svg>', dom)
    assert all(re.findall(r'class="(\w+)"', lane) == ["waiting", "sending", "receiving"] for lane in lanes)
    assert re.findall(r"<text [^>]*>([^<]+)</text>", dom.split('id="axis"')[1].split("</svg>")[0])[0] == "0 s"
    reset = re.findall(r'<svg class="lane">(.*?)</svg>', tab(path, "#226").page())[0]
    assert 'class="reset"' in reset
    stalled = re.findall(r'<svg class="lane">(.*?)</svg>', tab(path, "#123").page())
    assert all('class="stalled"' in lane for lane in stalled)


@in_a_browser
def test_a_browser_shows_the_part_of_the_time_that_is_asked_for(page, demo, tab):
    path = page(demo)
    whole, part = tab(path, "#226").page(), tab(path, "#226/15-25").page()
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
def test_nothing_in_the_page_names_another_file(page, demo, tab):
    dom = tab(page(demo)).page()
    assert not re.search(r"<(link|iframe|object|embed|img|audio|video|base|form)\b", dom)
    assert not re.search(r'\s(src|href|on\w+)="', dom.split("<script id")[0])


@in_a_browser
def test_the_time_axis_is_zoomed_by_dragging_buttons_and_keys(page, demo, tab):
    it = tab(page(demo), "#226")
    left, width = it.value("(({left, width}) => [left, width])(document.getElementById('axis').getBoundingClientRect())")
    top = it.value("document.querySelector('.lane').getBoundingClientRect().top")
    assert it.text("range") == "28.3 ms"
    it.drag(left + width / 4, left + width / 2, top + 10)
    assert seen(it) == pytest.approx([7.08, 14.2, 28.3], abs=0.1)
    assert labels(it.page()) == ["226:1 GET /v1/export 200, reset", "226:2 GET /v1/orders/1001 200"]
    assert it.text("left") == "2 of 3 in this time"
    it.click("out")
    assert seen(it) == pytest.approx([3.54, 17.7, 28.3], abs=0.1)
    it.click("all")
    assert it.text("range") == "28.3 ms"
    it.value("document.getElementById('rows').focus()")
    for key in ("+", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight"):
        it.ask("Input.dispatchKeyEvent", type="keyDown", key=key)
    assert seen(it) == pytest.approx([14.2, 28.3, 28.3], abs=0.1)
    before = it.text("range")
    it.mouse("mouseWheel", left + width / 2, top + 10, deltaX=0, deltaY=100, modifiers=8)
    while it.text("range") == before:
        time.sleep(0.02)
    assert seen(it) == pytest.approx([10.6, 28.3, 28.3], abs=0.1)
    assert it.complaints == []


@in_a_browser
def test_pointing_at_an_exchange_tells_its_phases(page, demo, tab):
    it = tab(page(demo), "#226")
    left, top = it.value("(({left, top}) => [left, top])(document.querySelector('.lane').getBoundingClientRect())")
    it.mouse("mouseMoved", left + 30, top + 10)
    said = it.text("tip").splitlines()
    assert said[:2] == ["226:1  GET /v1/export", "http/2, 200, reset, CANCEL"]
    assert [line.partition(":")[0] for line in said[3:6]] == ["sending", "waiting", "receiving"]
    assert said[6].startswith("reset at +")
    assert it.value("document.getElementById('tip').hidden") is False
    it.mouse("mouseMoved", 5, 5)
    assert it.value("document.getElementById('tip').hidden") is True


@in_a_browser
def test_connections_are_chosen_and_filtered(page, demo, tab):
    it = tab(page(demo))
    it.value("const box = document.getElementById('filter'); box.value = ':8080'; box.dispatchEvent(new Event('input'))")
    shown = "[...document.querySelectorAll('#connections button b')].map((each) => each.textContent)"
    assert it.value(shown) == ["44", "16"]
    it.value("document.querySelectorAll('#connections button')[1].click()")
    assert it.text("title").startswith("16 · 10.0.0.1:")
    assert it.value("document.querySelectorAll('.row').length") == 3


@in_a_browser
def test_the_policy_holds_even_where_markup_gets_in(page, demo, tab):
    it = tab(page(demo))
    it.value(
        "const added = document.createElement('script'); added.textContent = 'window.owned = 1'; document.body.append(added)"
    )
    it.value(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:image/png;base64,AA\" onerror=\"window.owned = 1\">')"
    )
    assert it.value("window.owned") is None
    assert it.value("new Promise((done) => setTimeout(() => done(window.owned), 50))") != 1
    assert any("Content Security Policy" in each["entry"]["text"] for each in it.complaints)


def test_the_parts_of_the_page_are_installed(demo):
    from importlib.resources import files

    assert {"page.css", "page.html", "page.js"} <= {Path(str(entry)).name for entry in files("analyzer.reports.html").iterdir()}
