"""Readings of a meter's register to hourly mean flows, as a gateway would see them arrive."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

SPREAD_H = 6
"""A reading that comes up to so many hours after the one before is spread over them evenly; a longer gap is missing.
The mean of a stretch is never below its quietest part, so this hides leaks rather than invents rest."""


def hourly(time_s: Numbers, register: Numbers, per_hour_max: float) -> Numbers:
    """Mean flow of each hour from the first reading on, in units of the register an hour; NaN not known.

    time_s: seconds, rising; register: total so far, same length (n,). A step back, or more than per_hour_max (a swapped
    or a broken meter: give what the meter can pass), is missing. An hour is that of a reading's time, rounded.
    """
    slot = np.round((time_s - time_s[0]) / 3600).astype(int)
    flow = np.full(slot[-1] + 1, np.nan)
    hours = np.diff(time_s) / 3600
    rate = np.diff(register) / np.maximum(hours, 1e-9)
    for i in np.flatnonzero((hours > 0.5) & (hours < SPREAD_H + 0.5) & (rate >= 0) & (rate <= per_hour_max)):
        flow[slot[i] + 1 : slot[i + 1] + 1] = rate[i]
    return flow
