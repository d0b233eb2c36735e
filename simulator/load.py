"""Facts in numbers, for chaos and benchmarks: beyond what the building gives, steadily until the ring is full."""

import random
from collections.abc import Iterator, Mapping
from itertools import count

from simulator.building import Report
from simulator.hall import LABEL, Ticket
from simulator.hardware import Device, Fact, NodePoints, ticket_fact

CREDIT_MAX_S = 0.5  # a late step makes up for so much, no more


class Load:
    """facts: without end. per_s: how many a second. A full ring stops it, and nothing is made up for afterwards."""

    def __init__(self, device: Device, facts: Iterator[Fact], per_s: float) -> None:
        self._device = device
        self._facts = facts
        self._per_s = per_s
        self._credit = 0.0
        self._before_s = 0.0

    def tick(self, now_s: float) -> None:
        """now_s: real seconds since the start."""
        passed_s, self._before_s = now_s - self._before_s, now_s
        self._credit += self._per_s * min(passed_s, CREDIT_MAX_S)
        room = self._device.side.free - len(self._device.pending)
        due = int(self._credit)
        self._credit -= due
        self._device.offer([next(self._facts) for _ in range(min(due, room))])


def node_facts(points: NodePoints, bus: str, each: int, urgent: float, dice: random.Random) -> Iterator[Fact]:
    """Flows as telemetry and, for a share `urgent` of them, contacts that change; in turn over `each` extra points."""
    first = points.extra
    flows = [f"{bus}:flow{first['flow'] + i + 1}" for i in range(each)]
    contacts = [f"{bus}:contact{first['contact'] + i + 1}" for i in range(each)]
    for turn in count():
        if dice.random() < urgent:
            yield points.fact(Report(contacts[turn % each], turn // each % 2 == 0, True))
        else:
            yield points.fact(Report(flows[turn % each], dice.random() * 1e-3, False))


def kiosk_facts(source: str, services: list[str], windows: Mapping[str, list[str]]) -> Iterator[Fact]:
    """Tickets issued, called and served one after the other, in turn over the services: numbers without holes."""
    for number in count(1):
        for service in services:
            who = {"service": service, "number": number, "label": LABEL.format(service=service, number=number)}
            at = {**who, "window": next((name for name, serves in windows.items() if service in serves), "1")}
            yield ticket_fact(Ticket(source, "issued", who))
            yield ticket_fact(Ticket(source, "called", at))
            yield ticket_fact(Ticket(source, "served", at))
