"""SKAB v0.9: its files and its two scores, written from the protocol of the published table (docs/models.md).

The data is GPL-3.0 and not part of the project; nothing that ships is fitted to it. Each file is an experiment of its
own: the first TRAIN_ROWS rows train, the rest is scored.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TRAIN_ROWS = 400
WINDOW_S = 60.0
FILES, CHANGEPOINTS, TEST_ROWS = 34, 127, 23_801
"""Of the whole set; a published row compares with nothing less."""

CHANNELS = (
    "Accelerometer1RMS", "Accelerometer2RMS", "Current", "Pressure", "Temperature", "Thermocouple", "Voltage",
    "Volume Flow RateRMS",
)  # fmt: skip
FREE = "anomaly-free"
"""The folder of the one normal run, which has no labels and is never scored."""

GRID = 1000
FALSE, MISSED = 0.11, 1.0
"""What a false and a missed changepoint cost, standard profile; a perfect hit is worth 1."""

Flags = NDArray[np.bool_]


class Experiment(NamedTuple):
    """at_s: float (n,), s. values: float (n, CHANNELS), the file's units. anomaly, changepoint: bool (n,)."""

    name: str
    at_s: NDArray[np.float64]
    values: NDArray[np.float64]
    anomaly: Flags
    changepoint: Flags


class Score(NamedTuple):
    """f1: 0 to 1. far, mar: percent. nab: standard profile, 0 silent, 100 perfect. missed, false: changepoints."""

    f1: float
    far: float
    mar: float
    nab: float
    missed: int
    false: int


def read(folder: Path) -> list[Experiment]:
    """Every labelled file below the folder, by name. Raises OSError, ValueError: none, or one that cannot be read."""
    paths = [path for path in _files(folder) if path.parent.name != FREE]
    if not paths:
        raise ValueError(f"{folder}: found no labelled .csv or .csv.gz; expected folders such as valve1. Name SKAB's.")
    return [_read(path, f"{path.parent.name}/{path.name.partition('.')[0]}") for path in paths]


def normal_run(folder: Path) -> NDArray[np.float64] | None:
    """The values of the anomaly-free run, (n, CHANNELS); None when the folder has none. Raises OSError, ValueError."""
    paths = _files(folder / FREE)
    return _read(paths[0], FREE).values if paths else None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.csv*") if path.name.endswith((".csv", ".csv.gz")))


def _read(path: Path, name: str) -> Experiment:
    try:
        whole = path.read_bytes()
        text = (gzip.decompress(whole) if path.suffix == ".gz" else whole).decode()
        rows = list(csv.DictReader(text.splitlines(), delimiter=";"))
        at_s = np.array(
            [(datetime.fromisoformat(row["datetime"]) - datetime(1970, 1, 1)).total_seconds() for row in rows]
        )
        values = np.array([[float(row[channel]) for channel in CHANNELS] for row in rows])
        labels = np.array([[float(row.get(label) or 0) for label in ("anomaly", "changepoint")] for row in rows])
    except (KeyError, TypeError, ValueError, EOFError) as error:
        raise ValueError(
            f"{path}: found {error!r}; expected columns datetime, {', '.join(CHANNELS)} apart by `;`. Fetch it again."
        ) from error
    if len(rows) <= TRAIN_ROWS:
        raise ValueError(f"{path}: found {len(rows)} rows; expected more than the {TRAIN_ROWS} that train.")
    return Experiment(name, at_s, values, labels[:, 0] > 0, labels[:, 1] > 0)


def score(tests: Iterable[Experiment], said: Mapping[str, Flags], changes: Mapping[str, Flags] | None = None) -> Score:
    """Both scores over all files. said: {name: one verdict for each row behind the training}.

    changes: predicted changepoints alike; without, each change of the verdict is one, and a first row that rings.
    """
    right = np.zeros(4, np.int64)  # true and false alarms, misses, true silence
    got = of_silence = of_perfect = 0.0
    missed = false = 0
    for test in tests:
        truth, verdict = test.anomaly[TRAIN_ROWS:], said[test.name].astype(bool)
        right += [
            (truth & verdict).sum(),
            (~truth & verdict).sum(),
            (truth & ~verdict).sum(),
            (~truth & ~verdict).sum(),
        ]
        change = changed(verdict) if changes is None else changes[test.name]
        hit_s = test.at_s[TRAIN_ROWS:][change.astype(bool)]
        found = windows(test.at_s[TRAIN_ROWS:][test.changepoint[TRAIN_ROWS:]])
        worth, lost, stray = _hits(hit_s, found)
        got += worth - MISSED * lost - FALSE * stray
        of_silence -= MISSED * len(found)
        of_perfect += len(found)
        missed, false = missed + lost, false + stray
    tp, fp, fn, tn = right.tolist()
    return Score(
        tp / (tp + (fp + fn) / 2) if tp else 0.0,
        100.0 * fp / max(fp + tn, 1),
        100.0 * fn / max(fn + tp, 1),
        100.0 * (got - of_silence) / (of_perfect - of_silence) if of_perfect else 0.0,
        missed,
        false,
    )


def changed(verdict: Flags) -> Flags:
    """Where the verdict changes; the first row counts when it rings."""
    return np.concatenate((verdict[:1], verdict[1:] != verdict[:-1]))


def windows(changepoint_s: NDArray[np.float64]) -> list[tuple[float, float]]:
    """(from, to) s of each changepoint's window, both ends counted; where two meet, the later begins at that end."""
    found: list[tuple[float, float]] = []
    for at_s in changepoint_s.tolist():
        begins = found[-1][1] if found and found[-1][1] >= at_s else at_s
        found.append((begins, at_s + WINDOW_S))
    return found


def worth(share: float) -> float:
    """What a hit is worth after this share of its window, 0 to 1, on upstream's grid: 1 at once, -FALSE at the end."""
    x = -np.pi / 2 + np.pi * min(int(share * GRID), GRID - 1) / (GRID - 1)
    return float((1 + FALSE) / 2 * -np.tanh(x) / np.tanh(np.pi / 2) + (1 - FALSE) / 2)


def _hits(hit_s: NDArray[np.float64], found: list[tuple[float, float]]) -> tuple[float, int, int]:
    """(worth of the first hit in each window, windows without one, hits outside all of them)."""
    total, lost = 0.0, 0
    stray = np.ones(len(hit_s), bool)
    for begins, ends in found:
        inside = (hit_s >= begins) & (hit_s <= ends)
        stray &= ~inside
        if inside.any():
            total += worth((hit_s[inside][0] - begins) / (ends - begins))
        else:
            lost += 1
    return total, lost, int(stray.sum())
