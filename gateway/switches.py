"""The outputs: what each shall be, who says so, and whether it may be that now.

In this order: a hand at the box or the city's (with an end), a reaction in force, an exercise, else its rest. Sans-IO
but for the pin itself: `settle` drives what is not as it shall be, at once, and gives what is to be told.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from drivers.outputs import Output
from gateway.contract import Json, Label, Record
from gateway.proofs import Latest, Proof, Remaining, Verdict
from gateway.reactions import ENERGISE, Wish
from gateway.until import End, begin, taken_up

log = logging.getLogger(__name__)

HAND = "hand:"
MINUTES_MAX = 1440.0
AUTO = "auto"
ACTIONS = {"valve": ("open", "close")}
OTHER_ACTIONS = ("off", "on")
_RETRY_S = 1.0
_OVER = ("over", "returned")

Source = Callable[[str], Wish | None]
"""output -> what it wants of it."""


def output_alarm(output: str) -> str:
    """It did not do what it was told, or no longer does."""
    return f"output:{output}"


def flow_alarm(output: str) -> str:
    """It was told to close, and water flows on."""
    return f"flow:{output}"


class Way(NamedTuple):
    """How an output may be used. is_fire: it stands on a fire line. apart: outputs that may not be on while it is."""

    name: str
    kind: str = "led"
    travel_s: float = 0.0
    is_fire: bool = False
    apart: frozenset[str] = frozenset()

    @property
    def actions(self) -> tuple[str, str]:
        """(not energised, energised)"""
        return ACTIONS.get(self.kind, OTHER_ACTIONS)


class Hand(msgspec.Struct, frozen=True):
    """Somebody wants it so, until the end."""

    action: str
    by: str
    end: End


class Switch:
    """One output. rest: what it is when nobody wants anything of it."""

    def __init__(
        self, way: Way, output: Output, rest: bool = False, proof: Proof | None = None,
        remaining: Remaining | None = None,
    ) -> None:  # fmt: skip
        self.way, self.output, self.rest, self.proof, self.remaining = way, output, rest, proof, remaining
        self.hand: Hand | None = None
        self.travels_until_s = self.retry_s = float("-inf")
        self.settled_s = float("-inf")  # when it must have arrived
        self.cause: Json = {"by": "start"}  # of what it is now
        self.refused = ""
        self.broken = ""  # why the pin could not be driven

    def action(self, on: bool) -> str:
        return self.way.actions[on]


class Switches:
    """wants: who may want something, the most important first. kept: state of an earlier run, by key."""

    def __init__(
        self, switches: list[Switch], wants: Sequence[Source], label: Callable[[], Label],
        keep: Callable[[str, object], None], kept: Mapping[str, object],
    ) -> None:  # fmt: skip
        self._switches = {switch.way.name: switch for switch in switches}
        self._wants = wants
        self._label = label
        self._keep = keep
        for name, switch in self._switches.items():
            if found := kept.get(HAND + name):
                hand = msgspec.convert(found, Hand)
                switch.hand = msgspec.structs.replace(hand, end=taken_up(hand.end, label()))
                keep(HAND + name, msgspec.to_builtins(switch.hand))

    # -- what shall be ------------------------------------------------------------------------------------------------

    def _wish(self, switch: Switch) -> Wish:
        if switch.hand:
            return Wish(ENERGISE[switch.hand.action], {"by": switch.hand.by, "why": "asked"})
        for want in self._wants:
            if wish := want(switch.way.name):
                return wish
        return Wish(switch.rest, _over(switch.cause))

    def _refusal(self, switch: Switch, wish: Wish, now_s: float) -> str:
        """Why it may not be energised; "" when it may."""
        if wish.on and switch.way.is_fire:
            return "fire-line"
        for name, other in self._switches.items() if wish.on else ():
            is_apart = name in switch.way.apart or switch.way.name in other.way.apart
            if is_apart and (other.output.on or now_s < other.travels_until_s):
                return f"interlock {name}"
        return ""

    def start(self, now_s: float) -> None:
        """Every output is driven once, to what it shall be from now on."""
        for switch in self._switches.values():
            switch.output.on, before = False, switch.output.on  # an interlock asks what has been driven by this program
            wish = self._wish(switch)
            on = wish.on and not self._refusal(switch, wish, now_s)
            try:
                switch.output.drive(on)
            except OSError as error:
                switch.output.on = before
                self._failed(switch, on, error, now_s)
            if on:
                switch.cause = wish.cause
            if on != before:
                self._moves(switch, now_s)
            elif switch.proof:
                switch.proof.stands(on, now_s)

    def settle(self, now_s: float) -> list[Record]:
        """Drive what is not as it shall be. While something travels nothing is decided about it."""
        found: list[Record] = []
        for switch in self._switches.values():
            wish = self._wish(switch)
            if wish.on == switch.output.on and not switch.broken:
                switch.cause = switch.cause if wish.cause["why"] in _OVER else wish.cause  # whose it is now
                found += self._overruled(switch, now_s)
            elif now_s >= switch.travels_until_s and now_s >= switch.retry_s:
                why = self._refusal(switch, wish, now_s)
                found += self._refuse(switch, wish, why, now_s) if why else self._drive(switch, wish, now_s)
        return found

    def _overruled(self, switch: Switch, now_s: float) -> list[Record]:
        """A hand holds what a reaction wants otherwise: the city is to know."""
        for want in self._wants if switch.hand else ():
            if (wish := want(switch.way.name)) and wish.on != switch.output.on:
                return self._refuse(switch, wish, switch.hand.by if switch.hand else "", now_s)
        switch.refused = ""
        return []

    def _refuse(self, switch: Switch, wish: Wish, why: str, now_s: float) -> list[Record]:
        if why == switch.refused:
            return []
        switch.refused = why
        name, action = switch.way.name, switch.action(wish.on)
        log.warning("output %s is not driven to %s: %s", name, action, why)
        data: Json = {"value": action, "output": name, "why": why, "cause": wish.cause}
        return [Record("output.refused", name, now_s, data)]

    def _drive(self, switch: Switch, wish: Wish, now_s: float) -> list[Record]:
        try:
            switch.output.drive(wish.on)
        except OSError as error:
            self._failed(switch, wish.on, error, now_s)
            return []
        switch.broken, switch.refused, switch.cause = "", "", wish.cause
        self._moves(switch, now_s)
        data: Json = {"value": switch.action(wish.on), "output": switch.way.name, "cause": wish.cause}
        return [Record("output.changed", switch.way.name, now_s, data)]

    def _moves(self, switch: Switch, now_s: float) -> None:
        switch.travels_until_s = switch.settled_s = now_s + switch.way.travel_s
        if switch.proof:
            switch.proof.driven(switch.output.on, now_s)

    def _failed(self, switch: Switch, on: bool, error: OSError, now_s: float) -> None:
        """Tried again each second; the alarm stands until it worked."""
        switch.retry_s = now_s + _RETRY_S
        if not switch.broken:
            log.error("output %s could not be driven to %s: %s", switch.way.name, switch.action(on), error)
        switch.broken = f"{error}"

    # -- a few times a second -----------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> list[Record]:
        """Hands whose time is over, and what follows."""
        held = [(switch, switch.hand) for switch in self._switches.values() if switch.hand]
        for switch, hand in held:
            if hand.end.left_s(self._label()) <= 0:
                self._let_go(switch)
        return self.settle(now_s)

    def prove(self, now_s: float, latest: Latest) -> tuple[list[Record], list[tuple[str, Verdict]]]:
        """(events, (alarm, verdict) of each output)"""
        told: list[Record] = []
        found: list[tuple[str, Verdict]] = []
        for name, switch in self._switches.items():
            verdict: Verdict = False
            if switch.proof:
                took_s, verdict = switch.proof.tick(now_s, latest)
                if took_s is not None:
                    data: Json = {"value": switch.action(switch.output.on), "output": name, "took_s": round(took_s, 2)}
                    told.append(Record("output.proved", name, now_s, data))
            if switch.broken:
                verdict = {"condition": "not driven", "value": switch.broken}
            found.append((output_alarm(name), verdict))
            if switch.remaining:
                closed_s = switch.settled_s if switch.output.on else None
                found.append((flow_alarm(name), switch.remaining.tick(closed_s, latest)))
        return told, found

    def see(self, point: str, active: bool) -> None:
        """A contact of a device said something good."""
        for switch in self._switches.values():
            if switch.proof and switch.proof.what == point:
                switch.proof.see(active)

    # -- hands --------------------------------------------------------------------------------------------------------

    def checked(self, name: str, action: str, minutes: float) -> None:
        """Raises ValueError when this cannot be asked of this output: found, expected, what to do."""
        switch = self._switches.get(name)
        if switch is None:
            raise ValueError(f"found output {name!r}, expected one of {', '.join(self._switches)}")
        if action not in (*switch.way.actions, AUTO):
            expected = ", ".join((*switch.way.actions, AUTO))
            raise ValueError(f"found {action!r} for the {switch.way.kind} {name}, expected one of {expected}")
        if action != AUTO and not 0 < minutes <= MINUTES_MAX:
            raise ValueError(
                f"found {minutes} minutes, expected more than 0, {MINUTES_MAX:.0f} at most; ask again then"
            )
        if switch.way.is_fire and action != AUTO and ENERGISE[action]:
            raise ValueError(
                f"found {action!r} for {name}, which stands on a fire line, expected open: no program may close it; "
                "turn it by hand, and tell the fire watch"
            )

    def take(self, name: str, action: str, minutes: float, by: str) -> None:
        """Raises ValueError as `checked` does. "auto": the hand lets go, and it rests unless a reaction is in force."""
        self.checked(name, action, minutes)
        switch = self._switches[name]
        if action == AUTO:
            switch.rest = False
            self._let_go(switch)
            return
        switch.hand = Hand(action, by, begin(self._label(), minutes * 60))
        self._keep(HAND + name, msgspec.to_builtins(switch.hand))

    def _let_go(self, switch: Switch) -> None:
        switch.hand = None
        self._keep(HAND + switch.way.name, None)

    # -- looking ------------------------------------------------------------------------------------------------------

    def driven(self) -> dict[str, bool]:
        """{output: energised}"""
        return {name: switch.output.on for name, switch in self._switches.items()}

    def hands(self) -> dict[str, Json]:
        """{output: who holds it, as what, and for how long yet}"""
        label = self._label()
        return {
            name: {"action": hand.action, "by": hand.by, "left_s": round(max(0.0, hand.end.left_s(label)))}
            for name, switch in self._switches.items()
            if (hand := switch.hand)
        }

    def is_resting(self, name: str) -> bool:
        """Nobody wants anything of it, and it is as it rests."""
        switch = self._switches[name]
        wanted = switch.hand or any(want(name) for want in self._wants)
        return not wanted and not switch.output.on

    def by(self, name: str) -> str:
        """Who made it what it is now."""
        return str(self._switches[name].cause.get("by"))

    def travel_s(self, name: str) -> float:
        return self._switches[name].way.travel_s

    def is_proved(self, name: str) -> bool | None:
        """None: no contact tells."""
        proof = self._switches[name].proof
        return proof.is_proved if proof else None

    def is_settled(self, name: str, now_s: float) -> bool:
        """It has arrived."""
        return now_s >= self._switches[name].travels_until_s


def _over(cause: Json) -> Json:
    """Why it goes back to its rest: what made it leave it is over."""
    return {**cause, "why": _OVER[cause.get("by") == "reaction"]}
