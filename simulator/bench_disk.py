"""Where to measure: on a disk, never in memory; or, as root, on a disk of one's own.

That is ext4 in a file on a loop device: the kernel counts its writes, and it can be frozen.
"""

import os
import shutil
import subprocess
from pathlib import Path

_TOOLS = ("mkfs.ext4", "mount", "umount", "losetup", "fsfreeze", "sync")
MOUNTED = "noatime,commit=300"  # as docs/install.md has it
_SECTOR_B = 512
PATH_BYTES_MAX = 80  # a Unix socket's path ends at 107, and the gateway's lie folders below this one
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


def why_not() -> str:
    """Why there can be no such disk here; "" when there can."""
    if os.geteuid() != 0:
        return "needs root, for a loop device"
    missing = [tool for tool in _TOOLS if not shutil.which(tool, path=_PATH)]
    if missing:
        return f"needs {', '.join(missing)}"
    return "" if Path("/dev/loop-control").exists() else "needs a kernel with loop devices"


class LoopDisk:
    """with LoopDisk(folder, mib=256) as disk: disk.path is an empty file system. Raises OSError."""

    def __init__(self, folder: Path, mib: int) -> None:
        self.path = folder / "disk"
        self._image = folder / "disk.img"
        self._mib = mib
        self._device = ""
        self._frozen = False

    def __enter__(self) -> "LoopDisk":
        self.path.mkdir(parents=True)
        with self._image.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self._mib << 20)
        try:
            # No lazy set-up: its writes, minutes later, would be counted as ours.
            _call("mkfs.ext4", "-q", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self._image))
            self._device = _call("losetup", "--find", "--show", str(self._image)).strip()
            _call("mount", "-o", MOUNTED, self._device, str(self.path))
        except OSError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()
        if os.path.ismount(self.path):
            _call("umount", str(self.path))
        if self._device:
            _call("losetup", "--detach", self._device)
        self._image.unlink()

    @property
    def written_b(self) -> int:
        """What reached the device since it was made: the file system's journal and metadata included."""
        stat = Path(f"/sys/block/{Path(self._device).name}/stat").read_text().split()
        return int(stat[6]) * _SECTOR_B

    def sync(self) -> None:
        """Everything written so far is on the device."""
        _call("sync", "--file-system", str(self.path))

    def freeze(self) -> None:
        """Every write waits until `thaw`."""
        _call("fsfreeze", "--freeze", str(self.path))
        self._frozen = True

    def thaw(self) -> None:
        if self._frozen:
            self._frozen = False
            _call("fsfreeze", "--unfreeze", str(self.path))


def _call(*command: str) -> str:
    environment = os.environ | {"PATH": _PATH}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def unfit(folder: Path) -> str:
    """Why this folder cannot be measured in; "" when it can."""
    if on_tmpfs(folder):
        return f"{folder}: found tmpfs, expected a disk: what is written there is not stored; name a folder with --dir"
    length = len(os.fsencode(folder.absolute()))
    if length > PATH_BYTES_MAX:
        return (
            f"{folder}: found a path of {length} bytes, expected at most {PATH_BYTES_MAX}, because sockets lie in it; "
            "name a shorter folder with --dir"
        )
    return ""


def on_tmpfs(folder: Path) -> bool:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(len(point), kind) for point, kind in mounts if os.path.commonpath([point, folder.resolve()]) == point]
    return max(holding)[1] in ("tmpfs", "ramfs")
