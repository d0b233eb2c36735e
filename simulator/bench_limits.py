"""What this machine can do at best, measured in the same run as the gateway: the figures to stand beside."""

import os
import socket
import statistics
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path

from simulator.bench_frames import bare_readings_a_second
from simulator.bench_table import Figure
from simulator.broker import HOST, Broker
from simulator.mqtt import Connection

MESSAGE_B = 30_000  # about what a pack of 500 readings is on the wire
_PAGE = bytes(4096)
# What the daemon imports and cannot do without; in a process of its own, so that this one stays small.
_IMPORTS = "asyncio, ssl, sqlite3, serial, gpiozero, msgspec, paho.mqtt.client"
_SCORE = """
import sys, time, numpy, onnxruntime
o = onnxruntime.SessionOptions()
o.intra_op_num_threads = o.inter_op_num_threads = 1
s = onnxruntime.InferenceSession(sys.argv[1], o, providers=["CPUExecutionProvider"])
given = s.get_inputs()[0]
x = numpy.zeros((1, given.shape[1]), numpy.float32)
took = []
for _ in range(2000):
    began = time.perf_counter()
    s.run(["score"], {given.name: x})
    took.append(time.perf_counter() - began)
print(sorted(took)[1000] * 1e6)
"""
_PEAK = "print(int(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]) / 1024)"


class Limits:
    """Each is measured when it is first asked for. folder: on the disk that is measured. Raises BrokerError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def fsync_ms(self) -> float:
        return fsync_ms(self._folder)

    @cached_property
    def _broker(self) -> tuple[float, float, float]:
        with Broker(self._folder / "broker", extra="set_tcp_nodelay true\nmax_queued_messages 0\n") as broker:
            return round_trip_ms(broker.url), paho_messages(broker.url), broker_messages(broker.port)

    @property
    def round_trip_ms(self) -> float:
        return self._broker[0]

    @property
    def paho_messages(self) -> float:
        """Messages of MESSAGE_B a second."""
        return self._broker[1]

    @cached_property
    def pty_cobs(self) -> float:
        """Readings a second, median of three."""
        return statistics.median(bare_readings_a_second() for _ in range(3))

    @cached_property
    def start_s(self) -> float:
        """A bare Python that imports what the daemon needs, from start to end."""
        return self._bare_start[0]

    @cached_property
    def _bare_start(self) -> tuple[float, float]:
        took, peak = [], 0.0
        for _ in range(3):
            began_s = time.monotonic()
            peak = float(_python(f"import {_IMPORTS}; {_PEAK}"))
            took.append(time.monotonic() - began_s)
        return statistics.median(took), peak

    @property
    def rss_mib(self) -> float:
        """A bare Python with the daemon's libraries imported."""
        return self._bare_start[1]

    @cached_property
    def rss_onnx_mib(self) -> float:
        return float(_python(f"import {_IMPORTS}, numpy, onnxruntime; {_PEAK}"))

    def score_us(self, model: Path) -> float:
        """One row through a bare onnxruntime session of this model, median."""
        return float(_python(_SCORE, str(model)))

    def model_start_s(self, code: str) -> float:
        """A new Python that imports numpy and onnxruntime, and then runs this, to its end."""
        began_s = time.perf_counter()
        _python(f"import numpy, onnxruntime; {code}")
        return time.perf_counter() - began_s

    @property
    def alarm_ms(self) -> float:
        """What no alarm can be quicker than: one fsync and one way through the broker."""
        return round(self.fsync_ms + self.round_trip_ms, 3)

    def figures(self) -> list[Figure]:
        """The bare limits as rows of their own."""
        return [
            Figure("bare_fsync_ms", round(self.fsync_ms, 3), "ms"),
            Figure("bare_round_trip_ms", round(self.round_trip_ms, 3), "ms"),
            Figure("bare_paho", round(self.paho_messages), "msg/s"),
            Figure("bare_broker", round(self._broker[2]), "msg/s"),
            Figure("bare_pty_cobs", round(self.pty_cobs), "readings/s"),
        ]


def _python(code: str, *arguments: str) -> str:
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment,
    )
    return done.stdout


def fsync_ms(folder: Path, times: int = 200) -> float:
    """Median of an fsync after a 4 KiB append."""
    took = []
    with (folder / "fsync.probe").open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(_PAGE)
            began_s = time.monotonic()
            os.fsync(file.fileno())
            took.append(time.monotonic() - began_s)
    (folder / "fsync.probe").unlink()
    return statistics.median(took) * 1000


def paho_messages(url: str, size: int = MESSAGE_B, count: int = 2000) -> float:
    """QoS 1 messages of `size` bytes a second from paho through the broker, a window under way, nobody listening."""
    link = Connection(url, "bench-limit", lambda _topic, _payload: None)
    if not link.open():
        return 0.0
    while not link.up and link.turn(0.1):
        pass
    payload, sent, room = bytes(size), 0, link.room
    began_s = time.monotonic()
    while (sent < count or link.room < room) and link.turn(0.01):
        while sent < count and link.publish("bench/limit", payload):
            sent += 1
    took_s = time.monotonic() - began_s
    link.close()
    return count / took_s


def broker_messages(port: int, count: int = 20_000, window: int = 50) -> float:
    """QoS 1 messages of 64 bytes a second from a socket that knows the bytes beforehand: the broker itself."""
    with socket.create_connection((HOST, port), timeout=10) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.sendall(b"\x10\x11\0\4MQTT\4\2\0\x3c\0\5bench")  # CONNECT: 3.1.1, clean session, keep alive 60 s
        _exactly(link, 4)
        body = bytes(64)
        began_s, acked, sent = time.monotonic(), 0, 0
        while acked < count * 4:
            upto = min(count, acked // 4 + window)
            if upto > sent:
                link.sendall(b"".join(_publish(mid, body) for mid in range(sent + 1, upto + 1)))
                sent = upto
            acked += len(link.recv(65536))
        took_s = time.monotonic() - began_s
    return count / took_s


def _publish(mid: int, body: bytes) -> bytes:
    """A PUBLISH of QoS 1 to topic "b", shorter than 128 bytes."""
    rest = b"\0\1b" + mid.to_bytes(2, "big") + body
    return bytes([0x32, len(rest)]) + rest


def _exactly(link: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += link.recv(count - len(data))
    return data


def round_trip_ms(url: str, times: int = 200) -> float:
    """Median from a QoS 1 publish to its arrival at a subscriber of the same broker."""
    came: list[float] = []
    link = Connection(url, "bench-echo", lambda _topic, _payload: came.append(time.monotonic()))
    if not link.open():
        return 0.0
    while not link.up and link.turn(0.1):
        pass
    link.subscribe(["bench/echo"])
    while not link.ready and link.turn(0.1):
        pass
    took = []
    for _ in range(times):
        came.clear()
        began_s = time.monotonic()
        link.publish("bench/echo", b"x" * 300)
        while not came and link.turn(0.05):
            pass
        link.settle()
        took.append(came[0] - began_s)
    link.close()
    return statistics.median(took) * 1000
