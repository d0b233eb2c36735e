"""What systemd does for the gateway on a box, as far as provisioning/linli.service asks for it."""

import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from simulator.processes import Child, Processes

RESTART_S = 1.0
WATCHDOG_S = 30.0


class Keeper:
    """Starts the gateway again a second after its end, and ends it when its watchdog is silent for 30 s.

    Call `look` again and again. command: the arguments of `python -m gateway`.
    """

    def __init__(self, processes: Processes, command: list[str], folder: Path, mono_s: Callable[[], float]) -> None:
        self._processes = processes
        self._command = command
        self._address = str(folder / "notify")
        self._mono_s = mono_s
        self._ended_s: float | None = None
        self._fed_s = 0.0
        self._kept = False
        self.restarts = 0
        self.child: Child

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._address)
        self._socket.setblocking(False)
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        if self._kept:
            self.kill()
        self._socket.close()

    def start(self) -> None:
        self.child = self._processes.start("gateway", *self._command, environment={"NOTIFY_SOCKET": self._address})
        self.child.wanted = False  # its end is our business
        self._kept, self._ended_s, self._fed_s = True, None, self._mono_s()

    def kill(self) -> None:
        self._kept = False
        self.child.kill()

    def stop(self) -> int:
        """Its exit code after SIGTERM."""
        self._kept = False
        return self.child.stop()

    def look(self) -> None:
        if not self._kept:
            return
        now_s = self._mono_s()
        if self._heard():
            self._fed_s = now_s
        if self.child.code is None:
            if now_s - self._fed_s > WATCHDOG_S:
                self.child.kill()
        elif self._ended_s is None:
            self._ended_s = now_s
        elif now_s - self._ended_s >= RESTART_S:
            self.restarts += 1
            self.start()

    def _heard(self) -> bool:
        heard = False
        try:
            while True:
                heard |= bool(self._socket.recv(4096))
        except BlockingIOError:
            return heard
