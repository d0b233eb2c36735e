"""Train the leak model: python -m models.water.train. Writes model.onnx, figures.json and manifest.toml here, and
prints the table of card.md.

Seeded: the same packages and data give the same bytes. Needs the `train` extra and the WEUSEDTO data (models/data.py).
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import data, features
from models.session import Session
from models.water import flat, measure
from models.water.measure import Minutes

HERE = Path(__file__).parent
NAME, VERSION = "water-leak", "1.0.0"
OUTPUT = "score"
OPSET = 17
SEED = 20200331

TRAIN = ("2019-03-01", "2020-03-31")
VALIDATION = ("2020-04-01", "2020-08-31")

FLATS = (1, 2, 4)
LEAKS_ML_S = (2.0, 2000.0)
SCALES = (0.5, 4.0)
"""People's flow is multiplied by this: another house has other taps. Leaks are not scaled."""

QUIET_WEIGHT = 2
"""A false alarm closes a valve: quiet windows weigh more. Chosen, with the kind of model, on September-October 2019."""


def examples(minutes: Minutes, per_building: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(features (n, width), 1 while a leak runs else 0), half of each, from buildings of FLATS flats."""
    dice = np.random.default_rng(seed)
    inputs, labels = [], []
    for flats in FLATS:
        series = minutes if flats == 1 else measure.building(minutes, flats, dice)
        at, windows = features.windows(series)
        in_use = np.flatnonzero(windows[:, -10:].max(axis=1, initial=0, where=np.isfinite(windows[:, -10:])) > 0)
        half = per_building // 2
        any_time = dice.choice(len(at), per_building)
        any_time[::2] = dice.choice(in_use, half)  # quiet nights would fill the set and teach nothing
        chosen = windows[any_time] * measure.log_uniform(SCALES, (per_building, 1), dice)
        leaking = np.arange(per_building) >= half
        chosen += _leaks(leaking, dice)
        inputs.append(features.features(_with_holes(chosen, dice)))
        labels.append(leaking.astype(np.int64))
    return np.concatenate(inputs), np.concatenate(labels)


def _leaks(leaking: NDArray[np.bool_], dice: np.random.Generator) -> Minutes:
    """(n, WINDOW_MIN) m3/s to add: a leak that runs, or, for half of the others, one that was stopped."""
    n = len(leaking)
    flow = measure.log_uniform(LEAKS_ML_S, (n,), dice) * flat.ML
    stopped_min = np.where(leaking, 0, dice.integers(2, 50, n))
    began_min = stopped_min + dice.integers(1, 2 * features.WINDOW_MIN, n)
    flow[~leaking & (dice.random(n) < 0.5)] = 0.0
    ago = np.arange(features.WINDOW_MIN)[::-1]
    whole = (ago >= stopped_min[:, None]) & (ago < began_min[:, None])
    first = (ago == began_min[:, None]) * dice.random((n, 1))
    return flow[:, None] * (whole + first)


def _with_holes(windows: Minutes, dice: np.random.Generator) -> Minutes:
    """A quarter of the windows is young (its oldest minutes missing), a quarter has lost single minutes."""
    n, width = windows.shape
    fate = dice.integers(0, 4, n)
    young = (fate == 0)[:, None] & (np.arange(width) < dice.integers(0, width - features.KNOWN_MIN, (n, 1)))
    lossy = (fate == 1)[:, None] & (dice.random((n, width)) < 0.1)
    lossy[:, -1] = False  # a window without its newest minute is not scored
    return np.where(young | lossy, np.nan, windows)


def fit(inputs: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """(weight of each feature, bias) of a logistic regression on the features as they come, rounded to 4 decimals."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(inputs)
    line = LogisticRegression(max_iter=2000, class_weight={0: QUIET_WEIGHT, 1: 1})
    line.fit(scaler.transform(inputs), labels)
    weights = line.coef_[0] / scaler.scale_
    bias = line.intercept_[0] - weights @ scaler.mean_
    return np.round(weights, 4), round(float(bias), 4)


def export(weights: NDArray[np.float64], bias: float, path: Path) -> None:
    """Write ONNX: input `features` float32 (n, width), output `score` float32 (n, 1)."""
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["features", "weights", "bias"], ["sum"]),
            helper.make_node("Sigmoid", ["sum"], [OUTPUT]),
        ],
        NAME,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", len(weights)])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", 1])],
        [
            numpy_helper.from_array(weights.astype(np.float32)[:, None], "weights"),
            numpy_helper.from_array(np.array([bias], np.float32), "bias"),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="linli"
    )
    checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def all_figures(score: measure.Scores, validation: flat.Flat) -> dict[str, Any]:
    """The shipped file against the rules beside it, on days it never saw."""
    model = measure.Alarm(score)
    one = validation.mean_m3_s
    four = measure.building(one, 4, np.random.default_rng(SEED))
    rules = {
        "model": model,
        "rule: flow in each of 60 minutes": measure.dry_for(60),
        "rule: flow in each of 45 minutes": measure.dry_for(45),
        "rule: flow in each of 30 minutes": measure.dry_for(30),
        "once a day at random": measure.at_random(1.0, np.random.default_rng(SEED)),
        "always silent": measure.silent(),
    }
    return {
        "one flat": {name: measure.figures(rule, one, SEED) for name, rule in rules.items()},
        "four flats": {name: measure.figures(rule, four, SEED) for name, rule in list(rules.items())[:4]},
        "one flat, meter read once a minute": {"model": measure.figures(model, validation.sample_m3_s, SEED)},
    }


def write_manifest(folder: Path) -> None:
    """Vouch for model.onnx and figures.json as they are now."""
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("model.onnx", "figures.json")}
    names = "".join(f'    "{name}",\n' for name in features.NAMES)
    sums = "".join(f'"{name}" = "{digest}"\n' for name, digest in hashes.items())
    size = (folder / "model.onnx").stat().st_size
    (folder / "manifest.toml").write_text(
        "# Written by models/water/train.py.\n"
        f'name = "{NAME}"\nversion = "{VERSION}"\nwindow_min = {features.WINDOW_MIN}\n'
        f"opset = {OPSET}\nbytes = {size}\n"
        f'input = "features"\noutput = "{OUTPUT}"\nfeatures = [\n{names}]\n\n[sha256]\n{sums}',
        encoding="utf-8",
    )


def train(folder: Path, per_building: int = 40_000) -> dict[str, Any]:
    """Train, export, measure; write model.onnx, figures.json and manifest.toml into `folder`; return the figures."""
    source = data.data_dir("weusedto")
    seen, unseen = flat.minutes(source, *TRAIN), flat.minutes(source, *VALIDATION)
    inputs, labels = examples(seen.mean_m3_s, per_building, SEED)
    weights, bias = fit(inputs, labels)
    export(weights, bias, folder / "model.onnx")
    session = Session(folder / "model.onnx", len(features.NAMES), OUTPUT)
    result = {
        "data": {
            "train": {"days": TRAIN, "measured_days": _days(seen)},
            "validation": {"days": VALIDATION, "measured_days": _days(unseen)},
        },
        "alarm": {"threshold": 0.9, "hold_min": 10, "horizon_min": measure.HORIZON_MIN},
        "leaks": {"per_band": measure.LEAKS_PER_BAND, "seed": SEED, "injected": True},
        "model": {
            "windows": len(labels),
            "bytes": (folder / "model.onnx").stat().st_size,
            "weights": dict(zip(features.NAMES, weights.tolist(), strict=True)),
            "bias": bias,
        },
        "without_leaks": measure.without_leaks(_scores(session), unseen.mean_m3_s),
        "validation": all_figures(_scores(session), unseen),
    }
    (folder / "figures.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    write_manifest(folder)
    return result


def _scores(session: Session) -> measure.Scores:
    return lambda windows: session.score(features.features(windows))


def scores_of(folder: Path) -> measure.Scores:
    """The model of a folder, as measure.py asks it."""
    return _scores(Session(folder / "model.onnx", len(features.NAMES), OUTPUT))


def table(result: dict[str, Any]) -> str:
    """The figures as card.md shows them: false alarms; per band of leaks the share found, median (p90) minutes."""
    bands = [f"{low}-{high} ml/s" for low, high in measure.BANDS_ML_S]
    lines = [f"| | false alarms in months | {' | '.join(bands)} |", "|---" * (2 + len(bands)) + "|"]
    for place, alarms in result["validation"].items():
        for name, got in alarms.items():
            cells = " | ".join(_cell(got["leaks"][band]) for band in bands)
            false_alarms = f"{got['false_alarms']} in {got['months_scored']}"
            lines.append(f"| {place}: {name} | {false_alarms} | {cells} |")
    return "\n".join(lines)


def _cell(band: dict[str, Any]) -> str:
    if not band["found_percent"]:
        return "0 %"
    return f"{band['found_percent']:g} %, {band['median_min']:g} ({band['p90_min']:g}) min"


def _days(part: flat.Flat) -> float:
    return round(float(np.isfinite(part.mean_m3_s).sum()) / 1440, 1)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: models/water)")
    folder = options.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    print(table(train(folder)))
