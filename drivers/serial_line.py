"""A serial port that comes back after an unplug; the only file that imports pyserial.

Opened non-blocking and exclusive, read and written on the file descriptor. A port is found by a stable path (a
physical socket, a link) that may appear late, vanish and return. Nothing here raises: `error` holds what an installer
should read.
"""

import errno
import os
import termios
from collections.abc import Callable
from pathlib import Path

import serial

from drivers.reading import DriverError

_BACKOFF_FIRST_S, _BACKOFF_MAX_S = 0.1, 2.0
_PARITY = {"N": serial.PARITY_NONE, "E": serial.PARITY_EVEN, "O": serial.PARITY_ODD}
_PROCESSES_MAX = 10_000
# All that a port was seen to raise while it was opened or closed: pyserial lets termios.error through, and TypeError
# when the port went away under it.
_TROUBLE = (OSError, ValueError, TypeError, termios.error, DriverError)


class SerialLine:
    """find: where the port is now; asked at each try, because a socket has a path only while something is plugged in.

    speed: "115200 8N1". fd is -1 while closed; next_try_s: when `open` is worth calling again, 0.1 to 2 s after a
    failure. mono_s: seconds on this boot's clock.
    """

    def __init__(self, find: Callable[[], Path], speed: str, mono_s: Callable[[], float]) -> None:
        self._find = find
        self.path = find()
        baud, frame = speed.split()
        self._baud, self._bits, self._parity, self._stop = int(baud), int(frame[0]), _PARITY[frame[1]], int(frame[2])
        self._mono_s = mono_s
        self._port: serial.Serial | None = None
        self._backoff_s = _BACKOFF_FIRST_S
        self._cause: object = None  # of `error`; looking for who holds a port takes long, so only at a new cause
        self.next_try_s = mono_s()
        self.fd = -1
        self.error = ""

    def open(self) -> bool:
        """Whether the port is open now; if not, `error` says why and `next_try_s` when to try again."""
        if self.fd >= 0:
            return True
        try:
            self.path = self._find()
            self._port = serial.Serial(
                str(self.path), self._baud, self._bits, self._parity, self._stop, timeout=0, write_timeout=0,
                exclusive=True,
            )  # fmt: skip
            _tell_silence_from_loss(self._port.fileno())
        except _TROUBLE as error:
            cause = (self.path, getattr(error, "errno", None) or str(error))
            self._drop(cause, _why_not(self.path, error) if cause != self._cause else self.error)
            return False
        self.fd = self._port.fileno()
        self._cause = None
        self.error = ""
        return True

    def read(self, size: int) -> bytes | None:
        """What has come, b"" for nothing; None when the line was lost."""
        try:
            data = os.read(self.fd, size)
        except BlockingIOError:
            return b""
        except OSError as error:
            self._drop(error, _lost(self.path, error))
            return None
        if not data:
            self._drop(None, _lost(self.path, None))
            return None
        self._backoff_s = _BACKOFF_FIRST_S  # only now: a port that opens and dies at once is tried ever more slowly
        return data

    def write(self, data: bytes) -> int:
        """How many bytes went; 0 when there is no room now, -1 when the line was lost."""
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._drop(error, _lost(self.path, error))
            return -1

    def close(self) -> None:
        port, self._port, self.fd = self._port, None, -1
        if port is None:
            return
        for step in (_forget_unsent, serial.Serial.close):
            try:
                step(port)
            except _TROUBLE:
                pass  # it went away before we did

    def _drop(self, cause: object, why: str) -> None:
        self.close()
        self._cause, self.error = cause, why
        self.next_try_s = self._mono_s() + self._backoff_s
        self._backoff_s = min(self._backoff_s * 2, _BACKOFF_MAX_S)


def _tell_silence_from_loss(fd: int) -> None:
    """pyserial sets VMIN to 0, and then reading nothing and reading a line that hung up both give b""."""
    settings = termios.tcgetattr(fd)
    settings[6][termios.VMIN] = 1
    termios.tcsetattr(fd, termios.TCSANOW, settings)
    os.set_blocking(fd, False)


def _forget_unsent(port: serial.Serial) -> None:
    """Else closing may wait 30 s, in the kernel, for a line that takes nothing any more."""
    termios.tcflush(port.fileno(), termios.TCOFLUSH)


def _lost(path: Path, error: OSError | None) -> str:
    why = os.strerror(error.errno) if error and error.errno else "end of file"
    return f"{path}: found the line gone ({why}), expected it to stay; see the plug and the cable"


def _why_not(path: Path, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if isinstance(error, DriverError):
        return str(error)
    if number == errno.ENOENT or not os.path.exists(path):
        return (
            f"{path}: found no such port, expected one there; plug the adapter into that socket. There is: {_there()}"
        )
    if number == errno.EACCES:
        return f"{path}: found no permission, expected to read and write; add the user to the group dialout"
    if number in (errno.EAGAIN, errno.EBUSY) or "lock" in str(error):
        return f"{path}: found it opened by {_holder(path)}, expected it free; stop that program"
    return f"{path}: found {error}, expected a serial port; see that the path is right"


def _there() -> str:
    """Ports by physical socket, for the installer to compare."""
    names = sorted(found.name for found in Path("/dev/serial/by-path").glob("*"))
    return ", ".join(names[:8]) or "no serial port at all"


def _holder(path: Path) -> str:
    """Program and pid that has the port locked or else open, as far as we may look."""
    target = os.path.realpath(path)
    locking = _locking_pid(path)
    processes = [Path("/proc") / locking] if locking else sorted(Path("/proc").glob("[0-9]*"))[:_PROCESSES_MAX]
    for process in processes:
        try:
            if locking or any(_points_to(fd) == target for fd in os.scandir(process / "fd")):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue  # gone, or not ours to look at
    return "another program"


def _locking_pid(path: Path) -> str:
    """Who holds the lock that pyserial's `exclusive` asks for, "" when nobody does. Form: man 5 proc_locks."""
    try:
        port = os.stat(path)
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return ""
    inode = f"{os.major(port.st_dev):02x}:{os.minor(port.st_dev):02x}:{port.st_ino}"
    found = [words[4] for words in map(str.split, locks) if words[1] == "FLOCK" and words[5] == inode]
    return found[0] if found else ""


def _points_to(fd: os.DirEntry[str]) -> str:
    try:
        return os.readlink(fd.path)
    except OSError:
        return ""  # closed while we looked
