"""What the benchmark makes of counted bytes, of other people's harness, and of its own figures as a picture."""

import sys
from pathlib import Path

import pytest

from gateway import config
from simulator import bench, bench_card, bench_history, bench_peers
from simulator.bench_limits import Limits
from simulator.bench_plot import draw
from simulator.bench_rig import BenchError
from simulator.bench_table import Figure, table
from simulator.bench_written import Seen, law
from simulator.broker import mosquitto_path

DAY_S = 86_400


def day(commits: int, written_b: int, device_b: int | None = None) -> Seen:
    return Seen(written_b, device_b, commits, DAY_S, 40.0, 0.01)


def test_what_a_day_and_what_a_commit_costs_are_told_apart() -> None:
    fixed, each = law("x", [day(n, 5_000_000 + 12_000 * n) for n in (1000, 2000, 9000)])
    assert (fixed.name, fixed.value, each.name, each.value) == ("x_a", 5.0, "x_b", 12_000)


def test_gateways_that_commit_alike_tell_nothing() -> None:
    with pytest.raises(BenchError, match="expected three that differ"):
        law("x", [day(3, 1), day(3, 2), day(4, 3)])


def test_a_window_is_extrapolated_to_a_day() -> None:
    quarter = Seen(1_000_000, 3_000_000, 50, DAY_S / 4, 40.0, 0.01)
    assert (quarter.mb_a_day, quarter.device_mb_a_day, quarter.commits_a_day) == (4, 12, 200)


def test_a_card_s_rows_stand_beside_its_budget_and_the_disk_s_only_where_there_is_one() -> None:
    three = [day(n, 1_000_000 * n) for n in (30, 60, 200)]
    names = {figure.name for figure in bench_card.rows("card", three, "x") + bench_card.rows("card_away", three, "x")}
    assert names == {name for name in bench.PARTS["card"].names if "device" not in name}
    with_disk = bench_card.rows("card", [day(30, 1_000_000, 120_000_000), *three[1:]], "x")
    assert [(row.name, row.ratio, row.is_missed) for row in with_disk[:2]] == [
        ("card_mb_a_day", 0.01, False), ("card_device_mb_a_day", 1.2, True)]  # fmt: skip


def test_the_history_s_rows_are_those_that_were_announced() -> None:
    three = [day(n, 1_000_000 * n, 5) for n in (30, 60, 200)]
    assert {figure.name for figure in bench_history.rows(three, 17_280_000)} == set(bench.PARTS["history"].names)


@pytest.mark.parametrize("every_s", bench_card.COMMIT_EVERY_S)
def test_the_centre_s_site_stays_whole_with_another_interval(every_s: float, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(bench_card.site_text(every_s))
    assert config.load(site).store.commit_every_s == every_s


# -- others ----------------------------------------------------------------------------------------------------------

RUNNER = """
import json, os, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert os.environ["PEERBENCH"].startswith(os.path.dirname(given["--out"]))
rate, most = given["--what"].split(",")
same = {"peak_rss_mib": 20.5, "lost": 3}
with open(given["--out"], "w") as out:
    print(json.dumps({"what": rate, "rate": 4999, "cpu_s_per_million": 40.0, **same}), file=out)
    if given["--variant"] != "onnx":
        print(json.dumps({"what": most, "rate": 50000, "cpu_s_per_million": 9.0, **same}), file=out)
print("that is all")
"""


def other(tmp_path: Path) -> tuple[Path, Path]:
    """A bench folder with one runner, and where its Python is installed."""
    bench_folder, installed = tmp_path / "bench", tmp_path / "peers"
    bench_folder.mkdir()
    (bench_folder / "run_floor.py").write_text(RUNNER)
    (installed / "h/bin").mkdir(parents=True)
    (installed / "h/bin/python").symlink_to(sys.executable)
    return bench_folder, installed


def test_a_peer_s_runner_is_asked_for_the_same_work_and_its_lines_are_read(tmp_path: Path) -> None:
    found = bench_peers.theirs(bench_peers.PEERS["yardstick"], *other(tmp_path), tmp_path / "out")
    flat_out = {"throughput": 50000, "cpu_s_per_million": 9}
    assert found == {**flat_out, "cpu_s_per_million_5k": 40, "rss_mib": 20.5, "lost": 6}


def test_a_runner_that_says_too_little_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"(?s)no throughput, cpu_s_per_million;.*that is all"):
        bench_peers.theirs(bench_peers.PEERS["yardstick_onnx"], *other(tmp_path), tmp_path / "out")


def test_ours_stands_beside_theirs_by_the_median_of_all_rounds() -> None:
    def round_of(factor: float) -> dict[str, float]:
        return dict.fromkeys(bench_peers.COMPARED, factor * 100) | {"lost": factor}

    seen = {"ours": [round_of(f) for f in (3, 1, 2)], "bridge": [round_of(f) for f in (4, 9, 1)]}
    rows = bench_peers.rows("bridge", seen)
    assert [(row.value, row.limit, row.ratio) for row in rows] == [(200, 400, 0.5)] * len(bench_peers.COMPARED)
    assert {row.name for row in rows} <= set(bench_peers.NAMES)
    assert "lost 14 readings" in rows[0].what


def test_without_the_bench_folder_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LINLI_BENCH", str(tmp_path / "nowhere"))
    assert bench_peers.figures(tmp_path / "work", Limits(tmp_path / "bare"), quick=False) == []
    [line] = capsys.readouterr().err.splitlines()
    assert "LINLI_BENCH" in line
    assert all(name in line for name in bench_peers.PEERS)


@pytest.mark.skipif(mosquitto_path() is None, reason="the peers' harness needs mosquitto, or that is said first")
def test_a_peer_that_is_not_installed_is_named_with_the_remedy(tmp_path: Path) -> None:
    bench_folder, installed = other(tmp_path)
    assert bench_peers.why_not(bench_peers.PEERS["yardstick"], bench_folder, installed) == ""
    assert "no run_mosquitto.py" in bench_peers.why_not(bench_peers.PEERS["bridge"], bench_folder, installed)
    (installed / "h/bin/python").unlink()
    assert "--peers" in bench_peers.why_not(bench_peers.PEERS["yardstick"], bench_folder, installed)


def test_the_ports_a_runner_gets_are_free_and_in_a_row() -> None:
    assert 1024 <= bench_peers.free_ports() <= 65_535 - bench_peers.PORTS


# -- how it is shown --------------------------------------------------------------------------------------------------

FIGURES = [
    Figure("drain", 200.0, "readings/s", 400.0, "bare paho"),
    Figure("alarm_output_ms_p99", 3.0, "ms", 10.0, "promised; 200 trials"),
    Figure("backlog_growth", 1.5, "ratio", 1.3, "promised; 10^7 to 10^3"),
    Figure("bytes_per_reading", 4.0, "B"),
]


def test_a_missed_promise_is_marked_and_a_bare_limit_is_none() -> None:
    lines = table(FIGURES).splitlines()
    assert [line.endswith("MISSED") for line in lines[1:]] == [False, False, True, False]


def test_the_picture_has_each_ratio_and_loads_nothing_from_anywhere(tmp_path: Path) -> None:
    file = tmp_path / "bench.svg"
    draw(FIGURES, file)
    text = file.read_text()
    for figure in FIGURES[:3]:
        assert figure.name in text
    assert "bytes_per_reading" not in text
    assert "<script" not in text
    assert 'href="http' not in text


def test_figures_without_any_limit_make_no_picture(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no figure with a limit"):
        draw(FIGURES[3:], tmp_path / "bench.svg")
