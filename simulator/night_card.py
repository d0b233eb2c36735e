"""The disk of a night: SQLite's files on a virtual disk, and how long a commit takes on it."""

import random
from collections.abc import Callable

from simulator.virtual_disk import VirtualDisk
from simulator.virtual_loop import VirtualLoop


class Card:
    """slowness_s: the longest of an ordinary commit. cut_power: called at the write that the power does not outlast."""

    def __init__(self, loop: VirtualLoop, dice: random.Random, cut_power: Callable[[], None]) -> None:
        self._loop = loop
        self._dice = dice
        self._cut_power = cut_power
        self._left = 0  # writes and syncs until the cut
        self.disk = VirtualDisk()
        self.slowness_s = 0.02
        self.stalled_until_s = 0.0

    def commit_s(self) -> float:
        """How long a commit that begins now takes."""
        return max(self.stalled_until_s - self._loop.time(), 0.0) + self._dice.uniform(0.001, self.slowness_s)

    def cut_after(self, asked: int) -> None:
        """In the middle of a commit: at so many writes and syncs from now. 0: not any more."""
        self._left = asked
        self.disk.stall = self._asked if asked else None

    def _asked(self, _what: str, _kind: str) -> None:
        self._left -= 1
        if self._left == 0:
            self.cut_after(0)
            self._cut_power()
