"""Rows of several sensors at once to the model of machines, `pump`: one each second or so, on the boot's clock.

Sans-IO. A row's value of a sensor is the mean of what it said in that time; where it said nothing, its last value as
long as that holds, else it is missing. A machine is learnt from its first whole rows in which it runs (models/pump);
what was learnt is kept at once, and once an hour from then on. A restart while it learns begins the learning anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from math import isfinite, nan
from typing import Any, NamedTuple

from gateway.conditions import Condition
from gateway.contract import Json

log = logging.getLogger(__name__)

KEEP = "machine:"
KEEP_EVERY_S = 3600.0
LATE_S = 5.0
"""A row is closed this long after its end, so that readings under way still count."""
SCORE_HOLD_S = 30.0
"""A score stands so long while nothing is measured, or for three rows where that is longer: single rows are missing."""
ROWS_OPEN_MAX = 60
"""Rows that wait or are made up for in one tick; what is further back, nobody measured."""


class Channel(NamedTuple):
    """One sensor of a machine. kind: of models.pump.step.TIMES; "": only tells whether it runs.

    hold_s: for how long its last value counts while it says nothing.
    """

    sensor: str
    kind: str
    hold_s: float


class Plan(NamedTuple):
    """A machine of the site file. runs: rows count while it holds; None: always."""

    channels: tuple[Channel, ...]
    every_s: float = 1.0
    runs: Condition | None = None


class _Sum:
    """What one sensor said in one row."""

    __slots__ = ("count", "last", "last_s", "total")

    def __init__(self) -> None:
        self.total, self.count, self.last, self.last_s = 0.0, 0, nan, float("-inf")

    def add(self, value: float, mono_s: float) -> None:
        self.total += value
        self.count += 1
        if mono_s >= self.last_s:
            self.last, self.last_s = value, mono_s


class _Rows:
    """Readings of one machine to its rows, oldest first."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._at = {channel.sensor: i for i, channel in enumerate(plan.channels)}
        self._open: dict[int, list[_Sum]] = {}
        self._held = [_Sum() for _ in plan.channels]  # the newest that was said before the rows that are open
        self._next: int | None = None

    def feed(self, sensor: str, value: float, mono_s: float) -> None:
        """Too late for its row, or for a row that is far ahead: left out."""
        row = int(mono_s // self._plan.every_s)
        if self._next is None:
            self._next = row
        if self._next <= row < self._next + ROWS_OPEN_MAX:
            sums = self._open.get(row)
            if sums is None:
                sums = self._open[row] = [_Sum() for _ in self._plan.channels]
            sums[self._at[sensor]].add(value, mono_s)

    def closed(self, mono_s: float) -> list[tuple[float, list[float]]]:
        """(when it ended, a value of each channel, NaN for missing) of each row that is over now."""
        if self._next is None:
            return []
        ended = int((mono_s - LATE_S) // self._plan.every_s)
        every_s = self._plan.every_s
        rows = range(max(self._next, ended - ROWS_OPEN_MAX), ended)
        found = [((row + 1) * every_s, self._values((row + 1) * every_s, self._open.get(row))) for row in rows]
        self._next = max(self._next, ended)
        for row in [row for row in self._open if row < self._next]:
            del self._open[row]
        return found

    def _values(self, end_s: float, said: list[_Sum] | None) -> list[float]:
        values = []
        for i, channel in enumerate(self._plan.channels):
            if said and said[i].count:
                self._held[i] = said[i]
                values.append(said[i].total / said[i].count)
            else:
                held = self._held[i]
                values.append(held.last if end_s - held.last_s <= channel.hold_s else nan)
        return values


class _Machine:
    """One machine: its rows, whether it runs, and what the model says."""

    def __init__(self, plan: Plan) -> None:
        from models.pump.step import LEARN_ROWS, Pump

        self.plan = plan
        self.rows = _Rows(plan)
        self.pump = Pump({channel.sensor: channel.kind for channel in plan.channels if channel.kind})
        self.learn_rows = LEARN_ROWS
        self.learnt = False
        self.score, self.scored_s = nan, float("-inf")
        self.channel, self.limits = "", 0.0
        self._runs_at = next((i for i, c in enumerate(plan.channels) if plan.runs and c.sensor == plan.runs.sensor), -1)
        self._judged = [i for i, channel in enumerate(plan.channels) if channel.kind]
        self._run_rows = 0

    def step(self, values: list[float], ended_s: float) -> bool:
        """Take the next row; whether it was scored. Raises ValueError, ArithmeticError when the model fails."""
        if not self._counts(values):
            return False
        verdict = self.pump.step([values[i] for i in self._judged])
        if not isfinite(verdict.score):
            return False
        if not 0.0 <= verdict.score <= 1.0:
            raise ValueError(f"it answered {verdict.score}; expected 0 to 1")
        self.score, self.scored_s = verdict.score, ended_s
        self.channel, self.limits = verdict.channel, verdict.limits
        return True

    def forget_all(self) -> None:
        """What was learnt, and the score."""
        self.pump = type(self.pump)(self.pump.channels)
        self.learnt, self.score = False, nan

    def forget(self, mono_s: float) -> None:
        """The score, once nothing has been measured for too long."""
        if mono_s - LATE_S - self.scored_s > max(SCORE_HOLD_S, 3 * self.plan.every_s):
            self.score = nan

    def _counts(self, values: list[float]) -> bool:
        """Whether the machine runs, and has for as long as is asked for."""
        runs = self.plan.runs
        if runs is None:
            return True
        value = values[self._runs_at]
        if not isfinite(value):
            return False
        if not runs.holds(value, held=self._run_rows > 0):
            self._run_rows, self.score = 0, nan
            return False
        self._run_rows += 1
        return (self._run_rows - 1) * self.plan.every_s >= runs.for_s

    def left(self) -> int:
        """Rows that it has still to learn from."""
        return 0 if self.learnt else self.learn_rows - len(self.pump.state()["learning"])


class Machines:
    """One model over the machines that name it. keep: takes what must survive a restart; kept: what did."""

    def __init__(
        self, name: str, plans: Mapping[str, Plan], kept: Mapping[str, object], keep: Callable[[str, object], None]
    ) -> None:
        from models.package import MODELS, read_manifest

        self.name = name
        self.version: str = read_manifest(MODELS / name, {"version": str, "sha256": dict})["version"]
        self.fault = ""
        self._keep = keep
        self._kept_s = 0.0
        self._machines = {machine: _Machine(plan) for machine, plan in plans.items()}
        self.scored = list(plans)
        self._of: dict[str, list[_Rows]] = {}
        for machine in self._machines.values():
            for channel in machine.plan.channels:
                self._of.setdefault(channel.sensor, []).append(machine.rows)
        for key, machine in self._machines.items():
            self._take_up(key, machine, kept.get(KEEP + key))

    def _take_up(self, name: str, machine: _Machine, value: Any) -> None:
        if value is None:
            return
        try:
            version, state = value
            if version != self.version:
                raise ValueError(f"of version {version}")
            machine.pump.restore(state)
            machine.learnt = True
        except (TypeError, ValueError) as error:
            log.warning("what was learnt of the machine %s cannot be taken up (%s): it learns anew", name, error)

    def left(self, machine: str) -> int:
        """Rows that it has still to learn from."""
        return self._machines[machine].left()

    def learn_anew(self, machine: str) -> None:
        """As if it had never been seen: after a service, or a change of its setting."""
        self._machines[machine].forget_all()
        self._keep(KEEP + machine, None)

    def looks_at(self, machine: str) -> list[str]:
        """The sensors of a machine."""
        return [channel.sensor for channel in self._machines[machine].plan.channels]

    def row_min(self, machine: str) -> float:
        return self._machines[machine].plan.every_s / 60

    def feed(self, sensor: str, value: float, mono_s: float) -> None:
        for rows in self._of.get(sensor, ()):
            rows.feed(sensor, value, mono_s)

    def run(self, sensors: Sequence[str], values: Sequence[float], monos_s: Sequence[float]) -> None:
        """feed() for each row."""
        for sensor, value, mono_s in zip(sensors, values, monos_s, strict=True):
            self.feed(sensor, value, mono_s)

    def tick(self, mono_s: float, wall_s: float | None = None) -> dict[str, float]:
        """The score of each machine of which a row has just been scored."""
        found: dict[str, float] = {}
        for name, machine in self._machines.items():
            scored = [self._step(machine, values, ended_s) for ended_s, values in machine.rows.closed(mono_s)]
            machine.forget(mono_s)
            if any(scored) and isfinite(machine.score):
                found[name] = machine.score
                if not machine.learnt:
                    machine.learnt = True
                    self._save(name)
        if mono_s - self._kept_s >= KEEP_EVERY_S:
            self._kept_s = mono_s
            for name, machine in self._machines.items():
                if machine.learnt:
                    self._save(name)
        return found

    def _step(self, machine: _Machine, values: list[float], ended_s: float) -> bool:
        """One that fails is out until the next start, and all with it."""
        try:
            return not self.fault and machine.step(values, ended_s)
        except (ArithmeticError, IndexError, TypeError, ValueError) as error:
            self.fault = f"The model {self.name} is taken out: {error}. Report it with the site's readings."
            for each in self._machines.values():
                each.score = nan
            return False

    def _save(self, name: str) -> None:
        self._keep(KEEP + name, [self.version, self._machines[name].pump.state()])

    def score(self, machine: str) -> float | None:
        """None: it does not run, it is being learnt, or nothing was measured for SCORE_HOLD_S."""
        one = self._machines[machine]
        return one.score if isfinite(one.score) else None

    def because(self, machine: str) -> list[Json]:
        """The sensor that lies farthest out, and how many of its limits: below zero, it is less than it was."""
        one = self._machines[machine]
        return [{"what": one.channel, "far": round(one.limits, 3)}] if isfinite(one.score) else []

    def restore(self, state: Mapping[str, Any], mono_s: float) -> None:
        """Rows of a second are not in the history."""
