"""Who holds which fact at this moment of a night: the gateway's disk and the city's ledger, read from outside.

Packs of both are read in the form in which they are published. A stored pack never changes, so each is opened once.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from drivers.reading import Value
from gateway.contract import STREAMS, Label, Topics, event_records, pack_payload
from gateway.packs import open_records, reading_records
from gateway.reader import Reader, Row
from gateway.schema import pack_id, pack_name
from simulator.ledger import Ledger
from simulator.night_devices import Src
from simulator.spans import Spans

Name = tuple[str, str, int]  # epoch, stream, n


class Found(NamedTuple):
    """A numbered fact as a pack tells it. wall_s: UTC by the pack's own label, None while the clock was unsure."""

    src: Src
    sensor: str
    value: Value
    boot: int
    mono_s: float
    wall_s: float | None


class Pack(NamedTuple):
    """facts in their order. lost: what a source gave up. gaps: (epoch, first, last). synced: (boot, mono, wall).

    known: whether its label knew the time.
    """

    facts: list[Found]
    lost: list[Src]
    gaps: list[tuple[str, int, int]]
    synced: list[tuple[int, float, float]]
    boot: int
    known: bool
    crc: int


class _Record(msgspec.Struct, gc=False):
    n: str = ""
    v: float | None = None
    vb: bool | None = None
    vs: str | None = None
    t: float = 0.0
    bt: float | None = None
    src: str | None = None
    type: str = ""
    monoms: int | None = None
    time: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    gap: msgspec.Raw = msgspec.Raw(b"")


class _Body(msgspec.Struct):
    epoch: str
    stream: str
    n: int
    boot: int
    mono: float
    clock: str
    records: msgspec.Raw


class _Value(msgspec.Struct):
    value: Value | None = None


class _Lost(msgspec.Struct):
    first: int
    last: int


class _Gap(msgspec.Struct):
    first: int | None = None
    last: int | None = None
    epoch: str | None = None


class _Synced(msgspec.Struct):
    boot: int
    mono: float
    wall: float


_body = msgspec.json.Decoder(_Body).decode
_records = msgspec.json.Decoder(list[_Record]).decode
_value = msgspec.json.Decoder(_Value).decode
_lost = msgspec.json.Decoder(_Lost).decode
_gap = msgspec.json.Decoder(_Gap).decode
_synced = msgspec.json.Decoder(_Synced).decode


def opened(payload: bytes) -> tuple[Name, Pack]:
    body = _body(payload)
    return (body.epoch, body.stream, body.n), _opened(body, _records(body.records))


def _opened(body: _Body, records: list[_Record]) -> Pack:
    pack = Pack([], [], [], [], body.boot, body.clock != "unsure", crc32(body.records))
    base_s = records[0].bt if records else None
    for record in records:
        if record.gap:
            gap = _gap(record.gap)
            if gap.first is not None and gap.last is not None:
                pack.gaps.append((gap.epoch or body.epoch, gap.first, gap.last))
        elif record.type == "linli.clock.synced.v1":
            synced = _synced(record.data)
            pack.synced.append((synced.boot, synced.mono, synced.wall))
        elif record.src:
            source, boot, seq = record.src.split("/")
            src = (source, int(boot), int(seq))
            if record.type == "linli.source.lost.v1":
                lost = _lost(record.data)
                pack.lost.extend((source, int(boot), n) for n in range(lost.first, lost.last + 1))
            else:
                pack.facts.append(_fact(body, record, src, base_s))
    return pack


def _fact(body: _Body, record: _Record, src: Src, base_s: float | None) -> Found:
    if record.type:
        mono_s = (record.monoms or 0) / 1000
        return Found(src, "", _value(record.data).value or "", body.boot, mono_s, None)
    value: Value = record.vb if record.vb is not None else record.vs if record.vs is not None else record.v or 0.0
    wall_s = base_s + record.t if base_s is not None else None
    return Found(src, record.n, value, body.boot, body.mono + record.t, wall_s)


class Place:
    """Packs at one place, by name, and what they hold. numbers: {(epoch, stream): n}."""

    def __init__(self) -> None:
        self.packs: dict[Name, Pack] = {}
        self.facts: dict[Src, Name] = {}
        self.lost: set[Src] = set()
        self.numbers: dict[tuple[str, str], set[int]] = {}

    def add(self, name: Name, pack: Pack) -> Iterator[Src]:
        """Gives the facts that another pack here holds already."""
        self.packs[name] = pack
        self.numbers.setdefault(name[:2], set()).add(name[2])
        self.lost.update(pack.lost)
        for found in pack.facts:
            if self.facts.setdefault(found.src, name) != name:
                yield found.src

    def remove(self, name: Name) -> Pack:
        pack = self.packs.pop(name)
        self.numbers[name[:2]].discard(name[2])
        for found in pack.facts:
            if self.facts.get(found.src) == name:
                del self.facts[found.src]
        return pack


class Holdings:
    """Both places, and what either of them ever said was given up or came."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self.disk, self.ledger = Place(), Place()
        self.journal: set[Src] = set()
        self._journal_rows: dict[tuple[Any, ...], list[Src]] = {}  # {row: its facts and what it calls lost}
        self.fresh: list[tuple[Name, Pack]] = []  # not yet looked at by whoever judges packs
        self.gone: dict[Name, Pack] = {}  # packs that were on the disk once and are not any more
        self._gone_facts: dict[Src, Name] = {}
        self.named: dict[tuple[str, str], Spans] = {}  # in gap records: {(epoch, stream): numbers}
        self.heads: dict[tuple[str, str], tuple[int, int]] = {}  # {(epoch, stream): (head, acked)} of the disk
        self.changed: list[str] = []
        self.twice: list[str] = []
        self._rows: dict[int, tuple[Row, Name]] = {}
        self._reader: Reader | None = None
        self._version = -1
        self._may_have_gone = False
        self._ledger_row = 0

    def absent(self, sources: set[Src]) -> set[Src]:
        """Which of them are neither here nor there nor given up."""
        left = sources - self.ledger.facts.keys() - self.disk.facts.keys()
        if left:
            left = left.difference(self.ledger.lost, self.disk.lost, self.journal)
        return {src for src in left if not self.given_up(src)} if left else left

    def given_up(self, src: Src) -> bool:
        """Its pack is gone from the disk, and a gap record says so."""
        epoch, stream, n = self._gone_facts.get(src, ("", "", 0))
        return (epoch, stream) in self.named and n in self.named[epoch, stream]

    # -- the disk -------------------------------------------------------------------------------------------------

    def moved(self, database: Path) -> None:
        """The gateway's files are others now: look whether they say the same."""
        self.let_go()
        self._reader = Reader(database)
        self._version = -1
        before, self._rows = self._rows, {}
        ids = {row[0] for row in self._reader._db.execute("SELECT id FROM packs").fetchall()}
        for row_id, (row, name) in before.items():
            if row_id in ids and self._row(self._reader, row_id) == row:
                self._rows[row_id] = (row, name)
            else:
                self._remove(name)
        self.read_disk(everything=True)
        for name, pack in self.disk.packs.items():
            if name in self.gone and self.gone[name].crc != pack.crc:
                self.changed.append(f"{name} on the disk")

    def let_go(self) -> None:
        if self._reader:
            self._reader.close()
            self._reader = None

    def _row(self, reader: Reader, row_id: int) -> Row:
        row = reader.one(*pack_name(row_id))
        assert row
        return row

    def read_disk(self, *, everything: bool = False) -> None:
        """To be called after each commit, so that nothing comes unseen. everything: look, too, what has gone."""
        reader = self._reader
        if reader is None:
            return
        version = reader._db.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version and not (everything and self._may_have_gone):
            return
        self._version, self._may_have_gone = version, not everything
        if everything:
            ids = {row[0] for row in reader._db.execute("SELECT id FROM packs").fetchall()}
            for row_id in sorted(self._rows.keys() - ids):
                self._remove(self._rows.pop(row_id)[1])
        else:
            ids = set(self._new_ids(reader))
        for row_id in sorted(ids - self._rows.keys()):
            if pack_name(row_id)[0] not in reader._names:
                reader._names = reader.epochs()
            row = self._row(reader, row_id)
            name, pack = opened(reader.payload(row, self._topics))
            self._rows[row_id] = (row, name)
            self._add(self.disk, self.ledger, name, pack)
        self._read_journal(reader)
        epochs = reader.epochs()
        self.heads = {(epochs[no], stream): said for (no, stream), said in reader.streams().items()}

    def _new_ids(self, reader: Reader) -> Iterator[int]:
        epochs = reader.epochs()
        for (no, stream), (head, _) in reader.streams().items():
            before, _ = self.heads.get((epochs[no], stream), (0, 0))
            span = (pack_id(no, stream, before), pack_id(no, stream, head))
            yield from (row[0] for row in reader._db.execute("SELECT id FROM packs WHERE id > ? AND id <= ?", span))

    def _remove(self, name: Name) -> None:
        pack = self.gone[name] = self.disk.remove(name)
        self._gone_facts.update((found.src, name) for found in pack.facts)

    def _add(self, place: Place, other: Place, name: Name, pack: Pack) -> None:
        self.fresh.append((name, pack))
        self.twice += [f"{src} in {place.facts[src]} and in {name}" for src in place.add(name, pack)]
        for found in pack.facts:
            if other.facts.get(found.src, name) != name:
                self.twice.append(f"{found.src} in {name} and, at the other place, in {other.facts[found.src]}")
        for epoch, first, last in pack.gaps:
            self.named.setdefault((epoch, name[1]), Spans()).add(first, last)

    def _read_journal(self, reader: Reader) -> None:
        before, self._journal_rows = self._journal_rows, {}
        for row in reader._db.execute("SELECT * FROM journal ORDER BY id"):
            self._journal_rows[row] = before[row] if row in before else self._journalled(row)
        self.journal = set().union(*self._journal_rows.values())

    def _journalled(self, row: tuple[Any, ...]) -> list[Src]:
        _, index, _, *label, _, _, body = row
        told, stream = Label(*label), STREAMS[index]
        if stream == "readings":
            inside = reading_records(body, told)
        else:
            inside = event_records(open_records(body), "", stream, "00000000", 1, told)
        _, pack = opened(pack_payload(stream, "00000000", 1, told, inside))
        return [*(found.src for found in pack.facts), *pack.lost]

    # -- the ledger -----------------------------------------------------------------------------------------------

    def read_ledger(self, ledger: Ledger) -> None:
        """To be called when it has committed."""
        for row, body in ledger.rows("SELECT rowid, body FROM packs WHERE rowid > ? ORDER BY rowid", self._ledger_row):
            self._ledger_row = row
            name, pack = opened(body)
            self._add(self.ledger, self.disk, name, pack)
            held = self.disk.packs.get(name) or self.gone.get(name)
            if held and held.crc != pack.crc:
                self.changed.append(f"{name} in the ledger")

    def ledger_fell_back(self) -> None:
        self.ledger = Place()
        self._ledger_row = 0
