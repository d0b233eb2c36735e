"""One seeded night: the whole gateway on a virtual loop among devices, a broker, a city, a card and a clock that fail.

First faults at random steps, and the promises are asked every second; then calm, and everything must arrive. One seed
is one night: the same seed gives the same trace, on any machine.
"""

import asyncio
import hashlib
import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from drivers.pins import Pins
from gateway.box import Box
from gateway.build import Ground, build_on
from gateway.config import Site
from gateway.contract import Topics
from gateway.home import DATABASE, Home
from gateway.store import StoreStalled
from gateway.wire import Listener, Will
from simulator import promises
from simulator.holdings import Holdings
from simulator.night_card import Card
from simulator.night_devices import STEP_S, NightDevice, NightKiosk, NightNode, Src, Truth
from simulator.night_faults import Faults, Trouble
from simulator.night_ground import EPOCH_S, Cable, CableEnd, NightClock, NightPins, NightStorage, NightUplink
from simulator.virtual_broker import CITY, VirtualBroker, VirtualCity, VirtualWire
from simulator.virtual_loop import Process, VirtualLoop

CALM_MAX_S = 300.0
_FIGURES = {"process": {"rss_mib": 0.0, "cpu_s": 0.0, "threads": 1, "files": 0, "written_b": 0},
            "disk": {"db_mib": 0.0, "free_mib": 1000}}  # fmt: skip
RESTART_S = 1.0
DIARY = ("fault", "mended", "start", "end", "no start", "power is off", "calm")


class Outcome(NamedTuple):
    """What became of one night. trace: a hash over everything that was said and stored. problems: broken promises."""

    seed: int
    problems: list[str]
    trace: str
    faults: dict[str, int]
    facts: int
    commits: int
    lasted_s: float
    diary: list[str]


class Place(NamedTuple):
    """What all nights share. template: a folder to copy from: a migrated database, a ballast file, an empty ledger."""

    site: Site
    template: Path


class Pace(NamedTuple):
    """look_s: between two times that the promises are asked. step_s: of the devices. rest_s: see Process.

    rates_per_s: facts of a device, one of them. between, lasts: how much rarer and longer the faults are than in a
    night. rope_s: from one change of the rope to the next. lag_packs: what may be confirmed only by the next commit.
    """

    look_s: float = 1.0
    step_s: float = STEP_S
    rest_s: float = 0.0
    rates_per_s: tuple[float, ...] = (0.3, 1.0, 4.0)
    between: float = 1.0
    lasts: float = 1.0
    rope_s: tuple[float, float] = (3.0, 20.0)
    lag_packs: int = 0


A_NIGHT = Pace()


class Life:
    """One run of the gateway's program, from its start to its end."""

    def __init__(self, process: Process, box: Box, home: Home, since_s: float) -> None:
        self.process, self.box, self.home = process, box, home
        self.since_s = since_s
        self.stopping: asyncio.Task[bool] | None = None
        parts: Any = box._parts
        self.store = parts.store
        self.storage: NightStorage = parts.storage
        self.uplink: NightUplink = parts.uplink
        self.pending = parts.pending
        self.boot: int = parts.wall.boot


class Night:
    ROPE, VALVE, STROBE = 17, 5, 27  # the pins of simulator/sites/night.toml
    EPOCH_S = EPOCH_S
    NARROW_SHARE = 0.25  # of nights, on a disk budget of a few dozen pages

    def __init__(
        self, seed: int, place: Place, folder: Path, faulty_s: float | None = None,
        trouble: Callable[["Night"], Trouble] = Faults, pace: Pace = A_NIGHT,
    ) -> None:  # fmt: skip
        """faulty_s: how long things fail, None for what the seed says. trouble: what fails; made before the start."""
        self.seed = seed
        self.place = place
        self.dice = random.Random(f"night/{seed}")
        self.loop = VirtualLoop()
        self._folder = folder
        self.powered = True
        self.gives_up = False  # whether room was ever so short that the gateway may give something up
        self.life: Life | None = None
        self._trouble = trouble
        self.pace = pace
        self.faulty_s = faulty_s or self.dice.uniform(10.0, 35.0)
        self.did: Counter[str] = Counter()
        self.problems: list[str] = []
        self._diary: list[str] = []
        self._trace = hashlib.blake2b(digest_size=8)
        self.commits = 0
        self.boots: dict[int, float] = {}  # {boot of the gateway: the virtual time of its monotonic zero}
        self.rope_since_s = 0.0
        self.truths: dict[Src, Truth] = {}

    def _build(self) -> None:
        loop, dice = self.loop, self.dice
        state = self._folder / "state"
        state.mkdir()
        self.gives_up = dice.random() < self.NARROW_SHARE
        shutil.copy(self.place.template / ("narrow.db" if self.gives_up else DATABASE), state / DATABASE)
        os.link(self.place.template / "ballast", state / "ballast")
        gateway = self.place.site.gateway
        self.topics = Topics("linli", gateway)
        self.clock = NightClock(loop, dice)
        self.card = Card(loop, dice, self.cut_power)
        self.pins = NightPins(loop)
        self.broker = VirtualBroker(loop, dice, self.topics, self.note)
        shutil.copy(self.place.template / CITY, self._folder / CITY)
        self.city = VirtualCity(loop, self._folder, self.broker, gateway, self.note)
        self.holdings = Holdings(self.topics)
        self.cables = {name: Cable(name, loop, dice) for name in self.place.site.buses}
        shared = (loop, dice, self.truths, self._told)
        self.devices: list[NightDevice] = [
            NightNode(["main/flow", "tap/flow"], "toilet/cord", "n1", self.cables["n1"], *shared),
            NightNode(["basin/flow"], "", "n2", self.cables["n2"], *shared),
            NightKiosk("k1", self.cables["k1"], *shared),
        ]
        for device in self.devices:
            device.rate_per_s, device.step_s = dice.choice(self.pace.rates_per_s), self.pace.step_s
        for cable in self.cables.values():
            cable.delay_s = dice.choice((0.0, 0.005, 0.05))
        self.card.slowness_s = dice.choice((0.005, 0.05, 0.3))
        self.broker.receive_max = dice.choice((1, 4, 20, 65_535))
        self.city.looks_s = max(1.0, self.pace.rest_s)
        self.city.committed = lambda: self.holdings.read_ledger(self.city.ledger)
        self.city.fell_back = self.holdings.ledger_fell_back

    # -- the program ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The program, on the files that it left. A disk that fails at this moment ends it; it is started again."""
        if self.life or not self.powered:
            return
        home = Home(self._folder / "state")
        delay_s = self.dice.choice((0.0, 0.0, 0.003, 0.05))
        process = self._process = Process(self.loop, lambda: self.dice.random() * delay_s, self.pace.rest_s)

        def wire(will: Will, listener: Listener, ring: Callable[[], None]) -> VirtualWire:
            return VirtualWire(self.broker, will, listener, ring)

        ground = Ground(
            self.clock, self.clock.boot_id, self.dice, Pins(self.pins, self.clock.mono_s),
            lambda bus: CableEnd(self.cables[bus.name], process, self.clock.mono_s),  # type: ignore[arg-type,return-value]
            partial(NightStorage, process, self.card, self._committed), partial(NightUplink, process, wire),
            lambda _: dict(_FIGURES), self.card.disk.name,
        )  # fmt: skip
        try:
            box = build_on(ground, self.place.site, home, None, process)  # type: ignore[arg-type]
        except (StoreStalled, sqlite3.Error) as error:
            self.note("no start", str(error).replace(str(self._folder), ""))  # whose name is of this machine
            self.did["start that failed"] += 1
            self._buried(home)
            self.loop.call_later(RESTART_S, self.start)
            return
        self.life = Life(process, box, home, self.loop.time())
        self.boots[self.life.boot] = self.clock.true_s(0.0)
        process.before_each = partial(self.life.storage.look, self.life.pending)
        box.start()
        self.holdings.moved(home.database)
        self.note("start", self.life.boot, box.epoch)

    def end(self) -> None:
        """The program dies, or has stopped, or its machine has."""
        life, self.life = self.life, None
        if life is None:
            return
        self.note("end", self.powered)
        life.process.die()
        if life.stopping:
            life.stopping.cancel()
        self.holdings.let_go()
        self.card.disk.kill()  # nobody tidies up
        self.commits += life.store.commits
        life.uplink.die()
        life.store._db.close()
        self._buried(life.home)

    def _buried(self, home: Home) -> None:
        if self.powered:
            self.card.disk.kill()
            self.card.disk.power_on()
        home.release()
        self.pins.program_died()
        for cable in self.cables.values():
            cable.line = None

    def cut_power(self) -> None:
        """In the middle of whatever is done; nobody closes a connection."""
        if not self.powered:
            return
        self.powered = False
        self.note("power is off")
        self._process.die()
        if self.broker.wire:
            self.broker.wire.dead = True
        self.card.disk.cut(self.dice)
        self.loop.call_soon(lambda: self.powered or self.end())

    def power_on(self) -> None:
        """Into a new boot of the kernel."""
        self.end()
        self.powered = True
        self.card.disk.power_on()
        self.clock.boot_again()
        self.start()

    def _committed(self) -> None:
        if self.powered:
            self.holdings.read_disk()

    # -- what happens -----------------------------------------------------------------------------------------------

    def note(self, *words: object) -> None:
        if words[0] in DIARY:
            self._diary.append(f"{self.loop.time():8.3f} s  " + " ".join(map(str, words)))
        self._trace.update(b"%.6f" % self.loop.now_s)
        for word in words:
            said = word if isinstance(word, bytes) else str(word).encode()
            self._trace.update(b"%d " % len(said) + said)

    def _told(self, device: NightDevice) -> None:
        self.note("durable", device.name, device.boot, device.side.durable)
        fresh = {(device.name, device.boot, n) for n in device.fresh}
        self.holdings.call_durable(fresh)
        self._say(promises.of_fresh(self, fresh))

    def _say(self, found: list[str]) -> None:
        self.problems += [f"at {self.loop.time():.3f} s: {text}" for text in found]

    def _rope(self) -> None:
        self.loop.call_later(self.dice.uniform(*self.pace.rope_s), self._rope)
        self.pins.set(self.ROPE, not self.pins.pin(self.ROPE).state)
        self.rope_since_s = self.loop.time()
        self.note("rope", self.pins.pin(self.ROPE).state)

    def _look(self) -> None:
        if self.powered:
            self.holdings.read_disk(everything=True)
        self._say(promises.always(self))
        if self.loop.errors:
            self._say(self.loop.errors)
            self.loop.errors = []

    def run(self) -> Outcome:
        asyncio.set_event_loop(None)
        try:
            self.loop.run_until_complete(self._run())
        finally:
            self.loop.close()
        found = dict(sorted(self.did.items()))
        trace = self._trace.hexdigest()
        return Outcome(
            self.seed, self.problems, trace, found, len(self.truths), self.commits, self.loop.time(), self._diary
        )

    async def _run(self) -> None:
        self._build()
        trouble = self._trouble(self)
        self.start()
        self._rope()
        trouble.begin()
        try:
            while self.loop.time() < self.faulty_s and not self.problems:
                await asyncio.sleep(self.pace.look_s)
                self._look()
            trouble.end()
            await self._calm()
        finally:
            self.holdings.let_go()
            if self.life:
                self.end()
            self.city.close()
            self.card.disk.close()

    async def _calm(self) -> None:
        """Everything is well now, and nothing new happens after a few seconds."""
        self.note("calm")
        end_s = self.loop.time() + 5.0
        while not self.problems and self.loop.time() < end_s + CALM_MAX_S:
            await asyncio.sleep(1.0)
            self._look()
            if self.loop.time() < end_s:
                continue
            for device in self.devices:
                device.quiet = True
            if promises.has_settled(self):
                break
        if not self.problems:
            self._say(promises.at_the_end(self))
