"""All alarms of a centre: whether the cause of each is there, and what follows from that (gateway/alarm_life.py).

Sans-IO: readings, scores and the time go in, changes come out. States survive a restart through `kept`.

A cause is there when one of a rule's conditions has held for its own time. A sensor at fault (silent, cut, out of its
range) neither raises nor ends anything: what stands, stands until a good value refutes it.
"""

from collections import deque
from collections.abc import Callable
from math import nextafter
from typing import NamedTuple

from drivers.reading import Value
from gateway.alarm_life import (
    ACKNOWLEDGED,
    CAME,
    LATCHED,
    NORMAL,
    RETURNED,
    SHELVED,
    STANDING,
    UNACKNOWLEDGED,
    Change,
    ChatterLimit,
    Kept,
    Life,
    Refused,
    Rule,
)
from gateway.alarm_runs import CENTRE, FLOOD_ALARM, Flood, Run, Runs
from gateway.conditions import LOOP_WORDS, SILENT, Condition
from gateway.contract import Json
from gateway.moment import Here

__all__ = [
    "ACKNOWLEDGED",
    "CAME",
    "CENTRE",
    "LATCHED",
    "NORMAL",
    "RETURNED",
    "SHELVED",
    "STANDING",
    "UNACKNOWLEDGED",
    "Alarms",
    "Came",
    "Change",
    "ChatterLimit",
    "Kept",
    "Refused",
    "Rule",
    "Run",
    "Runs",
]

BEFORE_S = float("-inf")  # since when a condition holds that held before the restart


class Came(NamedTuple):
    """One that came while nothing could be kept (gateway/diskless.py). kept: as it is now. mono_s: of its coming."""

    kept: Kept
    mono_s: float


class _Truth:
    """One condition of one alarm: whether its test holds and since when."""

    __slots__ = ("cause", "condition", "since_s")

    def __init__(self, condition: Condition) -> None:
        self.condition = condition
        self.since_s: float | None = None
        self.cause: Json = {}

    def see(self, value: Value, mono_s: float, src: str | None, evidence: Callable[[], Json] | None = None) -> None:
        if value in LOOP_WORDS and self.condition.word not in LOOP_WORDS:
            return  # a cut or shorted loop tells nothing about water or cords: it is a fault of its own
        if not self.condition.holds(value, held=self.since_s is not None):
            self.since_s = None
        elif self.since_s is None:
            self.since_s = mono_s
            self.cause = {"condition": self.condition.text, "value": value} | (evidence() if evidence else {})
            if src:
                self.cause["src"] = src

    def silent(self, last_s: float, silent_s: float, now_s: float) -> None:
        if now_s - last_s < silent_s:
            self.since_s = self.since_s if self.since_s == BEFORE_S else None
        elif self.since_s is None:
            self.since_s = now_s
            self.cause = {"condition": self.condition.text, "value": SILENT}

    def holds(self, now_s: float) -> bool:
        return self.since_s is not None and now_s - self.since_s >= self.condition.for_s


class _Chatter:
    """Whether a cause comes and goes too often. times: how often it came since it began to, None while it is calm."""

    def __init__(self, limit: ChatterLimit, note: Json | None, now_s: float) -> None:
        self._limit = limit
        self._came_s: deque[float] = deque(maxlen=limit.times)
        times = note.get("times") if note else None
        self.times = times if isinstance(times, int) else None
        self._since_s = self._turned_s = now_s

    def turned(self, holds: bool, now_s: float) -> None:
        self._turned_s = now_s
        if holds:
            self._came_s.append(now_s)
            if self.times is not None:
                self.times += 1

    def begins(self, now_s: float) -> bool:
        came_s = self._came_s
        if self.times is not None or len(came_s) < self._limit.times or now_s - came_s[0] > self._limit.within_s:
            return False
        self.times, self._since_s = len(came_s), came_s[0]
        return True

    def ends(self, now_s: float) -> Json | None:
        """The last note, once it has been calm for long enough."""
        if now_s - self._turned_s < self._limit.calm_s:
            return None
        note = self.note()
        self.times = None
        self._came_s.clear()
        return note

    def note(self) -> Json:
        """How often in what time."""
        return {"times": self.times, "within_s": round(self._turned_s - self._since_s, 1)}


class _Alarm:
    def __init__(self, rule: Rule, kept: Kept, now_s: float) -> None:
        self.rule = rule
        self.life = Life(rule, kept, now_s)
        self.truths = [_Truth(condition) for condition in rule.any]
        self.fault: Json | None = None  # a cause that no condition speaks of: a silent source
        self._chatter = _Chatter(rule.chatter, kept.chatter, now_s)
        self._turned_s, self._came_s = now_s, BEFORE_S
        self._held = self.life.active
        self._take_up()

    def _take_up(self) -> None:
        """What stood before the restart stands until it is refuted."""
        if not self.life.active:
            return
        for truth in self.truths:
            truth.since_s, truth.cause = BEFORE_S, self.life.kept.cause
        if not self.rule.any:
            self.fault = self.life.kept.cause

    def came(self, came: Came, now_s: float, here: Here) -> list[Change]:
        if self.life.active or not came.kept.occurrence:
            return []  # it stands anyway, or never came
        changes = self.life.carried(came.kept, came.mono_s, now_s, here)
        self._held = self.life.active
        self._take_up()
        return changes

    @property
    def is_idle(self) -> bool:
        """Whether a tick can be spared: it has no conditions and nothing is under way."""
        return not self.truths and self.fault is None and self.life.is_idle

    def judge(self, now_s: float, here: Here) -> list[Change]:
        cause = self.fault or next((truth.cause for truth in self.truths if truth.holds(now_s)), None)
        holds = cause is not None
        if holds != self._held:
            self._held, self._turned_s = holds, now_s
            self._chatter.turned(holds, now_s)
        changes = self._chattering(now_s)
        if self._chatter.times is not None or holds == self.life.active:
            return changes
        delay_s = self.rule.on_s if holds else self.rule.off_s
        if now_s - self._turned_s < delay_s or (not holds and now_s - self._came_s < self.rule.chatter.hold_s):
            return changes
        if cause is None:
            return changes + self.life.off(now_s, here)
        self._came_s = now_s
        return changes + self.life.on(cause, now_s, here)

    def _chattering(self, now_s: float) -> list[Change]:
        if self._chatter.times is not None:
            note = self._chatter.ends(now_s)
            return self.life.calm(note, now_s) if note else []
        if self.life.active and self._chatter.begins(now_s):
            return self.life.chatters(self._chatter.note(), now_s)
        return []


class Alarms:
    """kept: {name: Kept} of an earlier run. silent_s: {sensor: seconds} for "is silent". runs: of an earlier run."""

    def __init__(
        self, rules: list[Rule], kept: dict[str, Kept], silent_s: dict[str, float], now_s: float,
        runs: Runs | None = None,
    ) -> None:  # fmt: skip
        self._alarms = {rule.name: _Alarm(rule, kept.get(rule.name) or Kept(), now_s) for rule in rules}
        self._watchers: dict[tuple[str | None, str], list[tuple[_Alarm, _Truth]]] = {}
        for alarm in self._alarms.values():
            for truth in alarm.truths:
                key = (truth.condition.model, truth.condition.sensor)
                self._watchers.setdefault(key, []).append((alarm, truth))
        self._awake = dict(self._alarms)  # those for which time alone may change something
        self._silent_s = silent_s
        self._last_s = {sensor: now_s for _, sensor in self._watchers}
        self.here = Here()  # where we are in time; whoever knows the clock says it
        self.runs = runs or Runs()
        flood = self._alarms.get(FLOOD_ALARM)
        self.flood = Flood(bool(flood and flood.life.active), now_s)

    def has(self, name: str) -> bool:
        return name in self._alarms

    def watches(self, sensor: str) -> bool:
        """Whether a condition speaks of its readings; of what a model says about them is another matter."""
        return (None, sensor) in self._watchers

    def models(self) -> dict[str, list[str]]:
        """{model: sensors it has to score}."""
        found: dict[str, list[str]] = {}
        for model, sensor in self._watchers:
            if model:
                found.setdefault(model, []).append(sensor)
        return found

    def rates(self) -> dict[tuple[str, str], tuple[float, float, float]]:
        """{(model, sensor): (number, comings a month, for_s)} of the conditions that say how often they may come."""
        truths = [truth.condition for watchers in self._watchers.values() for _, truth in watchers]
        longest_first = sorted(truths, key=lambda c: -c.for_s)  # the shortest is what counts
        return {(c.model, c.sensor): (c.number, c.a_month, c.for_s) for c in longest_first if c.model and c.a_month}

    def highs(self) -> dict[str, float]:
        """{model: the lowest number that a score must be above in some condition}."""
        found: dict[str, float] = {}
        for (model, _), watchers in self._watchers.items():
            for c in (truth.condition for _, truth in watchers):
                if model and c.test in (">", ">="):
                    above = c.number if c.test == ">" else nextafter(c.number, 0.0)
                    found[model] = min(found.get(model, above), above)
        return found

    # -- what is seen ------------------------------------------------------------------------------------------------

    def reading(self, sensor: str, value: Value, mono_s: float, now_s: float, src: str | None = None) -> list[Change]:
        """mono_s: when the value was true; a late one does not shorten anybody's delay."""
        self._last_s[sensor] = max(self._last_s.get(sensor, now_s), mono_s)
        at_s = min(mono_s, now_s)
        return self._see((None, sensor), value, at_s, at_s, src)

    def spoke(self, sensor: str, mono_s: float) -> None:
        """The sensor is there, but what it said is no good value: it neither raises nor ends anything."""
        self._last_s[sensor] = max(self._last_s.get(sensor, mono_s), mono_s)

    def score(self, model: str, sensor: str, score: float, now_s: float, evidence: Callable[[], Json]) -> list[Change]:
        """evidence: asked only when a condition begins to hold."""
        return self._see((model, sensor), score, now_s, now_s, None, evidence)

    def no_score(self, model: str, sensor: str) -> None:
        """The model says nothing about this sensor now: what had not held for long enough begins anew."""
        for alarm, truth in self._watchers.get((model, sensor), ()):
            if not alarm.life.active:
                truth.since_s = None

    def refuted(self, model: str, sensor: str, now_s: float) -> list[Change]:
        """A person says that what the model found is how it is now: it raises nothing until it finds more."""
        changes: list[Change] = []
        for alarm, truth in self._watchers.get((model, sensor), ()):
            truth.since_s = None
            changes += self._judge(alarm, now_s)
        return changes

    def _see(
        self, key: tuple[str | None, str], value: Value, mono_s: float, now_s: float, src: str | None,
        evidence: Callable[[], Json] | None = None,
    ) -> list[Change]:  # fmt: skip
        changes: list[Change] = []
        for alarm, truth in self._watchers.get(key, ()):
            if truth.condition.word != SILENT:
                truth.see(value, mono_s, src, evidence)
            changes += self._judge(alarm, now_s)
        return changes

    def fault(self, name: str, cause: Json | None, now_s: float) -> list[Change]:
        """A part of the box itself is in trouble (cause) or well again (None). Raises KeyError for an unknown alarm."""
        alarm = self._wake(name)
        alarm.fault = cause
        return self._judge(alarm, now_s)

    def _wake(self, name: str) -> _Alarm:
        alarm = self._awake[name] = self._alarms[name]
        return alarm

    def came(self, name: str, came: Came, now_s: float) -> list[Change]:
        """It is an occurrence of its own here, whatever number it had there. Raises KeyError for an unknown alarm."""
        return self._numbered(self._wake(name).came(came, now_s, self.here))

    def again(self, name: str, now_s: float) -> list[Change]:
        """A new occurrence of what still is there, because the mode that it came in is over."""
        return self._numbered(self._alarms[name].life.again(now_s, self.here)) if name in self._alarms else []

    def tick(self, now_s: float) -> list[Change]:
        """Delays that have run out, sensors that went silent, shelves that end, steps of escalation."""
        changes: list[Change] = []
        for name, alarm in list(self._awake.items()):
            if alarm.is_idle:
                del self._awake[name]
            for truth in alarm.truths:
                sensor = truth.condition.sensor
                if truth.condition.word == SILENT and sensor in self._silent_s:
                    truth.silent(self._last_s[sensor], self._silent_s[sensor], now_s)
            changes += alarm.life.tick(now_s, self.here)
            changes += self._judge(alarm, now_s)
        if self.flood.ends(now_s) and self.has(FLOOD_ALARM):
            changes += self._flooded(None, now_s)
        return changes

    # -- first-out and flood -----------------------------------------------------------------------------------------

    def _judge(self, alarm: _Alarm, now_s: float) -> list[Change]:
        return self._numbered(alarm.judge(now_s, self.here))

    def _numbered(self, changes: list[Change]) -> list[Change]:
        """With its order and, in a flood, the word that one alarm tells them all."""
        found: list[Change] = []
        for change in changes:
            rule = change.rule
            if change.what != CAME or change.state == SHELVED or rule.name == FLOOD_ALARM:
                found.append(change)
                continue
            order = self.runs.came(rule.name, rule.group, change.mono_s, self.here)
            if self.flood.came(change.mono_s) and self.has(FLOOD_ALARM):
                found += self._flooded(self._flood_cause(), change.mono_s)
            for each in (self._alarms[rule.name].life.kept, change.kept):
                each.order, each.first_out = order, order == 1
                each.summarised = self.flood.is_on and rule.severity != "urgent"
            found.append(change)
        return found

    def _flooded(self, cause: Json | None, now_s: float) -> list[Change]:
        alarm = self._wake(FLOOD_ALARM)
        if cause is None:
            alarm.life.kept.cause = self._flood_cause()
        alarm.fault = cause
        return alarm.judge(now_s, self.here)

    def _flood_cause(self) -> Json:
        run = self.runs.of(CENTRE)
        return {"condition": "flood", "value": run.count if run else 0, "first": run.first if run else ""}

    def flooding(self) -> Json | None:
        """How many came in this run, and which was first; None while there is no flood."""
        cause = self._flood_cause()
        return {"alarms": cause["value"], "first": cause["first"]} if self.flood.is_on else None

    # -- what a person does; each raises KeyError for an alarm that the site file does not have, and Refused -----------

    def acknowledge(self, name: str, now_s: float, by: str = "desk") -> list[Change]:
        return self._wake(name).life.acknowledge(now_s, self.here, by)

    def reset(self, name: str, now_s: float, by: str = "desk") -> list[Change]:
        """On the spot, after the cause is gone."""
        return self._wake(name).life.reset(now_s, self.here, by)

    def shelve(self, name: str, for_s: float, now_s: float, by: str = "desk") -> list[Change]:
        return self._wake(name).life.shelve(for_s, now_s, self.here, by)

    def unshelve(self, name: str, now_s: float, by: str = "desk") -> list[Change]:
        return self._wake(name).life.unshelve(now_s, self.here, by)

    # -- looking -----------------------------------------------------------------------------------------------------

    def kept(self, name: str) -> Kept:
        return self._alarms[name].life.kept

    def rule(self, name: str) -> Rule:
        return self._alarms[name].rule

    def standing(self) -> dict[str, str]:
        """{name: state} of all that are not normal."""
        return {name: alarm.life.kept.state for name, alarm in self._alarms.items() if alarm.life.kept.state != NORMAL}

    def told(self, now_s: float, way: str = "desk") -> list[Json]:
        """Each that is not normal, for a person who acts from there: first what came first."""
        lives = [alarm.life for alarm in self._alarms.values() if alarm.life.kept.state != NORMAL]
        return [life.told(now_s, self.here, way) for life in sorted(lives, key=lambda life: life.kept.order)]

    def stands(self, name: str) -> bool:
        return self._alarms[name].life.kept.state in STANDING
