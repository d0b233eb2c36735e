"""Hands on every input of a node: contacts, loops, buttons and taps, each at moments of its own dice."""

import random

from drivers.kinds import LOOP_STATES
from simulator.building import Report
from simulator.firmware_node import FirmwareNode, place, wiring

FIRST_S = 3.0  # the firmware has started, and has said what its inputs are at rest
FLOW_MAX_M3_S = 60e-6


class Hands:
    """change_s: each input is moved about that often, at the soonest after half of it."""

    def __init__(self, node: FirmwareNode, change_s: float, dice: random.Random) -> None:
        self._node = node
        self._change_s = change_s
        self._dice = dice
        counts = {kind: 1 if kind == "pad" else len(gpios) for kind, gpios in wiring().items()}
        points = [f"{node.name}:{kind}{number + 1}" for kind, count in counts.items() for number in range(count)]
        self._due_s = {point: FIRST_S + dice.random() * change_s for point in points}

    def tick(self, now_s: float) -> None:
        for point, due_s in self._due_s.items():
            if due_s > now_s:
                continue
            self._due_s[point] = now_s + self._change_s * (0.5 + self._dice.random())
            kind, _ = place(point)
            if kind == "loop":
                before = self._node.levels.get(point, "cut")  # nothing is wired to it at first
                self._node.move(point, self._dice.choice([state for state in LOOP_STATES if state != before]))
            elif kind == "contact":
                self._node.move(point, not self._node.levels.get(point, False))
            elif kind == "pad":
                self._node.move(point, float(self._dice.randrange(1, 6)))
            else:
                self._turn_tap(point)

    def _turn_tap(self, point: str) -> None:
        """Its telling is not owed: a flow is a mean over a second, and two alike are two readings."""
        flow = self._dice.random() * FLOW_MAX_M3_S if self._dice.random() < 0.8 else 0.0
        self._node.offer([Report(point, flow, False)])
