"""The training data: WEUSEDTO, the inflow of one flat in Naples as the sum of its fixtures.

Assumptions, because the data names no unit (see its README and card.md): tap files are ml/s; a row of a tap holds
until the next row, at most 2 s; rows more than 15 minutes apart mean that nobody measured; a toilet's or a
dishwasher's row is litres, spread evenly from its start to its end; a washing machine that says nothing stands still.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TAPS = ("washbasin", "bidet", "kitchenfaucet", "shower")
MACHINE = "washingmachine"
USES = ("toilet", "dishwasher30")

HOLD_S = 2
SILENT_S = 900
ML = 1e-6
LITRE = 1e-3


class Flat(NamedTuple):
    """mean_m3_s: mean inflow of each minute. sample_m3_s: inflow in its first second. NaN: not measured. (n,) each."""

    first_s: int
    mean_m3_s: NDArray[np.float64]
    sample_m3_s: NDArray[np.float64]

    def between(self, first: str, last: str) -> Flat:
        """The days first to last, both included, written 2019-03-01 (UTC)."""
        start = (day_s(first) - self.first_s) // 60
        end = (day_s(last) + 86_400 - self.first_s) // 60
        return Flat(day_s(first), self.mean_m3_s[start:end], self.sample_m3_s[start:end])


def day_s(day: str) -> int:
    """UTC seconds at the start of a day written 2019-03-01."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())


def minutes(folder: Path, first: str, last: str) -> Flat:
    """The flat's inflow by minutes, for the days first to last, both included."""
    first_s, end_s = day_s(first), day_s(last) + 86_400
    flow, known = seconds(folder, first_s, end_s)
    by_minute = flow.reshape(-1, 60)
    mean = np.where(known, by_minute.mean(axis=1, dtype=np.float64), np.nan)
    return Flat(first_s, mean, np.where(known, by_minute[:, 0], np.nan))


def means(minutes: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Of each n minutes that follow one another, along the first axis; NaN where less than half of them is known."""
    parts = minutes.reshape(-1, n, *minutes.shape[1:])
    known = np.isfinite(parts).sum(axis=1)
    return np.where(known * 2 >= n, np.nansum(parts, axis=1) / np.maximum(known, 1), np.nan)


def seconds(folder: Path, first_s: int, end_s: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(flow, known): inflow of each second, m3/s, and whether all taps were measured in each minute.

    first_s, end_s: UTC seconds, whole minutes.
    """
    flow = np.zeros(end_s - first_s, np.float32)
    known = np.ones(len(flow) // 60, bool)
    for name in (*TAPS, MACHINE):
        rows = _rows(folder, name)
        _add_tap(flow, rows, first_s)
        if name in TAPS:
            known &= _measured(rows[:, 0], first_s, len(known))
    for name in USES:
        _add_uses(flow, _rows(folder, name), first_s)
    return flow, known


def each_fixture(
    folder: Path, first_s: int, end_s: int
) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.bool_]]]:
    """(name, flow, known) of each fixture alone, as seconds() has them of all. What rests between uses and says nothing
    then (a machine, a cistern) counts as measured when the taps are.
    """
    taps = {name: _rows(folder, name) for name in TAPS}
    measured = {name: _measured(rows[:, 0], first_s, (end_s - first_s) // 60) for name, rows in taps.items()}
    for name in (*TAPS, MACHINE, *USES):
        flow = np.zeros(end_s - first_s, np.float32)
        if name in USES:
            _add_uses(flow, _rows(folder, name), first_s)
        else:
            _add_tap(flow, _rows(folder, name), first_s)
        yield name, flow, measured.get(name, np.logical_and.reduce(list(measured.values())))


def _rows(folder: Path, name: str) -> NDArray[np.float64]:
    with gzip.open(folder / f"{name}.csv.gz", "rt", encoding="utf-8") as lines:
        return np.loadtxt(lines, delimiter=",", skiprows=1, dtype=np.float64)


def _add_tap(flow: NDArray[np.float32], rows: NDArray[np.float64], first_s: int) -> None:
    at = rows[:, 0].astype(np.int64) - first_s
    held_s = np.minimum(np.diff(at, append=at[-1] + 1), HOLD_S)
    for k in range(HOLD_S):
        here = (held_s > k) & (at + k >= 0) & (at + k < len(flow))
        np.add.at(flow, at[here] + k, (rows[here, 1] * ML).astype(np.float32))


def _add_uses(flow: NDArray[np.float32], rows: NDArray[np.float64], first_s: int) -> None:
    for start_s, litres, stop_s in rows:
        a, b = np.clip([start_s - first_s, stop_s - first_s], 0, len(flow)).astype(int)
        flow[a:b] += litres * LITRE / (stop_s - start_s)


def _measured(at_s: NDArray[np.float64], first_s: int, minutes_n: int) -> NDArray[np.bool_]:
    known = np.ones(minutes_n, bool)
    edges = np.concatenate(([0.0], at_s, [2.0**33]))  # nobody measured before the first row or after the last
    for i in np.flatnonzero(np.diff(edges) > SILENT_S):
        a, b = np.clip([(edges[i] - first_s) // 60 + 1, (edges[i + 1] - first_s) // 60 + 1], 0, minutes_n)
        known[int(a) : int(b)] = False
    return known
