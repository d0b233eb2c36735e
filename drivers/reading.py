"""The words every driver speaks: Reading, Event, Lost.

They are plain tuples, because a gateway under load makes tens of thousands of them a second.
"""

from collections.abc import Sequence
from typing import NamedTuple

Value = float | bool | str

GOOD = "good"
FAULT = "fault"


class Reading(NamedTuple):
    """One value of one point.

    point: "n1:flow1", "gpio:17", as the site file's `from` names it.
    value: float in SI units; bool for a two-state contact (True = active: wet, pulled, open);
        str for a supervised loop ("short", "normal", "alarm", "cut").
    mono_s: when, in seconds on this boot's monotonic clock.
    boot, seq: the numbered source's own; 0 when the source does not number (pins, polled meters).
    urgent: to be committed at once (a contact changed), not with the next interval.
    """

    point: str
    value: Value
    mono_s: float
    boot: int = 0
    seq: int = 0
    quality: str = GOOD
    urgent: bool = False


class Event(NamedTuple):
    """Something that happened once, e.g. a ticket issued.

    source: the bus it came from ("k1"). type: "ticket.issued". data: JSON-able, always with "value".
    """

    source: str
    type: str
    data: dict[str, object]
    mono_s: float
    boot: int = 0
    seq: int = 0


class Lost(NamedTuple):
    """Numbers first..last that a source had to give up, in its own words."""

    source: str
    boot: int
    first: int
    last: int
    mono_s: float


class Run(NamedTuple):
    """Readings of one numbered source in columns, each row the next number: all good, finite, not urgent.

    What a busy line says in one read, without a tuple for each. first: number of the first row. points, values,
    monos_s: as in Reading, of equal length, at least one.
    """

    source: str
    boot: int
    first: int
    points: Sequence[str]
    values: Sequence[float]
    monos_s: Sequence[float]

    @property
    def last(self) -> int:
        return self.first + len(self.points) - 1

    def reading(self, i: int) -> Reading:
        """Row i by itself."""
        return Reading(self.points[i], self.values[i], self.monos_s[i], self.boot, self.first + i)

    def readings(self) -> list[Reading]:
        return [self.reading(i) for i in range(len(self.points))]

    def part(self, start: int, end: int) -> "Run":
        """Rows start..end-1; the whole run is not copied."""
        if end - start == len(self.points):
            return self
        rows = slice(start, end)
        first = self.first + start
        return Run(self.source, self.boot, first, self.points[rows], self.values[rows], self.monos_s[rows])


Fact = Reading | Event | Lost
Said = Fact | Run


class DriverError(Exception):
    """What was found, what was expected and what the installer can do, in one sentence each."""
