"""What a drive holds after the power was cut, made from the log of simulator/logged_disk.py.

A drive owes us what it wrote before the last flush that was done. Of what was written later it may hold anything: this
is the whole difference between a killed process (whose writes the kernel still has) and a cut.
"""

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from simulator.logged_disk import FLUSH, HEAD, WRITE

SECTOR_BYTES = 512
FATES = ("none", "all", "prefix", "subset", "torn")


class Entry(NamedTuple):
    """One thing the disk was asked. data_at, end: places in the log; a cut at `end` or later has seen it."""

    kind: int
    offset: int
    length: int
    data_at: int
    end: int


class Piece(NamedTuple):
    """Bytes that reached the medium: where on the disk, and where in the log they stand."""

    offset: int
    length: int
    data_at: int


def read_log(path: Path) -> list[Entry]:
    """Raises ValueError for a log that was not written by LoggedDisk."""
    found: list[Entry] = []
    size = path.stat().st_size
    with open(path, "rb") as log:
        at = 0
        while at + HEAD.size <= size:
            log.seek(at)
            kind, offset, length = HEAD.unpack(log.read(HEAD.size))
            if kind not in (WRITE, FLUSH):
                raise ValueError(f"{path}: found an entry of kind {kind} at byte {at}; expected a write or a flush")
            data_at = at + HEAD.size
            at = data_at + length
            if at > size:
                break
            found.append(Entry(kind, offset, length, data_at, at))
    return found


def seen_until(entries: Sequence[Entry], position: int) -> int:
    """How many entries a cut at this place of the log has seen."""
    low, high = 0, len(entries)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if entries[middle].end <= position else (low, middle)
    return low


def flushed_until(entries: Sequence[Entry], seen: int) -> int:
    """How many of the first `seen` entries the last flush among them covers, itself included."""
    return next((i + 1 for i in range(seen - 1, -1, -1) if entries[i].kind == FLUSH), 0)


def unflushed(entries: Sequence[Entry]) -> list[int]:
    """For each entry, how many bytes were written up to it that no flush covers."""
    found, waiting = [], 0
    for entry in entries:
        waiting = 0 if entry.kind == FLUSH else waiting + entry.length
        found.append(waiting)
    return found


def survivors(tail: Sequence[Entry], fate: str, dice: random.Random) -> Iterator[Piece]:
    """What of the unflushed writes is on the medium. In their order: a drive's cache holds the newest of a sector.

    "torn" lets each 512-byte sector have its own luck, the others each write.
    """
    writes = [Piece(entry.offset, entry.length, entry.data_at) for entry in tail if entry.kind == WRITE]
    if fate == "all":
        yield from writes
    elif fate == "prefix":
        yield from writes[: dice.randint(0, len(writes))]
    elif fate in ("subset", "torn"):
        share = dice.choice((0.2, 0.5, 0.8))
        for piece in writes:
            for part in _sectors(piece) if fate == "torn" else (piece,):
                if dice.random() < share:
                    yield part


def _sectors(piece: Piece) -> Iterator[Piece]:
    for at in range(0, piece.length, SECTOR_BYTES):
        yield Piece(piece.offset + at, min(SECTOR_BYTES, piece.length - at), piece.data_at + at)


class Replay:
    """Disks of one log. image: as it was before the first entry; it is moved on, so cuts come in rising order."""

    def __init__(self, image: Path, log: Path, entries: Sequence[Entry]) -> None:
        self._image = image
        self._log = os.open(log, os.O_RDONLY)
        self._entries = entries
        self._done = 0

    def close(self) -> None:
        os.close(self._log)

    def cut(self, seen: int, fate: str, dice: random.Random, into: Path) -> tuple[int, int]:
        """Make the disk of a cut after `seen` entries in the file `into`: (bytes unflushed, bytes of them kept).

        Raises ValueError when an earlier call has gone beyond it already.
        """
        flushed = flushed_until(self._entries, seen)
        if flushed < self._done:
            raise ValueError(f"found a cut at {flushed} after one at {self._done}; expected them in rising order")
        covered = self._entries[self._done : flushed]
        self._apply(self._image, [Piece(e.offset, e.length, e.data_at) for e in covered if e.kind == WRITE])
        self._done = flushed
        _copy_with_holes(self._image, into)
        tail = self._entries[flushed:seen]
        kept = list(survivors(tail, fate, dice))
        self._apply(into, kept)
        return sum(entry.length for entry in tail), sum(piece.length for piece in kept)

    def _apply(self, image: Path, pieces: Sequence[Piece]) -> None:
        if not pieces:
            return
        with open(image, "r+b", buffering=0) as disk:
            for piece in pieces:
                os.pwrite(disk.fileno(), os.pread(self._log, piece.length, piece.data_at), piece.offset)


def _copy_with_holes(source: Path, into: Path) -> None:
    size = source.stat().st_size
    with open(source, "rb", buffering=0) as old, open(into, "wb", buffering=0) as new:
        new.truncate(size)
        at = 0
        while at < size:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                return
            end = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            os.lseek(new.fileno(), at, os.SEEK_SET)
            while at < end:
                at += os.sendfile(new.fileno(), old.fileno(), at, end - at)
