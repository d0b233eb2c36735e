"""How long a ticket drawn now will wait: what a forecast may know, what it answers, and one that needs no training.

QL, LES and HOL after Ibrahim and Whitt, "Real-Time Delay Estimation Based on Delay History", M&SOM 11(3), 2009: queue
length, the delay of the last one to enter service, and the elapsed delay of the head of the line.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

KEEP = "forecast:"
NOMINAL = 0.8  # of the waits are meant to lie within [low_s, high_s]
_RATIOS_MAX = 64  # of a service: what its interval is made from
_RATIOS_LEAST = 10
_UNTRIED = (0.5, 1.0, 2.0)  # low, middle and high until then
_SOFT_S = 60.0  # a wait of seconds is no matter of ratios
_CALLS_LEAST = 3


class Grounds(NamedTuple):
    """What a trained model said of a ticket, told or not, for it to learn from, and what the plain rules said."""

    wait_min: float
    spread: float
    interval_min: tuple[float, float]
    plain_s: float | None


class Line(NamedTuple):
    """One service at one moment, before a ticket is drawn.

    waiting: tickets. windows: open ones that serve it, and `servers` the part of them that it can expect: a window of
    two services, each with as many waiting, is half a server to each. idle: windows of it without a ticket.
    called_15, called_60: tickets called in the last 15 and 60 min; calls: since this start. head_s: how long the head
    of the line has waited; head: what was said of it, unless it was passed over. last_s: how long the one called last
    had waited. service_s: mean of the last services. minute: of the local day; weekday: 0 is Monday; closes_min: until
    it closes. None: nobody knows (nobody waits, was called, clock unsure).
    """

    service: str
    waiting: int
    windows: int = 0
    servers: float = 0.0
    idle: int = 0
    called_15: int = 0
    called_60: int = 0
    head_s: float | None = None
    last_s: float | None = None
    service_s: float | None = None
    weekday: int | None = None
    minute: float | None = None
    closes_min: float | None = None
    calls: int = 0
    head: Grounds | None = None


class Estimate(NamedTuple):
    """The wait of a ticket drawn now, and the interval that should hold NOMINAL of such waits."""

    wait_s: float
    low_s: float
    high_s: float
    grounds: Grounds | None = None


class Forecast(Protocol):
    def see(self, line: Line) -> None:
        """Every service's line as it stands, once a minute, whether somebody asks or not."""

    def expect(self, line: Line) -> Estimate | None:
        """None: nothing is known. Costs the same on every day."""

    def learn(self, line: Line, told: Estimate, waited_s: float) -> None:
        """What became of a ticket that was drawn at `line`, when `told` was expected."""


def ql(line: Line) -> float | None:
    """(queue length + 1) x mean service time / servers; none while a window is idle and nobody waits."""
    if line.waiting == 0 and line.idle > 0:
        return 0.0
    if line.service_s is None or line.servers <= 0:
        return None
    return (line.waiting + 1) * line.service_s / line.servers


def by_calls(line: Line) -> float | None:
    """Queue length over the rate at which the last hour's tickets were called."""
    return (line.waiting + 1) * 3600 / line.called_60 if line.called_60 >= _CALLS_LEAST else None


def les(line: Line) -> float | None:
    return line.last_s


def hol(line: Line) -> float | None:
    return line.head_s


class PlainForecast:
    """The first of QL, calls, LES and HOL that knows something, and an interval from its own errors."""

    def __init__(self, kept: Mapping[str, object], keep: Callable[[str, object], None]) -> None:
        self._keep = keep
        self._ratios: dict[str, list[float]] = {
            key.removeprefix(KEEP): [float(ratio) for ratio in value]
            for key, value in kept.items()
            if key.startswith(KEEP) and isinstance(value, list)
        }

    def see(self, line: Line) -> None:
        """It remembers no line."""

    def expect(self, line: Line) -> Estimate | None:
        base_s = self._base_s(line)
        if base_s is None:
            return None
        low, middle, high = self._factors(line.service)
        waits_s = [max(0.0, (base_s + _SOFT_S) * factor - _SOFT_S) for factor in (low, middle, high)]
        return Estimate(0.0 if base_s == 0 else waits_s[1], waits_s[0], waits_s[2])

    def learn(self, line: Line, told: Estimate, waited_s: float) -> None:
        base_s = self._base_s(line)
        if base_s is None:
            return
        ratios = self._ratios.setdefault(line.service, [])
        ratios.append(round((waited_s + _SOFT_S) / (base_s + _SOFT_S), 3))
        del ratios[:-_RATIOS_MAX]
        self._keep(KEEP + line.service, ratios)

    @staticmethod
    def _base_s(line: Line) -> float | None:
        found = (estimate(line) for estimate in (ql, by_calls, les, hol))
        return next((wait_s for wait_s in found if wait_s is not None), None)

    def _factors(self, service: str) -> tuple[float, float, float]:
        ratios = sorted(self._ratios.get(service, ()))
        if len(ratios) < _RATIOS_LEAST:
            return _UNTRIED
        tail = (1 - NOMINAL) / 2
        low, high = math.floor(tail * (len(ratios) - 1)), math.ceil((1 - tail) * (len(ratios) - 1))
        return ratios[low], ratios[len(ratios) // 2], ratios[high]
