"""A machine of several sensors, from the site file through the pipeline to the alarm, and over a restart."""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers import device_file, registers
from drivers.modbus_unit import Unit
from drivers.reading import Reading, Run
from gateway import cli
from gateway.conditions import parse
from gateway.machines import KEEP, LATE_S, Channel, Machines, Plan
from models import bench_skab, skab
from models.data import data_dir
from models.pump import measure, step
from tests import modbus_rig
from tests.house import House
from tests.machine_rig import POINTS, site

ROWS = 1200
BEGINS = 800
FLOW = POINTS.index("flow")
CHANNELS = tuple(
    Channel(f"pump-1/{point}", kind, 1.5) for point, kind in zip(POINTS, bench_skab.KINDS.values(), strict=True)
)


def healthy(rows: int = ROWS, seed: int = 5) -> np.ndarray:
    return measure.made_up(rows, np.random.default_rng(seed))


def leaking(rows: int = ROWS, times: float = 0.9) -> np.ndarray:
    found = healthy(rows)
    found[BEGINS:, FLOW] *= times
    return found


class Pumps(House):
    """scores: of each second, None for none."""

    def __init__(self, folder: Path, text: str) -> None:
        super().__init__(folder, text)
        self.now_s = 1000.25
        self.scores: list[float | None] = []

    def second(self, row: Any) -> None:
        """A second of the pump; a NaN is a unit that gave no answer. row: None for none at all."""
        values = [] if row is None else zip(POINTS, row, strict=True)
        readings = [Reading(f"io:{point}", float(value), self.now_s) for point, value in values if value == value]
        if readings:
            self.pipeline.handle(readings)
        self.now_s += 1.0
        self.pipeline.tick()
        self.commit()
        self.scores.append(self.pipeline._detectors.score("pump", "pump-1"))

    def run(self, rows: Any) -> None:
        for row in rows:
            self.second(row)

    @property
    def causes(self) -> list[dict[str, Any]]:
        return [data["cause"] for data in self.came]

    @property
    def came(self) -> list[dict[str, Any]]:
        records: list[Any] = [alarm["data"] for alarm in self.alarms]
        return [data for data in records if data["what"] == "came"]


def test_a_fault_of_one_channel_becomes_an_alarm_that_names_it_and_says_how_far(tmp_path: Path) -> None:
    house = Pumps(tmp_path, site(tmp_path))
    house.run(leaking())
    [cause] = house.causes
    assert cause["condition"] == "model:pump on pump-1 > 0.5 for 10 s"
    assert (cause["model"], cause["version"]) == ("pump", "1.0.0")
    [because] = cause["because"]
    assert because["what"] == "pump-1/flow"
    assert -1.5 < because["far"] < -1.0
    [came] = [at for at, score in enumerate(house.scores) if score and score > 0.5][:1]
    assert BEGINS < came < BEGINS + 60


def test_a_healthy_pump_rings_for_nothing_and_has_no_score_while_it_is_learnt(tmp_path: Path) -> None:
    house = Pumps(tmp_path, site(tmp_path))
    house.run(healthy())
    assert house.causes == []
    learnt = next(i for i, score in enumerate(house.scores) if score is not None)
    assert step.LEARN_ROWS <= learnt <= step.LEARN_ROWS + LATE_S + 1


def test_the_box_scores_as_the_step_function_does_row_for_row(tmp_path: Path) -> None:
    house = Pumps(tmp_path, site(tmp_path))
    rows = leaking(900)
    house.run([*rows, *[None] * 8])
    pump = step.Pump({channel.sensor: channel.kind for channel in CHANNELS})
    alone = [score for row in rows if (score := pump.step(row).score) == score]
    boxed = [score for score in house.scores if score is not None]
    assert boxed[: len(alone)] == pytest.approx(alone, abs=1e-12)


def test_seconds_that_nobody_measured_are_no_rows_and_end_no_score(tmp_path: Path) -> None:
    house = Pumps(tmp_path, site(tmp_path))
    rows = leaking(900)
    holed = [part for i, row in enumerate(rows) for part in ([row, None] if i % 17 == 3 else [row])]
    house.run([*holed, *[None] * 8])
    pump = step.Pump({channel.sensor: channel.kind for channel in CHANNELS})
    alone = [score for row in rows if (score := pump.step(row).score) == score]
    boxed = [score for score in house.scores if score is not None]
    assert list(dict.fromkeys(boxed)) == pytest.approx(list(dict.fromkeys(alone)), abs=1e-12)
    assert len(house.causes) == 1


def test_what_was_learnt_survives_a_power_cut_and_what_was_being_learnt_does_not(tmp_path: Path) -> None:
    rows = leaking(2000)
    house = Pumps(tmp_path, site(tmp_path))
    house.run(rows[:200])
    house.reboot(60.0)
    house.run(rows[200:700])
    assert house.scores[590] is None, "400 rows anew, since the cut"
    assert KEEP + "pump-1" in house.committed
    house.reboot(3600.0)
    begun = len(house.scores)
    house.run(rows[700:1000])
    assert next(i for i, score in enumerate(house.scores[begun:]) if score is not None) <= LATE_S + 1
    assert [cause["because"][0]["what"] for cause in house.causes] == ["pump-1/flow"]


def test_a_machine_whose_sensors_have_changed_is_learnt_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept: dict[str, object] = {}
    first = Machines("pump", {"pump-1": Plan(CHANNELS)}, {}, kept.__setitem__)
    feed(first, healthy(500))
    assert first.score("pump-1") is not None
    for others in (CHANNELS[1:], CHANNELS[::-1]):
        again = Machines("pump", {"pump-1": Plan(others)}, kept, lambda key, value: None)
        assert again.left("pump-1") == step.LEARN_ROWS
    assert "it learns anew" in caplog.text
    same = Machines("pump", {"pump-1": Plan(CHANNELS)}, kept, lambda key, value: None)
    assert same.left("pump-1") == 0


@pytest.mark.parametrize("kept", [7, ["0.9.0", {}], ["1.0.0", {}], ["1.0.0", None], [], {"a": 1, "b": 2}])
def test_what_cannot_be_taken_up_is_learnt_anew(kept: object) -> None:
    machines = Machines("pump", {"pump-1": Plan(CHANNELS)}, {KEEP + "pump-1": kept}, lambda key, value: None)
    assert machines.left("pump-1") == step.LEARN_ROWS
    assert machines.fault == ""


def feed(machines: Machines, rows: np.ndarray, from_s: float = 0.0, every_s: float = 1.0) -> list[float | None]:
    found = []
    for i, row in enumerate(rows):
        at_s = from_s + i * every_s
        for channel, value in zip(CHANNELS, row, strict=True):
            machines.feed(channel.sensor, float(value), at_s + 0.25)
        machines.tick(at_s + every_s)
        found.append(machines.score("pump-1"))
    return found


def test_rows_count_only_while_the_machine_runs_and_has_for_as_long_as_is_asked_for() -> None:
    """A pump that stops each ten minutes, and starts with half a minute of something else."""
    runs = parse("pump-1/current > 0.5 for 30 s")
    rows = healthy(3000)
    at = np.arange(len(rows)) % 600
    rows[at >= 500] *= 0.0
    rows[at < 25] *= 1.3
    always = Machines("pump", {"pump-1": Plan(CHANNELS)}, {}, lambda key, value: None)
    told = Machines("pump", {"pump-1": Plan(CHANNELS, 1.0, runs)}, {}, lambda key, value: None)
    said = np.array([score if score is not None else math.nan for score in feed(told, rows)])
    assert np.nanmax(said) < 0.5
    assert np.isnan(said[1110:1235]).all() and np.isfinite(said[1245:1700]).all()
    blind = [score for score in feed(always, rows) if score is not None]
    assert not blind or max(blind) > 0.5 or min(blind) < np.nanmin(said), "it takes a stop for the healthy pump"


def test_a_machine_that_is_looked_at_more_seldom_takes_the_mean_of_what_was_said_meanwhile() -> None:
    machines = Machines("pump", {"pump-1": Plan(CHANNELS, 5.0)}, {}, lambda key, value: None)
    rows = healthy(410)
    for i, row in enumerate(rows):
        for part in range(5):
            for channel, value in zip(CHANNELS, row, strict=True):
                machines.feed(channel.sensor, float(value) + (part - 2) * 0.01, i * 5.0 + part)
        machines.tick(i * 5.0 + 4.9)
    pump = step.Pump({channel.sensor: channel.kind for channel in CHANNELS})
    alone = [pump.step(row).score for row in rows[:408]]
    assert machines.score("pump-1") == pytest.approx(alone[-1], abs=1e-6)


def test_a_unit_that_answers_now_before_and_now_behind_the_full_second_loses_no_row() -> None:
    machines = Machines("pump", {"pump-1": Plan(CHANNELS)}, {}, lambda key, value: None)
    jitter = np.random.default_rng(2).uniform(-0.1, 0.1, 420)
    for i, (row, late_s) in enumerate(zip(healthy(420), jitter, strict=True)):
        for channel, value in zip(CHANNELS, row, strict=True):
            machines.feed(channel.sensor, float(value), 10.0 + i + late_s)
        machines.tick(10.5 + i)
    assert machines.left("pump-1") == 0


def test_a_node_that_says_a_steady_flow_only_each_minute_leaves_no_hole() -> None:
    channels = (*CHANNELS[:-1], CHANNELS[-1]._replace(hold_s=90.0))
    machines = Machines("pump", {"pump-1": Plan(channels)}, {}, lambda key, value: None)
    for i, row in enumerate(healthy(420)):
        for at, (channel, value) in enumerate(zip(channels, row, strict=True)):
            if at != FLOW or i % 60 == 0:
                machines.feed(channel.sensor, float(value), i + 0.25)
        machines.tick(i + 1.0)
    assert machines.left("pump-1") == 0


def test_nothing_measured_for_half_a_minute_is_no_score_any_more_and_a_long_sleep_holds_nobody_up() -> None:
    machines = Machines("pump", {"pump-1": Plan(CHANNELS)}, {}, lambda key, value: None)
    feed(machines, healthy(500))
    assert machines.score("pump-1") is not None
    machines.tick(520.0)
    assert machines.score("pump-1") is not None
    machines.tick(540.0)
    assert machines.score("pump-1") is None
    machines.tick(1e7)
    feed(machines, healthy(20), from_s=1e7)
    assert machines.score("pump-1") is not None


def test_a_model_that_fails_is_out_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines("pump", {"pump-1": Plan(CHANNELS)}, {}, lambda key, value: None)
    feed(machines, healthy(450))
    monkeypatch.setattr(step.Pump, "step", lambda self, row: 1 / 0)
    feed(machines, healthy(10), from_s=450.0)
    assert machines.fault.startswith("The model pump is taken out: ")
    assert machines.score("pump-1") is None


def test_readings_in_columns_and_one_sensor_of_two_machines(tmp_path: Path) -> None:
    plans = {"pump-1": Plan(CHANNELS), "pump-2": Plan(CHANNELS[FLOW:])}
    machines = Machines("pump", plans, {}, lambda key, value: None)
    for i, row in enumerate(healthy(420)):
        run = Run("io", 1, 1, [channel.sensor for channel in CHANNELS], row.tolist(), [i + 0.25] * len(CHANNELS))
        machines.run(run.points, run.values, run.monos_s)
        machines.run(["other"], [1.0], [i + 0.25])
        machines.tick(i + 1.0)
    assert machines.score("pump-1") is not None and machines.score("pump-2") is not None
    assert machines.looks_at("pump-2") == ["pump-1/flow"]


def test_the_samples_around_the_alarm_are_those_of_the_machines_sensors(tmp_path: Path) -> None:
    house = Pumps(tmp_path, site(tmp_path))
    house.run(leaking(950))
    assert {key for key in house.committed if key.startswith("raw:")} == {f"raw:pump-1/{point}" for point in POINTS}


@pytest.mark.data
@pytest.mark.parametrize("name", ["valve1/0", "other/12"])
def test_a_published_file_through_the_whole_pipeline_gets_the_verdicts_that_the_benchmark_counts(
    tmp_path: Path, name: str
) -> None:
    folder = data_dir("skab")
    [test] = [test for test in skab.read(folder) if test.name == name]
    house = Pumps(tmp_path, site(tmp_path))
    columns = [skab.CHANNELS.index(channel) for channel in bench_skab.KINDS]
    rows_at = {int(at_s): row for at_s, row in zip(test.at_s - test.at_s[0], test.values[:, columns], strict=True)}
    for second in range(max(rows_at) + 1):
        house.second(rows_at.get(second))
    for _ in range(8):
        house.second(None)
    pump = step.Pump({channel.sensor: channel.kind for channel in CHANNELS})
    alone = [pump.step(row).score for row in test.values[:, columns]][skab.TRAIN_ROWS :]
    boxed = house.scores
    assert [score > 0.5 for score in alone] == bench_skab.pump([test])[name].tolist()
    seconds = [int(at_s) for at_s in test.at_s[skab.TRAIN_ROWS :] - test.at_s[0]]
    assert [boxed[second + int(LATE_S)] for second in seconds] == pytest.approx(alone, abs=1e-12)


def test_maintenance_of_the_machine_covers_its_alarm_and_that_of_one_sensor_says_that_it_does_not(
    tmp_path: Path,
) -> None:
    modes = Pumps(tmp_path, site(tmp_path)).deeds.modes
    assert "pump" in modes.reach("pump-1")[0]
    assert modes.reach("pump-1/flow")[1] == ["pump"], "it looks at other sensors, too"


def test_after_a_service_it_learns_anew_how_the_pump_runs_now_and_its_alarm_is_over(tmp_path: Path) -> None:
    house = Pumps(tmp_path, site(tmp_path))
    house.run(leaking(950))
    assert house.pipeline.stands("pump")
    house.pipeline.learn_anew("pump", "pump-1", "desk:王工")
    house.commit()
    assert not house.pipeline.stands("pump")
    assert house.pipeline.model_uses() == {"pump": {"pump-1": f"learns, {step.LEARN_ROWS} rows left"}}
    [decided] = [event["data"] for event in house.events if event["type"] == "model.decided"]
    assert decided == {
        "value": "learns-anew", "version": "1.0.0", "active": "1.0.0", "by": "desk:王工", "of": "pump-1",
    }  # fmt: skip
    house.reboot(60.0)
    now = healthy(1600)
    now[:, FLOW] *= 0.9
    begun = len(house.scores)
    house.run(now[950:])
    assert house.scores[begun + 300] is None, "also over a restart"
    assert house.scores[-1] is not None and len(house.causes) == 1


def test_only_what_learns_and_is_looked_at_can_learn_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    house = Pumps(tmp_path, site(tmp_path))
    with pytest.raises(ValueError, match="found model 'water-leak', expected one that learns and runs here: pump"):
        house.pipeline.learn_anew("water-leak", "pump-1", "desk")
    with pytest.raises(ValueError, match="found 'pump-2', expected what pump looks at: pump-1"):
        house.pipeline.learn_anew("pump", "pump-2", "desk")
    assert cli.main(["model", "learn", "pump", "--state", str(tmp_path)]) == 2
    assert cli.main(["model", "learn", "pump", "pump-1", "--state", str(tmp_path)]) == 1
    assert "found no gateway that runs on" in capsys.readouterr().err


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_from_the_bytes_of_a_noisy_line_to_the_alarm_that_names_the_channel(tmp_path: Path, noise: float) -> None:
    """A unit polled each second, on a line that turns a bit over in some of its answers."""
    house = Pumps(tmp_path, site(tmp_path))
    device = device_file.load(tmp_path / "pump-io.toml")
    image: registers.Image = {("holding", at): 0 for at in range(14)}
    spoil = modbus_rig.noisy(random.Random(1), noise)
    unit = Unit("io", 1, device, list(POINTS), 1.0)
    line = modbus_rig.Line([unit], [modbus_rig.Slave(1, image, spoil)], "115200 8N1")
    house.now_s = line.now_s
    for row in leaking(1100):
        modbus_rig.put(device, image, **dict(zip(POINTS, row, strict=True)))
        if facts := line.run(1.0):
            house.pipeline.handle(facts)
        house.now_s = line.now_s
        house.pipeline.tick()
        house.commit()
        house.scores.append(house.pipeline._detectors.score("pump", "pump-1"))
    assert [cause["because"][0]["what"] for cause in house.causes] == ["pump-1/flow"]
    assert all(score is not None for score in house.scores[2 * step.LEARN_ROWS :])
    assert max(score for score in house.scores[:BEGINS] if score is not None) < 0.5
