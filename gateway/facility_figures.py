"""The hours, cases and tests of a facility in a month, out of the entries of its log (gateway/facilities.py).

An entry says what is true from then on. Before the first one nothing is known; and since the log says once a day where
it stands, nothing is known either when it has been silent for longer. Not so when a case was open: it is out of service
until an entry says otherwise; nor without sensors: then people watch, whether the gateway runs or not.
"""

import math
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from gateway.contract import Json
from gateway.facilities import IN_SERVICE, OUT_OF_SERVICE, UNKNOWN
from gateway.month import Month, Span, overlap
from gateway.report_facts import Centre, Fact

STATES = (IN_SERVICE, OUT_OF_SERVICE, UNKNOWN)
SILENT_S = 26 * 3600.0  # a day, and some time for a gateway that is slow to learn the time
_DAY_S = 86_400.0


class Case(NamedTuple):
    """Times are UTC s; opened_s is None when it is not known, the others also when it has not happened."""

    number: int
    cause: str
    opened_s: float | None
    acknowledged_s: float | None = None
    acknowledged_by: str = ""
    repaired_s: float | None = None
    repaired_by: str = ""
    notes: tuple[str, ...] = ()
    is_open: bool = True

    def hours(self, until_s: float) -> float | None:
        """From when it began until it was over, or until then."""
        end_s = until_s if self.is_open else self.repaired_s
        return (end_s - self.opened_s) / 3600 if self.opened_s is not None and end_s is not None else None


class Test(NamedTuple):
    at_s: float
    by: str
    note: str


class Hours(NamedTuple):
    """Of one sort of time (all of it, or opening time), in hours."""

    in_service: float
    out_of_service: float
    unknown: float

    @property
    def availability(self) -> float | None:
        """Of the hours in which the state was known; None when it never was."""
        known = self.in_service + self.out_of_service
        return self.in_service / known if known else None


class FacilityMonth(NamedTuple):
    """open: None when the site file has no opening hours. untested_days: since the last test, at the end."""

    name: str
    title: str
    duty: str
    repair_hours: float
    test_days: int
    all: Hours
    open: Hours | None
    cases: list[Case]
    tests: list[Test]
    untested_days: float | None
    until_s: float
    entries: list[Fact]

    @property
    def late(self) -> list[Case]:
        """Cases that took longer than they may."""
        return [case for case in self.cases if (case.hours(self.until_s) or 0.0) > self.repair_hours]


def facilities(centre: Centre, month: Month) -> list[FacilityMonth]:
    """Of each facility that the dictionary names, or that the log speaks of."""
    entries: dict[str, list[Fact]] = {name: [] for name in _words(centre)}
    for fact in centre.facts:
        if fact.kind.startswith("facility.") and fact.wall_s is not None:
            entries.setdefault(fact.subject, []).append(fact)
    until_s = until(centre, month)
    return [_facility(name, _words(centre).get(name, {}), found, month, until_s) for name, found in entries.items()]


def until(centre: Centre, month: Month) -> float:
    """The end of the month, or when the centre was last heard in it, or its beginning."""
    return max(month.from_s, min(month.to_s, centre.heard_to_s or month.from_s))


def _words(centre: Centre) -> dict[str, Json]:
    found = centre.about.get("facilities", {})
    assert isinstance(found, dict)
    return found


def _facility(name: str, words: Json, entries: list[Fact], month: Month, until_s: float) -> FacilityMonth:
    period = (month.from_s, until_s)
    by_people = words.get("sensors") == []
    states = list(timeline(entries, until_s, math.inf if by_people else SILENT_S))
    hours = month.hours()
    cases = [case for case in _cases(entries) if _touches(case, period)]
    here = [fact for fact in entries if fact.wall_s is not None and period[0] <= fact.wall_s < until_s]
    tests = [
        Test(fact.wall_s or 0.0, str(fact.data.get("by", "")), str(fact.data.get("note", "")))
        for fact in here
        if fact.kind == "facility.tested"
    ]
    before = [fact for fact in entries if (fact.wall_s or 0.0) < until_s]
    tested_s = _utc(before[-1].data.get("tested")) if before else None
    return FacilityMonth(
        name, str(words.get("name", name)), str(words.get("duty", "")), float(str(words.get("repair_hours", 24.0))),
        int(str(words.get("test_days", 35))), _hours(states, [period]),
        _hours(states, [part for span in hours for part in overlap(span, [period])]) if hours else None,
        cases, tests, (until_s - tested_s) / _DAY_S if tested_s is not None else None, until_s,
        [fact for fact in here if fact.kind != "facility.daily"],
    )  # fmt: skip


def timeline(entries: list[Fact], until_s: float, silent_s: float = SILENT_S) -> Iterator[tuple[Span, str]]:
    """(span, state) from the first entry until then; what is in none is unknown. entries: in order of time.

    silent_s: how long an entry holds without another one.
    """
    told: list[tuple[float, str]] = []
    for fact in entries:
        at_s = fact.wall_s or 0.0
        away_s = fact.data.get("unwatched_s")
        if isinstance(away_s, int | float) and told and told[-1][1] == IN_SERVICE:
            told.append((max(told[-1][0], at_s - away_s), UNKNOWN))
        told.append((at_s, str(fact.data["value"])))
    for (from_s, state), (to_s, _) in pairwise([*told, (until_s, "")]):
        end_s = min(to_s, until_s)
        if state != OUT_OF_SERVICE:
            end_s = min(end_s, from_s + silent_s)
        if from_s < end_s:
            yield (from_s, end_s), state


def _hours(states: list[tuple[Span, str]], wanted: list[Span]) -> Hours:
    found = dict.fromkeys(STATES, 0.0)
    for span, state in states:
        found[state] += sum(high - low for low, high in overlap(span, wanted))
    whole_s = sum(high - low for low, high in wanted)
    serves_s, out_s = found[IN_SERVICE], found[OUT_OF_SERVICE]
    return Hours(serves_s / 3600, out_s / 3600, (whole_s - serves_s - out_s) / 3600)


def _cases(entries: list[Fact]) -> list[Case]:
    """One whose beginning is not held is known from the entries that name it."""
    found: list[Case] = []
    for fact in entries:
        data, what = fact.data, fact.kind.removeprefix("facility.")
        is_open = bool(found) and found[-1].is_open
        opened_s = fact.wall_s if what == "opened" else _utc(data.get("opened"))
        concerns = data["value"] == OUT_OF_SERVICE or what == "repaired"
        if what == "opened" or (concerns and not is_open):
            found.append(Case(int(str(data["case"])), str(data["cause"]), opened_s))
        if not concerns:
            continue
        by, note = str(data.get("by", "")), str(data.get("note", ""))
        notes = (*found[-1].notes, note) if note and what != "tested" else found[-1].notes
        if what == "acknowledged":
            found[-1] = found[-1]._replace(acknowledged_s=fact.wall_s, acknowledged_by=by)
        elif what == "repaired":
            found[-1] = found[-1]._replace(repaired_s=fact.wall_s, repaired_by=by, is_open=False)
        found[-1] = found[-1]._replace(notes=notes)
    return found


def _touches(case: Case, period: Span) -> bool:
    began = case.opened_s is None or case.opened_s < period[1]
    return began and (case.is_open or (case.repaired_s or 0.0) >= period[0])


def _utc(text: object) -> float | None:
    return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
