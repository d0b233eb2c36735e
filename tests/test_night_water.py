"""What each meter counts from midnight to five, and when that is not known."""

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from jsonschema import Draft202012Validator

from gateway.contract import Label, Record
from gateway.contract_catalogue import NightWater as Told
from gateway.night_water import NightWater

ZONE = ZoneInfo("Asia/Shanghai")
STRICT = Draft202012Validator(msgspec.json.schema(Told)["$defs"]["NightWater"] | {"additionalProperties": False})


class World:
    def __init__(self, kept: dict[str, object] | None = None) -> None:
        self.kept = kept if kept is not None else {}
        self.told: list[tuple[str, float | None]] = []
        self.total_m3: float | None = 100.0
        self.water = NightWater(["main/total"], ZONE, self.kept, self.kept.__setitem__, self.tell)

    def tell(self, record: Record) -> None:
        STRICT.validate(record.data)
        assert record.subject == "main/total"
        self.told.append((record.data["day"], record.data["value"]))

    def at(self, day: int, hour: int, minute: int = 0, total_m3: float | None = None, known: bool = True) -> None:
        """One tick at that local time of November."""
        self.total_m3 = total_m3 if total_m3 is not None else self.total_m3
        wall_s = datetime(2026, 11, day, hour, minute, tzinfo=ZONE).timestamp()
        mono_s = wall_s - 1_790_000_000
        latest = (self.total_m3, mono_s - 20) if self.total_m3 is not None else None
        label = Label(1, mono_s, wall_s if known else None, "ntp" if known else "unsure", None, "cafe0001")
        self.water.tick(label, lambda sensor: latest)


def test_a_night_is_the_difference_of_the_total_and_is_told_once():
    world = World()
    world.at(3, 23, 59, 100.0)
    world.at(4, 0, 0, 100.01)
    world.at(4, 3, 0, 100.05)
    world.at(4, 4, 59, 100.09)
    assert world.told == []
    world.at(4, 5, 0, 100.1)
    world.at(4, 5, 1, 100.2)
    world.at(4, 12, 0, 101.0)
    assert world.told == [("2026-11-04", pytest.approx(0.09))]


def test_a_restart_in_the_night_loses_nothing():
    before = World()
    before.at(4, 0, 1, 100.0)
    world = World(before.kept)
    world.at(4, 5, 2, 100.5)
    assert world.told == [("2026-11-04", 0.5)]


@pytest.mark.parametrize(
    "ticks",
    [
        [(4, 2, 0, 100.0), (4, 5, 0, 100.2)],  # began to look too late
        [(4, 0, 0, 100.0), (4, 9, 0, 100.9)],  # was off in the morning
        [(4, 0, 0, 100.0), (4, 5, 0, 1.0)],  # another meter hangs there
        [(4, 0, 0, 100.0), (5, 5, 5, 100.0)],  # was off for a day
    ],
)
def test_a_night_that_was_not_seen_whole_has_no_figure(ticks):
    world = World()
    for tick in ticks:
        world.at(*tick)
    assert world.told == [("2026-11-04", None)]


def test_a_meter_that_speaks_late_is_waited_for_and_a_clock_that_is_unsure_tells_nothing():
    world = World()
    world.total_m3 = None
    world.at(4, 0, 0)
    world.at(4, 0, 10, 100.0)
    world.at(4, 5, 0, 101.0, known=False)
    assert world.told == []
    world.at(4, 5, 10, 101.0)
    assert world.told == [("2026-11-04", 1.0)]
