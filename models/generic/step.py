"""A detector for any sensor that has no model of its own: how far out is it, compared with the farthest remembered?

One row a sensor every ROW_S, the mean of that time. Nine numbers say how far a row lies out, each on its own side:
against the mean of the last hours (spike), against the same half hour of the days before, as it is and smoothed
(seasonal), smoothed against the last weeks (drift, level shift), and how long it has stood still (stuck). Each is
compared with its own record, which fades: the farthest it has been before. So nothing is set by sensor, unit or scale,
and what is usual for a sensor is what it has done. A plain classical detector, fitted by each sensor's own past as it
runs: no weights, no ONNX.

State is bounded: STATE numbers a sensor. A score depends on rows up to its own and on nothing later.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROW_S = 300
"""Seconds a row stands for. The constants below are in rows."""

WARM_ROWS = 150
"""A sensor has no score before it has this many rows: half a day."""

USUAL_ROWS = 100
"""The mean that a spike stands out of forgets in this time (8 h)."""
SMOOTH_ROWS = 20
"""What is smoothed is smoothed over this (100 min)."""
LONG_ROWS = 5000
"""The mean that drift and a level shift move away from (17 days)."""
PARTS = 48
"""Parts of a day, half an hour each; of each a mean that forgets in PART_ROWS rows of that part."""
PART_ROWS = 5
FADE_ROWS = 20_000
"""A record fades to 37 % in this time (70 days)."""
GROUND = 0.3
"""Share of the usual distance that is added to distance and record: what hardly moves breaks no record by a hair."""
REST_ROWS = 100
"""Something is new when no row in this time lay as far out."""
STUCK_TIMES, STUCK_ROWS = 3, 20
"""Stuck: the same value for 3 times (the longest time before + 20 rows), by a sensor that has moved MOVES times."""
MOVES = 30
STUCK = 1.0
"""As far out as e times the record."""
STEEP = 3.0
"""score = r**3 / (r**3 + 1), r: how many times the record. 0.5: as far as ever. 0.9: 2.1 times as far."""

THRESHOLD = 0.575
"""Where NAB's costs are balanced best, on the files of card.md. For people it is too low; the card says why."""
VALUE_MAX = 1e100
"""No sensor says more; what does is taken for a row that nobody measured."""

FEATURES = (
    "above_usual", "below_usual", "above_half_hour", "below_half_hour", "long_above_half_hours",
    "long_below_half_hours", "above_weeks", "below_weeks", "stuck",
)  # fmt: skip
"""What the nine numbers say, in their order."""

_SMOOTHED, _STUCK = 4, 8  # from which feature on it is the smoothed value that lies out; the one without a side
_COLUMNS = ("value", "usual", "weeks", "smooth", "apart", "spread", "still", "longest", "moves", "rows",
            "standing", "turn", "feature", "age")  # fmt: skip
_RECORDS = len(_COLUMNS)
_PROFILE = _RECORDS + len(FEATURES) - 1
_VISITS = _PROFILE + PARTS
_RECENT = _VISITS + PARTS
STATE = _RECENT + REST_ROWS


class Scores(NamedTuple):
    """Of one row of each sensor, (n,) each. NaN: no row, or not warm yet.

    standing: 0 to 1; from a new extreme on it stays until the value has come half the way back, for REST_ROWS at most.
    novel: the score when it is higher than in the REST_ROWS before, else 0: once for each thing that happens.
    feature: index into FEATURES, what lay farthest out. times: how many times its record.
    """

    standing: NDArray[np.float64]
    novel: NDArray[np.float64]
    feature: NDArray[np.intp]
    times: NDArray[np.float64]


class Channels:
    """Some sensors, stepped together. count: how many; they are told apart by their index."""

    def __init__(self, count: int) -> None:
        self._state = np.zeros((STATE, count))
        self._state[_RECENT:] = -np.inf

    def step(self, values: ArrayLike, day: ArrayLike) -> Scores:
        """The next row of each sensor.

        values: float (n,), any unit; NaN, infinite or above VALUE_MAX: nobody measured, nothing is learnt.
        day: share of the day that is over, 0 to below 1, one for all or (n,); of any clock that keeps the day's length.
        """
        value = np.asarray(values, np.float64)
        count = self._state.shape[1]
        if value.shape != (count,):
            raise ValueError(f"values of shape {value.shape}; expected ({count},), one for each sensor")
        part = (np.broadcast_to(np.asarray(day, np.float64), (count,)) * PARTS).astype(np.intp) % PARTS
        known = np.abs(value) <= VALUE_MAX  # which no NaN is
        if known.all():
            return Scores(*_step(self._state, value, part))
        of_known = self._state[:, known]
        stepped = _step(of_known, value[known], part[known])
        self._state[:, known] = of_known
        found = Scores(np.full(count, np.nan), np.full(count, np.nan), np.zeros(count, np.intp), np.full(count, np.nan))
        for into, of in zip(found, stepped, strict=True):
            into[known] = of
        return found

    def state(self, sensor: int) -> list[float | None]:
        """All that is remembered of one sensor, as JSON can hold it: STATE numbers; None stands for "never"."""
        return [number if np.isfinite(number) else None for number in self._state[:, sensor].tolist()]

    def restore(self, sensor: int, kept: list[Any]) -> None:
        """Take what state() gave. Raises ValueError for anything else, and leaves the sensor as it was."""
        try:
            column = np.array([-np.inf if number is None else float(number) for number in kept])
        except (TypeError, ValueError) as error:
            raise ValueError(f"kept state cannot be read: {error}; expected {STATE} numbers") from error
        if column.shape != (STATE,):
            raise ValueError(f"kept state of {len(column)} numbers; expected {STATE}: it is of another version")
        if not np.isfinite(column[:_RECENT]).all():
            raise ValueError(f"kept state has {column[~np.isfinite(column)][0]} where a number belongs")
        self._state[:, sensor] = column


def _step(state: NDArray[np.float64], value: NDArray[np.float64], part: NDArray[np.intp]) -> tuple[Any, ...]:
    """One row for every column of state, in place: (standing, novel, feature, times)."""
    at = dict(zip(_COLUMNS, state, strict=False))  # views: what is written to them is kept
    first = at["rows"] == 0
    for name in ("value", "usual", "weeks", "smooth"):
        at[name][first] = value[first]
    at["rows"] += 1
    far, ground = _distances(state, at, value, part)
    times = _against_records(state, far, ground)
    times = np.vstack((times, _stood_still(at, value)))
    far = np.vstack((far, at["still"]))
    score = 1.0 / (1.0 + times**-STEEP)
    feature = times.argmax(axis=0)
    column = np.arange(len(value))
    warm = at["rows"] > WARM_ROWS
    highest = np.where(warm, score[feature, column], -np.inf)
    recent = state[_RECENT:]
    new = warm & (highest > recent.max(axis=0))
    recent[at["rows"].astype(np.intp) % REST_ROWS, column] = highest
    _hold(at, far, new, highest, feature)
    standing = np.where(warm, np.maximum(at["standing"], highest), np.nan)
    return standing, np.where(warm, np.where(new, highest, 0.0), np.nan), feature, times[feature, column]


def _distances(
    state: NDArray[np.float64], at: dict[str, NDArray[np.float64]], value: NDArray[np.float64], part: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far out the row lies, (8, n) in the sensor's unit, 0 on the other side; and the ground to add, (n,)."""
    column = np.arange(len(value))
    by_age = 1.0 / at["rows"]  # a young mean is the plain mean of all so far
    out = value - at["usual"]
    at["spread"] += (np.abs(out) - at["spread"]) * np.maximum(by_age, 1.0 / USUAL_ROWS)
    ground = GROUND * at["spread"] + 1e-9 * np.abs(at["usual"]) + 1e-300  # above what rounding makes of a constant
    at["usual"] += out * np.maximum(by_age, 1.0 / USUAL_ROWS)

    visits = state[_VISITS + part, column]
    gap = value - state[_PROFILE + part, column]
    state[_PROFILE + part, column] += gap * np.maximum(1.0 / (visits + 1.0), 1.0 / PART_ROWS)
    state[_VISITS + part, column] = np.minimum(visits + 1.0, PART_ROWS)
    gap[visits == 0] = 0.0
    at["apart"] += (gap - at["apart"]) / SMOOTH_ROWS

    at["smooth"] += (value - at["smooth"]) / SMOOTH_ROWS
    away = at["smooth"] - at["weeks"]
    at["weeks"] += (value - at["weeks"]) * np.maximum(by_age, 1.0 / LONG_ROWS)

    signed = np.stack((out, -out, gap, -gap, at["apart"], -at["apart"], away, -away))
    return np.maximum(signed, 0.0), ground


def _against_records(
    state: NDArray[np.float64], far: NDArray[np.float64], ground: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How many times its record each distance is, (8, n); the records then take it in, or fade."""
    records = state[_RECORDS:_PROFILE]
    times = (far + ground) / (records + ground)
    np.maximum(far, records * np.exp(-1.0 / FADE_ROWS), out=records)
    return times


def _stood_still(at: dict[str, NDArray[np.float64]], value: NDArray[np.float64]) -> NDArray[np.float64]:
    """e where a sensor has just become stuck, else next to nothing, (n,). Counts in `at` how long it stands still."""
    moved = value != at["value"]
    np.copyto(at["longest"], np.maximum(at["longest"], at["still"]), where=moved)
    at["moves"] += moved
    at["still"] += 1.0
    at["still"][moved] = 0.0
    at["value"][:] = value
    stuck = (at["still"] >= STUCK_TIMES * (at["longest"] + STUCK_ROWS)) & (at["moves"] >= MOVES)
    np.copyto(at["longest"], at["still"], where=stuck)
    return np.where(stuck, np.exp(STUCK), 1e-3)


def _hold(
    at: dict[str, NDArray[np.float64]],
    far: NDArray[np.float64],
    new: NDArray[np.bool_],
    highest: NDArray[np.float64],
    feature: NDArray[np.intp],
) -> None:
    """Let a new extreme stand until the value has come back by half of how far it was out; stuck, until it moves."""
    column = np.arange(len(feature))
    side = 1.0 - 2.0 * (feature % 2)
    where = np.where(feature < _SMOOTHED, at["value"], at["smooth"])
    stood = at["feature"]
    back = np.where(stood < _SMOOTHED, at["value"], at["smooth"]) - at["turn"]
    stands = ((1.0 - 2.0 * (stood % 2)) * back >= 0.0) & (at["age"] < REST_ROWS)
    stands = np.where(stood == _STUCK, at["still"] > 0, stands)
    at["age"] += 1.0
    at["standing"] *= stands
    begins = new & (highest >= at["standing"])
    turn = where - side * far[feature, column] / 2.0
    for name, now in (("standing", highest), ("turn", turn), ("feature", feature), ("age", 0.0)):
        np.copyto(at[name], now, where=begins)
