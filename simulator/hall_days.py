"""Days of two halls, person by person: what really happened, for linli kpi, and what its devices said about it.

`main` has a kiosk that says everything; `annex` is only overheard: slips of a printer, and calls of terminals. One seed
is one century of days. The truth names persons; the gateway has to find out who is who.
"""

import heapq
import math
import random
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

DAY_S = 86_400.0
OPEN_S, LAST_TICKET_S, CLOSE_S, HOME_S = 8.5 * 3600, 16.75 * 3600, 17 * 3600, 18 * 3600
SERVICES = {"main": ("A", "B", "C"), "annex": ("P", "Q")}
WINDOWS = {"1": ("A", "B"), "2": ("B", "C"), "3": ("A", "B", "C"), "5": ("P",), "6": ("P", "Q")}
LETTERS = {"A": {"priority": "Y"}, "B": {"appointment": "R"}}
PER_HOUR = {"A": 14.0, "B": 10.0, "C": 6.0, "P": 9.0, "Q": 6.0}
SERVICE_S = (190.0, 0.6)
GRADES, WEIGHTS = (1, 2, 3, 4, 5, None), (2, 4, 6, 18, 60, 10)


class Happened(NamedTuple):
    """t_s: since the midnight that began the first day. person: -1 for a window by itself. said: what a device says.

    what: the word of the truth, and of the device unless `said` is empty (nobody says it).
    """

    t_s: float
    hall: str
    person: int
    what: str
    fields: dict[str, object]
    said: bool = True


class _Person:
    def __init__(self, number: int, service: str, sort: str, ticket: int) -> None:
        self.number, self.service, self.sort, self.ticket = number, service, sort, ticket
        self.line = service
        self.waiting = True
        self.gone = False
        letter = LETTERS.get(service, {}).get(sort, service)
        self.fields: dict[str, object] = {"service": letter, "number": ticket, "label": f"{letter}{ticket:03}"}


class Day:
    """One day of one hall; `happened` is what it came to, in order."""

    def __init__(self, hall: str, start_s: float, dice: random.Random, persons: "count[int]") -> None:
        self._hall, self._start_s, self._dice, self._persons = hall, start_s, dice, persons
        self._overheard = hall == "annex"
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._now_s = 0.0
        self._lines: dict[str, list[_Person]] = {service: [] for service in SERVICES[hall]}
        self._tickets: dict[str, int] = {}
        self._windows = [window for window, served in WINDOWS.items() if set(served) <= set(SERVICES[hall])]
        self._at_work: set[str] = set()
        self._idle: set[str] = set()
        self._busy: set[str] = set()
        self._calls_after_closing = dice.random() < 0.5
        self.happened: list[Happened] = []
        self._play()

    def _play(self) -> None:
        dice = self._dice
        rush = dice.choice((1.0, 1.0, 1.6, 0.4))
        for service in SERVICES[self._hall]:
            at_s = OPEN_S - 600
            while (at_s := at_s + dice.expovariate(PER_HOUR[service] * rush / 3600)) < LAST_TICKET_S:
                self._at(at_s, lambda service=service: self._arrive(service))
        for window in self._windows:
            self._at(OPEN_S + dice.uniform(0, 300), lambda window=window: self._open(window))
            pause_s = dice.uniform(11, 13) * 3600
            if dice.random() < 0.7:
                self._at(pause_s, lambda window=window: self._pause(window))
                self._at(pause_s + dice.uniform(600, 2400), lambda window=window: self._open(window))
        self._at(HOME_S, lambda: None)
        while self._agenda:
            self._now_s, _, deed = heapq.heappop(self._agenda)
            deed()

    def _at(self, at_s: float, deed: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (round(at_s, 3), next(self._order), deed))

    def _in(self, delay_s: float, deed: Callable[[], None]) -> None:
        self._at(self._now_s + delay_s, deed)

    def _say(self, person: _Person | None, what: str, *, said: bool = True, **more: object) -> None:
        fields = {**(person.fields if person else {}), **more}
        if person:
            fields |= {"for": person.service, "sort": person.sort}
        number = person.number if person else -1
        self.happened.append(Happened(self._start_s + self._now_s, self._hall, number, what, fields, said))

    # -- people ------------------------------------------------------------------------------------------------------

    def _arrive(self, service: str) -> None:
        dice = self._dice
        sorts = list(LETTERS.get(service, {})) if not self._overheard else []
        sort = sorts[0] if sorts and dice.random() < 0.12 else ""
        letter = LETTERS.get(service, {}).get(sort, service)
        self._tickets[letter] = self._tickets.get(letter, 0) + 1
        person = _Person(next(self._persons), service, sort, self._tickets[letter])
        line = self._lines[service]
        line.insert(sum(one.sort == "priority" for one in line) if sort == "priority" else len(line), person)
        self._say(person, "issued")
        if dice.random() < 0.05 and self._overheard:
            self._in(dice.uniform(1, 300), lambda: self._say(person, "reprinted"))
        if dice.random() < 0.04 and not self._overheard:
            self._in(dice.expovariate(1 / 400), lambda: self._cancel(person))
        self._look()

    def _cancel(self, person: _Person) -> None:
        if person.waiting:
            person.waiting = False
            self._lines[person.line].remove(person)
            self._say(person, "cancelled")

    # -- windows -----------------------------------------------------------------------------------------------------

    def _open(self, window: str) -> None:
        self._at_work.add(window)
        if window not in self._busy:  # else it was to pause once it had served, and did not
            self._say(None, "window_open", said=not self._overheard, window=window)
            self._free(window)

    def _pause(self, window: str) -> None:
        """Once who is there has been served."""
        self._at_work.discard(window)
        if window in self._idle:
            self._free(window)

    def _free(self, window: str) -> None:
        self._busy.discard(window)
        self._idle.discard(window)
        if window not in self._at_work:
            self._say(None, "window_pause", said=not self._overheard, window=window)
        elif self._now_s >= CLOSE_S and not (self._calls_after_closing and self._next(window)):
            self._at_work.discard(window)
            self._say(None, "window_close", said=not self._overheard, window=window)
        elif person := self._next(window):
            self._call(window, person)
        else:
            self._idle.add(window)
            self._at(CLOSE_S, lambda: self._close(window))

    def _close(self, window: str) -> None:
        if window in self._idle:
            self._free(window)

    def _look(self) -> None:
        for window in sorted(self._idle):
            if person := self._next(window):
                self._idle.discard(window)
                self._call(window, person)

    def _next(self, window: str) -> _Person | None:
        heads = [self._lines[service][0] for service in WINDOWS[window] if self._lines[service]]
        return min(heads, key=lambda person: (person.sort != "priority", person.number), default=None)

    def _call(self, window: str, person: _Person) -> None:
        dice = self._dice
        if person in self._lines[person.line]:
            self._lines[person.line].remove(person)
        person.waiting = False
        self._busy.add(window)
        self._say(person, "called", window=window)
        luck = dice.random()
        if luck < 0.06:
            self._in(30, lambda: self._say(person, "recalled", window=window))
            self._in(dice.uniform(45, 90), lambda: self._absent(window, person))
            return
        if luck < 0.12:
            self._in(dice.uniform(8, 25), lambda: self._say(person, "recalled", window=window))
        self._in(dice.uniform(26, 50), lambda: self._serve(window, person))

    def _absent(self, window: str, person: _Person) -> None:
        self._say(person, "no_show", said=not self._overheard, window=window)
        if self._dice.random() < 0.3 and not person.gone and not self._overheard:
            person.gone = True
            self._call(window, person)  # comes running
        else:
            self._free(window)

    def _serve(self, window: str, person: _Person) -> None:
        self._say(person, "serving", said=not self._overheard, window=window)
        others = [service for service in SERVICES[self._hall] if service != person.line]
        if self._dice.random() < 0.05 and not self._overheard:
            self._in(self._dice.uniform(30, 90), lambda: self._transfer(window, person, self._dice.choice(others)))
            return
        median_s, sigma = SERVICE_S
        self._in(self._dice.lognormvariate(math.log(median_s), sigma), lambda: self._served(window, person))

    def _transfer(self, window: str, person: _Person, to: str) -> None:
        self._say(person, "transferred", window=window, to=to)
        person.line, person.waiting = to, True
        self._lines[to].append(person)
        self._free(window)
        self._look()

    def _served(self, window: str, person: _Person) -> None:
        self._say(person, "served", said=not self._overheard, window=window)
        if not self._overheard:
            grade = self._dice.choices(GRADES, WEIGHTS)[0]
            self._in(self._dice.uniform(2, 12), lambda: self._say(person, "rated", window=window, grade=grade))
        self._free(window)


def days(first: int, number: int, seed: int) -> list[Happened]:
    """Both halls from day `first` on, in order of time."""
    found: list[Happened] = []
    for day in range(first, first + number):
        for hall in SERVICES:
            dice = random.Random(f"hall/{seed}/{hall}/{day}")
            found += Day(hall, day * DAY_S, dice, count(day * 100_000 + 50_000 * (hall == "annex"))).happened
    return sorted(found, key=lambda each: each.t_s)
