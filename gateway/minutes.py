"""One-minute aggregates: smallest, mean, largest, count and last value of each sensor, minute by minute.

Minutes are those of the boot's clock, so no step of the wall moves a value. A contact counts as 1 while active, so its
mean is the share of samples in which it was. What is not good, or no number, is left out.
"""

import zlib
from collections.abc import Callable, Iterable
from itertools import accumulate
from math import isfinite
from typing import Any

import msgspec

from drivers.kinds import LOOP_STATES, is_active
from drivers.reading import Value
from gateway.packs import Column
from gateway.planes import LEVEL, numbers, planes, single, steps
from gateway.samples import EXACT_UNITS

MINUTE_S = 60
_SILENT_LOOP = frozenset(LOOP_STATES) - {"normal", "alarm"}  # cut or short: says nothing about water or cords
_to_msgpack = msgspec.msgpack.Encoder().encode
_from_msgpack = msgspec.msgpack.Decoder().decode


class Cell(msgspec.Struct):
    """One minute of one sensor. minute: mono // 60."""

    minute: int
    sensor: str
    unit: str
    count: int
    least: float
    sum: float
    most: float
    last: float

    @property
    def mean(self) -> float:
        return self.sum / self.count

    def add(self, count: int, least: float, total: float, most: float, last: float) -> None:
        """More of the same minute, later than what is there."""
        self.count += count
        self.sum += total
        self.last = last
        if least < self.least:
            self.least = least
        if most > self.most:
            self.most = most


class Minutes:
    """The minutes under way. lag_s: how long after its end a minute may still get samples."""

    def __init__(self, lag_s: float) -> None:
        self._lag_s = lag_s
        self._open: dict[int, dict[str, Cell]] = {}
        self._next_s = float("-inf")
        self._minute = 0  # of the last column: nearly always that of the next one, too
        self._from_s = self._to_s = 0.0
        self._cells: dict[str, Cell] = {}

    def add(self, column: Column) -> None:
        """A closed column. Late samples open their minute again; the store adds the two."""
        values, monos = column.values, column.monos
        if type(values[0]) is float and not column.odd:  # the hot path: one minute, numbers only
            first_s, last_s = min(monos), max(monos)
            if not (self._from_s <= first_s and last_s < self._to_s):
                self._turn_to(int(first_s // MINUTE_S))
            if last_s < self._to_s and self._all(column, values):  # type: ignore[arg-type]  # words raise in there
                return
        odd = {index for index, _ in column.odd}
        by_minute: dict[int, list[float]] = {}
        for i, (mono, value) in enumerate(zip(monos, values, strict=True)):
            number = as_number(value)
            if i not in odd and number is not None:
                by_minute.setdefault(int(mono // MINUTE_S), []).append(number)
        for minute, found in by_minute.items():
            self._turn_to(minute)
            self._all(column, found)

    def _turn_to(self, minute: int) -> None:
        self._minute, self._from_s, self._to_s = minute, minute * MINUTE_S, (minute + 1) * MINUTE_S
        self._cells = self._open.setdefault(minute, {})

    def _all(self, column: Column, values: list[float]) -> bool:
        """Into the minute turned to; False when there are words among them, or what is no number."""
        try:
            total = sum(values)
        except TypeError:
            return False
        if not isfinite(total):
            return False
        cell = self._cells.get(column.sensor)
        if cell is None:
            added = (len(values), min(values), total, max(values), values[-1])
            self._cells[column.sensor] = Cell(self._minute, column.sensor, column.unit, *added)
        else:
            cell.add(len(values), min(values), total, max(values), values[-1])
        return True

    def take(self, now_s: float, *, everything: bool = False) -> list[Cell]:
        """The minutes that are over; everything: also those under way, at the end of the program."""
        if now_s < self._next_s and not everything:
            return []
        upto = (now_s - self._lag_s) // MINUTE_S
        self._next_s = (upto + 1) * MINUTE_S + self._lag_s
        over = [minute for minute in self._open if everything or minute < upto]
        found = [cell for minute in over for cell in self._open.pop(minute).values()]
        self._from_s = self._to_s = 0.0  # what was turned to may be gone
        return found


def as_number(value: Value) -> float | None:
    """None for what has no place in an aggregate."""
    if isinstance(value, str):
        return None if value in _SILENT_LOOP or value not in LOOP_STATES else float(is_active(value))
    return float(value) if isfinite(value) else None


def encode(cells: Iterable[Cell], number: Callable[[str, str], int]) -> bytes:
    """number: (sensor, unit) to the number it has in this database."""
    exact = [(_is_exact(cell), number(cell.sensor, cell.unit), cell.minute, cell) for cell in cells]
    rows = sorted(exact, key=lambda row: row[:3])
    single_rows = [row for row in rows if not row[0]]
    head = [steps([row[1] for row in rows]), steps([row[2] for row in rows]), steps([row[3].count for row in rows])]
    parts = []
    for code, part in (("f", single_rows), ("d", rows[len(single_rows) :])):
        found = [row[3] for row in part]
        parts += [planes([getattr(cell, what) for cell in found], code) for what in ("least", "mean", "most", "last")]
    return _to_msgpack([zlib.compress(_to_msgpack(head), LEVEL), parts])


def decode(body: bytes, name: Callable[[int], tuple[str, str]]) -> list[Cell]:
    """name: a sensor's number to (sensor, unit). Raises ValueError for a body that is not one of ours."""
    try:
        packed, parts = _from_msgpack(body)
        columns = _from_msgpack(zlib.decompress(packed))
    except (zlib.error, msgspec.MsgspecError, ValueError, TypeError) as error:
        raise ValueError(f"one-minute aggregates cannot be opened: {error}") from None
    nos, minutes, counts = (list(accumulate(column)) for column in columns)
    stats: list[list[Any]] = [[*numbers(f, "f"), *numbers(d, "d")] for f, d in zip(parts[:4], parts[4:], strict=True)]
    if len(stats[0]) != len(nos):
        raise ValueError("one-minute aggregates of different lengths")
    rows = zip(nos, minutes, counts, *stats, strict=True)
    return [
        Cell(minute, *name(no), count, least, mean * count, most, last)
        for no, minute, count, least, mean, most, last in rows
    ]


def merged(cells: Iterable[Cell]) -> list[Cell]:
    """Parts of the same minute put together; the later part of two comes later in `cells`."""
    found: dict[tuple[int, str], Cell] = {}
    for cell in cells:
        known = found.setdefault((cell.minute, cell.sensor), cell)
        if known is not cell:
            known.add(cell.count, cell.least, cell.sum, cell.most, cell.last)
    return list(found.values())


def _is_exact(cell: Cell) -> bool:
    return cell.unit in EXACT_UNITS or not single((cell.least, cell.most, cell.mean))
