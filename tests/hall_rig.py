"""A hall for tests: what people draw and windows say, into the gateway's queues, under a clock turned by hand."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from drivers.reading import Event
from gateway.contract import Label
from gateway.hall_clock import HallClock
from gateway.opening import Span
from gateway.queue_plan import Plan, QueuePlan
from gateway.queues import Queues, Told
from gateway.waiting import Forecast, PlainForecast

DAY = "2026-11-25"  # a Wednesday
MIDNIGHT_S = 1_795_564_800.0  # its beginning, UTC
HOUR_S = 3600.0
PLAN = Plan(
    {"hall": QueuePlan(("A", "B"), 900.0, 0.8, 1800.0)},
    {"A": ("A", ""), "B": ("B", ""), "Y": ("A", "priority"), "R": ("B", "appointment")},
    {"1": ["A", "B"], "2": ["A"]},
    {"B": 16 * 60},
    [Span(day, 9 * 60, 17 * 60) for day in range(7)],
    ("k1",),
)


class Hall:
    """Queues under a clock of its own; at nine when it begins. Restarts keep what a database would have kept."""

    def __init__(self, plan: Plan = PLAN, wall: bool = True) -> None:
        self.plan = plan
        self.boot, self.born_s = 1, 8 * HOUR_S
        self.now_s = 9 * HOUR_S
        self.wall_err_s: float | None = 0.0 if wall else None
        self.kept: dict[str, object] = {}
        self.keeps: list[str] = []
        self.forecast: Callable[[Mapping[str, object], Callable[[str, object], None]], Forecast] = PlainForecast
        self.records: list[Any] = []
        self.alarms: dict[str, Any] = {}
        self.test = False
        self.start()

    def label(self) -> Label:
        wall_s = None if self.wall_err_s is None else MIDNIGHT_S + self.now_s + self.wall_err_s
        return Label(self.boot, self.mono_s, wall_s, "ntp", 0.05, "00000000")

    @property
    def mono_s(self) -> float:
        return self.now_s - self.born_s

    def keep(self, key: str, value: object) -> None:
        self.keeps.append(key)
        if value is None:
            self.kept.pop(key, None)
        else:
            self.kept[key] = msgspec.json.decode(msgspec.json.encode(value))

    def start(self) -> None:
        clock = HallClock(self.label, "UTC", self.kept, self.keep)
        forecast = self.forecast(self.kept, self.keep)
        self.queues = Queues(self.plan, clock, forecast, 90, self.kept, self.keep, self.mono_s)

    def reboot(self, off_s: float = 60.0, wall_err_s: float | None = 0.0) -> None:
        self.now_s += off_s
        self.boot, self.born_s, self.wall_err_s = self.boot + 1, self.now_s - 20, wall_err_s
        self.start()

    def at(self, hour: float) -> None:
        """Time goes by, with its ticks."""
        self.go(hour * HOUR_S - self.now_s)

    def go(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self.now_s + 10 <= until_s:
            self.now_s += 10
            self.told(self.queues.tick(self.mono_s))
        self.now_s = until_s

    def told(self, told: Told) -> None:
        self.records += told.records
        self.alarms |= dict(told.alarms)

    def say(self, what: str, ticket: str = "", window: str = "", at_s: float | None = None, **more: object) -> None:
        """ticket: "A7". at_s: seconds ago."""
        data: dict[str, object] = {"value": ticket or window, **more}
        if ticket:
            data |= {"service": ticket[0], "number": int(ticket[1:]), "label": ticket}
            data["ticket"] = f"hall/{more.get('day', DAY)}/{ticket[0]}/1/{ticket[1:]}"
        if window:
            data["window"] = window
        sort = "window" if what in ("opened", "paused", "closed") else "ticket"
        event = Event("k1", f"{sort}.{what}", data, self.mono_s - (at_s or 0.0), 1, 1)
        self.records += self.queues.heard(event, self.test)

    def event(self, kind: str, ticket: str, service: str, window: str) -> None:
        data: dict[str, object] = {"value": None, "ticket": ticket, "service": service}
        data |= {"window": window} if window else {}
        self.records += self.queues.heard(Event("k1", kind, data, self.mono_s, 1, 1))

    def figures(self, service: str = "", day: str = DAY) -> Any:
        """The last that were told."""
        found = [r.data for r in self.records if r.type == "queue.figures"]
        return [data for data in found if data.get("service", "") == service and data["day"] == day][-1]

    @property
    def state(self) -> Any:
        return self.queues.state(self.mono_s)["hall"]


def visit(hall: Hall, ticket: str, waits_s: float, served_s: float, window: str = "1") -> None:
    hall.say("issued", ticket)
    hall.go(waits_s)
    hall.say("called", ticket, window)
    hall.go(10)
    hall.say("serving", ticket, window)
    hall.go(served_s)
    hall.say("served", ticket, window)
