"""A flow that rests now and then: does it still?

In most days of a flat, a fixture or a small building there is a quiet stretch, an hour or two without use or with as
little as ever. The floor is the lowest mean flow of any such stretch in the last days that were measured. A leak is a
floor above every floor of the last weeks: for days not one stretch was as quiet as there was always one before. It
knows no clock, so it asks for no night; a shop that works at night is quiet by day.

Days are measured ones: a quiet hour may lie in a hole, so what nobody measured takes no part, and the days go back
over it.

n sensors go in step. Memory: the days of the floor by steps and `usual_days` numbers a sensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

FORGET_TIMES = 2
"""After a silence of so many times `days` what was measured before it says nothing about now."""


@dataclass(frozen=True)
class FloorConstants:
    """stretch_h: length of a quiet stretch. days: how long none came, measured. usual_days, usual_min: daily floors
    remembered, and needed before the first alarm. above_share: of the highest of them, and peak_share: of the usual
    day's highest step, by which a floor is above. ended_days: how long a floor that came and went counts as usual.
    """

    stretch_h: float
    days: float
    usual_days: int
    usual_min: int
    above_share: float
    peak_share: float
    ended_days: int


class Floor:
    """step() takes one flow a sensor (any unit, NaN missing) and tells which leak. All arrays are float (n,)."""

    def __init__(self, sensors: int, steps_per_day: int, constants: FloorConstants) -> None:
        self._c = constants
        self._day = steps_per_day
        self._steps = 0
        self._last = np.full((max(1, round(constants.stretch_h * steps_per_day / 24)), sensors), np.nan)
        self._stretches = np.full((round(constants.days * steps_per_day), sensors), np.nan)
        self._at = np.zeros(sensors, np.intp)  # of each sensor, where its next stretch goes
        self._silent = np.zeros(sensors)  # steps since its last one
        self._floors = np.full((constants.usual_days, sensors), np.nan)
        self._peaks = np.full((constants.usual_days, sensors), np.nan)
        self._peak = np.full(sensors, np.nan)
        self._ended = np.zeros(sensors)
        self._ended_days = np.zeros(sensors)
        self._top = np.zeros(sensors)
        self.leak = np.zeros(sensors, bool)
        self.floor = np.full(sensors, np.nan)
        """Lowest stretch of the last measured days, in the unit of the flow; NaN not known."""
        self.usual = np.zeros(sensors)
        """The highest floor of the last weeks, in the unit of the flow."""
        self.limit = np.full(sensors, np.nan)
        """The floor that is a leak; NaN, which nothing reaches, while too few days are known."""

    def step(self, flow: Numbers) -> Flags:
        """Take the next step's flow, (n,); which sensors leak, as far as this channel sees."""
        self._last[self._steps % len(self._last)] = flow
        self._peak = np.fmax(self._peak, flow)
        self._steps += 1
        comes = self._last.mean(axis=0)
        self._take(comes)
        whole = np.isfinite(self._stretches).all(axis=0)
        self.floor = np.where(whole, np.fmin.reduce(self._stretches), np.nan)
        back = np.arange(1, self._day + 1)[:, None]
        today = np.fmin.reduce(self._stretches[(self._at - back) % len(self._stretches), np.arange(len(flow))])
        begins = ~self.leak & (self.floor >= self.limit) & np.isfinite(comes)
        self._top = np.fmax(np.where(begins, 0.0, self._top), self.floor)
        ends = self.leak & (today < self.limit)
        self._ended = np.where(ends, np.fmax(self._ended, self._top), self._ended)
        self._ended_days[ends] = 0
        self.leak = (self.leak | begins) & ~ends
        if self._steps % self._day == 0:
            self._close_day()
        return self.leak

    def _take(self, comes: Numbers) -> None:
        """The stretch that has just ended, of the sensors that measured all of it."""
        known = np.flatnonzero(np.isfinite(comes))
        self._stretches[self._at[known], known] = comes[known]
        self._at[known] = (self._at[known] + 1) % len(self._stretches)
        self._silent += 1
        self._silent[known] = 0
        self._stretches[:, self._silent == FORGET_TIMES * len(self._stretches)] = np.nan

    def _close_day(self) -> None:
        """Once a day: what was quiet today is usual from now on, unless a leak runs."""
        self._ended_days += 1
        self._ended[self._ended_days > self._c.ended_days] = 0.0
        learns = ~self.leak & np.isfinite(self.floor) & (self._silent < self._day)
        for ring, value in ((self._floors, self.floor), (self._peaks, self._peak)):
            ring[:, learns] = np.concatenate((ring[1:, learns], value[None, learns]))
        self._peak = np.full(len(self._peak), np.nan)
        enough = np.isfinite(self._floors).sum(axis=0) >= self._c.usual_min
        usual = np.fmax(np.where(np.isfinite(self._floors), self._floors, 0.0).max(axis=0), self._ended)
        peak = np.sort(np.where(np.isfinite(self._peaks), self._peaks, 0.0), axis=0)[-2]  # one wild value is no peak
        above = np.maximum(self._c.above_share * usual, self._c.peak_share * peak)
        limit = np.where(enough & (peak > 0), usual + above, np.nan)
        self.limit = np.where(self.leak, self.limit, limit)
        self.usual = np.where(self.leak, self.usual, usual)
