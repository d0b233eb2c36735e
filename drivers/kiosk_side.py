"""A kiosk's end of the line protocol LK1, without a port: for the simulator's kiosks, and as a pattern for a maker."""

from collections.abc import Callable, Mapping
from typing import Any

from drivers import kiosk_line
from drivers.node_frame import AGE_MAX_MS, SEQ_MAX
from drivers.sender import Sender


class KioskSide(Sender):
    """One kiosk. name: what it calls itself. The rest: see Sender."""

    def __init__(self, boot: int, ring: int, name: str, mono_ms: Callable[[], int]) -> None:
        super().__init__(boot, ring, mono_ms)
        self.name = name
        self._splitter = kiosk_line.LineSplitter()

    def add(self, event: str, fields: Mapping[str, object]) -> int | None:
        """Keep one event for sending: "issued" and its fields, see kiosk_line. Its number, or None: the ring is full.

        Raises ValueError when the fields do not fit one line.
        """
        words = kiosk_line.event_words(event, fields)
        kiosk_line.seal_event(SEQ_MAX, SEQ_MAX, AGE_MAX_MS, words)  # too long must fail here, not at sending
        return self.put((words, self._mono_ms()))

    def feed(self, data: bytes) -> None:
        """Bytes heard from the gateway."""
        for line in self._splitter.feed(data):
            if line.kind == "?":
                self.reset_line()
            elif line.kind in ("A", "N"):
                boot, received, durable = line.numbers
                self.acked(boot, received, durable, line.kind == "N")

    def _hello_bytes(self, oldest: int) -> bytes:
        reach = max(self.ring, self.next - oldest)  # what was given up stands between what is held
        return kiosk_line.encode_hello(self.boot, oldest, reach, self.name)

    def _beat_bytes(self, uptime_s: int) -> bytes:
        return kiosk_line.encode_beat(uptime_s)

    def _lost_bytes(self, first: int, last: int) -> bytes:
        return kiosk_line.encode_lost(self.boot, first, last)

    def _item_bytes(self, seq: int, item: Any, now_ms: int) -> bytes:
        words, at_ms = item
        return kiosk_line.seal_event(self.boot, seq, now_ms - at_ms, words)
