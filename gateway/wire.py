"""One MQTT connection over paho; the only file of the gateway that imports it.

A `Wire` moves bytes and tells its `Listener`; what the words mean is the session's affair (gateway/session.py). Traps
this is built around: reference list in ARCHITECTURE.md, "Uplink".
"""

import select
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.link import V5, Link, tls_context

CONNECT_S = 10.0
_UNSUPPORTED_VERSION = 0x84
_TAKEN_OVER = 0x8E
_RECEIVE_MAX = 65_535
HEARD_BYTES_MAX = 270_000
"""Of one message to us, as MQTT 5 tells the broker: an ack has 262,144 at most, a command less. paho takes any size."""


class Will(NamedTuple):
    """What the broker publishes, retained, when the connection ends without a goodbye."""

    topic: str
    payload: bytes


class Listener(Protocol):
    """Told from inside `Wire.turn`; must not raise. A refusal is "" when the broker agreed."""

    def connected(self, receive_max: int) -> None: ...
    def refused(self, why: str, unsupported: bool) -> None: ...
    def subscribed(self, refusals: Sequence[str]) -> None: ...
    def disconnected(self, why: str, taken_over: bool) -> None: ...
    def published(self, mid: int, refusal: str) -> None: ...
    def message(self, topic: str, payload: bytes) -> None: ...


class Wire(Protocol):
    """One connection, from its opening to its end; there is no second one on the same wire."""

    def connect(self) -> None:
        """May take long: names, several addresses, TLS. Raises OSError."""

    def subscribe(self, topics: Sequence[str]) -> None:
        """All in one; `subscribed` has an answer for each, in this order."""

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> tuple[int, str]:
        """(its message id, ""), or (0, why the connection is lost). The caller has seen that there is room."""

    def turn(self) -> str:
        """Move bytes and tell the listener. Why the connection is lost, "" while it is not."""

    def rest(self, bell: int, wait_s: float) -> None:
        """Until there is something to `turn`, the file descriptor `bell` is readable, or the time is over."""

    def disconnect(self) -> None:
        """Say goodbye, so that no will is published."""

    def close(self) -> None: ...


class OpenWire(Protocol):
    def __call__(self, link: Link, version: int, will: Will, listener: Listener) -> Wire: ...


class PahoWire:
    """paho is handed at most what the caller counts, reconnects nothing by itself and runs in the caller's thread."""

    def __init__(self, link: Link, version: int, will: Will, listener: Listener) -> None:
        self._link = link
        self._listener = listener
        self._readable = self._writable = False
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=link.gateway,
            protocol=MQTTProtocolVersion(version),
            clean_session=None if version == V5 else True,  # a session would keep acks that the ledger repeats anyway
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(0)
        client.connect_timeout = CONNECT_S
        client.username_pw_set(link.gateway)  # the ACL's %u where no certificate says it
        if link.secure:
            client.tls_set_context(tls_context(link))
        client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_connect, client.on_subscribe = self._on_connect, self._on_subscribe
        client.on_disconnect, client.on_publish = self._on_disconnect, self._on_publish
        client.on_message = self._on_message
        self._client = client

    def connect(self) -> None:
        self._client.connect(
            self._link.host, self._link.port, keepalive=self._link.keepalive_s, properties=self._properties()
        )
        sock: Any = self._client.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # paho does not: 40 ms on an alarm behind a PUBACK

    def _properties(self) -> Properties | None:
        if self._client.protocol != MQTTProtocolVersion.MQTTv5:
            return None
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = HEARD_BYTES_MAX
        return properties

    def subscribe(self, topics: Sequence[str]) -> None:
        self._client.subscribe([(topic, 1) for topic in topics])

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> tuple[int, str]:
        info = self._client.publish(topic, payload, 1, retain)
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            return 0, f"publish failed: {mqtt.error_string(info.rc)}"
        return info.mid, ""

    def rest(self, bell: int, wait_s: float) -> None:
        sock: Any = self._client.socket()
        if sock is None:
            return
        pending = getattr(sock, "pending", lambda: 0)()
        writers = [sock] if self._client.want_write() else []
        readable, writable, _ = select.select([sock, bell], writers, [], 0 if pending else wait_s)
        self._readable, self._writable = bool(pending or sock in readable), bool(writable)

    def turn(self) -> str:
        if self._client.socket() is None:
            return "the connection was lost"
        codes = [self._client.loop_read()] if self._readable else []
        if self._writable or self._client.want_write():
            codes.append(self._client.loop_write())
        codes.append(self._client.loop_misc())
        self._readable = self._writable = False
        bad = next((code for code in codes if code != mqtt.MQTT_ERR_SUCCESS), None)
        return "" if bad is None else f"the connection was lost: {mqtt.error_string(bad)}"

    def disconnect(self) -> None:
        self._client.disconnect()
        if self._client.want_write():
            self._client.loop_write()

    def close(self) -> None:
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()

    # -- paho's callbacks: all inside `turn`, none may raise -----------------------------------------------------------

    def _on_connect(self, _c: mqtt.Client, _u: Any, _f: Any, code: ReasonCode, properties: Properties | None) -> None:
        if code.is_failure:  # paho says "unsupported" for the 0x01 of a 3.1.1 broker too
            self._listener.refused(str(code), code.value == _UNSUPPORTED_VERSION)
        else:
            self._listener.connected(int(getattr(properties, "ReceiveMaximum", _RECEIVE_MAX)))

    def _on_subscribe(self, _c: mqtt.Client, _u: Any, _mid: int, codes: list[ReasonCode], _p: Any) -> None:
        self._listener.subscribed([str(code) if code.is_failure else "" for code in codes])

    def _on_disconnect(self, _c: mqtt.Client, _u: Any, _f: Any, code: ReasonCode, _p: Any) -> None:
        self._listener.disconnected(str(code), code.value == _TAKEN_OVER)

    def _on_publish(self, _c: mqtt.Client, _u: Any, mid: int, code: ReasonCode, _p: Any) -> None:
        self._listener.published(mid, str(code) if code.is_failure else "")

    def _on_message(self, _c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
        self._listener.message(message.topic, bytes(message.payload))
