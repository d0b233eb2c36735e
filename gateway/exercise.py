"""A valve that is never moved does not move when it must: closed and opened again by the calendar, with proof.

Never while the clock is unsure, an alarm stands that matters, somebody holds the output or works there. It is tried for
an hour from its moment on; then the month's exercise is skipped, and told so. Sans-IO.
"""

from collections.abc import Callable, Mapping

import msgspec

from gateway.contract import Json, Label, Record
from gateway.reactions import Wish
from gateway.recurring import Recurring
from gateway.switches import Switches

KEEP = "exercise:"
WINDOW_S = 3600.0
BY = "exercise"
_PATIENCE_S = 10.0  # beyond the travel, for a proof that does not come

Blocked = Callable[[str], str]
"""output -> why it may not be moved for an exercise now; "" when it may."""


class Kept(msgspec.Struct):
    """last: date of the last one that is settled, done or not. running: the output is what it is for an exercise."""

    last: str = ""
    running: bool = False


class _Exercise:
    def __init__(self, output: str, when: Recurring, kept: Kept) -> None:
        self.output = output
        self.when = when
        self.kept = kept
        self.was_broken_off = kept.running
        self.wants = False
        self.since_s: float | None = None  # of this half, while it runs
        self.took_s: list[float] = []
        self.is_proved: bool | None = True  # None: there is no contact that could prove it
        self.why = ""  # it could not begin yet


class Exercises:
    """when: {output: its moments}. kept: state of an earlier run, by key."""

    def __init__(
        self, when: Mapping[str, Recurring], tz: str, label: Callable[[], Label], keep: Callable[[str, object], None],
        kept: Mapping[str, object],
    ) -> None:  # fmt: skip
        self._tz = tz
        self._label = label
        self._keep = keep
        self._exercises = {
            output: _Exercise(output, moments, msgspec.convert(kept.get(KEEP + output, {}), Kept))
            for output, moments in when.items()
        }

    def wish(self, output: str) -> Wish | None:
        exercise = self._exercises.get(output)
        return Wish(True, {"by": BY, "why": BY}) if exercise and exercise.wants else None

    def tick(self, now_s: float, switches: Switches, blocked: Blocked) -> list[Record]:
        """What became of exercises, as events."""
        found: list[Record] = []
        for exercise in self._exercises.values():
            if exercise.was_broken_off:
                exercise.was_broken_off = False
                found.append(self._over(exercise, "broken-off", "restart", now_s))
            elif exercise.since_s is not None:
                found += self._going(exercise, exercise.since_s, switches, now_s)
            else:
                found += self._due(exercise, blocked, now_s)
        return found

    def _due(self, exercise: _Exercise, blocked: Blocked, now_s: float) -> list[Record]:
        label = self._label()
        if label.wall is None:
            return []
        date, moment_s = exercise.when.latest(label.wall, self._tz)
        if date <= exercise.kept.last:  # also after a clock that was ahead has been put right
            return []
        if not exercise.kept.last:
            self._settle(exercise, date)  # a new box owes nothing of the past
            return []
        if label.wall - moment_s > WINDOW_S:
            self._settle(exercise, date)
            return [self._over(exercise, "skipped", exercise.why or "off", now_s)]
        if why := blocked(exercise.output):
            exercise.why = why
            return []
        self._settle(exercise, date, running=True)
        exercise.wants, exercise.since_s, exercise.took_s, exercise.is_proved = True, now_s, [], True
        return []

    def _going(self, exercise: _Exercise, since_s: float, switches: Switches, now_s: float) -> list[Record]:
        """Out and back; each half ends with its proof, or without it."""
        if switches.by(exercise.output) != BY:
            return [self._over(exercise, "broken-off", switches.by(exercise.output), now_s)]
        proved = switches.is_proved(exercise.output)
        if not switches.is_settled(exercise.output, now_s):
            return []
        if proved is False and now_s - since_s < switches.travel_s(exercise.output) + _PATIENCE_S:
            return []
        exercise.took_s.append(round(now_s - since_s, 1))
        if proved is None or not proved:
            exercise.is_proved = proved if exercise.is_proved is True else exercise.is_proved
        if exercise.wants:
            exercise.wants, exercise.since_s = False, now_s
            return []
        value = {True: "proved", False: "unproved", None: "done"}[exercise.is_proved]
        return [self._over(exercise, value, "", now_s)]

    def _over(self, exercise: _Exercise, value: str, why: str, now_s: float) -> Record:
        data: Json = {"value": value, "output": exercise.output, "took_s": exercise.took_s}
        data |= {"why": why} if why else {}
        exercise.wants, exercise.since_s, exercise.took_s, exercise.why = False, None, [], ""
        self._settle(exercise, exercise.kept.last)
        return Record("output.exercised", exercise.output, now_s, data)

    def _settle(self, exercise: _Exercise, date: str, *, running: bool = False) -> None:
        exercise.kept = Kept(date, running)
        self._keep(KEEP + exercise.output, msgspec.to_builtins(exercise.kept))
