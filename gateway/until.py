"""An end that was set for something, and that a restart neither forgets nor moves.

Within a boot the monotonic clock alone decides. A reboot stops that clock, so the wall does then, once it is known;
until it is, at most GRACE_S go by, and twice that over however many reboots: a box whose power flutters holds nothing
for ever.
"""

import msgspec

from gateway.contract import Label

GRACE_S = 900.0  # after a reboot, while nobody knows the time; half of it after each further one


class End(msgspec.Struct, frozen=True):
    """At mono_s of `boot`. wall_s: the same in UTC, None when nobody knew it. lasts_s: its whole length."""

    boot: int
    mono_s: float
    lasts_s: float
    wall_s: float | None = None
    crossed: bool = False  # a reboot lies between its begin and now
    grace_s: float = GRACE_S  # of the next reboot

    def left_s(self, label: Label) -> float:
        """0 or less: it is over."""
        if self.crossed and self.wall_s is not None and label.wall is not None:
            return min(self.wall_s - label.wall, self.lasts_s)
        return min(self.mono_s - label.mono, self.lasts_s)  # a snapshot's end is by the clock of another box


def begin(label: Label, lasts_s: float) -> End:
    wall_s = None if label.wall is None else label.wall + lasts_s
    return End(label.boot, label.mono + lasts_s, lasts_s, wall_s)


def taken_up(end: End, label: Label) -> End:
    """At a start of the program."""
    if end.boot == label.boot:
        return end
    mono_s = label.mono + min(end.grace_s, end.lasts_s)
    return End(label.boot, mono_s, end.lasts_s, end.wall_s, crossed=True, grace_s=end.grace_s / 2)
