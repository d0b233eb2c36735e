"""The reed contact of a pulse meter: closes for a moment each time its litres have run through. Asks no clock."""

from gateway.config import Pulse

CLOSED_S = 0.06
BEHIND_MAX_S = 1.0  # what was missed for longer did not run through


class Reed:
    """flow_m3s: what runs through now. tick gives True when the contact closes, False when it opens, else None."""

    def __init__(self, pulse: Pulse) -> None:
        self.gpio = int(pulse.pin.partition(":")[2])
        self.flow_m3s = 0.0
        self._m3 = pulse.litres / 1000
        self._run_m3 = 0.0
        self._now_s: float | None = None
        self._open_s: float | None = None

    def tick(self, now_s: float) -> bool | None:
        passed_s = 0.0 if self._now_s is None else min(now_s - self._now_s, BEHIND_MAX_S)
        self._now_s = now_s
        self._run_m3 += self.flow_m3s * passed_s
        if self._open_s is not None:
            if now_s < self._open_s:
                return None
            self._open_s = None
            return False
        if self._run_m3 < self._m3:
            return None
        self._run_m3 -= self._m3
        self._open_s = now_s + CLOSED_S
        return True
