"""The disk budget: what goes first when room is short, and the gap record that says so.

Order: raw samples, what the city has confirmed (no loss), one-minute aggregates, health, readings (every second pack,
then three of four, then all), events, alarms. A pack goes whole or stays; none is rewritten; gap and began stay.
"""

import sqlite3
from typing import NamedTuple

from gateway.contract import STREAMS, Gap
from gateway.history import History
from gateway.schema import CONFIRMED, N_MAX, WAITING, pack_id, pack_name

CHUNK_PACKS = 64
_PRUNE_PACKS = 200
_ROOMY_TO = 0.85
FULL_AT = 0.90  # of the budget: begin to give up
_LEAST_B = 131_072  # the tables of an empty store take a third of it
REASON = "disk-budget"


class _Step(NamedTuple):
    stream: str
    pick: str  # SQL over the pack's number, which is in the low bits of id


_STEPS = (
    _Step("health", "1"),
    _Step("readings", "id & 1"),
    _Step("readings", "id & 3 = 2"),
    _Step("readings", "1"),
    _Step("events", "1"),
    _Step("alarms", "1"),
)


class Evicted(NamedTuple):
    rows: int  # packs, or rows of the history
    gaps: dict[str, list[Gap]]  # by stream; empty when all of it was confirmed


class Budget:
    """Owned by the store; works inside the store's transaction."""

    def __init__(self, db: sqlite3.Connection, budget_b: int, history: History) -> None:
        self._db = db
        self._history = history
        self.pages_max = max(_LEAST_B, budget_b) // self._pragma("page_size")
        self._limit_pages = self.pages_max
        self._beyond: dict[tuple[_Step, int], int] = {}  # of a step and an epoch: up to this id nothing is left to pick
        db.execute(f"PRAGMA max_page_count = {self.pages_max}")

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def forget(self) -> None:
        """A transaction was taken back, and what it gave up is there again."""
        self._beyond = {}

    @property
    def used_pages(self) -> int:
        return self._pragma("page_count") - self._pragma("freelist_count")

    @property
    def short(self) -> bool:
        enough = self._limit_pages * FULL_AT
        return self._pragma("page_count") > enough and self.used_pages > enough

    @property
    def is_roomy(self) -> bool:
        """Whether old packs may still come in without those that follow being short of room."""
        return self.used_pages < self.pages_max * _ROOMY_TO

    def stop_growing(self) -> None:
        """The file system is full although the budget is not: live within what the file has now."""
        self._limit_pages = min(self._limit_pages, max(64, int(self._pragma("page_count") * 0.98)))

    def grow_again(self) -> None:
        self._limit_pages = self.pages_max

    @property
    def limited(self) -> bool:
        return self._limit_pages < self.pages_max

    def evict(self) -> Evicted:
        """Give up one chunk, the least valuable first. rows is 0 when nothing is left to give up."""
        if rows_gone := self._history.give_up_raw():
            return Evicted(rows_gone, {})
        confirmed = self._confirmed_ids()
        if confirmed:
            self._delete(confirmed)
            return Evicted(len(confirmed), {})
        if rows_gone := self._history.give_up_minutes():
            return Evicted(rows_gone, {})
        for step in _STEPS:
            rows = self._waiting_rows(step)
            if rows:
                self._delete([row[0] for row in rows])
                return Evicted(len(rows), {step.stream: _gaps(rows, self._names())})
        return Evicted(0, {})

    def prune(self, before_hour: float, events_before_hour: float) -> None:
        """What was confirmed long enough ago, by hours of operation: a lying clock must not delete anything.

        events_before_hour: for alarms and events, which the reports are made from.
        """
        for epoch_no, stream, acked in self._db.execute("SELECT epoch_no, stream, acked FROM streams").fetchall():
            first = pack_id(epoch_no, STREAMS[stream], 0)
            for limit in (1, _PRUNE_PACKS):  # nearly always not even the oldest one is old enough
                rows = self._db.execute(
                    "SELECT id, hour FROM packs WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
                    (first, first + acked, limit),
                ).fetchall()
                before = events_before_hour if STREAMS[stream] in ("alarms", "events") else before_hour
                old = [row_id for row_id, hour in rows if hour < before]
                self._delete(old)
                if not old:
                    break

    def _confirmed_ids(self) -> list[int]:
        for epoch_no, stream, acked in self._db.execute("SELECT epoch_no, stream, acked FROM streams"):
            first = pack_id(epoch_no, STREAMS[stream], 0)
            rows = self._db.execute(
                "SELECT id FROM packs WHERE id > ? AND id <= ? LIMIT ?", (first, first + acked, CHUNK_PACKS)
            ).fetchall()
            if rows:
                return [row[0] for row in rows]
        rows = self._db.execute(
            f"SELECT id FROM packs INDEXED BY packs_confirmed WHERE state = {CONFIRMED} LIMIT ?", (CHUNK_PACKS,)
        ).fetchall()
        return [row[0] for row in rows]

    def _waiting_rows(self, step: _Step) -> list[tuple[int, int, float | None, float | None]]:
        for (epoch_no,) in self._db.execute("SELECT no FROM epochs ORDER BY no").fetchall():
            first = pack_id(epoch_no, step.stream, 0)
            after = self._beyond.get((step, epoch_no), first)
            rows = self._db.execute(
                "SELECT id, records, wall + first_mono - mono, wall + last_mono - mono FROM packs"
                f" WHERE id > ? AND id <= ? AND state = {WAITING} AND notice = 0 AND ({step.pick}) ORDER BY id LIMIT ?",
                (after, first + N_MAX, CHUNK_PACKS),
            ).fetchall()
            if rows:
                self._beyond[step, epoch_no] = rows[-1][0]
                return rows
            last = self._db.execute("SELECT max(id) FROM packs WHERE id > ? AND id <= ?", (first, first + N_MAX))
            self._beyond[step, epoch_no] = last.fetchone()[0] or first
        return []

    def _names(self) -> dict[int, str]:
        """Epoch names, without the newest: a gap names its epoch only when it is another one."""
        rows = self._db.execute("SELECT no, epoch FROM epochs ORDER BY no").fetchall()
        return dict(rows[:-1])

    def _delete(self, ids: list[int]) -> None:
        self._db.executemany("DELETE FROM packs WHERE id = ?", [(row_id,) for row_id in ids])


def _gaps(rows: list[tuple[int, int, float | None, float | None]], epochs: dict[int, str]) -> list[Gap]:
    """One gap a run of neighbouring numbers."""
    gaps: list[Gap] = []
    for row_id, records, from_s, to_s in rows:
        epoch_no, _, n = pack_name(row_id)
        last = gaps[-1] if gaps else None
        if last is not None and last.last == n - 1:
            count = records + (last.records or 0)
            gaps[-1] = Gap(REASON, last.first, n, count, last.from_s, to_s, last.epoch)
        else:
            gaps.append(Gap(REASON, n, n, records, from_s, to_s, epochs.get(epoch_no)))
    return gaps
