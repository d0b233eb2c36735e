"""A file system of our own, served in the foreground: the only file that imports mfusepy.

What to serve is an object with the methods of mfusepy.Operations that it needs; each answers, or raises OSError with
the number that the kernel shall hand on. One request at a time, in the order the kernel sends them.
"""

import importlib.util
import os
import shutil
from pathlib import Path

DEVICE = Path("/dev/fuse")
TOOLS = ("mkfs.ext4", "losetup", "mount", "umount", "fusermount3")
_SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # a user's PATH often leaves these out


def tool(name: str) -> str | None:
    """Where one of TOOLS is."""
    return shutil.which(name, path=_SEARCHED)


def what_is_missing() -> str | None:
    """Why this machine cannot mount a file system of ours: found, expected, what to do. None when it can."""
    if os.geteuid() != 0:
        return "found an ordinary user; expected root, who alone may mount; use sudo or a machine of your own"
    if not DEVICE.exists():
        return f"found no {DEVICE}; expected a kernel with FUSE; load the module fuse, or give the container the device"
    if absent := [name for name in TOOLS if tool(name) is None]:
        advice = "install Debian's packages e2fsprogs, mount and fuse3"
        return f"found no {', '.join(absent)}; expected all of {', '.join(TOOLS)}; {advice}"
    if importlib.util.find_spec("mfusepy") is None:
        return "found no mfusepy; expected the development extra; use ./dev linli, which brings it along"
    return None


def serve(files: object, where: Path) -> None:
    """Until somebody unmounts it. Raises RuntimeError when it cannot be mounted."""
    import mfusepy

    mfusepy.FUSE(files, str(where), foreground=True, nothreads=True, use_ino=False)
