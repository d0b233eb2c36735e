"""Real days for building and hall: water of one flat (WEUSEDTO), tickets of one office (Warsaw). Both are optional.

They are looked for in $LINLI_DATA, else in ../shared/data beside the repository. Nothing is downloaded.
"""

import csv
import gzip
import os
import random
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

DAY_S = 86_400
TAPS = ("washbasin", "bidet", "kitchenfaucet", "shower", "washingmachine")  # rows of ml/s
USES = ("toilet", "dishwasher30")  # rows of litres per use
HOLD_S = 3  # a tap row is true until the next one, and at most so long: rows come each second while water runs
FILL_S = 60  # a use without a course of its own is spread over the minute in which a cistern fills
NAPLES_S = 3600  # the data is in UTC; people wash in local time
JUMP_MAX = 60  # more tickets between two snapshots is a fault of the source, not a crowd
RUN_MIN = 60  # rows, so about seconds, that a tap must have run for a day to be worth replaying
TICKETS_MIN = 5  # a queue below this has no day worth replaying


class Course(NamedTuple):
    """A flow over time: `ml_s[i]` holds from `starts_s[i]` until the next start. Sorted by start."""

    starts_s: list[float]
    ml_s: list[float]

    def at(self, time_s: float) -> float:
        """Flow in ml/s at a moment in seconds of the day; 0.0 before the first start."""
        index = bisect_right(self.starts_s, time_s)
        return self.ml_s[index - 1] if index else 0.0


class Visits(NamedTuple):
    """One queue's day: when tickets were drawn and when the next one was called, seconds of the day, sorted."""

    arrivals_s: list[float]
    calls_s: list[float]


def folder(name: str) -> Path | None:
    """Where the data set `name` ("weusedto", "warsaw-queues") lies, or None."""
    base = os.environ.get("LINLI_DATA")
    root = Path(base) if base else Path(__file__).resolve().parents[2] / "shared" / "data"
    return root / name if (root / name).is_dir() else None


def water_day(place: Path, dice: random.Random) -> dict[str, Course]:
    """One seeded day of the flat: fixture -> course. A day counts when at least three taps ran for RUN_MIN rows.

    Units are the data set's own assumption: ml/s for taps, litres per use for the rest.
    """
    files = {name: _lines(place / f"{name}.csv.gz") for name in TAPS + USES}
    ran = Counter((_day(line), name) for name in TAPS for line in files[name] if not line.endswith(",0"))
    taps_ran = Counter(day for (day, _), seconds in ran.items() if seconds >= RUN_MIN)
    days = sorted(day for day, taps in taps_ran.items() if taps >= 3)
    day = dice.choice(days)
    today = {name: [line.split(",") for line in lines if _day(line) == day] for name, lines in files.items()}
    courses = {name: _tap(today[name]) for name in TAPS}
    courses |= {name: _fills(today[name]) for name in USES}
    return {name: course for name, course in courses.items() if course.starts_s}


def _lines(path: Path) -> list[str]:
    """Without the heading. Half a million lines: only those of the chosen day are split."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        return file.read().splitlines()[1:]


def _day(line: str) -> int:
    return (int(line[:10]) + NAPLES_S) // DAY_S  # ten digits until the year 2286


def _second(row: list[str]) -> float:
    return float((int(row[0]) + NAPLES_S) % DAY_S)


def _tap(rows: list[list[str]]) -> Course:
    course = Course([], [])
    for row, following in zip_longest(rows, rows[1:]):
        start_s, flow = _second(row), float(row[1])
        end_s = min(start_s + HOLD_S, _second(following) if following else DAY_S)
        _append(course, start_s, flow)
        _append(course, end_s, 0.0)
    return course


def _fills(rows: list[list[str]]) -> Course:
    course = Course([], [])
    for row in rows:
        start_s = _second(row)
        _append(course, start_s, float(row[1]) * 1000 / FILL_S)
        _append(course, min(start_s + FILL_S, DAY_S), 0.0)
    return course


def _append(course: Course, start_s: float, ml_s: float) -> None:
    if course.starts_s and course.starts_s[-1] >= start_s:
        course.ml_s[-1] = ml_s
        return
    if not course.ml_s or course.ml_s[-1] != ml_s:
        course.starts_s.append(start_s)
        course.ml_s.append(ml_s)


def office_day(place: Path, queues: int, dice: random.Random) -> list[Visits]:
    """One seeded day of one seeded office: its `queues` busiest queues, busiest first.

    Tickets drawn = increments of (number called + people waiting), calls = increments of the number called, each
    spread evenly at random over the five minutes between two snapshots (the README of the data set, "Labels").
    Raises ValueError when no office has a day with so many queues.
    """
    with open(place / "queues.csv", encoding="utf-8", newline="") as file:
        offices = sorted({row["office"] for row in csv.DictReader(file)})
    snapshots = next(iter(sorted(place.glob("snapshots_*.csv.gz"))))
    dice.shuffle(offices)
    for office in offices:
        days = _days_of(snapshots, office)
        names = sorted(days)
        dice.shuffle(names)
        for name in names:
            visits = [_visits(rows, dice) for rows in days[name].values()]
            visits = sorted((v for v in visits if len(v.calls_s) >= TICKETS_MIN), key=lambda v: -len(v.calls_s))
            if len(visits) >= queues:
                return visits[:queues]
    raise ValueError(f"no office in {place} has {queues} busy queues on one day; give the site fewer services")


def _days_of(path: Path, office: str) -> dict[str, dict[str, list[tuple[float, int, int]]]]:
    """day -> queue -> [(second of the day, number called, people waiting)]; rows without a number are left out."""
    days: dict[str, dict[str, list[tuple[float, int, int]]]] = defaultdict(lambda: defaultdict(list))
    start = office + ","
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith(start):
                continue
            _, queue, moment, _, waiting, ticket, *_ = line.split(",")
            number = re.search(r"\d+$", ticket)
            if number and waiting:
                day, clock = moment.split("T")
                second = int(clock[:2]) * 3600 + int(clock[3:5]) * 60
                days[day][queue].append((float(second), int(number[0]), int(waiting)))
    return days


def _visits(rows: list[tuple[float, int, int]], dice: random.Random) -> Visits:
    visits = Visits([], [])
    called = drawn = 0
    before_s = rows[0][0] - 300
    for second, number, waiting in rows:
        for target, reached, grown in ((visits.calls_s, called, number), (visits.arrivals_s, drawn, number + waiting)):
            if 0 < grown - reached <= JUMP_MAX:
                target.extend(dice.uniform(before_s, second) for _ in range(grown - reached))
        called, drawn, before_s = max(called, number), max(drawn, number + waiting), second
    return Visits(sorted(visits.arrivals_s), sorted(visits.calls_s))
