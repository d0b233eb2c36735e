"""What the box does by itself: holds, limits, hands, interlocks; and a restart repeats nothing and forgets nothing."""

import pytest

from tests.house import House

ROPE = 'sensor."cellar/rope" = { from = "gpio:17", kind = "leak" }\n'
LEAK = 'alarm.leak = { name = "漏水", severity = "urgent", any = ["cellar/rope is wet"] }\n'
VALVE = (
    'output.valve = { to = "gpio:5", kind = "valve", at_start = "keep", at_crash = "keep", at_stop = "keep", '
    'travel_s = 15, approved_by = "物业 2026-11-20" }\n'
)
CLOSE = (
    'reaction.close = { when = "alarm.leak active 30 s", do = "valve close", '
    'unless = ["maintenance", "test"], per_day = 2 }\n'
)
STROBE = (
    'output.strobe = { to = "gpio:27", kind = "strobe" }\n'
    'reaction.light = { when = "alarm.leak active", do = "strobe on" }\n'
)
SITE = ROPE + LEAK + VALVE + CLOSE + STROBE


@pytest.fixture
def house(tmp_path) -> House:
    return House(tmp_path, SITE)


def wet(house: House, value: bool = True) -> None:
    house.say("gpio:17", value)


def closed_and_let_go(house: House) -> None:
    """A leak closes the valve; when it is dry, somebody on the spot lets go of it."""
    wet(house)
    house.later(31)
    wet(house, False)
    house.later(20)
    house.deeds.override("valve", "auto", 0, "plumber", house.now_s)
    house.later(20)


# Holding, and undoing


def test_a_leak_of_half_a_minute_closes_the_valve_and_says_who_what_and_why(house):
    wet(house)
    assert house.pins["strobe"].on and not house.pins["valve"].on
    house.later(29.5)
    assert not house.pins["valve"].on
    house.later(1)
    assert house.pins["valve"].on
    [light, close] = house.of("output.changed")
    cause = {"by": "reaction", "reaction": "close", "alarm": "leak", "occurrence": 1, "why": "standing"}
    assert close == {"value": "close", "output": "valve", "cause": cause} and light["value"] == "on"


def test_a_strobe_ends_with_its_alarm_and_a_valve_waits_for_a_hand_on_the_spot(house):
    wet(house)
    house.later(31)
    wet(house, False)
    house.later(20)
    assert (house.pins["strobe"].on, house.pins["valve"].on) == (False, True)
    house.deeds.override("valve", "auto", 0, "plumber", house.now_s)
    assert not house.pins["valve"].on
    house.commit()
    assert house.of("output.changed")[-1]["cause"]["why"] == "returned"
    assert house.of("output.asked") == [{"value": "auto", "output": "valve", "by": "plumber"}]


def test_letting_go_of_a_valve_while_the_alarm_stands_leaves_it_closed(house):
    wet(house)
    house.later(50)
    house.deeds.override("valve", "auto", 0, "plumber", house.now_s)
    house.later(20)
    assert house.pins["valve"].on


def test_water_comes_back_by_itself_where_the_site_says_so(tmp_path):
    house = House(tmp_path, SITE.replace("per_day = 2", 'undo = "auto"'))
    wet(house)
    house.later(31)
    wet(house, False)
    house.later(14)
    assert house.pins["valve"].on, "it travels"
    house.later(2)
    assert not house.pins["valve"].on


def test_nothing_is_decided_about_a_valve_that_travels_and_the_last_word_counts(house):
    wet(house)
    house.later(31)
    house.deeds.override("valve", "open", 5, "plumber", house.now_s)
    house.later(5)
    assert house.pins["valve"].on
    house.later(10)
    assert [on for _, on in house.pins["valve"].driven] == [False, True, False]


def test_an_alarm_shorter_than_its_hold_time_does_nothing(house):
    wet(house)
    house.later(29)
    wet(house, False)
    house.later(60)
    assert not house.pins["valve"].on


# Limits


def test_a_reaction_acts_so_often_a_day_and_then_says_that_it_did_not(house):
    for _ in range(3):
        closed_and_let_go(house)
    assert [on for _, on in house.pins["valve"].driven].count(True) == 2
    assert house.of("reaction.held") == [{"value": "close", "alarm": "leak", "occurrence": 3, "why": "per-day"}]


def test_a_limit_holds_across_a_reboot_and_ends_after_a_day(house):
    for _ in range(2):
        closed_and_let_go(house)
    house.reboot(600.0)
    wet(house)
    house.later(31)
    assert not house.pins["valve"].on
    wet(house, False)
    house.later(1)
    house.now_s += 86_400
    wet(house)
    house.later(31)
    assert house.pins["valve"].on


# Restarts


def test_what_was_done_is_not_done_again_after_a_kill(house):
    closed_and_let_go(house)
    house.pins["valve"].driven.clear()
    house.kill()
    wet(house, False)
    house.later(60)
    assert {on for _, on in house.pins["valve"].driven} == {False}


def test_a_hold_time_goes_on_across_a_kill(house):
    wet(house)
    house.later(20)
    house.kill()
    wet(house)
    house.later(9)
    assert not house.pins["valve"].on
    house.later(1.5)
    assert house.pins["valve"].on


def test_a_kill_between_the_deed_and_its_commit_ends_in_the_right_state_and_tells_it_once(house):
    wet(house)
    house.later(29.5)
    house.later(1, committing=False)
    assert house.pins["valve"].on
    house.kill()
    house.later(1)
    assert house.pins["valve"].on
    assert [event["output"] for event in house.of("output.changed")].count("valve") == 1


def test_a_closed_valve_stays_closed_through_a_kill_and_through_a_power_cut(house):
    wet(house)
    house.later(31)
    wet(house, False)
    house.later(1)
    for again in (house.kill, lambda: house.reboot(3600.0)):
        house.pins["valve"].driven.clear()
        again()
        assert [on for _, on in house.pins["valve"].driven] == [True], "driven once, and never open in between"


def test_a_valve_closed_while_there_was_no_disk_stays_closed_when_there_is_one(house):
    house.committed = {"reaction:close": {"occurrence": 1, "in_force": True}, "output:valve": True}
    house.pins["valve"].driven.clear()
    house.kill()
    house.later(60)
    assert [on for _, on in house.pins["valve"].driven] == [True]


def test_a_valve_that_an_older_version_closed_stays_closed(house):
    house.committed = {"output:valve": True}
    house.kill()
    house.later(1)
    assert house.pins["valve"].on
    house.deeds.override("valve", "auto", 0, "desk", house.now_s)
    assert not house.pins["valve"].on


# Hands


def test_a_hand_holds_an_output_against_a_reaction_until_its_end_and_the_city_is_told(house):
    house.deeds.override("valve", "open", 2, "plumber", house.now_s)
    wet(house)
    house.later(40)
    assert not house.pins["valve"].on
    [refused] = house.of("output.refused")
    assert refused | {"cause": 0} == {"value": "close", "output": "valve", "why": "plumber", "cause": 0}
    assert house.deeds.hands() == {"valve": {"action": "open", "by": "plumber", "left_s": 80}}
    house.later(81)
    assert house.pins["valve"].on and house.deeds.hands() == {}


def test_a_hand_and_its_end_survive_a_kill_and_a_power_cut(house):
    house.deeds.override("strobe", "on", 10, "desk", house.now_s)
    house.later(60)
    house.kill()
    assert house.pins["strobe"].on
    house.later(60)
    house.reboot(60.0)
    assert house.pins["strobe"].on and house.deeds.hands()["strobe"]["left_s"] == 420
    house.later(421)
    assert not house.pins["strobe"].on


def test_without_the_time_a_hand_ends_a_quarter_of_an_hour_after_a_power_cut(house):
    house.deeds.override("strobe", "on", 120, "desk", house.now_s)
    house.commit()
    house.reboot(60.0, knows_time=False)
    assert house.deeds.hands()["strobe"]["left_s"] == 900
    house.later(901)
    assert not house.pins["strobe"].on


@pytest.mark.parametrize(
    ("name", "action", "minutes", "said"),
    [
        ("valves", "open", 5, "found output 'valves', expected one of valve, strobe"),
        ("valve", "on", 5, "found 'on' for the valve valve, expected one of open, close, auto"),
        ("strobe", "on", 0, "found 0 minutes, expected more than 0, 1440 at most; ask again then"),
        ("strobe", "on", 1441, "found 1441 minutes, expected more than 0, 1440 at most; ask again then"),
    ],
)
def test_a_hand_that_cannot_be_is_told_why(house, name, action, minutes, said):
    with pytest.raises(ValueError, match=said):
        house.deeds.override(name, action, minutes, "desk", house.now_s)


def test_the_city_cannot_open_what_is_to_be_opened_on_the_spot(house):
    house.deeds.override("valve", "close", 5, "city", house.now_s, on_site=False)
    house.deeds.override("valve", "auto", 0, "city", house.now_s, on_site=False)
    wet(house)
    house.later(50)
    for action in ("open", "auto"):
        with pytest.raises(ValueError, match="somebody on the spot"):
            house.deeds.override("valve", action, 5, "city", house.now_s, on_site=False)


# What may not be


FIRE = 'output.hydrant = { to = "gpio:6", kind = "valve", line = "fire" }\n'


def test_a_valve_on_a_fire_line_is_closed_by_nobody(tmp_path):
    house = House(tmp_path, SITE + FIRE)
    with pytest.raises(ValueError, match="stands on a fire line"):
        house.deeds.override("hydrant", "close", 5, "desk", house.now_s)
    house.committed = {"output:hydrant": True, "hand:hydrant": {
        "action": "close", "by": "desk", "end": {"boot": 1, "mono_s": 9e9, "lasts_s": 9e9}}}  # fmt: skip
    house.kill()
    house.later(60)
    assert {on for _, on in house.pins["hydrant"].driven} == {False}
    assert house.of("output.refused")[0]["why"] == "fire-line"


def test_interlocked_outputs_are_never_energised_together_and_the_second_waits(tmp_path):
    pump = 'output.pump = { to = "gpio:7", kind = "led", interlock = ["valve"] }\n'
    house = House(tmp_path, SITE + pump)
    house.deeds.override("pump", "on", 1, "desk", house.now_s)
    wet(house)
    house.later(40)
    assert house.pins["pump"].on and not house.pins["valve"].on
    assert [event["why"] for event in house.of("output.refused")] == ["interlock pump"]
    house.later(21)
    assert not house.pins["pump"].on and house.pins["valve"].on
    house.deeds.override("pump", "on", 5, "desk", house.now_s)
    house.later(5)
    assert not house.pins["pump"].on


def test_no_reaction_drives_a_valve_that_nobody_has_agreed_to(house):
    """`linli check` refuses such a file; this is the second lock."""
    import msgspec

    from gateway import build_deeds

    output = msgspec.structs.replace(house.site.outputs["valve"], approved_by="")
    assert build_deeds.needs_consent(output) and not build_deeds.needs_consent(house.site.outputs["strobe"])
    house.site.outputs["valve"] = output
    house.kill()
    wet(house)
    house.later(60)
    assert house.pins["strobe"].on and not house.pins["valve"].on


def test_a_pin_that_refuses_is_an_alarm_and_is_tried_again(house):
    house.pins["valve"].broken = True
    wet(house)
    house.later(32)
    assert house.pipeline.standing()["output:valve"] == "unacknowledged"
    house.pins["valve"].broken = False
    house.later(2)
    assert house.pins["valve"].on
    assert house.pipeline.standing()["output:valve"] == "returned-unacknowledged"


def test_a_pin_that_refuses_at_the_start_is_driven_as_soon_as_it_can_be(house):
    wet(house)
    house.later(31)
    house.pins["valve"].on, house.pins["valve"].broken = False, True
    house.kill()
    house.later(2)
    assert house.pipeline.standing()["output:valve"] == "unacknowledged"
    house.pins["valve"].broken = False
    house.later(2)
    assert house.pins["valve"].on


def test_what_is_kept_of_a_reaction_without_a_limit_does_not_grow_with_its_deeds(house):
    for _ in range(8):
        wet(house)
        house.later(1)
        wet(house, False)
        house.later(121)
    assert house.committed["reaction:light"] == {"occurrence": 8, "in_force": False, "acted": [], "waits": None}


def test_a_hand_does_not_outlive_a_power_supply_that_flutters_for_hours(house):
    house.deeds.override("valve", "close", 60, "desk", house.now_s)
    house.commit()
    for _ in range(10):
        house.reboot(60.0, knows_time=False)
        house.later(300)
    assert house.deeds.hands() == {} and not house.pins["valve"].on
