"""Nodes and kiosks on a line that drops, flips, doubles and delays bytes, beside a gateway that dies: none is lost."""

import random
from collections.abc import Callable

import pytest

from drivers.kiosk_line import KioskLink
from drivers.kiosk_side import KioskSide
from drivers.node_frame import DATA, EVENT
from drivers.node_link import NodeLink
from drivers.node_side import NodeSide
from drivers.numbered import SAY_ACK, Numbered, NumberedLink
from drivers.reading import Event, Fact, Lost, Reading
from tests.line_world import BOOT, Clock

TICKS, CALM_TICKS = 2500, 300
Link = NodeLink | KioskLink


class Node:
    """A node and how its gateway hears it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.side = NodeSide(BOOT, 16, "sim-1.0;flow*1", clock.mono_ms)

    def link(self, mark: tuple[int, int]) -> NodeLink:
        return NodeLink("n1", self.clock.mono_s, mark)

    def add(self, number: int, dice: random.Random) -> int | None:
        return self.side.add(dice.choice((DATA, EVENT)), 0, float(number))

    def said(self, fact: Fact) -> object:
        assert isinstance(fact, Reading)
        return fact.value


class Kiosk:
    """A kiosk and how its gateway hears it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.side = KioskSide(BOOT, 16, "hall 1", clock.mono_ms)

    def link(self, mark: tuple[int, int]) -> KioskLink:
        return KioskLink("k1", self.clock.mono_s, mark)

    def add(self, number: int, dice: random.Random) -> int | None:
        return self.side.add(dice.choice(("issued", "called")), {"service": "社保", "number": number})

    def said(self, fact: Fact) -> object:
        assert isinstance(fact, Event)
        return fact.data["number"]


class BadLine:
    """A pipe that drops, flips, doubles and delays bytes by dice, and is cut now and then."""

    def __init__(self, dice: random.Random) -> None:
        self.calm = False
        self._dice = dice
        self._under_way = b""

    def send(self, data: bytes) -> None:
        dice = self._dice
        passed = bytearray()
        for byte in data:
            fate = 1.0 if self.calm else dice.random()
            if fate < 0.002:
                continue
            if fate < 0.004:
                byte ^= 1 << dice.randrange(8)
            passed.append(byte)
            if fate > 0.998 and not self.calm:
                passed.append(byte)
        self._under_way += passed

    def arrive(self) -> bytes:
        count = len(self._under_way) if self.calm else self._dice.randrange(len(self._under_way) + 1)
        here, self._under_way = self._under_way[:count], self._under_way[count:]
        return here

    def cut(self) -> None:
        self._under_way = b""


class Disk:
    """What the gateway keeps: facts become durable some time after they are taken, or die with the process."""

    def __init__(self) -> None:
        self.kept: list[Fact] = []
        self.mark = (0, 0)
        self._waiting: list[Fact] = []

    def take(self, facts: list[Fact]) -> None:
        self._waiting += facts

    def commit(self, link: Link) -> None:
        for fact in self._waiting:
            self.kept.append(fact)
            self.mark = (fact.boot, fact.last if isinstance(fact, Lost) else fact.seq)
        self._waiting.clear()
        link.durable(*self.mark)

    def crash(self) -> None:
        self._waiting.clear()


Device = Node | Kiosk


def one_night(device: Device, seed: int) -> tuple[list[Fact], set[int]]:
    """Faults first, then calm. What is on the gateway's disk in the end, and the numbers that the device gave up."""
    dice = random.Random(seed)
    clock, side, disk = device.clock, device.side, Disk()
    link = device.link((0, 0))
    up, down = BadLine(dice), BadLine(dice)
    given_up: set[int] = set()
    for tick in range(TICKS):
        clock.s += 0.02
        up.calm = down.calm = tick >= TICKS - CALM_TICKS
        if not up.calm:
            if dice.random() < 0.4:
                device.add(side.next, dice)
            if dice.random() < 0.002 and (gone := side.give_up(dice.randrange(4))):
                given_up.update(range(gone[0], gone[1] + 1))
            if dice.random() < 0.01:  # the plug is pulled and put back
                up.cut()
                down.cut()
                side.reset_line()
            if dice.random() < 0.01:  # the gateway dies, and comes back knowing what its disk knows
                disk.crash()
                link = device.link(disk.mark)
        up.send(side.outgoing(dice.choice((100, 200, 500))))
        disk.take(link.feed(up.arrive()))
        if dice.random() < 0.1 or up.calm:
            disk.commit(link)
        link.tick()
        down.send(link.outgoing())
        side.feed(down.arrive())
    return disk.kept, given_up


def check(device: Device, kept: list[Fact], given_up: set[int]) -> None:
    """Every number once, in order, with what was put under it; lost only what was given up."""
    reached = 0
    for fact in kept:
        first, last = (fact.first, fact.last) if isinstance(fact, Lost) else (fact.seq, fact.seq)
        assert first == reached + 1, f"{fact} follows {reached}"
        reached = last
        if isinstance(fact, Lost):
            assert given_up >= set(range(first, last + 1)), f"{fact} was never given up"
        else:
            assert device.said(fact) == fact.seq, f"{fact} holds another frame's value"
    assert reached == device.side.next - 1 > 200, "the last ones never arrived"
    assert device.side.undurable == 0, "the device was never told that all is durable"


@pytest.mark.parametrize("make", [Node, Kiosk])
@pytest.mark.parametrize("seed", range(10))
def test_all_reaches_the_disk_once_in_order_however_bad_the_line(seed: int, make: Callable[[Clock], Device]) -> None:
    device = make(Clock())
    check(device, *one_night(device, seed))


def call_received_durable(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(NumberedLink, "durable_seq", property(lambda link: link.received))


def take_whatever_comes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Numbered, "_is_repeat_or_hole", lambda *_: False)


def never_go_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("drivers.sender.STUCK_MS", 10**9)
    patch.setattr(Numbered, "answer", lambda self, now_s: SAY_ACK)


@pytest.mark.parametrize("plant", [call_received_durable, take_whatever_comes, never_go_back])
def test_a_planted_bug_shows_within_ten_nights(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        for seed in range(10):
            device = Kiosk(Clock())
            check(device, *one_night(device, seed))
