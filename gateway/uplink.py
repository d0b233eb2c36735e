"""Carries packs to the city; the only file that imports paho.

One thread owns the client, the map of message ids and a read-only database connection; every paho callback runs in it,
so there is no lock. A connection has a Client of its own and paho is handed at most the window, so the store stays the
only queue. Traps this is built around: reference list in ARCHITECTURE.md, "Uplink".
"""

import logging
import os
import random
import select
import socket
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway import contract
from gateway.contract import Topics
from gateway.courier import Courier
from gateway.reader import Reader
from gateway.store import Confirm

log = logging.getLogger(__name__)

_BACKOFF_S = (0.5, 1, 2, 5, 10, 30)
_TAKEN_OVER_S = 60.0  # another box with our id: do not fight it
_CONNECT_S = 10.0
_STATE_EVERY_S = 0.05
_CONFIRM_EVERY_S = 0.05
_REFUSED_WAIT_S = 5.0
_SENDS_A_TURN = 8
_UNSUPPORTED_VERSION = 0x84
_TAKEN_OVER = 0x8E


class Link(NamedTuple):
    """Where and how: from the site file's [uplink] and [tls]."""

    broker: str
    gateway: str
    topics: Topics
    mqtt: str = "auto"
    confirm: str = "city"
    window: int = 16
    keepalive_s: int = 50
    gzip: bool = True
    resend_s: float = 600
    ca: str | None = None
    cert: str | None = None
    key: str | None = None


class Identity(NamedTuple):
    """What the status says of this start."""

    starts: int
    boot: int
    cfg: str
    versions: dict[str, object]


class State(msgspec.Struct):
    """How the uplink is; written by its thread, read by anyone."""

    connected: bool = False
    broker_says: str = ""
    connections: int = 0
    packs_sent: int = 0
    bytes_sent: int = 0
    acked: dict[str, int] = {}
    city_heard_s: float | None = None
    trouble: str = ""


class Uplink:
    """on_confirm hands the city's word to the storage thread; it must only queue."""

    def __init__(
        self,
        link: Link,
        identity: Identity,
        open_reader: Callable[[], Reader],
        mono_s: Callable[[], float],
        dice: random.Random,
        on_confirm: Callable[[Confirm], None],
    ) -> None:
        self._link = link
        self._identity = identity
        self._open_reader = open_reader
        self._mono_s = mono_s
        self._dice = dice
        self._on_confirm = on_confirm
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._retained: dict[str, bytes] = {}
        self._heads: dict[str, int] = {}
        self._generation = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self._protocol = mqtt.MQTTv311 if link.mqtt == "3.1.1" else mqtt.MQTTv5
        self.state = State()
        self.alive_s = mono_s()
        self.fault: BaseException | None = None

    # -- from the loop and the storage thread -----------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stored(self, heads: dict[str, int], generation: int) -> None:
        """There is more to send; a new generation is a new database file."""
        self._heads, self._generation = heads, generation
        self._wake()

    def retain(self, topic: str, payload: bytes) -> None:
        """The latest `meta` or `state`: only the newest is sent, again after each connect."""
        self._retained[topic] = payload
        self._wake()

    def close(self, timeout_s: float) -> bool:
        """Publish what is stored, if the broker takes it in time, and `status` offline with the heads."""
        self._closing.set()
        self._wake()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _wake(self) -> None:
        try:
            os.write(self._wake_w, b"w")
        except BlockingIOError:
            pass  # it has been told already

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        try:
            while not self._closing.is_set():
                session = _Session(self)
                try:
                    session.serve()
                except (OSError, ValueError, sqlite3.Error) as error:
                    self._trouble(f"{type(error).__name__}: {error}")
                finally:
                    session.close()
                failures = 0 if session.was_up else failures + 1
                self.state.connected = False
                self._wait(session.wait_s or _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
        except BaseException as error:
            self.fault = error
            log.exception("the uplink thread ended")

    def _trouble(self, text: str) -> None:
        if text != self.state.trouble:
            log.warning("uplink: %s", text) if text else log.info("uplink: the broker is back")
        self.state.trouble = text

    def _wait(self, seconds: float) -> None:
        until_s = self._mono_s() + seconds * self._dice.uniform(0.5, 1.0)
        while not self._closing.is_set() and (left_s := until_s - self._mono_s()) > 0:
            self.alive_s = self._mono_s()
            self._closing.wait(min(left_s, 1.0))


class _Session:
    """One connection: one paho Client, one courier."""

    def __init__(self, uplink: Uplink) -> None:
        self._up = uplink
        self._link = uplink._link
        self._mono_s = uplink._mono_s
        self._reader = uplink._open_reader()
        self._generation = uplink._generation
        self._courier: Courier | None = None
        self._number = 0
        self._lost = ""
        self._subscribed = False
        self._receive_max = 65_535
        self._hold_until_s = 0.0
        self._sent_retained: dict[str, bytes] = {}
        self._confirmed_s = 0.0
        self.was_up = False
        self.wait_s = 0.0
        state = uplink.state
        state.connections += 1
        self._number = uplink._identity.starts * 65_536 + state.connections
        self._client = self._new_client()

    def _new_client(self) -> mqtt.Client:
        link = self._link
        v5 = self._up._protocol == mqtt.MQTTv5
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=link.gateway,
            protocol=self._up._protocol,
            clean_session=None if v5 else True,  # a broker's session would keep acks that the ledger repeats anyway
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(0)
        client.connect_timeout = _CONNECT_S
        if link.ca:
            client.tls_set(ca_certs=link.ca, certfile=link.cert, keyfile=link.key)
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
        where = urlsplit(self._link.broker)
        port = where.port or (8883 if where.scheme == "mqtts" else 1883)
        self._client.connect(where.hostname or "", port, keepalive=self._link.keepalive_s)
        sock: Any = self._client.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # paho does not: 40 ms on an alarm behind a PUBACK
        until_s = self._mono_s() + _CONNECT_S
        while not self._lost and not self._subscribed:
            self._turn(0.2)
            if self._mono_s() > until_s:
                raise OSError(f"{self._link.broker}: no answer to CONNECT and SUBSCRIBE within {_CONNECT_S:.0f} s")
        if not self._lost:
            self._begin()
        while not self._lost and not self._up._closing.is_set() and self._generation == self._up._generation:
            self._send()
            self._turn(0.5)
        if self._lost:
            self._up._trouble(self._lost)
        elif self._up._closing.is_set():
            self._finish()

    def _begin(self) -> None:
        up = self._up
        self.was_up = True
        self._courier = Courier(
            self._reader, up._dice, self._link.confirm, min(self._link.window, self._receive_max), self._link.resend_s,
            self._mono_s(),
        )  # fmt: skip
        self._client.publish(self._link.topics.status, self._status(online=True, heads=self._courier.heads), 1, True)
        up.state.connected = True
        up._trouble("")

    def _send(self) -> None:
        assert self._courier
        for topic, payload in list(self._up._retained.items()):
            if self._sent_retained.get(topic) is not payload:
                self._sent_retained[topic] = payload
                self._client.publish(topic, payload, 1, True)
        if self._mono_s() < self._hold_until_s:
            return
        self._courier.stored(self._up._heads or self._courier.heads)
        for _ in range(_SENDS_A_TURN):
            parcel = self._courier.next(self._mono_s())
            if parcel is None:
                break
            payload = self._reader.payload(parcel.row, self._link.topics)
            stream = contract.STREAMS[parcel.row.id >> 44 & 0xF]
            if self._link.gzip:
                payload = contract.compressed(payload)
            info = self._client.publish(self._link.topics.up(stream), payload, qos=1)
            if info.rc != mqtt.MQTT_ERR_SUCCESS:
                self._lost = f"publish failed: {mqtt.error_string(info.rc)}"
                return
            self._courier.sent(info.mid, parcel, len(payload), self._mono_s())
            self._up.state.packs_sent += 1
            self._up.state.bytes_sent += len(payload)
        self._confirm_by_broker()

    def _confirm_by_broker(self) -> None:
        now_s = self._mono_s()
        if self._courier and self._link.confirm == "broker" and now_s - self._confirmed_s >= _CONFIRM_EVERY_S:
            self._confirmed_s = now_s
            for confirm in self._courier.broker_confirms():
                self._up._on_confirm(confirm)
            self._up.state.acked = self._courier.acked()

    def _turn(self, wait_s: float) -> None:
        """Move bytes; every callback runs in here."""
        self._up.alive_s = self._mono_s()
        sock: Any = self._client.socket()
        if sock is None:
            self._lost = self._lost or "the connection was lost"
            return
        pending = getattr(sock, "pending", lambda: 0)()
        writers = [sock] if self._client.want_write() else []
        readable, writable, _ = select.select([sock, self._up._wake_r], writers, [], 0 if pending else wait_s)
        if self._up._wake_r in readable:
            os.read(self._up._wake_r, 4096)
        codes = [self._client.loop_read()] if pending or sock in readable else []
        if writable or self._client.want_write():
            codes.append(self._client.loop_write())
        codes.append(self._client.loop_misc())
        bad = next((code for code in codes if code != mqtt.MQTT_ERR_SUCCESS), None)
        if bad is not None and not self._lost:
            self._lost = f"the connection was lost: {mqtt.error_string(bad)}"

    def _finish(self) -> None:
        """A clean end: what is stored goes out if it can within a second, then the heads."""
        assert self._courier
        until_s = self._mono_s() + 1.0
        while not self._lost and not self._courier.idle and self._mono_s() < until_s:
            self._send()
            self._turn(0.05)
        self._client.publish(self._link.topics.status, self._status(online=False, heads=self._courier.heads), 1, True)
        until_s = self._mono_s() + 0.5
        while not self._lost and self._mono_s() < until_s:
            self._turn(0.05)
            if not self._client.want_write() and self._courier.idle:
                break
        self._client.disconnect()
        if self._client.want_write():
            self._client.loop_write()

    def close(self) -> None:
        self._reader.close()
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()

    # -- paho's callbacks: all in this thread, none may raise ------------------------------------------------------

    def _on_connect(self, _c: mqtt.Client, _u: Any, _f: Any, code: ReasonCode, properties: Properties | None) -> None:
        if code.is_failure:
            self._lost = f"the broker refused the connection: {code}; see user, certificate and ACL"
            if code.value == _UNSUPPORTED_VERSION and self._link.mqtt == "auto":
                self._up._protocol = mqtt.MQTTv311
            return
        self._receive_max = int(getattr(properties, "ReceiveMaximum", 65_535))
        self._client.subscribe(self._link.topics.ack, qos=1)

    def _on_subscribe(self, _c: mqtt.Client, _u: Any, _mid: int, codes: list[ReasonCode], _p: Any) -> None:
        if any(code.is_failure for code in codes):
            self._lost = f"the broker refused {self._link.topics.ack}: {codes[0]}; see its ACL"
        self._subscribed = True

    def _on_disconnect(self, _c: mqtt.Client, _u: Any, _f: Any, code: ReasonCode, _p: Any) -> None:
        self._lost = self._lost or f"the broker closed the connection: {code}"
        if not self.was_up and self._link.mqtt == "auto":  # some 3.1.1 brokers just hang up on a version 5 CONNECT
            v5 = self._up._protocol == mqtt.MQTTv5
            self._up._protocol = mqtt.MQTTv311 if v5 else mqtt.MQTTv5
        if code.value == _TAKEN_OVER:
            self._lost = f"another box uses the id {self._link.gateway}: a copied card? Waiting {_TAKEN_OVER_S:.0f} s"
            self.wait_s = _TAKEN_OVER_S

    def _on_publish(self, _c: mqtt.Client, _u: Any, mid: int, code: ReasonCode, _p: Any) -> None:
        if not self._courier:
            return
        self._courier.puback(mid, not code.is_failure, self._mono_s())
        if code.is_failure:
            self._up._trouble(f"the broker does not accept a message: {code}; see its ACL and quota")
            self._hold_until_s = self._mono_s() + _REFUSED_WAIT_S

    def _on_message(self, _c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
        if not self._courier or message.topic != self._link.topics.ack or self._link.confirm != "city":
            return
        try:
            confirm = self._courier.ack(contract.parse_ack(bytes(message.payload)), self._mono_s())
        except (contract.ContractError, sqlite3.Error) as error:
            self._up._trouble(f"an ack of the city could not be taken: {error}")
            return
        if confirm:
            self._up.state.city_heard_s = self._mono_s()
            self._up.state.acked = self._courier.acked()
            self._up._on_confirm(confirm)
        if self._courier.refused:
            self._up._trouble(f"an ack of the city was refused: {self._courier.refused}")
