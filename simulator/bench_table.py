"""One row of the benchmark and how it is shown: a figure beside its limit, with their ratio."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Figure(NamedTuple):
    """One row. limit: the same thing done bare, or what is promised; None where there is neither.

    what: says which; of a promise it begins with "promised", and a good value is not above it.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    what: str = ""

    @property
    def ratio(self) -> float | None:
        """Value to limit."""
        return self.value / self.limit if self.limit else None

    @property
    def is_promise(self) -> bool:
        return self.what.startswith("promised")

    @property
    def is_missed(self) -> bool:
        return self.is_promise and (self.ratio or 0.0) > 1

    def as_json(self) -> dict[str, object]:
        ratio = None if self.ratio is None else round(self.ratio, 4)
        return {"name": self.name, "value": self.value, "unit": self.unit, "limit": self.limit, "ratio": ratio}


def table(figures: Sequence[Figure]) -> str:
    width = max((len(figure.name) for figure in figures), default=0) + 2
    lines = [f"{'figure':<{width}}{'value':>14}  {'unit':<12}{'limit':>14}{'ratio':>9}  limit is"]
    for figure in figures:
        limit = f"{figure.limit:,.2f}" if figure.limit else "-"
        ratio = f"{figure.ratio:.3f}" if figure.ratio is not None else "-"
        value = f"{figure.value:,.2f}"
        missed = "  MISSED" if figure.is_missed else ""
        lines.append(
            f"{figure.name:<{width}}{value:>14}  {figure.unit:<12}{limit:>14}{ratio:>9}  {figure.what}{missed}".rstrip()
        )
    return "\n".join(lines)


def median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)


def p99(values: Sequence[float]) -> float:
    """The smallest value that 99 % do not exceed; of fewer than 100 values the largest."""
    ordered = sorted(values)
    return round(ordered[-(-len(ordered) * 99 // 100) - 1], 3)
