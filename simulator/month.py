"""A month in one go: the night's harness at a natural pace, to see that nothing grows.

The box looks at everything each 10 s instead of each 0.1 s, devices speak each 5 s, something fails every few hours.
"""

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from gateway import box
from gateway.home import DATABASE
from simulator.night import Night, Outcome, Pace, Place

DAYS = 30.0
DAY_S = 86_400.0
TICK_S = 10.0
PACE = Pace(
    look_s=1800.0, step_s=5.0, rest_s=TICK_S, rates_per_s=(0.002, 0.01), between=7200.0, lasts=120.0,
    rope_s=(3600.0, 40_000.0), lag_packs=3,
)  # fmt: skip
GROWN_BY_DAY = 3  # what the city has is kept for one day here, so by now the store is as large as it gets
GROWTH_MAX = 1.5
WAL_BYTES_MAX = 17_000_000  # gateway/store.py: journal_size_limit


class Month(Night):
    """sizes: bytes of the database by day; told: called with a line about each day."""

    NARROW_SHARE = 0.0

    def __init__(self, seed: int, place: Place, folder: Path, days: float, told: Callable[[str], None]) -> None:
        store = replace(
            place.site.store, budget_mb=100, confirmed_days=1, event_days=1, raw_days=1, node_commit_ms=10_000,
            commit_every_s=30,
        )  # fmt: skip
        place = place._replace(site=replace(place.site, store=store))
        super().__init__(seed, place, folder, days * DAY_S, pace=PACE)
        self.sizes: list[int] = []
        self._tell = told

    def _look(self) -> None:
        super()._look()
        if self.loop.time() >= DAY_S * (len(self.sizes) + 1):
            self._day()

    def _day(self) -> None:
        database = self._folder / "state" / DATABASE
        log = database.with_name(DATABASE + "-wal")
        size, log_size = database.stat().st_size, log.stat().st_size if log.exists() else 0
        self.sizes.append(size)
        day = len(self.sizes)
        kept = len(self.life.pending.kept) if self.life else 0
        self._tell(
            f"day {day:2}: {len(self.truths)} facts, {sum(self.did.values())} faults, store {size / 1e6:.2f} MB, "
            f"log {log_size / 1e6:.2f} MB, {kept} kept values"
        )
        if log_size > WAL_BYTES_MAX:
            self._say([f"the log has {log_size} bytes"])
        if day > GROWN_BY_DAY and size > GROWTH_MAX * self.sizes[GROWN_BY_DAY - 1]:
            self._say([f"the store grows: {self.sizes[GROWN_BY_DAY - 1]} bytes on day {GROWN_BY_DAY}, {size} now"])
        if kept > KEPT_MAX:
            self._say([f"{kept} values are kept"])


KEPT_MAX = 200  # alarms, levels, outputs, counters of simulator/sites/night.toml


def play_month(seed: int, place: Place, folder: Path, days: float, told: Callable[[str], None]) -> Outcome:
    before, box.TICK_S = box.TICK_S, TICK_S
    try:
        return Month(seed, place, folder, days, told).run()
    finally:
        box.TICK_S = before
