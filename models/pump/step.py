"""A detector for a pump that runs: does what it does now lie farther out than it ever did while all was well?

One row of channels at a time, nominally one a second. The first LEARN_ROWS whole rows are taken for a healthy pump.
From them each channel gets a mean and a limit: so many times the farthest its smoothed value moved away from that mean
by itself. Afterwards each channel is smoothed, single wild values are clipped, and what drifts slowly moves the mean
along, only while nothing is wrong and only so far. A plain classical detector, fitted by each pump's own healthy rows:
no weights, no ONNX. It knows no time, no position and no other pump.

Source of the scheme: an exponentially weighted control chart with limits taken from the reference's own wander, because
readings of a pump are not independent and a limit from their scatter alone would ring all day.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEARN_ROWS = 400
"""Whole rows (no channel missing) that are taken for healthy. No score before."""

TIMES = {"flow": 2.0, "pressure": 4.0, "current": 4.0, "voltage": 4.0, "vibration": 6.0}
"""Kind of a channel: its limit, in times the farthest it moved while it was healthy.

Flow is what the pump is for, and little else moves it. Vibration moves by a multiple with temperature and air. A
temperature is no kind: over minutes it follows sun and season more than any fault, so no limit for it is worth having.
"""

SMOOTH_ROWS = 20
CLIP = 2.5
"""A value counts at most as so many limits away: one wild row rings nothing, and what is over is soon forgotten."""
DRIFT_ROWS = 150
"""The mean follows this slowly, while nothing is beyond its limit."""
REACH = 0.75
"""How far the mean may follow in all, in limits: a fault that creeps is found at the latest at 1.75 of them."""
SHARE = 0.002
"""No limit is below this share of the mean: a channel that stood still while it was learnt rings for no last digit."""


class Verdict(NamedTuple):
    """score: 0 to 1, above 0.5 exactly while a channel is beyond its limit; NaN while learning and of a row of nothing.

    channel: which lies farthest out, "" without a score. limits: how many limits away it is, signed, at most CLIP.
    """

    score: float
    channel: str
    limits: float


_NOTHING = Verdict(float("nan"), "", 0.0)


class Pump:
    """One pump. channels: {name: kind of TIMES}, in the order of the rows. Raises ValueError for an unknown kind."""

    def __init__(self, channels: Mapping[str, str]) -> None:
        wrong = {name: kind for name, kind in channels.items() if kind not in TIMES}
        if wrong or not channels:
            raise ValueError(
                f"channels of a pump: found {wrong or 'none'}; expected one or more, each of {', '.join(TIMES)}. "
                "Leave others out; a temperature is not judged."
            )
        self.channels = dict(channels)
        self._times = np.array([TIMES[kind] for kind in channels.values()])
        self._learning: list[list[float]] = []
        self._mean, self._limit, self._away, self._moved = np.zeros((4, len(channels)))

    def step(self, row: ArrayLike) -> Verdict:
        """The next row, (channels,) in any units. NaN or infinite is missing: that channel stays as it was."""
        values = np.asarray(row, np.float64)
        if values.shape != self._mean.shape:
            raise ValueError(f"row of shape {values.shape}; expected ({len(self.channels)},), one a channel")
        known = np.isfinite(values)
        if not self._limit.any():
            if known.all():
                self._learn(values)
            return _NOTHING
        if not known.any():
            return _NOTHING
        reach = CLIP * self._limit
        out = np.clip(np.where(known, values - self._mean - self._moved, self._away), -reach, reach)
        self._away += (out - self._away) / SMOOTH_ROWS
        limits = self._away / self._limit
        farthest = int(np.abs(limits).argmax())
        far = float(limits[farthest])
        if abs(far) <= 1.0:
            moved = self._moved + np.where(known, out, 0.0) / DRIFT_ROWS
            self._moved = np.clip(moved, -REACH * self._limit, REACH * self._limit)
        return Verdict(min(abs(far) / 2.0, 1.0), list(self.channels)[farthest], far)

    def _learn(self, values: NDArray[np.float64]) -> None:
        self._learning.append(values.tolist())
        if len(self._learning) < LEARN_ROWS:
            return
        rows = np.array(self._learning)
        self._mean = rows.mean(axis=0)
        farthest = np.zeros_like(self._mean)
        for row in rows:
            self._away += (row - self._mean - self._away) / SMOOTH_ROWS
            farthest = np.maximum(farthest, np.abs(self._away))
        least = SHARE * np.abs(self._mean) + 1e-12
        self._limit = np.maximum(self._times * farthest, least)
        self._learning = []

    def state(self) -> dict[str, Any]:
        """All that is remembered, as JSON can hold it: four numbers a channel, or the rows that are being learnt."""
        numbers = {name: getattr(self, f"_{name}").tolist() for name in ("mean", "limit", "away", "moved")}
        return {"channels": self.channels, "learning": self._learning, **numbers}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Take what state() gave. Raises ValueError for anything else, and leaves the pump as it was."""
        width = len(self.channels)
        try:
            if list(kept["channels"].items()) != list(self.channels.items()):
                raise ValueError(f"it is of the channels {kept['channels']}")
            four = np.array([kept[name] for name in ("mean", "limit", "away", "moved")], np.float64)
            learning = np.array(kept["learning"], np.float64).reshape(-1, width)
            whole = four.shape == (4, width) and np.isfinite(four).all() and np.isfinite(learning).all()
            learnt = bool((four[1] > 0).all()) and not len(learning)
            if not whole or len(learning) >= LEARN_ROWS or not (learnt or not four.any()):
                raise ValueError("its numbers do not fit together")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"kept state of a pump cannot be used: {error}; expected that of {self.channels}. It learns anew."
            ) from error
        self._learning = learning.tolist()
        self._mean, self._limit, self._away, self._moved = four
