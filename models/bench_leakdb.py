"""LeakDB: leaks in a year of half-hourly inflow of the "Hanoi" network. Protocol: Vrachimis et al., WDSA/CCWI 2018.

A folder holds inflow_m3h.csv.gz (`step`, then one column a scenario, m3/h) and leaks.csv (scenario, start_step,
end_step exclusive, ...). A scenario without a line in leaks.csv has no leak.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.bench import Table
from models.inflow.step import Inflow

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]
Figures = tuple[float, float, float, float]
"""R_TP, R_TN, F and S_ED, in percent."""

STEPS_PER_DAY = 48
AFTER_STEPS = 10
"""Early detection looks at a leak from its first step to so many past its end."""
STEADY_SHARE = 0.75
STEEPNESS = 5
"""As in the scorer that LeakDB stored; the paper writes 6."""
NIGHT_DAYS = 10

OURS = "inflow"
COLUMNS = ("tpr", "tnr", "f1", "early")
PUBLISHED: list[tuple[str, Figures]] = [
    ("published: night flow 10 %", (68.98, 66.96, 50.01, 45.88)),
    ("published: night flow 20 %", (39.90, 99.58, 56.49, 32.35)),
    ("published: night flow 30 %", (32.87, 99.91, 49.36, 26.80)),
]


class Scenarios(NamedTuple):
    """flow: (steps, n) m3/h. leak: (steps, n), where any leak runs. Columns in the order of names."""

    names: list[str]
    flow: Numbers
    leak: Flags


def table(folder: Path) -> Table:
    """The published rows, the rules and ours. Raises OSError and ValueError for a folder that has another form."""
    scenarios = read(folder)
    rows = scored(scenarios)
    return Table(COLUMNS, [*PUBLISHED, *rows.items()], rows[OURS], [
        f"{len(scenarios.names)} scenarios of {len(scenarios.flow)} half hours; a leak in {scenarios.leak.mean():.1%}.",
        "All in percent; counts pooled over scenarios.",
        "Published rows are of other draws (500 scenarios): a claim must beat them and the same rule scored here.",
        "The night-flow rule labels a day from midnight by that day's minimum: up to 24 h ahead. Ours looks back.",
    ])  # fmt: skip


def scored(scenarios: Scenarios) -> dict[str, Figures]:
    """Silence, an alarm that always stands, the rules and ours, on the same scenarios."""
    always = np.ones(scenarios.leak.shape, bool)
    alarms = {"always silent": ~always, "always alarm": always}
    alarms |= {f"night flow {above} %": night_flow(scenarios.flow, above / 100) for above in (10, 20, 30)}
    alarms[OURS] = ours(scenarios.flow)
    return {name: score(alarm, scenarios.leak) for name, alarm in alarms.items()}


def read(folder: Path) -> Scenarios:
    """The scenarios of a folder. Raises OSError and ValueError, which say what was found and expected."""
    path = folder / "inflow_m3h.csv.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            names = file.readline().strip().split(",")
            flow = np.loadtxt(file, delimiter=",", ndmin=2)
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{path}: {error}. Expected gzip with a header and numbers. Copy the file again.") from error
    if names[0] != "step" or flow.shape[1] != len(names):
        raise ValueError(f"{path}: the header begins with {names[0]!r} and has {len(names)} columns, the rows have "
                         f"{flow.shape[1]}. Expected `step`, then one column a scenario.")  # fmt: skip
    scenarios = names[1:]
    leak = np.zeros((len(flow), len(scenarios)), bool)
    with (folder / "leaks.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                leak[int(row["start_step"]) : int(row["end_step"]), scenarios.index(row["scenario"])] = True
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{folder / 'leaks.csv'}: {row} does not fit ({error}). Expected scenario, start_step "
                                 "and end_step of a scenario in inflow_m3h.csv.gz.") from error  # fmt: skip
    return Scenarios(scenarios, flow[:, 1:], leak)


def score(alarm: Flags, leak: Flags) -> Figures:
    """(R_TP, R_TN, F, S_ED) in percent, of alarms and labels (steps, n). A share of nothing is 0."""
    hit, quiet = int((alarm & leak).sum()), int((~alarm & ~leak).sum())
    false, missed = int((alarm & ~leak).sum()), int((~alarm & leak).sum())
    early = [
        early_detection(alarm[first : end + AFTER_STEPS, scenario])
        for scenario in range(leak.shape[1])
        for first, end in _periods(leak[:, scenario])
    ]
    shares = (
        hit / max(hit + missed, 1),
        quiet / max(quiet + false, 1),
        2 * hit / max(2 * hit + false + missed, 1),
        sum(early) / max(len(early), 1),
    )
    return (100 * shares[0], 100 * shares[1], 100 * shares[2], 100 * shares[3])


def early_detection(alarm: Flags) -> float:
    """One leak period, to AFTER_STEPS past its end: 1 for an alarm at its first step that stays, 0 for none."""
    if not alarm.any():
        return 0.0
    delay = int(np.argmax(alarm))
    if alarm[delay:].mean() <= STEADY_SHARE:
        return 0.0
    return float(2 / (1 + np.exp(STEEPNESS * delay / max(len(alarm) - 1, 1))))


def night_flow(flow: Numbers, above: float) -> Flags:
    """The rule beside us: alarm all day when its least half hour is `above` over the least of 10 days without one."""
    smallest = flow[: len(flow) // STEPS_PER_DAY * STEPS_PER_DAY].reshape(-1, STEPS_PER_DAY, flow.shape[1]).min(axis=1)
    alarm = np.zeros(flow.shape, bool)
    for scenario in range(flow.shape[1]):
        calm: list[float] = []
        for day, night in enumerate(smallest[:, scenario].tolist()):
            usual = min(calm[-NIGHT_DAYS:]) if len(calm) >= NIGHT_DAYS else night
            if night - usual > above * usual:
                alarm[day * STEPS_PER_DAY : (day + 1) * STEPS_PER_DAY, scenario] = True
            else:
                calm.append(night)
    return alarm


def ours(flow: Numbers) -> Flags:
    """The shipped detector, one step after another, each answer from what came before."""
    detector = Inflow([str(number) for number in range(flow.shape[1])], STEPS_PER_DAY)
    return np.array([detector.step(now) for now in flow])


def _periods(leak: Flags) -> list[tuple[int, int]]:
    """(first step, end exclusive) of each run of labels."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], leak.astype(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
