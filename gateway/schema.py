"""Tables and migrations, by sqlite-utils: the only file that imports it, and only inside `migrate`
and `query` (`linli db`).

Importing sqlite-utils costs 20-30 MB and half a second, so the daemon never does: it compares `user_version` and, when
that differs, runs this file as a short process of its own.

packs.id is epoch_no << 48 | stream << 44 | n: one integer key, so that a commit touches one page a stream.
"""

import sqlite3
import subprocess
import sys
from collections.abc import Generator
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

from gateway.contract import STREAMS

SCHEMA_VERSION = 3
PAGE_BYTES = 512  # of a new file; the larger, the more a commit of one event writes: ARCHITECTURE.md
CACHE = "cache_size=-512"  # KiB a connection that stays open; SQLite's own 2,000 would take days to fill, like a leak
_EPOCH_SHIFT, _STREAM_SHIFT = 48, 44
_FOUND_BROKEN = "quick_check: "
# a key that is free by the heads and taken all the same; a text that is none
_CORRUPT_NAMES = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CONSTRAINT_PRIMARYKEY")
_CORRUPT_TEXTS = (_FOUND_BROKEN, "Could not decode to UTF-8")
_SMALL_TABLES = ("box", "epochs", "streams", "sources", "keep", "journal", "names", "walls")  # of any size of file
_MIGRATE_S = 540.0  # within the unit's TimeoutStartSec; an index over a database of gigabytes takes minutes
_WRITE_PRAGMAS = (
    "journal_mode=WAL", "synchronous=FULL", "secure_delete=OFF", "journal_size_limit=16777216", CACHE,
)  # fmt: skip
_LOG_BYTES = 4_096_000  # at which the log is checkpointed
_SICK_DISK = 75  # of the process that migrates: sysexits' "try again later"
N_MAX = (1 << _STREAM_SHIFT) - 1

# packs.state. In a statement they stand as numbers: an index of some states makes SQLite plan anew at each `state = ?`.
WAITING, CONFIRMED, REJECTED = 0, 1, 2


def pack_id(epoch_no: int, stream: str, n: int) -> int:
    return epoch_no << _EPOCH_SHIFT | STREAMS.index(stream) << _STREAM_SHIFT | n


def pack_name(row_id: int) -> tuple[int, str, int]:
    """(epoch_no, stream, n) of a pack's id."""
    return row_id >> _EPOCH_SHIFT, STREAMS[row_id >> _STREAM_SHIFT & 0xF], row_id & N_MAX


class SchemaError(Exception):
    """The database cannot be brought to this program's schema: found, expected, what to do."""


def connect(path: Path, vfs: str = "", *, read_only: bool = False, timeout_s: float = 5.0) -> sqlite3.Connection:
    """A connection that begins no transaction by itself; it may change threads, but is used by one at a time.

    vfs: a file layer that SQLite knows under that name; "" is the system's own.
    """
    options = {"mode": "ro" if read_only else "", "vfs": vfs}
    asked = urlencode({key: value for key, value in options.items() if value})
    uri = f"{path.absolute().as_uri()}?{asked}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=timeout_s, check_same_thread=False)


def version_of(path: Path, vfs: str = "") -> int:
    connection = connect(path, vfs)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def quick_check(path: Path, vfs: str = "", *, small: bool = False) -> None:
    """Raises sqlite3.DatabaseError for a file whose pages do not fit together. small: only those of small tables."""
    connection = connect(path, vfs)
    connection.text_factory = lambda text: text.decode(errors="replace")  # it quotes what it found
    try:
        for one in _small_tables(connection) if small else ["1"]:
            found = connection.execute(f"PRAGMA quick_check({one})").fetchone()[0]
            if found != "ok":
                raise broken(found)
    except UnicodeDecodeError as error:  # SQLite quotes a name in its message, and the name is none any more
        raise broken(str(error)) from None
    finally:
        connection.close()


def _small_tables(connection: sqlite3.Connection) -> list[str]:
    there = [str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return [f"'{table}'" for table in _SMALL_TABLES if table in there]


def is_whole(path: Path, vfs: str = "") -> bool:
    """Whether every page fits; from any thread. Raises sqlite3.OperationalError when the disk cannot say.

    It reads the whole file, at some 40 MB/s on a card.
    """
    try:
        quick_check(path, vfs)
    except sqlite3.DatabaseError as error:
        if not is_corrupt(error):
            raise
        return False
    return True


def _checked_version(path: Path, vfs: str) -> int:
    """Raises sqlite3.DatabaseError when a table, column or index of SCHEMA_VERSION is missing: a flipped bit in a name.

    Statements would fail for ever with what looks like a disk that does not take them.
    """
    connection = connect(path, vfs)
    connection.text_factory = lambda text: text.decode(errors="replace")
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        missing = _names_of_schema() - {*connection.execute(_NAMES)} if version == SCHEMA_VERSION else ()
    finally:
        connection.close()
    if missing:
        raise broken(f"{' '.join(min(missing))} is missing")
    return version


_NAMES = (
    "SELECT one.name, column.name FROM sqlite_master AS one, pragma_table_info(one.name) AS column"
    " UNION SELECT name, '' FROM sqlite_master WHERE type = 'index'"
)


@cache
def _names_of_schema() -> frozenset[tuple[str, str]]:
    """(table, column) and (index, "") of SCHEMA_VERSION."""
    fresh = sqlite3.connect(":memory:")
    try:
        for statements in (_FIRST, _HISTORY, _FEW_AMONG_MANY):
            fresh.executescript(statements)
        return frozenset(fresh.execute(_NAMES))
    finally:
        fresh.close()


def broken(why: str) -> sqlite3.DatabaseError:
    """What we found ourselves, as SQLite would say it."""
    return sqlite3.DatabaseError(f"{_FOUND_BROKEN}{why}")


def is_corrupt(error: Exception) -> bool:
    """The file itself is broken, in contrast to a disk that does not take something now."""
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith(_CORRUPT_NAMES) or str(error).startswith(_CORRUPT_TEXTS)


def ensure(path: Path, vfs: str = "") -> None:
    """Bring the file to SCHEMA_VERSION in a process of its own. Raises SchemaError, sqlite3.DatabaseError.

    A disk that does not take it is an OperationalError, as in every other statement: it may take it later.
    """
    found = _checked_version(path, vfs) if path.exists() else 0
    if found != SCHEMA_VERSION:
        _upgrade(path, found)
        _checked_version(path, vfs)


def inode_of(path: Path) -> int | None:
    """None when there is no such file."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def open_to_write(path: Path, vfs: str = "") -> sqlite3.Connection:
    """The one connection that writes."""
    path.chmod(0o600)
    db = connect(path, vfs)
    try:
        for pragma in _WRITE_PRAGMAS:
            db.execute(f"PRAGMA {pragma}")
        page_b = db.execute("PRAGMA page_size").fetchone()[0]  # an older file keeps its own
        db.execute(f"PRAGMA wal_autocheckpoint={_LOG_BYTES // page_b}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _upgrade(path: Path, found: int) -> None:
    if found > SCHEMA_VERSION:
        raise SchemaError(
            f"{path}: schema {found} found, {SCHEMA_VERSION} expected: it was written by a newer Linli; "
            "install that version again, or move the file away to begin a new epoch"
        )
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gateway.schema", str(path)],
            capture_output=True, text=True, timeout=_MIGRATE_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise sqlite3.OperationalError(f"the upgrade of the schema took longer than {_MIGRATE_S:.0f} s") from None
    if done.returncode == _SICK_DISK:
        raise sqlite3.OperationalError(done.stderr.strip()[-500:])
    if done.returncode:
        raise SchemaError(f"{path}: the schema could not be upgraded from {found}: {done.stderr.strip()[-500:]}")


def migrate(path: Path) -> None:
    """Apply what is missing, each step in a transaction of its own."""
    import sqlite_utils
    from sqlite_utils.migrations import Migrations

    migrations = Migrations("linli")

    @migrations()
    def m001_first(db: sqlite_utils.Database) -> None:
        for statement in _FIRST.split(";"):
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")

    @migrations()
    def m002_history(db: sqlite_utils.Database) -> None:
        for statement in _HISTORY.split(";"):
            db.execute(statement)
        db.execute("PRAGMA user_version = 2")

    @migrations()
    def m003_few_among_many(db: sqlite_utils.Database) -> None:
        for statement in _FEW_AMONG_MANY.split(";"):
            db.execute(statement)
        db.execute("PRAGMA user_version = 3")

    connection = connect(path)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        migrations.apply(sqlite_utils.Database(connection))
    finally:
        connection.close()


_READ_PRAGMAS = frozenset(
    ("table_info", "table_xinfo", "table_list", "index_list", "index_info", "quick_check", "integrity_check",
     "user_version", "page_count", "page_size", "freelist_count", "recursive_triggers")
)  # fmt: skip
_READS = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE,
     sqlite3.SQLITE_SAVEPOINT)
)  # fmt: skip


def _only_read(action: int, name: str | None, *_: str | None) -> int:
    """SQLite's authorizer: neither this file nor, by ATTACH or VACUUM INTO, another one may be written."""
    allowed = action in _READS or (action == sqlite3.SQLITE_PRAGMA and name in _READ_PRAGMAS)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def query(path: Path, sql: str) -> Generator[dict[str, object], None, None]:
    """Rows of one read-only statement, also beside a running gateway. Raises sqlite3.DatabaseError, ValueError."""
    import sqlite_utils

    connection = connect(path, read_only=True)
    try:
        connection.set_authorizer(_only_read)
        yield from sqlite_utils.Database(connection, execute_plugins=False).query(sql)
    finally:
        connection.close()


def tables(path: Path) -> dict[str, int]:
    """{table: how many rows}, in the order they were made. Raises sqlite3.DatabaseError."""
    names = [str(row["name"]) for row in query(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    counts = (next(query(path, f"SELECT count(*) AS rows FROM [{name}]")) for name in names)
    return {name: int(str(count["rows"])) for name, count in zip(names, counts, strict=True)}


# journal: durable facts whose pack is still open; packs.hour: hours of operation, for `confirmed_days`
# box: one value a key (boot, boot_id, starts, clean, hours)
_FIRST = """
CREATE TABLE box (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE epochs (no INTEGER PRIMARY KEY, epoch TEXT NOT NULL UNIQUE, why TEXT NOT NULL, prev TEXT) STRICT;
CREATE TABLE streams (epoch_no INTEGER NOT NULL, stream INTEGER NOT NULL, head INTEGER NOT NULL,
    acked INTEGER NOT NULL, PRIMARY KEY (epoch_no, stream)) STRICT;
CREATE TABLE packs (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, notice INTEGER NOT NULL, records INTEGER NOT NULL,
    boot INTEGER NOT NULL, mono REAL NOT NULL, wall REAL, clock TEXT NOT NULL, err_s REAL, cfg TEXT NOT NULL,
    first_mono REAL NOT NULL, last_mono REAL NOT NULL, hour INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE sources (source TEXT PRIMARY KEY, boot INTEGER NOT NULL, seq INTEGER NOT NULL) STRICT;
CREATE TABLE keep (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE journal (id INTEGER PRIMARY KEY, stream INTEGER NOT NULL, records INTEGER NOT NULL, boot INTEGER NOT NULL,
    mono REAL NOT NULL, wall REAL, clock TEXT NOT NULL, err_s REAL, cfg TEXT NOT NULL, first_mono REAL NOT NULL,
    last_mono REAL NOT NULL, body BLOB NOT NULL) STRICT
"""

# The box's own history (gateway/history.py): ids are boot << 40 | ms, of minute_hours boot << 40 | hour of that boot
# walls: from when on a boot's wall was mono + offset_s; names: numbers of sensors; hour: hours of operation
_HISTORY = """
CREATE TABLE names (no INTEGER PRIMARY KEY, sensor TEXT NOT NULL UNIQUE, unit TEXT NOT NULL) STRICT;
CREATE TABLE walls (id INTEGER PRIMARY KEY, offset_s REAL NOT NULL, clock TEXT NOT NULL, err_s REAL) STRICT;
CREATE TABLE raw (id INTEGER PRIMARY KEY, first_ms INTEGER NOT NULL, samples INTEGER NOT NULL, hour INTEGER NOT NULL,
    body BLOB NOT NULL) STRICT;
CREATE TABLE minute_parts (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE minute_hours (id INTEGER PRIMARY KEY, hour INTEGER NOT NULL, body BLOB NOT NULL) STRICT
"""

# Packs that are found without a walk over all that wait; a plain waiting pack is in neither, so it costs nothing.
_FEW_AMONG_MANY = f"""
CREATE INDEX packs_notice ON packs (id) WHERE notice = 1;
CREATE INDEX packs_confirmed ON packs (id) WHERE state = {CONFIRMED}
"""


if __name__ == "__main__":
    try:
        migrate(Path(sys.argv[1]))
    except (sqlite3.DatabaseError, OSError) as error:
        sys.exit(print(error, file=sys.stderr) or _SICK_DISK)
