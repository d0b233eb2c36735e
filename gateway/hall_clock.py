"""Moments that survive a restart, and how long it was between two: exact within a boot, by the wall clock across one.

A moment is a boot's number and its monotonic time. For each boot the wall clock's offset is kept as it was known last,
so that a clock that becomes known later corrects what was measured before.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway.contract import Label

KEEP = "hall:boots"
_BOOTS_MAX = 16  # whose offsets are remembered; a duration from an earlier one is unknown
_STEP_S = 0.5  # as the clock's own: a smaller change is no news


class BootTime(NamedTuple):
    """A moment: the boot's number and its monotonic time."""

    boot: int
    mono_s: float


class Span(NamedTuple):
    """How long something took. approx: by the wall clock, across a reboot."""

    s: float
    approx: bool = False


class Local(NamedTuple):
    """A moment on the wall of the centre. minute: of the day."""

    day: date
    minute: float


class HallClock:
    """label: the running boot and its clock. kept: state of an earlier run."""

    def __init__(
        self, label: Callable[[], Label], tz: str, kept: Mapping[str, object], keep: Callable[[str, object], None]
    ) -> None:
        self._label = label
        self._zone = ZoneInfo(tz)
        self._keep = keep
        offsets = kept.get(KEEP)
        self._offsets = {int(boot): float(s) for boot, s in offsets.items()} if isinstance(offsets, dict) else {}
        self._boot = label().boot
        self.look()

    def look(self) -> bool:
        """Now and then: whether the wall clock became known, or was set."""
        now = self._label()
        self._boot = now.boot
        if now.wall is None:
            return False
        offset_s = now.wall - now.mono
        if abs(self._offsets.get(now.boot, -1e18) - offset_s) < _STEP_S:
            return False
        self._offsets[now.boot] = offset_s
        for boot in sorted(self._offsets)[:-_BOOTS_MAX]:
            del self._offsets[boot]
        self._keep(KEEP, {str(boot): round(s, 3) for boot, s in self._offsets.items()})
        return True

    def at(self, mono_s: float) -> BootTime:
        """Of this boot."""
        return BootTime(self._boot, round(mono_s, 4))

    def between(self, start: BootTime, end: BootTime) -> Span | None:
        """Never below 0: two sources' clocks differ by the age of a line. None: a clock was never known."""
        if start.boot == end.boot:
            return Span(max(0.0, end.mono_s - start.mono_s))
        first, second = self._offsets.get(start.boot), self._offsets.get(end.boot)
        if first is None or second is None:
            return None
        return Span(max(0.0, end.mono_s + second - start.mono_s - first), True)

    def mono_s(self, moment: BootTime) -> float | None:
        """On this boot's clock; below what is possible for one of an earlier boot. None: unknown."""
        if moment.boot == self._boot:
            return moment.mono_s
        then, now = self._offsets.get(moment.boot), self._offsets.get(self._boot)
        return None if then is None or now is None else moment.mono_s + then - now

    def local(self, mono_s: float) -> Local | None:
        """Of this boot; None while its clock was never known."""
        offset_s = self._offsets.get(self._boot)
        if offset_s is None or self._label().wall is None:
            return None
        at = datetime.fromtimestamp(mono_s + offset_s, self._zone)
        return Local(at.date(), at.hour * 60 + at.minute + at.second / 60)
