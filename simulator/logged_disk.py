"""`python -m simulator.logged_disk IMAGE LOG WHERE`: a disk, as the file WHERE/disk, that notes every write and flush.

A loop device on that file is a real block device to the kernel: what a file system writes comes here as a write, what
it flushes (REQ_PREFLUSH, REQ_FUA) comes as fsync. Each is in the log before the kernel hears that it was done, so the
log's size at a moment tells what the disk had been asked until then. The image itself is always up to date.

Log: entries of kind (u8), offset (u64), length (u32), little-endian, each followed by its data.
"""

import errno
import os
import stat
import struct
import sys
from pathlib import Path
from typing import Any

from simulator.fuse_door import serve

HEAD = struct.Struct("<BQI")
WRITE, FLUSH = 1, 2
FILE = "/disk"


class LoggedDisk:
    """The one file and its folder, for `serve`."""

    use_ns = True

    def __init__(self, image: Path, log: Path) -> None:
        self._image = os.open(image, os.O_RDWR)
        self._size = os.fstat(self._image).st_size
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def getattr(self, path: str, _fh: int | None = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
        if path == FILE:
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": self._size}
        raise OSError(errno.ENOENT, path)

    def readdir(self, _path: str, _fh: int) -> list[str]:
        return [".", "..", FILE[1:]]

    def open(self, _path: str, _flags: int) -> int:
        return 0

    def read(self, _path: str, size: int, offset: int, _fh: int) -> bytes:
        return os.pread(self._image, size, offset)

    def write(self, _path: str, data: bytes, offset: int, _fh: int) -> int:
        self._note(WRITE, offset, data)
        return os.pwrite(self._image, data, offset)

    def fsync(self, _path: str, _only_data: int, _fh: int) -> int:
        self._note(FLUSH, 0, b"")
        return 0

    def _note(self, kind: int, offset: int, data: bytes) -> None:
        whole = HEAD.size + len(data)
        if os.writev(self._log, [HEAD.pack(kind, offset, len(data)), data]) != whole:
            raise OSError(errno.EIO, "the log did not take it")


if __name__ == "__main__":
    serve(LoggedDisk(Path(sys.argv[1]), Path(sys.argv[2])), Path(sys.argv[3]))
