"""A push-button on a pin: no sensor, so nobody but the one who asked hears of it."""

from collections.abc import Callable

from drivers.reading import Fact, Reading

HOLD_S = 0.05  # longer than its contacts bounce


class Button:
    """point: "gpio:23". Takes the pin's facts in the place of `take`, which gets all others."""

    def __init__(self, point: str, press: Callable[[], None], take: Callable[[list[Fact]], None]) -> None:
        self._point = point
        self._press = press
        self._take = take
        self._down: bool | None = None  # None: not known yet; one that is stuck at the start was not pressed

    def take(self, facts: list[Fact]) -> None:
        others: list[Fact] = []
        for fact in facts:
            if type(fact) is not Reading or fact.point != self._point:
                others.append(fact)
                continue
            if fact.value is True and self._down is False:
                self._press()
            self._down = fact.value is True
        if others:
            self._take(others)
