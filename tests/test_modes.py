"""Test and maintenance: alarms are marked, reactions that say so wait, and both end by themselves, restarts or not."""

import pytest

from drivers.reading import Reading
from gateway.button import Button
from gateway.by_hand import ByHand
from tests.house import House

SITE = """
sensor."cellar/rope" = { from = "gpio:17", kind = "leak" }
sensor."toilet-f1/cord" = { from = "gpio:18", kind = "pull-cord" }
sensor."toilet-f10/cord" = { from = "gpio:19", kind = "pull-cord" }
output.valve = { to = "gpio:5", kind = "valve", at_start = "keep", at_crash = "keep", approved_by = "物业 2026-11-20" }
output.strobe = { to = "gpio:27", kind = "strobe" }
alarm.leak = { name = "漏水", severity = "urgent", any = ["cellar/rope is wet"] }
alarm.cord = { name = "求助", severity = "urgent", any = ["toilet-f1/cord is pulled"] }
alarm.any = { name = "任一", severity = "low", any = ["toilet-f1/cord is pulled", "cellar/rope is wet"] }
reaction.close = { when = "alarm.leak active 30 s", do = "valve close", unless = ["maintenance", "test"] }
reaction.light = { when = "alarm.leak active", do = "strobe on" }
"""


@pytest.fixture
def house(tmp_path) -> House:
    return House(tmp_path, SITE)


def begin(house: House, mode: str, place: str = "", minutes: float = 15) -> None:
    house.deeds.begin_mode(mode, place, minutes, "desk", house.now_s)


def marks(house: House, alarm: str) -> list[tuple[str, bool, bool]]:
    """(state, test, maintenance) of its records, those of an escalation left out."""
    found = [record["data"] for record in house.alarms if record["subject"] == alarm]
    return [(data["state"], data["test"], data["maintenance"]) for data in found if data["what"] != "escalated"]


def test_an_alarm_born_in_the_test_is_marked_to_the_very_end_and_the_next_one_is_not(house):
    begin(house, "test")
    house.say("gpio:18", True)
    house.later(1)
    house.say("gpio:18", False)
    house.later(15 * 60 + 1)
    house.pipeline.acknowledge("cord")
    house.say("gpio:18", True)
    house.later(1)
    states = [("unacknowledged", True), ("returned-unacknowledged", True), ("normal", True), ("unacknowledged", False)]
    assert [(state, test) for state, test, _ in marks(house, "cord")] == states


@pytest.mark.parametrize("mode", ["test", "maintenance"])
def test_a_real_leak_that_a_mode_hid_comes_in_earnest_when_the_mode_is_over(house, mode):
    begin(house, mode, minutes=5)
    house.say("gpio:17", True)
    house.later(10)
    house.pipeline.acknowledge("leak")
    house.later(200)
    house.kill()
    house.later(95)
    assert house.pins["strobe"].on, "what holds with the alarm goes on"
    [first, acked, again] = [record["data"] for record in house.alarms if record["subject"] == "leak"]
    assert first[mode] and acked[mode] and not again[mode] and not again["test"]
    told = {key: again[key] for key in ("what", "prev", "state", "occurrence", "acknowledged")}
    assert told == {
        "what": "came", "prev": "acknowledged", "state": "unacknowledged", "occurrence": 2, "acknowledged": False,
    }  # fmt: skip
    house.later(181)
    assert house.alarms[-1]["data"]["what"] == "escalated" and not house.alarms[-1]["data"][mode]
    assert house.pins["valve"].on
    house.kill()
    house.later(5)
    assert house.pipeline.standing()["leak"] == "unacknowledged"
    came = [record for record in house.alarms if record["subject"] == "leak" and record["data"]["what"] == "came"]
    assert [record["data"]["occurrence"] for record in came] == [1, 2], "a restart repeats nothing"


def test_what_came_in_a_test_and_is_gone_or_shelved_at_its_end_does_not_come_again(house):
    begin(house, "test", minutes=5)
    house.say("gpio:17", True)
    house.say("gpio:18", True)
    house.later(10)
    assert set(house.pipeline.standing()) == {"leak", "cord", "any"} and house.pipeline.in_earnest() == {}
    house.say("gpio:18", False)
    house.pipeline.shelve("leak", 1)
    house.later(400)
    assert [data[:2] for data in marks(house, "leak")] == [("unacknowledged", True), ("shelved", True)]
    assert [data[0] for data in marks(house, "cord")] == ["unacknowledged", "returned-unacknowledged"]
    house.pipeline.unshelve("leak")
    house.later(1)
    assert marks(house, "leak")[-1] == ("unacknowledged", False, False)
    assert set(house.pipeline.in_earnest()) == {"leak", "any"}


def test_who_holds_an_output_or_begins_a_mode_is_a_name_and_not_a_letter(house):
    hand = ByHand(house.pipeline, house.site, house.mono_s)
    for by in ("x" * 201, "two\nlines"):
        with pytest.raises(ValueError, match="expected a name in one line, 200 characters at most"):
            hand.output("strobe", "on", 1, by)
        with pytest.raises(ValueError, match="as who does it"):
            hand.mode("test", "", 1, by)
    hand.output("strobe", "on", 1, "王师傅")
    assert house.deeds.hands()["strobe"]["by"] == "王师傅" and house.deeds.modes.on() == []


def test_an_alarm_that_stood_before_the_test_is_none_of_it(house):
    house.say("gpio:18", True)
    house.later(1)
    house.kill()
    begin(house, "test")
    house.pipeline.acknowledge("cord")
    house.later(1)
    assert [test for _, test, _ in marks(house, "cord")] == [False, False]


def test_events_born_in_the_test_are_marked_and_others_are_not(house):
    house.deeds.override("strobe", "on", 1, "desk", house.now_s)
    begin(house, "test")
    house.deeds.override("strobe", "off", 1, "desk", house.now_s)
    house.deeds.end_mode("test", "", "desk", house.now_s)
    house.deeds.override("strobe", "on", 1, "desk", house.now_s)
    house.commit()
    asked = [event.get("test", False) for event in house.events if event["type"] == "output.asked"]
    assert asked == [False, True, False]


def test_in_the_test_the_valve_waits_and_the_strobe_does_not(house):
    begin(house, "test")
    house.say("gpio:17", True)
    house.later(60)
    assert house.pins["strobe"].on and not house.pins["valve"].on
    assert house.of("reaction.held") == [{"value": "close", "alarm": "leak", "occurrence": 1, "why": "test"}]
    house.say("gpio:17", False)
    house.later(900)
    assert not house.pins["valve"].on
    assert house.of("mode.ended") == [{"value": "test", "place": "", "by": "end", "alarms": 2}]


def test_water_that_still_runs_when_the_test_is_over_closes_the_valve_its_hold_time_later(house):
    begin(house, "test", minutes=5)
    house.say("gpio:17", True)
    house.later(290)
    house.later(10 + 29)
    assert not house.pins["valve"].on
    house.later(2)
    assert house.pins["valve"].on


def test_the_end_and_the_marks_survive_a_kill_and_a_power_cut(house):
    begin(house, "test", minutes=15)
    house.say("gpio:18", True)
    house.later(60)
    house.kill()
    house.later(60)
    house.reboot(120.0)
    assert house.deeds.modes.on() == [{"mode": "test", "place": "", "by": "desk", "left_s": 660}]
    house.pipeline.acknowledge("cord")
    house.later(1)
    assert [test for _, test, _ in marks(house, "cord")] == [True, True]
    house.later(660)
    assert house.deeds.modes.on() == [] and house.of("mode.ended")[0]["by"] == "end"


def test_an_end_that_the_power_cut_slept_through_is_over_once_the_time_is_known(house):
    begin(house, "maintenance", minutes=60)
    house.commit()
    wall_s = house.wall_s
    house.reboot(7200.0, knows_time=False)
    house.later(60)
    assert house.deeds.modes.on()[0]["left_s"] == 840, "nobody knows for how long it was dark"
    house.wall_s = wall_s + 1000.0 + 7200.0
    house.later(0.2)
    assert house.deeds.modes.on() == []


def test_a_mode_restored_from_another_boxs_snapshot_never_lasts_longer_than_it_was_to(house):
    begin(house, "maintenance", minutes=60)
    house.commit()
    house.now_s = 3.0  # a box of the same boot number, whose clock says otherwise
    house.kill()
    assert house.deeds.modes.on()[0]["left_s"] == 3600


def test_a_clock_that_is_set_moves_no_end(house):
    begin(house, "test", minutes=15)
    house.wall_s += 36_000.0
    house.later(60)
    assert house.deeds.modes.on()[0]["left_s"] == 840


# Places


def test_maintenance_marks_what_lies_in_its_place_and_nothing_that_also_looks_elsewhere(house):
    begin(house, "maintenance", "toilet-f1")
    house.say("gpio:18", True)
    house.say("gpio:17", True)
    house.later(40)
    assert [mark for _, _, mark in marks(house, "cord")] == [True]
    assert [mark for _, _, mark in marks(house, "any")] == [False], "the rope is not under maintenance"
    assert [mark for _, _, mark in marks(house, "leak")] == [False] and house.pins["valve"].on
    assert house.deeds.modes.reach("toilet-f1") == (["cord"], ["any"])


def test_a_place_is_not_the_beginning_of_another_ones_name(house):
    begin(house, "maintenance", "toilet-f1")
    assert house.deeds.modes.held("cord") == ["maintenance"]
    with pytest.raises(ValueError, match="which no alarm looks at"):
        begin(house, "maintenance", "toilet-f")


def test_maintenance_of_the_whole_centre_covers_the_boxs_own_alarms_too(house):
    begin(house, "maintenance", "", 30)
    assert house.deeds.modes.held("any") == house.deeds.modes.held("output:valve") == ["maintenance"]


@pytest.mark.parametrize(
    ("mode", "place", "minutes", "said"),
    [
        ("tset", "", 5, "found mode 'tset', expected one of test, maintenance"),
        ("test", "toilet-f1", 5, "found a test of 'toilet-f1', expected the whole centre"),
        ("test", "", 241, "found 241 minutes of test, expected more than 0, 240 at most"),
        ("maintenance", "", 0, "found 0 minutes of maintenance, expected more than 0, 10080 at most"),
    ],
)
def test_a_mode_that_cannot_be_is_told_why(house, mode, place, minutes, said):
    with pytest.raises(ValueError, match=said):
        begin(house, mode, place, minutes)


def test_only_so_many_places_are_under_maintenance_at_once(house):
    modes = house.deeds.modes
    modes._looks_at = {f"a{i}": (f"place{i}",) for i in range(40)}
    for i in range(32):
        begin(house, "maintenance", f"place{i}")
    begin(house, "maintenance", "place0", 30)
    with pytest.raises(ValueError, match="found 32 modes that are on"):
        begin(house, "maintenance", "place33")


# The button


def test_a_button_is_pressed_when_it_goes_down_and_one_stuck_at_the_start_is_not():
    pressed: list[int] = []
    others: list[object] = []
    button = Button("gpio:23", lambda: pressed.append(1), others.extend)
    for down in (True, False, True, True, False):
        button.take([Reading("gpio:23", down, 1.0)])
    button.take([Reading("gpio:23", True, 2.0), Reading("gpio:17", True, 2.0)])
    assert len(pressed) == 2 and [fact.point for fact in others] == ["gpio:17"]


def test_the_button_begins_the_test_and_ends_it(house):
    house.deeds.press_test(15.0, house.now_s)
    assert house.deeds.modes.is_test
    house.deeds.press_test(15.0, house.now_s)
    house.commit()
    assert not house.deeds.modes.is_test and house.types() == ["mode.began", "mode.ended"]
