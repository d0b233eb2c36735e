"""Models that learn from the sensor itself and look at one mean a row: `generic` (5 min) and `inflow` (30 min).

Sans-IO. Rows are those of the wall, because a day's hours are a calendar matter: while nobody has known the time since
the start, no row is made. What was learnt is kept about once an hour, so a restart loses an hour of learning at most;
the rows nobody saw are missing ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from math import isnan, nan
from typing import Any, NamedTuple, Protocol

from gateway.contract import Json
from gateway.windows import LATE_S, Windows

log = logging.getLogger(__name__)

KEEP = "model:"
DAY_S = 86_400
KEEP_EVERY_S = 3600
GAP_S_MAX = 28 * DAY_S
"""After a longer time that nobody saw, what was learnt is of another time: it starts anew."""
ROWS_AT_ONCE = 4
"""Rows that are made up for in one tick, so that a long gap holds nobody up."""


class Learner(Protocol):
    """Some sensors, told apart by their place in the list they were made with."""

    row_s: int
    version: str

    def step(self, means: list[float], row: int) -> list[float]:
        """Take the means of a row, NaN where nobody measured; the scores, 0 to 1, NaN for none."""
        ...

    def because(self, sensor: int) -> list[Json]: ...

    def state(self) -> Any: ...

    def restore(self, sensors: Sequence[str], state: Any) -> None:
        """Take the state of these sensors. Raises ValueError, and then all start anew."""
        ...


class Generic:
    """models.generic behind the door that all learners share."""

    def __init__(self, sensors: Sequence[str]) -> None:
        from models.generic.step import FEATURES, ROW_S, Channels
        from models.package import MODELS, read_manifest

        self.version: str = read_manifest(MODELS / "generic", {"version": str, "sha256": dict})["version"]
        self.row_s = ROW_S
        self._features = FEATURES
        self._sensors = list(sensors)
        self._channels = Channels(len(sensors))
        self._found: list[tuple[int, float]] = [(0, nan)] * len(sensors)
        self._since: list[tuple[int, float]] = list(self._found)

    def step(self, means: list[float], row: int) -> list[float]:
        scores = self._channels.step(means, row * self.row_s % DAY_S / DAY_S)
        self._found = list(zip(scores.feature.tolist(), scores.times.tolist(), strict=True))
        for at, new in enumerate(scores.novel.tolist()):
            if new > 0.0:  # what stands is what was found when it was new
                self._since[at] = self._found[at]
        standing: list[float] = scores.standing.tolist()
        return standing

    def because(self, sensor: int) -> list[Json]:
        feature, times = self._since[sensor]
        return [] if isnan(times) else [{"what": self._features[feature], "far": round(times, 3)}]

    def state(self) -> Any:
        return [self._channels.state(at) for at in range(len(self._sensors))]

    def restore(self, sensors: Sequence[str], state: Any) -> None:
        if not isinstance(state, list) or len(state) != len(sensors):
            raise ValueError(f"state of {len(state) if isinstance(state, list) else 'no'} sensors")
        for at, sensor in enumerate(self._sensors):
            if sensor in sensors:
                self._channels.restore(at, state[sensors.index(sensor)])


class InflowRows:
    """models.inflow behind the same door."""

    def __init__(self, sensors: Sequence[str]) -> None:
        from models.inflow.step import Inflow, constants

        self.row_s = 1800
        given = constants()
        self.version = given.version
        self._sensors = list(sensors)
        self._inflow = Inflow(sensors, DAY_S // self.row_s, given)

    def step(self, means: list[float], row: int) -> list[float]:
        self._inflow.step(means)
        scores = self._inflow.scores().tolist()
        return [nan if isnan(mean) else score for mean, score in zip(means, scores, strict=True)]

    def because(self, sensor: int) -> list[Json]:
        found = self._inflow.evidence(self._sensors[sensor])
        return [{"what": one.channel, "far": round(one.found / one.limit, 3)} for one in found if one.limit > 0]

    def state(self) -> Any:
        return self._inflow.state()

    def restore(self, sensors: Sequence[str], state: Any) -> None:
        if not isinstance(state, dict) or not self._inflow.restore({**state, "sensors": list(sensors)}):
            raise ValueError("state of another form")


LEARNERS: dict[str, Callable[[Sequence[str]], Learner]] = {"generic": Generic, "inflow": InflowRows}


class _Kept(NamedTuple):
    row: int
    sensors: list[str]
    version: str
    state: Any


class Rows:
    """One learner over the sensors that name it. keep: takes what must survive a restart; kept: what did."""

    def __init__(
        self, name: str, sensors: Sequence[str], kept: Mapping[str, object], keep: Callable[[str, object], None]
    ) -> None:
        self.name = name
        self.sensors = list(sensors)
        self.fault = ""
        self.windows = Windows(sensors, least=0.0 if name == "inflow" else float("-inf"))
        self._keep = keep
        self._learner = LEARNERS[name](self.sensors)
        self.version = self._learner.version
        self.scored = self.sensors
        self._row: int | None = None
        self._offset_s: float | None = None
        self._scores: dict[str, float] = {}
        self._take_up(kept.get(KEEP + name))

    def _take_up(self, value: object) -> None:
        if value is None:
            return
        try:
            kept = _Kept(*value)  # type: ignore[misc]
            if not isinstance(kept.row, int) or kept.version != self.version:
                raise ValueError(f"of version {kept.version}")
            self._learner.restore(kept.sensors, kept.state)
            self._row = kept.row
        except (TypeError, ValueError, AttributeError) as error:
            log.warning("what the model %s had learnt cannot be taken up (%s): it learns anew", self.name, error)
            self._learner = LEARNERS[self.name](self.sensors)

    def learn_anew(self, sensor: str) -> None:
        """As if it had never been seen. The others go on."""
        others = ["" if each == sensor else each for each in self.sensors]
        state = self._learner.state()
        self._learner = LEARNERS[self.name](self.sensors)
        self._learner.restore(others, state)
        self._scores.pop(sensor, None)
        if self._row is not None:
            self._save(self._row)

    def _save(self, row: int) -> None:
        self._keep(KEEP + self.name, list(_Kept(row, self.sensors, self.version, self._learner.state())))

    def looks_at(self, sensor: str) -> list[str]:
        """The sensors behind what is scored: itself."""
        return [sensor]

    def row_min(self, sensor: str) -> float:
        """Minutes that a score stands for."""
        return self._learner.row_s / 60

    def feed(self, sensor: str, value: float, mono_s: float) -> None:
        self.windows.feed(sensor, value, mono_s)

    def run(self, sensors: Sequence[str], values: Sequence[float], monos_s: Sequence[float]) -> None:
        """feed() for each row, later."""
        self.windows.run(sensors, values, monos_s)

    def restore(self, state: Mapping[str, Any], mono_s: float) -> None:
        """The last hour of each sensor: see Windows.restore()."""
        self.windows.restore(state, mono_s)

    def tick(self, mono_s: float, wall_s: float | None) -> dict[str, float]:
        """Once a row, LATE_S after its end: the score of each sensor that has one. Otherwise {} at once."""
        if wall_s is not None:
            self._offset_s = wall_s - mono_s
        if self._offset_s is None or self.fault:
            return {}
        row_s = self._learner.row_s
        now = int((mono_s + self._offset_s - LATE_S) // row_s)  # the row under way; the one before has just ended
        if self._row is None or now < self._row - 1:  # the first, or the clock was set back
            self._row = now
        if now <= self._row:
            return {}
        if (now - self._row) * row_s > GAP_S_MAX:
            self._learner, self._row = LEARNERS[self.name](self.sensors), now
            self._scores = {}
            return {}
        missed = min(now - self._row - 1, ROWS_AT_ONCE)  # nobody measured them
        for row in range(self._row, self._row + missed):
            self._step([nan] * len(self.sensors), row)
        self._row += missed
        if self._row < now - 1:
            return {}
        self.windows.close((mono_s - LATE_S) // 60 * 60)
        means = [window.mean(row_s // 60) for window in self.windows.of.values()]
        scores = self._step(means, self._row)
        hour_ended = self._row * row_s // KEEP_EVERY_S != now * row_s // KEEP_EVERY_S
        self._row = now
        self._scores = {s: score for s, score in zip(self.sensors, scores, strict=True) if not isnan(score)}
        if hour_ended:
            self._save(now)
        return dict(self._scores)

    def _step(self, means: list[float], row: int) -> list[float]:
        """A model that fails, or answers what is no score, is out until the next start, and has none."""
        try:
            scores = self._learner.step(means, row)
            wrong = [score for score in scores if not (isnan(score) or 0.0 <= score <= 1.0)]
            if wrong:
                raise ValueError(f"it answered {wrong[0]}; expected 0 to 1")
        except (ArithmeticError, IndexError, TypeError, ValueError) as error:
            self.fault = f"The model {self.name} is taken out: {error}. Report it with the site's readings."
            return [nan] * len(self.sensors)
        return scores

    def score(self, sensor: str) -> float | None:
        return self._scores.get(sensor)

    def because(self, sensor: str) -> list[Json]:
        """What was found, and how far out: in times of the record (generic) or of the limit (inflow)."""
        return self._learner.because(self.sensors.index(sensor))
