"""What the box does about an alarm: which reactions are in force, decided before anything touches disk or network.

A reaction comes into force once an occurrence. What holds with its alarm ends with it (undo "auto": a strobe); what
must be undone on the spot stays (undo "on-site": water comes back only by hand). Sans-IO: alarms and the time go in;
`wish` says what an output shall be, and what is kept survives a restart, so that nothing is done twice.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import msgspec

from gateway.contract import Json, Label, Record

KEEP = "reaction:"
ENERGISE = {"on": True, "close": True, "off": False, "open": False}
UNDOES_ITSELF = ("on", "off")  # unless the site file says otherwise
_DAY_S = 86_400.0


class Plan(NamedTuple):
    """One reaction of the site file: when `alarm` has stood for after_s, do `action` to `output`.

    per_day: at most so often in 24 hours, None for any. unless: modes in which it waits. undo: "auto" or "on-site", ""
    for what suits the action.
    """

    name: str
    alarm: str
    after_s: float
    output: str
    action: str
    per_day: int | None = None
    unless: tuple[str, ...] = ()
    undo: str = ""

    @property
    def undoes_itself(self) -> bool:
        return self.undo == "auto" or (not self.undo and self.action in UNDOES_ITSELF)


class Wish(NamedTuple):
    """What somebody wants of an output, and why: the `cause` of the event that tells it."""

    on: bool
    cause: Json


class _Acted(msgspec.Struct, array_like=True, frozen=True):
    """When it acted. wall_s: UTC, None when nobody knew it."""

    boot: int
    mono_s: float
    wall_s: float | None

    def of_this_boot(self, label: Label) -> "_Acted":
        """By this boot's clock; a time that nobody can tell counts as now, so that a limit is never passed."""
        if self.boot == label.boot:
            return self
        known = self.wall_s is not None and label.wall is not None
        ago_s = max(0.0, label.wall - self.wall_s) if known else 0.0  # type: ignore[operator]
        return _Acted(label.boot, label.mono - ago_s, self.wall_s)


class _Waits(msgspec.Struct, array_like=True, frozen=True):
    """Since when it waits for its time."""

    occurrence: int
    boot: int
    mono_s: float


class Kept(msgspec.Struct):
    """What of a reaction survives a restart.

    occurrence: of its alarm, the last one that was decided. acted: in the last day, where there is a limit to it.
    """

    occurrence: int = 0
    in_force: bool = False
    acted: list[_Acted] = []
    waits: _Waits | None = None


class _Reaction:
    def __init__(self, plan: Plan, kept: Kept) -> None:
        self.plan = plan
        self.kept = kept
        self.since_s: float | None = None  # while its alarm stands
        self.occurrence = kept.occurrence
        self.told_held = ("", 0)
        self._wish: Wish | None = None

    @property
    def wish(self) -> Wish:
        """What it wants while it is in force; asked several times a second, so one answer serves an occurrence."""
        if self._wish is None or self._wish.cause["occurrence"] != self.occurrence:
            plan = self.plan
            cause: Json = {"by": "reaction", "reaction": plan.name, "alarm": plan.alarm}
            self._wish = Wish(ENERGISE[plan.action], {**cause, "occurrence": self.occurrence, "why": "standing"})
        return self._wish


class Reactions:
    """kept: state of an earlier run, by key. held: alarm -> the modes that it is in now."""

    def __init__(
        self, plans: list[Plan], label: Callable[[], Label], keep: Callable[[str, object], None],
        kept: Mapping[str, object], held: Callable[[str], Collection[str]] = lambda alarm: (),
    ) -> None:  # fmt: skip
        self._label = label
        self._keep = keep
        self._held = held
        self._reactions = [_Reaction(plan, msgspec.convert(kept.get(KEEP + plan.name, {}), Kept)) for plan in plans]
        for reaction in self._reactions:
            reaction.kept.acted = [acted.of_this_boot(label()) for acted in reaction.kept.acted]

    def alarm(self, name: str, standing: bool, occurrence: int, now_s: float) -> list[Record]:
        """An alarm changed its state, or stood already when the gateway started. Gives what is held back, and why."""
        for reaction in self._reactions:
            if reaction.plan.alarm == name:
                if standing:
                    self._stands(reaction, occurrence, now_s)
                else:
                    reaction.since_s = None
                    if reaction.kept.in_force and reaction.plan.undoes_itself:
                        self._release(reaction)
        return self.tick(now_s) if standing else []

    def _stands(self, reaction: _Reaction, occurrence: int, now_s: float) -> None:
        reaction.occurrence = occurrence
        if reaction.since_s is not None or reaction.kept.occurrence == occurrence:
            reaction.since_s = now_s if reaction.since_s is None else reaction.since_s
            return
        boot = self._label().boot
        waits = reaction.kept.waits
        if waits is None or (waits.occurrence, waits.boot) != (occurrence, boot):
            waits = reaction.kept.waits = _Waits(occurrence, boot, now_s)
            if reaction.plan.after_s:
                self._save(reaction)
        reaction.since_s = min(waits.mono_s, now_s)

    def tick(self, now_s: float) -> list[Record]:
        """Reactions whose time has come. Gives what is held back, and why, once each."""
        found: list[Record] = []
        for reaction in self._reactions:
            if reaction.since_s is None or reaction.kept.occurrence == reaction.occurrence:
                continue
            modes = self._held(reaction.plan.alarm) if reaction.plan.unless else ()
            if mode := next((mode for mode in reaction.plan.unless if mode in modes), ""):
                reaction.since_s = now_s  # its time counts from the end of the mode
                found += self._tell_held(reaction, mode, now_s)
            elif now_s - reaction.since_s >= reaction.plan.after_s:
                found += self._come_into_force(reaction, now_s)
        return found

    def _come_into_force(self, reaction: _Reaction, now_s: float) -> list[Record]:
        kept, plan = reaction.kept, reaction.plan
        kept.occurrence, kept.waits = reaction.occurrence, None
        kept.acted = [acted for acted in kept.acted if plan.per_day and now_s - acted.mono_s < _DAY_S]
        if not kept.in_force:
            if plan.per_day is not None and len(kept.acted) >= plan.per_day:
                self._save(reaction)
                return self._tell_held(reaction, "per-day", now_s)
            if plan.per_day is not None:  # else nobody ever asks, and the row is written at each deed
                label = self._label()
                wall_s = None if label.wall is None else label.wall + now_s - label.mono
                kept.acted.append(_Acted(label.boot, now_s, wall_s))
            kept.in_force = True
        self._save(reaction)
        return []

    def _tell_held(self, reaction: _Reaction, why: str, now_s: float) -> list[Record]:
        if reaction.told_held == (why, reaction.occurrence):
            return []
        reaction.told_held = (why, reaction.occurrence)
        plan = reaction.plan
        data: Json = {"value": plan.name, "alarm": plan.alarm, "occurrence": reaction.occurrence, "why": why}
        return [Record("reaction.held", plan.name, now_s, data)]

    def restored(self, stands: Callable[[str], bool]) -> None:
        """After a start: what holds with an alarm that is over by now ends."""
        for reaction in self._reactions:
            if reaction.kept.in_force and reaction.plan.undoes_itself and not stands(reaction.plan.alarm):
                self._release(reaction)

    def take_back(self, output: str) -> None:
        """Somebody on the spot says that all is well with an output: what no standing alarm asks for ends."""
        for reaction in self._reactions:
            if reaction.plan.output == output and reaction.kept.in_force and reaction.since_s is None:
                self._release(reaction)

    def wish(self, output: str) -> Wish | None:
        for reaction in self._reactions:
            if reaction.kept.in_force and reaction.plan.output == output:
                return reaction.wish
        return None

    def is_undone_on_site(self, output: str) -> bool:
        """Whether what is in force for it may only be undone on the spot."""
        return any(
            r.kept.in_force and not r.plan.undoes_itself for r in self._reactions if r.plan.output == output
        )  # fmt: skip

    def _release(self, reaction: _Reaction) -> None:
        reaction.kept.in_force = False
        self._save(reaction)

    def _save(self, reaction: _Reaction) -> None:
        self._keep(KEEP + reaction.plan.name, msgspec.to_builtins(reaction.kept))
