"""Settings to serial lines: nodes, kiosks, Modbus units with what hangs on them, and what is only overheard.

pymodbus is imported only when a site has a modbus line: it is not free, and most of a box's memory is counted.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from drivers.call_bus import CallBus
from drivers.escpos import TEXTS
from drivers.escpos_tap import EscposTap, Template
from drivers.kiosk_line import KioskLink
from drivers.modbus_unit import Unit
from drivers.node_link import NodeLink
from drivers.node_settings import text_of
from drivers.reading import Fact, Said
from drivers.serial_line import SerialLine
from gateway.config import Bus, Site, resolve_port
from gateway.listen_port import Ear, ListenPort
from gateway.meters import Counter
from gateway.ports import Port
from gateway.queue_plan import strangers
from gateway.site_devices import model_of
from gateway.site_kiosks import table_of
from gateway.tickets import Numbering, Places

if TYPE_CHECKING:
    from gateway.modbus_port import ModbusPort

SILENT_LEAST_S = 15.0
SILENT_POLLS = 3

Take = Callable[[Sequence[Said]], None]
Mono = Callable[[], float]


def units(site: Site) -> dict[str, Unit]:
    """{device: Unit}, with the points that the site file asks for."""
    found = {}
    for name, device in site.devices.items():
        model = model_of(device)
        sensors = _points(name, [sensor.point for sensor in site.sensors.values()])
        proofs = _points(name, [output.proof for output in site.outputs.values()])
        outputs = _points(name, [output.to for output in site.outputs.values()])
        asked = list(dict.fromkeys([*sensors, *proofs]))
        poll_s = device.poll_s or model.poll_s
        found[name] = Unit(name, device.address, model, asked, poll_s, outputs=outputs, expect=dict(device.expect))
    return found


def _points(device: str, names: list[str]) -> list[str]:
    asked = (name.partition(":") for name in names)
    return [point for source, _, point in asked if source == device]


def counters(devices: dict[str, Unit]) -> list[Counter]:
    return [
        Counter(f"{name}:{point}", unit.device.point[point].wraps_at)
        for name, unit in devices.items()
        for point in unit.names
        if unit.device.point[point].counter
    ]


def ports(
    site: Site, devices: dict[str, Unit], open_line: Callable[[Bus], SerialLine], marks: dict[str, tuple[int, int]],
    loop: asyncio.AbstractEventLoop, take: Take, polled: Callable[[list[Fact]], None], mono_s: Mono,
) -> "list[Port | ListenPort | ModbusPort]":  # fmt: skip
    """open_line: a bus's line, still closed. polled: what happens to the facts of Modbus units before `take`."""
    found: list[Port | ListenPort | ModbusPort] = []
    wanted = node_points(site)
    for bus in site.buses.values():
        line = open_line(bus)
        if bus.kind == "modbus":
            found.append(_modbus(site, bus, line, devices, loop, polled, mono_s))
        elif bus.is_overheard:
            found.append(ListenPort(bus.name, line, ear(site, bus, mono_s), loop, take, mono_s, bus.patience_s))
        else:
            mark = marks.get(bus.name, (0, 0))
            link = (
                NodeLink(bus.name, mono_s, mark, text_of(bus.node), wanted)
                if bus.kind == "node"
                else KioskLink(bus.name, mono_s, mark)
            )
            found.append(Port(bus.name, line, link, loop, take, mono_s, bus.patience_s))
    return found


def node_points(site: Site) -> dict[str, list[str]]:
    """{bus: points} that the site file wants of each node."""
    asked = [sensor.point for sensor in site.sensors.values()] + [window.rating for window in site.windows.values()]
    return {bus.name: sorted(set(_points(bus.name, asked))) for bus in site.buses.values() if bus.kind == "node"}


def ear(site: Site, bus: Bus, mono_s: Mono) -> Ear:
    """What understands an overheard line."""
    if bus.kind == "escpos":
        services = {service.title: name for name, service in site.services.items()}
        return EscposTap(bus.name, Template(bus.ticket or [], bus.reprint), bus.text or TEXTS[0], services, mono_s)
    return CallBus(bus.name, table_of(bus), mono_s)


def places(site: Site) -> Places:
    """How tickets are numbered, and which terminal and pad stands at which window."""
    numbering: dict[str, Numbering] = {}
    letters: dict[str, str] = {}
    for name, service in site.services.items():
        numbers = site.queues[service.queue].numbers
        away = strangers(site, service.queue)
        own = Numbering(service.queue, numbers.scope, numbers.restart, numbers.label, away)
        others = [*service.priority, *([service.appointments] if service.appointments else [])]
        numbering |= dict.fromkeys((name, *others), own)
        letters |= dict.fromkeys(others, name)
    windows = site.windows.values()
    calls = {window.calls: window.name for window in windows if window.calls}
    return Places(numbering, calls, {window.rating: window.name for window in windows if window.rating}, letters)


def serial_line(bus: Bus, links: Path | None, mono_s: Mono) -> SerialLine:
    def find() -> Path:
        return links / bus.name if links else resolve_port(bus.port, None)

    return SerialLine(find, bus.line, mono_s)


def _modbus(
    site: Site, bus: Bus, line: SerialLine, devices: dict[str, Unit], loop: asyncio.AbstractEventLoop,
    take: Callable[[list[Fact]], None], mono_s: Mono,
) -> "ModbusPort":  # fmt: skip
    from drivers.modbus import Master, Timing
    from gateway.modbus_port import ModbusPort, Source

    here = [devices[name] for name, device in site.devices.items() if device.bus == bus.name]
    master = Master(here, Timing.of(bus.line, bus.timeout_ms, bus.gap_ms), mono_s())
    sources = [
        Source(unit, site.devices[unit.name].silent_s or max(SILENT_LEAST_S, SILENT_POLLS * unit.poll_s), mono_s)
        for unit in here
    ]
    return ModbusPort(bus.name, line, master, sources, loop, take, mono_s, bus.patience_s)
