"""What owns the writing connection: groups commits and reports back what is durable.

A disk that stalls or fails only makes it wait and try again; the loop goes on, acknowledges nobody, and stops reading
its ports when too much waits. `Storage` is the work, round by round; `StorageThread` is the one thread that turns it.
"""

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from gateway.contract import Json
from gateway.pending import Confirm, Work
from gateway.store import Store, StoreCorrupt, StoreStalled

log = logging.getLogger(__name__)

_RETRY_S = (0.05, 0.2, 1.0, 5.0)
_UPKEEP_EVERY_S = 60.0
_GROUP_MAX = 64
_LOOK_EVERY_S = 10.0
_CONFIRM_WAIT_S = 60.0  # confirmations ride on the next commit, but not for ever


class Stored(NamedTuple):
    """What one commit made durable, and where the streams stand after it."""

    works: list[Work]
    heads: dict[str, int]
    epoch: str
    generation: int


class Broken(NamedTuple):
    """A page that cannot be read. generation: of the file it means. sure: it was looked at more than once."""

    generation: int
    why: str
    sure: bool = False


class Storage:
    """on_stored and on_trouble are called by whoever turns the rounds (a subclass) and must only queue.

    mono_s may be called from any thread. look: figures of the process and the disk; a disk that hangs may hold it up,
    so it is no business of the loop's.
    """

    def __init__(
        self,
        store: Store,
        mono_s: Callable[[], float],
        on_stored: Callable[[Stored], None],
        on_trouble: Callable[[str], None],
        look: Callable[[], Json] = dict,
    ) -> None:
        self._store = store
        self._mono_s = mono_s
        self._on_stored = on_stored
        self._on_trouble = on_trouble
        self._look = look
        self.figures = look()
        self._looked_s = mono_s()
        self._queue: queue.SimpleQueue[Work | Confirm | Broken | None] = queue.SimpleQueue()
        self._works: list[Work] = []
        self._confirms: list[Confirm] = []
        self._confirms_since_s = 0.0
        self._broken: Broken | None = None
        self._doubted = -1  # the generation of the file that was reported broken and found whole
        self._attempts = 0  # of the commit that the disk does not take
        self._upkept_s = mono_s()
        self._closing = False
        self.alive_s = mono_s()
        self.busy_since_s: float | None = None  # a commit that does not return shows here
        self.fault: BaseException | None = None

    def start(self) -> None:
        """From now on somebody calls `round`."""
        raise NotImplementedError

    def close(self, timeout_s: float) -> bool:
        """Commit what was put and close the file; False when that took too long."""
        raise NotImplementedError

    def put(self, item: Work | Confirm | Broken) -> None:
        """From any thread. The loop bounds what it puts by what it has not seen stored."""
        self._queue.put(item)

    @property
    def finished(self) -> bool:
        """It was told to end and nothing is left to commit."""
        return self._closing and not self._works and self._queue.empty()

    def round(self) -> float:
        """Take what was put, commit it, do the upkeep. Seconds to wait before the next round, 0 when the disk is well.

        While a commit is tried again nothing further is taken.
        """
        if not self._attempts:
            self._collect()
        self._tell()
        rest_s = self._commit()
        if not rest_s:
            self._upkeep()
            self._look_around()
        self.alive_s = self._mono_s()
        return rest_s

    def end(self) -> None:
        self._store.close()

    def failed(self, error: BaseException) -> None:
        """Nothing is stored any more: the watchdog must see it."""
        self.fault = error
        self._on_trouble(f"storage ended: {error}")

    def _collect(self) -> None:
        try:
            for _ in range(_GROUP_MAX):
                self._take(self._queue.get_nowait())
        except queue.Empty:
            pass

    def _take(self, item: Work | Confirm | Broken | None) -> None:
        if item is None:
            self._closing = True
        elif isinstance(item, Broken):
            self._broken = item
        elif isinstance(item, Work):
            self._works.append(item)
        else:
            if not self._confirms:
                self._confirms_since_s = self._mono_s()
            self._confirms.append(item)

    def _commit(self) -> float:
        """One try: 0 when there is nothing left to commit, else how long the disk is left alone."""
        overdue = self._confirms and self._mono_s() - self._confirms_since_s >= _CONFIRM_WAIT_S
        if not (self._works or overdue or self._broken or (self._closing and self._confirms)):
            return 0.0
        if self.busy_since_s is None:
            self.busy_since_s = self._mono_s()
        try:
            self._renew()
            self._store.commit(self._works, self._confirms)
        except StoreStalled as error:
            return self._stalled(error)
        except StoreCorrupt as error:
            self._broken = Broken(self._store.generation, str(error))
            self._attempts += 1
            return _RETRY_S[0]
        self._committed()
        return 0.0

    def _committed(self) -> None:
        self.busy_since_s = None
        if self._attempts:
            log.warning("the disk takes it again after %d tries", self._attempts)
            self._on_trouble(self._store.trouble)
        self._attempts = 0
        works, self._works, self._confirms = self._works, [], []
        self._on_stored(Stored(works, self._store.heads(), self._store.epoch, self._store.generation))

    def _stalled(self, error: StoreStalled) -> float:
        if self._closing and self._attempts >= len(_RETRY_S):
            raise error
        if self._attempts == 0:
            log.error("the disk does not take it: %s; keeping it and trying again", error)
            self._on_trouble(str(error))
        rest_s = _RETRY_S[min(self._attempts, len(_RETRY_S) - 1)]
        self._attempts += 1
        return rest_s

    def _renew(self) -> None:
        """Raises StoreStalled. A reader may still speak of the file that was set aside already.

        A disk that reads wrong once is no broken file: it is looked at again, and set aside when it is broken or is
        reported a second time.
        """
        if self._broken and self._broken.generation == self._store.generation:
            try:
                if self._broken.sure or self._doubted == self._store.generation or not self._store.whole():
                    log.error("the database is broken: %s", self._broken.why)
                    self._store.renew(self._broken.why)
                else:
                    self._doubted = self._store.generation
                    log.warning("the database was read as broken (%s) and is whole", self._broken.why)
            except (sqlite3.DatabaseError, OSError) as error:
                raise StoreStalled(f"the database is broken and cannot be set aside now: {error}") from error
        self._broken = None

    def _tell(self) -> None:
        """What happened to the file since the last round."""
        if happened := self._store.happened:
            self._store.happened = ""
            log.error("%s", happened)
            self._on_trouble(happened)
            self._on_trouble(self._store.trouble)

    def _look_around(self) -> None:
        if self._mono_s() - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = self._mono_s()
            with suppress(OSError):  # the next commit meets the same disk and says so
                self.figures = self._look()

    def _upkeep(self) -> None:
        if self._mono_s() - self._upkept_s < _UPKEEP_EVERY_S:
            return
        self._upkept_s = self._mono_s()
        try:
            self._store.upkeep()
        except (sqlite3.Error, OSError) as error:  # the next commit meets the same disk and says so
            log.warning("upkeep of the store failed: %s", error)


class StorageThread(Storage):
    """The rounds, turned by a thread of their own."""

    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)
        self._thread.start()
        if self._store.unchecked:
            threading.Thread(target=self._check, name="check", daemon=True).start()

    def close(self, timeout_s: float) -> bool:
        self._queue.put(None)
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and self.fault is None

    def _check(self) -> None:
        """The rest of a big file, which no start can wait for; with connections of its own, so nothing waits for it."""
        generation = self._store.generation
        try:
            if not (self._store.whole() or self._store.whole()):
                self.put(Broken(generation, "found when all of it was read after the start", sure=True))
        except (sqlite3.Error, OSError) as error:
            log.warning("the database could not be checked; the next start tries again: %s", error)

    def _run(self) -> None:
        try:
            rest_s = 0.0
            while not self.finished:
                if rest_s:
                    threading.Event().wait(rest_s)
                else:
                    self._await_work()
                rest_s = self.round()
            self.end()
        except BaseException as error:
            log.exception("the storage thread ended")
            self.failed(error)

    def _await_work(self) -> None:
        """Up to a second, so that confirmations, upkeep and the watchdog get their turn."""
        try:
            self._take(self._queue.get(timeout=1.0))
        except queue.Empty:
            pass
