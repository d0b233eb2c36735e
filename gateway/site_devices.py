"""What must fit between Modbus lines, the units on them and their device files; and whether a line can carry its plan.

A line's plan is arithmetic: bytes of all requests and answers, at the line's speed, for each unit's poll_s. Whoever
asks more than PLAN_MAX of it would get every reading late, so it is a mistake and says by how much.
"""

import difflib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path as FilePath

from drivers import device_file, registers
from drivers.device_file import DeviceFile, DeviceFileError, Point
from gateway.site_lines import Path
from gateway.site_reader import UNREAD, Mistake, quoted
from gateway.site_tables import FAMILIES, LINE_NOT_GIVEN, PULSE_POINTS, Bus, Device, Sensor, SiteFile

PLAN_MAX = 0.8  # of a line's time; the rest is for retries, silent units and outputs
THINK_S = 0.01  # what a unit takes to answer, as the arithmetic assumes
_REQUEST_BYTES, _ANSWER_BYTES = 8, 5


def model_path(model: str) -> FilePath | None:
    """The device file of a `model`, None when Linli has none of that name."""
    if model.startswith("file:"):
        return FilePath(model.removeprefix("file:"))
    return device_file.models().get(model)


def model_of(device: Device) -> DeviceFile:
    """Raises DeviceFileError."""
    path = model_path(device.model)
    if path is None:
        raise DeviceFileError([f"found model {device.model!r}, expected one of {', '.join(device_file.models())}"])
    try:
        changed_ns = path.stat().st_mtime_ns
    except OSError:
        changed_ns = 0
    return _loaded(path, changed_ns)


@lru_cache(maxsize=64)
def _loaded(path: FilePath, changed_ns: int) -> DeviceFile:
    device = device_file.load(path)
    if mistakes := registers.golden_mistakes(device):
        raise DeviceFileError([f"{path}: {mistake}" for mistake in mistakes])
    return device


def is_polled(file: SiteFile, sensor: Sensor) -> bool:
    """Whether its point is one of a device, or of a pulse meter."""
    return any(isinstance(tables, dict) and sensor.source in tables for tables in (file.device, file.pulse))


def device_point(file: SiteFile, name: str) -> tuple[DeviceFile | None, Point | None]:
    """("meter:flow") -> its device file and the point in it; None for what is not there or cannot be read."""
    source, _, point = name.partition(":")
    device = (file.device or {}).get(source, UNREAD) if isinstance(file.device, dict) else UNREAD
    if device is UNREAD or device.model is UNREAD:
        return None, None
    try:
        model = model_of(device)
    except DeviceFileError:
        return None, None
    return model, model.point.get(point)


def fixed_kind(file: SiteFile, sensor: Sensor) -> str | None:
    """The kind that follows from the point, "" for some contact, None for no such point."""
    if not is_polled(file, sensor):
        return FAMILIES.get(sensor.family)
    if isinstance(file.pulse, dict) and sensor.source in file.pulse:
        return PULSE_POINTS.get(sensor.point.partition(":")[2])
    _, point = device_point(file, sensor.point)
    if point is None or point.kind == "setting":
        return None
    return "" if point.kind == "contact" else point.kind


def device_rules(file: SiteFile) -> Iterator[Mistake]:
    if not isinstance(file.device, dict) or not isinstance(file.bus, dict):
        return
    for name in file.pulse if isinstance(file.pulse, dict) else ():
        yield from _name_rules(file, name, "pulse")
    taken: dict[tuple[str, int], str] = {}
    for name, device in file.device.items():
        if device is UNREAD:
            continue
        yield from _name_rules(file, name, "device")
        yield from _bus_rules(file, name, device)
        yield from _model_rules(name, device)
        if device.bus is UNREAD or device.address is UNREAD:
            continue
        other = taken.setdefault((device.bus, device.address), name)
        if other != name:
            found = f"{device.address} on {quoted(device.bus)}, which device.{other} has"
            do = "give one of the two another address, at the unit and here"
            yield Mistake(("device", name, "address"), found, "one unit at each address", do)
    for name, bus in file.bus.items():
        if bus is not UNREAD and bus.kind is not UNREAD:
            yield from _line_rules(file, name, bus)


def _name_rules(file: SiteFile, name: str, sort: str) -> Iterator[Mistake]:
    others: dict[str, Mapping[str, object]] = {"bus": file.bus, "device": file.device if sort == "pulse" else {}}
    taken = next((other for other, tables in others.items() if name in tables), "")
    if taken or name in ("gpio", "model"):
        what = f"which is a {taken}" if taken else "which means something else"
        yield Mistake((sort, name), f"{quoted(name)}, {what}", "a name of its own", "rename it")


def _bus_rules(file: SiteFile, name: str, device: Device) -> Iterator[Mistake]:
    if device.bus is UNREAD:
        return
    lines = [key for key, bus in file.bus.items() if bus is not UNREAD and bus.kind == "modbus"]
    if device.bus not in file.bus or device.bus not in lines:
        found = quoted(device.bus) if device.bus not in file.bus else f"{quoted(device.bus)}, no modbus line"
        expected = f"one of {', '.join(lines)}" if lines else "a bus of kind modbus, of which there is none"
        near = difflib.get_close_matches(device.bus, lines, 1) or lines[:1]
        do = f"write bus = {quoted(near[0])}" if near else 'add for example bus.b1 = { kind = "modbus", … }'
        yield Mistake(("device", name, "bus"), found, expected, do)


def _model_rules(name: str, device: Device) -> Iterator[Mistake]:
    if device.model is UNREAD:
        return
    where: Path = ("device", name, "model")
    if model_path(device.model) is None:
        known = list(device_file.models())
        near = difflib.get_close_matches(device.model, known, 1)
        do = f"write model = {quoted(near[0])}" if near else 'choose one, or write your own: model = "file:/PATH"'
        yield Mistake(where, quoted(device.model), f"one of {', '.join(known)}", do)
        return
    try:
        model = model_of(device)
    except DeviceFileError as error:
        do = f"run linli check-device {device.model.removeprefix('file:')}"
        yield Mistake(where, f"a device file with mistakes: {error.mistakes[0]}", "a good one", do)
        return
    for setting in device.expect if isinstance(device.expect, dict) else ():
        if setting not in model.setting:
            expected = f"one of {', '.join(model.setting)}" if model.setting else f"none, {model.model} has no settings"
            yield Mistake(("device", name, "expect", setting), quoted(setting), expected, "correct or remove it")


def _line_rules(file: SiteFile, name: str, bus: Bus) -> Iterator[Mistake]:
    for key in ("timeout_ms", "gap_ms"):
        default = {"timeout_ms": 300, "gap_ms": None}[key]
        if bus.kind != "modbus" and getattr(bus, key) not in (default, UNREAD):
            yield Mistake(("bus", name, key), f"{key} for a {bus.kind}", f"{key} for a modbus line", "remove it")
    if bus.kind != "modbus" or bus.line is UNREAD:
        return
    if bus.line is LINE_NOT_GIVEN:
        do = 'write what the units are set to, for example line = "9600 8N1"'
        yield Mistake(("bus", name, "line"), "nothing", "the speed of a modbus line", do)
        return
    plan = bus_plan(file, name)
    share = sum(part.share for part in plan)
    if share > PLAN_MAX:
        worst = max(plan, key=lambda part: part.share)
        found = f"a plan of {share:.2f} s talk in each second at {bus.line} ({'; '.join(map(str, plan[:4]))})"
        do = f"raise poll_s, of {worst.device} first, or take a faster line"
        yield Mistake(("bus", name, "line"), found, f"{PLAN_MAX} s at most", do)


class Part:
    """What one unit needs of its line. share: of each second."""

    def __init__(self, device: str, size: int, reads: int, poll_s: float, share: float) -> None:
        self.device, self.size, self.reads, self.poll_s, self.share = device, size, reads, poll_s, share

    def __str__(self) -> str:
        return f"{self.device}: {self.size} bytes in {self.reads} reads each {self.poll_s:g} s = {self.share:.2f}"


def bus_plan(file: SiteFile, bus: str) -> list[Part]:
    """The units of a line that can be judged, in the file's order."""
    baud, frame = file.bus[bus].line.split()
    char_s = (1 + int(frame[0]) + (frame[1] != "N") + int(frame[2])) / int(baud)
    gap_ms = file.bus[bus].gap_ms
    gap_s = max(3.5 * char_s, (gap_ms if isinstance(gap_ms, int) else 0) / 1000)
    parts = []
    for name, device in file.device.items():
        if device is UNREAD or device.bus != bus or device.model is UNREAD or device.poll_s is UNREAD:
            continue
        try:
            model = model_of(device)
        except DeviceFileError:
            continue
        points = {point.name: point for point in _points(file, name, model)}
        if model.health and points:
            points[model.health.point] = model.point[model.health.point]
        for point in list(points.values()):
            points |= {helper.name: helper for helper in registers.helpers(model, point)}
        batches = registers.batches(model, points.values())
        size = sum(_REQUEST_BYTES + _ANSWER_BYTES + batch.data_bytes for batch in batches)
        poll_s = device.poll_s or model.poll_s
        talk_s = size * char_s + len(batches) * (2 * gap_s + THINK_S)
        parts.append(Part(name, size, len(batches), poll_s, talk_s / poll_s))
    return parts


def _points(file: SiteFile, device: str, model: DeviceFile) -> list[Point]:
    """What the site file asks of this device: sensors, outputs and proofs."""
    sensors = file.sensor.values() if isinstance(file.sensor, dict) else ()
    outputs = file.output.values() if isinstance(file.output, dict) else ()
    names = [sensor.point for sensor in sensors if sensor is not UNREAD]
    names += [name for output in outputs if output is not UNREAD for name in (output.to, output.proof)]
    asked = [name.partition(":") for name in names if isinstance(name, str)]
    return [model.point[point] for source, _, point in asked if source == device and point in model.point]
