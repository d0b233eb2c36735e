"""A Modbus line on the loop: asks, listens, opens again what was unplugged. The master decides, this only carries.

What one unit is for the rest of the gateway is a Source: a name, silence of its own, faults of its own.
"""

import asyncio
import logging
import math
from collections.abc import Callable

from drivers.modbus import Master
from drivers.modbus_unit import Unit
from drivers.reading import Fact
from drivers.serial_line import SerialLine
from gateway.contract import Json
from gateway.ports import HeldLine

log = logging.getLogger(__name__)

_READ_BYTES = 512
_LEAST_S = 0.001


class Source:
    """One unit as a source that can be silent. told_silent: what the alarm was last told."""

    def __init__(self, unit: Unit, silent_s: float, mono_s: Callable[[], float]) -> None:
        self.name = unit.name
        self.unit = unit
        self._silent_s = silent_s
        self._mono_s = mono_s
        self._since_s = mono_s()
        self.told_silent: bool | None = None
        self._told_wrong: dict[str, tuple[int, int]] | None = None

    @property
    def spoke(self) -> bool:
        """Whether it said anything since the start."""
        return self.unit.heard_s > self._since_s

    @property
    def silent_s(self) -> float | None:
        """For how long nothing came, once that is longer than it may be."""
        waited_s = self._mono_s() - max(self.unit.heard_s, self._since_s)
        return waited_s if waited_s > self._silent_s else None

    def changed(self) -> tuple[str, Json | None] | None:
        """(alarm, cause or None) when its settings are not as they were told last."""
        unit = self.unit
        if not unit.settings or unit.wrong == self._told_wrong:
            return None
        self._told_wrong = dict(unit.wrong)
        if not unit.wrong:
            return f"settings:{unit.name}", None
        said = ", ".join(f"{name} {found}, expected {expected}" for name, (found, expected) in unit.wrong.items())
        return f"settings:{unit.name}", {"condition": "settings", "value": said}


class ModbusPort(HeldLine):
    """Serves the Box as gateway/ports.py does. on_facts must not block."""

    def __init__(
        self, name: str, line: SerialLine, master: Master, sources: list[Source], loop: asyncio.AbstractEventLoop,
        on_facts: Callable[[list[Fact]], None], mono_s: Callable[[], float], silent_s: float,
    ) -> None:  # fmt: skip
        super().__init__(name, line)
        self.link = master
        self.units = sources
        self._loop = loop
        self._on_facts = on_facts
        self._mono_s = mono_s
        self._silent_s = silent_s
        self._timer: asyncio.TimerHandle | None = None
        self._refused: set[str] = set()
        self.paused = False
        self.told_silent: bool | None = None
        for source in sources:
            source.unit.wake = self._pump

    # -- the line ----------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """A few times a second: open what is closed."""
        if self._fd is not None:
            self._pump()
        elif self._mono_s() >= self.line.next_try_s:
            self._open()

    def _serve(self, fd: int) -> None:
        self.link.reset()
        self._loop.add_reader(fd, self._readable)
        self._pump()

    def _readable(self) -> None:
        data = self.line.read(_READ_BYTES)
        if data is None:
            self._lost()
            return
        self._take(self.link.feed(data, self._mono_s()))
        self._pump()

    def _pump(self) -> None:
        """What is due now, and come back when something is again."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._fd is None:
            return
        now_s = self._mono_s()
        self._take(self.link.tick(now_s))
        frame = b"" if self.paused else self.link.next(now_s)
        if frame and self.line.write(frame) < 0:
            self._lost()
            return
        due_s = self.link.due_s(now_s) - now_s
        if due_s < 3600 and not (self.paused and not frame):
            self._timer = self._loop.call_later(max(_LEAST_S, due_s), self._pump)

    def _take(self, facts: list[Fact]) -> None:
        if facts:
            self._on_facts(facts)

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            self._fd = None
            self.link.reset()
            self.line.close()

    # -- what the Box asks -------------------------------------------------------------------------------------------

    def sources(self) -> "list[ModbusPort | Source]":
        """Whose silence is told: the line as a whole, and each unit."""
        return [self, *self.units]

    def faults(self) -> list[tuple[str, Json | None]]:
        """Alarms that begin or end, and why; what a unit refuses is logged once."""
        for source in self.units:
            if source.unit.refused and source.unit.refused not in self._refused:
                self._refused.add(source.unit.refused)
                log.warning("%s refuses %s: another model or firmware?", source.name, source.unit.refused)
        return [change for source in self.units if (change := source.changed())]

    @property
    def unwritten(self) -> bool:
        """Whether an output waits for its first try."""
        return self._fd is not None and any(source.unit.hurried for source in self.units)

    def pause(self, on: bool) -> None:
        """Stop asking while too much waits for the disk: what is not asked cannot be lost."""
        self.paused = on
        self._pump()

    def durable(self, boot: int, seq: int) -> None:
        """A polled line numbers nothing."""

    @property
    def spoke(self) -> bool:
        return self.link.hello

    @property
    def silent_s(self) -> float | None:
        """For how long no unit answered, once that is longer than the site file allows."""
        waited_s = self._mono_s() - self.link.last_heard_s
        return waited_s if waited_s > self._silent_s and not self.paused else None

    @property
    def trouble(self) -> str:
        """Why nothing comes from here, in the installer's words; "" when all is well."""
        return self._error

    def facts(self) -> dict[str, object]:
        """For health and doctor."""
        return line_facts(self.link, self._mono_s()) | {"open": self._fd is not None, "error": self.trouble}


def line_facts(master: Master, now_s: float) -> Json:
    """What a master knows of its line, as health tells it; of an open line without trouble."""
    return {
        "open": True, "error": "", "hello": master.hello, "boot": 0, "received": 0, "durable": 0, "ring": 0,
        "good": master.frames_good, "bad": master.frames_bad, "silent_s": round(now_s - master.last_heard_s, 1),
        "beat": {"echoes": master.echoes, "strays": master.strays},
        "units": {unit.name: _unit_facts(unit, now_s) for unit in master.units},
    }  # fmt: skip


def _unit_facts(unit: Unit, now_s: float) -> Json:
    counts = unit.counts
    return {
        "address": unit.address, "offline": unit.offline, "asked": counts.asked, "good": counts.good,
        "bad": counts.bad, "silent": counts.silent, "late": counts.late, "doubled": counts.doubled,
        "refused": unit.refused, "rewritten": counts.rewritten,
        "silent_s": round(now_s - unit.heard_s, 1) if math.isfinite(unit.heard_s) else None,
        "settings": dict(unit.settings),
        "wrong": {name: list(pair) for name, pair in unit.wrong.items()},
    }  # fmt: skip
