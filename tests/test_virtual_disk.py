"""The disk that forgets: what SQLite promises holds on it, and what SQLite does not promise is seen to break."""

import gc
import os
import random
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.reader import Reader
from gateway.store import Store, StoreStalled
from simulator.virtual_disk import DB, JOURNAL, WAL, VirtualDisk
from tests.test_store import Hand, work

CUTS = 120


def opened(disk: VirtualDisk, path: Path, synchronous: str = "FULL", journal: str = "WAL") -> sqlite3.Connection:
    db = sqlite3.connect(f"file:{path}?vfs={disk.name}", uri=True, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA page_size = 1024")
    db.execute(f"PRAGMA journal_mode = {journal}")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute("PRAGMA wal_autocheckpoint = 20")
    db.execute("CREATE TABLE IF NOT EXISTS facts (n INTEGER PRIMARY KEY, body BLOB)")
    return db


def rows(db: sqlite3.Connection) -> list[int]:
    return [n for (n,) in db.execute("SELECT n FROM facts ORDER BY n")]


def kept_rows(disk: VirtualDisk, path: Path) -> list[int]:
    db = opened(disk, path)
    try:
        return rows(db)
    finally:
        db.close()


def add(db: sqlite3.Connection, n: int, dice: random.Random) -> None:
    db.execute("INSERT INTO facts VALUES (?, ?)", (n, dice.randbytes(dice.randrange(3000))))


def cut(disk: VirtualDisk, dice: random.Random) -> None:
    disk.cut(dice)
    disk.power_on()


def cut_in_the_middle(disk: VirtualDisk, dice: random.Random) -> None:
    """The power fails at one of the next writes or syncs."""
    left = dice.randrange(1, 60)

    def stall(_what: str, _kind: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            disk.cut(dice)

    disk.stall = stall


def lives(disk: VirtualDisk, path: Path, synchronous: str, journal: str, dice: random.Random) -> tuple[int, int]:
    """(rows that a commit returned for and a cut took, broken files) over many cuts, each at any write or sync."""
    committed: set[int] = set()
    lost = broken = n = 0
    for _ in range(CUTS):
        cut_in_the_middle(disk, dice)
        try:
            db = opened(disk, path, synchronous, journal)
            for _ in range(40):
                n += 1
                add(db, n, dice)
                committed.add(n)
        except sqlite3.OperationalError:
            pass
        disk.stall = None
        cut(disk, dice)
        try:
            db = opened(disk, path, synchronous, journal)
            if db.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("integrity_check")
            kept = rows(db)
        except sqlite3.DatabaseError:
            broken += 1
            for found in path.parent.glob(f"{path.name}*"):
                found.unlink()
            kept = []
        assert set(kept) <= committed | {n}, "a row that nobody wrote"
        lost += len(committed - set(kept))
        committed = set(kept)
        n = max(n, *committed, 0)
        disk.kill()
        disk.power_on()
    return lost, broken


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_what_was_committed_with_full_or_extra_survives_every_cut(disk, tmp_path, journal):
    synchronous = "FULL" if journal == "WAL" else "EXTRA"  # a deleted journal that returns takes a commit back
    assert lives(disk, tmp_path / "x.db", synchronous, journal, random.Random(7)) == (0, 0)


def test_with_normal_rows_are_lost_and_the_file_stays_sound(disk, tmp_path):
    lost, broken = lives(disk, tmp_path / "x.db", "NORMAL", "WAL", random.Random(7))
    assert lost > CUTS / 2
    assert broken == 0


def test_a_journal_whose_deletion_was_not_synced_takes_commits_back(disk, tmp_path):
    lost, broken = lives(disk, tmp_path / "x.db", "FULL", "DELETE", random.Random(7))
    assert lost > 0
    assert broken == 0


def test_without_syncs_files_break_too(disk, tmp_path):
    lost, broken = lives(disk, tmp_path / "x.db", "OFF", "WAL", random.Random(7))
    assert lost > CUTS / 2
    assert broken > 0


def test_a_torn_frame_at_the_end_of_the_wal_is_left_out_and_the_rest_is_there(disk, tmp_path):
    path, torn = tmp_path / "x.db", 0
    for seed in range(60):
        dice = random.Random(seed)
        db = opened(disk, path, "NORMAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("DELETE FROM facts")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        for n in range(1, 6):
            add(db, n, dice)
        cut(disk, dice)
        left = path.with_name("x.db-wal").stat().st_size
        torn += left > 32 and (left - 32) % (1024 + 24) != 0
        kept = kept_rows(disk, path)
        assert kept == list(range(1, len(kept) + 1)), f"seed {seed}"
        disk.kill()
        disk.power_on()
    assert torn > 0


def test_the_same_dice_leave_the_same_files(tmp_path):
    left = []
    for turn in range(2):
        disk, path = VirtualDisk(), tmp_path / str(turn) / "x.db"
        path.parent.mkdir()
        lives(disk, path, "NORMAL", "WAL", random.Random(3))
        left.append({found.name: found.stat().st_size for found in path.parent.iterdir()})
        disk.close()
    assert left[0] == left[1]


def test_after_a_cut_the_old_connection_is_a_dead_process(disk, tmp_path):
    old = opened(disk, tmp_path / "x.db")
    add(old, 1, random.Random(1))
    cut(disk, random.Random(1))
    for statement in ("SELECT * FROM facts", "INSERT INTO facts VALUES (2, 'x')", "PRAGMA wal_checkpoint"):
        with pytest.raises(sqlite3.OperationalError):
            old.execute(statement).fetchall()
    new = opened(disk, tmp_path / "x.db")  # not held up by the dead one's locks
    add(new, 3, random.Random(1))
    old.close()
    assert rows(new) == [1, 3]
    assert kept_rows(disk, tmp_path / "x.db") == [1, 3]  # the dead one's end took neither WAL nor index with it


def test_a_killed_process_leaves_all_that_it_wrote(disk, tmp_path):
    add(opened(disk, tmp_path / "x.db", "OFF"), 1, random.Random(1))
    disk.kill()
    disk.power_on()
    assert kept_rows(disk, tmp_path / "x.db") == [1]


def written_by_this_process() -> tuple[int, int]:
    """(write calls, bytes) as the kernel counts them."""
    io = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(io["syscw"]), int(io["wchar"])


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_writes_and_bytes_are_those_that_the_kernel_counts_without_the_disk(disk, tmp_path, journal):
    said = []
    for vfs in (disk.name, "unix"):
        db = sqlite3.connect(f"file:{tmp_path}/{vfs}.db?vfs={vfs}", uri=True, isolation_level=None)
        db.execute("PRAGMA page_size = 1024")
        db.execute(f"PRAGMA journal_mode = {journal}")
        db.execute("CREATE TABLE facts (n INTEGER PRIMARY KEY, body BLOB)")
        disk.count_anew()
        before = written_by_this_process()
        for n in range(50):
            add(db, n, random.Random(n))
        said.append(tuple(now - then for now, then in zip(written_by_this_process(), before, strict=True)))
        if vfs == disk.name:
            counted = disk.count_anew()
        db.close()
    assert said[0] == said[1]
    assert said[0] == (sum(c.writes for c in counted.values()), sum(c.bytes for c in counted.values()))


def test_syncs_are_those_that_sqlite_documents(disk, tmp_path):
    """One of the WAL a commit; a checkpoint syncs the WAL, then the database. With a journal a commit costs three."""
    db = opened(disk, tmp_path / "x.db")
    disk.count_anew()
    for n in range(10):
        db.execute("INSERT INTO facts VALUES (?, 'small')", (n,))
    counts = disk.count_anew()
    assert (counts[WAL].syncs, counts[DB].syncs, counts[DB].writes) == (10, 0, 0)
    assert (counts[WAL].writes, counts[WAL].bytes) == (20, 10 * (24 + 1024))  # a frame is a header and a page
    db.execute("PRAGMA wal_checkpoint").fetchall()
    counts = disk.count_anew()
    assert (counts[WAL].syncs, counts[DB].syncs) == (1, 1)
    db = opened(disk, tmp_path / "y.db", journal="DELETE")
    disk.count_anew()
    db.execute("INSERT INTO facts VALUES (1, 'small')")
    counts = disk.count_anew()
    assert (counts[JOURNAL].syncs, counts[DB].syncs) == (2, 1)


def test_a_full_disk_says_so_and_room_makes_it_go_on(disk, tmp_path):
    db = opened(disk, tmp_path / "x.db")
    disk.room_bytes = 5_000
    with pytest.raises(sqlite3.OperationalError) as error:
        for n in range(10):
            add(db, n, random.Random(n))
    assert error.value.sqlite_errorname == "SQLITE_FULL"
    before = rows(db)
    disk.mend()
    add(db, 100, random.Random(1))
    assert rows(db) == [*before, 100]


@pytest.mark.parametrize(
    ("what", "name"), [("write", "SQLITE_IOERR_WRITE"), ("sync", "SQLITE_IOERR_FSYNC"), ("read", "SQLITE_IOERR_READ")]
)
def test_a_fault_is_told_by_its_own_name_and_passes(disk, tmp_path, what, name):
    db = opened(disk, tmp_path / "x.db")
    add(db, 1, random.Random(1))
    disk.fail(what, times=1)
    db = opened(disk, tmp_path / "x.db") if what == "write" else db
    with pytest.raises(sqlite3.OperationalError) as error:
        if what == "read":
            sqlite3.connect(f"file:{tmp_path}/x.db?vfs={disk.name}", uri=True).execute("SELECT * FROM facts")
        add(db, 2, random.Random(2))
    assert error.value.sqlite_errorname == name
    add(db, 3, random.Random(3))
    assert rows(db) == [1, 3]


def test_a_disk_that_opens_nothing_says_so(disk, tmp_path):
    disk.fail("open")
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        opened(disk, tmp_path / "x.db")
    disk.mend()
    assert kept_rows(disk, tmp_path / "x.db") == []


def test_what_a_failed_sync_left_may_be_lost_whatever_is_synced_later(disk, tmp_path):
    """fsync tells its failure once; the pages are clean then, and a later success says nothing about them."""
    fates = set()
    for seed in range(40):
        path = tmp_path / f"{seed}.db"
        db = opened(disk, path, "NORMAL")
        db.execute("INSERT INTO facts VALUES (1, 'x')")
        disk.fail("sync", times=1)
        with pytest.raises(sqlite3.OperationalError):
            db.execute("PRAGMA wal_checkpoint").fetchall()
        db.execute("PRAGMA synchronous = FULL")
        db.execute(
            "INSERT INTO facts VALUES (2, 'x')"
        )  # this one's own sync is good, and its frame stands behind a lost one
        cut(disk, random.Random(seed))
        fates.add(tuple(kept_rows(disk, path)))
    assert fates >= {(), (1, 2)}


def test_time_may_pass_in_a_write_while_others_read(disk, tmp_path):
    db, reader = opened(disk, tmp_path / "x.db"), opened(disk, tmp_path / "x.db")
    add(db, 1, random.Random(1))
    seen: list[tuple[str, str, int]] = []
    writer = threading.current_thread()

    def stall(what: str, kind: str) -> None:
        assert threading.current_thread() is writer
        seen.append((what, kind, len(rows(reader))))

    disk.stall = stall
    db.execute("INSERT INTO facts VALUES (2, 'x')")
    disk.stall = None
    assert seen[-1] == ("sync", WAL, 1)
    assert {what for what, *_ in seen} == {"write", "sync"}
    assert rows(reader) == [1, 2]


def test_what_a_stall_raises_fails_the_write_and_is_not_swallowed(tmp_path):
    disk = VirtualDisk()
    db = opened(disk, tmp_path / "x.db")

    def stall(_what: str, _kind: str) -> None:
        raise LookupError("no such night")

    disk.stall = stall
    with pytest.raises(sqlite3.OperationalError):
        add(db, 1, random.Random(1))
    with pytest.raises(LookupError, match="no such night"):
        disk.cut(random.Random(1))
    disk.close()


def test_several_disks_fail_apart(tmp_path):
    disks = [VirtualDisk() for _ in range(3)]
    dbs = [opened(disk, tmp_path / f"{disk.name}.db") for disk in disks]
    disks[1].fail("write")
    add(dbs[0], 1, random.Random(1))
    with pytest.raises(sqlite3.OperationalError):
        add(dbs[1], 1, random.Random(1))
    disks[0].cut(random.Random(1))
    add(dbs[2], 1, random.Random(1))
    assert [disk.counts[WAL].syncs > 0 for disk in disks] == [True, True, True]
    for disk in disks:
        disk.close()


def test_files_and_disks_made_and_thrown_away_leave_nothing(tmp_path):
    def turn() -> None:
        disk = VirtualDisk()
        kept = opened(disk, tmp_path / "x.db")
        add(kept, 1, random.Random(1))
        cut(disk, random.Random(1))
        add(opened(disk, tmp_path / "x.db"), 2, random.Random(1))
        disk.close()
        del kept
        for found in tmp_path.iterdir():
            found.unlink()

    def held() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), sys.getallocatedblocks()

    for _ in range(20):
        turn()
    fds, blocks = held()
    for _ in range(300):
        turn()
    assert held()[0] == fds
    assert held()[1] - blocks < 300, "a block a disk would be a leak"


def test_a_program_may_end_with_everything_open(tmp_path):
    code = (
        "import random, sqlite3; from simulator.virtual_disk import VirtualDisk; disk = VirtualDisk();"
        f"db = sqlite3.connect(f'file:{tmp_path}/x.db?vfs={{disk.name}}', uri=True);"
        "db.execute('CREATE TABLE t (a)'); disk.cut(random.Random(1)); disk.power_on();"
        f"db2 = sqlite3.connect(f'file:{tmp_path}/x.db?vfs={{disk.name}}', uri=True);"
        "db2.execute('CREATE TABLE u (a)')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_store_keeps_across_cuts_what_it_committed(disk, tmp_path):
    """The gateway's own store on the disk; cuts at any write, also while it opens."""
    path, dice = tmp_path / "linli.db", random.Random(11)
    Store(path, Hand(), dice).open("first")
    head = 0
    for _ in range(40):
        hand = Hand()
        cut_in_the_middle(disk, dice)
        try:
            store = Store(path, hand, dice, vfs=disk.name)
            store.open("first")
            while True:
                store.commit([work(hand, events=1)])
                head = max(head, store.heads()["events"])
        except (StoreStalled, sqlite3.OperationalError):
            pass
        disk.stall = None
        cut(disk, dice)
        reader = Reader(path, disk.name)
        found = [row.n for row in reader.after(max(reader.epochs()), "events", 0, 1 << 40, 10_000)]
        assert found == list(range(1, len(found) + 1))
        assert len(found) >= head, "committed and lost"
        head = len(found)
        disk.kill()
        disk.power_on()
    assert head > 40
