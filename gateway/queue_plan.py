"""What a centre's hall is, for the queues: the site file's part of it, and when a service's day is over."""

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

from gateway import opening
from gateway.books import VISITS_A_MB, VISITS_MAX
from gateway.config import Site
from gateway.hall_clock import Local
from gateway.lines import Hours
from gateway.visits import APPOINTMENT, PRIORITY

DAY_MIN = 1440
KIOSKS = ("kiosk-line", "escpos")


class QueuePlan(NamedTuple):
    """One waiting line and its promise: `share` of its tickets are called within within_s."""

    services: tuple[str, ...]
    within_s: float
    share: float
    quiet_s: float


class Plan(NamedTuple):
    """labels: {a service's own label, or that of its priority tickets or appointments: (service, sort)}.

    serves: {window: services}. closes: {service: minute of the day, for those that end before the centre}. open: the
    centre's week; empty: it says none, and a day ends at midnight. kiosks: buses that tickets come from.
    visits_max: of a day.
    """

    queues: Mapping[str, QueuePlan]
    labels: Mapping[str, tuple[str, str]]
    serves: Mapping[str, list[str]]
    closes: Mapping[str, int]
    open: list[opening.Span]
    kiosks: tuple[str, ...]
    visits_max: int = VISITS_MAX

    def queue_of(self, service: str) -> str:
        """service: one of the site file."""
        return next(name for name, queue in self.queues.items() if service in queue.services)

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
            queue.within_min * 60, queue.share, queue.quiet_min * 60,
        )
        for name, queue in site.queues.items()
    }  # fmt: skip
    return Plan(
        queues, labels, {name: window.services for name, window in site.windows.items()},
        {name: opening.minute(service.close) for name, service in site.services.items() if service.close},
        opening.parse(site.open) if site.open else [],
        tuple(name for name, bus in site.buses.items() if bus.kind in KIOSKS),
        min(VISITS_MAX, site.store.budget_mb * VISITS_A_MB),
    )  # fmt: skip
