"""A store filled quickly: not through serial lines, but by the gateway's own Store and packs."""

import random
import time
from pathlib import Path

from gateway.clock import SystemClock, Wall, boot_id
from gateway.contract import PACK_RECORDS_MAX
from gateway.packs import Column
from gateway.pending import Confirm, Draft, Work
from gateway.store import Store
from simulator.bench_frames import SENSORS

_PACKS_A_COMMIT = 50


class Filled:
    """A gateway's database in `state`, with packs as the load makes them.

    They are of a source that no longer speaks, "n0", so that what a node sends later is not taken for known.
    """

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self._wall = Wall(SystemClock("system"), "0" * 8)
        self._wall.look()
        self._store = Store(state / "linli.db", self._wall, random.Random(1))
        self._store.open(boot_id())
        self._packs = 0
        self.readings = 0

    def pack(self) -> Draft:
        """The next PACK_RECORDS_MAX readings."""
        label = self._wall.label()
        columns = [Column(f"s{i:03}", "m3/s", "n0", 1) for i in range(SENSORS)]
        for seq in range(self.readings + 1, self.readings + PACK_RECORDS_MAX + 1):
            column = columns[(seq - 1) % SENSORS]
            column.monos.append(label.mono + (seq - self.readings) * 1e-5)
            column.values.append(float(seq))
            column.seqs.append(seq)
        self.readings += PACK_RECORDS_MAX
        return Draft("readings", label, columns)

    def fill(self, readings: int) -> None:
        """Until it holds at least so many."""
        while self.readings < readings:
            left = -(-(readings - self.readings) // PACK_RECORDS_MAX)
            drafts = [self.pack() for _ in range(min(left, _PACKS_A_COMMIT))]
            self._packs += len(drafts)
            self._store.commit([Work(drafts)])

    def append_and_ack_s(self) -> float:
        """One pack stored, and the oldest that waits confirmed, so that the backlog stays as long as `fill` made it."""
        draft = self.pack()
        upto = self.head() + 1 - self._packs
        began_s = time.monotonic()
        self._store.commit([Work([draft])])
        self._store.commit([], [Confirm(self._store.epoch, {"readings": upto})])
        return time.monotonic() - began_s

    def head(self) -> int:
        """The number of the last pack of readings."""
        return self._store.heads()["readings"]

    def close(self) -> None:
        self._store.close()
