"""What a model's alarms were worth, for training elsewhere: the hour before each, labelled by what people did.

"acknowledged": somebody took it for what it said. "rejected": somebody shelved it, which is how a nuisance is put away.
Nothing personal leaves the box: no name of a sensor, a place or a person, no date and no time of day; only numbers.
"""

from collections.abc import Iterator
from pathlib import Path

from gateway.alarm_journal import Step, steps
from gateway.conditions import ConditionError, parse
from gateway.contract import Json
from gateway.reader import Reader
from models.features import WINDOW_MIN

LABELS = {"acknowledged": "acknowledged", "shelved": "rejected"}
"""A later step wins over an earlier one of the same occurrence."""


def labelled(state: Path) -> Iterator[Json]:
    """{"model", "version", "label", "score", "m3_s"} of each alarm that is still in the database, oldest first.

    state: the database. m3_s: WINDOW_MIN one-minute means up to when the alarm came, None where nobody measured; in the
    sensor's unit. Left out: alarms of a test, of which nobody said anything, of which no minute is left.
    Raises sqlite3.Error, ValueError for a database that is not sound.
    """
    reader = Reader(state)
    try:
        for came, label in _judged(reader):
            cause = came.data["cause"]
            assert isinstance(cause, dict)
            try:
                sensor = parse(str(cause["condition"])).sensor
            except ConditionError:  # of a version that spoke otherwise
                continue
            window = reader.means(sensor, came.boot, came.mono_s, WINDOW_MIN)
            if any(minute is not None for minute in window):
                yield {
                    "model": cause["model"], "version": cause.get("version", ""), "label": label,
                    "score": cause["value"], "m3_s": window,
                }  # fmt: skip
    finally:
        reader.close()


def _judged(reader: Reader) -> list[tuple[Step, str]]:
    """Comings of alarms that a model raised, with their label, oldest first."""
    open_now: dict[str, int] = {}
    found: list[tuple[Step, str]] = []
    for step in steps(reader):
        name, what, cause = str(step.data["alarm_id"]), step.data["what"], step.data.get("cause")
        if what == "came":
            open_now.pop(name, None)
            if isinstance(cause, dict) and "model" in cause and not step.data.get("test"):
                open_now[name] = len(found)
                found.append((step, ""))
        elif what in LABELS and name in open_now:
            at = open_now[name]
            found[at] = (found[at][0], LABELS[str(what)])
    return [(came, label) for came, label in found if label]
