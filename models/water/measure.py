"""How good an alarm is: leaks found, how soon, and how often it rings for nothing. All leaks are injected by us."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import features
from models.water.flat import ML

Minutes = NDArray[np.float64]
Scores = Callable[[Minutes], NDArray[np.float32]]
"""(n, WINDOW_MIN) m3/s to one score a window, 0 to 1."""

BANDS_ML_S = ((2, 5), (5, 20), (20, 200), (200, 2000))
LEAKS_PER_BAND = 300
HORIZON_MIN = 240
BEFORE_MIN = 2 * features.WINDOW_MIN


class Alarm(NamedTuple):
    """Rings when the score was above `threshold` without a break for hold_min minutes."""

    score: Scores
    threshold: float = 0.9
    hold_min: int = 10


class Leak(NamedTuple):
    """A constant leak from minute `start`, of which it fills the last `share`, for as long as we look."""

    start: int
    share: float
    flow_m3_s: float


def dry_for(minutes: int) -> Alarm:
    """The simple rule beside the model: no minute without flow among the last `minutes`; rings at once."""

    def score(windows: Minutes) -> NDArray[np.float32]:
        return (windows[:, -minutes:] >= features.ZERO_M3_S).all(axis=1).astype(np.float32)

    return Alarm(score, threshold=0.5, hold_min=0)


def silent() -> Alarm:
    """An alarm that never rings."""
    return Alarm(lambda windows: np.zeros(len(windows), np.float32))


def at_random(per_day: float, dice: np.random.Generator) -> Alarm:
    """An alarm that looks at nothing and rings per_day times a day."""

    def score(windows: Minutes) -> NDArray[np.float32]:
        return (dice.random(len(windows)) < per_day / 1440).astype(np.float32)

    return Alarm(score, hold_min=0)


def scores(score: Scores, minutes: Minutes) -> NDArray[np.float64]:
    """The score of each minute of a series, m3/s; NaN where its window is not scored."""
    at, windows = features.windows(minutes)
    result = np.full(len(minutes), np.nan)
    parts = np.array_split(windows, len(windows) // 20_000 + 1)
    result[at] = np.concatenate([score(part) for part in parts if len(part)] or [[]])
    return result


def rings(alarm: Alarm, minutes: Minutes) -> tuple[NDArray[np.intp], int]:
    """(minutes in which the alarm begins to ring, number of minutes scored) over one series, m3/s."""
    scored = scores(alarm.score, minutes)
    long = alarm.hold_min + 1  # a score each minute: 11 of them span ten minutes
    held = np.convolve(scored > alarm.threshold, np.ones(long), "full")[: len(minutes)] >= long
    return np.flatnonzero(held & ~np.concatenate(([False], held[:-1]))), int(np.isfinite(scored).sum())


def without_leaks(score: Scores, minutes: Minutes) -> dict[str, int]:
    """How high a series without leak scores: minutes scored, above 0.5, above 0.9, the longest run above 0.9."""
    scored = scores(score, minutes)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], scored > 0.9, [0]))))
    return {
        "minutes": int(np.isfinite(scored).sum()),
        "above_half": int((scored > 0.5).sum()),
        "above_threshold": int((scored > 0.9).sum()),
        "longest_above_threshold_min": int((edges[1::2] - edges[::2]).max(initial=0)),
    }


def with_leak(minutes: Minutes, leak: Leak) -> Minutes:
    """The same series with the leak on top."""
    leaking = minutes.copy()
    leaking[leak.start] += leak.share * leak.flow_m3_s
    leaking[leak.start + 1 :] += leak.flow_m3_s
    return leaking


def found_after_min(alarm: Alarm, minutes: Minutes, leak: Leak) -> float | None:
    """Minutes from the start of the leak to the alarm; None when none began within HORIZON_MIN."""
    first = leak.start - BEFORE_MIN
    part = minutes[first : leak.start + HORIZON_MIN]
    at, _ = rings(alarm, with_leak(part, leak._replace(start=BEFORE_MIN)))
    after = at[at >= BEFORE_MIN]
    return float(after[0] - BEFORE_MIN + leak.share) if len(after) else None


def some_leaks(minutes: Minutes, band_ml_s: tuple[int, int], dice: np.random.Generator) -> list[Leak]:
    """LEAKS_PER_BAND leaks, log-uniform in the band, each at a minute before and after which the flat was measured."""
    around = BEFORE_MIN + HORIZON_MIN
    missing = np.concatenate(([0], np.cumsum(~np.isfinite(minutes))))
    free = np.flatnonzero(missing[around:] == missing[:-around]) + BEFORE_MIN
    starts = dice.choice(free, LEAKS_PER_BAND)
    flows = log_uniform(band_ml_s, (LEAKS_PER_BAND,), dice) * ML
    shares = dice.random(LEAKS_PER_BAND)
    return [Leak(int(s), float(share), float(q)) for s, share, q in zip(starts, shares, flows, strict=True)]


def log_uniform(span: tuple[float, float], shape: tuple[int, ...], dice: np.random.Generator) -> Minutes:
    """Numbers of `shape` between the two of `span`, each factor as likely as any other."""
    return np.exp(dice.uniform(np.log(span[0]), np.log(span[1]), shape))


def building(minutes: Minutes, flats: int, dice: np.random.Generator) -> Minutes:
    """Several flats: the well measured days, one after another, laid over themselves moved by whole days."""
    by_day = minutes[: len(minutes) // 1440 * 1440].reshape(-1, 1440)
    by_day = by_day[np.isfinite(by_day).mean(axis=1) > 0.9]
    moves = dice.choice(np.arange(1, len(by_day)), flats - 1, replace=False)
    return by_day.ravel() + sum((np.roll(by_day, move, axis=0).ravel() for move in moves), np.zeros(by_day.size))


def figures(alarm: Alarm, minutes: Minutes, seed: int) -> dict[str, Any]:
    """False alarms on the series as it is, and what is found of leaks injected into it."""
    at, scored = rings(alarm, minutes)
    months = scored / (30 * 1440)
    result: dict[str, Any] = {
        "months_scored": round(months, 2),
        "false_alarms": len(at),
        "false_alarms_per_month": round(len(at) / months, 2),
        "leaks": {},
    }
    dice = np.random.default_rng(seed)
    for band in BANDS_ML_S:
        leaks = some_leaks(minutes, band, dice)
        waits = [wait for leak in leaks if (wait := found_after_min(alarm, minutes, leak)) is not None]
        result["leaks"][f"{band[0]}-{band[1]} ml/s"] = {
            "found_percent": round(100 * len(waits) / len(leaks), 1),
            "median_min": round(float(np.median(waits)), 1) if waits else None,
            "p90_min": round(float(np.percentile(waits, 90)), 1) if waits else None,
        }
    return result
