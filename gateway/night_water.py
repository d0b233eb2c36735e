"""Water that ran at night: what each meter with a total counted between two local hours, told once a morning.

Sans-IO. Midnight to five, because then nobody should be there: what runs is a leak, a cistern, or somebody. A night
that was not seen from its beginning to its end has no figure.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from gateway.contract import Label, Record, rfc3339
from gateway.upkeep import Latest

KEEP = "night:"
TO_HOUR = 5
PATIENCE_S = 1800.0  # so late may the box begin to look, and so old may a reading be


class Night(msgspec.Struct):
    """One under way. begun_m3: None when it was not seen from the beginning."""

    day: str
    begun_s: float
    begun_m3: float | None


class NightWater:
    """meters: sensors of kind total. tell: takes one record a meter and night."""

    def __init__(
        self, meters: list[str], zone: ZoneInfo, kept: Mapping[str, object], keep: Callable[[str, object], None],
        tell: Callable[[Record], None],
    ) -> None:  # fmt: skip
        self._zone, self._keep, self._tell = zone, keep, tell
        self._nights = {
            meter: msgspec.convert(kept[KEEP + meter], Night) if KEEP + meter in kept else None for meter in meters
        }

    def tick(self, now: Label, latest: Latest) -> None:
        """Now and then. Nothing happens while the clock is unsure."""
        if now.wall is None or not self._nights:
            return
        local = datetime.fromtimestamp(now.wall, self._zone)
        day, late_s = local.date().isoformat(), (local.hour - TO_HOUR) * 3600 + local.minute * 60 + local.second
        for meter, night in self._nights.items():
            total = _total(latest(meter), now.mono)
            if late_s < 0 and (night is None or night.day != day):
                in_time = late_s + TO_HOUR * 3600 <= PATIENCE_S
                if total is None and in_time:
                    continue  # it may still speak
                self._put(meter, Night(day, now.wall, total if in_time else None))
            elif late_s >= 0 and night is not None:
                in_time = night.day == day and late_s <= PATIENCE_S
                if total is None and in_time:
                    continue
                self._told(meter, night, total if in_time else None, now)

    def _put(self, meter: str, night: Night | None) -> None:
        self._nights[meter] = night
        self._keep(KEEP + meter, None if night is None else msgspec.to_builtins(night))

    def _told(self, meter: str, night: Night, total: float | None, now: Label) -> None:
        used_m3 = None
        if (
            total is not None and night.begun_m3 is not None and total >= night.begun_m3
        ):  # else another meter hangs there
            used_m3 = round(total - night.begun_m3, 6)
        begun = rfc3339(night.begun_s)
        self._tell(Record("water.night", meter, now.mono, {"value": used_m3, "day": night.day, "begun": begun}))
        self._put(meter, None)


def _total(latest: tuple[object, float] | None, now_s: float) -> float | None:
    """What the meter shows, in m3; None when it has not spoken lately."""
    if latest is None or now_s - latest[1] > PATIENCE_S or not isinstance(latest[0], int | float):
        return None
    return float(latest[0])
