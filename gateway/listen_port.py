"""A line that is only overheard, on the loop: a ticket printer's, call terminals', rating pads'. It writes nothing.

What is said there is said once, so it is read even while much waits for the disk: a ticket is a few hundred bytes.
"""

import asyncio
from collections.abc import Callable

from drivers.call_bus import CallBus
from drivers.escpos_tap import EscposTap
from drivers.reading import Fact
from drivers.serial_line import SerialLine
from gateway.contract import Json
from gateway.ports import READ_BYTES, HeldLine
from gateway.site_tables import SILENT_S

Ear = EscposTap | CallBus


class ListenPort(HeldLine):
    """Serves the Box as gateway/ports.py does. on_facts must not block."""

    def __init__(
        self, name: str, line: SerialLine, ear: Ear, loop: asyncio.AbstractEventLoop,
        on_facts: Callable[[list[Fact]], None], mono_s: Callable[[], float], silent_s: float,
    ) -> None:  # fmt: skip
        super().__init__(name, line)
        self.link = ear
        self._loop = loop
        self._on_facts = on_facts
        self._mono_s = mono_s
        self._silent_s = silent_s
        self._closed_s = mono_s()
        self.paused = False
        self.told_silent: bool | None = None

    def tick(self) -> None:
        """A few times a second: open what is closed, end what a pause ends."""
        self._take(self.link.tick())
        if self._fd is None and self._mono_s() >= self.line.next_try_s:
            self._open()

    def _serve(self, fd: int) -> None:
        self._loop.add_reader(fd, self._readable)

    def _readable(self) -> None:
        data = self.line.read(READ_BYTES)
        if data is None:
            self._lost()
        elif data:
            self._take(self.link.feed(data))

    def _take(self, facts: list[Fact]) -> None:
        if facts:
            self._on_facts(facts)

    def close(self) -> None:
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            self._fd = None
            self._closed_s = self._mono_s()
            self.line.close()

    # -- what the Box asks -------------------------------------------------------------------------------------------

    def sources(self) -> "list[ListenPort]":
        """Whose silence is told."""
        return [self]

    def faults(self) -> list[tuple[str, Json | None]]:
        """It has no alarm of its own but silence."""
        return []

    def pause(self, on: bool) -> None:
        """Without effect: nobody would say again what is not heard."""
        self.paused = on

    def durable(self, boot: int, seq: int) -> None:
        """Nobody waits for it."""

    @property
    def unwritten(self) -> bool:
        return False

    @property
    def spoke(self) -> bool:
        """A line that is open hears all there is; nobody may have drawn a ticket yet."""
        return self._fd is not None

    @property
    def silent_s(self) -> float | None:
        """For how long nothing came, once that is longer than the site file allows; or for how long it is closed."""
        now_s = self._mono_s()
        if self._fd is None:
            return now_s - self._closed_s if now_s - self._closed_s > SILENT_S else None
        waited_s = now_s - self.link.last_heard_s
        return waited_s if waited_s > self._silent_s else None

    @property
    def trouble(self) -> str:
        """Why nothing comes from here, in the installer's words; "" when all is well."""
        return self._error or self.link.error

    def facts(self) -> dict[str, object]:
        """For health and doctor."""
        return ear_facts(self.link, self._mono_s()) | {"open": self._fd is not None, "error": self.trouble}


def ear_facts(ear: Ear, now_s: float) -> Json:
    """What was overheard, as health tells it; of an open line without trouble."""
    return {
        "open": True, "error": ear.error, "hello": ear.hello, "boot": 0, "received": 0, "durable": 0, "ring": 0,
        "good": ear.frames_good, "bad": ear.frames_bad, "silent_s": round(now_s - ear.last_heard_s, 1),
        "beat": ear.beat,
    }  # fmt: skip
