"""What polled meters need besides their readings: totals that go on when a meter is changed, outputs as pins.

Sans-IO: facts in, facts out, state to keep through `keep`.
"""

from collections.abc import Callable
from typing import NamedTuple

from drivers.device_file import Point
from drivers.modbus_unit import Unit
from drivers.reading import FAULT, GOOD, Event, Fact, Reading

FALLS_TO_BELIEVE = 3  # readings below the last one, each not below the one before: a unit that boots may say 0 once
WRAP_SHARE = 0.1  # of the counter's range: only from its last tenth into its first it has wrapped


class Counter(NamedTuple):
    """A total that only grows. wraps_at: where it begins again at 0, None for never."""

    point: str
    wraps_at: float | None


class _Total:
    def __init__(self, kept: object) -> None:
        last, offset = kept if isinstance(kept, list) and len(kept) == 2 else (None, 0.0)
        self.last: float | None = last
        self.offset = float(offset or 0.0)
        self.fallen: list[float] = []


class Totals:
    """kept: {point: [last, offset]} of the run before. keep: (key, value) to be stored with the next commit."""

    def __init__(self, counters: list[Counter], kept: dict[str, object], keep: Callable[[str, object], None]) -> None:
        self._counters = {counter.point: counter for counter in counters}
        self._totals = {point: _Total(kept.get(f"total:{point}")) for point in self._counters}
        self._keep = keep

    def take(self, facts: list[Fact]) -> list[Fact]:
        """The same facts, with totals that go on; a changed meter is an event before its first new reading."""
        found: list[Fact] = []
        for fact in facts:
            if type(fact) is Reading and fact.point in self._counters and isinstance(fact.value, float):
                found += self._continued(fact, self._counters[fact.point], fact.value)
            else:
                found.append(fact)
        return found

    def _continued(self, reading: Reading, counter: Counter, raw: float) -> list[Fact]:
        total = self._totals[reading.point]
        if reading.quality != GOOD:
            return [reading._replace(value=raw + total.offset)]
        events: list[Fact] = []
        if total.last is not None and raw < total.last:
            if self._wrapped(counter, total.last, raw):
                total.offset += counter.wraps_at or 0.0
            elif not self._believed(total, raw):
                return [reading._replace(value=total.last + total.offset, quality=FAULT)]
            else:
                total.offset += total.last - total.fallen[0]
                events = [self._swapped(reading, total.last, total.fallen[0], total.offset)]
        total.fallen = []
        if raw != total.last:
            total.last = raw
            self._keep(f"total:{reading.point}", [raw, total.offset])
        return [*events, reading._replace(value=raw + total.offset)]

    @staticmethod
    def _wrapped(counter: Counter, last: float, raw: float) -> bool:
        if counter.wraps_at is None:
            return False
        return last >= counter.wraps_at * (1 - WRAP_SHARE) and raw <= counter.wraps_at * WRAP_SHARE

    @staticmethod
    def _believed(total: _Total, raw: float) -> bool:
        if total.fallen and raw < total.fallen[-1]:
            total.fallen = []
        total.fallen.append(raw)
        return len(total.fallen) >= FALLS_TO_BELIEVE

    @staticmethod
    def _swapped(reading: Reading, was: float, found: float, offset: float) -> Event:
        device, _, point = reading.point.partition(":")
        data: dict[str, object] = {"value": found, "was": was, "point": point, "offset": offset}
        return Event(device, "meter.swapped", data, reading.mono_s)


class UnitPin:
    """An output of a unit as an output pin. inverted: active = "low"."""

    def __init__(self, unit: Unit, point: Point, inverted: bool) -> None:
        self._unit, self._point, self._inverted = unit, point, inverted

    def drive(self, on: bool) -> None:
        self._unit.want(self._point.name, on != self._inverted)

    def close(self) -> None:
        """The line is closed by its port."""
