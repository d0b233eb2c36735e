"""Sampling is not reporting: which samples of a sensor are told to the city, and the statistics of all of them.

Sans-IO. A sample is told when it is the first, when it changed by more than the deadband or in quality, and when the
last told one is `every_s` old. Statistics are of all good samples of an interval of `every_s` of the boot's clock, and
are told with the interval's end as their time, under the sensor's name with the statistic behind it:
`basement/main/flow/mean`.
"""

from collections.abc import Sequence

from drivers.reading import GOOD, Reading, Value

STATISTICS = ("min", "mean", "max", "count")
RAW = "raw"
DERIVED = (*STATISTICS, RAW)  # what may stand behind a sensor's name on the wire


class Reporting:
    """One sensor's. every_s 0: each sample is told, and there are no statistics."""

    __slots__ = (
        "_begin_s",
        "_count",
        "_deadband",
        "_every_s",
        "_last",
        "_last_s",
        "_least",
        "_most",
        "_quality",
        "_sum",
        "stats",
    )

    def __init__(self, every_s: float, deadband: float, stats: Sequence[str] = ()) -> None:
        self._every_s, self._deadband = every_s, deadband
        self.stats = tuple(stats) if every_s > 0 else ()
        self._last: Value | None = None
        self._last_s = float("-inf")
        self._quality = GOOD
        self._begin_s = 0.0
        self._count, self._sum, self._least, self._most = 0, 0.0, 0.0, 0.0

    def told(self, reading: Reading) -> bool:
        """Whether this sample is to be told; if so, the next ones are judged by it."""
        if not self._worth_telling(reading):
            return False
        self._last, self._last_s, self._quality = reading.value, reading.mono_s, reading.quality
        return True

    def _worth_telling(self, reading: Reading) -> bool:
        if self._last is None or reading.mono_s - self._last_s >= self._every_s or reading.quality != self._quality:
            return True
        if isinstance(reading.value, float) and isinstance(self._last, float):
            return abs(reading.value - self._last) > self._deadband
        return reading.value != self._last

    def count(self, reading: Reading) -> list[tuple[str, Reading]]:
        """Take a sample into its interval. Returns the statistics of the one before, when this begins a new one."""
        over = self.over(reading.mono_s)
        if self.stats and reading.quality == GOOD and isinstance(reading.value, float):
            if not self._count:
                self._begin_s = reading.mono_s // self._every_s * self._every_s
                self._least = self._most = reading.value
            self._count += 1
            self._sum += reading.value
            self._least, self._most = min(self._least, reading.value), max(self._most, reading.value)
        return over

    def over(self, now_s: float) -> list[tuple[str, Reading]]:
        """(name of the statistic, its reading) of the interval under way, if that is over by now."""
        end_s = self._begin_s + self._every_s
        if not self._count or now_s < end_s:
            return []
        values = {"min": self._least, "mean": self._sum / self._count, "max": self._most, "count": float(self._count)}
        self._count, self._sum = 0, 0.0
        return [(name, Reading("", values[name], end_s)) for name in self.stats]
