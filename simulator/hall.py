"""The hall: people draw tickets, windows call them, some do not come, some are asked for a grade.

Tickets and calls follow one real day of an office (data.office_day) or a made-up one; everything between is drawn
here. Its clock runs in pattern seconds: real seconds times the speed. Numbers of a service have no holes.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import NamedTuple

from simulator.building import Report
from simulator.data import DAY_S, Visits
from simulator.scenario import Deed, ScenarioError
from simulator.scenario import Hall as Settings

LABEL = "{service}{number:03d}"
SERVICE_S = (180.0, 0.5)  # log-normal: median and sigma
RECALL_S, NO_SHOW_S, TRANSFER_S, CANCEL_S = 30.0, 60.0, 60.0, 300.0
NO_SHOW_SHARE, TRANSFER_SHARE, CANCEL_SHARE = 0.04, 0.02, 0.01
ASKED_S, ANSWER_S = 20.0, (2.0, 12.0)  # a pad waits so long; a person who answers does so within
ANSWER_SHARE, KIOSK_RATING_SHARE = 0.75, 0.3
GRADES, WEIGHTS = (1, 2, 3, 4, 5), (1, 2, 5, 17, 75)


class Ticket(NamedTuple):
    """What a kiosk has to say. source: its bus. event: "issued". fields: as on the line."""

    source: str
    event: str
    fields: dict[str, object]


class Person:
    def __init__(self, kiosk: str, service: str, number: int) -> None:
        self.kiosk = kiosk
        self.absent = False
        self.fields: dict[str, object] = {
            "service": service,
            "number": number,
            "label": LABEL.format(service=service, number=number),
        }


class Window:
    def __init__(self, name: str, services: list[str], pad: str | None) -> None:
        self.name = name
        self.services = services
        self.pad = pad  # its point, "n2:pad1"
        self.person: Person | None = None
        self.since_s = 0.0
        self.asking = False


class Plan(NamedTuple):
    """What the hall is made of. kiosks: buses. windows: name -> services. pads: window -> point."""

    kiosks: list[str]
    services: list[str]
    windows: Mapping[str, list[str]]
    pads: Mapping[str, str]


class Hall:
    """visits: days of queues; services take them in turn; none when only deeds bring people. dice: everything else."""

    def __init__(self, plan: Plan, visits: list[Visits], settings: Settings, speed: float, dice: random.Random) -> None:
        self._plan = plan
        self._speed = speed * settings.speed
        self._dice = dice
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._now_s = 0.0  # pattern seconds
        self._jam_ends_s = 0.0
        self._numbers = dict.fromkeys(plan.services, 0)
        self._lines: dict[str, deque[Person]] = {service: deque() for service in plan.services}
        self._windows = [Window(name, list(serves), plan.pads.get(name)) for name, serves in plan.windows.items()]
        self._said: list[Ticket | Report] = []
        self._kiosks = {s: plan.kiosks[i % len(plan.kiosks)] for i, s in enumerate(plan.services)}
        if visits:
            for index, service in enumerate(plan.services):
                day = visits[index % len(visits)]
                self._follow(_from(day.arrivals_s, settings.hour), lambda service=service: self._arrive(service))
                self._follow(_from(day.calls_s, settings.hour), lambda service=service: self._call(service))

    def tick(self, now_s: float) -> list[Ticket | Report]:
        """What happened since the last call. now_s: real seconds since the start."""
        pattern_s = now_s * self._speed
        while self._agenda and self._agenda[0][0] <= pattern_s:
            self._now_s, _, deed = heapq.heappop(self._agenda)
            deed()
        self._now_s = pattern_s
        said, self._said = self._said, []
        return said

    def check(self, deed: Deed) -> None:
        """Raises ScenarioError when there is no hall to do it in."""
        if deed.do in ("rush", "jam") and not self._plan.services:
            raise ScenarioError(
                f"{deed.do} at {deed.s:g} s: found no kiosk or no service in the site file; expected both. "
                "Name another site, or take the deed out."
            )

    def do(self, deed: Deed, now_s: float) -> None:
        if deed.do == "rush":
            for _ in range(deed.tickets):
                at_s = (now_s + self._dice.uniform(0, deed.for_s)) * self._speed
                service = self._dice.choice(self._plan.services)
                self._at(at_s, lambda service=service: self._arrive(service))
        elif deed.do == "jam":
            self._jam_ends_s = (now_s + deed.for_s) * self._speed

    def _at(self, at_s: float, deed: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at_s, next(self._order), deed))

    def _in(self, delay_s: float, deed: Callable[[], None]) -> None:
        self._at(self._now_s + delay_s, deed)

    def _follow(self, moments_s: Iterator[float], deed: Callable[[], None]) -> None:
        """Do it at each of the moments; only the next one stands in the agenda."""

        def once() -> None:
            deed()
            self._follow(moments_s, deed)

        for at_s in moments_s:
            self._at(at_s, once)
            return

    def _say(self, person: Person, event: str, **more: object) -> None:
        self._said.append(Ticket(person.kiosk, event, {**person.fields, **more}))

    def _arrive(self, service: str) -> None:
        if self._now_s < self._jam_ends_s:  # no paper: they stand there until it comes out
            self._at(self._jam_ends_s, lambda: self._arrive(service))
            return
        self._numbers[service] += 1
        person = Person(self._kiosks[service], service, self._numbers[service])
        self._lines[service].append(person)
        self._say(person, "issued")
        if self._dice.random() < CANCEL_SHARE:
            self._in(self._dice.expovariate(1 / CANCEL_S), lambda: self._cancel(person))

    def _cancel(self, person: Person) -> None:
        for line in self._lines.values():
            if person in line:
                line.remove(person)
                self._say(person, "cancelled")

    def _call(self, service: str) -> None:
        """A window takes the next one. Where all are busy, the one that is at it longest gets done first."""
        fitting = [window for window in self._windows if service in window.services]
        if not fitting or not self._lines[service]:
            return
        idle = [window for window in fitting if window.person is None]
        window = self._dice.choice(idle) if idle else min(fitting, key=lambda busy: busy.since_s)
        self._finish(window, window.person)
        person = self._lines[service].popleft()
        window.person, window.since_s = person, self._now_s
        self._say(person, "called", window=window.name)
        self._go_on(window, person, service)

    def _go_on(self, window: Window, person: Person, service: str) -> None:
        luck = self._dice.random()
        others = [name for name in self._plan.services if name != service]
        if luck < NO_SHOW_SHARE:
            person.absent = True
            self._in(RECALL_S, lambda: self._recall(window, person))
            self._in(NO_SHOW_S, lambda: self._finish(window, person))
        elif luck < NO_SHOW_SHARE + TRANSFER_SHARE and others:
            to = self._dice.choice(others)
            self._in(TRANSFER_S, lambda: self._transfer(window, person, to))
        else:
            median_s, sigma = SERVICE_S
            self._in(self._dice.lognormvariate(math.log(median_s), sigma), lambda: self._finish(window, person))

    def _recall(self, window: Window, person: Person) -> None:
        if window.person is person:
            self._say(person, "recalled", window=window.name)

    def _transfer(self, window: Window, person: Person, to: str) -> None:
        if window.person is person:
            window.person = None
            self._say(person, "transferred", window=window.name, to=to)
            self._lines[to].append(person)

    def _finish(self, window: Window, person: Person | None) -> None:
        """Served, or never seen. A person who has left this window meanwhile is no business of it."""
        if person is None or window.person is not person:
            return
        window.person = None
        if person.absent:
            self._say(person, "no_show", window=window.name)
            return
        self._say(person, "served", window=window.name)
        answers = self._dice.random() < ANSWER_SHARE
        grade = self._dice.choices(GRADES, WEIGHTS)[0] if answers else None
        delay_s = self._dice.uniform(*ANSWER_S) if answers else ASKED_S
        if window.pad and not window.asking:
            window.asking = True
            self._in(delay_s, lambda: self._pad(window, grade))
        elif not window.pad and self._dice.random() < KIOSK_RATING_SHARE:
            self._in(delay_s, lambda: self._say(person, "rated", window=window.name, grade=grade))

    def _pad(self, window: Window, grade: int | None) -> None:
        window.asking = False
        assert window.pad
        self._said.append(Report(window.pad, float(grade or 0), True))


def _from(day_s: list[float], hour: float) -> Iterator[float]:
    """Moments of a day, seen from `hour` of it, and of the same day again and again."""
    for day in count() if day_s else ():
        for moment_s in day_s:
            if (at_s := moment_s - hour * 3600 + day * DAY_S) >= 0:
                yield at_s


def made_up_visits(services: int, dice: random.Random) -> list[Visits]:
    """A day for each service when no real data is there: Poisson, most people at ten and at half past two."""
    days = []
    for _ in range(services):
        per_hour = dice.uniform(8, 24)
        arrivals = _poisson(per_hour, dice)
        calls = [moment_s + 240 for moment_s in _poisson(per_hour * 1.1, dice)]
        days.append(Visits(arrivals, calls))
    return days


def _poisson(per_hour: float, dice: random.Random) -> list[float]:
    """Moments between 8:30 and 17:00, thinned from a steady stream at twice the mean rate."""
    moments, at_s = [], 8.5 * 3600
    while (at_s := at_s + dice.expovariate(2 * per_hour / 3600)) < 17 * 3600:
        hour = at_s / 3600
        weight = 0.3 + math.exp(-((hour - 10) ** 2)) + math.exp(-((hour - 14.5) ** 2))
        if dice.random() < weight / 2:
            moments.append(at_s)
    return moments
