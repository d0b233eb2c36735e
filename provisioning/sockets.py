"""The serial sockets of this machine and what is plugged into them, as the kernel tells it in /sys."""

import re
from pathlib import Path
from typing import NamedTuple

_INTERFACE = re.compile(r"/usb(\d+)/(?:[^/]+/)*?(\d+)-([\d.]+)/\2-\3:(\d+\.\d+)/")
_SOCKETS_MAX = 64


class Socket(NamedTuple):
    """port: as a site file names it. tty: its device now. plugged: maker and product, "" for a port of the board."""

    port: str
    tty: str
    plugged: str


def sockets(sys: Path = Path("/sys"), by_path: Path = Path("/dev/serial/by-path")) -> list[Socket]:
    """Every serial port that has hardware behind it, sorted by port; the first 64."""
    found = [_socket(tty, by_path) for tty in (sys / "class/tty").glob("tty*") if _is_real(tty)]
    return sorted(found)[:_SOCKETS_MAX]


def _is_real(tty: Path) -> bool:
    """A console has no device; a UART that the kernel only looked for has type 0."""
    return (tty / "device").exists() and _read(tty / "type") != "0"


def _socket(tty: Path, by_path: Path) -> Socket:
    device = (tty / "device").resolve()
    match = _INTERFACE.search(f"{device}/")
    if match is None:
        return Socket(f"/dev/{tty.name}", tty.name, "")
    bus, _, socket, interface = match.groups()
    unit = next(folder for folder in (device, *device.parents) if (folder / "busnum").exists() or folder == Path("/"))
    plugged = f"{_read(unit / 'manufacturer')} {_read(unit / 'product')}".strip() or f"USB {_read(unit / 'idVendor')}"
    if interface != "1.0":  # the second line of an adapter with several: a site file names it by its path
        paths = sorted(path for path in by_path.glob("*") if path.resolve().name == tty.name)
        return Socket(str(paths[0] if paths else f"/dev/{tty.name}"), tty.name, plugged)
    return Socket(f"usb:{bus}-{socket}", tty.name, plugged)


def _read(path: Path) -> str:
    """One line of /sys, "" when it is not there. What a device says of itself may be anything."""
    try:
        return re.sub(r"[^\x20-\x7e]", "?", path.read_text(errors="replace").strip())[:60]
    except OSError:
        return ""
