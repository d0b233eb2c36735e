"""Windows to scores: what the models think of the last hour of each sensor.

Sans-IO and cheap: feed() takes every reading of a watched sensor, tick() scores all of them in one run once a minute.

What is known of a minute: a reading holds until the next one, at most HOLD_S, so a sensor must report at least every
60 s (`report.every_s`). A minute with less than MINUTE_S of that is missing, which is not zero. Which windows are
scored, and when one starts anew, is said in models/features.py (KNOWN_MIN, GAP_MIN).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from math import inf, isfinite, nan
from operator import mul, sub
from typing import Any, Protocol

from models.features import GAP_MIN, KNOWN_MIN, WINDOW_MIN
from models.package import load_models
from models.session import ModelError

HOLD_S = 90.0
MINUTE_S = 30.0
LATE_S = 5.0
"""A minute is closed this long after its end, so that readings under way still count."""
WAITING_ROWS_MAX = 4000
"""Rows taken together: a millisecond's work, so that an edge does not wait."""


class Scorer(Protocol):
    """A model as models.package loads it."""

    @property
    def name(self) -> str: ...

    def score(self, windows: Sequence[Sequence[float]], /) -> list[float]: ...


class _Window:
    """The last WINDOW_MIN minutes of one sensor, and the minute under way. Minutes are those of the boot's clock."""

    __slots__ = ("area", "at_s", "covered_s", "end_s", "minutes", "read_s", "silent_min", "value")

    def __init__(self) -> None:
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
            self.minutes.append(max(mean, 0.0) if known else nan)  # water that runs back is no leak
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


class Detector:
    """One model over the flow of some sensors.

    model: None when there is nothing to watch or the model could not be loaded (`fault` then says why).
    sensors: ids of flow sensors, m3/s.
    fault: empty, or the one reason why there are no scores. Nothing here raises: acquisition goes on.
    """

    def __init__(self, model: Scorer | None, sensors: Iterable[str], fault: str = "") -> None:
        self._model = model
        self._windows = {sensor: _Window() for sensor in sensors}
        self._scores: dict[str, float] = {}
        self._due_s = -1.0
        self._waiting: list[tuple[Sequence[str], Sequence[float], Sequence[float]]] = []
        self.rows_waiting = 0
        self.fault = fault

    @classmethod
    def from_models(cls, wanted: Mapping[str, Iterable[str]]) -> Detector:
        """{"water-leak": ["basement/main/flow"]} to a detector; {} loads neither numpy nor onnxruntime (40 MB).

        A model that cannot be loaded leaves a detector that only has a `fault`. `linli check` calls
        models.package.load_models itself, which raises.
        """
        if not wanted:
            return cls(None, ())
        try:
            if len(wanted) > 1:
                raise ModelError(
                    f"The site names the models {', '.join(wanted)}. A detector runs one. "
                    "Keep one name behind `model:` in the site file."
                )
            models = load_models(wanted)
        except ModelError as error:
            return cls(None, (), fault=str(error))
        ((name, sensors),) = wanted.items()
        return cls(models[name], sensors)

    def feed(self, sensor: str, value: float, mono_s: float) -> None:
        """Take a reading, m3/s, in order of time per sensor. Older than what is already counted: left out."""
        if self._waiting:
            self._take_waiting()
        window = self._windows.get(sensor)
        if window:
            window.feed(value, mono_s)

    def run(self, sensors: Sequence[str], values: Sequence[float], monos_s: Sequence[float]) -> None:
        """feed() for each row, later: with what else comes before somebody asks, and so for each sensor at once."""
        self._waiting.append((sensors, values, monos_s))
        self.rows_waiting += len(sensors)
        if self.rows_waiting >= WAITING_ROWS_MAX:
            self._take_waiting()

    def _take_waiting(self) -> None:
        found: dict[str, tuple[list[float], list[float]]] = {sensor: ([], []) for sensor in self._windows}
        for sensors, values, monos_s in self._waiting:
            for sensor, value, mono_s in zip(sensors, values, monos_s, strict=True):
                if into := found.get(sensor):
                    into[0].append(value)
                    into[1].append(mono_s)
        self._waiting, self.rows_waiting = [], 0
        for sensor, (of_sensor, when_s) in found.items():
            if of_sensor:
                self._windows[sensor].feed_all(of_sensor, when_s)

    def tick(self, mono_s: float) -> dict[str, float]:
        """Once a minute, LATE_S after its end: score all windows that are ready. Otherwise {} at once."""
        if mono_s < self._due_s or self._model is None:
            return {}
        self._take_waiting()
        ended_s = (mono_s - LATE_S) // 60 * 60
        self._due_s = ended_s + 60 + LATE_S
        for window in self._windows.values():
            if window.end_s > 0:
                window.close(ended_s)
        due = [sensor for sensor, window in self._windows.items() if window.ready()]
        self._scores = self._score(self._model, due) if due else {}
        return dict(self._scores)

    def score(self, sensor: str) -> float | None:
        """The sensor's score of the last minute, 0 to 1; None when its window is not ready or the model is out."""
        return self._scores.get(sensor)

    def _score(self, model: Scorer, due: list[str]) -> dict[str, float]:
        try:
            scores = model.score([self._windows[sensor].padded() for sensor in due])
            bad = [score for score in scores if not 0.0 <= score <= 1.0]
            if bad or len(scores) != len(due):
                raise ModelError(
                    f"The model answered {bad[0] if bad else f'{len(scores)} scores for {len(due)} windows'}. "
                    "Expected one score from 0 to 1 a window. Install the model again."
                )
        except ModelError as error:
            self._model = None
            self.fault = f"The model {model.name} is taken out: {error}"
            return {}
        return dict(zip(due, scores, strict=True))

    def state(self) -> dict[str, Any]:
        """The windows as JSON-able data, without the minute under way. None is a missing minute."""
        self._take_waiting()
        return {
            sensor: {
                "end_s": window.end_s - 60,
                "m3_s": [minute if minute == minute else None for minute in window.minutes],
            }
            for sensor, window in self._windows.items()
            if window.minutes
        }

    def restore(self, state: Mapping[str, Any], mono_s: float) -> None:
        """Take windows as state() gives them, in times of this boot's clock: build.py makes them of the history.

        Left out: sensors no longer watched, windows that end after mono_s or lack more than their last GAP_MIN minutes,
        and what does not have the right form.
        """
        for sensor, kept in state.items():
            window = self._windows.get(sensor)
            if window is None or not _is_window(kept) or kept["end_s"] > mono_s:
                continue
            silent_min = next((n for n, m in enumerate(reversed(kept["m3_s"])) if m is not None), WINDOW_MIN)
            if silent_min > GAP_MIN:
                continue
            window.start(kept["end_s"])
            window.minutes.extend(nan if minute is None else max(0.0, minute) for minute in kept["m3_s"])
            window.silent_min = silent_min
            window.read_s = -inf  # the value in force was not kept: nothing is held


def _is_window(kept: object) -> bool:
    if not isinstance(kept, dict) or not isinstance(kept.get("end_s"), (int, float)):
        return False
    minutes = kept.get("m3_s")
    return isinstance(minutes, list) and all(
        minute is None or (isinstance(minute, (int, float)) and isfinite(minute)) for minute in minutes
    )
