"""What the tests of serial lines share: a clock turned by hand, a node's points, the numbers of facts."""

from drivers.reading import Fact, Lost

TEXT = "sim-1.0;flow*2 loop*2 contact*1 pad*1"
FLOW1, FLOW2, LOOP1, LOOP2, CONTACT1, PAD1 = range(6)
BOOT = 3


class Clock:
    """Turned by hand."""

    def __init__(self) -> None:
        self.s = 1000.0

    def mono_s(self) -> float:
        return self.s

    def mono_ms(self) -> int:
        return round(self.s * 1000)


def numbers(facts: list[Fact]) -> list[int | tuple[int, int]]:
    return [(fact.first, fact.last) if isinstance(fact, Lost) else fact.seq for fact in facts]
