"""The uplink's (and the page's) view of the store: read only, a connection of its own, short reads."""

from itertools import islice
from pathlib import Path
from typing import NamedTuple

from gateway import lookback
from gateway.contract import STREAMS, Json, Label, Topics, event_records, pack_payload
from gateway.lookback import Minute, Sample
from gateway.packs import open_records, reading_records
from gateway.schema import CACHE, N_MAX, REJECTED, WAITING, connect, pack_id, pack_name

_COLUMNS = "id, notice, boot, mono, wall, clock, err_s, cfg, body"


class Row(NamedTuple):
    """One stored pack, not yet opened."""

    id: int
    notice: int
    boot: int
    mono: float
    wall: float | None
    clock: str
    err_s: float | None
    cfg: str
    body: bytes

    @property
    def n(self) -> int:
        return pack_name(self.id)[2]


class Reader:
    """Raises sqlite3.DatabaseError when the file is broken; the storage thread then renews it."""

    def __init__(self, path: Path, vfs: str = "") -> None:
        self._db = connect(path, vfs, read_only=True, timeout_s=2)
        self._db.execute("PRAGMA query_only = ON")
        self._db.execute(f"PRAGMA {CACHE}")
        self._names = self.epochs()

    def close(self) -> None:
        self._db.close()

    def epochs(self) -> dict[int, str]:
        """{no: epoch}, oldest first; the last one is in force."""
        return dict(self._db.execute("SELECT no, epoch FROM epochs ORDER BY no").fetchall())

    def streams(self) -> dict[tuple[int, str], tuple[int, int]]:
        """{(epoch_no, stream): (head, acked)}."""
        rows = self._db.execute("SELECT epoch_no, stream, head, acked FROM streams ORDER BY epoch_no")
        return {(no, STREAMS[stream]): (head, acked) for no, stream, head, acked in rows}

    def after(self, epoch_no: int, stream: str, n: int, upto: int, limit: int) -> list[Row]:
        """Waiting packs with n < number <= upto, oldest first."""
        if n >= upto:
            return []
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM packs WHERE id > ? AND id <= ? AND state = {WAITING} ORDER BY id LIMIT ?",
            (pack_id(epoch_no, stream, n), pack_id(epoch_no, stream, min(upto, N_MAX)), limit),
        )
        return [Row(*row) for row in rows]

    def stored(self, epoch_no: int, stream: str, n: int, limit: int) -> list[Row]:
        """Packs with a number above n, whatever the city has said of them, oldest first."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM packs WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (pack_id(epoch_no, stream, n), pack_id(epoch_no, stream, N_MAX), limit),
        )
        return [Row(*row) for row in rows]

    def is_whole(self, stream: str) -> bool:
        """Whether all packs of a stream since the first epoch are still here."""
        first = min(self._names)
        rows = self.stored(first, stream, 0, 1)
        return bool(rows) and rows[0].n == 1

    def wall_s(self, boot: int, mono_s: float) -> float | None:
        """UTC seconds at a moment of a boot; None while that boot's clock was never known."""
        return lookback.wall_s(self._db, boot, mono_s)

    def numbers(self, epoch_no: int, stream: str, first: int, last: int, limit: int) -> list[int]:
        """Which of first..last are still here and may be sent again, confirmed or not."""
        rows = self._db.execute(
            "SELECT id FROM packs WHERE id >= ? AND id <= ? AND state != ? ORDER BY id LIMIT ?",
            (pack_id(epoch_no, stream, first), pack_id(epoch_no, stream, last), REJECTED, limit),
        )
        return [pack_name(row[0])[2] for row in rows]

    def one(self, epoch_no: int, stream: str, n: int) -> Row | None:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM packs WHERE id = ?", (pack_id(epoch_no, stream, n),)).fetchone()
        return Row(*row) if row else None

    def named_in_gaps(self, epoch_no: int, stream: str) -> list[tuple[int, int]]:
        """The ranges of a stream that stored gap records name, sent or not."""
        found: list[tuple[int, int]] = []
        newest = max(self._names)
        for no in range(epoch_no, newest + 1):
            rows = self._db.execute(
                "SELECT body FROM packs INDEXED BY packs_notice WHERE id > ? AND id <= ? AND notice = 1",
                (pack_id(no, stream, 0), pack_id(no, stream, N_MAX)),
            )
            for (body,) in rows:
                for record in _records_of(body):
                    gap = record.get("gap")
                    if (
                        isinstance(gap, dict)
                        and "first" in gap
                        and gap.get("epoch", self._names.get(no)) == self._names[epoch_no]
                    ):
                        found.append((gap["first"], gap["last"]))
        return found

    def minutes(self, sensor: str, from_s: float, to_s: float) -> list[Minute]:
        """One-minute aggregates between two walls (UTC seconds), in their order: 1,440 a day."""
        spans = lookback.spans(self._db, from_s, to_s)
        return [minute for span in spans for _, minute in lookback.minutes_of(self._db, [sensor], span)]

    def means(self, sensor: str, boot: int, mono_s: float, minutes_back: int) -> list[float | None]:
        """The mean of each of the last whole minutes before a moment of a boot, oldest first; None: not measured."""
        found = lookback.means_before(self._db, [sensor], Label(boot, mono_s, None, "unsure", None, ""), minutes_back)
        return found.get(sensor, [None] * minutes_back)

    def samples(self, sensor: str, from_s: float, to_s: float, limit: int) -> list[Sample]:
        """Raw samples between two walls (UTC seconds), the first `limit` of them."""
        spans = lookback.spans(self._db, from_s, to_s)
        found = (sample for span in spans for sample in lookback.samples_of(self._db, sensor, span))
        return list(islice(found, limit))

    def payload(self, row: Row, topics: Topics) -> bytes:
        """The pack as it is published, uncompressed. Raises ValueError when the stored body does not open."""
        epoch_no, stream, n = pack_name(row.id)
        label = Label(row.boot, row.mono, row.wall, row.clock, row.err_s, row.cfg)
        epoch = self._names[epoch_no]
        if stream == "readings" and not row.notice:
            records = reading_records(row.body, label)
        else:
            records = event_records(open_records(row.body), topics.source, stream, epoch, n, label)
        return pack_payload(stream, epoch, n, label, records)


def _records_of(notice: bytes) -> list[Json]:
    """None of one that does not open: what it named counts as not named, and so it is said again."""
    try:
        return open_records(notice)
    except ValueError:
        return []
