"""What the control socket answers: how the box is, and what a person at the box may do."""

import asyncio
from collections.abc import Callable

from gateway.box import Box
from gateway.by_hand import ByHand
from gateway.config import Site
from gateway.contract import Json, Record
from gateway.control import Answer
from gateway.facilities import DEEDS
from gateway.forecast import WAITS

_POLL_S = 0.05
_WAIT_MAX_S = 120.0
WORDS_MAX = 200
WAYS = ("desk", "page")
"""Who asks through this socket: a command at the box, which says nothing, or the page (`"way": "page"`)."""


class Desk:
    """Runs on the box's loop."""

    def __init__(self, box: Box, site: Site, mono_s: Callable[[], float]) -> None:
        self._box = box
        self._site = site
        self._mono_s = mono_s
        self._hand = ByHand(box.pipeline, site, mono_s)

    def asks(self) -> dict[str, Answer]:
        return {
            "status": self._status, "probe": self._probe, "seen": self._seen,
            "acknowledge": self._acknowledge, "reset": self._reset, "shelve": self._shelve, "unshelve": self._unshelve,
            "alarms": self._alarms, "facility": self._facility, "output": self._output, "mode": self._mode,
            "model": self._model, "look": self._look,
        }  # fmt: skip

    async def _status(self, _request: Json) -> Json:
        """health and state, and what only a person at the box wants to know (gateway/doctor_checks.py, Status)."""
        parts = self._box._parts
        label = parts.wall.label()
        trouble = {"disk": self._box._disk_trouble, "uplink": parts.uplink.state.trouble}
        return {
            "gateway": self._site.gateway, "cfg": self._site.cfg, "lang": self._site.lang, "epoch": self._box.epoch,
            "clock": label.clock, "err_s": label.err_s, "trouble": trouble, **self._box.health(), **self._box.state(),
        }  # fmt: skip

    async def _look(self, request: Json) -> Json:
        """All that the page shows, of one moment. Unlike `status` it takes nothing away from the next health record."""
        box, uplink = self._box, self._box._parts.uplink.state
        return box.state() | {
            "gateway": self._site.gateway, "cfg": self._site.cfg, "told": box.pipeline.told(_way(request)),
            "facilities": box.facility("list", "", "", ""), "connected": uplink.connected, "troubles": box.troubles(),
        }  # fmt: skip

    async def _probe(self, request: Json) -> Json:
        """A record of our own, all the way to the ledger and back: {"stored": bool, "acked": bool, "n", "took_s"}."""
        began_s = self._mono_s()
        before = self._box.heads.get("health", 0)
        self._box.note("health", Record("probe", "doctor", began_s, {"value": "probe"}))
        stored = await self._until(lambda: self._box.heads.get("health", 0) > before, request)
        n = self._box.heads.get("health", 0)
        acked = stored and await self._until(lambda: self._box.acked().get("health", 0) >= n, request)
        return {"stored": stored, "acked": acked, "n": n, "took_s": round(self._mono_s() - began_s, 3)}

    async def _seen(self, request: Json) -> Json:
        """Wait until a sensor says something else than `was` (left out: than now), then until that is safe.

        {"changed": bool, "was", "value", "stored": bool, "acked": bool}; stored and acked have 10 s of their own.
        Raises ValueError for an unknown sensor.
        """
        sensor = str(request.get("sensor"))
        if sensor not in self._site.sensors:
            raise ValueError(f"found sensor {sensor!r}, expected one of {', '.join(self._site.sensors)}")

        def latest() -> object:
            return self._box.pipeline.values().get(sensor, (None, 0.0))[0]

        was = request["was"] if "was" in request else latest()
        changed = await self._until(lambda: latest() != was, request)
        found: Json = {"changed": changed, "was": was, "value": latest(), "stored": False, "acked": False}
        if changed:
            # The reading may be committed already; a record behind it is not, and shows when both are.
            before = self._box.heads.get("health", 0)
            self._box.note("health", Record("probe", "doctor", self._mono_s(), {"value": "seen", "sensor": sensor}))
            found["stored"] = await self._until(lambda: self._box.heads.get("health", 0) > before, {})
            n = self._box.heads.get("readings", 0)
            held = await self._until(lambda: self._box.acked().get("readings", 0) >= n, {})
            found["acked"] = found["stored"] and held
        return found

    async def _acknowledge(self, request: Json) -> Json:
        return self._alarm(self._hand.acknowledge(str(request.get("alarm")), _way(request)))

    async def _reset(self, request: Json) -> Json:
        return self._alarm(self._hand.reset(str(request.get("alarm")), _way(request)))

    async def _facility(self, request: Json) -> Json:
        """{"facilities": where each stands, "lang"} after the deed, one of DEEDS. Raises ValueError."""
        deed, name, by, note = (str(request.get(word, "")) for word in ("deed", "facility", "by", "note"))
        if deed not in DEEDS:
            raise ValueError(f"found deed {deed!r}, expected one of {', '.join(DEEDS)}")
        if deed != "list" and not 0 < len(by) <= WORDS_MAX:
            raise ValueError(f"found {by[:60]!r} as who did it, expected a name of 1 to {WORDS_MAX} characters")
        if len(note) > WORDS_MAX or any(letter < " " for letter in by + note):
            raise ValueError(
                f"found a note or name of several lines or too long, expected {WORDS_MAX} characters at most"
            )
        return {"facilities": self._box.facility(deed, name, by, note), "lang": self._site.lang}

    async def _shelve(self, request: Json) -> Json:
        return self._alarm(self._hand.shelve(str(request.get("alarm")), _number(request, "hours"), _way(request)))

    async def _unshelve(self, request: Json) -> Json:
        return self._alarm(self._hand.unshelve(str(request.get("alarm")), _way(request)))

    async def _alarms(self, _request: Json) -> Json:
        """What a person is told of each that is not normal (alarm_life.py, `told`), and of a flood."""
        return {"alarms": self._box.pipeline.told(), "flood": self._box.pipeline.flooding(), "lang": self._site.lang}

    def _alarm(self, done: bool) -> Json:
        self._box.hurry()
        return {"done": done, "alarms": self._box.pipeline.standing()}

    async def _output(self, request: Json) -> Json:
        """Hold an output: {"output", "action", "minutes", "by"} -> {"outputs", "hands"}. Raises ValueError."""
        name, action, by = (str(request.get(key, "")) for key in ("output", "action", "by"))
        deeds = self._box.pipeline.deeds
        self._hand.output(name, action, _number(request, "minutes"), by or _way(request))
        self._box.hurry()
        return {"outputs": deeds.outputs(), "hands": deeds.hands()}

    async def _mode(self, request: Json) -> Json:
        """{"mode", "place", "minutes", "by"}, as ByHand.mode says. Raises ValueError."""
        mode, place, by = (str(request.get(key, "")) for key in ("mode", "place", "by"))
        minutes = 0.0 if mode == "end" else _number(request, "minutes")
        found = self._hand.mode(mode, place, minutes, by or _way(request))
        self._box.hurry()
        return found

    async def _model(self, request: Json) -> Json:
        """{"deed", "name", "version", "after_days", "by"} -> {"models", "uses", "faults"}: see Detectors.ask().

        deed "learn" with "of", the sensor or machine, instead of a version. Raises ValueError.
        """
        deed, name, version, by = (str(request.get(key, "")) for key in ("deed", "name", "version", "by"))
        if not 0 < len(by) <= WORDS_MAX or not by.isprintable():
            raise ValueError(
                f"found {by[:60]!r} as who wants it, expected a name of 1 to {WORDS_MAX} characters in one line"
            )
        if deed == "learn":
            self._box.pipeline.learn_anew(name, str(request.get("of", "")), by)
            deed = "list"
        models = self._box.pipeline.models(deed, name, version, _number(request, "after_days"), by)
        self._box.hurry()
        uses: dict[str, object] = {**self._box.pipeline.model_uses()}
        if self._site.queues:
            uses[WAITS] = dict.fromkeys(self._site.queues, "")
        return {"models": models, "uses": uses, "faults": self._box.pipeline.model_faults()}

    async def _until(self, true: Callable[[], bool], request: Json) -> bool:
        asked = request.get("wait_s", 10.0)
        until_s = self._mono_s() + min(float(asked) if isinstance(asked, int | float) else 10.0, _WAIT_MAX_S)
        while not true() and self._mono_s() < until_s:
            await asyncio.sleep(_POLL_S)
        return true()


def _way(request: Json) -> str:
    """Raises ValueError."""
    way = request.get("way", WAYS[0])
    if way not in WAYS:
        raise ValueError(f"found way {str(way)[:40]!r}, expected one of {', '.join(WAYS)}")
    return str(way)


def _number(request: Json, key: str) -> float:
    """Raises ValueError."""
    value = request.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"found {key} {value!r}, expected a number")
    return float(value)
