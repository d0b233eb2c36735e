"""The life of one alarm after ISA-18.2: which state follows from what happens, and what is told of it.

Sans-IO: whether the cause is there is decided in alarms.py. docs/alarms.md has the table; a test holds it to `step`.
"""

from typing import NamedTuple

import msgspec

from gateway.conditions import Condition
from gateway.contract import Json
from gateway.moment import Here, Moment

NORMAL = "normal"
UNACKNOWLEDGED = "unacknowledged"
ACKNOWLEDGED = "acknowledged"
RETURNED = "returned-unacknowledged"
LATCHED = "latched"
SHELVED = "shelved"
STATES = (NORMAL, UNACKNOWLEDGED, ACKNOWLEDGED, RETURNED, LATCHED, SHELVED)
STANDING = (UNACKNOWLEDGED, ACKNOWLEDGED, LATCHED)  # a reaction holds as long as its alarm stands

ON, OFF, ACKNOWLEDGE, RESET, SHELVE, UNSHELVE = "on", "off", "acknowledge", "reset", "shelve", "unshelve"
EVENTS = (ON, OFF, ACKNOWLEDGE, RESET, SHELVE, UNSHELVE)

# What a record tells beside its state: why it was written.
CAME, WENT, CHATTERS, CALM, ESCALATED = "came", "went", "chatters", "calm", "escalated"
_TOLD = {ON: CAME, OFF: WENT, ACKNOWLEDGE: "acknowledged", RESET: "reset", SHELVE: "shelved", UNSHELVE: "unshelved"}
WHATS = (*_TOLD.values(), CHATTERS, CALM, ESCALATED)

WAYS = ("desk", "button", "page", "city")
"""From where a person may act: `linli alarm` at the box, a button on the wall, the box's page, the city's command."""
CLOCK_WAIT_S = 600.0  # a shelf of an earlier boot waits so long for the clock, then it ends


class Refused(ValueError):
    """What the site file does not allow: found, expected, what to do."""


class ChatterLimit(NamedTuple):
    """times comings within within_s are chatter (ISA-18.2: three a minute); over after calm_s without a change.

    hold_s: an alarm stands so long at least, because what flickers faster is one alarm before chatter can be known.
    """

    times: int = 3
    within_s: float = 60.0
    calm_s: float = 60.0
    hold_s: float = 0.5


class Rule(NamedTuple):
    """One alarm of the site file. any: it holds when one of them does, each for its own time.

    escalate_s: told again after so long without an acknowledgement. shelve_s: for how long at most, 0 never. ways: who
    may acknowledge and shelve it. on_site: the city may not reset it. group: who shares its first-out.
    """

    name: str
    title: str
    severity: str
    any: tuple[Condition, ...]
    on_s: float = 0.0
    off_s: float = 0.0
    latch: bool = False
    escalate_s: tuple[float, ...] = ()
    chatter: ChatterLimit = ChatterLimit()
    shelve_s: float = 8 * 3600.0
    ways: tuple[str, ...] = WAYS
    on_site: bool = False
    group: str = ""

    def permit(self, deed: str, by: str, ways: tuple[str, ...]) -> None:
        """by: "<way>" or "<way>:<who>". Raises Refused."""
        way = by.partition(":")[0]
        if way not in ways:
            expected = " or ".join(ways) or "nobody"
            raise Refused(f"found {deed} of {self.name} from {way}, expected from {expected}; do it there")


class Shelf(msgspec.Struct, frozen=True):
    """Out of sight since then, for so long, by whom."""

    since: Moment
    for_s: float
    by: str

    def is_over(self, here: Here, now_s: float, started_s: float) -> bool:
        """It never lasts longer than was said, whatever clocks do; what nobody can tell ends it.

        started_s: of this program. A box that was off asks the wall; while that is unsure it waits for CLOCK_WAIT_S.
        """
        gone_s = here.since_s(self.since, now_s)
        if gone_s is None:
            return self.since.wall_s is None or now_s - started_s >= CLOCK_WAIT_S
        if self.since.wall_s is not None and here.offset_s is not None:
            gone_s = max(gone_s, now_s + here.offset_s - self.since.wall_s)
        return not 0 <= gone_s < self.for_s


class Kept(msgspec.Struct, omit_defaults=True):
    """What of an alarm survives a restart.

    active: its cause is there. entered: this state. unacknowledged: since when nobody has acknowledged it. escalation:
    steps told. chatter: as in the record. latched: beneath the shelf. order, first_out: of its last coming. summarised:
    that was in a flood, and the alarm `box:flood` tells it to people.
    """

    state: str = NORMAL
    occurrence: int = 0
    cause: Json = {}
    active: bool = False
    entered: Moment | None = None
    unacknowledged: Moment | None = None
    escalation: int = 0
    chatter: Json | None = None
    shelf: Shelf | None = None
    latched: bool = False
    order: int = 0
    first_out: bool = False
    summarised: bool = False


class Change(NamedTuple):
    """One step of one alarm's life. cause: the condition as written, and the fact that made it hold.

    what: why it is told. by: the person's way, "" when nobody did it. kept: as it is after this step; a copy.
    """

    rule: Rule
    what: str
    state: str
    prev: str
    mono_s: float
    kept: Kept
    by: str = ""

    @property
    def standing(self) -> bool:
        return self.state in STANDING

    @property
    def occurrence(self) -> int:
        return self.kept.occurrence

    @property
    def cause(self) -> Json:
        return self.kept.cause

    def data(self, since: str | None, test: bool = False) -> Json:
        """The full snapshot that travels. since: of this state, RFC 3339, None while the clock is unsure."""
        kept = self.kept
        data: Json = {
            "value": self.state, "alarm_id": self.rule.name, "state": self.state, "prev": self.prev,
            "severity": self.rule.severity, "since": since, "cause": kept.cause or None, "test": test,
            "name": self.rule.title, "occurrence": kept.occurrence, "what": self.what, "active": kept.active,
            "acknowledged": kept.unacknowledged is None,
        }  # fmt: skip
        more: Json = {
            "by": self.by, "escalation": kept.escalation, "chatter": kept.chatter, "order": kept.order,
            "group": self.rule.group, "summarised": kept.summarised,
        }  # fmt: skip
        if kept.order:
            more["first_out"] = kept.first_out
        if kept.shelf:
            more["shelved_s"] = kept.shelf.for_s
        return data | {key: value for key, value in more.items() if value or key == "first_out"}


def step(state: str, event: str, *, latch: bool = False, active: bool = False, latched: bool = False) -> str | None:
    """The next state; None: the event means nothing there. active, latched: what is beneath the shelf."""
    if event == SHELVE:
        return SHELVED
    if event == OFF and state in (UNACKNOWLEDGED, ACKNOWLEDGED) and latch:
        return LATCHED
    if event == UNSHELVE and state == SHELVED:
        return UNACKNOWLEDGED if active else LATCHED if latched else NORMAL
    return _NEXT.get((state, event))


_NEXT = {
    (NORMAL, ON): UNACKNOWLEDGED,
    (UNACKNOWLEDGED, OFF): RETURNED,
    (UNACKNOWLEDGED, ACKNOWLEDGE): ACKNOWLEDGED,
    (ACKNOWLEDGED, OFF): NORMAL,
    (RETURNED, ON): UNACKNOWLEDGED,
    (RETURNED, ACKNOWLEDGE): NORMAL,
    (LATCHED, ON): UNACKNOWLEDGED,
    (LATCHED, ACKNOWLEDGE): LATCHED,
    (LATCHED, RESET): NORMAL,
    (SHELVED, ON): SHELVED,
    (SHELVED, OFF): SHELVED,
}


class Life:
    """The state of one alarm. started_s: of this program."""

    def __init__(self, rule: Rule, kept: Kept, started_s: float) -> None:
        self.rule = rule
        self.kept = kept
        self._started_s = started_s
        if kept.state in (UNACKNOWLEDGED, ACKNOWLEDGED):
            kept.active = True  # kept by a version that did not say so; nor since when nobody acknowledges it
        if kept.state in (UNACKNOWLEDGED, RETURNED) and kept.unacknowledged is None:
            kept.unacknowledged = Moment(-1, 0.0)

    @property
    def active(self) -> bool:
        return self.kept.active

    @property
    def is_idle(self) -> bool:
        """Time alone changes nothing."""
        kept = self.kept
        return not (kept.active or kept.unacknowledged or kept.shelf or kept.chatter)

    @property
    def _reset_ways(self) -> tuple[str, ...]:
        return tuple(way for way in WAYS if way != "city") if self.rule.on_site else WAYS

    def on(self, cause: Json, mono_s: float, here: Here) -> list[Change]:
        kept = self.kept
        kept.active, kept.cause = True, cause
        if kept.state == SHELVED:
            kept.latched |= self.rule.latch
        else:
            self._annunciate(mono_s, here)
        return self._step(ON, mono_s, here)

    def off(self, mono_s: float, here: Here) -> list[Change]:
        self.kept.active = False
        return self._step(OFF, mono_s, here)

    def carried(self, came: Kept, mono_s: float, now_s: float, here: Here) -> list[Change]:
        """It came at mono_s in another store; `came` is what it is there now. A shelf is not carried over."""
        changes = self.on(came.cause, mono_s, here)
        kept, prev = self.kept, self.kept.state
        if came.state in (UNACKNOWLEDGED, SHELVED) or prev == SHELVED:
            return changes
        kept.state, kept.entered = came.state, here.moment(now_s)
        kept.active = came.state == ACKNOWLEDGED
        if came.unacknowledged is None and came.state != RETURNED:
            kept.unacknowledged = None
        what = _TOLD[ACKNOWLEDGE] if kept.active else WENT
        return [*changes, Change(self.rule, what, came.state, prev, now_s, msgspec.structs.replace(kept))]

    def again(self, mono_s: float, here: Here) -> list[Change]:
        """The mode that it was born in is over, and it is still there: now it is in earnest."""
        kept, prev = self.kept, self.kept.state
        if not kept.active or prev == SHELVED:
            return []
        kept.unacknowledged = None  # nobody was called to it
        self._annunciate(mono_s, here)
        kept.state, kept.entered = UNACKNOWLEDGED, here.moment(mono_s)
        return [Change(self.rule, CAME, UNACKNOWLEDGED, prev, mono_s, msgspec.structs.replace(kept))]

    def acknowledge(self, mono_s: float, here: Here, by: str) -> list[Change]:
        """Raises Refused."""
        self.rule.permit(ACKNOWLEDGE, by, self.rule.ways)
        if self.kept.unacknowledged is None or self.kept.state == SHELVED:
            return []
        self.kept.unacknowledged = None
        return self._step(ACKNOWLEDGE, mono_s, here, by)

    def reset(self, mono_s: float, here: Here, by: str) -> list[Change]:
        """On the spot, after the cause is gone. Raises Refused."""
        self.rule.permit(RESET, by, self._reset_ways)
        if step(self.kept.state, RESET) is None:
            return []
        self.kept.unacknowledged = None
        return self._step(RESET, mono_s, here, by)

    def shelve(self, for_s: float, mono_s: float, here: Here, by: str) -> list[Change]:
        """Out of sight for so long, again from now when it is there already. Raises Refused."""
        rule, kept = self.rule, self.kept
        rule.permit(SHELVE, by, rule.ways)
        if not 0 < for_s <= rule.shelve_s:
            most = f"at most {rule.shelve_s / 3600:g} h" if rule.shelve_s else "never, by the site file's shelve_h"
            raise Refused(f"found shelve of {rule.name} for {for_s / 3600:g} h, expected {most}; see to its cause")
        kept.latched |= kept.state == LATCHED or (rule.latch and kept.active)
        kept.shelf = Shelf(here.moment(mono_s), for_s, by)
        kept.unacknowledged = None
        return self._step(SHELVE, mono_s, here, by)

    def unshelve(self, mono_s: float, here: Here, by: str = "") -> list[Change]:
        """by: "" at its end. Raises Refused."""
        kept = self.kept
        if by:
            self.rule.permit(UNSHELVE, by, self.rule.ways)
        if kept.shelf is None:
            return []
        kept.shelf = None
        if kept.active:
            self._annunciate(mono_s, here)
        elif kept.latched:
            kept.unacknowledged, kept.escalation = here.moment(mono_s), 0
        return self._step(UNSHELVE, mono_s, here, by)

    def tick(self, now_s: float, here: Here) -> list[Change]:
        """The shelf's end, and the next step of escalation."""
        kept = self.kept
        if kept.shelf and kept.shelf.is_over(here, now_s, self._started_s):
            return self.unshelve(now_s, here)
        if kept.unacknowledged is None or kept.escalation >= len(self.rule.escalate_s):
            return []
        waited_s = here.since_s(kept.unacknowledged, now_s)
        if waited_s is None or waited_s < 0:
            waited_s = now_s - self._started_s  # for how long the box was off nobody can say
        if waited_s < self.rule.escalate_s[kept.escalation]:
            return []
        kept.escalation += 1
        return [self._note(ESCALATED, now_s)]

    def chatters(self, note: Json, mono_s: float) -> list[Change]:
        """It comes too often: one alarm, which stands until it is calm."""
        self.kept.chatter = note
        return [self._note(CHATTERS, mono_s)]

    def calm(self, note: Json, mono_s: float) -> list[Change]:
        self.kept.chatter = note
        change = self._note(CALM, mono_s)
        self.kept.chatter = None
        return [change]

    def may(self, way: str) -> list[str]:
        """What a person could do to it now from there, as the methods above decide."""
        kept, rule = self.kept, self.rule
        able = {
            ACKNOWLEDGE: kept.unacknowledged is not None and kept.state != SHELVED and way in rule.ways,
            RESET: step(kept.state, RESET) is not None and way in self._reset_ways,
            SHELVE: kept.state != SHELVED and rule.shelve_s > 0 and way in rule.ways,
            UNSHELVE: kept.shelf is not None and way in rule.ways,
        }
        return [deed for deed, can in able.items() if can]

    def told(self, now_s: float, here: Here, way: str) -> Json:
        """As a person at the box is told. since_s, shelved_left_s: None when nobody can say. may: what can be done from
        that way, shelve_h: for how long at most.
        """
        kept, rule = self.kept, self.rule
        since_s = here.since_s(kept.entered, now_s) if kept.entered else None
        told: Json = {
            "alarm": rule.name, "name": rule.title, "state": kept.state, "severity": rule.severity, "since_s": since_s,
            "active": kept.active, "order": kept.order, "first_out": kept.first_out, "group": rule.group,
            "chatter": kept.chatter, "escalation": kept.escalation, "acknowledged": kept.unacknowledged is None,
            "cause": kept.cause, "may": self.may(way), "shelve_h": rule.shelve_s / 3600,
        }  # fmt: skip
        if kept.shelf:
            gone_s = here.since_s(kept.shelf.since, now_s)
            left_s = None if gone_s is None else kept.shelf.for_s - gone_s
            told |= {"shelved_left_s": left_s, "by": kept.shelf.by}
        return told

    def _annunciate(self, mono_s: float, here: Here) -> None:
        kept = self.kept
        kept.occurrence += 1
        if kept.unacknowledged is None:  # one that comes again and again is as urgent as one that stays
            kept.unacknowledged, kept.escalation = here.moment(mono_s), 0

    def _step(self, event: str, mono_s: float, here: Here, by: str = "") -> list[Change]:
        kept, prev = self.kept, self.kept.state
        after = step(prev, event, latch=self.rule.latch, active=kept.active, latched=kept.latched)
        assert after is not None, f"{event} in state {prev}"
        if after != prev:
            kept.state, kept.entered = after, here.moment(mono_s)
        if after != SHELVED:
            kept.latched = False
        if after == NORMAL:
            kept.unacknowledged, kept.escalation = None, 0
        return [Change(self.rule, _TOLD[event], after, prev, mono_s, msgspec.structs.replace(kept), by)]

    def _note(self, what: str, mono_s: float) -> Change:
        state = self.kept.state
        return Change(self.rule, what, state, state, mono_s, msgspec.structs.replace(self.kept))
