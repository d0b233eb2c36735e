"""What happened, for the reports: events and alarms of one gateway as they were told, out of the box's own database or
the city's ledger, each with its time.

Both hold the same packs, so both give the same facts. What was told while the clock was unsure gets its time from the
word that corrects its boot (`linli.clock.synced.v1`); what never got one has none, and is counted.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gateway.contract import Json, Topics
from gateway.home import ABOUT
from gateway.reader import Reader, Row
from gateway.schema import connect

STREAMS = ("alarms", "events")
BEFORE_S = 3 * 86_400.0  # a facility's log says each day where it stands, and a ticket is called on its day
AFTER_S = 86_400.0
LATE_S = 92 * 86_400.0  # what reaches the city later than that is not looked for
_NO_TOPICS = Topics("linli", "box")
_BATCH = 200  # packs of one short read
_LEDGER = 1  # its version, as simulator/ledger_file.py writes it


class FactsError(Exception):
    """A file that holds no facts: found, expected, what to do."""


def strange(gateway: str, error: Exception) -> FactsError:
    """A dictionary or a record that no gateway of this contract sends."""
    found = f"{type(error).__name__} {error}"
    return FactsError(
        f"{gateway}: found a dictionary or record that cannot be read ({found}), expected those of the contract; "
        "see what it sent, or report the others by --gateway"
    )


class Fact(NamedTuple):
    """One record. kind: "ticket.issued". boot: (epoch, boot number), mono_s: on its clock. wall_s: UTC or None.

    test: born in test mode.
    """

    id: str
    kind: str
    subject: str
    boot: tuple[str, int]
    mono_s: float
    wall_s: float | None
    data: Json
    test: bool = False


class Gap(NamedTuple):
    """Records that were given up. records, from_s, to_s (UTC): None when nobody can say."""

    stream: str
    reason: str
    records: int | None
    from_s: float | None
    to_s: float | None


class Centre(NamedTuple):
    """One gateway's facts, in order of time where it is known.

    about: what things are called (`names`). held_from_s, heard_to_s: between these the facts are held, UTC s, None:
    nothing is. unsure: facts of which nobody knows when they were. missing: packs that exist and the city lacks.
    """

    gateway: str
    about: Json
    facts: list[Fact]
    gaps: list[Gap]
    held_from_s: float | None
    heard_to_s: float | None
    unsure: int
    missing: int


class _Record(msgspec.Struct):
    id: str = ""
    type: str = ""
    subject: str = ""
    monoms: int = 0
    time: datetime | None = None
    data: Json = {}
    test: bool = False
    gap: Json | None = None


class _Pack(msgspec.Struct):
    stream: str
    epoch: str
    n: int
    boot: int
    records: list[_Record]


_open = msgspec.json.Decoder(_Pack, strict=True).decode
_json = msgspec.json.Decoder(Json).decode


def names(meta: Json) -> Json:
    """Of the dictionary (topic `meta`), what the reports need: small enough to be kept with the store."""
    sensors: Any = meta.get("sensors", {})
    wanted = ("site", "gateway", "name", "region", "tz", "open", "lang", "queues", "facilities")
    found: Json = {key: meta[key] for key in wanted if key in meta}
    found["meters"] = {name: s["name"] for name, s in sensors.items() if s["kind"] == "total"}
    water = [name for name, s in sensors.items() if s["kind"] in ("leak", "flow")]
    alarms: Any = meta.get("alarms", {})
    found["water_alarms"] = {
        name: alarm["name"]
        for name, alarm in alarms.items()
        if ":" not in name and any(_speaks_of(text, water) for text in alarm["conditions"])
    }
    return found


def _speaks_of(condition: str, sensors: Iterable[str]) -> bool:
    """ "basement/rope is wet", "model:water-leak on basement/main/flow > 0.9 for 10 min" """
    return not {*condition.split()[:3]}.isdisjoint(sensors)


def of_box(database: Path, from_s: float, to_s: float) -> Centre:
    """Raises FactsError, sqlite3.Error."""
    if not database.is_file():
        raise FactsError(f"{database}: found no database, expected one; see --state (linli run makes it)")
    reader = Reader(database)
    try:
        db = reader._db
        about = db.execute("SELECT value FROM keep WHERE key = ?", (ABOUT,)).fetchone()
        if about is None:
            raise FactsError(f"{database}: found no word of the site in it, expected one; start this version once")
        heard = db.execute("SELECT max(wall) FROM packs").fetchone()[0]
        window = (from_s - BEFORE_S, to_s + AFTER_S)
        bodies = (reader.payload(row, _NO_TOPICS) for row in _between(reader, *window))
        words = msgspec.json.decode(about[0])
        return _centre(str(words["gateway"]), words, bodies, window, _oldest_s(reader), heard)
    finally:
        reader.close()


def _oldest_s(reader: Reader) -> float | None:
    """The oldest go first, so all since then is held."""
    rows = (row for epoch_no in reader.epochs() for row in reader.stored(epoch_no, "events", 0, 1))
    first = next(rows, None)
    return first.wall if first else None


def _between(reader: Reader, from_s: float, to_s: float) -> Iterator[Row]:
    """Packs closed between two walls, or without one; in short reads, because the gateway writes beside them."""
    for epoch_no in reader.epochs():
        for stream in STREAMS:
            n = 0
            while rows := reader.stored(epoch_no, stream, n, _BATCH):
                n = rows[-1].n
                yield from (row for row in rows if row.wall is None or from_s <= row.wall <= to_s)


def of_city(ledger: Path, gateways: list[str], from_s: float, to_s: float) -> Iterator[Centre]:
    """The centres of a ledger, or those named. Raises FactsError, sqlite3.Error."""
    if not ledger.is_file():
        raise FactsError(f"{ledger}: found no file, expected the ledger that `linli city --db` writes; see --db")
    db = connect(ledger, read_only=True)
    try:
        if db.execute("PRAGMA user_version").fetchone()[0] != _LEDGER:
            raise FactsError(f"{ledger}: found another kind of database, expected a ledger of version {_LEDGER}")
        known = dict(db.execute("SELECT gateway, meta FROM gateways ORDER BY gateway"))
        if unknown := [name for name in gateways if name not in known]:
            raise FactsError(f"found gateway {unknown[0]!r}, expected one of {', '.join(known)}; see --gateway")
        for gateway in gateways or known:
            meta = known[gateway]  # None: it has not come, so nobody knows names, hours and time zone
            try:
                about: Json = {"name": gateway} if meta is None else names(_json(meta))
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise strange(gateway, error) from None
            yield _of_ledger(db, gateway, about, (from_s - BEFORE_S, to_s + AFTER_S))
    finally:
        db.close()


def _of_ledger(db: sqlite3.Connection, gateway: str, about: Json, window: tuple[float, float]) -> Centre:
    """Nothing is received before it happens, so what came earlier is of no month that is asked for."""
    where = "FROM packs WHERE gateway = ? AND stream IN (?, ?) AND received BETWEEN ? AND ?"
    asked = (gateway, *STREAMS, window[0], window[1] + LATE_S)
    rows = db.execute(f"SELECT body {where} ORDER BY epoch, stream, n", asked)
    seen = "SELECT min(CASE WHEN stream = 'events' THEN received END), max(received) FROM packs WHERE gateway = ?"
    held_from_s, heard_to_s = db.execute(seen, (gateway,)).fetchone()
    found = _centre(gateway, about, (body for (body,) in rows), window, held_from_s, heard_to_s)
    spans = db.execute(f"SELECT epoch, stream, min(n), max(n) {where} GROUP BY epoch, stream", asked).fetchall()
    return found._replace(missing=sum(_missing(db, gateway, *span) for span in spans))


def _missing(db: sqlite3.Connection, gateway: str, epoch: str, stream: str, first: int, last: int) -> int:
    """Numbers of a span that are neither held nor named in a gap."""
    key = (gateway, epoch, stream)
    count = "SELECT count(*) FROM packs WHERE gateway = ? AND epoch = ? AND stream = ? AND n BETWEEN ? AND ?"
    held = int(db.execute(count, (*key, first, last)).fetchone()[0])
    named = "SELECT first, last FROM gaps WHERE gateway = ? AND epoch = ? AND stream = ? AND last >= ? AND first <= ?"
    given_up = {n for a, b in db.execute(named, (*key, first, last)) for n in range(max(a, first), min(b, last) + 1)}
    return max(0, last - first + 1 - held - len(given_up))


def _centre(
    gateway: str, about: Json, bodies: Iterable[bytes], window: tuple[float, float], held_from_s: float | None,
    heard_to_s: float | None,
) -> Centre:  # fmt: skip
    """window: what is known to have been outside of it is left out."""
    facts: list[Fact] = []
    gaps: list[Gap] = []
    for body in bodies:
        pack = _open(body)
        for record in pack.records:
            if record.gap is not None:
                gaps.append(_gap(pack.stream, record.gap))
            elif record.type and (record.time is None or window[0] <= record.time.timestamp() <= window[1]):
                facts.append(_fact(pack, record))
    facts = _timed(facts)
    walls = [fact.wall_s for fact in facts if fact.wall_s is not None]
    if held_from_s is None:
        held_from_s = min(walls, default=None)
    return Centre(gateway, about, facts, gaps, held_from_s, heard_to_s, len(facts) - len(walls), 0)


def _fact(pack: _Pack, record: _Record) -> Fact:
    kind = record.type.removeprefix("linli.").rpartition(".")[0]
    wall_s = record.time.timestamp() if record.time else None
    boot = (pack.epoch, pack.boot)
    return Fact(record.id, kind, record.subject, boot, record.monoms / 1000, wall_s, record.data, record.test)


def _gap(stream: str, gap: Any) -> Gap:
    return Gap(stream, str(gap.get("reason")), gap.get("records"), gap.get("from"), gap.get("to"))


def _timed(facts: list[Fact]) -> list[Fact]:
    """With the times of what was told before its boot's clock was known; in order of time, unknown times last."""
    known: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for fact in facts:
        if fact.kind == "clock.synced":
            mono_s, wall_s = float(str(fact.data["mono"])), float(str(fact.data["wall"]))
            known.setdefault(fact.boot, []).append((mono_s, wall_s - mono_s))
    found = []
    for fact in facts:
        if fact.wall_s is None and fact.boot in known:
            offsets = sorted(known[fact.boot])
            _, offset_s = next((at for at in offsets if at[0] >= fact.mono_s), offsets[-1])
            fact = fact._replace(wall_s=fact.mono_s + offset_s)
        found.append(fact)
    return sorted(found, key=lambda fact: (fact.wall_s is None, fact.wall_s or 0.0))
