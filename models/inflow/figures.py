"""Measure the shipped detector: python -m models.inflow.figures. Writes figures.json, vouches for it in constants.toml,
and prints the tables of card.md. Everything here is measured once the constants stand; nothing is chosen by it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import bench_leakdb, data
from models.inflow import choose, measure
from models.inflow.step import Constants, constants
from models.water import flat
from models.water import measure as by_minute
from models.water.train import scores_of

Numbers = NDArray[np.float64]

HERE = Path(__file__).parent
SEED = 20160301
LEAKS_EACH = {"household": 12, "fixture": 20, "building": 200}
LATER_STEPS = (100, 777, 2000)
FEWER_DAYS = (1.0, 2.0)
FIXTURE_DAYS = ("2019-02-01", "2020-08-31")
MINUTES_A_MONTH = 30 * 1440


def all_figures() -> dict[str, Any]:
    """LeakDB, households, a building of them, fixtures by hours and by minutes, and the grids of the constants."""
    scenarios = bench_leakdb.read(data.data_dir("leakdb-hanoi"))
    meters = measure.households(data.data_dir("daiad-swm"))
    profiles, floors = list(choose.profile_grid(constants())), list(choose.floor_grid(constants()))
    return {
        "leakdb": _rounded(bench_leakdb.scored(scenarios)),
        "leakdb started later": {str(steps): started_later(scenarios, steps) for steps in LATER_STEPS},
        "households": {
            "false": measure.false_alarms([meter.hours() for meter in meters], measure.YEAR_H),
            "found": measure.found(*measure.some_leaks(meters, LEAKS_EACH["household"], np.random.default_rng(SEED))),
        },
        "building of all households": _known([building(meters)], "building", measure.YEAR_H),
        "fixtures": _known([hours for _, hours in _fixtures()], "fixture", measure.MONTH_H),
        "flat of all fixtures": _known([_flat()], "building", measure.MONTH_H),
        "fixtures, floor of fewer days": {f"{days:g}": _sooner(days) for days in FEWER_DAYS},
        "fixtures by minutes, water-leak": _by_minutes(),
        "chosen": {"profile": profiles, "floor": floors, "by the rules": choose.chosen(profiles, floors)},
    }


def started_later(scenarios: bench_leakdb.Scenarios, steps: int) -> dict[str, list[float]]:
    """The rows when the year begins so many half hours later: no detector may live on where a file begins."""
    late = bench_leakdb.Scenarios(scenarios.names, scenarios.flow[steps:], scenarios.leak[steps:])
    rows = _rounded(bench_leakdb.scored(late))
    return {name: rows[name] for name in ("night flow 20 %", bench_leakdb.OURS)}


def _rounded(rows: dict[str, bench_leakdb.Figures]) -> dict[str, list[float]]:
    return {name: [round(x, 2) for x in row] for name, row in rows.items()}


def building(meters: list[measure.Meter]) -> Numbers:
    """All meters as one, by hours from each one's start: the mean where half of them are known, times their number."""
    together = measure.stacked([meter.hours() for meter in meters])
    known = np.isfinite(together)
    mean = np.where(known, together, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(known.mean(axis=1) >= 0.5, mean * len(meters), np.nan)


def _sooner(days: float) -> dict[str, Any]:
    """The fixtures with a floor of fewer days than is shipped: what the alarms that are allowed would buy."""
    given = constants()
    tried = given._replace(floor=replace(given.floor, days=days))
    return _known([hours for _, hours in _fixtures()], "fixture", measure.MONTH_H, tried)


def _known(series: list[Numbers], kind: str, span_h: float, tried: Constants | None = None) -> dict[str, Any]:
    """Series that show every drop: alarms as they are, and what is found of leaks added."""
    dice = np.random.default_rng(SEED)
    leaking, starts = [], []
    for hours in series:
        for _ in range(LEAKS_EACH[kind]):
            start = measure.start_of(len(hours), dice)
            one = hours.copy()
            one[start:] += measure.peak_of(hours) * measure.log_uniform(dice)
            leaking.append(one)
            starts.append(start)
    return {"false": measure.false_alarms(series, span_h, tried), "found": measure.found(leaking, starts, tried)}


def _fixtures() -> list[tuple[str, Numbers]]:
    return list(measure.fixtures(data.data_dir("weusedto"), *FIXTURE_DAYS))


def _flat() -> Numbers:
    """Litres an hour of the fixtures together, NaN where less than half of the hour was measured."""
    seen = flat.minutes(data.data_dir("weusedto"), *FIXTURE_DAYS)
    return flat.means(seen.mean_m3_s, 60) / flat.LITRE * 3600


def _by_minutes() -> dict[str, Any]:
    """The shipped minute model, above 0.9 for ten minutes, on each fixture alone, its training days included."""
    alarm = by_minute.Alarm(scores_of(HERE.parent / "water"))
    first_s, end_s = flat.day_s(FIXTURE_DAYS[0]), flat.day_s(FIXTURE_DAYS[1]) + 86_400
    rings, minutes = [], 0
    for _, flow, known in flat.each_fixture(data.data_dir("weusedto"), first_s, end_s):
        mean = flow.reshape(-1, 60).mean(axis=1, dtype=np.float64)
        at, scored = by_minute.rings(alarm, np.where(known, mean, np.nan))
        rings.append(len(at))
        minutes += scored
    months = minutes / MINUTES_A_MONTH
    return {"series": len(rings), "spans": round(months, 1), "alarms": sum(rings),
            "a_span": round(sum(rings) / months, 2), "most_of_one": max(rings)}  # fmt: skip


def tables(figures: dict[str, Any]) -> str:
    """The two tables of card.md."""
    leakdb = ["| | " + " | ".join(bench_leakdb.COLUMNS) + " |", "|---" * 5 + "|"]
    for name, row in (*bench_leakdb.PUBLISHED, *figures["leakdb"].items()):
        leakdb.append(f"| {name} | " + " | ".join(f"{figure:.2f}" for figure in row) + " |")
    for steps, rows in figures["leakdb started later"].items():
        for name, row in rows.items():
            leakdb.append(f"| {steps} steps later: {name} | " + " | ".join(f"{figure:.2f}" for figure in row) + " |")
    head = (
        "",
        "measured",
        "false alarms",
        "most of one",
        "leaks found",
        "not in the dark",
        "half measured",
        "median (p90)",
    )
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    rows = [
        ("households", "years"),
        ("building of all households", "years"),
        ("fixtures", "months"),
        ("flat of all fixtures", "months"),
    ]
    lines += [_line(name, span, figures[name]) for name, span in rows]
    sooner = figures["fixtures, floor of fewer days"]
    lines += [_line(f"fixtures, floor of {days} days", "months", of) for days, of in sooner.items()]
    minutes = figures["fixtures by minutes, water-leak"]
    lines.append(
        f"| fixtures by minutes, water-leak ({minutes['series']}) | {minutes['spans']} months "
        f"| {minutes['alarms']}, {minutes['a_span']} a month | {minutes['most_of_one']} | | | | |"
    )
    return "\n".join([*leakdb, "", *lines])


def _line(name: str, span: str, of: dict[str, Any]) -> str:
    false, found = of["false"], of["found"]
    return (
        f"| {name} ({false['series']}) | {false['spans']} {span} "
        f"| {false['alarms']}, {false['a_span']} a {span[:-1]} | {false['most_of_one']} "
        f"| {found['found_percent']:g} % of {found['leaks']} "
        f"| {found['not_dark_found_percent']:g} % of {found['leaks'] - found['dark']} "
        f"| {found['measured_found_percent']:g} % of {found['measured']} "
        f"| {found['median_days']:g} ({found['p90_days']:g}) days |"
    )


def write(folder: Path, figures: dict[str, Any]) -> None:
    """Write figures.json and its hash into constants.toml."""
    text = json.dumps(figures, indent=2) + "\n"
    (folder / "figures.json").write_text(text, encoding="utf-8")
    path = folder / "constants.toml"
    digest = hashlib.sha256(text.encode()).hexdigest()
    found = re.sub(r'("figures.json" = )".*"', rf'\1"{digest}"', path.read_text(encoding="utf-8"))
    path.write_text(found, encoding="utf-8")


if __name__ == "__main__":
    result = all_figures()
    write(HERE, result)
    print(tables(result))
