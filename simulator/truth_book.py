"""truth.jsonl in memory, small enough for millions of lines: what must have arrived, once, with this value."""

from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from simulator.spans import Spans

Value = float | bool | str | None
Seq = int | str  # "17", or "17.2" when one frame held several


class TruthError(Exception):
    """The file cannot serve as a truth: found, expected, what to do."""


class Fact(NamedTuple):
    """One numbered fact. is_event: then `sensor` is the source, else the sensor's id."""

    value: Value
    t_s: float
    sensor: str
    is_event: bool


class _Line(msgspec.Struct, gc=False):
    src: str | None
    kind: str
    sensor: str
    value: Value
    t: float
    first: int | None = None
    last: int | None = None
    event: str = ""


class Samples:
    """Values of one sensor and when they held, in the order they came."""

    __slots__ = ("times", "values")

    def __init__(self) -> None:
        self.times = array("d")
        self.values: list[Value] = []

    def add(self, value: Value, t_s: float) -> None:
        self.times.append(t_s)
        self.values.append(value)


class TruthBook:
    """rows: {"n1/3": {17: row}}; what is under `row` in `fact` and in anybody's array of `len(book)` things."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Seq, int]] = {}
        self.lost: dict[str, Spans] = {}
        self.lost_lines = 0
        self.sampled: dict[str, Samples] = {}
        self.overheard: Counter[tuple[str, str, Value]] = Counter()
        self.sources: set[str] = set()
        self._values: list[Value] = []
        self._times = array("d")
        self._sensors = array("l")
        self._numbers: dict[tuple[str, bool], int] = {}
        self._names: list[tuple[str, bool]] = []

    def __len__(self) -> int:
        return len(self._values)

    def fact(self, row: int) -> Fact:
        return Fact(self._values[row], self._times[row], *self._names[self._sensors[row]])

    def all_rows(self) -> Iterator[tuple[str, Seq, int]]:
        for prefix, rows in self.rows.items():
            for seq, row in rows.items():
                yield prefix, seq, row

    def add(self, line: _Line) -> None:
        """Raises ValueError: found and expected."""
        if line.kind == "sampled":
            self.sampled.setdefault(line.sensor, Samples()).add(line.value, line.t)
        elif line.kind == "overheard":
            # a second call at one window is a recall, whoever pressed which key
            self.overheard[line.sensor, line.event.replace("recalled", "called"), line.value] += 1
        elif line.src is None:
            raise ValueError(f"kind {line.kind!r} without src; expected one, or kind sampled or overheard")
        elif line.kind == "lost":
            self._add_lost(line.src, line)
        elif line.kind in ("event", "reading"):
            self._add_fact(line.src, line)
        else:
            raise ValueError(f"kind {line.kind!r}; expected event, reading, lost or sampled")

    def _add_lost(self, src: str, line: _Line) -> None:
        if line.first is None or line.last is None or not 1 <= line.first <= line.last:
            raise ValueError(f"lost from {line.first} to {line.last}; expected numbers, the first not above the last")
        prefix, _ = split_src(src)
        self.sources.add(prefix.rpartition("/")[0])
        self.lost_lines += 1
        self.give_up(prefix, line.first, line.last)

    def give_up(self, prefix: str, first: int, last: int) -> None:
        """Somebody says that first..last of this source and boot may not come."""
        self.lost.setdefault(prefix, Spans()).add(first, last)

    def _add_fact(self, src: str, line: _Line) -> None:
        prefix, seq = split_src(src)
        rows = self.rows.get(prefix)
        if rows is None:
            rows = self.rows[prefix] = {}
            self.sources.add(prefix.rpartition("/")[0])
        if seq in rows:
            raise ValueError(f"src {src!r} for the second time; expected each number once")
        rows[seq] = len(self._values)
        key = (line.sensor, line.kind == "event")
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._names)
            self._names.append(key)
        self._values.append(line.value)
        self._times.append(line.t)
        self._sensors.append(number)


def split_src(src: str) -> tuple[str, Seq]:
    """("n1/3", 17) of "n1/3/17". Raises ValueError when it is not <source>/<boot>/<seq>[.<i>]."""
    prefix, _, seq = src.rpartition("/")
    if seq.isdecimal() and "/" in prefix:
        return prefix, int(seq)
    whole, _, part = seq.partition(".")
    if not (whole.isdecimal() and part.isdecimal() and "/" in prefix):
        raise ValueError(f"src {src!r}; expected source/boot/number")
    return prefix, seq


def read_truth(path: Path) -> TruthBook:
    """Raises TruthError. A last line that was cut short is left out: its fact never left the device."""
    book = TruthBook()
    decode = msgspec.json.Decoder(_Line).decode
    number = 0
    try:
        with open(path, "rb") as file:
            for line in file:
                number += 1
                if not line.endswith(b"\n"):
                    break
                book.add(decode(line))
    except OSError as error:
        raise TruthError(f"{path}: {error.strerror}; expected what `linli simulate --truth` writes") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise TruthError(f"{path} line {number}: {error}; write the truth of one run into a file of its own") from None
    return book
