"""What a centre's hall is, for the queues: the site file's part of it, and when a service's day is over."""

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

from gateway import opening
from gateway.books import VISITS_A_MB, VISITS_MAX
from gateway.config import Site
from gateway.hall_clock import Local
from gateway.lines import Hours
from gateway.site_tables import KIOSKS
from gateway.visits import APPOINTMENT, PRIORITY

DAY_MIN = 1440


class QueuePlan(NamedTuple):
    """One waiting line and its promise: `share` of its tickets are called within within_s.

    strangers: kiosks whose tickets do not wait here.
    """

    services: tuple[str, ...]
    within_s: float
    share: float
    quiet_s: float
    strangers: frozenset[str] = frozenset()


class Plan(NamedTuple):
    """labels: {a service's own label, or that of its priority tickets or appointments: (service, sort)}.

    serves: {window: services}. closes: {service: minute of the day, for those that end before the centre}. open: the
    centre's week; empty: it says none, and a day ends at midnight. kiosks: buses that the queues' tickets come from.
    visits_max: of a day. accessible: windows with a low counter or the like.
    """

    queues: Mapping[str, QueuePlan]
    labels: Mapping[str, tuple[str, str]]
    serves: Mapping[str, list[str]]
    closes: Mapping[str, int]
    open: list[opening.Span]
    kiosks: tuple[str, ...]
    visits_max: int = VISITS_MAX
    accessible: frozenset[str] = frozenset()

    def queue_of(self, service: str) -> str:
        """service: one of the site file."""
        return next(name for name, queue in self.queues.items() if service in queue.services)

    def feeds(self, ticket: str, service: str) -> bool:
        """Whether a ticket of that identity waits in the service's queue; gateway/tickets.py keeps others apart."""
        return ticket.partition("/")[0] not in self.queues[self.queue_of(service)].strangers

    def closing_min(self, service: str, weekday: int) -> int:
        last = max((span.to_min for span in self.open if span.day == weekday), default=DAY_MIN)
        return min(self.closes.get(service, DAY_MIN), last)

    def is_over(self, service: str, day: str, now: Local | None) -> bool:
        """Whether a service's day is over. day: "" for one that nobody could date. now: None while unsure."""
        if now is None or not day:
            return False
        its_day = date.fromisoformat(day)
        if now.day != its_day:
            return now.day > its_day
        return now.minute >= self.closing_min(service, its_day.weekday())

    def is_open(self, now: Local | None) -> bool:
        """Whether people are expected; a centre that tells no hours, or no clock, is taken at its tickets' word."""
        if now is None or not self.open:
            return True
        weekday = now.day.weekday()
        return any(span.day == weekday and span.from_min <= now.minute < span.to_min for span in self.open)

    def hours(self, service: str, now: Local | None) -> Hours:
        if now is None:
            return Hours()
        weekday = now.day.weekday()
        return Hours(weekday, round(now.minute, 2), round(self.closing_min(service, weekday) - now.minute, 2))


def plan_of(site: Site) -> Plan:
    labels = {}
    for name, service in site.services.items():
        labels[name] = (name, "")
        labels |= dict.fromkeys(service.priority, (name, PRIORITY))
        if service.appointments:
            labels[service.appointments] = (name, APPOINTMENT)
    queues = {
        name: QueuePlan(
            tuple(label for label, service in site.services.items() if service.queue == name),
            queue.within_min * 60, queue.share, queue.quiet_min * 60, strangers(site, name),
        )
        for name, queue in site.queues.items()
    }  # fmt: skip
    return Plan(
        queues, labels, {name: window.services for name, window in site.windows.items()},
        {name: opening.minute(service.close) for name, service in site.services.items() if service.close},
        opening.parse(site.open) if site.open else [],
        kiosks_of(site), min(VISITS_MAX, site.store.budget_mb * VISITS_A_MB),
        frozenset(name for name, window in site.windows.items() if window.accessible),
    )  # fmt: skip


def kiosks_of(site: Site) -> tuple[str, ...]:
    """Those that feed a queue."""
    lost = [strangers(site, queue) for queue in site.queues]
    return tuple(name for name in _kiosks(site) if not lost or any(name not in away for away in lost))


def strangers(site: Site, queue: str) -> frozenset[str]:
    """Kiosks whose tickets do not wait in that queue: queue.<name>.sources names others."""
    sources = site.queues[queue].sources
    return frozenset(name for name in _kiosks(site) if sources and name not in sources)


def _kiosks(site: Site) -> list[str]:
    return [name for name, bus in site.buses.items() if bus.kind in KIOSKS]
