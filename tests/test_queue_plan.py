"""From a site file to a hall: its queues, letters, hours and alarms."""

from datetime import date

from drivers.reading import Event
from gateway.build import _meta
from gateway.build_lines import places
from gateway.config import load
from gateway.hall_clock import Local
from gateway.own_alarms import own_alarms
from gateway.queue_plan import QueuePlan, plan_of
from gateway.tickets import Tickets, business_day
from tests.hall_rig import DAY, PLAN, Hall, visit

SITE = """schema = 1
site = { id = "hall-site", gateway = "hall-box", name = "hall", open = "mon-fri 08:30-11:30 13:30-17:00" }
uplink = { broker = "mqtt://127.0.0.1:1883" }
bus.k1 = { kind = "kiosk-line", port = "link:k1" }
queue.hall = { within_min = 20, share = 0.9, quiet_min = 10 }
service.A = { queue = "hall", name = "a", priority = ["Y"], appointments = "R", close = "16:45" }
service.B = { queue = "hall", name = "b" }
window.1 = { services = ["A", "B"] }
"""


def test_a_small_disk_budget_follows_fewer_tickets(tmp_path):
    (tmp_path / "site.toml").write_text(SITE + "store = { budget_mb = 2 }\n")
    assert plan_of(load(tmp_path / "site.toml")).visits_max == 400


def test_the_site_file_says_what_the_hall_is(tmp_path):
    (tmp_path / "site.toml").write_text(SITE)
    site = load(tmp_path / "site.toml")
    plan = plan_of(site)
    assert plan.queues == {"hall": QueuePlan(("A", "B"), 1200.0, 0.9, 600.0)}
    assert plan.labels == {"A": ("A", ""), "Y": ("A", "priority"), "R": ("A", "appointment"), "B": ("B", "")}
    assert plan.visits_max == 5000
    wednesday = date(2026, 11, 25)
    assert [plan.is_open(Local(wednesday, 60 * hour)) for hour in (8, 9, 12, 14, 17)] == [
        False,
        True,
        False,
        True,
        False,
    ]
    assert plan.is_over("A", "2026-11-25", Local(wednesday, 16 * 60 + 45))
    assert not plan.is_over("B", "2026-11-25", Local(wednesday, 16 * 60 + 45))
    assert not plan.is_over("B", "2026-11-28", Local(date(2026, 11, 28), 1439)), "it does not open: until midnight"
    assert plan.is_over("B", "2026-11-28", Local(date(2026, 11, 29), 0))
    assert not plan.is_over("B", "2026-11-25", None)
    assert {name for name in own_alarms(site) if "quiet" in name or "queue" in name} == {
        "queue:hall", "quiet-window:1", "quiet-kiosk:k1"
    }  # fmt: skip


def test_only_the_kiosks_that_feed_a_queue_count_in_it(tmp_path):
    """Two kiosks print A001; the hall's file says that one of them is not its own."""
    more = 'bus.k2 = { kind = "kiosk-line", port = "link:k2" }\n'
    more += 'bus.c1 = { kind = "call-bus", port = "link:c1", line = "9600 8N1", table = "keypad-21" }\n'
    (tmp_path / "site.toml").write_text(SITE.replace("quiet_min = 10", 'sources = ["k1"]') + more)
    site = load(tmp_path / "site.toml")
    plan = plan_of(site)
    assert (plan.kiosks, plan.queues["hall"].strangers) == (("k1",), {"k2"})
    assert "quiet-kiosk:k1" in own_alarms(site)
    assert "quiet-kiosk:k2" not in own_alarms(site)
    hall = Hall(plan)
    tickets = Tickets(places(site), business_day(hall.label, "UTC"), {}, hall.keep)

    def say(source: str, kind: str, seq: int = 1, **data: object) -> None:
        hall.queues.heard(tickets.named(Event(source, f"ticket.{kind}", {"value": None, **data}, hall.mono_s, 1, seq)))

    for source in ("k2", "k1", "k2"):
        say(source, "issued", label="A001")
        hall.go(60)
    say("k2", "called", label="A001", window="1")
    assert hall.state["waiting"] == 1, "what another kiosk calls is not this queue's"
    say("c1", "called", 0, number=1, window="1")
    assert hall.state["waiting"] == 0
    hall.at(17.5)
    assert (hall.figures()["issued"], hall.figures()["wait"]["mean_s"]) == (1, 120.0)


def test_every_kiosk_feeds_a_queue_that_names_none_and_meta_tells_what_the_file_says(tmp_path):
    more = 'bus.k2 = { kind = "kiosk-line", port = "link:k2" }\nwindow.2 = { services = ["B"], accessible = true }\n'
    (tmp_path / "site.toml").write_text(SITE + more)
    site = load(tmp_path / "site.toml")
    assert (plan_of(site).kiosks, plan_of(site).queues["hall"].strangers) == (("k1", "k2"), frozenset())
    assert plan_of(site).accessible == {"2"}
    told = _meta(site)
    assert told["windows"]["2"] == {"name": "2", "services": ["B"], "accessible": True}
    assert "accessible" not in told["windows"]["1"]
    assert "sources" not in told["queues"]["hall"]
    (tmp_path / "site.toml").write_text(SITE.replace("quiet_min = 10", 'sources = ["k1"]') + more)
    assert _meta(load(tmp_path / "site.toml"))["queues"]["hall"]["sources"] == ["k1"]


def test_the_letter_on_a_ticket_tells_its_range_and_its_sort(tmp_path):
    (tmp_path / "site.toml").write_text(SITE)
    site = load(tmp_path / "site.toml")
    hall = Hall(plan_of(site))
    tickets = Tickets(places(site), business_day(hall.label, "UTC"), {}, hall.keep)
    for service, label in (("A", "A003"), ("A", "Y003"), ("Y", "Y004"), (None, "R001")):
        said = {"value": label, "label": label} | ({"service": service} if service else {})
        hall.queues.heard(tickets.named(Event("k1", "ticket.issued", said, hall.mono_s, 1, 1)))
    assert sorted(hall.queues._books.today.visits) == [
        f"hall/{DAY}/A/1/3", f"hall/{DAY}/R/1/1", f"hall/{DAY}/Y/1/3", f"hall/{DAY}/Y/1/4"
    ]  # fmt: skip
    hall.at(17.5)
    assert hall.figures("A")["issued"] == 4
    assert {sort: told["issued"] for sort, told in hall.figures("A")["sorts"].items()} == {
        "priority": 2,
        "appointment": 1,
    }


def test_where_a_window_is_accessible_priority_tickets_called_there_are_counted_and_open_ones_told():
    hall = Hall(PLAN._replace(accessible=frozenset({"2"})))
    for ticket, window in (("Y1", "1"), ("Y2", "2"), ("A3", "2")):
        visit(hall, ticket, 20, 60, window)
    assert [hall.state["services"]["A"][key] for key in ("windows", "accessible")] == [2, 1]
    assert "accessible" not in hall.state["services"]["B"], "window 2 does not serve it"
    told = hall.state["today"]["sorts"]["priority"]
    assert (told["issued"], told["called"], told["accessible"], told["wait"]["mean_s"]) == (2, 2, 1, 20.0)
    hall.say("closed", window="2")
    assert hall.state["services"]["A"]["accessible"] == 0
    hall.start()
    assert hall.state["today"]["sorts"]["priority"] == told
    plain = Hall()
    visit(plain, "Y1", 20, 60)
    assert "accessible" not in plain.state["services"]["A"]
    assert "accessible" not in plain.state["today"]["sorts"]["priority"]
