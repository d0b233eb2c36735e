"""The readings of packs that are still open, as columns, and how they are cut into packs that each fit a message."""

from collections.abc import Iterable
from itertools import count

from drivers.reading import GOOD, Reading, Run
from gateway.contract import PACK_BYTES_MAX, PACK_RECORDS_MAX
from gateway.packs import Column

_RECORD_OVERHEAD_B = 64
_PACK_ROOM_B = PACK_BYTES_MAX - 4_000


class OpenReadings:
    """Columns of the readings that are in no pack yet, by (source, boot) and sensor."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, int], dict[str, Column]] = {}
        self.count = 0
        self._widest_b = _RECORD_OVERHEAD_B

    def add(self, sensor: str, unit: str, source: str, reading: Reading) -> None:
        columns = self._of(source, reading.boot)
        column = columns.get(sensor) or self._born(columns, Column(sensor, unit, source, reading.boot))
        column.monos.append(reading.mono_s)
        column.values.append(reading.value)
        if source:
            column.seqs.append(reading.seq)
        if reading.quality != GOOD:
            column.odd.append((len(column.values) - 1, reading.quality))
        if type(reading.value) is str and len(reading.value) > column.longest:
            column.longest = len(reading.value)
            self._widest_b = max(self._widest_b, _width_b(column))
        self.count += 1

    def extend(self, run: Run, sensors: Iterable[tuple[str, str]]) -> None:
        source, boot = run.source, run.boot
        columns = self._of(source, boot)
        for (sensor, unit), mono_s, value, seq in zip(sensors, run.monos_s, run.values, count(run.first)):
            column = columns.get(sensor) or self._born(columns, Column(sensor, unit, source, boot))
            column.monos.append(mono_s)
            column.values.append(value)
            column.seqs.append(seq)
        self.count += len(run.values)

    def _of(self, source: str, boot: int) -> dict[str, Column]:
        return self._columns.setdefault((source, boot), {})

    def _born(self, columns: dict[str, Column], column: Column) -> Column:
        columns[column.sensor] = column
        self._widest_b = max(self._widest_b, _width_b(column))
        return column

    def _all(self) -> list[Column]:
        return [column for columns in self._columns.values() for column in columns.values()]

    def untold(self) -> list[Column]:
        return [column.untold() for column in self._all() if column.told < len(column.monos)]

    @property
    def overflows(self) -> bool:
        """Whether one message may not hold all of it."""
        return self.count >= PACK_RECORDS_MAX or self.count * self._widest_b > _PACK_ROOM_B

    def take(self) -> list[Column]:
        """All of it, which is no more here."""
        columns = self._all()
        self._columns, self.count = {}, 0
        return columns

    def full_packs(self) -> list[list[Column]]:
        """What fills packs; the rest stays."""
        packs = cut(self._all())
        last_is_full = sum(len(column.monos) for column in packs[-1]) == PACK_RECORDS_MAX
        rest = [] if last_is_full else packs.pop()
        if packs:
            self._columns, self.count = {}, 0
            for column in rest:
                column.told = 0  # the journal forgets it with the packs before it
                self._born(self._of(column.source, column.boot), column)
                self.count += len(column.monos)
        return packs


def cut(columns: list[Column]) -> list[list[Column]]:
    """Into packs that each fit a message, sensor by sensor; all but the last are full."""
    packs: list[list[Column]] = [[]]
    records, room_b = 0, _PACK_ROOM_B
    for column in columns:
        width_b = _width_b(column)
        at, length = 0, len(column.monos)
        while at < length:
            if records == PACK_RECORDS_MAX or room_b < width_b:
                packs.append([])
                records, room_b = 0, max(_PACK_ROOM_B, width_b)
            fitting = min(length - at, PACK_RECORDS_MAX - records, room_b // width_b)
            packs[-1].append(column if fitting == length else column.part(at, at + fitting))
            at, records, room_b = at + fitting, records + fitting, room_b - fitting * width_b
    return packs


def _width_b(column: Column) -> int:
    """At most what one of its readings takes in a message."""
    return _RECORD_OVERHEAD_B + len(column.sensor) + len(column.source) + column.longest
