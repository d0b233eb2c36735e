"""The trained forecast at a centre: when it speaks, what it learns there, and that the plain rules stand behind it."""

import random
import subprocess
import sys
from collections.abc import Sequence

import msgspec
import pytest

from gateway.forecast import TrainedForecast, forecast_of
from gateway.waiting import NOMINAL, Estimate, Grounds, Line, PlainForecast
from models.queues.features import NAMES
from models.queues.margins import Margins
from models.queues.predictor import Forecast, Predictor
from models.session import ModelError
from tests import hall_rig

PEOPLE, NUMBER = NAMES.index("people"), NAMES.index("number")


class Fixed:
    """A model that says `minutes` of everybody, with the trained spread."""

    def __init__(self, minutes: float = 20.0) -> None:
        self.minutes = minutes
        self.inputs: list[list[float]] = []
        self.broken = False

    def forecast(self, inputs: Sequence[Sequence[float]]) -> list[Forecast]:
        if self.broken:
            raise ModelError("The model answered nan. Expected a number. Install the model again.")
        self.inputs.extend(list(row) for row in inputs)
        return [Forecast(self.minutes, 0.4) for _ in inputs]

    def margins(self) -> Margins:
        return Margins(-1.2, 1.2)


class Hall:
    """A service A of one window, a ticket called every ten minutes while people wait."""

    def __init__(self, model: Fixed | Predictor, kept: dict[str, object] | None = None) -> None:
        self.kept: dict[str, object] = {} if kept is None else kept
        self.model = model
        self.calls = 0
        self.forecast = TrainedForecast(PlainForecast(self.kept, self.keep), model, self.kept, self.keep)

    def keep(self, key: str, value: object) -> None:
        self.kept[key] = msgspec.json.decode(msgspec.json.encode(value))

    def line(self, minute: float, weekday: int = 2, waiting: int = 4) -> Line:
        return Line(
            "A", waiting, windows=1, servers=1.0, called_60=6, head_s=2400.0, last_s=2300.0, service_s=600.0,
            weekday=weekday, minute=minute, calls=self.calls,
        )  # fmt: skip

    def day(self, weekday: int = 2, first: int = 480, last: int = 960) -> None:
        for minute in range(first, last):
            self.forecast.see(self.line(minute, weekday))
            if minute % 10 == 0:
                self.calls += 1


def told(forecast: TrainedForecast, line: Line) -> Estimate:
    found = forecast.expect(line)
    assert found is not None
    return found


def test_without_a_day_or_ten_waits_the_plain_rules_speak_and_then_the_model() -> None:
    hall = Hall(Fixed())
    hall.day(last=520)
    assert told(hall.forecast, hall.line(520)).wait_s == 3000.0  # five people, ten minutes each
    hall.day(first=520)
    assert told(hall.forecast, hall.line(960)).wait_s == pytest.approx(1200.0)
    again = Hall(Fixed(), hall.kept)  # nothing was kept of half a day: it knows nothing again
    again.forecast.see(again.line(480))
    assert told(again.forecast, again.line(481)).wait_s == 3000.0


def test_a_whole_day_is_kept_and_serves_after_a_restart() -> None:
    hall = Hall(Fixed())
    hall.day(weekday=2)
    hall.forecast.see(hall.line(480, weekday=3))
    again = Hall(Fixed(), hall.kept)
    again.forecast.see(again.line(480, weekday=3))
    assert told(again.forecast, again.line(485, weekday=3)).wait_s == pytest.approx(1200.0)
    assert again.model.inputs[-1][NAMES.index("days_known")] > 0


def test_a_day_that_a_restart_cut_is_not_learnt_from_and_days_are_bounded() -> None:
    hall = Hall(Fixed())
    for weekday in range(40):
        hall.day(weekday % 7)
    hall.forecast.see(hall.line(480, weekday=6))
    assert isinstance(days := hall.kept["waits:days:A"], list)
    assert len(days) == 15
    again = Hall(Fixed(), hall.kept)
    again.day(weekday=4, first=780)
    again.forecast.see(again.line(480, weekday=5))
    assert again.kept["waits:days:A"] == days


def test_what_is_asked_between_two_samples_is_of_that_moment_and_is_not_remembered() -> None:
    hall = Hall(Fixed())
    hall.day(weekday=2)
    hall.day(weekday=3, last=600)
    for waiting in (0, 4, 30):
        told(hall.forecast, hall.line(601.5, 3, waiting))
    asked = [row[PEOPLE] for row in hall.model.inputs[-3:]]
    assert asked == pytest.approx([0.0, 1.609, 3.434], abs=1e-3)
    before = hall.model.inputs[-2]
    told(hall.forecast, hall.line(601.5, 3, 4))
    assert hall.model.inputs[-1] == before
    assert before[NUMBER] == hall.calls - 48  # the first day's calls are not this day's


def test_where_the_plain_rules_are_closer_they_speak_and_the_model_again_when_it_is() -> None:
    hall = Hall(Fixed(20.0))
    hall.day(weekday=2)
    hall.day(weekday=3, last=600)
    dice = random.Random(3)
    for _ in range(200):
        hall.forecast.learn(line := hall.line(601, 3), told(hall.forecast, line), 3000.0)
        hall.model.minutes = dice.choice([5.0, 200.0])
    found = told(hall.forecast, hall.line(601, 3))
    assert found.wait_s == pytest.approx(3000.0, rel=0.05)
    assert found.grounds is not None
    again = Hall(Fixed(5.0), hall.kept)
    again.day(weekday=3, last=600)
    assert told(again.forecast, again.line(601, 3)).wait_s == pytest.approx(3000.0, rel=0.05)
    for _ in range(200):
        again.forecast.learn(line := again.line(601, 3), told(again.forecast, line), dice.uniform(200.0, 300.0))
        line = again.line(601, 3)
    assert told(again.forecast, again.line(601, 3)).wait_s < 600.0


def test_bias_and_interval_follow_a_centre_that_is_twice_as_slow_as_the_training() -> None:
    hall = Hall(Fixed(20.0))
    hall.day(weekday=2)
    hall.day(weekday=3, last=600)
    dice = random.Random(4)
    inside = 0
    for k in range(1500):
        found = told(hall.forecast, hall.line(601, 3))
        waited_s = 2400.0 * dice.lognormvariate(0.0, 0.3)
        inside += k >= 500 and found.low_s <= waited_s <= found.high_s
        hall.forecast.learn(hall.line(601, 3), found, waited_s)
    assert inside / 1000 == pytest.approx(NOMINAL, abs=0.06)
    assert told(hall.forecast, hall.line(601, 3)).wait_s == pytest.approx(2400.0, rel=0.15)


def test_what_the_intervals_owe_survives_a_restart_and_older_state_owes_nothing() -> None:
    hall = Hall(Fixed(20.0))
    hall.day(weekday=2)
    hall.day(weekday=3, last=600)
    line = hall.line(601, 3)
    for _ in range(3):
        hall.forecast.learn(line, told(hall.forecast, line), 9000.0)
    house = hall.kept["waits:house"]
    assert isinstance(house, dict)
    assert house["owed"] == pytest.approx(2.4)
    before = told(hall.forecast, line)
    again = Hall(Fixed(20.0), hall.kept)
    again.day(weekday=3, last=600)
    assert told(again.forecast, line).low_s == pytest.approx(before.low_s)
    older = Hall(Fixed(20.0), {**hall.kept, "waits:house": {k: v for k, v in house.items() if k != "owed"}})
    older.day(weekday=3, last=600)
    assert told(older.forecast, line).low_s > before.low_s


def test_who_has_waited_longer_than_was_said_at_the_head_of_the_line_raises_the_upper_end_of_those_behind() -> None:
    hall = Hall(Fixed(20.0))
    hall.day(weekday=2)
    hall.day(weekday=3, last=600)
    line = hall.line(601, 3)
    calm = told(hall.forecast, line)
    late = told(hall.forecast, line._replace(head=calm.grounds, head_s=calm.high_s + 600.0))
    assert (late.wait_s, late.low_s) == (calm.wait_s, calm.low_s)
    assert late.high_s == pytest.approx(calm.high_s + 600.0)
    assert told(hall.forecast, line._replace(head=calm.grounds, head_s=calm.high_s - 60.0)) == calm
    assert told(hall.forecast, line._replace(head=calm.grounds, head_s=None)) == calm


def test_a_model_that_fails_is_taken_out_and_the_plain_rules_go_on() -> None:
    hall = Hall(Fixed())
    hall.day(weekday=2)
    hall.day(weekday=3, last=600)
    hall.model.broken = True
    assert told(hall.forecast, hall.line(601, 3)).wait_s == 3000.0
    assert "answered nan" in hall.forecast.fault


def test_an_unsure_clock_a_clock_set_back_and_foreign_state_leave_the_plain_rules() -> None:
    hall = Hall(Fixed(), {"waits:house": "?", "waits:days:A": [{"calls": 3}], "waits:errors:A": 7})
    hall.day(weekday=2)
    assert told(hall.forecast, hall.line(961)._replace(minute=None, weekday=None)).wait_s == 3000.0
    hall.forecast.see(hall.line(500))
    assert told(hall.forecast, hall.line(501)).wait_s == 3000.0  # the day began anew


def test_the_shipped_model_answers_a_hall_it_has_never_seen() -> None:
    hall = Hall(Predictor())
    hall.day(weekday=1)
    hall.day(weekday=2, last=700)
    few, many = told(hall.forecast, hall.line(700, 2, 1)), told(hall.forecast, hall.line(700, 2, 12))
    for found in (few, many):
        assert 0 <= found.low_s <= found.wait_s <= found.high_s
    assert 60 < few.wait_s < many.wait_s


def test_a_halls_tickets_become_what_the_model_is_asked_and_what_it_learns_from() -> None:
    """Through the gateway's queues: two days of events, a restart between them, and nothing else is told to anybody."""
    model = Fixed(7.0)
    rig = hall_rig.Hall()
    rig.forecast = lambda kept, keep: TrainedForecast(PlainForecast(kept, keep), model, kept, keep)
    rig.start()
    for number in range(1, 30):
        rig.say("issued", f"A{number}")
        rig.go(300)
        rig.say("called", f"A{number}", "1")
        rig.go(120)
        rig.say("served", f"A{number}", "1")
    assert rig.state["services"]["A"]["predicted"]["wait_s"] != 420  # it knows ten waits, but a window is idle
    rig.at(24 + 9.1)
    rig.say("opened", window="1", day="2026-11-26")
    for number in range(1, 4):
        rig.say("issued", f"A{number}", day="2026-11-26")
    rig.go(600)
    assert len(rig.kept["waits:days:A"]) == 1
    rig.start()
    rig.say("called", "A1", "1", day="2026-11-26")
    rig.go(120)
    assert rig.state["services"]["A"]["predicted"]["wait_s"] == pytest.approx(420, abs=60)
    asked = dict(zip(NAMES, model.inputs[-1], strict=True))
    assert asked["people"] == pytest.approx(1.0986, abs=1e-3)  # two wait
    assert asked["days_known"] > 0
    assert asked["calls_usual"] < 0  # fewer called than on the first day until now
    rig.say("issued", "A4", day="2026-11-26")
    for ticket in ("A2", "A3", "A4"):
        rig.say("called", ticket, "1", day="2026-11-26")
        rig.go(120)
    assert isinstance(house := rig.kept["waits:house"], dict)
    assert house["waits"] == 1  # what A2 and A3 were told, the restart forgot


def test_a_hall_knows_what_was_said_of_the_head_of_its_line_until_that_is_passed_over() -> None:
    asked: dict[str, Line] = {}

    class Listens(PlainForecast):
        """Says of each ticket the minute in which it was drawn."""

        def expect(self, line: Line) -> Estimate:
            asked[line.service] = line
            return Estimate(0.0, 0.0, 0.0, Grounds(line.minute or 0.0, 0.4, (0.0, 0.0), None))

    rig = hall_rig.Hall()
    rig.forecast = Listens
    rig.start()

    def said_of_head(service: str = "A") -> float | None:
        assert rig.state
        head = asked[service].head
        return round(head.wait_min) if head else None

    rig.say("opened", window="1")
    assert said_of_head() is None
    for number in range(1, 6):
        rig.say("issued", f"A{number}")
        rig.go(300)
    rig.say("issued", "Y1")
    assert said_of_head() == 540
    rig.say("called", "A1", "1")
    rig.say("called", "Y1", "1")  # who has priority passes nobody over
    assert said_of_head() == 545
    rig.say("called", "A3", "1")
    assert said_of_head() is None  # A2 is still there
    rig.say("called", "A2", "1")
    assert said_of_head() == 555
    rig.say("transferred", "A4", "1", to="B")
    assert (said_of_head("A"), said_of_head("B")) == (560, None)
    rig.start()
    assert said_of_head() is None  # a restart forgets what was told


def test_a_centre_without_queues_pays_for_no_model() -> None:
    script = (
        "import sys; import gateway.forecast as f; kept = {};"
        "plain = f.forecast_of(False, kept, kept.__setitem__); print(type(plain).__name__, 'numpy' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert shown.stdout.split() == ["PlainForecast", "False"]
    assert isinstance(forecast_of(True, {}, {}.__setitem__), TrainedForecast)
