"""A flow that never rests, against its own week: how much runs besides what people use.

Use is taken as s times the week's profile p (a busier season scales all hours), a leak as an amount L on top that does
not follow the hours: x(t) = s p(t) + L. Both are fitted by least squares over the last day or two, forgetting
exponentially; x / p is fitted, because people's noise grows with their use. The leak is L beyond its usual value, in
units of its usual scatter. That tells a leak from a season, which a threshold on the night's minimum cannot.

n sensors go in step. Memory: one week of profile and a dozen numbers a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

PROFILE_FLOOR = 0.02
"""No hour of the profile counts as less than this share of the mean: x / p must stay finite."""
MEAN_MIN = 1e-12
"""A sensor that measured nothing but zero for a week still has a mean to divide by."""
FIT_MIN, FIT_DAYS = 1e-6, 0.5
"""Below this determinant, or with less than so many days, the hours are too alike to tell L from s: s is held."""
CLIP = 3.0
"""One step moves usual value and scatter by at most this many scatters, so that a burst does not become usual."""
ENDED_SHARE, ENDED_DAYS, ENDED_MAX = 0.5, 365, 6
"""Each leak that ended raises the limit of its sensor by this share, forgotten within about a year: a flow that changes
its ways alarms once or twice and not each week."""
GONE_SHARE = 0.35
"""A leak has ended when the excess over the expected use is below this share of what it was,"""
GONE_NOISES = 2.6
"""and was so many times the noise of one step: the mean of some steps then falls below the share once in 30,000."""


@dataclass(frozen=True)
class ProfileConstants:
    """memory_days: of the fit. scatters: beyond which L is a leak; half of it ends one. hold_steps: in a row.
    usual_days: memory of the usual L and its scatter. weeks: memory of the profile. learn_days: before the first alarm.
    scatter_min: of L, share of the mean flow; no meter repeats better. noise_max: relative scatter of single steps
    above which a flow has no profile and this channel is silent.
    """

    memory_days: float
    scatters: float
    hold_steps: int
    usual_days: float
    weeks: float
    learn_days: int
    scatter_min: float
    noise_max: float


class Profile:
    """step() takes one flow a sensor (any unit, NaN missing) and tells which leak. All arrays are float (n,)."""

    def __init__(self, sensors: int, steps_per_day: int, constants: ProfileConstants) -> None:
        self._c = constants
        self._day = steps_per_day
        self._steps = 0
        self._age = np.zeros(sensors)  # steps since the first value
        self._week = np.full((7 * steps_per_day, sensors), np.nan)
        self._mean = np.full(sensors, np.nan)
        self._weights = np.zeros((3, sensors))  # sums of 1, u, u u over the fit, u = mean / profile
        self._values = np.zeros((2, sensors))  # sums of q, u q, q = flow / profile
        self._noise = np.full(sensors, np.nan)
        self._usual = np.zeros(sensors)
        self._scatter = np.full(sensors, np.nan)
        self._calm_steps = np.zeros(sensors)
        self._level = np.ones(sensors)  # s before the leak
        self._excess = np.zeros(sensors)
        self._size = np.zeros(sensors)
        self._over_steps = np.zeros(sensors)
        self._ended = np.zeros(sensors)
        self.leak = np.zeros(sensors, bool)
        self.z = np.zeros(sensors)
        """L beyond the usual, in scatters."""
        self.beyond = np.full(sensors, np.nan)
        """The same, in the unit of the flow."""

    def step(self, flow: Numbers) -> Flags:
        """Take the next step's flow, (n,); which sensors leak, as far as this channel sees."""
        at = self._steps % len(self._week)
        self._steps += 1
        self._age += (self._age > 0) | np.isfinite(flow)
        young = self._age <= len(self._week)
        self._week[at, young] = flow[young]
        self._begin(self._age == len(self._week))
        known = np.isfinite(flow) & np.isfinite(self._week[at]) & ~young
        use = np.where(known, self._week[at], 1.0)
        q, u = np.where(known, flow, 0.0) / use, np.where(known, self._mean, 1.0) / use
        level, beyond, error = self._fit(known, q, u)
        self.beyond = beyond * self._mean
        self.z = beyond / np.hypot(np.fmax(self._scatter, self._c.scatter_min), error)
        self._judge(known, (q - self._level) / u - self._usual, beyond, self._noise / u)
        calm = ~self.leak & (self.z < self.limit() / 2)
        self._follow(known & calm, level, beyond)
        self._learn(at, flow, calm & ~young, level)
        return self.leak

    def _begin(self, now: Flags) -> None:
        """A sensor's first week from its first value on is its first profile; hours that are missing come later."""
        if not now.any():
            return
        week = self._week[:, now]
        known = np.isfinite(week)
        mean = np.where(known, week, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        self._mean[now] = np.maximum(mean, MEAN_MIN)
        self._week[:, now] = np.maximum(week, PROFILE_FLOOR * self._mean[now])

    def _fit(self, known: Flags, q: Numbers, u: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """(s, L beyond the usual, standard error of L), L in shares of the mean flow."""
        keep = np.where(known, 1.0 - 1.0 / (self._c.memory_days * self._day), 1.0)
        one = known.astype(float)
        self._weights = keep * self._weights + np.stack((one, one * u, one * u * u))
        self._values = keep * self._values + np.stack((one * q, one * q * u))
        n, a, b = self._weights
        det = n * b - a * a
        fits = (n > FIT_DAYS * self._day) & (det > FIT_MIN)
        det = np.where(fits, det, 1.0)
        leak = np.where(fits, (n * self._values[1] - a * self._values[0]) / det, 0.0)
        level = np.where(fits, (b * self._values[0] - a * self._values[1]) / det, self._level)
        off = np.abs(q - level - leak * u)
        memory = 1.0 / np.clip(self._age - len(self._week), 1, self._c.usual_days * self._day)
        moved = np.where(np.isnan(self._noise), off, self._noise + memory * (1.25 * off - self._noise))
        self._noise = np.where(known & ~self.leak, moved, self._noise)
        error = np.where(fits & np.isfinite(self._noise), self._noise * np.sqrt(n / det), np.inf)
        return level, leak - self._usual, error

    def _judge(self, known: Flags, excess: Numbers, beyond: Numbers, noise: Numbers) -> None:
        """Begin and end leaks. A big one ends when the excess over the level from before it is gone, within steps; one
        that noise could hide for that long, when the fit says so. noise: of this step's excess.
        """
        c = self._c
        self._ended *= 1.0 - 1.0 / (ENDED_DAYS * self._day)
        limit = self.limit()
        armed = (self._noise < c.noise_max) & (self._age > c.learn_days * self._day)
        self._over_steps = np.where(known & (self.z > limit), self._over_steps + 1, self._over_steps * ~known)
        self._excess = np.where(known, 0.7 * self._excess + 0.3 * excess, self._excess)
        self._size = np.where(self.leak, self._size + (beyond - self._size) * 2 / self._day, beyond)
        gone = self.leak & known & (self._excess < GONE_SHARE * self._size) & (self._size > GONE_NOISES * noise)
        over = known & (gone | (self.z < limit / 2))
        self._ended = np.minimum(self._ended + (self.leak & over), ENDED_MAX)
        self.leak = (self.leak & ~over) | (armed & (self._over_steps >= c.hold_steps) & ~over)
        self._over_steps[gone] = 0
        self._weights[:, gone] *= 0.02  # what was measured during the leak says nothing of now
        self._values[:, gone] *= 0.02

    def limit(self) -> Numbers:
        """How many scatters are a leak: more where some came and went by themselves."""
        return self._c.scatters * (1.0 + ENDED_SHARE * self._ended)

    def _follow(self, calm: Flags, level: Numbers, beyond: Numbers) -> None:
        """Let the usual L, its scatter and the level follow, slowly, while there is no leak."""
        self._calm_steps += calm
        pace = 1.0 / np.clip(self._calm_steps, 1, self._c.usual_days * self._day)
        first = np.isnan(self._scatter)
        scatter = np.where(first, np.abs(beyond) + 2 * self._c.scatter_min, self._scatter)
        moved = np.clip(beyond, -CLIP * scatter, CLIP * scatter)
        self._usual = np.where(calm, self._usual + pace * moved, self._usual)
        spread = scatter + np.where(first, 0.0, pace * (1.25 * np.abs(moved) - scatter))
        self._scatter = np.where(calm, spread, self._scatter)
        self._level = np.where(self.leak, self._level + (level - self._level) / self._day, level)

    def _learn(self, at: int, flow: Numbers, calm: Flags, level: Numbers) -> None:
        """Let the profile's hour follow; one that was never measured takes the first value there is."""
        hour = self._week[at]
        share = np.maximum(1.0 / self._c.weeks, 1.0 / (1 + self._age // len(self._week)))
        follows = hour + share * (flow / np.maximum(level, 0.1) - hour)
        seen = np.where(np.isfinite(hour), follows, flow)
        learnt = np.maximum(seen, PROFILE_FLOOR * self._mean)
        self._week[at] = np.where(calm & np.isfinite(flow), learnt, hour)
