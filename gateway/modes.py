"""Test and maintenance: modes with an end, in which alarms are marked and some reactions wait.

Test is for the whole centre; maintenance for a place (`toilet-f1`), a sensor, or with "" the whole centre. Sans-IO;
what is on survives a restart with its end, and so does the mark of an alarm that was born in it.
"""

from collections.abc import Callable, Mapping

import msgspec

from gateway.contract import Json, Label, Record
from gateway.until import End, begin, taken_up

KEEP, BORN = "mode:", "born:"
TEST, MAINTENANCE = "test", "maintenance"
MODES = (TEST, MAINTENANCE)
MINUTES_MAX = {TEST: 240.0, MAINTENANCE: 10_080.0}  # 4 h, a week
MODES_MAX = 32  # at once: each of them is a place that nobody is called to


class Mode(msgspec.Struct):
    """alarms: how many came in it."""

    mode: str
    place: str
    by: str
    end: End
    alarms: int = 0

    @property
    def key(self) -> str:
        return f"{KEEP}{self.mode}:{self.place}"


class _Came(msgspec.Struct):
    """What of a kept alarm matters here."""

    occurrence: int = 0


class Modes:
    """looks_at: {alarm: what it speaks of}: ids of sensors, names of lines and outputs. kept: of an earlier run."""

    def __init__(
        self, looks_at: Mapping[str, tuple[str, ...]], label: Callable[[], Label], keep: Callable[[str, object], None],
        kept: Mapping[str, object],
    ) -> None:  # fmt: skip
        self._looks_at = looks_at
        self._label = label
        self._keep = keep
        self._modes: dict[str, Mode] = {}
        self._has_ended = True  # since `outlived` was asked
        self._born: dict[str, tuple[int, list[str]]] = {}  # the last occurrence of an alarm, and its marks
        for key, value in kept.items():
            sort, _, name = key.partition(":")
            if sort == "alarm":  # what came before this start is marked already, or not
                self._born.setdefault(name, (msgspec.convert(value, _Came).occurrence, []))
            elif sort == "born":
                self._born[name] = msgspec.convert(value, tuple[int, list[str]])
            elif sort == "mode":
                mode = msgspec.convert(value, Mode)
                mode.end = taken_up(mode.end, label())
                self._save(mode)

    # -- on and off ---------------------------------------------------------------------------------------------------

    def begin(self, name: str, place: str, minutes: float, by: str) -> list[Record]:
        """Anew with another end when it is on already. Raises ValueError: found, expected, what to do."""
        if name not in MODES:
            raise ValueError(f"found mode {name!r}, expected one of {', '.join(MODES)}")
        if not 0 < minutes <= MINUTES_MAX[name]:
            most = f"{MINUTES_MAX[name]:.0f}"
            raise ValueError(f"found {minutes} minutes of {name}, expected more than 0, {most} at most; ask again then")
        if name == TEST and place:
            raise ValueError(f"found a test of {place!r}, expected the whole centre; maintenance knows places")
        if place and not any(_covers(place, what) for whats in self._looks_at.values() for what in whats):
            raise ValueError(f"found place {place!r}, which no alarm looks at; expected the start of a sensor's id")
        mode = Mode(name, place, by, begin(self._label(), minutes * 60))
        if mode.key not in self._modes and len(self._modes) >= MODES_MAX:
            raise ValueError(f"found {MODES_MAX} modes that are on, expected fewer; end one of them")
        self._save(mode)
        data: Json = {"value": name, "place": place, "by": by, "minutes": round(minutes, 2)}
        return [Record("mode.began", name, self._label().mono, data)]

    def finish(self, name: str, place: str, by: str) -> list[Record]:
        """Nothing when it is not on."""
        mode = self._modes.pop(f"{KEEP}{name}:{place}", None)
        if mode is None:
            return []
        self._keep(mode.key, None)
        self._has_ended = True
        data: Json = {"value": name, "place": place, "by": by, "alarms": mode.alarms}
        return [Record("mode.ended", name, self._label().mono, data)]

    def tick(self) -> list[Record]:
        """Modes end by themselves."""
        label = self._label() if self._modes else None
        over = [mode for mode in self._modes.values() if label and mode.end.left_s(label) <= 0]
        return [told for mode in over for told in self.finish(mode.mode, mode.place, "end")]

    def _save(self, mode: Mode) -> None:
        self._modes[mode.key] = mode
        self._keep(mode.key, msgspec.to_builtins(mode))

    # -- what is in them ----------------------------------------------------------------------------------------------

    @property
    def is_test(self) -> bool:
        return f"{KEEP}{TEST}:" in self._modes

    def held(self, alarm: str) -> list[str]:
        """The modes that this alarm is in now."""
        return sorted({mode.mode for mode in self._modes.values() if self._is_in(alarm, mode)})

    def _is_in(self, alarm: str, mode: Mode) -> bool:
        """All that it looks at is in that place: one that also looks elsewhere must be heard."""
        whats = self._looks_at.get(alarm, ())
        return not mode.place or (bool(whats) and all(_covers(mode.place, what) for what in whats))

    def marks(self, alarm: str, occurrence: int) -> list[str]:
        """The modes that this occurrence was born in: they are its to the very end, which a mode's end may be."""
        was = self._born.get(alarm, (0, []))
        if occurrence > was[0]:
            was = self._born[alarm] = (occurrence, self.held(alarm))
            self._keep(BORN + alarm, list(was) if was[1] else None)
            for mode in self._modes.values():
                if self._is_in(alarm, mode):
                    mode.alarms += 1
                    self._save(mode)
        return was[1] if was[0] == occurrence else []

    def outlived(self) -> list[str]:
        """Alarms whose last occurrence was born in a mode that is over; once each time that one ends."""
        if not self._has_ended:
            return []
        self._has_ended = False
        return [alarm for alarm, (_, marks) in self._born.items() if not set(marks) <= set(self.held(alarm))]

    def reach(self, place: str) -> tuple[list[str], list[str]]:
        """(alarms that maintenance of a place covers, those that it does not because they also look elsewhere)"""
        touched = [a for a, whats in self._looks_at.items() if not place or any(_covers(place, w) for w in whats)]
        whole = [a for a in touched if self._is_in(a, Mode(MAINTENANCE, place, "", End(0, 0.0, 0.0)))]
        return whole, [alarm for alarm in touched if alarm not in whole]

    def on(self) -> list[Json]:
        label = self._label()
        return [
            {"mode": m.mode, "place": m.place, "by": m.by, "left_s": round(max(0.0, m.end.left_s(label)))}
            for m in self._modes.values()
        ]  # fmt: skip


def _covers(place: str, what: str) -> bool:
    """A place covers itself and what lies in it, by whole steps of the path."""
    return what == place or what.startswith(place.rstrip("/") + "/")
