"""Ropes, cords, doors on a pin: edges and levels in, readings out. Opens no pin, asks no clock.

A contact that closes to ground reads low when closed. Normally closed (the safe wiring): closed = healthy, so high =
active, and a cut wire reads as active too; only a supervised loop can tell the two apart.
"""

from collections import deque

from drivers.reading import Reading

CLOSED_LEVEL = False  # pull-up: a closed contact pulls the pin low
UNTOLD_MAX = 100  # readings between two ticks; of a contact that chatters even faster the newest are told


class Contact:
    """point: "gpio:17". wiring: "normally-open" or "normally-closed". on_s, off_s: a level must hold for so long.

    latch: once active it stays so until `reset`. edge, level and reset only take note; `tick` tells what follows,
    as readings with the time at which the level began to hold.
    """

    def __init__(self, point: str, wiring: str, on_s: float = 0.0, off_s: float = 0.0, latch: bool = False) -> None:
        self._point = point
        self._active_level = CLOSED_LEVEL if wiring == "normally-open" else not CLOSED_LEVEL
        self._hold_s = {True: on_s, False: off_s}
        self._latch = latch
        self._settled: bool | None = None
        self._raw: bool | None = None
        self._raw_since_s = 0.0
        self._reread_s: float | None = None
        self._untold: deque[Reading] = deque(maxlen=UNTOLD_MAX)

    @property
    def known(self) -> bool:
        """Whether a level was seen at all."""
        return self._raw is not None

    @property
    def due_s(self) -> float | None:
        """When `tick` has something to settle, None for never."""
        if self._raw is None or self._raw == self._settled or (self._latch and self._settled):
            return None
        if self._settled is None and not self._raw:
            return self._raw_since_s  # idle from the first look on: there was nothing before it to bounce
        return self._raw_since_s + self._hold_s[self._raw]

    def edge(self, level: bool, mono_s: float) -> None:
        """The pin changed at mono_s; bounces restart the hold time."""
        self._settle(mono_s)  # what held until now is judged by the edges' own times, however late they are heard
        active = level == self._active_level
        if active != self._raw:
            self._raw = active
            self._raw_since_s = mono_s

    def level(self, level: bool, mono_s: float) -> None:
        """The level was read again, because an edge can be lost. Told even when nothing changed."""
        self.edge(level, mono_s)
        self._reread_s = mono_s

    def reset(self, mono_s: float) -> None:
        """Somebody on the spot says it is over; without effect while the contact is still active."""
        if self._latch and self._settled and self._raw is False:
            self._settled = False
            self._untold.append(Reading(self._point, False, mono_s, urgent=True))

    def tick(self, mono_s: float) -> list[Reading]:
        """What has settled by now, urgent; and what was read again, not urgent, unless a change is on its way."""
        self._settle(mono_s)
        if self._reread_s is not None:
            if not self._untold and self.due_s is None and self._settled is not None:
                self._untold.append(Reading(self._point, self._settled, self._reread_s))
            self._reread_s = None
        told = list(self._untold)
        self._untold.clear()
        return told

    def _settle(self, now_s: float) -> None:
        due_s = self.due_s
        if due_s is not None and now_s >= due_s and self._raw is not None:
            self._settled = self._raw
            self._untold.append(Reading(self._point, self._raw, self._raw_since_s, urgent=True))
