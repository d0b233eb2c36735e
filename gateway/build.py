"""Settings to parts: the only place that picks real hardware."""

import asyncio
import os
import platform
import random
import sqlite3
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from drivers.contacts import Contact
from drivers.modbus_unit import Unit
from drivers.outputs import Output
from drivers.pins import NO_PINS, DigitalIn, Pins, open_pins
from drivers.pulses import PulseMeter
from drivers.reading import GOOD, Fact, Reading
from drivers.serial_line import SerialLine
from gateway import build_alarms, build_deeds, build_lines, build_models, health
from gateway.alarms import Came
from gateway.box import Box, Parts
from gateway.button import HOLD_S, Button
from gateway.city_desk import CityDesk
from gateway.clock import SystemClock, Wall, boot_id
from gateway.commands import Commands, Delivery
from gateway.config import Bus, Sensor, Site
from gateway.contract import Json, Topics
from gateway.deeds import Deeds
from gateway.facilities import Facilities
from gateway.forecast import forecast_of
from gateway.hall_clock import HallClock
from gateway.home import ABOUT, OWNER, Home, OtherCentre
from gateway.local import Local
from gateway.meters import Totals, UnitPin
from gateway.night_water import NightWater
from gateway.own_alarms import cares, facilities, own_alarms, source_alarm
from gateway.pending import Pending
from gateway.pipeline import Pipeline
from gateway.queue_plan import plan_of
from gateway.queues import Queues
from gateway.reader import Reader
from gateway.report_facts import names
from gateway.sensors import Role
from gateway.signing import PublicKey, parse_public_key
from gateway.site_devices import model_of
from gateway.storage import Storage, StorageThread
from gateway.store import Store, StoreStalled
from gateway.taken_up import readable
from gateway.tickets import Tickets, business_day
from gateway.upkeep import Upkeep
from gateway.uplink import Identity, Link, Uplink, UplinkThread

PINS_SOCKET = "pins.sock"
GPIO = "gpio"


class Ground(NamedTuple):
    """What a gateway stands on: the machine's own, or what a simulation puts in its place."""

    clock: SystemClock
    boot_id: str
    dice: random.Random
    pins: Pins
    line: Callable[[Bus], SerialLine]
    storage: Callable[..., Storage] = StorageThread
    uplink: Callable[..., Uplink] = UplinkThread
    figures: Callable[[Path], Json] = health.figures
    vfs: str = ""  # the file layer under the database; see schema.connect


def ground_of(site: Site, links: Path | None) -> Ground:
    """This machine. links: the simulator's folder instead of real ports and pins. Raises DriverError."""
    clock = SystemClock(site.clock.trust)
    # A box without wires on its header needs no GPIO library, and may be any machine.
    pins = open_pins(links / PINS_SOCKET if links else None, clock.mono_s) if links or _has_pins(site) else NO_PINS

    def line(bus: Bus) -> SerialLine:
        return build_lines.serial_line(bus, links, clock.mono_s)

    return Ground(clock, boot_id(), random.SystemRandom(), pins, line)


def build_on(
    ground: Ground, site: Site, home: Home, broker: str | None, loop: asyncio.AbstractEventLoop,
    missed: Mapping[str, Came] | None = None, done: Mapping[str, object] | None = None,
) -> Box:  # fmt: skip
    """broker: instead of the site file's. missed: what came before, while there was no disk (gateway/diskless.py).

    done: what the box did meanwhile, by the keys under which it is kept.
    Raises SchemaError, StoreStalled, DriverError, OtherCentre.
    """
    clock, pins = ground.clock, ground.pins
    wall = Wall(clock, site.cfg)
    wall.look()
    store = Store(
        home.database, wall, ground.dice, budget_mb=site.store.budget_mb, confirmed_days=site.store.confirmed_days,
        event_days=site.store.event_days, raw_days=site.store.raw_days, minute_days=site.store.minute_days,
        polled=any(not _numbered(site, sensor) for sensor in site.sensors.values()), vfs=ground.vfs,
    )  # fmt: skip
    try:
        store.open(ground.boot_id, missed=missed is not None)
    except (sqlite3.OperationalError, OSError) as error:
        raise StoreStalled(f"{home.database}: cannot be opened: {error}") from error
    kept = readable(store.kept())
    pending = Pending(wall.label, site.store.node_commit_ms / 1000, site.store.commit_every_s)
    pending.kept.update(kept)
    for key, value in (done or {}).items():  # newer than what the disk has
        pending.keep(key, value)
    kept = dict(pending.kept)
    _claim(site, store, pending)
    devices = build_lines.units(site)
    outputs = _outputs(site, pins, devices, kept)
    deeds = build_deeds.deeds(site, outputs, pending, kept, wall.label, crashed=store.unclean)
    plan = plan_of(site)
    queues = Queues(
        plan, HallClock(wall.label, site.tz, kept, pending.keep), forecast_of(bool(plan.queues), kept, pending.keep),
        site.store.ratings_days, kept, pending.keep, clock.mono_s(),
    )  # fmt: skip
    pipeline = _pipeline(site, deeds, kept, pending, clock, wall, store, queues)
    pipeline.carry(missed or {}, clock.mono_s())
    topics = Topics(site.uplink.root, site.gateway)
    parts = Parts(wall, clock.mono_s, pipeline, pending, store, topics, _meta(site), _versions())
    parts.queues = queues
    box = Box(parts, loop)
    totals = Totals(build_lines.counters(devices), kept, pending.keep)
    own_sources = {*site.buses, *site.devices}
    parts.upkeep = Upkeep(
        cares(site), lambda source: source in own_sources and pipeline.stands(source_alarm(source)), kept, pending.keep,
        clock.mono_s(),
    )  # fmt: skip
    parts.facilities = _facilities(site, parts, kept)
    totals_of = [sensor.id for sensor in site.sensors.values() if sensor.kind == "total"]
    parts.night_water = NightWater(totals_of, ZoneInfo(site.tz), kept, pending.keep, parts.tell)
    if kept.get(ABOUT) != (about := names(parts.meta)):
        pending.keep(ABOUT, about)
    pipeline.on_contact = parts.contact

    def polled(facts: list[Fact]) -> None:
        for fact in facts:
            if type(fact) is Reading and fact.quality == GOOD and isinstance(fact.value, bool):
                deeds.see(fact.point, fact.value)
        box.take(totals.take(facts))

    parts.ports = build_lines.ports(site, devices, ground.line, store.marks(), loop, box.take, polled, clock.mono_s)
    contacts = {
        int(sensor.point.partition(":")[2]): sensor for sensor in site.sensors.values() if sensor.source == GPIO
    }
    on_pins = {gpio: (pins.input(gpio), _contact(sensor)) for gpio, sensor in contacts.items()}
    button = Button(
        site.test.button, lambda: deeds.press_test(site.test.lasts_min, clock.mono_s()), box.take
    )  # fmt: skip
    if site.test.button:
        gpio = int(site.test.button.partition(":")[2])
        on_pins[gpio] = pins.input(gpio), Contact(site.test.button, "normally-open", on_s=HOLD_S, off_s=HOLD_S)
    parts.local = Local(
        on_pins, outputs, loop, button.take, clock.mono_s, _meters(site, pins, kept),
        lambda meter: pending.keep(f"pulses:{meter.name}", meter.count),
    )  # fmt: skip
    parts.storage = ground.storage(
        store, clock.mono_s, box.on_stored, box.on_trouble, partial(ground.figures, store.path)
    )
    parts.uplink = _uplink(site, broker, parts, ground, home)
    city = CityDesk(box, parts, site, _commands(site, parts, kept))

    def on_command(delivery: Delivery) -> None:
        loop.call_soon_threadsafe(city.take, delivery)

    parts.uplink.obey(on_command)
    return box


def _commands(site: Site, parts: Parts, kept: Mapping[str, object]) -> Commands:
    """A key that cannot be read does not keep the gateway from its work: what it signed is refused."""
    keys: list[PublicKey] = []
    for path in map(site.file, site.uplink.keys):
        try:
            keys.append(parse_public_key(path.read_text()))
        except (OSError, ValueError) as error:
            parts.uplink.state.say("keys", f"uplink.keys: {path}: {error}; what is signed by it is refused")
    return Commands(parts.topics.source, site.uplink.obey, keys, parts.wall.label, kept, parts.pending.keep)


def _facilities(site: Site, parts: Parts, kept: Mapping[str, object]) -> Facilities:
    pipeline, pending, known, zone = parts.pipeline, parts.pending, own_alarms(site), ZoneInfo(site.tz)

    def silent(sensor: str) -> bool:
        alarms = (f"silent:{sensor}", source_alarm(site.sensors[sensor].source))
        return any(alarm in known and pipeline.stands(alarm) for alarm in alarms)

    return Facilities(
        facilities(site), kept, pending.keep, parts.tell, silent, lambda: pipeline.deeds.modes.is_test,
        lambda wall_s: datetime.fromtimestamp(wall_s, zone).date().isoformat(), parts.mono_s(),
    )  # fmt: skip


def _claim(site: Site, store: Store, pending: Pending) -> None:
    """What one centre's box has stored must never reach the city under another's name. Raises OtherCentre."""
    owner = pending.kept.get(OWNER)
    if owner == site.id:
        return
    if owner is not None:
        store.close()
        raise OtherCentre(
            f"{store.path}: found the data of {owner}, expected those of {site.id}; see that box, site.id and --state "
            "belong together, or move that file away: what the city has not got yet is in it"
        )
    pending.keep(OWNER, site.id)


def _has_pins(site: Site) -> bool:
    outputs = any(output.to.startswith(f"{GPIO}:") for output in site.outputs.values())
    return (
        outputs
        or bool(site.pulses)
        or bool(site.test.button)
        or any(sensor.source == GPIO for sensor in site.sensors.values())
    )


def _numbered(site: Site, sensor: Sensor) -> bool:
    return sensor.source != GPIO and sensor.source not in site.devices and sensor.source not in site.pulses


def _outputs(site: Site, pins: Pins, devices: dict[str, Unit], kept: dict[str, object]) -> dict[str, Output]:
    """Not driven yet: what each shall be is for gateway/switches.py."""
    found: dict[str, Output] = {}
    for name, setting in site.outputs.items():
        source, _, point = setting.to.partition(":")
        pin = (
            pins.output(int(point), setting.active)
            if source == GPIO
            else UnitPin(devices[source], devices[source].device.point[point], setting.active == "low")
        )
        last = kept.get(f"output:{name}") is True
        found[name] = Output(name, pin, at_stop=build_deeds.SAFE[setting.at_stop], last=last)
    return found


def _pipeline(
    site: Site, deeds: Deeds, kept: dict[str, object], pending: Pending, clock: SystemClock, wall: Wall,
    store: Store, queues: Queues,
) -> Pipeline:  # fmt: skip
    sensors = site.sensors.values()
    now_s = clock.mono_s()
    alarms = build_alarms.alarms(site, kept, now_s)
    roles = [
        Role(
            s.id, s.point, s.kind, s.report.every_s, s.report.deadband, s.valid, _numbered(site, s),
            tuple(s.report.stats),
        )
        for s in sensors
    ]  # fmt: skip
    detectors = build_models.detectors(site, alarms, store, wall.label(), kept, pending)
    tickets = Tickets(build_lines.places(site), business_day(wall.label, site.tz), kept, pending.keep)
    pipeline = Pipeline(
        roles, alarms, deeds, detectors, pending, clock.mono_s, wall.label, kept, tickets.named,
        build_alarms.faults(site), build_alarms.buttons(site), queues.heard,
    )  # fmt: skip
    levels = {key.removeprefix("level:"): value for key, value in kept.items() if key.startswith("level:")}
    pipeline.restore({sensor: level for sensor, level in levels.items() if isinstance(level, bool | str)}, now_s)
    return pipeline


def _meters(site: Site, pins: Pins, kept: dict[str, object]) -> dict[int, tuple[DigitalIn, PulseMeter]]:
    """Their counts go on from what was committed last: pulses of the last commit interval are the loss bound."""
    found = {}
    for name, pulse in site.pulses.items():
        gpio, count = int(pulse.pin.partition(":")[2]), kept.get(f"pulses:{name}")
        meter = PulseMeter(
            name, pulse.litres, pulse.debounce_ms / 1000, pulse.start_m3, count if isinstance(count, int) else 0
        )
        found[gpio] = (pins.input(gpio), meter)
    return found


def _contact(sensor: Sensor) -> Contact:
    """The alarm latches, not the reading: a reading says what is."""
    return Contact(sensor.point, sensor.wiring, on_s=sensor.on_s, off_s=sensor.off_s)


def _uplink(site: Site, broker: str | None, parts: Parts, ground: Ground, home: Home) -> Uplink:
    setting, tls = site.uplink, site.tls
    url = setting.broker if broker is None else broker
    link = Link(
        url, site.gateway, parts.topics, setting.mqtt, setting.confirm, setting.window,
        setting.keepalive_s, setting.gzip, setting.resend_s, obey=tuple(setting.obey),
        ca=str(site.file(tls.ca)) if tls else None,
        cert=str(site.file(tls.cert)) if tls and tls.cert else None,
        key=str(site.file(tls.key)) if tls and tls.key else None,
    )  # fmt: skip
    identity = Identity(parts.store.starts, parts.wall.boot, site.cfg, parts.versions)

    def open_reader() -> Reader:
        return Reader(home.database, ground.vfs)

    return ground.uplink(link, identity, open_reader, parts.mono_s, ground.dice, parts.storage.put)


@cache
def _versions() -> Json:
    return {
        "linli": version("linli"), "python": platform.python_version(), "sqlite": sqlite3.sqlite_version,
        "machine": os.uname().machine,
    }  # fmt: skip


def _meta(site: Site) -> Json:
    """The dictionary: what every name in the packs means."""
    sensors: Json = {
        s.id: {"name": s.name, "kind": s.kind, "unit": s.unit, "point": s.point, "every_s": s.report.every_s,
               "stats": s.report.stats,
               "valid": s.valid, "test_days": s.test_days}
        for s in site.sensors.values()
    }  # fmt: skip
    alarms: Json = {
        a.name: {"name": a.title, "severity": a.severity, "conditions": [c.text for c in a.any], "clear": a.clear}
        for a in site.alarms.values()
    }
    alarms |= {
        name: {"name": title, "severity": "high", "conditions": [condition], "clear": "any"}
        for name, (title, condition) in own_alarms(site).items()
    }
    queues: Json = {
        q.name: {"name": q.title, "within_min": q.within_min, "share": q.share}
        | ({"sources": q.sources} if q.sources else {})
        for q in site.queues.values()
    }
    devices: Json = {
        d.name: {"bus": d.bus, "address": d.address, "model": d.model, "serial": d.serial,
                 "poll_s": d.poll_s or model_of(d).poll_s}
        for d in site.devices.values()
    }  # fmt: skip
    more: Json = {"devices": devices} if devices else {}
    more |= {"open": site.open} if site.open else {}
    more |= {"obey": site.uplink.obey} if site.uplink.obey else {}
    more |= {"facilities": _facility_words(site)} if site.facilities else {}
    if site.machines:
        more["machines"] = {
            m.name: {"name": m.title, "sensors": dict(m.measured()), "every_s": m.every_s}
            for m in site.machines.values()
        }
    return more | {
        "cfg": site.cfg, "site": site.id, "gateway": site.gateway, "name": site.name, "region": site.region,
        "tz": site.tz, "lang": site.lang, "sensors": sensors, "alarms": alarms,
        "outputs": {o.name: {"kind": o.kind, "travel_s": o.travel_s} for o in site.outputs.values()},
        "queues": queues,
        "services": {
            s.name: {"name": s.title, "queue": s.queue}
            | ({"priority": s.priority} if s.priority else {})
            | ({"appointments": s.appointments} if s.appointments else {})
            for s in site.services.values()
        },
        "windows": {
            w.name: {"name": w.title, "services": w.services} | ({"accessible": True} if w.accessible else {})
            for w in site.windows.values()
        },
    }  # fmt: skip


def _facility_words(site: Site) -> Json:
    return {
        f.name: {"name": f.title, "duty": f.duty, "repair_hours": f.repair_hours, "test_days": f.test_days,
                 "sensors": [s.id for s in site.sensors.values() if s.facility == f.name]}
        for f in site.facilities.values()
    }  # fmt: skip
