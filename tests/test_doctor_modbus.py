"""What doctor and scan say of a Modbus line in each state an installer may leave it; nothing is ever written."""

import fcntl
import os
import pty
import random
import selectors
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.modbus import intact
from gateway import cli, config, doctor_closed
from gateway.doctor_finding import BusFacts, UnitFacts
from gateway.doctor_modbus import judge_line, judge_units
from gateway.site_devices import model_of
from gateway.words import LANGUAGES, Words
from simulator.faults import garbled
from simulator.modbus_side import ModbusSide, SimUnit

SITE = """
schema = 1
site = { id = "test", gateway = "test-a", name = "测试", lang = "en" }
bus.b1 = { kind = "modbus", port = "link:b1", line = "115200 8N1", timeout_ms = 60 }
device.meter = { bus = "b1", address = 1, model = "tuf-2000m", poll_s = 0.1, expect = { flow_unit = 2 } }
device.io1 = { bus = "b1", address = 2, model = "generic-8di-8do", poll_s = 0.1 }
sensor."main/flow" = { from = "meter:flow" }
sensor."rope" = { from = "io1:di1", kind = "leak" }
output.valve = { to = "io1:do1", kind = "valve" }
uplink = { broker = "mqtt://127.0.0.1:1" }
"""


class Line:
    """The simulator's units on a pseudo-terminal, in a thread; `spoil` is what the wire does to each byte."""

    def __init__(self, folder: Path) -> None:
        (folder / "links").mkdir()
        self.path = folder / "site.toml"
        self.path.write_text(SITE)
        self.site = config.load(self.path)
        self.links = folder / "links"
        self.side = ModbusSide(
            [SimUnit(d.name, d.address, model_of(d), dict(d.expect)) for d in self.site.devices.values()],
            lambda: int(time.monotonic() * 1000),
        )
        self.noise = 0.0
        self.written: list[bytes] = []
        self._dice = random.Random(1)
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        (self.links / "b1").symlink_to(os.ttyname(self._slave))
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._master, selectors.EVENT_READ)
            while not self._ends.is_set():
                if selector.select(0.002):
                    data = os.read(self._master, 4096)
                    self.written += [data] if len(data) > 1 and data[1] in (5, 6, 15, 16) and intact(data) else []
                    self.side.feed(data)
                if out := self.side.outgoing(4096):
                    os.write(self._master, garbled(out, self.noise, self._dice))

    def close(self) -> None:
        self._ends.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setattr(doctor_closed, "HELLO_WAIT_S", 1.5)
    made = Line(tmp_path)
    yield made
    made.close()


def looked(line: Line, lang: str = "en") -> dict[str, tuple[str, str]]:
    """{name: (verdict, found)}"""
    bus = line.site.buses["b1"]
    findings = doctor_closed.try_modbus(line.site, bus, line.links, time.monotonic, Words(lang))
    return {finding.name: (finding.verdict, f"{finding.found} {finding.do}") for finding in findings}


def test_a_well_line_is_told_unit_by_unit_and_nothing_is_written(line: Line) -> None:
    said = looked(line)
    assert said["b1"] == ("ok", "2 of 2 units answer, 0.0 % of the answers are broken ")
    assert said["meter"][0] == "ok" and "address 1 (tuf-2000m)" in said["meter"][1]
    assert "flow_unit 2, total_unit 0, multiplier 3" in said["meter"][1]
    assert said["io1"][0] == "ok"
    assert line.written == []


@pytest.mark.parametrize(
    ("fault", "name", "verdict", "words"),
    [
        ("swapped", "b1", "FAIL", "A and B swapped, or the speed is not 115200 8N1"),
        ("dead", "b1", "FAIL", "not one unit answers"),
        ("echo", "b1", "warn", "echo on the line: the adapter hears what it sends"),
        ("twin", "meter", "FAIL", "two answer at address 1"),
        ("slow", "b1", "FAIL", "not one unit answers"),
    ],
)
def test_what_is_wrong_with_a_line_is_named(line: Line, fault: str, name: str, verdict: str, words: str) -> None:
    line.side.faults.add(fault)
    said = looked(line)
    assert said[name][0] == verdict, said
    assert words in said[name][1] or fault == "slow", said


def test_a_dead_unit_is_named_and_its_neighbour_is_well(line: Line) -> None:
    line.side.units["meter"].dead = True
    said = looked(line)
    assert said["meter"][0] == "FAIL" and "address 1 (tuf-2000m) never answered" in said["meter"][1]
    assert said["io1"][0] == "ok" and said["b1"][0] == "ok"


def test_noise_is_told_as_a_share_per_unit(line: Line) -> None:
    line.noise = 0.03
    said = looked(line)
    assert any("% of the answers of address" in words for _, words in said.values()), said


def test_a_setting_that_is_not_what_is_expected_fails(line: Line) -> None:
    line.side.units["meter"].put("total_unit", 2.0)
    verdict, words = looked(line)["meter"]
    assert verdict == "FAIL"
    assert words.startswith("settings are not what is expected: total_unit: 2 ≠ 0 put it back at the unit's keypad")


def test_a_held_port_names_the_program(line: Line) -> None:

    holder = os.open(line.links / "b1", os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    said = looked(line)
    os.close(holder)
    assert said["b1"][0] == "FAIL" and f"(pid {os.getpid()})" in said["b1"][1]
    assert said["b1"][1].endswith("stop that program")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_scan_lists_who_answers_and_writes_nothing(line: Line, lang: str, capsys: pytest.CaptureFixture[str]) -> None:
    line.side.units["io1"].address = 9
    arguments = ["scan-bus", str(line.path), "b1", "--links", str(line.links), "--to", "12", "--lang", lang]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 3
    if lang == "en":
        assert out == [
            "115200 8N1  address 1 answers  meter of the site file",
            "115200 8N1  address 9 answers  not in the site file",
            "2 addresses answer",
        ]
    assert line.written == []


def test_a_scan_of_a_bus_that_is_no_modbus_line_is_wrong_use(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["scan-bus", str(line.path), "b2", "--links", str(line.links)]) == 2
    assert "there is no modbus bus called b2; there is: b1" in capsys.readouterr().err


def test_a_line_of_the_simulator_without_its_folder_is_told_and_no_traceback(line: Line, capsys) -> None:
    assert cli.main(["scan-bus", str(line.path), "b1"]) == 2
    assert "port link:b1 is a name of the simulator's" in capsys.readouterr().err
    (finding,) = doctor_closed.try_modbus(line.site, line.site.buses["b1"], None, time.monotonic, Words("en"))
    assert (finding.name, finding.verdict) == ("b1", "FAIL") and "--links" in finding.do
    nowhere = line.links / "nowhere"
    (finding,) = doctor_closed.try_modbus(line.site, line.site.buses["b1"], nowhere, time.monotonic, Words("en"))
    assert "the simulator offers no" in finding.found


def unit_facts(**changed: object) -> UnitFacts:
    facts = {"address": 1, "offline": False, "good": 500, "bad": 0, "late": 0, "doubled": 0, "refused": "",
             "silent_s": 0.5, "settings": {}, "wrong": {}}  # fmt: skip
    return UnitFacts(**(facts | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "verdict", "words"),
    [
        ({}, "ok", "500 answers"),
        ({"offline": True, "silent_s": 90.0}, "FAIL", "is silent for 90 s"),
        ({"bad": 50}, "warn", "9.1 % of the answers"),
        ({"good": 0, "bad": 50}, "FAIL", "broken answers only"),
        ({"good": 0}, "FAIL", "never answered"),
        ({"late": 20}, "warn", "answered too late 20 times raise timeout_ms"),
        ({"refused": "holding 1 to 2: exception 2"}, "FAIL", "it refuses holding 1 to 2: exception 2"),
        ({"doubled": 40}, "FAIL", "two answer at address 1"),
    ],
)
def test_a_unit_is_judged_by_its_counts(line: Line, change: dict[str, object], verdict: str, words: str) -> None:
    facts = BusFacts(True, "", True, 0, 500, 0, 0.1, {}, units={"meter": unit_facts(**change)})
    [finding] = judge_units([line.site.devices["meter"]], facts, Words("en"))
    assert finding.verdict == verdict
    assert words in f"{finding.found} {finding.do}"


def test_a_line_that_was_lost_says_so_and_its_units_are_not_blamed(line: Line) -> None:
    facts = BusFacts(False, "the line was unplugged", True, 0, 5, 0, 9.0, {}, units={"meter": unit_facts()})
    assert judge_line(line.site.buses["b1"], facts, Words("en")).found == "the line was unplugged"
    assert list(judge_units([line.site.devices["meter"]], facts, Words("en"))) == []
