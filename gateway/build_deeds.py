"""Settings to reactions, outputs and modes. build.py gives the pins, and what an earlier run kept."""

from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from drivers.outputs import Output as Driver
from drivers.outputs import Safe
from gateway.config import Output, Site
from gateway.contract import Label
from gateway.deeds import Deeds
from gateway.exercise import KEEP as EXERCISE
from gateway.exercise import Exercises
from gateway.exercise import Kept as Exercised
from gateway.modes import Modes
from gateway.own_alarms import own_alarms
from gateway.pending import Pending
from gateway.proofs import Proof, Remaining
from gateway.reactions import Plan, Reactions
from gateway.recurring import parse
from gateway.site_devices import model_of
from gateway.switches import HAND, Switch, Switches, Way, flow_alarm, output_alarm

SAFE: dict[str, Safe] = {"off": "off", "open": "off", "on": "on", "close": "on", "keep": "keep"}


def deeds(
    site: Site, drivers: dict[str, Driver], pending: Pending, kept: Mapping[str, object], label: Callable[[], Label],
    *, crashed: bool,
) -> Deeds:  # fmt: skip
    """drivers: {output: its pin}, not driven yet. crashed: whether the run before had no end."""
    modes = Modes(_looks_at(site), label, pending.keep, kept)
    plans = [
        Plan(r.name, r.alarm, r.after_s, r.output, r.action, r.per_day, tuple(r.unless), r.undo)
        for r in site.reactions.values()
        if not needs_consent(site.outputs[r.output])
    ]
    reactions = Reactions(plans, label, pending.keep, kept, modes.held)
    switches = [
        _switch(site, setting, drivers[name], _rest(setting, reactions, kept, crashed=crashed))
        for name, setting in site.outputs.items()
    ]
    moments = {name: moment for name, o in site.outputs.items() if o.exercise and (moment := parse(o.exercise))}
    exercises = Exercises(moments, site.tz, label, pending.keep, kept)
    wants = [reactions.wish, exercises.wish]
    outputs = Switches(switches, wants, label, pending.keep, kept)
    return Deeds(reactions, outputs, modes, pending, label, exercises, partial(_matters, site))


def needs_consent(output: Output) -> bool:
    """A valve that nobody has agreed to: no reaction ever drives it. `linli check` refuses such a file already."""
    return output.kind == "valve" and not output.approved_by


def _rest(setting: Output, reactions: Reactions, kept: Mapping[str, object], *, crashed: bool) -> bool:
    """What it is when nobody wants anything. "keep" is how it was driven last, unless that had a reason of its own."""
    state = SAFE[setting.at_crash if crashed else setting.at_start]
    if state != "keep":
        return state == "on"
    exercised = msgspec.convert(kept.get(EXERCISE + setting.name, {}), Exercised).running
    explained = reactions.wish(setting.name) or kept.get(HAND + setting.name) or exercised
    return kept.get(f"output:{setting.name}") is True and not explained


def _matters(site: Site, alarm: str, output: str) -> bool:
    """An urgent alarm, one that drives this output, one of its own."""
    found = site.alarms.get(alarm)
    drives = any(r.alarm == alarm and r.output == output for r in site.reactions.values())
    return bool(found and found.severity == "urgent") or drives or alarm in (output_alarm(output), flow_alarm(output))


def _switch(site: Site, setting: Output, driver: Driver, rest: bool) -> Switch:
    way = Way(
        setting.name, setting.kind, setting.travel_s, setting.line == "fire", frozenset(setting.interlock)
    )  # fmt: skip
    remaining = Remaining(setting.flow, setting.flow_above, setting.flow_s) if setting.flow else None
    return Switch(way, driver, rest, _proof(site, setting), remaining)


def _proof(site: Site, setting: Output) -> Proof | None:
    """A polled contact may be two polls late."""
    if not setting.proof:
        return None
    sensor = site.sensors.get(setting.proof)
    source = (sensor.point if sensor else setting.proof).partition(":")[0]
    device = site.devices.get(source)
    late_s = 2 * (device.poll_s or model_of(device).poll_s) if device else 0.0
    return Proof(setting.proof, setting.travel_s + late_s, setting.proof if sensor else None)


def _looks_at(site: Site) -> dict[str, tuple[str, ...]]:
    """{alarm: what it speaks of}"""
    reads = {name: (name, *machine.reads) for name, machine in site.machines.items()}
    found = {
        name: tuple(what for c in alarm.any for what in reads.get(c.sensor if c.model else "", (c.sensor,)))
        for name, alarm in site.alarms.items()
    }
    return found | {name: (name.partition(":")[2],) for name in own_alarms(site)}
