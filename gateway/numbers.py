"""The heads of the streams and the hours of operation: in the database, and once more in memory.

Both change only inside the store's transactions, by the one who owns the writing connection. So a commit asks the
database for neither, and writes what has changed once. When a transaction was taken back, memory goes back with it, and
the next one asks the database first: that alone knows what it kept.
"""

import sqlite3

from gateway.contract import STREAMS
from gateway.schema import pack_id


class Numbers:
    """epoch_no: the epoch in force. heads: the last number given, by stream. hours: of operation, as last noted."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.epoch_no = 0
        self.heads: dict[str, int] = {}
        self.hours = 0
        self._written: dict[str, int] = {}
        self._before = (0, self.heads, 0)
        self._doubted = False

    def read(self, epoch_no: int, hours: int) -> None:
        """What the database has of this epoch."""
        rows = self._db.execute("SELECT stream, head FROM streams WHERE epoch_no = ?", (epoch_no,))
        self.heads = {STREAMS[stream]: head for stream, head in rows}
        self.epoch_no, self.hours, self._written = epoch_no, hours, dict(self.heads)

    def next_id(self, stream: str) -> int:
        """The next pack's."""
        self.heads[stream] += 1
        return pack_id(self.epoch_no, stream, self.heads[stream])

    # -- with the transaction -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        if self._doubted:
            self.read(self.epoch_no, self.hours)
            self._doubted = False
        self._before = (self.epoch_no, dict(self.heads), self.hours)

    def write(self) -> None:
        """Before the commit: what has changed."""
        changed = [
            (head, self.epoch_no, STREAMS.index(stream))
            for stream, head in self.heads.items()
            if head != self._written.get(stream)
        ]
        self._db.executemany("UPDATE streams SET head = ? WHERE epoch_no = ? AND stream = ?", changed)
        self._written = dict(self.heads)

    def undo(self) -> None:
        """The transaction was taken back."""
        self.epoch_no, self.heads, self.hours = self._before
        self._doubted = True
