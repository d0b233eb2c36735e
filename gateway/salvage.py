"""The files beside the database, and what can be saved when it is broken.

A broken file is renamed, never deleted. What the city has not confirmed is read out of it number by number and keeps
its own epoch and numbers; what cannot be read becomes a gap record that names that epoch.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gateway import wal
from gateway.contract import STREAMS, Gap, Label, rfc3339
from gateway.packs import open_records, reading_records
from gateway.schema import WAITING, pack_id, pack_name

BALLAST_BYTES = 4_000_000
HEADS = "heads.json"
AHEAD = 200  # numbers
_COLUMNS = 14
_GAP_RECORDS_MAX = 200  # ranges named one by one; beyond it neighbouring ranges are joined
_HEAD_MAX = 50_000_000
_POUR_PACKS = 500  # of a transaction
_OPEN = ("readings", "events")  # streams whose packs stay open a while, with the journal behind them
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

    def noted(self, key: str) -> int:
        """A count of the box when the last note was written, e.g. how often the gateway had been started."""
        noted = [str(value) for name, value in last_heads(self.heads_file).tables.get("box", []) if name == key]
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


class _Waiting(NamedTuple):
    """A stream of an old epoch: the numbers that the city had not confirmed are acked + 1 to head."""

    epoch_no: int
    epoch: str
    stream: str
    acked: int
    head: int


class Salvaged:
    """What is in a set-aside file or, when it is gone, in its last noted heads. gaps: by stream, whole after `pour`."""

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.heads: dict[str, int] = {}
        self.upto: dict[str, int] = {}  # no number beyond was given, see Aside
        self.acked: dict[str, int] = {}
        self.exact = False  # the note does not go ahead: a clean end, or an older version
        self.tables: dict[str, list[_Row]] = {}
        self.gaps: dict[str, list[Gap]] = {}
        self.waiting: list[_Waiting] = []
        self.source: sqlite3.Connection | None = None

    def pour(self, db: sqlite3.Connection, has_room: Callable[[], bool], alive: Callable[[], object]) -> None:
        """Every waiting pack that opens into the fresh database: one after the other, they may be gigabytes.

        In transactions of its own; whoever is cut short drops that database and begins again. alive: called after each.
        Both files need room now. Where it ends the rest stays in the old one and is named; alarms go first.
        """
        for waiting in sorted(self.waiting, key=lambda each: STREAMS.index(each.stream)):
            lost: list[tuple[int, int]] = []
            for first in range(waiting.acked + 1, waiting.head + 1, _POUR_PACKS):
                fits = has_room()
                db.execute("BEGIN IMMEDIATE")
                for n in range(first, min(first + _POUR_PACKS, waiting.head + 1)):
                    if not (fits and self._pour(db, waiting, n)):
                        _note(lost, n)
                db.execute("COMMIT")
                alive()
            if lost:
                gaps = [Gap(REASON, first, last, None, epoch=waiting.epoch) for first, last in lost]
                self.gaps.setdefault(waiting.stream, []).extend(gaps)
        if self.source:
            self.source.close()

    def _pour(self, db: sqlite3.Connection, waiting: _Waiting, n: int) -> bool:
        """False when it is lost. What the city confirmed or refused apart is no loss, and stays in the old file."""
        if self.source is None:
            return False
        row_id = pack_id(waiting.epoch_no, waiting.stream, n)
        row = next(_readable(self.source, f"SELECT * FROM packs WHERE id = {row_id}"), None)
        if row is None or not _opens(waiting.stream, row):
            return False
        return row[1] != WAITING or _take(db, "packs", row)

    def restore(self, db: sqlite3.Connection) -> None:
        """Everything but the packs, inside the caller's transaction. A row that was torn is left out."""
        for table, rows in self.tables.items():
            for row in rows:
                _take(db, table, row)


def _take(db: sqlite3.Connection, table: str, row: _Row) -> bool:
    """Whether the row fits: a torn one lacks a value, or has one of another type."""
    try:
        db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(row))})", row)
    except sqlite3.IntegrityError:
        return False
    return True


def _note(lost: list[tuple[int, int]], n: int) -> None:
    if lost and (lost[-1][1] == n - 1 or len(lost) >= _GAP_RECORDS_MAX):
        lost[-1] = (lost[-1][0], n)
    else:
        lost.append((n, n))


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
        found.acked = {name: int(note["acked"][name]) for name in STREAMS}
        found.exact = found.upto == found.heads
        found.tables["box"] = [(key, str(value)) for key, value in note["box"].items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Salvaged()
    return found


def fell_back(heads_file: Path, epochs: list[str], heads: dict[str, int]) -> Salvaged | None:
    """The file knows less than the note beside it: it was put back from a copy, or the disk forgot.

    Its next numbers may stand in the ledger already with other records, so a new epoch has to begin. epochs: the file's
    own, the one in force last; heads: of that one.
    """
    found = last_heads(heads_file)
    epoch = epochs[-1]
    if found.epoch and found.epoch not in epochs:  # it is older than the epoch that was in force
        epoch_no = found.tables["epochs"][0][0]
        acked = found.acked
        found.tables["streams"] = [(epoch_no, i, found.upto[name], acked[name]) for i, name in enumerate(STREAMS)]
        for name, upto in found.upto.items():
            if acked[name] < upto:
                found.gaps[name] = [Gap("restored", acked[name] + 1, upto, None, epoch=found.epoch)]
        return found
    if found.epoch != epoch:
        return None
    for name, noted in found.heads.items():
        if noted > heads[name]:
            found.gaps[name] = [Gap("restored", heads[name] + 1, found.upto[name], None, epoch=epoch)]
    if not found.gaps:
        return None
    return found


def salvage(aside: Path | None, heads_file: Path) -> Salvaged:
    """Find what the city has not confirmed in a broken file; `pour` then reads it. Raises OSError."""
    noted = last_heads(heads_file)
    found = Salvaged()
    found.tables = dict(noted.tables)
    stale: frozenset[str] = frozenset()  # tables that may be older than what was acknowledged
    if aside:
        fresh = wal.replay(aside) if wal.damage(aside) else None
        found.source = sqlite3.connect(aside)
        found.source.text_factory = lambda text: text.decode(errors="replace")
        stale = _stale(found.source, fresh)
        for table in ("epochs", "streams", "sources", "keep", "box", "journal"):
            rows = list(_readable(found.source, f"SELECT * FROM {table}"))
            count = next(_readable(found.source, f"SELECT count(*) FROM {table}"), None)
            if rows:
                found.tables[table] = rows
            if count != (len(rows),):
                stale |= {table}
        found.tables["epochs"] = [*noted.tables.get("epochs", []), *found.tables.get("epochs", [])]
    epochs = {no: str(name) for no, name, *_ in found.tables.get("epochs", []) if isinstance(no, int)}
    if epochs:
        found.epoch = epochs[max(epochs)]
        found.waiting = _waiting(found, noted, epochs, stale)
        found.heads = {each.stream: each.head for each in found.waiting if each.epoch == found.epoch}
        found.tables["streams"] = [
            (each.epoch_no, STREAMS.index(each.stream), each.head, each.acked) for each in found.waiting
        ]
    return found


def _stale(db: sqlite3.Connection, fresh: frozenset[int] | None) -> frozenset[str]:
    """Tables whose first page does not stand whole in the log behind its damage. fresh: those that do."""
    if fresh is None:
        return frozenset()
    roots = _readable(db, "SELECT name, rootpage FROM sqlite_master WHERE name IN ('streams', 'journal')")
    return frozenset(("streams", "journal")) - {str(name) for name, page in roots if page in fresh}


def _waiting(found: Salvaged, noted: Salvaged, epochs: dict[int, str], stale: frozenset[str]) -> list[_Waiting]:
    """Up to where numbers are looked for: the stream's row, unless that is torn or stale; then up to where the note
    says that they may have been given. What the journal had would have come into the next pack: its number is lost."""
    rows = {
        (no, stream): (head, acked)
        for no, stream, head, acked in found.tables.get("streams", [])
        if isinstance(no, int) and isinstance(stream, int) and isinstance(head, int) and isinstance(acked, int)
        if no in epochs and 0 <= stream < len(STREAMS) and 0 <= acked <= head <= _HEAD_MAX
    }
    newest = max(epochs)
    waiting = []
    for no, epoch in epochs.items():
        for stream, name in enumerate(STREAMS):
            last = _last_pack(found.source, no, name)
            known = no == newest and epoch == noted.epoch
            head, acked = rows.get((no, stream), (last, noted.acked[name] if known else 0))
            head = max(head, last) + (no == newest and "journal" in stale and name in _OPEN)
            if known:
                most = noted.upto[name]
                is_sound = (no, stream) in rows and "streams" not in stale and (head <= most or noted.exact)
                head = head if is_sound else most
                acked = min(acked, noted.acked[name], head)
            waiting.append(_Waiting(no, epoch, name, acked, head))
    return waiting


def _last_pack(db: sqlite3.Connection | None, epoch_no: int, stream: str) -> int:
    if db is None:
        return 0
    span = pack_id(epoch_no, stream, 0), pack_id(epoch_no, stream, _HEAD_MAX)
    last = next(_readable(db, "SELECT max(id) FROM packs WHERE id > {} AND id <= {}".format(*span)), None)
    return pack_name(last[0])[2] if last and isinstance(last[0], int) else 0


def _readable(db: sqlite3.Connection, statement: str) -> Iterator[_Row]:
    """Rows up to the first that cannot be read."""
    try:
        yield from db.execute(statement)
    except (sqlite3.DatabaseError, UnicodeDecodeError):  # the latter from a message that quotes a name
        return


def _opens(stream: str, row: _Row) -> bool:
    """A page may be readable and wrong all the same: the body has to open as what it is."""
    notice, body = row[2], row[-1]
    if not isinstance(body, bytes) or len(row) != _COLUMNS:
        return False
    try:
        if stream == "readings" and not notice:
            reading_records(body, Label(0, 0.0, None, "unsure", None, ""))
        else:
            open_records(body)
    except Exception:  # noqa: BLE001  # what a torn body makes a decoder raise is anybody's guess
        return False
    return True
