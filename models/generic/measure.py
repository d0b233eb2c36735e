"""Everything that models/generic/card.md says in figures, from the data and from declared simulation.

python -m models.generic.measure      writes figures.json and manifest.toml into models/generic, prints the tables
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bench_nab import halves, scores
from models.data import data_dir
from models.generic import step
from models.nab import PROFILES, Corpus, read
from models.water import flat

HERE = Path(__file__).parent
NAME, VERSION = "generic", "1.0.0"
ALARMS = (step.THRESHOLD, 0.7, 0.9)
MONTH_S = 30 * 86_400
FLAT_DAYS = ("2019-03-01", "2020-08-31")
KNOWN_MIN = 3
"""A row of the flat is there when so many of its five minutes were measured."""

DAY_ROWS = 86_400 // step.ROW_S
BEGINS = 10 * DAY_ROWS + 90
"""The row in which a simulated fault begins: half past seven of the eleventh day."""
CHANNELS = 100
NUDGED = ("USUAL_ROWS", "SMOOTH_ROWS", "LONG_ROWS", "PART_ROWS", "FADE_ROWS", "GROUND")


def healthy(count: int, days: int, dice: np.random.Generator) -> NDArray[np.float64]:
    """(rows, count) of made-up sensors: a daily wave of 5 around 20 with noise of 1, row by row independent."""
    row = np.arange(days * DAY_ROWS)[:, None]
    return 20.0 + 5.0 * np.sin(2 * np.pi * row / DAY_ROWS) + dice.normal(0.0, 1.0, (len(row), count))


def with_fault(kind: str, whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same with one fault from the row BEGINS on. Its size is part of the name."""
    found = whole.copy()
    after = np.arange(len(whole) - BEGINS)[:, None]
    if kind == "spike of 15":
        found[BEGINS] += 15.0
    elif kind == "level shift of 10":
        found[BEGINS:] += 10.0
    elif kind == "drift of 10 a day":
        found[BEGINS:] += 10.0 * after / DAY_ROWS
    elif kind == "day and night exchanged":
        found[BEGINS:] = whole[BEGINS - DAY_ROWS // 2 : -DAY_ROWS // 2]
    elif kind == "stuck":
        found[BEGINS:] = whole[BEGINS - 1]
    else:
        raise ValueError(f"no fault {kind!r}")
    return found


FAULTS = ("spike of 15", "level shift of 10", "drift of 10 a day", "day and night exchanged", "stuck")


def run(rows: NDArray[np.float64]) -> step.Scores:
    """All rows through the detector: each field as (rows, count)."""
    channels = step.Channels(rows.shape[1])
    found = [channels.step(values, number % DAY_ROWS / DAY_ROWS) for number, values in enumerate(rows)]
    return step.Scores(*(np.array(field) for field in zip(*found, strict=True)))


def simulated() -> dict[str, Any]:
    """Per fault and threshold: share found within a day, median hours; and what rings within thirty healthy days."""
    dice = np.random.default_rng(1)
    whole = healthy(CHANNELS, 12, dice)
    found: dict[str, Any] = {}
    for kind in FAULTS:
        novel = run(with_fault(kind, whole)).novel[BEGINS : BEGINS + DAY_ROWS]
        found[kind] = {}
        for threshold in ALARMS:
            rings = novel >= threshold
            after_h = (rings.argmax(axis=0)[rings.any(axis=0)] + 1) * step.ROW_S / 3600
            found[kind][str(threshold)] = {
                "found": round(float(rings.any(axis=0).mean()), 2),
                "median_h": round(float(np.median(after_h)), 1) if len(after_h) else None,
            }
    calm = run(healthy(CHANNELS, 40, dice)).novel[10 * DAY_ROWS :]
    found["false_per_month"] = {str(threshold): float((calm >= threshold).sum() / CHANNELS) for threshold in ALARMS}
    return found


def on_nab() -> dict[str, Any]:
    """The scoreboard's figures, alarms at three thresholds, and the score with a constant halved or doubled."""
    corpus = Corpus(read(data_dir("nab")))
    ours = scores(corpus.files)
    scored_s = sum(series.times_s[-1] - series.times_s[series.probation] for series in corpus.files)
    best = {name: corpus.best(ours, weights) for name, weights in PROFILES.items()}
    return {
        "files": len(corpus.files),
        "windows": corpus.windows,
        "months": round(scored_s / MONTH_S, 1),
        "best": {name: round(score, 2) for name, (score, _) in best.items()},
        "best_threshold": {name: round(threshold, 4) for name, (_, threshold) in best.items()},
        "shipped": {name: round(corpus.at(ours, step.THRESHOLD, weights), 2) for name, weights in PROFILES.items()},
        "halves": dict(zip(PROFILES, (round(score, 2) for score in halves(corpus, ours)), strict=True)),
        "alarms": {str(threshold): _alarms(corpus, ours, threshold) for threshold in ALARMS},
        "nudged": {name: [_nudged(corpus, name, times) for times in (0.5, 2.0)] for name in NUDGED},
    }


def _alarms(corpus: Corpus, ours: list[NDArray[np.float64]], threshold: float) -> dict[str, int]:
    windows, false = corpus.counted(ours, threshold)
    return {"windows": windows, "false": false}


def _nudged(corpus: Corpus, name: str, times: float) -> float:
    """The standard score, best threshold, with one constant of the detector multiplied."""
    shipped = getattr(step, name)
    try:
        setattr(step, name, shipped * times)
        return round(corpus.best(scores(corpus.files), PROFILES["standard"])[0], 2)
    finally:
        setattr(step, name, shipped)


def on_flat() -> dict[str, Any]:
    """A real sensor that had no part in making the detector: a flat's inflow, of which nothing wrong is known."""
    by_minute = flat.minutes(data_dir("weusedto"), *FLAT_DAYS).mean_m3_s.reshape(-1, step.ROW_S // 60)
    known = np.isfinite(by_minute)
    enough = known.sum(axis=1) >= KNOWN_MIN
    means = np.where(known, by_minute, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    novel = run(np.where(enough, means, np.nan)[:, None]).novel[:, 0]
    scored = enough & (np.cumsum(enough) > 10 * DAY_ROWS)  # the first ten days are for learning, as in the simulation
    months = float(scored.sum()) * step.ROW_S / MONTH_S
    false = {str(threshold): round(int((novel[scored] >= threshold).sum()) / months, 2) for threshold in ALARMS}
    return {"months": round(months, 1), "false_per_month": false}


def cost() -> dict[str, float]:
    """Median microseconds of the thread's own time for one step of so many sensors, on the machine that measures."""
    found = {}
    for count in (1, 50, 500):
        rows = healthy(count, 3, np.random.default_rng(2))
        channels = step.Channels(count)
        took_ns = []
        for number, values in enumerate(rows):
            began_ns = time.thread_time_ns()
            channels.step(values, number % DAY_ROWS / DAY_ROWS)
            took_ns.append(time.thread_time_ns() - began_ns)
        found[str(count)] = round(float(np.median(took_ns)) / 1000.0)
    return found


def tables(figures: dict[str, Any]) -> str:
    """The card's tables."""
    nab, made = figures["nab"], figures["simulated"]
    lines = ["| NAB | standard | low FP | low FN |", "|---|---|---|---|"]
    for name, what in (("best", "one threshold, chosen on the same files"), ("shipped", f"threshold {step.THRESHOLD}"),
                       ("halves", "threshold chosen on one half, the other scored")):  # fmt: skip
        lines.append(f"| {what} | " + " | ".join(f"{nab[name][profile]:.2f}" for profile in PROFILES) + " |")
    lines += ["", "| threshold | " + " | ".join(str(t) for t in ALARMS) + " |", "|---|" + "---|" * len(ALARMS)]
    of = [nab["alarms"][str(t)] for t in ALARMS]
    lines.append(f"| NAB: windows found of {nab['windows']} | " + " | ".join(str(a["windows"]) for a in of) + " |")
    lines.append(
        "| NAB: false, a sensor and month | " + " | ".join(f"{a['false'] / nab['months']:.2f}" for a in of) + " |"
    )
    house = figures["flat"]["false_per_month"]
    lines.append("| a flat's inflow: false, a month | " + " | ".join(f"{house[str(t)]:.2f}" for t in ALARMS) + " |")
    for kind in FAULTS:
        cells = [_cell(made[kind][str(t)]) for t in ALARMS]
        lines.append(f"| simulated: {kind} | " + " | ".join(cells) + " |")
    calm = made["false_per_month"]
    lines.append("| simulated: false, a sensor and month | " + " | ".join(f"{calm[str(t)]:.2f}" for t in ALARMS) + " |")
    lines += ["", "| constant | halved | as shipped | doubled |", "|---|---|---|---|"]
    for name, (half, double) in nab["nudged"].items():
        lines.append(f"| `{name}` | {half:.2f} | {nab['best']['standard']:.2f} | {double:.2f} |")
    lines += ["", "| sensors stepped at once | " + " | ".join(figures["step_us"]) + " |", "|---|---|---|---|"]
    lines.append("| microseconds | " + " | ".join(f"{us:.0f}" for us in figures["step_us"].values()) + " |")
    return "\n".join(lines)


def _cell(of: dict[str, Any]) -> str:
    return f"{100 * of['found']:.0f} %" + (f", {of['median_h']} h" if of["found"] else "")


def main() -> None:
    """Measure, write, print."""
    figures = {"nab": on_nab(), "flat": on_flat(), "simulated": simulated(), "step_us": cost()}
    (HERE / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    hashes = {name: hashlib.sha256((HERE / name).read_bytes()).hexdigest() for name in ("step.py", "figures.json")}
    (HERE / "manifest.toml").write_text(
        "# Written by models/generic/measure.py.\n"
        f'name = "{NAME}"\nversion = "{VERSION}"\nrow_s = {step.ROW_S}\nwarm_rows = {step.WARM_ROWS}\n'
        f"state = {step.STATE}\nthreshold = {step.THRESHOLD}\nfeatures = [\n"
        + "".join(f'    "{name}",\n' for name in step.FEATURES)
        + "]\n\n[sha256]\n"
        + "".join(f'"{name}" = "{digest}"\n' for name, digest in hashes.items())
    )
    print(tables(figures))


if __name__ == "__main__":
    main()
