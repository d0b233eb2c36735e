"""The table of a site file for machines: which sensors sit on one, by what they measure of it."""

from typing import Annotated

from msgspec import Meta

from gateway.conditions import Condition
from gateway.site_types import KEY, RowSeconds, SensorId, Table, Title

MEASURES = {
    "flow": ("flow", "velocity"),
    "pressure": ("pressure", "level"),
    "current": ("current",),
    "voltage": ("voltage",),
    "vibration": ("vibration", "acceleration"),
}
"""What is measured of a machine -> kinds of sensors that do. A 4-20 mA loop, of kind current, may stand for each."""

LOOP = "current"

_SENSORS = Meta(description="a list of sensors", extra={"example": '["pump-1/flow"]'})


class Machine(Table, frozen=True, rename={"name": "key", "title": "name"}):
    """Several sensors of one machine, looked at together once each every_s.

    runs: a comparison with one sensor's number; rows count only while it holds. None: it always runs.
    """

    NOT_YET = frozenset({"temperature"})  # over minutes it follows sun and season more than any fault
    name: Annotated[str, KEY]
    title: Title = ""
    flow: Annotated[list[SensorId], _SENSORS] = []
    pressure: Annotated[list[SensorId], _SENSORS] = []
    current: Annotated[list[SensorId], _SENSORS] = []
    voltage: Annotated[list[SensorId], _SENSORS] = []
    vibration: Annotated[list[SensorId], _SENSORS] = []
    every_s: RowSeconds = 1.0
    runs: Condition | None = None

    def measured(self) -> list[tuple[str, str]]:
        """(sensor, what it measures) of each, in the file's order."""
        return [(sensor, what) for what in MEASURES for sensor in getattr(self, what)]

    @property
    def reads(self) -> list[str]:
        """The sensors that it needs, each once."""
        runs = [self.runs.sensor] if self.runs else []
        return list(dict.fromkeys([*(sensor for sensor, _ in self.measured()), *runs]))
