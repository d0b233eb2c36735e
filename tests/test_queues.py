"""Queues: what a hall's events come to, by hand where the answer is plain; restarts, ratings and bounds."""

import sys
from datetime import date
from types import FrameType

import msgspec
import pytest

from drivers.reading import Event
from gateway.books import VISITS_MAX
from gateway.contract import PACK_BYTES_MAX, event_records, pack_payload
from gateway.packs import open_records
from gateway.pending import Pending
from gateway.queue_plan import Plan, QueuePlan
from gateway.tally import Tally
from tests.hall_rig import DAY, HOUR_S, PLAN, Hall, visit

# -- one visit ---------------------------------------------------------------------------------------------------------


def test_a_wait_is_from_the_ticket_to_the_first_call_and_a_service_from_serving_to_served():
    hall = Hall()
    visit(hall, "A1", 300, 120)
    hall.at(17.1)
    told = hall.figures("A")
    assert (told["wait"]["n"], told["wait"]["mean_s"]) == (1, 300.0)
    assert (told["service_time"]["mean_s"], told["service_time"]["from_call"]) == (120.0, 0)
    assert told["closed"]
    assert told["share"] is None, "one ticket is no percentage"


@pytest.mark.parametrize("again", ["recalled", "called", "no_show then called", "transferred then called"])
def test_neither_a_recall_nor_a_transfer_restarts_a_wait(again):
    hall = Hall()
    hall.say("issued", "A1")
    hall.go(100)
    hall.say("called", "A1", "1")
    hall.go(50)
    first, _, second = again.partition(" then ")
    hall.say(first, "A1", "1", to="B")
    if second:
        hall.go(500)
        hall.say(second, "A1", "1")
    hall.go(40)
    hall.say("served", "A1", "1")
    hall.at(17.1)
    told = hall.figures("A")
    assert told["wait"] == {"n": 1, "approx": 0, "mean_s": 100.0, "max_s": 100.0, "p50_s": 100.0, "p90_s": 100.0}
    assert (told["served"], told["no_show"], told["called"]) == (1, 0, 1)


def test_who_is_transferred_before_a_call_carries_the_wait_into_the_other_line():
    hall = Hall()
    hall.say("issued", "A1")
    hall.go(100)
    hall.say("transferred", "A1", to="B")
    hall.go(200)
    assert hall.state["services"]["A"]["waiting"] == 0
    assert hall.state["services"]["B"]["longest_s"] == 300.0
    hall.say("called", "A1", "1")
    hall.at(17.1)
    assert hall.figures("A")["wait"]["mean_s"] == 300.0, "it counts where it was drawn"


def test_share_no_show_and_abandonment_are_of_what_the_definitions_say():
    hall = Hall()
    for i, waits_s in enumerate((100, 200, 950, 300), 1):
        visit(hall, f"A{i}", waits_s, 60)
    hall.say("issued", "A5")
    hall.say("called", "A5", "1")
    hall.say("no_show", "A5", "1")
    hall.say("issued", "A6")
    hall.say("cancelled", "A6")
    hall.say("issued", "A7")
    hall.at(16.9)
    assert hall.figures("A")["abandoned"] == 1, "until closing only who cancelled has given up"
    hall.at(17.1)
    told = hall.figures("A")
    assert (told["issued"], told["called"], told["served"], told["no_show"], told["abandoned"]) == (7, 5, 4, 1, 2)
    assert (told["within"], told["judged"], told["share"]) == (3, 7, 0.4286)
    assert told["no_show_rate"] == 0.2
    assert told["abandonment"] == 0.2857
    assert hall.state["services"]["A"]["waiting"] == 0


def test_below_five_there_is_no_percentage():
    hall = Hall()
    for i in range(4):
        visit(hall, f"A{i}", 10, 10)
    hall.at(17.1)
    told = hall.figures("A")
    assert (told["judged"], told["share"], told["no_show_rate"], told["abandonment"]) == (4, None, None, None)


def test_a_service_that_ends_earlier_and_a_late_call_after_closing():
    hall = Hall()
    hall.say("issued", "B1")
    hall.at(16.1)
    assert (hall.figures("B")["closed"], hall.figures("B")["abandoned"]) == (True, 1)
    hall.say("called", "B1", "1")
    hall.at(17.1)
    assert (hall.figures("B")["abandoned"], hall.figures("B")["called"]) == (0, 1), "the newest figures hold"


def test_priority_tickets_and_appointments_stand_beside_the_others():
    hall = Hall()
    for ticket, waits_s in (("A1", 300), ("Y1", 20), ("R1", 5)):
        visit(hall, ticket, waits_s, 60)
    hall.at(17.1)
    assert hall.figures("A")["issued"] == 2
    assert hall.figures("A")["sorts"]["priority"]["wait"]["mean_s"] == 20.0
    assert hall.figures("B")["sorts"]["appointment"]["called"] == 1


def test_a_hall_that_is_only_overheard_ends_a_service_with_the_next_call_and_marks_it():
    hall = Hall()
    for i in (1, 2, 3):
        hall.say("issued", f"A{i}")
    for i in (1, 2, 3):
        hall.go(200)
        hall.say("called", f"A{i}", "1")
    hall.at(17.1)
    told = hall.figures("A")
    assert told["service_time"] | {"p50_s": 0, "p90_s": 0} == {
        "n": 2, "approx": 0, "mean_s": 200.0, "max_s": 200.0, "p50_s": 0, "p90_s": 0, "from_call": 2, "by_next_call": 2
    }  # fmt: skip
    assert (told["served"], told["at_window"]) == (2, 1)


def test_a_window_works_from_opening_to_pause_and_between_calls():
    hall = Hall()
    hall.say("opened", window="1")
    visit(hall, "A1", 100, 500)
    hall.say("paused", window="1")
    hall.go(3000)
    visit(hall, "A2", 0, 500)  # nobody said that it opened
    hall.at(17.1)
    assert hall.figures()["windows"]["1"] == {"served": 2, "open_s": 1120.0, "per_hour": 6.43}


# -- restarts ----------------------------------------------------------------------------------------------------------


def test_a_restart_in_the_middle_of_a_visit_changes_no_figure():
    hall, other = Hall(), Hall()
    for each in (hall, other):
        for step in (("issued", "A1", ""), ("called", "A1", "1"), ("serving", "A1", "1"), ("served", "A1", "1")):
            each.say(*step)
            each.go(100)
            if each is hall:
                each.start()
        each.at(17.1)
    assert hall.figures("A") == other.figures("A")
    assert hall.figures() == other.figures()


def test_across_a_reboot_a_wait_goes_by_the_wall_clock_and_is_marked():
    hall = Hall()
    hall.say("issued", "A1")
    hall.go(100)
    hall.reboot(off_s=60, wall_err_s=0.25)
    assert hall.state["services"]["A"]["longest_s"] == 160.2
    hall.go(40)
    hall.say("called", "A1", "1")
    hall.at(17.1)
    assert (hall.figures("A")["wait"]["approx"], hall.figures("A")["wait"]["mean_s"]) == (1, 200.25)


def test_a_clock_that_is_known_late_measures_what_lay_across_the_reboot():
    hall = Hall()
    hall.say("issued", "A1")
    hall.go(100)
    hall.reboot(off_s=60, wall_err_s=None)
    hall.go(40)
    hall.say("called", "A1", "1")
    hall.go(900)
    assert hall.figures("A")["wait"] == {"n": 0, "approx": 0}, "nobody knows yet, and nobody guesses"
    hall.wall_err_s = 0.0
    hall.at(17.1)
    assert hall.figures("A")["wait"]["mean_s"] == 200.0


def test_a_wall_clock_that_is_set_changes_no_wait():
    hall = Hall()
    hall.say("issued", "A1")
    hall.go(100)
    hall.wall_err_s = -1800.0
    hall.go(100)
    hall.say("called", "A1", "1")
    hall.wall_err_s = 0.0
    hall.at(17.1)
    assert hall.figures("A")["wait"]["mean_s"] == 200.0


def test_a_kiosk_cut_off_overnight_corrects_yesterday():
    hall = Hall()
    hall.say("issued", "A1")
    hall.at(17.5)
    assert hall.figures("A")["abandoned"] == 1
    hall.now_s += 16 * HOUR_S
    hall.say("issued", "A1", day="2026-11-26")
    hall.say("called", "A1", "1", at_s=20 * HOUR_S)
    hall.go(900)
    assert (hall.figures("A")["abandoned"], hall.figures("A")["called"]) == (0, 1)
    assert hall.figures("A", "2026-11-26")["issued"] == 1


def test_a_call_overheard_for_a_slip_that_was_missed_leaves_yesterday_alone():
    hall = Hall()
    visit(hall, "A7", 100, 100)
    hall.at(17.5)
    before = hall.figures("A")
    hall.now_s += 16 * HOUR_S
    hall.say("issued", "A1", day="2026-11-26")
    for number in (7, 8):
        data = {"value": "A", "service": "A", "ticket": f"hall/{DAY}/A/1/{number}", "window": "1"}
        hall.records += hall.queues.heard(Event("c1", "ticket.called", data, hall.mono_s))
    hall.at(34)
    assert hall.figures("A") == before


def test_a_day_that_has_not_come_is_no_day():
    """A clock that was wrong when it was believed, and was put right."""
    hall = Hall()
    hall.say("issued", "A1")
    hall.say("issued", "A1", day="2031-01-01")
    hall.go(20)
    hall.say("issued", "A2")
    hall.say("called", "A2", "1")
    hall.at(17.1)
    assert (hall.figures("A")["issued"], hall.figures("A")["called"]) == (2, 1)
    assert not [key for key in hall.kept if "2031" in key]


# -- ratings -----------------------------------------------------------------------------------------------------------


def test_grades_are_counted_from_five_on_and_bad_ones_are_told():
    hall = Hall()
    for i, grade in enumerate((5, 5, 1, None)):
        visit(hall, f"A{i}", 10, 10)
        hall.say("rated", f"A{i}", "1", value=grade)
    assert hall.state["ratings"] == {"n": 3, "not_rated": 1, "grades": None, "bad": None, "days": 90}
    [bad] = [record for record in hall.records if record.type == "ticket.rated_badly"]
    assert (bad.data["value"], bad.data["label"], bad.data["window"], bad.data["cause"]) == (1, "A2", "1", "k1/1/1")
    hall.say("rated", "A2", "1", value=5)
    assert hall.state["ratings"]["n"] == 3, "one visit, one grade"
    hall.say("rated", window="1", value=2)
    hall.say("rated", window="1", value=4)
    hall.start()
    assert hall.state["ratings"] == {"n": 5, "not_rated": 1, "grades": [1, 1, 0, 1, 2], "bad": 2, "days": 90}


def test_grades_are_kept_their_days_and_no_longer():
    hall = Hall()
    for day in range(100):
        hall.now_s = (9 + 24 * day) * HOUR_S
        hall.say("rated", window="1", value=4)
    kept = [key for key in hall.kept if key.startswith("rating:")]
    assert len(kept) == 90
    assert hall.state["ratings"]["n"] == 90
    assert date.fromisoformat(min(kept).removeprefix("rating:")) == date(2026, 12, 5)


def test_the_figures_of_a_large_centre_fit_their_messages():
    names = [f"S{i}" for i in range(30)]
    queues = {name: QueuePlan((name,), 900.0, 0.8, 1800.0) for name in names}
    serves = {f"window-{i}": names for i in range(40)}
    hall = Hall(Plan(queues, {name: (name, "") for name in names}, serves, {}, [], ()))
    for name in names:
        for i, window in enumerate(serves):
            for what in ("issued", "called", "served"):
                hall.event(f"ticket.{what}", f"hall/{DAY}/{name}/1/{i}", name, window if what != "issued" else "")
    records = hall.queues.news(hall.mono_s)
    assert len(records) == 60
    pending = Pending(hall.label, 10.0, 30.0)
    pending.many("events", records, hall.mono_s)
    work = pending.take(hall.mono_s, everything=True)
    assert work is not None
    for draft in work.drafts:
        inside = event_records(open_records(draft.body()), "s" * 60, "events", "00000000", 10**9, draft.label)
        assert len(pack_payload("events", "00000000", 10**9, draft.label, inside)) <= PACK_BYTES_MAX


# -- bounds ------------------------------------------------------------------------------------------------------------


def calls_of(hall: Hall, day: int) -> tuple[int, int]:
    """(Python calls, rows kept) of the same sixty visits and their ticks."""
    counted = [0]

    def count(frame: FrameType, what: str, arg: object) -> None:
        counted[0] += what == "call" and "/gateway/" in frame.f_code.co_filename

    hall.now_s = (9 + 24 * day) * HOUR_S
    name = date.fromordinal(date.fromisoformat(DAY).toordinal() + day).isoformat()
    hall.keeps.clear()
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        for i in range(60):
            for what, window in (("issued", ""), ("called", "1"), ("serving", "1"), ("served", "1")):
                hall.say(what, f"A{i}", window, day=name)
                hall.now_s += 30
    finally:
        sys.setprofile(before)
    rows = len(hall.keeps)
    hall.go(HOUR_S)
    return counted[0], rows


def test_an_event_costs_the_same_on_every_day_and_nothing_grows():
    hall = Hall()
    costs, sizes = [], []
    for day in range(12):
        costs.append(calls_of(hall, day))
        sizes.append((len(hall.kept), len(msgspec.json.encode(hall.kept))))
    assert len(set(costs[4:])) == 1, costs
    rows = costs[-1][1]
    assert rows <= 60 * 4 * 2 + 60 + 1, "a row for the visit and one for the window, and what was learnt"
    ratio = (sizes[11][0] / sizes[4][0], sizes[11][1] / sizes[4][1])
    assert max(ratio) < 1.05, sizes
    assert len(list(hall.queues._books)) == 2


def test_a_kiosk_gone_mad_is_bounded_and_the_others_go_on(caplog):
    hall = Hall()
    for i in range(VISITS_MAX + 10):
        hall.say("issued", f"A{i}")
    assert len(hall.queues._books.today.visits) == VISITS_MAX
    assert caplog.text.count("what is beyond is in no figure") == 1


def test_a_ticket_drawn_in_test_mode_is_in_no_figure_and_one_drawn_before_goes_on():
    hall = Hall()
    hall.say("issued", "A1")
    hall.test = True
    hall.say("issued", "A2")
    hall.say("called", "A1", "1")
    hall.say("served", "A1", "1")
    hall.say("rated", "A2", value=1)
    hall.test = False
    hall.at(17.1)
    assert (hall.figures("A")["issued"], hall.figures("A")["served"], hall.state["ratings"]["n"]) == (1, 1, 0)


def test_what_the_site_file_does_not_know_is_in_no_figure_and_harms_nothing():
    hall = Hall()
    hall.say("issued", "Z1")
    hall.say("called", "A9", "77")
    hall.say("issued")
    hall.records += hall.queues.heard(Event("k1", "ticket.called", {"value": None, "ticket": "odd"}, 0.0))
    hall.at(9.5)
    assert hall.figures("A")["called"] == 1
    hall.plan = PLAN._replace(queues={"hall": QueuePlan(("B",), 900.0, 0.8, 1800.0)}, labels={"B": ("B", "")})
    hall.plan = hall.plan._replace(serves={"1": ["B"]})
    hall.start()
    hall.at(9.6)
    assert not [key for key in hall.kept if key.startswith("hall:visit:")]


def test_nothing_is_remembered_of_tickets_that_were_served_without_a_call():
    hall = Hall()
    for n in range(1, 9):
        hall.say("issued", f"A{n}")
        hall.say("called", f"A{n}", "1")
        hall.say("issued", f"B{n}")
        hall.say("served", f"B{n}", "1")
    hall.at(24 + 9)
    hall.say("issued", "A1", day="2026-11-26")
    assert set(hall.queues._lines._told) == {"hall/2026-11-26/A/1/1"}


def test_a_look_at_a_full_day_costs_what_changed_and_not_what_the_day_holds(monkeypatch):
    hall = Hall()
    for n in range(1, 301):
        hall.say("issued", f"A{n}")
        hall.say("called", f"A{n}", "2")
    counted: list[str] = []
    count = Tally.count
    monkeypatch.setattr(Tally, "count", lambda tally, *what: (counted.append(what[0]), count(tally, *what)))
    assert hall.state["today"]["called"] == 300 and len(set(counted)) == 300
    counted.clear()
    hall.say("served", "A300", "2")
    assert hall.state["today"]["served"] == 300 and len(counted) == 1
    assert hall.queues.news(hall.mono_s)[0].data["served"] == 300 and len(counted) == 1


def test_a_pad_gone_mad_fills_no_disk_with_windows_that_nobody_has():
    hall = Hall()
    for n in range(500):
        hall.say("rated", window=f"nowhere-{n}", value=3)
    hall.say("rated", window="1", value=5)
    assert hall.kept[f"rating:{DAY}"] == {"": [0, 0, 0, 500, 0, 0], "1": [0, 0, 0, 0, 0, 1]}
