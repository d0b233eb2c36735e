"""Promises in danger, quiet windows and kiosks, and what a window is worth to each of its services."""

import pytest

from tests.hall_rig import PLAN, Hall, visit


class Rush:
    """Two windows that take four minutes for each."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall
        self.busy: dict[str, tuple[str, float]] = {}
        self.line: list[str] = []
        self.drawn = 0

    def go(self, minutes: int, every_s: int) -> None:
        """One ticket each every_s."""
        hall = self.hall
        for second in range(0, minutes * 60, 10):
            if second % every_s == 0:
                self.drawn += 1
                self.line.append(f"A{self.drawn}")
                hall.say("issued", self.line[-1])
            for window in ("1", "2"):
                if window in self.busy and self.busy[window][1] <= hall.now_s:
                    hall.say("served", self.busy.pop(window)[0], window)
                if window not in self.busy and self.line:
                    self.busy[window] = (self.line.pop(0), hall.now_s + 240)
                    hall.say("called", self.busy[window][0], window)
            hall.go(10)


def test_a_promise_that_will_be_broken_is_an_alarm_before_it_is():
    hall = Hall()
    rush = Rush(hall)
    rush.go(60, 150)
    assert hall.alarms.get("queue:hall") is None
    while not hall.alarms.get("queue:hall") and rush.drawn < 120:
        rush.go(1, 30)
    assert hall.alarms["queue:hall"]["condition"] == "80 % within 15 min"
    assert hall.alarms["queue:hall"]["value"] < 0.8
    today = hall.state["today"]
    assert today["share"] == 1.0, "so far nobody has waited longer than promised"
    assert hall.state["longest_s"] < 900
    assert hall.state["services"]["A"]["predicted"]["wait_s"] > 900
    rush.go(60, 30)
    assert hall.state["today"]["share"] < 0.8, "and it was broken indeed"
    hall.at(17.5)
    assert hall.alarms["queue:hall"] is None


def test_a_window_that_goes_quiet_while_people_wait_is_an_alarm_until_it_speaks():
    hall = Hall()
    visit(hall, "A1", 10, 60, "2")
    hall.go(2400)
    assert hall.alarms.get("quiet-window:2") is None, "nobody waits"
    hall.say("issued", "A2")
    hall.go(20)
    assert hall.alarms["quiet-window:2"]["condition"] == "quiet"
    hall.say("called", "A2", "2")
    hall.go(20)
    assert hall.alarms["quiet-window:2"] is None
    hall.say("issued", "A3")
    hall.say("paused", window="2")
    hall.go(2400)
    assert hall.alarms["quiet-window:2"] is None, "it said that it pauses"


def test_a_restart_neither_ends_nor_raises_what_nobody_could_have_heard():
    hall = Hall()
    visit(hall, "A1", 10, 60, "2")
    hall.say("issued", "A2")
    hall.go(2400)
    assert hall.alarms["quiet-window:2"]
    hall.alarms.clear()
    hall.start()
    hall.go(600)
    assert "quiet-window:2" not in hall.alarms, "it stands as it stood"
    hall.say("called", "A2", "2")
    hall.go(20)
    assert hall.alarms["quiet-window:2"] is None


def test_a_kiosk_that_prints_nothing_while_people_wait_is_an_alarm_in_opening_hours():
    hall = Hall()
    hall.say("issued", "A1")
    hall.go(2400)
    assert hall.alarms["quiet-kiosk:k1"]["condition"] == "quiet"
    hall.say("issued", "A2")
    hall.go(20)
    assert hall.alarms["quiet-kiosk:k1"] is None
    hall.at(17.5)
    assert hall.alarms["quiet-kiosk:k1"] is None


def test_a_window_for_everything_is_shared_by_who_waits():
    hall = Hall(PLAN._replace(serves={"1": ["A", "B"]}))
    for i in range(6):
        visit(hall, f"A{i}", 10, 90)
    hall.say("called", "A0", "1")
    for ticket in ("A10", "A11", "A12", "B1"):
        hall.say("issued", ticket)
    services = hall.state["services"]
    assert services["A"]["windows"] == services["B"]["windows"] == 1
    assert services["A"]["predicted"]["wait_s"] == pytest.approx(4 * 100 * 6 / 4, rel=0.5)
