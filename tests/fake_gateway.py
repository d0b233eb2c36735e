"""The least a gateway must do for the devices on its lines: take in order, commit, acknowledge, forget when killed."""

import os
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drivers.kiosk_line import KioskLink
from drivers.node_link import NodeLink
from drivers.reading import Event, Fact, Lost

Key = tuple[str, int, int]


class FakeGateway:
    """Keeps what its links hand over; durable is what it has committed, once a second. kill() is as the real one."""

    def __init__(self, links: Path, names: list[str], mono_s: Callable[[], float]) -> None:
        self.durable: dict[Key, Any] = {}
        self.lost: set[Key] = set()
        self.bad = 0
        self._folder, self._names, self._mono_s = links, names, mono_s
        self._marks: dict[str, tuple[int, int]] = {}
        self._fds: dict[str, int] = {}
        self._committed_s = 0.0
        self.kill()

    def kill(self) -> None:
        """What was received and not committed is forgotten; the next life begins from the marks."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
        self._pending: list[Fact] = []
        self._links: dict[str, Any] = {
            name: (KioskLink if name[0] == "k" else NodeLink)(name, self._mono_s, self._marks.get(name, (0, 0)))
            for name in self._names
        }

    def step(self) -> None:
        for name, link in self._links.items():
            self._pending += link.feed(self._read(name))
            link.tick()
            answer = link.outgoing()
            if answer and name in self._fds:
                try:
                    os.write(self._fds[name], answer)
                except OSError:
                    pass
        if self._mono_s() - self._committed_s >= 1.0:
            self.commit()

    def commit(self) -> None:
        self._committed_s = self._mono_s()
        for fact in self._pending:
            self._keep(fact)
        self._pending.clear()
        for name, link in self._links.items():
            self._marks[name] = (link.boot, link.received)
            link.durable(link.boot, link.received)
        self.bad += sum(link.frames_bad for link in self._links.values())

    def close(self) -> None:
        self.kill()

    def _keep(self, fact: Fact) -> None:
        if isinstance(fact, Lost):
            self.lost |= {(fact.source, fact.boot, n) for n in range(fact.first, fact.last + 1)}
            return
        source = fact.source if isinstance(fact, Event) else fact.point.partition(":")[0]
        key = (source, fact.boot, fact.seq)
        assert key not in self.durable, f"{key} came twice"
        self.durable[key] = fact.data["value"] if isinstance(fact, Event) else fact.value

    def _read(self, name: str) -> bytes:
        try:
            if name not in self._fds:
                fd = os.open(self._folder / name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
                tty.setraw(fd)
                self._fds[name] = fd
            data = os.read(self._fds[name], 65_536)
            if data:
                return data
        except BlockingIOError:
            return b""
        except OSError:
            pass
        if fd := self._fds.pop(name, None):  # end of file, or gone: the plug was pulled
            os.close(fd)
        return b""


def key_of(src: str) -> Key:
    source, boot, seq = src.split("/")
    return source, int(boot), int(seq)
