"""What is wrong with a sensor is an alarm of its own, `fault:<sensor>`: cut, shorted, out of its range, a bad value.

Sans-IO: `seen` takes note of every reading, `tick` tells what began and ended.
"""

import math
from collections.abc import Callable, Mapping

from drivers.reading import GOOD, Reading
from gateway.conditions import LOOP_WORDS
from gateway.contract import Json


class SensorFaults:
    """words: {sensor: the faults of which no condition of the site file speaks}; other sensors are not looked at.

    spoken_for: {sensor: the alarm that explains a bad value of it, while that stands}.
    """

    def __init__(self, words: Mapping[str, frozenset[str]], spoken_for: Mapping[str, str] | None = None) -> None:
        self._words = words
        self._spoken_for = spoken_for or {}
        self._fault: dict[str, Json | None] = {}  # of those that are not well, or were not a moment ago
        self._told: dict[str, bool] = {}
        self._well: set[str] = set()

    def seen(self, sensor: str, reading: Reading) -> None:
        if sensor not in self._words:
            return
        value = reading.value
        word = reading.quality if reading.quality != GOOD else value if value in LOOP_WORDS else ""
        if word not in self._words[sensor]:
            if sensor not in self._well:
                self._fault[sensor] = None
        elif not self._fault.get(sensor):
            self._well.discard(sensor)
            shown = word if isinstance(value, float) and not math.isfinite(value) else value
            self._fault[sensor] = {"condition": word, "value": shown}

    def tick(self, has: Callable[[str], bool], stands: Callable[[str], bool]) -> list[tuple[str, Json | None]]:
        """(alarm, cause or None). One that stood before the start stands until its sensor says something good."""
        found: list[tuple[str, Json | None]] = []
        for sensor, fault in list(self._fault.items()):
            explained = self._spoken_for.get(sensor, "")
            at_fault = fault is not None and not (explained and has(explained) and stands(explained))
            if at_fault != self._told.get(sensor):
                self._told[sensor] = at_fault
                found.append((f"fault:{sensor}", fault if at_fault else None))
            if fault is None:
                del self._fault[sensor]
                self._well.add(sensor)
        return found
