"""One connection's talk with the broker: what is published when, what came back, when it is over.

It waits by yielding: each value is how many seconds it may rest at most, and whoever turns it (the uplink's thread, or
a simulation under a clock of its own) comes back when the wire has something or the time is over.
"""

import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from gateway import contract
from gateway.commands import Delivery
from gateway.contract import Json
from gateway.contract_commands import request_id_of, result
from gateway.courier import Courier, Parcel
from gateway.link import Identity, Link, State, Versions
from gateway.pending import Confirm
from gateway.reader import Reader
from gateway.schema import pack_name
from gateway.storage import Broken
from gateway.wire import CONNECT_S, OpenWire, Will

log = logging.getLogger(__name__)

_TAKEN_OVER_S = 60.0  # another box with our id: do not fight it
_CONNECT_MAX_S = 60.0  # names, several addresses and TLS, one after the other: alive all the same
_CONFIRM_EVERY_S = 0.05
_REFUSED_WAIT_S = 5.0
_SENDS_A_TURN = 8
OPEN_MAX = 16  # commands that the loop has not answered yet
_FLOOD_OVER_S = 60.0  # after the last command that was not answered


class Shared:
    """What one session leaves to the next, and what others tell them; nobody waits for any of it.

    retained: {topic: the newest payload}. heads, generation: as last stored. on_confirm must only queue.
    """

    def __init__(
        self,
        link: Link,
        identity: Identity,
        open_reader: Callable[[], Reader],
        open_wire: OpenWire,
        mono_s: Callable[[], float],
        dice: random.Random,
        on_confirm: Callable[[Confirm | Broken], None],
    ) -> None:
        self.link, self.identity = link, identity
        self.open_reader, self.open_wire = open_reader, open_wire
        self.mono_s, self.dice = mono_s, dice
        self.on_confirm = on_confirm
        self.retained: dict[str, bytes] = {}
        self.heads: dict[str, int] = {}
        self.generation = 0
        self.closing = False
        self.versions = Versions(link.mqtt)
        self.state = State()
        self.alive_s = mono_s()
        self.on_command: Callable[[Delivery], None] = lambda delivery: self.results.append(None)
        self.results: deque[bytes | None] = deque()  # from the loop: one for each command, None for no answer
        self.again: deque[tuple[str, str, list[tuple[int, int]]]] = deque()  # (epoch, stream, ranges) to be sent again
        self._open = 0
        self._busy: deque[bytes] = deque()
        self._unanswered = 0
        self._flood_s = 0.0  # when the last of them came

    # -- commands: the loop answers each that it is handed, once -----------------------------------------------------

    def command(self, delivery: Delivery) -> None:
        """In the uplink's turn. Beyond OPEN_MAX it is answered "busy", and beyond as many of those not at all."""
        if self._open < OPEN_MAX:
            self._open += 1
            self.on_command(delivery)
            return
        who = request_id_of(delivery.payload)
        if who is None or len(self._busy) >= OPEN_MAX:
            self._unanswered += 1
            self._flood_s = self.mono_s()
            self.state.say("flood", f"{self._unanswered} commands were not answered: they came too fast")
            return
        why = f"found more than {OPEN_MAX} commands at once, expected fewer; wait for their results, then send it again"
        said: Json = {"status": "refused", "reason": "busy", "why": why}
        self._busy.append(result(who, self.identity.boot, self.mono_s(), said))

    def next_result(self) -> bytes | None:
        while self.results:
            payload = self.results.popleft()
            self._open -= 1
            if payload is not None:
                return payload
        if self._unanswered and self.mono_s() - self._flood_s > _FLOOD_OVER_S:
            self._unanswered = 0
            self.state.say("flood", "")
        return self._busy.popleft() if self._busy else None


class Session:
    """One wire, one courier. Raises OSError, sqlite3.Error."""

    def __init__(self, shared: Shared, generation: int) -> None:
        """generation: read before the database is opened, else a renewal in between would go unseen."""
        self._up = shared
        self._link = shared.link
        self._mono_s = shared.mono_s
        self._generation = generation
        self._courier: Courier | None = None
        self._lost = ""
        self._subscribed = False
        self._asked_s, self._rtt_s = 0.0, 0.0
        self._window = self._link.window
        self._under_way: dict[int, tuple[str, float]] = {}  # message id: topic, since when
        self._answering = 0  # the message id of the last result
        self._refused: set[str] = set()
        self._retain_from_s = 0.0
        self._sent_retained: dict[str, bytes] = {}
        self._acks: deque[bytes] = deque()
        self._confirmed_s = 0.0
        self.reached = False  # something took the TCP connection
        self.answered = False  # and spoke MQTT of this version, whatever it said
        self.unsupported = False
        self.wait_s = 0.0
        self._up_since_s: float | None = None
        shared.state.connections += 1
        self._number = shared.identity.session(shared.state.connections)
        self._reader = shared.open_reader()
        will = Will(self._link.topics.status, self._status(online=False, heads=None))
        self.wire = shared.open_wire(self._link, shared.versions.now, will, self)

    def _status(self, *, online: bool, heads: dict[str, int] | None) -> bytes:
        who = self._up.identity
        epochs = self._reader.epochs()
        return contract.status(
            online=online, session=self._number, epoch=epochs[max(epochs)], boot=who.boot, cfg=who.cfg,
            versions=who.versions, heads=heads,
        )  # fmt: skip

    # -- serving ---------------------------------------------------------------------------------------------------

    def serve(self) -> Iterator[float]:
        """Ends or raises when the connection is lost, or when the uplink closes."""
        up = self._up
        yield from self._connect()
        if not (self._lost or up.closing):
            self._begin()
        while not self._lost and not up.closing and self._generation == up.generation:
            self._send()
            yield from self._turn(0.5)
            self._hear()
        if self._lost:
            up.state.say("link", self._lost)
        elif up.closing and self._courier:
            yield from self._finish(self._courier)
        else:  # the next connection says which epoch is in force
            self.wire.disconnect()

    def _connect(self) -> Iterator[float]:
        up, link = self._up, self._link
        up.alive_s = self._mono_s() + _CONNECT_MAX_S
        self.wire.connect()
        self.reached = True
        until_s = self._mono_s() + CONNECT_S
        while not self._lost and not self._subscribed and not up.closing:
            yield from self._turn(0.2)
            if self._mono_s() > until_s:
                raise OSError(f"{link.broker}: no answer to CONNECT and SUBSCRIBE within {CONNECT_S:.0f} s")

    def _begin(self) -> None:
        up, link = self._up, self._link
        self._courier = Courier(
            self._reader, up.dice, link.confirm, self._window, link.resend_s, self._mono_s(), self._rtt_s
        )
        self._publish(link.topics.status, self._status(online=True, heads=self._courier.heads), retain=True)
        up.state.connected = True
        self._up_since_s = self._mono_s()
        up.state.say("link", "")

    def _publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """The message's id; 0 when the connection is lost. The caller has seen that there is room."""
        mid, lost = self.wire.publish(topic, payload, retain=retain)
        if lost:
            self._lost = self._lost or lost
            return 0
        self._under_way[mid] = (topic, self._mono_s())
        return mid

    def _send(self) -> None:
        """Alarms, then `meta` and `state`, then what the courier thinks best."""
        assert self._courier
        courier = self._courier
        courier.stored(self._up.heads)
        for _ in range(_SENDS_A_TURN):
            now_s = self._mono_s()
            if self._lost or len(self._under_way) >= self._window:
                break
            if not courier.alarms_wait(now_s) and (self._answer() or self._retain(now_s)):
                continue
            parcel = courier.next(now_s, len(self._under_way) - courier.under_way)
            if parcel is None:
                break
            self._send_pack(courier, parcel)
        if self._link.confirm == "broker" and self._mono_s() - self._confirmed_s >= _CONFIRM_EVERY_S:
            self._confirmed_s = self._mono_s()
            for confirm in courier.broker_confirms():
                self._up.on_confirm(confirm)
            self._up.state.acked = courier.acked()
        self._up.state.behind = courier.behind

    def _answer(self) -> bool:
        """Publish what became of one command; False when there is none. One that is lost is asked for again.

        One after the other, so that on a slow link an alarm waits behind one alone.
        """
        if self._answering in self._under_way or (payload := self._up.next_result()) is None:
            return False
        self._answering = self._publish(self._link.topics.result, payload)
        return True

    def _retain(self, now_s: float) -> bool:
        """Publish one of the retained messages that is not out yet; False when there is none."""
        for topic, payload in list(self._up.retained.items()):
            if self._sent_retained.get(topic) is not payload and now_s >= self._retain_from_s:
                self._sent_retained[topic] = payload
                self._publish(topic, payload, retain=True)
                return True
        return False

    def _send_pack(self, courier: Courier, parcel: Parcel) -> None:
        epoch_no, stream, n = pack_name(parcel.row.id)
        try:
            payload = self._reader.payload(parcel.row, self._link.topics)
        except Exception as error:
            log.exception("pack %s/%d of the store cannot be opened", stream, n)
            why = f"cannot be opened: {error}"
            self._up.on_confirm(Confirm(courier.epochs[epoch_no], unopened={stream: [(n, why)]}))
            return
        if self._link.gzip:
            payload = contract.compressed(payload)
        mid = self._publish(self._link.topics.up(stream), payload)
        if mid:
            courier.sent(mid, parcel, len(payload), self._mono_s())
            self._up.state.packs_sent += 1
            self._up.state.bytes_sent += len(payload)

    def _turn(self, rest_s: float) -> Iterator[float]:
        """Rest, then move bytes; the wire tells us what came from in here."""
        now_s = self._up.alive_s = self._mono_s()
        yield rest_s
        lost = self.wire.turn()
        self._lost = self._lost or lost
        topic, since_s = next(iter(self._under_way.values()), ("", now_s))
        if now_s - since_s > 2 * self._link.keepalive_s and not self._lost:
            self._lost = f"the broker left a message on {topic} unanswered for {now_s - since_s:.0f} s"

    def _hear(self) -> None:
        """The city's acks that came with the last turn, and the packs that it wants once more."""
        state, courier = self._up.state, self._courier
        while self._acks and courier:
            confirm = courier.hear(self._acks.popleft(), self._mono_s())
            if confirm:
                state.city_heard_s, state.acked = self._mono_s(), courier.acked()
                self._up.on_confirm(confirm)
            state.say("ack", courier.refused and f"an ack of the city was refused: {courier.refused}")
        while self._up.again and courier:
            epoch, stream, ranges = self._up.again.popleft()
            asked = contract.StreamAck(upto=courier.acked()[stream], missing=ranges)
            confirm = courier.ack(contract.Ack(contract.VERSION, epoch, {stream: asked}), self._mono_s())
            if confirm:
                self._up.on_confirm(confirm)

    def _finish(self, courier: Courier) -> Iterator[float]:
        """A clean end: what is stored goes out if it can within a second, then the heads."""
        until_s = self._mono_s() + 1.0
        self._send()
        while not self._lost and not (courier.idle and not self._under_way) and self._mono_s() < until_s:
            self._send()
            yield from self._turn(0.05)
            self._hear()
        until_s = self._mono_s() + 0.5
        while not self._lost and len(self._under_way) >= self._window and self._mono_s() < until_s:
            yield from self._turn(0.05)
        if len(self._under_way) >= self._window:
            return  # no room for a goodbye, so the will has to speak for us
        mid = self._publish(self._link.topics.status, self._status(online=False, heads=courier.heads), retain=True)
        while not self._lost and mid in self._under_way and self._mono_s() < until_s:
            yield from self._turn(0.05)
        self.wire.disconnect()

    @property
    def lasted_s(self) -> float:
        return 0.0 if self._up_since_s is None else self._mono_s() - self._up_since_s

    def close(self) -> None:
        self._reader.close()
        self.wire.close()

    # -- the wire's word: all from inside its `turn`, none may raise ---------------------------------------------------

    def connected(self, receive_max: int) -> None:
        self.answered = True
        self._window = min(self._window, receive_max)
        self._asked_s = self._mono_s()
        self.wire.subscribe([self._link.topics.ack, *self._link.commands])

    def refused(self, why: str, unsupported: bool) -> None:
        self.answered = True
        self.unsupported = unsupported
        self._lost = f"the broker refused the connection: {why}; see user, certificate and ACL"

    def subscribed(self, refusals: Sequence[str]) -> None:
        ack, *others = refusals
        if ack:
            self._lost = f"the broker refused {self._link.topics.ack}: {ack}; see its ACL"
        deaf = [topic for topic, refusal in zip(self._link.commands, others, strict=False) if refusal]
        deaf = [topic for topic in deaf if self._link.commands[topic] in self._link.obey]
        self._up.state.say("commands", f"the broker refused {' and '.join(deaf)}; see its ACL" if deaf else "")
        self._rtt_s = self._mono_s() - self._asked_s
        self._subscribed = True

    def disconnected(self, why: str, taken_over: bool) -> None:
        self._lost = self._lost or f"the broker closed the connection: {why}"
        if taken_over:
            self._lost = f"another box uses the id {self._link.gateway}: a copied card? Waiting {_TAKEN_OVER_S:.0f} s"
            self.wait_s = _TAKEN_OVER_S

    def published(self, mid: int, refusal: str) -> None:
        topic, _ = self._under_way.pop(mid, ("", 0.0))
        if not topic or self._courier is None:
            return
        self._courier.puback(mid, not refusal, self._mono_s())
        if refusal:
            self._refused.add(topic)
            if self._sent_retained.pop(topic, None) is not None:
                self._retain_from_s = self._mono_s() + _REFUSED_WAIT_S
            self._up.state.say("publish", f"the broker does not accept {topic}: {refusal}; see its ACL and quota")
        else:
            self._refused.discard(topic)
            if not self._refused:
                self._up.state.say("publish", "")

    def message(self, topic: str, payload: bytes) -> None:
        if topic == self._link.topics.ack and self._link.confirm == "city":
            self._acks.append(payload)
        elif kind := self._link.commands.get(topic):
            self._up.command(Delivery(kind, payload, self._number))
