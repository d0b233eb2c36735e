"""The forecast of waits on folders of snapshots: what a wait is, what may be known when, and the card's figures."""

import csv
import gzip
import hashlib
import json
import random
import shutil
import tomllib
from collections import deque
from pathlib import Path

import pytest

from gateway import cli
from models import data
from models.queues import bench, labels, predictor, snapshots
from models.queues.days import Day, Record, Usual
from models.queues.features import NAMES, features, hall
from models.queues.margins import NOMINAL, Margins, score_of
from models.queues.replay import Asked, Replay
from models.queues.snapshots import Row, SnapshotError
from models.session import ModelError

FOLDER = predictor.FOLDER
CARD = (FOLDER / "card.md").read_text()
FIGURES = json.loads((FOLDER / "figures.json").read_text())


def a_day(seed: int, opens: int = 480, closes: int = 960, per_person_min: float = 6.0) -> list[Row]:
    """A queue of one counter, synthetic: people come oftener in the morning, each takes about per_person_min."""
    dice = random.Random(seed)
    come, at = [], float(opens - 20)
    while at < closes - 30:
        at += dice.expovariate(1 / (per_person_min * (0.85 if at < 680 else 1.3)))
        come.append(at)
    called, free = [], float(opens)
    for moment in come:
        free = max(free, moment)
        called.append(free)
        free += dice.gammavariate(4, per_person_min / 4)
    rows = []
    for minute in range(opens - 10, closes + 60, 5):
        number = sum(moment <= minute for moment in called)
        waiting = sum(moment <= minute for moment in come) - number
        rows.append(Row(minute, int(opens <= minute < closes), waiting, number or None, 6.0))
    return rows


def write(folder: Path, days: dict[str, dict[tuple[str, str], list[Row]]]) -> Path:
    folder.mkdir(exist_ok=True)
    with gzip.open(folder / "snapshots_test.csv.gz", "wt", newline="") as text:
        out = csv.writer(text)
        out.writerow([*snapshots.COLUMNS, "status"])
        for date, queues in days.items():
            for (office, queue_id), rows in queues.items():
                for row in rows:
                    ticket = f"A{row.number:03}" if row.number else ""
                    time = f"{date}T{row.minute // 60:02}:{row.minute % 60:02}"
                    out.writerow([office, queue_id, time, row.open_counters, row.waiting, ticket, row.service_min, 1])
    return folder


def made_up(dates: tuple[str, ...] = ("2020-02-03", "2020-02-04", "2020-02-05")) -> dict:
    """Two queues of an office that no training has seen."""
    return {
        date: {("new", queue): a_day(seed=10 * k + int(queue), per_person_min=5.0 + int(queue)) for queue in ("1", "2")}
        for k, date in enumerate(dates)
    }


# -- what a wait is ---------------------------------------------------------------------------------------------------


def test_a_wait_ends_midway_between_the_snapshots_around_the_call() -> None:
    rows = [Row(480 + 5 * k, 1, 3, 1 + k // 2, 4.0) for k in range(24)]
    first, pair = (next(p for p in labels.pairs(rows) if p.minute == minute) for minute in (485, 540))
    assert pair.wait_min == 577.5 - 540  # c is 7, the ticket is 11: reached between 575 and 580
    assert pair.called_minute == 580
    assert pair.hol == 540 - 517.5  # the head is 8, drawn between 515 and 520
    assert pair.les == 537.5 - 507.5  # ticket 7, drawn and called
    assert pair.ql_rate == 4 * 60 / 6
    assert pair.ql_system == 4 * 4.0
    assert (first.hol, first.les) == (None, None)  # drawn before anybody looked


@pytest.mark.parametrize(
    "rows",
    [
        [Row(480 + 5 * k, 1, 3, 1 + k, 4.0) for k in range(19)],
        [Row(480 + 5 * k, 1, 2, 1 + k, 4.0) for k in range(40)],
        [Row(480 + 5 * k, 1, 3, 1 + k % 10, 4.0) for k in range(40)],
        [Row(480 + 5 * k, 0, 3, 1 + k, 4.0) for k in range(40)],
    ],
    ids=["too short", "never three waiting", "numbers fall", "no counter open"],
)
def test_a_day_that_cannot_be_judged_has_no_pairs(rows: list[Row]) -> None:
    assert list(labels.pairs(rows)) == []


@pytest.mark.data
@pytest.mark.slow
def test_the_published_table_comes_out_and_the_forecast_is_far_below_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = snapshots.read(data.data_dir("warsaw-queues"))
    assert folder.bad == {}
    pairs = [p for queues in folder.days.values() for rows in queues.values() for p in labels.pairs(rows)]
    whole = [p for p in pairs if p.is_whole()]
    assert (len(pairs), len(whole)) == (59_403, 55_031)
    published = {"hol": (15.95, 26.29), "les": (16.70, 26.97), "ql_rate": (20.47, 35.88), "ql_system": (39.85, 68.12)}
    for name, (mae, rmse) in published.items():
        found = bench.errors((getattr(p, name), p.wait_min) for p in whole)
        assert found["mae"] == pytest.approx(mae, abs=0.006), name
        assert found["rmse"] == pytest.approx(rmse, abs=0.006), name


# -- what may be known when -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "hole_min"), [(0, 0), (1, 0), (2, 0), (0, 120), (1, 120)])
def test_rows_after_a_moment_change_no_forecast_before_it(seed: int, hole_min: int) -> None:
    """hole_min: without a snapshot of queue 1, three quarters before the moment: who was called, nobody knows yet.
    After the moment numbers jump, or after a hole stand still."""
    dice = random.Random(seed)
    days = made_up()
    cut = dice.randrange(600, 780)
    rows = days["2020-02-05"]["new", "1"]
    hole = range(cut - hole_min * 3 // 4, cut + hole_min // 4)
    days["2020-02-05"]["new", "1"] = [row for row in rows if row.minute not in hole]
    other = {date: dict(queues) for date, queues in days.items()}
    for queue, rows in other["2020-02-05"].items():
        later = [row._replace(waiting=dice.randrange(9), open_counters=dice.randrange(1, 4)) for row in rows]
        dice.shuffle(later)
        last = max(row.number or 0 for row in rows if row.minute <= cut)
        jumps = [
            row._replace(minute=old.minute, number=last if hole_min else 400 + old.minute)
            for row, old in zip(later, rows, strict=True)
        ]
        other["2020-02-05"][queue] = [old if old.minute <= cut else new for old, new in zip(rows, jumps, strict=True)]

    def forecasts(of: dict) -> dict[tuple[str, int, int, int], float]:
        folder = snapshots.Folder(of, 0, {})
        found = bench.judged(folder, predictor.Predictor(), "2020-02-05")
        return {
            (r.office, r.pair.minute, r.pair.waiting, k): r[k] for r in found if r.pair.minute <= cut for k in (2, 3, 4)
        }

    before, after = forecasts(days), forecasts(other)
    common = before.keys() & after.keys()
    assert len(common) > 3 * 15
    near = pytest.approx({key: before[key] for key in common}, rel=1e-5)  # float32 in another batch
    assert {key: after[key] for key in common} == near


def test_a_day_cut_short_has_the_features_of_the_whole_day() -> None:
    rows = a_day(5)
    usual = Usual([], 1)
    whole = Day(usual)
    at_each = []
    for row in rows:
        whole.see(row.minute, row.open_counters, row.waiting, row.number or 0)
        at_each.append(features(whole, hall([whole])))
    for end in (3, 20, 60):
        short = Day(usual)
        for row in rows[:end]:
            short.see(row.minute, row.open_counters, row.waiting, row.number or 0)
        assert features(short, hall([short])) == at_each[end - 1]
        assert len(at_each[end - 1]) == len(NAMES)


def test_a_moment_between_two_snapshots_is_as_if_it_were_one_and_leaves_the_day_as_it_was() -> None:
    day, other = Day(Usual([], 1)), Day(Usual([], 1))
    rows = a_day(6)
    for row in rows[:40]:
        day.see(row.minute, row.open_counters, row.waiting, row.number or 0)
        other.see(row.minute, row.open_counters, row.waiting, row.number or 0)
    row = rows[40]
    moment = day.with_last(row.minute, row.open_counters, row.waiting, row.number or 0)
    other.see(row.minute, row.open_counters, row.waiting, row.number or 0)
    assert features(moment, hall([moment])) == features(other, hall([other]))
    assert len(day.minutes) == 40
    day.see(row.minute, row.open_counters, row.waiting, row.number or 0)
    assert features(day, hall([day])) == features(other, hall([other]))


def test_history_is_of_earlier_days_alone() -> None:
    days = made_up()
    replay = Replay(predictor.Predictor().history())
    for date, queues in days.items():
        replay.replay(date, queues)
    assert [record.date for record in replay.before(("new", "1"), "2020-02-05")] == ["2020-02-03", "2020-02-04"]
    known = predictor.Predictor().history()
    queue = next(iter(known))
    assert all(r.date < "2020-01-08" for r in Replay(known).before(queue, "2020-01-08"))


def test_a_queue_known_for_days_is_forecast_better_than_by_its_head(tmp_path: Path) -> None:
    dates = tuple(f"2020-02-{d:02}" for d in (3, 4, 5, 6, 7, 10, 11, 12))
    folder = snapshots.read(write(tmp_path / "d", made_up(dates)))
    found = bench.measure(folder, first="2020-02-10")
    assert found["pairs"] > 150
    assert found["ours"]["mae"] < found["hol"]["mae"]
    assert set(found["by_office"]) == {"new"}


# -- intervals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bias", "width"), [(0.0, 1.0), (0.3, 1.0), (-0.3, 1.5), (0.0, 2.0)])
def test_intervals_hold_their_share_wherever_the_centre_differs_from_the_training(bias: float, width: float) -> None:
    dice = random.Random(7)
    margins, inside = Margins(-1.3, 1.3), 0
    for k in range(6000):
        waited_min = 25.0 * 2.718 ** (bias + 0.4 * width * dice.gauss(0, 1)) - 5.0
        low, high = margins.interval(20.0, 0.4)
        assert 0 <= low <= 20.0 <= high
        inside += k >= 1000 and low <= waited_min <= high
        margins.learn(20.0, 0.4, (low, high), waited_min)
    assert inside / 5000 == pytest.approx(NOMINAL, abs=0.03)


def a_hundred_waits(dice: random.Random, late: int) -> float:
    """Share inside. What a wait became is learnt when `late` more have been told theirs."""
    margins, told, inside = Margins(-1.3, 1.3), deque[tuple[tuple[float, float], float]](), 0
    for _ in range(100):
        waited_min = 25.0 * 2.718 ** (0.4 * dice.gauss(0, 1)) - 5.0
        told.append((margins.interval(20.0, 0.4), waited_min))
        low, high = told[-1][0]
        inside += low <= waited_min <= high
        if len(told) > late:
            margins.learn(20.0, 0.4, *told.popleft())
    return inside / 100


def test_a_small_office_has_its_share_sooner_than_chance_would_give_it() -> None:
    """Within three points of 80 % are 62 % of the offices by chance, 82 % with margins that only step out and in."""
    dice = random.Random(11)
    near = sum(abs(a_hundred_waits(dice, late=5) - NOMINAL) < 0.031 for _ in range(400))
    assert near > 0.92 * 400


def test_what_is_owed_is_paid_at_the_lower_end_by_what_was_told_and_within_bounds() -> None:
    margins = Margins(-1.0, 1.0)
    low, high = margins.interval(60.0, 0.4)
    margins.learn(60.0, 0.4, (70.0, 80.0), 60.0)  # as forecast, and outside of what was told
    assert margins.owed == pytest.approx(0.8)
    after = margins.interval(60.0, 0.4)
    assert after[0] < low
    assert after[1] == pytest.approx(high, rel=0.01)
    for _ in range(10_000):
        margins.learn(60.0, 0.4, (70.0, 80.0), 60.0)
    assert margins.owed == 30.0
    for _ in range(10_000):
        margins.learn(60.0, 0.4, (0.0, 240.0), 60.0)
    assert margins.owed == -30.0
    low, high = margins.interval(60.0, 0.4)
    assert 0 <= low <= 60 <= high


def test_the_head_of_the_line_raises_the_upper_end_to_its_own_wait_so_far_and_nothing_else() -> None:
    margins = Margins(-1.0, 1.0)
    calm = margins.interval(20.0, 0.4)
    assert margins.interval(20.0, 0.4, score_of(20.0, 0.4, calm[1] - 1)) == calm
    assert margins.interval(20.0, 0.4, score_of(20.0, 0.4, 60.0)) == pytest.approx((calm[0], 60.0))
    days_min = 3 * 24 * 60.0
    assert margins.interval(20.0, 0.4, score_of(20.0, 0.4, days_min))[1] < 120.0
    assert margins.interval(20.0, 0.4) == calm


def test_while_a_display_stands_still_the_bench_raises_the_upper_end_to_what_its_head_has_waited() -> None:
    """A ticket each five minutes, forecast to wait 20; nobody is called after 600 until all are, at 680."""
    asked = []
    for drawn in range(500, 800, 5):
        called = 680 if 580 < drawn < 680 else drawn + 20
        pair = labels.Pair(drawn, 3, called - drawn, called, None, None, None, None)
        asked.append((Asked(("new", "1"), [], pair), predictor.Forecast(20.0, 0.4)))
    high = {row.pair.minute: row.high_min for row in bench._office("2020-02-05", asked, Margins(-1.0, 1.0))}
    assert high[615] < 33.0  # the head, of 585, has waited 30
    assert {minute: high[minute] for minute in range(620, 680, 5)} == pytest.approx(
        {minute: minute - 585 for minute in range(620, 680, 5)}
    )
    assert high[680] < 60.0  # its margin has learnt; nobody is late


# -- folders as people give them --------------------------------------------------------------------------------------


def test_a_bad_row_costs_itself_and_is_counted_by_its_reason(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", made_up(("2020-02-03",)))
    good = snapshots.read(folder)
    bad = [
        "new,1,2020-02-03 08:00,1,1,A001,5",
        "new,1,2020-02-30T08:00,1,1,A001,5",
        "new,1,2020-02-03T25:00,1,1,A001,5",
        ",1,2020-02-03T08:01,1,1,A001,5",
        "new,1,2020-02-03T08:01,x,1,A001,5",
        "new,1,2020-02-03T08:01,1,-4,A001,5",
        "new,1,2020-02-03T08:01,1,1,A99999999,5",
        "new,1,2020-02-03T08:00,9,9,A009,5",
        "new,1",
    ]
    with gzip.open(folder / "snapshots_zmore.csv.gz", "wt") as text:
        text.write(",".join(snapshots.COLUMNS) + "\n" + "\n".join(bad) + "\n")
    found = snapshots.read(folder)
    assert found.days == good.days
    assert found.rows == good.rows + len(bad)
    assert sum(found.bad.values()) == len(bad)
    assert found.bad["waiting is not within 0 to 100000"] == 1
    assert found.bad["time is not like 2020-01-13T08:04"] == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no snapshots_"),
        (b"office,queue_id\n", "lacks the columns time, open_counters"),
        (gzip.compress(b"a" * 5000, mtime=0)[:-20], "cannot be read"),
    ],
)
def test_a_folder_without_snapshots_is_refused_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    if content is not None:
        packed = content if content[:2] == b"\x1f\x8b" else gzip.compress(content)
        (tmp_path / "snapshots_x.csv.gz").write_bytes(packed)
    with pytest.raises(SnapshotError, match=message):
        snapshots.read(tmp_path)
    assert cli.main(["bench", "queues", "--data", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


def test_the_command_prints_the_figures_as_its_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "d", made_up())
    assert cli.main(["bench", "queues", "--data", str(folder), "--from", "2020-02-04", "--json"]) == 0
    said = capsys.readouterr().out.splitlines()
    last = json.loads(said[-1])
    assert set(last) == {"ours", "hol"}
    assert set(last["ours"]) == {"mae", "rmse", "coverage"}
    assert set(last["hol"]) == {"mae", "rmse"}
    assert "judged 2020-02-04 to 2020-02-05" in said[0]
    assert cli.main(["bench", "queues", "--data", str(folder), "--from", "2021-01-01", "--json"]) == 1


# -- the model's folder -----------------------------------------------------------------------------------------------


def test_the_manifest_vouches_for_the_files_beside_it_and_refuses_others(tmp_path: Path) -> None:
    manifest = tomllib.loads((FOLDER / "manifest.toml").read_text())
    assert set(manifest["sha256"]) == {"model.onnx", "history.json.gz", "figures.json"}
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name
    copied = Path(shutil.copytree(FOLDER, tmp_path / "queues", ignore=shutil.ignore_patterns("__pycache__")))
    text = (copied / "manifest.toml").read_text()
    (copied / "manifest.toml").write_text(text.replace('"people"', '"persons"'))
    with pytest.raises(ModelError, match="trained for other features"):
        predictor.Predictor(copied)
    (copied / "manifest.toml").write_text(text)
    (copied / "history.json.gz").write_bytes(b"")
    with pytest.raises(ModelError, match=r"history\.json\.gz has SHA-256"):
        predictor.Predictor(copied)


def test_history_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    day = Day(Usual([], 1))
    for row in a_day(3):
        day.see(row.minute, row.open_counters, row.waiting, row.number or 0)
    record = day.record("2020-02-04", 1)
    assert isinstance(record, Record)
    predictor.save_history(tmp_path / "h", {("new", "1"): [record]})
    assert predictor.load_history(tmp_path / "h") == {("new", "1"): [record]}


def test_the_card_quotes_the_figures_that_were_measured() -> None:
    assert bench.tables(FIGURES["validation"]) in CARD
    validation, shipped = FIGURES["validation"], FIGURES["shipped"]
    manifest = tomllib.loads((FOLDER / "manifest.toml").read_text())
    for said in (
        f"queue-waits {manifest['version']}", f"{(FOLDER / 'model.onnx').stat().st_size:,} bytes",
        f"MAE by {validation['gain']['mae']:.1%} and in RMSE by {validation['gain']['rmse']:.1%}",
        f"held {validation['ours']['coverage']:.1%}", f"{validation['pairs_trained']:,} pairs",
        f"{shipped['pairs_trained']:,} pairs", f"{validation['width_min']} minutes wide",
    ):  # fmt: skip
        assert said in CARD, said
    assert manifest["upto"] == shipped["trained_upto"]
