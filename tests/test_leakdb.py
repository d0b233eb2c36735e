"""LeakDB: its scorer against sums done by hand and published rows, and `linli bench models --set leakdb`."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from gateway import cli
from models import bench_leakdb, data

ROWS_OF_ITS_README = {
    "always silent": (0, 100, 0, 0),
    "night flow 10 %": (75.15, 67.23, 53.47, 63.34),
    "night flow 20 %": (41.21, 99.81, 58.12, 39.88),
    "night flow 30 %": (33.81, 99.95, 50.47, 32.78),
}


@pytest.fixture
def leakdb(tmp_path: Path) -> Path:
    """Two made-up scenarios of ten weeks: s1 with a leak of a third from day 40 to 60, s2 without."""
    dice = np.random.default_rng(2)
    step = np.arange(70 * 48)
    flow = (300 + 150 * np.sin(step * np.pi / 24))[:, None] * dice.normal(1, 0.01, (len(step), 2))
    flow[40 * 48 : 60 * 48, 0] += 100
    with gzip.open(tmp_path / "inflow_m3h.csv.gz", "wt") as file:
        file.write("step,s1,s2\n")
        np.savetxt(file, np.column_stack((step, flow)), delimiter=",", fmt="%.3f")
    (tmp_path / "leaks.csv").write_text(
        "scenario,leak_node,type,start_step,peak_step,end_step,diameter_m,max_leak_m3h\n"
        f"s1,6,abrupt,{40 * 48},{40 * 48},{60 * 48},0.1,100\n"
    )
    return tmp_path


# -- LeakDB's scorer --------------------------------------------------------------------------------------------------


def test_counts_are_pooled_over_scenarios() -> None:
    leak = np.zeros((20, 2), bool)
    leak[4:8, 0] = True
    alarm = np.zeros((20, 2), bool)
    alarm[5:9, 0] = True  # 3 of 4 hit, 1 false
    alarm[0, 1] = True  # another false
    tpr, tnr, f1, _ = bench_leakdb.score(alarm, leak)
    assert (tpr, tnr, f1) == pytest.approx((75.0, 100 * 34 / 36, 100 * 6 / (6 + 2 + 1)))


def test_early_detection_falls_with_the_delay_and_asks_for_an_alarm_that_stays() -> None:
    at_once, late, flickers = np.ones(21, bool), np.ones(21, bool), np.zeros(21, bool)
    late[:10] = False
    flickers[::2] = True
    assert bench_leakdb.early_detection(at_once) == 1.0
    assert bench_leakdb.early_detection(late) == pytest.approx(2 / (1 + np.exp(5 * 10 / 20)))
    assert bench_leakdb.early_detection(flickers) == 0.0
    assert bench_leakdb.early_detection(np.zeros(21, bool)) == 0.0


def test_leaks_that_touch_are_one_period_and_an_alarm_before_a_leak_is_not_early() -> None:
    leak = np.zeros((40, 1), bool)
    leak[10:20] = True
    before = np.zeros((40, 1), bool)
    before[:10] = True
    assert bench_leakdb.score(before, leak)[3] == 0.0
    assert bench_leakdb.score(leak, leak)[3] == 0.0  # ends with the leak: 10 of 20 steps are no 75 %
    after = leak.copy()
    after[20:27] = True
    assert bench_leakdb.score(after, leak)[3] == 100.0


def test_the_night_flow_rule_alarms_for_the_whole_day_and_does_not_learn_from_it() -> None:
    flow = np.full((20 * 48, 1), 100.0)
    flow[12 * 48 :] += 21.0
    flow[15 * 48 + 5] = 100.0
    alarm = bench_leakdb.night_flow(flow, 0.2)[:, 0].reshape(20, 48)
    assert alarm.all(axis=1).tolist() == [False] * 12 + [True] * 3 + [False] + [True] * 4
    assert not bench_leakdb.night_flow(flow, 0.3).any()


@pytest.mark.data
def test_the_rules_give_the_rows_of_the_data_sets_readme() -> None:
    scenarios = bench_leakdb.read(data.data_dir("leakdb-hanoi"))
    got = {"always silent": np.zeros(scenarios.leak.shape, bool)}
    got |= {f"night flow {g} %": bench_leakdb.night_flow(scenarios.flow, g / 100) for g in (10, 20, 30)}
    for name, alarm in got.items():
        assert bench_leakdb.score(alarm, scenarios.leak) == pytest.approx(ROWS_OF_ITS_README[name], abs=0.006), name


def test_ours_is_asked_step_by_step_and_hears_nothing_of_what_comes(leakdb: Path) -> None:
    flow = bench_leakdb.read(leakdb).flow
    whole = bench_leakdb.ours(flow)
    assert whole.any()
    for steps in (41 * 48, 61 * 48 + 3):
        np.testing.assert_array_equal(bench_leakdb.ours(flow[:steps]), whole[:steps])


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_last_line_is_our_row_by_name(leakdb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "models", "--set", "leakdb", "--data", str(leakdb), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["tpr", "tnr", "f1", "early"]
    assert "published: night flow 20 % 39.90 99.58 56.49 32.35" in [" ".join(line.split()) for line in lines]
    ours = json.loads(lines[-1])
    assert list(ours) == ["tpr", "tnr", "f1", "early"]
    assert ours["tpr"] > 95
    assert ours["tnr"] > 95


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("leaks.csv", "scenario,start_step,end_step\ns9,1,2\n", r"'s9' is not in list.*Expected scenario, start_step"),
        ("leaks.csv", "scenario,start_step\ns1,1\n", "does not fit"),
        ("leaks.csv", None, "leaks.csv"),
        ("inflow_m3h.csv.gz", "step,s1\n0,1\n", "inflow_m3h.csv.gz"),
        ("inflow_m3h.csv.gz", None, "inflow_m3h.csv.gz"),
    ],
)
def test_a_folder_of_another_form_is_named(
    leakdb: Path, file: str, text: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (leakdb / file).unlink()
    if text is not None:
        (leakdb / file).write_text(text)
    assert cli.main(["bench", "models", "--set", "leakdb", "--data", str(leakdb)]) == 2
    assert re.search(said, capsys.readouterr().err)


def test_a_column_too_few_is_named(leakdb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with gzip.open(leakdb / "inflow_m3h.csv.gz", "wt") as file:
        file.write("step,s1,s2\n0,1\n1,2\n")
    assert cli.main(["bench", "models", "--set", "leakdb", "--data", str(leakdb)]) == 2
    assert "has 3 columns, the rows have 2. Expected `step`" in capsys.readouterr().err
