"""The gateway's understanding of its queues under a clock of its own, between a kiosk that numbers its lines, devices
that are only overheard, and a disk that keeps what was committed: restarted and rebooted at seeded moments.

Pipeline, tickets, queues and what is pending are those of `linli run`; the store is a dictionary.
"""

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from drivers.reading import Event
from drivers.ticket_words import EVENTS, value_of
from gateway.alarms import Alarms, Kept, Rule
from gateway.contract import Json, Label
from gateway.deeds import Deeds
from gateway.detectors import Detectors
from gateway.hall_clock import HallClock
from gateway.modes import Modes
from gateway.opening import DAYS, Span
from gateway.packs import open_records
from gateway.pending import Pending
from gateway.pipeline import Pipeline
from gateway.queue_plan import Plan, QueuePlan
from gateway.queue_watch import queue_alarm, quiet_kiosk, quiet_window
from gateway.queues import Queues
from gateway.reactions import Reactions
from gateway.switches import Switches
from gateway.tickets import Numbering, Places, Tickets, business_day
from gateway.visits import APPOINTMENT, PRIORITY
from gateway.waiting import PlainForecast
from simulator.hall_days import LETTERS, SERVICES, WINDOWS, Happened

FIRST_MIDNIGHT_S = 1_795_104_000.0  # 2026-11-20 00:00 in Shanghai
TZ = "Asia/Shanghai"
WITHIN_S = 900.0
KIOSK = "k1"
_TICK_S = 30.0
_KIOSK_SAYS = {word: word for word in EVENTS} | {"reprinted": ""}
_FIELDS = ("service", "number", "label", "window", "to", "grade", "class")


class Bad(NamedTuple):
    """Of the box's luck. restarts: in the mean, each day. reboots: all in all. wall_err_s: after a reboot, at most."""

    restarts: float = 2.0
    reboots: int = 2
    wall_err_s: float = 0.05


def plan() -> Plan:
    labels = {service: (service, "") for services in SERVICES.values() for service in services}
    for service, letters in LETTERS.items():
        labels |= {letter: (service, {"priority": PRIORITY}.get(sort, APPOINTMENT)) for sort, letter in letters.items()}
    week = [Span(day, 8 * 60 + 30, 17 * 60) for day in range(len(DAYS))]
    queues = {name: QueuePlan(services, WITHIN_S, 0.8, 1800.0) for name, services in SERVICES.items()}
    serves = {window: list(served) for window, served in WINDOWS.items()}
    return Plan(queues, labels, serves, {}, week, (KIOSK, "p1"))


def places() -> Places:
    numbering = {}
    for queue, services in SERVICES.items():
        for service in services:
            letters = [service, *LETTERS.get(service, {}).values()]
            numbering |= dict.fromkeys(letters, Numbering(queue))
    letters = {letter: service for service, found in LETTERS.items() for letter in found.values()}
    return Places(numbering, {"c1:5": "5", "c1:6": "6"}, {}, letters)


class HallBox:
    """One box from its first start on. told: the figures that it told last, by (day, queue, service)."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._disk: dict[str, str] = {}
        self._marks: dict[str, tuple[int, int]] = {}
        self.boot = 1
        self._born_s = -3600.0  # of this boot: hall time at mono 0
        self._wall_err_s = 0.0
        self.now_s = 0.0
        self._ticked_s = 0.0
        self._sent: list[Event] = []  # of the kiosk, not durable yet; mono_s is hall time here
        self._seq = 0
        self._received = 0
        self.told: dict[tuple[str, str, str], Json] = {}
        self.alarms: list[tuple[float, str, str]] = []
        self.bad_ratings = self.restarts = self.keeps = 0
        self.largest_keep_b = 0
        self._start()

    # -- the box -----------------------------------------------------------------------------------------------------

    def _mono_s(self) -> float:
        return self.now_s - self._born_s

    def _label(self) -> Label:
        wall_s = FIRST_MIDNIGHT_S + self.now_s + self._wall_err_s
        return Label(self.boot, self._mono_s(), wall_s, "ntp", 0.05, "00000000")

    def _start(self) -> None:
        kept: dict[str, object] = {key: msgspec.json.decode(value) for key, value in self._disk.items()}
        self.pending = Pending(self._label, 10.0, 30.0)
        self.pending.kept.update(kept)
        hall = plan()
        names = [*map(queue_alarm, hall.queues), *map(quiet_window, hall.serves), *map(quiet_kiosk, hall.kiosks)]
        rules = [Rule(name, name, "high", ()) for name in names]
        states = {name: msgspec.convert(kept.get(f"alarm:{name}", {}), Kept) for name in names}
        keep, mono_s = self.pending.keep, self._mono_s()
        clock = HallClock(self._label, TZ, kept, keep)
        self.queues = Queues(hall, clock, PlainForecast(kept, keep), 90, kept, keep, mono_s)
        tickets = Tickets(places(), business_day(self._label, TZ), kept, keep)
        modes = Modes({}, self._label, keep, kept)
        reactions, switches = Reactions([], self._label, keep, kept), Switches([], [], self._label, keep, kept)
        deeds = Deeds(reactions, switches, modes, self.pending, self._label)
        self._pipeline = Pipeline(
            [], Alarms(rules, states, {}, mono_s), deeds, Detectors({}), self.pending, self._mono_s,
            self._label, kept, tickets.named, heard=self.queues.heard,
        )  # fmt: skip
        self._received = self._marks.get(KIOSK, (0, 0))[1]

    def _commit(self) -> None:
        work = self.pending.take(self._mono_s(), everything=True)
        if work is None:
            return
        for key, value in work.keep.items():
            self.keeps += 1
            if value is None:
                self._disk.pop(key, None)
            else:
                self._disk[key] = value
                self.largest_keep_b = max(self.largest_keep_b, len(value))
        self._marks.update(work.marks)
        durable = self._marks.get(KIOSK, (0, 0))[1]
        self._sent = [event for event in self._sent if event.seq > durable]
        for draft in work.drafts:
            for record in open_records(draft.body()):
                self._note(draft.stream, record)

    def _note(self, stream: str, record: Mapping[str, Any]) -> None:
        if record["type"] == "queue.figures":
            data = record["data"]
            self.told[data["day"], data["queue"], data.get("service", "")] = data
        elif record["type"] == "ticket.rated_badly":
            self.bad_ratings += 1
        elif stream == "alarms":
            self.alarms.append((record["mono"] + self._born_s, record["data"]["alarm_id"], record["data"]["state"]))

    def restart(self, *, killed: bool) -> None:
        """killed: what was not committed is gone, and the kiosk says it again."""
        if not killed:
            self._commit()
        self.restarts += 1
        self._start()
        self._deliver()

    def reboot(self, off_s: float, wall_err_s: float) -> None:
        """The power is gone for off_s; the wall clock comes back a little wrong."""
        self.now_s += off_s
        self.boot += 1
        self._born_s = self.now_s - 20.0
        self._wall_err_s = wall_err_s
        self._start()

    # -- what reaches it ---------------------------------------------------------------------------------------------

    def go(self, until_s: float) -> None:
        """Time goes by, with the ticks of the hours in which anything can happen."""
        while self._ticked_s + _TICK_S <= until_s:
            self._ticked_s += _TICK_S
            if not 8 * 3600 <= self._ticked_s % 86_400 <= 20 * 3600:
                continue
            if self._ticked_s < self.now_s:
                continue  # the power was off
            self.now_s = self._ticked_s
            told = self.queues.tick(self._mono_s())
            self.pending.many("events", told.records, self._mono_s())
            for alarm, cause in told.alarms:
                self._pipeline.fault(alarm, cause)
            self._commit()
        self.now_s = max(self.now_s, until_s)

    def hear(self, happened: Happened, *, off: bool = False) -> None:
        """What a device says of it. off: the box is not there to hear."""
        fields = {key: happened.fields[key] for key in _FIELDS if key in happened.fields}
        what = happened.what
        if happened.hall == "annex":
            if not off:
                self._overheard(happened.t_s, what, fields)
            return
        if not _KIOSK_SAYS[what]:
            return
        self._seq += 1
        data = {"value": value_of(what, fields.get("label"), fields.get("window"), fields.get("grade")), **fields}
        self._sent.append(Event(KIOSK, EVENTS[what], data, happened.t_s, 1, self._seq))
        if not off:
            self._deliver()

    def _overheard(self, t_s: float, what: str, fields: dict[str, object]) -> None:
        """A slip, or a frame of a terminal, which calls again by calling again."""
        word = {"reprinted": "issued", "recalled": "called"}.get(what, what)
        data: dict[str, object] = {"value": fields["label"], "label": fields["label"]}
        source = "p1"
        if word == "called":
            source, data["address"] = "c1", int(str(fields["window"]))
        self._pipeline.handle([Event(source, EVENTS[word], data, t_s - self._born_s)])
        self._commit()  # nobody says it again

    def _deliver(self) -> None:
        """All that the gateway has not received, with the age that each has by now."""
        events = [
            event._replace(mono_s=event.mono_s - self._born_s) for event in self._sent if event.seq > self._received
        ]
        if events:
            self._received = events[-1].seq
            self._pipeline.handle(events)
        if self._dice.random() < 0.7:
            self._commit()


def live(happened: list[Happened], dice: random.Random, luck: Bad) -> HallBox:
    """A box through all that happened, with its restarts and reboots."""
    box = HallBox(dice)
    said = [each for each in happened if each.said]
    share = luck.restarts / max(1.0, len(said) / max(1.0, said[-1].t_s // 86_400 + 1)) if said else 0.0
    reboots = _quiet_moments(said, dice, luck.reboots)
    for i, each in enumerate(said):
        off = each.t_s < box.now_s
        if not off:
            if dice.random() < share:
                box.restart(killed=each.hall == "main" and said[i - 1].hall == "main" and dice.random() < 0.7)
            box.go(each.t_s)
        box.hear(each, off=off)
        if i in reboots:
            box.reboot(reboots[i], dice.uniform(-luck.wall_err_s, luck.wall_err_s))
    box.go((said[-1].t_s // 86_400 + 1) * 86_400)
    return box


def _quiet_moments(said: list[Happened], dice: random.Random, count: int) -> dict[int, float]:
    """{after which fact: for how long}: reboots at noon or so, while nobody is overheard, for that would be lost."""
    found: dict[int, float] = {}
    order = list(range(len(said) - 1))
    dice.shuffle(order)
    for i in order:
        if len(found) == count:
            break
        off_s, start_s = dice.uniform(20, 90), said[i].t_s
        if not 10 * 3600 < start_s % 86_400 < 16 * 3600 or said[i].hall != "main":
            continue
        later = [each for each in said[i + 1 : i + 60] if each.t_s < start_s + off_s]
        if later and all(each.hall == "main" for each in later):
            found[i] = off_s
    return found
