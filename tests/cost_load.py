"""The load under which costs are counted: a site file, a node's readings with a meter's noise, a kiosk's tickets."""

import random
from collections.abc import Callable
from pathlib import Path

from drivers.node_frame import DATA
from drivers.node_side import NodeSide
from simulator.cost_rig import CostRig

SENSORS = 200
WARM_S = 90.0  # the first minute's aggregates bring the sensors' names into the database


def site(folder: Path, *, sensors: int = SENSORS, sampled: int = 0, model: bool = False, **store: float) -> Path:
    """Flows of a node, each told; sampled ones of another, told each minute; and a kiosk."""
    keep = ", ".join(f"{key} = {value}" for key, value in store.items())
    lines = [
        "schema = 1",
        'site = { id = "costs-site", gateway = "costs-box", name = "costs" }',
        'clock = { trust = "system" }',
        'bus.n1 = { kind = "node", port = "link:n1" }',
        'bus.n2 = { kind = "node", port = "link:n2" }',
        'bus.k1 = { kind = "kiosk-line", port = "link:k1" }',
        'uplink = { broker = "mqtt://127.0.0.1:1", confirm = "city", gzip = false, window = 20 }',
        f"store = {{ {keep} }}",
        'alarm.much = { name = "much", severity = "high", any = ["t00 > 0.5"] }' if sampled else "",
    ]
    lines += [f'sensor."s{i:03}" = {{ from = "n1:flow{i + 1}" }}' for i in range(sensors)]
    lines += [f'sensor."t{i:02}" = {{ from = "n2:flow{i + 1}", report = {{ every_s = 60 }} }}' for i in range(sampled)]
    if model:
        watched = ", ".join(f'"model:water-leak on s{i:03} > 0.9 for 10 min"' for i in range(sensors))
        lines.append(f'alarm.model = {{ name = "model", severity = "low", any = [{watched}] }}')
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "site.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


class Readings:
    """A node that measures so many a second, its points in turn, with the noise of a meter. made: how many."""

    def __init__(self, rig: CostRig, per_s: float, bus: str = "n1", points: int = SENSORS) -> None:
        self.made = 0
        self.level = 0.0
        self._per_s, self._points = per_s, points
        self._since_s: float | None = None
        self._dice = random.Random(5)
        self._node: NodeSide = rig.node(bus, 4096, f"costs;flow*{points}")
        rig.each_step(self._produce)

    def stop(self) -> None:
        self._per_s = 0.0

    def _produce(self, now_s: float) -> None:
        self._since_s = now_s if self._since_s is None else self._since_s
        while self._per_s and self.made < (now_s - self._since_s) * self._per_s:
            value = round(self.level + abs(self._dice.gauss(2e-4, 2e-5)), 7)
            assert self._node.add(DATA, self.made % self._points, value)
            self.made += 1


def tickets(rig: CostRig) -> Callable[[float], None]:
    """A kiosk; call the answer to have tickets drawn at so many a minute, each at a moment of its own."""
    kiosk = rig.kiosk("k1")
    dice = random.Random(3)
    rate = 0.0
    next_s = 0.0

    def produce(now_s: float) -> None:
        nonlocal next_s
        while rate and now_s >= next_s:
            assert kiosk.add("issued", {"ticket": f"A{kiosk.next % 1000:03}", "service": "A"})
            next_s = now_s + dice.expovariate(rate / 60.0)

    def at(per_minute: float) -> None:
        nonlocal rate, next_s
        rate, next_s = per_minute, 0.0

    rig.each_step(produce)
    return at
