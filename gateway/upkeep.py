"""Sensors that need a person: stuck, silent, or not tested for too long. Each is an alarm of its own.

Sans-IO: `changed` hears of contacts, `tick` looks at the latest values and tells what begins and ends.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from drivers.kinds import is_active
from drivers.reading import Value
from gateway.contract import Json

DAY_S = 86_400.0
KEEP = "tested:"

Latest = Callable[[str], tuple[Value, float] | None]
"""sensor -> (its latest value, when), None while it never spoke."""


class Care(NamedTuple):
    """What one sensor is watched for; None: not for that. stuck_s: active, or a number exactly the same, for so long.

    test_days: it must be seen active that often.
    """

    sensor: str
    source: str
    is_contact: bool
    stuck_s: float | None = None
    silent_s: float | None = None
    test_days: int | None = None


class _Held(NamedTuple):
    value: Value
    since_s: float
    began_here: bool  # whether it was seen to begin, or stood so at the start


class Upkeep:
    """source_stands: whether a source's own alarm stands, which then speaks for its sensors."""

    def __init__(
        self, cares: list[Care], source_stands: Callable[[str], bool], kept: Mapping[str, object],
        keep: Callable[[str, object], None], now_s: float,
    ) -> None:  # fmt: skip
        self._cares = {care.sensor: care for care in cares}
        self._source_stands = source_stands
        self._keep = keep
        self._started_s = now_s
        self._held: dict[str, _Held] = {}
        self._told: dict[str, bool] = {}
        self._tested_wall_s = {
            care.sensor: float(value)
            for care in cares
            if isinstance(value := kept.get(KEEP + care.sensor), int | float)
        }
        self._tested_mono_s: dict[str, float] = {}

    def changed(self, sensor: str, value: Value, mono_s: float) -> None:
        """A contact changed: what is short is seen too."""
        care = self._cares.get(sensor)
        if care and care.test_days and is_active(value):
            self._tested_mono_s[sensor] = mono_s

    def tick(self, now_s: float, wall_s: float | None, latest: Latest) -> list[tuple[str, Json | None]]:
        """(alarm, cause or None) of each that began or ended. wall_s: UTC, None while the clock is unsure."""
        found: list[tuple[str, Json | None]] = []
        for care in self._cares.values():
            now = latest(care.sensor)
            if care.stuck_s is not None and now:
                self._tell(found, f"stuck:{care.sensor}", *self._stuck(care, care.stuck_s, *now, now_s))
            if care.silent_s is not None and not self._source_stands(care.source):
                waited_s = now_s - max(self._started_s, now[1] if now else self._started_s)
                is_silent = waited_s > care.silent_s
                if is_silent or now:
                    self._tell(found, f"silent:{care.sensor}", is_silent, "silent", round(waited_s))
            if care.test_days and wall_s is not None:
                days = self._untested_days(care.sensor, now_s, wall_s)
                self._tell(found, f"untested:{care.sensor}", days > care.test_days, "untested", round(days, 1))
        return found

    def _stuck(
        self, care: Care, stuck_s: float, value: Value, mono_s: float, now_s: float
    ) -> tuple[bool | None, str, Value]:
        """None: it stands as it stood at the start, not long enough to know."""
        held = self._held.get(care.sensor)
        if held is None or held.value != value:
            held = self._held[care.sensor] = _Held(value, mono_s, held is not None)
        if care.is_contact and not is_active(value):
            return False, "stuck", value
        until_s = now_s if care.is_contact else mono_s  # a number that nobody says any more is silent, not stuck
        is_stuck = until_s - held.since_s >= stuck_s
        return (True if is_stuck else False if held.began_here else None), "stuck", value

    def _untested_days(self, sensor: str, now_s: float, wall_s: float) -> float:
        """Since it was last active, or since it was first looked after."""
        tested_s = self._tested_mono_s.pop(sensor, None)
        if tested_s is not None or sensor not in self._tested_wall_s:
            at_s = wall_s - (now_s - tested_s) if tested_s is not None else wall_s
            self._tested_wall_s[sensor] = at_s
            self._keep(KEEP + sensor, round(at_s))
        return (wall_s - self._tested_wall_s[sensor]) / DAY_S

    def _tell(
        self, found: list[tuple[str, Json | None]], alarm: str, stands: bool | None, condition: str, value: Value
    ) -> None:
        if stands is None or stands == self._told.get(alarm):
            return
        self._told[alarm] = stands
        found.append((alarm, {"condition": condition, "value": value} if stands else None))
