"""Windows to scores: what the models think of the last hour of each sensor.

Sans-IO and cheap: feed() takes every reading of a watched sensor, tick() scores all of them in one run once a minute.
What is known of a minute: gateway/windows.py. Which windows are scored: models/features.py (KNOWN_MIN).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from gateway.contract import Json
from gateway.windows import LATE_S, Windows
from models.session import ModelError


class Scorer(Protocol):
    """A model as models.package loads it."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def score(self, windows: Sequence[Sequence[float]], /) -> list[float]: ...

    def because(self, window: Sequence[float], /) -> list[tuple[str, float]]: ...


class Detector:
    """One model over the flow of some sensors.

    model: None when there is nothing to watch or the model could not be loaded (`fault` then says why).
    sensors: ids of flow sensors, m3/s.
    fault: empty, or the one reason why there are no scores. Nothing here raises: acquisition goes on.
    """

    def __init__(self, model: Scorer | None, sensors: Iterable[str], fault: str = "") -> None:
        self._model = model
        self.windows = Windows(sensors, least=0.0)  # water that runs back is no leak
        self.scored = list(self.windows.of)
        self._scores: dict[str, float] = {}
        self._due_s = -1.0
        self.fault = fault

    @property
    def version(self) -> str:
        """Of the model that scores now."""
        return self._model.version if self._model else ""

    def again(self, model: Scorer) -> None:
        """Score with this from now on, also after a failure."""
        self._model, self.fault = model, ""

    def looks_at(self, sensor: str) -> list[str]:
        """The sensors behind what is scored: itself."""
        return [sensor]

    def row_min(self, sensor: str) -> float:
        """Minutes that a score stands for."""
        return 1.0

    def feed(self, sensor: str, value: float, mono_s: float) -> None:
        """Take a reading, m3/s, in order of time per sensor. Older than what is already counted: left out."""
        self.windows.feed(sensor, value, mono_s)

    def run(self, sensors: Sequence[str], values: Sequence[float], monos_s: Sequence[float]) -> None:
        """feed() for each row, later."""
        self.windows.run(sensors, values, monos_s)

    def tick(self, mono_s: float, wall_s: float | None = None) -> dict[str, float]:
        """Once a minute, LATE_S after its end: score all windows that are ready. Otherwise {} at once."""
        if mono_s < self._due_s or self._model is None:
            return {}
        ended_s = (mono_s - LATE_S) // 60 * 60
        self._due_s = ended_s + 60 + LATE_S
        self.windows.close(ended_s)
        due = [sensor for sensor, window in self.windows.of.items() if window.ready()]
        self._scores = self._score(self._model, due) if due else {}
        return dict(self._scores)

    def score(self, sensor: str) -> float | None:
        """The sensor's score of the last minute, 0 to 1; None when its window is not ready or the model is out."""
        return self._scores.get(sensor)

    def because(self, sensor: str) -> list[Json]:
        """What makes the score of the last minute, and how much of it each: see Model.because()."""
        if self._model is None or self.score(sensor) is None:
            return []
        try:
            found = self._model.because(self.windows.of[sensor].padded())
        except ModelError:  # the next minute's score says so, and takes it out
            return []
        return [{"what": what, "far": round(far, 3)} for what, far in found]

    def _score(self, model: Scorer, due: list[str]) -> dict[str, float]:
        try:
            scores = model.score([self.windows.of[sensor].padded() for sensor in due])
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
        self.windows.take_waiting()
        return {
            sensor: {
                "end_s": window.end_s - 60,
                "minutes": [minute if minute == minute else None for minute in window.minutes],
            }
            for sensor, window in self.windows.of.items()
            if window.minutes
        }

    def restore(self, state: Mapping[str, Any], mono_s: float) -> None:
        """Take windows as state() gives them: see Windows.restore()."""
        self.windows.restore(state, mono_s)
