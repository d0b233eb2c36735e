"""Predicted waits: what is known of a line, and what a forecast without training makes of it."""

import random

import msgspec
import pytest

from gateway.waiting import NOMINAL, Line, PlainForecast, by_calls, hol, les, ql

BUSY = Line("A", waiting=9, windows=2, servers=2.0, called_60=20, head_s=700.0, last_s=650.0, service_s=180.0)


def forecast(kept: dict[str, object] | None = None) -> tuple[PlainForecast, dict[str, object]]:
    found = {} if kept is None else kept

    def keep(key: str, value: object) -> None:
        found[key] = msgspec.json.decode(msgspec.json.encode(value))

    return PlainForecast(found, keep), found


@pytest.mark.parametrize(
    ("rule", "wait_s"),
    [(ql, 900.0), (by_calls, 1800.0), (les, 650.0), (hol, 700.0)],
    ids=["ql", "by_calls", "les", "hol"],
)
def test_each_rule_makes_its_wait_of_the_line(rule, wait_s):
    assert rule(BUSY) == wait_s


def test_the_first_rule_that_knows_something_speaks():
    told, _ = forecast()
    for line, wait_s in (
        (BUSY, 900.0),
        (BUSY._replace(service_s=None), 1800.0),
        (BUSY._replace(service_s=None, called_60=2), 650.0),
        (BUSY._replace(service_s=None, called_60=0, last_s=None), 700.0),
    ):
        found = told.expect(line)
        assert found is not None
        assert found.wait_s == pytest.approx(wait_s)
        assert found.low_s < wait_s < found.high_s
    assert told.expect(Line("A", 0)) is None


def test_nobody_waits_where_a_window_is_idle():
    told, _ = forecast()
    found = told.expect(Line("A", 0, windows=2, servers=2.0, idle=1, service_s=180.0))
    assert found is not None
    assert found.wait_s == 0.0


def test_the_interval_learns_from_its_own_errors_and_survives_a_restart():
    """A hall whose windows are twice as slow as they look, with a spread: both are in what is told afterwards."""
    dice = random.Random(5)
    told, kept = forecast()
    held = []
    for i in range(2000):
        line = BUSY._replace(waiting=dice.randrange(3, 30))
        found = told.expect(line)
        assert found is not None
        waited_s = (line.waiting + 1) * 180.0 * dice.lognormvariate(0.0, 0.4)
        if i >= 100:
            held.append(found.low_s <= waited_s <= found.high_s)
        told.learn(line, found, waited_s)
    assert sum(held) / len(held) == pytest.approx(NOMINAL, abs=0.05)
    assert len(msgspec.json.encode(kept)) < 1000
    again, _ = forecast(kept)
    assert again.expect(BUSY) == told.expect(BUSY)
