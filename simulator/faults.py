"""Bad luck: when it strikes, drawn from one seed, and what it does to the bytes of a line."""

import heapq
import random
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count
from typing import NamedTuple

from simulator.scenario import Fault

WIRE_HELD_MAX = 65_536  # bytes a slow direction holds; what comes on top is lost, as in any buffer


class Change(NamedTuple):
    """A fault that begins or ends on one target, at `s` seconds after the start."""

    s: float
    begins: bool
    target: str
    fault: Fault


class Schedule:
    """Faults in order of time: once at `at_s`, or once in each window of `every_s`, anywhere in it.

    Each fault on each target has dice of its own, so that adding one does not move the others.
    """

    def __init__(self, faults: Iterable[Fault], lines: list[str], seed: int) -> None:
        courses = [
            _course(fault, target, random.Random(f"{seed}/{index}/{target}"))
            for index, fault in enumerate(faults)
            for target in (lines if fault.on == "lines" else [fault.on])
        ]
        self._changes = heapq.merge(*courses, key=lambda change: change.s)
        self._next = next(self._changes, None)

    @property
    def next_s(self) -> float | None:
        """When something begins or ends next, None when nothing will."""
        return self._next.s if self._next else None

    def due(self, now_s: float) -> Iterator[Change]:
        """What has begun or ended since the last call, in order."""
        while self._next and self._next.s <= now_s:
            yield self._next
            self._next = next(self._changes, None)


def _course(fault: Fault, target: str, dice: random.Random) -> Iterator[Change]:
    if fault.at_s is not None:
        yield Change(fault.at_s, True, target, fault)
        yield Change(fault.at_s + fault.for_s, False, target, fault)
        return
    every_s = fault.every_s or 1.0
    for window in count():
        start_s = window * every_s + dice.random() * max(0.0, every_s - fault.for_s)
        yield Change(start_s, True, target, fault)
        yield Change(min(start_s + fault.for_s, (window + 1) * every_s), False, target, fault)


class Wire:
    """One direction of a line: what is put in comes out later, damaged or never, as the standing faults have it."""

    def __init__(self, standing: list[Fault], dice: random.Random) -> None:
        self._standing = standing  # shared by both directions and whoever begins and ends faults
        self._dice = dice
        self._held: deque[tuple[float, bytes]] = deque()
        self._held_bytes = 0

    def carry(self, data: bytes, now_s: float) -> bytes:
        """Put `data` in (b"" to only look) and get what arrives now."""
        if not self._standing and not self._held:
            return data
        if data:
            data = self._damaged(data)
        delay_s = max((f.delay_s for f in self._standing if f.do == "delay"), default=0.0)
        if data and self._held_bytes + len(data) <= WIRE_HELD_MAX:
            self._held.append((now_s + delay_s, data))
            self._held_bytes += len(data)
        arrived = b""
        while self._held and self._held[0][0] <= now_s:
            arrived += self._held.popleft()[1]
        self._held_bytes -= len(arrived)
        return arrived

    def clear(self) -> None:
        """Forget what is under way: the cable was pulled."""
        self._held.clear()
        self._held_bytes = 0

    def _damaged(self, data: bytes) -> bytes:
        if any(fault.do == "mute" for fault in self._standing):
            return b""
        share = max((f.share for f in self._standing if f.do == "garble"), default=0.0)
        return garbled(data, share, self._dice) if share else data


def garbled(data: bytes, share: float, dice: random.Random) -> bytes:
    """About `share` of the bytes flipped in one bit, dropped or doubled, in equal parts."""
    result = bytearray()
    for byte in data:
        if dice.random() >= share:
            result.append(byte)
            continue
        kind = dice.randrange(3)
        if kind == 0:
            result.append(byte ^ 1 << dice.randrange(8))
        elif kind == 1:
            result += bytes((byte, byte))
    return bytes(result)
