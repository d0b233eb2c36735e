"""The tickets of a day: every visit under its ticket's identity, kept row by row, so that an event costs one row.

Two days are held: today's, and the one before it for what a cut-off kiosk still has to tell. Sans-IO.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import NamedTuple

import msgspec

from gateway.tally import Tally
from gateway.tickets import UNSURE_DAY
from gateway.visits import Visit

log = logging.getLogger(__name__)

KEEP = "hall:visit:"
VISITS_MAX = 5000  # of a day, over all services; beyond it a kiosk has gone mad: they are counted, not followed
VISITS_A_MB = 200  # of the disk budget: two days of them take a tenth of it at most, so that packs keep their room
_BOOKS = 2


class Book:
    """One day. changed: services with news since they were told. stale: visits to be counted anew in their tally."""

    def __init__(self, day: str) -> None:
        self.day = day
        self.visits: dict[str, Visit] = {}
        self.tallies: dict[str, Tally] = {}
        self.stale: dict[str, Visit] = {}
        self.changed: set[str] = set()
        self.over: dict[str, bool] = {}  # as it was told last
        self.beyond = 0

    def add(self, ticket: str, visit: Visit) -> None:
        self.visits[ticket] = visit
        self.stale[ticket] = visit

    def services(self) -> Set[str]:
        """Those that somebody drew a ticket for."""
        return self.tallies.keys() | {visit.service for visit in self.stale.values()}


class Found(NamedTuple):
    """new: whether this event was the first that was heard of it."""

    book: Book
    ticket: str
    visit: Visit
    new: bool


class Books:
    """services: those of the site file. kept: state of an earlier run, perhaps of services that are no more.

    visits_max: of a day.
    """

    def __init__(
        self, services: Set[str], kept: Mapping[str, object], keep: Callable[[str, object], None],
        visits_max: int = VISITS_MAX,
    ) -> None:  # fmt: skip
        self._keep = keep
        self._visits_max = visits_max
        self._books: dict[str, Book] = {}
        for key, value in [row for row in kept.items() if row[0].startswith(KEEP)]:
            ticket, visit = key.removeprefix(KEEP), msgspec.convert(value, Visit)
            if {visit.service, visit.line} <= services:
                self._books.setdefault(day_of(ticket), Book(day_of(ticket))).add(ticket, visit)
            else:
                keep(key, None)
        for book in self._books.values():
            book.changed |= book.services()  # what was told of it, nobody here remembers

    def __iter__(self) -> Iterator[Book]:
        """The oldest first."""
        return (self._books[day] for day in sorted(self._books))

    @property
    def today(self) -> Book | None:
        return self._books[max(self._books)] if self._books else None

    def find(self, ticket: str) -> Found | None:
        book = self._books.get(day_of(ticket))
        visit = book.visits.get(ticket) if book else None
        return Found(book, ticket, visit, False) if book and visit else None

    def begin(self, ticket: str, visit: Visit) -> Found | None:
        """None for one beyond visits_max, and for one of a day that is given up already."""
        day = day_of(ticket)
        book = self._books.get(day)
        if book is None:
            if len(self._books) == _BOOKS and day < min(self._books):
                return None
            book = self._books[day] = Book(day)
        if len(book.visits) >= self._visits_max:
            book.beyond += 1
            if book.beyond == 1:
                log.error("more than %d tickets on one day: what is beyond is in no figure", self._visits_max)
            return None
        book.add(ticket, visit)
        return Found(book, ticket, visit, True)

    def keep(self, ticket: str, visit: Visit) -> None:
        self._keep(KEEP + ticket, visit)
        self._books[day_of(ticket)].stale[ticket] = visit

    def surplus(self, today: str | None) -> list[Book]:
        """Days that are held no longer, and those that have not come: a clock was wrong. `drop` them once told."""
        return [self._books[day] for day in surplus_days(self._books, today, _BOOKS)]

    def drop(self, book: Book) -> None:
        for ticket in book.visits:
            self._keep(KEEP + ticket, None)
        del self._books[book.day]


def surplus_days(days: Iterable[str], today: str | None, held: int) -> list[str]:
    """All but the last `held`, and those after today. today: None while the clock is unsure."""
    come = sorted(day for day in days if today is None or day <= today)
    return [*come[:-held], *(day for day in days if today is not None and day > today)]


def day_of(ticket: str) -> str:
    """The business day in an identity, "" while nobody knew it."""
    pieces = ticket.split("/")
    day = pieces[1] if len(pieces) > 2 else ""
    return "" if day == UNSURE_DAY else day
