"""Looking back: raw samples and one-minute aggregates of one sensor, by wall or by a boot's own clock.

Rows lie by boot << 40 | ms of that boot, and the table `walls` says when each boot's clock was set to what wall. So
what was measured before the clock was known needs no rewriting: once it is known, all of that boot has a wall time.
What belongs to a boot whose clock was never known stays, and can only be asked for by its boot.
"""

import sqlite3
from collections.abc import Callable, Iterator
from typing import NamedTuple

from drivers.reading import Value
from gateway import minutes, samples
from gateway.contract import Label
from gateway.minutes import MINUTE_S, Cell

BOOT_SHIFT = 40  # ms of one boot: 34 years
HOUR_MIN = 60
LAST_MS = (1 << BOOT_SHIFT) - 1
Names = Callable[[int], tuple[str, str]]
_LATE_MS = 60_000  # how far groups may overlap: an edge is told when its debounce has run out


class Span(NamedTuple):
    """A stretch of one boot with one wall offset: wall = mono + offset_s."""

    boot: int
    from_s: float
    to_s: float
    offset_s: float


class Sample(NamedTuple):
    """One raw sample. at_s: on the clock that was asked for."""

    at_s: float
    value: Value
    quality: str


class Minute(NamedTuple):
    """One minute of one sensor. at_s: its beginning, on the clock that was asked for."""

    at_s: float
    samples: int
    least: float
    mean: float
    most: float
    last: float


def key(boot: int, ms: int) -> int:
    return boot << BOOT_SHIFT | min(max(ms, 0), LAST_MS)


def spans(db: sqlite3.Connection, from_s: float, to_s: float) -> list[Span]:
    """Which stretches of which boots lie between two walls (UTC s). A boot's first setting holds for before it, too."""
    rows = db.execute("SELECT id >> ?, id & ?, offset_s FROM walls ORDER BY id", (BOOT_SHIFT, LAST_MS)).fetchall()
    found: list[Span] = []
    for i, (boot, ms, offset_s) in enumerate(rows):
        first = i == 0 or rows[i - 1][0] != boot
        last = i + 1 == len(rows) or rows[i + 1][0] != boot
        low = max(0.0 if first else ms / 1000, from_s - offset_s)
        high = min(LAST_MS / 1000 if last else rows[i + 1][1] / 1000, to_s - offset_s)
        if low < high:
            found.append(Span(boot, low, high, offset_s))
    return found


def wall_s(db: sqlite3.Connection, boot: int, mono_s: float) -> float | None:
    """UTC seconds at a moment of a boot, by the setting before it or the boot's first; None: it never knew the time."""
    ms = round(mono_s * 1000)
    before = "SELECT offset_s FROM walls WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1"
    first = "SELECT offset_s FROM walls WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1"
    row = db.execute(before, (key(boot, 0), key(boot, ms))).fetchone()
    row = row or db.execute(first, (key(boot, 0), key(boot, LAST_MS))).fetchone()
    return mono_s + float(row[0]) if row else None


def samples_of(db: sqlite3.Connection, sensor: str, span: Span) -> Iterator[Sample]:
    """Raises sqlite3.DatabaseError, ValueError for a row that does not open."""
    no = _number(db, sensor)
    first, last = round(span.from_s * 1000), round(span.to_s * 1000)
    rows = db.execute(
        "SELECT first_ms, body FROM raw WHERE id >= ? AND id <= ? ORDER BY id",
        (key(span.boot, first), key(span.boot, LAST_MS)),
    )
    for first_ms, body in rows:
        if no is None or first_ms > last + _LATE_MS:
            return
        for found, column in samples.decode(body):
            if found == no:
                odd = dict(column.odd)
                for i, (mono_s, value) in enumerate(zip(column.monos, column.values, strict=True)):
                    if span.from_s <= mono_s < span.to_s:
                        yield Sample(mono_s + span.offset_s, value, odd.get(i, "good"))


def minutes_of(db: sqlite3.Connection, sensors: list[str], span: Span) -> Iterator[tuple[str, Minute]]:
    """(sensor, minute), in order of time for each. Raises sqlite3.DatabaseError, ValueError."""
    names = names_of(db)
    wanted = set(sensors)
    first, last = int(span.from_s // MINUTE_S), int(span.to_s // MINUTE_S)
    cells: list[Cell] = []
    for (body,) in minute_bodies(db, span.boot, first, last):
        cells += (c for c in minutes.decode(body, names) if c.sensor in wanted and first <= c.minute <= last)
    for cell in sorted(minutes.merged(cells), key=lambda cell: cell.minute):
        at_s = cell.minute * MINUTE_S
        if span.from_s - MINUTE_S < at_s < span.to_s:
            row = Minute(at_s + span.offset_s, cell.count, cell.least, cell.mean, cell.most, cell.last)
            yield cell.sensor, row


def means_before(
    db: sqlite3.Connection, sensors: list[str], label: Label, minutes_back: int
) -> dict[str, list[float | None]]:
    """{sensor: mean of each of the last whole minutes of this boot's clock, oldest first; None where none is known}.

    What an earlier boot measured counts, too, when both clocks were known; it is off by half a minute at most.
    """
    from_s, to_s = label.mono - minutes_back * MINUTE_S, label.mono
    offset_s = label.wall - label.mono if label.wall is not None else 0.0
    wanted = spans(db, from_s + offset_s, to_s + offset_s) if label.wall is not None else []
    if all(span.boot != label.boot for span in wanted):
        wanted.append(Span(label.boot, max(0.0, from_s), to_s, offset_s))
    first = int(label.mono // MINUTE_S) - minutes_back
    found: dict[str, list[float | None]] = {}
    for span in wanted:
        for sensor, minute in minutes_of(db, sensors, span):
            at = round((minute.at_s - offset_s) / MINUTE_S) - first
            if 0 <= at < minutes_back:
                found.setdefault(sensor, [None] * minutes_back)[at] = minute.mean
    return found


def minute_bodies(db: sqlite3.Connection, boot: int, first_min: int, last_min: int) -> Iterator[tuple[bytes]]:
    """Hours first, then what was added since: the later part of a minute comes later."""
    hours = (key(boot, first_min // HOUR_MIN), key(boot, last_min // HOUR_MIN))
    yield from db.execute("SELECT body FROM minute_hours WHERE id BETWEEN ? AND ? ORDER BY id", hours)
    yield from db.execute(
        "SELECT body FROM minute_parts WHERE id BETWEEN ? AND ? ORDER BY id", (key(boot, 0), key(boot, LAST_MS))
    )


def names_of(db: sqlite3.Connection) -> Names:
    """A sensor's number in this database to (sensor, unit)."""
    names = {no: (sensor, unit) for no, sensor, unit in db.execute("SELECT no, sensor, unit FROM names")}
    return lambda no: names.get(no, (f"#{no}", ""))


def _number(db: sqlite3.Connection, sensor: str) -> int | None:
    row = db.execute("SELECT no FROM names WHERE sensor = ?", (sensor,)).fetchone()
    return int(row[0]) if row else None
