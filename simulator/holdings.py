"""Who holds which fact at this moment of a night: the gateway's disk and the city's ledger, read from outside.

Packs of both are read in the form in which they are published. A stored pack never changes, so each is opened once.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.contract import STREAMS, Label, Topics, event_records
from gateway.packs import open_records, reading_records
from gateway.reader import Reader, Row
from gateway.schema import pack_id
from simulator.ledger import Ledger
from simulator.night_devices import Src
from simulator.night_packs import Name, Pack, opened, sources_in
from simulator.spans import Spans

LAST_ROW = (1 << 63) - 1
PACKS = f"SELECT {', '.join(Row._fields)} FROM packs"


@contextmanager
def _one_moment(reader: Reader) -> Iterator[None]:
    """What is read inside is of one commit; SQLite takes its locks once."""
    reader._db.execute("BEGIN")
    try:
        yield
    finally:
        reader._db.execute("COMMIT")


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
        self._rows: dict[int, tuple[tuple[Any, ...], Name]] = {}  # {id: what is stored, its name}
        self._epochs: dict[int, str] = {}
        self._published: dict[bytes, tuple[Name, Pack]] = {}  # what the disk has and the ledger was not seen to have
        self._database: Path | None = None
        self._reader: Reader | None = None
        self._version = -1
        self._may_have_gone = False
        self._ledger_row = 0
        self._durable: set[Src] = set()
        self._at_risk: set[Src] = set()  # of it, what the ledger was not seen to have
        self._whole: dict[tuple[str, str], int] = {}  # up to where all numbers are in the ledger, or given up

    # -- what may be lost -------------------------------------------------------------------------------------------

    def call_durable(self, sources: Iterable[Src]) -> None:
        """The gateway did so."""
        self._durable.update(sources)
        self._at_risk.update(sources)

    def ask_all_again(self) -> None:
        """What the ledger has can only go with the whole ledger, so it is asked for once. But from now on all is."""
        self._at_risk, self._whole = set(self._durable), {}

    def lost(self) -> set[Src]:
        """What was called durable and is nowhere."""
        self._at_risk = self._at_risk.difference(self.ledger.facts)
        return self.absent(self._at_risk)

    def holes(self) -> Iterator[Name]:
        """Numbers below a head that are nowhere, and that no gap names."""
        none: set[int] = set()
        for key, (head, _) in self.heads.items():
            ledger, disk = self.ledger.numbers.get(key, none), self.disk.numbers.get(key, none)
            named, whole = self.named.get(key, ()), self._whole.get(key, 0)
            while whole < head and (whole + 1 in ledger or whole + 1 in named):
                whole += 1
            self._whole[key] = whole
            yield from ((*key, n) for n in range(whole + 1, head + 1) if not (n in ledger or n in disk or n in named))

    def absent(self, sources: set[Src]) -> set[Src]:
        """Which of them are neither here nor there nor given up."""
        left = sources
        for held in (self.ledger.facts, self.disk.facts, self.ledger.lost, self.disk.lost, self.journal):
            left = left.difference(held)  # one by one, else Python walks all that is held
            if not left:
                return left
        return {src for src in left if not self.given_up(src)}

    def given_up(self, src: Src) -> bool:
        """Its pack is gone from the disk, and a gap record says so."""
        epoch, stream, n = self._gone_facts.get(src, ("", "", 0))
        return (epoch, stream) in self.named and n in self.named[epoch, stream]

    # -- the disk -------------------------------------------------------------------------------------------------

    def moved(self, database: Path) -> None:
        """The gateway's files are others now: look whether they say the same."""
        self.let_go()
        self._database, self._reader = database, Reader(database)
        self._version = -1
        self._epochs = {}
        before, self._rows = self._rows, {}
        now = {row[0]: row for row in self._reader._db.execute(PACKS)}
        for row_id, (row, name) in before.items():
            if now.get(row_id) == row:
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

    def read_disk(self, *, everything: bool = False) -> None:
        """To be called after each commit, so that nothing comes unseen. everything: look, too, what has gone."""
        reader = self._reader
        if reader is None:
            return
        version = reader._db.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version and not (everything and self._may_have_gone):
            return
        self._version, self._may_have_gone = version, not everything
        with _one_moment(reader):
            self._read(reader, everything)

    def _read(self, reader: Reader, everything: bool) -> None:
        streams = reader._db.execute("SELECT epoch_no, stream, head, acked FROM streams ORDER BY epoch_no").fetchall()
        if any(no not in self._epochs for no, *_ in streams):
            self._epochs = reader._names = reader.epochs()
        heads = {(self._epochs[no], STREAMS[stream]): (head, acked) for no, stream, head, acked in streams}
        for row in self._all_new(reader) if everything else self._grown(reader, streams):
            name, pack = self._publish(reader.payload(Row(*row), self._topics))
            self._rows[row[0]] = (row, name)
            self._add(self.disk, self.ledger, name, pack)
        self._read_journal(reader)
        self.heads = heads

    def _all_new(self, reader: Reader) -> Iterator[tuple[Any, ...]]:
        ids = {row[0] for row in reader._db.execute("SELECT id FROM packs").fetchall()}
        for row_id in sorted(self._rows.keys() - ids):
            self._remove(self._rows.pop(row_id)[1])
        for row_id in sorted(ids.difference(self._rows)):
            yield reader._db.execute(f"{PACKS} WHERE id = ?", (row_id,)).fetchone()

    def _grown(self, reader: Reader, streams: list[tuple[int, int, int, int]]) -> Iterator[tuple[Any, ...]]:
        """What has a number beyond the heads of the last time."""
        for no, stream, head, _ in streams:
            before, _ = self.heads.get((self._epochs[no], STREAMS[stream]), (0, 0))
            if head > before:
                span = (pack_id(no, STREAMS[stream], before), pack_id(no, STREAMS[stream], head))
                for row in reader._db.execute(f"{PACKS} WHERE id > ? AND id <= ? ORDER BY id", span).fetchall():
                    if row[0] not in self._rows:
                        yield row

    def _publish(self, payload: bytes) -> tuple[Name, Pack]:
        found = self._published[payload] = opened(payload)
        return found

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
        return sources_in(b"[%b]" % inside)

    # -- from the beginning ---------------------------------------------------------------------------------------

    def anew(self, ledger: Ledger) -> "Holdings":
        """Both places as somebody finds them who sees them for the first time.

        What the ledger has taken and not committed is not there yet, though its own connection finds it.
        """
        found = Holdings(self._topics)
        if self._database:
            found.moved(self._database)
            found.let_go()
        found.read_ledger(ledger, self._ledger_row if ledger.waiting else LAST_ROW)
        return found

    def unlike(self, other: "Holdings") -> Iterator[str]:
        """In what the two differ."""
        pairs = (
            ("packs on the disk", self.disk.packs, other.disk.packs),
            ("facts on the disk", self.disk.facts, other.disk.facts),
            ("packs in the ledger", self.ledger.packs, other.ledger.packs),
            ("facts in the ledger", self.ledger.facts, other.ledger.facts),
            ("heads", self.heads, other.heads),
        )
        for what, here, there in pairs:
            for key in sorted(here.keys() | there.keys()):
                if here.get(key) != there.get(key):
                    yield f"{what}: {key} was seen as {here.get(key)} and is {there.get(key)}"
        if self.journal != other.journal:
            yield f"the journal: {sorted(self.journal ^ other.journal)} were not seen as they are"

    # -- the ledger -----------------------------------------------------------------------------------------------

    def read_ledger(self, ledger: Ledger, upto: int = LAST_ROW) -> None:
        """To be called when it has committed."""
        asked = "SELECT rowid, body FROM packs WHERE rowid > ? AND rowid <= ? ORDER BY rowid"
        for row, body in ledger.rows(asked, self._ledger_row, upto):
            self._ledger_row = row
            name, pack = self._published.pop(body, None) or opened(body)  # the same bytes say the same
            self._add(self.ledger, self.disk, name, pack)
            held = self.disk.packs.get(name) or self.gone.get(name)
            if held and held.crc != pack.crc:
                self.changed.append(f"{name} in the ledger")

    def ledger_fell_back(self, ledger: Ledger) -> None:
        """It holds what its backup has from this moment on, however long nobody runs it."""
        self.ledger = Place()
        self._ledger_row = 0
        self.ask_all_again()
        self.read_ledger(ledger)
