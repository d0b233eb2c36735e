"""A disk under SQLite that counts, stalls, fails, and forgets at a power cut what was not synced.

    disk = VirtualDisk()
    db = sqlite3.connect(f"file:{path}?vfs={disk.name}", uri=True)
    ...
    disk.cut(dice)      # db is a dead process' now, and the files are what a power cut would have left
    disk.power_on()     # what is opened from here finds them

The files are real, and what a process reads is what it wrote. What was written since a file's last sync is pending:
at a cut none, all, the first, or any of those writes are kept, and one that is kept may be torn at sectors of 512
bytes. A name made or deleted since its folder's last sync may be there or not. Beyond 64 MB of pending writes a file's
oldest are on the disk: a kernel writes back by itself. The real disk is never synced, so a commit costs microseconds.

Close what is opened, or a connection that the garbage collector ends writes its checkpoint at a moment of its own.
What others write into the same folder without SQLite is none of this disk's; a file that they moved or replaced counts
as durable as it stands. The WAL index and temporary files do not outlive a cut.
"""

import itertools
import os
import random
import threading
from collections.abc import Callable

from simulator import sqlite_vfs as vfs
from simulator.sqlite_vfs import DB, JOURNAL, WAL, VfsError
from simulator.unsynced import Change, File

__all__ = ["DB", "JOURNAL", "WAL", "Counts", "VfsError", "VirtualDisk"]

_FAILS = {"read": vfs.IOERR_READ, "write": vfs.IOERR_WRITE, "sync": vfs.IOERR_FSYNC, "open": vfs.CANTOPEN}
_numbers = itertools.count(1)


class Counts:
    """What SQLite asked of one kind of file. reads stay 0 unless `count_reads` is on."""

    __slots__ = ("bytes", "reads", "syncs", "truncates", "writes")

    def __init__(self) -> None:
        self.writes = self.bytes = self.syncs = self.truncates = self.reads = 0

    def __repr__(self) -> str:
        return f"Counts({', '.join(f'{name}={getattr(self, name)}' for name in self.__slots__)})"


class _Open:
    """One open file of one connection: every method is what SQLite asks of it (simulator/sqlite_vfs.py Handle)."""

    def __init__(self, disk: "VirtualDisk", file: File, raw: vfs.Raw) -> None:
        self.file, self.raw = file, raw
        self.dead = False
        self._disk = disk
        self._counts = disk.counts[file.kind]

    def write(self, data: int, size: int, offset: int) -> int:
        disk, file = self._disk, self.file
        if disk.stall is not None:
            disk.stall("write", file.kind)
        with disk.lock:
            end, before = offset + size, b""
            if (self.dead or disk.fails) and (code := disk.refused("write", self.dead)):
                return code
            if disk.room_bytes is not None and (code := disk.no_room(max(0, end - file.size))):
                return code
            if offset < file.size:
                before = self.raw.bytes_at(offset, min(size, file.size - offset))
            if code := self.raw.write(data, size, offset):
                return code
            file.changed(Change(offset, vfs.bytes_at(data, size), before, file.size))
            if end > file.size:
                file.size = end
            self._counts.writes += 1
            self._counts.bytes += size
            return vfs.OK

    def truncate(self, size: int) -> int:
        disk, file = self._disk, self.file
        with disk.lock:
            if disk.refused("write", self.dead):
                return vfs.IOERR_TRUNCATE
            before = self.raw.bytes_at(size, file.size - size) if size < file.size else b""
            if code := self.raw.truncate(size):
                return code
            file.changed(Change(size, None, before, file.size))
            disk.no_room(size - file.size)
            file.size = size
            self._counts.truncates += 1
            return vfs.OK

    def sync(self) -> int:
        disk, file = self._disk, self.file
        if disk.stall is not None:
            disk.stall("sync", file.kind)
        with disk.lock:
            if code := disk.refused("sync", self.dead):
                if not self.dead:
                    file.sync_failed()
                return code
            file.synced()
            disk.name_lasts(file)
            self._counts.syncs += 1
            return vfs.OK

    def read(self, data: int, size: int, offset: int) -> int:
        with self._disk.lock:
            if code := self._disk.refused("read", self.dead):
                return code
            self._counts.reads += 1
        return self.raw.read(data, size, offset)

    def closed(self) -> None:
        self._disk.handles.discard(self)


class VirtualDisk:
    """name: for `?vfs=`. counts: {DB | JOURNAL | WAL: Counts}.

    stall(what, kind): set it to be called before each write ("write") and sync ("sync"), in the writer's thread. Time
    may pass in it, and it may call `cut`: then this write is the first that does not happen. What it raises fails the
    write and is raised again by `cut`, `kill` and `close`.
    room_bytes: how much the files may still grow before SQLite is told that the disk is full; None for no bound.

    Raises VfsError where this Python's SQLite cannot be extended.
    """

    def __init__(self) -> None:
        self.name = f"linli-disk-{next(_numbers)}"
        self.counts = {kind: Counts() for kind in (DB, JOURNAL, WAL)}
        self.stall: Callable[[str, str], None] | None = None
        self.room_bytes: int | None = None
        self.lock = threading.RLock()
        self.handles: set[_Open] = set()
        self._files: dict[str, File] = {}
        self._gone: dict[str, File] = {}  # deleted, and the folder not synced since
        self.fails: dict[str, int | None] = {}
        self._error: BaseException | None = None
        self._count_reads = self._off = False
        self._address = vfs.register(self.name, self)

    # -- what a test asks for ----------------------------------------------------------------------------------------

    def fail(self, what: str, times: int | None = None) -> None:
        """what: "read", "write", "sync" or "open". The next `times` of them fail, None for all until `mend`.

        After a failed sync nobody knows what of the pending writes is on the disk, and no later sync tells.
        """
        if what not in _FAILS:
            raise ValueError(f"found {what!r}, expected one of {', '.join(_FAILS)}")
        self.fails[what] = times
        self._see_reads()

    def mend(self) -> None:
        """No fault any more, and room enough."""
        self.fails.clear()
        self.room_bytes = None
        self._see_reads()

    def count_reads(self, on: bool = True) -> None:
        self._count_reads = on
        self._see_reads()

    def count_anew(self) -> dict[str, Counts]:
        """What was counted so far; from here it begins at 0."""
        with self.lock:
            said = {}
            for kind, counts in self.counts.items():
                said[kind] = Counts()
                for name in Counts.__slots__:
                    setattr(said[kind], name, getattr(counts, name))
                    setattr(counts, name, 0)
            return said

    @property
    def pending_bytes(self) -> int:
        """What a cut may take, all files together, with what it would put back in their place."""
        return sum(file.pending_bytes for file in self._files.values())

    def cut(self, dice: random.Random) -> None:
        """The power fails: everything open is dead, and the files are what the disk had, and some of the rest.

        Until `power_on` nothing can be opened. Without power already, it does nothing.
        """
        self._end(dice)

    def kill(self) -> None:
        """The process dies and the kernel lives: everything open is dead, and everything written is there."""
        self._end(None)

    def power_on(self) -> None:
        """The next process may come."""
        self._off = False

    def close(self) -> None:
        """Throw the disk away; its files stay as they are. Connections that are still open may only be closed."""
        with self.lock:
            self._bury()
            vfs.unregister(self._address)
        self._raise()

    # -- the end of a life --------------------------------------------------------------------------------------------

    def _end(self, dice: random.Random | None) -> None:
        with self.lock:
            self._off = True
            self._bury()
            files, gone = self._files, self._gone
            self._files, self._gone = {}, {}
            for file in files.values():
                self._leave(file, gone.pop(file.path, None), dice)
            for file in gone.values():
                if dice and dice.getrandbits(1) and not os.path.exists(file.path):
                    file.replace(file.after_cut(bytearray(file.deleted_content or b""), dice))
        self._raise()

    def _leave(self, file: File, older: File | None, dice: random.Random | None) -> None:
        """A new inode in its place: the dead keep theirs and its locks. older: of the same name, deleted before."""
        if file.kind == DB:
            _unlink(file.path + "-shm")
        if not os.path.exists(file.path) or os.stat(file.path).st_ino != file.inode:
            return
        with open(file.path, "rb") as old:
            content = bytearray(old.read())
        if dice is None or file.lasting or dice.getrandbits(1):
            file.replace(file.after_cut(content, dice) if dice else content)
        elif older and dice.getrandbits(1):
            older.replace(older.after_cut(bytearray(older.deleted_content or b""), dice))
        else:
            _unlink(file.path)

    def _bury(self) -> None:
        for handle in self.handles:
            handle.dead = True
            handle.raw.refuse()
        self.handles.clear()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    # -- what SQLite asks for (simulator/sqlite_vfs.py Disk) ----------------------------------------------------------

    def opening(self, _path: str) -> int:
        return self.refused("open", self._off)

    def opened(self, path: str, kind: str, existed: bool, raw: vfs.Raw) -> _Open:
        with self.lock:
            file = self._files.get(path)
            if file is None or file.inode != os.stat(path).st_ino:
                file = self._files[path] = File(path, kind, lasting=existed)
            handle = _Open(self, file, raw)
            self.handles.add(handle)
            raw.seen(reads=self._reads_seen)
            return handle

    def delete(self, path: str, synced: bool, native: Callable[[], int]) -> int:
        with self.lock:
            if self._off:
                return vfs.IOERR_DELETE
            if os.path.exists(path):
                file = self._files.pop(path, None) or File(path, JOURNAL, lasting=True)
                with open(path, "rb") as old:
                    file.deleted_content = old.read()
                if file.lasting:
                    self._gone[path] = file
                self.no_room(-file.size)
            code = native()
            if synced:
                self._folder_lasts(os.path.dirname(path))
            return code

    def fault(self, error: BaseException) -> int:
        self._error = self._error or error
        return vfs.IOERR

    def refused(self, what: str, dead: bool) -> int:
        """A code of SQLite's, OK for none."""
        if dead:
            return _FAILS[what]
        if what not in self.fails:
            return vfs.OK
        left = self.fails[what]
        if left is not None:
            if left <= 0:
                return vfs.OK
            self.fails[what] = left - 1
        return _FAILS[what]

    def no_room(self, grows: int) -> int:
        if self.room_bytes is None:
            return vfs.OK
        if grows > self.room_bytes:
            return vfs.FULL
        self.room_bytes -= grows
        return vfs.OK

    def name_lasts(self, file: File) -> None:
        """With its first sync. SQLite syncs the folder with a new journal's or WAL's, and so all names in it."""
        if not file.lasting:
            file.lasting = True
            if file.kind != DB:
                self._folder_lasts(os.path.dirname(file.path))

    def _folder_lasts(self, folder: str) -> None:
        for file in self._files.values():
            file.lasting = file.lasting or os.path.dirname(file.path) == folder
        self._gone = {path: file for path, file in self._gone.items() if os.path.dirname(path) != folder}

    @property
    def _reads_seen(self) -> bool:
        return self._count_reads or "read" in self.fails

    def _see_reads(self) -> None:
        with self.lock:
            for handle in self.handles:
                handle.raw.seen(reads=self._reads_seen)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
