"""What a crash of the whole process leaves: where Python was, written at the signal itself, read at the next start.

Nothing is written while all is well. A power cut, a kill and a clean end leave nothing.
"""

import faulthandler
import logging
from pathlib import Path
from typing import TextIO

log = logging.getLogger(__name__)

NOW, BEFORE = "crash.txt", "crash-before.txt"
_IN_A_MODEL = "models/session.py"
_open: list[TextIO] = []


def watch(folder: Path) -> None:
    """From now on; once a process. A disk that is full or sick is no reason not to start."""
    if _open:
        return
    try:
        put_aside(folder)
        _open.append((folder / NOW).open("w", encoding="utf-8"))
    except OSError as error:
        log.warning("a crash of the gateway would leave no word of where it was: %s", error)
        return
    faulthandler.enable(_open[0], all_threads=False)


def put_aside(folder: Path) -> None:
    """What the process before this one left, or nothing. Raises OSError."""
    left = folder / NOW
    (folder / BEFORE).unlink(missing_ok=True)
    if left.exists() and left.stat().st_size:
        left.replace(folder / BEFORE)
        log.error("the gateway crashed: where it was then stands in %s", folder / BEFORE)


def in_a_model(folder: Path) -> bool:
    """Whether the process before this one crashed while onnxruntime worked."""
    try:
        return _IN_A_MODEL in (folder / BEFORE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
