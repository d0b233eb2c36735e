"""Raw samples around an alarm: which sensors' samples the city gets, and when.

Sans-IO. Five minutes before to five minutes after an alarm came, of the sensors it looks at, once the last of them is
stored. Windows of one sensor that overlap are put together, go out in pieces and nothing is sent twice, so an alarm
that chatters costs at most what the sensor samples. What is wanted is kept over a restart, with the alarm's own state.
"""

from collections.abc import Callable, Mapping

from gateway.pending import Wanted

AROUND_S = 300.0
_PIECE_S = 900.0  # of a window that goes on and on
KEEP = "raw:"


class Around:
    """units: {sensor: unit} of those that are sampled. kept: state of an earlier run. keep: (key, value) to keep."""

    def __init__(
        self, units: Mapping[str, str], kept: Mapping[str, object], keep: Callable[[str, object], None]
    ) -> None:
        self._units = units
        self._keep = keep
        self._open: dict[str, Wanted] = {}
        self._over: list[Wanted] = []  # of a boot that is over, and whose sensor has a new window
        self._sent: dict[str, tuple[int, float]] = {}
        for key, value in kept.items():
            sensor = key.removeprefix(KEEP)
            if key.startswith(KEEP) and sensor in units and isinstance(value, list) and len(value) == 3:
                boot, from_s, to_s = value
                if from_s < to_s:
                    self._open[sensor] = Wanted(sensor, units[sensor], boot, from_s, to_s)
                else:
                    self._sent[sensor] = (boot, to_s)

    @property
    def waiting(self) -> bool:
        return bool(self._open or self._over)

    def alarm(self, sensor: str, boot: int, mono_s: float) -> None:
        """An alarm came that looks at this sensor."""
        if sensor not in self._units:
            return
        before = self._open.get(sensor)
        if before and before.boot == boot:
            wanted = before._replace(to_s=mono_s + AROUND_S)
        else:
            self._over += [before] if before else []
            sent_boot, sent_s = self._sent.get(sensor, (boot, 0.0))
            from_s = max(0.0, mono_s - AROUND_S, sent_s if sent_boot == boot else 0.0)
            wanted = Wanted(sensor, self._units[sensor], boot, from_s, mono_s + AROUND_S)
        self._open[sensor] = wanted
        self._keep(KEEP + sensor, [boot, wanted.from_s, wanted.to_s])

    def due(self, boot: int, stored_s: float) -> list[Wanted]:
        """Windows that are over: all up to stored_s is in the store, or in what goes to it now."""
        found, self._over = self._over, []
        for wanted in list(self._open.values()):
            over = wanted.boot != boot or wanted.to_s <= stored_s
            if over or stored_s - wanted.from_s >= _PIECE_S:
                end_s = wanted.to_s if over else stored_s
                found.append(wanted._replace(to_s=end_s))
                self._sent[wanted.sensor] = (wanted.boot, end_s)
                del self._open[wanted.sensor]
                if not over:
                    self._open[wanted.sensor] = wanted._replace(from_s=end_s)
                self._keep(KEEP + wanted.sensor, [wanted.boot, end_s, wanted.to_s])
        return found
