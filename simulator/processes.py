"""Child processes of the demo and of chaos: a log file each, watched while they should run, ended one by one by pid."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
TAIL_LINES = 20
PATIENCE_S = 8.0  # a gateway promises to be gone within 5 s
_LAST_WAIT_S = 5.0  # after SIGKILL only the kernel is waited for
_STEP_S = 0.1
_PATH_BYTES_MAX = 85  # a unix socket's path ends at 107, and ours lie in folders below this one
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Died(Exception):
    """A child ended that was to go on: which, how, and what it said last."""


class Interrupted(Exception):
    """Somebody asked this program to end."""


class WrongPlace(Exception):
    """The folder cannot be used: found, expected, what to do."""


class Child:
    """One program. Its output is appended to `log`, where a restarted one goes on."""

    def __init__(self, name: str, command: list[str], log: Path, more: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        self.wanted = True  # to be running now: its end is a fault
        self._said_before = log.stat().st_size if log.exists() else 0
        own = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TMPDIR": str(log.parent)}
        environment = os.environ | own | (more or {})
        with open(log, "ab") as out:
            # A session of its own: Ctrl-C then reaches us alone, and we end the children in their order.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """How it ended; minus the signal's number when one ended it. None while it runs."""
        return self._process.poll()

    def said(self, words: str) -> bool:
        """Whether its log has these words since this start."""
        with open(self.log, "rb") as log:
            log.seek(self._said_before)
            return words.encode() in log.read()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    def stop(self, patience_s: float = PATIENCE_S) -> int:
        """SIGTERM, and SIGKILL when it takes too long. Returns its code; safe to call twice."""
        return self._end(signal.SIGTERM, patience_s)

    def kill(self) -> int:
        """SIGKILL: the power is gone."""
        return self._end(signal.SIGKILL, _LAST_WAIT_S)

    def _end(self, how: signal.Signals, patience_s: float) -> int:
        self.wanted = False
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(_LAST_WAIT_S)


class Processes:
    """Use with `with`: whatever happens inside, no child is left at its end. From the main thread alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: dict[str, Child] = {}
        self._asked = threading.Event()
        self._handlers: dict[int, Any] = {}

    def start(
        self, name: str, *arguments: str, module: str = "gateway", environment: Mapping[str, str] | None = None
    ) -> Child:
        """`python -m MODULE ARGUMENTS`, by default a linli command. A new child takes the place of one that ended.

        environment: beside our own.
        """
        before = self._children.get(name)
        if before is not None:
            before.stop()
        command = [sys.executable, "-m", module, *arguments]
        self._children[name] = Child(name, command, self._folder / f"{name}.log", environment)
        return self._children[name]

    def watch(self) -> None:
        """Raises Died for a child that should run and does not, Interrupted when a signal has come."""
        if self._asked.is_set():
            raise Interrupted
        for child in self._children.values():
            if child.wanted and child.code is not None:
                child.wanted = False
                raise Died(f"{child.name} {_how(child.code)}; the end of {child.log}:\n{child.tail()}")

    def wait(self, seconds: float) -> None:
        """Raises Died or Interrupted, the latter at once."""
        self._asked.wait(seconds)
        self.watch()

    def wait_for(self, true: Callable[[], bool], seconds: float, mono_s: Callable[[], float]) -> bool:
        """Whether it became true in time. Raises Died, Interrupted."""
        until_s = mono_s() + seconds
        while not (met := true()) and mono_s() < until_s:
            self.wait(_STEP_S)
        return met

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked.set()

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        """The last started first. When somebody waits for our end, or something broke, nobody is asked twice."""
        for child in reversed(self._children.values()):
            child.stop(PATIENCE_S if kind is None else 1.0)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


def _how(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}, expected it to run on"
    return f"ended with exit code {code}, expected it to run on"


@contextmanager
def workplace(keep: Path | None, name: str) -> Iterator[Path]:
    """A folder of one's own: a temporary one that is removed at the end, or `keep`. Raises WrongPlace."""
    if keep is None:
        folder = Path(tempfile.mkdtemp(prefix=f"linli-{name}-"))
        try:
            yield _short_enough(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    folder = _short_enough(keep.absolute())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = any(folder.iterdir())
    except OSError as error:
        raise WrongPlace(f"{folder}: {error.strerror}; expected a folder that can be made; name another") from None
    if used:
        raise WrongPlace(f"{folder}: found files in it; expected a new or empty folder; name another or empty it")
    yield folder


def _short_enough(folder: Path) -> Path:
    if len(os.fsencode(folder)) > _PATH_BYTES_MAX:
        raise WrongPlace(
            f"{folder}: found a path of {len(os.fsencode(folder))} bytes; expected at most {_PATH_BYTES_MAX}, because "
            "sockets lie in it; name a shorter one (--keep), or set TMPDIR to one"
        )
    return folder
