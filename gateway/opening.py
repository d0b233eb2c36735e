"""Opening hours as a site file writes them, and the spans of a week that they mean.

hours = part { ", " part }
part  = day [ "-" day ] " " span { " " span }
day   = "mon" | "tue" | "wed" | "thu" | "fri" | "sat" | "sun"
span  = HH:MM "-" HH:MM        from 00:00 to 24:00, local time of the centre; a span ends on the day it began
"""

import itertools
import re
from typing import NamedTuple

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FORM = 'opening hours such as "mon-fri 08:30-11:30 13:30-17:00, sat 09:00-12:00"'
_DAY = "|".join(DAYS)
_PART = re.compile(rf"({_DAY})(?:-({_DAY}))?((?: \d\d:\d\d-\d\d:\d\d)+)")
_SPAN = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


class OpeningError(ValueError):
    """Hours that cannot be read: found, expected and do, as in every error of the site file."""

    def __init__(self, found: str, expected: str, do: str) -> None:
        super().__init__(f"found {found}, expected {expected}; {do}")
        self.found, self.expected, self.do = found, expected, do


class Span(NamedTuple):
    """day: 0 is Monday. from_min, to_min: minutes of that day, to_min after from_min, 1440 at most."""

    day: int
    from_min: int
    to_min: int


def parse(text: str) -> list[Span]:
    """The spans of a week in their order, none of which touch. Raises OpeningError."""
    spans: list[Span] = []
    for part in text.split(", "):
        match = _PART.fullmatch(part)
        if match is None:
            raise OpeningError(
                f'"{part[:40]}"', FORM, "write days, a blank and times, parts parted by a comma and a blank"
            )
        first, last = DAYS.index(match[1]), DAYS.index(match[2] or match[1])
        if last < first:
            raise OpeningError(f'"{match[1]}-{match[2]}"', "the earlier day of the week first", "write two parts")
        times = [_span(*map(int, each)) for each in _SPAN.findall(match[3])]
        spans += [Span(day, *time) for day in range(first, last + 1) for time in times]
    spans.sort()
    for one, other in itertools.pairwise(spans):
        if one.day == other.day and other.from_min <= one.to_min:
            expected = "spans of one day that do not touch"
            raise OpeningError(
                f"{_shown(one)} and {_shown(other)} on {DAYS[one.day]}", expected, "correct or join them"
            )
    return spans


def minute(text: str) -> int:
    """Of the day; text: HH:MM, from 00:00 to 24:00."""
    hour, _, rest = text.partition(":")
    return int(hour) * 60 + int(rest)


def _span(from_h: int, from_m: int, to_h: int, to_m: int) -> tuple[int, int]:
    start, end = from_h * 60 + from_m, to_h * 60 + to_m
    if from_m > 59 or to_m > 59 or not start < end <= 24 * 60:
        found = f"{from_h:02}:{from_m:02}-{to_h:02}:{to_m:02}"
        raise OpeningError(
            found, "a time of day, a - and a later one, 24:00 at most", "parts of a night stand on both days"
        )
    return start, end


def _shown(span: Span) -> str:
    return f"{span.from_min // 60:02}:{span.from_min % 60:02}-{span.to_min // 60:02}:{span.to_min % 60:02}"
