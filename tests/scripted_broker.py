"""A broker on a loopback socket that does what a test says, also what no broker should: MQTT 3.1.1 and 5, by hand."""

import socket
import struct
import threading
from collections.abc import Callable
from typing import NamedTuple

ACCEPTED, HANG_UP, SILENCE = b"\x00", b"hang up", b"silence"  # for `welcome`; else the CONNACK's code, then properties


class Publish(NamedTuple):
    topic: str
    payload: bytes
    retain: bool
    mid: int
    connection: int


class Connect(NamedTuple):
    version: int
    client_id: str
    user: str
    packet_bytes_max: int = 0  # MQTT 5's Maximum Packet Size; 0: none was said


def receive_maximum(count: int) -> bytes:
    return ACCEPTED + b"\x03\x21" + struct.pack(">H", count)


class ScriptedBroker:
    """welcome(connect), grant and puback(publish) are the script; they may be changed while it runs.

    puback: the reason code, or None to leave the message unanswered. answering: while False answers wait; `release`
    sends them. connects, published: what came, in order. most_waiting: of QoS 1 messages not answered, of a connection.
    """

    def __init__(self) -> None:
        self.welcome: Callable[[Connect], bytes] = lambda _: ACCEPTED
        self.puback: Callable[[Publish], int | None] = lambda _: 0
        self.grant = 1
        self.answering = True
        self.connects: list[Connect] = []
        self.published: list[Publish] = []
        self.most_waiting = 0
        self._waiting: list[bytes] = []
        self._unanswered = 0
        self._lock = threading.Lock()
        self._link: socket.socket | None = None
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._closed = False
        threading.Thread(target=self._serve, name="scripted broker", daemon=True).start()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def say(self, data: bytes) -> None:
        """Any bytes, to whoever is connected."""
        link = self._link
        if link:
            try:
                link.sendall(data)
            except OSError:
                pass  # gone: the test sees that by what it waits for

    def tell(self, topic: str, payload: bytes) -> None:
        """A QoS 0 message."""
        version = self.connects[-1].version
        self.say(packet(0x30, text(topic) + (b"\x00" if version == 5 else b"") + payload))

    def disconnect(self, code: int) -> None:
        self.say(packet(0xE0, bytes([code, 0])))

    def cut(self) -> None:
        link, self._link = self._link, None
        try:
            if link:
                link.shutdown(socket.SHUT_RDWR)  # its thread closes it
        except OSError:
            pass  # the other side was first

    def release(self) -> None:
        """Answer what waits, and from now on at once."""
        with self._lock:
            self.answering = True
            waiting, self._waiting, self._unanswered = self._waiting, [], 0
        self.say(b"".join(waiting))

    def close(self) -> None:
        self._closed = True
        self._listening.close()
        self.cut()

    def __enter__(self) -> "ScriptedBroker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while not self._closed:
            try:
                link, _ = self._listening.accept()
            except OSError:
                return
            self._link, self._waiting, self._unanswered = link, [], 0
            threading.Thread(target=self._attend, args=(link,), daemon=True).start()

    def _attend(self, link: socket.socket) -> None:
        try:
            with link, link.makefile("rb") as line:
                while head := line.read(1):
                    self._take(link, head[0], line.read(remaining_length(line.read)))
        except (OSError, ValueError, IndexError, struct.error):
            pass  # it was cut in the middle of something

    def _take(self, link: socket.socket, head: int, body: bytes) -> None:
        kind, v5 = head >> 4, not self.connects or self.connects[-1].version == 5
        if kind == 1:
            self._connect(link, body)
        elif kind == 3:
            self._publish(head, body, len(self.connects))
        elif kind == 8:
            self.say(packet(0x90, body[:2] + (b"\x00" if v5 else b"") + bytes([self.grant])))
        elif kind == 12:
            self.say(packet(0xD0, b""))

    def _connect(self, link: socket.socket, body: bytes) -> None:
        connect = parse_connect(body)
        self.connects.append(connect)
        answer = self.welcome(connect)
        if answer == HANG_UP:
            link.shutdown(socket.SHUT_RDWR)
        elif answer != SILENCE:
            body = answer if len(answer) > 1 or connect.version == 4 else answer + b"\x00"
            self.say(packet(0x20, b"\x00" + body))

    def _publish(self, head: int, body: bytes, connection: int) -> None:
        size = struct.unpack(">H", body[:2])[0]
        topic, mid, at = body[2 : 2 + size].decode(), struct.unpack(">H", body[2 + size : 4 + size])[0], 4 + size
        v5 = self.connects[-1].version == 5
        payload = body[at + 1 :] if v5 else body[at:]  # the gateway sends no properties
        publish = Publish(topic, payload, bool(head & 1), mid, connection)
        self.published.append(publish)
        code = self.puback(publish)
        with self._lock:
            self._unanswered += 1
            self.most_waiting = max(self.most_waiting, self._unanswered)
            if code is None:
                return
            answer = packet(0x40, struct.pack(">H", mid) + (bytes([code, 0]) if v5 else b""))
            if not self.answering:
                self._waiting.append(answer)
                return
            self._unanswered -= 1
        self.say(answer)


def packet(head: int, body: bytes) -> bytes:
    size, coded = len(body), bytearray()
    while True:
        coded.append(size % 128 | (128 if size > 127 else 0))
        size //= 128
        if not size:
            return bytes([head]) + bytes(coded) + body


def text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()


def remaining_length(read: Callable[[int], bytes]) -> int:
    size = shift = 0
    while True:
        byte = read(1)[0]
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return size


def parse_connect(body: bytes) -> Connect:
    version, flags, at = body[6], body[7], 10
    size = b""
    if version == 5:
        size = body[at + 1 : at + 1 + body[at]].partition(b"\x27")[2][:4]
        at += 1 + body[at]

    def field() -> bytes:
        nonlocal at
        start, at = at + 2, at + 2 + struct.unpack(">H", body[at : at + 2])[0]
        return body[start:at]

    client_id = field().decode()
    if flags & 4:
        if version == 5:
            at += 1 + body[at]
        field(), field()
    return Connect(version, client_id, field().decode() if flags & 128 else "", int.from_bytes(size, "big"))
