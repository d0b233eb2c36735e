"""All models of a site side by side: each reading to those that look at its sensor, each score under model and sensor.

One model that fails is out alone; readings, rules and the other models go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.contract import Json
from gateway.detector import Detector
from gateway.row_models import LEARNERS, Rows

EVIDENCE_FROM = 0.5
"""From this score on what it is made of is worked out; below, no alarm should ask for it."""


class Detectors:
    """by_name: {model: what runs it}."""

    def __init__(self, by_name: Mapping[str, Detector | Rows]) -> None:
        self._by_name = dict(by_name)
        self.pairs = [(name, sensor) for name, one in by_name.items() for sensor in one.windows.of]
        self._of: dict[str, list[Detector | Rows]] = {}
        for name, sensor in self.pairs:
            self._of.setdefault(sensor, []).append(by_name[name])

    @classmethod
    def of_site(
        cls, wanted: Mapping[str, Sequence[str]], kept: Mapping[str, object], keep: Callable[[str, object], None]
    ) -> Detectors:
        """wanted: {model: sensors}, as the site's conditions name them. kept, keep: what must survive a restart."""
        return cls({
            name: Rows(name, sensors, kept, keep) if name in LEARNERS else Detector.from_models({name: sensors})
            for name, sensors in wanted.items()
        })  # fmt: skip

    @property
    def fault(self) -> str:
        return " ".join(one.fault for one in self._by_name.values() if one.fault)

    def feed(self, sensor: str, value: float, mono_s: float) -> None:
        """Take a reading in order of time per sensor. Older than what is already counted: left out."""
        for one in self._of.get(sensor, ()):
            one.windows.feed(sensor, value, mono_s)

    def run(self, sensors: Sequence[str], values: Sequence[float], monos_s: Sequence[float]) -> None:
        """feed() for each row, later."""
        for one in self._by_name.values():
            one.windows.run(sensors, values, monos_s)

    def tick(self, mono_s: float, wall_s: float | None) -> dict[tuple[str, str], float]:
        """{(model, sensor): score} of what was scored just now."""
        found = {}
        for name, one in self._by_name.items():
            scores = one.tick(mono_s, wall_s) if isinstance(one, Rows) else one.tick(mono_s)
            found.update({(name, sensor): score for sensor, score in scores.items()})
        return found

    def score(self, model: str, sensor: str) -> float | None:
        """None: its window is not ready, it has not learnt enough, or the model is out."""
        return self._by_name[model].score(sensor)

    def evidence(self, model: str, sensor: str, score: float) -> Json:
        """What an alarm says of the model: its name and version, and what made the score."""
        one = self._by_name[model]
        told: Json = {"model": model, "version": one.version}
        if score >= EVIDENCE_FROM and (because := one.because(sensor)):
            told["because"] = because
        return told

    def restore(self, state: Mapping[str, Any], mono_s: float) -> None:
        """The last hour of each sensor, in times of this boot's clock: see Windows.restore()."""
        for one in self._by_name.values():
            one.windows.restore(state, mono_s)
