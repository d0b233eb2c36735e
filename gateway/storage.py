"""The one thread that owns the writing connection: groups commits and reports back what is durable.

A disk that stalls or fails only makes this thread wait and try again; the loop goes on, acknowledges nobody, and stops
reading its ports when too much waits.
"""

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import NamedTuple

from gateway.pending import Confirm, Work
from gateway.store import Store, StoreCorrupt, StoreStalled

log = logging.getLogger(__name__)

_RETRY_S = (0.05, 0.2, 1.0, 5.0)
_UPKEEP_EVERY_S = 60.0
_GROUP_MAX = 64
_CONFIRM_WAIT_S = 60.0  # confirmations ride on the next commit, but not for ever


class Stored(NamedTuple):
    """What one commit made durable, and where the streams stand after it."""

    works: list[Work]
    heads: dict[str, int]
    epoch: str
    generation: int


class Broken(NamedTuple):
    """A reader met a page that cannot be read. generation: of the file it means."""

    generation: int
    why: str


class StorageThread:
    """on_stored and on_trouble are called in this thread and must only queue. mono_s may be called from any thread."""

    def __init__(
        self,
        store: Store,
        mono_s: Callable[[], float],
        on_stored: Callable[[Stored], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._store = store
        self._mono_s = mono_s
        self._on_stored = on_stored
        self._on_trouble = on_trouble
        self._queue: queue.SimpleQueue[Work | Confirm | Broken | None] = queue.SimpleQueue()
        self._works: list[Work] = []
        self._confirms: list[Confirm] = []
        self._confirms_since_s = 0.0
        self._upkept_s = mono_s()
        self._closing = False
        self.alive_s = mono_s()
        self.busy_since_s: float | None = None  # a commit that does not return shows here
        self.fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, item: Work | Confirm | Broken) -> None:
        """From any thread. The loop bounds what it puts by what it has not seen stored."""
        self._queue.put(item)

    def close(self, timeout_s: float) -> bool:
        """Commit what was put and close the file; False when that took too long."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and self.fault is None

    def _run(self) -> None:
        try:
            while not (self._closing and not self._works and self._queue.empty()):
                self._collect()
                self._commit()
                self._upkeep()
                self.alive_s = self._mono_s()
            self._store.close()
        except BaseException as error:
            self.fault = error
            log.exception("the storage thread ended")
            self._on_trouble(f"storage ended: {error}")

    def _collect(self) -> None:
        """Wait for the first, then take what else is there."""
        try:
            self._take(self._queue.get(timeout=1.0))
            for _ in range(_GROUP_MAX):
                self._take(self._queue.get_nowait())
        except queue.Empty:
            pass

    def _take(self, item: Work | Confirm | Broken | None) -> None:
        if item is None:
            self._closing = True
        elif isinstance(item, Broken):
            self._renew(item)
        elif isinstance(item, Work):
            self._works.append(item)
        else:
            if not self._confirms:
                self._confirms_since_s = self._mono_s()
            self._confirms.append(item)

    def _commit(self) -> None:
        overdue = self._confirms and self._mono_s() - self._confirms_since_s >= _CONFIRM_WAIT_S
        if not (self._works or overdue or (self._closing and self._confirms)):
            return
        attempt = 0
        while True:
            self.busy_since_s = self._mono_s()
            try:
                self._store.commit(self._works, self._confirms)
                break
            except StoreStalled as error:
                if self._closing and attempt >= len(_RETRY_S):
                    raise
                self._wait(attempt, str(error))
            except StoreCorrupt as error:
                self._renew(Broken(self._store.generation, str(error)))
            attempt += 1
        self.busy_since_s = None
        if attempt:
            log.warning("the disk takes it again after %d tries", attempt)
            self._on_trouble(self._store.trouble)
        works, self._works, self._confirms = self._works, [], []
        self._on_stored(Stored(works, self._store.heads(), self._store.epoch, self._store.generation))

    def _renew(self, broken: Broken) -> None:
        """A reader may still speak of the file that was set aside already."""
        if broken.generation != self._store.generation:
            return
        log.error("the database is broken: %s", broken.why)
        self._store.renew(broken.why)
        self._on_trouble(self._store.trouble)
        self._on_stored(Stored([], self._store.heads(), self._store.epoch, self._store.generation))

    def _wait(self, attempt: int, why: str) -> None:
        if attempt == 0:
            log.error("the disk does not take it: %s; keeping it and trying again", why)
            self._on_trouble(why)
        self.alive_s = self._mono_s()
        threading.Event().wait(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])

    def _upkeep(self) -> None:
        if self._mono_s() - self._upkept_s < _UPKEEP_EVERY_S:
            return
        self._upkept_s = self._mono_s()
        try:
            self._store.upkeep()
        except (sqlite3.Error, OSError) as error:  # the next commit meets the same disk and says so
            log.warning("upkeep of the store failed: %s", error)
