"""The box's own history in the store: raw samples, one-minute aggregates, and when each boot's clock was known.

Works inside the store's transactions and adds no commit of its own: at most one row of samples and one of minutes a
commit. Once an hour `upkeep` puts the minutes of the hours that are over into a row for each, and deletes what is too
old, counted in hours of operation. Nothing here was acknowledged to anyone, so it goes before what the city lacks.
"""

import logging
import sqlite3
from itertools import groupby, islice

from drivers.reading import GOOD
from gateway import minutes
from gateway.contract import Label
from gateway.lookback import BOOT_SHIFT, HOUR_MIN, LAST_MS, Names, Span, key, means_before, names_of, samples_of, spans
from gateway.minutes import Cell
from gateway.packs import Column
from gateway.pending import Draft, Wanted, Work
from gateway.reporting import RAW

log = logging.getLogger(__name__)

CHUNK_ROWS = 64
_PRUNE_ROWS = 400
_STEP_S = 0.5
SAMPLES_A_PACK = 400  # fits a message with the longest name
BOOTS_MAX = 4  # of one span that is asked for by the wall: the latest
PACKS_AROUND_MAX = 20  # of one sensor around one alarm; the rest stays on the box


class History:
    """hours: of operation, how long raw samples and minutes are kept."""

    def __init__(self, db: sqlite3.Connection, raw_h: float, minute_h: float) -> None:
        self._db = db
        self._raw_h, self._minute_h = raw_h, minute_h
        self._numbers: dict[str, int] = {}
        self._compacted: tuple[int, int] = (0, 0)
        self.given_up = 0  # raw samples that had to make room, since the start

    def forget(self) -> None:
        """A transaction was taken back, and names that it brought with it."""
        self._numbers = {}

    def means_before(self, sensors: list[str], label: Label, minutes_back: int) -> dict[str, list[float | None]]:
        """For what needs its past at the start. What cannot be opened is as if it had not been measured."""
        try:
            return means_before(self._db, sensors, label, minutes_back)
        except (ValueError, sqlite3.DatabaseError) as error:
            log.error("the last minutes could not be looked up: %s", error)
            return {}

    # -- with a commit -----------------------------------------------------------------------------------------------

    def write(self, work: Work, label: Label, hour: int) -> list[Draft]:
        """Store what the work has for the history. Returns packs of raw samples that the city is to get.

        hour: of operation.
        """
        if work.wall:
            self._wall(work.wall)
        for group in work.samples:
            row_id = self._free("raw", key(group.boot, round(group.last_s * 1000)))
            row = (row_id, round(group.first_s * 1000), group.samples, hour, group.body(self._number))
            self._db.execute("INSERT INTO raw VALUES (?,?,?,?,?)", row)
        if work.minutes:
            row_id = self._free("minute_parts", key(label.boot, round(label.mono * 1000)))
            self._db.execute(
                "INSERT INTO minute_parts VALUES (?,?)", (row_id, minutes.encode(work.minutes, self._number))
            )
        wanted = [one for asked in work.wanted for one in self._boots(asked)]
        return [draft for one in wanted for draft in self._around(one, label)]

    def _boots(self, wanted: Wanted) -> list[Wanted]:
        """What was asked for by the wall lies in one boot, or in several that followed each other."""
        if wanted.boot:
            return [wanted]
        found = spans(self._db, wanted.from_s, wanted.to_s)[-BOOTS_MAX:]
        return [wanted._replace(boot=span.boot, from_s=span.from_s, to_s=span.to_s) for span in found]

    def _around(self, wanted: Wanted, label: Label) -> list[Draft]:
        """The raw samples of one sensor as readings packs, under its name with /raw behind."""
        label = label if wanted.boot == label.boot else self._label_of(wanted, label)
        span = Span(wanted.boot, wanted.from_s, wanted.to_s, 0.0)
        columns = [Column(f"{wanted.sensor}/{RAW}", wanted.unit, "", 0)]
        try:
            for sample in islice(samples_of(self._db, wanted.sensor, span), PACKS_AROUND_MAX * SAMPLES_A_PACK):
                if len(columns[-1].monos) == SAMPLES_A_PACK:
                    columns.append(Column(columns[-1].sensor, wanted.unit, "", 0))
                if sample.quality != GOOD:
                    columns[-1].odd.append((len(columns[-1].monos), sample.quality))
                columns[-1].monos.append(sample.at_s)
                columns[-1].values.append(sample.value)
        except ValueError as error:  # they are nobody's promise: what is to be committed does not wait for them
            log.error("raw samples of %s around an alarm could not all be sent: %s", wanted.sensor, error)
        return [Draft("readings", label, [column]) for column in columns if column.monos]

    def _free(self, table: str, wanted: int) -> int:
        """Two rows of the same millisecond: the later one comes behind."""
        boot = wanted >> BOOT_SHIFT
        last = self._db.execute(
            f"SELECT max(id) FROM {table} WHERE id BETWEEN ? AND ?", (key(boot, 0), key(boot, LAST_MS))
        ).fetchone()[0]
        return wanted if last is None else max(wanted, int(last) + 1)

    def _number(self, sensor: str, unit: str) -> int:
        if not self._numbers:
            self._numbers = dict(self._db.execute("SELECT sensor, no FROM names").fetchall())
        if sensor not in self._numbers:
            added = self._db.execute("INSERT INTO names VALUES (NULL,?,?) RETURNING no", (sensor, unit)).fetchone()
            self._numbers[sensor] = int(added[0])
        return self._numbers[sensor]

    def _wall(self, label: Label) -> None:
        """Said by the loop at the start and at each change of the clock; a restart of the program is none."""
        if label.wall is None:
            return
        offset_s = label.wall - label.mono
        known = self._db.execute(
            "SELECT offset_s FROM walls WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
            (key(label.boot, 0), key(label.boot, LAST_MS)),
        ).fetchone()
        if known is None or abs(known[0] - offset_s) >= _STEP_S:
            row = (key(label.boot, round(label.mono * 1000)), offset_s, label.clock, label.err_s)
            self._db.execute("INSERT OR REPLACE INTO walls VALUES (?,?,?,?)", row)

    def _label_of(self, wanted: Wanted, label: Label) -> Label:
        """Of a boot that is over: its own clock, as far as it was known."""
        row = self._db.execute(
            "SELECT offset_s, clock, err_s FROM walls WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
            (key(wanted.boot, 0), key(wanted.boot, LAST_MS)),
        ).fetchone()
        offset_s, clock, err_s = row or (None, "unsure", None)
        wall = wanted.to_s + offset_s if offset_s is not None else None
        return Label(wanted.boot, wanted.to_s, wall, clock, err_s, label.cfg)

    # -- upkeep --------------------------------------------------------------------------------------------------------

    def upkeep(self, label: Label, hour: int) -> None:
        """Inside a transaction, each minute or so: most times there is nothing to do, and nothing is written."""
        for table, kept_h in (("raw", self._raw_h), ("minute_hours", self._minute_h)):
            for limit in (1, _PRUNE_ROWS):  # nearly always not even the oldest one is old enough
                rows = self._db.execute(f"SELECT id, hour FROM {table} ORDER BY id LIMIT ?", (limit,)).fetchall()
                old = [(row_id,) for row_id, stored in rows if stored < hour - kept_h]
                self._db.executemany(f"DELETE FROM {table} WHERE id = ?", old)
                if not old:
                    break
        now = (label.boot, int(label.mono // 3600))
        if now != self._compacted:
            self._compact(now, hour)
            self._forget_walls()
            self._compacted = now

    def _compact(self, now: tuple[int, int], hour: int) -> None:
        """Parts of hours that are over into one row an hour; what belongs to this hour stays one part."""
        names = names_of(self._db)
        parts = self._db.execute("SELECT id, body FROM minute_parts ORDER BY id").fetchall()
        for boot, rows in groupby(parts, key=lambda part: part[0] >> BOOT_SHIFT):
            mine = list(rows)
            cells = [cell for _, body in mine for cell in self._opened(body, names)]
            over = [cell for cell in cells if (boot, cell.minute // HOUR_MIN) < now]
            rest = [cell for cell in cells if (boot, cell.minute // HOUR_MIN) >= now]
            self._hours(boot, over, names, hour)
            self._db.executemany("DELETE FROM minute_parts WHERE id = ?", [(row_id,) for row_id, _ in mine])
            if rest:
                row = (mine[-1][0], minutes.encode(minutes.merged(rest), self._number))
                self._db.execute("INSERT INTO minute_parts VALUES (?,?)", row)

    def _hours(self, boot: int, cells: list[Cell], names: Names, hour: int) -> None:
        cells.sort(key=lambda cell: cell.minute // HOUR_MIN)  # stable: later parts stay later
        for boot_hour, found in groupby(cells, key=lambda cell: cell.minute // HOUR_MIN):
            row_id = key(boot, boot_hour)
            known = self._db.execute("SELECT body FROM minute_hours WHERE id = ?", (row_id,)).fetchone()
            before = self._opened(known[0], names) if known else []
            body = minutes.encode(minutes.merged([*before, *found]), self._number)
            self._db.execute("INSERT OR REPLACE INTO minute_hours VALUES (?,?,?)", (row_id, hour, body))

    def _forget_walls(self) -> None:
        """Of boots that nothing is left of."""
        query = "SELECT min(id) FROM (SELECT min(id) id FROM raw UNION ALL SELECT min(id) FROM minute_hours)"
        if oldest := self._db.execute(query).fetchone()[0]:
            self._db.execute("DELETE FROM walls WHERE id < ?", (oldest >> BOOT_SHIFT << BOOT_SHIFT,))

    def _opened(self, body: bytes, names: Names) -> list[Cell]:
        """Aggregates that cannot be opened are given up, and said; nothing else waits for them."""
        try:
            return minutes.decode(body, names)
        except ValueError as error:
            log.error("%s", error)
            return []

    # -- when room is short --------------------------------------------------------------------------------------------

    def give_up_raw(self) -> int:
        """Rows deleted, the oldest first; 0 when there are none."""
        rows = self._db.execute("SELECT id, samples FROM raw ORDER BY id LIMIT ?", (CHUNK_ROWS,)).fetchall()
        self._db.executemany("DELETE FROM raw WHERE id = ?", [(row_id,) for row_id, _ in rows])
        self.given_up += sum(count for _, count in rows)
        return len(rows)

    def give_up_minutes(self) -> int:
        """Rows deleted, the oldest hours first, then what is not an hour's row yet; 0 when there are none."""
        for table in ("minute_hours", "minute_parts"):
            rows = self._db.execute(f"SELECT id FROM {table} ORDER BY id LIMIT ?", (CHUNK_ROWS,)).fetchall()
            self._db.executemany(f"DELETE FROM {table} WHERE id = ?", rows)
            if rows:
                return len(rows)
        return 0
