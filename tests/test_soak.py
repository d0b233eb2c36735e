"""`linli soak` tells what grows from what only trembles. Nothing is timed here."""

import os
import random
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.control import NotRunning, ask
from gateway.home import DATABASE
from simulator.processes import Processes
from simulator.soak import DAY_S, QUANTITIES, Sample, sample, shown, slopes, soak


def hour(growth_mib_a_day: float, *, database: float = 0.0) -> list[Sample]:
    """An hour of samples every 6 s: memory that trembles by 0.2 MiB and grows; all else is still."""
    dice = random.Random(3)
    days = [second / DAY_S for second in range(0, 3600, 6)]
    return [
        Sample(day * DAY_S, 60 + growth_mib_a_day * day + dice.gauss(0, 0.2), 2 + database * day, 30, 4) for day in days
    ]


def bad(samples: list[Sample], times: float = 1.0) -> list[str]:
    return [slope.name for slope in slopes(samples, times) if not slope.good]


def test_memory_that_only_trembles_is_good_and_memory_that_leaks_is_not() -> None:
    assert bad(hour(0)) == []
    assert bad(hour(60)) == ["rss"]


def test_a_slope_is_found_with_its_interval_and_its_ends() -> None:
    rss = slopes(hour(60), 1.0)[0]
    assert rss.line.slope_low < 60 < rss.line.slope_high
    assert rss.last - rss.first == pytest.approx(60 * 0.45 / 24, abs=0.2)  # nine tenths of half an hour


def test_the_first_half_is_left_out() -> None:
    filling = [each._replace(rss=each.rss - 30) if each.at_s < 1799 else each for each in hour(0)]
    assert bad(filling) == []


def test_one_open_file_an_hour_is_borne_and_ten_are_not() -> None:
    still = hour(0)
    assert bad([each._replace(files=30 + each.at_s // 360) for each in still]) == ["files"]
    assert bad([each._replace(files=30 + each.at_s // 3600) for each in still]) == []


def test_the_database_may_grow_with_the_rate() -> None:
    assert bad(hour(0, database=150)) == ["database"]
    assert bad(hour(0, database=150), times=5) == []


def test_what_is_shown_names_each_quantity_its_bound_and_its_fate() -> None:
    lines = shown(slopes(hour(60), 1.0)).splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(QUANTITIES)
    assert ["BAD" in line for line in lines] == [True, False, False, False]


def test_a_sample_is_of_the_process_and_of_the_database_with_its_log(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(bytes(3 << 20))
    (tmp_path / f"{DATABASE}-wal").write_bytes(bytes(1 << 20))
    found = sample(os.getpid(), tmp_path, 7.0)
    assert (found.at_s, found.database) == (7.0, 4.0)
    assert found.rss > 5
    assert found.files >= 3
    assert found.threads >= 1


@pytest.mark.slow
@pytest.mark.mosquitto
def test_a_few_seconds_of_the_whole_centre_are_sampled_and_nothing_is_left_running(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        samples = soak(tmp_path, processes, 4.0, 5.0, 1)
    assert len(samples) >= 3
    assert all(min(each[1:]) > 0 for each in samples)
    with pytest.raises(NotRunning):
        ask(tmp_path / "state", {"ask": "status"}, 1.0)


@pytest.mark.parametrize("arguments", [("--minutes", "0.5"), ("--times", "0")])
def test_too_short_or_too_slow_is_wrong_use(arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["soak", *arguments])
    assert left.value.code == 2
    assert "expected" in capsys.readouterr().err
