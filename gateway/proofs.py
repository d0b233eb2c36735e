"""Whether an output did what it was told: a contact that must agree, and water that must stop.

Sans-IO. What nobody knows is never taken as fine: it neither ends what stands nor proves anything.
"""

from collections.abc import Callable
from typing import Literal

from drivers.kinds import LOOP_STATES, is_active
from drivers.reading import Value
from gateway.contract import Json

MARGIN_S = 2.0  # beyond the travel, and for a contact that left by itself
_UNKNOWN = tuple(state for state in LOOP_STATES if state not in ("normal", "alarm"))  # of a loop: cut, short

Latest = Callable[[str], tuple[Value, float] | None]
"""sensor -> (its latest value, when), None while it never spoke."""

Verdict = Json | Literal[False] | None
"""What is wrong; False: all is well; None: nobody can tell yet, so that what was told before goes on."""


class Proof:
    """what: a device's point (told by `see`), or the id of a sensor. travel_s: until the contact must agree.

    The contact is active when the output is energised and has arrived.
    """

    def __init__(self, what: str, travel_s: float, sensor: str | None = None) -> None:
        self.what = what
        self._sensor = sensor
        self._wait_s = travel_s + MARGIN_S
        self._on = False
        self._driven_s: float | None = None  # None: not since the start
        self._proved = False
        self._active: bool | None = None
        self._differs_s: float | None = None

    def stands(self, on: bool, now_s: float) -> None:
        """It was so before the start; nothing moved."""
        self._on, self._driven_s, self._differs_s = on, None, None

    def driven(self, on: bool, now_s: float) -> None:
        self._on, self._driven_s, self._proved, self._differs_s = on, now_s, False, None

    def see(self, active: bool) -> None:
        self._active = active

    @property
    def is_proved(self) -> bool:
        return self._proved

    def tick(self, now_s: float, latest: Latest) -> tuple[float | None, Verdict]:
        """(seconds until the contact agreed, told once a command, else None; the verdict)"""
        if self._sensor and (now := latest(self._sensor)) and now[0] not in _UNKNOWN:
            self._active = is_active(now[0])
        if self._active == self._on:
            took_s = None if self._proved or self._driven_s is None else now_s - self._driven_s
            self._differs_s, self._proved = None, True
            return took_s, False
        if self._active is None and self._driven_s is None:
            return None, None
        if self._differs_s is None:
            self._differs_s = now_s
        since_s = self._differs_s if self._proved or self._driven_s is None else self._driven_s
        if now_s - since_s < (MARGIN_S if self._proved else self._wait_s):
            return None, None
        said = {None: "silent", True: "active", False: "idle"}[self._active]
        value = f"{self.what} is {said}, driven {'on' if self._on else 'off'}"
        return None, {"condition": "left by itself" if self._proved else "not proved", "value": value}


class Remaining:
    """Water that goes on running through a valve that is closed: more than above_m3_s for for_s."""

    def __init__(self, sensor: str, above_m3_s: float, for_s: float) -> None:
        self._sensor = sensor
        self._above_m3_s = above_m3_s
        self._for_s = for_s
        self._since_s: float | None = None

    def tick(self, closed_s: float | None, latest: Latest) -> Verdict:
        """closed_s: since when it must be closed, None while it is open."""
        if closed_s is None:
            self._since_s = None
            return False
        now = latest(self._sensor)
        if now is None or now[1] <= closed_s or not isinstance(now[0], float):
            return None
        if now[0] <= self._above_m3_s:
            self._since_s = None
            return False
        self._since_s = now[1] if self._since_s is None else self._since_s
        if now[1] - self._since_s < self._for_s:
            return None
        return {"condition": "flow remains", "value": now[0]}
