"""Which pack goes next, how much may be under way, and what the city's word means. No thread, no socket, no clock.

Live alarms, then events, live readings and health, then the backlog. The store is the only queue: the courier holds
cursors, a small window of what is under way and a bounded list of what the city asked to see again.
"""

import random
from collections import deque
from typing import NamedTuple

from gateway.contract import STREAMS, Ack, ContractError, StreamAck, parse_ack
from gateway.pending import Confirm
from gateway.reader import Reader, Row
from gateway.schema import pack_id, pack_name

_FETCH = 16
_AGAIN_MAX = 20_000  # packs asked for again and waiting; the ledger repeats what did not fit
_TOLD_MAX = 100_000  # numbers remembered as told to be gone
_ACK_BYTES_MAX = 262_144
_RECENT_S = 1.0  # after a PUBACK: the ledger may have asked before it came
_ALLOWANCE_B = 16_384  # of backlog under way on an unknown link
_ALLOWANCE_MIN_B = 1  # one pack at a time: on a slow link an alarm waits behind that one, no more
_ALLOWANCE_MAX_B = 4_000_000
_BULK = ("readings", "health")  # live, too, they share the backlog's room, so that no alarm waits behind them
_QUEUED_LOW_S, _QUEUED_HIGH_S = 0.05, 0.1  # P3: an alarm waits at most so long behind the backlog
_LIVE_SLOTS = 2  # of the window that the backlog leaves free
_HOLD_MIN_S, _HOLD_MAX_S = 5.0, 300.0  # of a stream that the broker refused; airtime costs money


class Lane:
    """A range of one stream still to be handed out: at < n <= upto."""

    def __init__(self, epoch_no: int, stream: str, at: int, upto: int) -> None:
        self.epoch_no, self.stream, self.at, self.upto = epoch_no, stream, at, upto
        self._rows: deque[Row] = deque()

    def next(self, reader: Reader) -> Row | None:
        """The next waiting pack. Numbers that went in the meantime are passed over."""
        if not self._rows and self.at < self.upto:
            self._rows.extend(reader.after(self.epoch_no, self.stream, self.at, self.upto, _FETCH))
            if not self._rows:
                self.at = self.upto
        if not self._rows:
            return None
        row = self._rows.popleft()
        self.at = row.n
        return row

    @property
    def left(self) -> bool:
        return self.at < self.upto or bool(self._rows)

    def holds(self, n: int) -> bool:
        return self.at < n <= self.upto


class Parcel(NamedTuple):
    """What to publish now."""

    row: Row
    backlog: bool


class _UnderWay(NamedTuple):
    row_id: int
    size: int
    backlog: bool
    since_s: float


class _Hold(NamedTuple):
    """The broker refused this stream: until when nothing of it goes, and how long that wait was."""

    wait_s: float
    until_s: float


class Courier:
    """One for each connection. dice: jitter of the re-sending. confirm: "city" or "broker".

    rtt_s: what a small message took there and back on this connection, if that is known: queueing is judged by it.
    """

    def __init__(
        self, reader: Reader, dice: random.Random, confirm: str, window: int, resend_s: float, now_s: float,
        rtt_s: float = 1e9,
    ) -> None:  # fmt: skip
        self._reader = reader
        self._dice = dice
        self._by_broker = confirm == "broker"
        self._window = window
        self._backlog_window = max(1, window - _LIVE_SLOTS)
        self._resend_s = resend_s
        streams = reader.streams()
        self.epochs = reader.epochs()
        self.epoch_no = max(self.epochs)
        self.heads = {stream: streams[self.epoch_no, stream][0] for stream in STREAMS}
        self._acked = {key: acked for key, (_, acked) in streams.items()}
        self._tops = {key: head for key, (head, _) in streams.items()}
        self._live = {s: Lane(self.epoch_no, s, self.heads[s], self.heads[s]) for s in STREAMS}
        self._backlog = [Lane(no, s, acked, head) for (no, s), (head, acked) in streams.items() if acked < head]
        self._backlog.sort(key=lambda lane: (STREAMS.index(lane.stream), lane.epoch_no))
        self._again: dict[str, deque[int]] = {stream: deque() for stream in STREAMS}
        self._again_ids: set[int] = set()
        self._recent: dict[int, float] = {}
        self._under_way: dict[int, _UnderWay] = {}
        self._under_way_ids: set[int] = set()
        self._backlog_b = 0
        self._allowance_b = _ALLOWANCE_B
        self._rtt_min_s = rtt_s
        self._held: dict[str, _Hold] = {}
        self._shrunk_s = now_s
        self._next_resend_s = now_s + self._jittered()
        self._sent_before = dict(self._acked)
        self._told_pruned: set[int] = set()
        self._by_puback: dict[tuple[int, str], set[int]] = {}
        self._beyond: dict[tuple[int, str], list[tuple[int, int]]] = {}  # ranges behind a pack that the broker lacks
        self.refused = ""

    def _jittered(self) -> float:
        return self._resend_s * self._dice.uniform(0.9, 1.2)

    # -- what goes next ------------------------------------------------------------------------------------------

    def stored(self, heads: dict[str, int]) -> None:
        """The store has more now. Word that is older than what this courier has read itself changes nothing."""
        for stream, head in heads.items():
            self.heads[stream] = max(self.heads[stream], head)
            self._live[stream].upto = self.heads[stream]
            self._tops[self.epoch_no, stream] = self.heads[stream]

    def next(self, now_s: float, others: int = 0) -> Parcel | None:
        """The next pack to publish, None when there is none or no room for it. Raises sqlite3.DatabaseError.

        others: messages under way that are no packs; they count against the broker's Receive Maximum all the same.
        """
        under_way = len(self._under_way) + others
        if under_way >= self._window:
            return None
        full = under_way >= self._backlog_window or self._backlog_b >= self._allowance_b
        for stream in STREAMS:
            bulk = stream in _BULK
            if bulk and full:
                continue
            if self._may_go(stream, now_s) and (row := self._live[stream].next(self._reader)):
                return Parcel(row, backlog=bulk)
        if now_s >= self._next_resend_s:
            self._resend(now_s)
        if full:
            return None
        return self._next_again(now_s) or self._next_backlog(now_s)

    def _next_again(self, now_s: float) -> Parcel | None:
        for stream, waiting in self._again.items():
            if stream in self._held and any(lane.stream == stream and lane.left for lane in self._backlog):
                continue  # it may be one pack that the broker does not like: try with another
            while waiting and self._may_go(stream, now_s):
                row_id = waiting.popleft()
                self._again_ids.discard(row_id)
                row = self._reader.one(*pack_name(row_id))
                if row:
                    return Parcel(row, backlog=True)
        return None

    def _next_backlog(self, now_s: float) -> Parcel | None:
        for lane in list(self._backlog):
            if not self._may_go(lane.stream, now_s):
                continue
            lane.at = max(lane.at, self._acked[lane.epoch_no, lane.stream])
            row = lane.next(self._reader)
            if row:
                return Parcel(row, backlog=True)
            self._backlog.remove(lane)
        return None

    def _may_go(self, stream: str, now_s: float) -> bool:
        """A stream that the broker refused waits, then tries with one pack; the other streams do not wait for it."""
        held = self._held.get(stream)
        if held is None:
            return True
        return now_s >= held.until_s and all(pack_name(u.row_id)[1] != stream for u in self._under_way.values())

    def alarms_wait(self, now_s: float) -> bool:
        """Whether an alarm is to be handed out before anything else."""
        lanes = (self._live["alarms"], *(lane for lane in self._backlog if lane.stream == "alarms"))
        return any(lane.left for lane in lanes) and self._may_go("alarms", now_s)

    def _resend(self, now_s: float) -> None:
        """Sent one period ago or earlier and still not confirmed: the broker may have dropped it."""
        self._next_resend_s = now_s + self._jittered()
        for key, upto in self._sent_before.items():
            acked = self._acked[key]
            if acked < upto and not any((lane.epoch_no, lane.stream) == key for lane in self._backlog):
                self._backlog.append(Lane(*key, acked, upto))
        self._sent_before = {key: self._handed_out(key) for key in self._acked}

    def _handed_out(self, key: tuple[int, str]) -> int:
        return self._live[key[1]].at if key[0] == self.epoch_no else self._tops[key]

    # -- what became of it ---------------------------------------------------------------------------------------

    def sent(self, mid: int, parcel: Parcel, size: int, now_s: float) -> None:
        self._under_way[mid] = _UnderWay(parcel.row.id, size, parcel.backlog, now_s)
        self._under_way_ids.add(parcel.row.id)
        self._backlog_b += size if parcel.backlog else 0

    def _came_through(self, row_id: int, now_s: float) -> None:
        self._recent[row_id] = now_s
        while self._recent and now_s - next(iter(self._recent.values())) > _RECENT_S:
            del self._recent[next(iter(self._recent))]

    def puback(self, mid: int, accepted: bool, now_s: float) -> None:
        """The broker's answer. It moves the window; only with confirm = "broker" does it confirm anything."""
        was = self._under_way.pop(mid, None)
        if was is None:
            return
        self._under_way_ids.discard(was.row_id)
        self._came_through(was.row_id, now_s)
        if was.backlog:
            self._backlog_b -= was.size
            self._learn(now_s - was.since_s, was.size, now_s)
        epoch_no, stream, n = pack_name(was.row_id)
        if not accepted:
            self._hold(stream, now_s)
            self._ask_again(was.row_id)
            return
        self._held.pop(stream, None)
        if self._by_broker:
            self._by_puback.setdefault((epoch_no, stream), set()).add(n)

    def _hold(self, stream: str, now_s: float) -> None:
        """Twice as long each time; the rest of a refused window is one time."""
        held = self._held.get(stream)
        if held and now_s < held.until_s:
            return
        wait_s = min(2 * held.wait_s, _HOLD_MAX_S) if held else _HOLD_MIN_S
        self._held[stream] = _Hold(wait_s, now_s + wait_s)

    def _learn(self, rtt_s: float, size: int, now_s: float) -> None:
        """Delay-based: grow while nothing queues on the link, shrink when more than 100 ms of ours does."""
        self._rtt_min_s = min(self._rtt_min_s, rtt_s)
        queued_s = rtt_s - self._rtt_min_s
        if queued_s < _QUEUED_LOW_S:
            self._allowance_b = min(_ALLOWANCE_MAX_B, self._allowance_b + size)
        elif queued_s > _QUEUED_HIGH_S and now_s - self._shrunk_s > rtt_s:
            self._shrunk_s = now_s
            self._allowance_b = max(_ALLOWANCE_MIN_B, int(self._allowance_b * 0.6))

    def broker_confirms(self) -> list[Confirm]:
        """With confirm = "broker": what PUBACKs confirmed since the last call, `upto` where they are contiguous."""
        found: list[Confirm] = []
        for (epoch_no, stream), numbers in self._by_puback.items():
            acked, ranges = self._acked[epoch_no, stream], self._beyond.get((epoch_no, stream), [])
            ranges = _joined([(acked, acked), *ranges, *((n, n) for n in numbers if n > acked)])
            acked = ranges.pop(0)[1]
            self._acked[epoch_no, stream], self._beyond[epoch_no, stream] = acked, ranges
            also = [(n, n) for n in sorted(numbers) if n > acked]
            found.append(Confirm(self.epochs[epoch_no], {stream: acked}, {stream: also}))
        self._by_puback = {}
        return found

    # -- the city's word -----------------------------------------------------------------------------------------

    def hear(self, payload: bytes, now_s: float) -> Confirm | None:
        """An ack as it came from the broker: None, and `refused` says why, when it cannot be taken."""
        try:
            if len(payload) > _ACK_BYTES_MAX:
                raise ContractError(f"down/ack: {len(payload)} B; expected at most {_ACK_BYTES_MAX}")
            return self.ack(parse_ack(payload), now_s)
        except ValueError as error:  # bytes that are no UTF-8 are no ContractError
            self.refused = str(error)
            return None

    def ack(self, ack: Ack, now_s: float) -> Confirm | None:
        """What the store has to note; None (and `refused` says why) when the ledger speaks of what we never sent."""
        self.refused = ""
        epoch_no = next((no for no, epoch in self.epochs.items() if epoch == ack.epoch), None)
        if epoch_no is None:
            self.refused = f"epoch {ack.epoch} is not ours; ours is {self.epochs[self.epoch_no]}"
            return None
        upto: dict[str, int] = {}
        also: dict[str, list[tuple[int, int]]] = {}
        pruned: dict[str, list[tuple[int, int]]] = {}
        reject: dict[str, list[tuple[int, str]]] = {}
        for stream, said in ack.streams.items():
            key = (epoch_no, stream)
            top = self._tops.get(key, 0)
            if said.upto < 0 or max([said.upto, *(last for _, last in (*said.also, *said.missing))]) > top:
                self.refused = f"{stream}: the ledger speaks of numbers beyond our head {top}"
                continue
            if not top:
                continue
            missing = said.missing + self._fell_back(key, said)
            self._acked[key] = max(self._acked[key], said.upto)
            upto[stream] = said.upto
            also[stream] = said.also
            reject[stream] = [
                (n, str(item.get("why", "")))
                for item in said.reject
                if type(n := item.get("n")) is int and 0 < n <= top
            ]
            if gone := self._missing(key, missing, now_s):
                pruned[stream] = gone
        return Confirm(ack.epoch, upto, also, reject, pruned)

    def _fell_back(self, key: tuple[int, str], said: StreamAck) -> list[tuple[int, int]]:
        """The ledger holds less than it once said: it was restored, and will not know by itself what it lacks."""
        ranges: list[tuple[int, int]] = []
        at = said.upto
        for first, last in sorted([*said.also, (self._acked[key] + 1, self._acked[key])]):
            if first > at + 1:
                ranges.append((at + 1, min(first - 1, self._acked[key])))
            at = max(at, last)
        return [(first, last) for first, last in ranges if first <= last]

    def _missing(self, key: tuple[int, str], ranges: list[tuple[int, int]], now_s: float) -> list[tuple[int, int]]:
        """Queue what is still here; returns the ranges that are not."""
        pruned: list[tuple[int, int]] = []
        named: list[tuple[int, int]] | None = None
        room = _AGAIN_MAX  # of numbers looked up for one ack, however many ranges it brings
        for first, last in ranges:
            if room <= 0:
                break
            last = min(last, first + room - 1)
            room -= last - first + 1
            here = self._reader.numbers(*key, first, last, _AGAIN_MAX)
            for n in here:
                if not self._will_go_anyway(key, n, now_s):
                    self._ask_again(pack_id(*key, n))
            if len(here) < last - first + 1:
                named = self._reader.named_in_gaps(*key) if named is None else named
                pruned += self._gone(key, first, last, set(here), named)
        return pruned

    def _will_go_anyway(self, key: tuple[int, str], n: int, now_s: float) -> bool:
        row_id = pack_id(*key, n)
        if row_id in self._under_way_ids or row_id in self._again_ids:
            return True
        if now_s - self._recent.get(row_id, -_RECENT_S) < _RECENT_S:
            return True
        return any((lane.epoch_no, lane.stream) == key and lane.holds(n) for lane in self._backlog)

    def _ask_again(self, row_id: int) -> None:
        if len(self._again_ids) < _AGAIN_MAX and row_id not in self._again_ids:
            self._again[pack_name(row_id)[1]].append(row_id)
            self._again_ids.add(row_id)

    def _gone(
        self, key: tuple[int, str], first: int, last: int, here: set[int], named: list[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """Ranges of first..last that are neither here nor named in a gap record, each told once a connection."""
        gone: list[tuple[int, int]] = []
        for n in range(first, last + 1):
            row_id = pack_id(*key, n)
            if n in here or row_id in self._told_pruned or any(a <= n <= b for a, b in named):
                continue
            if len(self._told_pruned) >= _TOLD_MAX:
                self._told_pruned.clear()  # by now gap records name them
            self._told_pruned.add(row_id)
            if gone and gone[-1][1] == n - 1:
                gone[-1] = (gone[-1][0], n)
            else:
                gone.append((n, n))
        return gone

    # -- for health and doctor -----------------------------------------------------------------------------------

    @property
    def behind(self) -> bool:
        """More than what is new is still to be handed out, or even that does not find room."""
        full = len(self._under_way) >= self._window - _LIVE_SLOTS
        return bool(self._again_ids or self._backlog) or (full and any(lane.left for lane in self._live.values()))

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    @property
    def idle(self) -> bool:
        """Nothing under way and nothing to hand out."""
        return not (
            self._under_way or self._again_ids or any(lane.left for lane in (*self._live.values(), *self._backlog))
        )

    def acked(self) -> dict[str, int]:
        return {stream: self._acked[self.epoch_no, stream] for stream in STREAMS}


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers in order, with neighbours in one range."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found
