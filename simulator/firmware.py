"""A node's real firmware as a process on a pseudo-terminal, under MicroPython's unix port where that is there."""

import os
import pty
import shutil
import subprocess
import sys
import tty
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAP = "128k"
MICROPYTHON = "MicroPython"
PWRON_RESET = 1
_END_S = 5.0


def interpreter() -> tuple[str, list[str]]:
    """Its name and the command that runs a file: MicroPython, or this CPython where there is none."""
    beside = Path(sys.executable).with_name("micropython")
    found = str(beside) if beside.exists() else shutil.which("micropython")
    return (MICROPYTHON, [found, "-X", f"heapsize={HEAP}"]) if found else ("CPython", [sys.executable])


class Firmware:
    """One node. flash: its folder, which outlives it. board: a file of drivers/node/boards.

    fd: our end of its UART, non-blocking.
    """

    def __init__(self, flash: Path, board: str = "pico", cause: int = PWRON_RESET) -> None:
        flash.mkdir(parents=True, exist_ok=True)
        self.fd, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(self.fd, False)
        _, command = interpreter()
        run = [str(ROOT / "simulator/node_vm/run.py"), str(ROOT), board, os.ttyname(slave), str(flash), str(cause)]
        self._log = flash / "log"
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [*command, *run], stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        self._slave = slave  # held open: a firmware that has not opened its end yet is not a broken line

    @property
    def closed(self) -> bool:
        return self.fd < 0

    @property
    def code(self) -> int | None:
        """How it ended, None while it runs."""
        return self._process.poll()

    @property
    def rss_kib(self) -> int:
        """0 when it is gone."""
        try:
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def drive(self, line: str) -> None:
        """What its pins see: "adc 26 12000", "pin 6 0", "pulses 2 12.5". A node that ended is told nothing."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # `code` tells

    def read(self) -> bytes:
        """What it has written since; b"" for nothing."""
        try:
            return os.read(self.fd, 65_536)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        """A line that nobody reads loses what no longer fits, as a UART does."""
        try:
            os.write(self.fd, data)
        except OSError:
            pass

    def kill(self) -> None:
        """The power is gone. Safe to call twice."""
        if self.fd < 0:
            return
        self._process.kill()
        self._process.wait(_END_S)
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        os.close(self.fd)
        os.close(self._slave)
        self.fd = -1
