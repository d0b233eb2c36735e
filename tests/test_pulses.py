"""A pulse meter: litres and flow from edges, bounces and lost power included."""

import random

import pytest

from drivers.pulses import PulseMeter
from drivers.reading import Reading

OPEN, CLOSED = True, False


class Reed:
    """A meter's contact and what the gateway makes of it; edges at their own times, ticks each 0.1 s."""

    def __init__(self, **settings: float) -> None:
        self.meter = PulseMeter("m1", **({"litres": 10.0} | settings))  # type: ignore[arg-type]
        self.now_s = 100.0
        self.told: list[Reading] = []
        self.meter.level(OPEN, self.now_s)
        self.wait(0.1)

    def wait(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-9:
            self.now_s = min(self.now_s + 0.1, end_s)
            self.told += self.meter.tick(self.now_s)

    def close(self, for_s: float = 0.05) -> None:
        self.meter.edge(CLOSED, self.now_s)
        self.wait(for_s)
        self.meter.edge(OPEN, self.now_s)

    def values(self, point: str) -> list[float]:
        return [reading.value for reading in self.told if reading.point == f"m1:{point}"]  # type: ignore[misc]


def test_each_pulse_is_its_litres() -> None:
    reed = Reed(start_m3=1234.5)
    for _ in range(30):
        reed.close()
        reed.wait(1.95)
    assert reed.meter.count == 30
    assert reed.values("total")[0] == 1234.5 and reed.values("total")[-1] == pytest.approx(1234.8)
    assert reed.values("flow")[-1] == pytest.approx(10e-3 / 2, rel=0.05)


def test_bounces_are_one_pulse_by_the_edges_own_times() -> None:
    reed, dice = Reed(), random.Random(1)
    for _ in range(50):
        at_s = reed.now_s
        for _ in range(dice.randrange(8)):  # they come all at once, as from a thread that was late
            reed.meter.edge(CLOSED, at_s)
            reed.meter.edge(OPEN, at_s + 0.001)
            at_s += 0.003
        reed.meter.edge(CLOSED, at_s)
        reed.meter.edge(OPEN, at_s + 0.06)
        reed.now_s = at_s + 0.06
        reed.wait(0.5)
    assert reed.meter.count == 50


def test_a_spike_shorter_than_the_debounce_is_no_water() -> None:
    reed = Reed(debounce_s=0.02)
    for _ in range(20):
        reed.meter.edge(CLOSED, reed.now_s)
        reed.meter.edge(OPEN, reed.now_s + 0.015)
        reed.wait(1)
    assert reed.meter.count == 0


def test_the_flow_falls_when_the_next_pulse_is_late_and_ends() -> None:
    reed = Reed()
    for _ in range(5):
        reed.close()
        reed.wait(1.95)
    full = reed.values("flow")[-1]
    reed.wait(8)
    assert 0 < reed.values("flow")[-1] < full / 3
    reed.wait(20)
    assert reed.values("flow")[-1] == 0.0
    told = len(reed.told)
    reed.wait(600)
    assert len(reed.told) == told, "standing water is told once"


def test_counts_go_on_after_a_restart_and_a_closed_contact_is_not_counted_again() -> None:
    meter = PulseMeter("m1", 10.0, count=500)
    meter.level(CLOSED, 10.0)
    assert meter.tick(10.1)[1].value == 5.0
    meter.edge(OPEN, 11.0)
    meter.edge(CLOSED, 12.0)
    meter.tick(13.0)
    assert meter.count == 501


def test_readings_come_at_most_once_a_second() -> None:
    reed = Reed(litres=0.1)
    for _ in range(100):
        reed.close(0.03)
        reed.wait(0.07)
    assert reed.meter.count == 100 and len(reed.values("total")) <= 12


def test_a_falling_estimate_is_told_when_it_has_halved_and_not_each_second() -> None:
    reed = Reed()
    for _ in range(5):
        reed.close()
        reed.wait(19.95)
    told = len(reed.told)
    reed.wait(300)
    assert len(reed.told) - told <= 2 * 5
    assert reed.values("flow")[-1] == 0.0
