"""The Numenta Anomaly Benchmark: its files and its scorer, written from the protocol's definition.

Protocol: Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms", 2015, and NAB v1.1's README. A detector
gives each row a score; one threshold holds for the whole corpus. The first min(15 %, 750) rows of a file do not count.
Inside a window the best detection counts, the earlier the more; a window without one costs `missed`; a detection
outside costs `false`, less shortly behind a window.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FILES = 58
"""Of the whole corpus, with 116 windows. Only a score over all of them compares with the published table."""

PROBATION_SHARE, PROBATION_ROWS = 0.15, 750
FAR_BEHIND = 3.0
"""Widths behind a window from which on a false detection costs all of it."""


class Weights(NamedTuple):
    """What a false detection and a missed window cost, where a window found at its start brings 1."""

    false: float
    missed: float


PROFILES = {"standard": Weights(0.11, 1.0), "low_fp": Weights(0.22, 1.0), "low_fn": Weights(0.11, 2.0)}


class Series(NamedTuple):
    """One file. times_s: float (n,), seconds as if its stamps were UTC. windows: first and last row of each."""

    name: str
    times_s: NDArray[np.float64]
    values: NDArray[np.float64]
    windows: tuple[tuple[int, int], ...]

    @property
    def probation(self) -> int:
        """Rows at the start that are not scored."""
        return min(int(PROBATION_SHARE * len(self.values)), PROBATION_ROWS)

    @property
    def days(self) -> NDArray[np.float64]:
        """Share of the day that is over, per row, 0 to below 1."""
        return self.times_s % 86_400.0 / 86_400.0


def read(folder: Path) -> list[Series]:
    """Every file below folder/data that the labels know, by name. Raises OSError, and ValueError with what is wrong."""
    labels = folder / "labels" / "combined_windows.json"
    found: list[Series] = []
    try:
        windows_of = json.loads(labels.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{labels} cannot be read: {error}. Expected the windows of each file as JSON.") from error
    for name, windows in sorted(windows_of.items()):
        path = next((p for p in (folder / "data" / f"{name}.gz", folder / "data" / name) if p.is_file()), None)
        if path is not None:
            found.append(_series(name, path, windows))
    present = {p.relative_to(folder / "data").as_posix().removesuffix(".gz") for p in (folder / "data").rglob("*.csv*")}
    if unknown := present - {series.name for series in found}:
        raise ValueError(f"{labels} has no windows for {', '.join(sorted(unknown))}. Expected an entry for every file.")
    if not found:
        raise ValueError(
            f"{folder / 'data'} holds none of the files of {labels}. Expected data/<group>/<file>.csv[.gz]."
        )
    return found


def _series(name: str, path: Path, windows: Sequence[tuple[str, str]]) -> Series:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        rows = list(csv.reader(lines))[1:]
    try:
        times_s = [datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp() for stamp, _ in rows]
        values = np.array([float(value) for _, value in rows])
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}. Expected rows of `timestamp,value`.") from error
    row_of: dict[float, int] = {}
    for row, time_s in enumerate(times_s):
        row_of.setdefault(time_s, row)  # stamps come twice when a clock was set back; the first is meant
    try:
        ends = [[row_of[datetime.fromisoformat(s).replace(tzinfo=UTC).timestamp()] for s in pair] for pair in windows]
    except KeyError as error:
        raise ValueError(
            f"A window of {name} begins or ends at no row of {path}. Are labels and data of one version?"
        ) from error
    return Series(name, np.array(times_s), values, tuple((first, last) for first, last in ends))


class Corpus:
    """Files to be scored together, with one threshold."""

    def __init__(self, files: Sequence[Series]) -> None:
        self.files = list(files)
        self.windows = sum(len(series.windows) for series in files)
        self._worth = [_worth(series) for series in self.files]

    def best(self, scores: Sequence[NDArray[np.float64]], weights: Weights) -> tuple[float, float]:
        """The highest score, 0 to 100, that one threshold reaches, and that threshold (infinite: never alarm)."""
        rows, worth, window, before = [], [], [], 0
        for series, score, (worth_of, window_of) in zip(self.files, scores, self._worth, strict=True):
            start = series.probation
            rows.append(score[start:])
            worth.append(worth_of[start:])
            window.append(np.where(window_of >= 0, window_of + before, -1)[start:])
            before += len(series.windows)
        by_score = np.argsort(-np.concatenate(rows), kind="stable")
        at, worth_at, window_at = (np.concatenate(part)[by_score] for part in (rows, worth, window))
        change = np.where(window_at < 0, worth_at * weights.false, 0.0)
        reached = np.full(self.windows, -weights.missed)
        for row in np.flatnonzero(window_at >= 0):
            gain = worth_at[row] - reached[window_at[row]]
            if gain > 0.0:
                change[row] = gain
                reached[window_at[row]] = worth_at[row]
        last_of_equals = np.append(at[1:] != at[:-1], True)
        totals = np.append(0.0, np.cumsum(change)[last_of_equals])
        thresholds = np.append(np.inf, at[last_of_equals])
        highest = int(np.argmax(totals))
        return self._of_100(totals[highest], weights), float(thresholds[highest])

    def at(self, scores: Sequence[NDArray[np.float64]], threshold: float, weights: Weights) -> float:
        """The score, at most 100, with a threshold that was chosen elsewhere. Below 0: worse than to never alarm."""
        gained = sum(self.raw(scores, threshold, weights).values()) + self.windows * weights.missed
        return self._of_100(gained, weights)

    def raw(self, scores: Sequence[NDArray[np.float64]], threshold: float, weights: Weights) -> dict[str, float]:
        """What each file brings and costs, before it is put on the scale of 100."""
        found: dict[str, float] = {}
        for series, score, (worth, window) in zip(self.files, scores, self._worth, strict=True):
            rings = score >= threshold
            rings[: series.probation] = False
            total = float(worth[rings & (window < 0)].sum()) * weights.false
            for number in range(len(series.windows)):
                inside = worth[rings & (window == number)]
                total += float(inside.max()) if len(inside) else -weights.missed
            found[series.name] = total
        return found

    def counted(self, scores: Sequence[NDArray[np.float64]], threshold: float) -> tuple[int, int]:
        """(windows found, detections outside of any) at a threshold."""
        windows = false = 0
        for series, score, (_, window) in zip(self.files, scores, self._worth, strict=True):
            rings = score >= threshold
            rings[: series.probation] = False
            windows += len(np.unique(window[rings & (window >= 0)]))
            false += int((rings & (window < 0)).sum())
        return windows, false

    def _of_100(self, gained: float, weights: Weights) -> float:
        return 100.0 * float(gained) / (self.windows * (1.0 + weights.missed)) if self.windows else 0.0


def _worth(series: Series) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Per row: what a detection there is worth (1 at a window's start, down to -1 far from any), its window or -1."""
    count = len(series.values)
    row = np.arange(count)
    worth, window = np.full(count, -1.0), np.full(count, -1)
    for number, (first, last) in enumerate(series.windows):
        width = last - first + 1
        inside = slice(first, last + 1)
        window[inside] = number
        worth[inside] = _sigma(-(last - row[inside] + 1) / width) / _sigma(np.array([-1.0]))
        behind = slice(last + 1, series.windows[number + 1][0] if number + 1 < len(series.windows) else count)
        worth[behind] = _sigma((row[behind] - last) / max(width - 1, 1))
    return worth, window


def _sigma(widths: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 far before a window's end, 0 at it, -1 from FAR_BEHIND widths on."""
    return np.where(widths > FAR_BEHIND, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(widths, FAR_BEHIND))) - 1.0)
