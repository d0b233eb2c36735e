"""The pump's detector: what it finds and names, what it leaves in peace, and that its card says what was measured."""

import hashlib
import json
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest

from models.bench_skab import KINDS
from models.pump import measure, step

PUMP = Path(__file__).parent.parent / "models" / "pump"
NAMES = list(KINDS)
BEGINS = 1000


def healthy(seed: int = 5, rows: int = 2000) -> np.ndarray:
    return measure.made_up(rows, np.random.default_rng(seed))


def run(rows: np.ndarray, pump: step.Pump | None = None) -> list[step.Verdict]:
    pump = pump or step.Pump(KINDS)
    return [pump.step(row) for row in rows]


def scores(rows: np.ndarray) -> np.ndarray:
    return np.array([verdict.score for verdict in run(rows)])


# -- what it finds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "times"),
    [("Volume Flow RateRMS", 0.9), ("Accelerometer1RMS", 1.5), ("Pressure", 0.7), ("Current", 1.3), ("Voltage", 0.8)],
)
def test_a_fault_is_found_within_a_minute_and_named(channel: str, times: float) -> None:
    rows = healthy()
    rows[BEGINS:, NAMES.index(channel)] *= times
    found = run(rows)[BEGINS : BEGINS + 60]
    assert found[-1].score > 0.5
    assert found[-1].channel == channel
    assert (found[-1].limits > 0) == (times > 1)
    assert all(verdict.score > 0.5 for verdict in run(rows)[BEGINS + 60 : 1500]), "for as long as it lasts"


def test_a_fault_that_is_over_is_soon_forgotten_however_large_it_was() -> None:
    for times in (0.9, 0.0, 100.0):
        rows = healthy()
        rows[BEGINS:1400, -1] *= times
        assert (scores(rows)[1460:] < 0.5).all(), times


def test_a_fault_that_creeps_is_found_for_the_mean_follows_only_so_far() -> None:
    rows = healthy(rows=6000)
    rows[BEGINS:, -1] *= 1 - np.arange(5000) * 1e-4
    found = np.flatnonzero(scores(rows) > 0.5)
    assert len(found)
    assert (scores(rows)[-100:] > 0.5).all()


def test_a_healthy_pump_rings_for_nothing_in_an_hour() -> None:
    assert sum((scores(healthy(seed, 4000)) > 0.5).sum() for seed in range(5)) == 0


def test_one_wild_row_rings_nothing_and_moves_the_mean_no_more_than_a_limit_that_is_reached() -> None:
    rows = healthy()
    rows[BEGINS] = 1e6
    assert (scores(rows)[step.LEARN_ROWS :] < 0.5).all()
    pump = step.Pump(KINDS)
    run(rows[:BEGINS], pump)
    before = np.array(pump.state()["moved"])
    pump.step(rows[BEGINS])
    after = pump.state()
    assert (np.abs(after["moved"] - before) <= np.array(after["limit"]) * step.CLIP / step.DRIFT_ROWS + 1e-9).all()


def test_a_slow_drift_as_of_a_day_that_grows_warm_rings_nothing() -> None:
    rows = healthy()
    rows[BEGINS:, 0] *= 1 + np.arange(1000) * 2e-5
    assert (scores(rows)[step.LEARN_ROWS :] < 0.5).all()


# -- what must not matter ---------------------------------------------------------------------------------------------


def test_rows_after_a_moment_change_no_score_up_to_it() -> None:
    whole = healthy()
    before = scores(whole)
    for moment in (100, step.LEARN_ROWS - 1, step.LEARN_ROWS + 1, BEGINS):
        other = whole.copy()
        other[moment:] = np.random.default_rng(3).normal(-400, 90, other[moment:].shape)
        np.testing.assert_array_equal(scores(other)[:moment], before[:moment])
        assert not np.array_equal(scores(other)[moment:], before[moment:])


def test_how_long_a_pump_has_run_does_not_matter() -> None:
    whole = healthy()
    fault = whole[BEGINS:1300].copy()
    fault[:, -1] *= 0.9
    begun = []
    for lead_rows in (0, 1, 50, 599):
        lead = healthy()[step.LEARN_ROWS : step.LEARN_ROWS + lead_rows]
        found = scores(np.concatenate((whole[: step.LEARN_ROWS], lead, fault)))
        begun.append(int(np.flatnonzero(found > 0.5)[0]) - step.LEARN_ROWS - lead_rows)
    assert max(begun) - min(begun) <= 10, begun
    assert min(begun) > 0
    assert max(begun) < 40


def test_the_unit_of_a_channel_does_not_matter() -> None:
    rows = healthy()
    rows[BEGINS:, -1] *= 0.97
    np.testing.assert_allclose(scores(rows * 1e-3), scores(rows), atol=1e-6)


def test_a_missing_value_leaves_its_channel_as_it_was_and_the_others_judged() -> None:
    rows = healthy()
    rows[BEGINS:, -1] *= 0.9
    rows[1200:, -1] = np.nan
    rows[1300:, 0] *= 3
    found = run(rows)
    assert {verdict.channel for verdict in found[1200:1300]} == {"Volume Flow RateRMS"}, "what stood stands"
    assert found[1400].score > 0.5
    rows[1500] = np.inf
    assert math.isnan(run(rows)[1500].score), "nobody measured anything"


def test_only_whole_rows_are_learnt_from() -> None:
    rows = healthy()
    holes = np.repeat(rows, 2, axis=0)
    holes[::2, 2] = np.nan
    found = scores(holes)
    assert np.isnan(found[: 2 * step.LEARN_ROWS]).all()
    assert np.isfinite(found[2 * step.LEARN_ROWS :]).all()
    whole, holed = step.Pump(KINDS), step.Pump(KINDS)
    run(rows[: step.LEARN_ROWS], whole)
    run(holes[: 2 * step.LEARN_ROWS], holed)
    assert holed.state() == whole.state()


def test_a_channel_that_stood_still_while_it_was_learnt_rings_for_no_last_digit() -> None:
    pump = step.Pump({"flow": "flow"})
    run(np.full((step.LEARN_ROWS, 1), 32.0), pump)
    assert pump.step([32.05]).score < 0.5
    assert run(np.full((60, 1), 32.05), pump)[-1].score < 0.5
    assert run(np.full((60, 1), 33.0), pump)[-1].score > 0.5


# -- what is refused, what is kept ------------------------------------------------------------------------------------


def test_channels_that_have_no_limit_and_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"found \{'motor': 'temperature'\}; expected one or more, each of flow"):
        step.Pump({"motor": "temperature", "flow": "flow"})
    with pytest.raises(ValueError, match="found none; expected one or more"):
        step.Pump({})
    with pytest.raises(ValueError, match=r"row of shape \(2,\); expected \(6,\)"):
        step.Pump(KINDS).step([1.0, 2.0])


@pytest.mark.parametrize("moment", [0, 150, 399, 400, 1100])
def test_what_is_remembered_survives_a_restart_as_json(moment: int) -> None:
    rows = healthy()
    rows[BEGINS:, -1] *= 0.9
    pump = step.Pump(KINDS)
    run(rows[:moment], pump)
    again = step.Pump(KINDS)
    again.restore(json.loads(json.dumps(pump.state(), allow_nan=False)))
    assert run(rows[moment:], again)[500:] == run(rows, step.Pump(KINDS))[moment:][500:]


@pytest.mark.parametrize(
    "change",
    [
        {"channels": {"flow": "flow"}},
        {"channels": None},
        {"mean": [0.0]},
        {"limit": [0.0] * 6},
        {"limit": [-1.0] * 6},
        {"away": ["x"] * 6},
        {"moved": [float("nan")] * 6},
        {"learning": [[1.0] * 6]},
        {"learning": "rows"},
    ],
)
def test_kept_state_of_another_form_is_refused_and_nothing_changes(change: dict[str, object]) -> None:
    pump = step.Pump(KINDS)
    run(healthy()[:500], pump)
    before = pump.state()
    with pytest.raises(ValueError, match=r"kept state of a pump cannot be used: .* It learns anew\."):
        pump.restore({**before, **change})
    assert pump.state() == before


# -- the card ---------------------------------------------------------------------------------------------------------


def test_the_manifest_vouches_for_the_code_and_the_figures() -> None:
    manifest = tomllib.loads((PUMP / "manifest.toml").read_text())
    assert set(manifest["sha256"]) == {"step.py", "figures.json"}
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((PUMP / name).read_bytes()).hexdigest() == digest, f"{name}: measure again"
    assert (manifest["name"], manifest["version"]) == (measure.NAME, measure.VERSION)
    assert (manifest["learn_rows"], manifest["threshold"]) == (step.LEARN_ROWS, 0.5)
    assert manifest["kinds"] == step.TIMES


def test_the_card_shows_the_figures_that_were_measured() -> None:
    figures = json.loads((PUMP / "figures.json").read_text())
    card = (PUMP / "card.md").read_text()
    assert measure.tables(figures) in card
    assert f"# Model card: {measure.NAME} {measure.VERSION}" in card
    assert f"{figures['step_us']} µs a row" in card
    for name in measure.NUDGED:
        assert f"`{name}` {getattr(step, name)}" in card
