"""The node's end of the link, as simulated nodes and the firmware use it: what is sent, kept, and sent again."""

import struct

import pytest

from drivers.node_frame import ACK, ASK, BEAT, DATA, EVENT, HELLO, NACK, Splitter, ack_payload, encode
from drivers.node_link import NodeLink
from drivers.node_side import NodeSide
from drivers.reading import Fact
from tests.line_world import BOOT, FLOW1, LOOP1, TEXT, Clock, numbers


@pytest.fixture
def clock() -> Clock:
    return Clock()


def node(clock: Clock, ring: int = 4) -> NodeSide:
    return NodeSide(BOOT, ring, TEXT, clock.mono_ms)


def heard(side: NodeSide, bytes_max: int = 10_000) -> list[tuple[int, int]]:
    return [(kind, seq) for kind, _, seq, _ in Splitter().feed(side.outgoing(bytes_max))]


def ack(received: int, durable: int, kind: int = ACK, boot: int = BOOT) -> bytes:
    return encode(kind, boot, 0, ack_payload(boot, received, durable))


def test_a_full_ring_refuses_counts_and_is_freed_by_what_is_durable_alone(clock: Clock) -> None:
    side = node(clock)
    assert [side.add(DATA, FLOW1, 1.0) for _ in range(5)] == [1, 2, 3, 4, None]
    assert (side.refused, side.undurable, side.free) == (1, 4, 0)
    assert heard(side) == [(HELLO, 1), (DATA, 1), (DATA, 2), (DATA, 3), (DATA, 4)]
    side.feed(ack(4, 0))
    assert side.add(DATA, FLOW1, 1.0) is None
    side.feed(ack(4, 3))
    assert side.add(EVENT, LOOP1, 1.0) == 5
    assert heard(side) == [(EVENT, 5)]


def test_a_node_goes_back_when_told_when_stuck_and_when_asked_who_it_is(clock: Clock) -> None:
    side = node(clock)
    for _ in range(4):
        side.add(DATA, FLOW1, 1.0)
    heard(side)
    assert heard(side) == []
    side.feed(ack(1, 1, NACK))
    assert heard(side) == [(DATA, 2), (DATA, 3), (DATA, 4)]
    side.feed(ack(2, 1))
    clock.s += 0.499
    assert heard(side) == []
    clock.s += 0.001
    assert heard(side) == [(DATA, 3), (DATA, 4)]
    side.feed(encode(ASK, 0, 0))
    assert heard(side) == [(HELLO, 2), (DATA, 2), (DATA, 3), (DATA, 4)]
    side.feed(ack(4, 4))
    side.reset_line()
    assert heard(side) == [(HELLO, 5)]


def test_a_gateway_that_knows_less_than_it_once_said_is_sent_what_it_lacks(clock: Clock) -> None:
    side = node(clock)
    for _ in range(4):
        side.add(DATA, FLOW1, 1.0)
    heard(side)
    side.feed(encode(ASK, 0, 0) + ack(3, 1))  # the question of its new run, overtaken by a word of the old one
    assert heard(side) == [(HELLO, 2), (DATA, 4)]
    side.feed(ack(1, 1, NACK))
    assert heard(side) == [(DATA, 2), (DATA, 3), (DATA, 4)]


def test_progress_however_slow_is_not_stuck(clock: Clock) -> None:
    side = node(clock)
    for _ in range(4):
        side.add(DATA, FLOW1, 1.0)
    heard(side)
    for received in (1, 2, 3, 4):
        clock.s += 0.4
        side.feed(ack(received, 0))
        assert heard(side) == []


@pytest.mark.parametrize("wrong", [ack(9, 0), ack(1, 2), ack(2, 2, boot=BOOT - 1), encode(ACK, BOOT, 0, b"short")])
def test_marks_that_cannot_be_ours_free_nothing(clock: Clock, wrong: bytes) -> None:
    side = node(clock)
    for _ in range(4):
        side.add(DATA, FLOW1, 1.0)
    side.feed(wrong)
    assert (side.received, side.durable, side.free) == (0, 0, 0)


def test_an_age_is_taken_when_a_frame_is_sent_and_saturates(clock: Clock) -> None:
    side, link = node(clock), NodeLink("n1", clock.mono_s)
    side.add(DATA, FLOW1, 1.0)
    clock.s += 30.25
    (fact,) = link.feed(side.outgoing(1000))
    assert fact.mono_s == pytest.approx(1000.0)
    clock.s += 5_000_000.0
    side.reset_line()
    ages = [
        struct.unpack("<HId", payload)[1]
        for kind, _, _, payload in Splitter().feed(side.outgoing(1000))[1:]
        if kind == DATA
    ]
    assert ages == [0xFFFFFFFF]


def test_what_a_node_had_to_give_up_arrives_as_a_loss_with_its_numbers(clock: Clock) -> None:
    side, link = node(clock), NodeLink("n1", clock.mono_s)
    for _ in range(4):
        side.add(DATA, FLOW1, 1.0)
    assert side.give_up(3) == (1, 3)
    assert side.add(EVENT, LOOP1, 2.0) == 5
    assert numbers(link.feed(side.outgoing(1000))) == [(1, 3), 4, 5]
    link.durable(BOOT, 5)
    side.feed(link.outgoing())
    assert (side.undurable, side.free, side.give_up(2)) == (0, 4, None)


def test_messages_leave_whole_and_never_more_than_the_line_takes(clock: Clock) -> None:
    side = node(clock, ring=100)
    for _ in range(100):
        side.add(DATA, FLOW1, 1.0)
    link = NodeLink("n1", clock.mono_s)
    facts: list[Fact] = []
    while chunk := side.outgoing(70):
        assert len(chunk) <= 70
        facts += link.feed(chunk)
    assert numbers(facts) == list(range(1, 101))
    assert link.frames_bad == 0


def test_a_node_beats_each_five_seconds_whatever_else_it_has_to_say(clock: Clock) -> None:
    side, link = node(clock), NodeLink("n1", clock.mono_s)
    side.supply_mv = 3300
    beats = 0
    for _ in range(60):
        clock.s += 1.0
        chunk = side.outgoing(500)
        link.feed(chunk)
        beats += sum(kind == BEAT for kind, *_ in Splitter().feed(chunk))
    assert beats == 12
    assert link.beat["uptime_s"] == 60 and link.beat["supply_mv"] == 3300


@pytest.mark.parametrize("ring", [0, 65_536])
def test_a_ring_that_no_hello_can_name_is_refused(clock: Clock, ring: int) -> None:
    with pytest.raises(ValueError, match="1 to 65535"):
        node(clock, ring)
