"""The ledger's file: its tables, how it is opened, and that only one writes it."""

import fcntl
import sqlite3
from pathlib import Path
from typing import IO

VERSION = 1

_TABLES = """
CREATE TABLE gateways (gateway TEXT PRIMARY KEY, session INTEGER NOT NULL DEFAULT -1, state TEXT, epoch TEXT,
  heads TEXT NOT NULL DEFAULT '{}', status BLOB, meta BLOB, latest BLOB, heard REAL NOT NULL) STRICT;
CREATE TABLE packs (gateway TEXT NOT NULL, epoch TEXT NOT NULL, stream TEXT NOT NULL, n INTEGER NOT NULL,
  boot INTEGER, mono REAL, clock TEXT, cfg TEXT, records INTEGER NOT NULL, body BLOB NOT NULL, received REAL NOT NULL,
  PRIMARY KEY (gateway, epoch, stream, n)) STRICT;
CREATE TABLE gaps (gateway TEXT NOT NULL, epoch TEXT NOT NULL, stream TEXT NOT NULL, first INTEGER, last INTEGER,
  records INTEGER, reason TEXT NOT NULL, "from" REAL, "to" REAL, in_epoch TEXT NOT NULL, in_n INTEGER NOT NULL) STRICT;
CREATE TABLE conflicts (gateway TEXT NOT NULL, epoch TEXT NOT NULL, stream TEXT NOT NULL, n INTEGER NOT NULL,
  body BLOB NOT NULL, received REAL NOT NULL) STRICT;
CREATE TABLE rejects (gateway TEXT NOT NULL, epoch TEXT NOT NULL, stream TEXT NOT NULL, n INTEGER NOT NULL,
  why TEXT NOT NULL, body BLOB NOT NULL, received REAL NOT NULL, PRIMARY KEY (gateway, epoch, stream, n)) STRICT;
CREATE TABLE heads (gateway TEXT NOT NULL, epoch TEXT NOT NULL, stream TEXT NOT NULL, head INTEGER NOT NULL,
  PRIMARY KEY (gateway, epoch, stream)) STRICT;
CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


class LedgerError(Exception):
    """The file cannot serve as a ledger: found, expected, what to do."""


def lock(path: Path) -> IO[bytes]:
    """One writer: its ranges are in memory. A file of its own, because closing it would drop SQLite's locks."""
    try:
        held = path.with_name(path.name + ".lock").open("wb")
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}; expected a place where a ledger can be made") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise LedgerError(f"{path}: another city writes this ledger; expected one; stop it or name another") from None
    return held


def open_file(path: Path, *, watching: bool) -> sqlite3.Connection:
    if watching and not path.is_file():
        raise LedgerError(f"{path}: no such file; expected the ledger that `linli city --db` writes")
    where = path.absolute().as_uri() + ("?mode=ro" if watching else "")
    try:
        db = sqlite3.connect(where, uri=True, isolation_level=None, timeout=5.0, check_same_thread=False)
    except sqlite3.Error as error:
        raise LedgerError(f"{path}: {error}; expected a ledger, or a place where one can be made") from None
    try:
        version = _prepared(db, watching=watching)
        if version != VERSION:
            raise LedgerError(f"{path}: version {version} found, a ledger of version {VERSION} expected; name another")
    except sqlite3.Error as error:
        db.close()
        raise LedgerError(f"{path}: {error}; expected a ledger; name another file") from None
    except LedgerError:
        db.close()
        raise
    return db


def _prepared(db: sqlite3.Connection, *, watching: bool) -> int:
    """The file's version; an empty file becomes a ledger first."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if not watching and version == 0 and not db.execute("SELECT 1 FROM sqlite_schema").fetchone():
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(f"BEGIN;{_TABLES}PRAGMA user_version = {VERSION};COMMIT;")
        version = VERSION
    db.execute("PRAGMA synchronous = FULL")
    return version
