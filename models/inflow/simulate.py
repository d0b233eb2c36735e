"""The declared simulation: inflow of districts and buildings that never rest, and leaks put on top.

It is made of what is commonly known of water use (a day with two peaks, a week-end, a season, weather that stays for
some days, holidays, people who change their ways), each drawn widely; nothing is fitted to any data set.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


class Districts(NamedTuple):
    """flow: (steps, n), mean 1 without leaks. leak: (steps, n) bool, where one runs."""

    flow: Numbers
    leak: NDArray[np.bool_]


def districts(n: int, steps_per_day: int, days: int, dice: np.random.Generator, leaks: bool = True) -> Districts:
    """n districts; half of them, or none, with one or two leaks of 0.5-40 % of the mean flow, abrupt or growing."""
    flows, labels = [], []
    for number in range(n):
        flow = _use(steps_per_day, days, dice)
        label = np.zeros(len(flow), bool)
        for _ in range(dice.integers(1, 3) if leaks and number % 2 else 0):
            leak = _leak(len(flow), dice)
            label |= leak > 0
            flow = flow + leak
        flows.append(flow)
        labels.append(label)
    return Districts(np.stack(flows, axis=1), np.stack(labels, axis=1))


def _use(steps_per_day: int, days: int, dice: np.random.Generator) -> Numbers:
    """What people use, mean about 1: season x weather x the week's profile x noise of each step."""
    at_day = np.arange(days)
    weekdays, holiday = _day_shape(steps_per_day, dice), _day_shape(steps_per_day, dice)
    later = _day_shape(steps_per_day, dice)
    free = (at_day % 7 >= 5) | (dice.random(days) < 10 / 365)
    drift = dice.uniform(0.0, 0.15) * at_day[:, None] / 365  # people change their ways over the year
    shape = np.where(free[:, None], 0.6 * weekdays + 0.4 * holiday, weekdays) * (1 - drift) + later * drift
    phases, sizes = dice.uniform(0, 2 * np.pi, 2), dice.uniform(0.03, 0.15, 2)
    year = 2 * np.pi * at_day / 365
    season = 1 + sizes[0] * np.sin(year + phases[0]) + sizes[1] * np.sin(2 * year + phases[1])
    weather = np.zeros(days)
    sd = dice.uniform(0.003, 0.02)
    for day in range(1, days):
        weather[day] = 0.7 * weather[day - 1] + dice.normal(0, sd)
    noise = dice.lognormal(0, np.exp(dice.uniform(np.log(0.007), np.log(0.06))), (days, steps_per_day))
    return (shape * (season * (1 + weather))[:, None] * noise).ravel()


def _day_shape(steps_per_day: int, dice: np.random.Generator) -> Numbers:
    """One day, mean 1: a night at 0.15-0.5 of the day, a morning and an evening peak."""
    hour = np.arange(steps_per_day) * 24 / steps_per_day
    night = 1 / (1 + np.exp((hour - dice.uniform(5, 7)) * 2)) + 1 / (1 + np.exp((dice.uniform(22, 24) - hour) * 2))
    day = 1 - (1 - dice.uniform(0.15, 0.5)) * np.minimum(night, 1)
    for middle in (dice.uniform(7, 10), dice.uniform(17, 21)):
        day += dice.uniform(0.1, 0.8) * np.exp(-(((hour - middle) / dice.uniform(1, 2.5)) ** 2))
    return np.asarray(day / day.mean())


def _leak(steps: int, dice: np.random.Generator) -> Numbers:
    """From a random start, after the first month, for a week to half a year; half of them grow all the time."""
    start = dice.integers(steps // 12, steps - steps // 50)
    length = int(np.exp(dice.uniform(np.log(steps / 52), np.log(steps / 2))))
    size = np.exp(dice.uniform(np.log(0.005), np.log(0.4)))
    leak = np.zeros(steps)
    part = leak[start : start + length]
    part[:] = size * (np.linspace(0.001, 1, length)[: len(part)] if dice.random() < 0.5 else 1.0)
    return leak


def households(flat_days: Numbers, n: int, days: int, dice: np.random.Generator) -> Numbers:
    """Totals in litres, (days * 24 + 1, n), as a register of whole litres shows them, of households that are made up.

    flat_days: (m, 24) litres an hour, measured days of a real flat. Each household is one to four such flats, in
    weeks of days in a row, bigger or smaller, up to two hours earlier or later; twice a year nobody is in for one to
    three weeks.
    """
    totals = np.zeros((days * 24 + 1, n))
    for number in range(n):
        use = np.zeros((days, 24))
        for _ in range(dice.integers(1, 5)):
            starts = dice.integers(0, len(flat_days), days // 7 + 1)
            chosen = (starts[:, None] + np.arange(7)).ravel()[:days] % len(flat_days)
            use += np.roll(flat_days[chosen], dice.integers(-2, 3), axis=1) * dice.uniform(0.4, 1.5)
        for _ in range(2):
            away = dice.integers(0, days)
            use[away : away + dice.integers(7, 22)] = 0.0
        totals[1:, number] = np.cumsum(use.ravel())
    return np.floor(totals)


def read_with_holes(hours: int, dice: np.random.Generator) -> NDArray[np.bool_]:
    """Which hours of a register reach anybody, (hours,): spells of half a day to a day and a half, apart by holes.

    45-100 % of the hours are read, another share for each household; spells and holes are exponentially long.
    """
    share, spell_h = dice.uniform(0.45, 1.0), dice.uniform(12.0, 36.0)
    read = np.zeros(hours, bool)
    at, on = 0, True
    while at < hours:
        length = max(1, int(dice.exponential(spell_h if on else spell_h * (1 - share) / share)))
        read[at : at + length] = on
        at, on = at + length, not on
    return read


def whole_days(minutes_m3_s: Numbers) -> Numbers:
    """(m, 24) litres an hour of the days of a series of minutes of which nine tenths and each hour are measured."""
    by_hour = minutes_m3_s[: len(minutes_m3_s) // 1440 * 1440].reshape(-1, 24, 60)
    known = np.isfinite(by_hour)
    good = (known.mean(axis=(1, 2)) > 0.9) & known.any(axis=2).all(axis=1)
    hours = np.where(known, by_hour, 0.0).sum(axis=2) / np.maximum(known.sum(axis=2), 1) * 3600 * 1000
    return np.asarray(hours[good])
