"""What must fit between a machine and the sensors that sit on it."""

from collections.abc import Iterator

from drivers.kinds import KINDS
from gateway.alarm_rules import kind_of
from gateway.conditions import SILENT
from gateway.site_devices import model_of
from gateway.site_lines import Path
from gateway.site_machines import LOOP, MEASURES, Machine
from gateway.site_reader import UNREAD, Mistake, found, one_of, quoted
from gateway.site_rules import entries, items, read, twice, unknown
from gateway.site_tables import Sensor, SiteFile


def machine_rules(file: SiteFile) -> Iterator[Mistake]:
    for name, machine in entries(file.machine):
        path: Path = ("machine", name)
        if name in (file.sensor or {}):
            yield Mistake(path, f"{quoted(name)}, which is a sensor", "a name of its own", "rename the machine")
        yield from _sensor_rules(file, machine, path)
        if read(machine, "runs") and machine.runs is not None:
            yield from _runs_rules(file, machine, (*path, "runs"))


def _sensor_rules(file: SiteFile, machine: Machine, path: Path) -> Iterator[Mistake]:
    lists = {what: getattr(machine, what) for what in MEASURES if read(machine, what)}
    if len(lists) == len(MEASURES) and not any(lists.values()):
        do = 'add for example flow = ["pump-1/flow"]'
        yield Mistake(path, "no sensor", f"one at least, behind {one_of(MEASURES)}", do)
    named = [(sensor, (*path, what, at)) for what, sensors in lists.items() for at, sensor in items(sensors)]
    yield from twice(named, "sensor")
    for sensor, where in named:
        what = str(where[-2])
        yield from unknown(file.sensor, sensor, where, "sensor")
        known = (file.sensor or {}).get(sensor, UNREAD)
        kind = kind_of(file, known)
        if kind and kind not in (*MEASURES[what], LOOP):
            expected = f"a sensor of kind {one_of([*MEASURES[what], *({LOOP} - {*MEASURES[what]})])}"
            yield Mistake(where, f"{quoted(sensor)}, a {kind} sensor", expected, _instead(kind))
        elif kind:
            yield from _poll_rules(file, machine, known, where)


def _instead(kind: str) -> str:
    """What to do with a sensor that measures something else."""
    if kind == "temperature":
        return "leave it out: a temperature follows sun and season more than a fault"
    fits = [what for what, kinds in MEASURES.items() if kind in kinds]
    return f"name it behind {fits[0]}" if fits else "leave it out"


def _poll_rules(file: SiteFile, machine: Machine, sensor: Sensor, where: Path) -> Iterator[Mistake]:
    """A row needs a new value of each; only a unit that is asked seldom lacks it."""
    device = (file.device or {}).get(sensor.source, UNREAD) if isinstance(file.device, dict) else UNREAD
    if device is UNREAD or not read(device, "poll_s", "model") or not read(machine, "every_s"):
        return
    poll_s = device.poll_s or model_of(device).poll_s
    if poll_s > machine.every_s:
        what = f"{quoted(sensor.id)}, read each {found(poll_s)} s"
        do = f"write device.{sensor.source}.poll_s = {found(machine.every_s)}, or raise every_s"
        yield Mistake(where, what, f"a sensor that is read each {found(machine.every_s)} s, as every_s says", do)


def _runs_rules(file: SiteFile, machine: Machine, where: Path) -> Iterator[Mistake]:
    runs = machine.runs
    assert runs is not None
    do = 'write for example runs = "pump-1/current > 0.5 for 30 s"'
    if runs.subject == "model" or runs.test == "is" or runs.word == SILENT:
        yield Mistake(where, quoted(runs.text), "a comparison with the number of a sensor", do)
        return
    yield from unknown(file.sensor, runs.sensor, where, "sensor")
    sensor = (file.sensor or {}).get(runs.sensor, UNREAD)
    kind = kind_of(file, sensor)
    if kind and (KINDS[kind].is_contact or kind == "status"):
        yield Mistake(where, f"{quoted(runs.text)}, on a {kind} sensor", "a sensor with numbers", do)
    elif kind:
        yield from _poll_rules(file, machine, sensor, where)
