"""Disks and file systems of our own: images, loop devices, FUSE. Needs root; what is mounted here is unmounted here."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from simulator.fuse_door import tool
from simulator.processes import Child, Processes

_TOOL_S = 60.0
_UP_S = 10.0
_AGAIN_S = 0.5


class MountError(Exception):
    """A tool of the system did not do it: which, and what it said."""


def call(name: str, *arguments: str | Path) -> str:
    """What it printed. Raises MountError."""
    command = [tool(name) or name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TOOL_S, check=False)
    if done.returncode:
        raise MountError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def make_ext4(image: Path, size_bytes: int) -> None:
    """A file with a file system in it as on a card (4 KiB blocks), mostly holes. Nothing is left for later."""
    with open(image, "wb") as file:
        file.truncate(size_bytes)
    call("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", image)


@contextmanager
def mounted(image: Path, where: Path, options: str = "") -> Iterator[Path]:
    """The file system in `image`, through a loop device that lives as long. Raises MountError."""
    where.mkdir(exist_ok=True)
    call("mount", "-o", ",".join(filter(None, ("loop,noatime", options))), image, where)
    try:
        yield where
    finally:
        unmount(where)


def unmount(where: Path) -> None:
    """A file that is still open in a process that is just ending is waited for. Raises MountError in the end."""
    for last in (False, False, True):
        try:
            call("umount", where)
            return
        except MountError:
            if last:
                raise
            threading.Event().wait(_AGAIN_S)


@contextmanager
def served(
    processes: Processes, module: str, arguments: list[str], where: Path, mono_s: Callable[[], float]
) -> Iterator[Child]:
    """A FUSE file system served by `python -m MODULE ARGUMENTS WHERE`. Raises Died, MountError."""
    where.mkdir(exist_ok=True)
    child = processes.start(module.rpartition(".")[2], *arguments, str(where), module=module)
    try:
        if not processes.wait_for(lambda: os.path.ismount(where), _UP_S, mono_s):
            raise MountError(f"{where}: found nothing mounted after {_UP_S:.0f} s; {child.tail()}")
        yield child
    finally:
        child.wanted = False
        try:
            call("fusermount3", "-u", "-z", where)
        finally:
            child.stop()
