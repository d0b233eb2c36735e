"""What must fit between the tables of a site file: buses and points, sensors, outputs, services, the broker.

Each rule yields the mistakes it finds and leaves alone what the reader could not read. Alarms and
reactions have a file of their own, alarm_rules.py.
"""

import difflib
import ipaddress
import re
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from drivers import node_settings
from drivers.kinds import KINDS
from drivers.node_settings import SettingError
from gateway import opening
from gateway.opening import OpeningError
from gateway.reporting import DERIVED
from gateway.site_devices import device_point, fixed_kind, is_polled
from gateway.site_hall import Queue
from gateway.site_lines import Path
from gateway.site_reader import UNREAD, Mistake, dotted, found, one_of, quoted
from gateway.site_tables import FAMILIES, KIOSKS, PULSE_POINTS, WIRINGS, Bus, Sensor, SiteFile

E = TypeVar("E")

_NODE_POINT = re.compile(r"[a-z]+[1-9][0-9]{0,2}")
_PIN = re.compile(r"gpio:(1?[0-9]|2[0-7])")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def read(thing: object, *fields: str) -> bool:
    """Whether the reader could read these fields, so that a rule can judge them."""
    return all(getattr(thing, field) is not UNREAD for field in fields)


def entries(tables: dict[str, E]) -> Iterator[tuple[str, E]]:
    """The tables of a sort that are tables at all."""
    return ((name, entry) for name, entry in (tables or {}).items() if entry is not UNREAD)


def items(things: list[E]) -> Iterator[tuple[int, E]]:
    """The items of a list that could be read, each with its place."""
    return ((index, thing) for index, thing in enumerate(things or ()) if thing is not UNREAD)


def unknown(tables: Mapping[str, Any], name: str, where: Path, sort: str) -> Iterator[Mistake]:
    """The mistake of naming something that the file does not have."""
    if tables is UNREAD or name in tables:
        return
    near = difflib.get_close_matches(name, tables, 1)
    expected = f"one of {', '.join(tables)}" if tables else f"a {sort} of this file, which has none"
    yield Mistake(where, f"{sort} {quoted(name)}", expected, f"write {quoted(near[0])}" if near else f"add the {sort}")


def twice(claims: Iterable[tuple[str, Path]], what: str) -> Iterator[Mistake]:
    """The mistake of using one thing for two."""
    first: dict[str, Path] = {}
    for thing, where in claims:
        if thing in first:
            used = f"{quoted(thing)}, which {dotted(first[thing][:-1])} uses"
            yield Mistake(where, used, f"one use of each {what}", f"choose another {what}, or remove one of the two")
        first.setdefault(thing, where)


def place_rules(file: SiteFile) -> Iterator[Mistake]:
    if not read(file, "site"):
        return
    if read(file.site, "open") and file.site.open:
        try:
            opening.parse(file.site.open)
        except OpeningError as error:
            yield Mistake(("site", "open"), error.found, error.expected, error.do)
    if not read(file.site, "tz"):
        return
    try:
        zoneinfo.ZoneInfo(file.site.tz)
    except (KeyError, ValueError, OSError):
        near = difflib.get_close_matches(file.site.tz, zoneinfo.available_timezones(), 1)
        do = f"write tz = {quoted(near[0] if near else 'Asia/Shanghai')}"
        yield Mistake(("site", "tz"), quoted(file.site.tz), 'a time zone such as "Asia/Shanghai"', do)


def bus_rules(file: SiteFile) -> Iterator[Mistake]:
    buses = list(entries(file.bus))
    yield from twice(((b.port, ("bus", name, "port")) for name, b in buses if read(b, "port")), "port")
    for name, _ in buses:
        if name in ("gpio", "model"):
            yield Mistake(("bus", name), quoted(name), "a name of your own", "rename it, for example to n1")
    for name, bus in buses:
        if read(bus, "kind", "node") and bus.node:
            yield from _node_rules(name, bus)


def _node_rules(name: str, bus: Bus) -> Iterator[Mistake]:
    """The node checks its settings itself; what can be known here is told before anybody drives to the site."""
    path: Path = ("bus", name, "node")
    if bus.kind != "node":
        yield Mistake(path, f"node for a {bus.kind}", "node for a bus of kind node", "remove it")
        return
    settings = {key: value for key, value in bus.node.items() if value is not UNREAD}
    wrong = False
    for key, value in settings.items():
        try:
            node_settings.checked(key, str(value))
        except SettingError as error:
            wrong = True
            strange = error.found == key  # a name nobody knows; else it is the number that is wrong
            near = difflib.get_close_matches(key, node_settings.known(""), 1) if strange else []
            do = f"write {near[0]} = {value}" if near else "correct it, or remove it"
            yield Mistake((*path, key), error.found, error.expected, do)
    text = node_settings.text_of(settings)
    if len(text) > node_settings.TEXT_MAX_BYTES:
        expected = f"at most {node_settings.TEXT_MAX_BYTES} bytes"
        yield Mistake(
            path, f"settings of {len(text)} bytes", expected, "set what is alike for all points of a sort at once"
        )
    elif not wrong:
        try:
            node_settings.Settings(text)
        except SettingError as error:
            yield Mistake(path, error.found, error.expected, "correct short_below, alarm_above and cut_above")


def sensor_rules(file: SiteFile) -> Iterator[Mistake]:
    for name, sensor in entries(file.sensor):
        path: Path = ("sensor", name)
        if not read(sensor, "point"):
            continue
        wrong = list(_point_rules(file, sensor, (*path, "from")))
        yield from wrong
        if not wrong and fixed_kind(file, sensor) is not None:
            yield from _kind_rules(file, sensor, path)
            yield from _contact_rules(file, sensor, path)
            yield from _valid_rules(file, sensor, path)
            yield from _report_rules(file, sensor, path)


def pin_rules(file: SiteFile) -> Iterator[Mistake]:
    """One point has one role; a pin is either read or driven."""
    sensors = [(s.point, ("sensor", name, "from")) for name, s in entries(file.sensor) if read(s, "point")]
    outputs = [(o.to, ("output", name, "to")) for name, o in entries(file.output) if read(o, "to")]
    pulses = [(p.pin, ("pulse", name, "pin")) for name, p in entries(file.pulse) if read(p, "pin")]
    alarms = [(a.button, ("alarm", name, "button")) for name, a in entries(file.alarm) if read(a, "button")]
    buttons = {pin: where for pin, where in reversed(alarms) if pin.startswith("gpio:")}  # one may serve many
    yield from twice([*sensors, *outputs, *pulses, *buttons.items()], "point")


def service_rules(file: SiteFile) -> Iterator[Mistake]:
    for name, service in entries(file.service):
        if read(service, "queue"):
            yield from unknown(file.queue, service.queue, ("service", name, "queue"), "queue")
    yield from _letter_rules(file)
    for name, window in entries(file.window):
        for index, label in items(window.services):
            yield from unknown(file.service, label, ("window", name, "services", index), "service")
    for name, queue in entries(file.queue):
        yield from _queue_rules(file, name, queue)
        yield from _source_rules(file, name, queue)


def _letter_rules(file: SiteFile) -> Iterator[Mistake]:
    """A letter on a ticket tells one service, and one sort of its tickets."""
    claims: list[tuple[str, Path]] = [(name, ("service", name, "key")) for name, _ in entries(file.service)]
    for name, service in entries(file.service):
        if read(service, "priority"):
            claims += [(label, ("service", name, "priority", index)) for index, label in items(service.priority)]
        if read(service, "appointments") and service.appointments:
            claims.append((service.appointments, ("service", name, "appointments")))
    yield from twice(claims, "letter")


def _queue_rules(file: SiteFile, name: str, queue: Queue) -> Iterator[Mistake]:
    """Each service names its queue; a queue that lists its services must say the same."""
    services = dict(entries(file.service))
    if not all(read(service, "queue") for service in services.values()):
        return
    theirs = sorted(label for label, service in services.items() if service.queue == name)
    if read(queue, "services") and queue.services and set(queue.services) != set(theirs):
        listed = ", ".join(quoted(label) for label in queue.services if label is not UNREAD)
        expected = f"the services with queue = {quoted(name)}: {', '.join(map(quoted, theirs)) or 'none'}"
        yield Mistake(("queue", name, "services"), listed, expected, "remove the list, or correct the services")


def _source_rules(file: SiteFile, name: str, queue: Queue) -> Iterator[Mistake]:
    """Tickets come from kiosks. A ticket's identity begins with its queue, or with a kiosk that does not feed it."""
    if not read(queue, "sources"):
        return
    kinds = {bus: one.kind for bus, one in entries(file.bus) if read(one, "kind")}
    kiosks = [bus for bus, kind in kinds.items() if kind in KIOSKS]
    for index, source in items(queue.sources):
        where: Path = ("queue", name, "sources", index)
        yield from unknown(file.bus, source, where, "bus")
        if source in kinds and source not in kiosks:
            expected = f"a kiosk: a bus of kind {one_of(KIOSKS)}"
            do = f"name one of {', '.join(kiosks)}" if kiosks else "remove it"
            yield Mistake(where, f"{quoted(source)}, a bus of kind {quoted(kinds[source])}", expected, do)
    if queue.sources and name in kiosks and name not in queue.sources:
        expected = "another name than that of a kiosk that does not feed it"
        yield Mistake(("queue", name, "key"), f"queue {quoted(name)}", expected, "rename the queue, or the bus")


def uplink_rules(file: SiteFile) -> Iterator[Mistake]:
    if not read(file, "uplink") or not read(file.uplink, "broker"):
        return
    where: Path = ("uplink", "broker")
    wrong = broker_mistake(file.uplink.broker)
    if wrong:
        yield Mistake(where, *wrong)
    elif file.uplink.tls and file.tls is None:
        yield Mistake(
            where, "mqtts:// without tls", "a tls table with the broker's ca", 'add tls = { ca = "file:city-ca.pem" }'
        )


def obey_rules(file: SiteFile) -> Iterator[Mistake]:
    """What is done on the spot is done for a signature."""
    if not read(file, "uplink") or not read(file.uplink, "obey", "keys"):
        return
    if "operate" in file.uplink.obey and not file.uplink.keys:
        yield Mistake(
            ("uplink", "obey"), "operate without keys", "whose signature is obeyed", 'add keys = ["file:city.pub"]'
        )
    if file.uplink.keys and "operate" not in file.uplink.obey:
        yield Mistake(
            ("uplink", "keys"),
            "keys without operate",
            'obey with "operate"',
            'add obey = ["operate"], or remove keys',
        )


def tls_rules(file: SiteFile) -> Iterator[Mistake]:
    if file.tls is None or not read(file, "tls") or not read(file.tls, "key", "cert"):
        return
    if (file.tls.key is None) != (file.tls.cert is None):
        has, lacks = ("key", "cert") if file.tls.cert is None else ("cert", "key")
        yield Mistake(("tls", has), f"{has} without {lacks}", "both or neither", f'add {lacks} = "file:PATH"')


def broker_mistake(url: str) -> tuple[str, str, str] | None:
    """What is wrong with a broker's address, if anything. Never repeats what may be a password."""
    whole = 'a broker: "mqtts://HOST:PORT", or "mqtt://127.0.0.1:PORT" on this machine'
    write = 'write for example broker = "mqtts://192.0.2.10:8883"'
    if "@" in url:
        return ("a user or password in the address", whole, "remove it: the box proves itself with tls.key")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        loopback = _is_loopback(host)
    except ValueError:
        return quoted(url), whole, write
    if parts.scheme not in ("mqtt", "mqtts") or parts.path or parts.query or parts.fragment or port == 0:
        return quoted(url), whole, write
    if not _is_host(host):
        return quoted(url), whole, write
    if parts.scheme == "mqtt" and not loopback:
        do = "write mqtts:// with the broker's port for TLS, often 8883, and add tls"
        return quoted(url), "TLS to a broker on another machine", do
    return None


def _is_host(host: str) -> bool:
    if ":" in host:  # urlsplit has taken the brackets off
        ipaddress.IPv6Address(host)
        return True
    return _HOST.fullmatch(host) is not None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _point_rules(file: SiteFile, sensor: Sensor, where: Path) -> Iterator[Mistake]:
    source, _, point = sensor.point.partition(":")
    if source == "gpio":
        if not _PIN.fullmatch(sensor.point):
            expected = "a pin from gpio:0 to gpio:27 (BCM numbers)"
            yield Mistake(where, quoted(sensor.point), expected, 'write for example from = "gpio:17"')
        return
    if is_polled(file, sensor) and isinstance(file.pulse, dict) and source in file.pulse:
        if point not in PULSE_POINTS:
            points = [f"{source}:{name}" for name in PULSE_POINTS]
            yield Mistake(where, quoted(sensor.point), one_of(points), f"write for example {quoted(points[0])}")
        return
    if is_polled(file, sensor):
        device, found_point = device_point(file, sensor.point)
        if device is not None and (found_point is None or found_point.kind == "setting"):
            known = [name for name, p in device.point.items() if p.kind != "setting"]
            near = difflib.get_close_matches(point, known, 1) or known[:1]
            expected = f"a point of {device.model}: {', '.join(known)}"
            yield Mistake(where, quoted(sensor.point), expected, f"write for example {quoted(f'{source}:{near[0]}')}")
        return
    yield from unknown(file.bus, source, where, "bus")
    bus = (file.bus or {}).get(source, UNREAD)
    if bus is UNREAD or not read(bus, "kind"):
        return
    if bus.kind == "modbus":
        do = 'name the device: device.<name>, then from = "<name>:<point>"'
        yield Mistake(where, f"{quoted(source)}, a modbus line", "a device on it", do)
    elif bus.kind != "node":
        do = "remove this sensor: tickets, calls and ratings come as events by themselves"
        yield Mistake(where, f"{quoted(source)}, of kind {bus.kind}", "a bus of kind node", do)
    elif re.fullmatch("pad[0-9]+", point):
        do = "remove this sensor: a pad's ratings come as events by themselves"
        yield Mistake(where, f"the rating pad {quoted(sensor.point)}", "a point with values", do)
    elif not _NODE_POINT.fullmatch(point) or sensor.family not in FAMILIES:
        known = [f"{family}1" for family in FAMILIES if family != "gpio"]
        do = f"write for example from = {quoted(f'{source}:{known[0]}')}"
        yield Mistake(where, quoted(sensor.point), f"a node's point, numbered from 1: {', '.join(known)} …", do)


def _kind_rules(file: SiteFile, sensor: Sensor, path: Path) -> Iterator[Mistake]:
    if not read(sensor, "kind"):
        return
    fixed = fixed_kind(file, sensor)
    contacts = [kind for kind in KINDS if KINDS[kind].is_contact]
    if fixed:
        if sensor.kind not in ("", fixed):
            expected = f"{quoted(fixed)} for {quoted(sensor.point)}"
            yield Mistake((*path, "kind"), quoted(sensor.kind), expected, "remove kind, or correct from")
    elif sensor.kind not in contacts:
        expected = f"{one_of(contacts)} for {quoted(sensor.point)}"
        what = quoted(sensor.kind) if sensor.kind else "nothing"
        do = 'write for example kind = "leak"' if sensor.kind else 'add for example kind = "leak"'
        yield Mistake((*path, "kind"), what, expected, do)


def _contact_rules(file: SiteFile, sensor: Sensor, path: Path) -> Iterator[Mistake]:
    """wiring, on_s, off_s and latch, where they belong."""
    wirings = WIRINGS.get(sensor.family, ())
    if read(sensor, "wiring") and sensor.wiring and sensor.wiring not in wirings:
        expected = one_of(wirings) if wirings else "no wiring"
        do = "choose what is on the wall, or correct from" if wirings else "remove it"
        yield Mistake((*path, "wiring"), quoted(sensor.wiring), f"{expected} for {quoted(sensor.point)}", do)
    for key in ("on_s", "off_s"):
        if read(sensor, key) and getattr(sensor, key) and sensor.family != "gpio":
            do = f"remove it; a node settles its own points, and an alarm has {key}"
            yield Mistake((*path, key), f"{key} for {quoted(sensor.point)}", f"{key} for a pin (gpio:N)", do)
    if read(sensor, "latch") and sensor.latch and fixed_kind(file, sensor):
        yield Mistake((*path, "latch"), f"latch for {quoted(sensor.point)}", "latch for a contact", "remove it")


def _valid_rules(file: SiteFile, sensor: Sensor, path: Path) -> Iterator[Mistake]:
    """valid, which only numbers have."""
    is_number = fixed_kind(file, sensor) not in ("", "status")
    if read(sensor, "valid") and sensor.valid is not None:
        low, high = sensor.valid
        if not is_number:
            yield Mistake((*path, "valid"), "valid for a contact", "valid for a sensor with numbers", "remove it")
        elif low >= high:
            both = f"[{found(low)}, {found(high)}]"
            yield Mistake((*path, "valid"), both, "the low limit before the high one", "swap or correct them")


def _report_rules(file: SiteFile, sensor: Sensor, path: Path) -> Iterator[Mistake]:
    """Statistics are of numbers, over an interval, and travel under the sensor's name with a word behind it."""
    where: Path = (*path, "report", "stats")
    if read(sensor, "report") and read(sensor.report, "every_s", "stats") and sensor.report.stats:
        if fixed_kind(file, sensor) in ("", "status"):
            yield Mistake(where, "stats for a contact", "stats for a sensor with numbers", "remove it")
        elif not sensor.report.every_s:
            do = "write for example every_s = 60, or remove stats"
            yield Mistake(where, "stats with every_s = 0", "an every_s above 0 with stats", do)
    base, _, word = str(path[-1]).rpartition("/")
    if word in DERIVED and base in (file.sensor or {}):
        expected = f"a sensor id that does not end in /{word}: the box tells the {word} of {quoted(base)} under it"
        yield Mistake(path, quoted(str(path[-1])), expected, "rename it")
