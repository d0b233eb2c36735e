"""The sensors by their points: what each needs at every reading, and its latest value."""

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from drivers.kinds import KINDS
from drivers.reading import Reading, Value
from gateway.reporting import Reporting

LOCAL_EVERY_S = 60.0


class Role(NamedTuple):
    """A sensor of the site file: the role given to a point."""

    sensor: str
    point: str
    kind: str
    every_s: float | None = None  # None: 60 for a local sensor, each reading of one that numbers
    deadband: float = 0.0
    valid: tuple[float, float] | None = None
    numbered: bool = True  # whether its source numbers what it says; pins and polled units do not
    stats: tuple[str, ...] = ()


class Sensor:
    """A role while the gateway runs. watched: an alarm looks at it; scored: a model does."""

    __slots__ = (
        "id", "is_contact", "last_s", "name", "report", "scored", "source", "unit", "valid", "value", "watched",
    )  # fmt: skip

    def __init__(self, role: Role, *, watched: bool = False, scored: bool = False) -> None:
        kind = KINDS.get(role.kind)
        self.id = role.sensor
        self.source = role.point.partition(":")[0] if role.numbered else ""
        self.unit = kind.unit if kind else ""
        self.name = (self.id, self.unit)
        self.is_contact = bool(kind and kind.is_contact)
        self.valid = role.valid
        # what numbers its readings is told each time, unless the site file says otherwise
        every_s = role.every_s if role.every_s is not None else 0.0 if self.source else LOCAL_EVERY_S
        self.report = Reporting(every_s, role.deadband, role.stats) if not self.source or every_s else None
        self.watched, self.scored = watched, scored
        self.value: Value | None = None
        self.last_s = float("-inf")

    @property
    def is_plain(self) -> bool:
        """Each of its readings is told, and nothing but a model looks at it."""
        return not (self.report or self.valid or self.is_contact or self.watched)

    def judged(self, reading: Reading) -> Reading:
        """With quality "range" when it lies outside of what can be."""
        value = reading.value
        if self.valid and isinstance(value, float) and not self.valid[0] <= value <= self.valid[1]:
            return reading._replace(quality="range")
        return reading


class Sensors:
    """All of them. watched: whether an alarm looks at a sensor. scored: those that a model looks at.

    plain: {point: sensor} of those that `Pipeline` may take in columns.
    """

    def __init__(self, roles: Iterable[Role], watched: Callable[[str], bool], scored: Collection[str]) -> None:
        self._by_point = {
            role.point: Sensor(role, watched=watched(role.sensor), scored=role.sensor in scored) for role in roles
        }
        self._by_id = {sensor.id: sensor for sensor in self.all()}
        self.plain = {point: sensor for point, sensor in self._by_point.items() if sensor.is_plain}

    def all(self) -> Collection[Sensor]:
        return self._by_point.values()

    def at(self, point: str) -> Sensor:
        """A point without a role is kept under its own name: what is acknowledged is never dropped."""
        sensor = self._by_point.get(point)
        if sensor is None:
            sensor = self._by_point[point] = self.plain[point] = Sensor(Role(point, point, ""))
        return sensor

    def values(self) -> dict[str, tuple[Value, float]]:
        """{sensor: (latest value, when)}; a sensor that never spoke is left out."""
        return {s.id: (s.value, s.last_s) for s in self.all() if s.value is not None}

    def latest(self, sensor: str) -> tuple[Value, float] | None:
        """(its latest value, when); None while it never spoke since the start."""
        found = self._by_id.get(sensor)
        return (found.value, found.last_s) if found and found.value is not None and found.last_s > 0 else None
