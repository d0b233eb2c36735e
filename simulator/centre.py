"""A whole simulated centre: what a site file names, made of building, hall, load, devices, lines and pins."""

import random
import selectors
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Self

from drivers.kiosk_side import KioskSide
from drivers.node_settings import Settings, text_of
from drivers.node_side import NodeSide
from gateway.config import Bus, Sensor, Site
from gateway.site_devices import model_of
from gateway.site_kiosks import table_of
from simulator import data
from simulator.building import Building, Report, is_contact, made_up_day
from simulator.data import Course, Visits
from simulator.faults import Change, Schedule
from simulator.firmware_node import FirmwareNode
from simulator.hall import Hall, Plan, Ticket, made_up_visits
from simulator.hands import Hands
from simulator.hardware import Device, Line, NodePoints, ticket_fact
from simulator.load import Load, kiosk_facts, node_facts
from simulator.modbus_side import FAULTS as MODBUS_FAULTS
from simulator.modbus_side import ModbusDevice, ModbusSide, SimUnit
from simulator.overheard_side import OverheardDevice, Terminals, slip
from simulator.pin_server import PinServer
from simulator.reed import Reed
from simulator.scenario import Scenario, ScenarioError
from simulator.truth import Truth

QUEUES_MAX = 4  # of a real office's day; a site with more services takes them twice
SUPPLY_MV, FREE_B = 5000, 120_000  # what a node's heartbeat tells of itself


class Centre:
    """Call step() again and again. links: folder of the lines. Raises ScenarioError, and OSError for the folder.

    truth: the file beside it. Time comes from mono_s and wall_s, all chance from seed.
    firmware: names of nodes that run their real firmware, in processes of their own.
    """

    def __init__(
        self,
        site: Site,
        scenario: Scenario,
        links: Path,
        truth: Path,
        seed: int,
        speed: float,
        mono_s: Callable[[], float],
        wall_s: Callable[[], float],
        firmware: Collection[str] = (),
    ) -> None:
        self._site = site
        self._scenario = scenario
        self._links = links
        self._seed = seed
        self._mono_s = mono_s
        self._wall_s = wall_s
        self._firmware = firmware
        self.nodes: dict[str, FirmwareNode] = {}
        self._started_s = mono_s()
        self._calm = False
        self._deeds = sorted(scenario.at, key=lambda deed: deed.s)
        self.selector = selectors.DefaultSelector()
        self.pins = PinServer(links / "pins.sock", self.selector, self._output)
        self._gpio = {s.point: s for s in site.sensors.values() if s.source == "gpio" and is_contact(s)}
        self._pads = self._pad_points()
        sensors, outputs = site.sensors.values(), site.outputs.values()
        self.building = Building(sensors, outputs, self._courses(), scenario.water, speed, self._dice("building"))
        self.hall = self._make_hall(speed)
        self._check()
        self.truth = Truth(truth)
        self._points: dict[str, NodePoints] = {}
        self._units: dict[str, SimUnit] = {}
        self._printers: dict[str, OverheardDevice] = {}
        self._terminals: list[tuple[OverheardDevice, Terminals]] = []
        self._polled = {s.point: s for s in site.sensors.values() if s.source in site.devices}
        self._reeds = {name: Reed(pulse) for name, pulse in site.pulses.items()}
        self.lines = {bus.name: self._make_line(bus) for bus in site.buses.values()}
        self._faults = Schedule(scenario.own_faults, list(self.lines), seed)
        self._loads = self._make_loads()
        self._hands = self._make_hands()

    def __enter__(self) -> Self:
        for report in self.building.levels():
            self._pin(report)
            if node := self.nodes.get(report.point.partition(":")[0]):
                node.offer([report])
        for reed in self._reeds.values():
            self.pins.set(reed.gpio, 1)
        self.truth.flush()
        self.pins.open()
        for line in self.lines.values():
            line.plug()
        self._started_s = self._mono_s()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            node.close()
        for line in self.lines.values():
            line.unplug()
        self.pins.close()
        self.truth.close()
        self.selector.close()

    def now_s(self) -> float:
        """Real seconds since the start."""
        return self._mono_s() - self._started_s

    def undurable(self) -> dict[str, int]:
        """Devices that hold facts which the gateway has not called durable, and how many."""
        held = {name: line.device.undurable for name, line in self.lines.items()}
        return {name: count for name, count in held.items() if count}

    def step(self, wait_s: float) -> None:
        """Let a moment happen, then wait for bytes for at most wait_s."""
        now_s = self.now_s()
        if not self._calm:
            self._happen(now_s)
        for line in self.lines.values():
            line.device.pump()
            line.step(now_s)
        for key, _ in self.selector.select(wait_s):
            key.data()

    def calm(self) -> None:
        """Nothing happens any more and nothing breaks; devices go on until all they hold is durable."""
        self._calm = True
        self.pins.open()
        for line in self.lines.values():
            line.end_all()
            line.device.pending.clear()  # what still waited for a slot has not happened
        for node in self.nodes.values():
            node.calm()

    def _happen(self, now_s: float) -> None:
        for change in self._faults.due(now_s):
            self._break(change)
        while self._deeds and self._deeds[0].s <= now_s:
            deed = self._deeds.pop(0)
            self.building.do(deed, now_s)
            self.hall.do(deed, now_s)
        # A full ring stops what would fill it: nothing happens in a building whose nodes cannot take it.
        if not any(self._device(name).pending for name in self._points):
            for report in self.building.tick(now_s):
                self._tell(report)
        if not any(line.device.pending for line in self.lines.values()):
            for said in self.hall.tick(now_s):
                if isinstance(said, Report):
                    self._tell(said)
                else:
                    self._ticket(said)
        for load in self._loads:
            load.tick(now_s)
        for hands in self._hands:
            hands.tick(now_s)
        for reed in self._reeds.values():
            if (closed := reed.tick(now_s)) is not None:
                self.pins.set(reed.gpio, int(not closed))

    def _measure(self, report: Report) -> None:
        """Into the registers of a polled unit; the truth is what they now say to whoever asks."""
        device, _, point = report.point.partition(":")
        unit = self._units[device]
        value = unit.measure(point, report.value)
        self.truth.sampled(self._polled[report.point].id, value, self._wall_s())
        self.truth.flush()

    def _break(self, change: Change) -> None:
        if change.target == "pins":
            self.pins.close() if change.begins else self.pins.open()
        elif change.begins:
            self.lines[change.target].begin(change.fault)
        else:
            self.lines[change.target].end(change.fault)

    def _device(self, name: str) -> Device:
        return self.lines[name].device

    def _tell(self, report: Report) -> None:
        source = report.point.partition(":")[0]
        if points := self._points.get(source):
            self._device(source).offer([points.fact(report)])
        elif node := self.nodes.get(source):
            node.offer([report])
        elif source == "gpio":
            self._pin(report)
        elif source in self._units:
            self._measure(report)
        elif source in self._reeds and report.point.endswith(":flow"):
            self._reeds[source].flow_m3s = float(report.value)

    def _pin(self, report: Report) -> None:
        """A closed contact pulls its pin low; in the safe wiring a healthy contact is closed."""
        sensor = self._gpio.get(report.point)
        if sensor:
            active = bool(report.value)
            self.truth.sampled(sensor.id, active, self._wall_s())
            is_open = active == (sensor.wiring == "normally-closed")
            self.truth.flush()
            self.pins.set(int(report.point.partition(":")[2]), int(is_open))

    def _output(self, gpio: int, level: int) -> None:
        self.building.output(gpio, level, self.now_s())

    def _dice(self, part: str) -> random.Random:
        return random.Random(f"{self._seed}/{part}")

    def _courses(self) -> dict[str, Course]:
        if not self._scenario.water.on:
            return {}
        place = data.folder("weusedto")
        if place:
            return data.water_day(place, self._dice("water"))
        print("no folder weusedto (LINLI_DATA): the water is made up, not a real day", file=sys.stderr)
        return made_up_day(self._dice("water"))

    def _visits(self) -> list[Visits]:
        services = min(len(self._site.services), QUEUES_MAX)
        place = data.folder("warsaw-queues")
        if place:
            return data.office_day(place, services, self._dice("office"))
        print("no folder warsaw-queues (LINLI_DATA): the tickets are made up, not a real day", file=sys.stderr)
        return made_up_visits(services, self._dice("office"))

    def _kiosks(self) -> list[str]:
        return [bus.name for bus in self._site.buses.values() if bus.kind in ("kiosk-line", "escpos")]

    def _ticket(self, said: Ticket) -> None:
        if said.source in self._printers:
            self._overhear(said)
        else:
            self._device(said.source).offer([ticket_fact(said)])

    def _overhear(self, said: Ticket) -> None:
        """A kiosk without LK1: its printer prints, and each terminal tells what was pressed at its window."""
        label = str(said.fields["label"])
        if said.event == "issued":
            name = self._site.services[str(said.fields["service"])].title
            self._printers[said.source].say(slip(said, name, self._wall_s()), "issued", label)
        for device, terminals in self._terminals:
            if frame := terminals.frame(said):
                device.say(frame, said.event, label)

    def _pad_points(self) -> dict[str, str]:
        """The first window has a rating pad, on the last node; people at the others are asked by the kiosk."""
        nodes = [bus.name for bus in self._site.buses.values() if bus.kind == "node"]
        windows = list(self._site.windows)
        return {windows[0]: f"{nodes[-1]}:pad1"} if nodes and windows else {}

    def _make_hall(self, speed: float) -> Hall:
        kiosks = self._kiosks()
        services = list(self._site.services) if kiosks else []
        windows = {name: window.services for name, window in self._site.windows.items()}
        settings = self._scenario.hall
        visits = self._visits() if services and settings.on else []
        return Hall(Plan(kiosks, services, windows, self._pads), visits, settings, speed, self._dice("hall"))

    def _make_line(self, bus: Bus) -> Line:
        name = bus.name
        if bus.kind == "modbus":
            modbus = ModbusDevice(name, ModbusSide(self._units_on(name), self._mono_ms))
            return Line(self._links / name, modbus, self.selector, self._dice(f"line/{name}"))
        if name in self._firmware:
            return Line(self._links / name, self._run_firmware(bus), self.selector, self._dice(f"line/{name}"))
        if bus.is_overheard:
            return Line(self._links / name, self._overheard(bus), self.selector, self._dice(f"line/{name}"))
        boot_file = self._links / f"{name}.boot"
        make = self._kiosk_maker(name) if bus.kind == "kiosk-line" else self._node_maker(name)
        device = Device(name, make, boot_file, self.truth, self._wall_s)
        return Line(self._links / name, device, self.selector, self._dice(f"line/{name}"))

    def _overheard(self, bus: Bus) -> OverheardDevice:
        device = OverheardDevice(bus.name, self.truth, self._wall_s)
        if bus.kind == "escpos":
            self._printers[bus.name] = device
        elif bus.kind == "call-bus":
            points = {window.name: window.calls.partition(":") for window in self._site.windows.values()}
            addresses = {name: int(address) for name, (source, _, address) in points.items() if source == bus.name}
            self._terminals.append((device, Terminals(table_of(bus), addresses)))
        return device

    def _units_on(self, bus: str) -> list[SimUnit]:
        found = [
            SimUnit(name, device.address, model_of(device), dict(device.expect))
            for name, device in self._site.devices.items()
            if device.bus == bus
        ]
        self._units |= {unit.name: unit for unit in found}
        return found

    def _kiosk_maker(self, name: str) -> Callable[[int], KioskSide]:
        ring = self._scenario.load.ring
        return lambda boot: KioskSide(boot, ring, f"sim-{name}", self._mono_ms)

    def _run_firmware(self, bus: Bus) -> FirmwareNode:
        name, settings = bus.name, Settings(text_of(bus.node))
        sensors = [sensor for sensor in self._site.sensors.values() if sensor.source == name]
        flash = self._links / f"{name}.flash"
        node = FirmwareNode(name, flash, sensors, settings, self.truth, self._wall_s, self._mono_s)
        self.nodes[name] = node
        return node

    def _node_maker(self, name: str) -> Callable[[int], NodeSide]:
        load = self._scenario.load
        sensors: list[Sensor] = [sensor for sensor in self._site.sensors.values() if sensor.source == name]
        pads = [pad for pad in self._pads.values() if pad.startswith(f"{name}:")]
        extra = {"flow": load.points, "contact": load.points} if load.node_per_s else {}
        points = self._points[name] = NodePoints(name, sensors, pads, extra)

        def make(boot: int) -> NodeSide:
            side = NodeSide(boot, load.ring, points.text, self._mono_ms)
            side.supply_mv, side.free_b = SUPPLY_MV, FREE_B
            return side

        return make

    def _mono_ms(self) -> int:
        return int(self._mono_s() * 1000)

    def _make_loads(self) -> list[Load]:
        load = self._scenario.load
        loads = []
        windows = {name: window.services for name, window in self._site.windows.items()}
        kiosks = self._kiosks()
        for name, line in self.lines.items():
            if points := self._points.get(name):
                facts = node_facts(points, name, load.points, load.urgent, self._dice(f"load/{name}"))
                per_s = load.node_per_s
            elif name not in kiosks or name in self._printers:
                continue
            else:
                services = list(self._site.services)[kiosks.index(name) :: len(kiosks)] or [f"{name}-"]
                facts = kiosk_facts(name, services, windows)
                per_s = load.kiosk_per_s
            if per_s:
                loads.append(Load(line.device, facts, per_s))
        return loads

    def _make_hands(self) -> list[Hands]:
        change_s = self._scenario.hands.change_s
        nodes = self.nodes.values() if change_s else ()
        return [Hands(node, change_s, self._dice(f"hands/{node.name}")) for node in nodes]

    def _check(self) -> None:
        for deed in self._deeds:
            self.building.check(deed)
            self.hall.check(deed)
        known = ["lines", "pins", *self._site.buses]
        for fault in self._scenario.own_faults:
            if fault.on not in known:
                raise ScenarioError(
                    f"{self._scenario.name}: found a fault on {fault.on!r}; expected one of {', '.join(known)}. "
                    "Name a bus of this site file."
                )
            if fault.do in MODBUS_FAULTS and self._site.buses[fault.on].kind != "modbus":
                raise ScenarioError(
                    f"{self._scenario.name}: found {fault.do} on {fault.on!r}, a {self._site.buses[fault.on].kind}; "
                    "expected a modbus line. Name another bus."
                )
        if self._scenario.hands.change_s and not self._firmware:
            raise ScenarioError(
                f"{self._scenario.name}: found [hands] change_s and no node that runs its firmware; expected one. "
                "Say --nodes firmware, or take [hands] out."
            )
        if self._scenario.load.kiosk_per_s and self._scenario.hall.on:
            raise ScenarioError(
                f"{self._scenario.name}: found [load] kiosk_per_s beside a hall that is on; expected only one to issue "
                "tickets. Write on = false into [hall]."
            )
