"""Windows at work: who is at each, since when it is open, how long it has worked today.

A window works from when it opens (or calls somebody, where nobody says that it opens) until it pauses or closes, or
until the last that was heard of it. Sans-IO.
"""

from collections.abc import Callable, Mapping

import msgspec

from gateway.books import surplus_days
from gateway.contract import Json
from gateway.hall_clock import BootTime, HallClock
from gateway.tally import Between

KEEP = "hall:window:"
DAYS = 3  # one more than tickets are held for: a window opens before the first ticket of its day
STANDS_MAX = 256  # windows beyond are a terminal gone mad: their tickets are counted, their hours are not
SILENT_S = 3600.0  # a window of which nothing was heard for so long is not open, whatever it said last


class Stand(msgspec.Struct, array_like=True):
    """One window on one day. ticket: who is there, "" for nobody. since: of the spell that goes on; last: heard of."""

    ticket: str = ""
    since: BootTime | None = None
    last: BootTime | None = None
    worked_s: float = 0.0

    def worked(self, between: Between) -> float:
        """Seconds at work; what lay across a reboot without a clock is left out."""
        span = between(self.since, self.last) if self.since and self.last else None
        return self.worked_s + (span.s if span else 0.0)


class Stands:
    """All windows, for the last DAYS days. serves: {window: its services}, from the site file."""

    def __init__(
        self, serves: Mapping[str, list[str]], clock: HallClock, kept: Mapping[str, object],
        keep: Callable[[str, object], None],
    ) -> None:  # fmt: skip
        self.serves = serves
        self._clock = clock
        self._keep = keep
        self._days: dict[str, dict[str, Stand]] = {}
        for key, value in kept.items():
            if key.startswith(KEEP):
                day, _, window = key.removeprefix(KEEP).partition("/")
                self._days.setdefault(day, {})[window] = msgspec.convert(value, Stand)

    def hear(self, window: str, day: str, kind: str, moment: BootTime, ticket: str) -> str:
        """kind: "opened", "paused", "closed", or what happened to a ticket there. Returns who was there until now."""
        stand = self._of(window, day)
        if stand is None:
            return ""
        before = stand.ticket
        if kind in ("opened", "called", "serving"):
            stand.since = stand.since or moment
        if stand.since and (stand.last is None or stand.last.boot != moment.boot or moment.mono_s > stand.last.mono_s):
            stand.last = moment
        if kind in ("paused", "closed"):
            stand.worked_s = round(stand.worked(self._clock.between), 3)
            stand.since = None
        elif kind in ("called", "serving", "recalled"):
            stand.ticket = ticket
        elif kind in ("served", "no_show", "transferred", "cancelled"):
            stand.ticket = "" if before == ticket else before
        self._keep(f"{KEEP}{day}/{window}", stand)
        return before if before != stand.ticket else ""

    def _of(self, window: str, day: str) -> Stand | None:
        stands = self._days.setdefault(day, {})
        if window not in stands and len(stands) >= STANDS_MAX:
            return None
        return stands.setdefault(window, Stand())

    def forget(self, today: str | None) -> None:
        """Days that are held no longer, and those that have not come."""
        for day in surplus_days(self._days, today, DAYS):
            for window in self._days.pop(day):
                self._keep(f"{KEEP}{day}/{window}", None)

    def _now(self, window: str) -> Stand | None:
        return self._days[max(self._days)].get(window) if self._days else None

    def open_for(self, service: str, now_s: float) -> list[str]:
        """The windows that serve it now."""
        return [window for window, served in self.serves.items() if service in served and self.is_open(window, now_s)]

    def is_open(self, window: str, now_s: float) -> bool:
        quiet_s = self.quiet_s(window, now_s)
        return quiet_s is not None and quiet_s < SILENT_S

    def quiet_s(self, window: str, now_s: float) -> float | None:
        """Since it was last heard of; None for one that is not at work, or whose last word nobody can date."""
        stand = self._now(window)
        last_s = self._clock.mono_s(stand.last) if stand and stand.since and stand.last else None
        return None if last_s is None else now_s - last_s

    def is_idle(self, window: str) -> bool:
        stand = self._now(window)
        return stand is not None and not stand.ticket

    def told(self, day: str, served: Mapping[str, int]) -> Json:
        """{window: its day} of those that worked that day. served: tickets of each, by the queue that asks."""
        found: Json = {}
        for window, count in served.items():
            if stand := self._days.get(day, {}).get(window):
                worked_s = stand.worked(self._clock.between)
                per_hour = round(count * 3600 / worked_s, 2) if worked_s > 0 else None
                found[window] = {"served": count, "open_s": round(worked_s, 3), "per_hour": per_hour}
        return found
