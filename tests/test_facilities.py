"""The facility log: cases, repairs and tests of lifts, ramps and cords, and what nobody watched."""

from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from drivers.reading import Value
from gateway.contract import Label, Record
from gateway.contract_catalogue import FacilityLog
from gateway.facilities import Facilities, Facility
from gateway.upkeep import DAY_S

LIFT = Facility("lift-1", 24 * 3600.0, 30, 60.0, {"lift/ok": "lift"}, ("lift-jam",))
CORD = Facility("wc", 24 * 3600.0, 35, 60.0, {"wc/cord": "pull-cord"})
LOOP = Facility("loop", 48 * 3600.0, 90, 60.0, {})
STRICT = Draft202012Validator(
    msgspec.json.schema(FacilityLog)["$defs"]["FacilityLog"] | {"additionalProperties": False}
)
NOON = 1_795_579_200.0  # 2026-11-25 04:00 UTC


class World:
    """One box: its clocks turned by hand, its sensors' values set by hand."""

    def __init__(self, *facilities: Facility, before: "World | None" = None, wall_s: float | None = NOON) -> None:
        self.now_s, self.wall_s = 1000.0, wall_s
        self.boot = before.boot + 1 if before else 1
        self.kept: dict[str, object] = dict(before.kept) if before else {}
        self.values: dict[str, tuple[Value, float]] = {}
        self.standing: dict[str, str] = {}
        self.silent: set[str] = set()
        self.testing = False
        self.log: list[Record] = []
        self.facilities = Facilities(
            list(facilities), self.kept, self.kept.__setitem__, self.tell, self.silent.__contains__,
            lambda: self.testing, lambda wall_s: str(int(wall_s // DAY_S)), self.now_s,
        )  # fmt: skip

    def tell(self, record: Record) -> None:
        STRICT.validate(record.data)
        self.log.append(record)

    def label(self) -> Label:
        return Label(self.boot, self.now_s, self.wall_s, "ntp" if self.wall_s else "unsure", 0.1, "cafe0001")

    def says(self, sensor: str, value: Value) -> None:
        self.values[sensor] = (value, self.now_s)
        self.facilities.contact(sensor, value, self.now_s)

    def after(self, seconds: float, step_s: float = 1.0) -> dict[str, Any]:
        """{alarm: cause} of what began or ended in that time."""
        found: dict[str, Any] = {}
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            step = min(step_s, end_s - self.now_s)
            self.now_s += step
            self.wall_s = self.wall_s + step if self.wall_s is not None else None
            found |= dict(self.facilities.tick(self.label(), self.values.get, self.standing))
        return found

    def told(self) -> list[tuple[str, str]]:
        """(what, state) of each entry but the daily ones, since the last look."""
        said = [(r.type.removeprefix("facility."), str(r.data["value"])) for r in self.log]
        self.log.clear()
        return [entry for entry in said if entry[0] != "daily"]

    def deed(self, deed: str, name: str, note: str = "") -> None:
        self.facilities.deed(deed, name, "王师傅", note, self.label())


@pytest.fixture
def world() -> World:
    world = World(LIFT, CORD, LOOP)
    world.says("lift/ok", False)
    world.says("wc/cord", "normal")
    world.after(2)
    assert world.told() == [("watched", "in-service")] * 3, "the log of each begins"
    return world


def test_a_lift_that_says_out_of_service_opens_a_case_from_when_it_began_and_closes_it_when_it_serves(world):
    began_s = world.now_s
    world.says("lift/ok", True)
    world.after(59)
    assert world.told() == []
    world.after(3)
    [opened] = world.log
    assert (opened.type, opened.mono, opened.data["by"]) == ("facility.opened", began_s, "sensor:lift/ok")
    assert opened.data["case"] == 1 and opened.data["opened"] == "2026-11-25T04:00:02.000Z"
    world.log.clear()
    world.after(3600, 10)
    mended_s = world.now_s
    world.says("lift/ok", False)
    world.after(30)
    assert world.told() == []
    world.after(40)
    [repaired] = world.log
    assert repaired.type == "facility.repaired" and repaired.mono == pytest.approx(mended_s, abs=1.1)
    assert repaired.data["value"] == "in-service" and repaired.data["opened"] == "2026-11-25T04:00:02.000Z"


def test_a_lift_that_is_back_for_a_moment_is_not_repaired(world):
    world.says("lift/ok", True)
    world.after(61)
    for _ in range(5):
        world.says("lift/ok", False)
        world.after(20)
        world.says("lift/ok", True)
        world.after(20)
    assert world.told() == [("opened", "out-of-service")]


def test_an_alarm_opens_a_case_and_who_acknowledges_it_acknowledges_the_case(world):
    world.standing["lift-jam"] = "unacknowledged"
    world.after(1)
    world.standing["lift-jam"] = "acknowledged"
    world.after(2)
    assert world.told() == [("opened", "out-of-service"), ("acknowledged", "out-of-service")]
    world.standing["lift-jam"] = "returned-unacknowledged"
    world.after(62)
    assert world.told() == [("repaired", "in-service")]


def test_an_alarm_that_is_shelved_is_not_repaired(world):
    world.standing["lift-jam"] = "unacknowledged"
    world.after(1)
    world.standing["lift-jam"] = "shelved"
    world.after(3600)
    assert world.told() == [("opened", "out-of-service")]
    world.standing["lift-jam"] = "normal"
    world.after(62)
    assert world.told() == [("repaired", "in-service")]


def test_a_cut_cord_is_out_of_order_and_a_pulled_one_is_not(world):
    world.says("wc/cord", "alarm")
    world.after(120)
    assert world.told() == []
    world.says("wc/cord", "cut")
    world.after(62)
    assert world.told() == [("opened", "out-of-service")]


def test_a_cord_pulled_in_test_mode_is_a_test_and_opens_nothing(world):
    world.testing = True
    world.says("wc/cord", "alarm")
    world.says("wc/cord", "normal")
    world.says("lift/ok", True)
    world.after(300)
    world.says("lift/ok", False)
    world.testing = False
    world.after(1)
    assert world.told() == [("tested", "in-service"), ("tested", "in-service")]
    assert world.facilities.list()["wc"]["tested"] == pytest.approx(NOON + 3)


def test_cases_by_hand_go_through_open_acknowledged_repaired_and_refuse_what_does_not_fit(world):
    for deed in ("ack", "repaired"):
        with pytest.raises(ValueError, match="found no open case of loop, expected one; open it first"):
            world.deed(deed, "loop")
    world.deed("open", "loop", "无声")
    with pytest.raises(ValueError, match="found case 1 of loop open"):
        world.deed("open", "loop")
    world.deed("ack", "loop")
    with pytest.raises(ValueError, match="acknowledged"):
        world.deed("ack", "loop")
    world.after(7200, 60)
    assert world.facilities.list()["loop"]["open"] is True, "what a hand opened only a hand closes"
    world.deed("repaired", "loop", "换放大器")
    opened, acknowledged, repaired = [record.data for record in world.log if record.type != "facility.daily"]
    assert (opened["by"], opened["cause"], opened["note"]) == ("王师傅", "hand", "无声")
    assert acknowledged["value"] == "out-of-service" and repaired["note"] == "换放大器"
    with pytest.raises(ValueError, match="found facility 'lift-9', expected one of lift-1, wc, loop"):
        world.deed("tested", "lift-9")


def test_nobody_can_say_that_it_is_repaired_while_its_sensor_says_that_it_is_not(world):
    world.says("lift/ok", True)
    world.after(70)
    with pytest.raises(ValueError, match="found lift-1 still out of order by lift/ok"):
        world.deed("repaired", "lift-1")


def test_a_repair_that_takes_too_long_and_a_test_that_is_due_are_alarms_until_done(world):
    world.deed("open", "loop")
    assert world.after(47.9 * 3600, 600) == {}
    assert world.after(1800, 600) == {"repair-overdue:loop": {"condition": "repair-overdue", "value": 48.1}}
    world.deed("repaired", "loop")
    assert world.after(1) == {"repair-overdue:loop": None}
    late = world.after(29 * DAY_S, 3600)
    assert late == {"test-overdue:lift-1": {"condition": "test-overdue", "value": 30.0}}
    world.deed("tested", "lift-1")
    assert world.after(1) == {"test-overdue:lift-1": None}


def test_a_silent_sensor_leaves_the_state_unknown_until_it_speaks(world):
    world.silent.add("lift/ok")
    world.after(60)
    assert world.told() == [("unwatched", "unknown")]
    world.silent.clear()
    world.after(1)
    assert world.told() == [("watched", "in-service")]


def test_an_open_case_stays_open_while_its_sensor_is_silent(world):
    world.says("lift/ok", True)
    world.after(61)
    world.silent.add("lift/ok")
    world.says("lift/ok", False)
    world.after(600)
    assert world.told() == [("opened", "out-of-service")]


def test_the_hours_in_which_the_gateway_was_off_are_told_and_a_short_restart_is_not(world):
    world.after(3600, 10)
    later = World(LIFT, CORD, LOOP, before=world, wall_s=world.wall_s + 120)
    later.says("lift/ok", False)
    later.says("wc/cord", "normal")
    later.after(600)
    assert later.told() == []
    again = World(LIFT, CORD, LOOP, before=later, wall_s=later.wall_s + 7200)
    again.says("lift/ok", False)
    again.says("wc/cord", "normal")
    again.after(2)
    assert [r.data["unwatched_s"] for r in again.log if r.type == "facility.watched"] == pytest.approx(
        [7200] * 2, abs=305
    ), "and nobody needs a gateway to see the hearing loop"


def test_a_sensor_that_does_not_speak_after_a_restart_leaves_the_state_unknown_from_the_last_word(world):
    world.after(3600, 10)
    later = World(LIFT, before=world, wall_s=world.wall_s + 7200)
    later.after(590)
    assert later.told() == []
    later.after(20)
    [unwatched] = [record for record in later.log if record.type == "facility.unwatched"]
    assert unwatched.data["unwatched_s"] == pytest.approx(7200 + 600, abs=305)


def test_a_replaced_box_goes_on_with_case_and_tests(world):
    world.deed("tested", "lift-1")
    world.says("lift/ok", True)
    world.after(70)
    later = World(LIFT, CORD, LOOP, before=world, wall_s=world.wall_s + 3600)
    assert later.facilities.list()["lift-1"]["open"] is True
    assert later.facilities.list()["lift-1"]["tested"] is not None
    later.says("lift/ok", True)
    assert later.after(23.2 * 3600, 60)["repair-overdue:lift-1"]["value"] == 24.0
    assert "opened" not in [what for what, _ in later.told()], "one case, not two"


def test_what_happens_before_the_clock_is_known_gets_its_time_when_it_is():
    world = World(LIFT, wall_s=None)
    world.says("lift/ok", True)
    world.after(70)
    [opened] = world.log
    assert opened.data["opened"] is None
    world.wall_s = NOON
    world.after(1)
    assert world.facilities.list()["lift-1"]["opened"] == pytest.approx(NOON - 70)


def test_the_log_says_once_a_day_where_it_stands(world):
    world.after(3 * DAY_S, 600)
    days = [record for record in world.log if record.type == "facility.daily"]
    assert len(days) == 3 * 3, "three more days, of three facilities"
    assert {record.data["value"] for record in days} == {"in-service"}


def test_what_is_overdue_stays_so_while_nobody_knows_the_time_and_after_a_test_that_nobody_can_date(world):
    world.deed("open", "loop")
    assert "repair-overdue:loop" in world.after(49 * 3600, 600)
    dark = World(LIFT, CORD, LOOP, before=world, wall_s=None)
    assert "repair-overdue:loop" not in dark.after(24 * 3600, 600), "it neither ends nor comes again"
    dark.deed("tested", "wc")
    later = World(LIFT, CORD, LOOP, before=dark, wall_s=NOON + 90 * 86_400)
    assert "test-overdue:wc" in later.after(2)


def test_a_contact_that_bounces_through_a_test_is_tested_once_and_in_the_next_test_again(world):
    for _ in range(2):
        world.testing = True
        for _ in range(200):
            world.says("wc/cord", "alarm")
            world.says("wc/cord", "normal")
            world.after(1)
        assert world.told() == [("tested", "in-service")]
        world.testing = False
        world.after(2)
