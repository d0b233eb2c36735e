"""`linli bench rates`: that it counts comings as the box raises them, and that the page says what it measures."""

from pathlib import Path

import numpy as np
import pytest

from gateway import cli
from models import data
from models.inflow import measure
from simulator import bench_rates
from simulator.bench_rates import Series, came

PAGE = (Path(__file__).parent.parent / "docs/models.md").read_text(encoding="utf-8")
MONTH_ROWS = 30 * 24


def restless(months: int, a_month: int, seed: int = 3) -> np.ndarray:
    """Hourly scores of one sensor with so many excursions of three hours a month, each of another height."""
    dice = np.random.default_rng(seed)
    found = np.full(months * MONTH_ROWS, 0.1)
    for start in range(5, len(found) - 5, MONTH_ROWS // a_month):
        found[start : start + 3] = dice.uniform(0.55, 0.9)
    return found


def a_series(*scores: np.ndarray) -> Series:
    return Series("inflow", "households", np.stack(scores, axis=1), 60.0, "> 0.5 for 1 h")


def test_without_a_rate_each_excursion_comes_and_with_one_about_as_many_as_it_says() -> None:
    series = a_series(restless(13, 20), restless(13, 20, seed=4))
    plain = came(series, None)
    assert (plain.sensors, plain.months) == (2, 24.0)
    assert plain.a_month == pytest.approx(20, abs=0.5)
    for a_month in (0.25, 1.0, 4.0):
        found = came(series, a_month)
        assert 0.5 * a_month <= found.a_month <= 1.6 * a_month


def test_a_rate_above_what_a_sensor_does_changes_nothing_after_its_first_month() -> None:
    series = a_series(restless(6, 2))
    assert came(series, 30.0).later == came(series, None).later


def test_hours_without_a_score_are_no_time_and_too_short_a_sensor_is_left_out() -> None:
    holed = restless(6, 20)
    holed[1::2] = np.nan
    short = np.full(len(holed), np.nan)
    short[: MONTH_ROWS + 10] = 0.9
    found = came(a_series(holed, short), None)
    assert (found.sensors, found.months) == (1, 2.0)


def test_an_excursion_that_is_shorter_than_the_condition_asks_for_does_not_come() -> None:
    scores = np.full(3 * MONTH_ROWS, 0.1)
    scores[::50] = 0.9
    assert came(a_series(scores), None).later == 0


def test_data_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "rates", "--data", str(tmp_path)]) == 2
    assert "linli bench rates: " in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.slow
def test_the_page_says_what_comes_of_the_households() -> None:
    meters = measure.households(data.data_dir("daiad-swm"))
    scores = bench_rates.inflow(measure.stacked([meter.hours() for meter in meters]))
    for condition, rates in (("> 0.5 for 1 h", (1.0,)), ("> 0.3 for 1 h", (1.0,))):
        series = Series("inflow", "households", scores, 60.0, condition)
        plain = came(series, None)
        for a_month in rates:
            assert bench_rates.line(series, plain, a_month, came(series, a_month)) in PAGE
