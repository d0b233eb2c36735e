"""Readings as compressed columns: how a pack lies in the store, and how it is opened again for the city.

A body is zlib over msgpack over a list of columns, one for each (sensor, source, boot):
[sensor, unit, source, boot, first t in ms after the label's mono, t deltas, seqs, kind, values, odd qualities].
Values of doubles are kept as eight byte planes, because neighbouring readings differ in few bytes.
"""

import zlib
from array import array
from itertools import accumulate
from math import isfinite
from operator import sub
from typing import Any

import msgspec

from drivers.reading import Value
from gateway.contract import Json, Label

_to_msgpack = msgspec.msgpack.Encoder().encode
_from_msgpack = msgspec.msgpack.Decoder().decode
_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder(list[Json]).decode


class Column:
    """The readings of one sensor from one source and boot, while a pack is open. Plain lists: this is the hot path."""

    __slots__ = ("boot", "longest", "monos", "odd", "sensor", "seqs", "source", "told", "unit", "values")

    def __init__(self, sensor: str, unit: str, source: str, boot: int) -> None:
        self.sensor = sensor
        self.unit = unit
        self.source = source  # "" for a source that does not number
        self.boot = boot
        self.monos: list[float] = []
        self.values: list[Value] = []
        self.seqs: list[int] = []
        self.odd: list[tuple[int, str]] = []  # (index, quality) where it is not good
        self.told = 0  # how many of them are in the journal already
        self.longest = 0  # characters of the longest text among the values

    def part(self, first: int, end: int) -> "Column":
        """A column of readings first..end-1 of this one."""
        found = Column(self.sensor, self.unit, self.source, self.boot)
        found.monos, found.values = self.monos[first:end], self.values[first:end]
        found.seqs = self.seqs[first:end]
        found.longest = self.longest
        found.odd = [(i - first, quality) for i, quality in self.odd if first <= i < end]
        return found

    def untold(self) -> "Column":
        """A column of what is not in the journal yet."""
        fresh = self.part(self.told, len(self.monos))
        self.told = len(self.monos)
        return fresh


def encode_columns(columns: list[Column], label_mono: float) -> bytes:
    return zlib.compress(_to_msgpack([_column_out(column, label_mono) for column in columns]), 1)


def _column_out(column: Column, label_mono: float) -> list[object]:
    origin_ms = round(label_mono * 1000)
    times_ms = [round(mono * 1000) - origin_ms for mono in column.monos]
    kind, values = _values_out(column.values)
    head = [column.sensor, column.unit, column.source, column.boot]
    return [*head, times_ms[0], _deltas(times_ms), _seqs_out(column.seqs), kind, values, column.odd]


def _deltas(numbers: list[int]) -> list[int]:
    return list(map(sub, numbers[1:], numbers))


def _seqs_out(seqs: list[int]) -> list[int]:
    """[first, delta...], and only [first] when it counts on by one."""
    counts_on = seqs == list(range(seqs[0], seqs[0] + len(seqs))) if seqs else True
    return seqs[:1] if counts_on else [seqs[0], *_deltas(seqs)]


def _values_out(values: list[Any]) -> tuple[str, object]:
    if set(map(type, values)) == {float}:
        raw = array("d", values).tobytes()
        return "d", b"".join([raw[i::8] for i in range(8)])
    return "x", values  # bools and words as they are


def _values_in(kind: str, stored: Any) -> list[Any]:
    if kind == "x":
        return list(stored)
    count = len(stored) // 8
    raw = bytearray(len(stored))
    for i in range(8):
        raw[i::8] = stored[i * count : (i + 1) * count]
    return array("d", bytes(raw)).tolist()


def reading_records(body: bytes, label: Label) -> bytes:
    """The inside of a SenML pack (RFC 8428): `bt` in the first record unless the clock is unsure, `t` always.

    Raises ValueError for a body that is not one of ours.
    """
    parts: list[str] = []
    for column in _open(body):
        _column_records(column, parts)
    if parts and label.wall is not None:
        parts[0] = f'{{"bt":{label.wall:.3f},{parts[0][1:]}'
    return ",".join(parts).encode()


def _open(body: bytes) -> list[list[Any]]:
    try:
        columns = _from_msgpack(zlib.decompress(body))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"a readings pack of the store cannot be opened: {error}") from None
    if not isinstance(columns, list):
        raise ValueError("a readings pack of the store holds no list of columns")
    return columns


def _column_records(column: list[Any], parts: list[str]) -> None:
    sensor, unit, source, boot, first_ms, deltas, seqs, kind, stored, odd = column
    name = _to_json(sensor).decode()
    head = f'{{"n":{name},"u":"{unit}","t":' if unit else f'{{"n":{name},"t":'
    times = _texts([t / 1000 for t in accumulate(deltas, initial=first_ms)])
    values = _values_in(kind, stored)
    if kind == "d":
        texts = [f'"v":{text}' for text in _texts(values)]
        if '"v":null' in texts:
            texts = [
                text if isfinite(value) else f'"vs":"{value!r}"' for text, value in zip(texts, values, strict=True)
            ]
    else:
        texts = [_other_value(value) for value in values]
    if seqs:
        tail = f',"src":"{source}/{boot}/'
        first, *steps = seqs
        numbers = accumulate(steps, initial=first) if steps else range(first, first + len(texts))
        found = [f'{head}{t},{v}{tail}{n}"}}' for t, v, n in zip(times, texts, numbers, strict=True)]
    else:
        found = [f"{head}{t},{v}}}" for t, v in zip(times, texts, strict=True)]
    for index, quality in odd:
        found[index] = f'{found[index][:-1]},"q":"{quality}"}}'
    parts += found


def _texts(numbers: list[float]) -> list[str]:
    """Each as JSON, null for what is not finite. At once: four times as fast as repr, number by number."""
    return _to_json(numbers)[1:-1].decode().split(",")


def _other_value(value: Value) -> str:
    if isinstance(value, bool):
        return '"vb":true' if value else '"vb":false'
    if isinstance(value, str):
        return f'"vs":{_to_json(value).decode()}'
    return f'"v":{value!r}' if isfinite(value) else f'"vs":"{value!r}"'


def encode_records(records: list[Json]) -> bytes:
    """Events, alarms, health, gaps: JSON, compressed only when it is worth it."""
    plain = _to_json(records)
    return zlib.compress(plain, 1) if len(plain) > 512 else plain


def open_records(body: bytes) -> list[Json]:
    """Raises ValueError."""
    try:
        return _from_json(body if body[:1] == b"[" else zlib.decompress(body))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"a pack of the store cannot be opened: {error}") from None
