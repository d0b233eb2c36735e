"""Carries packs to the city; the only file that imports paho.

One thread owns the client, the messages under way and a read-only database connection; every paho callback runs in it,
so there is no lock. A connection has a Client of its own and paho is handed at most the window, so the store stays the
only queue. Traps this is built around: reference list in ARCHITECTURE.md, "Uplink".
"""

import logging
import random
import select
import socket
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway import contract
from gateway.courier import Courier, Parcel
from gateway.link import V5, Backoff, Identity, Link, State, Versions, Wake, tls_context
from gateway.pending import Confirm
from gateway.reader import Reader
from gateway.schema import is_corrupt, pack_name
from gateway.storage import Broken

__all__ = ["Identity", "Link", "State", "Uplink"]

log = logging.getLogger(__name__)

_TAKEN_OVER_S = 60.0  # another box with our id: do not fight it
_CONNECT_S = 10.0
_CONNECT_MAX_S = 60.0  # names, several addresses and TLS, one after the other: alive all the same
_CONFIRM_EVERY_S = 0.05
_REFUSED_WAIT_S = 5.0
_SENDS_A_TURN = 8
_UNSUPPORTED_VERSION = 0x84
_TAKEN_OVER = 0x8E


class Uplink:
    """on_confirm hands what the storage thread has to note to that thread; it must only queue."""

    def __init__(
        self,
        link: Link,
        identity: Identity,
        open_reader: Callable[[], Reader],
        mono_s: Callable[[], float],
        dice: random.Random,
        on_confirm: Callable[[Confirm | Broken], None],
    ) -> None:
        self._link = link
        self._identity = identity
        self._open_reader = open_reader
        self._mono_s = mono_s
        self._dice = dice
        self._on_confirm = on_confirm
        self._wake = Wake()
        self._retained: dict[str, bytes] = {}
        self._heads: dict[str, int] = {}
        self._generation = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self._versions = Versions(link.mqtt)
        self.state = State()
        self.alive_s = mono_s()
        self.fault: BaseException | None = None

    # -- from the loop and the storage thread -----------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stored(self, heads: dict[str, int], generation: int) -> None:
        """There is more to send; a new generation is a new database file."""
        self._heads, self._generation = heads, generation
        self._wake.ring()

    def retain(self, topic: str, payload: bytes) -> None:
        """The latest `meta` or `state`: only the newest is sent, again after each connect."""
        self._retained[topic] = payload
        self._wake.ring()

    def close(self, timeout_s: float) -> bool:
        """Publish what is stored, if the broker takes it in time, and `status` offline with the heads."""
        self._closing.set()
        self._wake.ring()
        self._thread.join(timeout_s)
        return not (self._thread.is_alive() and self.state.connected)  # a connect that hangs has nothing to say

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        backoff = Backoff(self._dice)
        try:
            while not self._closing.is_set():
                lasted_s, wait_s = self._connection()
                self.state.connected, self.state.behind = False, True
                self._wait(backoff.after(lasted_s, wait_s))
        except BaseException as error:
            self.fault = error
            log.exception("the uplink thread ended")

    def _connection(self) -> tuple[float, float]:
        """One connection from its opening to its end: how long it was up, how long to wait now (0: as usual)."""
        session = None
        generation = self._generation
        try:
            session = _Session(self, generation)
            session.serve()
        except (OSError, ValueError, sqlite3.Error) as error:
            self.state.say("link", f"{type(error).__name__}: {error}")
            if isinstance(error, sqlite3.DatabaseError) and is_corrupt(error):
                self._on_confirm(Broken(generation, str(error)))
        except Exception as error:
            log.exception("what the broker sent cannot be read")  # paho raises what it likes on bytes it did not expect
            self.state.say("link", f"what the broker sent cannot be read: {error!r}; is it an MQTT broker?")
        finally:
            if session:
                session.close()
        if session is None:
            return 0.0, 0.0
        if session.reached:
            self._versions.learn(answered=session.answered, unsupported=session.unsupported)
        return session.lasted_s, session.wait_s

    def _wait(self, seconds: float) -> None:
        until_s = self._mono_s() + seconds
        while not self._closing.is_set() and (left_s := until_s - self._mono_s()) > 0:
            self.alive_s = self._mono_s()
            self._closing.wait(min(left_s, 1.0))


class _Session:
    """One connection: one paho Client, one courier. Raises OSError, sqlite3.Error."""

    def __init__(self, uplink: Uplink, generation: int) -> None:
        """generation: read before the database is opened, else a renewal in between would go unseen."""
        self._up = uplink
        self._link = uplink._link
        self._mono_s = uplink._mono_s
        self._generation = generation
        self._courier: Courier | None = None
        self._lost = ""
        self._subscribed = False
        self._asked_s, self._rtt_s = 0.0, 0.0
        self._window = self._link.window
        self._under_way: dict[int, tuple[str, float]] = {}  # message id: topic, since when
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
        uplink.state.connections += 1
        self._number = uplink._identity.session(uplink.state.connections)
        self._reader = uplink._open_reader()
        self._client = self._new_client()

    def _new_client(self) -> mqtt.Client:
        link, version = self._link, self._up._versions.now
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=link.gateway,
            protocol=MQTTProtocolVersion(version),
            clean_session=None if version == V5 else True,  # a session would keep acks that the ledger repeats anyway
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(0)
        client.connect_timeout = _CONNECT_S
        client.username_pw_set(link.gateway)  # the ACL's %u where no certificate says it
        if link.secure:
            client.tls_set_context(tls_context(link))
        client.will_set(link.topics.status, self._status(online=False, heads=None), qos=1, retain=True)
        client.on_connect, client.on_subscribe = self._on_connect, self._on_subscribe
        client.on_disconnect, client.on_publish = self._on_disconnect, self._on_publish
        client.on_message = self._on_message
        return client

    def _status(self, *, online: bool, heads: dict[str, int] | None) -> bytes:
        who = self._up._identity
        epochs = self._reader.epochs()
        return contract.status(
            online=online, session=self._number, epoch=epochs[max(epochs)], boot=who.boot, cfg=who.cfg,
            versions=who.versions, heads=heads,
        )  # fmt: skip

    # -- serving ---------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Returns or raises when the connection is lost, or when the uplink closes."""
        up, closing = self._up, self._up._closing
        self._connect()
        if not (self._lost or closing.is_set()):
            self._begin()
        while not self._lost and not closing.is_set() and self._generation == up._generation:
            self._send()
            self._turn(0.5)
            self._hear()
        if self._lost:
            up.state.say("link", self._lost)
        elif closing.is_set() and self._courier:
            self._finish(self._courier)
        else:  # the next connection says which epoch is in force
            self._client.disconnect()

    def _connect(self) -> None:
        up, link = self._up, self._link
        up.alive_s = self._mono_s() + _CONNECT_MAX_S
        self._client.connect(link.host, link.port, keepalive=link.keepalive_s)
        self.reached = True
        sock: Any = self._client.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # paho does not: 40 ms on an alarm behind a PUBACK
        until_s = self._mono_s() + _CONNECT_S
        while not self._lost and not self._subscribed and not up._closing.is_set():
            self._turn(0.2)
            if self._mono_s() > until_s:
                raise OSError(f"{link.broker}: no answer to CONNECT and SUBSCRIBE within {_CONNECT_S:.0f} s")

    def _begin(self) -> None:
        up, link = self._up, self._link
        self._courier = Courier(
            self._reader, up._dice, link.confirm, self._window, link.resend_s, self._mono_s(), self._rtt_s
        )
        self._publish(link.topics.status, self._status(online=True, heads=self._courier.heads), retain=True)
        up.state.connected = True
        self._up_since_s = self._mono_s()
        up.state.say("link", "")

    def _publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """The message's id; 0 when the connection is lost. The caller has seen that there is room."""
        info = self._client.publish(topic, payload, 1, retain)
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            self._lost = self._lost or f"publish failed: {mqtt.error_string(info.rc)}"
            return 0
        self._under_way[info.mid] = (topic, self._mono_s())
        return info.mid

    def _send(self) -> None:
        """Alarms, then `meta` and `state`, then what the courier thinks best."""
        assert self._courier
        courier = self._courier
        courier.stored(self._up._heads)
        for _ in range(_SENDS_A_TURN):
            now_s = self._mono_s()
            if self._lost or len(self._under_way) >= self._window:
                break
            if not courier.alarms_wait(now_s) and self._retain(now_s):
                continue
            parcel = courier.next(now_s, len(self._under_way) - courier.under_way)
            if parcel is None:
                break
            self._send_pack(courier, parcel)
        if self._link.confirm == "broker" and self._mono_s() - self._confirmed_s >= _CONFIRM_EVERY_S:
            self._confirmed_s = self._mono_s()
            for confirm in courier.broker_confirms():
                self._up._on_confirm(confirm)
            self._up.state.acked = courier.acked()
        self._up.state.behind = courier.behind

    def _retain(self, now_s: float) -> bool:
        """Publish one of the retained messages that is not out yet; False when there is none."""
        for topic, payload in list(self._up._retained.items()):
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
            self._up._on_confirm(Confirm(courier.epochs[epoch_no], reject={stream: [(n, why)]}))
            return
        if self._link.gzip:
            payload = contract.compressed(payload)
        mid = self._publish(self._link.topics.up(stream), payload)
        if mid:
            courier.sent(mid, parcel, len(payload), self._mono_s())
            self._up.state.packs_sent += 1
            self._up.state.bytes_sent += len(payload)

    def _turn(self, wait_s: float) -> None:
        """Move bytes; every callback runs in here."""
        now_s = self._up.alive_s = self._mono_s()
        sock: Any = self._client.socket()
        if sock is None:
            self._lost = self._lost or "the connection was lost"
            return
        pending = getattr(sock, "pending", lambda: 0)()
        writers = [sock] if self._client.want_write() else []
        wake = self._up._wake
        readable, writable, _ = select.select([sock, wake.fd], writers, [], 0 if pending else wait_s)
        if wake.fd in readable:
            wake.clear()
        codes = [self._client.loop_read()] if pending or sock in readable else []
        if writable or self._client.want_write():
            codes.append(self._client.loop_write())
        codes.append(self._client.loop_misc())
        bad = next((code for code in codes if code != mqtt.MQTT_ERR_SUCCESS), None)
        if bad is not None and not self._lost:
            self._lost = f"the connection was lost: {mqtt.error_string(bad)}"
        topic, since_s = next(iter(self._under_way.values()), ("", now_s))
        if now_s - since_s > 2 * self._link.keepalive_s and not self._lost:
            self._lost = f"the broker left a message on {topic} unanswered for {now_s - since_s:.0f} s"

    def _hear(self) -> None:
        """The city's acks that came with the last turn."""
        state, courier = self._up.state, self._courier
        while self._acks and courier:
            confirm = courier.hear(self._acks.popleft(), self._mono_s())
            if confirm:
                state.city_heard_s, state.acked = self._mono_s(), courier.acked()
                self._up._on_confirm(confirm)
            state.say("ack", courier.refused and f"an ack of the city was refused: {courier.refused}")

    def _finish(self, courier: Courier) -> None:
        """A clean end: what is stored goes out if it can within a second, then the heads."""
        until_s = self._mono_s() + 1.0
        self._send()
        while not self._lost and not (courier.idle and not self._under_way) and self._mono_s() < until_s:
            self._send()
            self._turn(0.05)
            self._hear()
        mid = self._publish(self._link.topics.status, self._status(online=False, heads=courier.heads), retain=True)
        until_s = self._mono_s() + 0.5
        while not self._lost and mid in self._under_way and self._mono_s() < until_s:
            self._turn(0.05)
        self._client.disconnect()
        if self._client.want_write():
            self._client.loop_write()

    @property
    def lasted_s(self) -> float:
        return 0.0 if self._up_since_s is None else self._mono_s() - self._up_since_s

    def close(self) -> None:
        self._reader.close()
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()

    # -- paho's callbacks: all in this thread, none may raise ------------------------------------------------------

    def _on_connect(self, _c: mqtt.Client, _u: Any, _f: Any, code: ReasonCode, properties: Properties | None) -> None:
        self.answered = True
        if code.is_failure:
            self.unsupported = code.value == _UNSUPPORTED_VERSION  # paho says so for the 0x01 of a 3.1.1 broker too
            self._lost = f"the broker refused the connection: {code}; see user, certificate and ACL"
            return
        self._window = min(self._window, int(getattr(properties, "ReceiveMaximum", 65_535)))
        self._asked_s = self._mono_s()
        self._client.subscribe(self._link.topics.ack, qos=1)

    def _on_subscribe(self, _c: mqtt.Client, _u: Any, _mid: int, codes: list[ReasonCode], _p: Any) -> None:
        if any(code.is_failure for code in codes):
            self._lost = f"the broker refused {self._link.topics.ack}: {codes[0]}; see its ACL"
        self._rtt_s = self._mono_s() - self._asked_s
        self._subscribed = True

    def _on_disconnect(self, _c: mqtt.Client, _u: Any, _f: Any, code: ReasonCode, _p: Any) -> None:
        self._lost = self._lost or f"the broker closed the connection: {code}"
        if code.value == _TAKEN_OVER:
            self._lost = f"another box uses the id {self._link.gateway}: a copied card? Waiting {_TAKEN_OVER_S:.0f} s"
            self.wait_s = _TAKEN_OVER_S

    def _on_publish(self, _c: mqtt.Client, _u: Any, mid: int, code: ReasonCode, _p: Any) -> None:
        topic, _ = self._under_way.pop(mid, ("", 0.0))
        if not topic or self._courier is None:
            return
        self._courier.puback(mid, not code.is_failure, self._mono_s())
        if code.is_failure:
            self._refused.add(topic)
            if self._sent_retained.pop(topic, None) is not None:
                self._retain_from_s = self._mono_s() + _REFUSED_WAIT_S
            self._up.state.say("publish", f"the broker does not accept {topic}: {code}; see its ACL and quota")
        else:
            self._refused.discard(topic)
            if not self._refused:
                self._up.state.say("publish", "")

    def _on_message(self, _c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
        if message.topic == self._link.topics.ack and self._link.confirm == "city":
            self._acks.append(bytes(message.payload))
