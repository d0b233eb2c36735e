"""Whether an output did what it was told: a contact that agrees, water that stops, a valve moved by the calendar."""

from datetime import UTC, datetime

import pytest

from gateway.recurring import parse
from tests.house import House

SITE = """
sensor."cellar/rope" = { from = "gpio:17", kind = "leak" }
sensor."cellar/closed" = { from = "gpio:18", kind = "door" }
sensor."main/flow" = { from = "n1:flow1" }
bus.n1 = { kind = "node", port = "link:n1" }
output.valve = { to = "gpio:5", kind = "valve", at_start = "keep", at_crash = "keep", travel_s = 15, \
proof = "cellar/closed", flow = "main/flow", exercise = "monthly sun 06:00", approved_by = "物业 2026-11-20" }
alarm.leak = { name = "漏水", severity = "urgent", any = ["cellar/rope is wet"] }
alarm.dull = { name = "无妨", severity = "low", any = ["main/flow > 9"] }
reaction.close = { when = "alarm.leak active", do = "valve close", unless = ["maintenance"] }
"""
SUNDAY_S = datetime(2026, 12, 5, 22, 0, tzinfo=UTC).timestamp()  # 06:00 in Shanghai, the first Sunday of December


class Cellar(House):
    """A valve that moves: its contact follows after moves_s; None: it is stuck."""

    moves_s: float | None = 10.0

    def later(self, seconds: float, *, committing: bool = True) -> None:
        pin = self.pins["valve"]
        step_s = 0.1 if seconds < 120 else 10.0
        for _ in range(round(seconds / step_s)):
            told_s, on = pin.driven[-1] if pin.driven else (0.0, False)
            if self.moves_s is not None and self.now_s - told_s >= (self.moves_s if on else 0.5):
                self.say("gpio:18", on)
            super().later(0.1, committing=committing)
            self.now_s += step_s - 0.1


@pytest.fixture
def cellar(tmp_path) -> Cellar:
    """Three weeks after its first start, an hour before the calendar moves its valve."""
    cellar = Cellar(tmp_path, SITE)
    cellar.wall_s = SUNDAY_S - 3600.0 - 1000.0 - 21 * 86_400.0
    cellar.say("gpio:18", False)
    cellar.later(1)
    cellar.wall_s += 21 * 86_400.0
    return cellar


def leak(cellar: Cellar, wet: bool = True) -> None:
    cellar.say("gpio:17", wet)


# Contacts


def test_a_contact_that_agrees_proves_the_deed_and_says_how_long_it_took(cellar):
    leak(cellar)
    cellar.later(16)
    [proved] = cellar.of("output.proved")
    assert proved["value"] == "close" and proved["took_s"] == pytest.approx(10, abs=0.3)
    assert "output:valve" not in cellar.pipeline.standing()


def test_a_valve_that_does_not_arrive_in_its_time_is_an_alarm_until_it_does(cellar):
    cellar.moves_s = None
    leak(cellar)
    cellar.later(16.5)
    assert "output:valve" not in cellar.pipeline.standing()
    cellar.later(1)
    assert cellar.pipeline.standing()["output:valve"] == "unacknowledged"
    [alarm] = [a["data"] for a in cellar.alarms if a["subject"] == "output:valve"]
    assert alarm["cause"] == {"condition": "not proved", "value": "cellar/closed is idle, driven on"}
    cellar.moves_s = 0.0
    cellar.later(2)
    assert cellar.pipeline.standing()["output:valve"] == "returned-unacknowledged"


def test_a_contact_that_leaves_by_itself_is_an_alarm_and_a_bounce_is_none(cellar):
    leak(cellar)
    cellar.later(20)
    cellar.moves_s = None
    cellar.say("gpio:18", False)
    cellar.later(1)
    cellar.say("gpio:18", True)
    cellar.later(5)
    assert "output:valve" not in cellar.pipeline.standing()
    cellar.say("gpio:18", False)
    cellar.later(3)
    [alarm] = [a["data"] for a in cellar.alarms if a["subject"] == "output:valve"]
    assert alarm["cause"]["condition"] == "left by itself"


def test_an_alarm_of_a_valve_that_is_stuck_goes_on_across_a_kill(cellar):
    cellar.moves_s = None
    leak(cellar)
    cellar.later(20)
    cellar.kill()
    cellar.say("gpio:18", False)
    cellar.later(30)
    assert cellar.pipeline.standing()["output:valve"] == "unacknowledged"
    assert len([a for a in cellar.alarms if a["subject"] == "output:valve" and a["data"]["what"] != "escalated"]) == 1


def test_a_contact_that_was_never_heard_proves_no_command(tmp_path):
    cellar = Cellar(tmp_path, SITE)
    cellar.moves_s = None
    cellar.later(30)
    assert "output:valve" not in cellar.pipeline.standing()
    leak(cellar)
    cellar.later(18)
    assert cellar.pipeline.standing()["output:valve"] == "unacknowledged"


# Water


def flow(cellar: Cellar, m3_s: float, seconds: int) -> None:
    for _ in range(seconds):
        cellar.say("n1:flow1", m3_s)
        cellar.later(1)


def test_water_that_flows_through_a_closed_valve_is_an_alarm(cellar):
    flow(cellar, 0.0002, 5)
    leak(cellar)
    flow(cellar, 0.0002, 15 + 55)
    assert "flow:valve" not in cellar.pipeline.standing()
    flow(cellar, 0.0002, 10)
    assert cellar.pipeline.standing()["flow:valve"] == "unacknowledged"
    cellar.later(300)
    assert cellar.pipeline.standing()["flow:valve"] == "unacknowledged", "a meter that says nothing is no dry pipe"
    flow(cellar, 0.000001, 5)
    assert cellar.pipeline.standing()["flow:valve"] == "returned-unacknowledged"


def test_water_that_stops_or_a_meter_that_says_nothing_is_no_alarm(cellar):
    flow(cellar, 0.0002, 5)
    leak(cellar)
    flow(cellar, 0.0002, 20)
    flow(cellar, 0.0, 1)
    cellar.later(200)
    assert "flow:valve" not in cellar.pipeline.standing()


# The calendar


def test_once_a_month_the_valve_closes_and_opens_with_proof(cellar):
    cellar.later(3590)
    cellar.pins["valve"].driven.clear()
    cellar.later(60)
    assert [on for _, on in cellar.pins["valve"].driven] == [True, False]
    [done] = cellar.of("output.exercised")
    assert (done["value"], done["took_s"]) == ("proved", pytest.approx([15, 15], abs=0.2))
    assert [event["cause"] for event in cellar.of("output.changed")] == [
        {"by": "exercise", "why": "exercise"}, {"by": "exercise", "why": "over"},
    ]  # fmt: skip
    cellar.later(3600)
    assert len(cellar.of("output.exercised")) == 1


def test_a_valve_that_is_stuck_is_found_by_its_exercise(cellar):
    cellar.moves_s = None
    cellar.later(3590)
    cellar.later(70)
    [done] = cellar.of("output.exercised")
    assert done["value"] == "unproved"
    assert cellar.pipeline.standing()["output:valve"] == "returned-unacknowledged" and not cellar.pins["valve"].on


def test_a_leak_during_the_exercise_keeps_the_valve_closed(cellar):
    cellar.later(3590)
    cellar.later(15)
    leak(cellar)
    cellar.later(60)
    assert cellar.pins["valve"].on
    [done] = cellar.of("output.exercised")
    assert (done["value"], done["why"]) == ("broken-off", "reaction")


def test_a_kill_during_the_exercise_opens_the_valve_and_says_so(cellar):
    cellar.later(3590)
    cellar.later(15)
    assert cellar.pins["valve"].on
    cellar.kill()
    cellar.later(20)
    assert not cellar.pins["valve"].on
    [done] = cellar.of("output.exercised")
    assert (done["value"], done["why"]) == ("broken-off", "restart")


@pytest.mark.parametrize("why", ["alarm", "mode", "in use", "clock", "off"])
def test_an_exercise_that_may_not_be_is_skipped_after_an_hour_and_told(cellar, why):
    cellar.later(3000)
    if why == "alarm":
        leak(cellar)
        cellar.later(20)
    elif why == "mode":
        cellar.deeds.begin_mode("maintenance", "", 300, "desk", cellar.now_s)
    elif why == "in use":
        cellar.deeds.override("valve", "open", 300, "desk", cellar.now_s)
    elif why == "clock":
        cellar.wall_s, wall_s = None, cellar.wall_s
    else:
        cellar.commit()
        cellar.reboot(7000.0)
    cellar.pins["valve"].driven.clear()
    cellar.later(4300)
    if why == "clock":
        cellar.wall_s = wall_s
        cellar.later(1)
    assert cellar.pins["valve"].driven == []
    [done] = cellar.of("output.exercised")
    assert (done["value"], done["why"]) == ("skipped", "off" if why == "clock" else why)


def test_an_exercise_waits_within_its_hour_and_an_alarm_that_does_not_matter_holds_nothing(cellar):
    cellar.later(3500)
    cellar.deeds.begin_mode("maintenance", "", 10, "desk", cellar.now_s)
    cellar.later(600)
    assert not cellar.pins["valve"].on
    flow(cellar, 10.0, 1)
    cellar.later(100)
    assert cellar.of("output.exercised")[0]["value"] == "proved"


@pytest.mark.parametrize(
    ("text", "now", "latest"),
    [
        ("monthly sun 06:00", "2026-12-06T05:59", "2026-11-01"),
        ("monthly sun 06:00", "2026-12-06T06:00", "2026-12-06"),
        ("monthly mon 23:59", "2027-01-01T00:00", "2026-12-07"),
        ("weekly sun 06:00", "2026-12-06T05:59", "2026-11-29"),
        ("weekly fri 00:00", "2027-01-01T00:00", "2027-01-01"),
    ],
)
def test_the_calendar_knows_the_latest_moment(text, now, latest):
    moments = parse(text)
    assert moments
    wall_s = datetime.fromisoformat(f"{now}+08:00").timestamp()
    assert moments.latest(wall_s, "Asia/Shanghai")[0] == latest


@pytest.mark.parametrize("text", ["daily 06:00", "monthly sun 6:00", "weekly sun 24:00", "monthly sun 06:00 ", ""])
def test_what_is_no_moment_is_none(text):
    assert parse(text) is None
