"""Who waits now, service by service, and what a forecast may know of it. Each event costs the same on every day."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import NamedTuple

from gateway.hall_clock import HallClock
from gateway.stands import Stands
from gateway.visits import Visit
from gateway.waiting import Estimate, Forecast, Line

_CALLS_MAX = 1000  # of an hour and a service
_SERVICES = 20  # so many of the last ones are the mean service time
_HOUR_S, _QUARTER_S = 3600.0, 900.0
_SEE_EVERY_S = 60.0
_AT_ONCE_S = 1.0  # tickets drawn within are of one moment


class _Line:
    def __init__(self) -> None:
        self.waiting: dict[str, Visit] = {}
        self.calls: deque[float] = deque(maxlen=_CALLS_MAX)
        self.services: deque[float] = deque(maxlen=_SERVICES)
        self.last_s: float | None = None
        self.drawn_s = -inf  # when the newest ticket that was called was drawn: who is older was passed over
        self.called = 0


class Hours(NamedTuple):
    """Where a moment stands on the wall; all None while the clock is unsure."""

    weekday: int | None = None
    minute: float | None = None
    closes_min: float | None = None


class Lines:
    """services: those of the site file."""

    def __init__(self, services: Iterable[str], stands: Stands, clock: HallClock, forecast: Forecast) -> None:
        self._lines = {service: _Line() for service in services}
        self._stands = stands
        self._clock = clock
        self._forecast = forecast
        self._told: dict[str, tuple[Line, Estimate]] = {}
        self._see_s = 0.0

    # -- what happens ------------------------------------------------------------------------------------------------

    def joined(self, ticket: str, visit: Visit) -> None:
        self._lines[visit.line].waiting[ticket] = visit

    def drawn(self, ticket: str, visit: Visit, now_s: float, hours: Hours) -> None:
        """A new ticket: what it was told is compared with what becomes of it."""
        line = self.line(visit.line, now_s, hours)
        told = self._forecast.expect(line)
        if told and not visit.sort:
            self._told[ticket] = (line, told)
        self.joined(ticket, visit)

    def left(self, ticket: str, line: str) -> None:
        self._lines[line].waiting.pop(ticket, None)

    def called(self, ticket: str, visit: Visit, wait_s: float | None, at_s: float) -> None:
        """For the first time. wait_s: None when nobody knows."""
        line = self._lines[visit.line]
        line.calls.append(at_s)
        line.called += 1
        told = self._told.pop(ticket, None)
        if wait_s is not None and not visit.sort:
            line.last_s = wait_s
            line.drawn_s = max(line.drawn_s, at_s - wait_s)
            if told:
                self._forecast.learn(*told, wait_s)

    def served(self, line: str, service_s: float) -> None:
        self._lines[line].services.append(service_s)

    def gave_up(self, ticket: str, line: str) -> None:
        self.left(ticket, line)
        self._told.pop(ticket, None)

    def clear(self, service: str) -> None:
        """Its day is over."""
        for ticket in list(self._lines[service].waiting):
            self.gave_up(ticket, service)

    def clear_all(self) -> None:
        """A new day begins."""
        for service in self._lines:
            self.clear(service)
        self._told.clear()  # also of those who were served and of whom nobody ever heard a call

    # -- what is known -----------------------------------------------------------------------------------------------

    def waiting(self, service: str) -> Mapping[str, Visit]:
        return self._lines[service].waiting

    def age_s(self, visit: Visit, now_s: float) -> float | None:
        """How long it has waited, all in all."""
        issued_s = self._clock.mono_s(visit.issued) if visit.issued else None
        return None if issued_s is None else max(0.0, now_s - issued_s)

    def longest_s(self, service: str, now_s: float) -> float | None:
        ages = (self.age_s(visit, now_s) for visit in self._lines[service].waiting.values())
        return max((age for age in ages if age is not None), default=None)

    def line(self, service: str, now_s: float, hours: Hours) -> Line:
        here = self._lines[service]
        while here.calls and here.calls[0] < now_s - _HOUR_S:
            here.calls.popleft()
        windows = self._stands.open_for(service, now_s)
        ticket, head = next(((t, visit) for t, visit in here.waiting.items() if not visit.sort), ("", None))
        head_s = self.age_s(head, now_s) if head else None
        told = self._told.get(ticket)
        if told and (told[0].service != service or head_s is None or now_s - head_s < here.drawn_s - _AT_ONCE_S):
            told = None
        services = here.services
        return Line(
            service, len(here.waiting), len(windows), round(sum(self._part(w, service) for w in windows), 3),
            sum(map(self._stands.is_idle, windows)),
            self._calls_since(here, now_s - _QUARTER_S), len(here.calls),
            head_s, here.last_s, sum(services) / len(services) if services else None, *hours, here.called,
            told[1].grounds if told else None,
        )  # fmt: skip

    def see(self, now_s: float, hours: Callable[[str, float], Hours]) -> None:
        """Show the forecast every line as it stands, once a minute."""
        if now_s < self._see_s:
            return
        self._see_s = now_s + _SEE_EVERY_S
        for service in self._lines:
            self._forecast.see(self.line(service, now_s, hours(service, now_s)))

    def expect(self, service: str, now_s: float, hours: Hours, waiting: int | None = None) -> Estimate | None:
        """For a ticket drawn now. waiting: as if only so many were before it."""
        line = self.line(service, now_s, hours)
        return self._forecast.expect(line if waiting is None else line._replace(waiting=waiting))

    @staticmethod
    def _calls_since(line: _Line, since_s: float) -> int:
        found = 0
        for at_s in reversed(line.calls):
            if at_s < since_s:
                break
            found += 1
        return found

    def _part(self, window: str, service: str) -> float:
        """The part of a window that a service can expect, by who waits there."""
        all_waiting = sum(len(self._lines[s].waiting) + 1 for s in self._stands.serves[window] if s in self._lines)
        return (len(self._lines[service].waiting) + 1) / all_waiting
