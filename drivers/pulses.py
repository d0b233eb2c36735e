"""A meter that closes a contact for each so many litres: edges in, litres and flow out. Opens no pin, asks no clock.

Reed contacts bounce for milliseconds and close for tens of them; what holds shorter than the debounce is no pulse.
Meant for some ten pulses a second at most: a faster meter belongs on a node, which counts by itself.
"""

from drivers.contacts import Contact
from drivers.reading import Reading

TOLD_EVERY_S = 1.0
STILL_INTERVALS, STILL_MAX_S = 10.0, 300.0  # without a pulse for so long: the water stands
_M3_PER_LITRE = 1e-3


class PulseMeter:
    """name: of its table in the site file; its points are NAME:flow (m3/s) and NAME:total (m3).

    litres: of one pulse. debounce_s: a level must hold so long. start_m3: what the meter showed at pulse 0.
    count: pulses so far, kept by the caller across restarts.
    """

    def __init__(
        self, name: str, litres: float, debounce_s: float = 0.02, start_m3: float = 0.0, count: int = 0
    ) -> None:
        self.name = name
        self.count = count
        self._litres = litres
        self._start_m3 = start_m3
        self._contact = Contact(name, "normally-open", on_s=debounce_s, off_s=debounce_s)
        self._began = False
        self._last_s: float | None = None
        self._interval_s: float | None = None
        self._told_s = -TOLD_EVERY_S
        self._told: tuple[float, float] | None = None

    @property
    def known(self) -> bool:
        """Whether a level was seen at all."""
        return self._contact.known

    @property
    def due_s(self) -> float | None:
        """When a level has held long enough, None for never."""
        return self._contact.due_s

    def edge(self, level: bool, mono_s: float) -> None:
        """The pin changed at mono_s."""
        self._contact.edge(level, mono_s)

    def level(self, level: bool, mono_s: float) -> None:
        """The level was read again, because an edge can be lost."""
        self._contact.edge(level, mono_s)

    @property
    def total_m3(self) -> float:
        return self._start_m3 + self.count * self._litres * _M3_PER_LITRE

    def flow_m3s(self, now_s: float) -> float:
        """By the last interval, and less as soon as the next pulse is later than that; 0 while the water stands."""
        if self._last_s is None or self._interval_s is None:
            return 0.0
        since_s = now_s - self._last_s
        if since_s > min(STILL_INTERVALS * self._interval_s, STILL_MAX_S):
            return 0.0
        return self._litres * _M3_PER_LITRE / max(self._interval_s, since_s)

    def tick(self, now_s: float) -> list[Reading]:
        """Both points, at most once a second: at the first look, after a pulse, and when a flow without one halved."""
        for settled in self._contact.tick(now_s):
            if settled.value is True and self._began:
                self._pulse(settled.mono_s)
            self._began = True  # closed when we first looked: that pulse was counted, or is nobody's
        if not self._began or now_s - self._told_s < TOLD_EVERY_S:
            return []
        values = (self.flow_m3s(now_s), self.total_m3)
        if self._told and not self._worth_telling(*values, *self._told):
            return []
        self._told, self._told_s = values, now_s
        return [Reading(f"{self.name}:flow", values[0], now_s), Reading(f"{self.name}:total", values[1], now_s)]

    @staticmethod
    def _worth_telling(flow: float, total: float, told_flow: float, told_total: float) -> bool:
        """The estimate falls a little all the time while nothing comes: that is no news each second."""
        return total != told_total or (flow != told_flow and flow <= told_flow / 2)

    def _pulse(self, at_s: float) -> None:
        self.count += 1
        if self._last_s is not None:
            self._interval_s = at_s - self._last_s
        self._last_s = at_s
