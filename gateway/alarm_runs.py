"""Which alarm came first, and when they are too many: first-out, order and flood, after ISA-18.2.

A run is alarms that come within RUN_S of each other: of a group, or of the whole centre. A flood is more than
FLOOD_MANY of them within FLOOD_S, and over when fewer than FLOOD_FEW came in the last FLOOD_S.
"""

from collections import deque

import msgspec

from gateway.moment import Here, Moment

RUN_S = 600.0
FLOOD_S = 600.0
FLOOD_MANY, FLOOD_FEW = 10, 5  # for one person, ISA-18.2 clause 16 (performance)
FLOOD_ALARM = "box:flood"
CENTRE = "*"  # the run of all alarms; no group can be called so


class Run(msgspec.Struct, omit_defaults=True):
    """first: the alarm that came first. count: how many came. last: when the last of them did."""

    first: str
    count: int
    last: Moment


class Runs:
    """kept: {group: Run} of before this start."""

    def __init__(self, kept: dict[str, Run] | None = None) -> None:
        self._runs = kept or {}

    def came(self, alarm: str, group: str, mono_s: float, here: Here) -> int:
        """The alarm's order in its group, or in the centre when it has none. 1: it is the first out."""
        order = self._count(alarm, CENTRE, mono_s, here)
        return self._count(alarm, group, mono_s, here) if group else order

    def _count(self, alarm: str, group: str, mono_s: float, here: Here) -> int:
        run = self._runs.get(group)
        since_s = here.since_s(run.last, mono_s) if run else None
        if run is None or since_s is None or not 0 <= since_s <= RUN_S:
            run = self._runs[group] = Run(alarm, 0, here.moment(mono_s))
        run.count += 1
        run.last = here.moment(mono_s)
        return run.count

    def of(self, group: str) -> Run | None:
        return self._runs.get(group)


class Flood:
    """is_on: it stands since before this start, when how many came is not known any more."""

    def __init__(self, is_on: bool, now_s: float) -> None:
        self.is_on = is_on
        self._since_s = now_s
        self._came_s: deque[float] = deque(maxlen=FLOOD_MANY + 1)

    def came(self, now_s: float) -> bool:
        """Whether it begins with this one."""
        self._came_s.append(now_s)
        if self.is_on or self._lately(now_s) <= FLOOD_MANY:
            return False
        self.is_on, self._since_s = True, now_s
        return True

    def ends(self, now_s: float) -> bool:
        """Whether it is over now."""
        if not self.is_on or now_s - self._since_s < FLOOD_S:
            return False
        self.is_on = self._lately(now_s) >= FLOOD_FEW
        return not self.is_on

    def _lately(self, now_s: float) -> int:
        return sum(now_s - at_s <= FLOOD_S for at_s in self._came_s)
