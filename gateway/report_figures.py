"""The figures of a centre's month for the report: waits, ratings, leaks, water at night. Each carries its n.

Definitions: a wait is from ticket issued to first called, on the boot's clock where both have it, else by the wall;
kept is a ticket called within the promise, of all that were issued (one that was never called counts as not kept).
Fewer than N_LEAST are not shown: too few to say anything, and enough to guess who it was.
"""

from collections.abc import Iterable
from datetime import date
from statistics import median, quantiles
from typing import NamedTuple

from gateway.facility_figures import FacilityMonth, facilities, until
from gateway.figures import N_LEAST
from gateway.month import Month, month_of
from gateway.report_facts import Centre, Fact, Gap


class Day(NamedTuple):
    """One day of one queue. half_s: the median wait; None: nobody was called. kept: of n; None when n < N_LEAST."""

    day: date
    n: int
    kept: float | None
    half_s: float | None


class Waits(NamedTuple):
    """One queue. issued: tickets; called: those of them that were; unheard: tickets were seen, calls never are.

    half_s, most_s: half and nine of ten who were called waited less; None below N_LEAST.
    """

    name: str
    title: str
    within_min: float
    promised: float
    issued: int
    called: int
    kept: float | None
    half_s: float | None
    most_s: float | None
    unheard: bool
    days: list[Day]

    @property
    def is_kept(self) -> bool | None:
        return None if self.kept is None else self.kept >= self.promised


class Leak(NamedTuple):
    """One coming of a water alarm. closed_s: from the alarm to the command to a valve; None: there was none.

    was_shut: the last command to a valve before it was to close.
    """

    title: str
    at_s: float
    closed_s: float | None
    was_shut: bool


class Water(NamedTuple):
    """One meter. nights: {day: m3 between midnight and five}; None: not known."""

    title: str
    nights: dict[date, float | None]


class Ratings(NamedTuple):
    """counts: {grade: n}, 5 is best. asked: ratings with a grade and without."""

    counts: dict[int, int]
    asked: int

    @property
    def n(self) -> int:
        return sum(self.counts.values())


class CentreMonth(NamedTuple):
    """until_s: the month's end, or when the centre was last heard. known_from_s: where what is held begins.

    restarts: of the machine; what happened while it was off nobody heard.
    """

    centre: Centre
    month: Month
    until_s: float
    known_from_s: float | None
    waits: list[Waits]
    tickets_without_identity: int
    ratings: Ratings
    leaks: list[Leak]
    tests: int
    water: list[Water]
    facilities: list[FacilityMonth]
    gaps: list[Gap]
    restarts: int


class _Ticket:
    def __init__(self, fact: Fact) -> None:
        self.issued = fact
        self.wait_s: float | None = None


def of_month(centre: Centre, name: str) -> CentreMonth:
    """name: "2026-11". In the centre's own time zone."""
    month = month_of(name, str(centre.about.get("tz", "UTC")), str(centre.about.get("open", "")))
    until_s = until(centre, month)
    here = [fact for fact in centre.facts if fact.wall_s is not None and month.from_s <= fact.wall_s < until_s]
    known_from_s = None if centre.held_from_s is None else max(month.from_s, centre.held_from_s)
    if known_from_s is not None and known_from_s >= until_s:
        known_from_s = None
    tickets, nameless = _tickets(fact for fact in centre.facts if not fact.test)
    leaks, tests = _leaks(centre, here)
    gaps = [gap for gap in centre.gaps if (gap.to_s or month.from_s) >= month.from_s and (gap.from_s or 0.0) < until_s]
    return CentreMonth(
        centre, month, until_s, known_from_s, _waits(centre, month, until_s, tickets), nameless,
        _ratings(here), leaks, tests, _water(centre, month, here), facilities(centre, month), gaps,
        max(0, len({fact.boot for fact in here}) - 1),
    )  # fmt: skip


# -- waits -------------------------------------------------------------------------------------------------------------


def _tickets(facts: Iterable[Fact]) -> tuple[dict[str, _Ticket], int]:
    """({ticket: it}, events of tickets that cannot be told apart)."""
    found: dict[str, _Ticket] = {}
    nameless = 0
    for fact in sorted(facts, key=lambda fact: (fact.boot, fact.mono_s)):
        if fact.kind not in ("ticket.issued", "ticket.called"):
            continue
        name = fact.data.get("ticket")
        if not isinstance(name, str):
            nameless += fact.kind == "ticket.issued"
        elif fact.kind == "ticket.issued":
            found.setdefault(name, _Ticket(fact))
        elif name in found and found[name].wait_s is None:
            found[name].wait_s = _between_s(found[name].issued, fact)
    return found, nameless


def _between_s(one: Fact, other: Fact) -> float | None:
    if one.boot == other.boot:
        return max(0.0, other.mono_s - one.mono_s)
    return max(0.0, other.wall_s - one.wall_s) if one.wall_s is not None and other.wall_s is not None else None


def _waits(centre: Centre, month: Month, until_s: float, tickets: dict[str, _Ticket]) -> list[Waits]:
    queues = centre.about.get("queues", {})
    assert isinstance(queues, dict)
    by_queue: dict[str, list[_Ticket]] = {name: [] for name in queues}
    for name, ticket in tickets.items():
        at_s = ticket.issued.wall_s
        if at_s is not None and month.from_s <= at_s < until_s:
            by_queue.setdefault(name.partition("/")[0], []).append(ticket)
    return [
        _queue(name, queues.get(name, {"name": name, "within_min": 15.0, "share": 0.8}), found, month)
        for name, found in by_queue.items()
    ]


def _queue(name: str, words: dict[str, object], tickets: list[_Ticket], month: Month) -> Waits:
    within_min = float(str(words["within_min"]))
    waits_s = [ticket.wait_s for ticket in tickets if ticket.wait_s is not None]
    unheard = bool(tickets) and not waits_s
    days: dict[date, list[_Ticket]] = {day: [] for day in month.days}
    for ticket in tickets:
        days[month.day_of(ticket.issued.wall_s or 0.0)].append(ticket)
    enough = len(waits_s) >= N_LEAST
    return Waits(
        name, str(words["name"]), within_min, float(str(words["share"])), len(tickets), len(waits_s),
        None if unheard else _kept(tickets, within_min), median(waits_s) if enough else None,
        quantiles(waits_s, n=10, method="inclusive")[8] if enough else None, unheard,
        [_day(day, found, within_min, unheard) for day, found in days.items()],
    )  # fmt: skip


def _day(day: date, tickets: list[_Ticket], within_min: float, unheard: bool) -> Day:
    waits_s = [ticket.wait_s for ticket in tickets if ticket.wait_s is not None]
    half_s = median(waits_s) if len(waits_s) >= N_LEAST else None
    return Day(day, len(tickets), None if unheard else _kept(tickets, within_min), half_s)


def _kept(tickets: list[_Ticket], within_min: float) -> float | None:
    if len(tickets) < N_LEAST:
        return None
    return sum(t.wait_s is not None and t.wait_s <= within_min * 60 for t in tickets) / len(tickets)


# -- the rest ----------------------------------------------------------------------------------------------------------


def _ratings(facts: Iterable[Fact]) -> Ratings:
    """One visit gives one grade, the first."""
    counts = dict.fromkeys((5, 4, 3, 2, 1), 0)
    graded: set[object] = set()
    asked = 0
    for fact in facts:
        ticket = fact.data.get("ticket")
        if fact.kind != "ticket.rated" or fact.test or ticket in graded:
            continue
        asked += 1
        grade = fact.data["value"]
        if isinstance(grade, int) and grade in counts:
            counts[grade] += 1
            graded |= {ticket} - {None}
    return Ratings(counts, asked)


def _leaks(centre: Centre, facts: list[Fact]) -> tuple[list[Leak], int]:
    """(leaks, how many more were tests). Each coming of an alarm is told by name and occurrence."""
    alarms = centre.about.get("water_alarms", {})
    assert isinstance(alarms, dict)
    came: dict[tuple[object, object], Fact] = {}
    closed: dict[tuple[object, object], Fact] = {}
    shut: set[str] = set()
    shut_at: dict[tuple[object, object], bool] = {}
    for fact in facts:
        data = fact.data
        if fact.kind == "alarm" and fact.subject in alarms and data["state"] == "unacknowledged":
            key = (fact.subject, data["occurrence"])
            if came.setdefault(key, fact) is fact:
                shut_at[key] = bool(shut)
        elif fact.kind == "output.changed" and data["value"] in ("close", "open"):
            (shut.add if data["value"] == "close" else shut.discard)(fact.subject)
            if data["value"] == "close" and isinstance(cause := data["cause"], dict):
                closed.setdefault((cause.get("alarm"), cause.get("occurrence")), fact)
    leaks = [
        Leak(
            str(alarms[fact.subject]), fact.wall_s or 0.0,
            _between_s(fact, closed[key]) if key in closed else None, shut_at[key],
        )
        for key, fact in came.items()
        if not fact.data["test"]
    ]  # fmt: skip
    return leaks, len(came) - len(leaks)


def _water(centre: Centre, month: Month, facts: list[Fact]) -> list[Water]:
    meters = centre.about.get("meters", {})
    assert isinstance(meters, dict)
    found = {name: Water(str(title), dict.fromkeys(month.days)) for name, title in meters.items()}
    for fact in facts:
        if fact.kind == "water.night" and fact.subject in found:
            value = fact.data["value"]
            day = date.fromisoformat(str(fact.data["day"]))
            if day in found[fact.subject].nights and isinstance(value, int | float):
                found[fact.subject].nights[day] = float(value)
    return list(found.values())
