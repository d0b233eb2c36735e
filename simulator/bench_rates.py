"""`linli bench rates`: a rate that a condition states, beside what comes on real series that it has never seen.

    ./dev bench rates --data ../shared/data

What runs is the box's own calibration (gateway/calibration.py) and its alarms, on scores of the shipped models over
WEUSEDTO's seven fixtures and DAIAD's 73 households (docs/models.md says where they come from). No leak is put in: what
comes is what these sensors do by themselves. The first scored month of each sensor is its learning and counted apart.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.alarms import CAME, Alarms, Rule
from gateway.calibration import MONTH_MIN, Calibration, Rate
from gateway.conditions import parse
from models.data import data_dir
from models.generic.step import ROW_S, Channels
from models.inflow import measure
from models.inflow.figures import FIXTURE_DAYS
from models.inflow.step import Inflow
from models.package import Model, load_models
from models.water import flat
from models.water import measure as by_minute

Numbers = NDArray[np.float64]

DAY_S = 86_400
MIN_A_ROW = ROW_S // 60
LEAST_MONTHS = 2.0
"""A sensor that was scored for less has no second month to speak of."""
RATES = (0.25, 1.0, 4.0)


class Series(NamedTuple):
    """Scores of one model: (rows, sensors), NaN for none. condition: without a rate."""

    model: str
    of: str
    scores: Numbers
    row_min: float
    condition: str


class Came(NamedTuple):
    """learning: comings in the first month of all sensors. later, months: after it. most: of one sensor a month."""

    sensors: int
    learning: int
    later: int
    months: float
    most: float

    @property
    def a_month(self) -> float:
        return self.later / self.months


def came(series: Series, a_month: float | None) -> Came:
    """What the box's own calibration and alarms make of it. None: no rate is said."""
    learning = later = sensors = 0
    months = most = 0.0
    for scores in series.scores.T:
        scored_months = np.isfinite(scores).sum() * series.row_min / MONTH_MIN
        if scored_months >= LEAST_MONTHS:
            first, rest = _comings(scores, series, a_month)
            sensors, learning, later = sensors + 1, learning + first, later + rest
            months += scored_months - 1.0
            most = max(most, rest / (scored_months - 1.0))
    return Came(sensors, learning, later, months, most)


def _comings(scores: Numbers, series: Series, a_month: float | None) -> tuple[int, int]:
    """Alarms of one sensor in its first scored month, and later."""
    rate = f" at most {a_month:g} a month" if a_month else ""
    condition = parse(f"model:{series.model} on s {series.condition.replace(' for', f'{rate} for', 1)}")
    alarms = Alarms([Rule("a", "a", "low", (condition,))], {}, {}, 0.0)
    rates = {pair: Rate(*of) for pair, of in alarms.rates().items()}
    calibration = Calibration(rates, {}, lambda key, value: None)
    found = [0, 0]
    scored_min = 0.0
    for row, score in enumerate(scores.tolist()):
        if isnan(score):
            alarms.no_score(series.model, "s")
            continue
        scored_min += series.row_min
        judged = calibration.judged(series.model, "s", score, series.row_min)
        changes = alarms.score(series.model, "s", judged, row * series.row_min * 60.0, dict)
        found[scored_min > MONTH_MIN] += sum(change.what == CAME for change in changes)
    return found[0], found[1]


# -- the series ------------------------------------------------------------------------------------------------------


def all_series(root: Path | None) -> Iterator[Series]:
    """root: the folder with weusedto and daiad-swm; None: as models.data says. Raises OSError, ValueError."""

    def folder(name: str) -> Path:
        return root / name if root else data_dir(name)

    minutes = fixtures(folder("weusedto"))
    five = generic(minutes)
    yield Series("generic", "fixtures", five, MIN_A_ROW, "> 0.7 for 5 min")
    yield Series("generic", "fixtures", five, MIN_A_ROW, "> 0.9 for 5 min")
    yield Series("water-leak", "fixtures", water(minutes), 1.0, "> 0.5 for 10 min")
    hours = measure.stacked([meter.hours() for meter in measure.households(folder("daiad-swm"))])
    scores = inflow(hours)
    yield Series("inflow", "households", scores, 60.0, "> 0.5 for 1 h")
    yield Series("inflow", "households", scores, 60.0, "> 0.3 for 1 h")


def fixtures(folder: Path) -> Numbers:
    """(minutes, 7) m3/s, NaN where nobody measured."""
    first_s, end_s = flat.day_s(FIXTURE_DAYS[0]), flat.day_s(FIXTURE_DAYS[1]) + DAY_S
    found = []
    for _, flow, known in flat.each_fixture(folder, first_s, end_s):
        found.append(np.where(known, flow.reshape(-1, 60).mean(axis=1, dtype=np.float64), np.nan))
    return np.stack(found, axis=1)


def generic(minutes: Numbers) -> Numbers:
    """Scores by five minutes, of means of which half is known, as gateway/row_models.py gives them."""
    means = flat.means(minutes, MIN_A_ROW)
    channels = Channels(means.shape[1])
    return np.array([channels.step(now, row * ROW_S % DAY_S / DAY_S).standing for row, now in enumerate(means)])


def water(minutes: Numbers) -> Numbers:
    """Scores by minutes, as the shipped model gives them."""
    model: Model = load_models(["water-leak"])["water-leak"]

    def scored(windows: Numbers) -> NDArray[np.float32]:
        return np.array(model.score(windows.tolist()), np.float32)

    return np.stack([by_minute.scores(scored, one) for one in minutes.T], axis=1)


def inflow(hours: Numbers) -> Numbers:
    detector = Inflow([str(i) for i in range(hours.shape[1])], 24)
    found = []
    for now in hours:
        detector.step(now)
        found.append(np.where(np.isfinite(now), detector.scores(), np.nan))
    return np.array(found)


# -- the command -----------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="with weusedto and daiad-swm (default: docs/models.md)"
    )


def run(args: argparse.Namespace) -> int:
    """0: measured and printed. 2: data that is not there or cannot be read."""
    print("| condition | on | without a rate | stated | came | most of one | first month of all |")
    print("|---" * 7 + "|")
    try:
        for series in all_series(args.data):
            plain = came(series, None)
            for a_month in RATES:
                print(line(series, plain, a_month, came(series, a_month)), flush=True)
    except (OSError, ValueError) as error:
        print(f"linli bench rates: {error}", file=sys.stderr)
        return 2
    return 0


def line(series: Series, plain: Came, a_month: float, found: Came) -> str:
    """One row of docs/models.md; per sensor and scored month of 30 days, after the first."""
    return (
        f"| `{series.model} {series.condition}` | {found.sensors} {series.of}, {found.months:.0f} months "
        f"| {plain.a_month:.2f} | {a_month:g} | {found.a_month:.2f} | {found.most:.2f} "
        f"| {found.learning} |"
    )
