"""Every figure of simulated days against the truth, and the estimates of a wait against what came."""

import random
from typing import Any

import pytest

from gateway.visits import Visit
from simulator import hall_box, kpi_check
from simulator.hall_box import Bad
from simulator.hall_days import days
from simulator.mms import TARGET, TOLERANCE, simulated


@pytest.mark.slow
def test_every_figure_of_simulated_days_agrees_with_the_truth(tmp_path):
    found = kpi_check.played(5, 1, tmp_path / "truth.jsonl")
    assert found.problems == []
    assert found.parts == 5 * 7
    assert found.approx > 0
    assert found.box.restarts > 2
    assert found.box.boot == 3
    assert found.worst_s <= kpi_check.EXACT_S


def test_the_comparison_sees_a_wait_that_a_recall_restarts(tmp_path, monkeypatch):
    """A bug planted: what the truth is compared with can fail."""

    def restarts(self: Visit, kind: str, moment: Any, window: str, to: str) -> None:
        hear(self, kind, moment, window, to)
        if kind == "recalled":
            self.called = moment

    hear = Visit.hear
    monkeypatch.setattr(Visit, "hear", restarts)
    found = kpi_check.played(1, 1, tmp_path / "truth.jsonl", Bad(reboots=0))
    assert any("wait mean_s" in problem for problem in found.problems)


@pytest.mark.slow
def test_les_has_twice_the_error_of_queue_length_in_heavy_traffic():
    found = simulated(servers=10, load=0.95, customers=40_000, seed=1)
    assert found.n > 30_000
    assert found.ratio == pytest.approx(TARGET, abs=TOLERANCE)


def test_a_day_is_one_seed():
    one, other = (hall_box.live(days(0, 1, 9), random.Random(3), Bad()) for _ in range(2))
    assert one.told == other.told
