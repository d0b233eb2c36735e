"""What an earlier run kept, as far as this one can take it up: a value of another version, or from a snapshot that
somebody mended by hand, is forgotten alone. Better a start without it than none.
"""

import logging
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from gateway import (
    alarm_life,
    alarm_runs,
    books,
    commands,
    exercise,
    facilities,
    hall_clock,
    modes,
    night_water,
    ratings,
    reactions,
    stands,
    switches,
    tickets,
    visits,
)

log = logging.getLogger(__name__)

_Counts = Annotated[list[int], msgspec.Meta(min_length=6, max_length=6)]
_KINDS: tuple[tuple[str, Any], ...] = (
    ("alarm:", alarm_life.Kept), ("run:", alarm_runs.Run), (reactions.KEEP, reactions.Kept),
    (switches.HAND, switches.Hand), (modes.KEEP, modes.Mode), (modes.BORN, tuple[int, list[str]]),
    (exercise.KEEP, exercise.Kept), (facilities.KEEP, facilities.Head), (facilities.SEEN, facilities.Moment),
    (night_water.KEEP, night_water.Night), (ratings.KEEP, dict[str, _Counts]),
    (hall_clock.KEEP, dict[str, float]), (books.KEEP, visits.Visit), (stands.KEEP, stands.Stand),
    (commands.KEEP, tuple[int, str, str, Any, Any, Any]), (f"{tickets.KEEP}at:", str),
    (tickets.KEEP, list[tickets.Run]),
)  # fmt: skip


def readable(kept: Mapping[str, object]) -> dict[str, object]:
    """Without what cannot be read, which is said in the log."""
    found: dict[str, object] = {}
    for key, value in kept.items():
        kind = next((kind for prefix, kind in _KINDS if key.startswith(prefix)), None)
        try:
            if kind is not None:
                msgspec.convert(value, kind)
            found[key] = value
        except msgspec.ValidationError as error:
            log.error("what was kept as %s cannot be taken up and is forgotten: %s", key, error)
    return found
