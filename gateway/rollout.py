"""Which version of a model runs, and how another takes its place: shadow, promotion, rollback. Each step is told.

Sans-IO. A shadow scores the same windows and raises nothing; what both said is counted. A promoted version is on
probation: for PROBATION_MIN the one before it is scored beside it, or the shipped one where that fails. Errors and time
end a version at once, an alarm rate at the end of a block of JUDGED windows. The version that came with the program is
what is left in the end.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.contract import Json
from models.session import ModelError

log = logging.getLogger(__name__)

KEEP = "rollout:"
HIGH = 0.9
"""A score above counts as an alarm where no condition says from where on, as docs and `provision new-site` write it."""
JUDGED = 360
"""Windows of a block: six hours of one sensor."""
HIGH_SHARE_MAX = 0.05
OTHERS_MIN = 4
"""Alarms too much: more than HIGH_SHARE_MAX of a block, and more than so many times what the other said of it."""
PROBATION_MIN = 7 * 1440
SPENT_S_MAX, SPENT_S_A_WINDOW = 0.05, 0.0008
"""CPU time that one run may take: the first, or the second for each window where that is more."""
SLOW_MAX = 3
"""Runs in a row that may take longer."""
KEEP_EVERY_MIN = 60
AFTER_DAYS_MAX = 90.0


class Scorer(Protocol):
    """A model as models.package loads it."""

    @property
    def version(self) -> str: ...

    def score(self, windows: Sequence[Sequence[float]], /) -> list[float]: ...

    def because(self, window: Sequence[float], /) -> list[tuple[str, float]]: ...


class Counts(msgspec.Struct):
    """Since the other one began to be scored beside it: windows called high by both, by one alone; runs left out."""

    minutes: int = 0
    windows: int = 0
    both: int = 0
    only_active: int = 0
    only_other: int = 0
    shed: int = 0


class Kept(msgspec.Struct):
    """active, other: versions, "" for none. on_probation: active is, and other is the one before it; else a shadow.

    promote_min: minutes after which a sound shadow is promoted; 0: only by hand. block: the counts under judgement.
    shipped: the version that came with the program which wrote this.
    """

    active: str
    other: str = ""
    on_probation: bool = False
    promote_min: int = 0
    counts: Counts = msgspec.field(default_factory=Counts)
    block: Counts = msgspec.field(default_factory=Counts)
    shipped: str = ""


class Rollout:
    """A Scorer that is several. shipped: the version that came with the program. open_version: raises ModelError.

    high: a score above it is an alarm at this site. crashed: the process before this one, while a model ran.
    """

    def __init__(
        self, name: str, shipped: str, open_version: Callable[[str], Scorer], kept: Mapping[str, object],
        keep: Callable[[str, object], None], high: float = HIGH, spent_s: Callable[[], float] = time.thread_time,
        *, crashed: bool = False,
    ) -> None:  # fmt: skip
        self.name = name
        self._shipped = shipped
        self._open = open_version
        self._keep = keep
        self._high = high
        self._spent_s = spent_s
        self.decided: list[Json] = []
        self._slow = {"active": 0, "other": 0}
        try:
            self._now = msgspec.convert(kept.get(KEEP + name, {"active": shipped}), Kept)
        except msgspec.ValidationError as error:
            log.error("which version of %s ran is forgotten (%s): %s runs", name, error, shipped)
            self._now = Kept(shipped)
        self._other: Scorer | None = None
        self._active = self._start(crashed)

    def _start(self, crashed: bool) -> Scorer:
        """Raises ModelError: not even the shipped one opens."""
        if self._now.shipped not in ("", self._shipped):
            self._updated(self._now.shipped)
        if crashed:
            self._distrusted()
        if self._now.other:
            try:
                self._other = self._open(self._now.other)
            except ModelError as error:
                self._other_failed(str(error))
        try:
            return self._open(self.version)
        except ModelError as error:
            if self.version == self._shipped:
                raise
            return self._fallen_back(str(error))

    def _distrusted(self) -> None:
        """Nobody knows which version it was, so every one that did not come with the program goes."""
        why = (
            "The gateway itself ended while a model ran. Expected it to outlive any. Report it, with crash-before.txt "
            "of the state folder."
        )
        if self._now.other and not self._now.on_probation:
            self._end_other("withdrawn", why)
        if self.version != self._shipped:
            self._fallen_back(why)

    def _updated(self, before: str) -> None:
        """The program was: what it brings now stands where the version did that it brought before."""
        now = self._now
        active, other = (self._shipped if version == before else version for version in (now.active, now.other))
        self._now = Kept(active, other, now.on_probation, now.promote_min)
        if active == other:
            self._end_other("withdrawn", "The program brings it itself by now")
        self._put()

    @property
    def version(self) -> str:
        return self._now.active

    def standing(self) -> Json:
        """For a person: what runs, what runs beside it and since how long."""
        plain: Json = msgspec.to_builtins(self._now)
        del plain["block"]
        return {"model": self.name, **plain, "shipped": self._shipped}

    # -- scoring -----------------------------------------------------------------------------------------------------

    def score(self, windows: Sequence[Sequence[float]]) -> list[float]:
        """Of the active one. Raises ModelError when that is the shipped one and fails."""
        scores = self._sound(windows)
        if self._other is not None:
            self._beside(self._other, windows, scores)
        return scores

    def because(self, window: Sequence[float]) -> list[tuple[str, float]]:
        return self._active.because(window)

    def _sound(self, windows: Sequence[Sequence[float]]) -> list[float]:
        try:
            scores = self._run("active", self._active, windows)
        except ModelError as error:
            if self.version == self._shipped:
                raise
            self._active = self._fallen_back(str(error))
            return self._sound(windows)
        if self._slow["active"] > SLOW_MAX and self.version != self._shipped:
            self._active = self._fallen_back(_slow(len(windows)))
        return scores

    def _run(self, who: str, model: Scorer, windows: Sequence[Sequence[float]]) -> list[float]:
        began_s = self._spent_s()
        scores = model.score(windows)
        slow = self._spent_s() - began_s > max(SPENT_S_MAX, SPENT_S_A_WINDOW * len(windows))
        self._slow[who] = self._slow[who] + 1 if slow else 0
        bad = [score for score in scores if not 0.0 <= score <= 1.0]
        if bad or len(scores) != len(windows):
            raise ModelError(
                f"The model answered {bad[0] if bad else f'{len(scores)} scores for {len(windows)} windows'}. "
                "Expected one score from 0 to 1 a window. Install the model again."
            )
        return scores

    def _beside(self, other: Scorer, windows: Sequence[Sequence[float]], scores: list[float]) -> None:
        counts = self._now.counts
        counts.minutes += 1
        if self._slow["other"] and counts.minutes % 2:  # every other minute is left out, so that acquisition has time
            counts.shed += 1
            return
        try:
            others = self._run("other", other, windows)
        except ModelError as error:
            self._other_failed(str(error))
            return
        if self._slow["other"] > SLOW_MAX:
            self._other_failed(_slow(len(windows)))
            return
        high = self._high
        for into in (counts, self._now.block):
            into.windows += len(windows)
            for mine, its in zip(scores, others, strict=True):
                into.both += mine > high and its > high
                into.only_active += mine > high >= its
                into.only_other += its > high >= mine
        self._judge()

    def _judge(self) -> None:
        now, block = self._now, self._now.block
        if block.windows >= JUDGED:
            mine, its = block.both + block.only_active, block.both + block.only_other
            new, old = (mine, its) if now.on_probation else (its, mine)
            now.block = Counts()
            if new > HIGH_SHARE_MAX * block.windows and new > OTHERS_MIN * old:
                why = (
                    f"It scored {new} of {block.windows} windows above {self._high:g}, the other version {old}. "
                    f"Expected {HIGH_SHARE_MAX:.0%} at most, or what the other sees, too. See the sensors, or train it "
                    "again."
                )
                if now.on_probation:
                    self._active = self._fallen_back(why)
                else:
                    self._end_other("withdrawn", why)
                return
        if now.on_probation and now.counts.minutes >= PROBATION_MIN:
            self._end_other("confirmed", f"{PROBATION_MIN} minutes without a reason to go back")
        elif not now.on_probation and 0 < now.promote_min <= now.counts.minutes:
            self.promote("rule")
        elif now.counts.minutes % KEEP_EVERY_MIN == 0:
            self._put()

    # -- decisions -----------------------------------------------------------------------------------------------------

    def shadow(self, version: str, after_days: float, by: str) -> None:
        """Let a version run beside the active one. after_days: then promote it by itself; 0: never.

        Raises ValueError: it is active already, cannot be opened, the days are none, or the active one is on probation.
        """
        if version == self.version:
            raise ValueError(f"found {version}, which is active, expected another version; see linli model list")
        if not 0 <= after_days <= AFTER_DAYS_MAX:
            raise ValueError(f"found {after_days} days, expected 0 to {AFTER_DAYS_MAX:.0f}; 0 never promotes by itself")
        try:
            other = self._open(version)
        except ModelError as error:
            raise ValueError(str(error)) from error
        if self._now.on_probation:
            raise ValueError(
                f"found {self.version} on probation, expected it confirmed or rolled back first; see linli model list"
            )
        if self._other is not None:
            self._end_other("withdrawn", "", by)
        self._other = other
        self._slow["other"] = 0
        self._now = Kept(self.version, version, promote_min=math.ceil(after_days * 1440))
        self._tell("shadowed", version, by, "")

    def promote(self, by: str, version: str = "") -> None:
        """The shadow becomes active, on probation beside the one before. version: which one is meant, if not any.

        Raises ValueError: there is no such shadow.
        """
        if self._other is None or self._now.on_probation:
            raise ValueError("found no shadow, expected one; run linli model shadow NAME VERSION first")
        _meant(version, self._now.other, "the shadow there is")
        counts = self._now.counts
        self._active, self._other = self._other, self._active
        self._slow = {"active": 0, "other": 0}
        self._now = Kept(self._now.other, self._now.active, on_probation=True)
        self._tell("promoted", self.version, by, "", counts)

    def rollback(self, by: str, version: str = "") -> None:
        """Back to the version before, or the shipped one; a shadow is withdrawn. version: the one to go, if not any.

        Raises ValueError: nowhere to go, or another one is there.
        """
        if self._other is not None and not self._now.on_probation:
            _meant(version, self._now.other, "the shadow there is")
            self._end_other("withdrawn", "", by)
        elif self.version == self._shipped:
            raise ValueError(f"found {self._shipped}, which came with the program, expected a version of a package")
        else:
            _meant(version, self.version, "which is active")
            self._active = self._fallen_back("", by)

    def _other_failed(self, why: str) -> None:
        """A shadow is withdrawn. Where it was the one before, the shipped one goes on judging the one on probation."""
        now = self._now
        if not now.on_probation or self._shipped in (now.active, now.other):
            self._end_other("withdrawn", why)
            return
        failed, now.other, now.block = now.other, self._shipped, Counts()
        self._other = self._open(self._shipped)
        self._slow["other"] = 0
        self._tell("withdrawn", failed, "rule", why, now.counts)

    def _fallen_back(self, why: str, by: str = "rule") -> Scorer:
        """Raises ModelError: the shipped one cannot be opened either."""
        old, counts = self.version, self._now.counts
        before = self._other if self._now.on_probation else None
        to = self._now.other if before is not None else self._shipped
        self._other = None
        self._slow = {"active": 0, "other": 0}
        self._now = Kept(to)
        self._tell("rolled-back", old, by, why, counts)
        return before if before is not None else self._open(to)

    def _end_other(self, value: str, why: str, by: str = "rule") -> None:
        other, counts = self._now.other, self._now.counts
        version = self.version if value == "confirmed" else other
        self._other = None
        self._now = Kept(self.version)
        self._tell(value, version, by, why, counts)

    def _tell(self, value: str, version: str, by: str, why: str, counts: Counts | None = None) -> None:
        data: Json = {"value": value, "version": version, "active": self.version, "by": by}
        data |= {"why": why} if why else {}
        data |= {"counts": msgspec.to_builtins(counts)} if counts and counts.minutes else {}
        self.decided.append(data)
        log.warning(
            "model %s: %s is %s by %s, %s is active%s", self.name, version, value, by, self.version, why and f": {why}"
        )
        self._put()

    def _put(self) -> None:
        self._now.shipped = self._shipped
        self._keep(KEEP + self.name, msgspec.to_builtins(self._now))


def _meant(version: str, there: str, what: str) -> None:
    """Raises ValueError."""
    if version not in ("", there):
        raise ValueError(f"found {version}, expected {there}, {what}; see linli model list")


def _slow(windows: int) -> str:
    most_ms = max(SPENT_S_MAX, SPENT_S_A_WINDOW * windows) * 1e3
    return (
        f"It took more than {most_ms:.0f} ms of CPU time for {windows} windows, "
        f"{SLOW_MAX + 1} times in a row. Expected less. Train a smaller model."
    )
