"""What must fit between facilities, the sensors that tell of them, and alarms."""

from collections.abc import Iterator

from gateway.site_devices import fixed_kind
from gateway.site_reader import UNREAD, Mistake, one_of, quoted
from gateway.site_rules import entries, items, read, unknown
from gateway.site_tables import SiteFile

SENSOR_KINDS = ("lift", "ramp", "pull-cord", "door")
"""Kinds of contact that tell of a facility: the first two by being active, the others by being used in a test."""


def facility_rules(file: SiteFile) -> Iterator[Mistake]:
    for name, facility in entries(file.facility):
        for index, alarm in items(facility.alarms if read(facility, "alarms") else []):
            yield from unknown(file.alarm, alarm, ("facility", name, "alarms", index), "alarm")
    for name, sensor in entries(file.sensor):
        if not read(sensor, "facility", "kind", "point") or sensor.facility is None:
            continue
        yield from unknown(file.facility, sensor.facility, ("sensor", name, "facility"), "facility")
        kind = sensor.kind or fixed_kind(file, sensor) or UNREAD
        if kind not in (*SENSOR_KINDS, UNREAD):
            where = ("sensor", name, "facility")
            do = "remove it, or name an alarm in the facility's alarms"
            yield Mistake(where, f"facility for a {kind} sensor", f"{one_of(SENSOR_KINDS)} for {quoted(name)}", do)
