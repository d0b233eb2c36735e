"""What the visits of one service and day come to, held up to date: a visit that changes costs the same on every day.

`count` takes a visit as it is now, in the place of what it was. Durations stay in order, so that percentiles are at
hand; gateway/figures.py tells them. Sans-IO.
"""

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from gateway.contract import Json
from gateway.hall_clock import BootTime, Span
from gateway.visits import SERVED, WAITING, Visit

Between = Callable[[BootTime, BootTime], Span | None]


def wait_of(visit: Visit, between: Between) -> Span | None:
    return between(visit.issued, visit.called) if visit.issued and visit.called else None


def service_of(visit: Visit, between: Between) -> Span | None:
    """From serving, or from the call where a kiosk does not say serving."""
    start = visit.serving or visit.at
    return between(start, visit.ended) if start and visit.ended and visit.state == SERVED else None


class Durations:
    """seconds: in order. approx: how many of them were measured by the wall clock, across a reboot."""

    def __init__(self, seconds: list[float] | None = None, approx: int = 0) -> None:
        self.seconds = seconds or []
        self.approx = approx

    def add(self, span: Span, n: int) -> None:
        """n: 1, or -1 to take it back."""
        if n > 0:
            insort(self.seconds, span.s)
        else:
            del self.seconds[bisect_left(self.seconds, span.s)]
        self.approx += n * span.approx

    def told(self) -> Json:
        seconds, n = self.seconds, len(self.seconds)
        found: Json = {"n": n, "approx": self.approx}
        if n:
            found |= {"mean_s": round(math.fsum(seconds) / n, 3), "max_s": round(seconds[-1], 3)}
            found |= {"p50_s": round(ranked(seconds, 0.5), 3), "p90_s": round(ranked(seconds, 0.9), 3)}
        return found


def together(parts: Iterable[Durations]) -> Durations:
    found = list(parts)
    seconds = sorted(second for part in found for second in part.seconds)
    return Durations(seconds, sum(part.approx for part in found))


def ranked(ordered: list[float], share: float) -> float:
    """Nearest rank: the smallest that `share` of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


class _Part(NamedTuple):
    """One visit as it was counted. never: it waits, was never called, and there."""

    state: str
    never: str
    window: str
    sort: str
    issued: bool
    called: bool
    wait: Span | None
    service: Span | None
    is_from_call: bool
    is_inferred: bool


class SortTally:
    """Of those who go before the others, or come at an hour of their own. windows: where they were called."""

    def __init__(self) -> None:
        self.n = self.issued = self.called = 0
        self.waits = Durations()
        self.windows: Counter[str] = Counter()


class Tally:
    """never: {line: who waits there and was never called}. windows, served: {window: visits, those served there}.

    judged, within: of the served, those whose wait is known, and those of them that kept the promise of within_s.
    """

    def __init__(self, within_s: float, between: Between) -> None:
        self._within_s, self._between = within_s, between
        self._parts: dict[str, _Part] = {}
        self.states: Counter[str] = Counter()
        self.never: Counter[str] = Counter()
        self.windows: Counter[str] = Counter()
        self.served: Counter[str] = Counter()
        self.sorts: dict[str, SortTally] = {}
        self.waits, self.services = Durations(), Durations()
        self.issued = self.called = self.from_call = self.inferred = self.judged = self.within = 0

    def count(self, ticket: str, visit: Visit) -> None:
        if was := self._parts.get(ticket):
            self._add(was, -1)
        self._parts[ticket] = part = self._part(visit)
        self._add(part, 1)

    def _part(self, visit: Visit) -> _Part:
        is_never = visit.state == WAITING and visit.called is None
        return _Part(
            visit.state, visit.line if is_never else "", visit.window, visit.sort,
            visit.issued is not None, visit.called is not None,
            wait_of(visit, self._between), service_of(visit, self._between), visit.serving is None, visit.inferred,
        )  # fmt: skip

    def _add(self, part: _Part, n: int) -> None:
        """n: 1, or -1 to take it back."""
        is_served = part.state == SERVED
        self.states[part.state] += n
        self.issued += n * part.issued
        self.called += n * part.called
        if part.never:
            self.never[part.never] += n
        if part.window:
            self.windows[part.window] += n
            self.served[part.window] += n * is_served
        if part.wait:
            self.waits.add(part.wait, n)
            self.judged += n * is_served
            self.within += n * (is_served and part.wait.s <= self._within_s)
        if part.service:
            self.services.add(part.service, n)
            self.from_call += n * part.is_from_call
            self.inferred += n * part.is_inferred
        if part.sort:
            sort = self.sorts.setdefault(part.sort, SortTally())
            sort.n += n
            sort.issued += n * part.issued
            sort.called += n * part.called
            if part.called and part.window:
                sort.windows[part.window] += n
            if part.wait:
                sort.waits.add(part.wait, n)
