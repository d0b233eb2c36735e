"""`linli provision new-site`: right answers make a good site file, wrong ones are told at once and change nothing."""

import io
import itertools
import json
import re
import tomllib
from pathlib import Path

import pytest

from drivers.kinds import KINDS
from gateway import cli
from gateway.config import load, read
from gateway.site_writer import effective
from gateway.words import LANGUAGES, Words
from provisioning.dialogue import CATALOGUE, TRIES_MAX, AnswersFile, Dialogue, Terminal
from provisioning.draft import TEMPLATES, Draft, DraftError
from provisioning.new_site import ask_site
from provisioning.sockets import Socket, sockets
from provisioning.wall import _sort

ROOT = Path(__file__).parent.parent
ANSWERS = """
lang = "zh-CN"
site = { id = "sh-pd-0412", name = "邻里社区服务中心", region = "310115000000", open = "mon-fri 08:30-11:30" }
bus = [
  { port = "usb:1-1.2", kind = "node" },
  { port = "usb:1-1.3", kind = "modbus" },
  { port = "/dev/ttyAMA0", kind = "modbus", line = "19200 8E1" },
  { port = "usb:1-1.4", kind = "kiosk-line" },
  { port = "usb:1-1.1", kind = "escpos", ticket = "某某社区服务中心 | 您的号码: {label}" },
  { port = "usb:2-1.1", kind = "call-bus", table = "keypad-21" },
  { port = "usb:2-1.2", kind = "rating-pad", table = "pad-byte" },
]
unit = [
  { model = "tuf-2000m", bus = "b1", address = 3, name = "meter", place = "basement/main", title = "地下室总表" },
  { model = "generic-8di-8do", bus = "b2", address = 9, name = "io1" },
  { model = "wld-521-r1", bus = "b2", address = 2, points = ["flow1", "flow2"], place = "kitchen", title = "厨房" },
]
sensor = [
  { what = "leak-rope", place = "basement", name = "地下室水浸绳", at = "gpio:17" },
  { what = "pull-cord", place = "toilet-f1", at = "n1:loop2" },
  { what = "lift", place = "lift-1", at = "io1:di4" },
  { what = "flow", place = "kitchen/sink", at = "n1:flow1", litres = 0.01 },
  { what = "pulse-meter", place = "billing", at = "gpio:4", litres = 10, start_m3 = 1234.5 },
]
output = [
  { what = "valve", to = "gpio:5", active = "low", travel_s = 20, on = { leak = true }, approved_by = "物业 11-20" },
  { what = "strobe", to = "io1:do1", on = { leak = false } },
]
hall = { within_min = 20 }
service = [{ label = "A", name = "社会保障" }, { label = "B", name = "户籍与证件" }]
window = [{ label = 1, calls = "c1:1", rating = "r1:1" }, { label = "2", services = ["B"] }]
uplink = { broker = "mqtts://192.0.2.10:8883", root = "sh/pudong/linli" }
"""


@pytest.fixture
def answers(tmp_path):
    """A function that runs the command with ANSWERS in which old is new; (exit code, path of the site file)."""

    def run(*changes: tuple[str, str]) -> tuple[int, Path]:
        text = ANSWERS
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / "answers.toml").write_text(text, encoding="utf-8")
        site = tmp_path / "site.toml"
        return cli.main(["provision", "new-site", str(site), "--answers", str(tmp_path / "answers.toml")]), site

    return run


def typed(site: Path, lines: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The command with a person who types these lines."""
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    return cli.main(["provision", "new-site", str(site), "--lang", "en"])


# Right answers


def test_answers_become_a_site_file_that_check_finds_good_and_that_round_trips(answers, capsys, tmp_path):
    code, path = answers()
    assert code == 0
    assert cli.main(["check", str(path)]) == 0
    site = load(path)
    assert (site.id, site.gateway, site.region, site.lang) == ("sh-pd-0412", "sh-pd-0412-a", "310115000000", "zh-CN")
    assert (site.buses["n1"].port, site.buses["b2"].line) == ("usb:1-1.2", "19200 8E1")
    assert site.buses["n1"].node == {"flow1_pulse_ul": 10_000}
    assert site.buses["p1"].ticket == ["某某社区服务中心", "您的号码: {label}"]
    assert site.devices["meter"].address == 3
    assert site.sensors["basement/main/total"].name == "地下室总表 累计"
    assert {"kitchen/flow1", "kitchen/flow2", "billing/flow", "billing/total"} <= set(site.sensors)
    assert (site.sensors["basement/rope"].wiring, site.sensors["basement/rope"].on_s) == ("normally-closed", 3)
    assert [c.text for c in site.alarms["line-fault"].any] == ["toilet-f1/cord is cut", "toilet-f1/cord is short"]
    assert list(site.detectors) == ["water-leak on kitchen/sink/flow"]
    assert (site.outputs["valve"].active, site.outputs["valve"].at_crash) == ("low", "keep")
    assert site.outputs["valve"].approved_by == "物业 11-20"
    assert {name: (r.alarm, r.output, r.action, r.per_day) for name, r in site.reactions.items()} == {
        "valve-leak": ("leak", "valve", "close", 2),
        "strobe-cord": ("cord", "strobe", "on", None),
    }
    assert (site.queues["hall"].within_min, site.windows["2"].services) == (20, ["B"])
    assert (site.windows["1"].calls, site.windows["1"].rating) == ("c1:1", "r1:1")
    again = tmp_path / "again.toml"
    file, _ = read(path)
    again.write_text(effective(file), encoding="utf-8")
    assert load(again).cfg == site.cfg


def test_the_least_a_person_can_type_is_a_site_file_too(tmp_path, monkeypatch, capsys):
    site = tmp_path / "site.toml"
    assert typed(site, "centre-1\n\nCentre 1\n" + "\n" * 6 + "mqtt://127.0.0.1\n\n\n", monkeypatch) == 0
    assert load(site).gateway == "centre-1-a"
    assert "Write" in capsys.readouterr().out


def test_what_is_plugged_in_is_listed_and_chosen_by_its_number(tmp_path):
    say = Words("en", CATALOGUE)
    screen = io.StringIO()
    lines = "centre-1\n\nCentre\n\n\n\n1\nnode\n\n\n\n\nmqtt://127.0.0.1\n\n"
    dialogue = Dialogue(Terminal(io.StringIO(lines), screen, say), say)
    draft = ask_site(dialogue, [Socket("usb:1-1.2", "ttyACM0", "Raspberry Pi Pico")])
    assert draft.tables["bus"] == {"n1": {"kind": "node", "port": "usb:1-1.2"}}
    assert re.search(r"1 +usb:1-1\.2 +Raspberry Pi Pico \(ttyACM0\)", screen.getvalue())


# Wrong answers


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('id = "sh-pd-0412"', 'id = "Nr 1"', r"answers\.toml:3: site\.id: .*\"Nr 1\".*a-z"),
        ("mon-fri 08:30-11:30", "mon-fri 8.30-11.30", r"answers\.toml:3: site\.open: .*时段"),
        ('port = "/dev/ttyAMA0"', 'port = "usb:1-1.2"', r"answers\.toml:7: bus\.3\.port: .*尚未使用"),
        ('kind = "kiosk-line"', 'kind = "kiosk"', r"bus\.4\.kind: .*kiosk-line"),
        ("address = 2", "address = 9", r"unit\.3: .*one unit at each address"),
        ("address = 3", "address = 248", r"unit\.1\.address: .*1 到 247"),
        ('at = "n1:loop2"', 'at = "gpio:17"', r"answers\.toml:20: sensor\.2\.at: .*尚未使用"),
        ('at = "n1:loop2"', 'at = "n1:flow2"', r"sensor\.2\.at: .*适合它的点"),
        ('at = "io1:di4"', 'at = "io2:di4"', r"sensor\.3\.at: .*适合它的点"),
        ('at = "gpio:4"', 'at = "gpio:3"', r"sensor\.5\.at: .*电池时钟"),
        ('to = "io1:do1"', 'to = "io1:di1"', r"output\.2\.to: .*模块的输出"),
        ('services = ["B"]', 'services = ["C"]', r"window\.2\.services: .*A, B"),
        ("mqtts://", "mqtt://", r"uplink\.broker: .*TLS"),
        ('root = "sh', 'password = "hunter2", root = "sh', r"answers\.toml:\d+: uplink\.password"),
    ],
)
def test_a_wrong_answer_is_told_with_its_line_and_nothing_is_written(answers, capsys, old, new, said):
    code, path = answers((old, new))
    told = capsys.readouterr().err
    assert code == 1
    assert re.search(said, told), told
    assert "hunter2" not in told
    assert not path.exists()


def test_a_password_is_neither_kept_nor_repeated(tmp_path, monkeypatch, capsys):
    site = tmp_path / "site.toml"
    lines = "centre-1\n\nCentre\n" + "\n" * 6 + "mqtts://box:hunter2@192.0.2.1\nmqtts://192.0.2.1\n\n\n\n\n\n\n"
    assert typed(site, lines, monkeypatch) == 0
    shown = capsys.readouterr()
    assert "an address without user and password" in shown.out
    assert "hunter2" not in shown.out + shown.err + site.read_text()


def test_a_person_is_told_what_is_wrong_and_asked_again(tmp_path, monkeypatch, capsys):
    site = tmp_path / "site.toml"
    assert typed(site, "1\ncentre-1\n\nCentre\n" + "\n" * 6 + "mqtt://127.0.0.1\n\n\n", monkeypatch) == 0
    assert 'found "1", expected 3 to 40 of a-z, 0-9 and -; write for example' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lines", "why"),
    [("centre-1\n", "the answers ended"), ("?\n" * (TRIES_MAX + 1), f"{TRIES_MAX} answers were wrong"), ("", "ended")],
)
def test_a_person_who_leaves_has_written_nothing(tmp_path, monkeypatch, capsys, lines, why):
    assert typed(tmp_path / "site.toml", lines, monkeypatch) == 1
    assert why in capsys.readouterr().err
    assert not (tmp_path / "site.toml").exists()


def test_ctrl_c_at_a_question_is_no_traceback(tmp_path, monkeypatch, capsys):
    class Interrupted(io.StringIO):
        def readline(self, size: int | None = -1, /) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", Interrupted())
    assert cli.main(["provision", "new-site", str(tmp_path / "site.toml"), "--lang", "en"]) == 1
    assert "nothing was written" in capsys.readouterr().err


def test_bytes_that_are_no_text_are_told_as_a_wrong_answer(tmp_path, monkeypatch, capsys):
    lines = b"centre-1\n\nCentre \xff\nCentre\n" + b"\n" * 6 + b"mqtt://127.0.0.1\n\n\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines), encoding="utf-8"))
    assert cli.main(["provision", "new-site", str(tmp_path / "site.toml"), "--lang", "en"]) == 0
    assert "expected one line of UTF-8 text" in capsys.readouterr().out


def test_no_at_the_end_writes_nothing(tmp_path, monkeypatch, capsys):
    lines = "centre-1\n\nCentre\n" + "\n" * 6 + "mqtt://127.0.0.1\n\nno\n"
    assert typed(tmp_path / "site.toml", lines, monkeypatch) == 1
    assert not (tmp_path / "site.toml").exists()


def test_a_site_file_that_is_there_is_never_overwritten(answers, tmp_path, capsys):
    (tmp_path / "site.toml").write_text("mine")
    assert answers()[0] == 2
    assert "不会覆盖" in capsys.readouterr().err
    assert (tmp_path / "site.toml").read_text() == "mine"


def test_a_folder_that_is_not_there_is_told(answers, tmp_path, capsys):
    answers()
    file = str(tmp_path / "answers.toml")
    assert cli.main(["provision", "new-site", str(tmp_path / "no/site.toml"), "--answers", file]) == 2
    assert cli.main(["provision", "new-site", str(tmp_path / "s.toml"), "--answers", str(tmp_path / "none")]) == 1


def test_rubbish_at_each_question_is_met_by_words_of_both_languages(tmp_path):
    """Every question has its words for a wrong answer; one without would be a KeyError."""
    (tmp_path / "answers.toml").write_text(ANSWERS.replace('lang = "zh-CN"\n', ""), encoding="utf-8")

    class Clumsy(AnswersFile):
        """Says rubbish once at each question, then what stands in the file."""

        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self.told: dict[str, str] = {}

        def answer(self, key: str, question: str, default: str | None) -> str:
            return super().answer(key, question, default) if key in self.told else "\x01 ?"

        def refuse(self, key: str, why: str) -> None:
            self.told[key] = why

    for lang in LANGUAGES:
        source = Clumsy(tmp_path / "answers.toml")
        draft = ask_site(Dialogue(source, Words(lang, CATALOGUE)), [])
        assert source.unasked() == []
        assert draft.problems() == []
        assert len(source.told) > 80
        assert all("\x01" not in why for why in source.told.values())


def test_the_answers_in_the_install_guide_make_a_site_file(tmp_path):
    [shown] = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/install.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "answers.toml").write_text(shown, encoding="utf-8")
    site = tmp_path / "site.toml"
    assert cli.main(["provision", "new-site", str(site), "--answers", str(tmp_path / "answers.toml")]) == 0
    assert set(load(site).alarms) == {"leak", "cord", "line-fault"}


# Words, templates, sockets


TEXTS: dict[str, list[str]] = json.loads(CATALOGUE.read_text(encoding="utf-8"))["texts"]


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_stands_in_both_languages_with_the_same_blanks(key) -> None:
    chinese, english = TEXTS[key]
    assert sorted(set(re.findall(r"{\w+}", chinese))) == sorted(set(re.findall(r"{\w+}", english)))
    assert re.search(r"[\u4e00-\u9fff]", chinese)
    assert not re.search(r"[\u4e00-\u9fff]", english.replace("您的号码", "").replace("语言", ""))


def test_each_template_fits_each_sort_of_point_it_names():
    point = {"gpio": "gpio:17", "unit": "io1:di1"}
    for (what, form), lang in itertools.product(TEMPLATES["sensor"].items(), LANGUAGES):
        for sort in form["on"]:
            draft = Draft(lang)
            draft.add("site", "", {"id": "centre", "gateway": "centre-a", "name": "Centre"})
            draft.add("bus", "n1", {"kind": "node", "port": "usb:1-1.1"})
            draft.add("bus", "b1", {"kind": "modbus", "port": "usb:1-1.2", "line": "9600 8N1"})
            draft.add("device", "io1", {"bus": "b1", "address": 1, "model": "generic-8di-8do"})
            at = point.get(sort, f"n1:{sort}1")
            assert _sort(draft, at) == sort
            draft.sensor(what, f"place/{form['id']}", {"from": at, "name": draft.title(form["title"])}, {})
            assert draft.problems() == []
    assert {form["keys"].get("kind", "flow") for form in TEMPLATES["sensor"].values()} <= set(KINDS)


def test_what_does_not_fit_leaves_the_draft_as_it_was():
    draft = Draft("en")
    draft.add("site", "", {"id": "centre", "gateway": "centre-a", "name": "Centre"})
    before = draft.text()
    with pytest.raises(DraftError, match='found bus "x"'):
        draft.add("sensor", "a", {"from": "x:flow1"})
    assert draft.text() == before
    assert tomllib.loads(before)["uplink"]


def test_sockets_are_told_by_where_they_are_and_what_is_plugged_into_them(tmp_path):
    sys, by_path = tmp_path / "sys", tmp_path / "by-path"
    usb = sys / "devices/platform/scb/usb1/1-1"
    for socket, interface, tty in (
        ("1-1.2", "1.0", "ttyACM0"),
        ("1-1.4", "1.0", "ttyUSB0"),
        ("1-1.4", "1.1", "ttyUSB1"),
    ):
        unit = usb / socket
        (unit / f"{socket}:{interface}" / tty).mkdir(parents=True)
        (unit / "busnum").write_text("1\n")
        (unit / "manufacturer").write_text("Ma\x1bker\n")
        (unit / "product").write_text(f"thing {socket}\n")
        _tty(sys, tty, unit / f"{socket}:{interface}" / tty)
    (sys / "devices/platform/serial").mkdir()
    _tty(sys, "ttyAMA0", sys / "devices/platform/serial", "32")
    _tty(sys, "ttyS3", sys / "devices/platform/serial", "0")
    (sys / "class/tty/tty1").mkdir()
    by_path.mkdir()
    (by_path / "pci-0-usb-0:1.4:1.1-port0").symlink_to("../ttyUSB1")
    assert sockets(sys, by_path) == [
        Socket("/dev/ttyAMA0", "ttyAMA0", ""),
        Socket(str(by_path / "pci-0-usb-0:1.4:1.1-port0"), "ttyUSB1", "Ma?ker thing 1-1.4"),
        Socket("usb:1-1.2", "ttyACM0", "Ma?ker thing 1-1.2"),
        Socket("usb:1-1.4", "ttyUSB0", "Ma?ker thing 1-1.4"),
    ]


def _tty(sys: Path, name: str, device: Path, kind: str = "") -> None:
    folder = sys / "class/tty" / name
    folder.mkdir(parents=True)
    (folder / "device").symlink_to(device)
    if kind:
        (folder / "type").write_text(kind)


def test_the_kinds_that_a_unit_can_measure_have_words():
    assert {f"kind.{name}" for name, kind in KINDS.items() if kind.unit} <= set(TEXTS)
