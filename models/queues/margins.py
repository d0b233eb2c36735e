"""How far a wait may lie from its forecast: an interval that learns from what became of earlier ones. Plain Python.

A score is ln((wait + 5) / (forecast + 5)) over the spread that the model gave. The two margins are the quantiles of the
scores that leave out TAIL on either side, followed online: each score outside moves its margin out, each
inside moves it in by less, so that in the long run the share outside is as asked for, whatever the centre is like.

The long run is long: with a hundred tickets a margin has hardly moved. So what the intervals owe is counted, waits
outside less those that may be, and paid at once at the lower end, where a wider interval costs the fewest minutes; the
upper one, by which people plan, stays calm.

What has ended says nothing of a display that stands still, behind which everybody is late at once. Who stands at the
head of the line does: their score so far is what this line is good for now, and no upper end is told below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log

NOMINAL = 0.8
"""Share of the waits that an interval should hold."""

STEP, FIRST_STEP, FIRST_WAITS = 0.05, 0.1, 100
"""How far one wait moves a margin, in units of a score; FIRST_STEP more at first, half of that after FIRST_WAITS."""

TAIL = 0.094
"""Share asked for on either side. A little less than half of 1 - NOMINAL: by the time that it learns, short waits have
ended and long ones have not."""

PAY, PAY_MAX = 0.25, 1.5
"""How far the lower end is moved for each wait owed, and at most, in units of a score."""

OWED_MAX = 30.0
"""Waits owed beyond are forgiven: a day that went wrong altogether is not paid for until summer. Like the other steps
and tails this was chosen on days of the training, held out: card.md."""

HEAD_MAX = 4.0
"""The head of the line counts with no higher score: a display may stand for hours, and somebody leave unseen."""

SOFT_MIN = 5.0
"""A wait of a minute or two is no matter of ratios."""

_BOUND = 20.0


@dataclass
class Margins:
    """low is below 0 as a rule, high above; in units of the spread. waits: from how many they have learnt.

    owed: how many more of these were outside what they were told than should have been; below 0: fewer.
    """

    low: float
    high: float
    waits: int = 0
    owed: float = 0.0

    def interval(self, wait_min: float, spread: float, head: float = -inf) -> tuple[float, float]:
        """(low, high) in minutes, around the forecast and never below 0. head: score so far of who is next."""
        soft = wait_min + SOFT_MIN
        low = self.low - min(max(PAY * self.owed, -PAY_MAX), PAY_MAX)
        high = max(self.high, min(head, HEAD_MAX))
        return (
            max(min(soft * exp(low * spread) - SOFT_MIN, wait_min), 0.0),
            max(soft * exp(high * spread) - SOFT_MIN, wait_min),
        )

    def learn(self, wait_min: float, spread: float, told_min: tuple[float, float], waited_min: float) -> None:
        """What became of one forecast, whose interval was told_min."""
        score = score_of(wait_min, spread, waited_min)
        step = STEP + FIRST_STEP / (1 + self.waits / FIRST_WAITS)
        self.low = max(self.low - step * (float(score < self.low) - TAIL), -_BOUND)
        self.high = min(self.high + step * (float(score > self.high) - TAIL), _BOUND)
        outside = not told_min[0] <= waited_min <= told_min[1]
        self.owed = min(max(self.owed + float(outside) - (1 - NOMINAL), -OWED_MAX), OWED_MAX)
        self.waits += 1


def score_of(wait_min: float, spread: float, waited_min: float) -> float:
    """waited_min: in all, or so far."""
    return log((max(waited_min, 0.0) + SOFT_MIN) / (wait_min + SOFT_MIN)) / spread
