"""The building and its people: water that closes, cords that ring, tickets without holes."""

import json
import math
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from gateway.config import Output, Sensor
from gateway.reactions import ENERGISE
from simulator import data
from simulator.building import Building, Report, made_up_day
from simulator.data import Course, Visits
from simulator.faults import Wire, garbled
from simulator.hall import Hall, Plan, Ticket, made_up_visits
from simulator.scenario import Deed, Fault, ScenarioError, Water
from simulator.scenario import Hall as HallSettings
from simulator.truth import Truth

SENSORS = [
    Sensor("basement/main/flow", "n1:flow1", "flow"),
    Sensor("kitchen/flow", "n1:flow2", "flow"),
    Sensor("basement/total", "n1:total1", "total"),
    Sensor("basement/pressure", "n1:pressure1", "pressure"),
    Sensor("toilet/cord", "n1:loop1", "pull-cord", wiring="supervised-2k2-8k2"),
    Sensor("side-door", "n1:contact1", "door"),
    Sensor("basement/rope", "gpio:17", "leak", wiring="normally-closed"),
]
VALVE = Output("valve", "gpio:5", "valve", travel_s=10.0)
NOTHING = {"tap": Course([0.0], [0.0])}
MAIN, TOTAL = "n1:flow1", "n1:total1"


def building(courses: dict[str, Course] = NOTHING, speed: float = 1.0, seed: int = 1) -> Building:
    return Building(SENSORS, [VALVE], courses, Water(), speed, random.Random(seed))


def run(place: Building | Hall, from_s: float, to_s: float) -> list:
    """Everything said between two moments, in steps of 50 ms."""
    steps = range(math.ceil(from_s * 20), math.ceil(to_s * 20))
    return [said for step in steps for said in place.tick(step / 20)]


def of(point: str, reports: list[Report]) -> list[Report]:
    return [report for report in reports if report.point == point]


def test_a_leak_runs_through_the_main_alone_and_wets_the_rope_in_its_time() -> None:
    place = building()
    run(place, 0, 5)
    place.do(Deed(5, "leak", ml_s=80.0, wet_s=3.0), 5.0)
    before, after = run(place, 5, 7.9), run(place, 7.9, 12)
    assert of(MAIN, before)[-1].value == 80e-6
    assert not of("n1:flow2", before)
    assert not of("gpio:17", before)
    assert of("gpio:17", after) == [Report("gpio:17", True, True)]


def test_a_closing_valve_slows_the_water_and_a_closed_one_stops_it() -> None:
    place = building()
    place.do(Deed(0, "leak", ml_s=100.0), 0.0)
    run(place, 0, 5)
    place.output(5, 1, 5.0)
    closing = [report.value for report in of(MAIN, run(place, 5, 16))]
    assert closing == sorted(closing, reverse=True)
    assert 0 < closing[len(closing) // 2] < 100e-6
    assert closing[-1] == 0.0
    place.output(5, 0, 16.0)
    assert of(MAIN, run(place, 16, 40))[-1].value == 100e-6


def test_a_valve_with_an_active_low_relay_closes_on_low() -> None:
    low = Output("valve", "gpio:5", "valve", active="low")
    place = Building(SENSORS, [low], NOTHING, Water(), 1.0, random.Random(1))
    place.do(Deed(0, "leak"), 0.0)
    place.output(5, 1, 1.0)
    run(place, 0, 3)
    assert place.main_ml_s == 80.0
    place.output(5, 0, 3.0)
    assert place.main_ml_s == 0.0


def test_the_level_that_closes_the_valve_is_the_one_the_gateway_drives_for_close() -> None:
    level = ENERGISE["close"] == (VALVE.active == "high")
    place = building()
    place.do(Deed(0, "leak"), 0.0)
    place.output(5, int(level), 0.0)
    run(place, 0, 12)
    assert place.main_ml_s == 0.0


def test_other_outputs_do_not_touch_the_water() -> None:
    place = building()
    place.do(Deed(0, "leak"), 0.0)
    place.output(27, 1, 0.0)
    run(place, 0, 20)
    assert place.main_ml_s == 80.0


def test_every_node_point_speaks_at_once_and_then_each_minute_and_pins_never() -> None:
    reports = run(building(), 0, 200)
    quiet = {"n1:flow1", "n1:flow2", "n1:total1", "n1:pressure1", "n1:loop1"}
    assert {p: len(of(p, reports)) for p in quiet} == dict.fromkeys(quiet, 4)
    assert not of("gpio:17", reports)
    assert not any(report.urgent for report in reports if report.point in quiet)


def test_running_water_is_told_each_second_and_the_meter_counts_it() -> None:
    tap = {"tap": Course([7 * 3600.0 + 3, 7 * 3600.0 + 33], [100.0, 0.0])}
    reports = run(building(tap), 0, 60)
    flows = [report.value for report in of(MAIN, reports)]
    assert flows[0] == 0.0
    assert flows.count(100e-6) == 30
    assert flows[-1] == 0.0
    first, *_, last = (float(report.value) for report in of(TOTAL, reports))
    assert last - first == pytest.approx(0.003)


def test_branches_share_the_fixtures_and_the_main_carries_them_all() -> None:
    taps = {name: Course([0.0], [50.0]) for name in ("one", "two")}
    sensors = [*SENSORS, Sensor("bath/flow", "n1:flow3", "flow")]
    reports = Building(sensors, [], taps, Water(), 1.0, random.Random(1)).tick(0.0)
    assert {r.point: r.value for r in reports if "flow" in r.point} == {MAIN: 1e-4, "n1:flow2": 5e-5, "n1:flow3": 5e-5}


def test_ten_times_the_speed_is_ten_times_the_habits_but_a_leak_stays_a_leak() -> None:
    place = building(speed=10.0)
    place.do(Deed(0, "leak", wet_s=3.0), 0.0)
    reports = run(place, 0, 20)
    assert len(of(MAIN, reports)) == 200
    assert not of("gpio:17", run(building(speed=10.0), 0, 20))
    assert of("gpio:17", reports)


def test_what_a_stopped_building_missed_did_not_happen() -> None:
    place = building({"tap": Course([0.0], [100.0])})
    place.tick(0.0)
    assert len(of(MAIN, place.tick(1000.0))) <= 3


def test_a_pulled_cord_rings_at_once_until_it_is_reset() -> None:
    place = building()
    run(place, 0, 2)
    place.do(Deed(2, "pull"), 2.0)
    assert of("n1:loop1", place.tick(2.0)) == [Report("n1:loop1", "alarm", True)]
    assert {report.value for report in of("n1:loop1", run(place, 2, 100))} == {"alarm"}
    place.do(Deed(100, "reset"), 100.0)
    assert of("n1:loop1", place.tick(100.0)) == [Report("n1:loop1", "normal", True)]


def test_a_repair_ends_the_leak_and_dries_the_rope() -> None:
    place = building()
    place.do(Deed(0, "leak"), 0.0)
    run(place, 0, 5)
    place.do(Deed(5, "repair"), 5.0)
    reports = run(place, 5, 8)
    assert of("gpio:17", reports) == [Report("gpio:17", False, True)]
    assert place.main_ml_s == 0.0


def test_doors_open_and_close_by_themselves_until_the_scenario_holds_one() -> None:
    place = building()
    values = [report.value for report in of("n1:contact1", run(place, 0, 1200)) if report.urgent]
    assert len(values) > 6
    assert values == [turn % 2 == 0 for turn in range(len(values))]
    place.do(Deed(1200, "open"), 1200.0)
    assert {report.value for report in of("n1:contact1", run(place, 1200, 2000))} == {True}


def test_any_sensor_can_be_set_by_hand() -> None:
    place = building()
    run(place, 0, 1)
    place.do(Deed(1, "set", sensor="toilet/cord", value="cut"), 1.0)
    place.do(Deed(1, "set", sensor="basement/pressure", value=1000.0), 1.0)
    reports = run(place, 1, 4)
    assert of("n1:loop1", reports)[-1].value == "cut"
    assert of("n1:pressure1", reports)[-1].value == 1000.0


@pytest.mark.parametrize(
    "deed",
    [
        Deed(1, "pull", sensor="no/such"),
        Deed(1, "leak", sensor="toilet/cord"),
        Deed(1, "set", sensor="basement/main/flow", value=1.0),
        Deed(1, "set", sensor="basement/pressure", value=True),
        Deed(1, "set", sensor="basement/rope", value="cut"),
        Deed(1, "set", sensor="toilet/cord", value=2.0),
    ],
)
def test_a_deed_the_building_cannot_do_says_what_it_can(deed: Deed) -> None:
    with pytest.raises(ScenarioError, match=r"found .*; expected .*\. [A-Z].*\."):
        building().check(deed)


def test_the_same_seed_is_the_same_day() -> None:
    def day(seed: int) -> list[Report]:
        return run(building(made_up_day(random.Random(seed)), 50.0, seed), 0, 60)

    assert day(1) == day(1) != day(2)


@pytest.mark.data
def test_a_real_day_of_water_is_replayed_to_the_millilitre() -> None:
    place = data.folder("weusedto")
    assert place
    courses = data.water_day(place, random.Random(7))
    assert courses == data.water_day(place, random.Random(7))
    assert len([name for name in data.TAPS if name in courses]) >= 3
    start_s = building(courses)._day_s
    reports = of(MAIN, run(building(courses), 0, 120))
    expected = [sum(c.at(start_s + second) for c in courses.values()) / 1_000_000 for second in range(120)]
    assert max(expected) > 0
    assert {float(r.value) for r in reports} == set(expected)


@pytest.mark.data
def test_a_real_day_of_tickets_calls_nobody_before_he_came() -> None:
    place = data.folder("warsaw-queues")
    assert place
    days = data.office_day(place, 3, random.Random(7))
    assert days == data.office_day(place, 3, random.Random(7))
    for arrivals_s, calls_s in days:
        assert len(calls_s) >= data.TICKETS_MIN
        assert arrivals_s == sorted(arrivals_s)
        assert 7 * 3600 < arrivals_s[0] < calls_s[-1] < 20 * 3600
        assert len(arrivals_s) >= len(calls_s)


def hall(visits: list[Visits] | None, seed: int = 1, speed: float = 1.0) -> Hall:
    plan = Plan(["k1"], ["A", "B", "C"], {"1": ["A", "B"], "2": ["B", "C"], "3": ["A"]}, {"1": "n2:pad1"})
    days = made_up_visits(3, random.Random(seed)) if visits is None else visits
    return Hall(plan, days, HallSettings(hour=8.0), speed, random.Random(seed))


def a_day(seed: int) -> list[Ticket | Report]:
    return run(hall(None, seed, speed=200.0), 0, 9.5 * 3600 / 200)


COMES_AFTER = {
    "issued": (None,),
    "called": ("issued", "transferred"),
    "recalled": ("called",),
    "served": ("called",),
    "no_show": ("called", "recalled"),
    "transferred": ("called",),
    "cancelled": ("issued", "transferred"),
    "rated": ("served",),
}


@pytest.mark.parametrize("seed", range(5))
def test_tickets_of_a_day_keep_their_order(seed: int) -> None:
    at_window: dict[object, object] = {}
    state: dict[object, str] = {}
    numbers: Counter[object] = Counter()
    for said in a_day(seed):
        if isinstance(said, Report):
            continue
        who, window = said.fields["label"], said.fields.get("window")
        assert state.get(who) in COMES_AFTER[said.event], f"{who}: {said.event} after {state.get(who)}"
        state[who] = said.event
        if said.event == "issued":
            numbers[said.fields["service"]] += 1
            assert said.fields["number"] == numbers[said.fields["service"]]
            assert who == f"{said.fields['service']}{said.fields['number']:03d}"
        elif said.event == "called":
            assert at_window.get(window) is None, f"{who} and {at_window[window]} at window {window}"
            at_window[window] = who
        elif said.event in ("served", "no_show", "transferred"):
            assert at_window.pop(window) == who
    assert sum(numbers.values()) > 100


def test_a_few_days_have_everything_that_happens_in_a_hall() -> None:
    said = [one for seed in range(6) for one in a_day(seed)]
    events = Counter(one.event for one in said if isinstance(one, Ticket))
    assert set(events) == set(COMES_AFTER)
    pads = Counter(one.value for one in said if isinstance(one, Report))
    assert set(pads) == {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}
    rated = [one for one in said if isinstance(one, Ticket) and one.event == "rated"]
    assert all(one.fields["window"] in ("2", "3") for one in rated), "window 1 has a pad"
    assert None in {one.fields["grade"] for one in rated}


def test_a_rush_brings_so_many_people_in_its_time() -> None:
    place = hall([])
    place.do(Deed(5, "rush", tickets=30, for_s=10.0), 5.0)
    assert len(run(place, 5, 15.1)) == 30
    assert not run(place, 15.1, 60)


def test_a_jammed_kiosk_prints_when_the_jam_is_over() -> None:
    place = hall([])
    place.do(Deed(0, "rush", tickets=5, for_s=3.0), 0.0)
    place.do(Deed(0, "jam", for_s=8.0), 0.0)
    assert not run(place, 0, 7.9)
    assert Counter(said.event for said in run(place, 7.9, 9)) == {"issued": 5}


def test_calls_follow_the_given_day() -> None:
    eight = 8 * 3600.0
    place = hall([Visits([eight + 1, eight + 2], [eight + 1.5, eight + 4])])
    events = defaultdict(list)
    for said in run(place, 0, 4.1):
        events[said.fields["service"]].append(said.event)
    assert events["A"][:2] == ["issued", "called"]


def test_garbling_spoils_about_its_share_and_nothing_at_none() -> None:
    block = bytes(range(256)) * 40
    assert garbled(block, 0.0, random.Random(1)) == block
    once, again = (garbled(block, 0.1, random.Random(1)) for _ in range(2))
    assert once == again != block
    lengths = [len(garbled(block, 0.1, random.Random(seed))) - len(block) for seed in range(20)]
    assert min(lengths) < 0 < max(lengths), "bytes are dropped and doubled"


def test_a_delayed_wire_keeps_the_order_and_loses_nothing() -> None:
    slow = Fault("delay", at_s=0, delay_s=0.5)
    standing = [slow]
    wire = Wire(standing, random.Random(1))
    assert wire.carry(b"one", 0.0) == b""
    standing.clear()
    assert wire.carry(b"two", 0.2) == b"", "it does not overtake"
    assert wire.carry(b"", 0.6) == b"onetwo"
    assert wire.carry(b"three", 0.7) == b"three"


def test_a_mute_wire_carries_nothing_and_remembers_nothing() -> None:
    standing = [Fault("mute", at_s=0)]
    wire = Wire(standing, random.Random(1))
    assert wire.carry(b"one", 0.0) == b""
    standing.clear()
    assert wire.carry(b"two", 0.1) == b"two"


def test_truth_is_json_with_exactly_the_number_that_was_sent(tmp_path: Path) -> None:
    truth = Truth(tmp_path / "deep" / "truth.jsonl")
    values = [0.1 + 0.2, 1e-300, 5e-324, 12.0, True, False, "cut", "A012", None, 5]
    for seq, value in enumerate(values, 1):
        truth.fact("n1", 3, seq, "reading", '厅/"a"', value, 1e9 + 0.5)
    truth.lost("n1", 3, 4, 9, 7.0)
    truth.sampled("rope", True, 8.0)
    truth.close()
    rows = [json.loads(line) for line in (tmp_path / "deep" / "truth.jsonl").read_text().splitlines()]
    assert [(type(row["value"]), row["value"]) for row in rows[:10]] == [(type(v), v) for v in values]
    assert rows[0] == {"src": "n1/3/1", "kind": "reading", "sensor": '厅/"a"', "value": values[0], "t": 1e9 + 0.5}
    assert rows[10] == {
        "src": "n1/3/9", "kind": "lost", "sensor": "n1", "value": None, "t": 7.0, "first": 4, "last": 9,
    }  # fmt: skip
    assert rows[11] == {"src": None, "kind": "sampled", "sensor": "rope", "value": True, "t": 8.0}


def test_a_truth_that_is_there_is_continued(tmp_path: Path) -> None:
    for seq in (1, 2):
        truth = Truth(tmp_path / "truth.jsonl")
        truth.fact("n1", seq, 1, "reading", "x", 1.0, 0.0)
        truth.close()
    assert len((tmp_path / "truth.jsonl").read_text().splitlines()) == 2
