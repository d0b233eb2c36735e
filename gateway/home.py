"""The state folder: one gateway at a time, secrets 0600."""

import contextlib
import fcntl
import os
from pathlib import Path

DATABASE = "linli.db"
OWNER = "site"
"""Under this key the store keeps whose data it holds: the id of the centre."""
ABOUT = "about:site"
"""Under this key the store keeps what the reports call things."""


class AlreadyRunning(Exception):
    """Another process holds the folder; the message names its pid."""


class OtherCentre(Exception):
    """The folder holds the data of another centre; the message says whose."""


class Home:
    """The folder, held until the process ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.database = folder / DATABASE
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._lock, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            raise AlreadyRunning(
                f"{folder}: found a gateway already running on it (pid {pid}), expected none; "
                f"stop it first (kill {pid}), or choose another --state"
            ) from None
        self._note(f"{os.getpid()}\n")

    def _note(self, pid: str) -> None:
        """The lock holds without it: a full disk must not keep anybody out, or in."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, pid.encode(), 0)

    def release(self) -> None:
        self._note("")
        os.close(self._lock)
