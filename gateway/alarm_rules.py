"""What must fit between alarms and the sensors they speak of."""

from collections.abc import Iterator

from drivers.kinds import KINDS
from gateway.conditions import LOOP_WORDS, SILENT, Condition
from gateway.site_devices import fixed_kind
from gateway.site_lines import Path
from gateway.site_reader import UNREAD, Mistake, found, one_of, quoted
from gateway.site_rules import entries, items, read, unknown
from gateway.site_tables import Alarm, Sensor, SiteFile, button_sensor

NUMBERS, MACHINE = "", "machine"
MODELS = {"water-leak": "flow", "inflow": "flow", "generic": NUMBERS, "pump": MACHINE}
"""A model's name -> the kind of sensor it looks at; NUMBERS: any that has numbers, MACHINE: several, by name."""

MODEL_EVERY_S = 60.0
"""A model needs a reading of its sensor at least that often (gateway/windows.py)."""


def alarm_rules(file: SiteFile) -> Iterator[Mistake]:
    yield from _rate_rules(file)
    for name, alarm in entries(file.alarm):
        for index, condition in items(alarm.any):
            yield from _condition_rules(file, condition, ("alarm", name, "any", index))
        yield from _button_rules(file, alarm, ("alarm", name))
        steps = [step for _, step in items(alarm.escalate_min or [])] if read(alarm, "escalate_min") else []
        if steps != sorted(set(steps)):
            expected = "minutes since it came, each more than the one before"
            yield Mistake(("alarm", name, "escalate_min"), str(steps), expected, "write for example [3, 15]")


def _rate_rules(file: SiteFile) -> Iterator[Mistake]:
    """`at most` changes what a score counts for, so all conditions on one model and sensor must agree."""
    first: dict[tuple[str, str], Condition] = {}
    for name, alarm in entries(file.alarm):
        for index, condition in items(alarm.any):
            if condition.subject != "model":
                continue
            other = first.setdefault((condition.model or "", condition.sensor), condition)
            alike = (other.number, other.a_month) == (condition.number, condition.a_month)
            if not alike and (other.a_month or condition.a_month):
                expected = f"the number and rate of {quoted(other.text)}"
                yield Mistake(("alarm", name, "any", index), quoted(condition.text), expected, "write both alike")


def _button_rules(file: SiteFile, alarm: Alarm, path: Path) -> Iterator[Mistake]:
    """A button, and the word "button" among those who may."""
    if not read(alarm, "button", "ack"):
        return
    where: Path = (*path, "button")
    if alarm.ack and ("button" in alarm.ack) != bool(alarm.button):
        lacks = '"button" in ack, without a button' if not alarm.button else 'button, without "button" in ack'
        do = 'add for example button = "gpio:23"' if not alarm.button else 'add "button" to ack, or remove button'
        yield Mistake(where if alarm.button else (*path, "ack"), lacks, "both or neither", do)
    if alarm.button and not alarm.button.startswith("gpio:"):
        yield from unknown(file.sensor, alarm.button, where, "sensor")
        kind = kind_of(file, (file.sensor or {}).get(alarm.button, UNREAD))
        if kind and not KINDS[kind].is_contact:
            yield Mistake(where, f"a {kind} sensor", "a contact, best of kind button", "name another sensor")
    elif alarm.button and (taken := button_sensor(alarm.button)) in (file.sensor or {}):
        what = f"{quoted(alarm.button)} beside a sensor {quoted(taken)}"
        yield Mistake(where, what, "a name that is free", f"rename that sensor, or write button = {quoted(taken)}")


def _condition_rules(file: SiteFile, condition: Condition, where: Path) -> Iterator[Mistake]:
    if MODELS.get(condition.model or "") == MACHINE or (condition.model and _is_machine(file, condition.sensor)):
        yield from _machine_rules(file, condition, where)
        return
    yield from unknown(file.sensor, condition.sensor, where, "sensor")
    sensor = (file.sensor or {}).get(condition.sensor, UNREAD)
    kind = kind_of(file, sensor)
    if condition.subject == "model":
        yield from _model_rules(condition, sensor, kind, where)
    elif kind:
        yield from _test_rules(condition, sensor, kind, where)


def _is_machine(file: SiteFile, name: str) -> bool:
    return name in (file.machine or {}) and name not in (file.sensor or {})


def _machine_rules(file: SiteFile, condition: Condition, where: Path) -> Iterator[Mistake]:
    """A model of machines, or another one that is given a machine."""
    text = quoted(condition.text)
    if condition.model not in MODELS:
        yield Mistake(where, f"model {quoted(condition.model or '')}", one_of(MODELS), "write model:pump")
    elif MODELS[condition.model] != MACHINE:
        expected = f"a {MODELS[condition.model] or 'single'} sensor for model:{condition.model}"
        yield Mistake(where, f"{text}, on a machine", expected, "write model:pump, or name a sensor")
    elif condition.sensor in (file.sensor or {}) and not _is_machine(file, condition.sensor):
        do = f'add for example machine.pump-1 = {{ flow = [{quoted(condition.sensor)}] }}, and write "on pump-1"'
        yield Mistake(where, f"{text}, on a sensor", f"a machine for model:{condition.model}", do)
    else:
        yield from unknown(file.machine, condition.sensor, where, "machine")
    yield from _score_rules(condition, where)


def _score_rules(condition: Condition, where: Path) -> Iterator[Mistake]:
    if condition.test == "is" or not 0 <= condition.number <= 1:
        what = quoted(condition.text)
        yield Mistake(where, what, "a model's score compared with 0 to 1", 'write for example "> 0.9"')


def _model_rules(condition: Condition, sensor: Sensor, kind: str, where: Path) -> Iterator[Mistake]:
    model = condition.model or ""
    text = quoted(condition.text)
    if model not in MODELS:
        yield Mistake(where, f"model {quoted(model)}", one_of(MODELS), f"write model:{next(iter(MODELS))}")
    elif kind and (KINDS[kind].is_contact or kind == "status" or MODELS[model] not in (NUMBERS, kind)):
        expected = f"a {MODELS[model]} sensor" if MODELS[model] else "a sensor with numbers"
        expected += f" for model:{model}"
        yield Mistake(where, f"{text}, on a {kind} sensor", expected, "name another sensor")
    yield from _score_rules(condition, where)
    if kind and read(sensor, "report") and read(sensor.report, "every_s") and sensor.report.every_s > MODEL_EVERY_S:
        what = f"{text}, with a report each {found(sensor.report.every_s)} s"
        do = f"write report.every_s = 60 for {quoted(condition.sensor)}"
        yield Mistake(where, what, "a sensor with report.every_s of 60 at most for a model", do)


def _test_rules(condition: Condition, sensor: Sensor, kind: str, where: Path) -> Iterator[Mistake]:
    text = quoted(condition.text)
    words = KINDS[kind]
    if condition.word == SILENT:
        if sensor.silent_s is None:
            do = f"add silent_s = 120 to the sensor {quoted(condition.sensor)}"
            yield Mistake(where, text, "a sensor with silent_s", do)
    elif kind == "status":
        yield Mistake(where, text, "a contact or a number", "name another sensor: a status is told, and never alarms")
    elif not words.is_contact:
        yield from _comparison_rules(condition, sensor, kind, where)
    elif condition.word in LOOP_WORDS:
        if sensor.family != "loop":
            do = "remove it, or wire the contact to a node's loop"
            yield Mistake(where, text, f"a supervised loop for {quoted(condition.word)}", do)
    elif condition.word not in (words.active, words.idle):
        expected = f'"is {words.active}" or "is {words.idle}" for a {kind} sensor'
        yield Mistake(where, text, expected, f'write "{condition.sensor} is {words.active}"')


def _comparison_rules(condition: Condition, sensor: Sensor, kind: str, where: Path) -> Iterator[Mistake]:
    unit = KINDS[kind].unit
    if condition.test == "is":
        do = f'write for example "{condition.sensor} > 0.0005"'
        yield Mistake(where, quoted(condition.text), f"a comparison in {unit} for a {kind} sensor", do)
    elif read(sensor, "valid") and sensor.valid and not sensor.valid[0] <= condition.number <= sensor.valid[1]:
        low, high = sensor.valid
        expected = f"a number within the sensor's valid {found(low)} to {found(high)} {unit}"
        yield Mistake(where, quoted(condition.text), expected, f"write it in {unit}, or correct valid")


def kind_of(file: SiteFile, sensor: Sensor) -> str:
    """The kind of a sensor, also when the site file leaves it to the point; "" when it cannot be told."""
    if sensor is UNREAD or not read(sensor, "point", "kind"):
        return ""
    fixed = fixed_kind(file, sensor)
    kind = sensor.kind or fixed or ""
    fits = kind == fixed or (fixed == "" and kind in KINDS and KINDS[kind].is_contact)
    return kind if fits else ""
