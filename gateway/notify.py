"""systemd's notify protocol: ten lines that need no package."""

import os
import socket


def still_starting() -> None:
    """Nobody can pet the watchdog of a start, or of one that begins again: a minute more."""
    notify("EXTEND_TIMEOUT_USEC=60000000\nWATCHDOG=1")


def notify(state: str) -> bool:
    """ "READY=1", "WATCHDOG=1", "STATUS=..."; False when nobody listens (not started by systemd)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(address)
            channel.sendall(state.encode())
    except OSError:
        return False
    return True
