"""What this machine can do at best, measured in the same run as the gateway: the figures to stand beside."""

import os
import statistics
import time
from pathlib import Path

from simulator.mqtt import Connection

_PAGE = bytes(4096)


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


def paho_messages(url: str, size: int = 30_000, count: int = 600, window: int = 20) -> float:
    """QoS 1 messages of `size` bytes a second through the broker, `window` under way, nobody listening."""
    link = Connection(url, "bench-limit", lambda _topic, _payload: None)
    if not link.open():
        return 0.0
    while not link.up and link.turn(0.1):
        pass
    payload, sent, room = bytes(size), 0, link.room
    began_s = time.monotonic()
    while (sent < count or link.room < room) and link.turn(0.01):
        while sent < count and room - link.room < window and link.publish("bench/limit", payload):
            sent += 1
    took_s = time.monotonic() - began_s
    link.close()
    return count / took_s


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
