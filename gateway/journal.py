"""Facts that are durable while their pack is still open. Works inside the store's transactions."""

import sqlite3
from collections.abc import Iterable, Iterator

import msgspec

from gateway.contract import STREAMS
from gateway.pending import Draft

Row = tuple[str, int, tuple[object, ...], tuple[float, float], bytes]


def note(db: sqlite3.Connection, drafts: Iterable[Draft]) -> None:
    rows = [
        (STREAMS.index(draft.stream), draft.records, *msgspec.structs.astuple(draft.label), draft.first_mono,
         draft.last_mono, draft.body())
        for draft in drafts
    ]  # fmt: skip
    if rows:
        db.executemany(f"INSERT INTO journal VALUES (NULL{',?' * 11})", rows)


def forget(db: sqlite3.Connection, streams: Iterable[str]) -> None:
    """A pack of the same transaction holds all that the journal has of these streams.

    In one order, whatever a set makes of them: which pages are free first says where the next rows go.
    """
    for stream in sorted(streams):
        db.execute("DELETE FROM journal WHERE stream = ?", (STREAMS.index(stream),))


def take_all(db: sqlite3.Connection) -> Iterator[Row]:
    """(stream, records, label, (first, last) mono, body) of everything, oldest first; the journal is empty after it."""
    rows = db.execute("SELECT * FROM journal ORDER BY id").fetchall()
    db.execute("DELETE FROM journal")
    for _, stream, records, *label, first, last, body in rows:
        yield STREAMS[stream], records, tuple(label), (first, last), body
