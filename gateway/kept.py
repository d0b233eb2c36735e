"""What the database keeps beside the packs: the box's values, state that must survive, how far each source is durable.

Works inside the store's transactions.
"""

import json
import logging
import sqlite3
from collections.abc import Mapping

log = logging.getLogger(__name__)

_VALUE = "VALUES (?,?) ON CONFLICT DO UPDATE SET value = excluded.value"


def box(db: sqlite3.Connection, key: str, default: str) -> str:
    row = db.execute("SELECT value FROM box WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else default


def count(db: sqlite3.Connection, key: str) -> int:
    """0 for one that is not there, or no number any more."""
    found = box(db, key, "0")
    return int(found) if found.isdecimal() else 0


def set_box(db: sqlite3.Connection, values: Mapping[str, object]) -> None:
    db.executemany(f"INSERT INTO box {_VALUE}", [(key, str(value)) for key, value in values.items()])


def kept(db: sqlite3.Connection) -> dict[str, object]:
    """What a flipped bit made unreadable is left out, and said: better a start without it than none."""
    found: dict[str, object] = {}
    for key, value in db.execute("SELECT key, value FROM keep"):
        try:
            found[key] = json.loads(value)
        except ValueError as error:
            log.error("what was kept as %s cannot be read and is forgotten: %s", key, error)
    return found


def keep(db: sqlite3.Connection, values: Mapping[str, str | None]) -> None:
    """JSON by key; None forgets the key."""
    db.executemany("DELETE FROM keep WHERE key = ?", [(key,) for key, value in values.items() if value is None])
    db.executemany(f"INSERT INTO keep {_VALUE}", [item for item in values.items() if item[1] is not None])


def marks(db: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    return {source: (boot, seq) for source, boot, seq in db.execute("SELECT * FROM sources")}


def mark(db: sqlite3.Connection, found: Mapping[str, tuple[int, int]]) -> None:
    db.executemany(
        "INSERT INTO sources VALUES (?,?,?) ON CONFLICT DO UPDATE SET boot=excluded.boot, seq=excluded.seq",
        [(source, *mark) for source, mark in found.items()],
    )
