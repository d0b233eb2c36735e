"""A moment that can be kept over a restart, and how long ago it was.

Within one boot the monotonic clock says so, whatever happens to the wall. Across boots only two walls can, and only
while both are to be believed; else nobody knows for how long the box was off.
"""

from typing import NamedTuple

import msgspec

from gateway.contract import Label


class Moment(msgspec.Struct, frozen=True, omit_defaults=True):
    """boot: this machine's boot number. mono_s: on that boot's clock. wall_s: UTC, None while the clock was unsure."""

    boot: int
    mono_s: float
    wall_s: float | None = None


class Here(NamedTuple):
    """Where we are in time. offset_s: wall minus monotonic, None while the clock is unsure."""

    boot: int = 0
    offset_s: float | None = None

    @classmethod
    def by(cls, label: Label) -> "Here":
        return cls(label.boot, None if label.wall is None else label.wall - label.mono)

    def moment(self, mono_s: float) -> Moment:
        wall_s = None if self.offset_s is None else round(mono_s + self.offset_s, 3)
        return Moment(self.boot, round(mono_s, 3), wall_s)

    def since_s(self, moment: Moment, now_s: float) -> float | None:
        """None when nobody can say. Below 0: the wall of an earlier boot was ahead of ours."""
        if moment.boot == self.boot:
            return now_s - moment.mono_s
        if moment.wall_s is None or self.offset_s is None:
            return None
        return now_s + self.offset_s - moment.wall_s

    def wall_s(self, moment: Moment) -> float | None:
        """By what is known now for a moment of this boot, by what was known then for one of another."""
        if moment.boot == self.boot and self.offset_s is not None:
            return moment.mono_s + self.offset_s
        return moment.wall_s
