"""A calendar's moments as a site file writes them: "monthly sun 06:00", "weekly mon 05:30"; local time of the centre.

Monthly is the first such day of a month.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway.opening import DAYS

FORM = 'how often, a day and a time, such as "monthly sun 06:00" or "weekly mon 05:30"'
_TEXT = re.compile(rf"(monthly|weekly) ({'|'.join(DAYS)}) ([01]\d|2[0-3]):([0-5]\d)")


class Recurring(NamedTuple):
    monthly: bool
    day: int  # 0 is Monday
    minute: int  # of that day

    def latest(self, wall_s: float, tz: str) -> tuple[str, float]:
        """(its date, its UTC seconds) of the last moment that is not after wall_s."""
        zone = ZoneInfo(tz)
        date = datetime.fromtimestamp(wall_s, UTC).astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        while True:
            if date.weekday() == self.day and (not self.monthly or date.day <= 7):
                moment = date.replace(hour=self.minute // 60, minute=self.minute % 60)
                if moment.timestamp() <= wall_s:
                    return date.strftime("%Y-%m-%d"), moment.timestamp()
            date = (date - timedelta(days=1)).replace(tzinfo=zone)


def parse(text: str) -> Recurring | None:
    """None for what is no such moment."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    return Recurring(match[1] == "monthly", DAYS.index(match[2]), int(match[3]) * 60 + int(match[4]))
