"""What the city holds: one SQLite file, and the acknowledgements that follow from it. No network, no clock.

The order is take, commit, acks: a word about a pack goes out only when the pack is on the disk. Ranges are kept in
memory and built again from the file at the start, so that neither a million packs nor a restart makes a word slow.
"""

import re
import sqlite3
from collections import Counter
from pathlib import Path

import msgspec

from simulator.ledger_file import LedgerError, lock, open_file
from simulator.parcels import (
    PLAIN_BYTES_MAX,
    Gap,
    Pack,
    Record,
    Refused,
    Status,
    health_heads,
    open_pack,
    open_status,
    plain,
    same_records,
)
from simulator.spans import Stream

REPEAT_S = 10.0  # everything is said again: an ack may have been lost on its way
SPACING_S = 0.1  # of acks to one gateway, so that they do not fill a slow line
GATEWAYS_MAX = 10_000
_GATEWAY = re.compile(r"[a-z0-9-]{3,40}")
_STREAM = re.compile(r"[a-z0-9-]{1,40}")

# gaps and islands: one row for each unbroken range, so that a restart reads ranges and not numbers
_RANGES = """
SELECT gateway, epoch, stream, min(n), max(n) FROM (
  SELECT gateway, epoch, stream, n, n - row_number() OVER (PARTITION BY gateway, epoch, stream ORDER BY n) AS island
  FROM packs) GROUP BY gateway, epoch, stream, island
"""


class Ledger:
    """path: made when it is not there. root: the tenant's part of the topics. watching: only look, write nothing.

    Raises LedgerError for a file that is none of ours; sqlite3.Error when the disk does not take more: nothing that
    was not committed was acknowledged, so start again and it is sent again.
    """

    def __init__(self, path: Path, root: str = "linli", *, watching: bool = False) -> None:
        self._prefix = f"{root}/v1/"
        self._lock = None if watching else lock(path)
        try:
            self._db = open_file(path, watching=watching)
        except LedgerError:
            self._unlock()
            raise
        self._in_transaction = False
        self.counts: Counter[str] = Counter(dict(self._db.execute("SELECT name, value FROM counts")))
        self._counted = self.counts.copy()  # as the file has them
        self.streams: dict[tuple[str, str, str], Stream] = {}
        self._names: dict[tuple[str, str], set[str]] = {}  # streams by gateway and epoch
        self._current: dict[str, tuple[int, str | None, str | None]] = {}  # gateway: session, state, epoch
        self._changed: dict[tuple[str, str], set[str]] = {}
        self._said_s: dict[str, float] = {}
        self._repeated_s: dict[str, float] = {}
        self._load()

    def _load(self) -> None:
        for gateway, epoch, stream, first, last in self._db.execute(_RANGES):
            state = self.stream(gateway, epoch, stream)
            state.held.add(first, last)
            state.known.add(first, last)
        gaps = "SELECT gateway, epoch, stream, first, last FROM gaps WHERE first IS NOT NULL"
        for gateway, epoch, stream, first, last in self._db.execute(gaps):
            self.stream(gateway, epoch, stream).name(first, last)
        for gateway, epoch, stream, head in self._db.execute("SELECT gateway, epoch, stream, head FROM heads"):
            self.stream(gateway, epoch, stream).head = head
        rejects = "SELECT gateway, epoch, stream, n, why FROM rejects"
        for gateway, epoch, stream, n, why in self._db.execute(rejects):
            state = self.stream(gateway, epoch, stream)
            if n not in state.known:
                state.rejects[n] = why
        for gateway, session, state, epoch in self._db.execute("SELECT gateway, session, state, epoch FROM gateways"):
            self._current[gateway] = (session, state, epoch)

    def stream(self, gateway: str, epoch: str, stream: str) -> Stream:
        key = (gateway, epoch, stream)
        found = self.streams.get(key)
        if found is None:
            found = self.streams[key] = Stream()
            self._names.setdefault((gateway, epoch), set()).add(stream)
        return found

    def rows(self, query: str, *values: object) -> sqlite3.Cursor:
        """For those who look into the file: the view and the verdict."""
        return self._db.execute(query, values)

    def about(self, key: str, otherwise: str) -> str:
        """A word kept with the file; `otherwise` is written when there is none yet."""
        self._begin()
        self._db.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (key, otherwise))
        value = self._db.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()[0]
        self.commit()
        return str(value)

    def close(self) -> None:
        self.commit()
        self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    # what comes in

    def take(self, topic: str, payload: bytes, received_s: float) -> None:
        """One message. received_s: UTC seconds. A payload that cannot be used is counted, never raised."""
        try:
            self._take(topic, payload, received_s)
        except sqlite3.Error:
            self._undo()
            raise

    def _take(self, topic: str, payload: bytes, received_s: float) -> None:
        gateway, _, rest = topic.removeprefix(self._prefix).partition("/")
        if not topic.startswith(self._prefix) or not self._welcome(gateway, received_s):
            self._count("strange topics")
            return
        try:
            self._sort(gateway, rest, payload, received_s)
        except Refused as refused:
            self._count("unreadable")
            if refused.name:
                self._reject(gateway, refused, payload, received_s)

    def _sort(self, gateway: str, rest: str, payload: bytes, received_s: float) -> None:
        if rest.startswith("up/") and _STREAM.fullmatch(rest[3:]):
            body = plain(payload)
            pack, records = open_pack(body, rest[3:])
            self._take_pack(gateway, pack, records, body, received_s)
        elif rest == "status":
            self._take_status(gateway, payload, received_s)
        elif rest in ("meta", "state"):
            self._begin()
            column = "meta" if rest == "meta" else "latest"
            values = (plain(payload), received_s, gateway)
            self._db.execute(f"UPDATE gateways SET {column} = ?, heard = ? WHERE gateway = ?", values)
        else:
            self._count("strange topics")

    def _welcome(self, gateway: str, received_s: float) -> bool:
        if gateway in self._current:
            return True
        if not _GATEWAY.fullmatch(gateway) or len(self._current) >= GATEWAYS_MAX:
            return False
        self._begin()
        self._db.execute("INSERT INTO gateways (gateway, heard) VALUES (?, ?)", (gateway, received_s))
        self._current[gateway] = (-1, None, None)
        return True

    def _take_pack(self, gateway: str, pack: Pack, records: list[Record], body: bytes, received_s: float) -> None:
        key = (gateway, pack.epoch, pack.stream, pack.n)
        state = self.stream(*key[:3])
        self._change(gateway, pack.epoch, pack.stream)
        if pack.n in state.held:
            self._again(key, body, received_s)
            return
        self._begin()
        label = (pack.boot, pack.mono, pack.clock, pack.cfg)
        values = (*key, *label, len(records), body, received_s)
        self._db.execute("INSERT INTO packs VALUES (?,?,?,?,?,?,?,?,?,?,?)", values)
        if state.rejects.pop(pack.n, None) is not None:
            self._db.execute("DELETE FROM rejects WHERE gateway=? AND epoch=? AND stream=? AND n=?", key)
        state.held.add(pack.n)
        state.known.add(pack.n)
        for record in records:
            self._read(gateway, pack, record)
        if self._current[gateway][2] is None:  # no status yet: the city may listen where nothing is retained
            self._follow(gateway, pack.epoch)

    def _read(self, gateway: str, pack: Pack, record: Record) -> None:
        """What a record tells the ledger itself."""
        if record.gap is not None:
            self._name(gateway, pack, record.gap)
        elif record.began is not None:
            prev = record.began.prev
            if prev is not None:
                self._heads(gateway, prev, record.began.heads)
                if self._current[gateway][2] == prev:
                    self._follow(gateway, pack.epoch)
        elif record.type:
            self._heads(gateway, pack.epoch, health_heads(record))

    def _name(self, gateway: str, pack: Pack, gap: Gap) -> None:
        epoch = gap.epoch or pack.epoch
        where = (gateway, epoch, pack.stream, gap.first, gap.last)
        what = (gap.records, gap.reason, gap.from_s, gap.to_s, pack.epoch, pack.n)
        self._db.execute("INSERT INTO gaps VALUES (?,?,?,?,?,?,?,?,?,?,?)", (*where, *what))
        if gap.first is not None and gap.last is not None:
            self.stream(gateway, epoch, pack.stream).name(gap.first, gap.last)
            self._change(gateway, epoch, pack.stream)

    def _again(self, key: tuple[str, str, str, int], body: bytes, received_s: float) -> None:
        where = "gateway=? AND epoch=? AND stream=? AND n=?"
        held = self._db.execute(f"SELECT body FROM packs WHERE {where}", key).fetchone()[0]
        self._count("copies")
        if not same_records(held, body):
            self._count("conflicts")
            self._db.execute("INSERT INTO conflicts VALUES (?,?,?,?,?,?)", (*key, body, received_s))

    def _reject(self, gateway: str, refused: Refused, payload: bytes, received_s: float) -> None:
        assert refused.name is not None
        epoch, stream, n = refused.name
        state = self.stream(gateway, epoch, stream)
        self._change(gateway, epoch, stream)
        if n in state.held:
            return
        self._count("rejects")
        self._begin()
        values = (gateway, epoch, stream, n, refused.why, payload[:PLAIN_BYTES_MAX], received_s)
        self._db.execute("INSERT OR REPLACE INTO rejects VALUES (?,?,?,?,?,?,?)", values)
        state.rejects[n] = refused.why

    def _take_status(self, gateway: str, payload: bytes, received_s: float) -> None:
        if not payload:
            return  # a retained status that somebody cleared
        status: Status = open_status(plain(payload))
        session, _, epoch = self._current[gateway]
        if status.session < session:
            self._count("old statuses")  # the will of a connection that was already replaced
            return
        epoch = status.epoch or epoch
        self._begin()
        heads = msgspec.json.encode(status.heads).decode()
        values = (status.session, status.state, epoch, heads, payload, received_s, gateway)
        changes = "session=?, state=?, epoch=?, heads=?, status=?, heard=?"
        self._db.execute(f"UPDATE gateways SET {changes} WHERE gateway=?", values)
        self._current[gateway] = (status.session, status.state, epoch)
        if epoch:
            self._heads(gateway, epoch, status.heads)
        if status.state == "online":
            self._repeated_s.pop(gateway, None)  # say everything to the one who has just come

    def _follow(self, gateway: str, epoch: str) -> None:
        session, state, _ = self._current[gateway]
        self._db.execute("UPDATE gateways SET epoch = ? WHERE gateway = ?", (epoch, gateway))
        self._current[gateway] = (session, state, epoch)

    def _heads(self, gateway: str, epoch: str, heads: dict[str, int]) -> None:
        for stream, head in heads.items():
            state = self.stream(gateway, epoch, stream)
            if head > state.head:
                state.head = head
                self._begin()
                self._db.execute("INSERT OR REPLACE INTO heads VALUES (?,?,?,?)", (gateway, epoch, stream, head))
                self._change(gateway, epoch, stream)

    def _change(self, gateway: str, epoch: str, stream: str) -> None:
        self._changed.setdefault((gateway, epoch), set()).add(stream)

    def _count(self, name: str) -> None:
        self._begin()
        self.counts[name] += 1

    # what becomes durable, and what is said of it

    def _begin(self) -> None:
        if not self._in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
            self._in_transaction = True

    @property
    def waiting(self) -> bool:
        """Whether something was taken that is not committed."""
        return self._in_transaction

    def commit(self) -> None:
        if self._in_transaction:
            try:
                if self.counts != self._counted:
                    self._db.executemany("INSERT OR REPLACE INTO counts VALUES (?, ?)", self.counts.items())
                self._db.execute("COMMIT")
            except sqlite3.Error:
                self._undo()
                raise
            self._in_transaction = False
            self._counted = self.counts.copy()

    def _undo(self) -> None:
        """The file is as at the last commit; the ranges in memory are not: what follows is a new Ledger."""
        self._in_transaction = False
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def acks(self, now_s: float, at_most: int = 1_000) -> list[tuple[str, bytes]]:
        """(gateway, payload) of what changed, and every REPEAT_S of everything. now_s: monotonic seconds.

        Nothing while something waits for its commit. A pack of an older epoch is acknowledged under that epoch.
        What is over at_most comes with the next call.
        """
        if self.waiting:
            return []
        for gateway, (_, state, epoch) in self._current.items():
            if state == "online" and epoch and now_s - self._repeated_s.get(gateway, -REPEAT_S) >= REPEAT_S:
                self._repeated_s[gateway] = now_s
                self._changed.setdefault((gateway, epoch), set()).update(self._names.get((gateway, epoch), ()))
        due = [key for key in self._changed if now_s - self._said_s.get(key[0], -SPACING_S) >= SPACING_S]
        return [(gateway, self._word(gateway, epoch, now_s)) for gateway, epoch in due[:at_most]]

    def say_again(self) -> None:
        """Whatever was said may be lost: the next acks say everything, to all but those who are offline."""
        for gateway, (_, state, epoch) in self._current.items():
            if state != "offline" and epoch:
                self._changed.setdefault((gateway, epoch), set()).update(self._names.get((gateway, epoch), ()))

    def _word(self, gateway: str, epoch: str, now_s: float) -> bytes:
        self._said_s[gateway] = now_s
        names = sorted(self._changed.pop((gateway, epoch)))
        streams = {name: self.streams[gateway, epoch, name].word() for name in names}
        return msgspec.json.encode({"v": 1, "epoch": epoch, "streams": streams})
