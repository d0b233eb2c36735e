"""The faults of `linli sickdisk`: what is done to the disk under a running gateway, and how it ends."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from gateway.home import DATABASE
from gateway.schema import PAGE_BYTES

_GARBLED_PAGES = 3
_CHUNK_BYTES = 1 << 20
_WAL_HEADER_BYTES = 32


class Bed(Protocol):
    """What a fault may touch. real: the state folder as it lies on the disk below whatever the gateway sees."""

    real: Path
    orders: Path
    dice: random.Random

    def kill_gateway(self) -> None: ...

    def start_gateway(self) -> None: ...

    def city_away(self, away: bool) -> None: ...


def _nothing(_bed: Bed) -> None:
    """It is over by itself, or never."""


class Fault(NamedTuple):
    """place: "folder", "fuse" (simulator/sick_folder.py) or "loop" (a small ext4). tells: whether the box can know.

    gives_up: reasons of the gap records that may name what was lost; without one nothing may be lost.
    """

    name: str
    place: str
    what: str
    begin: Callable[[Bed], None]
    end: Callable[[Bed], None]
    lasts_s: float = 6.0
    gives_up: frozenset[str] = frozenset()
    tells: bool = True
    budget_mb: int | None = None
    each_s: Callable[[Bed], None] = _nothing  # done again each second while it lasts
    starts: bool = False  # the gateway starts on it
    scenario: str = "sickdisk"


def _order(**orders: str | float) -> Callable[[Bed], None]:
    def begin(bed: Bed) -> None:
        fresh = bed.orders.with_suffix(".new")
        fresh.write_text(json.dumps(orders))
        os.replace(fresh, bed.orders)

    return begin


_well = _order()


def _fill(bed: Bed) -> None:
    """Until not one block is left, as a log that somebody forgot would do it."""
    with open(bed.real.parent / "filler", "ab", buffering=0) as filler:
        for size in (_CHUNK_BYTES, 4096, 1):
            try:
                while True:
                    filler.write(bytes(size))
            except OSError:
                pass


def _empty(bed: Bed) -> None:
    (bed.real.parent / "filler").unlink()


def _restart(bed: Bed) -> None:
    """As the next power cut does it: what was only held open or in memory is gone."""
    bed.kill_gateway()
    bed.start_gateway()


def _garble(path: Path, dice: random.Random, first: int = 0) -> None:
    """A few pages of rubbish at random places behind `first`."""
    size = path.stat().st_size
    with open(path, "r+b", buffering=0) as file:
        for _ in range(_GARBLED_PAGES):
            at = dice.randrange(first, max(first + 1, size - PAGE_BYTES)) // PAGE_BYTES * PAGE_BYTES
            os.pwrite(file.fileno(), dice.randbytes(PAGE_BYTES), max(at, first))


def _garble_database(bed: Bed) -> None:
    _garble(bed.real / DATABASE, bed.dice)


def _garble_log(bed: Bed) -> None:
    _garble(bed.real / f"{DATABASE}-wal", bed.dice, _WAL_HEADER_BYTES)


def _at_start(harm: Callable[[Bed], None]) -> Callable[[Bed], None]:
    def begin(bed: Bed) -> None:
        bed.kill_gateway()
        harm(bed)
        bed.start_gateway()

    return begin


def _all_rubbish(bed: Bed) -> None:
    size = (bed.real / DATABASE).stat().st_size
    (bed.real / DATABASE).write_bytes(bed.dice.randbytes(size))
    (bed.real / f"{DATABASE}-wal").unlink(missing_ok=True)


def _delete(bed: Bed) -> None:
    for suffix in ("", "-wal", "-shm"):
        (bed.real / f"{DATABASE}{suffix}").unlink(missing_ok=True)


def _delete_all(bed: Bed) -> None:
    """Everything in the folder that is a file, heads.json and the lock too."""
    for path in bed.real.iterdir():
        if path.is_file():
            path.unlink()


def _city_away(bed: Bed) -> None:
    bed.city_away(True)


def _city_back(bed: Bed) -> None:
    bed.city_away(False)


_CORRUPT = frozenset({"corrupt"})

FAULTS = (
    Fault("full", "loop", "the file system is full", _fill, _empty, 12.0,
          frozenset({"disk-budget"}), each_s=_fill),
    Fault("full-at-start", "loop", "it is full when the gateway starts", _at_start(_fill), _empty, starts=True),
    Fault("budget", "folder", "the budget is reached, the city away", _city_away, _city_back, 40.0,
          frozenset({"disk-budget"}), tells=False, budget_mb=1, scenario="sickbudget"),
    Fault("read-only", "fuse", "the kernel made it read-only", _order(write="EROFS"), _well),
    Fault("read-only-at-start", "fuse", "it is read-only when the gateway starts",
          _at_start(_order(write="EROFS")), _well, starts=True),
    Fault("write-error", "fuse", "writes fail with EIO", _order(write="EIO"), _well),
    Fault("flush-error", "fuse", "fsync fails with EIO", _order(fsync="EIO"), _well),
    Fault("read-error", "fuse", "reads fail with EIO", _order(read="EIO"), _well),
    Fault("error-at-start", "fuse", "reads and writes fail with EIO when the gateway starts",
          _at_start(_order(read="EIO", write="EIO", fsync="EIO")), _well, starts=True),
    Fault("slow", "fuse", "each write and each flush takes 5 s", _order(stall_s=5.0), _well, 15.0),
    Fault("garbled", "folder", "three pages of the file garbled while it runs", _garble_database, _restart, 3.0,
          _CORRUPT),
    Fault("garbled-log", "folder", "three pages of the WAL garbled while it runs", _garble_log, _restart, 3.0,
          _CORRUPT),
    Fault("garbled-at-start", "folder", "three pages of the file garbled, then started",
          _at_start(_garble_database), _nothing, 3.0, _CORRUPT, starts=True),
    Fault("garbled-log-at-start", "folder", "three pages of the WAL garbled, then started",
          _at_start(_garble_log), _nothing, 3.0, _CORRUPT, starts=True),
    Fault("rubbish-at-start", "folder", "the whole file is rubbish, then started", _at_start(_all_rubbish), _nothing,
          3.0, _CORRUPT, starts=True),
    Fault("deleted", "folder", "the database deleted while it runs", _delete, _restart, 3.0),
    Fault("all-deleted", "folder", "every file of the folder deleted while it runs", _delete_all, _restart, 3.0),
)  # fmt: skip
