"""A queue's day, snapshot by snapshot, and what earlier days say of it. Plain Python, sans-IO, minutes of the day.

Nothing here can look ahead: a Day knows only the snapshots it was shown, a Usual only whole days before.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple

FIRST_MIN, SLOT_MIN, SLOTS = 420, 30, 24
"""Slots of half an hour from 07:00 to 19:00; what is earlier or later counts to the first or the last."""

DAYS_MAX = 15
"""So many earlier days of a queue are kept, the newest."""

STALE_MIN = 20.0
"""Snapshots further apart leave open what happened between them: not counted as busy time."""

RATE, WAIT_MIN, OPENS_MIN, CLOSES_MIN = 0.1, 20.0, 500.0, 950.0
"""Calls a minute while people wait, wait, first and last call: of a queue of which nothing is known yet."""

SAME_WEEKDAY, A_DAY_OLDER = 3.0, 0.9
"""Earlier days count by these weights; the weekday matters because offices close later on one of them."""

_AROUND = (0.05, 0.25, 0.4, 0.25, 0.05)
_TRUST_MIN = 30.0
_TRUST_ASKED = 2.0


def slot(minute: float) -> int:
    return min(max(int(minute - FIRST_MIN) // SLOT_MIN, 0), SLOTS - 1)


@dataclass(frozen=True)
class Record:
    """What is kept of a queue's day. By slot: calls; busy_min and busy_calls, while somebody waited; asked: snapshots
    with people waiting whose next ticket was reached; waits, paces: sums over these of the wait and of the wait over
    (waiting + 1). counter_min: busy minutes times open counters. first, last: minute of the first and of the last call.
    """

    date: str
    weekday: int
    calls: tuple[int, ...]
    busy_min: tuple[float, ...]
    busy_calls: tuple[int, ...]
    asked: tuple[int, ...]
    waits: tuple[float, ...]
    paces: tuple[float, ...]
    counter_min: float
    first: float
    last: float


class Usual:
    """What earlier days say of a queue for a weekday: records, oldest first. With none it is the general figures."""

    def __init__(self, records: Sequence[Record], weekday: int) -> None:
        records = records[-DAYS_MAX:]
        newest = len(records) - 1
        weights = [
            (SAME_WEEKDAY if r.weekday == weekday else 1.0) * A_DAY_OLDER ** (newest - k) for k, r in enumerate(records)
        ]
        self.weight = sum(weights)

        def by_slot(name: str) -> list[float]:
            return [sum(w * getattr(r, name)[k] for w, r in zip(weights, records, strict=True)) for k in range(SLOTS)]

        busy_min, busy_calls = by_slot("busy_min"), by_slot("busy_calls")
        minutes, calls = sum(busy_min), sum(busy_calls)
        self.rate = (calls + 10 * RATE) / (minutes + 10)
        trust = _TRUST_MIN * max(self.weight, 1.0) ** 0.5
        self.rates = [
            (c + self.rate * trust) / (m + trust) for c, m in zip(_smooth(busy_calls), _smooth(busy_min), strict=True)
        ]
        counters = sum(w * r.counter_min for w, r in zip(weights, records, strict=True))
        self.per_counter = (calls + 10 * RATE) / (counters + 10)
        self.calls = [c / self.weight for c in by_slot("calls")] if records else [0.0] * SLOTS
        self._asked, self._waits, self._paces = by_slot("asked"), by_slot("waits"), by_slot("paces")
        asked = sum(self._asked)
        self.wait = (sum(self._waits) + WAIT_MIN) / (asked + 1)
        self.pace = (sum(self._paces) + 1 / self.rate) / (asked + 1)
        same = [r for r in records if r.weekday == weekday] or list(records)
        self.first = sum(r.first for r in same) / len(same) if same else OPENS_MIN
        self.last = sum(r.last for r in same) / len(same) if same else CLOSES_MIN
        self.latest = max((r.last for r in records), default=CLOSES_MIN)

    def around(self, minute: float) -> tuple[float, float]:
        """(mean wait, mean wait / (waiting + 1)) of who drew a ticket about this time; drawn to the day's mean."""
        k = slot(minute)
        near = [(j, w) for j, w in zip(range(k - 2, k + 3), _AROUND, strict=True) if 0 <= j < SLOTS]
        asked, waits, paces = (sum(w * of[j] for j, w in near) for of in (self._asked, self._waits, self._paces))
        trusted = asked + _TRUST_ASKED
        return (waits + self.wait * _TRUST_ASKED) / trusted, (paces + self.pace * _TRUST_ASKED) / trusted

    def until_called(self, minute: float, people: float) -> float:
        """Minutes until so many are called at the usual rates of the half hours to come."""
        at, left = minute, people
        for k in range(slot(minute), SLOTS - 1):
            end = FIRST_MIN + (k + 1) * SLOT_MIN
            can = self.rates[k] * max(end - at, 0.0)
            if left <= can:
                return at + left / self.rates[k] - minute
            left -= can
            at = max(at, float(end))
        return at + left / self.rates[-1] - minute

    def called_between(self, first: float, last: float) -> float:
        """How many are usually called between two minutes."""
        start = FIRST_MIN
        found = 0.0
        for calls in self.calls:
            found += calls * max(min(last, start + SLOT_MIN) - max(first, start), 0.0) / SLOT_MIN
            start += SLOT_MIN
        return found


class Done(NamedTuple):
    """A wait that has ended. asked: minute of the ticket; people: waiting + 1 then; expected_min: by Usual then."""

    asked: float
    ended: float
    wait_min: float
    people: int
    expected_min: float


class Day:
    """One queue's day so far. Lists by snapshot; gone, busy_* are running sums.

    drawn: the highest number drawn. gone: by how many `waiting` fell in all, called by number or not. busy_usual: calls
    that were to be expected in busy_min. steps: (snapshot, calls) where somebody was called.
    """

    def __init__(self, usual: Usual) -> None:
        self.usual = usual
        self.minutes: list[float] = []
        self.called: list[int] = []
        self.drawn: list[int] = []
        self.waiting: list[int] = []
        self.open: list[int] = []
        self.gone: list[int] = []
        self.busy_min: list[float] = []
        self.busy_calls: list[int] = []
        self.busy_usual: list[float] = []
        self.expected: list[float] = []
        self.steps: list[tuple[int, int]] = []
        self.done: list[Done] = []
        self.counter_min = 0.0
        self._pending: list[tuple[int, int]] = []

    def see(self, minute: float, open_counters: int, waiting: int, called: int) -> bool:
        """A snapshot. called: how many so far today, or the last number. One that is not later is not seen: False."""
        if self.minutes and minute <= self.minutes[-1]:
            return False
        called = max(called, self.called[-1]) if self.called else called
        step_min, step = (minute - self.minutes[-1], called - self.called[-1]) if self.minutes else (0.0, 0)
        fell = max(self.waiting[-1] - waiting, 0) if self.minutes else 0
        is_busy = bool(self.minutes) and self.waiting[-1] >= 1 and self.open[-1] >= 1 and step_min <= STALE_MIN
        usual_rate = self.usual.rates[slot(minute)]
        if is_busy:
            self.counter_min += step_min * self.open[-1]
        _add(self.gone, fell)
        _add(self.busy_min, step_min if is_busy else 0.0)
        _add(self.busy_calls, step if is_busy else 0)
        _add(self.busy_usual, usual_rate * step_min if is_busy else 0.0)
        self.minutes.append(minute)
        self.called.append(called)
        self.drawn.append(max(called + waiting, self.drawn[-1]) if self.drawn else called + waiting)
        self.waiting.append(waiting)
        self.open.append(open_counters)
        self.expected.append(self.usual.until_called(minute, waiting + 1))
        if step:
            self.steps.append((len(self.minutes) - 1, step))
            self._end_waits()
        heapq.heappush(self._pending, (called + waiting + 1, len(self.minutes) - 1))
        return True

    def _end_waits(self) -> None:
        ended = self.at(len(self.minutes) - 1)
        while self._pending and self._pending[0][0] <= self.called[-1]:
            _, i = heapq.heappop(self._pending)
            if self.waiting[i] >= 1:
                asked = self.minutes[i]
                self.done.append(Done(asked, ended, ended - asked, self.waiting[i] + 1, self.expected[i]))

    def with_last(self, minute: float, open_counters: int, waiting: int, called: int) -> Day:
        """This day as if that were its newest snapshot: for a moment between two. The day itself stays as it is."""
        other = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, list):
                setattr(other, name, list(value))
        if other.minutes and minute <= other.minutes[-1]:
            minute = other.minutes[-1] + 1 / 60
        other.see(minute, open_counters, waiting, called)
        return other

    def at(self, i: int) -> float:
        """About when the i-th snapshot became true: midway to the one before."""
        return (self.minutes[i] + self.minutes[i - 1]) / 2 if i else self.minutes[0]

    def since(self, span_min: float) -> int:
        """The first snapshot of the last span_min minutes."""
        return bisect_left(self.minutes, self.minutes[-1] - span_min)

    def record(self, date: str, weekday: int) -> Record | None:
        """The day when it is over; None when nobody was called."""
        if not self.steps:
            return None
        calls, busy_calls, asked = [0] * SLOTS, [0] * SLOTS, [0] * SLOTS
        busy_min, waits, paces = [0.0] * SLOTS, [0.0] * SLOTS, [0.0] * SLOTS
        for j in range(1, len(self.minutes)):
            k = slot(self.minutes[j])
            calls[k] += self.called[j] - self.called[j - 1]
            busy_min[k] += self.busy_min[j] - self.busy_min[j - 1]
            busy_calls[k] += self.busy_calls[j] - self.busy_calls[j - 1]
        for done in self.done:
            k = slot(done.asked)
            asked[k] += 1
            waits[k] += done.wait_min
            paces[k] += done.wait_min / done.people
        return Record(
            date, weekday, tuple(calls), tuple(busy_min), tuple(busy_calls), tuple(asked),
            tuple(round(w, 1) for w in waits), tuple(round(p, 2) for p in paces),
            self.counter_min, self.at(self.steps[0][0]), self.at(self.steps[-1][0]),
        )  # fmt: skip


def _add(sums: list, more: float) -> None:
    sums.append(sums[-1] + more if sums else more)


def _smooth(values: Sequence[float]) -> list[float]:
    return [
        sum(w * values[j] for j, w in zip(range(k - 2, k + 3), _AROUND, strict=True) if 0 <= j < SLOTS)
        for k in range(SLOTS)
    ]
