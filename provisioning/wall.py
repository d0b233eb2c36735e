"""What hangs on the walls: Modbus units, sensors and outputs, each after its template (templates.toml)."""

import re
from collections.abc import Callable, Iterable

from drivers import device_file
from drivers.device_file import DeviceFile
from gateway.site_types import Address, CubicMetres, Drive, Litres, Name, Point, Seconds, SensorId, Title
from provisioning.dialogue import Dialogue, Wrong, of_type
from provisioning.draft import TEMPLATES, Draft, Entry, free

DONE = "done"
PULSE_METER = "pulse-meter"
MAIN_KINDS = ("flow", "total", "pressure", "temperature", "level", "current")
"""Of a unit's points the first of each of these is proposed."""

CLOCK_PINS = ("gpio:2", "gpio:3")
"""The battery clock's I2C: docs/install.md."""

PLACE_MAX = 40


def ask_units(dialogue: Dialogue, draft: Draft) -> None:
    """Meters and modules on Modbus lines; their contacts come later, as sensors."""
    buses = [name for name, bus in draft.tables.get("bus", {}).items() if bus["kind"] == "modbus"]
    models = {name: device_file.load(path) for name, path in device_file.models().items()}

    def one(key: str) -> bool:
        say = dialogue.say
        options = {DONE: say("done")} | {name: model.title for name, model in models.items()}
        chosen = dialogue.choose(f"{key}.model", options, DONE)
        if chosen == DONE:
            return False
        model = models[chosen]
        entry: Entry = {"bus": buses[0], "address": 0, "model": chosen}
        if len(buses) > 1:
            entry["bus"] = dialogue.choose(f"{key}.bus", dict.fromkeys(buses, ""))
        entry["address"] = dialogue.ask(f"{key}.address", of_type(Address), str(model.address))
        proposed = f"u{len(draft.names('device')) + 1}"
        name = dialogue.ask(f"{key}.name", free(draft, Name, "bus", "device", "pulse"), proposed)
        draft.add_all({"device": {name: entry}, "sensor": _ask_points(dialogue, draft, key, name, model)})
        return True

    if buses:
        dialogue.items("unit", one)


def _ask_points(dialogue: Dialogue, draft: Draft, key: str, unit: str, model: DeviceFile) -> Entry:
    """The sensors of a unit that are numbers, by id."""
    points = {name: p.kind for name, p in model.point.items() if p.kind not in ("contact", "setting", "status")}
    if not points:
        return {}
    firsts = {kind: name for name, kind in reversed(points.items())}
    proposed = [firsts[kind] for kind in MAIN_KINDS if kind in firsts]

    def several(text: str) -> list[str]:
        names = [name for name in re.split(r"[,，\s]+", text) if name]
        if not names or any(name not in points for name in names) or len(set(names)) != len(names):
            raise Wrong(points=", ".join(points))
        return names

    chosen = dialogue.ask(f"{key}.points", several, ", ".join(proposed), points=", ".join(points))
    place = dialogue.ask(f"{key}.place", _place(draft, chosen))
    title = dialogue.ask(f"{key}.title", _short, model.title[:40])
    kinds = [points[name] for name in chosen]
    return {
        f"{place}/{name}": {
            "from": f"{unit}:{name}",
            "name": f"{title} {name if kinds.count(kind) > 1 else dialogue.say(f'kind.{kind}')}"[:64],
        }
        for name, kind in zip(chosen, kinds, strict=True)
    }


def ask_sensors(dialogue: Dialogue, draft: Draft) -> None:
    """Contacts and pulses on pins, on nodes and on units; alarms come with them."""
    options = {DONE: dialogue.say("done")}
    options |= {name: draft.title(form["title"]) for name, form in TEMPLATES["sensor"].items()}
    options[PULSE_METER] = dialogue.say("pulse-meter")

    def one(key: str) -> bool:
        what = dialogue.choose(f"{key}.what", options, DONE)
        if what == DONE:
            return False
        ids = ("flow", "total") if what == PULSE_METER else (TEMPLATES["sensor"][what]["id"],)
        place = dialogue.ask(f"{key}.place", _place(draft, ids))
        proposed = dialogue.say("kind.meter") if what == PULSE_METER else options[what]
        title = dialogue.ask(f"{key}.name", _short, proposed[:PLACE_MAX])
        if what == PULSE_METER:
            _ask_pulse_meter(dialogue, draft, key, place, title)
            return True
        judge = _point(draft, TEMPLATES["sensor"][what]["on"])
        entry: Entry = {"from": dialogue.ask(f"{key}.at", judge, example=_example(draft, what)), "name": title}
        also = _ask_pulse(dialogue, draft, key, entry["from"]) if what == "flow" else {}
        draft.sensor(what, f"{place}/{ids[0]}", entry, also)
        return True

    dialogue.items("sensor", one)


def _ask_pulse_meter(dialogue: Dialogue, draft: Draft, key: str, place: str, title: str) -> None:
    """A meter on a pin of the box: its two points are two sensors."""
    name = f"m{len(draft.names('pulse')) + 1}"
    pulse: Entry = {"pin": dialogue.ask(f"{key}.at", _point(draft, ["gpio"]), example="gpio:4")}
    pulse["litres"] = dialogue.ask(f"{key}.litres", of_type(Litres))
    pulse["start_m3"] = dialogue.ask(f"{key}.start_m3", of_type(CubicMetres), "0")
    sensors = {
        f"{place}/{point}": {"from": f"{name}:{point}", "name": f"{title} {dialogue.say(f'kind.{point}')}"}
        for point in ("flow", "total")
    }
    draft.add_all({"pulse": {name: pulse}, "sensor": sensors})


def _ask_pulse(dialogue: Dialogue, draft: Draft, key: str, point: str) -> dict[str, Entry]:
    """How much water one pulse at a node's input is: a setting of the node."""
    bus, _, flow = point.partition(":")
    litres: float = dialogue.ask(f"{key}.litres", of_type(Litres))
    entry = draft.tables["bus"][bus]
    settings = {**entry.get("node", {}), f"{flow}_pulse_ul": round(litres * 1e6)}
    return {"bus": {bus: entry | {"node": settings}}}


def ask_outputs(dialogue: Dialogue, draft: Draft) -> None:
    """Valve, strobe, buzzer; what each does by itself is asked for each alarm there is."""
    options = {DONE: dialogue.say("done")}
    options |= {name: draft.title(form["title"]) for name, form in TEMPLATES["output"].items()}

    def one(key: str) -> bool:
        what = dialogue.choose(f"{key}.what", options, DONE)
        if what == DONE:
            return False
        form = TEMPLATES["output"][what]
        count = sum(output["kind"] == what for output in draft.tables.get("output", {}).values())
        name = dialogue.ask(f"{key}.name", free(draft, Name, "output"), f"{what}{count + 1 if count else ''}")
        entry: Entry = {"to": dialogue.ask(f"{key}.to", _drive(draft)), "kind": what, **form.get("keys", {})}
        if entry["to"].startswith("gpio:"):
            entry["active"] = dialogue.choose(f"{key}.active", {"high": "", "low": ""}, "high")
        if what == "valve":
            entry["travel_s"] = dialogue.ask(f"{key}.travel_s", of_type(Seconds), "15")
        reactions = {}
        for alarm in (alarm for alarm in form["when"] if alarm in draft.names("alarm")):
            title = draft.tables["alarm"][alarm]["name"]
            if dialogue.yes(f"{key}.on.{alarm}", "no" if what == "valve" else "yes", output=name, alarm=title):
                when = f"alarm.{alarm} active {form.get('after', '')}".strip()
                more = {key: form[key] for key in ("per_day", "unless") if key in form}
                reactions[f"{name}-{alarm}"[:32]] = {"when": when, "do": f"{name} {form['do']}", **more}
        if what == "valve" and reactions:
            entry["approved_by"] = dialogue.ask(f"{key}.approved_by", of_type(Title))
        draft.add_all({"output": {name: entry}, "reaction": reactions})
        return True

    dialogue.items("output", one)


# -- judges ----------------------------------------------------------------------------------------------------------


def _short(text: str) -> str:
    """A name that leaves room for a word behind it."""
    title = str(of_type(Title)(text))
    if len(title) > PLACE_MAX:
        raise Wrong
    return title


def _place(draft: Draft, ids: Iterable[str]) -> Callable[[str], str]:
    """The first part of the sensors' ids, under which none of `ids` is taken yet."""

    def judge(text: str) -> str:
        place = str(of_type(SensorId)(text))
        if len(place) > PLACE_MAX or place.endswith("/"):
            raise Wrong
        if any(f"{place}/{each}" in draft.names("sensor") for each in ids):
            raise Wrong("taken")
        return place

    return judge


def _point(draft: Draft, sorts: list[str]) -> Callable[[str], str]:
    """A point that there is, of one of these sorts, and that nothing else uses."""

    def judge(text: str) -> str:
        point = str(of_type(Point)(text))
        if _sort(draft, point) not in sorts:
            raise Wrong
        return _unused(draft, point)

    return judge


def _sort(draft: Draft, point: str) -> str:
    """As in templates.toml: "gpio", "loop", "contact", "flow", "temp" or "unit"; "" for what is not there."""
    source, _, name = point.partition(":")
    if source == "gpio":
        return "gpio" if re.fullmatch("1?[0-9]|2[0-7]", name) else ""
    if draft.tables.get("bus", {}).get(source, {}).get("kind") == "node":
        return name.rstrip("0123456789") if re.fullmatch("[a-z]+[1-9][0-9]?", name) else ""
    return "unit" if name in _contacts(draft, source, "read") else ""


def _contacts(draft: Draft, unit: str, access: str) -> list[str]:
    """The contacts of a unit that can be read, or driven ("output")."""
    device = draft.tables.get("device", {}).get(unit)
    if device is None:
        return []
    model = device_file.load(device_file.models()[device["model"]])
    return [name for name, point in model.point.items() if point.kind == "contact" and point.access == access]


def _unused(draft: Draft, point: str) -> str:
    if point in CLOCK_PINS:
        raise Wrong("clock-pins")
    if point in draft.points_used():
        raise Wrong("taken")
    return point


def _drive(draft: Draft) -> Callable[[str], str]:
    def judge(text: str) -> str:
        point = str(of_type(Drive)(text))
        source, _, name = point.partition(":")
        if source != "gpio" and name not in _contacts(draft, source, "output"):
            raise Wrong
        return _unused(draft, point)

    return judge


def _example(draft: Draft, what: str) -> str:
    """Points of the right sorts, as they may be written for this site."""
    sorts = TEMPLATES["sensor"][what]["on"]
    nodes = [name for name, bus in draft.tables.get("bus", {}).items() if bus["kind"] == "node"]
    examples = [f"{node}:{sort}1" for node in nodes[:1] for sort in sorts if sort not in ("gpio", "unit")]
    units = [(unit, _contacts(draft, unit, "read")) for unit in draft.names("device")] if "unit" in sorts else []
    examples += [f"{unit}:{contacts[0]}" for unit, contacts in units if contacts][:1]
    examples += ["gpio:17"] if "gpio" in sorts else []  # the last choice: no pin on a cable that leaves the cabinet
    return ", ".join(examples) or "n1:flow1"
