"""The alarms of a site file through the pipeline: sensors at fault, buttons, restarts."""

import json
import re
from pathlib import Path

import pytest

from drivers.reading import Reading, Value
from gateway import build_alarms, config
from gateway.alarms import ACKNOWLEDGED, CAME, RETURNED, UNACKNOWLEDGED, Refused
from gateway.contract import Label
from gateway.detectors import Detectors
from gateway.packs import open_records
from gateway.pending import Pending
from gateway.pipeline import Pipeline
from gateway.sensors import Role
from tests.deeds_rig import deeds

PAGE = Path(__file__).parents[1] / "docs/alarms.md"
WALL_S = 1_800_000_000.0

SITE = """
schema = 1
site = { id = "centre", gateway = "centre-a", name = "中心" }
uplink = { broker = "mqtt://127.0.0.1:1883" }
bus.n1 = { kind = "node", port = "link:n1" }
bus.b1 = { kind = "modbus", port = "link:b1", line = "9600 8N1" }
device.meter = { bus = "b1", address = 1, model = "tuf-2000m" }
sensor.flow = { from = "n1:flow1", valid = [0, 0.01] }
sensor.cord = { from = "n1:loop1", kind = "pull-cord" }
sensor.hall = { from = "n1:loop2", kind = "pull-cord" }
sensor.main = { from = "meter:flow" }
alarm.leak = { name = "漏水", severity = "urgent", any = ["flow > 0.0005"], button = "gpio:23" }
alarm.cord = { name = "求助", severity = "urgent", any = ["cord is pulled"], button = "gpio:23", ack = ["button"] }
alarm.hall = { name = "求助", severity = "high", any = ["hall is cut", "hall is pulled"], shelve_h = 1 }
"""


class Centre:
    """The pipeline of a site file, without a disk; `again` is a restart from what was kept."""

    def __init__(self, folder: Path, kept: dict[str, object] | None = None, now_s: float = 5000.0) -> None:
        self._folder = folder
        (folder / "site.toml").write_text(SITE)
        site = config.load(folder / "site.toml")
        self.now_s = now_s
        self.pending = Pending(self.label, 10.0, 30.0)
        self.pending.kept.update(kept or {})
        roles = [Role(s.id, s.point, s.kind, valid=s.valid, numbered=s.source == "n1") for s in site.sensors.values()]
        self.pipeline = Pipeline(
            roles, build_alarms.alarms(site, dict(kept or {}), now_s), deeds([], {}, self.pending, self.label, {}),
            Detectors({}), self.pending, lambda: self.now_s, self.label, {},
            faults=build_alarms.faults(site), buttons=build_alarms.buttons(site),
        )  # fmt: skip
        self.pipeline.restore({}, now_s)

    def label(self) -> Label:
        return Label(1, self.now_s, WALL_S + self.now_s, "ntp", 0.01, "cafe0001")

    def again(self) -> "Centre":
        return Centre(self._folder, json.loads(json.dumps(self.pending.kept)), self.now_s + 2)

    def says(self, point: str, value: Value, quality: str = "good") -> None:
        self.pipeline.handle([Reading(point, value, self.now_s, quality=quality, urgent=True)])

    def later(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.now_s += 0.1
            self.pipeline.tick()

    def told(self) -> list[dict]:
        """The data of every record in `alarms` since the last call."""
        work = self.pending.take(self.now_s, everything=True)
        drafts = [draft for draft in work.drafts if draft.stream == "alarms"] if work else []
        return [record["data"] for draft in drafts for record in open_records(draft.body())]


@pytest.fixture
def centre(tmp_path: Path) -> Centre:
    return Centre(tmp_path)


@pytest.mark.parametrize(
    ("point", "bad", "good", "alarm", "fault"),
    [
        ("n1:flow1", 7.0, 0.0001, "leak", ("fault:flow", "range")),
        ("n1:loop1", "cut", "normal", "cord", ("fault:cord", "cut")),
        ("n1:loop1", "short", "normal", "cord", ("fault:cord", "short")),
    ],
)
def test_a_sensor_at_fault_is_an_alarm_of_its_own_and_ends_no_other(
    centre: Centre, point: str, bad: Value, good: Value, alarm: str, fault: tuple[str, str]
) -> None:
    centre.says(point, 0.001 if point == "n1:flow1" else "alarm")
    centre.later(1)
    centre.says(point, bad)
    centre.later(3600)
    assert centre.pipeline.standing() == {alarm: UNACKNOWLEDGED, fault[0]: UNACKNOWLEDGED}
    [came] = [record for record in centre.told() if record["alarm_id"] == fault[0] and record["what"] == CAME]
    assert came["cause"] == {"condition": fault[1], "value": bad}
    after = centre.again()
    after.later(60)
    assert after.pipeline.standing() == {alarm: UNACKNOWLEDGED, fault[0]: UNACKNOWLEDGED}
    after.says(point, good)
    after.later(11)
    assert after.pipeline.standing() == {alarm: RETURNED, fault[0]: RETURNED}


def test_a_fault_that_is_short_or_has_its_own_condition_is_no_alarm_of_the_box(centre: Centre) -> None:
    centre.says("n1:flow1", 7.0)
    centre.later(1)
    centre.says("n1:flow1", 0.0001)
    centre.says("n1:loop2", "cut")
    centre.later(30)
    assert centre.pipeline.standing() == {"hall": UNACKNOWLEDGED}


def test_a_changed_setting_explains_the_bad_values_that_rest_on_it(centre: Centre) -> None:
    centre.pipeline.fault("settings:meter", {"condition": "settings", "value": "flow_unit"})
    centre.says("meter:flow", float("nan"), "fault")
    centre.later(30)
    assert centre.pipeline.standing() == {"settings:meter": UNACKNOWLEDGED}
    centre.pipeline.fault("settings:meter", None)
    centre.later(30)
    assert centre.pipeline.standing() == {"settings:meter": RETURNED, "fault:main": UNACKNOWLEDGED}


def test_a_press_acknowledges_the_alarms_of_its_button_and_one_held_at_the_start_none(centre: Centre) -> None:
    centre.says("n1:flow1", 0.001)
    centre.says("n1:loop1", "alarm")
    centre.says("n1:loop2", "alarm")
    centre.says("gpio:23", True)
    assert set(centre.pipeline.standing().values()) == {UNACKNOWLEDGED}, "pressed since nobody knows when"
    centre.says("gpio:23", False)
    with pytest.raises(Refused):
        centre.pipeline.acknowledge("cord", "city:duty-3")
    centre.says("gpio:23", True)
    assert centre.pipeline.standing() == {"leak": ACKNOWLEDGED, "cord": ACKNOWLEDGED, "hall": UNACKNOWLEDGED}
    assert {record.get("by") for record in centre.told()} == {None, "button:button/gpio23"}


def test_order_and_first_out_go_on_after_a_restart(centre: Centre) -> None:
    centre.says("n1:loop1", "alarm")
    after = centre.again()
    after.says("n1:loop2", "alarm")
    [hall] = after.told()
    assert (hall["alarm_id"], hall["order"], hall["first_out"]) == ("hall", 2, False)
    assert [row["alarm"] for row in after.pipeline.told()] == ["cord", "hall"]


def test_a_severity_escalates_by_itself_and_a_list_says_otherwise(centre: Centre) -> None:
    site = config.load(centre._folder / "site.toml")
    rules = build_alarms.alarms(site, {}, 0.0)
    assert rules.rule("leak").escalate_s == (180.0, 900.0)
    assert rules.rule("hall").escalate_s == rules.rule("source:n1").escalate_s == (3600.0,)
    assert re.search("urgent 3 and 15, high 60, low never", PAGE.read_text())
