"""Promises in danger, before they are broken, and kiosks and windows that went quiet while people wait. Sans-IO.

The outlook of a queue: of the tickets of the last hour and of all who wait, the share that is called within T, those
who wait counted by what is expected of them. It is an alarm when that falls below the promise.
"""

from collections import deque
from collections.abc import Callable, Iterable

from gateway.contract import Json
from gateway.figures import N_LEAST
from gateway.hall_clock import HallClock
from gateway.lines import Hours, Lines
from gateway.queue_plan import Plan
from gateway.stands import Stands
from gateway.tally import wait_of
from gateway.visits import CANCELLED, NO_SHOW, Visit

RECENT_S = 3600.0
ON_S, OFF_S = 60.0, 300.0  # so long it must be so


def queue_alarm(queue: str) -> str:
    return f"queue:{queue}"


def quiet_window(window: str) -> str:
    return f"quiet-window:{window}"


def quiet_kiosk(bus: str) -> str:
    return f"quiet-kiosk:{bus}"


class Watch:
    """recent: {queue: (when issued, visit)}, the oldest first. outlook: {queue: (within, judged)} of the last look."""

    def __init__(
        self, plan: Plan, lines: Lines, stands: Stands, clock: HallClock,
        recent: dict[str, deque[tuple[float, Visit]]], now_s: float,
    ) -> None:  # fmt: skip
        self._plan = plan
        self._lines = lines
        self._stands = stands
        self._clock = clock
        self._recent = recent
        self._started_s = now_s
        self._issued: dict[str, tuple[str, float]] = {}
        self._turning_s: dict[str, float] = {}
        self._standing: dict[str, bool] = {}
        self.outlook: dict[str, tuple[int, int]] = {}

    def issued(self, queue: str, kiosk: str, at_s: float) -> None:
        if kiosk in self._plan.kiosks:
            self._issued[kiosk] = (queue, at_s)

    def look(self, now_s: float, hours: Callable[[str, float], Hours]) -> list[tuple[str, Json | None]]:
        """(alarm, cause or None) of each that began or ended."""
        changes: list[tuple[str, Json | None]] = []
        is_open = self._plan.is_open(self._clock.local(now_s))
        for name, queue in self._plan.queues.items():
            within, judged = self.outlook[name] = self._outlook(name, now_s, hours)
            in_danger = is_open and judged >= N_LEAST and within < queue.share * judged
            cause: Json = {"condition": f"{100 * queue.share:g} % within {queue.within_s / 60:g} min"}
            cause["value"] = round(within / judged, 3) if judged else 1.0
            self._tell(changes, queue_alarm(name), in_danger, now_s, cause, ON_S, OFF_S)
        for window, services in self._plan.serves.items():
            limit_s = min(self._plan.queues[self._plan.queue_of(service)].quiet_s for service in services)
            quiet_s = self._stands.quiet_s(window, now_s)
            self._quiet(changes, quiet_window(window), quiet_s, limit_s, is_open and self._waits(services), now_s)
        for kiosk in self._plan.kiosks:
            name, at_s = self._issued.get(kiosk, ("", self._started_s))
            queues = [self._plan.queues[name]] if name else list(self._plan.queues.values())
            waits = is_open and any(self._waits(queue.services) for queue in queues)
            limit_s = max(queue.quiet_s for queue in queues)
            if name or not waits:  # one that has not printed since the start is not missed
                self._quiet(changes, quiet_kiosk(kiosk), now_s - at_s, limit_s, waits, now_s)
        return changes

    def _waits(self, services: Iterable[str]) -> bool:
        return any(self._lines.waiting(service) for service in services)

    def _quiet(
        self, changes: list[tuple[str, Json | None]], alarm: str, quiet_s: float | None, limit_s: float, waits: bool,
        now_s: float,
    ) -> None:  # fmt: skip
        """quiet_s: None for one that is not at work. For limit_s after a start what stands stands: the box was deaf."""
        is_quiet = waits and quiet_s is not None and quiet_s > limit_s
        if not is_quiet or now_s - self._started_s > limit_s:
            self._tell(changes, alarm, is_quiet, now_s, {"condition": "quiet", "value": round(quiet_s or 0)})

    def _outlook(self, name: str, now_s: float, hours: Callable[[str, float], Hours]) -> tuple[int, int]:
        recent, queue = self._recent[name], self._plan.queues[name]
        while recent and recent[0][0] < now_s - RECENT_S:
            recent.popleft()
        within = judged = 0
        for _, visit in recent:
            if visit.state == CANCELLED and visit.called is None:
                judged += 1
            elif wait := wait_of(visit, self._clock.between):
                judged += 1
                within += visit.state != NO_SHOW and wait.s <= queue.within_s
        for service in queue.services:
            waiting = [visit for visit in self._lines.waiting(service).values() if visit.called is None]
            if not waiting:
                continue
            now_hours = hours(service, now_s)
            first = self._lines.expect(service, now_s, now_hours, 0)
            last = self._lines.expect(service, now_s, now_hours, len(waiting))
            for place, visit in enumerate(waiting):
                age_s = self._lines.age_s(visit, now_s)
                if age_s is None:
                    continue
                judged += 1
                rest_s = first.wait_s + (last.wait_s - first.wait_s) * place / len(waiting) if first and last else 0.0
                within += age_s + rest_s <= queue.within_s
        return within, judged

    def _tell(
        self, changes: list[tuple[str, Json | None]], alarm: str, stands: bool, now_s: float, cause: Json,
        on_s: float = 0.0, off_s: float = 0.0,
    ) -> None:  # fmt: skip
        if self._standing.get(alarm) is stands:  # at the start neither, so that what is over ends
            self._turning_s.pop(alarm, None)
            return
        since_s = self._turning_s.setdefault(alarm, now_s)
        if now_s - since_s >= (on_s if stands else off_s):
            del self._turning_s[alarm]
            self._standing[alarm] = stands
            changes.append((alarm, cause if stands else None))
