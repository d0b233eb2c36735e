"""Simulated devices on real pseudo-terminals against the real links: what is durable is exactly what was true."""

import json
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import FakeGateway, Key, key_of

from gateway.config import load
from simulator.centre import Centre
from simulator.hardware import Device, Fact, next_boot
from simulator.scenario import ScenarioError, parse
from simulator.scenario import load as load_scenario
from simulator.truth import Truth

SITE = Path(__file__).parent.parent / "simulator" / "sites" / "demo.toml"
STEP_S = 0.02

LOADED = """
hall = { on = false }
[load]
node_per_s = 30
kiosk_per_s = 30
urgent = 0.3
ring = 600
"""
BROKEN = """
[[fault]]
do = "cut"
every_s = 10
for_s = 1
[[fault]]
do = "garble"
every_s = 7
for_s = 3
share = 0.02
[[fault]]
do = "delay"
every_s = 9
for_s = 3
[[fault]]
do = "mute"
every_s = 13
for_s = 2
"""
REBOOT = """
[[fault]]
do = "mute"
on = "n1"
at_s = 3
for_s = 4
[[fault]]
do = "reboot"
on = "n1"
at_s = 5
"""


class Night:
    """A centre and a gateway under one virtual clock; the terminals between them are real."""

    def __init__(self, folder: Path, scenario: str, seed: int = 1) -> None:
        self.now_s = 1000.0
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.centre = Centre(
            load(SITE), parse(scenario, "test"), folder, folder / "truth", seed, 1.0, self.clock, self.clock
        )
        self.gateway = FakeGateway(folder, list(self.centre.lines), self.clock)

    def clock(self) -> float:
        return self.now_s

    def run(self, seconds: float, each_step: Callable[[], None] = lambda: None) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.centre.step(0.0)
            self.gateway.step()
            each_step()
            self.now_s += STEP_S

    def settle(self) -> None:
        self.centre.calm()
        for _ in range(3000):
            if not self.centre.undurable():
                return
            self.run(STEP_S)
        raise AssertionError(f"never durable: {self.centre.undurable()}")

    def truth(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "truth").read_text().splitlines()]

    def true_facts(self) -> dict[Key, Any]:
        rows = [row for row in self.truth() if row["kind"] in ("reading", "event")]
        return {key_of(row["src"]): row["value"] for row in rows}


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Callable[..., Night]]:
    nights: list[Night] = []

    def begin(scenario: str, seed: int = 1) -> Night:
        nights.append(Night(tmp_path / "links", scenario, seed))
        nights[-1].centre.__enter__()
        return nights[-1]

    yield begin
    for one in nights:
        one.gateway.close()
        one.centre.__exit__()


@pytest.mark.parametrize("seed", range(3))
def test_after_a_broken_night_the_gateway_holds_exactly_what_was_true(night: Callable[..., Night], seed: int) -> None:
    one = night(LOADED + BROKEN, seed)
    dice = random.Random(seed)

    def bad_luck() -> None:
        if dice.random() < STEP_S / 8:
            one.gateway.kill()

    one.run(40, bad_luck)
    one.settle()
    facts = one.true_facts()
    assert len(facts) > 3 * 30 * 20
    assert one.gateway.durable == facts
    assert not one.gateway.lost
    assert one.gateway.bad > 20, "the night was not broken at all"


def test_demo_hardware_speaks_as_the_site_file_says(night: Callable[..., Night]) -> None:
    one = night('[hall]\nspeed = 60\n[[at]]\ns = 1\ndo = "leak"\n[[at]]\ns = 2\ndo = "pull"')
    one.run(20)
    one.settle()
    truth = one.truth()
    sensors = {row["sensor"] for row in truth}
    assert sensors >= {"basement/main/flow", "toilet-f1/cord", "basement/rope", "main-door", "k1"}
    assert ("alarm", "reading") in {(r["value"], r["kind"]) for r in truth if r["sensor"] == "toilet-f1/cord"}
    rope = [row["value"] for row in truth if row["sensor"] == "basement/rope"]
    assert rope == [False, True]
    assert one.gateway.durable == one.true_facts()


def test_the_valve_pin_the_gateway_drives_stops_the_water_on_the_node(night: Callable[..., Night]) -> None:
    one = night('[water]\non = false\n[[at]]\ns = 0\ndo = "leak"')
    one.run(3)
    with socket.socket(socket.AF_UNIX) as gateway:
        gateway.connect(str(one.folder / "pins.sock"))
        gateway.sendall(b"hello\nout 5 1\n")
        one.run(20)  # the site file's valve travels 15 s
        levels = dict(line.rsplit(" ", 1) for line in gateway.recv(4096).decode().splitlines())
    flows = [row["value"] for row in one.truth() if row["sensor"] == "basement/main/flow"]
    assert max(flows) == 80e-6
    assert flows[-1] == 0.0
    # rope wet: its normally closed contact is open, so high; the idle cord and door are open to ground too, and so is
    # the pulse meter's contact now that no water runs
    assert levels == {"in 4": "1", "in 17": "1", "in 18": "1", "in 22": "1"}


def test_a_pulled_plug_ends_the_port_and_a_new_one_takes_its_name(night: Callable[..., Night]) -> None:
    one = night('[[fault]]\ndo = "cut"\non = "n1"\nat_s = 1\nfor_s = 2')
    one.run(0.5)
    fd = os.open(one.folder / "n1", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        before = os.readlink(one.folder / "n1")
        assert before == os.ttyname(fd)
        one.run(1.0)
        assert not (one.folder / "n1").is_symlink()
        with pytest.raises(OSError):
            os.write(fd, b"x")
        assert (one.folder / "n2").exists()
    finally:
        os.close(fd)
    one.run(2.0)
    assert (one.folder / "n1").exists()


def test_a_full_ring_stops_the_generator_and_the_truth_with_it(night: Callable[..., Night]) -> None:
    one = night("hall = { on = false }\n[load]\nnode_per_s = 100\nring = 50")
    for _ in range(500):  # nobody listens
        one.centre.step(0.0)
        one.now_s += STEP_S
    per_source = [sum(row["src"] == f"n1/1/{n}" for row in one.truth()) for n in range(1, 52)]
    assert per_source == [1] * 50 + [0]
    assert one.centre.undurable()["n1"] == 50
    one.run(5)
    one.settle()
    assert one.gateway.durable == one.true_facts()
    assert len(one.gateway.durable) > 300


def test_a_reboot_loses_the_ring_and_the_truth_names_what_may_be_lost(night: Callable[..., Night]) -> None:
    one = night(
        LOADED + '[[fault]]\ndo = "reboot"\non = "n1"\nat_s = 5\n[[fault]]\ndo = "mute"\non = "n1"\nat_s = 3\nfor_s = 4'
    )
    one.run(10)
    one.settle()
    (lost,) = [row for row in one.truth() if row["kind"] == "lost"]
    assert lost["src"] == f"n1/1/{lost['last']}"
    gone = {("n1", 1, n) for n in range(lost["first"], lost["last"] + 1)}
    facts = one.true_facts()
    assert len(gone) > 30
    assert set(facts) - set(one.gateway.durable) <= gone
    assert {key[1] for key in facts if key[0] == "n1"} == {1, 2}
    assert set(one.gateway.durable) <= set(facts)


def test_no_fact_is_on_its_way_before_its_line_is_in_the_file(tmp_path: Path) -> None:
    class Side:
        boot, next, free = 1, 1, 100

        def add(self, *said: object) -> int:
            assert f'"src":"n1/1/{self.next}"' in (tmp_path / "truth").read_text()
            self.next += 1
            return self.next - 1

    truth = Truth(tmp_path / "truth")
    device = Device("n1", lambda boot: Side(), tmp_path / "n1.boot", truth, time.time)
    device.offer([Fact(("x",), "reading", "s", 1.0)] * 10)
    device.pump()
    assert device.facts == 10
    truth.close()


def test_a_boot_counter_outlives_its_process_and_a_spoilt_one_is_not_guessed(tmp_path: Path) -> None:
    file = tmp_path / "n1.boot"
    assert [next_boot(file) for _ in range(3)] == [1, 2, 3]
    file.write_text("")
    with pytest.raises(ScenarioError, match=r"found no number; expected the boot counter of n1. Use"):
        next_boot(file)


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        (
            '[[fault]]\ndo = "cut"\non = "n9"\nat_s = 1',
            "a fault on 'n9'; expected one of lines, pins, n1, n2, k1",
        ),
        ("[load]\nkiosk_per_s = 5", r"found \[load\] kiosk_per_s beside a hall that is on; expected only one"),
        ('[[at]]\ns = 1\ndo = "pull"\nsensor = "x"', "found sensor 'x'; expected one of .*toilet-f1/cord"),
    ],
)
def test_a_scenario_that_does_not_fit_the_site_is_refused(tmp_path: Path, scenario: str, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        Night(tmp_path / "links", scenario)


def test_the_shipped_scenarios_fit_the_demo_site(tmp_path: Path) -> None:
    for name in ("demo", "chaos", "quiet"):
        centre = Centre(load(SITE), load_scenario(name), tmp_path, tmp_path / "t", 1, 1.0, time.monotonic, time.time)
        with centre:
            centre.step(0.0)
            assert centre.undurable()["n1"] >= 2


def test_readings_keep_their_kind_on_the_way(night: Callable[..., Night]) -> None:
    """A word stays a word, a contact a truth value, a number a float: == alone would take 1 for True."""
    one = night(LOADED)
    one.run(3)
    one.settle()
    kinds = {key: type(value) for key, value in one.true_facts().items()}
    assert {key: type(value) for key, value in one.gateway.durable.items()} == kinds
    assert set(kinds.values()) == {float, bool, str}


def test_a_fault_of_units_begins_and_ends_on_a_modbus_line_and_is_refused_on_any_other(
    night: Callable[..., Night],
) -> None:
    one = night('[[fault]]\ndo = "dead"\non = "b1"\nat_s = 1\nfor_s = 1')
    side = one.centre.lines["b1"].device.side
    one.run(1.5)
    assert side.faults == {"dead"}
    one.run(1)
    assert side.faults == set()
    with pytest.raises(ScenarioError, match="found twin on 'n1', a node; expected a modbus line"):
        night('[[fault]]\ndo = "twin"\non = "n1"\nat_s = 1')
