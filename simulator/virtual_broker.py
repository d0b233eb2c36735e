"""A broker and the city behind it, on the virtual loop: as reliable as brokers are, and the real ledger.

The broker speaks no bytes: a `VirtualWire` takes the place of paho under the uplink's own talk. The ledger is the
city's real one; taking, committing and answering follow simulator/city.py.
"""

import random
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.contract import STREAMS, Topics
from gateway.wire import Listener, Will
from simulator.ledger import Ledger
from simulator.night_ground import EPOCH_S
from simulator.virtual_loop import VirtualLoop

QUEUED_MAX = 1000  # messages the broker holds for a city that is away; as mosquitto's max_queued_messages
CITY_COMMIT_S = 0.1
CITY = "city.db"  # the ledger's file in the night's folder
Note = Callable[..., None]


class VirtualWire:
    """One connection of the gateway. ring: tells the uplink that there is something to `turn`."""

    def __init__(self, broker: "VirtualBroker", will: Will, listener: Listener, ring: Callable[[], None]) -> None:
        self._broker = broker
        self.will = will
        self._listener = listener
        self._ring = ring
        self._inbox: deque[Callable[[], None]] = deque()
        self._mid = 0
        self.lost = ""
        self.open = False
        self.dead = False  # half-open: nothing passes any more and nobody has noticed
        self.unanswered = 0

    def connect(self) -> None:
        self._broker.welcome(self)
        self.open = True

    def subscribe(self, topics: Sequence[str]) -> None:
        granted = [""] * len(topics)
        self._broker.soon(self, lambda: self.arrive(lambda: self._listener.subscribed(granted)))

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> tuple[int, str]:
        if self.lost:
            return 0, f"publish failed: {self.lost}"
        self._mid += 1
        mid = self._mid
        self.unanswered += 1
        self._broker.most_under_way = max(self._broker.most_under_way, self.unanswered)
        self._broker.soon(self, lambda: self._broker.take(self, mid, topic, payload, retain))
        return mid, ""

    def rest(self, bell: int, wait_s: float) -> None:
        raise AssertionError("nothing waits on a virtual loop")

    def turn(self) -> str:
        while self._inbox:
            self._inbox.popleft()()
        return self.lost

    def disconnect(self) -> None:
        self._broker.goodbye(self)

    def close(self) -> None:
        self.open = False
        if not self.dead:
            self._broker.hung_up(self)

    # -- the broker's side ----------------------------------------------------------------------------------------

    def arrive(self, event: Callable[[], None]) -> None:
        if self.open and not self.dead:
            self._inbox.append(event)
            self._ring()

    def welcomed(self, receive_max: int) -> None:
        self.arrive(lambda: self._listener.connected(receive_max))

    def refused(self, why: str) -> None:
        self.arrive(lambda: self._listener.refused(why, False))

    def answered(self, mid: int, refusal: str) -> None:
        def answer() -> None:
            self.unanswered -= 1
            self._listener.published(mid, refusal)

        self.arrive(answer)

    def message(self, topic: str, payload: bytes) -> None:
        self.arrive(lambda: self._listener.message(topic, payload))

    def cut(self) -> None:
        """The connection breaks and the gateway sees it at once."""
        self.lost = self.lost or "the connection was lost"
        self._ring()


class VirtualBroker:
    """up: whether it runs. Faults are attributes that a night sets and takes back.

    refuses_client: CONNACK says no. mute: takes the connection and says nothing. latency_s: one way.
    refuses: streams whose PUBACK says no. swallows: how likely a message is acknowledged and then dropped, as an ACL
    does it. repeats: how likely a message is delivered twice. receive_max: of its CONNACK.
    """

    def __init__(self, loop: VirtualLoop, dice: random.Random, topics: Topics, note: Note) -> None:
        self._loop = loop
        self._dice = dice
        self._topics = topics
        self._note = note
        self.up = True
        self.refuses_client = self.mute = False
        self.latency_s = 0.01
        self.refuses: set[str] = set()
        self.swallows = self.repeats = 0.0
        self.receive_max = 20
        self.wire: VirtualWire | None = None
        self.retained: dict[str, bytes] = {}
        self.queue: deque[tuple[str, bytes]] = deque()  # for the city: delivered, not yet settled
        self.dropped = 0
        self.most_under_way = 0
        self.city_hears: Callable[[], None] = lambda: None
        self.city_lost: Callable[[], None] = lambda: None

    # -- faults ---------------------------------------------------------------------------------------------------

    def stop(self, *, forgets: bool) -> None:
        """forgets: as a broker without persistence does it."""
        self.up = False
        self._lose_wire()
        self.city_lost()
        if forgets:
            self.queue.clear()
            self.retained.clear()

    def start(self) -> None:
        self.up = True
        self.city_hears()

    def cut(self, *, half_open: bool) -> None:
        """The gateway's connection breaks. half_open: nobody is told; each side finds out by itself."""
        if self.wire and half_open:
            self.wire.dead = True
        else:
            self._lose_wire()

    def _lose_wire(self) -> None:
        if wire := self.wire:
            self.hung_up(wire)
            wire.cut()

    # -- the gateway's connection -------------------------------------------------------------------------------------

    def soon(self, wire: VirtualWire, what: Callable[[], None]) -> None:
        """After the way to the broker, if the connection still stands there."""

        def there() -> None:
            if self.up and self.wire is wire and not wire.dead and not self.mute:
                what()

        self._loop.call_later(self.latency_s, there)

    def welcome(self, wire: VirtualWire) -> None:
        if not self.up:
            raise ConnectionRefusedError(111, "Connection refused")
        if self.wire:
            self._publish_will(self.wire)  # the same client again: the broker ends the old connection
        self.wire = wire
        if self.refuses_client:
            self.soon(wire, lambda: self._back(lambda: wire.refused("Not authorized")))
        else:
            self.soon(wire, lambda: self._back(lambda: wire.welcomed(self.receive_max)))

    def _back(self, what: Callable[[], None]) -> None:
        self._loop.call_later(self.latency_s, what)

    def hung_up(self, wire: VirtualWire) -> None:
        if self.wire is wire:
            self.wire = None
            if self.up:
                self._publish_will(wire)

    def goodbye(self, wire: VirtualWire) -> None:
        if self.wire is wire:
            self.wire = None

    def _publish_will(self, wire: VirtualWire) -> None:
        self._route(wire.will.topic, wire.will.payload, retain=True)

    def take(self, wire: VirtualWire, mid: int, topic: str, payload: bytes, retain: bool) -> None:
        stream = topic.rpartition("/up/")[2]
        refused = stream in self.refuses
        if not refused and not (self.swallows and stream in STREAMS and self._dice.random() < self.swallows):
            self._route(topic, payload, retain)
        elif not refused:
            self.dropped += 1
        self._note("publish", topic, payload, refused)
        self._back(lambda: wire.answered(mid, "Quota exceeded" if refused else ""))

    def _route(self, topic: str, payload: bytes, retain: bool) -> None:
        if retain:
            self.retained[topic] = payload
        copies = 2 if self._dice.random() < self.repeats else 1
        for _ in range(copies):
            if len(self.queue) < QUEUED_MAX:
                self.queue.append((topic, payload))
            else:
                self.dropped += 1
        self._loop.call_later(self.latency_s, self.city_hears)

    def from_city(self, topic: str, payload: bytes) -> None:
        wire = self.wire
        if wire and self.up and topic == self._topics.ack:
            self._loop.call_later(2 * self.latency_s, lambda: wire is self.wire and wire.message(topic, payload))


class VirtualCity:
    """The real ledger behind the broker: take, commit, settle, answer, in this order.

    committed: called after each commit, when what the ledger holds is on its disk. fell_back: given the backup.
    """

    def __init__(self, loop: VirtualLoop, folder: Path, broker: VirtualBroker, gateway: str, note: Note) -> None:
        self._loop = loop
        self._folder = folder
        self._broker = broker
        self._ack = Topics("linli", gateway).ack
        self._note = note
        self._path = folder / CITY
        self._copies = 0
        self.ledger = self._opened()
        self.up = True
        self.looks_s = 1.0
        self.committed: Callable[[], None] = lambda: None
        self.fell_back: Callable[[Ledger], None] = lambda ledger: None
        self._taken = 0  # of the broker's queue, not yet settled
        self._busy = False
        self._copy: Path | None = None
        broker.city_hears, broker.city_lost = self._hear, self._lost
        self._every_second()

    def _opened(self) -> Ledger:
        """Nobody else looks into the file here, so SQLite need not lock it for each statement."""
        ledger = Ledger(self._path)
        ledger.rows("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        return ledger

    def _every_second(self) -> None:
        self._loop.call_later(self.looks_s, self._every_second)
        self._hear()
        self._answer()

    def _hear(self) -> None:
        if not (self.up and self._broker.up):
            return
        while self._taken < len(self._broker.queue):
            topic, payload = self._broker.queue[self._taken]
            self._taken += 1
            self.ledger.take(topic, payload, EPOCH_S + self._loop.time())
        if self.ledger.waiting and not self._busy:
            self._busy = True
            self._loop.call_later(CITY_COMMIT_S, self._commit, self.ledger)
        elif not self.ledger.waiting and not self._busy:
            self._settle()

    def _lost(self) -> None:
        """What is not settled is delivered once more when the broker is back."""
        self._taken = 0

    def _commit(self, ledger: Ledger) -> None:
        if ledger is not self.ledger or not self.up:
            return
        self._busy = False
        self.ledger.commit()
        self._settle()
        self.committed()
        self._answer()

    def _settle(self) -> None:
        """The broker need not deliver again what is on the city's disk."""
        for _ in range(min(self._taken, len(self._broker.queue))):
            self._broker.queue.popleft()
        self._taken = 0

    def _answer(self) -> None:
        if self.up and self._broker.up:
            for _, payload in self.ledger.acks(self._loop.time()):
                self._note("ack", payload)
                self._broker.from_city(self._ack, payload)

    # -- faults ---------------------------------------------------------------------------------------------------

    def die(self) -> None:
        """What was taken and not committed is gone; the broker delivers it again."""
        self.up = False
        self._taken, self._busy = 0, False
        self.ledger._undo()
        self.ledger.close()

    def start(self) -> None:
        self.ledger = self._opened()
        for topic, payload in self._broker.retained.items():
            self.ledger.take(topic, payload, EPOCH_S + self._loop.time())
        self.ledger.commit()
        self.up = True
        self.committed()
        self.ledger.say_again()
        self._hear()

    def copy(self) -> None:
        """A backup, as a city makes it each night."""
        if self.up and not self.ledger.waiting:
            self.ledger.rows("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._copy = shutil.copy(self._path, self._folder / "city-backup.db")

    @property
    def has_copy(self) -> bool:
        return self._copy is not None

    def restore(self) -> None:
        """The backup takes the ledger's place; to be called while it is down."""
        if self._copy:
            self._copies += 1
            self._path = self._folder / f"city-{self._copies}.db"
            shutil.copy(self._copy, self._path)
            ledger = self._opened()
            self.fell_back(ledger)
            ledger.close()

    def close(self) -> None:
        if self.up:
            self.ledger.close()
