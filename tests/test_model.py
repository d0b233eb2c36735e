"""The leak model as shipped: train, file, load, score. And that its card says what was measured."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from gateway.detector import Detector
from models import data, features, package
from models.session import ModelError, Session
from models.water import flat, measure, train

ROOT = Path(__file__).parent.parent
WATER = ROOT / "models" / "water"
ML = 1e-6

EXCERPT_S = 3 * 3600
MORNING_S = flat.day_s("2020-07-08") + 7 * 3600  # 112 litres in 65 of the 180 minutes
BUSIEST_S = flat.day_s("2020-08-08") + 7 * 3600 + 600  # 156 litres: the most in any three hours of the validation days


def a_made_up_evening(seed: int = 3) -> np.ndarray:
    """Three hours of flow by the second, m3/s: taps, a shower of seven minutes, a cistern. Synthetic, drawn here."""
    dice = np.random.default_rng(seed)
    flow = np.zeros(EXCERPT_S)
    for start in dice.integers(0, EXCERPT_S - 120, 25):
        flow[start : start + dice.integers(5, 90)] += dice.uniform(20, 90) * ML
    flow[4000:4420] += 95 * ML
    for start in (4500, 7000, 10_000):
        flow[start : start + 360] += 33 * ML
    return flow


def highest_score(detector: Detector, flow_m3_s: np.ndarray) -> float:
    """Feed one reading a second; the highest score of them all. The excerpt must be long enough to be scored."""
    scores = []
    for second, flow in enumerate(flow_m3_s.tolist()):
        detector.feed("flow", flow, float(second))
        scores.extend(detector.tick(float(second)).values())
    assert len(scores) > 100
    return max(scores)


def minutes_to_alarm(flow_m3_s: np.ndarray) -> int | None:
    """The first minute that ends ten minutes of scores above 0.9, as the site file's condition asks for."""
    detector = Detector(package.load_models(["water-leak"])["water-leak"], ["flow"])
    held = 0
    for second, flow in enumerate(flow_m3_s.tolist()):
        detector.feed("flow", flow, float(second))
        for score in detector.tick(float(second)).values():
            held = held + 1 if score > 0.9 else 0
            if held > 10:
                return second // 60
    return None


@pytest.fixture
def water() -> Detector:
    detector = Detector(package.load_models(["water-leak"])["water-leak"], ["flow"])
    assert detector.fault == ""
    return detector


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The model's folder, to be broken."""
    return Path(shutil.copytree(WATER, tmp_path / "water", ignore=shutil.ignore_patterns("__pycache__")))


# -- what it does -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leak_ml_s", [2, 5, 20, 200, 2000])
def test_a_leak_under_an_evenings_use_scores_high_within_the_hour(water: Detector, leak_ml_s: int) -> None:
    flow = a_made_up_evening()
    flow[7000:] += leak_ml_s * ML
    assert highest_score(water, flow) > 0.9


def test_an_evenings_use_alone_raises_no_alarm() -> None:
    for seed in range(5):
        assert minutes_to_alarm(a_made_up_evening(seed)) is None, f"seed {seed}"


@pytest.mark.data
def test_a_leak_under_the_busiest_real_hours_raises_the_alarm_and_those_hours_alone_none() -> None:
    flow, known = flat.seconds(data.data_dir("weusedto"), BUSIEST_S, BUSIEST_S + EXCERPT_S)
    assert known.all()
    assert flow.sum() == pytest.approx(0.156, abs=1e-3)
    assert minutes_to_alarm(flow) is None
    for leak_ml_s in (3, 30):
        leaking = flow.copy()
        leaking[7200:] += leak_ml_s * ML
        alarm_min = minutes_to_alarm(leaking)
        assert alarm_min is not None, f"{leak_ml_s} ml/s"
        assert 130 <= alarm_min <= 180, f"{leak_ml_s} ml/s"


@pytest.mark.data
def test_a_real_morning_scores_low_and_a_leak_under_it_high(water: Detector) -> None:
    flow, _ = flat.seconds(data.data_dir("weusedto"), MORNING_S, MORNING_S + EXCERPT_S)
    assert flow.sum() == pytest.approx(0.112, abs=1e-3)
    assert highest_score(water, flow) < 0.5
    flow[7200:] += 5 * ML
    assert highest_score(Detector(package.load_models(["water-leak"])["water-leak"], ["flow"]), flow) > 0.9


@pytest.mark.parametrize("flow_ml_s", [2, 20, 200, 2000, 5000])
def test_a_leak_does_not_look_harmless_for_being_large_or_old(flow_ml_s: int) -> None:
    model = package.load(WATER)
    assert model.score([[flow_ml_s * ML] * features.WINDOW_MIN])[0] > 0.9


def test_a_closed_valve_calms_the_score_within_five_minutes() -> None:
    model = package.load(WATER)
    for flow_ml_s in (2, 20, 200, 2000):
        (score,) = model.score([[flow_ml_s * ML] * 55 + [0.0] * 5])
        assert score < 0.1, f"{flow_ml_s} ml/s"


def test_a_dry_hour_scores_low_also_when_half_of_it_is_missing() -> None:
    model = package.load(WATER)
    nan = float("nan")
    assert max(model.score([[0.0] * 60, [nan] * 30 + [0.0] * 30])) < 0.1


# -- the features -----------------------------------------------------------------------------------------------------


def test_features_say_what_their_names_say() -> None:
    window = [0.0] * 20 + [10 * ML] * 30 + [4 * ML] * 5 + [2 * ML] * 5
    found = dict(zip(features.NAMES, features.features([window])[0].tolist(), strict=True))
    assert found["low_5"] == pytest.approx(np.log1p(2), rel=1e-5)
    assert found["low_30"] == pytest.approx(np.log1p(2), rel=1e-5)
    assert found["low_45"] == pytest.approx(0.0, abs=1e-6)
    assert found["mean_5"] == pytest.approx(np.log1p(2), rel=1e-5)
    assert found["mean_60"] == pytest.approx(np.log1p(330 / 60), rel=1e-5)
    assert found["spread_15"] == pytest.approx(np.std([10] * 5 + [4] * 5 + [2] * 5) / (80 / 15 + 1), rel=1e-5)
    assert found["floor_30"] == pytest.approx(2 / (230 / 30 + 1), rel=1e-5)
    assert found["zero_share"] == pytest.approx(20 / 60)
    assert found["since_zero"] == pytest.approx(40 / 60)


def test_a_missing_minute_is_left_out_and_not_taken_for_a_dry_one() -> None:
    nan = float("nan")
    full = dict(zip(features.NAMES, features.features([[6 * ML] * 60])[0].tolist(), strict=True))
    holes = dict(zip(features.NAMES, features.features([[6 * ML, nan] * 29 + [6 * ML] * 2])[0].tolist(), strict=True))
    assert holes == pytest.approx(full)


def test_a_meter_that_creeps_below_one_ml_a_second_is_dry() -> None:
    np.testing.assert_array_equal(features.features([[0.9 * ML] * 60]), features.features([[0.0] * 60]))


def test_windows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="windows of 59 minutes; expected 60"):
        features.features(np.zeros((1, 59)))


# -- the file ---------------------------------------------------------------------------------------------------------


def test_the_manifest_vouches_for_the_files_beside_it() -> None:
    manifest = tomllib.loads((WATER / "manifest.toml").read_text())
    assert set(manifest["sha256"]) == {"model.onnx", "figures.json"}
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((WATER / name).read_bytes()).hexdigest() == digest, name
    assert package.load_models(["water-leak"])["water-leak"].version == manifest["version"]


def test_the_onnx_file_answers_as_the_formula_of_its_weights() -> None:
    shipped = json.loads((WATER / "figures.json").read_text())["model"]
    assert (WATER / "model.onnx").stat().st_size == shipped["bytes"]
    dice = np.random.default_rng(1)
    windows = (dice.gamma(0.5, 20, (500, features.WINDOW_MIN)) + dice.uniform(0, 30, (500, 1))) * ML
    inputs = features.features(windows)
    weights = np.array([shipped["weights"][name] for name in features.NAMES])
    expected = 1 / (1 + np.exp(-(inputs @ weights + shipped["bias"])))
    got = Session(WATER / "model.onnx", len(features.NAMES)).score(inputs)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert got.std() > 0.1


def test_a_changed_model_is_refused(copied: Path) -> None:
    whole = (copied / "model.onnx").read_bytes()
    (copied / "model.onnx").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelError, match=r"model\.onnx has SHA-256 .* The file was changed or cut short"):
        package.load(copied)


def test_a_missing_model_is_refused(copied: Path) -> None:
    (copied / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx cannot be read.*Install the model's folder again"):
        package.load(copied)
    with pytest.raises(ModelError, match=r"model\.onnx is not there"):
        Session(copied / "model.onnx", 16)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"low_5"', '"low_6"', "trained for other features"),
        ("window_min = 60", "window_min = 120", "trained for other features"),
        ('output = "score"', 'output = "label"', "Expected an output named 'label'"),
        ('version = "1.0.0"', "", "lacks version"),
        ('"model.onnx" =', '"other.onnx" =', "lacks the SHA-256 of model.onnx"),
        ("[sha256]", "[sha256", "cannot be read"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(copied: Path, old: str, new: str, message: str) -> None:
    text = (copied / "manifest.toml").read_text()
    assert old in text
    (copied / "manifest.toml").write_text(text.replace(old, new))
    with pytest.raises(ModelError, match=message):
        package.load(copied)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="cannot be opened"):
        Session(tmp_path / "model.onnx", 16)


def test_a_model_of_another_shape_is_refused() -> None:
    with pytest.raises(ModelError, match=r"takes features tensor\(float\) \['n', 16\]. Expected .* \(n, 12\)"):
        Session(WATER / "model.onnx", 12)
    session = Session(WATER / "model.onnx", 16)
    with pytest.raises(ModelError, match=r"was given float64 \(1, 16\). Expected float32 \(n, 16\)"):
        session.score(np.zeros((1, 16)))


def test_a_model_that_answers_nan_is_refused() -> None:
    session = Session(WATER / "model.onnx", 16)
    with pytest.raises(ModelError, match=r"answered nan\. Expected a number"):
        session.score(np.full((1, 16), np.nan, np.float32))


def test_an_unknown_model_is_refused_with_the_known_names() -> None:
    with pytest.raises(ModelError, match=r"no model 'fire'\. There are: water-leak"):
        package.load_models(["fire"])


# -- the card and the training ----------------------------------------------------------------------------------------


def test_the_card_shows_the_figures_that_were_measured() -> None:
    figures = json.loads((WATER / "figures.json").read_text())
    card = (WATER / "card.md").read_text()
    assert train.table(figures) in card
    for part in ("train", "validation"):
        assert f"{figures['data'][part]['measured_days']} measured days" in card, part
    calm = figures["without_leaks"]
    assert f"{calm['above_half']} of {calm['minutes']} minutes" in card
    assert f"above 0.9 in {calm['above_threshold']}, at most {calm['longest_above_threshold_min']} in a row" in card
    weights = figures["model"]["weights"]
    assert all(f"{name} {weight:+.4f}" in card for name, weight in weights.items())
    assert f"bias {figures['model']['bias']:+.4f}" in card


def test_an_alarm_is_counted_when_its_score_was_high_for_ten_minutes() -> None:
    def newest_runs(windows: np.ndarray) -> np.ndarray:
        return (windows[:, -1] > 0).astype(np.float32)

    minutes = np.zeros(300)
    minutes[100:110] = minutes[200:211] = ML  # ten scores span nine minutes, eleven span ten
    at, scored = measure.rings(measure.Alarm(newest_runs), minutes)
    assert at.tolist() == [210]
    assert scored == 300 - features.KNOWN_MIN + 1


def test_the_time_to_an_alarm_counts_from_the_start_of_the_leak() -> None:
    leak = measure.Leak(start=500, share=0.25, flow_m3_s=5 * ML)
    found = measure.found_after_min(measure.dry_for(20), np.zeros(1000), leak)
    assert found == pytest.approx(19.25), "the quarter minute and nineteen whole ones"
    assert measure.found_after_min(measure.silent(), np.zeros(1000), leak) is None


def test_data_that_is_not_there_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LINLI_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"No data set 'weusedto' in .*Set LINLI_DATA"):
        data.data_dir("weusedto")


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("CI") == "true", reason="training is no part of CI")
@pytest.mark.skipif(
    not (importlib.util.find_spec("sklearn") and importlib.util.find_spec("onnx")),
    reason="scikit-learn and onnx are not here: pip install --require-hashes -r requirements/train.lock",
)
def test_a_small_training_runs_from_data_to_a_model_that_loads(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from models.water import measure, train; "
        "measure.LEAKS_PER_BAND = 5; train.train(Path(sys.argv[1]), per_building=2000)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True, timeout=110)
    model = package.load(tmp_path)
    assert model.score([[5 * ML] * 60])[0] > 0.9
    assert model.score([[0.0] * 60])[0] < 0.1
