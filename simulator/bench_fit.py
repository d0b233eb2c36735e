"""Straight lines through measurements, by ordinary least squares, with 95 % intervals (Student's t)."""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

# 97.5 % points of Student's t by degrees of freedom; between two entries the larger, so no interval is too narrow.
# Source: any table of the distribution, e.g. NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.2.
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 12: 2.179,
      15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000, 120: 1.980}  # fmt: skip
BLOCKS = 10  # of a trend


class Line(NamedTuple):
    """y = at_zero + slope * x. slope_low, slope_high: the slope's 95 % interval."""

    at_zero: float
    slope: float
    slope_low: float
    slope_high: float


def line(xs: Sequence[float], ys: Sequence[float]) -> Line:
    """Errors are taken as independent. Raises ValueError for fewer than three points, or all at one x."""
    n = len(xs)
    if n < 3 or n != len(ys):
        raise ValueError(f"found {n} and {len(ys)} values, expected as many of both and at least 3")
    mean_x, mean_y = sum(xs) / n, sum(ys) / n
    spread = sum((x - mean_x) ** 2 for x in xs)
    if spread == 0:
        raise ValueError(f"found every x to be {xs[0]}, expected different ones")
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
    at_zero = mean_y - slope * mean_x
    left = sum((y - at_zero - slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
    half = t_95(n - 2) * sqrt(left / (n - 2) / spread)
    return Line(at_zero, slope, slope - half, slope + half)


def trend(times: Sequence[float], values: Sequence[float], blocks: int = BLOCKS) -> Line:
    """The slope of a series whose neighbours resemble each other, e.g. the memory of a process.

    The series is cut into `blocks` equal parts and the line is put through their means, so that samples of one second
    do not each count as independent evidence. Raises ValueError for fewer than three samples a block.
    """
    size = len(times) // blocks
    if size < 3:
        raise ValueError(f"found {len(times)} samples, expected at least {3 * blocks}")
    cut = [slice(i * size, (i + 1) * size) for i in range(blocks)]
    return line([sum(times[part]) / size for part in cut], [sum(values[part]) / size for part in cut])


def t_95(freedom: int) -> float:
    """Student's t for a two-sided 95 % interval."""
    return _T[max(known for known in _T if known <= freedom)]
