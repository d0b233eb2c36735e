"""What a person may do to alarms, outputs and modes: at the box (gateway/desk.py), or from the city (city_desk.py).

by: "<way>" or "<way>:<who>" (alarm_life.py, WAYS). Each raises ValueError: found, expected, what to do. Whoever calls
sees to the commit.
"""

from collections.abc import Callable

from gateway.config import Site
from gateway.contract import Json
from gateway.modes import MAINTENANCE, MODES
from gateway.own_alarms import own_alarms
from gateway.pipeline import Pipeline

WHO_MAX = 200  # it stands in events, in `state` and on screens


class ByHand:
    def __init__(self, pipeline: Pipeline, site: Site, mono_s: Callable[[], float]) -> None:
        self._pipeline = pipeline
        self._site = site
        self._mono_s = mono_s

    def acknowledge(self, alarm: str, by: str) -> bool:
        """Whether there was something to do; so do the others."""
        return self._pipeline.acknowledge(self._known(alarm), _who(by))

    def reset(self, alarm: str, by: str) -> bool:
        return self._pipeline.reset(self._known(alarm), _who(by))

    def shelve(self, alarm: str, hours: float, by: str) -> bool:
        return self._pipeline.shelve(self._known(alarm), hours, _who(by))

    def unshelve(self, alarm: str, by: str) -> bool:
        return self._pipeline.unshelve(self._known(alarm), _who(by))

    def _known(self, alarm: str) -> str:
        known = [*self._site.alarms, *own_alarms(self._site)]
        if alarm not in known:
            raise ValueError(f"found alarm {alarm!r}, expected one of {', '.join(known)}")
        return alarm

    def output(self, name: str, action: str, minutes: float, by: str, *, on_site: bool = True) -> None:
        """Hold an output for so long, or let go of it ("auto")."""
        self._pipeline.deeds.override(name, action, minutes, _who(by), self._mono_s(), on_site=on_site)

    def mode(self, mode: str, place: str, minutes: float, by: str) -> Json:
        """mode: "test", "maintenance" or "end". -> {"modes"}; of maintenance also the alarms that it covers, and those
        that it does not, because they look elsewhere too.
        """
        deeds, now_s = self._pipeline.deeds, self._mono_s()
        if mode == "end":
            for name in MODES:
                deeds.end_mode(name, place, _who(by), now_s)
            return {"modes": deeds.modes.on()}
        deeds.begin_mode(mode, place, minutes, _who(by), now_s)
        covered, also_elsewhere = deeds.modes.reach(place) if mode == MAINTENANCE else ([], [])
        more: Json = {"covered": covered, "also_elsewhere": also_elsewhere} if mode == MAINTENANCE else {}
        return {"modes": deeds.modes.on()} | more


def _who(by: str) -> str:
    if len(by) > WHO_MAX or any(letter < " " for letter in by):
        found = f"{by[:40]!r}, of {len(by)} characters"
        raise ValueError(f"found {found}, as who does it, expected a name in one line, {WHO_MAX} characters at most")
    return by
