"""Days of snapshots again in order of time: what a box would have known at each moment, for training and bench."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date as Date
from typing import NamedTuple

from models.queues.days import Day, Record, Usual
from models.queues.features import features, hall
from models.queues.labels import Pair, pairs
from models.queues.snapshots import Queue, Row

History = Mapping[Queue, list[Record]]
"""Earlier days of each queue, oldest first."""


class Asked(NamedTuple):
    """Somebody drew a ticket in `queue` at a snapshot. features: what was known then. pair: what became of it."""

    queue: Queue
    features: list[float]
    pair: Pair


class Replay:
    """history: days before the first that is replayed. replay() must be called with ascending dates."""

    def __init__(self, history: History) -> None:
        self._history = {queue: list(records) for queue, records in history.items()}

    def replay(self, date: str, queues: Mapping[Queue, list[Row]]) -> list[Asked]:
        """One day, all offices: by office, then by time. Afterwards the day is part of the history."""
        weekday = Date.fromisoformat(date).weekday()
        days = {queue: Day(Usual(self.before(queue, date), weekday)) for queue in queues}
        asked: list[Asked] = []
        for office in sorted({office for office, _ in queues}):
            asked.extend(_office({queue: days[queue] for queue in queues if queue[0] == office}, queues))
        for queue, day in days.items():
            if record := day.record(date, weekday):
                known = [r for r in self._history.get(queue, []) if r.date != date]
                self._history[queue] = sorted([*known, record], key=lambda r: r.date)
        return asked

    def before(self, queue: Queue, date: str) -> list[Record]:
        """Whole days before this one, whoever knew them."""
        return [record for record in self._history.get(queue, []) if record.date < date]

    def history(self) -> dict[Queue, list[Record]]:
        return {queue: list(records) for queue, records in sorted(self._history.items()) if records}


def _office(days: Mapping[Queue, Day], queues: Mapping[Queue, list[Row]]) -> Iterator[Asked]:
    by_minute: dict[int, list[tuple[Queue, Row]]] = {}
    labels: dict[Queue, dict[int, Pair]] = {}
    for queue in days:
        labels[queue] = {pair.minute: pair for pair in pairs(queues[queue])}
        for row in queues[queue]:
            by_minute.setdefault(row.minute, []).append((queue, row))
    for minute in sorted(by_minute):
        for queue, row in by_minute[minute]:
            days[queue].see(minute, row.open_counters, row.waiting, row.number or 0)
        wanted = [queue for queue, _ in by_minute[minute] if minute in labels[queue]]
        house = hall(days.values()) if wanted else (0.0, 0.0, 0.0)
        for queue in wanted:
            yield Asked(queue, features(days[queue], house), labels[queue][minute])
