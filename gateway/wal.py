"""SQLite's write-ahead log, when it is broken in the middle: <https://www.sqlite.org/fileformat2.html#walformat>.

At the first frame whose checksum is wrong SQLite ends, without a word, and forgets every commit behind it, although
most of their frames are whole: each checksum goes on from the one that is stored in the frame before.
"""

import os
import sqlite3
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway.schema import connect

_HEADER = struct.Struct(">8I")  # magic, format, page size, checkpoint, salts, checksums
_FRAME = struct.Struct(">6I")  # page, size of the database after a commit (else 0), salts, checksums
_MAGIC = 0x377F0682  # | 1 when the checksums are of big-endian words
_PAGE_MIN, _PAGE_MAX = 512, 65_536
_MASK = 0xFFFFFFFF
_FRAMES_END = 20  # of the index's header: version, -, change, flags and page size, frames
_CUT_COMMITS = 1  # what a power cut may leave behind a torn frame: the one commit that was never acknowledged
REPLAYED = "-log"  # behind the database's name

Sum = tuple[int, int]


class Frame(NamedTuple):
    """whole: its checksum goes on from the frame before. page: from 1."""

    page: int
    commits: bool
    whole: bool
    body: bytes


def frames(path: Path) -> Iterator[Frame]:
    """All frames of the log's present turn, the broken ones too; nothing when there is no log. Raises OSError."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return
        magic, _, size, _, *salts, first, second = _HEADER.unpack(header)
        words = struct.Struct(f"{'>' if magic & 1 else '<'}{size // 4}I") if _PAGE_MIN <= size <= _PAGE_MAX else None
        if magic & ~1 != _MAGIC or words is None:
            return
        two = struct.Struct(f"{'>' if magic & 1 else '<'}2I")
        before = first, second
        while len(head := file.read(_FRAME.size)) == _FRAME.size and len(body := file.read(size)) == size:
            page, commit, *found, first, second = _FRAME.unpack(head)
            if found == salts:  # else of an earlier turn, or its head is broken
                whole = _summed(_summed(before, two.unpack(head[:8])), words.unpack(body)) == (first, second)
                yield Frame(page, commit > 0, whole, body)
            before = first, second


def _summed(before: Sum, words: tuple[int, ...]) -> Sum:
    one, two = before
    pairs = iter(words)
    for first, second in zip(pairs, pairs, strict=True):
        one = (one + first + two) & _MASK
        two = (two + second + one) & _MASK
    return one, two


def damage(database: Path, vfs: str = "") -> str:
    """What SQLite would forget of its log; "" when that is no more than a power cut explains. Raises OSError."""
    log = _log_of(database)
    if not log.exists() or log.stat().st_size < _HEADER.size:
        return ""
    try:
        kept = _kept_frames(database, vfs)
    except sqlite3.DatabaseError:
        return ""  # whoever opens the file meets the same
    forgotten = sum(_commits_behind(log, kept))
    return f"its log is broken behind frame {kept}, before {forgotten} commits" if forgotten > _CUT_COMMITS else ""


def _kept_frames(database: Path, vfs: str) -> int:
    """How many frames SQLite takes, from the index of the log that it keeps for all its connections.

    A reader changes neither file nor log. Ours to sum up all frames would take seconds on a small box.
    """
    db = connect(database, vfs, read_only=True)
    try:
        db.execute("PRAGMA schema_version").fetchone()
        with open(database.with_name(database.name + "-shm"), "rb") as index:
            return int.from_bytes(index.read(_FRAMES_END)[-4:], sys.byteorder)
    finally:
        db.close()


def _commits_behind(log: Path, kept: int) -> Iterator[bool]:
    with open(log, "rb") as file:
        _, _, size, _, *salts, _, _ = _HEADER.unpack(file.read(_HEADER.size))
        file.seek(kept * (_FRAME.size + size), os.SEEK_CUR)
        while len(head := file.read(_FRAME.size)) == _FRAME.size:
            _, commit, *found, _, _ = _FRAME.unpack(head)
            yield found == salts and commit > 0
            file.seek(size, os.SEEK_CUR)


def replay(database: Path) -> frozenset[int]:
    """Put every whole frame up to the last commit into the database, and the log out of SQLite's way. Raises OSError.

    A page whose last frame is broken stays as it was before: whoever reads the file must expect pages that do not fit.
    Returns the pages that are certain to be as new as the last commit: written whole behind the last broken frame.
    """
    log = _log_of(database)
    fresh: set[int] = set()
    behind: set[int] = set()  # the last broken frame, of a commit that is under way
    with open(database, "r+b") as file:
        waiting: list[Frame] = []
        for frame in frames(log):
            waiting.append(frame)
            if not frame.whole:  # a frame whose head is broken is not seen, but the one behind it does not fit
                fresh, behind = set(), set()
            else:
                behind.add(frame.page)
            if frame.commits:
                for done in waiting:
                    if done.whole and done.page:
                        os.pwrite(file.fileno(), done.body, (done.page - 1) * len(done.body))
                fresh |= behind
                waiting, behind = [], set()
        os.fsync(file.fileno())
    log.rename(database.with_name(database.name + REPLAYED))
    return frozenset(fresh)


def _log_of(database: Path) -> Path:
    return database.with_name(database.name + "-wal")
