"""Measure the pump's detector and write what is vouched for: `python -m models.pump.measure`.

Writes figures.json and manifest.toml here and prints the tables of card.md. Needs SKAB (models/data.py).
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import bench_skab, skab
from models.data import data_dir
from models.pump import step

HERE = Path(__file__).parent
NAME, VERSION = "pump", "1.0.0"
COLUMNS = ("f1", "far", "mar", "nab", "missed", "false")
NUDGED = ("SMOOTH_ROWS", "CLIP", "DRIFT_ROWS", "REACH", "SHARE")


def on_skab() -> dict[str, Any]:
    """Every row that was measured here, worst draws, each group of files, and the constants moved one at a time."""
    folder = data_dir("skab")
    tests = skab.read(folder)
    free = skab.normal_run(folder)
    if free is None:
        raise FileNotFoundError(f"{folder} has no {skab.FREE}")
    leads = {"as it is": bench_skab.as_it_is, "levelled": bench_skab.levelled}
    groups = sorted({test.name.partition("/")[0] for test in tests})
    return {
        "files": len(tests),
        "rows": sum(len(test.at_s) - skab.TRAIN_ROWS for test in tests),
        "pump": _figures(skab.score(tests, bench_skab.pump(tests))),
        "behind_leads": {
            name: [
                _figures(skab.score(tests, bench_skab.pump(tests, kind(free, np.random.default_rng(draw)))))
                for draw in range(bench_skab.DRAWS)
            ]
            for name, kind in leads.items()
        },
        "groups": {group: _figures(_of([t for t in tests if t.name.startswith(group + "/")])) for group in groups},
        "nudged": {name: [_nudged(tests, name, times) for times in (0.75, 1.33)] for name in NUDGED}
        | {f"TIMES {kind}": [_nudged(tests, kind, times) for times in (0.75, 1.33)] for kind in ("flow", "vibration")},
    }


def _of(tests: list[skab.Experiment]) -> skab.Score:
    return skab.score(tests, bench_skab.pump(tests))


def _figures(of: skab.Score) -> dict[str, float]:
    return dict(zip(COLUMNS, (round(figure, 4) for figure in of), strict=True))


def _nudged(tests: list[skab.Experiment], name: str, times: float) -> dict[str, float]:
    """With one constant of the detector multiplied."""
    place = step.TIMES if name in step.TIMES else vars(step)
    shipped = place[name]
    try:
        place[name] = shipped * times
        return _figures(_of(tests))
    finally:
        place[name] = shipped


def cost_us() -> float:
    """Median microseconds of the thread's own time for a row of six channels, on the machine that measures."""
    pump, took_ns = step.Pump(bench_skab.KINDS), []
    for row in made_up(3000, np.random.default_rng(1)):
        began_ns = time.thread_time_ns()
        pump.step(row)
        took_ns.append(time.thread_time_ns() - began_ns)
    return round(float(np.median(took_ns[step.LEARN_ROWS :])) / 1000.0, 1)


def made_up(rows: int, dice: np.random.Generator) -> NDArray[np.float64]:
    """(rows, 6) of a healthy pump, made up here, in the order of KINDS: scatter, and a wander that comes back."""
    levels = np.array([0.2, 0.3, 2.4, 1.1, 230.0, 32.0])
    wander = np.zeros(6)
    found = []
    for scatter, push in zip(dice.normal(0, 1, (rows, 6)), dice.normal(0, 1, (rows, 6)), strict=True):
        wander = 0.98 * wander + 0.02 * push
        found.append(levels * (1 + 0.01 * (scatter + wander)))
    return np.array(found)


def tables(figures: dict[str, Any]) -> str:
    """The card's tables."""
    of = figures["skab"]
    head = "| F1 | FAR % | MAR % | NAB standard | missed | false |"
    lines = [f"| {of['files']} files {head}", "|---" * 7 + "|", _line("pump", of["pump"])]
    for name, draws in of["behind_leads"].items():
        worst = {c: (min if c in ("f1", "nab") else max)(draw[c] for draw in draws) for c in COLUMNS}
        lines.append(_line(f"pump, lead-in {name}, worst of {len(draws)} draws", worst))
    lines += [_line(f"only {group}", found) for group, found in of["groups"].items()]
    lines += ["", f"| one constant changed {head}", "|---" * 7 + "|"]
    for name, (less, more) in of["nudged"].items():
        lines += [_line(f"`{name}` x 0.75", less), _line(f"`{name}` x 1.33", more)]
    return "\n".join(lines)


def _line(who: str, of: dict[str, float]) -> str:
    first = f"| {who} | {of['f1']:.3f} | {of['far']:.2f} | {of['mar']:.2f} | {of['nab']:.2f} "
    return first + f"| {of['missed']:.0f} | {of['false']:.0f} |"


def main() -> None:
    """Measure, write, print."""
    figures = {"skab": on_skab(), "step_us": cost_us()}
    (HERE / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    hashes = {name: hashlib.sha256((HERE / name).read_bytes()).hexdigest() for name in ("step.py", "figures.json")}
    (HERE / "manifest.toml").write_text(
        "# Written by models/pump/measure.py.\n"
        f'name = "{NAME}"\nversion = "{VERSION}"\nlearn_rows = {step.LEARN_ROWS}\nthreshold = 0.5\n\n[kinds]\n'
        + "".join(f"{kind} = {times}\n" for kind, times in step.TIMES.items())
        + "\n[sha256]\n"
        + "".join(f'"{name}" = "{digest}"\n' for name, digest in hashes.items())
    )
    print(tables(figures))
    print(f"{figures['step_us']} us a row")


if __name__ == "__main__":
    main()
