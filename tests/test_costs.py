"""What a gateway costs, as counts that hold on any machine: bytes, syncs, statements, messages, memory, model runs.

The real build under a clock of its own (simulator/cost_rig.py). Each bound says what it is made of; none is a time.
"""

import gc
import statistics
import sys
import tracemalloc
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway import schema
from gateway.schema import PAGE_BYTES
from models.session import Session
from simulator.bench_disk import on_tmpfs
from simulator.cost_rig import CostRig, Costs
from simulator.virtual_disk import VirtualDisk
from tests.cost_load import WARM_S, Readings, site, tickets


class Price(NamedTuple):
    spent: Costs
    written_b: int
    syncs: int


def price(rig: CostRig, disk: VirtualDisk, seconds: float) -> Price:
    """Of the next seconds, with the checkpoint that what they write will need some time, and without one of before."""
    checkpoint(rig, disk)
    before = rig.costs()
    rig.go(seconds)
    written_b, syncs = checkpoint(rig, disk)
    return Price(rig.costs() - before, written_b, syncs)


def checkpoint(rig: CostRig, disk: VirtualDisk) -> tuple[int, int]:
    """Bytes and syncs since the last one, this one included."""
    db = schema.connect(rig.store.path, disk.name)  # one of its own, so that its statement is none of the gateway's
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.close()
    return written(disk)


def written(disk: VirtualDisk) -> tuple[int, int]:
    counts = disk.count_anew().values()
    return sum(kind.bytes for kind in counts), sum(kind.syncs for kind in counts)


# -- a steady line -----------------------------------------------------------------------------------------------------


def test_a_steady_line_has_a_price_for_each_reading_and_each_commit(tmp_path, disk):
    """100 readings a second for five minutes, a commit each 10 s, three packs a commit (two of 500 and a rest)."""
    with CostRig(site(tmp_path), tmp_path / "state", disk.name) as rig:
        line = Readings(rig, 100.0)
        rig.go(WARM_S)
        made = line.made
        spent, written_b, syncs = price(rig, disk, 300.0)
        readings = line.made - made
        line.stop()
        rig.go(11.0)
    print(spent, f"{written_b / readings:.1f} B and {spent.statements / readings:.4f} statements a reading,")
    print(f"{written_b / spent.commits:.0f} B, {spent.statements / spent.commits:.1f} statements,")
    print(f"{spent.steps / spent.commits:.0f} steps, {syncs / spent.commits:.2f} syncs a commit")

    # each reading went through the one method, and each is told once: the load has no door of its own
    assert rig.handled == line.made == rig.sent
    # the interval's commits, and one each minute whose health record falls between two
    assert spent.commits <= 300 / 10 + 300 / 60
    # BEGIN and COMMIT, room, packs, two journals emptied, heads, mark, acks, minutes; and each minute's upkeep
    assert spent.statements <= 17 * spent.commits
    assert spent.steps <= 400 * spent.commits
    assert spent.statements <= 0.017 * readings
    # one for the commit, and the checkpoint's two: of the log before it, of the database after it
    assert syncs <= spent.commits + 300 / 60 + 3
    # 15 B a reading with noise, of five a sensor, its share of the commit's pages in it: once into the log, once home
    assert written_b <= 32 * readings
    # 500 readings a message; each interval's rest, acks' and health's own, `state` is retained and not counted
    assert spent.messages <= readings / 500 + spent.commits + 300 / 60 + 5
    # the uplink looks up what it sends: a lookup a pack and one that finds no more
    assert spent.read_statements <= 2 * spent.messages


def test_events_at_their_natural_rate_cost_so_much_a_commit(tmp_path, disk):
    """bytes = a + b x commits, checkpoints included: b is an event's whole price, a is what runs without any."""
    points: list[tuple[int, int]] = []
    with CostRig(site(tmp_path), tmp_path / "state", disk.name) as rig:
        rate = tickets(rig)
        rig.go(WARM_S)
        for per_minute in (5, 10, 20, 40):
            rate(per_minute)
            spent, written_b, _ = price(rig, disk, 600.0)
            points.append((spent.commits, written_b))
    b, a = statistics.linear_regression(*zip(*points, strict=True))
    print(f"bytes of 10 minutes = {a:.0f} + {b:.0f} x commits, of {points}")
    assert points[-1][0] > 350  # each ticket is a commit of its own
    # pages with a frame's 24 B: the pack on two, its parents' rightmost, heads, mark, acks; the checkpoint's share
    assert b <= 7 * (PAGE_BYTES + 24)
    for commits, written_b in points:
        assert abs(a + b * commits - written_b) <= 0.1 * written_b  # so a line is what it is


def test_packs_of_readings_cost_so_much_a_commit_besides_their_bytes(tmp_path):
    """The same readings in commits of 5, 10, 20 and 30 s: a is what the readings weigh, b what a commit adds."""
    points: list[tuple[int, int]] = []
    for interval_s in (5, 10, 20, 30):
        disk = VirtualDisk()
        folder = tmp_path / f"{interval_s}"
        with CostRig(site(folder, node_commit_ms=interval_s * 1000), folder / "state", disk.name, step_s=0.1) as rig:
            Readings(rig, 20.0)
            rig.go(WARM_S)
            spent, written_b, _ = price(rig, disk, 600.0)
            points.append((spent.commits, written_b))
        disk.close()
    b, a = statistics.linear_regression(*zip(*points, strict=True))
    print(f"bytes of 12,000 readings = {a:.0f} + {b:.0f} x commits, of {points}")
    # log and database: half a page of each of three packs, their parents, heads, mark, acks, minutes
    assert b <= 10 * (PAGE_BYTES + 24)


def test_samples_and_health_take_the_commits_of_the_nodes_readings_and_none_of_their_own(tmp_path, disk):
    """One node's readings each 10 s, raw samples and the minutes' means of another each 30 s, health each minute."""
    with CostRig(site(tmp_path, sampled=20), tmp_path / "state", disk.name, step_s=0.1) as rig:
        Readings(rig, 10.0)
        Readings(rig, 10.0, "n2", 20)
        rig.go(WARM_S)
        spent, written_b, _ = price(rig, disk, 600.0)
        rows = rig.store.history._db.execute("SELECT count(*) FROM raw").fetchone()[0]
    print(f"{spent.commits} commits, {written_b} B, {rows} rows of raw samples")
    assert spent.commits <= 600 / 10 + 1
    assert rows >= 600 / 30


def test_what_the_disk_counts_is_what_the_kernel_says_was_written(tmp_path):
    """The same hour-glass twice: on the disk that counts, and on a real one. The kernel counts whole pages of 4 KiB."""
    if on_tmpfs(tmp_path):
        pytest.fail(f"{tmp_path} is on tmpfs, where nothing is written: name a folder on a disk with --basetemp")
    counting = VirtualDisk()
    said: dict[str, tuple[int, int]] = {}
    for name, vfs in (("counted", counting.name), ("real", "")):
        folder = tmp_path / name
        with CostRig(site(folder), folder / "state", vfs) as rig:
            Readings(rig, 50.0)
            tickets(rig)(20.0)
            rig.go(30.0)
            written(counting)
            before, kernel_b = rig.costs(), kernel_written()
            rig.go(120.0)
            said[name] = (
                (rig.costs() - before).commits,
                kernel_written() - kernel_b if not vfs else written(counting)[0],
            )
    counting.close()
    (commits, counted_b), (real_commits, kernel_b) = said["counted"], said["real"]
    print(f"{commits} commits: {counted_b} B counted, {kernel_b} B by the kernel")
    assert commits == real_commits
    # a commit begins and ends within a page of the kernel's; beside the file is the note of the heads, each minute
    assert counted_b <= kernel_b <= 1.1 * counted_b + commits * 2 * 4096 + 2 * 65_536


def kernel_written() -> int:
    said = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(said["write_bytes"])


# -- memory and the model ----------------------------------------------------------------------------------------------


def test_readings_leave_nothing_behind_in_memory(tmp_path, disk):
    """In one interval a waiting reading is a time, a value and a number in columns; after its commit it is nothing."""
    with CostRig(site(tmp_path), tmp_path / "state", disk.name) as rig:
        line = Readings(rig, 100.0)
        rig.go(200.0)
        blocks = [allocated()]
        for _ in range(3):
            rig.go(100.0)
            blocks.append(allocated())
        tracemalloc.start()
        rig.go(20.0)
        tracemalloc.reset_peak()
        base_b = tracemalloc.get_traced_memory()[0]
        rig.go(40.0)
        peak_b = tracemalloc.get_traced_memory()[1] - base_b
        tracemalloc.stop()
    print(f"blocks {blocks}, peak {peak_b} B over 1,000 readings an interval, {line.made} made")
    # 30,000 readings: a block for each hundredth of them would already show
    assert blocks[-1] - blocks[0] <= 300
    # 1,000 readings: three numbers each (96 B) and their places; a pack of 500 opened to be sent (1 KB a record)
    assert peak_b <= 1_000_000


def allocated() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def test_the_model_runs_once_a_minute_for_all_sensors_together(tmp_path, disk, monkeypatch):
    runs: list[int] = []
    score = Session.score

    def counted(session, batch):
        runs.append(len(batch))
        return score(session, batch)

    with CostRig(site(tmp_path, sensors=20, model=True), tmp_path / "state", disk.name, step_s=1.0) as rig:
        Readings(rig, 2.0, points=20)
        rig.go(2000.0)  # half an hour has to be known
        monkeypatch.setattr(Session, "score", counted)
        rig.go(600.0)
    assert runs == [20] * 10
