"""Snapshots of ticket queues: every file snapshots_*.csv.gz of a folder, checked row by row.

The format is that of the Warsaw offices' data (card.md): one row a queue about every five minutes, with the columns
office, queue_id, time (local, 2020-01-13T08:04), open_counters, waiting, current_ticket (`I044`, empty while nothing
was called), service_min. Other columns are not read.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
import zlib
from collections import Counter
from datetime import date
from functools import cache
from pathlib import Path
from typing import NamedTuple

COLUMNS = ("office", "queue_id", "time", "open_counters", "waiting", "current_ticket", "service_min")
COUNT_MAX = 100_000
"""A counter, a waiting room or a ticket number beyond is a broken row."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):([0-5]\d)", re.ASCII)

Queue = tuple[str, str]
"""(office, queue_id)"""


class SnapshotError(Exception):
    """What was found, what was expected and what to do."""


class Row(NamedTuple):
    """number: of the ticket called last; None while nothing was called. service_min: 0 when not known."""

    minute: int
    open_counters: int
    waiting: int
    number: int | None
    service_min: float


class Folder(NamedTuple):
    """days: {date: {queue: its rows by time}}, dates ascending. rows: read. bad: {why a row was left out: how many}."""

    days: dict[str, dict[Queue, list[Row]]]
    rows: int
    bad: dict[str, int]


def read(folder: Path) -> Folder:
    """Raises SnapshotError: no such file, or a file that is not of this format."""
    paths = sorted(folder.glob("snapshots_*.csv.gz"))
    if not paths:
        raise SnapshotError(
            f"{folder} holds no snapshots_*.csv.gz. Expected at least one, with the columns {', '.join(COLUMNS)}. "
            "Name the folder that holds them with --data."
        )
    found: dict[str, dict[Queue, dict[int, Row]]] = {}
    bad: Counter[str] = Counter()
    rows = 0
    for path in paths:
        rows += _read_file(path, found, bad)
    days = {
        date: {queue: [by_minute[m] for m in sorted(by_minute)] for queue, by_minute in sorted(queues.items())}
        for date, queues in sorted(found.items())
    }
    return Folder(days, rows, dict(sorted(bad.items())))


def _read_file(path: Path, found: dict[str, dict[Queue, dict[int, Row]]], bad: Counter[str]) -> int:
    rows = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8", errors="replace", newline="") as text:
            table = csv.DictReader(text)
            missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                raise SnapshotError(
                    f"{path} lacks the columns {', '.join(missing)}. Expected {', '.join(COLUMNS)}. "
                    "Take it out of the folder, or write it in that format."
                )
            for cells in table:
                rows += 1
                try:
                    date, row = _row(cells)
                except ValueError as error:
                    bad[str(error)] += 1
                    continue
                by_minute = found.setdefault(date, {}).setdefault((cells["office"], cells["queue_id"]), {})
                if row.minute in by_minute:
                    bad["second row of its minute"] += 1
                else:
                    by_minute[row.minute] = row
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise SnapshotError(
            f"{path} cannot be read: {error}. Expected a gzip file of comma-separated text. Copy it again."
        ) from error
    return rows


def _row(cells: dict[str, str | None]) -> tuple[str, Row]:
    """Raises ValueError, whose text is the reason that is counted."""
    if not cells["office"] or not cells["queue_id"]:
        raise ValueError("no office or queue")
    if not (stamp := _TIME.fullmatch(cells["time"] or "")):
        raise ValueError("time is not like 2020-01-13T08:04")
    day, hour, minute = stamp.groups()
    ticket = "".join(c for c in cells["current_ticket"] or "" if "0" <= c <= "9")
    return _date(day), Row(
        int(hour) * 60 + int(minute),
        _count(cells["open_counters"], "open_counters"),
        _count(cells["waiting"], "waiting"),
        _count(ticket, "current_ticket") if ticket else None,
        _service_min(cells["service_min"]),
    )


@cache
def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("time is on no day of the calendar") from None


def _count(text: str | None, column: str) -> int:
    try:
        count = int(text or "")
    except ValueError:
        raise ValueError(f"{column} is not a whole number") from None
    if not 0 <= count <= COUNT_MAX:
        raise ValueError(f"{column} is not within 0 to {COUNT_MAX}")
    return count


def _service_min(text: str | None) -> float:
    """What the office's system says of itself is a hint: a figure that is none does not cost the row."""
    try:
        minutes = float(text or 0)
    except ValueError:
        return 0.0
    return minutes if math.isfinite(minutes) and 0 <= minutes <= 24 * 60 else 0.0
