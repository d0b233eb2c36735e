"""`linli demo`: a whole centre on this machine for forty seconds, and at the end the ledger's verdict.

Broker, city, gateway and simulator are the real programs, each a process of its own in one folder. The page only looks:
at the gateway's control socket and at the city's file.
"""

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any, NamedTuple

from gateway.clock import SystemClock
from gateway.config import load
from simulator import scenario as scenarios
from simulator.broker import Broker, BrokerError, free_port
from simulator.faults import Change, Schedule
from simulator.processes import Child, Died, Interrupted, Processes, WrongPlace, workplace
from simulator.scene import Happening, Plain, Scene, Story, Tickets, Watcher, fault_words
from simulator.simulate import AUTO
from simulator.stage import SITE, Looker, Stage, Verdict

GOOD, FAILED, WRONG_USE = 0, 1, 2
SECONDS, SECONDS_MIN, SECONDS_MAX = 40.0, 32.0, 86_400.0
LINGER_S = 75.0  # the simulator waits 60 s itself until all it produced is durable
HOLD_S = 30.0  # until the ledger has everything
_FRAME_S = 0.25
_AWAY_S = 9.0  # an outage that was shorter proves nothing
_HAPPENED_MAX = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plain", action="store_true", help="one line a happening, no colour: for machines")
    parser.add_argument("--seconds", type=_seconds, default=SECONDS, metavar="N", help="(default: %(default)g)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this new folder and leave it there")
    parser.add_argument("--seed", type=int, default=1, metavar="K", help="of all chance (default: %(default)s)")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(
            f"found {text}; expected {SECONDS_MIN:g} to {SECONDS_MAX:g}: the story takes {SECONDS_MIN:g} s"
        )
    return seconds


def run(args: argparse.Namespace) -> int:
    """0 when nothing is missing, the alarms are in the ledger and the broker really was away."""
    if importlib.util.find_spec("iotcore") is None:
        raise ModuleNotFoundError("No module named 'iotcore'", name="iotcore")
    site = load(SITE)
    plain = args.plain or not sys.stdout.isatty()
    if plain:
        view: Any = Plain(site, lambda line: print(line, flush=True))
    else:
        from simulator.view import LivePage  # rich, which --plain does without

        view = LivePage(site)
    try:
        with workplace(args.keep, "demo") as folder, Processes(folder) as processes:
            return Demo(folder, processes, view, args.seconds, args.seed).run()
    except WrongPlace as error:
        print(f"linli demo: {error}", file=sys.stderr)
        return WRONG_USE
    except (Died, BrokerError) as error:
        print(f"linli demo: {error}", file=sys.stderr)
        return FAILED
    except Interrupted:
        print("linli demo: 已中断，未作判定 ended early, no verdict", file=sys.stderr)
        return FAILED


class Outage(NamedTuple):
    """A time without a broker. noticed: whether the gateway said so itself."""

    began_s: float
    ended_s: float
    noticed: bool


class Demo:
    """One run. view: show(scene, fresh happenings), in a `with`."""

    def __init__(self, folder: Path, processes: Processes, view: Any, seconds: float, seed: int) -> None:
        self._clock = SystemClock()
        self._processes = processes
        self._view = view
        self._seconds, self._seed = seconds, seed
        self._site = load(SITE)
        self._scenario = scenarios.load("demo")
        self._stage = Stage(folder, processes, self._clock.mono_s)
        self._broker = Broker(folder / "broker", "embedded", port=free_port())
        self._looker = Looker(self._stage.ledger_path)
        self._watcher = Watcher(self._site)
        self._tickets = Tickets()
        self._story = Story(self._scenario, list(self._site.buses), seed)
        self._outages: list[Outage] = []
        self._away_s: float | None = None
        self._noticed = False
        self._began_s: float | None = None
        self._heard_s: float | None = None  # when the city last got something of what we watch
        self._in_ledger: set[str] = set()
        self._fresh: list[Happening] = []
        self._happened: list[Happening] = []
        self._now = ("准备中", "getting ready")
        self._page: Child | None = None
        self._page_url = ""

    def run(self) -> int:
        """Raises Died, Interrupted, BrokerError."""
        troubles: list[str] = []
        try:
            with self._view:
                city, gateway, simulator = self._open()
                self._play(simulator, troubles)
                self._settle(troubles)
            if self._stage.end(gateway, city):
                troubles.append("网关没有干净地结束 the gateway did not end cleanly")
            self._look()
        finally:
            self._broker.stop()
            self._looker.close()
        return self._conclude(self._stage.verify(), troubles)

    def _open(self) -> tuple[Child, Child, Child]:
        self._frame("启动消息服务器", "starting the broker")
        self._broker.start()
        self._frame("启动平台", "starting the city")
        city = self._stage.start_city(self._broker.url, mqtt="5")  # all that the embedded broker speaks
        self._frame("启动网关", "starting the gateway")
        gateway = self._stage.start_gateway(self._broker.url)
        self._stage.await_gateway(gateway)
        self._frame("启动模拟器", "starting the simulator")
        simulator = self._stage.start_simulator("demo", self._seconds, self._seed, nodes=AUTO)
        self._began_s = self._clock.mono_s()
        self._page = self._stage.start_page()
        self._frame("平常的一天", "an ordinary day")
        return city, gateway, simulator

    def _play(self, simulator: Child, troubles: list[str]) -> None:
        """The simulator's day with the scenario's outages, until the devices hold nothing any more."""
        simulator.wanted = False  # its end is not a fault
        faults = Schedule(self._scenario.broker_faults, [], self._seed)
        while simulator.code is None or self._away_s is not None:
            s = self._s()
            if s > self._seconds + LINGER_S:
                simulator.kill()
            for change in faults.due(s):
                self._broker_fault(change)
            settling = ("等设备里的一切存稳", "waiting until all that the devices hold is durable")
            self._frame(*(settling if s > self._seconds else ()))
            self._processes.wait(_FRAME_S)
        if simulator.code:
            troubles.append(f"模拟器 the simulator: {simulator.tail()}")

    def _broker_fault(self, change: Change) -> None:
        self._happen(fault_words(change))
        if change.begins and change.fault.do == "kill":
            self._broker.kill()
        elif change.begins:
            self._broker.stop()
        if change.begins:
            self._away_s, self._noticed = self._s(), False
        elif self._away_s is not None:
            self._outages.append(Outage(self._away_s, self._s(), self._noticed))
            self._away_s = None
            self._broker.start()

    def _settle(self, troubles: list[str]) -> None:
        """Until the gateway knows that its city holds everything."""

        def held() -> bool:
            self._frame("等平台账本收齐", "waiting until the ledger has everything")
            return self._stage.all_is_held()

        if not self._processes.wait_for(held, HOLD_S, self._clock.mono_s):
            troubles.append(f"平台账本 {HOLD_S:.0f} 秒内没有收齐 the ledger did not get everything in {HOLD_S:.0f} s")
        self._frame("一切已收齐", "all is there")

    # -- looking ------------------------------------------------------------------------------------------------------

    def _s(self) -> float:
        return 0.0 if self._began_s is None else self._clock.mono_s() - self._began_s

    def _happen(self, happening: Happening) -> None:
        self._fresh.append(happening)
        if happening.kind in ("scenario", "demo"):
            self._now = (happening.zh, happening.en)

    def _look(self) -> None:
        """What the city has got since the last look."""
        for stream, record in self._looker.fresh():
            self._heard_s = self._clock.mono_s()
            self._tickets.take(record)
            for happening in self._watcher.city(self._s(), stream, record):
                self._happen(happening)
            if name := _proof(stream, record):
                self._in_ledger.add(name)

    def _frame(self, *now: str) -> None:
        """now: what is going on from here on, in Chinese and English."""
        s = self._s()
        if now and self._now != now:
            self._happen(Happening(s, "demo", *now))
        if self._began_s is not None:
            for happening in self._story.due(s):
                self._happen(happening)
        if self._page and not self._page_url and (url := self._stage.page_url(self._page)):
            self._page_url = url
            self._fresh.append(Happening(s, "page", f"中心的页面 {url}", f"the page in the centre {url}"))
        status = self._stage.status() if self._stage.state.exists() else None
        if self._away_s is not None and self._stage.connected(status) is False:
            self._noticed = True
        for happening in self._watcher.gateway(s, status):
            self._happen(happening)
        self._look()
        fresh, self._fresh = self._fresh, []
        self._happened = [*self._happened, *fresh][-_HAPPENED_MAX:]
        packs = self._looker.packs()
        age_s = None if self._heard_s is None else self._clock.mono_s() - self._heard_s
        tickets = None if self._heard_s is None else len(self._tickets)
        shown_s = None if self._began_s is None else s
        scene = Scene(
            shown_s, self._seconds, self._now, self._broker.running, status, packs, tickets, age_s, self._happened,
            self._page_url,
        )  # fmt: skip
        self._view.show(scene, fresh)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _conclude(self, verdict: Verdict, troubles: list[str]) -> int:
        print(f"\n平台账本的判定 The ledger's verdict:\n{verdict.text}")
        checks = {
            "漏水告警已到平台 leak alarm is in the ledger": "leak" in self._in_ledger,
            "关阀已到平台 valve close is in the ledger": "valve close" in self._in_ledger,
            "求助告警已到平台 cord alarm is in the ledger": "cord" in self._in_ledger,
            _outage_words(self._outages): really_away(self._outages),
            "无缺失、无错误、无重复、无虚构 nothing missing, wrong, twice or invented": verdict.code == GOOD,
        }
        for words, held in checks.items():
            print(f"{'好 ok ' if held else '坏 BAD'}  {words}")
        for trouble in troubles:
            print(f"坏 BAD  {trouble}")
        good = all(checks.values()) and not troubles
        print("演示成功 the demo is good" if good else "演示失败 the demo FAILED", flush=True)
        return GOOD if good else FAILED


def really_away(outages: list[Outage]) -> bool:
    """Whether one of them was long enough, and the gateway noticed it."""
    return any(outage.noticed and outage.ended_s - outage.began_s >= _AWAY_S for outage in outages)


def _outage_words(outages: list[Outage]) -> str:
    away_s = sum(outage.ended_s - outage.began_s for outage in outages)
    words = f"the broker was away for {away_s:.1f} s and the gateway noticed"
    return f"消息服务器停机 {away_s:.1f} 秒，网关察觉 {words}"


def _proof(stream: str, record: Any) -> str | None:
    """The name of a record that must be there at the end."""
    data = record.get("data") or {}
    if stream == "alarms" and data.get("state") == "unacknowledged":
        return str(data.get("alarm_id"))
    if record.get("type") == "linli.output.changed.v1":
        return f"{record.get('subject')} {data.get('value')}"
    return None
