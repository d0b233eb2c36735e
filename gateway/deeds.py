"""What the box does: reactions, outputs, modes and exercises together, and every deed told as an event.

The pipeline hands in alarms; what a reaction drives is driven in that same call, before anything is stored or sent.
"""

from collections.abc import Callable

from gateway.contract import Json, Label, Record
from gateway.exercise import Exercises
from gateway.modes import TEST, Modes
from gateway.pending import Pending
from gateway.proofs import Latest, Verdict
from gateway.reactions import ENERGISE, Reactions
from gateway.switches import AUTO, Switches


class Deeds:
    def __init__(
        self, reactions: Reactions, switches: Switches, modes: Modes, pending: Pending, label: Callable[[], Label],
        exercises: Exercises | None = None, matters: Callable[[str, str], bool] = lambda alarm, output: True,
    ) -> None:  # fmt: skip
        """matters: (alarm, output) -> whether that alarm, while it stands, keeps the output from an exercise."""
        self._reactions = reactions
        self._switches = switches
        self._modes = modes
        self._pending = pending
        self._label = label
        self._exercises = exercises or Exercises({}, "UTC", label, pending.keep, {})
        self._matters = matters
        self._standing: set[str] = set()
        self._told: dict[str, Verdict] = {}
        pending.test = modes.is_test

    # -- what the pipeline hands in -----------------------------------------------------------------------------------

    def alarm(self, name: str, standing: bool, occurrence: int, now_s: float) -> None:
        """The deed first, its record after it."""
        (self._standing.add if standing else self._standing.discard)(name)
        held = self._reactions.alarm(name, standing, occurrence, now_s)
        self._settle(now_s)
        self._tell(held, now_s)

    def restored(self, stands: Callable[[str], bool], now_s: float) -> None:
        """After a start: what is in force is driven, and so is everything else, once."""
        self._reactions.restored(stands)
        self._switches.start(now_s)
        for name, on in self._switches.driven().items():
            self._pending.keep(f"output:{name}", on)

    def tick(self, now_s: float, latest: Latest) -> list[tuple[str, Json | None]]:
        """(alarm, cause or None) of outputs that begin or end to be at fault."""
        self._tell_modes(self._modes.tick(), now_s)
        held = self._reactions.tick(now_s) + self._exercises.tick(now_s, self._switches, self._blocked)
        self._settle(now_s)
        proved, verdicts = self._switches.prove(now_s, latest)
        self._tell(held + proved, now_s)
        return [(alarm, verdict or None) for alarm, verdict in verdicts if self._is_news(alarm, verdict)]

    def _blocked(self, output: str) -> str:
        """Why an output is not exercised now."""
        if self._modes.on():
            return "mode"
        if any(self._matters(alarm, output) for alarm in self._standing):
            return "alarm"
        return "" if self._switches.is_resting(output) else "in use"

    def _is_news(self, alarm: str, verdict: Verdict) -> bool:
        if verdict is None or (alarm in self._told and bool(self._told[alarm]) == bool(verdict)):
            return False
        self._told[alarm] = verdict
        return True

    def see(self, point: str, active: bool) -> None:
        """A contact of a device, which may be the proof of an output."""
        self._switches.see(point, active)

    def _settle(self, now_s: float) -> None:
        """Drive first."""
        changed = self._switches.tick(now_s)
        self._tell(changed, now_s)
        for record in changed:
            self._pending.keep(f"output:{record.subject}", self._switches.driven()[record.subject])

    def _tell(self, records: list[Record], now_s: float) -> None:
        for record in records:
            self._pending.record("events", record, now_s)

    # -- what is asked at the box, or by the city ---------------------------------------------------------------------

    def override(self, name: str, action: str, minutes: float, by: str, now_s: float, *, on_site: bool = True) -> None:
        """Hold an output for so long, or let go of it ("auto"). by: who, for the events. on_site: at the box itself.

        Raises ValueError: found, expected, what to do.
        """
        self._switches.checked(name, action, minutes)
        wish = self._reactions.wish(name)
        undoes = wish is not None and (action == AUTO or ENERGISE[action] != wish.on)
        if undoes and not on_site and self._reactions.is_undone_on_site(name):
            raise ValueError(
                f"found {action!r} for {name}, which a reaction holds until somebody on the spot lets go of it, "
                f"expected that to be done there; at the box: linli output {name} auto"
            )
        self._switches.take(name, action, minutes, by)
        if action == AUTO:
            self._reactions.take_back(name)
        asked: Json = {"value": action, "output": name, "by": by}
        asked |= {"minutes": minutes} if action != AUTO else {}
        self._tell([Record("output.asked", name, now_s, asked)], now_s)
        self._settle(now_s)

    def begin_mode(self, name: str, place: str, minutes: float, by: str, now_s: float) -> None:
        """Raises ValueError."""
        self._tell_modes(self._modes.begin(name, place, minutes, by), now_s)

    def end_mode(self, name: str, place: str, by: str, now_s: float) -> None:
        """Nothing when it is not on."""
        self._tell_modes(self._modes.finish(name, place, by), now_s)

    def press_test(self, minutes: float, now_s: float) -> None:
        """The button begins the test mode, and ends it."""
        if self._modes.is_test:
            self.end_mode(TEST, "", "button", now_s)
        else:
            self.begin_mode(TEST, "", minutes, "button", now_s)

    def _tell_modes(self, records: list[Record], now_s: float) -> None:
        self._tell(records, now_s)
        self._pending.test = self._modes.is_test

    # -- looking ------------------------------------------------------------------------------------------------------

    def outputs(self) -> dict[str, bool]:
        """{output: energised}"""
        return self._switches.driven()

    def hands(self) -> dict[str, Json]:
        return self._switches.hands()

    @property
    def modes(self) -> Modes:
        return self._modes
