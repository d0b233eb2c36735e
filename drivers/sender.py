"""The sending end of a numbered line: a ring of frames, kept until the gateway says they are on its disk.

What node_side.py and kiosk_side.py share. Runs under MicroPython too, so it uses nothing that only CPython has.
"""

try:
    from collections.abc import Callable
    from typing import Any
except ImportError:  # MicroPython: these names stand in annotations only
    pass

STUCK_MS = 500
BEAT_EVERY_MS = 5000


class Sender:
    """Numbers, marks and the ring of one device; a subclass says how each message looks on its wire.

    boot: this boot's number, from 1. ring: frames it can hold. mono_ms: milliseconds that never go back or wrap.
    durable <= received, the gateway's marks; refused: items that found the ring full.
    """

    def __init__(self, boot: int, ring: int, mono_ms: Callable[[], int]) -> None:
        if not 1 <= ring <= 65535:
            raise ValueError("a ring holds 1 to 65535 frames")
        self.boot = boot
        self.ring = ring
        self.received = 0
        self.durable = 0
        self.refused = 0
        self.next = 1
        self._mono_ms = mono_ms
        self._born_ms = self._beat_ms = self._progress_ms = mono_ms()
        self._slots: list[Any] = [None] * ring  # frame n lies in slot n % ring
        self._oldest = 1  # the oldest frame that is still held
        self._sent = 0  # the last number written since the last going back
        self._hello_due = True

    @property
    def undurable(self) -> int:
        """Numbers given out and not yet durable: frames held, and those given up but not yet told."""
        return self.next - 1 - self.durable

    @property
    def free(self) -> int:
        """How many more frames the ring takes."""
        return self.ring - (self.next - self._oldest)

    def put(self, item: Any) -> int | None:
        """Keep one item for sending. Returns its number, or None when the ring is full."""
        seq = self.next
        if seq - self._oldest >= self.ring:
            self.refused += 1
            return None
        self._slots[seq % self.ring] = item
        self.next = seq + 1
        return seq

    def give_up(self, count: int) -> tuple[int, int] | None:
        """Forget the oldest frames to make room; a LOST message takes their place. Returns (first, last) forgotten."""
        first = self._oldest
        last = min(first + count, self.next) - 1
        if last < first:
            return None
        self._oldest = last + 1
        return first, last

    def reset_line(self) -> None:
        """The line was cut and is back, or the gateway asks who we are: start again from what is not durable."""
        self._hello_due = True
        self._sent = self.received = self.durable
        self._progress_ms = self._mono_ms()

    def acked(self, boot: int, received: int, durable: int, go_back: bool = False) -> None:
        """The gateway's marks. go_back: it saw a hole behind `received`, whatever it said before."""
        if boot != self.boot or not durable <= received < self.next:
            return  # meant for an earlier boot of ours, or not for us
        if go_back or received > self.received:
            self.received = received
            self._progress_ms = self._mono_ms()
        if durable > self.durable:
            self.durable = durable
            self._release(durable)
        if go_back or self._sent < self.received:
            self._sent = self.received

    def outgoing(self, bytes_max: int) -> bytes:
        """The next whole messages to write, at most bytes_max long; empty when all is said."""
        now_ms = self._mono_ms()
        if self._sent > self.received and now_ms - self._progress_ms >= STUCK_MS:
            self._sent = self.received
        if self._sent == self.received:
            self._progress_ms = now_ms  # nothing is under way, so nothing can be stuck
        messages = []
        room = bytes_max
        if self._hello_due:
            message = self._hello_bytes(self.durable + 1)
            if len(message) > room:
                return b""
            self._hello_due = False
            messages.append(message)
            room -= len(message)
        if now_ms - self._beat_ms >= BEAT_EVERY_MS:
            message = self._beat_bytes((now_ms - self._born_ms) // 1000)
            if len(message) <= room:
                self._beat_ms = now_ms
                messages.append(message)
                room -= len(message)
        seq = self._sent + 1
        while seq < self.next:
            message, after = self._numbered(seq, now_ms)
            room -= len(message)
            if room < 0:
                break
            messages.append(message)
            seq = after
        self._sent = seq - 1
        return b"".join(messages)

    # How frames are kept; the firmware's ring does it in its own way.

    def _release(self, durable: int) -> None:
        """Everything up to `durable` is the gateway's now."""
        self._oldest = max(self._oldest, durable + 1)

    def _numbered(self, seq: int, now_ms: int) -> tuple[bytes, int]:
        """The message that says number `seq`, and the number after what it says."""
        if seq < self._oldest:
            return self._lost_bytes(seq, self._oldest - 1), self._oldest
        return self._item_bytes(seq, self._slots[seq % self.ring], now_ms), seq + 1

    # What a subclass says.

    def _hello_bytes(self, oldest: int) -> bytes:
        raise NotImplementedError

    def _beat_bytes(self, uptime_s: int) -> bytes:
        raise NotImplementedError

    def _lost_bytes(self, first: int, last: int) -> bytes:
        raise NotImplementedError

    def _item_bytes(self, seq: int, item: Any, now_ms: int) -> bytes:
        raise NotImplementedError
