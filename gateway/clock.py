"""Time: wall, monotonic, boot number, and whether to believe the wall.

The only file that asks the operating system for time. Waits, timeouts and orders use `mono_s`; the wall is only
a label. Facts and traps: a Pi without a clock comes up plausible and wrong, so "known" is what the kernel's
discipline flag says (adjtimex STA_UNSYNC), never how sensible the date looks.
"""

import ctypes
import time
from pathlib import Path

import msgspec

from gateway.contract import Label

BUILD_FLOOR_S = 1_793_491_200.0  # 2026-11-01: an earlier wall is wrong whatever the kernel says
STEP_S = 0.5
_CHECK_EVERY_S = 10.0
_STA_UNSYNC = 0x40
_UNKNOWN_ERR_S = 1.0

sleep_s = time.sleep


class Belief(msgspec.Struct, frozen=True):
    """clock: "ntp", "rtc" or "unsure"; err_s: how far off the wall may be, None when nobody knows."""

    clock: str
    err_s: float | None


UNSURE = Belief("unsure", None)


class SystemClock:
    """trust="kernel": believe the wall when the kernel says it is disciplined. "system": believe it anyway."""

    def __init__(self, trust: str = "kernel") -> None:
        self._trust = trust
        self._checked_s = -_CHECK_EVERY_S
        self._checked_offset_s = 0.0
        self._belief = UNSURE

    def mono_s(self) -> float:
        """CLOCK_BOOTTIME: counts suspend, shared by all processes of a boot."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall_s(self) -> float:
        return time.time()

    def belief(self) -> Belief:
        """Asked of the kernel now and then, and whenever the wall was set: that alone may have ended the discipline."""
        now_s, wall_s = self.mono_s(), self.wall_s()
        stepped = abs(wall_s - now_s - self._checked_offset_s) >= STEP_S
        if stepped or now_s - self._checked_s >= _CHECK_EVERY_S:
            self._checked_s, self._checked_offset_s = now_s, wall_s - now_s
            self._belief = self._ask_kernel()
        return UNSURE if wall_s < BUILD_FLOOR_S else self._belief

    def _ask_kernel(self) -> Belief:
        synced, err_s = _adjtimex()
        if synced:
            return Belief("ntp", err_s)
        return Belief("rtc", _UNKNOWN_ERR_S) if self._trust == "system" else UNSURE


class Wall:
    """The wall as the packs see it: one offset to the monotonic clock, kept until it is off by a step."""

    def __init__(self, clock: SystemClock, cfg: str) -> None:
        self._clock = clock
        self.boot = 0  # the store knows and says it
        self.cfg = cfg
        self.belief = UNSURE
        self._offset_s = 0.0

    def look(self) -> bool:
        """Whether the label changed: became known, became unsure, or stepped by 0.5 s or more.

        Whoever calls must have closed the open packs before the next `label`.
        """
        belief = self._clock.belief()
        offset_s = self._clock.wall_s() - self._clock.mono_s()
        stepped = abs(offset_s - self._offset_s) >= STEP_S
        changed = belief.clock != self.belief.clock or (stepped and belief.clock != "unsure")
        if changed or not stepped:
            self._offset_s = offset_s
        self.belief = belief
        return changed

    def label(self) -> Label:
        mono = self._clock.mono_s()
        known = self.belief.clock != "unsure"
        wall = mono + self._offset_s if known else None
        return Label(self.boot, mono, wall, self.belief.clock, self.belief.err_s, self.cfg)


def boot_id() -> str:
    """The kernel's random name for this boot; it has no order, so the store keeps a number beside it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class _Timex(ctypes.Structure):
    _fields_ = [  # struct timex of <sys/timex.h>; what follows `constant` is only room
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("room", ctypes.c_char * 256),
    ]


def _adjtimex() -> tuple[bool, float | None]:
    """(disciplined, largest error in s). Reads only: modes is 0."""
    timex = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return False, None
    synced = state >= 0 and not timex.status & _STA_UNSYNC
    return synced, round(timex.maxerror / 1e6, 3) if synced else None
