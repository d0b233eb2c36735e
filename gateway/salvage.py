"""The files beside the database, and what can be saved when it is broken.

A broken file is renamed, never deleted. What the city has not confirmed is read out of it number by number and keeps
its own epoch and numbers; what cannot be read becomes a gap record that names that epoch.
"""

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from gateway import wal
from gateway.contract import STREAMS, Gap, Label, rfc3339
from gateway.packs import open_records, reading_records
from gateway.schema import WAITING, pack_id

BALLAST_BYTES = 4_000_000
HEADS = "heads.json"
AHEAD = 200  # numbers
_COLUMNS = 14
_GAP_RECORDS_MAX = 200  # ranges named one by one; beyond it neighbouring ranges are joined
_HEAD_MAX = 50_000_000
REASON = "corrupt"

_Row = tuple[object, ...]


class Aside:
    """The files beside the database: ballast against a full disk, heads against an unreadable one.

    The note of the heads goes ahead of them, so that it need not be written with each commit: it says up to where
    numbers may have been given (`upto`), and is renewed before one beyond is.
    """

    def __init__(self, database: Path) -> None:
        self._upto: dict[str, int] = {}
        self._acked: dict[str, int] = {}
        self._database = database
        self._ballast = database.with_name("ballast")
        self.heads_file = database.with_name(HEADS)

    def lay_ballast(self) -> None:
        try:
            if not self._ballast.exists() or self._ballast.stat().st_size < BALLAST_BYTES:
                self._ballast.write_bytes(bytes(BALLAST_BYTES))
        except OSError:
            self.drop_ballast()  # no room for it now; upkeep tries again

    def drop_ballast(self) -> bool:
        """Whether there was one. Raises OSError."""
        there = self._ballast.exists()
        self._ballast.unlink(missing_ok=True)
        return there

    @property
    def has_room(self) -> bool:
        """Whether the disk has so much room again that the ballast may be laid and the file may grow."""
        return shutil.disk_usage(self._database.parent).free > 64_000_000 + BALLAST_BYTES

    def is_short(self, heads: dict[str, int]) -> bool:
        """Whether half of what was noted ahead is used up."""
        return any(head + AHEAD // 2 > self._upto.get(name, 0) for name, head in heads.items())

    def is_behind(self, acked: dict[str, int]) -> bool:
        """Whether the city holds many more than was noted, which an unreadable file would have named as lost."""
        return any(n > self._acked.get(name, 0) + AHEAD // 2 for name, n in acked.items())

    def note_heads(self, body: dict[str, Any]) -> bool:
        """Whether the disk took it; an old note is better than no gateway."""
        draft = self.heads_file.with_suffix(".new")
        try:
            with open(draft, "w") as file:
                file.write(json.dumps(body))
                file.flush()
                os.fsync(file.fileno())  # else a power cut may leave the new name on an empty file
            os.replace(draft, self.heads_file)
        except OSError:
            return False
        self._upto, self._acked = body["upto"], body["acked"]
        return True

    def noted_starts(self) -> int:
        """How often the gateway had been started when the last note was written."""
        noted = [str(value) for key, value in last_heads(self.heads_file).tables.get("box", []) if key == "starts"]
        return int(noted[0]) if noted and noted[0].isdecimal() else 0

    @property
    def _broken(self) -> Path:
        return self._database.with_name(f"{self._database.name}.broken")

    @property
    def unfinished(self) -> bool:
        """A broken file was set aside, and what could be saved of it is not in the new one yet."""
        return self._broken.exists()

    def set_database_aside(self) -> Path:
        """Out of the way until `keep_broken`; a half-born database of an interrupted renewal is dropped for it."""
        half_born = self.unfinished and self._database.exists()
        for suffix in ("", "-wal", "-shm"):  # the file itself first: what follows can be done again
            found = self._database.with_name(self._database.name + suffix)
            if half_born:
                found.unlink(missing_ok=True)
            elif found.exists():
                found.rename(self._database.with_name(self._broken.name + suffix))
        return self._broken

    def keep_broken(self, label: Label) -> None:
        """Its last name: the new database has what could be saved. Never deleted."""
        stamp = rfc3339(label.wall)[:19].replace(":", "") if label.wall is not None else f"boot{label.boot}"
        name = f"{self._database.name}.corrupt-{stamp}-{int(label.mono)}"
        # the file itself last: until then the renewal counts as unfinished
        for suffix in ("-wal", "-shm", wal.REPLAYED, ""):
            found = self._database.with_name(self._broken.name + suffix)
            if found.exists():
                found.rename(self._database.with_name(name + suffix))


class Salvaged:
    """What was read out of a set-aside file (or, when it is gone, only its last noted heads)."""

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.heads: dict[str, int] | None = None
        self.upto: dict[str, int] = {}  # no number beyond was given, see Aside
        self.tables: dict[str, list[_Row]] = {}
        self.packs: list[_Row] = []
        self.gaps: dict[str, list[Gap]] = {}

    def restore(self, db: sqlite3.Connection) -> None:
        """Put it into a fresh database, inside the caller's transaction."""
        for table, rows in self.tables.items():
            if rows:
                marks = ",".join("?" * len(rows[0]))
                db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)
        db.executemany(f"INSERT INTO packs VALUES ({','.join('?' * _COLUMNS)})", self.packs)


def copy_out(db: sqlite3.Connection, path: Path) -> None:
    """Give an open database its file back, which somebody deleted or replaced. Raises sqlite3.Error, OSError."""
    copy = path.with_name(f"{path.name}.saved")
    copy.unlink(missing_ok=True)
    target = sqlite3.connect(copy)
    try:
        db.backup(target)
    finally:
        target.close()
    for suffix in ("-wal", "-shm"):  # of the file that is gone: nothing of it may be taken for the copy's
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    copy.chmod(0o600)
    os.replace(copy, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def last_heads(heads_file: Path) -> Salvaged:
    """What the note beside the database still knows; empty when there is none."""
    found = Salvaged()
    try:
        note = json.loads(heads_file.read_text())
        found.epoch, found.heads = str(note["epoch"]), {name: int(note["heads"][name]) for name in STREAMS}
        epoch_no = int(note["epoch_no"])
        found.tables["epochs"] = [(epoch_no, found.epoch, "salvaged", None)]
        upto = note.get("upto", note["heads"])  # an older version noted no more than the heads
        found.upto = {name: int(upto[name]) for name in STREAMS}
        found.tables["streams"] = [
            (epoch_no, index, found.upto[name], int(note["acked"][name])) for index, name in enumerate(STREAMS)
        ]
        found.tables["box"] = [(key, str(value)) for key, value in note["box"].items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Salvaged()
    return found


def fell_back(heads_file: Path, epoch: str, heads: dict[str, int]) -> Salvaged | None:
    """The file knows less of its own epoch than the note beside it: it was put back from a copy, or the disk forgot.

    Its next numbers may stand in the ledger already with other records, so a new epoch has to begin.
    """
    found = last_heads(heads_file)
    if found.epoch != epoch or not found.heads:
        return None
    for name, noted in found.heads.items():
        if noted > heads[name]:
            found.gaps[name] = [Gap("restored", heads[name] + 1, found.upto[name], None, epoch=epoch)]
    if not found.gaps:
        return None
    del found.tables["streams"]  # what the file has of them stays
    return found


def salvage(aside: Path | None, heads_file: Path) -> Salvaged:
    """Read what the city has not confirmed out of a broken file; name what cannot be read as gaps."""
    found = last_heads(heads_file)
    if aside and wal.damage(aside):
        wal.replay(aside)
    db = sqlite3.connect(aside) if aside else None
    if db:
        for table in ("epochs", "streams", "sources", "keep", "box", "journal"):
            rows = _readable(db, f"SELECT * FROM {table}")
            if rows:
                found.tables[table] = rows
    epochs = {int(str(row[0])): str(row[1]) for row in found.tables.get("epochs", [])}
    if not epochs:
        return Salvaged()
    newest = max(epochs)
    found.epoch = epochs[newest]
    found.heads = {}
    for epoch_no, stream, head, acked in _integers(found.tables.get("streams", [])):
        if not (0 <= stream < len(STREAMS) and 0 <= acked <= head <= _HEAD_MAX):
            continue  # a torn row; without it the next lines would not come back
        name = STREAMS[stream]
        if epoch_no == newest:
            found.heads[name] = head
        lost = _read_packs(db, found, epoch_no, name, acked, head)
        found.gaps.setdefault(name, []).extend(
            Gap(REASON, first, last, None, epoch=epochs.get(epoch_no)) for first, last in lost
        )
    found.gaps = {name: gaps for name, gaps in found.gaps.items() if gaps}
    if db:
        db.close()
    return found


def _integers(rows: list[_Row]) -> list[tuple[int, int, int, int]]:
    return [(int(str(a)), int(str(b)), int(str(c)), int(str(d))) for a, b, c, d in rows]


def _readable(db: sqlite3.Connection, statement: str) -> list[_Row]:
    try:
        return db.execute(statement).fetchall()
    except sqlite3.DatabaseError:
        return []


def _read_packs(
    db: sqlite3.Connection | None, found: Salvaged, epoch_no: int, stream: str, acked: int, head: int
) -> list[tuple[int, int]]:
    """Take over every waiting pack that opens; returns the ranges that are lost."""
    lost: list[tuple[int, int]] = []
    for n in range(acked + 1, head + 1):
        rows = _readable(db, f"SELECT * FROM packs WHERE id = {pack_id(epoch_no, stream, n)}") if db else []
        if rows and _opens(stream, rows[0]):
            found.packs.append(rows[0])
        elif lost and (lost[-1][1] == n - 1 or len(lost) >= _GAP_RECORDS_MAX):
            lost[-1] = (lost[-1][0], n)
        else:
            lost.append((n, n))
    return lost


def _opens(stream: str, row: _Row) -> bool:
    """A page may be readable and wrong all the same: the body has to open as what it is."""
    state, notice, body = row[1], row[2], row[-1]
    if state != WAITING or not isinstance(body, bytes) or len(row) != _COLUMNS:
        return False
    try:
        if stream == "readings" and not notice:
            reading_records(body, Label(0, 0.0, None, "unsure", None, ""))
        else:
            open_records(body)
    except (ValueError, TypeError, AssertionError):
        return False
    return True
