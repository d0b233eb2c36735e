"""What the box does about an alarm: decided here, before anything touches disk or network.

"on" holds as long as its alarm stands (a strobe). "close" and "open" are done once an occurrence and stay: water comes
back only by hand.
"""

from typing import NamedTuple

from gateway.contract import Json

ENERGISE = {"on": True, "close": True, "off": False, "open": False}
_HOLDING = ("on", "off")
_DAY_S = 86_400.0


class Plan(NamedTuple):
    """One reaction of the site file: when `alarm` has stood for after_s, do `action` to `output`.

    per_day: at most so often in 24 hours of the monotonic clock, None for any.
    """

    name: str
    alarm: str
    after_s: float
    output: str
    action: str
    per_day: int | None = None


class Action(NamedTuple):
    output: str
    action: str
    energise: bool
    cause: Json


class Reactions:
    def __init__(self, plans: list[Plan]) -> None:
        self._plans = plans
        self._since_s: dict[str, float] = {}  # by alarm, while it stands
        self._occurrence: dict[str, int] = {}
        self._done: set[tuple[str, int]] = set()  # (plan, occurrence)
        self._times_s: dict[str, list[float]] = {}  # by plan, when it acted in the last day

    def alarm(self, name: str, standing: bool, occurrence: int, now_s: float) -> list[Action]:
        """An alarm changed its state, or stood already when the gateway started."""
        self._occurrence[name] = occurrence
        if standing:
            self._since_s.setdefault(name, now_s)
            return self.tick(now_s)
        self._since_s.pop(name, None)
        return [self._release(plan) for plan in self._plans if plan.alarm == name and self._was_done(plan)]

    def tick(self, now_s: float) -> list[Action]:
        """Reactions whose time has come."""
        actions: list[Action] = []
        for plan in self._plans:
            since_s = self._since_s.get(plan.alarm)
            if since_s is None or now_s - since_s < plan.after_s:
                continue
            key = (plan.name, self._occurrence[plan.alarm])
            if key not in self._done:
                self._done = {done for done in self._done if done[0] != plan.name} | {key}
                if self._may(plan, now_s):
                    actions.append(self._action(plan, plan.action, "standing"))
        return actions

    def _may(self, plan: Plan, now_s: float) -> bool:
        times = [at for at in self._times_s.get(plan.name, []) if now_s - at < _DAY_S]
        allowed = plan.per_day is None or len(times) < plan.per_day
        self._times_s[plan.name] = [*times, now_s][-1000:] if allowed else times
        return allowed

    def _was_done(self, plan: Plan) -> bool:
        key = (plan.name, self._occurrence[plan.alarm])
        return plan.action in _HOLDING and key in self._done

    def _release(self, plan: Plan) -> Action:
        self._done.discard((plan.name, self._occurrence[plan.alarm]))
        return self._action(plan, "off" if plan.action == "on" else "on", "returned")

    def _action(self, plan: Plan, action: str, why: str) -> Action:
        cause: Json = {"reaction": plan.name, "alarm": plan.alarm, "occurrence": self._occurrence[plan.alarm]}
        return Action(plan.output, action, ENERGISE[action], cause | {"why": why})
