"""`at most 1 a month`: the limit of a model's score on one sensor, as high as the sensor's own past asks for.

Sans-IO. Counted are excursions: from the first score above the site file's number to an hour below it, as far as they
last as long as the condition asks for. The limit is
that number, until there have been as many excursions as the rate allows for the time that was scored; from then on
the highest so many of them. So what stands out of this sensor's own past comes through, and what it does each week does
not. Time is scored time: what nobody measured counts for nothing, and no clock matters.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping

import msgspec

from gateway.contract import Json

log = logging.getLogger(__name__)

KEEP = "calibration:"
MONTH_MIN = 30 * 1440.0
MEMORY_MIN = 3 * MONTH_MIN
PEAKS_MAX = 100
"""Of one sensor; the lowest is forgotten first, and it would not be the limit for any rate that is allowed."""
CALM_MIN = 60.0
HIGHEST_SHARE = 0.9
"""The limit is never more than so far from the number to 1: no past silences a model altogether."""
KEEP_EVERY_MIN = 60.0


class Rate(msgspec.Struct, frozen=True):
    """From the site file: the number, how many excursions a month may come through, and how long one lasts at least."""

    number: float
    a_month: float
    for_s: float = 0.0


class Past(msgspec.Struct):
    """Of one sensor and one version of the model.

    peaks: (when it ended, in scored minutes; how high it was) of each excursion.
    peak: of the one under way, 0 for none; calm_min: since it was last above; run_min: since the first of the scores
    above that followed each other, -1 for none; lasted: whether they did for long enough; through: it came through.
    """

    version: str = ""
    scored_min: float = 0.0
    peaks: list[tuple[float, float]] = []
    peak: float = 0.0
    calm_min: float = 0.0
    run_min: float = -1.0
    lasted: bool = False
    through: bool = False


class Calibration:
    """rates: {(model, sensor): Rate}. kept, keep: what must survive a restart."""

    def __init__(
        self, rates: Mapping[tuple[str, str], Rate], kept: Mapping[str, object], keep: Callable[[str, object], None]
    ) -> None:
        self._rates = dict(rates)
        self._keep = keep
        self._past = {pair: _past(kept.get(_key(pair)), _key(pair)) for pair in rates}

    def limit(self, model: str, sensor: str) -> float | None:
        """What a score must be above now; None: the site file's number, always."""
        rate = self._rates.get((model, sensor))
        if rate is None:
            return None
        past = self._past[model, sensor]
        allowed = max(1, math.ceil(rate.a_month * min(past.scored_min, MEMORY_MIN) / MONTH_MIN))
        peaks = sorted((peak for _, peak in past.peaks), reverse=True)
        if len(peaks) < allowed:
            return rate.number
        return min(max(peaks[allowed - 1], rate.number), rate.number + HIGHEST_SHARE * (1.0 - rate.number))

    def forget(self, model: str, sensor: str) -> None:
        """What its scores were says nothing any more about what they will be."""
        pair = (model, sensor)
        if pair in self._past:
            self._past[pair] = Past()
            self._keep(_key(pair), msgspec.to_builtins(self._past[pair]))

    def judged(self, model: str, sensor: str, score: float, row_min: float, version: str = "") -> float:
        """The score, or the site file's number for one that does not come through. row_min: minutes it stands for.

        version: of the model; another one than before has no past, since its scores are others.
        """
        rate = self._rates.get((model, sensor))
        if rate is None:
            return score
        past = self._past[model, sensor]
        if past.version not in ("", version):
            past = self._past[model, sensor] = Past()
        past.version = version
        limit = self.limit(model, sensor)
        assert limit is not None
        hour_ended = past.scored_min // KEEP_EVERY_MIN != (past.scored_min + row_min) // KEEP_EVERY_MIN
        past.scored_min += row_min
        if score > rate.number:
            past.peak, past.calm_min = max(past.peak, score), 0.0
            past.run_min = past.run_min + row_min if past.run_min >= 0.0 else 0.0
            past.lasted = past.lasted or past.run_min * 60 >= rate.for_s
            past.through = past.through or score > limit
        elif past.peak:
            past.calm_min += row_min
            past.run_min = -1.0
            if past.calm_min >= CALM_MIN:
                self._ended(past)
                hour_ended = True
        if hour_ended:
            self._keep(_key((model, sensor)), msgspec.to_builtins(past))
        return score if past.through else min(score, rate.number)

    def _ended(self, past: Past) -> None:
        """The excursion under way is over."""
        past.peaks = [(at, peak) for at, peak in past.peaks if past.scored_min - at < MEMORY_MIN]
        if past.lasted:
            past.peaks.append((past.scored_min, past.peak))
        if len(past.peaks) > PEAKS_MAX:
            past.peaks.remove(min(past.peaks, key=lambda one: one[1]))
        past.peak, past.calm_min, past.run_min = 0.0, 0.0, -1.0
        past.lasted = past.through = False

    def evidence(self, model: str, sensor: str) -> Json:
        limit = self.limit(model, sensor)
        return {} if limit is None else {"limit": round(limit, 4)}


def _key(pair: tuple[str, str]) -> str:
    return f"{KEEP}{pair[0]}:{pair[1]}"


def _past(kept: object, key: str) -> Past:
    if kept is None:
        return Past()
    try:
        return msgspec.convert(kept, Past)
    except msgspec.ValidationError as error:
        log.warning("%s cannot be read (%s): it is learnt anew", key, error)
        return Past()
