"""Where does a leak become an alarm on the city's topic? Here, on one screen, with every part real but the wire."""

import json
import random
from collections.abc import Callable

import msgspec
import pytest

from drivers.outputs import Output
from drivers.reading import Event, Fact, Lost, Reading
from gateway.alarms import Alarms, Kept, Rule
from gateway.conditions import parse
from gateway.contract import Label, Topics
from gateway.detectors import Detectors
from gateway.pending import Pending
from gateway.pipeline import Pipeline
from gateway.reactions import Plan
from gateway.reader import Reader
from gateway.sensors import Role
from gateway.store import Store
from tests.deeds_rig import deeds, rules_of

TOPICS = Topics("linli", "demo")


class Wire:
    """An output pin that remembers."""

    def __init__(self) -> None:
        self.driven: list[bool] = []

    def drive(self, on: bool) -> None:
        self.driven.append(on)

    def close(self) -> None: ...


class Centre:
    """A gateway without threads: what is due is committed when the test says so."""

    def __init__(self, folder) -> None:
        self.now_s = 5000.0
        self.boot = 0
        self.store = Store(folder / "linli.db", self, random.Random(1))
        self.store.open("kernel")
        self.wire = Wire()
        self.strobe = Wire()
        self.build()

    def label(self) -> Label:
        return Label(self.boot, self.now_s, 1_800_000_000.0 + self.now_s, "ntp", 0.01, "cafe0001")

    def build(self) -> None:
        kept = self.store.kept()
        rope = Rule("leak", "地下室漏水", "urgent", (parse("basement/rope is wet"),), off_s=60)
        cord = Rule("cord", "卫生间求助", "urgent", (parse("toilet/cord is pulled"),), latch=True)
        states = {n: msgspec.convert(kept[f"alarm:{n}"], Kept) for n in ("leak", "cord") if f"alarm:{n}" in kept}
        silent = Rule("source:n1", "n1 无声 silent", "high", ())
        outputs = {"valve": Output("valve", self.wire), "strobe": Output("strobe", self.strobe)}
        alarms = Alarms([rope, cord, silent, *rules_of(outputs)], states, {}, self.now_s)
        plans = [Plan("close-main", "leak", 2, "valve", "close"), Plan("light", "cord", 0, "strobe", "on")]
        roles = [
            Role("basement/rope", "gpio:17", "leak", numbered=False),
            Role("toilet/cord", "n1:loop1", "pull-cord"),
            Role("basement/flow", "n1:flow1", "flow", valid=(0.0, 0.01)),
        ]
        self.pending = Pending(self.label, 10.0, 30.0)
        detectors = Detectors({})
        done = deeds(plans, outputs, self.pending, self.label, kept)
        self.pipeline = Pipeline(roles, alarms, done, detectors, self.pending, lambda: self.now_s, self.label)
        levels = {k.removeprefix("level:"): v for k, v in kept.items() if k.startswith("level:")}
        self.pipeline.restore(levels, self.now_s)

    def say(self, *facts: Fact) -> None:
        self.pipeline.handle(list(facts))

    def later(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.now_s += 0.1
            self.pipeline.tick()

    def commit(self, *, everything: bool = True) -> None:
        work = self.pending.take(self.now_s, everything=everything)
        if work:
            self.store.commit([work])

    def sent(self, stream: str) -> list[dict]:
        """Every record of a stream as the city would read it."""
        reader = Reader(self.store.path)
        rows = reader.after(self.store.epoch_no, stream, 0, self.store.heads()[stream], 1000)
        packs = [json.loads(reader.payload(row, TOPICS)) for row in rows]
        reader.close()
        assert [pack["n"] for pack in packs] == list(range(1, len(packs) + 1))
        return [record for pack in packs for record in pack["records"] if "began" not in record]


@pytest.fixture
def centre(tmp_path) -> Centre:
    centre = Centre(tmp_path)
    centre.wire.driven.clear()  # every output is driven once at the start
    centre.strobe.driven.clear()
    return centre


def wet(centre: Centre, value: bool = True) -> Reading:
    return Reading("gpio:17", value, centre.now_s, urgent=True)


def test_a_wet_rope_closes_the_valve_and_becomes_an_alarm_on_the_citys_topic(centre):
    centre.say(wet(centre))
    assert centre.wire.driven == []
    centre.later(2.1)
    assert centre.wire.driven == [True]
    centre.commit()
    [alarm] = centre.sent("alarms")
    assert alarm["type"] == "linli.alarm.v1" and alarm["subject"] == "leak"
    assert alarm["data"]["state"] == "unacknowledged" and alarm["data"]["severity"] == "urgent"
    assert alarm["data"]["cause"] == {"condition": "basement/rope is wet", "value": True}
    [closed] = centre.sent("events")
    assert closed["type"] == "linli.output.changed.v1" and closed["data"]["value"] == "close"
    assert closed["data"]["cause"]["alarm"] == "leak" and "src" not in closed


def test_the_deed_does_not_wait_for_the_disk(centre):
    centre.store.commit = None  # nobody may call it
    centre.say(wet(centre))
    centre.later(2.1)
    assert centre.wire.driven == [True]


def test_an_alarm_is_due_at_once_and_takes_the_nodes_readings_along(centre):
    centre.say(Reading("n1:flow1", 0.001, centre.now_s, 3, 1))
    centre.commit(everything=False)
    assert centre.store.marks() == {}
    centre.say(Reading("n1:loop1", "alarm", centre.now_s, 3, 2, urgent=True))
    assert centre.pending.due_in_s(centre.now_s) <= 0.02
    centre.now_s += 0.02
    centre.commit(everything=False)
    assert centre.store.marks() == {"n1": (3, 2)}
    assert centre.sent("readings") == [], "durable, but its pack stays open for its interval"
    centre.now_s += 10
    centre.commit(everything=False)
    assert [r["src"] for r in centre.sent("readings")] == ["n1/3/1", "n1/3/2"]


def test_a_pulled_cord_latches_until_it_is_reset_on_the_spot(centre):
    centre.say(Reading("n1:loop1", "alarm", centre.now_s, 3, 1, urgent=True))
    centre.say(Reading("n1:loop1", "normal", centre.now_s, 3, 2, urgent=True))
    assert centre.pipeline.standing() == {"cord": "unacknowledged"}, "what is shorter than half a second stands so long"
    centre.later(0.6)
    assert centre.pipeline.standing() == {"cord": "latched"} and centre.strobe.driven == [True]
    centre.pipeline.reset("cord")
    assert centre.pipeline.standing() == {} and centre.strobe.driven == [True, False]
    centre.commit()
    assert [a["data"]["state"] for a in centre.sent("alarms")] == ["unacknowledged", "latched", "normal"]


def test_a_cut_cable_raises_no_alarm_of_water_and_ends_none(centre):
    centre.say(Reading("n1:loop1", "alarm", centre.now_s, 3, 1, urgent=True))
    centre.say(Reading("n1:loop1", "cut", centre.now_s, 3, 2, urgent=True))
    assert centre.pipeline.standing() == {"cord": "unacknowledged"}


def test_a_restart_remembers_what_stands_and_drives_it_again(centre):
    centre.say(Reading("n1:loop1", "alarm", centre.now_s, 3, 1, urgent=True))
    centre.commit()
    centre.strobe.driven.clear()
    centre.build()
    assert centre.pipeline.standing() == {"cord": "unacknowledged"}
    assert centre.strobe.driven == [True]
    centre.say(Reading("n1:loop1", "normal", centre.now_s, 3, 2, urgent=True))
    assert centre.pipeline.standing() == {"cord": "latched"}


def test_an_alarm_that_stood_before_a_restart_stands_until_it_is_refuted(centre):
    centre.say(Reading("n1:loop1", "alarm", centre.now_s, 3, 1, urgent=True), wet(centre))
    centre.later(3)
    centre.commit()
    centre.wire.driven.clear()
    centre.store._db.execute("DELETE FROM keep WHERE key LIKE 'level:%'")
    centre.build()
    centre.later(70)
    assert centre.pipeline.standing() == {"leak": "unacknowledged", "cord": "unacknowledged"}
    assert centre.wire.driven == [True], "the valve is driven again"
    centre.say(wet(centre, False))
    centre.later(61)
    assert centre.pipeline.standing()["leak"] == "returned-unacknowledged"


def test_a_value_of_bad_quality_neither_raises_nor_ends_an_alarm(centre):
    centre.say(Reading("n1:loop1", "alarm", centre.now_s, 3, 1, urgent=True))
    centre.say(Reading("n1:loop1", "normal", centre.now_s, 3, 2, quality="fault", urgent=True))
    assert centre.pipeline.standing() == {"cord": "unacknowledged"}


def test_readings_that_come_late_do_not_shorten_a_delay(centre):
    centre.later(60)
    centre.say(
        Reading("gpio:17", True, centre.now_s - 59.0, urgent=True),
        Reading("gpio:17", False, centre.now_s - 58.0, urgent=True),
    )
    centre.later(3)
    assert centre.wire.driven == []


def test_an_open_pack_always_knows_when_it_is_due(centre):
    centre.say(Reading("n1:flow1", 0.001, centre.now_s, 3, 1))
    centre.pending.hurry(centre.now_s)
    centre.commit(everything=False)
    centre.say(Event("k1", "ticket.issued", {"value": "A1"}, centre.now_s, 1, 1))
    centre.now_s += 0.02
    centre.commit(everything=False)
    assert centre.pending.due_in_s(centre.now_s) == pytest.approx(9.98)


def test_a_rope_that_dries_for_a_moment_keeps_its_alarm_and_one_that_stays_dry_returns(centre):
    centre.say(wet(centre))
    centre.later(3)
    centre.say(wet(centre, False))
    centre.later(30)
    assert centre.pipeline.standing() == {"leak": "unacknowledged"}
    centre.later(40)
    assert centre.pipeline.standing() == {"leak": "returned-unacknowledged"}
    assert centre.wire.driven == [True], "water comes back only by hand"


def test_a_value_out_of_its_range_is_kept_and_marked(centre):
    centre.say(Reading("n1:flow1", 7.0, centre.now_s, 1, 1))
    centre.commit()
    [record] = centre.sent("readings")
    assert record["v"] == 7.0 and record["q"] == "range" and record["u"] == "m3/s"


def test_a_point_without_a_role_is_kept_under_its_own_name(centre):
    centre.say(Reading("n1:temp1", 21.5, centre.now_s, 1, 1))
    centre.commit()
    assert centre.sent("readings")[0]["n"] == "n1:temp1"


def test_a_local_sensor_is_told_on_change_and_once_a_minute(centre):
    for _ in range(130):
        centre.say(Reading("gpio:17", False, centre.now_s))
        centre.now_s += 1
    centre.commit()
    assert len(centre.sent("readings")) == 3


def test_tickets_and_what_a_source_gave_up_are_events_with_their_source(centre):
    centre.say(Event("k1", "ticket.issued", {"value": "A012", "number": 12}, centre.now_s, 5, 1))
    centre.say(Lost("k1", 5, 2, 9, centre.now_s))
    centre.commit()
    ticket, lost = centre.sent("events")
    assert (
        ticket["type"] == "linli.ticket.issued.v1" and ticket["src"] == "k1/5/1" and ticket["data"]["value"] == "A012"
    )
    assert lost["type"] == "linli.source.lost.v1" and lost["src"] == "k1/5/9" and lost["data"]["first"] == 2
    assert centre.store.marks() == {"k1": (5, 9)}


def test_times_are_right_to_the_millisecond_wherever_the_pack_was_closed(centre):
    happened_s = centre.now_s
    centre.say(Reading("n1:flow1", 0.001, happened_s, 1, 1), Event("k1", "ticket.called", {"value": "A1"}, happened_s))
    centre.now_s += 7.25
    centre.commit()
    [reading] = centre.sent("readings")
    assert reading["bt"] + reading["t"] == pytest.approx(1_800_000_000.0 + happened_s, abs=1e-3)
    [event] = centre.sent("events")
    assert event["time"] == "2027-01-15T09:23:20.000Z" and event["monoms"] == round(happened_s * 1000)


def test_a_source_that_goes_silent_is_an_alarm_of_its_own_and_returns_by_itself(centre):
    centre.pipeline.source_silent("source:n1", 15.4)
    centre.later(1)
    assert centre.pipeline.standing() == {"source:n1": "unacknowledged"}
    centre.pipeline.source_silent("source:n1", None)
    centre.commit()
    assert [(a["data"]["state"], a["data"]["cause"]["value"]) for a in centre.sent("alarms")] == [
        ("unacknowledged", 15),
        ("returned-unacknowledged", 15),
    ]


@pytest.mark.parametrize(
    ("deed", "state"),
    [(lambda p: p.acknowledge("cord"), "acknowledged"), (lambda p: p.reset("cord"), "unacknowledged")],
)
def test_an_alarm_can_be_acknowledged_but_not_reset_while_its_cause_lasts(
    centre, deed: Callable[[Pipeline], None], state: str
):
    centre.say(Reading("n1:loop1", "alarm", centre.now_s, 3, 1, urgent=True))
    deed(centre.pipeline)
    assert centre.pipeline.standing() == {"cord": state}
