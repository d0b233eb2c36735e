"""The alarms of a site: its own and those every site has, with what an earlier run kept of them."""

import msgspec

from gateway.alarms import Alarms, ChatterLimit, Kept, Rule, Run, Runs
from gateway.config import Alarm, Site
from gateway.own_alarms import fault_words, own_alarms
from gateway.sensor_faults import SensorFaults

ESCALATE_MIN = {"urgent": (3.0, 15.0), "high": (60.0,), "low": ()}
_FAULT_ON_S, _FAULT_OFF_S = 2.0, 10.0


def alarms(site: Site, kept: dict[str, object], now_s: float) -> Alarms:
    rules = [_rule(site, alarm) for alarm in site.alarms.values()]
    for name, (title, _) in own_alarms(site).items():
        on_s, off_s = (_FAULT_ON_S, _FAULT_OFF_S) if name.startswith("fault:") else (0.0, 0.0)
        rules.append(Rule(name, title, "high", (), on_s, off_s, escalate_s=_escalate_s("high", None)))
    states = {rule.name: msgspec.convert(kept.get(f"alarm:{rule.name}", {}), Kept) for rule in rules}
    silent_s = {sensor.id: sensor.silent_s for sensor in site.sensors.values() if sensor.silent_s is not None}
    runs = {key.partition(":")[2]: msgspec.convert(run, Run) for key, run in kept.items() if key.startswith("run:")}
    return Alarms(rules, states, silent_s, now_s, Runs(runs))


def faults(site: Site) -> SensorFaults:
    """A setting that was changed explains the bad values that rest on it."""
    return SensorFaults(fault_words(site), {s.id: f"settings:{s.source}" for s in site.sensors.values()})


def buttons(site: Site) -> dict[str, list[str]]:
    """{sensor: the alarms it acknowledges}."""
    found: dict[str, list[str]] = {}
    for alarm in site.alarms.values():
        if alarm.button:
            found.setdefault(alarm.button, []).append(alarm.name)
    return found


def _rule(site: Site, alarm: Alarm) -> Rule:
    latching = any(s.latch for c in alarm.any if (s := site.sensors.get(c.sensor)))
    limit = alarm.chatter
    return Rule(
        alarm.name, alarm.title, alarm.severity, tuple(alarm.any), alarm.on_s, alarm.off_s, alarm.latch or latching,
        _escalate_s(alarm.severity, alarm.escalate_min),
        ChatterLimit(limit.times, limit.within_s, limit.calm_s, limit.hold_s),
        alarm.shelve_h * 3600, tuple(alarm.ack), alarm.clear == "on-site", alarm.group,
    )  # fmt: skip


def _escalate_s(severity: str, written_min: list[float] | None) -> tuple[float, ...]:
    return tuple(60 * step_min for step_min in (ESCALATE_MIN[severity] if written_min is None else written_min))
