"""Readings to minutes: the mean of each minute of the last hour, of every sensor that a model looks at.

A reading holds until the next one, at most HOLD_S, so a sensor must report at least every 60 s (`report.every_s`). A
minute with less than MINUTE_S of that is missing, which is not zero. When a window starts anew is said in
models/features.py (KNOWN_MIN, GAP_MIN).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from math import inf, isfinite, nan
from operator import mul, sub
from typing import Any

from models.features import GAP_MIN, KNOWN_MIN, WINDOW_MIN

HOLD_S = 90.0
MINUTE_S = 30.0
LATE_S = 5.0
"""A minute is closed this long after its end, so that readings under way still count."""
WAITING_ROWS_MAX = 4000
"""Rows taken together: a millisecond's work, so that an edge does not wait."""


class Window:
    """The last WINDOW_MIN minutes of one sensor, and the minute under way. Minutes are those of the boot's clock.

    least: what is below counts as this.
    """

    __slots__ = ("area", "at_s", "covered_s", "end_s", "least", "minutes", "read_s", "silent_min", "value")

    def __init__(self, least: float) -> None:
        self.least = least
        self.minutes: deque[float] = deque(maxlen=WINDOW_MIN)
        self.end_s = -1.0  # of the minute under way; before the first reading: none
        self.value = nan
        self.read_s = self.at_s = 0.0
        self.area = self.covered_s = 0.0
        self.silent_min = 0

    def start(self, mono_s: float) -> None:
        self.end_s = (mono_s // 60 + 1) * 60
        self.at_s = mono_s
        self.area = self.covered_s = 0.0
        self.silent_min = 0

    def hold(self, to_s: float) -> None:
        """Let the last value count until to_s, which lies in the minute under way."""
        held_s = min(to_s, self.read_s + HOLD_S) - self.at_s
        if held_s > 0:
            self.area += self.value * held_s
            self.covered_s += held_s
        self.at_s = to_s

    def close(self, to_s: float) -> None:
        """Close every minute that ends by to_s."""
        while self.end_s <= to_s:
            self.hold(self.end_s)
            mean = self.area / self.covered_s if self.covered_s >= MINUTE_S else nan
            known = isfinite(mean)  # a reading that is no number makes its minute a missing one
            self.minutes.append(max(mean, self.least) if known else nan)
            self.silent_min = 0 if known else self.silent_min + 1
            self.area = self.covered_s = 0.0
            self.end_s += 60
            if self.silent_min > GAP_MIN:
                self.minutes.clear()

    def feed(self, value: float, mono_s: float) -> None:
        held_s = mono_s - self.at_s
        if held_s < 0.0:
            return
        if mono_s < self.end_s and mono_s - self.read_s <= HOLD_S:  # nearly always
            self.area += self.value * held_s
            self.covered_s += held_s
            self.at_s = mono_s
        elif self.end_s < 0:
            self.start(mono_s)
        else:
            self.close(mono_s)
            self.hold(mono_s)
        self.value = value
        self.read_s = mono_s

    def feed_all(self, values: list[float], monos_s: list[float]) -> None:
        """feed() for each, in order; at once where all lie within the minute under way and hold until the next."""
        held_s = [monos_s[0] - self.at_s, *map(sub, monos_s[1:], monos_s)]
        if min(held_s) < 0.0 or monos_s[0] - self.read_s > HOLD_S or monos_s[-1] >= self.end_s:
            for value, mono_s in zip(values, monos_s, strict=True):
                self.feed(value, mono_s)
            return
        self.area += sum(map(mul, (self.value, *values), held_s))
        self.covered_s += monos_s[-1] - self.at_s
        self.value = values[-1]
        self.at_s = self.read_s = monos_s[-1]

    def ready(self) -> bool:
        if not self.minutes or self.minutes[-1] != self.minutes[-1]:
            return False
        return sum(minute == minute for minute in self.minutes) >= KNOWN_MIN

    def padded(self) -> list[float]:
        return [nan] * (WINDOW_MIN - len(self.minutes)) + list(self.minutes)

    def mean(self, minutes: int) -> float:
        """Of the last so many minutes, as far as they were measured. NaN: less than half of them were."""
        known = [minute for minute in islice(reversed(self.minutes), minutes) if minute == minute]
        return sum(known) / len(known) if 2 * len(known) >= minutes else nan


class Windows:
    """Those of some sensors. What comes in columns waits until somebody asks, and is taken for each sensor at once.

    least: see Window; 0 for water, since what runs back is no leak.
    """

    def __init__(self, sensors: Iterable[str], least: float) -> None:
        self.of = {sensor: Window(least) for sensor in sensors}
        self._waiting: list[tuple[Sequence[str], Sequence[float], Sequence[float]]] = []
        self.rows_waiting = 0

    def feed(self, sensor: str, value: float, mono_s: float) -> None:
        """Take a reading in order of time per sensor. Older than what is already counted: left out."""
        if self._waiting:
            self.take_waiting()
        window = self.of.get(sensor)
        if window:
            window.feed(value, mono_s)

    def run(self, sensors: Sequence[str], values: Sequence[float], monos_s: Sequence[float]) -> None:
        """feed() for each row, later: with what else comes before somebody asks, and so for each sensor at once."""
        self._waiting.append((sensors, values, monos_s))
        self.rows_waiting += len(sensors)
        if self.rows_waiting >= WAITING_ROWS_MAX:
            self.take_waiting()

    def take_waiting(self) -> None:
        found: dict[str, tuple[list[float], list[float]]] = {sensor: ([], []) for sensor in self.of}
        for sensors, values, monos_s in self._waiting:
            for sensor, value, mono_s in zip(sensors, values, monos_s, strict=True):
                if into := found.get(sensor):
                    into[0].append(value)
                    into[1].append(mono_s)
        self._waiting, self.rows_waiting = [], 0
        for sensor, (of_sensor, when_s) in found.items():
            if of_sensor:
                self.of[sensor].feed_all(of_sensor, when_s)

    def close(self, ended_s: float) -> None:
        """Take what waits, and close the minutes that have ended."""
        self.take_waiting()
        for window in self.of.values():
            if window.end_s > 0:
                window.close(ended_s)

    def restore(self, state: Mapping[str, Any], mono_s: float) -> None:
        """Take {sensor: {"end_s", "minutes"}} in times of this boot's clock: build.py makes them of the history.

        Left out: sensors no longer watched, windows that end after mono_s or lack more than their last GAP_MIN minutes,
        and what does not have the right form.
        """
        for sensor, kept in state.items():
            window = self.of.get(sensor)
            if window is None or not _is_window(kept) or kept["end_s"] > mono_s:
                continue
            silent_min = next((n for n, m in enumerate(reversed(kept["minutes"])) if m is not None), WINDOW_MIN)
            if silent_min > GAP_MIN:
                continue
            window.start(kept["end_s"])
            window.minutes.extend(nan if minute is None else max(window.least, minute) for minute in kept["minutes"])
            window.silent_min = silent_min
            window.read_s = -inf  # the value in force was not kept: nothing is held


def _is_window(kept: object) -> bool:
    if not isinstance(kept, dict) or not isinstance(kept.get("end_s"), (int, float)):
        return False
    minutes = kept.get("minutes")
    return isinstance(minutes, list) and all(
        minute is None or (isinstance(minute, (int, float)) and isfinite(minute)) for minute in minutes
    )
