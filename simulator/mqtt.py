"""The simulator's only door to paho: one Client for one connection, turned by the thread that owns it.

A connection that is lost is thrown away with its Client, so that no queue of paho's outlives it. What came in is
acknowledged to the broker only by `settle`, when its owner has it on the disk.
"""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

CONNECT_S = 5.0
SESSION_EXPIRY_S = 7 * 86_400
WINDOW_MAX = 16  # messages of ours under way
RECEIVE_MAX = 1_000  # messages of the broker's under way; v5 tells it, on 3.1.1 the broker decides
PACKET_BYTES_MAX = 1 << 20
PORTS = {"mqtt": 1883, "mqtts": 8883}

OnMessage = Callable[[str, bytes], None]


class Tls(NamedTuple):
    """ca: who signed the broker's certificate. cert, key: our own, for a broker that asks for one."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class Address(NamedTuple):
    secure: bool
    host: str
    port: int
    user: str | None
    password: str | None


def parse_url(url: str) -> Address:
    """mqtt://[user[:password]@]host[:port], or mqtts. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError(f"broker {url!r}; expected mqtt://host:port or mqtts://host:port")
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return Address(parts.scheme == "mqtts", parts.hostname, parts.port or PORTS[parts.scheme], user, password)


class Connection:
    """One connection, with a session that the broker keeps (clean start off) unless `keeps` is False.

    on_message(topic, payload) is called from within `turn`. version: 5 or 4 (that is MQTT 3.1.1).
    error: why there is none, or none any more; "" while all is well.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        on_message: OnMessage,
        *,
        version: int = 5,
        keepalive_s: int = 30,
        tls: Tls | None = None,
        keeps: bool = True,
    ) -> None:
        self._keeps = keeps
        self._address = parse_url(url)
        self._keepalive_s = keepalive_s
        self._on_message = on_message
        self.version = version
        self.answered = False  # the broker knows this version, whatever it said
        self.up = False
        self.ready = False  # connected, and every filter of `subscribe` is granted
        self.error = ""
        self.refused = 0  # messages of ours that the broker answered with a failure
        self._subscription: int | None = None
        self._under_way: set[int] = set()
        self._unsettled: list[int] = []
        protocol = paho.MQTTv5 if version == 5 else paho.MQTTv311
        clean = None if version == 5 else not keeps
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=clean,
            protocol=protocol,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self._client.connect_timeout = CONNECT_S
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_message = self._received
        self._client.on_publish = self._published
        self._client.on_subscribe = self._subscribed
        if self._address.user is not None:
            self._client.username_pw_set(self._address.user, self._address.password)
        if self._address.secure:
            self._client.tls_set_context(_tls_context(tls or Tls()))

    def open(self) -> bool:
        """Open the line, at most CONNECT_S; the broker's welcome comes with `turn`."""
        try:
            if self.version == 5:
                self._client.connect(
                    self._address.host,
                    self._address.port,
                    self._keepalive_s,
                    clean_start=not self._keeps,
                    properties=_session_properties(SESSION_EXPIRY_S if self._keeps else 0),
                )
            else:
                self._client.connect(self._address.host, self._address.port, self._keepalive_s)
            line: Any = self._client.socket()
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # paho leaves small packets waiting
        except (OSError, ValueError) as error:
            self.error = str(error)
            return False
        return True

    def turn(self, timeout_s: float) -> bool:
        """Do what the line asks for, wait at most timeout_s for it. False when the connection is over."""
        code = self._client.loop(timeout_s)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS and not self.error:
            self.error = paho.error_string(code)
        return not self.error

    def subscribe(self, filters: list[str]) -> None:
        """QoS 1. `ready` becomes true when all of them are granted."""
        _, self._subscription = self._client.subscribe([(each, 1) for each in filters])

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """QoS 1. False when it was not taken: not connected, or WINDOW_MAX under way. Nothing is queued."""
        if not self.up or self.error or len(self._under_way) >= WINDOW_MAX:
            return False
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self.error = paho.error_string(sent.rc)
            return False
        self._under_way.add(sent.mid)
        return True

    @property
    def room(self) -> int:
        """How many more messages `publish` would take now."""
        return WINDOW_MAX - len(self._under_way) if self.up and not self.error else 0

    def settle(self) -> None:
        """Acknowledge to the broker whatever on_message was given so far."""
        for mid in self._unsettled:
            self._client.ack(mid, 1)
        self._unsettled.clear()

    def close(self) -> None:
        """Say goodbye; the broker keeps the session."""
        if self.up and not self.error:
            self._client.disconnect()
            self._client.loop(0.1)
        self.up = self.ready = False

    def _connected(self, _client: object, _data: object, _flags: object, code: object, _properties: object) -> None:
        self.answered = str(code) != "Unsupported protocol version"
        if getattr(code, "is_failure", True):
            self.error = f"the broker refused: {code}"
        else:
            self.up = True

    def _disconnected(self, _client: object, _data: object, _flags: object, code: object, _properties: object) -> None:
        self.up = self.ready = False
        self.error = self.error or f"connection over: {code}"

    def _subscribed(self, _client: object, _data: object, mid: int, codes: Any, _properties: object) -> None:
        if mid != self._subscription:
            return
        if any(getattr(code, "is_failure", True) for code in codes):
            self.error = "the broker does not grant the subscription; expected an ACL that lets the city read"
        else:
            self.ready = True

    def _published(self, _client: object, _data: object, mid: int, code: object, _properties: object) -> None:
        self._under_way.discard(mid)
        self.refused += bool(getattr(code, "is_failure", False))

    def _received(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        if message.qos:  # QoS 2 is never asked for; QoS 0 needs no answer
            self._unsettled.append(message.mid)
        self._on_message(message.topic, bytes(message.payload))


def _session_properties(expiry_s: int) -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = expiry_s
    properties.ReceiveMaximum = RECEIVE_MAX
    properties.MaximumPacketSize = PACKET_BYTES_MAX
    return properties


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    return context
