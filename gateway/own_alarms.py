"""The alarms every site has without naming them; none of a site file can be called so, for their names hold a colon."""

from drivers.kinds import KINDS
from gateway.alarm_runs import FLOOD_ALARM
from gateway.conditions import LOOP_WORDS, SILENT
from gateway.config import Site
from gateway.facilities import Facility
from gateway.queue_plan import kiosks_of
from gateway.queue_watch import queue_alarm, quiet_kiosk, quiet_window
from gateway.site_devices import model_of
from gateway.switches import flow_alarm, output_alarm
from gateway.upkeep import Care


def source_alarm(source: str) -> str:
    """A line, or a unit on it, is silent."""
    return f"source:{source}"


def cares(site: Site) -> list[Care]:
    """What sensors are watched for. One that a condition calls silent has its alarm in the site file."""
    named = {c.sensor for alarm in site.alarms.values() for c in alarm.any if c.word == SILENT}
    return [
        Care(
            s.id, s.source, KINDS[s.kind].is_contact, s.stuck_s, None if s.id in named else s.silent_s, s.test_days
        )
        for s in site.sensors.values()
    ]  # fmt: skip


def facilities(site: Site) -> list[Facility]:
    """What the facility log is kept of, with the sensors that tell of each."""
    return [
        Facility(
            f.name, f.repair_hours * 3600, f.test_days, f.after_s,
            {s.id: s.kind for s in site.sensors.values() if s.facility == f.name}, tuple(f.alarms),
        )
        for f in site.facilities.values()
    ]  # fmt: skip


def fault_words(site: Site) -> dict[str, frozenset[str]]:
    """{sensor: what can be wrong with it, without what a condition of the site file names}."""
    named = {(c.sensor, c.word) for alarm in site.alarms.values() for c in alarm.any}
    found = {}
    for s in site.sensors.values():
        words = {word for word in LOOP_WORDS if s.family == "loop" and (s.id, word) not in named}
        words |= {"range"} if s.valid else set()
        words |= {"fault"} if s.source in site.devices and s.kind != "status" else set()
        if words:
            found[s.id] = frozenset(words)
    return found


def own_alarms(site: Site) -> dict[str, tuple[str, str]]:
    """{alarm: (title, condition)}. Every one is of severity high."""
    found = {source_alarm(name): (f"{name} 无声 silent", "silent") for name in (*site.buses, *site.devices)}
    for name, device in site.devices.items():
        if model_of(device).setting:
            found[f"settings:{name}"] = (f"{name} 设置被改 settings changed", "settings")
    for name, output in site.outputs.items():
        found[output_alarm(name)] = (f"{name} 动作异常 did not do what it was told", "output")
        if output.flow:
            found[flow_alarm(name)] = (f"{name} 关而仍有水流 closed, and water flows on", "flow")
    for sensor, words in fault_words(site).items():
        found[f"fault:{sensor}"] = (f"{site.sensors[sensor].name} 故障 fault", ", ".join(sorted(words)))
    for care in cares(site):
        name = site.sensors[care.sensor].name
        if care.stuck_s is not None:
            found[f"stuck:{care.sensor}"] = (f"{name} 卡住 stuck", "stuck")
        if care.silent_s is not None:
            found[f"silent:{care.sensor}"] = (f"{name} 无声 silent", "silent")
        if care.test_days:
            found[f"untested:{care.sensor}"] = (f"{name} 逾期未测试 not tested", "untested")
    for facility in site.facilities.values():
        found[f"repair-overdue:{facility.name}"] = (f"{facility.title} 逾期未修复 repair overdue", "repair-overdue")
        found[f"test-overdue:{facility.name}"] = (f"{facility.title} 逾期未测试 test overdue", "test-overdue")
    found[FLOOD_ALARM] = ("报警泛滥 alarm flood", "flood")
    found |= _queue_alarms(site)
    return found


def _queue_alarms(site: Site) -> dict[str, tuple[str, str]]:
    found = {}
    for name, queue in site.queues.items():
        promise = f"{100 * queue.share:g} % within {queue.within_min:g} min"
        found[queue_alarm(name)] = (f"{queue.title or name} 等候将超时 wait promise in danger", promise)
    for name, window in site.windows.items():
        found[quiet_window(name)] = (f"{window.title or name} 无动静 window quiet", "quiet")
    for name in kiosks_of(site) if site.queues else ():
        found[quiet_kiosk(name)] = (f"{name} 久未取号 kiosk quiet", "quiet")
    return found
