"""What a day of tickets comes to: the centre's figures, each with its n.

wait = first called - issued; service = served - serving; within T = served with wait <= T, of served + no-show +
abandoned; no-show rate = no-show, of called; abandonment = never called, or cancelled, by closing, of issued. Below
five there is no percentage. Percentiles are by nearest rank: a wait that somebody had.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from gateway.contract import Json
from gateway.hall_clock import BootTime, Span
from gateway.visits import CALLED, CANCELLED, NO_SHOW, SERVED, SORTS, WAITING, Visit

N_LEAST = 5

Between = Callable[[BootTime, BootTime], Span | None]


class Durations(NamedTuple):
    """approx: how many of them were measured by the wall clock, across a reboot."""

    spans: list[Span]

    def told(self) -> Json:
        seconds = sorted(span.s for span in self.spans)
        n = len(seconds)
        found: Json = {"n": n, "approx": sum(span.approx for span in self.spans)}
        if n:
            found |= {"mean_s": round(math.fsum(seconds) / n, 3), "max_s": round(seconds[-1], 3)}
            found |= {"p50_s": round(ranked(seconds, 0.5), 3), "p90_s": round(ranked(seconds, 0.9), 3)}
        return found


def ranked(ordered: list[float], share: float) -> float:
    """Nearest rank: the smallest that `share` of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


def rate(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole >= N_LEAST else None


def wait_of(visit: Visit, between: Between) -> Span | None:
    return between(visit.issued, visit.called) if visit.issued and visit.called else None


def service_of(visit: Visit, between: Between) -> Span | None:
    """From serving, or from the call where a kiosk does not say serving."""
    start = visit.serving or visit.at
    return between(start, visit.ended) if start and visit.ended and visit.state == SERVED else None


def figures(
    visits: Iterable[Visit], within_s: float, closed: Callable[[str], bool], between: Between
) -> Json:  # fmt: skip
    """closed: whether a service's day is over, so that who waits still has given up."""
    all_visits = list(visits)
    count = dict.fromkeys((WAITING, CALLED, SERVED, NO_SHOW, CANCELLED), 0)
    waits: list[Span] = []
    services: list[Span] = []
    abandoned = within = judged = from_call = inferred = 0
    for visit in all_visits:
        gave_up = visit.state == CANCELLED or (visit.state == WAITING and visit.called is None and closed(visit.line))
        abandoned += gave_up
        count[visit.state] += not (gave_up and visit.state == WAITING)
        if wait := wait_of(visit, between):
            waits.append(wait)
        if service := service_of(visit, between):
            services.append(service)
            from_call += visit.serving is None
            inferred += visit.inferred
        if gave_up or visit.state == NO_SHOW or (visit.state == SERVED and wait):
            judged += 1
            within += visit.state == SERVED and wait is not None and wait.s <= within_s
    issued = sum(visit.issued is not None for visit in all_visits)
    called = sum(visit.called is not None for visit in all_visits)
    return {
        "issued": issued, "called": called, "served": count[SERVED], "no_show": count[NO_SHOW],
        "cancelled": count[CANCELLED], "abandoned": abandoned, "waiting": count[WAITING], "at_window": count[CALLED],
        "wait": Durations(waits).told(),
        "service_time": Durations(services).told() | {"from_call": from_call, "by_next_call": inferred},
        "within": within, "judged": judged, "share": rate(within, judged), "no_show_rate": rate(count[NO_SHOW], called),
        "abandonment": rate(abandoned, issued),
    }  # fmt: skip


def sorts(visits: Iterable[Visit], between: Between) -> Json:
    """Of those who go before the others, or come at an hour of their own; only sorts that were there."""
    found: Json = {}
    by_sort: dict[str, list[Visit]] = {}
    for visit in visits:
        by_sort.setdefault(visit.sort, []).append(visit)
    for sort in SORTS:
        if sort in by_sort:
            these = by_sort[sort]
            waits = [wait for visit in these if (wait := wait_of(visit, between))]
            found[sort] = {
                "issued": sum(visit.issued is not None for visit in these),
                "called": sum(visit.called is not None for visit in these), "wait": Durations(waits).told(),
            }  # fmt: skip
    return found
