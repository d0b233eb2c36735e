"""All models of a site side by side: each reading to those that look at its sensor, each score under model and sensor.

One model that fails is out alone; readings, rules and the other models go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.calibration import Calibration, Rate
from gateway.contract import Json
from gateway.crash import in_a_model
from gateway.detector import Detector
from gateway.machines import Machines, Plan
from gateway.model_packages import package_folder
from gateway.rollout import HIGH, Rollout
from gateway.row_models import LEARNERS, Rows
from models.package import Model, load, load_models
from models.session import ModelError

EVIDENCE_FROM = 0.5
"""From this score on what it is made of is worked out; below, no alarm should ask for it."""


NO_SCORE = "no score"
MACHINE_MODELS = ("pump",)
"""Models that look at machines, which are several sensors under one name."""

Watcher = Detector | Rows | Machines


class Detectors:
    """by_name: {model: what runs it}. pairs: (model, what it scores: a sensor or a machine)."""

    def __init__(
        self,
        by_name: Mapping[str, Watcher],
        rollouts: Mapping[str, Rollout] | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self._by_name = dict(by_name)
        self.rollouts = dict(rollouts or {})
        self._calibration = calibration or Calibration({}, {}, lambda key, value: None)
        self.pairs = [(name, scored) for name, one in by_name.items() for scored in one.scored]
        self._of: dict[str, list[Watcher]] = {}
        for one in by_name.values():
            for sensor in dict.fromkeys(sensor for scored in one.scored for sensor in one.looks_at(scored)):
                self._of.setdefault(sensor, []).append(one)

    @classmethod
    def of_site(
        cls, wanted: Mapping[str, Sequence[str]], kept: Mapping[str, object], keep: Callable[[str, object], None],
        packages: Path, rates: Mapping[tuple[str, str], tuple[float, float, float]] | None = None,
        machines: Mapping[str, Plan] | None = None, highs: Mapping[str, float] | None = None,
    ) -> Detectors:  # fmt: skip
        """wanted: {model: sensors or machines}, as the site's conditions name them. kept, keep: over a restart.

        packages: the folder where `linli model install` puts them. rates: as Alarms.rates() says. machines: those of
        the site file. highs: as Alarms.highs() says.
        """
        found: dict[str, Watcher] = {}
        rollouts: dict[str, Rollout] = {}
        for name, sensors in wanted.items():
            try:
                if name in MACHINE_MODELS:
                    found[name] = Machines(name, {key: (machines or {})[key] for key in sensors}, kept, keep)
                elif name in LEARNERS:
                    found[name] = Rows(name, sensors, kept, keep)
                else:
                    rollouts[name] = _rollout(name, kept, keep, packages, (highs or {}).get(name, HIGH))
                    found[name] = Detector(rollouts[name], sensors)
            except (ModelError, OSError, ImportError, KeyError, TypeError) as error:  # also: its files are not whole
                found[name] = Detector(None, (), fault=f"The model {name} is out: {error}")
        wanted_rates = {pair: Rate(*rate) for pair, rate in (rates or {}).items()}
        return cls(found, rollouts, Calibration(wanted_rates, kept, keep))

    def decided(self) -> list[tuple[str, Json]]:
        """(model, what was decided about its versions) since the last time."""
        found = [(name, data) for name, rollout in self.rollouts.items() for data in rollout.decided]
        for rollout in self.rollouts.values():
            rollout.decided.clear()
        return found

    def ask(self, deed: str, name: str, version: str, after_days: float, by: str) -> list[Json]:
        """deed: "list", "shadow", "promote" or "rollback"; then where each model stands. Raises ValueError."""
        if deed != "list":
            self._decide(deed, name, version, after_days, by)
        return [rollout.standing() for rollout in self.rollouts.values()]

    def _decide(self, deed: str, name: str, version: str, after_days: float, by: str) -> None:
        """Raises ValueError."""
        one, rollout = self._by_name.get(name), self.rollouts.get(name)
        if rollout is None:
            known = ", ".join(self.rollouts) or "none, as no condition names a model with packages"
            out = f", which is out: {one.fault}" if one and one.fault else ""
            raise ValueError(f"found model {name!r}{out}, expected one of those that run here: {known}")
        if after_days and deed != "shadow":
            raise ValueError(f"found {after_days:g} days with {deed}, expected them with shadow alone; leave them out")
        if deed == "shadow":
            rollout.shadow(version, after_days, by)
        elif deed == "promote":
            rollout.promote(by, version)
        elif deed == "rollback":
            rollout.rollback(by, version)
        else:
            raise ValueError(f"found deed {deed!r}, expected one of list, shadow, promote, rollback")
        if deed != "shadow" and isinstance(one, Detector):
            one.again(rollout)  # where the version that was active had failed

    def learn_anew(self, name: str, scored: str, by: str) -> Json:
        """Forget what a model has learnt of a sensor or machine; the record of it. Raises ValueError."""
        one = self._by_name.get(name)
        if one is None or isinstance(one, Detector):
            known = ", ".join(n for n, each in self._by_name.items() if not isinstance(each, Detector))
            raise ValueError(f"found model {name!r}, expected one that learns and runs here: {known or 'none'}")
        if scored not in one.scored:
            raise ValueError(f"found {scored!r}, expected what {name} looks at: {', '.join(one.scored)}")
        one.learn_anew(scored)
        self._calibration.forget(name, scored)
        return {"value": "learns-anew", "version": one.version, "active": one.version, "by": by, "of": scored}

    def uses(self) -> dict[str, dict[str, str]]:
        """{model: {sensor or machine: "", or that it has no score}}."""
        found: dict[str, dict[str, str]] = {name: {} for name in self._by_name}
        for name, scored in self.pairs:
            one = self._by_name[name]
            left = one.left(scored) if isinstance(one, Machines) else 0
            lacks = f"learns, {left} rows left" if left else NO_SCORE
            found[name][scored] = "" if one.score(scored) is not None else lacks
        return found

    def faults(self) -> dict[str, str]:
        """{model: why it is out}."""
        return {name: one.fault for name, one in self._by_name.items() if one.fault}

    @property
    def fault(self) -> str:
        return " ".join(self.faults().values())

    def feed(self, sensor: str, value: float, mono_s: float) -> None:
        """Take a reading in order of time per sensor. Older than what is already counted: left out."""
        for one in self._of.get(sensor, ()):
            one.feed(sensor, value, mono_s)

    def run(self, sensors: Sequence[str], values: Sequence[float], monos_s: Sequence[float]) -> None:
        """feed() for each row, later."""
        for one in self._by_name.values():
            one.run(sensors, values, monos_s)

    def tick(self, mono_s: float, wall_s: float | None) -> dict[tuple[str, str], float]:
        """{(model, sensor): score} of what was scored just now, as it counts for the alarms: see calibration.py."""
        found = {}
        for name, one in self._by_name.items():
            for scored, score in one.tick(mono_s, wall_s).items():
                found[name, scored] = self._calibration.judged(name, scored, score, one.row_min(scored), one.version)
        return found

    def looks_at(self, model: str, scored: str) -> list[str]:
        """The sensors behind what a model scores: itself, or those of a machine."""
        return self._by_name[model].looks_at(scored)

    @property
    def sensors(self) -> set[str]:
        """All that some model looks at."""
        return set(self._of)

    def score(self, model: str, sensor: str) -> float | None:
        """None: its window is not ready, it has not learnt enough, or the model is out."""
        return self._by_name[model].score(sensor)

    def evidence(self, model: str, sensor: str, score: float) -> Json:
        """What an alarm says of the model: its name and version, and what made the score."""
        one = self._by_name[model]
        told: Json = {"model": model, "version": one.version}
        if score >= EVIDENCE_FROM and (because := one.because(sensor)):
            told["because"] = because
        return told | self._calibration.evidence(model, sensor)

    def restore(self, state: Mapping[str, Any], mono_s: float) -> None:
        """The last hour of each sensor, in times of this boot's clock: see Windows.restore()."""
        for one in self._by_name.values():
            one.restore(state, mono_s)


def _rollout(
    name: str, kept: Mapping[str, object], keep: Callable[[str, object], None], packages: Path, high: float
) -> Rollout:
    """Raises ModelError: an unknown name, or the one that came with the program does not open."""
    [shipped] = load_models([name]).values()

    def open_version(version: str) -> Model:
        if version == shipped.version:
            return shipped
        place = package_folder(packages, name, version)
        return load(place)

    return Rollout(name, shipped.version, open_version, kept, keep, high, crashed=in_a_model(packages.parent))
