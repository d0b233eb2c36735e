"""A month of a centre, told by a seed: tickets, a lift that fails, a blocked ramp, a leak, a night without power.

Everything goes the real way, from contacts and tickets through the pipeline, the facility log and the store to the
city's ledger; only the time is turned by hand, a minute a step. What the reports are shown with.
"""

import argparse
import random
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from drivers.outputs import Output
from drivers.reading import Event, Reading, Value
from gateway import build_alarms, build_deeds
from gateway.build import _meta
from gateway.config import Site, load
from gateway.contract import Label, Record, Topics, dictionary
from gateway.detectors import Detectors
from gateway.facilities import Facilities
from gateway.home import ABOUT, DATABASE
from gateway.night_water import NightWater
from gateway.own_alarms import facilities
from gateway.pending import Pending
from gateway.pipeline import Pipeline
from gateway.reader import Reader
from gateway.report_facts import names
from gateway.sensors import Role
from gateway.store import Store
from simulator.ledger import Ledger

MONTH = "2026-11"
ZONE = ZoneInfo("Asia/Shanghai")
STEP_S = 60.0
COMMIT_S = 600.0
DAYS = 30

SITE = """
schema = 1
site = { id = "demo-centre", gateway = "demo-centre-a", name = "NAME", open = "mon-fri 08:30-17:00" }
bus.n1 = { kind = "node", port = "link:n1" }
pulse.main = { pin = "gpio:4", litres = 1 }
sensor."main/total" = { from = "main:total", name = "地下室总水表" }
sensor."basement/rope" = { from = "gpio:17", kind = "leak", name = "地下室水浸绳" }
sensor."lift-1/service" = { from = "gpio:18", kind = "lift", facility = "lift-1" }
sensor."ramp" = { from = "gpio:22", kind = "ramp", facility = "ramp" }
sensor."toilet-f1/cord" = { from = "n1:loop1", kind = "pull-cord", facility = "toilet-f1" }
output.valve = { to = "gpio:5", kind = "valve", approved_by = "物业 2026-10-20" }
alarm.leak = { name = "地下室漏水", severity = "urgent", any = ["basement/rope is wet"], off_s = 60 }
reaction.close-main = { when = "alarm.leak active 30 s", do = "valve close" }
facility.lift-1 = { name = "1号电梯", duty = "物业", repair_hours = 24, test_days = 30 }
facility.ramp = { name = "正门坡道", duty = "物业", after_s = 600 }
facility.toilet-f1 = { name = "一层无障碍卫生间", duty = "社区服务中心" }
facility.loop = { name = "大厅听障环路", duty = "设备公司", repair_hours = 48, test_days = 90 }
queue.hall = { name = "一楼大厅", within_min = 15, share = 0.8 }
queue.office = { name = "二楼居住证", within_min = 20, share = 0.8 }
service.A = { queue = "hall", name = "社会保障" }
service.R = { queue = "office", name = "居住证" }
uplink = { broker = "mqtt://127.0.0.1:1883" }
"""


class Told(NamedTuple):
    """Where it is: the state folder of the box, and the city's ledger."""

    state: Path
    ledger: Path


class _Wire:
    def drive(self, on: bool) -> None: ...
    def close(self) -> None: ...


class _Box:
    """One start of the gateway, from one boot's beginning until somebody pulls the plug."""

    def __init__(self, site: Site, store: Store, stamp: "_Stamp") -> None:
        self.stamp, self.store = stamp, store
        kept = store.kept()
        self.pending = Pending(stamp.label, 10.0, 30.0)
        self.pending.kept.update(kept)
        deeds = build_deeds.deeds(
            site, {"valve": Output("valve", _Wire())}, self.pending, kept, stamp.label, crashed=store.unclean
        )  # fmt: skip
        roles = [Role(s.id, s.point, s.kind, numbered=s.source == "n1") for s in site.sensors.values()]
        self.pipeline = Pipeline(
            roles, build_alarms.alarms(site, kept, stamp.mono_s), deeds, Detectors({}), self.pending,
            lambda: stamp.mono_s, stamp.label,
        )  # fmt: skip
        self.facilities = Facilities(
            facilities(site), kept, self.pending.keep, self.tell, lambda sensor: False, lambda: deeds.modes.is_test,
            lambda wall_s: datetime.fromtimestamp(wall_s, ZONE).date().isoformat(), stamp.mono_s,
        )  # fmt: skip
        self.pipeline.on_contact = self.facilities.contact
        self.night = NightWater(["main/total"], ZONE, kept, self.pending.keep, self.tell)
        self.pending.keep(ABOUT, names(_meta(site)))

    def tell(self, record: Record) -> None:
        self.pending.record("events", record, self.stamp.mono_s)

    def say(self, point: str, value: Value) -> None:
        self.pipeline.handle([Reading(point, value, self.stamp.mono_s, urgent=True)])

    def tick(self) -> None:
        label = self.stamp.label()
        self.pipeline.tick()
        self.night.tick(label, self.pipeline.latest)
        for alarm, cause in self.facilities.tick(label, self.pipeline.latest, self.pipeline.standing()):
            self.pipeline.fault(alarm, cause)

    def clock_known(self) -> None:
        label = self.stamp.label()
        self.pending.seal()
        self.pending.clock_known(label)
        data = {"value": "ntp", "boot": label.boot, "mono": label.mono, "wall": label.wall, "err_s": 0.05}
        self.tell(Record("clock.synced", "clock", label.mono, data))

    def commit(self) -> None:
        if work := self.pending.take(self.stamp.mono_s, everything=True):
            self.store.commit([work])


class _Stamp:
    """The wall as the packs see it: known, or not yet."""

    def __init__(self) -> None:
        self.boot, self.mono_s, self.wall_s, self.known, self.cfg = 0, 0.0, 0.0, True, "cafe0001"

    def label(self) -> Label:
        known = self.known
        return Label(
            self.boot, self.mono_s, self.wall_s if known else None, "ntp" if known else "unsure",
            0.05 if known else None, self.cfg,
        )  # fmt: skip


Deed = Callable[[_Box], None]


def tell(folder: Path, seed: int, name: str = "邻里示范社区服务中心") -> Told:
    """The box's state folder and the ledger after that month. The same seed tells the same."""
    folder.mkdir(parents=True, exist_ok=True)
    site = _site(folder, name)
    dice = random.Random(seed)
    start_s = datetime(2026, 11, 1, tzinfo=ZONE).timestamp()
    deeds = sorted([*_hall(dice, start_s), *_house(start_s)], key=lambda deed: deed[0])
    stamp = _Stamp()
    stamp.mono_s, stamp.wall_s = 400.0, start_s - 3600.0  # installed an hour before the month began
    store = Store(folder / "state" / DATABASE, stamp, dice)
    store.open("boot-1")
    box = _Box(site, store, stamp)
    box.clock_known()
    off, dark = (start_s + _at(11, 21), start_s + _at(12, 4, 30)), False  # a night without power
    litres, committed_s = 0.0, 0.0
    end_s = start_s + DAYS * 86_400.0
    while stamp.wall_s < end_s:
        stamp.wall_s += STEP_S
        stamp.mono_s += STEP_S
        litres += _litres_a_minute(dice, stamp.wall_s, start_s)
        due = [deed for at_s, deed in _until(deeds, stamp.wall_s)]
        if off[0] <= stamp.wall_s < off[1]:
            dark = True
            continue
        if dark:  # power is back; the clock is known eight minutes later
            store.close()
            dark, stamp.known, stamp.mono_s, stamp.boot = False, False, 20.0, 0
            store = Store(folder / "state" / DATABASE, stamp, dice)
            store.open("boot-2")
            box = _Box(site, store, stamp)
        if not stamp.known and stamp.mono_s > 500:
            stamp.known = True
            box.clock_known()
        for point, value in (("gpio:18", None), ("gpio:22", None), ("n1:loop1", None), ("main:total", litres / 1000)):
            latest = box.pipeline.values().get(_SENSORS[point])
            box.say(point, value if value is not None else latest[0] if latest else _AT_REST[point])
        for deed in due:
            deed(box)
        box.tick()
        if stamp.wall_s - committed_s >= COMMIT_S:
            committed_s = stamp.wall_s
            box.commit()
    box.commit()
    store.close()
    _send(folder, site, dictionary(_meta(site)))
    return Told(folder / "state", folder / "city.db")


_SENSORS = {"gpio:18": "lift-1/service", "gpio:22": "ramp", "n1:loop1": "toilet-f1/cord", "main:total": "main/total"}
_AT_REST: dict[str, Value] = {"gpio:18": False, "gpio:22": False, "n1:loop1": "normal", "main:total": 0.0}


def _site(folder: Path, name: str) -> Site:
    path = folder / "site.toml"
    path.write_text(SITE.replace("NAME", name), encoding="utf-8")
    return load(path)


def _at(day: int, hour: int, minute: int = 0) -> float:
    """Seconds into the month. day: 1 is the first."""
    return ((day - 1) * 24 + hour) * 3600.0 + minute * 60.0


def _until(deeds: list[tuple[float, Deed]], wall_s: float) -> Iterator[tuple[float, Deed]]:
    while deeds and deeds[0][0] <= wall_s:
        yield deeds.pop(0)


# -- what happens ------------------------------------------------------------------------------------------------------


def _house(start_s: float) -> Iterator[tuple[float, Deed]]:
    """The lift fails for 31 h; the ramp is blocked three times; cords are tested; the loop is mended by hand."""

    def at(day: int, hour: int, minute: int, deed: Deed) -> tuple[float, Deed]:
        return start_s + _at(day, hour, minute), deed

    def by_hand(deed: str, name: str, by: str, note: str = "") -> Deed:
        return lambda box: box.facilities.deed(deed, name, by, note, box.stamp.label())

    def says(point: str, value: Value) -> Deed:
        return lambda box: box.say(point, value)

    yield at(3, 9, 0, lambda box: box.pipeline.deeds.begin_mode("test", "", 10, "李站长", box.stamp.mono_s))
    yield at(3, 9, 2, says("n1:loop1", "alarm"))
    yield at(3, 9, 3, says("n1:loop1", "normal"))
    yield at(4, 10, 0, by_hand("tested", "lift-1", "王师傅", "每月检查"))
    yield at(5, 9, 12, says("gpio:18", True))
    yield at(5, 9, 58, by_hand("ack", "lift-1", "李站长"))
    yield at(6, 16, 20, says("gpio:18", False))
    for day, hour, lasts_min in ((9, 10, 35), (17, 14, 150), (24, 8, 55)):
        yield at(day, hour, 5, says("gpio:22", True))
        yield at(day, hour, 5 + lasts_min, says("gpio:22", False))
    yield at(18, 11, 0, by_hand("open", "loop", "李站长", "助听器用户反映无声"))
    yield at(18, 11, 30, by_hand("ack", "loop", "张工（设备公司）"))
    yield at(19, 15, 10, by_hand("repaired", "loop", "张工（设备公司）", "更换放大器保险"))
    yield at(19, 15, 20, by_hand("tested", "loop", "李站长"))
    yield at(14, 2, 13, says("gpio:17", True))
    yield at(14, 6, 40, says("gpio:17", False))
    yield at(27, 19, 5, says("gpio:17", True))
    yield at(27, 19, 30, says("gpio:17", False))


def _litres_a_minute(dice: random.Random, wall_s: float, start_s: float) -> float:
    """A cistern that drips more each day until it is mended on the 20th, a burst on the 14th, people by day."""
    day, hour = divmod((wall_s - start_s) / 3600, 24)
    drip = 0.05 + (0.02 * day if day < 19 else 0.0)
    burst = 14.0 if day == 13 and 2.0 <= hour < 2.25 else 0.0
    people = 6.0 * dice.random() if 8 <= hour < 18 and (day + 6) % 7 < 5 else 0.0
    return drip + burst + people


def _hall(dice: random.Random, start_s: float) -> Iterator[tuple[float, Deed]]:
    """Working days of both queues: people come in rushes, few windows serve them, some leave, some rate."""
    for day in range(1, DAYS + 1):
        if (day - 1 + 6) % 7 < 5:  # 2026-11-01 is a Sunday
            busy = 1.25 if day % 7 == 2 else 1.0  # Mondays
            yield from _queue(dice, start_s, day, "hall", "A", 2, round(dice.gauss(118, 8) * busy))
            yield from _queue(dice, start_s, day, "office", "R", 1, round(dice.gauss(58, 6)))


def _queue(
    dice: random.Random, start_s: float, day: int, queue: str, letter: str, windows: int, people: int
) -> Iterator[tuple[float, Deed]]:
    opens_s, closes_s = start_s + _at(day, 8, 30), start_s + _at(day, 17)
    came_s = sorted(opens_s + dice.betavariate(1.4, 1.9) * (closes_s - opens_s - 1800) for _ in range(people))
    free_s = [opens_s] * windows
    for number, at_s in enumerate(came_s, 1):
        label = f"{letter}{number:03}"
        data = {
            "service": letter, "number": number, "label": label, "value": label,
            "ticket": f"{queue}/2026-11-{day:02}/{letter}/1/{number}",
        }  # fmt: skip
        yield _ticket("issued", data, at_s)
        window = min(range(windows), key=free_s.__getitem__)
        called_s = max(at_s + 20, free_s[window])
        if called_s > closes_s or dice.random() < 0.03:
            continue  # closed, or gone home
        served_s = called_s + max(60.0, dice.gauss(300, 120))
        free_s[window] = served_s
        told = data | {"window": str(window + 1)}
        yield _ticket("called", told, called_s)
        yield _ticket("served", told, served_s)
        if queue == "hall" and dice.random() < 0.25:
            grade = dice.choices((5, 4, 3, 2, 1, None), (55, 20, 8, 3, 2, 12))[0]
            yield _ticket("rated", told | {"value": grade}, served_s + 10)


def _ticket(what: str, data: dict[str, object], at_s: float) -> tuple[float, Deed]:
    def deed(box: _Box) -> None:
        mono_s = box.stamp.mono_s - (box.stamp.wall_s - at_s)
        box.pipeline.handle([Event("k1", f"ticket.{what}", data, mono_s)])

    return at_s, deed


# -- to the city -------------------------------------------------------------------------------------------------------


def _send(folder: Path, site: Site, meta: bytes) -> None:
    """Every pack of the box as it is published, into the ledger."""
    topics = Topics("linli", site.gateway)
    reader = Reader(folder / "state" / DATABASE)
    ledger = Ledger(folder / "city.db")
    ledger.take(topics.meta, meta, datetime(2026, 11, 1, tzinfo=ZONE).timestamp())
    for stream in ("alarms", "events", "health"):
        for row in reader.stored(1, stream, 0, 1_000_000):
            received_s = row.wall or datetime(2026, 11, 12, 4, 38, tzinfo=ZONE).timestamp()
            ledger.take(topics.up(stream), reader.payload(row, topics), received_s)
    ledger.close()
    reader.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulator.month_story", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    told = tell(args.folder, args.seed)
    print(f"linli report --state {told.state} --month {MONTH} --out report.html")
    print(f"linli report --db {told.ledger} --month {MONTH} --out report.html")


if __name__ == "__main__":
    main()
