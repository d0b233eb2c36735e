"""Sensors that need a person: stuck, silent, not tested for too long."""

from typing import Any

import pytest

from drivers.reading import Value
from gateway.upkeep import DAY_S, Care, Upkeep

CORD = Care("wc/cord", "n1", True, stuck_s=1800, test_days=35)
FLOW = Care("main/flow", "n1", False, stuck_s=3600, silent_s=120)


class World:
    """One box: its clocks turned by hand, its sensors' latest values set by hand."""

    def __init__(self, *cares: Care, kept: dict[str, object] | None = None) -> None:
        self.now_s = 1000.0
        self.wall_s: float | None = 1_795_622_400.0
        self.kept: dict[str, object] = kept or {}
        self.values: dict[str, tuple[Value, float]] = {}
        self.silent_sources: set[str] = set()
        self.upkeep = Upkeep(
            list(cares), lambda source: source in self.silent_sources, self.kept, self.kept.__setitem__, self.now_s
        )

    def says(self, sensor: str, value: Value) -> None:
        if self.values.get(sensor, (None,))[0] != value and not isinstance(value, float):
            self.upkeep.changed(sensor, value, self.now_s)
        self.values[sensor] = (value, self.now_s)

    def after(self, seconds: float) -> dict[str, Any]:
        """{alarm: cause} of what began or ended in that time; ticks each second at its end."""
        self.now_s += seconds
        if self.wall_s is not None:
            self.wall_s += seconds
        return dict(self.upkeep.tick(self.now_s, self.wall_s, self.values.get))


def test_a_cord_that_stays_pulled_is_stuck_until_it_is_let_go() -> None:
    world = World(CORD)
    world.says("wc/cord", False)
    assert world.after(5) == {"stuck:wc/cord": None, "untested:wc/cord": None}
    world.says("wc/cord", True)
    assert world.after(1) == {}
    assert world.after(1797) == {}
    assert world.after(5) == {"stuck:wc/cord": {"condition": "stuck", "value": True}}
    assert world.after(500) == {}, "told once"
    world.says("wc/cord", False)
    assert world.after(1) == {"stuck:wc/cord": None}


def test_what_stands_at_the_start_ends_no_alarm_of_before_until_it_is_known() -> None:
    world = World(CORD)
    world.says("wc/cord", True)
    assert "stuck:wc/cord" not in world.after(5)
    assert world.after(1800) == {"stuck:wc/cord": {"condition": "stuck", "value": True}}


def test_a_number_that_is_exactly_the_same_for_too_long_is_stuck_but_a_silent_one_is_not() -> None:
    world = World(FLOW)
    for _ in range(70):
        world.says("main/flow", 0.00012)
        found = world.after(60)
        assert "silent:main/flow" not in found or found["silent:main/flow"] is None
        if found.get("stuck:main/flow"):
            break
    assert world.now_s == pytest.approx(1000 + 3600 + 60, abs=61)
    world.says("main/flow", 0.00013)
    assert world.after(1) == {"stuck:main/flow": None}
    silent = world.after(7200)
    assert silent == {"silent:main/flow": {"condition": "silent", "value": 7201}}
    world.says("main/flow", 0.00013)
    assert world.after(1)["silent:main/flow"] is None


def test_a_sensor_that_never_spoke_is_silent_and_its_silent_line_speaks_for_all_on_it() -> None:
    world = World(FLOW)
    assert world.after(119) == {}
    world.silent_sources.add("n1")
    assert world.after(100) == {}, "one alarm for the line, not one for each sensor on it"
    world.silent_sources.clear()
    assert world.after(1) == {"silent:main/flow": {"condition": "silent", "value": 220}}


def test_a_cord_not_pulled_for_35_days_is_to_be_tested_and_a_short_pull_is_a_test() -> None:
    world = World(CORD)
    world.says("wc/cord", False)
    world.after(1)
    assert world.after(34.9 * DAY_S) == {}
    assert world.after(0.2 * DAY_S)["untested:wc/cord"] == {"condition": "untested", "value": 35.1}
    world.says("wc/cord", True)
    world.says("wc/cord", False)
    assert world.after(0.5)["untested:wc/cord"] is None


def test_the_days_go_on_over_a_restart_and_wait_for_the_clock() -> None:
    world = World(CORD)
    world.says("wc/cord", True)
    world.after(1)
    later = World(CORD, kept=world.kept)
    later.wall_s = None
    assert "untested:wc/cord" not in later.after(1), "the clock is unsure: nothing is judged"
    later.says("wc/cord", True)  # a test while the clock is unsure counts from when it was
    later.after(DAY_S)
    later.wall_s = 1_795_622_400.0 + 40 * DAY_S
    assert later.after(1)["untested:wc/cord"] is None
    assert later.after(33.9 * DAY_S) == {}
    assert later.after(0.2 * DAY_S)["untested:wc/cord"] is not None
