"""SQLite's own file layer with a few of its functions replaced, inside the library that `import sqlite3` uses.

A copy of the default unix VFS is registered under another name. Locks, shared memory and names stay what they are; each
file that lasts (database, journal, WAL) gets a copy of its method table in which writes, truncations, syncs and
the close come here first. Layouts and codes: sqlite3.h, "OS Interface", stable since 3.7.

The functions that C calls exist once in a process, however many disks and files come and go; they find the file by its
address. Natives that only copy to or from the page cache are called without letting go of the interpreter's lock.
"""

import atexit
import ctypes
import gc
import os
import sqlite3
from collections.abc import Callable
from ctypes import c_char_p, c_int, c_int64, c_void_p
from functools import cache
from typing import Protocol

OK, IOERR, FULL, CANTOPEN = 0, 10, 13, 14
IOERR_READ, IOERR_WRITE, IOERR_FSYNC, IOERR_TRUNCATE, IOERR_DELETE = (IOERR | n << 8 for n in (1, 3, 4, 6, 10))
DB, JOURNAL, WAL = "db", "journal", "wal"
_KINDS = {0x100: DB, 0x800: JOURNAL, 0x4000: JOURNAL, 0x80000: WAL}  # SQLITE_OPEN_...; the rest is temporary
_KIND_BITS = 0x0FFF00
_SCRATCH_BYTES = 65536  # SQLite's largest page

_READ = ctypes.PYFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE = ctypes.PYFUNCTYPE(c_int, c_void_p, c_int64)
_FILE = ctypes.PYFUNCTYPE(c_int, c_void_p)
_FILE_INT = ctypes.PYFUNCTYPE(c_int, c_void_p, c_int)
_OPEN = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_DELETE = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_SHM_LOCK = ctypes.CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_int)
_SHM_MAP = ctypes.CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_int, c_void_p)
_FETCH = ctypes.CFUNCTYPE(c_int, c_void_p, c_int64, c_int, c_void_p)
_CLOSE = ctypes.CFUNCTYPE(c_int, c_void_p)


class VfsError(Exception):
    """This Python's SQLite cannot be extended: found, expected, what to do."""


class _Methods(ctypes.Structure):
    _fields_ = [
        ("iVersion", c_int),
        *((name, c_void_p) for name in (
            "xClose", "xRead", "xWrite", "xTruncate", "xSync", "xFileSize", "xLock", "xUnlock", "xCheckReservedLock",
            "xFileControl", "xSectorSize", "xDeviceCharacteristics", "xShmMap", "xShmLock", "xShmBarrier", "xShmUnmap",
            "xFetch", "xUnfetch")),
    ]  # fmt: skip


class _Vfs(ctypes.Structure):
    _fields_ = [
        ("iVersion", c_int), ("szOsFile", c_int), ("mxPathname", c_int), ("pNext", c_void_p), ("zName", c_char_p),
        ("pAppData", c_void_p), ("xOpen", c_void_p), ("xDelete", c_void_p),
        *((name, c_void_p) for name in (
            "xAccess", "xFullPathname", "xDlOpen", "xDlError", "xDlSym", "xDlClose", "xRandomness", "xSleep",
            "xCurrentTime", "xGetLastError", "xCurrentTimeInt64", "xSetSystemCall", "xGetSystemCall",
            "xNextSystemCall")),
    ]  # fmt: skip


class Handle(Protocol):
    """One open file as the disk sees it. Each returns one of SQLite's codes; data is an address."""

    def read(self, data: int, size: int, offset: int) -> int: ...
    def write(self, data: int, size: int, offset: int) -> int: ...
    def truncate(self, size: int) -> int: ...
    def sync(self) -> int: ...
    def closed(self) -> None: ...


class Disk(Protocol):
    """What a registered name asks. `native` does the deed."""

    def opening(self, path: str) -> int: ...
    def opened(self, path: str, kind: str, existed: bool, raw: "Raw") -> Handle: ...
    def delete(self, path: str, synced: bool, native: Callable[[], int]) -> int: ...
    def fault(self, error: BaseException) -> int: ...


class _Table:
    """The native methods of one kind of file, and three tables in their place: as usual, with reads seen, and dead."""

    def __init__(self, address: int) -> None:
        native = _Methods.from_address(address)
        self.read, self.write = _READ(native.xRead), _READ(native.xWrite)
        self.truncate, self.close = _TRUNCATE(native.xTruncate), _CLOSE(native.xClose)
        self.usual, self.with_reads, self.dead = (_Methods.from_buffer_copy(native) for _ in range(3))
        for table in (self.usual, self.with_reads, self.dead):
            for name, function in _SEEN.items():
                setattr(table, name, ctypes.cast(function, c_void_p))
        for name, function in _REFUSED.items():
            if getattr(native, name):
                setattr(self.dead, name, ctypes.cast(function, c_void_p))
        for table in (self.with_reads, self.dead):
            table.xRead = ctypes.cast(_ON_READ, c_void_p)


def bytes_at(address: int, size: int) -> bytes:
    return ctypes.string_at(address, size)


class Raw:
    """The native side of one open file."""

    def __init__(self, address: int, table: _Table) -> None:
        self._address = address
        self._table = table
        self._methods = c_void_p.from_address(address)  # the first member of sqlite3_file
        self.seen(reads=False)

    def seen(self, *, reads: bool) -> None:
        """Whether reads come here too; they are not slowed else."""
        self._methods.value = ctypes.addressof(self._table.with_reads if reads else self._table.usual)

    def refuse(self) -> None:
        """From now on everything fails but unlocking and closing."""
        self._methods.value = ctypes.addressof(self._table.dead)

    def bytes_at(self, offset: int, size: int) -> bytes:
        """What the file holds there; the caller knows that it is so long."""
        parts = []
        while size > 0:
            now = min(size, _SCRATCH_BYTES)
            if self._table.read(self._address, _SCRATCH_AT, now, offset):
                raise OSError(f"cannot read {now} bytes at {offset}")
            parts.append(ctypes.string_at(_SCRATCH_AT, now))
            size, offset = size - now, offset + now
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read(self, data: int, size: int, offset: int) -> int:
        return int(self._table.read(self._address, data, size, offset))

    def write(self, data: int, size: int, offset: int) -> int:
        code: int = self._table.write(self._address, data, size, offset)
        return code

    def truncate(self, size: int) -> int:
        return int(self._table.truncate(self._address, size))


_SCRATCH = ctypes.create_string_buffer(_SCRATCH_BYTES)  # used under the interpreter's lock, which natives here keep
_SCRATCH_AT = ctypes.addressof(_SCRATCH)
_handles: dict[int, tuple[Handle, _Table, int]] = {}  # by the file's address; the last is its VFS
_registered: dict[int, tuple[Disk, _Vfs, Callable[..., int], Callable[..., int]]] = {}  # by the VFS's address
_leaving: dict[int, _Vfs] = {}  # unregistered while files were open: SQLite still points at them
_tables: dict[int, _Table] = {}


def _on_read(address: int, data: int, size: int, offset: int) -> int:
    return _asked(address, lambda handle: handle.read(data, size, offset))


def _on_write(address: int, data: int, size: int, offset: int) -> int:
    handle, _, vfs = _handles[address]  # the hot one: no closure
    try:
        return handle.write(data, size, offset)
    except BaseException as error:  # noqa: BLE001 -- C cannot be raised through; the disk keeps it and says so later
        return _fault(vfs, error)


def _on_truncate(address: int, size: int) -> int:
    return _asked(address, lambda handle: handle.truncate(size))


def _on_sync(address: int, _flags: int) -> int:
    return _asked(address, lambda handle: handle.sync())


def _asked(address: int, what: Callable[[Handle], int]) -> int:
    handle, _, vfs = _handles[address]
    try:
        return what(handle)
    except BaseException as error:  # noqa: BLE001 -- as above
        return _fault(vfs, error)


def _fault(vfs: int, error: BaseException) -> int:
    found = _registered.get(vfs)
    return found[0].fault(error) if found else IOERR


def _on_close(address: int) -> int:
    handle, table, vfs = _handles.pop(address)
    handle.closed()
    code = int(table.close(address))
    if vfs in _leaving and all(other != vfs for _, _, other in _handles.values()):
        del _leaving[vfs]
    return code


def _on_open(vfs: int, name: int | None, address: int, flags: int, out_flags: int | None) -> int:
    methods = c_void_p.from_address(address)
    methods.value = None  # sqlite3.h: valid or NULL, also when it fails
    found = _registered.get(vfs)
    if found is None:
        return CANTOPEN
    disk, _, native_open, _ = found
    kind = _KINDS.get(flags & _KIND_BITS)
    try:
        if kind is None or name is None:
            return native_open(vfs, name, address, flags, out_flags)
        path = os.fsdecode(ctypes.string_at(name))
        existed = os.path.exists(path)
        code = disk.opening(path) or native_open(vfs, name, address, flags, out_flags)
        if code == OK and methods.value:
            table = _tables.get(methods.value) or _tables.setdefault(methods.value, _Table(methods.value))
            _handles[address] = (disk.opened(path, kind, existed, Raw(address, table)), table, vfs)
        return code
    except BaseException as error:  # noqa: BLE001 -- as above
        return disk.fault(error)


def _on_delete(vfs: int, name: int, sync_folder: int) -> int:
    found = _registered.get(vfs)
    if found is None:
        return IOERR_DELETE
    disk, _, _, native_delete = found
    try:
        return disk.delete(os.fsdecode(ctypes.string_at(name)), bool(sync_folder), lambda: native_delete(vfs, name, 0))
    except BaseException as error:  # noqa: BLE001 -- as above
        return disk.fault(error)


_ON_OPEN, _ON_DELETE, _ON_READ = _OPEN(_on_open), _DELETE(_on_delete), _READ(_on_read)
_SEEN = {
    "xWrite": _READ(_on_write), "xTruncate": _TRUNCATE(_on_truncate), "xSync": _FILE_INT(_on_sync),
    "xClose": _FILE(_on_close),
}  # fmt: skip
_REFUSED = {
    "xLock": _FILE_INT(lambda *_: IOERR), "xShmLock": _SHM_LOCK(lambda _f, _o, _n, flags: OK if flags & 1 else IOERR),
    "xShmMap": _SHM_MAP(lambda *_: IOERR), "xFetch": _FETCH(lambda *_: IOERR),
}  # fmt: skip  # flags & 1: SQLITE_SHM_UNLOCK


@cache
def _library() -> ctypes.CDLL:
    """Looked up through the extension module itself, so that it is the instance which that one calls."""
    import _sqlite3

    library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    try:
        library.sqlite3_vfs_find.restype = c_void_p
        library.sqlite3_vfs_register.argtypes = (c_void_p, c_int)
        library.sqlite3_vfs_unregister.argtypes = (c_void_p,)
    except AttributeError:
        raise _not_ours("keeps its functions to itself") from None
    return library


def _not_ours(found: str) -> VfsError:
    return VfsError(
        f"this Python's SQLite {sqlite3.sqlite_version} {found}, expected a shared libsqlite3 that can be extended; "
        "run this with the distribution's Python, or one that was built against the system's libsqlite3"
    )


def register(name: str, disk: Disk) -> int:
    """From now on `sqlite3.connect("file:PATH?vfs=name", uri=True)` asks this disk. Returns the VFS's address.

    Raises VfsError.
    """
    library = _library()
    default = library.sqlite3_vfs_find(None)
    if not default:
        raise _not_ours("has no file layer")
    native = _Vfs.from_address(default)
    vfs = _Vfs.from_buffer_copy(native)
    vfs.zName = name.encode()
    vfs.xOpen, vfs.xDelete = ctypes.cast(_ON_OPEN, c_void_p), ctypes.cast(_ON_DELETE, c_void_p)
    address = ctypes.addressof(vfs)
    _registered[address] = (disk, vfs, _OPEN(native.xOpen), _DELETE(native.xDelete))
    library.sqlite3_vfs_register(address, 0)
    try:
        sqlite3.connect(f"file::memory:?vfs={name}", uri=True).close()
    except sqlite3.OperationalError:
        unregister(address)
        raise _not_ours("is another than the one found beside it") from None
    return address


def unregister(address: int) -> None:
    """Nothing can be opened by that name any more; what is open may still be closed."""
    _library().sqlite3_vfs_unregister(address)
    vfs = _registered.pop(address)[1]
    if any(owner == address for _, _, owner in _handles.values()):
        _leaving[address] = vfs


@atexit.register
def _end_as_a_killed_process() -> None:
    """What is still open is never closed: the interpreter would take these functions away before the connections."""
    if _handles:
        for found in gc.get_objects():
            if isinstance(found, sqlite3.Connection):
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(found))
