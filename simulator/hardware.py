"""Simulated devices on simulated lines: nodes and kiosks behind pseudo-terminals, with the real ends of the protocols.

A fact is written to the truth first, then added to the device's ring, then sent.
"""

import os
import pty
import random
import selectors
import tty
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from drivers.kinds import LOOP_STATES
from drivers.node_frame import DATA, EVENT
from drivers.reading import Value
from gateway.config import Sensor
from simulator.building import Report, point_kind
from simulator.faults import Wire
from simulator.firmware_node import FirmwareNode
from simulator.hall import Ticket
from simulator.modbus_side import FAULTS as MODBUS_FAULTS
from simulator.modbus_side import ModbusDevice
from simulator.overheard_side import OverheardDevice
from simulator.scenario import Fault, ScenarioError
from simulator.truth import Truth

FIRMWARE = "sim-1.0"
CHUNK_BYTES = 32_768  # asked of a device at once
PENDING_MAX = 10_000  # facts that wait for a slot; generators stop at the first one, so this is never near


class Fact(NamedTuple):
    """One thing a device will say: what its `add` takes, and how the truth tells it."""

    said: tuple[Any, ...]
    kind: str
    sensor: str
    value: Value | None


class Device:
    """A node or kiosk: facts in, a numbered ring behind. make: from a boot number to the protocol's side.

    boot_file: keeps the boot counter as a node's flash does, so that the next start has a larger one.
    """

    def __init__(
        self, name: str, make: Callable[[int], Any], boot_file: Path, truth: Truth, wall_s: Callable[[], float]
    ) -> None:
        self.name = name
        self.pending: deque[Fact] = deque()
        self.facts = 0
        self._make = make
        self._boot_file = boot_file
        self._truth = truth
        self._wall_s = wall_s
        self.side: Any = make(next_boot(boot_file))

    @property
    def undurable(self) -> int:
        return int(self.side.undurable)

    def offer(self, facts: Iterable[Fact]) -> None:
        self.pending.extend(facts)
        if len(self.pending) > PENDING_MAX:
            raise RuntimeError(f"{self.name} has more than {PENDING_MAX} facts waiting; its generator did not stop")

    def pump(self) -> None:
        """As many waiting facts as the ring takes: all of them to the truth, and only then to the ring."""
        batch = [self.pending.popleft() for _ in range(min(self.side.free, len(self.pending)))]
        if not batch:
            return
        t_s, boot, first = self._wall_s(), self.side.boot, self.side.next
        for seq, (_, kind, sensor, value) in enumerate(batch, first):
            self._truth.fact(self.name, boot, seq, kind, sensor, value, t_s)
        self._truth.flush()
        for seq, fact in enumerate(batch, first):
            if self.side.add(*fact.said) != seq:
                raise RuntimeError(f"{self.name} did not take {seq}, which the truth has already")
        self.facts += len(batch)

    def reboot(self) -> None:
        """The ring is gone with the power. What was in it may have arrived or not: the truth says so."""
        if self.side.undurable:
            self._truth.lost(self.name, self.side.boot, self.side.durable + 1, self.side.next - 1, self._wall_s())
            self._truth.flush()
        self.side = self._make(next_boot(self._boot_file))


def next_boot(path: Path) -> int:
    """One more than the number in the file, which it now holds. Raises ScenarioError when it holds none."""
    try:
        boot = int(path.read_text()) + 1
    except FileNotFoundError:
        boot = 1
    except ValueError:
        raise ScenarioError(
            f"{path}: found no number; expected the boot counter of {path.stem}. "
            "Use a folder of links of its own, with a new gateway state beside it."
        ) from None
    fresh = path.with_suffix(".boot.new")
    with open(fresh, "w") as file:
        file.write(f"{boot}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    return boot


class NodePoints:
    """A node's points, and a Report about one of them as the node says it.

    counts: kind -> how many, in the order of the HELLO. sensors: those of the site file on this node.
    """

    def __init__(self, bus: str, sensors: list[Sensor], pads: list[str], extra: dict[str, int]) -> None:
        self.counts: dict[str, int] = {}
        for point in [sensor.point for sensor in sensors] + pads:
            kind = point_kind(point)
            number = int(point.partition(":")[2][len(kind) :])
            self.counts[kind] = max(self.counts.get(kind, 0), number)
        self.extra = {kind: self.counts.get(kind, 0) for kind in extra}  # the extra ones begin after these
        for kind, count in extra.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
        points = [f"{bus}:{kind}{i + 1}" for kind, count in self.counts.items() for i in range(count)]
        self._index = {point: index for index, point in enumerate(points)}
        self._sensor = {sensor.point: sensor.id for sensor in sensors}

    @property
    def text(self) -> str:
        """Of the HELLO: "sim-1.0;flow*2 loop*1"."""
        return f"{FIRMWARE};{' '.join(f'{kind}*{count}' for kind, count in self.counts.items())}"

    def fact(self, report: Report) -> Fact:
        """The value as a code on the wire, and as the gateway will read it."""
        point, value, urgent = report
        kind = point_kind(point)
        code = float(LOOP_STATES.index(value)) if isinstance(value, str) else float(value)
        said = (EVENT if urgent else DATA, self._index[point], code)
        if kind == "pad":
            return Fact(said, "event", point, int(code) or None)
        meant = value if kind in ("loop", "contact") else code
        return Fact(said, "reading", self._sensor.get(point, point), meant)


def ticket_fact(ticket: Ticket) -> Fact:
    value = ticket.fields.get("grade" if ticket.event == "rated" else "label")
    assert value is None or isinstance(value, int | str)
    return Fact((ticket.event, ticket.fields), "event", ticket.source, value)


class Line:
    """A cable from a device to a pseudo-terminal, whose other end is linked as `link` while it is plugged in."""

    def __init__(
        self,
        link: Path,
        device: Device | ModbusDevice | FirmwareNode | OverheardDevice,
        selector: selectors.BaseSelector,
        dice: random.Random,
    ) -> None:
        self.device = device
        self._link = link
        self._selector = selector
        self._standing: list[Fault] = []
        self._up, self._down = Wire(self._standing, dice), Wire(self._standing, dice)
        self._master = self._slave = -1
        self._unsent = b""
        self._wants_room = False

    @property
    def plugged(self) -> bool:
        return self._master >= 0

    def begin(self, fault: Fault) -> None:
        if fault.do == "reboot":
            self.device.reboot()
            return
        if fault.do in MODBUS_FAULTS:
            self.device.side.faults.add(fault.do)
        self._standing.append(fault)
        if fault.do == "cut" and self.plugged:
            self.unplug()

    def end(self, fault: Fault) -> None:
        if fault in self._standing:
            self._standing.remove(fault)
            if fault.do in MODBUS_FAULTS and not any(other.do == fault.do for other in self._standing):
                self.device.side.faults.discard(fault.do)
            if fault.do == "cut" and not any(other.do == "cut" for other in self._standing):
                self.plug()

    def end_all(self) -> None:
        for fault in list(self._standing):
            self.end(fault)

    def plug(self) -> None:
        """A new terminal under the old name. We hold its slave side open too: nobody there is not a broken line."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        fresh = self._link.with_name(f".{self._link.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.ttyname(self._slave))
        os.replace(fresh, self._link)
        self._selector.register(self._master, selectors.EVENT_READ, lambda: None)  # waking up is all: step() serves
        self._wants_room = False
        self.device.side.reset_line()

    def unplug(self) -> None:
        """Whoever has the terminal open reads its end; what was under way is lost."""
        if self.plugged:
            self._link.unlink(missing_ok=True)
            self._selector.unregister(self._master)
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1
            self._unsent = b""
            self._up.clear()
            self._down.clear()

    def step(self, now_s: float) -> None:
        """Read, let the device speak, write; never waits."""
        if not self.plugged:
            return
        heard = self._down.carry(self._read(), now_s)
        if heard:
            self.device.side.feed(heard)
        if not self._unsent:
            self._unsent = self._up.carry(self.device.side.outgoing(CHUNK_BYTES), now_s)
        if self._unsent:
            self._unsent = self._unsent[self._write(self._unsent) :]
        if self._wants_room != bool(self._unsent):
            self._wants_room = bool(self._unsent)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._wants_room else 0)
            self._selector.modify(self._master, events, lambda: None)

    def _read(self) -> bytes:
        try:
            return os.read(self._master, 65_536)
        except OSError:
            return b""  # nothing there, or a reader that just closed: both pass

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._master, data)
        except OSError:
            return 0
