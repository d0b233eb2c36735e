"""Totals that go on when a meter is changed, wraps or stutters."""

import random

import msgspec
import pytest

from drivers.reading import FAULT, GOOD, Event, Fact, Reading
from gateway.contract_catalogue import MeterSwapped
from gateway.meters import Counter, Totals

POINT = "meter:total"


class Run:
    """One run of the gateway; `kept` outlives it."""

    def __init__(self, kept: dict[str, object] | None = None, wraps_at: float | None = None) -> None:
        self.kept: dict[str, object] = kept if kept is not None else {}
        self.totals = Totals([Counter(POINT, wraps_at)], dict(self.kept), self.kept.__setitem__)
        self.facts: list[Fact] = []

    def reads(self, *values: float, quality: str = GOOD) -> list[float]:
        facts = [fact for value in values for fact in self.totals.take([Reading(POINT, value, 1.0, quality=quality)])]
        self.facts += facts
        return [fact.value for fact in facts if isinstance(fact, Reading)]  # type: ignore[misc]

    @property
    def events(self) -> list[dict[str, object]]:
        return [fact.data for fact in self.facts if isinstance(fact, Event)]


def test_a_total_that_grows_is_told_as_it_is() -> None:
    run = Run()
    assert run.reads(10.0, 10.0, 12.5) == [10.0, 10.0, 12.5]
    assert run.events == []


def test_a_new_meter_is_an_event_and_the_total_goes_on() -> None:
    run = Run()
    assert run.reads(1000.0, 3.0, 3.1, 3.2, 4.0) == pytest.approx([1000.0, 1000.0, 1000.0, 1000.2, 1001.0])
    assert run.events == [{"value": 3.0, "was": 1000.0, "point": "total", "offset": 997.0}]
    msgspec.convert(run.events[0], MeterSwapped)  # the city's contract
    assert [f.quality for f in run.facts if isinstance(f, Reading)] == [GOOD, FAULT, FAULT, GOOD, GOOD]


def test_a_unit_that_says_nought_once_while_it_boots_is_no_new_meter() -> None:
    run = Run()
    run.reads(1000.0, 0.0, 0.0, 1000.5)
    assert run.events == [] and run.reads(1001.0) == [1001.0]


def test_the_total_goes_on_across_a_restart() -> None:
    first = Run()
    first.reads(1000.0, 3.0, 3.1, 3.2)
    second = Run(first.kept)
    assert second.reads(3.2, 4.2) == pytest.approx([1000.2, 1001.2])
    assert second.events == []


def test_a_meter_that_was_changed_while_the_gateway_was_off_is_noticed() -> None:
    first = Run()
    first.reads(1000.0)
    second = Run(first.kept)
    second.reads(2.0, 2.0, 2.0)
    assert second.events[0]["was"] == 1000.0


def test_a_counter_that_wraps_goes_on_without_an_event() -> None:
    run = Run(wraps_at=4294.967296)
    assert run.reads(4294.9, 0.1)[-1] == pytest.approx(4295.067296)
    assert run.events == []


def test_a_fault_is_passed_on_and_changes_nothing() -> None:
    run = Run()
    run.reads(1000.0)
    run.reads(1.0, 1.0, 1.0, quality=FAULT)
    assert run.events == [] and run.reads(1000.0) == [1000.0]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_a_good_total_never_falls(seed: int) -> None:
    dice = random.Random(seed)
    run, raw, told = Run(wraps_at=5000.0), 4000.0, -1.0
    for _ in range(500):
        raw += dice.random() * 5
        raw = raw % 5000.0
        if dice.random() < 0.01:
            raw = dice.uniform(0, 100)
        seen = 0.0 if dice.random() < 0.02 else raw
        if dice.random() < 0.05:
            run = Run(run.kept, wraps_at=5000.0)
        for fact in run.totals.take([Reading(POINT, seen, 1.0)]):
            if isinstance(fact, Reading) and fact.quality == GOOD:
                assert isinstance(fact.value, float) and fact.value >= told - 1e-9
                told = fact.value
