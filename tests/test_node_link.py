"""The link to the nodes: frames and their numbers, from bytes on a line to facts, through noise and restarts."""

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.node_frame import (
    ACK,
    ASK,
    BEAT,
    CONFIG,
    DATA,
    EVENT,
    HELLO,
    LOST,
    NACK,
    REFUSED,
    Splitter,
    beat_payload,
    data_payload,
    encode,
    hello_payload,
    lost_payload,
    parse_ack,
    refused_payload,
)
from drivers.node_link import NodeLink
from drivers.node_settings import cfg_of
from drivers.reading import FAULT, Event, Reading, Run
from tests.line_world import BOOT, CONTACT1, FLOW1, FLOW2, LOOP1, LOOP2, PAD1, TEXT, Clock, numbers


@pytest.fixture
def clock() -> Clock:
    return Clock()


def hello(boot: int = BOOT, oldest: int = 1, text: str = TEXT) -> bytes:
    return encode(HELLO, boot, oldest, hello_payload(64, text))


def value(
    seq: int, value: float = 1.5, point: int = FLOW1, kind: int = DATA, boot: int = BOOT, age_ms: int = 0
) -> bytes:
    return encode(kind, boot, seq, data_payload(point, age_ms, value))


def lost(first: int, last: int, boot: int = BOOT) -> bytes:
    return encode(LOST, boot, last, lost_payload(first))


def said(link: NodeLink) -> list[tuple[int, int, int, int]]:
    """What the link wants to write now: (type, boot, received, durable), zeros for an ASK."""
    frames = Splitter().feed(link.outgoing())
    return [(kind, *(parse_ack(payload) if payload else (0, 0, 0))) for kind, _, _, payload in frames]


# Its settings.

WANTED = "loop_hold_ms=300"


def settings_sent(link: NodeLink) -> bool:
    return any(kind == CONFIG for kind, _, _, _ in Splitter().feed(link.outgoing()))


def test_settings_are_sent_again_ever_more_seldom_until_the_node_names_them(clock: Clock) -> None:
    link = NodeLink("n1", clock.mono_s, settings=WANTED)
    link.feed(hello(text=f"{TEXT};cfg=00000000 next=1"))
    sent_s = []
    began_s = clock.mono_s()
    for _ in range(2000):
        if settings_sent(link):
            sent_s.append(round(clock.mono_s() - began_s))
        clock.s += 0.1
    assert sent_s == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    link.feed(hello(text=f"{TEXT};cfg={cfg_of(WANTED):08x} next=1"))
    clock.s += 600
    assert not settings_sent(link) and link.cfg == cfg_of(WANTED)


def test_a_node_that_refused_is_left_alone_until_it_starts_again(clock: Clock) -> None:
    link = NodeLink("n1", clock.mono_s, settings=WANTED)
    has_none = f"{TEXT};cfg=00000000 next=1"
    link.feed(hello(text=has_none))
    assert settings_sent(link)
    link.feed(encode(REFUSED, BOOT, 0, refused_payload(cfg_of("tell_s=60"), "of an older text")))
    assert link.refused == ""
    link.feed(encode(REFUSED, BOOT, 0, refused_payload(cfg_of(WANTED), "found loop_hold_ms")))
    link.feed(hello(text=has_none))
    clock.s += 600
    assert not settings_sent(link) and link.refused == "found loop_hold_ms"
    link.feed(hello(boot=BOOT + 1, text=has_none))
    assert settings_sent(link) and link.refused == ""


# What a frame becomes.


def test_a_flow_comes_out_in_si_units_under_its_name_and_at_its_time(clock: Clock) -> None:
    link = NodeLink("n1", clock.mono_s)
    link.feed(hello())
    clock.s = 1010.0
    assert link.feed(value(1, 0.000125, FLOW2, age_ms=2500)) == [
        Reading("n1:flow2", 0.000125, 1007.5, BOOT, 1, "good", False)
    ]


@pytest.mark.parametrize(
    ("point", "code", "expected"),
    [
        (LOOP1, 0, "short"),
        (LOOP1, 1, "normal"),
        (LOOP2, 2, "alarm"),
        (LOOP2, 3, "cut"),
        (CONTACT1, 0, False),
        (CONTACT1, 1, True),
    ],
)
def test_codes_come_out_as_words_and_contacts_as_booleans(
    clock: Clock, point: int, code: int, expected: str | bool
) -> None:
    link = NodeLink("n1", clock.mono_s)
    (fact,) = link.feed(hello() + value(1, code, point, EVENT))
    assert isinstance(fact, Reading)
    assert fact.value is expected or fact.value == expected
    assert (type(fact.value), fact.urgent, fact.quality) == (type(expected), True, "good")


@pytest.mark.parametrize(
    ("point", "code", "name"),
    [
        (LOOP1, 4, "n1:loop1"),
        (CONTACT1, 0.5, "n1:contact1"),
        (FLOW1, math.inf, "n1:flow1"),
        (FLOW1, math.nan, "n1:flow1"),
        (77, 1.0, "n1:point77"),
    ],
)
def test_a_value_that_cannot_be_is_a_fault_and_not_a_plausible_lie(
    clock: Clock, point: int, code: float, name: str
) -> None:
    link = NodeLink("n1", clock.mono_s)
    (fact,) = link.feed(hello() + value(1, code, point))
    assert isinstance(fact, Reading)
    assert (fact.point, fact.quality, fact.seq) == (name, FAULT, 1)


@pytest.mark.parametrize(("code", "grade"), [(0, None), (1, 1), (5, 5)])
def test_a_key_of_a_rating_pad_is_an_event_and_no_key_is_rated_as_none(
    clock: Clock, code: int, grade: int | None
) -> None:
    link = NodeLink("n2", clock.mono_s)
    assert link.feed(hello() + value(1, code, PAD1, EVENT)) == [
        Event("n2", "ticket.rated", {"value": grade, "pad": "n2:pad1"}, 1000.0, BOOT, 1)
    ]


def test_a_frame_no_one_can_read_is_told_as_lost_and_does_not_stop_the_line(clock: Clock) -> None:
    link = NodeLink("n1", clock.mono_s)
    too_short = encode(DATA, BOOT, 1, b"\x01\x02")
    facts = link.feed(hello() + too_short + value(2, 9, PAD1) + value(3))
    assert numbers(facts) == [(1, 1), (2, 2), 3]
    assert link.frames_odd == 2


def test_a_heartbeat_says_how_the_node_is(clock: Clock) -> None:
    link = NodeLink("n1", clock.mono_s)
    clock.s = 1005.0
    link.feed(encode(BEAT, BOOT, 0, beat_payload(3600, 90_000, 2, 3290)))
    assert link.beat == {"uptime_s": 3600, "free_b": 90_000, "reset_cause": 2, "supply_mv": 3290}
    assert link.last_heard_s == 1005.0


def test_noise_is_no_sign_of_life(clock: Clock) -> None:
    link = NodeLink("n1", clock.mono_s)
    clock.s = 1060.0
    link.feed(b"\x00\x55\xaa\x55\x00")
    assert (link.last_heard_s, link.frames_bad) == (1000.0, 1)


# HELLO: who is there, and from where it can go on.


@pytest.mark.parametrize(
    ("mark", "boot", "oldest", "received", "durable", "gone"),
    [
        pytest.param((0, 0), 3, 1, 0, 0, [], id="first meeting"),
        pytest.param((0, 0), 3, 50, 49, 49, [], id="a replaced gateway asks for nothing that another one has"),
        pytest.param((3, 17), 3, 18, 17, 17, [], id="known boot, goes on"),
        pytest.param((3, 17), 3, 5, 17, 17, [], id="known boot, repeats"),
        pytest.param((3, 17), 3, 20, 19, 17, [(18, 19)], id="known boot, a hole that it cannot fill"),
        pytest.param((3, 17), 4, 1, 0, 0, [], id="rebooted"),
        pytest.param((3, 17), 4, 0, 0, 0, [], id="a number below the first one"),
    ],
)
def test_after_a_hello_the_line_goes_on_where_the_disk_is(
    clock: Clock,
    mark: tuple[int, int],
    boot: int,
    oldest: int,
    received: int,
    durable: int,
    gone: list[tuple[int, int]],
) -> None:
    link = NodeLink("n1", clock.mono_s, mark)
    assert numbers(link.feed(hello(boot, oldest))) == gone
    assert (link.hello, link.boot, link.received, link.durable_seq, link.ring) == (True, boot, received, durable, 64)
    assert said(link) == [(ACK, boot, received, durable)]


def test_a_repeated_hello_never_takes_back_what_was_received(clock: Clock) -> None:
    link = NodeLink("n1", clock.mono_s)
    link.feed(hello() + value(1) + value(2) + value(3))
    link.durable(BOOT, 1)
    assert link.feed(hello(oldest=2)) == []
    assert (link.received, link.durable_seq) == (3, 1)


def test_before_a_hello_nothing_is_taken_and_one_is_asked_for_each_second(clock: Clock) -> None:
    link = NodeLink("n1", clock.mono_s, (BOOT, 17))
    assert link.feed(value(18)) == []
    assert [kind for kind, *_ in said(link)] == [ASK]
    asked = 0
    for _ in range(50):
        clock.s += 0.1
        link.tick()
        asked += len(said(link))
    assert asked == 5


def test_a_rebooted_node_whose_hello_got_lost_is_asked_for_it(clock: Clock) -> None:
    link = NodeLink("n1", clock.mono_s)
    link.feed(hello() + value(1))
    said(link)
    assert link.feed(value(1, boot=BOOT + 1)) == []
    assert [kind for kind, *_ in said(link)] == [ASK]
    assert numbers(link.feed(hello(BOOT + 1) + value(1, boot=BOOT + 1))) == [1]


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (struct.pack("<BH", 2, 64) + TEXT.encode(), "version 2"),
        (struct.pack("<BH", 1, 64) + b"fw flow*2", "no ';'"),
        (struct.pack("<BH", 1, 64) + b"fw;flow", "'flow'"),
        (struct.pack("<BH", 1, 64) + b"fw;flow*999 loop*999", "more than 1024"),
        (struct.pack("<BH", 1, 64) + b"\xff\xfe;flow*1", "utf-8"),
        (b"\x01", "3 bytes"),
    ],
)
def test_a_hello_that_cannot_be_used_says_why_and_what_to_do(clock: Clock, payload: bytes, found: str) -> None:
    link = NodeLink("n1", clock.mono_s)
    link.feed(encode(HELLO, BOOT, 1, payload))
    assert not link.hello
    assert found in link.error and "Expected" in link.error and "firmware" in link.error
    link.feed(hello())
    assert link.hello and link.error == ""


# Order: the next number, a repeat, a hole, a loss.


@pytest.mark.parametrize(
    ("frames", "taken", "answer"),
    [
        pytest.param([value(11), value(12)], [11, 12], (ACK, 12), id="in order"),
        pytest.param([value(9), value(10)], [], (ACK, 10), id="repeats are acked again"),
        pytest.param([value(12), value(13)], [], (NACK, 10), id="a hole is refused"),
        pytest.param([value(11), value(13), value(12)], [11, 12], (NACK, 12), id="what came after a hole is not kept"),
        pytest.param([lost(11, 20), value(21)], [(11, 20), 21], (ACK, 21), id="a loss fills its numbers"),
        pytest.param([lost(5, 14)], [(11, 14)], (ACK, 14), id="what had arrived before is not lost"),
        pytest.param([lost(5, 10)], [], (ACK, 10), id="a loss of what had arrived is none"),
        pytest.param([lost(12, 20)], [], (NACK, 10), id="a loss beyond a hole"),
    ],
)
def test_frames_count_only_in_order(
    clock: Clock, frames: list[bytes], taken: list[int | tuple[int, int]], answer: tuple[int, int]
) -> None:
    link = NodeLink("n1", clock.mono_s, (BOOT, 10))
    link.feed(hello(oldest=11))
    said(link)
    assert numbers(link.feed(b"".join(frames))) == taken
    assert said(link) == [(answer[0], BOOT, answer[1], 10)]


def test_a_hole_is_complained_about_at_most_each_50_ms(clock: Clock) -> None:
    link = NodeLink("n1", clock.mono_s)
    link.feed(hello())
    said(link)
    nacks = 0
    for seq in range(2, 202):  # 200 frames behind a hole, one each millisecond
        link.feed(value(seq))
        nacks += len(said(link))
        clock.s += 0.001
    assert nacks == 4


def test_received_alone_is_told_at_most_each_50_ms_and_never_forgotten(clock: Clock) -> None:
    link = NodeLink("n1", clock.mono_s)
    link.feed(hello())
    said(link)
    acks = 0
    for seq in range(1, 201):  # one each millisecond
        link.feed(value(seq))
        acks += len(said(link))
        clock.s += 0.001
    assert acks == 4
    link.durable(BOOT, 130)  # this makes room in the ring, so it does not wait
    assert said(link) == [(ACK, BOOT, 200, 130)]
    link.feed(value(201) + value(150))
    clock.s += 0.1
    link.tick()
    assert said(link) == [(ACK, BOOT, 201, 130)]


def test_durable_is_told_at_once_and_repeated_each_second(clock: Clock) -> None:
    link = NodeLink("n1", clock.mono_s)
    link.feed(hello() + b"".join(value(seq) for seq in range(1, 41)))
    assert said(link) == [(ACK, BOOT, 40, 0)]
    assert link.undurable == 40 > link.ring / 2
    link.durable(BOOT, 40)
    assert link.undurable == 0
    assert said(link) == [(ACK, BOOT, 40, 40)]
    for _ in range(9):
        clock.s += 0.1
        link.tick()
        assert said(link) == []
    clock.s += 0.11
    link.tick()
    assert said(link) == [(ACK, BOOT, 40, 40)]


@pytest.mark.parametrize(("boot", "seq"), [(BOOT - 1, 2), (BOOT, 0), (BOOT, 9)])
def test_a_durable_number_of_another_boot_or_never_received_changes_nothing(clock: Clock, boot: int, seq: int) -> None:
    link = NodeLink("n1", clock.mono_s)
    link.feed(hello() + value(1) + value(2))
    link.durable(BOOT, 1)
    link.durable(boot, seq)
    assert link.durable_seq == 1


# Columns: what a busy line says in one read.


class FrameByFrame(NodeLink):
    """A link that never takes a read as a whole."""

    def _run(self, bodies: list[bytes], now_s: float) -> None:
        return None


def test_a_read_of_nothing_but_the_next_plain_values_comes_as_columns(clock: Clock) -> None:
    link = NodeLink("n1", clock.mono_s)
    link.feed(hello())
    heard = link.hear(value(1, 0.25, FLOW1) + value(2, 0.5, FLOW2, age_ms=2000))
    assert heard == [Run("n1", BOOT, 1, ["n1:flow1", "n1:flow2"], (0.25, 0.5), [1000.0, 998.0])]
    assert (link.received, heard[0].last) == (2, 2)


def mostly(usual: object, *odd: object) -> st.SearchStrategy:
    return st.sampled_from([usual] * 12 + list(odd))


ROWS = st.tuples(
    mostly(1, 0, 2),  # how far from the last number
    mostly(0.5, math.nan, math.inf, 1e308, 3.0),
    mostly(FLOW1, FLOW2, LOOP1, PAD1, CONTACT1, 77),
    mostly(DATA, EVENT),
    mostly(BOOT, BOOT + 1),
)
ODD = st.sampled_from([hello(), hello(BOOT + 1), lost(2, 4), encode(DATA, BOOT, 2, b"odd"), b"\0noise\0"])


@settings(max_examples=400)
@given(st.lists(st.lists(ROWS, max_size=5) | ODD, max_size=6))
def test_columns_say_exactly_what_the_frames_say_one_by_one(reads: list[bytes | list[tuple]]) -> None:
    clock = Clock()
    whole, single = NodeLink("n1", clock.mono_s), FrameByFrame("n1", clock.mono_s)
    seq = 0
    for read in [hello(), *reads]:
        wire = read if isinstance(read, bytes) else b""
        for step, number, point, kind, boot in () if wire else read:
            seq += step
            wire += value(seq, number, point, kind, boot, age_ms=seq)
        assert repr(whole.feed(wire)) == repr(single.feed(wire))  # repr: nan is nan
        assert (whole.received, whole.frames_odd) == (single.received, single.frames_odd)
        assert said(whole) == said(single)
