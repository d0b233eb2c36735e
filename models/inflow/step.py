"""The leak detector for totals: hourly or half-hourly mean flows, leaks that show within hours to days.

Two channels side by side: `profile` for flows that never rest, `floor` for those that do; each stays silent where it
does not apply. Causal: what step() answers depends on what it was given so far and on nothing else. Plain numpy and no
trained weights: the constants are in constants.toml, all else is learnt from the sensor's own first weeks.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.inflow.floor import Floor, FloorConstants
from models.inflow.profile import Profile, ProfileConstants

Flags = NDArray[np.bool_]

STEPS_PER_DAY = (24, 48, 96)


class Constants(NamedTuple):
    version: str
    profile: ProfileConstants
    floor: FloorConstants


def constants(path: Path = Path(__file__).parent / "constants.toml") -> Constants:
    """The shipped constants. Raises TypeError when the file lacks one or has one too many."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    return Constants(found["version"], ProfileConstants(**found["profile"]), FloorConstants(**found["floor"]))


class Evidence(NamedTuple):
    """Why: `channel` floor or profile; what was `found` and from what on it is a leak (`limit`), in flow units for the
    floor, in scatters for the profile; `flow`: how much is thought to leak, in flow units.
    """

    channel: str
    found: float
    limit: float
    flow: float


class Inflow:
    """n flow sensors, looked at together once a step.

    sensors: their names. steps_per_day: 24, 48 or 96. Any unit of flow; missing is NaN.
    Raises ValueError for another step: the channels count in hours.
    """

    def __init__(self, sensors: Sequence[str], steps_per_day: int, given: Constants | None = None) -> None:
        if steps_per_day not in STEPS_PER_DAY:
            raise ValueError(
                f"{steps_per_day} steps a day; expected one of {STEPS_PER_DAY}. Sum up or average to whole half hours."
            )
        self.sensors = list(sensors)
        self._day = steps_per_day
        given = given or constants()
        self._profile = Profile(len(sensors), steps_per_day, given.profile)
        self._floor = Floor(len(sensors), steps_per_day, given.floor)

    def step(self, flow: ArrayLike) -> Flags:
        """Take the mean flow of the step that has just ended, one a sensor; which of them leak now, (n,) bool.

        Below zero counts as zero: water that runs back is no leak. Infinite counts as missing.
        """
        now = np.asarray(flow, np.float64)
        now = np.where(np.isfinite(now), np.maximum(now, 0.0), np.nan)
        return self._profile.step(now) | self._floor.step(now)

    def scores(self) -> NDArray[np.float64]:
        """(n,) 0 to 1: above 0.5 exactly while a leak runs, by how far the nearer limit is exceeded or missed."""
        far = np.fmax(self._profile.z / self._profile.limit(), self._floor.floor / self._floor.limit)
        leak = self._profile.leak | self._floor.leak
        half = np.nan_to_num(far) / 2
        return np.asarray(np.clip(half, np.where(leak, 0.51, 0.0), np.where(leak, 1.0, 0.5)))

    def evidence(self, sensor: str) -> list[Evidence]:
        """What each channel that sees a leak at the sensor has found. Empty: no leak."""
        at = self.sensors.index(sensor)
        found = []
        floor, profile = self._floor, self._profile
        if floor.leak[at]:
            level, limit = float(floor.floor[at]), float(floor.limit[at])
            found.append(Evidence("floor", level, limit, level - float(floor.usual[at])))
        if profile.leak[at]:
            z, limit = float(profile.z[at]), float(profile.limit()[at])
            found.append(Evidence("profile", z, limit, float(profile.beyond[at])))
        return found

    def state(self) -> dict[str, Any]:
        """All that was learnt, JSON-able, None for NaN: about 6 KB a sensor by hours, 11 KB by half hours."""
        return {
            "sensors": self.sensors,
            "steps_per_day": self._day,
            **{name: _plain(vars(part)) for name, part in self._parts().items()},
        }

    def restore(self, state: Mapping[str, Any]) -> bool:
        """Go on from state(); sensors that are new start anew, others that are gone are left out.

        False, and all start anew, for a state of other steps or another form. For the time between the state and now
        call step() with NaN, once a step.
        """
        fresh = Inflow(self.sensors, self._day)
        try:
            if state["steps_per_day"] != self._day:
                return False
            pairs = [(i, state["sensors"].index(s)) for i, s in enumerate(self.sensors) if s in state["sensors"]]
            for name, part in fresh._parts().items():
                _fill(vars(part), state[name], pairs)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            return False
        self._profile, self._floor = fresh._profile, fresh._floor
        return True

    def _parts(self) -> dict[str, Profile | Floor]:
        return {"profile": self._profile, "floor": self._floor}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {"_steps": values["_steps"]}
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            numbers = value.astype(float)
            plain[name] = np.where(np.isnan(numbers), np.array(None), numbers).tolist()
    return plain


def _fill(into: dict[str, Any], kept: Mapping[str, Any], pairs: list[tuple[int, int]]) -> None:
    """Columns of the kept arrays into the fresh ones, by pairs of (new, old) column. Raises ValueError: other form."""
    for name, fresh in into.items():
        if not isinstance(fresh, np.ndarray):
            continue
        old = np.array(kept[name], float)
        if old.shape[:-1] != fresh.shape[:-1]:
            raise ValueError(f"{name} has {old.shape} numbers; expected {fresh.shape}")
        for new_at, old_at in pairs:
            fresh[..., new_at] = old[..., old_at]
    into["_steps"] = int(kept["_steps"])
