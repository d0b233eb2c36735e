"""Raw samples on the loop's side: what polled and local sensors measured, reported or not, until the next commit.

A group is all of them of one interval, closed together: one row of the store. A body is msgpack over [head, planes of
the steps of counted sensors, of single precision, of double precision]; the head is compressed msgpack: [sensors by
number, which times each has, the times, kinds, (scale, base) of counted sensors, values that are no numbers, odd
qualities]. Sensors read in one poll share their times, so those are kept once; what a meter counted in decimal steps
is kept as those steps.
"""

import zlib
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import msgspec

from drivers.reading import GOOD, Reading
from gateway.packs import Column
from gateway.planes import LEVEL, Counted, counted, numbers, planes, single, steps

OPEN_MAX = 100_000  # samples of the open group; when the disk stalls longer, further ones are given up and counted
EXACT_UNITS = frozenset({"m3"})  # totals only grow: in single precision their last digits would be lost
_COUNTED, _AS_IS = "I", "x"
_CODES = (_COUNTED, "f", "d")
_to_msgpack = msgspec.msgpack.Encoder().encode
_from_msgpack = msgspec.msgpack.Decoder().decode


class Group:
    """One interval, closed. first_s, last_s: monotonic, of its samples."""

    __slots__ = ("boot", "columns", "first_s", "last_s", "samples")

    def __init__(self, boot: int, columns: list[Column]) -> None:
        self.boot = boot
        self.columns = columns
        self.samples = sum(len(column.monos) for column in columns)
        self.first_s = min(min(column.monos) for column in columns)
        self.last_s = max(max(column.monos) for column in columns)

    def body(self, number: Callable[[str, str], int]) -> bytes:
        """number: (sensor, unit) to the number it has in this database."""
        return encode(sorted(((number(c.sensor, c.unit), c) for c in self.columns), key=lambda pair: pair[0]))


class Samples:
    """The open group. every_s: it is due that long after its first sample, which is what a power cut can cost."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._columns: dict[str, Column] = {}
        self._due_s: float | None = None
        self.open = 0
        self.given_up = 0
        self.sensors: set[str] = set()  # that were ever sampled

    def add(self, sensor: str, unit: str, reading: Reading, now_s: float) -> None:
        if self.open >= OPEN_MAX:
            self.given_up += 1
            return
        column = self._columns.get(sensor)
        if column is None:
            column = self._columns[sensor] = Column(sensor, unit, "", 0)
            self.sensors.add(sensor)
            if self._due_s is None:
                self._due_s = now_s + self._every_s
        column.monos.append(reading.mono_s)
        column.values.append(reading.value)
        if reading.quality != GOOD:
            column.odd.append((len(column.values) - 1, reading.quality))
        self.open += 1

    @property
    def due_s(self) -> float | None:
        """When the group must go, None while it is empty."""
        return self._due_s

    def closed_s(self, now_s: float) -> float:
        """Up to when every sample is in a group that was closed."""
        return now_s if self._due_s is None else self._due_s - self._every_s

    def close(self, boot: int) -> list[Group]:
        """The open group, if anything is in it."""
        columns = list(self._columns.values())
        self._columns, self._due_s, self.open = {}, None, 0
        return [Group(boot, columns)] if columns else []


def encode(columns: list[tuple[int, Column]]) -> bytes:
    """columns: (number of the sensor, its samples), in order of the numbers."""
    times: dict[tuple[float, ...], int] = {}
    which = [times.setdefault(tuple(column.monos), len(times)) for _, column in columns]
    kinds, scales, others = "", [], []
    flat: dict[str, list[Any]] = {code: [] for code in _CODES}
    for _, column in columns:
        kind, values = _sorted_out(column)
        kinds += kind
        if isinstance(values, Counted):
            scales.append(values[:2])
            flat[kind] += values.steps
        elif kind in flat:
            flat[kind] += values
        else:
            others.append(values)
    head = [
        steps([number for number, _ in columns]), which,
        [_second_steps([round(mono * 1000) for mono in monos]) for monos in times], kinds, scales, others,
        [[i, column.odd] for i, (_, column) in enumerate(columns) if column.odd],
    ]  # fmt: skip
    packed = zlib.compress(_to_msgpack(head), LEVEL)
    return _to_msgpack([packed, *(planes(values, code) for code, values in flat.items())])


def decode(body: bytes) -> list[tuple[int, Column]]:
    """(number of the sensor, a column without its name). Raises ValueError for a body that is not one of ours."""
    try:
        return list(_columns(body))
    except (zlib.error, msgspec.MsgspecError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise ValueError(f"a group of raw samples cannot be opened: {error}") from None


def _columns(body: bytes) -> Iterator[tuple[int, Column]]:
    """As `decode`; what is too short ends it with a RuntimeError, as any generator that runs out of `next`."""
    packed, *parts = _from_msgpack(body)
    nos, which, times, kinds, scales, others, odd = _from_msgpack(zlib.decompress(packed))
    monos = [[ms / 1000 for ms in _second_sums(time)] for time in times]
    flat: dict[str, Any] = {code: iter(numbers(part, code)) for code, part in zip(_CODES, parts, strict=True)}
    scale, rest, odds = iter(scales), iter(others), dict(odd)
    for i, (sensor, time, kind) in enumerate(zip(accumulate(nos), which, kinds, strict=True)):
        column = Column("", "", "", 0)
        column.monos = monos[time]
        column.values = next(rest) if kind == _AS_IS else [next(flat[kind]) for _ in column.monos]
        if kind == _COUNTED:
            unit, base = next(scale)
            column.values = [(base + step) / unit for step in column.values]
        column.odd = [(index, quality) for index, quality in odds.get(i, ())]
        yield sensor, column


def _sorted_out(column: Column) -> tuple[str, Any]:
    """(kind, values): counted, single, double, or words, bools and mixtures as they are."""
    values: list[Any] = column.values
    if set(map(type, values)) != {float}:
        return _AS_IS, values
    if found := counted(values):
        return _COUNTED, found
    return ("f" if column.unit not in EXACT_UNITS and single(values) else "d"), values


def _second_steps(times_ms: list[int]) -> list[int]:
    """First, first difference, then how the difference changes: small numbers for a steady poll."""
    return [*times_ms[:1], *steps(steps(times_ms)[1:])]


def _second_sums(stored: list[int]) -> Iterator[int]:
    return accumulate([*stored[:1], *accumulate(stored[1:])])
