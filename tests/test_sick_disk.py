"""A disk that is full, read-only, broken, deleted or slow: nothing is lost in silence, and alarms act at once."""

import argparse
import errno
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.reading import Reading
from gateway import diskless, wal
from gateway.alarms import LATCHED, NORMAL, RETURNED, UNACKNOWLEDGED, Alarms, Came, Kept, Rule
from gateway.clock import SystemClock
from gateway.contract import Label, Record
from gateway.home import Home
from gateway.packs import open_records
from gateway.pending import Pending, Work
from gateway.schema import pack_name
from gateway.storage import Broken, Storage, Stored
from gateway.store import Store, StoreStalled
from simulator import fuse_door, sick_disk
from simulator.keeper import Keeper
from simulator.processes import Processes
from simulator.sick_folder import SickFolder

ON_CI = os.environ.get("CI") == "true"
ROOT = Path(__file__).parents[1]


class Hand:
    """A wall that stands still."""

    boot = 0

    def label(self) -> Label:
        return Label(self.boot, 1000.0, 1_800_000_000.0, "ntp", None, "cfg00000")


def opened(folder: Path, seed: int = 1) -> Store:
    store = Store(folder / "linli.db", Hand(), random.Random(seed))
    store.open("boot")
    return store


def work(seq: int) -> Work:
    """One event and ten readings of n1, the last of them number `seq`, so that nothing stays in the journal."""
    pending = Pending(Hand().label, 1.0, 30.0)
    pending.record("events", Record("ticket.issued", "k1", 1000.0, {"value": f"A{seq}"}), 1000.0)
    dice = random.Random(seq)
    for number in range(seq - 9, seq + 1):
        pending.reading("s", "m3/s", "n1", Reading("n1:flow1", dice.random(), 1000.0, 3, number), 1000.0)
    pending.mark("n1", 3, seq)
    found = pending.take(1000.0, everything=True)
    assert found
    return found


def after_a_kill(folder: Path, to: Path) -> Path:
    """The state folder as a killed gateway leaves it: nothing closed, nothing checkpointed."""
    to.mkdir()
    for name in ("linli.db", "linli.db-wal", "heads.json"):
        shutil.copy(folder / name, to)
    return to


def filled(folder: Path, commits: int = 60) -> Store:
    store = opened(folder)
    for i in range(1, commits + 1):
        store.commit([work(10 * i)])
    return store


def held_and_lost(folder: Path, epoch: str, stream: str) -> tuple[set[int], set[int]]:
    """Numbers of the first epoch that the database has, and those that its gap records name."""
    db = sqlite3.connect(folder / "linli.db")
    rows = db.execute("SELECT id, notice, body FROM packs").fetchall()
    db.close()
    held, lost = set(), set()
    for row_id, notice, body in rows:
        epoch_no, name, n = pack_name(row_id)
        if name == stream and epoch_no == 1:
            held.add(n)
        for record in open_records(body) if notice and name == stream else ():
            if record.get("gap", {}).get("epoch") == epoch:
                lost |= set(range(record["gap"]["first"], record["gap"]["last"] + 1))
    return held, lost


# -- the write-ahead log ---------------------------------------------------------------------------------------------


def test_a_log_broken_in_the_middle_gives_back_what_is_whole_and_names_the_rest(tmp_path):
    before = filled(tmp_path)
    folder = after_a_kill(tmp_path, tmp_path / "killed")
    with open(folder / "linli.db-wal", "r+b") as log:
        log.seek(log.seek(0, os.SEEK_END) // 3)
        log.write(b"\xa5" * 1500)
    store = opened(folder, seed=2)
    assert store.epoch != before.epoch and "log is broken behind frame" in store.happened
    assert store.marks() == {"n1": (3, 600)}
    for stream, head in before.heads().items():
        held, lost = held_and_lost(folder, before.epoch, stream)
        most = head + 1 if stream in ("readings", "events") else head  # what an open pack had would have come next
        assert set(range(1, head + 1)) <= held | lost <= set(range(1, most + 1)) and len(lost) <= 3
    assert [path.name[-4:] for path in folder.glob("*.corrupt-*-log")] == ["-log"]


@pytest.mark.parametrize("cut", [1, 700, 1100, 2500])
def test_a_log_whose_last_commit_is_torn_is_what_a_power_cut_leaves_and_no_damage(tmp_path, cut):
    before = filled(tmp_path, 5)
    folder = after_a_kill(tmp_path, tmp_path / "killed")
    with open(folder / "linli.db-wal", "r+b") as log:
        log.seek(-cut, os.SEEK_END)
        log.write(b"\xa5" * min(cut, 600))
    assert wal.damage(folder / "linli.db") == ""
    store = opened(folder, seed=2)
    assert store.epoch == before.epoch and store.heads()["events"] == before.heads()["events"] - 1


def test_frames_of_an_earlier_turn_of_the_log_are_not_taken_for_forgotten_commits(tmp_path):
    store = filled(tmp_path)
    store._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    store.commit([work(610)])
    folder = after_a_kill(tmp_path, tmp_path / "killed")
    assert wal.damage(folder / "linli.db") == ""
    assert wal.damage(tmp_path / "none.db") == ""
    again = opened(folder, seed=2)
    assert again.epoch == store.epoch and again.heads()["events"] == store.heads()["events"]


# -- the file ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [(), ("linli.db-wal",)])
def test_a_database_deleted_while_it_is_open_is_written_anew_with_everything(tmp_path, kept):
    store = filled(tmp_path)
    for path in tmp_path.iterdir():
        if path.name not in kept:
            path.unlink()
    store.commit([work(610)])
    assert "nothing is lost" in store.happened and store.generation == 1
    heads = store.heads()
    folder = after_a_kill(tmp_path, tmp_path / "killed")
    again = opened(folder, seed=2)
    assert again.epoch == store.epoch and again.heads() == heads and again.marks() == {"n1": (3, 610)}
    assert held_and_lost(folder, store.epoch, "events")[0] == set(range(1, heads["events"] + 1))


def test_when_everything_is_unreadable_every_number_that_may_have_been_given_is_named(tmp_path):
    store = filled(tmp_path, 150)
    folder = after_a_kill(tmp_path, tmp_path / "killed")
    (folder / "linli.db").write_bytes(b"\xa5" * 5000)
    again = opened(folder, seed=2)
    for stream, head in store.heads().items():
        held, lost = held_and_lost(folder, store.epoch, stream)
        assert not held and lost >= set(range(1, head + 1)) and len(lost) < head + 300
    assert again.epoch != store.epoch


class Turned(Storage):
    """Rounds that a test turns."""

    def __init__(self, store: Store) -> None:
        self.stored: list[Stored] = []
        self.told: list[str] = []
        super().__init__(store, lambda: 1000.0, self.stored.append, self.told.append)


def test_a_disk_that_reads_wrong_once_is_no_broken_file_and_one_that_does_twice_is(tmp_path):
    store = opened(tmp_path)
    storage = Turned(store)
    epoch = store.epoch
    storage.put(Broken(0, "said by a reader"))
    storage.round()
    assert store.epoch == epoch and storage.told == []
    storage.put(Broken(0, "said by a reader"))
    storage.round()
    storage.round()
    assert store.epoch != epoch and ["set aside" in told for told in storage.told] == [True, False]
    storage.put(Broken(0, "said of the file that was set aside"))
    storage.round()
    assert store.generation == 1


def test_a_file_that_cannot_be_set_aside_now_is_set_aside_later(tmp_path, monkeypatch):
    store = opened(tmp_path)
    storage = Turned(store)
    storage.put(work(10))
    storage.put(Broken(0, "said by a reader"))
    with monkeypatch.context() as sick:
        sick.setattr(store, "whole", lambda: (_ for _ in ()).throw(sqlite3.OperationalError("disk I/O error")))
        assert storage.round() > 0 and storage.round() > 0
        assert ["cannot be set aside now: disk I/O error" in told for told in storage.told] == [True]
    storage.round()
    assert storage.told[-1] == "" and len(storage.stored[-1].works) == 1 and store.marks() == {"n1": (3, 10)}


def test_figures_are_taken_beside_the_loop_and_of_a_disk_that_fails_they_are_the_last_ones(tmp_path):
    """A disk that hangs holds up whoever asks it: that is the storage's turn, never the loop's."""
    now, found = [1000.0], [{"disk": {"free_mib": 5}}, {"disk": {"free_mib": 4}}]

    def look():
        if not found:
            raise OSError(errno.EIO, "Input/output error")
        return found.pop(0)

    storage = Storage(opened(tmp_path), lambda: now[0], lambda stored: None, lambda why: None, look)
    seen = []
    for _ in range(4):
        storage.round()
        seen.append(storage.figures["disk"]["free_mib"])
        now[0] += 6.0
    assert seen == [5, 5, 4, 4]


def test_a_copy_that_is_put_back_twice_never_uses_a_number_twice(tmp_path):
    """The second time the note speaks of an epoch that the copy has never heard of."""
    store = filled(tmp_path, 2)
    store.close()
    copy, used = (tmp_path / "linli.db").read_bytes(), {store.epoch}
    for seed in (2, 3):
        store = opened(tmp_path, seed=seed)
        used.add(store.epoch)
        store.commit([work(10 * seed + 10)])
        head = store.heads()["events"]
        store.close()
        (tmp_path / "linli.db").write_bytes(copy)
    last = opened(tmp_path, seed=4)
    assert last.epoch not in used and len(used) == 2
    db = sqlite3.connect(tmp_path / "linli.db")
    records = [
        record for (body,) in db.execute("SELECT body FROM packs WHERE notice = 1") for record in open_records(body)
    ]
    db.close()
    gap = {"reason": "restored", "first": 1, "last": head, "epoch": store.epoch}
    assert gap in [record.get("gap") for record in records]


# -- no disk at the start ----------------------------------------------------------------------------------------------


def test_only_a_disk_that_may_be_well_later_is_waited_for(tmp_path):
    assert diskless.is_sick(StoreStalled("full")) and diskless.is_sick(OSError(errno.EROFS, "read-only"))
    assert not diskless.is_sick(PermissionError(errno.EACCES, "not yours"))
    assert diskless.ailing(tmp_path) == "" and list(tmp_path.iterdir()) == [tmp_path / "lock"]
    store = opened(tmp_path)
    store.close()
    assert diskless.ailing(tmp_path) == ""
    (tmp_path / "linli.db").write_bytes(b"\xa5" * 5000)
    assert diskless.ailing(tmp_path) == "", "a broken file is set aside by whoever opens it"
    home = Home(tmp_path)
    assert "already running" in diskless.ailing(tmp_path)
    home.release()
    assert "File exists" in diskless.ailing(tmp_path / "lock")


RULE = Rule("cord", "拉绳", "high", ())


@pytest.mark.parametrize(
    ("here", "came", "told"),
    [
        (Kept(), UNACKNOWLEDGED, [UNACKNOWLEDGED]),
        (Kept(NORMAL, 4), LATCHED, [UNACKNOWLEDGED, LATCHED]),
        (Kept(LATCHED, 4), NORMAL, [UNACKNOWLEDGED, NORMAL]),
        (Kept(UNACKNOWLEDGED, 4, {"value": "pulled"}), RETURNED, []),
    ],
)
def test_an_alarm_that_came_without_a_disk_is_told_as_the_next_occurrence(here, came, told):
    alarms = Alarms([RULE], {"cord": here}, {}, 50.0)
    occurrence = here.occurrence
    changes = alarms.came("cord", Came(Kept(came, 1, {"value": "pulled"}), 40.0), 50.0)
    assert [change.state for change in changes] == told
    assert all(change.occurrence == occurrence + 1 and change.cause == {"value": "pulled"} for change in changes)
    assert [change.mono_s for change in changes] == [40.0, 50.0][: len(told)]
    assert alarms.tick(51.0) == [], "it stands until its cause is refuted"


def test_without_a_disk_nobody_is_acknowledged_and_alarms_are_remembered(tmp_path):
    stored: list[Stored] = []
    storage = diskless.Unstored(opened(tmp_path), lambda: 77.0, stored.append, print)
    storage.came, storage.deeds = {}, {}
    storage.start()
    first = json.dumps({"state": UNACKNOWLEDGED, "occurrence": 1, "cause": {}})
    storage.put(work(10)._replace(keep={"alarm:cord": first, "level:door": '"open"', "output:strobe": None}))
    assert stored[0].works[0].marks == {} and stored[0].heads == {}
    assert storage.came == {"cord": Came(Kept(UNACKNOWLEDGED, 1, {}), 77.0)}
    assert storage.busy_since_s == 77.0 and storage.close(1.0)


def test_what_the_box_does_without_a_disk_is_remembered_but_not_what_only_waits(tmp_path):
    storage = diskless.Unstored(opened(tmp_path), lambda: 77.0, lambda stored: None, print)
    storage.came, storage.deeds = {}, {}
    storage.start()
    waits, in_force = '{"in_force":false,"waits":[1,1,5.0]}', '{"in_force":true,"occurrence":1}'
    for keep in (
        {"reaction:close": waits, "reaction:light": in_force, "hand:pump": '{"action":"on"}', "output:valve": "false"},
        {"reaction:close": in_force, "reaction:light": waits, "hand:pump": None, "output:valve": "true"},
    ):
        storage.put(work(10)._replace(keep=keep))
    done = {"in_force": True, "occurrence": 1}
    assert storage.deeds == {"reaction:close": done, "hand:pump": None, "output:valve": True}
    assert storage.close(1.0)


# -- the tools ---------------------------------------------------------------------------------------------------------


def test_the_sick_folder_fails_as_it_is_ordered_and_is_well_again(tmp_path):
    below, orders = tmp_path / "below", tmp_path / "orders"
    below.mkdir()
    folder = SickFolder(below, orders)
    handle = folder.create("/a", 0o600)
    assert folder.write("/a", b"well", 0, handle) == 4 and folder.read("/a", 4, 0, handle) == b"well"
    for name, code in (("EIO", errno.EIO), ("EROFS", errno.EROFS)):
        orders.write_text(json.dumps({"write": name, "fsync": name}))
        for deed in (
            lambda: folder.write("/a", b"sick", 0, handle),
            lambda: folder.create("/b", 0o600),
            lambda: folder.fsync("/a", 0, handle),
            lambda: folder.unlink("/a"),
            lambda: folder.rename("/a", "/b"),
        ):
            with pytest.raises(OSError) as found:
                deed()
            assert found.value.errno == code
        assert folder.read("/a", 4, 0, handle) == b"well"
        orders.unlink()
        folder.fsync("/a", 0, handle)
    folder.release("/a", handle)


def test_the_keeper_starts_again_what_ended(tmp_path):
    clock = SystemClock()
    with Processes(tmp_path) as processes, Keeper(processes, ["no-such-command"], tmp_path, clock.mono_s) as keeper:
        keeper.start()
        processes.wait_for(lambda: keeper.look() or keeper.restarts > 0, 20.0, clock.mono_s)
        assert keeper.restarts == 1


def test_without_root_it_says_which_faults_there_are(monkeypatch, capsys):
    parser = argparse.ArgumentParser()
    sick_disk.add_arguments(parser)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert sick_disk.run(parser.parse_args([])) == 2
    said = capsys.readouterr().err
    assert "found an ordinary user; expected root" in said and "deleted" in said and "read-only" not in said


def sickdisk(folder: Path, *faults: str) -> list[dict]:
    table = folder / "table.json"
    command = [sys.executable, "-m", "gateway", "sickdisk", "--json", str(table)]
    done = subprocess.run(
        [*command, *(word for fault in faults for word in ("--fault", fault))],
        cwd=ROOT, env=os.environ | {"TMPDIR": str(folder)}, capture_output=True, text=True, timeout=220,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in folder.iterdir()] == ["table.json"]
    found = json.loads(table.read_text())
    assert found["good"] and [row["fault"] for row in found["rows"]] == list(faults)
    assert all(row["facts"] > 300 and not row["silent"] for row in found["rows"])
    return list(found["rows"])


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_running_gateway_outlives_the_deletion_of_its_database(tmp_path_factory):
    (row,) = sickdisk(tmp_path_factory.mktemp("s"), "deleted")
    assert row["lost"] == 0 and row["gaps"] == {} and row["records"]["disk.trouble"] == 1


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_running_gateway_outlives_a_full_disk_and_a_start_on_a_read_only_one(tmp_path_factory):
    if not ON_CI and (missing := fuse_door.what_is_missing()):
        pytest.skip(missing)
    full, read_only = sickdisk(tmp_path_factory.mktemp("s"), "full", "read-only-at-start")
    assert full["records"]["disk.trouble"] >= 1 and set(full["gaps"]) <= {"disk-budget"}
    assert read_only["lost"] == 0 and read_only["restarts"] == 0
    assert read_only["records"] == {"disk.trouble": 1, "disk.well": 1}
    assert full["alarm_ms"] < 1000 and read_only["alarm_ms"] < 1000
