"""What the doctor thinks of a box that runs: the gateway's own answers, judged. Opens nothing itself."""

import math
from collections.abc import Callable, Iterator

import msgspec

from drivers.kinds import KINDS, is_active
from gateway.config import Bus, Sensor, Site
from gateway.contract import Json, Topics
from gateway.control import NotRunning
from gateway.doctor_finding import FAIL, OK, WARN, BusFacts, Finding, fault, found
from gateway.doctor_modbus import judge_line, judge_units
from gateway.words import Words

PROBE_WAIT_S = 10.0
FREE_MIN_MIB = 100.0
ALARMS_MANY = 10  # more on one line nobody reads
BEHIND_MANY = 1000
_STALE_S = 600.0  # a sensor that the site file sets no silent_s for
_BAD_FEW = 10  # frames: a line that is plugged in breaks the first ones

Ask = Callable[[Json, float], Json]
"""(request, timeout_s) -> answer. Raises NotRunning, ValueError with the gateway's own words."""


class Latest(msgspec.Struct):
    value: float | bool | str
    age_s: float | None


class Disk(msgspec.Struct):
    db_mib: float
    free_mib: float


class Up(msgspec.Struct):
    connected: bool
    connections: int
    acked: dict[str, int]


class Trouble(msgspec.Struct):
    disk: str
    uplink: str


class Status(msgspec.Struct):
    """What {"ask": "status"} answers (gateway/desk.py), as far as the doctor reads it."""

    gateway: str
    cfg: str
    epoch: str
    uptime_s: float
    clock: str
    err_s: float | None
    disk: Disk
    heads: dict[str, int]
    uplink: Up
    trouble: Trouble
    ports: dict[str, BusFacts]
    model: str
    values: dict[str, Latest]
    alarms: dict[str, str]


def running(site: Site, ask: Ask, say: Words) -> Iterator[Finding]:
    """All lines of a box whose gateway answers; the probe last, because it may take its 10 s. Raises NotRunning."""
    try:
        status = msgspec.convert(ask({"ask": "status"}, 10.0), Status)
    except (msgspec.ValidationError, ValueError) as error:
        yield found(say, say("name.gateway"), FAIL, "gateway.words", why=error)
        return
    yield _gateway(site, status, say)
    for bus in site.buses.values():
        facts = status.ports.get(bus.name)
        if bus.kind == "modbus" and facts is not None:
            yield judge_line(bus, facts, say)
            yield from judge_units([d for d in site.devices.values() if d.bus == bus.name], facts, say)
        else:
            yield (judge_overheard if bus.is_overheard else judge_bus)(bus, facts, say)
    for sensor in site.sensors.values():
        yield judge_sensor(sensor, status.values.get(sensor.id), say)
    if site.detectors:
        yield _model(site, status.model, say)
    yield judge_clock(status.clock, status.err_s, say)
    yield _disk(site, status, say)
    yield _alarms(status.alarms, say)
    yield _uplink(status, say)
    yield _probe(site, status.uplink.connected, ask, say)


def _gateway(site: Site, status: Status, say: Words) -> Finding:
    name = say("name.gateway")
    if status.gateway != site.gateway:
        return found(say, name, FAIL, "gateway.other", found=status.gateway, expected=site.gateway)
    if status.cfg != site.cfg:
        return found(say, name, WARN, "gateway.old", found=status.cfg, expected=site.cfg)
    uptime = say.span(status.uptime_s)
    return found(say, name, OK, "gateway.runs", gateway=status.gateway, uptime=uptime, epoch=status.epoch)


def judge_bus(bus: Bus, facts: BusFacts | None, say: Words) -> Finding:
    if facts is None:
        return found(say, bus.name, FAIL, "bus.unknown")
    if facts.error:
        return fault(say, bus.name, facts.error)
    if not facts.open:
        return found(say, bus.name, FAIL, "bus.closed")
    if not facts.hello:
        return no_hello(bus.name, facts.good, facts.bad, say)
    if facts.silent_s > bus.patience_s:
        silent, allowed = say.span(facts.silent_s), say.span(bus.patience_s)
        return found(say, bus.name, FAIL, "bus.silent", silent=silent, allowed=allowed)
    if facts.refused:
        return found(say, bus.name, FAIL, "bus.refused", why=facts.refused)
    if facts.bad > _BAD_FEW and facts.bad * 100 > facts.good:
        return found(say, bus.name, WARN, "bus.noisy", good=facts.good, bad=facts.bad)
    silent = say.span(facts.silent_s)
    return found(say, bus.name, OK, "bus.well", boot=facts.boot, good=facts.good, bad=facts.bad, silent=silent)


def judge_overheard(bus: Bus, facts: BusFacts | None, say: Words) -> Finding:
    """Silence is no fault of a line that is only listened to; that nothing was understood yet wants a try."""
    if facts is None:
        return found(say, bus.name, FAIL, "bus.unknown")
    if facts.error:
        return fault(say, bus.name, facts.error)
    if not facts.open:
        return found(say, bus.name, FAIL, "bus.closed")
    silent = say.span(facts.silent_s)
    if facts.silent_s > bus.patience_s:
        return found(say, bus.name, FAIL, "bus.silent", silent=silent, allowed=say.span(bus.patience_s))
    if facts.hello:
        return found(say, bus.name, OK, f"heard.{bus.kind}", good=facts.good, silent=silent)
    others = facts.beat.get("others", 0) + facts.bad
    return found(say, bus.name, WARN, f"heard.{bus.kind}.{'other' if others else 'none'}", others=others)


def no_hello(bus: str, good: int, bad: int, say: Words) -> Finding:
    """The port is open and its device has not said who it is: what came instead tells why."""
    key = "bus.nohello" if good else "bus.noise" if bad else "bus.mute"
    return found(say, bus, FAIL, key, good=good, bad=bad)


def judge_sensor(sensor: Sensor, latest: Latest | None, say: Words) -> Finding:
    """A sensor without a reading is never fine; nor is one whose value is only remembered from before the start."""
    if latest is None or latest.age_s is None or not math.isfinite(latest.age_s):
        return found(say, sensor.id, FAIL, "sensor.none", point=sensor.point)
    value, age = say.value(sensor.kind, latest.value), say.span(latest.age_s)
    allowed_s = sensor.silent_s or max(_STALE_S, 3 * sensor.report.every_s)
    if latest.age_s > allowed_s:
        return found(say, sensor.id, FAIL, "sensor.old", value=value, age=age, point=sensor.point)
    if odd := judge_value(sensor, latest.value, say):
        return odd
    return found(say, sensor.id, OK, "sensor.well", value=value, age=age)


def judge_value(sensor: Sensor, value: float | bool | str, say: Words) -> Finding | None:
    """What a value alone tells, None when it is as it mostly is."""
    shown = say.value(sensor.kind, value)
    if value in ("cut", "short"):
        return found(say, sensor.id, FAIL, "sensor.fault", value=shown, point=sensor.point)
    kind = KINDS[sensor.kind]
    if kind.is_contact:  # an open door is nothing to look into
        odd = is_active(value) and sensor.kind != "door"
        return found(say, sensor.id, WARN, "sensor.active", value=shown, point=sensor.point) if odd else None
    if sensor.valid and isinstance(value, float) and not sensor.valid[0] <= value <= sensor.valid[1]:
        low, high = (say.value(sensor.kind, limit) for limit in sensor.valid)
        return found(say, sensor.id, WARN, "sensor.range", value=shown, low=low, high=high)
    return None


def _model(site: Site, why: str, say: Words) -> Finding:
    if why:
        return found(say, say("name.model"), FAIL, "model.fault", why=why)
    sensors = ", ".join(model.sensor for model in site.detectors.values())
    return found(say, say("name.model"), OK, "model.well", sensors=sensors)


def judge_clock(clock: str, err_s: float | None, say: Words) -> Finding:
    """clock: "ntp", "rtc" or "unsure", as the packs say it."""
    err = "?" if err_s is None else say.span(err_s)
    return found(say, say("name.clock"), WARN if clock == "unsure" else OK, f"clock.{clock}", err=err)


def _disk(site: Site, status: Status, say: Words) -> Finding:
    if status.trouble.disk:
        return fault(say, say("name.disk"), status.trouble.disk)
    return judge_disk(status.disk.free_mib, status.disk.db_mib, site.store.budget_mb, say)


def judge_disk(free_mib: float, db_mib: float, budget_mb: float, say: Words) -> Finding:
    name, free, database = say("name.disk"), say.size(free_mib * 2**20), say.size(db_mib * 2**20)
    if free_mib < FREE_MIN_MIB:
        return found(say, name, FAIL, "disk.full", free=free)
    short_b = budget_mb * 1e6 - (db_mib + free_mib) * 2**20
    if short_b > 0:
        return found(say, name, WARN, "disk.tight", free=free, short=say.size(short_b))
    return found(say, name, OK, "disk.well", free=free, db=database)


def _alarms(standing: dict[str, str], say: Words) -> Finding:
    name = say("name.alarms")
    if not standing:
        return found(say, name, OK, "alarms.none")
    each = [say("alarm.is", name=alarm, state=say(f"alarm.state.{state}")) for alarm, state in standing.items()]
    shown = each[:ALARMS_MANY] + ([say("alarms.more", count=len(each))] if len(each) > ALARMS_MANY else [])
    return found(say, name, WARN, "alarms.stand", alarms=", ".join(shown))


def _uplink(status: Status, say: Words) -> Finding:
    name, up = say("name.uplink"), status.uplink
    if status.trouble.uplink:
        return fault(say, name, status.trouble.uplink, WARN if up.connected else FAIL)
    if not up.connected:
        return found(say, name, FAIL, "uplink.down")
    behind = sum(max(0, head - up.acked.get(stream, 0)) for stream, head in status.heads.items())
    if behind > BEHIND_MANY:
        return found(say, name, WARN, "uplink.behind", behind=behind)
    return found(say, name, OK, "uplink.well", connections=up.connections, behind=behind)


def _probe(site: Site, connected: bool, ask: Ask, say: Words) -> Finding:
    """A record of the box's own, all the way to the ledger and back."""
    name = say("name.probe")
    if not connected:
        return found(say, name, FAIL, "probe.unsent")
    try:
        answer = ask({"ask": "probe", "wait_s": PROBE_WAIT_S}, 2 * PROBE_WAIT_S + 5)
    except ValueError as error:
        return found(say, name, FAIL, "gateway.refused", why=error)
    except NotRunning:
        return found(say, name, FAIL, "gateway.gone")
    n = answer.get("n")
    if not answer.get("stored"):
        return found(say, name, FAIL, "probe.unstored")
    if not answer.get("acked"):
        topic = Topics(site.uplink.root, site.gateway).up("health")
        return found(say, name, FAIL, "probe.lost", n=n, topic=topic)
    took_s = answer.get("took_s")
    ms = round(took_s * 1000) if isinstance(took_s, float | int) else "?"
    return found(say, name, OK, "probe.held" if site.uplink.confirm == "city" else "probe.broker", n=n, ms=ms)
