"""Ropes, cords, doors on a pin: edges and levels in, readings out. Opens no pin, asks no clock.

A contact that closes to ground reads low when closed. Normally closed (the safe wiring): closed = healthy, so high =
active, and a cut wire reads as active too; only a supervised loop can tell the two apart.
"""

from drivers.reading import Reading

CLOSED_LEVEL = False  # pull-up: a closed contact pulls the pin low


class Contact:
    """point: "gpio:17". wiring: "normally-open" or "normally-closed". on_s, off_s: a level must hold for so long.

    known: whether a level was seen at all. due_s: when `tick` has something to settle, None for never.
    """

    def __init__(self, point: str, wiring: str, on_s: float = 0.0, off_s: float = 0.0) -> None:
        self._point = point
        self._active_level = CLOSED_LEVEL if wiring == "normally-open" else not CLOSED_LEVEL
        self._hold_s = {True: on_s, False: off_s}
        self._settled: bool | None = None
        self._raw: bool | None = None
        self._raw_since_s = 0.0
        self._again = False

    @property
    def known(self) -> bool:
        return self._raw is not None

    @property
    def due_s(self) -> float | None:
        if self._raw is None or self._raw == self._settled:
            return None
        return self._raw_since_s + self._hold_s[self._raw]

    def edge(self, level: bool, mono_s: float) -> None:
        """The pin changed; bounces restart the hold time."""
        active = level == self._active_level
        if active != self._raw:
            self._raw = active
            self._raw_since_s = mono_s

    def level(self, level: bool, mono_s: float) -> None:
        """The level was read again, because an edge can be lost. Told even when nothing changed."""
        self.edge(level, mono_s)
        self._again = self._raw == self._settled

    def tick(self, mono_s: float) -> list[Reading]:
        """What has settled by now. The first level is settled at once: there was nothing before it to bounce."""
        if self._raw is None:
            return []
        if self._settled is None or (self.due_s is not None and mono_s >= self.due_s):
            self._settled = self._raw
            self._again = False
            return [Reading(self._point, self._settled, self._raw_since_s, urgent=True)]
        if self._again:
            self._again = False
            return [Reading(self._point, self._settled, mono_s)]
        return []
