"""`linli bench` measures what it says: names, frames, fits and refusals. Times are never judged here."""

import json
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from drivers.node_frame import DATA
from drivers.node_side import NodeSide
from gateway.cli import main
from gateway.contract import STREAMS
from simulator import bench
from simulator.bench_disk import PATH_BYTES_MAX, on_tmpfs, unfit
from simulator.bench_fill import Filled
from simulator.bench_fit import line, t_95, trend
from simulator.bench_frames import FRAME_B, Frames, bare_readings_a_second
from simulator.bench_load import ReadyNode
from simulator.bench_rig import site_text
from simulator.bench_table import Figure, p99, table

PROMISED_NAMES = {
    "throughput", "cpu_s_per_million", "bytes_per_reading", "alarm_output_ms_p99", "alarm_puback_ms_p99", "drain",
    "rss_mib", "backlog_growth",
}  # fmt: skip


def test_a_frame_made_beforehand_is_the_one_the_node_would_have_sent() -> None:
    frames = Frames(boot=7)
    frames.make(300)
    node = NodeSide(7, 400, "bench;flow*200", lambda: 0)
    for seq in range(1, 301):
        node.add(DATA, (seq - 1) % 200, float(seq - 1))
    sent = node.outgoing(20_000)
    assert sent.endswith(frames.all())
    assert frames.frame(300) == frames.all()[-FRAME_B:]


def test_a_ready_node_sends_no_more_than_its_ring_holds_and_goes_on_when_that_is_durable() -> None:
    frames = Frames(1)
    frames.make(100)
    node = ReadyNode(frames, 1, ring=10)
    node.outgoing(8192)
    node.grow(100)
    assert node.outgoing(8192) == frames.all()[: 10 * FRAME_B]
    node.acked(1, 10, 4)
    node.grow(100)
    assert node.outgoing(8192) == frames.all()[10 * FRAME_B : 14 * FRAME_B]
    node.acked(1, 11, 4, go_back=True)
    assert node.outgoing(8192) == frames.all()[11 * FRAME_B : 14 * FRAME_B]


def test_the_bare_reader_finds_every_frame() -> None:
    assert bare_readings_a_second(2000) > 0  # it does not return before it has found 2,000


def test_a_line_through_known_points_is_found_with_its_interval() -> None:
    found = line([0, 1, 2, 3], [5, 7, 9, 11])
    assert (found.at_zero, found.slope, found.slope_low, found.slope_high) == pytest.approx((5, 2, 2, 2))
    # By hand: residuals 0.3, -0.6, 0.3 with one degree of freedom; t = 12.706.
    found = line([0, 1, 2], [0.1, 0.2, 2.1])
    assert found.slope == pytest.approx(1.0)
    assert found.slope_high - found.slope == pytest.approx(12.706 * ((0.3**2 + 0.6**2 + 0.3**2) / 2) ** 0.5, rel=0.05)


@pytest.mark.parametrize(("xs", "ys"), [([1, 2], [1, 2]), ([3, 3, 3], [1, 2, 3]), ([1, 2, 3], [1, 2])])
def test_a_line_needs_three_points_at_different_places(xs: list[float], ys: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        line(xs, ys)


def test_the_interval_of_a_trend_holds_the_truth_in_about_19_of_20_series() -> None:
    dice = random.Random(4)
    times = [float(i) for i in range(200)]
    held = 0
    for _ in range(400):
        found = trend(times, [3 + 0.01 * t + dice.gauss(0, 1) for t in times])
        held += found.slope_low <= 0.01 <= found.slope_high
    assert 0.90 <= held / 400 <= 0.99


def test_t_is_never_too_small_between_the_table_s_entries() -> None:
    assert t_95(8) == 2.306
    assert t_95(29) == t_95(20) > t_95(30)


def test_p99_is_the_value_that_99_of_100_do_not_exceed() -> None:
    assert p99([float(i) for i in range(1, 101)]) == 99
    assert p99([float(i) for i in range(1, 201)]) == 198
    assert p99([3.0, 1.0]) == 3


def test_a_row_shows_its_limit_and_their_ratio() -> None:
    row = Figure("drain", 200.0, "readings/s", 400.0, "bare paho")
    assert row.as_json() == {"name": "drain", "value": 200.0, "unit": "readings/s", "limit": 400.0, "ratio": 0.5}
    assert table([row]).splitlines()[1].split() == ["drain", "200.00", "readings/s", "400.00", "0.500", "bare", "paho"]
    assert Figure("start_s", 1.0, "s").as_json()["ratio"] is None


def test_quick_has_every_promised_name() -> None:
    parts, unknown = bench.chosen(None, quick=True)
    assert not unknown
    assert {name for part in parts for name in bench.PARTS[part].names} >= PROMISED_NAMES


def test_only_takes_figures_and_parts_and_names_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.chosen("rss_mib,growth", quick=True) == (["flat-out", "growth"], [])
    assert main(["bench", "--only", "speed"]) == 2
    assert "backlog_growth" in capsys.readouterr().err


def test_a_file_that_could_not_be_written_at_the_end_is_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--only", "bare", "--json", "/nowhere/figures.json"]) == 2
    assert "found no folder /nowhere" in capsys.readouterr().err


def test_a_folder_in_memory_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    if not on_tmpfs(Path("/dev/shm")):
        pytest.skip("/dev/shm is no tmpfs here")
    assert main(["bench", "--quick", "--dir", "/dev/shm"]) == 2
    assert "expected a disk" in capsys.readouterr().err


def test_a_folder_on_a_disk_that_has_tmpfs_below_it_is_not_refused() -> None:
    assert not on_tmpfs(Path("/proc"))


def test_a_folder_too_deep_for_sockets_is_refused(tmp_path: Path) -> None:
    assert "expected at most" in unfit(tmp_path / ("d" * PATH_BYTES_MAX))


def test_a_filled_store_holds_what_was_asked_and_stays_as_long(tmp_path: Path) -> None:
    filled = Filled(tmp_path / "state")
    filled.fill(1200)
    assert filled.readings == 1500  # whole packs
    assert filled.append_and_ack_s() > 0
    filled.close()
    with closing(sqlite3.connect(tmp_path / "state" / "linli.db")) as db:
        streams = db.execute(
            "SELECT head, acked FROM streams WHERE stream = ?", (STREAMS.index("readings"),)
        ).fetchall()
    assert streams == [(5, 2)]  # the pack that began the epoch, three, one more; three wait as before


def test_the_bench_s_site_has_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(site_text("mqtt://127.0.0.1:1", model=True))
    assert main(["check", str(tmp_path / "site.toml")]) == 0


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--quick", "--dir", str(tmp_path / "nowhere")]) == 2
    assert "make it first" in capsys.readouterr().err


@pytest.fixture
def short_path() -> Iterator[Path]:
    """On a disk, and short enough for the sockets that lie in it."""
    with tempfile.TemporaryDirectory(prefix="lb-", dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.mosquitto
def test_a_small_run_is_whole(short_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, picture = tmp_path / "figures.json", tmp_path / "figures.svg"
    wanted = ["flat-out", "idle", "drain", "growth"]
    files = ["--json", str(file), "--svg", str(picture), "--dir", str(short_path)]
    assert main(["bench", "--quick", "--only", ",".join(wanted), *files]) == 0
    assert "throughput" in picture.read_text()
    figures = {row["name"]: row for row in json.loads(file.read_text())}
    in_full_only = {"commit_ms_1e4", "commit_ms_1e5", "commit_ms_1e7"}
    assert figures.keys() == {name for part in wanted for name in bench.PARTS[part].names} - in_full_only
    assert all(set(row) == {"name", "value", "unit", "limit", "ratio"} for row in figures.values())
    assert all(row["value"] > 0 for row in figures.values())
    assert not list(short_path.glob("linli-bench-*"))  # it leaves nothing behind
    assert "drain" in capsys.readouterr().out
