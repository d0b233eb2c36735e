"""A serial line with its link, on the loop: reads in small bites, writes answers, opens again what was unplugged."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from drivers.kiosk_line import KioskLink
from drivers.node_link import NodeLink
from drivers.reading import Said
from drivers.serial_line import SerialLine
from drivers.stranger import KIOSK, NODE, TAIL_BYTES, who
from gateway.contract import Json

log = logging.getLogger(__name__)

READ_BYTES = 4096  # a bite, so that a pin's edge never waits long behind a busy line
_UNSENT_MAX = 65_536

Link = NodeLink | KioskLink


def wrong_device(name: str, found: str, expected: str) -> str:
    """ "" when nobody is found, or the right one."""
    if found in ("", expected):
        return ""
    return f"{name}: found {found} in this socket, expected {expected}; swap the two plugs, or correct port"


class HeldLine:
    """A line that is opened again whenever it comes back; an outage is logged when it begins and when it ends.

    _fd: None while closed. Whoever inherits serves the open line from `_serve` on, and closes it in `close`.
    """

    def __init__(self, name: str, line: SerialLine) -> None:
        self.name = name
        self.line = line
        self.opened = 0
        self._fd: int | None = None
        self._error = ""

    def _open(self) -> None:
        if not self.line.open():
            if self.line.error != self._error:
                log.warning("%s: %s", self.name, self.line.error)
            self._error = self.line.error
            return
        if self._error or self.opened:
            log.info("%s: the line is back", self.name)
        self._error = ""
        self.opened += 1
        self._fd = self.line.fd
        self._serve(self._fd)

    def _lost(self) -> None:
        self._error = self.line.error or "the line was unplugged"
        log.warning("%s: %s", self.name, self._error)
        self.close()

    def _serve(self, fd: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Port(HeldLine):
    """on_facts gets what the line said, in its order, and must not block."""

    def __init__(
        self,
        name: str,
        line: SerialLine,
        link: Link,
        loop: asyncio.AbstractEventLoop,
        on_facts: Callable[[Sequence[Said]], None],
        mono_s: Callable[[], float],
        silent_s: float,
    ) -> None:
        super().__init__(name, line)
        self.link = link
        self._loop = loop
        self._on_facts = on_facts
        self._mono_s = mono_s
        self._unsent = b""
        self._reading = self._writing = False
        self.paused = False
        self._silent_s = silent_s
        self.told_silent: bool | None = None
        self._known_s = mono_s()  # when its device was last one that had said who it is
        self._tail = b""  # of what came since the line was opened, until its device said who it is

    def tick(self) -> None:
        """A few times a second: open what is closed, repeat answers that may have been lost."""
        if self._fd is None:
            if self._mono_s() >= self.line.next_try_s:
                self._open()
        else:
            if self.link.hello:
                self._known_s = self._mono_s()
            self.link.tick()
            self._answer()

    def _serve(self, fd: int) -> None:
        self._unsent = self._tail = b""
        self.link.reopened()
        self._listen(not self.paused)
        self.link.tick()
        self._answer()

    def _listen(self, on: bool) -> None:
        if self._fd is None or on == self._reading:
            return
        self._reading = on
        if on:
            self._loop.add_reader(self._fd, self._readable)
        else:
            self._loop.remove_reader(self._fd)

    def pause(self, on: bool) -> None:
        """Stop reading while too much waits for the disk: the sources hold what is theirs."""
        self.paused = on
        self._listen(not on)

    def _readable(self) -> None:
        data = self.line.read(READ_BYTES)
        if data is None:
            self._lost()
            return
        facts = self.link.hear(data)
        if not self.link.hello:
            self._tail = (self._tail + data)[-TAIL_BYTES:]
        if facts:
            self._on_facts(facts)
        self._answer()

    def durable(self, boot: int, seq: int) -> None:
        """Committed: tell the source at once, it may be waiting for room."""
        self.link.durable(boot, seq)
        self._answer()

    def _answer(self) -> None:
        if self._fd is None:
            return
        out = self._unsent + self.link.outgoing()
        if not out:
            return
        written = self.line.write(out)
        if written < 0:
            self._lost()
            return
        self._unsent = out[written:][:_UNSENT_MAX]
        self._await_room(bool(self._unsent))

    def _await_room(self, on: bool) -> None:
        if self._fd is None or on == self._writing:
            return
        self._writing = on
        if on:
            self._loop.add_writer(self._fd, self._answer)
        else:
            self._loop.remove_writer(self._fd)

    def close(self) -> None:
        if self._fd is not None:
            self._listen(False)
            self._await_room(False)
            self._fd = None
            self.line.close()

    def sources(self) -> "list[Port]":
        """Whose silence is told."""
        return [self]

    def faults(self) -> list[tuple[str, Json | None]]:
        """Alarms of its own that begin or end; a node or kiosk has none."""
        return []

    @property
    def unwritten(self) -> bool:
        """Whether something waits that must go out before the program ends."""
        return False

    @property
    def spoke(self) -> bool:
        """Whether its device said who it is since the start."""
        return self.link.hello

    @property
    def silent_s(self) -> float | None:
        """For how long nothing came that may be taken, once that is longer than the site file allows; else None."""
        waited_s = self._mono_s() - min(self.link.last_heard_s, self._known_s)
        return waited_s if waited_s > self._silent_s and not self.paused else None

    @property
    def trouble(self) -> str:
        """Why nothing comes from here, in the installer's words; "" when all is well."""
        return self._error or self.link.error or self._stranger()

    def _stranger(self) -> str:
        """Another kind of device sits in this socket: two plugs were swapped, or `port` is wrong."""
        if self.link.hello or not self._tail:
            return ""
        expected = NODE if isinstance(self.link, NodeLink) else KIOSK
        return wrong_device(self.name, who(self._tail), expected)

    def facts(self) -> dict[str, object]:
        """For health and doctor."""
        link = self.link
        return {
            "open": self._fd is not None, "error": self.trouble, "hello": link.hello, "boot": link.boot,
            "received": link.received, "durable": link.durable_seq, "ring": link.ring, "good": link.frames_good,
            "bad": link.frames_bad, "silent_s": round(self._mono_s() - link.last_heard_s, 1), "beat": link.beat,
            "refused": link.refused,
        }  # fmt: skip
