"""The facility log: whether each door, lift, ramp or cord serves, which cases were opened, who mended and tested it.

Sans-IO: contacts, alarms, deeds by hand and the time go in; records go out through `tell`. Each record says the state
from then on, so whoever has the records of a month has its hours (gateway/facility_figures.py). A facility is out of
order while a case is open; without one it serves, or nobody knows: the gateway was off, or its sensor was silent.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from drivers.kinds import is_active
from drivers.reading import Value
from gateway.alarms import ACKNOWLEDGED, SHELVED, STANDING
from gateway.contract import Json, Label, Record, rfc3339
from gateway.upkeep import DAY_S, Latest

KEEP = "facility:"
SEEN = "watched:facilities"
IN_SERVICE, OUT_OF_SERVICE, UNKNOWN = "in-service", "out-of-service", "unknown"
FAULT_KINDS = ("lift", "ramp")
"""Kinds of contact whose active word means out of order; a cord's or a door's means that somebody uses it."""

SEEN_EVERY_S = 300.0
RESTART_S = 600.0  # a gateway that was away for less is taken to have watched
HAND = "hand"
DEEDS = ("list", "open", "ack", "repaired", "tested")
_LOOP_FAULTS = ("cut", "short")


class Facility(NamedTuple):
    """What the site file says. sensors: {sensor: kind}; alarms: while one stands it is out of order."""

    name: str
    repair_s: float
    test_days: int
    after_s: float
    sensors: Mapping[str, str]
    alarms: tuple[str, ...] = ()


class Moment(msgspec.Struct):
    """A time of a boot; wall (UTC s) once that boot's clock was known."""

    boot: int
    mono: float
    wall: float | None = None

    def age_s(self, now: Label) -> float | None:
        """None when it cannot be told: of another boot, and one of the clocks was not known."""
        if self.boot == now.boot:
            return now.mono - self.mono
        return now.wall - self.wall if self.wall is not None and now.wall is not None else None


class Head(msgspec.Struct):
    """Where the log of one facility stands. case: counts them; opened: None while none is open."""

    state: str = UNKNOWN
    case: int = 0
    opened: Moment | None = None
    cause: str = ""
    acknowledged: bool = False
    since: float | None = None
    tested: Moment | None = None
    day: str = ""


class _Watch:
    """What is seen of one facility since the start. faults, fine_s: since when its sensors say so."""

    def __init__(self) -> None:
        self.settled = False  # whether it is said what was while the gateway was off
        self.watched = False
        self.faults: dict[str, float] = {}
        self.fine_s: float | None = None


class Facilities:
    """standing: {alarm: state} of all that are not normal, without tests. silent: whether a sensor's own silence is an
    alarm. testing: whether the box is in test mode. day: the local date of a wall. tell: takes each record of the log.
    """

    def __init__(
        self, facilities: list[Facility], kept: Mapping[str, object], keep: Callable[[str, object], None],
        tell: Callable[[Record], None], silent: Callable[[str], bool], testing: Callable[[], bool],
        day: Callable[[float], str], now_s: float,
    ) -> None:  # fmt: skip
        self._all = {facility.name: facility for facility in facilities}
        self._of = {sensor: facility for facility in facilities for sensor in facility.sensors}
        self._heads = {name: msgspec.convert(kept.get(KEEP + name, {}), Head) for name in self._all}
        self._seen = msgspec.convert(kept[SEEN], Moment) if SEEN in kept else None
        self._seen_told: Moment | None = None
        self._watches = {name: _Watch() for name in self._all}
        self._keep, self._tell = keep, tell
        self._silent, self._testing, self._day = silent, testing, day
        self._started_s = now_s
        self._tested: list[tuple[str, str]] = []
        self._in_test: set[str] = set()  # sensors that were active in the test that is on
        self._told: dict[str, bool] = {}

    # -- what is seen ------------------------------------------------------------------------------------------------

    def contact(self, sensor: str, value: Value, mono_s: float) -> None:
        """A contact changed: what is short is seen too."""
        facility = self._of.get(sensor)
        if facility is None:
            return
        if self._testing() and is_active(value):
            if sensor not in self._in_test:  # one that bounces for hours is tested once
                self._in_test.add(sensor)
                self._tested.append((facility.name, f"sensor:{sensor}"))
        elif not self._testing():
            self._saw(facility, sensor, value, mono_s)

    def _saw(self, facility: Facility, sensor: str, value: Value, mono_s: float) -> None:
        watch = self._watches[facility.name]
        if value in _LOOP_FAULTS or (is_active(value) and facility.sensors[sensor] in FAULT_KINDS):
            watch.faults.setdefault(sensor, mono_s)
        else:
            watch.faults.pop(sensor, None)

    def tick(self, now: Label, latest: Latest, standing: Mapping[str, str]) -> list[tuple[str, Json | None]]:
        """(alarm, cause or None) of each that began or ended. now.wall: None while the clock is unsure."""
        found: list[tuple[str, Json | None]] = []
        tested, self._tested = self._tested, []
        if not self._testing():
            self._in_test.clear()
        for name, by in tested:
            self._test(name, by, "", now)
        for facility in self._all.values():
            head = self._heads[facility.name]
            self._learn_time(facility.name, head, now)
            for sensor in facility.sensors if not self._testing() else ():
                if at := latest(sensor):
                    self._saw(facility, sensor, at[0], now.mono)
            self._judge(facility, head, now, latest, standing)
            self._overdue(found, facility, head, now)
        self._note_seen(now)
        return found

    def _is_watched(self, facility: Facility, latest: Latest) -> bool:
        """What has no sensor is watched by people."""
        return all(latest(sensor) is not None and not self._silent(sensor) for sensor in facility.sensors)

    def _judge(
        self, facility: Facility, head: Head, now: Label, latest: Latest, standing: Mapping[str, str]
    ) -> None:  # fmt: skip
        watch = self._watches[facility.name]
        watch.watched = self._is_watched(facility, latest)
        alarm = next((alarm for alarm in facility.alarms if standing.get(alarm) in STANDING), None)
        long = [(at, sensor) for sensor, at in watch.faults.items() if now.mono - at >= facility.after_s]
        if head.opened is None and (alarm or long):
            at_s, cause = (now.mono, f"alarm:{alarm}") if alarm else (min(long)[0], f"sensor:{min(long)[1]}")
            self._open(facility.name, cause, "", at_s, now)
        elif head.opened and alarm and standing[alarm] == ACKNOWLEDGED and not head.acknowledged:
            self._acknowledge(facility.name, f"alarm:{alarm}", "", now)
        self._watch(facility.name, head, watch, now)
        shelved = any(standing.get(name) == SHELVED for name in facility.alarms)  # out of sight is not repaired
        if head.opened is None or head.cause == HAND or alarm or shelved or watch.faults or not watch.watched:
            watch.fine_s = None
        elif watch.fine_s is None:
            watch.fine_s = now.mono
        elif now.mono - watch.fine_s >= facility.after_s:
            self._repaired(facility.name, head.cause, "", watch.fine_s, now)

    def _watch(self, name: str, head: Head, watch: _Watch, now: Label) -> None:
        """Where the log begins, where nobody watched, and once a day where it stands."""
        watched, away_s = watch.watched, None
        if not watch.settled:
            if now.wall is None or not (watched or now.mono - self._started_s >= RESTART_S):
                return  # without a clock nobody could say how long it was; and a sensor may take its time to speak
            watch.settled = True
            away_s = self._seen.age_s(now) if self._seen and self._all[name].sensors else None
            away_s = None if away_s is None or away_s < RESTART_S else round(away_s, 1)
        if head.since is None:
            head.since = now.wall
        if head.opened is None and (away_s is not None or watched != (head.state == IN_SERVICE)):
            was = head.state
            head.state = IN_SERVICE if watched else UNKNOWN
            data: Json = {"unwatched_s": away_s} if away_s is not None and was == IN_SERVICE else {}
            record = Record("facility.watched" if watched else "facility.unwatched", name, now.mono, data)
            self._say(name, head, now, record)
        if now.wall is not None and head.day != (day := self._day(now.wall)):
            head.day = day
            self._say(name, head, now, Record("facility.daily", name, now.mono, {}))

    def _learn_time(self, name: str, head: Head, now: Label) -> None:
        """A time of this boot, once its clock is known."""
        for moment in (head.opened, head.tested):
            if moment and moment.wall is None and moment.boot == now.boot and now.wall is not None:
                moment.wall = now.wall + moment.mono - now.mono
                self._keep(KEEP + name, msgspec.to_builtins(head))

    def _note_seen(self, now: Label) -> None:
        """Up to when the gateway is known to have run; the note of before the start stays until it is judged."""
        last = self._seen_told
        settled = now.wall is not None and all(watch.settled for watch in self._watches.values())
        if self._all and settled and (last is None or now.mono - last.mono >= SEEN_EVERY_S):
            self._seen_told = Moment(now.boot, now.mono, now.wall)
            self._keep(SEEN, msgspec.to_builtins(self._seen_told))

    def _overdue(self, found: list[tuple[str, Json | None]], facility: Facility, head: Head, now: Label) -> None:
        """What nobody can date neither begins nor ends one; a case has been open since the start at least."""
        open_s = head.opened.age_s(now) if head.opened else 0.0
        known_s = now.mono - self._started_s if open_s is None else open_s
        if open_s is not None or known_s > facility.repair_s:
            self._alarm(found, f"repair-overdue:{facility.name}", known_s > facility.repair_s, round(known_s / 3600, 1))
        if now.wall is None or head.since is None:
            return
        untested_s = head.tested.age_s(now) if head.tested else None
        days = (now.wall - head.since if untested_s is None else untested_s) / DAY_S
        self._alarm(found, f"test-overdue:{facility.name}", days > facility.test_days, round(days, 1))

    def _alarm(self, found: list[tuple[str, Json | None]], alarm: str, stands: bool, value: Value) -> None:
        if stands != self._told.get(alarm):
            self._told[alarm] = stands
            condition = alarm.partition(":")[0]
            found.append((alarm, {"condition": condition, "value": value} if stands else None))

    # -- what is done by hand ----------------------------------------------------------------------------------------

    def deed(self, deed: str, name: str, by: str, note: str, now: Label) -> None:
        """open, ack, repaired or tested, by a person. Raises ValueError: found, expected, what to do."""
        if name not in self._all:
            known = ", ".join(self._all) or "none: the site file has no facility"
            raise ValueError(f"found facility {name!r}, expected one of {known}")
        head = self._heads[name]
        if deed == "tested":
            return self._test(name, by, note, now)
        if deed == "open":
            if head.opened:
                raise ValueError(
                    f"found case {head.case} of {name} open, expected none; acknowledge or repair that one"
                )
            return self._open(name, HAND, note, now.mono, now, by)
        if head.opened is None:
            raise ValueError(f"found no open case of {name}, expected one; open it first")
        if deed == "ack":
            if head.acknowledged:
                raise ValueError(f"found case {head.case} of {name} acknowledged, expected one that is not; repair it")
            return self._acknowledge(name, by, note, now)
        if faults := self._watches[name].faults:
            raise ValueError(
                f"found {name} still out of order by {', '.join(faults)}, expected its sensors to say that it serves; "
                "see the facility, or its sensor"
            )
        return self._repaired(name, by, note, now.mono, now)

    def list(self) -> Json:
        """{facility: where it stands}, times in UTC s, None when not known."""
        return {
            name: {
                "state": head.state, "case": head.case, "open": head.opened is not None,
                "opened": head.opened.wall if head.opened else None, "acknowledged": head.acknowledged,
                "cause": head.cause, "tested": head.tested.wall if head.tested else None,
            }
            for name, head in self._heads.items()
        }  # fmt: skip

    def _open(self, name: str, cause: str, note: str, at_s: float, now: Label, by: str = "") -> None:
        head = self._heads[name]
        head.case += 1
        head.state, head.cause, head.acknowledged = OUT_OF_SERVICE, cause, False
        head.opened = Moment(now.boot, at_s, _wall(now, at_s))
        self._say(name, head, now, Record("facility.opened", name, at_s, {"by": by or cause, "note": note}))

    def _acknowledge(self, name: str, by: str, note: str, now: Label) -> None:
        head = self._heads[name]
        head.acknowledged = True
        self._say(name, head, now, Record("facility.acknowledged", name, now.mono, {"by": by, "note": note}))

    def _repaired(self, name: str, by: str, note: str, at_s: float, now: Label) -> None:
        head, opened = self._heads[name], self._heads[name].opened
        head.state = IN_SERVICE if self._watches[name].watched else UNKNOWN
        head.opened = None
        self._watches[name].fine_s = None
        data: Json = {"by": by, "note": note, "opened": _utc(opened)}
        self._say(name, head, now, Record("facility.repaired", name, at_s, data))

    def _test(self, name: str, by: str, note: str, now: Label) -> None:
        head = self._heads[name]
        head.tested = Moment(now.boot, now.mono, now.wall)
        self._say(name, head, now, Record("facility.tested", name, now.mono, {"by": by, "note": note}))

    def _say(self, name: str, head: Head, now: Label, record: Record) -> None:
        """With where it stands from then on. opened: of the open case, or of the one just repaired."""
        stands: Json = {
            "value": head.state, "case": head.case, "cause": head.cause, "opened": _utc(head.opened),
            "tested": _utc(head.tested),
        }  # fmt: skip
        self._keep(KEEP + name, msgspec.to_builtins(head))
        self._tell(msgspec.structs.replace(record, data=stands | record.data))


def _wall(now: Label, mono_s: float) -> float | None:
    return None if now.wall is None else now.wall + mono_s - now.mono


def _utc(moment: Moment | None) -> str | None:
    return rfc3339(moment.wall) if moment and moment.wall is not None else None
