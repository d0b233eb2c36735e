"""How the box is: numbers of this process and its disk, for the health stream, the page and the doctor."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from gateway.contract import Json

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_S = os.sysconf("SC_CLK_TCK")


def figures(database: Path) -> Json:
    """What the machine knows of this process and of the database's disk."""
    return {"process": process_figures(), "disk": disk_figures(database)}


def process_figures() -> Json:
    """rss_mib, cpu_s (user and system since start), threads, files, written_b (bytes dirtied towards storage)."""
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "rss_mib": round(resident * _PAGE_BYTES / 2**20, 1),
        "cpu_s": (int(stat[11]) + int(stat[12])) / _TICKS_S,
        "threads": int(stat[17]),
        "files": len(os.listdir("/proc/self/fd")),
        "written_b": _written_bytes(),
    }


def _written_bytes() -> int | None:
    """None where the kernel does not tell (a hardened unit, no task accounting)."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def disk_figures(database: Path) -> Json:
    """db_mib with its log, free_mib on its disk."""
    size_b = 0
    for path in database.parent.glob(f"{database.name}*"):
        if "corrupt" not in path.name:
            with suppress(FileNotFoundError):  # SQLite takes its log away when it likes
                size_b += path.stat().st_size
    free = shutil.disk_usage(database.parent).free
    return {"db_mib": round(size_b / 2**20, 2), "free_mib": round(free / 2**20)}
