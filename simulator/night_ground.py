"""What a gateway stands on in a night: clock, lines, pins, and those who turn its storage and its uplink.

Each takes the place of a thread, a driver's file or the kernel and decides nothing: the rounds, turns, links and waits
are the gateway's own.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gateway.clock import UNSURE, Belief, SystemClock
from gateway.link import Link
from gateway.pending import Confirm, Pending, Work
from gateway.storage import Broken, Storage
from gateway.uplink import Uplink
from gateway.wire import Listener, Will, Wire
from simulator.night_card import Card
from simulator.virtual_loop import Process, Timer, VirtualLoop

EPOCH_S = 1_800_000_000.0  # UTC at the beginning of every night
IDLE_S = 1.0  # as long as the storage's thread waits for work
STUCK_BYTES = 4096  # what a line's buffer takes while its far end takes nothing


class NightClock(SystemClock):
    """The machine's clocks. wall_error_s: how far the wall is off; synced: whether the kernel calls it disciplined."""

    def __init__(self, loop: VirtualLoop, dice: random.Random) -> None:
        super().__init__("kernel")
        self._loop = loop
        self._dice = dice
        self.wall_error_s = 0.0
        self.synced = True
        self.boots = 0
        self.boot_again()

    def boot_again(self) -> None:
        """The kernel starts: the monotonic clock begins anew."""
        self.boots += 1
        self._born_s = self._loop.now_s - self._dice.uniform(3.0, 40.0)
        self._checked_s = float("-inf")

    @property
    def boot_id(self) -> str:
        return f"kernel-{self.boots}"

    def true_s(self, mono_s: float) -> float:
        """Virtual seconds of the night at a moment of this boot."""
        return mono_s + self._born_s

    def mono_s(self) -> float:
        return self._loop.now_s - self._born_s

    def wall_s(self) -> float:
        return EPOCH_S + self._loop.now_s + self.wall_error_s

    def _ask_kernel(self) -> Belief:
        return Belief("ntp", 0.05) if self.synced else UNSURE


class Cable:
    """A serial line between a device and the gateway, one end each. delay_s: of each way.

    cut: unplugged. noise: how likely a piece comes garbled or not at all. stuck: nothing leaves the gateway.
    """

    def __init__(self, name: str, loop: VirtualLoop, dice: random.Random) -> None:
        self.name = name
        self._loop = loop
        self._dice = dice
        self.delay_s = 0.005
        self.cut = False
        self.noise = 0.0
        self.stuck = False
        self.hears: Callable[[bytes], None] = lambda data: None  # the device
        self.line: CableEnd | None = None  # the gateway, while it runs

    def from_device(self, data: bytes) -> None:
        self._carry(data, self._to_gateway)

    def from_gateway(self, data: bytes) -> None:
        self._carry(data, self._to_device)

    def _carry(self, data: bytes, arrive: Callable[[bytes], None]) -> None:
        if self.cut:
            return
        if self.noise and self._dice.random() < self.noise:
            data = self._spoiled(data)
        self._loop.call_later(self.delay_s, arrive, data)

    def _spoiled(self, data: bytes) -> bytes:
        at = self._dice.randrange(len(data))
        match self._dice.randrange(3):
            case 0:
                return b""
            case 1:
                return data[:at]
            case _:
                return data[:at] + bytes([data[at] ^ 1 << self._dice.randrange(8)]) + data[at + 1 :]

    def _to_gateway(self, data: bytes) -> None:
        if self.line and not self.cut:
            self.line.arrive(data)

    def _to_device(self, data: bytes) -> None:
        if not self.cut:
            self.hears(data)

    def unplug(self) -> None:
        self.cut = True
        if self.line:
            self.line.hang_up()

    def unstick(self) -> None:
        self.stuck = False
        if self.line:
            self.line.room_again()


class CableEnd:
    """drivers/serial_line.py's SerialLine over a Cable."""

    _fds = 100

    def __init__(self, cable: Cable, process: Process, mono_s: Callable[[], float]) -> None:
        self._cable = cable
        self._process = process
        self._mono_s = mono_s
        self.path = Path(cable.name)
        self._heard = bytearray()
        self._unsent = bytearray()
        self._hung_up = False
        self.next_try_s = mono_s()
        self.fd = -1
        self.error = ""
        cable.line = self

    def open(self) -> bool:
        if self.fd >= 0:
            return True
        if self._cable.cut:
            self._drop("found no such port, expected one there")
            return False
        self._hung_up = False
        self._heard.clear()
        self._unsent.clear()
        CableEnd._fds += 1
        self.fd = CableEnd._fds
        self.error = ""
        return True

    def read(self, size: int) -> bytes | None:
        if self._hung_up:
            self._drop("found the line gone")
            return None
        data = bytes(self._heard[:size])
        del self._heard[:size]
        if self._heard:
            self._tell()
        return data

    def write(self, data: bytes) -> int:
        if self._hung_up:
            self._drop("found the line gone")
            return -1
        if not self._cable.stuck:
            self._cable.from_gateway(data)
            return len(data)
        taken = data[: STUCK_BYTES - len(self._unsent)]
        self._unsent += taken
        return len(taken)

    def close(self) -> None:
        self.fd = -1

    def _drop(self, why: str) -> None:
        self.close()
        self.error = f"{self.path}: {why}"
        self.next_try_s = self._mono_s() + 0.5

    # -- the cable's side -----------------------------------------------------------------------------------------

    def arrive(self, data: bytes) -> None:
        if self.fd >= 0:
            self._heard += data
            self._tell()

    def hang_up(self) -> None:
        self._hung_up = True
        self._tell()

    def room_again(self) -> None:
        if self.fd >= 0 and not self._hung_up and self._unsent:
            self._cable.from_gateway(bytes(self._unsent))
        self._unsent.clear()
        self._process.call_soon(self._process.writable, self.fd)

    def _tell(self) -> None:
        self._process.call_soon(self._process.readable, self.fd)


class NightPin:
    """One pin of the world, as gpiozero has them."""

    def __init__(self, level: bool) -> None:
        self.state: int = int(level)
        self.bounce: float | None = None
        self.edges = ""
        self.when_changed: Callable[[float, int], None] | None = None

    def input_with_pull(self, pull: str) -> None:
        pass

    def output_with_state(self, level: bool) -> None:
        self.state = int(level)

    def close(self) -> None:
        self.when_changed = None


class NightPins:
    """A gpiozero pin factory; its pins outlive the program, as they do in the kernel."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.pins: dict[int, NightPin] = {}

    def pin(self, gpio: int) -> NightPin:
        return self.pins.setdefault(gpio, NightPin(True))

    def ticks(self) -> float:
        return self._loop.now_s

    def ticks_diff(self, later: float, earlier: float) -> float:
        return later - earlier

    def set(self, gpio: int, level: bool) -> None:
        """The world moves a pin."""
        pin = self.pin(gpio)
        if pin.state != int(level):
            pin.state = int(level)
            if pin.when_changed:
                pin.when_changed(self._loop.now_s, pin.state)

    def program_died(self) -> None:
        for pin in self.pins.values():
            pin.when_changed = None


class NightStorage(Storage):
    """The storage's rounds, turned on the virtual loop: a commit is done only when the card is."""

    def __init__(self, process: Process, card: Card, committed: Callable[[], None], *rest: Any) -> None:
        """committed: called after each round, before anybody hears of it."""
        super().__init__(*rest)
        self._process = process
        self._card = card
        self._told = committed
        self._timer: Timer | None = None
        self._at_s = 0.0
        self.put_s = process.time()  # when something was last handed over, or was seen not to wait
        self.counted_s = self.put_s  # the same for what numbered sources said
        self._over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        self._later(self._process.rested(IDLE_S))

    def put(self, item: Work | Confirm | Broken | None) -> None:
        self._queue.put(item)
        if isinstance(item, Work):
            self.put_s = self.counted_s = self._process.time()
        done_s = self._card.commit_s()
        if self._timer and not self._attempts and self._process.time() + done_s < self._at_s:
            self._later(done_s)

    def look(self, pending: Pending) -> None:
        """To be called before anything can begin to wait."""
        if not pending.records:
            self.put_s = self._process.time()
        if not pending.has_marks:
            self.counted_s = self._process.time()

    async def close(self, timeout_s: float) -> bool:  # type: ignore[override]
        self.put(None)
        return await _within(self._over, timeout_s)

    def _later(self, wait_s: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._at_s = self._process.time() + wait_s
        self._timer = self._process.call_later(wait_s, self._turn)

    def _turn(self) -> None:
        try:
            rest_s = self.round()
            self._told()
            if self.finished:
                self.end()
                self._over.set_result(True)
                return
        except Exception as error:
            self.failed(error)
            raise
        more_s = self._card.commit_s() if not self._queue.empty() else self._process.rested(IDLE_S)
        self._later(rest_s or more_s)


class NightUplink(Uplink):
    """The uplink's turns on the virtual loop: it comes back when the wire has something, a bell rings or time is up."""

    def __init__(
        self, process: Process, open_wire: Callable[[Will, Listener, Callable[[], None]], Wire], *rest: Any
    ) -> None:
        def on_this_ring(link: Link, version: int, will: Will, listener: Listener) -> Wire:
            return open_wire(will, listener, self._ring)

        super().__init__(*rest, open_wire=on_this_ring)
        self._process = process
        self._timer: Timer | None = None
        self._rung = False
        self._steps: Iterator[float] = iter(())
        self._over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        self._steps = self.turns()
        self._step()

    def die(self) -> None:
        """As the kernel does it: the connection is closed, the database is let go."""
        self._steps.close()  # type: ignore[attr-defined]

    async def close(self, timeout_s: float) -> bool:  # type: ignore[override]
        self.end()
        return await _within(self._over, timeout_s) or not self.state.connected

    def _ring(self) -> None:
        if self._timer and not self._rung:
            self._rung = True
            self._timer.cancel()
            self._timer = self._process.call_soon(self._step)

    def _step(self) -> None:
        self._rung = False
        try:
            rest_s = next(self._steps)
        except StopIteration:
            self._timer = None
            self._over.set_result(True)
            return
        except Exception as error:
            self.fault = error
            raise
        self._timer = self._process.call_later(self._process.rested(rest_s), self._step)


async def _within(over: "asyncio.Future[bool]", timeout_s: float) -> bool:
    done, _ = await asyncio.wait([over], timeout=timeout_s)
    return bool(done)
