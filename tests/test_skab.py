"""The SKAB scorer: what its protocol says in small, and published detectors made anew beside another making of them."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from gateway.cli import main
from models import bench_skab, skab
from models.data import data_dir

NOBODY = np.zeros(200, bool)


def experiment(*changepoints: int, anomaly: slice = slice(0), name: str = "made/up") -> skab.Experiment:
    """600 rows, one a second; the 200 behind the training are scored. Rows are counted from the first scored one."""
    labels = np.zeros((2, 600), bool)
    labels[0, 400:][anomaly] = True
    labels[1, [400 + at for at in changepoints]] = True
    return skab.Experiment(name, np.arange(600.0), np.zeros((600, 8)), *labels)


def at(*rows: int) -> np.ndarray:
    said = NOBODY.copy()
    said[list(rows)] = True
    return said


def nab(one: skab.Experiment, *hits: int) -> float:
    return skab.score([one], {one.name: NOBODY}, {one.name: at(*hits)}).nab


# -- verdicts ---------------------------------------------------------------------------------------------------------


def test_verdicts_are_counted_row_by_row_over_all_files_together() -> None:
    one, other = experiment(anomaly=slice(0, 50)), experiment(anomaly=slice(0, 10), name="made/other")
    found = skab.score([one, other], {one.name: at(*range(40), *range(100, 110)), other.name: NOBODY})
    assert found.f1 == pytest.approx(40 / (40 + (10 + 20) / 2))
    assert found.far == pytest.approx(100 * 10 / 340)
    assert found.mar == pytest.approx(100 * 20 / 60)


def test_the_truth_itself_is_perfect_and_silence_is_nothing() -> None:
    one = experiment(0, 100, anomaly=slice(0, 100))
    truth = skab.score([one], {one.name: one.anomaly[400:]}, {one.name: one.changepoint[400:]})
    assert truth == (1.0, 0.0, 0.0, 100.0, 0, 0)
    assert skab.score([one], {one.name: NOBODY}) == (0.0, 0.0, 100.0, 0.0, 2, 0)


# -- changepoints -----------------------------------------------------------------------------------------------------


def test_a_hit_is_worth_one_at_once_and_less_than_nothing_at_the_end_of_its_window() -> None:
    assert skab.worth(0.0) == pytest.approx(1.0)
    assert skab.worth(0.5) == pytest.approx((1 - 0.11) / 2, abs=0.002)
    assert skab.worth(1.0) == pytest.approx(-0.11)
    assert nab(experiment(20), 20) == pytest.approx(100.0)
    assert nab(experiment(20), 80) == pytest.approx(100 * (-0.11 + 1) / 2)


def test_a_window_reaches_sixty_seconds_behind_the_change_and_nowhere_before_it() -> None:
    for miss in (19, 81):
        assert nab(experiment(20), miss) == pytest.approx(100 * -0.11 / 2), miss


def test_only_the_first_hit_in_a_window_counts_and_each_stray_one_costs() -> None:
    assert nab(experiment(20), 20, 30, 40) == pytest.approx(100.0)
    assert nab(experiment(20), 20, 100, 120) == pytest.approx(100 * (2 - 0.22) / 2)


def test_where_windows_meet_the_later_begins_at_the_end_of_the_earlier() -> None:
    assert skab.windows(np.array([10.0, 67.0, 300.0])) == [(10.0, 70.0), (70.0, 127.0), (300.0, 360.0)]
    both = experiment(10, 67)
    assert nab(both, 10, 68) == pytest.approx(50.0), "68 s lie in the first window, which has had its hit"


def test_seconds_count_and_not_rows() -> None:
    one = experiment(20)
    slow = one._replace(at_s=one.at_s * 2)
    assert nab(slow, 50) == pytest.approx(nab(one, 80))


def test_without_changepoints_said_each_change_of_the_verdict_is_one() -> None:
    assert np.flatnonzero(skab.changed(at(*range(5), 30, 31))).tolist() == [0, 5, 30, 32]


# -- files ------------------------------------------------------------------------------------------------------------


def written(folder: Path, name: str, rows: int = 420, head: str = "") -> Path:
    head = head or "datetime;" + ";".join(skab.CHANNELS) + ";anomaly;changepoint"
    lines = [
        f"2020-03-09 10:{s // 60:02}:{s % 60:02};0.1;0.1;1;0.2;70;25;230;{32 + s % 3};0.0;0.0" for s in range(rows)
    ]
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    text = "\n".join([head, *lines]).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_files_are_read_packed_or_not_and_the_normal_run_is_not_scored(tmp_path: Path) -> None:
    written(tmp_path, "valve1/0.csv")
    written(tmp_path, "other/3.csv.gz")
    written(tmp_path, "anomaly-free/anomaly-free.csv")
    tests = skab.read(tmp_path)
    assert [test.name for test in tests] == ["other/3", "valve1/0"]
    assert tests[0].values.shape == (420, 8)
    assert np.diff(tests[0].at_s).tolist() == [1.0] * 419
    assert tests[0].values[:3, -1].tolist() == [32.0, 33.0, 34.0]
    free = skab.normal_run(tmp_path)
    assert free is not None
    assert free.shape == (420, 8)


def test_a_folder_or_a_file_that_is_none_of_skabs_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["bench", "models", "--set", "skab", "--data", str(tmp_path)]
    assert main(asked) == 2
    assert "found no labelled .csv" in capsys.readouterr().err
    written(tmp_path, "valve1/0.csv", rows=400)
    assert main(asked) == 2
    assert "found 400 rows; expected more than the 400 that train" in capsys.readouterr().err
    written(tmp_path, "valve1/0.csv", head="time;flow")
    assert main(asked) == 2
    assert "0.csv: found KeyError('datetime'); expected columns datetime, Accel" in capsys.readouterr().err
    written(tmp_path, "valve1/0.csv.gz").write_bytes(b"\x1f\x8bnothing")
    (tmp_path / "valve1" / "0.csv").unlink()
    assert main(asked) == 2
    assert "0.csv.gz: found " in capsys.readouterr().err


# -- the table --------------------------------------------------------------------------------------------------------


def test_the_limits_of_t2_are_fishers() -> None:
    """Tables of F: 0.999 with 6 and 394 and with 8 and 392, 0.95 with 1 and 100 degrees of freedom."""
    found = [bench_skab._f_quantile(6, 394, 0.999), bench_skab._f_quantile(8, 392, 0.999)]
    assert found == pytest.approx([3.83180, 3.35053], abs=1e-4)
    assert bench_skab._f_quantile(1, 100, 0.95) == pytest.approx(3.93614, abs=1e-4)


@pytest.mark.data
def test_t2_and_q_are_what_another_making_of_them_says() -> None:
    """Beside scikit-learn's PCA and scipy's quantiles, put together apart from this, on the same 22 files."""
    tests = [test for test in skab.read(data_dir("skab")) if test.name in TWENTY_TWO]
    assert len(tests) == 22
    both = skab.score(tests, bench_skab.chart(tests, bench_skab.T2_Q))
    assert both == pytest.approx((0.73357, 34.96115, 24.87034, 21.95336, 47, 183), abs=1e-4)
    alone = skab.score(tests, bench_skab.chart(tests, bench_skab.T2))
    assert alone == pytest.approx((0.63962, 26.73418, 42.30316, 15.48893, 56, 140), abs=1e-4)


TWENTY_TWO = {
    *(f"other/{n}" for n in (1, 3, 5, 6, 8, 10, 12, 14)),
    *(f"valve1/{n}" for n in (0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14)),
    *(f"valve2/{n}" for n in (0, 2)),
}


@pytest.mark.data
@pytest.mark.slow
def test_the_command_prints_the_table_and_our_row_last_as_the_card_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "models", "--set", "skab", "--data", str(data_dir("skab")), "--json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    ours = json.loads(printed[-1])
    assert set(ours) == {"f1", "far", "mar", "nab"}
    for row in ("Conv-AE", "T2+Q (PCA), made anew here", "position alone", "pump, lead-in as it is", "always"):
        assert any(line.startswith(row) for line in printed), row
    measured = json.loads((Path(bench_skab.__file__).parent / "pump" / "figures.json").read_text())["skab"]
    if f"{measured['files']} of 34 files" in "\n".join(printed):
        assert ours == pytest.approx({name: measured["pump"][name] for name in ours}, abs=1e-3)
