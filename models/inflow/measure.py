"""How often the detector rings for nothing, and which leaks it finds how soon. All leaks are injected by us."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.inflow.hourly import hourly
from models.inflow.step import Constants, Inflow
from models.water import flat

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

DAY = 24
HORIZON_DAYS = 30
BEFORE_DAYS = 21
SIZES = (0.005, 0.5)
"""Of the peak: the flow that one hour in a thousand exceeds."""
METER_L_H = 5000.0
"""A household's meter (DN 20) passes no more for long: above, a register was swapped or misread."""
MONTH_H = 30 * 24
YEAR_H = 365.25 * 24


class Meter(NamedTuple):
    """A register: seconds and total so far, and in which steps it counts. step 0: it shows every drop."""

    name: str
    time_s: Numbers
    total: Numbers
    step: float
    per_hour_max: float

    def hours(self, start_s: float = np.inf, leak: float = 0.0, rest: float = 0.0) -> Numbers:
        """Mean flow of each hour, with a leak, a unit of the total an hour, from start_s on; rest: what the register
        held of a step at the start, 0 to 1.
        """
        total = self.total + np.clip(self.time_s - start_s, 0.0, None) / 3600 * leak
        if self.step and leak:
            total = np.floor(total / self.step + rest) * self.step
        return hourly(self.time_s, total, self.per_hour_max)


def households(folder: Path) -> list[Meter]:
    """DAIAD trial A: litres. For measuring only (CC BY-SA 4.0)."""
    rows: dict[int, list[tuple[float, float]]] = {}
    with gzip.open(folder / "hourly.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            at_s = datetime.fromisoformat(row["time"] + "+00:00").timestamp()
            rows.setdefault(int(row["household"]), []).append((at_s, float(row["meter_l"])))
    columns = {household: np.array(pairs).T for household, pairs in rows.items()}
    return [Meter(f"household {k}", at_s, litres, 1.0, METER_L_H) for k, (at_s, litres) in columns.items()]


def fixtures(folder: Path, first: str, last: str) -> Iterator[tuple[str, Numbers]]:
    """WEUSEDTO: (name, litres an hour of each hour, NaN where less than half of it was measured) of each fixture."""
    first_s, end_s = flat.day_s(first), flat.day_s(last) + 86_400
    for name, flow, known in flat.each_fixture(folder, first_s, end_s):
        share = known.reshape(-1, 60).mean(axis=1)
        litres = flow.reshape(-1, 3600).mean(axis=1, dtype=np.float64) / flat.LITRE * 3600
        yield name, np.where(share >= 0.5, litres, np.nan)


def alarms(series: list[Numbers], constants: Constants | None = None, steps_per_day: int = DAY) -> Flags:
    """(longest, n): while the detector says leak, over series of any lengths, (steps,) each, from the same start."""
    together = stacked(series)
    detector = Inflow([str(i) for i in range(len(series))], steps_per_day, constants)
    return np.array([detector.step(now) for now in together])


def stacked(series: list[Numbers]) -> Numbers:
    """Side by side, (longest, n), NaN behind the shorter ones."""
    together = np.full((max(map(len, series)), len(series)), np.nan)
    for i, one in enumerate(series):
        together[: len(one), i] = one
    return together


def begins(alarm: Flags) -> Flags:
    """Where an alarm begins, of (steps, n)."""
    return np.asarray(alarm & ~np.concatenate((np.zeros((1, alarm.shape[1]), bool), alarm[:-1])))


def false_alarms(series: list[Numbers], span_h: float, constants: Constants | None = None) -> dict[str, Any]:
    """Of series taken to be without leaks: alarms in all and a span (a year or a month, in measured hours)."""
    each = begins(alarms(series, constants)).sum(axis=0)
    spans = sum(int(np.isfinite(one).sum()) for one in series) / span_h
    return {
        "series": len(series),
        "spans": round(spans, 1),
        "alarms": int(each.sum()),
        "a_span": round(float(each.sum() / spans), 2),
        "most_of_one": int(each.max()),
        "with_more_than_one": int((each > 1).sum()),
    }


def found(leaking: list[Numbers], starts: list[int], constants: Constants | None = None) -> dict[str, Any]:
    """Of series with one leak each, from the step of starts on: for which an alarm begins within HORIZON_DAYS.

    An alarm that stood already does not count. measured: those where half of the hours in the horizon are known. dark:
    those where not one is, so that nobody could see them.
    """
    cut = [one[: start + HORIZON_DAYS * DAY] for one, start in zip(leaking, starts, strict=True)]
    first = begins(alarms(cut, constants))
    waits, shares = [], []
    for i, start in enumerate(starts):
        at = np.flatnonzero(first[start:, i])
        waits.append(at[0] / DAY if len(at) else np.nan)
        shares.append(np.isfinite(cut[i][start:]).sum() / (HORIZON_DAYS * DAY))
    days, share = np.array(waits), np.array(shares)
    measured = share >= 0.5
    return {
        "leaks": len(days),
        "found_percent": _percent(np.isfinite(days)),
        "measured": int(measured.sum()),
        "measured_found_percent": _percent(np.isfinite(days[measured])),
        "dark": int((share == 0).sum()),
        "not_dark_found_percent": _percent(np.isfinite(days[share > 0])),
        "median_days": round(float(np.nanmedian(days)), 1),
        "p90_days": round(float(np.nanpercentile(days, 90)), 1),
    }


def some_leaks(meters: list[Meter], each: int, dice: np.random.Generator) -> tuple[list[Numbers], list[int]]:
    """`each` leaks a meter, log-uniform in SIZES of its peak, from a random step after BEFORE_DAYS: (hours, starts)."""
    leaking, starts = [], []
    for meter in meters:
        hours = meter.hours()
        peak = peak_of(hours)
        for _ in range(each if peak > 0 else 0):
            start = start_of(len(hours), dice)
            leak = peak * log_uniform(dice)
            leaking.append(meter.hours(meter.time_s[0] + start * 3600, leak, dice.random()))
            starts.append(start)
    return leaking, starts


def peak_of(hours: Numbers) -> float:
    """The flow that one measured hour in a thousand exceeds."""
    return float(np.nanpercentile(hours, 99.9))


def start_of(hours: int, dice: np.random.Generator) -> int:
    """A random step with BEFORE_DAYS before it and, in a series long enough, HORIZON_DAYS after it."""
    first = BEFORE_DAYS * DAY
    return int(dice.integers(first, max(hours - (HORIZON_DAYS + 1) * DAY, first + DAY)))


def log_uniform(dice: np.random.Generator) -> float:
    """A share of the peak from SIZES, each factor as likely as any other."""
    return float(np.exp(dice.uniform(*np.log(SIZES))))


def _percent(flags: Flags) -> float:
    return round(100 * float(flags.mean()), 1) if len(flags) else 0.0
