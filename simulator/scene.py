"""What the demo shows at a moment, what has happened since the last one, and how machines are told (`--plain`).

Every word a person sees stands in Chinese and English. What nobody knows is shown as unknown, never as the last value.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from gateway.config import Site
from gateway.contract import STREAMS, Json
from simulator.faults import Change, Schedule
from simulator.scenario import Deed, Scenario

STATUS_EVERY_S = 2.0
LPM_PER_M3S = 60_000.0
UNKNOWN = "未知 unknown"

_DEEDS = {
    "leak": ("地下室水管漏水 {d.ml_s:g} 毫升/秒", "a pipe in the basement leaks {d.ml_s:g} mL/s"),
    "repair": ("水管修好了", "the pipe is repaired"),
    "pull": ("有人拉下求助拉绳", "somebody pulls an assistance cord"),
    "reset": ("工作人员到场复位拉绳", "staff come and reset the cord"),
    "open": ("门打开", "a door opens"),
    "close": ("门关上", "a door closes"),
    "set": ("{d.sensor} 变为 {d.value}", "{d.sensor} becomes {d.value}"),
    "rush": ("{d.tickets} 人涌进大厅取号", "{d.tickets} people rush in and draw tickets"),
    "jam": ("打印机卡纸", "the ticket printer jams"),
}
_FAULTS = {
    "cut": ("线路 {on} 被拔掉", "the line {on} is pulled out", "线路 {on} 接回", "the line {on} is plugged in again"),
    "mute": ("线路 {on} 无声", "the line {on} is silent", "线路 {on} 恢复", "the line {on} speaks again"),
    "garble": ("线路 {on} 有干扰", "noise on the line {on}", "线路 {on} 干扰消失", "the line {on} is clean again"),
    "delay": ("线路 {on} 变慢", "the line {on} is slow", "线路 {on} 不再慢", "the line {on} is quick again"),
    "reboot": ("{on} 断电重启", "{on} loses power and reboots", "", ""),
    "dead": (
        "线路 {on} 上的表不应答",
        "the units on {on} say nothing",
        "线路 {on} 上的表恢复",
        "the units on {on} are back",
    ),
    "echo": ("线路 {on} 有回声", "the adapter of {on} hears itself", "线路 {on} 回声消失", "the echo on {on} is over"),
    "twin": (
        "线路 {on} 上地址重复",
        "two units have one address on {on}",
        "地址不再重复",
        "the addresses differ again",
    ),
    "swapped": ("线路 {on} 的 A、B 接反", "A and B of {on} are swapped", "A、B 已改正", "A and B are right again"),
    "slow": (
        "线路 {on} 上的表应答太慢",
        "the units on {on} answer late",
        "线路 {on} 应答正常",
        "they answer in time again",
    ),
    "away": ("引脚失联", "the pins are away", "引脚恢复", "the pins are back"),
    "stop": ("消息服务器停机", "the broker goes away", "消息服务器恢复", "the broker is back"),
    "kill": ("{on} 被强行终止", "{on} is killed", "{on} 重新启动", "{on} starts again"),
}
_STATES = {
    "normal": "正常", "unacknowledged": "未确认", "acknowledged": "已确认",
    "returned-unacknowledged": "已恢复未确认", "latched": "已锁定", "shelved": "已搁置",
}  # fmt: skip
_OUTPUTS = {True: {"valve": "已关闭 closed"}, False: {"valve": "打开 open"}}
_ENDED = ("called", "served", "no_show", "cancelled")


class Happening(NamedTuple):
    s: float
    kind: str
    zh: str
    en: str


class Scene(NamedTuple):
    """One moment. s: since the simulated day began, None before. status, packs, tickets: None when not known.

    packs: held by the city, by stream. tickets: waiting, as the city's ledger has it; city_age_s: how old that is.
    page_url: of the page in the centre, "" while it is not there.
    """

    s: float | None
    ends_s: float
    now: tuple[str, str]
    broker_up: bool
    status: Json | None
    packs: dict[str, int] | None
    tickets: int | None
    city_age_s: float | None
    happened: list[Happening]
    page_url: str = ""


def state_words(state: str) -> str:
    return f"{_STATES.get(state, state)} {state}"


def output_words(kind: str, on: bool) -> str:
    return _OUTPUTS[on].get(kind, "开 on" if on else "关 off")


class Story:
    """What the scenario lets happen, told when its time has come."""

    def __init__(self, scenario: Scenario, lines: list[str], seed: int) -> None:
        self._deeds = sorted(scenario.at, key=lambda deed: deed.s)
        self._faults = Schedule(scenario.own_faults, lines, seed)

    def due(self, s: float) -> Iterable[Happening]:
        while self._deeds and self._deeds[0].s <= s:
            yield _deed(self._deeds.pop(0))
        for change in self._faults.due(s):
            yield fault_words(change)


def _deed(deed: Deed) -> Happening:
    zh, en = _DEEDS[deed.do]
    return Happening(deed.s, "scenario", zh.format(d=deed), en.format(d=deed))


def fault_words(change: Change) -> Happening:
    begun_zh, begun_en, over_zh, over_en = _FAULTS[change.fault.do]
    zh, en = (begun_zh, begun_en) if change.begins else (over_zh, over_en)
    return Happening(change.s, "scenario", zh.format(on=change.target), en.format(on=change.target))


class Tickets:
    """Who waits, by the events the city holds."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, record: Json) -> None:
        name = str(record.get("type", "")).removeprefix("linli.ticket.").removesuffix(".v1")
        data = record.get("data")
        if isinstance(data, dict):
            label = str(data.get("value"))
            if name in ("issued", "transferred"):
                self._waiting.add(label)
            elif name in _ENDED:
                self._waiting.discard(label)


class Watcher:
    """Finds in two statuses of the gateway, and in what the city got, what a person would want to be told."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._alarms: dict[str, str] = {}
        self._outputs: dict[str, bool] = {}
        self._connected: bool | None = None

    def gateway(self, s: float, status: Json | None) -> Iterable[Happening]:
        if status is None:
            return
        found: Any = status
        for name, state in {**dict.fromkeys(self._alarms, "normal"), **found["alarms"]}.items():
            if self._alarms.get(name, "normal") != state:
                alarm = self._site.alarms.get(name)
                title = alarm.title if alarm else name  # a silent line has no alarm in the site file
                zh = f"告警 {title}: {_STATES.get(state, state)}"
                yield Happening(s, "alarm", zh, f"alarm {name}: {state}")
        self._alarms = dict(found["alarms"])
        for name, on in found["outputs"].items():
            if on != self._outputs.get(name, False):
                zh, en = output_words(self._site.outputs[name].kind, on).split(" ")
                yield Happening(s, "output", f"输出 {name}: {zh}", f"output {name}: {en}")
        self._outputs = dict(found["outputs"])
        connected = bool(found["uplink"]["connected"])
        if connected != self._connected:
            words = ("已连接平台", "is connected to the city") if connected else ("与平台失联", "has lost the city")
            yield Happening(s, "uplink", f"网关{words[0]}", f"the gateway {words[1]}")
        self._connected = connected

    def city(self, s: float, stream: str, record: Json) -> Iterable[Happening]:
        data = record.get("data")
        if not isinstance(data, dict):
            return
        if stream == "alarms":
            name = str(data.get("alarm_id"))
            state = str(data.get("state"))
            zh = f"平台账本收到告警 {data.get('name')}: {_STATES.get(state, state)}"
            yield Happening(s, "city", zh, f"the city holds alarm {name}: {state}")
        elif record.get("type") == "linli.output.changed.v1":
            what = f"{record.get('subject')} {data.get('value')}"
            yield Happening(s, "city", f"平台账本收到动作 {what}", f"the city holds output {what}")


class Plain:
    """For machines and files: one line a happening, a status line each 2 s, no colour."""

    def __init__(self, site: Site, say: Callable[[str], None]) -> None:
        self._site = site
        self._say = say
        self._status_s = -STATUS_EVERY_S

    def __enter__(self) -> "Plain":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, scene: Scene, fresh: list[Happening]) -> None:
        for happening in fresh:
            self._say(f"{happening.s:6.1f} s  {happening.kind}: {happening.zh} | {happening.en}")
        if scene.s is not None and scene.s - self._status_s >= STATUS_EVERY_S:
            self._status_s = scene.s
            self._say(f"{scene.s:6.1f} s  status {self._facts(scene)}")

    def _facts(self, scene: Scene) -> str:
        status: Any = scene.status
        known = {"broker": "up" if scene.broker_up else "away", "gateway": "unknown"}
        if status is not None:
            known["gateway"] = "connected" if status["uplink"]["connected"] else "alone"
            known["alarms"] = ",".join(f"{name}:{state}" for name, state in status["alarms"].items()) or "none"
            known |= {
                name: output_words(self._site.outputs[name].kind, on).split(" ")[1]
                for name, on in status["outputs"].items()
            }
        known["tickets"] = "unknown" if scene.tickets is None else str(scene.tickets)
        for name, value, age_s in flows(self._site, scene):
            known[name] = "unknown" if value is None else f"{value:.2f}L/min@{age_s:.1f}s"
        for stream, *counts in streams(scene):
            known[f"packs.{stream}"] = "/".join("unknown" if count is None else str(count) for count in counts)
        return " ".join(f"{key}={value}" for key, value in known.items())


def flows(site: Site, scene: Scene) -> list[tuple[str, float | None, float]]:
    """(sensor, litres a minute or None, age in s) of every flow meter of the site."""
    status: Any = scene.status or {"values": {}}
    found: list[tuple[str, float | None, float]] = []
    for sensor in site.sensors.values():
        if sensor.unit == "m3/s":
            latest = status["values"].get(sensor.id)
            value = None if latest is None else float(latest["value"]) * LPM_PER_M3S
            found.append((sensor.id, value, latest["age_s"] if latest else 0.0))
    return found


def streams(scene: Scene) -> list[tuple[str, int | None, int | None, int | None]]:
    """(stream, stored, at the city, waiting to be acknowledged), None for what nobody knows."""
    status: Any = scene.status
    found: list[tuple[str, int | None, int | None, int | None]] = []
    for name in STREAMS:
        stored = status["heads"].get(name, 0) if status else None
        acked = status["uplink"]["acked"].get(name, 0) if status else None
        held = None if scene.packs is None else scene.packs.get(name, 0)
        found.append((name, stored, held, None if stored is None or acked is None else max(0, stored - acked)))
    return found
