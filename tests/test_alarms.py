"""Alarms after ISA-18.2: every state and event, chatter, floods, shelves, escalation, sensors at fault, restarts."""

import json
from pathlib import Path

import msgspec
import pytest

from gateway.alarm_life import CALM, CAME, CHATTERS, ESCALATED, EVENTS, STATES, WENT, WHATS, Change, Refused, step
from gateway.alarms import ACKNOWLEDGED, LATCHED, NORMAL, RETURNED, SHELVED, UNACKNOWLEDGED, Alarms, Kept, Rule
from gateway.conditions import parse
from gateway.contract_catalogue import ALARM_STEPS
from gateway.moment import Here

PAGE = Path(__file__).parents[1] / "docs/alarms.md"
WALL_S = 1_800_000_000.0
HOUR_S = 3600.0


class One:
    """One alarm, its cause and its clock turned by hand. A restart takes what was kept through JSON, as the store."""

    def __init__(self, rule: Rule, kept: Kept | None = None, here: Here | None = None, now_s: float = 1000.0) -> None:
        self.now_s = now_s
        self.alarms = Alarms([rule], {rule.name: kept} if kept else {}, {}, now_s)
        self.alarms.here = here or Here(1, WALL_S)
        self.told: list[Change] = []

    @property
    def state(self) -> str:
        return self.alarms.kept("leak").state

    def later(self, seconds: float, every_s: float = 1.0) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s = min(until_s, self.now_s + every_s)
            self.told += self.alarms.tick(self.now_s)

    def does(self, event: str, by: str = "desk") -> list[Change]:
        """What is told of it."""
        before = len(self.told)
        match event:
            case "on" | "off":
                cause = {"condition": "x", "value": True} if event == "on" else None
                self.told += self.alarms.fault("leak", cause, self.now_s)
            case "shelve":
                self.told += self.alarms.shelve("leak", HOUR_S, self.now_s, by)
            case _:
                self.told += getattr(self.alarms, event)("leak", self.now_s, by)
        self.later(1)
        return self.told[before:]


PLAIN = Rule("leak", "漏水", "urgent", ())
LATCHING = PLAIN._replace(latch=True)
WAY_TO = {  # (state, latching) -> what brings an alarm there
    NORMAL: [],
    UNACKNOWLEDGED: ["on"],
    ACKNOWLEDGED: ["on", "acknowledge"],
    RETURNED: ["on", "off"],
    LATCHED: ["on", "off"],
    SHELVED: ["shelve"],
}


def documented() -> dict[tuple[str, str], str]:
    """{(state, event): what docs/alarms.md says}."""
    rows = [line.strip("| ").split(" |") for line in PAGE.read_text().splitlines() if line.startswith("|")]
    header = [cell.strip() for cell in rows[0]]
    assert header == ["state", *EVENTS]
    return {
        (row[0].strip(), event): cell.strip()
        for row in rows[2:]
        for event, cell in zip(EVENTS, [*row[1:], *[""] * 6], strict=False)
    }


@pytest.mark.parametrize("latching", [False, True])
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_every_state_and_event_leads_where_the_page_says(state: str, event: str, latching: bool) -> None:
    if state == (RETURNED if latching else LATCHED):
        assert step(state, event) is None or step(state, event) in STATES
        return  # no alarm of that sort gets there
    one = One(LATCHING if latching else PLAIN)
    for deed in WAY_TO[state]:
        one.does(deed)
    assert one.state == state
    said = documented()[state, event]
    plain, _, latched = said.partition("; latching: ")
    expected = (latched if latching and latched else plain) or None
    if (state, event) == (SHELVED, "unshelve"):
        assert said == "unacknowledged, latched or normal"
        expected = NORMAL
    told = one.does(event)
    assert one.state == (expected or state)
    # off without a cause, on while it is on: nothing happens, nothing is told
    silent = expected is None or (state == SHELVED and event == "off")
    assert [(c.prev, c.state) for c in told] == ([] if silent else [(state, expected)])
    assert all(c.what in WHATS for c in told)


@pytest.mark.parametrize(
    ("rule", "deeds", "after"),
    [
        (PLAIN, ["on", "shelve", "unshelve"], UNACKNOWLEDGED),
        (PLAIN, ["on", "acknowledge", "shelve", "off", "unshelve"], NORMAL),
        (PLAIN, ["on", "off", "shelve", "unshelve"], NORMAL),
        (PLAIN, ["shelve", "on", "unshelve"], UNACKNOWLEDGED),
        (LATCHING, ["on", "shelve", "off", "unshelve"], LATCHED),
        (LATCHING, ["shelve", "on", "off", "unshelve"], LATCHED),
        (LATCHING, ["on", "off", "shelve", "unshelve"], LATCHED),
        (LATCHING, ["on", "off", "reset", "shelve", "unshelve"], NORMAL),
    ],
)
def test_what_is_beneath_a_shelf_is_there_when_it_ends_and_nobody_has_seen_it(
    rule: Rule, deeds: list[str], after: str
) -> None:
    one = One(rule)
    for deed in deeds:
        one.does(deed)
    assert one.state == after
    assert (one.alarms.kept("leak").unacknowledged is None) == (after == NORMAL)
    assert one.told[-1].what == "unshelved"


def test_a_shelved_alarm_tells_nobody_but_the_journal_and_drives_nothing() -> None:
    one = One(PLAIN)
    one.does("shelve")
    [came] = one.does("on")
    assert (came.state, came.prev, came.what, came.standing) == (SHELVED, SHELVED, CAME, False)
    assert came.data(None)["active"] is True and came.occurrence == 0
    [went] = one.does("off")
    assert went.what == WENT and went.data(None)["active"] is False
    one.later(HOUR_S)
    assert (one.state, one.told[-1].what, one.told[-1].by) == (NORMAL, "unshelved", "")


def test_an_acknowledged_latch_is_told_once_and_escalates_no_more() -> None:
    one = One(LATCHING._replace(escalate_s=(180.0,)))
    one.does("on")
    one.does("off")
    [acknowledged] = one.does("acknowledge", "city:duty-3")
    assert acknowledged.by == "city:duty-3" and acknowledged.data(None)["acknowledged"] is True
    assert one.does("acknowledge") == []
    one.later(600)
    assert one.told[-1] is acknowledged


def test_the_catalogue_knows_every_step() -> None:
    assert set(ALARM_STEPS) == set(WHATS)


# -- who may -----------------------------------------------------------------------------------------------------------


def test_only_who_the_site_file_names_may_acknowledge_shelve_or_reset() -> None:
    one = One(PLAIN._replace(ways=("button", "page"), shelve_s=2 * HOUR_S, on_site=True))
    one.does("on")
    with pytest.raises(Refused, match="found acknowledge of leak from city, expected from button or page; do it there"):
        one.does("acknowledge", "city:duty-3")
    with pytest.raises(Refused, match="found shelve of leak from desk"):
        one.does("shelve", "desk")
    with pytest.raises(Refused, match="found reset of leak from city, expected from desk or button or page"):
        one.does("reset", "city")
    assert one.state == UNACKNOWLEDGED
    assert one.does("acknowledge", "button:hall/ack")[0].state == ACKNOWLEDGED


@pytest.mark.parametrize(("hours", "most_h"), [(3.0, 2.0), (0.0, 2.0), (-1.0, 2.0), (float("nan"), 2.0), (0.5, 0.0)])
def test_a_shelf_has_a_limit_and_may_be_forbidden(hours: float, most_h: float) -> None:
    one = One(PLAIN._replace(shelve_s=most_h * HOUR_S))
    with pytest.raises(Refused, match="at most 2 h" if most_h else "never, by the site file's shelve_h"):
        one.alarms.shelve("leak", hours * HOUR_S, one.now_s)
    assert one.state == NORMAL


# -- restarts ----------------------------------------------------------------------------------------------------------


def again(one: One, rule: Rule, here: Here, now_s: float) -> One:
    """The gateway after a restart."""
    kept = msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(one.alarms.kept("leak")))), Kept)
    return One(rule, kept, here=here, now_s=now_s)


@pytest.mark.parametrize("deeds", [["on"], ["on", "acknowledge"], ["on", "off"], ["shelve"], ["shelve", "on"]])
def test_every_state_survives_a_restart_and_is_told_nobody_again(deeds: list[str]) -> None:
    one = One(PLAIN)
    for deed in deeds:
        one.does(deed)
    after = again(one, PLAIN, Here(1, WALL_S), one.now_s + 5)
    after.later(30)
    assert (after.state, after.told) == (one.state, [])
    assert after.alarms.kept("leak").active == one.alarms.kept("leak").active


@pytest.mark.parametrize(
    ("put_there", "boot", "off_s", "here", "lasts_s", "why"),
    [
        (Here(1, WALL_S), 1, 600.0, Here(1, WALL_S), HOUR_S - 600, "a restart: the same boot's clock goes on"),
        (Here(1, None), 1, 600.0, Here(1, None), HOUR_S - 600, "also without a wall"),
        (
            Here(1, WALL_S),
            2,
            600.0,
            Here(2, WALL_S + 5000),
            HOUR_S - 600,
            "a reboot: the wall says for how long",
        ),
        (Here(1, WALL_S), 2, 7200.0, Here(2, WALL_S + 5000), 0.0, "it ended while the box was off"),
        (Here(1, WALL_S), 2, 600.0, Here(2, None), 600.0, "nobody knows the time: ten minutes, then it ends"),
        (Here(1, None), 2, 600.0, Here(2, WALL_S), 0.0, "nobody knew the time when it was put there"),
        (Here(1, WALL_S), 2, -7200.0, Here(2, WALL_S + 5000), 0.0, "the wall went back"),
    ],
)
def test_a_shelf_never_lasts_longer_than_was_said(
    put_there: Here, boot: int, off_s: float, here: Here, lasts_s: float, why: str
) -> None:
    one = One(PLAIN, here=put_there)
    one.does("shelve")
    gone_s = 1.0  # `does` lets a second pass
    now_s = one.now_s + off_s
    if boot != 1 and here.offset_s is not None and put_there.offset_s is not None:
        now_s = one.now_s + put_there.offset_s + off_s - here.offset_s  # the new boot's clock shows another number
    after = again(one, PLAIN, here, now_s)
    after.later(max(1.0, lasts_s - gone_s - 1), every_s=1.0)
    if lasts_s:
        assert after.state == SHELVED, why
    after.later(3)
    assert after.state == NORMAL, why


def test_of_two_clocks_that_disagree_the_earlier_end_of_a_shelf_counts() -> None:
    one = One(PLAIN)
    one.does("shelve")
    replaced = again(one, PLAIN, Here(1, WALL_S + 7000), one.now_s + 60)  # another box, at the same boot number
    replaced.later(1)
    assert replaced.state == NORMAL


def test_escalation_counts_from_the_first_coming_nobody_saw_and_goes_on_after_a_restart() -> None:
    rule = PLAIN._replace(escalate_s=(180.0, 900.0))
    one = One(rule)
    one.does("on")
    one.later(100)
    one.does("off")
    one.does("on")
    one.later(78.5)
    assert [c.what for c in one.told] == [CAME, WENT, CAME, "escalated"]
    assert one.told[-1].data(None)["escalation"] == 1 and one.told[-1].state == UNACKNOWLEDGED
    after = again(one, rule, Here(2, WALL_S + 900), 100.0)
    after.later(900 + 1000 - 100)
    assert [c.kept.escalation for c in after.told] == [2]
    after.does("acknowledge")
    after.later(3600)
    assert [c.what for c in after.told] == ["escalated", "acknowledged"]


# -- chatter -----------------------------------------------------------------------------------------------------------

ROPE = Rule("leak", "漏水", "urgent", (parse("rope is wet"),))


def chattering(rule: Rule, seconds: int) -> One:
    """A contact at 10 Hz: 50 ms wet, 50 ms dry, with the box's ticks between."""
    one = One(rule)
    for _ in range(seconds * 10):
        for wet in (True, False):
            one.told += one.alarms.reading("rope", wet, one.now_s, one.now_s)
            one.now_s += 0.05
        one.told += one.alarms.tick(one.now_s)
    return one


@pytest.mark.parametrize(("rule", "ends"), [(ROPE, RETURNED), (ROPE._replace(latch=True), LATCHED)])
def test_a_contact_that_chatters_for_an_hour_at_10_hz_is_one_alarm_with_a_note(rule: Rule, ends: str) -> None:
    one = chattering(rule, 3600)
    assert [(c.what, c.state, c.occurrence) for c in one.told] == [
        (CAME, UNACKNOWLEDGED, 1), (CHATTERS, UNACKNOWLEDGED, 1),
    ]  # fmt: skip
    assert one.told[1].data(None)["chatter"] == {"times": 3, "within_s": 0.2}
    one.later(59)
    assert len(one.told) == 2, "not calm for long enough"
    one.later(2)
    assert [(c.what, c.state) for c in one.told[2:]] == [(CALM, UNACKNOWLEDGED), (WENT, ends)]
    assert one.told[2].kept.chatter["times"] == 36_000
    assert 3599 < one.told[2].kept.chatter["within_s"] < 3601
    assert one.told[3].kept.chatter is None


def test_chatter_goes_on_over_a_restart_and_three_slow_comings_are_three_alarms() -> None:
    one = chattering(ROPE, 10)
    after = again(one, ROPE, Here(1, WALL_S), one.now_s)
    for _ in range(100):
        after.told += after.alarms.reading("rope", True, after.now_s, after.now_s)
        after.later(0.1)
        after.told += after.alarms.reading("rope", False, after.now_s, after.now_s)
        after.later(0.1)
    assert after.told == []
    after.later(61)
    assert [c.what for c in after.told] == [CALM, WENT]
    for _ in range(3):
        for wet in (True, False):
            after.told += after.alarms.reading("rope", wet, after.now_s, after.now_s)
            after.later(40)
    assert [c.what for c in after.told[2:]] == [CAME, WENT] * 3


def test_a_number_at_its_limit_rings_once_with_a_deadband_and_comes_back_below_it() -> None:
    rule = PLAIN._replace(any=(parse("flow > 0.0005 deadband 0.0001"),))
    one = One(rule)
    for flow in [0.00051, 0.00049] * 50:
        one.told += one.alarms.reading("flow", flow, one.now_s, one.now_s)
        one.later(20)
    assert [c.what for c in one.told] == [CAME]
    one.told += one.alarms.reading("flow", 0.0004, one.now_s, one.now_s)
    assert [c.what for c in one.told] == [CAME, WENT]
    assert parse("t < 5 deadband 2").holds(6.0, held=True) and not parse("t < 5 deadband 2").holds(6.0)
    with pytest.raises(ValueError, match='found "-1", expected a number above 0'):
        parse("flow > 1 deadband -1")


def test_a_model_without_an_answer_ends_no_alarm_and_what_had_not_come_yet_begins_anew() -> None:
    one = One(PLAIN._replace(any=(parse("model:water-leak on flow > 0.9 for 10 min"),)))

    def scores(score: float | None) -> None:
        if score is None:
            one.alarms.no_score("water-leak", "flow")
        else:
            one.told += one.alarms.score("water-leak", "flow", score, one.now_s, lambda: {"model": "water-leak"})

    scores(0.95)
    one.later(590)
    scores(None)
    one.later(60)
    assert one.told == [], "ten minutes of evidence, not nine and a gap"
    scores(0.95)
    one.later(601)
    assert [c.what for c in one.told] == [CAME]
    scores(None)
    one.later(86_400, every_s=60)
    assert one.state == UNACKNOWLEDGED, "silence is no good news"
    scores(0.1)
    assert (one.state, one.told[-1].what) == (RETURNED, WENT)


# -- first-out and flood -----------------------------------------------------------------------------------------------


def test_a_flood_of_500_alarms_keeps_first_out_and_order_and_loses_none() -> None:
    names = [f"a{i}" for i in range(500)]
    severities = ["urgent" if i % 50 == 20 else "high" for i in range(500)]
    rules = [Rule(n, n, s, (), escalate_s=(3600.0,)) for n, s in zip(names, severities, strict=True)]
    alarms = Alarms([*rules, Rule("box:flood", "泛滥", "high", ())], {}, {}, 0.0)
    alarms.here = Here(1, WALL_S)
    told: list[Change] = []
    order = names[250:] + names[:250]  # not that of the site file
    for i, name in enumerate(order):
        told += alarms.fault(name, {"condition": "x", "value": True}, 100 + i * 0.01)
    came = [c for c in told if c.rule.name != "box:flood"]
    data = [c.data(None) for c in came]
    assert [c.rule.name for c in came] == order, "nothing is lost"
    assert [d["order"] for d in data] == list(range(1, 501))
    assert [d["alarm_id"] for d in data if d["first_out"]] == ["a250"]
    spoken_for = [d["alarm_id"] for d in data if d.get("summarised")]
    assert spoken_for == [n for n in order[10:] if severities[int(n[1:])] != "urgent"]
    [flood] = [c for c in told if c.rule.name == "box:flood"]
    assert told.index(flood) == 10 and flood.cause == {"condition": "flood", "value": 11, "first": "a250"}
    assert alarms.flooding() == {"alarms": 500, "first": "a250"}
    assert [row["alarm"] for row in alarms.told(200.0)][1:] == order
    ticks = [c for i in range(4000) for c in alarms.tick(105.0 + i)]
    again = [c.data(None) for c in ticks if c.what == ESCALATED]
    assert sorted(d["alarm_id"] for d in again) == sorted(names)
    assert {d["alarm_id"] for d in again if d.get("summarised")} == set(spoken_for), "their escalations, too"
    [over] = [c for c in ticks if c.rule.name == "box:flood"]
    assert over.what == WENT and over.cause["value"] == 500 and alarms.flooding() is None


def test_first_out_of_a_group_is_its_own_and_a_run_ends_after_ten_quiet_minutes() -> None:
    rules = [Rule(n, n, "high", (), group=g) for n, g in (("rope", "water"), ("flow", "water"), ("door", ""))]
    alarms = Alarms(rules, {}, {}, 0.0)
    alarms.here = Here(1, None)

    def comes(name: str, now_s: float) -> tuple[int, bool]:
        alarms.fault(name, None, now_s - 5)
        alarms.tick(now_s - 4)
        [change] = alarms.fault(name, {"condition": "x", "value": True}, now_s)
        return change.kept.order, change.kept.first_out

    assert comes("door", 100) == (1, True)
    assert comes("rope", 110) == (1, True), "of its group"
    assert comes("flow", 700) == (2, False)
    assert comes("door", 705) == (4, False), "of the centre's run"
    assert comes("door", 1400) == (1, True)
