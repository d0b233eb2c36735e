"""A serial port that comes back after an unplug; the only file that imports pyserial.

Opened non-blocking and exclusive, read and written on the file descriptor. A port is found by a stable path (a
physical socket, a link) that may appear late, vanish and return. Nothing here raises: `error` holds what an installer
should read.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import serial

_BACKOFF_FIRST_S, _BACKOFF_MAX_S = 0.1, 2.0
_PARITY = {"N": serial.PARITY_NONE, "E": serial.PARITY_EVEN, "O": serial.PARITY_ODD}
_PROCESSES_MAX = 10_000


class SerialLine:
    """find: where the port is now; asked at each try, because a socket has a path only while something is plugged in.

    speed: "115200 8N1". fd is -1 while closed; next_try_s: when `open` is worth calling again.
    """

    def __init__(self, find: Callable[[], Path], speed: str, mono_s: Callable[[], float]) -> None:
        self._find = find
        self.path = find()
        baud, frame = speed.split()
        self._baud, self._bits, self._parity, self._stop = int(baud), int(frame[0]), _PARITY[frame[1]], int(frame[2])
        self._mono_s = mono_s
        self._port: serial.Serial | None = None
        self._backoff_s = _BACKOFF_FIRST_S
        self.next_try_s = mono_s()
        self.fd = -1
        self.error = ""

    def open(self) -> bool:
        """Whether the port is open now; if not, `error` says why and `next_try_s` when to try again."""
        if self.fd >= 0:
            return True
        self.path = self._find()
        try:
            self._port = serial.Serial(
                str(self.path), self._baud, self._bits, self._parity, self._stop, timeout=0, write_timeout=0,
                exclusive=True,
            )  # fmt: skip
            self.fd = self._port.fileno()
            os.set_blocking(self.fd, False)
        except (OSError, ValueError, TypeError) as error:
            self._drop(_why_not(self.path, error))
            return False
        self._backoff_s = _BACKOFF_FIRST_S
        self.error = ""
        return True

    def read(self, size: int) -> bytes | None:
        """What has come, b"" for nothing; None when the line was lost."""
        try:
            data = os.read(self.fd, size)
        except BlockingIOError:
            return b""
        except OSError as error:
            self._drop(_lost(self.path, error))
            return None
        if not data:
            self._drop(_lost(self.path, None))
            return None
        return data

    def write(self, data: bytes) -> int:
        """How many bytes went; 0 when there is no room now, -1 when the line was lost."""
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._drop(_lost(self.path, error))
            return -1

    def close(self) -> None:
        port, self._port, self.fd = self._port, None, -1
        if port:
            try:
                port.close()
            except (OSError, TypeError):
                pass  # pyserial can stumble over a port that is gone already

    def _drop(self, why: str) -> None:
        self.close()
        self.error = why
        self.next_try_s = self._mono_s() + self._backoff_s
        self._backoff_s = min(self._backoff_s * 2, _BACKOFF_MAX_S)


def _lost(path: Path, error: OSError | None) -> str:
    why = os.strerror(error.errno) if error and error.errno else "end of file"
    return f"{path}: found the line gone ({why}), expected it to stay; see the plug and the cable"


def _why_not(path: Path, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT or not path.exists():
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
    """Program and pid that has the port open, as far as we may look."""
    target = os.path.realpath(path)
    for process in list(Path("/proc").glob("[0-9]*"))[:_PROCESSES_MAX]:
        if process.name == str(os.getpid()):
            continue
        try:
            if any(os.path.realpath(fd) == target for fd in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue  # gone, or not ours to look at
    return "another program"
