"""What an alarm says can be done to it, which decides the buttons of the page, is what can be done."""

import pytest

from gateway.alarm_life import ACKNOWLEDGE, EVENTS, RESET, SHELVE, STATES, UNSHELVE, WAYS, Kept, Life, Refused, Rule
from gateway.conditions import parse
from gateway.moment import Here


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("on_site", [True, False])
def test_what_is_said_to_be_possible_is_what_can_be_done(way, state, on_site):
    """`may` decides which buttons there are; the deeds themselves decide what happens."""
    ways = ("button", "page") if on_site else WAYS
    rule = Rule("leak", "Leak", "urgent", (parse("rope is wet"),), latch=True, ways=ways, on_site=on_site, shelve_s=60)
    deeds = {
        ACKNOWLEDGE: lambda life: life.acknowledge(1.0, Here(), way), RESET: lambda life: life.reset(1.0, Here(), way),
        SHELVE: lambda life: life.shelve(60.0, 1.0, Here(), way),
        UNSHELVE: lambda life: life.unshelve(1.0, Here(), way),
    }  # fmt: skip
    for deed, do in deeds.items():
        life = _in_state(rule, state)
        try:
            done = bool(do(life))
        except Refused:
            done = False
        again = deed == SHELVE and state == "shelved"  # could be, but it is there already
        assert (deed in _in_state(rule, state).may(way)) == (done and not again), deed
    assert set(_in_state(rule, state).may(way)) <= set(EVENTS)


def _in_state(rule: Rule, state: str) -> Life:
    life = Life(rule, Kept(), 0.0)
    if state == "normal":
        return life
    life.on({}, 0.0, Here())
    if state in ("latched", "returned-unacknowledged"):
        life.off(0.0, Here())
        life.kept.state = state
    elif state == "acknowledged":
        life.acknowledge(0.0, Here(), rule.ways[0])
    elif state == "shelved":
        life.shelve(60.0, 0.0, Here(), rule.ways[0])
    return life
