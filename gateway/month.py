"""A month of a centre: its bounds, its days and its opening hours, in UTC seconds."""

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway import opening

Span = tuple[float, float]
_WIDEST_S = 14 * 3600.0
_FORM = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


class MonthError(ValueError):
    """No month: found, expected, what to do."""


class Month(NamedTuple):
    """name: "2026-11". zone: of the centre. open: its opening hours, "" when the site file does not say them."""

    name: str
    zone: ZoneInfo
    open: str

    @property
    def first(self) -> date:
        return date.fromisoformat(f"{self.name}-01")

    @property
    def days(self) -> list[date]:
        after = (self.first + timedelta(days=31)).replace(day=1)
        return [self.first + timedelta(days=n) for n in range((after - self.first).days)]

    @property
    def from_s(self) -> float:
        return self.at_s(self.first)

    @property
    def to_s(self) -> float:
        return self.at_s(self.days[-1] + timedelta(days=1))

    @property
    def widest(self) -> Span:
        """From its first begin anywhere on earth to its last end, while the centre's zone is not known yet."""
        return self.from_s - _WIDEST_S, self.to_s + _WIDEST_S

    def at_s(self, day: date, minute: int = 0) -> float:
        """A local time of day. minute: 1440 is the next midnight."""
        later, minute = divmod(minute, 1440)
        local = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=self.zone)
        return (local + timedelta(days=later)).timestamp()

    def day_of(self, wall_s: float) -> date:
        return datetime.fromtimestamp(wall_s, self.zone).date()

    def hours(self) -> list[Span]:
        """When the centre was to be open; [] when nobody said."""
        spans = opening.parse(self.open) if self.open else []
        return [
            (self.at_s(day, span.from_min), self.at_s(day, span.to_min))
            for day in self.days
            for span in spans
            if span.day == day.weekday()
        ]


def month_of(text: str, zone: str, open_: str) -> Month:
    """Raises MonthError."""
    if not _FORM.fullmatch(text):
        raise MonthError(f"found month {text!r}, expected a year and a month; write for example --month 2026-11")
    return Month(text, ZoneInfo(zone), open_)


def overlap(one: Span, others: list[Span]) -> Iterator[Span]:
    """What of one span lies in the others."""
    for other in others:
        low, high = max(one[0], other[0]), min(one[1], other[1])
        if low < high:
            yield low, high
