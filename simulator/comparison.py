"""The truth against the ledger, fact by fact. Reads the ledger with its own hands, as any city would."""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from simulator.ledger import Ledger
from simulator.spans import Spans, Stream
from simulator.truth_book import Samples, Seq, TruthBook, Value, split_src

EXAMPLES_MAX = 5
_CONCLUDED = ("linli.ticket.rated_badly.v1",)  # by the gateway itself: no device said them


class _Reading(msgspec.Struct, gc=False):
    """A SenML record as it stands; base fields hold from where they stand on."""

    n: str = ""
    v: float | None = None
    vb: bool | None = None
    vs: str | None = None
    t: float = 0.0
    bn: str | None = None
    bt: float | None = None
    bv: float | None = None
    src: str | None = None


class _Answer(msgspec.Struct, gc=False):
    value: Any = None


class _Synced(msgspec.Struct, gc=False):
    boot: int
    mono: float
    wall: float
    err_s: float | None = None


class _Lost(msgspec.Struct, gc=False):
    first: int
    last: int


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    subject: str = ""
    time: str | None = None
    monoms: int | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    src: str | None = None


class _Readings(msgspec.Struct):
    records: list[_Reading]


class _Events(msgspec.Struct):
    records: list[_Event]


_readings = msgspec.json.Decoder(_Readings).decode
_events = msgspec.json.Decoder(_Events).decode
_answer = msgspec.json.Decoder(_Answer).decode
_synced = msgspec.json.Decoder(_Synced).decode
_lost = msgspec.json.Decoder(_Lost).decode


class Sync(NamedTuple):
    """What `linli.clock.synced.v1` said of one boot."""

    mono_s: float
    wall_s: float
    err_s: float

    def wall_at(self, mono_s: float) -> float:
        return self.wall_s + mono_s - self.mono_s


class Comparison:
    """Fed once, then asked. Counts are facts unless they say otherwise."""

    def __init__(self, book: TruthBook) -> None:
        self.book = book
        self.arrived = 0
        self.wrong = 0
        self.invented = 0
        self.twice = 0
        self.untimed = 0
        self.lost_events = 0
        self.unfounded = 0  # numbers that the ledger calls lost, and the device does not
        self.errors_s = array("d")
        self.examples: dict[str, list[str]] = {}
        self.missing = 0
        self.given_up = 0  # facts that are missing and that somebody said to have lost
        self.sampled_seen = 0
        self.overheard_seen = 0
        self._overheard: Counter[tuple[str, str, Value]] = Counter()
        self._seen = bytearray(len(book))
        self._syncs: dict[int, Sync] = {}
        self._found: dict[str, Samples] = {}
        self._said_lost: dict[str, Spans] = {}  # by the ledger

    def feed(self, ledger: Ledger, gateway: str) -> None:
        """Raises msgspec.MsgspecError for a pack that a reader of the contract cannot read."""
        self._read_syncs(ledger, gateway)
        query = (
            "SELECT stream, boot, mono, clock, body FROM packs WHERE gateway = ? AND stream IN ('readings', 'events')"
        )
        for stream, boot, mono, clock, body in ledger.rows(query, gateway):
            sync = None if clock == "ntp" else self._syncs.get(boot)
            if stream == "readings":
                self._pack(body, sync.wall_at(mono) if sync else None)
            else:
                self._event_pack(body, sync)

    def finish(self, tolerance_s: float) -> None:
        for prefix, said in self._said_lost.items():
            both = Spans()
            for first, last in (*said.ranges(), *self.book.lost.get(prefix, Spans()).ranges()):
                both.add(first, last)
            self.unfounded += len(both) - len(self.book.lost.get(prefix, ()))
        for prefix, seq in self.absent():
            self._absent(prefix, seq)
        self._look_for_samples(tolerance_s)
        self._look_for_overheard()

    def absent(self) -> Iterator[tuple[str, Seq]]:
        """Source/boot and number of every fact that was not fed."""
        for prefix, seq, row in self.book.all_rows():
            if not self._seen[row]:
                yield prefix, seq

    def _read_syncs(self, ledger: Ledger, gateway: str) -> None:
        """The best word on each boot: of two, the one with the smaller error, else the later one."""
        query = "SELECT body FROM packs WHERE gateway = ? AND stream = 'events' AND instr(body, 'clock.synced')"
        for (body,) in ledger.rows(query, gateway):
            for event in _events(body).records:
                if event.type == "linli.clock.synced.v1":
                    data = _synced(event.data)
                    sync = Sync(data.mono, data.wall, 1e9 if data.err_s is None else data.err_s)
                    known = self._syncs.get(data.boot)
                    if known is None or (sync.err_s, -sync.mono_s) <= (known.err_s, -known.mono_s):
                        self._syncs[data.boot] = sync

    def _pack(self, body: bytes, corrected_s: float | None) -> None:
        """corrected_s: wall at the pack's mono as a later event gives it, None to believe the pack."""
        base_name, base_s, base_value = "", None, 0.0
        for record in _readings(body).records:
            base_name = base_name if record.bn is None else record.bn
            base_s = base_s if record.bt is None else record.bt
            base_value = base_value if record.bv is None else record.bv
            value: Value = record.vb if record.vs is None else record.vs
            if record.v is not None:
                value = record.v + base_value if base_value else record.v
            wall_s = base_s if corrected_s is None else corrected_s
            t_s = None if wall_s is None else wall_s + record.t
            name = base_name + record.n
            if record.src is not None:
                self._numbered(record.src, name, value, t_s)
            elif name in self.book.sampled and t_s is not None:
                self._found.setdefault(name, Samples()).add(value, t_s)

    def _event_pack(self, body: bytes, sync: Sync | None) -> None:
        for event in _events(body).records:
            if event.type == "linli.source.lost.v1":
                self._lost(event)
            elif event.src is not None:
                t_s: float | None = None
                if sync is not None and event.monoms is not None:
                    t_s = sync.wall_at(event.monoms / 1000)
                elif event.time is not None:
                    t_s = datetime.fromisoformat(event.time).timestamp()
                self._numbered(event.src, None, _answer(event.data).value, t_s)
            elif event.type.startswith("linli.ticket.") and event.type not in _CONCLUDED:
                kind = event.type.replace("recalled", "called")
                self._overheard[event.subject, kind, _answer(event.data).value] += 1

    def _lost(self, event: _Event) -> None:
        self.lost_events += 1
        data = _lost(event.data)
        self._example("lost_events", f"{event.src}: {data.first} to {data.last}")
        if event.src is not None and 1 <= data.first <= data.last:
            self._said_lost.setdefault(split_src(event.src)[0], Spans()).add(data.first, data.last)

    def _numbered(self, src: str, sensor: str | None, value: Value, t_s: float | None) -> None:
        """sensor: None for an event."""
        row = self._row(src)
        if row is None:
            return
        if self._seen[row]:
            self.twice += 1
            self._example("twice", src)
            return
        self._seen[row] = 1
        self.arrived += 1
        fact = self.book.fact(row)
        if not _equal(value, fact.value) or (sensor is None) != fact.is_event:
            self._wrong(src, f"{value!r}, expected {fact.value!r}")
        elif sensor is not None and sensor != fact.sensor:
            self._wrong(src, f"under {sensor}, expected {fact.sensor}")
        if t_s is None:
            self.untimed += 1
        else:
            self.errors_s.append(abs(t_s - fact.t_s))

    def _row(self, src: str) -> int | None:
        """The fact's place; None when it is not the truth's business, or nobody's."""
        try:
            prefix, seq = split_src(src)
            row = self.book.rows[prefix][seq]
        except (ValueError, KeyError):
            if src.split("/", 1)[0] in self.book.sources:
                self.invented += 1
                self._example("invented", src)
            return None
        return row

    def _wrong(self, src: str, text: str) -> None:
        self.wrong += 1
        self._example("wrong", f"{src}: {text}")

    def _absent(self, prefix: str, seq: Seq) -> None:
        number = seq if isinstance(seq, int) else int(seq.partition(".")[0])
        if number in self.book.lost.get(prefix, ()) or number in self._said_lost.get(prefix, ()):
            self.given_up += 1
            self._example("given_up", f"{prefix}/{seq}")
        else:
            self.missing += 1
            self._example("missing", f"{prefix}/{seq}")

    def _example(self, name: str, text: str) -> None:
        shown = self.examples.setdefault(name, [])
        if len(shown) < EXAMPLES_MAX:
            shown.append(text)

    def _look_for_overheard(self) -> None:
        """Nobody says it again, so it may be missing, and is only told; what was never said is invented."""
        self.overheard_seen = (self._overheard & self.book.overheard).total()
        for (source, event, value), count in (self._overheard - self.book.overheard).items():
            self.invented += count
            self._example("invented", f"{event} {value!r} of {source}")

    def _look_for_samples(self, tolerance_s: float) -> None:
        """A level of a pin arrives when the gateway looked, debounced and thought it worth a word: only told."""
        for sensor, truth in self.book.sampled.items():
            times, values = _sorted(self._found.get(sensor, Samples()))
            for value, t_s in zip(truth.values, truth.times, strict=True):
                near = range(bisect_left(times, t_s - tolerance_s), bisect_right(times, t_s + tolerance_s))
                self.sampled_seen += any(_equal(values[i], value) for i in near)


def _sorted(samples: Samples) -> tuple[list[float], list[Value]]:
    order = sorted(range(len(samples.times)), key=samples.times.__getitem__)
    return [samples.times[i] for i in order], [samples.values[i] for i in order]


def _equal(one: Value, other: Value) -> bool:
    """Exactly: true is not 1, though 4 is 4.0."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


class Numbers(NamedTuple):
    """What the ledger's own numbers say of one gateway."""

    packs: int
    holes: int
    heads_not_reached: int
    conflicts: int
    rejects: int
    copies: int


def numbers(ledger: Ledger, gateway: str) -> tuple[Numbers, list[str]]:
    """The counts, and the first streams that are not whole."""
    packs = holes = short = rejects = 0
    told: list[str] = []
    for epoch, name, stream in _streams(ledger, gateway):
        packs += len(stream.held)
        below = sum(last - first + 1 for first, last in stream.known.holes(stream.known.top))
        holes += below
        short += stream.head > stream.known.top
        rejects += len(stream.rejects)
        if stream.missing():
            told.append(f"{epoch} {name}: " + ", ".join(f"{a}-{b}" for a, b in stream.missing()[:EXAMPLES_MAX]))
    conflicts = ledger.rows("SELECT count(*) FROM conflicts WHERE gateway = ?", gateway).fetchone()[0]
    return Numbers(packs, holes, short, conflicts, rejects, ledger.counts["copies"]), told[:EXAMPLES_MAX]


def _streams(ledger: Ledger, gateway: str) -> Iterator[tuple[str, str, Stream]]:
    for (where, epoch, name), stream in sorted(ledger.streams.items(), key=lambda item: item[0]):
        if where == gateway:
            yield epoch, name, stream
