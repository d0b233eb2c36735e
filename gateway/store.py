"""Keeps packs, their numbers, the sources' marks and the state that must survive a restart.

SQLite, WAL, synchronous=FULL: what `commit` returned from is on the disk. Numbers come from the database inside the
same transaction, so they have no holes. Synchronous and owned by one thread (gateway/storage.py).
"""

import logging
import random
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from gateway import confirming, journal, kept, schema, wal
from gateway.budget import Budget
from gateway.contract import STREAMS, Began, Gap
from gateway.history import History
from gateway.notify import still_starting
from gateway.numbers import Numbers
from gateway.pending import Confirm, Draft, Stamp, Work
from gateway.salvage import AHEAD, Aside, Salvaged, copy_out, fell_back, salvage
from gateway.schema import WAITING, broken, ensure, inode_of, is_corrupt, is_whole, open_to_write, pack_id

log = logging.getLogger(__name__)

_INSERT = "INSERT INTO packs VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_EVICTIONS_MAX = 32  # chunks a commit may give up before it admits that the disk is full
_CHECK_BYTES = 64_000_000  # some seconds on a card
HOUR_S = 3600.0
NOTE_EVERY_S = 600.0  # of the heads, when nothing asks for it sooner: at a card a note costs more than a commit


class StoreStalled(Exception):
    """The disk does not take it now; nothing was committed and everything may be tried again."""


class StoreCorrupt(Exception):
    """The file is broken; it has to be set aside."""


class Store:
    """path: the database. stamp: labels notices, and is told the boot number. dice: names epochs. vfs: see schema."""

    def __init__(
        self,
        path: Path,
        stamp: Stamp,
        dice: random.Random,
        *,
        budget_mb: float = 4000,
        confirmed_days: float = 7,
        event_days: float = 0,
        raw_days: float = 7,
        minute_days: float = 400,
        polled: bool = False,
        vfs: str = "",
    ) -> None:
        self.path, self._vfs = path, vfs
        self._stamp = stamp
        self._label = stamp.label
        self._dice = dice
        self._budget_b = int(budget_mb * 1e6)
        self._confirmed_h, self._event_h = confirmed_days * 24, max(confirmed_days, event_days) * 24
        self._history_h = raw_days * 24, minute_days * 24
        self._polled = polled
        self._hour_from_s: float | None = None
        self.commits = 0
        self._is_open = False
        self.unchecked = False  # whether `whole` is still to be asked, by somebody who has the time
        self.generation = 0  # counts files: readers reopen when it moves
        self.trouble = ""
        self.happened = ""  # to the file, and is over; whoever tells it empties this
        self._aside = Aside(path)
        self._kernel_boot = ""
        self._noted: dict[str, object] = {}
        self._noted_s = float("-inf")

    # -- opening -----------------------------------------------------------------------------------------------

    def open(self, kernel_boot_id: str, *, missed: bool = False) -> None:
        """Raises SchemaError, StoreStalled, OSError. A broken file is set aside and a new epoch begins.

        The boot number counts on when the kernel's boot id is another than last time. missed: the gateway ran before.
        """
        self._kernel_boot = kernel_boot_id
        why = "found broken earlier, when it could not be renewed" if self._aside.unfinished else ""
        why = why or wal.damage(self.path, self._vfs)
        if not why:
            try:
                self._take_up(missed)
            except sqlite3.DatabaseError as error:
                if not is_corrupt(error):
                    raise StoreStalled(f"{self.path}: cannot be opened: {error}") from error
                why = str(error)
        if why:
            self._renew(why)
            self._read_epoch()
            self._note_start(missed)

    def _take_up(self, missed: bool) -> None:
        """The file that there is, or a first one. Raises sqlite3.DatabaseError, and then it changed nothing."""
        was_there, is_noted = self.path.exists(), self._aside.heads_file.exists()
        self._connect()
        if not self._db.execute("SELECT 1 FROM epochs").fetchone():
            if was_there and is_noted:
                raise broken("it has forgotten its epoch")
            rescued = salvage(None, self._aside.heads_file) if is_noted else None
            self.happened = "the database was gone; a new epoch began" if is_noted else ""
            self._begin_epoch("reset" if is_noted else "new", rescued)
        self._read_epoch()
        self.kept(), self.marks()  # what the start asks for next must be readable, too
        if went_back := fell_back(self._aside.heads_file, self._epochs(), self.heads()):
            self._begin_epoch("restored", went_back)
            self.happened = "the database is older than the note beside it; a new epoch began"
            self._read_epoch()
        self._note_start(missed)

    def _connect(self) -> None:
        """A big file is checked as far as a start needs it; `unchecked` then says that the rest is still to be."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self.unchecked = self.path.stat().st_size > _CHECK_BYTES
            schema.quick_check(self.path, self._vfs, small=self.unchecked)
        ensure(self.path, self._vfs)
        self._db = open_to_write(self.path, self._vfs)
        self._is_open = True
        self._numbers = Numbers(self._db)
        self.history = History(self._db, *self._history_h)
        self._budget = Budget(self._db, self._budget_b, self.history)
        self._inode = inode_of(self.path)
        self._aside.lay_ballast()

    def whole(self) -> bool:
        """Whether every page of the file fits; from any thread. Raises sqlite3.OperationalError when nobody can say."""
        return not self._aside.unfinished and is_whole(self.path, self._vfs)

    def _follow_file(self) -> None:
        """Somebody deleted or replaced it: all of it can still be read here, and numbers go on."""
        if inode_of(self.path) == self._inode:
            return
        before = self._db  # stays open, and so whole, until the new one is
        copy_out(before, self.path)
        self._connect()
        before.close()
        self._read_epoch()
        self.generation += 1
        self._noted = {}
        self._note_heads()
        self.happened = "somebody deleted or replaced the open database; it was written anew, nothing is lost"

    def renew(self, why: str) -> None:
        """After StoreCorrupt: set the file aside, save what can be read, begin a new epoch."""
        self._renew(why)
        self._read_epoch()
        with self._transaction():
            self._set_box(clean=0, starts=self.starts)
        self._note_heads()
        self.generation += 1

    def _renew(self, why: str) -> None:
        if self._is_open:
            self._db.close()
            self._is_open = False
        aside = self._aside.set_database_aside()
        self._connect()
        rescued = salvage(aside, self._aside.heads_file)
        rescued.pour(self._db, lambda: self._aside.has_room and self._budget.is_roomy, still_starting)
        self._begin_epoch("corrupt", rescued)
        self.happened = f"the database was broken ({why}) and was set aside; a new epoch began"
        self._aside.keep_broken(self._label())

    def _read_epoch(self) -> None:
        epoch_no, self.epoch = self._db.execute("SELECT no, epoch FROM epochs ORDER BY no DESC LIMIT 1").fetchone()
        self._numbers.read(epoch_no, kept.count(self._db, "hours"))
        if self.heads().keys() != set(STREAMS):
            raise broken("it has forgotten how far its streams are")

    def _begin_epoch(self, why: str, rescued: Salvaged | None) -> None:
        """The first pack of every stream says why. What could be saved of the old file keeps its own numbers."""
        began = Began(why, rescued.epoch, rescued.heads) if rescued and rescued.epoch else Began(why)
        with self._transaction():
            if rescued:
                rescued.restore(self._db)
            self._count_boot()
            label = self._label()
            epoch_no = int(self._db.execute("SELECT coalesce(max(no), 0) + 1 FROM epochs").fetchone()[0])
            while (epoch := f"{self._dice.getrandbits(32):08x}") in self._epochs():
                pass  # drawn before, as one in four thousand million is
            self._db.execute("INSERT INTO epochs VALUES (?,?,?,?)", (epoch_no, epoch, why, rescued and rescued.epoch))
            rows = [(epoch_no, index, 0, 0) for index in range(len(STREAMS))]
            self._db.executemany("INSERT INTO streams VALUES (?,?,?,?)", rows)
            self._numbers.read(epoch_no, kept.count(self._db, "hours"))
            drafts = [Draft(stream, label, records=[began.as_record()]) for stream in STREAMS]
            for stream, gaps in (rescued.gaps if rescued else {}).items():
                drafts.append(Draft(stream, label, records=[gap.as_record() for gap in gaps]))
            self._insert(drafts)

    def _note_start(self, missed: bool) -> None:
        """Starts, and the loss bound of polled readings after an unclean end."""
        with self._transaction():
            self._count_boot()
            self._number_journal()
            self.unclean = self.box("clean", "1") == "0"
            self.starts = max(kept.count(self._db, "starts"), self._aside.noted("starts")) + 1
            self._set_box(starts=self.starts, clean=0)
            if (self.unclean or missed) and self._polled:
                self._insert([Draft("readings", self._label(), records=[self._polled_loss().as_record()])])
        self._note_heads()  # now, not in a minute: a file that is lost before then must not make `starts` go back

    def _polled_loss(self) -> Gap:
        last = pack_id(self.epoch_no, "readings", self.heads()["readings"])
        row = self._db.execute("SELECT wall + last_mono - mono FROM packs WHERE id = ?", (last,)).fetchone()
        return Gap("polled-loss", from_s=row[0] if row else None, to_s=self._label().wall)

    def _count_boot(self) -> None:
        """Inside a transaction. The number in force is never lowered: a broken file may have forgotten it."""
        boot = max(kept.count(self._db, "boot"), self._stamp.boot)
        another = boot != self._stamp.boot and self.box("boot_id") != self._kernel_boot
        if another or boot == 0:
            boot += 1
        self._stamp.boot = boot
        self._set_box(boot=boot, boot_id=self._kernel_boot)

    # -- committing ---------------------------------------------------------------------------------------------

    def commit(self, works: Iterable[Work], confirms: Iterable[Confirm] = ()) -> None:
        """All of it or nothing. Raises StoreStalled (try again) or StoreCorrupt (call `renew`)."""
        works, confirms = list(works), list(confirms)
        for _ in range(_EVICTIONS_MAX):
            try:
                self._follow_file()
                self._commit_once(works, confirms)
                break
            except (sqlite3.DatabaseError, OSError) as error:
                if is_corrupt(error):
                    raise StoreCorrupt(str(error)) from error
                if getattr(error, "sqlite_errorname", "") != "SQLITE_FULL":
                    self.trouble = f"the disk does not take what is to be stored: {error}"
                    raise StoreStalled(self.trouble) from error
                if not self._make_room(confirms):
                    raise self._full() from error
        else:
            raise self._full()
        self.trouble = ""
        if self._aside.is_short(self.heads()):
            with suppress(sqlite3.Error):  # it is committed, whatever becomes of the note
                self._note_heads()

    def _full(self) -> StoreStalled:
        self.trouble = "the disk is full and nothing is left to give up; free some room on it"
        return StoreStalled(self.trouble)

    def _commit_once(self, works: list[Work], confirms: list[Confirm]) -> None:
        with self._transaction():
            self._take_in(confirms)  # first: what the city has need not be given up
            if self._budget.short:
                self._evict()
            for work in works:
                self._insert(work.drafts)
                journal.forget(self._db, work.closed)
                journal.note(self._db, work.journal)
                kept.mark(self._db, work.marks)
                kept.keep(self._db, work.keep)
                self._insert(self.history.write(work, self._label(), self._numbers.hours))
        self.commits += 1

    def _insert(self, drafts: list[Draft]) -> None:
        numbers = self._numbers
        rows = [
            (numbers.next_id(draft.stream), WAITING, int(draft.is_notice), draft.records,
             *msgspec.structs.astuple(draft.label), draft.first_mono, draft.last_mono, numbers.hours, draft.body())
            for draft in drafts
            if draft.records
        ]  # fmt: skip
        self._db.executemany(_INSERT, rows)

    def _take_in(self, confirms: list[Confirm]) -> None:
        if confirms:
            self._insert(confirming.write(self._db, confirms, self.epoch, self._label()))

    def _number_journal(self) -> None:
        """At the start: what was durable and not yet in a pack becomes one."""
        for stream, records, label, spans, body in journal.take_all(self._db):
            row_id = self._numbers.next_id(stream)
            self._db.execute(_INSERT, (row_id, WAITING, 0, records, *label, *spans, self._numbers.hours, body))

    def _evict(self) -> int:
        given_up = self._budget.evict()
        for stream, gaps in given_up.gaps.items():
            self._insert([Draft(stream, self._label(), records=[gap.as_record() for gap in gaps])])
        return given_up.rows

    def _make_room(self, confirms: list[Confirm]) -> bool:
        """After SQLITE_FULL: the ballast first, so that there is room to delete in. False when there is nothing to do.

        The log is begun again and keeps its blocks, so that others who fill the disk cannot take them; and what the
        city lacks is given up only for want of pages, never for want of a log.
        """
        if self._budget.used_pages < self._budget.pages_max * 0.98:
            self._budget.stop_growing()
        try:
            done = self._aside.drop_ballast()
            self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            if self._budget.short:
                with self._transaction():
                    self._take_in(confirms)
                    done |= self._evict() > 0
        except (OSError, sqlite3.OperationalError):
            return False
        return done

    # -- upkeep ---------------------------------------------------------------------------------------------------

    def upkeep(self) -> None:
        """Each minute or so: operating hours, what was confirmed long enough ago, ballast, now and then the heads."""
        now_s = self._label().mono
        if self._hour_from_s is None:
            self._hour_from_s = now_s
        with self._transaction():
            if now_s - self._hour_from_s >= HOUR_S:
                self._hour_from_s = now_s
                self._numbers.hours += 1
                self._set_box(hours=self._numbers.hours)
            self._budget.prune(self._numbers.hours - self._confirmed_h, self._numbers.hours - self._event_h)
            self.history.upkeep(self._label(), self._numbers.hours)
        if now_s - self._noted_s >= NOTE_EVERY_S or self._aside.is_behind(self.acked()):
            self._note_heads()
        if self._budget.limited and self._aside.has_room:
            self._aside.lay_ballast()
            self._budget.grow_again()

    def _note_heads(self, ahead: int = AHEAD) -> None:
        """So that even a wholly unreadable file leaves word of how far it had got."""
        box = {key: self.box(key, "0") for key in ("boot", "boot_id", "starts", "hours")}
        upto = {stream: head + ahead for stream, head in self.heads().items()}
        note = {"epoch": self.epoch, "epoch_no": self.epoch_no, "heads": self.heads(), "upto": upto,
                "acked": self.acked(), "box": box}  # fmt: skip
        if note != self._noted and self._aside.note_heads(note):
            self._noted, self._noted_s = note, self._label().mono

    def close(self) -> None:
        """A clean end: nothing polled was lost. A disk that does not take this word leaves it unclean."""
        try:
            with self._transaction():
                self._set_box(clean=1)
            self._note_heads(ahead=0)
        except sqlite3.Error as error:
            log.warning("the store ends without its last word: %s", error)
        self._db.close()

    # -- looking ---------------------------------------------------------------------------------------------------

    @property
    def epoch_no(self) -> int:
        return self._numbers.epoch_no

    def _epochs(self) -> list[str]:
        return [str(row[0]) for row in self._db.execute("SELECT epoch FROM epochs ORDER BY no")]

    def heads(self) -> dict[str, int]:
        return dict(self._numbers.heads)

    def acked(self) -> dict[str, int]:
        rows = self._db.execute("SELECT stream, acked FROM streams WHERE epoch_no = ?", (self.epoch_no,))
        return {STREAMS[stream]: acked for stream, acked in rows}

    def marks(self) -> dict[str, tuple[int, int]]:
        """How far each numbered source is durable: {source: (boot, seq)}."""
        return kept.marks(self._db)

    def kept(self) -> dict[str, object]:
        """State kept by earlier work, as it was given."""
        return kept.kept(self._db)

    def box(self, key: str, default: str = "") -> str:
        return kept.box(self._db, key, default)

    def _set_box(self, **values: object) -> None:
        kept.set_box(self._db, values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._db.in_transaction:  # the disk did not even take the last one back
            self._db.execute("ROLLBACK")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._numbers.begin()
            yield
            self._numbers.write()
            self._db.execute("COMMIT")
        except BaseException:
            self._numbers.undo()
            self.history.forget()
            self._budget.forget()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
