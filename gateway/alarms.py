"""Alarms after ISA-18.2: when a rule's conditions hold long enough, and what state that makes.

Sans-IO: readings, scores and the time go in, changes come out. States survive a restart through `kept`.

    state                      on               off                        acknowledge      reset
    normal                     unacknowledged
    unacknowledged                              returned-unacknowledged *  acknowledged
    acknowledged                                normal *
    returned-unacknowledged    unacknowledged                              normal
    latched                    unacknowledged                              (noted)          normal
    * a latching alarm becomes "latched" instead, until it is reset on the spot
"""

from typing import NamedTuple

import msgspec

from drivers.reading import Value
from gateway.conditions import LOOP_WORDS, SILENT, Condition
from gateway.contract import Json

NORMAL = "normal"
UNACKNOWLEDGED = "unacknowledged"
ACKNOWLEDGED = "acknowledged"
RETURNED = "returned-unacknowledged"
LATCHED = "latched"
BEFORE_S = float("-inf")  # since when a condition holds that held before the restart
STANDING = (UNACKNOWLEDGED, ACKNOWLEDGED, LATCHED)  # a reaction holds as long as its alarm stands


class Rule(NamedTuple):
    """One alarm of the site file. any: it holds when one of them does, each for its own time."""

    name: str
    title: str
    severity: str
    any: tuple[Condition, ...]
    on_s: float = 0.0
    off_s: float = 0.0
    latch: bool = False


class Change(NamedTuple):
    """One step of one alarm's life. cause: the condition as written, and the fact that made it hold."""

    rule: Rule
    state: str
    prev: str
    mono_s: float
    occurrence: int
    cause: Json

    @property
    def standing(self) -> bool:
        return self.state in STANDING

    def data(self, since: str | None) -> Json:
        """The full snapshot that travels. since: RFC 3339, None while the clock is unsure."""
        return {
            "value": self.state, "alarm_id": self.rule.name, "state": self.state, "prev": self.prev,
            "severity": self.rule.severity, "since": since, "cause": self.cause, "test": False,
            "name": self.rule.title, "occurrence": self.occurrence,
        }  # fmt: skip


class Kept(msgspec.Struct):
    """What of an alarm survives a restart."""

    state: str = NORMAL
    occurrence: int = 0
    cause: Json = {}


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

    def see(self, value: Value, mono_s: float, src: str | None, evidence: Json | None = None) -> None:
        if value in LOOP_WORDS and self.condition.word not in LOOP_WORDS:
            return  # a cut or shorted loop tells nothing about water or cords: it is a fault of its own
        if not self.condition.holds(value):
            self.since_s = None
        elif self.since_s is None:
            self.since_s = mono_s
            self.cause = {"condition": self.condition.text, "value": value} | (evidence or {})
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


class _Alarm:
    def __init__(self, rule: Rule, kept: Kept) -> None:
        self.rule = rule
        self.truths = [_Truth(condition) for condition in rule.any]
        self.kept = kept
        self.turning_s: float | None = None  # since when the conditions say otherwise than `on`
        self.fault: Json | None = None  # a cause that no condition speaks of: a silent source
        self._take_up()

    def _take_up(self) -> None:
        """What stood before the restart stands until it is refuted."""
        self.on = self.kept.state in (UNACKNOWLEDGED, ACKNOWLEDGED)
        for truth in self.truths if self.on else ():
            truth.since_s, truth.cause = BEFORE_S, self.kept.cause
        if self.on and not self.rule.any:
            self.fault = self.kept.cause

    def came(self, came: Came, now_s: float) -> list[Change]:
        if self.on:
            return []  # it stands anyway
        self.kept.occurrence += 1
        self.kept.cause = came.kept.cause
        changes = self._to(UNACKNOWLEDGED, came.mono_s)
        if came.kept.state != UNACKNOWLEDGED:
            changes += self._to(came.kept.state, now_s)
        self._take_up()
        return changes

    def judge(self, now_s: float) -> list[Change]:
        holding = self.fault or next((truth.cause for truth in self.truths if truth.holds(now_s)), None)
        if (holding is not None) == self.on:
            self.turning_s = None
            return []
        if self.turning_s is None:
            self.turning_s = now_s
        if now_s - self.turning_s < (self.rule.off_s if self.on else self.rule.on_s):
            return []
        self.turning_s = None
        self.on = holding is not None
        if holding:
            self.kept.occurrence += self.kept.state in (NORMAL, RETURNED, LATCHED)
            self.kept.cause = holding
            return self._to(UNACKNOWLEDGED, now_s)
        if self.rule.latch:
            return self._to(LATCHED, now_s)
        return self._to(RETURNED if self.kept.state == UNACKNOWLEDGED else NORMAL, now_s)

    def acknowledge(self, now_s: float) -> list[Change]:
        after = {UNACKNOWLEDGED: ACKNOWLEDGED, RETURNED: NORMAL}.get(self.kept.state)
        return self._to(after, now_s) if after else []

    def reset(self, now_s: float) -> list[Change]:
        return self._to(NORMAL, now_s) if self.kept.state == LATCHED else []

    def _to(self, state: str, now_s: float) -> list[Change]:
        prev, self.kept.state = self.kept.state, state
        return [Change(self.rule, state, prev, now_s, self.kept.occurrence, self.kept.cause)]


class Alarms:
    """All alarms of a centre. kept: {name: Kept} of an earlier run. silent_s: {sensor: seconds} for "is silent"."""

    def __init__(self, rules: list[Rule], kept: dict[str, Kept], silent_s: dict[str, float], now_s: float) -> None:
        self._alarms = {rule.name: _Alarm(rule, kept.get(rule.name) or Kept()) for rule in rules}
        self._watchers: dict[tuple[str | None, str], list[tuple[_Alarm, _Truth]]] = {}
        for alarm in self._alarms.values():
            for truth in alarm.truths:
                key = (truth.condition.model, truth.condition.sensor)
                self._watchers.setdefault(key, []).append((alarm, truth))
        self._silent_s = silent_s
        self._last_s = {sensor: now_s for _, sensor in self._watchers}

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

    def reading(self, sensor: str, value: Value, mono_s: float, now_s: float, src: str | None = None) -> list[Change]:
        """mono_s: when the value was true; a late one does not shorten anybody's delay."""
        self._last_s[sensor] = max(self._last_s.get(sensor, now_s), mono_s)
        at_s = min(mono_s, now_s)
        return self._see((None, sensor), value, at_s, at_s, src)

    def spoke(self, sensor: str, mono_s: float) -> None:
        """The sensor is there, but what it said is no good value: it neither raises nor ends anything."""
        self._last_s[sensor] = max(self._last_s.get(sensor, mono_s), mono_s)

    def score(self, model: str, sensor: str, score: float, now_s: float, evidence: Json) -> list[Change]:
        return self._see((model, sensor), score, now_s, now_s, None, evidence)

    def no_score(self, model: str, sensor: str, now_s: float) -> list[Change]:
        """The model says nothing about this sensor now; what it said before does not hold for ever."""
        changes: list[Change] = []
        for alarm, truth in self._watchers.get((model, sensor), ()):
            if truth.since_s not in (None, BEFORE_S):
                truth.since_s = None
                changes += alarm.judge(now_s)
        return changes

    def _see(
        self, key: tuple[str | None, str], value: Value, mono_s: float, now_s: float, src: str | None,
        evidence: Json | None = None,
    ) -> list[Change]:  # fmt: skip
        changes: list[Change] = []
        for alarm, truth in self._watchers.get(key, ()):
            if truth.condition.word != SILENT:
                truth.see(value, mono_s, src, evidence)
            changes += alarm.judge(now_s)
        return changes

    def fault(self, name: str, cause: Json | None, now_s: float) -> list[Change]:
        """A part of the box itself is in trouble (cause) or well again (None). Raises KeyError for an unknown alarm."""
        alarm = self._alarms[name]
        alarm.fault = cause
        return alarm.judge(now_s)

    def came(self, name: str, came: Came, now_s: float) -> list[Change]:
        """It is an occurrence of its own here, whatever number it had there. Raises KeyError for an unknown alarm."""
        return self._alarms[name].came(came, now_s)

    def tick(self, now_s: float) -> list[Change]:
        """Delays that have run out, sensors that went silent."""
        changes: list[Change] = []
        for alarm in self._alarms.values():
            for truth in alarm.truths:
                sensor = truth.condition.sensor
                if truth.condition.word == SILENT and sensor in self._silent_s:
                    truth.silent(self._last_s[sensor], self._silent_s[sensor], now_s)
            changes += alarm.judge(now_s)
        return changes

    def acknowledge(self, name: str, now_s: float) -> list[Change]:
        """Raises KeyError for an alarm that the site file does not have."""
        return self._alarms[name].acknowledge(now_s)

    def reset(self, name: str, now_s: float) -> list[Change]:
        """On the spot, after the cause is gone. Raises KeyError."""
        return self._alarms[name].reset(now_s)

    def kept(self, name: str) -> Kept:
        return self._alarms[name].kept

    def standing(self) -> dict[str, str]:
        """{name: state} of all that are not normal."""
        return {name: alarm.kept.state for name, alarm in self._alarms.items() if alarm.kept.state != NORMAL}

    def stands(self, name: str) -> bool:
        return self._alarms[name].kept.state in STANDING
