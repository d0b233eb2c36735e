"""`python -m simulator.sick_folder FOLDER ORDERS WHERE`: WHERE shows FOLDER, and breaks as the file ORDERS says.

ORDERS is JSON, looked at before each request: {"write": "EIO", "fsync": "EIO", "read": "EIO", "stall_s": 5.0}; an
empty object, or no file, is health. "write" holds for all that changes anything (EROFS is what a file system says
that the kernel made read-only); "stall_s" makes each write and fsync wait for so long.
"""

import errno
import os
import stat as stats
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from simulator.fuse_door import serve

_TOLD = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_atime_ns", "st_mtime_ns", "st_ctime_ns", "st_ino")
_ROOM = (
    "f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_flag", "f_frsize", "f_namemax",
)  # fmt: skip


_SHARED = "-shm"  # SQLite's memory between processes: on a card it lies in the kernel's cache and no write waits for it


class Orders(msgspec.Struct):
    """Names of errno, "" for none."""

    write: str = ""
    fsync: str = ""
    read: str = ""
    stall_s: float = 0.0


class SickFolder:
    """A folder passed through, for `serve`. One request at a time: a stall holds everybody, as on a card."""

    use_ns = True

    def __init__(self, folder: Path, orders: Path) -> None:
        self._folder = str(folder)
        self._file = orders
        self._orders = Orders()
        self._seen_ns = 0

    def _place(self, path: str) -> str:
        return self._folder + path

    def _may(self, what: str) -> None:
        """Raises OSError when this is ordered to fail; waits when it is ordered to stall."""
        orders = self._look()
        if orders.stall_s and what in ("write", "fsync"):
            threading.Event().wait(orders.stall_s)
        if wrong := getattr(orders, what):
            raise OSError(getattr(errno, wrong), os.strerror(getattr(errno, wrong)))

    def _look(self) -> Orders:
        try:
            changed_ns = os.stat(self._file).st_mtime_ns
            if changed_ns != self._seen_ns:
                self._orders = msgspec.json.decode(self._file.read_bytes(), type=Orders)
                self._seen_ns = changed_ns
        except FileNotFoundError:
            self._orders = Orders()
        return self._orders

    # -- looking -----------------------------------------------------------------------------------------------------

    def getattr(self, path: str, _fh: int | None = None) -> dict[str, Any]:
        found = os.lstat(self._place(path))
        told = {name: getattr(found, name) for name in _TOLD}
        return {name.removesuffix("_ns"): value for name, value in told.items()}

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._place(path))
        return {name: getattr(found, name) for name in _ROOM}

    def readdir(self, path: str, _fh: int) -> list[str]:
        return [".", "..", *os.listdir(self._place(path))]

    def open(self, path: str, flags: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and self._look().write == "EROFS":
            self._may("write")
        return os.open(self._place(path), flags & ~os.O_APPEND)

    def read(self, _path: str, size: int, offset: int, fh: int) -> bytes:
        self._may("read")
        return os.pread(fh, size, offset)

    def release(self, _path: str, fh: int) -> int:
        os.close(fh)
        return 0

    # -- changing ----------------------------------------------------------------------------------------------------

    def create(self, path: str, mode: int, _fi: int | None = None) -> int:
        self._may("write")
        return os.open(self._place(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if not path.endswith(_SHARED):
            self._may("write")
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, _fh: int | None = None) -> int:
        self._may("write")
        os.truncate(self._place(path), length)
        return 0

    def fsync(self, _path: str, _only_data: int, fh: int) -> int:
        self._may("fsync")
        os.fsync(fh)
        return 0

    def fsyncdir(self, path: str, _only_data: int, _fh: int) -> int:
        self._may("fsync")
        with _opened(self._place(path)) as folder:
            os.fsync(folder)
        return 0

    def unlink(self, path: str) -> int:
        self._may("write")
        os.unlink(self._place(path))
        return 0

    def rename(self, old: str, new: str) -> int:
        self._may("write")
        os.rename(self._place(old), self._place(new))
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        self._may("write")
        os.mkdir(self._place(path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        self._may("write")
        os.rmdir(self._place(path))
        return 0

    def mknod(self, path: str, mode: int, device: int) -> int:
        self._may("write")
        os.mknod(self._place(path), mode, device)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        self._may("write")
        os.chmod(self._place(path), stats.S_IMODE(mode))
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        self._may("write")
        os.utime(self._place(path), ns=times) if times else os.utime(self._place(path))
        return 0


@contextmanager
def _opened(folder: str) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


if __name__ == "__main__":
    serve(SickFolder(Path(sys.argv[1]), Path(sys.argv[2])), Path(sys.argv[3]))
