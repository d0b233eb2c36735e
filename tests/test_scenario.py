"""Scenario files: what is wrong in one is said in three parts, and the shipped ones do what their names promise."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from simulator import scenario as scenarios
from simulator.faults import Schedule
from simulator.scenario import DEEDS, FAULTS, Deed, Fault, Hall, Load, Scenario, ScenarioError, Water, load, parse

PAGE = Path(__file__).parent.parent / "docs" / "scenarios.md"
LINES = ["n1", "n2", "k1"]

MISTAKES = [
    ("wter = 1", "found key 'wter'; expected one of .*Did you mean 'water'"),
    ("[load]\nrng = 64", r"\[load\]: found key 'rng'; expected one of .*Did you mean 'ring'"),
    ("[load]\nring = 3", "Expected `int` >= 8 .*found 3. Correct"),
    ('[load]\nring = "x"', "Expected `int`, got `str` .*found 'x'. Correct"),
    ("[water]\nspeed = 0", "Expected `float` > 0.*found 0. Correct"),
    ("at = 3", "Expected `array`.*found 3. Correct"),
    ("[[at]]\ns = 1", "missing required field `do`"),
    ('[[at]]\ns = 1\ndo = "leek"', "found deed 'leek'; expected one of .*Did you mean 'leak'"),
    ('[[at]]\ns = 1\ndo = "leak"\ntickets = 3', "found key 'tickets'; expected one of s, do, ml_s, sensor, wet_s"),
    ('[[at]]\ns = 1\ndo = "set"\nsensor = "x"', "found set without sensor or value; expected both. Add"),
    ('[[at]]\ns = 1\ndo = "set"\nsensor = "x"\nvalue = nan', "found value nan; expected a finite number. Write"),
    ('[[fault]]\ndo = "cutt"\nat_s = 1', "found fault 'cutt'; expected one of .*Did you mean 'cut'"),
    ('[[fault]]\ndo = "cut"', "found neither at_s nor every_s; expected one of them. Give"),
    ('[[fault]]\ndo = "cut"\nat_s = 1\nevery_s = 2', "found both at_s and every_s; expected one of them. Give"),
    ('[[fault]]\ndo = "cut"\non = "pins"\nat_s = 1', "found cut on 'pins'; expected \"lines\" or the name of a bus"),
    ('[[fault]]\ndo = "stop"\nat_s = 1', "found stop on 'lines'; expected broker or gateway. Change"),
    ('[[fault]]\ndo = "cut"\nat_s = 1\nshare = 0.5', "found key 'share'; expected one of at_s, do, every_s, for_s, on"),
    ("x =", "expected a TOML file. Mend"),
]


@pytest.mark.parametrize(("text", "says"), MISTAKES)
def test_a_mistake_says_what_was_found_what_was_expected_and_what_to_do(text: str, says: str) -> None:
    with pytest.raises(ScenarioError, match=says) as error:
        parse(text, "mine")
    assert str(error.value).startswith("mine: ")


def test_a_name_that_is_no_scenario_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="'chaso' cannot be read .*expected one of chaos, demo, nodes, .*Choose"):
        load("chaso")
    (tmp_path / "own.toml").write_text("seconds = 3")
    assert load(str(tmp_path / "own.toml")).seconds == 3


def test_the_page_names_every_key_deed_and_fault() -> None:
    page = set(re.findall(r"`([a-z_]+)`", PAGE.read_text()))
    words = set(DEEDS) | set(FAULTS)
    for table in (Scenario, Water, Hall, Load, Deed, Fault):
        words |= set(table.__struct_fields__) - {"name"}
    assert words <= page, f"docs/scenarios.md lacks {sorted(words - page)}"


def test_the_demo_keeps_its_promised_moments() -> None:
    demo = load("demo")
    assert demo.seconds == 40
    assert {(d.do, d.s) for d in demo.at} == {("rush", 5), ("leak", 8), ("pull", 18), ("reset", 30)}
    leak = next(deed for deed in demo.at if deed.do == "leak")
    assert leak.s + leak.wet_s <= 10
    (broker,) = demo.broker_faults
    assert (broker.do, broker.on, broker.at_s, broker.for_s) == ("stop", "broker", 15, 10)
    (cut,) = demo.own_faults
    assert (cut.do, cut.at_s, cut.for_s) == ("cut", 22, 3)
    assert broker.at_s < 18 < broker.at_s + broker.for_s, "the cord is pulled while the broker is away"


def test_chaos_is_loud_enough_and_its_rings_outlast_ten_seconds() -> None:
    load_ = load("chaos").load
    assert 2 * load_.node_per_s + load_.kiosk_per_s >= 500
    assert load_.ring >= 10 * max(load_.node_per_s, load_.kiosk_per_s)


@pytest.mark.parametrize("seed", range(5))
def test_chaos_breaks_lines_at_least_twenty_times_in_ten_minutes_and_some_in_the_first(seed: int) -> None:
    schedule = Schedule(load("chaos").own_faults, LINES, seed)
    breaks = [c.s for c in schedule.due(600) if c.begins and c.fault.do in ("cut", "garble")]
    assert len(breaks) >= 20
    assert len([s for s in breaks if s < 60]) >= 3


def test_a_schedule_is_the_same_for_the_same_seed_and_ordered() -> None:
    faults = load("chaos").own_faults
    once, again, other = (list(Schedule(faults, LINES, seed).due(300)) for seed in (1, 1, 2))
    assert once == again != other
    assert [c.s for c in once] == sorted(c.s for c in once)


def test_one_more_fault_does_not_move_the_others() -> None:
    faults = load("chaos").own_faults
    more = (*faults, Fault(do="cut", on="n2", every_s=7.0))
    before = set(Schedule(faults, LINES, 1).due(300))
    assert before < set(Schedule(more, LINES, 1).due(300))


@pytest.mark.parametrize("for_s", [0.5, 3.0, 50.0])
def test_a_repeated_fault_comes_once_in_each_window_and_ends_in_it(for_s: float) -> None:
    fault = Fault(do="cut", on="n1", every_s=10.0, for_s=for_s)
    changes = list(Schedule([fault], LINES, 3).due(999.9))
    begins = [c for c in changes if c.begins]
    assert [int(c.s // 10) for c in begins] == list(range(100))
    assert all(a.begins != b.begins for a, b in pairwise(changes))


def test_faults_of_other_processes_are_only_told() -> None:
    chaos = load("chaos")
    assert {(f.do, f.on) for f in chaos.broker_faults} == {("kill", "gateway"), ("kill", "broker")}
    assert not {f.on for f in chaos.own_faults} & {"broker", "gateway"}


def test_every_shipped_scenario_is_read_without_complaint() -> None:
    names = {path.stem for path in scenarios.FOLDER.glob("*.toml")}
    assert names == {"chaos", "demo", "nodes", "powercut", "quiet", "sickbudget", "sickdisk"}
    assert all(load(name).title for name in names)
