"""A node's end of the node link, without a port: for the simulator's nodes and load, and for the firmware."""

import struct
from binascii import crc32

from drivers.node_frame import (
    ACK,
    AGE_MAX_MS,
    ASK,
    BEAT,
    HELLO,
    LOST,
    NACK,
    Splitter,
    beat_payload,
    cobs,
    encode,
    hello_payload,
    lost_payload,
    parse_ack,
)
from drivers.sender import Sender

try:
    from collections.abc import Callable
    from typing import Any
except ImportError:  # MicroPython: these names stand in annotations only
    pass


class NodeSide(Sender):
    """One node. text: its firmware and points, "fw;flow*2 loop*4". The rest: see Sender.

    free_b, reset_cause, supply_mv: what its next heartbeat will say, beside the uptime.
    """

    def __init__(self, boot: int, ring: int, text: str, mono_ms: Callable[[], int]) -> None:
        Sender.__init__(self, boot, ring, mono_ms)
        self.text = text
        self.free_b = 0
        self.reset_cause = 0
        self.supply_mv = 0
        self._splitter = Splitter()

    def add(self, kind: int, point: int, value: float) -> int | None:
        """Keep one value for sending. kind: DATA or EVENT. Returns its number, or None when the ring is full."""
        return self.put((kind, point, value, self._mono_ms()))

    def feed(self, data: bytes) -> None:
        """Bytes heard from the gateway."""
        for kind, _, seq, payload in self._splitter.feed(data):
            if kind == ASK:
                self.reset_line()
            elif kind in (ACK, NACK):
                try:
                    boot, received, durable = parse_ack(payload)
                except ValueError:
                    continue
                self.acked(boot, received, durable, kind == NACK)
            else:
                self._other(kind, seq, payload)

    def _other(self, kind: int, seq: int, payload: bytes) -> None:
        """A frame that is no mark and no question; a plain node has no use for it."""

    def _hello_bytes(self, oldest: int) -> bytes:
        return encode(HELLO, self.boot, oldest, hello_payload(self.ring, f"{self.text};next={self.next}"))

    def _beat_bytes(self, uptime_s: int) -> bytes:
        payload = beat_payload(uptime_s, self.free_b, self.reset_cause, self.supply_mv)
        return encode(BEAT, self.boot, 0, payload)

    def _lost_bytes(self, first: int, last: int) -> bytes:
        return encode(LOST, self.boot, last, lost_payload(first))

    def _item_bytes(self, seq: int, item: Any, now_ms: int) -> bytes:
        # encode() with its payload, in one step: a load generator comes here 100,000 times a second.
        kind, point, value, at_ms = item
        age_ms = min(now_ms - at_ms, AGE_MAX_MS)
        body = struct.pack("<BIIBHId", kind, self.boot, seq, 14, point, age_ms, value)
        return b"".join((b"\0", cobs(body + struct.pack("<I", crc32(body))), b"\0"))
