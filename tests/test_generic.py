"""The detector for any sensor: what it finds, what it leaves in peace, and that its card says what was measured."""

import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from models import bench_nab
from models.generic import measure, step

GENERIC = Path(__file__).parent.parent / "models" / "generic"


SENSORS = 10


@pytest.fixture(scope="module")
def whole() -> np.ndarray:
    """(rows, SENSORS): twelve days of made-up sensors with nothing wrong."""
    return measure.healthy(SENSORS, 12, np.random.default_rng(7))


@pytest.fixture(scope="module")
def found(whole: np.ndarray) -> dict[str, step.Scores]:
    """Per fault, and for "none" and whole in other "units", what the detector says of those twelve days; run once."""
    parts = {"none": whole, **{kind: measure.with_fault(kind, whole) for kind in measure.FAULTS}}
    parts |= {"micro": whole * 1e-6, "kilo": whole * 1000.0, "kelvin": whole + 273.15}
    together = measure.run(np.hstack(list(parts.values())))
    return {
        name: step.Scores(*(field[:, n * SENSORS : (n + 1) * SENSORS] for field in together))
        for n, name in enumerate(parts)
    }


@pytest.fixture(scope="module")
def calm(found: dict[str, step.Scores]) -> step.Scores:
    return found["none"]


# -- what it finds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "within_rows", "features"),
    [
        ("spike of 15", 1, {"above_usual", "above_half_hour"}),
        ("level shift of 10", 2, {"above_usual", "above_half_hour", "long_above_half_hours"}),
        ("day and night exchanged", 12, {"below_half_hour", "long_below_half_hours", "below_usual"}),
        ("stuck", 65, {"stuck"}),
    ],
)
def test_a_fault_is_found_and_named(
    found: dict[str, step.Scores], kind: str, within_rows: int, features: set[str]
) -> None:
    after = slice(measure.BEGINS, measure.BEGINS + within_rows)
    novel = found[kind].novel[after]
    assert (novel.max(axis=0) >= 0.7).all()
    named = {step.FEATURES[f] for f in found[kind].feature[after][novel.argmax(axis=0), np.arange(SENSORS)]}
    assert named <= features


def test_a_drift_leaves_the_range_that_is_remembered_within_a_day(found: dict[str, step.Scores]) -> None:
    day = slice(measure.BEGINS, measure.BEGINS + measure.DAY_ROWS)
    assert (found["drift of 10 a day"].novel[day] >= step.THRESHOLD).any(axis=0).all()


def test_before_a_fault_and_without_one_hardly_anything_rings(found: dict[str, step.Scores], calm: step.Scores) -> None:
    assert (calm.novel[4 * measure.DAY_ROWS :] >= 0.7).sum() <= 1, "in ten sensors and eight days"
    assert (calm.novel[4 * measure.DAY_ROWS :] >= 0.9).sum() == 0
    for kind in measure.FAULTS:
        before = slice(0, measure.BEGINS)
        np.testing.assert_array_equal(found[kind].novel[before], calm.novel[before])


def test_a_score_stands_while_the_value_is_far_out_and_not_for_a_single_spike(found: dict[str, step.Scores]) -> None:
    hour = slice(measure.BEGINS + 2, measure.BEGINS + 14)
    assert (found["level shift of 10"].standing[hour] >= 0.7).mean() > 0.9
    assert (found["spike of 15"].standing[hour] >= 0.7).sum() == 0
    assert (found["stuck"].standing[measure.BEGINS + 65 :] >= 0.7).all(), "for as long as it stands still"


def test_a_sensor_that_never_moved_is_not_stuck_and_breaks_no_record() -> None:
    found = measure.run(np.tile([0.0, 21.3, 1e-7], (2000, 1)))
    assert np.nanmax(found.novel) < step.THRESHOLD


def test_a_score_is_there_after_half_a_day_and_not_before(calm: step.Scores) -> None:
    assert np.isnan(calm.standing[: step.WARM_ROWS]).all()
    assert np.isfinite(calm.standing[step.WARM_ROWS :]).all()
    assert ((calm.standing[step.WARM_ROWS :] >= 0) & (calm.standing[step.WARM_ROWS :] <= 1)).all()


# -- what must not matter ---------------------------------------------------------------------------------------------


def test_rows_after_a_moment_change_no_score_up_to_it(whole: np.ndarray, calm: step.Scores) -> None:
    moments = (200, 1500, 3000)
    other = np.hstack([whole] * len(moments))
    for n, moment in enumerate(moments):
        after = other[moment:, n * SENSORS : (n + 1) * SENSORS]
        after[:] = np.random.default_rng(3).normal(-400, 90, after.shape)
    changed = measure.run(other)
    for n, moment in enumerate(moments):
        of = slice(n * SENSORS, (n + 1) * SENSORS)
        for field, of_calm in zip(changed, calm, strict=True):
            np.testing.assert_array_equal(field[:moment, of], of_calm[:moment])
        assert not np.array_equal(changed.novel[moment:, of], calm.novel[moment:])


@pytest.mark.parametrize("unit", ["micro", "kilo", "kelvin"])
def test_the_unit_of_a_sensor_does_not_matter(found: dict[str, step.Scores], calm: step.Scores, unit: str) -> None:
    np.testing.assert_allclose(found[unit].standing, calm.standing, atol=1e-4)


def test_sensors_beside_it_and_rows_that_nobody_measured_change_nothing(whole: np.ndarray, calm: step.Scores) -> None:
    with_gaps = np.full((2 * 1000, 2), np.nan)
    with_gaps[::2, 1] = whole[:1000, 0]
    days = np.repeat(np.arange(1000), 2) % measure.DAY_ROWS / measure.DAY_ROWS
    channels = step.Channels(2)
    found = [channels.step(row, day) for row, day in zip(with_gaps, days, strict=True)]
    np.testing.assert_array_equal([row.standing[1] for row in found[::2]], calm.standing[:1000, 0])
    assert all(np.isnan(row.standing[1]) for row in found[1::2])
    assert all(np.isnan(row.standing[0]) for row in found)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.7e308])
def test_a_value_that_no_sensor_says_is_a_row_that_nobody_measured(value: float) -> None:
    channels = step.Channels(1)
    for row in range(step.WARM_ROWS + 2):
        channels.step([20.0 + row % 7], 0.0)
    before = channels.state(0)
    assert np.isnan(channels.step([value], 0.0).standing[0])
    assert channels.state(0) == before


def test_values_of_another_number_of_sensors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"values of shape \(2,\); expected \(3,\)"):
        step.Channels(3).step([1.0, 2.0], 0.0)


def test_what_is_remembered_survives_a_restart_as_json(whole: np.ndarray, calm: step.Scores) -> None:
    before = step.Channels(SENSORS)
    for row in range(1000):
        before.step(whole[row], row % measure.DAY_ROWS / measure.DAY_ROWS)
    kept = json.loads(json.dumps([before.state(sensor) for sensor in range(SENSORS)], allow_nan=False))
    after = step.Channels(SENSORS)
    for sensor, state in enumerate(kept):
        after.restore(sensor, state)
    for row in range(1000, 1400):
        found = after.step(whole[row], row % measure.DAY_ROWS / measure.DAY_ROWS)
        np.testing.assert_array_equal(found.standing, calm.standing[row])


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([1.0], "of 1 numbers"),
        (["x"] * step.STATE, "cannot be read"),
        ([[]], "cannot be read"),
        ([None] * step.STATE, "where a number belongs"),
    ],
)
def test_kept_state_of_another_form_is_refused(kept: list[object], message: str) -> None:
    channels = step.Channels(1)
    before = channels.state(0)
    with pytest.raises(ValueError, match=message):
        channels.restore(0, kept)
    assert channels.state(0) == before


# -- the card ---------------------------------------------------------------------------------------------------------


def test_the_manifest_vouches_for_the_code_and_the_figures() -> None:
    manifest = tomllib.loads((GENERIC / "manifest.toml").read_text())
    assert set(manifest["sha256"]) == {"step.py", "figures.json"}
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((GENERIC / name).read_bytes()).hexdigest() == digest, f"{name}: measure again"
    assert (manifest["name"], manifest["version"]) == (measure.NAME, measure.VERSION)
    assert manifest["features"] == list(step.FEATURES)
    assert manifest["threshold"] == step.THRESHOLD
    assert (manifest["row_s"], manifest["warm_rows"], manifest["state"]) == (step.ROW_S, step.WARM_ROWS, step.STATE)


def test_the_card_shows_the_figures_that_were_measured() -> None:
    figures = json.loads((GENERIC / "figures.json").read_text())
    card = (GENERIC / "card.md").read_text()
    assert measure.tables(figures) in card
    assert f"# Model card: {measure.NAME} {measure.VERSION}" in card
    assert f"{step.STATE} numbers a sensor" in card


@pytest.mark.data
@pytest.mark.slow
def test_measured_again_the_scoreboard_says_the_same() -> None:
    figures = json.loads((GENERIC / "figures.json").read_text())["nab"]
    table = bench_nab.table(measure.data_dir("nab"))
    assert table.ours == pytest.approx(list(figures["best"].values()), abs=0.01)
    assert dict(table.rows)["generic, half chooses, half scored"] == pytest.approx(
        list(figures["halves"].values()), abs=0.01
    )
