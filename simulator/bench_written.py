"""What one gateway writes, counted at its process and at a disk of its own, and what a day of that comes to.

A window begins and ends with a checkpoint and, where there is a disk of its own, with everything on it: what is
written inside belongs to the window, whoever writes it. The log has its full size, as from its first turn on (some two
hours after a start): while it grows, each commit costs the file system's journal besides. Bytes a day are stated as
a + b x commits: what has to be written however rarely one commits, and what a commit costs.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from simulator.bench_disk import LoopDisk, unfit, why_not
from simulator.bench_fit import line
from simulator.bench_rig import BenchError, Usage, answer
from simulator.bench_table import Figure, table

DAY_S = 86_400.0
DISK_MIB = 256
_LOG_B = 4_200_000  # wal_autocheckpoint of gateway/store.py, frames' heads included
_CHECKPOINT_S = 60.0
_CHECKPOINT = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30)
db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
before = dict(line.split(": ") for line in open("/proc/self/io").read().splitlines())["write_bytes"]
db.execute("BEGIN IMMEDIATE")  # so that nobody else appends
with open(sys.argv[1] + "-wal", "ab", buffering=0) as log:
    while log.tell() < int(sys.argv[2]):
        log.write(bytes(4096))  # what is written in one lies in the cache in one, and counts whole when a page changes
db.execute("ROLLBACK")
print(before)
"""


class Seen(NamedTuple):
    """Of one window. written_b: of the process, with the checkpoint. device_b: of its disk; None without one."""

    written_b: int
    device_b: int | None
    commits: int
    took_s: float
    peak_mib: float
    cpu: float

    @property
    def commits_a_day(self) -> float:
        return self.commits / self.took_s * DAY_S

    @property
    def mb_a_day(self) -> float:
        return self.written_b / self.took_s * DAY_S / 1e6

    @property
    def device_mb_a_day(self) -> float:
        assert self.device_b is not None
        return self.device_b / self.took_s * DAY_S / 1e6


class Written:
    """database: of the gateway `pid`, in its state folder. Raises BenchError when the gateway does not answer."""

    def __init__(self, pid: int, database: Path, disk: LoopDisk | None) -> None:
        self._pid, self._database, self._disk = pid, database, disk

    def begin(self) -> None:
        self._settle()
        self._before = self._usage(), self._commits(), self._device_b()

    def end(self) -> Seen:
        usage, commits, device_b = self._before
        now, commits = self._usage(), self._commits() - commits
        written_b = now.written_b - usage.written_b + self._settle()
        after_b = self._device_b()
        device = None if after_b is None or device_b is None else after_b - device_b
        took_s = now.at_s - usage.at_s
        return Seen(written_b, device, commits, took_s, now.peak_mib, (now.cpu_s - usage.cpu_s) / took_s)

    def _settle(self) -> int:
        """Log into database, at its full size, and all of it onto the disk. Bytes the checkpoint wrote."""
        command = [sys.executable, "-c", _CHECKPOINT, str(self._database), str(_LOG_B)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CHECKPOINT_S, check=False)
        if done.returncode:
            raise BenchError(f"{self._database}: the checkpoint failed: {done.stderr.strip()}")
        if self._disk:
            self._disk.sync()
        return int(done.stdout)

    def _device_b(self) -> int | None:
        return self._disk.written_b if self._disk else None

    def _usage(self) -> Usage:
        try:
            return Usage(self._pid)
        except OSError as error:
            raise BenchError(f"the gateway {self._pid} is gone: {error}") from None

    def _commits(self) -> int:
        return int(answer(self._database.parent)["commits"])


def own_disk(folder: Path, stack: ExitStack) -> LoopDisk | None:
    """A disk below `folder` until the stack ends; None, and said, where there can be none."""
    if reason := why_not():
        print(f"bench: no rows of a disk of its own: {reason}", file=sys.stderr)
        return None
    return stack.enter_context(LoopDisk(folder, DISK_MIB))


def law(name: str, seen: Sequence[Seen]) -> list[Figure]:
    """a and b of MB a day = a + b x commits a day, a line through the gateways that differ in how often they commit."""
    if len({each.commits for each in seen}) < 3:
        raise BenchError(f"{name}: found commits {[each.commits for each in seen]}, expected three that differ")
    commits = [each.commits_a_day for each in seen]
    fitted = line(commits, [each.mb_a_day for each in seen])
    return [
        Figure(f"{name}_a", round(fitted.at_zero, 2), "MB a day"),
        Figure(f"{name}_b", round(fitted.slope * 1e6), "B a commit"),
    ]


def alone(figures: Callable[[Path, float], list[Figure]], seconds: float, doc: str | None) -> int:
    """The command line of one such row, for windows of another length than the table's."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--seconds", type=float, default=seconds, help="of the window (default: %(default)g)")
    parser.add_argument("--dir", type=Path, help="a folder on a disk (not tmpfs)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="linli-bench-", dir=args.dir) as name:
        if wrong := unfit(Path(name)):
            print(wrong, file=sys.stderr)
            return 2
        try:
            print(table(figures(Path(name), args.seconds)))
        except (BenchError, OSError) as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    return 0
