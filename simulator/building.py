"""The building: water through the main, a leak, ropes, cords and doors. No time and no chance of its own.

Two clocks: things that are done to it (a leak, a valve that travels) run in real seconds; its habits (taps, doors,
the reports of its sensors) run in pattern seconds, which are real seconds times the speed.
"""

import math
import random
from collections.abc import Iterable
from typing import NamedTuple

from drivers.kinds import KINDS, LOOP_STATES
from drivers.reading import Value
from gateway.config import Output, Sensor
from simulator.data import DAY_S, Course
from simulator.scenario import Deed, ScenarioError, Water

REPORT_S = 60  # pattern seconds: a node tells each value at least so often
CATCH_UP_S = 1.0  # real seconds made up for in one step at most; what is further behind did not happen
ML_PER_M3 = 1_000_000
LITRE_ML = 1000
TURNED_ON_ML_S = 30.0  # less is a drip
METER_AT_START_ML = 1_234_567_000

DEADBANDS = {"pressure": 2_000.0, "temperature": 0.1, "current": 0.2}  # Pa, Cel, A
DOOR_EVERY_S, DOOR_OPEN_S = 90.0, (4.0, 10.0)
RIDE_EVERY_S, RIDE_S = 120.0, 18.0
WORDS = {True: "alarm", False: "normal"}  # a supervised loop's, for active and idle


class Report(NamedTuple):
    """What a point has to say: point as in the site file, value as the site's readings carry it."""

    point: str
    value: Value
    urgent: bool


class Building:
    """Drawn from the site's sensors and outputs. courses: water of a day by fixture, from data.py or `made_up_day`."""

    def __init__(
        self,
        sensors: Iterable[Sensor],
        outputs: Iterable[Output],
        courses: dict[str, Course],
        water: Water,
        speed: float,
        dice: random.Random,
    ) -> None:
        self._sensors = {sensor.id: sensor for sensor in sensors}
        self._courses = courses
        self._speed = speed * water.speed
        self._dice = dice
        self._valves = [Valve(o) for o in outputs if o.kind == "valve" and o.to.startswith("gpio:")]
        self._branches = _branches(list(self._sensors.values()), list(self._courses))
        self._day_s = _first_use(self._courses, water.hour * 3600)
        self._next_s = 0  # the pattern second that comes next
        self._total_ml = float(METER_AT_START_ML)
        self._leak_ml_s = 0.0
        self._wet_at: dict[str, float] = {}  # sensor -> real second
        contacts = [sensor for sensor in self._sensors.values() if is_contact(sensor)]
        self._active: dict[str, Value] = {sensor.id: _contact_value(sensor, False) for sensor in contacts}
        self._held: set[str] = set()  # doors the scenario has in its hand
        self._fixed: dict[str, float] = {}  # values the scenario has set
        self._told: dict[str, tuple[float, Value]] = {}  # sensor -> when and what it last reported
        self._turns: dict[str, tuple[float, bool]] = {}  # doors and lifts: next turn at this pattern second
        self._waiting: list[Report] = []

    @property
    def main_ml_s(self) -> float:
        """What flows through the main now."""
        return (sum(c.at(self._clock_s()) for c in self._courses.values()) + self._leak_ml_s) * self._opening()

    def levels(self) -> list[Report]:
        """Every contact as it is now, for pins that must have a level before anyone looks."""
        return [Report(self._sensors[name].point, value, False) for name, value in self._active.items()]

    def tick(self, now_s: float) -> list[Report]:
        """What there is to say since the last call. now_s: real seconds since the start."""
        for valve in self._valves:
            valve.tick(now_s)
        for name in [name for name, at_s in self._wet_at.items() if at_s <= now_s]:
            del self._wet_at[name]
            self._set(self._sensors[name], True)
        pattern_s = now_s * self._speed
        self._next_s = max(self._next_s, int(pattern_s - CATCH_UP_S * self._speed))
        while self._next_s <= pattern_s:
            self._second()
            self._next_s += 1
        reports, self._waiting = self._waiting, []
        return reports

    def output(self, gpio: int, level: int, now_s: float) -> None:
        """The gateway drives a pin."""
        for valve in self._valves:
            if valve.gpio == gpio:
                valve.drive(level, now_s)

    def check(self, deed: Deed) -> None:
        """Raises ScenarioError when this building has nothing to do it with."""
        if deed.do in ("leak", "repair"):
            if not (self._branches or self._of_kind("leak")):
                raise ScenarioError(
                    f"{deed.do} at {deed.s:g} s: found no flow and no leak sensor in the site file; "
                    "expected one. Name another site, or take the deed out."
                )
            if deed.sensor:
                self._target(deed, "leak")
        elif deed.do in DOES:
            kind, _ = DOES[deed.do]
            self._target(deed, kind)
        elif deed.do == "set":
            self._checked_value(self._target(deed, ""), deed.value)

    def do(self, deed: Deed, now_s: float) -> None:
        """Carry out a deed that `check` has let pass; deeds of the hall are not for here."""
        if deed.do == "leak":
            self._leak_ml_s = deed.ml_s
            ropes = [self._target(deed, "leak")] if deed.sensor else self._of_kind("leak")[:1]
            self._wet_at |= {rope.id: now_s + deed.wet_s for rope in ropes}
        elif deed.do == "repair":
            self._leak_ml_s = 0.0
            self._wet_at.clear()
            for rope in self._of_kind("leak"):
                self._set(rope, False)
        elif deed.do in DOES:
            kind, active = DOES[deed.do]
            sensor = self._target(deed, kind)
            self._held.add(sensor.id)
            self._set(sensor, active)
        elif deed.do == "set":
            self._set_by_hand(deed)

    def _set_by_hand(self, deed: Deed) -> None:
        sensor = self._target(deed, "")
        value = self._checked_value(sensor, deed.value)
        self._held.add(sensor.id)
        if is_contact(sensor):
            self._change(sensor, value)
        else:
            self._fixed[sensor.id] = float(value)

    def _checked_value(self, sensor: Sensor, value: Value | None) -> Value:
        if not is_contact(sensor):
            if sensor.kind in ("flow", "total") or isinstance(value, bool | str | None) or not math.isfinite(value):
                raise ScenarioError(
                    f"set {sensor.id}: found {value!r} for a sensor of kind {sensor.kind}; expected a "
                    "number, and no flow or total, which follow from the water. Use leak, or a number."
                )
            return float(value)
        if isinstance(value, bool):
            return _contact_value(sensor, value)
        if point_kind(sensor.point) == "loop" and value in LOOP_STATES:
            return str(value)
        raise ScenarioError(
            f"set {sensor.id}: found {value!r}; expected true or false, or for a supervised loop one "
            f"of {', '.join(LOOP_STATES)}. Change the value."
        )

    def _target(self, deed: Deed, kind: str) -> Sensor:
        """The sensor a deed names, or the site's first of that kind."""
        fitting = self._of_kind(kind)
        named = [sensor for sensor in fitting if sensor.id == deed.sensor] if deed.sensor else fitting
        if named and (kind or deed.sensor):
            return named[0]
        names = ", ".join(sensor.id for sensor in fitting) or "none"
        found = f"sensor {deed.sensor!r}" if deed.sensor else "no sensor named"
        raise ScenarioError(
            f"{deed.do} at {deed.s:g} s: found {found}; expected one of this site's "
            f'{kind or "sensors"}: {names}. Write sensor = "…", or take the deed out.'
        )

    def _of_kind(self, kind: str) -> list[Sensor]:
        return [sensor for sensor in self._sensors.values() if kind in ("", sensor.kind)]

    def _set(self, sensor: Sensor, active: bool) -> None:
        self._change(sensor, _contact_value(sensor, active))

    def _change(self, sensor: Sensor, value: Value) -> None:
        if self._active[sensor.id] != value:
            self._active[sensor.id] = value
            self._tell(sensor, value, urgent=True)

    def _tell(self, sensor: Sensor, value: Value, urgent: bool) -> None:
        self._told[sensor.id] = (self._next_s, value)
        self._waiting.append(Report(sensor.point, value, urgent))

    def _clock_s(self) -> float:
        return (self._day_s + self._next_s) % DAY_S

    def _opening(self) -> float:
        return min((valve.opening for valve in self._valves), default=1.0)

    def _second(self) -> None:
        """One pattern second: water flows, doors move, and what changed or is due is told."""
        self._total_ml += self.main_ml_s
        for sensor in self._sensors.values():
            if sensor.kind == "door" and sensor.id not in self._held and self._turned(sensor.id, DOOR_EVERY_S):
                self._set(sensor, self._turns[sensor.id][1])
            if sensor.point.startswith("gpio:"):
                continue
            value = self._active[sensor.id] if is_contact(sensor) else self._measured(sensor)
            told_s, told = self._told.get(sensor.id, (-math.inf, None))
            runs = sensor.kind == "flow" and value  # while water runs a node tells it each second, changed or not
            if runs or self._next_s - told_s >= REPORT_S or _moved(sensor.kind, told, value):
                self._tell(sensor, value, urgent=False)

    def _measured(self, sensor: Sensor) -> float:
        if sensor.id in self._fixed:
            return self._fixed[sensor.id]
        if sensor.kind == "flow":
            return self._flow_ml_s(sensor.id) / ML_PER_M3
        if sensor.kind == "total":
            return int(self._total_ml / LITRE_ML) / 1000  # a meter that counts litres
        if sensor.kind == "pressure":
            return 320_000.0 - 300.0 * self.main_ml_s
        if sensor.kind == "temperature":
            return round(21.0 + 1.5 * math.sin(2 * math.pi * (self._clock_s() / DAY_S - 0.4)), 2)
        self._turned(sensor.id, RIDE_EVERY_S, RIDE_S)
        return 8.0 if self._turns[sensor.id][1] else 0.4

    def _flow_ml_s(self, sensor_id: str) -> float:
        fixtures = self._branches[sensor_id]
        if fixtures is None:
            return self.main_ml_s
        return sum(self._courses[name].at(self._clock_s()) for name in fixtures) * self._opening()

    def _turned(self, name: str, every_s: float, for_s: float | None = None) -> bool:
        """A door or a lift's motor: on at random moments, for a while, off again."""
        at_s, on = self._turns.setdefault(name, (self._next_s + self._dice.expovariate(1 / every_s), False))
        if self._next_s < at_s:
            return False
        stay_s = for_s or self._dice.uniform(*DOOR_OPEN_S)
        self._turns[name] = (self._next_s + (self._dice.expovariate(1 / every_s) if on else stay_s), not on)
        return True


# A deed with a hand on a contact -> the kind of sensor it is done to, and whether it makes it active.
DOES = {"pull": ("pull-cord", True), "reset": ("pull-cord", False), "open": ("door", True), "close": ("door", False)}


class Valve:
    """A valve on an output pin: its active level closes it, and it takes its time. opening: 1.0 open, 0.0 closed."""

    def __init__(self, output: Output) -> None:
        self.gpio = int(output.to.partition(":")[2])
        self.opening = 1.0
        self._closing_level = 1 if output.active == "high" else 0
        self._travel_s = output.travel_s
        self._target = 1.0
        self._moved_s = 0.0

    def drive(self, level: int, now_s: float) -> None:
        self.tick(now_s)
        self._target = 0.0 if level == self._closing_level else 1.0
        self.tick(now_s)

    def tick(self, now_s: float) -> None:
        way = (now_s - self._moved_s) / self._travel_s if self._travel_s else 1.0
        self._moved_s = now_s
        self.opening += max(-way, min(way, self._target - self.opening))


def _moved(kind: str, told: Value | None, value: Value) -> bool:
    if isinstance(value, float) and isinstance(told, float):
        return abs(value - told) > DEADBANDS.get(kind, 0.0)
    return value != told


def is_contact(sensor: Sensor) -> bool:
    return KINDS[sensor.kind].is_contact


def point_kind(point: str) -> str:
    return point.partition(":")[2].rstrip("0123456789")


def _contact_value(sensor: Sensor, active: bool) -> Value:
    return WORDS[active] if point_kind(sensor.point) == "loop" else active


def _branches(sensors: list[Sensor], fixtures: list[str]) -> dict[str, list[str] | None]:
    """Flow sensor -> its fixtures; None for the main, through which everything flows.

    Those with "main" in their ids are on the main, else the first is. Fixtures go in turn to the branches.
    """
    flows = [sensor.id for sensor in sensors if sensor.kind == "flow"]
    if not flows:
        return {}
    mains = [name for name in flows if "main" in name] or flows[:1]
    others = [name for name in flows if name not in mains]
    shares: dict[str, list[str] | None] = dict.fromkeys(mains)
    return shares | {name: fixtures[index :: len(others)] for index, name in enumerate(others)}


def _first_use(courses: dict[str, Course], from_s: float) -> float:
    """Three seconds before a tap is first turned on after that second of the day, so that a short run shows some."""
    starts = [
        start_s
        for course in courses.values()
        for start_s, ml_s in zip(course.starts_s, course.ml_s, strict=True)
        if ml_s >= TURNED_ON_ML_S and start_s >= from_s
    ]
    return min(starts, default=from_s + 3) - 3


def made_up_day(dice: random.Random) -> dict[str, Course]:
    """A day of tap uses for when no real data is there: Poisson in time, log-normal in length, 6 to 23 o'clock."""
    taps = {
        "washbasin": (90, 12.0, 80.0),
        "kitchenfaucet": (50, 25.0, 90.0),
        "toilet": (40, 60.0, 130.0),
        "shower": (3, 240.0, 120.0),
    }  # uses a day, seconds, ml/s
    day = {}
    for name, (uses, seconds, ml_s) in taps.items():
        course = Course([], [])
        at_s = 6 * 3600 + dice.expovariate(uses / 61_200)
        while at_s < 23 * 3600:
            length_s = min(dice.lognormvariate(math.log(seconds), 0.6), 1800.0)
            course.starts_s.extend((at_s, at_s + length_s))
            course.ml_s.extend((float(round(ml_s * dice.uniform(0.5, 1.2))), 0.0))
            at_s += length_s + dice.expovariate(uses / 61_200)
        day[name] = course
    return day
