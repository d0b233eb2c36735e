"""The page in a browser, beside a real gateway: signed in, acknowledged, gone away and come back; WCAG by axe-core."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.alarm_journal import latest
from gateway.control import NotRunning, ask
from gateway.home import DATABASE
from gateway.page_pin import keep
from gateway.reader import Reader
from tests import browser
from tests.browser import Browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PIN = "hall482916"
SITE = """
schema = 1
site = { id = "centre", gateway = "centre-a", name = "中心<script>document.title = 'hacked'</script>", lang = "zh-CN" }
clock = { trust = "system" }
bus.n1 = { kind = "node", port = "link:n1", silent_s = 1 }
sensor."basement/rope" = { from = "n1:contact1", kind = "leak", name = "地下室水浸绳", silent_s = 2 }
alarm.leak = { name = "漏水<b>", severity = "urgent", any = ["basement/rope is wet"] }
alarm.far = { name = "远程", severity = "low", any = ["basement/rope is silent"], ack = ["city"] }
facility.lift-1 = { name = "1号电梯", duty = "物业" }
queue.hall = { name = "一楼大厅" }
service.A = { queue = "hall", name = "社会保障" }
window.1 = { services = ["A"], name = "1号窗口" }
uplink = { broker = "mqtt://127.0.0.1:1" }
"""


class Centre:
    """A gateway whose line is not there, so that `source:n1` comes by itself, and a page beside it."""

    def __init__(self, folder: Path) -> None:
        self.state, self._site = folder / "state", folder / "site.toml"
        self._site.write_text(SITE, encoding="utf-8")
        (folder / "links").mkdir()
        self.state.mkdir(mode=0o700)
        keep(self.state, PIN)
        self._linli = [sys.executable, "-m", "gateway"]
        self._links = ["--links", str(folder / "links")]
        self._page: subprocess.Popen[str] | None = None
        self.url = ""
        self.start()

    def open(self) -> None:
        self._page = subprocess.Popen(
            [*self._linli, "page", str(self._site), "--state", str(self.state), "--port", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._page.stdout
        self.url = self._page.stdout.readline().strip().rstrip("/")
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", self.url), self.url
        browser.wait(lambda: "source:n1" in self.alarms(), "the silent line's alarm")

    def start(self) -> None:
        run = [*self._linli, "run", str(self._site), "--state", str(self.state), *self._links]
        self._gateway = subprocess.Popen(run, stderr=subprocess.DEVNULL, env=os.environ)
        browser.wait(self.answers, "the gateway answers")

    def kill(self) -> None:
        self._gateway.kill()
        self._gateway.wait(10)

    def hang(self) -> None:
        self._gateway.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._gateway.send_signal(signal.SIGCONT)

    def answers(self) -> bool:
        try:
            return bool(ask(self.state, {"ask": "look"}))
        except NotRunning:
            return False

    def alarms(self) -> dict:
        try:
            return ask(self.state, {"ask": "look"})["alarms"]
        except NotRunning:
            return {}

    def close(self) -> None:
        self.go_on()
        for process in (self._page, self._gateway):
            if process:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=20)


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    browser.needed()
    centre = Centre(tmp_path_factory.mktemp("centre"))
    try:
        centre.open()
        yield centre
    finally:
        centre.close()


@pytest.fixture(scope="module")
def tab(centre: Centre, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Signed in by the keyboard, after one wrong PIN."""
    with Browser(tmp_path_factory.mktemp("profile")) as tab:
        tab.size(1280, 900)
        tab.open(f"{centre.url}/staff")
        assert tab.axe() == []
        tab.type("#pin", "482916")
        tab.press("form.login button")
        tab.wait(lambda: "PIN 不对" in tab.text(), "the wrong PIN is told")
        assert tab.axe() == []
        tab.type("#pin", PIN)
        tab.press("form.login button")
        tab.wait(lambda: tab.run("!!document.querySelector('#alarms')"), "signed in")
        yield tab
        assert not [line for line in tab.console if "Content Security Policy" in line or "exception" in line.lower()]


def test_an_alarm_is_acknowledged_by_the_keyboard_and_is_so_in_the_gateway(centre, tab):
    article = "document.querySelector('#alarm-source\\\\:n1').innerText"
    assert "未确认" in tab.run(article)
    tab.press("#acknowledge-source\\:n1")
    tab.wait(lambda: "已确认" in tab.run(article), "it is shown as acknowledged")
    assert "已办理" in tab.text()
    assert "已办理" in tab.run("document.activeElement.innerText"), "where a screen reader is"
    assert centre.alarms()["source:n1"] == "acknowledged"
    reader = Reader(centre.state / DATABASE)
    try:
        browser.wait(
            lambda: any(step.data.get("by") == "page" for step in latest(reader, 50)), "the journal names the way"
        )
    finally:
        reader.close()
    tab.open(f"{centre.url}/staff/journal")
    assert "页面" in tab.text() and "确认" in tab.text()
    tab.open(f"{centre.url}/staff")


def test_what_only_the_city_may_acknowledge_has_no_button_and_a_forged_form_is_refused(centre, tab):
    tab.wait(lambda: tab.run("!!document.querySelector('#alarm-far')"), "the alarm of the silent rope", 60)
    assert not tab.run("!!document.querySelector('#acknowledge-far')")
    tab.run("""(() => { const form = document.querySelector('#begin-test form');
        form.querySelector('[name=deed]').value = 'acknowledge'; form.querySelector('[name=mode]').name = 'name';
        form.querySelector('[name=name]').value = 'far'; form.submit(); })()""")
    tab.wait(
        lambda: "notice bad" in tab.run("document.body.innerHTML") and "far" in tab.text(), "the gateway's refusal"
    )
    assert centre.alarms()["far"] != "acknowledged"


def test_a_name_in_the_site_file_is_a_name(tab):
    assert tab.run("document.title") != "hacked" and "<script>" in tab.run("document.title")
    assert tab.run("document.querySelectorAll('script').length") == 1


def test_what_changes_is_shown_without_a_reload_and_what_somebody_types_stays(centre, tab):
    tab.open(f"{centre.url}/staff")
    tab.run("window.same = true; document.querySelector('#open-lift-1').open = true; 0")
    tab.type("#open-lift-1-by", "李")
    ask(centre.state, {"ask": "mode", "mode": "test", "place": "", "minutes": 5})
    ask(centre.state, {"ask": "facility", "deed": "tested", "facility": "lift-1", "by": "王", "note": ""})
    tab.wait(lambda: tab.run("!!document.querySelector('#end-test-')"), "the mode is shown")
    assert "王" not in tab.text(), "the form that is being filled in waits"
    assert tab.run("window.same") and tab.run("document.querySelector('#open-lift-1-by').value") == "李"
    tab.press("#end-test-")
    tab.wait(lambda: not ask(centre.state, {"ask": "look"})["modes"], "the page ended it")
    tab.open(f"{centre.url}/staff/journal")
    assert re.search(r"测试模式、整个中心\s+结束\s+页面", tab.text()), tab.text()
    assert re.search(r"1号电梯\s+已测试\s+王", tab.text())


def test_a_report_of_a_fault_opens_a_case_and_the_hall_is_told(centre, tab):
    tab.open(f"{centre.url}/staff")
    tab.run("document.querySelector('#open-lift-1').open = true; 0")
    tab.type("#open-lift-1-by", "李")
    tab.press("#open-lift-1-go")
    tab.wait(lambda: "repaired-lift-1" in tab.run("document.body.innerHTML"), "the case is open")
    tab.open(f"{centre.url}/")
    assert "停用" in tab.text() and "1号电梯" in tab.text() and "漏水" not in tab.text()


@pytest.mark.parametrize("lang", ["zh-CN", "en"])
@pytest.mark.parametrize("path", ["/", "/staff", "/staff/journal"])
def test_a_view_is_clean_for_axe_reflows_at_320_px_and_has_targets_of_24_px(centre, tab, path, lang):
    tab.size(1280, 900)
    tab.open(f"{centre.url}/lang?to={lang}&back={path}")
    tab.wait(lambda: tab.run("document.documentElement.lang") == {"zh-CN": "zh-Hans", "en": "en"}[lang], lang)
    tab.run("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert tab.axe() == []
    tab.size(320, 640)
    assert tab.run("document.documentElement.scrollWidth") <= 320
    small = """[...document.querySelectorAll('a, summary, button, input:not([type=hidden]), select')]
        .map(each => [each.outerHTML, each.getBoundingClientRect()])
        .filter(([_, box]) => box.width < 24 || box.height < 24).map(([text, _]) => text)"""
    assert tab.run(small) == []


def test_a_mistake_in_the_page_is_seen(centre, tab):
    tab.size(1280, 900)
    tab.open(f"{centre.url}/staff")
    tab.run("document.querySelector('h2').style.color = '#bbb'; 0")
    assert any(each.startswith("color-contrast") for each in tab.axe())


def test_the_halls_numbers_are_as_large_as_the_distance_wants(centre, tab):
    """5 m and a picture 620 mm high, the defaults: 61 mm for a digit."""
    tab.size(1920, 1080)
    tab.open(f"{centre.url}/")
    font_px = float(tab.run("getComputedStyle(document.querySelector('tbody td')).fontSize.replace('px', '')"))
    assert font_px * 0.72 / 1080 * 620 >= 5 * 12.2 * 0.99
    assert tab.run("document.documentElement.scrollWidth") <= 1920
    assert tab.run("document.documentElement.scrollHeight") <= 1080, "nobody scrolls it"


def test_a_gateway_that_hangs_or_dies_is_told_and_its_return_is_shown_without_a_reload(centre, tab):
    tab.open(f"{centre.url}/lang?to=en&back=/staff")
    tab.wait(lambda: tab.run("!!document.querySelector('#alarms')"), "the staff's view")
    tab.run("window.same = true; 0")
    for away, back in ((centre.hang, centre.go_on), (centre.kill, centre.start)):
        away()
        tab.wait(lambda: "The gateway does not answer" in tab.text(), "it is away", 40)
        assert not tab.run("!!document.querySelector('#alarms')")
        back()
        tab.wait(lambda: tab.run("!!document.querySelector('#alarms')"), "it is back", 40)
    assert tab.run("window.same"), "it was not reloaded"


def test_signing_out_ends_it(centre, tab):
    tab.open(f"{centre.url}/staff")
    tab.press("footer button")
    tab.wait(lambda: tab.run("!!document.querySelector('#pin')"), "asked for the PIN again")
    assert json.loads(tab.run("fetch('/staff', {headers: {'X-Part': '1'}}).then(a => JSON.stringify(a.status))")) == 401
