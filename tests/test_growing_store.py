"""A store with ten million readings that wait is no dearer than one with a thousand (promises P5, P6), by counts."""

import random
import sqlite3
from pathlib import Path

from gateway.budget import CHUNK_PACKS
from gateway.home import DATABASE
from gateway.packs import Column, encode_columns
from gateway.pending import Confirm
from gateway.reader import Reader
from gateway.schema import N_MAX, pack_id
from gateway.store import Store
from simulator.cost_rig import CostRig, Counter
from simulator.virtual_disk import DB, WAL, VirtualDisk
from tests.cost_load import WARM_S, Readings, site, tickets
from tests.test_store import Hand, opened


def fill(database: Path, packs: int) -> None:
    """So many packs of 500 readings that wait, as the gateway would have stored them."""
    column = Column("s000", "m3/s", "n1", 1)
    dice = random.Random(9)
    for i in range(500):
        column.monos.append(100.0 + i / 100)
        column.values.append(round(abs(dice.gauss(2e-4, 2e-5)), 7))
        column.seqs.append(i + 1)
    body = encode_columns([column], 105.0)
    with sqlite3.connect(database) as db:
        first = pack_id(1, "readings", 0)
        head = db.execute("SELECT max(id) FROM packs WHERE id BETWEEN ? AND ?", (first, first + N_MAX)).fetchone()[0]
        row = (0, 0, 500, 1, 105.0, 1_800_000_000.0, "ntp", 0.05, "cafe0001", 100.0, 105.0, 0, body)
        db.executemany(
            f"INSERT INTO packs VALUES (?{',?' * 13})", ((row_id, *row) for row_id in range(head + 1, head + 1 + packs))
        )
        db.execute("UPDATE streams SET head = ? WHERE stream = 2", (head + packs - first,))
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def prices(folder: Path, packs: int) -> dict[str, float]:
    """Of one commit while so many packs wait: what the store asks of SQLite, and SQLite of the disk."""
    disk = VirtualDisk()
    state = folder / "state"
    with CostRig(site(folder), state, away=True):
        pass
    fill(state / DATABASE, packs)
    found: dict[str, float] = {}
    with CostRig(folder / "site.toml", state, disk.name, away=True, step_s=0.5) as rig:
        Readings(rig, 20.0)
        rig.go(WARM_S)
        disk.count_reads()
        for doing in ("append", "ack"):
            disk.count_anew()
            before = rig.costs()
            for n in range(30):
                if doing == "ack":
                    rig.storage.put(Confirm(rig.store.epoch, {"readings": n // 15}))
                rig.go(10.0)
            spent, counts = rig.costs() - before, disk.count_anew()
            found[f"statements, {doing}"] = spent.statements / spent.commits
            found[f"steps, {doing}"] = spent.steps / spent.commits
            found[f"pages written, {doing}"] = (counts[DB].writes + counts[WAL].writes) / spent.commits
            found[f"pages read, {doing}"] = (counts[DB].reads + counts[WAL].reads) / spent.commits
    disk.close()
    return found


def test_ten_million_readings_that_wait_make_a_commit_no_dearer_than_a_thousand(tmp_path):
    few, many = (prices(tmp_path / str(packs), packs) for packs in (2, 20_000))
    print(few, many)
    for what, price in many.items():
        assert price <= 1.3 * few[what], (what, few, many)


def test_giving_up_walks_once_over_what_must_stay_and_not_at_each_commit(tmp_path):
    """Every second pack has gone long ago; what goes now must not be looked for among all the others each time."""
    steps: dict[tuple[int, bool], float] = {}
    for packs in (2_400, 20_000):
        hand = Hand()
        opened(tmp_path / str(packs), hand).close()
        fill(tmp_path / str(packs) / DATABASE, packs)
        store = opened(tmp_path / str(packs), hand)
        store._db.execute("DELETE FROM packs WHERE id & 1 AND notice = 0")
        for forgetful in (False, True):
            give_up(store, forgetful)
            counter = Counter()
            counter.watch(store._db)
            for _ in range(3):
                give_up(store, forgetful)
            steps[packs, forgetful] = counter.steps / 3
        store.close()
    print(steps)
    assert steps[20_000, False] <= 1.3 * steps[2_400, False]
    assert steps[20_000, True] > 5 * steps[2_400, True]  # so it would be seen


def give_up(store: Store, forgetful: bool) -> None:
    if forgetful:
        store._budget.forget()
    with store._transaction():
        assert store._evict() == CHUNK_PACKS


# -- every statement -------------------------------------------------------------------------------------------------

FEW_ROWS = {"box", "epochs", "streams", "sources", "names", "keep", "walls"}  # a site has so many, and no more
SOON_EMPTY = {"journal", "minute_parts"}  # until the pack closes, until the hour is over


def walks(plan: list[str], sql: str) -> list[str]:
    """What of a plan reads more rows the longer the box has run."""
    found = []
    for step in plan:
        verb, _, rest = step.partition(" ")
        table = rest.split(" ")[0]
        from_the_oldest = " LIMIT " in sql and " WHERE " not in sql
        few = table in FEW_ROWS | SOON_EMPTY or table.startswith("(") or "INDEX packs_" in rest
        if (verb == "SCAN" and not few and not from_the_oldest) or "TEMP B-TREE" in step:
            found.append(step)
    return found


def test_no_statement_of_a_serving_gateway_walks_over_what_waits(tmp_path, disk):
    """Readings, samples, tickets, an alarm, and a city that says all it can; then old age and no room."""
    with CostRig(site(tmp_path, sensors=4, sampled=4), tmp_path / "state", disk.name, step_s=0.5) as rig:
        Readings(rig, 2.0, points=4)
        sampled = Readings(rig, 4.0, "n2", 4)
        tickets(rig)(6.0)
        rig.go(400.0)
        sampled.level = 1.0
        rig.go(2.0)
        sampled.level = 0.0
        rig.go(2600.0)
        rig.ack({"readings": {"upto": 9, "also": [[12, 14]], "missing": [[1, 9]], "reject": [{"n": 11, "why": "old"}]}})
        rig.go(60.0)
        rig.store._numbers.hours += 10_000
        rig.go(120.0)
        rig.ack({"readings": {"upto": 9, "missing": [[1, 9]]}})
        rig.go(60.0)
        look_back(rig, Reader(rig.store.path, disk.name))
        with rig.store._transaction():
            while rig.store._evict():
                pass
        seen = rig.store_sql.seen | rig.reader_sql.seen
        plans = {sql: plan_of(rig.store._db, example) for sql, example in seen.items() if sql.split(" ")[0] in ASKING}
        found = {sql: walked for sql, plan in plans.items() if (walked := walks(plan, sql))}
        for bad in ("SELECT count(*) FROM packs", "SELECT id FROM packs WHERE state = 0 LIMIT 5"):
            assert walks(plan_of(rig.store._db, bad), bad)  # so it would be seen
    print(len(seen), "statements", *sorted(plans), sep="\n")
    assert not found
    for part in LIVED:
        assert any(part in sql for sql in plans), f"this hour has not come by {part!r}"


LIVED = (
    "packs_notice", "packs_confirmed", "DELETE FROM packs", "DELETE FROM raw", "minute_hours VALUES", "body FROM raw",
    "body FROM minute_hours", "id & ? = ?", "SET acked", "RETURNING records",
)  # fmt: skip
ASKING = {"SELECT", "UPDATE", "DELETE", "INSERT"}


def plan_of(db: sqlite3.Connection, sql: str) -> list[str]:
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]


def look_back(rig: CostRig, reader: Reader) -> None:
    """As the page does it."""
    rig.reader_sql.watch(reader._db)
    assert reader.minutes("s000", 0, 2e9)
    assert reader.samples("t00", 0, 2e9, 5)
    reader.close()
