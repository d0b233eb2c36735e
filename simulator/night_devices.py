"""The devices of a night and what they know: nodes and a kiosk on cables, and the truth of every fact they produced."""

import random
from collections.abc import Callable
from typing import NamedTuple

from drivers.kiosk_side import KioskSide
from drivers.node_frame import DATA, EVENT
from drivers.node_side import NodeSide
from drivers.reading import Value
from simulator.night_ground import Cable
from simulator.virtual_loop import VirtualLoop

STEP_S = 0.25
BYTES_A_STEP = 2000  # 8 kB/s: a line at 115200 baud is a little faster
LOOP_WORDS = ("short", "normal", "alarm", "cut")

Src = tuple[str, int, int]  # source, boot, seq
Device = NodeSide | KioskSide


class Truth(NamedTuple):
    """One fact. name: the sensor of a reading, "" of an event. true_s: when it happened."""

    name: str
    value: Value
    true_s: float


class NightDevice:
    """One device on its cable. truths: every fact that any device of the night produced, shared.

    told: called when the gateway said that more is durable. rate_per_s: facts, in the mean.
    """

    def __init__(
        self, name: str, cable: Cable, loop: VirtualLoop, dice: random.Random, truths: dict[Src, Truth],
        told: Callable[["NightDevice"], None],
    ) -> None:  # fmt: skip
        self.name = name
        self.cable = cable
        self._loop = loop
        self._dice = dice
        self._truths = truths
        self._told = told
        self.rate_per_s = 1.0
        self.step_s = STEP_S
        self.boot = 0
        self.quiet = False
        self.given_up: set[Src] = set()  # nobody may count on them: gone with the device, or with a full ring
        self.fresh = range(0)  # the numbers that the gateway called durable last
        self.side: Device
        self.reboot()
        cable.hears = self._hear
        self._step()

    def reboot(self) -> None:
        """Its memory is gone; what was not durable goes with it."""
        if self.boot:
            self.given_up |= {(self.name, self.boot, n) for n in range(self.side.durable + 1, self.side.next)}
        self.boot += 1
        self._durable = 0
        self.side = self._made(self.boot, self._dice.choice((16, 40, 200)))

    def _made(self, boot: int, ring: int) -> Device:
        raise NotImplementedError

    def _produce(self) -> tuple[int | None, str, Value]:
        """(its number, sensor or "", value) of one new fact; None when the ring is full."""
        raise NotImplementedError

    def _now_ms(self) -> int:
        return round(self._loop.now_s * 1000)

    def _step(self) -> None:
        self._loop.call_later(self.step_s, self._step)
        if not self.quiet:
            facts = int(self.rate_per_s * self.step_s + self._dice.random())
            for _ in range(facts):
                self.produce()
        if out := self.side.outgoing(BYTES_A_STEP):
            self.cable.from_device(out)

    def produce(self) -> None:
        if self.side.free == 0 and (gone := self.side.give_up(max(1, self.side.ring // 4))):
            self.given_up |= {(self.name, self.boot, n) for n in range(gone[0], gone[1] + 1)}
        seq, name, value = self._produce()
        if seq is not None:
            self._truths[self.name, self.boot, seq] = Truth(name, value, self._now_ms() / 1000)

    def _hear(self, data: bytes) -> None:
        self.side.feed(data)
        if self.side.durable > self._durable:
            self.fresh = range(self._durable + 1, self.side.durable + 1)
            self._durable = self.side.durable
            self._told(self)

    @property
    def settled(self) -> bool:
        """The gateway called everything durable."""
        return self.side.undurable == 0


class NightNode(NightDevice):
    """flows: the sensors of its flow points; loop: that of its loop, "" for none."""

    def __init__(self, flows: list[str], loop: str, *rest: object) -> None:
        self._flows, self._loop_sensor = flows, loop
        super().__init__(*rest)  # type: ignore[arg-type]

    def _made(self, boot: int, ring: int) -> Device:
        text = f"night;flow*{len(self._flows)}" + (" loop*1" if self._loop_sensor else "")
        return NodeSide(boot, ring, text, self._now_ms)

    def _produce(self) -> tuple[int | None, str, Value]:
        assert isinstance(self.side, NodeSide)
        if self._loop_sensor and self._dice.random() < 0.1:
            code = self._dice.choice((1, 1, 2, 3))
            return self.side.add(EVENT, len(self._flows), code), self._loop_sensor, LOOP_WORDS[code]
        point = self._dice.randrange(len(self._flows))
        value = round(self._dice.random() * 0.01, 6)
        return self.side.add(DATA, point, value), self._flows[point], value


class NightKiosk(NightDevice):
    def _made(self, boot: int, ring: int) -> Device:
        return KioskSide(boot, ring, "night kiosk", self._now_ms)

    def _produce(self) -> tuple[int | None, str, Value]:
        assert isinstance(self.side, KioskSide)
        label = f"A{self._dice.randrange(1000):03d}"
        return self.side.add("issued", {"service": "A", "label": label}), "", label
