"""The leak detector for hourly totals as shipped: what it finds, what it leaves alone, and that its card is true."""

import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from models import bench_leakdb, data
from models.inflow import choose, figures, measure, profile, simulate
from models.inflow.hourly import hourly
from models.inflow.step import STEPS_PER_DAY, Inflow, constants

INFLOW = Path(__file__).parent.parent / "models" / "inflow"
DAY = 24


def a_flat(days: int, seed: int = 1) -> np.ndarray:
    """Litres an hour of a made-up flat: nobody up from 1 to 5, up to 60 L in the other hours."""
    dice = np.random.default_rng(seed)
    use = dice.gamma(0.5, 20, (days, DAY)) * (dice.random((days, DAY)) < 0.7)
    use[:, 1:5] = 0.0
    return np.minimum(use, 60.0).ravel()


def a_district(days: int, seed: int = 1) -> np.ndarray:
    """m3/h of a made-up district that never rests: two peaks, a season of a fifth, 2 % noise."""
    dice = np.random.default_rng(seed)
    hour = np.arange(days * DAY)
    shape = 100 + 60 * np.sin((hour - 8) * np.pi / 12) + 25 * np.sin((hour - 6) * np.pi / 6)
    return shape * (1 + 0.2 * np.sin(hour * 2 * np.pi / 8766)) * dice.normal(1, 0.02, len(hour))


def days_of_alarm(flow: np.ndarray) -> np.ndarray:
    """Days, from 0, at which an alarm begins or stands in the last of one series by hours."""
    return np.flatnonzero(measure.alarms([flow])[:, 0]) / DAY


# -- what it finds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leak_l_h", [0.5, 2.0, 20.0])
def test_a_leak_under_a_flats_use_is_found_after_three_days_without_a_rest(leak_l_h: float) -> None:
    flow = a_flat(60)
    flow[40 * DAY :] += leak_l_h
    found = days_of_alarm(flow)
    assert 42.5 < found[0] < 43.2
    assert found[-1] > 59.9


def test_a_flats_use_alone_and_a_feast_of_two_days_raise_nothing() -> None:
    flow = a_flat(90)
    flow[50 * DAY : 52 * DAY] += 15.0
    assert len(days_of_alarm(flow)) == 0


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_a_leak_in_a_district_is_found_within_two_days_and_its_size_is_told(share: float) -> None:
    flow = a_district(120)
    flow[80 * DAY :] += 100 * share
    detector = Inflow(["main"], DAY)
    found = np.array([detector.step([now])[0] for now in flow])
    assert 80 <= np.argmax(found) / DAY < 82
    told = next(told for told in detector.evidence("main") if told.channel == "profile")
    assert told.found > told.limit
    assert told.flow == pytest.approx(100 * share, rel=0.35)


def test_a_year_with_its_season_raises_nothing_in_a_district() -> None:
    alarm = measure.alarms([a_district(365, seed) for seed in range(5)])
    assert not alarm.any(), f"seed {np.flatnonzero(alarm.any(axis=0))}"


def test_no_hour_of_the_day_is_a_bad_one_to_start_at() -> None:
    starts = np.stack([a_district(15)[hour : 14 * DAY + hour] for hour in range(DAY)], axis=1)
    channel = profile.Profile(DAY, DAY, constants().profile)
    for flow in starts:
        channel.step(flow)
    assert (
        np.abs(channel._week / starts[: 7 * DAY] - 1).max() < 0.15
    )  # a fit to the first hours alone is out by a factor of four


def test_a_leak_that_grows_for_a_month_is_not_taken_for_a_season() -> None:
    flow = a_district(120)
    flow[60 * DAY : 90 * DAY] += np.linspace(0, 20, 30 * DAY)
    flow[90 * DAY :] += 20
    found = days_of_alarm(flow)
    assert 60 < found[0] < 80
    assert found[-1] > 119


def test_a_closed_valve_ends_the_alarm_within_a_day() -> None:
    district, night, flat = a_district(100), a_district(100), a_flat(100)
    district[60 * DAY : 80 * DAY] += 50
    night[60 * DAY : 80 * DAY] += 8
    flat[60 * DAY : 80 * DAY] += 10
    for flow in (district, night, flat):
        assert 80 <= days_of_alarm(flow)[-1] < 81.2


def test_a_floor_that_came_and_went_is_usual_for_a_year() -> None:
    flow = a_flat(120)
    flow[40 * DAY : 48 * DAY] += 5
    flow[70 * DAY : 78 * DAY] += 5
    found = days_of_alarm(flow)
    assert found.min() > 42
    assert found.max() < 50


def test_evidence_of_a_floor_says_how_much_runs() -> None:
    flow = a_flat(60)
    flow[40 * DAY :] += 4.0
    detector = Inflow(["kitchen", "flat"], DAY)
    for now in flow:
        detector.step([0.0, now])
    (told,) = detector.evidence("flat")
    assert (told.channel, told.found, told.flow) == ("floor", pytest.approx(4.0), pytest.approx(4.0))
    assert detector.evidence("kitchen") == []


# -- what must not matter ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [a_flat, a_district])
def test_what_comes_later_changes_no_score_of_before(make) -> None:
    flow = make(70)
    flow[50 * DAY :] += 0.1 * flow.mean()
    other = flow.copy()
    other[55 * DAY :] = 0.0
    one, two = Inflow(["a"], DAY), Inflow(["a"], DAY)
    for now, then in zip(flow[: 55 * DAY], other[: 55 * DAY], strict=True):
        one.step([now]), two.step([then])
        np.testing.assert_array_equal(one.scores(), two.scores())
    differs = 0
    for now, then in zip(flow[55 * DAY :], other[55 * DAY :], strict=True):
        one.step([now]), two.step([then])
        differs += one.scores()[0] != two.scores()[0]
    assert differs > 0


def test_a_sensor_does_not_hear_what_stands_beside_it() -> None:
    flows = [a_flat(60), a_district(60), np.full(60 * DAY, np.nan), np.zeros(60 * DAY)]
    flows[0][40 * DAY :] += 5
    together = measure.alarms(flows)
    for i, flow in enumerate(flows):
        np.testing.assert_array_equal(together[:, i], measure.alarms([flow])[:, 0])
    assert together[:, 0].any()
    assert not together[:, 1:].any()


def test_the_unit_does_not_matter() -> None:
    for flow in (a_flat(60), a_district(60)):
        flow[40 * DAY :] += 0.1 * flow.mean()
        np.testing.assert_array_equal(measure.alarms([flow]), measure.alarms([flow * 1e-6]))


def test_the_score_is_above_a_half_exactly_while_a_leak_runs() -> None:
    flow = np.stack([a_flat(70), a_district(70)], axis=1)
    flow[40 * DAY : 60 * DAY] += [5, 30]
    detector = Inflow(["flat", "district"], DAY)
    seen = []
    for now in flow:
        leak = detector.step(now)
        scores = detector.scores()
        assert ((scores >= 0) & (scores <= 1)).all()
        np.testing.assert_array_equal(scores > 0.5, leak)
        seen.append(leak)
    assert np.array(seen).any(axis=0).all()


def test_days_that_nobody_measured_begin_nothing_and_end_nothing() -> None:
    flow = a_district(100)
    flow[60 * DAY :] += 30
    holes = flow.copy()
    holes[40 * DAY : 45 * DAY] = np.nan
    holes[70 * DAY : 73 * DAY] = np.nan
    found = measure.alarms([holes])[:, 0]
    assert not found[: 60 * DAY].any()
    assert found[62 * DAY :].all()


def test_quiet_hours_that_fell_into_holes_are_no_leak_and_the_days_count_that_were_measured() -> None:
    """For four days the quiet half of each is not read; then all is. Later half of each is read, and a leak begins."""
    flow = a_flat(100)
    flow[70 * DAY :] += 5.0
    for day in (*range(40, 44), *range(70, 100)):
        flow[day * DAY + 1 : day * DAY + 13] = np.nan
    found = days_of_alarm(flow)
    assert 75 < found[0] < 77, "three measured days are six of the calendar"


def test_a_day_that_was_read_between_two_holes_is_not_three() -> None:
    flow = a_flat(100)
    flow[50 * DAY : 53 * DAY] = np.nan
    flow[53 * DAY : 54 * DAY] += 5.0
    flow[54 * DAY : 57 * DAY] = np.nan
    flow[57 * DAY : 58 * DAY] += 5.0
    flow[58 * DAY : 61 * DAY] = np.nan
    assert len(days_of_alarm(flow)) == 0


def test_after_a_long_silence_three_days_are_read_before_anything_is_said() -> None:
    flow = a_flat(100)
    flow[50 * DAY :] += 5.0
    flow[50 * DAY : 60 * DAY] = np.nan
    assert 62.5 < days_of_alarm(flow)[0] < 63.3


def test_water_that_runs_back_counts_as_none_and_an_infinite_flow_as_missing() -> None:
    odd, plain = a_flat(60), a_flat(60)
    odd[30 * DAY + 2], plain[30 * DAY + 2] = -50.0, 0.0
    odd[31 * DAY + 9], plain[31 * DAY + 9] = np.inf, np.nan
    one, two = Inflow(["a"], DAY), Inflow(["a"], DAY)
    for a, b in zip(odd, plain, strict=True):
        one.step([a]), two.step([b])
    assert json.dumps(one.state()) == json.dumps(two.state())


@pytest.mark.parametrize("steps", STEPS_PER_DAY)
def test_half_and_quarter_hours_find_the_same_leak(steps: int) -> None:
    flow = np.repeat(a_flat(60), steps // DAY)
    flow[40 * steps :] += 2.0
    found = measure.alarms([flow], steps_per_day=steps)[:, 0]
    assert 42.5 < np.argmax(found) / steps < 43.2


def test_another_step_is_refused() -> None:
    with pytest.raises(ValueError, match=r"30 steps a day; expected one of \(24, 48, 96\)"):
        Inflow(["a"], 30)


# -- across a restart -------------------------------------------------------------------------------------------------


def test_a_restart_changes_no_answer() -> None:
    flow = np.stack([a_flat(60), a_district(60)], axis=1)
    flow[40 * DAY :] += [2, 20]
    detector = Inflow(["flat", "district"], DAY)
    for now in flow[: 41 * DAY + 7]:
        detector.step(now)
    again = Inflow(["district", "new", "flat"], DAY)
    assert again.restore(json.loads(json.dumps(detector.state())))
    for flat, district in flow[41 * DAY + 7 :]:
        detector.step([flat, district])
        again.step([district, np.nan, flat])
        np.testing.assert_array_equal(detector.scores(), again.scores()[[2, 0]])
    assert detector.evidence("flat") == again.evidence("flat") != []


def test_a_sensor_that_joins_later_learns_from_its_own_first_week() -> None:
    old, new = a_district(100), a_district(100, seed=5)
    new[: 33 * DAY] = np.nan
    new[80 * DAY :] += 30
    detector = Inflow(["old"], DAY)
    for now in old[: 33 * DAY]:
        detector.step([now])
    both = Inflow(["old", "new"], DAY)
    assert both.restore(detector.state())
    found = np.array([both.step([a, b]) for a, b in zip(old[33 * DAY :], new[33 * DAY :], strict=True)])
    assert not found[:, 0].any()
    assert 47 <= np.argmax(found[:, 1]) / DAY < 49


@pytest.mark.parametrize("change", [{"steps_per_day": 48}, {"floor": None}, {"profile": {"_week": [[1.0]]}}])
def test_a_state_of_another_form_is_left_and_all_starts_anew(change: dict[str, object]) -> None:
    detector = Inflow(["a"], DAY)
    detector.step([1.0])
    before = json.dumps(detector.state())
    assert not detector.restore({**detector.state(), **change})
    assert json.dumps(detector.state()) == before


# -- the register of a meter ------------------------------------------------------------------------------------------


def test_a_swapped_meter_a_wild_reading_and_a_long_gap_are_missing_and_a_short_gap_is_spread() -> None:
    at_h = np.array([0, 1, 2, 3, 6, 20, 21, 22])
    register = np.array([100, 110, 5, 25, 55, 155, 9_000, 9_003.0])
    np.testing.assert_array_equal(
        hourly(at_h * 3600.0, register, per_hour_max=5000)[:7], [np.nan, 10, np.nan, 20, 10, 10, 10]
    )
    rest = hourly(at_h * 3600.0, register, per_hour_max=5000)[7:]
    np.testing.assert_array_equal(rest, [np.nan] * 15 + [3])


def test_readings_that_come_a_minute_early_or_late_fall_into_their_hour() -> None:
    at_s = np.array([0, 3540, 7260, 10_800.0])
    np.testing.assert_allclose(hourly(at_s, np.array([0, 59, 121, 180.0]), 5000), [np.nan, 60, 60, 60])


# -- the card ---------------------------------------------------------------------------------------------------------


def test_the_constants_vouch_for_the_figures_and_the_card_shows_them() -> None:
    shipped = json.loads((INFLOW / "figures.json").read_text())
    vouched = tomllib.loads((INFLOW / "constants.toml").read_text())
    assert hashlib.sha256((INFLOW / "figures.json").read_bytes()).hexdigest() == vouched["sha256"]["figures.json"]
    card = (INFLOW / "card.md").read_text()
    assert figures.tables(shipped) in card
    assert card.startswith(f"# Model card: inflow {constants().version}\n")


def test_the_constants_are_those_that_the_rules_choose() -> None:
    grids = json.loads((INFLOW / "figures.json").read_text())["chosen"]
    by_rule = choose.chosen(grids["profile"], grids["floor"])
    assert by_rule == grids["by the rules"]
    given = constants()
    assert by_rule == {
        "scatter_min": given.profile.scatter_min, "stretch_h": given.floor.stretch_h, "days": given.floor.days,
    }  # fmt: skip


def test_constants_that_lack_one_are_refused(tmp_path: Path) -> None:
    text = (INFLOW / "constants.toml").read_text().replace("scatters = 4.0\n", "")
    (tmp_path / "constants.toml").write_text(text)
    with pytest.raises(TypeError, match="scatters"):
        constants(tmp_path / "constants.toml")


def test_the_simulated_districts_are_as_declared() -> None:
    made = simulate.districts(6, 24, 365, np.random.default_rng(1))
    assert not made.leak[:, ::2].any()
    assert made.leak[:, 1::2].any(axis=0).all()
    assert not made.leak[: 365 * 2].any()
    assert made.flow[:, ::2].mean() == pytest.approx(1.0, abs=0.05)


@pytest.mark.data
def test_the_fixtures_raise_nothing_in_all_their_days_as_the_figures_say() -> None:
    shipped = json.loads((INFLOW / "figures.json").read_text())["fixtures"]["false"]
    series = [hours for _, hours in measure.fixtures(data.data_dir("weusedto"), *figures.FIXTURE_DAYS)]
    assert measure.false_alarms(series, measure.MONTH_H) == shipped
    assert shipped["alarms"] == 0


@pytest.mark.data
@pytest.mark.slow
def test_no_household_of_a_year_rings_more_than_once() -> None:
    shipped = json.loads((INFLOW / "figures.json").read_text())["households"]["false"]
    meters = measure.households(data.data_dir("daiad-swm"))
    assert measure.false_alarms([meter.hours() for meter in meters], measure.YEAR_H) == shipped
    assert (shipped["series"], shipped["most_of_one"]) == (73, 1)


@pytest.mark.data
@pytest.mark.slow
def test_leakdb_scores_as_the_figures_say() -> None:
    shipped = json.loads((INFLOW / "figures.json").read_text())["leakdb"]
    found = bench_leakdb.scored(bench_leakdb.read(data.data_dir("leakdb-hanoi")))
    assert {name: [round(x, 2) for x in row] for name, row in found.items()} == shipped
