"""What an installation consists of: steps that say whether they are done, and do what is missing. Again changes none.

Paths are those of the machine that is to be, "/etc/linli"; `Machine.at` puts them under the root folder worked on.
"""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

RUN_MAX_S = 1800
USER = "linli"
SAME, NEW, CHANGED = "same", "new", "changed"


class InstallError(Exception):
    """It cannot go on. The message has found, expected and do."""


Run = Callable[[Sequence[str]], None]
"""Runs a command to its end. Raises InstallError."""


def run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=RUN_MAX_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{command[0]}: found {error}, expected it to run; see that it is installed") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1500:] or "nothing"
        raise InstallError(f"{' '.join(command[:4])}: found exit code {done.returncode}, expected 0; it said: {said}")


class Machine:
    """The machine worked on. root: its root folder, "/" for this one. live: its systemd runs, so it can be told."""

    def __init__(self, root: Path, run: Run = run, live: bool | None = None) -> None:
        self.root = root.resolve()
        self.run = run
        self.live = self.root == Path("/") and Path("/run/systemd/system").is_dir() if live is None else live

    def at(self, path: str) -> Path:
        """Where `path` is now. Raises InstallError for one that a link leads out of the root folder."""
        here = self.root / path.lstrip("/")
        if not here.parent.resolve().is_relative_to(self.root):
            raise InstallError(f"{here}: found a link that leads out of {self.root}, expected a root folder; see it")
        return here

    def ids(self, owner: str, group: str) -> tuple[int, int] | None:
        """(uid, gid) by that machine's own lists, None when it does not know them yet."""
        uid, gid = self._number("/etc/passwd", owner), self._number("/etc/group", group)
        return None if uid is None or gid is None else (uid, gid)

    def members(self, group: str) -> set[str]:
        return {name for line in self._lines("/etc/group") if line[0] == group for name in line[3].split(",")}

    def _number(self, path: str, name: str) -> int | None:
        if name == "root":
            return 0
        return next((int(line[2]) for line in self._lines(path) if line[0] == name), None)

    def _lines(self, path: str) -> list[list[str]]:
        try:
            lines = [line.split(":") for line in self.at(path).read_text(errors="replace").splitlines()]
        except FileNotFoundError:
            return []
        return [line for line in lines if len(line) > 3]


class Step(Protocol):
    @property
    def path(self) -> str:
        """What it makes."""

    def state(self, machine: Machine) -> str:
        """SAME, NEW or CHANGED: what doing it would do."""

    def do(self, machine: Machine) -> None: ...


class File(NamedTuple):
    """A file with this content, owner and mode."""

    path: str
    content: bytes
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"

    def state(self, machine: Machine) -> str:
        here = machine.at(self.path)
        if not here.is_file() or here.is_symlink():
            return CHANGED if here.is_symlink() else NEW
        same = here.read_bytes() == self.content and _is_owned(machine, here, self)
        return SAME if same else CHANGED

    def do(self, machine: Machine) -> None:
        """In whole or not at all, and on the disk when it returns."""
        here = machine.at(self.path)
        here.parent.mkdir(parents=True, exist_ok=True)
        new = here.with_name(f".{here.name}.new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as stream:
            stream.write(self.content)
            _own(machine, new, self)
            stream.flush()
            os.fsync(descriptor)
        new.replace(here)


class Folder(NamedTuple):
    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"

    def state(self, machine: Machine) -> str:
        here = machine.at(self.path)
        if here.is_symlink():
            raise InstallError(
                f"{here}: found a link, expected a folder or nothing; see where it leads, and move that here"
            )
        if not here.is_dir():
            return NEW
        return SAME if _is_owned(machine, here, self) else CHANGED

    def do(self, machine: Machine) -> None:
        here = machine.at(self.path)
        here.mkdir(parents=True, exist_ok=True, mode=self.mode)
        _own(machine, here, self)


class Private(NamedTuple):
    """A file that somebody else makes: when it is there, it belongs to the service alone."""

    path: str
    mode: int = 0o600
    owner: str = USER
    group: str = USER

    def state(self, machine: Machine) -> str:
        here = machine.at(self.path)
        return SAME if not here.is_file() or here.is_symlink() or _is_owned(machine, here, self) else CHANGED

    def do(self, machine: Machine) -> None:
        _own(machine, machine.at(self.path), self)


class Symlink(NamedTuple):
    path: str
    target: str

    def state(self, machine: Machine) -> str:
        here = machine.at(self.path)
        if not here.is_symlink():
            return CHANGED if here.exists() else NEW
        return SAME if os.readlink(here) == self.target else CHANGED

    def do(self, machine: Machine) -> None:
        here = machine.at(self.path)
        here.parent.mkdir(parents=True, exist_ok=True)
        new = here.with_name(f".{here.name}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(self.target)
        new.replace(here)


class Gone(NamedTuple):
    """A file or link of an earlier installation that is not wanted any more."""

    path: str

    def state(self, machine: Machine) -> str:
        here = machine.at(self.path)
        return CHANGED if here.is_symlink() or here.exists() else SAME

    def do(self, machine: Machine) -> None:
        take_away(machine, self.path)


class User(NamedTuple):
    """The service's user and its groups, as `file`, for systemd-sysusers, says."""

    file: str
    groups: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"/etc/passwd: {USER}"

    def state(self, machine: Machine) -> str:
        if machine.ids(USER, USER) is None:
            return NEW
        return SAME if all(USER in machine.members(group) for group in self.groups) else CHANGED

    def do(self, machine: Machine) -> None:
        machine.run(["systemd-sysusers", f"--root={machine.root}", str(machine.at(self.file))])


class Enabled(NamedTuple):
    """The unit starts with the machine."""

    unit: str

    @property
    def path(self) -> str:
        return f"/etc/systemd/system/multi-user.target.wants/{self.unit}"

    def state(self, machine: Machine) -> str:
        return SAME if machine.at(self.path).is_symlink() else NEW

    def do(self, machine: Machine) -> None:
        machine.run(["systemctl", f"--root={machine.root}", "enable", self.unit])


def take_away(machine: Machine, path: str) -> bool:
    """Delete a file, link or whole folder; whether there was one."""
    here = machine.at(path)
    if here.is_dir() and not here.is_symlink():
        shutil.rmtree(here)
        return True
    if here.is_symlink() or here.exists():
        here.unlink()
        return True
    return False


def _is_owned(machine: Machine, here: Path, wanted: File | Folder | Private) -> bool:
    found = here.stat()
    return stat.S_IMODE(found.st_mode) == wanted.mode and (found.st_uid, found.st_gid) == machine.ids(
        wanted.owner, wanted.group
    )


def _own(machine: Machine, here: Path, wanted: File | Folder | Private) -> None:
    ids = machine.ids(wanted.owner, wanted.group)
    if ids is None:
        raise InstallError(f"{here}: found no user {wanted.owner} on that machine, expected one; see systemd-sysusers")
    os.chown(here, *ids)
    here.chmod(wanted.mode)
