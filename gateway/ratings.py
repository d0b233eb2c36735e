"""Grades from 1 to 5 (好差评), counted by day and window: no names, and no small counts.

A person who was asked and gave none is "not rated", never satisfied. 1 and 2 are bad (差评).
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from gateway.contract import Json
from gateway.figures import N_LEAST

KEEP = "rating:"
BAD_MAX = 2
_NOBODY = ""  # the window of a grade that nobody can place, or that the site file does not know


class Ratings:
    """days: how long they are kept. Each day is one row: {window: [not rated, 1, 2, 3, 4, 5]}. windows: of the site."""

    def __init__(
        self, days: int, windows: Collection[str], kept: Mapping[str, object], keep: Callable[[str, object], None]
    ) -> None:
        self.days = days
        self._windows = windows
        self._keep = keep
        self._of_day: dict[str, dict[str, list[int]]] = {
            key.removeprefix(KEEP): {window: list(map(int, counts)) for window, counts in value.items()}
            for key, value in kept.items()
            if key.startswith(KEEP) and isinstance(value, dict)
        }

    def add(self, day: str, window: str, grade: int | None) -> None:
        """day: "2026-11-25", or "" while nobody knows. grade: None for one who was asked and gave none."""
        if day not in self._of_day:
            self._of_day[day] = {}
            self._forget()
        counts = self._of_day.get(day)
        if counts is None:
            return  # of a day that is forgotten already
        place = window if window in self._windows else _NOBODY
        counts.setdefault(place, [0] * 6)[grade or 0] += 1
        self._keep(KEEP + day, counts)

    def told(self, windows: Iterable[str], day: str | None = None) -> Json:
        """Of one day, or of all that are kept. n: grades given; below five nobody learns which."""
        wanted = set(windows)
        sums = [0] * 6
        for one, counts in self._of_day.items():
            if day is None or one == day:
                for window in wanted & counts.keys():
                    sums = [total + count for total, count in zip(sums, counts[window], strict=True)]
        n = sum(sums[1:])
        return {
            "n": n, "not_rated": sums[0], "grades": sums[1:] if n >= N_LEAST else None,
            "bad": sum(sums[1 : BAD_MAX + 1]) if n >= N_LEAST else None,
        }  # fmt: skip

    def _forget(self) -> None:
        """Days of operation, as everywhere in the store: a wrong clock forgets nothing but the oldest."""
        for day in sorted(self._of_day)[: -self.days]:
            del self._of_day[day]
            self._keep(KEEP + day, None)
