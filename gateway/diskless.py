"""A start without a disk: full, read-only or broken, it takes nothing, so there is no store to open.

Alarms and reactions go on all the same, on an empty store in memory. No source is acknowledged, so nodes and kiosks
keep what is theirs; nothing is sent, because nothing has a number. The disk is tried again and again. Once it takes
something the real gateway takes over in the same process, and is told which alarms came meanwhile.
"""

import asyncio
import contextlib
import errno
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from gateway.alarms import Came, Kept
from gateway.box import Box
from gateway.build import Ground, build_on
from gateway.config import Site
from gateway.contract import Json
from gateway.control import Control
from gateway.desk import Desk
from gateway.home import AlreadyRunning, Home
from gateway.pending import Confirm, Work
from gateway.schema import is_corrupt, version_of
from gateway.storage import Broken, Storage, Stored
from gateway.store import StoreStalled
from gateway.uplink import Uplink

log = logging.getLogger("linli")

ROOM_BYTES = 1_000_000  # what must fit before the disk counts as well: a schema, its log, the first commits
_SICK = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO))
_TRY_S = (2.0, 5.0, 10.0, 30.0)
_KEPT = "alarm:"
_HELD = ("hand:", "mode:", "output:")
_REACTION = "reaction:"


def is_sick(error: OSError | StoreStalled) -> bool:
    """A disk that may be well later, in contrast to a folder that this user may never write."""
    return isinstance(error, StoreStalled) or error.errno in _SICK


class Unstored(Storage):
    """In the storage's place: keeps nothing, and so acknowledges nobody.

    came: the alarms of its time. deeds: what the box does since, by key; None: not any more.
    """

    came: dict[str, Came]
    deeds: dict[str, object]

    def start(self) -> None:
        self.busy_since_s = self._mono_s()  # for the watchdog a commit that waits for the disk, which is what it is

    def put(self, item: Work | Confirm | Broken) -> None:
        if isinstance(item, Work):
            for key, value in item.keep.items():
                if key.startswith(_KEPT) and value is not None:
                    self._note(key.removeprefix(_KEPT), msgspec.json.decode(value, type=Kept))
                self._note_deed(key, None if value is None else msgspec.json.decode(value))
            self._on_stored(Stored([item._replace(marks={})], {}, "", 0))
            self._look_around()  # in memory: no disk can hold it up

    def _note_deed(self, key: str, value: object) -> None:
        """A valve that was closed meanwhile must not open when the disk is well. A reaction that waits begins anew."""
        if key.startswith(_HELD) or (key.startswith(_REACTION) and isinstance(value, dict) and value.get("in_force")):
            self.deeds[key] = value
        elif key.startswith(_REACTION):
            self.deeds.pop(key, None)

    def _note(self, name: str, kept: Kept) -> None:
        """When it came is when its present occurrence was first heard of."""
        before = self.came.get(name)
        known = before is not None and before.kept.occurrence == kept.occurrence
        self.came[name] = Came(kept, before.mono_s if before and known else self._mono_s())

    def close(self, timeout_s: float) -> bool:
        self._store.close()
        return True


class Unlinked(Uplink):
    """In the uplink's place: there is nothing to carry."""

    def start(self) -> None:
        pass

    @property
    def alive_s(self) -> float:
        return self._mono_s()

    def _ring(self) -> None:
        pass

    def close(self, timeout_s: float) -> bool:
        return True


class Diskless:
    """came: alarms that came in all spells without a disk since the start; None: there was none.

    deeds: what the box did in them.
    """

    def __init__(self, ground: Ground, site: Site, folder: Path) -> None:
        self._site = site
        self._folder = folder
        self._ground = ground._replace(storage=self._storage, uplink=Unlinked, vfs="")
        self._tries = 0
        self._began_s: float | None = None
        self._why = ""
        self.came: dict[str, Came] | None = None
        self.deeds: dict[str, object] = {}

    def _storage(
        self, store: object, mono_s: Callable[[], float], on_stored: Callable[[Stored], None],
        on_trouble: Callable[[str], None], look: Callable[[], Json],
    ) -> Unstored:  # fmt: skip
        storage = Unstored(store, mono_s, on_stored, on_trouble, look)  # type: ignore[arg-type]
        assert self.came is not None
        storage.came, storage.deeds = self.came, self.deeds
        return storage

    async def serve(self, why: str, stop: asyncio.Event) -> None:
        """Until the disk takes something again, or `stop`. Raises what the site and its drivers raise."""
        log.error("%s; alarms and outputs go on without it, no source is acknowledged, nothing is sent", why)
        self._why = why
        if self._began_s is None:
            self._began_s = self._ground.clock.mono_s()
        before, self.came = self.came, self.came or {}
        loop = asyncio.get_running_loop()
        with TemporaryDirectory(prefix="linli-", dir=os.environ.get("RUNTIME_DIRECTORY", "/dev/shm")) as memory:
            home = Home(Path(memory))
            box = build_on(self._ground, self._site, home, None, loop, before, self.deeds)
            control = Control(self._folder, Desk(box, self._site, box.mono_s).asks())
            box.start()
            box.on_trouble(why)
            log.warning("running without a disk: %s", self._site.gateway)
            with contextlib.suppress(OSError):  # on a read-only disk nobody can ask
                await control.start()
            while not stop.is_set() and why:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _TRY_S[min(self._tries, len(_TRY_S) - 1)])
                why = await loop.run_in_executor(None, ailing, self._folder)
            self._tries += 1  # a disk that looks well and is not is asked less often
            await control.close()
            await box.stop(for_good=stop.is_set())
            home.release()

    def tell(self, box: Box) -> None:
        """The disk is well: the box that has it says for how long there was none."""
        if self._began_s is None:
            return
        lasted_s = self._ground.clock.mono_s() - self._began_s
        log.warning("the disk takes it again; %.0f s went by without it", lasted_s)
        box.on_trouble(f"there was no disk for {lasted_s:.0f} s: {self._why}")
        box.on_trouble("")


def ailing(folder: Path) -> str:
    """Why nothing can be kept there now; "" when it can."""
    try:
        home = Home(folder)
        try:
            probe = folder / "probe"
            try:
                with open(probe, "wb") as file:
                    file.write(bytes(ROOM_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                probe.unlink(missing_ok=True)
            if home.database.exists():
                version_of(home.database)
        finally:
            home.release()
    except sqlite3.DatabaseError as error:
        return "" if is_corrupt(error) else f"{error}"  # a broken file is set aside by whoever opens it
    except (OSError, AlreadyRunning) as error:
        return f"{error}"
    return ""
