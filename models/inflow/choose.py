"""Choose the constants on the declared simulation: python -m models.inflow.choose. Prints both grids; writes nothing.

Two pairs are chosen, each by one rule; what constants.toml holds besides is judgement and was not varied by it.

- profile, `scatter_min`: the smallest with at most one alarm a year in districts without leaks, and with
  R_TN >= 99.58 % in districts half of which have leaks.
- floor, `stretch_h` and `days`: at most half an alarm a year in households without leaks (twice as good as is asked
  for, because a simulation is kinder than life) and at most one in any of them; of these the fewest days that find 90 %
  of the leaks of 0.5 % of the peak and more; of these the pair with the fewest alarms. Two days are not offered: a
  week-end with guests is that long.

Households are made of the days of WEUSEDTO (CC BY 4.0) up to 2020-03-31, the days that water-leak was trained on, and
are read with holes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from models import data
from models.inflow import measure, simulate
from models.inflow.step import Constants, constants
from models.water import flat, train

SEED = 20200331
DISTRICTS = 60
HOUSEHOLDS = 60
DAYS = 365
SCATTERS_MIN = (0.004, 0.006, 0.008, 0.012)
FLOORS = [(stretch_h, days) for days in (3.0, 4.0, 5.0) for stretch_h in (1.0, 2.0, 3.0)]


def profile_grid(given: Constants) -> Iterator[dict[str, Any]]:
    """For each scatter_min: alarms a year without leaks, R_TN and R_TP in percent with some."""
    calm = simulate.districts(DISTRICTS, 48, DAYS, np.random.default_rng(SEED), leaks=False)
    leaky = simulate.districts(DISTRICTS, 48, DAYS, np.random.default_rng(SEED + 1))
    for scatter_min in SCATTERS_MIN:
        tried = given._replace(profile=_replaced(given.profile, scatter_min=scatter_min))
        rings = measure.begins(measure.alarms(list(calm.flow.T), tried, 48)).sum()
        alarm = measure.alarms(list(leaky.flow.T), tried, 48)
        yield {
            "scatter_min": scatter_min,
            "alarms_a_year": round(float(rings / DISTRICTS), 2),
            "tnr_percent": round(100 * float((~alarm)[~leaky.leak].mean()), 2),
            "tpr_percent": round(100 * float(alarm[leaky.leak].mean()), 2),
        }


def floor_grid(given: Constants) -> Iterator[dict[str, Any]]:
    """For each pair: alarms a year of households without leaks, and what is found of leaks put into them."""
    dice = np.random.default_rng(SEED + 2)
    seen = flat.minutes(data.data_dir("weusedto"), *train.TRAIN)
    totals = simulate.households(simulate.whole_days(seen.mean_m3_s), HOUSEHOLDS, DAYS, dice)
    meters = []
    for number, total in enumerate(totals.T):
        read = simulate.read_with_holes(len(totals), dice)
        at_s = np.flatnonzero(read) * 3600.0
        meters.append(measure.Meter(str(number), at_s, total[read], 1.0, measure.METER_L_H))
    leaking, starts = measure.some_leaks(meters, 2, dice)
    for stretch_h, days in FLOORS:
        tried = given._replace(floor=_replaced(given.floor, stretch_h=stretch_h, days=days))
        rings = measure.false_alarms([meter.hours() for meter in meters], measure.YEAR_H, tried)
        found = measure.found(leaking, starts, tried)
        yield {
            "stretch_h": stretch_h,
            "days": days,
            "alarms_a_year": rings["a_span"],
            "most_of_one": rings["most_of_one"],
            "found_percent": found["found_percent"],
            "median_days": found["median_days"],
        }


def chosen(profiles: list[dict[str, Any]], floors: list[dict[str, Any]]) -> dict[str, float]:
    """The rules above. Raises ValueError when nothing fits: then the detector has to change, not the rule."""
    fits = [row for row in profiles if row["alarms_a_year"] <= 1 and row["tnr_percent"] >= 99.58]
    pairs = [
        row for row in floors if row["alarms_a_year"] <= 0.5 and row["most_of_one"] <= 1 and row["found_percent"] >= 90
    ]
    if not fits or not pairs:
        raise ValueError("no constants of the grid keep the rules on the simulation")
    pair = min(pairs, key=lambda row: (row["days"], row["alarms_a_year"]))
    return {"scatter_min": fits[0]["scatter_min"], "stretch_h": pair["stretch_h"], "days": pair["days"]}


def _replaced(constants: Any, **changes: float) -> Any:
    return replace(constants, **changes)


if __name__ == "__main__":
    profiles, floors = list(profile_grid(constants())), list(floor_grid(constants()))
    for row in (*profiles, *floors, chosen(profiles, floors)):
        print(row)
