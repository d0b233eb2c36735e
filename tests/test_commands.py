"""Which of the city's commands pass, which sentence refuses the others, and that none is done twice."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.commands import KEEP, REMEMBERED_MAX, Again, Commands, Delivery, Order, Refusal
from gateway.contract import Label
from gateway.contract_commands import ARGS, COMMAND_BYTES_MAX, OPERATE, READ, REASONS, envelope
from gateway.signing import sign
from tests.command_rig import CITY, NOW_S, SESSION, STRANGER, TO, asked, body, signed


class Clock:
    wall: float | None = NOW_S

    def label(self) -> Label:
        return Label(7, 100.0, self.wall, "ntp" if self.wall else "unsure", None, "cfg00000")


def commands(kept: dict[str, object] | None = None, clock: Clock | None = None, **changed: Any) -> Commands:
    told = {"obeys": (READ, OPERATE), "keys": [CITY.public]} | changed
    rows: dict[str, object] = {} if kept is None else kept
    return Commands(TO, told["obeys"], told["keys"], (clock or Clock()).label, dict(rows), rows.__setitem__)


def judged(payload: bytes, kind: str = OPERATE, **changed: Any) -> Order | Again | Refusal:
    return commands(**changed).judge(Delivery(kind, payload, SESSION))


# -- what passes -------------------------------------------------------------------------------------------------------


def test_a_signed_command_for_this_box_this_connection_and_this_hour_passes() -> None:
    order = judged(signed(body()))
    assert isinstance(order, Order)
    assert (order.do, order.by, order.key) == ("acknowledge", "张三", CITY.public.name)


def test_a_read_needs_no_signature_no_name_and_no_end() -> None:
    assert isinstance(judged(asked(), READ), Order)


def test_what_is_signed_is_the_text_as_it_stands_there() -> None:
    text = '{ "do":"acknowledge",   "args" : {"alarm":"leak"}, ' + json.dumps(body(do=None, args=None))[1:]
    assert isinstance(judged(envelope(text, sign(text.encode(), CITY, ""))), Order)
    assert isinstance(judged(envelope(json.dumps(json.loads(text)), sign(text.encode(), CITY, ""))), Refusal)


# -- what is refused ---------------------------------------------------------------------------------------------------

NO_CLOCK = Clock()
NO_CLOCK.wall = None
UNSIGNED = envelope(json.dumps(body()), None)
TWO = signed(body()).replace(b'\\"acknowledge', b'\\"reset', 1)

REFUSED = [
    ("unsigned", OPERATE, UNSIGNED, {}, "found no sig, expected the body's signature by a key of uplink.keys; sign"),
    ("signature", OPERATE, signed(body(), STRANGER), {}, f"by key {STRANGER.public.name}, expected one of"),
    ("signature", OPERATE, signed(body()), {"keys": []}, "expected one of none at all; sign with that, or add the key"),
    ("signature", OPERATE, TWO, {}, "of something else, expected one of exactly these"),
    ("signature", OPERATE, envelope(json.dumps(body()), "mine"), {}, "expected the four lines of a .minisig file"),
    ("expired", OPERATE, signed(body(expires_at=NOW_S - 1)), {},
     "found expires_at 2027-01-15T07:59:59.000Z, expected one after 2027-01-15T08:00:00.000Z; send it anew"),
    ("expired", OPERATE, signed(body(expires_at=NOW_S)), {}, "expected one after"),
    ("expired", OPERATE, signed(body(expires_at=NOW_S + 3601)), {}, "expected one within the hour after 2027-01-15"),
    ("expired", OPERATE, signed(body(expires_at=1e300)), {}, "found expires_at 1e+300, expected one within the hour"),
    ("clock-unsure", OPERATE, signed(body()), {"clock": NO_CLOCK}, "box does not know the time, expected to judge"),
    ("clock-unsure", READ, asked(expires_at=NOW_S + 1), {"clock": NO_CLOCK}, "wait for linli.clock.synced.v1"),
    ("session", OPERATE, signed(body(session=SESSION - 1)), {}, f"found session 65536, expected {SESSION}, the conn"),
    ("session", READ, asked(session=SESSION + 1), {}, "look at status and state, then ask anew"),
    ("other-gateway", OPERATE, signed(body(to="linli/house-b")), {}, "found a command to 'linli/house-b', expected"),
    ("too-big", OPERATE, signed(body(args={"alarm": "x" * COMMAND_BYTES_MAX})), {}, "expected at most 16384; ask"),
    ("not-obeyed", OPERATE, signed(body()), {"obeys": (READ,)}, "class operate, expected read at this centre; add it"),
    ("unknown", OPERATE, signed(body(do="explode")), {}, "found 'explode' on down/operate, expected one of ackn"),
    ("unknown", OPERATE, signed(body(do="state")), {}, "see docs/commands.md for the topic of each"),
    ("unknown", READ, asked(do="acknowledge"), {}, "found 'acknowledge' on down/read, expected one of state, health"),
    ("arguments", OPERATE, signed(body(args={"alarm": 3})), {}, "Expected `str`, got `int` - at `$.alarm`"),
    ("arguments", OPERATE, signed(body(args={"alarm": "leak", "hours": 3})), {}, "unknown field `hours`"),
    ("arguments", OPERATE, signed(body(args={})), {}, "missing required field `alarm`"),
    ("arguments", OPERATE, signed(body(by=None)), {}, "found no by, expected who wants it"),
    ("arguments", OPERATE, signed(body(expires_at=None)), {}, "found no expires_at, expected UTC seconds within the"),
    ("unreadable", OPERATE, signed(body(expire_at=1)), {}, "unknown field `expire_at`, expected it as in docs/"),
    ("unreadable", OPERATE, signed(body(by="a\nb")), {}, "found a body with Expected `str` matching regex"),
    ("unreadable", READ, asked(session="1"), {}, "Expected `int`, got `str` - at `$.session`"),
    ("unreadable", READ, asked().replace(b'"v":1', b'"v":2'), {}, "found Invalid enum value 2"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "kind", "payload", "here", "said"), REFUSED)
def test_a_command_that_may_not_be_done_is_refused_with_a_sentence(
    reason: str, kind: str, payload: bytes, here: dict[str, Any], said: str
) -> None:
    found = judged(payload, kind, **here)
    assert isinstance(found, Refusal), found
    assert found.reason == reason
    assert said in found.why
    assert found.why.startswith("found ") and ", expected " in found.why and "; " in found.why
    assert found.request_id == "0001-acknowledge"


def test_the_table_above_has_every_reason_that_is_judged_before_the_deed() -> None:
    later = {"request-id", "busy", "not-possible"}
    assert {reason for reason, *_ in REFUSED} == set(REASONS) - later


@pytest.mark.parametrize("payload", [b"", b"{}", b"[1]", b"\xff", b"[" * 20_000, b'{"v":1,"body":"{}"}', b'{"body":3}'])
def test_what_nobody_can_be_answered_for_is_refused_all_the_same(payload: bytes) -> None:
    for kind in (READ, OPERATE):
        found = judged(payload, kind)
        assert isinstance(found, Refusal)
        assert found.request_id is None


# -- once --------------------------------------------------------------------------------------------------------------


def done(here: Commands, payload: bytes, session: int = SESSION) -> Order | Again | Refusal:
    """Carried out, if it is to be."""
    found = here.judge(Delivery(OPERATE, payload, session))
    if isinstance(found, Order):
        here.remember(found, {"status": "done", "data": {"by": found.by}})
    return found


def test_a_command_delivered_again_gets_the_same_answer_also_after_a_restart_and_too_late() -> None:
    kept: dict[str, object] = {}
    clock = Clock()
    assert isinstance(done(commands(kept, clock), signed(body())), Order)
    clock.wall = NOW_S + 10_000
    later = commands(json.loads(json.dumps(kept)), clock)
    assert done(later, signed(body()), SESSION + 5) == Again(
        "0001-acknowledge", {"status": "done", "data": {"by": "张三"}}
    )


def test_who_has_no_signature_is_not_told_what_was_answered() -> None:
    here = commands()
    done(here, signed(body()))
    found = done(here, UNSIGNED)
    assert isinstance(found, Refusal) and found.reason == "unsigned"


def test_a_name_that_was_used_for_another_command_is_refused() -> None:
    here = commands()
    done(here, signed(body()))
    found = done(here, signed(body(args={"alarm": "cord"})))
    assert isinstance(found, Refusal)
    assert (found.reason, "expected a new request_id" in found.why) == ("request-id", True)


def test_a_row_of_the_memory_is_given_away_only_when_its_command_could_not_be_done_again() -> None:
    clock, kept = Clock(), {}
    here = commands(kept, clock)
    for i in range(REMEMBERED_MAX):
        assert isinstance(done(here, signed(body(request_id=f"request-{i:04}"))), Order)
    more = signed(body(request_id="one-too-many", expires_at=NOW_S + 300))
    found = done(here, more)
    assert isinstance(found, Refusal) and found.reason == "busy"
    for i in range(REMEMBERED_MAX):
        assert isinstance(done(here, signed(body(request_id=f"request-{i:04}"))), Again)
    clock.wall = NOW_S + 61
    assert isinstance(done(here, more), Order)
    assert len(kept) == REMEMBERED_MAX and all(name.startswith(KEEP) for name in kept)
    assert isinstance(done(here, more), Again)


TEXT = st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
VERBS = st.sampled_from([verb for by_verb in ARGS.values() for verb in by_verb]) | TEXT
ALMOST = st.fixed_dictionaries(
    {},
    optional={
        "request_id": st.just("fuzz-request-1") | JSON, "to": st.just(TO) | JSON, "session": st.just(SESSION) | JSON,
        "do": VERBS, "args": st.dictionaries(st.sampled_from(["alarm", "output", "mode", "hours"]), JSON) | JSON,
        "expires_at": st.just(NOW_S + 9) | JSON, "by": st.just("x") | JSON, "more": JSON,
    },
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200) | JSON.map(lambda any: json.dumps(any).encode()) | ALMOST.map(signed), st.booleans())
def test_whatever_comes_there_is_one_verdict_and_whoever_can_be_answered_is(payload: bytes, reads: bool) -> None:
    found = judged(payload, READ if reads else OPERATE)
    if isinstance(found, Refusal):
        assert found.reason in REASONS and found.why.startswith("found ")
        if b'\\"request_id\\": \\"fuzz-request-1\\"' in payload:
            assert found.request_id == "fuzz-request-1"
    else:
        assert isinstance(found, Order)
