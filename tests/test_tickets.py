"""Whose ticket an event is about: midnights, restarts, shared ranges, reprints, an unsure clock."""

from typing import Any, NamedTuple

import msgspec
import pytest

from drivers.reading import Event
from gateway.contract import Label
from gateway.tickets import RANGES_MAX, Numbering, Places, Tickets, business_day

HALL = Numbering("hall")


class Site(NamedTuple):
    """A centre's tickets, its days turned by hand."""

    tickets: Tickets
    kept: dict[str, object]
    days: dict[str, str | None]

    def say(self, source: str, what: str, boot: int = 0, at_s: float = 0.0, **fields: object) -> Event:
        """boot: 0 for what is only overheard."""
        return self.tickets.named(Event(source, what, {"value": None, **fields}, at_s, boot, int(bool(boot))))

    def issue(self, source: str, label: str, boot: int = 0, **fields: object) -> str:
        """The identity, with "again " before it when the slip was printed again."""
        event = self.say(source, "ticket.issued", boot, label=label, **fields)
        return ("again " if event.type == "ticket.reprinted" else "") + str(event.data["ticket"])


def site(numbering: dict[str, Numbering] | None = None, kept: dict[str, object] | None = None, **places: Any) -> Site:
    days: dict[str, str | None] = {"now": "2026-11-25"}
    found: dict[str, object] = {} if kept is None else kept

    def keep(key: str, value: object) -> None:
        found[key] = msgspec.json.decode(msgspec.json.encode(value))

    known = Places(numbering or {"A": HALL, "B": HALL}, places.get("calls", {}), places.get("ratings", {}))
    return Site(Tickets(known, lambda mono_s: days["now"], found, keep), found, days)


# (day, source, boot, label, more) -> identity. boot 0: a printer that is overheard.
D25, D26 = "2026-11-25", "2026-11-26"
TABLE: dict[str, tuple[dict[str, Numbering], list[tuple[tuple[str | None, str, int, str, str], str]]]] = {
    "each letter counts by itself, over both kiosks": (
        {"A": HALL, "B": HALL},
        [
            ((D25, "k1", 3, "A001", ""), "hall/2026-11-25/A/1/1"),
            ((D25, "k2", 9, "B001", ""), "hall/2026-11-25/B/1/1"),
            ((D25, "k2", 9, "A002", ""), "hall/2026-11-25/A/1/2"),
        ],
    ),
    "one range for the whole queue": (
        {"A": Numbering("hall", "queue"), "B": Numbering("hall", "queue")},
        [
            ((D25, "k1", 3, "A001", ""), "hall/2026-11-25/-/1/1"),
            ((D25, "k1", 3, "B002", ""), "hall/2026-11-25/-/1/2"),
        ],
    ),
    "a kiosk that does not feed the queue has numbers of its own": (
        {"A": HALL._replace(strangers=frozenset({"k2"})), "B": Numbering("hall", "queue", strangers=frozenset({"k2"}))},
        [
            ((D25, "k1", 3, "A001", ""), "hall/2026-11-25/A/1/1"),
            ((D25, "k2", 9, "A001", ""), "k2/2026-11-25/A/1/1"),
            ((D25, "k2", 9, "B001", ""), "k2/2026-11-25/B/1/1"),
            ((D25, "k1", 3, "B002", ""), "hall/2026-11-25/-/1/2"),
        ],
    ),
    "each kiosk for itself": (
        {"A": Numbering("hall", "kiosk")},
        [
            ((D25, "k1", 3, "A001", ""), "k1/2026-11-25/A/1/1"),
            ((D25, "k2", 9, "A001", ""), "k2/2026-11-25/A/1/1"),
        ],
    ),
    "a new day begins anew": (
        {"A": HALL},
        [
            ((D25, "p1", 0, "A120", ""), "hall/2026-11-25/A/1/120"),
            ((D26, "p1", 0, "A001", ""), "hall/2026-11-26/A/1/1"),
        ],
    ),
    "a kiosk's midnight is later than ours": (
        {"A": HALL},
        [
            ((D25, "p1", 0, "A120", "23:59"), "hall/2026-11-25/A/1/120"),
            ((D26, "p1", 0, "A121", "23:59"), "hall/2026-11-26/A/1/121"),
            ((D26, "p1", 0, "A001", "00:00"), "hall/2026-11-26/A/2/1"),
            ((D26, "p1", 0, "A002", "08:31"), "hall/2026-11-26/A/2/2"),
        ],
    ),
    "a slip printed again is no new ticket": (
        {"A": HALL},
        [
            ((D25, "p1", 0, "A001", ""), "hall/2026-11-25/A/1/1"),
            ((D25, "p1", 0, "A002", ""), "hall/2026-11-25/A/1/2"),
            ((D25, "p1", 0, "A001", ""), "again hall/2026-11-25/A/1/1"),
            ((D25, "p1", 0, "A002", ""), "again hall/2026-11-25/A/1/2"),
            ((D25, "p1", 0, "A003", ""), "hall/2026-11-25/A/1/3"),
        ],
    ),
    "yesterday's slip printed again, by its date": (
        {"A": HALL},
        [
            ((D25, "p1", 0, "A007", "2026-11-25 16:50"), "hall/2026-11-25/A/1/7"),
            ((D26, "p1", 0, "A007", "2026-11-25 16:50"), "again hall/2026-11-25/A/1/7"),
            ((D26, "p1", 0, "A001", "2026-11-26 08:30"), "hall/2026-11-26/A/1/1"),
        ],
    ),
    "a printer's kiosk restarts, told by the printed time": (
        {"A": Numbering("hall", restart="start")},
        [
            ((D25, "p1", 0, "A001", "08:30"), "hall/2026-11-25/A/1/1"),
            ((D25, "p1", 0, "A002", "08:35"), "hall/2026-11-25/A/1/2"),
            ((D25, "p1", 0, "A002", "08:35"), "again hall/2026-11-25/A/1/2"),
            ((D25, "p1", 0, "A001", "10:00"), "hall/2026-11-25/A/2/1"),
            ((D25, "p1", 0, "A002", "10:01"), "hall/2026-11-25/A/2/2"),
            ((D25, "p1", 0, "A001", "10:00"), "again hall/2026-11-25/A/2/1"),
        ],
    ),
    "the same without a time: a fall to the first number": (
        {"A": Numbering("hall", restart="start")},
        [
            ((D25, "p1", 0, "A001", ""), "hall/2026-11-25/A/1/1"),
            ((D25, "p1", 0, "A001", ""), "again hall/2026-11-25/A/1/1"),
            ((D25, "p1", 0, "A002", ""), "hall/2026-11-25/A/1/2"),
            ((D25, "p1", 0, "A002", ""), "again hall/2026-11-25/A/1/2"),
            ((D25, "p1", 0, "A001", ""), "hall/2026-11-25/A/2/1"),
        ],
    ),
    "a kiosk that numbers its lines restarts with a new boot": (
        {"A": Numbering("hall", restart="start")},
        [
            ((D25, "k1", 3, "A001", ""), "hall/2026-11-25/A/1/1"),
            ((D25, "k1", 3, "A002", ""), "hall/2026-11-25/A/1/2"),
            ((D25, "k1", 4, "A002", ""), "hall/2026-11-25/A/2/2"),
            ((D25, "k1", 4, "A003", ""), "hall/2026-11-25/A/2/3"),
        ],
    ),
    "a kiosk that restarts and counts on goes on with its run": (
        {"A": Numbering("hall", restart="start")},
        [
            ((D25, "k1", 3, "A001", ""), "hall/2026-11-25/A/1/1"),
            ((D25, "k1", 4, "A002", ""), "hall/2026-11-25/A/1/2"),
        ],
    ),
    "two kiosks share a range and one of them is heard late": (
        {"A": HALL},
        [
            ((D25, "k1", 3, "A002", ""), "hall/2026-11-25/A/1/2"),
            ((D25, "k1", 3, "A004", ""), "hall/2026-11-25/A/1/4"),
            ((D25, "k2", 9, "A001", ""), "hall/2026-11-25/A/1/1"),
            ((D25, "k2", 9, "A003", ""), "hall/2026-11-25/A/1/3"),
        ],
    ),
    "a kiosk cut off over midnight tells of yesterday": (
        {"A": HALL},
        [
            ((D25, "k1", 3, "A080", ""), "hall/2026-11-25/A/1/80"),
            ((D26, "k1", 3, "A001", ""), "hall/2026-11-26/A/1/1"),
            ((D25, "k2", 9, "A081", ""), "hall/2026-11-25/A/1/81"),
            ((D26, "k1", 3, "A002", ""), "hall/2026-11-26/A/1/2"),
        ],
    ),
    "a box that never knew the time": (
        {"A": HALL},
        [
            ((None, "p1", 0, "A005", ""), "hall/unsure/A/1/5"),
            ((None, "p1", 0, "A006", ""), "hall/unsure/A/1/6"),
            ((D25, "p1", 0, "A007", ""), "hall/2026-11-25/A/1/7"),
        ],
    ),
    "an unsure start goes on with the last known day": (
        {"A": HALL},
        [
            ((D25, "p1", 0, "A099", ""), "hall/2026-11-25/A/1/99"),
            ((None, "p1", 0, "A100", ""), "hall/2026-11-25/A/1/100"),
            ((None, "p1", 0, "A001", ""), "hall/2026-11-25/A/2/1"),
            ((D26, "p1", 0, "A002", ""), "hall/2026-11-26/A/1/2"),
        ],
    ),
    "a service that the site file does not know": (
        {"A": HALL},
        [
            ((D25, "k1", 3, "综合 1/2-07", ""), "k1/2026-11-25/-/1/7"),
            ((D25, "k1", 3, "VIP07", ""), "k1/2026-11-25/VIP/1/7"),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("restarted", [False, True], ids=["", "the gateway restarts before each"])
@pytest.mark.parametrize("name", TABLE)
def test_a_ticket_is_this_one(name: str, restarted: bool) -> None:
    numbering, rows = TABLE[name]
    here = site(numbering)
    for number, ((day, source, boot, label, printed), identity) in enumerate(rows):
        if restarted:
            here = site(numbering, here.kept)
        here.days["now"] = day
        more = {"number": 7, "service": "-"} if label.startswith("综合") else {}
        said = here.issue(source, label, boot, **({"printed": printed} if printed else {}), **more)
        assert said == identity, f"row {number + 1} of {name!r}"


def test_calls_find_the_ticket_that_was_issued_last_under_that_number() -> None:
    here = site(calls={"c1:3": "3"})
    for label in ("A001", "A002", "B001"):
        here.issue("p1", label)
    called = here.say("c1", "ticket.called", service="A", number=2, address=3)
    assert called.data == {"value": "A002", "label": "A002", "service": "A", "number": 2, "address": 3, "window": "3",
                           "ticket": "hall/2026-11-25/A/1/2"}  # fmt: skip
    here.days["now"] = D26
    assert here.say("c1", "ticket.called", service="A", number=1, address=3).data["ticket"] == "hall/2026-11-25/A/1/1"
    here.issue("p1", "A001")
    assert here.say("c1", "ticket.called", service="A", number=1, address=3).data["ticket"] == "hall/2026-11-26/A/1/1"
    assert here.say("c1", "ticket.called", service="A", number=2, address=3).data["ticket"] == "hall/2026-11-25/A/1/2"


@pytest.mark.parametrize("scope", ["service", "queue", "kiosk"])
def test_a_call_is_never_of_a_kiosk_that_does_not_feed_the_queue_and_its_own_calls_are(scope: str) -> None:
    hall = Numbering("hall", scope, strangers=frozenset({"k2"}))
    here = site({"A": hall, "B": hall})
    fed = here.issue("k1", "A001", 3)
    other = here.issue("k2", "A001", 9)
    assert other == "k2/2026-11-25/A/1/1"
    assert here.say("c1", "ticket.called", service="A", number=1).data["ticket"] == fed
    assert here.say("c1", "ticket.called", number=1).data["ticket"] == fed
    assert here.say("k2", "ticket.called", 9, label="A001").data["ticket"] == other
    assert "k2/" in here.say("k2", "ticket.called", 9, label="B001").data["ticket"]
    here.issue("k2", "A007", 9)
    assert "k2/" not in here.say("c1", "ticket.called", service="A", number=7).data["ticket"]
    assert "ticket" not in here.say("c1", "ticket.called", number=7).data


def test_a_terminal_that_calls_twice_calls_again() -> None:
    here = site(calls={"c1:3": "3", "c1:4": "4"})
    here.issue("p1", "A001")
    assert here.say("c1", "ticket.called", service="A", number=1, address=3).type == "ticket.called"
    assert here.say("c1", "ticket.called", service="A", number=1, address=3).type == "ticket.recalled"
    again = site(kept=here.kept, calls={"c1:3": "3"})
    assert again.say("c1", "ticket.called", service="A", number=1, address=3).type == "ticket.recalled"
    assert here.say("c1", "ticket.called", service="A", number=1, address=4).type == "ticket.called"
    assert here.say("k1", "ticket.called", 3, service="A", number=1, window="4").type == "ticket.called", "it says so"


def test_a_number_without_a_service_is_named_only_when_one_range_has_it() -> None:
    here = site()
    for label in ("A001", "A002", "B001"):
        here.issue("p1", label)
    assert here.say("c1", "ticket.called", number=2).data["ticket"] == "hall/2026-11-25/A/1/2"
    assert "ticket" not in here.say("c1", "ticket.called", number=1).data
    assert "ticket" not in here.say("c1", "ticket.called", number=99).data


def test_a_call_of_what_nobody_saw_issued_is_named_by_its_day() -> None:
    here = site()
    assert here.say("c1", "ticket.called", service="A", number=5).data["ticket"] == "hall/2026-11-25/A/1/5"
    assert here.say("k1", "ticket.called", 3, label="VIP").data == {"value": "VIP", "label": "VIP"}


def test_a_rating_belongs_to_who_was_just_served_else_to_who_was_called() -> None:
    here = site(ratings={"n2:pad1": "1", "r1:1": "2"})
    for label in ("A001", "A002", "B001"):
        here.issue("k1", label, 3)
    one, two = "hall/2026-11-25/A/1/1", "hall/2026-11-25/A/1/2"
    here.say("k1", "ticket.called", 3, label="A001", window="1")
    here.say("k1", "ticket.served", 3, at_s=50.0, label="A001", window="1")
    here.say("k1", "ticket.called", 3, at_s=52.0, label="A002", window="1")
    rated = here.say("n2", "ticket.rated", 7, at_s=55.0, pad="n2:pad1")
    assert rated.data == {"value": None, "pad": "n2:pad1", "window": "1", "ticket": one}
    assert here.say("n2", "ticket.rated", 7, at_s=56.0, pad="n2:pad1").data["ticket"] == two
    here.say("k1", "ticket.called", 3, label="B001", window="2")
    assert here.say("r1", "ticket.rated").data["ticket"] == "hall/2026-11-25/B/1/1"
    again = site(kept=here.kept, ratings={"r1:1": "2"})
    assert again.say("r1", "ticket.rated").data["ticket"] == "hall/2026-11-25/B/1/1"
    assert again.say("k1", "ticket.rated", 3, label="A002", number=2, service="A", window="9").data["ticket"] == two
    assert "ticket" not in again.say("r1", "ticket.rated", window="9").data


def test_a_rating_long_after_the_service_is_the_next_persons() -> None:
    here = site()
    here.issue("k1", "A001", 3)
    here.say("k1", "ticket.served", 3, at_s=0.0, label="A001", window="1")
    here.issue("k1", "A002", 3)
    here.say("k1", "ticket.called", 3, at_s=10.0, label="A002", window="1")
    assert str(here.say("n2", "ticket.rated", 7, at_s=90.0, window="1").data["ticket"]).endswith("/2")


def test_windows_open_and_close_by_their_terminal() -> None:
    event = site(calls={"c1:3": "3"}).say("c1", "window.paused", address=3)
    assert event.data == {"value": "3", "window": "3", "address": 3}


def test_a_kiosk_gone_mad_fills_no_memory_and_loses_no_event() -> None:
    here = site()
    for number in range(2 * RANGES_MAX):
        event = here.say("k1", "ticket.issued", 3, service=f"S{number}", number=1)
        here.say("k1", "ticket.called", 3, service=f"S{number}", number=1, window=f"w{number}")
        assert ("ticket" in event.data) == (number < RANGES_MAX)
    assert len(here.kept) <= 2 * RANGES_MAX


def test_what_a_kiosk_says_in_our_fields_does_not_pass_for_ours() -> None:
    assert site().say("k1", "ticket.issued", 3, label="A001", ticket="x").data["ticket"] == "hall/2026-11-25/A/1/1"
    other = Event("m1", "meter.swapped", {"value": 1.0}, 0.0)
    assert site().tickets.named(other) is other


def test_the_business_day_is_local_and_unknown_while_the_clock_is() -> None:
    at_16_utc = Label(1, 1000.0, 1_795_622_400.0, "ntp", 0.1, "")  # 2026-11-25T16:00:00Z
    assert business_day(lambda: at_16_utc, "Asia/Shanghai")(1000.0) == "2026-11-26"
    assert business_day(lambda: at_16_utc, "Asia/Shanghai")(999.0) == "2026-11-25"
    assert business_day(lambda: at_16_utc, "UTC")(1000.0) == "2026-11-25"
    assert business_day(lambda: msgspec.structs.replace(at_16_utc, wall=None), "UTC")(1000.0) is None
