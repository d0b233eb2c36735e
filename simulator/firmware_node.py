"""A node that runs its real firmware: the building moves its pins, and the truth is what it says on its line.

Every byte it writes is read here first, and written to the truth before it may go on to the gateway.
"""

import ast
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path

from drivers.kinds import LOOP_STATES
from drivers.node_frame import (
    ACK,
    BEAT,
    DATA,
    EVENT,
    HELLO,
    LOST,
    NACK,
    Splitter,
    parse_ack,
    parse_beat,
    parse_data,
    parse_hello,
    parse_lost,
)
from drivers.node_settings import Settings
from drivers.reading import Value
from gateway.config import Sensor
from simulator.building import Report, point_kind
from simulator.firmware import PWRON_RESET, ROOT, Firmware
from simulator.spans import Spans
from simulator.truth import Truth

BOARD = "pico"
PRESS_S = 0.3  # a finger on a button
WIRE_BYTES_MAX = 4096  # what nobody takes from the line is lost, as on any
WDT_RESET = 3
# What the ADC reads of 2.2 kOhm, 10.4 kOhm and the two ends, against 10 kOhm to the supply.
RAW = {"short": 0, "normal": 65535 * 22 // 122, "alarm": 65535 * 104 // 204, "cut": 65535}


def wiring(board: str = BOARD) -> dict[str, tuple[int, ...]]:
    """GPIOs by sort of point, as the board's own file has them. "pad": worst to best, then the clerk's button."""
    names = {"_LOOPS": "loop", "_FLOWS": "flow", "_CONTACTS": "contact", "_PAD": "pad"}
    found: dict[str, tuple[int, ...]] = {}
    for line in ast.parse((ROOT / f"drivers/node/boards/{board}.py").read_text()).body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) and line.targets[0].id in names:
            found[names[line.targets[0].id]] = ast.literal_eval(line.value)
    return found


def place(point: str) -> tuple[str, int]:
    """("loop", 2) of "n1:loop2"."""
    kind = point_kind(point)
    return kind, int(point.partition(":")[2][len(kind) :])


def not_on_board(points: Iterable[str]) -> list[str]:
    """Those that the board has not."""
    has = {kind: 1 if kind == "pad" else len(gpios) for kind, gpios in wiring().items()}
    return [point for point in points if place(point)[1] > has.get(place(point)[0], 0)]


class FirmwareNode:
    """Stands for a simulated Device and its side: `pump` and `offer` from within, `feed` and `outgoing` on the line.

    flash: folder that outlives it. sensors: those of the site file on it. settings: as the site file gives them.
    moved, told: inputs that were moved by `move`, and that it told of. lost: numbers it gave up, of all its boots.
    boot: as its HELLO says, 0 before.
    """

    def __init__(
        self,
        name: str,
        flash: Path,
        sensors: Iterable[Sensor],
        settings: Settings,
        truth: Truth,
        wall_s: Callable[[], float],
        mono_s: Callable[[], float],
    ) -> None:
        self.name = name
        self.side = self
        self.pending: deque[object] = deque()  # nothing ever waits: a pin is moved at once
        self.moved: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.lost = self.events_lost = self.watchdog_resets = 0
        self.levels: dict[str, Value] = {}  # of loops and contacts, as they were last moved
        self.beats: list[tuple[int, int, int]] = []  # uptime_s, free_b, rss_kib
        self._sensor = {sensor.point: sensor.id for sensor in sensors}
        self._settings = settings
        self._truth, self._wall_s, self._mono_s = truth, wall_s, mono_s
        self._calm = False
        self._flash = flash
        self._wiring = wiring()
        self._pins: dict[str, str] = {}  # what was last done to each, for a chip that starts again
        self._releases: deque[tuple[float, str]] = deque()
        self._seen: dict[str, Value] = {}
        self._start(PWRON_RESET)

    def _start(self, cause: int) -> None:
        self._firmware = Firmware(self._flash, BOARD, cause)
        self._said, self._heard = Splitter(), Splitter()
        self._out = b""
        self._points: list[str] = []
        self.boot = self._last = self._durable = 0
        self._given_up = Spans()
        self._events: set[int] = set()  # said and not yet durable
        for line in self._pins.values():
            self._firmware.drive(line)

    # -- from within -------------------------------------------------------------------------------------------------

    def offer(self, reports: Iterable[Report]) -> None:
        for point, value, _ in reports:
            kind, number = place(point)
            if kind == "pad":
                self._press(int(float(value or 0)))
            else:
                self.levels[point] = value
                self._drive(*self._level(kind, number, value))

    def move(self, point: str, value: Value) -> None:
        """As a Report; and the firmware owes one telling of it."""
        self.moved[point] += 1
        self.offer([Report(point, value, True)])

    def _level(self, kind: str, number: int, value: Value) -> tuple[str, str]:
        gpio = self._wiring[kind][number - 1]
        if kind == "loop":
            return f"adc {gpio}", str(RAW[str(value)])
        if kind == "flow":
            pulse_m3 = self._settings.get("flow", number, "pulse_ul") * 1e-9
            return f"pulses {gpio}", f"{float(value or 0) / pulse_m3:.3f}"
        active_is_closed = bool(self._settings.get("contact", number, "closed_is"))
        return f"pin {gpio}", "0" if bool(value) == active_is_closed else "1"

    def _press(self, grade: int) -> None:
        """1 to 5; 0: the clerk asks, and the firmware says in its own time that nobody answered."""
        pin = f"pin {self._wiring['pad'][grade - 1]}"
        self._drive(pin, "0")
        self._releases.append((self._mono_s() + PRESS_S, pin))

    def _drive(self, pin: str, level: str) -> None:
        self._pins[pin] = f"{pin} {level}"
        self._firmware.drive(self._pins[pin])

    def calm(self) -> None:
        """No water runs any more, and once all it said is durable its power is gone: else it would tell for ever."""
        self._calm = True
        for gpio in self._wiring["flow"]:
            self._drive(f"pulses {gpio}", "0")

    def pump(self) -> None:
        """Read what it has said. After its watchdog it starts again; raises RuntimeError when it ended otherwise."""
        if self._firmware.closed:
            return
        while self._releases and self._releases[0][0] <= self._mono_s():
            self._drive(self._releases.popleft()[1], "1")
        if said := self._firmware.read():
            self._note(said)
            self._out += said
        if self._calm and not self.undurable:
            self.close()
            return
        if len(self._out) > WIRE_BYTES_MAX:
            self._out = b""
        if self._firmware.code is not None:
            code, log = self._firmware.code, self._firmware.log
            if code != WDT_RESET:
                raise RuntimeError(f"the firmware of {self.name} ended with {code}: {log}")
            self.watchdog_resets += 1
            self._restart(WDT_RESET)

    def reboot(self) -> None:
        """The power was away for a moment."""
        self._restart(PWRON_RESET)

    def _restart(self, cause: int) -> None:
        if self._last > self._durable:
            self._truth.lost(self.name, self.boot, self._durable + 1, self._last, self._wall_s())
            self._truth.flush()
        self._firmware.kill()
        self._start(cause)

    def close(self) -> None:
        self._firmware.kill()

    @property
    def undurable(self) -> int:
        """Numbers said and not durable, moved inputs of which nothing was said, and a HELLO that has not come."""
        return int(not self.boot) + self._last - self._durable + max(0, self.untold - self.lost)

    @property
    def untold(self) -> int:
        return sum((self.moved - self.told).values())

    def summary(self) -> dict[str, object]:
        return {
            "moved": self.moved.total(),
            "untold": self.untold,
            "untold_points": dict(self.moved - self.told),
            "lost": self.lost,
            "events_lost": self.events_lost,
            "watchdog_resets": self.watchdog_resets,
            "beats": self.beats,
        }

    # -- on the line -------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """From the gateway."""
        for kind, _, _, payload in self._heard.feed(data):
            if kind in (ACK, NACK):
                boot, _, durable = parse_ack(payload)
                if boot == self.boot and durable > self._durable:
                    self._durable = durable
                    self._events = {seq for seq in self._events if seq > durable}
        self._firmware.write(data)

    def outgoing(self, bytes_max: int) -> bytes:
        out, self._out = self._out[:bytes_max], self._out[bytes_max:]
        return out

    def reset_line(self) -> None:
        """What was under way while the plug was out is lost; nobody tells the firmware."""
        self._out = b""

    def _note(self, data: bytes) -> None:
        for kind, boot, seq, payload in self._said.feed(data):
            if kind == HELLO:
                self.boot = boot
                self._points = _points(self.name, parse_hello(payload)[2])
            elif kind in (DATA, EVENT) and seq > self._last:
                self._last = seq
                self._fact(boot, seq, kind, payload)
            elif kind == LOST:
                self._lost(boot, parse_lost(payload), seq)
            elif kind == BEAT:
                uptime_s, free_b, _, _ = parse_beat(payload)
                self.beats.append((uptime_s, free_b, self._firmware.rss_kib))
        self._truth.flush()

    def _fact(self, boot: int, seq: int, kind: int, payload: bytes) -> None:
        index, age_ms, code = parse_data(payload)
        point = self._points[index]
        sort, _ = place(point)
        value: Value | None = code
        if sort == "loop":
            value = LOOP_STATES[int(code)]
        elif sort == "contact":
            value = bool(code)
        elif sort == "pad":
            value = int(code) or None
        what, sensor = ("event", point) if sort == "pad" else ("reading", self._sensor.get(point, point))
        self._truth.fact(self.name, boot, seq, what, sensor, value, self._wall_s() - age_ms / 1000)
        if kind == EVENT:
            self._events.add(seq)
            self.told[point] += sort == "pad" or (point in self._seen and self._seen[point] != value)
            self._seen[point] = value or 0

    def _lost(self, boot: int, first: int, last: int) -> None:
        before = len(self._given_up)
        self._given_up.add(first, last)
        self._last = max(self._last, last)
        if len(self._given_up) > before:
            self.lost += len(self._given_up) - before
            self.events_lost += len({seq for seq in self._events if first <= seq <= last})
            self._events = {seq for seq in self._events if not first <= seq <= last}
            self._truth.lost(self.name, boot, first, last, self._wall_s())


def _points(name: str, text: str) -> list[str]:
    """ "fw;loop*2 pad*1;…" -> ["n1:loop1", "n1:loop2", "n1:pad1"]"""
    listed = [item.split("*") for item in text.split(";")[1].split()]
    return [f"{name}:{kind}{number}" for kind, count in listed for number in range(1, int(count) + 1)]
