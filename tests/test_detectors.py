"""The models of a site side by side: who sees which reading, rows of the wall, memory over a restart, evidence."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gateway.alarms import Alarms, Rule
from gateway.conditions import parse
from gateway.detector import Detector
from gateway.detectors import Detectors
from gateway.row_models import GAP_S_MAX, KEEP, LEARNERS, ROWS_AT_ONCE, Generic, Rows
from models.generic.step import ROW_S, WARM_ROWS
from models.package import load_models

DAY_S = 86_400
MIDNIGHT_S = 1_800_057_600  # a Monday, 00:00 UTC
NOISE = np.random.default_rng(7).normal(0.0, 0.1, 100_000).tolist()


class Site:
    """Models over some sensors, one reading a minute, on a wall that is mono + an offset."""

    def __init__(
        self, wanted: dict[str, list[str]], kept: dict[str, object] | None = None, boot_s: float = MIDNIGHT_S
    ) -> None:
        self.kept = kept or {}
        self.boot_s = boot_s
        self.known = True
        self.detectors = Detectors.of_site(wanted, dict(self.kept), self.keep, Path("none"))
        self.scores: list[tuple[float, tuple[str, str], float]] = []

    def keep(self, key: str, value: object) -> None:
        self.kept[key] = json.loads(json.dumps(value, allow_nan=False))

    def run(self, sensors: list[str], level: Callable[[float], float], from_s: float, to_s: float) -> None:
        """From and to by the wall. level: of the wall's time; NaN: nobody speaks."""
        for at_s in range(int(from_s), int(to_s), 60):
            mono_s = at_s - self.boot_s
            value = level(at_s)
            for sensor in sensors:
                if not math.isnan(value):
                    self.detectors.feed(sensor, value, mono_s)
            for key, score in self.detectors.tick(mono_s + 6.0, at_s + 6.0 if self.known else None).items():
                self.scores.append((at_s, key, score))


def day(at_s: float) -> float:
    """A temperature, below zero at night."""
    return 5.0 - 8.0 * math.cos(at_s % DAY_S / DAY_S * 2 * math.pi) + NOISE[int(at_s // 60) % len(NOISE)]


def shifted(at_s: float) -> float:
    return day(at_s) + (15.0 if at_s >= MIDNIGHT_S + 5 * DAY_S else 0.0)


def test_the_detector_for_any_sensor_sees_a_level_shift_and_says_what_it_saw() -> None:
    site = Site({"generic": ["hall/temp"]})
    site.run(["hall/temp"], shifted, MIDNIGHT_S, MIDNIGHT_S + 5 * DAY_S + 3600)
    before = [score for at_s, _, score in site.scores if at_s < MIDNIGHT_S + 5 * DAY_S]
    after = [score for at_s, _, score in site.scores if at_s > MIDNIGHT_S + 5 * DAY_S + ROW_S]
    assert len(before) == pytest.approx(5 * DAY_S / ROW_S - WARM_ROWS, abs=2)
    assert max(before[-288:]) < 0.8 < 0.9 < min(after)
    score = site.detectors.score("generic", "hall/temp")
    assert score is not None
    told = site.detectors.evidence("generic", "hall/temp", score)
    assert (told["model"], told["version"]) == ("generic", "1.0.0")
    [because] = told["because"]  # type: ignore[misc]
    assert because["what"].startswith("above_")
    assert because["far"] > 2.0
    assert "because" not in site.detectors.evidence("generic", "hall/temp", 0.1)


def test_a_restart_in_another_boot_goes_on_where_it_was() -> None:
    """Boots differ by hours that are no whole rows; the profile of the day must stay where it was."""
    through, halved = Site({"generic": ["s"]}), Site({"generic": ["s"]})
    end_s = MIDNIGHT_S + 4 * DAY_S
    through.run(["s"], day, MIDNIGHT_S, end_s + 6 * 3600)
    halved.run(["s"], day, MIDNIGHT_S, end_s + 600)
    again = Site({"generic": ["s"]}, halved.kept, boot_s=end_s - 1234.5)
    again.run(["s"], day, end_s + 660, end_s + 6 * 3600)
    last = dict.fromkeys(("through", "again"), 0.0)
    for name, one in (("through", through), ("again", again)):
        last[name] = one.scores[-1][2]
    assert again.scores[0][0] < end_s + 1800, "it has learnt already: no new half a day of learning"
    assert last["again"] == pytest.approx(last["through"], abs=0.05)


@pytest.mark.parametrize(
    "kept", [None, 7, [], [1, ["s"], "0.9.0", []], [1, ["s"], "1.0.0", [["x"]]], ["1", ["s"], "1.0.0", []]]
)
def test_what_cannot_be_taken_up_is_learnt_anew(kept: object) -> None:
    site = Site({"generic": ["s"]}, {KEEP + "generic": kept})
    site.run(["s"], day, MIDNIGHT_S, MIDNIGHT_S + WARM_ROWS * ROW_S)
    assert site.scores == []
    assert site.detectors.fault == ""


def test_a_sensor_that_is_new_learns_while_the_others_know() -> None:
    first = Site({"generic": ["old", "gone"]})
    end_s = MIDNIGHT_S + DAY_S
    first.run(["old", "gone"], day, MIDNIGHT_S, end_s)
    second = Site({"generic": ["new", "old"]}, first.kept)
    second.run(["new", "old"], day, end_s, end_s + 3600)
    assert {key for _, key, _ in second.scores} == {("generic", "old")}


@pytest.mark.parametrize(("model", "days"), [("generic", 2), ("inflow", 30)])
def test_one_sensor_learns_anew_and_the_others_go_on_as_if_nothing_had_happened(model: str, days: int) -> None:
    def used(at_s: float) -> float:
        return 1e-4 if 6 <= at_s % DAY_S / 3600 < 22 and at_s // 60 % 7 == 0 else 0.0

    asked, left = Site({model: ["s", "t"]}), Site({model: ["s", "t"]})
    end_s = MIDNIGHT_S + days * DAY_S
    for site in (asked, left):
        site.run(["s", "t"], used, MIDNIGHT_S, end_s)
    assert asked.detectors.learn_anew(model, "s", "desk")["of"] == "s"
    assert asked.detectors.score(model, "s") is None
    begun = len(asked.scores)
    for site in (asked, left):
        site.run(["s", "t"], used, end_s, end_s + 2 * 3600)
    of_t = [row for row in asked.scores[begun:] if row[1] == (model, "t")]
    assert of_t == [row for row in left.scores[begun:] if row[1] == (model, "t")]
    of_s = [score for _, key, score in asked.scores[begun:] if key == (model, "s")]
    assert max(of_s, default=0.0) == 0.0
    again = Site({model: ["s", "t"]}, asked.kept, boot_s=end_s)
    again.run(["s", "t"], used, end_s + 2 * 3600, end_s + 3 * 3600)
    assert max((score for _, key, score in again.scores if key == (model, "s")), default=0.0) == 0.0


def test_no_row_is_made_before_anybody_knows_the_time_and_rows_go_on_when_nobody_does_any_more() -> None:
    site = Site({"generic": ["s"]})
    site.known = False
    site.run(["s"], day, MIDNIGHT_S, MIDNIGHT_S + DAY_S)
    assert site.kept == {} and site.scores == []
    site.known = True
    site.run(["s"], day, MIDNIGHT_S + DAY_S, MIDNIGHT_S + 2 * DAY_S)
    scored = len(site.scores)
    site.known = False
    site.run(["s"], day, MIDNIGHT_S + 2 * DAY_S, MIDNIGHT_S + 2 * DAY_S + 3600)
    assert len(site.scores) == scored + 3600 // ROW_S


def test_a_silent_sensor_has_no_score_and_the_others_have() -> None:
    site = Site({"generic": ["s", "t"]})
    site.run(["s", "t"], day, MIDNIGHT_S, MIDNIGHT_S + DAY_S)
    site.run(["t"], day, MIDNIGHT_S + DAY_S, MIDNIGHT_S + DAY_S + 1800)
    assert site.detectors.score("generic", "s") is None
    assert site.detectors.score("generic", "t") is not None


def test_a_leak_below_a_flow_that_rests_is_found_by_inflow_and_named() -> None:
    def flow(at_s: float) -> float:
        used = 1e-4 if 6 <= at_s % DAY_S / 3600 < 22 and at_s // 60 % 7 == 0 else 0.0
        return used + (2e-5 if at_s >= MIDNIGHT_S + 40 * DAY_S else 0.0)

    site = Site({"inflow": ["flat"], "generic": ["hall"]})
    site.run(["flat"], flow, MIDNIGHT_S, MIDNIGHT_S + 46 * DAY_S)
    leaks = [at_s for at_s, _, score in site.scores if score > 0.5]
    assert leaks and MIDNIGHT_S + 40 * DAY_S < leaks[0] < MIDNIGHT_S + 45 * DAY_S
    because = site.detectors.evidence("inflow", "flat", 0.9)["because"]
    assert because[0]["what"] in ("floor", "profile") and because[0]["far"] > 1.0  # type: ignore[index,operator,call-overload]


def test_a_long_gap_is_made_up_for_in_bounded_steps_and_a_longer_one_forgets() -> None:
    kept: dict[str, list] = {}

    def hours(rows: Rows, hour: float) -> None:
        rows.tick(hour * 3600 + 10.0, MIDNIGHT_S + hour * 3600 + 10.0)

    rows = Rows("inflow", ["flat"], {}, kept.__setitem__)
    hours(rows, 0)
    hours(rows, 1)
    row, _, _, state = kept["model:inflow"]
    assert (row, state["profile"]["_steps"]) == (MIDNIGHT_S // 1800 + 2, 2)
    again = Rows("inflow", ["flat"], dict(kept), kept.__setitem__)
    ticks = 0
    while kept["model:inflow"][0] == row:
        hours(again, 240)
        ticks += 1
    assert ticks == pytest.approx(239 * 2 / ROWS_AT_ONCE, abs=2)
    assert kept["model:inflow"][3]["profile"]["_steps"] == 480
    late_h = 240 + GAP_S_MAX / 3600 + 1
    hours(again, late_h)
    hours(again, late_h + 1)
    assert kept["model:inflow"][3]["profile"]["_steps"] == 2


def test_a_model_that_is_out_leaves_the_others_and_the_readings_alone() -> None:
    site = Site({"water-leek": ["main"], "water-leak": ["main"]})
    site.run(["main"], lambda at_s: 0.0, MIDNIGHT_S, MIDNIGHT_S + 3600)
    assert "no model 'water-leek'. There are: water-leak" in site.detectors.fault
    assert site.detectors.score("water-leak", "main") == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("answer", [ValueError("no such shape"), [1.5, 0.1], [-0.1, 0.1]])
def test_a_learner_that_fails_is_out_and_the_others_go_on(
    answer: ValueError | list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(_self: Generic, _means: list[float], _row: int) -> list[float]:
        if isinstance(answer, ValueError):
            raise answer
        return answer

    monkeypatch.setattr(Generic, "step", step)
    site = Site({"generic": ["a", "b"], "water-leak": ["a"]})
    site.run(["a", "b"], lambda at_s: 0.0, MIDNIGHT_S, MIDNIGHT_S + 3600)
    assert site.detectors.fault.startswith("The model generic is taken out: ")
    assert site.detectors.score("generic", "a") is None
    assert site.detectors.score("water-leak", "a") is not None


def test_a_model_whose_files_are_not_whole_is_out_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_sensors: list[str]) -> None:
        raise FileNotFoundError("constants.toml")

    monkeypatch.setitem(LEARNERS, "inflow", gone)
    site = Site({"inflow": ["a"], "water-leak": ["a"]})
    assert site.detectors.fault == "The model inflow is out: constants.toml"
    assert site.detectors.pairs == [("water-leak", "a")]


def test_the_leak_models_evidence_names_the_features_that_make_its_score() -> None:
    site = Site({"water-leak": ["main"]})
    site.run(["main"], lambda at_s: 3e-5, MIDNIGHT_S, MIDNIGHT_S + 3600)
    score = site.detectors.score("water-leak", "main")
    assert score is not None and score > 0.9
    told = site.detectors.evidence("water-leak", "main", score)
    because = told["because"]
    assert isinstance(because, list) and 1 <= len(because) <= 3
    assert all(0.0 < one["far"] <= score for one in because)
    assert because == sorted(because, key=lambda one: -one["far"])


def test_a_condition_that_says_how_often_it_may_come_is_judged_by_the_sensors_own_past(tmp_path: Path) -> None:
    rule = Rule("leak", "leak", "low", (parse("model:water-leak on main > 0.4 at most 1 a month for 5 min"),))
    rates = Alarms([rule], {}, {}, 0.0).rates()
    assert rates == {("water-leak", "main"): (0.4, 1.0, 300.0)}
    detectors = Detectors.of_site({"water-leak": ["main"]}, {}, lambda key, value: None, tmp_path, rates)
    said = []
    for minute in range(10 * 60):
        leak = 1e-4 if minute < 120 else 2e-5 if 300 <= minute < 420 else 0.0  # a large one, and one that is smaller
        detectors.feed("main", leak, minute * 60.0)
        for score in detectors.tick(minute * 60.0 + 6.0, None).values():
            said.append((minute, score))
    raw = detectors.score("water-leak", "main")
    assert raw is not None and raw < 0.4
    assert max(score for minute, score in said if minute < 120) > 0.9
    limit = detectors.evidence("water-leak", "main", 0.9)["limit"]
    assert isinstance(limit, float) and pytest.approx(limit) == 0.4 + 0.9 * 0.6
    assert "limit" not in Detectors.of_site({"water-leak": ["main"]}, {}, lambda key, value: None, tmp_path).evidence(
        "water-leak", "main", 0.9
    )


def test_readings_in_columns_reach_each_model_of_a_sensor() -> None:
    one, two = (
        Detector(load_models(["water-leak"])["water-leak"], ["a", "b"]),
        Rows("generic", ["b"], {}, lambda key, value: None),
    )
    detectors = Detectors({"water-leak": one, "generic": two})
    assert detectors.pairs == [("water-leak", "a"), ("water-leak", "b"), ("generic", "b")]
    detectors.run(["a", "b", "c"], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    detectors.feed("b", 2.0, 60.0)
    for windows in (one.windows, two.windows):
        windows.close(60.0)
        assert windows.of["b"].mean(1) == 2.0
