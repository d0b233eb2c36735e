"""What seeded nights found in the product: each bug by the shortest way there."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from drivers.kiosk_line import KioskLink
from drivers.kiosk_side import KioskSide
from drivers.node_frame import DATA
from drivers.node_link import NodeLink
from drivers.node_side import NodeSide
from drivers.reading import Event, Reading, Run
from gateway import journal
from gateway.clock import UNSURE, Belief, SystemClock
from gateway.contract import Record, Topics
from gateway.link import Identity, Link
from gateway.pending import Pending
from gateway.reader import Reader
from gateway.session import Session, Shared
from simulator.virtual_disk import VirtualDisk
from tests.test_store import Hand, opened, work

# -- a disk that fails at the worst moment ---------------------------------------------------------------------------


def test_what_a_failing_disk_did_not_take_back_is_taken_back_before_the_next_commit(tmp_path: Path) -> None:
    hand = Hand()
    store = opened(tmp_path, hand)
    store._db.execute("BEGIN IMMEDIATE")
    store._db.execute("INSERT INTO keep VALUES ('half', '1')")
    store.commit([work(hand, events=1)])
    assert "half" not in store.kept()
    assert store.heads()["events"] == 2


def test_a_full_disk_does_not_keep_a_store_from_ending(tmp_path: Path) -> None:
    disk = VirtualDisk()
    try:
        hand = Hand()
        store = opened(tmp_path, hand, vfs=disk.name)
        store.commit([work(hand, events=1)])
        disk.room_bytes = 0
        store.close()
        disk.mend()
        again = opened(tmp_path, hand, vfs=disk.name)
        assert again.unclean
        assert again.heads()["events"] == 2
        again.close()
    finally:
        disk.close()


# -- a set that is ordered by the hashes of its words ----------------------------------------------------------------


def test_the_journal_lets_go_of_its_streams_in_one_order(tmp_path: Path) -> None:
    store = opened(tmp_path, Hand())
    asked: list[str] = []
    store._db.set_trace_callback(asked.append)
    journal.forget(store._db, ["readings", "events"])
    journal.forget(store._db, ["events", "readings"])
    assert len(set(asked)) == 2
    assert asked[:2] == asked[2:]


# -- a source that gave up more than its ring holds ------------------------------------------------------------------


def told(link: KioskLink | NodeLink, side: KioskSide | NodeSide) -> int:
    """How many facts the link took of all that the device says until it is silent. It never hears an answer."""
    facts = 0
    while out := side.outgoing(4096):
        facts += sum(len(fact.points) if isinstance(fact, Run) else 1 for fact in link.hear(out))
        side.received = side.next - 1  # an answer without `durable` got through
    return facts


def kiosk() -> tuple[KioskSide, Callable[[], object]]:
    side = KioskSide(1, 10, "hall", lambda: 0)
    return side, lambda: side.add("issued", {"service": "A", "label": "A001"})


def node() -> tuple[NodeSide, Callable[[], object]]:
    side = NodeSide(1, 10, "fw;flow*1", lambda: 0)
    return side, lambda: side.add(DATA, 0, 1.0)


@pytest.mark.parametrize(("made", "link"), [(kiosk, KioskLink), (node, NodeLink)])
def test_a_source_is_known_again_though_its_numbers_reach_further_than_its_ring(
    made: Callable[[], tuple[KioskSide | NodeSide, Callable[[], object]]], link: type[KioskLink | NodeLink]
) -> None:
    side, add = made()
    first = link("x1", lambda: 0.0)
    facts = 0
    for _ in range(5):  # nothing becomes durable, and the ring is given up again and again
        side.give_up(side.ring - side.free)
        for _ in range(10):
            add()
        facts += told(first, side)
    assert facts == 50
    again = link("x1", lambda: 0.0, (1, 50))  # the gateway starts anew with all of it durable
    side.reset_line()
    assert told(again, side) == 0


@pytest.mark.parametrize(("made", "link"), [(kiosk, KioskLink), (node, NodeLink)])
def test_a_fact_whose_last_byte_was_lost_is_not_stamped_by_the_next_one(
    made: Callable[[], tuple[KioskSide | NodeSide, Callable[[], object]]], link: type[KioskLink | NodeLink]
) -> None:
    side, add = made()
    now_s = 100.0
    side._mono_ms = lambda: round(now_s * 1000)
    gateway = link("x1", lambda: now_s)
    gateway.feed(side.outgoing(4096))
    add()
    heard = gateway.feed(side.outgoing(4096)[:-1])
    for _ in range(20):
        now_s += 0.1
        gateway.tick()
    heard += gateway.feed(side.outgoing(4096))
    (fact,) = heard
    assert isinstance(fact, Reading | Event)
    assert fact.mono_s == pytest.approx(100.0)


# -- time ------------------------------------------------------------------------------------------------------------


class SetByHand(SystemClock):
    def __init__(self) -> None:
        super().__init__("kernel")
        self.mono, self.wall, self.disciplined = 100.0, 1_800_000_000.0, True

    def mono_s(self) -> float:
        return self.mono

    def wall_s(self) -> float:
        return self.wall

    def _ask_kernel(self) -> Belief:
        return Belief("ntp", 0.01) if self.disciplined else UNSURE


def test_a_clock_that_somebody_sets_is_not_believed_for_another_second() -> None:
    clock = SetByHand()
    assert clock.belief().clock == "ntp"
    clock.mono += 0.2  # sooner than the kernel would be asked again
    clock.wall += 18_000.0
    clock.disciplined = False
    assert clock.belief().clock == "unsure"


def test_events_that_are_due_are_closed_even_where_seconds_have_no_exact_half() -> None:
    hand = Hand()
    at_s = 0.0
    dice = random.Random(1)
    while (at_s + 1.0) - at_s >= 1.0:  # a moment of which floats say that a second later is not yet a second later
        at_s = dice.uniform(30.0, 60.0)
    pending = Pending(hand.label, 10.0, 30.0)
    pending.record("events", Record("ticket.issued", "k1", at_s, {"value": "A001"}), at_s)
    pending.take(at_s, dense=True)
    pending.take(at_s + 1.0, dense=True)
    due_s = pending.due_in_s(at_s + 1.0)
    assert due_s is None or due_s > 0, "due at once for ever: the loop would turn without end"


# -- a broker that takes little --------------------------------------------------------------------------------------


class SlowWire:
    """It takes everything and answers nothing, like a broker behind a slow line."""

    def __init__(self, listener: Session) -> None:
        self._listener = listener
        self.topics: list[str] = []

    def connect(self) -> None:
        self._listener.connected(receive_max=2)

    def subscribe(self, topics: Sequence[str]) -> None:
        self._listener.subscribed([""] * len(topics))

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> tuple[int, str]:
        self.topics.append(topic)
        return len(self.topics), ""

    def turn(self) -> str:
        return ""

    def rest(self, bell: int, wait_s: float) -> None:
        raise AssertionError("this test turns the session itself")

    def disconnect(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_the_goodbye_does_not_overrun_what_the_broker_said_it_takes(tmp_path: Path) -> None:
    hand = Hand()
    store = opened(tmp_path, hand)
    topics = Topics("linli", "box-a")
    shared = Shared(
        Link("mqtt://127.0.0.1", "box-a", topics), Identity(1, 1, "cfg00000", {}), lambda: Reader(store.path),
        lambda link, version, will, listener: SlowWire(listener), lambda: hand.mono, random.Random(1),
        lambda confirm: None,
    )  # fmt: skip
    session = Session(shared, 0)
    rests: Iterator[float] = session.serve()
    next(rests)
    store.commit([work(hand, events=1) for _ in range(4)])
    shared.heads = store.heads()
    next(rests)
    shared.closing = True
    for rest_s in rests:
        hand.mono += rest_s
    assert len(session.wire.topics) == 2
