"""What the centre understands of its queues, live: tickets to waits, figures, forecasts, and promises in danger.

Sans-IO: `heard` takes each named event of a ticket or window, `tick` the time; both say which records follow. All
durations are monotonic; what lies across a reboot goes by the wall clock and is marked (gateway/hall_clock.py).
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from drivers.reading import Event
from gateway.books import Book, Books, Found, day_of
from gateway.contract import Json, Record
from gateway.figures import figures, rate, sorts
from gateway.hall_clock import HallClock
from gateway.lines import Hours, Lines
from gateway.queue_plan import Plan
from gateway.queue_watch import Watch
from gateway.ratings import BAD_MAX, Ratings
from gateway.stands import Stands
from gateway.tally import Tally, service_of, wait_of
from gateway.tickets import UNSURE_DAY
from gateway.visits import CALLED, CANCELLED, SERVED, SORTS, WAITING, Visit
from gateway.waiting import Forecast

FIGURES_EVERY_S = 900.0
LOOK_EVERY_S = 10.0
_HOUR_S = 3600.0
_WINDOW_KINDS = ("opened", "paused", "closed")


class Told(NamedTuple):
    """alarms: (name, cause, or None when it is over)."""

    records: list[Record]
    alarms: list[tuple[str, Json | None]]


class Queues:
    """kept: state of an earlier run. now_s: of the start."""

    def __init__(
        self, plan: Plan, clock: HallClock, forecast: Forecast, ratings_days: int, kept: Mapping[str, object],
        keep: Callable[[str, object], None], now_s: float,
    ) -> None:  # fmt: skip
        self._plan = plan
        self._clock = clock
        services = [service for queue in plan.queues.values() for service in queue.services]
        self._books = Books(set(services), kept, keep, plan.visits_max)
        self._stands = Stands(plan.serves, clock, kept, keep)
        self._lines = Lines(services, self._stands, clock, forecast)
        self._ratings = Ratings(ratings_days, plan.serves.keys(), kept, keep)
        self._recent: dict[str, deque[tuple[float, Visit]]] = {name: deque() for name in plan.queues}
        self._watch = Watch(plan, self._lines, self._stands, clock, self._recent, now_s)
        self._look_s = now_s
        self._figures_s = now_s + FIGURES_EVERY_S
        self._restore(now_s)

    # -- events ------------------------------------------------------------------------------------------------------

    def heard(self, event: Event, test: bool = False) -> list[Record]:
        """Each event once, after gateway/tickets.py has named it. test: tickets drawn now are in no figure."""
        sort, _, kind = event.type.partition(".")
        if not self._plan.queues or sort not in ("ticket", "window"):
            return []
        window = str(event.data.get("window") or "")
        if sort == "window":
            if window and kind in _WINDOW_KINDS:
                self._window(window, kind, event.mono_s)
            return []
        if kind == "rated":
            return self._rated(event, window, test)
        if found := self._find(event, kind, test):
            self._ticket(found, event, kind, window)
        return []

    def _find(self, event: Event, kind: str, test: bool) -> Found | None:
        ticket, today = event.data.get("ticket"), self._books.today
        if not isinstance(ticket, str):
            return None
        if not event.seq and today and day_of(ticket) < today.day:
            return None  # what is overheard is heard at once: that is a ticket of today whose slip was missed
        if found := self._books.find(ticket):
            return found
        service, sort = self._service(event.data.get("service"), ticket)
        if not service or kind == "reprinted" or test or not self._plan.feeds(ticket, service):
            return None
        said = event.data.get("class")
        found = self._books.begin(ticket, Visit(service, service, str(said) if said in SORTS else sort))
        if today and self._books.today is not today:
            self._lines.clear_all()
        return found

    def _service(self, said: object, ticket: str) -> tuple[str, str]:
        """(service of the site file, sort) by the event's label, else by that of the identity; ("", "") for none."""
        label = str(said) if said is not None else "".join(ticket.split("/")[2:3])
        return self._plan.labels.get(label, ("", ""))

    def _ticket(self, found: Found, event: Event, kind: str, window: str) -> None:
        book, ticket, visit, new = found
        moment = self._clock.at(event.mono_s)
        was_line, was_issued, was_called = ("" if new else visit.line), visit.issued, visit.called
        to, _ = self._plan.labels.get(str(event.data.get("to")), ("", ""))
        visit.hear(kind, moment, window, to)
        if window:
            self._at_window(book, window, kind, event.mono_s, ticket)
        self._books.keep(ticket, visit)
        book.changed.add(visit.service)
        if book is not self._books.today:
            return
        if kind == "issued" and was_issued is None:
            self._watch.issued(self._plan.queue_of(visit.service), event.source, event.mono_s)
            self._recent[self._plan.queue_of(visit.service)].append((event.mono_s, visit))
        self._move(ticket, visit, was_line, event.mono_s)
        if was_called is None and visit.called is not None:
            wait = wait_of(visit, self._clock.between)
            self._lines.called(ticket, visit, wait.s if wait else None, event.mono_s)
        if kind == SERVED and (service := service_of(visit, self._clock.between)):
            self._lines.served(visit.line, service.s)

    def _move(self, ticket: str, visit: Visit, was_line: str, at_s: float) -> None:
        """In the lines of those who wait now."""
        if was_line and (visit.state != WAITING or visit.line != was_line):
            self._lines.left(ticket, was_line)
        if visit.state == CANCELLED:
            self._lines.gave_up(ticket, visit.line)
        elif visit.state == WAITING and not self._is_over(visit.line, at_s):
            if was_line:
                self._lines.joined(ticket, visit)
            else:
                self._lines.drawn(ticket, visit, at_s, self._hours(visit.line, at_s))

    def _window(self, window: str, kind: str, at_s: float) -> None:
        """It opened, paused or closed: its hours are in the figures of the services it serves."""
        day = self._day(at_s)
        self._stands.hear(window, day, kind, self._clock.at(at_s), "")
        for book in self._books:
            if book.day == day:
                book.changed |= book.services() & set(self._plan.serves.get(window, ()))

    def _at_window(self, book: Book, window: str, kind: str, at_s: float, ticket: str) -> None:
        moment = self._clock.at(at_s)
        before = self._stands.hear(window, book.day, kind, moment, ticket)
        other = book.visits.get(before) if before and before != ticket and kind in ("called", "serving") else None
        if other and other.state == CALLED and other.window == window:
            other.next_called(moment)
            self._books.keep(before, other)
            book.changed.add(other.service)
            if book is self._books.today and (service := service_of(other, self._clock.between)):
                self._lines.served(other.line, service.s)

    def _rated(self, event: Event, window: str, test: bool) -> list[Record]:
        grade = event.data.get("value")
        grade = grade if isinstance(grade, int) and 1 <= grade <= 5 else None
        ticket = event.data.get("ticket")
        found = self._books.find(ticket) if isinstance(ticket, str) else None
        if found:
            if found.visit.rated:
                return []  # one visit, one grade
            window = window or found.visit.window
            if grade is not None:
                found.visit.rated = True
                self._books.keep(found.ticket, found.visit)
        elif test:
            return []
        self._ratings.add(self._day(event.mono_s), window, grade)
        if grade is None or grade > BAD_MAX:
            return []
        data: Json = {"value": grade} | {key: event.data[key] for key in ("ticket", "label") if key in event.data}
        data |= {"window": window} if window else {}
        data |= {"service": found.visit.line} if found else {}
        data |= {"cause": f"{event.source}/{event.boot}/{event.seq}"} if event.seq else {}
        return [Record("ticket.rated_badly", event.source, event.mono_s, data)]

    # -- time --------------------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> Told:
        """Once a second or so; it looks every LOOK_EVERY_S."""
        if not self._plan.queues or now_s < self._look_s:
            return Told([], [])
        self._look_s = now_s + LOOK_EVERY_S
        if self._clock.look():  # what could not be measured can be now
            for book in self._books:
                book.changed |= book.services()
                book.stale |= {ticket: visit for ticket, visit in book.visits.items() if visit.is_across}
        records = self._close(now_s)
        if now_s >= self._figures_s:
            self._figures_s = now_s + FIGURES_EVERY_S
            records += self.news(now_s)
        local = self._clock.local(now_s)
        today = local.day.isoformat() if local else None
        for book in self._books.surplus(today):
            records += self._news(book, now_s)
            self._books.drop(book)
        self._stands.forget(today)
        self._lines.see(now_s, self._hours)
        return Told(records, self._watch.look(now_s, self._hours))

    def _close(self, now_s: float) -> list[Record]:
        """Services whose day is over since the last look: who waits still has given up."""
        records: list[Record] = []
        for book in self._books:
            over = False
            for service in book.services():
                if book.over.get(service) or not self._is_over(service, now_s, book):
                    continue
                book.over[service] = over = True
                book.changed.add(service)
                if book is self._books.today:
                    book.changed |= {visit.service for visit in self._lines.waiting(service).values()}
                    self._lines.clear(service)
            if over:
                records += self._news(book, now_s)
        return records

    def news(self, now_s: float) -> list[Record]:
        """The figures of all that changed since they were told: at a stop, too, which may be the evening's."""
        return [record for book in self._books for record in self._news(book, now_s)]

    def _news(self, book: Book, now_s: float) -> list[Record]:
        """Figures of what changed since they were told, service by service, then those of its queue."""
        records: list[Record] = []
        for name, queue in self._plan.queues.items():
            changed = [service for service in queue.services if service in book.changed]
            for service in (*changed, *([""] if changed else [])):
                data = self._figures(book, name, service, now_s)
                records.append(Record("queue.figures", name, now_s, data))
        book.changed.clear()
        return records

    def _figures(self, book: Book, name: str, service: str, now_s: float) -> Json:
        """service: "" for the whole queue."""
        queue = self._plan.queues[name]
        services = [service] if service else list(queue.services)
        tallies = self._tallies(book, services)
        lines = {line for tally in tallies for line in tally.never}.union(services)
        over = {line: self._is_over(line, now_s, book) for line in lines}
        found = figures(tallies, over.__getitem__)
        data: Json = {
            "value": found["share"], "queue": name, "day": book.day or UNSURE_DAY, "within_s": queue.within_s,
            "closed": all(over[one] for one in services),
        }  # fmt: skip
        data |= {"service": service} if service else {}
        data |= found | {"sorts": sorts(tallies, self._plan.accessible)}
        if not service:
            served = {window: 0 for tally in tallies for window, n in tally.windows.items() if n}
            for window in served:
                served[window] = sum(tally.served[window] for tally in tallies)
            data["windows"] = self._stands.told(book.day, served)
            data["ratings"] = self._ratings.told(self._windows(name), book.day)
        return data

    def _tallies(self, book: Book, services: Iterable[str]) -> list[Tally]:
        """Of the services that have one, with all that was heard until now."""
        for ticket, visit in book.stale.items():
            if visit.service not in book.tallies:
                within_s = self._plan.queues[self._plan.queue_of(visit.service)].within_s
                book.tallies[visit.service] = Tally(within_s, self._clock.between)
            book.tallies[visit.service].count(ticket, visit)
        book.stale.clear()
        return [book.tallies[service] for service in services if service in book.tallies]

    def _is_over(self, service: str, now_s: float, book: Book | None = None) -> bool:
        book = book or self._books.today
        if book is None:
            return False
        today = self._books.today
        if not book.day and today is not book:
            return True
        return self._plan.is_over(service, book.day, self._clock.local(now_s))

    def _hours(self, service: str, now_s: float) -> Hours:
        return self._plan.hours(service, self._clock.local(now_s))

    def _day(self, mono_s: float) -> str:
        local = self._clock.local(mono_s)
        today = self._books.today
        return local.day.isoformat() if local else today.day if today else ""

    # -- looking -----------------------------------------------------------------------------------------------------

    def state(self, now_s: float) -> Json:
        """{queue: how it is now, and its day so far}."""
        return {name: self._queue_state(name, now_s) for name in self._plan.queues}

    def _queue_state(self, name: str, now_s: float) -> Json:
        queue = self._plan.queues[name]
        services = {service: self._service_state(service, now_s) for service in queue.services}
        longest = [s for s in (self._lines.longest_s(service, now_s) for service in queue.services) if s is not None]
        book = self._books.today
        today: Json | None = None
        if book is not None:
            told = self._figures(book, name, "", now_s)
            keys = ("day", "closed", "issued", "called", "served", "no_show", "abandoned", "judged", "share")
            today = {key: told[key] for key in keys} | {"wait": told["wait"]}
            today |= {"sorts": told["sorts"]} if told["sorts"] else {}
        within, judged = self._watch.outlook.get(name, (0, 0))
        return {
            "waiting": sum(len(self._lines.waiting(service)) for service in queue.services),
            "longest_s": round(max(longest), 1) if longest else None,
            "outlook": {"n": judged, "share": rate(within, judged)}, "today": today, "services": services,
            "ratings": self._ratings.told(self._windows(name)) | {"days": self._ratings.days},
        }  # fmt: skip

    def _service_state(self, service: str, now_s: float) -> Json:
        told = self._lines.expect(service, now_s, self._hours(service, now_s))
        closed = self._books.today is not None and self._is_over(service, now_s)
        longest_s = self._lines.longest_s(service, now_s)
        predicted = None
        if told and not closed:
            predicted = {"wait_s": round(told.wait_s), "low_s": round(told.low_s), "high_s": round(told.high_s)}
        windows = self._stands.open_for(service, now_s)
        accessible = self._plan.accessible
        more: Json = {}
        if any(service in self._plan.serves[window] for window in accessible):
            more["accessible"] = sum(window in accessible for window in windows)
        return {
            "waiting": len(self._lines.waiting(service)),
            "longest_s": None if longest_s is None else round(longest_s, 1), "windows": len(windows), **more,
            "predicted": predicted,
        }  # fmt: skip

    def _windows(self, queue: str) -> list[str]:
        services = set(self._plan.queues[queue].services)
        return [window for window, served in self._plan.serves.items() if services & set(served)]

    # -- the start ---------------------------------------------------------------------------------------------------

    def _restore(self, now_s: float) -> None:
        """The figures, and the lines as they stood, as far as the time between is known."""
        for each in self._books:
            self._tallies(each, ())
        book = self._books.today
        if book is None:
            return
        between, mono_s = self._clock.between, self._clock.mono_s
        order = [(mono_s(visit.issued) if visit.issued else None, ticket) for ticket, visit in book.visits.items()]
        for issued_s, ticket in sorted(order, key=lambda pair: (pair[0] is not None, pair[0] or 0.0, pair[1])):
            visit = book.visits[ticket]
            if visit.state == WAITING and not self._is_over(visit.line, now_s):
                self._lines.joined(ticket, visit)
            if issued_s is not None and issued_s > now_s - _HOUR_S:
                self._recent[self._plan.queue_of(visit.service)].append((issued_s, visit))
        called = [
            (s, visit) for visit in book.visits.values() if visit.called and (s := mono_s(visit.called)) is not None
        ]
        for called_s, visit in sorted(called, key=lambda pair: pair[0]):
            wait = wait_of(visit, between)
            self._lines.called("", visit, wait.s if wait else None, called_s)
            if service := service_of(visit, between):
                self._lines.served(visit.line, service.s)
