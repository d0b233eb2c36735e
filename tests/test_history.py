"""The box's own history: every sample for days, every minute for a year, each at its time whatever the clock did."""

import math
import random
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from drivers.reading import Reading
from gateway import lookback, samples
from gateway.contract import Label
from gateway.detector import Detector
from gateway.lookback import Span
from gateway.pending import Pending, Work
from gateway.reader import Reader
from gateway.schema import SCHEMA_VERSION, migrate
from gateway.store import Store, StoreStalled
from models.features import WINDOW_MIN

WALL_S = 1_800_000_000.0
RECORDED = Path(__file__).parent / "recorded"


class Box:
    """A store with what is pending before it, and a clock that a test turns by hand."""

    def __init__(self, folder: Path, known: bool = True, **settings: float) -> None:
        self.folder, self.settings = folder, settings
        self.now_s, self.offset_s, self.known, self.boot = 36_000.0, WALL_S, known, 0
        self.start("first")

    def start(self, kernel: str) -> None:
        self.boot = 0
        self.store = Store(self.folder / "linli.db", self, random.Random(1), **self.settings)
        self.store.open(kernel)
        self.pending = Pending(self.label, 10.0, 30.0)
        self.clock()

    def label(self) -> Label:
        wall = self.now_s + self.offset_s if self.known else None
        return Label(self.boot, self.now_s, wall, "ntp" if self.known else "unsure", None, "cafe0001")

    def clock(self) -> None:
        if self.known:
            self.pending.clock_known(self.label())

    def sample(self, sensor: str, value: object, unit: str = "Pa", **reading: object) -> None:
        self.pending.samples.add(sensor, unit, Reading("m:p", value, self.now_s, **reading), self.now_s)

    def commit(self, everything: bool = False) -> Work | None:
        work = self.pending.take(self.now_s, everything=everything)
        if work:
            self.store.commit([work])
        return work

    def run(
        self, seconds: int, sensors: int = 3, dice: random.Random | None = None
    ) -> dict[str, list[tuple[float, float]]]:
        """Sampled each second; returns {sensor: [(mono, value)]}."""
        dice = dice or random.Random(seconds)
        truth: dict[str, list[tuple[float, float]]] = {}
        for second in range(seconds):
            self.now_s += 1.0
            for i in range(sensors):
                value = round(100.0 + i + dice.random(), 3)
                self.sample(f"s{i}", value)
                truth.setdefault(f"s{i}", []).append((self.now_s, value))
            self.commit()
            if second % 60 == 0:
                self.store.upkeep()
        return truth

    def reader(self) -> Reader:
        return Reader(self.folder / "linli.db")

    def rows(self, table: str) -> int:
        return int(self.store._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


# -- minutes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_minutes_are_what_a_slow_count_over_all_samples_says(tmp_path, seed):
    """Over hours that were put together, hours that were not yet, and a restart in between."""
    box = Box(tmp_path)
    truth = box.run(4000, dice=random.Random(seed))
    box.commit(everything=True)
    box.start("first")
    for sensor, more in box.run(3700, dice=random.Random(seed + 100)).items():
        truth[sensor] += more
    box.commit(everything=True)
    assert box.rows("minute_hours") >= 1
    assert box.rows("minute_parts") < 75
    for sensor, sent in truth.items():
        by_minute: dict[float, list[float]] = {}
        for mono, value in sent:
            by_minute.setdefault(mono // 60 * 60 + WALL_S, []).append(value)
        found = box.reader().minutes(sensor, WALL_S, WALL_S + 1e6)
        assert [m.at_s for m in found] == sorted(by_minute), f"seed {seed}"
        for minute in found:
            had = by_minute[minute.at_s]
            assert (minute.samples, minute.last) == (len(had), pytest.approx(had[-1], rel=1e-6))
            aggregates = (minute.least, minute.mean, minute.most)
            assert aggregates == pytest.approx((min(had), sum(had) / len(had), max(had)), rel=1e-6), f"seed {seed}"


def test_what_a_node_numbers_is_counted_from_its_packs_and_late_readings_find_their_minute(tmp_path):
    box = Box(tmp_path)
    for seq in range(1, 601):
        box.now_s += 1
        late_s = 7200.0 if seq > 500 else 0.0
        box.pending.reading("n", "m3/s", "n1", Reading("n1:flow1", float(seq), box.now_s - late_s, 1, seq), box.now_s)
        box.commit()
    box.commit(everything=True)
    found = box.reader().minutes("n", WALL_S, WALL_S + 1e6)
    assert sum(minute.samples for minute in found) == 600
    assert sum(minute.samples for minute in found if minute.at_s < WALL_S + 36_000 - 60) == 100


def test_a_sensor_that_is_sampled_and_told_is_counted_once(tmp_path):
    box = Box(tmp_path)
    for seq in range(1, 121):
        box.now_s += 1
        reading = Reading("n1:flow1", 1.0, box.now_s, 1, seq)
        box.pending.samples.add("n", "m3/s", reading, box.now_s)
        box.pending.reading("n", "m3/s", "n1", reading, box.now_s)
        box.commit()
    box.commit(everything=True)
    assert sum(m.samples for m in box.reader().minutes("n", WALL_S, WALL_S + 1e6)) == 120


def test_contacts_count_as_the_share_of_samples_in_which_they_were_active(tmp_path):
    box = Box(tmp_path)
    for value in (True, True, False, "cut", "normal", "alarm"):
        box.now_s += 1
        box.sample("door", value, "")
    box.sample("door", True, "", quality="fault")
    box.commit(everything=True)
    (minute,) = box.reader().minutes("door", WALL_S, WALL_S + 1e6)
    assert (minute.samples, minute.mean, minute.least, minute.most) == (5, pytest.approx(0.6), 0.0, 1.0)


def test_a_total_keeps_its_last_digit(tmp_path):
    box = Box(tmp_path)
    box.sample("total", 123_456.789, "m3")
    box.commit(everything=True)
    assert box.reader().minutes("total", WALL_S, WALL_S + 1e6)[0].last == 123_456.789
    assert box.reader().samples("total", WALL_S, WALL_S + 1e6, 10)[0].value == 123_456.789


# -- time -------------------------------------------------------------------------------------------------------------


def test_what_was_measured_before_the_clock_was_known_is_there_once_it_is(tmp_path):
    box = Box(tmp_path, known=False)
    box.run(150)
    assert box.reader().samples("s0", 0, 3e9, 1000) == []
    box.known = True
    box.pending.seal()
    box.clock()
    box.run(60)
    found = box.reader().samples("s0", WALL_S + 36_000, WALL_S + 36_151, 1000)
    assert [sample.at_s for sample in found] == [WALL_S + 36_001 + i for i in range(150)]
    assert box.reader().minutes("s0", WALL_S + 36_000, WALL_S + 36_060)[0].samples == 59


def test_a_boot_whose_clock_was_never_known_is_kept_under_its_own_clock(tmp_path):
    box = Box(tmp_path, known=False)
    box.run(90)
    box.commit(everything=True)
    box.now_s, box.known = 10.0, True
    box.start("second")
    box.run(90)
    box.commit(everything=True)
    assert len(box.reader().samples("s0", 0, 3e9, 1000)) == 90
    assert len(list(lookback.samples_of(box.store._db, "s0", Span(1, 0, 1e6, 0.0)))) == 90


def test_a_step_of_the_clock_moves_no_sample_of_before(tmp_path):
    box = Box(tmp_path)
    box.run(100)
    box.now_s += 0.5
    box.pending.seal()
    box.offset_s += 7200.0
    box.clock()
    box.run(100)
    box.commit(everything=True)
    found = box.reader().samples("s0", WALL_S, WALL_S + 1e6, 1000)
    expected = [36_001.0 + i + (7200.5 if i >= 100 else 0) for i in range(200)]
    assert [sample.at_s - WALL_S for sample in found] == expected


# -- a start ----------------------------------------------------------------------------------------------------------


class Even:
    """A model that scores what it is shown by its mean."""

    name = "water-leak"

    def score(self, windows: Sequence[Sequence[float]]) -> list[float]:
        return [sum(m for m in window if m == m) / sum(m == m for m in window) for window in windows]


def flow(box: Box, seconds: int) -> None:
    for _ in range(0, seconds, 10):
        box.now_s += 10.0
        box.sample("flow", 0.25, "m3/s")
        box.commit()


def started(box: Box) -> Detector:
    means = box.store.history.means_before(["flow"], box.label(), WINDOW_MIN)
    detector = Detector(Even(), ["flow"])
    end_s = box.now_s // 60 * 60
    detector.restore({sensor: {"end_s": end_s, "minutes": window} for sensor, window in means.items()}, box.now_s)
    return detector


def first_score_s(detector: Detector, box: Box) -> float:
    """How long after the start the model says something again, fed every ten seconds."""
    for second in range(0, 7200, 10):
        detector.feed("flow", 0.25, box.now_s + second)
        if detector.tick(box.now_s + second):
            return second
    return math.inf


@pytest.mark.parametrize("how", ["restart", "kill", "reboot", "unsure"])
def test_a_restart_blinds_the_model_for_minutes_and_not_for_an_hour(tmp_path, how):
    """By wall when the machine booted, by the boot's own clock when no wall was known."""
    box = Box(tmp_path, known=how != "unsure")
    flow(box, 3600)
    if how != "kill":
        box.commit(everything=True)
    box.now_s += 30.0
    if how == "reboot":
        box.offset_s += box.now_s - 15.0  # the wall goes on, the boot's clock begins anew
        box.now_s = 15.0
    box.start("second" if how == "reboot" else "first")
    assert first_score_s(started(box), box) <= 130
    assert first_score_s(Detector(Even(), ["flow"]), box) >= 1700


def test_an_hour_that_is_long_over_is_no_past_of_this_one(tmp_path):
    box = Box(tmp_path)
    flow(box, 3600)
    box.commit(everything=True)
    box.now_s += 1200.0
    box.start("first")
    assert first_score_s(started(box), box) >= 1700


# -- what it costs, what goes, what a disk does -----------------------------------------------------------------------


def test_history_adds_no_commit(tmp_path):
    box = Box(tmp_path)
    before = box.store.commits
    box.run(600)
    assert box.store.commits - before <= 20


def test_samples_go_after_their_days_of_operation_and_minutes_stay(tmp_path):
    box = Box(tmp_path, raw_days=1, minute_days=400)
    box.run(300)
    rows = box.rows("raw")
    for _ in range(24):
        box.now_s += 3600.0
        box.store.upkeep()
    assert box.rows("raw") == rows
    for _ in range(2):
        box.now_s += 3600.0
        box.store.upkeep()
    assert box.rows("raw") == 0
    assert len(box.reader().minutes("s0", WALL_S, WALL_S + 1e6)) >= 3


def test_the_clock_of_a_boot_is_forgotten_with_the_last_of_its_history(tmp_path):
    box = Box(tmp_path, raw_days=1, minute_days=1)
    box.run(60)
    box.commit(everything=True)
    box.start("second")
    for _ in range(28):
        box.now_s += 3600.0
        box.sample("s0", 1.0)
        box.commit(everything=True)
        box.store.upkeep()
    assert [row[0] >> lookback.BOOT_SHIFT for row in box.store._db.execute("SELECT id FROM walls")] == [2]


def test_when_room_is_short_raw_samples_go_before_any_pack(tmp_path):
    box = Box(tmp_path, budget_mb=0.3)
    dice = random.Random(4)
    for seq in range(1, 800):
        box.now_s += 10.0
        for i in range(40):
            box.sample(f"s{i}", dice.random())
        for i in range(4):
            box.pending.reading(
                "n", "m3/s", "n1", Reading("n1:flow1", dice.random(), box.now_s, 1, 4 * seq + i), box.now_s
            )
        box.commit()
    gone = box.store.history.given_up
    assert gone > 0
    assert box.store.heads()["readings"] == box.rows("packs") - 3, "a pack went, or a gap came"


def test_a_commit_that_is_tried_again_counts_nothing_twice(tmp_path):
    box = Box(tmp_path)
    for _ in range(31):
        box.now_s += 1.0
        box.sample("s", 1.0)
    work = box.pending.take(box.now_s, everything=True)
    blocker = sqlite3.connect(tmp_path / "linli.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    box.store._db.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(StoreStalled):
        box.store.commit([work])
    blocker.execute("ROLLBACK")
    box.store.commit([work])
    assert sum(m.samples for m in box.reader().minutes("s", WALL_S, WALL_S + 1e6)) == 31
    assert len(box.reader().samples("s", WALL_S, WALL_S + 1e6, 100)) == 31


def test_a_disk_that_stalls_costs_the_newest_samples_beyond_a_bound_and_says_how_many(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "OPEN_MAX", 50)
    box = Box(tmp_path)
    for _ in range(80):
        box.sample("s", 1.0)
    assert (box.pending.samples.open, box.pending.samples.given_up) == (50, 30)


def test_an_hour_that_cannot_be_opened_stops_nothing(tmp_path, caplog):
    box = Box(tmp_path)
    box.run(130)
    box.store._db.execute("UPDATE minute_parts SET body = x'00'")
    box.now_s += 3600
    box.store.upkeep()
    assert "cannot be opened" in caplog.text
    assert box.rows("minute_parts") == 0


# -- schema 1 ---------------------------------------------------------------------------------------------------------


def test_a_database_of_schema_1_is_brought_up_with_all_that_is_in_it(tmp_path):
    """The recorded file was written by the last program of schema 1, killed with a reading in the journal."""
    shutil.copy(RECORDED / "linli-schema-1.db", tmp_path / "linli.db")
    before = _content(tmp_path / "linli.db")
    migrate(tmp_path / "linli.db")
    after = _content(tmp_path / "linli.db")
    assert {name: rows for name, rows in after.items() if name in before} == before
    box = Box(tmp_path)
    assert box.store.epoch == "2265b1f5"
    assert box.store.marks() == {"n1": (3, 201)}
    assert box.store.heads()["readings"] == 6  # the journal became a pack
    assert box.store.kept()["alarm:cord"]["state"] == "latched"
    box.run(60)
    assert box.rows("raw") == 1
    assert box.store._db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION


def _content(path: Path) -> dict[str, list[tuple]]:
    db = sqlite3.connect(path)
    names = [
        row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%migr%'")
    ]
    found = {name: db.execute(f"SELECT * FROM [{name}]").fetchall() for name in names}
    db.close()
    return found
