"""What must fit between outputs, what proves them, and the reactions that drive them."""

import itertools
from collections.abc import Iterator
from typing import Any

from drivers.kinds import KINDS
from gateway import recurring
from gateway.site_devices import device_point, fixed_kind
from gateway.site_lines import Path
from gateway.site_outputs import Output
from gateway.site_reader import UNREAD, Mistake, one_of, quoted
from gateway.site_rules import entries, items, read, unknown
from gateway.site_tables import SiteFile

ACTIONS = {"valve": ("open", "close"), "strobe": ("on", "off"), "buzzer": ("on", "off"), "led": ("on", "off")}
ENERGISING = ("on", "close")
_MOMENTS = ("at_start", "at_stop", "at_crash")


def output_rules(file: SiteFile) -> Iterator[Mistake]:
    for name, output in entries(file.output):
        path: Path = ("output", name)
        if read(output, "kind"):
            yield from _valve_rules(name, output, path)
        if read(output, "to") and not output.to.startswith("gpio:"):
            yield from _device_point_rules(file, output.to, (*path, "to"), "output")
        if read(output, "proof") and output.proof:
            yield from _proof_rules(file, output.proof, (*path, "proof"))
        if read(output, "flow") and output.flow:
            yield from _flow_rules(file, output.flow, (*path, "flow"))
        for index, other in items(output.interlock):
            yield from unknown(file.output, other, (*path, "interlock", index), "output")
            if other == name:
                yield Mistake((*path, "interlock", index), quoted(name), "another output", "remove it")


def _valve_rules(name: str, output: Output, path: Path) -> Iterator[Mistake]:
    """What only valves have, and what a valve on a fire line must not."""
    what = f"the {output.kind} {quoted(name)}"
    if output.kind != "valve":
        for key, plain in (("travel_s", 0.0), ("flow", ""), ("line", "domestic")):
            if read(output, key) and getattr(output, key) != plain:
                yield Mistake((*path, key), f"{key} for {what}", f"{key} for a valve", "remove it")
    if read(output, "exercise") and output.exercise:
        yield from _exercise_rules(what, output, (*path, "exercise"))
    for moment in _MOMENTS:
        state = getattr(output, moment)
        if state in ("open", "close") and output.kind != "valve":
            expected = f'"off", "on" or "keep" for {what}'
            yield Mistake((*path, moment), quoted(state), expected, f'write {moment} = "off"')
        elif state in ENERGISING and read(output, "line") and output.line == "fire":
            expected = "never closed: the valve stands on a fire line"
            yield Mistake((*path, moment), quoted(state), expected, f'write {moment} = "open"')


def _exercise_rules(what: str, output: Output, where: Path) -> Iterator[Mistake]:
    """By the calendar, and only where it may be closed by a program."""
    if recurring.parse(output.exercise) is None:
        yield Mistake(where, quoted(output.exercise), recurring.FORM, 'write for example "monthly sun 06:00"')
    if output.kind != "valve":
        yield Mistake(where, f"exercise for {what}", "exercise for a valve", "remove it")
    elif read(output, "line", "approved_by") and (output.line == "fire" or not output.approved_by):
        lack = "on a fire line" if output.line == "fire" else "without approved_by"
        expected = "a valve that a program may close: with the owner's written consent, on no fire line"
        yield Mistake(where, f"exercise for {what} {lack}", expected, "remove it, or add approved_by")


def _proof_rules(file: SiteFile, proof: str, where: Path) -> Iterator[Mistake]:
    """A contact of a device, or any sensor that is a contact."""
    if ":" in proof:
        yield from _device_point_rules(file, proof, where, "contact")
        return
    yield from unknown(file.sensor, proof, where, "sensor")
    sensor = (file.sensor or {}).get(proof, UNREAD)
    if sensor is not UNREAD and read(sensor, "point", "kind") and fixed_kind(file, sensor) not in ("", None):
        yield Mistake(where, quoted(proof), "a sensor that is a contact", "name another sensor")


def _flow_rules(file: SiteFile, flow: str, where: Path) -> Iterator[Mistake]:
    yield from unknown(file.sensor, flow, where, "sensor")
    sensor = (file.sensor or {}).get(flow, UNREAD)
    if sensor is not UNREAD and read(sensor, "point", "kind") and fixed_kind(file, sensor) not in ("flow", None):
        yield Mistake(where, quoted(flow), f"a sensor of kind flow, in {KINDS['flow'].unit}", "name another sensor")


def _device_point_rules(file: SiteFile, name: str, where: Path, sort: str) -> Iterator[Mistake]:
    """sort: "output": one that the device file lets be driven; "contact": one that is on or off."""
    source = name.partition(":")[0]
    yield from unknown(file.device, source, where, "device")
    device, point = device_point(file, name)
    if device is None:
        return  # the device itself is wrong, or its file, and told so
    fits = [n for n, p in device.point.items() if (p.access == "output" if sort == "output" else p.kind == "contact")]
    if point is None or point.name not in fits:
        expected = f"{'an output' if sort == 'output' else 'a contact'} of {device.model}: {', '.join(fits) or 'none'}"
        do = f"write for example {quoted(f'{source}:{fits[0]}')}" if fits else "name another device"
        yield Mistake(where, quoted(name), expected, do)


def reaction_rules(file: SiteFile) -> Iterator[Mistake]:
    for name, reaction in entries(file.reaction):
        path: Path = ("reaction", name)
        if read(reaction, "when"):
            yield from unknown(file.alarm, reaction.when.alarm, (*path, "when"), "alarm")
        if read(reaction, "do"):
            yield from unknown(file.output, reaction.do.output, (*path, "do"), "output")
            yield from _action_rules(file, reaction, (*path, "do"))
    yield from _interlock_rules(file)


def _action_rules(file: SiteFile, reaction: Any, where: Path) -> Iterator[Mistake]:
    output = (file.output or {}).get(reaction.do.output, UNREAD)
    if output is UNREAD or not read(output, "kind"):
        return
    name, action, text = reaction.do
    actions = ACTIONS[output.kind]
    if action not in actions:
        do = f'write "{name} {actions[-1] if output.kind == "valve" else actions[0]}"'
        yield Mistake(where, quoted(action), f"{one_of(actions)} for the {output.kind}", do)
        return
    if output.kind == "valve" and read(output, "line", "approved_by"):
        if output.line == "fire" and action in ENERGISING:
            do = "remove the reaction: water for the fire brigade is never shut off by a program"
            yield Mistake(where, f"{quoted(text)}, on a fire line", "a valve on a line that may be closed", do)
        elif not output.approved_by:
            expected = f"output.{name} with approved_by: no reaction drives a valve without the owner's written consent"
            do = f'add approved_by = "物业 2026-11-20" (who, when) to output.{name}, or remove the reaction'
            yield Mistake(where, f"{quoted(text)} without a consent", expected, do)
    for other_name, other in entries(file.reaction):
        if other is reaction:
            return
        if read(other, "do") and other.do.output == name and other.do.action in set(actions) - {action}:
            both = f"{quoted(reaction.do.text)}, while reaction {other_name} says {quoted(other.do.text)}"
            yield Mistake(where, both, "one action for one output", "remove one of the two reactions")


def _interlock_rules(file: SiteFile) -> Iterator[Mistake]:
    """One alarm cannot drive two outputs that may not be on together: one of them would wait for ever."""
    apart = {(a, b) for a, output in entries(file.output) for _, b in items(output.interlock)}
    reactions = [(n, r) for n, r in entries(file.reaction) if read(r, "when", "do") and r.do.action in ENERGISING]
    for (first, one), (second, other) in itertools.combinations(reactions, 2):
        pair = (one.do.output, other.do.output)
        if one.when.alarm == other.when.alarm and (pair in apart or pair[::-1] in apart):
            both = f"{quoted(other.do.text)}, while reaction {first} says {quoted(one.do.text)} for the same alarm"
            expected = "outputs that may be on together: an interlock keeps these apart"
            yield Mistake(("reaction", second, "do"), both, expected, "remove one of the two, or the interlock")


def test_rules(file: SiteFile) -> Iterator[Mistake]:
    """The button of the test mode is on a pin of its own."""
    if not read(file, "test") or not read(file.test, "button") or not file.test.button:
        return
    claims = [(table.point, f"sensor.{name}") for name, table in entries(file.sensor)]
    claims += [(table.to, f"output.{name}") for name, table in entries(file.output)]
    claims += [(table.pin, f"pulse.{name}") for name, table in entries(file.pulse)]
    for used, by in claims:
        if used == file.test.button:
            what = f"{quoted(file.test.button)}, which {by} uses"
            yield Mistake(("test", "button"), what, "a pin of its own", "choose another pin")
