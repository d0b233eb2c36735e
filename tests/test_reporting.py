"""Sampling is not reporting: every sample is kept, judged and counted; the city is told what the report says."""

import json
import random

import pytest

from drivers.reading import Reading
from gateway.alarms import Alarms, Rule
from gateway.conditions import parse
from gateway.detectors import Detectors
from gateway.lookback import Span, samples_of
from gateway.pending import Pending
from gateway.pipeline import Pipeline
from gateway.reader import Reader
from gateway.reporting import Reporting
from gateway.sensors import Role
from gateway.store import Store
from tests.deeds_rig import deeds
from tests.test_leak_to_city import TOPICS, Centre


def told(report: Reporting, values: list[float], every_s: float = 1.0) -> list[float]:
    return [v for i, v in enumerate(values) if report.told(Reading("m:p", v, i * every_s))]


def test_a_value_is_told_when_it_left_the_deadband_and_not_when_it_crept_within_it():
    assert told(Reporting(60, 0.5), [1.0, 1.4, 1.5, 1.6, 2.0, 2.2]) == [1.0, 1.6, 2.2]


def test_a_slow_drift_is_told_because_it_is_judged_by_what_was_told_last():
    values = [i * 0.1 for i in range(30)]
    assert told(Reporting(1000, 0.45), values) == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])


def test_an_unchanged_value_is_told_at_least_every_interval():
    assert len(told(Reporting(60, 0.5), [1.0] * 181)) == 4


def test_a_fault_is_told_at_once_and_so_is_its_end():
    report = Reporting(60, 10.0)
    qualities = ["good", "good", "range", "range", "good"]
    found = [report.told(Reading("m:p", 1.0, float(i), quality=q)) for i, q in enumerate(qualities)]
    assert found == [True, False, True, False, True]


def test_statistics_are_of_all_good_samples_of_an_interval_and_bear_its_end():
    report = Reporting(60, 100.0, ["min", "mean", "max", "count"])
    found = []
    for second in range(61):
        quality = "fault" if second == 30 else "good"
        found += report.count(Reading("m:p", -999.0 if second == 30 else float(second), float(second), quality=quality))
    values = {name: (reading.value, reading.mono_s) for name, reading in found}
    mean = (sum(range(60)) - 30) / 59
    assert values == {"min": (0.0, 60.0), "mean": (mean, 60.0), "max": (59.0, 60.0), "count": (59.0, 60.0)}


def test_a_sensor_that_fell_silent_still_gets_the_statistics_of_its_last_interval():
    report = Reporting(60, 0.0, ["max"])
    report.count(Reading("m:p", 7.0, 61.0))
    assert report.over(119.0) == []
    assert [(name, r.value) for name, r in report.over(120.0)] == [("max", 7.0)]
    assert report.over(180.0) == []


class Polled(Centre):
    """A meter sampled each second and reported each minute, with an alarm on it."""

    def build(self) -> None:
        rule = Rule("low", "水压低", "high", (parse("riser < 100000"),))
        alarms = Alarms([rule], {}, {}, self.now_s)
        roles = [
            Role("riser", "gpio:4", "pressure", 60.0, 5000.0, None, False, ("mean",)),
            Role("n/flow", "n1:flow1", "flow"),
        ]
        self.pending = Pending(self.label, 10.0, 30.0)
        self.pipeline = Pipeline(
            roles, alarms, deeds([], {}, self.pending, self.label), Detectors({}), self.pending,
            lambda: self.now_s, self.label, self.store.kept(),
        )  # fmt: skip
        self.commits = 0

    def poll(self, value: float) -> None:
        """One second passes."""
        self.now_s += 1.0
        self.pipeline.handle([Reading("gpio:4", value, self.now_s)])
        self.pipeline.tick()
        if work := self.pending.take(self.now_s):
            self.store.commit([work])
            self.commits += 1


@pytest.fixture
def centre(tmp_path) -> Polled:
    return Polled(tmp_path)


def readings(centre: Polled, folder) -> dict[str, list[dict]]:
    """{name: records}, as the city gets them."""
    reader = Reader(folder / "linli.db")
    found: dict[str, list[dict]] = {}
    for row in reader.after(centre.store.epoch_no, "readings", 1, 10_000, 10_000):
        for record in json.loads(reader.payload(row, TOPICS))["records"]:
            if "n" in record:
                found.setdefault(record["n"], []).append(record)
    reader.close()
    return found


def test_all_samples_are_on_the_box_and_the_city_has_one_a_minute_and_the_mean(centre, tmp_path):
    dice = random.Random(5)
    sent = [300_000.0 + dice.randrange(2000) for _ in range(300)]
    for value in sent:
        centre.poll(value)
    found = readings(centre, tmp_path)
    assert set(found) == {"riser", "riser/mean"}
    assert 4 <= len(found["riser"]) <= 6
    means = [record["v"] for record in found["riser/mean"]]
    assert means and all(300_000 < mean < 302_000 for mean in means)
    assert all("src" not in record for record in found["riser/mean"])
    kept = list(samples_of(centre.store._db, "riser", Span(1, 0, 1e6, 0.0)))
    assert [sample.value for sample in kept] == sent[: len(kept)]
    assert len(kept) >= 270


def test_polling_commits_no_more_often_than_the_interval_says(centre):
    for _ in range(600):
        centre.poll(300_000.0)
    assert centre.commits <= 21


def test_an_alarm_sees_a_sample_that_is_not_told(centre, tmp_path):
    for value in (104_000.0, 104_000.0, 99_500.0):  # within the deadband of what was told
        centre.poll(value)
    assert centre.pipeline.standing() == {"low": "unacknowledged"}


def test_what_a_node_sends_is_always_told(centre, tmp_path):
    for seq in range(1, 41):
        centre.now_s += 1
        centre.pipeline.handle([Reading("n1:flow1", 0.001, centre.now_s, 1, seq)])
    centre.store.commit([centre.pending.take(centre.now_s, everything=True)])
    assert len(readings(centre, tmp_path)["n/flow"]) == 40


def test_five_minutes_before_and_after_an_alarm_reach_the_city_as_raw_each_sample_once(centre, tmp_path):
    for second in range(1000):
        centre.poll(90_000.0 if second in (400, 401, 500) else 300_000.0 + second)
    raw = readings(centre, tmp_path)["riser/raw"]
    values = [record["v"] for record in raw]
    assert len(values) == 300 + 100 + 300 and len(set(values)) == 700 - 2  # the three alarms' values are equal
    assert values[0] == 300_100.0 and values[-1] == 300_799.0
    assert all(record["u"] == "Pa" for record in raw)


def test_a_restart_in_the_middle_forgets_no_window(centre, tmp_path):
    for second in range(100):
        centre.poll(90_000.0 if second == 50 else 300_000.0 + second)
    centre.store.commit([centre.pending.take(centre.now_s, everything=True)])
    del centre.pipeline
    centre.build()
    for second in range(100, 500):
        centre.poll(300_000.0 + second)
    values = [record["v"] for record in readings(centre, tmp_path)["riser/raw"]]
    assert values == [90_000.0 if s == 50 else 300_000.0 + s for s in range(350)]


def test_a_boot_later_the_samples_of_the_boot_before_are_sent_under_its_number(centre, tmp_path):
    for second in range(100):
        centre.poll(90_000.0 if second == 50 else 300_000.0 + second)
    centre.store.commit([centre.pending.take(centre.now_s, everything=True)])
    centre.store.close()
    centre.store = Store(tmp_path / "linli.db", centre, random.Random(2))
    centre.boot = 0
    centre.store.open("another")
    centre.now_s = 20.0
    centre.build()
    for second in range(40):
        centre.poll(90_000.0 if second == 0 else 300_000.0 + second)  # an alarm of this boot takes nothing from that
    rows = Reader(tmp_path / "linli.db").after(centre.store.epoch_no, "readings", 1, 10_000, 10_000)
    assert {row.boot for row in rows} == {1, 2}
    assert len(readings(centre, tmp_path)["riser/raw"]) == 100
