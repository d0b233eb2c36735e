"""What really happened, and the plain forecasts beside ours. It looks ahead: the bench and training alone use it.

Of a queue's day the rows count that have a ticket number. c(t) is the highest number called so far; who draws a ticket
at t gets c(t) + waiting + 1. The wait ends midway between the two snapshots around the moment when c reaches that
number. A ticket that is never reached has no label. These definitions give the published 59,403 pairs and, to two
decimals, the published errors of HOL, LES, QL-rate and QL-system.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from models.queues.snapshots import Row

ROWS_MIN = 20
WAITING_MIN = 3
FALLS_MAX = 0.02
"""A queue's day is judged when it has so many rows with a number, was so long once, and its numbers fell in at most
this share of the steps (other letters called through the same queue)."""

CLIP_MIN = 240.0


class Pair(NamedTuple):
    """A row to be judged. wait_min: what the wait was. called_minute: of the snapshot that shows the call, so that the
    wait is known. The others: plain forecasts, minutes, None where undefined.

    hol: age of the ticket at the head. les: wait of the ticket called last. ql_rate: (waiting + 1) over the calls of
    the last 60 min. ql_system: (waiting + 1) times the system's service_min over the open counters.
    """

    minute: int
    waiting: int
    wait_min: float
    called_minute: int
    hol: float | None
    les: float | None
    ql_rate: float | None
    ql_system: float | None

    def is_whole(self) -> bool:
        """Whether every plain forecast is defined: the rows of the published table."""
        return None not in (self.hol, self.les, self.ql_rate, self.ql_system)


def pairs(rows: Sequence[Row]) -> Iterator[Pair]:
    """The pairs of one queue's day."""
    numbered = [(row, row.number) for row in rows if row.number is not None]
    numbers = [number for _, number in numbered]
    if not _is_judged([row for row, _ in numbered], numbers):
        return
    called = list(accumulate(numbers, max))
    drawn = list(accumulate((c + row.waiting for (row, _), c in zip(numbered, called, strict=True)), max))
    minutes = [float(row.minute) for row, _ in numbered]
    for i in range(1, len(numbered)):
        row, c = numbered[i][0], called[i]
        wanted = c + row.waiting + 1
        j = bisect_left(called, wanted)
        if row.waiting < 1 or row.open_counters < 1 or j == len(called):
            continue
        head, last = bisect_left(drawn, c + 1), bisect_left(drawn, c)
        call = bisect_left(called, c)
        earlier = bisect_left(minutes, minutes[i] - 60)
        calls = c - called[earlier]
        yield Pair(
            row.minute,
            row.waiting,
            _midway(minutes, j) - minutes[i],
            numbered[j][0].minute,
            minutes[i] - _midway(minutes, head) if 0 < head <= i else None,
            _midway(minutes, call) - _midway(minutes, last) if last > 0 and call > 0 else None,
            (row.waiting + 1) * (minutes[i] - minutes[earlier]) / calls if calls else None,
            (row.waiting + 1) * row.service_min / row.open_counters if row.service_min > 0 else None,
        )


def _is_judged(rows: Sequence[Row], numbers: Sequence[int]) -> bool:
    if len(rows) < ROWS_MIN or max(row.waiting for row in rows) < WAITING_MIN:
        return False
    return sum(b < a for a, b in pairwise(numbers)) <= FALLS_MAX * (len(numbers) - 1)


def _midway(minutes: Sequence[float], j: int) -> float:
    return (minutes[j] + minutes[j - 1]) / 2
