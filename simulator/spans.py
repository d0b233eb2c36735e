"""Sets of whole numbers kept as ranges, and what follows from them: what of a stream is held, named, missing."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice

RANGES_MAX = 64  # of each list in an ack; the lowest first, the rest when those are done


class Spans:
    """Numbers from 1 up. Memory goes with the number of holes, not of numbers; `add` at the end is O(1)."""

    __slots__ = ("_first", "_last")

    def __init__(self) -> None:
        self._first: list[int] = []
        self._last: list[int] = []

    def add(self, first: int, last: int | None = None) -> None:
        """Put first..last (or `first` alone) in; touching ranges become one."""
        last = first if last is None else last
        i = bisect_left(self._last, first - 1)
        j = bisect_right(self._first, last + 1)
        if i < j:
            first, last = min(first, self._first[i]), max(last, self._last[j - 1])
        self._first[i:j] = [first]
        self._last[i:j] = [last]

    def __contains__(self, number: int) -> bool:
        i = bisect_left(self._last, number)
        return i < len(self._last) and self._first[i] <= number

    def __len__(self) -> int:
        return sum(self._last) - sum(self._first) + len(self._first)

    @property
    def upto(self) -> int:
        """The highest n with all of 1..n in, 0 when 1 is not."""
        return self._last[0] if self._first and self._first[0] == 1 else 0

    @property
    def top(self) -> int:
        """The highest number in, 0 when there is none."""
        return self._last[-1] if self._last else 0

    def ranges(self, above: int = 0) -> Iterator[tuple[int, int]]:
        """(first, last) in rising order, of what lies above `above`."""
        for i in range(bisect_right(self._last, above), len(self._last)):
            yield max(self._first[i], above + 1), self._last[i]

    def holes(self, top: int) -> Iterator[tuple[int, int]]:
        """(first, last) of what of 1..top is not in."""
        follows = 1
        for first, last in self.ranges():
            if first > top:
                break
            if first > follows:
                yield follows, first - 1
            follows = last + 1
        if follows <= top:
            yield follows, top


class Stream:
    """One stream of one epoch. held: packs in the file. known: held, or named in a gap."""

    __slots__ = ("head", "held", "known", "rejects")

    def __init__(self) -> None:
        self.held = Spans()
        self.known = Spans()
        self.rejects: dict[int, str] = {}
        self.head = 0

    @property
    def top(self) -> int:
        """The highest number that is known to exist: held, named in a gap, or told as a head."""
        return max(self.known.top, self.head)

    @property
    def given_up(self) -> int:
        """How many numbers a gap names and no pack filled."""
        return len(self.known) - len(self.held)

    def missing(self) -> list[tuple[int, int]]:
        """Holes below the top. A rejected number is a hole too, but it is not asked for again."""
        return list(self.known.holes(self.top))

    def word(self) -> dict[str, object]:
        """This stream's part of an ack."""
        also = _first_few(self.held.ranges(self.known.upto))
        rejects = sorted(self.rejects)
        missing = _first_few(_without(self.known.holes(self.top), rejects))
        told = [{"n": n, "why": self.rejects[n]} for n in rejects[:RANGES_MAX]]
        return {"upto": self.known.upto, "also": also, "missing": missing, "reject": told}

    def name(self, first: int, last: int) -> None:
        """A gap says that first..last will not come: nothing is asked for or refused there any more."""
        self.known.add(first, last)
        self.rejects = {n: why for n, why in self.rejects.items() if not first <= n <= last}


def _first_few(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    return list(islice(ranges, RANGES_MAX))


def _without(ranges: Iterable[tuple[int, int]], apart: list[int]) -> Iterator[tuple[int, int]]:
    """The ranges without the numbers of `apart`, which rise."""
    for first, last in ranges:
        follows = first
        for n in apart:
            if first <= n <= last:
                if follows < n:
                    yield follows, n - 1
                follows = n + 1
        if follows <= last:
            yield follows, last
