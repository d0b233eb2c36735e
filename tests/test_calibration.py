"""`at most 1 a month`: what a sensor does each week does not come through, what it never did does."""

import json
import random

import pytest

from gateway.calibration import CALM_MIN, HIGHEST_SHARE, MONTH_MIN, PEAKS_MAX, Calibration, Rate

PAIR = ("generic", "s")
HOUR = 12  # rows of 5 minutes


class Past:
    def __init__(self, a_month: float = 1.0, for_s: float = 0.0) -> None:
        self.kept: dict[str, object] = {}
        self.rate = Rate(0.9, a_month, for_s)
        self.version = "1.0.0"
        self.restart()

    def restart(self) -> None:
        self.one = Calibration({PAIR: self.rate}, dict(self.kept), self._keep)

    def _keep(self, key: str, value: object) -> None:
        self.kept[key] = json.loads(json.dumps(value))

    def says(self, *scores: float) -> list[float]:
        return [self.one.judged(*PAIR, score, 5.0, self.version) for score in scores]

    def calm(self, hours: float) -> None:
        assert set(self.says(*[0.2] * round(hours * HOUR))) == {0.2}

    def comes(self, peak: float, rows: int = 3) -> bool:
        """An excursion and the calm after it; whether it came through."""
        said = self.says(*[peak] * rows)
        self.calm(CALM_MIN / 60 + 1)
        assert set(said) <= {peak, 0.9}
        return peak in said


def test_the_first_comes_through_and_then_only_what_is_higher() -> None:
    past = Past()
    past.calm(24)
    assert past.comes(0.95)
    assert not past.comes(0.94)
    assert past.comes(0.96)
    assert past.one.limit(*PAIR) == 0.96


def test_another_version_of_the_model_is_not_measured_by_the_scores_of_the_one_before() -> None:
    past = Past()
    assert past.comes(0.98) and not past.comes(0.97)
    past.restart()
    past.version = "2.0.0"
    assert past.comes(0.95) and not past.comes(0.94)
    past.version = "1.0.0"
    assert past.comes(0.95)


def test_an_excursion_under_way_stays_through_when_the_version_changes() -> None:
    past = Past()
    assert past.says(0.95) == [0.95]
    past.version = "2.0.0"
    assert past.says(0.94) == [0.94]


@pytest.mark.parametrize("a_month", [0.5, 1.0, 4.0])
def test_a_year_of_excursions_comes_through_about_as_often_as_is_said(a_month: float) -> None:
    """Forty a month of random height, after the first month, which is learning."""
    past, dice = Past(a_month), random.Random(11)
    through = 0
    for month in range(13):
        for _ in range(40):
            past.calm(MONTH_MIN / 60 / 40 - CALM_MIN / 60 - 1.25)
            through += past.comes(dice.uniform(0.9, 0.985)) and month > 0
    assert 0.5 * a_month <= through / 12 <= 1.6 * a_month, f"{through} in twelve months"


def test_what_never_was_comes_through_after_a_year_of_lesser_ones() -> None:
    past = Past()
    for _ in range(200):
        past.comes(0.93)
    assert past.comes(0.97)


def test_no_past_silences_a_model_altogether() -> None:
    past = Past()
    for _ in range(5):
        past.comes(1.0)
    assert past.one.limit(*PAIR) == pytest.approx(0.9 + HIGHEST_SHARE * 0.1)
    assert past.comes(1.0)


def test_an_excursion_that_came_through_stays_until_an_hour_of_calm() -> None:
    past = Past()
    past.comes(0.95)
    assert past.says(0.93, 0.97, 0.92, 0.91) == [0.9, 0.97, 0.92, 0.91]
    past.calm(0.5)
    assert past.says(0.92) == [0.92]
    past.calm(1)
    assert past.says(0.92) == [0.9]


def test_what_is_shorter_than_the_condition_asks_for_is_not_counted() -> None:
    past = Past(for_s=600.0)
    for _ in range(10):
        past.comes(0.99, rows=2)
    assert past.one.limit(*PAIR) == 0.9
    past.comes(0.95, rows=3)
    assert past.one.limit(*PAIR) == 0.95


def test_it_is_remembered_over_a_restart_in_the_middle_of_an_excursion() -> None:
    past = Past()
    past.comes(0.95)
    past.says(*[0.97] * HOUR)
    past.restart()
    assert past.says(0.91) == [0.91]
    past.calm(2)
    past.restart()
    assert past.one.limit(*PAIR) == 0.97


def test_old_excursions_are_forgotten_after_three_months_of_scores() -> None:
    past = Past()
    past.comes(0.98)
    past.calm(3 * MONTH_MIN / 60)
    past.comes(0.92)
    assert past.one.limit(*PAIR) == 0.9, "one in three months, of three that may be"


def test_memory_is_bounded_and_keeps_the_highest() -> None:
    past = Past(30.0)
    for n in range(3 * PEAKS_MAX):
        past.comes(0.91 + n * 0.0001)
    [kept] = past.kept.values()
    assert isinstance(kept, dict) and len(kept["peaks"]) == PEAKS_MAX
    assert min(peak for _, peak in kept["peaks"]) == pytest.approx(0.91 + 2 * PEAKS_MAX * 0.0001)


def test_a_pair_without_a_rate_is_left_as_it_is_and_what_cannot_be_read_is_learnt_anew() -> None:
    past = Past()
    assert past.one.judged("generic", "other", 0.99, 5.0) == 0.99
    assert past.one.evidence("generic", "other") == {}
    past.kept = {"calibration:generic:s": {"peaks": "many"}}
    past.restart()
    assert past.one.evidence(*PAIR) == {"limit": 0.9}


def test_what_learns_anew_has_no_past_also_after_a_restart() -> None:
    past = Past()
    past.comes(0.97)
    past.one.forget(*PAIR)
    assert past.one.limit(*PAIR) == 0.9
    past.restart()
    assert past.one.limit(*PAIR) == 0.9
    past.one.forget("generic", "other")
