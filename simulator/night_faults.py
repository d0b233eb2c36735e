"""What goes wrong in a night, and when. Each fault begins at a random step, is counted, and is taken back."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from gateway.contract import STREAMS

if TYPE_CHECKING:
    from simulator.night import Night

EVERY_S = (0.3, 3.0)  # between two faults
CALM_SYNC_S = 2.0
LONG_S = 15.0
Undo = Callable[[], None] | None
Deed = Callable[["Night"], None]


class Trouble(Protocol):
    """What goes wrong from `begin` to `end`; from then on all is well."""

    def begin(self) -> None: ...
    def end(self) -> None: ...


class Plan:
    """Each deed at its moment. first: done before the gateway starts."""

    def __init__(self, night: "Night", first: Deed, deeds: Iterable[tuple[float, Deed]]) -> None:
        self._night = night
        self._deeds = list(deeds)
        first(night)

    def begin(self) -> None:
        for at_s, deed in self._deeds:
            self._night.loop.call_later(at_s, deed, self._night)

    def end(self) -> None:
        pass


class Faults:
    """At random steps."""

    def __init__(self, night: "Night") -> None:
        self._night = night
        self._dice = night.dice
        self._loop = night.loop
        self._on = False
        self._undo: dict[str, Callable[[], None]] = {}  # what is not well at the moment, by the part it happens to
        self._kinds: list[tuple[str, Callable[[], Undo]]] = [
            ("process death", self._kill), ("power cut", self._power_cut), ("clean stop", self._stop),
            ("broker away", self._broker_away), ("broker forgets", self._broker_forgets),
            ("broker slow", self._broker_slow), ("broker mute", self._broker_mute),
            ("broker refuses client", self._broker_refuses_client), ("broker refuses stream", self._broker_refuses),
            ("broker swallows", self._broker_swallows), ("broker repeats", self._broker_repeats),
            ("connection cut", self._cut), ("connection half-open", self._half_open),
            ("city away", self._city_away), ("city restored", self._city_restored),
            ("line cut", self._line_cut), ("line noise", self._line_noise), ("line stuck", self._line_stuck),
            ("disk stall", self._stall), ("disk error", self._disk_error),
            ("disk full", self._disk_full),
            ("clock step", self._clock_step), ("clock unsure", self._clock_unsure),
            ("device reboot", self._device_reboot), ("burst", self._burst),
        ]  # fmt: skip

    def begin(self) -> None:
        self._on = True
        self._later(self._strike)
        self._copy_city()

    def _later(self, what: Callable[[], None]) -> None:
        self._loop.call_later(self._dice.uniform(*EVERY_S) * self._night.pace.between, what)

    def _strike(self) -> None:
        if not self._on:
            return
        self._later(self._strike)
        name, fault = self._dice.choice(self._kinds)
        self.strike(name, fault)

    def strike(self, name: str, fault: Callable[[], Undo]) -> None:
        """One part has one trouble at a time: where one is already, nothing more happens."""
        part = name.split()[0]
        if part in self._undo:
            return
        undo = fault()
        if undo is None:
            return
        self._night.did[name] += 1
        self._night.note("fault", name)
        self._undo[part] = undo
        lasts_s = self._dice.choice((0.3, 2.0, 6.0, 20.0)) * self._dice.random() * self._night.pace.lasts
        if self._night.gives_up and part in ("broker", "city"):
            lasts_s += LONG_S  # so that the room does not last
        self._loop.call_later(lasts_s, self._mend, part, undo)

    def _mend(self, part: str, undo: Callable[[], None]) -> None:
        if self._undo.get(part) is undo:
            del self._undo[part]
            self._night.note("mended", part)
            undo()

    def end(self) -> None:
        """Everything is well from now on, the clock within seconds."""
        self._on = False
        for part, undo in list(self._undo.items()):
            self._mend(part, undo)
        night = self._night
        night.start()
        self._loop.call_later(CALM_SYNC_S, self._sync)

    # -- the program and its machine --------------------------------------------------------------------------------

    def _kill(self) -> Undo:
        if self._night.life is None:
            return None
        self._night.end()
        return self._night.start

    def _power_cut(self) -> Undo:
        """Now or in the middle of a commit. No battery: the wall comes back as it was saved, or in 1970."""
        night, clock = self._night, self._night.clock
        if night.life is None:
            return None
        wall_s = clock.wall_s()
        if self._dice.random() < 0.3:
            night.cut_power()
        else:
            night.card.cut_after(self._dice.randrange(1, 60))

        def on() -> None:
            night.card.cut_after(0)
            night.cut_power()  # if it was not yet
            clock.synced = False
            now_s = self._dice.uniform(0.0, 60.0) if self._dice.random() < 0.3 else wall_s - self._dice.uniform(0, 60)
            clock.wall_error_s += now_s - clock.wall_s()
            night.power_on()
            boot = clock.boots
            self._loop.call_later(self._dice.uniform(1.0, 40.0), lambda: boot == clock.boots and self._sync())

        return on

    def _stop(self) -> Undo:
        night, life = self._night, self._night.life
        if life is None or life.stopping:
            return None
        began_s = self._loop.time()

        def stopped(_: object) -> None:
            if night.life is life and life.process.alive:
                if self._loop.time() - began_s > 5.0:
                    night.problems.append(f"stopping took {self._loop.time() - began_s:.1f} s")
                life.stopping = None
                night.end()

        life.stopping = self._loop.create_task(life.box.stop())
        life.stopping.add_done_callback(stopped)

        def again() -> None:
            if night.life is life:
                night.end()
            night.start()

        return again

    # -- the broker and the city --------------------------------------------------------------------------------------

    def _broker_away(self) -> Undo:
        self._night.broker.stop(forgets=False)
        return self._night.broker.start

    def _broker_forgets(self) -> Undo:
        self._night.broker.stop(forgets=True)
        return self._night.broker.start

    def _broker_slow(self) -> Undo:
        return self._set("latency_s", self._dice.choice((0.2, 1.0, 3.0)))

    def _broker_mute(self) -> Undo:
        return self._set("mute", True)

    def _broker_refuses_client(self) -> Undo:
        self._night.broker.cut(half_open=False)
        return self._set("refuses_client", True)

    def _broker_refuses(self) -> Undo:
        return self._set("refuses", {self._dice.choice(STREAMS)})

    def _broker_swallows(self) -> Undo:
        return self._set("swallows", self._dice.choice((0.2, 1.0)))

    def _broker_repeats(self) -> Undo:
        return self._set("repeats", 0.5)

    def _set(self, name: str, value: object) -> Undo:
        broker = self._night.broker
        before = getattr(broker, name)
        setattr(broker, name, value)
        return lambda: setattr(broker, name, before)

    def _cut(self) -> Undo:
        self._night.broker.cut(half_open=False)
        return lambda: None

    def _half_open(self) -> Undo:
        self._night.broker.cut(half_open=True)
        return lambda: None

    def _city_away(self) -> Undo:
        self._night.city.die()
        return self._night.city.start

    def _copy_city(self) -> None:
        if self._on:
            self._loop.call_later(self._dice.uniform(5.0, 40.0) * self._night.pace.lasts, self._copy_city)
            self._night.city.copy()

    def _city_restored(self) -> Undo:
        city = self._night.city
        if not city.has_copy or self._night.gives_up:  # what the city had goes first where room is short
            return None
        city.die()
        city.restore()
        return city.start

    # -- lines and devices --------------------------------------------------------------------------------------------

    def _line_cut(self) -> Undo:
        cable = self._dice.choice(list(self._night.cables.values()))
        cable.unplug()

        def plug() -> None:
            cable.cut = False

        return plug

    def _line_noise(self) -> Undo:
        cable = self._dice.choice(list(self._night.cables.values()))
        cable.noise = self._dice.choice((0.05, 0.5))

        def quiet() -> None:
            cable.noise = 0.0

        return quiet

    def _line_stuck(self) -> Undo:
        cable = self._dice.choice(list(self._night.cables.values()))
        cable.stuck = True
        return cable.unstick

    def _device_reboot(self) -> Undo:
        self._dice.choice(self._night.devices).reboot()
        return lambda: None

    def _burst(self) -> Undo:
        device = self._dice.choice(self._night.devices)
        for _ in range(self._dice.choice((20, 60, 250))):
            device.produce()
        return lambda: None

    # -- the card and the clock ---------------------------------------------------------------------------------------

    def _stall(self) -> Undo:
        self._night.card.stalled_until_s = self._loop.time() + self._dice.choice((0.5, 2.0, 8.0))
        return lambda: None

    def _disk_error(self) -> Undo:
        disk = self._night.card.disk
        disk.fail(self._dice.choice(("write", "sync", "sync", "read", "open")), self._dice.choice((1, 1, 3, None)))
        return disk.mend

    def _disk_full(self) -> Undo:
        if self._night.did["city restored"]:
            return None
        self._night.gives_up = True
        disk = self._night.card.disk
        disk.room_bytes = self._dice.choice((0, 3_000, 30_000))
        return disk.mend

    def _clock_step(self) -> Undo:
        """Somebody sets the wall. The kernel then takes its discipline back until the clock is right again."""
        clock = self._night.clock
        clock.synced = False
        clock.wall_error_s += self._dice.choice((-18_000.0, -30.0, -0.4, 0.4, 3.0, 18_000.0, 18_000.0))
        return self._sync

    def _clock_unsure(self) -> Undo:
        self._night.clock.synced = False
        return self._sync

    def _sync(self) -> None:
        clock = self._night.clock
        clock.wall_error_s = 0.0
        clock.synced = True
