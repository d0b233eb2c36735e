"""Whether what a power cut left still has all that was acknowledged: opened by the real store, read pack by pack.

Every pack goes into a fresh ledger of the city, so that numbers, copies and values are judged as `linli verify` does.
"""

import random
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.clock import SystemClock, Wall
from gateway.contract import Topics, status
from gateway.reader import Reader
from gateway.salvage import HEADS, last_heads
from gateway.schema import SchemaError
from gateway.store import Store, StoreCorrupt, StoreStalled
from gateway.wal import damage
from simulator.comparison import EXAMPLES_MAX, Comparison, numbers
from simulator.ledger import Ledger
from simulator.mounts import MountError
from simulator.truth_book import TruthBook

_ROOT, _GATEWAY = "linli", "after-the-cut"
_BOOT_ID = "after-the-cut"
_PACKS_AT_ONCE = 500


class Found(NamedTuple):
    """Of one state. acked: facts that were acknowledged before the cut; faults: what must be 0, by name."""

    acked: int
    facts: int
    faults: dict[str, int]
    examples: list[str]

    @property
    def good(self) -> bool:
        return not any(self.faults.values())


def examine(database: Path, acked: Mapping[str, int], book: TruthBook, workplace: Path) -> Found:
    """acked: {"n1/3": last number heard as durable}. workplace: a folder for the ledger; it is left empty.

    Anything at all that keeps the store from being read is the state's damage, not an error of ours.
    """
    try:
        return _examine(database, acked, book, workplace)
    except (sqlite3.Error, OSError, SchemaError, StoreStalled, StoreCorrupt, MountError, msgspec.MsgspecError) as error:
        return Found(sum(acked.values()), 0, {"damaged": 1}, [f"{type(error).__name__}: {error}"])


def _examine(database: Path, acked: Mapping[str, int], book: TruthBook, workplace: Path) -> Found:
    examples: list[str] = []
    faults = {"damaged": 0}
    if why := damage(database):  # before anything opens it: a cut must not look like a broken log
        faults["damaged"] = 1
        examples.append(why)
    if database.exists() and (said := integrity(database)) != "ok":
        faults["damaged"] = 1
        examples.append(f"integrity_check: {said}")
    wall = Wall(SystemClock("system"), "cfg00000")
    wall.look()
    noted = last_heads(database.with_name(HEADS))
    store = Store(database, wall, random.Random(1))
    store.open(_BOOT_ID)
    try:
        if acked and noted.epoch != store.epoch:
            faults["damaged"] = 1
            examples.append(f"{HEADS}: found epoch {noted.epoch}, expected {store.epoch}")
        if store.happened:
            faults["damaged"] = 1
            examples.append(store.happened)
        marks = {f"{source}/{boot}": seq for source, (boot, seq) in store.marks().items()}
        comparison, holes = _through_the_ledger(store, book, workplace)
    finally:
        store.close()
    faults |= {"holes": holes, "wrong": comparison.wrong, "twice": comparison.twice, "invented": comparison.invented}
    # A source forgets what it hears as durable at the next HELLO too, so the store's own marks bind it as well.
    owed = {source: max(acked.get(source, 0), marks.get(source, 0)) for source in acked.keys() | marks.keys()}
    lost = [f"{prefix}/{seq}" for prefix, seq in comparison.absent() if int(seq) <= owed.get(prefix, 0)]
    faults["lost"] = len(lost)
    examples += lost[:EXAMPLES_MAX]
    examples += [f"{name}: {text}" for name, texts in comparison.examples.items() for text in texts]
    return Found(sum(acked.values()), comparison.arrived, faults, examples[: 2 * EXAMPLES_MAX])


def integrity(database: Path) -> str:
    db = sqlite3.connect(database)
    try:
        return str(db.execute("PRAGMA integrity_check(3)").fetchone()[0])
    finally:
        db.close()


def _through_the_ledger(store: Store, book: TruthBook, workplace: Path) -> tuple[Comparison, int]:
    """The comparison that was fed with every pack, and how many numbers are neither there nor named."""
    path = workplace / "after.db"
    ledger = Ledger(path, _ROOT)
    reader = Reader(store.path)
    topics = Topics(_ROOT, _GATEWAY)
    try:
        heads = store.heads()
        hello = status(
            online=True, session=1, epoch=store.epoch, boot=1, cfg="cfg00000", versions={}, heads=heads,
        )  # fmt: skip
        ledger.take(topics.status, hello, 0.0)
        _carry(reader, topics, lambda topic, payload: ledger.take(topic, payload, 0.0))
        ledger.commit()
        comparison = Comparison(book)
        comparison.feed(ledger, _GATEWAY)
        found, _ = numbers(ledger, _GATEWAY)
        return comparison, found.holes + found.heads_not_reached + found.conflicts + found.rejects
    finally:
        reader.close()
        ledger.close()
        for file in workplace.glob(f"{path.name}*"):
            file.unlink()


def _carry(reader: Reader, topics: Topics, give: Callable[[str, bytes], None]) -> None:
    for (epoch_no, stream), (head, _) in reader.streams().items():
        n = 0
        while rows := reader.after(epoch_no, stream, n, head, _PACKS_AT_ONCE):
            for row in rows:
                give(topics.up(stream), reader.payload(row, topics))
            n = rows[-1].n
