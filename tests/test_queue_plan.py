"""From a site file to a hall: its queues, letters, hours and alarms."""

from datetime import date

from drivers.reading import Event
from gateway.build_lines import places
from gateway.config import load
from gateway.hall_clock import Local
from gateway.own_alarms import own_alarms
from gateway.queue_plan import QueuePlan, plan_of
from gateway.tickets import Tickets, business_day
from tests.hall_rig import DAY, Hall

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
