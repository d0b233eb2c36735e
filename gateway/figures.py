"""What a day of tickets comes to: the centre's figures, each with its n.

wait = first called - issued; service = served - serving; within T = served with wait <= T, of served + no-show +
abandoned; no-show rate = no-show, of called; abandonment = never called, or cancelled, by closing, of issued. Below
five there is no percentage. Percentiles are by nearest rank: a wait that somebody had.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from gateway.contract import Json
from gateway.tally import Tally, together
from gateway.visits import CALLED, CANCELLED, NO_SHOW, SERVED, SORTS, WAITING

N_LEAST = 5


def rate(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole >= N_LEAST else None


def figures(tallies: Sequence[Tally], closed: Callable[[str], bool]) -> Json:
    """closed: whether a service's day is over, so that who waits still has given up."""
    count = sum((tally.states for tally in tallies), Counter[str]())
    never = sum((tally.never for tally in tallies), Counter[str]())
    gone = sum(n for line, n in never.items() if closed(line))
    abandoned = count[CANCELLED] + gone
    judged = sum(tally.judged for tally in tallies) + abandoned + count[NO_SHOW]
    within = sum(tally.within for tally in tallies)
    issued, called = sum(tally.issued for tally in tallies), sum(tally.called for tally in tallies)
    return {
        "issued": issued, "called": called, "served": count[SERVED], "no_show": count[NO_SHOW],
        "cancelled": count[CANCELLED], "abandoned": abandoned, "waiting": count[WAITING] - gone,
        "at_window": count[CALLED], "wait": together(tally.waits for tally in tallies).told(),
        "service_time": together(tally.services for tally in tallies).told() | {
            "from_call": sum(tally.from_call for tally in tallies),
            "by_next_call": sum(tally.inferred for tally in tallies),
        },
        "within": within, "judged": judged, "share": rate(within, judged), "no_show_rate": rate(count[NO_SHOW], called),
        "abandonment": rate(abandoned, issued),
    }  # fmt: skip


def sorts(tallies: Sequence[Tally], accessible: Collection[str]) -> Json:
    """Of those who go before the others, or come at an hour of their own; only sorts that were there.

    accessible: windows with a low counter or the like.
    """
    found: Json = {}
    for name in SORTS:
        these = [sort for tally in tallies if (sort := tally.sorts.get(name)) and sort.n]
        if these:
            there = sum(sort.windows[window] for sort in these for window in accessible)
            found[name] = {
                "issued": sum(sort.issued for sort in these), "called": sum(sort.called for sort in these),
                "wait": together(sort.waits for sort in these).told(),
            } | ({"accessible": there} if accessible else {})  # fmt: skip
    return found
