"""Numbers as compressed byte planes: the first bytes of all of them, then the second ones and so on.

Neighbouring values differ in few bytes, so most planes are nearly constant, and each is compressed by itself: noise in
one does not spoil the code of the next.
"""

import zlib
from array import array
from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from typing import NamedTuple

LEVEL = 6
_SINGLE_MAX = 3.0e38
_WHOLE_MAX = 2**31 - 1
SCALES = tuple(factor * 10**power for power in range(10) for factor in (1, 6, 36))
"""What registers count, seen from SI: decimal steps, and those of L/min and m3/h, which are no decimals of m3/s."""
_SAME = 1e-14  # of a value: what converting it to SI may cost a double


class Counted(NamedTuple):
    """Values that are whole steps of a scale: value = (base + steps[i]) / scale."""

    scale: int
    base: int
    steps: list[int]


def counted(values: Sequence[float]) -> Counted | None:
    """The same values as whole numbers, when a register of some meter was read; None when they are not of that sort."""
    largest = max(map(abs, values))
    for scale in SCALES:
        if not largest * scale < _WHOLE_MAX or not all(map(isfinite, values)):
            return None
        if _is_whole(values[0] * scale):  # one look spares the rest, most times
            found = [value * scale for value in values]
            if all(map(_is_whole, found)):
                whole = [round(number) for number in found]
                base = min(whole)
                return Counted(scale, base, [number - base for number in whole])
    return None


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) <= _SAME * abs(number)


def planes(values: Sequence[float], code: str) -> list[bytes]:
    """code: "f" keeps single precision (7 digits), "d" everything, "I" whole numbers from 0."""
    numbers = array(code, values)
    raw = numbers.tobytes()
    return [zlib.compress(raw[i :: numbers.itemsize], LEVEL) for i in range(numbers.itemsize)]


def numbers(stored: Sequence[bytes], code: str) -> Sequence[float]:
    """What `planes` was given. Single precision comes back as the shortest decimal that means it.

    Raises ValueError for what is not such planes.
    """
    size = array(code).itemsize
    try:
        opened = [zlib.decompress(plane) for plane in stored]
        raw = bytearray(size * len(opened[0]))
        for i, plane in enumerate(opened):
            raw[i::size] = plane
        found: Sequence[float] = array(code, bytes(raw)).tolist()
    except (zlib.error, IndexError, ValueError, TypeError) as error:
        raise ValueError(f"planes that do not open: {error}") from None
    return [float(f"{number:.7g}") for number in found] if code == "f" else found


def single(values: Sequence[float]) -> bool:
    """Whether single precision can hold them at all; what is no number can be held."""
    return all(not abs(value) > _SINGLE_MAX for value in values)


def steps(whole: Sequence[int]) -> list[int]:
    """First, then differences; `itertools.accumulate` takes it back."""
    return [*whole[:1], *(b - a for a, b in pairwise(whole))]
