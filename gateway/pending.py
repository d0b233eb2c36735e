"""What has happened and is not yet stored: open packs on the loop's side, and when they must go.

Durable is one thing, closed another. Numbered sources (nodes, kiosks) are acknowledged by a cumulative mark, so
whatever they sent goes into one commit together; but a pack that stays open only goes into the journal, and is
numbered when it is full or its interval is over. So a busy kiosk does not make a message of every few readings. Local
readings (pins, polled meters) wait for their own, longer interval: that is their printed loss bound.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from drivers.reading import Reading, Run
from gateway.contract import Json, Label, Record
from gateway.minutes import Cell, Minutes
from gateway.open_readings import OpenReadings, cut
from gateway.packs import Column, encode_columns, encode_records
from gateway.samples import Group, Samples

EVENTS_PER_PACK = 50
_LONG_PER_PACK = 20  # of 2 KB or so
_DENSE_S = 1.0
_LATE_S = 5.0  # a minute takes what comes so long after the interval that ends in it
_URGENT_S = 0.01  # so that the commit is done within 20 ms
_ALONG = 1 / 2  # of an interval: readings that have waited so long go along with a commit that comes sooner
_ALONG_MAX = 200  # readings that an alarm's commit takes along: packing more would hold it up


class Stamp(Protocol):
    """The wall as the packs see it (gateway/clock.py Wall)."""

    boot: int

    def label(self) -> Label: ...


class Draft:
    """A closed pack without its number. `body()` does the heavy work and is called by the storage thread."""

    __slots__ = ("_records", "columns", "first_mono", "is_notice", "label", "last_mono", "records", "stream")

    def __init__(
        self, stream: str, label: Label, columns: list[Column] | None = None, records: list[Json] | None = None
    ) -> None:
        """columns: a readings pack; records: anything else."""
        self.stream = stream
        self.label = label
        self.columns = columns or []
        self._records = records or []
        self.records = sum(len(column.monos) for column in self.columns) + len(self._records)
        self.is_notice = any("gap" in record or "began" in record for record in self._records)  # never thinned out
        monos = [bound(column.monos) for column in self.columns for bound in (min, max)]
        monos += [float(record.get("mono", label.mono)) for record in self._records]  # type: ignore[arg-type]
        self.first_mono = min(monos, default=label.mono)
        self.last_mono = max(monos, default=label.mono)

    def body(self) -> bytes:
        if self.columns:
            return encode_columns(self.columns, self.label.mono)
        return encode_records(self._records)


class Wanted(NamedTuple):
    """Raw samples that the city is to get: of one sensor, between two times of one boot; boot 0: of the wall, UTC."""

    sensor: str
    unit: str
    boot: int
    from_s: float
    to_s: float


class Work(NamedTuple):
    """One commit: packs, how far each numbered source is in them, and state to keep across a restart.

    closed: streams of which a pack in `drafts` holds everything that the journal has. journal: what is to be durable
    while its pack stays open; written after that. samples, minutes, wall (the clock was set), wanted: for the history.
    """

    drafts: list[Draft]
    marks: dict[str, tuple[int, int]] = {}
    keep: dict[str, str | None] = {}
    closed: frozenset[str] = frozenset()
    journal: list[Draft] = []
    samples: list[Group] = []
    minutes: list[Cell] = []
    wanted: list[Wanted] = []
    wall: Label | None = None


class Confirm(NamedTuple):
    """What the city said it holds of one epoch. reject: (n, why). unopened: the same, found by ourselves."""

    epoch: str
    upto: dict[str, int] = {}
    also: dict[str, list[tuple[int, int]]] = {}
    reject: dict[str, list[tuple[int, str]]] = {}
    pruned: dict[str, list[tuple[int, int]]] = {}
    unopened: dict[str, list[tuple[int, str]]] = {}


def _is_over(due_s: float | None, now_s: float) -> bool:
    return due_s is not None and now_s >= due_s


class Pending:
    """label: makes the label of a pack that closes now. commit_s: the numbered and the local interval."""

    def __init__(self, label: Callable[[], Label], node_commit_s: float, commit_every_s: float) -> None:
        self._label = label
        self._numbered_s = node_commit_s
        self._local_s = commit_every_s
        self._numbered, self._local = OpenReadings(), OpenReadings()
        self.samples = Samples(commit_every_s)
        self._minutes = Minutes(max(node_commit_s, commit_every_s) + _LATE_S)
        self._groups: list[Group] = []
        self._wanted: list[Wanted] = []
        self._wall: Label | None = None
        self._records: dict[str, list[Json]] = {"alarms": [], "events": [], "health": []}
        self._told = 0  # how many of the open events are in the journal already
        self._events_closed_s = float("-inf")
        self._drafts: list[Draft] = []
        self._closed: set[str] = set()
        self._marks: dict[str, tuple[int, int]] = {}
        self._keep: dict[str, str | None] = {}
        self._due_s: float | None = None  # something must be durable
        self._is_urgent = False  # and is waited for: it takes no great pack along that is not due
        self._close_s: float | None = None  # numbered readings must become a pack
        self._local_due_s: float | None = None
        self.kept: dict[str, object] = {}  # all that `keep` said, and what build.py found in the store
        self.test = False  # every event is marked until it is False again
        self.records = 0  # waiting here, for the back-pressure

    def reading(self, sensor: str, unit: str, source: str, reading: Reading, now_s: float) -> None:
        """source: "" for a reading that is not numbered."""
        (self._numbered if source else self._local).add(sensor, unit, source, reading)
        self.records += 1
        if reading.urgent:
            self.hurry(now_s + _URGENT_S)
            if source:
                self._close_s = self._close_s or now_s + self._numbered_s
            if not source:
                self._local_due_s = now_s
        elif source:
            self._by(now_s + self._numbered_s)
            self._close_s = self._close_s or now_s + self._numbered_s
        elif self._local_due_s is None:
            self._local_due_s = now_s + self._local_s

    def run(self, run: Run, sensors: Iterable[tuple[str, str]], now_s: float) -> None:
        """The same for a run. sensors: (sensor, unit) of each row."""
        self._numbered.extend(run, sensors)
        self.records += len(run.values)
        self._by(now_s + self._numbered_s)
        self._close_s = self._close_s or now_s + self._numbered_s

    def record(self, stream: str, record: Record, now_s: float) -> None:
        waiting = self._records[stream]
        waiting.append(record.as_record() | ({"test": True} if self.test and stream == "events" else {}))
        self.records += 1
        if stream == "health":
            self._by(now_s + self._local_s)
        else:
            self.hurry(now_s + _URGENT_S)
        if len(waiting) >= EVENTS_PER_PACK:
            self._close_records(stream)

    def apart(self, stream: str, record: Record, now_s: float) -> None:
        """A long record, in a pack of its own, so that it fits a message."""
        self._close_records(stream)
        self.record(stream, record, now_s)
        self._close_records(stream)

    def many(self, stream: str, records: Sequence[Record], now_s: float) -> None:
        """Records of some length, few enough to a pack that each fits a message."""
        for i, record in enumerate(records):
            if i % _LONG_PER_PACK == 0 and len(records) > _LONG_PER_PACK:
                self._close_records(stream)
            self.record(stream, record, now_s)

    def keep(self, key: str, value: object) -> None:
        """State that must be as new as the facts of the same commit. None forgets the key."""
        self._keep[key] = None if value is None else msgspec.json.encode(value).decode()
        if value is None:
            self.kept.pop(key, None)
        else:
            self.kept[key] = value

    def want(self, wanted: list[Wanted]) -> None:
        """Raw samples to be sent, with the commit that holds the last of them."""
        self._wanted += wanted

    def clock_known(self, label: Label) -> None:
        """Word for the history, which has no label at each row."""
        self._wall = label

    def mark(self, source: str, boot: int, seq: int) -> None:
        self._marks[source] = (boot, seq)

    def _by(self, at_s: float) -> None:
        if self._due_s is None or at_s < self._due_s:
            self._due_s = at_s

    @property
    def has_marks(self) -> bool:
        """Whether a source said something that is not handed over yet."""
        return bool(self._marks)

    def hurry(self, at_s: float) -> None:
        """By then what is here must be durable: an alarm, an event, or a source whose ring is half full."""
        self._by(at_s)
        self._is_urgent = True

    def due_in_s(self, now_s: float) -> float | None:
        """Seconds until `take` has something to do, None for never."""
        times = [at for at in (self._due_s, self._local_due_s, self.samples.due_s) if at is not None]
        return max(0.0, min(times) - now_s) if times else None

    def seal(self) -> None:
        """Close what is open, so that one label is true for all of it (clock known, clock stepped)."""
        self._close()
        self._close_samples()
        for stream in self._records:
            self._close_records(stream)

    def take(self, now_s: float, *, everything: bool = False, dense: bool = False) -> Work | None:
        """What is due now, as one commit; None when nothing is.

        What has waited for half of its interval goes along, so that intervals fall in step and a box writes no more
        commits than it must. dense: the city is away or behind, so nobody gains from small packs of events: one a
        second at most.
        """
        due = everything or _is_over(self._due_s, now_s)
        if not (due or _is_over(self._local_due_s, now_s) or _is_over(self.samples.due_s, now_s)):
            return None
        is_small = self._numbered.count + self._local.count + self.samples.open <= _ALONG_MAX
        ahead = _ALONG if is_small or not self._is_urgent else 0.0
        soon_s = now_s + ahead * self._local_s
        samples_due = everything or _is_over(self.samples.due_s, soon_s)
        local_due = samples_due or _is_over(self._local_due_s, soon_s)
        if samples_due:
            self._close_samples()
        # an open pack would be written twice: now into the journal, and again when it is closed
        numbered_too = local_due and self._numbered.count > 0 and not self._is_urgent
        numbered_due = everything or numbered_too or _is_over(self._close_s, now_s + ahead * self._numbered_s)
        self._close(numbered=numbered_due, local=local_due)
        if local_due:
            self._local_due_s = None
        if self._numbered.overflows:
            self._close_full()
        for stream in self._records:
            if stream != "events" or everything or not dense or now_s >= self._events_closed_s + _DENSE_S:
                if stream == "events" and self._records[stream]:
                    self._events_closed_s = now_s
                self._close_records(stream)
        self._due_s, self._is_urgent = None, False
        return self._emptied(now_s, everything)

    def _emptied(self, now_s: float, everything: bool) -> Work | None:
        journal: list[Draft] = []
        if fresh := self._numbered.untold():
            journal.append(Draft("readings", self._label(), fresh))
        if self._numbered.count:
            self._by(self._close_s if self._close_s is not None else now_s + self._numbered_s)
        if untold := self._records["events"][self._told :]:
            journal.append(Draft("events", self._label(), records=untold))
            self._told += len(untold)
        if self._told:
            self._by(self._events_closed_s + _DENSE_S)
        work = Work(self._drafts, self._marks, self._keep, frozenset(self._closed), journal, self._groups)
        self._drafts, self._marks, self._keep, self._closed, self._groups = [], {}, {}, set(), []
        self.records = self._local.count + self._numbered.count
        if not (work.drafts or work.marks or work.keep or work.journal or work.samples or self._wall):
            return None
        work = work._replace(
            minutes=self._minutes.take(now_s, everything=everything), wanted=self._wanted, wall=self._wall
        )
        self._wanted, self._wall = [], None
        return work

    def _close_samples(self) -> None:
        for group in self.samples.close(self._label().boot):
            self._groups.append(group)
            for column in group.columns:
                self._minutes.add(column)

    def _close(self, *, numbered: bool = True, local: bool = True) -> None:
        """Into packs together."""
        if columns := (self._numbered.take() if numbered else []) + (self._local.take() if local else []):
            self._draft(cut(columns))
        if numbered:
            self._closed.add("readings")
            self._close_s = None

    def _close_full(self) -> None:
        if packs := self._numbered.full_packs():
            self._draft(packs)
            self._closed.add("readings")
            if not self._numbered.count:
                self._close_s = None

    def _draft(self, packs: list[list[Column]]) -> None:
        for columns in packs:
            self._drafts.append(Draft("readings", self._label(), columns))
            for column in columns:  # what is sampled is counted there
                if column.source and column.sensor not in self.samples.sensors:
                    self._minutes.add(column)

    def _close_records(self, stream: str) -> None:
        if self._records[stream]:
            self._drafts.append(Draft(stream, self._label(), records=self._records[stream]))
            self._records[stream] = []
        if stream == "events":
            self._told = 0
            self._closed.add("events")
