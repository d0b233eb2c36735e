"""The NAB scorer: what its definition says, and the published row that it reproduces file by file."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from gateway.cli import main
from models import bench_nab, nab
from models.data import data_dir

ROOT = Path(__file__).parent.parent
PUBLISHED = json.loads((ROOT / "tests" / "recorded" / "nab_windowed_gaussian.json").read_text())
STANDARD = nab.PROFILES["standard"]


def made_up(
    rows: int = 200, windows: tuple[tuple[int, int], ...] = ((100, 119),), name: str = "made/up.csv"
) -> nab.Series:
    """A file of 5-minute rows; 30 of its 200 are probation."""
    return nab.Series(name, np.arange(rows) * 300.0, np.zeros(rows), windows)


def rings(*at: int, rows: int = 200) -> list[np.ndarray]:
    scores = np.zeros(rows)
    scores[list(at)] = 1.0
    return [scores]


def brings(*at: int, weights: nab.Weights = STANDARD) -> float:
    return nab.Corpus([made_up()]).raw(rings(*at), 0.5, weights)["made/up.csv"]


def test_the_first_row_of_a_window_is_worth_one_and_the_last_hardly_anything() -> None:
    assert brings(100) == pytest.approx(1.0)
    sigma = 2 / (1 + np.exp(-5 * 1 / 20)) - 1
    assert brings(119) == pytest.approx(sigma / (2 / (1 + np.exp(-5)) - 1))


def test_only_the_best_detection_in_a_window_counts_and_none_costs_the_miss() -> None:
    assert brings(100, 105, 119) == pytest.approx(1.0)
    assert brings() == -1.0
    assert brings(weights=nab.PROFILES["low_fn"]) == -2.0


def test_a_false_detection_costs_less_shortly_behind_a_window_than_anywhere_else() -> None:
    assert brings(100, 60) == pytest.approx(1.0 - 0.11)
    assert brings(100, 60, weights=nab.PROFILES["low_fp"]) == pytest.approx(1.0 - 0.22)
    assert brings(100, 120) == pytest.approx(1.0 + 0.11 * (2 / (1 + np.exp(5 * 1 / 19)) - 1))
    assert brings(100, 119 + 58) == pytest.approx(1.0 - 0.11), "more than three widths behind"


def test_rows_in_probation_count_neither_for_nor_against() -> None:
    assert made_up().probation == 30
    assert brings(100, *range(30)) == pytest.approx(1.0)
    assert brings(100, 30) == pytest.approx(1.0 - 0.11)
    assert made_up(rows=20_000).probation == 750


def test_silence_scores_nothing_and_every_window_at_its_start_scores_a_hundred() -> None:
    corpus = nab.Corpus([made_up(windows=((50, 59), (100, 119)))])
    for weights in nab.PROFILES.values():
        assert corpus.at(rings(), 0.5, weights) == pytest.approx(0.0)
        assert corpus.at(rings(50, 100), 0.5, weights) == pytest.approx(100.0)
        assert corpus.counted(rings(50, 51, 100, 150), 0.5) == (2, 1)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_threshold_is_the_best_of_all_that_could_be_tried(seed: int) -> None:
    dice = np.random.default_rng(seed)
    of_files = {"a": ((50, 69), (100, 119)), "b": (), "c": ((150, 169),)}
    corpus = nab.Corpus([made_up(windows=windows, name=name) for name, windows in of_files.items()])
    scores = [np.round(dice.random(200) ** 3, 2) for _ in corpus.files]  # rounded: equal scores stand or fall together
    for weights in nab.PROFILES.values():
        tried = {threshold: corpus.at(scores, threshold, weights) for threshold in (*np.unique(scores), np.inf)}
        best, threshold = corpus.best(scores, weights)
        assert best == pytest.approx(max(tried.values())), f"seed {seed}"
        assert corpus.at(scores, threshold, weights) == pytest.approx(best), f"seed {seed}"


@pytest.mark.data
@pytest.mark.slow
def test_the_windowed_gaussian_made_anew_scores_on_every_file_what_was_published() -> None:
    files = [series for series in nab.read(data_dir("nab")) if series.name in PUBLISHED["standard"]]
    assert len(files) == len(PUBLISHED["standard"]) == 46
    scores = [bench_nab.windowed_gaussian(series.values) for series in files]
    corpus = nab.Corpus(files)
    for profile in ("standard", "low_fp"):
        assert corpus.raw(scores, 1.0, nab.PROFILES[profile]) == pytest.approx(PUBLISHED[profile], abs=1e-9), profile
    assert corpus.best(scores, STANDARD) == (pytest.approx(39.7655, abs=1e-4), 1.0), "the published threshold, too"


# -- reading, and the command -----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small corpus as NAB lays it out: one file packed, one not."""
    dice = np.random.default_rng(2)
    for name, rows in (("one/a.csv", 900), ("two/b.csv", 1000)):
        values = dice.normal(20, 1, rows)
        values[600:] += 30
        stamps = np.datetime64("2026-01-01T00:00:00") + np.arange(rows) * np.timedelta64(5, "m")
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        packed = name.startswith("one")
        path = tmp_path / "data" / (name + (".gz" if packed else ""))
        with gzip.open(path, "wt") if packed else path.open("w") as lines:
            csv.writer(lines).writerows(
                [("timestamp", "value"), *((str(s).replace("T", " "), v) for s, v in zip(stamps, values, strict=True))]
            )
    window = [["2026-01-03 01:00:00.000000", "2026-01-03 06:00:00.000000"]]
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "combined_windows.json").write_text(json.dumps({"one/a.csv": window, "two/b.csv": window}))
    return tmp_path


def test_files_are_read_packed_or_not_with_their_windows_by_row(folder: Path) -> None:
    one, two = nab.read(folder)
    assert (one.name, len(one.values), one.windows) == ("one/a.csv", 900, ((588, 648),))
    assert (two.name, len(two.values), two.windows) == ("two/b.csv", 1000, ((588, 648),))
    assert one.days[[0, 72, 288]].tolist() == [0.0, 0.25, 0.0]


def test_the_last_line_of_the_command_is_our_row_by_the_columns_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "models", "--set", "nab", "--data", str(folder), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    ours = json.loads(lines[-1])
    assert list(ours) == ["standard", "low_fp", "low_fn"]
    assert ours["standard"] > 90, "a shift by thirty deviations, 12 rows behind the start of the windows"
    assert "2 of 58 files with 2 windows were scored" in lines[-3]
    assert any(line.startswith("KNN CAD") for line in lines)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / "labels" / "combined_windows.json").unlink(), "combined_windows.json"),
        (
            lambda f: (f / "labels" / "combined_windows.json").write_text('{"one/a.csv": []}'),
            "no windows for two/b.csv",
        ),
        (lambda f: (f / "labels" / "combined_windows.json").write_text("{"), "combined_windows.json cannot be read"),
        (lambda f: (f / "data" / "two" / "b.csv").write_text("timestamp,value\nyesterday,1\n"), "b.csv cannot be read"),
        (lambda f: (f / "data" / "two" / "b.csv").write_text("timestamp,value\n2026-01-01,1\n"), "at no row of"),
    ],
)
def test_a_folder_that_is_not_as_the_benchmark_lays_it_out_is_refused_with_the_reason(
    folder: Path, capsys: pytest.CaptureFixture[str], break_it: object, message: str
) -> None:
    break_it(folder)  # type: ignore[operator]
    assert main(["bench", "models", "--set", "nab", "--data", str(folder)]) == 2
    assert message in capsys.readouterr().err
