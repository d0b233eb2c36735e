"""Numbers as compressed byte planes: the first bytes of all of them, then the second ones and so on.

Neighbouring values differ in few bytes, so most planes are nearly constant, and each is compressed by itself: noise in
one does not spoil the code of the next.
"""

import zlib
from array import array
from collections.abc import Sequence
from itertools import pairwise

LEVEL = 6
_SINGLE_MAX = 3.0e38


def planes(values: Sequence[float], code: str) -> list[bytes]:
    """code: "f" keeps single precision (7 digits), "d" everything."""
    numbers = array(code, values)
    raw = numbers.tobytes()
    return [zlib.compress(raw[i :: numbers.itemsize], LEVEL) for i in range(numbers.itemsize)]


def numbers(stored: Sequence[bytes], code: str) -> list[float]:
    """What `planes` was given. Single precision comes back as the shortest decimal that means it.

    Raises ValueError for what is not such planes.
    """
    size = array(code).itemsize
    try:
        opened = [zlib.decompress(plane) for plane in stored]
        raw = bytearray(size * len(opened[0]))
        for i, plane in enumerate(opened):
            raw[i::size] = plane
        found: list[float] = array("d" if code == "d" else "f", bytes(raw)).tolist()
    except (zlib.error, IndexError, ValueError, TypeError) as error:
        raise ValueError(f"planes that do not open: {error}") from None
    return found if code == "d" else [float(f"{number:.7g}") for number in found]


def single(values: Sequence[float]) -> bool:
    """Whether single precision can hold them at all; what is no number can be held."""
    return all(not abs(value) > _SINGLE_MAX for value in values)


def steps(whole: Sequence[int]) -> list[int]:
    """First, then differences; `itertools.accumulate` takes it back."""
    return [*whole[:1], *(b - a for a, b in pairwise(whole))]
