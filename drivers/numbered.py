"""What the gateway remembers of a source that numbers its frames; the node link and the kiosk line share it.

Frames count only in order (go-back-N): `received` is the last number taken, `durable` the last one that is
safe on the gateway's disk. Both are told to the source, which keeps everything beyond `durable`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from drivers.reading import Fact, Said

ACK_EVERY_S = 1.0
RECEIVED_EVERY_S = 0.05  # nothing of the source's waits for `received` but its patience, 500 ms
ASK_EVERY_S = 1.0
NACK_EVERY_S = 0.05
UNFINISHED_S = 0.3  # of a frame whose end does not come

SAY_NOTHING, SAY_ACK, SAY_NACK, SAY_ASK = range(4)

LONG_AGO_S = float("-inf")


class Numbered:
    """Marks of one source and what to answer it; given the time, does no input or output.

    mark: (boot, seq) of the last frame known durable from an earlier run, or (0, 0). Boots count from 1.
    known: whether the source has said HELLO to this process; before it nothing numbered is taken.
    """

    def __init__(self, mark: tuple[int, int] = (0, 0)) -> None:
        self.boot, self.received = mark
        self.durable = self.received
        self.known = False
        self._ack_due = False
        self._ack_now = False  # without waiting for RECEIVED_EVERY_S
        self._nack_due = False
        self._ask_due = False
        self._acked_s = LONG_AGO_S
        self._paced_s = LONG_AGO_S  # when an ACK last went that had to keep the pace
        self._nacked_s = LONG_AGO_S
        self._asked_s = LONG_AGO_S

    def hello(self, boot: int, oldest: int, ring: int = 0, following: int = 0) -> tuple[int, int] | None:
        """The source names its boot, the oldest number it can still send and how many it can hold.

        following: the number it will give next, when it says so; we cannot have taken that one yet. Else no ring
        reaches from `oldest` to beyond our mark. If not so, it is another device that counts its boots anew.

        Returns the numbers (first, last) that it can no longer send, or None.
        """
        gone = None
        beyond = following or (oldest + ring if ring else self.received + 1)
        if boot != self.boot or self.received >= beyond:
            self.boot = boot
            self.received = self.durable = max(oldest - 1, 0)
        elif oldest > self.received + 1:
            gone = (self.received + 1, oldest - 1)
            self.received = oldest - 1
        self.known = True
        self._ack_due = self._ack_now = True
        return gone

    def reopened(self) -> None:
        """The plug was out: whoever is there now must say who it is, before anything it numbers is taken."""
        self.known = False
        self._ask_due = True

    def replaced(self) -> None:
        """Its HELLO is another device's: what was known of the marks is not about it."""
        self.boot = self.received = self.durable = 0

    def accept(self, boot: int, seq: int) -> bool:
        """Whether this frame is the next one and is hereby taken; what it is else decides the answer."""
        if self._is_repeat_or_hole(boot, seq, seq):
            return False
        self.received = seq
        self._ack_due = True
        return True

    def lost(self, boot: int, first: int, last: int) -> tuple[int, int] | None:
        """The source gave up first..last. Returns the part of it not received before, or None."""
        if self._is_repeat_or_hole(boot, first, last):
            return None
        gone = (self.received + 1, last)
        self.received = last
        self._ack_due = True
        return gone

    def took(self, last: int) -> None:
        """A caller that checked boot and order itself, for speed, says up to which number it took."""
        self.received = last
        self._ack_due = True

    def made_durable(self, boot: int, seq: int) -> None:
        """Everything up to seq is on disk. Of an earlier boot, or nothing new: no effect."""
        if boot == self.boot and self.durable < seq <= self.received:
            self.durable = seq
            self._ack_due = self._ack_now = True  # it may be waiting for room

    def tick(self, now_s: float) -> None:
        """Repeat, once a second, what a lost answer may have left unsaid."""
        if not self.known:
            self._ask_due = True
        elif now_s - self._acked_s >= ACK_EVERY_S:
            self._ack_due = True

    def answer(self, now_s: float) -> int:
        """What to send now, one of the SAY_ numbers. At most one, paced; a NACK says all that an ACK says.

        What waits for its pace goes with a later call: the caller comes back with `tick`.
        """
        if self._ask_due:
            self._ask_due = False
            if now_s - self._asked_s >= ASK_EVERY_S:
                self._asked_s = now_s
                return SAY_ASK
        if self._nack_due:
            self._nack_due = False
            if now_s - self._nacked_s >= NACK_EVERY_S:
                self._nacked_s = self._acked_s = now_s
                self._ack_due = self._ack_now = False
                return SAY_NACK
        if self._ack_now or (self._ack_due and now_s - self._paced_s >= RECEIVED_EVERY_S):
            self._acked_s = now_s
            if not self._ack_now:
                self._paced_s = now_s
            self._ack_due = self._ack_now = False
            return SAY_ACK
        return SAY_NOTHING

    def _is_repeat_or_hole(self, boot: int, first: int, last: int) -> bool:
        if not self.known or boot != self.boot:
            self._ask_due = True  # rebooted and its HELLO got lost, or it never said one
            return True
        if last <= self.received:
            self._ack_due = True  # it may not have heard our last answer
            return True
        if first > self.received + 1:
            self._nack_due = True
            return True
        return False


class Splits(Protocol):
    """A splitter as its link sees it. rest: what is unfinished."""

    good: int
    bad: int
    rest: bytes


class NumberedLink:
    """What the gateway's ends of both links have in common; a subclass adds `feed` and its wire's words.

    source: the bus's name. mono_s: seconds on this boot's clock. mark: the last durable (boot, seq), or (0, 0).
    ring: frames the source can hold, 0 before its HELLO. beat: its last heartbeat, by name.
    last_heard_s: when an intact frame last came (at first: when this was made). frames_odd: intact frames that
    made no sense; the number of such a frame counts as Lost. refused: why it does not take its settings, or "".
    """

    def __init__(self, source: str, mono_s: Callable[[], float], mark: tuple[int, int], splitter: Splits) -> None:
        self.source = source
        self.ring = 0
        self.beat: dict[str, int] = {}
        self.frames_odd = 0
        self.refused = ""
        self.last_heard_s = mono_s()
        self._mono_s = mono_s
        self._splits = splitter
        self._rest, self._rest_s = b"", LONG_AGO_S
        self._numbered = Numbered(mark)

    def feed(self, data: bytes) -> list[Fact]:
        """The facts that these bytes complete, one by one, in the source's order."""
        raise NotImplementedError

    def hear(self, data: bytes) -> Sequence[Said]:
        """The same, in columns where the link can."""
        return self.feed(data)

    @property
    def hello(self) -> bool:
        return self._numbered.known

    @property
    def boot(self) -> int:
        return self._numbered.boot

    @property
    def received(self) -> int:
        return self._numbered.received

    @property
    def durable_seq(self) -> int:
        return self._numbered.durable

    @property
    def undurable(self) -> int:
        """Frames taken that the source must still hold; past half its ring the gateway commits early."""
        return self._numbered.received - self._numbered.durable

    @property
    def frames_good(self) -> int:
        return self._splits.good

    @property
    def frames_bad(self) -> int:
        return self._splits.bad

    def reopened(self) -> None:
        """The line was closed and is open again."""
        self._numbered.reopened()

    def durable(self, boot: int, seq: int) -> None:
        """Everything of this boot up to seq is on disk: the source may forget it."""
        self._numbered.made_durable(boot, seq)

    def tick(self) -> None:
        """To be called a few times a second: answers that may have got lost are repeated.

        What is unfinished and does not grow has lost its end. Were it to end with the next frame's beginning, its age
        would be counted from then; so it is dropped, and comes again.
        """
        now_s = self._mono_s()
        self._numbered.tick(now_s)
        if self._splits.rest is not self._rest:
            self._rest, self._rest_s = self._splits.rest, now_s
        elif self._rest and now_s - self._rest_s >= UNFINISHED_S:
            self._splits.rest = b""
            self._splits.bad += 1

    def outgoing(self) -> bytes:
        """What to write to the source now; empty most of the time. Each call gives the newest marks."""
        say = self._numbered.answer(self._mono_s())
        if say == SAY_NOTHING:
            return b""
        return self._ask_bytes() if say == SAY_ASK else self._mark_bytes(say == SAY_NACK)

    def _mark_bytes(self, go_back: bool) -> bytes:
        raise NotImplementedError

    def _ask_bytes(self) -> bytes:
        raise NotImplementedError
