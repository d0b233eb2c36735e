"""Versions of a model while something else happens: restarts, updates of the program, two people, a failure."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.alarm_life import Rule
from gateway.alarms import Alarms
from gateway.conditions import parse
from gateway.desk import Desk
from gateway.detectors import Detectors
from gateway.model_packages import install
from gateway.rollout import JUDGED, PROBATION_MIN, SLOW_MAX, SPENT_S_MAX
from models.session import ModelError
from tests import onnx_made
from tests.test_model_packages import KEYS, package
from tests.test_rollout import House, Version, promoted

HOUR = 60


@pytest.fixture
def house() -> House:
    return House()


def updated(house: House, shipped: str) -> None:
    """The gateway starts again, with a program that brings another version and not the earlier one."""
    house.versions.pop(house.shipped, None)
    house.shipped = shipped
    house.versions.setdefault(shipped, Version(shipped, house))
    house.start()


def test_a_box_that_is_restarted_each_few_hours_still_judges_and_confirms(house: House) -> None:
    promoted(house)
    house.versions["2.0.0"].answer = 0.99
    for _ in range(JUDGED // (2 * HOUR) - 1):
        house.score(2 * HOUR)
        assert house.said() == []
        house.start()
    house.score(2 * HOUR)
    assert house.said() == [("rolled-back", "2.0.0", "1.0.0", "rule")]


def test_when_the_version_before_fails_the_shipped_one_goes_on_judging_the_new_one(house: House) -> None:
    promoted(house)
    house.score(PROBATION_MIN)
    house.rollout.shadow("3.0.0", 0, "a")
    house.rollout.promote("a")
    house.said()
    house.versions["2.0.0"].answer = "found, expected, do"
    house.versions["3.0.0"].answer = 0.99
    house.score(JUDGED + 1)
    assert house.said() == [("withdrawn", "2.0.0", "3.0.0", "rule"), ("rolled-back", "3.0.0", "1.0.0", "rule")]
    assert house.score() == [0.1]


@pytest.mark.parametrize("trouble", ["slow", "gone"])
def test_a_version_before_that_is_slow_or_gone_ends_no_probation(house: House, trouble: str) -> None:
    promoted(house)
    house.score(PROBATION_MIN)
    house.rollout.shadow("3.0.0", 0, "a")
    house.rollout.promote("a")
    house.said()
    if trouble == "slow":
        house.versions["2.0.0"].spends_s = 2 * SPENT_S_MAX
        house.score(2 * SLOW_MAX + 1)
    else:
        del house.versions["2.0.0"]
        house.start()
    assert house.said() == [("withdrawn", "2.0.0", "3.0.0", "rule")]
    assert (house.rollout.standing()["other"], house.rollout.standing()["on_probation"]) == ("1.0.0", True)


def test_after_a_crash_in_a_model_only_the_shipped_version_is_trusted(house: House) -> None:
    house.rollout.shadow("2.0.0", 3, "a")
    house.said()
    house.start(crashed=True)
    assert house.said() == [("withdrawn", "2.0.0", "1.0.0", "rule")]
    promoted(house)
    house.start(crashed=True)
    assert house.said() == [("rolled-back", "2.0.0", "1.0.0", "rule")]
    promoted(house)
    house.score(PROBATION_MIN)
    house.rollout.shadow("3.0.0", 3, "a")
    house.said()
    house.start(crashed=True)
    assert house.said() == [("withdrawn", "3.0.0", "2.0.0", "rule"), ("rolled-back", "2.0.0", "1.0.0", "rule")]
    house.start(crashed=True)
    assert (house.said(), house.score()) == ([], [0.1])


def test_during_a_probation_no_other_shadow_is_taken(house: House) -> None:
    promoted(house)
    with pytest.raises(ValueError, match=r"found 2.0.0 on probation, expected it confirmed or rolled back first"):
        house.rollout.shadow("3.0.0", 0, "b")
    assert house.rollout.standing()["on_probation"]


def test_a_shadow_that_another_one_follows_is_told_as_withdrawn(house: House) -> None:
    house.rollout.shadow("2.0.0", 0, "a")
    house.rollout.shadow("3.0.0", 0, "b")
    assert house.said() == [
        ("shadowed", "2.0.0", "1.0.0", "a"), ("withdrawn", "2.0.0", "1.0.0", "b"), ("shadowed", "3.0.0", "1.0.0", "b"),
    ]  # fmt: skip


def test_who_promotes_or_rolls_back_a_version_gets_that_one_or_none(house: House) -> None:
    house.rollout.shadow("3.0.0", 0, "a")
    with pytest.raises(ValueError, match=r"found 2.0.0, expected 3.0.0, the shadow there is; see linli model list"):
        house.rollout.promote("b", "2.0.0")
    with pytest.raises(ValueError, match=r"found 2.0.0, expected 3.0.0, the shadow there is"):
        house.rollout.rollback("b", "2.0.0")
    house.rollout.promote("b", "3.0.0")
    with pytest.raises(ValueError, match="found no shadow, expected one"):
        house.rollout.promote("b", "3.0.0")
    with pytest.raises(ValueError, match=r"found 2.0.0, expected 3.0.0, which is active"):
        house.rollout.rollback("b", "2.0.0")
    house.rollout.rollback("b", "3.0.0")
    assert house.rollout.version == "1.0.0"


def test_a_part_of_a_minute_is_no_promotion_by_hand_alone(house: House) -> None:
    house.rollout.shadow("2.0.0", 0.0001, "a")
    house.score()
    assert house.rollout.version == "2.0.0"


def test_an_update_of_the_program_is_no_rollback(house: House) -> None:
    house.rollout.shadow("2.0.0", 0, "a")
    house.rollout.rollback("a")
    house.said()
    updated(house, "1.5.0")
    assert (house.rollout.version, house.said()) == ("1.5.0", [])


def test_an_update_in_a_probation_goes_on_beside_the_new_shipped_version(house: House) -> None:
    promoted(house)
    updated(house, "1.5.0")
    standing = house.rollout.standing()
    assert (standing["active"], standing["other"], standing["on_probation"]) == ("2.0.0", "1.5.0", True)
    house.versions["2.0.0"].answer = 0.99
    house.score(JUDGED)
    assert house.said() == [("rolled-back", "2.0.0", "1.5.0", "rule")]


@pytest.mark.parametrize("promote", [False, True])
def test_an_update_that_brings_the_version_under_trial_ends_the_trial(house: House, promote: bool) -> None:
    house.rollout.shadow("2.0.0", 1, "a")
    if promote:
        house.rollout.promote("a")
    house.said()
    updated(house, "2.0.0")
    assert house.rollout.standing()["other"] == ""
    assert house.said() == [("withdrawn", "2.0.0", "2.0.0", "rule")]


def test_what_counts_as_an_alarm_is_what_the_site_says(house: House) -> None:
    house.high = 0.5
    house.start()
    promoted(house)
    house.versions["2.0.0"].answer = 0.6
    house.score(JUDGED)
    assert house.said() == [("rolled-back", "2.0.0", "1.0.0", "rule")]


def test_the_lowest_number_of_a_sites_conditions_is_where_a_models_alarms_begin() -> None:
    words = ("model:water-leak on main > 0.9", "model:water-leak on side >= 0.7 for 5 min", "model:generic on t > 0.8")
    rules = [Rule(f"a{n}", "leak", "low", (parse(word),)) for n, word in enumerate(words)]
    highs = Alarms(rules, {}, {}, 0.0).highs()
    assert highs["generic"] == 0.8
    assert 0.6999 < highs["water-leak"] < 0.7, "so that 0.7 itself is above"


def test_a_model_that_always_answers_the_limit_itself_alarms_nowhere_and_stays(house: House) -> None:
    promoted(house)
    house.versions["2.0.0"].answer = 0.9
    house.score(2 * JUDGED)
    assert house.said() == []


def test_a_shadow_that_is_promoted_while_the_active_version_is_out_brings_the_scores_back(tmp_path: Path) -> None:
    install(package(tmp_path / "new", onnx_made.linear(0.1, -1.1)), KEYS, tmp_path / "models")
    one = Detectors.of_site({"water-leak": ["main"]}, {}, lambda key, value: None, tmp_path / "models")
    one.ask("shadow", "water-leak", "2.0.0", 0, "desk")
    rollout = one.rollouts["water-leak"]

    class Broken:
        version = "1.0.0"

        def score(self, windows: object) -> list[float]:
            raise ModelError("found, expected, do")

        because = score

    rollout._active = Broken()  # type: ignore[assignment]
    minute = 0
    while not one.fault:
        minute += 1
        one.feed("main", 0.0, minute * 60.0)
        one.tick(minute * 60.0 + 6, None)
    assert one.score("water-leak", "main") is None
    with pytest.raises(ValueError, match=r"found 7.0.0, expected 2.0.0"):
        one.ask("promote", "water-leak", "7.0.0", 0, "desk")
    assert one.fault
    one.ask("promote", "water-leak", "2.0.0", 0, "desk")
    one.feed("main", 0.0, minute * 60.0 + 60)
    one.tick(minute * 60.0 + 66, None)
    assert one.score("water-leak", "main") == pytest.approx(0.269, abs=0.001)
    assert one.fault == ""
    assert [data["value"] for _, data in one.decided()] == ["shadowed", "promoted", "withdrawn"]


@pytest.mark.parametrize("by", ["", "王工\nroot", "a" * 201])
def test_who_decides_at_the_box_is_a_name_in_one_line(by: str) -> None:
    box = SimpleNamespace(pipeline=None)
    model = Desk(box, None, lambda: 0.0).asks()["model"]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="as who wants it, expected a name of 1 to 200 characters in one line"):
        asyncio.run(model({"deed": "promote", "name": "water-leak", "by": by, "after_days": 0}))  # type: ignore[arg-type]


def test_days_are_for_a_shadow_alone_and_a_model_that_is_out_says_why(tmp_path: Path) -> None:
    one = Detectors.of_site({"water-leak": ["main"]}, {}, lambda key, value: None, tmp_path)
    with pytest.raises(ValueError, match="found 3 days with promote, expected them with shadow alone; leave them out"):
        one.ask("promote", "water-leak", "", 3, "desk")
    out = Detectors.of_site({"nosuch": ["main"]}, {}, lambda key, value: None, tmp_path)
    with pytest.raises(ValueError, match="found model 'nosuch', which is out: .*There is no model 'nosuch'"):
        out.ask("promote", "nosuch", "", 0, "desk")
